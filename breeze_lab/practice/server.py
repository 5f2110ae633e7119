"""The process: three loopback servers, one market, one JSON line when ready.

The first port serves REST, the login page, the master and the candle stream;
quotes and order notifications need ports of their own, because a client keeps
only host and port of a stream's address.
"""

from __future__ import annotations

import argparse
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
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from aiohttp import web
from aiohttp.http import HttpProcessingError

from breeze_lab import clock, processes
from breeze_lab.errors import RecordingError
from breeze_lab.practice import master
from breeze_lab.practice.account import Account
from breeze_lab.practice.character import Character
from breeze_lab.practice.director import Director, only
from breeze_lab.practice.market import Market
from breeze_lab.practice.market_clock import FASTEST, SLOWEST, MarketClock
from breeze_lab.practice.order_feed import OrderFeed
from breeze_lab.practice.replay_market import ReplayMarket
from breeze_lab.practice.rest import Rest, no_such_path
from breeze_lab.practice.sockets import SocketServer
from breeze_lab.practice.streams import CandleHub, FeedsHub, QuoteHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

__all__ = ["Options", "Practice", "main"]

_STOP_S: Final = 0.3
_LONGEST_INTERVAL_S: Final = 3600
#: How often it is looked whether the session has ended, in real seconds.
_SESSION_CHECK_S: Final = 0.1
_FASTEST_REPLAY: Final = 3600


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes free ports, another takes it and the two after it.
    seed, speed
        Which market, and market seconds per second.
    open_since
        First 24-hour market day, or None for true market hours.
    at, paused
        Market time to begin at, aware IST, and whether it stands still at first.
    keep_sessions, one_shot
        See `breeze_lab.practice.account.Account`.
    quote_interval
        Market seconds between two quotes of an instrument at least; 0 sends every trade.
    character
        What is odd about it.
    replay, start, only_recorded
        A recording to replay instead, its first moment (``"09:15"``) when that
        is another than its first row, and whether nothing else is listed.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    speed: float = 1.0
    open_since: date | None = None
    at: datetime | None = None
    paused: bool = False
    keep_sessions: bool = False
    one_shot: bool = False
    quote_interval: float = 0.0
    character: Character = field(default_factory=Character)
    replay: Path | None = None
    start: str = ""
    only_recorded: bool = False


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
        self.market = _market(options)
        self.account = Account(
            options.seed,
            lambda: self.market.today,
            kept=options.keep_sessions,
            one_shot=options.one_shot,
        )
        self.director = Director(self.market.clock)
        self.director.add("expire", self._expire)
        self.quotes = QuoteHub(self.market, round(options.quote_interval * 1000))
        self.candles = CandleHub(self.market)
        self.stream = SocketServer(self.account, self.quotes)
        self.calls = FeedsHub(self.market)
        self.feeds = SocketServer(self.account, self.calls)
        self.ohlc = SocketServer(self.account, self.candles)
        self.orders = OrderFeed(self.market, self.account, self.calls, self.feeds)
        self.rest = Rest(self.market, self.account, self.orders.desk, self._master)
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
        async with contextlib.AsyncExitStack() as stack:
            main = await stack.enter_async_context(self._listen(self._main_app(), ports[0]))
            stream = await stack.enter_async_context(self._listen(_app(self.stream), ports[1]))
            feeds = await stack.enter_async_context(self._listen(_app(self.feeds), ports[2]))
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
        app = web.Application(middlewares=[self._note_use])
        app.router.add_get("/ohlcvstream/", self.ohlc.handle)
        app.router.add_get("/practice/status", self._status)
        app.router.add_post("/practice/control", self._control)
        self.rest.add_routes(app)
        return app

    @contextlib.asynccontextmanager
    async def _listen(self, app: web.Application, port: int) -> AsyncIterator[str]:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.options.host, port).start()
            host, bound = runner.addresses[0][:2]
            yield f"http://{host}:{bound}"
        finally:
            await runner.cleanup()

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
        }

    async def _control(self, request: web.Request) -> web.Response:
        answer = await self.director.handle(request)
        for hub in (self.quotes, self.candles, self.calls):
            hub.wake()
        return answer

    def _expire(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields)
        self.account.expire()
        return {}

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
            }
        )

    async def idle(self, seconds: float) -> None:
        """Return when nothing was asked and no socket was open for `seconds`."""
        while time.monotonic() - self.last_use < seconds:
            if self.stream.connections or self.feeds.connections or self.ohlc.connections:
                self.last_use = time.monotonic()
            await asyncio.sleep(min(seconds / 4, 1.0))


def _market(options: Options) -> Market:
    if options.replay is None:
        market_clock = MarketClock(options.speed, options.at, paused=options.paused)
        return Market(options.seed, options.open_since, market_clock, options.character)
    return ReplayMarket.of_file(
        options.replay, options.seed, speed=options.speed, paused=options.paused,
        start=options.start, only=options.only_recorded,
    )  # fmt: skip


