"""Benchmarks: ratios against a named rival, measured interleaved in one run.

``python -m benchmarks NAME [--quick]`` prints one JSON line per figure:
``{"benchmark", "figure", "ours", "rival", "ratio", "unit"}``. The ratio is
turned so that bigger is better and 1 means level with the rival; it is the
median of the rounds' own ratios, because a shared machine drifts.
"""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["figure"]


def figure(
    benchmark: str,
    name: str,
    ours: Sequence[float],
    rival: Sequence[float],
    unit: str,
    *,
    bigger_is_better: bool = False,
) -> str:
    """Return the JSON line of one figure.

    Parameters
    ----------
    ours, rival
        One value per round, paired by round; smaller is better unless said otherwise.
    """
    pairs = list(zip(ours, rival, strict=True))
    ratios = [o / r if bigger_is_better else r / o for o, r in pairs]
    return json.dumps(
        {
            "benchmark": benchmark,
            "figure": name,
            "ours": round(median(ours), 6),
            "rival": round(median(rival), 6),
            "ratio": round(median(ratios), 2),
            "unit": unit,
        }
    )
