"""Recordings written: rows in the layout of ``docs/replay.md``, from anywhere or from practice.

`write_ticks` and `write_bars` take rows in the layout's own terms; `record`
makes them from the practice market, for a test or a lesson.
"""

from __future__ import annotations

import heapq
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.bars import Interval
from breeze_lab.errors import RecordingError
from breeze_lab.practice.exchange.days import day_number, midnight
from breeze_lab.practice.exchange.history import merge, visible_minutes, visible_seconds
from breeze_lab.practice.exchange.market import Live
from breeze_lab.practice.exchange.universe import RUPEE
from breeze_lab.practice.replay.recording_files import write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from breeze_lab.practice.exchange.history import Series
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["BarRow", "TickRow", "record", "write_bars", "write_ticks"]

_FAR_MS: Final = 2**62


@dataclass(frozen=True, slots=True)
class TickRow:
    """One row of ticks, in the layout's order; None is blank.

    Parameters
    ----------
    time
        Exchange time: aware, or Unix milliseconds.
    exchange, stock_code, symbol, token
        The instrument; of the last three one is enough.
    expiry, strike, right
        Derivatives: date, rupees (options), CE or PE.
    last_price, bid_price, ask_price, previous_close
        Rupees.
    last_quantity, bid_quantity, ask_quantity
        Shares; `last_quantity` is 0 when only the quote changed.
    open_interest, total_volume
        Shares; the volume is the day's so far.
    """

    time: datetime | int
    exchange: str
    stock_code: str | None = None
    symbol: str | None = None
    token: str | None = None
    expiry: date | None = None
    strike: float | None = None
    right: str | None = None
    last_price: float | None = None
    last_quantity: int | None = None
    bid_price: float | None = None
    bid_quantity: int | None = None
    ask_price: float | None = None
    ask_quantity: int | None = None
    open_interest: int | None = None
    total_volume: int | None = None
    previous_close: float | None = None


@dataclass(frozen=True, slots=True)
class BarRow:
    """One row of bars, in the layout's order; None is blank.

    Parameters
    ----------
    time
        Opening time: aware, or Unix milliseconds; of a day bar midnight in India.
    interval
        ``"1s" "1m" "5m" "30m" "1d"``.
    open, high, low, close, previous_close
        Rupees.
    volume, open_interest
        Shares.

    Notes
    -----
    The rest is `TickRow`'s.
    """

    time: datetime | int
    exchange: str
    stock_code: str | None = None
    symbol: str | None = None
    token: str | None = None
    expiry: date | None = None
    strike: float | None = None
    right: str | None = None
    interval: str = "1m"
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    volume: int | None = None
    open_interest: int | None = None
    previous_close: float | None = None


def write_ticks(path: Path, rows: Iterable[TickRow]) -> int:
    """Write ticks, which must come in the order of time; return how many.

    Parameters
    ----------
    path
        Ends in ``.csv`` or ``.parquet``. The file appears when it is whole.

    Raises
    ------
    RecordingError
        When the path ends otherwise, or a time has no zone.
    """
    return write(path, "ticks", map(_plain, rows))


def write_bars(path: Path, rows: Iterable[BarRow]) -> int:
    """Write bars, which must come in the order of time; see `write_ticks`."""
    return write(path, "bars", map(_plain, rows))


def _plain(row: TickRow | BarRow) -> tuple[Any, ...]:
    moment, *cells = astuple(row)
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise RecordingError(f"The time {moment} has no zone. Make it aware, Asia/Kolkata.")
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        moment = round((moment - epoch).total_seconds() * 1000)
    return (moment, *cells)


def record(
    prices: Prices,
    contracts: Iterable[Contract],
    day: date,
    start: time,
    end: time,
    *,
    path: Path,
    interval: Interval | None = None,
) -> int:
    """Record a stretch of a practice day; return how many rows were written.

    Parameters
    ----------
    prices, contracts
        What is recorded.
    day, start, end
        Indian time; trades and opening bars from `start` until before `end`.
    path
        Ends in ``.csv`` or ``.parquet``.
    interval
        Bars of this length (1s, 1m, 5m, 30m, 1d) instead of ticks.
    """
    number = day_number(day)
    span = tuple((midnight(number) + _seconds(at)) * 1000 for at in (start, end))
    streams: list[Iterator[TickRow | BarRow]] = []
    for contract in contracts:
        if interval is None:
            streams.append(_ticks(prices, contract, (span[0], span[1])))
        else:
            streams.append(_bars(prices, contract, number, (span[0], span[1]), interval))
    merged = heapq.merge(*streams, key=lambda row: row.time)
    return write(path, "ticks" if interval is None else "bars", map(_plain, merged))


def _seconds(at: time) -> int:
    return at.hour * 3600 + at.minute * 60 + at.second


def _names(contract: Contract) -> dict[str, Any]:
    return {
        "exchange": contract.exchange, "stock_code": contract.code, "expiry": contract.expiry,
        "strike": contract.strike, "right": contract.right or None,
    }  # fmt: skip


def _rupees(ticks: int, contract: Contract) -> float:
    return round(ticks * contract.tick / RUPEE, 4)


def _ticks(prices: Prices, contract: Contract, span: tuple[int, int]) -> Iterator[TickRow]:
    """Yield what the feed says of a contract after each of its trades."""
    live = Live(prices, contract, span[0] - 1)
    names, index = _names(contract), contract.kind == "index"
    while (live.prepare() or _FAR_MS) < span[1]:
        live.step()
        now, book = live.quote, live.book(1)
        bid = book.bids[0] if book.bids and not index else None
        ask = book.asks[0] if book.asks and not index else None
        yield TickRow(
            now.time_ms, **names, last_price=_rupees(now.last, contract),
            last_quantity=None if index else now.last_quantity,
            bid_price=_rupees(bid[0], contract) if bid else None,
            bid_quantity=bid[1] if bid else None,
            ask_price=_rupees(ask[0], contract) if ask else None,
            ask_quantity=ask[1] if ask else None,
            open_interest=now.interest if contract.expiry else None,
            total_volume=None if index else now.volume,
            previous_close=_rupees(now.previous_close, contract),
        )  # fmt: skip


def _bars(
    prices: Prices, contract: Contract, number: int, span: tuple[int, int], interval: Interval
) -> Iterator[BarRow]:
    """Yield the bars of a contract that open in `span`."""
    found = _series(prices, contract, number, interval)
    first = midnight(number) * 1000 if interval is Interval.D1 else span[0]
    names, index = _names(contract), contract.kind == "index"
    close = prices.previous_close(contract, number)
    for at, start in enumerate(found.start.tolist()):
        if not first <= start * 1000 < span[1]:
            continue
        bar = found.bars.take(at)
        o, h, lo, c = (_rupees(int(x), contract) for x in (bar.open, bar.high, bar.low, bar.close))
        yield BarRow(
            start * 1000, **names, interval=interval.label, open=o, high=h, low=lo, close=c,
            volume=0 if index else int(bar.volume) * contract.unit,
            open_interest=int(found.interest[at]) * contract.unit if contract.expiry else None,
            previous_close=None if close is None else _rupees(close, contract),
        )  # fmt: skip


def _series(prices: Prices, contract: Contract, number: int, interval: Interval) -> Series:
    """Return all bars of a day."""
    end_ms = midnight(number + 1) * 1000
    minutes = visible_minutes(prices, contract, number, end_ms)
    if interval is Interval.S1:
        return visible_seconds(prices, contract, minutes, end_ms)
    start = [interval.floor_epoch(int(at), contract.anchor_s) for at in minutes.start]
    return merge(minutes, np.array(start, np.int64))
