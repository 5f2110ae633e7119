"""The process: three loopback servers, one market, one JSON line when ready.

The first port serves REST, the login page, the master and the candle stream;
quotes and order notifications need ports of their own, because a client keeps
only host and port of a stream's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import logging
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from aiohttp import web
from aiohttp.http import HttpProcessingError

from breeze_lab import processes
from breeze_lab.errors import RecordingError
from breeze_lab.practice.director import BadCommand, Director, only
from breeze_lab.practice.exchange import master
from breeze_lab.practice.faults.registry import Faults
from breeze_lab.practice.options import Options, wrong_redirect
from breeze_lab.practice.wire.account import Account
from breeze_lab.practice.wire.budget import Budget
from breeze_lab.practice.wire.fault_answers import Answers
from breeze_lab.practice.wire.fault_streams import Port, StreamFaults
from breeze_lab.practice.wire.order_feed import OrderFeed
from breeze_lab.practice.wire.rest import Redirect, Rest, no_such_path
from breeze_lab.practice.wire.sockets import SocketServer
from breeze_lab.practice.wire.streams import CandleHub, FeedsHub, QuoteHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from datetime import date

__all__ = ["Practice", "main"]

#: How often it is looked whether the session has ended, in real seconds.
_SESSION_CHECK_S: Final = 0.1


class Practice:
    """A practice market that can be served.

    Parameters
    ----------
    options
        See `Options`.
    """

    def __init__(self, options: Options) -> None:
        """Build everything; nothing listens yet."""
        self.options = options
        self.market = options.market()
        self._identity = options.identity()
        self.account = Account(
            options.seed,
            lambda: self.market.today,
            kept=options.keep_sessions,
            one_shot=options.one_shot,
        )
        self.director = Director(self.market.clock)
        self.director.add("expire", self._expire)
        self.director.add("reset", self._reset)
        self.faults = Faults(self.director)
        self.quotes = QuoteHub(self.market, round(options.quote_interval * 1000))
        self.candles = CandleHub(self.market)
        self.calls = FeedsHub(self.market)
        self.stream = SocketServer(self.account, self.quotes, self.faults)
        self.feeds = SocketServer(self.account, self.calls, self.faults)
        self.ohlc = SocketServer(self.account, self.candles, self.faults)
        self.orders = OrderFeed(self.market, self.account, self.calls, self.feeds)
        self.redirect = Redirect(options.redirect_url, options.redirect_method)
        self.rest = Rest(self.market, self.account, self.orders.desk, self._master, self.redirect)
        self.director.add("redirect", self._register)
        self.budget = Budget(lambda: self.market.today, on=not options.no_limits)
        self.answers = Answers(self.faults, self.budget, self.market, self._master)
        servers = (self.stream, self.feeds, self.ohlc)
        self.streams = StreamFaults(self.faults, servers, self.market, self.account)
        self.last_use = time.monotonic()
        self._building = threading.Lock()
        self._masters: dict[date, tuple[bytes, str]] = {}

    def _master(self) -> tuple[bytes, str]:
        with self._building:  # who asks while it is built waits instead of building another
            today = self.market.today
            if today not in self._masters:
                data = master.build(self.market.prices, self.market.listing)
                self._masters = {today: (data, hashlib.sha256(data).hexdigest()[:20])}
            return self._masters[today]

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[dict[str, Any]]:
        """Listen; the value is the ready record."""
        ports = [self.options.port + i if self.options.port else 0 for i in range(3)]
        apps = (self._main_app(), _app(self.stream), _app(self.feeds))
        listeners = [
            Port(app, self.options.host, port) for app, port in zip(apps, ports, strict=True)
        ]
        async with contextlib.AsyncExitStack() as stack:
            main, stream, feeds = [
                await stack.enter_async_context(port.listening()) for port in listeners
            ]
            self.streams.ports = listeners[1:]
            tasks = [
                asyncio.ensure_future(self.quotes.run()),
                asyncio.ensure_future(self.candles.run()),
                asyncio.ensure_future(self._end_sessions()),
                asyncio.ensure_future(self.calls.run()),
                asyncio.ensure_future(self.orders.run()),
            ]
            # Built before the first ask, and no reason to wait for when the process ends.
            threading.Thread(target=self._master, daemon=True).start()
            try:
                yield self._record(main, stream, feeds)
            finally:
                for task in tasks:
                    task.cancel()
                for server in (self.stream, self.feeds, self.ohlc):
                    server.close()

    def _main_app(self) -> web.Application:
        app = web.Application(
            middlewares=[self._note_use, self.answers.weather, self.answers.limits]
        )
        app.router.add_get("/ohlcvstream/", self.ohlc.handle)
        app.router.add_get("/practice/status", self._status)
        app.router.add_post("/practice/control", self._control)
        self.rest.add_routes(app)
        return app

    @web.middleware
    async def _note_use(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not request.path.startswith("/practice/"):
            self.last_use = time.monotonic()
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - whatever failed, the client gets JSON
            traceback.print_exc()
            said = "The practice market failed; its log says why."
            return web.json_response({"Success": None, "Status": 500, "Error": said}, status=500)

    def _record(self, main: str, stream: str, feeds: str) -> dict[str, Any]:
        since = self.options.open_since
        login = f"{main}/apiuser/login?api_key={quote(self.account.app_key, safe='')}"
        return {
            "api_url": f"{main}/breezeapi/api/v1/",
            "v2_url": f"{main}/api/v2/",
            "stream_url": stream,
            "feeds_url": feeds,
            "ohlc_url": main,
            "master_url": f"{main}/MotherAppMaster/SecurityMaster.zip",
            "login_url": login,
            "app_key": self.account.app_key,
            "secret": self.account.secret,
            "api_session": self.account.api_session,
            "status_url": f"{main}/practice/status",
            "control_url": f"{main}/practice/control",
            "control_token": self.director.token,
            "seed": self.options.seed,
            "speed": self.options.speed,
            "open_since": since.isoformat() if since else None,
            "character": str(self.options.character),
            "no_limits": self.options.no_limits,
            "replay": str(self.options.replay) if self.options.replay else None,
            "from": self.options.start,
            "only_recorded": self.options.only_recorded,
            "keep_sessions": self.options.keep_sessions,
            "paused": self.options.paused,
        }

    async def _control(self, request: web.Request) -> web.Response:
        answer = await self.director.handle(request)
        for hub in (self.quotes, self.candles, self.calls):
            hub.wake()
        return answer

    async def _expire(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields)
        await self.faults.order("expire")
        return {}

    async def _reset(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields)
        await asyncio.to_thread(self.orders.desk.reset)  # it may have to wait for the desk's lock
        self.director.note("account reset")
        return {}

    def _register(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Register another redirect address or method; what is not given stays."""
        only(fields, "url", "method")
        url, method = (
            fields.get("url", self.redirect.url),
            fields.get("method", self.redirect.method),
        )
        wrong = wrong_redirect(url, method)
        if wrong:
            raise BadCommand(wrong)
        self.redirect.url, self.redirect.method = url, method
        self.director.note("redirect registered", url=url or "none", method=method)
        return {"url": url, "method": method}

    async def _end_sessions(self) -> None:
        """Cut all sockets when the session they were opened with ends, as at midnight."""
        session = self.account.session
        while True:
            await asyncio.sleep(_SESSION_CHECK_S)
            if self.account.session != session:
                session = self.account.session
                self.director.note("session ended")
                for server in (self.stream, self.feeds, self.ohlc):
                    server.close()

    async def _status(self, request: web.Request) -> web.Response:
        if not ipaddress.ip_address(request.remote or "0.0.0.0").is_loopback:  # noqa: S104
            return web.json_response({"Error": "Only this machine may ask."}, status=403)
        since = self.options.open_since
        streams = {"stream": self.stream, "feeds": self.feeds, "ohlc": self.ohlc}
        rooms = dict(self.quotes.counts()) | self.calls.counts()
        rooms |= {f"ohlc {name}": count for name, count in self.candles.counts().items()}
        return web.json_response(
            {
                "connections": {name: len(s.connections) for name, s in streams.items()},
                "rooms": rooms,
                "calls": self.rest.calls,
                "frames": self.quotes.frames + self.candles.frames + self.calls.frames,
                "now": self.market.clock.now().isoformat(),
                "speed": self.market.clock.speed,
                "paused": self.market.clock.paused,
                "session": self.account.name,
                "faults": self.faults.to_list(),
                "limits": self.budget.to_dict(),
                "history": {
                    "identity": self._identity,
                    "open_since": since.isoformat() if since else None,
                },
            }
        )

    async def idle(self, seconds: float) -> None:
        """Return when nothing was asked and no socket was open for `seconds`."""
        while time.monotonic() - self.last_use < seconds:
            if self.stream.connections or self.feeds.connections or self.ohlc.connections:
                self.last_use = time.monotonic()
            await asyncio.sleep(min(seconds / 4, 1.0))


