"""The way to share links: a proxy to the viewer's process, one way and without a login.

``GET s/ID/…`` and ``WS s/ID/feed`` are for people who have no Jupyter login:
the id is what lets them in, and the viewer's process alone decides whether it
does (`breeze_lab.shares`). So nobody is identified here, no cookie is read or
set, and of a request only what is named below is passed on. What a viewer
sends into the websocket ends here: nothing of it is passed on at all.

The server's log shows neither the id nor a referrer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import JupyterHandler
from tornado import web, websocket
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from breeze_lab.errors import BreezeLabError, ProcessError
from breeze_lab.shares.book import open_book
from breeze_lab_server.child import Child

if TYPE_CHECKING:
    import logging

__all__ = ["Passage", "SharedFeed", "SharedPage", "routes"]

#: Below a link: its page, a script of it.
_BELOW: Final = re.compile(r"[A-Za-z0-9_-]{32}(/|/static/[a-z.-]{1,40})?")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{32}")

#: As long as the viewer's process takes for a refusal of its own.
_REFUSAL_S: Final = 0.05
_TIMEOUT_S: Final = 20.0
#: How long it is known that there is no link, so that guesses do not read the book.
_KNOWN_S: Final = 1.0
_MOST_AT_ONCE: Final = 64
_GONE, _TRY_AGAIN = 1001, 1013

_KEPT: Final = (
    "Content-Type", "Content-Encoding", "Content-Security-Policy", "Cache-Control",
    "Cross-Origin-Opener-Policy", "Permissions-Policy", "Referrer-Policy", "Retry-After", "Vary",
    "X-Content-Type-Options", "X-Frame-Options", "X-Robots-Tag",
)  # fmt: skip
_NOTHING: Final = {
    "Content-Type": "text/html; charset=UTF-8", "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}  # fmt: skip


class Passage(Child):
    """The viewer's process: started for the first visitor of a link that exists.

    Parameters
    ----------
    log
        The server's logger.

    Notes
    -----
    Lives on the server's event loop; what blocks happens in threads.
    """

    def __init__(self, log: logging.Logger) -> None:
        """Start nothing yet."""
        super().__init__("shares", "breeze_lab.shares", log)
        self.sockets: set[SharedFeed] = set()
        self._client: AsyncHTTPClient | None = None
        self._none_until = 0.0

    async def address(self) -> str:
        """Return ``127.0.0.1:PORT/PREFIX/s`` of the running process.

        Raises
        ------
        ProcessError
            There is no link to show, or it did not start.
        """
        record = await self.record()
        if record is None:
            if time.monotonic() < self._none_until:
                raise ProcessError("Nothing is shared.")
            if not await asyncio.to_thread(_any_link):
                self._none_until = time.monotonic() + _KNOWN_S
                raise ProcessError("Nothing is shared.")
            record = await self.ensure()
        host = record["host"] if record["host"] not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
        return f"{host}:{record['port']}{str(record['prefix']).rstrip('/')}/s"

    async def fetch(self, path: str, headers: dict[str, str]) -> HTTPResponse:
        """Return the process's answer to ``GET path``.

        Raises
        ------
        ProcessError, OSError, tornado.httpclient.HTTPClientError
        """
        address = await self.address()
        if self._client is None:
            self._client = AsyncHTTPClient(force_instance=True, max_clients=_MOST_AT_ONCE)
        return await self._client.fetch(
            HTTPRequest(
                f"http://{address}/{path}", headers=headers, request_timeout=_TIMEOUT_S,
                follow_redirects=False, decompress_response=False,
            ),
            raise_error=False,
        )  # fmt: skip

    async def connect(self, token: str, headers: dict[str, str]) -> ClientConnection:
        """Return an open websocket of a link.

        Raises
        ------
        ProcessError, OSError, websockets.exceptions.WebSocketException
        """
        return await connect(
            f"ws://{await self.address()}/{token}/feed", additional_headers=headers,
            user_agent_header=None, proxy=None, compression=None, max_queue=4, open_timeout=10,
            close_timeout=1,
        )  # fmt: skip

    def stop(self) -> None:
        """Close every viewer's socket because the server goes away; the process lives on."""
        for one in list(self.sockets):
            one.close(_GONE, "the server stops")
        if self._client is not None:
            self._client.close()


def _any_link() -> bool:
    try:
        book = open_book(must_exist=True)
        if book is None:
            return False
        with book:
            return book.active() > 0
    except BreezeLabError:
        return False


