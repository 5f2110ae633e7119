"""Recordings of market days: what their rows mean, checked, and how they are made.

A recording is ticks (what the feed said, one row a trade or a changed quote)
or bars, laid out as ``docs/replay.md`` says. `read` answers whole days in the
units of the practice market or one error that names the file, the row, the
column and what to do; nothing is loaded by half. `record` writes the same
layout from the practice market itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.bars import Interval
from breeze_lab.errors import RecordingError, SettingsError
from breeze_lab.practice.exchange.days import FIRST_DAY
from breeze_lab.practice.exchange.split import Bars
from breeze_lab.practice.exchange.universe import RUPEE, Contract
from breeze_lab.practice.replay.recording_files import (
    BAR_COLUMNS,
    IDENTITY,
    TICK_COLUMNS,
    Chunk,
    chunks,
    files,
)
from breeze_lab.practice.replay.recording_names import Named, Names, UnknownName

if TYPE_CHECKING:
    from pathlib import Path

    from breeze_lab.practice.exchange.noise import Floats, Ints
    from breeze_lab.practice.exchange.prices import Prices

__all__ = ["DayBars", "DayTicks", "Recording", "read"]

#: Intervals a recording may have: those the broker answers.
_INTERVALS: Final = (Interval.S1, Interval.M1, Interval.M5, Interval.M30, Interval.D1)
#: Whole numbers in place of a blank cell.
BLANK: Final = -1
#: A price may miss its tick by so much of a tick: what a decimal fraction loses as a double.
_HAIR: Final = 1e-4
_IST_MS: Final = 19_800_000
_DAY_MS: Final = 86_400_000
_UNIX_DAY: Final = (FIRST_DAY - date(1970, 1, 1)).days
_CELLS: Final = {
    "ticks": (
        "last_price", "last_quantity", "bid_price", "bid_quantity", "ask_price", "ask_quantity",
        "open_interest", "total_volume", "previous_close",
    ),
    "bars": ("open", "high", "low", "close", "volume", "open_interest", "previous_close"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DayTicks:
    """The ticks of one contract on one day, ascending; parallel arrays, `BLANK` where silent.

    Parameters
    ----------
    time_ms
        Unix milliseconds.
    price, bid, ask
        Ticks.
    quantity, bid_quantity, ask_quantity, interest, total
        As reported: shares, contracts times lot.
    """

    time_ms: Ints
    price: Ints
    quantity: Ints
    bid: Ints
    bid_quantity: Ints
    ask: Ints
    ask_quantity: Ints
    interest: Ints
    total: Ints

    @property
    def traded(self) -> Ints:
        """What changed hands with each row: the rise of the total, else the last quantity."""
        if not len(self.total) or self.total[0] == BLANK:
            return np.maximum(self.quantity, 0)
        # Of a first row nobody knows how much of its total it was itself.
        first = min(max(int(self.quantity[0]), 0), int(self.total[0]))
        return np.concatenate([[first], np.diff(self.total)])


@dataclass(frozen=True, slots=True)
class DayBars:
    """The bars of one contract on one day, ascending.

    Parameters
    ----------
    interval, start
        Length, and opening times in Unix seconds.
    bars
        Prices in ticks; volume as reported.
    interest
        As reported, after each bar; `BLANK` where silent.
    """

    interval: Interval
    start: Ints
    bars: Bars
    interest: Ints


@dataclass(frozen=True, slots=True)
class Recording:
    """Recorded days.

    Parameters
    ----------
    contracts
        What was recorded, by `Contract.key`. Where recorded quantities are no
        multiples of the practice market's lot, the contract counts in single
        units.
    ticks, bars
        By (contract key, day number); a contract has one or the other on a day.
    previous_close
        Ticks, by (contract key, day number), where the recording tells.
    """

    contracts: dict[str, Contract]
    ticks: dict[tuple[str, int], DayTicks]
    bars: dict[tuple[str, int], DayBars]
    previous_close: dict[tuple[str, int], int]

    @property
    def days(self) -> list[int]:
        """The numbers of the recorded days, ascending."""
        return sorted({number for _, number in (*self.ticks, *self.bars)})

    @property
    def first_ms(self) -> int:
        """The first recorded moment; a day bar begins with its market."""
        moments = [int(t.time_ms[0]) for t in self.ticks.values()]
        moments += [int(b.start[0]) * 1000 for b in self.bars.values()]
        return min(moments)


def read(path: Path, prices: Prices) -> Recording:
    """Return the recording in a file, or in all recording files of a folder.

    Parameters
    ----------
    path
        CSV or Parquet, or a folder of them.
    prices
        Of the seed that will replay it: its listings resolve the names.

    Raises
    ------
    RecordingError
        The first thing wrong, with its file, row and column.
    """
    reader = _Reader(prices)
    for file in files(path):
        for chunk in chunks(file):
            reader.add(chunk)
    return reader.finish()


@dataclass(frozen=True, slots=True)
class _Rows:
    """Checked rows of one contract: matrix columns are time, row number, then the cells."""

    path: Path
    kind: str
    interval: Interval | None
    matrix: Ints

    def fail(self, at: int, column: str, value: object, todo: str) -> RecordingError:
        place = f"{self.path.name}, row {self.matrix[at, 1]}, column {column}"
        return RecordingError(f"{place}: {value!r}. {todo}")

    def column(self, name: str) -> Ints:
        column: Ints = self.matrix[:, 2 + _CELLS[self.kind].index(name)]
        return column


class _Reader:
    """Collects the rows of all files by contract and day."""

    def __init__(self, prices: Prices) -> None:
        self._names = Names(prices)
        self._places: dict[tuple[str, ...], int] = {}
        self._numbers: dict[str, int] = {}
        self._contracts: list[Contract] = []
        self._rows: dict[tuple[int, int], list[_Rows]] = {}

    def add(self, chunk: Chunk) -> None:
        """Check the rows of a chunk one by one and keep them."""
        times = chunk.times()
        days = (times + _IST_MS) // _DAY_MS - _UNIX_DAY
        who = self._who(chunk, days)
        intervals = _intervals(chunk, times, [c.anchor_s for c in self._contracts], who)
        cells = _cells(chunk, who, self._contracts)
        matrix = np.column_stack([times, chunk.numbers_of_rows, *cells])
        group = (who * 10_000 + days) * 100_000 + intervals
        order = np.argsort(group, kind="stable")
        ends = np.flatnonzero(np.diff(group[order])) + 1
        for some in np.split(order, ends):
            at = int(some[0])
            length = Interval(int(intervals[at])) if intervals[at] else None
            rows = _Rows(chunk.path, chunk.kind, length, matrix[some])
            self._rows.setdefault((int(who[at]), int(days[at])), []).append(rows)

    def _who(self, chunk: Chunk, days: Ints) -> Ints:
        """Return the number of each row's contract."""
        keys = list(zip(*(chunk.texts(name) for name in IDENTITY), strict=True))
        for key in dict.fromkeys(keys):
            if key not in self._places:
                at = keys.index(key)
                try:
                    contract = self._names.contract(
                        Named(*(text.strip().upper() for text in key)), int(days[at])
                    )
                except UnknownName as exc:
                    raise chunk.fail(exc.column, at, exc.value, exc.todo) from None
                if contract.key not in self._numbers:
                    self._numbers[contract.key] = len(self._contracts)
                    self._contracts.append(contract)
                self._places[key] = self._numbers[contract.key]
        return np.array([self._places[key] for key in keys], np.int64)

    def finish(self) -> Recording:
        """Check what rows mean together and return the whole."""
        ticks: dict[tuple[str, int], DayTicks] = {}
        bars: dict[tuple[str, int], DayBars] = {}
        previous: dict[tuple[str, int], int] = {}
        merged = {place: _merged(parts) for place, parts in self._rows.items()}
        parts: list[list[_Rows]] = [[] for _ in self._contracts]
        for (who, _), rows in merged.items():
            parts[who].append(rows)
        contracts = [_in_units(c, of) for c, of in zip(self._contracts, parts, strict=True)]
        for (who, number), rows in sorted(merged.items(), key=lambda item: item[0]):
            contract = contracts[who]
            key = (contract.key, number)
            close = rows.column("previous_close")
            told = np.unique(close[close != BLANK])
            if len(told) > 1:
                at = int(np.flatnonzero((close != BLANK) & (close != told[0]))[0])
                said = "The previous close is one price all day."
                raise rows.fail(at, "previous_close", _rupees(int(close[at]), contract), said)
            if len(told):
                previous[key] = int(told[0])
            if rows.kind == "ticks":
                ticks[key] = _day_ticks(rows, contract)
            else:
                bars[key] = _day_bars(rows, contract)
        return Recording({c.key: c for c in contracts}, ticks, bars, previous)


