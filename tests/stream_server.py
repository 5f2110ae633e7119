"""A broker's stream whose weather a test decides: python-socketio behind real sockets."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import socketio
from aiohttp import web

from breeze_lab.settings import Endpoints

TOKEN = "stream-secret-4711"  # searched for where it must not be


def quote(room: str, last: float, volume: int, epoch_s: int) -> list[Any]:
    """Return a 21-field quote."""
    return [
        room, 100.0, last, 110.0, 90.0, 0.5, last - 0.05, 5, last + 0.05, 6, 10, 100.0, volume,
        1, 1, "1.0L", "", 80.0, 120.0, epoch_s, 99.5,
    ]  # fmt: skip


class StreamServer:
    """Serve ``/socket.io/`` on loopback from a thread of its own.

    Without a `ping_interval_s` it pings each second, and hangs up on nobody whom a busy machine
    keeps from answering: what is sent meanwhile would be lost.
    """

    def __init__(self, ping_interval_s: float = 0.0) -> None:
        self.refuse = False
        self.auths: list[Any] = []
        self.joins: list[Any] = []
        self.agents: list[str] = []
        self.alive: set[str] = set()
        self.most = 0
        self._sio = socketio.AsyncServer(
            async_mode="aiohttp", transports=["websocket"], ping_interval=ping_interval_s or 1.0,
            ping_timeout=ping_interval_s or 60.0,
        )  # fmt: skip
        self._sio.on("connect", self._connect)
        self._sio.on("disconnect", self._disconnect)
        self._sio.on("join", self._join)
        self._sio.on("leave", self._leave)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # breaking its tasks is the point
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._do(self._start(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoints(self) -> Endpoints:
        names = [name for name in Endpoints.__dataclass_fields__ if name != "name"]
        return Endpoints(name="practice", **dict.fromkeys(names, self.url))

    @property
    def rooms(self) -> set[str]:
        """Rooms somebody has joined."""
        return {room for room in list(self._sio.manager.rooms.get("/", {})) if room and "!" in room}

    def emit(self, *frames: Any, event: str = "stock") -> None:
        """Send frames to everybody, in order."""

        async def send() -> None:
            for frame in frames:
                await self._sio.emit(event, frame)

        self._do(send())

    def cut(self) -> None:
        """Break every connection without a word."""

        async def abort() -> None:
            for handler in self._runner.server.connections:
                if handler.transport is not None:  # it is closing by itself
                    handler.transport.abort()

        self._do(abort())

    def leave_politely(self) -> None:
        """Send everybody a Socket.IO DISCONNECT, which the SDK never survives."""

        async def disconnect() -> None:
            for sid in list(self.alive):
                await self._sio.disconnect(sid)

        self._do(disconnect())

    def down(self) -> None:
        """Stop listening and break everything."""
        self.cut()
        self._do(self._runner.cleanup())

    def up(self) -> None:
        """Listen again at the same port."""
        self._do(self._start(self.port))

    def close(self) -> None:
        self.cut()

        async def end() -> None:
            await self._runner.cleanup()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(100)

    async def _start(self, port: int) -> int:
        app = web.Application()
        self._sio.attach(app)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        return self._runner.addresses[0][1]

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        self.auths.append(auth)
        self.agents.append(environ.get("HTTP_USER_AGENT", ""))
        if self.refuse:
            raise socketio.exceptions.ConnectionRefusedError("session expired")
        self.alive.add(sid)
        self.most = max(self.most, len(self.alive))

    async def _disconnect(self, sid: str, *_: Any) -> None:
        self.alive.discard(sid)

    async def _join(self, sid: str, rooms: Any) -> None:
        self.joins.append(rooms)
        for room in [rooms] if isinstance(rooms, str) else rooms:
            await self._sio.enter_room(sid, room)

    async def _leave(self, sid: str, rooms: Any) -> None:
        for room in [rooms] if isinstance(rooms, str) else rooms:
            await self._sio.leave_room(sid, room)
