"""Market time: Indian Standard Time, the exchange calendar and market hours.

Owns what "now" is, how text and naive values become aware times, and when a
segment trades on a date, in which phases. Market hours are dated data
(``calendar.json``), not constants, because exchanges change them. Nothing here reads the machine's
time zone or locale.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib import resources
from typing import Final, Literal, Protocol, cast
from zoneinfo import ZoneInfo

__all__ = [
    "IST",
    "Clock",
    "MarketHours",
    "Phase",
    "PhaseHours",
    "Segment",
    "SystemClock",
    "follow",
    "from_epoch",
    "is_expiry_day",
    "is_settlement_day",
    "is_trading_day",
    "market_hours",
    "market_now",
    "now",
    "phase",
    "phases",
    "previous_trading_day",
    "to_ist",
]

IST: Final = ZoneInfo("Asia/Kolkata")

#: A trading segment. ``cash`` is NSE and BSE equity and index; ``fno`` is NFO
#: and BFO; ``commodity`` is MCX; ``currency`` is NDX.
Segment = Literal["cash", "fno", "commodity", "currency"]

#: What an exchange does at a moment. Orders are taken in ``pre-open`` and matched
#: at one price in ``matching``; ``buffer`` leads over to ``open``, continuous trading.
#: A ``closing-auction`` takes orders and ends with one trade; ``post-close`` trades
#: at the closing price; ``break`` lies between two parts of a special session.
Phase = Literal[
    "closed", "pre-open", "matching", "buffer", "open", "break", "closing-auction", "post-close"
]


class Clock(Protocol):
    """Anything that tells the market time; tests inject their own."""

    def now(self) -> datetime:
        """Return the current aware time in Asia/Kolkata."""
        ...


class SystemClock:
    """The machine's clock, read in IST."""

    def now(self) -> datetime:
        """Return the current aware time in Asia/Kolkata."""
        return datetime.now(IST)


def now() -> datetime:
    """Return the current time as an aware Asia/Kolkata datetime."""
    return datetime.now(IST)


_market: Clock | None = None


def follow(market: Clock | None) -> None:
    """Let `market_now` tell the time of a market with a clock of its own; None is the wall's."""
    global _market  # noqa: PLW0603 - a process looks at one market
    _market = market


def market_now() -> datetime:
    """Return what time it is where prices are made, aware, Asia/Kolkata.

    It is `now`, except where the session is the practice market's and its
    clock is driven or a recorded day is replayed.
    """
    return now() if _market is None else _market.now()


def to_ist(value: datetime) -> datetime:
    """Return `value` in IST; a naive value is read as IST wall time."""
    if value.tzinfo is None:
        return value.replace(tzinfo=IST)
    return value.astimezone(IST)


def from_epoch(seconds: float) -> datetime:
    """Return the aware IST time of Unix `seconds`."""
    return datetime.fromtimestamp(seconds, tz=UTC).astimezone(IST)


@dataclass(frozen=True, slots=True)
class MarketHours:
    """When one segment trades on one date, aware IST, half-open [open, close)."""

    open: datetime
    close: datetime
    note: str = ""

    def __contains__(self, moment: datetime) -> bool:
        """Say whether `moment` lies in the half-open range."""
        return self.open <= moment < self.close


@dataclass(frozen=True, slots=True)
class PhaseHours:
    """One phase of one segment's day, aware IST, half-open [open, close)."""

    phase: Phase
    open: datetime
    close: datetime

    def __contains__(self, moment: datetime) -> bool:
        """Say whether `moment` lies in the half-open range."""
        return self.open <= moment < self.close


_SATURDAY: Final = 5
#: Holidays without even an evening session of commodities, but for Good Friday and Christmas.
_NATIONAL: Final = (
    "Republic Day",
    "Good Friday",
    "Independence Day",
    "Gandhi Jayanti",
    "Christmas",
)
#: When the evening session of commodities begins on other holidays, and the morning's ends.
_EVENING: Final = "17:00"


@functools.cache
def _calendar() -> dict[str, dict[str, str]]:
    text = resources.files("breeze_lab").joinpath("calendar.json").read_text("utf-8")
    data: dict[str, dict[str, str]] = json.loads(text)
    return data


def _hhmm(text: str) -> time:
    hour, minute = text.split(":")
    return time(int(hour), int(minute))


@functools.lru_cache(maxsize=8192)
def market_hours(segment: Segment, day: date) -> MarketHours | None:
    """Return the market hours of `segment` on `day`, or None when it is closed.

    Parameters
    ----------
    segment
        ``"cash"``, ``"fno"``, ``"commodity"`` or ``"currency"``.
    day
        A calendar date in India.

    Returns
    -------
    MarketHours or None
        Aware IST times. Holidays are known for the years listed in
        ``calendar.json``; outside them every weekday counts as a trading day.
    """
    calendar = _calendar()
    iso = day.isoformat()
    note, start, end, *only = calendar["special_sessions"].get(iso, "||").split("|")
    if not note or (only and segment not in only[0].split(",")):
        holiday = _holiday(segment, iso)
        usual = _newest(f"hours_{segment}", iso)
        closed = day.weekday() >= _SATURDAY or (holiday and not _has_evening(segment, holiday))
        if closed or not usual:
            return None
        note = ""
        start, end = usual.split("-")
        if holiday:
            note, start = "Evening session", _EVENING
        elif segment == "commodity" and iso in calendar["evening_closed"]:
            note, end = "Morning session", _EVENING
    return MarketHours(_at(day, start), _at(day, end), note)


