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
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab.errors import BreezeLabError
from breeze_lab.jobs import face
from breeze_lab_server import formed
from breeze_lab_server.rest import RESOURCE, Rest

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["routes"]

_FEATURES: Final = {
    "job_name": True, "parameters": True, "output_formats": True, "job_definition": True,
    "idempotency_token": False, "tags": False, "email_notifications": False,
    "timeout_seconds": False, "retry_on_timeout": False, "max_retries": False,
    "min_retry_interval_millis": False, "output_filename_template": False, "stop_job": True,
    "delete_job": True,
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
        await self.work(formed.list_runs, self.root, asked, self.page())

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Run."""
        await self.work(formed.run_now, self.root, self.body())


class CountHandler(Form):
    """``GET``: how many runs have a status."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Count."""
        status = self.get_query_argument("status", "IN_PROGRESS")
        asked = {"status": status, "job_definition_id": "", "name": ""}
        page = {"keys": [], "most": 0, "first": 0}
        await self.work(lambda: {"count": formed.list_runs(self.root, asked, page)["total_count"]})


class JobHandler(Form):
    """One run: look, stop, delete."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, number: str) -> None:
        """Look."""
        await self.work(formed.show_run, self.root, int(number))

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def patch(self, number: str) -> None:
        """Stop; nothing else of a run can be changed."""
        if self.body().get("status") != "STOPPED":
            raise web.HTTPError(400, "a run can only be stopped")
        await self.work(formed.stop, int(number))

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self, number: str) -> None:
        """Delete; one under way is ended first."""
        await self.work(formed.delete, [int(number)])


class FilesHandler(Form):
    """``GET``: the form asks for files to be brought; ours are in their place already."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, number: str) -> None:
        """Change nothing."""
        await self.work(lambda: formed.show_run(self.root, int(number)) and None)


class BatchHandler(Form):
    """``DELETE``: several runs."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self) -> None:
        """Delete."""
        given = self.get_query_arguments("job_id")
        if not all(text.isdigit() for text in given):
            raise web.HTTPError(400, "job_id is a number")
        await self.work(formed.delete, [int(text) for text in given])


class DefinitionsHandler(Form):
    """``GET`` lists jobs, ``POST`` schedules one."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """List."""
        name = self.get_query_argument("name", "")
        await self.work(formed.list_definitions, name, self.page())

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Schedule."""
        await self.work(formed.schedule, self.root, self.body())


class DefinitionHandler(Form):
    """One job: look, pause, resume, change, remove."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, name: str) -> None:
        """Look."""
        await self.work(formed.show_definition, name)

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def patch(self, name: str) -> None:
        """Change."""
        await self.work(formed.change, self.root, name, self.body())

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self, name: str) -> None:
        """Remove."""
        await self.work(formed.remove, name)


class FromDefinitionHandler(Form):
    """``POST``: run a scheduled job now."""

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self, name: str) -> None:
        """Run."""
        given = formed.parameters_of(self.body())
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
                    "name": formed.ENVIRONMENT, "label": "Breeze Lab", "metadata": {},
                    "description": "Runs on market time, with the notebook's own kernel",
                    "file_extensions": ["ipynb"], "utc_only": False,
                    "output_formats": [
                        {"name": name, "label": label} for name, label in formed.FORMATS.items()
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
