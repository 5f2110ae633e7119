"""The routes of the search and the watchlist, which answer while every kernel is busy.

The security master is the one the session downloaded; here it is only read,
in a thread, because the first look at a new one takes a moment. Nothing here
logs in or fetches anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from breeze_lab import accounts, listing, watchlist
from breeze_lab.errors import BreezeLabError, SettingsError
from breeze_lab.settings import folders
from breeze_lab_server.handlers import RESOURCE

if TYPE_CHECKING:
    from pathlib import Path

    from breeze_lab.instruments import Instrument, SecurityMaster

__all__ = ["InstrumentsHandler", "WatchlistHandler"]

_LONGEST_TEXT: Final = 80
_MOST_ROWS: Final = 100
_MARKETS: Final = ("icici", "practice")

#: A watchlist of `watchlist.MOST` keys is a few kilobytes.
_MAX_BODY_BYTES: Final = 16 * 1024


class _NoMaster(BreezeLabError):
    """There is no security master on this machine yet."""


class _Masters:
    """The newest master of each market, read once per file."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[tuple[str, int], SecurityMaster]] = {}
        self._lock = threading.Lock()

    def get(self, market: str) -> tuple[SecurityMaster, Path]:
        """Return a market's master and its file.

        Raises
        ------
        _NoMaster
        """
        from breeze_lab.instruments import SecurityMaster  # noqa: PLC0415 - on the first search

        path = folders().cache / "master" / f"{market}.zip"
        try:
            stamp = (str(path), path.stat().st_mtime_ns)
        except FileNotFoundError:
            raise _NoMaster(
                "No list of instruments on this machine yet. Log in once: %breeze_login, or "
                "%breeze_login practice."
            ) from None
        with self._lock:
            known = self._held.get(market)
            if known is None or known[0] != stamp:
                known = self._held[market] = (stamp, SecurityMaster.from_zip(str(path)))
        return known[1], path


_masters = _Masters()


def _market() -> str:
    """Return the market that is meant where the page names none: that of the shared session."""
    now = accounts.facts()
    if now is not None:
        return now.broker
    if os.environ.get("BREEZE_LAB_SESSION") == "practice":
        return "practice"
    folder = folders().cache / "master"
    there = [path for market in _MARKETS if (path := folder / f"{market}.zip").exists()]
    return max(there, key=lambda path: path.stat().st_mtime).stem if there else "icici"


def find(text: str, limit: int, market: str = "") -> dict[str, Any]:
    """Return what the route answers. Blocking: it reads a file and looks through all of it.

    Raises
    ------
    BreezeLabError
        There is no readable master.
    """
    name = market or _market()
    master, path = _masters.get(name)
    found: list[Instrument] = master.search(text, limit) if text else []
    written = path.stat().st_mtime
    return {
        "groups": listing.grouped(found),
        "market": name,
        "master": {"day": time.strftime("%Y-%m-%d", time.gmtime(written + 19_800)),
                   "age_s": round(max(time.time() - written, 0.0), 1)},
    }  # fmt: skip


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
        instrument = None if master is None else master.by_key.get(key.upper())
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
