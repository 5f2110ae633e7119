"""The callback of the login: what the broker's page sends back, and what is believed of it.

It comes by GET or POST and from another site. Nothing it brings is believed unless this
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

from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qs, urlsplit

from jupyter_server.auth.decorator import allow_unauthenticated
from tornado import web

from breeze_lab import signin
from breeze_lab.errors import BreezeLabError, LoginError
from breeze_lab_server.pages import AMBER, RESOURCE, Page, welcome

if TYPE_CHECKING:
    from breeze_lab_server.accountant import Accountant

__all__ = ["SECRET_PARAMETERS", "CallbackHandler"]

#: Parts of names whose values the server's access log leaves out, in the spellings seen.
SECRET_PARAMETERS: Final = ("session", "Session", "SESSION", "ticket")
#: A redirect carries an api session and little more.
_LARGEST_CALLBACK: Final = 16 * 1024


class _Refused(Exception):
    """A callback that is not believed: status, title and what the person can do."""

    def __init__(self, status: HTTPStatus, title: str, advice: str) -> None:
        super().__init__(title)
        self.status, self.title, self.advice = status, title, advice


@web.stream_request_body
class CallbackHandler(Page):
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
        if origin.lower() not in {"null", self.origin.lower(), *signin.broker_origins()}:
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
            welcome(self, outcome.name, outcome.user_id)
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
            colour=AMBER,
        )  # fmt: skip


def _no_login() -> NoReturn:
    raise _Refused(
        HTTPStatus.FORBIDDEN, "No login is under way here",
        "A login counts for ten minutes, once, in the browser that started it. Start it again "
        "from your notebook.",
    )  # fmt: skip
