"""One link to the broker's stream: open it, read it, notice when it is dead.

Owns one websocket from the handshake to its end, by the rules of `wire`.
Which rooms are joined and whether to come back is left to `upstream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from breeze_lab.errors import FeedError, SettingsError
from breeze_lab.relay import wire
from breeze_lab.relay.flow import Flow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

__all__ = [
    "MUTE_PATIENCE_S", "SOCKET_IO", "Link", "LinkBusy", "LinkRefused", "open_link",
    "path_answers", "socket_address",
]  # fmt: skip

SOCKET_IO: Final = "/socket.io/"

#: What the SDK's own socket library calls itself.
_USER_AGENT: Final = "python-socketio[client]/socket"
_OPEN_TIMEOUT_S: Final = 10.0
#: A broker that does not answer a close must not delay the next connection.
_CLOSE_TIMEOUT_S: Final = 0.5
_LARGEST_FRAME: Final = 4 * 2**20
#: So often the server is asked for a sign of life, and so long its answer may take. Socket.IO
#: alone would notice a dead link only after its ping interval plus timeout, 45 s. Asked also
#: while frames come: a link that is dead on the way up still brings what was joined before.
#: Together they stay below 5 s, and the patience above the 3 s of a slow path.
_PING_EVERY_S: Final = 0.8
_PONG_PATIENCE_S: Final = 3.5
_LOOK_S: Final = 0.2
#: A server that has never answered a ping is judged by its silence alone.
MUTE_PATIENCE_S: Final = 4.2
#: A look that comes this late means that this process was stopped, not the server.
_ASLEEP_S: Final = 1.5
#: How a path that is asked for any answer at all may take.
_PATH_PATIENCE_S: Final = 0.8
#: What a server says that cannot take a login now; anything else means the login itself.
_BUSY: Final = re.compile(
    r"busy|overload|unavailable|too many|try again|later|maintenance|capacity|\b(429|50[0-9])\b",
    re.IGNORECASE,
)
_LOGIN_WORDS: Final = re.compile(r"auth|session|token|expired|log.?in", re.IGNORECASE)
_TOO_MANY: Final = 429
#: What a server asks for with Retry-After is kept to, within reason.
_LONGEST_WAIT_S: Final = 60.0


class LinkRefused(FeedError):
    """The broker does not want this login; asking again would not help."""


class LinkBusy(FeedError):
    """The server cannot take a login now; asking again later is right.

    Parameters
    ----------
    message
        What it said.
    wait_s
        Seconds to wait at least before the next try.
    """

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        """Keep the wait beside the message."""
        super().__init__(message)
        self.wait_s = wait_s


def socket_address(stream_url: str, path: str = SOCKET_IO) -> tuple[str, bool]:
    """Return the websocket address of a stream and whether it is on this machine.

    Only scheme, host and port of `stream_url` count, as with the broker's SDK.

    Raises
    ------
    SettingsError
        When it is no such address.
    """
    try:
        parts = urlsplit(stream_url)
        scheme = {"http": "ws", "ws": "ws", "https": "wss", "wss": "wss"}[parts.scheme]
        host, _ = parts.hostname or "", parts.port
    except (KeyError, ValueError) as exc:
        raise SettingsError(f"The stream's address cannot be used: {stream_url!r}.") from exc
    if not host:
        raise SettingsError(f"The stream's address has no host: {stream_url!r}.")
    with contextlib.suppress(ValueError):
        local = ipaddress.ip_address(host).is_loopback
        return _socketio_url(scheme, parts.netloc, path), local
    return _socketio_url(scheme, parts.netloc, path), host == "localhost"


def _socketio_url(scheme: str, netloc: str, path: str) -> str:
    return urlunsplit((scheme, netloc, path, "EIO=4&transport=websocket", ""))


async def path_answers(stream_url: str) -> bool:
    """Say whether the stream's host answers a plain HTTP request within a moment.

    It opens no stream and logs in to nothing, so it may be asked while a login is under way.
    """
    url = urlsplit(socket_address(stream_url)[0])
    secure = url.scheme == "wss"
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_PATH_PATIENCE_S):
            reader, writer = await asyncio.open_connection(
                url.hostname, url.port or (443 if secure else 80), ssl=secure or None
            )
            host = url.netloc.rpartition("@")[2]
            writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return bool(await reader.read(1))
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


def _refusal(message: str) -> LinkRefused | LinkBusy:
    """Return what a refusal means: the login, or a server that cannot take one now."""
    if _BUSY.search(message) and not _LOGIN_WORDS.search(message):
        return LinkBusy(f"the stream is busy: {message}")
    return LinkRefused(message)


def _wait_asked(exc: InvalidStatus) -> float:
    """Return the seconds a busy server wants us to wait."""
    text = exc.response.headers.get("Retry-After", "")
    asked = float(text) if text.isdigit() else 0.0
    least = 5.0 if exc.response.status_code == _TOO_MANY else 0.0
    return min(max(asked, least), _LONGEST_WAIT_S)


@contextlib.asynccontextmanager
async def open_link(
    stream_url: str,
    auth: Mapping[str, str],
    path: str = SOCKET_IO,
    mute_patience_s: float = MUTE_PATIENCE_S,
    *,
    answers: bool = False,
) -> AsyncIterator[Link]:
    """Connect, log in and hand out the link; close it at the end.

    Parameters
    ----------
    mute_patience_s
        Silence that ends a link whose server has never answered a websocket ping.
    answers
        Whether this server answered pings the last time.

    Raises
    ------
    LinkRefused
        When the broker does not accept the login.
    LinkBusy
        When the server cannot take a login now.
    OSError, WebSocketException
        When there is no connection, or none in time (`TimeoutError`).
    """
    url, local = socket_address(stream_url, path)
    try:
        socket = await connect(
            url, proxy=None if local else True, compression=None, user_agent_header=_USER_AGENT,
            open_timeout=_OPEN_TIMEOUT_S, close_timeout=_CLOSE_TIMEOUT_S, ping_interval=None,
            max_size=_LARGEST_FRAME, create_connection=Flow,
        )  # fmt: skip
    except InvalidStatus as exc:
        status = exc.response.status_code
        if status in (401, 403):
            raise LinkRefused(f"The stream answered HTTP {status}.") from exc
        raise LinkBusy(f"the stream answered HTTP {status}", _wait_asked(exc)) from exc
    assert isinstance(socket, Flow)
    link = Link(socket, wire.SocketIOClient(auth), mute_patience_s, answers=answers)
    try:
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                await link.enter()
        except TimeoutError as exc:
            raise TimeoutError(str(exc) or "no answer to the login") from exc
        yield link
    finally:
        link.stop()
        with contextlib.suppress(OSError, WebSocketException):
            await socket.close()


class Link:
    """An open websocket speaking Socket.IO.

    Parameters
    ----------
    socket
        The websocket.
    protocol
        What its messages mean.
    mute_patience_s, answers
        See `open_link`.

    Attributes
    ----------
    entered, answered
        Whether the namespace accepted us, and whether a websocket ping was answered.
    mute
        Whether it was cut for silence although its server may just not answer pings.
    """

    def __init__(
        self,
        socket: Flow,
        protocol: wire.SocketIOClient,
        mute_patience_s: float = MUTE_PATIENCE_S,
        *,
        answers: bool = False,
    ) -> None:
        """Begin to listen for silence."""
        self.entered = self.answered = self.mute = False
        self._answers = answers
        self._socket = socket
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._verdict = ""
        self._mute_patience_s = mute_patience_s
        self._promise_s = _OPEN_TIMEOUT_S
        #: A path that took long for the login takes as long for a pong.
        self._slack_s = 0.0
        self._begun_at = self._heard_at = self._looked_at = self._loop.time()
        self._pinged_at: float | None = None  # of the ping that is not answered yet
        self._next_ping_at = 0.0
        self._pinging: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(0.0, self._look)

    @property
    def dead(self) -> bool:
        """Whether it was cut because the other side seemed dead."""
        return bool(self._verdict)

    async def emit(self, name: str, *arguments: Any) -> None:
        """Send an event."""
        await self._socket.send(wire.encode_event(name, *arguments))

    async def enter(self) -> None:
        """Read until the namespace accepts us."""
        while True:
            event = await self._next()
            if isinstance(event, wire.Connected):
                self.entered = True
                self._slack_s = self._loop.time() - self._begun_at
                return
            if isinstance(event, wire.Refused):
                raise _refusal(event.message)
            if isinstance(event, wire.Closed):
                raise ConnectionResetError(event.reason)

    async def read(
        self,
        takers: Mapping[str, Callable[[bytes], None]],
        on_malformed: Callable[[str], None],
        many: Callable[[Sequence[bytes]], None] | None = None,
    ) -> str:
        """Hand every event in order to its taker until the link ends; return why it ended.

        Parameters
        ----------
        takers
            Who takes the first argument of an event, the JSON text that came, by the event's
            name. Events of other names mean nothing to us.
        many
            Takes the ``stock`` events that came together, instead of their taker; never raises.
        """

        def tap(messages: list[bytes]) -> int:
            raws = wire.stocks(messages)
            if raws and many is not None:
                self._heard_at = self._loop.time()
                many(raws)
            return len(raws)

        self._socket.tap = None if many is None else tap
        while True:
            event = await self._next()
            if type(event) is wire.Received:
                take = takers.get(event.name)
                if take is not None and event.raw:
                    take(event.raw[0])
            elif isinstance(event, wire.Malformed):
                on_malformed(event.reason)
            elif isinstance(event, wire.Refused):
                raise _refusal(event.message)
            elif isinstance(event, wire.Closed):
                return event.reason

    def stop(self) -> None:
        """Stop listening for silence."""
        self._timer.cancel()
        if self._pinging is not None:
            self._pinging.cancel()

    async def _next(self) -> wire.Event:
        try:
            message = await self._socket.recv(decode=False)
        except WebSocketException as exc:
            raise (TimeoutError(self._verdict) if self._verdict else exc) from exc
        self._heard_at = self._loop.time()
        event = self._protocol.receive(message)
        if type(event) is not wire.Received:
            if isinstance(event, wire.Opened):
                self._promise_s = event.ping_interval_s + event.ping_timeout_s
            for text in self._protocol.data_to_send():
                await self._socket.send(text)
        return event

    def _look(self) -> None:
        """Cut the link when it is silent, or when it does not answer."""
        now = self._loop.time()
        if now - self._looked_at > _ASLEEP_S:  # what came meanwhile is not read yet
            self._heard_at = now
            self._pinged_at = None if self._pinged_at is None else now
        self._looked_at = now
        verdict = self._judge(now)
        if verdict:
            self._cut(verdict)
            return
        if self._pinged_at is None and now >= self._next_ping_at:
            self._pinged_at, self._next_ping_at = now, now + _PING_EVERY_S
            self._pinging = self._loop.create_task(self._ping(), name="ping")
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def _judge(self, now: float) -> str:
        """Return why the link is dead; empty while it lives."""
        silent_s = now - self._heard_at
        if silent_s > self._promise_s:
            return f"nothing heard for {self._promise_s:.0f} s"
        if self._pinged_at is None or not self.entered:
            return ""
        unanswered_s, patience_s = now - self._pinged_at, _PONG_PATIENCE_S + self._slack_s
        if self._answers and unanswered_s > patience_s:
            return f"no answer to a ping for {patience_s:.1f} s"
        if not self._answers and silent_s > self._mute_patience_s + self._slack_s:
            self.mute = True
            return f"no answer to a ping ever, and nothing heard for {silent_s:.1f} s"
        return ""

    async def _ping(self) -> None:
        with contextlib.suppress(WebSocketException):  # the reader tells how it ended
            await (await self._socket.ping())
            self.answered = self._answers = True
            self._pinged_at = None

    def _cut(self, verdict: str) -> None:
        self._verdict = verdict
        self._socket.transport.abort()
