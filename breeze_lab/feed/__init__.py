"""The feed: what a notebook holds of the relay.

Owns one connection to the relay's door, in a thread of its own: it starts the
relay when none runs, comes back when it dies, and then logs in and subscribes
again by itself. Several subscriptions of one instrument are one at the relay.
Decoding the broker's frames and counting references over all notebooks is the
relay's business; drawing is left to `charts` and `widgets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breeze_lab.feed.client import Feed, Streamable, connect
from breeze_lab.feed.subscription import (
    Delivery,
    FeedBar,
    FeedEvent,
    FeedState,
    Lost,
    Snapshot,
    Subscription,
)

__all__ = [
    "Delivery",
    "Feed",
    "FeedBar",
    "FeedEvent",
    "FeedState",
    "FeedTick",
    "Lost",
    "Snapshot",
    "Streamable",
    "Subscription",
    "connect",
]


if TYPE_CHECKING:
    from breeze_lab.feed.ticks import FeedTick


def __getattr__(name: str) -> object:
    """Load `FeedTick` at its first use: importing the feed loads no third party."""
    if name == "FeedTick":
        from breeze_lab.feed.ticks import FeedTick  # noqa: PLC0415 - that is the point

        return FeedTick
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
