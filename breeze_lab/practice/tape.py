"""One contract as the desk follows it: its trades, its book, and what was taken from that book.

A minute in which no trade can reach an order is leapt over by its high and low,
so the clock may jump over months. Quantity shown by one state of the book is
taken once; the next state shows new quantity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from breeze_lab.practice.days import midnight, number_at
from breeze_lab.practice.market import Live

if TYPE_CHECKING:
    from breeze_lab.practice.market import Book
    from breeze_lab.practice.orders import Action
    from breeze_lab.practice.prices import Prices
    from breeze_lab.practice.universe import Contract

__all__ = ["NO_REACH", "Reach", "Tape"]

#: Farther behind than this, a contract is looked up afresh instead of stepped.
_FAR_MS: Final = 60_000


class Reach(NamedTuple):
    """Which trades matter: at or below `low`, at or above `high`, in ticks."""

    low: int
    high: int

    def has(self, ticks: int) -> bool:
        """Whether a trade at `ticks` matters."""
        return ticks <= self.low or ticks >= self.high


NO_REACH: Final = Reach(-1, 2**62)


class Tape:
    """A contract's trades, followed.

    Parameters
    ----------
    prices, contract, now_ms
        Whose, and where to begin.
    """

    def __init__(self, prices: Prices, contract: Contract, now_ms: int) -> None:
        """Stand at `now_ms`."""
        self.contract = contract
        self._prices = prices
        self._live = Live(prices, contract, now_ms)
        self._book: Book | None = None
        self._taken: dict[tuple[Action, int], int] = {}

    @property
    def last(self) -> int:
        """The price of the newest trade in ticks; 0 before the first."""
        return self._live.quote.last

    def stand(self, now_ms: int) -> None:
        """Go to where the contract stands at `now_ms`."""
        due = self._live.prepare()
        if due is not None and now_ms - due > _FAR_MS:
            self._live = Live(self._prices, self.contract, now_ms)
            return
        while due is not None and due <= now_ms:
            self._live.step()
            due = self._live.prepare()

    def step(self) -> None:
        """Let the next trade happen."""
        self._live.step()

    def next_ms(self, until_ms: int, reach: Reach) -> int | None:
        """Return when the next trade of a minute that matters happens, None when not by then."""
        due = self._live.next_ms
        if due is None or self._minute(due) != self._live.minute:
            found = self._next_minute(until_ms, reach)
            if found is None:
                return None
            due = self._live.prepare()
            if due is None or due < found:
                self._live = Live(self._prices, self.contract, found - 1)
                due = self._live.prepare()
        return due if due is not None and due <= until_ms else None

    def offers(self, action: Action) -> list[tuple[int, int]]:
        """Return what a `action` order can take now: (ticks, quantity), best first."""
        book = self._live.book(5)
        if book != self._book:
            self._book = book
            self._taken.clear()
        side = book.asks if action == "buy" else book.bids
        left = ((price, size - self._taken.get((action, price), 0)) for price, size, _ in side)
        return [(price, size) for price, size in left if size > 0]

    def take(self, action: Action, price: int, quantity: int) -> None:
        """Take quantity out of the present book."""
        key = (action, price)
        self._taken[key] = self._taken.get(key, 0) + quantity

    def _minute(self, time_ms: int) -> tuple[int, int]:
        number = number_at(time_ms / 1000)
        first, _ = self._prices.hours(self.contract, number) or (0, 0)
        return number, (time_ms // 1000 - midnight(number)) // 60 - first

    def _next_minute(self, until_ms: int, reach: Reach) -> int | None:
        """Return the start, Unix ms, of the next minute with a trade that matters."""
        number, minute = self._live.minute
        if reach == NO_REACH:
            return None
        for day in range(number, number_at(until_ms / 1000) + 1):
            bars = self._prices.minutes(self.contract, day)
            hours = self._prices.hours(self.contract, day)
            start = minute + 1 if day == number else 0
            if bars is None or hours is None:
                continue
            low, high, volume = (x[start:] for x in (bars.low, bars.high, bars.volume))
            hit = (volume > 0) & ((low <= reach.low) | (high >= reach.high))
            if hit.any():
                found = start + int(np.argmax(hit))
                begins = (midnight(day) + (hours[0] + found) * 60) * 1000
                return begins if begins <= until_ms else None
        return None
