"""Kill who fetches, fetch twice at once: no bar lost, doubled or paid for again.

``BREEZE_LAB_KILLS=30`` is the long form.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from history_home import files, history_home, served

from breeze_lab import clock, historical
from breeze_lab.bars import Interval
from breeze_lab.errors import HistoryWarning
from breeze_lab.historical.shelf import root

KILLS = int(os.environ.get("BREEZE_LAB_KILLS", "5"))
CHILD = Path(__file__).parent / "history_child.py"
START, END = datetime(2026, 4, 1, tzinfo=clock.IST), datetime(2026, 5, 30, tzinfo=clock.IST)
#: Long enough that no fetch is done before the last kill.
LONG_AGO = END - timedelta(days=40 + 14 * KILLS)


class Child:
    """The process that forks those who fetch."""

    def __init__(self, practice):
        here = str(CHILD.parent)
        path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), json.dumps(practice)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert self.process.stdout.readline().strip() == "ready"

    def begin(self, name, processes=1, **more):
        """Let processes fetch the range; return their ids."""
        order = {
            "name": name, "interval": "1m", "start": START.isoformat(),
            "end": END.isoformat(), "processes": processes, **more,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        """Return how they ended."""
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def logged_in(practice, tmp_path_factory):
    """A session in a home of this file's own."""
    with history_home(tmp_path_factory.mktemp("history"), practice) as now:
        yield now


@pytest.fixture(scope="module")
def child(practice, logged_in):
    """The process that forks; its market and home are those of the session."""
    one = Child(practice)
    yield one
    one.process.stdin.close()
    one.process.wait(30)
    one.process.stdout.close()


def lives(pid):
    """Say whether a process has not ended by itself."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def kill_in_the_middle(child, practice, kills, dice):
    """Kill a fetch some times after a few of its calls; return the calls that were served."""
    before = served(practice)
    for _ in range(kills):
        (pid,) = child.begin("RELIANCE", start=LONG_AGO.isoformat())
        goal = served(practice) + dice.randrange(1, 4)
        deadline = time.monotonic() + 60
        while lives(pid) and served(practice) < goal and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(dice.random() * 0.02)  # somewhere between answer, write, fsync and rename
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        child.end()
    return served(practice) - before


def test_a_killed_fetch_goes_on_where_it_stopped(child, logged_in, practice):
    """Each kill costs at most the window that was in flight; the bars are those of one fetch."""
    instrument = logged_in.resolve("RELIANCE")
    planned = len(historical.plan(instrument, Interval.M1, LONG_AGO, END))
    used = kill_in_the_middle(child, practice, KILLS, random.Random(6))
    before = served(practice)
    frame = historical.candles(logged_in, instrument, Interval.M1, LONG_AGO, END)
    used += served(practice) - before
    assert planned <= used <= planned + KILLS
    assert frame.attrs["calls"] < planned, "what was fetched before the kills is asked again"
    direct = historical.candles(logged_in, instrument, Interval.M1, LONG_AGO, END, stored=False)
    assert frame.equals(direct)
    assert all(len(paths) == 1 for paths in files("NSE-").values()), "an old writing is left behind"
    assert not list(root().glob("**/*.tmp"))


def test_the_kills_catch_a_file_that_is_written_in_place(child, logged_in, practice):
    """The planted fault: without the rename a kill leaves a torn file, and that is noticed."""
    dice = random.Random(1)
    instrument = logged_in.resolve("INFY")
    with pytest.warns(HistoryWarning, match="damaged"):  # noqa: PT031 - some kills miss the write
        for _ in range(40):
            (pid,) = child.begin("INFY", fault="written in place")
            deadline = time.monotonic() + 60
            known = set(root().glob("**/*.parquet"))
            while time.monotonic() < deadline:
                if set(root().glob("**/*.parquet")) - known:
                    break
                time.sleep(0.001)
            time.sleep(dice.random() * 0.003)
            os.kill(pid, signal.SIGKILL)
            child.end()
            frame = historical.candles(
                logged_in, instrument, Interval.M1, START, START.replace(day=2)
            )
            assert len(frame) == 375
            if list(root().glob("**/damaged/*")):
                break


def test_forks_call_over_connections_of_their_own(logged_in):
    """Answers of calls made at once in forks of one session are never mixed up."""
    names = ["RELIANCE", "INFY", "TCS", "WIPRO"]
    asked = {name: logged_in.resolve(name) for name in names}
    day = (START, START.replace(day=2))
    for share in asked.values():  # the parent's connection is warm
        historical.candles(logged_in, share, Interval.M30, *day, stored=False)

    def fork(name):
        pid = os.fork()
        if pid:
            return pid
        try:
            frames = [
                historical.candles(logged_in, asked[name], Interval.M30, *day, stored=False)
                for _ in range(10)
            ]
            right = all(frame.equals(frames[0]) for frame in frames)
            os._exit(0 if right and frames[0].attrs["instrument"] == asked[name].key else 2)
        except BaseException:  # noqa: BLE001 - the parent looks at the status
            os._exit(1)

    forks = [fork(name) for name in names]
    assert [os.waitpid(pid, 0)[1] for pid in forks] == [0] * len(names)


def test_two_processes_fetch_a_range_once(child, logged_in, practice):
    """Both get every bar, and the market serves each window to one of them."""
    planned = len(historical.plan(logged_in.resolve("TCS"), Interval.M1, START, END))
    before = served(practice)
    child.begin("TCS", processes=3)
    results = child.end()
    assert served(practice) - before == planned
    assert sum(one["calls"] for one in results) == planned
    assert len({(one["rows"], one["sum"]) for one in results}) == 1
    assert results[0]["rows"] > 12_000


def test_the_count_catches_processes_that_do_not_wait(child, logged_in, practice):
    """The planted fault: without the lock three processes ask for the same windows."""
    planned = len(historical.plan(logged_in.resolve("WIPRO"), Interval.M1, START, END))
    before = served(practice)
    child.begin("WIPRO", processes=3, fault="no lock")
    results = child.end()
    assert served(practice) - before > planned
    assert len({(one["rows"], one["sum"]) for one in results}) == 1
