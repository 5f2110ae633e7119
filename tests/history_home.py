"""A home with a session on the practice market, and plain ways to look at its store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from relay_home import ask

from breeze_lab import session, settings
from breeze_lab.historical.shelf import newest, root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def history_home(path: Path, practice: dict[str, Any]) -> Iterator[session.Session]:
    """Log in to a practice market in a home of its own, and forget it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(path / "home"))
        endpoints = settings.Endpoints.from_dict(practice, name="practice")
        yield session.login(
            practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
        )
        session.logout()


def served(practice: dict[str, Any]) -> int:
    """Return how many calls the practice market has answered."""
    return int(ask(practice["status_url"])["calls"])


def files(name: str = "*", interval: str = "*") -> dict[str, list[Path]]:
    """Return the stored files of instruments whose folder begins with a name, by label."""
    found: dict[str, list[Path]] = {}
    for folder in root().glob(f"*/{name}*/{interval}"):
        for label, paths in newest(folder).items():
            found.setdefault(label, []).extend(paths)
    return found