def _intervals(chunk: Chunk, times: Ints, anchors: list[int], who: Ints) -> Ints:
    """Return the seconds of each row's interval after checking where it begins; 0 for ticks."""
    found = np.zeros(chunk.count, np.int64)
    if chunk.kind == "ticks":
        return found
    texts = chunk.texts("interval")
    known: dict[str, int] = {}
    for text in dict.fromkeys(texts):
        try:
            interval = Interval.parse(text)
        except SettingsError:
            interval = Interval.H1
        if interval not in _INTERVALS:
            labels = ", ".join(x.label for x in _INTERVALS)
            raise chunk.fail("interval", texts.index(text), text, f"Use one of {labels}.")
        known[text] = interval.value
    found = np.array([known[text] for text in texts], np.int64)
    anchor = np.array(anchors, np.int64)[who]
    # Day bars carry midnight; the others are counted from the opening.
    offset = np.where(found == Interval.D1.value, 19_800, 19_800 - anchor) * 1000
    wrong = np.flatnonzero((times + offset) % (found * 1000))
    if len(wrong):
        at = int(wrong[0])
        said = f"A {texts[at]} bar carries the time at which it opens."
        raise chunk.fail("time", at, str(np.datetime64(int(times[at]) + _IST_MS, "ms")), said)
    return found


