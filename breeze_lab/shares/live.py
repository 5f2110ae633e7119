"""Live: practice prices on their way to viewers, asked of the relay once per instrument.

A stream is one subscription at the relay's door, always of the practice
market: a relay of another market refuses it. A room is one link's chart: its
frozen bars moved on by the stream, its indicators, and whoever watches. To a
viewer who reads slowly the newest state is sent, never a backlog.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import unix_connect
from websockets.exceptions import WebSocketException

from breeze_lab import processes, settings
from breeze_lab.errors import ProcessError
from breeze_lab.shares.rows import Rows

if TYPE_CHECKING:
    from breeze_lab.indicators.desk import Desk

__all__ = ["Outbox", "Room", "Streams"]

_log = logging.getLogger(__name__)

_SUBPROTOCOL: Final = "breeze-lab.1.json"
_LONGEST_WAIT_S: Final = 10.0
_FIRST_WAIT_S: Final = 0.25
#: How often a room tells: a chart repaints ten times a second.
_FLUSH_S: Final = 0.1
_MOST_KEPT: Final = 2000


class Outbox:
    """What one viewer has not been sent yet, newest state only."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self._whole: list[dict[str, Any]] = []
        self._news: dict[str, Any] = {}
        self._bars: dict[float, list[Any]] = {}
        self._values: dict[float, Any] = {}
        self._columns: dict[str, Any] = {}

    def restart(self, messages: list[dict[str, Any]]) -> None:
        """Begin anew with whole messages; what waited is in them."""
        self._whole = messages
        self._news, self._bars, self._values, self._columns = {}, {}, {}, {}
        self.wake.set()

    def put(
        self, news: dict[str, Any], bars: list[list[Any]], values: dict[str, Any] | None
    ) -> None:
        """Add news; an older state of the same bar is forgotten."""
        self._news |= news
        self._bars |= {bar[2]: bar for bar in bars}
        if values is not None:
            self._values |= {row[0]: row for row in values["rows"]}
            self._columns |= values["whole"]
        self.wake.set()

    def take(self) -> list[str]:
        """Return what is to be sent now, as JSON."""
        self.wake.clear()
        found, self._whole = self._whole, []
        if self._news or self._bars:
            found.append({"op": "batch", **self._news, "bars": list(self._bars.values())})
        if self._values or self._columns:
            newest = max(self._values, default=None)
            rows = [self._values[t] for t in sorted(self._values)]
            found.append({
                "op": "indicators", "t": newest,
                "answer": {"op": "values", "rows": rows, "whole": self._columns},
            })  # fmt: skip
        self._news, self._bars, self._values, self._columns = {}, {}, {}, {}
        return [json.dumps(one, separators=(",", ":")) for one in found]


class Room:
    """One link's chart and its viewers.

    Parameters
    ----------
    target
        A chart's frozen target: config, figure, bars, indicators.
    live
        Whether the relay moves it on.
    """

    def __init__(self, target: dict[str, Any], *, live: bool) -> None:
        config = target["config"]
        self.config, self.figure = config, target["figure"]
        self.specs: list[str] = target["indicators"]
        self.live = live
        self.rows = Rows(
            target["bars"], config["interval_s"], config["fetched_s"],
            min(int(config["most"]), _MOST_KEPT * 2),
        )  # fmt: skip
        self.viewers: set[Outbox] = set()
        self.says = "Connecting"
        self.upstream: dict[str, Any] | None = None
        self.tick: list[Any] | None = None
        self._relay: int | None = None
        self._news: dict[str, Any] = {}
        self._changed: dict[float, list[float]] = {}
        self._desk: Desk | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._computing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def enter(self, viewer: Outbox) -> None:
        """Tell a new viewer everything, then keep it told."""
        async with self._computing:  # so that no values fall between the two
            viewer.restart(await self._everything())
            self.viewers.add(viewer)

    async def _everything(self) -> list[dict[str, Any]]:
        opened = [await self._opened()] if self.specs else []
        if not self.live:
            return opened
        snapshot = {
            "op": "snapshot", "upstream": self.upstream, "ticks": [self.tick] if self.tick else [],
            "bars": [self._told(row) for row in self.rows.rows],
        }  # fmt: skip
        return [{"op": "link", "says": self.says}, snapshot, *opened]

    def leave(self, viewer: Outbox) -> None:
        """Tell it nothing more."""
        self.viewers.discard(viewer)

    def take(self, message: dict[str, Any]) -> None:
        """Take a message of the relay."""
        key, interval = self.config["key"], self.config["interval"]
        if message.get("op") == "welcome":
            if self._relay not in (None, message.get("pid")):
                self.rows.freeze()
            self._relay = message.get("pid")
        if message.get("upstream"):
            # Whose account feeds the relay is no viewer's business.
            self.upstream = {"state": message["upstream"].get("state", "")}
            self._news["upstream"] = self.upstream
        for tick in message.get("ticks") or ():
            if tick[0] == key:
                self.tick = tick
                self._news["ticks"] = [tick]
        for bar in message.get("bars") or ():
            if bar[0] == key and bar[1] == interval:
                row = self.rows.apply(bar)
                if row is not None:
                    self._changed[row[0]] = row
        self._soon()

    def say(self, words: str) -> None:
        """Tell how the relay is: "open", "lost" or a sentence."""
        if words != self.says:
            self.says = words
            self._news["says"] = words
            self._soon()

    def _soon(self) -> None:
        if self._timer is None and (self._news or self._changed):
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        task = asyncio.create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self._computing:
            news, self._news = self._news, {}
            changed = [list(self._changed[t]) for t in sorted(self._changed)]
            self._changed = {}
            if not self.viewers:
                self._desk = None  # the next viewer opens it anew
                return
            values = None
            if changed and self._desk is not None:
                answer = await asyncio.to_thread(self._desk.take, {"op": "bars", "rows": changed})
                if answer["op"] == "values":
                    values = answer
                else:  # an older bar was corrected
                    everything = await self._everything()
                    for viewer in self.viewers:
                        viewer.restart(everything)
                    return
            told = [self._told(row) for row in changed]
            for viewer in self.viewers:
                viewer.put(news, told, values)

    async def _opened(self) -> dict[str, Any]:
        """Open a desk with the bars there are; return what it says of them."""
        columns = self.rows.columns()
        newest = columns[0][-1] if columns[0] else None
        self._desk, answer = await asyncio.to_thread(_desk, self.specs, columns)
        return {"op": "indicators", "t": newest, "answer": answer}

    def _told(self, row: list[float]) -> list[Any]:
        """Return a row in the relay's form of a bar, whole."""
        return [self.config["key"], self.config["interval"], *row, None, True, False]


