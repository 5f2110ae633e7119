"""Scheduled notebooks for real: the service, its workers, papermill and the book."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from jobs_home import ask, book, end_service, ended, judge, notebook, outputs, service_pid
from waiting import until

import breeze_lab
from breeze_lab import clock, processes, settings
from breeze_lab.errors import NoSuchJob, ScheduleError
from breeze_lab.jobs import face, logs, marks, parameters
from breeze_lab.jobs.book import folder
from breeze_lab.jobs.worker import run_folder

pytestmark = pytest.mark.timeout(240)

NEVER = "2099-01-01 09:00"
NIGHTLY = Path(__file__).parent.parent / "notebooks" / "05_nightly_report.ipynb"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A home with its service, and the folder of its notebooks."""
    home = tmp_path_factory.mktemp("jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "home"))
        patch.setenv("BREEZE_LAB_JOBS_RETRY_S", "0.2")
        patch.setenv("BREEZE_LAB_ALLOW_ORDERS", "XY1")
        patch.setenv("BREEZE_LAB_JOBS_AT_ONCE", "4")
        # What takes its time goes on beside the first tests.
        slow = notebook(home / "slow.ipynb", "import time\ntime.sleep(600)")
        breeze_lab.schedule(slow, NEVER, timeout=8, session="none")
        face.run_now("slow")
        fails = notebook(home / "fails.ipynb", "print('once more')", "raise KeyError('ohlc')")
        breeze_lab.schedule(fails, NEVER, retries=1, session="none")
        face.run_now("fails")
        patch.setenv("BREEZE_LAB_SESSION", "practice")
        shutil.copy(NIGHTLY, home)
        breeze_lab.schedule(home / NIGHTLY.name, "after F&O close on trading days", {"top": "2"})
        face.run_now(NIGHTLY.stem)
        patch.delenv("BREEZE_LAB_SESSION")
        yield home
        end_service()
        processes.stop(settings.folders().runtime, "practice")
        processes.stop(settings.folders().runtime, "relay")


@pytest.fixture
def bare(home):
    """A home of its own, in which no service is started."""
    return home


def test_a_run_is_given_typed_parameters_and_its_due_time_and_no_right_to_orders(place):
    """Text from a command becomes the declared type; the output is whole and in its place."""
    path = notebook(
        place / "typed.ipynb",
        "print(top + 1, name, days, due[:10], type(ratio).__name__)",
        "import os\nprint(os.environ.get('BREEZE_LAB_ALLOW_ORDERS'), os.environ['BREEZE_LAB_RUN'])",
        parameters="top = 3\nname: str = 'x'\ndays: list[int] = []\nratio = 0.5\ndue = ''",
    )
    said = ask("add", str(path), NEVER, "--set", "top=5", "--set", "name=7", "--set", "days=[1, 2]",
               "--set", "ratio=2", "--session", "none")  # fmt: skip
    assert "next  Thu 01-01-2099 09:00 IST" in said
    assert "done: " in ask("run", "typed", "--wait")
    run = face.Job("typed").runs[0]
    today = clock.from_epoch(run.due_ms / 1000)
    assert outputs(run).splitlines()[0] == f"6 7 [1, 2] {today:%Y-%m-%d} float"
    assert outputs(run).splitlines()[1].startswith("None ")
    assert (run.state, run.cell, run.cells, run.attempt) == ("done", 4, 4, 1)
    assert Path(run.output).parent == place / "jobs" / "typed"
    assert "Executing Cell" in ask("logs", str(run.id))


def test_a_failure_is_tried_again_and_then_told_with_its_cell(place):
    """Retries are counted; the notebook with the error is kept; a retry by hand is a new run."""
    first = ended(face.Job("fails").runs[0].id)
    assert (first.state, first.attempt, first.failures) == ("failed", 2, 1)
    assert first.message == "KeyError in cell 2 of 2: 'ohlc'"
    assert "KeyError" in Path(first.output).read_text()
    notebook(
        place / "fails.ipynb", "print('mended')"
    )  # edits count: the notebook is read for every run
    again = face.retry(first.id)
    assert again.cause == f"retry of {first.id}"
    assert outputs(ended(again.id)) == "mended\n"
    with book() as one, pytest.raises(ScheduleError, match="has ended already: failed"):
        one.cancel(first.id)


def test_a_run_can_be_cancelled_and_its_kernel_and_children_end_with_it(place):
    """Nothing that carries the run's mark is left, also what the notebook started."""
    path = notebook(
        place / "long.ipynb",
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)",
        "import time\nprint('asleep', flush=True)\ntime.sleep(600)",
    )
    breeze_lab.schedule(path, NEVER, session="none")
    run = face.run_now("long")
    with book() as one:
        until(lambda: one.run(run.id).cell == 2, "the second cell", 60)
    begins = marks.mark(folder() / "book.sqlite", run.id)
    until(lambda: len(marks.living(begins)) >= 3, "worker, kernel and child")
    until(lambda: "asleep" in logs.tail(run_folder(run.id) / "log"), "the log of a live run")
    assert "is being ended" in ask("cancel", str(run.id))
    assert ended(run.id).state == "cancelled"
    assert marks.living(begins) == []


