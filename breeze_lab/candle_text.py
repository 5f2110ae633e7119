"""Candle texts: what the broker's candle stream pushes, as typed values.

One comma-separated text is one bar: 9 fields for a share or index, 11 for a
future, 13 for an option, with the prices in the order low, high, open, close.
The broker pushes a candle a second or two after its interval has ended and
stamps it with its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.bars import Bar, Interval
from breeze_lab.errors import BadResponse
from breeze_lab.fields import Fields

if TYPE_CHECKING:
    from datetime import date

    from breeze_lab.instruments import Exchange, Right

__all__ = ["EVENTS", "Candle", "contract", "decode_candle"]

#: Intervals of the candle stream by the names of its events.
EVENTS: Final = {
    "1SEC": Interval.S1, "1MIN": Interval.M1, "5MIN": Interval.M5, "30MIN": Interval.M30,
}  # fmt: skip
_CASH: Final[dict[str, Exchange]] = {"NSE": "NSE", "BSE": "BSE"}
_DERIVATIVES: Final[dict[str, Exchange]] = {"NFO": "NFO", "BFO": "BFO", "MCX": "MCX", "NDX": "NDX"}
_RIGHTS: Final[dict[str, Right]] = {"CE": "CE", "PE": "PE"}
_BAR: Final = ("low", "high", "open", "close", "volume")
_TAIL: Final = ("open interest", "start", "interval")
#: Names of the fields by their count.
_NAMES: Final = {
    9: ("exchange", "stock code", *_BAR, *_TAIL[1:]),
    11: ("exchange", "stock code", "expiry", *_BAR, *_TAIL),
    13: ("exchange", "stock code", "expiry", "strike", "right", *_BAR, *_TAIL),
}


@dataclass(frozen=True, slots=True)
class Candle:
    """One pushed bar and the contract it belongs to.

    Parameters
    ----------
    exchange
        ``"NSE" "BSE" "NFO" "BFO" "MCX" "NDX"``.
    stock_code
        ICICI's short name (``"RELIND"``).
    bar
        Prices in rupees, volume of the interval, start in aware IST; complete.
    expiry
        Of derivatives.
    strike, right
        Of options; rupees, and ``"CE"`` or ``"PE"``.
    """

    exchange: Exchange
    stock_code: str
    bar: Bar
    expiry: date | None = None
    strike: float | None = None
    right: Right | None = None

    @property
    def contract(self) -> str:
        """The contract by one name; see `contract`."""
        return contract(self.exchange, self.stock_code, self.expiry, self.strike, self.right)

    @property
    def interval(self) -> Interval:
        """The length of the bar."""
        return self.bar.interval


def contract(
    exchange: str,
    stock_code: str,
    expiry: date | None = None,
    strike: float | None = None,
    right: str | None = None,
) -> str:
    """Return one name for what a candle and an instrument both are.

    Examples
    --------
    >>> contract("NSE", "RELIND")
    'NSE:RELIND'
    """
    parts = [exchange, stock_code]
    if expiry is not None:
        parts.append(expiry.isoformat())
    if strike is not None:
        parts += [f"{float(strike)}", right or ""]
    return ":".join(parts)


def decode_candle(text: object) -> Candle:
    """Return the value of one candle text.

    Parameters
    ----------
    text
        As the broker pushed it: ``"NSE,NIFTY,low,high,open,close,volume,start,1SEC"``.

    Raises
    ------
    BadResponse
        When it is no candle; the message names the field that is wrong.
    """
    try:
        if not isinstance(text, str):
            raise ValueError(f"it is a {type(text).__name__}, not a text")  # noqa: TRY004, TRY301
        return _candle(text.split(","))
    except ValueError as exc:
        raise BadResponse(f"A candle could not be decoded: {exc}.") from exc


def _candle(texts: list[str]) -> Candle:
    exchange = _CASH.get(texts[0]) or _DERIVATIVES.get(texts[0])
    if exchange is None:
        raise ValueError(f"exchange is {texts[0][:40]!r}, not one of the broker's")
    counts = (9,) if exchange in _CASH else (11, 13)
    if len(texts) not in counts:
        wanted = " or ".join(map(str, counts))
        raise ValueError(f"it has {len(texts)} fields, not the {wanted} of {exchange}")
    named = dict(zip(_NAMES[len(texts)], texts, strict=True))
    fields = Fields(named)
    expiry = fields.day("expiry") if "expiry" in named else None
    if "expiry" in named and expiry is None:
        raise ValueError("expiry is missing")
    right = None
    if "right" in named:
        right = _RIGHTS.get(named["right"])
        if right is None:
            raise ValueError(f"right is {named['right'][:40]!r}, not CE or PE")
    return Candle(
        exchange=exchange,
        stock_code=fields.text("stock code"),
        bar=_bar(fields, named),
        expiry=expiry,
        strike=fields.number("strike") if right else None,
        right=right,
    )


def _bar(fields: Fields, named: dict[str, str]) -> Bar:
    interval = EVENTS.get(named["interval"])
    if interval is None:
        raise ValueError(f"interval is {named['interval'][:40]!r}, not one of {', '.join(EVENTS)}")
    low, high = fields.number("low"), fields.number("high")
    opened, closed = fields.number("open"), fields.number("close")
    # Four prices in another order than the stream's would pass for a bar in silence.
    if not (low <= opened <= high and low <= closed <= high):
        raise ValueError(f"open {opened:g} or close {closed:g} is not from {low:g} to {high:g}")
    return Bar(
        start=fields.moment("start"),
        interval=interval,
        open=opened,
        high=high,
        low=low,
        close=closed,
        volume=fields.whole("volume"),
        open_interest=fields.whole("open interest") if "open interest" in named else None,
    )