def _cells(chunk: Chunk, who: Ints, contracts: list[Contract]) -> list[Ints]:
    """Return the numbers of each column, whole: ticks and reported quantities."""
    tick = np.array([c.tick / RUPEE for c in contracts])[who]
    index = np.array([c.kind == "index" for c in contracts])[who]
    layout = TICK_COLUMNS if chunk.kind == "ticks" else BAR_COLUMNS
    found: dict[str, Ints] = {}
    for name in _CELLS[chunk.kind]:
        values = chunk.numbers(name)
        blank = np.isnan(values)
        needed = name in ("last_price", "open", "high", "low", "close")
        if needed or name in ("last_quantity", "volume"):
            silent = np.flatnonzero(blank & (needed | ~index))
            if len(silent):
                raise chunk.fail(name, int(silent[0]), "", "Every row needs it.")
        found[name] = _whole(chunk, name, values, tick if layout[name] == "price" else None)
    checks = _tick_faults(found) if chunk.kind == "ticks" else _bar_faults(found, index)
    for name, wrong, said in checks:
        if wrong.any():
            at = int(wrong.argmax())
            raise chunk.fail(name, at, float(chunk.numbers(name)[at]), said)
    return [found[name] for name in _CELLS[chunk.kind]]


def _whole(chunk: Chunk, name: str, values: Floats, tick: Floats | None) -> Ints:
    """Return prices in ticks of so many rupees, or quantities; `BLANK` for NaN."""
    blank, price = np.isnan(values), tick is not None
    wrong = np.flatnonzero(~blank & ((values <= 0) if price else (values < 0)))
    if len(wrong):
        at = int(wrong[0])
        said = "A price is above 0." if price else "A quantity is not negative."
        raise chunk.fail(name, at, float(values[at]), said)
    scaled = np.where(blank, BLANK, values if tick is None else values / tick)
    steps = np.rint(scaled)
    # A quotient of doubles is exact to some units of its last place, more for a large price.
    wrong = np.flatnonzero((np.abs(scaled - steps) > _HAIR) | (steps > 2**53))
    if len(wrong):
        at = int(wrong[0])
        said = "Write a whole number."
        if tick is not None:
            said = f"It is off the tick: its prices are whole multiples of {tick[at]:g}."
        raise chunk.fail(name, at, float(values[at]), said)
    return steps.astype(np.int64)


def _tick_faults(cells: dict[str, Ints]) -> list[tuple[str, Any, str]]:
    bid, ask = cells["bid_price"], cells["ask_price"]
    crossed = (bid != BLANK) & (ask != BLANK) & (bid > ask)
    return [("bid_price", crossed, "The best bid lies above the best ask.")]


