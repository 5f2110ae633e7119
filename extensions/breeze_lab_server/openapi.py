"""The OpenAPI 3.1 document of this extension: ``GET api/openapi.json``.

It describes every route there is and none that is not, which a test checks in
the running app. A websocket has no place in OpenAPI: its address is here as
the GET that opens it, with its messages in words.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab import __version__
from breeze_lab_server.rest import RESOURCE, Rest
from breeze_lab_server.schemas import SCHEMAS, ref

__all__ = ["OpenApiHandler", "document"]

_INDICATORS: Final = """\
A websocket; offer the subprotocol `breeze-lab.1.json`. JSON maps both ways, one question
at a time.

You send `open` with `specs` (`["ema(20)", "rsi"]`) and `bars` (six lists: Unix seconds of the
opening, open, high, low, close, volume; the last bar forms), then `bars` with `rows` that changed
or came since, ascending. You get `opened` (`indicators` with their columns and values, `refused`
with the reason), `values` (`rows` of a time and the values of each indicator), `reopen` when an
older bar changed, or `error`. Closed with 1012: the process that computes ended, open again.
"""

_FEED: Final = """\
A websocket; offer the subprotocol `breeze-lab.1.json`. Text frames, each a JSON map with an `op`.

You send:

- `hello`: `client` (your name in the truth table), `flush_ms` (least time between two batches, 1 to
  1,000).
- `subscribe`: `id`, `instruments` (each `key`, `room`, `anchor_s` as `api/instruments` gives them),
  `delivery` (`every` tick in order, or the `latest`), `bars` (intervals), `ticks` (false for bars
  alone), `market`.
- `unsubscribe`: `id`, `keys`.
- `status`: `id`.
- `peek`: `id`, `instruments`, `bars`: the last tick and the bars held, without subscribing.

You get:

- `welcome`: `protocol`, `life` (of the relay: sequences belong to it), `upstream`.
- `snapshot`: the `id` of the subscription, `ticks` and `bars` as they stand; updates follow it.
- `batch`: `ticks`, `bars`, `lost` (`[key, first, last, cause]`: sequences a slow client lost),
  `gaps` (`[key, from_ms, to_ms, cause, state]`: a silence of the feed, `to_ms` null while it is
  open). More members may come; skip what you do not know.
- `state`: `upstream`, when the connection to the broker changes.
- `ok`, `status`, `peek`, `error` (`error`, `message`): answers, with your `id`.

A tick is `[key, sequence, epoch, exchange_time_s, received_ms, last, open, high, low,
previous_close, change_percent, bid, bid_quantity, ask, ask_quantity, last_quantity, average_price,
volume, open_interest]`; a bar is `[key, interval, start_s, open, high, low, close, volume,
open_interest, complete, forming]`, and true behind it when history was put into it. Times are Unix
seconds, those called `_ms` milliseconds.

Close codes: 1008 you did not speak the protocol, 1012 the relay is started again: come back, 1013
no relay could be started, 1001 the server stops.
"""


def document(base_url: str = "/") -> dict[str, Any]:
    """Return the document.

    Parameters
    ----------
    base_url
        Of the Jupyter server; ends with a slash.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Breeze Lab", "version": __version__,
            "description": "Prices, instruments and subscriptions of the relay beside this Jupyter "
            "server. Every route wants a signed-in user whom the server's authorizer lets.",
        },
        "servers": [{"url": base_url.rstrip("/") or "/"}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": _paths(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`token YOUR-JUPYTER-TOKEN`; no cookie and no XSRF token.",
                },
                "cookie": {
                    "type": "apiKey", "in": "cookie", "name": "username-{host}-{port}",
                    "description": "Of a signed-in browser, from a page of this server; what "
                    "changes something needs the XSRF token, too (header `X-XSRFToken`).",
                },
            },
        },
    }  # fmt: skip


class OpenApiHandler(Rest):
    """``GET api/openapi.json``: this document."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer with the addresses of this server."""
        self.answer(document(self.base_url))


