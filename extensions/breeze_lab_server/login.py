"""The routes of the login: its state, keys, the way to the broker and the way back.

Everything but the callback is for a signed-in user with the right to
``execute`` the resource ``breeze-lab`` (``read`` for the state), from a page
of this server (XSRF). The callback is called by the broker's redirect, with
GET or POST, from another site. It believes nothing that it brings unless this
user's browser started a login a moment ago (docs/login.md has the table):

1. A POST from another site carries no cookie of ours (SameSite). Its api
   session is held in memory under a one-shot ticket, and the browser is sent
   to the same path with the ticket: that GET has the cookies.
2. A GET that brings an api session has them already; it is checked, and sent
   on in the same way, so that no address in the history holds an api session.
3. The ticket's GET is checked once more: signed in, allowed, the nonce of the
   login under way. Only then is the api session exchanged, and all three are
   used up.
"""

from __future__ import annotations

import json
import re
import secrets
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qs, urlsplit

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import web

from breeze_lab import session, settings, signin
from breeze_lab.errors import BreezeLabError, LoginError
from breeze_lab_server.accountant import BROKERS, Accountant, default_broker

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["SECRET_PARAMETERS", "routes"]

#: Parts of names whose values the server's access log leaves out, in the spellings seen.
SECRET_PARAMETERS: Final = ("session", "Session", "SESSION", "ticket")

RESOURCE: Final = "breeze-lab"
_LARGEST_REQUEST: Final = 64 * 1024
#: A redirect carries an api session and little more.
_LARGEST_CALLBACK: Final = 16 * 1024
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Breeze Lab</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:12vh auto;padding:0 1em;
color:#222;background:#fff}}h1{{font-size:1.4em;color:{colour}}}
button{{font:inherit;padding:.4em 1.2em}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#111}}}}</style>
<h1>{title}</h1>{body}{script}</html>"""
_GREEN, _RED, _AMBER = "#2e7d32", "#c62828", "#b26a00"


def routes() -> list[tuple[str, type[web.RequestHandler], dict[str, Any]]]:
    """Return the routes; they share one `Accountant`."""
    shared = {"accountant": Accountant()}
    return [
        (r"/breeze-lab/api/session/?", SessionHandler, shared),
        (r"/breeze-lab/api/credentials/?", CredentialsHandler, shared),
        (r"/breeze-lab/api/login/paste/?", PasteHandler, shared),
        (r"/breeze-lab/api/login/practice/?", PracticeHandler, shared),
        (r"/breeze-lab/api/login/confirm/?", ConfirmHandler, shared),
        (r"/breeze-lab/api/logout/?", LogoutHandler, shared),
        (r"/breeze-lab/login/?", StartHandler, shared),
        (r"/breeze-lab/login/confirm/?", ConfirmPageHandler, shared),
        (r"/breeze-lab/callback/?", CallbackHandler, shared),
    ]


class _Login:
    """What the login's handlers share; mixed into a Jupyter handler."""

    accountant: Accountant
    # Of the Jupyter handler beside it.
    request: Any
    current_user: Any
    base_url: str
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
    def callback(self) -> str:
        """The callback's address as this request came in: what to register with the broker."""
        return f"{self.request.protocol}://{self.request.host}{self.base_url}breeze-lab/callback"

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
            # Not from None alone: the traceback of a log must not hold the text either.
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
        self, status: HTTPStatus, title: str, body: str, *, colour: str = _RED, script: str = ""
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


class _Api(_Login, APIHandler):
    auth_resource = RESOURCE


class _Page(_Login, JupyterHandler):
    auth_resource = RESOURCE

    def set_default_headers(self) -> None:
        """Keep addresses of ours to ourselves, on error pages too."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")


class SessionHandler(_Api):
    """``GET api/session``: who is logged in, until when, and what a login needs."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer without logging in to anything."""
        await self.tell(self.broker_of(self.get_query_argument("broker", "")))


class CredentialsHandler(_Api):
    """``POST api/credentials`` puts the keys of an app into the vault, ``DELETE`` forgets them."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Keep ``app_key`` and ``secret``."""
        given = self.body()
        broker = self.broker_of(given.get("broker"))
        key, secret = str(given.get("app_key") or ""), str(given.get("secret") or "")
        work = self.accountant.keep_credentials(broker, key.strip(), secret.strip())
        await self.follow(broker, work)

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self) -> None:
        """Forget both."""
        broker = self.broker_of(self.get_query_argument("broker", ""))
        await self.follow(broker, self.accountant.forget_credentials(broker))


class PasteHandler(_Api):
    """``POST api/login/paste``: an api session by hand, in whatever it was copied with."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Find the api session in ``text`` and exchange it."""
        given = self.body()
        broker = self.broker_of(given.get("broker"))
        try:
            api_session = signin.find_api_session(str(given.get("text") or ""))
        except LoginError as exc:
            await self.tell(broker, str(exc))
            return
        self.accountant.desk.finish(self.user)
        await self.follow(broker, self.accountant.exchange(broker, api_session))


