"""The practice market: a loopback exchange that speaks ICICI Breeze's own wire protocol.

The unmodified ``breeze-connect`` SDK logs in to it, reads its history and
streams from it, at any hour and without an account. Prices are invented: a
deterministic function of a seed, an instrument and a date, so nothing is
stored and any range of the past ten years answers at once.

Rooms, from the ground up: `noise` (hashes), `split` (a bar into shorter bars),
`universe` and `contracts` (what is listed), `prices` (what it costs when),
`derivatives` (futures and options of it), `history` (rows of the REST
answers), `master` (the security master), `frames` (stream layouts), `market`
(what trades now), `rest`, `login` and `streams` (the wire), `director` (who
may drive it), `fault_kinds`, `faults`, `fault_streams`, `fault_frames` and
`fault_answers` (bad weather), `budget` (the broker's limits), `server` (the
process). `control` is the client that drives it from outside. It imports only
values of `breeze_lab`; nothing of `breeze_lab` imports it but the command and,
for the magics, `control`.
"""
