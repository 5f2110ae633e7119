"""The bus: one relay holds the stream, others follow it.

Owns what a bus promises, and its engine inside one process; `bus_redis` has the
one for several machines. The bus carries the broker's frames as they came, by
room, with the numbers the publishing relay gave them. Because those count every
frame, a reader knows exactly what it missed, whoever lost it and however. Who
publishes and who follows is left to `sharing`.
"""

from __future__ import annotations

import asyncio
import bisect
import secrets
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from breeze_lab.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from breeze_lab.relay.wal import Record

__all__ = [
    "KEPT",
    "LEASE_S",
    "Board",
    "Bus",
    "Drops",
    "Event",
    "Heard",
    "InProcess",
    "Missing",
    "check",
    "hole",
]

#: Records kept for each room: an hour and more of a busy instrument, ten minutes of a flood.
KEPT: Final = 10_000
#: A publisher or a holder not heard of for this long is gone.
LEASE_S: Final = 5.0
#: Records of one room handed out before the next room has its turn.
_TURN: Final = 500
#: Ranges of dropped records that are remembered.
_RANGES: Final = 1_000
_sequence: Final = attrgetter("sequence")


class Heard(NamedTuple):
    """One frame of a room."""

    room: str
    record: Record


class Missing(NamedTuple):
    """Frames of a room that came and cannot be had any more, both bounds included."""

    room: str
    first: int
    last: int


Event: TypeAlias = Heard | Missing


class Bus(Protocol):
    """What both engines promise; everything is called on one event loop.

    Attributes
    ----------
    market
        Whose prices it carries; buses of two markets never meet.
    life
        Names this end of the bus among all.
    """

    market: str
    life: str

    async def lead(self) -> dict[str, int]:
        """Become the one that publishes, and displace whoever was.

        Returns
        -------
        dict
            The `heads`. Go on from there: a lower number is taken for a repetition.
        """

    async def heads(self) -> dict[str, int]:
        """Return the last sequence of each room that was ever on the bus.

        Raises
        ------
        FeedDisconnected
            When the bus is away.
        """

    async def leader(self) -> str:
        """Return the life that publishes now, empty when none has for `LEASE_S`."""

    def publish(self, room: str, record: Record) -> None:
        """Put one frame on the bus, at once and without waiting; batches leave by themselves.

        The sequences of a room ascend. One that is there already changes
        nothing, so after a doubt everything may be published again.

        Raises
        ------
        FeedError
            When the record has no sequence.
        """

    async def flush(self) -> None:
        """Wait until all that was published is on the bus, or among the dropped.

        Waits as long as the bus is away.
        """

    def read(self, rooms: Iterable[str], after: Mapping[str, int]) -> AsyncGenerator[Event, None]:
        """Yield the frames of `rooms`, in order within a room, for ever.

        Parameters
        ----------
        after
            The last sequence heard of each room: reading goes on exactly behind
            it. A room that is not in it begins with the oldest frame kept.

        Yields
        ------
        Heard or Missing
            Each sequence behind `after` once, as one or the other.
        """

    async def want(self, holder: str, rooms: Iterable[str], lease_s: float = LEASE_S) -> None:
        """Want `rooms`, instead of what `holder` wanted before, for `lease_s` from now.

        Raises
        ------
        FeedDisconnected
            When the bus is away.
        """

    async def wanted(self) -> list[str]:
        """Return the rooms that living holders want, sorted.

        Raises
        ------
        FeedDisconnected
            When the bus is away.
        """

    def status(self) -> dict[str, Any]:
        """Return what this end does, without secrets."""

    async def close(self) -> None:
        """Leave the bus; what waits is given a moment to go."""


