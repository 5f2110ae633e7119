"""What faults and limits do to REST calls: refused, late, cut, unanswered, or a web page.

Owns the bodies of bad weather, as recorded where a record exists, and the two
layers around the real answers: faults first, the account's budget behind
them. Of several faults that answer by themselves the newest does.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from breeze_lab.practice.exchange import contracts, master
from breeze_lab.practice.wire.budget import BODIES, Budget
from breeze_lab.practice.wire.sockets import reset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.faults.registry import Fault, Faults

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

__all__ = ["Answers"]

_V1: Final = "/breezeapi/api/v1/"
_V2: Final = "/api/v2/"
_MASTER: Final = "/MotherAppMaster/SecurityMaster.zip"
_TROUBLE: Final = "Error while calling service, Please contact admin (T2:155)"
_TITLES: Final = {
    404: "404 - File or directory not found.",
    429: "429 Too Many Requests",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
}
_MISSING: Final = "NSEScripMaster.txt"
_OUTAGES: Final = ("t2", "502", "503")


def _page(status: int, title: str = "") -> web.Response:
    said = title or _TITLES[status]
    text = (
        f"<html>\r\n<head><title>{said}</title></head>\r\n<body>\r\n<center><h1>{said}</h1>"
        "</center>\r\n</body>\r\n</html>\r\n"
    )
    return web.Response(text=text, status=status, content_type="text/html")


class Answers:
    """The layers around the REST side.

    Parameters
    ----------
    faults, budget
        What is active, and what the account may still ask.
    market
        Whose masters there are.
    zip_of_today
        Returns today's security master and its tag; slow, so it is called in a thread.
    """

    def __init__(
        self,
        faults: Faults,
        budget: Budget,
        market: Market,
        zip_of_today: Callable[[], tuple[bytes, str]],
    ) -> None:
        """Start with no stale master made."""
        self.faults = faults
        self.budget = budget
        self.market = market
        self._zip_of_today = zip_of_today
        self._stale: tuple[date, bytes] | None = None

    @web.middleware
    async def weather(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the active faults answer, or the market."""
        path = request.path
        if not self.faults.active or path.startswith(("/practice/", "/ohlcvstream/")):
            return await handler(request)
        slow = self.faults.find("slow")
        if slow is not None:
            self.faults.hit(slow)
            await self.faults.wait(slow, slow.delay_s)
        if path == _MASTER:
            return await self._master(request, handler)
        for fault in self.faults.living("calls"):
            if _concerns(fault, path):
                return await self._answer(fault, request, handler)
        return await handler(request)

    @web.middleware
    async def limits(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer calls beyond the budget as the broker does: HTTP 401, no Success key."""
        if request.path.startswith((_V1, _V2)):
            refusal = self.budget.refusal(request.method, request.path.rpartition("/")[2].lower())
            if refusal is not None:
                return web.json_response(refusal, status=401)
        return await handler(request)

    async def _answer(
        self, fault: Fault, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        said = _said(fault, request)
        kind = fault.kind.name
        if kind == "timeout" and fault.left is not None:
            await self.faults.wait(fault)  # counted when it is over, or the count would end it
        self.faults.hit(fault)
        if kind == "timeout":
            await self.faults.wait(fault)
        elif kind == "badjson":
            said = _cut(await handler(request))
        if said is None:
            reset(request.transport)
        return said or web.Response(status=503)  # the connection is gone: nobody hears it

    async def _master(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        for fault in self.faults.living("master"):
            self.faults.hit(fault)
            kind = fault.kind.name
            if kind == "master-missing":
                return _page(404)
            if kind == "master-html":
                return _page(200, "ICICI Direct")
            data = await asyncio.to_thread(self._spoilt_zip, kind)
            return web.Response(body=data, content_type="application/x-zip-compressed")
        return await handler(request)

    def _spoilt_zip(self, kind: str) -> bytes:
        if kind == "master-stale":
            return self._zip_of_yesterday()
        data, _ = self._zip_of_today()
        return data[: len(data) * 2 // 3] if kind == "master-truncated" else _without(data)

    def _zip_of_yesterday(self) -> bytes:
        yesterday = self.market.today - timedelta(days=1)
        if self._stale is None or self._stale[0] != yesterday:
            prices = self.market.prices
            self._stale = yesterday, master.build(prices, contracts.listing(prices, yesterday))
        return self._stale[1]


def _concerns(fault: Fault, path: str) -> bool:
    if fault.kind.name == "maintenance":
        return path.startswith((_V1, _V2, "/apiuser/"))
    if fault.kind.name == "html" and path.lower() == f"{_V1}customerdetails":
        return False
    return path.startswith((_V1, _V2))


def _said(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """Return the answer of a fault that has one."""
    kind = fault.kind.name
    if kind == "limit":
        return web.json_response(BODIES[fault.variant], status=401)
    if kind == "outage":
        return _outage(fault, request)
    pages = {
        "throttle": (429, ""),
        "html": (200, "ICICI Direct"),
        "maintenance": (503, "We are upgrading our systems. Please try again later."),
    }
    return _page(*pages[kind]) if kind in pages else None


def _outage(fault: Fault, request: web.Request) -> web.Response:
    if request.method in ("PUT", "DELETE"):
        return _page(404)
    mixed = _OUTAGES[fault.effects % len(_OUTAGES)]
    way = mixed if fault.variant == "mixed" else fault.variant
    if way != "t2":
        return _page(int(way))
    body: dict[str, Any] = {"Success": None, "Status": 500, "Error": _TROUBLE}
    return web.json_response(body)


def _cut(answer: web.StreamResponse) -> web.StreamResponse:
    body = answer.body if isinstance(answer, web.Response) else None
    if not isinstance(body, bytes):
        return answer
    return web.Response(
        body=body[: len(body) // 2], status=answer.status, content_type="application/json"
    )


def _without(data: bytes) -> bytes:
    """Return a master zip without the NSE file, as one user of the broker got it."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as whole, zipfile.ZipFile(found, "w") as short:
        for info in whole.infolist():
            if info.filename != _MISSING:
                short.writestr(info, whole.read(info))
    return found.getvalue()
