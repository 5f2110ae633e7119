"""The routes: status, the feed's websocket and BokehJS.

Every route wants an authenticated user whom the server's authorizer lets
``read`` (status, files) or ``execute`` (the feed, because a subscription takes
place on the account's only connection) the resource ``breeze-lab``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web, websocket
from websockets.exceptions import ConnectionClosed, WebSocketException

from breeze_lab.errors import ProcessError
from breeze_lab.relay.metrics import CONTENT_TYPE
from breeze_lab.widgets import bundles
from breeze_lab_server.rest import RESOURCE, Rest
from breeze_lab_server.supervisor import SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from websockets.asyncio.client import ClientConnection

    from breeze_lab_server.supervisor import Supervisor

__all__ = ["FeedHandler", "MetricsHandler", "StaticHandler", "StatusHandler"]

#: What a browser may ask of the relay. Logging in and shutting down are the kernel's.
ALLOWED: Final = frozenset({"hello", "subscribe", "unsubscribe", "status", "peek"})

#: A subscription names a few dozen instruments; nothing a browser asks is long.
MAX_REQUEST_BYTES: Final = 64 * 1024

#: How many requests may wait while the relay starts.
MAX_WAITING: Final = 64

#: Close codes: what the browser does next is its own decision, they only say why.
GOING_AWAY, BAD_REQUEST, TRY_AGAIN, RELAY_RESTARTED = 1001, 1008, 1013, 1012


class StatusHandler(Rest):
    """``GET api/status``: the relay and its upstream, as JSON."""

    def initialize(self, supervisor: Supervisor) -> None:
        """Take the supervisor from the route."""
        self.supervisor = supervisor

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer without starting anything."""
        self.answer(await self.supervisor.status())


class MetricsHandler(Rest):
    """``GET api/metrics``: the relay as Prometheus reads it, and whether there is one."""

    def initialize(self, supervisor: Supervisor) -> None:
        """Take the supervisor from the route."""
        self.supervisor = supervisor

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer without starting anything: a relay that is down is a figure, too."""
        text = ""
        if await self.supervisor.record() is not None:
            with contextlib.suppress(ProcessError):
                text = (await self.supervisor.ask("metrics"))["text"]
        own = (
            ("up", "Whether the relay answers.", int(bool(text))),
            ("browsers", "Websockets of browsers and external clients.",
             len(self.supervisor.browsers)),
        )  # fmt: skip
        for name, words, value in own:
            full = f"breeze_lab_{name}"
            text += f"# HELP {full} {words}\n# TYPE {full} gauge\n{full} {value}\n"
        self.set_header("Cache-Control", "no-store")
        self.finish(text, set_content_type=CONTENT_TYPE)


class StaticHandler(JupyterHandler):
    """``GET static/…``: the installed BokehJS, so that notebooks need not hold it, and our panel.

    ``lab.js`` and ``lab.css`` are what JupyterLab's own extension shows; they
    come from here, so that they are always of this server's version.
    """

    auth_resource = RESOURCE

    async def prepare(self) -> None:  # type: ignore[override]  # theirs takes an option
        """Serve no script of a foreign page, as the API's routes do not."""
        await super().prepare()
        if not self.check_origin():
            raise web.HTTPError(404)

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, name: str) -> None:
        """Send the file; the browser keeps it when its address names the right version."""
        if name in ("lab.js", "lab.css"):
            kind = "javascript" if name == "lab.js" else "css"
            self.set_header("Content-Type", f"text/{kind}; charset=UTF-8")
            self.set_header("Cache-Control", "private, no-cache")
            self.finish(bundles.script("lab") if name == "lab.js" else bundles.styles("lab"))
            return
        script = _bokeh_script() if name == "bokeh.min.js" else None
        if script is None:
            raise web.HTTPError(404)
        version = _bokeh_version()
        self.set_header("Content-Type", "text/javascript; charset=UTF-8")
        self.set_header("X-Bokeh-Version", version)
        if self.get_query_argument("v", "") == version:
            self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.finish(script)


