"""The value: one contract, share, index or fund, and how the broker spells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from breeze_lab.errors import InstrumentError

if TYPE_CHECKING:
    from datetime import date

    from breeze_lab import clock

__all__ = [
    "EXCHANGES",
    "INDEX_SYMBOLS",
    "KINDS",
    "MONTHS",
    "ROOMS",
    "Exchange",
    "Instrument",
    "Kind",
    "Right",
    "broker_date",
]

Exchange = Literal["NSE", "BSE", "NFO", "BFO", "MCX", "NDX", "MF"]
Kind = Literal["equity", "index", "future", "option", "spot", "fund"]
Right = Literal["CE", "PE"]

#: The numbers by which the compiled file knows exchanges and kinds; new ones go at the end.
EXCHANGES: Final[tuple[Exchange, ...]] = ("NSE", "BSE", "NFO", "BFO", "MCX", "NDX", "MF")
KINDS: Final[tuple[Kind, ...]] = ("equity", "index", "future", "option", "spot", "fund")
#: The first number of a room, by exchange. NSE and NFO share one: the token decides.
ROOMS: Final[dict[Exchange, str]] = {
    "NSE": "4", "BSE": "1", "NFO": "4", "BFO": "8", "MCX": "6", "NDX": "13",
}  # fmt: skip
_SEGMENT: Final[dict[Exchange, clock.Segment]] = {
    "NSE": "cash", "BSE": "cash", "NFO": "fno", "BFO": "fno", "MCX": "commodity",
    "NDX": "currency", "MF": "cash",
}  # fmt: skip
#: The exchanges' own symbols of the indices with derivatives, by ICICI code. The master has
#: their long names instead ("NIFTY BANK"), which keep working as names.
INDEX_SYMBOLS: Final = {
    "NIFTY": "NIFTY", "CNXBAN": "BANKNIFTY", "NIFFIN": "FINNIFTY", "NIFSEL": "MIDCPNIFTY",
    "NIFNEX": "NIFTYNXT50", "BSESEN": "SENSEX", "BANKEX": "BANKEX", "INDVIX": "INDIAVIX",
}  # fmt: skip
MONTHS: Final = {
    month: number
    for number, month in enumerate(
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1
    )
}
_MONTH_NAMES: Final = ("", *(name.capitalize() for name in MONTHS))


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable contract, share, index or fund.

    Parameters
    ----------
    symbol
        The exchange's symbol (``"RELIANCE"``); of a derivative, its underlying's.
    stock_code
        ICICI's short name (``"RELIND"``).
    exchange
        ``"NSE" "BSE" "NFO" "BFO" "MCX" "NDX"``, or ``"MF"`` for a mutual fund.
    token
        The exchange's number, or text for an NSE index (``"NIFTY 50"``); of a
        fund, AMFI's number.
    name
        Company or contract name.
    kind
        ``"equity" "index" "future" "option" "spot" "fund"``. Everything of the
        cash market is an equity here: shares, units of funds, bonds.
    isin
        Empty where the master has none.
    lot_size
        Shares per lot.
    tick_size
        Rupees.
    expiry, strike, right
        Of derivatives; strike in rupees, right ``"CE"`` or ``"PE"``.
    series
        The exchange's series (``"EQ"``, ``"BE"``, ``"GB"``); empty for derivatives.
    tradable
        False for a delisted row, a mutual fund, and a row whose token another
        row has too: it can be found, not streamed.
    listed_as
        What stands for the symbol in the key, where the symbol alone is not
        one row's (``"SREINFRA-YN"``, ``"523511"``).
    """

    symbol: str
    stock_code: str
    exchange: Exchange
    token: str
    name: str
    kind: Kind = "equity"
    isin: str = ""
    lot_size: int = 1
    tick_size: float = 0.05
    expiry: date | None = None
    strike: float | None = None
    right: Right | None = None
    series: str = ""
    tradable: bool = True
    listed_as: str = ""

    @property
    def key(self) -> str:
        """The unique name, ``"NSE:RELIANCE"`` or ``"NFO:NIFTY 29-Dec-2026 24500 CE"``."""
        if self.expiry is None:
            return f"{self.exchange}:{self.listed_as or self.symbol}"
        tail = "FUT" if self.strike is None else f"{_number(self.strike)} {self.right}"
        return f"{self.exchange}:{self.symbol} {broker_date(self.expiry)} {tail}"

    @property
    def quote_room(self) -> str:
        """The broker's room for quotes, ``"4.1!2885"``.

        Raises
        ------
        InstrumentError
            Of a mutual fund and of what is no longer traded: a room of theirs
            would be joined and stay silent, or stream something else.
        """
        if self.tradable and self.exchange in ROOMS:
            return f"{ROOMS[self.exchange]}.1!{self.token}"
        if self.kind == "fund":
            reason = "is a mutual fund, which has one price a day and no live quotes"
        else:
            reason = f"cannot be streamed: its token {self.token!r} is not its own (delisted?)"
        raise InstrumentError(f"{self.key} ({self.name.title()}) {reason}.")

    @property
    def segment(self) -> clock.Segment:
        """The trading segment, for market hours; of a fund, the cash market's."""
        return _SEGMENT[self.exchange]

    @property
    def anchor_s(self) -> int:
        """Seconds after IST midnight at which intraday bars start to count."""
        return 32_400 if self.segment in ("commodity", "currency") else 33_300

    def broker_fields(self) -> dict[str, str]:
        """Return the fields by which the broker's REST calls name this instrument.

        Raises
        ------
        InstrumentError
            Of a mutual fund: no endpoint of the broker takes one.
        """
        if self.kind == "fund":
            raise InstrumentError(
                f"{self.key} ({self.name}) is a mutual fund: Breeze has no prices of funds."
            )
        fields = {"stock_code": self.stock_code, "exchange_code": self.exchange}
        if self.expiry is None:
            return {**fields, "product_type": "cash"}
        fields["product_type"] = "futures" if self.strike is None else "options"
        fields["expiry_date"] = f"{self.expiry.isoformat()}T06:00:00.000Z"
        if self.strike is not None:
            fields["strike_price"] = _number(self.strike)
            fields["right"] = "call" if self.right == "CE" else "put"
        else:
            fields["right"] = "others"
        return fields


def _number(value: float) -> str:
    """Return a strike without needless zeros; ``%g`` alone would round at six digits."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def broker_date(day: date) -> str:
    """Return `day` as ``29-Dec-2026`` whatever the locale."""
    return f"{day.day:02d}-{_MONTH_NAMES[day.month]}-{day.year}"
