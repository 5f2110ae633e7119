"""The book of jobs: definitions, due times, and what became of each, on disk.

One SQLite file (WAL, mode 0600) that notebooks, commands, the Jupyter server,
the service and its workers all write. A due time of a definition is one row;
a row ends once, in one of `ENDS`, and a trigger in the database itself keeps
any later hand off it. Who may change a run while it is under way is decided by
its attempt: a worker of an earlier attempt changes nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import settings
from breeze_lab.books import BookFile
from breeze_lab.errors import NoSuchJob, ScheduleError
from breeze_lab.jobs.records import ENDS, Definition, Run

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

__all__ = ["Book", "folder", "open_book"]

_IN_ENDS: Final = "('done', 'failed', 'cancelled', 'skipped', 'missed')"
_VERSION: Final = 1
_SCHEMA: Final = f"""
CREATE TABLE definitions (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, notebook TEXT NOT NULL, phrase TEXT NOT NULL,
  parameters TEXT NOT NULL, market TEXT NOT NULL, session TEXT NOT NULL, timeout_s REAL NOT NULL,
  retries INTEGER NOT NULL, catch_up TEXT NOT NULL, alert TEXT NOT NULL, output TEXT NOT NULL,
  formats TEXT NOT NULL, active INTEGER NOT NULL, removed INTEGER NOT NULL DEFAULT 0,
  made_ms INTEGER NOT NULL, covered_ms INTEGER NOT NULL);
CREATE UNIQUE INDEX one_name ON definitions (name) WHERE removed = 0;
CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, definition TEXT NOT NULL REFERENCES definitions (id),
  due_ms INTEGER NOT NULL, cause TEXT NOT NULL, state TEXT NOT NULL,
  late INTEGER NOT NULL DEFAULT 0, parameters TEXT NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  claimed INTEGER NOT NULL DEFAULT 0, pid INTEGER, not_before REAL NOT NULL DEFAULT 0,
  noticed REAL NOT NULL, started REAL, ended REAL, cell INTEGER NOT NULL DEFAULT 0,
  cells INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
  output TEXT NOT NULL DEFAULT '', wanted TEXT NOT NULL DEFAULT '',
  serial TEXT NOT NULL DEFAULT '', UNIQUE (definition, due_ms));
CREATE INDEX runs_open ON runs (state) WHERE state NOT IN {_IN_ENDS};
CREATE TRIGGER ended_once BEFORE UPDATE OF state ON runs
  WHEN OLD.state IN {_IN_ENDS}
  BEGIN SELECT RAISE(ABORT, 'this run has ended'); END;
CREATE TRIGGER ended_stays BEFORE DELETE ON runs
  WHEN OLD.state NOT IN {_IN_ENDS}
  BEGIN SELECT RAISE(ABORT, 'this run has not ended'); END;
CREATE TABLE alerts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, channel TEXT NOT NULL,
  body TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, next REAL NOT NULL, state TEXT NOT NULL,
  note TEXT NOT NULL DEFAULT '', UNIQUE (run, channel));
PRAGMA user_version = {_VERSION};
"""


def folder() -> Path:
    """Return the folder of the book and the runs, private to the user; made if missing."""
    path = settings.folders().data / "jobs"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def open_book(*, must_exist: bool = False) -> Book | None:
    """Return the user's book; None when there is none yet and `must_exist`."""
    path = settings.folders().data / "jobs" / "book.sqlite"
    if must_exist and not path.exists():
        return None
    return Book(folder() / "book.sqlite")


