"""A tick log as the relay would have written it while the practice market traded."""

from __future__ import annotations

import functools
import heapq
import json
from typing import TYPE_CHECKING, Any

from tick_log import YESTERDAY, line, ms, note, write

from breeze_lab.practice.exchange.contracts import listing
from breeze_lab.practice.exchange.market import Live
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.wire import frames
from breeze_lab.relay import wal
from breeze_lab.relay.wal import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date
    from pathlib import Path

    from breeze_lab.practice.exchange.universe import Contract

#: Of the practice market: what a room's frames are called, by the broker's code.
KEYS = {
    "RELIND": "NSE:RELIANCE", "INFTEC": "NSE:INFY", "TCS": "NSE:TCS", "NIFTY": "NSE:NIFTY 50",
}  # fmt: skip
LATE_MS = 120


@functools.cache
def _listing(day: date) -> Any:
    return listing(Prices(1, day), day)


def contracts(codes: Iterable[str] = KEYS) -> list[Contract]:
    """Return contracts of the NSE by the broker's code."""
    found = [_listing(YESTERDAY).find("NSE", code) for code in codes]
    assert all(found), codes
    return found


def room(contract: Contract) -> str:
    return f"{contract.market}.1!{contract.token}"


@functools.cache
def quotes(contract: Contract, start: str, end: str, day: date) -> list[tuple[int, str, str]]:
    """Return time of receipt, room and frame: how it stood on joining, then every trade."""
    live = Live(Prices(1, day), contract, ms(start, day))
    found = [(ms(start, day), room(contract), json.dumps(frames.quote(live)))]
    while (live.prepare() or 2**62) < ms(end, day):
        live.step()
        found.append((live.quote.time_ms + LATE_MS, room(contract), json.dumps(frames.quote(live))))
    return found


def log(
    codes: Iterable[str] = KEYS,
    start: str = "10:00",
    end: str = "10:06",
    *,
    heard: Callable[[int, str, list[Any]], bool] = lambda *_: True,
    epoch: Callable[[int], int] = lambda _: 1,
    notes: Iterable[Record] = (),
) -> Path:
    """Write yesterday's log of a life of the relay that listened to contracts; return its path.

    Parameters
    ----------
    heard
        Says by time of receipt, room and frame whether a frame came; it may change the frame.
    epoch
        Returns the number of the connection at a time.
    notes
        What was noted meanwhile, by time.
    """
    some = contracts(codes)
    records = [note("life", ms(start), life="a"), note("epoch", ms(start), epoch=1)]
    records += [line(room(one), KEYS.get(one.code, f"NSE:{one.symbol}")) for one in some]
    sequences: dict[str, int] = {}
    noted = list(notes)
    for at, where, text in heapq.merge(*(quotes(one, start, end, YESTERDAY) for one in some)):
        while noted and noted[0].received_ms <= at:
            records.append(noted.pop(0))
        frame = json.loads(text)
        if not heard(at, where, frame):
            continue
        sequences[where] = sequences.get(where, 0) + 1
        data = json.dumps(frame).encode()
        records.append(Record(wal.STOCK, epoch(at), sequences[where], at, data))
    return write([*records, *noted, note("end", ms(end) + 500)], market="practice")
