"""The door: a Unix socket that only its owner can open, speaking websocket frames.

Owns the socket file, the reading of requests and the writing of batches.
Whatever a client sends, the answer is a message and the relay goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed

from breeze_lab.bars import Interval
from breeze_lab.errors import BreezeLabError, FeedError, SettingsError, SubscriptionRefused
from breeze_lab.relay import JSON, MSGPACK, messages, metrics
from breeze_lab.relay.beat import Beat
from breeze_lab.relay.books import is_depth
from breeze_lab.relay.market import Codec
from breeze_lab.relay.outflow import Outflow
from breeze_lab.relay.shared import refuse_ended
from breeze_lab.relay.upstream import Login
from breeze_lab.settings import Endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from breeze_lab.relay.consumers import Consumer
    from breeze_lab.relay.hub import Hub

__all__ = ["LARGEST_MESSAGE", "Door"]

_log: Final = logging.getLogger(__name__)

#: A request for 2,000 instruments has about 150 KB.
LARGEST_MESSAGE: Final = 2**20
#: Time for the answer to a shutdown to leave.
_LAST_WORDS_S: Final = 0.05
#: Time for consumers to hear that the relay ends.
_FAREWELL_S: Final = 0.5


class Door:
    """Serve the hub to clients.

    Parameters
    ----------
    hub
        What is served.
    on_login
        Called with every accepted login, so that it can be remembered.
    """

    def __init__(self, hub: Hub, on_login: Callable[[Login], None]) -> None:
        """Serve nobody yet."""
        self.hub = hub
        self.stop = asyncio.Event()
        self._on_login = on_login
        self._connections: set[ServerConnection] = set()
        self._budget = metrics.Budget()
        self._beat = Beat()

    @contextlib.asynccontextmanager
    async def open(self, path: Path) -> AsyncIterator[None]:
        """Listen at `path` while the block runs; the file is there only then."""
        # No pings: a kernel busy for minutes lives, and a dead one ends its socket.
        server = await unix_serve(
            self._serve, sock=_listen(path), subprotocols=[MSGPACK, JSON], compression=None,
            create_connection=Outflow,
            max_size=LARGEST_MESSAGE, ping_interval=None, close_timeout=1.0, server_header=None,
        )  # fmt: skip
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call, at the end
            server.close()
            try:
                async with asyncio.timeout(_FAREWELL_S):
                    await server.wait_closed()
            except TimeoutError:  # somebody does not read, so a goodbye cannot be written
                for connection in self._connections:
                    connection.transport.abort()

    async def _serve(self, connection: ServerConnection) -> None:
        codec = Codec(connection.subprotocol or MSGPACK)
        consumer = self.hub.attach(codec)
        self._connections.add(connection)
        writer = asyncio.create_task(self._write(cast("Outflow", connection), consumer))
        try:
            async for data in connection:
                await self._answer(consumer, data)
                if consumer.overrun:  # it does not read, so a goodbye could not be written
                    _log.warning("Gave up %s: its answers are not being read.", consumer.name)
                    connection.transport.abort()
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)
            self.hub.detach(consumer)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, connection: Outflow, consumer: Consumer) -> None:
        """Write what waits until the connection ends, or end it: a mute one looks like a calm."""
        try:
            await self._write_on(connection, consumer)
        except ConnectionClosed:
            pass
        except Exception:  # noqa: BLE001 - whatever it is, the others are served
            _log.exception("Gave up %s: it could not be written to.", consumer.name)
            connection.transport.abort()

    async def _write_on(self, connection: Outflow, consumer: Consumer) -> None:
        loop = asyncio.get_running_loop()
        not_before = 0.0
        while True:
            await consumer.wake.wait()
            # The first message after a pause leaves at once, a flood is batched.
            await asyncio.sleep(max(0.0, not_before - loop.time()))
            told = consumer.delivered
            # In the log first: whatever anybody was told survives a kill.
            self.hub.journal.commit()
            messages = consumer.messages()
            not_before = self._beat.after(loop.time(), consumer.flush_s, consumer.delivered - told)
            await connection.send_all(messages, text=consumer.codec.text)

    async def _answer(self, consumer: Consumer, data: str | bytes) -> None:
        request_id: int | None = None
        try:
            request = messages.parse(data, text=consumer.codec.text)
            request_id = getattr(request, "id", None)
            await self._serve_request(consumer, request)
        except messages.BadRequest as exc:
            _refuse(consumer, exc.request_id, exc)
        except BreezeLabError as exc:
            _refuse(consumer, request_id, exc)
        except Exception as exc:  # noqa: BLE001 - one client's request must not end the relay
            _log.exception("A request failed.")
            _refuse(consumer, request_id, FeedError(f"The relay failed: {exc!r:.80}"))

    async def _serve_request(self, consumer: Consumer, request: messages.Request) -> None:
        match request:
            case messages.Hello():
                consumer.name = request.client or consumer.name
                consumer.flush_s = request.flush_ms / 1000
            case messages.Login():
                await self._login(consumer, request)
            case messages.Subscribe():
                await self._subscribe(consumer, request)
            case messages.Orders():
                self.hub.sides.follow_orders(consumer, request.id)
            case messages.Unsubscribe():
                self.hub.unsubscribe(consumer, request.keys)
                self.hub.sides.books.release(consumer, request.depth)
                _ok(consumer, request.id)
            case messages.Status():
                consumer.post({"op": "status", "id": request.id, **self.hub.status()})
            case messages.Peek():
                wanted = [(one.key, one.room, one.anchor_s) for one in request.instruments]
                intervals = [Interval.parse(label) for label in request.bars]
                found = self.hub.peek(consumer.codec, wanted, intervals)
                consumer.post({"op": "peek", "id": request.id, **found})
            case messages.Metrics():
                budget = await asyncio.to_thread(self._budget.look)
                text = metrics.render(self.hub.status(), budget)
                consumer.post({"op": "metrics", "id": request.id, "text": text})
            case messages.Shutdown():
                _ok(consumer, request.id)
                _log.info("Asked to end by %s.", consumer.name)
                # The answer leaves first; a server that stops drops what still waits.
                asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.stop.set)

    async def _login(self, consumer: Consumer, request: messages.Login) -> None:
        login = Login(
            Endpoints.from_dict(dict(request.endpoints)), request.user, request.token,
            request.account, request.until, request.serial,
        )  # fmt: skip
        refuse_ended(login)
        await self.hub.login(login)
        self._on_login(login)
        if request.id is not None:
            _ok(consumer, request.id)

    async def _subscribe(self, consumer: Consumer, request: messages.Subscribe) -> None:
        try:
            intervals = [Interval.parse(label) for label in request.bars]
        except SettingsError as exc:
            raise SubscriptionRefused(str(exc)) from exc
        wanted = [(i.key, i.room, i.anchor_s) for i in request.instruments if not is_depth(i.room)]
        books = [(item.key, item.room) for item in request.instruments if is_depth(item.room)]
        for item in request.instruments:
            self.hub.sides.candles.know(item.room, item.code)
        every = request.delivery == "every" and request.ticks
        if market := request.market or self.hub.market:
            await self.hub.prepare(market)
        older = await self.hub.lives.older(wanted, request.after, request.life) if every else {}
        self.hub.subscribe(
            consumer, request.id, wanted, intervals,
            every=request.delivery == "every", ticks=request.ticks, market=request.market,
            after=request.after, life=request.life, older=older, books=books,
        )  # fmt: skip


def _ok(consumer: Consumer, request_id: int) -> None:
    consumer.post({"op": "ok", "id": request_id})


def _refuse(consumer: Consumer, request_id: int | None, exc: BreezeLabError) -> None:
    answer: dict[str, Any] = {"op": "error", "error": type(exc).__name__, "message": str(exc)}
    if request_id is not None:
        answer["id"] = request_id
    consumer.post(answer)


def _listen(path: Path) -> socket.socket:
    """Return a socket bound to `path` with mode 0600 from the first moment.

    The caller holds the relay's lock, so a file at `path` is left from a crash.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
