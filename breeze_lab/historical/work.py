"""Work: a range of bars, from the disk as far as it is there and from the broker where not.

Owns what is asked, in which order, and what of the answers is kept. Only
settled bars are kept (`breeze_lab.historical.markets`); the others are asked
every time. Each window is kept as soon as it is there, so work that is cut off
goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from breeze_lab import clock
from breeze_lab.bars import Interval
from breeze_lab.errors import HistoryError, HistoryWarning, SettingsError
from breeze_lab.historical import calls, catalog, markets
from breeze_lab.historical.blocks import EMPTY, Block, merged
from breeze_lab.historical.calls import Window
from breeze_lab.historical.shelf import Look, Shelf, root
from breeze_lab.historical.spans import clip, hull, without
from breeze_lab.settings import MAX_CANDLES_PER_CALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from breeze_lab.historical.markets import Market
    from breeze_lab.historical.spans import Span
    from breeze_lab.instruments import Instrument
    from breeze_lab.limits import Priority
    from breeze_lab.session import Session

__all__ = ["Work", "switched_on"]

VARIABLE: Final = "BREEZE_LAB_HISTORY"
#: Up to this many calls somebody may be waiting in front of a chart.
_FEW_CALLS: Final = 3
#: After so many rounds in which the store lost what it was given, the answer is not stored.
_ROUNDS: Final = 2
_DAY_S: Final = 86_400


def switched_on() -> bool:
    """Say whether bars are kept; ``BREEZE_LAB_HISTORY=off`` keeps and reads none.

    Raises
    ------
    SettingsError
        The variable says something else.
    """
    word = os.environ.get(VARIABLE, "").strip().lower()
    if word not in ("", "on", "off"):
        raise SettingsError(f"{VARIABLE} is on or off; not {word!r}.")
    return word != "off"


class Work:
    """What has to be done for bars of one instrument and native interval.

    Parameters
    ----------
    session, instrument
        Whom to ask, and what for.
    native
        An interval the broker has.
    stored
        Whether the store may be read and written.
    priority
        Of the calls; by default that of somebody who waits, or of a backfill
        when they are many.

    Attributes
    ----------
    calls
        How many were made.
    from_disk
        How many of the bars were not asked for now.
    fetched
        When the oldest of the bars was fetched, Unix seconds.
    unkept
        Why what was fetched could not be kept; empty when it was.
    """

    def __init__(
        self,
        session: Session,
        instrument: Instrument,
        native: Interval,
        *,
        stored: bool = True,
        priority: Priority | None = None,
    ) -> None:
        """Ask nothing yet."""
        self.session, self.instrument, self.native = session, instrument, native
        self.calls = self.from_disk = 0
        self.fetched: int | None = None
        self.unkept = ""
        self._priority = priority
        self._market: Market | None = None
        self._shelf: Shelf | None = None
        self._settled = 0
        self._writable = True
        self._held: list[tuple[Span, Block]] = []
        if stored and switched_on():
            self._market = markets.of_session(session)
        if self._market is not None:
            self._settled = self._market.settled(instrument, native)
            folder = root() / self._market.folder
            if self._market.name == "practice" and not folder.exists():
                catalog.sweep()  # of the markets that this one follows
            self._shelf = Shelf(folder, instrument, native)

    # -- a range ------------------------------------------------------------

    def plan(self, start: datetime, end: datetime) -> list[Window]:
        """Return the calls that `range` would make now; their number is the price.

        Raises
        ------
        HistoryError
        """
        span = self._span(start, end)
        past = clip(span, (span[0], self._settled))
        if self._shelf is None:
            return self._windows([span])
        return self._windows([*self._look(past).missing, *self._tail(span)])

    def range(
        self,
        start: datetime,
        end: datetime,
        progress: Callable[[int, int], None] | None = None,
        before: Callable[[int], None] | None = None,
    ) -> Block:
        """Return the bars that open in [start, end), and perhaps some around them.

        Parameters
        ----------
        progress, before
            See `breeze_lab.historical.candles`.

        Raises
        ------
        NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse
            What was fetched before it is kept.
        HistoryError
        """
        span = self._span(start, end)
        past = clip(span, (span[0], self._settled))
        tail = self._tail(span)
        done = planned = 0
        for attempt in range(_ROUNDS + 2):
            look = self._look(past)
            holes = without([*look.missing, *tail], (held for held, _ in self._held))
            if self._shelf is None:
                holes = without([span], (held for held, _ in self._held))
            if not holes:
                break
            windows = self._windows(holes)
            planned += len(windows)
            if before is not None and not attempt:
                before(planned)
            few = planned <= _FEW_CALLS
            priority = self._priority or ("interactive" if few else "backfill")
            for window in windows:
                self._fill(window, priority, keep=attempt < _ROUNDS)
                done += 1
                if progress is not None:
                    progress(done, planned)
        return self._answer(look)

    def newest(self, count: int, max_calls: int) -> Block:
        """Return the newest `count` bars or more, the forming one last; fewer after `max_calls`.

        It leans on the broker's habit of cutting an answer to its newest
        candles: one call with an early enough start brings the last 1,000,
        whatever hours the market kept.

        Raises
        ------
        NotLoggedIn, SessionExpired, RateLimited, RequestError, BadResponse, HistoryError
        """
        now = clock.market_now() if self._market is None else self._market.now
        until = int(now.timestamp()) + 2
        found: list[Block] = []
        for _ in range(max_calls):
            left = min(count - sum(map(len, found)), MAX_CANDLES_PER_CALL)
            end = clock.from_epoch(until)
            start = calls.reach_back(self.instrument, self.native, end, left)
            block, until = self._newest((int(start.timestamp()), until))
            found.append(block)
            if sum(map(len, found)) >= count:
                break
        whole = merged(found)
        self.from_disk = len(whole) - len(merged(block for _, block in self._held))
        return whole

    def _newest(self, span: Span) -> tuple[Block, int]:
        """Return the newest bars of a span, and from when on they are all there are; one call."""
        past = clip(span, (span[0], self._settled))
        with contextlib.ExitStack() as stack:
            look = self._look(past)
            if look.missing and self._shelf is not None:
                stack.enter_context(self._shelf.fetching())
                look = self._look(past)
            holes = [*look.missing, *self._tail(span)] if self._shelf is not None else [span]
            self._dated(look.fetched)
            if not holes:
                return look.block, span[0]
            start, end = hull(holes)
            window = Window(clock.from_epoch(start), clock.from_epoch(end))
            rows = calls.call(
                self.session, self.instrument, self.native, window, self._priority or "interactive"
            )
            self.calls += 1
            self._dated(int(time.time()))
            block = Block.of_rows(rows).within((start, end))
            cut = len(rows) >= MAX_CANDLES_PER_CALL and len(block)
            since = max(start, int(block.start[0])) if cut else start
            self._held.append(((since, end), block))
            self._keep((since, end), block)
        since = since if cut else span[0]
        return merged([look.block.within((since, span[1])), block]), since

    def _answer(self, look: Look) -> Block:
        self._dated(look.fetched)
        held = merged(block for _, block in self._held)
        whole = merged([look.block, held])  # what is in hand is what is stored, or newer
        self.from_disk = len(whole) - len(held)
        return whole

    def _look(self, past: Span) -> Look:
        if self._shelf is None or past[0] >= past[1]:
            return Look(EMPTY, [], None)
        return self._shelf.look(past)

    def _span(self, start: datetime, end: datetime) -> Span:
        """Return whole seconds that hold the openings in [start, end); of day bars whole days."""
        first, last = -int(-start.timestamp() // 1), -int(-end.timestamp() // 1)
        if self.native is Interval.D1:
            first = self.native.floor_epoch(first)
            last = self.native.floor_epoch(last + _DAY_S - 1)
        if self._market is not None:  # nothing trades in the future
            ahead = int((self._market.now + timedelta(days=1)).timestamp())
            if self.native is Interval.D1:
                ahead = self.native.floor_epoch(ahead + _DAY_S)
            last = min(last, max(first, ahead))
        return first, last

    def _tail(self, span: Span) -> list[Span]:
        """Return what of a span is never stored, when there can be bars in it."""
        tail = clip(span, (self._settled, span[1]))
        if tail[0] >= tail[1]:
            return []
        if self._market is None:
            return [tail]
        now = int(self._market.now.timestamp()) + 60
        return [tail] if self._market.may_trade(self.instrument, clip(tail, (0, now))) else []

    def _windows(self, holes: list[Span]) -> list[Window]:
        """Return the fewest calls that fill all holes; neighbours share one where that saves."""
        groups: list[tuple[Span, list[Window]]] = []
        for hole in without(holes, ()):
            windows = self._plan(hole)
            if groups:
                last, before = groups[-1]
                both = self._plan((last[0], hole[1]))
                if len(both) < len(before) + len(windows):
                    groups[-1] = ((last[0], hole[1]), both)
                    continue
            groups.append((hole, windows))
        return [window for _, windows in groups for window in windows]

    def _plan(self, span: Span) -> list[Window]:
        start, end = clock.from_epoch(span[0]), clock.from_epoch(span[1])
        return calls.plan(self.instrument, self.native, start, end)

    def _fill(self, window: Window, priority: Priority, *, keep: bool) -> None:
        """Fetch a window, unless somebody else has meanwhile; keep what is settled of it."""
        span = int(window.start.timestamp()), int(window.end.timestamp())
        past = clip(span, (span[0], self._settled))
        if self._shelf is None or past[0] >= past[1]:
            self._fetch(span, priority)
            return
        with self._shelf.fetching():
            missing = self._shelf.look(past).missing
            holes = without([*missing, *self._tail(span)], (held for held, _ in self._held))
            if not holes:
                return
            wanted = hull(holes)
            block = self._fetch(wanted, priority)
            self._keep(wanted, block, keep=keep)

    def _fetch(self, span: Span, priority: Priority) -> Block:
        """Fetch a span and hold it."""
        window = Window(clock.from_epoch(span[0]), clock.from_epoch(span[1]))
        rows, made = calls.fetch(self.session, self.instrument, self.native, window, priority)
        self.calls += made
        self._dated(int(time.time()))
        # The older endpoint was seen returning a bar past the end.
        block = Block.of_rows(rows).within(span)
        self._held.append((span, block))
        return block

    def _keep(self, span: Span, block: Block, *, keep: bool = True) -> None:
        """Store what of a fetched span is settled; when that fails it stays in hand only."""
        past = clip(span, (span[0], self._settled))
        if self._shelf is None or past[0] >= past[1] or not (keep and self._writable):
            return
        try:
            self._shelf.keep(past, block)
        except HistoryError as exc:
            self._writable = False  # the next window would fail too, and be told again
            self.unkept = str(exc)
            warnings.warn(f"{exc} The answer is complete all the same.", HistoryWarning, 2)

    def _dated(self, fetched: int | None) -> None:
        if fetched is not None:
            self.fetched = fetched if self.fetched is None else min(self.fetched, fetched)
