"""What a person calls: names in, frames and charts out.

The surface over the other rooms. It reads what people type (names, dates,
intervals), asks the current session and hands back values; it owns no data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from breeze_lab import accounts, clock, masters, processes, session, settings
from breeze_lab.bars import Interval
from breeze_lab.errors import ProcessError, SettingsError
from breeze_lab.history_price import Progress
from breeze_lab.indicators.spec import parse_all
from breeze_lab.limits import FreeMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from breeze_lab.instruments import Instrument, SecurityMaster
    from breeze_lab.limits import CallMeter
    from breeze_lab.quotes import Quote
    from breeze_lab.session import Session
    from breeze_lab.widgets import LiveChart

__all__ = ["Status", "candles", "history", "master", "moments", "quote", "search", "status"]

#: A chart starts with this many bars: two NSE days of minutes fit, and it paints in a blink.
_CHART_BARS = 300
_MAX_CHART_BARS = 1000


def history(
    name: str,
    interval: str = "1d",
    start: str | date | datetime | None = None,
    end: str | date | datetime | None = None,
    *,
    confirm: bool = False,
) -> pd.DataFrame:
    """Return bars of the past; what was fetched once comes from the disk.

    A fetch of more than three calls says its price first and shows how far it
    is. Cut off, it goes on from there the next time (``docs/history.md``).

    Parameters
    ----------
    name
        Any name of an instrument: ``"RELIANCE"``, ``"BSE:TCS"``, ``"NIFTY fut"``.
    interval
        ``"1s" "5s" "1m" "3m" "5m" "15m" "30m" "1h" "1d"``.
    start, end
        Half-open range [start, end) of opening times. ISO text, a date or a
        datetime; naive means IST; a bare date means its midnight. Without
        `start` the newest 500 bars come back; without `end`, up to now.
    confirm
        Say yes to a price of more than 300 calls, or of more than are left
        today: then what can be fetched today is, and kept.

    Returns
    -------
    DataFrame, shape (n, 6)
        open, high, low, close (rupees), volume (shares), open_interest; index
        ``start``: the opening time of each bar, aware, Asia/Kolkata. ``attrs``
        tell its source, its calls and its age.

    Raises
    ------
    PriceNotConfirmed
        Nothing was fetched; the message says the price.
    InstrumentNotFound, AmbiguousInstrument, NotLoggedIn, SessionExpired,
    RateLimited, RequestError, SettingsError, HistoryError

    Examples
    --------
    >>> breeze_lab.history("RELIANCE", "1d", "2026-01-01", "2026-07-01")  # doctest: +SKIP
    """
    from breeze_lab import historical  # noqa: PLC0415 - loads pandas

    now = session.current()
    instrument, length = now.resolve(name), Interval.parse(interval)
    if start is None:
        return historical.latest(now, instrument, length)
    first, last = moments(start, end)
    with Progress(f"{instrument.key} {length.label}", now.meter, confirm=confirm) as progress:
        return historical.candles(
            now, instrument, length, first, last, before=progress.before, progress=progress.step
        )


def quote(name: str) -> Quote:
    """Return the price of `name` right now, with its age.

    Raises
    ------
    InstrumentNotFound, AmbiguousInstrument, NotLoggedIn, SessionExpired,
    RateLimited, RequestError

    Examples
    --------
    >>> breeze_lab.quote("RELIANCE").last  # doctest: +SKIP
    1402.5
    """
    from breeze_lab import quotes  # noqa: PLC0415 - on first use

    now = session.current()
    return quotes.fetch(now, now.resolve(name))


def candles(
    name: str,
    interval: str = "1m",
    *,
    bars: int = _CHART_BARS,
    indicators: str | Iterable[str] = (),
) -> LiveChart:
    """Return a live candle chart: history first, then every tick as it comes.

    Parameters
    ----------
    name
        Any name of an instrument. A wrong one is refused with the nearest
        names before anything is subscribed.
    interval
        Length of a candle.
    bars
        How many candles to start with, at most 1,000.
    indicators
        ``["ema(20)", "vwap", "rsi", "supertrend(10,3)"]`` or one text of them: any of pandas-ta's
        by name, over the candles or in a pane of its own. More candles are fetched for them than
        are shown, so that the first one has its values. The chart's menu adds and removes.

    Returns
    -------
    LiveChart
        Show it by making it the last line of a cell. It keeps moving while
        the kernel is busy; ``.data`` is the frame behind it.

    Raises
    ------
    InstrumentNotFound, AmbiguousInstrument, NotLoggedIn, SessionExpired,
    RateLimited, RequestError, SettingsError

    Examples
    --------
    >>> breeze_lab.candles("RELIANCE", "1m")  # doctest: +SKIP
    >>> breeze_lab.candles("NIFTY fut", "5m", indicators=["ema(20)", "rsi"])  # doctest: +SKIP
    """
    if not 1 <= bars <= _MAX_CHART_BARS:
        raise SettingsError(f"A chart holds 1 to {_MAX_CHART_BARS} candles, not {bars}.")
    now = session.current()
    instrument, length = now.resolve(name), Interval.parse(interval)
    specs = parse_all(indicators)
    from breeze_lab import feed, historical  # noqa: PLC0415 - loads numpy
    from breeze_lab.widgets import LiveChart  # noqa: PLC0415 - loads ipywidgets

    before = 0
    if specs:
        from breeze_lab.indicators.live import warmup  # noqa: PLC0415 - loads TA-Lib

        before = max(warmup(spec, length, instrument.exchange) for spec in specs)
    feed.connect()  # the relay is up and logged in before a browser asks it
    # Before the call: what trades while it is under way may be missing in it.
    fetched_s = clock.market_now().timestamp()
    past = historical.newest(now, instrument, length, bars + before)
    return LiveChart(
        instrument, length, past, practice=now.practice, replay=now.endpoints.replay,
        fetched_s=fetched_s, indicators=specs, shown=bars,
    )  # fmt: skip


def search(text: str, limit: int = 20) -> list[Instrument]:
    """Return the instruments `text` could mean: the exact one, or the nearest.

    Examples
    --------
    >>> [i.symbol for i in breeze_lab.search("relianc", 1)]  # doctest: +SKIP
    ['RELIANCE']
    """
    return session.current().master.search(text, limit)


def master(day: str | date | None = None) -> SecurityMaster:
    """Return the security master: every instrument there is, or was on a past day.

    Parameters
    ----------
    day
        ``"2026-11-26"`` or a date: its contracts are found although they are expired by now. The
        one in use by default.

    Raises
    ------
    MasterError
        That day's is not kept; the message names the days that are.
    NotLoggedIn, SessionExpired, SettingsError

    Examples
    --------
    >>> breeze_lab.master("2026-11-26").resolve("NIFTY 24NOV 24500 CE")  # doctest: +SKIP
    """
    now = session.current()
    if day is None:
        return now.master
    if not isinstance(day, date) or isinstance(day, datetime):
        day = _moment(day).date()
    return masters.load(now.endpoints, day)


@dataclass(frozen=True)
class Status:
    """Who is logged in, until when, over which endpoints, and how old the feed is."""

    lines: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        width = max(map(len, self.lines), default=0)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.lines.items())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in self.lines.items()
        )
        return f"<table class='breeze-lab-status'>{rows}</table>"


def status() -> Status:
    """Return where things stand, without starting or logging in to anything."""
    known = session.peek()
    lines = _session_lines(known)
    if known is not None:
        lines.update(_weather_lines(practice=known.practice))
        lines["master"] = masters.describe(known.endpoints)
        lines["calls"] = _calls_line(known.meter)
    lines.update(_relay_lines())
    lines["market time"] = f"{clock.market_now():%d-%m-%Y %H:%M:%S} IST"
    if known is not None:
        lines.update({k: v for k, v in known.endpoints.to_dict().items() if k.endswith("_url")})
    return Status(lines)


def _calls_line(meter: CallMeter) -> str:
    """Return what is used and left of the call budget, of all processes together."""
    use = meter.use()
    if isinstance(meter, FreeMeter):
        return f"{meter.total} of this process; {use.note}"
    spans = [
        (use.minute, meter.limit, "in the last minute"),
        (use.today, meter.limit_today, "today"),
    ]
    parts = [f"{used} of {most} {when}, {max(0, most - used)} left" for used, most, when in spans]
    return "; ".join([*parts, use.note] if use.note else parts)


def _session_lines(known: Session | None) -> dict[str, str]:
    """Return account and session clock: of this process's session, else of the shared one."""
    others, _ = accounts.look()
    if known is None and others is None:
        return {"account": "nobody is logged in: run %breeze_login, or %breeze_login practice"}
    if known is not None:
        name, user, practice = known.identity.name, known.identity.user_id, known.practice
        until, ended, replay = known.until, known.ended, known.endpoints.replay
    else:
        assert others is not None
        name, user, practice = others.name, others.user_id, others.practice
        until, ended = others.until, others.reason
        replay = str(others.endpoints.get("replay", ""))
    label = "practice market, no real money" if practice else "ICICI Direct"
    if replay:
        label = f"replay of {replay}, no real money"
    if known is None:
        label += "; this process joins it when it needs it"
    left = until - clock.now()
    return {
        "account": f"{name} ({user}) - {label}",
        "session": f"ended {ended}: run %breeze_login again"
        if ended
        else f"good until {until:%d-%m-%Y %H:%M} IST, {_span(left)} left",
    }


