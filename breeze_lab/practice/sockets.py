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
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from breeze_lab.practice.account import Account

__all__ = ["Connection", "Hub", "SocketServer"]

_PING_S: Final = 25.0
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


class Connection:
    """One client's socket.

    Parameters
    ----------
    socket, transport
        The open WebSocket and what carries it.
    """

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        """Start with an empty queue."""
        self._transport = transport
        self.rooms: set[str] = set()
        self._socket = socket
        self._waiting: deque[str] = deque()
        self._more = asyncio.Event()
        self.sent = 0

    def send(self, packet: str) -> None:
        """Queue one packet; drop the connection when the client does not keep up."""
        if len(self._waiting) >= _BACKLOG:
            self.drop()
            return
        self._waiting.append(packet)
        self._more.set()

    def drop(self) -> None:
        """Cut the connection without goodbye."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Write what is queued, in order, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                await self._socket.send_str(self._waiting.popleft())
                self.sent += 1

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
    """

    def __init__(self, account: Account, hub: Hub) -> None:
        """Start without connections."""
        self.account = account
        self.hub = hub
        self.connections: set[Connection] = set()

    def close(self) -> None:
        """Cut all connections."""
        for connection in list(self.connections):
            connection.drop()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it goes."""
        if request.query.get("EIO") != "4" or request.query.get("transport") != "websocket":
            return web.json_response({"code": 0, "message": "Transport unknown"}, status=400)
        socket = web.WebSocketResponse(compress=False, max_msg_size=2**22)
        await socket.prepare(request)
        sid = secrets.token_urlsafe(15)
        opening = {
            "sid": sid, "upgrades": [], "pingInterval": int(_PING_S * 1000),
            "pingTimeout": 20_000, "maxPayload": 1_000_000,
        }  # fmt: skip
        await socket.send_str("0" + json.dumps(opening))
        connection = Connection(socket, request.transport)
        tasks = [asyncio.ensure_future(work) for work in (connection.write(), connection.ping())]
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                if not self._packet(connection, message.data):
                    break
        finally:
            for task in tasks:
                task.cancel()
            self.connections.discard(connection)
            self.hub.gone(connection)
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket.close()
        return socket

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
