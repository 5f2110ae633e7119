"""Good-till-trigger orders: one trigger, or a target and a stop-loss that cancel each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from breeze_lab.practice.orders import Action, Product
    from breeze_lab.practice.universe import Contract

__all__ = ["Gtt", "GttKind", "GttLeg", "LegKind", "LegStatus"]

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
