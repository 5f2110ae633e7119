"""The side streams: books, order notifications and the broker's candles, as one thing to the hub.

Owns what they have in common: they begin and end with the login of the quotes,
and a consumer that goes lets go of all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from breeze_lab.frames import Book
from breeze_lab.relay.books import Books
from breeze_lab.relay.candles import Candles
from breeze_lab.relay.orders import KEY, Orders
from breeze_lab.ticks import Depth

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from breeze_lab.frames import Value
    from breeze_lab.relay.consumers import Consumer
    from breeze_lab.relay.market import Line
    from breeze_lab.relay.quarantine import Quarantine
    from breeze_lab.relay.upstream import Login, Upstream

__all__ = ["Sides"]


class Sides:
    """What the relay hears beside ticks.

    Parameters
    ----------
    quotes
        The connection for quotes, which brings the books as well.
    quarantine
        Where what cannot be read goes.
    """

    def __init__(self, quotes: Upstream, quarantine: Quarantine) -> None:
        """Want nothing yet."""
        self.books = Books(quotes)
        self.orders = Orders(quarantine)
        self.candles = Candles(quarantine)
        self._quotes = quotes

    def take(self, value: Value, received_ms: int) -> bool:
        """Take a book; return whether it was one and anybody wants it."""
        if not isinstance(value, (Book, Depth)):
            return False
        return self.books.take(value, self._quotes.epoch, received_ms)

    def follow_orders(self, consumer: Consumer, request_id: int) -> None:
        """Push order notifications to `consumer`; there is nothing to begin with."""
        nothing: dict[str, Any] = {"ticks": [], "bars": [], "sequences": {}, "lost": []}
        consumer.post({"op": "snapshot", "id": request_id, **nothing})
        self.orders.hold(consumer)

    def release(self, consumer: Consumer, keys: Collection[str]) -> None:
        """Send `consumer` nothing of `keys` any more."""
        self.books.release(consumer, keys)
        if KEY in keys:
            self.orders.release(consumer)

    def forget(self, consumer: Consumer) -> None:
        """Let go of a consumer that went."""
        self.books.release(consumer)
        self.orders.release(consumer)

    def sweep(self, before: float, lines: Iterable[Line]) -> None:
        """Leave what nobody has wanted since `before` (monotonic seconds); compare candles."""
        self.books.sweep(before)
        self.candles.look(lines)

    async def login(self, held: Login | None, login: Login) -> None:
        """Go on with the login that the quotes were given; `held` is the one before."""
        if held is not None and held.endpoints != login.endpoints:
            self.books.clear()
        for upstream in (self.orders.upstream, self.candles.upstream):
            await upstream.login(login)

    async def end(self, reason: str) -> None:
        """End the connections because the session ended."""
        for upstream in (self.orders.upstream, self.candles.upstream):
            await upstream.end(reason)

    async def close(self) -> None:
        """End the connections and forget the login."""
        for upstream in (self.orders.upstream, self.candles.upstream):
            await upstream.close()

    def status(self) -> dict[str, Any]:
        """Return how each stands."""
        return {
            "orders": self.orders.status(), "candles": self.candles.status(),
            "depth": self.books.status(),
        }  # fmt: skip
