"""Orders, fills, positions, holdings and funds: the values of the practice desk.

Everything here is frozen: an `Order` handed out is a picture of one moment, the
next change makes another. Prices are whole ticks of `contract.tick`, quantities
what the exchange reports (shares on NSE, BSE, NFO and BFO, so a multiple of the
lot there; lots on MCX and NDX), money whole paise, times Unix milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from breeze_lab.practice.exchange.universe import RUPEE, Contract

if TYPE_CHECKING:
    from datetime import date

__all__ = [
    "FINAL",
    "MODIFIABLE",
    "WORKING",
    "Action",
    "Charges",
    "Fill",
    "Funds",
    "Holding",
    "Kind",
    "MarginLeg",
    "MarginLimits",
    "MarginResult",
    "MoneySegment",
    "Order",
    "OrderRequest",
    "Origin",
    "Position",
    "Product",
    "Refusal",
    "Status",
    "Validity",
    "money_segment",
    "multiplier",
    "ticks_of",
    "value_paise",
]

Action = Literal["buy", "sell"]
Product = Literal["cash", "margin", "mtf", "btst", "futures", "options"]
Kind = Literal["limit", "stoploss"]
Validity = Literal["day", "ioc", "vtc"]
#: Who made the order or fill: a request, a trigger (GTT), ``squareoff`` by request, ``auto`` at the
#: close of an intraday product, ``expiry`` when a contract settles.
Origin = Literal["user", "gtt", "squareoff", "auto", "expiry"]
MoneySegment = Literal["equity", "fno", "commodity", "currency"]
#: The broker's words; the first letters of the order frames stand for these.
Status = Literal[
    "Requested", "Queued", "Ordered", "Partially Executed", "Executed", "Rejected", "Expired",
    "Partially Executed And Expired", "Partially Executed And Cancelled", "Freezed", "Cancelled",
]  # fmt: skip

#: What an order never leaves again.
FINAL: Final[frozenset[Status]] = frozenset(
    (
        "Executed", "Rejected", "Expired", "Cancelled", "Partially Executed And Expired",
        "Partially Executed And Cancelled",
    )
)  # fmt: skip
#: In the book, or on the way there.
WORKING: Final[frozenset[Status]] = frozenset(
    ("Requested", "Queued", "Ordered", "Partially Executed", "Freezed")
)
#: What the SDK lets through to a modification.
MODIFIABLE: Final[frozenset[Status]] = frozenset(("Requested", "Ordered", "Partially Executed"))

_MONEY: Final[dict[str, MoneySegment]] = {
    "cash": "equity", "fno": "fno", "commodity": "commodity", "currency": "currency",
}  # fmt: skip
_GRAMS: Final = {"GRMS": 1, "KGS": 1_000, "MT": 1_000_000}
#: A price a computer made may miss its tick by so much of it; what misses more was meant.
_NOISE: Final = 1e-4


class Refusal(Exception):
    """The broker does not take the request; the text is the answer's Error."""


def money_segment(contract: Contract) -> MoneySegment:
    """Return the segment whose funds pay for a contract."""
    return _MONEY[contract.segment]


def multiplier(contract: Contract) -> int:
    """Return how many times its price one reported unit of quantity costs.

    One share costs its price; a lot of gold of one kilogram quoted for ten
    grams costs a hundred times its price.
    """
    if contract.exchange == "NDX":
        return contract.lot
    if contract.exchange != "MCX":
        return 1
    unit, _, rest = contract.units.partition("|")
    priced = rest.partition("|")[0].removeprefix("RS/")
    name = priced.lstrip("0123456789")
    per = int(priced[: len(priced) - len(name)] or 1)
    return contract.lot * _GRAMS.get(unit, 1) // (per * _GRAMS.get(name, 1))


def value_paise(contract: Contract, ticks: int, quantity: int) -> int:
    """Return what a quantity costs at a price, in paise; whole by construction of the ticks."""
    return ticks * contract.tick * quantity * multiplier(contract) // 100


