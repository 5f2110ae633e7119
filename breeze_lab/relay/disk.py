"""Room on the disk: how long recordings stay, and when recording has to pause.

Owns the two settings of retention and the floor of free space. What is asked
here is answered from sizes and names alone; who removes is `recorder`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from breeze_lab.relay.days import Place

__all__ = ["Limits", "Stored", "limits", "look", "surplus", "verdict"]

DAYS_VARIABLE: Final = "BREEZE_LAB_KEEP_DAYS"
GIGABYTES_VARIABLE: Final = "BREEZE_LAB_KEEP_GB"
_KEEP_DAYS: Final = 90.0
_KEEP_GB: Final = 20.0
_GB: Final = 10**9
#: Free space below which nothing more is recorded: a fiftieth of the disk, at most 2 GiB.
_SHARE: Final = 50
_MOST: Final = 2 * 2**30
#: What paused goes on when so much more than the floor is free.
_AGAIN: Final = 1.1


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept: the last `days` days, and of them the newest `bytes` bytes."""

    days: float
    bytes: float


def limits() -> Limits:
    """Return the limits that the environment sets.

    Raises
    ------
    SettingsError
        One of them is no number above 0.
    """
    return Limits(_number(DAYS_VARIABLE, _KEEP_DAYS), _number(GIGABYTES_VARIABLE, _KEEP_GB) * _GB)


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingsError(f"{variable} is a number above 0, such as {default:g}; not {text!r}.")
    return value


def verdict(free: int, size: int, *, paused: bool = False) -> str:
    """Return why nothing may be recorded on a disk, or nothing when there is room.

    Parameters
    ----------
    free, size
        Bytes. The floor is a fiftieth of the disk, at most 2 GiB.
    paused
        Whether recording has paused already; it goes on a tenth above the
        floor, so that it does not stop and go.
    """
    floor = min(size // _SHARE, _MOST) * (_AGAIN if paused else 1)
    if free >= floor:
        return ""
    return (
        f"Only {free / 2**20:,.0f} MiB are free on the disk, and {floor / 2**20:,.0f} MiB are left "
        f"to others. Make room, or keep fewer recorded days ({DAYS_VARIABLE}, "
        f"{GIGABYTES_VARIABLE})."
    )


def look(folder: Path, *, paused: bool = False) -> str:
    """Return `verdict` of the disk that holds `folder`."""
    usage = os.statvfs(folder)
    free, size = usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize
    return verdict(free, size, paused=paused)


@dataclass(frozen=True, slots=True)
class Stored:
    """One recorded day: where it is, how large, and whether it must stay whatever it costs."""

    place: Place
    bytes: int
    kept: bool


def surplus(stored: Iterable[Stored], wanted: Limits, today: date) -> list[Place]:
    """Return the days that are too old or too much, oldest first.

    A day that is marked, today and the newest day of each market stay; what
    stays counts all the same.
    """
    some = sorted(stored, key=lambda one: one.place.day, reverse=True)
    newest = _newest(some)
    found: list[Place] = []
    total = 0
    for one in some:
        total += one.bytes
        if one.kept or one.place.day >= today or one.place in newest:
            continue
        if (today - one.place.day).days > wanted.days or total > wanted.bytes:
            found.append(one.place)
            total -= one.bytes
    return found[::-1]


def _newest(some: Sequence[Stored]) -> set[Place]:
    markets: dict[str, Place] = {}
    for one in some:  # the newest come first
        markets.setdefault(one.place.market, one.place)
    return set(markets.values())
