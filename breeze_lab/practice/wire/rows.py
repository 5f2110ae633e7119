"""Rows of the REST answers: candles of both versions and quotes, every type as documented.

Money is a number here and text there, as the broker has it. A request names a
contract by fields; `contract_of` finds it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.bars import Interval
from breeze_lab.practice.exchange.days import midnight, number_at
from breeze_lab.practice.exchange.market import rupees
from breeze_lab.practice.exchange.oddities import answer
from breeze_lab.practice.exchange.universe import RUPEE, universe
from breeze_lab.practice.exchange.words import MONTHS, clock_text, dated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from breeze_lab.practice.exchange.history import Series
    from breeze_lab.practice.exchange.market import Live, Market
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["BadRequest", "candles_v1", "candles_v2", "chain", "contract_of", "quotes"]

#: Intervals by wire spelling; v1 knows no seconds.
V1_INTERVALS: Final = {
    "minute": Interval.M1, "5minute": Interval.M5, "30minute": Interval.M30, "day": Interval.D1,
    "1minute": Interval.M1, "1day": Interval.D1,  # how the SDK sends what is not in lower case
}  # fmt: skip
V2_INTERVALS: Final = {
    "1second": Interval.S1, "1minute": Interval.M1, "5minute": Interval.M5,
    "30minute": Interval.M30, "1day": Interval.D1,
}  # fmt: skip
_DERIVATIVES: Final = ("NFO", "BFO", "NDX", "MCX")
_MONTHS: Final = {m.upper(): i for i, m in enumerate(MONTHS, 1)}
_IST_OFFSET: Final = 19_800
_RIGHTS: Final = {"call": "CE", "put": "PE", "ce": "CE", "pe": "PE"}
#: An option chain is named by so many of expiry, right and strike.
_LEAST_FIELDS: Final = 2


class BadRequest(Exception):
    """A field of the request cannot be read; the text is the answer's Error."""


def moment(text: str) -> int:
    """Return the Unix seconds of ISO text whose clock is IST whatever its zone says."""
    found = re.match(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?))?", text)
    if found is None:
        raise BadRequest(f"Invalid date: {text[:40]}")
    try:
        wall = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00:00'}")
    except ValueError as exc:
        raise BadRequest(f"Invalid date: {text[:40]}") from exc
    return int(wall.replace(tzinfo=UTC).timestamp()) - _IST_OFFSET


def day(text: str) -> date | None:
    """Return the date of an expiry in ISO or ``27-Feb-2025`` spelling; only the date counts."""
    if not text:
        return None
    named = re.match(r"(\d\d?)-([A-Za-z]{3})-(\d{4})", text)
    try:
        if named:
            return date(int(named[3]), _MONTHS[named[2].upper()], int(named[1]))
        return date.fromisoformat(text[:10])
    except (KeyError, ValueError) as exc:
        raise BadRequest(f"Invalid expiry date: {text[:40]}") from exc


def contract_of(market: Market, request: Mapping[str, Any]) -> Contract | None:
    """Return the contract a request names, or None when there is no such contract.

    Raises
    ------
    BadRequest
        When a date or a number cannot be read.
    """
    exchange = str(request.get("exchange_code") or request.get("exch_code") or "").upper()
    code = str(request.get("stock_code") or "").upper()
    product = str(request.get("product_type") or "").lower()
    if exchange not in _DERIVATIVES or product == "cash":
        return market.listing.find(exchange, code)
    expiry = day(str(request.get("expiry_date") or ""))
    if expiry is None:
        return None
    right = _RIGHTS.get(str(request.get("right") or "").lower(), "")
    if not product.startswith("option"):
        return market.listing.find(exchange, code, expiry)
    strike = _strike(request)
    return market.listing.find(exchange, code, expiry, strike, right) if right else None


def _strike(request: Mapping[str, Any]) -> float:
    try:
        strike = float(request.get("strike_price") or 0)
    except (TypeError, ValueError) as exc:
        raise BadRequest("Invalid strike price") from exc
    if not math.isfinite(strike):
        raise BadRequest("Invalid strike price")
    return strike


def _bars(
    market: Market, contract: Contract, interval: Interval, request: Mapping[str, Any]
) -> Series:
    start, end = moment(str(request.get("from_date"))), moment(str(request.get("to_date")))
    return answer(market.prices, contract, interval, (start, end), market.clock.now_ms())


