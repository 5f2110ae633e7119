"""A book on disk: one SQLite file that several processes of one user write.

Owns how such a file is made (mode 0600, its form and version in one step, though
two begin at once), opened for any thread, written in turns and closed. What
stands in it is its owner's business.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from breeze_lab.errors import BreezeLabError

__all__ = ["BookFile"]


class BookFile:
    """An open book; closed with `close` or as a context manager. For any thread.

    A subclass says what it is: `words` ("The book of jobs"), `loss` (what ends with the
    file), `error` (what is raised), `version` and `schema` (SQL that makes the tables and
    sets ``user_version``, in one transaction) and further `pragmas`.

    Parameters
    ----------
    path
        The file; made when it is missing.

    Raises
    ------
    BreezeLabError
        An `error`: it cannot be read or was made by a newer version.
    """

    words: ClassVar[str]
    loss: ClassVar[str] = ""
    error: ClassVar[type[BreezeLabError]]
    version: ClassVar[int]
    schema: ClassVar[str]
    pragmas: ClassVar[tuple[str, ...]] = ()
    #: Seconds that another's turn is waited for.
    busy_s: ClassVar[float] = 20.0

    def __init__(self, path: Path) -> None:
        """Open it."""
        self._lock = threading.RLock()
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            self._file = sqlite3.connect(
                path, timeout=self.busy_s, isolation_level=None, check_same_thread=False
            )
            self._file.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = FULL", *self.pragmas):
                self._file.execute(f"PRAGMA {pragma}")
            self._make()
        except sqlite3.DatabaseError as exc:
            loss = f"; {self.loss}" if self.loss else ""
            raise self.error(
                f"{self.words} cannot be read ({exc}). Move {path} away to begin a new one{loss}."
            ) from exc

    def _make(self) -> None:
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version == 0:
            # Of two who make it at once the second finds it made.
            with contextlib.suppress(sqlite3.OperationalError):
                self._file.executescript(f"BEGIN IMMEDIATE; {self.schema} COMMIT;")
            if self._file.in_transaction:
                self._file.rollback()
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version != self.version:
            raise self.error(
                f"{self.words} has the form {version}, this Breeze Lab knows {self.version}. "
                "Update Breeze Lab."
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def turn(self) -> Iterator[sqlite3.Connection]:
        """Hold the only right to write while the block runs; an error undoes all of it."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    def ask(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows of one statement; one that writes is a turn by itself."""
        with self._lock:
            return self._file.execute(query, values).fetchall()

    @property
    def changes(self) -> int:
        """A number that changes when another connection wrote."""
        return int(self.ask("PRAGMA data_version")[0][0])
