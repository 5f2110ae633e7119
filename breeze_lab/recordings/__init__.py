"""Recorded days: what the relay wrote while you watched, as frames.

::

    from breeze_lab import recordings

    recordings.days()
    recordings.load("2026-11-19", "RELIANCE", "09:15", "10:00")
    recordings.bars("2026-11-19", "RELIANCE", "1m")
    recordings.differences("2026-11-19")

Owns the reading of recordings and of today's log. How they are made is
`breeze_lab.relay.recorder`'s; pandas and pyarrow are loaded on first use.
"""

from __future__ import annotations

from breeze_lab.recordings.catalog import Recorded, check, days, find, keep
from breeze_lab.recordings.frames import bars, differences, gaps, load

__all__ = ["Recorded", "bars", "check", "days", "differences", "find", "gaps", "keep", "load"]
