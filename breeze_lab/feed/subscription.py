"""Subscriptions: what comes out of the feed, and the queue it waits in.

Owns the values a subscriber sees and their bounded delivery within this
process. How they travel is the business of `breeze_lab.feed.loop`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from breeze_lab.order_updates import OrderUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from types import TracebackType

    from breeze_lab.bars import Bar, Interval
    from breeze_lab.feed.ticks import FeedTick
    from breeze_lab.ticks import Depth

__all__ = [
    "Delivery",
    "FeedBar",
    "FeedDepth",
    "FeedEvent",
    "FeedState",
    "Gap",
    "Lost",
    "Snapshot",
    "Subscription",
]

_log: Final = logging.getLogger(__name__)

#: Events that wait for one slow reader of this process.
_QUEUE_LIMIT: Final = 100_000

Delivery = Literal["every", "latest"]


@dataclass(frozen=True, slots=True)
class FeedBar:
    """A bar that forms or has just closed.

    Parameters
    ----------
    key
        The instrument.
    bar
        Its `complete` is False while it forms, and for ever when ticks were missed.
    forming
        False when it will not change any more.
    whole
        Whether nothing since its opening is missing so far.
    healed
        Whether history was put into it where ticks are missing.
    """

    key: str
    bar: Bar
    forming: bool
    whole: bool
    healed: bool = False


@dataclass(frozen=True, slots=True)
class FeedDepth:
    """The book of one instrument.

    A book is a state: a slow reader gets the newest, and none is recorded.

    Parameters
    ----------
    key
        The instrument.
    sequence
        Counts its books while the relay holds the room.
    epoch
        Counts the relay's connections to the broker.
    received_ms
        When the relay received it, Unix milliseconds.
    depth
        Its best rows, best first.
    """

    key: str
    sequence: int
    epoch: int
    received_ms: int
    depth: Depth


@dataclass(frozen=True, slots=True)
class Lost:
    """Ticks that will not come.

    Parameters
    ----------
    key
        The instrument.
    first, last
        Bounds of the missing sequences, both included; `last` is None when
        nobody knows how many there were, because nothing was recorded. The
        numbers then begin anew.
    cause
        Why they are missing.
    """

    key: str
    first: int
    last: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A silence of an instrument, told when it begins, when it ends and when it was healed.

    Parameters
    ----------
    key
        The instrument.
    start, end
        When the last frame before it and the first one after it were received,
        aware, Asia/Kolkata; `end` is None while it is open.
    cause
        Why nothing came, and why it could not be healed.
    state
        ``"open"``, ``"closed"``, ``"healed"`` (its bars were completed from the
        broker's history, its ticks are gone) or ``"not healable"``.
    """

    key: str
    start: datetime
    end: datetime | None
    cause: str
    state: str


@dataclass(frozen=True, slots=True)
class FeedState:
    """How the stream stands; `since` is an ISO text in IST."""

    state: str = "offline"
    endpoints: str = ""
    account: str = ""
    since: str = ""
    until: str = ""
    error: str = ""


