"""The service of a Hub: links that outlive their owners' servers.

``python -m breeze_lab.shares.service`` serves below ``/services/links/``, behind
the Hub's proxy. ``s/ID`` is for people without a login, as at a person's own
server: the same `Viewer` checks id, signature, class of data and end, and drops
what a viewer sends. ``api/links`` is for owners, who send the token of their
server; whose it is the Hub says, each time anew. The service has no token of
the Hub, no relay and no broker, and runs nothing of what it keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from breeze_lab import processes, settings
from breeze_lab.errors import BreezeLabError, NoSuchShare, ShareError
from breeze_lab.shares import incoming
from breeze_lab.shares.__main__ import serve
from breeze_lab.shares.book import LARGEST, folder
from breeze_lab.shares.deposits import Deposits
from breeze_lab.shares.page import HEADERS
from breeze_lab.shares.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from breeze_lab.shares.links import Link

__all__ = ["HubSilent", "JupyterHub", "Service", "main"]

_log = logging.getLogger(__name__)

_TOKEN: Final = re.compile(r"(?:token|bearer) ([\w.~+/=-]{16,512})", re.IGNORECASE | re.ASCII)
#: A frozen target and what is said of it.
_LARGEST: Final = LARGEST + 64 * 1024
_UPLOAD_S: Final = 30.0
_HUB_S: Final = 10.0
#: Deposits that are read and checked at a time: each may take ten times its size.
_AT_ONCE: Final = 2


class HubSilent(BreezeLabError):
    """The Hub cannot say whose a token is."""


class Whose(Protocol):
    """Who knows whose a token is."""

    async def owner(self, token: str) -> str | None:
        """Return the user's name; None when it is nobody's, or may not use this service.

        Raises
        ------
        HubSilent
        """


class JupyterHub:
    """The Hub, asked by JupyterHub's own `HubAuth` and never from memory.

    Parameters
    ----------
    api_url
        ``http://hub:8081/hub/api``.
    service
        Our name at the Hub: a token must be allowed to reach the service of that name.
    """

    def __init__(self, api_url: str, service: str) -> None:
        from jupyterhub.services.auth import HubAuth  # noqa: PLC0415 - only a Hub has it

        self._scope = f"access:services!service={service}"
        self._auth = HubAuth(api_url=api_url, api_token="", access_scopes={self._scope})

    async def owner(self, token: str) -> str | None:
        """Return the user's name; None when it is nobody's, or may not use this service."""
        from tornado.web import HTTPError  # noqa: PLC0415 - comes with JupyterHub

        try:
            async with asyncio.timeout(_HUB_S):
                # Nothing is remembered: a token that the Hub took away counts no more.
                user = await self._auth.user_for_token(token, use_cache=False, sync=False)
        except (HTTPError, TimeoutError) as exc:
            raise HubSilent(
                "The Hub cannot say whose server this is. Try again in a minute."
            ) from exc
        if not user or user.get("kind") != "user":
            return None
        return str(user["name"]) if self._auth.check_scopes(self._scope, user) else None


class Service:
    """The viewer's app of all owners' links, and the owners' door beside it.

    Parameters
    ----------
    book
        Of all owners.
    hub
        Who says whose a token is.
    prefix
        What our addresses begin with, ``"/services/links/"``.

    Notes
    -----
    Lives on one event loop; what blocks happens in threads.
    """

    def __init__(self, book: Deposits, hub: Whose, prefix: str) -> None:
        self.book, self.hub = book, hub
        self.viewer = Viewer(book, prefix)
        self._busy: set[str] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        base = prefix.rstrip("/")
        door = f"{base}/api/links"
        router = self.viewer.app.router
        router.add_get(f"{base}/health", self._health, allow_head=False)
        router.add_get(door, self._for_owners(self._list), allow_head=False)
        router.add_post(door, self._for_owners(self._deposit))
        router.add_delete(door, self._for_owners(self._withdraw_all))
        router.add_delete(door + "/{name}", self._for_owners(self._withdraw))

    def _for_owners(
        self, handler: Callable[[web.Request, str], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler that only a server of the Hub reaches, and that knows whose it is."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            return await self._let_in(request, handler)

        return guarded

    async def _let_in(
        self, request: web.Request,
        handler: Callable[[web.Request, str], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:  # fmt: skip
        found = _TOKEN.fullmatch(request.headers.get("Authorization", ""))
        # No page of anybody's has business here; a server's own request names no origin.
        if found is None or "Origin" in request.headers:
            return _refused(HTTPStatus.FORBIDDEN, "Only a server of this Hub shares and lists.")
        try:
            owner = await self.hub.owner(found[1])
            if owner is None:
                return _refused(
                    HTTPStatus.FORBIDDEN,
                    "The Hub does not know this server's token, or does not let it share. Restart "
                    "your server (File, Hub Control Panel), then try again.",
                )
            return await handler(request, owner)
        except HubSilent as exc:
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, str(exc))
        except NoSuchShare as exc:
            return _refused(HTTPStatus.NOT_FOUND, str(exc))
        except ShareError as exc:
            return _refused(HTTPStatus.BAD_REQUEST, str(exc))

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(self.book.active)
        return _answer({"links": "ok"})

    async def _list(self, request: web.Request, owner: str) -> web.StreamResponse:
        ended = request.query.get("ended") == "1"
        found = await asyncio.to_thread(self.book.owned, owner, ended=ended)
        return _answer({"shares": [_told(one) for one in found]})

    async def _deposit(self, request: web.Request, owner: str) -> web.StreamResponse:
        if owner in self._busy:
            return _refused(HTTPStatus.TOO_MANY_REQUESTS, "One at a time: share again in a moment.")
        self._busy.add(owner)
        try:
            raw = await _body(request)
            async with self._turns:
                token, link = await asyncio.to_thread(self._keep, owner, raw)
        finally:
            self._busy.discard(owner)
        _log.info("%s shared %s: %s, %s", _shown(owner), link.name, link.kind, link.data)
        return _answer({"share": _told(link), "token": token}, HTTPStatus.CREATED)

    def _keep(self, owner: str, raw: bytes) -> tuple[str, Link]:
        return self.book.deposit(owner, *incoming.read(raw))

    async def _withdraw(self, request: web.Request, owner: str) -> web.StreamResponse:
        name = request.match_info["name"]
        link = await asyncio.to_thread(self.book.withdraw, owner, name)
        _log.info("%s withdrew %s", _shown(owner), link.name)
        return _answer({"revoked": link.name})

    async def _withdraw_all(self, _request: web.Request, owner: str) -> web.StreamResponse:
        many = await asyncio.to_thread(self.book.withdraw_all, owner)
        _log.info("%s withdrew %d links", _shown(owner), many)
        return _answer({"revoked": many})


async def _body(request: web.Request) -> bytes:
    """Return what is sent, whole and within bounds.

    Raises
    ------
    ShareError
    """
    kept = bytearray()
    try:
        async with asyncio.timeout(_UPLOAD_S):
            async for chunk in request.content.iter_any():
                kept += chunk
                if len(kept) > _LARGEST:
                    raise ShareError(f"A link holds {LARGEST / 1e6:.0f} MB. Share fewer points.")
    except TimeoutError as exc:
        raise ShareError("It took too long to arrive. Share again.") from exc
    return bytes(kept)


def _told(link: Link) -> dict[str, Any]:
    """Return what its owner may know of a link, which is all but the owner's own name."""
    kept = {name: value for name, value in link.parameters.items() if name != "owner"}
    return {**asdict(link), "parameters": kept}


