"""Kill the recorder, cut its power: a day is in its log or in its recording, whole, at any moment.

``BREEZE_LAB_KILLS=300`` is the long form.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyarrow import parquet
from test_relay_log_kills import TEXT, calls
from tick_log import YESTERDAY, line, ms, quote, write

from breeze_lab.errors import RecordingError
from breeze_lab.relay import recorder, stored
from breeze_lab.relay.days import Place

KILLS = int(os.environ.get("BREEZE_LAB_KILLS", "14"))
CHILD = Path(__file__).parent / "recorder_child.py"
PLACE = Place("icici", YESTERDAY)
FAULTS = ["logs removed before the verification", "a rename without fsync", "a folder without fsync"]  # fmt: skip
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="tells what was written")


def logs(count, files=3):
    """Write a day of `count` ticks of two rooms in some files; return the files' bytes."""
    start, numbers, written = ms("09:15"), [0, 0], {}
    for number in range(files):
        records = [line(), line("4.1!1594", "NSE:INFY")]
        for i in range(number * count // files, (number + 1) * count // files):
            numbers[i % 2] += 1
            room = ("4.1!2885", "4.1!1594")[i % 2]
            records.append(quote(numbers[i % 2], start + i * 30, room=room, volume=1000 + i))
        path = write(records, number=number + 1)
        written[path] = path.read_bytes()
    return written


def judge(written, count):
    """Return what is wrong: the day must be whole in its recording or in its log."""
    if not PLACE.ticks.exists():
        gone = [p.name for p, data in written.items() if not p.exists() or p.read_bytes() != data]
        return [f"there is no recording, and {', '.join(gone)} went"] if gone else []
    try:
        made = stored.check(PLACE)
    except RecordingError as exc:
        return [str(exc)]
    table = parquet.read_table(PLACE.ticks, columns=["feed_room", "feed_sequence"])
    found = list(zip(*table.to_pydict().values(), strict=True))
    if made["ticks"] != count or len(set(found)) != count or len(found) != count:
        return [f"the recording has {len(found)} ticks, {len(set(found))} of them once"]
    return []


def finish(written, count):
    """Record what is left and return what is wrong then."""
    try:
        recorder.convert(PLACE, grace_days=0)
    except RecordingError as exc:
        return [f"afterwards: {exc}"]
    wrong = judge(written, count)
    if PLACE.logs or not PLACE.sidecar.exists():
        wrong.append("the next run did not finish the work")
    left = [p.name for p in PLACE.folder.rglob(".*.part")]
    return [*wrong, *(f"{name} was left" for name in left)]


@contextlib.contextmanager
def recorders(fault=""):
    """Give a function that starts a recorder in a home folder and returns its process id."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(CHILD), fault], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment,
    ) as parent:  # fmt: skip

        def start(home):
            print(home, file=parent.stdin, flush=True)
            return int(parent.stdout.readline())

        yield start, lambda: int(parent.stdout.readline())
        parent.stdin.close()


def campaign(folder, monkeypatch, kills, count, fault=""):
    """Kill a recorder `kills` times; return how many it met at work, and the first that was wrong."""
    chance, met, wrong = random.Random(5), 0, []
    with recorders(fault) as (start, ended):
        usual = 0.0
        for number in range(-2, kills):
            home = folder / str(number)
            monkeypatch.setenv("BREEZE_LAB_HOME", str(home))
            written = logs(count)
            began = time.monotonic()
            process = start(home)
            if number >= 0:  # those before are only timed, and the very first is slow
                time.sleep(chance.uniform(0, usual))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            status = ended()
            usual = usual if number >= 0 else time.monotonic() - began
            met += status == signal.SIGKILL
            if number >= 0:  # how busy the machine is changes
                usual *= 1.1 if status == signal.SIGKILL else 0.8
            wrong += judge(written, count)
            if not fault:
                wrong += finish(written, count)
            shutil.rmtree(home)
            if wrong:
                break
    return met, wrong


def test_a_killed_recorder_costs_nothing_but_its_work(tmp_path, monkeypatch):
    """Whenever it is killed, the day is whole, and the next run finishes it."""
    met, wrong = campaign(tmp_path, monkeypatch, KILLS, 4_000)
    print(f"{met} of {KILLS} kills met it at work")
    assert wrong == []
    assert met >= KILLS // 5


def test_logs_removed_before_the_verification_are_found_out(tmp_path, monkeypatch):
    """The planted fault: a kill between removing and renaming loses the day, and is seen."""
    assert campaign(tmp_path, monkeypatch, 40, 4_000, FAULTS[0])[1]


# -- the power is cut ---------------------------------------------------------


@dataclass
class Image:
    """A file: what is in memory of it, and what is on the disk for sure."""

    live: bytes = b""
    disk: bytes = b""


@dataclass
class Disk:
    """What a power cut may leave: names as they are now, or as of the folder's last sync."""

    now: dict[str, Image]
    synced: dict[str, Image] = field(default_factory=dict)

    def __post_init__(self):
        self.synced = dict(self.now)

    def apply(self, call, paths, data):
        """Do what a system call did."""
        path = paths[0]
        if call == "openat":
            self.now[path] = Image()
        elif call == "write" and path in self.now:
            self.now[path].live += data
        elif call in ("fsync", "fdatasync"):
            if path in self.now:
                self.now[path].disk = self.now[path].live
                self.synced[path] = self.now[path]
            else:  # a folder
                inside = {p for p in {*self.now, *self.synced} if str(Path(p).parent) == path}
                for one in inside:
                    self.synced.pop(one, None)
                    if one in self.now:
                        self.synced[one] = self.now[one]
        elif call.startswith("rename"):
            self.now[paths[1]] = self.now.pop(path)
        elif call.startswith("unlink"):
            self.now.pop(path, None)
            # The worst case: it reaches the disk at once, before what was done earlier elsewhere.
            self.synced.pop(path, None)

    def states(self, chance):
        """Yield the files that a cut may leave now."""
        for names in (self.now, self.synced):
            yield {name: image.disk for name, image in names.items()}
            torn = {}
            for name, image in names.items():
                rest = image.live[len(image.disk) :]
                torn[name] = image.disk + rest[: chance.randrange(len(rest) + 1)]
            yield torn


def traced(home, trace, fault=""):
    """Run a recorder under strace; yield its calls on files of `home`."""
    subprocess.run(
        [
            "strace", "-f", "-y", "-xx", "-s", "9999999", "-o", str(trace), "-e",
            "trace=openat,write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat",
            sys.executable, str(CHILD), fault,
        ],
        input=f"{home}\n", text=True, check=True, stdout=subprocess.DEVNULL, timeout=90,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )  # fmt: skip
    for call, arguments, result, _ in calls(trace):
        if call == "openat" and "O_CREAT" not in arguments:
            continue
        spoken = [bytes.fromhex(t.replace("\\x", "")) for t in TEXT.findall(arguments)]
        if call in ("write", "fsync", "fdatasync"):
            descriptor = arguments.partition("<")[2].partition(">")[0]
            paths = [bytes.fromhex(descriptor.replace("\\x", "")).decode(errors="replace")]
        else:
            paths = [os.fsdecode(text) for text in spoken]
        if paths and paths[0].startswith(f"{home}/") and not paths[0].endswith("lock"):
            yield call, paths, spoken[0][:result] if call == "write" else b""


def power_cuts(tmp_path, monkeypatch, fault=""):
    """Cut the power after each call of a recorder; return states, and what was wrong with them."""
    count, home, state = 400, tmp_path / "home", tmp_path / "state"
    monkeypatch.setenv("BREEZE_LAB_HOME", str(home))
    written = logs(count)
    disk = Disk({str(path): Image(data, data) for path, data in written.items()})
    monkeypatch.setenv("BREEZE_LAB_HOME", str(state))
    moved = {state / path.relative_to(home): data for path, data in written.items()}
    chance, seen, states, wrong = random.Random(11), set(), 0, []
    for call, paths, data in traced(home, tmp_path / "trace", fault):
        disk.apply(call, paths, data)
        for files in disk.states(chance):
            whole = hash(tuple(sorted(files.items())))
            if whole in seen:
                continue
            seen.add(whole)
            states += 1
            shutil.rmtree(state, ignore_errors=True)
            for path, content in files.items():
                there = state / Path(path).relative_to(home)
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(content)
            wrong += judge(moved, count)
            if not fault:
                wrong += finish(moved, count)
    return states, wrong


@needs_strace
def test_no_power_cut_loses_a_day_between_its_log_and_its_recording(tmp_path, monkeypatch):
    """Whatever of the writes and renames had reached the disk, the next run finishes the day."""
    states, wrong = power_cuts(tmp_path, monkeypatch)
    print(f"{states} states")
    assert wrong == []
    assert states > 15


@needs_strace
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_order_is_found_out_by_cutting_the_power(tmp_path, monkeypatch, fault):
    """The planted faults: each leaves a state in which the day is nowhere whole."""
    assert power_cuts(tmp_path, monkeypatch, fault)[1]
