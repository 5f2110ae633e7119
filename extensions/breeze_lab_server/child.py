"""A process that the server starts when somebody asks for it: relay, dashboards, share links.

Owns that it is started once for however many ask at the same time, off the
event loop, and that who leaves meanwhile cancels nothing for the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from breeze_lab import processes
from breeze_lab.errors import BreezeLabError
from breeze_lab.settings import folders

if TYPE_CHECKING:
    import logging

__all__ = ["Child"]


class Child:
    """A process of ours, by its name in the runtime folder; lives on the server's event loop.

    Parameters
    ----------
    name, module
        As `breeze_lab.processes.ensure` takes them.
    log
        The server's logger.
    timeout_s
        How long its start may take.

    Attributes
    ----------
    error
        Why its last start failed; empty when it did not.
    """

    def __init__(
        self, name: str, module: str, log: logging.Logger, timeout_s: float = 30.0
    ) -> None:
        """Start nothing yet."""
        self.log, self.error = log, ""
        self._name, self._module, self._timeout_s = name, module, timeout_s
        self._task: asyncio.Task[dict[str, Any]] | None = None

    @property
    def starting(self) -> bool:
        """Whether it is being started."""
        return self._task is not None

    async def record(self) -> dict[str, Any] | None:
        """Return its ready record, or None while it does not run."""
        return await asyncio.to_thread(processes.running, folders().runtime, self._name)

    def begin(self) -> None:
        """Start it, unless that is under way; returns at once."""
        if self._task is None:
            self.error = ""
            self._task = asyncio.create_task(self._start())
            self._task.add_done_callback(_note)

    async def ensure(self) -> dict[str, Any]:
        """Return its ready record, starting it when it does not run.

        Raises
        ------
        BreezeLabError, OSError
            When it did not become ready.
        """
        self.begin()
        assert self._task is not None
        # A browser that leaves must not cancel the start the others wait for.
        return await asyncio.shield(self._task)

    async def _start(self) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(
                processes.ensure, folders().runtime, self._name, self._module,
                timeout_s=self._timeout_s,
            )  # fmt: skip
        except (BreezeLabError, OSError) as exc:
            self.error = str(exc)
            self.log.warning("The process %r did not start: %s", self._name, exc)
            raise
        finally:
            self._task = None


def _note(task: asyncio.Task[Any]) -> None:
    """Have looked at a failure that nobody waits for; it was logged."""
    if not task.cancelled():
        task.exception()
