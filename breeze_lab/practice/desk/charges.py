"""What trading costs: brokerage, taxes and fees of a trade, and the margin of a position.

Charges are those of the broker's own example (one share at 440 rupees: 0.89)
for cash and the exchanges' published rates for the rest; they are worked out on
everything an order has executed so far, and a fill bears the difference, so an
order costs the same however it was filled.

Margins are a plain share of the underlying's close of the day before, so that
they stay the same all day: a scanning range and an exposure margin as at the
clearing houses, without their scenarios. A written option holds back what a
future on the same underlying does. MTF holds back a part of the price and the
broker lends the rest, without interest here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.desk.orders import Charges, Product, multiplier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from breeze_lab.practice.desk.orders import Action, MarginLeg
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["MARKED", "margin", "net_margin", "order_charges"]

#: Products that are not paid for: a margin is held back and the result booked when they close.
MARKED: Final[frozenset[Product]] = frozenset(("futures", "margin", "mtf"))

_SCALE: Final = 10_000_000
#: Rates in parts of ten million of the value: (exchange, stamp on buys, tax on buys, tax on sales).
_RATES: Final = {
    "delivery": (297, 1_500, 10_000, 10_000),
    "intraday": (297, 1_500, 10_000, 10_000),
    "fno future": (173, 200, 0, 5_000),
    "fno option": (3_503, 300, 0, 15_000),
    "commodity future": (210, 200, 0, 1_000),
    "commodity option": (4_180, 300, 0, 5_000),
    "currency future": (35, 10, 0, 0),
    "currency option": (3_110, 10, 0, 0),
}
_SEBI: Final = 10
#: Of cash, 0.07 percent; a derivative order costs twenty rupees, however large.
_CASH_BROKERAGE: Final = 7_000
_FLAT_BROKERAGE: Final = 2_000
_GST_PERCENT: Final = 18

#: (scanning range, exposure) in 1/10,000 of the underlying's value, by tier.
_MARGIN: Final = {
    "I": (1_080, 200), "A": (1_400, 350), "B": (1_800, 500), "C": (1_800, 500), "M": (1_000, 125),
    "X": (180, 100),
}  # fmt: skip
_OWN_PART: Final[dict[Product, int]] = {"margin": 2_000, "mtf": 3_000}


def _part(value: int, rate: int) -> int:
    """Return a part of ten million of `value`, rounded half up."""
    return (value * rate * 2 + _SCALE) // (2 * _SCALE)


def _schedule(contract: Contract, product: Product) -> tuple[int, int, int, int]:
    if contract.segment == "cash":
        return _RATES["intraday" if product == "margin" else "delivery"]
    return _RATES[f"{contract.segment} {contract.kind}"]


def order_charges(
    contract: Contract, product: Product, action: Action, value: int, *, settlement: bool = False
) -> Charges:
    """Return the charges of an order that has executed `value` paise; none of them falls with it.

    Parameters
    ----------
    settlement
        A contract's expiry bears taxes and fees, and no brokerage.
    """
    if not value:
        return Charges()
    exchange_rate, stamp_rate, buy_tax, sell_tax = _schedule(contract, product)
    brokerage = _part(value, _CASH_BROKERAGE) if contract.segment == "cash" else _FLAT_BROKERAGE
    brokerage = 0 if settlement else brokerage
    exchange, sebi = _part(value, exchange_rate), _part(value, _SEBI)
    taxed = (brokerage + exchange + sebi) * _GST_PERCENT
    return Charges(
        brokerage=brokerage,
        exchange=exchange,
        stamp=_part(value, stamp_rate) if action == "buy" else 0,
        stt=_part(value, buy_tax if action == "buy" else sell_tax),
        sebi=sebi,
        gst=(taxed + 50) // 100,
    )


def margin(
    prices: Prices, contract: Contract, product: Product, number: int, quantity: int
) -> tuple[int, int]:
    """Return (scanning range, exposure) in paise of an open `quantity` on day `number`.

    Parameters
    ----------
    quantity
        Reported units; its sign does not matter.
    """
    source = contract.leader if contract.is_derivative and contract.leader else contract
    close = int(prices.day_closes(source, np.array([number - 1]))[0])
    value = close * source.tick * multiplier(contract) * abs(quantity) // 100
    own = _OWN_PART.get(product)
    span, exposure = (own, 0) if own is not None else _MARGIN[source.tier]
    return value * span // 10_000, value * exposure // 10_000


def net_margin(prices: Prices, number: int, legs: Sequence[MarginLeg]) -> tuple[int, int, int]:
    """Return (scanning range, exposure, premium) in paise of positions taken together.

    Opposite legs in one contract cancel; others are not offset against each other.
    """
    net: dict[str, int] = {}
    contracts = {leg.contract.key: leg.contract for leg in legs}
    premium = 0
    for leg in legs:
        sign = 1 if leg.action == "buy" else -1
        net[leg.contract.key] = net.get(leg.contract.key, 0) + sign * leg.quantity
        if leg.contract.kind == "option" and leg.action == "buy":
            worth = leg.price_ticks * leg.contract.tick * multiplier(leg.contract)
            premium += worth * leg.quantity // 100
    span = exposure = 0
    for key, quantity in net.items():
        contract = contracts[key]
        if contract.kind == "future" or (contract.kind == "option" and quantity < 0):
            product: Product = "futures" if contract.kind == "future" else "options"
            more = margin(prices, contract, product, number, quantity)
            span, exposure = span + more[0], exposure + more[1]
    return span, exposure, premium
