"""Bars of any interval in any range, up to the current trade.

Answers what the broker's historical endpoints answer, still in whole ticks:
the newest bars whose opening time lies in the inclusive range. The bar that
forms now holds the trades that have happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.bars import Interval
from breeze_lab.practice.exchange import derivatives
from breeze_lab.practice.exchange.days import DAYS, midnight, number_at
from breeze_lab.practice.exchange.split import Bars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breeze_lab.practice.exchange.noise import Ints
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["LIMIT", "Series", "merge", "series", "visible_minutes", "visible_seconds"]

#: The broker cuts an answer to its newest 1,000 candles.
LIMIT: Final = 1000
#: Minutes split into seconds at a time while looking for the newest second bars.
_CHUNK: Final = 60


@dataclass(frozen=True, slots=True)
class Series:
    """Traded bars, ascending.

    Parameters
    ----------
    start
        Unix seconds at which each bar opens.
    bars
        Prices in ticks, volume in units.
    interest
        Open interest in lots after each bar; zeros where there is none.
    """

    start: Ints
    bars: Bars
    interest: Ints

    def __len__(self) -> int:
        """Return the count of bars."""
        return len(self.start)

    def take(self, index: Any) -> Series:
        """Return the bars at a numpy `index`."""
        return Series(
            self.start[index],
            self.bars.take(index),
            self.interest[index],
        )


def _empty() -> Series:
    none = np.empty(0, np.int64)
    return Series(none, Bars(none, none, none, none, none), none)


def _join(parts: list[Series]) -> Series:
    if not parts:
        return _empty()
    return Series(
        np.concatenate([p.start for p in parts]),
        Bars(
            np.concatenate([p.bars.open for p in parts]),
            np.concatenate([p.bars.high for p in parts]),
            np.concatenate([p.bars.low for p in parts]),
            np.concatenate([p.bars.close for p in parts]),
            np.concatenate([p.bars.volume for p in parts]),
        ),
        np.concatenate([p.interest for p in parts]),
    )


def merge(fine: Series, start: Ints) -> Series:
    """Return `fine` merged; `start` tells for each of its bars where the merged one opens."""
    if not len(fine):
        return fine
    first = np.flatnonzero(np.diff(start, prepend=start[0] - 1))
    last = np.append(first[1:], len(start)) - 1
    bars = fine.bars
    return Series(
        start[first],
        Bars(
            bars.open[first],
            np.maximum.reduceat(bars.high, first),
            np.minimum.reduceat(bars.low, first),
            bars.close[last],
            np.add.reduceat(bars.volume, first),
        ),
        fine.interest[last],
    )


def visible_minutes(prices: Prices, contract: Contract, number: int, now_ms: int) -> Series:
    """Return the traded minutes of a day that have begun; the last one may be forming."""
    bars = prices.minutes(contract, number)
    hours = prices.hours(contract, number)
    if bars is None or hours is None:
        return _empty()
    start = midnight(number) + 60 * (hours[0] + np.arange(hours[1]))
    if contract.expiry is not None:
        interest = derivatives.open_interest(prices, contract, number)
    else:
        interest = np.zeros(hours[1], np.int64)
    past = np.flatnonzero((bars.volume > 0) & (start * 1000 + 60_000 <= now_ms))
    found = Series(start[past], bars.take(past), interest[past])
    forming = (now_ms // 1000 - int(start[0])) // 60
    if 0 <= forming < hours[1] and bars.volume[forming]:
        opened = int(start[forming])
        part = _happened(prices, contract, (number, forming), now_ms)
        found = _join([found, merge(part, np.full(len(part), opened))])
    return found


def _happened(prices: Prices, contract: Contract, place: tuple[int, int], now_ms: int) -> Series:
    """Return the seconds of the forming minute (day, slot) made of the trades until now."""
    number, minute = place
    opened = midnight(number) + 60 * ((prices.hours(contract, number) or (0, 0))[0] + minute)
    trades = prices.trades(contract, number, minute)
    count = int(np.searchsorted(trades.time_ms, now_ms - opened * 1000, side="right"))
    price = trades.price[:count]
    second = trades.time_ms[:count] // 1000
    ticks = Series(
        opened + second,
        Bars(price, price, price, price, trades.volume[:count]),
        _interest(prices, contract, number, np.array([minute]))[0][second],
    )
    return merge(ticks, ticks.start)


def _interest(prices: Prices, contract: Contract, number: int, minutes: Ints) -> Ints:
    """Return the open interest after each second of some minutes, shape (minutes, 60)."""
    if contract.expiry is None:
        return np.zeros((len(minutes), 60), np.int64)
    return derivatives.second_interest(prices, contract, number, minutes)


def series(
    prices: Prices, contract: Contract, interval: Interval, span: tuple[int, int], now_ms: int
) -> Series:
    """Return the newest `LIMIT` bars that open in `span`.

    Parameters
    ----------
    span
        Unix seconds, both ends inclusive. Of day bars only the dates count.
    now_ms
        Market time; nothing after it is known.
    """
    start, end = span[0], min(span[1], now_ms // 1000)
    if interval is Interval.D1:
        return _day_bars(prices, contract, number_at(start), number_at(end), now_ms)
    lowest = interval.floor_epoch(start + interval.value - 1, contract.anchor_s)
    highest = interval.floor_epoch(end, contract.anchor_s) + interval.value
    parts: list[Series] = []
    count = 0
    for part in _newest_first(prices, contract, interval, (lowest, highest), now_ms):
        opened = part.start
        if interval.value > Interval.M1.value:
            offset = np.int64(interval.floor_epoch(0, contract.anchor_s))
            opened = (opened - offset) // interval.value * interval.value + offset
        merged = merge(part, opened)
        parts.append(merged)
        count += len(merged)
        if count > LIMIT:
            break
    whole = _join(parts[::-1])
    # A half-hour bar can hold the end of one 24-hour market day and the start of the next.
    return merge(whole, whole.start).take(slice(-LIMIT, None))


def _newest_first(
    prices: Prices, contract: Contract, interval: Interval, span: tuple[int, int], now_ms: int
) -> Iterator[Series]:
    lowest, highest = span
    first_day = max(number_at(lowest), 1)
    for number in range(min(number_at(highest - 1), DAYS - 1), first_day - 1, -1):
        if not prices.is_open_day(contract, number):
            continue
        minutes = visible_minutes(prices, contract, number, now_ms)
        margin = 59 if interval is Interval.S1 else 0
        wanted = (minutes.start > lowest - 1 - margin) & (minutes.start < highest)
        minutes = minutes.take(wanted)
        if interval is not Interval.S1:
            yield minutes
            continue
        for stop in range(len(minutes), 0, -_CHUNK):
            chunk = minutes.take(slice(max(stop - _CHUNK, 0), stop))
            seconds = visible_seconds(prices, contract, chunk, now_ms)
            yield seconds.take((seconds.start >= lowest) & (seconds.start < highest))


def visible_seconds(prices: Prices, contract: Contract, minutes: Series, now_ms: int) -> Series:
    """Return the traded seconds of some of a day's `visible_minutes`; the last may be forming."""
    number = number_at(int(minutes.start[0]))
    first = midnight(number) + 60 * (prices.hours(contract, number) or (0, 0))[0]
    slots = (minutes.start - first) // 60
    split = prices.seconds(contract, number, slots)
    start = minutes.start[:, None] + np.arange(60)
    known = (split.volume > 0) & (start * 1000 + 1000 <= now_ms)
    interest = _interest(prices, contract, number, slots)
    found = Series(start[known], split.take(known), interest[known])
    opened = int(minutes.start[-1])
    if opened <= now_ms // 1000 < opened + 60:
        place = (number, int(slots[-1]))
        part = _happened(prices, contract, place, now_ms)
        found = _join([found, part.take(part.start >= now_ms // 1000)])
    return found


def _day_bars(prices: Prices, contract: Contract, first: int, last: int, now_ms: int) -> Series:
    today = number_at(now_ms / 1000)
    numbers: list[int] = []
    for number in range(min(last, today, DAYS - 1), max(first, 1) - 1, -1):
        if prices.is_open_day(contract, number):
            numbers.append(number)
            if len(numbers) == LIMIT:
                break
    numbers.reverse()
    parts: list[Series] = []
    if contract.expiry is None and numbers:
        past = np.array([n for n in numbers if n < today], np.int64)
        if len(past):
            starts = np.array([midnight(int(n)) for n in past], np.int64)
            parts.append(Series(starts, prices.days(contract, past), np.zeros(len(past), np.int64)))
        numbers = [n for n in numbers if n >= today]
    for number in numbers:
        minutes = visible_minutes(prices, contract, number, now_ms)
        parts.append(merge(minutes, np.full(len(minutes), midnight(number))))
    return _join(parts)
