"""Indicators for charts: a browser's websocket, and the worker that computes.

A chart must keep its indicators moving while its kernel is busy or gone, and
TA-Lib and pandas-ta load pandas, which this server must not: so they live in a
process of their own, `breeze_lab.indicators.worker`, started by the first
chart that has one and ended a while after the last. What a chart sends, its
bars and its specs, is passed on as it is, and so is the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web, websocket

from breeze_lab.indicators import catalogue
from breeze_lab_server.rest import RESOURCE, Rest
from breeze_lab_server.supervisor import SUBPROTOCOL

if TYPE_CHECKING:
    import logging

__all__ = ["CatalogueHandler", "IndicatorsHandler", "Worker", "routes"]

#: 5,000 bars of six numbers of twenty digits; their indicators are longer.
MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024

#: A chart asks again when it was answered; two may cross.
MAX_WAITING: Final = 4

#: How long the worker waits for another chart.
IDLE_S: Final = 60.0

BAD_REQUEST, WORKER_RESTARTED = 1008, 1012


class Worker:
    """The process that computes, whenever a chart asks.

    Parameters
    ----------
    log
        The server's logger.

    Notes
    -----
    Lives on the server's event loop. Answers come in the order of the questions.
    """

    def __init__(self, log: logging.Logger) -> None:
        """Start nothing yet."""
        self.charts: set[IndicatorsHandler] = set()
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._waiting: deque[asyncio.Future[str]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process; None while there is none."""
        return None if self._process is None else self._process.pid

    async def ask(self, line: str) -> str:
        """Return the worker's answer to one line.

        Raises
        ------
        ConnectionError
            It ended before it answered.
        """
        async with self._starting:
            if self._process is None:
                await self._start()
        process = self._process
        if process is None or process.stdin is None:
            raise ConnectionError("the indicators' process ended")
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()
        return await answer

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            # Not from the notebooks' folder: a talib.py there is somebody's experiment.
            sys.executable, "-P", "-m", "breeze_lab.indicators.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=MAX_ANSWER_BYTES,
        )  # fmt: skip
        for work in (self._read(self._process), self._tell(self._process)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._log.info("Indicators are computed by process %d.", self._process.pid)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand out answers until the process ends; then no chart waits in vain."""
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                answer = self._waiting.popleft()
                if not answer.done():  # its chart may have left
                    answer.set_result(line.decode().rstrip("\n"))
        finally:
            self._process = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # its output cannot be read any more
            left, self._waiting = self._waiting, deque()
            for answer in left:
                if not answer.done():
                    answer.set_exception(ConnectionError("the indicators' process ended"))
            for chart in list(self.charts):
                chart.close(WORKER_RESTARTED, "the indicators' process ended")
        self._log.info("The indicators' process ended with %s.", await process.wait())

    async def _tell(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._log.warning("Indicators: %s", line.decode(errors="replace").rstrip()[:500])

    def enter(self, chart: IndicatorsHandler) -> None:
        """Count a chart, which keeps the process."""
        self.charts.add(chart)
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def leave(self, chart: IndicatorsHandler, name: str) -> None:
        """Forget a chart; with the last one the process ends after a while."""
        self.charts.discard(chart)
        if self._process is not None and self._process.stdin is not None:
            loop = asyncio.get_running_loop()
            self._waiting.append(loop.create_future())
            self._process.stdin.write(json.dumps({"chart": name, "op": "forget"}).encode() + b"\n")
            if not self.charts:
                self._ending = loop.call_later(IDLE_S, self.stop)

    def stop(self) -> None:
        """End the process; what it knew, a chart can say again."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


class CatalogueHandler(Rest):
    """``GET api/indicators/catalogue``: what a chart's menu offers."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer from the file; nothing is started for that."""
        self.answer({"indicators": [one.to_dict() for one in catalogue.listed().values()]})


class IndicatorsHandler(WebSocketMixin, websocket.WebSocketHandler, JupyterHandler):
    """``WS api/indicators``: one chart's questions to the worker and its answers, in order."""

    auth_resource = RESOURCE
    _numbers = itertools.count(1)

    def initialize(self, worker: Worker) -> None:
        """Take the worker from the route."""
        self.worker = worker
        self._name = str(next(self._numbers))
        self._questions: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._answering: asyncio.Task[None] | None = None

    @property
    def max_message_size(self) -> int:
        """Bytes of the longest frame a browser may send."""
        return MAX_REQUEST_BYTES

    @ws_authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Open the websocket for a user who may, from a page of this server's."""
        if not self.check_origin():
            raise web.HTTPError(403)
        await super().get(*args, **kwargs)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Agree on the one protocol there is."""
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Begin to answer; the worker is started by the first question."""
        super().open(*args, **kwargs)
        if self.selected_subprotocol is None:
            self.close(BAD_REQUEST, f"offer the subprotocol {SUBPROTOCOL}")
            return
        self.set_nodelay(True)
        self.worker.enter(self)
        self._answering = asyncio.create_task(self._run())

    def on_message(self, message: str | bytes) -> None:
        """Queue a question."""
        try:
            question = json.loads(message)
            line = json.dumps({**question, "chart": self._name})
        except (RecursionError, TypeError, ValueError):
            self.close(BAD_REQUEST, "not a JSON map")
            return
        if question.get("op") not in ("open", "bars"):
            self.close(BAD_REQUEST, "a chart asks open and bars")
            return
        try:
            self._questions.put_nowait(line)
        except asyncio.QueueFull:
            self.close(BAD_REQUEST, "wait for the answers")

    def on_close(self) -> None:
        """Let the worker forget this chart."""
        if self._answering is not None:
            self._answering.cancel()
            self.worker.leave(self, self._name)
        super().on_close()

    async def _run(self) -> None:
        with contextlib.suppress(websocket.WebSocketClosedError):
            while True:
                line = await self._questions.get()
                try:
                    answer = await self.worker.ask(line)
                except (ConnectionError, OSError) as exc:
                    self.log.warning("No indicators for a chart: %s", exc)
                    self.close(WORKER_RESTARTED, "the indicators' process ended")
                    return
                await self.write_message(answer)


def routes(worker: Worker) -> list[tuple[Any, ...]]:
    """Return the routes; the server puts its base URL in front."""
    return [
        (r"/breeze-lab/api/indicators/?", IndicatorsHandler, {"worker": worker}),
        (r"/breeze-lab/api/indicators/catalogue/?", CatalogueHandler),
    ]
