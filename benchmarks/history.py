"""A year of one-minute bars: from the disk, from the SDK on loopback, and under SQL.

The rival asks the unmodified SDK for the same year, window by window, of a
practice market on this machine that has computed it before: no network and no
meter, so a real account is far slower. Rounds alternate. What is stored is read
with its checksums; the SQL has the year verified first, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["run"]

_QUERY: Final = (
    "select date_trunc('day', time) as day, arg_min(open, time) as open, max(high) as high, "
    "min(low) as low, arg_max(close, time) as close, sum(volume) as volume "
    "from bars where key = ? and interval = '1m' group by day order by day"
)


def run(*, quick: bool) -> None:
    """Print the figures."""
    rounds, months = (3, 3) if quick else (5, 12)
    with _practice() as record, tempfile.TemporaryDirectory() as home:
        os.environ["BREEZE_LAB_HOME"] = home
        os.environ["BREEZE_LAB_VAULT_KEY_FILE"] = str(_key(Path(home)))
        _measure(record, rounds, months)


def _measure(record: dict[str, Any], rounds: int, months: int) -> None:
    import breeze_lab
    from breeze_lab import clock, historical, session, settings
    from breeze_lab.bars import Interval

    endpoints = settings.Endpoints.from_dict(record, name="practice")
    now = session.login(
        record["app_key"], record["secret"], record["api_session"], endpoints=endpoints, share=False
    )
    instrument = now.resolve("RELIANCE")
    start = datetime(2025, 7, 1, tzinfo=clock.IST)
    end = datetime(2025 + (6 + months) // 12, (6 + months) % 12 + 1, 1, tzinfo=clock.IST)

    def year(*, stored: bool) -> Any:
        return historical.candles(now, instrument, Interval.M1, start, end, stored=stored)

    began = time.perf_counter()
    filled = year(stored=True)
    first = time.perf_counter() - began
    key = [instrument.key]
    breeze_lab.sql(_QUERY, key)  # whatever is loaded once
    ours, rival, sql, frame = [], [], [], []
    for _ in range(rounds):
        seconds, kept = _timed(lambda: year(stored=True))
        ours.append(seconds)
        seconds, direct = _timed(lambda: year(stored=False))
        rival.append(seconds)
        assert kept.equals(direct)
        assert kept.attrs["calls"] == 0
        seconds, days = _timed(lambda: breeze_lab.sql(_QUERY, key))
        sql.append(seconds)
        seconds, grouped = _timed(lambda: _daily(year(stored=True)))
        frame.append(seconds)
        assert list(days.volume) == list(grouped.volume)
    print(figure("history", "stored_vs_sdk", ours, rival, "s"))
    print(figure("history", "sql_year_to_days", sql, frame, "s"))
    folder = Path(os.environ["BREEZE_LAB_HOME"]) / "data" / "history"
    size = sum(path.stat().st_size for path in folder.glob("**/*.parquet"))
    for name, value in (
        ("bars", len(filled)), ("calls", filled.attrs["calls"]), ("bytes", size),
        ("first_fetch_s", round(first, 2)),
    ):  # fmt: skip
        print(json.dumps({"benchmark": "history", "figure": name, "ours": value}))


def _daily(frame: Any) -> Any:
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return frame.groupby(frame.index.floor("D")).agg(how)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = work()
    return time.perf_counter() - began, answer


def _key(home: Path) -> Path:
    path = home / "key"
    path.touch(mode=0o600)
    path.write_text("0" * 64)
    return path


@contextlib.contextmanager
def _practice() -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "breeze_lab.practice", "--json", "--keep-sessions",
               "--no-limits", "--exchange-hours"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            record: dict[str, Any] = json.loads(process.stdout.readline())
            yield record
        finally:
            process.terminate()
