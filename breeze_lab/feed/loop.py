"""The feed's side of the relay's door, on the feed's own thread.

Owns the connection, what has to be said again after it broke, and the way of
each message to the subscriptions it concerns. `breeze_lab.feed.client` is its face;
nothing here may be called from another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import random
from typing import TYPE_CHECKING, Any, Final, cast

from breeze_lab import errors, processes, settings
from breeze_lab.feed import rows
from breeze_lab.feed.entry import ORDERS
from breeze_lab.feed.subscription import FeedBar, FeedState, Lost, Snapshot
from breeze_lab.order_updates import decode_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from websockets.asyncio.client import ClientConnection

    from breeze_lab.bars import Interval
    from breeze_lab.feed.entry import Entry
    from breeze_lab.feed.subscription import FeedEvent
    from breeze_lab.feed.ticks import Batch, FeedTick
    from breeze_lab.relay.flow import Inflow
    from breeze_lab.settings import Folders

__all__ = ["FeedLoop"]

_log: Final = logging.getLogger(__name__)

_LONGEST_DELAY_S: Final = 3.0
#: Least time between two batches: a callback runs soon, and a busy relay batches more by itself.
#: The relay's timers tick in whole milliseconds, so that 2 would often be 3.
_FLUSH_MS: Final = 1
#: A snapshot of 2,000 instruments with 1,500 bars each is not a small message.
_LARGEST_MESSAGE: Final = 2**30


class FeedLoop:
    """Keep one connection to the relay.

    Parameters
    ----------
    folders
        Where the relay's socket and lock are.
    name
        How the relay's status calls this consumer.
    """

    def __init__(self, folders: Folders, name: str) -> None:
        """Wait for `run`."""
        import msgspec  # noqa: PLC0415 - importing the feed costs nothing

        from breeze_lab.feed import ticks  # noqa: PLC0415 - loads msgspec

        self.state = FeedState()
        self.failure = ""  # why there is no relay, for whoever gives up waiting
        self.unrecorded = ""  # why ticks are not recorded, when they should be
        self.leaving = False  # a relay that is asked to end is not started again
        self.held: dict[str, Any] | None = None  # the login, said again when it is needed
        self._folders = folders
        self._name = name
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode, self._place, self._is_batch = ticks.decode, ticks.place, ticks.is_batch
        self._know = ticks.know
        self._read = 0  # messages of the connection that were not tapped
        self._broken: Exception | None = None  # why we ended it
        self._welcomed = asyncio.Event()
        self._changed = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._life = ""
        self._failures = 0
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asked: dict[int, Entry] = {}
        self._entries: dict[int, Entry] = {}
        self._by_key: dict[str, list[Entry]] = {}

    # -- what the face asks for -------------------------------------------

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer."""
        await self._welcomed.wait()
        request_id = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        try:
            await self._send({**message, "id": request_id})
            return await answer
        finally:
            self._waiting.pop(request_id, None)

    async def login(self, login: dict[str, Any]) -> FeedState:
        """Hold `login`, say it, and wait until the broker took or refused it."""
        self.held = login
        # When the relay goes meanwhile, its successor is told on its welcome.
        with contextlib.suppress(errors.FeedDisconnected):
            await self.request(login)
        while self.state.state not in ("connected", "refused"):
            await self._changed.wait()
        return self.state

    async def subscribe(self, token: int, entry: Entry) -> None:
        """Subscribe `entry` and wait for its snapshot."""
        entry.ready = asyncio.get_running_loop().create_future()
        self._entries[token] = entry
        entry.placing = not self._know(entry.rooms)
        for key in entry.rooms:
            self._by_key.setdefault(key, []).append(entry)
        try:
            if self._welcomed.is_set():
                # When the relay goes meanwhile, its successor is asked on its welcome.
                with contextlib.suppress(errors.FeedDisconnected):
                    await self._say(entry)
            await entry.ready
        except BaseException:
            self.release(token)
            raise

    def release(self, token: int) -> None:
        """Forget a subscription; leave what no other one wants."""
        entry = self._entries.pop(token, None)
        if entry is None:
            return
        unwanted = []
        for key in entry.rooms:
            holders = self._by_key[key]
            holders.remove(entry)
            if not holders:
                del self._by_key[key]
                unwanted.append(key)
        others = self._by_key
        books = [k for k in entry.depth if not any(k in e.depth for e in others.get(k, ()))]
        if (unwanted or books) and self._socket is not None:
            message = {
                "op": "unsubscribe", "id": next(self._ids), "keys": unwanted, "depth": books
            }  # fmt: skip
            task = asyncio.ensure_future(self._send(message))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    # -- the connection ---------------------------------------------------

    async def run(self) -> None:
        """Keep a connection, starting the relay when there is none."""
        while not self.leaving:
            self._failures += 1  # until a relay says welcome
            try:
                self._ensure_relay()
                await self._connection()
                reason = "it closed the connection"
            except (OSError, errors.ProcessError) as exc:
                reason = self.failure = str(exc) or type(exc).__name__
            except Exception as exc:  # noqa: BLE001 - a feed mends itself
                reason = self.failure = f"its message could not be read: {exc!r}"
                _log.exception("The feed failed and connects again.")
            finally:
                self._drop()
            step_s = min(0.05 * 2**self._failures, _LONGEST_DELAY_S)
            delay_s = step_s * random.uniform(0.5, 1)  # noqa: S311 - not a secret
            _log.info("No relay (%s). Next try in %.2f s.", reason, delay_s)
            await asyncio.sleep(delay_s)

    def _ensure_relay(self) -> None:
        """Start the relay when there is none; it would serve the home of the environment."""
        if settings.folders() != self._folders:
            raise errors.ProcessError(
                f"The home of this process is no longer {self._folders.data.parent}: a feed of the "
                "former one starts no relay there. Close it and connect again."
            )
        processes.ensure(self._folders.runtime, "relay", "breeze_lab.relay")

    async def _connection(self) -> None:
        from websockets.asyncio.client import unix_connect  # noqa: PLC0415 - first use
        from websockets.exceptions import ConnectionClosedOK, WebSocketException  # noqa: PLC0415
        from websockets.typing import Subprotocol  # noqa: PLC0415

        from breeze_lab.relay.flow import Inflow  # noqa: PLC0415

        try:
            async with unix_connect(
                str(self._folders.socket("relay")), "ws://relay/", compression=None,
                subprotocols=[Subprotocol("breeze-lab.1.msgpack")], ping_interval=None,
                max_size=_LARGEST_MESSAGE, close_timeout=0.5, open_timeout=5,
                create_connection=Inflow,
            ) as socket:  # fmt: skip
                self._socket, self._broken = socket, None
                inflow = cast("Inflow", socket)
                inflow.tap = functools.partial(self._tap, inflow)
                self._read = 0
                hello = {"op": "hello", "client": self._name, "flush_ms": _FLUSH_MS}
                await self._send(hello)
                while True:
                    await self._take(self._decode(await socket.recv(decode=False)))
                    self._read += 1
        except ConnectionClosedOK:
            return
        except WebSocketException as exc:
            raise (self._broken or ConnectionError(str(exc))) from exc

    def _tap(self, socket: Inflow, messages: list[bytes]) -> int:
        """Take the batches before anything else, unless they would overtake what is not read."""
        if socket.passed != self._read:
            return 0
        try:
            for number, message in enumerate(messages):
                if not self._is_batch(message):
                    return number
                batch = self._decode(message)
                assert not isinstance(batch, dict)
                self._batch(batch)
        except Exception as exc:  # noqa: BLE001 - it is raised where the connection is kept
            self._broken = exc
            socket.tap = None
            socket.transport.abort()
        return len(messages)

    async def _send(self, message: dict[str, Any]) -> None:
        if self._socket is None:
            raise errors.FeedDisconnected("There is no relay at the moment.")
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - loaded by now

        try:
            await self._socket.send(self._encode(message))
        except ConnectionClosed as exc:
            raise errors.FeedDisconnected("The relay went away.") from exc

    async def _say(self, entry: Entry) -> None:
        request_id = next(self._ids)
        self._asked[request_id] = entry
        await self._send(entry.message(request_id))

    def _drop(self) -> None:
        """Forget the connection and tell everybody that it is gone."""
        had_one, self._socket = self._socket is not None, None
        self._welcomed.clear()
        self._asked.clear()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(errors.FeedDisconnected("The relay went away."))
        if had_one:
            for entry in self._entries.values():
                entry.live = False
            self._set(FeedState("offline", error="The relay is gone and is being started again."))

    def _set(self, state: FeedState) -> None:
        self.state = state
        self._changed.set()
        self._changed = asyncio.Event()
        for entry in list(self._entries.values()):
            entry.deliver([state])

    # -- messages ---------------------------------------------------------

    async def _take(self, message: Batch | dict[str, Any]) -> None:
        if not isinstance(message, dict):
            self._batch(message)
            return
        match message["op"]:
            case "snapshot":
                self._snapshot(message)
            case "state":
                self._set(rows.state(message["upstream"]))
            case "welcome":
                await self._welcome(message)
            case "order":
                self._order(message["frame"])
            case "recording":
                self._recording(message["error"])
            case "error":
                self._refused(message)
            case _:
                answer = self._waiting.get(message.get("id", 0))
                if answer is not None and not answer.done():
                    answer.set_result(message)

    async def _welcome(self, message: dict[str, Any]) -> None:
        self._life = message["life"]
        self.failure = ""
        self._failures = 0
        self._recording(message["unrecorded"])
        self._set(rows.state(message["upstream"]))
        if self.held is not None and self.state.state == "offline":
            await self._send(self.held)
        for entry in list(self._entries.values()):
            await self._say(entry)
        self._welcomed.set()

    def _recording(self, error: str) -> None:
        """Hear that ticks are not recorded, or are again; they flow either way."""
        if error and error != self.unrecorded:
            _log.warning("The feed goes on and is not recorded: %s", error)
        elif self.unrecorded and not error:
            _log.warning("The feed is recorded again.")
        self.unrecorded = error

    def _refused(self, message: dict[str, Any]) -> None:
        request_id = message.get("id", 0)
        entry = self._asked.pop(request_id, None)
        unnamed = errors.FeedError if entry is None else errors.SubscriptionRefused
        exc = getattr(errors, message["error"], unnamed)(message["message"])
        waiting = self._waiting.get(request_id) if entry is None else entry.ready
        if waiting is not None and not waiting.done():
            waiting.set_exception(exc)
        else:
            _log.warning("The relay refused a request: %s", exc)

    def _snapshot(self, message: dict[str, Any]) -> None:
        entry = self._asked.pop(message["id"], None)
        if entry is None:
            return
        ticks = [rows.tick(row, entry.rooms.get(row[0], "")) for row in message["ticks"]]
        bars = [rows.bar(row) for row in message["bars"]]
        again, entry.live = entry.ready is not None and entry.ready.done(), True
        entry.life = self._life
        if again:
            entry.deliver([*self._resume(entry, message, ticks), *bars])
            self._depth(message.get("depth", ()))
            return
        entry.seen = dict(message["sequences"])
        entry.epoch = max((tick.epoch for tick in ticks), default=0)
        subscription = entry.target()
        if subscription is not None:
            grouped: dict[tuple[str, Interval], list[FeedBar]] = {}
            for bar in bars:
                grouped.setdefault((bar.key, bar.bar.interval), []).append(bar)
            subscription.snapshot = Snapshot(
                {tick.key: tick for tick in ticks}, {k: tuple(v) for k, v in grouped.items()},
                {
                    row[0]: rows.depth(row, entry.depth[row[0]])
                    for row in message.get("depth", ())
                    if row[0] in entry.depth
                },
            )  # fmt: skip
        if entry.ready is not None:
            entry.ready.set_result(None)

    def _resume(
        self, entry: Entry, message: dict[str, Any], ticks: Iterable[FeedTick]
    ) -> list[FeedEvent]:
        """Return what a snapshot tells a subscription that was here before.

        What it missed follows in batches, after the last tick it heard. Where
        the relay cannot know what was missed the numbers begin anew.
        """
        if not entry.ticks:
            return []
        unknown = {
            key: Lost(key, first, last, cause) for key, first, last, cause in message["lost"]
        }
        every = entry.delivery == "every"
        events: list[FeedEvent] = [*unknown.values()] if every else []
        for tick in ticks:
            newest = not every and tick.sequence > entry.seen.get(tick.key, 0)
            # A life whose log failed left its follower older ticks than were heard of it.
            if newest or (tick.key in unknown and tick.epoch > entry.epoch):
                events.append(tick)
        for key, sequence in message["sequences"].items():
            if not every or key in unknown:
                entry.seen[key] = sequence
        return events

    def _batch(self, message: Batch) -> None:
        """Sort one batch by subscription: its losses lie before its ticks."""
        events: dict[Entry, list[FeedEvent]] = {}
        for key, first, last, cause in message.get("lost", ()):
            for entry in self._hearing(key, last):
                events.setdefault(entry, []).append(Lost(key, first, last, cause))
        for gap in map(rows.gap, message.get("gaps", ())):
            for entry in self._living(gap.key):
                events.setdefault(entry, []).append(gap)
        self._ticks(message, events)
        for row in message.get("bars", ()):
            bar = rows.bar(row)
            for entry in self._living(bar.key, bar.bar.interval):
                events.setdefault(entry, []).append(bar)
        for entry, found in events.items():
            entry.deliver(found)
        self._depth(message.get("depth", ()))

    def _depth(self, books: Iterable[list[Any]]) -> None:
        """Hand books to the subscriptions that want them."""
        for row in books:
            key = row[0]
            holders = [entry for entry in self._living(key) if key in entry.depth]
            if holders:
                book = rows.depth(row, holders[0].depth[key])
                for entry in holders:
                    entry.deliver([book])

    def _order(self, frame: list[str]) -> None:
        """Hand an order notification, which the relay has read once already, to its listeners."""
        update = decode_order(frame)
        for entry in self._living(ORDERS):
            entry.deliver([update])

    def _whole(self, message: Batch, events: dict[Entry, list[FeedEvent]]) -> bool:
        """Give all ticks of a batch to whoever wants all of its keys.

        Returns
        -------
        bool
            False, and nothing is done, when they have to be looked at one by one: because
            somebody wants a part of them, or heard some before.
        """
        first, last = message.first, message.last
        hearing = []
        for entry in self._entries.values():
            if entry.live and entry.ticks and not last.keys().isdisjoint(entry.rooms):
                seen = entry.seen
                if entry.placing or not last.keys() <= entry.rooms.keys():
                    return False
                if any(seen.get(key, 0) >= sequence for key, sequence in first.items()):
                    return False
                hearing.append(entry)
        for entry in hearing:
            entry.seen.update(last)
            events.setdefault(entry, []).extend(message.ticks)
        return True

    def _ticks(self, message: Batch, events: dict[Entry, list[FeedEvent]]) -> None:
        """Sort the ticks of a batch: what `_hearing` says, without its price for each."""
        if not message.ticks:
            return
        if not message.last or not self._whole(message, events):
            self._one_by_one(message.ticks, events)
        for entry in events:
            entry.epoch = message.ticks[-1].epoch

    def _one_by_one(self, ticks: Iterable[FeedTick], events: dict[Entry, list[FeedEvent]]) -> None:
        place, by_key = self._place, self._by_key
        found: list[FeedEvent] = []
        of: Entry | None = None  # whose events `found` are
        for tick in ticks:
            key, sequence = tick.key, tick.sequence
            for entry in by_key.get(key, ()):
                seen = entry.seen
                if sequence > seen.get(key, 0) and entry.live and entry.ticks:
                    seen[key] = sequence
                    if entry.placing:
                        place(tick, "placed", entry.rooms[key])
                    if entry is not of:
                        of, found = entry, events.setdefault(entry, [])
                    found.append(tick)

    def _living(self, key: str, interval: Interval | None = None) -> list[Entry]:
        """Return the subscriptions of `key`, with its bars, that have had their snapshot."""
        return [
            entry
            for entry in self._by_key.get(key, ())
            if entry.live and (interval is None or interval in entry.intervals)
        ]

    def _hearing(self, key: str, sequence: int) -> Iterator[Entry]:
        """Yield the subscriptions that have not heard `sequence` of `key` yet."""
        for entry in self._by_key.get(key, ()):
            if entry.live and entry.ticks and sequence > entry.seen.get(key, 0):
                entry.seen[key] = sequence
                yield entry
