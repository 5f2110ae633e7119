"""Quotes: one instrument's price right now, asked of the broker over REST.

Live quotes are the feed's business; this is the single question. Owns the
broker's spelling of a REST quote.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.errors import BadResponse

if TYPE_CHECKING:
    from breeze_lab.instruments import Instrument
    from breeze_lab.session import Session

__all__ = ["Quote", "fetch"]

_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote as the broker gave it.

    Parameters
    ----------
    instrument
        Key of the instrument.
    time
        Last trade, aware, Asia/Kolkata; None when nothing traded.
    received
        When we got the answer.
    last, open, high, low, previous_close, bid, ask, lower_circuit, upper_circuit
        Rupees.
    bid_quantity, ask_quantity, volume
        Shares.
    change_percent
        Percent against the previous close.
    source
        ``"icici"`` or ``"practice"``.
    """

    instrument: str
    time: datetime | None
    received: datetime
    last: float
    open: float
    high: float
    low: float
    previous_close: float
    change_percent: float
    bid: float
    bid_quantity: int
    ask: float
    ask_quantity: int
    volume: int
    lower_circuit: float
    upper_circuit: float
    source: str

    @property
    def age(self) -> timedelta | None:
        """How old the last trade was when the answer came."""
        return None if self.time is None else self.received - self.time

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{f.name.replace('_', ' ')}</th>"
            f"<td>{getattr(self, f.name)}</td></tr>"
            for f in fields(self)
        )
        return f"<table>{rows}</table>"


def fetch(session: Session, instrument: Instrument) -> Quote:
    """Return the current quote of `instrument`.

    Raises
    ------
    BadResponse
        The broker's answer has no row of this instrument.
    NotLoggedIn, SessionExpired, RateLimited, RequestError
    """
    arguments: dict[str, Any] = {
        "expiry_date": "",
        "right": "",
        "strike_price": "",
        **instrument.broker_fields(),
    }
    rows = session.call("get_quotes", **arguments)
    # A cash question is answered with two rows, NSE and BSE, whichever was asked.
    row = next((r for r in rows if r.get("exchange_code") == instrument.exchange), None)
    if row is None:
        raise BadResponse(f"The broker has no quote of {instrument.key}.")
    return Quote(
        instrument=instrument.key,
        time=_time(row.get("ltt")),
        received=clock.now(),
        last=_number(row["ltp"]),
        open=_number(row["open"]),
        high=_number(row["high"]),
        low=_number(row["low"]),
        previous_close=_number(row["previous_close"]),
        change_percent=_number(row["ltp_percent_change"]),
        bid=_number(row["best_bid_price"]),
        bid_quantity=int(_number(row["best_bid_quantity"])),
        ask=_number(row["best_offer_price"]),
        ask_quantity=int(_number(row["best_offer_quantity"])),
        volume=int(_number(row["total_quantity_traded"])),
        lower_circuit=_number(row["lower_circuit"]),
        upper_circuit=_number(row["upper_circuit"]),
        source=session.endpoints.name,
    )


def _number(value: Any) -> float:
    return float(value or 0)


def _time(text: str | None) -> datetime | None:
    """Read ``05-Feb-2025 09:36:56`` whatever the locale."""
    if not text or text == "NA":
        return None
    day, month, rest = text.split("-")
    year, _, clock_part = rest.partition(" ")
    number = _MONTHS.index(month.capitalize()) // 3 + 1
    return datetime.fromisoformat(f"{year}-{number:02d}-{int(day):02d}T{clock_part}").replace(
        tzinfo=clock.IST
    )
