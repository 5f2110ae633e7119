"""Entries: what a feed wants of the relay, as it is said to it, and what came of it so far.

Owns what has to be said again after a connection broke. Who says it, and how a
tick finds its entry, is the business of `breeze_lab.feed.loop`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from breeze_lab.bars import Interval
    from breeze_lab.feed.subscription import Delivery, FeedEvent, Subscription

__all__ = ["ORDERS", "Entry"]

#: The key of order notifications among the relay's keys.
ORDERS: Final = "orders"


@dataclass(eq=False)
class Entry:
    """One subscription as it is said to the relay.

    Parameters
    ----------
    rooms
        Room of each key; of order notifications one key without a room.
    depth
        Depth room of each key whose books are wanted.
    target
        Returns the subscription, or None when nobody holds it any more.
    """

    instruments: list[dict[str, Any]]
    rooms: dict[str, str]
    intervals: tuple[Interval, ...]
    delivery: Delivery
    ticks: bool
    market: str
    target: Callable[[], Subscription | None]
    ready: asyncio.Future[None] | None = None
    live: bool = False
    life: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    depth: dict[str, str] = field(default_factory=dict)
    epoch: int = 0  # of the last tick heard
    placing: bool = False  # must its ticks be told their room?

    def message(self, request_id: int) -> dict[str, Any]:
        """Return the request that subscribes it, or does so again after what was heard."""
        if not self.instruments:
            return {"op": "orders", "id": request_id}
        return {
            "op": "subscribe", "id": request_id, "instruments": self.instruments,
            "delivery": self.delivery, "ticks": self.ticks,
            "bars": [interval.label for interval in self.intervals], "market": self.market,
            "after": self.seen if self.ticks else {}, "life": self.life,
        }  # fmt: skip

    def deliver(self, events: list[FeedEvent]) -> None:
        """Hand events to the subscription, if somebody still holds it."""
        subscription = self.target()
        if events and subscription is not None:
            subscription.deliver(events)
