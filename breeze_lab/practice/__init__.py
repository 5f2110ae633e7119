"""The practice market: a loopback exchange that speaks ICICI Breeze's own wire protocol.

The unmodified ``breeze-connect`` SDK logs in to it, reads its history,
streams from it and trades in it, at any hour and without an account. Prices
are invented: a deterministic function of a seed, an instrument and a date, so
nothing is stored and any range of the past ten years answers at once.

Floors, from the ground up; imports point down:

``exchange``
    What is listed, what it costs when, and what trades now. `noise` (hashes)
    and `split` (a bar into shorter bars) carry everything; `universe`,
    `contracts` and `expiry` say what there is; `daily`, `paths`, `tempo` and
    `constituents` how it moves; `character`, `actions` and `oddities` what is
    odd about it; `prices` answers for all of them. `surface`, `derivatives`,
    `activity` and `book` are futures, options and their market makers;
    `history` bars of any range, `master` the security master, `market` and
    `market_clock` the present.
``desk``
    The account's orders against it: `orders` (values), `engine` (matching),
    `ledger`, `charges`, `holds` (money), `triggers` (GTT), `desk` (the face).
``replay``
    `recording` and `replay` put a recorded day in the place of an invented
    one; `recorder` writes one.
``faults``
    Bad weather: which kinds there are, which are active, what they do to frames.
``wire``
    What a client sees: `rows` and `desk_rows` (REST), `frames`, `layouts`,
    `order_frames` and `strategies` (streams), `sockets` (Socket.IO), `account`
    and `budget` (who may come in, and how often).

Above them `director` (who may drive it), `options` and `server` (the process).
`control` is the client that drives it from outside. The package imports only
values of `breeze_lab`; nothing of `breeze_lab` imports it but the command and,
for the magics, `control`.
"""
