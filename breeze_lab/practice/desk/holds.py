"""What orders and positions hold back of the account's money.

Worked out afresh from positions and working orders each time, so that nothing
can be forgotten when an order ends. Within a day an execution never holds back
or costs more than its order did: buys are held at their limit with their
charges, margins follow yesterday's close, a sale of a marked product is held
with the charges at the upper circuit limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breeze_lab.practice.desk.charges import MARKED, margin, order_charges
from breeze_lab.practice.desk.orders import value_paise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from breeze_lab.practice.desk.orders import Order, Product
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["hold", "position_margin"]


def position_margin(
    prices: Prices, contract: Contract, product: Product, number: int, quantity: int
) -> int:
    """Return the margin in paise of an open quantity: none for what was paid for."""
    if product in MARKED or (product == "options" and quantity < 0):
        return sum(margin(prices, contract, product, number, quantity))
    return 0


def _still_to_pay(prices: Prices, order: Order, number: int) -> int:
    """Return what the pending part can take out of the account at worst, without margins."""
    contract, limit = order.contract, order.price_ticks
    if order.sign < 0 and order.product in MARKED:
        limit = max(limit, prices.circuit(contract, number)[1])
    rest = value_paise(contract, limit, order.pending)
    charges = order_charges(contract, order.product, order.action, order.value + rest)
    more = charges.minus(order.charges).total
    if order.product in MARKED:
        return more
    return max(more + order.sign * rest, 0)


def hold(
    prices: Prices, contract: Contract, product: Product, number: int, *,
    quantity: int, orders: Sequence[Order],
) -> int:  # fmt: skip
    """Return the paise one contract and product hold back on day `number`.

    Parameters
    ----------
    quantity
        Open now; negative when short.
    orders
        Its working orders. Margin is held for the largest position they can
        still lead to, so an order that only closes holds none.
    """
    total = sum(_still_to_pay(prices, order, number) for order in orders)
    buys = sum(order.pending for order in orders if order.sign > 0)
    sales = sum(order.pending for order in orders if order.sign < 0)
    if product in MARKED:
        worst = max(abs(quantity), abs(quantity + buys), abs(quantity - sales))
    elif product == "options":
        worst = min(quantity - sales, 0)
    else:
        return total
    return total + position_margin(prices, contract, product, number, worst)
