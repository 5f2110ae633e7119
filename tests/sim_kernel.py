"""A notebook's process in the simulation: one feed, what it heard, and what was wrong with that."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sim_loop import Process

from breeze_lab import settings
from breeze_lab.feed import FeedTick, Gap, Lost
from breeze_lab.feed.entry import Entry
from breeze_lab.feed.loop import FeedLoop
from breeze_lab.feed.subscription import FeedBar, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sim_world import World

    from breeze_lab.bars import Interval

__all__ = ["TOKEN", "Kernel", "Wish", "key_of", "number_of"]

#: It must be in no file.
TOKEN = "token-that-no-file-may-hold"
STATES = {"open", "closed", "healed", "not healable"}


def key_of(room: str) -> str:
    """Return our key of a room."""
    return "NSE:S" + room.partition("!")[2]


def number_of(tick: FeedTick) -> int:
    """Return the broker's number of the frame."""
    assert tick.ask_quantity is not None
    return tick.ask_quantity


@dataclass
class Wish:
    """What a notebook wants of a room, and everything it was told of it.

    Parameters
    ----------
    heard
        Virtual times and events.
    """

    room: str
    delivery: str = "every"
    intervals: tuple[Interval, ...] = ()
    token: int = 0
    released: bool = False
    snapshot: Any = None
    attached_at: float = 0.0
    heard: list[tuple[float, Any]] = field(default_factory=list)

    @property
    def ticks(self) -> list[FeedTick]:
        """The ticks among what was heard."""
        return [event for _, event in self.heard if isinstance(event, FeedTick)]

    def closed_bars(self) -> dict[tuple[Interval, int], FeedBar]:
        """Return every bar that was told as closed, by interval and opening second."""
        told = [event for _, event in self.heard if isinstance(event, FeedBar)]
        if self.snapshot is not None:
            told = [bar for some in self.snapshot.bars.values() for bar in some] + told
        return {
            (one.bar.interval, int(one.bar.start.timestamp())): one
            for one in told
            if not one.forming
        }


class Kernel:
    """One feed in a process of its own.

    Parameters
    ----------
    name
        As the relay's status calls it.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.process = Process(name)
        self.feed = FeedLoop(world.folders, name)
        self.wishes: list[Wish] = []
        self.process.run(self.feed.run())

    @property
    def alive(self) -> bool:
        """Whether it runs, or is only frozen."""
        return not self.process.dead

    @property
    def rooms(self) -> set[str]:
        """What it wants now."""
        return {wish.room for wish in self.wishes if not wish.released} if self.alive else set()

    async def login(self) -> None:
        """Log the relay in."""
        names = [name for name in settings.Endpoints.__dataclass_fields__ if name.endswith("_url")]
        endpoints = {"name": "practice", **dict.fromkeys(names, "http://127.0.0.1:1")}
        login = {
            "op": "login", "endpoints": endpoints, "user": "u", "token": TOKEN, "account": "a",
            "until": "2099-01-01T00:00:00+05:30", "serial": "",
        }  # fmt: skip
        await self.process.run(self.feed.login(login))

    async def ask(self, op: str) -> dict[str, Any]:
        """Return the relay's answer to a request."""
        answer: dict[str, Any] = await self.process.run(self.feed.request({"op": op}))
        return answer

    def subscribe(self, room: str, delivery: str, intervals: Iterable[Interval]) -> Any:
        """Want a room; return the task that ends with the snapshot, or with this process."""
        wish = Wish(room, delivery, tuple(intervals), len(self.wishes) + 1)
        self.wishes.append(wish)
        return self.process.run(self._subscribe(wish))

    async def _subscribe(self, wish: Wish) -> None:
        key, room = key_of(wish.room), wish.room
        hear = lambda event: wish.heard.append((self.world.loop.now, event))  # noqa: E731
        subscription = Subscription((key,), wish.intervals, wish.delivery, hear)  # type: ignore[arg-type]
        entry = Entry(
            [{"key": key, "room": room, "anchor_s": 33_300}], {key: room}, wish.intervals,
            wish.delivery, True, "practice", lambda: subscription,
        )  # fmt: skip
        await self.feed.subscribe(wish.token, entry)
        wish.snapshot, wish.attached_at = subscription.snapshot, self.world.loop.now

    def release(self, wish: Wish) -> None:
        """Want a room no longer."""
        wish.released = True
        self.feed.release(wish.token)

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()

    async def leave(self) -> None:
        """End it in order."""
        self.process.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        self.process.kill()

    def faults(self) -> Iterator[str]:
        """Yield what was wrong with what it heard."""
        for wish in self.wishes:
            for fault in self._faults(wish):
                yield f"{self.name} {wish.room}: {fault}"

    def _faults(self, wish: Wish) -> Iterator[str]:
        # Who wants the latest is not told where the numbers begin anew.
        if wish.delivery == "every" or not (self.world.night or self.world.filled):
            yield from _wrong_sequences(wish)
        if wish.delivery == "every":
            yield from _Numbers(self.world, wish).faults()
        yield from _wrong_gaps(wish)
        yield from _wrong_bars(self.world, wish)


