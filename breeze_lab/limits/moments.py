"""Moments and lives: a clock all processes share, and who is still there.

The wall clock jumps; the seconds since boot do not, and every process of the
machine reads the same ones, time asleep included. A process is named by its
number, its start time and its namespace, so that a number used again is not
taken for the one that died.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from breeze_lab import clock

__all__ = ["Life", "boot_id", "boot_seconds", "lives", "midnight", "myself", "next_midnight"]

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS lacks the first
_START: Final = 19  # of the fields behind the name in /proc/PID/stat: start time in ticks


def boot_seconds() -> float:
    """Return the seconds since boot, the same in all processes of this machine."""
    return time.clock_gettime(_CLOCK)


@functools.cache
def boot_id() -> str:
    """Return a name of this boot; empty where the system has none.

    Without one a reboot still shows, for the seconds since boot went back.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a process: number, start time in ticks, namespace of numbers."""

    pid: int
    born: str

    def __str__(self) -> str:
        return f"{self.pid}:{self.born}"

    @classmethod
    def of(cls, text: str) -> Life:
        """Read what ``str`` wrote."""
        pid, _, born = text.partition(":")
        return cls(int(pid), born)


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Return the start time of a living process; empty when it is dead or cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[_START]  # a zombie calls nobody any more


_known: dict[int, Life] = {}


def myself() -> Life:
    """Return the life of this process; another one after a fork."""
    pid = os.getpid()
    if pid not in _known:
        _known.clear()
        _known[pid] = Life(pid, f"{_born(pid)}@{_namespace()}")
    return _known[pid]


def lives(life: Life) -> bool | None:
    """Say whether a process lives; None when it cannot be seen from here (another container)."""
    born, _, namespace = life.born.partition("@")
    if namespace != _namespace():
        return None
    if born:
        return _born(life.pid) == born
    try:  # no /proc: the number alone must do, and one used again only holds a slot longer
        os.kill(life.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def midnight(epoch: float) -> float:
    """Return the Unix seconds of the last midnight in India at or before `epoch`."""
    day = clock.from_epoch(epoch).date()
    return datetime(day.year, day.month, day.day, tzinfo=clock.IST).timestamp()


def next_midnight(epoch: float) -> datetime:
    """Return the next midnight in India after `epoch`, aware IST."""
    day = clock.from_epoch(epoch).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=clock.IST)
