"""Share links over REST: what a chart's toolbar makes, lists and withdraws.

The browser sends the chart as it is on the screen, so a busy kernel is not
asked. What the link may show is decided here, by `breeze_lab.shares.targets`.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab import clock
from breeze_lab.errors import BreezeLabError, ShareError
from breeze_lab.shares import face
from breeze_lab.shares.links import DEFAULT_SPAN, Link
from breeze_lab.shares.targets import chart_target
from breeze_lab_server.rest import RESOURCE, Rest

if TYPE_CHECKING:
    from breeze_lab_server.passing import Passage

__all__ = ["SharesHandler", "routes"]

#: 5,000 bars of six numbers, and a figure.
_LARGEST: Final = 2 * 1024 * 1024


class SharesHandler(Rest):
    """``api/shares``: GET lists links, POST makes one of a chart, DELETE withdraws one."""

    def initialize(self, passage: Passage) -> None:
        """Take the viewers' proxy from the route."""
        self.passage = passage

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer with the links that count; their addresses are not known here."""
        try:
            found = await asyncio.to_thread(face.shares)
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        self.answer({"shares": [_told(one) for one in found]})

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Make a link; its id is in this answer and nowhere else."""
        given = self._given()
        try:
            made = await asyncio.to_thread(_keep, given)
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        where = {"path": f"breeze-lab/s/{made.token}"}
        if made.at_hub:
            where = {"url": made.url}
        else:
            self.passage.begin()
        self.answer({"share": _told(made.link), **where}, 201)

    @web.authenticated
    @authorized("execute", RESOURCE)  # type: ignore[untyped-decorator]
    async def delete(self) -> None:
        """Withdraw a link by its name; its viewers are cut off within a second."""
        try:
            link = await asyncio.to_thread(face.revoke, self.get_query_argument("name", ""))
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        self.answer({"revoked": link.name})

    def _given(self) -> dict[str, Any]:
        if len(self.request.body) > _LARGEST:
            raise web.HTTPError(413, "the chart is too large to share")
        try:
            found = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise web.HTTPError(400, "a JSON object is needed")
        return found


def _keep(given: dict[str, Any]) -> face.Share:
    figure, indicators = given.get("figure"), given.get("indicators", [])
    base, expires = given.get("base"), given.get("expires", DEFAULT_SPAN)
    if not isinstance(figure, dict) or not isinstance(expires, str):
        raise ShareError("A chart is shared with its figure and an end like 7d.")
    if not isinstance(indicators, list) or not all(isinstance(one, str) for one in indicators):
        raise ShareError("Indicators are a list of texts.")
    if base is not None and not isinstance(base, list):
        raise ShareError("The base of a bar is a list of numbers.")
    target = chart_target(
        given.get("config") or {}, figure, given.get("bars") or [], indicators,
        data=str(given.get("data", "auto")), now_s=time.time(), base=base,
    )  # fmt: skip
    return face.keep(target, expires)


def _told(link: Link) -> dict[str, Any]:
    """Return what a page of the owner's may know of a link."""
    return {
        "name": link.name, "title": link.title, "source": link.source, "data": link.data,
        "kind": link.kind, "key": str(link.parameters.get("key", "")),
        "made": clock.from_epoch(link.made_ms / 1000).isoformat(),
        "expires": clock.from_epoch(link.expires_ms / 1000).isoformat(), "opened": link.opened,
    }  # fmt: skip


def routes(passage: Passage) -> list[tuple[Any, ...]]:
    """Return the routes; the server puts its base URL in front."""
    return [(r"/breeze-lab/api/shares/?", SharesHandler, {"passage": passage})]
