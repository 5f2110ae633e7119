"""The market that replays a recording: its clock, its listing, its quotes.

A contract recorded in ticks is walked row by row, so each row is one frame
with the price, the quantities, the best bid and ask and the open interest
recorded in it; where a row is silent the practice market fills in. All others
trade like any contract of the practice market.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab import clock
from breeze_lab.errors import RecordingError
from breeze_lab.practice.exchange import contracts, derivatives
from breeze_lab.practice.exchange.days import day_of, midnight, number_at
from breeze_lab.practice.exchange.market import Book, Live, Market, Quote
from breeze_lab.practice.exchange.market_clock import MarketClock
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.replay.recording import BLANK, read
from breeze_lab.practice.replay.recording_names import extended
from breeze_lab.practice.replay.replay import ReplayPrices

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from breeze_lab.practice.exchange.contracts import Listing
    from breeze_lab.practice.exchange.noise import Ints
    from breeze_lab.practice.exchange.universe import Contract
    from breeze_lab.practice.replay.recording import Recording

__all__ = ["ReplayLive", "ReplayMarket"]

_TIME: Final = re.compile(r"(?:(\d{4}-\d\d-\d\d)[T ])?(\d\d):(\d\d)(?::(\d\d))?")
#: One side of the book: (ticks, quantity, orders), best first.
_Side = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """All ticks of a contract and what a quote says after each; parallel arrays."""

    number: Ints
    time_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    last: Ints
    last_quantity: Ints
    volume: Ints
    value: Ints
    interest: Ints
    interest_change: Ints
    bid: Ints
    bid_quantity: Ints
    ask: Ints
    ask_quantity: Ints

    @classmethod
    def of(cls, prices: ReplayPrices, contract: Contract) -> _Rows:
        """Return the rows of all days that were recorded in ticks."""
        days = [_day_rows(prices, contract, number) for number in prices.tick_days(contract)]
        return cls(*(np.concatenate(columns) for columns in zip(*days, strict=True)))


@functools.lru_cache(maxsize=1024)
def _rows(prices: ReplayPrices, contract: Contract) -> _Rows:
    """Return the rows of a contract; quotes of it are asked for many times."""
    return _Rows.of(prices, contract)


def _day_rows(prices: ReplayPrices, contract: Contract, number: int) -> tuple[Ints, ...]:
    """Return the columns of `_Rows` for one day."""
    ticks = prices.recording.ticks[contract.key, number]
    count, index = len(ticks.price), contract.kind == "index"
    units = np.ones(count, np.int64) if index else ticks.traded
    told = not index and ticks.total[0] != BLANK
    volume = ticks.total if told else np.cumsum(units)
    # Before a first trade the day is as high and low as the price that is shown.
    opened = int(ticks.price[int((units > 0).argmax())])
    interest = ticks.interest
    if contract.expiry is not None:
        # A row without open interest repeats what was known; a silent day has the market's own.
        at = np.maximum.accumulate(np.where(interest != BLANK, np.arange(count), 0))
        slots = ticks.time_ms // 1000 - midnight(number)
        slots = slots // 60 - (prices.hours(contract, number) or (0, 0))[0]
        market = derivatives.open_interest(prices, contract, number)[slots] * contract.unit
        interest = np.where(interest[at] != BLANK, interest[at], market)
    else:
        interest = np.zeros(count, np.int64)
    shown = np.where(ticks.quantity > 0, np.arange(count), 0)
    return (
        np.full(count, number), ticks.time_ms, np.full(count, opened),
        np.maximum.accumulate(ticks.price), np.minimum.accumulate(ticks.price), ticks.price,
        np.maximum(ticks.quantity[np.maximum.accumulate(shown)], 0), volume,
        np.cumsum(ticks.price * units), interest, interest - interest[0],
        ticks.bid, ticks.bid_quantity, ticks.ask, ticks.ask_quantity,
    )  # fmt: skip


class ReplayLive(Live):
    """A contract that was recorded in ticks, from its first recorded day on.

    Parameters
    ----------
    prices, contract
        Where its ticks come from.
    now_ms
        The market time to stand at first.
    """

    def __init__(self, prices: ReplayPrices, contract: Contract, now_ms: int) -> None:
        self._rows: _Rows | None = None
        super().__init__(
            prices, contract, now_ms, makers=False
        )  # before the first row it stands a day earlier
        self._rows = _rows(prices, contract)
        self._at = int(np.searchsorted(self._rows.time_ms, now_ms, side="right")) - 1
        if self._at >= 0:
            self._show(self._rows)

    @property
    def minute(self) -> tuple[int, int]:
        """The day number and slot of the newest row's minute."""
        number = self.quote.number
        opened = (self.prices.hours(self.contract, number) or (0, 0))[0]
        return number, (self.quote.time_ms // 1000 - midnight(number)) // 60 - opened

    @property
    def next_ms(self) -> int | None:
        """When the next row comes; None after the last."""
        rows = self._rows
        if rows is None:
            return super().next_ms
        following = self._at + 1
        return int(rows.time_ms[following]) if following < len(rows.time_ms) else None

    def prepare(self) -> int | None:
        """Return `next_ms`: everything is prepared."""
        return self.next_ms

    def step(self) -> None:
        """Let the next row happen."""
        if self._rows is None:
            super().step()
            return
        self._at += 1
        self._show(self._rows)

    def _show(self, rows: _Rows) -> None:
        at = self._at
        number = int(rows.number[at])
        lower, upper = self.prices.circuit(self.contract, number)
        opened = int(rows.open[at])
        close = self.prices.previous_close(self.contract, number)
        self.quote = Quote(
            number=number, time_ms=int(rows.time_ms[at]), open=opened, high=int(rows.high[at]),
            low=int(rows.low[at]), last=int(rows.last[at]),
            before=int(rows.last[at - 1]) if at and rows.number[at - 1] == number else 0,
            last_quantity=int(rows.last_quantity[at]), volume=int(rows.volume[at]),
            value=int(rows.value[at]), previous_close=opened if close is None else close,
            lower=lower, upper=upper, interest=int(rows.interest[at]),
            interest_change=int(rows.interest_change[at]),
        )  # fmt: skip

    def book(self, levels: int = 5, at_ms: int | None = None) -> Book:  # noqa: ARG002
        """Return the best `levels` after the newest row: recorded at the top, invented below.

        It stands still between rows, whatever moment `at_ms` is asked for.
        """
        made = super().book(levels)
        if self._rows is None or self._at < 0 or not made.bids or not made.asks:
            return made
        rows, at = self._rows, self._at
        bid, ask = int(rows.bid[at]), int(rows.ask[at])
        if bid == BLANK and ask == BLANK:
            return made
        if bid == BLANK:
            bid = min(made.bids[0][0], ask - 1)
        elif ask == BLANK:
            ask = max(made.asks[0][0], bid + 1)
        return Book(
            _side(made.bids, bid, int(rows.bid_quantity[at]), -1),
            _side(made.asks, ask, int(rows.ask_quantity[at]), 1),
            made.total_bid,
            made.total_ask,
        )


def _side(made: _Side, best: int, quantity: int, step: int) -> _Side:
    """Return a side of the book that begins at the recorded `best`."""
    sizes = [
        size if quantity == BLANK or place else quantity for place, (_, size, _) in enumerate(made)
    ]
    levels = [
        (best + step * place, size, orders)
        for place, (size, (_, _, orders)) in enumerate(zip(sizes, made, strict=True))
    ]
    return tuple(level for level in levels if level[0] > 0)


class ReplayMarket(Market):
    """A market of recorded days.

    Parameters
    ----------
    seed
        Of everything that was not recorded.
    recording
        See `Recording`.
    market_clock
        Market time.
    only
        List nothing that was not recorded.
    """

    prices: ReplayPrices

    def __init__(
        self, seed: int, recording: Recording, market_clock: MarketClock, *, only: bool = False
    ) -> None:
        super().__init__(seed, None, market_clock)
        self.prices = ReplayPrices(seed, recording, only=only)
        self._listing = functools.lru_cache(maxsize=4)(self._extended)

    @classmethod
    def of_file(
        cls,
        path: Path,
        seed: int,
        *,
        speed: float = 1.0,
        paused: bool = False,
        start: str = "",
        only: bool = False,
    ) -> ReplayMarket:
        """Return the market that replays a file or folder, its clock at the first moment.

        Parameters
        ----------
        path
            See `breeze_lab.practice.recording.read`.
        start
            Another first moment: Indian time of the first recorded day, or with a date.

        Raises
        ------
        RecordingError
        """
        recording = read(path, Prices(seed, None))
        at = _moment(start, recording.days[0]) if start else recording.first_ms - 1
        if not start and at < midnight(recording.days[0]) * 1000:
            at += 1  # only day bars, which carry midnight: begin with the day
        market_clock = MarketClock(speed, clock.from_epoch(at / 1000), paused=paused)
        return cls(seed, recording, market_clock, only=only)

    @property
    def listing(self) -> Listing:
        """What is listed today, with what was recorded."""
        return self._listing(self.today)

    def _extended(self, today: date) -> Listing:
        listed = contracts.listing(self.prices, today)
        recorded = list(self.prices.recording.contracts.values())
        return extended(listed, recorded, only=self.prices.only)

    def live(self, contract: Contract) -> Live:
        """Return a contract standing at the market's time."""
        now_ms = self.clock.now_ms()
        days = self.prices.tick_days(contract)
        if days and days[0] <= number_at(now_ms / 1000):
            return ReplayLive(self.prices, contract, now_ms)
        recorded = self.prices.recorded(contract, number_at(now_ms / 1000))
        return Live(self.prices, contract, now_ms, makers=not recorded)


def _moment(text: str, number: int) -> int:
    """Return the Unix milliseconds of ``09:15`` on day `number`, or of a date and time."""
    found = _TIME.fullmatch(text)
    said = f"--from {text!r} is no time. Write 09:15, 09:15:30 or 2026-11-20T09:15."
    if found is None:
        raise RecordingError(said)
    day = found[1] or str(day_of(number))
    try:
        wall = np.datetime64(f"{day}T{found[2]}:{found[3]}:{found[4] or '00'}", "ms")
    except ValueError:
        raise RecordingError(said) from None
    return int(wall.astype(np.int64)) - 19_800_000
