"""One look into the book of calls: what counts now, who waits, what was said by the broker.

Owns the meaning of the entries. A call may reach the broker at any moment
between its sending and its answer, so it counts from its start until a minute
after its end; without an answer, somewhat longer. Whatever is not known is
taken at its worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.limits import moments

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

__all__ = ["SCHEMA", "SPAN_S", "VERSION", "Hold", "Page", "Today"]

VERSION: Final = 1
SCHEMA: Final = f"""
BEGIN;
CREATE TABLE boots (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE clocks (boot INTEGER NOT NULL, shift REAL NOT NULL, confirmed INTEGER NOT NULL);
CREATE TABLE calls (id INTEGER PRIMARY KEY, boot INTEGER NOT NULL, started REAL NOT NULL,
                    ended REAL, orders INTEGER NOT NULL, life TEXT NOT NULL);
CREATE INDEX calls_ended ON calls (boot, ended);
CREATE INDEX calls_open ON calls (id) WHERE ended IS NULL;
CREATE TABLE waiting (id INTEGER PRIMARY KEY, boot INTEGER NOT NULL, rank INTEGER NOT NULL,
                      until REAL NOT NULL, life TEXT NOT NULL);
CREATE TABLE holds (kind TEXT PRIMARY KEY, boot INTEGER NOT NULL, at REAL NOT NULL,
                    until REAL NOT NULL, why TEXT NOT NULL);
PRAGMA user_version = {VERSION};
COMMIT;
"""

#: A minute as we count it. The tenth covers clocks that do not run alike.
SPAN_S: Final = 60.1
ORDER_SPAN_S: Final = 1.1
#: The broker's midnight may be this far from ours.
_EDGE_S: Final = 5.0
#: Readings of a clock closer than this are one.
_SAME_S: Final = 2.0
_MOST_READINGS: Final = 32
#: How long entries are kept: a day, and a day by which a clock may be wrong.
_KEEP_S: Final = 50 * 3600.0
#: A call that was sent and never answered, because its caller gave up or died, may still be on its
#: way: it is taken to arrive this long after its start, or this long after the giving up.
_UNANSWERED_S: Final = 30.0
_GIVEN_UP_S: Final = 5.0
#: No call takes longer; one of a living process that seems to has been forgotten.
_FORGOTTEN_S: Final = 900.0
#: A caller that cannot be seen from here (another container, a boot ago) is given this long.
_UNSEEN_S: Final = 120.0
#: Ends lie in the future for what is unanswered or was lost with a book, never further than this.
_FUTURE_S: Final = 40.0
#: A waiter that did not move when it said it would loses its place after this.
_LATE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Today:
    """How many calls the broker's day may have seen; whether it closed it; when it counts anew."""

    used: int
    closed: bool
    anew: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """A pause until `until` (seconds since boot), and why."""

    kind: str
    until: float
    why: str


class Page:
    """The book at one moment.

    Parameters
    ----------
    file
        The open book; in a transaction when it is written.
    now, wall
        Seconds since boot and Unix seconds, read together.
    """

    def __init__(self, file: sqlite3.Connection, now: float, wall: float) -> None:
        self._file = file
        self.now, self.wall = now, wall
        known = dict(file.execute("SELECT id, n FROM boots"))
        self.boot: int = known.get(moments.boot_id(), 0)
        self._others = [n for n in known.values() if n != self.boot]

    # -- time ---------------------------------------------------------------

    def shifts(self, boot: int | None = None) -> list[float]:
        """Return how far the true time may be from the seconds since boot."""
        found = self._file.execute(
            "SELECT shift FROM clocks WHERE boot = ?", (self.boot if boot is None else boot,)
        )
        return [row[0] for row in found] or [self.wall - self.now]

    @property
    def confirmed(self) -> bool:
        """Whether the broker has told its time since boot."""
        return bool(self._confirmed())

    def _confirmed(self) -> list[tuple[float]]:
        return self._file.execute(
            "SELECT shift FROM clocks WHERE boot = ? AND confirmed", (self.boot,)
        ).fetchall()

    @property
    def true_now(self) -> float:
        """The best reading of the time, Unix seconds: the broker's where it told it."""
        return self.now + self.shifts()[-1]

    @property
    def skew(self) -> float | None:
        """Seconds by which the wall clock is ahead of the broker's; None before it was told."""
        known = self._confirmed()
        return self.wall - self.now - known[0][0] if known else None

    def learn(self) -> None:
        """Keep this reading of the wall clock beside the others, until the broker confirms one."""
        self._here()
        if not self.confirmed:
            self.believe(self.wall - self.now)

    def believe(self, shift: float) -> None:
        """Add a reading that may be true."""
        self._here()
        known = self._file.execute("SELECT shift FROM clocks WHERE boot = ?", (self.boot,))
        if any(abs(row[0] - shift) < _SAME_S for row in known):
            return
        self._file.execute("INSERT INTO clocks VALUES (?, ?, 0)", (self.boot, shift))
        self._file.execute(
            "DELETE FROM clocks WHERE boot = ?1 AND rowid NOT IN "
            "(SELECT rowid FROM clocks WHERE boot = ?1 ORDER BY rowid DESC LIMIT ?2)",
            (self.boot, _MOST_READINGS),
        )

    def confirm(self, shift: float) -> None:
        """Take the broker's own time for true, and forget other readings."""
        self._here()
        self._file.execute("DELETE FROM clocks WHERE boot = ?", (self.boot,))
        self._file.execute("INSERT INTO clocks VALUES (?, ?, 1)", (self.boot, shift))

    def _here(self) -> None:
        """Give this boot a number when its first entry is written."""
        if not self.boot:
            self._file.execute("INSERT INTO boots (id) VALUES (?)", (moments.boot_id(),))
            self.boot = self._file.execute("SELECT max(n) FROM boots").fetchone()[0]

    # -- calls --------------------------------------------------------------

    def settle(self) -> None:
        """Bring the entries up to the moment: who died in a call has ended it by now."""
        self.learn()
        run = self._file.execute
        # The seconds since boot went back: a reboot without a name, or a machine put back in time.
        run(
            "UPDATE calls SET ended = ?1 WHERE boot = ?2 AND ended > ?1 + ?3",
            (self.now, self.boot, _FUTURE_S),
        )
        for number, boot, started, text in run(
            "SELECT id, boot, started, life FROM calls WHERE ended IS NULL"
        ).fetchall():
            alive = moments.lives(moments.Life.of(text)) if boot == self.boot else None
            if alive is None:
                end = started + _UNSEEN_S
                over = boot != self.boot or end <= self.now
            else:
                end = self._unanswered(started)
                over = not alive or started < self.now - _FORGOTTEN_S
            if boot == self.boot and started > self.now:  # as above
                end, over = self.now, True
            if over:
                run("UPDATE calls SET ended = ? WHERE id = ?", (end, number))
        for number, boot, text in run("SELECT id, boot, life FROM waiting").fetchall():
            if boot != self.boot or moments.lives(moments.Life.of(text)) is False:
                run("DELETE FROM waiting WHERE id = ?", (number,))
        run(
            "DELETE FROM calls WHERE boot = ? AND ended < ?",
            (self.boot, self.now - _KEEP_S),
        )
        for boot in self._others:
            gone = self.wall - max(self.shifts(boot)) - _KEEP_S
            run("DELETE FROM calls WHERE boot = ? AND ended < ?", (boot, gone))

    def begin(self, *, orders: bool) -> int:
        """Enter a call that is about to be sent; return its number."""
        entered = self._file.execute(
            "INSERT INTO calls (boot, started, ended, orders, life) VALUES (?, ?, NULL, ?, ?)",
            (self.boot, self.now, orders, str(moments.myself())),
        )
        assert entered.lastrowid is not None
        return entered.lastrowid

    def _unanswered(self, started: float) -> float:
        return max(started + _UNANSWERED_S, self.now + _GIVEN_UP_S)

    def end(self, number: int, started: float, *, answered: bool) -> None:
        """Note that a call of ours has been answered, or given up."""
        self._file.execute(
            "UPDATE calls SET ended = ? "
            "WHERE id = ? AND started = ? AND life = ? AND ended IS NULL",
            (
                self.now if answered else self._unanswered(started),
                number,
                started,
                str(moments.myself()),
            ),
        )

    def strike(self, number: int, started: float) -> None:
        """Take back a call that was never sent."""
        self._file.execute(
            "DELETE FROM calls WHERE id = ? AND started = ? AND life = ?",
            (number, started, str(moments.myself())),
        )

    def pretend(self, count: int, ended: float) -> None:
        """Enter `count` calls nobody remembers."""
        self._file.executemany(
            "INSERT INTO calls (boot, started, ended, orders, life) VALUES (?, ?, ?, 0, '0:')",
            [(self.boot, ended, ended)] * count,
        )

    def minute(self, span_s: float = SPAN_S) -> list[float]:
        """Return when each call of the last minute stops counting, soonest first."""
        found = self._recent(span_s, "")
        young = self.now < span_s  # whatever was called before the boot ended before it
        here = max(self.shifts())
        for boot in self._others:
            there = max(self.shifts(boot)) - here
            newest = self._file.execute(
                "SELECT ended FROM calls WHERE boot = ? AND ended IS NOT NULL "
                "ORDER BY ended DESC LIMIT 200",
                (boot,),
            )
            for (ended,) in newest:
                moved = ended + there  # by the wall clock, for there is no other between boots
                if young or self.now - span_s < moved < self.now + span_s:
                    found.append((0.0 if young else min(moved, self.now)) + span_s)
        return sorted(found)

    def orders(self) -> list[float]:
        """Return when each order action of the last second stops counting, soonest first."""
        return sorted(self._recent(ORDER_SPAN_S, "AND orders"))

    def _recent(self, span_s: float, which: str) -> list[float]:
        found = self._file.execute(
            f"SELECT ended FROM calls WHERE boot = ? AND ended > ? {which} "  # noqa: S608 - ours
            f"UNION ALL SELECT NULL FROM calls WHERE ended IS NULL {which}",
            (self.boot, self.now - span_s),
        )
        return [(self.now if row[0] is None else row[0]) + span_s for row in found]

    def today(self) -> Today:
        """Return the use of the broker's day, by the reading of the clock that is the worst."""
        found = []
        for shift in self.shifts():
            begin = moments.midnight(self.now + shift - _EDGE_S) - _EDGE_S
            used = self._since(self.boot, begin - shift)
            used += self._file.execute("SELECT count(*) FROM calls WHERE ended IS NULL").fetchone()[
                0
            ]
            for boot in self._others:
                used += self._since(boot, begin - max(self.shifts(boot)))
            anew = moments.next_midnight(self.now + shift - _EDGE_S)
            found.append((used, self._closed_since(begin, shift), anew))
        return Today(
            max(used for used, _, _ in found),
            any(closed for _, closed, _ in found),
            max(anew for _, _, anew in found),
        )

    def _since(self, boot: int, moment: float) -> int:
        found = self._file.execute(
            "SELECT count(*) FROM calls WHERE boot = ? AND ended >= ?", (boot, moment)
        )
        return int(found.fetchone()[0])

    # -- what the broker said -----------------------------------------------

    def hold(self, kind: str, until: float, why: str) -> None:
        """Let nobody call until then."""
        self._here()
        self._file.execute(
            "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?)",
            (kind, self.boot, self.now, until, why),
        )

    def holds(self) -> list[Hold]:
        """Return the pauses that have not ended."""
        found = self._file.execute(
            "SELECT kind, until, why FROM holds WHERE boot = ? AND until > ? AND kind != 'day'",
            (self.boot, self.now),
        )
        return [Hold(*row) for row in found]

    def _closed_since(self, begin: float, shift: float) -> bool:
        """Say whether the broker closed the day that began at `begin`."""
        found = self._file.execute(
            "SELECT at FROM holds WHERE kind = 'day' AND boot = ? AND until > ?",
            (self.boot, self.now),
        )
        return any(at + shift >= begin for (at,) in found)

    def reopen(self) -> None:
        """Forget what the broker's refusals have closed."""
        self._file.execute("DELETE FROM holds")

    # -- who waits ----------------------------------------------------------

    def ahead(self, rank: int, place: int | None) -> int:
        """Return how many waiters come before this one: higher rank, or the same and earlier.

        One that did not move when it had said it would does not count.
        """
        found = self._file.execute(
            "SELECT count(*) FROM waiting WHERE until > ? AND (rank < ? OR (rank = ? AND id < ?))",
            (self.now - _LATE_S, rank, rank, place if place is not None else 1 << 62),
        )
        return int(found.fetchone()[0])

    def wait(self, place: int | None, rank: int, until: float) -> int:
        """Take a place among the waiters, or keep it; return its number."""
        if place is not None:
            kept = self._file.execute("UPDATE waiting SET until = ? WHERE id = ?", (until, place))
            if kept.rowcount:
                return place
        entered = self._file.execute(
            "INSERT INTO waiting (boot, rank, until, life) VALUES (?, ?, ?, ?)",
            (self.boot, rank, until, str(moments.myself())),
        )
        assert entered.lastrowid is not None
        return entered.lastrowid

    def leave(self, place: int) -> None:
        """Give up a place."""
        self._file.execute("DELETE FROM waiting WHERE id = ?", (place,))