class Drops:
    """What a publisher could not pass on, by exact bounds.

    Attributes
    ----------
    count
        How many records.
    """

    def __init__(self) -> None:
        """Have dropped nothing."""
        self.count = 0
        self._ranges: list[Missing] = []
        self._newest: dict[str, int] = {}  # room -> place of its newest range

    def add(self, room: str, sequence: int) -> None:
        """Note one record; those of a room come in order."""
        self.count += 1
        at = self._newest.get(room)
        if at is not None and self._ranges[at].last == sequence - 1:
            self._ranges[at] = self._ranges[at]._replace(last=sequence)
            return
        if len(self._ranges) >= _RANGES:  # the older half; readers are told of it all the same
            self._ranges = self._ranges[_RANGES // 2 :]
            self._newest = {found.room: place for place, found in enumerate(self._ranges)}
        self._newest[room] = len(self._ranges)
        self._ranges.append(Missing(room, sequence, sequence))

    def ranges(self) -> list[Missing]:
        """Return the newest thousand ranges at most."""
        return list(self._ranges)


class _Room:
    """The newest records of one room, in order."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.last = 0

    def add(self, record: Record, kept: int) -> bool:
        """Take a record unless it is there already; say whether it was new."""
        if record.sequence <= self.last:
            return False
        self.last = record.sequence
        self.records.append(record)
        if len(self.records) >= 2 * kept:  # seldom, so that each record costs little
            del self.records[:-kept]
        return True

    def behind(self, sequence: int) -> list[Record]:
        """Return the next records after `sequence`, a turn of them at most."""
        at = bisect.bisect_right(self.records, sequence, key=_sequence)
        return self.records[at : at + _TURN]


class Board:
    """What the ends of an in-process bus share.

    Nothing of it survives the process: whoever restarts it publishes its tick
    log again, which changes nothing where it is still known.

    Parameters
    ----------
    kept
        Records of a room that are kept at least; at most twice as many are.
    """

    def __init__(self, kept: int = KEPT) -> None:
        """Hold nothing."""
        self.kept = kept
        self.lead = ""
        self.alive = False
        self.rooms: dict[str, _Room] = {}
        self.wants: dict[str, tuple[list[str], float]] = {}
        #: Rings at the next record, once.
        self.bell = asyncio.Event()
        self._ringing = False

    def add(self, room: str, record: Record) -> bool:
        """Take a record and wake the readers, once for all that comes in this turn of the loop."""
        new = self.rooms.setdefault(room, _Room()).add(record, self.kept)
        if new and not self._ringing:
            self._ringing = True
            asyncio.get_running_loop().call_soon(self._ring)
        return new

    def _ring(self) -> None:
        self._ringing = False
        bell, self.bell = self.bell, asyncio.Event()
        bell.set()


class InProcess:
    """One end of a bus inside this process.

    Parameters
    ----------
    market
        See `Bus`.
    board
        What all ends share; by default nobody else is on it.
    life
        See `Bus`; made up when empty.
    """

    def __init__(self, market: str, board: Board | None = None, life: str = "") -> None:
        """Be there and publish nothing."""
        self.market = market
        self.life = life or secrets.token_hex(8)
        self.board = board or Board()
        self.drops = Drops()
        self._published = self._repeated = 0

    async def lead(self) -> dict[str, int]:
        """See `Bus`."""
        self.board.lead, self.board.alive = self.life, True
        return await self.heads()

    async def heads(self) -> dict[str, int]:
        """See `Bus`."""
        return {name: room.last for name, room in self.board.rooms.items()}

    async def leader(self) -> str:
        """See `Bus`; an end leads until it is closed."""
        return self.board.lead if self.board.alive else ""

    def publish(self, room: str, record: Record) -> None:
        """See `Bus`."""
        check(room, record)
        if self.board.lead != self.life:
            self.drops.add(room, record.sequence)
        elif self.board.add(room, record):
            self._published += 1
        else:
            self._repeated += 1

    async def flush(self) -> None:
        """See `Bus`; here it is done already."""

    async def read(
        self, rooms: Iterable[str], after: Mapping[str, int]
    ) -> AsyncGenerator[Event, None]:
        """See `Bus`; a slow reader costs nothing, since it holds no more than its place."""
        places: dict[str, int | None] = {room: after.get(room) for room in rooms}
        while True:
            bell = self.board.bell
            idle = True
            for room, place in places.items():
                known = self.board.rooms.get(room)
                for record in known.behind(place or 0) if known else ():
                    idle = False
                    missing = hole(room, places[room], record.sequence)
                    places[room] = record.sequence
                    if missing:
                        yield missing
                    yield Heard(room, record)
            if idle:
                await bell.wait()
            else:
                await asyncio.sleep(0)  # a long past must not hold up the loop

    async def want(self, holder: str, rooms: Iterable[str], lease_s: float = LEASE_S) -> None:
        """See `Bus`."""
        self.board.wants[holder] = list(rooms), time.monotonic() + lease_s

    async def wanted(self) -> list[str]:
        """See `Bus`."""
        now = time.monotonic()
        wants = self.board.wants
        for holder in [holder for holder, (_, until) in wants.items() if until <= now]:
            del wants[holder]
        return sorted({room for rooms, _ in wants.values() for room in rooms})

    def status(self) -> dict[str, Any]:
        """See `Bus`."""
        return {
            "engine": "in-process", "address": "", "market": self.market, "connected": True,
            "error": "", "leads": self.board.lead == self.life, "waiting": 0,
            "published": self._published, "repeated": self._repeated,
            "dropped": self.drops.count, "ranges": list(map(list, self.drops.ranges())),
        }  # fmt: skip

    async def close(self) -> None:
        """See `Bus`."""
        if self.board.lead == self.life:
            self.board.alive = False


def check(room: str, record: Record) -> None:
    """Refuse a record that a bus cannot carry.

    Raises
    ------
    FeedError
    """
    if record.sequence < 1:
        raise FeedError(
            f"A record of room {room} has the sequence {record.sequence} and the bus carries "
            "what is counted, from 1 on. Publish the frames of rooms only."
        )


def hole(room: str, place: int | None, sequence: int) -> Missing | None:
    """Return what lies between the last sequence heard and the next one."""
    if place is None or sequence <= place + 1:
        return None
    return Missing(room, place + 1, sequence - 1)
