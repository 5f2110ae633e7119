"""The routes of the search and the watchlist, which answer while every kernel is busy.

The security master is the one the session downloaded; here it is only read,
in a thread, because the first look at a new one takes a moment. Nothing here
logs in or fetches anything.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import threading
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from breeze_lab import accounts, clock, listing, masters, settings, watchlist
from breeze_lab.errors import BreezeLabError, SettingsError
from breeze_lab_server.handlers import RESOURCE

if TYPE_CHECKING:
    from pathlib import Path

    from breeze_lab.instruments import SecurityMaster

__all__ = ["InstrumentsHandler", "WatchlistHandler"]

_LONGEST_TEXT: Final = 80
_MOST_ROWS: Final = 100
_MARKETS: Final = ("icici", "practice")

#: A watchlist of `watchlist.MOST` keys is a few kilobytes.
_MAX_BODY_BYTES: Final = 16 * 1024


class _NoMaster(BreezeLabError):
    """There is no security master on this machine yet."""


class _Masters:
    """The master in use of each market, opened once per file."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[tuple[Path, int], SecurityMaster]] = {}
        self._lock = threading.Lock()

    def get(self, market: str) -> tuple[SecurityMaster, Path]:
        """Return a market's master, memory-mapped, and its zip.

        Raises
        ------
        BreezeLabError
            There is none, or it cannot be read.
        """
        # Of the endpoints only the name says which folder; none of the addresses is used here.
        path = masters.newest(dataclasses.replace(settings.ICICI, name=market))
        if path is None:
            raise _NoMaster(
                "No list of instruments on this machine yet. Log in once: %breeze_login, or "
                "%breeze_login practice."
            )
        stamp = (path, path.stat().st_mtime_ns)
        with self._lock:
            known = self._held.get(market)
            if known is None or known[0] != stamp:
                known = self._held[market] = (stamp, masters.open_zip(path))
        return known[1], path


_masters = _Masters()


def _market() -> str:
    """Return the market that is meant where the page names none: that of the shared session."""
    now = accounts.facts()
    if now is not None and now.broker in _MARKETS:
        return now.broker
    practice = "practice" in (
        os.environ.get("BREEZE_LAB_SESSION"), os.environ.get("BREEZE_LAB_BROKER")
    )  # fmt: skip
    return "practice" if practice else "icici"


def find(text: str, limit: int, market: str = "") -> dict[str, Any]:
    """Return what the route answers. Blocking: it reads a file and looks through all of it.

    Raises
    ------
    BreezeLabError
        There is no readable master.
    """
    name = market or _market()
    master, path = _masters.get(name)
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
    name = market or _market()
    items: list[dict[str, Any]] = []
    try:
        master = _masters.get(name)[0] if keys else None
    except BreezeLabError as exc:
        return {"keys": keys, "items": [], "market": name, "message": str(exc)}
    for key in keys:
        instrument = None if master is None else master.get(key)
        # An expired contract, or one of another market: shown, so that it can be removed.
        items.append({"key": key, "gone": True} if instrument is None else listing.row(instrument))
    return {"keys": keys, "items": items, "market": name}


class _Handler(APIHandler):
    """JSON in, JSON out; a failure is a sentence."""

    auth_resource = RESOURCE

    def market(self) -> str:
        """Return the market the page named, or nothing."""
        named = self.get_query_argument("market", "")
        if named not in ("", *_MARKETS):
            raise web.HTTPError(400, f"market is one of {', '.join(_MARKETS)}")
        return named

    def refuse(self, status: int, error: BreezeLabError) -> None:
        """Answer with the error's own words, which name the next step."""
        self.set_status(status)
        self.finish(json.dumps({"error": type(error).__name__.strip("_"), "message": str(error)}))


class InstrumentsHandler(_Handler):
    """``GET api/instruments?q=&limit=&market=``: what a text could mean, in groups."""

    @web.authenticated
    @authorized("read", RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer from the master's file; kernels are not asked."""
        text = self.get_query_argument("q", "")
        if len(text) > _LONGEST_TEXT:
            raise web.HTTPError(400, f"a search is at most {_LONGEST_TEXT} letters long")
        try:
            limit = min(max(int(self.get_query_argument("limit", "20")), 1), _MOST_ROWS)
        except ValueError:
            raise web.HTTPError(400, "limit is a number") from None
        try:
            found = await asyncio.to_thread(find, text, limit, self.market())
        except BreezeLabError as exc:
            self.refuse(503, exc)
            return
        self.finish(json.dumps(found))


class WatchlistHandler(_Handler):
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
            self.refuse(400, exc)
            return
        self.finish(json.dumps(await asyncio.to_thread(watched, self.market())))
