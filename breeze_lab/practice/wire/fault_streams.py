"""What faults do to the stream servers when they begin and end.

Owns the two ports that can stop listening, and what an instrument of a
``gap`` means. What happens to single connections and frames is written in
`sockets` and `fault_frames`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from breeze_lab.practice.director import BadCommand
from breeze_lab.practice.faults import frames as fault_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.faults.registry import Fault, Faults
    from breeze_lab.practice.wire.account import Account
    from breeze_lab.practice.wire.sockets import SocketServer

__all__ = ["Port", "StreamFaults"]

_STOP_S: Final = 0.3
_ROOM: Final = re.compile(r"(\d{1,2})\.[12]!(.{1,40})")
_AGAIN_S: Final = 0.1


class Port:
    """An address that can be listened on, left and taken again."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        """Know where; nothing listens yet."""
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_S)
        self._host, self._port = host, port
        self._site: web.TCPSite | None = None

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen while the block runs; the value is the address."""
        await self._runner.setup()
        try:
            await self.open()
            self._host, self._port = self._runner.addresses[0][:2]
            yield f"http://{self._host}:{self._port}"
        finally:
            await self._runner.cleanup()

    async def open(self) -> None:
        """Listen."""
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError:
            await site.stop()
            raise
        self._site = site

    async def close(self) -> None:
        """Stop listening: who connects is refused by the machine itself."""
        if self._site is not None:
            await self._site.stop()
            self._site = None


class StreamFaults:
    """Hooks the faults of streams and session into the registry.

    Parameters
    ----------
    faults, servers, market, account
        What they act on. `servers` in the order stream, feeds, candles.
    """

    def __init__(
        self, faults: Faults, servers: Sequence[SocketServer], market: Market, account: Account
    ) -> None:
        """Hook them in."""
        self.ports: list[Port] = []
        self._faults, self._servers = faults, servers
        self._market, self._account = market, account
        for name in ("drop", "close", "engineio-close", "disconnect"):
            faults.on(name, begin=self._finish)
        faults.on("down", begin=self._finish, end=self._listen_again)
        faults.on("gap", aim=self._aim)
        faults.on("expire", begin=self._expire)

    async def _finish(self, fault: Fault) -> None:
        if fault.kind.name == "down":
            for port in self.ports:
                await port.close()
        for server in self._servers:
            server.finish(fault)

    async def _listen_again(self, _fault: Fault) -> None:
        for port in self.ports:
            while self._faults.find("down") is None:
                await port.close()  # a second "down" may have taken the first one's place
                try:
                    await port.open()
                except OSError:  # somebody else has the port: ours again when he leaves
                    await asyncio.sleep(_AGAIN_S)
                else:
                    break

    async def _expire(self, fault: Fault) -> None:
        self._account.expire()
        self._faults.hit(fault)

    def _aim(self, fault: Fault) -> None:
        """Find what the room of a gap means: a room, a code of the broker or a symbol."""
        if not fault.room:
            return
        listing = self._market.listing
        parts = _ROOM.fullmatch(fault.room)
        if parts is not None:
            contract = listing.by_room.get((parts[1], parts[2]))
            found = [contract] if contract else []
        else:
            name = fault.room.upper()
            cash = (c for c in listing.contracts if c.expiry is None)
            found = [c for c in cash if name in (c.code.upper(), c.symbol.upper())]
        if not found:
            raise BadCommand(
                f"Nothing called {fault.room!r} trades today. Give the broker's code (RELIND) or "
                "a room (4.1!2885)."
            )
        fault.targets = frozenset().union(*map(fault_frames.targets, found))
