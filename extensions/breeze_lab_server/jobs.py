"""The routes of scheduled notebooks: what runs, its log, and the page that shows both.

``GET jobs`` is a page for a phone as much as for a desk; it asks ``api/jobs``
once a second while it is looked at. What changes something is one route,
``POST api/jobs/do``. All reading and writing of the book happens in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado import web
from tornado.ioloop import PeriodicCallback

from breeze_lab import clock, processes, settings
from breeze_lab.errors import BreezeLabError
from breeze_lab.jobs import face, logs
from breeze_lab.jobs.book import Book, folder, open_book
from breeze_lab_server.rest import RESOURCE, Rest

if TYPE_CHECKING:
    import logging

    from breeze_lab.jobs.records import Definition, Run

__all__ = ["DoHandler", "JobsHandler", "JobsPage", "Keeper", "RunHandler", "routes"]

_KEEP_MS: Final = 15_000
_MOST_RUNS: Final = 60
#: What ``POST api/jobs/do`` does to a run, and to a job.
_TO_RUN: Final = ("cancel", "retry")
_TO_JOB: Final = ("run", "pause", "resume", "remove")


def routes() -> list[tuple[str, type[web.RequestHandler]]]:
    """Return the routes."""
    return [
        (r"/breeze-lab/jobs/?", JobsPage),
        (r"/breeze-lab/api/jobs/?", JobsHandler),
        (r"/breeze-lab/api/jobs/run/?", RunHandler),
        (r"/breeze-lab/api/jobs/do/?", DoHandler),
    ]


class Keeper:
    """Starts the service of jobs, and again when it dies, as long as something is scheduled.

    Lives on the server's event loop; a look is one small read in a thread.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._looks = PeriodicCallback(self.look, _KEEP_MS)

    def start(self) -> None:
        """Look now, and every 15 seconds."""
        self._looks.start()
        asyncio.get_running_loop().create_task(self.look())

    def stop(self) -> None:
        """Look no more; the service lives on."""
        self._looks.stop()

    async def look(self) -> None:
        """Start the service where one is needed and none runs."""
        try:
            await asyncio.to_thread(_keep)
        except (BreezeLabError, OSError) as exc:
            self._log.warning("The service of jobs is not there: %s", exc)


def _keep() -> None:
    if processes.running(settings.folders().runtime, "jobs") is None and face.needs_service():
        face.ensure()


class JobsHandler(Rest):
    """``GET api/jobs``: what is scheduled, when it is due, what became of the last runs."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer without starting anything."""
        self.answer(await asyncio.to_thread(_overview))


class RunHandler(Rest):
    """``GET api/jobs/run?run=7``: one run, and the end of its log."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer with the run as it is now."""
        number = self.number("run", 0, 0, 2**53)
        try:
            self.answer(await asyncio.to_thread(_one, number))
        except BreezeLabError as exc:
            self.refuse(exc)


class DoHandler(Rest):
    """``POST api/jobs/do``: cancel or retry a run; run, pause, resume or remove a job."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Do it; answer with the number of the run it is about, or nothing."""
        given = self.body()
        what, run, job = given.get("do"), given.get("run"), given.get("job")
        if what in _TO_RUN and type(run) is int:
            do = functools.partial(_to_run, what, run)
        elif what in _TO_JOB and isinstance(job, str):
            do = functools.partial(_to_job, what, job)
        else:
            raise web.HTTPError(
                400, f"do is one of {', '.join((*_TO_RUN, *_TO_JOB))}, with a run or a job"
            )
        try:
            self.answer({"run": await asyncio.to_thread(do)})
        except BreezeLabError as exc:
            self.refuse(exc)


class JobsPage(JupyterHandler):
    """``GET jobs``: the page."""

    auth_resource = RESOURCE

    async def prepare(self) -> None:  # type: ignore[override]  # theirs takes an option
        """Show nothing to a foreign page, as the API's routes do not."""
        await super().prepare()
        if not self.check_origin():
            raise web.HTTPError(404)

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Send the page; its script alone may run, and it may ask this server alone."""
        nonce = secrets.token_urlsafe(12)
        self.xsrf_token  # noqa: B018 - sets the cookie that the page's requests repeat
        place = resources.files("breeze_lab_server") / "jobs.html"
        page = place.read_text("utf-8").replace("{{nonce}}", nonce)
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
        )
        self.finish(page.replace("{{base}}", escape(self.base_url)))


def _overview() -> dict[str, Any]:
    service = processes.running(settings.folders().runtime, "jobs")
    found: dict[str, Any] = {
        "now": clock.now().isoformat(), "service": service is not None, "jobs": [], "runs": [],
    }  # fmt: skip
    book = open_book(must_exist=True)
    if book is None:
        return found
    with book:
        jobs = book.definitions()
        runs = book.runs(most=_MOST_RUNS)
        names = {one.id: one for one in jobs}
        for run in runs:
            if run.definition not in names:
                names[run.definition] = book.definition(run.definition)
    found["jobs"] = [_job(one) for one in jobs]
    found["runs"] = [told(run, names[run.definition]) for run in runs]
    return found


def _job(one: Definition) -> dict[str, Any]:
    return {
        "name": one.name, "notebook": Path(one.notebook).name, "phrase": one.phrase,
        "parameters": one.parameters, "market": one.market, "session": one.session,
        "catch_up": one.catch_up, "alert": one.alert, "retries": one.retries,
        "timeout_s": one.timeout_s, "active": one.active,
        "next": [due.isoformat() for due in face.next_dues(one)],
    }  # fmt: skip


def told(run: Run, one: Definition) -> dict[str, Any]:
    """Return what a page may know of a run."""
    plain = asdict(run)
    kept = (
        "id", "state", "cause", "late", "attempt", "cell", "cells", "message", "started", "ended",
        "wanted",
    )  # fmt: skip
    return {
        **{name: plain[name] for name in kept}, "job": one.name,
        "due": clock.from_epoch(run.due_ms / 1000).isoformat(),
        "output": Path(run.output).name if run.output else "",
    }  # fmt: skip


def _one(number: int) -> dict[str, Any]:
    with Book(folder() / "book.sqlite") as book:
        run = book.run(number)
        one = book.definition(run.definition)
    text = logs.tail(folder() / "runs" / str(number) / "log")
    return {**told(run, one), "log": text}


def _to_run(what: str, number: int) -> int | None:
    if what == "retry":
        return face.retry(number).id
    with Book(folder() / "book.sqlite") as book:
        return book.cancel(number).id


def _to_job(what: str, name: str) -> int | None:
    if what == "run":
        return face.run_now(name).id
    with Book(folder() / "book.sqlite") as book:
        if what == "remove":
            book.remove(name)
        else:
            book.pause(name, active=what == "resume")
    if what == "resume":
        face.ensure()
    return None
