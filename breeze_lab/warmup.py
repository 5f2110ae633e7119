"""Warming up: what the first chart needs is loaded while a person reads that the login worked.

Only in a kernel, and only after a login there: a process that never asks for
data loads nothing. Libraries of others alone: two threads that enter our own
rooms by different doors could each see half of one.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from typing import Final

__all__ = ["begin"]

#: One may import those before it and none behind it: who needs one meanwhile waits in no circle.
_LIBRARIES: Final = ("numpy", "pyarrow.parquet", "requests", "anywidget")

_begun = threading.Event()


def begin() -> None:
    """Load them on a thread of their own, once in this process."""
    if not _begun.is_set():
        _begun.set()
        threading.Thread(target=_load, name="breeze-lab-warmup", daemon=True).start()


def _load() -> None:
    for name in _LIBRARIES:
        with contextlib.suppress(Exception):  # who needs it hears why it cannot be loaded
            importlib.import_module(name)
