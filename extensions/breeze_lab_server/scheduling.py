"""JupyterLab's own scheduling form, over our jobs: the routes that its extension asks.

The form is jupyter-scheduler's; its server extension is not loaded, because it
costs every server start more than a second, runs jobs only while this server
does, works in the server's event loop and asks no authorizer. The same
contract is answered here from the book, in threads. A job made in the form is
a job like any other.

The form knows cron lines. Market time is its parameter ``market_time``:
``after F&O close on trading days``; the cron line then only says roughly when.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab.errors import BreezeLabError, ScheduleError
from breeze_lab.jobs import face, when
from breeze_lab.jobs.book import Book, folder
from breeze_lab_server.rest import RESOURCE, Rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.jobs.records import Definition, Run

__all__ = ["MARKET_TIME", "routes"]

#: The parameter of the form that says when, in our words.
MARKET_TIME: Final = "market_time"
_ENVIRONMENT: Final = "breeze-lab"
_FORMATS: Final = {"ipynb": "Notebook", "html": "HTML"}
_FEATURES: Final = {
    "job_name": True, "parameters": True, "output_formats": True, "job_definition": True,
    "idempotency_token": False, "tags": False, "email_notifications": False,
    "timeout_seconds": False, "retry_on_timeout": False, "max_retries": False,
    "min_retry_interval_millis": False, "output_filename_template": False, "stop_job": True,
    "delete_job": True,
}  # fmt: skip
#: How the form calls what we call.
_STATUS: Final = {
    "due": "QUEUED", "waiting": "QUEUED", "running": "IN_PROGRESS", "done": "COMPLETED",
    "failed": "FAILED", "cancelled": "STOPPED", "skipped": "STOPPED", "missed": "STOPPED",
}  # fmt: skip
_MOST: Final = 1000


def routes() -> list[tuple[str, type[web.RequestHandler]]]:
    """Return the routes; longer ones first."""
    return [
        (r"/scheduler/jobs/?", JobsHandler),
        (r"/scheduler/jobs/count/?", CountHandler),
        (r"/scheduler/jobs/(\d+)/?", JobHandler),
        (r"/scheduler/jobs/(\d+)/download_files/?", FilesHandler),
        (r"/scheduler/batch/jobs/?", BatchHandler),
        (r"/scheduler/job_definitions/?", DefinitionsHandler),
        (r"/scheduler/job_definitions/([0-9a-f-]{36})/?", DefinitionHandler),
        (r"/scheduler/job_definitions/([0-9a-f-]{36})/jobs/?", FromDefinitionHandler),
        (r"/scheduler/runtime_environments/?", EnvironmentsHandler),
        (r"/scheduler/config/?", ConfigHandler),
    ]


class Form(Rest):
    """What the routes share."""

    @property
    def root(self) -> Path:
        """The folder that the form's paths begin at."""
        return Path(self.settings["server_root_dir"]).expanduser().resolve()

    async def work(self, do: Callable[..., Any], *given: Any, status: int = HTTPStatus.OK) -> None:
        """Do it in a thread; answer with what it returns, or with the error's words."""
        try:
            found = await asyncio.to_thread(do, *given)
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        if found is None:
            self.set_status(HTTPStatus.NO_CONTENT)
            self.finish()
        else:
            self.answer(found, status)

    def page(self) -> dict[str, Any]:
        """Return how the query wants a list sorted and cut."""
        keys = []
        for text in self.get_query_arguments("sort_by"):
            direction, _, name = text.rstrip(")").partition("(")
            keys.append((name or direction, direction == "desc"))
        token = self.get_query_argument("next_token", "")
        return {
            "keys": keys or [("create_time", True)],
            "most": self.number("max_items", _MOST, 0, _MOST),
            "first": int(token) if token.isdigit() else 0,
        }


class JobsHandler(Form):
    """``GET`` lists runs, ``POST`` runs a notebook now."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """List."""
        asked = {
            name: self.get_query_argument(name, "")
            for name in ("status", "job_definition_id", "name")
        }
        await self.work(_list_runs, self.root, asked, self.page())

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Run."""
        await self.work(_run_now, self.root, self.body())


class CountHandler(Form):
    """``GET``: how many runs have a status."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Count."""
        status = self.get_query_argument("status", "IN_PROGRESS")
        asked = {"status": status, "job_definition_id": "", "name": ""}
        page = {"keys": [], "most": 0, "first": 0}
        await self.work(lambda: {"count": _list_runs(self.root, asked, page)["total_count"]})


class JobHandler(Form):
    """One run: look, stop, delete."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, number: str) -> None:
        """Look."""
        await self.work(_show_run, self.root, int(number))

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def patch(self, number: str) -> None:
        """Stop; nothing else of a run can be changed."""
        if self.body().get("status") != "STOPPED":
            raise web.HTTPError(400, "a run can only be stopped")
        await self.work(_stop, int(number))

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self, number: str) -> None:
        """Delete; one under way is ended first."""
        await self.work(_delete, [int(number)])


class FilesHandler(Form):
    """``GET``: the form asks for files to be brought; ours are in their place already."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, number: str) -> None:
        """Change nothing."""
        await self.work(lambda: _show_run(self.root, int(number)) and None)