class Book(BookFile):
    """The open book; closed with `close` or as a context manager. For any thread.

    Parameters
    ----------
    path
        The file; made when it is missing.

    Raises
    ------
    ScheduleError
        It cannot be read or was made by a newer version.
    """

    words = "The book of jobs"
    error = ScheduleError
    version = _VERSION
    schema = _SCHEMA
    pragmas = ("foreign_keys = ON",)

    # -- definitions --------------------------------------------------------

    def keep(self, wanted: Definition) -> Definition:
        """Write a definition, in the place of the one of that name; return it with its id."""
        with self.turn() as file:
            row = file.execute(
                "SELECT id FROM definitions WHERE name = ? AND removed = 0", (wanted.name,)
            ).fetchone()
            plain = {f.name: getattr(wanted, f.name) for f in fields(wanted)}
            plain["id"] = row["id"] if row else str(uuid.uuid4())
            plain["parameters"] = json.dumps(wanted.parameters)
            plain["made_ms"] = time.time_ns() // 1_000_000
            names = ", ".join(plain)
            marks = ", ".join(f":{name}" for name in plain)
            sets = ", ".join(f"{name} = excluded.{name}" for name in plain if name != "id")
            file.execute(
                f"INSERT INTO definitions ({names}) VALUES ({marks}) "  # noqa: S608 - our names
                f"ON CONFLICT (id) DO UPDATE SET {sets}", plain,
            )  # fmt: skip
        return self.definition(plain["id"])

    def definitions(self, *, active: bool = False) -> list[Definition]:
        """Return all that were not removed, by name."""
        more = "AND active" if active else ""
        rows = self.ask(f"SELECT * FROM definitions WHERE NOT removed {more} ORDER BY name")  # noqa: S608
        return [Definition.of(row) for row in rows]

    def definition(self, name: str) -> Definition:
        """Return the definition of this id or name.

        Raises
        ------
        NoSuchJob
        """
        rows = self.ask(
            "SELECT * FROM definitions WHERE id = ? OR (name = ? AND removed = 0)", name, name
        )
        if not rows:
            known = ", ".join(one.name for one in self.definitions()) or "none yet"
            raise NoSuchJob(f"No job is called {name[:60]!r}. There are: {known}.")
        return Definition.of(rows[0])

    def pause(self, name: str, *, active: bool) -> None:
        """Stop or go on making due times. What it missed meanwhile stays missing."""
        one = self.definition(name)
        with self.turn() as file:
            file.execute("UPDATE definitions SET active = ? WHERE id = ?", (active, one.id))

    def remove(self, name: str) -> None:
        """Take a definition away; what has run stays, what has not is cancelled."""
        one = self.definition(name)
        with self.turn() as file:
            file.execute("UPDATE definitions SET removed = 1, active = 0 WHERE id = ?", (one.id,))
            _cancel(file, "definition = ?", one.id, "its job was removed")

    # -- runs ---------------------------------------------------------------

    def cover(
        self, definition: Definition, dues: list[tuple[int, str, bool, str]], until_ms: int
    ) -> None:
        """Enter due times and remember that all up to `until_ms` are in; together or not at all.

        Parameters
        ----------
        dues
            Due time, state (``"due"`` or one of `ENDS`), late, message.
        """
        with self.turn() as file:
            fresh = file.execute(
                "SELECT covered_ms, phrase FROM definitions WHERE id = ? AND active",
                (definition.id,),
            ).fetchone()
            if fresh is None or tuple(fresh) != (definition.covered_ms, definition.phrase):
                return  # somebody else covered it, or changed it
            now, given = time.time(), json.dumps(definition.parameters)
            for due, state, late, message in dues:
                file.execute(
                    "INSERT OR IGNORE INTO runs (definition, due_ms, cause, state, late, message, "
                    "parameters, noticed, ended) VALUES (?, ?, 'schedule', ?, ?, ?, ?, ?, ?)",
                    (definition.id, due, state, late, message, given, now,
                     now if state in ENDS else None),
                )  # fmt: skip
            file.execute(
                "UPDATE definitions SET covered_ms = ? WHERE id = ?", (until_ms, definition.id)
            )

    def order(
        self,
        definition: Definition,
        due_ms: int,
        cause: str,
        parameters: dict[str, Any] | None = None,
    ) -> Run:
        """Enter a run by hand, due now (`due_ms`, of the market's clock)."""
        given = definition.parameters if parameters is None else parameters
        with self.turn() as file:
            while file.execute(
                "SELECT 1 FROM runs WHERE definition = ? AND due_ms = ?", (definition.id, due_ms)
            ).fetchone():
                due_ms += 1
            made = file.execute(
                "INSERT INTO runs (definition, due_ms, cause, state, parameters, noticed) "
                "VALUES (?, ?, ?, 'due', ?, ?)",
                (definition.id, due_ms, cause, json.dumps(given), time.time()),
            ).lastrowid
        assert made is not None
        return self.run(made)

    def run(self, number: int) -> Run:
        """Return one run.

        Raises
        ------
        NoSuchJob
        """
        rows = self.ask("SELECT * FROM runs WHERE id = ?", number)
        if not rows:
            raise NoSuchJob(f"There is no run {number}. See them: breeze-lab jobs list")
        return Run.of(rows[0])

    def runs(self, definition: str = "", most: int = 100) -> list[Run]:
        """Return the newest runs, those under way first."""
        where = "WHERE definition = ?" if definition else ""
        rows = self.ask(
            f"SELECT * FROM runs {where} ORDER BY state IN {_IN_ENDS}, "  # noqa: S608
            "due_ms DESC, id DESC LIMIT ?",
            *([definition] if definition else []), most,
        )  # fmt: skip
        return [Run.of(row) for row in rows]

    def open_runs(self) -> list[Run]:
        """Return what has not ended, in the order of due times."""
        rows = self.ask(
            f"SELECT * FROM runs WHERE state NOT IN {_IN_ENDS} ORDER BY due_ms, id"  # noqa: S608
        )
        return [Run.of(row) for row in rows]

    def start(self, run: Run) -> Run | None:
        """Begin the next attempt of a run that may begin; None when it may not any more."""
        with self.turn() as file:
            done = file.execute(
                "UPDATE runs SET state = 'running', attempt = attempt + 1, claimed = 0, "
                "pid = NULL, started = ?, cell = 0, message = '' WHERE id = ? AND attempt = ? "
                "AND state IN ('due', 'waiting') AND wanted = '' AND NOT EXISTS (SELECT 1 "
                "FROM runs other WHERE other.definition = runs.definition "
                "AND other.state = 'running')",
                (time.time(), run.id, run.attempt),
            )  # fmt: skip
        return self.run(run.id) if done.rowcount else None

    def claim(self, number: int, attempt: int, pid: int) -> bool:
        """Take an attempt as its one worker; False when it is taken or no longer wanted."""
        with self.turn() as file:
            done = file.execute(
                "UPDATE runs SET claimed = 1, pid = ? WHERE id = ? AND attempt = ? AND NOT claimed "
                "AND state = 'running' AND wanted = ''",
                (pid, number, attempt),
            )
        return bool(done.rowcount)

    def progress(self, number: int, attempt: int, cell: int, cells: int) -> bool:
        """Note which cell runs; False when the attempt is over."""
        with self.turn() as file:
            done = file.execute(
                "UPDATE runs SET cell = ?, cells = ? WHERE id = ? AND attempt = ? "
                "AND state = 'running'",
                (cell, cells, number, attempt),
            )
        return bool(done.rowcount)

    def put_back(
        self, run: Run, state: str, message: str, *, wait_s: float = 0.0, deaths: int = 0,
        failures: int = 0, serial: str = "",
    ) -> bool:  # fmt: skip
        """Let a run wait or be due again; False when its attempt is over."""
        assert state in ("due", "waiting")
        with self.turn() as file:
            done = file.execute(
                "UPDATE runs SET state = ?, message = ?, not_before = ?, deaths = deaths + ?, "  # noqa: S608 - ours
                "failures = failures + ?, serial = ?, pid = NULL WHERE id = ? AND attempt = ? "
                f"AND state NOT IN {_IN_ENDS}",
                (state, message, time.time() + wait_s, deaths, failures, serial or run.serial,
                 run.id, run.attempt),
            )  # fmt: skip
        return bool(done.rowcount)

    def end(
        self, run: Run, state: str, message: str, *, output: str = "",
        alerts: tuple[tuple[str, str], ...] = (),
    ) -> bool:  # fmt: skip
        """End a run, and order the alerts about it in the same breath.

        Returns
        -------
        bool
            False when this attempt no longer counts, or the run had ended.
        """
        assert state in ENDS
        with self.turn() as file:
            done = file.execute(
                "UPDATE runs SET state = ?, message = ?, output = ?, ended = ?, pid = NULL "  # noqa: S608 - ours
                f"WHERE id = ? AND attempt = ? AND state NOT IN {_IN_ENDS}",
                (state, message, output, time.time(), run.id, run.attempt),
            )
            for channel, body in alerts if done.rowcount else ():
                file.execute(
                    "INSERT OR IGNORE INTO alerts (run, channel, body, next, state) "
                    "VALUES (?, ?, ?, ?, 'due')",
                    (run.id, channel, body, time.time()),
                )
        return bool(done.rowcount)

    def forget(self, number: int) -> None:
        """Take a run that has ended out of the book; its due time does not come again."""
        with self.turn() as file:
            file.execute("DELETE FROM alerts WHERE run = ? AND state != 'due'", (number,))
            file.execute("DELETE FROM runs WHERE id = ?", (number,))

    def mark_late(self, run: Run) -> None:
        """Say that a run begins late."""
        with self.turn() as file:
            file.execute("UPDATE runs SET late = 1 WHERE id = ?", (run.id,))

    def cancel(self, number: int) -> Run:
        """End a run that waits, and ask for the end of one that is under way.

        Raises
        ------
        NoSuchJob, ScheduleError
        """
        run = self.run(number)
        if not run.open:
            raise ScheduleError(f"Run {number} has ended already: {run.state}.")
        with self.turn() as file:
            _cancel(file, "id = ?", number, "cancelled by hand")
        return self.run(number)


def _cancel(file: sqlite3.Connection, which: str, value: object, why: str) -> None:
    file.execute(
        f"UPDATE runs SET state = 'cancelled', message = ?, ended = ? WHERE {which} "  # noqa: S608
        "AND state IN ('due', 'waiting')",
        (why, time.time(), value),
    )
    file.execute(
        f"UPDATE runs SET wanted = 'cancelled' WHERE {which} AND state = 'running'",  # noqa: S608
        (value,),
    )
