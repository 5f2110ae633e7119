"""The catalogue: every indicator there is, its parameters, and how its columns are drawn.

Read from ``catalogue.json``, which `breeze_lab.indicators.measure` writes by
trying each indicator of pandas-ta-classic out, so that a menu or a refusal
loads neither pandas nor pandas-ta. Of an indicator that only an installed
``pandas_ta`` has, the same facts are found when it is first asked for.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from breeze_lab.errors import SettingsError

__all__ = [
    "MOST_LINES", "Entry", "Output", "Parameter", "drawn", "entry", "library", "listed", "names",
]  # fmt: skip

#: Of one indicator, on a chart.
MOST_LINES: Final = 12

_FILE: Final = Path(__file__).with_name("catalogue.json")

#: Why a name of pandas-ta cannot be drawn from one instrument's bars.
_NEEDS_MORE: Final = {
    "ma": "it only chooses a moving average: ask for that one, for example ema(20)",
    "mavp": "it needs a series of periods",
    "long_run": "it compares two indicators",
    "short_run": "it compares two indicators",
    "tsignals": "it needs a trend of yours",
    "xsignals": "it needs a signal of yours",
    "beta": "it needs a second instrument",
    "correl": "it needs a second instrument",
    "vp": "its rows are price ranges, not bars",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its name, its kind (``int float bool str``) and what it is when unsaid."""

    name: str
    kind: str
    default: int | float | bool | str | None


@dataclass(frozen=True, slots=True)
class Output:
    """How one column is drawn.

    Parameters
    ----------
    place
        ``"overlay"`` over the candles, ``"pane"`` below them, ``""`` not at all.
    style
        ``"line"``, or ``"bars"`` for the difference of two others.
    """

    place: str
    style: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One indicator.

    Parameters
    ----------
    title
        In words.
    category
        pandas-ta's: overlap, momentum, trend, volatility, volume, …
    inputs
        The columns of bars it reads.
    parameters
        In the order in which a spec may give them without names.
    outputs
        Of its columns at the usual parameters, in their order.
    repaints
        Whether a later bar changes values of earlier ones.
    """

    name: str
    title: str
    category: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    repaints: bool

    @property
    def overlay(self) -> bool:
        """Whether it lies over the candles."""
        return any(output.place == "overlay" for output in self.outputs)

    @property
    def signature(self) -> str:
        """Its call with the usual values: ``bbands(length=5, std=2.0)``."""
        said = ", ".join(
            one.name if one.default is None else f"{one.name}={one.default}"
            for one in self.parameters
        )
        return f"{self.name}({said})"

    def to_dict(self) -> dict[str, Any]:
        """Return what a menu shows of it."""
        return {
            "name": self.name, "title": self.title, "category": self.category,
            "overlay": self.overlay,
            "parameters": [[one.name, one.kind, one.default] for one in self.parameters],
        }  # fmt: skip


#: What each pandas-ta put at ``DataFrame.ta`` when it was imported here.
accessors: dict[str, Any] = {}


def library() -> Any:
    """Return the pandas-ta that frames have as ``.ta``: the original where it is installed.

    Notes
    -----
    Loads pandas and takes half a second.
    """
    return _load("pandas_ta" if _original() else "pandas_ta_classic")


def function(name: str) -> Any:
    """Return pandas-ta's function of one indicator.

    pandas-ta-classic's for all that the catalogue has, so that a spec means the same on every
    machine; for a name that only an installed ``pandas_ta`` has, that one's.
    """
    return getattr(_load("pandas_ta_classic" if name in listed() else "pandas_ta"), name)


def _original() -> bool:
    return importlib.util.find_spec("pandas_ta") is not None


def _load(module: str) -> Any:
    """Import a pandas-ta; both take ``DataFrame.ta``, and the first to have it keeps it."""
    import pandas as pd  # noqa: PLC0415 - half a second, and only where it is needed

    if module in sys.modules:
        return sys.modules[module]
    before = pd.DataFrame.__dict__.get("ta")
    if before is not None:
        delattr(pd.DataFrame, "ta")  # registering looks at what is there, and so would load it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own making, about pandas of tomorrow
            found = importlib.import_module(module)
        accessors[module] = pd.DataFrame.__dict__.get("ta")
    finally:
        if before is not None:
            pd.DataFrame.ta = before  # type: ignore[attr-defined]
    return found


@functools.cache
def listed() -> dict[str, Entry]:
    """Return every indicator by name, sorted, without loading pandas-ta."""
    found = json.loads(_FILE.read_text("utf-8"))
    return {name: from_dict(name, facts) for name, facts in sorted(found["indicators"].items())}


def from_dict(name: str, facts: dict[str, Any]) -> Entry:
    """Return the entry that `breeze_lab.indicators.measure` wrote down."""
    return Entry(
        name,
        facts["title"],
        facts["category"],
        tuple(facts["inputs"]),
        tuple(Parameter(*one) for one in facts["parameters"]),
        tuple(Output(*one) for one in facts["outputs"]),
        facts["repaints"],
    )


def names() -> list[str]:
    """Return the names of all indicators."""
    return list(listed())


@functools.cache
def entry(name: str) -> Entry:
    """Return one indicator.

    Raises
    ------
    SettingsError
        There is none of that name, with the nearest ones; or it needs more than one instrument's
        bars, with what it needs.
    """
    found = listed().get(name)
    if found is not None:
        return found
    if name in _NEEDS_MORE:
        raise SettingsError(f"{name} cannot be drawn from the bars of one instrument: "
                            f"{_NEEDS_MORE[name]}.")  # fmt: skip
    if _original() and any(name in names for names in _load("pandas_ta").Category.values()):
        from breeze_lab.indicators import measure  # noqa: PLC0415 - loads pandas

        return measure.measured(_load("pandas_ta"), name)
    raise SettingsError(
        f"There is no indicator {name!r}. Nearest: {', '.join(_nearest(name))}. "
        "All of them: breeze_lab.indicators.names()"
    )


def _nearest(name: str) -> list[str]:
    from rapidfuzz import fuzz, process  # noqa: PLC0415 - only a refusal needs it

    # Of a wrong name one letter counts more than a long title that has its letters, too.
    near = process.extract(name, names(), scorer=fuzz.ratio, limit=3, score_cutoff=40)
    titles = {one.name: one.title.lower() for one in listed().values()}
    spoken = process.extract(
        name.replace("_", " "), titles, scorer=fuzz.token_set_ratio, limit=3, score_cutoff=80
    )
    found = [found for found, _, _ in near] + [key for _, _, key in spoken]
    return list(dict.fromkeys(found))[:4] or ["ema", "rsi", "vwap"]


def drawn(one: Entry, columns: tuple[str, ...]) -> list[Output]:
    """Return how each column is drawn; other parameters may make other columns."""
    if len(columns) == len(one.outputs):
        return list(one.outputs)
    place = "overlay" if one.overlay else "pane"
    return [Output(place, "line")] * len(columns)
