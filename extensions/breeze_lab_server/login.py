"""The routes of the login: its state, keys, and the way to the broker.

Everything here is for a signed-in user with the right to ``execute`` the
resource ``breeze-lab`` (``read`` for the state), from a page of this server
(XSRF). The way back is `breeze_lab_server.callback`.
"""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab import signin
from breeze_lab.errors import BreezeLabError, LoginError
from breeze_lab_server.accountant import Accountant, default_broker
from breeze_lab_server.callback import CallbackHandler
from breeze_lab_server.pages import RESOURCE, Api, Page, welcome

__all__ = ["routes"]


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


class SessionHandler(Api):
    """``GET api/session``: who is logged in, until when, and what a login needs."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer without logging in to anything."""
        await self.tell(self.broker_of(self.get_query_argument("broker", "")))


class CredentialsHandler(Api):
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


class PasteHandler(Api):
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


class PracticeHandler(Api):
    """``POST api/login/practice``: the practice market, no keys, nothing to type."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Log in to it, starting it when none runs."""
        await self.follow(default_broker(), self.accountant.practice())


class ConfirmHandler(Api):
    """``POST api/login/confirm``: yes, this other account is meant."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Adopt the login that waits under ``serial``."""
        serial = str(self.body().get("serial") or "")
        await self.follow(default_broker(), self.accountant.adopt(serial))


class LogoutHandler(Api):
    """``POST api/logout``: the session ends for every process of this user."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Log out."""
        await self.follow(default_broker(), self.accountant.logout(self.user))


class StartHandler(Page):
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


class ConfirmPageHandler(Page):
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
        welcome(self, said.name, said.user_id)
