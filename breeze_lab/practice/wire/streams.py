"""The streams: who listens to which room, and frames sent as trades happen.

One task walks through the trades of all rooms in time order, so a trade is
computed once however many sockets listen; another sends candles when their
interval has ended. Both run on the server's event loop and give way often.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import re
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from breeze_lab.bars import Interval
from breeze_lab.practice.exchange import derivatives
from breeze_lab.practice.exchange.days import midnight, number_at
from breeze_lab.practice.exchange.history import Series, series
from breeze_lab.practice.exchange.noise import key_of
from breeze_lab.practice.wire import frames, strategies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.practice.exchange.market import Live, Market
    from breeze_lab.practice.exchange.universe import Contract
    from breeze_lab.practice.wire.sockets import Connection

__all__ = ["CandleHub", "FeedsHub", "QuoteHub"]

#: Ten times as fast as the standard library's, and a frame is written for every trade.
_json: Final = msgspec.json.Encoder().encode
_ROOM: Final = re.compile(r"(\d{1,2})\.([12])!(.{1,40})")
#: Work this long at most before others get the event loop.
_TURN_S: Final = 0.01
_IDLE_S: Final = 0.5
#: A room whose next trade is overdue by this many real seconds stands anew where the market is.
_LATE_S: Final = 30.0
#: Trades that happen within this time are sent together: waking up costs more than a frame.
_BATCH_S: Final = 0.004
#: A minute is computed ahead of time, each contract at its own moment of the minute before.
_AHEAD_MS: Final = 36_000
#: After an interval's end its candle is pushed this much later (market milliseconds).
_CANDLE_DELAY_MS: Final = 200
#: Candles of seconds that ended longer ago are skipped: an hour at full speed is one second.
_CANDLES_BEHIND_S: Final = 7200


def _packet(event: str, payload: object) -> str:
    return f'42["{event}",{_json(payload).decode()}]'


class _Turn:
    """Gives way to other tasks whenever one has worked for long enough."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def __call__(self) -> None:
        if time.monotonic() - self._since > _TURN_S:
            await asyncio.sleep(0)
            self._since = time.monotonic()


@dataclass(slots=True, eq=False)
class _Room:
    """A contract somebody listens to."""

    live: Live
    sent_ms: int = 0
    quotes: set[Connection] = field(default_factory=set)
    depths: set[Connection] = field(default_factory=set)

    def listeners(self, kind: str) -> set[Connection]:
        """Return who listens to quotes ("1") or depth ("2")."""
        return self.quotes if kind == "1" else self.depths


