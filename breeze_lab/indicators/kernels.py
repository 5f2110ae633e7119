"""Kernels: one indicator over arrays of bars, whole or one bar at a time.

A kernel is opened with closed bars, gives the columns of all of them, and from
then on the values of one more bar: ``peek`` for one that still forms (nothing
is kept of it), ``push`` for a closed one. Both give exactly what opening with
that bar would.

Three kinds, in this order of preference: handles of TA-Lib (`Handles`, about
a microsecond a bar), three that keep their own few numbers (`Macd`,
`Supertrend`, `SessionVwap`), and pandas-ta itself (`Recomputed`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import talib
from talib import stream

from breeze_lab.indicators.recipes import RECIPES, Part, Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.indicators.spec import Spec

__all__ = ["Bars", "Kernel", "kernel"]

_NAN: Final = float("nan")
#: Of a row: where open, high, low, close and volume are. The opening time is the first.
_PLACE: Final = {"o": 1, "h": 2, "l": 3, "c": 4, "v": 5}
_IST_S: Final = 19_800
_DAY_S: Final = 86_400

#: Opening time (Unix seconds), open, high, low, close, volume.
Row = tuple[float, float, float, float, float, float]


class Bars:
    """Closed bars as six growing columns.

    Parameters
    ----------
    table
        Shape (6, n), float64: opening time in Unix seconds, open, high, low, close, volume.
    """

    def __init__(self, table: NDArray[np.float64]) -> None:
        """Copy the table."""
        self.count = table.shape[1]
        self._table = np.empty((6, max(2 * self.count, 256)))
        self._table[:, : self.count] = table

    @property
    def table(self) -> NDArray[np.float64]:
        """All columns; a view."""
        return self._table[:, : self.count]

    def column(self, initial: str) -> NDArray[np.float64]:
        """Return one column by its initial; a view."""
        return self._table[_PLACE[initial], : self.count]

    def push(self, row: Row) -> None:
        """Append a bar."""
        if self.count == self._table.shape[1]:
            grown = np.empty((6, 2 * self.count))
            grown[:, : self.count] = self._table
            self._table = grown
        self._table[:, self.count] = row
        self.count += 1

    def pop(self) -> None:
        """Forget the newest bar."""
        self.count -= 1


class Kernel(Protocol):
    """One indicator. It is opened once, before anything else is asked of it."""

    columns: tuple[str, ...]

    def open(self, bars: Bars) -> list[NDArray[np.float64]]:
        """Return the columns over `bars`, and stand at their end."""

    def peek(self, row: Row) -> tuple[float, ...]:
        """Return the values of a bar that forms."""

    def push(self, row: Row) -> tuple[float, ...]:
        """Return the values of a closed bar and stand behind it; `bars` holds it already."""


def kernel(spec: Spec, bars: Bars) -> Kernel:
    """Return the quickest kernel for `spec` that can read `bars`."""
    finite = bool(np.isfinite(bars.table).all())
    given = set(spec.changed)
    parameters: dict[str, Any] = spec.parameters
    if finite and spec.name == "macd":
        return Macd(parameters)
    if finite and spec.name == "supertrend" and parameters["length"] > 1:
        return Supertrend(parameters)
    if finite and spec.name == "vwap" and not given:
        return SessionVwap()
    recipe = RECIPES.get(spec.name)
    # TA-Lib does not say what it does with a hole in the bars; pandas-ta does.
    if recipe is not None and finite and given <= recipe.knows and _takes(recipe, parameters):
        return Handles(recipe, parameters)
    from breeze_lab.indicators.recomputed import Recomputed  # noqa: PLC0415 - loads pandas-ta

    return Recomputed(spec)


def _takes(recipe: Recipe, parameters: dict[str, Any]) -> bool:
    """Say whether TA-Lib takes these parameters: some lengths must be two at least."""
    try:
        for part in recipe.parts:
            few = [np.arange(1.0, 4.0)] * len(part.inputs)
            getattr(talib, part.function)(*few, **part.arguments(parameters))
    except Exception:  # noqa: BLE001 - TA-Lib raises Exception itself
        return False
    return True


class _Stream:
    """One handle of TA-Lib, opened as soon as there are bars enough."""

    def __init__(self, part: Part, parameters: dict[str, Any]) -> None:
        self.part = part
        self.arguments = part.arguments(parameters)
        self.places = tuple(_PLACE[initial] for initial in part.inputs)
        self.handle: Any = None

    def open(self, bars: Bars) -> list[NDArray[np.float64]]:
        try:
            self.handle = getattr(stream, self.part.function)(*self._inputs(bars), **self.arguments)
        except talib.InsufficientHistory:  # type: ignore[attr-defined]
            self.handle = None
        return self._whole(bars)

    def _inputs(self, bars: Bars) -> list[NDArray[np.float64]]:
        return [np.ascontiguousarray(bars.column(initial)) for initial in self.part.inputs]

    def _whole(self, bars: Bars) -> list[NDArray[np.float64]]:
        found = getattr(talib, self.part.function)(*self._inputs(bars), **self.arguments)
        return [np.asarray(one, float) for one in (found if type(found) is tuple else (found,))]

    def peek(self, row: Row, bars: Bars) -> tuple[float, ...]:
        if self.handle is None:
            bars.push(row)
            found = self._whole(bars)
            bars.pop()
            return tuple(float(one[-1]) for one in found)
        value = self.handle.peek(*[row[place] for place in self.places])
        return value if type(value) is tuple else (value,)

    def push(self, row: Row, bars: Bars) -> tuple[float, ...]:
        if self.handle is None:
            return tuple(float(one[-1]) for one in self.open(bars))
        value = self.handle.update(*[row[place] for place in self.places])
        return value if type(value) is tuple else (value,)


class Handles:
    """A recipe of TA-Lib."""

    def __init__(self, recipe: Recipe, parameters: dict[str, Any]) -> None:
        """Open nothing yet."""
        self.columns = tuple(name.format(**parameters) for name, _ in recipe.columns)
        self._makers = tuple(maker for _, maker in recipe.columns)
        self._plain = all(type(maker) is int for maker in self._makers)
        self._streams = [_Stream(part, parameters) for part in recipe.parts]

    def open(self, bars: Bars) -> list[NDArray[np.float64]]:
        """Return the columns over `bars`, and stand at their end."""
        self._bars = bars
        found = [one for each in self._streams for one in each.open(bars)]
        with np.errstate(all="ignore"):
            return [
                found[maker] if isinstance(maker, int) else _finite(maker(found, bars.column("c")))
                for maker in self._makers
            ]

    def peek(self, row: Row) -> tuple[float, ...]:
        """Return the values of a bar that forms."""
        found: list[float] = []
        for one in self._streams:
            found += one.peek(row, self._bars)
        return self._made(found, row)

    def push(self, row: Row) -> tuple[float, ...]:
        """Return the values of a closed bar and stand behind it."""
        found: list[float] = []
        for one in self._streams:
            found += one.push(row, self._bars)
        return self._made(found, row)

    def _made(self, found: list[float], row: Row) -> tuple[float, ...]:
        if self._plain:
            return tuple([found[maker] for maker in self._makers])  # type: ignore[index]
        values = []
        for maker in self._makers:
            try:
                values.append(found[maker] if isinstance(maker, int) else maker(found, row[4]))
            except ZeroDivisionError:
                values.append(_NAN)
        return tuple(values)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, _NAN)


class Macd:
    """Fast less slow average, its own average, and the difference of both.

    Each average begins with its own first bars, as pandas-ta's do; TA-Lib's MACD begins the fast
    one later and differs over the first hundred bars.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        """Order the lengths, as pandas-ta does."""
        fast, slow = sorted((parameters["fast"], parameters["slow"]))
        signal = parameters["signal"]
        self._lengths = fast, slow, signal
        said = f"{fast}_{slow}_{signal}"
        self.columns: tuple[str, ...] = (f"MACD_{said}", f"MACDh_{said}", f"MACDs_{said}")
        self._averages = [_Average(length) for length in self._lengths]

    def open(self, bars: Bars) -> list[NDArray[np.float64]]:
        """Return the columns over `bars`, and stand at their end."""
        close = bars.column("c")
        slow = self._lengths[1]
        self._averages = [_Average(length) for length in self._lengths]
        self._bars = bars
        line = self._averages[0].open(close, 0) - self._averages[1].open(close, 0)
        average = self._averages[2].open(line, slow - 1)
        return [line, line - average, average]

    def peek(self, row: Row) -> tuple[float, ...]:
        """Return the values of a bar that forms."""
        fast, slow, signal = self._averages
        line = fast.peek(row[4], self._bars.count) - slow.peek(row[4], self._bars.count)
        average = signal.peek(line, self._bars.count)
        return line, line - average, average

    def push(self, row: Row) -> tuple[float, ...]:
        """Return the values of a closed bar and stand behind it."""
        fast, slow, signal = self._averages
        place = self._bars.count - 1
        line = fast.push(row[4], place) - slow.push(row[4], place)
        average = signal.push(line, place)
        return line, line - average, average