def test_a_run_that_takes_too_long_is_ended(place):
    """The timeout ends the process group and says in which cell."""
    run = ended(face.Job("slow").runs[0].id)
    assert run.state == "failed"
    assert run.message.startswith("TimedOut")
    assert "more than 8 s" in run.message


def test_the_nightly_report_is_written_on_the_practice_market(place):
    """The notebook that we ship runs by itself: it logs in, it checks itself, it is kept whole."""
    run = ended(face.Job(NIGHTLY.stem).runs[0].id, 200)
    assert run.state == "done", run.message
    assert "lead 4 names." in outputs(run)
    assert "top = 2" in Path(run.output).read_text()
    (due,) = face.Job(NIGHTLY.stem).next_due(1)
    assert (due.hour, due.minute) == (15, 40)


def test_keys_that_a_notebook_prints_are_kept_nowhere(place, monkeypatch):
    """Neither the finished notebook nor the log holds what the vault knows."""
    from breeze_lab import accounts

    accounts.save_credentials("icici", "AppKey-of-a-test-77", "Secret!of#a$test88")
    try:
        path = notebook(place / "tells.ipynb", "print('AppKey-of-a-test-77', 'Secret!of#a$test88')")
        breeze_lab.schedule(path, NEVER, session="none")
        run = ended(face.run_now("tells").id)
        assert run.state == "done"
        kept = Path(run.output).read_text() + logs.tail(run_folder(run.id) / "log")
        assert "of-a-test" not in kept
        assert "of#a$test" not in kept
        assert "[removed] [removed]" in outputs(run)
        with pytest.raises(ScheduleError, match="one of your keys"):
            breeze_lab.schedule(path, NEVER, {"top": "AppKey-of-a-test-77"}, session="none")
    finally:
        accounts.forget("icici")


def test_a_killed_service_leaves_its_worker_and_the_next_one_takes_it(place):
    """One attempt, one output: the run does not begin again because the service did."""
    path = notebook(place / "outlives.ipynb", "import time\ntime.sleep(4)\nprint('whole')")
    breeze_lab.schedule(path, NEVER, session="none")
    run = face.run_now("outlives")
    with book() as one:
        until(lambda: one.run(run.id).claimed, "a worker", 60)
    before = service_pid()
    os.kill(before, signal.SIGKILL)
    until(lambda: service_pid() is None, "the service's end")
    face.ensure()
    assert service_pid() != before
    run = ended(run.id)
    assert (run.state, run.attempt, outputs(run)) == ("done", 1, "whole\n")
    assert judge(place) == []


# -- without a service ------------------------------------------------------


def test_a_second_end_is_refused_by_the_book_itself(bare, tmp_path):
    """The planted fault: even a hand-written UPDATE does not change what has ended."""
    notebook(tmp_path / "n.ipynb", "1")
    one = face.define(tmp_path / "n.ipynb", NEVER, {}, session="none")
    with book() as file:
        run = file.order(one, 1_000, "hand")
        assert file.end(run, "done", "")
        assert not file.end(run, "failed", "")
        assert file.run(run.id).state == "done"
    with pytest.raises(sqlite3.IntegrityError, match="this run has ended"):
        sqlite3.connect(folder() / "book.sqlite").execute("UPDATE runs SET state = 'failed'")


