"""The practice market: a loopback exchange that speaks ICICI Breeze's own wire protocol.

The unmodified ``breeze-connect`` SDK logs in to it, reads its history and
streams from it, at any hour and without an account. Prices are invented: a
deterministic function of a seed, an instrument and a date, so nothing is
stored and any range of the past ten years answers at once.

Rooms, from the ground up: `noise` (hashes), `split` (a bar into shorter bars),
`universe` and `contracts` (what is listed), `prices` (what it costs when),
`derivatives` (futures and options of it), `history` (rows of the REST
answers), `master` (the security master), `frames` and `layouts` (stream
layouts), `market` (what trades now), `orders` and `desk` (the account's orders
against it), `desk_rows`, `order_frames` and `strategies` (how the broker tells
of them), `rest`, `desk_rest`, `order_feed` and `streams` (the wire),
`director` (who may drive it), `fault_kinds`, `faults`, `fault_streams`,
`fault_frames` and `fault_answers` (bad weather), `budget` (the broker's
limits), `server` (the process). Beside them `recording` and `replay` put a
recorded day in the place of an invented one, and `recorder` writes one;
`control` is the client that drives the market from outside. It imports only
values of `breeze_lab`; nothing of `breeze_lab` imports it but the command and,
for the magics, `control`.
"""
