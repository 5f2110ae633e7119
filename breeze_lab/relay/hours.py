"""Whether an instrument trades at a moment, as the relay judges silence by it.

The calendar says it (`breeze_lab.clock`). Where ticks keep coming although the
calendar calls the market closed, as from a practice market that is always open
or in a special session nobody entered, the ticks are right for as long as they
come.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from breeze_lab import clock

if TYPE_CHECKING:
    from breeze_lab.clock import Segment

__all__ = ["Hours", "segment_of"]

_SEGMENTS: Final[dict[str, Segment]] = {
    "NSE": "cash", "BSE": "cash", "NFO": "fno", "BFO": "fno", "MCX": "commodity",
    "NDX": "currency",
}  # fmt: skip
#: Trades of the last second are told a little later; they prove nothing.
_TAIL_MS: Final = 120_000
#: So many trades after the tail prove that the calendar is wrong, for so long.
_PROOFS: Final = 3
_PROVEN_MS: Final = 600_000


def segment_of(key: str) -> Segment:
    """Return the trading segment of one of our keys, ``"NSE:RELIANCE"``."""
    return _SEGMENTS.get(key.partition(":")[0], "cash")


class Hours:
    """The market hours by calendar and by evidence."""

    def __init__(self) -> None:
        """Know only the calendar."""
        self._proofs: dict[Segment, list[int]] = {}  # how many, and when the last was
        self._proven: dict[Segment, list[int]] = {}  # first and last moment, Unix ms

    def traded(self, segment: Segment, received_ms: int) -> None:
        """Hear that a trade with a new exchange time was told of."""
        if self._calendar(segment, received_ms) or self._calendar(segment, received_ms - _TAIL_MS):
            self._proofs.pop(segment, None)
            return
        proofs = self._proofs.setdefault(segment, [0, received_ms])
        recent = received_ms - proofs[1] < _PROVEN_MS
        proofs[:] = [proofs[0] + 1 if recent else 1, received_ms]
        if proofs[0] < _PROOFS:
            return
        known = self._proven.get(segment)
        if known is None or received_ms - known[1] > _PROVEN_MS:
            self._proven[segment] = [received_ms, received_ms]
        else:
            known[1] = received_ms

    def trading(self, segment: Segment, moment_ms: int) -> bool:
        """Say whether `segment` trades, in whatever phase."""
        return self._calendar(segment, moment_ms) or self._evident(segment, moment_ms)

    def continuous(self, segment: Segment, moment_ms: int) -> bool:
        """Say whether `segment` trades continuously, so that silence means something."""
        found = clock.phase(segment, clock.from_epoch(moment_ms / 1000))
        return found == "open" or (found == "closed" and self._evident(segment, moment_ms))

    def within(self, segment: Segment, from_ms: int, to_ms: int) -> tuple[int, int] | None:
        """Return the part of a silence in which `segment` trades; None when there is none.

        Bounds that lie in trading hours come back as they are.
        """
        if self._evident(segment, from_ms) or self._evident(segment, to_ms):
            return from_ms, to_ms
        first: int | None = None
        last = from_ms
        day = clock.from_epoch(from_ms / 1000).date()
        final = clock.from_epoch(to_ms / 1000).date()
        while day <= final:
            for phase in clock.phases(segment, day):
                opens, closes = _ms(phase.open.timestamp()), _ms(phase.close.timestamp())
                if from_ms < closes and to_ms >= opens:
                    first = max(from_ms, opens) if first is None else first
                    last = min(to_ms, closes)
            day += timedelta(days=1)
        return None if first is None else (first, last)

    @staticmethod
    def _calendar(segment: Segment, moment_ms: int) -> bool:
        return clock.phase(segment, clock.from_epoch(moment_ms / 1000)) != "closed"

    def _evident(self, segment: Segment, moment_ms: int) -> bool:
        known = self._proven.get(segment)
        return known is not None and known[0] - _PROVEN_MS <= moment_ms <= known[1] + _PROVEN_MS


def _ms(epoch_s: float) -> int:
    return round(epoch_s * 1000)
