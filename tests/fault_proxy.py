"""A path between a client and a server on loopback whose weather a test decides."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Any


class FaultProxy:
    """Forward one port to another from a thread of its own, with faults.

    Attributes
    ----------
    up, down
        Whether bytes pass towards the server and towards the client; what waits
        is kept, as a network keeps it.
    delay_s, slices, hang_up, answer
        Lateness of what goes down; whether it goes byte by byte; whether new
        connections are closed at once, or answered with these bytes.
    most
        Streams that one client held at the same time. A server behind a hole
        cannot know which of them have ended; here the client's end is seen at once.
    """

    #: Two events at the same moment come in any order.
    OVERLAP_S = 0.1

    def __init__(self, target: int) -> None:
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.accepted = self.most = 0
        self._held: set[asyncio.StreamReader] = set()
        self.clear()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()

    def clear(self) -> None:
        """Let everything pass."""
        self.up = self.down = True
        self.delay_s, self.slices, self.hang_up, self.answer = 0.0, False, False, b""
        self.reset_at = 0

    def listen(self, *, on: bool = True) -> None:
        """Listen at the same port as before, or no longer and break what is open."""

        async def change() -> None:
            if on:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
                self.port = self._server.sockets[0].getsockname()[1]
            else:
                self._server.close()
                self._break()

        self._do(change())

    def reset(self) -> None:
        """Break every connection with a TCP reset."""
        self._loop.call_soon_threadsafe(self._break)

    def say(self, data: bytes) -> None:
        """Send bytes to every client, between two messages of the server."""

        def send() -> None:
            for client, _ in self._pairs:
                client.write(data)

        self._loop.call_soon_threadsafe(send)

    def close(self) -> None:
        self.listen(on=False)

        async def end() -> None:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _break(self) -> None:
        for pair in self._pairs:
            for writer in pair:
                with contextlib.suppress(OSError, AttributeError):  # it is closing by itself
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.hang_up or self.answer:
            with contextlib.suppress(OSError):
                if self.answer:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(self.answer)
                writer.close()
            return
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, onward)
        self._pairs.add(pair)
        pumps = [
            asyncio.ensure_future(self._pump(reader, onward, "up")),
            asyncio.ensure_future(self._pump(there, writer, "down")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._pairs.discard(pair)
            for end in pair:
                end.close()

    def _look(self) -> None:
        self.most = max(self.most, len(self._held))

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str
    ) -> None:
        loop = asyncio.get_running_loop()
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await late.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                while not getattr(self, way):  # noqa: ASYNC110 - set from another thread
                    await asyncio.sleep(0.01)
                if way == "down" and self.reset_at and len(data) >= self.reset_at:
                    sink.write(data[: self.reset_at])
                    self.reset_at = 0
                    await asyncio.sleep(0.01)
                    self._break()
                    return
                if self.slices and way == "down":
                    for place in range(len(data)):
                        sink.write(data[place : place + 1])
                        await asyncio.sleep(0)
                else:
                    sink.write(data)
                late.task_done()

        delivering = asyncio.ensure_future(deliver())
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    if way == "up" and data.startswith(b"GET /socket.io"):
                        self._held.add(source)  # a stream, and no question whether one is there
                        loop.call_later(self.OVERLAP_S, self._look)
                    late.put_nowait((loop.time() + (self.delay_s if way == "down" else 0.0), data))
                self._held.discard(source)  # the client's end
                await late.join()  # what came before the end goes before the end
        finally:
            self._held.discard(source)
            delivering.cancel()
