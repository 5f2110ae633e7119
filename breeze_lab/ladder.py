"""A ladder of bars: many intervals of one instrument at about the price of one.

Owns when a tick is told to which interval. The first tick of a second, of five
seconds and of a minute goes to the builders of that length, which closes what
has to be closed; the others of the same cell are folded into a few numbers and
handed up once, when the cell is over or somebody looks. What a builder makes
of a fold is the business of `breeze_lab.bars`, and the same as of its ticks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from breeze_lab.bars import Fold, Interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.frames import Quote
    from breeze_lab.ticks import Tick

__all__ = ["Ladder", "Step"]

#: Lengths of cells in seconds. Each holds whole cells of the one before and lies
#: within one bar of every interval that is folded by it.
_CELLS: Final = (60, 5, 1)
_NEVER: Final = -(2**63)


class Step(Protocol):
    """One interval of an instrument."""

    @property
    def interval(self) -> Interval:
        """The length of its bars."""
        ...

    def step(self, epoch_s: int, tick: Tick | Quote) -> int | None:
        """Take a tick by itself; return the opening second of the oldest bar it changed."""
        ...

    def fold(self, fold: Fold) -> None:
        """Take several ticks of the forming bar."""
        ...


class Ladder:
    """Tell ticks to the intervals of one instrument.

    Parameters
    ----------
    steps
        The intervals.
    anchor_s
        See `Interval.floor_epoch`.
    """

    __slots__ = ("_daily", "_ends", "_folded", "_last_s", "_levels", "_pending")

    def __init__(self, steps: Iterable[Step], anchor_s: int) -> None:
        """Hold no tick."""
        by_cell: dict[int, list[Step]] = {}
        for step in steps:
            by_cell.setdefault(_cell(step.interval, anchor_s), []).append(step)
        self._levels = sorted(by_cell.items())
        self._daily = any(s.interval is Interval.D1 for _, steps in self._levels for s in steps)
        self._pending: list[Fold | None] = [None] * len(self._levels)
        self._folded = False  # is anything pending?
        self._ends = [_NEVER] * len(self._levels)
        self._last_s = _NEVER

    def add(self, epoch_s: int, tick: Tick | Quote) -> dict[Interval, int | None] | None:
        """Take a tick.

        Returns
        -------
        dict or None
            The opening second of the oldest bar changed, of each interval that
            was told at once; None when the tick was folded and changed forming
            bars only.
        """
        price = tick.last
        if price is None or not self._levels:
            return None
        if epoch_s < self._last_s:  # late: each interval judges for itself
            self.restart()
        self._last_s = epoch_s
        if epoch_s < self._ends[0]:
            self._put(0, epoch_s, price, tick)
            return None
        changed: dict[Interval, int | None] = {}
        carried: Fold | None = None
        for level, (cell, steps) in enumerate(self._levels):
            if carried is not None:
                self._merge(level, carried)
            if epoch_s < self._ends[level]:
                self._put(level, epoch_s, price, tick)
                break
            carried, self._pending[level] = self._pending[level], None
            self._ends[level] = (epoch_s // cell + 1) * cell
            for step in steps:
                if carried is not None:
                    step.fold(carried)
                changed[step.interval] = step.step(epoch_s, tick)
        return changed

    def flush(self) -> None:
        """Hand up everything that is folded: somebody looks."""
        if not self._folded:
            return
        self._folded = False
        pending = self._pending
        for level, (_, steps) in enumerate(self._levels):
            for below in range(level, -1, -1):  # what lies higher up is older
                fold = pending[below]
                if fold is not None:
                    for step in steps:
                        step.fold(fold)
        pending[:] = [None] * len(pending)

    def restart(self) -> None:
        """Let the next tick go to every interval by itself."""
        self.flush()
        self._ends = [_NEVER] * len(self._ends)

    def _put(self, level: int, epoch_s: int, price: float, tick: Tick | Quote) -> None:
        day = self._daily and None not in (tick.open, tick.high, tick.low)
        fold = self._pending[level]
        if fold is not None and fold.day is not day:
            self.flush()
            fold = None
        self._folded = True
        if fold is None:
            self._pending[level] = Fold(epoch_s, price, tick, day=day)
        else:
            fold.add(price, tick)

    def _merge(self, level: int, carried: Fold) -> None:
        fold = self._pending[level]
        if fold is not None and fold.day is not carried.day:
            self.flush()
            fold = None
        self._folded = True
        if fold is None:
            self._pending[level] = carried
        else:
            fold.join(carried)


def _cell(interval: Interval, anchor_s: int) -> int:
    """Return the longest cell that lies within one bar of `interval`, wherever it is."""
    return next(c for c in _CELLS if interval.value % c == 0 and anchor_s % c == 0)
