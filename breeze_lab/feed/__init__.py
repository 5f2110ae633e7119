"""The feed: what a notebook holds of the relay.

Owns one connection to the relay's door, in a thread of its own: it starts the
relay when none runs, comes back when it dies, and then logs in and subscribes
again by itself. Several subscriptions of one instrument are one at the relay.
Decoding the broker's frames and counting references over all notebooks is the
relay's business; drawing is left to `charts` and `widgets`.
"""

from __future__ import annotations

from breeze_lab.feed.client import Feed, Streamable, connect
from breeze_lab.feed.subscription import (
    Delivery,
    FeedBar,
    FeedEvent,
    FeedState,
    FeedTick,
    Gap,
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
    "Gap",
    "Lost",
    "Snapshot",
    "Streamable",
    "Subscription",
    "connect",
]
