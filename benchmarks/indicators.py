"""Indicators carried forward bar by bar, against computing them anew over all bars.

Minutes of a practice month. Ours: 40 indicators' handles take one more closed bar and say their
values of the next forming one. The rival is what a notebook does without them: the same values by
pandas-ta's own formulas over all bars (``df.ta``), of which the last row is kept. A second figure
compares with TA-Lib's functions over all bars, the quickest whole computation there is.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks import figure
from breeze_lab.indicators import Live, catalogue, native
from breeze_lab.indicators.recipes import RECIPES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run"]

_BARS: Final = 7_500
_NAMES: Final = (*list(RECIPES)[:37], "macd", "supertrend", "vwap")


def run(*, quick: bool) -> None:
    """Print the figures."""
    table, frame = _month()
    functions = {name: catalogue.function(name) for name in _NAMES}
    start = _BARS - 200
    ours: list[float] = []
    rival: list[float] = []
    whole: list[float] = []
    lives = [Live(name, table[:, :start]) for name in _NAMES]
    rounds = 5 if quick else 15
    for number in range(rounds + 1):
        rows = [tuple(table[:, start + 5 * number + i].tolist()) for i in range(5)]
        begun = time.process_time()
        for row in rows:
            for live in lives:
                live.update(row)
                live.close(row)
        per_bar = (time.process_time() - begun) / len(rows)
        seen = frame.iloc[: start + 5 * number + 5]
        begun = time.process_time()
        last = [native.call(functions[name], seen, {}).iloc[-1] for name in _NAMES]
        anew = time.process_time() - begun
        begun = time.process_time()
        for live in lives:
            live.recompute()
        quickest = time.process_time() - begun
        for live, wanted in zip(lives, last, strict=True):
            values = np.array(live.values)
            assert np.allclose(values, wanted, rtol=1e-7, atol=1e-7, equal_nan=True), live.spec
        if number:  # the first round warms everything up
            ours.append(per_bar)
            rival.append(anew)
            whole.append(quickest)
    print(figure("indicators", "live_vs_full_recompute", ours, rival, "CPU s per bar, 40 of them"))
    print(figure("indicators", "live_vs_talib_recompute", ours, whole, "CPU s per bar, 40 of them"))
    facts = {"bars": _BARS, "indicators": len(_NAMES), "catalogue": len(catalogue.names())}
    print(json.dumps({"benchmark": "indicators", "figure": "size", "ours": facts}))


def _month() -> tuple[Any, pd.DataFrame]:
    from breeze_lab.indicators.live import table_of
    from breeze_lab.indicators.measure import reference

    frame = reference(_BARS, seed=11)
    return table_of(frame), frame
