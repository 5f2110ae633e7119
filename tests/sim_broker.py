"""The broker of the simulation: what it sends, and what is true of it.

It numbers its frames whether anybody listens or not, so that whoever missed one can be found out.
Its clock is the exchange's, and right.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim_loop import pair
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from breeze_lab.bars import Interval

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sim_loop import Process, Socket

__all__ = ["Broker", "Traded"]


@dataclass
class Traded:
    """What was traded of one room within one second of the exchange."""

    prices: list[float] = field(default_factory=list)


class Broker:
    """The other end of the stream.

    Parameters
    ----------
    dice
        Decides what is sent when.
    rooms
        What ticks.
    wall
        The exchange's clock, Unix seconds.
    """

    def __init__(self, dice: random.Random, rooms: list[str], wall: Callable[[], float]) -> None:
        self.dice = dice
        self.wall = wall
        self.up = True
        self.connections: dict[Socket, set[str]] = {}
        self.most = 0  # connections that lived at the same time
        self.since = 0.0  # virtual time of the newest connection
        self.numbers = dict.fromkeys(rooms, 0)
        self.sent_at: dict[tuple[str, int], float] = {}  # virtual time
        self.copies: Counter[tuple[str, int]] = Counter()
        self.late: set[tuple[str, int]] = set()  # sent after their successor
        self.traded: dict[str, dict[int, Traded]] = {room: defaultdict(Traded) for room in rooms}
        #: Rooms of which frames are repeated or come late, sometimes.
        self.wild: set[str] = set()
        #: Whether whoever joins a room is told its last frame.
        self.greets = False
        self._days: dict[str, tuple[int, int]] = {}
        self._last: dict[str, tuple[int, str]] = {}
        self._kept_back: dict[str, tuple[int, str]] = {}

    def connect(self, who: Process | None) -> Socket:
        """Return the client's end of a new connection."""
        if not self.up:
            raise ConnectionRefusedError(111, "the broker is down")
        ours, theirs = pair(self.dice, None, who)
        asyncio.get_running_loop().create_task(self._talk(ours))
        return theirs

    async def _talk(self, socket: Socket) -> None:
        with contextlib.suppress(ConnectionClosedError, ConnectionClosedOK):
            await socket.send('0{"sid":"s","pingInterval":25000,"pingTimeout":20000}')
            while True:
                message = await socket.recv()
                if message.startswith("40"):
                    self.connections[socket] = set()
                    self.since = asyncio.get_running_loop().time()
                    self.most = max(self.most, len(self.living))
                    await socket.send('40{"sid":"s"}')
                elif message.startswith("42"):
                    name, rooms = json.loads(message[2:])
                    joined = self.connections[socket]
                    (joined.update if name == "join" else joined.difference_update)(rooms)
                    if name == "join" and self.greets:
                        for room in rooms:
                            if room in self._last:
                                await self._send(socket, room, *self._last[room])
        self.connections.pop(socket, None)

    @property
    def living(self) -> list[Socket]:
        """Our ends of the connections of which both ends live."""
        return [one for one in self.connections if one.alive and one.peer.alive]

    @property
    def joined(self) -> set[str]:
        """The rooms that are joined on any of them."""
        return set().union(*(self.connections[one] for one in self.living))

    async def tick(self, rate: float) -> None:
        """Send frames for ever, at random moments."""
        rooms = list(self.numbers)
        while True:
            await asyncio.sleep(self.dice.expovariate(rate))
            room = self.dice.choice(rooms)
            number, message = self._next(room)
            back = self._kept_back.pop(room, None)
            if room in self.wild and back is None and self.dice.random() < 0.06:
                self._kept_back[room] = number, message
                continue
            await self._tell(room, number, message)
            if back is not None:
                self.late.add((room, back[0]))
                await self._tell(room, *back)
            elif room in self.wild and self.dice.random() < 0.04:
                await self._tell(room, number, message)

    async def flush(self) -> None:
        """Send what is kept back."""
        for room, (number, message) in list(self._kept_back.items()):
            del self._kept_back[room]
            await self._tell(room, number, message)

    def _next(self, room: str) -> tuple[int, str]:
        """Trade once; return the number and the message that tells of it."""
        number = self.numbers[room] = self.numbers[room] + 1
        self.sent_at[room, number] = asyncio.get_running_loop().time()
        second = int(self.wall())
        day, before = self._days.get(room, (0, 0))
        if Interval.D1.floor_epoch(second) != day:  # the day's quantity begins anew
            day, before = self._days[room] = Interval.D1.floor_epoch(second), number - 1
        price = 100 + self.dice.randrange(-50, 50) / 10
        self.traded[room][second].prices.append(price)
        frame = [
            room, 100.0, price, 110.0, 90.0, 0.5, price, 5, price, number, 1, 100.0,
            number - before, 1, 1, "1.0L", "", 80.0, 120.0, second, 99.5,
        ]  # fmt: skip
        return number, f'42["stock",{json.dumps(frame)}]'

    async def _tell(self, room: str, number: int, message: str) -> None:
        self._last[room] = number, message
        for socket, rooms in list(self.connections.items()):
            if room in rooms and socket.alive:
                await self._send(socket, room, number, message)

    async def _send(self, socket: Socket, room: str, number: int, message: str) -> None:
        self.copies[room, number] += 1
        with contextlib.suppress(ConnectionClosedError, ConnectionClosedOK):
            await socket.send(message)
