"""Frames: the ticks and bars of a stream as pandas shows them.

Loaded by the first frame, because pandas takes half a second.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from breeze_lab import clock, historical
from breeze_lab.widgets import live_data

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from breeze_lab.bars import Interval
    from breeze_lab.feed import FeedBar, FeedTick
    from breeze_lab.instruments import Instrument
    from breeze_lab.session import Session

__all__ = ["DayBars", "tick_frame"]

_NUMBERS: Final = (
    "last", "open", "high", "low", "previous_close", "change_percent", "bid", "bid_quantity",
    "ask", "ask_quantity", "last_quantity", "average_price", "volume", "open_interest",
)  # fmt: skip

#: A day may cost this many calls; of shorter bars only the newest thousand seconds are fetched.
_MOST_CALLS: Final = 4
_FEW_BARS: Final = 900
#: A hole is looked up in the broker's history at most this often, and not before it is written: a
#: bar asked for in the second of its end may lack the trades of that second.
_AGAIN_S: Final = 60.0
_WRITTEN_S: Final = 3.0


def tick_frame(ticks: Sequence[FeedTick]) -> pd.DataFrame:
    """Return ticks as one frame.

    Parameters
    ----------
    ticks
        In the order they came.

    Returns
    -------
    DataFrame, shape (n, 18)
        instrument (key), time (exchange time, Asia/Kolkata), prices in rupees,
        quantities in shares, NaN where the broker sent none; sequence, epoch.
        Index ``received``: when each reached this machine, Asia/Kolkata,
        milliseconds.
    """
    received = pd.to_datetime(
        np.array([tick.received_ms for tick in ticks], dtype="int64"), unit="ms", utc=True
    )
    moments = [tick.tick.exchange_time for tick in ticks]
    seconds = [float("nan") if one is None else one.timestamp() for one in moments]
    table: dict[str, Any] = {
        "instrument": [tick.key for tick in ticks],
        "time": pd.to_datetime(
            np.array(seconds, dtype="float64"), unit="s", utc=True
        ).tz_convert(clock.IST),
    }  # fmt: skip
    for name in _NUMBERS:
        table[name] = np.array([getattr(tick.tick, name) for tick in ticks], dtype="float64")
    for name in ("sequence", "epoch"):
        table[name] = np.array([getattr(tick, name) for tick in ticks], dtype="int64")
    return pd.DataFrame(table, index=received.tz_convert(clock.IST).rename("received"))


class DayBars:
    """Today's bars of one instrument and interval: the broker's history, then the relay's.

    Parameters
    ----------
    instrument, interval
        What.
    """

    def __init__(self, instrument: Instrument, interval: Interval) -> None:
        """Fetch nothing yet."""
        self._instrument, self._interval = instrument, interval
        self._history = historical.resample_frame(_no_bars(), interval)
        self._fetched_s = 0.0  # by the market's clock, as all times of bars
        self._asked_s = 0.0  # monotonic
        self._midnight: datetime | None = None

    def frame(self, session: Session | None, bars: Sequence[FeedBar]) -> pd.DataFrame:
        """Return the frame `Stream.bars` describes.

        Parameters
        ----------
        session
            Who fetches what was before the relay listened, and its holes; None
            for the relay's bars alone.
        bars
            Of the relay, ascending, the forming one last.

        Raises
        ------
        RequestError, SessionExpired
            What is there is given by the next call with no session.
        """
        midnight = clock.market_now().replace(hour=0, minute=0, second=0, microsecond=0)
        if midnight != self._midnight:
            self._midnight, self._fetched_s = midnight, 0.0
            self._history = _no_bars()
        bars = [bar for bar in bars if bar.bar.start >= midnight]
        if session is not None:
            since = midnight if not self._fetched_s else self._first_hole(bars)
            if since is not None:
                self._fetch(session, since)
        merged = live_data.merged(self._history, bars, self._interval, self._fetched_s)
        merged = merged.sort_index()
        merged["complete"] = self._complete(merged, bars)
        return merged

    def _first_hole(self, bars: Sequence[FeedBar]) -> datetime | None:
        """Return from where on to fetch once more; None when nothing is missing or known yet."""
        if time.monotonic() - self._asked_s < _AGAIN_S:
            return None
        now_s = clock.market_now().timestamp()
        known = self._history.index
        before = known[-1].to_pydatetime() if len(known) else self._midnight
        for bar in bars:
            opened_s = bar.bar.start.timestamp()
            ended_s = opened_s + self._interval.value
            missed = (
                opened_s > self._fetched_s
                if bar.forming
                else self._fetched_s < ended_s + _WRITTEN_S < now_s
            )
            if missed and not bar.whole:
                return before
            before = bar.bar.start
        return None

    def _fetch(self, session: Session, since: datetime) -> None:
        now = clock.market_now()
        fetched_s, until = now.timestamp(), now + timedelta(seconds=1)
        calls = len(historical.plan(self._instrument, self._interval, since, until))
        if calls > _MOST_CALLS:
            count = max(1, _FEW_BARS // self._interval.value)
            fresh = historical.latest(session, self._instrument, self._interval, count, max_calls=1)
            fresh = fresh[fresh.index >= pd.Timestamp(since)]
        else:
            fresh = historical.candles(session, self._instrument, self._interval, since, until)
        kept = self._history[self._history.index < pd.Timestamp(since)]
        self._history = pd.concat([kept, fresh]) if len(kept) else fresh
        self._fetched_s, self._asked_s = fetched_s, time.monotonic()

    def _complete(self, frame: pd.DataFrame, bars: Sequence[FeedBar]) -> list[bool]:
        """Say of each bar whether it has closed and nothing of it is missing."""
        heard = {bar.bar.start: bar for bar in bars}
        known = set(self._history.index)
        length_s, answer = self._interval.value, []
        for start in frame.index:
            bar = heard.get(start.to_pydatetime())
            written_s = start.timestamp() + length_s + _WRITTEN_S
            final = start in known and written_s <= self._fetched_s
            answer.append(final if bar is None else not bar.forming and (bar.whole or final))
        return answer


def _no_bars() -> pd.DataFrame:
    index = pd.DatetimeIndex([], tz=clock.IST, name="start")
    return pd.DataFrame({name: [] for name in historical.COLUMNS}, index=index, dtype="float64")