def _app(server: SocketServer) -> web.Application:
    app = web.Application()
    app.router.add_get("/socket.io/", server.handle)
    app.router.add_route("*", "/{rest:.*}", no_such_path)
    return app


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="breeze-lab practice",
        description="A loopback exchange that speaks Breeze's wire protocol. Prices are invented.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="first of three ports; 0: free ones")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another market")
    parser.add_argument("--speed", type=float, default=1.0,
                        help="market seconds per second, up to 3600")  # fmt: skip
    parser.add_argument("--at", type=_moment, metavar="YYYY-MM-DDTHH:MM",
                        help="market time to begin at, IST (default: now)")  # fmt: skip
    parser.add_argument(
        "--paused", action="store_true", help="let market time stand still at first"
    )
    hours = parser.add_mutually_exclusive_group()
    hours.add_argument("--always-open", action="store_true", default=True, help="trade at any hour")
    hours.add_argument("--exchange-hours", action="store_true", help="trade in true hours only")
    parser.add_argument("--open-since", type=date.fromisoformat, metavar="YYYY-MM-DD",
                        help="first 24-hour market day (default: today in India)")  # fmt: skip
    parser.add_argument("--quote-interval", type=float, default=0.0, metavar="SECONDS",
                        help="market seconds between two quotes of an instrument at least; the"
                             " broker has about 1 (default: 0, every trade)")  # fmt: skip
    parser.add_argument("--keep-sessions", action="store_true",
                        help="sessions outlive the market's midnight")  # fmt: skip
    parser.add_argument("--one-shot", action="store_true",
                        help="an api session can be exchanged once only")  # fmt: skip
    parser.add_argument("--replay", type=Path, metavar="FILE_OR_FOLDER",
                        help="replay recorded days in true hours (docs/replay.md)")  # fmt: skip
    parser.add_argument("--from", dest="start", default="", metavar="HH:MM",
                        help="begin the replay here (default: its first moment)")  # fmt: skip
    parser.add_argument("--only-recorded", action="store_true", help="list nothing but the replay")
    odd = parser.add_mutually_exclusive_group()
    odd.add_argument("--clean", action="store_true", help="without any oddity of real markets")
    odd.add_argument("--without", default="", metavar="NAME,...",
                     help=f"without some of them: {', '.join(Character.names())}")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="run once per folder")
    parser.add_argument("--idle-exit", type=float, default=0.0, metavar="SECONDS")
    chosen = parser.parse_args(argv)
    if not SLOWEST <= chosen.speed <= FASTEST:
        parser.error(f"--speed must lie between {SLOWEST:g} and {FASTEST:g}")
    if not 0 <= chosen.quote_interval <= _LONGEST_INTERVAL_S:
        parser.error(f"--quote-interval must lie between 0 and {_LONGEST_INTERVAL_S}")
    if not chosen.replay and (chosen.start or chosen.only_recorded):
        parser.error("--from and --only-recorded belong to --replay")
    if chosen.replay and (chosen.at or chosen.open_since):
        parser.error("a replay begins at its first moment, or --from another; it keeps true hours")
    try:
        chosen.character = (
            Character.clean() if chosen.clean else Character().without(chosen.without)
        )
    except ValueError as exc:
        parser.error(str(exc))
    return chosen


def _our_fault(record: logging.LogRecord) -> bool:
    """Keep what is no HTTP out of the log: its sender is told, and nothing failed here."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _moment(text: str) -> datetime:
    return clock.to_ist(datetime.fromisoformat(text))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the practice market until SIGTERM or SIGINT; return the exit status."""
    chosen = _options(argv)
    logging.getLogger("aiohttp.server").addFilter(_our_fault)
    begins = chosen.at or clock.now()
    true_hours = chosen.exchange_hours or chosen.replay
    since = None if true_hours else chosen.open_since or begins.date()
    options = Options(
        host=chosen.host, port=chosen.port, seed=chosen.seed, speed=chosen.speed,
        open_since=since, at=chosen.at, paused=chosen.paused,
        keep_sessions=chosen.keep_sessions, one_shot=chosen.one_shot,
        quote_interval=chosen.quote_interval, character=chosen.character,
        replay=chosen.replay, start=chosen.start, only_recorded=chosen.only_recorded,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        if chosen.runtime:
            try:
                stack.enter_context(processes.claim(chosen.runtime, "practice"))
            except processes.AlreadyRunning as exc:
                sys.stderr.write(f"{exc}\n")
                return 0
        try:
            asyncio.run(_serve(Practice, options, chosen))
        except RecordingError as exc:
            sys.stderr.write(f"{exc}\n")
            return 1
        except OSError as exc:
            sys.stderr.write(f"The practice market cannot listen: {exc}\n")
            return 1
    return 0


async def _serve(
    make: Callable[[Options], Practice], options: Options, chosen: argparse.Namespace
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    practice = make(options)
    async with practice.serving() as record:
        if chosen.runtime:
            processes.publish(chosen.runtime, "practice", record)
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()
        if not chosen.json:
            sys.stderr.write(f"Practice market ready. Log in at {record['login_url']}\n")
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
        if chosen.idle_exit > 0:
            waits.append(asyncio.ensure_future(practice.idle(chosen.idle_exit)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
