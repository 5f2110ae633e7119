"""What a recorded day is against the broker's history: the file beside the recording.

Owns the durable record, one SQLite file a day, written an instrument at a
time, so that a kill costs the instrument under way and nothing else. The relay
reads its summary; who compares is `breeze_lab.recordings.compare`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from breeze_lab.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from breeze_lab.relay.days import Place

__all__ = ["COUNTS", "Compared", "Task", "summary"]

#: What is counted of each instrument.
COUNTS: Final = ("bars", "differing", "in_gap", "missing", "extra", "partial")
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS instruments (
    key TEXT PRIMARY KEY, calls INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
    tries INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', at_ms INTEGER,
    {", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in COUNTS)}
);
CREATE TABLE IF NOT EXISTS differences (
    key TEXT NOT NULL, start_s INTEGER NOT NULL, field TEXT NOT NULL, ours REAL, theirs REAL,
    in_gap INTEGER NOT NULL, PRIMARY KEY (key, start_s, field)
);
"""
_LONGEST_REASON: Final = 200


class Task(NamedTuple):
    """One instrument and its price in calls."""

    key: str
    calls: int


class Compared:
    """The file of one day; a context manager.

    Parameters
    ----------
    place
        The day. The file is made when it is missing, mode 0600.

    Raises
    ------
    RecordingError
        It cannot be read or written.
    """

    def __init__(self, place: Place) -> None:
        """Open it."""
        self.place = place
        try:
            place.compared.touch(mode=0o600)
            self._db = sqlite3.connect(place.compared, timeout=10, isolation_level=None)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as exc:
            raise _damaged(place, exc) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def recording(self) -> str:
        """Return the name of the recording that was begun with; empty when none was."""
        found = self._read("SELECT value FROM facts WHERE name = 'recording'")
        return str(found[0][0]) if found else ""

    def begin(self, recording: str, tasks: Iterable[Task]) -> None:
        """Note what there is to do; what was done of the same recording stays done.

        Parameters
        ----------
        recording
            Names what was recorded. Of another one everything is compared anew.
        """
        with self._writing() as db:
            known = db.execute("SELECT value FROM facts WHERE name = 'recording'").fetchone()
            if known is None or known[0] != recording:
                for table in ("facts", "instruments", "differences"):
                    db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
                db.execute("INSERT INTO facts VALUES ('recording', ?)", (recording,))
            db.executemany(
                "INSERT INTO instruments (key, calls) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
                tasks,
            )

    def waiting(self, keys: Iterable[str] | None = None) -> list[Task]:
        """Return what is to be done, of some keys or of all, in their order."""
        wanted = None if keys is None else set(keys)
        found = self._read("SELECT key, calls FROM instruments WHERE state = 'waiting'")
        return [Task(*row) for row in sorted(found) if wanted is None or row[0] in wanted]

    def done(
        self, key: str, counts: Mapping[str, int], rows: Iterable[tuple[int, str, Any, Any, bool]]
    ) -> None:
        """Keep what came of an instrument, all of it or nothing.

        Parameters
        ----------
        counts
            Of each of `COUNTS`.
        rows
            Opening second, field, ours, theirs and whether it lies in a gap.
        """
        named = ", ".join(f"{name} = ?" for name in COUNTS)
        with self._writing() as db:
            db.execute("DELETE FROM differences WHERE key = ?", (key,))
            db.executemany(
                "INSERT INTO differences VALUES (?, ?, ?, ?, ?, ?)", [(key, *row) for row in rows]
            )
            db.execute(
                "UPDATE instruments SET state = 'compared', reason = '', at_ms = ?, "  # noqa: S608
                f"{named} WHERE key = ?",
                (_now_ms(), *(counts[name] for name in COUNTS), key),
            )

    def failed(self, key: str, reason: str, *, most_tries: int = 1) -> None:
        """Note that an instrument could not be compared; `most_tries` times it is tried."""
        with self._writing() as db:
            db.execute(
                "UPDATE instruments SET tries = tries + 1, reason = ?, at_ms = ?, state = "
                "CASE WHEN tries + 1 >= ? THEN 'not comparable' ELSE state END WHERE key = ?",
                (reason[:_LONGEST_REASON], _now_ms(), most_tries, key),
            )

    def wait(self, reason: str) -> None:
        """Note why it does not go on now; nothing when it does."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO facts VALUES ('waits', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (reason[:_LONGEST_REASON],),
            )

    def instruments(self) -> list[dict[str, Any]]:
        """Return what came of each instrument, by key."""
        names = ("key", "calls", "state", "tries", "reason", *COUNTS)
        rows = self._read(f"SELECT {', '.join(names)} FROM instruments ORDER BY key")  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in rows]

    def differences(self) -> list[Sequence[Any]]:
        """Return key, opening second, field, ours, theirs, in a gap; by key and time."""
        return self._read("SELECT * FROM differences ORDER BY key, start_s, rowid")

    def calls_since(self, at_ms: int) -> int:
        """Return the price of what was done or tried since a moment in Unix milliseconds."""
        told = "SELECT SUM(calls) FROM instruments WHERE at_ms >= ?"
        return int(self._read(told, (at_ms,))[0][0] or 0)

    # -- inside -----------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Any:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                yield self._db
        except sqlite3.Error as exc:
            raise _damaged(self.place, exc) from exc

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as exc:
            raise _damaged(self.place, exc) from exc


def summary(place: Place) -> dict[str, Any] | None:
    """Return how the comparison of a day stands; None when it was not begun or cannot be read now.

    Returns
    -------
    dict
        ``day`` and ``market``; of all instruments (``of``) those that are compared
        (``instruments``), failed and waiting; the price of the latter (``calls_left``);
        the sums of `COUNTS`; and why it does not go on (``waits``).
    """
    sums = ", ".join(f"TOTAL({name})" for name in COUNTS)
    query = (
        "SELECT COUNT(*), TOTAL(state = 'compared'), TOTAL(state = 'not comparable'), "  # noqa: S608
        "TOTAL(state = 'waiting'), TOTAL(CASE state WHEN 'waiting' THEN calls END), "
        f"{sums}, (SELECT value FROM facts WHERE name = 'waits') FROM instruments"
    )
    uri = f"{place.compared.absolute().as_uri()}?mode=ro"  # the relay only looks
    try:
        with contextlib.closing(sqlite3.connect(uri, timeout=0.1, uri=True)) as db:
            *numbers, waits = db.execute(query).fetchone()
    except sqlite3.Error:
        return None
    names = ("of", "instruments", "failed", "waiting", "calls_left", *COUNTS)
    counts = {name: int(number) for name, number in zip(names, numbers, strict=True)}
    known = {"day": place.day.isoformat(), "market": place.market, **counts, "waits": waits or ""}
    return known if counts["of"] else None


def _damaged(place: Place, exc: Exception) -> RecordingError:
    return RecordingError(
        f"{place.compared} cannot be used ({exc}). Remove it, and "
        f"`breeze-lab recordings compare {place.day}` makes it again."
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
