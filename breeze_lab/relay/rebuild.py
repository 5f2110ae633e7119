"""One room of the log while it is read: its last frame, and the bars of its lines.

Owns how a day of frames becomes the same bars they became when they came.
Where the frames come from is left to `restore`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from breeze_lab.errors import BadResponse
from breeze_lab.frames import Quote, decode
from breeze_lab.ticks import Tick

if TYPE_CHECKING:
    from breeze_lab.bars import Interval
    from breeze_lab.relay.market import Line

__all__ = ["Frame", "Room", "room_of", "value_of"]

_decode: Final = msgspec.json.Decoder().decode


class Frame(NamedTuple):
    """One frame of a room as it came; `order` counts over all rooms."""

    order: int
    sequence: int
    epoch: int
    received_ms: int
    raw: bytes


def room_of(raw: bytes) -> str:
    """Return the room of a frame without decoding the rest of it."""
    if raw.startswith(b'["'):
        end = raw.find(b'"', 2)
        return raw[2:end].decode(errors="replace")
    try:
        return str(_decode(raw)[0])
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError):
        return ""


def value_of(raw: bytes) -> Quote | Tick | None:
    """Return the quote in a frame; None when there is none."""
    try:
        value = decode(raw)
    except BadResponse:
        return None
    return value if isinstance(value, (Quote, Tick)) else None


class Room:
    """One room while it is read.

    Parameters
    ----------
    name
        The broker's.
    """

    __slots__ = ("_stood", "building", "count", "first_ms", "last", "least", "lines", "name")

    def __init__(self, name: str) -> None:
        """Know no frame yet."""
        self.name = name
        self.last: Frame | None = None
        self.least = self.count = 0
        self.first_ms: int | None = None
        self.lines: list[Line] = []
        self.building: list[Line] = []  # those with bars
        self._stood: Frame | None = None  # the last one before the last gap

    @property
    def sequence(self) -> int:
        """Of the last frame, as far as is known."""
        return self.least if self.last is None else max(self.least, self.last.sequence)

    def hold(self, line: Line, intervals: set[Interval]) -> None:
        """Build the bars of more intervals from here on."""
        new = intervals - line.series.keys()
        if new:
            self.stand(line)
            line.hold(new)
            line.release(new)
            if line not in self.building:
                self.building.append(line)

    def add(self, raw: bytes) -> None:
        """Build the bars of one frame."""
        value = value_of(raw)
        if value is not None:
            for line in self.building:
                line.rebuild(value)

    def stand(self, line: Line) -> None:
        """Put a line where the last frame stands, when it came after the last gap."""
        if self.last is None or self.last is self._stood:
            return
        value = value_of(self.last.raw)
        if value is not None:
            line.resume(value, self.sequence, self.last.epoch, self.last.received_ms)

    def gap(self) -> None:
        """Note that frames may be missing here."""
        for line in self.lines:
            self.stand(line)
            line.gap()
        self._stood = self.last
