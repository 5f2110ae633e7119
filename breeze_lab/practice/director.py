"""The director: who may drive the practice market, and what he said.

``POST /practice/control`` takes one command as a JSON object and answers one.
It believes a token of its own that the ready record carries and no client of
the market needs; the broker has nothing like it, so it lies beside the
broker's paths. `breeze_lab.practice.control` is its client.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import math
import secrets
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohttp import web

from breeze_lab import clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from breeze_lab.practice.exchange.market_clock import MarketClock

    _Answer: TypeAlias = dict[str, Any]
    _Follow: TypeAlias = Callable[[Mapping[str, Any]], _Answer | Awaitable[_Answer]]

__all__ = ["BadCommand", "Director", "moment", "number", "only"]

#: Lines of the log that are kept.
_LINES: Final = 1000


class BadCommand(Exception):
    """A command that cannot be followed; the text says what would be right."""


def only(fields: Mapping[str, Any], *names: str) -> None:
    """Refuse what the command does not know.

    Raises
    ------
    BadCommand
    """
    unknown = sorted(set(fields) - {"command", *names})
    if unknown:
        known = ", ".join(names) or "nothing"
        raise BadCommand(f"{fields.get('command')} takes {known}; not {', '.join(unknown)[:80]}.")


def number(fields: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number of the command, or None when it is not given.

    Raises
    ------
    BadCommand
    """
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadCommand(f"{name} takes a number, not {str(value)[:40]!r}.")
    return float(value)


def moment(fields: Mapping[str, Any], name: str) -> datetime | None:
    """Return a time of the command, aware IST, or None when it is not given.

    Raises
    ------
    BadCommand
    """
    value = fields.get(name)
    if value is None:
        return None
    try:
        found = clock.to_ist(datetime.fromisoformat(value))
        found.timestamp()
    except (TypeError, ValueError, OverflowError):
        raise BadCommand(
            f"{name} takes a time like 2026-11-20T09:15 (IST), not {str(value)[:40]!r}."
        ) from None
    return found


class Director:
    """Commands, by name.

    Parameters
    ----------
    market_clock
        What it drives by itself; others add commands of their own.

    Attributes
    ----------
    token
        Who has it may drive.
    log
        What happened, oldest first: one JSON object a line.
    """

    def __init__(self, market_clock: MarketClock) -> None:
        """Know the clock."""
        self.token = secrets.token_urlsafe(24)
        self.clock = market_clock
        self.log: deque[dict[str, Any]] = deque(maxlen=_LINES)
        self._commands: dict[str, _Follow] = {}
        self.add("clock", self._drive)
        self.add("log", self._tell)

    def add(self, name: str, follow: _Follow) -> None:
        """Offer a command.

        `follow` gets its fields and returns the answer, or what is awaited for it. It runs on
        the server's event loop and may raise `BadCommand`.
        """
        self._commands[name] = follow

    def note(self, what: str, **facts: Any) -> None:
        """Write a line into the log, with both times."""
        real = clock.now().isoformat(timespec="milliseconds")
        market = self.clock.now().isoformat(timespec="milliseconds")
        self.log.append({"time": real, "market_time": market, "what": what, **facts})

    async def handle(self, request: web.Request) -> web.Response:
        """Follow one command."""
        given = request.headers.get("Authorization", "")
        wanted = f"Bearer {self.token}".encode()
        if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted):
            return web.json_response(
                {"error": "The control token is missing or wrong."}, status=401
            )
        try:
            fields = json.loads(await request.read())
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            return web.json_response({"error": "A command is a JSON object."}, status=400)
        follow = self._commands.get(str(fields.get("command")))
        if follow is None:
            known = ", ".join(sorted(self._commands))
            return web.json_response({"error": f"The commands are {known}."}, status=400)
        try:
            answer = follow(fields)
            if inspect.isawaitable(answer):
                answer = await answer
        except BadCommand as exc:
            return web.json_response({"error": str(exc)}, status=400)
        await asyncio.sleep(0)  # who was woken by the command runs before its sender goes on
        return web.json_response(answer)

    def _drive(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields, "speed", "at", "paused")
        speed, at, paused = number(fields, "speed"), moment(fields, "at"), fields.get("paused")
        if paused is not None and not isinstance(paused, bool):
            raise BadCommand("paused takes true or false.")
        try:
            self.clock.set(speed=speed, at=at, paused=paused)
        except ValueError as exc:
            raise BadCommand(str(exc)) from exc
        if len(fields) > 1:
            given = {name: value for name, value in fields.items() if name != "command"}
            self.note("clock", **given)
        return {
            "now": self.clock.now().isoformat(),
            "speed": self.clock.speed,
            "paused": self.clock.paused,
        }

    def _tell(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields)
        return {"log": list(self.log)}
