"""Answers: bars of the past as one frame or as plain values, at any interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from breeze_lab import clock
from breeze_lab.bars import Bar, Interval, resample
from breeze_lab.historical.blocks import Block, resample_frame
from breeze_lab.historical.calls import SOURCE
from breeze_lab.historical.series import Series
from breeze_lab.historical.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pandas as pd

    from breeze_lab.instruments import Instrument
    from breeze_lab.limits import Priority
    from breeze_lab.session import Session

__all__ = ["bars", "candles", "latest", "newest", "price"]


def candles(
    session: Session,
    instrument: Instrument,
    interval: Interval,
    start: datetime,
    end: datetime,
    *,
    progress: Callable[[int, int], None] | None = None,
    before: Callable[[int], None] | None = None,
    stored: bool = True,
) -> pd.DataFrame:
    """Return the bars of `instrument` that open in [start, end), fetching only what is missing.

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
    before
        Called once with the price in calls before the first is made, not at
        all when everything is stored. What it raises ends the work.
    stored
        False asks the broker for everything, and keeps nothing.

    Returns
    -------
    DataFrame, shape (n, 6)
        open, high, low, close in rupees; volume in shares; open_interest in
        shares (NaN for cash). Index ``start``: opening time of each bar,
        Asia/Kolkata, sorted, unique. Empty when nothing traded. The last bar
        is still forming when `end` lies in the future.

        ``attrs`` hold ``instrument`` (its key), ``interval``, ``source``
        (``"icici"`` or ``"practice"``), ``calls`` (made for this frame),
        ``stored`` (native bars that were on disk) and ``fetched`` (ISO, IST:
        when the oldest of them was asked of the broker; None of nothing);
        ``unkept`` is there when what was fetched could not be kept, and says why.

    Raises
    ------
    NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse
        What was fetched before it is kept, and not asked for again.
    HistoryError
        A stored file is of a newer Breeze Lab.

    Warns
    -----
    HistoryWarning
        A stored file was damaged, or what was fetched could not be kept. The
        frame is complete all the same.
    """
    start, end = clock.to_ist(start), clock.to_ist(end)
    native_start, first = _beginning(instrument, interval, start)
    work = Work(session, instrument, SOURCE.get(interval, interval), stored=stored)
    block = work.range(native_start, end, progress, before)
    frame = _frame(work, block, interval)
    frame = frame[(frame.index >= first) & (frame.index < end)]
    frame.attrs.update(_said(work, interval))
    return frame


def bars(
    session: Session,
    instrument: Instrument,
    interval: Interval,
    start: datetime,
    end: datetime,
    *,
    priority: Priority | None = None,
    stored: bool = True,
) -> list[Bar]:
    """Return what `candles` returns as plain values, for processes that do without pandas.

    Parameters
    ----------
    priority
        Of its calls; by default that of somebody who waits, or of a backfill when they are many.
    stored
        As `candles` takes it.

    Returns
    -------
    list of Bar
        Sorted by opening time, each once; complete where it has ended by now.

    Raises
    ------
    NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse, HistoryError
    """
    start, end = clock.to_ist(start), clock.to_ist(end)
    native = SOURCE.get(interval, interval)
    native_start, first = _beginning(instrument, interval, start)
    now = clock.now()
    work = Work(session, instrument, native, stored=stored, priority=priority)
    merged = work.range(native_start, end).bars(native, now)
    if native is not interval:
        merged = resample(merged, interval, instrument.anchor_s)
    return [bar for bar in merged if first <= bar.start < end]


def latest(
    session: Session,
    instrument: Instrument,
    interval: Interval,
    count: int = 500,
    *,
    max_calls: int = 4,
    stored: bool = True,
) -> pd.DataFrame:
    """Return the newest bars of `instrument`, the forming one last.

    Parameters
    ----------
    session
        The login to call with.
    count
        How many bars; fewer come back when `max_calls` calls did not find as many.
    stored
        As `candles` takes it.

    Returns
    -------
    DataFrame, shape (at most count, 6)
        As `candles` returns it.

    Raises
    ------
    NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse, HistoryError
    """
    return newest(
        session, instrument, interval, count, max_calls=max_calls, stored=stored
    ).frame  # fmt: skip


def newest(
    session: Session,
    instrument: Instrument,
    interval: Interval,
    count: int = 500,
    *,
    max_calls: int = 4,
    stored: bool = True,
) -> Series:
    """Return what `latest` does as numbers, and its frame when that is looked at.

    Parameters and errors are those of `latest`; everything is fetched when this returns.
    """
    native = SOURCE.get(interval, interval)
    work = Work(session, instrument, native, stored=stored)
    block = work.newest(count * (interval.value // native.value), max_calls)
    said = _said(work, interval)

    def make() -> pd.DataFrame:
        frame = _frame(work, block, interval).iloc[-count:]
        frame.attrs.update(said)
        return frame

    if native is not interval:  # pandas merges
        return Series.of_frame(make())
    return Series(Block(block.start[-count:], block.data[-count:]), make)


def price(
    session: Session, instrument: Instrument, interval: Interval, start: datetime, end: datetime
) -> int:
    """Return how many calls `candles` would make for a range now.

    Raises
    ------
    HistoryError
    """
    start, end = clock.to_ist(start), clock.to_ist(end)
    native_start, _ = _beginning(instrument, interval, start)
    work = Work(session, instrument, SOURCE.get(interval, interval))
    return len(work.plan(native_start, end))


def _frame(work: Work, block: Block, interval: Interval) -> pd.DataFrame:
    from breeze_lab.indicators import accessor  # noqa: PLC0415 - needs pandas

    frame = block.frame()
    accessor.install()  # a frame of bars has `.ta`
    if work.native is not interval:
        frame = resample_frame(frame, interval, work.instrument.anchor_s)
    return frame


def _said(work: Work, interval: Interval) -> dict[str, Any]:
    """Return what a frame tells of itself; plain values, because a frame may be written as JSON."""
    fetched = None
    if work.fetched is not None:
        fetched = clock.from_epoch(work.fetched).isoformat(timespec="seconds")
    unkept = {"unkept": work.unkept} if work.unkept else {}
    return {
        "instrument": work.instrument.key, "interval": interval.label,
        "source": work.session.endpoints.name, "calls": work.calls, "stored": work.from_disk,
        "fetched": fetched, **unkept,
    }  # fmt: skip


def _beginning(
    instrument: Instrument, interval: Interval, start: datetime
) -> tuple[datetime, datetime]:
    """Return from when to fetch, and when the first bar asked for opens at the earliest.

    A merged bar needs all its parts, so the first one is fetched from its opening on.
    """
    if interval not in SOURCE:
        return start, start
    floor = interval.floor_epoch(int(start.timestamp()), instrument.anchor_s)
    opening = clock.from_epoch(floor)
    return opening, start if opening == start else opening + interval.length
