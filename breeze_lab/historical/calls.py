"""Calls of history: how many a range takes, and how the broker wants them spelled.

The broker cuts every answer silently to its newest 1,000 candles; the plan
keeps windows below that, and an answer that was cut all the same is noticed
and completed. What was fetched before is `breeze_lab.historical.work`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.bars import Interval
from breeze_lab.errors import BadResponse
from breeze_lab.settings import MAX_CANDLES_PER_CALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breeze_lab.instruments import Instrument
    from breeze_lab.limits import Priority
    from breeze_lab.session import Session

__all__ = ["NATIVE", "SOURCE", "Window", "call", "fetch", "opening", "plan", "reach_back"]

#: What the broker calls the intervals it has.
NATIVE: Final = {
    Interval.S1: "1second", Interval.M1: "1minute", Interval.M5: "5minute",
    Interval.M30: "30minute", Interval.D1: "1day",
}  # fmt: skip
#: The others are merged from a shorter native one.
SOURCE: Final = {
    Interval.S5: Interval.S1, Interval.M3: Interval.M1,
    Interval.M15: Interval.M5, Interval.H1: Interval.M30,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Window:
    """The range of one call, half-open [start, end), aware IST."""

    start: datetime
    end: datetime


def plan(
    instrument: Instrument, interval: Interval, start: datetime, end: datetime
) -> list[Window]:
    """Cut [start, end) into the fewest calls that stay below the broker's limit.

    Parameters
    ----------
    interval
        Any interval; the calls are made at the native one behind it.
    start, end
        Aware times.

    Returns
    -------
    list of Window
        Oldest first, without gaps. Its length is the price in calls when
        nothing of it is stored.
    """
    native = SOURCE.get(interval, interval)
    windows: list[Window] = []
    window_start, room = start, MAX_CANDLES_PER_CALL
    for piece_start, candles_in_it in _pieces(instrument, native, start, end):
        if candles_in_it > room:
            windows.append(Window(window_start, piece_start))
            window_start, room = piece_start, MAX_CANDLES_PER_CALL
        room -= candles_in_it
    if window_start < end:
        windows.append(Window(window_start, end))
    return [w for w in windows if w.start < w.end]


def _pieces(
    instrument: Instrument, native: Interval, start: datetime, end: datetime
) -> Iterator[tuple[datetime, int]]:
    """Yield stretches of market hours and the number of candles each can hold."""
    day = start.date()
    while day <= end.date():
        hours = clock.market_hours(instrument.segment, day)
        day += timedelta(days=1)
        if hours is None:
            continue
        if native is Interval.D1:
            yield hours.open.replace(hour=0, minute=0), 1
            continue
        at = max(hours.open, start)
        # A candle more than the clock says: a forming or closing one can be there too.
        longest = native.length * (MAX_CANDLES_PER_CALL - 1)
        while at < min(hours.close, end):
            until = min(at + longest, hours.close, end)
            yield at, -(-(until - at) // native.length) + 1
            at = until


def reach_back(instrument: Instrument, native: Interval, end: datetime, bars: int) -> datetime:
    """Return the midnight of a trading day early enough for `bars` bars before `end`."""
    day, left = end.date(), bars
    while True:
        hours = clock.market_hours(instrument.segment, day)
        if hours is not None and hours.open < end:
            one_day = native is Interval.D1
            left -= 1 if one_day else (min(hours.close, end) - hours.open) // native.length
            if left <= 0:
                return hours.open.replace(hour=0, minute=0)
        day -= timedelta(days=1)


def fetch(
    session: Session, instrument: Instrument, native: Interval, window: Window, priority: Priority
) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of one window and the calls it took.

    A cut answer is completed from its old end.
    """
    rows: list[dict[str, Any]] = []
    end, calls = window.end, 0
    while True:
        part = call(session, instrument, native, Window(window.start, end), priority)
        calls += 1
        rows = part + rows
        if len(part) < MAX_CANDLES_PER_CALL:
            return rows, calls
        oldest = opening(part[0])
        if not window.start < oldest < end:
            return rows, calls
        end = oldest


def call(
    session: Session,
    instrument: Instrument,
    native: Interval,
    window: Window,
    priority: Priority = "interactive",
) -> list[dict[str, Any]]:
    """Make one call; return its rows, oldest first.

    Raises
    ------
    NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse
    """
    fields: dict[str, Any] = instrument.broker_fields()
    rows = session.call(
        "get_historical_data_v2",
        priority=priority,
        interval=NATIVE[native],
        from_date=_broker_time(window.start),
        # The broker's range includes its end.
        to_date=_broker_time(window.end - timedelta(seconds=1)),
        **fields,
    )
    if not isinstance(rows, list):
        raise BadResponse(f"History answered {type(rows).__name__} instead of a list.")
    return rows


def opening(row: dict[str, Any]) -> datetime:
    """Return when a candle of the broker opens, aware IST.

    Raises
    ------
    BadResponse
    """
    try:
        return datetime.fromisoformat(row["datetime"]).replace(tzinfo=clock.IST)
    except (KeyError, TypeError, ValueError) as exc:
        raise BadResponse(f"History answered a candle that cannot be read ({exc!r:.80}).") from exc


def _broker_time(moment: datetime) -> str:
    """Return IST wall time with the Z the broker wants and does not mean."""
    return f"{clock.to_ist(moment):%Y-%m-%dT%H:%M:%S}.000Z"
