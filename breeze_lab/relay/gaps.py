"""Gaps: when a silence begins and ends, whether it counts, and who is told.

Owns the way of a gap from its cause (the link was lost, an instrument fell
silent, the relay was restarted) through the ledger to the lines, whose bars
it leaves incomplete, and to the consumers. A night is no gap. Runs on the
event loop without awaiting; `look` is called about once a second.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.relay.fold import Hole, fold
from breeze_lab.relay.healer import plan
from breeze_lab.relay.hours import Hours, segment_of
from breeze_lab.relay.journal import RESTARTED
from breeze_lab.relay.ledger import Ledger
from breeze_lab.relay.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from breeze_lab.clock import Segment
    from breeze_lab.frames import Quote
    from breeze_lab.relay.fold import History
    from breeze_lab.relay.healer import Ask, Healer
    from breeze_lab.relay.ledger import Entry, GapState
    from breeze_lab.relay.market import Line
    from breeze_lab.relay.upstream import Upstream
    from breeze_lab.ticks import Tick

__all__ = ["Gaps"]

_log: Final = logging.getLogger(__name__)

#: A trade so young proves that its market is open.
_FRESH_MS: Final = 10_000
#: Others tick when one was heard within this time.
_OTHERS_S: Final = 3.0
#: What the status shows: the gaps of a day, the newest of them.
_SHOWN_MS: Final = 86_400_000
_SHOWN: Final = 200


class Gaps:
    """Every gap of the rooms that the hub knows.

    Parameters
    ----------
    by_room
        The hub's lines by room.
    upstream
        Where quotes come from.
    ledger
        Where gaps are kept.
    on_closed
        Called with room, bounds in Unix milliseconds and cause of every gap that ends, before
        the frame that ends it is counted.
    """

    def __init__(
        self, by_room: Mapping[str, list[Line]], upstream: Upstream, ledger: Ledger | None = None,
        on_closed: Callable[[str, int, int, str], object] = lambda *_: None,
    ) -> None:  # fmt: skip
        """Know no gap but those of the ledger."""
        self.ledger = ledger or Ledger()
        self.hours = Hours()
        self.pulses: dict[str, Pulse] = {}
        #: Heals what closes; without one, gaps stay closed.
        self.healer: Healer | None = None
        self._by_room = by_room
        self._upstream = upstream
        self._on_closed = on_closed
        self._hidden: set[str] = set()  # open gaps nobody was told of: no market trades yet
        self._traded: dict[str, int] = {}

    @property
    def open_rooms(self) -> Mapping[str, Entry]:
        """The rooms that have an open gap; the hub asks it for every frame."""
        return self.ledger.open_rooms

    # -- from the hub -----------------------------------------------------

    def use(self, market: str) -> None:
        """Go on with the gaps of `market`; one that was left open on a former day ends there."""
        if self.ledger.market == market:
            return
        self.ledger.use(market)
        self._hidden.clear()
        today_ms = round(_midnight(clock.now()).timestamp() * 1000)
        for entry in [*self.open_rooms.values()]:
            if entry.from_ms < today_ms:
                day = _midnight(clock.from_epoch(entry.from_ms / 1000)) + timedelta(days=1)
                ended = self.ledger.close(entry.room, round(day.timestamp() * 1000))
                if ended is not None:
                    self.judged(ended, "not healable", "the relay ended within it")

    def watch(self, room: str, key: str) -> None:
        """Hear that a room is wanted, and what it is to us."""
        self.ledger.know(room, key)

    def leave(self, room: str) -> None:
        """Hear that nobody wants a room any more: its silence ends unheard."""
        self.pulses.pop(room, None)
        self._traded.pop(room, None)
        self._end(room, _now_ms())

    def lost(self, cause: str) -> None:
        """Hear that nothing is heard any more since the last frame."""
        heard = [room for room, lines in self._by_room.items() if _last_ms(lines) is not None]
        # Every frame proves that all before it came, whatever room they were of.
        since_ms = max((_last_ms(self._by_room[room]) or 0 for room in heard), default=0)
        self._open(heard, since_ms, cause)

    def restarted(self, room: str, since_ms: int) -> None:
        """Hear that a room was last heard in a former life of the relay."""
        self._open([room], since_ms, RESTARTED)

    def heard(self, room: str, received_ms: int, tick: Tick | Quote) -> None:
        """Hear the first frame of a room whose gap is open, before its lines take it."""
        entry = self.open_rooms[room]
        moment = tick.exchange_time
        traded_ms = None if moment is None else round(moment.timestamp() * 1000)
        before_ms = 0
        for line in self._by_room.get(room, ()):
            hole = _hole(line, entry)
            before_ms = max(before_ms, hole.before_s * 1000)
            hole.after_s = (received_ms if traded_ms is None else traded_ms) // 1000
            hole.after_volume = tick.volume or 0
        fresh = traded_ms is not None and self._trades(entry, before_ms, traded_ms, received_ms)
        ended = self._end(room, received_ms, fresh=fresh)
        if ended is not None and self.healer is not None:
            self.healer.take(ended)

    def look(self) -> None:
        """Judge the silence of every room; tell of gaps in which a market began to trade."""
        now, now_ms = time.monotonic(), _now_ms()
        connected = self._upstream.state.state == "connected"
        fresh = self._count(now)
        for room, lines in self._by_room.items():
            pulse = self.pulses[room]
            if room in fresh or not lines:
                continue
            segment = segment_of(lines[0].key)
            if not self.hours.trading(segment, now_ms):
                pulse.state = "closed" if pulse.known else "waiting"
                pulse.rest(now)
            elif not connected or not self._upstream.joined(room):
                pulse.rest(now)
            elif now - pulse.heard_at > pulse.limit_s:
                others = any(
                    other is not pulse and now - other.heard_at < _OTHERS_S and other.known
                    for other in self.pulses.values()
                )
                if not (pulse.liquid and others and self.hours.continuous(segment, now_ms)):
                    pulse.state = "quiet" if pulse.known else "waiting"
                elif pulse.state != "silent":
                    pulse.state = "silent"
                    self._silent(room, lines, pulse, now)
        for room in [*self._hidden]:
            self._reveal(room, now_ms)

    # -- from the healer --------------------------------------------------

    def ask(self, room: str, entries: Sequence[Entry]) -> Ask | str:
        """Return the call of history that covers closed gaps of a room, or why there is none."""
        lines = self._by_room.get(room)
        if not lines:
            return "nobody wants the instrument any more"
        holes = [_hole(lines[0], entry) for entry in entries]
        first_s, last_s = min(h.before_s for h in holes), max(h.after_s for h in holes)
        ask = plan(lines[0].key, room, first_s, max(first_s, last_s))
        return ask or "it is longer than one call of history"

    def mend(self, entry: Entry, history: History) -> None:
        """Put history into the bars around a gap and tell of both."""
        for line in self._by_room.get(entry.room, ()):
            hole = _hole(line, entry)
            hole.healed = True
            for series in line.series.values():
                since_s = fold(series, hole, line.holes, history)
                for watch in line.watches.values():
                    if since_s is not None and series.interval in watch.intervals:
                        watch.consumer.take_mended(series, since_s)
        self.judged(entry, "healed", "" if history.length_s == 1 else "from 1-minute bars")

    def judged(self, entry: Entry, state: GapState, reason: str) -> None:
        """Note and tell what became of a closed gap."""
        self._tell(self.ledger.change(replace(entry, state=state, reason=reason)))

    # -- the report -------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the gaps of the last day and how many there are of each state."""
        entries = self.ledger.entries(_now_ms() - _SHOWN_MS, _SHOWN)
        return {
            "open": sum(room not in self._hidden for room in self.open_rooms),
            "counts": self.ledger.counts(),
            "trading": sorted(self._trading()),
            "rows": [e.row() for e in entries if e.room not in self._hidden or e.to_ms is not None],
            "trouble": self.ledger.trouble,
        }

    def _trading(self) -> set[Segment]:
        """Return the segments of our instruments that trade now."""
        now_ms = _now_ms()
        segments = {segment_of(lines[0].key) for lines in self._by_room.values() if lines}
        return {segment for segment in segments if self.hours.trading(segment, now_ms)}

    def of(self, room: str, key: str) -> list[Any] | None:
        """Return the open gap of a room as a row, None when it has none."""
        entry = self.open_rooms.get(room)
        return None if entry is None or room in self._hidden else entry.row(key)

    def pulse(self, room: str) -> dict[str, Any]:
        """Return how the silence of a room is judged, and how old its last tick is."""
        pulse = self.pulses.get(room)
        last_ms = _last_ms(self._by_room.get(room, ()))
        return {
            "pulse": "waiting" if pulse is None else pulse.state,
            "age_s": None if last_ms is None else round((_now_ms() - last_ms) / 1000, 3),
        }

    # -- inside -----------------------------------------------------------

    def _trades(self, entry: Entry, before_ms: int, traded_ms: int, received_ms: int) -> bool:
        """Say whether the trade that ends a gap proves that the market trades.

        Parameters
        ----------
        before_ms, traded_ms
            When the last trade before it and this one were, by the exchange's clock.
        received_ms
            When this one came, by ours, which may be wrong or may have been set since.
        """
        if abs(traded_ms - received_ms) < _FRESH_MS:
            return True
        if not self.hours.trading(segment_of(entry.key), traded_ms):
            return False
        if received_ms < traded_ms:  # our clock is behind: nobody tells of trades to come
            return True
        # It is ahead, or the trade is an old one told again; only then do both clocks not say
        # the same of how long it was silent.
        silent_ms = received_ms - entry.from_ms
        return traded_ms > before_ms and abs(traded_ms - before_ms - silent_ms) < _FRESH_MS

    def _count(self, now: float) -> set[str]:
        """Let every pulse see its ticks; return the rooms that had any."""
        fresh: set[str] = set()
        for room, lines in self._by_room.items():
            ticks = max((line.ticks for line in lines), default=0)
            pulse = self.pulses.get(room)
            if pulse is None:
                pulse = self.pulses[room] = Pulse(now)
            if not pulse.look(now, ticks):
                continue
            fresh.add(room)
            moment_s = next((line.exchange_s for line in lines if line.exchange_s), 0)
            if moment_s > self._traded.get(room, 0):
                if room in self._traded:
                    self.hours.traded(segment_of(lines[0].key), _last_ms(lines) or 0)
                self._traded[room] = moment_s
        return fresh

    def _silent(self, room: str, lines: Sequence[Line], pulse: Pulse, now: float) -> None:
        age_s = now - pulse.heard_at
        _log.warning("%s has been silent for %.0f s while others tick.", lines[0].key, age_s)
        self._open([room], _last_ms(lines) or 0, "it fell silent while others ticked")
        if not pulse.asked_again:
            pulse.asked_again = True
            self._upstream.rejoin(room)

    def _open(self, rooms: Sequence[str], since_ms: int, cause: str) -> None:
        now_ms = _now_ms()
        opened = self.ledger.open(rooms, since_ms, cause)
        for entry in opened:
            for line in self._by_room[entry.room]:
                line.holes.append(Hole.of(entry.number, line, entry.from_ms))
        for room in rooms:
            for line in self._by_room[room]:
                line.gap()
        for entry in opened:
            self._hidden.add(entry.room)
            self._reveal(entry.room, now_ms)

    def _reveal(self, room: str, now_ms: int) -> None:
        """Tell of an open gap as soon as it reaches into trading hours."""
        entry = self.open_rooms.get(room)
        if entry is None:
            self._hidden.discard(room)
            return
        part = self.hours.within(segment_of(self._key(room)), entry.from_ms, now_ms)
        if part is None:
            return
        self._hidden.discard(room)
        if part[0] != entry.from_ms:
            entry = self.ledger.change(replace(entry, from_ms=part[0]))
        self._tell(entry)

    def _end(self, room: str, until_ms: int, *, fresh: bool = False) -> Entry | None:
        entry = self.open_rooms.get(room)
        if entry is None:
            return None
        part = self.hours.within(segment_of(self._key(room)), entry.from_ms, until_ms)
        hidden = room in self._hidden
        self._hidden.discard(room)
        if part is None and fresh:  # it trades now, whatever the calendar says
            part = entry.from_ms, until_ms
        if part is None:
            self.ledger.drop(room)
            return None
        if part[0] != entry.from_ms:
            self.ledger.change(replace(entry, from_ms=part[0]))
        ended = self.ledger.close(room, part[1])
        if ended is not None:
            # Not `part[1]`, which lies before the beginning when our clock was set back meanwhile.
            self._on_closed(room, ended.from_ms, ended.to_ms or part[1], ended.cause)
            if hidden:
                self._tell(replace(ended, to_ms=None, state="open"))
            self._tell(ended)
        return ended

    def _tell(self, entry: Entry) -> None:
        for line in self._by_room.get(entry.room, ()):
            row = entry.row(line.key)
            for watch in line.watches.values():
                watch.consumer.take_gap(row)

    def _key(self, room: str) -> str:
        lines = self._by_room.get(room)
        return lines[0].key if lines else self.open_rooms[room].key


def _hole(line: Line, entry: Entry) -> Hole:
    """Return what a line knows around a gap; of one from before its time only the bounds."""
    for hole in reversed(line.holes):
        if hole.number == entry.number:
            return hole
    hole = Hole(entry.number, entry.from_ms // 1000)
    line.holes.append(hole)
    return hole


def _last_ms(lines: Sequence[Line]) -> int | None:
    return max((line.last_ms for line in lines if line.last_ms is not None), default=None)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
