"""The meter: who may call the broker now, who waits, and who is told to come back tomorrow.

Owns the limits, the priorities and the waiting. It counts the way the broker
does, or stricter: a sliding minute, a day in India, ten order actions a second,
for all processes of a user together.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from breeze_lab import clock, settings
from breeze_lab.errors import BreezeLabError, RateLimited
from breeze_lab.limits.book import Book
from breeze_lab.limits.page import ORDER_SPAN_S, SPAN_S, Page

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

__all__ = [
    "CALLS_PER_DAY", "CALLS_PER_MINUTE", "ORDERS_PER_SECOND", "CallMeter", "FreeMeter", "Priority",
    "Ticket", "Use",
]  # fmt: skip

CALLS_PER_MINUTE: Final = 100
CALLS_PER_DAY: Final = 5000
ORDERS_PER_SECOND: Final = 10

#: Who a call is for: orders and live charts; a person who waits for an answer; bulk history.
Priority = Literal["live", "interactive", "backfill"]
_RANKS: Final[dict[Priority, int]] = {"live": 0, "interactive": 1, "backfill": 2}
#: What a priority leaves to those before it, as shares of the minute and of the day.
_RESERVES: Final[dict[Priority, tuple[float, float]]] = {
    "live": (0.0, 0.0), "interactive": (0.05, 0.02), "backfill": (0.15, 0.10),
}  # fmt: skip
#: A waiter looks up this often: somebody before it may have given up, or died in a call.
_NAP_S: Final = 5.0
_SLOW_S: Final = 4.0
#: A refusal means that others use the key too; a minute later all they had called has aged out.
#: When the broker's day begins is not published, so a day it closed is tried again now and then.
_PAUSES: Final = {"minute": SPAN_S, "second": ORDER_SPAN_S, "day": 900.0}


@dataclass(frozen=True, slots=True)
class Use:
    """What is used and left, as one look into the book found it."""

    minute: int = 0
    today: int = 0
    note: str = ""
    skew_s: float | None = None


class Ticket:
    """The right to make one call; it counts until a minute after it is done.

    A context manager. `waited` is the seconds it took to get it.
    """

    def __init__(self, meter: CallMeter, number: int, started: float, waited: float) -> None:
        self._meter, self._number, self._started = meter, number, started
        self._open = True
        self.waited = waited

    def done(self, *, answered: bool = True) -> None:
        """Say that the answer is there, or given up. A second time changes nothing.

        Parameters
        ----------
        answered
            Without an answer the call may still be on its way, and counts longer.
        """
        if not self._open:
            return
        self._open = False
        # Not written, it counts for longer; and the next call says what is wrong with the book.
        with contextlib.suppress(BreezeLabError):
            self._meter._finish(self._number, self._started, answered=answered)  # noqa: SLF001 - see unsent

    def unsent(self) -> None:
        """Take the call back: nothing of it has left this machine."""
        if self._open:
            self._open = False
            with contextlib.suppress(BreezeLabError):
                self._meter._strike(self._number, self._started)  # noqa: SLF001 - halves of one room

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.done(answered=error is None)

    def __del__(self) -> None:
        # An interrupt between taking and using it must not leave it open for long.
        with contextlib.suppress(Exception):
            self.done(answered=False)


class CallMeter:
    """One call budget, shared by every process that names the same file.

    Parameters
    ----------
    path
        The book of calls; made when it is missing, mode 0600.
    witness
        Where to tell how much was used, should the book be lost; beside the
        book when left out.
    limit, limit_today, order_limit
        Calls in any minute, calls in a day of India, order actions in a second.
    wall, moment, sleep
        Replaced by tests: Unix seconds, seconds since boot, and waiting.

    Notes
    -----
    `of` gives the meter of an app key; the constructor is for tests.
    """

    def __init__(
        self,
        path: Path,
        witness: Path | None = None,
        *,
        limit: int = CALLS_PER_MINUTE,
        limit_today: int = CALLS_PER_DAY,
        order_limit: int = ORDERS_PER_SECOND,
        wall: Callable[[], float] = time.time,
        moment: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        unknown = self._share(limit_today, _RESERVES["backfill"][1])
        clocks = {"wall": wall} if moment is None else {"wall": wall, "moment": moment}
        self._book = Book(
            path, witness or path.with_suffix(".seen"), unknown=unknown, **clocks
        )  # fmt: skip
        self.limit, self.limit_today, self.order_limit = limit, limit_today, order_limit
        self._sleep = sleep
        self.total = 0

    @classmethod
    def of(cls, app_key: str, folders: settings.Folders | None = None) -> CallMeter:
        """Return the meter of an app key, shared by all processes of this user.

        The file is named by a keyed digest, so that no name tells the key. It
        lies in the data folder; where that cannot be written, in a private
        folder below the temporary one, which all processes find alike.
        """
        mine = folders or settings.folders()
        digest = hashlib.blake2b(
            app_key.encode(), key=b"breeze-lab call meter", digest_size=10
        ).hexdigest()
        data = mine.data if os.access(mine.data, os.W_OK) else mine.stand_in(mine.data)
        runtime = mine.runtime if os.access(mine.runtime, os.W_OK) else data
        return cls(data / f"calls-{digest}.db", runtime / f"calls-{digest}.seen")

    def __repr__(self) -> str:
        return f"<call meter: {self.used} of {self.limit} calls in the last minute>"

    # -- what is used -------------------------------------------------------

    def use(self) -> Use:
        """Return what is used, in one look; nothing is written and nobody is kept waiting."""
        return self._book.read(self._use) or Use()

    def _use(self, page: Page) -> Use:
        today = page.today()
        notes = [
            f"{hold.why}: waiting until {self._at(page, hold.until):%H:%M:%S} IST"
            for hold in page.holds()
        ]
        if today.closed:
            notes.append(
                f"the broker says the day's calls are used up: until {today.anew:%d-%m %H:%M} IST"
            )
        return Use(len(page.minute()), today.used, "; ".join(notes), page.skew)

    @property
    def used(self) -> int:
        """Calls that the broker may count in its last minute."""
        return self.use().minute

    @property
    def left(self) -> int:
        """Calls left in this minute."""
        return max(0, self.limit - self.used)

    @property
    def used_today(self) -> int:
        """Calls that the broker may count in its day."""
        return self.use().today

    @property
    def left_today(self) -> int:
        """Calls left today."""
        return max(0, self.limit_today - self.used_today)

    @property
    def note(self) -> str:
        """What keeps everybody waiting, in words; empty when nothing does."""
        return self.use().note

    @property
    def skew_s(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the broker's; None before a call."""
        return self.use().skew_s

    # -- calling ------------------------------------------------------------

    def spend(
        self,
        on_wait: Callable[[float], None] | None = None,
        *,
        priority: Priority = "interactive",
        orders: bool = False,
    ) -> Ticket:
        """Take one call, waiting until there is one.

        Parameters
        ----------
        on_wait
            Told the seconds before a wait, because silence looks like a hang.
        priority
            ``"live"`` may use everything; ``"interactive"`` leaves a little of
            the minute to it; ``"backfill"`` leaves more, of the day too. Among
            equals, who came first goes first.
        orders
            The call places, changes or cancels an order.

        Returns
        -------
        Ticket
            Close it when the answer is there.

        Raises
        ------
        RateLimited
            The day is used up; `until` says when it counts anew.
        SettingsError, ProcessError
            The book cannot be written. Nothing is counted then, and nothing
            may be sent.
        """
        started = self._book.moment()
        place: int | None = None
        ticket: Ticket | None = None
        told = 0.0
        try:
            while True:
                with self._book.writing() as page:
                    wait = self._wait(page, priority, place, orders=orders)
                    if wait <= 0:
                        if place is not None:
                            page.leave(place)
                        number = page.begin(orders=orders)
                        ticket = Ticket(self, number, page.now, page.now - started)
                    else:
                        rank = _RANKS[priority]
                        place = page.wait(place, rank, page.now + min(wait, _NAP_S))
                if ticket is not None:
                    self.total += 1
                    return ticket
                if on_wait is not None and wait > told:
                    on_wait(wait)
                told = wait  # it should shrink now; should it grow, that is said again
                self._sleep(min(wait, _NAP_S))
        except BaseException:
            if ticket is not None:
                ticket.unsent()
            elif place is not None:
                with contextlib.suppress(BreezeLabError), self._book.writing() as page:
                    page.leave(place)
            raise

    def _wait(self, page: Page, priority: Priority, place: int | None, *, orders: bool) -> float:
        """Return how long the next call of this kind has to wait at least; 0 for not at all."""
        of_minute, of_day = _RESERVES[priority]
        today = page.today()
        if today.closed or today.used >= self._share(self.limit_today, of_day):
            raise self._used_up(page, priority)
        ahead = page.ahead(_RANKS[priority], place)
        moments = [self._free(page.minute(), self._share(self.limit, of_minute), ahead, page.now)]
        if orders:
            moments.append(self._free(page.orders(), self.order_limit, 0, page.now))
        moments += [hold.until for hold in page.holds() if hold.kind != "second" or orders]
        return max(moments) - page.now

    @staticmethod
    def _share(limit: int, reserve: float) -> int:
        return max(1, limit - int(limit * reserve))

    @staticmethod
    def _free(counted: list[float], limit: int, ahead: int, now: float) -> float:
        """Return the moment from which one more fits, behind those who came before."""
        too_many = len(counted) + ahead + 1 - limit
        if too_many <= 0:
            return now
        return counted[min(too_many, len(counted)) - 1] if counted else now + _NAP_S

    def _used_up(self, page: Page, priority: Priority) -> RateLimited:
        today = page.today()
        when = f"They count anew at {today.anew:%H:%M on %d-%m-%Y} IST."
        if today.closed:
            said = "The broker's calls per day are used up"
        elif today.used < self.limit_today:
            said = (
                f"Of the day's {self.limit_today} calls {today.used} are used; the rest is kept "
                f"for work that is more urgent than {priority}"
            )
        else:
            said = f"All {self.limit_today} calls of the day are used"
        return RateLimited(f"{said}. {when}", span="day", until=today.anew)

    def _finish(self, number: int, started: float, *, answered: bool) -> None:
        with self._book.writing() as page:
            page.end(number, started, answered=answered)

    def _strike(self, number: int, started: float) -> None:
        with self._book.writing() as page:
            page.strike(number, started)

    # -- what the broker says -----------------------------------------------

    def refused(self, error: RateLimited) -> None:
        """Believe the broker: it counted more than we did, so wait it out.

        Parameters
        ----------
        error
            Its `span` says whether the minute, the second of orders or the day
            is used up.
        """
        with self._book.writing() as page:
            pause = _PAUSES.get(error.span, SPAN_S)
            page.hold(error.span, page.now + pause, "the broker counted more than we did")

    def reopen(self) -> None:
        """Forget the broker's refusals, for who knows better: they were ordered, or an error."""
        with self._book.writing() as page:
            page.reopen()

    def observe(self, server_time: datetime, sent: float, received: float) -> None:
        """Take the broker's own clock for the day's begin and end.

        Parameters
        ----------
        server_time
            The ``Date`` of an answer, aware; it is cut to the second.
        sent, received
            Seconds since boot when the call left and its answer came
            (`breeze_lab.limits.moments.boot_seconds`).
        """
        if received - sent > _SLOW_S:
            return  # too slow an answer to tell the time by
        shift = server_time.timestamp() + 0.5 - (sent + received) / 2
        known = self._book.read(lambda page: page.shifts() if page.confirmed else [])
        if not known or abs(known[0] - shift) > 1.0 + received - sent:
            with self._book.writing() as page:
                page.confirm(shift)

    @staticmethod
    def _at(page: Page, moment: float) -> datetime:
        return clock.from_epoch(page.true_now + moment - page.now)


class FreeMeter(CallMeter):
    """The meter of a market without limits: it counts this process's calls and never waits."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))  # no book is ever opened

    def use(self) -> Use:
        """Return that nothing is used up."""
        return Use(note="this practice market has no limits")

    def spend(
        self,
        on_wait: Callable[[float], None] | None = None,
        *,
        priority: Priority = "interactive",
        orders: bool = False,
    ) -> Ticket:
        """Count one call."""
        del on_wait, priority, orders
        self.total += 1
        return Ticket(self, 0, 0.0, 0.0)

    def refused(self, error: RateLimited) -> None:
        """Do nothing: a fault was ordered, and no budget is used up."""

    def reopen(self) -> None:
        """Do nothing: no refusal was believed."""

    def observe(self, server_time: datetime, sent: float, received: float) -> None:
        """Do nothing: there is no day to be kept."""

    def _finish(self, number: int, started: float, *, answered: bool) -> None:
        pass

    def _strike(self, number: int, started: float) -> None:
        pass
