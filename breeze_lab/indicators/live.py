"""Live: an indicator that is carried forward one bar at a time, and the whole computation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.errors import SettingsError
from breeze_lab.indicators.kernels import Bars, kernel
from breeze_lab.indicators.spec import Spec, parse, parse_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from breeze_lab.bars import Bar, Interval
    from breeze_lab.indicators.kernels import Kernel, Row

__all__ = ["Live", "compute", "table_of", "warmup"]

_MOST_WARMUP: Final = 1000

_NAMES = ("open", "high", "low", "close", "volume")


def table_of(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return bars as one array, shape (6, n): Unix seconds, open, high, low, close, volume.

    Raises
    ------
    SettingsError
        A column is missing, or the index holds no aware, ascending times.
    """
    import pandas as pd  # noqa: PLC0415 - half a second

    lacking = [name for name in _NAMES if name not in frame.columns]
    if lacking:
        raise SettingsError(
            f"The bars have no column {', '.join(lacking)}. An indicator needs open, high, low, "
            "close and volume, as breeze_lab.history(…) returns them."
        )
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise SettingsError(
            "The bars' index must hold aware times, as breeze_lab.history(…) returns them. Name "
            'the zone: frame.tz_localize("Asia/Kolkata").'
        )
    if not index.is_monotonic_increasing or not index.is_unique:
        raise SettingsError(
            "The bars are not in order of time, or one comes twice: frame.sort_index() and "
            'frame[~frame.index.duplicated(keep="last")] put that right.'
        )
    seconds = index.as_unit("ns").asi8 / 1e9
    return np.array([seconds, *(frame[name].to_numpy(float) for name in _NAMES)], dtype=float)


def compute(frame: pd.DataFrame, specs: str | Spec | Iterable[str | Spec]) -> pd.DataFrame:
    """Return indicators over all bars of a frame.

    Parameters
    ----------
    frame
        open, high, low, close, volume; index: aware opening times, ascending.
    specs
        ``"ema(20)"``, ``"ema(20), rsi"`` or a list of them.

    Returns
    -------
    DataFrame, float64
        The index of `frame`; the columns pandas-ta gives, under its names (``EMA_20``; ``BBL``,
        ``BBM``, ``BBU``, ``BBB``, ``BBP`` of bbands). NaN until an indicator has bars enough.

    Raises
    ------
    SettingsError
        A spec cannot be read or computed, or the frame is none of bars.

    Examples
    --------
    >>> compute(breeze_lab.history("RELIANCE", "5m"), "ema(20), rsi")  # doctest: +SKIP
    """
    import pandas as pd  # noqa: PLC0415 - half a second

    bars = Bars(table_of(frame))
    found: dict[str, Any] = {}
    for spec in parse_all(specs):
        one = kernel(spec, bars)
        values = one.open(bars)
        found |= dict(zip(one.columns, values, strict=True))
    return pd.DataFrame(found, index=frame.index)


def warmup(spec: str | Spec, interval: Interval, exchange: str = "NSE") -> int:
    """Return how many bars to fetch before the first one that is to have values.

    Parameters
    ----------
    spec
        Of the indicator.
    interval
        Of the bars.
    exchange
        Decides how long a day is, for what begins with the day.

    Returns
    -------
    int
        At most 1,000. Four times the bars without a value: by then an average that began with them
        has all but forgotten where it began.
    """
    spec = parse(spec)
    if spec.name == "vwap":
        minutes = 870 if exchange in ("MCX", "NDX") else 375
        return min(minutes * 60 // interval.value, _MOST_WARMUP)
    table = _reference()
    columns = kernel(spec, Bars(table)).open(Bars(table))
    firsts = [np.flatnonzero(np.isfinite(column)) for column in columns]
    without = max((int(found[0]) if len(found) else table.shape[1] for found in firsts), default=0)
    return min(4 * without, _MOST_WARMUP)


def _reference() -> NDArray[np.float64]:
    from breeze_lab.indicators.measure import reference  # noqa: PLC0415 - loads pandas

    return table_of(reference())


class Live:
    """One indicator, carried forward bar by bar.

    Parameters
    ----------
    spec
        ``"ema(20)"``.
    history
        Closed bars to begin with, as `compute` takes them, or an array of shape (6, n): Unix
        seconds, open, high, low, close, volume.

    Raises
    ------
    SettingsError

    Notes
    -----
    Not thread-safe. Every value equals `compute` over all bars so far: to the last bit where
    TA-Lib has a handle, else to 1e-9.

    Examples
    --------
    >>> live = Live("ema(20)", frame)  # doctest: +SKIP
    >>> live.update(forming)  # doctest: +SKIP
    (1402.31,)
    """

    def __init__(self, spec: str | Spec, history: pd.DataFrame | NDArray[np.float64]) -> None:
        """Open it on the history."""
        self.spec = parse(spec)
        table = history if isinstance(history, np.ndarray) else table_of(history)
        self._bars = Bars(np.asarray(table, dtype=float))
        self._kernel: Kernel = kernel(self.spec, self._bars)
        self.history: list[NDArray[np.float64]] = self._kernel.open(self._bars)
        self.values = tuple(
            float(column[-1]) if len(column) else math.nan for column in self.history
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the values, as pandas-ta has them."""
        return self._kernel.columns

    @property
    def bars(self) -> Bars:
        """The closed bars so far."""
        return self._bars

    def update(self, bar: Bar | Sequence[float]) -> tuple[float, ...]:
        """Return the values of a bar that still forms; nothing of it is kept.

        Parameters
        ----------
        bar
            A `breeze_lab.bars.Bar`, or Unix seconds, open, high, low, close, volume.

        Returns
        -------
        tuple of float
            One for each of `columns`; NaN while there are too few bars.

        Raises
        ------
        SettingsError
            The bar is older than the last closed one, or a number of it is none.
        """
        return self._kernel.peek(self._row(bar))

    def close(self, bar: Bar | Sequence[float]) -> tuple[float, ...]:
        """Return the values of a closed bar and go on behind it.

        Parameters and errors are those of `update`.
        """
        row = self._row(bar)
        self._bars.push(row)
        self.values = self._kernel.push(row)
        return self.values

    def recompute(self) -> list[NDArray[np.float64]]:
        """Return all columns over all closed bars, computed anew."""
        bars = Bars(self._bars.table)
        return kernel(self.spec, bars).open(bars)

    def _row(self, bar: Bar | Sequence[float]) -> Row:
        if isinstance(bar, (tuple, list)):
            row = tuple(bar)
        else:
            row = (
                bar.start.timestamp(), bar.open, bar.high, bar.low, bar.close, bar.volume,  # type: ignore[union-attr]
            )  # fmt: skip
        if len(row) != 6 or not math.isfinite(sum(row)):  # noqa: PLR2004 - a row
            raise SettingsError(f"A bar is a time and five numbers, not {row!r}.")
        if self._bars.count and row[0] <= self._bars.table[0, -1]:
            raise SettingsError(
                f"The bar of {row[0]:.0f} is not newer than the last closed one. A correction of "
                "an older bar needs a new Live over the corrected history."
            )
        return row
