"""Kill the log's writer, cut its power: what was acknowledged is there, once and whole.

``BREEZE_LAB_KILLS=300`` is the long form.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from waiting import SLACK

from breeze_lab import clock
from breeze_lab.relay import wal

KILLS = int(os.environ.get("BREEZE_LAB_KILLS", "8"))
LONG = "BREEZE_LAB_KILLS" in os.environ
WRITER = Path(__file__).parent / "log_writer.py"


def command(folder, first, segment=2**20, count=0, plant=""):
    return [sys.executable, str(WRITER), str(folder), str(first), str(segment), str(count), plant]


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}


def life(folder, first, chance, plant=""):
    """Let a writer write and kill it; return the last number it acknowledged, and its rate."""
    process = subprocess.Popen(
        command(folder, first, plant=plant), stdout=subprocess.PIPE, text=True, env=environment()
    )
    with process:
        process.stdout.readline()  # it writes; its start is not what is killed
        time.sleep(chance.uniform(0.03, 0.25))
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().splitlines()
    # A line may have been cut by the kill.
    number, seconds = next(
        line.split() for line in reversed(lines) if re.fullmatch(r"\d+ \d+\.\d+", line)
    )
    return int(number), (int(number) - first + 1) / float(seconds)


def kept(folder):
    """Return the numbers of all good records, in the order of the log."""
    return [
        record.sequence
        for path in wal.files(folder, clock.now().date())
        for record in wal.read(path)
        if record.kind == wal.STOCK
    ]


def campaign(folder, kills, plant=""):
    """Kill `kills` writers one after the other; return their rates and what was wrong."""
    chance, first, rates, wrong = random.Random(3), 1, [], []
    for _ in range(kills):
        acknowledged, rate = life(folder, first, chance, plant)
        rates.append(rate)
        there = wal.files(folder, clock.now().date())
        if not there:
            wrong.append(f"{acknowledged} was acknowledged and there is no log")
            continue
        newest = there[-1]
        found = [r.sequence for r in wal.read(newest) if r.kind == wal.STOCK]
        last = found[-1] if found else max(kept(folder), default=0)
        if last < acknowledged:
            wrong.append(f"{acknowledged} was acknowledged and {last} is the last in the log")
        # Half a record at the end, as the end of a write would leave it.
        half = wal.encode((wal.STOCK, 1, last + 1, 0, b"torn" * 30))
        if newest.stat().st_size:  # killed between its creation and its head it is empty
            with newest.open("ab") as file:
                file.write(half[: chance.randrange(1, len(half))])
        first = max(last, acknowledged) + 1
    found = kept(folder)
    if found != list(range(1, first)):
        wrong.append(f"{len(found)} of {first - 1} records can be read")
    return rates, wrong


@pytest.mark.timeout(240 + 2 * KILLS)
def test_what_was_acknowledged_is_there_once_and_whole(tmp_path):
    """However often the writer is killed at more than 10,000 records a second, none is missing."""
    rates, wrong = campaign(tmp_path / "log", KILLS)
    total = len(kept(tmp_path / "log"))
    median = sorted(rates)[len(rates) // 2]
    print(f"{KILLS} kills, {total} records, {median:,.0f} a second")
    assert wrong == []
    assert median >= (10_000 if LONG else 10_000 / SLACK)


@pytest.mark.parametrize("plant", ["early", "behind a tear"])
def test_a_planted_fault_of_the_writer_is_seen(tmp_path, plant):
    """Acknowledging before the write, or going on behind a tear, is found out."""
    _, wrong = campaign(tmp_path / "log", 3, plant)
    assert wrong


LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*?)( <unfinished \.\.\.>)?$")
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def calls(trace):
    """Yield the finished system calls: name, arguments, result, and the place of its begin."""
    begun = {}
    for place, line in enumerate(trace.read_text().splitlines()):
        process, resumed, text, unfinished = LINE.match(line).groups()
        if unfinished:
            begun[process] = place, text
            continue
        began, head = begun.pop(process) if resumed else (place, "")
        match = CALL.match(head + text)
        if match is not None and not match[3].startswith("-"):
            yield match[1], match[2], int(match[3]), began


def operations(trace, folder):
    """Yield what was done to the files of `folder`, in the order in which it was done.

    A sync that took its time makes durable what was written before it began.
    """
    opened, sizes = {}, defaultdict(list)
    for call, arguments, result, began in calls(trace):
        texts = [bytes.fromhex(t.replace("\\x", "")) for t in TEXT.findall(arguments)]
        number = int(arguments.partition(",")[0]) if call != "openat" else -1
        if call == "openat":
            path = os.fsdecode(texts[0])
            opened.pop(result, None)
            if path.startswith(f"{folder}/") and path.endswith(".log"):
                opened[result] = path
                yield "create", path, b""
        elif call == "close":
            opened.pop(number, None)
        elif number not in opened:
            continue
        elif call == "dup":
            opened[result] = opened[number]
        elif call == "write":
            data = texts[0][:result]
            sizes[opened[number]].append((began, len(data)))
            yield "write", opened[number], data
        elif call == "fdatasync":
            size = sum(length for at, length in sizes[opened[number]] if at < began)
            yield "sync", opened[number], size


def judge_state(folder, state, durable):
    """Lay a state out as files and read it; return what is wrong with it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, data in state.items():
        (folder / Path(path).name).write_bytes(data)
    wrong = []
    for path in sorted(folder.iterdir()):
        try:
            records = list(wal.read(path))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the file cannot be read
            return [f"unreadable: {exc!r}"]
        found = [r.sequence for r in records if r.kind == wal.STOCK]
        if found != list(range(found[0], found[0] + len(found))) if found else False:
            wrong.append(f"{path.name} holds {found[:5]}… out of order")
    missing = durable - set(kept(folder))
    if missing:
        wrong.append(f"{len(missing)} synced records are gone")
    return wrong


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which tells what was written")
def test_no_state_a_power_cut_leaves_is_unreadable(tmp_path):
    """Replay every write and sync: what was not synced is dropped, torn or zeroed, the rest reads."""
    folder, trace = tmp_path / "log", tmp_path / "trace"
    subprocess.run(
        [
            "strace", "-f", "-xx", "-s", "9999999", "-o", str(trace), "-e",
            "trace=openat,close,write,fsync,fdatasync,dup,ftruncate,rename",
            *command(folder, 1, segment=20_000, count=1_200),
        ],
        check=True, env=environment(), stdout=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert kept(folder) == list(range(1, 1_201))
    chance, states, wrong = random.Random(7), 0, []
    live, disk, done = defaultdict(bytes), {}, defaultdict(int)
    synced = set()
    for call, path, data in operations(trace, folder):
        done[call] += 1
        if call == "create":
            disk[path] = b""
        elif call == "write":
            live[path] += data
        else:
            disk[path] = max(disk[path], live[path][:data], key=len)
            (tmp_path / "one.log").write_bytes(disk[path])
            synced |= {r.sequence for r in wal.read(tmp_path / "one.log") if r.kind == wal.STOCK}
        for kind in ("dropped", "torn", "zeroed"):
            state = {}
            for name, durable in disk.items():
                rest = live[name][len(durable) :]
                some = chance.randrange(len(rest) + 1)
                more = {"dropped": b"", "torn": rest[:some], "zeroed": bytes(some)}[kind]
                state[name] = durable + more
            states += 1
            wrong += judge_state(tmp_path / "state", state, synced)
    print(f"{states} states of {dict(done)}")
    assert wrong == []
    assert done["create"] >= 4
    assert done["sync"] >= 8
    assert states > 200
