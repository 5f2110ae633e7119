"""The REST side: login page, versions 1 and 2, the security master, the status page.

Every answer is JSON in the broker's envelope, on unknown paths too, except
the login page and the zip. Bodies are read raw, because the checksum covers
the exact bytes and the broker carries JSON in the body of GET and DELETE.
"""

from __future__ import annotations

import asyncio
import html
import json
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from breeze_lab.practice.desk.orders import Refusal
from breeze_lab.practice.wire import rows
from breeze_lab.practice.wire.desk_rest import NO_DATA, Answer, DeskRest, some

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.practice.desk.desk import Desk
    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.wire.account import Account

__all__ = ["Redirect", "Rest", "no_such_path"]

#: What the broker answers to any signed request it does not believe.
_NOT_SIGNED: Final = {"Status": 5, "Error": "Authentication Fail :: Invalid Checksum."}
_NO_METHOD: Final = {"Success": None, "Status": 405, "Error": "Method Not Allowed"}
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>Practice market</title>
<style>body{{font:16px system-ui;max-width:34em;margin:12vh auto;padding:0 1em}}
button{{font:inherit;padding:.5em 1.5em}}</style>
<h1>Practice market</h1>{body}</html>"""


def _envelope(success: Any, status: int = 200, error: str | None = None) -> web.Response:
    return web.json_response({"Success": success, "Status": status, "Error": error})


def _envelope_v2(success: Any, status: int = 200, error: str | None = None) -> web.Response:
    """Return the same in the order in which version 2 writes it."""
    return web.json_response({"Error": error, "Status": status, "Success": success})


@dataclass(slots=True)
class Redirect:
    """Where the login page sends the browser, as the app's registration says.

    Parameters
    ----------
    url
        The address; empty shows the api session on a page of the market's own.
    method
        ``"get"`` puts ``apisession`` into the query, ``"post"`` a form field
        ``API_Session`` into the body. Both were seen of the broker.
    """

    url: str = ""
    method: str = "get"


class Rest:
    """Handlers of the REST side.

    Parameters
    ----------
    market, account, desk
        What is asked about, by whom, and their orders.
    master
        Returns the zip of a market date and its ETag; slow, so it is called in a thread.
    redirect
        Where the login page sends the browser, as registered with the app.
    """

    def __init__(
        self, market: Market, account: Account, desk: Desk,
        master: Callable[[], tuple[bytes, str]], redirect: Redirect | None = None,
    ) -> None:  # fmt: skip
        """Count from zero."""
        self.market = market
        self.account = account
        self._handlers: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "historicalcharts"): self._history_v1,
            ("GET", "quotes"): self._quotes,
            ("GET", "optionchain"): self._option_chain,
            **DeskRest(market, desk).handlers,
        }
        self.master = master
        self.redirect = redirect or Redirect()
        self.calls = 0

    def add_routes(self, app: web.Application) -> None:
        """Register every path; what is not listed here answers an envelope too."""
        router = app.router
        router.add_get("/apiuser/login", self.login_page)
        router.add_post("/apiuser/login", self.login_done)
        router.add_get("/apiuser/landing", self.landing)
        router.add_route("*", "/breezeapi/api/v1/{name}", self.version_1)
        router.add_get("/api/v2/historicalcharts", self.version_2)
        router.add_get("/MotherAppMaster/SecurityMaster.zip", self.security_master)
        router.add_route("*", "/{rest:.*}", no_such_path)

    # -- login --------------------------------------------------------------

    async def login_page(self, request: web.Request) -> web.Response:
        """Show one button that logs in to the practice account."""
        if request.query.get("api_key") != self.account.app_key:
            return _page("<p>Public Key does not exist.</p>")
        target = html.escape(request.query.get("redirect", ""), quote=True)
        return _page(
            "<p>This is not ICICI Direct. Prices and money are invented; no password is asked.</p>"
            f'<form method="post"><input type="hidden" name="redirect" value="{target}">'
            "<button>Log in to the practice market</button></form>"
        )

    async def login_done(self, request: web.Request) -> web.Response:
        """Send the browser to the registered address with the api session, by GET or POST."""
        if request.query.get("api_key") != self.account.app_key:
            return _page("<p>Public Key does not exist.</p>")
        form = await request.post()
        # One that comes with the login stands for the registered one.
        target = str(form.get("redirect") or self.redirect.url)
        if urlsplit(target).scheme not in ("http", "https"):
            target = "/apiuser/landing"
        elif self.redirect.method == "post":
            return _bounce(target, self.account.api_session)
        mark = "&" if "?" in target else "?"
        where = target + mark + urlencode({"apisession": self.account.api_session})
        return web.Response(status=302, headers={"Location": where})

    async def landing(self, request: web.Request) -> web.Response:
        """Show the api session, as the address bar would."""
        session = html.escape(request.query.get("apisession", ""))
        return _page(f'<p>API session: <code id="apisession">{session}</code></p>')

    # -- version 1 ----------------------------------------------------------

    async def version_1(self, request: web.Request) -> web.Response:
        """Answer one version 1 call."""
        self.calls += 1
        body = await request.read()
        name = request.match_info["name"].lower()
        if name == "customerdetails":
            return self._customer_details(request, body)
        if not self.account.signed(request.headers, body):
            return web.json_response(_NOT_SIGNED, status=401)
        return await self._answer(request, name, _json(body))

    async def _answer(
        self, request: web.Request, name: str, fields: dict[str, Any] | None
    ) -> web.Response:
        handler = self._handlers.get((request.method, name))
        if handler is None:
            if any(name == known for _, known in self._handlers):
                return web.json_response(_NO_METHOD, status=405)
            return await no_such_path(request)
        if fields is None:
            return _envelope(None, 500, "Request Object is Null")
        try:
            return _envelope(await asyncio.to_thread(handler, fields))
        except (rows.BadRequest, Refusal) as exc:
            return _envelope(None, 500, str(exc))
        except Answer as answer:
            return web.json_response(answer.body)

    def _customer_details(self, request: web.Request, body: bytes) -> web.Response:
        if request.method != "GET":
            return web.json_response(_NO_METHOD, status=405)
        fields = _json(body) or {}
        refused = self.account.exchange(fields.get("AppKey"), fields.get("SessionToken"))
        if refused is not None:
            return _envelope(None, *refused)
        return _envelope(self.account.details(self.market.clock.now()))

    def _history_v1(self, fields: dict[str, Any]) -> Any:
        interval = rows.V1_INTERVALS.get(str(fields.get("interval")).lower())
        exchange = str(fields.get("exchange_code") or "").upper()
        if interval is None or exchange in ("BSE", "BFO"):
            raise Refusal(NO_DATA)
        contract = rows.contract_of(self.market, fields)
        return some(rows.candles_v1(self.market, contract, interval, fields) if contract else [])

    def _quotes(self, fields: dict[str, Any]) -> Any:
        contract = rows.contract_of(self.market, fields)
        return some(rows.quotes(self.market, contract) if contract else [])

    def _option_chain(self, fields: dict[str, Any]) -> Any:
        return some(rows.chain(self.market, fields))

    # -- version 2, master, the rest ----------------------------------------

    async def version_2(self, request: web.Request) -> web.Response:
        """Answer version 2 candles: session and key in headers, fields in the query."""
        self.calls += 1
        if not self.account.knows(request.headers):
            return web.json_response(
                {"Error": "Invalid session or key.", "Status": 401, "Success": None}, status=401
            )
        fields = dict(request.query)
        interval = rows.V2_INTERVALS.get(fields.get("interval", "").lower())
        if interval is None:
            return _envelope_v2(None, 500, "Invalid interval")
        try:
            contract = rows.contract_of(self.market, fields)
            if contract is None:
                return _envelope_v2([])
            found = await asyncio.to_thread(
                rows.candles_v2, self.market, contract, interval, fields
            )
        except rows.BadRequest as exc:
            return _envelope_v2(None, 500, str(exc))
        return _envelope_v2(found)

    async def security_master(self, request: web.Request) -> web.Response:
        """Serve the zip, or 304 when the caller has it."""
        self.calls += 1
        data, etag = await asyncio.to_thread(self.master)
        made = self.market.master_time()
        headers = {
            "ETag": f'"{etag}"', "Last-Modified": formatdate(made, usegmt=True),
            "Content-Type": "application/x-zip-compressed",
        }  # fmt: skip
        known = request.headers.get("If-None-Match")
        since = request.if_modified_since
        # A tag decides alone where there is one (RFC 9110, 13.2.2).
        if f'"{etag}"' in known if known else since and since.timestamp() >= made:
            return web.Response(status=304, headers=headers)
        return web.Response(body=data, headers=headers)


async def no_such_path(request: web.Request) -> web.Response:
    """Answer JSON where a web server would answer HTML."""
    said = f"No such path: {request.path[:80]}"
    return web.json_response({"Success": None, "Status": 404, "Error": said}, status=404)


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _bounce(target: str, api_session: str) -> web.Response:
    """Return a page that posts the api session to `target` by itself, as a bank's page does."""
    action, token = (html.escape(text, quote=True) for text in (target, api_session))
    return _page(
        f'<form method="post" action="{action}">'
        f'<input type="hidden" name="API_Session" value="{token}"><button>Go on</button></form>'
        "<script>document.forms[0].submit()</script>"
    )


def _page(body: str) -> web.Response:
    return web.Response(text=_PAGE.format(body=body), content_type="text/html")
