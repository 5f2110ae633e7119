"""The account: money by segment, positions, shares, and the fills that made them.

Three ways of settling, by product. *Delivered* (cash, btst): the value changes
hands at once; shares bought today reach the demat account at the close of the
next market day (T+1), the money of a sale is free at once. *Premium* (options):
the premium changes hands at once. *Marked* (futures, margin, mtf): nothing but
charges is paid until something closes, then the win or loss is booked; what is
open is shown as unrealised and never booked. So at any time

    money = opening + transfers + value sold - value bought - charges

over delivered and premium fills, plus what marked fills realised, to the paisa.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.desk.charges import MARKED
from breeze_lab.practice.desk.orders import money_segment, value_paise
from breeze_lab.practice.exchange.noise import key_of
from breeze_lab.practice.exchange.universe import universe

if TYPE_CHECKING:
    from breeze_lab.practice.desk.orders import Fill, MoneySegment, Product
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["DELIVERED", "Ledger", "Open", "Shares"]

DELIVERED: Final[frozenset[Product]] = frozenset(("cash", "btst"))
#: What a new account holds, in paise: 8.75 crore rupees in the bank, then the segments.
_UNALLOCATED: Final = 87_500_000_00
_ALLOCATED: Final[dict[MoneySegment, int]] = {
    "equity": 20_000_000_00, "fno": 20_000_000_00, "commodity": 10_000_000_00,
    "currency": 5_000_000_00,
}  # fmt: skip
_HOLDINGS: Final = 5


@dataclass(slots=True)
class Open:
    """One position; `cost` is positive for long and short alike, in paise."""

    contract: Contract
    product: Product
    quantity: int = 0
    cost: int = 0
    realised: int = 0
    charges: int = 0
    bought: int = 0
    sold: int = 0
    changed_ms: int = 0

    def trade(self, sign: int, quantity: int, value: int) -> int:
        """Add a trade; return what it realised."""
        won = 0
        if self.quantity * sign < 0:
            closing = min(quantity, abs(self.quantity))
            # The last share takes the remainder, so that nothing is lost in rounding.
            cost = self.cost * closing // abs(self.quantity)
            got = value * closing // quantity
            won = (cost - got) * sign
            self.cost -= cost
            self.quantity += sign * closing
            quantity, value = quantity - closing, value - got
        self.quantity += sign * quantity
        self.cost += value
        self.realised += won
        return won


@dataclass(slots=True)
class Lot:
    """Shares bought on one day that are not delivered yet."""

    number: int
    settles_ms: int
    quantity: int


@dataclass(slots=True)
class Shares:
    """One share in the demat account and on its way there; `cost` in paise."""

    contract: Contract
    settled: int = 0
    lots: list[Lot] = field(default_factory=list)
    cost: int = 0
    realised: int = 0
    changed_ms: int = 0

    def awaiting(self, number: int) -> int:
        """Return what was bought before day `number` and is not delivered."""
        return sum(lot.quantity for lot in self.lots if lot.number < number)

    def today(self, number: int) -> int:
        """Return what was bought on day `number`."""
        return sum(lot.quantity for lot in self.lots if lot.number >= number)

    @property
    def quantity(self) -> int:
        """All of it."""
        return self.settled + sum(lot.quantity for lot in self.lots)

    def buy(self, quantity: int, value: int, number: int, settles_ms: int) -> None:
        """Add shares that arrive at `settles_ms`."""
        self.cost += value
        if self.lots and (self.lots[-1].number, self.lots[-1].settles_ms) == (number, settles_ms):
            self.lots[-1].quantity += quantity
        else:
            self.lots.append(Lot(number, settles_ms, quantity))

    def sell(self, quantity: int, value: int, number: int, *, btst: bool) -> None:
        """Take shares out: a cash sale today's first, then delivered ones; BTST the oldest lot.

        What one class lacks another gives: a sale that waited overnight may find
        that today's shares have become yesterday's.
        """
        cost = self.cost * quantity // self.quantity
        self.cost -= cost
        self.realised += value - cost
        older = [lot for lot in self.lots if lot.number < number]
        newer = [lot for lot in self.lots if lot.number >= number]
        first, last = (older, newer) if btst else (newer, older)
        quantity = _take(first, quantity)
        part = min(quantity, self.settled)
        self.settled -= part
        _take(last, quantity - part)
        self.lots = [lot for lot in self.lots if lot.quantity]

    def settle(self, now_ms: int) -> None:
        """Deliver what is due."""
        due = [lot for lot in self.lots if lot.settles_ms <= now_ms]
        self.settled += sum(lot.quantity for lot in due)
        self.lots = [lot for lot in self.lots if lot.settles_ms > now_ms]


def _take(lots: list[Lot], quantity: int) -> int:
    """Take up to `quantity` out of lots in their order; return what is still missing."""
    for lot in lots:
        part = min(lot.quantity, quantity)
        lot.quantity -= part
        quantity -= part
    return quantity


def share_key(contract: Contract) -> str:
    """Return what a share is kept under: its ISIN, because both exchanges trade the same one."""
    return contract.isin or contract.key


class Ledger:
    """The account's books.

    Attributes
    ----------
    unallocated, money
        Paise in the bank and in each segment.
    open
        Positions by (contract key, product), flat ones included.
    shares
        By ISIN.
    fills
        Everything booked, oldest first.
    """

    def __init__(self, prices: Prices, number: int) -> None:
        """Open the account of the market's seed on day `number`."""
        self.unallocated = _UNALLOCATED
        self.money: dict[MoneySegment, int] = dict(_ALLOCATED)
        self.open: dict[tuple[str, Product], Open] = {}
        self.shares: dict[str, Shares] = {}
        self.fills: list[Fill] = []
        self.bank_account = f"{10**11 + key_of(prices.seed, 'bank') % (9 * 10**11)}"
        self._number = number
        known = [c for c in universe().cash.values() if c.exchange == "NSE" and c.tier == "A"]
        for place in range(_HOLDINGS):
            noise = key_of(prices.seed, "holding", place)
            contract = known.pop(noise % len(known))
            quantity = 10 * (1 + (noise >> 20) % 25)
            bought = number - 30 - (noise >> 40) % 300
            ticks = int(prices.day_closes(contract, np.array([max(bought, 1)]))[0])
            cost = value_paise(contract, ticks, quantity)
            self.shares[share_key(contract)] = Shares(contract, quantity, cost=cost)

    def shares_of(self, contract: Contract) -> Shares:
        """Return the shares of a contract's company, none when there are none."""
        return self.shares.get(share_key(contract)) or Shares(contract)

    def quantity(self, contract: Contract, product: Product) -> int:
        """Return the open quantity; negative when short."""
        found = self.open.get((contract.key, product))
        return found.quantity if found else 0

    def new_day(self, number: int) -> None:
        """Begin day `number`: nothing was bought or sold on it yet."""
        self._number = number
        for position in self.open.values():
            position.bought = position.sold = 0

    def book(self, fill: Fill, settles_ms: int) -> None:
        """Book a fill; shares bought arrive at `settles_ms`."""
        segment = money_segment(fill.contract)
        self.money[segment] -= fill.charges.total
        self.fills.append(fill)
        if fill.product in DELIVERED:
            self._deliver(fill, settles_ms)
            self.money[segment] -= fill.sign * fill.value
            return
        key = (fill.contract.key, fill.product)
        position = self.open.setdefault(key, Open(fill.contract, fill.product))
        won = position.trade(fill.sign, fill.quantity, fill.value)
        position.charges += fill.charges.total
        position.changed_ms = fill.time_ms
        if fill.sign > 0:
            position.bought += fill.quantity
        else:
            position.sold += fill.quantity
        self.money[segment] += won if fill.product in MARKED else -fill.sign * fill.value

    def _deliver(self, fill: Fill, settles_ms: int) -> None:
        shares = self.shares.setdefault(share_key(fill.contract), Shares(fill.contract))
        shares.changed_ms = fill.time_ms
        if fill.sign > 0:
            shares.buy(fill.quantity, fill.value, self._number, settles_ms)
        else:
            btst = fill.product == "btst"
            shares.sell(fill.quantity, fill.value, self._number, btst=btst)
