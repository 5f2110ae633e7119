"""Rows: the bars of one shared chart, moved on by the relay's. No network, no drawing.

The same rules as a chart's in the browser (`1_bars.js`): a bar the relay heard
from its opening replaces what was frozen, one it heard in part is added to it.
Viewers get whole bars only, so that all of them see the same.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Rows"]

_T, _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME = range(6)


class Rows:
    """Bars, oldest first.

    Parameters
    ----------
    columns
        Opening time (Unix seconds), open, high, low, close (rupees), volume.
    interval_s
        Length of a bar.
    fetched_s
        What had ended by then is final, Unix seconds.
    most
        How many bars to keep.
    """

    def __init__(
        self, columns: list[list[float]], interval_s: int, fetched_s: float, most: int
    ) -> None:
        self.rows: list[list[float]] = [list(row) for row in zip(*columns, strict=True)]
        self.most = max(most, 2)
        self._interval_s = interval_s
        last = self.rows[-1][_T] if self.rows else 0.0
        self._final_s = max(fetched_s, last)
        self._base: list[float] | None = None
        self.freeze()

    def freeze(self) -> None:
        """Keep the newest bar as what parts are added to: a new relay counts from nothing."""
        self._base = list(self.rows[-1]) if self.rows else None

    def columns(self) -> list[list[float]]:
        """Return the bars column by column."""
        return [list(column) for column in zip(*self.rows, strict=True)] or [[] for _ in range(6)]

    def apply(self, bar: list[Any]) -> list[float] | None:
        """Take one bar of the relay; return the row that changed, None when none did.

        Parameters
        ----------
        bar
            key, interval, start_s, open, high, low, close, volume, oi, complete, forming.
        """
        start, complete = bar[2], bool(bar[9])
        fresh = [float(start), *(float(value) for value in bar[3:7]), float(bar[7] or 0)]
        last = self.rows[-1] if self.rows else None
        if last is None or start > last[_T]:
            self.rows.append(fresh)
            del self.rows[: -self.most]
            return fresh
        row = next((one for one in reversed(self.rows) if one[_T] <= start), None)
        if row is None or row[_T] != start:
            return None
        if not complete and start + self._interval_s <= self._final_s:
            return None
        base = self._base
        if not complete and base is not None and base[_T] == start:
            fresh[_OPEN] = base[_OPEN]
            fresh[_HIGH] = max(base[_HIGH], fresh[_HIGH])
            fresh[_LOW] = min(base[_LOW], fresh[_LOW])
            fresh[_VOLUME] += base[_VOLUME]
        if row == fresh:
            return None
        row[:] = fresh
        return row
