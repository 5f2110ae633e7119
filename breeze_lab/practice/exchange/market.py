"""The market now: its clock, its listing and the state of each contract it trades.

A `Live` contract walks through its trades in order and knows what a quote of
it says after each: the day so far, the best prices, the book. It is stepped
by whoever serves its rooms, once, however many listen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.exchange import contracts, derivatives, tempo
from breeze_lab.practice.exchange.book import Book, Maker, cash_book
from breeze_lab.practice.exchange.days import day_of, midnight, number_at
from breeze_lab.practice.exchange.history import visible_minutes
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.exchange.universe import RUPEE, Contract

if TYPE_CHECKING:
    from datetime import date

    from breeze_lab.practice.exchange.character import Character
    from breeze_lab.practice.exchange.contracts import Listing
    from breeze_lab.practice.exchange.market_clock import MarketClock

__all__ = ["Book", "Live", "Market", "Quote", "rupees"]

#: How far back the last trade of a quiet contract is looked for, in market days.
_LOOK_BACK: Final = 5


@dataclass(slots=True)
class Quote:
    """What a quote says, in ticks and reported quantities; all zero before a first trade."""

    number: int = 0
    time_ms: int = 0
    open: int = 0
    high: int = 0
    low: int = 0
    last: int = 0
    before: int = 0  # the price of the trade before the last
    last_quantity: int = 0
    volume: int = 0
    value: int = 0
    previous_close: int = 0
    lower: int = 0
    upper: int = 0
    interest: int = 0
    interest_change: int = 0


@dataclass(frozen=True, slots=True)
class _Minute:
    """A minute that will be entered with its first trade: (time, ticks, units) of each."""

    number: int
    minute: int
    trades: deque[tuple[int, int, int]]
    quote: Quote


class Live:
    """One contract as it trades.

    Parameters
    ----------
    prices, contract
        Where its trades come from.
    now_ms
        The market time to stand at first.
    makers
        Whether market makers quote a derivative; else its book stands around
        its own last trade, as that of cash. For prices that were not made here.

    Attributes
    ----------
    quote
        The state after the newest trade.
    """

    def __init__(
        self, prices: Prices, contract: Contract, now_ms: int, *, makers: bool = True
    ) -> None:
        """Stand where the market stands at `now_ms`."""
        self.prices = prices
        self.contract = contract
        self.quote = Quote()
        self._stood_ms = now_ms
        self._maker = Maker(prices, contract) if makers and contract.is_derivative else None
        self._trades: deque[tuple[int, int, int]] = deque()
        self._ahead: _Minute | None = None
        self._number, self._minute = self._last_traded(now_ms)
        if self._minute >= 0:
            self._ahead = self._look(self._number, self._minute)
            self.step()
            while self._trades and self._trades[0][0] <= now_ms:
                self.step()
        limits = self._maker.limits(now_ms) if self._maker is not None else None
        if limits is not None:
            # Today's, although this contract may not have traded today.
            self.quote.lower, self.quote.upper = limits

    @property
    def minute(self) -> tuple[int, int]:
        """The day number and slot of the newest trade's minute."""
        return self._number, self._minute

    @property
    def next_ms(self) -> int | None:
        """When the next trade happens, as far as prepared; None when more must be prepared."""
        if self._trades:
            return self._trades[0][0]
        return self._ahead.trades[0][0] if self._ahead else None

    def step(self) -> None:
        """Let the next trade happen."""
        if not self._trades and self._ahead is not None:
            self._enter(self._ahead)
        time_ms, price, units = self._trades.popleft()
        quote, unit = self.quote, self.contract.unit
        if not quote.volume:
            quote.open = quote.high = quote.low = price
        quote.time_ms = time_ms
        quote.before, quote.last = quote.last, price
        quote.high = max(quote.high, price)
        quote.low = min(quote.low, price)
        quote.last_quantity = units * unit
        quote.volume += units * unit
        quote.value += price * units * unit

    def prepare(self) -> int | None:
        """Compute the next traded minute ahead; return `next_ms`, None when trading has ended.

        Doing this early keeps a thousand contracts from being computed in the
        same instant.
        """
        if self._ahead is None:
            found = self._next_minute()
            self._ahead = self._look(*found) if found else None
            if self._ahead is not None and self._maker is not None:
                self._maker.warm(self._ahead.trades[0][0])
        return self.next_ms

    def _enter(self, ahead: _Minute) -> None:
        self._number, self._minute = ahead.number, ahead.minute
        self._trades, self._ahead = ahead.trades, None
        ahead.quote.last_quantity = self.quote.last_quantity
        self.quote = ahead.quote

    def _minute_ms(self, number: int, minute: int) -> int:
        first, _ = self.prices.hours(self.contract, number) or (0, 0)
        return (midnight(number) + (first + minute) * 60) * 1000

    def _last_traded(self, now_ms: int) -> tuple[int, int]:
        """Return (day, minute) of the newest trade, or (today, -1) when there is none."""
        today = number_at(now_ms / 1000)
        number: int | None = today
        for _ in range(_LOOK_BACK):
            if number is None:
                break
            if self.prices.is_open_day(self.contract, number):
                minutes = visible_minutes(self.prices, self.contract, number, now_ms)
                if len(minutes):
                    newest_ms = int(minutes.start[-1]) * 1000
                    return number, (newest_ms - self._minute_ms(number, 0)) // 60_000
            number = self.prices.previous_open_day(self.contract, number)
        return today, -1

    def _next_minute(self) -> tuple[int, int] | None:
        minute = self._minute + 1
        for number in range(self._number, self._number + 8):
            bars = self.prices.minutes(self.contract, number)
            if bars is not None:
                later = np.flatnonzero(bars.volume[minute:])
                if len(later):
                    return number, minute + int(later[0])
            minute = 0
        return None

    def _look(self, number: int, minute: int) -> _Minute:
        """Return a traded minute: its trades, and the quote before the first of them.

        The value of finished minutes is taken at each one's typical price: a
        quote's average must not depend on when somebody began to listen.
        """
        contract, prices = self.contract, self.prices
        trades = prices.trades(contract, number, minute)
        opened = self._minute_ms(number, minute)
        columns = (trades.time_ms.tolist(), trades.price.tolist(), trades.volume.tolist())
        queue = deque((opened + t, p, v) for t, p, v in zip(*columns, strict=True))
        bars = prices.minutes(contract, number)
        lower, upper = prices.circuit(contract, number)
        quote = Quote(number=number, lower=lower, upper=upper)
        close = prices.previous_close(contract, number)
        if bars is None:
            return _Minute(number, minute, queue, quote)
        past = bars.take(np.flatnonzero(bars.volume[:minute]))
        quote.open = int(past.open[0]) if len(past.open) else queue[0][1]
        # A contract that never traded before is compared with its first price.
        quote.previous_close = quote.open if close is None else close
        if len(past.open):
            quote.high, quote.low = int(past.high.max()), int(past.low.min())
            quote.last = int(past.close[-1])
            quote.volume = int(past.volume.sum()) * contract.unit
            typical = (past.open + past.high + past.low + past.close) * past.volume
            quote.value = int(typical.sum()) // 4 * contract.unit
        if contract.expiry is not None:
            interest = derivatives.open_interest(prices, contract, number)
            quote.interest = int(interest[minute]) * contract.unit
            before = derivatives.interest_before(prices, contract, number)
            quote.interest_change = quote.interest - before * contract.unit
        return _Minute(number, minute, queue, quote)

    def book(self, levels: int = 5, at_ms: int | None = None) -> Book:
        """Return the best `levels` of the book.

        Parameters
        ----------
        at_ms
            Market time in Unix milliseconds. A derivative's book moves with its
            underlying between its own trades; without `at_ms` it is that of the
            newest trade, or of the moment this contract was looked up if later.
        """
        if self._maker is None:
            book = cash_book(self.prices, self.contract, self.quote, levels)
            # The lock of a last trade holds until the next day begins.
            lock = tempo.locked(self.prices, self.contract, self._number, self._minute)
            return book.one_sided(lock) if lock else book
        if at_ms is None:
            at_ms = max(self._stood_ms, self.quote.time_ms)
        return self._maker.book(self.quote, levels, at_ms)