def _weather_lines(*, practice: bool) -> dict[str, str]:
    """Return which faults are active, so that ordered trouble is not taken for real trouble."""
    if not practice or processes.running(settings.folders().runtime, "practice") is None:
        return {}
    from breeze_lab.practice import control  # noqa: PLC0415 - only when there is one to ask

    try:
        found = control.connect().faults()
    except ProcessError as exc:
        return {"faults": str(exc)}
    names = ", ".join(fault["fault"] for fault in found)
    return {"faults": f"{names}: ordered with %breeze_practice, which shows more"} if found else {}


def _relay_lines() -> dict[str, str]:
    if processes.running(settings.folders().runtime, "relay") is None:
        return {"relay": "not running; the first live chart starts it", "feed": "-"}
    from breeze_lab import feed  # noqa: PLC0415 - only when there is one to ask

    answer = feed.connect().status()
    upstream: dict[str, Any] = answer["upstream"]
    state = f"{upstream['state']} ({upstream.get('endpoints') or 'no broker yet'})"
    if upstream.get("error"):
        state += f": {upstream['error']}"
    age = answer.get("last_tick_age_s")
    return {
        "relay": f"process {answer['pid']}, {answer['consumers']} consumers, upstream {state}",
        "feed": "no tick yet" if age is None else f"last tick {age:.1f} s ago",
    }


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds()) // 60
    return f"{minutes // 60} h {minutes % 60} m"


def moments(
    start: str | date | datetime, end: str | date | datetime | None
) -> tuple[datetime, datetime]:
    """Return the range that two ends say, aware IST; without `end`, up to now.

    Raises
    ------
    SettingsError
        One is no date, or the range is empty.
    """
    first = _moment(start)
    last = clock.market_now() + timedelta(seconds=1) if end is None else _moment(end)
    if last <= first:
        raise SettingsError(f"The range is empty: it ends at {last} and starts at {first}.")
    return first, last


def _moment(value: str | date | datetime) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as exc:
            raise SettingsError(
                f"{value!r} is no date. Write 2026-11-20 or 2026-11-20 09:15 (IST)."
            ) from exc
    if isinstance(value, datetime):
        return clock.to_ist(value)
    return datetime(value.year, value.month, value.day, tzinfo=clock.IST)