def ticks_of(rupees: float | str, contract: Contract) -> int:
    """Return a price in rupees as ticks.

    Binary noise (``1271.6000000000001``) is rounded away; a price between two
    ticks is refused.

    Raises
    ------
    Refusal
        When it is no number, negative, or truly off the tick.
    """
    try:
        value = float(rupees)
    except (TypeError, ValueError) as exc:
        raise Refusal("Price should be numeric.") from exc
    if not math.isfinite(value) or not 0 <= value <= 1e9:  # noqa: PLR2004 - no price is a billion
        raise Refusal("Price should be a positive number.")
    exact = value * RUPEE / contract.tick
    ticks = round(exact)
    if abs(exact - ticks) > max(_NOISE, exact * 1e-12):
        raise Refusal(f"Limit price should be in multiples of tick size {contract.tick / RUPEE:g}.")
    return ticks


@dataclass(frozen=True, slots=True)
class Charges:
    """What a trade costs beside its price, in paise.

    Parameters
    ----------
    brokerage, exchange, stamp, stt, sebi, gst
        Brokerage, exchange turnover charge, stamp duty, securities (or
        commodities) transaction tax, the regulator's fee, goods and services tax.
    """

    brokerage: int = 0
    exchange: int = 0
    stamp: int = 0
    stt: int = 0
    sebi: int = 0
    gst: int = 0

    @property
    def taxes(self) -> int:
        """Everything but the brokerage."""
        return self.exchange + self.stamp + self.stt + self.sebi + self.gst

    @property
    def total(self) -> int:
        """Everything."""
        return self.brokerage + self.taxes

    def minus(self, other: Charges) -> Charges:
        """Return the difference, item by item."""
        return Charges(
            self.brokerage - other.brokerage, self.exchange - other.exchange,
            self.stamp - other.stamp, self.stt - other.stt, self.sebi - other.sebi,
            self.gst - other.gst,
        )  # fmt: skip

    def plus(self, other: Charges) -> Charges:
        """Return the sum, item by item."""
        return Charges(
            self.brokerage + other.brokerage, self.exchange + other.exchange,
            self.stamp + other.stamp, self.stt + other.stt, self.sebi + other.sebi,
            self.gst + other.gst,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """What somebody asks for.

    Parameters
    ----------
    contract, product, action, kind, quantity
        What; `quantity` in reported units.
    price_ticks
        Limit.
    trigger_ticks
        Trigger of a stop-loss order; 0 for a limit order.
    validity, valid_until
        ``vtc`` orders live until the end of `valid_until`, a date in India.
    disclosed
        Disclosed quantity; 0 discloses everything.
    remark
        Text the broker keeps with the order.
    origin
        Who asks.
    """

    contract: Contract
    product: Product
    action: Action
    quantity: int
    price_ticks: int
    kind: Kind = "limit"
    trigger_ticks: int = 0
    validity: Validity = "day"
    valid_until: date | None = None
    disclosed: int = 0
    remark: str = ""
    origin: Origin = "user"

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sale."""
        return 1 if self.action == "buy" else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(OrderRequest):
    """A request and what became of it.

    Parameters
    ----------
    id
        ``YYYYMMDD`` and, for derivatives, two digits of a pipe, for cash a
        letter and a digit, then eight digits.
    status, reason
        One of the broker's eleven words; why, when it was rejected, frozen,
        cancelled by the exchange or expired.
    executed, cancelled, expired
        Parts of `quantity` with a fate; the rest is `pending`. A rejected
        order's whole quantity is cancelled.
    value
        Paise paid or got for what was executed, before charges.
    charges
        Of everything executed.
    triggered
        Whether a stop-loss order is in the book; True for a limit order.
    placed_ms, changed_ms, modifications
        When it was placed and last changed; how often it was modified.
    blocked
        Paise of the segment's funds this order holds back.
    pipe
        Pipe id of the order frames.
    exchange_reference
        The exchange's acknowledgement number; empty until it has one.
    """

    id: str
    status: Status = "Requested"
    reason: str = ""
    executed: int = 0
    cancelled: int = 0
    expired: int = 0
    value: int = 0
    charges: Charges = field(default_factory=Charges)
    triggered: bool = True
    placed_ms: int = 0
    changed_ms: int = 0
    modifications: int = 0
    blocked: int = 0
    pipe: str = ""
    exchange_reference: str = ""

    @property
    def pending(self) -> int:
        """What is still open."""
        return self.quantity - self.executed - self.cancelled - self.expired

    @property
    def is_final(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.status in FINAL

    @property
    def average_ticks(self) -> float:
        """The average price of what was executed, in ticks; 0 before."""
        if not self.executed:
            return 0.0
        return self.value / (value_paise(self.contract, 1, 100) / 100 * self.executed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One trade of an order, or a settlement.

    Parameters
    ----------
    id
        The broker's trade id, ``2025/1234/12345678``.
    exchange_id
        The exchange's number, nine digits.
    order_id
        Empty for a fill without an order: square-off at the close, settlement at expiry.
    price_ticks, quantity
        At what, how much.
    time_ms
        When, Unix ms.
    value, charges
        Paise; `value` is positive.
    """

    id: str
    exchange_id: str
    order_id: str
    contract: Contract
    product: Product
    action: Action
    quantity: int
    price_ticks: int
    time_ms: int
    value: int
    charges: Charges
    origin: Origin = "user"

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sale."""
        return 1 if self.action == "buy" else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is open, or was, in one contract and product that is not delivered to the demat account.

    Parameters
    ----------
    quantity
        Positive when long, negative when short, 0 when flat.
    cost
        Paise the open quantity was bought or sold for, never negative.
    realised
        Paise won or lost by what was closed, before charges.
    charges
        Paise of charges of all its trades.
    last_ticks
        The newest price; 0 for what was closed before today.
    unrealised
        Paise the open quantity would win at the newest price.
    margin
        Paise of margin the open quantity holds back; 0 for what was paid for in full.
    bought, sold
        Quantities traded on the day asked.
    changed_ms
        When it last traded.
    """

    contract: Contract
    product: Product
    quantity: int
    cost: int
    realised: int
    charges: int
    last_ticks: int
    unrealised: int
    margin: int
    bought: int
    sold: int
    changed_ms: int

    @property
    def average_ticks(self) -> float:
        """The average price of what is open, in ticks; 0 when flat."""
        if not self.quantity:
            return 0.0
        return self.cost / (value_paise(self.contract, 1, 100) / 100 * abs(self.quantity))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Shares in the demat account and on their way there.

    Parameters
    ----------
    contract
        The listing it is reported under.
    settled
        In the demat account.
    awaiting
        Bought on an earlier day and not yet delivered: what BTST may sell.
    today
        Bought today.
    blocked
        Held back by working sell orders.
    cost
        Paise the quantity cost.
    realised
        Paise won or lost by sales, before charges.
    last_ticks
        The newest price.
    """

    contract: Contract
    settled: int
    awaiting: int
    today: int
    blocked: int
    cost: int
    realised: int
    last_ticks: int

    @property
    def quantity(self) -> int:
        """All of it."""
        return self.settled + self.awaiting + self.today

    @property
    def average_ticks(self) -> float:
        """Average cost in ticks; 0 when there are none."""
        if not self.quantity:
            return 0.0
        return self.cost / (value_paise(self.contract, 1, 100) / 100 * self.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """The account's money in paise.

    Parameters
    ----------
    bank_account
        Its number, twelve digits.
    unallocated
        In the bank and not given to a segment.
    allocated, blocked
        By segment: the balance, and how much of it orders and margins hold back.
    """

    bank_account: str
    unallocated: int
    allocated: dict[MoneySegment, int]
    blocked: dict[MoneySegment, int]

    @property
    def total(self) -> int:
        """Everything: unallocated and allocated."""
        return self.unallocated + sum(self.allocated.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginLimits:
    """What an exchange's segment can still spend, in paise.

    Parameters
    ----------
    cash_limit
        Free to use.
    amount_allocated, block_by_trade
        The balance and what is held back.
    isec_margin
        Margin of open positions alone.
    """

    cash_limit: int
    amount_allocated: int
    block_by_trade: int
    isec_margin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginLeg:
    """One position of a margin calculation; `price_ticks` of an option is its premium."""

    contract: Contract
    action: Action
    quantity: int
    price_ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginResult:
    """What a set of positions would hold back, in paise.

    Parameters
    ----------
    span, exposure
        Margin of futures and written options.
    premium
        What bought options cost.
    already_blocked
        What the account's positions in these contracts hold back now.
    """

    span: int
    exposure: int
    premium: int
    already_blocked: int

    @property
    def order_value(self) -> int:
        """All of it together."""
        return self.span + self.exposure + self.premium
