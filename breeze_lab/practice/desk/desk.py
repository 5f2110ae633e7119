"""The desk: one account's orders against the practice market's book.

One lock guards everything; every method may be called from any thread. Each
first lets the market happen up to now (`Desk.advance`), so an answer is never
older than its question.

What is refused at once (`Refusal`: the broker does not take it, there is no
order) and what becomes an order in state ``Rejected`` or ``Freezed`` (the
exchange does not take it: outside the circuit limits, more than the freeze
quantity) is as at the broker. `breeze_lab.practice.desk.engine` says how orders are
matched, `ledger` how they are paid, `charges` what they cost.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.practice.desk import checks
from breeze_lab.practice.desk.charges import margin, net_margin, order_charges
from breeze_lab.practice.desk.engine import Engine
from breeze_lab.practice.desk.holds import position_margin
from breeze_lab.practice.desk.ledger import share_key
from breeze_lab.practice.desk.orders import (
    MODIFIABLE,
    Funds,
    Holding,
    MarginLimits,
    MarginResult,
    Position,
    Refusal,
    money_segment,
    value_paise,
)
from breeze_lab.practice.exchange.days import number_at
from breeze_lab.practice.exchange.universe import RUPEE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from breeze_lab.practice.desk.ledger import Open
    from breeze_lab.practice.desk.orders import (
        Action,
        Charges,
        Fill,
        Kind,
        MarginLeg,
        MoneySegment,
        Order,
        OrderRequest,
        Product,
        Validity,
    )
    from breeze_lab.practice.desk.triggers import Gtt, GttKind, GttLeg
    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["Desk"]

#: A clock that goes back by more than this has been set back; less is a machine keeping time.
_SET_BACK_MS: Final = 5_000
_EXCHANGES: Final[dict[str, MoneySegment]] = {
    "NSE": "equity", "BSE": "equity", "NFO": "fno", "BFO": "fno", "MCX": "commodity",
    "NDX": "currency",
}  # fmt: skip
#: How far from the last price the broker puts the limit it makes of a market order: parts of a
#: thousand, and at least so many rupees.
_PRODUCT_OF: Final[dict[str, Product]] = {"stock": "cash", "future": "futures", "option": "options"}
_AGGRESSIVE: Final = {"option": (100, 5.0), "future": (15, 0.05), "stock": (30, 0.05)}


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
        self._lock = threading.RLock()
        self._engine = self._make_engine(market, on_change, margin_allowed=margin_allowed)

    #: Tests put engines with faults here.
    _make_engine: type[Engine] = Engine

    def advance(self, now_ms: int | None = None) -> None:
        """Let everything happen up to `now_ms` (default: the market's now).

        Trades meet working orders and triggers; closes, settlements, expiries and
        midnights come in their order, however far the clock has jumped. A clock
        that went back by more than a few seconds resets the desk.
        """
        with self._lock:
            now = self._engine.market.clock.now_ms() if now_ms is None else now_ms
            if now < self._engine.now_ms - _SET_BACK_MS:
                self._engine.start(now)
            elif now > self._engine.now_ms:
                self._engine.go(now)

    def reset(self, now_ms: int | None = None) -> None:
        """Forget every order and trade; the account starts again."""
        with self._lock:
            now = self._engine.market.clock.now_ms() if now_ms is None else now_ms
            self._engine.start(now)

    # -- orders --

    def place(self, request: OrderRequest) -> Order:
        """Place an order and return it after it has met the present book.

        Raises
        ------
        Refusal
            With the broker's text; then there is no order.
        """
        with self._lock:
            self.advance()
            return self._engine.submit(request)

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
        with self._lock:
            self.advance()
            old = self._working(order_id)
            if old.status not in MODIFIABLE:
                raise Refusal(f"An order that is {old.status} cannot be modified.")
            wanted: dict[str, Any] = {
                "kind": kind, "quantity": quantity, "price_ticks": price_ticks,
                "trigger_ticks": trigger_ticks, "validity": validity, "valid_until": valid_until,
                "disclosed": disclosed,
            }  # fmt: skip
            changes = {name: value for name, value in wanted.items() if value is not None}
            return self._engine.amend(old, replace(old, **changes))

    def cancel(self, order_id: str) -> Order:
        """Cancel what is pending of an order.

        Raises
        ------
        Refusal
            Unknown or finished order.
        """
        with self._lock:
            self.advance()
            return self._engine.cancel_rest(self._working(order_id), "Cancelled on request.")

    def square_off(self, request: OrderRequest) -> Order:
        """Place an order that closes (part of) an open position.

        Raises
        ------
        Refusal
            When there is no such position, or as `place`.
        """
        with self._lock:
            self.advance()
            held = self._engine.ledger.quantity(request.contract, request.product)
            if held * request.sign >= 0:
                raise Refusal("There is no open position to square off.")
            if request.quantity > abs(held):
                raise Refusal(f"Quantity exceeds the open position of {abs(held)}.")
            return self._engine.submit(replace(request, origin="squareoff"))

    def order(self, order_id: str) -> Order | None:
        """Return an order, or None."""
        with self._lock:
            self.advance()
            return self._engine.orders.get(order_id)

    def orders(
        self, exchange: str | None = None, start_ms: int = 0, end_ms: int | None = None
    ) -> list[Order]:
        """Return the orders placed in [start_ms, end_ms), oldest first."""
        with self._lock:
            self.advance()
            return [
                order for order in self._engine.orders.values()
                if _within(order.contract, order.placed_ms, exchange, start_ms, end_ms)
            ]  # fmt: skip

    def fills(
        self, exchange: str | None = None, start_ms: int = 0, end_ms: int | None = None, *,
        order_id: str | None = None, product: Product | None = None,
        action: Action | None = None, code: str | None = None,
    ) -> list[Fill]:  # fmt: skip
        """Return the fills in [start_ms, end_ms) with these fields, oldest first."""
        with self._lock:
            self.advance()
            return [
                fill for fill in self._engine.ledger.fills
                if _within(fill.contract, fill.time_ms, exchange, start_ms, end_ms)
                and order_id in (None, fill.order_id) and product in (None, fill.product)
                and action in (None, fill.action) and code in (None, fill.contract.code)
            ]  # fmt: skip

    # -- account --

    def positions(self, *, every: bool = False) -> list[Position]:
        """Return what is open and what was traded today; `every` adds what was closed earlier."""
        with self._lock:
            self.advance()
            found = self._engine.ledger.open.values()
            return [
                self._position(position) for position in found
                if every or position.quantity or position.bought or position.sold
            ]  # fmt: skip

    def holdings(self) -> list[Holding]:
        """Return the shares held, by code; those wholly sold today are listed with quantity 0."""
        with self._lock:
            self.advance()
            engine, blocked = self._engine, dict[str, int]()
            for order in engine.all_working():
                if order.product in ("cash", "btst") and order.sign < 0:
                    key = share_key(order.contract)
                    blocked[key] = blocked.get(key, 0) + order.pending
            return [
                Holding(
                    contract=shares.contract, settled=shares.settled,
                    awaiting=shares.awaiting(engine.number), today=shares.today(engine.number),
                    blocked=blocked.get(key, 0), cost=shares.cost, realised=shares.realised,
                    last_ticks=self._last(shares.contract),
                )
                for key, shares in sorted(
                    engine.ledger.shares.items(), key=lambda item: item[1].contract.code
                )
                if shares.quantity or number_at(shares.changed_ms / 1000) == engine.number
            ]  # fmt: skip

    def funds(self) -> Funds:
        """Return the money."""
        with self._lock:
            self.advance()
            ledger = self._engine.ledger
            return Funds(
                bank_account=ledger.bank_account, unallocated=ledger.unallocated,
                allocated=dict(ledger.money),
                blocked={segment: self._engine.held(segment) for segment in ledger.money},
            )  # fmt: skip

    def transfer(self, credit: bool, paise: int, segment: MoneySegment) -> None:
        """Move money to (`credit`) a segment or back to the bank.

        Raises
        ------
        Refusal
            When there is not so much free.
        """
        with self._lock:
            self.advance()
            ledger = self._engine.ledger
            if segment not in ledger.money:
                raise Refusal("Segment should be Equity, FNO, Commodity or Currency.")
            if paise <= 0:
                raise Refusal("Amount should be greater than zero.")
            free = ledger.money[segment] - self._engine.held(segment)
            if paise > (ledger.unallocated if credit else free):
                raise Refusal("Insufficient balance for this transfer.")
            ledger.unallocated += -paise if credit else paise
            ledger.money[segment] += paise if credit else -paise

    def margin(self, exchange: str) -> MarginLimits:
        """Return what an exchange's segment can spend; `Refusal` for an unknown exchange."""
        with self._lock:
            self.advance()
            segment = _EXCHANGES.get(exchange.upper())
            if segment is None:
                raise Refusal("Invalid exchange code.")
            engine = self._engine
            money, held = engine.ledger.money[segment], engine.held(segment)
            margins = sum(
                self._margin_of(position) for position in engine.ledger.open.values()
                if money_segment(position.contract) == segment
            )  # fmt: skip
            return MarginLimits(
                cash_limit=max(money - held, 0), amount_allocated=money, block_by_trade=held,
                isec_margin=margins,
            )  # fmt: skip

    # -- calculators --

    def preview(self, request: OrderRequest) -> Charges:
        """Return what an order would cost in charges if it were filled at its limit."""
        with self._lock:
            checks.check_quantity(request.contract, request.quantity)
            if request.price_ticks <= 0:
                raise Refusal("Limit price should be greater than zero.")
            value = value_paise(request.contract, request.price_ticks, request.quantity)
            return order_charges(request.contract, request.product, request.action, value)

    def limit_calculator(self, contract: Contract, action: Action) -> tuple[int, int, int]:
        """Return (limit price in ticks, margin of one lot in paise, open quantity to close).

        The limit is the aggressive one the broker makes of a market order.
        """
        with self._lock:
            self.advance()
            engine = self._engine
            product = _PRODUCT_OF[contract.kind]
            lower, upper = engine.prices.circuit(contract, engine.number)
            last = self._last(contract)
            part, least = _AGGRESSIVE[contract.kind]
            away = max(-(-last * part // 1000), round(least * RUPEE / contract.tick))
            limit = min(last + away, upper) if action == "buy" else max(last - away, lower)
            sign = -1 if action == "buy" else 1
            held = engine.ledger.quantity(contract, product) * sign
            lots = sum(margin(engine.prices, contract, product, engine.number, contract.unit))
            paid = contract.kind == "option" and action == "buy"
            return limit, 0 if paid else lots, max(held, 0)

    def margin_calculator(self, legs: Sequence[MarginLeg]) -> MarginResult:
        """Return what these positions would hold back."""
        with self._lock:
            self.advance()
            engine = self._engine
            for leg in legs:
                checks.check_quantity(leg.contract, leg.quantity)
            span, exposure, premium = net_margin(engine.prices, engine.number, legs)
            keys = {leg.contract.key for leg in legs}
            held = (p for p in engine.ledger.open.values() if p.contract.key in keys)
            return MarginResult(
                span=span, exposure=exposure, premium=premium,
                already_blocked=sum(self._margin_of(position) for position in held),
            )  # fmt: skip

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
        with self._lock:
            self.advance()
            return self._engine.triggers.place(
                kind, contract, product, quantity, legs=legs, fresh=fresh
            )

    def gtt_modify(self, gtt_id: str, legs: Sequence[GttLeg]) -> Gtt:
        """Give the waiting legs of a GTT new limits and triggers; legs are matched by kind."""
        with self._lock:
            self.advance()
            return self._engine.triggers.modify(gtt_id, legs)

    def gtt_cancel(self, gtt_id: str) -> Gtt:
        """Cancel the waiting legs, and the fresh order if it still works."""
        with self._lock:
            self.advance()
            return self._engine.triggers.cancel(gtt_id)

    def gtt_book(
        self, exchange: str | None = None, start_ms: int = 0, end_ms: int | None = None
    ) -> list[Gtt]:
        """Return the GTTs placed in [start_ms, end_ms), oldest first."""
        with self._lock:
            self.advance()
            return [
                gtt for gtt in self._engine.triggers.book.values()
                if _within(gtt.contract, gtt.placed_ms, exchange, start_ms, end_ms)
            ]  # fmt: skip

    # -- helpers --

    def _working(self, order_id: str) -> Order:
        order = self._engine.orders.get(order_id)
        if order is None:
            raise Refusal("Order not found.")
        if order.is_final:
            raise Refusal(f"Order has already been {order.status.lower()}.")
        return order

    def _last(self, contract: Contract) -> int:
        tape = self._engine.follow(contract)
        tape.stand(self._engine.now_ms)
        return tape.last

    def _margin_of(self, position: Open) -> int:
        engine = self._engine
        return position_margin(
            engine.prices, position.contract, position.product, engine.number, position.quantity
        )

    def _position(self, position: Open) -> Position:
        # Nobody asks what is long closed, and looking it up takes milliseconds.
        alive = position.quantity or position.bought or position.sold
        last = self._last(position.contract) if alive else 0
        worth = value_paise(position.contract, last, abs(position.quantity))
        won = worth - position.cost
        return Position(
            contract=position.contract, product=position.product, quantity=position.quantity,
            cost=position.cost, realised=position.realised, charges=position.charges,
            last_ticks=last, unrealised=won if position.quantity >= 0 else -won,
            margin=self._margin_of(position), bought=position.bought, sold=position.sold,
            changed_ms=position.changed_ms,
        )  # fmt: skip


def _within(
    contract: Contract, time_ms: int, exchange: str | None, start_ms: int, end_ms: int | None
) -> bool:
    """Say whether something of `exchange` happened in [start_ms, end_ms)."""
    inside = start_ms <= time_ms and (end_ms is None or time_ms < end_ms)
    return inside and exchange in (None, contract.exchange)
