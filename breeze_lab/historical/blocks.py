"""Blocks: the bars of one series as two arrays, and as the documented frame.

Owns how a broker's rows become numbers. numpy only; pandas is loaded by the
first frame, because processes without a screen do without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from breeze_lab import clock
from breeze_lab.bars import Bar, Interval
from breeze_lab.errors import BadResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from breeze_lab.historical.spans import Span

    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["COLUMNS", "EMPTY", "Block", "merged", "resample_frame"]

#: Columns of every history frame, in order.
COLUMNS: Final = ("open", "high", "low", "close", "volume", "open_interest")
_VOLUME, _INTEREST = COLUMNS.index("volume"), COLUMNS.index("open_interest")


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Bars of one instrument and interval.

    Parameters
    ----------
    start
        Unix seconds at which each opens, ascending, unique; shape (n,).
    data
        `COLUMNS` of each, shape (n, 6): rupees, shares, and NaN for the open
        interest of cash. A volume is a whole number below 2**53, so exact.
    """

    start: Ints
    data: Floats

    def __len__(self) -> int:
        """Return the count of bars."""
        return len(self.start)

    @classmethod
    def of_rows(cls, rows: Iterable[dict[str, Any]]) -> Block:
        """Return the candles of a broker's answer; of two of the same moment the later one.

        Raises
        ------
        BadResponse
            A row is no candle.
        """
        found: dict[int, tuple[float, ...]] = {}
        try:
            for row in rows:
                opened = datetime.fromisoformat(row["datetime"]).replace(tzinfo=clock.IST)
                interest = row.get("open_interest")
                found[int(opened.timestamp())] = (
                    _price(row["open"]), _price(row["high"]), _price(row["low"]),
                    _price(row["close"]), float(int(float(row.get("volume") or 0))),
                    float("nan") if interest in (None, "") else float(interest),
                )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise BadResponse(
                f"History answered a candle that cannot be read ({exc!r:.80})."
            ) from exc
        moments = sorted(found)
        values = np.array([found[moment] for moment in moments], np.float64)
        return cls(np.array(moments, np.int64), values.reshape(-1, len(COLUMNS)))

    def within(self, span: Span) -> Block:
        """Return the bars that open in a span."""
        low, high = np.searchsorted(self.start, span)
        return Block(self.start[low:high], self.data[low:high])

    def outside(self, span: Span) -> Block:
        """Return the bars that do not open in a span."""
        kept = (self.start < span[0]) | (self.start >= span[1])
        return Block(self.start[kept], self.data[kept])

    def frame(self) -> pd.DataFrame:
        """Return the documented frame; index ``start``, Asia/Kolkata."""
        import pandas as pd  # noqa: PLC0415 - half a second, paid by the first frame

        index = pd.DatetimeIndex(pd.to_datetime(self.start, unit="s", utc=True), name="start")
        index = index.tz_convert("Asia/Kolkata").as_unit("us")
        frame = pd.DataFrame(self.data.copy(), index=index, columns=list(COLUMNS))
        frame["volume"] = frame["volume"].astype("int64")
        return frame

    def bars(self, interval: Interval, now: datetime) -> list[Bar]:
        """Return plain values; complete is what has ended by `now`."""
        length = interval.length
        found = []
        for start_s, row in zip(self.start.tolist(), self.data.tolist(), strict=True):
            start, interest = clock.from_epoch(start_s), row[_INTEREST]
            found.append(
                Bar(
                    start, interval, row[0], row[1], row[2], row[3], int(row[_VOLUME]),
                    None if interest != interest else int(interest),  # noqa: PLR0124 - NaN
                    complete=start + length <= now,
                )
            )  # fmt: skip
        return found


def _price(value: Any) -> float:
    return float("nan") if value is None else float(value)


EMPTY: Final = Block(np.empty(0, np.int64), np.empty((0, len(COLUMNS)), np.float64))


def merged(blocks: Iterable[Block]) -> Block:
    """Return several blocks as one; of two bars of the same moment that of the later block."""
    some = [block for block in blocks if len(block)]
    if not some:
        return EMPTY
    if len(some) == 1:
        return some[0]
    start = np.concatenate([block.start for block in some])
    values = np.concatenate([block.data for block in some])
    if np.all(start[1:] > start[:-1]):
        return Block(start, values)
    order = np.argsort(start, kind="stable")
    start, values = start[order], values[order]
    last = np.append(start[1:] != start[:-1], True)
    return Block(start[last], values[last])


def resample_frame(frame: pd.DataFrame, interval: Interval, anchor_s: int = 33_300) -> pd.DataFrame:
    """Merge a frame's bars into longer ones, aligned to the exchange's opening.

    Periods without a bar are absent. See `breeze_lab.bars.resample`, its twin
    for single bars.
    """
    import pandas as pd  # noqa: PLC0415 - see Block.frame

    if frame.empty:
        return frame
    seconds = pd.DatetimeIndex(frame.index).as_unit("s").asi8
    offset = 19_800 - (0 if interval is Interval.D1 else anchor_s)
    opening = (seconds + offset) // interval.value * interval.value - offset
    merged_frame = frame.groupby(opening).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last",
         "volume": "sum", "open_interest": "last"}
    )  # fmt: skip
    merged_frame.index = pd.DatetimeIndex(
        pd.to_datetime(merged_frame.index, unit="s", utc=True), name="start"
    ).tz_convert("Asia/Kolkata")
    return merged_frame
