"""One link to the broker's stream: open it, read it, notice when it is dead.

Owns one websocket from the handshake to its end, by the rules of `wire`.
Which rooms are joined and whether to come back is left to `upstream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from breeze_lab.errors import FeedError, SettingsError
from breeze_lab.relay import wire
from breeze_lab.relay.flow import Flow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

__all__ = ["Link", "LinkRefused", "open_link", "socket_address"]

#: What the SDK's own socket library calls itself.
_USER_AGENT: Final = "python-socketio[client]/socket"
_OPEN_TIMEOUT_S: Final = 10.0
#: A broker that does not answer a close must not delay the next connection.
_CLOSE_TIMEOUT_S: Final = 0.5
_LARGEST_FRAME: Final = 4 * 2**20
#: After this much silence the server is asked for a sign of life. Socket.IO alone
#: would notice a dead link only after its ping interval plus timeout, 45 s.
_PROBE_S: Final = 1.5
_PROBE_PATIENCE_S: Final = 2.0


class LinkRefused(FeedError):
    """The broker does not want this login; asking again would not help."""


def socket_address(stream_url: str) -> tuple[str, bool]:
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
        return _socketio_url(scheme, parts.netloc), local
    return _socketio_url(scheme, parts.netloc), host == "localhost"


def _socketio_url(scheme: str, netloc: str) -> str:
    return urlunsplit((scheme, netloc, "/socket.io/", "EIO=4&transport=websocket", ""))


@contextlib.asynccontextmanager
async def open_link(stream_url: str, auth: Mapping[str, str]) -> AsyncIterator[Link]:
    """Connect, log in and hand out the link; close it at the end.

    Raises
    ------
    LinkRefused
        When the broker does not accept the login.
    OSError, WebSocketException
        When there is no connection, or none in time (`TimeoutError`).
    """
    url, local = socket_address(stream_url)
    try:
        socket = await connect(
            url, proxy=None if local else True, compression=None, user_agent_header=_USER_AGENT,
            open_timeout=_OPEN_TIMEOUT_S, close_timeout=_CLOSE_TIMEOUT_S, ping_interval=None,
            max_size=_LARGEST_FRAME, create_connection=Flow,
        )  # fmt: skip
    except InvalidStatus as exc:
        if exc.response.status_code in (401, 403):
            raise LinkRefused(f"The stream answered HTTP {exc.response.status_code}.") from exc
        raise
    assert isinstance(socket, Flow)
    link = Link(socket, wire.SocketIOClient(auth))
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
    """

    def __init__(self, socket: Flow, protocol: wire.SocketIOClient) -> None:
        """Begin to listen for silence."""
        self._socket = socket
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._verdict = ""
        self._patience_s = _OPEN_TIMEOUT_S
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(1.0, self._look)
        self._prober = self._loop.create_task(self._probe(), name="prober")

    async def emit(self, name: str, *arguments: Any) -> None:
        """Send an event."""
        await self._socket.send(wire.encode_event(name, *arguments))

    async def enter(self) -> None:
        """Read until the namespace accepts us."""
        while True:
            event = await self._next()
            if isinstance(event, wire.Connected):
                return
            if isinstance(event, wire.Refused):
                raise LinkRefused(event.message)
            if isinstance(event, wire.Closed):
                raise ConnectionResetError(event.reason)

    async def read(
        self, on_stock: Callable[[bytes], None], on_malformed: Callable[[str], None]
    ) -> str:
        """Hand on every ``stock`` frame in order until the link ends; return why it ended."""

        def tap(message: bytes) -> bool:
            raw = wire.stock(message)
            if raw is None:
                return False
            self._heard_at = self._loop.time()
            on_stock(raw)
            return True

        self._socket.tap = tap
        while True:
            event = await self._next()
            if type(event) is wire.Received:
                if event.name == "stock" and event.raw:
                    on_stock(event.raw[0])
            elif isinstance(event, wire.Malformed):
                on_malformed(event.reason)
            elif isinstance(event, wire.Refused):
                raise LinkRefused(event.message)
            elif isinstance(event, wire.Closed):
                return event.reason

    def stop(self) -> None:
        """Stop listening for silence."""
        self._timer.cancel()
        self._prober.cancel()

    async def _next(self) -> wire.Event:
        try:
            message = await self._socket.recv(decode=False)
        except WebSocketException as exc:
            raise (TimeoutError(self._verdict) if self._verdict else exc) from exc
        self._heard_at = self._loop.time()
        event = self._protocol.receive(message)
        if type(event) is not wire.Received:
            if isinstance(event, wire.Opened):
                self._patience_s = event.ping_interval_s + event.ping_timeout_s
            for text in self._protocol.data_to_send():
                await self._socket.send(text)
        return event

    def _look(self) -> None:
        """Cut the link when nothing was heard for longer than the server promised."""
        if self._loop.time() - self._heard_at > self._patience_s:
            self._cut(f"nothing heard for {self._patience_s:.0f} s")
        else:
            self._timer = self._loop.call_later(min(1.0, self._patience_s / 4), self._look)

    async def _probe(self) -> None:
        """Cut the link when the websocket itself stops answering.

        A server that never answered a websocket ping is not judged by it.
        """
        answers = False
        with contextlib.suppress(WebSocketException):  # the reader tells how it ended
            while True:
                if not answers or self._loop.time() - self._heard_at > _PROBE_S:
                    pong = await self._socket.ping()
                    try:
                        async with asyncio.timeout(_PROBE_PATIENCE_S):
                            await pong
                        answers = True
                    except TimeoutError:
                        if answers and self._loop.time() - self._heard_at > _PROBE_PATIENCE_S:
                            self._cut(f"no answer to a ping for {_PROBE_PATIENCE_S} s")
                            return
                await asyncio.sleep(_PROBE_S / 3)

    def _cut(self, verdict: str) -> None:
        self._verdict = verdict
        self._socket.transport.abort()
