"""The matching engine of one account: what becomes of an order, and when.

A *limit* order waits in the book; a *stoploss* order waits outside it until a
trade touches its trigger, then it is a limit order. ``ioc`` takes what the book
shows at this moment and cancels the rest, ``day`` expires at the segment's
close, ``vtc`` lives on (``Queued`` while the market is closed) to the close of
its last day. An order that arrives meets the book at the book's prices, best
first; one that waits is met at its own limit. Own orders rank by price, then
time, and never meet each other. What one state of the book shows is taken once.

At a segment's close: orders expire, intraday (``margin``) positions are squared
off at the last price, contracts of that day settle in cash: a future at its
underlying's close, an option at what it is worth then (real stock derivatives
are delivered instead). Those fills have no order and an origin of their own.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.practice.desk import checks
from breeze_lab.practice.desk.charges import order_charges
from breeze_lab.practice.desk.holds import hold
from breeze_lab.practice.desk.ledger import Ledger, share_key
from breeze_lab.practice.desk.orders import (
    WORKING,
    Fill,
    Order,
    OrderRequest,
    Refusal,
    money_segment,
    value_paise,
)
from breeze_lab.practice.desk.tape import NO_REACH, Reach, Tape
from breeze_lab.practice.desk.timetable import Timetable
from breeze_lab.practice.desk.triggers import Triggers
from breeze_lab.practice.exchange.days import day_number, day_of, number_at
from breeze_lab.practice.exchange.universe import RUPEE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from breeze_lab.clock import Segment
    from breeze_lab.practice.desk.ledger import Open
    from breeze_lab.practice.desk.orders import Action, MoneySegment, Origin, Product
    from breeze_lab.practice.desk.timetable import Moment
    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["Engine"]

#: No offer is better than the last trade, or what a derivative is worth, by more than these ticks.
_NEAR_TICKS: Final = 2
#: In the book, or waiting for a trigger.
_IN_BOOK: Final = ("Ordered", "Partially Executed")
_REQUEST: Final = tuple(f.name for f in fields(OrderRequest))


class Engine:
    """Orders and what happens to them; not safe for threads (see `Desk`).

    Parameters
    ----------
    market, on_change, margin_allowed
        See `Desk`.
    """

    def __init__(
        self, market: Market, on_change: Callable[[Order], None] | None, *, margin_allowed: bool
    ) -> None:
        """Begin at the market's time."""
        self.market = market
        self.on_change = on_change
        self.margin_allowed = margin_allowed
        self.start(market.clock.now_ms())

    @property
    def prices(self) -> Prices:
        """Where trades come from."""
        return self.market.prices

    def start(self, now_ms: int) -> None:
        """Begin with a new account at `now_ms`."""
        self.now_ms = now_ms
        self.number = number_at(now_ms / 1000)
        self.timetable = Timetable(self.prices)
        self.ledger = Ledger(self.prices, self.number)
        self.triggers = Triggers(self)
        self.orders: dict[str, Order] = {}
        #: Ids of working orders by contract, in order of time.
        self.working: dict[str, list[str]] = {}
        #: Orders that meet the book for the first time since they changed or the market opened.
        self.arriving: set[str] = set()
        self.tapes: dict[str, Tape] = {}
        self._count = 0

    # -- an order's life ----------------------------------------------------

    def submit(self, request: OrderRequest) -> Order:
        """Check a request as the broker does and let it in."""
        self.check(request)
        candidate = Order(**{name: getattr(request, name) for name in _REQUEST}, id="")
        self.check_funds(candidate)
        return self.enter(candidate)

    def check(self, request: OrderRequest, replaced: Order | None = None) -> None:
        """Refuse what the broker refuses, funds aside."""
        contract, executed = request.contract, replaced.executed if replaced else 0
        checks.check_contract(
            self.prices, self.timetable, contract, request.product, self.now_ms,
            margin_allowed=self.margin_allowed,
        )  # fmt: skip
        checks.check_fields(request, self.number)
        share = share_key(contract)
        others = [
            order for order in self.all_working()
            if share_key(order.contract) == share and (not replaced or order.id != replaced.id)
        ]  # fmt: skip
        checks.check_shares(self.ledger, request, request.quantity - executed, others, self.number)

    def check_funds(self, candidate: Order) -> None:
        """Refuse an order that holds back more than its segment has free.

        What only closes is always taken: nobody is locked into a position.
        """
        if self._only_closes(candidate):
            return
        segment = money_segment(candidate.contract)
        before, after = self.held(segment), self.held(segment, candidate)
        money = self.ledger.money[segment]
        if after > before and after > money:
            raise Refusal(
                f"Insufficient limits. Required: {(after - before) / 100:.2f} "
                f"Available: {max(money - before, 0) / 100:.2f}"
            )

    def _only_closes(self, candidate: Order) -> bool:
        quantity = self.ledger.quantity(candidate.contract, candidate.product)
        closing = candidate.pending + sum(
            order.pending for order in self.all_working()
            if order.contract.key == candidate.contract.key and order.id != candidate.id
            and (order.product, order.action) == (candidate.product, candidate.action)
        )  # fmt: skip
        return quantity * candidate.sign < 0 and closing <= abs(quantity)

    def enter(self, candidate: Order) -> Order:
        """Give an order its number, ask the exchange, and let it meet the book."""
        contract = candidate.contract
        self._count += 1
        order_id, pipe = self._new_id(contract, candidate.origin)
        order = replace(
            candidate, id=order_id, pipe=pipe, placed_ms=self.now_ms,
            triggered=candidate.kind == "limit",
        )  # fmt: skip
        self.working.setdefault(contract.key, []).append(order.id)
        order = self.change(order)
        status, reason = checks.exchange_answer(self.prices, order, self.number)
        if status == "Rejected":
            return self.change(order, status=status, reason=reason, cancelled=order.quantity)
        reference = f"{1_100_000_000_000_000 + self.number * 100_000_000 + self._count}"
        order = self.change(order, status=status, reason=reason, exchange_reference=reference)
        return self.arrive(order) if status == "Ordered" else order

    def arrive(self, order: Order) -> Order:
        """Let an order meet the present book; what is left of an IOC order is cancelled."""
        self.arriving.add(order.id)
        self.follow(order.contract).stand(self.now_ms)
        self.meet(order.contract.key)
        order = self.orders[order.id]
        if order.validity == "ioc" and not order.is_final:
            return self.cancel_rest(order, "Immediate or Cancel: the book showed no more.")
        return order

    def amend(self, old: Order, new: Order) -> Order:
        """Put a changed order in place of `old`; it goes behind others of its price."""
        if new.quantity <= old.executed:
            raise Refusal("Quantity should be greater than the executed quantity.")
        self.check(new, old)
        status, reason = checks.exchange_answer(self.prices, new, self.number)
        if status != "Ordered":
            raise Refusal(reason)
        kept = old.triggered and old.kind == "stoploss"
        new = replace(new, triggered=new.kind == "limit" or kept)
        self.check_funds(new)
        ids = self.working[new.contract.key]
        ids.append(ids.pop(ids.index(new.id)))
        return self.arrive(self.change(new, modifications=new.modifications + 1))

    def cancel_rest(self, order: Order, reason: str) -> Order:
        """Cancel what is pending."""
        status = "Partially Executed And Cancelled" if order.executed else "Cancelled"
        cancelled = order.cancelled + order.pending
        return self.change(order, status=status, reason=reason, cancelled=cancelled)

    def expire_rest(self, order: Order, reason: str) -> Order:
        """Let what is pending expire."""
        status = "Partially Executed And Expired" if order.executed else "Expired"
        expired = order.expired + order.pending
        return self.change(order, status=status, reason=reason, expired=expired)

    def change(self, order: Order, **changes: Any) -> Order:
        """Make a new picture of an order and tell of it."""
        order = replace(order, changed_ms=self.now_ms, **changes)
        if order.is_final:
            self.working[order.contract.key].remove(order.id)
            self.arriving.discard(order.id)
        order = replace(order, blocked=self._blocked_by(order))
        self.orders[order.id] = order
        if self.on_change is not None:
            self.on_change(order)
        self.triggers.order_changed(order)
        return order

    def _new_id(self, contract: Contract, origin: Origin) -> tuple[str, str]:
        day = day_of(self.number).isoformat().replace("-", "")
        if contract.segment == "cash":
            return f"{day}{contract.exchange[0]}3{self._count:08d}", "3"
        pipe = "14" if origin == "user" else "25"
        return f"{day}{pipe}{self._count:08d}", pipe

    # -- matching -----------------------------------------------------------

    def follow(self, contract: Contract) -> Tape:
        """Return a contract's tape."""
        tape = self.tapes.get(contract.key)
        if tape is None:
            tape = self.tapes[contract.key] = Tape(self.prices, contract, self.now_ms)
        return tape

    def meet(self, key: str) -> None:
        """Let a contract's orders meet its present book."""
        tape = self.tapes[key]
        if not tape.last:
            return
        for order in self._in_book(key):
            if not order.triggered and (tape.last - order.trigger_ticks) * order.sign >= 0:
                self.arriving.add(order.id)
                self.change(order, triggered=True)
        for sign in (1, -1):
            queue = [o for o in self._in_book(key) if o.triggered and o.sign == sign]
            queue.sort(key=lambda order: -order.price_ticks * order.sign)
            if queue:
                self._match(tape, queue)

    def _match(self, tape: Tape, queue: list[Order]) -> None:
        """Give what one side of the book offers to own orders of the other, in their order."""
        action = queue[0].action
        offers = tape.offers(action)
        for waiting in queue:
            order = waiting
            for place, (price, size) in enumerate(offers):
                if order.is_final or (price - order.price_ticks) * order.sign > 0:
                    break
                quantity = min(size, order.pending)
                if quantity:
                    at = price if order.id in self.arriving else order.price_ticks
                    order = self.fill(order, at, quantity)
                    tape.take(action, price, quantity)
                    offers[place] = price, size - quantity
            self.arriving.discard(order.id)

    def fill(self, order: Order, ticks: int, quantity: int) -> Order:
        """Execute part of an order and book it."""
        value = value_paise(order.contract, ticks, quantity)
        total = order_charges(order.contract, order.product, order.action, order.value + value)
        self._count += 1
        fill = Fill(
            id=self._trade_id(), exchange_id=f"{500_000_000 + self._count}", order_id=order.id,
            contract=order.contract, product=order.product, action=order.action,
            quantity=quantity, price_ticks=ticks, time_ms=self.now_ms, value=value,
            charges=total.minus(order.charges), origin=order.origin,
        )  # fmt: skip
        self.book(fill)
        done = order.pending == quantity
        return self.change(
            order, status="Executed" if done else "Partially Executed",
            executed=order.executed + quantity, value=order.value + value, charges=total,
        )  # fmt: skip

    def book(self, fill: Fill) -> None:
        """Put a fill into the account's books."""
        self.ledger.book(fill, self.timetable.delivery_ms(self.number))

    def _trade_id(self) -> str:
        day = day_of(self.number)
        return f"{day.year}/{day.timetuple().tm_yday:04d}/{self._count:08d}"

    # -- what is held back --------------------------------------------------

    def all_working(self) -> Iterable[Order]:
        """Yield every working order, oldest first within a contract."""
        return (self.orders[order_id] for ids in self.working.values() for order_id in ids)

    def _in_book(self, key: str) -> list[Order]:
        orders = (self.orders[order_id] for order_id in self.working.get(key, ()))
        return [order for order in orders if order.status in _IN_BOOK]

    def held(self, segment: MoneySegment, candidate: Order | None = None) -> int:
        """Return the paise held back in a segment, with `candidate` in place of its old self."""
        groups: dict[tuple[str, Product], list[Order]] = {}
        contracts: dict[str, Contract] = {}
        for position in self.ledger.open.values():
            if position.quantity:
                groups[position.contract.key, position.product] = []
                contracts[position.contract.key] = position.contract
        orders = [o for o in self.all_working() if candidate is None or o.id != candidate.id]
        for order in [*orders, candidate] if candidate else orders:
            groups.setdefault((order.contract.key, order.product), []).append(order)
            contracts[order.contract.key] = order.contract
        return sum(
            self._hold(contracts[key], product, found)
            for (key, product), found in groups.items()
            if money_segment(contracts[key]) == segment
        )

    def _hold(self, contract: Contract, product: Product, orders: list[Order]) -> int:
        quantity = self.ledger.quantity(contract, product)
        return hold(self.prices, contract, product, self.number, quantity=quantity, orders=orders)

    def _blocked_by(self, order: Order) -> int:
        """Return what an order alone holds back: the difference it makes."""
        if order.status not in WORKING:
            return 0
        ids = (i for i in self.working.get(order.contract.key, ()) if i != order.id)
        others = [o for o in map(self.orders.__getitem__, ids) if o.product == order.product]
        with_it = self._hold(order.contract, order.product, [*others, order])
        return with_it - self._hold(order.contract, order.product, others)

    # -- time ---------------------------------------------------------------

    def go(self, now_ms: int) -> None:
        """Let everything happen up to `now_ms`, which is not before the engine's time."""
        for moment in self.timetable.between(self.now_ms, now_ms):
            self._trade(moment.time_ms - 1)
            self.now_ms = moment.time_ms
            self._happen(moment)
        self._trade(now_ms)
        self.now_ms = now_ms

    def _reach(self, key: str) -> Reach:
        """Return which trades of a contract matter to its orders and triggers."""
        low, high = NO_REACH
        for order in self._in_book(key):
            if not order.triggered:
                rising, edge = order.sign > 0, order.trigger_ticks
            else:
                rising = order.sign < 0
                edge = order.price_ticks + order.sign * _NEAR_TICKS
            low, high = (low, min(high, edge)) if rising else (max(low, edge), high)
        for leg in self.triggers.waiting(key):
            edge = leg.trigger_ticks
            low, high = (low, min(high, edge)) if leg.rising else (max(low, edge), high)
        return Reach(low, high)

    def _trade(self, until_ms: int) -> None:
        """Let contracts trade up to `until_ms`, in order of time, and meet their orders."""
        reach = {key: self._reach(key) for key in self.tapes}
        due = {
            key: time_ms for key, tape in self.tapes.items()
            if (time_ms := tape.next_ms(until_ms, reach[key])) is not None
        }  # fmt: skip
        while due:
            key = min(due, key=lambda k: (due[k], k))
            tape, self.now_ms = self.tapes[key], due[key]
            tape.step(self.now_ms)
            if tape.matters(reach[key]):
                self.meet(key)
                self.triggers.traded(key, tape.last)
                reach[key] = self._reach(key)
            then = tape.next_ms(until_ms, reach[key])
            if then is None:
                del due[key]
            else:
                due[key] = then

    def _happen(self, moment: Moment) -> None:
        if moment.what == "midnight":
            self.number = moment.number
            self._cease(None, moment.number - 1)
            self.ledger.new_day(moment.number)
            for key in [key for key in self.tapes if self._reach(key) == NO_REACH]:
                del self.tapes[key]
        elif moment.segment is not None and moment.what == "open":
            self._open(moment.segment)
        elif moment.segment is not None:
            self._close(moment.segment, moment.number)

    def _open(self, segment: Segment) -> None:
        for order in list(self.all_working()):
            if order.contract.segment == segment and order.status in ("Queued", *_IN_BOOK):
                self.arriving.add(order.id)
                if order.status == "Queued":
                    self.change(order, status="Ordered")
                self.follow(order.contract)

    def _close(self, segment: Segment, number: int) -> None:
        today = day_of(number)
        for order in list(self.all_working()):
            if order.contract.segment != segment:
                continue
            last = order.valid_until if order.validity == "vtc" else None
            if last is None or last <= today or order.status == "Freezed":
                self.expire_rest(order, "Not executed by the close of its last day.")
            elif order.status == "Ordered":
                self.change(order, status="Queued")
        for position in [p for p in self.ledger.open.values() if p.product == "margin"]:
            if position.contract.segment == segment and position.quantity:
                self._settle(position, self._closing_ticks(position.contract), "auto")
        self._cease(segment, number)
        if segment == "cash":
            for shares in self.ledger.shares.values():
                shares.settle(self.now_ms)

    def _cease(self, segment: Segment | None, number: int) -> None:
        """Settle what expired on or before a day, in a segment or in all."""

        def over(contract: Contract) -> bool:
            right = segment is None or contract.segment == segment
            return right and contract.expiry is not None and contract.expiry <= day_of(number)

        for order in [order for order in self.all_working() if over(order.contract)]:
            self.expire_rest(order, "The contract has expired.")
        for position in [p for p in self.ledger.open.values() if over(p.contract) and p.quantity]:
            self._settle(position, self.settlement_ticks(position.contract), "expiry")
        self.triggers.expire(over)

    def _closing_ticks(self, contract: Contract) -> int:
        tape = self.follow(contract)
        tape.stand(self.now_ms - 1)
        return tape.last or int(self.prices.day_closes(contract, np.array([self.number]))[0])

    def settlement_ticks(self, contract: Contract) -> int:
        """Return at what an expiring contract settles, in its ticks, rounded half up."""
        source = contract.leader or contract
        number = day_number(contract.expiry) if contract.expiry else self.number
        worth = int(self.prices.day_closes(source, np.array([number]))[0]) * source.tick
        if contract.strike is not None:
            call = worth - round(contract.strike * RUPEE)
            worth = max(call if contract.right == "CE" else -call, 0)
        return (worth * 2 + contract.tick) // (2 * contract.tick)

    def _settle(self, position: Open, ticks: int, origin: Origin) -> None:
        """Close a position without an order."""
        contract, quantity = position.contract, abs(position.quantity)
        action: Action = "sell" if position.quantity > 0 else "buy"
        value = value_paise(contract, ticks, quantity)
        self._count += 1
        self.book(
            Fill(
                id=self._trade_id(), exchange_id=f"{500_000_000 + self._count}", order_id="",
                contract=contract, product=position.product, action=action, quantity=quantity,
                price_ticks=ticks, time_ms=self.now_ms, value=value, origin=origin,
                charges=order_charges(
                    contract, position.product, action, value, settlement=origin == "expiry"
                ),
            )
        )  # fmt: skip
