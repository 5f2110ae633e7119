"""History: bars of the past as one frame, whatever number of calls that takes.

Owns the planning of calls, the broker's spelling of history and the documented
frame. The broker cuts every answer silently to its newest 1,000 candles; the
plan keeps windows below that and an answer that was cut all the same is
noticed and completed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.bars import Bar, Interval, resample
from breeze_lab.errors import BadResponse
from breeze_lab.settings import MAX_CANDLES_PER_CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from breeze_lab.instruments import Instrument
    from breeze_lab.limits import Priority
    from breeze_lab.session import Session

__all__ = ["COLUMNS", "Window", "bars", "candles", "latest", "plan", "resample_frame"]

#: Columns of every history frame, in order.
COLUMNS: Final = ("open", "high", "low", "close", "volume", "open_interest")

#: What the broker calls the intervals it has.
_NATIVE: Final = {
    Interval.S1: "1second", Interval.M1: "1minute", Interval.M5: "5minute",
    Interval.M30: "30minute", Interval.D1: "1day",
}  # fmt: skip
#: The others are merged from a shorter native one.
_SOURCE: Final = {
    Interval.S5: Interval.S1, Interval.M3: Interval.M1,
    Interval.M15: Interval.M5, Interval.H1: Interval.M30,
}  # fmt: skip


#: Up to this many calls somebody may be waiting in front of a chart.
_FEW_CALLS: Final = 3


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
        Oldest first, without gaps. Its length is the price in calls.
    """
    native = _SOURCE.get(interval, interval)
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


