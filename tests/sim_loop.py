"""Virtual time and what runs in it: an event loop, processes that can be killed, connections.

The clock jumps to the next timer whenever nothing can run, so a day of waiting costs what its
work costs. Nothing here knows of feeds or brokers.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections import deque
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

#: A simulation that turns so often within one virtual second is stuck.
MOST_TURNS = 200_000
#: Messages that wait at a process that does not read before the other end has to wait.
MOST_UNREAD = 8

#: Which process of the world a task belongs to; tasks started by it inherit it.
process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Selector(selectors.SelectSelector):
    """Lets virtual time pass instead of waiting."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        # No descriptor is ever waited for: whatever comes, comes by a timer.
        if timeout is None:
            raise RuntimeError("Nothing will ever happen again in this world.")
        if timeout > 0:
            self.loop.pass_time(timeout)
        return []


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
        self.frozen = False  # as by SIGSTOP: it reads nothing, and its sockets stay open
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

    def leave(self) -> None:
        """End it in order: what runs is cancelled, and may say goodbye."""
        for task in list(self.tasks):
            task.cancel()

    def freeze(self) -> None:
        """Let it read nothing from now on."""
        self.frozen = True

    def thaw(self) -> None:
        """Let it go on with what waits for it."""
        self.frozen = False
        for socket in self.sockets:
            socket.arrived.set()


class Wire:
    """What lies between two ends: delay, and holes in either direction."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.hurry()
        self.holes: set[Socket] = set()  # what these ends send is swallowed

    def hurry(self) -> None:
        """Delay nothing by much from now on."""
        self.delay_s = (0.0002, 0.002)

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
        self._owner = owner
        self._inbox: deque[Any] = deque()
        self.arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._polite = False
        self._last_s = 0.0
        #: Takes what it wants before anybody can receive it; see `breeze_lab.relay.flow`.
        self.tap: Callable[[list[bytes]], int] | None = None
        self.passed = 0  # messages left to be received
        self._pongs: list[asyncio.Future[float]] = []
        if owner is not None:
            owner.sockets.append(self)

    # -- what our code calls ----------------------------------------------

    async def send(self, data: str | bytes, text: bool | None = None) -> None:
        await asyncio.sleep(0)
        while self.alive and self.peer._full:
            self._taken.clear()
            await self._taken.wait()
        if not self.alive:
            raise self._closed()
        if isinstance(data, bytes) and text:
            data = data.decode()
        self._post(lambda peer: peer._take(data))

    async def send_all(self, messages: list[bytes], *, text: bool) -> None:
        for message in messages:
            await self.send(message, text=text)

    async def recv(self, decode: bool | None = None) -> Any:
        while self._frozen or not self._inbox:
            if not self.alive and not self._frozen:
                raise self._closed()
            self.arrived.clear()
            await self.arrived.wait()
        data = self._inbox.popleft()
        self.peer._taken.set()
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
            self.arrived.clear()
            await self.arrived.wait()

    def abort(self) -> None:
        """Break the connection; the other end hears of it, unless there is a hole."""
        if self.alive:
            self._post(lambda peer: peer._end(polite=False))
            self._end(polite=False)

    @property
    def _frozen(self) -> bool:
        return self._owner is not None and self._owner.frozen

    @property
    def _full(self) -> bool:
        """Whether its process is frozen and the system holds no more for it."""
        return self._frozen and len(self._inbox) >= MOST_UNREAD

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
        if self.tap is not None and not self._frozen:
            raw = data.encode() if isinstance(data, str) else data
            if self.tap([raw]):
                return
        self.passed += 1
        self._inbox.append(data)
        self.arrived.set()

    def _pong(self, pong: asyncio.Future[float]) -> None:
        if not pong.done():
            pong.set_result(0.0)

    def _end(self, *, polite: bool) -> None:
        self.alive = False
        self._polite = polite
        self.arrived.set()
        self._taken.set()
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
