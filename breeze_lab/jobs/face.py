"""What a person calls: `schedule` a notebook, and look at what became of it.

Shared by notebooks, the magic, the command and JupyterLab's form, so that all
of them make the same jobs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import accounts, clock, processes, settings
from breeze_lab.errors import ScheduleError
from breeze_lab.jobs import alerts, markets, parameters, when
from breeze_lab.jobs.book import Book, folder
from breeze_lab.jobs.records import Definition, Run

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Job", "define", "ensure", "needs_service", "run_now", "schedule"]

CATCH_UP: Final = ("latest", "all", "none")
_NAME: Final = re.compile(r"[\w][\w .-]{0,59}")
_LONGEST_S: Final = 24 * 3600.0
_MOST_RETRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled notebook; shown, it says when it runs next and what became of the last runs."""

    name: str

    @property
    def definition(self) -> Definition:
        """What was scheduled."""
        with _book() as book:
            return book.definition(self.name)

    @property
    def runs(self) -> list[Run]:
        """What became of its due times, the newest first, those under way before them."""
        with _book() as book:
            return book.runs(book.definition(self.name).id)

    def next_due(self, count: int = 3) -> list[datetime]:
        """Return the next due times, aware, Asia/Kolkata, by the clock of its market."""
        return next_dues(self.definition, count)

    def run(self) -> Run:
        """Run it now, once more; return the run."""
        return run_now(self.name)

    def cancel(self) -> None:
        """Take it away; what has run stays in the book."""
        with _book() as book:
            book.remove(self.name)

    def __repr__(self) -> str:
        one = self.definition
        paused = "" if one.active else " (paused)"
        lines = [
            f"{one.name}: {Path(one.notebook).name}, {one.phrase or 'by hand'}{paused}",
            *(f"  next  {due:%a %d-%m-%Y %H:%M} IST" for due in self.next_due()),
            *(f"  {run.state:<9} {spoken(run)}" for run in self.runs[:5]),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def spoken(run: Run) -> str:
    """Return one line about a run: due, late or not, how far, why."""
    due = f"{clock.from_epoch(run.due_ms / 1000):%a %d-%m-%Y %H:%M} IST"
    late = ", late" if run.late else ""
    cell = f", cell {run.cell} of {run.cells}" if run.state == "running" and run.cells else ""
    return f"{due}{late}{cell}{': ' + run.message if run.message else ''}"


def next_dues(one: Definition, count: int = 3) -> list[datetime]:
    """Return the next `count` due times of a definition; none where it is paused or by hand."""
    reading = markets.read(one.market)
    if not one.active or not one.phrase or reading is None:
        return []
    rule = when.parse(one.phrase)
    found: list[datetime] = []
    at: datetime | None = max(reading.now, clock.from_epoch(one.covered_ms / 1000))
    while len(found) < count and at is not None and (at := rule.next_due(at)) is not None:
        found.append(at)
    return found


def schedule(
    notebook: str | Path,
    phrase: str,
    parameters: dict[str, Any] | None = None,
    *,
    name: str = "",
    timeout: float = 3600.0,
    retries: int = 0,
    catch_up: str = "latest",
    alert: str = "failure",
    session: str = "",
    output: str | Path = "",
    html: bool = False,
) -> Job:
    """Run a notebook by itself, at the due times of a phrase.

    Parameters
    ----------
    notebook
        Its path; read anew for every run, so later edits count.
    phrase
        ``"after F&O close on trading days"``, ``"09:00 on trading days"``,
        ``"every 15m while the market is open"``, ``"15:00 on expiry days"``,
        ``"cron 30 18 * * 1-5"``; see docs/jobs.md.
    parameters
        Values for the names of its cell tagged ``parameters``; checked now.
        Where it declares ``due``, a run is given its due time.
    name
        The job's; by default the notebook's. The same name again replaces it.
    timeout, retries
        Seconds a run may take, and how often a failed run is tried again.
    catch_up
        What to do about due times at which the machine was off: run the
        ``"latest"``, ``"all"`` or ``"none"`` of them.
    alert
        ``"failure"``, ``"success"``, ``"both"`` or ``"none"``; where alerts go
        is set with ``breeze-lab jobs alerts``.
    session
        ``"shared"`` waits for a login where there is none; ``"none"`` needs
        none; ``"own"`` logs in to the practice market by itself.
    output
        Folder of the finished notebooks; by default ``jobs/NAME`` beside it.
    html
        Keep a page beside each finished notebook.

    Returns
    -------
    Job

    Raises
    ------
    ScheduleError
        Of the phrase, the notebook, a parameter or an option, with what to do.

    Examples
    --------
    >>> import breeze_lab
    >>> breeze_lab.schedule(
    ...     "nightly.ipynb", "after F&O close on trading days", {"top": 5}
    ... )  # doctest: +SKIP
    """
    one = define(
        notebook, phrase, parameters or {}, name=name, timeout=timeout, retries=retries,
        catch_up=catch_up, alert=alert, session=session, output=output, html=html,
    )  # fmt: skip
    ensure()
    return Job(one.name)


def define(
    notebook: str | Path, phrase: str, given: dict[str, Any], *, name: str = "",
    timeout: float = 3600.0, retries: int = 0, catch_up: str = "latest", alert: str = "failure",
    session: str = "", output: str | Path = "", html: bool = False,
) -> Definition:  # fmt: skip
    """Check a definition and keep it; start nothing. Parameters as in `schedule`.

    An empty phrase makes one that runs by hand only.
    """
    path = Path(notebook).expanduser().absolute()
    rule = when.parse(phrase) if phrase else None
    wanted = name or path.stem
    if not _NAME.fullmatch(wanted):
        raise ScheduleError(
            f"{wanted[:60]!r} is no name for a job: letters, digits, blanks, dots and dashes."
        )
    parameters.refuse_secrets({"name": wanted})
    _known_secrets(given)
    fitted = parameters.fit(given, parameters.declared(path), path.name)
    _one_of("catch_up", catch_up, CATCH_UP)
    _one_of("alert", alert, alerts.WHEN)
    if not 1 <= timeout <= _LONGEST_S:
        raise ScheduleError(f"A timeout is 1 to {_LONGEST_S:.0f} seconds, not {timeout}.")
    if not 0 <= retries <= _MOST_RETRIES:
        raise ScheduleError(f"Retries are 0 to {_MOST_RETRIES}, not {retries}.")
    market, usual = _market()
    session = session or usual
    _one_of("session", session, ("shared", "own", "none"))
    if session == "own" and market != "practice":
        raise ScheduleError(
            "Only the practice market can be logged in to by itself. With session='shared' a run "
            "waits for your login."
        )
    reading = markets.read(market)
    if reading is None:
        raise ScheduleError("The practice market does not tell its time. See %breeze_practice.")
    if rule is not None and rule.next_due(reading.now) is None:
        raise ScheduleError(f"{rule.text!r} is never due again.")
    with _book() as book:
        return book.keep(
            Definition(
                name=wanted, notebook=str(path), phrase=rule.text if rule else "",
                parameters=fitted, market=market, session=session, timeout_s=float(timeout),
                retries=retries, catch_up=catch_up, alert=alert,
                output=str(Path(output).expanduser().absolute()) if output else "",
                formats="ipynb html" if html else "ipynb", covered_ms=reading.now_ms,
            )
        )  # fmt: skip


def run_now(name: str, given: dict[str, Any] | None = None, cause: str = "hand") -> Run:
    """Run a job now, whatever its phrase; `given` takes the place of single parameters.

    Raises
    ------
    ScheduleError, NoSuchJob, ProcessError
    """
    with _book() as book:
        one = book.definition(name)
        _known_secrets(given or {})
        path = Path(one.notebook)
        fitted = parameters.fit(given or {}, parameters.declared(path), path.name)
        made = book.order(one, _now_ms(one), cause, {**one.parameters, **fitted})
    ensure()
    return made


def retry(number: int) -> Run:
    """Run again what failed, was missed, skipped or cancelled: a run of its own; return it.

    Raises
    ------
    ScheduleError, NoSuchJob, ProcessError
    """
    with _book() as book:
        old = book.run(number)
        if old.open:
            raise ScheduleError(f"Run {number} has not ended: {old.state}. Cancel it first.")
        one = book.definition(old.definition)
        if one.removed:
            raise ScheduleError(f"The job of run {number} was removed. Schedule it again.")
        given = dict(old.parameters)
        if parameters.DUE in parameters.declared(Path(one.notebook)):
            # It is the old due time that is done now.
            given.setdefault(parameters.DUE, clock.from_epoch(old.due_ms / 1000).isoformat())
        made = book.order(one, _now_ms(one), f"retry of {number}", given)
    ensure()
    return made


def ensure() -> dict[str, Any]:
    """Return the record of the service, started when none runs.

    Raises
    ------
    ProcessError
    """
    return processes.ensure(settings.folders().runtime, "jobs", "breeze_lab.jobs")


def needs_service() -> bool:
    """Say whether something is scheduled or under way; makes nothing."""
    path = settings.folders().data / "jobs" / "book.sqlite"
    if not path.exists():
        return False
    with Book(path) as book:
        return bool(book.definitions(active=True) or book.open_runs())


def _book() -> Book:
    return Book(folder() / "book.sqlite")


def _now_ms(one: Definition) -> int:
    reading = markets.read(one.market)
    return (reading or markets.Reading(clock.now())).now_ms


def _market() -> tuple[str, str]:
    """Return whose market a new job follows, and how it comes by a session."""
    from breeze_lab import session  # noqa: PLC0415 - light, but knows the broker

    mine = session.peek()
    if os.environ.get("BREEZE_LAB_SESSION") == "practice" and (mine is None or mine.practice):
        return "practice", "own"
    if mine is not None:
        return mine.endpoints.name, "shared"
    facts = accounts.facts()
    return (facts.broker if facts is not None else "icici"), "shared"


def _known_secrets(given: dict[str, Any]) -> None:
    """Refuse a value that is one of this user's keys, whatever it looks like."""
    from breeze_lab.jobs.hiding import Scrubber  # noqa: PLC0415 - opens the vault

    if given and Scrubber().knows(repr(given)):
        raise ScheduleError(
            "A parameter holds one of your keys or your session and was not kept: parameters "
            "stand in the notebook's output. A scheduled notebook joins your session by itself."
        )


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ScheduleError(f"{what} is one of {', '.join(known)}, not {value!r:.40}.")
