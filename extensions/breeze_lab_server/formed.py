"""What JupyterLab's scheduling form asks for, done to our jobs and told in its words.

Functions for threads: they read and write the book and know nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import ScheduleError
from breeze_lab.jobs import face, when
from breeze_lab.jobs.book import Book, folder

if TYPE_CHECKING:
    from breeze_lab.jobs.records import Definition, Run

__all__ = [
    "ENVIRONMENT", "FORMATS", "MARKET_TIME", "change", "delete", "list_definitions", "list_runs",
    "parameters_of", "remove", "run_now", "schedule", "show_definition", "show_run", "stop",
]  # fmt: skip

#: The parameter of the form that says when, in our words.
MARKET_TIME: Final = "market_time"
ENVIRONMENT: Final = "breeze-lab"
FORMATS: Final = {"ipynb": "Notebook", "html": "HTML"}
#: How the form calls what we call.
_STATUS: Final = {
    "due": "QUEUED", "waiting": "QUEUED", "running": "IN_PROGRESS", "done": "COMPLETED",
    "failed": "FAILED", "cancelled": "STOPPED", "skipped": "STOPPED", "missed": "STOPPED",
}  # fmt: skip
#: Of the newest runs, so many are listed.
_MOST: Final = 1000


def _book() -> Book:
    return Book(folder() / "book.sqlite")


def _notebook(root: Path, given: dict[str, Any]) -> Path:
    """Return the notebook of a request, which lies below the server's folder."""
    path = (root / str(given.get("input_uri") or "")).resolve()
    if root not in path.parents:
        raise ScheduleError("The notebook lies outside of the folder this server shows.")
    return path


def parameters_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request, without the form's empty lines."""
    found = given.get("parameters") or {}
    if not isinstance(found, dict):
        raise ScheduleError("Parameters are names and values.")
    return {str(name).strip(): value for name, value in found.items() if str(name).strip()}


def _formats(given: dict[str, Any]) -> bool:
    return "html" in (given.get("output_formats") or [])


def _cron(given: dict[str, Any]) -> str:
    line = str(given.get("schedule") or "").strip()
    if not line:
        return ""
    zone = str(given.get("timezone") or "").strip()
    return f"cron {line} in {zone}" if zone else f"cron {line}"


