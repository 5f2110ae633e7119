"""Engine.IO 4 and Socket.IO 5 over one WebSocket: just what the broker's clients use.

WebSocket from the first request, default namespace, text packets. Written out
here because a practice market must be able to do what a Socket.IO library
hides: refuse a connection, and drop it without a word when a client sends an
event named ``disconnect``, as the broker's server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket as sockets
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from breeze_lab.practice.faults.frames import FrameFaults, Packet

if TYPE_CHECKING:
    from breeze_lab.practice.faults.registry import Fault, Faults
    from breeze_lab.practice.wire.account import Account

__all__ = ["Connection", "Hub", "SocketServer", "reset"]

_PING_S: Final = 25.0
#: A client that was told to go has this long before its socket is cut.
_FAREWELL_S: Final = 1.0
#: Frames a client may fall behind before it is dropped.
_BACKLOG: Final = 50_000


class Hub(Protocol):
    """Who is told what a connection wants."""

    def join(self, connection: Connection, room: str) -> None:
        """Take a room up."""

    def leave(self, connection: Connection, room: str) -> None:
        """Give a room up."""

    def gone(self, connection: Connection) -> None:
        """Forget the connection."""


def reset(transport: asyncio.BaseTransport | None) -> None:
    """End a TCP connection with RST, as a machine that knows nothing of it does."""
    if not isinstance(transport, asyncio.Transport):
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, linger)
    transport.abort()


class Connection:
    """One client's socket.

    Parameters
    ----------
    socket, transport
        The open WebSocket and what carries it.
    faults
        What may happen to its frames.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        faults: Faults,
    ) -> None:
        """Start with an empty queue."""
        self.transport = transport
        self.rooms: set[str] = set()
        self._socket = socket
        self._faults = faults
        self._weather = FrameFaults(faults, self._queue)
        self._waiting: deque[tuple[float, Packet]] = deque()
        self._more = asyncio.Event()
        self.sent = 0

    def send(self, packet: str) -> None:
        """Queue one packet; drop the connection when the client does not keep up."""
        if self._faults.active and packet.startswith("42"):
            for spoilt in self._weather.spoil(packet):
                self._queue(spoilt)
        else:
            self._queue(packet)

    def _queue(self, packet: Packet) -> None:
        if len(self._waiting) >= _BACKLOG:
            self.drop()
            return
        self._waiting.append((time.monotonic(), packet))
        self._more.set()

    def drop(self) -> None:
        """Cut the connection without goodbye."""
        if self.transport is not None:
            self.transport.abort()

    async def close(self) -> None:
        """End it with a WebSocket close frame."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._socket.close(code=WSCloseCode.GOING_AWAY)

    async def write(self) -> None:
        """Write what is queued, in order, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                if self._faults.active and await self._held_up(*self._waiting[0]):
                    continue
                _, packet = self._waiting.popleft()
                if isinstance(packet, bytes):
                    await self._socket.send_bytes(packet)
                else:
                    await self._socket.send_str(packet)
                self.sent += 1

    async def _held_up(self, queued: float, packet: Packet) -> bool:
        """Swallow the first packet of the queue, or wait as long as it is late."""
        swallows = self._faults.find("halfopen")
        if swallows is not None:
            self._waiting.popleft()
            self._faults.hit(swallows)
            return True
        slow = self._faults.find("slow")
        if slow is not None and (isinstance(packet, bytes) or packet.startswith("42")):
            late_s = queued + slow.delay_s - time.monotonic()
            if late_s > 0:
                await self._faults.wait(slow, late_s)
                return True
            self._faults.hit(slow)
        return False

    async def ping(self) -> None:
        """Keep the client's timer from running out."""
        while True:
            await asyncio.sleep(_PING_S)
            self.send("2")


