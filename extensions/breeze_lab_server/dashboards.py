"""The way to the dashboards: a proxy to their process, behind this server's login.

``GET dash/…`` is one of the pages or a file of theirs, ``WS dash/PAGE/ws`` what
Bokeh's page and its document say to each other. Only these paths are passed on,
of a request nothing but its path and query: neither cookie nor token of Jupyter
reaches the process. It is started by the first page that is asked for; until
it serves, a page of ours stands there and turns into the dashboard by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from html import escape
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web, websocket
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException

from breeze_lab import settings
from breeze_lab.dashboards import DOOR, PAGES
from breeze_lab.errors import ProcessError
from breeze_lab_server.child import Child
from breeze_lab_server.rest import RESOURCE, Rest

if TYPE_CHECKING:
    import logging

__all__ = ["Dashboards", "FileHandler", "PageHandler", "SocketHandler", "StateHandler", "routes"]

#: A file that a published function asks for fits; Bokeh's own limit.
MAX_MESSAGE_BYTES: Final = 20 * 1024 * 1024
#: Panel and Bokeh take seconds to load, on a busy machine many.
_START_S: Final = 120.0
_ANSWER_S: Final = 60.0
_KEPT_HEADERS: Final = ("Content-Type", "Etag", "Last-Modified", "Cache-Control")
_GONE, _TRY_AGAIN = 1001, 1012
#: What a page may load: its own files, and the scripts that Bokeh and Panel write into it.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob:; media-src 'self' data: blob:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


class _ToSocket(Resolver):
    """Every host is the process's Unix socket."""

    def initialize(self, path: str) -> None:
        """Take the socket's path."""
        self._path = path

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Return the one address there is."""
        del host, port, family
        return [(socket.AF_UNIX, self._path)]


class Dashboards(Child):
    """The process behind the pages: started by the first, asked over its socket.

    Lives on the server's event loop; what blocks happens in threads.
    """

    def __init__(self, log: logging.Logger) -> None:
        """Start nothing yet."""
        super().__init__("dashboards", "breeze_lab.dashboards", log, _START_S)
        self.sockets: set[SocketHandler] = set()
        self._clients: dict[str, SimpleAsyncHTTPClient] = {}

    async def fetch(self, record: dict[str, Any], path: str, etag: str) -> Any:
        """Return the process's answer to ``GET path``.

        Raises
        ------
        OSError, tornado.httpclient.HTTPClientError
            It is not there, or does not answer.
        """
        client = self._clients.get(record["socket"])
        if client is None:
            client = SimpleAsyncHTTPClient(
                force_instance=True, resolver=_ToSocket(path=record["socket"]), max_clients=100
            )
            self._clients[record["socket"]] = client
        given = {DOOR: record["secret"], **({"If-None-Match": etag} if etag else {})}
        return await client.fetch(
            HTTPRequest(
                f"http://localhost/{path}", headers=given, request_timeout=_ANSWER_S,
                follow_redirects=False, decompress_response=False,
            ),
            raise_error=False,
        )  # fmt: skip

    async def connect(self, page: str, token: str) -> ClientConnection:
        """Return an open websocket to the session of `token`.

        Raises
        ------
        ProcessError, OSError, websockets.exceptions.WebSocketException
        """
        record = await self.record()
        if record is None:
            raise ProcessError("The dashboards do not run.")
        return await unix_connect(
            record["socket"], f"ws://localhost/{page}/ws", subprotocols=["bokeh", token],
            additional_headers={DOOR: record["secret"]}, compression=None, max_size=None,
            max_queue=4, open_timeout=20, close_timeout=1, ping_interval=None,
        )  # fmt: skip

    def stop(self) -> None:
        """Close every page's socket because the server goes away; the process lives on."""
        for one in list(self.sockets):
            one.close(_GONE, "the server stops")
        for client in self._clients.values():
            client.close()


class StateHandler(Rest):
    """``GET api/dashboards``: whether they serve, and why not."""

    def initialize(self, dashboards: Dashboards) -> None:
        """Take the process from the route."""
        self.dashboards = dashboards

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer without starting anything."""
        running = await self.dashboards.record() is not None
        self.answer(
            {
                "running": running, "starting": self.dashboards.starting,
                "error": None if running else self.dashboards.error or None,
            }
        )  # fmt: skip


class _Passing(JupyterHandler):
    """What the pages and their files have in common."""

    auth_resource = RESOURCE

    def initialize(self, dashboards: Dashboards) -> None:
        """Take the process from the route."""
        self.dashboards = dashboards

    async def prepare(self) -> None:  # type: ignore[override]  # theirs takes an option
        """Show nothing to a foreign page, as the API's routes do not."""
        await super().prepare()
        if not self.check_origin():
            raise web.HTTPError(HTTPStatus.NOT_FOUND)

    async def answered(self, path: str) -> bool:
        """Pass the process's answer on; False when it does not run."""
        record = await self.dashboards.record()
        if record is None:
            return False
        # Whoever signs in with the address leaves the token here.
        query = [
            one
            for one in parse_qsl(self.request.query, keep_blank_values=True)
            if one[0] != "token"
        ]
        if query:
            path += f"?{urlencode(query)}"
        etag = self.request.headers.get("If-None-Match", "")
        try:
            told = await self.dashboards.fetch(record, path, etag)
        except (OSError, HTTPClientError) as exc:
            self.log.warning(
                "The dashboards did not answer for %s: %s", path.partition("?")[0], exc
            )
            return False
        if told.code == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.warning("A dashboard failed; see %s.", _log_file())
        if told.code not in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
            raise web.HTTPError(told.code if told.code >= HTTPStatus.BAD_REQUEST else 502)
        self.set_status(told.code)
        for name in _KEPT_HEADERS:
            if name in told.headers:
                self.set_header(name, told.headers[name])
        self.set_header("X-Content-Type-Options", "nosniff")
        if told.code == HTTPStatus.OK:
            self.write(told.body)
        self.finish()
        return True


