"""Kill the relay again and again under load: nothing is lost without a word, nothing comes twice.

``BREEZE_LAB_KILLS=200`` is the long form.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from numbered_market import NumberedMarket
from relay_home import Client, relay_home
from stream_server import TOKEN
from test_server_extension import CONFIG, Server
from waiting import until, within

from breeze_lab import clock, processes
from breeze_lab.relay import wal

KILLS = int(os.environ.get("BREEZE_LAB_KILLS", "6"))
LONG = "BREEZE_LAB_KILLS" in os.environ
RATE = 5_000 if LONG else 2_000
ROOMS = [f"4.1!{number}" for number in range(100, 108)]
KEYS = {f"NSE:N{number}": room for number, room in enumerate(ROOMS)}
#: What each listener wants; the last room is wanted by the last kernel alone.
KERNELS = [[0, 1, 2, 3], [2, 3, 4, 5], [0, 4, 6], [1, 5, 6], [0, 2, 4, 6], [3, 5, 7]]
BROWSERS = [[0, 1, 2], [3, 4]]
HERE = Path(__file__).parent


@dataclass
class Listener:
    """One listener's process and the file of what it was told."""

    name: str
    path: Path
    process: subprocess.Popen
    shares: dict[str, str] = field(default_factory=dict)

    def rows(self):
        for line in self.path.read_text().splitlines():
            if line.endswith("]"):  # one that was killed leaves half a line
                yield json.loads(line)


def start(folder, name, kind, wanted, *given):
    shares = {f"NSE:N{number}": ROOMS[number] for number in wanted}
    path = folder / f"{name}.jsonl"
    process = subprocess.Popen(
        [
            sys.executable, str(HERE / "kill_listener.py"), kind, str(path), *given,
            *(f"{key}={room}" for key, room in shares.items()),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )  # fmt: skip
    return Listener(name, path, process, shares)


def login(home, market):
    """Log the relay in; a practice login is remembered for its next lives."""
    with Client(home) as client:
        client.login(
            {"endpoints": market.endpoints, "user": "XY1", "token": TOKEN, "account": "test",
             "until": "2099-01-01T00:00:00+05:30"}
        )  # fmt: skip


@dataclass
class Campaign:
    """What one campaign left behind."""

    listeners: list[Listener]
    listens: list[float]
    counts: list[dict]
    joined: list[list[str]]
    gaps: dict[str, list[tuple[int, int]]]
    status: dict


def campaign(home, folder, kills, *, kernels=KERNELS, browsers=BROWSERS, rate=RATE, bridge=True):
    """Kill the relay `kills` times at random moments; return what was seen.

    Without `bridge` the browsers speak to the door and not through a Jupyter server.
    """
    chance = random.Random(1)
    market = NumberedMarket(rate, ROOMS)
    jupyter = Server(folder, CONFIG, lab=home.runtime.parent) if bridge else None
    door = (str(home.socket("relay")), "") if jupyter is None else (jupyter.url, jupyter.cookie)
    listeners, listens, counts, joined = [], [], [], []
    try:
        login(home, market)
        listeners += [start(folder, f"kernel{n}", "kernel", w) for n, w in enumerate(kernels)]
        listeners += [
            start(folder, f"browser{n}", "browser", w, *door) for n, w in enumerate(browsers)
        ]
        for listener in listeners:
            assert listener.process.stdout.readline() == "ready\n"
        for kill in range(kills):
            time.sleep(chance.uniform(0.3, 1.2))
            if kill == kills // 2 and len(kernels) > 1:  # one of them dies for ever
                listeners[len(kernels) - 1].process.kill()
            pid = processes.running(home.runtime, "relay")["pid"]
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: another(home, pid), "the next life", 30)
            listens.append(time.time())
            union = wanted(listeners)
            until(lambda union=union: set(market.counts()["rooms"]) == union, "all rooms")
            counts.append(market.counts())
            joined.append(counts[-1]["rooms"])
        time.sleep(1.0)
        with Client(home) as client:
            status = client.ask("status")
    finally:
        for listener in listeners:
            listener.process.stdin.close()
            listener.process.stdout.close()
            listener.process.wait(30)
        market.close()
        if jupyter is not None:
            jupyter.process.terminate()
            jupyter.process.wait(30)
    return Campaign(listeners, listens, counts, joined, gaps(home), status)


def another(home, pid):
    record = processes.running(home.runtime, "relay")
    return record is not None and record["pid"] != pid


def wanted(listeners):
    return {room for one in listeners if one.process.poll() is None for room in one.shares.values()}


def gaps(home):
    """Return the gaps that the log reports, by key."""
    found = defaultdict(list)
    folder = home.data / "ticks" / "log" / "practice"
    for path in wal.files(folder, clock.now().date()):
        for record in wal.read(path):
            if record.kind == wal.NOTE:
                note = json.loads(record.data)
                if note["what"] == "gap":
                    found[note["key"]].append((note["from_ms"], note["to_ms"]))
    return found


