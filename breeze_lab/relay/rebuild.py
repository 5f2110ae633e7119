"""One room of the log while it is read: its last frame, and the bars of its lines.

Owns how a day of frames becomes the same bars they became when they came,
several times as fast. Where the frames come from is left to `restore`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from breeze_lab.errors import BadResponse
from breeze_lab.ticks import Tick, decode_frame

if TYPE_CHECKING:
    from breeze_lab.bars import Interval
    from breeze_lab.relay.market import Line, Series

__all__ = ["Frame", "Room", "room_of"]

#: Elements of a quote without and with open interest; where its tail begins.
_CASH, _DERIVATIVE = 21, 23
#: Markets whose frames mean something else: the index feed and MCX.
_OTHER_LAYOUTS: Final = ("3", "6")
_NUMBERS: Final = (int, float)
_decode: Final = msgspec.json.Decoder().decode
_UNREADABLE: Final = (BadResponse, msgspec.DecodeError, RecursionError)


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


class _Quote:
    """What bars need of a quote; a `Tick` has five times as much."""

    __slots__ = ("high", "last", "low", "open", "open_interest", "volume")

    def __init__(self, frame: list[Any], volume: int) -> None:
        self.open, self.last, self.high, self.low = frame[1:5]
        self.volume = volume
        self.open_interest = frame[12] if len(frame) == _DERIVATIVE else None


class Room:
    """One room while it is read.

    What comes within the shortest bar is gathered and given to the bars at its
    end as at most four quotes: the first, the highest, the lowest and the last
    make the same bar as all of them do.
    """

    __slots__ = (
        "_close", "_ends_s", "_first", "_from_s", "_high", "_low", "_most", "_other", "_stood",
        "count", "first_ms", "last", "least", "lines", "name", "series",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.last: Frame | None = None
        self.least = self.count = 0
        self.first_ms: int | None = None
        self.lines: list[Line] = []
        self.series: list[Series] = []
        self._other = name.partition(".")[0] in _OTHER_LAYOUTS
        self._stood: Frame | None = None  # the last one before the last gap
        self._from_s = self._ends_s = 0
        self._first: list[Any] | None = None
        # The frames with the extremes and the last one, good while there is a first one.
        self._high: list[Any] = []
        self._low: list[Any] = []
        self._most: list[Any] = []
        self._close: list[Any] = []

    @property
    def sequence(self) -> int:
        """Of the last frame, as far as is known."""
        return self.least if self.last is None else max(self.least, self.last.sequence)

    def listen(self, skipped: set[Interval]) -> None:
        """Build the bars of all lines from here on, but for those intervals."""
        self.series = [
            series
            for line in self.lines
            for interval, series in line.series.items()
            if interval not in skipped
        ]

    def add(self, raw: bytes) -> None:
        """Take one frame."""
        try:
            frame = _decode(raw)
            at = 12 if len(frame) == _CASH else 14
            price, epoch_s, volume = frame[2], frame[at + 7], frame[at]
        except (*_UNREADABLE, LookupError, TypeError):
            return  # what the relay could not read when it came is not in the log
        if (
            self._other
            or type(epoch_s) is not int
            or type(price) not in _NUMBERS
            or type(volume) is not int
        ):
            self._add_whole(frame)
            return
        if self._first is not None and self._from_s <= epoch_s < self._ends_s:
            if price > self._high[2]:
                self._high = frame
            elif price < self._low[2]:
                self._low = frame
            if volume > self._most[at]:
                self._most = frame
            self._close = frame
            return
        self.flush()
        shortest = min(self.series, key=lambda series: series.interval.value)
        interval = shortest.interval
        self._from_s = interval.floor_epoch(epoch_s, shortest.builder.anchor_s)
        self._ends_s = self._from_s + interval.value
        if epoch_s < (shortest.builder.start_s or 0):  # late: only longer bars may still take it
            self._add_whole(frame)
            return
        self._first = self._high = self._low = self._most = self._close = frame

    def _add_whole(self, frame: list[Any]) -> None:
        self.flush()
        try:
            tick = decode_frame(frame)
        except BadResponse:
            return
        if isinstance(tick, Tick) and tick.exchange_time is not None:
            epoch_s = int(tick.exchange_time.timestamp())
            for series in self.series:
                series.add(epoch_s, tick)

    def flush(self) -> None:
        """Give what was gathered to the bars."""
        first, self._first = self._first, None
        if first is None:
            return
        given = [first]
        for frame in (self._high, self._low, self._most, self._close):
            if all(frame is not other for other in given):
                given.append(frame)
        if given[-1] is not self._close:
            given.append(self._close)  # it was an extreme as well, and comes last
        at = 12 if len(first) == _CASH else 14
        for frame in given:
            quote: Any = _Quote(frame, frame[at])
            for series in self.series:
                series.add(frame[at + 7], quote)

    def stand(self, line: Line) -> None:
        """Put a line where the last frame stands, when it came after the last gap."""
        if self.last is None or self.last is self._stood:
            return
        try:
            tick = decode_frame(_decode(self.last.raw))
        except _UNREADABLE:
            return
        if isinstance(tick, Tick):
            line.resume(tick, self.sequence, self.last.epoch, self.last.received_ms)

    def gap(self) -> None:
        """Note that frames may be missing here."""
        self.flush()
        for line in self.lines:
            self.stand(line)
            line.gap()
        self._stood = self.last