class PracticeHandler(_Api):
    """``POST api/login/practice``: the practice market, no keys, nothing to type."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Log in to it, starting it when none runs."""
        await self.follow(default_broker(), self.accountant.practice())


class ConfirmHandler(_Api):
    """``POST api/login/confirm``: yes, this other account is meant."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Adopt the login that waits under ``serial``."""
        serial = str(self.body().get("serial") or "")
        await self.follow(default_broker(), self.accountant.adopt(serial))


class LogoutHandler(_Api):
    """``POST api/logout``: the session ends for every process of this user."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Log out."""
        await self.follow(default_broker(), self.accountant.logout(self.user))


class StartHandler(_Page):
    """``POST login``: begin a login and go to the broker's page."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Set the nonce and send the browser on."""
        broker = self.broker_of(self.get_body_argument("broker", ""))
        try:
            address = await self.accountant.login_page(broker, self.callback)
        except BreezeLabError as exc:
            self.page(HTTPStatus.CONFLICT, "Not yet", f"<p>{escape(str(exc))}</p>")
            return
        nonce = self.accountant.desk.start(self.user, broker)
        self.set_cookie(
            self.cookie_name, nonce, path=urlsplit(self.callback).path, httponly=True,
            samesite="Lax", secure=self.request.protocol == "https",
            max_age=int(signin.PENDING_S),
        )  # fmt: skip
        self.set_status(HTTPStatus.SEE_OTHER)
        self.set_header("Location", address)
        self.finish()


class ConfirmPageHandler(_Page):
    """``POST login/confirm``: the yes of the callback's page."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Adopt the login that waits."""
        try:
            said = await self.accountant.adopt(self.get_body_argument("serial", ""))
        except BreezeLabError as exc:
            self.page(HTTPStatus.CONFLICT, "Not logged in", f"<p>{escape(str(exc))}</p>")
            return
        self.welcome(said.name, said.user_id)

    def welcome(self, name: str, user_id: str) -> None:
        """Say who is logged in."""
        _welcome(self, name, user_id)


def _welcome(handler: _Login, name: str, user_id: str) -> None:
    handler.page(
        HTTPStatus.OK, "Logged in",
        f"<p>Account: <b id='account'>{escape(name)}</b> ({escape(user_id)}).</p>"
        "<p>Go back to your notebook; you can close this page.</p>",
        colour=_GREEN, script="setTimeout(()=>window.close(),1500)",
    )  # fmt: skip


class _Refused(Exception):
    """A callback that is not believed: status, title and what the person can do."""

    def __init__(self, status: HTTPStatus, title: str, advice: str) -> None:
        super().__init__(title)
        self.status, self.title, self.advice = status, title, advice


