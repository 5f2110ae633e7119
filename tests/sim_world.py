"""A day of feed, relay and broker in virtual time, repeatable from a seed.

The real code of the feed, the door, the hub and the upstream link runs on one event loop whose
clock jumps to the next timer whenever nothing can run. Only what lies outside the processes is
made here: the network between them, the broker, the clocks of the machine, and who is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import json
import os
import random
import selectors
import sys
import time as real_time
import types
from collections import deque
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close

from breeze_lab import clock, processes, settings
from breeze_lab.feed import FeedTick, Gap, Lost
from breeze_lab.feed.loop import Entry, FeedLoop
from breeze_lab.feed.subscription import Subscription
from breeze_lab.relay import __main__ as relay_main
from breeze_lab.relay.logbook import Logbook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    import pytest

#: 10:00 IST on Friday 20 November 2026.
START_S = 1_795_149_000.0
#: A simulation that turns so often within one virtual second is stuck.
MOST_TURNS = 200_000

#: Which process of the world a task belongs to; tasks started by it inherit it.
process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Selector(selectors.SelectSelector):
    """Lets virtual time pass instead of waiting."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("Nothing will ever happen again in this world.")
        if not events and timeout:
            self.loop.pass_time(timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is its own; work for threads is done at once, and takes a while."""

    def __init__(self, dice: random.Random) -> None:
        self.now = 1000.0
        self._turns = 0
        self._dice = dice
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_task_factory(_task)

    def time(self) -> float:
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise RuntimeError("This world turns and no time passes.")
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._turns = 0

    def run_in_executor(self, _: Any, work: Callable[..., Any], *arguments: Any) -> Any:
        future = self.create_future()
        owner = process.get()

        def run() -> None:
            if future.cancelled() or (owner is not None and owner.dead):
                return
            try:
                future.set_result(work(*arguments))
            except BaseException as exc:  # noqa: BLE001 - whoever waits gets it
                future.set_exception(exc)

        self.call_later(self._dice.uniform(0.0005, 0.02), run)
        return future


def _task(loop: Any, work: Coroutine[Any, Any, Any], **options: Any) -> Any:
    task = asyncio.Task(work, loop=loop, **options)
    owner = process.get()
    if owner is not None:
        owner.tasks.add(task)
        task.add_done_callback(owner.tasks.discard)
        if owner.dead:
            loop.call_soon(task.cancel)
    return task


class Process:
    """Tasks and sockets that end together, without a word, when it is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.tasks: set[Any] = set()
        self.sockets: list[Socket] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Start a task of this process."""
        token = process.set(self)
        try:
            return asyncio.get_running_loop().create_task(work)
        finally:
            process.reset(token)

    def kill(self) -> None:
        """End it as SIGKILL does: its sockets break, nothing it holds is finished."""
        self.dead = True
        for socket in self.sockets:
            socket.abort()
        for task in list(self.tasks):
            task.cancel()


class Wire:
    """What lies between two ends: delay, and holes in either direction."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.delay_s = (0.0002, 0.002)
        self.holes: set[Socket] = set()  # what these ends send is swallowed

    def lag(self) -> float:
        return self.dice.uniform(*self.delay_s)


class Socket:
    """One end of a websocket: the part of websockets' connection that our code uses."""

    def __init__(self, wire: Wire, owner: Process | None) -> None:
        self.wire = wire
        self.peer: Socket
        self.subprotocol: str | None = None
        self.transport = self
        self.alive = True
        self._inbox: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._polite = False
        self._last_s = 0.0
        #: Takes what it wants before anybody can receive it; see `breeze_lab.relay.flow`.
        self.tap: Callable[[list[bytes]], int] | None = None
        self._pongs: list[asyncio.Future[float]] = []
        if owner is not None:
            owner.sockets.append(self)

    # -- what our code calls ----------------------------------------------

    async def send(self, data: str | bytes, text: bool | None = None) -> None:
        await asyncio.sleep(0)
        if not self.alive:
            raise self._closed()
        if isinstance(data, bytes) and text:
            data = data.decode()
        self._post(lambda peer: peer._take(data))

    async def recv(self, decode: bool | None = None) -> Any:
        while not self._inbox:
            if not self.alive:
                raise self._closed()
            self._arrived.clear()
            await self._arrived.wait()
        data = self._inbox.popleft()
        return data.encode() if decode is False and isinstance(data, str) else data

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    async def ping(self) -> Any:
        if not self.alive:
            raise self._closed()
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._post(lambda peer: peer._post(lambda me: me._pong(pong)))
        return pong

    async def close(self, *_: object) -> None:
        if self.alive:
            self._polite = True
            self._post(lambda peer: peer._end(polite=True))
            self._end(polite=True)

    async def wait_closed(self) -> None:
        while self.alive:
            self._arrived.clear()
            await self._arrived.wait()

    def abort(self) -> None:
        """Break the connection; the other end hears of it, unless there is a hole."""
        if self.alive:
            self._post(lambda peer: peer._end(polite=False))
            self._end(polite=False)

    # -- the network ------------------------------------------------------

    def _post(self, act: Callable[[Socket], None]) -> None:
        """Do something at the other end later, in the order of posting."""
        if self in self.wire.holes:
            return
        loop = asyncio.get_running_loop()
        # A hair apart, because timers of one moment run in any order.
        self._last_s = max(self._last_s + 1e-9, loop.time() + self.wire.lag())
        peer = self.peer

        def arrive() -> None:
            if peer.alive:
                act(peer)

        loop.call_at(self._last_s, arrive)

    def _take(self, data: Any) -> None:
        if self.tap is not None and isinstance(data, str) and self.tap([data.encode()]):
            return
        self._inbox.append(data)
        self._arrived.set()

    def _pong(self, pong: asyncio.Future[float]) -> None:
        if not pong.done():
            pong.set_result(0.0)

    def _end(self, *, polite: bool) -> None:
        self.alive = False
        self._polite = polite
        self._arrived.set()
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(self._closed())
                pong.exception()

    def _closed(self) -> Exception:
        if self._polite:
            return ConnectionClosedOK(Close(1000, ""), Close(1000, ""), rcvd_then_sent=True)
        return ConnectionClosedError(None, None)


def pair(dice: random.Random, one: Process | None, two: Process | None) -> tuple[Socket, Socket]:
    """Return both ends of a new connection."""
    wire = Wire(dice)
    first, second = Socket(wire, one), Socket(wire, two)
    first.peer, second.peer = second, first
    return first, second


class Syncer:
    """Stands for the thread that syncs: what is written survives a kill without it."""

    def __init__(self, *_: object) -> None:
        self.age_s = lambda: 0.0
        self.trouble = lambda: None
        self.watch = self.written = self.close = lambda *_: None
        self.finish = os.close


class Broker:
    """The other end of the stream: numbers its frames whether anybody listens or not.

    Parameters
    ----------
    rooms
        What ticks.
    """

    def __init__(self, dice: random.Random, rooms: list[str]) -> None:
        self.dice = dice
        self.numbers = dict.fromkeys(rooms, 0)
        self.sent_at: dict[tuple[str, int], float] = {}
        self.up = True
        self.connections: dict[Socket, set[str]] = {}
        self.most = 0
        self.twice: list[str] = []  # rooms of which frames are repeated or come late, sometimes

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
                    living = [one for one in self.connections if one.alive and one.peer.alive]
                    self.most = max(self.most, len(living))
                    await socket.send('40{"sid":"s"}')
                elif message.startswith("42"):
                    name, rooms = json.loads(message[2:])
                    joined = self.connections[socket]
                    (joined.update if name == "join" else joined.difference_update)(rooms)
        self.connections.pop(socket, None)

    async def tick(self, wall: Callable[[], float], rate: float) -> None:
        """Send frames for ever, at random moments."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.dice.expovariate(rate))
            room = self.dice.choice(list(self.numbers))
            number = self.numbers[room] = self.numbers[room] + 1
            self.sent_at[room, number] = loop.time()
            price = 100 + self.dice.randrange(-50, 50) / 10
            frame = [
                room, 100.0, price, 110.0, 90.0, 0.5, price, 5, price, 6, 10, 100.0, number, 1, 1,
                "1.0L", "", 80.0, 120.0, int(wall()), 99.5,
            ]  # fmt: skip
            message = f'42["stock",{json.dumps(frame)}]'
            for socket, rooms in list(self.connections.items()):
                if room in rooms and socket.alive:
                    with contextlib.suppress(ConnectionClosedError, ConnectionClosedOK):
                        await socket.send(message)
                        if room in self.twice and self.dice.random() < 0.02:
                            await socket.send(message)


class World:
    """Broker, relay and kernels, and what went wrong between them.

    Parameters
    ----------
    seed
        Everything follows from it.
    home
        An empty folder.
    """

    def __init__(self, seed: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dice = random.Random(seed)
        self.loop = VirtualLoop(self.dice)
        self.jump_s = 0.0
        self.full = False  # is the disk?
        self.rooms = [f"4.1!{number}" for number in range(1, 5)]
        self.broker = Broker(self.dice, self.rooms)
        self.relay: Process | None = None
        self.lives = 0
        self._serve: Callable[[Socket], Coroutine[Any, Any, None]] | None = None
        monkeypatch.setenv("BREEZE_LAB_HOME", str(home))
        self.folders = settings.folders()
        self._patch(monkeypatch)

    def wall(self) -> float:
        """Return the machine's wall clock, Unix seconds."""
        return START_S + self.loop.now + self.jump_s

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = types.SimpleNamespace(**vars(real_time))
        watch.monotonic = lambda: self.loop.now
        watch.time = self.wall
        watch.time_ns = lambda: int(self.wall() * 1e9)
        monkeypatch.setattr(clock, "now", lambda: clock.from_epoch(self.wall()))
        dice = self.dice
        for name, module in list(sys.modules.items()):
            if name.startswith(("breeze_lab.relay", "breeze_lab.feed")):
                if getattr(module, "time", None) is real_time:
                    monkeypatch.setattr(module, "time", watch)
                if hasattr(module, "random"):
                    monkeypatch.setattr(module, "random", dice)
        monkeypatch.setattr("breeze_lab.relay.link.connect", self._dial)
        monkeypatch.setattr("breeze_lab.relay.link.Flow", Socket)
        monkeypatch.setattr("breeze_lab.relay.upstream.path_answers", self._answers)
        monkeypatch.setattr("websockets.asyncio.client.unix_connect", self._knock)
        monkeypatch.setattr("breeze_lab.relay.door.unix_serve", self._open)
        # Healing is another process, and so is syncing as far as a kill is concerned.
        monkeypatch.setattr("breeze_lab.relay.healer.Healer.take", lambda *_: None)
        monkeypatch.setattr("breeze_lab.relay.logbook._Syncer", Syncer)
        put = Logbook._put
        monkeypatch.setattr(Logbook, "_put", lambda book, data: self._write(put, book, data))
        monkeypatch.setattr("breeze_lab.relay.door._listen", lambda *_: None)
        monkeypatch.setattr(processes, "ensure", self._ensure)
        monkeypatch.setattr(processes, "publish", lambda *_: None)
        monkeypatch.setattr(self.loop, "add_signal_handler", lambda *_: None)

    def _write(self, put: Any, book: Logbook, data: bytes) -> bool:
        owner = process.get()
        if owner is not None and owner.dead:  # it was killed: nothing of it is written any more
            return True
        if self.full:
            book._fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            return False
        return put(book, data)

    async def _dial(self, *_: object, **__: object) -> Socket:
        await asyncio.sleep(self.dice.uniform(0.001, 0.02))
        return self.broker.connect(process.get())

    async def _answers(self, *_: object) -> bool:
        await asyncio.sleep(self.dice.uniform(0.001, 0.01))
        return self.broker.up

    async def _open(self, serve: Any, **_: object) -> Any:
        self._serve = serve

        async def closed() -> None:
            pass

        return types.SimpleNamespace(close=lambda: None, wait_closed=closed)

    def _ensure(self, *_: object, **__: object) -> dict[str, Any]:
        if self.relay is None or self.relay.dead:
            self.lives += 1
            self._serve = None
            self.relay = Process(f"relay {self.lives}")
            self.relay.run(relay_main.serve(self.folders, 0))
        return {}

    @contextlib.asynccontextmanager
    async def _knock(self, *_: object, **__: object) -> AsyncIterator[Socket]:
        await asyncio.sleep(self.dice.uniform(0.001, 0.05))
        relay = self.relay
        if relay is None or relay.dead or self._serve is None:
            raise ConnectionRefusedError(111, "no relay")
        ours, theirs = pair(self.dice, process.get(), relay)
        theirs.subprotocol = "breeze-lab.1.msgpack"
        relay.run(self._serve(theirs))
        try:
            yield ours
        finally:
            await ours.close()

    def kill_relay(self) -> None:
        """SIGKILL it."""
        if self.relay is not None:
            self.relay.kill()

    @property
    def upstream(self) -> list[Socket]:
        """The broker's ends of living connections."""
        return [one for one in self.broker.connections if one.alive and one.peer.alive]


class Kernel:
    """A notebook's process: one feed and what it heard."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.process = Process(name)
        self.feed = FeedLoop(world.folders, name)
        self.heard: dict[str, list[tuple[float, Any]]] = {}
        self._tokens = 0
        self.process.run(self.feed.run())

    async def login(self) -> None:
        names = [name for name in settings.Endpoints.__dataclass_fields__ if name != "name"]
        endpoints = {"name": "practice", **dict.fromkeys(names, "http://127.0.0.1:1")}
        login = {
            "op": "login", "endpoints": endpoints, "user": "u", "token": "t", "account": "a",
            "until": "2099-01-01T00:00:00+05:30", "serial": "",
        }  # fmt: skip
        await self.process.run(self.feed.login(login))

    async def subscribe(self, room: str) -> int:
        """Want every tick of a room; return the token that ends it."""
        self._tokens += 1
        key = f"{room}#{self._tokens}"  # its own key, so that its own sequence is checked
        heard = self.heard[key] = []
        hear = lambda event: heard.append((self.world.loop.now, event))  # noqa: E731
        subscription = Subscription((key,), (), "every", hear)
        entry = Entry(
            [{"key": key, "room": room, "anchor_s": 33_300}], {key: room}, (), "every", True,
            "practice", lambda: subscription,
        )  # fmt: skip
        await self.process.run(self.feed.subscribe(self._tokens, entry))
        return self._tokens

    def release(self, token: int) -> None:
        self.feed.release(token)

    def faults(self) -> list[str]:
        """Return what was wrong with what it heard: ticks twice, out of order or missing unsaid."""
        found = []
        for key, heard in self.heard.items():
            last: FeedTick | None = None
            told = False
            for at, event in heard:
                if not isinstance(event, FeedTick):
                    told |= says_a_loss(event)
                    continue
                if last is not None:
                    number, before = event.tick.volume, last.tick.volume
                    if number <= before:
                        found.append(f"{at:.3f} {key}: {number} after {before}")
                    elif number > before + 1 and not told:
                        found.append(f"{at:.3f} {key}: {number} after {before}, and nothing said")
                last, told = event, False
        return found


def says_a_loss(event: Any) -> bool:
    """Say whether an event tells of ticks that will not come."""
    return isinstance(event, (Gap, Lost))
