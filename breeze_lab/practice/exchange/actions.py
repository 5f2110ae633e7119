"""Corporate actions of the practice market: invented, on past days of real names.

History is not adjusted, as at the broker: prices before the ex-date are what
they were, so the chart jumps and volumes jump the other way. The exchange
adjusts the base of that day's circuit limits and the previous close for a
split, a bonus and a demerger, and not for an ordinary dividend. One action
has arrived adjusted, because with the broker some do; its chart is smooth.

None of these companies is in an index of `breeze_lab.practice.exchange.constituents`,
so no divisor had to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final, Literal

from breeze_lab.practice.exchange.days import day_number

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["ACTIONS", "Action", "actions_of", "base_factor"]


@dataclass(frozen=True, slots=True)
class Action:
    """One corporate action of one company, on NSE and BSE alike.

    Parameters
    ----------
    symbol
        The exchange's symbol.
    kind, ratio
        What happened, and as it is announced: ``"1:1"`` of a bonus is one new
        share for each held, ``"10:2"`` of a split the old and new face value,
        ``"Rs 12"`` of a dividend rupees a share, ``"0.62"`` of a demerger the
        part of the price that stays.
    ex_date
        The first day without the right.
    factor
        By what a price before the ex-date is multiplied to compare with one
        after it; of a dividend 1, see `rupees`.
    rupees
        Of a dividend: what a share is worth less on the ex-date.
    adjusted
        Whether history arrives adjusted, so that nothing is seen of it.
    """

    symbol: str
    kind: Literal["split", "bonus", "dividend", "demerger"]
    ratio: str
    ex_date: date
    factor: float = 1.0
    rupees: float = 0.0
    adjusted: bool = False

    @property
    def number(self) -> int:
        """The day number of the ex-date."""
        return day_number(self.ex_date)


#: Every corporate action, oldest first.
ACTIONS: Final = (
    Action("POLYCAB", "bonus", "1:1", date(2023, 8, 17), factor=0.5),
    Action("TATAPOWER", "split", "10:5", date(2024, 7, 11), factor=0.5, adjusted=True),
    Action("DIXON", "split", "10:2", date(2025, 6, 19), factor=0.2),
    Action("GODREJPROP", "demerger", "0.62", date(2025, 11, 12), factor=0.62),
    Action("BHEL", "dividend", "Rs 9", date(2026, 6, 18), rupees=9.0),
    Action("APOLLOTYRE", "bonus", "1:2", date(2026, 9, 9), factor=2 / 3),
)
_BY_SYMBOL: Final = {
    symbol: tuple(a for a in ACTIONS if a.symbol == symbol)
    for symbol in {a.symbol for a in ACTIONS}
}


def actions_of(contract: Contract) -> tuple[Action, ...]:
    """Return the actions of a stock, or of the stock a derivative or BSE listing follows."""
    while contract.leader is not None:
        contract = contract.leader
    return _BY_SYMBOL.get(contract.symbol, ()) if contract.kind == "stock" else ()


def base_factor(contract: Contract, number: int) -> float:
    """Return by what the exchange multiplies the close before day `number` on that day."""
    return next(
        (a.factor for a in actions_of(contract) if a.number == number and not a.adjusted), 1.0
    )
