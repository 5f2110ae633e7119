"""Processes of a run, known by a mark in their environment.

A worker, its kernel and whatever a notebook starts inherit the mark, so the
end of a run is the end of all of them, also where a process was killed and its
children were not, and whoever started them is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from typing import TYPE_CHECKING, Final

import psutil

from breeze_lab.errors import ProcessError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIABLE", "end_all", "living", "mark"]

VARIABLE: Final = "BREEZE_LAB_RUN"
_END_TIMEOUT_S: Final = 15.0


def mark(book: Path, number: int, attempt: int | None = None) -> str:
    """Return the mark of an attempt, or the beginning of the marks of all attempts of a run."""
    digest = hashlib.sha256(os.fsencode(book)).hexdigest()[:12]
    return f"{digest}.{number}." + ("" if attempt is None else f"{attempt}.")


def living(begins: str) -> list[psutil.Process]:
    """Return the living processes whose mark begins so, ourselves left out."""
    found = []
    for process in psutil.process_iter():
        # Ended meanwhile, somebody else's, or a zombie.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.uids().real != os.getuid():
                continue
            if process.environ().get(VARIABLE, "").startswith(begins):
                found.append(process)
    return found


def end_all(begins: str) -> None:
    """Kill every process whose mark begins so, and wait until none is left.

    Raises
    ------
    ProcessError
        One does not end.
    """
    deadline = time.monotonic() + _END_TIMEOUT_S
    while left := living(begins):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if time.monotonic() > deadline:
            pids = ", ".join(str(one.pid) for one in left)
            raise ProcessError(f"Processes of a run do not end: {pids}.")
        time.sleep(0.02)
