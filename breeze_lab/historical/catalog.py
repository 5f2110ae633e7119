"""The catalogue: which series are stored, whether they are whole, and how to forget them."""

from __future__ import annotations

import functools
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab import clock
from breeze_lab.historical import shelf, stored
from breeze_lab.historical.shelf import root
from breeze_lab.historical.stored import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

__all__ = ["Series", "forget", "series", "sweep", "verified", "verify"]

#: A practice market is left so long before its bars go; they can be made again.
_PRACTICE_S: Final = 14 * 86_400
#: A file never changes under its name, which is its checksum; a query over many reads it once.
_facts: Final = functools.lru_cache(maxsize=20_000)(stored.facts)


@dataclass(frozen=True, slots=True)
class Series:
    """The stored bars of one instrument and interval.

    Parameters
    ----------
    market, store
        ``"icici"`` or ``"practice"``, and the folder, which tells practice markets apart.
    key, interval
        What the instrument was called when the newest file was written (``"NSE:RELIANCE"``).
    first, last
        From when to when bars are known, aware IST; there may be holes.
    bars, bytes
        How many, and their size on disk.
    folder
        Where they lie.
    """

    market: str
    store: str
    key: str
    interval: str
    first: datetime
    last: datetime
    bars: int
    bytes: int
    folder: Path


def series(store: str | None = None) -> list[Series]:
    """Return what is stored, of one store or of all, by market, key and interval.

    A file that cannot be read is put aside, with a warning.

    Raises
    ------
    HistoryError
        A file is of a newer Breeze Lab.
    """
    found = [one for folder in _folders(store) if (one := _series(folder)) is not None]
    return sorted(found, key=lambda one: (one.market, one.store, one.key, one.interval))


def _folders(store: str | None) -> Iterator[Path]:
    for folder in sorted(root().glob(f"{store or '*'}/*/*")):
        if folder.is_dir():
            yield folder


def _series(folder: Path) -> Series | None:
    size = bars = 0
    said: list[tuple[int, dict[str, object]]] = []
    first, last = float("inf"), float("-inf")
    for paths in shelf.newest(folder).values():
        try:
            facts = _facts(paths[0])
            size += paths[0].stat().st_size
        except FileNotFoundError:
            continue  # written anew, or forgotten, between two looks
        except Damaged as exc:
            shelf.put_aside(paths[0], str(exc))
            continue
        bars += facts["bars"]
        first = min(first, *(one[0] for one in facts["known"]))
        last = max(last, *(one[1] for one in facts["known"]))
        said.append((max(one[2] for one in facts["known"]), facts))
    if not said:
        return None
    _, newest = max(said, key=lambda one: one[0])
    store = folder.parent.parent.name
    return Series(
        store.partition("-")[0], store, str(newest["key"]), str(newest["interval"]),
        clock.from_epoch(first), clock.from_epoch(last), bars, size, folder,
    )  # fmt: skip


def verified(folder: Path) -> list[Path]:
    """Return the files of a series whose every byte is as it was written.

    What is damaged is put aside, with a warning.
    """
    good: list[Path] = []
    for paths in shelf.newest(folder).values():
        try:
            stored.checked(paths[0])
        except FileNotFoundError:
            continue
        except Damaged as exc:
            shelf.put_aside(paths[0], str(exc))
        else:
            good.append(paths[0])
    return good


def verify(store: str | None = None) -> tuple[int, int]:
    """Read every stored byte; return how many files are whole and how many were put aside."""
    whole = damaged = 0
    for folder in _folders(store):
        files, good = len(shelf.newest(folder)), len(verified(folder))
        whole += good
        damaged += files - good
    return whole, damaged


def forget(key: str, interval: str | None = None, store: str | None = None) -> int:
    """Remove what is stored of an instrument; return how many bytes that frees.

    Parameters
    ----------
    key
        As `series` tells it, or ``"all"``.
    interval, store
        Only of these.

    Raises
    ------
    HistoryError
        Another process is writing it.
    """
    return sum(
        shelf.forget(one.folder)
        for one in series(store)
        if key in ("all", one.key) and interval in (None, one.interval)
    )


def sweep() -> None:
    """Remove the stores of practice markets that nobody has written to for two weeks."""
    for store in root().glob("practice-*"):
        folders = [folder for folder in store.glob("*/*") if folder.is_dir()]
        used = max((folder.stat().st_mtime for folder in folders), default=0.0)
        if time.time() - used > _PRACTICE_S:
            shutil.rmtree(store, ignore_errors=True)
