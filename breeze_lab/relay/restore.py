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
from breeze_lab.errors import FeedError, SettingsError
from breeze_lab.relay import wal
from breeze_lab.relay.market import BARS_KEPT, Line
from breeze_lab.relay.rebuild import Frame, Room, room_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

__all__ = ["Gap", "Identity", "Past", "frames", "recover"]

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
_NEVER_MS: Final = 2**63
#: Orders of frames that were read begin so far below zero, those looked for again even lower.
_FORMER: Final = 2**48
_decode: Final = msgspec.json.Decoder().decode


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
    counts, firsts
        Ticks of each room on this day, and when its first one came (Unix milliseconds).
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
    counts: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, int] = field(default_factory=dict)
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
                    room = room_of(raw)
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
        self._rooms: dict[str, Room] = {}
        self._late: list[tuple[Room, Line, set[Interval]]] = []
        self._beginnings: dict[bytes, Room] = {}
        self._life = ""
        self._before: dict[str, int] | None = None  # a log of a former version does not say

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
                    if room.building:
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
        for name, room in self._rooms.items():
            # By the numbers, because the first files of a long day may have been left alone.
            numbered = self._before is not None
            past.counts[name] = (
                room.sequence - (self._before or {}).get(name, 0) if numbered else room.count
            )
            if room.first_ms is not None:
                past.firsts[name] = room.first_ms
        until = time.monotonic() + _KEPT_S
        for room in self._rooms.values():
            for line in room.lines:
                line.ticks, line.first_ms = room.count, room.first_ms
                line.keep(until)
        return past

    def _begin(self, raw: bytes, received_ms: int) -> Room:
        """Return the room of a frame that begins like none before it."""
        name = room_of(raw)
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(name)
        room.first_ms = room.first_ms or received_ms
        if raw.startswith(b'["'):
            self._beginnings[raw[: raw.find(b'"', 2)]] = room
        return room

    def _approach(self, received_ms: int) -> None:
        """Build the bars of shorter intervals, too, when the end is near enough for them."""
        while self._horizons and self._horizons[0][0] <= received_ms:
            self._skipped.discard(self._horizons.pop(0)[1])
        self._horizon_ms = self._horizons[0][0] if self._horizons else _NEVER_MS
        late, self._late = self._late, []
        for room, line, intervals in late:
            self._hold(room, line, intervals)

    def _hold(self, room: Room, line: Line, intervals: set[Interval]) -> None:
        """Build the bars of `intervals`, those of short ones only near the end."""
        room.hold(line, intervals - self._skipped)
        if intervals & self._skipped:
            self._late.append((room, line, intervals & self._skipped))

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
            elif what == "today":
                self._today(note)
            elif what == "gap":
                gap = Gap(*(note[name] for name in Gap._fields))
                self.past.gaps.setdefault(note["room"], {})[gap.sequence] = gap
            elif what == "unrecorded":  # frames came, and bars of this log do not have them
                self._gap()
            elif what == "left":
                self.past.held.discard(note["room"])
                self._rooms[note["room"]].gap()
        except (
            msgspec.DecodeError,
            RecursionError,
            LookupError,
            TypeError,
            ValueError,
            SettingsError,
        ) as exc:
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

    def _today(self, note: dict[str, Any]) -> None:
        before = self._before = self._before or {}
        before |= {str(room): int(number) for room, number in note["before"].items()}
        for name, first_ms in note["first_ms"].items():
            room = self._rooms.setdefault(name, Room(name))
            room.first_ms = room.first_ms or int(first_ms)

    def _line(self, note: dict[str, Any]) -> None:
        identity = str(note["key"]), str(note["room"]), int(note["anchor_s"])
        room = self._rooms.get(identity[1])
        if room is None:
            room = self._rooms[identity[1]] = Room(identity[1])
        room.least = max(room.least, int(note["sequence"]))
        self.past.held.add(identity[1])
        line = self.past.lines.get(identity)
        if line is None:
            line = self.past.lines[identity] = Line(*identity)
            room.lines.append(line)
        self._hold(room, line, {Interval.parse(label) for label in note["intervals"]})

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
