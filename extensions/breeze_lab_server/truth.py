"""The route of the truth table: what the relay says of itself, read for a page.

The page asks about once a second and needs no kernel for it, so the table
lives through a busy kernel, a restart and a kernel that died.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab import truth
from breeze_lab.errors import BreezeLabError
from breeze_lab.relay.metrics import Budget
from breeze_lab_server.rest import RESOURCE, Rest
from breeze_lab_server.supervisor import ASKER

if TYPE_CHECKING:
    from breeze_lab_server.supervisor import Supervisor

__all__ = ["TruthHandler", "Truths"]

#: However many pages ask, the relay is asked no more often.
_FRESH_S: Final = 0.5


class Truths:
    """The table, asked of the relay at most twice a second; on the server's event loop.

    Parameters
    ----------
    supervisor
        Who asks the relay.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        """Know nothing yet."""
        self._supervisor = supervisor
        self._budget = Budget()
        self._lock = asyncio.Lock()  # one asks, the others wait for the answer
        self._at = float("-inf")
        self._table: dict[str, Any] = {}

    async def look(self) -> dict[str, Any]:
        """Return the table as JSON values; a relay is not started for that, nothing is raised."""
        async with self._lock:
            if time.monotonic() - self._at > _FRESH_S:
                self._table = await self._look()
                self._at = time.monotonic()
        return self._table

    async def _look(self) -> dict[str, Any]:
        status, error = None, ""
        try:
            if await self._supervisor.record() is not None:
                status = await self._supervisor.ask("status")
                # Whoever only asked is no consumer.
                status["clients"] = [
                    one for one in status["clients"] if one["keys"] or one["name"] != ASKER
                ]
        except BreezeLabError as exc:
            error = str(exc)
        budget = await asyncio.to_thread(self._budget.look)
        found = truth.read(status, budget, error)
        return {**found.to_dict(), "now_ms": time.time_ns() // 1_000_000}


class TruthHandler(Rest):
    """``GET api/truth``: what became of every instrument, who listens, how the relay stands."""

    def initialize(self, truths: Truths) -> None:
        """Take the table from the route."""
        self.truths = truths

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer without starting anything; a relay that is down is told as well."""
        self.answer(await self.truths.look())