def _columns(contract: Contract, found: Series) -> tuple[list[float], ...]:
    bars = found.bars
    return tuple(
        np.round(x * (contract.tick / RUPEE), 4).tolist()
        for x in (bars.open, bars.high, bars.low, bars.close)
    )


def _volumes(contract: Contract, found: Series) -> list[int]:
    if contract.kind == "index":
        return [0] * len(found)
    volumes: list[int] = (found.bars.volume * contract.unit).tolist()
    return volumes


def candles_v2(
    market: Market, contract: Contract, interval: Interval, request: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return version 2 rows, ascending: numbers, and no key that does not apply."""
    found = _bars(market, contract, interval, request)
    tail: dict[str, Any] = {}
    if contract.expiry is not None:
        tail["product_type"] = "Options" if contract.strike is not None else "Futures"
        tail["expiry_date"] = dated(contract.expiry).upper()
    if contract.strike is not None:
        tail["right"] = "Call" if contract.right == "CE" else "Put"
        tail["strike_price"] = contract.strike
    interest = (found.interest * contract.unit).tolist()
    rows = []
    lines = zip(
        map(clock_text, found.start.tolist()), *_columns(contract, found),
        _volumes(contract, found), interest, strict=True,
    )  # fmt: skip
    for stamp, o, h, lo, c, volume, oi in lines:
        row = {
            "close": c, "datetime": stamp, "exchange_code": contract.exchange, "high": h,
            "low": lo, "open": o, "stock_code": contract.code, "volume": volume,
        }  # fmt: skip
        # Version 2 writes its keys in alphabetical order.
        rows.append(dict(sorted({**row, "open_interest": oi, **tail}.items())) if tail else row)
    return rows


def candles_v1(
    market: Market, contract: Contract, interval: Interval, request: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return version 1 rows, ascending: text, and null where a key does not apply."""
    found = _bars(market, contract, interval, request)
    option, expires = contract.strike is not None, contract.expiry is not None
    tail = {
        "product_type": ("Options" if option else "Futures") if expires else None,
        "expiry_date": _short(contract.expiry) if contract.expiry else None,
        "right": _right(contract, "Others"),
        "strike_price": f"{contract.strike:g}" if option else "0" if expires else None,
    }
    interest = (found.interest * contract.unit).tolist()
    opened = ends = 0
    rows = []
    lines = zip(
        found.start.tolist(), *_columns(contract, found), _volumes(contract, found), interest,
        strict=True,
    )  # fmt: skip
    for start, o, h, lo, c, volume, oi in lines:
        if start >= ends:  # the first row of another day
            number = number_at(start)
            opened = midnight(number) + 60 * (market.prices.hours(contract, number) or (0, 0))[0]
            ends = midnight(number + 1)
        rows.append(
            {
                "datetime": clock_text(start), "stock_code": contract.code,
                "exchange_code": contract.exchange, **tail,
                "open": f"{o:.10g}", "high": f"{h:.10g}", "low": f"{lo:.10g}", "close": f"{c:.10g}",
                "volume": str(volume), "open_interest": str(oi) if expires else None,
                "count": max((start - opened) // interval.value + 1, 1),
            }
        )  # fmt: skip
    return rows


def _right(contract: Contract, of_future: str) -> str | None:
    if contract.strike is not None:
        return "Call" if contract.right == "CE" else "Put"
    return of_future if contract.expiry else None


def _short(expiry: date) -> str:
    text = dated(expiry).upper()
    return text[:7] + text[9:]


def quotes(market: Market, contract: Contract) -> list[dict[str, Any]]:
    """Return the rows of ``quotes``: NSE and BSE for cash, one for a derivative."""
    if contract.expiry is not None:
        return [_quote_row(market, contract)]
    rows = []
    for exchange in ("NSE", "BSE"):
        twin = contract if contract.exchange == exchange else _twin(contract, exchange)
        rows.append(_quote_row(market, twin) if twin is not None else _placeholder(contract))
    return rows


def _twin(contract: Contract, exchange: str) -> Contract | None:
    """Return the listing of the same share on `exchange`."""
    if not contract.isin:
        return None
    both = (c for c in universe().cash.values() if c.isin == contract.isin)
    return next((c for c in both if c.exchange == exchange), None)


def _placeholder(contract: Contract) -> dict[str, Any]:
    zero = 0.0
    return {
        "exchange_code": "NA", "product_type": "", "stock_code": contract.code,
        "expiry_date": None, "right": None, "strike_price": zero, "ltp": zero, "ltt": "NA",
        "best_bid_price": zero, "best_bid_quantity": "0", "best_offer_price": zero,
        "best_offer_quantity": "0", "open": zero, "high": zero, "low": zero,
        "previous_close": zero, "ltp_percent_change": zero, "upper_circuit": zero,
        "lower_circuit": zero, "total_quantity_traded": "0", "spot_price": None,
    }  # fmt: skip


def chain(market: Market, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of ``optionchain``: by expiry, strike and right.

    Parameters
    ----------
    request
        A stock code and for options two of expiry, strike and right; for
        futures none of them is needed.

    Raises
    ------
    BadRequest
        When fewer are given, or one cannot be read.
    """
    exchange = str(request.get("exchange_code") or "").upper()
    code = str(request.get("stock_code") or "").upper()
    options = str(request.get("product_type") or "").lower().startswith("option")
    expiry = day(str(request.get("expiry_date") or ""))
    right = _RIGHTS.get(str(request.get("right") or "").lower(), "") if options else ""
    strike = _strike(request) if options else 0.0
    if options and sum((expiry is not None, bool(right), strike > 0)) < _LEAST_FIELDS:
        raise BadRequest(
            "Atleast two inputs are required out of Expiry-Date, Right & Strike-Price."
        )
    found = [
        c for c in market.listing.contracts
        if c.exchange == exchange and c.code == code and exchange in ("NFO", "BFO")
        and c.kind == ("option" if options else "future")
        and expiry in (None, c.expiry) and right in ("", c.right) and strike in (0.0, c.strike)
    ]  # fmt: skip
    found.sort(key=lambda c: (c.expiry or date.max, c.strike or 0, c.right))
    return [_chain_row(market, contract) for contract in found]


def _chain_row(market: Market, contract: Contract) -> dict[str, Any]:
    live = market.live(contract)
    now, book = live.quote, live.book(1) if live.quote.time_ms else None
    return {
        **_quote_row(market, contract, live), "ltq": str(now.last_quantity),
        "open_interest": float(now.interest), "chnge_oi": float(now.interest_change),
        "total_buy_qty": str(book.total_bid if book else 0),
        "total_sell_qty": str(book.total_ask if book else 0),
    }  # fmt: skip


def _quote_row(market: Market, contract: Contract, live: Live | None = None) -> dict[str, Any]:
    live = live or market.live(contract)
    now = live.quote
    book = live.book(1) if now.time_ms else None  # who never traded has no book to show
    lower, upper = now.lower, now.upper
    if not now.time_ms:
        number = number_at(market.clock.now_ms() / 1000)
        lower, upper = market.prices.circuit(contract, number)

    def money(ticks: int) -> float:
        return float(rupees(ticks, contract))

    bid = book.bids[0] if book and book.bids else (0, 0, 0)
    ask = book.asks[0] if book and book.asks else (0, 0, 0)
    index = contract.kind == "index"
    if index:
        bid = ask = (0, 0, 0)
    before = now.previous_close
    change = (now.last - before) / before * 100 if before else 0.0
    stamp = clock_text(now.time_ms // 1000)
    option = contract.strike is not None
    spot = market.live(contract.leader) if contract.expiry is not None and contract.leader else None
    return {
        "exchange_code": contract.exchange,
        "product_type": "Options" if option else "Future" if contract.expiry else "",
        "stock_code": contract.code,
        "expiry_date": dated(contract.expiry) if contract.expiry else None,
        "right": _right(contract, "*"),
        "strike_price": contract.strike or 0.0,
        "ltp": money(now.last),
        "ltt": f"{dated(date.fromisoformat(stamp[:10]))} {stamp[11:]}" if now.time_ms else "",
        "best_bid_price": money(bid[0]), "best_bid_quantity": str(bid[1]),
        "best_offer_price": money(ask[0]), "best_offer_quantity": str(ask[1]),
        "open": money(now.open), "high": money(now.high), "low": money(now.low),
        "previous_close": money(now.previous_close),
        "ltp_percent_change": round(change, 2),
        "upper_circuit": money(upper), "lower_circuit": money(lower),
        "total_quantity_traded": "0" if index else str(now.volume),
        "spot_price": f"{rupees(spot.quote.last, spot.contract)}" if spot else None,
    }  # fmt: skip
