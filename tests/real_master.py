"""The real security masters, where they are at hand: a folder ``shared`` beside the repository."""

from __future__ import annotations

from pathlib import Path

from breeze_lab.instruments import SecurityMaster

__all__ = ["load", "path"]


def path(name: str) -> Path | None:
    """Return a file of the shared data, None where there is none."""
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "data" / name
        if found.exists():
            return found
    return None


def load(folder: Path) -> SecurityMaster:
    """Return the whole master of 2026-07-30, compiled once into `folder`."""
    zipped = path("securitymaster-2026-07-30/SecurityMaster.zip")
    assert zipped is not None
    compiled = folder / "2026-07-30.columns"
    if not compiled.exists():
        SecurityMaster.compile(zipped, compiled)
    return SecurityMaster.load(compiled)
