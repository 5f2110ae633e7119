"""Books: who bids and offers how much, at any moment.

Cash and indices have a simple book around their last trade. A derivative's is
a market maker's: it quotes around the value *now*, at the underlying's newest
trade, not around the contract's own last trade, which may be old.

Every quote of a derivative encloses its unrounded value, and all contracts
are valued at the same price of the underlying. As call minus put is the
discounted forward minus strike exactly, put-call parity holds within the
quotes of every strike at every moment, whatever the spreads are. After a
trade the quote slides towards its price, by at most the gap and only as far as
it still encloses the value; so parity holds then, too.
"""

from __future__ import annotations

import functools
import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.exchange import activity, derivatives
from breeze_lab.practice.exchange.days import midnight, number_at
from breeze_lab.practice.exchange.noise import word

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.derivatives import Terms
    from breeze_lab.practice.exchange.market import Quote
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["Book", "Maker", "cash_book"]

_EMPTY_SIDE: Final[tuple[tuple[int, int, int], ...]] = ()
#: A spread is a part of the value that falls with the root of the day's lots, and a least width.
_LEAST_TICKS: Final = 0.8
_TIGHT: Final = {"future": 0.00002, "option": 0.0004}
_BY_LOTS: Final = {"future": 0.004, "option": 0.15}
_WIDEST: Final = {"future": 0.004, "option": 0.12}
#: Who hardly trades is offered further away, whatever it is worth: ticks at no lots at all.
_ILLIQUID_TICKS: Final = {"future": 6.0, "option": 12.0}
_ILLIQUID_LOTS: Final = 500
#: Market makers renew their quotes twice a second.
_RENEWED_MS: Final = 500
#: For so long the quotes remember a trade.
_REMEMBERED_MS: Final = 1000
#: An option worth nothing is still offered at two ticks: below lies its lower circuit limit.
_FLOOR_TICKS: Final = 2
_LOTS_PER_SIZE: Final = 5_000
_SIZES: Final = (4, 400)
_ALL_DAY: Final = 2**62


@dataclass(frozen=True, slots=True)
class Book:
    """The best five prices of both sides, best first: (ticks, quantity, orders)."""

    bids: tuple[tuple[int, int, int], ...]
    asks: tuple[tuple[int, int, int], ...]
    total_bid: int
    total_ask: int

    def one_sided(self, side: int) -> Book:
        """Return the book of a locked stock: nobody sells at the upper limit, or buys at the lower.

        Parameters
        ----------
        side
            1 leaves the bids, -1 the asks.
        """
        if side > 0:
            return Book(self.bids, _EMPTY_SIDE, self.total_bid, 0)
        return Book(_EMPTY_SIDE, self.asks, 0, self.total_ask)


