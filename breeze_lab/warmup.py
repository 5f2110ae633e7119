"""Warming up: what the first chart needs is loaded while a person reads that the login worked.

Only in a kernel, and only after a login there: a process that never asks for
data loads nothing. Libraries of others come on a thread of their own. Our own
rooms come on the thread that runs cells, between two of them: two threads that
enter our rooms by different doors could each see half of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from breeze_lab.session import Session

__all__ = ["begin"]

#: One may import those before it and none behind it: who needs one meanwhile waits in no circle.
_LIBRARIES: Final = (
    "numpy",
    "numpy.ma",  # the first search for doubles loads it
    "pyarrow.parquet",
    "requests",
    "anywidget",
    "msgspec",
    "websockets.asyncio.client",
)
#: Of a chart and of a cell that runs for each bar; each a few hundredths of a second, because a
#: cell that is run meanwhile waits for one of them.
_ROOMS: Final = (
    "breeze_lab.indicators.spec",
    "breeze_lab.lab",
    "breeze_lab.instruments",
    "breeze_lab.historical",
    "breeze_lab.feed",
    "breeze_lab.widgets.live_chart",
    "breeze_lab.streaming",
    "breeze_lab.cells.output",
)
#: Between two rooms, for cells that wait.
_BREATH_S: Final = 0.01

_begun = threading.Event()


def begin(session: Session) -> None:
    """Load them once in this process; call it on the thread that runs cells.

    Of `session` its SDK, which is a module of its own. Where the thread has no
    event loop, as in IPython's terminal, our rooms wait for who needs them.
    """
    if _begun.is_set():
        return
    _begun.set()
    loop = None
    with contextlib.suppress(RuntimeError):
        loop = asyncio.get_running_loop()
    threading.Thread(
        target=_load, args=(session, loop), name="breeze-lab-warmup", daemon=True
    ).start()


def _load(session: Session, loop: asyncio.AbstractEventLoop | None) -> None:
    for name in _LIBRARIES:
        _try(name)
    with contextlib.suppress(Exception):  # the first call tells why
        session.client.prepare()
    if loop is not None:
        with contextlib.suppress(RuntimeError):  # the kernel ends
            loop.call_soon_threadsafe(_enter, loop, 0)


def _enter(loop: asyncio.AbstractEventLoop, at: int) -> None:
    """Load one of our rooms, and the next one a moment later."""
    _try(_ROOMS[at])
    if at + 1 < len(_ROOMS):
        loop.call_later(_BREATH_S, _enter, loop, at + 1)


def _try(name: str) -> None:
    with contextlib.suppress(Exception):  # who needs it hears why it cannot be loaded
        importlib.import_module(name)
