"""A practice week at speed, catch-up after downtime, and kills of everything: one end per due time."""

from __future__ import annotations

import os
import random
import time
from datetime import datetime
from pathlib import Path

import pytest
from jobs_home import book, end_service, ended, judge, kill, notebook, outputs, service_pid
from waiting import until

import breeze_lab
from breeze_lab import clock, processes, session, settings
from breeze_lab.jobs import face, markets, marks
from breeze_lab.jobs.book import folder
from breeze_lab.jobs.service import Service
from breeze_lab.practice import control

pytestmark = pytest.mark.timeout(1500)

#: The long form of the campaigns: ``BREEZE_LAB_JOBS_LONG=1``.
LONG = bool(os.environ.get("BREEZE_LAB_JOBS_LONG"))
KILLS = 50 if LONG else 3


def ist(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=clock.IST)


def due_times(name: str) -> dict[str, str]:
    """Return the state of each due time of a job, in order."""
    with book() as file:
        runs = file.runs(file.definition(name).id)
    known = sorted((run.due_ms, run.state) for run in runs if run.cause == "schedule")
    return {f"{clock.from_epoch(due / 1000):%a %H:%M}": state for due, state in known}


# -- decisions, by sweeps alone ---------------------------------------------


class Held(Service):
    """The service, which starts no process here."""

    def _spawn(self, one, run):
        pass

    def _lives(self, _run):
        return True


@pytest.fixture
def swept(home, tmp_path, monkeypatch):
    """A service whose market's clock the test sets, and a way to schedule for it."""
    now = [markets.Reading(ist("2026-11-20 18:00"))]
    monkeypatch.setattr(markets, "read", lambda _market: now[0])
    notebook(tmp_path / "n.ipynb", "1")
    with book() as file:
        service = Held(file, folder() / "book.sqlite")

        def to(moment: str) -> None:
            now[0] = markets.Reading(ist(moment))
            service.sweep()

        def define(phrase, **options):
            options.setdefault("session", "none")
            return face.define(tmp_path / "n.ipynb", phrase, {}, **options)

        yield file, to, define
        for run in file.open_runs():
            file.end(run, "cancelled", "")


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        ("all", ["running", "due", "due", "due"]),
        ("latest", ["missed", "missed", "missed", "running"]),
        ("none", ["missed", "missed", "missed", "missed"]),
    ],
)
def test_after_a_week_off_each_due_time_is_accounted_for(swept, policy, ends):
    """Caught up, replaced or missed as its job says, and late; the holiday is none of them."""
    file, to, define = swept
    one = define("after F&O close on trading days", catch_up=policy)
    to("2026-11-28 12:00")
    runs = sorted(file.runs(one.id), key=lambda run: run.due_ms)
    assert [run.state for run in runs] == ends
    assert all(run.late for run in runs)
    assert [f"{clock.from_epoch(run.due_ms / 1000):%a}" for run in runs] == [
        "Mon", "Wed", "Thu", "Fri",
    ]  # fmt: skip
    to("2026-11-28 12:01")
    assert len(file.runs(one.id)) == 4


def test_a_run_on_time_is_not_late_and_a_newer_due_time_replaces_one_that_waits(swept):
    """Of due times that pile up behind a long run only the newest is left."""
    file, to, define = swept
    one = define("every 15m while the market is open")
    to("2026-11-23 09:15:10")
    for moment in ("09:30:10", "09:45:10", "10:00:10"):
        to(f"2026-11-23 {moment}")
    to("2026-11-23 10:00:20")
    runs = sorted(file.runs(one.id), key=lambda run: run.due_ms)
    assert [run.state for run in runs] == ["running", "skipped", "skipped", "due"]
    assert not any(run.late for run in runs)
    assert "10:00 came before it could begin" in runs[2].message


def test_a_run_without_a_session_waits_and_says_so(swept):
    """Waiting is no failure, and a clock that goes back makes nothing due twice."""
    file, to, define = swept
    one = define("after F&O close on trading days", session="shared")
    to("2026-11-23 15:40:05")
    to("2026-11-23 09:00")
    to("2026-11-23 15:40:30")
    (run,) = file.runs(one.id)
    assert run.state == "waiting"
    assert run.message == "Waiting for a login to ICICI Direct: nobody is logged in."


def test_a_market_that_tells_no_time_makes_nothing_due(swept, monkeypatch):
    """The wall's time is not taken for a practice market's that does not answer."""
    file, _, define = swept
    one = define("after F&O close on trading days")
    monkeypatch.setattr(markets, "read", lambda _market: None)
    Held(file, folder() / "book.sqlite").sweep()
    assert file.runs(one.id) == []


# -- for real ---------------------------------------------------------------


@pytest.fixture
def driven(home, monkeypatch):
    """A practice market that begins on a Friday evening and runs 60 times as fast."""
    monkeypatch.setenv("BREEZE_LAB_JOBS_AT_ONCE", "3")
    session.start_practice()
    market = control.connect()
    market.jump("2026-11-20T18:00")
    market.speed(60)
    yield market
    session.logout()
    end_service()
    processes.stop(settings.folders().runtime, "practice")


