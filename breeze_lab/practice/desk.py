"""The desk: one account's orders against the practice market's book.

One lock guards everything; every method may be called from any thread. Each
first lets the market happen up to now (`Desk.advance`), so an answer is never
older than its question.

What is refused at once (`Refusal`: the broker does not take it, there is no
order) and what becomes an order in state ``Rejected`` or ``Freezed`` (the
exchange does not take it: outside the circuit limits, more than the freeze
quantity) is as at the broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from breeze_lab.practice.market import Market
    from breeze_lab.practice.orders import (
        Action,
        Charges,
        Fill,
        Funds,
        Holding,
        Kind,
        MarginLeg,
        MarginLimits,
        MarginResult,
        MoneySegment,
        Order,
        OrderRequest,
        Position,
        Product,
        Validity,
    )
    from breeze_lab.practice.triggers import Gtt, GttKind, GttLeg
    from breeze_lab.practice.universe import Contract

__all__ = ["Desk"]


class Desk:
    """One account and its orders.

    Parameters
    ----------
    market
        Whose book the orders meet and whose clock says when.
    on_change
        Called with each new picture of an order, in order, from the thread that
        caused it and under the desk's lock: hand it on and return.
    margin_allowed
        Whether orders of product ``margin`` (intraday, squared off at the close)
        are taken. The broker prohibits them through its API since 2026.
    """

    def __init__(
        self, market: Market, on_change: Callable[[Order], None] | None = None, *,
        margin_allowed: bool = False,
    ) -> None:  # fmt: skip
        """Open the account of the market's seed."""
        raise NotImplementedError

    def advance(self, now_ms: int | None = None) -> None:
        """Let everything happen up to `now_ms` (default: the market's now).

        Trades meet working orders and triggers; closes, settlements, expiries and
        midnights come in their order, however far the clock has jumped. A clock
        that went back by more than a few seconds resets the desk.
        """
        raise NotImplementedError

    def reset(self, now_ms: int | None = None) -> None:
        """Forget every order and trade; the account starts again."""
        raise NotImplementedError

    # -- orders --

    def place(self, request: OrderRequest) -> Order:
        """Place an order and return it after it has met the present book.

        Raises
        ------
        Refusal
            With the broker's text; then there is no order.
        """
        raise NotImplementedError

    def modify(
        self, order_id: str, *, kind: Kind | None = None, quantity: int | None = None,
        price_ticks: int | None = None, trigger_ticks: int | None = None,
        validity: Validity | None = None, valid_until: date | None = None,
        disclosed: int | None = None,
    ) -> Order:  # fmt: skip
        """Change a working order; what is None stays. `quantity` is the new total.

        Raises
        ------
        Refusal
            Unknown or finished order, or the new order would be refused.
        """
        raise NotImplementedError

    def cancel(self, order_id: str) -> Order:
        """Cancel what is pending of an order.

        Raises
        ------
        Refusal
            Unknown or finished order.
        """
        raise NotImplementedError

    def square_off(self, request: OrderRequest) -> Order:
        """Place an order that closes (part of) an open position.

        Raises
        ------
        Refusal
            When there is no such position, or as `place`.
        """
        raise NotImplementedError

    def order(self, order_id: str) -> Order | None:
        """Return an order, or None."""
        raise NotImplementedError

    def orders(
        self, exchange: str | None = None, start_ms: int = 0, end_ms: int | None = None
    ) -> list[Order]:
        """Return the orders placed in [start_ms, end_ms), oldest first."""
        raise NotImplementedError

    def fills(
        self, exchange: str | None = None, start_ms: int = 0, end_ms: int | None = None, *,
        order_id: str | None = None, product: Product | None = None,
        action: Action | None = None, code: str | None = None,
    ) -> list[Fill]:  # fmt: skip
        """Return the fills in [start_ms, end_ms) with these fields, oldest first."""
        raise NotImplementedError

    # -- account --

    def positions(self, *, every: bool = False) -> list[Position]:
        """Return what is open and what was traded today; `every` adds what was closed earlier."""
        raise NotImplementedError

    def holdings(self) -> list[Holding]:
        """Return the shares held, by code; those wholly sold today are listed with quantity 0."""
        raise NotImplementedError

    def funds(self) -> Funds:
        """Return the money."""
        raise NotImplementedError

    def transfer(self, credit: bool, paise: int, segment: MoneySegment) -> None:
        """Move money to (`credit`) a segment or back to the bank.

        Raises
        ------
        Refusal
            When there is not so much free.
        """
        raise NotImplementedError

    def margin(self, exchange: str) -> MarginLimits:
        """Return what an exchange's segment can spend; `Refusal` for an unknown exchange."""
        raise NotImplementedError

    # -- calculators --

    def preview(self, request: OrderRequest) -> Charges:
        """Return what an order would cost in charges if it were filled at its limit."""
        raise NotImplementedError

    def limit_calculator(self, contract: Contract, action: Action) -> tuple[int, int, int]:
        """Return (limit price in ticks, margin of one lot in paise, open quantity to close).

        The limit is the aggressive one the broker makes of a market order.
        """
        raise NotImplementedError

    def margin_calculator(self, legs: Sequence[MarginLeg]) -> MarginResult:
        """Return what these positions would hold back."""
        raise NotImplementedError

    # -- good till triggered --

    def gtt_place(
        self, kind: GttKind, contract: Contract, product: Product, quantity: int, *,
        legs: Sequence[GttLeg], fresh: OrderRequest | None = None,
    ) -> Gtt:  # fmt: skip
        """Place a GTT; ``cover_oco`` places its `fresh` order at once.

        Raises
        ------
        Refusal
            When the legs do not fit together, or as `place` for the fresh order.
        """
        raise NotImplementedError

    def gtt_modify(self, gtt_id: str, legs: Sequence[GttLeg]) -> Gtt:
        """Give the waiting legs of a GTT new limits and triggers; legs are matched by kind."""
        raise NotImplementedError

    def gtt_cancel(self, gtt_id: str) -> Gtt:
        """Cancel the waiting legs, and the fresh order if it still works."""
        raise NotImplementedError

    def gtt_book(
        self, exchange: str | None = None, start_ms: int = 0, end_ms: int | None = None
    ) -> list[Gtt]:
        """Return the GTTs placed in [start_ms, end_ms), oldest first."""
        raise NotImplementedError
