"""What three indices are made of: the practice market's own weights.

The weights are approximate. They follow what is generally known of the size of
these companies, are rounded, add up to 100 and are invented beyond that: they
are not the exchanges' figures of any date. Membership never changes here.

An index is the sum of fixed quantities of its constituents over a divisor,
and on the day on which every price is its reference price each constituent
has its weight. From there on weights drift as prices do.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.practice.exchange.universe import RUPEE, Contract, universe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.practice.exchange.noise import Ints

__all__ = ["WEIGHTS", "Basket", "basket"]

#: Percent by symbol, of each index by (exchange, code).
WEIGHTS: Final[dict[tuple[str, str], dict[str, float]]] = {
    ("NSE", "NIFTY"): {
        "HDFCBANK": 12.3, "ICICIBANK": 8.6, "RELIANCE": 8.5, "INFY": 5.0, "BHARTIARTL": 4.6,
        "LT": 4.0, "ITC": 3.3, "TCS": 2.8, "AXISBANK": 3.0, "SBIN": 3.4, "M&M": 2.7,
        "KOTAKBANK": 2.7, "BAJFINANCE": 2.3, "HINDUNILVR": 1.9, "ETERNAL": 1.8, "MARUTI": 1.8,
        "SUNPHARMA": 1.6, "NTPC": 1.5, "TITAN": 1.4, "HCLTECH": 1.4, "ULTRACEMCO": 1.3,
        "BEL": 1.3, "TATASTEEL": 1.3, "POWERGRID": 1.1, "ASIANPAINT": 1.0, "ADANIPORTS": 1.0,
        "GRASIM": 0.9, "BAJAJFINSV": 1.0, "JSWSTEEL": 1.0, "HINDALCO": 1.1, "ONGC": 0.8,
        "SHRIRAMFIN": 1.0, "EICHERMOT": 0.9, "BAJAJ-AUTO": 0.9, "TECHM": 0.8, "COALINDIA": 0.8,
        "JIOFIN": 0.8, "INDIGO": 0.9, "TRENT": 0.8, "NESTLEIND": 0.8, "CIPLA": 0.7,
        "SBILIFE": 0.7, "DRREDDY": 0.6, "HDFCLIFE": 0.7, "APOLLOHOSP": 0.6, "MAXHEALTH": 0.6,
        "TATACONSUM": 0.6, "ADANIENT": 0.5, "WIPRO": 0.5, "TMPV": 0.4,
    },
    ("NSE", "CNXBAN"): {
        "HDFCBANK": 26.0, "ICICIBANK": 23.0, "SBIN": 9.5, "AXISBANK": 9.0, "KOTAKBANK": 9.0,
        "INDUSINDBK": 3.5, "FEDERALBNK": 3.7, "IDFCFIRSTB": 3.3, "BANKBARODA": 3.3, "PNB": 2.8,
        "AUBANK": 2.9, "CANBK": 2.4, "UNIONBANK": 1.0, "YESBANK": 0.6,
    },
    ("BSE", "BSESEN"): {
        "HDFCBANK": 14.5, "ICICIBANK": 10.0, "RELIANCE": 9.9, "INFY": 6.0, "BHARTIARTL": 5.5,
        "LT": 4.7, "ITC": 3.9, "TCS": 3.5, "AXISBANK": 3.7, "SBIN": 4.1, "M&M": 3.2,
        "KOTAKBANK": 3.3, "BAJFINANCE": 2.8, "HINDUNILVR": 2.3, "ETERNAL": 2.2, "MARUTI": 2.1,
        "SUNPHARMA": 1.9, "NTPC": 1.8, "TITAN": 1.7, "HCLTECH": 1.7, "ULTRACEMCO": 1.5,
        "BEL": 1.5, "TATASTEEL": 1.6, "POWERGRID": 1.3, "ASIANPAINT": 1.1, "ADANIPORTS": 1.1,
        "BAJAJFINSV": 1.1, "TECHM": 0.9, "TRENT": 0.5, "TMPV": 0.6,
    },
}  # fmt: skip
#: A basket at reference prices is worth about so much; sums of it stay far below 2**63.
_WORTH: Final = 10**15


@dataclass(frozen=True, slots=True)
class Basket:
    """An index as quantities of shares.

    Parameters
    ----------
    contracts
        The constituents; of a BSE index its BSE listings.
    quantities
        Of each, so that quantity times price in 1/10,000 rupee adds up to `divisor`
        times the index in ticks.
    divisor
        See `quantities`.
    """

    contracts: tuple[Contract, ...]
    quantities: tuple[int, ...]
    divisor: int

    def level(self, prices: Iterable[Ints]) -> Ints:
        """Return the index in ticks, rounded half up, of the constituents' prices in theirs."""
        total: Ints | int = 0
        for contract, quantity, price in zip(self.contracts, self.quantities, prices, strict=True):
            total = total + price * (quantity * contract.tick)
        return (total + self.divisor // 2) // self.divisor  # type: ignore[return-value]

    @property
    def scales(self) -> tuple[float, ...]:
        """Index ticks for a move of one tick of each constituent."""
        return tuple(
            q * c.tick / self.divisor for c, q in zip(self.contracts, self.quantities, strict=True)
        )


@functools.cache
def basket(index: Contract) -> Basket | None:
    """Return what an index is made of; None for one that is not made of anything here."""
    weights = WEIGHTS.get((index.exchange, index.code))
    if weights is None or index.kind != "index":
        return None
    by_symbol = {
        c.symbol: c
        for c in universe().cash.values()
        if c.exchange == index.exchange and c.kind == "stock"
    }
    contracts = tuple(by_symbol[symbol] for symbol in weights)
    bases = [round((c.leader or c).base * RUPEE) for c in contracts]
    whole = sum(weights.values())
    quantities = tuple(
        round(_WORTH * weight / whole / base)
        for weight, base in zip(weights.values(), bases, strict=True)
    )
    worth = sum(q * base for q, base in zip(quantities, bases, strict=True))
    return Basket(contracts, quantities, round(worth / (index.base * RUPEE / index.tick)))