class _Public(JupyterHandler):
    """A route without a login: nobody is identified, and nothing of the request is logged."""

    def initialize(self, passage: Passage) -> None:
        """Take the proxy from the route, and the id out of what a log may show."""
        self.passage = passage
        request = self.request
        request.headers.pop("Referer", None)
        request.uri = request.path = f"{self.base_url}breeze-lab/s/[hidden]"
        request.query, request.arguments, request.query_arguments = "", {}, {}

    async def prepare(self) -> None:  # type: ignore[override]  # theirs takes an option
        """Let in whoever names a host of ours; who it is, nobody asks."""
        self.current_user = self._jupyter_current_user = None
        if not self.check_host():
            raise web.HTTPError(HTTPStatus.NOT_FOUND)

    def check_xsrf_cookie(self) -> None:
        """Not here: nothing can be changed, and no cookie counts."""

    def compute_etag(self) -> str | None:
        """Return none: nothing is kept by anybody."""
        return None

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say nothing of what is wrong."""
        self.clear()
        self.set_status(status_code)
        for name, value in _NOTHING.items():
            self.set_header(name, value)
        self.finish("<!doctype html><title>Nothing here</title><p>Nothing here.</p>")

    def passed_headers(self) -> dict[str, str]:
        """Return what the viewer's process may know of a request."""
        return {
            "X-Forwarded-For": str(self.request.remote_ip or "")[:64],
            "X-Forwarded-Host": self.request.host[:255],
        }


class SharedPage(_Public):
    """``GET s/ID``: the page of a link and its scripts, as the viewer's process answers."""

    @allow_unauthenticated
    async def get(self, path: str) -> None:
        """Pass the answer on."""
        begun = time.monotonic()
        headers = self.passed_headers()
        headers["Accept-Encoding"] = self.request.headers.get("Accept-Encoding", "")[:100]
        answer = None
        if _BELOW.fullmatch(path):
            with contextlib.suppress(OSError, ProcessError, HTTPClientError):
                answer = await self.passage.fetch(path, headers)
        if answer is None or answer.code not in (
            HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS,
        ):  # fmt: skip
            await asyncio.sleep(max(0.0, begun + _REFUSAL_S - time.monotonic()))
            raise web.HTTPError(HTTPStatus.NOT_FOUND)
        self.clear()
        self.set_status(answer.code)
        for name in _KEPT:
            if name in answer.headers:
                self.set_header(name, answer.headers[name])
        self.finish(answer.body)


class SharedFeed(websocket.WebSocketHandler, _Public):
    """``WS s/ID/feed``: what a link's viewer hears. Nothing it says is heard."""

    @property
    def max_message_size(self) -> int:
        """Bytes of the longest message that is dropped without ending the socket."""
        return 256 * 1024

    def check_origin(self, origin: str | None = None) -> bool:
        """Let the viewer's process decide: it knows that its pages have no origin."""
        del origin
        return True

    @allow_unauthenticated
    async def get(self, token: str) -> None:
        """Open the websocket of a link that counts; any other is not here."""
        begun = time.monotonic()
        headers = self.passed_headers() | {"Origin": self.request.headers.get("Origin", "")[:255]}
        self._link: ClientConnection | None = None
        if _ID.fullmatch(token):
            with contextlib.suppress(OSError, ProcessError, WebSocketException, ValueError):
                self._link = await self.passage.connect(token, headers)
        if self._link is None:
            await asyncio.sleep(max(0.0, begun + _REFUSAL_S - time.monotonic()))
            raise web.HTTPError(HTTPStatus.NOT_FOUND)
        try:
            await super().get()
        except BaseException:
            await self._link.close()
            raise

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to pass on what the viewer's process says."""
        del args, kwargs
        self.set_nodelay(True)
        self.passage.sockets.add(self)
        self._passing = asyncio.create_task(self._pass())

    def on_message(self, message: str | bytes) -> None:
        """Drop it."""

    def on_close(self) -> None:
        """Leave the viewer's process when the viewer left."""
        self.passage.sockets.discard(self)
        self._passing.cancel()

    async def _pass(self) -> None:
        link = self._link
        assert link is not None
        try:
            with contextlib.suppress(ConnectionClosed, websocket.WebSocketClosedError):
                async for frame in link:
                    # Resolves when the operating system took the bytes: this is the back-pressure.
                    await self.write_message(frame)
            code = link.close_code
            self.close(code if code is not None and 4000 <= code < 5000 else _TRY_AGAIN)  # noqa: PLR2004 - ours
        finally:
            await link.close()


def routes(passage: Passage) -> list[tuple[Any, ...]]:
    """Return the routes; the server puts its base URL in front."""
    shared = {"passage": passage}
    return [
        (r"/breeze-lab/s/([^/]*)/feed", SharedFeed, shared),
        (r"/breeze-lab/s/(.*)", SharedPage, shared),
    ]