def _desk(specs: list[str], columns: list[list[float]]) -> tuple[Desk, dict[str, Any]]:
    """Return an open desk and its first answer; slow the first time."""
    from breeze_lab.indicators.desk import Desk  # noqa: PLC0415 - loads NumPy and TA-Lib

    desk = Desk()
    return desk, desk.take({"op": "open", "specs": specs, "bars": columns})


class Streams:
    """The subscriptions at the relay's door, one for each instrument and interval watched."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, str, str], set[Room]] = {}
        self._tasks: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def follow(self, room: Room) -> None:
        """Move a room on until it is left."""
        place = _place(room)
        rooms = self._rooms.setdefault(place, set())
        if room in rooms:
            return
        rooms.add(room)
        if (before := self._tasks.pop(place, None)) is not None:
            # The relay tells where things stand at the beginning only, so begin again.
            before.cancel()
        self._tasks[place] = asyncio.create_task(self._run(place, room.config["anchor_s"]))

    def leave(self, room: Room) -> None:
        """Stop moving it on; with the last room the subscription ends."""
        place = _place(room)
        rooms = self._rooms.get(place, set())
        rooms.discard(room)
        if not rooms:
            self._rooms.pop(place, None)
            task = self._tasks.pop(place, None)
            if task is not None:
                task.cancel()

    async def _run(self, place: tuple[str, str, str], anchor_s: int) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                said = await self._listen(place, anchor_s)
            except (OSError, ProcessError, ValueError, WebSocketException) as exc:
                _log.info("No relay for %s: %s", place[0], type(exc).__name__)
                said = "lost"
            # It is back within a second when it died under somebody.
            wait_s = _FIRST_WAIT_S if any(r.says == "open" for r in self._at(place)) else wait_s
            for room in self._at(place):
                room.say(said)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def _listen(self, place: tuple[str, str, str], anchor_s: int) -> str:
        """Pass on what the relay says until it goes; return what is to be said of that."""
        key, interval, broker_room = place
        folders = settings.folders()
        await asyncio.to_thread(processes.ensure, folders.runtime, "relay", "breeze_lab.relay")
        async with contextlib.AsyncExitStack() as stack:
            connection = await unix_connect(
                str(folders.socket("relay")), "ws://localhost/", subprotocols=[_SUBPROTOCOL],
                compression=None, max_queue=4, open_timeout=5, close_timeout=1,
            )  # fmt: skip
            stack.push_async_callback(connection.close)
            client = f"share {key}"[:80]
            await connection.send(json.dumps({"op": "hello", "client": client, "flush_ms": 100}))
            await connection.send(json.dumps({
                "op": "subscribe", "id": 1, "delivery": "latest", "bars": [interval],
                "ticks": True, "market": "practice",
                "instruments": [{"key": key, "room": broker_room, "anchor_s": anchor_s}],
            }))  # fmt: skip
            async for frame in connection:
                message = json.loads(frame)
                if message.get("op") == "error":
                    # Its own words may name the account's other market.
                    return "The practice market is not connected"
                for room in self._at(place):
                    if message.get("op") == "snapshot":
                        room.say("open")
                    room.take(message)
        return "lost"

    def _at(self, place: tuple[str, str, str]) -> list[Room]:
        return list(self._rooms.get(place, ()))


def _place(room: Room) -> tuple[str, str, str]:
    return room.config["key"], room.config["interval"], room.config["room"]
