"""The viewer's server: links in, pages and one-way websockets out.

Three addresses below a prefix, all beginning with an id: the page, its scripts
and its websocket. Whatever is wrong (no such id, ended, withdrawn, altered,
another address, another method) gets the same answer after the same time, and
an address that guesses gets none for a while. What a viewer sends into its
websocket is read and dropped: nothing here acts on it.

Nothing is logged of a request, because the id in its address is all it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import ipaddress
import json
import logging
import sqlite3
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from breeze_lab.errors import ShareError
from breeze_lab.shares import page as pages
from breeze_lab.shares.limits import SPAN_S, Failures
from breeze_lab.shares.links import TOKEN
from breeze_lab.shares.live import Outbox, Room, Streams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from breeze_lab.shares.book import Book
    from breeze_lab.shares.links import Link

__all__ = ["ENDED", "REFUSAL_S", "Viewer"]

_log = logging.getLogger(__name__)

#: Close code of a websocket whose link counts no more.
ENDED: Final = 4404

#: Every refusal takes so long, whatever is wrong: more than finding out takes.
REFUSAL_S: Final = 0.05

#: How often it is looked at whether links still count: viewers are cut within a second.
_LOOK_S: Final = 0.2

#: Viewers at a time: of one link, and of all.
_MOST_OF_LINK: Final = 100
_MOST: Final = 400

#: A viewer has nothing to say; more than this in one message ends its socket.
_LARGEST_MESSAGE: Final = 256 * 1024

#: How long a chart stays ready for the next viewer.
_KEPT_S: Final = 60.0

_HTML: Final = {"Content-Type": "text/html; charset=utf-8"}


class Refused(Exception):
    """The request gets the one answer that everything wrong gets."""


class Viewer:
    """Serve the links of one book.

    Parameters
    ----------
    book
        Only read, but for the number of openings.
    prefix
        What our addresses begin with, ``"/"`` or ``"/public/"``.
    origins
        Origins of pages, besides ours, that may open a websocket.

    Notes
    -----
    Lives on one event loop.
    """

    def __init__(self, book: Book, prefix: str = "/", origins: Sequence[str] = ()) -> None:
        self.book = book
        self.origins = frozenset(one.lower().rstrip("/") for one in origins)
        self.dropped = 0
        self._streams = Streams()
        self._rooms: dict[str, Room] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._sockets: dict[web.WebSocketResponse, tuple[str, asyncio.Task[Any]]] = {}
        self._failures = Failures()
        base = prefix.rstrip("/") + "/s/{token}"
        self.app = web.Application(middlewares=[self._guard], client_max_size=1024)
        self.app.router.add_get(base, self._page)
        self.app.router.add_get(base + "/", self._page)
        self.app.router.add_get(base + "/static/{name}", self._static)
        self.app.router.add_get(base + "/feed", self._feed, allow_head=False)
        self.app.on_response_prepare.append(_anonymous)

    @property
    def viewers(self) -> int:
        """How many websockets are open."""
        return len(self._sockets)

    async def watch(self) -> None:
        """Cut viewers whose link counts no more, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for digest in {digest for digest, _ in self._sockets.values()}:
                try:
                    good = self.book.recheck(digest) is not None
                except sqlite3.Error:
                    _log.exception("The book of links cannot be read: its viewers are cut.")
                    good = False
                if not good:
                    self._cut(digest)

    def _cut(self, digest: str) -> None:
        self._forget(digest)
        for socket, (whose, writing) in list(self._sockets.items()):
            if whose == digest:
                del self._sockets[socket]
                writing.cancel()
                self._later(socket.close(code=ENDED, message=b"this link has ended"))

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)

    # -- answers ------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            return await handler(request)
        except (Refused, web.HTTPException):
            pass  # aiohttp's own 404 and 405 among them
        except (sqlite3.Error, ShareError):
            _log.exception("The book of links cannot be read.")
        many = self._failures.too_many(_address(request))
        await asyncio.sleep(begun + REFUSAL_S - loop.time())
        headers = {**pages.HEADERS, **_HTML}
        if many:
            headers["Retry-After"] = str(int(SPAN_S))
        return web.Response(status=429 if many else 404, text=pages.NOTHING, headers=headers)

    def _link(self, request: web.Request) -> Link:
        token = request.match_info["token"]
        # What has not the form of an id is looked up, too: it costs the same.
        link = self.book.check(token)
        if link is None or TOKEN.fullmatch(token) is None:
            raise Refused
        return link

    async def _page(self, request: web.Request) -> web.StreamResponse:
        link = self._link(request)
        body = await asyncio.to_thread(self.book.target, link)
        if body is None:
            raise Refused
        target = json.loads(body)
        if link.kind == "chart":
            room = self._room(link, target)
            target["bars"] = room.rows.columns()
        here = "" if request.path.endswith("/") else request.match_info["token"] + "/"
        html, headers = pages.page(link, target, here, _host(request))
        if request.method == "GET":
            await asyncio.to_thread(self.book.note, link)
        return await _packed(request, html.encode(), {**headers, **_HTML})

    async def _static(self, request: web.Request) -> web.StreamResponse:
        link = self._link(request)
        name = request.match_info["name"]
        if name not in link.parameters.get("scripts", ()):
            raise Refused
        found = await asyncio.to_thread(pages.script, name)
        if found is None:
            raise Refused
        plain, zipped = found
        headers = {
            **pages.HEADERS, "Content-Type": "text/javascript; charset=utf-8",
            "Cache-Control": "private, max-age=3600", "Vary": "Accept-Encoding",
        }  # fmt: skip
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=zipped, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=plain, headers=headers)

    # -- the websocket ------------------------------------------------------

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        link = self._link(request)
        mine = sum(digest == link.digest for digest, _ in self._sockets.values())
        if not self._origin_fits(request) or len(self._sockets) >= _MOST or mine >= _MOST_OF_LINK:
            raise Refused
        socket = web.WebSocketResponse(
            timeout=0.5, heartbeat=20.0, max_msg_size=_LARGEST_MESSAGE, compress=False
        )
        if not socket.can_prepare(request).ok:
            raise Refused
        room = None
        if link.kind == "chart":
            body = await asyncio.to_thread(self.book.target, link)
            if body is None:
                raise Refused
            room = self._room(link, json.loads(body))
        await socket.prepare(request)
        outbox = Outbox()
        writing = asyncio.create_task(_write(socket, outbox))
        self._sockets[socket] = link.digest, writing
        try:
            if room is not None:
                await self._enter(link, room, outbox)
            async for _ in socket:
                self.dropped += 1
        finally:
            self._sockets.pop(socket, None)
            writing.cancel()
            if room is not None:
                room.leave(outbox)
                if not room.viewers:
                    self._let_go(link.digest)
        return socket

    def _origin_fits(self, request: web.Request) -> bool:
        """Say whether a page of ours asks: it is sandboxed, so its origin is ``null``."""
        origin = request.headers.get("Origin", "").lower()
        return origin == "null" or origin in self.origins or (
            bool(origin) and urlsplit(origin).netloc == _host(request).lower()
        )  # fmt: skip

    # -- charts -------------------------------------------------------------

    def _room(self, link: Link, target: dict[str, Any]) -> Room:
        room = self._rooms.get(link.digest)
        if room is None:
            room = self._rooms[link.digest] = Room(target, live=link.data == "practice")
        if not room.viewers:
            self._let_go(link.digest)
        return room

    async def _enter(self, link: Link, room: Room, outbox: Outbox) -> None:
        if (leaving := self._leaving.pop(link.digest, None)) is not None:
            leaving.cancel()
        if room.live:
            self._streams.follow(room)
        await room.enter(outbox)

    def _let_go(self, digest: str) -> None:
        """Keep a chart that nobody watches for a while."""
        if (before := self._leaving.pop(digest, None)) is not None:
            before.cancel()
        later = asyncio.get_running_loop().call_later(
            _KEPT_S, functools.partial(self._forget, digest)
        )
        self._leaving[digest] = later

    def _forget(self, digest: str) -> None:
        if (leaving := self._leaving.pop(digest, None)) is not None:
            leaving.cancel()
        room = self._rooms.pop(digest, None)
        if room is not None:
            self._streams.leave(room)


