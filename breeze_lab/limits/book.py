"""The book of calls: one SQLite file per app key, open only while somebody writes in it.

Owns what is on disk: opening, locking, making it anew when it was deleted or
damaged. A writer holds SQLite's own lock and the system lets go of it when the
writer dies, so a SIGKILL at any point leaves the book as it was before or
after the transaction. What the entries mean is `breeze_lab.limits.page`'s.

Nothing holds the file open between two calls: a book that was deleted is
noticed by whoever comes next, and a fork inherits nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Final, TypeVar

from breeze_lab.errors import ProcessError, SettingsError
from breeze_lab.limits import moments
from breeze_lab.limits.page import SCHEMA, SPAN_S, VERSION, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Book"]

Found = TypeVar("Found")

_PATIENCE_S: Final = 20.0  # for a lock that is held for a millisecond
_BREATH_S: Final = 0.25  # an interrupt is heard this often while waiting for it
_GLANCES: Final = 8
_LOOKS: Final = 3  # at a book that is there and cannot be opened
#: Kept free inside the file, so that a disk that fills up later does not stop the counting.
_ROOM: Final = 1_500_000
#: A call that was under way when the book was lost has ended by then (the longest timeout is 30 s).
_UNDER_WAY_S: Final = 35.0
_MAY_BE_AHEAD: Final = 20  # calls that the witness of a lost book may have missed
_DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
_BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED")


class Book:
    """The calls of one app key.

    Parameters
    ----------
    path
        The file; mode 0600.
    witness
        A second file, outside of the book's folder, that tells how much had
        been used should the book be lost.
    wall, moment
        The two clocks: Unix seconds, which may jump, and seconds since boot.
    unknown
        How many calls of today to assume when the book is damaged and there is
        no witness.
    """

    def __init__(
        self,
        path: Path,
        witness: Path,
        *,
        wall: Callable[[], float] = time.time,
        moment: Callable[[], float] = moments.boot_seconds,
        unknown: int = 4500,
    ) -> None:
        self.path, self.witness = path, witness
        self.wall, self.moment = wall, moment
        self.unknown = unknown

    @contextlib.contextmanager
    def writing(self) -> Iterator[Page]:
        """Open the book for one writer; what is written counts when the block ends well.

        Raises
        ------
        SettingsError
            It cannot be written; nothing is counted and nothing may be sent.
        ProcessError
            Somebody held it for 20 seconds.
        """
        file, page = self._open()
        with contextlib.closing(file):
            try:
                yield page
                self._tell(page)
                file.execute("COMMIT")
            except sqlite3.Error as exc:
                _roll_back(file)
                if _name(exc).startswith(_DAMAGED):
                    self._renew(damaged=True)  # for the next one: what this one did is lost
                raise self._unwritable(exc) from exc
            except BaseException:
                _roll_back(file)
                raise

    def read(self, look: Callable[[Page], Found]) -> Found | None:
        """Return what `look` finds; None when there is no book, or none that can be read."""
        for _ in range(_GLANCES):
            try:
                with contextlib.closing(self._connect()) as file:
                    file.execute("BEGIN")  # one moment for all that is looked at
                    return look(Page(file, self.moment(), self.wall()))
            except sqlite3.Error as exc:
                if not _name(exc).startswith(_BUSY):
                    return None
        return None

    def _open(self) -> tuple[sqlite3.Connection, Page]:
        """Return the book with its lock taken, made anew when there is none that can be read."""
        deadline = time.monotonic() + _PATIENCE_S
        looks = _LOOKS
        while True:
            try:
                return self._begin()
            except sqlite3.Error as exc:
                name = _name(exc)
                if name.startswith(_BUSY):
                    if time.monotonic() > deadline:
                        raise ProcessError(
                            f"The call meter {self.path} was held for {_PATIENCE_S:.0f} s by a "
                            "process that does not move (suspended?). Nothing was sent. End it, "
                            "or move the file away, and try again."
                        ) from exc
                elif name.startswith("SQLITE_CANTOPEN") and not self.path.exists():
                    self._renew(damaged=False)
                elif name.startswith("SQLITE_CANTOPEN") and looks:
                    looks -= 1  # somebody made it between our two looks, or it is not to be opened
                elif name.startswith(_DAMAGED):
                    self._renew(damaged=True)
                else:
                    raise self._unwritable(exc) from exc

    def _begin(self) -> tuple[sqlite3.Connection, Page]:
        file = self._connect()
        try:
            file.execute("PRAGMA journal_mode=PERSIST")  # a journal that is there needs no room
            file.execute("PRAGMA synchronous=FULL")
            file.execute("BEGIN IMMEDIATE")
            file.execute("PRAGMA busy_timeout=5000")  # for who is looking while we commit
            _check(file)
            page = Page(file, self.moment(), self.wall())  # the time with the lock in hand
            page.settle()
        except BaseException:
            file.close()
            raise
        return file, page

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=_BREATH_S, isolation_level=None
        )

    # -- a book that is not there -------------------------------------------

    def _renew(self, *, damaged: bool) -> None:
        """Make the book; one at a time, and complete before anybody sees it.

        A first book is empty. One that replaces another assumes the worst of
        it: a full minute, and a day used as far as its witness knows.
        """
        temporary = self.path.with_suffix(f".{os.getpid()}.new")
        try:
            gate = os.open(self.path.with_suffix(".gate"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise self._unwritable(exc) from exc
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            if self._is_good():
                return
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as file:
                file.execute("PRAGMA journal_mode=OFF")  # nobody sees it before it is complete
                file.executescript(SCHEMA)
                file.execute("CREATE TABLE room (x)")
                file.execute("INSERT INTO room VALUES (zeroblob(?))", (_ROOM,))
                file.execute("DROP TABLE room")
                file.execute("BEGIN")
                self._assume(file, damaged=damaged)
                file.execute("COMMIT")
            if damaged:
                self.path.replace(self.path.with_suffix(".damaged"))
            for leftover in ("-journal", "-wal", "-shm"):  # of another book: not to be rolled back
                self.path.with_name(self.path.name + leftover).unlink(missing_ok=True)
            temporary.replace(self.path)
        except (OSError, sqlite3.Error) as exc:
            raise self._unwritable(exc) from exc
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            os.close(gate)

    def _is_good(self) -> bool:
        """Say whether somebody else has mended it meanwhile."""
        try:
            with contextlib.closing(self._connect()) as file:
                _check(file)
                file.execute("SELECT * FROM clocks, holds, waiting LIMIT 1").fetchall()
                said: str = file.execute("PRAGMA quick_check(1)").fetchone()[0]
                return said == "ok"
        except sqlite3.Error as exc:
            return _name(exc).startswith(_BUSY)

    def _assume(self, file: sqlite3.Connection, *, damaged: bool) -> None:
        known = self._told()
        if known is None and not damaged:
            return  # the first book of this key
        page = Page(file, self.moment(), self.wall())
        used, ended = self.unknown, page.now + _UNDER_WAY_S
        if known is not None:
            boot, at, epoch, used = known
            true_now = epoch + page.now - at if boot == moments.boot_id() else page.wall
            if moments.midnight(true_now) != moments.midnight(epoch):
                used = 0
            used += _MAY_BE_AHEAD
            if boot == moments.boot_id():
                page.believe(epoch - at)
                if page.now - at > 3 * SPAN_S:
                    ended = page.now - SPAN_S
        page.learn()
        page.pretend(max(used, 100), ended)
        if ended > page.now:
            page.hold("minute", ended + SPAN_S, "its file was lost, so the minute counts as full")

    def _tell(self, page: Page) -> None:
        """Write down elsewhere what would be missed most, in place: a full disk does not matter."""
        line = f"{moments.boot_id() or '-'} {page.now:.3f} {page.true_now:.3f} {page.today().used}"
        with contextlib.suppress(OSError):
            file = os.open(self.witness, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(file, f"{line:<99}\n".encode("ascii"), 0)
            finally:
                os.close(file)

    def _told(self) -> tuple[str, float, float, int] | None:
        try:
            text = self.witness.read_text("ascii")
            boot, at, epoch, used = text.split()
            return boot.strip("-"), float(at), float(epoch), int(used)
        except (OSError, ValueError):
            return None

    def _unwritable(self, exc: Exception) -> SettingsError:
        full = (errno.ENOSPC, errno.EDQUOT)
        if getattr(exc, "errno", None) in full or _name(exc).startswith("SQLITE_FULL"):
            why, step = "the disk is full", "Free some space"
        else:
            why = _name(exc) or os.strerror(getattr(exc, "errno", None) or errno.EIO)
            step = "See who may write there, or set BREEZE_LAB_HOME to another folder"
        return SettingsError(
            f"The call meter {self.path} cannot be written: {why}. Nothing was sent, because "
            f"calls that are not counted could pass the broker's limit. {step}, then try again."
        )


def _check(file: sqlite3.Connection) -> None:
    version = file.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise SettingsError(
            "The call meter was written by a newer Breeze Lab. Update this one, or remove its "
            "calls-*.db files."
        )
    file.execute("SELECT n FROM boots LIMIT 1").fetchone()


def _name(exc: Exception) -> str:
    return getattr(exc, "sqlite_errorname", None) or ""


def _roll_back(file: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        file.execute("ROLLBACK")
