"""Frames: the JSON arrays and strings of the three streams, laid out as the broker's.

Positions and types follow recorded frames: 21 elements for cash and index,
23 for futures and options, three for depth, 22 and five book rows for MCX
(in paise), and one comma-separated string for a candle, whose prices come in
the order low, high, open, close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from breeze_lab.bars import Interval
from breeze_lab.practice.exchange.market import rupees
from breeze_lab.practice.exchange.universe import RUPEE
from breeze_lab.practice.exchange.words import clock_text, dated
from breeze_lab.ticks import Depth

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.history import Series
    from breeze_lab.practice.exchange.market import Live, Quote
    from breeze_lab.practice.exchange.universe import Contract
    from breeze_lab.ticks import DepthLevel, Tick

__all__ = [
    "CANDLE_EVENTS", "candle", "depth", "encode", "quote",
]  # fmt: skip

#: Candle events by interval.
CANDLE_EVENTS: Final = {
    Interval.S1: "1SEC", Interval.M1: "1MIN", Interval.M5: "5MIN", Interval.M30: "30MIN",
}  # fmt: skip
_LAKH: Final = 100_000
_CRORE: Final = 10_000_000


def quote(live: Live) -> list[Any]:
    """Return the quote frame of a contract after its newest trade."""
    contract, now = live.contract, live.quote
    if contract.exchange == "MCX":
        return _mcx(live)
    room = f"{contract.market}.1!{contract.token}"
    head: list[Any] = [
        room, rupees(now.open, contract), rupees(now.last, contract), rupees(now.high, contract),
        rupees(now.low, contract), _change(now),
    ]  # fmt: skip
    time_s, close = now.time_ms // 1000, rupees(now.previous_close, contract)
    if contract.kind == "index":
        trend = "-" if now.last < now.before else "+"  # of the last trade, not of the day
        return [*head, *[None] * 10, trend, None, None, time_s, close]
    book = live.book(1)
    bid = book.bids[0] if book.bids else (0, 0, 0)
    ask = book.asks[0] if book.asks else (0, 0, 0)
    head += [
        rupees(bid[0], contract), bid[1], rupees(ask[0], contract), ask[1], now.last_quantity,
        _average(now, contract),
    ]  # fmt: skip
    if contract.exchange in ("NFO", "BFO"):
        # NFO has been silent about the change since 2025; BFO tells both.
        change = now.interest_change if contract.exchange == "BFO" else None
        head += [now.interest, change]
    elif contract.exchange == "NDX":
        head += ["", ""]
    tail = [
        now.volume, book.total_bid, book.total_ask, _turnover(now, contract), "",
        rupees(now.lower, contract), rupees(now.upper, contract), time_s, close,
    ]  # fmt: skip
    return head + tail


def depth(live: Live) -> list[Any]:
    """Return the depth frame of a contract: five rows as its market lays them out."""
    contract = live.contract
    book = live.book()
    rows: list[list[Any]] = []
    for level in range(5):
        bid = book.bids[level] if level < len(book.bids) else (0, 0, 0)
        ask = book.asks[level] if level < len(book.asks) else (0, 0, 0)
        buy, sell = rupees(bid[0], contract), rupees(ask[0], contract)
        if contract.exchange == "BSE":
            rows.append([buy, bid[1], sell, ask[1]])
        elif contract.exchange == "BFO":
            rows.append([buy, bid[1], bid[2], sell, ask[1], ask[2]])
        else:
            rows.append([buy, bid[1], bid[2], "", sell, ask[1], ask[2], ""])
    room = f"{contract.market}.2!{contract.token}"
    return [room, live.quote.time_ms // 1000, rows]


def _mcx(live: Live) -> list[Any]:
    contract, now, book = live.contract, live.quote, live.book()

    def paise(ticks: int) -> int:
        return ticks * contract.tick // 100

    rows: list[list[Any]] = []
    for level in range(5):
        bid = book.bids[level] if level < len(book.bids) else (0, 0, 0)
        ask = book.asks[level] if level < len(book.asks) else (0, 0, 0)
        rows.append([bid[1], paise(bid[0]), bid[2], "", ask[1], paise(ask[0]), ask[2], ""])
    average = now.value // now.volume if now.volume else 0
    return [
        f"6.1!{contract.token}", "32", " ", " ", now.volume, paise(now.last), now.last_quantity,
        now.time_ms // 1000, paise(average), book.total_bid, book.total_ask, "",
        paise(now.previous_close), paise(now.open), paise(now.high), paise(now.low), 0,
        now.interest, now.volume, paise(now.upper), paise(now.lower),
        now.value * contract.tick // RUPEE, *rows,
    ]  # fmt: skip


def _change(now: Quote) -> float:
    if not now.previous_close:
        return 0.0
    return round((now.last - now.previous_close) / now.previous_close * 100, 2)


def _average(now: Quote, contract: Contract) -> float | int:
    if not now.volume:
        return 0
    value = round(now.value * contract.tick / RUPEE / now.volume, 2)
    return int(value) if value == int(value) else value


def _turnover(now: Quote, contract: Contract) -> str | float:
    value = now.value * contract.tick / RUPEE * (1000 if contract.exchange == "NDX" else 1)
    if contract.exchange == "BFO":
        return round(value / _LAKH, 2)
    return f"{value / _CRORE:.2f}C" if value >= _CRORE else f"{value / _LAKH:.2f}L"


def encode(value: Tick | Depth, *, derivative: bool = False) -> list[Any]:
    """Return the frame that `breeze_lab.ticks.decode_frame` reads as `value`.

    For quotes and depth of all markets but MCX and the index feed, whose frames
    say more than a `Tick` keeps. NSE rooms do not tell cash from a `derivative`
    without open interest, which gets the empty texts of older recordings.
    """
    if isinstance(value, Depth):
        market = value.room.partition(".")[0]
        rows = [_row(market, level) for level in value.levels]
        return [value.room, int(value.exchange_time.timestamp()), rows]
    market = value.room.partition(".")[0]
    head = [
        value.room, value.open, value.last, value.high, value.low, value.change_percent, value.bid,
        value.bid_quantity, value.ask, value.ask_quantity, value.last_quantity,
        value.average_price,
    ]  # fmt: skip
    if derivative or market in ("8", "13") or value.open_interest is not None:
        known = value.open_interest is not None
        head += [value.open_interest, value.open_interest_change] if known else ["", ""]
    index = value.volume is None
    trend = ("+" if (value.last or 0) > (value.previous_close or 0) else "-") if index else ""
    moment = value.exchange_time
    tail = [
        value.volume, value.total_bid_quantity, value.total_ask_quantity,
        _turnover_text(value.turnover, in_lakhs=market == "8"), trend, value.lower_circuit,
        value.upper_circuit, int(moment.timestamp()) if moment else 0, value.previous_close,
    ]  # fmt: skip
    return [_wire(item) for item in head + tail]


def _row(market: str, level: DepthLevel) -> list[Any]:
    bid, ask = _wire(level.bid), _wire(level.ask)
    if market == "1":
        return [bid, level.bid_quantity, ask, level.ask_quantity]
    if market == "8":
        return [bid, level.bid_quantity, level.bid_orders, ask, level.ask_quantity,
                level.ask_orders]  # fmt: skip
    return [bid, level.bid_quantity, level.bid_orders, "", ask, level.ask_quantity,
            level.ask_orders, ""]  # fmt: skip


def _wire(value: Any) -> Any:
    """Return a number as the wire writes it: whole when it is whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _turnover_text(rupees_: float | None, *, in_lakhs: bool) -> str | float | None:
    if rupees_ is None:
        return None
    if in_lakhs:
        return round(rupees_ / _LAKH, 2)
    return f"{rupees_ / _CRORE:.2f}C" if rupees_ >= _CRORE else f"{rupees_ / _LAKH:.2f}L"


def candle(contract: Contract, series: Series, index: int, interval: Interval) -> str:
    """Return the text of one candle."""
    bar = series.bars.take(index)
    fields: list[object] = [contract.exchange, contract.code]
    if contract.expiry is not None:
        fields.append(dated(contract.expiry))
    if contract.strike is not None:
        fields += [str(float(contract.strike)), contract.right]  # currencies have quarters
    fields += [rupees(int(x), contract) for x in (bar.low, bar.high, bar.open, bar.close)]
    fields.append(0 if contract.kind == "index" else int(bar.volume) * contract.unit)
    if contract.expiry is not None:
        fields.append(int(series.interest[index]) * contract.unit)
    fields += [clock_text(int(series.start[index])), CANDLE_EVENTS[interval]]
    return ",".join(str(field) for field in fields)