def _app(server: SocketServer) -> web.Application:
    app = web.Application()
    app.router.add_get("/socket.io/", server.handle)
    app.router.add_route("*", "/{rest:.*}", no_such_path)
    return app


def _our_fault(record: logging.LogRecord) -> bool:
    """Keep what is no HTTP out of the log: its sender is told, and nothing failed here."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the practice market until SIGTERM or SIGINT; return the exit status."""
    options = Options.of(argv)
    logging.getLogger("aiohttp.server").addFilter(_our_fault)
    with contextlib.ExitStack() as stack:
        if options.runtime:
            try:
                stack.enter_context(processes.claim(options.runtime, "practice"))
            except processes.AlreadyRunning as exc:
                sys.stderr.write(f"{exc}\n")
                return 0
        try:
            asyncio.run(_serve(options))
        except RecordingError as exc:
            sys.stderr.write(f"{exc}\n")
            return 1
        except OSError as exc:
            sys.stderr.write(f"The practice market cannot listen: {exc}\n")
            return 1
    return 0


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    practice = Practice(options)
    async with practice.serving() as record:
        if options.runtime:
            processes.publish(options.runtime, "practice", record)
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()
        if not options.json:
            sys.stderr.write(f"Practice market ready. Log in at {record['login_url']}\n")
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
        if options.idle_exit > 0:
            waits.append(asyncio.ensure_future(practice.idle(options.idle_exit)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
