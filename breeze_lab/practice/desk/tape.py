"""One contract as the desk follows it: its trades, its book, and what was taken from that book.

A minute in which no trade can reach an order is leapt over by its high and low,
so the clock may jump over months. Quantity shown by one state of the book is
taken once; the next state shows new quantity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from breeze_lab.practice.exchange import tempo
from breeze_lab.practice.exchange.days import midnight, number_at
from breeze_lab.practice.exchange.market import Live

if TYPE_CHECKING:
    from breeze_lab.practice.desk.orders import Action
    from breeze_lab.practice.exchange.market import Book
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["NO_REACH", "Reach", "Tape"]

_MINUTE_MS: Final = 60_000
#: Farther behind than this, a contract is looked up afresh instead of stepped.
_FAR_MS: Final = 60_000
#: Quotes of derivatives move with their underlying between their own trades: a waiting order is
#: compared with them at whole multiples of this, so that nobody's looking decides when.
_LOOK_MS: Final = 5_000
#: When the book takes orders. Who asks outside market hours is refused before, or waits.
_OPEN: Final = ("open", "closed")


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

    Attributes
    ----------
    now_ms
        How far it was followed, Unix ms.
    """

    def __init__(self, prices: Prices, contract: Contract, now_ms: int) -> None:
        """Stand at `now_ms`."""
        self.contract = contract
        self.now_ms = now_ms
        self._prices = prices
        self._live = Live(prices, contract, now_ms)
        self._book: Book | None = None
        self._taken: dict[tuple[Action, int], int] = {}
        self._looking = False
        #: Start and end of a minute that matters for a reach.
        self._inside = (0, 0, NO_REACH)

    @property
    def last(self) -> int:
        """The price of the newest trade in ticks; 0 before the first."""
        return self._live.quote.last

    def stand(self, now_ms: int) -> None:
        """Go to where the contract stands at `now_ms`."""
        self.now_ms = now_ms
        due = self._live.prepare()
        if due is not None and now_ms - due > _FAR_MS:
            self._live = Live(self._prices, self.contract, now_ms)
            return
        while due is not None and due <= now_ms:
            self._live.step()
            due = self._live.prepare()

    def step(self, time_ms: int) -> None:
        """Let what `next_ms` announced happen: a trade, or a look at the quotes."""
        self.now_ms = time_ms
        due = self._live.next_ms
        self._looking = due is None or due > time_ms
        if not self._looking:
            self._live.step()

    def next_ms(self, until_ms: int, reach: Reach) -> int | None:
        """Return when something next happens in a minute that matters, None when not by then.

        Parameters
        ----------
        until_ms
            Not further than this, Unix ms, inclusive.
        """
        while (start := self._next_minute(until_ms, reach)) is not None:
            if start > self.now_ms:
                self.stand(start - 1)
            due = self._live.prepare()
            if self.contract.is_derivative:
                look = (self.now_ms // _LOOK_MS + 1) * _LOOK_MS
                due = look if due is None else min(due, look)
            if due is not None and due < start + _MINUTE_MS:
                return due if due <= until_ms else None
            self.stand(start + _MINUTE_MS - 1)
        return None

    def matters(self, reach: Reach) -> bool:
        """Say whether orders can be met by what the last step was."""
        return self._looking or reach.has(self.last)

    def offers(self, action: Action) -> list[tuple[int, int]]:
        """Return what a `action` order can take now: (ticks, quantity), best first.

        In an auction or a halt the book stands there but takes nothing; only
        what trades at this very moment, an auction's one trade, can be met.
        """
        now = tempo.phase(self._prices, self.contract, self.now_ms)
        if now not in _OPEN and self._live.quote.time_ms != self.now_ms:
            return []
        book = self._shown()
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

    def _shown(self) -> Book:
        """Return the book at `now_ms`."""
        return self._live.book(5, self.now_ms)

    def _next_minute(self, until_ms: int, reach: Reach) -> int | None:
        """Return the start, Unix ms, of the minute that matters now, or else of the next one."""
        start, end, known = self._inside
        if reach == known and start <= self.now_ms < end - 1:
            return start
        if reach == NO_REACH:
            return None
        # What happened at `now_ms` is past, so the last ms of a minute belongs to the next.
        after_s = (self.now_ms + 1) // 1000
        number = number_at(after_s)
        for day in range(number, number_at(until_ms / 1000) + 1):
            bars = self._prices.minutes(self.contract, day)
            hours = self._prices.hours(self.contract, day)
            if bars is None or hours is None:
                continue
            opened = midnight(day) + hours[0] * 60
            first = max((after_s - opened) // 60, 0)
            low, high = bars.low[first:], bars.high[first:]
            hit = (low <= reach.low) | (high >= reach.high)
            if not self.contract.is_derivative:
                hit &= bars.volume[first:] > 0
            if hit.any():
                begins = (opened + (first + int(np.argmax(hit))) * 60) * 1000
                self._inside = (begins, begins + _MINUTE_MS, reach)
                return begins if begins <= until_ms else None
        return None
