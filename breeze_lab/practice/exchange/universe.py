"""What exists: stocks, indices, commodities and currencies of the practice market.

Names, codes, ISINs, tokens, lots and reference prices are public facts of the
broker's security master of 30 July 2026, kept in ``universe.csv``. Contracts
that expire are made in `breeze_lab.practice.exchange.contracts`.

Columns of the file: ``base`` in rupees is the middle of that day's price band
and ``band`` half its width as a fraction; ``tier`` is empty for a BSE listing
that follows its NSE twin; ``lot`` is 0 without derivatives. For commodities
(tier M) ``face`` holds the tick in paise, ``high52`` the unit of quantity and
``low52`` the units of price and delivery.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from datetime import date

    from breeze_lab.clock import Segment

__all__ = ["RUPEE", "Contract", "Kind", "Universe", "universe"]

Kind = Literal["stock", "index", "spot", "future", "option"]

#: Prices are whole multiples of 1/10,000 rupee; a tick is a number of these.
RUPEE: Final = 10_000

_SEGMENTS: Final[dict[str, Segment]] = {
    "NSE": "cash", "BSE": "cash", "NFO": "fno", "BFO": "fno", "MCX": "commodity", "NDX": "currency",
}  # fmt: skip
_MARKETS: Final = {"NSE": "4", "NFO": "4", "BSE": "1", "BFO": "8", "NDX": "13", "MCX": "6"}

#: The exchange's tick table for cash: (price up to, tick in 1/10,000 rupee).
_TICK_TABLE: Final = (
    (250, 100), (1_000, 500), (5_000, 1_000), (10_000, 5_000), (20_000, 10_000), (10**9, 50_000),
)  # fmt: skip
_BSE_TICK_TABLE: Final = ((100, 100), (10**9, 500))


@dataclass(frozen=True, slots=True)
class Contract:
    """One thing with a price.

    Parameters
    ----------
    exchange
        Exchange code of the broker: NSE, BSE, NFO, BFO, NDX or MCX.
    code
        The broker's short name (RELIND); derivatives carry their underlying's.
    token
        Key of its rooms; empty for a spot nobody can subscribe to.
    symbol, name, isin
        The exchange's symbol, the company, the ISIN where there is one.
    kind
        ``"spot"`` is a commodity or currency that only its derivatives follow.
    tick
        Smallest price step in 1/10,000 rupee.
    lot
        Quantity of one contract; 0 when there are no derivatives.
    unit
        Reported quantity of one unit of volume: the lot on NFO and BFO, else 1.
    base, band
        Price on the anchor date in rupees; largest daily move as a fraction.
    tier
        How liquid: A (NIFTY 50), B (has futures), C; I, M, X for index,
        commodity and currency.
    leader
        Whose price it follows: the underlying, or the NSE listing of a BSE stock.
    expiry, strike, right
        Derivatives only; `right` is CE or PE.
    """

    exchange: str
    code: str
    token: str
    symbol: str
    name: str
    kind: Kind
    tick: int
    lot: int
    unit: int
    base: float
    band: float
    tier: str
    isin: str = ""
    face: str = "0"
    high52: str = "0"
    low52: str = "0"
    units: str = ""
    leader: Contract | None = None
    expiry: date | None = None
    strike: float | None = None
    right: str = ""

    def __hash__(self) -> int:
        """Hash the fields that tell contracts apart; twenty would be slow in every cache."""
        return hash((self.exchange, self.code, self.expiry, self.strike, self.right))

    @property
    def key(self) -> str:
        """Text that no other contract has."""
        if self.expiry is None:
            return f"{self.exchange}:{self.code}"
        return f"{self.exchange}:{self.code}:{self.expiry}:{self.strike or 0:g}:{self.right}"

    @property
    def segment(self) -> Segment:
        """The segment whose hours it trades in."""
        return _SEGMENTS[self.exchange]

    @property
    def market(self) -> str:
        """The number before the dot of its rooms."""
        return _MARKETS[self.exchange]

    @property
    def is_derivative(self) -> bool:
        """Whether it expires."""
        return self.expiry is not None

    @property
    def anchor_s(self) -> int:
        """Seconds after midnight from which its bars are counted."""
        return 32_400 if self.segment in ("commodity", "currency") else 33_300


def _tick(table: tuple[tuple[int, int], ...], price: float) -> int:
    return next(tick for limit, tick in table if price < limit)


@dataclass(frozen=True, slots=True)
class Universe:
    """Everything without an expiry.

    Parameters
    ----------
    cash
        Stocks and indices by (exchange, code).
    spots
        Commodities and currencies by (exchange, code).
    """

    cash: dict[tuple[str, str], Contract]
    spots: dict[tuple[str, str], Contract]


@functools.cache
def universe() -> Universe:
    """Return the universe; read once."""
    here = resources.files("breeze_lab.practice.exchange")
    text = here.joinpath("universe.csv").read_text("utf-8")
    cash: dict[tuple[str, str], Contract] = {}
    spots: dict[tuple[str, str], Contract] = {}
    by_isin: dict[str, Contract] = {}
    for row in csv.DictReader(text.splitlines()):
        exchange, tier, base = row["exchange"], row["tier"], float(row["base"])
        leader = by_isin.get(row["isin"]) if exchange == "BSE" and row["isin"] else None
        kind: Kind = "index" if tier == "I" else "spot" if tier in ("M", "X") else "stock"
        units = ""
        if kind == "spot":
            # MCX states its tick in paise; the currency tick is a quarter of a paisa.
            tick = int(row["face"]) * 100 if tier == "M" else 25
            units = f"{row['high52']}|{row['low52']}"
        elif kind == "index":
            tick = 500
        else:
            tick = _tick(_BSE_TICK_TABLE if exchange == "BSE" else _TICK_TABLE, base)
        contract = Contract(
            exchange=exchange, code=row["code"], token=row["token"], symbol=row["symbol"],
            name=row["name"], kind=kind, tick=tick, lot=int(row["lot"]), unit=1, base=base,
            band=float(row["band"]), tier=tier or (leader.tier if leader else "C"),
            isin=row["isin"], units=units, leader=leader,
            face=row["face"] if kind != "spot" else "0",
            high52=row["high52"] if kind != "spot" else "0",
            low52=row["low52"] if kind != "spot" else "0",
        )  # fmt: skip
        (spots if kind == "spot" else cash)[exchange, contract.code] = contract
        if exchange == "NSE" and contract.isin:
            by_isin[contract.isin] = contract
    return Universe(cash, spots)
