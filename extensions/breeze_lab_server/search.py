"""The routes of the search and the watchlist, which answer while every kernel is busy.

The security master is the one the session downloaded; here it is only read,
in a thread, because the first look at a new one takes a moment. Nothing here
logs in or fetches anything.
"""

from __future__ import annotations

import asyncio
import json
from datetime import date, datetime
from typing import Any, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from breeze_lab import clock, listing, watchlist
from breeze_lab.errors import BreezeLabError, SettingsError
from breeze_lab_server import names
from breeze_lab_server.rest import RESOURCE, Rest

__all__ = ["InstrumentsHandler", "WatchlistHandler"]

_LONGEST_TEXT: Final = 80
_MOST_ROWS: Final = 100

#: A watchlist of `watchlist.MOST` keys is a few kilobytes.
_MAX_BODY_BYTES: Final = 16 * 1024


def find(text: str, limit: int, market: str = "") -> dict[str, Any]:
    """Return what the route answers. Blocking: it reads a file and looks through all of it.

    Raises
    ------
    BreezeLabError
        There is no readable master.
    """
    name = market or names.market()
    master, path = names.opened(name)
    day = date.fromisoformat(path.stem)
    midnight = datetime.combine(day, datetime.min.time(), clock.IST)
    age_s = max((clock.now() - midnight).total_seconds(), 0.0)
    return {
        **listing.found(master, text, limit),
        "market": name,
        "master": {"day": day.isoformat(), "age_s": round(age_s, 1)},
    }


def watched(market: str = "") -> dict[str, Any]:
    """Return the watchlist with what a page needs to show and to stream each row. Blocking."""
    keys = watchlist.keys()
    name = market or names.market()
    items: list[dict[str, Any]] = []
    try:
        master = names.opened(name)[0] if keys else None
    except BreezeLabError as exc:
        return {"keys": keys, "items": [], "market": name, "message": str(exc)}
    for key in keys:
        instrument = None if master is None else master.get(key)
        # An expired contract, or one of another market: shown, so that it can be removed.
        items.append({"key": key, "gone": True} if instrument is None else listing.row(instrument))
    return {"keys": keys, "items": items, "market": name}


class InstrumentsHandler(Rest):
    """``GET api/instruments?q=&limit=&market=``: what a text could mean, in groups."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer from the master's file; kernels are not asked."""
        text = self.get_query_argument("q", "")
        if len(text) > _LONGEST_TEXT:
            raise web.HTTPError(400, f"a search is at most {_LONGEST_TEXT} letters long")
        limit = self.number("limit", 20, 1, _MOST_ROWS)
        try:
            found = await asyncio.to_thread(find, text, limit, self.market())
        except BreezeLabError as exc:
            self.refuse(exc)
            return
        self.finish(json.dumps(found))


class WatchlistHandler(Rest):
    """``GET | PUT api/watchlist``: the keys, and the rows they stand for."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer with the list as it stands."""
        self.finish(json.dumps(await asyncio.to_thread(watched, self.market())))

    @web.authenticated
    @authorized("write", RESOURCE)  # type: ignore[untyped-decorator]
    async def put(self) -> None:
        """Replace the list by the body's ``keys``."""
        if len(self.request.body) > _MAX_BODY_BYTES:
            raise web.HTTPError(413)
        body = self.get_json_body()
        wanted = body.get("keys") if isinstance(body, dict) else None
        try:
            await asyncio.to_thread(watchlist.save, wanted)
        except SettingsError as exc:
            self.refuse(exc)
            return
        self.finish(json.dumps(await asyncio.to_thread(watched, self.market())))