def run_now(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Run a notebook now; a job by hand of this name is made where there is none."""
    path, parameters = _notebook(root, given), parameters_of(given)
    if MARKET_TIME in parameters:
        raise ScheduleError(
            f"{MARKET_TIME} belongs to 'Run on a schedule': choose that, or take it out."
        )
    name = str(given.get("name") or path.stem)
    with _book() as book:
        known = {one.name: one for one in book.definitions()}
    number = 2
    while name in known and known[name].notebook != str(path):
        name, number = f"{name.removesuffix(f' {number - 1}')} {number}", number + 1
    if name not in known:
        face.define(path, "", {}, name=name, html=_formats(given))
    return {"job_id": str(face.run_now(name, parameters, "form").id)}


def schedule(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Schedule a notebook by its market time, or by the form's cron fields."""
    path, parameters = _notebook(root, given), parameters_of(given)
    phrase = str(parameters.pop(MARKET_TIME, "")).strip() or _cron(given)
    name = str(given.get("name") or path.stem)
    with _book() as book:
        if any(one.name == name and one.phrase for one in book.definitions()):
            raise ScheduleError(
                f"A job called {name!r} is scheduled already. Give this one another name, or "
                "delete that one first."
            )
    one = face.define(path, phrase, parameters, name=name, html=_formats(given))
    face.ensure()
    return {"job_definition_id": one.id}


def change(root: Path, name: str, given: dict[str, Any]) -> None:
    """Pause or resume a job, or give it another time or notebook."""
    with _book() as book:
        one = book.definition(name)
        active = given.get("active")
        if isinstance(active, bool):
            book.pause(one.id, active=active)
            one = book.definition(name)
        phrase, new = one.phrase, _cron(given)
        # The form sends back the rough line it was shown: that is no change.
        rough = when.parse(phrase).like_cron if phrase else ""
        if new and str(given.get("schedule")).strip() != rough:
            phrase = when.parse(new).text
        notebook = str(_notebook(root, given)) if given.get("input_uri") else one.notebook
        if (phrase, notebook) != (one.phrase, one.notebook):
            book.keep(replace(one, phrase=phrase, notebook=notebook))
    face.ensure()


def remove(name: str) -> None:
    """Take a job away."""
    with _book() as book:
        book.remove(name)


def stop(number: int) -> None:
    """End a run."""
    with _book() as book:
        book.cancel(number)


def delete(numbers: list[int]) -> None:
    """Forget runs; those under way are ended first and stay until they have."""
    with _book() as book:
        for number in numbers:
            if book.run(number).open:
                book.cancel(number)
            if not book.run(number).open:
                book.forget(number)
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(folder() / "runs" / str(number))


def list_runs(root: Path, asked: dict[str, str], page: dict[str, Any]) -> dict[str, Any]:
    """Return runs as the form lists them."""
    with _book() as book:
        runs = book.runs(asked["job_definition_id"], _MOST)
        known = {name: book.definition(name) for name in {run.definition for run in runs}}
    rows = [_plain_run(root, run, known[run.definition]) for run in runs]
    rows = [
        row for row in rows
        if asked["status"].upper() in ("", row["status"]) and row["name"].startswith(asked["name"])
    ]  # fmt: skip
    return _cut("jobs", rows, page)


def list_definitions(name: str, page: dict[str, Any]) -> dict[str, Any]:
    """Return what is scheduled as the form lists it."""
    with _book() as book:
        # What was run once by hand is no schedule.
        known = [one for one in book.definitions() if one.phrase and one.name.startswith(name)]
    return _cut("job_definitions", [_plain_definition(one) for one in known], page)


def _cut(name: str, rows: list[dict[str, Any]], page: dict[str, Any]) -> dict[str, Any]:
    for key, down in reversed(page["keys"]):
        rows.sort(key=lambda row: (row.get(key) is None, str(row.get(key))), reverse=down)
    first, most = page["first"], page["most"]
    shown = rows[first : first + most]
    more = first + len(shown) if shown and first + len(shown) < len(rows) else None
    found = {name: shown, "total_count": len(rows)}
    return {**found, "next_token": str(more)} if more is not None else found


def show_run(root: Path, number: int) -> dict[str, Any]:
    """Return one run."""
    with _book() as book:
        run = book.run(number)
        return _plain_run(root, run, book.definition(run.definition))


def show_definition(name: str) -> dict[str, Any]:
    """Return one job."""
    with _book() as book:
        return _plain_definition(book.definition(name))


def _plain(one: Definition, parameters: dict[str, Any]) -> dict[str, Any]:
    shown = {name: str(value) for name, value in parameters.items()}
    if one.phrase and not one.phrase.startswith("cron "):
        shown = {MARKET_TIME: one.phrase, **shown}
    return {
        "name": one.name, "input_filename": Path(one.notebook).name, "parameters": shown,
        "runtime_environment_name": ENVIRONMENT, "runtime_environment_parameters": {},
        "output_formats": one.formats.split(), "tags": [], "compute_type": None,
        "output_filename_template": f"jobs/{one.name}",  # shown as the output's folder
        "package_input_folder": False, "packaged_files": [],
    }  # fmt: skip


def _plain_definition(one: Definition) -> dict[str, Any]:
    rule = when.parse(one.phrase) if one.phrase else None
    zone = rule.cron.zone if rule is not None and rule.cron is not None else "Asia/Kolkata"
    return {
        **_plain(one, one.parameters), "job_definition_id": one.id,
        "schedule": rule.like_cron if rule is not None else None, "timezone": zone,
        "create_time": one.made_ms, "update_time": one.made_ms, "active": one.active,
        "url": f"/job_definitions/{one.id}",
    }  # fmt: skip


def _plain_run(root: Path, run: Run, one: Definition) -> dict[str, Any]:
    files = []
    for form in one.formats.split():
        path = Path(run.output).with_suffix(f".{form}") if run.output else None
        # JupyterLab opens what lies below its folder; elsewhere there is nothing to link to.
        inside = path is not None and path.exists() and root in path.resolve().parents
        files.append(
            {
                "display_name": FORMATS[form], "file_format": form,
                "file_path": str(path.resolve().relative_to(root)) if path and inside else None,
            }
        )  # fmt: skip
    stopping = run.state == "running" and run.wanted
    cell = f"Cell {run.cell} of {run.cells}" if run.state == "running" and run.cells else ""
    return {
        **_plain(one, run.parameters), "job_id": str(run.id),
        "job_definition_id": one.id if one.phrase else None,
        "status": "STOPPING" if stopping else _STATUS[run.state],
        "status_message": run.message or cell, "job_files": files,
        "downloaded": any(file["file_path"] for file in files), "url": f"/jobs/{run.id}",
        "create_time": int(run.noticed * 1000), "update_time": int(run.noticed * 1000),
        "start_time": int(run.started * 1000) if run.started else None,
        "end_time": int(run.ended * 1000) if run.ended else None,
    }  # fmt: skip
