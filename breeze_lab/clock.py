"""Market time: Indian Standard Time, the exchange calendar and market hours.

Owns what "now" is, how text and naive values become aware times, and when a
segment trades on a date. Market hours are dated data (``calendar.json``), not
constants, because exchanges change them. Nothing here reads the machine's
time zone or locale.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib import resources
from typing import Final, Literal, Protocol
from zoneinfo import ZoneInfo

__all__ = [
    "IST",
    "Clock",
    "MarketHours",
    "Segment",
    "SystemClock",
    "from_epoch",
    "is_trading_day",
    "market_hours",
    "now",
    "previous_trading_day",
    "to_ist",
]

IST: Final = ZoneInfo("Asia/Kolkata")

#: A trading segment. ``cash`` is NSE and BSE equity and index; ``fno`` is NFO
#: and BFO; ``commodity`` is MCX; ``currency`` is NDX.
Segment = Literal["cash", "fno", "commodity", "currency"]


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


_SATURDAY: Final = 5


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
    special = calendar["special_sessions"].get(day.isoformat())
    if special is not None:
        note, start, end = special.split("|")
    else:
        if day.weekday() >= _SATURDAY or day.isoformat() in calendar["holidays"]:
            return None
        note = ""
        # The newest rule that has begun by `day` holds.
        rules = sorted(calendar[f"hours_{segment}"].items())
        rule = next((r for since, r in reversed(rules) if since <= day.isoformat()), None)
        if rule is None:  # before the segment existed
            return None
        start, end = rule.split("-")
    return MarketHours(
        datetime.combine(day, _hhmm(start), IST), datetime.combine(day, _hhmm(end), IST), note
    )


def is_trading_day(day: date, segment: Segment = "cash") -> bool:
    """Say whether `segment` trades at all on `day`."""
    return market_hours(segment, day) is not None


def previous_trading_day(day: date, segment: Segment = "cash") -> date:
    """Return the last trading day strictly before `day`."""
    day -= timedelta(days=1)
    while not is_trading_day(day, segment):
        day -= timedelta(days=1)
    return day
