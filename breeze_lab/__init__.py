"""Breeze Lab: research Indian markets in Jupyter, over ICICI Direct's Breeze API.

    import breeze_lab
    breeze_lab.login_practice()
    breeze_lab.candles("RELIANCE", "1m")

Names load on first use, so importing the package (and ``%load_ext
breeze_lab``) costs a kernel next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from breeze_lab import errors

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from breeze_lab.checkup import doctor
    from breeze_lab.dashboards.published import publish, published, unpublish
    from breeze_lab.jobs.face import schedule
    from breeze_lab.lab import candles, history, master, quote, search, status
    from breeze_lab.queries import sql
    from breeze_lab.session import login, login_practice, logout
    from breeze_lab.shares.face import share, shares
    from breeze_lab.streaming import stream

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "candles",
    "doctor",
    "errors",
    "history",
    "login",
    "login_practice",
    "logout",
    "master",
    "publish",
    "published",
    "quote",
    "schedule",
    "search",
    "share",
    "shares",
    "sql",
    "status",
    "stream",
    "unpublish",
]

_ROOM_OF = {
    "candles": "lab",
    "doctor": "checkup",  # a module called doctor would hide the function of that name
    "history": "lab",
    "master": "lab",
    "publish": "dashboards.published",
    "published": "dashboards.published",
    "quote": "lab",
    "schedule": "jobs.face",
    "search": "lab",
    "share": "shares.face",
    "shares": "shares.face",  # the module of that name can be called, too
    "sql": "queries",
    "status": "lab",
    "login": "session",
    "login_practice": "session",
    "logout": "session",
    "stream": "streaming",
    "unpublish": "dashboards.published",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its room on first use."""
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'breeze_lab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"breeze_lab.{room}"), name)
    globals()[name] = value  # the next look finds it without asking us
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics: ``%load_ext breeze_lab``."""
    from breeze_lab.feed_magics import FeedMagics  # noqa: PLC0415 - only inside IPython
    from breeze_lab.history_magic import HistoryMagics  # noqa: PLC0415
    from breeze_lab.magics import BreezeMagics  # noqa: PLC0415 - only inside IPython
    from breeze_lab.replay_magic import ReplayMagics  # noqa: PLC0415
    from breeze_lab.schedule_magic import ScheduleMagics  # noqa: PLC0415
    from breeze_lab.share_magic import ShareMagics  # noqa: PLC0415

    shell.register_magics(
        BreezeMagics, FeedMagics, HistoryMagics, ReplayMagics, ScheduleMagics, ShareMagics
    )
    manager: Any = shell.extension_manager

    def quietly(*_: object) -> None:
        # The Breeze Lab kernel has loaded us: a notebook made for any kernel loads us once more,
        # and IPython would scold it.
        shell.events.unregister("pre_run_cell", quietly)
        manager.loaded.discard(__name__)

    shell.events.register("pre_run_cell", quietly)
