"""Upstream: the one connection to the broker's stream, and keeping it.

Owns connecting after a login, joining and leaving rooms, noticing a dead link
and coming back. It never opens a second connection and never retries a login
the broker refused. What the frames mean is left to its receiver.
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
from breeze_lab.relay.link import LinkRefused, open_link, socket_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.relay.link import Link
    from breeze_lab.settings import Endpoints

__all__ = ["Backoff", "Login", "Receiver", "State", "Upstream"]

_log: Final = logging.getLogger(__name__)

#: A connection that lived this long was good: the next one may be tried at once.
_STABLE_S: Final = 20.0
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

    def on_lost(self) -> None:
        """Hear that frames may be missing from here on."""

    def on_stock(self, raw: bytes) -> None:
        """Take one ``stock`` frame, the JSON text that came."""

    def on_malformed(self, reason: str) -> None:
        """Hear of a packet that could not be read."""


class Backoff:
    """Delays that double, with jitter so that clients do not return in step."""

    def __init__(self, first_s: float = 0.2, longest_s: float = 15.0) -> None:
        """Start with the shortest delay."""
        self.first_s = first_s
        self.longest_s = longest_s
        self._next_s = first_s

    def delay(self) -> float:
        """Return the next delay in seconds, between half and all of its step."""
        step, self._next_s = self._next_s, min(self._next_s * 2, self.longest_s)
        return step * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._next_s = self.first_s


class Upstream:
    """The one connection; `login` starts it, `close` ends it.

    Parameters
    ----------
    receiver
        Who hears frames and states.

    Attributes
    ----------
    epoch
        Counts connections: frames of different epochs may have a hole between.
    """

    def __init__(self, receiver: Receiver) -> None:
        """Stay offline until a login comes."""
        self.state = State(since=clock.now().isoformat(timespec="seconds"))
        self.epoch = 0
        self.login_held: Login | None = None
        self._receiver = receiver
        self._wanted: dict[str, None] = {}  # ordered, so that joins are repeatable
        self._joined: set[str] = set()
        self._changed = asyncio.Event()
        self._changing = asyncio.Lock()  # one login at a time: never two connections
        self._task: asyncio.Task[None] | None = None

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms asked for, in order."""
        return tuple(self._wanted)

    def joined(self, room: str) -> bool:
        """Say whether the broker was asked for `room` on this connection."""
        return room in self._joined

    async def login(self, login: Login) -> None:
        """Connect with `login`, ending a connection made with another one."""
        socket_address(login.endpoints.stream_url)
        async with self._changing:
            alive = self._task is not None and not self._task.done()
            same = login.same_stream(self.login_held)
            if not (same and alive):
                await self._stop()
            self.login_held = login
            if self._task is None:
                self._task = asyncio.create_task(self._keep(login), name="upstream")
                self._set("connecting")
            else:
                self._set(self.state.state, self.state.error)

    async def close(self) -> None:
        """End the connection and forget the login."""
        async with self._changing:
            await self._stop()
            self.login_held = None
            self._set("offline")

    async def end(self, reason: str) -> None:
        """End the connection because its session ended; what is wanted waits for a new login."""
        async with self._changing:
            await self._stop()
            self._set("refused", reason)

    def join(self, rooms: Iterable[str]) -> None:
        """Want `rooms`, now and after every reconnect."""
        self._wanted.update(dict.fromkeys(rooms))
        self._changed.set()

    def leave(self, rooms: Iterable[str]) -> None:
        """Want `rooms` no longer."""
        for room in rooms:
            self._wanted.pop(room, None)
        self._changed.set()

    async def _stop(self) -> None:
        if self._task is not None:
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

    async def _keep(self, login: Login) -> None:
        """Connect, and connect again, until the broker refuses."""
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                reason = await self._connection(login)
            except LinkRefused as exc:
                _log.warning("The broker refused the stream: %s", exc)
                self._set("refused", str(exc))
                return
            except (OSError, WebSocketException, EOFError) as exc:  # OSError has TimeoutError
                reason = f"{type(exc).__name__}: {exc}"[:300]
            finally:
                self._joined.clear()
                self._receiver.on_lost()
            if loop.time() - begun > _STABLE_S:
                backoff.reset()
            delay = backoff.delay()
            _log.warning("The stream ended (%s). Next try in %.2f s.", reason, delay)
            self._set("connecting", reason)
            await asyncio.sleep(delay)

    async def _connection(self, login: Login) -> str:
        """Serve one connection until it ends; return why it ended."""
        async with open_link(login.endpoints.stream_url, login.auth) as link:
            joiner = asyncio.create_task(self._join(link), name="joiner")
            try:
                self.epoch += 1
                self._set("connected")
                return await link.read(self._receiver.on_stock, self._receiver.on_malformed)
            finally:
                joiner.cancel()

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
