"""Run one notebook once: ``python -m breeze_lab.jobs.worker RUN ATTEMPT``.

Started by the service in a session of its own, and outlives it. It takes its
attempt in the book, snapshots the notebook, lets papermill run it, says which
cell it is at, and writes the finished notebook whole or not at all. What it
does not get to say the service finds out from its end.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.errors import BreezeLabError
from breeze_lab.jobs import alerts, logs, parameters
from breeze_lab.jobs.book import Book, folder
from breeze_lab.jobs.hiding import Scrubber

if TYPE_CHECKING:
    from collections.abc import Sequence

    from breeze_lab.jobs.records import Definition, Run

__all__ = ["Outcome", "main", "output_path", "publish", "run_folder"]

#: What a notebook that found no session fails with.
_NO_SESSION: Final = frozenset({"NotLoggedIn", "SessionExpired"})
_LONGEST_MESSAGE: Final = 300
#: Seconds before a failed notebook is tried again, doubled each time.
RETRY_WAIT_S: Final = float(os.environ.get("BREEZE_LAB_JOBS_RETRY_S") or 30.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt went: ``"done"``, ``"failed"``, ``"no session"`` or ``"died"``.

    `kind` is safe to tell anybody (an exception's name and the cell); `detail`
    is for the account holder alone.
    """

    how: str
    kind: str = ""
    detail: str = ""


class _OverError(Exception):
    """The attempt no longer counts: it was cancelled, or another one took its place."""


def run_folder(number: int) -> Path:
    """Return the private folder of a run, made if missing."""
    path = folder() / "runs" / str(number)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def output_path(definition: Definition, run: Run) -> Path:
    """Return where the finished notebook of a run goes; one due time, one name."""
    notebook = Path(definition.notebook)
    place = (
        Path(definition.output) if definition.output else notebook.parent / "jobs" / definition.name
    )
    due = clock.from_epoch(run.due_ms / 1000)
    by_hand = "" if run.cause == "schedule" else f"-run{run.id}"
    return place / f"{notebook.stem}-{due:%Y-%m-%d-%H%M}{by_hand}.ipynb"


