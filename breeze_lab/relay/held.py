"""When the relay listened to a room, as the log of a day tells it.

Without a tick nobody can tell a quiet market from an instrument that was not
subscribed: the notes of the log can. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Held"]


class Held:
    """Take the notes of a log and the times of its frames, in order.

    A room is listened to from when it was asked for, and at the earliest from
    the first frame that a life of the relay was sent, until it was left, the
    relay ended, or its last record was written.
    """

    def __init__(self) -> None:
        """Know of no room."""
        self._spans: dict[str, list[list[int]]] = {}
        self._wanted: dict[str, None] = {}
        self._life = ""
        self._up = False
        self._last_ms = 0

    def frame(self, received_ms: int) -> None:
        """Hear that a frame of any room came."""
        self._last_ms = received_ms
        if not self._up:
            self._up = True
            for room in self._wanted:
                self._begin(room)

    def note(self, note: Mapping[str, Any], received_ms: int) -> None:
        """Hear a note."""
        what = note.get("what")
        if what == "life" and note.get("life") != self._life:
            self._down()  # it was killed after its last record
            self._life = str(note.get("life"))
            self._wanted.clear()
        self._last_ms = received_ms
        room = str(note.get("room", ""))
        if what == "line" and room not in self._wanted:
            self._wanted[room] = None
            if self._up:
                self._begin(room)
        elif what == "left" and room in self._wanted:
            self._end(room)
            del self._wanted[room]
        elif what == "end" or (what == "epoch" and note.get("replay")):
            self._down()  # what is replayed is not recorded

    def spans(self, room: str) -> list[list[int]]:
        """Return from when to when it was listened to, Unix milliseconds, oldest first."""
        if self._up and room in self._wanted:
            self._end(room)
        return self._spans.get(room, [])

    def _begin(self, room: str) -> None:
        self._spans.setdefault(room, []).append([self._last_ms, self._last_ms])

    def _end(self, room: str) -> None:
        if self._up:
            self._spans[room][-1][1] = self._last_ms

    def _down(self) -> None:
        for room in self._wanted:
            self._end(room)
        self._up = False