@web.stream_request_body
class CallbackHandler(_Page):
    """``GET|POST callback``: where the broker's login page sends the browser."""

    def initialize(self, accountant: Accountant) -> None:
        """Take the query and the referrer out of the request before anybody can log them."""
        super().initialize(accountant)
        request = self.request
        request.headers.pop("Referer", None)
        self._query: str = request.query
        self._form = bytearray()
        request.query, request.uri = "", request.path + ("?[hidden]" if request.query else "")
        request.arguments = {}
        request.query_arguments = {}

    def check_xsrf_cookie(self) -> None:
        """Not here: the broker's page has no token of ours. The nonce stands in for it."""

    async def prepare(self) -> None:  # type: ignore[override]  # theirs takes an option
        """Refuse a long body before it is read."""
        if int(self.request.headers.get("Content-Length") or 0) > _LARGEST_CALLBACK:
            raise web.HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        """Take a part of the body; of one that is too long no more than that it is."""
        if len(self._form) <= _LARGEST_CALLBACK:
            self._form += chunk

    @allow_unauthenticated
    async def get(self) -> None:
        """Take the api session of a redirect, or finish with a ticket."""
        await self._answer(self._get)

    @allow_unauthenticated
    async def post(self) -> None:
        """Hold the api session of a redirect until its browser comes with cookies."""
        await self._answer(self._post)

    async def _answer(self, serve: Any) -> None:
        failures = self.accountant.failures
        who = self.user if self.current_user else f"address {self.request.remote_ip}"
        if failures.too_many(who):
            self.set_header("Retry-After", str(int(failures.span_s)))
            refusal = _Refused(
                HTTPStatus.TOO_MANY_REQUESTS, "Too many tries",
                "Wait a minute, then start the login again from your notebook.",
            )  # fmt: skip
        else:
            try:
                await serve()
            except _Refused as exc:
                failures.note(who)
                refusal = exc
            else:
                return
        self.log.warning("A login callback was refused: %s", refusal.title)
        self.page(refusal.status, refusal.title, f"<p>{escape(refusal.advice)}</p>")

    async def _get(self) -> None:
        self._check_navigation()
        await self._check_person()
        pending = self._check_nonce()
        query = parse_qs(self._query)
        if "ticket" not in query:
            self._go_on(self._brought(self._query))
            return
        api_session = self.accountant.desk.take(query["ticket"][0])
        if api_session is None:
            raise _Refused(
                HTTPStatus.FORBIDDEN, "This login is used up",
                "The page was opened before, or too late. Start the login again.",
            )  # fmt: skip
        self.accountant.desk.finish(self.user)
        self.clear_cookie(self.cookie_name, path=urlsplit(self.callback).path)
        await self._exchange(pending.broker, api_session)

    async def _post(self) -> None:
        if len(self._form) > _LARGEST_CALLBACK:
            raise web.HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self._check_origin_of_post()
        if not self.accountant.desk.any_pending():
            _no_login()
        self._go_on(self._brought(self._query, self._form.decode("utf-8", "replace")))

    def _brought(self, *queries: str) -> str:
        try:
            return signin.named_session(*queries)
        except (LoginError, ValueError) as exc:
            advice = str(exc) if isinstance(exc, LoginError) else "It cannot be read."
            raise _Refused(HTTPStatus.BAD_REQUEST, "No api session", advice) from None

    def _go_on(self, api_session: str) -> None:
        ticket = self.accountant.desk.hold(api_session)
        self.set_status(HTTPStatus.SEE_OTHER)
        self.set_header("Location", f"{urlsplit(self.callback).path}?ticket={ticket}")
        self.finish()

    def _check_navigation(self) -> None:
        """Refuse an image, a frame or a script's request: a redirect is a page that is opened."""
        where = self.request.headers.get("Sec-Fetch-Dest", "document")
        if where != "document":
            raise _Refused(
                HTTPStatus.FORBIDDEN, "Not a page", "A login comes back as a page of its own."
            )

    async def _check_person(self) -> None:
        if not self.current_user:
            raise _Refused(
                HTTPStatus.FORBIDDEN, "You are not signed in to this Lab here",
                "Nothing was used up. Often the Lab was opened under another name: localhost and "
                "127.0.0.1 are two places to a browser. Copy the whole address of this page and "
                "paste it into the login form of your notebook; or open the Lab under the name "
                "that is registered with the broker, then log in again.",
            )  # fmt: skip
        allowed = self.authorizer.is_authorized(self, self.current_user, "execute", RESOURCE)
        if hasattr(allowed, "__await__"):
            allowed = await allowed
        if not allowed:
            raise _Refused(HTTPStatus.FORBIDDEN, "Not allowed", "You may not log in for this Lab.")

    def _check_nonce(self) -> signin.Pending:
        nonce = self.get_cookie(self.cookie_name) or ""
        found = self.accountant.desk.match(self.user, nonce)
        if found is None:
            _no_login()
        return found

    def _check_origin_of_post(self) -> None:
        """Let only the broker's pages, and ours, post here.

        A page that keeps its address to itself posts with the origin ``null``;
        the broker's may be one, so that passes, and the checks of the second
        request decide.
        """
        origin = self.request.headers.get("Origin", "")
        ours = f"{self.request.protocol}://{self.request.host}"
        if origin.lower() not in {"null", ours.lower(), *_broker_origins()}:
            raise _Refused(
                HTTPStatus.FORBIDDEN, "Not from the broker",
                "Another website tried to log this Lab in. Nothing was changed.",
            )  # fmt: skip

    async def _exchange(self, broker: str, api_session: str) -> None:
        try:
            outcome = await self.accountant.exchange(broker, api_session)
        except BreezeLabError as exc:
            self.page(
                HTTPStatus.BAD_GATEWAY, "The broker did not let us in",
                f"<p>{escape(str(exc))}</p><p>Go back to your notebook to try again.</p>",
            )  # fmt: skip
            return
        if not outcome.confirm:
            _welcome(self, outcome.name, outcome.user_id)
            return
        action = escape(f"{self.base_url}breeze-lab/login/confirm", quote=True)
        xsrf = self.xsrf_form_html()
        self.page(
            HTTPStatus.OK, "Another account",
            f"<p>Last time the account was <b>{escape(outcome.confirm)}</b>, now it is "
            f"<b id='account'>{escape(outcome.name)} ({escape(outcome.user_id)})</b>. If you did "
            "not log in to it just now, close this page.</p>"
            f'<form method="post" action="{action}">{xsrf}<input type="hidden" name="serial" '
            f'value="{escape(outcome.serial, quote=True)}"><button>Use this account</button>'
            "</form>",
            colour=_AMBER,
        )  # fmt: skip


def _no_login() -> NoReturn:
    raise _Refused(
        HTTPStatus.FORBIDDEN, "No login is under way here",
        "A login counts for ten minutes, once, in the browser that started it. Start it again "
        "from your notebook.",
    )  # fmt: skip


def _broker_origins() -> set[str]:
    """Return the origins whose pages may post here: the broker's, and a rehearsal's."""
    addresses = [settings.ICICI.login_url]
    record = session.practice_record()
    if record is not None:
        addresses.append(str(record["login_url"]))
    origins = set()
    for address in addresses:
        parts = urlsplit(address)
        origins.add(f"{parts.scheme}://{parts.netloc}".lower())
    return origins
