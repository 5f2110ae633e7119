"""What the broker and the exchange ask of an order before it may stand in the book.

The broker's questions end in a `Refusal`. The exchange's (`exchange_answer`)
make an order that is at once ``Rejected`` or ``Freezed``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from breeze_lab.practice.desk.orders import Refusal
from breeze_lab.practice.exchange.days import day_number, day_of, number_at
from breeze_lab.practice.exchange.universe import RUPEE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from breeze_lab.practice.desk.ledger import Ledger
    from breeze_lab.practice.desk.orders import Order, OrderRequest, Product, Status
    from breeze_lab.practice.desk.timetable import Timetable
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = [
    "UNKNOWN_CONTRACT",
    "check_contract",
    "check_fields",
    "check_quantity",
    "check_shares",
    "exchange_answer",
    "freeze_quantity",
]

UNKNOWN_CONTRACT: Final = "Invalid contract. Please check stock code, expiry, strike and right."
_CLOSED: Final = "Cannot place orders when exchange is closed.:"
_IN_EXPIRY: Final = "Cannot place orders when exchange is in Expiry.:"
_MOST: Final = 10_000_000
#: A good-till-date order lives at most so many days.
_VTC_DAYS: Final = 365
#: A disclosed quantity is a tenth of the order or more.
_LEAST_DISCLOSED: Final = 10
#: Lots the exchange takes in one order, by tier.
_FREEZE_LOTS: Final = {"I": 27, "A": 40, "B": 40, "C": 40, "M": 100, "X": 10_000}
_KINDS: Final[dict[Product, str]] = {
    "cash": "stock", "margin": "stock", "mtf": "stock", "btst": "stock", "futures": "future",
    "options": "option",
}  # fmt: skip


def freeze_quantity(contract: Contract) -> int:
    """Return the largest quantity the exchange takes without a question."""
    if not contract.is_derivative:
        return _MOST
    return _FREEZE_LOTS[contract.tier] * contract.unit


def check_contract(
    prices: Prices, timetable: Timetable, contract: Contract, product: Product, now_ms: int,
    *, margin_allowed: bool,
) -> None:  # fmt: skip
    """Refuse what does not trade now, or not as this product."""
    if contract.kind in ("index", "spot"):
        raise Refusal(f"{contract.code} is not available for trading.")
    if product == "margin" and not margin_allowed:
        raise Refusal("Margin and OptionPlus orders are not permitted through API.")
    if _KINDS.get(product) != contract.kind:
        raise Refusal(f"Product {product} is not available for this contract.")
    if now_ms >= timetable.last_close_ms(contract):
        raise Refusal(_IN_EXPIRY)
    if not timetable.is_open(contract.segment, now_ms):
        raise Refusal(_CLOSED)
    if not prices.is_open_day(contract, number_at(now_ms / 1000)):
        raise Refusal(UNKNOWN_CONTRACT)


def check_quantity(contract: Contract, quantity: int) -> None:
    """Refuse a quantity no exchange takes."""
    if quantity <= 0:
        raise Refusal("Quantity should be greater than zero.")
    if quantity > _MOST:
        raise Refusal(f"Quantity should not be more than {_MOST}.")
    if quantity % contract.unit:
        raise Refusal(f"Quantity should be in multiples of lot size {contract.unit}.")


def check_fields(request: OrderRequest, number: int) -> None:
    """Refuse what contradicts itself, on day `number`."""
    check_quantity(request.contract, request.quantity)
    if request.action not in ("buy", "sell"):
        raise Refusal("Action should be either buy or sell.")
    if request.kind not in ("limit", "stoploss"):
        raise Refusal("Market orders are not permitted through API. Please place a limit order.")
    if request.price_ticks <= 0:
        raise Refusal("Limit price should be greater than zero.")
    if request.product == "btst" and request.sign > 0:
        raise Refusal("BTST is only for selling shares that await settlement.")
    _check_trigger(request)
    _check_validity(request, number)
    _check_disclosed(request)


def _check_trigger(request: OrderRequest) -> None:
    if request.kind == "limit":
        return
    if request.trigger_ticks <= 0:
        raise Refusal("Stop loss trigger price should be greater than zero.")
    if (request.trigger_ticks - request.price_ticks) * request.sign > 0:
        side = "less" if request.sign > 0 else "greater"
        raise Refusal(
            f"Stop loss trigger price of a {request.action} order should be {side} than or equal "
            "to its limit price."
        )
    if request.validity == "ioc":
        raise Refusal("A stop loss order cannot be Immediate or Cancel.")


def _check_validity(request: OrderRequest, number: int) -> None:
    if request.validity not in ("day", "ioc", "vtc"):
        raise Refusal("Validity should be either day, ioc or vtc.")
    if request.validity != "vtc":
        return
    if request.valid_until is None:
        raise Refusal("Validity date cannot be empty for a VTC order.")
    until = day_number(request.valid_until)
    if until < number:
        raise Refusal("Validity date cannot be before the trade date.")
    if until > number + _VTC_DAYS:
        raise Refusal(f"Validity date cannot be more than {_VTC_DAYS} days ahead.")
    if request.contract.expiry and request.valid_until > request.contract.expiry:
        raise Refusal("Validity date cannot be after the contract's expiry.")


def _check_disclosed(request: OrderRequest) -> None:
    if not request.disclosed:
        return
    if request.validity == "ioc":
        raise Refusal("Disclosed quantity is not allowed for an Immediate or Cancel order.")
    if not 0 < request.disclosed <= request.quantity or request.disclosed % request.contract.unit:
        raise Refusal("Disclosed quantity should be a part of the order quantity.")
    if request.disclosed * _LEAST_DISCLOSED < request.quantity:
        raise Refusal("Disclosed quantity should be at least 10% of the order quantity.")


def check_shares(
    ledger: Ledger, request: OrderRequest, quantity: int, others: Sequence[Order], number: int
) -> None:
    """Refuse to sell shares that are not there.

    Parameters
    ----------
    quantity
        Still to be sold.
    others
        Every other working order for the same share.
    """
    if request.sign > 0 or request.product not in ("cash", "btst", "mtf"):
        return
    if request.product == "mtf":
        spoken = sum(o.pending for o in others if o.product == "mtf" and o.sign < 0)
        free = ledger.quantity(request.contract, "mtf") - spoken
        if quantity > free:
            raise Refusal(f"Insufficient MTF position. Available quantity: {max(free, 0)}")
        return
    shares = ledger.shares_of(request.contract)
    sales = [o for o in others if o.product in ("cash", "btst") and o.sign < 0]
    same = sum(o.pending for o in sales if o.product == request.product)
    if request.product == "btst":
        free = shares.awaiting(number) - same
        text = "No shares await settlement for BTST. Available quantity: "
    else:
        free = shares.settled + shares.today(number) - same
        text = "Insufficient demat allocation to sell. Available quantity: "
    free = min(free, shares.quantity - sum(o.pending for o in sales))
    if quantity > free:
        raise Refusal(f"{text}{max(free, 0)}")


def exchange_answer(prices: Prices, request: OrderRequest, number: int) -> tuple[Status, str]:
    """Return ("Ordered", "") or what else the exchange makes of an order, and why."""
    lower, upper = prices.circuit(request.contract, number)
    if not lower <= request.price_ticks <= upper:
        tick = request.contract.tick / RUPEE
        return "Rejected", (
            f"Price is outside the circuit limits {lower * tick:g} to {upper * tick:g} "
            f"of {day_of(number):%d-%m-%Y}."
        )
    most = freeze_quantity(request.contract)
    if request.quantity > most:
        return "Freezed", f"Quantity exceeds the exchange's freeze quantity of {most}."
    return "Ordered", ""
