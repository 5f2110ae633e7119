"""A month of the practice market's bars, as one frame, made without its servers."""

from __future__ import annotations

import functools
from datetime import date, timedelta

import numpy as np
import pandas as pd

from breeze_lab.bars import Interval
from breeze_lab.practice.exchange import history
from breeze_lab.practice.exchange.days import day_number, midnight
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.exchange.universe import RUPEE, universe

LAST = date(2026, 11, 20)


@functools.cache
def month(interval: str = "5m", code: str = "RELIND", days: int = 30) -> pd.DataFrame:
    """Return open, high, low, close (rupees) and volume of `days` calendar days up to `LAST`."""
    prices, contract = Prices(1, None), universe().cash["NSE", code]
    length = Interval.parse(interval)
    now_ms = (midnight(day_number(LAST)) + 86_400) * 1000
    starts, columns = [], []
    for back in range(days - 1, -1, -1):
        begin = midnight(day_number(LAST - timedelta(days=back)))
        found = history.series(prices, contract, length, (begin, begin + 86_399), now_ms)
        starts.append(found.start)
        bars = found.bars
        columns.append([bars.open, bars.high, bars.low, bars.close, bars.volume])
    table = np.concatenate([np.array(one, dtype=float) for one in columns], axis=1)
    table[:4] *= contract.tick / RUPEE
    index = pd.to_datetime(np.concatenate(starts), unit="s", utc=True).tz_convert("Asia/Kolkata")
    names = ("open", "high", "low", "close", "volume")
    return pd.DataFrame(dict(zip(names, table, strict=True)), index=index.rename("start"))
