"""Looks: what a chart's colours, sizes and columns are, without loading Bokeh.

Shared by the figure that Bokeh draws (`breeze_lab.charts`), the indicators on
it and the live chart, whose figure is mostly taken from the disk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "COLOURS",
    "FIELDS",
    "MARGIN",
    "MAX_CANDLES",
    "PALETTES",
    "PANE_HEIGHT",
    "VISIBLE",
    "Palette",
    "Theme",
    "columns",
    "decimals",
    "has_volume",
]

Theme = Literal["light", "dark"]

#: Bokeh paints about 40 ms for this many; with more an update would cost what history costs.
MAX_CANDLES: Final = 1000

#: Candles to see at first; the rest is a drag away.
VISIBLE: Final = 120

#: Room to the right of the newest candle, in candles.
MARGIN: Final = 6

#: Columns of a bar that are drawn.
FIELDS: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme."""

    background: str
    grid: str
    text: str
    up: str
    down: str

    def to_dict(self) -> dict[str, str]:
        """Return the colours by name."""
        return asdict(self)


PALETTES: Final[dict[Theme, Palette]] = {
    "light": Palette("#ffffff", "#edf0f5", "#5b6472", "#089a81", "#e8434f"),
    "dark": Palette("#111111", "#22252b", "#9aa3b2", "#22b99a", "#f0565f"),
}

#: One after the other; told apart on white and on black, and neither of a candle's two.
COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "light": (
        "#2962ff",
        "#c77700",
        "#8e24aa",
        "#00838f",
        "#6d4c41",
        "#c2185b",
        "#5e7d00",
        "#455a64",
    ),
    "dark": (
        "#6f9bff",
        "#ffb547",
        "#d48bea",
        "#4dd0e1",
        "#c8a08f",
        "#ff80ab",
        "#b5d34a",
        "#a9bac4",
    ),
}

#: Of one indicator's own pane, in pixels.
PANE_HEIGHT: Final = 110


def decimals(tick_size: float) -> int:
    """Return how many decimals a price in steps of `tick_size` rupees needs, at least two."""
    return max(len(f"{tick_size:.6f}".rstrip("0").partition(".")[2]), 2)


def columns(frame: DataFrame, *, limit: int = MAX_CANDLES) -> dict[str, Any]:
    """Return the newest bars of `frame` as the columns a figure draws.

    Parameters
    ----------
    frame
        open, high, low, close, volume; index: aware opening times, ascending.
    limit
        How many of the newest bars to keep.

    Returns
    -------
    dict of numpy.ndarray
        ``x`` (0, 1, 2, …), ``t`` (Unix seconds of the opening), open, high,
        low, close and volume, all float64.
    """
    tail = frame.iloc[-limit:]
    seconds = [moment.timestamp() for moment in tail.index]
    data: dict[str, Any] = {
        "x": np.arange(len(tail), dtype=float),
        "t": np.asarray(seconds, dtype=float),
    }
    return data | {name: tail[name].to_numpy(dtype=float) for name in FIELDS}


def has_volume(frame: DataFrame) -> bool:
    """Say whether anything was traded in `frame`; an empty one may yet be."""
    return not len(frame) or bool((frame["volume"] > 0).any())
