"""The command line of ``breeze-lab practice``: which market is served, and how."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from breeze_lab import clock
from breeze_lab.practice.exchange.character import Character
from breeze_lab.practice.exchange.market import Market
from breeze_lab.practice.exchange.market_clock import FASTEST, SLOWEST, MarketClock
from breeze_lab.practice.replay.replay_market import ReplayMarket

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Options", "wrong_redirect"]

_LONGEST_INTERVAL_S: Final = 3600
_LONGEST_URL: Final = 2000


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; see `of` for it.

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
    no_limits
        Never refuse a call because of the account's budget.
    redirect_url, redirect_method
        What is registered with the app: see `breeze_lab.practice.wire.rest.Redirect`.
    json, runtime, idle_exit
        Print nothing but the ready record; the folder of a process that runs
        once; seconds without a client after which it ends, 0 for never.
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
    no_limits: bool = False
    redirect_url: str = ""
    redirect_method: str = "get"
    json: bool = False
    runtime: Path | None = None
    idle_exit: float = 0.0

    @classmethod
    def of(cls, argv: Sequence[str] | None) -> Options:
        """Read the command line; say what is wrong with it and exit as commands do."""
        parser = _parser()
        chosen = vars(parser.parse_args(argv))
        wrong = _complaint(chosen)
        if wrong:
            parser.error(wrong)
        without, clean = chosen.pop("without"), chosen.pop("clean")
        try:
            chosen["character"] = Character.clean() if clean else Character().without(without)
        except ValueError as exc:
            parser.error(str(exc))
        chosen.pop("always_open")
        if chosen.pop("exchange_hours") or chosen["replay"]:
            chosen["open_since"] = None
        elif chosen["open_since"] is None:
            chosen["open_since"] = (chosen["at"] or clock.now()).date()
        return cls(**chosen)

    def identity(self) -> str:
        """Return a name that two markets share when their past prices are the same.

        The code that makes prices is part of it: another version may make others.
        """
        replayed: list[object] = []
        if self.replay is not None:
            files = sorted(self.replay.glob("*")) if self.replay.is_dir() else [self.replay]
            for path in files:
                info = path.stat()
                replayed.append([path.name, info.st_size, info.st_mtime_ns])
        since = self.open_since.isoformat() if self.open_since else None
        settings = [self.seed, since, str(self.character), replayed, self.only_recorded]
        found = hashlib.sha256(json.dumps(settings).encode())
        package = Path(__file__).parent
        sources = [package.parent / "calendar.json"]
        for folder in ("exchange", "replay"):
            sources += sorted(path for path in (package / folder).glob("*.*") if path.is_file())
        for path in sources:
            found.update(path.read_bytes())
        return found.hexdigest()[:32]

    def market(self) -> Market:
        """Return the market they describe.

        Raises
        ------
        RecordingError
            The recording to replay cannot be read.
        """
        if self.replay is None:
            market_clock = MarketClock(self.speed, self.at, paused=self.paused)
            return Market(self.seed, self.open_since, market_clock, self.character)
        return ReplayMarket.of_file(
            self.replay, self.seed, speed=self.speed, paused=self.paused,
            start=self.start, only=self.only_recorded,
        )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="breeze-lab practice",
        description="A loopback exchange that speaks Breeze's wire protocol. Prices are invented. "
        "A word instead of options drives the one that runs: see breeze-lab practice help.",
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
    parser.add_argument("--no-limits", action="store_true",
                        help="never refuse calls beyond 100 a minute, 5,000 a day")  # fmt: skip
    parser.add_argument("--redirect-url", default="", metavar="URL",
                        help="where the login page sends the browser")  # fmt: skip
    parser.add_argument("--redirect-method", choices=("get", "post"), default="get",
                        help="get: ?apisession=...; post: a form with API_Session")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="run once per folder")
    parser.add_argument("--idle-exit", type=float, default=0.0, metavar="SECONDS")
    return parser


def _complaint(chosen: dict[str, Any]) -> str:
    """Return what is wrong with options that can be read one by one, or nothing."""
    if not SLOWEST <= chosen["speed"] <= FASTEST:
        return f"--speed must lie between {SLOWEST:g} and {FASTEST:g}"
    if not 0 <= chosen["quote_interval"] <= _LONGEST_INTERVAL_S:
        return f"--quote-interval must lie between 0 and {_LONGEST_INTERVAL_S}"
    if not chosen["replay"] and (chosen["start"] or chosen["only_recorded"]):
        return "--from and --only-recorded belong to --replay"
    if chosen["replay"] and (chosen["at"] or chosen["open_since"]):
        return "a replay begins at its first moment, or --from another; it keeps true hours"
    return wrong_redirect(chosen["redirect_url"], chosen["redirect_method"])


def wrong_redirect(url: object, method: object) -> str:
    """Return what is wrong with a redirect to be registered, or nothing."""
    if method not in ("get", "post"):
        return "a redirect's method is get or post"
    if not isinstance(url, str) or len(url) > _LONGEST_URL or not url.isprintable():
        return "a redirect's address is a short text"
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        return "a redirect's address begins with http:// or https://"
    return ""


def _moment(text: str) -> datetime:
    try:
        return clock.to_ist(datetime.fromisoformat(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2026-11-20T09:15 (IST)"
        ) from None