def _shown(owner: str) -> str:
    return repr(owner[:64])


def _answer(body: dict[str, Any], status: int = HTTPStatus.OK) -> web.Response:
    return web.json_response(body, status=status, headers=HEADERS)


def _refused(status: int, words: str) -> web.Response:
    return _answer({"message": words}, status)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal, or withdraw somebody's links; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m breeze_lab.shares.service")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--hub", default="http://127.0.0.1:8081/hub/api", help="the Hub's API")
    parser.add_argument("--name", default="links", help="of this service at the Hub")
    parser.add_argument("--withdraw", metavar="USER", help="withdraw all links of USER, and end")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO)
    try:
        with Deposits(folder()) as book:
            if options.withdraw is not None:
                print(f"{book.withdraw_all(options.withdraw)} links withdrawn")  # noqa: T201 - a command's answer
                return 0
            with processes.claim(settings.folders().runtime, "shares"):
                book.tidy()
                asyncio.run(_run(book, options))
    except (OSError, BreezeLabError) as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)  # noqa: T201 - a command's refusal
        return 1
    return 0


async def _run(book: Deposits, options: argparse.Namespace) -> None:
    prefix = f"/services/{options.name}/"
    service = Service(book, JupyterHub(options.hub, options.name), prefix)
    await serve(service.viewer, options.host, options.port, prefix)


if __name__ == "__main__":
    sys.exit(main())