FeedEvent: TypeAlias = "FeedTick | FeedBar | FeedDepth | OrderUpdate | Lost | Gap | FeedState"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where things stood when the subscription began.

    Parameters
    ----------
    ticks
        Last tick of each instrument that has ticked.
    bars
        Bars of each instrument and interval, ascending, the forming one last.
    depth
        Last book of each instrument whose books are wanted.
    """

    ticks: dict[str, FeedTick] = field(default_factory=dict)
    bars: dict[tuple[str, Interval], tuple[FeedBar, ...]] = field(default_factory=dict)
    depth: dict[str, FeedDepth] = field(default_factory=dict)


class Subscription:
    """Live events of some instruments.

    Iterate it, ask `get`, or give `Feed.subscribe` a callback, which then runs
    on the feed's thread. It ends with `close`, with its ``with`` block, or,
    when it has no callback, with its last reference.

    Attributes
    ----------
    snapshot
        Where things stood when it began; every later change is an event.
    """

    def __init__(
        self,
        keys: Sequence[str],
        intervals: Sequence[Interval],
        delivery: Delivery,
        on_event: Callable[[FeedEvent], object] | None = None,
        limit: int = _QUEUE_LIMIT,
    ) -> None:
        """Made by `Feed.subscribe`."""
        self.keys = tuple(keys)
        self.intervals = tuple(intervals)
        self.delivery = delivery
        self.snapshot = Snapshot()
        self._on_event = on_event
        self._limit = limit
        self._closed = False
        self._release: Callable[[], object] = lambda: None
        self._ready = threading.Condition()  # guards the two queues and _closed
        self._queue: deque[FeedEvent] = deque()
        self._newest: dict[object, FeedEvent] = {}  # instead of the queue when "latest"

    def on_close(self, release: Callable[[], object]) -> None:
        """Call `release` once, when this is closed."""
        self._release = release

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    def get(self, timeout_s: float | None = None) -> FeedEvent | None:
        """Return the next event, or None when there is none within `timeout_s` or ever.

        Parameters
        ----------
        timeout_s
            Seconds to wait; None waits until something comes or it is closed.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._ready:
            while not (self._queue or self._newest):
                left = None if deadline is None else deadline - time.monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                self._ready.wait(left)
            if self._queue:
                return self._queue.popleft()
            return self._newest.pop(next(iter(self._newest)))

    def events(self, timeout_s: float | None = None) -> Iterator[FeedEvent]:
        """Yield events until it is closed, or until none came for `timeout_s` seconds."""
        while (event := self.get(timeout_s)) is not None:
            yield event

    def __iter__(self) -> Iterator[FeedEvent]:
        return self.events()

    def close(self) -> None:
        """End it; what is queued can still be read. Closing again does nothing."""
        with self._ready:
            already, self._closed = self._closed, True
            self._ready.notify_all()
        if not already:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Subscription {', '.join(self.keys[:3])} ({len(self.keys)}) {state}>"

    def deliver(self, events: Sequence[FeedEvent]) -> None:
        """Take events from the feed, on its thread."""
        if self._closed:
            return
        on_event = self._on_event
        if on_event is not None:
            for event in events:
                try:
                    on_event(event)
                except Exception:  # noqa: BLE001 - somebody's code must not end the feed
                    _log.exception("A feed callback failed; the feed goes on.")
            return
        with self._ready:
            if self.delivery == "latest":
                for event in events:
                    self._newest[_subject(event)] = event
            else:
                self._queue.extend(events)
                if len(self._queue) > self._limit:
                    self._thin()
            self._ready.notify_all()

    def _thin(self) -> None:
        """Keep the newest half and say exactly which ticks the older half held."""
        from breeze_lab.feed.ticks import FeedTick  # noqa: PLC0415 - importing the feed is free

        lost: dict[str, Lost] = {}
        kept: deque[FeedEvent] = deque()
        for _ in range(len(self._queue) // 2):
            event = self._queue.popleft()
            if isinstance(event, FeedTick):
                first = lost[event.key].first if event.key in lost else event.sequence
                lost[event.key] = Lost(event.key, first, event.sequence, "reader too slow")
            elif not isinstance(event, FeedDepth) and not (
                isinstance(event, FeedBar) and event.forming
            ):
                kept.append(event)
        self._queue.extendleft(reversed([*kept, *lost.values()]))


def _subject(event: FeedEvent) -> object:
    """Return what an event is about: a newer one about the same replaces it."""
    subject: object
    match event:
        case FeedBar():
            subject = event.key, event.bar.interval, event.bar.start
        case Lost():
            subject = event.key, "lost", event.first
        case Gap():
            subject = event.key, "gap", event.start
        case FeedState():
            subject = FeedState
        case FeedDepth():
            subject = event.key, "depth"
        case OrderUpdate():
            subject = event.order_id, event.sequence
        case _:
            subject = event.key
    return subject
