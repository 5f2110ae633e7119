"""Tick logs written by hand, in the relay's own layout: frames, notes, files."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from breeze_lab import clock, settings
from breeze_lab.relay import wal
from breeze_lab.relay.wal import Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: A day that is over.
YESTERDAY = clock.now().date() - timedelta(days=1)


def ms(at: str, day: date = YESTERDAY) -> int:
    """Return Unix milliseconds of a time of a day in India."""
    moment = datetime.combine(day, time.fromisoformat(at), clock.IST)
    return round(moment.timestamp() * 1000)


def line(room: str = "4.1!2885", key: str = "NSE:RELIANCE", anchor_s: int = 33_300) -> Record:
    """Return the note of what a room is to us."""
    return note("line", key=key, room=room, anchor_s=anchor_s)


def note(what: str, received_ms: int | None = None, epoch: int = 1, **facts: Any) -> Record:
    """Return a note."""
    at = ms("09:15") if received_ms is None else received_ms
    return Record(wal.NOTE, epoch, 0, at, json.dumps({"what": what, **facts}).encode())


def quote(
    sequence: int,
    received_ms: int,
    *,
    room: str = "4.1!2885",
    last: float | None = 1400.0,
    exchange_s: int | None = None,
    volume: int | None = 1000,
    epoch: int = 1,
    **other: Any,
) -> Record:
    """Return a quote of 21 elements; its exchange second is that of its arrival by default."""
    second = received_ms // 1000 if exchange_s is None else exchange_s
    said = {
        "open": 1390, "high": 1410, "low": 1380, "change": 0.5, "bid": 1399.9, "bids": 10,
        "ask": 1400.1, "asks": 20, "quantity": 5, "average": 1395.5, "buyers": 3000,
        "sellers": 4000, "value": "1.40L", "trend": "", "lower": 1200, "upper": 1500,
        "close": 1393.0, **other,
    }  # fmt: skip
    names = ("open", last, "high", "low", "change", "bid", "bids", "ask", "asks", "quantity",
             "average", volume, "buyers", "sellers", "value", "trend", "lower", "upper", second,
             "close")  # fmt: skip
    frame = [room, *(said.get(x, x) if isinstance(x, str) else x for x in names)]
    return Record(wal.STOCK, epoch, sequence, received_ms, json.dumps(frame).encode())


def write(
    records: Iterable[Record], *, day: date = YESTERDAY, market: str = "icici", number: int = 1
) -> Path:
    """Write a log file below the home folder of the test; return its path."""
    folder = settings.folders().data / "ticks" / "log" / market
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{day.isoformat()}-{number:06d}.log"
    path.write_bytes(wal.MAGIC + b"".join(map(wal.encode, records)))
    return path
