"""The gap ledger: every silence of a room, with its bounds, its cause and what became of it.

Owns the durable record (SQLite in WAL mode, so that a kill loses nothing that
was said) and the rule that the gaps of one room never overlap. When a silence
begins and ends, and whether it counts, is left to `breeze_lab.relay.gaps`.
A disk that cannot be written to is noted; what is open is known all the same.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Entry", "GapState", "Ledger"]

_log: Final = logging.getLogger(__name__)

GapState = Literal["open", "closed", "healed", "not healable"]

#: Entries older than this are forgotten when the ledger is opened.
_KEPT_MS: Final = 90 * 86_400_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS gaps (
    id INTEGER PRIMARY KEY, market TEXT NOT NULL, room TEXT NOT NULL, key TEXT NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER, cause TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS one_open ON gaps (market, room) WHERE to_ms IS NULL;
CREATE INDEX IF NOT EXISTS by_room ON gaps (market, room, to_ms);
"""
_FIELDS: Final = "id, room, key, from_ms, to_ms, cause, state, reason"


@dataclass(frozen=True, slots=True)
class Entry:
    """One silence of one room.

    Parameters
    ----------
    number
        Its name in the ledger.
    room, key
        The broker's room and what it is to us; `key` may be empty.
    from_ms, to_ms
        When the last frame before it and the first one after it were received,
        Unix milliseconds; `to_ms` is None while it is open.
    cause
        Why nothing came.
    state
        ``"open"``, ``"closed"``, ``"healed"`` or ``"not healable"``.
    reason
        Why it could not be healed.
    """

    number: int
    room: str
    key: str
    from_ms: int
    to_ms: int | None
    cause: str
    state: GapState
    reason: str = ""

    def row(self, key: str = "") -> list[Any]:
        """Return ``[key, from_ms, to_ms, cause, state]``, as the door sends it."""
        cause = f"{self.cause}; {self.reason}" if self.reason else self.cause
        return [key or self.key or self.room, self.from_ms, self.to_ms, cause, self.state]


class Ledger:
    """All gaps of one user; one process writes it.

    Parameters
    ----------
    path
        Where it lies; None keeps it in memory.
    market
        Whose rooms are meant, ``"practice"`` or ``"icici"``; change it with `use`.
    now_ms
        The present in Unix milliseconds, to forget what is too old; 0 forgets nothing.

    Attributes
    ----------
    open_rooms
        The open gap of each room that has one, of the market in use.
    trouble
        Why it cannot be written; empty while it can.
    """

    def __init__(self, path: Path | None = None, market: str = "", now_ms: int = 0) -> None:
        """Read what is open."""
        self.market = market
        self.open_rooms: dict[str, Entry] = {}
        self.trouble = ""
        self._ends: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        try:
            self._db = self._opened(":memory:" if path is None else str(path))
        except sqlite3.Error as exc:
            self.trouble = f"{type(exc).__name__}: {exc}"
            _log.warning("The gap ledger cannot be used (%s); gaps are kept in memory.", exc)
            self._db = self._opened(":memory:")
        if now_ms:
            self._write("DELETE FROM gaps WHERE to_ms < ?", [(now_ms - _KEPT_MS,)])
        self.use(market)

    def use(self, market: str) -> None:
        """Go on with the rooms of `market`."""
        self.market = market
        found = self._db.execute(
            f"SELECT {_FIELDS} FROM gaps WHERE market = ? AND to_ms IS NULL",  # noqa: S608
            (market,),
        )
        self.open_rooms = {entry.room: entry for entry in map(_entry, found)}
        ends = self._db.execute(
            "SELECT room, MAX(to_ms) FROM gaps WHERE market = ? GROUP BY room", (market,)
        )
        self._ends = {room: end for room, end in ends if end is not None}

    def know(self, room: str, key: str) -> None:
        """Remember what a room is to us."""
        self._keys.setdefault(room, key)

    def open(self, rooms: Iterable[str], since_ms: int, cause: str) -> list[Entry]:
        """Begin a gap of each room; one that is open already stays as it is.

        Parameters
        ----------
        since_ms
            When the last frame was received. Never before the room's last gap ended.

        Returns
        -------
        list of Entry
            What was opened.
        """
        opened: list[Entry] = []
        number = self._next_number()
        for room in rooms:
            if room in self.open_rooms:
                continue
            from_ms = max(since_ms, self._ends.get(room, since_ms))
            entry = Entry(number, room, self._keys.get(room, ""), from_ms, None, cause, "open")
            number += 1
            self.open_rooms[room] = entry
            opened.append(entry)
        self._write(
            f"INSERT INTO gaps (market, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            [(self.market, *_values(entry)) for entry in opened],
        )
        return opened

    def close(self, room: str, until_ms: int) -> Entry | None:
        """End the gap of a room with the first frame after it; None when none was open."""
        entry = self.open_rooms.pop(room, None)
        if entry is None:
            return None
        ended = replace(entry, to_ms=max(until_ms, entry.from_ms), state="closed")
        self._ends[room] = max(self._ends.get(room, 0), ended.to_ms or 0)
        return self.change(ended)

    def drop(self, room: str) -> None:
        """Forget the open gap of a room: it was none."""
        entry = self.open_rooms.pop(room, None)
        if entry is not None:
            self._write("DELETE FROM gaps WHERE id = ?", [(entry.number,)])

    def change(self, entry: Entry) -> Entry:
        """Write an entry that changed; return it."""
        if entry.to_ms is None:
            self.open_rooms[entry.room] = entry
        self._write(
            "UPDATE gaps SET key = ?, from_ms = ?, to_ms = ?, cause = ?, state = ?, reason = ? "
            "WHERE id = ?",
            [(*_values(entry)[2:], entry.number)],
        )
        return entry

    def entries(self, since_ms: int = 0, limit: int = 1000) -> list[Entry]:
        """Return the gaps of this market that reach `since_ms` or past it: the newest, in order."""
        found = self._db.execute(
            f"SELECT {_FIELDS} FROM gaps WHERE market = ? AND (to_ms IS NULL OR to_ms >= ?) "  # noqa: S608
            "ORDER BY from_ms DESC, id DESC LIMIT ?",
            (self.market, since_ms, limit),
        )
        return [_entry(row) for row in found][::-1]

    def counts(self) -> dict[str, int]:
        """Return how many gaps this market has of each state."""
        found = self._db.execute(
            "SELECT state, COUNT(*) FROM gaps WHERE market = ? GROUP BY state", (self.market,)
        )
        return dict(found.fetchall())

    def shut(self) -> None:
        """Let go of the file."""
        self._db.close()

    @staticmethod
    def _opened(path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        db.execute("PRAGMA journal_mode = WAL")
        # What a kill of this process leaves is whole; a power cut may cost the last second.
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        return db

    def _next_number(self) -> int:
        (highest,) = self._db.execute("SELECT MAX(id) FROM gaps").fetchone()
        return max(highest or 0, *(e.number for e in self.open_rooms.values()), 0) + 1

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        try:
            self._db.execute("BEGIN")
            try:
                self._db.executemany(statement, rows)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            if not self.trouble:
                _log.warning("The gap ledger cannot be written: %s", exc)
            self.trouble = f"{type(exc).__name__}: {exc}"
        else:
            self.trouble = ""


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(*row)


def _values(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.number, entry.room, entry.key, entry.from_ms, entry.to_ms, entry.cause, entry.state,
        entry.reason,
    )  # fmt: skip
