"""Today: how many ticks of each room came since the IST midnight.

Owns where the count of each day begins. Nothing is counted here: the frames of
a room have numbers already, so a day is the number now less the number at its
beginning, and no tick pays for it. The log notes where the day began, so that
the next life of the relay goes on with the same count.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from breeze_lab.relay.market import Line
    from breeze_lab.relay.restore import Identity

__all__ = ["Today"]

_IST_S: Final = 19_800
_DAY_S: Final = 86_400


class Today:
    """The ticks of the day; on the event loop's thread.

    Parameters
    ----------
    sequences
        The numbers of the newest frames by room; the hub's, which it goes on changing.
    lines
        The hub's; their first ticks are those of the day.
    note
        Called with a note for the log when a room's numbers jumped.
    """

    def __init__(
        self,
        sequences: dict[str, int],
        lines: Mapping[Identity, Line],
        note: Callable[[dict[str, Any]], object],
    ) -> None:
        """Begin with this day."""
        self._sequences, self._lines, self._note = sequences, lines, note
        #: The number after which each room's day began, 0 where it is not here.
        self._before: dict[str, int] = {}
        #: When each room's first tick of the day came, Unix milliseconds.
        self._firsts: dict[str, int] = {}
        self._day = _day()

    def look(self) -> None:
        """Begin a new day after midnight; call it once a second, and before the rest is read.

        A tick in the second after midnight may be counted on the day before.
        """
        if _day() != self._day:
            self._day = _day()
            self._before = dict(self._sequences)
            self._firsts.clear()
            for line in self._lines.values():
                line.first_ms = None
        for line in self._lines.values():
            if line.first_ms is not None:  # a line that nobody wants any more is forgotten
                self._firsts.setdefault(line.room, line.first_ms)

    def count(self, room: str) -> int:
        """Return the ticks of a room since midnight, those of former lives among them."""
        return self._sequences.get(room, 0) - self._before.get(room, 0)

    def first_ms(self, room: str) -> int | None:
        """Return when the room's first tick of the day came, Unix milliseconds."""
        return self._firsts.get(room)

    def go_on(self, counts: Mapping[str, int], firsts: Mapping[str, int]) -> None:
        """Go on from what a former life counted; `sequences` have its numbers already."""
        self._day = _day()
        self._before = {
            room: number - counts.get(room, 0) for room, number in self._sequences.items()
        }
        self._firsts = dict(firsts)
        for line in self._lines.values():
            line.first_ms = self._firsts.get(line.room)

    def jump(self, room: str, number: int) -> None:
        """Number the newest frame of a room `number`; those left out did not come to us."""
        left_out = number - 1 - self._sequences.get(room, 0)
        if left_out:
            self._leave_out(room, left_out)
        self._sequences[room] = number

    def raise_to(self, heads: Mapping[str, int]) -> None:
        """Go on counting behind `heads`, so that no number comes twice."""
        for room, head in heads.items():
            left_out = head - self._sequences.get(room, 0)
            if left_out > 0:
                self._leave_out(room, left_out)
                self._sequences[room] = head

    def _leave_out(self, room: str, count: int) -> None:
        before = self._before[room] = self._before.get(room, 0) + count
        self._note({"what": "today", "before": {room: before}, "first_ms": {}})

    def head(self) -> dict[str, Any]:
        """Return the note that a file of the log begins with."""
        self.look()
        return {"what": "today", "before": dict(self._before), "first_ms": dict(self._firsts)}


def _day() -> int:
    """Return the number of the IST day."""
    return int(time.time() + _IST_S) // _DAY_S
