"""The bus between machines: Redis Streams, one for each room.

An entry's id is the sequence of its frame, so Redis itself refuses a repetition,
and reading on behind a number is exact. After every new connection what was sent
in the last seconds is sent once more (see `bus_outbox`). Connecting again waits
longer each time. The password of the address is shown nowhere.

Needs the package ``redis`` (``pip install 'breeze-lab[redis]'``), loaded when a
bus is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

import msgspec

from breeze_lab.errors import FeedDisconnected, SettingsError
from breeze_lab.relay import bus_scripts as scripts
from breeze_lab.relay.bus import KEPT, LEASE_S, Heard, Missing, check, hole
from breeze_lab.relay.bus_outbox import WAITING, Outbox
from breeze_lab.relay.upstream import Backoff
from breeze_lab.relay.wal import Record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping

    from breeze_lab.relay.bus import Drops, Event
    from breeze_lab.relay.bus_outbox import Batch

__all__ = ["SCHEMES", "RedisBus"]

_log: Final = logging.getLogger(__name__)

SCHEMES: Final = ("redis", "rediss", "unix")
#: Records leave together that came within this time.
_FLUSH_S: Final = 0.003
#: A read waits this long for something new; a dead link is noticed after the time-out.
_BLOCK_MS: Final = 1_000
_TIMEOUT_S: Final = 5.0
#: Entries of one answer, over all rooms, and of one room.
_ANSWER: Final = 20_000
_TURN: Final = 500
#: A stream nobody publishes to is forgotten after this long; its last number stays known.
_FORGET_S: Final = 7 * 86_400
#: How long `close` lets waiting records go.
_FAREWELL_S: Final = 1.0


class RedisBus:
    """One end of a bus on a Redis server; see `breeze_lab.relay.bus.Bus`.

    Parameters
    ----------
    address
        ``redis://[user:password@]host[:port][/database]``, ``rediss://`` for
        TLS or ``unix://path``.
    market, life
        See `Bus`.
    kept
        Records of a room that are kept at least.
    waiting
        Records that wait while Redis is away before the oldest are dropped.

    Raises
    ------
    SettingsError
        When the address is none or the package ``redis`` is missing.
    """

    def __init__(
        self, address: str, market: str, life: str = "", *, kept: int = KEPT, waiting: int = WAITING
    ) -> None:
        """Connect at the first use."""
        self.market = market
        self.life = life or secrets.token_hex(8)
        self.kept = kept
        self.outbox = Outbox(waiting)
        self.address, self._secret = _shown(address)
        self._redis, self._writer, self._troubles = self._clients(address)
        self._prefix = f"breeze-lab:1:{{{market}}}:"
        self._error = ""
        self._displaced = True  # until we lead
        self._up = self._may_connect = False
        self._published = self._repeated = 0
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Show no password."""
        return f"<RedisBus {self.market} at {self.address}>"

    @property
    def drops(self) -> Drops:
        """What could not be published."""
        return self.outbox.drops

    def _clients(self, address: str) -> tuple[Any, Any, tuple[type[Exception], ...]]:
        try:
            import redis.asyncio as aredis  # noqa: PLC0415 - an extra, and only where it is used
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
        except ImportError as exc:
            raise SettingsError(
                f"The bus at {self.address} needs the package redis. "
                "Try: pip install 'breeze-lab[redis]'"
            ) from exc

        async def connected(connection: Any) -> None:
            # What was confirmed may be lost when this is another life of Redis, so a new
            # connection must not pass for the old one; see `_connect`.
            if not self._may_connect:
                raise aredis.ConnectionError("the connection was lost")
            await connection.on_connect()

        def client(**options: Any) -> Any:
            # Trying again is ours: the client's own would hide a lost connection. The time-out is
            # ours too: the client's uses `wait_for`, which in Python 3.11 may swallow that we
            # are cancelled.
            pool: Any = aredis.ConnectionPool.from_url(
                address, socket_timeout=None, socket_connect_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0), protocol=2, decode_responses=False, **options,
            )  # fmt: skip
            said = pool.connection_kwargs  # an address may overrule the options above
            if (said["protocol"], said["decode_responses"]) != (2, False):
                raise ValueError
            return aredis.Redis(connection_pool=pool)

        try:
            return client(), client(redis_connect_func=connected), (aredis.RedisError, OSError)
        except (ValueError, TypeError):  # its text may hold a part of the password
            raise SettingsError(_bad_address(self.address)) from None

    def _key(self, name: str) -> str:
        return self._prefix + name

    # -- publishing ---------------------------------------------------------

    async def lead(self) -> dict[str, int]:
        """See `Bus`.

        Raises
        ------
        FeedDisconnected
            When Redis cannot be reached.
        """
        keys = [self._key(name) for name in ("lead", "alive", "heads")]
        flat = await self._ask(scripts.LEAD, keys, [self.life, int(LEASE_S * 1000)])
        self._displaced = False
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="bus")
        return {room.decode(): int(head) for room, head in zip(flat[::2], flat[1::2], strict=True)}

    async def heads(self) -> dict[str, int]:
        """See `Bus`."""
        found = await self._get(self._redis.hgetall(self._key("heads")))
        return {room.decode(): int(head) for room, head in found.items()}

    async def leader(self) -> str:
        """See `Bus`."""
        found: bytes | None = await self._get(self._redis.get(self._key("alive")))
        return (found or b"").decode()

    def publish(self, room: str, record: Record) -> None:
        """See `Bus`."""
        check(room, record)
        if self._displaced:
            self.drops.add(room, record.sequence)
            return
        self.outbox.put(room, record)
        self._settled.clear()
        self._wake.set()

    async def flush(self) -> None:
        """See `Bus`."""
        await self._settled.wait()

    async def _keep(self) -> None:
        """Send what waits, and say now and then that we live."""
        backoff = Backoff(0.05, 2.0)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_S / 3):
                    await self._wake.wait()
                await asyncio.sleep(_FLUSH_S)
            self._wake.clear()
            if self._displaced:
                continue
            try:
                if not self._up:
                    await self._connect()
                await self._send()
            except self._troubles as exc:
                self._up = False
                delay = backoff.delay()
                error = self._told(exc)
                if error != self._error:
                    _log.warning("The bus is away (%s). Next try in %.2f s.", error, delay)
                self._error = error
                self._wake.set()
                await asyncio.sleep(delay)
            else:
                backoff.reset()
                self._error = ""

    async def _connect(self) -> None:
        """Connect, and put in doubt what a Redis that was killed may not have written."""
        await self._writer.connection_pool.disconnect()
        self._may_connect = True
        try:
            await _in_time(self._writer.ping())
        finally:
            self._may_connect = False
        self._up = True
        self.outbox.doubt()

    async def _send(self) -> None:
        """Send all that waits; at least once, as a sign of life."""
        while True:
            batch = self.outbox.take()
            try:
                repeated = await self._put(batch)
            except BaseException:
                self.outbox.give_back(batch)
                raise
            if repeated < 0:
                _log.warning("Another relay publishes the %s market on the bus now.", self.market)
                self._displaced = True
                self.outbox.give_up(batch)
            elif batch:
                self._repeated += repeated
                self._published += len(batch) - repeated
                self.outbox.confirm(batch)
            if not self.outbox:
                self._settled.set()
                return

    async def _put(self, batch: Batch) -> int:
        rooms = {room: place for place, room in enumerate(dict(batch), 1)}
        arguments: list[Any] = [self.life, int(LEASE_S * 1000), self.kept, _FORGET_S]
        for room, record in batch:
            arguments += (
                rooms[room], room, self._id(record), record.kind, record.epoch,
                record.received_ms, record.data,
            )  # fmt: skip
        names = ("lead", "alive", "heads", *(f"room:{room}" for room in rooms))
        keys = [self._key(name) for name in names]
        return int(await _in_time(self._writer.eval(scripts.PUBLISH, len(keys), *keys, *arguments)))

    def _id(self, record: Record) -> str:
        return f"{record.sequence}-0"

    # -- reading ------------------------------------------------------------

    async def read(
        self, rooms: Iterable[str], after: Mapping[str, int]
    ) -> AsyncGenerator[Event, None]:
        """See `Bus`; what a slow reader has not asked for waits at Redis."""
        places = {room: after.get(room) for room in rooms}
        names = {self._key(f"room:{room}").encode(): room for room in places}
        count = max(10, min(_TURN, _ANSWER // max(1, len(places))))
        backoff = Backoff(0.05, 2.0)
        while True:
            if not names:
                await asyncio.sleep(_TIMEOUT_S)
                continue
            try:
                begin = {key: self._from(places[room]) for key, room in names.items()}
                answer = await _in_time(self._redis.xread(begin, count=count, block=_BLOCK_MS))
            except self._troubles as exc:
                self._error = self._told(exc)
                await asyncio.sleep(backoff.delay())
                continue
            backoff.reset()
            self._error = ""
            for key, entries in answer:
                room = names[key]
                for name, fields in entries:
                    sequence = int(name.partition(b"-")[0])
                    place, places[room] = places[room], sequence
                    if place is not None and sequence <= place:
                        continue
                    missing = hole(room, place, sequence)
                    if missing:
                        yield missing
                    yield _event(room, sequence, fields)

    def _from(self, place: int | None) -> str:
        return f"{place or 0}-{2**64 - 1}" if place else "0-0"

    # -- wanting ------------------------------------------------------------

    async def want(self, holder: str, rooms: Iterable[str], lease_s: float = LEASE_S) -> None:
        """See `Bus`."""
        text = msgspec.json.encode(sorted(rooms))
        keys = [self._key("leases"), self._key("wants")]
        await self._ask(scripts.WANT, keys, [holder, text, int(lease_s * 1000)])

    async def wanted(self) -> list[str]:
        """See `Bus`."""
        found = await self._ask(scripts.WANTED, [self._key("leases"), self._key("wants")], [])
        return sorted({room for text in found for room in _rooms(text)})

    async def _ask(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        return await self._get(self._redis.eval(script, len(keys), *keys, *arguments))

    async def _get(self, work: Awaitable[Any]) -> Any:
        try:
            answer = await _in_time(work)
        except self._troubles as exc:
            self._away(exc)
        self._error = ""
        return answer

    def _away(self, exc: Exception) -> NoReturn:
        self._error = self._told(exc)
        raise FeedDisconnected(
            f"The bus at {self.address} cannot be used: {self._error}. "
            "Look whether Redis runs there and whether BREEZE_LAB_BUS is right."
        ) from None

    # -- the rest -----------------------------------------------------------

    def _told(self, exc: Exception) -> str:
        """Return an error as a line that may be shown."""
        text = f"{type(exc).__name__}: {exc}"[:300]
        for secret in filter(None, self._secret):
            text = text.replace(secret, "…")
        return text

    def status(self) -> dict[str, Any]:
        """See `Bus`."""
        return {
            "engine": "redis", "address": self.address, "market": self.market,
            "connected": not self._error, "error": self._error, "leads": not self._displaced,
            "waiting": len(self.outbox),
            "published": self._published, "repeated": self._repeated,
            "dropped": self.drops.count, "ranges": list(map(list, self.drops.ranges())),
        }  # fmt: skip

    async def close(self) -> None:
        """See `Bus`."""
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self.flush()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if not self._displaced:
            self._displaced = True
            with contextlib.suppress(*self._troubles):
                await _in_time(self._redis.eval(scripts.LEAVE, 1, self._key("alive"), self.life))
        await self._writer.aclose()
        await self._redis.aclose()


async def _in_time(work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(_TIMEOUT_S):
        return await work


def _shown(address: str) -> tuple[str, tuple[str, ...]]:
    """Return an address as it may be shown, and what must not be.

    Raises
    ------
    SettingsError
    """
    try:
        parts = urlsplit(address)
        host, port, password = parts.hostname or "", parts.port, parts.password or ""
    except ValueError:  # its text may hold a part of the password
        raise SettingsError(_bad_address("")) from None
    if parts.scheme not in SCHEMES or not (host or parts.path):
        raise SettingsError(_bad_address(""))
    place = f"{host}:{port or 6379}" if host else ""
    # The query of an address may hold a password too.
    hidden = [password, unquote(password), parts.query]
    return f"{parts.scheme}://{place}{parts.path}", tuple(sorted(hidden, key=len, reverse=True))


def _bad_address(shown: str) -> str:
    return (
        f"BREEZE_LAB_BUS is no address of a Redis{f' ({shown})' if shown else ''}. Write "
        "redis://user:password@host:6379/0, rediss:// for TLS or unix:///path; percent-encode "
        "what a password has of / ? # @."
    )


def _rooms(text: bytes) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError:
        return []  # not written by a relay


def _event(room: str, sequence: int, fields: Mapping[bytes, bytes]) -> Event:
    """Return an entry as what it is; one that no relay wrote is missing."""
    try:
        kind, epoch, received_ms = (int(fields[name]) for name in (b"k", b"e", b"m"))
        return Heard(room, Record(kind, epoch, sequence, received_ms, fields[b"d"]))
    except (KeyError, ValueError, TypeError):
        return Missing(room, sequence, sequence)
