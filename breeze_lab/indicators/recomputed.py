"""Recomputed: an indicator that only pandas-ta has, over a tail of the bars as long as it needs.

Over as many bars as a chart holds that is all of them. In a longer history a
forming bar's values come from a tail, whose length is measured, not assumed:
the bars before a tail are replaced by others (a long rise, a long fall), also
with a quiet market since, in which a trend once taken is kept; the tail is
long enough when no value at its end takes notice, at several places, and twice
that length is used. A *closed* bar is always computed over all bars; should
the tail ever disagree, it is given up for good. What never forgets (a running
sum, a supertrend) is computed over all bars every time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from breeze_lab.errors import SettingsError
from breeze_lab.indicators import accessor, catalogue, native

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from breeze_lab.indicators.kernels import Bars, Row
    from breeze_lab.indicators.spec import Spec

__all__ = ["Recomputed", "frame_of"]

#: More bars than a chart holds: below, a tail saves less than measuring it costs.
_LONG: Final = 4000
_TAILS: Final = (32, 64, 128, 256, 512)
_PLACES: Final = 6
#: Relative to the column's size.
_EXACT: Final = 1e-10


def frame_of(table: NDArray[np.float64]) -> pd.DataFrame:
    """Return bars as pandas-ta reads them; index: opening times, Asia/Kolkata."""
    moments = pd.to_datetime(table[0], unit="s", utc=True).tz_convert("Asia/Kolkata")
    names = ("open", "high", "low", "close", "volume")
    return pd.DataFrame(dict(zip(names, table[1:], strict=True)), index=moments)


class Recomputed:
    """An indicator of pandas-ta."""

    def __init__(self, spec: Spec) -> None:
        """Find the function; compute nothing."""
        accessor.install()  # whichever is loaded to compute, frames keep the installed one's .ta
        self._function = catalogue.function(spec.name)
        self._given = dict(spec.given)
        self._spec = spec
        self.columns: tuple[str, ...] = ()
        self._tail: int | None = None
        self._measured = False

    @property
    def tail(self) -> int | None:
        """How many bars a forming bar's values are computed from; None for all of them."""
        return self._tail

    def open(self, bars: Bars) -> list[NDArray[np.float64]]:
        """Return the columns over `bars`, and stand at their end."""
        self._bars = bars
        self._measured, self._tail = False, None
        try:
            found = self._compute(bars.table)
        except SettingsError:  # perhaps only because there are too few bars
            found = np.empty((0, bars.count))
        if not found.shape[0]:
            # pandas-ta names no column of too few bars: let it name them over more, or refuse.
            from breeze_lab.indicators import measure  # noqa: PLC0415 - rarely needed

            table = native.call(self._function, measure.reference(), self._given)
            self.columns = tuple(table.columns)
            found = np.full((len(self.columns), bars.count), np.nan)
        self._size = np.nanmax(np.abs(found), axis=1, initial=1e-9)
        return list(found)

    def peek(self, row: Row) -> tuple[float, ...]:
        """Return the values of a bar that forms."""
        self._measure()
        self._bars.push(row)
        try:
            table = self._bars.table
            return self._last(table if self._tail is None else table[:, -self._tail :])
        finally:
            self._bars.pop()

    def push(self, _row: Row) -> tuple[float, ...]:
        """Return the values of a closed bar and stand behind it."""
        table = self._bars.table
        found = self._last(table)
        if self._tail is not None and not self._same(self._last(table[:, -self._tail :]), found):
            self._tail = None
        return found

    def _compute(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the columns, shape (columns, bars); no column where there are too few bars."""
        found = native.call(self._function, frame_of(table), self._given)
        if found.shape[1] and not self.columns:
            self.columns = tuple(found.columns)
        return np.ascontiguousarray(found.to_numpy(float).T)

    def _last(self, table: NDArray[np.float64]) -> tuple[float, ...]:
        try:
            found = self._compute(table)
        except SettingsError:
            found = np.empty((0, 0))  # too short for it
        if found.shape[0] != len(self.columns):
            return (float("nan"),) * len(self.columns)
        return tuple(found[:, -1].tolist())

    def _same(self, left: tuple[float, ...], right: tuple[float, ...]) -> bool:
        a, b = np.array(left), np.array(right)
        equal = (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= _EXACT * self._size)
        return bool(equal.all())

    # --- how far back it looks ------------------------------------------------------------------

    def _measure(self) -> None:
        """Choose the tail on first use: a chart of closed bars never needs one."""
        if self._measured:
            return
        self._measured = True
        table = self._bars.table
        if table.shape[1] < _LONG:
            return
        for tail in _TAILS:
            if all(self._forgets(past, tail) for past in _pasts(table, tail)):
                self._tail = 2 * tail
                return

    def _forgets(self, table: NDArray[np.float64], tail: int) -> bool:
        short = self._last(table[:, -tail:])
        return self._same(short, self._last(table))


def _pasts(table: NDArray[np.float64], tail: int) -> Iterator[NDArray[np.float64]]:
    """Yield histories that end in the same bars, at several places, after different pasts.

    Before these bars the price comes from far below, or from far above. The bars themselves are the
    table's, or those of a market in which nothing happens.
    """
    count = table.shape[1]
    for end in np.linspace(_LONG // 2, count, _PLACES).astype(int):
        bars = table[:, end - _LONG // 4 : end]
        yield bars
        still = bars.copy()
        level = bars[4, -tail]
        still[1:5, -tail:] = level + (bars[1:5, -tail:] - bars[4, -tail:]) * 0.05
        steps = np.arange(bars.shape[1] - tail, 0, -1)
        for ending in (bars, still):
            for slope in (0.002, -0.0015):
                bent = ending.copy()
                bent[1:5, :-tail] = level + bars[1:5, :-tail] - bars[4, :-tail]
                bent[1:5, :-tail] *= 1 - np.tanh(slope * steps)
                yield bent
