"""The watchlist: the keys a person keeps an eye on, in their order.

One small file of the user's, shared by notebooks and JupyterLab's sidebar.
Prices are the feed's business, names those of `breeze_lab.instruments`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import SettingsError
from breeze_lab.settings import folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MOST", "add", "keys", "save"]

#: As many as fit a screen a few times over; each is one room on the account's connection.
MOST: Final = 100
_LONGEST_KEY: Final = 80


def keys() -> list[str]:
    """Return the keys, ``"NSE:RELIANCE"``, in the order in which they were put.

    A file that cannot be read counts as empty; the next `save` replaces it.
    """
    try:
        return _checked(json.loads(_path().read_text("utf-8")).get("keys"))
    except (OSError, ValueError, AttributeError, SettingsError):
        return []


def save(wanted: Any) -> list[str]:
    """Keep `wanted` as the whole watchlist; return it without repetitions.

    Raises
    ------
    SettingsError
        It is no list of at most `MOST` keys of instruments.
    """
    checked = _checked(wanted)
    with _locked():
        _write(checked)
    return checked


def add(key: str) -> list[str]:
    """Put one more key at the end; return the list. One that is there stays where it is.

    Raises
    ------
    SettingsError
        The list is full, or `key` is no key.
    """
    with _locked():
        known = keys()
        checked = _checked([*known, key])
        if checked != known:
            _write(checked)
    return checked


def _checked(wanted: Any) -> list[str]:
    if not isinstance(wanted, list) or not all(isinstance(key, str) for key in wanted):
        raise SettingsError('A watchlist is a list of keys: ["NSE:RELIANCE", "NSE:TCS"].')
    found = list(dict.fromkeys(wanted))
    for key in found:
        if not 1 <= len(key) <= _LONGEST_KEY or not key.isprintable() or ":" not in key:
            raise SettingsError(f"{key[:_LONGEST_KEY]!r} is no key like 'NSE:RELIANCE'.")
    if len(found) > MOST:
        raise SettingsError(f"A watchlist holds {MOST} instruments; remove one first.")
    return found


def _path() -> Path:
    return folders().data / "watchlist.json"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    # Two kernels may add at the same moment; neither may lose the other's.
    with (folders().runtime / "watchlist.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(wanted: list[str]) -> None:
    path = _path()
    temporary = path.with_suffix(f".{os.getpid()}.part")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"keys": wanted}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
