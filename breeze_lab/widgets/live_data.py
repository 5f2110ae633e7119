"""The frame behind a live chart: its history and the bars the relay built since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from breeze_lab import clock, feed

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from breeze_lab.bars import Interval
    from breeze_lab.feed import FeedBar, Streamable

__all__ = ["merged", "relay_bars"]


def relay_bars(instrument: Streamable, interval: Interval) -> tuple[FeedBar, ...]:
    """Return the bars the relay keeps of `instrument`, ascending, the forming one last.

    Raises
    ------
    FeedDisconnected, SubscriptionRefused
    """
    wanted = feed.connect().subscribe(instrument, bars=[interval], delivery="latest", ticks=False)
    with wanted as subscription:
        return subscription.snapshot.bars.get((instrument.key, interval), ())


def merged(
    history: pd.DataFrame, bars: Sequence[FeedBar], interval: Interval, fetched_s: float
) -> pd.DataFrame:
    """Return `history` continued by `bars`, by the rules the chart follows in the browser.

    Parameters
    ----------
    history
        open, high, low, close, volume; index: aware opening times, ascending.
    bars
        Of the relay, ascending.
    interval
        Of both.
    fetched_s
        Unix seconds at which the history was fetched: its bars that had ended
        by then are final.

    Returns
    -------
    DataFrame
        The columns of `history`; index: opening times, Asia/Kolkata.

    Notes
    -----
    A bar heard from its opening replaces the history's. One heard in part is
    added to what history knows of the same minute: its opening, the wider of
    both ranges, both volumes.
    """
    index = pd.DatetimeIndex(history.index)
    rows = history.set_axis(index).to_dict("index")
    last = index[-1] if len(index) else None
    for heard in bars:
        bar = heard.bar
        start = pd.Timestamp(bar.start)
        fresh: dict[Hashable, Any] = {
            name: getattr(bar, name) for name in ("open", "high", "low", "close", "volume")
        }
        if "open_interest" in history.columns:
            contracts = bar.open_interest
            fresh["open_interest"] = float("nan") if contracts is None else contracts
        known = rows.get(start)
        if known is None and last is not None and start < last:
            continue  # history has no such bar: the market did not trade, or not for everybody
        if known is not None and not heard.whole:
            if start.timestamp() + interval.value <= fetched_s:
                continue
            fresh |= {
                "open": known["open"],
                "high": max(known["high"], bar.high),
                "low": min(known["low"], bar.low),
                "volume": known["volume"] + bar.volume,
            }
        rows[start] = {**(known or {}), **fresh}
    times = pd.DatetimeIndex(list(rows), tz=clock.IST, name=history.index.name)
    return pd.DataFrame(list(rows.values()), index=times, columns=history.columns)
