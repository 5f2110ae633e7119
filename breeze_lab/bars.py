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
from typing import TYPE_CHECKING, Final, TypeAlias

from breeze_lab import clock
from breeze_lab.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.frames import Quote
    from breeze_lab.ticks import Tick

__all__ = ["Bar", "BarBuilder", "Fold", "Interval", "resample"]

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

    # There is one object of each, and an enumeration's own hash is slow where ticks are counted.
    __hash__ = object.__hash__

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


class Fold:
    """Several ticks in order, as far as a bar wants to know of them.

    All lie within one bar and one day, and either all or none of them tell the
    day's open, high and low.

    Parameters
    ----------
    epoch_s
        Exchange time of the first, Unix seconds.
    price, tick
        Of the first.
    day
        Whether they tell the day's open, high and low.
    """

    __slots__ = ("day", "epoch_s", "first", "high", "interest", "low", "most", "price", "tick")

    def __init__(self, epoch_s: int, price: float, tick: Tick | Quote, *, day: bool) -> None:
        """Hold one tick."""
        self.epoch_s = epoch_s
        self.day = day
        self.high = self.low = self.price = price
        self.first = self.most = tick.volume
        self.interest = tick.open_interest
        self.tick = tick

    def add(self, price: float, tick: Tick | Quote) -> None:
        """Take a further tick."""
        self.price = price
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self._count(tick.volume)
        interest = tick.open_interest
        if interest is not None:
            self.interest = interest
        self.tick = tick

    def join(self, later: Fold) -> None:
        """Take the ticks of a later fold."""
        self.price = later.price
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self._count(later.first)
        self._count(later.most)
        if later.interest is not None:
            self.interest = later.interest
        self.tick = later.tick

    def _count(self, volume: int | None) -> None:
        if volume is None:
            return
        if self.most is None:
            self.first = self.most = volume
        elif volume > self.most:
            self.most = volume


#: A closed bar: opening second, open, high, low, close, volume, open interest, complete.
Closed: TypeAlias = tuple[int, float, float, float, float, int, int | None, bool]


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
    trades between two snapshots is never seen. A day bar takes the day's open,
    high, low and volume from the quote itself, which carries them.
    """

    def __init__(self, interval: Interval, anchor_s: int = 33_300) -> None:
        """Start with no bar."""
        self.interval = interval
        self.anchor_s = anchor_s
        self.start_s: int | None = None
        self.whole = False
        self._end_s = 0
        self._open = self._high = self._low = self._close = 0.0
        self._volume = 0
        self._open_interest: int | None = None
        self._listening = False  # did we hear the tick before this one?
        self._day_volume: int | None = None
        self._day_end_s = 0

    @property
    def forming(self) -> Bar | None:
        """The bar that is not closed yet, or None before the first tick.

        `whole` says whether every tick since its opening was heard; `start_s`
        is its opening in Unix seconds.
        """
        return None if self.start_s is None else self._bar(complete=False)

    def values(self) -> tuple[int, float, float, float, float, int, int | None] | None:
        """Return the forming bar as plain numbers, beginning with `start_s`; or None."""
        if self.start_s is None:
            return None
        return (
            self.start_s, self._open, self._high, self._low, self._close, self._volume,
            self._open_interest,
        )  # fmt: skip

    def gap(self) -> None:
        """Note that ticks were missed: the forming bar can no longer be complete."""
        self.whole = self._listening = False
        self._day_volume = None

    def add(self, tick: Tick) -> Bar | None:
        """Take one tick; return the bar it closed, or None.

        A tick older than the forming bar is ignored: a closed bar never changes.
        """
        moment = tick.exchange_time
        return None if moment is None else self.add_at(int(moment.timestamp()), tick)

    def add_at(self, epoch_s: int, tick: Tick | Quote) -> Bar | None:
        """Do what `add` does for a tick whose exchange time in Unix seconds is known."""
        closed = self.take(epoch_s, tick)
        if closed is None:
            return None
        return Bar(clock.from_epoch(closed[0]), self.interval, *closed[1:])

    def take(self, epoch_s: int, tick: Tick | Quote) -> Closed | None:
        """Do what `add_at` does; return the closed bar as plain numbers."""
        price = tick.last
        if price is None:
            return None
        if self.start_s is not None and epoch_s < self.start_s:
            return None
        traded = self._traded(tick.volume, epoch_s)
        heard, self._listening = self._listening, True
        closed = None
        if self.start_s is None or epoch_s >= self._end_s:
            if self.start_s is not None:
                closed = (
                    self.start_s, self._open, self._high, self._low, self._close, self._volume,
                    self._open_interest, self.whole,
                )  # fmt: skip
            self.whole = heard
            self.start_s = self.interval.floor_epoch(epoch_s, self.anchor_s)
            self._end_s = self.start_s + self.interval.value
            self._open = self._high = self._low = price
            self._volume = 0
            self._open_interest = None
        elif price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._close = price
        self._volume += traded
        if tick.open_interest is not None:
            self._open_interest = tick.open_interest
        if self.interval is Interval.D1:
            self._take_day(tick)
        return closed

    def fold(self, fold: Fold) -> None:
        """Do what `add_at` does for each tick of `fold`, all of the forming bar or older."""
        if self.start_s is None or fold.epoch_s < self.start_s:
            return
        # The first says where the day stands, if nobody knows; only more than that counts after.
        traded = self._traded(fold.first, fold.epoch_s) + self._traded(fold.most, fold.epoch_s)
        self._listening = True
        self._high = max(self._high, fold.high)
        self._low = min(self._low, fold.low)
        self._close = fold.price
        self._volume += traded
        if fold.interest is not None:
            self._open_interest = fold.interest
        if fold.day and self.interval is Interval.D1:
            self._take_day(fold.tick)

    def _take_day(self, tick: Tick | Quote) -> None:
        """Replace what we saw of the day by what the quote says of it."""
        if tick.open is None or tick.high is None or tick.low is None:
            return
        self._open, self._high, self._low = tick.open, tick.high, tick.low
        self._volume = tick.volume or 0
        self.whole = True

    def _traded(self, volume: int | None, epoch_s: int) -> int:
        """Return the quantity traded since the previous tick."""
        if volume is None:
            return 0
        before, same_day = self._day_volume, epoch_s < self._day_end_s
        if not same_day:  # the count starts anew each day
            self._day_end_s = Interval.D1.floor_epoch(epoch_s) + _DAY
            self._day_volume = volume
            return 0 if before is None else volume
        if before is not None and volume <= before:  # repeated, late or corrected
            return 0
        self._day_volume = volume
        return 0 if before is None else volume - before

    def _bar(self, *, complete: bool) -> Bar:
        assert self.start_s is not None
        return Bar(
            clock.from_epoch(self.start_s), self.interval, self._open, self._high, self._low,
            self._close, self._volume, self._open_interest, complete,
        )  # fmt: skip


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
