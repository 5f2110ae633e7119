"""What the login's handlers share: who asks, what they sent, and small pages for people."""

from __future__ import annotations

import json
import re
import secrets
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from breeze_lab.errors import BreezeLabError
from breeze_lab.signin import BROKERS
from breeze_lab_server.accountant import Accountant, default_broker
from breeze_lab_server.rest import RESOURCE, Rest

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["AMBER", "GREEN", "RED", "RESOURCE", "Api", "LoginHandler", "Page", "welcome"]

_LARGEST_REQUEST: Final = 64 * 1024
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Breeze Lab</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:12vh auto;padding:0 1em;
color:#222;background:#fff}}h1{{font-size:1.4em;color:{colour}}}
button{{font:inherit;padding:.4em 1.2em}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#111}}}}</style>
<h1>{title}</h1>{body}{script}</html>"""
GREEN, RED, AMBER = "#2e7d32", "#c62828", "#b26a00"


class LoginHandler:
    """What the login's handlers share; mixed into a Jupyter handler."""

    accountant: Accountant
    # Of the Jupyter handler beside it.
    request: Any
    current_user: Any
    base_url: str
    serverapp: Any
    get_query_argument: Any
    set_header: Any
    set_status: Any
    finish: Any

    def initialize(self, accountant: Accountant) -> None:
        """Take the accountant from the route."""
        self.accountant = accountant

    @property
    def user(self) -> str:
        """Who asks, as the server knows people."""
        return str(self.current_user.username)

    @property
    def origin(self) -> str:
        """Scheme and host as the browser knows this server.

        Behind a Hub two proxies tell the scheme, ``https, http``, the browser's first; what the
        request itself says is the last one.
        """
        told = self.request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
        trusted = self.serverapp.trust_xheaders and told in ("http", "https")
        return f"{told if trusted else self.request.protocol}://{self.request.host}"

    @property
    def callback(self) -> str:
        """The callback's address as this request came in: what to register with the broker."""
        return f"{self.origin}{self.base_url}breeze-lab/callback"

    @property
    def cookie_name(self) -> str:
        """The nonce's cookie; cookies know no ports, so the name does."""
        return "breeze-lab-login-" + re.sub(r"[^A-Za-z0-9]", "-", self.request.host)

    def body(self) -> dict[str, Any]:
        """Return the JSON object of the request; what is wrong with it is not repeated."""
        raw = self.request.body
        if len(raw) > _LARGEST_REQUEST:
            raise web.HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            found = json.loads(raw or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise web.HTTPError(HTTPStatus.BAD_REQUEST, reason="A JSON object is needed")
        return found

    def broker_of(self, given: Any) -> str:
        """Return the broker asked for, by default this Lab's."""
        broker = str(given or default_broker())
        if broker not in BROKERS:
            raise web.HTTPError(HTTPStatus.BAD_REQUEST, reason="No such broker")
        return broker

    async def tell(self, broker: str, error: str = "") -> None:
        """Answer as ``api/session`` does, with status 400 when something went wrong."""
        told = await self.accountant.state(self.user, broker, self.callback)
        if error:
            self.set_status(HTTPStatus.BAD_REQUEST)
            told["error"] = error
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(told))

    async def follow(self, broker: str, work: Awaitable[object]) -> None:
        """Do it, then tell the state."""
        try:
            await work
        except BreezeLabError as exc:
            await self.tell(broker, str(exc))
        else:
            await self.tell(broker)

    def page(
        self, status: HTTPStatus, title: str, body: str, *, colour: str = RED, script: str = ""
    ) -> None:
        """Answer with a small page; `body` is HTML."""
        nonce = secrets.token_urlsafe(12)
        code = f'<script nonce="{nonce}">{script}</script>' if script else ""
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        )
        self.finish(_PAGE.format(title=escape(title), body=body, script=code, colour=colour))


class Api(LoginHandler, Rest):
    """A route that takes and gives JSON."""


class Page(LoginHandler, JupyterHandler):
    """A route whose answers are pages."""

    auth_resource = RESOURCE

    def set_default_headers(self) -> None:
        """Keep addresses of ours to ourselves, on error pages too."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")


def welcome(handler: LoginHandler, name: str, user_id: str) -> None:
    """Answer with the page that says who is logged in, and that can be closed."""
    handler.page(
        HTTPStatus.OK, "Logged in",
        f"<p>Account: <b id='account'>{escape(name)}</b> ({escape(user_id)}).</p>"
        "<p>Go back to your notebook; you can close this page.</p>",
        colour=GREEN, script="setTimeout(()=>window.close(),1500)",
    )  # fmt: skip