def candles(
    session: Session,
    instrument: Instrument,
    interval: Interval,
    start: datetime,
    end: datetime,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Return the bars of `instrument` that open in [start, end).

    Parameters
    ----------
    session
        The login to call with.
    interval
        Intervals the broker lacks (5s, 3m, 15m, 1h) are merged from shorter ones.
    start, end
        Naive times are read as IST.
    progress
        Called with (calls made, calls planned) after each call.

    Returns
    -------
    DataFrame, shape (n, 6)
        open, high, low, close in rupees; volume in shares; open_interest in
        shares (NaN for cash). Index ``start``: opening time of each bar,
        Asia/Kolkata, sorted, unique. Empty when nothing traded. ``attrs``
        hold the instrument's key, the interval and the source. The last bar
        is still forming when `end` lies in the future.

    Raises
    ------
    NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse
    """
    import pandas as pd  # noqa: PLC0415 - half a second, paid by the first frame

    start, end = clock.to_ist(start), clock.to_ist(end)
    native = _SOURCE.get(interval, interval)
    native_start, first = _beginning(instrument, interval, start)
    windows = plan(instrument, interval, native_start, end)
    # Many calls are a backfill, which leaves room for whoever waits for a single answer.
    priority: Priority = "interactive" if len(windows) <= _FEW_CALLS else "backfill"
    rows: list[dict[str, Any]] = []
    for number, window in enumerate(windows, 1):
        rows += _fetch(session, instrument, native, window, priority)
        if progress is not None:
            progress(number, len(windows))
    frame = _frame(rows)
    if native is not interval:
        frame = resample_frame(frame, interval, instrument.anchor_s)
    # The end is checked again because the older endpoint was seen returning a bar past it.
    frame = frame[(frame.index >= pd.Timestamp(first)) & (frame.index < pd.Timestamp(end))]
    frame.attrs.update(
        instrument=instrument.key, interval=interval.label, source=session.endpoints.name
    )
    return frame


def bars(
    session: Session,
    instrument: Instrument,
    interval: Interval,
    start: datetime,
    end: datetime,
    *,
    priority: Priority | None = None,
) -> list[Bar]:
    """Return what `candles` returns as plain values, for processes that do without pandas.

    Parameters
    ----------
    priority
        Of its calls; by default that of somebody who waits, or of a backfill when they are many.

    Returns
    -------
    list of Bar
        Sorted by opening time, each once; complete where it has ended by now.

    Raises
    ------
    NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse
    """
    start, end = clock.to_ist(start), clock.to_ist(end)
    native = _SOURCE.get(interval, interval)
    native_start, first = _beginning(instrument, interval, start)
    windows = plan(instrument, interval, native_start, end)
    priority = priority or ("interactive" if len(windows) <= _FEW_CALLS else "backfill")
    found: dict[datetime, Bar] = {}
    now = clock.now()
    try:
        for window in windows:
            for row in _fetch(session, instrument, native, window, priority):
                bar = _bar(row, native, now)
                found[bar.start] = bar
    except (KeyError, TypeError, ValueError) as exc:
        raise BadResponse(f"History answered a candle that cannot be read ({exc!r:.80}).") from exc
    merged = [found[moment] for moment in sorted(found)]
    if native is not interval:
        merged = resample(merged, interval, instrument.anchor_s)
    return [bar for bar in merged if first <= bar.start < end]


def _bar(row: dict[str, Any], native: Interval, now: datetime) -> Bar:
    interest = row.get("open_interest")
    opening = _opening(row)
    return Bar(
        opening, native, float(row["open"]), float(row["high"]), float(row["low"]),
        float(row["close"]), int(float(row.get("volume") or 0)),
        None if interest in (None, "") else int(float(interest)),
        complete=opening + native.length <= now,
    )  # fmt: skip


def _beginning(
    instrument: Instrument, interval: Interval, start: datetime
) -> tuple[datetime, datetime]:
    """Return from when to fetch, and when the first bar asked for opens at the earliest.

    A merged bar needs all its parts, so the first one is fetched from its opening on.
    """
    if interval not in _SOURCE:
        return start, start
    floor = interval.floor_epoch(int(start.timestamp()), instrument.anchor_s)
    opening = clock.from_epoch(floor)
    return opening, start if opening == start else opening + interval.length


def latest(
    session: Session,
    instrument: Instrument,
    interval: Interval,
    count: int = 500,
    *,
    max_calls: int = 4,
) -> pd.DataFrame:
    """Return the newest bars of `instrument`, the forming one last.

    Parameters
    ----------
    session
        The login to call with.
    count
        How many bars; fewer come back when `max_calls` calls did not find as many.

    Returns
    -------
    DataFrame, shape (at most count, 6)
        As `candles` returns it.

    Notes
    -----
    It leans on the broker's habit of cutting an answer to its newest candles:
    one call with an early enough start brings the last 1,000, whatever hours
    the market kept.
    """
    native = _SOURCE.get(interval, interval)
    wanted = count * (interval.value // native.value)
    until = clock.market_now() + timedelta(seconds=1)
    rows: list[dict[str, Any]] = []
    for _ in range(max_calls):
        start = _reach_back(
            instrument, native, until, min(wanted - len(rows), MAX_CANDLES_PER_CALL)
        )
        part = _call(session, instrument, native, Window(start, until))
        rows = part + rows
        until = _opening(part[0]) if part else start
        if len(rows) >= wanted:
            break
    frame = _frame(rows)
    if native is not interval:
        frame = resample_frame(frame, interval, instrument.anchor_s)
    frame = frame.iloc[-count:]
    frame.attrs.update(
        instrument=instrument.key, interval=interval.label, source=session.endpoints.name
    )
    return frame


def _reach_back(instrument: Instrument, native: Interval, end: datetime, bars: int) -> datetime:
    """Return the opening of a trading day early enough for `bars` bars before `end`."""
    day, left = end.date(), bars
    while True:
        hours = clock.market_hours(instrument.segment, day)
        if hours is not None and hours.open < end:
            one_day = native is Interval.D1
            left -= 1 if one_day else (min(hours.close, end) - hours.open) // native.length
            if left <= 0:
                return hours.open.replace(hour=0, minute=0)
        day -= timedelta(days=1)


def _fetch(
    session: Session, instrument: Instrument, native: Interval, window: Window, priority: Priority
) -> list[dict[str, Any]]:
    """Return the rows of one window; a cut answer is completed from its old end."""
    rows: list[dict[str, Any]] = []
    end = window.end
    while True:
        part = _call(session, instrument, native, Window(window.start, end), priority)
        rows = part + rows
        if len(part) < MAX_CANDLES_PER_CALL:
            return rows
        oldest = _opening(part[0])
        if not window.start < oldest < end:
            return rows
        end = oldest


def _call(
    session: Session,
    instrument: Instrument,
    native: Interval,
    window: Window,
    priority: Priority = "interactive",
) -> list[dict[str, Any]]:
    """Make one call; return its rows, oldest first."""
    fields: dict[str, Any] = instrument.broker_fields()
    rows = session.call(
        "get_historical_data_v2",
        priority=priority,
        interval=_NATIVE[native],
        from_date=_broker_time(window.start),
        # The broker's range includes its end.
        to_date=_broker_time(window.end - timedelta(seconds=1)),
        **fields,
    )
    if not isinstance(rows, list):
        raise BadResponse(f"History answered {type(rows).__name__} instead of a list.")
    return rows


def _opening(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["datetime"]).replace(tzinfo=clock.IST)


def _broker_time(moment: datetime) -> str:
    """Return IST wall time with the Z the broker wants and does not mean."""
    return f"{clock.to_ist(moment):%Y-%m-%dT%H:%M:%S}.000Z"


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - see candles

    from breeze_lab.indicators import accessor  # noqa: PLC0415 - needs pandas

    accessor.install()
    table = pd.DataFrame(rows, columns=["datetime", *COLUMNS])
    stamps = pd.to_datetime(table.pop("datetime"), format="ISO8601")
    table.index = pd.DatetimeIndex(stamps, name="start").tz_localize("Asia/Kolkata")
    for column in COLUMNS:
        table[column] = pd.to_numeric(table[column]).astype("float64")
    table["volume"] = table["volume"].fillna(0).astype("int64")
    return table[~table.index.duplicated(keep="last")].sort_index()


def resample_frame(frame: pd.DataFrame, interval: Interval, anchor_s: int = 33_300) -> pd.DataFrame:
    """Merge a frame's bars into longer ones, aligned to the exchange's opening.

    Periods without a bar are absent. See `breeze_lab.bars.resample`, its twin
    for single bars.
    """
    import pandas as pd  # noqa: PLC0415 - see candles

    if frame.empty:
        return frame
    seconds = pd.DatetimeIndex(frame.index).as_unit("s").asi8
    offset = 19_800 - (0 if interval is Interval.D1 else anchor_s)
    opening = (seconds + offset) // interval.value * interval.value - offset
    merged = frame.groupby(opening).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last",
         "volume": "sum", "open_interest": "last"}
    )  # fmt: skip
    merged.index = pd.DatetimeIndex(
        pd.to_datetime(merged.index, unit="s", utc=True), name="start"
    ).tz_convert("Asia/Kolkata")
    return merged