def _paths() -> dict[str, Any]:
    market = _query("market", {"enum": ["icici", "practice"]}, "By default the session's.")
    broker = _query("broker", {"enum": ["icici", "practice"]}, "By default this Lab's.")
    interval = {"enum": ["1s", "5s", "1m", "3m", "5m", "15m", "30m", "1h", "1d"], "default": "1m"}
    when = {"type": "string"}
    api = {
        "quotes": {"get": _operation(
            "quotes", "The last price of each instrument, with its age and source.", "Quotes",
            [
                _query("names", {"type": "string"}, "With commas, at most 200.", needed=True),
                _query("fetch", {"enum": ["1"]}, "Ask the broker for what the relay lacks: a call "
                       "of the budget each, at most ten."),
                market,
            ],
            errors=(400, 404, 409, 429, 502, 503),
        )},
        "candles": {"get": _operation(
            "candles", "Bars of one instrument: the relay's where it heard every tick, history "
            "before. `calls` tells what it cost.", "Candles",
            [
                _query("name", {"type": "string"}, "The instrument.", needed=True),
                _query("interval", interval, "Length of a bar."),
                _query("start", when, "ISO time, IST; by default the last trading day's midnight."),
                _query("end", when, "ISO time, IST, excluded; by default now."),
                _query("calls", {"type": "integer", "minimum": 0, "maximum": 10, "default": 3},
                       "Calls this may cost; 0 takes what the relay holds."),
                market,
            ],
            errors=(400, 404, 409, 429, 502, 503),
        )},
        "instruments": {"get": _operation(
            "instruments", "What a text could mean, in groups, best first.", "Instruments",
            [
                _query("q", {"type": "string", "maxLength": 80}, "The text."),
                _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
                       "Rows at most."),
                market,
            ],
            errors=(400, 503),
        )},
        "subscriptions": {
            "get": _operation("subscriptions", "What this server holds for others.",
                              "Subscriptions"),
            "post": _operation(
                "subscribe", "Hold a subscription (`names`), or renew one (`id`). It ends when it "
                "is not renewed within `lease_s` seconds (60; 2 to 600). At most 16.",
                "Subscription", [market], body="NewSubscription", status=(200, 201),
                errors=(400, 404, 409, 413, 503),
            ),
            "delete": _operation(
                "unsubscribe", "End a subscription.", "Ended",
                [_query("id", {"type": "string"}, "Which.", needed=True)], errors=(404,),
            ),
        },
        "status": {"get": _operation("status", "The relay and its upstream; starts nothing.",
                                     "Status")},
        "truth": {"get": _operation(
            "truth", "What became of every instrument somebody asked for, who listens and how the "
            "relay stands, read for people; starts nothing.", "Truth",
        )},
        "metrics": {"get": _operation(
            "metrics", "The relay as Prometheus reads it.", "", kind="text/plain"
        )},
        "openapi.json": {"get": _operation("openapi", "This document.", "Form")},
        "feed": {"get": _operation("feed", _FEED, "", kind="", status=(101,), errors=(400, 403))},
        "indicators": {"get": _operation("indicators", _INDICATORS, "", kind="", status=(101,),
                                         errors=(400, 403))},
        "indicators/catalogue": {"get": _operation(
            "indicatorCatalogue", "Every indicator a chart can have.", "Catalogue"
        )},
        "watchlist": {
            "get": _operation("watchlist", "The watchlist of the sidebar.", "Watchlist", [market],
                              errors=(400,)),
            "put": _operation("watch", "Replace it.", "Watchlist", [market], body="NewWatchlist",
                              errors=(400, 413)),
        },
        "session": {"get": _operation("session", "Who is logged in, until when.", "Session",
                                      [broker], errors=(400,))},
        "credentials": {
            "post": _operation("keepKeys", "Put the keys of an app into the vault.", "Session",
                               body="Credentials", errors=(400, 413)),
            "delete": _operation("forgetKeys", "Forget them.", "Session", [broker], errors=(400,)),
        },
        "login/paste": {"post": _operation(
            "pasteSession", "Log in with what the broker's page showed.", "Session", body="Paste",
            errors=(400, 413),
        )},
        "login/practice": {"post": _operation(
            "loginPractice", "Log in to the practice market.", "Session", body="Form",
            errors=(400,),
        )},
        "login/confirm": {"post": _operation(
            "confirmAccount", "Yes, this other account is meant.", "Session", body="Serial",
            errors=(400,),
        )},
        "logout": {"post": _operation("logout", "End the session for every process.", "Session",
                                      body="Form", errors=(400,))},
        "jobs": {"get": _operation("jobs", "What is scheduled, and what became of the last runs.",
                                   "Jobs")},
        "jobs/run": {"get": _operation(
            "run", "One run and the end of its log.", "RunWithLog",
            [_query("run", {"type": "integer"}, "Its number.", needed=True)], errors=(400, 404),
        )},
        "jobs/do": {"post": _operation(
            "doJob", "Cancel or retry a run; run, pause, resume or remove a job.", "Did",
            body="Do", errors=(400, 404, 413, 503),
        )},
        "dashboards": {"get": _operation(
            "dashboards", "Whether the dashboards' process serves; starts nothing.", "Serving"
        )},
        "shares": {
            "get": _operation("shares", "The share links that count.", "Shares", errors=(503,)),
            "post": _operation(
                "shareChart", "Make a link of a chart. Its address is `path` behind this server's; "
                "it is told once.", "Shared", body="NewShare", status=(201,), errors=(400, 413),
            ),
            "delete": _operation(
                "revokeShare", "Withdraw a link; its viewers are cut off within a second.",
                "Revoked", [_query("name", {"type": "string"}, "Which.", needed=True)],
                errors=(404,),
            ),
        },
    }  # fmt: skip
    name = {"in": "path", "name": "name", "required": True, "schema": {"type": "string"}}
    token = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}}
    pages_of = {"enum": ["market", "board", "jobs", "published"]}
    dashboard = {"in": "path", "name": "page", "required": True, "schema": pages_of}
    file = {"in": "path", "name": "file", "required": True, "schema": {"type": "string"}}
    page: Final = "text/html"
    pages = {
        "s/{id}": {"get": _public("sharedPage", "What a share link shows; no login, the id lets "
                                  "in. Anything else about it is not here.", [token], (200,))},
        "s/{id}/feed": {"get": _public("sharedFeed", "A websocket that a share link's page hears; "
                                       "whatever is sent into it is dropped.", [token], (101,))},
        "dash": {"get": _operation("dashboardsPage", "Leads to the market overview.", "",
                                   status=(302,), kind=page)},
        "dash/{page}": {"get": _operation(
            "dashboard", "One of the pages: `market`, `board`, `jobs`, `published`; 202 while "
            "their process starts.", "", [dashboard], status=(200, 202), kind=page, errors=(404,),
        )},
        "dash/{page}/ws": {"get": _operation(
            "dashboardSocket", "The page's own websocket, Bokeh's protocol.", "", [dashboard],
            kind="", status=(101,), errors=(400, 404),
        )},
        "dash/{file}": {"get": _operation("dashboardFile", "What the pages load.", "", [file],
                                          kind="", errors=(404,))},
        "static/{name}": {"get": _operation("file", "BokehJS and JupyterLab's panel.", "", [name],
                                            kind="text/javascript", errors=(404,))},
        "jobs": {"get": _operation("jobsPage", "What runs, its log, retry and cancel.", "",
                                   kind=page)},
        "login": {"post": _operation("beginLogin", "Go to the broker's login page.", "",
                                     status=(303,), errors=(409,), kind=page)},
        "login/confirm": {"post": _operation("confirmPage", "The yes of the callback's page.", "",
                                             errors=(409,), kind=page)},
        "callback": {
            "get": _operation("callback", "Where the broker's page sends the browser; believed "
                              "only while a login is under way (docs/login.md).", "",
                              status=(200, 303), errors=(400, 429, 502), kind=page),
            "post": _operation("callbackForm", "The same, by a form.", "", status=(303,),
                               errors=(400, 413, 429), kind=page),
        },
    }  # fmt: skip
    return {f"/breeze-lab/api/{path}": found for path, found in api.items()} | {
        f"/breeze-lab/{path}": found for path, found in pages.items()
    }


