"""Our bars held against the broker's, bar by bar. Pure.

Owns what counts as a difference. Prices differ by more than half of their
fourth decimal, quantities by one. A bar that was not heard from its opening to
its end is held against nothing, unless a recorded gap says that it was not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, nan
from typing import TYPE_CHECKING, Final, NamedTuple

from breeze_lab.bars import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from breeze_lab.bars import Bar, Closed
    from breeze_lab.recordings.minutes import Span

__all__ = ["FIELDS", "Difference", "Verdict", "compare", "covered"]

FIELDS: Final = ("open", "high", "low", "close", "volume")
#: Prices are rupees with two or four decimals; as the live comparison with the broker's candles.
SAME: Final = 0.00005
_LENGTH: Final = Interval.M1.value


class Difference(NamedTuple):
    """One field of one bar that is not the same; `nan` where there is no bar."""

    start_s: int
    field: str
    ours: float
    theirs: float
    in_gap: bool


@dataclass(slots=True)
class Verdict:
    """What came of one instrument.

    Parameters
    ----------
    bars
        How many were held against each other.
    differing
        How many of them are not the same, the missing and the extra among them.
    in_gap
        How many of those lie in a recorded gap.
    missing, extra
        Those that only history has, and that only we have.
    partial
        Bars of either that were not heard from their opening to their end.
    rows
        The differences, by time and field.
    """

    bars: int = 0
    differing: int = 0
    in_gap: int = 0
    missing: int = 0
    extra: int = 0
    partial: int = 0
    rows: list[Difference] = field(default_factory=list)


def covered(held: Iterable[Span], gaps: Iterable[Span]) -> list[Span]:
    """Return when something is known: listened to, or known not to be. Sorted, apart.

    A gap without an end reaches to the end of listening.
    """
    held = list(held)
    end = max((last for _, last in held), default=0.0)
    known = [*held, *((first, end if last == inf else last) for first, last in gaps)]
    merged: list[Span] = []
    for first, last in sorted(span for span in known if span[0] < span[1]):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def compare(
    ours: Mapping[int, Closed],
    theirs: Iterable[Bar],
    spans: Sequence[Span],
    gaps: Sequence[Span],
    *,
    index: bool = False,
) -> Verdict:
    """Return where minute bars differ.

    Parameters
    ----------
    ours
        Built from ticks, by their opening second.
    theirs
        Of history, which stamps a bar with its opening, too.
    spans
        When something is known; see `covered`.
    gaps
        When ticks are known to be missing.
    index
        An index has no quantities. Of others a bar in which nothing was traded
        is not missed when only one side has it: history leaves quiet minutes
        out, a quote may come without a trade, and the broker was seen to stamp
        bars without volume at 09:05 and 15:30.
    """
    verdict = Verdict()
    known = {int(bar.start.timestamp()): bar for bar in theirs}
    for start_s in sorted(ours.keys() | known.keys()):
        mine, other = ours.get(start_s), known.get(start_s)
        in_gap = any(first < start_s + _LENGTH and start_s < last for first, last in gaps)
        whole = any(first <= start_s and start_s + _LENGTH <= last for first, last in spans)
        if not whole or (mine is not None and not mine[7] and not in_gap):
            verdict.partial += 1
            continue
        if not index and _quiet(mine, other):
            continue
        verdict.bars += 1
        rows = list(_rows(start_s, mine, other, in_gap=in_gap))
        if not rows:
            continue
        verdict.differing += 1
        verdict.in_gap += in_gap
        verdict.missing += mine is None
        verdict.extra += other is None
        verdict.rows += rows
    return verdict


def _quiet(mine: Closed | None, other: Bar | None) -> bool:
    """Say whether only one side has a bar, and nothing was traded in it."""
    if mine is None:
        return other is not None and other.volume == 0
    return other is None and mine[5] == 0


def _rows(
    start_s: int, mine: Closed | None, other: Bar | None, *, in_gap: bool
) -> Iterator[Difference]:
    left = (nan,) * 5 if mine is None else mine[1:6]
    right = (nan,) * 5 if other is None else tuple(getattr(other, name) for name in FIELDS)
    for name, one, two in zip(FIELDS, left, right, strict=True):
        if not abs(one - two) <= SAME:  # nan is never the same
            yield Difference(start_s, name, float(one), float(two), in_gap)
