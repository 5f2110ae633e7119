"""Readers: the bounded queue between the feed's thread and one loop or function.

The feed's thread only ever appends; whoever is slow is slow for itself, and is
told what it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from breeze_lab.feed import FeedTick, Lost, Subscription
from breeze_lab.streaming.values import LiveTick

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from breeze_lab.bars import Interval
    from breeze_lab.feed import Delivery
    from breeze_lab.streaming.store import Store

__all__ = ["AsyncTicks", "Reader", "Subject", "Ticks"]

#: What a reader wants: ticks, what is neither tick nor bar, or the bars of one interval.
Subject: TypeAlias = "Literal['ticks', 'events'] | Interval"

#: A closed feed wakes nobody, so whoever waits looks after it this often.
LOOK_S: Final = 1.0
#: An ``async`` loop lets the others of its event loop have a turn after this long.
_TURN_S: Final = 0.005


class Reader(Subscription):
    """One queue.

    Parameters
    ----------
    subject
        What to put into it.
    delivery
        ``"every"``, or ``"latest"`` of each instrument.
    forming
        Whether bars that still change are wanted as well.
    wake
        Called on the feed's thread after something came, and on close.

    Attributes
    ----------
    offered
        How many events came, taken by anybody or not.
    """

    def __init__(
        self,
        subject: Subject,
        delivery: Delivery,
        *,
        forming: bool = False,
        wake: Callable[[], object] | None = None,
        limit: int = 100_000,
    ) -> None:
        """Queue nothing yet."""
        super().__init__((), (), delivery, limit=limit)
        self.subject = subject
        self.forming = forming
        self.offered = 0
        self._wake = wake

    @property
    def waiting(self) -> int:
        """How many events are queued."""
        with self._ready:
            return len(self._queue) + len(self._newest)

    def deliver(self, events: Sequence[Any]) -> None:
        """Take events, on the feed's thread; see `Subscription.deliver`."""
        with self._ready:  # so that whoever counts never sees one that is queued and not offered
            self.offered += len(events)
            super().deliver(events)
        if self._wake is not None:
            self._wake()

    def close(self) -> None:
        """End it and wake whoever waits."""
        super().close()
        if self._wake is not None:
            self._wake()


class Ticks:
    """What a ``for`` loop over a stream holds: every tick from now on, until it is closed.

    Parameters
    ----------
    store
        Where the ticks come by.
    owner
        The stream, which must live as long as somebody loops over it.
    """

    def __init__(self, store: Store, owner: object) -> None:
        """Begin now."""
        self._store, self._owner = store, owner
        self._reader = Reader("ticks", store.delivery)
        store.admit(self._reader)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LiveTick:
        while True:
            event: Any = self._reader.get(LOOK_S)
            if isinstance(event, FeedTick):
                return LiveTick(event)
            if isinstance(event, Lost):
                self._store.slow(event, "a loop over the stream")
            elif event is None and (self._reader.closed or self._store.over):
                raise StopIteration


class AsyncTicks:
    """What an ``async for`` loop holds; it waits without blocking its event loop.

    Parameters as of `Ticks`.
    """

    def __init__(self, store: Store, owner: object) -> None:
        """Begin now, on the running event loop."""
        self._store, self._owner = store, owner
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._waiting = False
        self._turn = time.monotonic()
        self._reader = Reader("ticks", store.delivery, wake=self._wake)
        store.admit(self._reader)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveTick:
        while True:
            event: Any = self._reader.get(0)
            if event is None:
                event = await self._wait()
            if isinstance(event, FeedTick):
                if time.monotonic() - self._turn > _TURN_S:
                    await asyncio.sleep(0)
                    self._turn = time.monotonic()
                return LiveTick(event)
            if isinstance(event, Lost):
                self._store.slow(event, "an async loop over the stream")

    async def _wait(self) -> Any:
        """Return the next event, or None after a while; raise StopAsyncIteration at the end."""
        self._ready.clear()
        self._waiting = True  # from here on every delivery wakes us, so look once more
        try:
            event: Any = self._reader.get(0)
            if event is None:
                if self._reader.closed or self._store.over:
                    raise StopAsyncIteration
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ready.wait(), LOOK_S)
            return event
        finally:
            self._waiting = False
            self._turn = time.monotonic()

    def _wake(self) -> None:
        """Run on the feed's thread."""
        if self._waiting:
            with contextlib.suppress(RuntimeError):  # its event loop is closed
                self._loop.call_soon_threadsafe(self._ready.set)
