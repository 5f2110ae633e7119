"""Rows of the relay's door as the values of the feed.

The order of their columns is the relay's: see `breeze_lab.relay.market`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.bars import Bar, Interval
from breeze_lab.feed.subscription import FeedBar, FeedState

if TYPE_CHECKING:
    from breeze_lab.feed.ticks import FeedTick

__all__ = ["bar", "state", "tick"]

_INTERVALS: Final = {interval.label: interval for interval in Interval}


def state(upstream: dict[str, Any]) -> FeedState:
    """Return the value of the door's ``upstream`` map."""
    return FeedState(**{name: str(upstream.get(name, "")) for name in FeedState.__slots__})


def tick(row: list[Any], room: str) -> FeedTick:
    """Return the value of a tick row; the door does not repeat the room."""
    from breeze_lab.feed import ticks  # noqa: PLC0415 - importing the feed is free

    return ticks.from_row(row, room)


def bar(row: list[Any]) -> FeedBar:
    """Return the value of a bar row."""
    key, label, start_s, opened, high, low, close, volume, interest, whole, forming = row
    value = Bar(
        clock.from_epoch(start_s), _INTERVALS[label], opened, high, low, close, volume, interest,
        complete=whole and not forming,
    )  # fmt: skip
    return FeedBar(key, value, forming, whole)
