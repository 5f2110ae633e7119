"""The columns of a recorded day: what of a tick stands where.

The first are the layout of ``docs/replay.md``, filled so that a replay can
take them. The others begin with ``feed_`` and hold what the frame said, as it
said it, and how it came. Pure: no file and no library is touched here.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.ticks import Tick

__all__ = ["COLUMNS", "FEED", "LAYOUT", "QUOTE", "REST", "quote"]

#: Name and kind of each column of the layout, in its order.
LAYOUT: Final = {
    "time": "time", "exchange": "name", "stock_code": "name", "symbol": "name", "token": "name",
    "expiry": "date", "strike": "price", "right": "name", "last_price": "price",
    "last_quantity": "whole", "bid_price": "price", "bid_quantity": "whole", "ask_price": "price",
    "ask_quantity": "whole", "open_interest": "whole", "total_volume": "whole",
    "previous_close": "price",
}  # fmt: skip

#: What a quote says, as `breeze_lab.ticks.Tick` calls it.
QUOTE: Final = {
    "last": "price", "open": "price", "high": "price", "low": "price", "previous_close": "price",
    "change_percent": "price", "bid": "price", "bid_quantity": "whole", "ask": "price",
    "ask_quantity": "whole", "last_quantity": "whole", "average_price": "price", "volume": "whole",
    "total_bid_quantity": "whole", "total_ask_quantity": "whole", "turnover": "price",
    "lower_circuit": "price", "upper_circuit": "price", "open_interest": "whole",
    "open_interest_change": "whole",
}  # fmt: skip

#: How it came. ``feed_apart`` is why a replay leaves the row out, blank for most;
#: ``feed_frame`` is the frame itself where the columns do not say all of it.
FEED: Final = {
    "feed_key": "name", "feed_room": "name", "feed_sequence": "whole", "feed_epoch": "whole",
    "feed_received_ms": "whole", "feed_exchange_s": "whole", "feed_apart": "name",
    "feed_frame": "text", **{f"feed_{name}": kind for name, kind in QUOTE.items()},
}  # fmt: skip

COLUMNS: Final = LAYOUT | FEED

#: The columns of what is no tick.
REST: Final = {
    "kind": "name", "room": "name", "sequence": "whole", "epoch": "whole", "received_ms": "whole",
    "frame": "text",
}  # fmt: skip

#: Returns the values of `QUOTE` of a tick, in its order.
quote: Final[Callable[[Tick], tuple[Any, ...]]] = attrgetter(*QUOTE)
