"""Sharing a stream over the bus: publish what others want, or follow who publishes.

A relay with a session of its own publishes; one without follows. Only the
practice market's prices are published unless the owner says otherwise, because
price data may not be passed on without that. Off unless ``BREEZE_LAB_BUS`` is
set. What a bus promises is in `bus`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import platform
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.errors import FeedDisconnected
from breeze_lab.relay.bus import Heard
from breeze_lab.relay.upstream import State
from breeze_lab.relay.wal import STOCK, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from breeze_lab.relay.bus import Bus
    from breeze_lab.relay.hub import Hub
    from breeze_lab.relay.upstream import StateName
    from breeze_lab.settings import Folders

__all__ = ["Sharing", "from_environment"]

_log: Final = logging.getLogger(__name__)

#: What the broker calls a room; wishes of others are looked at before they go upstream.
_ROOM: Final = re.compile(r"\d{1,3}\.\d{1,3}![^\x00-\x1f]{1,60}")
_LOOK_S: Final = 1.0
#: Frames taken from the bus before the relay looks at other things.
_TURN: Final = 200
#: Ranges of dropped frames that the status shows.
_RANGES: Final = 20


def from_environment(hub: Hub, folders: Folders) -> Sharing | None:
    """Return the sharing that ``BREEZE_LAB_BUS`` and ``BREEZE_LAB_BUS_SHARE`` ask for, if any.

    Raises
    ------
    SettingsError
        When the address is none, or the package for it is missing.
    """
    address = os.environ.get("BREEZE_LAB_BUS", "").strip()
    if not address:
        return None
    from breeze_lab.relay.bus_redis import RedisBus  # noqa: PLC0415 - only where there is a bus

    # Our next life on this machine may take over at once; somebody else waits for our lease.
    place = f"{platform.node()}:{os.getuid()}:{folders.runtime}"
    owner = hashlib.sha256(place.encode()).hexdigest()[:12]
    RedisBus(address, "practice")  # refuses what it cannot use, now and not in a second
    words = os.environ.get("BREEZE_LAB_BUS_SHARE", "").split(",")
    shared = {"practice", *filter(None, (word.strip() for word in words))}
    return Sharing(hub, lambda market: RedisBus(address, market, f"{owner}:{hub.life}"), shared)


class Sharing:
    """Keep a hub in line with the bus; everything runs on the event loop.

    Parameters
    ----------
    hub
        Its frames are published, or it gets those of others.
    open_bus
        Returns our end of a market's bus. The part of its ``life`` before the
        colon names us over all our lives.
    shared
        The markets whose prices may be published.
    """

    def __init__(self, hub: Hub, open_bus: Callable[[str], Bus], shared: Collection[str]) -> None:
        """Look at nothing yet."""
        self.role = "idle"
        self._hub = hub
        self._open = open_bus
        self._shared = shared
        self._bus: Bus | None = None
        self._error = ""
        self._refused = 0
        self._rooms: tuple[str, ...] = ()
        self._places: dict[str, int] = {}
        self._reading: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        hub.sharing = self

    def start(self) -> None:
        """Look once a second until `close`, so that a slow bus holds up nothing else."""
        self._running = asyncio.create_task(self._run(), name="sharing")

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Publish, follow or leave off, as things are now; never raises."""
        held = self._hub.upstream.login_held
        try:
            if held is None:
                await self._follow(self._hub.market or "practice")
            else:
                await self._stop_reading()
                await self._publish(held.endpoints.name)
            self._error = ""
        except FeedDisconnected as exc:
            if not self._error:
                _log.warning("%s", exc)
            self._error = str(exc)
            if self._hub.upstream.login_held is None:
                self._say(str(exc))

    async def close(self) -> None:
        """Leave the bus, and want nothing there any more."""
        await _end(self._running)
        await self._leave()

    async def _leave(self) -> None:
        await self._stop_reading()
        self._stop_publishing()
        if self._bus is not None:
            bus, self._bus = self._bus, None
            if self._rooms:
                self._rooms = ()
                with contextlib.suppress(FeedDisconnected):
                    await bus.want(self._hub.life, [])
            await bus.close()

    async def _at(self, market: str) -> Bus:
        if self._bus is None or self._bus.market != market:
            await self._leave()
            self._places = {}
            self._bus = self._open(market)
        return self._bus

    def _become(self, role: str) -> None:
        if role != self.role:
            _log.info("On the bus this relay is now: %s.", role)
        self.role = role

    # -- publishing ---------------------------------------------------------

    async def _publish(self, market: str) -> None:
        if market not in self._shared:
            await self._leave()
            self._become("private")
            return
        bus = await self._at(market)
        leader = await bus.leader()
        if leader != bus.life:
            if leader and leader.partition(":")[0] != bus.life.partition(":")[0]:
                self._stop_publishing()
                self._become("standby")
                return
            self._hub.raise_sequences(await bus.lead())
        self._hub.tap = self._tap
        self._become("publisher")
        rooms = [room for room in await bus.wanted() if _ROOM.fullmatch(room)]
        self._refused = len(rooms) - self._hub.hold(rooms)

    def _tap(self, room: str, sequence: int, received_ms: int, raw: bytes) -> None:
        """Publish one frame that somebody wants."""
        if self._bus is not None and room in self._hub.held:
            epoch = self._hub.upstream.epoch
            self._bus.publish(room, Record(STOCK, epoch, sequence, received_ms, raw))

    def _stop_publishing(self) -> None:
        self._hub.tap = None
        self._hub.hold([])

    # -- following ----------------------------------------------------------

    async def _follow(self, market: str) -> None:
        bus = await self._at(market)
        self._stop_publishing()
        rooms = self._hub.upstream.rooms
        if rooms != self._rooms:
            await self._stop_reading()
        await self._hub.prepare(market)
        await bus.want(self._hub.life, rooms)
        leader = await bus.leader()
        if not self._places.keys() >= set(rooms):
            self._resume(rooms, await bus.heads())
        if self._hub.upstream.login_held is not None:  # meanwhile; the next look knows
            return
        self._become("follower")
        self._hub.following = True
        if rooms:  # prices of another market must not meet these
            self._hub.market = self._hub.market or market
        self._rooms = rooms
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(bus, rooms), name="bus reader")
        self._say("" if leader else "nobody publishes on the bus")

    def _resume(self, rooms: tuple[str, ...], heads: Mapping[str, int]) -> None:
        """Begin new rooms behind what this relay told its consumers, in a former life perhaps."""
        for room in rooms:
            told = self._hub.sequence(room)
            # A higher number than the publisher's is of another stream.
            if told and told <= heads.get(room, 0):
                self._places.setdefault(room, told)

    async def _read(self, bus: Bus, rooms: tuple[str, ...]) -> None:
        count = 0
        async with aclosing(bus.read(rooms, dict(self._places))) as events:
            async for event in events:
                if isinstance(event, Heard):
                    self._places[event.room] = event.record.sequence
                    self._hub.on_bus(event.room, event.record)
                else:
                    self._places[event.room] = event.last
                    self._hub.on_bus_missing(event.room, event.first, event.last)
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)

    async def _stop_reading(self) -> None:
        await _end(self._reading)
        self._reading = None

    def _say(self, error: str) -> None:
        """Tell consumers how the bus stands, in the words of an upstream."""
        upstream = self._hub.upstream
        name: StateName = "connecting" if error else "connected"
        if (upstream.state.state, upstream.state.error) == (name, error):
            return
        market = self._bus.market if self._bus is not None else ""
        since = clock.now().isoformat(timespec="seconds")
        upstream.state = State(name, market, "the bus", since, "", error)
        self._hub.on_state(upstream.state)

    # -- the report ---------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what this relay is on the bus, without secrets."""
        facts = self._bus.status() if self._bus is not None else {}
        if facts:
            facts["ranges"] = facts["ranges"][-_RANGES:]
        return {
            **facts,
            "role": self.role,
            "error": self._error or facts.get("error", ""),
            "rooms": len(self._hub.held if self.role == "publisher" else self._rooms),
            "refused": self._refused,
        }


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
