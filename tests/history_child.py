"""Fetch history in processes that can be killed.

``history_child.py PRACTICE_RECORD`` logs in, then reads lines of JSON: which
range, and how many processes fetch it at once. It forks them, says their
process ids and then how each ended. Everything is imported before, so that a
kill meets the work and not Python's start.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import datetime

import pandas as pd
import pyarrow.parquet

from breeze_lab import historical, session, settings
from breeze_lab.bars import Interval
from breeze_lab.historical import shelf, stored

assert pd
assert pyarrow.parquet


def plant(fault: str) -> None:
    """Put a fault into the store that the tests must find."""
    if fault == "written in place":

        def hasty(folder, name, part, said):
            data = stored._encoded(part, said)
            path = folder / f"{name}.{stored._digest(data)}.parquet"
            with path.open("wb") as file:
                for at in range(0, len(data), 512):
                    file.write(data[at : at + 512])
                    file.flush()
                    os.fsync(file.fileno())
            return path

        stored.write = hasty
    elif fault == "no lock":
        shelf.Shelf.fetching = lambda _shelf: contextlib.nullcontext()


def fetch(ask: dict, now: session.Session) -> dict:
    frame = historical.candles(
        now, now.resolve(ask["name"]), Interval.parse(ask["interval"]),
        datetime.fromisoformat(ask["start"]), datetime.fromisoformat(ask["end"]),
    )  # fmt: skip
    return {"rows": len(frame), "calls": frame.attrs["calls"], "sum": float(frame.close.sum())}


def main() -> None:
    record = json.loads(sys.argv[1])
    endpoints = settings.Endpoints.from_dict(record, name="practice")
    now = session.login(
        record["app_key"], record["secret"], record["api_session"], endpoints=endpoints, share=False
    )
    assert now.master
    print("ready", flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        pipes = []
        for _ in range(ask["processes"]):
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                plant(ask.get("fault", ""))
                os.write(writing, json.dumps(fetch(ask, now)).encode())
                os._exit(0)
            os.close(writing)
            pipes.append((pid, reading))
        print(json.dumps([pid for pid, _ in pipes]), flush=True)
        results = []
        for pid, reading in pipes:
            with os.fdopen(reading) as file:
                text = file.read()
            _, status = os.waitpid(pid, 0)
            results.append(json.loads(text) if text else {"status": status})
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
