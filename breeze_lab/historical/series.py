"""A series: bars as plain numbers at once, and as the documented frame when somebody looks.

A chart is shown from the numbers, so that a fresh kernel need not load pandas
before its first candle.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from breeze_lab.historical.blocks import COLUMNS, Block

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

__all__ = ["Series"]


class Series:
    """Bars of one instrument and interval, ascending, the forming one last.

    Parameters
    ----------
    block
        Their numbers.
    make
        Returns the documented frame of the same bars; called once, when it is wanted.
    """

    def __init__(self, block: Block, make: Callable[[], pd.DataFrame]) -> None:
        """Load nothing yet."""
        self.block, self._make = block, make

    def __len__(self) -> int:
        """Return the count of bars."""
        return len(self.block)

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """The documented frame; see `breeze_lab.historical.candles`."""
        return self._make()

    @property
    def traded(self) -> bool:
        """Whether anything was traded; of no bars it may yet be."""
        return not len(self) or bool((self._column("volume") > 0).any())

    def columns(self, limit: int) -> dict[str, Any]:
        """Return the newest bars as `breeze_lab.chart_looks.columns` does of a frame."""
        start = self.block.start[-limit:].astype(np.float64)
        found = {"x": np.arange(len(start), dtype=np.float64), "t": start}
        names = [name for name in COLUMNS if name != "open_interest"]
        return found | {name: self._column(name)[-limit:] for name in names}

    def _column(self, name: str) -> Any:
        return self.block.data[:, COLUMNS.index(name)]

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Series:
        """Return the series of a documented frame."""
        start = frame.index.as_unit("s").asi8  # type: ignore[attr-defined]
        return cls(Block(start, frame[list(COLUMNS)].to_numpy(np.float64)), lambda: frame)