def _wrong_sequences(wish: Wish) -> Iterator[str]:
    """Yield sequences that came twice, fell, or are missing without exact bounds."""
    last, lost = 0, []
    anew = True
    for at, event in wish.heard:
        if isinstance(event, Lost):
            lost.append(event)
            anew |= event.last is None
        if not isinstance(event, FeedTick):
            continue
        if not anew and event.sequence <= last:
            yield f"{at:.3f} sequence {event.sequence} after {last}"
        if not anew and wish.delivery == "every":
            expected = last + 1
            for one in lost:
                if one.first != expected:
                    yield f"{at:.3f} lost from {one.first}, which is not {expected}"
                expected = (one.last or 0) + 1
            if expected != event.sequence:
                yield f"{at:.3f} sequence {event.sequence} instead of {expected}, and nothing said"
        last, lost, anew = event.sequence, [], False


class _Numbers:
    """Follow the broker's own numbers through what was heard of one room."""

    def __init__(self, world: World, wish: Wish) -> None:
        self.broker = world.broker
        self.world = world
        self.wish = wish
        self.heard: Counter[int] = Counter()
        self.missing: set[int] = set()
        self.top = self.newest = 0

    def faults(self) -> Iterator[str]:
        room = self.wish.room
        told = True
        for at, event in self.wish.heard:
            if not isinstance(event, FeedTick):
                told |= isinstance(event, (Gap, Lost))
                continue
            if told:
                yield from self._end_of_segment(at)
                self.top = 0
            told = False
            number = number_of(event)
            self.heard[number] += 1
            if self.heard[number] > self.broker.copies[room, number]:
                yield f"{at:.3f} {number} came {self.heard[number]} times"
            late = (room, number) in self.broker.late
            if number > self.top:
                if self.top:
                    self.missing.update(range(self.top + 1, number))
                # Of a late frame that comes first, the successor was sent before.
                self.top = number if self.top else number + late
            elif number in self.missing and late:
                self.missing.discard(number)
            elif self.heard[number] == 1 and not late:
                yield f"{at:.3f} {number} after {self.top}"
            self.newest = number
        yield from self._end_of_segment(self.world.loop.now)

    def _end_of_segment(self, at: float) -> Iterator[str]:
        """Judge what did not come before a loss was told."""
        # The last frame but one may have been on its way behind the last one.
        excused = {self.top - 1} if (self.wish.room, self.top - 1) in self.broker.late else set()
        if self.missing - excused:
            yield f"{at:.3f} {sorted(self.missing)} before {self.top} never came, and nothing said"
        self.missing.clear()


def _wrong_gaps(wish: Wish) -> Iterator[str]:
    """Yield gaps without a cause, a state or an end."""
    for at, event in wish.heard:
        if isinstance(event, Gap):
            ended = event.end is not None
            if not event.cause or event.state not in STATES or ended == (event.state == "open"):
                yield f"{at:.3f} {event}"
            elif event.end is not None and event.end < event.start:
                yield f"{at:.3f} {event} ends before it begins"


def _wrong_bars(world: World, wish: Wish) -> Iterator[str]:
    """Yield bars that call themselves complete and are not what the exchange traded."""
    if world.night and world.jumped:  # the exchange's clock was set, too
        return
    traded = world.broker.traded[wish.room]
    wild = wish.room in world.broker.wild
    for (interval, start_s), told in wish.closed_bars().items():
        bar = told.bar
        prices: list[float] = []
        for second in range(start_s, start_s + interval.value):
            if second in traded:
                prices += traded[second].prices
        if bar.volume > len(prices) + 2 * wild:  # a late frame may be counted in the next bar
            yield f"{interval.label} bar of {start_s} has {bar.volume} of {len(prices)} traded"
        if not bar.complete or wild:
            continue
        found = bar.open, bar.high, bar.low, bar.close, bar.volume
        meant = prices[0], max(prices), min(prices), prices[-1], len(prices)
        if found != meant:
            yield f"complete {interval.label} bar of {start_s} is {found} instead of {meant}"