def cash_book(prices: Prices, contract: Contract, quote: Quote, levels: int) -> Book:
    """Return the book after the newest trade of something that does not expire."""
    unit = contract.unit
    key = prices.key("book", contract.key)
    counter = quote.time_ms * 16
    total_noise = word(key, counter + 15)
    # The last trade was either a buy at the ask or a sale at the bid.
    ask = quote.last + (total_noise & 1)
    scale = max(quote.last_quantity // unit, 5) * 8
    bids, asks = [], []
    for level in range(levels):
        noise = word(key, counter + level)
        bid_price, ask_price = ask - 1 - level, ask + level
        if bid_price >= quote.lower:
            bids.append((bid_price, (1 + (noise & 0xFFFF) % scale) * unit, 1 + (noise >> 48) % 9))
        if ask_price <= quote.upper:
            size = 1 + ((noise >> 16) & 0xFFFF) % scale
            asks.append((ask_price, size * unit, 1 + (noise >> 52) % 9))
    total = max(quote.volume // unit // 3, 50)
    return Book(
        tuple(bids),
        tuple(asks),
        (total + (total_noise >> 8) % total) * unit,
        (total + (total_noise >> 24) % total) * unit,
    )


@dataclass(frozen=True, slots=True)
class _Tape:
    """The trades of one minute of an underlying, and the price before the first of them."""

    time_ms: array[int]
    price: array[int]
    before: int

    def at(self, offset_ms: int) -> int:
        place = bisect_right(self.time_ms, offset_ms)
        return self.price[place - 1] if place else self.before


@functools.lru_cache(maxsize=1024)
def _tape(prices: Prices, source: Contract, number: int, slot: int) -> _Tape | None:
    bars = prices.minutes(source, number)
    if bars is None:
        return None
    traded = np.flatnonzero(bars.volume[:slot])
    # The opening auction has found a price before the first trade.
    first = int((bars.volume > 0).argmax())
    before = int(bars.close[traded[-1]]) if len(traded) else int(bars.open[first])
    trades = prices.trades(source, number, slot)
    return _Tape(array("q", trades.time_ms.tolist()), array("q", trades.price.tolist()), before)


@dataclass(frozen=True, slots=True)
class _Day:
    """What is constant within a market day of a contract; times in Unix milliseconds."""

    number: int
    first_minute: int
    opened_ms: int
    closed_ms: int
    source_opened_ms: int
    source_minutes: int
    terms: Terms
    lower: int
    upper: int
    part: float
    least: float
    size: int


class Maker:
    """The market makers of one derivative.

    Parameters
    ----------
    prices, contract
        Whose book; the contract expires.
    """

    def __init__(self, prices: Prices, contract: Contract) -> None:
        """Know nothing of any day yet."""
        if contract.leader is None or contract.expiry is None:
            raise ValueError(f"{contract.key} has no market makers")
        self.prices = prices
        self.contract = contract
        self._source = contract.leader
        self._key = prices.key("book", contract.key)
        self._day: _Day | None = None
        self._from_ms = self._until_ms = 0
        self._slot = -1
        self._minute: _Tape | None = None

    def warm(self, at_ms: int) -> None:
        """Compute ahead what a book at `at_ms` needs."""
        day = self._enter(at_ms)
        if day is not None:
            self._spot(day, min(at_ms, day.closed_ms - 1))

    def limits(self, at_ms: int) -> tuple[int, int] | None:
        """Return the circuit limits in ticks of the day whose book stands at `at_ms`."""
        day = self._enter(at_ms)
        return (day.lower, day.upper) if day is not None else None

    def fair(self, at_ms: int) -> float | None:
        """Return the value in unrounded ticks at `at_ms`; None before the contract's first day."""
        day = self._enter(at_ms)
        if day is None:
            return None
        at_ms = min(at_ms, day.closed_ms - 1)
        minute = day.first_minute + (at_ms - day.opened_ms) // 60_000
        return day.terms.fair(self._spot(day, at_ms), minute)

    def book(self, quote: Quote, levels: int, at_ms: int) -> Book:
        """Return the best `levels` of both sides at `at_ms`.

        Parameters
        ----------
        quote
            Of this contract: its newest trade attracts the quotes for a second.
        at_ms
            Unix milliseconds; outside market hours the book of the last close stands.
        """
        fair = self.fair(at_ms)
        day = self._day
        if fair is None or day is None:
            return Book(_EMPTY_SIDE, _EMPTY_SIDE, 0, 0)
        at_ms = min(at_ms, day.closed_ms - 1)
        counter = at_ms // _RENEWED_MS * 16
        noise = word(self._key, counter)
        half = (day.least + fair * day.part) * (0.375 + (noise & 0xFF) / 1024)
        bid, ask = math.floor(fair - half), math.ceil(fair + half)
        if 0 <= at_ms - quote.time_ms <= _REMEMBERED_MS:
            if quote.last > ask:
                slide = min(quote.last - ask, math.floor(fair) - bid)
            else:
                slide = -min(max(bid - quote.last, 0), ask - math.ceil(fair))
            bid, ask = bid + slide, ask + slide
        # Nobody bids below the lower limit: what has no value has no bid.
        ask = min(max(ask, _FLOOR_TICKS), day.upper)
        return self._levels(day, (bid, ask, half), levels, counter, quote.volume)

    def _levels(
        self, day: _Day, best: tuple[int, int, float], levels: int, counter: int, volume: int
    ) -> Book:
        bid, ask, half = best
        unit, size = self.contract.unit, day.size
        gap = 1 + int(half / 2)
        bids, asks = [], []
        for level in range(levels):
            noise = word(self._key, counter + 1 + level)
            most = size * (2 + level) // 2
            if bid >= day.lower:
                bids.append((bid, (1 + (noise & 0xFFFF) % most) * unit, 1 + (noise >> 48) % 9))
            if ask <= day.upper:
                units = 1 + ((noise >> 16) & 0xFFFF) % most
                asks.append((ask, units * unit, 1 + (noise >> 52) % 9))
            bid -= gap
            ask += gap
        noise = word(self._key, counter + 15)
        # More than five levels can hold, however many are shown.
        total = 12 * size + volume // unit // 50
        total_bid = total + (noise & 0xFFFFFF) % total if bids else 0
        total_ask = total + (noise >> 24 & 0xFFFFFF) % total if asks else 0
        return Book(tuple(bids), tuple(asks), total_bid * unit, total_ask * unit)

    def _spot(self, day: _Day, at_ms: int) -> int:
        """Return the underlying's newest price in its ticks."""
        since = at_ms - day.source_opened_ms
        slot, offset = divmod(since, 60_000)
        if slot < 0 or slot >= day.source_minutes:
            slot, offset = (0, -1) if slot < 0 else (day.source_minutes - 1, _ALL_DAY)
        if slot != self._slot or self._minute is None:
            self._minute = _tape(self.prices, self._source, day.number, slot)
            self._slot = slot
        return self._minute.at(offset) if self._minute is not None else 0

    def _enter(self, at_ms: int) -> _Day | None:
        """Return the market day whose book stands at `at_ms`."""
        if self._from_ms <= at_ms < self._until_ms:
            return self._day
        today = number_at(at_ms / 1000)
        opened_ms = self._until_ms = midnight(today + 1) * 1000
        number: int | None = None
        if self.prices.is_open_day(self.contract, today):
            hours = self.prices.hours(self.contract, today)
            opened_ms = (midnight(today) + (hours or (0, 0))[0] * 60) * 1000
            number = today
        if at_ms < opened_ms:
            number = self.prices.previous_open_day(self.contract, today)
            self._from_ms, self._until_ms = midnight(today) * 1000, opened_ms
        else:
            self._from_ms = opened_ms
        self._slot, self._minute = -1, None
        self._day = _day(self.prices, self.contract, number) if number is not None else None
        return self._day


@functools.lru_cache(maxsize=16384)
def _day(prices: Prices, contract: Contract, number: int) -> _Day | None:
    own, source = prices.hours(contract, number), contract.leader
    theirs = prices.hours(source, number) if source is not None else None
    if own is None or theirs is None:
        return None
    began = midnight(number)
    lots = activity.day_lots(prices, contract, number)
    kind = contract.kind
    lower, upper = prices.circuit(contract, number)
    return _Day(
        number=number,
        first_minute=own[0],
        opened_ms=(began + own[0] * 60) * 1000,
        closed_ms=(began + (own[0] + own[1]) * 60) * 1000,
        source_opened_ms=(began + theirs[0] * 60) * 1000,
        source_minutes=theirs[1],
        terms=derivatives.terms(prices, contract, number),
        lower=lower,
        upper=upper,
        part=min(_TIGHT[kind] + _BY_LOTS[kind] / math.sqrt(lots + 1), _WIDEST[kind]),
        least=_LEAST_TICKS + _ILLIQUID_TICKS[kind] / (1 + lots / _ILLIQUID_LOTS),
        size=min(max(lots // _LOTS_PER_SIZE, _SIZES[0]), _SIZES[1]),
    )
