"""pandas-ta, called on bars: which columns a function reads and what it gives back.

TA-Lib is installed with us, and pandas-ta may take it by itself, with other
warm-ups and, in the original, other columns (``DMP`` and ``DMN`` become
movements instead of indicators). So ``talib=False`` is said in every call: an
indicator is what pandas-ta's own formula gives, on every machine.
"""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from breeze_lab.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["SERIES", "call", "inputs"]

#: pandas-ta's names of the series, and ours.
SERIES: Final = {
    "open_": "open", "open": "open", "high": "high", "low": "low", "close": "close",
    "volume": "volume",
}  # fmt: skip


def inputs(function: Callable[..., Any]) -> dict[str, None]:
    """Return the columns of bars that `function` reads, in its order."""
    return dict.fromkeys(SERIES[name] for name in _series(function))


def _series(function: Callable[..., Any]) -> list[str]:
    """Return the series it cannot do without.

    One it can do without makes something else of it: accumulation from opening to close, say.
    """
    known = [one for one in inspect.signature(function).parameters.values() if one.name in SERIES]
    needed = [one.name for one in known if one.default is one.empty]
    return needed or [one.name for one in known]  # some call all of theirs optional


def call(
    function: Callable[..., Any], bars: pd.DataFrame, parameters: Mapping[str, Any]
) -> pd.DataFrame:
    """Return what a function of pandas-ta gives for `bars`.

    Parameters
    ----------
    function
        Of pandas-ta or pandas-ta-classic.
    bars
        open, high, low, close, volume; index: opening times, aware.
    parameters
        Those that are given.

    Returns
    -------
    DataFrame, float64
        One row a bar, NaN where there is no value yet. Empty of columns when there are too few
        bars.

    Raises
    ------
    SettingsError
        It cannot be computed from bars alone, or not with these parameters.
    """
    # Without its zone, as IST reads: pandas-ta counts days by the index and warns of a zone.
    plain = bars.set_axis(pd.DatetimeIndex(bars.index).tz_localize(None))
    known = inspect.signature(function).parameters
    given: dict[str, Any] = {name: plain[SERIES[name]].astype(float) for name in _series(function)}
    if "talib" in known:
        given["talib"] = False
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of pandas-ta's own making, about pandas of tomorrow
            found = function(**given, **parameters)
    except Exception as exc:
        name = getattr(function, "__name__", "this indicator")
        raise SettingsError(
            f"{name} cannot be computed with {dict(parameters)}: {type(exc).__name__}: {exc}"
        ) from exc
    if isinstance(found, tuple):
        found = found[0]  # ichimoku's second is the future's cloud
    if found is None:
        return pd.DataFrame(index=bars.index)
    if isinstance(found, pd.Series):
        found = found.to_frame()
    if not isinstance(found, pd.DataFrame) or len(found) != len(bars):
        raise SettingsError(
            f"{getattr(function, '__name__', 'this indicator')} gives no value for each bar."
        )
    found = found.apply(pd.to_numeric, errors="coerce")
    names = [str(name) for name in found.columns]
    values = found.to_numpy(float)
    values = np.where(np.isfinite(values), values, np.nan)  # what is divided by nothing
    return pd.DataFrame(values, index=bars.index, columns=names)