_TASKS: Final[set[asyncio.Future[Any]]] = set()


async def _write(socket: web.WebSocketResponse, outbox: Outbox) -> None:
    """Send what there is, as fast as the viewer reads."""
    with contextlib.suppress(ConnectionError):
        while True:
            await outbox.wake.wait()
            for text in outbox.take():
                await socket.send_str(text)


async def _packed(request: web.Request, body: bytes, headers: dict[str, str]) -> web.Response:
    if request.headers.get("Accept-Encoding", "").find("gzip") >= 0:
        body = await asyncio.to_thread(gzip.compress, body, 3)
        headers = {**headers, "Content-Encoding": "gzip"}
    return web.Response(body=body, headers=headers)


async def _anonymous(_request: web.Request, response: web.StreamResponse) -> None:
    """Say neither which software this is nor its version."""
    response.headers["Server"] = "breeze-lab"


def _local(request: web.Request) -> bool:
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


def _address(request: web.Request) -> str:
    """Return whose request it is: a proxy beside us says so in the last of its words."""
    told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return told[:64] if told and _local(request) else request.remote or ""


def _host(request: web.Request) -> str:
    """Return the host as the browser names it; a proxy beside us may say it."""
    told = request.headers.get("X-Forwarded-Host", "") if _local(request) else ""
    return told or request.host