def _query(name: str, schema: dict[str, Any], text: str, *, needed: bool = False) -> dict[str, Any]:
    return {"in": "query", "name": name, "required": needed, "schema": schema, "description": text}


def _public(
    name: str, text: str, parameters: list[dict[str, Any]], status: tuple[int, ...]
) -> dict[str, Any]:
    """Return an operation that wants no login; whoever may not gets 404, or 429 for guessing."""
    found = _operation(name, text, "", parameters, kind="", status=status, errors=(404, 429))
    del found["responses"]["403"]
    return {**found, "security": []}


def _operation(
    name: str,
    text: str,
    schema: str,
    parameters: list[dict[str, Any]] | None = None,
    *,
    body: str = "",
    kind: str = "application/json",
    status: tuple[int, ...] = (200,),
    errors: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Return one operation; everybody who may not gets 401, 403 or 404 with an `Error`."""
    content = {kind: {"schema": ref(schema)} if schema else {}} if kind else {}
    found: dict[str, Any] = {
        "operationId": name, "summary": text.splitlines()[0], "description": text,
        "parameters": parameters or [],
        "responses": {
            str(code): {"description": "Done.", **({"content": content} if content else {})}
            for code in status
        },
    }  # fmt: skip
    for code in sorted({403, *errors}):
        refused: dict[str, Any] = {"description": "Refused."}
        if kind == "application/json":
            # A login that failed answers with where it stands.
            where = schema == "Session" and code == HTTPStatus.BAD_REQUEST
            shape = {"anyOf": [ref("Session"), ref("Error")]} if where else ref("Error")
            refused["content"] = {kind: {"schema": shape}}
        found["responses"][str(code)] = refused
    if body:
        found["requestBody"] = {"content": {"application/json": {"schema": ref(body)}}}
    return found
