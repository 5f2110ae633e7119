"""The routes of prices: the relay's last ticks, and candles from the relay and from history.

A price is told with its age and where it comes from. What the relay holds
costs nothing; a call of the budget is spent only where the request says so,
and never more than it allows. Kernels are not asked.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab import clock, historical, quotes, session
from breeze_lab.bars import Interval
from breeze_lab.errors import BreezeLabError, InstrumentError, RateLimited, SettingsError
from breeze_lab_server import names
from breeze_lab_server.rest import RESOURCE, Rest

if TYPE_CHECKING:
    from breeze_lab.instruments import Instrument
    from breeze_lab.session import Session
    from breeze_lab_server.supervisor import Supervisor

__all__ = ["MOST_CALLS", "CandlesHandler", "QuotesHandler"]

#: Calls that one request for candles may spend; each brings at most 1,000 candles.
MOST_CALLS: Final = 10
_USUAL_CALLS: Final = 3
#: Quotes asked of the broker in one request.
_MOST_FETCHED: Final = 10

#: Columns of the relay's tick row that a quote shows as they are, by their place.
_TICK: Final = {
    "sequence": 1, "epoch": 2, "last": 5, "open": 6, "high": 7, "low": 8, "previous_close": 9,
    "change_percent": 10, "bid": 11, "bid_quantity": 12, "ask": 13, "ask_quantity": 14,
    "last_quantity": 15, "average_price": 16, "volume": 17, "open_interest": 18,
}  # fmt: skip
_TIME, _RECEIVED = 3, 4
_NOTHING: Final[dict[str, Any]] = {
    "source": None, "age_s": None, "trade_age_s": None, "time": None, "received": None,
    **dict.fromkeys(_TICK), "message": None,
}  # fmt: skip


class _Prices(Rest):
    """A route that asks the relay, and the broker when it may."""

    def initialize(self, supervisor: Supervisor) -> None:
        """Take the supervisor from the route."""
        self.supervisor = supervisor

    async def found(self, wanted: list[str], market: str) -> tuple[str, dict[str, Instrument]]:
        """Return the market meant and the instrument of each name."""
        market = market or await asyncio.to_thread(names.market)
        return market, await asyncio.to_thread(names.found, wanted, market)

    async def peek(
        self, wanted: list[Instrument], market: str, bars: tuple[str, ...] = ()
    ) -> tuple[dict[str, Any], str]:
        """Return what the relay holds of instruments by key, and why it holds nothing."""
        if await self.supervisor.record() is None:
            return {}, "no relay runs"
        asked = [said for one in wanted if (said := _said(one)) is not None]
        if not asked:
            return {}, ""
        told = await self.supervisor.ask("peek", instruments=asked, bars=bars)
        if told["market"] not in (None, market):
            return {}, f"the relay streams the {told['market']} market"
        return told["found"], ""


class QuotesHandler(_Prices):
    """``GET api/quotes?names=&fetch=&market=``: the last price of each, with its age."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer from the relay; with ``fetch=1`` the broker is asked for what it lacks."""
        wanted, market = self.names(), self.market()
        fetch = self.get_query_argument("fetch", "") == "1"
        if fetch:
            await self.must_execute("fetch=1")
        try:
            market, instruments = await self.found(wanted, market)
            held, why = await self.peek(list(instruments.values()), market)
            rows = {name: _quoted(one, held.get(one.key), why) for name, one in instruments.items()}
            if fetch:
                missing = {
                    name: one for name, one in instruments.items() if rows[name]["source"] is None
                }
                rows |= await asyncio.to_thread(_fetched, missing, market)
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        self.answer(
            {
                "market": market, "now": clock.now().isoformat(timespec="milliseconds"),
                "quotes": [{"name": name, **row} for name, row in rows.items()],
            }
        )  # fmt: skip


class CandlesHandler(_Prices):
    """``GET api/candles?name=&interval=&start=&end=&calls=&market=``: bars, and what they cost."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer with the relay's whole bars at the end and history before them."""
        name, market = self.get_query_argument("name", "").strip(), self.market()
        if not name:
            raise web.HTTPError(400, "name says which instrument: name=RELIANCE")
        most = self.number("calls", _USUAL_CALLS, 0, MOST_CALLS)
        end = self.moment("end") or clock.now() + timedelta(seconds=1)
        start = self.moment("start")
        try:
            interval = Interval.parse(self.get_query_argument("interval", "1m"))
            market, found = await self.found([name], market)
            instrument = found[name]
            start = start or _usual_start(instrument, interval, end)
            if start >= end:
                raise SettingsError(f"The range is empty: it ends at {end} and starts at {start}.")
            held, _ = await self.peek([instrument], market, (interval.label,))
            ours = _whole_end((held.get(instrument.key) or {}).get("bars", ()), start, end)
            until = clock.from_epoch(ours[0][2]) if ours else end
            wanted = market, instrument, interval, start, until
            calls = await asyncio.to_thread(_price, *wanted) if start < until else 0
            if calls > most:
                raise SettingsError(
                    f"{instrument.key} {interval.label} from {start:%Y-%m-%d %H:%M} costs "
                    f"{calls} calls of the budget and this request allows {most}. Ask for "
                    f"less, or allow more with calls= (at most {MOST_CALLS})."
                )
            if calls:
                await self.must_execute("a call of the budget")
            past: list[dict[str, Any]] = []
            if start < until:
                past = await asyncio.to_thread(_history, *wanted, calls=calls)
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        self.answer(
            {
                "key": instrument.key, "interval": interval.label, "market": market,
                "start": start.isoformat(), "end": end.isoformat(), "calls": calls,
                "now": clock.now().isoformat(timespec="milliseconds"),
                "candles": [*past, *(_candle(row) for row in ours)],
            }
        )  # fmt: skip


