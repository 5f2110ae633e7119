"""Recovery: what a relay that was killed knew, read back from the log of the day.

Owns reading the log and standing where its last record stands: sequences of
rooms, last ticks, the bars that were held. Runs in a thread, or before the
door opens. Who wants what is not restored: whoever lives says so again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from breeze_lab.bars import Interval
from breeze_lab.errors import BadResponse, FeedError, SettingsError
from breeze_lab.relay import wal
from breeze_lab.relay.market import BARS_KEPT, Line
from breeze_lab.ticks import Tick, decode_frame

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from breeze_lab.relay.market import Series

__all__ = ["Frame", "Gap", "Identity", "Past", "frames", "recover"]

_log: Final = logging.getLogger(__name__)

#: Key, room and anchor of a line.
Identity = tuple[str, str, int]
#: The newest part of a day's log that is read: more than a million ticks, a few seconds.
_MOST_BYTES: Final = 192 * 2**20
#: The newest part in which single frames are looked for again.
_REPLAY_BYTES: Final = 128 * 2**20
#: Former lives whose sequences can still be told from another's.
_LIVES: Final = 32
#: Bars that nobody asked for again are forgotten after this long.
_KEPT_S: Final = 60.0
#: Elements of a quote without and with open interest; where its tail begins.
_CASH, _DERIVATIVE = 21, 23
#: Markets whose frames mean something else: the index feed and MCX.
_OTHER_LAYOUTS: Final = ("3", "6")
_NEVER_MS: Final = 2**63
#: Orders of frames that were read begin so far below zero, those looked for again even lower.
_FORMER: Final = 2**48
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


class Gap(NamedTuple):
    """A time in which frames of a room may be missing, in Unix milliseconds.

    Parameters
    ----------
    sequence
        Of the frame that ended it.
    from_ms, to_ms
        When the last record before it and the first frame after it came.
    """

    sequence: int
    from_ms: int
    to_ms: int
    cause: str

    def note(self) -> dict[str, Any]:
        """Return what the log says of it."""
        return {**self._asdict(), "state": "closed"}

    def row(self, key: str) -> list[Any]:
        """Return it as the door sends it."""
        return [key, self.from_ms, self.to_ms, self.cause, "closed"]


@dataclass(slots=True)
class Past:
    """What the log of one day says.

    Parameters
    ----------
    sequences
        Last sequence of each room.
    lives
        Last sequence of each room at the end of each former life, oldest first.
    lines
        Where each instrument stands, with the bars that were held.
    held
        Rooms that were wanted at the end.
    recent
        The newest frames with their rooms, in order.
    gaps
        Of each room, by the sequence of the frame that ended it.
    epoch
        Connections counted so far.
    ended_ms
        When the last record came, Unix milliseconds; 0 without a record.
    stream
        The address that the last connection was made to.
    records, seconds
        What was read and how long it took.
    """

    sequences: dict[str, int] = field(default_factory=dict)
    lives: dict[str, dict[str, int]] = field(default_factory=dict)
    lines: dict[Identity, Line] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    recent: deque[tuple[str, Frame]] = field(default_factory=deque)
    gaps: dict[str, dict[int, Gap]] = field(default_factory=dict)
    epoch: int = 0
    ended_ms: int = 0
    stream: str = ""
    records: int = 0
    seconds: float = 0.0


def recover(folder: Path, day: date, recent: int, most_bytes: int = _MOST_BYTES) -> Past:
    """Read the log of one market and IST day.

    Parameters
    ----------
    recent
        How many frames to keep in memory.
    most_bytes
        Older files are left alone: sequences are in the newer ones, too, bars are not.

    Notes
    -----
    A file that cannot be read is named in the relay's log and passed over.
    """
    begun = time.perf_counter()
    paths = _newest(wal.files(folder, day), most_bytes)
    reader = _Reader(recent, int(paths[-1].stat().st_mtime * 1000) if paths else 0)
    for path in paths:
        try:
            reader.read(path)
        except (OSError, FeedError) as exc:
            _log.error("A file of the tick log is passed over: %s", exc)
    past = reader.finish()
    past.seconds = time.perf_counter() - begun
    if past.records:
        _log.info(
            "Read %d records of the day in %.2f s: %d instruments.",
            past.records, past.seconds, len(past.lines),
        )  # fmt: skip
    return past


def frames(
    folder: Path, day: date, wanted: Mapping[str, tuple[int, int]], most: int
) -> dict[str, list[Frame]]:
    """Return frames of rooms from the log, ascending by sequence.

    Parameters
    ----------
    wanted
        For each room the sequences between which they lie, both excluded.
    most
        How many of each room at most, the newest.
    """
    found: dict[str, list[Frame]] = {room: [] for room in wanted}
    order = 0
    for path in reversed(_newest(wal.files(folder, day), _REPLAY_BYTES)):
        here: dict[str, list[Frame]] = {room: [] for room in wanted}
        try:
            for kind, epoch, sequence, received_ms, raw in wal.scan(path):
                if kind == wal.STOCK:
                    room = _room(raw)
                    if room in here and wanted[room][0] < sequence < wanted[room][1]:
                        here[room].append(Frame(order, sequence, epoch, received_ms, raw))
                order += 1
        except (OSError, FeedError) as exc:
            _log.error("A file of the tick log is passed over: %s", exc)
        for room, some in here.items():
            found[room][:0] = some[-most:]
        if all(
            len(some) >= min(most, wanted[room][1] - wanted[room][0] - 1)
            for room, some in found.items()
        ):
            break
    return {
        room: [Frame(number, *frame[1:]) for number, frame in enumerate(some[-most:], -2 * _FORMER)]
        for room, some in found.items()
    }


def _newest(paths: list[Path], most_bytes: int) -> list[Path]:
    """Return the newest files that together are not too long, oldest first."""
    chosen: list[Path] = []
    for path in reversed(paths):
        try:
            most_bytes -= path.stat().st_size
        except OSError:
            continue
        if chosen and most_bytes < 0:
            break
        chosen.append(path)
    return chosen[::-1]


def _room(raw: bytes) -> str:
    """Return the room of a frame without decoding the rest of it."""
    if raw.startswith(b'["'):
        end = raw.find(b'"', 2)
        return raw[2:end].decode(errors="replace")
    try:
        return str(_decode(raw)[0])
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError):
        return ""


class _Reader:
    """Follow the records in order.

    Parameters
    ----------
    recent
        Frames to keep.
    ends_ms
        When about the last record was written. Of short bars only so many are
        kept, so that there is no need to build those of the morning.
    """

    def __init__(self, recent: int, ends_ms: int) -> None:
        self._horizons = [
            (ends_ms - BARS_KEPT * interval.value * 1000, interval)
            for interval in (Interval.S5, Interval.S1)
        ]
        self._horizon_ms = 0
        self._skipped = {interval for _, interval in self._horizons}
        self.past = Past(recent=deque(maxlen=recent))
        self._rooms: dict[str, _Room] = {}
        self._beginnings: dict[bytes, _Room] = {}
        self._life = ""

    def read(self, path: Path) -> None:
        """Follow one file up to its end or tear.

        Raises
        ------
        OSError, FeedError
            When it cannot be opened, or is no log.
        """
        past, beginnings, received_ms = self.past, self._beginnings, 0
        # Orders count on from file to file, and end before those of the life that reads this.
        begun = count = past.records - _FORMER
        remember, new = past.recent.append, tuple.__new__
        try:
            for kind, epoch, sequence, received_ms, raw in wal.scan(path):
                count += 1
                if received_ms >= self._horizon_ms:
                    self._approach(received_ms)
                if kind == wal.STOCK:
                    room = beginnings.get(raw[: raw.find(b'"', 2)])
                    if room is None:
                        room = self._begin(raw, received_ms)
                    room.last = frame = new(Frame, (count, sequence, epoch, received_ms, raw))
                    room.count += 1
                    remember((room.name, frame))
                    if room.series:
                        room.add(raw)
                elif kind == wal.NOTE:
                    self._note(raw)
        finally:
            past.records += count - begun
            past.ended_ms = max(past.ended_ms, received_ms)

    def finish(self) -> Past:
        """Return what was read, with a gap behind it."""
        past = self.past
        self._gap()
        self._end_life()
        past.sequences = {name: room.sequence for name, room in self._rooms.items()}
        until = time.monotonic() + _KEPT_S
        for room in self._rooms.values():
            for line in room.lines:
                line.ticks, line.first_ms = room.count, room.first_ms
                line.keep(until)
        return past

    def _begin(self, raw: bytes, received_ms: int) -> _Room:
        """Return the room of a frame that begins like none before it."""
        name = _room(raw)
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room(name)
        room.first_ms = room.first_ms or received_ms
        if raw.startswith(b'["'):
            self._beginnings[raw[: raw.find(b'"', 2)]] = room
        return room

    def _approach(self, received_ms: int) -> None:
        """Build the bars of shorter intervals, too, when the end is near enough for them."""
        while self._horizons and self._horizons[0][0] <= received_ms:
            self._skipped.discard(self._horizons.pop(0)[1])
        self._horizon_ms = self._horizons[0][0] if self._horizons else _NEVER_MS
        for room in self._rooms.values():
            room.flush()
            room.listen(self._skipped)

    def _note(self, raw: bytes) -> None:
        try:
            note: dict[str, Any] = _decode(raw)
            what = note["what"]
            if what == "life" and note["life"] != self._life:
                self._gap()
                self._end_life()
                self._life = str(note["life"])
                self.past.held.clear()
            elif what == "epoch":
                self._connection(int(note["epoch"]), str(note.get("stream", "")))
            elif what == "line":
                self._line(note)
            elif what == "gap":
                gap = Gap(*(note[name] for name in Gap._fields))
                self.past.gaps.setdefault(note["room"], {})[gap.sequence] = gap
            elif what == "left":
                self.past.held.discard(note["room"])
                self._rooms[note["room"]].gap()
        except (*_UNREADABLE, LookupError, TypeError, ValueError, SettingsError) as exc:
            _log.warning("A note of the tick log was not understood: %r", exc)

    def _connection(self, epoch: int, stream: str) -> None:
        past = self.past
        if epoch > past.epoch:  # the same one is noted in each file
            past.epoch = epoch
            self._gap()
        if stream != past.stream:  # another market's prices must not meet these in one bar
            past.stream = stream
            for line in past.lines.values():
                line.clear()

    def _line(self, note: dict[str, Any]) -> None:
        identity = str(note["key"]), str(note["room"]), int(note["anchor_s"])
        room = self._rooms.get(identity[1])
        if room is None:
            room = self._rooms[identity[1]] = _Room(identity[1])
        room.least = max(room.least, int(note["sequence"]))
        self.past.held.add(identity[1])
        line = self.past.lines.get(identity)
        if line is None:
            line = self.past.lines[identity] = Line(*identity)
            room.lines.append(line)
        new = {Interval.parse(label) for label in note["intervals"]} - line.series.keys()
        if new:
            room.flush()
            room.stand(line)
            line.hold(new)
            line.release(new)
            room.listen(self._skipped)

    def _gap(self) -> None:
        for room in self._rooms.values():
            room.gap()

    def _end_life(self) -> None:
        lives = self.past.lives
        if not self._life:
            return
        lives.pop(self._life, None)
        lives[self._life] = {name: room.sequence for name, room in self._rooms.items()}
        while len(lives) > _LIVES:
            del lives[next(iter(lives))]


class _Quote:
    """What bars need of a quote; a `Tick` has five times as much."""

    __slots__ = ("high", "last", "low", "open", "open_interest", "volume")

    def __init__(self, frame: list[Any], volume: int) -> None:
        self.open, self.last, self.high, self.low = frame[1:5]
        self.volume = volume
        self.open_interest = frame[12] if len(frame) == _DERIVATIVE else None


class _Room:
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
