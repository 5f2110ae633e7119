"""The desk: the indicators of one chart, moved on by the bars its browser holds.

What a chart shows is what its browser made of history and the relay's bars, so
the browser says its bars and gets values of exactly these. The messages are
the same over the server's websocket and over a kernel's comm, and told in
docs/indicators.md. Every answer belongs to one question.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.errors import BreezeLabError, SettingsError
from breeze_lab.indicators.catalogue import MOST_LINES, drawn
from breeze_lab.indicators.live import Live
from breeze_lab.indicators.spec import parse

if TYPE_CHECKING:
    from breeze_lab.indicators.kernels import Row

__all__ = ["MOST_BARS", "MOST_INDICATORS", "Desk"]

MOST_INDICATORS: Final = 12
#: A chart holds 1,000 candles and what an indicator needs before them.
MOST_BARS: Final = 5000
_COLUMNS: Final = 6


class Desk:
    """The indicators of one chart."""

    def __init__(self) -> None:
        """Have none yet."""
        self._lives: list[Live] = []
        self._forming: Row | None = None

    def take(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer one message of a chart; never raises.

        Parameters
        ----------
        message
            ``{"op": "open", "specs": [text, …], "bars": [t, open, high, low, close, volume]}`` with
            six lists, the last bar forming; or ``{"op": "bars", "rows": [[t, open, …], …]}``, bars
            that changed or came since, ascending.

        Returns
        -------
        dict
            ``opened``, ``values``, ``reopen`` when the bars are not those it knows, or ``error``.
        """
        try:
            match message.get("op"):
                case "open":
                    return self._open(message["specs"], message["bars"])
                case "bars":
                    return self._bars(message["rows"])
                case other:
                    raise SettingsError(
                        f"A chart's desk knows open and bars, not {str(other)[:40]!r}."
                    )
        except BreezeLabError as exc:
            return {"op": "error", "message": str(exc)}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
            return {"op": "error", "message": f"The message cannot be read: {exc!r}"[:200]}

    def _open(self, specs: list[str], columns: list[list[float]]) -> dict[str, Any]:
        table = np.array(columns, dtype=float)
        if table.ndim != 2 or table.shape[0] != _COLUMNS or table.shape[1] > MOST_BARS:  # noqa: PLR2004 - a table
            raise SettingsError(f"Six columns of at most {MOST_BARS} bars are needed.")
        if (np.diff(table[0]) <= 0).any():
            raise SettingsError("The bars are not in order of time.")
        if len(specs) > MOST_INDICATORS:
            raise SettingsError(
                f"A chart takes {MOST_INDICATORS} indicators, not {len(specs)}: remove one."
            )
        self._forming = _row(table[:, -1].tolist()) if table.shape[1] else None
        self._lives = []
        told, refused = [], []
        for text in specs:
            try:
                live, facts = self._one(str(text), table)
            except BreezeLabError as exc:
                refused.append({"spec": str(text)[:200], "message": str(exc)})
                continue
            self._lives.append(live)
            told.append(facts)
        return {"op": "opened", "indicators": told, "refused": refused}

    def _one(self, text: str, table: np.ndarray) -> tuple[Live, dict[str, Any]]:
        spec = parse(text)
        live = Live(spec, table[:, :-1])
        entry = spec.entry
        outputs = drawn(entry, live.columns)
        lines = sum(bool(one.place) for one in outputs)
        if lines > MOST_LINES:
            raise SettingsError(
                f"{spec} draws {lines} lines, and a chart takes {MOST_LINES} of one indicator. "
                f"Choose fewer: {entry.signature}"
            )
        last = live.update(self._forming) if self._forming else ()
        values = self._whole(live) if entry.repaints else [
            [*_numbers(column), *_numbers([now])]
            for column, now in zip(live.history, last, strict=True)
        ]  # fmt: skip
        return live, {
            "spec": str(spec), "title": entry.title,
            "columns": [
                {"name": name, "place": one.place, "style": one.style}
                for name, one in zip(live.columns, outputs, strict=True)
            ],
            "values": values,
        }  # fmt: skip

    def _bars(self, rows: list[list[float]]) -> dict[str, Any]:
        told: list[Any] = []
        closed = False
        for given in rows:
            row = _row(given)
            if self._forming is None or row[0] < self._forming[0]:
                return {"op": "reopen"}
            if row[0] > self._forming[0]:
                told.append(
                    [self._forming[0], [_numbers(one.close(self._forming)) for one in self._lives]]
                )
                closed = True
            self._forming = row
        if self._forming is not None:
            told.append(
                [self._forming[0], [_numbers(one.update(self._forming)) for one in self._lives]]
            )
        whole = {
            str(i): self._whole(one)
            for i, one in enumerate(self._lives)
            if closed and one.spec.entry.repaints
        }
        return {"op": "values", "rows": told, "whole": whole}

    def _whole(self, live: Live) -> list[list[float | None]]:
        """Return all values of an indicator that changes its past, the forming bar's last."""
        if self._forming is None:
            return [_numbers(column) for column in live.history]
        live.bars.push(self._forming)
        try:
            return [_numbers(column) for column in live.recompute()]
        finally:
            live.bars.pop()


def _row(given: list[float]) -> Row:
    if len(given) != _COLUMNS:
        raise SettingsError("A bar is a time and five numbers.")
    moment, opened, high, low, close, volume = map(float, given)
    if not math.isfinite(moment + opened + high + low + close + volume):
        raise SettingsError("A bar is a time and five numbers.")
    return moment, opened, high, low, close, volume


def _numbers(values: Any) -> list[float | None]:
    """Return numbers for JSON, which knows no NaN."""
    return [value if math.isfinite(value) else None for value in map(float, values)]