def test_an_attempt_that_was_replaced_changes_nothing(bare, tmp_path):
    """Two workers of one run: only the newest attempt is taken, once, and heard."""
    notebook(tmp_path / "n.ipynb", "1")
    one = face.define(tmp_path / "n.ipynb", NEVER, {}, session="none")
    with book() as file:
        first = file.start(file.order(one, 1_000, "hand"))
        assert file.claim(first.id, 1, 11)
        assert not file.claim(first.id, 1, 12)
        assert file.put_back(first, "due", "")
        second = file.start(file.run(first.id))
        assert not file.progress(first.id, 1, 1, 2)
        assert not file.end(first, "done", "")
        assert file.start(file.order(one, 2_000, "hand")) is None, "two at once"
        assert file.claim(second.id, 2, 13)
        assert file.end(second, "done", "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tpo": 1}, "Did you mean top?"),
        ({"top": "many"}, "a whole number"),
        ({"top": 1.5}, "a whole number"),
        ({"top": True}, "a whole number"),
        ({"ratio": float("nan")}, "finite"),
        ({"api_key": "x"}, "looks like a secret"),
        ({"name": "a1B2c3D4e5F6g7H8i9J0k1"}, "looks like a secret"),
        ({"name": "https://me:word@host/"}, "looks like a secret"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(tmp_path, given, words):
    """Unknown names, other types and secrets; a secret's value is not repeated."""
    path = notebook(tmp_path / "n.ipynb", "1", parameters="top = 3\nratio = 0.5\nname = 'x'\n")
    with pytest.raises(ScheduleError) as refused:
        parameters.fit(given, parameters.declared(path))
    assert words in str(refused.value)
    assert "a1B2" not in str(refused.value)
    assert "word@" not in str(refused.value)


def test_what_looks_like_no_secret_is_taken(tmp_path):
    """Names, paths, dates, phrases and ids are parameters."""
    path = notebook(tmp_path / "n.ipynb", "1", parameters="name = 'x'\nnames = []\n")
    known = parameters.declared(path)
    for text in ("NIFTY 26NOV 24500 CE", "reports/2026/november/nightly_report_v2.parquet",
                 "2026-11-26T15:40:00+05:30", "NSE:RELIANCE", "6f1d3c1e-9a52-4f0e-8c41-0a7a5f2d9b11",
                 "https://example.test/path?q=1"):  # fmt: skip
        assert parameters.fit({"name": text}, known) == {"name": text}
    assert parameters.fit({"names": "RELIANCE, TCS"}, known) == {"names": ["RELIANCE", "TCS"]}


def test_bad_definitions_are_refused_with_what_to_do(bare, tmp_path):
    """A missing notebook, another file, a past time, odd options, an unknown job."""
    good = notebook(tmp_path / "n.ipynb", "1")
    (tmp_path / "no.ipynb").write_text("[]")
    for path, phrase, options, words in (
        (tmp_path / "gone.ipynb", NEVER, {}, "There is no notebook"),
        (tmp_path / "no.ipynb", NEVER, {}, "is no notebook"),
        (good, "2020-01-01 09:00", {}, "never due again"),
        (good, NEVER, {"timeout": 0}, "timeout"),
        (good, NEVER, {"retries": 99}, "Retries"),
        (good, NEVER, {"catch_up": "some"}, "latest, all, none"),
        (good, NEVER, {"name": "../x"}, "no name"),
        (good, NEVER, {"session": "own"}, "practice market"),
    ):
        with pytest.raises(ScheduleError) as refused:
            face.define(path, phrase, {}, **options)
        assert words in str(refused.value)
    with book() as file, pytest.raises(NoSuchJob, match="There are: none yet"):
        file.definition("nightly")


def test_a_log_begins_anew_after_a_megabyte(tmp_path):
    """Three files at most, and the tail reads over the edge."""
    log = logs.Rotated(tmp_path / "log", 1_000)
    for number in range(200):
        log.write(f"line {number:04d} of a talkative notebook\n")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log", "log.1", "log.2"]
    assert all(file.stat().st_size <= 1_000 for file in files)
    assert logs.tail(tmp_path / "log").splitlines()[-1].startswith("line 0199")
    assert len(logs.tail(tmp_path / "log", 1_200)) == 1_200


def test_the_magic_reads_its_line(bare, tmp_path, monkeypatch, capsys):
    """Notebook first, then when, options anywhere; alone it lists."""
    from IPython.core.error import UsageError

    from breeze_lab.schedule_magic import ScheduleMagics

    monkeypatch.setattr(face, "ensure", dict)
    notebook(tmp_path / "my night.ipynb", "1", parameters="top = 1")
    magic = ScheduleMagics().schedule
    job = magic(
        f"'{tmp_path}/my night.ipynb' --retries 2 after F&O close on trading days --set top=9"
    )
    one = job.definition
    assert (one.phrase, one.retries, one.parameters) == (
        "after F&O close on trading days", 2, {"top": 9},
    )  # fmt: skip
    magic("")
    assert "my night: my night.ipynb, after F&O close" in capsys.readouterr().out
    for line in ("n.ipynb", "n.ipynb 09:00 --often", "n.ipynb 09:00 --retries", "'n.ipynb"):
        with pytest.raises(UsageError):
            magic(line)
    assert json.loads(json.dumps(one.parameters)) == {"top": 9}
    assert time.time() * 1000 - one.made_ms < 60_000