class BatchHandler(Form):
    """``DELETE``: several runs."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self) -> None:
        """Delete."""
        given = self.get_query_arguments("job_id")
        if not all(text.isdigit() for text in given):
            raise web.HTTPError(400, "job_id is a number")
        await self.work(_delete, [int(text) for text in given])


class DefinitionsHandler(Form):
    """``GET`` lists jobs, ``POST`` schedules one."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """List."""
        name = self.get_query_argument("name", "")
        await self.work(_list_definitions, name, self.page())

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Schedule."""
        await self.work(_schedule, self.root, self.body())


class DefinitionHandler(Form):
    """One job: look, pause, resume, change, remove."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, name: str) -> None:
        """Look."""
        await self.work(_show_definition, name)

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def patch(self, name: str) -> None:
        """Change."""
        await self.work(_change, self.root, name, self.body())

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self, name: str) -> None:
        """Remove."""
        await self.work(_remove, name)


class FromDefinitionHandler(Form):
    """``POST``: run a scheduled job now."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self, name: str) -> None:
        """Run."""
        given = _parameters(self.body())
        await self.work(lambda: {"job_id": str(face.run_now(name, given, "form").id)})


class EnvironmentsHandler(Form):
    """``GET``: the one environment there is, this installation."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer."""
        self.answer(
            [
                {
                    "name": _ENVIRONMENT, "label": "Breeze Lab", "metadata": {},
                    "description": "Runs on market time, with the notebook's own kernel",
                    "file_extensions": ["ipynb"], "utc_only": False,
                    "output_formats": [
                        {"name": name, "label": label} for name, label in _FORMATS.items()
                    ],
                }
            ]
        )  # fmt: skip


class ConfigHandler(Form):
    """``GET``: what the form may show."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer."""
        self.answer({"supported_features": _FEATURES, "manage_environments_command": ""})


# -- the work, in threads -------------------------------------------------------


def _book() -> Book:
    return Book(folder() / "book.sqlite")


def _notebook(root: Path, given: dict[str, Any]) -> Path:
    """Return the notebook of a request, which lies below the server's folder."""
    path = (root / str(given.get("input_uri") or "")).resolve()
    if root not in path.parents:
        raise ScheduleError("The notebook lies outside of the folder this server shows.")
    return path


def _parameters(given: dict[str, Any]) -> dict[str, Any]:
    found = given.get("parameters") or {}
    if not isinstance(found, dict):
        raise ScheduleError("Parameters are names and values.")
    # An empty line of the form is none.
    return {str(name).strip(): value for name, value in found.items() if str(name).strip()}


def _formats(given: dict[str, Any]) -> bool:
    return "html" in (given.get("output_formats") or [])


def _cron(given: dict[str, Any]) -> str:
    line = str(given.get("schedule") or "").strip()
    if not line:
        return ""
    zone = str(given.get("timezone") or "").strip()
    return f"cron {line} in {zone}" if zone else f"cron {line}"


def _run_now(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    path, parameters = _notebook(root, given), _parameters(given)
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


def _schedule(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    path, parameters = _notebook(root, given), _parameters(given)
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


def _change(root: Path, name: str, given: dict[str, Any]) -> None:
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


def _remove(name: str) -> None:
    with _book() as book:
        book.remove(name)


def _stop(number: int) -> None:
    with _book() as book:
        book.cancel(number)


def _delete(numbers: list[int]) -> None:
    with _book() as book:
        for number in numbers:
            if book.run(number).open:
                book.cancel(number)
            if not book.run(number).open:
                book.forget(number)
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(folder() / "runs" / str(number))


def _list_runs(root: Path, asked: dict[str, str], page: dict[str, Any]) -> dict[str, Any]:
    with _book() as book:
        runs = book.runs(asked["job_definition_id"], _MOST)
        known = {name: book.definition(name) for name in {run.definition for run in runs}}
    rows = [_plain_run(root, run, known[run.definition]) for run in runs]
    rows = [
        row for row in rows
        if asked["status"].upper() in ("", row["status"]) and row["name"].startswith(asked["name"])
    ]  # fmt: skip
    return _cut("jobs", rows, page)


def _list_definitions(name: str, page: dict[str, Any]) -> dict[str, Any]:
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


def _show_run(root: Path, number: int) -> dict[str, Any]:
    with _book() as book:
        run = book.run(number)
        return _plain_run(root, run, book.definition(run.definition))


def _show_definition(name: str) -> dict[str, Any]:
    with _book() as book:
        return _plain_definition(book.definition(name))


def _plain(one: Definition, parameters: dict[str, Any]) -> dict[str, Any]:
    shown = {name: str(value) for name, value in parameters.items()}
    if one.phrase and not one.phrase.startswith("cron "):
        shown = {MARKET_TIME: one.phrase, **shown}
    return {
        "name": one.name, "input_filename": Path(one.notebook).name, "parameters": shown,
        "runtime_environment_name": _ENVIRONMENT, "runtime_environment_parameters": {},
        "output_formats": one.formats.split(), "tags": [], "compute_type": None,
        "output_filename_template": "{{input_filename}}-{{create_time}}",
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
                "display_name": _FORMATS[form], "file_format": form,
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
