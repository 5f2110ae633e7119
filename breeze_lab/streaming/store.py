"""The store: what a stream keeps, written by the feed's thread and read by all others.

Only our own few steps run on the feed's thread; whatever a user wrote runs
behind a `Reader`. Nothing here knows the stream's face, so that a stream
nobody holds any more can be garbage.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import warnings
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from breeze_lab import clock
from breeze_lab.errors import FeedWarning
from breeze_lab.feed import FeedBar, FeedState, FeedTick, Gap, Lost
from breeze_lab.streaming.values import StreamEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from breeze_lab.bars import Interval
    from breeze_lab.feed import Delivery, Feed, FeedEvent, Streamable, Subscription
    from breeze_lab.streaming.readers import Reader
    from breeze_lab.streaming.values import EventKind

__all__ = ["Store"]

_log: Final = logging.getLogger(__name__)

#: Events, and bars of one instrument and interval, that are kept.
_EVENTS: Final = 1_000
_BARS: Final = 5_000
#: States of the stream in which all is well.
_GOOD: Final = {"connected"}


class Store:
    """Everything one stream has heard; safe to use from any thread.

    Parameters
    ----------
    feed
        Where it comes from.
    instruments
        Of the stream, each once.
    delivery
        What its loops and functions get.
    keep
        Ticks kept.
    """

    def __init__(
        self, feed: Feed, instruments: Sequence[Streamable], delivery: Delivery, keep: int
    ) -> None:
        """Subscribe; raises what `Feed.subscribe` raises."""
        self.feed = feed
        self.instruments = {one.key: one for one in instruments}
        self.delivery = delivery
        self.closed = False
        self.ticks: deque[FeedTick] = deque(maxlen=keep)
        self.dropped = 0
        self.count = dict.fromkeys(self.instruments, 0)
        self.missed = dict.fromkeys(self.instruments, 0)
        self.last: dict[str, FeedTick] = {}
        self.gaps: dict[tuple[str, datetime], Gap] = {}  # by beginning, as last told
        self.events: deque[StreamEvent] = deque(maxlen=_EVENTS)
        self._lock = threading.RLock()  # guards all of the above and below
        self._bars: dict[tuple[str, Interval], dict[datetime, FeedBar]] = {}
        self._readers: tuple[weakref.ref[Reader], ...] = ()
        self._warned: set[str] = set()
        self._holding = threading.Lock()  # one subscription per interval; never held with _lock
        self._held: dict[Interval, Subscription] = {}
        self._subscription = feed.subscribe(
            list(instruments), delivery=delivery, on_event=self.take
        )
        with self._lock:
            for key, tick in self._subscription.snapshot.ticks.items():
                self.last.setdefault(key, tick)

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.closed or self.feed.closed

    # -- on the feed's thread ---------------------------------------------

    def take(self, event: FeedEvent) -> None:
        """Keep one event and queue it for the readers."""
        match event:
            case FeedTick():
                self._take_tick(event)
            case Lost():
                self._take_lost(event)
            case Gap():
                self._take_gap(event)
            case FeedState():
                error = f": {event.error}" if event.error else ""
                text = f"the stream is {event.state}{error}"
                self.note("state", text, event=event, warn=event.state not in _GOOD)

    def take_bar(self, event: FeedEvent) -> None:
        """Keep one bar; one that has closed is told once, also when it is healed later."""
        if not isinstance(event, FeedBar):
            return  # the subscription of the ticks tells the rest
        with self._lock:
            kept = self._bars.setdefault((event.key, event.bar.interval), {})
            known = kept.get(event.bar.start)
            if known is not None and not known.forming:
                if event.whole and not known.whole:
                    kept[event.bar.start] = event
                return
            kept[event.bar.start] = event
            while len(kept) > _BARS:
                del kept[next(iter(kept))]
            for reader in self._wanting(event.bar.interval):
                if reader.forming or not event.forming:
                    reader.deliver([event])

    def _take_tick(self, tick: FeedTick) -> None:
        full = False
        with self._lock:
            if len(self.ticks) == self.ticks.maxlen:
                self.dropped += 1
                full = self.dropped == 1
            self.ticks.append(tick)
            self.last[tick.key] = tick
            self.count[tick.key] += 1
            for reader in self._wanting("ticks"):
                reader.deliver([tick])
        if full:
            text = (
                f"{self.ticks.maxlen:,} ticks are kept, and the oldest are dropped from now on "
                "(stream(..., keep=N) keeps more)"
            )
            self.note("dropped", text)

    def _take_lost(self, lost: Lost) -> None:
        if lost.last is None:
            text = f"ticks of {lost.key} from number {lost.first} on will not come: {lost.cause}"
        else:
            text = f"ticks {lost.first} to {lost.last} of {lost.key} will not come: {lost.cause}"
            with self._lock:
                self.missed[lost.key] += lost.last - lost.first + 1
        self.note("lost", text, lost.key, lost)

    def _take_gap(self, gap: Gap) -> None:
        until = "on" if gap.end is None else f"to {gap.end:%H:%M:%S}"
        text = f"no tick of {gap.key} from {gap.start:%H:%M:%S} {until} ({gap.cause}): {gap.state}"
        with self._lock:
            self.gaps[gap.key, gap.start] = gap
            while len(self.gaps) > _EVENTS:
                del self.gaps[next(iter(self.gaps))]
        self.note("gap", text, gap.key, gap)

    # -- from any thread --------------------------------------------------

    def slow(self, lost: Lost, who: str) -> None:
        """Note that a reader of this process did not keep up."""
        if lost.cause != "reader too slow":
            return  # told by the feed's own event already
        count = "ticks" if lost.last is None else f"{lost.last - lost.first + 1:,} ticks"
        self.note("slow", f"{who} was too slow for {count} of {lost.key}", lost.key, lost)

    def note(
        self,
        kind: EventKind,
        text: str,
        instrument: str = "",
        event: FeedEvent | BaseException | None = None,
        *,
        warn: bool = True,
    ) -> None:
        """Keep an event that is no tick, tell who wants to know, and warn once per kind."""
        told = StreamEvent(clock.now(), kind, text, instrument, event)
        with self._lock:
            if self.closed:
                return
            self.events.append(told)
            for reader in self._wanting("events"):
                reader.deliver([told])
            warn = warn and kind not in self._warned
            if warn:
                self._warned.add(kind)
        if not warn:
            return
        message = f"{text[:1].upper()}{text[1:]}. (Said once; feed.events has all of this kind.)"
        try:
            warnings.warn(message, FeedWarning, stacklevel=2)
        except FeedWarning:  # made an error by a filter, which this thread has nobody to give to
            _log.warning("%s", message)

    def admit(self, reader: Reader) -> None:
        """Queue for `reader` what comes from now on, as long as somebody holds it."""
        with self._lock:
            self._readers = (
                *(ref for ref in self._readers if ref() is not None),
                weakref.ref(reader),
            )
            over = self.over
        if over:
            reader.close()

    def _wanting(self, subject: object) -> list[Reader]:
        found = (ref() for ref in self._readers)
        return [one for one in found if one is not None and one.subject == subject]

    def hold(self, interval: Interval) -> None:
        """Have the bars of `interval` kept from now on; the relay's are there at once."""
        with self._holding:
            if interval in self._held or self.over:
                return
            held = self.feed.subscribe(
                list(self.instruments.values()), bars=[interval], delivery="latest", ticks=False,
                on_event=self.take_bar,
            )  # fmt: skip
            self._held[interval] = held
            with self._lock:
                for name, bars in held.snapshot.bars.items():
                    newer = self._bars.get(name, {})
                    self._bars[name] = {bar.bar.start: bar for bar in bars} | newer
                closed = self.closed
        if closed:
            held.close()

    def bars(self, key: str, interval: Interval) -> list[FeedBar]:
        """Return the bars of the relay heard so far, ascending, the forming one last."""
        with self._lock:
            kept = self._bars.get((key, interval), {})
            return [kept[start] for start in sorted(kept)]

    def heard(self, key: str | None = None) -> list[FeedTick]:
        """Return the ticks kept, oldest first."""
        with self._lock:
            return [tick for tick in self.ticks if key is None or tick.key == key]

    def newest(self, count: int) -> list[FeedTick]:
        """Return the newest `count` ticks kept, oldest first."""
        with self._lock:
            found = list(itertools.islice(reversed(self.ticks), count))
        return found[::-1]

    def silences(self) -> list[Gap]:
        """Return the gaps as they stand now, oldest first."""
        with self._lock:
            return sorted(self.gaps.values(), key=lambda gap: gap.start)

    def age_s(self) -> float | None:
        """Return the seconds since the newest tick came, None before the first."""
        with self._lock:
            newest = max((tick.received_ms for tick in self.last.values()), default=0)
        return max(0.0, time.time() - newest / 1000) if newest else None

    def close(self) -> None:
        """Release the subscriptions and end every reader; idempotent."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            readers = [reader for ref in self._readers if (reader := ref()) is not None]
            held = list(self._held.values())
        for subscription in (self._subscription, *held):
            subscription.close()
        for reader in readers:
            reader.close()