class FeedHandler(WebSocketMixin, websocket.WebSocketHandler, JupyterHandler):
    """``WS api/feed``: the frames of the relay's door, passed through both ways.

    Notes
    -----
    The next frame is fetched from the relay when the browser took the last
    one, so a slow browser holds a handful of frames here and the relay merges
    the rest. When the relay goes, or the bridge fails, the browser's socket is
    closed with 1012 and the relay is started again where it is gone; the browser
    comes back by itself.
    """

    auth_resource = RESOURCE

    def initialize(self, supervisor: Supervisor) -> None:
        """Take the supervisor from the route."""
        self.supervisor = supervisor
        self._requests: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._bridge: asyncio.Task[None] | None = None

    @property
    def max_message_size(self) -> int:
        """Bytes of the longest frame a browser may send."""
        return MAX_REQUEST_BYTES

    @ws_authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Open the websocket for a user who may, from a page of this server's."""
        if not self.check_origin():
            raise web.HTTPError(403)
        await super().get(*args, **kwargs)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Agree on the one protocol there is."""
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    def open(self, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        """Start the bridge."""
        super().open(*args, **kwargs)
        if self.selected_subprotocol is None:
            self.close(BAD_REQUEST, f"offer the subprotocol {SUBPROTOCOL}")
            return None
        self.set_nodelay(True)
        self.supervisor.browsers.add(self)
        self._bridge = asyncio.create_task(self._run())
        return None

    def on_message(self, message: str | bytes) -> None:
        """Queue a permitted request for the relay, refuse any other."""
        try:
            request = json.loads(message)
            op = request.get("op")
        except (AttributeError, ValueError):
            self.close(BAD_REQUEST, "not a JSON map")
            return
        if op not in ALLOWED:
            self.log.warning("A browser asked the relay for %r; refused.", str(op)[:40])
            refusal = {
                "op": "error", "id": request.get("id"), "error": "NotAllowed",
                "message": f"A browser may not ask for {str(op)[:40]!r}.",
            }  # fmt: skip
            self.write_message(json.dumps(refusal))
            return
        try:
            self._requests.put_nowait(json.dumps(request))
        except asyncio.QueueFull:
            self.close(BAD_REQUEST, "too many requests")

    def on_close(self) -> None:
        """Leave the relay when the browser left."""
        self.supervisor.browsers.discard(self)
        if self._bridge is not None:
            self._bridge.cancel()
        super().on_close()

    async def _run(self) -> None:
        try:
            connection = await self.supervisor.connect()
        except (OSError, ProcessError, WebSocketException) as exc:
            self.log.warning("No relay for a browser: %s", exc)
            self.close(TRY_AGAIN, "the relay is not there")
            return
        sending = asyncio.create_task(self._send(connection))
        try:
            async for frame in connection:
                # Resolves when the operating system took the bytes: this is the back-pressure.
                await self.write_message(frame)
        except ConnectionClosed:
            pass  # the relay died; a relay that ends in order just ends the loop
        except websocket.WebSocketClosedError:
            return  # the browser left between two frames
        except Exception:  # whatever it is, a page that hears nothing more must learn of it
            self.log.exception("The bridge to a browser failed; the browser will come back.")
        finally:
            sending.cancel()
            await connection.close()
        await self.supervisor.restart()
        self.close(RELAY_RESTARTED, "the relay went away")

    async def _send(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):  # noticed by the reader, too
            while True:
                await connection.send(await self._requests.get())


@functools.cache
def _bokeh_script() -> bytes | None:
    """Return BokehJS without importing Bokeh, which takes a second; None where there is none."""
    spec = importlib.util.find_spec("bokeh")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "server" / "static" / "js"
    return (folder / "bokeh.min.js").read_bytes()


@functools.cache
def _bokeh_version() -> str:
    return metadata.version("bokeh")
