"""Measure the catalogue: try every indicator out and write down what it is.

``python -m breeze_lab.indicators.measure`` writes ``catalogue.json``. Nothing
in it is decided by name:

* A column lies **over the candles** when raising every price by some rupees
  raises the column by as many (an average does, an oscillator does not).
* It is drawn as **bars** when it is the difference of two other columns (a
  MACD's histogram), and **not at all** when narrower columns repeat each of
  its values (a supertrend's two sides), when it never changes, or when others
  of its indicator lie over the candles and it does not.
* It **repaints** when cutting the newest bars off changes what is left.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from breeze_lab.errors import SettingsError
from breeze_lab.indicators import catalogue, native

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["measured", "reference"]

_SHIFT: Final = 500.0
#: Over 1,000 bars an average of logarithms or a band in percent follows the price less exactly.
_SLACK: Final = 0.15
#: Of a column; a supertrend says zero on its first bar, where it has no side yet.
_NEARLY: Final = 0.99
_PLUMBING: Final = {"offset", "talib", "kwargs", "fillna", "as_dataframe", "append_span"}


def reference(count: int = 1200, seed: int = 7) -> pd.DataFrame:
    """Return made-up five-minute bars, the same for the same seed.

    Returns
    -------
    DataFrame, shape (count, 5)
        open, high, low, close, volume; index: opening times of 75 bars a weekday, Asia/Kolkata.
    """
    rng = np.random.default_rng(seed)
    close = 1000 + np.cumsum(rng.normal(0, 1, count))
    opened = np.r_[close[0], close[:-1]] + rng.normal(0, 0.2, count)
    high = np.maximum(opened, close) + np.abs(rng.normal(0, 0.7, count))
    low = np.minimum(opened, close) - np.abs(rng.normal(0, 0.7, count))
    days = pd.bdate_range("2026-06-01", periods=count // 75 + 1, tz="Asia/Kolkata")
    opening = pd.Timedelta(hours=9, minutes=15)
    moments = [day + opening + pd.Timedelta(minutes=5 * i) for day in days for i in range(75)]
    return pd.DataFrame(
        {"open": opened, "high": high, "low": low, "close": close,
         "volume": rng.integers(100, 9000, count).astype(float)},
        index=pd.DatetimeIndex(moments[:count], name="start"),
    )  # fmt: skip


def measured(library: Any, name: str) -> catalogue.Entry:
    """Try one indicator of a pandas-ta out at its usual parameters.

    Raises
    ------
    SettingsError
        It cannot be computed from bars alone.
    """
    function = getattr(library, name)
    bars = reference()
    table = native.call(function, bars, {})
    shifted = native.call(function, bars + pd.Series(dict.fromkeys(_PRICES, _SHIFT)).reindex(
        bars.columns, fill_value=0.0), {})  # fmt: skip
    cut = native.call(function, bars.iloc[:-40], {})
    repaints = not _same(table.iloc[:-40], cut)
    category = next((c for c, all_ in library.Category.items() if name in all_), "other")
    return catalogue.Entry(
        name,
        _title(function, name),
        category,
        tuple(native.inputs(function)),
        tuple(_parameters(function)),
        tuple(_outputs(table, shifted)),
        repaints,
    )


_PRICES: Final = ("open", "high", "low", "close")


def _same(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    scale = np.nanmax(np.abs(left.to_numpy(float)), initial=1.0)
    return bool(
        np.allclose(left.to_numpy(float), right.to_numpy(float), rtol=0, atol=scale * 1e-8,
                    equal_nan=True)
    )  # fmt: skip


def _outputs(table: pd.DataFrame, shifted: pd.DataFrame) -> Iterable[catalogue.Output]:
    values = [table.iloc[:, i].to_numpy(float) for i in range(table.shape[1])]
    over = []
    for i, column in enumerate(values):
        moved = (shifted.iloc[:, i].to_numpy(float) - column) / _SHIFT
        moved = moved[np.isfinite(moved)]
        over.append(bool(len(moved)) and abs(float(np.median(moved)) - 1) < _SLACK)
    for i, column in enumerate(values):
        known = column[np.isfinite(column)]
        place = "overlay" if over[i] else "" if any(over) else "pane"
        changes = len(known) > 0 and float(np.ptp(known)) > 0
        if (not changes and len(values) > 1) or _repeated(i, values):
            place = ""
        bars = place == "pane" and i == _histogram(values)
        yield catalogue.Output(place, "bars" if bars else "line")


def _repeated(i: int, values: list[np.ndarray]) -> bool:
    """Say whether narrower columns hold each value of column `i`."""
    column = values[i]
    known = np.isfinite(column)
    held = np.zeros(len(column), dtype=bool)
    for j, other in enumerate(values):
        if j != i and np.isfinite(other).sum() < known.sum():
            same = np.isfinite(other) & np.isclose(other, column, rtol=1e-12, atol=0)
            if same.sum() == np.isfinite(other).sum():
                held |= same
    return bool(known.any() and held[known].mean() > _NEARLY)


def _histogram(values: list[np.ndarray]) -> int | None:
    """Return which column is one of the others less another, and swings around zero.

    Where ``a = b - c``, ``c`` is ``b - a`` as well: the smaller swing is the histogram.
    """
    found = {}
    for i, column in enumerate(values):
        size = np.nanmax(np.abs(column), initial=0.0)
        swings = np.nanmin(column, initial=0.0) < 0 < np.nanmax(column, initial=0.0)
        others = [other for j, other in enumerate(values) if j != i]
        if swings and any(
            np.allclose(column, first - second, rtol=0, atol=size * 1e-9, equal_nan=True)
            for first in others
            for second in others
            if first is not second
        ):
            found[i] = float(np.nanstd(column))
    return min(found, key=lambda i: found[i]) if found else None


def _title(function: Any, name: str) -> str:
    """Return the first line of its docstring in which it names itself."""
    doc = inspect.getdoc(function) or ""
    line = next((line for line in doc.splitlines() if line.strip()), name)
    line = line.removeprefix("Indicator: ").strip()
    return line if 0 < len(line) <= 70 else line[:67] + "…"  # noqa: PLR2004 - one line of a menu


def _parameters(function: Any) -> Iterable[catalogue.Parameter]:
    usual = _usual(function)
    for one in inspect.signature(function).parameters.values():
        if one.name in _PLUMBING or one.name in native.SERIES or one.kind is one.VAR_KEYWORD:
            continue
        default = one.default if one.default not in (None, one.empty) else usual.get(one.name)
        annotation = str(one.annotation)
        kind = next((k for k in ("bool", "int", "float", "str") if k in annotation), "")
        if isinstance(default, bool):
            kind = "bool"
        elif kind == "float" and isinstance(default, int):
            default = float(default)
        elif kind not in ("int", "float", "bool", "str") and default is not None:
            kind = type(default).__name__
        if default is None and kind == "bool":
            default = False
        if not isinstance(default, bool | int | float | str):
            default = None
        yield catalogue.Parameter(one.name, kind, default)


def _usual(function: Any) -> dict[str, Any]:  # noqa: C901 - one branch a way of writing it
    """Return what a parameter becomes when it is None: read from the function's own lines.

    pandas-ta writes ``length = int(length) if length and length > 0 else 14`` or
    ``fast = _pos_int(fast, 12)``.
    """
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    except (OSError, TypeError):
        return {}
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1):
            continue
        target, value = node.targets[0], node.value
        if not isinstance(target, ast.Name) or target.id in found:
            continue
        if isinstance(value, ast.IfExp):
            value = value.orelse
        elif isinstance(value, ast.Call) and len(value.args) > 1:
            own = value.args[0]
            if not (isinstance(own, ast.Name) and own.id == target.id):
                continue
            value = value.args[1]
        elif isinstance(value, ast.Call) and ast.unparse(value.func) == "get_drift":
            found[target.id] = 1
            continue
        try:
            found[target.id] = ast.literal_eval(value)
        except (ValueError, TypeError):
            if isinstance(value, ast.Name) and value.id in found:
                found[target.id] = found[value.id]
    return found


def main() -> None:
    """Write ``catalogue.json`` from the installed pandas-ta-classic."""
    import pandas_ta_classic  # noqa: PLC0415 - the catalogue is of this one, whatever else there is

    found: dict[str, Any] = {}
    for name in sorted({name for names in pandas_ta_classic.Category.values() for name in names}):
        if name in catalogue._NEEDS_MORE:  # noqa: SLF001 - the same room
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one = measured(pandas_ta_classic, name)
        except SettingsError as exc:
            print(f"left out: {name}: {exc}")  # noqa: T201 - a command
            continue
        found[name] = {
            "title": one.title, "category": one.category, "inputs": one.inputs,
            "parameters": [[p.name, p.kind, p.default] for p in one.parameters],
            "outputs": [[o.place, o.style] for o in one.outputs],
            "repaints": one.repaints,
        }  # fmt: skip
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in found.items()
    )
    version = str(pandas_ta_classic.version)
    text = f'{{"of": "pandas-ta-classic {version}", "indicators": {{\n{lines}\n}}}}\n'
    Path(__file__).with_name("catalogue.json").write_text(text, "utf-8")
    print(f"{len(found)} indicators")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
