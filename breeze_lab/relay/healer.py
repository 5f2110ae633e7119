"""The healer: closed gaps out to a process that asks history, and its bars back into the lines.

Owns which gaps are asked for together, how long that may take and what
becomes of the answer. Each gap is tried once: what cannot be healed is said to
be so, with the reason, and no failure makes a loop. Asking is left to
`breeze_lab.relay.heal`, the arithmetic to `fold`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.relay.fold import History, Piece
from breeze_lab.settings import MAX_CANDLES_PER_CALL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.relay.gaps import Gaps
    from breeze_lab.relay.ledger import Entry

__all__ = ["Ask", "Healer", "plan"]

_log: Final = logging.getLogger(__name__)

#: History has a second a little after it is over; and gaps that close together are asked together.
_SETTLE_S: Final = 2.5
_ROOM: Final = MAX_CANDLES_PER_CALL - 10
_MINUTE: Final = 60
#: Seconds of the bars around a hole that are asked along, where the call has room for them.
_AROUND: Final = (900, 300, 60, 0)
#: For the process and for each instrument; the call budget may make it wait.
_PATIENCE_S: Final = 45.0
_EACH_S: Final = 1.5
#: More would be a flood of calls for what nobody may look at any more.
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of history; Unix seconds, half-open."""

    key: str
    room: str
    from_s: int
    to_s: int
    length_s: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as the process reads it."""
        return {
            "key": self.key, "room": self.room, "from_s": self.from_s, "to_s": self.to_s,
            "interval": "1s" if self.length_s == 1 else "1m",
        }  # fmt: skip


def plan(key: str, room: str, first_s: int, last_s: int) -> Ask | None:
    """Return the one call that covers a hole and the bars around it; None when none is enough.

    Parameters
    ----------
    first_s, last_s
        Exchange times of the last tick before and the first one after, Unix seconds.
    """
    for around_s in _AROUND:
        from_s = first_s // around_s * around_s if around_s else first_s
        if last_s + 1 - from_s <= _ROOM:
            return Ask(key, room, from_s, last_s + 1, 1)
    from_s, to_s = first_s // _MINUTE * _MINUTE, (last_s // _MINUTE + 1) * _MINUTE
    if (to_s - from_s) // _MINUTE <= _ROOM:
        return Ask(key, room, from_s, to_s, _MINUTE)
    return None


class Healer:
    """Heal the gaps that close.

    Parameters
    ----------
    gaps
        Whose gaps; it hears of each through `take`.
    """

    def __init__(self, gaps: Gaps) -> None:
        """Wait for a gap to close."""
        self._gaps = gaps
        self._waiting: dict[str, list[Entry]] = {}
        self._task: asyncio.Task[None] | None = None

    def take(self, entry: Entry) -> None:
        """Heal a gap that closed, soon."""
        if len(self._waiting) >= _MOST and entry.room not in self._waiting:
            self._gaps.judged(entry, "not healable", "too many gaps at once")
            return
        self._waiting.setdefault(entry.room, []).append(entry)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="healer")

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(_SETTLE_S)
            entries, self._waiting = self._waiting, {}
            asks: dict[str, Ask] = {}
            for room, found in entries.items():
                ask = self._gaps.ask(room, found)
                if isinstance(ask, Ask):
                    asks[room] = ask
                    continue
                for entry in found:
                    self._gaps.judged(entry, "not healable", ask)
            if not asks:
                continue
            try:
                await self._fetch(asks, entries)
                reason = "the process that asks history gave no answer"
            except (OSError, TimeoutError, ValueError, KeyError, TypeError) as exc:
                reason = f"history could not be asked: {str(exc) or type(exc).__name__}"
                _log.warning("A gap could not be healed: %s", reason)
            for room in asks:
                for entry in entries.get(room, ()):
                    self._gaps.judged(entry, "not healable", reason)

    async def _fetch(self, asks: dict[str, Ask], entries: dict[str, list[Entry]]) -> None:
        """Ask for all and take each answer as it comes; answered rooms leave `entries`."""
        request = {
            "market": self._gaps.ledger.market, "asks": [ask.to_dict() for ask in asks.values()]
        }  # fmt: skip
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "breeze_lab.relay.heal",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**22,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            async with asyncio.timeout(_PATIENCE_S + _EACH_S * len(asks)):
                child.stdin.write(json.dumps(request).encode())
                child.stdin.close()
                async for line in child.stdout:
                    told = json.loads(line)
                    self._take(asks[told["room"]], entries.pop(told["room"], []), told)
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

    def _take(self, ask: Ask, entries: Iterable[Entry], told: dict[str, Any]) -> None:
        if "error" in told:
            for entry in entries:
                self._gaps.judged(entry, "not healable", str(told["error"]))
            return
        pieces = [Piece(*row) for row in told["rows"]]
        history = History(pieces, ask.from_s, ask.to_s, ask.length_s)
        begun = time.monotonic()
        for entry in entries:
            self._gaps.mend(entry, history)
        _log.info(
            "Healed %s from %d bars of history in %.1f ms.",
            ask.key, len(pieces), (time.monotonic() - begun) * 1000,
        )  # fmt: skip
