"""Between the desk and its owner's sockets: lets its market happen, and tells every change."""

from __future__ import annotations

import asyncio
import itertools
import traceback
from typing import TYPE_CHECKING, Final

from breeze_lab.practice.desk.desk import Desk
from breeze_lab.practice.wire import order_frames

if TYPE_CHECKING:
    from breeze_lab.practice.desk.orders import Order
    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.wire.account import Account
    from breeze_lab.practice.wire.sockets import SocketServer
    from breeze_lab.practice.wire.streams import FeedsHub

__all__ = ["OrderFeed"]

#: How often working orders meet the trades that have happened, in real seconds.
_TURN_S: Final = 0.2
_AFTER_FAILURE_S: Final = 5.0


class OrderFeed:
    """Makes the desk and pushes an order frame at each change of an order.

    Parameters
    ----------
    market, account
        Where it trades, and whose it is.
    hub, server
        The order stream and its sockets: every one of them is the owner's.

    Attributes
    ----------
    desk
        Its methods may be called from any thread.
    """

    def __init__(
        self, market: Market, account: Account, hub: FeedsHub, server: SocketServer
    ) -> None:
        """Open the account."""
        self._account, self._hub, self._server = account, hub, server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count = itertools.count(1)
        self.desk = Desk(market, self._changed)

    def _changed(self, order: Order) -> None:
        """Hand a change to the event loop; called by the desk in any thread, in order."""
        frame = order_frames.frame(order, self._account.user, next(self._count))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._push, frame)

    def _push(self, frame: list[str]) -> None:
        self._hub.order(frame, list(self._server.connections))

    async def run(self) -> None:
        """Let the desk's market happen until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                await asyncio.to_thread(self.desk.advance)
            except Exception:  # noqa: BLE001 - one bad order must not end everybody's day
                traceback.print_exc()
                await asyncio.sleep(_AFTER_FAILURE_S)
            await asyncio.sleep(_TURN_S)
