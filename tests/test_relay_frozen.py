"""One consumer that does not read costs the others nothing, and learns exactly what it missed.

The plain run is gentle and short. ``BREEZE_LAB_FROZEN=60`` freezes one of twenty consumers for so
many seconds at 5,000 ticks a second and also compares the others' latency, which wants a machine
that does nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

from flood_server import Flood
from relay_home import Client, relay_home, stream_login
from waiting import until

SECONDS = int(os.environ.get("BREEZE_LAB_FROZEN", "6"))
LONG = "BREEZE_LAB_FROZEN" in os.environ
RATE, OTHERS = 5000, 19 if LONG else 2
ROOMS = [f"4.1!{number}" for number in range(1, 11)]
#: Before the freeze and after it.
AROUND_S = max(SECONDS // 2, 5)
MEMORY_MB, LATENCY = 32, 1.10


class Readers:
    """Some consumers in a process that can be stopped."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, str(Path(__file__).parent / "flood_readers.py"), str(count)]
        paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        self.process = subprocess.Popen(
            [*command, ",".join(ROOMS)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        self.lines: list[dict] = []
        self.reading = threading.Thread(target=self._read)
        self.reading.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(30)
        self.reading.join(30)
        self.process.stdout.close()


def megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)


def lost(keeper):
    """Return how many ticks the relay says its consumers lost."""
    return sum(client["lost"] for client in keeper.ask("status")["clients"])


def test_frozen_consumer_costs_nothing_and_wakes_to_the_present(tmp_path, monkeypatch):
    """Memory bounded, the others whole; the sleeper's ticks and losses add up to all there were."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(relay_home(tmp_path, monkeypatch))
        flood = Flood(RATE)
        stack.callback(flood.close)
        keeper = stack.enter_context(Client(home, text=False))
        keeper.login(stream_login(flood))
        others = stack.enter_context(Readers(OTHERS))
        sleeper = stack.enter_context(Readers(1))
        until(lambda: others.lines and sleeper.lines, "the first second")
        time.sleep(AROUND_S)
        pid = keeper.welcome["pid"]
        before, memory = len(others.lines), megabytes(pid)
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        most = memory
        asleep = time.monotonic()
        while time.monotonic() - asleep < SECONDS or not lost(keeper):
            assert time.monotonic() - asleep < SECONDS + 60, "the sleeper never loses a tick"
            time.sleep(0.5)
            most = max(most, megabytes(pid))
        during = others.lines[before + 1 :]
        woken = len(sleeper.lines)
        os.kill(sleeper.process.pid, signal.SIGCONT)

        def awake():
            """Whether it is at the newest tick, and relay and sleeper count the same losses."""
            said, told = lost(keeper), sleeper.lines[-1]
            behind = max(others.lines[-1]["newest"]) - told["newest"][0]
            woke = len(sleeper.lines) > woken and behind < RATE * 2
            return woke and said == told["lost"] and told

        last = until(awake, "the present")
        calm, frozen = (
            median(line["p99_ms"] for line in lines if line["p99_ms"] is not None)
            for lines in (others.lines[2:before], during)
        )
        print(
            f"others' p99 {calm:.2f} ms before, {frozen:.2f} ms during; relay {memory:.1f} MiB "
            f"before, {most:.1f} at most; the sleeper lost {last['lost']:,} ticks"
        )
        assert others.lines[-1]["wrong"] == last["wrong"] == []
        assert others.lines[-1]["lost"] == 0
        # It sleeps through far more than may wait for it, and wakes to the newest tick.
        assert last["lost"] > 0
        assert most - memory <= MEMORY_MB
        if LONG:
            assert frozen <= calm * LATENCY