def _at(day: date, text: str) -> datetime:
    return datetime.combine(day, _hhmm(text), IST)


def _newest(rules: str, iso: str) -> str:
    """Return the newest rule that has begun by a day; empty before the first, or without rules."""
    dated = sorted(_calendar().get(rules, {}).items())
    return next((rule for since, rule in reversed(dated) if since <= iso), "")


def _holiday(segment: Segment, iso: str) -> str | None:
    calendar = _calendar()
    # Currencies need the banks.
    banks = calendar["settlement_holidays"].get(iso) if segment == "currency" else None
    return calendar["holidays"].get(iso) or banks


def _has_evening(segment: Segment, holiday: str) -> bool:
    return segment == "commodity" and holiday not in _NATIONAL


@functools.lru_cache(maxsize=8192)
def phases(segment: Segment, day: date) -> tuple[PhaseHours, ...]:
    """Return the phases of `segment` on `day` in order; empty when it is closed.

    Between and around them it is closed. Phases before the open belong to
    special sessions too, as long before; those of the close do not. A day
    outside the calendar's years has the phases of an ordinary weekday.
    """
    hours = market_hours(segment, day)
    if hours is None:
        return ()
    calendar, iso = _calendar(), day.isoformat()
    rules = _newest(f"phases_{segment}", iso)
    found: list[PhaseHours] = []
    usual = _at(day, "09:15")
    whole_day = f"{hours.open:%H:%M}-{hours.close:%H:%M}" == _newest(f"hours_{segment}", iso)
    for rule in filter(None, rules.split(",")):
        one = _phase_of(day, rule)
        if one.close <= usual:
            shift = hours.open - usual
            found.append(PhaseHours(one.phase, one.open + shift, one.close + shift))
        elif whole_day:
            found.append(one)
    special = calendar["phases_special"].get(iso, "") if hours.note else ""
    found += [_phase_of(day, rule) for rule in filter(None, special.split(","))]
    inside = sorted((p for p in found if hours.open <= p.open < hours.close), key=_opening)
    opened = hours.open
    for one in inside:
        if opened < one.open:
            found.append(PhaseHours("open", opened, one.open))
        opened = one.close
    if opened < hours.close:
        found.append(PhaseHours("open", opened, hours.close))
    return tuple(sorted(found, key=_opening))


def _opening(found: PhaseHours) -> datetime:
    return found.open


def _phase_of(day: date, rule: str) -> PhaseHours:
    name, _, span = rule.partition(" ")
    start, _, end = span.partition("-")
    return PhaseHours(cast("Phase", name), _at(day, start), _at(day, end))


def phase(segment: Segment, moment: datetime) -> Phase:
    """Return the phase of `segment` at `moment`; a naive time is read as IST."""
    moment = to_ist(moment)
    return next((p.phase for p in phases(segment, moment.date()) if moment in p), "closed")


def is_settlement_day(day: date) -> bool:
    """Say whether shares and money of cash trades are settled on `day`.

    Exchanges trade on some days on which banks are closed; nothing settles then.
    """
    known = _calendar()["settlement_holidays"]
    return day.weekday() < _SATURDAY and is_trading_day(day) and day.isoformat() not in known


@functools.lru_cache(maxsize=8192)
def is_expiry_day(
    day: date, index: Literal["NIFTY", "SENSEX"] = "NIFTY", *, monthly: bool = False
) -> bool:
    """Say whether options on an index expire on `day`; False before there were weekly ones.

    Where the expiry's weekday is a holiday, it is the trading day before.

    Parameters
    ----------
    monthly
        Only the last expiry of a month.
    """
    if not is_trading_day(day, "fno"):
        return False
    nominal = day
    # The expiry that falls on this day is its weekday's, or that of a holiday after it.
    while not _is_nominal_expiry(nominal, index):
        nominal += timedelta(days=1)
        if is_trading_day(nominal, "fno") or nominal - day > timedelta(days=7):
            return False
    return not monthly or (nominal + timedelta(days=7)).month != nominal.month


def _is_nominal_expiry(day: date, index: str) -> bool:
    return f"{day:%A}" == _newest(f"expiry_{index}", day.isoformat())


def is_trading_day(day: date, segment: Segment = "cash") -> bool:
    """Say whether `segment` trades at all on `day`."""
    return market_hours(segment, day) is not None


def previous_trading_day(day: date, segment: Segment = "cash") -> date:
    """Return the last trading day strictly before `day`."""
    day -= timedelta(days=1)
    while not is_trading_day(day, segment):
        day -= timedelta(days=1)
    return day
