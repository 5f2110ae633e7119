"""Subscriptions for external clients, held by the server for as long as they are renewed.

A client that polls quotes wants its instruments streamed without holding a
socket itself. Each lease is one connection to the relay's door, which counts
the references; it ends when it is given back, not renewed in time, or refused.
When the relay dies, the lease comes back with the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web
from websockets.exceptions import WebSocketException

from breeze_lab.bars import Interval
from breeze_lab.errors import BreezeLabError, FeedDisconnected, ProcessError, SubscriptionRefused
from breeze_lab_server import names
from breeze_lab_server.rest import RESOURCE, Rest, checked_names

if TYPE_CHECKING:
    import logging

    from breeze_lab_server.supervisor import Supervisor

__all__ = ["MOST_LEASES", "Leases", "SubscriptionsHandler"]

MOST_LEASES: Final = 16
_SHORTEST_S, _USUAL_S, _LONGEST_S = 2, 60, 600
#: How long the relay may take to start and to answer a new lease.
_ANSWER_TIMEOUT_S: Final = 30.0
_LONGEST_WAIT_S: Final = 5.0


@dataclass(eq=False)
class Lease:
    """One client's subscription.

    Parameters
    ----------
    request
        What is said to the relay.
    """

    id: str
    client: str
    market: str
    lease_s: float
    request: dict[str, Any]
    ends_at: float = 0.0  # of the event loop's clock
    state: str = "starting"
    task: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: str = ""

    def told(self) -> dict[str, Any]:
        """Return what the route tells of it."""
        left = self.ends_at - asyncio.get_running_loop().time()
        return {
            "id": self.id, "client": self.client, "market": self.market, "state": self.state,
            "lease_s": self.lease_s, "left_s": round(max(0.0, left), 1),
            "keys": [one["key"] for one in self.request["instruments"]],
            "bars": self.request["bars"],
        }  # fmt: skip


class Leases:
    """The leases of this server, on its event loop."""

    def __init__(self, supervisor: Supervisor, log: logging.Logger) -> None:
        """Hold none yet."""
        self._supervisor, self._log = supervisor, log
        self._held: dict[str, Lease] = {}

    def __iter__(self) -> Any:
        return iter(list(self._held.values()))

    def get(self, lease_id: str) -> Lease | None:
        """Return a lease that has not ended."""
        return self._held.get(lease_id)

    async def take(self, lease: Lease) -> None:
        """Hold a new lease; return when the relay streams it.

        Raises
        ------
        SubscriptionRefused
            There are too many, or the relay refused it.
        FeedDisconnected
            The relay did not answer.
        """
        if len(self._held) >= MOST_LEASES:
            raise SubscriptionRefused(
                f"{MOST_LEASES} subscriptions are held already. Renew one of them, or end one."
            )
        self._held[lease.id] = lease
        self.renew(lease)
        lease.task = asyncio.create_task(self._hold(lease), name=f"lease {lease.id}")
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await lease.ready.wait()
        except TimeoutError:
            self.end(lease)
            raise FeedDisconnected(
                f"The relay did not answer within {_ANSWER_TIMEOUT_S:.0f} s. See `breeze-lab relay "
                "logs`."
            ) from None
        if lease.refusal:
            raise SubscriptionRefused(lease.refusal)

    def renew(self, lease: Lease) -> None:
        """Let it live for another term."""
        lease.ends_at = asyncio.get_running_loop().time() + lease.lease_s

    def end(self, lease: Lease) -> None:
        """Give it back; the relay leaves its rooms when nobody else wants them."""
        self._held.pop(lease.id, None)
        if lease.task is not None:
            lease.task.cancel()

    def close(self) -> None:
        """End all of them because the server goes away."""
        for lease in self:
            self.end(lease)

    async def _hold(self, lease: Lease) -> None:
        keeping = asyncio.create_task(self._keep(lease))
        loop = asyncio.get_running_loop()
        try:
            while not keeping.done():
                left = lease.ends_at - loop.time()
                if left <= 0:
                    self._log.info("The subscription of %s was not renewed.", lease.client)
                    break
                await asyncio.wait({keeping}, timeout=min(left, 1.0))  # a term can be shortened
        finally:
            self._held.pop(lease.id, None)
            keeping.cancel()
            (outcome,) = await asyncio.gather(keeping, return_exceptions=True)
            if isinstance(outcome, Exception):
                self._log.error("A subscription failed.", exc_info=outcome)
                lease.refusal = (
                    lease.refusal or "The subscription failed; the server's log has why."
                )
            lease.ready.set()

    async def _keep(self, lease: Lease) -> None:
        """Stay subscribed; return when the relay refuses."""
        wait_s = 0.25
        while not lease.refusal:
            with contextlib.suppress(OSError, ProcessError, ValueError, WebSocketException):
                await self._listen(lease)
                wait_s = 0.25
            if lease.refusal:
                self._log.warning("The relay refused %s: %s", lease.client, lease.refusal)
                return
            lease.state = "waiting for the relay"
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def _listen(self, lease: Lease) -> None:
        async with contextlib.AsyncExitStack() as stack:
            connection = await self._supervisor.connect()
            stack.push_async_callback(connection.close)
            # Ticks stay at the relay, where quotes are looked up: nothing but bars comes here.
            hello = {"op": "hello", "client": f"lease of {lease.client}"[:80], "flush_ms": 1000}
            await connection.send(json.dumps(hello))
            await connection.send(json.dumps(lease.request))
            async for frame in connection:
                message = json.loads(frame)
                if message.get("op") == "error":
                    lease.refusal = message["message"]
                    return
                if message.get("op") == "snapshot":
                    lease.state = "held"
                    lease.ready.set()


class SubscriptionsHandler(Rest):
    """``GET | POST | DELETE api/subscriptions``: what this server holds for others."""

    def initialize(self, leases: Leases) -> None:
        """Take the leases from the route."""
        self.leases = leases

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """List them."""
        self.answer({"subscriptions": [lease.told() for lease in self.leases]})

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Begin one with ``names``, or renew the one called ``id``."""
        given = self.body()
        known = given.get("id")
        if known is not None:
            lease = self._lease(str(known))
            lease.lease_s = _term(given, lease.lease_s)
            self.leases.renew(lease)
            self.answer(lease.told())
            return
        market = self.market()
        wanted = checked_names(given.get("names"))
        client = str(given.get("client") or "an external client")[:60]
        term = _term(given, _USUAL_S)
        try:
            bars = _labels(given.get("bars", []))
            market = market or await asyncio.to_thread(names.market)
            found = await asyncio.to_thread(names.found, wanted, market)
            instruments = [names.said(one) for one in found.values()]
            request = {
                "op": "subscribe", "id": 1, "instruments": instruments, "delivery": "latest",
                "ticks": False, "bars": bars, "market": market,
            }  # fmt: skip
            lease = Lease(secrets.token_hex(8), client, market, term, request)
            await self.leases.take(lease)
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        self.answer(lease.told(), 201)

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self) -> None:
        """End the one called ``id``."""
        lease = self._lease(self.get_query_argument("id", ""))
        self.leases.end(lease)
        self.answer({"ended": lease.id})

    def _lease(self, lease_id: str) -> Lease:
        lease = self.leases.get(lease_id)
        if lease is None:
            raise web.HTTPError(404, "no such subscription: it ended, or was never there")
        return lease


def _term(given: dict[str, Any], usual: float) -> float:
    wanted = given.get("lease_s", usual)
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)):
        raise web.HTTPError(400, "lease_s is a number of seconds")
    return float(min(max(wanted, _SHORTEST_S), _LONGEST_S))


def _labels(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(label, str) for label in given):
        raise web.HTTPError(400, 'bars is a list of intervals: ["1m"]')
    return list(dict.fromkeys(Interval.parse(label).label for label in given))
