"""From the records of a log to the rows of a recorded day.

Owns what a record means for a recording: which row it becomes, why a replay
leaves a row out, what is counted and where the gaps are. Nothing is dropped
but an exact repetition of a record, and that is counted too. Files are left to
`recorder`.

Times. The exchange tells whole seconds. A row's ``time`` is in that second;
its milliseconds are ours: those of the arrival as far as it lies in the same
second, and never before the instrument's row before. Bars only see the second.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from breeze_lab.errors import BadResponse
from breeze_lab.relay import wal
from breeze_lab.relay.columns import quote
from breeze_lab.relay.held import Held
from breeze_lab.ticks import CommodityTick, Tick, decode_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from breeze_lab.relay.wal import Record

__all__ = ["ANEW", "SKIPPED", "Names", "Room", "Rows"]

ANEW: Final = "the connection to the broker was made anew"
SKIPPED: Final = "the log lacks frames"
_IST_S: Final = 19_800
_DAY_S: Final = 86_400
_SECOND_MS: Final = 1000
_KINDS: Final = {wal.STOCK: "stock", wal.CANDLE: "candle", wal.ORDER: "order"}
#: Where quotes tell the trend, which no column holds, by their length; the turnover is before it.
_TREND: Final = {21: 16, 23: 18}
#: Tells a multiple of the tick from what is none.
_HAIR: Final = 1e-4
_decode: Final = msgspec.json.Decoder().decode
#: Exchange, stock code, symbol, token, expiry, strike, right, kind, tick size of an instrument.
Names = tuple[str, str, str, str, "date | None", "float | None", str, str, float]


@dataclass(slots=True)
class Room:
    """What was heard of one room.

    Parameters
    ----------
    key
        Its instrument.
    names
        See `Names`.
    """

    key: str
    names: Names
    frames: int = 0
    ticks: int = 0
    first: int = 0
    last: int = 0
    #: Of the sequences of all frames, so that a reader can tell that none is missing.
    sum: int = 0
    epoch: int = 0
    received_ms: int = 0
    data: bytes = b""
    day: int = 0
    second: int = 0
    time_ms: int = 0
    volume: int | None = None
    close: float | None = None
    row: tuple[Any, ...] = ()
    #: Since when a noted gap accounts for what is missing, Unix milliseconds.
    covered: int = 0

    def facts(self) -> dict[str, Any]:
        """Return what the sidecar says of it."""
        exchange, code, symbol = self.names[:3]
        return {
            "key": self.key, "exchange": exchange, "stock_code": code, "symbol": symbol,
            "frames": self.frames, "ticks": self.ticks, "first_sequence": self.first,
            "last_sequence": self.last, "sequence_sum": self.sum,
        }  # fmt: skip


@dataclass(slots=True)
class Rows:
    """Take records, one after the other; give rows.

    Parameters
    ----------
    day
        Ordinal of the day on which everything came, or None where the market
        has a clock of its own and its days are not the calendar's.
    find
        Returns the names of the instrument with a room and a key.

    Attributes
    ----------
    ticks, rest
        The rows made since somebody last took them away, as `columns` has them.
    rooms, gaps, counts
        What the sidecar says.
    """

    day: int | None
    find: Callable[[str, str], tuple[str, Names]]
    ticks: list[tuple[Any, ...]] = field(default_factory=list)
    rest: list[tuple[Any, ...]] = field(default_factory=list)
    rooms: dict[str, Room] = field(default_factory=dict)
    gaps: dict[tuple[str, int, str], dict[str, Any]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    #: How many frames of no room there were, and the sum of their sequences.
    beside: list[int] = field(default_factory=lambda: [0, 0])
    #: Addresses that the frames came from.
    streams: dict[str, None] = field(default_factory=dict)
    #: When each room was listened to.
    held: Held = field(default_factory=Held)
    #: Connections on which a recording was played.
    _replays: set[int] = field(default_factory=set)
    _keys: dict[str, str] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Make the row of a record, or note what it notes."""
        if record.epoch in self._replays and record.kind != wal.NOTE:
            self.counts["frames of a replay, recorded already"] += 1
        elif record.kind == wal.STOCK:
            self.held.frame(record.received_ms)
            self._stock(record)
        elif record.kind == wal.NOTE:
            self._note(record)
        else:
            self._keep(record, _KINDS.get(record.kind, str(record.kind)), "")

    # -- notes ------------------------------------------------------------

    def _note(self, record: Record) -> None:
        self.counts["notes"] += 1
        try:
            note = _decode(record.data)
            what = note["what"]
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
            self.counts["unreadable notes"] += 1
            return
        self.held.note(note, record.received_ms)
        if what == "line":
            self._keys.setdefault(str(note["room"]), str(note["key"]))
        elif what == "gap":
            self._gap(note)
        elif what == "epoch" and note.get("replay"):
            self._replays.add(record.epoch or int(note.get("epoch") or 0))
        elif what == "epoch" and note.get("stream"):
            self.streams[str(note["stream"])] = None
        elif what == "unrecorded":
            self.counts["frames that could not be recorded"] += int(note.get("count") or 0)

    def _gap(self, note: dict[str, Any]) -> None:
        """Remember a gap as it was noted last: it opens, closes and may be healed."""
        key, from_ms = str(note.get("key", "")), int(note.get("from_ms") or 0)
        to_ms = note.get("to_ms")
        cause = str(note.get("cause", ""))
        self.gaps[key, from_ms, cause] = {
            "key": key, "from_ms": from_ms, "to_ms": to_ms, "cause": cause,
            "state": str(note.get("state", "closed")),
        }  # fmt: skip
        for room, heard in self.rooms.items():
            if room == note.get("room") or heard.key == key:
                heard.covered = max(heard.covered, from_ms)

    # -- frames -----------------------------------------------------------

    def _stock(self, record: Record) -> None:
        try:
            frame = _decode(record.data)
            value = decode_frame(frame)
        except (BadResponse, msgspec.DecodeError, RecursionError):
            self.counts["unreadable frames"] += 1
            self._keep(record, "stock", "")
            return
        room = value.room
        heard = self.rooms.get(room)
        if heard is None:
            key, names = self.find(room, self._keys.get(room, ""))
            heard = self.rooms[room] = Room(key, names, first=record.sequence)
            heard.epoch = record.epoch
        elif not self._follows(heard, record):
            return
        heard.frames += 1
        heard.last = record.sequence
        heard.sum += record.sequence
        heard.epoch, heard.received_ms = record.epoch, record.received_ms
        heard.data = record.data
        if not isinstance(value, Tick):
            self._keep(record, "stock", room)
            return
        heard.ticks += 1
        self._tick(record, value, heard, frame)

    def _follows(self, heard: Room, record: Record) -> bool:
        """Note what lies between a record and the one before it; False when it is the same."""
        if record.sequence == heard.last and record.data == heard.data:
            self.counts["repeated records"] += 1
            return False
        between = heard.received_ms, record.received_ms
        if record.sequence <= heard.last:
            self.counts["sequences that fell"] += 1
        elif record.sequence > heard.last + 1:
            self.counts["frames the log lacks"] += record.sequence - heard.last - 1
            self._hole(heard, *between, SKIPPED)
        if record.epoch != heard.epoch and heard.covered < heard.received_ms:
            self._hole(heard, *between, ANEW)
        return True

    def _hole(self, heard: Room, from_ms: int, to_ms: int, cause: str) -> None:
        self.gaps[heard.key, from_ms, cause] = {
            "key": heard.key, "from_ms": from_ms, "to_ms": to_ms, "cause": cause, "state": "closed",
        }  # fmt: skip

    def _keep(self, record: Record, kind: str, room: str) -> None:
        self.counts[f"{kind} frames beside the ticks"] += 1
        if not room:
            self.beside[0] += 1
            self.beside[1] += record.sequence
        self.rest.append(
            (kind, room, record.sequence, record.epoch, record.received_ms,
             record.data.decode(errors="replace"))
        )  # fmt: skip

    def _tick(self, record: Record, tick: Tick, heard: Room, frame: list[Any]) -> None:
        moment = tick.exchange_time
        second = None if moment is None else int(moment.timestamp())
        apart, time_ms = self._place(second, record.received_ms, heard)
        price = tick.last
        if not apart and (price is None or price <= 0):
            apart = "no price"
        index = heard.names[-2] == "index"
        if not apart and not index and tick.volume is None and heard.volume is None:
            apart = "no volume"
        if not apart and not heard.names[0]:
            apart = "no instrument"
        shown = (price, *self._shown(tick, heard, index=index)) if not apart else (price, *_BLANK)
        if not apart:
            row = (time_ms, *shown)
            if row == heard.row:
                apart = "repeat"
            heard.row = row
        if apart:
            self.counts[f"apart: {apart}"] += 1
        whole = not isinstance(tick, CommodityTick) and _whole(frame, tick)
        self.ticks.append(
            (
                time_ms, *heard.names[:7], *shown,
                heard.key, tick.room, record.sequence, record.epoch, record.received_ms, second,
                apart or None, None if whole else record.data.decode(), *quote(tick),
            )
        )  # fmt: skip

    def _place(self, second: int | None, received_ms: int, heard: Room) -> tuple[str, int]:
        """Return why a replay cannot have a tick of `second`, if so, and the row's time."""
        if second is None:
            return "no time", received_ms
        time_ms = min(max(received_ms, second * _SECOND_MS), second * _SECOND_MS + 999)
        day = (second + _IST_S) // _DAY_S
        if self.day is not None and day != self.day:
            return "another day", time_ms
        if second < heard.second:
            return "late", time_ms
        if day != heard.day:
            heard.day, heard.volume, heard.close = day, None, None
        heard.second = second
        time_ms = heard.time_ms = max(time_ms, heard.time_ms)
        return "", time_ms

    def _shown(self, tick: Tick, heard: Room, *, index: bool) -> tuple[Any, ...]:
        """Return the layout's cells after the price, such that a replay takes them."""
        bid, ask = _above_zero(tick.bid), _above_zero(tick.ask)
        if bid is not None and ask is not None and bid > ask:  # as in an auction
            bid = ask = None
        close = tick.previous_close
        if heard.close is None and close is not None and close > 0:
            size = heard.names[-1]
            steps = close / size if size else 0.0
            heard.close = close if abs(steps - round(steps)) < _HAIR else None
        quantity = volume = None
        if not index:
            before, now = heard.volume, tick.volume
            volume = heard.volume = max(v for v in (before, now) if v is not None)
            quantity = max(tick.last_quantity or 0, 0)
            if before is not None:
                self.counts["volumes that fell"] += now is not None and now < before
                quantity = 0 if volume == before else quantity or volume - before
        return (
            quantity, bid, None if bid is None else tick.bid_quantity, ask,
            None if ask is None else tick.ask_quantity, tick.open_interest, volume, heard.close,
        )  # fmt: skip


_BLANK: Final = (None,) * 8


def _whole(frame: list[Any], tick: Tick) -> bool:
    """Say whether the columns hold all that a quote said."""
    trend = _TREND.get(len(frame))
    if trend is None or frame[trend]:
        return False
    return tick.turnover is not None or frame[trend - 1] in ("", None)


def _above_zero(price: float | None) -> float | None:
    return price if price is not None and price > 0 else None
