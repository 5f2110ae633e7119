"""One background process of a name, found by whoever needs it, gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from breeze_lab import errors, processes

SERVER = """
    import pathlib, sys, signal
    from breeze_lab import processes
    runtime = pathlib.Path(sys.argv[1])
    with (runtime / "tries").open("a") as file:
        file.write("x")
    try:
        with processes.claim(runtime, "thing"):
            with (runtime / "starts").open("a") as file:
                file.write("x")
            processes.publish(runtime, "thing", {"port": 7})
            signal.sigwait({signal.SIGTERM})
    except processes.AlreadyRunning:
        sys.exit(0)
"""


@pytest.fixture
def thing(tmp_path, monkeypatch):
    """A module that can be started as the process called ``thing``."""
    (tmp_path / "thing_process.py").write_text(textwrap.dedent(SERVER))
    (tmp_path / "broken_process.py").write_text("raise SystemExit('no such port')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    yield tmp_path
    record = processes.running(tmp_path, "thing")
    if record:
        os.kill(record["pid"], signal.SIGTERM)


def ensure(folder, **options):
    return processes.ensure(folder, "thing", "thing_process", [str(folder)], **options)


def test_many_callers_at_once_share_one_process(thing):
    """Eight callers get the same process id, and it claimed the name once."""
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda _: ensure(thing), range(8)))
    assert len({record["pid"] for record in records}) == 1
    assert records[0]["port"] == 7
    assert (thing / "starts").read_text() == "x"
    assert (thing / "tries").read_text() == "x", "nobody else even tried"
    assert (thing / "thing.json").stat().st_mode & 0o077 == 0


def test_a_killed_process_is_not_taken_for_a_living_one(thing):
    """SIGKILL leaves its record behind; the lock tells the truth and a new one starts."""
    first = ensure(thing)
    os.kill(first["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while processes.running(thing, "thing") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (thing / "thing.json").exists(), "the dead one's record is still there"
    second = ensure(thing)
    assert second["pid"] != first["pid"]


def test_a_process_that_cannot_start_says_why(thing):
    """The caller gets the typed error with the process's last words."""
    with pytest.raises(errors.ProcessError, match="no such port"):
        processes.ensure(thing, "broken", "broken_process")


def test_nothing_runs_in_an_empty_folder(tmp_path):
    """Looking starts nothing."""
    assert processes.running(tmp_path, "thing") is None


def test_claiming_twice_is_refused(tmp_path):
    """Another process cannot take the name while we hold it."""
    code = f"""
        import pathlib
        from breeze_lab import processes
        try:
            with processes.claim(pathlib.Path({str(tmp_path)!r}), "thing"):
                print("claimed")
        except processes.AlreadyRunning:
            print("refused")
    """
    with processes.claim(tmp_path, "thing"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "refused\n"
