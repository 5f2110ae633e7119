"""The hub: who wants what, and the way of a frame from the stream to them.

Owns the lines, their reference counts and the consumers. A room is joined when
its first consumer comes and left a little after its last one went, so that a
page reload does not flap upstream. Everything here runs on the event loop
without awaiting, which is why a snapshot and the updates after it cannot race.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import __version__
from breeze_lab.errors import BadResponse, LoginError, SubscriptionRefused
from breeze_lab.frames import Quote, decode
from breeze_lab.relay import PROTOCOL
from breeze_lab.relay.audience import Audiences
from breeze_lab.relay.consumers import Consumer, Watch
from breeze_lab.relay.gaps import Gaps
from breeze_lab.relay.intake import Intake
from breeze_lab.relay.lives import Lives
from breeze_lab.relay.market import tick_rows
from breeze_lab.relay.quarantine import Quarantine
from breeze_lab.relay.report import Report
from breeze_lab.relay.sides import Sides
from breeze_lab.relay.upstream import Login, State, Upstream
from breeze_lab.ticks import Tick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from breeze_lab.bars import Interval
    from breeze_lab.relay.ledger import Ledger
    from breeze_lab.relay.market import Codec, Line
    from breeze_lab.relay.nightly import Nightly
    from breeze_lab.relay.rebuild import Frame
    from breeze_lab.relay.restore import Identity
    from breeze_lab.relay.sharing import Sharing
    from breeze_lab.relay.wal import Record

__all__ = ["LINGER_S", "MAX_ROOMS", "Hub"]

_log: Final = logging.getLogger(__name__)

#: The broker streams at most this many instruments.
MAX_ROOMS: Final = 2000
#: Of these, kept free for our own consumers whatever other relays want.
_OURS: Final = 500
#: A room nobody wants is left after this long.
LINGER_S: Final = 5.0
#: Who stays no longer and wants nothing only asked how things stand.
_PASSING_S: Final = 5.0


class Hub:
    """Everything the relay knows while it runs.

    Parameters
    ----------
    logs
        The folder of the tick logs; None records nothing.
    ledger
        Where gaps are kept; by default in memory.
    """

    def __init__(self, logs: Path | None = None, ledger: Ledger | None = None) -> None:
        """Know no instrument and no consumer."""
        self._by_room: dict[str, list[Line]] = {}
        #: Ticks by room; counting goes on when a room is left and joined again.
        self._sequences: dict[str, int] = {}
        self.audiences = Audiences()
        self._intake = Intake(self, self._by_room, self._sequences)
        self.upstream = Upstream(self, {"stock": self.on_stock}, many=self._intake.take)
        self.consumers: dict[int, Consumer] = {}
        #: Names this life of the relay; sequences go on from one to the next.
        self.life = secrets.token_hex(8)
        self.started = time.monotonic()
        #: Monotonic time since which nobody is connected, None while somebody is.
        self.alone_since: float | None = time.monotonic()
        #: When each consumer came, and since when nobody else was there then.
        self._came: dict[int, tuple[float, float | None]] = {}
        self.frames = self.unasked = 0
        self.quarantine = Quarantine()
        self.sides = Sides(self.upstream, self.quarantine)
        #: Records the days that are over; None where nobody does.
        self.nightly: Nightly | None = None
        #: Whose prices flow: of the login, or, before one, of the first who asked.
        self.market: str | None = None
        self._lines: dict[Identity, Line] = {}
        self._trouble_told = ""
        self._numbers = 0
        self.lives = Lives(
            logs, self.life, lines=self._lines, by_room=self._by_room,
            sequences=self._sequences, upstream=self.upstream,
        )  # fmt: skip
        self.journal = self.lives.journal
        self.quarantine.on_add = self.lives.note_malformed
        self.gaps = Gaps(self._by_room, self.upstream, ledger, self.lives.note_gap)
        #: Rooms that other relays want of us, and who passes their frames on.
        self.held: frozenset[str] = frozenset()
        self.tap: Callable[[str, int, int, bytes], None] | None = None
        self.sharing: Sharing | None = None
        #: Whether frames come from another relay, over the bus.
        self.following = False
        self._report = Report(self, self._lines, self._sequences)

    # -- consumers --------------------------------------------------------

    def attach(self, codec: Codec) -> Consumer:
        """Welcome a new consumer."""
        self._numbers += 1
        consumer = self.consumers[self._numbers] = Consumer(self._numbers, codec)
        self._came[self._numbers] = time.monotonic(), self.alone_since
        self.alone_since = None
        consumer.post(
            {
                "op": "welcome", "protocol": PROTOCOL, "pid": os.getpid(), "life": self.life,
                "version": __version__, "upstream": self.upstream.state.to_dict(),
                "unrecorded": self.journal.trouble,
            }
        )  # fmt: skip
        return consumer

    def detach(self, consumer: Consumer) -> None:
        """Let go of a consumer and of what it held."""
        now = time.monotonic()
        came, alone_before = self._came.pop(consumer.number, (now, None))
        passing = not consumer.watches and now - came < _PASSING_S
        self.unsubscribe(consumer, list(consumer.watches))
        self.sides.forget(consumer)
        self.consumers.pop(consumer.number, None)
        if not self.consumers:
            # A scraper that asks every few seconds keeps no relay alive.
            self.alone_since = alone_before if passing and alone_before is not None else now

    def subscribe(
        self,
        consumer: Consumer,
        request_id: int,
        wanted: Sequence[tuple[str, str, int]],
        intervals: Iterable[Interval],
        *,
        every: bool,
        ticks: bool,
        market: str = "",
        after: Mapping[str, int] | None = None,
        life: str = "",
        older: Mapping[str, list[Frame]] | None = None,
        books: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Give `consumer` a snapshot of the lines it wants, then their updates.

        Asking again for a key adds to what was asked before.

        Parameters
        ----------
        wanted
            Key, room and anchor (seconds after IST midnight) of each instrument.
        market
            Whose prices are meant; empty takes whatever the relay streams.
        after, life
            What the consumer heard last of each key, and in which life of the relay.
            Whoever wants every tick is told again what came since.
        older
            What `Lives.older` found for that.
        books
            Key and depth room of each instrument whose books are wanted.

        Raises
        ------
        SubscriptionRefused
            When there are too many rooms, when a key already means another
            instrument to this consumer, or when the relay streams another
            market. Nothing is subscribed then.
        """
        if market and self.market not in (None, market):
            raise SubscriptionRefused(
                f"The relay streams the {self.market} market and this wants {market} prices; it "
                "serves one market at a time."
            )
        rooms = dict.fromkeys(
            room for _, room, _ in wanted
        )  # in order, so that joins are repeatable
        held = {*self._by_room, *self.sides.books.rooms}
        if len(held.union(rooms, [room for _, room in books])) > MAX_ROOMS:
            raise SubscriptionRefused(
                f"The broker streams at most {MAX_ROOMS} instruments and "
                f"{len(held)} are already subscribed. Close what is not needed."
            )
        for key, room, anchor_s in wanted:
            watch = consumer.watches.get(key)
            if watch and (watch.line.room, watch.line.anchor_s) != (room, anchor_s):
                raise SubscriptionRefused(
                    f"{key} already means room {watch.line.room} here, not {room}. "
                    "Unsubscribe it first."
                )
        self.market = self.market or market or None
        intervals = set(intervals)
        lines: list[Line] = []
        for key, room, anchor_s in wanted:
            watch = consumer.watches.get(key) or self._watch(consumer, key, room, anchor_s)
            watch.every |= every
            watch.ticks |= ticks
            known = len(watch.line.series)
            watch.line.hold(intervals - watch.intervals)
            watch.intervals |= intervals
            lines.append(watch.line)
            self.audiences.settle(watch.line)
            if len(watch.line.series) > known:
                self.lives.note_line(watch.line)
        wishes, unknown = self.lives.wishes(wanted, after if after and ticks else {}, life)
        consumer.post(
            {
                "op": "snapshot",
                "id": request_id,
                "ticks": [*tick_rows(line.last for line in lines if line.last is not None)],
                "bars": [
                    row.encoded(consumer.codec)
                    for line in lines
                    for interval in intervals
                    for row in line.series[interval].rows()
                ],
                "sequences": {line.key: line.sequence for line in lines},
                "lost": unknown,
                "depth": self.sides.books.snapshot(books, consumer.codec),
            }
        )
        if every:
            for batch in self.journal.again(wishes, self._sequences, older or {}):
                consumer.post(batch)
        self.upstream.join(rooms)
        self.sides.books.hold(consumer, books)

    def unsubscribe(self, consumer: Consumer, keys: Iterable[str]) -> None:
        """Stop sending `keys` to `consumer`; unknown keys are fine."""
        keys = list(keys)
        self.sides.release(consumer, keys)
        for key in keys:
            watch = consumer.watches.pop(key, None)
            if watch is None:
                continue
            del watch.line.watches[consumer.number]
            self.audiences.settle(watch.line)
            watch.line.release(watch.intervals)
            watch.line.idle_since = time.monotonic()
            consumer.forget(key)

    def _watch(self, consumer: Consumer, key: str, room: str, anchor_s: int) -> Watch:
        line = self._lines.get((key, room, anchor_s))
        if line is None:
            line = self._lines[key, room, anchor_s] = self.lives.line(key, room, anchor_s)
            self._by_room.setdefault(room, []).append(line)
            self.gaps.watch(room, key)
        watch = consumer.watches[key] = line.watches[consumer.number] = Watch(consumer, line)
        return watch

    def peek(
        self, codec: Codec, wanted: Iterable[tuple[str, str, int]], intervals: Iterable[Interval]
    ) -> dict[str, Any]:
        """Return what is known of instruments, for whoever does not want to hear more.

        Parameters
        ----------
        wanted
            Key, room and anchor of each.

        Returns
        -------
        dict
            ``market``; ``found``: for each key that is streamed ``tick`` (a row, or
            None before the first) and ``bars`` (rows of the intervals somebody holds).
        """
        found: dict[str, Any] = {}
        intervals = list(intervals)
        for key, room, anchor_s in wanted:
            lines = self._by_room.get(room)
            if not lines:
                continue
            last = next((line.last for line in lines if line.last is not None), None)
            # The last tick is the same in every line of the room; bars count from the anchor.
            held = {
                interval: line.series[interval]
                for line in lines
                for interval in intervals
                if line.anchor_s == anchor_s and interval in line.series
            }
            found[key] = {
                "tick": None if last is None else tick_rows([last])[0],
                "bars": [row.encoded(codec) for series in held.values() for row in series.rows()],
            }
        return {"market": self.market, "found": found}

    def sweep(self, linger_s: float = LINGER_S) -> None:
        """Forget lines and bars nobody has wanted for `linger_s`."""
        before = time.monotonic() - linger_s
        for identity, line in list(self._lines.items()):
            if not line.watches and line.idle_since < before:
                del self._lines[identity]
                lines = self._by_room[line.room]
                lines.remove(line)
                if not lines and line.room not in self.held:
                    self.gaps.leave(line.room)
                    del self._by_room[line.room]
                    self.upstream.leave([line.room])
                    self.lives.left(line.room)
            else:
                line.drop_idle_series(before)
        self.sides.sweep(before, self._lines.values())
        self.lives.sweep(before)
        self._tell_trouble()

    def _tell_trouble(self) -> None:
        """Tell everybody when the recording stops, and when it goes on."""
        trouble = self.journal.trouble
        if trouble == self._trouble_told:
            return
        self._trouble_told = trouble
        for consumer in self.consumers.values():
            consumer.post({"op": "recording", "on": not trouble, "error": trouble})

    async def prepare(self, market: str) -> None:
        """Stand where a former life stood in `market`, unless another one flows."""
        if self.market in (None, market):
            await self.lives.prepare(market)
            self.gaps.use(market)

    # -- the stream -------------------------------------------------------

    async def login(self, login: Login) -> None:
        """Connect with `login`; another market's prices are forgotten.

        Raises
        ------
        LoginError
            When somebody listens to another market: invented prices must never
            reach a chart of real ones, nor the other way round.
        """
        market = login.endpoints.name
        listening = sum(bool(consumer.watches) for consumer in self.consumers.values())
        if self.market not in (None, market) and listening:
            raise LoginError(
                f"The relay streams the {self.market} market to {listening} charts or notebooks "
                "and serves one market at a time. Close them or run `breeze-lab relay stop`, then "
                "log in again."
            )
        async with self.lives.changing:
            await self._login(login, market)

    async def _login(self, login: Login, market: str) -> None:
        past = await self.lives.read(market)
        held = self.upstream.login_held
        self.quarantine.hide(login.token)
        # Set before the wait, so that nobody of the old market slips in; a login that fails
        # leaves everything as it was.
        before, self.market = self.market, market
        try:
            await self.upstream.login(login)
        except BaseException:
            self.market = before
            raise
        # No frame of the new connection can have come yet: nothing was awaited since.
        self._stop_following()
        self.gaps.use(market)
        if past is not None:
            self.lives.adopt(market, past)
        self.lives.turn(held, login)
        await self.sides.login(held, login)

    async def end(self, reason: str) -> None:
        """End every connection because the session ended."""
        await self.upstream.end(reason)
        await self.sides.end(reason)

    async def close(self) -> None:
        """End every connection and forget the login."""
        await self.upstream.close()
        await self.sides.close()

    def on_state(self, state: State) -> None:
        """Tell every consumer how the stream stands."""
        _log.info("Upstream is %s (%s).", state.state, state.endpoints or "no login")
        self.lives.on_connection()
        message = {"op": "state", "upstream": state.to_dict()}
        for consumer in self.consumers.values():
            consumer.post(message)

    def on_lost(self, cause: str) -> None:
        """Mark every line: ticks may be missing since the last one."""
        self.gaps.lost(cause)

    def on_malformed(self, reason: str) -> None:
        """Count and keep what could not be read; it is never fatal."""
        self.quarantine.add("stock", reason)

    def on_stock(self, raw: bytes) -> None:
        """Take one frame of the stream; see `breeze_lab.relay.intake`."""
        self._intake.take((raw,), strict=True)

    # -- the bus ----------------------------------------------------------

    def hold(self, rooms: Iterable[str]) -> int:
        """Keep `rooms` joined for other relays, instead of those before.

        Returns
        -------
        int
            How many are kept: our own consumers must find room too.
        """
        wanted = dict.fromkeys(rooms)
        ours = {room for room, lines in self._by_room.items() if lines}
        most = max(0, MAX_ROOMS - _OURS - len(ours))
        more = [room for room in wanted if room not in ours][:most]
        before, self.held = self.held, frozenset([*more, *(wanted.keys() & ours)])
        for room in before - self.held:
            if not self._by_room.get(room, True):
                del self._by_room[room]
                self.upstream.leave([room])
        for room in self.held:
            self._by_room.setdefault(room, [])
        joined = set(self.upstream.rooms)
        missing = [room for room in more if room not in joined]
        if missing:
            self.upstream.join(missing)
        return len(self.held)

    def raise_sequences(self, heads: Mapping[str, int]) -> None:
        """Go on counting where the bus stands, so that no number comes twice."""
        self.lives.today.raise_to(heads)

    def sequence(self, room: str) -> int:
        """Return the number of the last frame of a room, 0 when none came."""
        return self._sequences.get(room, 0)

    def on_bus(self, room: str, record: Record) -> None:
        """Take one frame of another relay, with the numbers that one gave it."""
        lines = self._by_room.get(room)
        if lines is None or not self.following or self.upstream.login_held is not None:
            return
        self.frames += 1
        try:
            value = decode(record.data)
        except BadResponse as exc:
            self.on_malformed(str(exc))
            return
        if not isinstance(value, (Quote, Tick)) or value.room != room:
            self.unasked += 1
            return
        _, epoch, sequence, received_ms, raw = record
        self.lives.today.jump(room, sequence)
        order = self.journal.frame(room, sequence, epoch, received_ms, raw)
        for line in lines:
            line.take(value, sequence, epoch, received_ms, order)
        self.audiences.heard()

    def on_bus_missing(self, room: str, first: int, last: int) -> None:
        """Tell whoever wants the ticks of a room which of them cannot be had any more."""
        if not self.following:
            return
        for line in self._by_room.get(room, ()):
            line.gap()
            for watch in line.watches.values():
                if watch.ticks:
                    lost = [line.key, first, last, "the bus no longer had them"]
                    watch.consumer.post({"op": "batch", "lost": [lost]})

    def _stop_following(self) -> None:
        """Forget what another relay told: its prices and ours must not meet in one bar."""
        if self.following:
            self.following = False
            for line in self._lines.values():
                line.gap()
                line.clear()

    # -- the report -------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the relay does now, without secrets."""
        return self._report.status()