class Market:
    """Everything that trades, its clock and today's listing.

    Parameters
    ----------
    seed, open_since
        See `Prices`.
    market_clock
        Market time.
    character
        See `Prices`.
    """

    def __init__(
        self,
        seed: int,
        open_since: date | None,
        market_clock: MarketClock,
        character: Character | None = None,
    ) -> None:
        """Start with nothing computed."""
        self.prices = Prices(seed, open_since, character)
        self.clock = market_clock

    @property
    def today(self) -> date:
        """The market date."""
        return day_of(number_at(self.clock.now_ms() / 1000))

    @property
    def listing(self) -> Listing:
        """What is listed today."""
        return contracts.listing(self.prices, self.today)

    def master_time(self) -> int:
        """Return the Unix second at which today's master was made: half past seven in India."""
        return midnight(number_at(self.clock.now_ms() / 1000)) + 27_000

    def room(self, market: str, token: str) -> Contract | None:
        """Return the contract of a room's market number and token, or None."""
        return self.listing.by_room.get((market, token))

    def live(self, contract: Contract) -> Live:
        """Return a contract standing at the market's time."""
        return Live(self.prices, contract, self.clock.now_ms())


def rupees(ticks: int, contract: Contract) -> float | int:
    """Return a price in rupees as the wire writes it: whole when it is whole."""
    units = ticks * contract.tick
    whole, rest = divmod(units, RUPEE)
    # A division of whole numbers is the nearest float there is, so it is written in four decimals.
    return units / RUPEE if rest else whole
