"""The doorstep: a small web server on loopback for one login from a terminal.

It listens at the redirect address that is registered with the broker when that
lies on this machine and is free, else at any port for its first page alone.
Its rules are those of the Jupyter server's callback: ten minutes, one login,
the nonce of the browser that was sent to the broker, the broker's origin for a
POST, and no api session in an address that stays (docs/login.md).
"""

from __future__ import annotations

import contextlib
import html
import ipaddress
import os
import queue
import secrets
import threading
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from breeze_lab import signin
from breeze_lab.errors import BreezeLabError, LoginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.signin import Outcome

__all__ = ["Doorstep"]

_USER: Final = "terminal"
_COOKIE: Final = "breeze-lab-login"
_LARGEST: Final = 16 * 1024
#: Names of this machine; with another one a page of another site may be behind the request.
_HERE: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Doorstep:
    """Wait for one redirect; a context manager.

    Parameters
    ----------
    redirect
        The registered address.
    page
        The broker's login page.
    exchange
        Trades an api session for the shared session; called on a thread.

    Attributes
    ----------
    start
        Address of ours that leads to the broker's page and marks the browser.
    listens, why
        Whether the redirect can arrive here, and if not, why.
    outcomes, wakes
        What came of it, an `Outcome` or an error; a descriptor that is readable then.
    """

    def __init__(self, redirect: str, page: str, exchange: Callable[[str], Outcome]) -> None:
        self.redirect, self.page, self.exchange = redirect, page, exchange
        self.desk = signin.Desk()
        self.lock = threading.Lock()  # guards the desk: each request has a thread
        self.nonce = self.desk.start(_USER, "")
        self.outcomes: queue.Queue[Outcome | BaseException] = queue.Queue()
        self.wakes, self._wake = os.pipe()
        self.path = urlsplit(redirect).path or "/"
        self._key = secrets.token_urlsafe(16)
        self.why, self._server = self._listen(redirect)
        self.listens = not self.why
        host, port = self._server.server_address[:2]
        self.start = f"http://{host!s}:{port}/start/{self._key}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _listen(self, redirect: str) -> tuple[str, ThreadingHTTPServer]:
        parts = urlsplit(redirect)
        host = parts.hostname or ""
        with contextlib.suppress(ValueError):
            host = "localhost" if ipaddress.ip_address(host).is_loopback else host
        handler = type("Handler", (_Handler,), {"door": self})
        if parts.scheme != "http" or host != "localhost":
            why = "It is not an http address of this machine, so it cannot arrive here"
        else:
            try:
                address = "127.0.0.1" if parts.hostname == "localhost" else str(parts.hostname)
                return "", ThreadingHTTPServer((address, parts.port or 80), handler)
            except OSError as exc:
                why = f"Its port {parts.port or 80} cannot be had here ({exc.strerror})"
        return why, ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for descriptor in (self.wakes, self._wake):
            os.close(descriptor)

    def tell(self, outcome: Outcome | BaseException) -> None:
        """Hand over what came of it."""
        self.outcomes.put(outcome)
        with contextlib.suppress(OSError):
            os.write(self._wake, b"x")

    def is_start(self, path: str) -> bool:
        """Say whether `path` is the first page's."""
        return secrets.compare_digest(path.encode(), f"/start/{self._key}".encode())


class _Refused(Exception):
    """A request that is not believed: a status, and what to do."""

    def __init__(self, status: HTTPStatus, advice: str) -> None:
        super().__init__(advice)
        self.status, self.advice = status, advice


