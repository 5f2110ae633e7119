"""The server of the pages: Panel on a Unix socket that answers the Jupyter server alone.

The socket has mode 0600 and lies in a folder of mode 0700, so no other user
reaches it, and there is no port. A program of the same user has to know the
secret of the ready record as well: a page of the Jupyter server has passed its
login and its authorizer, and nothing comes in beside it.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from panel.io.server import get_server
from tornado import web
from tornado.ioloop import IOLoop, PeriodicCallback

from breeze_lab import __version__, processes
from breeze_lab.dashboards import DOOR, pages

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from breeze_lab.settings import Folders

__all__ = ["MAX_MESSAGE_BYTES", "serve"]

_log: Final = logging.getLogger("breeze_lab.dashboards")

#: Of one message from a page: a file that a published function asks for fits.
MAX_MESSAGE_BYTES: Final = 20 * 1024 * 1024
_LOOK_MS: Final = 2000
#: A slow page may fetch its scripts for this long before it opens its websocket.
_UNUSED_SESSION_MS: Final = 60_000


class _Refused(web.RequestHandler):
    """Whoever does not know the secret learns nothing, not even what is here."""

    def prepare(self) -> None:
        """Refuse whatever it is."""
        raise web.HTTPError(403)


def serve(folders: Folders, idle_exit_s: float) -> None:
    """Serve until a signal, or until no page has been open for `idle_exit_s`; 0 never ends."""
    secret = secrets.token_urlsafe(32)
    path = folders.socket("dashboards")
    server = get_server(
        dict(pages.applications()), unix_socket=str(path), location=False, use_index=False,
        # A page's id is made here and signed: nobody brings one along.
        generate_session_ids=True, sign_sessions=True, secret_key=secrets.token_bytes(32),
        unused_session_lifetime_milliseconds=_UNUSED_SESSION_MS,
        websocket_max_message_size=MAX_MESSAGE_BYTES,
    )  # fmt: skip
    _guard(server._tornado, secret)  # noqa: SLF001 - Bokeh offers no hook before its own routes
    loop: IOLoop = server.io_loop
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(loop.stop))
    watch = _Idle(server, idle_exit_s)
    watch.start()
    server.start()
    processes.publish(
        folders.runtime, "dashboards",
        {"socket": str(path), "secret": secret, "version": __version__},
    )  # fmt: skip
    _log.info("Dashboards %s serve at %s.", __version__, path)
    try:
        loop.start()
    finally:
        watch.stop()
        server.stop()
        path.unlink(missing_ok=True)
    _log.info("Dashboards end.")


def _guard(app: web.Application, secret: str) -> None:
    """Let `app` answer only requests that carry `secret`, its websockets' among them."""
    find = app.find_handler
    wanted = secret.encode()

    def find_handler(request: HTTPServerRequest, **more: Any) -> Any:
        given = request.headers.pop(DOOR, "")  # no page's code sees it
        if hmac.compare_digest(given.encode(), wanted):
            return find(request, **more)
        return app.get_handler_delegate(request, _Refused)

    app.find_handler = find_handler  # type: ignore[method-assign]


class _Idle:
    """Stop the loop when no page has been open for a while."""

    def __init__(self, server: Any, idle_exit_s: float) -> None:
        self._server, self._idle_exit_s = server, idle_exit_s
        self._alone_since = time.monotonic()
        self._looks = PeriodicCallback(self._look, _LOOK_MS)

    def start(self) -> None:
        self._looks.start()

    def stop(self) -> None:
        self._looks.stop()

    def _look(self) -> None:
        now = time.monotonic()
        if any(one.connection_count for one in self._server.get_sessions()):
            self._alone_since = now
        elif self._idle_exit_s and now - self._alone_since > self._idle_exit_s:
            _log.info("No page has been open for %.0f s.", self._idle_exit_s)
            self._server.io_loop.stop()
