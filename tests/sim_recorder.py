"""The recorder in the simulation: the real one, in a process forked for each run.

Run as a program it is what the forks come from, with everything imported and warm. A run is
repeatable: its clock is told, it is killed after a number of executed lines of the recorder's
code rather than after a time, and its disk is full at a number of bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from breeze_lab.relay import days, wal
from breeze_lab.relay.rows import _decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from breeze_lab.relay.days import Place

__all__ = ["FAULTS", "KILLED", "Frame", "Recorders", "kept"]

#: Room, epoch, sequence, time of receipt and the broker's number of a frame.
Frame = tuple[str, int, int, int, int]
#: How a killed run ends.
KILLED = 137
#: Where lines are counted: everything that touches the disk.
COUNTED = ("relay/recorder.py", "relay/stored.py", "breeze_lab/downloads.py")
#: What can be planted.
FAULTS = ("logs removed before the recording is named", "unread recordings")


class Recorders:
    """Where recorders come from, a process that forks them."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.fault = ""
        self._parent = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def run(self, home: Path, wall: float, *, kill_at: int, room: int, grace: int) -> int:
        """Run one at `wall`, to its end or its kill; return how it ended.

        Parameters
        ----------
        kill_at
            Lines after which it is killed; 0 lets it live.
        room
            Bytes that a file may have before the disk is full; 0 for a disk that never is.
        grace
            Days that log files stay.
        """
        order = {
            "home": str(home), "wall": wall, "kill_at": kill_at, "room": room, "grace": grace,
            "fault": self.fault,
        }  # fmt: skip
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        print(json.dumps(order), file=self._parent.stdin, flush=True)
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        """End the process."""
        for pipe in (self._parent.stdin, self._parent.stdout):
            assert pipe is not None
            pipe.close()
        self._parent.wait(10)


def kept(market: str) -> Counter[Frame]:
    """Return every frame in the recordings of a market, and in the logs that are in none."""
    found: Counter[Frame] = Counter()
    for place in days.places(market):
        found.update(_of_day(place))
    return found


def _of_day(place: Place) -> Iterator[Frame]:
    from pyarrow import parquet

    from breeze_lab.relay import stored

    made = stored.facts(place) if place.ticks.exists() else None
    logs = {path.name: path for path in place.logs}
    known = {} if made is None else {one["name"]: one["bytes"] for one in made["sources"]}
    grown = any(logs[name].stat().st_size != size for name, size in known.items() if name in logs)
    if made is not None and (not grown or known.keys() - logs.keys()):
        names = [
            "feed_room",
            "feed_epoch",
            "feed_sequence",
            "feed_received_ms",
            "feed_ask_quantity",
        ]
        with parquet.ParquetFile(place.ticks) as file:
            columns = file.read(names).to_pydict()
        yield from zip(*columns.values(), strict=True)
        logs = {name: path for name, path in logs.items() if known.get(name) != path.stat().st_size}
    for path in logs.values():
        yield from in_log(path)


def in_log(path: Path) -> Iterator[Frame]:
    """Yield the frames of a log file."""
    for record in wal.read(path):
        if record.kind == wal.STOCK:
            yield frame_of(record)


def frame_of(record: wal.Record) -> Frame:
    """Return what identifies the frame of a record."""
    said = _decode(record.data)
    return said[0], record.epoch, record.sequence, record.received_ms, said[9]


# -- the process ---------------------------------------------------------------


def _plant(fault: str) -> None:
    """Put a fault into the recorder that the simulation must find."""
    from breeze_lab.relay import recorder

    if fault == FAULTS[0]:
        verify = recorder.verify

        def hasty(*arguments: Any) -> None:
            for place in days.places():
                if place.day < recorder.clock.now().date():
                    for path in place.logs:
                        path.unlink()
            verify(*arguments)

        recorder.verify = hasty
    elif fault == FAULTS[1]:
        make = recorder._make

        def forgetful(place: Any) -> dict[str, Any]:
            made = make(place)
            os.truncate(place.ticks, 100)
            return made

        recorder._make = forgetful
        recorder.check = lambda _: None
    else:
        assert not fault


def _tracer(kill_at: int) -> Any:
    left = kill_at

    def line(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left <= 0:
                os._exit(KILLED)
        return line

    def call(frame: Any, _event: str, _argument: Any) -> Any:
        return line if frame.f_code.co_filename.endswith(COUNTED) else None

    return call


def _child(order: dict[str, Any]) -> int:
    from breeze_lab import clock
    from breeze_lab.relay import recorder

    os.environ["BREEZE_LAB_HOME"] = order["home"]
    clock.now = lambda: clock.from_epoch(order["wall"])
    _plant(order["fault"])
    if order["room"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["room"], resource.RLIM_INFINITY))
    if order["kill_at"]:
        sys.settrace(_tracer(order["kill_at"]))
    return recorder.main(["--grace", str(order["grace"])])


def _warm() -> None:
    """Do all of a recorder's work once, so that no fork has to load anything."""
    import pyarrow as pa

    from breeze_lab.relay import recorder

    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BREEZE_LAB_HOME"] = folder
        import tick_log

        start = tick_log.ms("09:15")
        tick_log.write([tick_log.line(), *(tick_log.quote(n, start + n) for n in range(1, 9))])
        assert recorder.main(["--grace", "0"]) == 0


def _serve(orders: IO[str]) -> None:
    for order in orders:
        child = os.fork()
        if not child:
            status = 70
            with contextlib.suppress(BaseException):
                status = _child(json.loads(order))
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _warm()
    _serve(sys.stdin)
