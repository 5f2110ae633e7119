"""A run's log: what its processes write, without secrets, in files that do not grow for ever."""

from __future__ import annotations

import codecs
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from breeze_lab.jobs.hiding import Scrubber

__all__ = ["Rotated", "pump", "tail"]

_LARGEST: Final = 1024 * 1024
_OLDER: Final = 2
#: A line longer than this is written in parts.
_LONGEST_LINE: Final = 64 * 1024


class Rotated:
    """A text file that begins anew after a megabyte; two older ones are kept beside it.

    Parameters
    ----------
    path
        ``log``; the older ones are ``log.1`` and ``log.2``. Mode 0600.
    """

    def __init__(self, path: Path, largest: int = _LARGEST) -> None:
        self._path, self._largest = path, largest

    def write(self, text: str) -> None:
        """Append a text."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size + len(text) > self._largest:
                for number in range(_OLDER, 0, -1):
                    older = self._path.with_name(f"{self._path.name}.{number}")
                    newer = self._path.with_name(f"{self._path.name}.{number - 1}")
                    with contextlib.suppress(FileNotFoundError):
                        (self._path if number == 1 else newer).replace(older)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def pump(log: Rotated, scrubber: Scrubber) -> None:
    """Lead this process's output, and that of processes it starts, into the log from now on.

    Line by line, in a thread of its own, so that a secret is not cut in two.
    """
    reading, writing = os.pipe()
    for descriptor in (1, 2):
        os.dup2(writing, descriptor)
    os.close(writing)

    def copy() -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        kept = ""
        while chunk := os.read(reading, 65_536):
            kept += decoder.decode(chunk)
            whole, mark, kept = kept.rpartition("\n")
            if len(kept) > _LONGEST_LINE:
                whole, mark, kept = whole + mark + kept, "\n", ""
            if mark:
                log.write(scrubber.text(whole + mark))

    threading.Thread(target=copy, name="log", daemon=True).start()


def tail(path: Path, most: int = 64 * 1024) -> str:
    """Return the end of a log, the older file's too where the newest is short."""
    found = b""
    for one in (path, path.with_name(f"{path.name}.1")):
        with contextlib.suppress(OSError), one.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (most - len(found))))
            found = file.read() + found
        if len(found) >= most:
            break
    return found.decode(errors="replace")