def _bar_faults(cells: dict[str, Ints], index: Any) -> list[tuple[str, Any, str]]:
    o, h, lo, c = (cells[name] for name in ("open", "high", "low", "close"))
    return [
        ("high", h < np.maximum(np.maximum(o, c), lo), "The high is the highest of the four."),
        ("low", lo > np.minimum(o, c), "The low is the lowest of the four."),
        ("volume", (cells["volume"] == 0) & ~index, "Nothing traded: leave the row out."),
    ]


def _merged(parts: list[_Rows]) -> _Rows:
    """Return a contract's day from the chunks of one file; check order and repetition."""
    first = parts[0]
    for part in parts[1:]:
        if part.kind != first.kind or part.interval != first.interval:
            said = "Ticks or one interval: a contract has one kind of rows a day."
            raise part.fail(0, "time", _clock(part, 0), said)
        if part.path != first.path:
            said = f"{first.path.name} has this contract on this day too. Keep one of them."
            raise part.fail(0, "time", _clock(part, 0), said)
    rows = replace(first, matrix=np.concatenate([part.matrix for part in parts]))
    matrix = rows.matrix
    step = np.diff(matrix[:, 0])
    if (step < 0).any():
        at = int((step < 0).argmax()) + 1
        raise rows.fail(at, "time", _clock(rows, at), "It is earlier than the row before: sort.")
    same = step == 0
    if rows.kind == "ticks":
        same = same & (matrix[1:, 2:] == matrix[:-1, 2:]).all(axis=1)
    if same.any():
        at = int(same.argmax()) + 1
        said = f"The same row stands at {matrix[at - 1, 1]}: drop one, or tell total_volume."
        said = said if rows.kind == "ticks" else f"Row {matrix[at - 1, 1]} has the same bar."
        raise rows.fail(at, "time", _clock(rows, at), said)
    return rows


def _clock(rows: _Rows, at: int) -> str:
    return str(np.datetime64(int(rows.matrix[at, 0]) + _IST_MS, "ms"))


def _rupees(ticks: int, contract: Contract) -> float:
    return round(ticks * contract.tick / RUPEE, 4)


def _in_units(contract: Contract, parts: list[_Rows]) -> Contract:
    """Return the contract, counting in single units where the recorded lot is another."""
    names = {"ticks": ("last_quantity", "total_volume", "open_interest"),
             "bars": ("volume", "open_interest")}  # fmt: skip
    for rows in parts:
        for name in names[rows.kind]:
            cells = rows.column(name)
            if (cells[cells != BLANK] % contract.unit).any():
                return replace(contract, unit=1)
    return contract


def _day_ticks(rows: _Rows, contract: Contract) -> DayTicks:
    total = rows.column("total_volume")
    told = total != BLANK
    if contract.kind != "index" and told.any():
        if not told.all():
            said = "Tell the total in every row of the day or in none."
            raise rows.fail(int((~told).argmax()), "total_volume", "", said)
        falls = np.diff(total) < 0
        if falls.any():
            at = int(falls.argmax()) + 1
            said = "The day's volume cannot fall."
            raise rows.fail(at, "total_volume", int(total[at]), said)
    return DayTicks(rows.matrix[:, 0], *(rows.column(name) for name in _CELLS["ticks"][:-1]))


def _day_bars(rows: _Rows, contract: Contract) -> DayBars:
    o, h, lo, c, volume, interest = (rows.column(name) for name in _CELLS["bars"][:-1])
    if contract.kind != "index":
        # A trade shows one price; a bar cannot show more prices than it has trades.
        beyond = (h > np.maximum(o, c)).astype(np.int64) + (lo < np.minimum(o, c))
        needed = 1 + beyond + ((o != c) | (beyond > 0))
        short = volume // contract.unit < needed
        if short.any():
            at = int(short.argmax())
            said = f"It is too little for the bar's {needed[at]} different trades."
            raise rows.fail(at, "volume", int(volume[at]), said)
    interval = rows.interval or Interval.M1
    bars = Bars(o, h, lo, c, np.maximum(volume, 0))
    return DayBars(interval, rows.matrix[:, 0] // 1000, bars, interest)