class _Handler(BaseHTTPRequestHandler):
    door: Doorstep
    server_version, sys_version = "BreezeLab", ""
    timeout = 20

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, *_: Any) -> None:
        """Log nothing: addresses here hold api sessions."""

    def _answer(self, serve: Callable[[], None]) -> None:
        try:
            self._check_host()
            serve()
        except _Refused as exc:
            self._page(exc.status, "Not logged in", exc.advice)
        except ValueError:
            self._page(HTTPStatus.BAD_REQUEST, "Not logged in", "It cannot be read.")

    def _check_host(self) -> None:
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in _HERE:
            raise _Refused(HTTPStatus.FORBIDDEN, "Only this machine may ask.")

    def _get(self) -> None:
        parts = urlsplit(self.path)
        if self.door.is_start(parts.path):
            self._send_on(self.door.page, mark=True)
            return
        self._check_path(parts.path)
        if self.headers.get("Sec-Fetch-Dest", "document") != "document":
            raise _Refused(HTTPStatus.FORBIDDEN, "A login comes back as a page of its own.")
        self._check_nonce()
        query = parse_qs(parts.query)
        if "ticket" not in query:
            self._go_on(parts.query)
            return
        with self.door.lock:
            api_session = self.door.desk.take(query["ticket"][0])
            if api_session is not None:
                self.door.desk.finish(_USER)
        if api_session is None:
            raise _Refused(HTTPStatus.FORBIDDEN, "This login is used up. Start it again.")
        self._exchange(api_session)

    def _post(self) -> None:
        parts = urlsplit(self.path)
        self._check_path(parts.path)
        ours = f"http://{self.headers.get('Host', '')}".lower()
        origin = self.headers.get("Origin", "").lower()
        if origin not in {"null", ours, *signin.broker_origins()}:
            raise _Refused(HTTPStatus.FORBIDDEN, "Another website tried to log you in.")
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _LARGEST:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too much.")
        self._go_on(parts.query, self.rfile.read(length).decode("utf-8", "replace"))

    def _check_path(self, path: str) -> None:
        if not self.door.listens or path.rstrip("/") != self.door.path.rstrip("/"):
            raise _Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _check_nonce(self) -> None:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(_COOKIE)
        except CookieError:
            found = None
        with self.door.lock:
            known = self.door.desk.match(_USER, found.value if found else "")
        if known is None:
            raise _Refused(
                HTTPStatus.FORBIDDEN,
                "No login is under way in this browser: it counts for ten minutes, once, in the "
                "browser that the terminal opened. You can paste this page's address there.",
            )

    def _go_on(self, *queries: str) -> None:
        try:
            api_session = signin.named_session(*queries)
        except LoginError as exc:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(exc)) from None
        with self.door.lock:
            if not self.door.desk.any_pending():
                raise _Refused(HTTPStatus.FORBIDDEN, "No login is under way here.")
            ticket = self.door.desk.hold(api_session)
        self._send_on(f"{self.door.path}?ticket={ticket}")

    def _exchange(self, api_session: str) -> None:
        try:
            outcome = self.door.exchange(api_session)
        except BreezeLabError as exc:
            self._page(HTTPStatus.BAD_GATEWAY, "The broker did not let us in", str(exc))
            self.door.tell(exc)
            return
        asks = " The terminal has a question." if outcome.confirm else ""
        self._page(
            HTTPStatus.OK, "Logged in" if not outcome.confirm else "Another account",
            f"Account: {outcome.name} ({outcome.user_id}). Go back to your terminal.{asks}",
        )  # fmt: skip
        self.door.tell(outcome)

    def _send_on(self, address: str, *, mark: bool = False) -> None:
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", address)
        if mark:
            self.send_header(
                "Set-Cookie",
                f"{_COOKIE}={self.door.nonce}; Path={self.door.path}; HttpOnly; SameSite=Lax; "
                f"Max-Age={int(signin.PENDING_S)}",
            )
        self._finish(b"")

    def _page(self, status: HTTPStatus, title: str, text: str) -> None:
        body = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Breeze Lab</title>'
            f"<h1>{html.escape(title)}</h1><p id='said'>{html.escape(text)}</p></html>"
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=UTF-8")
        self.send_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self._finish(body)

    def _finish(self, body: bytes) -> None:
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
