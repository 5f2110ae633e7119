"""Orders: the broker's notifications of the owner's orders, to whoever asked for them.

Owns the connection to the broker's feeds server, which is there only while
somebody wants notifications; they come without a room. None is recorded. What
may have been missed while the connection was away is told as a gap of the key
``orders``: the broker's list of orders knows the rest.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from breeze_lab.errors import BadResponse
from breeze_lab.order_updates import decode_order
from breeze_lab.relay.upstream import Server, Upstream

if TYPE_CHECKING:
    from breeze_lab.relay.consumers import Consumer
    from breeze_lab.relay.quarantine import Quarantine
    from breeze_lab.relay.upstream import State

__all__ = ["FEEDS", "KEY", "Orders"]

_log: Final = logging.getLogger(__name__)

FEEDS: Final = Server("orders", "feeds_url")
#: How consumers name notifications among what they hold.
KEY: Final = "orders"
_decode: Final = msgspec.json.Decoder(list[str]).decode


class Orders:
    """The notifications and who wants them.

    Parameters
    ----------
    quarantine
        Where those go that cannot be read.
    """

    def __init__(self, quarantine: Quarantine) -> None:
        """Want nothing yet."""
        self.upstream = Upstream(self, {"order": self.on_order}, FEEDS)
        self.count = 0
        self._quarantine = quarantine
        self._holders: set[Consumer] = set()
        self._heard_ms = 0
        self._lost: tuple[int, str] | None = None

    def hold(self, consumer: Consumer) -> None:
        """Send notifications to `consumer` from now on."""
        self._holders.add(consumer)
        self.upstream.listen(wanted=True)

    def release(self, consumer: Consumer) -> None:
        """Send `consumer` none any more."""
        self._holders.discard(consumer)
        self.upstream.listen(wanted=bool(self._holders))

    def on_order(self, raw: bytes) -> None:
        """Take one notification."""
        received_ms = time.time_ns() // 1_000_000
        try:
            frame = _decode(raw)
            decode_order(frame)
        except (BadResponse, msgspec.MsgspecError, RecursionError) as exc:
            self._quarantine.add("order", str(exc))
            return
        self.count += 1
        self._heard_ms = received_ms
        for consumer in self._holders:
            consumer.post({"op": "order", "received_ms": received_ms, "frame": frame})

    def on_state(self, state: State) -> None:
        """Tell of what may be missing when the connection is back."""
        _log.info("The order stream is %s.", state.state)
        if state.state != "connected":
            return
        now_ms = time.time_ns() // 1_000_000
        if self._lost is not None:
            since_ms, cause = self._lost
            for consumer in self._holders:
                consumer.take_gap([KEY, since_ms, now_ms, cause, "closed"])
        self._lost, self._heard_ms = None, now_ms

    def on_lost(self, cause: str) -> None:
        """Remember since when notifications may be missing."""
        if self._lost is None and self._heard_ms and self._holders:
            self._lost = self._heard_ms, cause

    def on_malformed(self, reason: str) -> None:
        """Keep what could not be read."""
        self._quarantine.add("order", reason)

    def status(self) -> dict[str, Any]:
        """Return how the stream stands."""
        return {
            **self.upstream.state.to_dict(), "epoch": self.upstream.epoch,
            "consumers": len(self._holders), "notifications": self.count,
        }  # fmt: skip
