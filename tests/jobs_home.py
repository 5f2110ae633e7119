"""A home with a service of jobs of its own, small notebooks, and ways to look at both."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from waiting import until

from breeze_lab import processes, settings
from breeze_lab.jobs import marks
from breeze_lab.jobs.book import Book, folder
from breeze_lab.jobs.records import ENDS

COMMAND = "import sys; from breeze_lab.cli import main; sys.exit(main())"


def notebook(path: Path, *sources: str, parameters: str = "", kernel: str = "python3") -> Path:
    """Write a notebook of code cells, the first of them its parameters."""
    cells = [
        {"cell_type": "code", "id": f"cell-{i}", "source": source, "outputs": [],
         "metadata": {"tags": ["parameters"]} if i == 0 and parameters else {},
         "execution_count": None}
        for i, source in enumerate(filter(None, (parameters, *sources)))
    ]  # fmt: skip
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    path.write_text(
        json.dumps(
            {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
        )
    )
    return path


def book() -> Book:
    """Open the home's book."""
    return Book(folder() / "book.sqlite")


def ended(number: int, timeout_s: float = 100.0):
    """Return a run once it has ended."""
    with book() as open_book:
        return until(
            lambda: not (run := open_book.run(number)).open and run,
            f"run {number}'s end",
            timeout_s,
        )


def written(run) -> str:
    """Return the text of a finished notebook."""
    return Path(run.output).read_text()


def outputs(run) -> str:
    """Return what the cells of a finished notebook printed."""
    cells = json.loads(written(run))["cells"]
    return "".join(
        "".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", [])
    )


def service_pid() -> int | None:
    record = processes.running(settings.folders().runtime, "jobs")
    return record and record["pid"]


def end_service() -> None:
    """End the service and every process of a run."""
    processes.stop(settings.folders().runtime, "jobs")
    path = folder() / "book.sqlite"
    marks.end_all(marks.mark(path, 0).partition(".")[0])


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def ask(*words: str, given: str = "", code: int = 0) -> str:
    """Run ``breeze-lab jobs …``; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "jobs", *words],
        capture_output=True, text=True, timeout=110, check=False, input=given,
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout + done.stderr


def judge(place: Path) -> list[str]:
    """Return everything that is wrong with the book and the outputs below `place`.

    Each due time has ended in one state, nothing ended is without a time, and
    every finished notebook is whole.
    """
    wrong = []
    path = folder() / "book.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.row_factory = sqlite3.Row
        rows = file.execute("SELECT * FROM runs").fetchall()
    for row in rows:
        if row["state"] not in ENDS or row["ended"] is None:
            wrong.append(f"run {row['id']} is {row['state']}")
        if row["state"] == "done" and not Path(row["output"]).exists():
            wrong.append(f"run {row['id']} has no output")
    dues = [(row["definition"], row["due_ms"]) for row in rows]
    if len(dues) != len(set(dues)):
        wrong.append("a due time is in the book twice")
    for file in place.rglob("*"):
        if file.name.endswith(".part"):
            wrong.append(f"{file.name} was left")
        if file.suffix == ".ipynb":
            try:
                json.loads(file.read_text())["cells"]
            except (ValueError, KeyError):
                wrong.append(f"{file.name} is not whole")
    return wrong