class Judge:
    """Follow what each listener was told; `wrong` says what should not have been."""

    def __init__(self, seen: Campaign) -> None:
        self.wrong: list[str] = []
        self._gaps = seen.gaps
        self._meaning: dict[tuple[str, int], int] = {}
        for listener in seen.listeners:
            self._follow(listener)
        if seen.status["wal"]["errors"]:
            self.wrong.append(f"the log failed: {seen.status['wal']}")

    def _follow(self, listener):
        last, told = {}, defaultdict(list)
        rows = list(listener.rows())
        for kind, key, *rest in rows:
            if kind == "gap":
                told[key].append((rest[0], rest[1]))
        for key, found in told.items():
            if not set(found) <= set(self._gaps[key]):
                self.wrong.append(f"{listener.name} {key} was told gaps the log does not know")
        for kind, key, *rest in rows:
            if kind == "lost":
                self.wrong.append(f"{listener.name} {key} lost: {rest[:2]} although there is a log")
            elif kind == "tick":
                sequence, number, received_ms = rest[:3]
                self._compare(
                    f"{listener.name} {key}",
                    last.get(key),
                    (sequence, number, received_ms),
                    told[key],
                )
                if self._meaning.setdefault((key, sequence), number) != number:
                    known = self._meaning[key, sequence]
                    self.wrong.append(
                        f"{listener.name} {key} meaning: {sequence} is {number} and {known}"
                    )
                last[key] = sequence, number, received_ms
        silent = listener.shares.keys() - last
        self.wrong += [f"{listener.name} {key} silent" for key in silent]

    def _compare(self, name, before, now, gaps):
        if before is None:
            return
        if now[0] != before[0] + 1:
            self.wrong.append(f"{name} sequence: {now[0]} after {before[0]}")
        if now[1] <= before[1]:
            self.wrong.append(f"{name} twice: the market's {now[1]} after {before[1]}")
        if now[1] > before[1] + 1 and not any(
            before[2] <= begin <= end <= now[2] for begin, end in gaps
        ):
            self.wrong.append(f"{name} missing: {before} to {now} without a gap in {gaps}")


def returns(seen: Campaign) -> tuple[list[float], int]:
    """Return how long after each next life listened each listener heard its ticks, and all ticks.

    Each life makes one connection, so that the epoch of a tick names the life it came in.
    """
    waits, count = [], 0
    for listener in seen.listeners:
        firsts, end = {}, 0.0
        for row in listener.rows():
            if row[0] == "tick":
                count, end = count + 1, row[-1]
                firsts.setdefault(row[5], end)
        for epoch, listened in enumerate(seen.listens, 2):
            if listened < end:  # it was not killed itself by then
                heard = min(moment for later, moment in firsts.items() if later >= epoch)
                waits.append(max(0.0, heard - listened))
    return sorted(waits), count


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, sys.path)))
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders


@pytest.mark.timeout(240 + 8 * KILLS)
def test_no_tick_is_lost_or_doubled_however_often_the_relay_is_killed(home, tmp_path):
    """Every number of the market comes once, or lies in a reported gap; all are soon back."""
    seen = campaign(home, tmp_path, KILLS)
    wrong = Judge(seen).wrong
    waits, ticks = returns(seen)
    p99 = waits[int(len(waits) * 0.99)]
    print(
        f"{KILLS} kills, {len(waits)} returns, p50 {waits[len(waits) // 2]:.2f} s, "
        f"p99 {p99:.2f} s, worst {waits[-1]:.2f} s; {ticks} ticks to {len(seen.listeners)} "
        f"listeners, {seen.counts[-1]}; log {seen.status['wal']}"
    )
    assert wrong[:20] == []
    assert p99 <= within(2.0, strict=LONG)
    assert {counts["most"] for counts in seen.counts} == {1}, "one connection at a time"
    assert seen.counts[-1]["connections"] == KILLS + 1
    everything = sorted(ROOMS)
    half = KILLS // 2
    assert seen.joined == [everything] * half + [everything[:-1]] * (KILLS - half)


PLANTS = {
    "acknowledged before it is written": """
from breeze_lab.relay import journal
real = journal.Journal.commit
journal.Journal.commit = lambda self: None
journal.Journal._overdue = lambda self: (setattr(self, "_timer", None), real(self))
journal._GROUP_S = 0.4
""",
    "the last tick repeated": """
from breeze_lab.relay import journal
real = journal.Journal.again
journal.Journal.again = lambda self, wishes, *rest: real(
    self, [(key, room, after - 1) for key, room, after in wishes], *rest
)
""",
}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.timeout(240)
def test_a_planted_fault_is_seen(home, tmp_path, monkeypatch, plant):
    """A relay that acknowledges too early, or tells the last tick again, is found out."""
    folder = tmp_path / "plant"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import sys\nif 'breeze_lab.relay' in sys.orig_argv:\n    exec({PLANTS[plant]!r})\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *map(str, sys.path)]))
    monkeypatch.syspath_prepend(str(folder))
    seen = campaign(home, tmp_path, 2, kernels=[[0]], browsers=[[1]], rate=1_000, bridge=False)
    wrong = Judge(seen).wrong
    assert wrong
    kinds = Counter(line.split()[2].rstrip(":") for line in wrong)
    print(plant, kinds, wrong[:3])