class FileHandler(_Passing):
    """``GET dash/static/…``: scripts and styles of Bokeh and Panel."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, path: str) -> None:
        """Pass the file on, its address spelt as it came."""
        spelt = self.request.path.removeprefix(f"{self.base_url}breeze-lab/dash/")
        if ".." in path or not await self.answered(spelt):
            raise web.HTTPError(HTTPStatus.SERVICE_UNAVAILABLE)


class PageHandler(_Passing):
    """``GET dash/PAGE``: a dashboard, or the page that waits for it."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, page: str = "") -> None:
        """Pass the page on; start the process when there is none."""
        if not page:
            self.redirect(f"{self.base_url}breeze-lab/dash/{next(iter(PAGES))}")
            return
        self.xsrf_token  # noqa: B018 - sets the cookie that the page's requests repeat
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")
        if not await self.answered(page):
            self.dashboards.begin()
            self._wait()

    def _wait(self) -> None:
        """Send the page that stands there until the process serves."""
        nonce = secrets.token_urlsafe(12)
        text = (resources.files("breeze_lab_server") / "starting.html").read_text("utf-8")
        self.set_status(HTTPStatus.ACCEPTED)
        self.set_header("Retry-After", "2")
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
        )
        self.finish(text.replace("{{nonce}}", nonce).replace("{{base}}", escape(self.base_url)))


class SocketHandler(WebSocketMixin, websocket.WebSocketHandler, JupyterHandler):
    """``WS dash/PAGE/ws``: a page's websocket, passed through both ways.

    Notes
    -----
    The next message is read from either side when the other one took the last,
    so a slow browser holds a handful here and no more.
    """

    auth_resource = RESOURCE

    def initialize(self, dashboards: Dashboards) -> None:
        """Take the process from the route."""
        self.dashboards = dashboards
        self._there: ClientConnection | None = None
        self._passing: asyncio.Task[None] | None = None

    @property
    def max_message_size(self) -> int:
        """Bytes of the longest message a page may send."""
        return MAX_MESSAGE_BYTES

    @ws_authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, page: str, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Open it for a user who may, from a page of this server's, to the session of its token."""
        if not self.check_origin():
            raise web.HTTPError(HTTPStatus.FORBIDDEN)
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        match [one.strip() for one in offered]:
            case ["bokeh", token] if token:
                pass
            case _:
                raise web.HTTPError(HTTPStatus.BAD_REQUEST, "offer bokeh and the page's token")
        try:
            self._there = await self.dashboards.connect(page, token)
        except InvalidHandshake as exc:
            self.log.warning("The dashboards refused a page: %s", type(exc).__name__)
            raise web.HTTPError(HTTPStatus.FORBIDDEN) from None
        except (OSError, ProcessError, WebSocketException) as exc:
            raise web.HTTPError(HTTPStatus.SERVICE_UNAVAILABLE, str(exc)) from None
        try:
            await super().get(*args, **kwargs)
        finally:
            if self._passing is None:  # the handshake with the browser failed
                await self._there.close()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Agree on Bokeh's protocol; the other one offered is the token."""
        return "bokeh" if "bokeh" in subprotocols else None

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Begin to pass messages on."""
        super().open(*args, **kwargs)
        self.set_nodelay(True)
        self.dashboards.sockets.add(self)
        self._passing = asyncio.create_task(self._pass())

    async def on_message(self, message: str | bytes) -> None:
        """Pass a message of the page on; the next one is read after it."""
        if self._there is not None:
            with contextlib.suppress(ConnectionClosed):  # noticed by the reader, too
                await self._there.send(message)

    def on_close(self) -> None:
        """Leave the process when the page left."""
        self.dashboards.sockets.discard(self)
        if self._passing is not None:
            self._passing.cancel()
        super().on_close()

    async def _pass(self) -> None:
        there = self._there
        assert there is not None
        try:
            async for message in there:
                await self.write_message(message, binary=isinstance(message, bytes))
        except ConnectionClosed:
            pass  # it died; one that ends in order just ends the loop
        except websocket.WebSocketClosedError:
            return
        finally:
            await there.close()
        self.close(_TRY_AGAIN, "the dashboards went away")


def _log_file() -> str:
    return str(settings.folders().runtime / "dashboards.log")


def routes(dashboards: Dashboards) -> list[tuple[Any, ...]]:
    """Return the routes; the server puts its base URL in front."""
    shared = {"dashboards": dashboards}
    names = "|".join(PAGES)
    return [
        (r"/breeze-lab/dash/?", PageHandler, shared),
        (rf"/breeze-lab/dash/({names})", PageHandler, shared),
        (rf"/breeze-lab/dash/({names})/ws", SocketHandler, shared),
        (r"/breeze-lab/dash/(static/[\w./@+%-]+|favicon\.ico)", FileHandler, shared),
        (r"/breeze-lab/api/dashboards/?", StateHandler, shared),
    ]
