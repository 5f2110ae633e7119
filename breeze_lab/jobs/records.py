"""A scheduled notebook and one due time of it, as the book keeps them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3

__all__ = ["ENDS", "OPEN", "Definition", "Run"]

#: Each due time ends in one of these: it ran and was good; it ran and was not; somebody ended it;
#: a newer due time took its place; nobody was there and it was not to be caught up.
ENDS: Final = ("done", "failed", "cancelled", "skipped", "missed")
#: And until then it is one of these.
OPEN: Final = ("due", "waiting", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A notebook that is run at the due times of a phrase.

    Parameters
    ----------
    notebook
        Absolute path; read anew for every run.
    phrase
        Canonical text of its rule (`breeze_lab.jobs.when`); empty when it only
        runs by hand.
    parameters
        By name, as JSON values; see `breeze_lab.jobs.parameters`.
    market
        Whose time it follows: ``"icici"`` (the wall clock) or ``"practice"``.
    session
        ``"shared"``: a run waits for a login; ``"own"``: it logs in to the
        practice market by itself; ``"none"``: it needs none.
    timeout_s, retries
        Seconds a run may take, and how often a failed one is tried again.
    catch_up
        What to do with due times at which nobody was there: ``"all"``,
        ``"latest"`` or ``"none"`` of them run.
    alert
        ``"failure"``, ``"success"``, ``"both"`` or ``"none"``.
    output
        Folder of the finished notebooks; empty: ``jobs/NAME`` beside the notebook.
    formats
        ``"ipynb"``, ``"ipynb html"``.
    covered_ms
        Due times up to this one (Unix milliseconds) are in the book.
    """

    name: str
    notebook: str
    phrase: str
    parameters: dict[str, Any]
    market: str = "icici"
    session: str = "shared"
    timeout_s: float = 3600.0
    retries: int = 0
    catch_up: str = "latest"
    alert: str = "failure"
    output: str = ""
    formats: str = "ipynb"
    active: bool = True
    removed: bool = False
    made_ms: int = 0
    covered_ms: int = 0
    id: str = ""

    @classmethod
    def of(cls, row: sqlite3.Row) -> Definition:
        """Return what a row of the book says."""
        plain = dict(row)
        plain["parameters"] = json.loads(plain["parameters"])
        plain["active"], plain["removed"] = bool(plain["active"]), bool(plain["removed"])
        return cls(**plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One due time of a definition and what became of it.

    Parameters
    ----------
    due_ms
        Unix milliseconds of the market's clock.
    cause
        ``"schedule"``, ``"hand"``, ``"form"``, or ``"retry of 7"``.
    state
        One of `OPEN` or `ENDS`.
    late
        It began more than a minute after it was due, or will.
    attempt, deaths, failures
        How often it was started, how often its process ended without a word, and
        how often the notebook failed.
    claimed, pid
        Whether a worker took the attempt, and which process.
    not_before
        Unix seconds before which it is not started (again).
    noticed, started, ended
        Unix seconds of the wall clock.
    cell, cells
        How far it is.
    message
        What to tell a person.
    output
        The finished notebook.
    wanted
        ``"cancelled"`` when somebody asked for its end.
    serial
        The login with which it met an ended session: it waits for another.
    """

    id: int
    definition: str
    due_ms: int
    cause: str
    state: str
    late: bool
    parameters: dict[str, Any]
    attempt: int
    deaths: int
    failures: int
    claimed: bool
    pid: int | None
    not_before: float
    noticed: float
    started: float | None
    ended: float | None
    cell: int
    cells: int
    message: str
    output: str
    wanted: str
    serial: str

    @classmethod
    def of(cls, row: sqlite3.Row) -> Run:
        """Return what a row of the book says."""
        plain = dict(row)
        plain["parameters"] = json.loads(plain["parameters"])
        plain["late"], plain["claimed"] = bool(plain["late"]), bool(plain["claimed"])
        return cls(**plain)

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN
