"""Frozen targets: what a link shows, as JSON that nothing changes any more.

Two kinds. A chart is the live chart's own figure, its settings and its bars,
for the same script to draw; a document is a Bokeh document as JSON. This room
checks and packs them and loads neither Bokeh nor NumPy, because the Jupyter
server makes links, too. `breeze_lab.shares.freezing` turns objects into them.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.bars import Interval
from breeze_lab.errors import BreezeLabError, ShareError
from breeze_lab.indicators.spec import parse_all
from breeze_lab.shares.links import CLASSES, LAG_DAYS, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COLUMNS", "chart_target", "objects", "packed"]

#: Columns of a chart's bars: opening time (Unix seconds), prices in rupees, volume.
COLUMNS: Final = ("t", "open", "high", "low", "close", "volume")
_MOST_BARS: Final = 5000
_MOST_INDICATORS: Final = 12
_TEXTS: Final = ("key", "room", "symbol", "name", "exchange", "interval", "market", "bokeh")
_NUMBERS: Final = (
    "anchor_s", "interval_s", "decimals", "height", "visible", "margin", "most", "hidden",
    "pane_height", "fetched_s",
)  # fmt: skip
_SOURCE: Final = {
    "practice": "Practice market, made-up prices", "icici": "ICICI Direct Breeze API",
}  # fmt: skip


def chart_target(
    config: dict[str, Any],
    figure: dict[str, Any],
    bars: list[list[float]],
    indicators: list[str],
    *,
    data: str,
    now_s: float,
    base: list[float] | None = None,
) -> Target:
    """Freeze our candles.

    Parameters
    ----------
    config, figure
        As `breeze_lab.widgets.LiveChart` has them.
    bars
        One list for each of `COLUMNS`, oldest first, the last bar perhaps forming.
    indicators
        Specs.
    data
        ``"auto"`` is live for the practice market and a snapshot for an exchange.
    now_s
        Unix seconds: what is lagged ended 30 days before.
    base
        The last bar as history knew it. A live link goes on from it, because the relay tells
        what it heard of that bar once more.

    Raises
    ------
    ShareError
        It is no chart of ours, or may not be shared like this.
    """
    config = _config(config)
    practice = config["market"] == "practice"
    wanted = ("practice" if practice else "snapshot") if data == "auto" else data
    if wanted not in CLASSES:
        raise ShareError(f"{data!r:.40} is no class of data. There are: {', '.join(CLASSES)}.")
    if wanted == "practice" and not practice:
        raise ShareError(
            f"{config['symbol']} has an exchange's prices, and live prices may not be passed on. "
            "Share data='snapshot', or data='lagged' for what is 30 days old."
        )
    kept = _bars(bars)
    if wanted == "lagged":
        ends = now_s - LAG_DAYS * 86_400 - float(config["interval_s"])
        many = sum(t <= ends for t in kept[0])
        kept = [column[:many] for column in kept]
        if many <= int(config["hidden"]):
            raise ShareError(
                f"None of these {config['symbol']} candles is {LAG_DAYS} days old. Show more of "
                "them, or longer ones, and share again."
            )
    elif wanted == "practice" and kept[0]:
        known = [] if base is None else [[float(value)] for value in base]
        whole = len(known) == len(COLUMNS) and known[0][0] == kept[0][-1]
        kept = [column[:-1] + (known[i] if whole else []) for i, column in enumerate(kept)]
    if len(indicators) > _MOST_INDICATORS:
        raise ShareError(f"A chart has at most {_MOST_INDICATORS} indicators.")
    try:
        specs = [str(spec) for spec in parse_all(indicators)]
    except BreezeLabError as exc:
        raise ShareError(f"The chart's indicators cannot be read: {exc}") from exc
    body = {"config": config, "figure": figure, "bars": kept, "indicators": specs}
    source = _SOURCE[config["market"]]
    if config.get("replay"):
        source = f"Replay of {config['replay']}"
    return Target(
        kind="chart", title=f"{config['symbol']} {config['interval']}", source=source,
        data=wanted,  # type: ignore[arg-type]  # checked above
        parameters={"key": config["key"], "interval": config["interval"], "indicators": specs,
                    "eval": True, "scripts": ["bokeh.min.js"],
                    "as_of_s": kept[0][-1] if kept[0] else None},
        body=packed(body),
    )  # fmt: skip


def packed(body: dict[str, Any]) -> bytes:
    """Return JSON without NaN, in the order given: BokehJS wants a model before its references."""
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise ShareError(f"It cannot be written as JSON ({str(exc)[:80]}).") from exc


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every model in a document's JSON."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("type") == "object":
                yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _config(given: Any) -> dict[str, Any]:
    """Return a chart's settings, each of the right kind."""
    if not isinstance(given, dict):
        raise ShareError("A chart's settings are missing. Draw it again with %candles.")
    wrong = [name for name in _TEXTS if not isinstance(given.get(name), str)]
    wrong += [
        name
        for name in _NUMBERS
        if isinstance(given.get(name), bool)
        or not isinstance(given.get(name), (int, float))
        or not math.isfinite(given[name])
    ]
    wrong += [name for name in ("palettes", "lines") if not isinstance(given.get(name), dict)]
    if not wrong:
        try:
            right = Interval.parse(given["interval"]).value == given["interval_s"]
        except BreezeLabError:
            right = False
        wrong = [] if right and given["market"] in _SOURCE else ["interval or market"]
    if wrong:
        raise ShareError(f"A chart's settings lack {', '.join(wrong)}. Draw it again.")
    return {**given, "theme": "auto", "practice": given["market"] == "practice"}


def _bars(given: Any) -> list[list[float]]:
    """Return checked columns of bars."""
    try:
        table = [[float(value) for value in column] for column in given]
        even = len(table) == len(COLUMNS) and len({len(column) for column in table}) == 1
        good = (
            even and len(table[0]) <= _MOST_BARS
            and all(math.isfinite(value) for column in table for value in column)
            and all(a < b for a, b in zip(table[0], table[0][1:], strict=False))
        )  # fmt: skip
    except (TypeError, ValueError, OverflowError) as exc:
        raise ShareError("A chart's bars are numbers, column by column.") from exc
    if not good:
        raise ShareError(f"A chart has up to {_MOST_BARS:,} bars, each later than the one before.")
    return table