def test_a_practice_week_at_speed_with_a_holiday_an_expiry_and_a_missing_session(driven, tmp_path):
    """The right runs at the right market times; who has no session waits for the login."""
    quick = notebook(tmp_path / "quick.ipynb", "print(due)", parameters="due = ''")
    priced = notebook(
        tmp_path / "priced.ipynb",
        "from breeze_lab import session\nprint(bool(session.current().call('get_funds')), due)",
        parameters="due = ''", kernel="breeze-lab",
    )  # fmt: skip
    missing = "26" if LONG else "25"
    session.login_practice()
    breeze_lab.schedule(quick, "15:00 on expiry days", name="expiry", session="none")
    if LONG:
        breeze_lab.schedule(quick, "09:00 on trading days", name="morning", session="none")
        breeze_lab.schedule(priced, "after F&O close on trading days", catch_up="all")
    hours = (("08:59", "morning"), ("14:59", "expiry"), ("15:39", "priced"))[not LONG :]
    for day in ("23", "24", "25", "26", "27")[: 5 if LONG else 3]:
        for hour, name in hours[: None if LONG or day != "23" else 1]:
            driven.jump(f"2026-11-{day}T{hour}:50")
            if hour == hours[0][0] and day != missing:
                session.login_practice()
            if day == "24" or (name == "expiry" and day != "23"):
                continue  # nothing is due; the next look would find what should not be
            until(lambda n=name, d=day: ist_day(d) in due_days(n), "the due time", 60)
        until(lambda: not running(), "the runs of this day", 120)
        if day == "23" and not LONG:
            driven.jump("2026-11-23T16:00")
            breeze_lab.schedule(priced, "after F&O close on trading days", catch_up="all")
        if day == missing:
            with book() as file:
                (waits,) = file.open_runs()
            assert waits.state == "waiting"
            assert waits.message.startswith("Waiting for a login")
            assert clock.from_epoch(waits.due_ms / 1000) == ist(f"2026-11-{missing} 15:40")
            driven.jump(f"2026-11-{missing}T17:00")  # however soon the login comes, it is late
    session.login_practice()
    late = ended(waits.id)
    assert (late.state, late.late) == ("done", True)
    assert outputs(late) == f"True 2026-11-{missing}T15:40:00+05:30\n"
    until(lambda: not running(), "the last runs", 120)
    assert due_times("expiry") == {"Mon 15:00": "done"}
    traded = ["Mon", "Wed", "Thu", "Fri"] if LONG else ["Wed"]
    assert due_times("priced") == {f"{day} 15:40": "done" for day in traded}
    if LONG:
        assert due_times("morning") == {f"{day} 09:00": "done" for day in traded}
    assert judge(tmp_path) == []


def ist_day(day: str) -> str:
    return f"{ist(f'2026-11-{day} 00:00'):%a}"


def due_days(name: str) -> set[str]:
    return {due[:3] for due in due_times(name)}


def running() -> bool:
    with book() as file:
        return any(run.state in ("running", "due") for run in file.open_runs())


def test_kills_of_service_and_workers_leave_one_end_per_due_time(home, tmp_path, monkeypatch):
    """SIGKILL, again and again, of either: no due time twice, none open, no partial file."""
    monkeypatch.setenv("BREEZE_LAB_JOBS_AT_ONCE", "2")
    seed = int(os.environ.get("BREEZE_LAB_JOBS_SEED") or time.time_ns() % 10_000)
    dice = random.Random(seed)
    path = notebook(
        tmp_path / "work.ipynb", "import time", "time.sleep(0.3)", "print('x' * 10_000)", "print(due)",
        parameters="due = ''",
    )  # fmt: skip
    for number in range(2):
        breeze_lab.schedule(
            path, "cron * * * * *", name=f"work {number}", session="none", catch_up="all"
        )
    with book() as file:
        for one in file.definitions():  # as if the machine had been off for some minutes
            with file.turn() as rows:
                back = 60_000 * (8 if LONG else 2)
                rows.execute(
                    "UPDATE definitions SET covered_ms = covered_ms - ? WHERE id = ?",
                    (back, one.id),
                )
        begins = marks.mark(folder() / "book.sqlite", 0).partition(".")[0]
        killed = {"service": 0, "worker": 0}
        try:
            while sum(killed.values()) < KILLS:
                time.sleep(dice.uniform(0.1, 2.0 if LONG else 1.5))
                workers = [run.pid for run in file.open_runs() if run.pid]
                if workers and dice.random() < 0.5:
                    kill(dice.choice(workers))
                    killed["worker"] += 1
                elif (pid := service_pid()) is not None:
                    kill(pid)
                    killed["service"] += 1
                    until(lambda: service_pid() is None, "the end of the service")
                    face.ensure()
            for one in file.definitions():
                file.pause(one.name, active=False)
            until(lambda: not file.open_runs(), "the end of all runs", 600)
        finally:
            end_service()
        rows = file.ask("SELECT state, count(*) n, sum(deaths) d FROM runs GROUP BY state")
        print(f"seed {seed}: kills {killed}, ends {[tuple(row) for row in rows]}")
        assert {row["state"] for row in rows} <= {"done", "failed"}
        done = [run for run in file.runs(most=1000) if run.state == "done"]
        assert done
        for run in done:
            assert outputs(run).endswith(f"{clock.from_epoch(run.due_ms / 1000).isoformat()}\n")
    assert judge(tmp_path) == []
    assert marks.living(begins) == []


def test_the_judge_catches_an_open_run_and_a_partial_file(home, tmp_path):
    """The planted fault: a run that never ended, half a notebook and a leftover are found."""
    one = face.define(notebook(tmp_path / "n.ipynb", "1"), "2099-01-01 09:00", {}, session="none")
    with book() as file:
        file.order(one, 1_000, "hand")
    (tmp_path / "half.ipynb").write_text('{"cells": [')
    (tmp_path / ".n.ipynb.part").write_text("")
    assert judge(tmp_path) == ["run 1 is due", ".n.ipynb.part was left", "half.ipynb is not whole"]
    assert Path(one.notebook).exists()
