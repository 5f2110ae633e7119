"""History: bars of the past, fetched once and kept.

Rooms, from the broker inwards: `calls` (what a range costs, the broker's
spelling), `blocks` (rows as numbers and frames), `spans` (arithmetic of
ranges), `markets` (whose bars, and what is settled), `stored` (one file),
`shelf` (the files of one series), `work` (from the disk what is there, from
the broker the rest), `series` (bars before they are a frame), `answers` (what
is asked here) and `catalog` (what there is). ``docs/history.md`` says what is promised.
"""

from __future__ import annotations

from breeze_lab.historical.answers import bars, candles, latest, newest, price
from breeze_lab.historical.blocks import COLUMNS, resample_frame
from breeze_lab.historical.calls import Window, plan
from breeze_lab.historical.series import Series

__all__ = [
    "COLUMNS",
    "Series",
    "Window",
    "bars",
    "candles",
    "latest",
    "newest",
    "plan",
    "price",
    "resample_frame",
]
