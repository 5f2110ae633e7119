"""Upstream: the one connection to one of the broker's streams, and keeping it.

Owns connecting after a login, joining and leaving rooms, noticing a dead link
and coming back. It never opens a second connection and never retries a login
the broker refused; a server that is too busy for a login is asked again. What
the frames mean is left to its receiver.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

from websockets.exceptions import WebSocketException

from breeze_lab import clock
from breeze_lab.relay.link import (
    MUTE_PATIENCE_S,
    SOCKET_IO,
    LinkBusy,
    LinkRefused,
    open_link,
    path_answers,
    socket_address,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from breeze_lab.relay.link import Link
    from breeze_lab.settings import Endpoints

__all__ = ["QUOTES", "Backoff", "Login", "Pace", "Receiver", "Server", "State", "Upstream"]

_log: Final = logging.getLogger(__name__)

#: A connection that lived this long was good: the next one may be tried at once.
_STABLE_S: Final = 20.0
#: An outage begins where a connection ends that lived this long, however often that happens.
#: While it is young a try a second keeps the promise to be back within two seconds of the path;
#: later the pace is the one of the broker's own SDK.
_LIVED_S: Final = 2.0
_QUICK_CAP_S: Final = 1.2
_YOUNG_S: Final = 300.0
_PATIENT_CAP_S: Final = 5.0
#: A try that brought nothing for this long is doubted: does the path answer at all?
_DOUBT_S: Final = 1.0
_DOUBT_EVERY_S: Final = 0.5
#: Rooms asked for within this time leave in one message.
_JOIN_DELAY_S: Final = 0.002

StateName = Literal["offline", "connecting", "connected", "refused"]


@dataclass(frozen=True, slots=True)
class Login:
    """A broker session as the stream needs it; its repr shows no token."""

    endpoints: Endpoints
    user: str
    token: str = field(repr=False)
    account: str = ""
    until: str = ""
    serial: str = ""  # of the session all processes share; empty when it is one kernel's own

    @property
    def auth(self) -> dict[str, str]:
        """What the stream wants to see."""
        return {"user": self.user, "token": self.token}

    def same_stream(self, other: Login | None) -> bool:
        """Say whether `other` would open the very same connection."""
        return other is not None and (
            (self.user, self.token, self.endpoints.stream_url)
            == (other.user, other.token, other.endpoints.stream_url)
        )


@dataclass(frozen=True, slots=True)
class State:
    """How the connection stands; `since` and `until` are ISO texts in IST."""

    state: StateName = "offline"
    endpoints: str = ""
    account: str = ""
    since: str = ""
    until: str = ""
    error: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the state as the door sends it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Receiver(Protocol):
    """Who hears what happens upstream; all calls come on the event loop."""

    def on_state(self, state: State) -> None:
        """Hear that the state changed."""

    def on_lost(self, cause: str) -> None:
        """Hear that frames may be missing since the last one, and why."""

    def on_malformed(self, reason: str) -> None:
        """Hear of a packet that could not be read, or of a frame that could not be taken."""


@dataclass(frozen=True, slots=True)
class Server:
    """One of the broker's Socket.IO servers.

    Parameters
    ----------
    name
        What we call it.
    address
        Name of the address in `Endpoints`.
    path
        Where Socket.IO is on it.
    standing
        Connected whenever there is a login; otherwise only while something is wanted of it.
    """

    name: str
    address: str
    path: str = SOCKET_IO
    standing: bool = False

    def url(self, endpoints: Endpoints) -> str:
        """Return its address at a broker."""
        return str(getattr(endpoints, self.address))


#: Quotes and depth; its answer to a login says whether the session is good.
QUOTES: Final = Server("quotes", "stream_url", standing=True)


class Backoff:
    """Delays that double, with jitter so that clients do not return in step."""

    def __init__(self, first_s: float = 0.2, longest_s: float = _QUICK_CAP_S) -> None:
        """Start with the shortest delay."""
        self.first_s = first_s
        self.longest_s = longest_s
        self._next_s = first_s

    def delay(self) -> float:
        """Return the next delay in seconds, between half and all of its step."""
        step, self._next_s = (
            min(self._next_s, self.longest_s), min(self._next_s * 2, self.longest_s)
        )  # fmt: skip
        return step * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._next_s = self.first_s


class Pace:
    """How long to wait before the next connection, after all those before it.

    Parameters
    ----------
    now_s
        Of any monotonic clock, seconds, as are all times here.
    """

    def __init__(self, now_s: float) -> None:
        """Begin with a young outage."""
        self._backoff = Backoff()
        self._good_at_s = now_s

    def after(self, begun_s: float, now_s: float, *, connected: bool) -> float:
        """Return the seconds to wait when what was begun, and was `connected` or not, ends now."""
        if connected and now_s - begun_s > _STABLE_S:
            self._backoff.reset()
        if connected and now_s - begun_s > _LIVED_S:
            self._good_at_s = now_s
        young = now_s - self._good_at_s < _YOUNG_S
        self._backoff.longest_s = _QUICK_CAP_S if young else _PATIENT_CAP_S
        return self._backoff.delay()


class Upstream:
    """The one connection to one server; `login` allows it, `close` ends it.

    Parameters
    ----------
    receiver
        Who hears states, losses and what could not be read.
    takers
        Who takes the events of which name; a taker that raises is a malformed frame.
    server
        Which of the broker's servers.
    many
        Takes the ``stock`` events that came together, instead of their taker; never raises.

    Attributes
    ----------
    epoch
        Counts connections: frames of different epochs may have a hole between.
    """

    def __init__(
        self,
        receiver: Receiver,
        takers: Mapping[str, Callable[[bytes], None]],
        server: Server = QUOTES,
        many: Callable[[Sequence[bytes]], None] | None = None,
    ) -> None:
        """Stay offline until a login comes."""
        self.server = server
        self.state = State(since=clock.now().isoformat(timespec="seconds"))
        self.epoch = 0
        self.login_held: Login | None = None
        self._receiver = receiver
        self._many = many
        self._takers = {name: self._guarded(take) for name, take in takers.items()}
        self._wanted: dict[str, None] = {}  # ordered, so that joins are repeatable
        self._joined: set[str] = set()
        self._listening = server.standing
        self._changed = asyncio.Event()
        self._changing = asyncio.Lock()  # one login at a time: never two connections
        self._task: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._mute_patience_s = MUTE_PATIENCE_S
        self._answers = False  # does this server answer websocket pings?
        self._leaving = "the stream was left"

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms asked for, in order."""
        return tuple(self._wanted)

    @property
    def needed(self) -> bool:
        """Whether anybody wants this server at all."""
        return self._listening or bool(self._wanted)

    def joined(self, room: str) -> bool:
        """Say whether the broker was asked for `room` on this connection."""
        return room in self._joined

    async def login(self, login: Login) -> None:
        """Connect with `login`, ending a connection made with another one."""
        socket_address(self.server.url(login.endpoints))
        async with self._changing:
            alive = self._task is not None and not self._task.done()
            held = self.login_held
            same = (
                login.same_stream(held)
                and held is not None
                and self.server.url(held.endpoints) == self.server.url(login.endpoints)
            )
            if not (same and alive):
                await self._stop("another login took its place")
            self.login_held = login
            if self._task is None:
                if self.needed:
                    self._start(login)
                else:
                    self._set("offline")
            else:
                self._set(self.state.state, self.state.error)

    async def close(self) -> None:
        """End the connection and forget the login."""
        async with self._changing:
            await self._stop("the stream was left")
            self.login_held = None
            self._set("offline")

    async def end(self, reason: str) -> None:
        """End the connection because its session ended; what is wanted waits for a new login."""
        async with self._changing:
            await self._stop(reason)
            self._set("refused", reason)

    def join(self, rooms: Iterable[str]) -> None:
        """Want `rooms`, now and after every reconnect."""
        self._wanted.update(dict.fromkeys(rooms))
        self._changed.set()
        self._settle()

    def rejoin(self, room: str) -> None:
        """Ask for a room again on the same connection."""
        self._joined.discard(room)
        self._changed.set()

    def leave(self, rooms: Iterable[str]) -> None:
        """Want `rooms` no longer."""
        for room in rooms:
            self._wanted.pop(room, None)
        self._changed.set()
        self._settle()

    def listen(self, *, wanted: bool) -> None:
        """Want the connection itself, for what comes without a room; or no longer."""
        self._listening = wanted or self.server.standing
        self._settle()

    def _settle(self) -> None:
        """Open or end a connection that is there only while it is wanted."""
        if self.server.standing or self.login_held is None:
            return
        if self.needed is (self._task is not None):
            return
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settled(), name="settling")

    async def _settled(self) -> None:
        async with self._changing:
            login = self.login_held
            if login is None:
                return
            if self.needed and self._task is None:
                self._start(login)
            elif not self.needed and self._task is not None:
                await self._stop("nobody wants it")
                self._set("offline")

    def _start(self, login: Login) -> None:
        self._task = asyncio.create_task(self._keep(login), name=f"upstream {self.server.name}")
        self._set("connecting")

    async def _stop(self, why: str) -> None:
        if self._task is not None:
            self._leaving = why
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _set(self, name: StateName, error: str = "") -> None:
        login = self.login_held
        state = State(
            name,
            login.endpoints.name if login else "",
            login.account if login else "",
            self.state.since,
            login.until if login else "",
            error,
        )
        if state != self.state:
            now = clock.now().isoformat(timespec="seconds")
            self.state = replace(state, since=now) if name != self.state.state else state
            self._receiver.on_state(self.state)

    def _guarded(self, take: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return `take` so that no frame can end the connection."""

        def guarded(raw: bytes) -> None:
            try:
                take(raw)
            except Exception as exc:  # noqa: BLE001 - no frame may end the connection
                _log.exception("A frame could not be taken.")
                self._receiver.on_malformed(f"{type(exc).__name__}: {exc}")

        return guarded

    async def _keep(self, login: Login) -> None:
        """Connect, and connect again, until the broker refuses."""
        loop = asyncio.get_running_loop()
        pace = Pace(loop.time())
        while True:
            begun, wait_s = loop.time(), 0.0
            try:
                reason = await self._connection(login)
            except LinkRefused as exc:
                _log.warning("The broker refused the stream: %s", exc)
                self._lost(str(exc))
                self._set("refused", str(exc))
                return
            except LinkBusy as exc:
                reason, wait_s = str(exc)[:300], exc.wait_s
            except (OSError, WebSocketException, EOFError) as exc:  # OSError has TimeoutError
                reason = f"{type(exc).__name__}: {exc}"[:300]
            except asyncio.CancelledError:
                self._lost(self._leaving)
                raise
            self._lost(reason)
            connected = self.state.state == "connected"
            delay = max(pace.after(begun, loop.time(), connected=connected), wait_s)
            _log.warning(
                "The %s stream ended (%s). Next try in %.2f s.", self.server.name, reason, delay
            )
            self._set("connecting", reason)
            await asyncio.sleep(delay)

    def _lost(self, cause: str) -> None:
        self._joined.clear()
        self._receiver.on_lost(cause)

    async def _connection(self, login: Login) -> str:
        """Serve one connection until it ends; return why it ended."""
        url = self.server.url(login.endpoints)
        opening = open_link(
            url, login.auth, self.server.path, self._mute_patience_s, answers=self._answers
        )
        async with contextlib.AsyncExitStack() as stack:
            link = await _while_path_lasts(stack.enter_async_context(opening), url)
            joiner = asyncio.create_task(self._join(link), name="joiner")
            try:
                self.epoch += 1
                self._set("connected")
                return await link.read(self._takers, self._receiver.on_malformed, self._many)
            finally:
                joiner.cancel()
                self._answers = link.answered or (self._answers and not link.dead)
                if link.answered:
                    self._mute_patience_s = MUTE_PATIENCE_S
                elif link.mute:  # it let us in and was silent: perhaps it is mute, and not dead
                    self._mute_patience_s *= 2

    async def _join(self, link: Link) -> None:
        """Bring what the broker sends in line with what is wanted, as often as that changes."""
        self._joined.clear()
        self._changed.set()
        while True:
            await self._changed.wait()
            await asyncio.sleep(_JOIN_DELAY_S)
            self._changed.clear()
            join = [room for room in self._wanted if room not in self._joined]
            leave = sorted(self._joined - self._wanted.keys())
            # Noted before it is sent: a room must not be asked for twice.
            self._joined = set(self._wanted)
            with contextlib.suppress(WebSocketException):  # the reader tells how it ended
                if join:
                    await link.emit("join", join)
                if leave:
                    await link.emit("leave", leave)


async def _while_path_lasts(opening: Awaitable[Link], url: str) -> Link:
    """Wait for a link to open; give up a try that was sent into a hole which has closed again.

    What went into the hole may never arrive, or be sent again seconds later. So a try that
    waits is doubted: once the path has been seen dead and then answers, a new try is quicker.

    Raises
    ------
    ConnectionResetError
        When the path came back.
    """
    trying = asyncio.ensure_future(opening)
    try:
        dead = False
        await asyncio.wait((trying,), timeout=_DOUBT_S)
        while not trying.done():
            answered = await path_answers(url)
            if answered and dead:
                await asyncio.wait((trying,), timeout=_DOUBT_EVERY_S)  # ours may be on its way
                if trying.done():
                    break
                raise ConnectionResetError("the path came back after this try")
            dead = dead or not answered
            await asyncio.wait((trying,), timeout=_DOUBT_EVERY_S)
        return await trying
    finally:
        if not trying.done():
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)
