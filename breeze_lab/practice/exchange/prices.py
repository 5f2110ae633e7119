"""What everything costs and when: day bars, minutes, seconds and trades.

Pure functions of (seed, open_since, character, contract, time), nothing is
stored. A calendar-day walk (`daily`) and the way of a day (`paths`) give every
date a day bar; `split` turns a day into minutes, a minute into seconds, a
second into trades, as busy as `tempo` says. Futures and options follow their underlying
minute by minute (`derivatives`), a stock on BSE its NSE listing day by day, an
index is made of its `constituents`. Prices are whole ticks here, and sound:
what is wrong in history answers is put there by `oddities`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab import clock
from breeze_lab.practice.exchange import derivatives, tempo
from breeze_lab.practice.exchange.actions import base_factor
from breeze_lab.practice.exchange.character import Character
from breeze_lab.practice.exchange.daily import band, halt_numbers, make_walk, market_moves
from breeze_lab.practice.exchange.days import DAY_MINUTES, DAYS, day_number, day_of
from breeze_lab.practice.exchange.noise import Floats, Ints, bits, key_of, uniform
from breeze_lab.practice.exchange.paths import extremes, minute_closes
from breeze_lab.practice.exchange.split import BOTH_EXTREMES, Bars, share, split
from breeze_lab.practice.exchange.universe import RUPEE, Contract

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

__all__ = ["Prices", "Trades"]

#: Rupees traded in a day.
_TURNOVER: Final = {"A": 1.2e10, "B": 2.5e9, "C": 1.5e8, "M": 1e9, "X": 1e9}
#: What is left of that for a stock that trades rarely.
_SPARSE_PART: Final = 0.01
#: Units an index "trades" in a second, and how many make a further trade of a busy second. Only
#: what everybody watches has many: a thousand rooms cost a thousand times a room.
_INDEX_UNITS: Final = 96
_UNITS_PER_TRADE: Final = {"A": 2, "B": 24, "C": 24, "I": 12, "M": 12, "X": 12}


@dataclass(frozen=True, slots=True)
class Trades:
    """The trades of one minute in order.

    Parameters
    ----------
    time_ms
        Milliseconds after the minute's start.
    price
        Ticks.
    volume
        Units.
    """

    time_ms: Ints
    price: Ints
    volume: Ints


class Prices:
    """The price of everything at any time.

    Parameters
    ----------
    seed
        Another seed, another market.
    open_since
        From this date on every calendar day is one market day of 24 hours;
        None keeps true hours for ever.
    character
        Which traits of a real market it has; all of them unless said.
    """

    def __init__(
        self, seed: int, open_since: date | None, character: Character | None = None
    ) -> None:
        """Prepare caches; nothing is computed yet."""
        self.seed = seed
        self.open_since = open_since
        self.character = Character() if character is None else character
        self.walk = functools.lru_cache(maxsize=2048)(functools.partial(make_walk, self))
        self.minutes = functools.lru_cache(maxsize=1024)(self._make_minutes)
        self.minute_seconds = functools.lru_cache(maxsize=4096)(self._make_minute_seconds)
        self.circuit = functools.lru_cache(maxsize=16384)(self._make_circuit)
        self.close_before = functools.lru_cache(maxsize=4096)(self._make_close_before)
        self.key = functools.lru_cache(maxsize=4096)(lambda *parts: key_of(seed, *parts))

    # -- when ---------------------------------------------------------------

    def hours(self, contract: Contract, number: int) -> tuple[int, int] | None:
        """Return (first minute of the day, count of minutes), or None when closed."""
        day = day_of(number)
        if self.open_since is not None and day >= self.open_since:
            return 0, DAY_MINUTES
        found = clock.market_hours(contract.segment, day)
        if found is None:
            return None
        first = found.open.hour * 60 + found.open.minute
        return first, found.close.hour * 60 + found.close.minute - first

    def is_open_day(self, contract: Contract, number: int) -> bool:
        """Whether the contract trades on day `number`: it lives and the market opens."""
        if not 0 < number < DAYS:
            return False
        if contract.expiry is not None:
            expiry = day_number(contract.expiry)
            if not expiry - derivatives.life_days(contract) <= number <= expiry:
                return False
        return self.hours(contract, number) is not None

    def previous_open_day(self, contract: Contract, number: int) -> int | None:
        """Return the last market day of the contract strictly before `number`."""
        for earlier in range(number - 1, max(number - 15, 0), -1):
            if self.is_open_day(contract, earlier):
                return earlier
        return None

    # -- days ---------------------------------------------------------------

    @functools.cached_property
    def halts(self) -> tuple[int, ...]:
        """The day numbers on which the whole market halts for a while."""
        return halt_numbers(self)

    @functools.cached_property
    def market(self) -> Floats:
        """The whole market's part of every calendar day's move, in deviations."""
        return market_moves(self)

    def is_sparse(self, contract: Contract) -> bool:
        """Whether a small stock trades in few minutes of the day only."""
        return tempo.is_sparse(self, contract)

    def day_closes(self, contract: Contract, numbers: Ints) -> Ints:
        """Return the close of calendar days in ticks, whether the market opened or not."""
        return self.walk(contract).close[numbers].astype(np.int64)

    def days(self, contract: Contract, numbers: Ints) -> Bars:
        """Return the day bars of a stock, an index or a spot on calendar days."""
        walk = self.walk(contract)
        o, c = (x[numbers].astype(np.int64) for x in (walk.open, walk.close))
        high, low = extremes(self, contract, numbers, (o, c))
        return Bars(o, high, low, c, self._day_volume(contract, numbers, c))

    def _day_volume(self, contract: Contract, numbers: Ints, close: Ints) -> Ints:
        if contract.kind == "index":
            # As much each second as a liquid stock, so that it ticks as often; nobody is told.
            counts = [(self.hours(contract, int(n)) or (0, 375))[1] for n in numbers]
            return np.array(counts, np.int64) * (60 * _INDEX_UNITS)
        word = bits(self.key("volume", contract.key), numbers)
        size = 0.35 + 1.3 * uniform(bits(self.key("size", contract.key), np.zeros(1, np.int64)))
        turnover = _TURNOVER[contract.tier] * (0.12 if contract.exchange == "BSE" else 1.0)
        rupees = close * (contract.tick / RUPEE)
        if self.is_sparse(contract):
            turnover *= _SPARSE_PART
        shares = turnover / rupees * size * (0.5 + uniform(word) + uniform(word << np.uint64(32)))
        return np.maximum(shares.astype(np.int64), 60)

    def _make_close_before(self, contract: Contract, number: int) -> float:
        """Return the close in rupees of the calendar day before `number`."""
        close = self.day_closes(contract, np.array([number - 1]))[0]
        return float(close) * contract.tick / RUPEE

    def _make_circuit(self, contract: Contract, number: int) -> tuple[int, int]:
        """Return the lower and upper circuit limit of a day in ticks."""
        if contract.expiry is not None:
            return derivatives.circuit(self, contract, number)
        base = self._base(contract, self.previous_open_day(contract, number) or number - 1, number)
        move = band(contract, base)
        return max(base - move, 1), base + move

    def _base(self, contract: Contract, previous: int, number: int) -> int:
        """Return what day `number` is compared with: a close, changed by the day's action."""
        close = int(self.day_closes(contract, np.array([previous]))[0])
        return self._adjusted(contract, close, number)

    def _adjusted(self, contract: Contract, close: int, number: int) -> int:
        if not self.character.actions:
            return close
        return max(round(close * base_factor(contract, number)), 1)

    def previous_close(self, contract: Contract, number: int) -> int | None:
        """Return the last visible close before day `number`, in ticks; the base on an ex-date."""
        previous = self.previous_open_day(contract, number)
        if previous is None:
            return None
        if contract.expiry is None:
            return self._base(contract, previous, number)
        bars = self.minutes(contract, previous)
        traded = np.flatnonzero(bars.volume) if bars is not None else np.empty(0, np.int64)
        if bars is None or not len(traded):
            return None
        return self._adjusted(contract, int(bars.close[traded[-1]]), number)

    def recorded_interest(self, contract: Contract, number: int) -> Ints | None:  # noqa: ARG002
        """Return a replayed day's open interest after each second of its hours, in units."""
        return None

    # -- minutes, seconds, trades -------------------------------------------

    def _make_minutes(self, contract: Contract, number: int) -> Bars | None:
        """Return the minute bars of one day, one per minute of its hours, or None when closed."""
        if not self.is_open_day(contract, number):
            return None
        if contract.expiry is not None:
            return derivatives.minutes(self, contract, number)
        first, count = self.hours(contract, number) or (0, 0)
        day = self.days(contract, np.array([number]))
        counter = (number * 2048 + first + np.arange(count))[None, :]
        own = bits(self.key("minute", contract.key), counter)
        volume = share(day.volume, self.minute_weights(contract, number, own))
        o, high, low, c = (int(x[0]) for x in (day.open, day.high, day.low, day.close))
        head, places = tempo.moving(self, contract, number)
        closes = minute_closes(self, contract, number, (o, high, low, c), places)[None, :]
        if head == count:
            return split(day, volume, own, 1, own, closes=closes).take(0)
        if places[head - 1] >= 1.0:
            closes[0, head - 1] = c
        return self._still_at_the_end(day, volume, own, closes, head)

    @staticmethod
    def _still_at_the_end(
        day: Bars, volume: Ints, own: NDArray[np.uint64], closes: Ints, head: int
    ) -> Bars:
        """Return the minutes of a day that moves in its first `head` ones, then has one price."""
        missing = BOTH_EXTREMES - int(volume[0, :head].sum())
        if missing > 0:
            volume[0, head - 1] += missing
            volume[0, head + int(volume[0, head:].argmax())] -= missing
        begin, end = (x[:, :head] for x in (closes, volume))
        o, c = day.open, day.close
        last = begin[:, -1]
        # What only the close reaches is not reached before it.
        top = np.where(day.high > c, day.high, np.maximum(np.maximum(o, last), begin.max(axis=1)))
        low = np.where(day.low < c, day.low, np.minimum(np.minimum(o, last), begin.min(axis=1)))
        whole = Bars(o, top, low, last, end.sum(axis=1))
        bars = split(whole, end, own[:, :head], 1, own[:, :head], closes=begin).take(0)
        rest = volume[0, head:]
        still = np.full(len(rest), c[0])
        o, high, lo, c = (
            np.concatenate([x, still]) for x in (bars.open, bars.high, bars.low, bars.close)
        )
        return Bars(o, high, lo, c, np.concatenate([bars.volume, rest]))

    def minute_weights(self, contract: Contract, number: int, word: NDArray[np.uint64]) -> Ints:
        """Return how the volume of a day lies over its minutes; see `tempo`."""
        return tempo.minute_weights(self, contract, number, word)

    def _path_noise(self, level: str, contract: Contract, counter: Ints) -> NDArray[np.uint64]:
        source = contract
        while source.leader is not None:
            source = source.leader
        return bits(self.key(level, source.key), counter)

    def seconds(self, contract: Contract, number: int, minutes: Ints) -> Bars:
        """Return the second bars, shape (len(minutes), 60), of some traded minutes of a day.

        Parameters
        ----------
        minutes
            Indices into `minutes(contract, number)`, each with a volume.
        """
        bars = self.minutes(contract, number)
        hours = self.hours(contract, number)
        if bars is None or hours is None:
            empty = np.empty((0, 60), np.int64)
            return Bars(empty, empty, empty, empty, empty)
        parent = bars.take(minutes)
        minute = (number * DAY_MINUTES + hours[0] + minutes)[:, None]
        counter = minute * 64 + np.arange(60)
        own = bits(self.key("second", contract.key), counter)
        if contract.kind == "index":
            weights = np.ones(own.shape, np.int64)
        else:
            # What everybody watches trades in every second; the others have quiet ones.
            least = 700 if contract.tier == "A" else 1
            weights = (2000 * uniform(own << np.uint64(32)) ** 2).astype(np.int64) + least
        if self._is_auction(contract, number, int(minutes[-1])) if len(minutes) else False:
            # All of an auction is one trade near its end.
            weights[-1] = np.arange(60) == 40 + (own[-1, 0] & np.uint64(15)).astype(np.int64)
        sign = -1 if contract.right == "PE" else 1
        path = self._path_noise("second-path", contract, counter)
        return split(parent, share(parent.volume, weights), path, sign, own)

    def _is_auction(self, contract: Contract, number: int, minute: int) -> bool:
        """Whether the minute holds nothing but the trade of a closing auction."""
        auction = tempo.auction_slots(self, contract, number) if contract.kind == "stock" else 0
        return bool(auction) and minute == (self.hours(contract, number) or (0, 0))[1] - 1

    def _make_minute_seconds(self, contract: Contract, number: int, minute: int) -> Bars:
        return self.seconds(contract, number, np.array([minute])).take(0)

    def trades(self, contract: Contract, number: int, minute: int) -> Trades:
        """Return the trades of one minute; a busy second has up to seventeen."""
        bars = self.minutes(contract, number)
        if bars is None or not bars.volume[minute]:
            empty = np.empty(0, np.int64)
            return Trades(empty, empty, empty)
        seconds = self.minute_seconds(contract, number, minute)
        word = bits(
            self.key("trade", contract.key), (number * DAY_MINUTES + minute) * 64 + np.arange(60)
        )
        per_trade = _UNITS_PER_TRADE[contract.tier]
        auction = self._is_auction(contract, number, minute)
        times: list[int] = []
        prices: list[int] = []
        volumes: list[int] = []
        columns = (seconds.open, seconds.high, seconds.low, seconds.close, seconds.volume)
        rows = zip(*(x.tolist() for x in columns), word.tolist(), strict=True)
        for second, (o, h, lo, c, volume, noise) in enumerate(rows):
            if not volume:
                continue
            way = _order(o, h, lo, c, noise)
            way = way if auction else _fill(way, volume, per_trade, noise)
            count = len(way)
            left = volume
            for place, price in enumerate(way):
                word_of_trade = _mix(noise, place)
                # What later trades need at least, one unit each, is not up for distribution.
                spare, later = left - (count - place), count - place - 1
                part = 1 + (spare * 2 * (word_of_trade & 0xFF) // (255 * (later + 1)))
                part = left if not later else min(part, left - later)
                left -= part
                jitter = (word_of_trade >> 8) & 0xFF
                times.append(second * 1000 + (place * 1000 + jitter * 3) // count)
                prices.append(price)
                volumes.append(part)
        return Trades(np.array(times), np.array(prices), np.array(volumes))


def _order(o: int, h: int, lo: int, c: int, noise: int) -> list[int]:
    """Return the prices of a second's trades: open, the extremes beyond both ends, close."""
    way = [o]
    between = [x for x, needed in ((h, h > max(o, c)), (lo, lo < min(o, c))) if needed]
    way += between if noise & 1 else between[::-1]
    if c != way[-1]:
        way.append(c)
    return way


def _fill(way: list[int], volume: int, per_trade: int, noise: int) -> list[int]:
    """Return `way` with trades between its points, one more for every `per_trade` units."""
    extra = min(6 + ((noise >> 56) & 7), volume // per_trade, volume - len(way))
    if extra <= 0:
        return way
    legs = max(len(way) - 1, 1)
    filled: list[int] = []
    for place, price in enumerate(way):
        filled.append(price)
        if place == len(way) - 1 and place:
            break
        there = way[min(place + 1, len(way) - 1)]
        more = (extra + legs - 1 - place) // legs
        filled += [price + (there - price) * k // (more + 1) for k in range(1, more + 1)]
    return filled


def _mix(word: int, number: int) -> int:
    """Return 64 further bits for the `number`-th trade of a second."""
    mixed = (word ^ (number + 1) * 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 % 2**64
    return mixed ^ (mixed >> 29)
