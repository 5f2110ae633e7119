"""Folding history into bars: what the broker's history says of a hole, put where ticks are missing.

Pure arithmetic. A bar that history covers from its opening to its end becomes
history's. The bar that forms while the ticks come back keeps what it heard:
history adds the extremes of the hole, and the day's traded quantity, which every
tick carries, tells exactly how much was traded unheard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from breeze_lab.bars import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from breeze_lab.relay.market import BarRow, Line, Series

__all__ = ["History", "Hole", "Piece", "fold"]


class Piece(NamedTuple):
    """One bar of history; `start_s` in Unix seconds, prices in rupees."""

    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    open_interest: int | None = None


@dataclass(eq=False, slots=True)
class Hole:
    """What was known of one instrument on both sides of a gap.

    Parameters
    ----------
    number
        Of the gap in the ledger.
    before_s, before_volume
        Exchange time of the last tick before, Unix seconds, and the day's traded
        quantity then: 0 of an index, None when it is not known.
    after_s, after_volume
        Of the first tick after; `after_s` is 0 while the gap is open.
    whole
        Of each interval: whether the bar that formed had missed nothing before.
    healed
        Whether its bars were completed.
    """

    number: int
    before_s: int
    before_volume: int | None = None
    after_s: int = 0
    after_volume: int | None = None
    whole: dict[Interval, bool] = field(default_factory=dict)
    healed: bool = False

    @classmethod
    def of(cls, number: int, line: Line, from_ms: int) -> Hole:
        """Return the hole that begins now in a line that still knows its last tick."""
        known = line.heard
        if known is None:
            return cls(number, from_ms // 1000)
        whole = {interval: series.builder.whole for interval, series in line.series.items()}
        return cls(number, known[0], known[1].volume or 0, whole=whole)

    @property
    def traded(self) -> int | None:
        """What was traded unheard; None when nobody knows."""
        if self.before_volume is None or self.after_volume is None:
            return None
        missing = self.after_volume - self.before_volume
        return missing if missing >= 0 else None  # another day's count


_NEVER_FOLDED: Final = Interval.D1  # a quote carries its day


class History(NamedTuple):
    """An answer of the broker's history.

    Parameters
    ----------
    pieces
        Its bars in order.
    from_s, to_s
        What was asked for, Unix seconds, half-open.
    length_s
        Of its bars.
    """

    pieces: Sequence[Piece]
    from_s: int
    to_s: int
    length_s: int = 1


def fold(series: Series, hole: Hole, others: Iterable[Hole], history: History) -> int | None:
    """Complete the bars of one series around one hole.

    Parameters
    ----------
    hole
        Closed.
    others
        The other holes of the line: a bar that one of them touches stays incomplete.

    Returns
    -------
    int or None
        Opening second of the oldest bar that may have changed.
    """
    interval = series.interval
    if interval is _NEVER_FOLDED or interval.value < history.length_s:
        return None
    folding = _Folding(series, hole, list(others), history)
    for start_s in range(folding.first, folding.last + 1, interval.value):
        folding.take(start_s)
    series.mend(folding.changed)
    return folding.first


class _Folding:
    """The bars of one series around one hole, taken in order."""

    def __init__(self, series: Series, hole: Hole, others: list[Hole], history: History) -> None:
        self._series, self._hole, self._others, self._history = series, hole, others, history
        self.first, self.last = self._floor(hole.before_s), self._floor(hole.after_s)
        self.changed: dict[int, BarRow] = {}
        self._groups: dict[int, list[Piece]] = {}
        for piece in history.pieces:
            self._groups.setdefault(self._floor(piece.start_s), []).append(piece)
        self._known = {row[2]: row for row in series.closed()}
        self._unheard = hole.traded  # what the bars so far do not hold yet
        # A bar that two holes touch does not tell how much of it was missing in which.
        self._exact = self.first == self.last or not any(map(self._shares, self._others))

    def take(self, start_s: int) -> None:
        """Complete one bar as well as history can."""
        group, own = self._groups.get(start_s, []), self._known.get(start_s)
        forming = self._series.builder.start_s == start_s
        ends_s = start_s + self._series.interval.value
        if self._history.from_s <= start_s and ends_s <= self._history.to_s and not forming:
            if group:
                bar = self.changed[start_s] = _bar(self._series, start_s, group)
                self._spend(bar[7] - (own[7] if own else 0))
        elif start_s == self.last:
            self._last(group, own, forming=forming)
        elif own is not None:  # it closed in the hole and opened before history was asked
            part = [piece for piece in group if piece.start_s > self._hole.before_s]
            added = sum(piece.volume for piece in part)
            closing = part[-1].close if part else own[6]
            self.changed[start_s] = _merged(own, part, added, own[3], closing, complete=False)
            self._exact = False
            self._spend(added)

    def _last(self, group: Sequence[Piece], own: BarRow | None, *, forming: bool) -> None:
        """Complete the bar in which the ticks came back: it was heard in part."""
        hole, length_s = self._hole, self._history.length_s
        part = [
            piece
            for piece in group
            if hole.before_s < piece.start_s + length_s and piece.start_s <= hole.after_s
        ]
        known = self._unheard is not None
        added = max(self._unheard or 0, 0) if known else sum(piece.volume for piece in part)
        sound = known and self._exact and self._innocent()
        opened = part[0].open if part and self.last != self.first else None
        if forming:
            self._series.mend_forming(part, added, opened, whole=sound)
        elif own is not None:
            opening = own[3] if opened is None else opened
            self.changed[self.last] = _merged(own, part, added, opening, own[6], complete=sound)

    def _innocent(self) -> bool:
        """Say whether nothing but this hole, and healed ones, made the last bar incomplete."""
        touching = [self._hole]
        for other in self._others:
            ends_s = self._floor(other.after_s) if other.after_s else self.last
            if other is not self._hole and self._floor(other.before_s) <= self.last <= ends_s:
                if not other.healed:
                    return False
                touching.append(other)
        first = min(touching, key=_beginning)
        if self._floor(first.before_s) < self.last:
            return True  # the bar opened within that hole
        return first.whole.get(self._series.interval, False)

    def _shares(self, other: Hole) -> bool:
        """Say whether another hole touches the bar in which this one began."""
        ends_s = self._floor(other.after_s) if other.after_s else self.first
        return other is not self._hole and self._floor(other.before_s) <= self.first <= ends_s

    def _floor(self, epoch_s: int) -> int:
        return self._series.interval.floor_epoch(epoch_s, self._series.builder.anchor_s)

    def _spend(self, volume: int) -> None:
        if self._unheard is not None:
            self._unheard -= volume


def _beginning(hole: Hole) -> int:
    return hole.before_s


def _bar(series: Series, start_s: int, group: Sequence[Piece]) -> BarRow:
    return (
        series.key, series.interval.label, start_s, group[0].open, max(p.high for p in group),
        min(p.low for p in group), group[-1].close, sum(p.volume for p in group),
        group[-1].open_interest, True, False,
    )  # fmt: skip


def _merged(
    own: BarRow,
    part: Sequence[Piece],
    added: int,
    opening: float,
    closing: float,
    *,
    complete: bool,
) -> BarRow:
    return (
        own[0], own[1], own[2], opening, max(own[4], *(p.high for p in part), own[4]),
        min(own[5], *(p.low for p in part), own[5]), closing, own[7] + added, own[8], complete,
        False,
    )  # fmt: skip
