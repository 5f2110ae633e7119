"""Processes of the burst campaign: a market that logs what arrives, and a caller that may die.

``python meter_burst.py market LOG OPTIONS...`` is the practice market, whose
budget notes each call it sees. ``python meter_burst.py caller FOLDER NUMBER``
calls it as fast as the meter lets it, and kills itself where a file says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import struct
import sys
import time
from pathlib import Path

#: Where a caller can be told to die, by what the book is about to do, or between two of its acts.
POINTS = {
    "begin": "BEGIN IMMEDIATE",
    "entry": r"INSERT INTO calls",
    "commit": "COMMIT",
    "end": r"UPDATE calls SET ended = \S+ WHERE id",
    "granted": None,  # counted, not sent
    "sent": None,  # sent, not answered
}
DUE = "{}.die"


def market(log: str, options: list[str]) -> int:
    """Run the practice market; write a line for each call: seconds since boot, Unix time, refused."""
    from breeze_lab.limits.moments import boot_seconds
    from breeze_lab.practice import server
    from breeze_lab.practice.wire.budget import Budget

    judge = Budget.refusal
    out = Path(log).open("a", buffering=1)  # noqa: SIM115 - open as long as the process

    def refusal(self, method, name):
        refused = judge(self, method, name)
        out.write(json.dumps([boot_seconds(), time.time(), refused and refused["Error"]]) + "\n")
        return refused

    Budget.refusal = refusal
    return server.main(options)


def due(folder: Path, point: str, last_act=lambda: None) -> None:
    """Die here when it is due, after a last act; of many who could, one does."""
    with contextlib.suppress(FileNotFoundError):
        (folder / DUE.format(point)).unlink()
        with (folder / "kills").open("a") as kills:
            kills.write(f"{point} {os.getpid()}\n")
        with contextlib.suppress(Exception):
            last_act()
        os.kill(os.getpid(), signal.SIGKILL)


def watch(folder: Path) -> None:
    """Look at each statement of the book before it is carried out."""
    connect = sqlite3.connect

    def watched(*args, **options):
        file = connect(*args, **options)

        def look(statement):
            for point, pattern in POINTS.items():
                if pattern and re.match(pattern, statement):
                    due(folder, point)

        file.set_trace_callback(look)
        return file

    sqlite3.connect = watched


def plant(fault: str) -> None:
    """Break the meter on purpose; the campaign must see it."""
    if fault:
        {"start": from_the_start, "lock": no_lock, "dead": no_dead, "wall": by_the_wall}[fault]()


def from_the_start() -> None:
    """Free a slot a minute after its start."""
    from breeze_lab.limits import page

    def end(self, number, started, *, answered):
        self._file.execute(
            "UPDATE calls SET ended = started WHERE id = ? AND started = ?", (number, started)
        )

    page.Page.end = end


def no_lock() -> None:
    """Look before anybody has written: each statement is a transaction of its own."""
    connect = sqlite3.connect

    class Unlocked(sqlite3.Connection):
        def execute(self, statement, *args):
            if statement in ("BEGIN IMMEDIATE", "COMMIT"):
                statement = "SELECT 1"
            return super().execute(statement, *args)

    sqlite3.connect = lambda *args, **options: connect(*args, factory=Unlocked, **options)


def no_dead() -> None:
    """Do not count the calls of those who died in one."""
    from breeze_lab.limits import page

    settle, lives = page.Page.settle, page.moments.lives

    def forgotten(self):
        open_ = self._file.execute("SELECT id, life FROM calls WHERE ended IS NULL").fetchall()
        for number, text in open_:
            if not lives(page.moments.Life.of(text)):
                self._file.execute("DELETE FROM calls WHERE id = ?", (number,))
        settle(self)

    page.Page.settle = forgotten


def by_the_wall() -> None:
    """Take the day from the wall clock."""
    from breeze_lab.limits import page

    page.Page.shifts = lambda self, _boot=None: [self.wall - self.now]


def client_of(folder: Path, world: dict):
    """Return a client that goes on with the session of the campaign, its meter on a turned clock."""
    from breeze_lab import _sdk
    from breeze_lab.limits import CallMeter
    from breeze_lab.settings import Endpoints

    file = (folder / "shift").open("rb")

    def wall() -> float:
        file.seek(0)
        return time.time() + struct.unpack("d", file.read(8))[0]

    record = world["record"]
    client = _sdk.Client(
        Endpoints.from_dict(record, name="practice"), folder / "master.zip",
        app_key=record["app_key"], secret=record["secret"],
        meter=CallMeter(folder / "calls.db", limit_today=world["day"], wall=wall),
    )  # fmt: skip
    client.resume(_sdk.Identity(**world["identity"]))
    http = client._sdk.requests
    answer, tell = http._answer, http._tell_time

    def answered(verb, url, options):
        due(folder, "granted")
        # Sent, and gone before the answer.
        due(folder, "sent", lambda: answer(verb, url, {**options, "timeout": 0.05}))
        return answer(verb, url, options)

    def told(response, sent, received):
        if (folder / "told").exists():  # until then nobody knows the broker's clock
            tell(response, sent, received)

    http._answer, http._tell_time = answered, told
    return client


def caller(folder: Path, number: int) -> None:
    """Call until the folder says that it is over."""
    from breeze_lab import errors

    world = json.loads((folder / "world.json").read_text())
    plant(world["planted"])
    watch(folder)
    client = client_of(folder, world)
    priority = ("live", "live", "interactive", "interactive", "backfill")[number % 5]
    (folder / f"ready-{number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    while not (folder / "over").exists():
        try:
            client.call(
                "get_customer_details", priority=priority,
                api_session=world["record"]["api_session"],
            )  # fmt: skip
        except errors.RateLimited as exc:
            if exc.until is None:  # the broker's own words
                with (folder / "refusals").open("a") as file:
                    file.write(f"{exc}\n")
            time.sleep(0.3)


if __name__ == "__main__":
    if sys.argv[1] == "market":
        sys.exit(market(sys.argv[2], sys.argv[3:]))
    caller(Path(sys.argv[2]), int(sys.argv[3]))