def publish(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: beside it, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    place = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one attempt; return 0 when the book knows its outcome."""
    number, attempt = (int(word) for word in (sys.argv[1:] if argv is None else argv))
    home = run_folder(number)
    with (home / "lock").open("a") as lock, Book(folder() / "book.sqlite") as book:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 1  # an earlier attempt still lives; the service ends it first
        if not book.claim(number, attempt, os.getpid()):
            return 1
        scrubber = Scrubber()
        logs.pump(logs.Rotated(home / "log"), scrubber)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        run = book.run(number)
        definition = book.definition(run.definition)
        _say(f"Attempt {attempt} of {definition.name}, due {_due(run)}, process {os.getpid()}.")
        try:
            outcome = _attempt(book, definition, run, home)
            ended = outcome.how in ("done", "failed")
            wrote = _write(definition, run, home, scrubber) if ended else ""
        except _OverError:
            _say("This attempt no longer counts.")
            return 0
        except (BreezeLabError, OSError) as exc:
            outcome, wrote = Outcome("failed", type(exc).__name__, str(exc)), ""
        outcome = Outcome(outcome.how, outcome.kind, scrubber.text(outcome.detail))
        _say(f"{outcome.how}: {outcome.kind} {outcome.detail}".strip())
        time.sleep(0.05)  # the log's thread writes the last line
        _tell(book, definition, book.run(number), outcome, wrote)
        _clean(home)
    return 0


def _attempt(book: Book, definition: Definition, run: Run, home: Path) -> Outcome:
    """Run the notebook as it is now; its state when it stopped lies in ``executed.ipynb``."""
    source = Path(definition.notebook)
    given = _given(definition, run)
    shutil.copyfile(source, home / "input.ipynb")
    _clean(home)
    import papermill  # noqa: PLC0415 - seconds, after the attempt is ours
    from nbclient.exceptions import DeadKernelError  # noqa: PLC0415
    from papermill.engines import NBClientEngine, papermill_engines  # noqa: PLC0415

    class Reporting(NBClientEngine):  # type: ignore[misc]  # papermill has no types
        """The usual engine; the book hears of every cell before it runs."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            cells = [i for i, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]
            begin = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                at = cells.index(cell_index) + 1 if cell_index in cells else 0
                if at and not book.progress(run.id, run.attempt, at, len(cells)):
                    raise _OverError
                return begin(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("breeze-lab", Reporting)
    try:
        papermill.execute_notebook(
            str(home / "input.ipynb"), str(home / "executed.ipynb"), given,
            engine_name="breeze-lab", cwd=str(source.parent), progress_bar=False,
            log_output=True, request_save_on_cell_execute=False, autosave_cell_every=0,
        )  # fmt: skip
    except papermill.PapermillExecutionError as exc:
        how = "no session" if exc.ename in _NO_SESSION else "failed"
        return Outcome(how, str(exc.ename), str(exc.evalue)[:_LONGEST_MESSAGE])
    except DeadKernelError:
        return Outcome("died", "DeadKernel", "the kernel died")
    except _OverError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever papermill fails with is the run's failure
        return Outcome("failed", type(exc).__name__, str(exc)[:_LONGEST_MESSAGE])
    return Outcome("done")


def _given(definition: Definition, run: Run) -> dict[str, Any]:
    """Return the parameters, checked once more: the notebook may have changed since."""
    source = Path(definition.notebook)
    known = parameters.declared(source)
    given = parameters.fit(run.parameters, known, source.name)
    if parameters.DUE in known:
        given.setdefault(parameters.DUE, clock.from_epoch(run.due_ms / 1000).isoformat())
    return given


def _write(definition: Definition, run: Run, home: Path, scrubber: Scrubber) -> str:
    """Publish what papermill left, without secrets; return where, or nothing."""
    executed = home / "executed.ipynb"
    if not executed.exists():
        return ""
    path = output_path(definition, run)
    text = scrubber.text(executed.read_text("utf-8"))
    if "html" in definition.formats.split():
        import nbformat  # noqa: PLC0415 - only who wants HTML
        from nbconvert import HTMLExporter  # noqa: PLC0415

        html, _ = HTMLExporter().from_notebook_node(nbformat.reads(text, 4))  # type: ignore[no-untyped-call]
        publish(path.with_suffix(".html"), html.encode())
    publish(path, text.encode())
    return str(path)


def _tell(book: Book, definition: Definition, run: Run, outcome: Outcome, wrote: str) -> None:
    """Write the outcome into the book: an end, or that it is tried again."""
    at = f" in cell {run.cell} of {run.cells}" if run.cell else ""
    message = f"{outcome.kind}{at}: {outcome.detail}"[:_LONGEST_MESSAGE]
    if outcome.how == "done":
        told = alerts.about(definition, run, "done", "")
        book.end(run, "done", "", output=wrote, alerts=told)
    elif outcome.how == "no session" and definition.session == "shared":
        from breeze_lab import accounts  # noqa: PLC0415 - only then

        known = accounts.facts()
        book.put_back(
            run, "waiting", f"Waiting for a login: {outcome.detail}", wait_s=1.0,
            serial=known.serial if known is not None else "",
        )  # fmt: skip
    elif outcome.how == "died" and run.deaths < 2:  # noqa: PLR2004 - as the service does
        book.put_back(run, "due", f"Tried again: {message}", wait_s=1.0, deaths=1)
    elif run.failures < definition.retries:
        wait_s = RETRY_WAIT_S * 2**run.failures
        book.put_back(
            run, "due", f"Tried again in {wait_s:.0f} s, after {message}", wait_s=wait_s, failures=1
        )
    else:
        told = alerts.about(definition, run, "failed", f"{outcome.kind}{at}")
        book.end(run, "failed", message, output=wrote, alerts=told)


def _clean(home: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (home / "executed.ipynb").unlink()


def _due(run: Run) -> str:
    return f"{clock.from_epoch(run.due_ms / 1000):%d-%m-%Y %H:%M} IST"


def _say(text: str) -> None:
    print(f"[{clock.now():%H:%M:%S}] {text}", file=sys.stderr, flush=True)  # noqa: T201 - the log


if __name__ == "__main__":
    sys.exit(main())
