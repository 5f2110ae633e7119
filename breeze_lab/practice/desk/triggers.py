"""Good-till-trigger orders: one trigger, or a target and a stop-loss that cancel each other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from breeze_lab.practice.desk.checks import check_quantity
from breeze_lab.practice.desk.orders import OrderRequest, Refusal
from breeze_lab.practice.exchange.days import day_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from breeze_lab.practice.desk.engine import Engine
    from breeze_lab.practice.desk.orders import Action, Order, Product
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["Gtt", "GttKind", "GttLeg", "LegKind", "LegStatus", "Triggers"]

GttKind = Literal["single", "cover_oco", "oco"]
#: A single trigger's leg has no kind of its own.
LegKind = Literal["target", "stoploss", "single"]
#: ``Inactive`` waits for its fresh order, ``Active`` for its trigger; ``Triggered`` has placed.
LegStatus = Literal["Inactive", "Active", "Triggered", "Rejected", "Cancelled", "Expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GttLeg:
    """One leg of a GTT.

    Parameters
    ----------
    kind, action, limit_ticks, trigger_ticks
        What it places, at which limit, and the last traded price that sets it off.
    status, reason
        Where it stands; why, when its order was refused.
    rising
        Whether it waits for the price to rise to its trigger.
    order_id
        Of the order it placed; empty before.
    """

    kind: LegKind
    action: Action
    limit_ticks: int
    trigger_ticks: int
    status: LegStatus = "Inactive"
    reason: str = ""
    rising: bool = True
    order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gtt:
    """One good-till-trigger order.

    Parameters
    ----------
    id
        16 digits: ``YYYYMMDD`` and a number.
    kind
        ``cover_oco`` has placed a fresh order; its legs become active with its fill.
    quantity
        Of each leg, in reported units.
    legs
        One, or a target and a stop-loss.
    fresh_order_id
        Of ``cover_oco``; else empty.
    placed_ms
        When, Unix ms.
    """

    id: str
    kind: GttKind
    contract: Contract
    product: Product
    quantity: int
    legs: tuple[GttLeg, ...]
    fresh_order_id: str = ""
    placed_ms: int = 0

    @property
    def is_final(self) -> bool:
        """Whether no leg waits any more."""
        return all(leg.status not in ("Inactive", "Active") for leg in self.legs)


class Triggers:
    """The account's GTTs.

    Parameters
    ----------
    engine
        Which places what they trigger.
    """

    def __init__(self, engine: Engine) -> None:
        """Begin with none."""
        self._engine = engine
        self.book: dict[str, Gtt] = {}
        self._by_fresh: dict[str, str] = {}
        self._by_key: dict[str, list[str]] = {}

    def place(
        self, kind: GttKind, contract: Contract, product: Product, quantity: int, *,
        legs: Sequence[GttLeg], fresh: OrderRequest | None,
    ) -> Gtt:  # fmt: skip
        """Place one; see `Desk.gtt_place`."""
        engine = self._engine
        if contract.kind in ("index", "spot"):
            raise Refusal(f"{contract.code} is not available for trading.")
        if engine.now_ms >= engine.timetable.last_close_ms(contract):
            raise Refusal("Cannot place orders when exchange is in Expiry.:")
        check_quantity(contract, quantity)
        if (kind == "cover_oco") != (fresh is not None):
            raise Refusal("A Cover OCO order needs a fresh order, and only a Cover OCO order.")
        ready = self._ready(kind, contract, legs, fresh)
        fresh_id = ""
        if fresh is not None:
            fresh_id = engine.submit(replace(fresh, origin="gtt")).id
        else:
            ready = tuple(replace(leg, status="Active") for leg in ready)
            engine.follow(contract).stand(engine.now_ms)
        day = day_of(engine.number).isoformat().replace("-", "")
        gtt = Gtt(
            id=f"{day}{len(self.book) + 1:08d}", kind=kind, contract=contract, product=product,
            quantity=quantity, legs=ready, fresh_order_id=fresh_id, placed_ms=engine.now_ms,
        )  # fmt: skip
        self.book[gtt.id] = gtt
        self._by_key.setdefault(contract.key, []).append(gtt.id)
        if fresh_id:
            self._by_fresh[fresh_id] = gtt.id
            self.order_changed(engine.orders[fresh_id])
        return self.book[gtt.id]

    def _ready(
        self, kind: GttKind, contract: Contract, legs: Sequence[GttLeg], fresh: OrderRequest | None
    ) -> tuple[GttLeg, ...]:
        """Return legs that fit together, each with the direction it waits for."""
        if any(leg.limit_ticks <= 0 or leg.trigger_ticks <= 0 for leg in legs):
            raise Refusal("Limit and trigger price should be greater than zero.")
        if kind == "single":
            if [leg.kind for leg in legs] != ["single"]:
                raise Refusal("A single GTT order has exactly one leg.")
            tape = self._engine.follow(contract)
            tape.stand(self._engine.now_ms)
            return (replace(legs[0], rising=legs[0].trigger_ticks >= tape.last),)
        by_kind = {leg.kind: leg for leg in legs}
        if len(legs) != len(by_kind) or set(by_kind) != {"target", "stoploss"}:
            raise Refusal("An OCO order has a target and a stoploss leg.")
        target, stop = by_kind["target"], by_kind["stoploss"]
        if target.action != stop.action or (fresh and fresh.action == target.action):
            raise Refusal("Both OCO legs should be opposite to the fresh order.")
        edges = [stop.trigger_ticks, *([fresh.price_ticks] if fresh else []), target.trigger_ticks]
        rising = target.action == "sell"
        ordered = edges if rising else edges[::-1]
        if any(low >= high for low, high in itertools.pairwise(ordered)):
            raise Refusal("The price should lie between the stoploss and the target trigger.")
        return tuple(replace(leg, rising=(leg.kind == "target") == rising) for leg in legs)

    def modify(self, gtt_id: str, legs: Sequence[GttLeg]) -> Gtt:
        """Change waiting legs; see `Desk.gtt_modify`."""
        gtt = self._working(gtt_id)
        new = {leg.kind: leg for leg in legs}
        if not new or not set(new) <= {leg.kind for leg in gtt.legs}:
            raise Refusal("The GTT order has no such leg.")
        changed = [
            replace(leg, limit_ticks=new[leg.kind].limit_ticks,
                    trigger_ticks=new[leg.kind].trigger_ticks)
            if leg.kind in new else leg
            for leg in gtt.legs
        ]  # fmt: skip
        if any(new[leg.kind].action != leg.action for leg in gtt.legs if leg.kind in new):
            raise Refusal("The action of a GTT order cannot be modified.")
        kind: GttKind = "oco" if gtt.kind == "cover_oco" else gtt.kind
        return self._keep(replace(gtt, legs=self._ready(kind, gtt.contract, changed, None)))

    def cancel(self, gtt_id: str) -> Gtt:
        """Cancel waiting legs; see `Desk.gtt_cancel`."""
        gtt = self._end(self._working(gtt_id), "Cancelled")
        fresh = self._engine.orders.get(gtt.fresh_order_id)
        if fresh is not None and not fresh.is_final:
            self._engine.cancel_rest(fresh, "The GTT order was cancelled.")
        return gtt

    def _working(self, gtt_id: str) -> Gtt:
        gtt = self.book.get(gtt_id)
        if gtt is None:
            raise Refusal("GTT order not found.")
        if gtt.is_final:
            raise Refusal("GTT order has already been triggered or cancelled.")
        return gtt

    def _keep(self, gtt: Gtt) -> Gtt:
        self.book[gtt.id] = gtt
        if gtt.is_final:
            self._by_fresh.pop(gtt.fresh_order_id, None)
            ids = self._by_key.get(gtt.contract.key, [])
            if gtt.id in ids:
                ids.remove(gtt.id)
        return gtt

    def _end(self, gtt: Gtt, status: LegStatus, reason: str = "") -> Gtt:
        legs = tuple(
            replace(leg, status=status, reason=reason)
            if leg.status in ("Inactive", "Active") else leg
            for leg in gtt.legs
        )  # fmt: skip
        return self._keep(replace(gtt, legs=legs))

    # -- what the engine tells ----------------------------------------------

    def waiting(self, key: str) -> list[GttLeg]:
        """Return the legs of a contract that wait for a trade."""
        found = (self.book[gtt_id] for gtt_id in self._by_key.get(key, ()))
        return [leg for gtt in found for leg in gtt.legs if leg.status == "Active"]

    def order_changed(self, order: Order) -> None:
        """Make the legs active when their fresh order has ended with something executed."""
        gtt_id = self._by_fresh.get(order.id)
        if gtt_id is None or not order.is_final:
            return
        del self._by_fresh[order.id]
        gtt = self.book[gtt_id]
        if not order.executed:
            self._end(gtt, "Cancelled", f"The fresh order was {order.status}.")
            return
        legs = tuple(replace(leg, status="Active") for leg in gtt.legs)
        self._keep(replace(gtt, quantity=order.executed, legs=legs))

    def traded(self, key: str, last: int) -> None:
        """Set off what a trade at `last` ticks touches; one leg cancels the other."""
        for gtt_id in list(self._by_key.get(key, ())):
            gtt = self.book[gtt_id]
            for leg in gtt.legs:
                touched = last >= leg.trigger_ticks if leg.rising else last <= leg.trigger_ticks
                if leg.status == "Active" and touched:
                    self._fire(gtt, leg)
                    break

    def _fire(self, gtt: Gtt, leg: GttLeg) -> None:
        request = OrderRequest(
            contract=gtt.contract, product=gtt.product, action=leg.action, quantity=gtt.quantity,
            price_ticks=leg.limit_ticks, origin="gtt",
        )  # fmt: skip
        # Ended first, so that nothing its order does can set it off again.
        rest = self._end(gtt, "Cancelled", "The other leg was triggered.")
        try:
            order = self._engine.submit(request)
            done = replace(leg, status="Triggered", order_id=order.id)
        except Refusal as refusal:
            done = replace(leg, status="Rejected", reason=str(refusal))
        legs = tuple(done if other.kind == leg.kind else other for other in rest.legs)
        self._keep(replace(rest, legs=legs))

    def expire(self, over: Callable[[Contract], bool]) -> None:
        """End the GTTs of contracts that ceased to trade."""
        for gtt in list(self.book.values()):
            if not gtt.is_final and over(gtt.contract):
                self._end(gtt, "Expired", "The contract has expired.")