class _Average:
    """An exponential average that begins with the mean of its first values."""

    def __init__(self, length: int) -> None:
        self._length, self._share = length, 2.0 / (length + 1)
        self._value: float | None = None
        self._begin = 0
        self._seed: list[float] = []

    def open(self, values: NDArray[np.float64], begin: int) -> NDArray[np.float64]:
        """Return the average over `values` from the place `begin` on."""
        self._begin = begin
        self._seed.clear()
        self._value = None
        return np.array([self.push(float(value), i) for i, value in enumerate(values)], dtype=float)

    def peek(self, value: float, place: int) -> float:
        if self._value is not None:
            return self._share * value + (1 - self._share) * self._value
        if place >= self._begin and len(self._seed) + 1 == self._length:
            return float(np.mean([*self._seed, value]))
        return _NAN

    def push(self, value: float, place: int) -> float:
        found = self.peek(value, place)
        if not math.isnan(found):
            self._value = found
        elif place >= self._begin:
            self._seed.append(value)
        return found


class Supertrend:
    """A band of average ranges around the middle of a bar, on the side the trend leaves behind."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        """Open nothing yet."""
        self._length, self._factor = parameters["length"], parameters["multiplier"]
        said = f"{self._length}_{self._factor}"
        self.columns = tuple(f"SUPERT{side}_{said}" for side in ("", "d", "l", "s"))

    def open(self, bars: Bars) -> list[NDArray[np.float64]]:
        """Return the columns over `bars`, and stand at their end."""
        self._range = _Stream(
            Part("ATR", "hlc", {"timeperiod": "length"}), {"length": self._length}
        )
        self._bars = bars
        self._direction, self._upper, self._lower = 1.0, _NAN, _NAN
        (ranges,) = self._range.open(bars)
        rows = bars.table.T
        found = [
            self._step(float(row[2]), float(row[3]), float(row[4]), float(width))
            for row, width in zip(rows, ranges, strict=True)
        ]
        return list(np.array(found, dtype=float).reshape(-1, 4).T.copy())

    def peek(self, row: Row) -> tuple[float, ...]:
        """Return the values of a bar that forms."""
        kept = self._direction, self._upper, self._lower
        (width,) = self._range.peek(row, self._bars)
        found = self._step(row[2], row[3], row[4], width)
        self._direction, self._upper, self._lower = kept
        return found

    def push(self, row: Row) -> tuple[float, ...]:
        """Return the values of a closed bar and stand behind it."""
        (width,) = self._range.push(row, self._bars)
        return self._step(row[2], row[3], row[4], width)

    def _step(self, high: float, low: float, close: float, width: float) -> tuple[float, ...]:
        if math.isnan(width):
            return _NAN, _NAN, _NAN, _NAN
        middle, reach = 0.5 * (high + low), self._factor * width
        upper, lower = middle + reach, middle - reach
        if close > self._upper:
            self._direction = 1.0
        elif close < self._lower:
            self._direction = -1.0
        elif self._direction > 0 and lower < self._lower:
            lower = self._lower
        elif self._direction < 0 and upper > self._upper:
            upper = self._upper
        self._upper, self._lower = upper, lower
        if self._direction > 0:
            return lower, 1.0, lower, _NAN
        return upper, -1.0, _NAN, upper


class SessionVwap:
    """The day's average price by volume; it begins anew with each IST day's first bar."""

    def __init__(self) -> None:
        """Begin before any day."""
        self.columns: tuple[str, ...] = ("VWAP_D",)

    def open(self, bars: Bars) -> list[NDArray[np.float64]]:
        """Return the columns over `bars`, and stand at their end."""
        self._day, self._money, self._volume = _NAN, 0.0, 0.0
        found = [self.push(row)[0] for row in zip(*bars.table.tolist(), strict=True)]
        return [np.array(found, dtype=float)]

    def peek(self, row: Row) -> tuple[float, ...]:
        """Return the values of a bar that forms."""
        return self._sum(row)[3:]

    def push(self, row: Row) -> tuple[float, ...]:
        """Return the values of a closed bar and stand behind it."""
        self._day, self._money, self._volume, value = self._sum(row)
        return (value,)

    def _sum(self, row: Row) -> tuple[float, float, float, float]:
        opened, _, high, low, close, volume = row
        day = (opened + _IST_S) // _DAY_S
        money, total = (self._money, self._volume) if day == self._day else (0.0, 0.0)
        money += (high + low + close) / 3.0 * volume
        total += volume
        return day, money, total, money / total if total else _NAN
