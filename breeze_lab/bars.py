"""Bars: what an interval is, how ticks become bars and how bars become longer bars.

Pure values, no network, no disk. Every bar is labelled by its opening time in
IST. Intraday bars are aligned to the opening of the exchange (09:15 for NSE
and BSE, 09:00 for MCX and NDX), so that a 30-minute bar starts at 09:15, 09:45
and so on, the way the broker stamps them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from breeze_lab import clock
from breeze_lab.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.ticks import Tick

__all__ = ["Bar", "BarBuilder", "Interval", "resample"]

_DAY: Final = 86_400
#: IST is UTC+5:30 and has had no daylight saving since 1945.
_IST_OFFSET: Final = 19_800


class Interval(Enum):
    """The length of a bar; its value is the length in seconds."""

    S1 = 1
    S5 = 5
    M1 = 60
    M3 = 180
    M5 = 300
    M15 = 900
    M30 = 1800
    H1 = 3600
    D1 = _DAY

    @classmethod
    def parse(cls, text: str | Interval) -> Interval:
        """Return the interval called `text`.

        Parameters
        ----------
        text
            ``"1s" "5s" "1m" "3m" "5m" "15m" "30m" "1h" "1d"`` or the broker's
            spelling (``"1minute"``, ``"1day"``).

        Raises
        ------
        SettingsError
            When there is no such interval.

        Examples
        --------
        >>> Interval.parse("5minute")
        <Interval.M5: 300>
        """
        if isinstance(text, Interval):
            return text
        wanted = text.strip().lower()
        for name, unit in (("second", "s"), ("minute", "m"), ("hour", "h"), ("day", "d")):
            wanted = wanted.replace(name + "s", unit).replace(name, unit)
        found = _BY_LABEL.get(wanted if wanted[:1].isdigit() else "1" + wanted)
        if found is None:
            message = f"No interval is called {text!r}. Use one of: {', '.join(_BY_LABEL)}."
            raise SettingsError(message)
        return found

    @property
    def label(self) -> str:
        """The short name, ``"1m"``."""
        unit, size = {"S": "s", "M": "m", "H": "h", "D": "d"}[self.name[0]], self.name[1:]
        return f"{size}{unit}"

    @property
    def length(self) -> timedelta:
        """The length of one bar."""
        return timedelta(seconds=self.value)

    def floor_epoch(self, epoch_s: int, anchor_s: int = 33_300) -> int:
        """Return the Unix second at which the bar holding `epoch_s` opens.

        Parameters
        ----------
        epoch_s
            Unix seconds.
        anchor_s
            Seconds after IST midnight at which bars start to count: 33,300 is
            09:15. Day bars start at midnight whatever the anchor.
        """
        offset = _IST_OFFSET if self is Interval.D1 else _IST_OFFSET - anchor_s
        return (epoch_s + offset) // self.value * self.value - offset


_BY_LABEL: Final = {interval.label: interval for interval in Interval}


@dataclass(frozen=True, slots=True)
class Bar:
    """Open, high, low and close of one interval.

    Parameters
    ----------
    start
        Opening time of the bar, aware, Asia/Kolkata.
    interval
        Length of the bar.
    open, high, low, close
        Rupees.
    volume
        Shares (contracts times lot for derivatives).
    open_interest
        None for cash.
    complete
        False while the bar forms, and for ever when ticks of it were missed.
    """

    start: datetime
    interval: Interval
    open: float
    high: float
    low: float
    close: float
    volume: int
    open_interest: int | None = None
    complete: bool = True


class BarBuilder:
    """Build the bars of one instrument and interval from its ticks, in order.

    The first tick after construction (or after `gap`) only tells where the
    market stands: its trade happened before we listened, so it sets the
    reference for the day's volume and opens a bar that is not complete.

    Parameters
    ----------
    interval
        Length of the bars.
    anchor_s
        See `Interval.floor_epoch`.

    Notes
    -----
    Volume is the difference of the day's cumulative traded quantity between
    ticks, because quotes are snapshots and the last traded quantity of the
    trades between two snapshots is never seen.
    """

    def __init__(self, interval: Interval, anchor_s: int = 33_300) -> None:
        """Start with no bar."""
        self.interval = interval
        self.anchor_s = anchor_s
        self.forming: Bar | None = None
        self._whole = False  # did we hear everything since the forming bar opened?
        self._listening = False  # did we hear the tick before this one?
        self._day_volume: int | None = None
        self._day_start = 0

    def gap(self) -> None:
        """Note that ticks were missed: the forming bar can no longer be complete."""
        self._whole = self._listening = False
        self._day_volume = None

    def add(self, tick: Tick) -> Bar | None:
        """Take one tick; return the bar it closed, or None.

        A tick older than the forming bar is ignored: a closed bar never changes.
        """
        if tick.last is None or tick.exchange_time is None:
            return None
        epoch_s = int(tick.exchange_time.timestamp())
        start = clock.from_epoch(self.interval.floor_epoch(epoch_s, self.anchor_s))
        bar = self.forming
        if bar is not None and start < bar.start:
            return None
        traded = self._traded(tick.volume, epoch_s)
        heard, self._listening = self._listening, True
        if bar is not None and start == bar.start:
            oi = tick.open_interest
            self.forming = replace(
                bar,
                high=max(bar.high, tick.last),
                low=min(bar.low, tick.last),
                close=tick.last,
                volume=bar.volume + traded,
                open_interest=bar.open_interest if oi is None else oi,
            )
            return None
        closed = None if bar is None else replace(bar, complete=self._whole)
        self._whole = heard
        price = tick.last
        self.forming = Bar(
            start, self.interval, price, price, price, price, traded, tick.open_interest,
            complete=False,
        )  # fmt: skip
        return closed

    def _traded(self, volume: int | None, epoch_s: int) -> int:
        """Return the quantity traded since the previous tick."""
        before, self._day_volume = self._day_volume, volume
        day = Interval.D1.floor_epoch(epoch_s)
        same_day, self._day_start = day == self._day_start, day
        if volume is None or before is None:
            return 0
        # The count starts anew each day; a smaller one on the same day is a correction.
        return max(volume - before, 0) if same_day else volume


def resample(bars: Iterable[Bar], interval: Interval, anchor_s: int = 33_300) -> list[Bar]:
    """Merge consecutive shorter bars into bars of `interval`.

    Parameters
    ----------
    bars
        Sorted by opening time, all shorter than or as long as `interval`.

    Returns
    -------
    list of Bar
        Sorted; complete only where every part is. Periods without a bar are
        absent, as they are from the broker's answers.
    """
    merged: list[Bar] = []
    for bar in bars:
        start = clock.from_epoch(interval.floor_epoch(int(bar.start.timestamp()), anchor_s))
        if merged and merged[-1].start == start:
            last = merged[-1]
            merged[-1] = replace(
                last,
                high=max(last.high, bar.high),
                low=min(last.low, bar.low),
                close=bar.close,
                volume=last.volume + bar.volume,
                open_interest=bar.open_interest,
                complete=last.complete and bar.complete,
            )
        else:
            merged.append(replace(bar, start=start, interval=interval))
    return merged