def _said(instrument: Instrument) -> dict[str, object] | None:
    try:
        return names.said(instrument)
    except InstrumentError:  # a fund, a delisted share: found, and never streamed
        return None


def _quoted(instrument: Instrument, held: dict[str, Any] | None, why: str) -> dict[str, Any]:
    """Return the quote the relay's last tick makes, or none and the reason."""
    row = {"key": instrument.key, **_NOTHING}
    tick = None if held is None else held["tick"]
    if tick is None:
        reason = why or ("no tick yet" if held else "nobody is subscribed to it")
        return row | {"message": f"{reason}; fetch=1 asks the broker"}
    now = time.time()
    traded, received = tick[_TIME], tick[_RECEIVED] / 1000
    return row | {
        "source": "relay", "age_s": round(max(0.0, now - received), 3),
        "trade_age_s": None if traded is None else round(max(0.0, now - traded), 3),
        "time": None if traded is None else clock.from_epoch(traded).isoformat(),
        "received": clock.from_epoch(received).isoformat(timespec="milliseconds"),
        **{name: tick[place] for name, place in _TICK.items()},
    }  # fmt: skip


def _session(market: str, calls: int) -> Session:
    """Return the shared session when it is of `market` and has `calls` left this minute."""
    now = session.follow()
    if now.endpoints.name != market:
        raise SettingsError(
            f"Prices of the {market} market are asked for, and the session is of "
            f"{now.endpoints.name}. Log in there, or ask for market={now.endpoints.name}."
        )
    left = now.meter.left
    if calls > left:
        raise RateLimited(
            f"This costs {calls} calls and {left} of {now.meter.limit} are left in this minute. "
            "Wait a minute, or ask for less."
        )
    return now


def _fetched(missing: dict[str, Instrument], market: str) -> dict[str, dict[str, Any]]:
    """Return quotes asked of the broker, one call each; blocking."""
    if not missing:
        return {}
    if len(missing) > _MOST_FETCHED:
        raise SettingsError(
            f"fetch=1 asks the broker for at most {_MOST_FETCHED} quotes at once, not "
            f"{len(missing)}. Subscribe them instead: POST breeze-lab/api/subscriptions."
        )
    now = _session(market, len(missing))
    rows: dict[str, dict[str, Any]] = {}
    for name, instrument in missing.items():
        quote = quotes.fetch(now, instrument)
        known = {field: getattr(quote, field, None) for field in _TICK}
        age = quote.age
        rows[name] = {
            "key": instrument.key, **_NOTHING, **known, "source": "rest",
            "age_s": round((clock.now() - quote.received).total_seconds(), 3),
            "trade_age_s": None if age is None else round(max(0.0, age.total_seconds()), 3),
            "time": None if quote.time is None else quote.time.isoformat(),
            "received": quote.received.isoformat(timespec="milliseconds"),
        }  # fmt: skip
    return rows


def _price(
    market: str, instrument: Instrument, interval: Interval, start: datetime, end: datetime
) -> int:
    """Return how many calls bars of history cost, beyond what is stored; blocking."""
    try:
        now = session.follow()
    except BreezeLabError:  # said when the call is made, after what it costs
        now = None
    if now is None or now.endpoints.name != market:
        return len(historical.plan(instrument, interval, start, end))
    return historical.price(now, instrument, interval, start, end)


def _history(
    market: str,
    instrument: Instrument,
    interval: Interval,
    start: datetime,
    end: datetime,
    *,
    calls: int,
) -> list[dict[str, Any]]:
    """Return bars of history, from the disk as far as they are there; blocking."""
    now = _session(market, calls)
    return [
        {
            "start": bar.start.isoformat(), "open": bar.open, "high": bar.high, "low": bar.low,
            "close": bar.close, "volume": bar.volume, "open_interest": bar.open_interest,
            "complete": bar.complete, "source": "history",
        }
        for bar in historical.bars(now, instrument, interval, start, end)
    ]  # fmt: skip


def _whole_end(rows: Any, start: datetime, end: datetime) -> list[list[Any]]:
    """Return the relay's bars at the end of a range of which it heard every tick.

    A bar heard in part ends the row: history knows it better. So does a lost
    connection, after which the forming bar is not whole.
    """
    first, last = start.timestamp(), end.timestamp()
    found: list[list[Any]] = []
    for row in reversed(rows):
        if row[2] >= last:
            continue
        if row[2] < first or not row[9]:
            break
        found.append(row)
    found.reverse()
    return found


def _candle(row: list[Any]) -> dict[str, Any]:
    return {
        "start": clock.from_epoch(row[2]).isoformat(), "open": row[3], "high": row[4],
        "low": row[5], "close": row[6], "volume": row[7], "open_interest": row[8],
        "complete": not row[10], "source": "relay",
    }  # fmt: skip


def _usual_start(instrument: Instrument, interval: Interval, end: datetime) -> datetime:
    """Return the midnight before the last trading, or of a year ago for days."""
    day = end.date()
    if interval is Interval.D1:
        return clock.to_ist(datetime.combine(day - timedelta(days=365), datetime.min.time()))
    while (hours := clock.market_hours(instrument.segment, day)) is None or hours.open >= end:
        day -= timedelta(days=1)
    return hours.open.replace(hour=0, minute=0)