class FeedsHub:
    """The order stream: order frames for whoever is connected, and rooms of recommendations.

    Parameters
    ----------
    market
        What recommendations are made of.
    """

    def __init__(self, market: Market) -> None:
        """Start without listeners."""
        self.market = market
        self.frames = 0
        self._rooms: dict[str, set[Connection]] = {room: set() for room in strategies.ROOMS}
        self._joins: deque[tuple[Connection, str]] = deque()
        self._told: dict[str, tuple[int, int]] = {}
        self._changed = asyncio.Event()

    def counts(self) -> Counter[str]:
        """Return how many connections listen to each room."""
        return Counter({room: len(heard) for room, heard in self._rooms.items() if heard})

    def join(self, connection: Connection, room: str) -> None:
        """Listen to recommendations; other rooms are accepted and silent."""
        connection.rooms.add(room)
        if room in self._rooms:
            self._joins.append((connection, room))
            self._changed.set()

    def leave(self, connection: Connection, room: str) -> None:
        """Forget a room."""
        connection.rooms.discard(room)
        if room in self._rooms:
            self._rooms[room].discard(connection)

    def gone(self, connection: Connection) -> None:
        """Stop telling it anything."""
        connection.rooms.clear()
        for heard in self._rooms.values():
            heard.discard(connection)

    def wake(self) -> None:
        """Look at the clock again: somebody has moved it."""
        self._changed.set()

    def order(self, frame: list[str], connections: Iterable[Connection]) -> None:
        """Send an order frame to its owner's connections, which need no room for it."""
        packet = _packet("order", frame)
        for connection in connections:
            connection.send(packet)
            self.frames += 1

    async def run(self) -> None:
        """Tell recommendations until cancelled: at once to who joins, then as they change."""
        while True:
            self._changed.clear()
            while self._joins:
                connection, room = self._joins.popleft()
                if room in connection.rooms:
                    self._rooms[room].add(connection)
                    call = await self._newest(room)
                    if call is not None:
                        await self._tell(room, {connection}, call)
            for room, heard in self._rooms.items():
                if heard:
                    await self._update(room, heard)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S):
                    await self._changed.wait()

    async def _newest(self, room: str) -> strategies.Call | None:
        now_ms = self.market.clock.now_ms()
        return await asyncio.to_thread(strategies.call_at, self.market.prices, room, now_ms)

    async def _update(self, room: str, heard: set[Connection]) -> None:
        """Tell a new call, or every market minute how the newest one stands."""
        now_ms = self.market.clock.now_ms()
        minute = now_ms // 60_000
        number, told = self._told.get(room, (0, 0))
        if told == minute:
            return
        call = await self._newest(room)
        self._told[room] = call.number if call else number, minute
        if call is None:
            return
        if number and call.number != number:
            await self._tell(room, heard, call)
        elif number and (now_ms // 1000 - call.start_s) <= strategies.PERIOD_S:
            await self._tell(room, heard, call, now_ms)

    async def _tell(
        self, room: str, heard: set[Connection], call: strategies.Call, now_ms: int | None = None
    ) -> None:
        frame = await asyncio.to_thread(strategies.frame, self.market.prices, call, now_ms)
        packet = _packet("stock", frame)
        for connection in [c for c in heard if room in c.rooms]:
            connection.send(packet)
            self.frames += 1


class QuoteHub:
    """The quote stream.

    Parameters
    ----------
    market
        What trades.
    interval_ms
        Market milliseconds between two frames of a room at least. The broker sends
        snapshots, about one a second; 0 sends every trade.
    """

    def __init__(self, market: Market, interval_ms: int = 0) -> None:
        """Start without listeners."""
        self.market = market
        self.interval_ms = interval_ms
        self.frames = 0
        self._rooms: dict[Contract, _Room] = {}
        self._joins: deque[tuple[Connection, str, Contract, str]] = deque()
        #: When each room is due, and whether with trades or to be computed ahead.
        self._due: list[tuple[int, int, bool, _Room]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._jumps = market.clock.jumps

    def wake(self) -> None:
        """Look at the clock again: somebody has changed it."""
        self._changed.set()

    def counts(self) -> Counter[str]:
        """Return how many connections listen to each room."""
        found: Counter[str] = Counter()
        for contract, room in self._rooms.items():
            for kind in "12":
                if room.listeners(kind):
                    name = f"{contract.market}.{kind}!{contract.token}"
                    found[name] = len(room.listeners(kind))
        return found

    def join(self, connection: Connection, room: str) -> None:
        """Note a wish to listen; unknown rooms are ignored, as at the broker."""
        parts = _ROOM.fullmatch(room)
        contract = self.market.room(parts[1], parts[3]) if parts else None
        if parts is None or contract is None or parts[1] == "2":
            return
        # An index has no book, and MCX sends its book within the quote.
        if parts[2] == "2" and (contract.kind == "index" or contract.exchange == "MCX"):
            return
        connection.rooms.add(room)
        self._joins.append((connection, room, contract, parts[2]))
        self._changed.set()

    def leave(self, connection: Connection, room: str) -> None:
        """Stop listening."""
        connection.rooms.discard(room)
        parts = _ROOM.fullmatch(room)
        contract = self.market.room(parts[1], parts[3]) if parts else None
        if parts is not None and contract in self._rooms:
            self._rooms[contract].listeners(parts[2]).discard(connection)
            self._sweep(contract)

    def gone(self, connection: Connection) -> None:
        """Stop listening to everything."""
        connection.rooms.clear()
        for contract, room in list(self._rooms.items()):
            room.quotes.discard(connection)
            room.depths.discard(connection)
            self._sweep(contract)

    def _sweep(self, contract: Contract) -> None:
        room = self._rooms[contract]
        if not room.quotes and not room.depths:
            del self._rooms[contract]

    async def run(self) -> None:
        """Serve until cancelled."""
        turn = _Turn()
        while True:
            self._changed.clear()
            if self._jumps != self.market.clock.jumps:
                self._jumps = self.market.clock.jumps
                await self._stand_anew(turn)
            await self._take_joins(turn)
            await self._let_trades_happen(turn)
            wait = self.market.clock.wait_s(self._due[0][0]) if self._due else _IDLE_S
            if not self._joins:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(max(wait, _BATCH_S), _IDLE_S)):
                        await self._changed.wait()
            else:
                await asyncio.sleep(0)

    async def _stand_anew(self, turn: _Turn) -> None:
        """Let every room stand where the market stands since the clock jumped; all are told."""
        self._due.clear()
        for contract, room in list(self._rooms.items()):
            if self._rooms.get(contract) is room:
                self._start(room)
                self._publish(room)
                await turn()

    def _start(self, room: _Room) -> None:
        room.live = self.market.live(room.live.contract)
        self._schedule(room)
        self._look_ahead(room, self.market.clock.now_ms() - _AHEAD_MS // 2)

    async def _take_joins(self, turn: _Turn) -> None:
        while self._joins:
            connection, name, contract, kind = self._joins.popleft()
            if name not in connection.rooms:
                continue
            room = self._rooms.get(contract)
            if room is None:
                room = self._rooms[contract] = _Room(self.market.live(contract))
                self._schedule(room)
                self._look_ahead(room, self.market.clock.now_ms() - _AHEAD_MS // 2)
            room.listeners(kind).add(connection)
            frame = frames.quote(room.live) if kind == "1" else frames.depth(room.live)
            connection.send(_packet("stock", frame))
            self.frames += 1
            await turn()
            await self._let_trades_happen(turn)

    def _schedule(self, room: _Room) -> None:
        """Note when this room's next frame goes out: with its next trade, or some time later."""
        due = room.live.next_ms
        if due is None:
            due = room.live.prepare()
        if due is not None:
            due = max(due, room.sent_ms + self.interval_ms)
            heapq.heappush(self._due, (due, next(self._order), True, room))

    def _look_ahead(self, room: _Room, after_ms: int) -> None:
        """Have the room's next minute computed some time after `after_ms`, not all at once."""
        spread = key_of(room.live.contract.token) % _AHEAD_MS
        heapq.heappush(self._due, (after_ms + spread, next(self._order), False, room))

    async def _let_trades_happen(self, turn: _Turn) -> None:
        while self._due and self._due[0][0] <= self.market.clock.now_ms():
            due, _, trades, room = heapq.heappop(self._due)
            live = room.live
            if self._rooms.get(live.contract) is not room:
                continue
            if self._late(due):
                self._start(room)
                self._publish(room)
            elif trades:
                minute = live.minute
                live.step()
                while self.interval_ms and (live.prepare() or due + 1) <= due:
                    live.step()
                self._publish(room)
                room.sent_ms = due
                self._schedule(room)
                if live.minute != minute:
                    self._look_ahead(room, due + _AHEAD_MS // 4)
            else:
                live.prepare()
            await turn()

    def _late(self, due_ms: int) -> bool:
        """Say whether the market runs faster than its trades can be told."""
        market_clock = self.market.clock
        return market_clock.now_ms() - due_ms > _LATE_S * 1000 * max(market_clock.speed, 1.0)

    def _publish(self, room: _Room) -> None:
        if room.quotes:
            packet = _packet("stock", frames.quote(room.live))
            for connection in room.quotes:
                connection.send(packet)
        if room.depths:
            packet = _packet("stock", frames.depth(room.live))
            for connection in room.depths:
                connection.send(packet)
        self.frames += len(room.quotes) + len(room.depths)


class CandleHub:
    """The candle stream: every room gets the candles of all intervals.

    Parameters
    ----------
    market
        What trades.
    """

    def __init__(self, market: Market) -> None:
        """Start without listeners."""
        self.market = market
        self.frames = 0
        self._rooms: dict[Contract, set[Connection]] = {}
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look at the clock again: somebody has changed it."""
        self._changed.set()

    def counts(self) -> Counter[str]:
        """Return how many connections listen to each room."""
        return Counter(
            {
                f"{'2' if c.exchange == 'BFO' else c.market}.1!{c.token}": len(listeners)
                for c, listeners in self._rooms.items()
            }
        )

    def join(self, connection: Connection, room: str) -> None:
        """Listen; the interval is not part of the room."""
        contract = self._contract(room)
        if contract is not None:
            connection.rooms.add(room)
            self._rooms.setdefault(contract, set()).add(connection)

    def leave(self, connection: Connection, room: str) -> None:
        """Stop listening."""
        connection.rooms.discard(room)
        contract = self._contract(room)
        if contract is not None and contract in self._rooms:
            self._rooms[contract].discard(connection)
            if not self._rooms[contract]:
                del self._rooms[contract]

    def gone(self, connection: Connection) -> None:
        """Stop listening to everything."""
        for room in list(connection.rooms):
            self.leave(connection, room)

    def _contract(self, room: str) -> Contract | None:
        parts = _ROOM.fullmatch(room)
        if parts is None or parts[2] != "1" or parts[1] == "8":
            return None
        return self.market.room(parts[1], parts[3])

    async def run(self) -> None:
        """Push the candles of every second that ends, until cancelled."""
        turn = _Turn()
        market_clock = self.market.clock
        done, jumps = market_clock.now_ms() // 1000 - 1, market_clock.jumps
        while True:
            if jumps != market_clock.jumps:
                done, jumps = market_clock.now_ms() // 1000 - 1, market_clock.jumps
            ended = (market_clock.now_ms() - _CANDLE_DELAY_MS) // 1000 - 1
            done = max(done, ended - _CANDLES_BEHIND_S)
            while done < ended:
                done += 1
                for contract, listeners in list(self._rooms.items()):
                    self._push(contract, listeners, done)
                    await turn()
            wait = market_clock.wait_s((done + 2) * 1000 + _CANDLE_DELAY_MS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(wait, 0.002), _IDLE_S)):
                    await self._changed.wait()
            self._changed.clear()

    def _push(self, contract: Contract, listeners: set[Connection], second: int) -> None:
        for interval, event in frames.CANDLE_EVENTS.items():
            start = second + 1 - interval.value
            if interval.floor_epoch(start, contract.anchor_s) != start:
                continue
            if interval is Interval.S1:
                found = self._second(contract, second)
            else:
                now_ms = (second + 1) * 1000
                found = series(self.market.prices, contract, interval, (start, start), now_ms)
            if found is None or not len(found):
                continue
            packet = _packet(event, frames.candle(contract, found, 0, interval))
            for connection in listeners:
                connection.send(packet)
            self.frames += len(listeners)

    def _second(self, contract: Contract, second: int) -> Series | None:
        prices, number = self.market.prices, number_at(second)
        bars, hours = prices.minutes(contract, number), prices.hours(contract, number)
        if bars is None or hours is None:
            return None
        minute, place = divmod(second - midnight(number) - hours[0] * 60, 60)
        if not 0 <= minute < hours[1] or not bars.volume[minute]:
            return None
        split = prices.minute_seconds(contract, number, minute)
        if not split.volume[place]:
            return None
        interest = np.zeros(1, np.int64)
        if contract.expiry is not None:
            minutes = derivatives.second_interest(prices, contract, number, np.array([minute]))
            interest = minutes[0, place : place + 1]
        return Series(np.array([second]), split.take(slice(place, place + 1)), interest)