class SocketServer:
    """The WebSocket endpoint of one stream.

    Parameters
    ----------
    account
        Whose CONNECT is accepted.
    hub
        Receives joins and leaves.
    faults
        What may happen to connections.
    """

    def __init__(self, account: Account, hub: Hub, faults: Faults) -> None:
        """Start without connections."""
        self.account = account
        self.hub = hub
        self.faults = faults
        self.connections: set[Connection] = set()

    def close(self) -> None:
        """Cut all connections."""
        for connection in list(self.connections):
            connection.drop()

    def finish(self, fault: Fault) -> None:
        """End all connections in the way of a fault."""
        for connection in list(self.connections):
            self.faults.hit(fault)
            self._forget(connection)
            if fault.kind.name == "close":
                asyncio.ensure_future(connection.close())  # noqa: RUF006 - ends with its socket
            elif fault.kind.name in ("engineio-close", "disconnect"):
                connection.send("1" if fault.kind.name == "engineio-close" else "41")
                asyncio.get_running_loop().call_later(_FAREWELL_S, connection.drop)
            else:
                reset(connection.transport)

    def _forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.hub.gone(connection)

    async def _let_in(self, request: web.Request) -> bool:
        """Say whether a client may connect; who may not has been reset."""
        for name in ("drop", "down"):
            fault = self.faults.find(name)
            if fault is not None:
                self.faults.hit(fault)
                reset(request.transport)
                return False
        deaf = self.faults.find("halfopen")
        if deaf is not None:
            self.faults.hit(deaf)
            await self.faults.wait(deaf)
        return request.transport is not None and not request.transport.is_closing()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it goes."""
        if not await self._let_in(request):
            return web.Response(status=503)  # nobody hears it
        if request.query.get("EIO") != "4" or request.query.get("transport") != "websocket":
            return web.json_response({"code": 0, "message": "Transport unknown"}, status=400)
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=2**22, autoping=False, autoclose=False
        )
        await socket.prepare(request)
        sid = secrets.token_urlsafe(15)
        opening = {
            "sid": sid, "upgrades": [], "pingInterval": int(_PING_S * 1000),
            "pingTimeout": 20_000, "maxPayload": 1_000_000,
        }  # fmt: skip
        await socket.send_str("0" + json.dumps(opening))
        connection = Connection(socket, request.transport, self.faults)
        tasks = [asyncio.ensure_future(work) for work in (connection.write(), connection.ping())]
        try:
            await self._listen(socket, connection)
        finally:
            for task in tasks:
                task.cancel()
            self._forget(connection)
            deaf = self.faults.find("halfopen")
            if deaf is not None:  # not even a close frame is answered
                await self.faults.wait(deaf)
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket.close()
        return socket

    async def _listen(self, socket: web.WebSocketResponse, connection: Connection) -> None:
        """Take what the client sends until it goes."""
        async for message in socket:
            deaf = self.faults.find("halfopen") if self.faults.active else None
            if deaf is not None:
                self.faults.hit(deaf)
            elif message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                if not self._packet(connection, message.data):
                    return
            elif message.type is not WSMsgType.PONG:
                return

    def _packet(self, connection: Connection, text: str) -> bool:
        """Take one Engine.IO packet; return False when the connection must end."""
        if text == "2":
            connection.send("3")
        elif text == "1":
            return False
        elif text.startswith("40"):
            return self._connect(connection, text[2:])
        elif text.startswith("41"):
            return False
        elif text.startswith("42") and connection in self.connections:
            return self._event(connection, text[2:])
        return True

    def _connect(self, connection: Connection, text: str) -> bool:
        try:
            auth = json.loads(text) if text.startswith("{") else None
        except (ValueError, RecursionError):
            auth = None
        refusal = self.faults.find("refuse")
        if refusal is not None:
            self.faults.hit(refusal)
            connection.send('44{"message":"Connection rejected by server"}')
            return True
        if not self.account.may_stream(auth):
            connection.send('44{"message":"Authentication error"}')
            return True
        self.connections.add(connection)
        connection.send("40" + json.dumps({"sid": secrets.token_urlsafe(15)}))
        return True

    def _event(self, connection: Connection, text: str) -> bool:
        start = text.find("[")  # an acknowledgement number may stand before it
        try:
            event, *arguments = json.loads(text[start:])
        except (ValueError, TypeError, RecursionError):
            return True
        if event == "disconnect":
            connection.drop()
            return False
        wanted: Any = arguments[0] if arguments else None
        rooms = wanted if isinstance(wanted, list) else [wanted]
        for room in rooms:
            if isinstance(room, str) and event == "join":
                self.hub.join(connection, room)
            elif isinstance(room, str) and event == "leave":
                self.hub.leave(connection, room)
        return True
