"""The faults that are active: which, until when, and what they did.

Owns their beginning and end. What a fault does to a socket, a frame or an
answer is written where sockets, frames and answers are; they ask here whether
it is active and tell what it did. Lengths are real seconds, whatever the
market's clock does: weather does not care for market time.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.practice.director import BadCommand, number, only
from breeze_lab.practice.faults.kinds import FOREVER, KINDS, Kind, unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from breeze_lab.practice.director import Director

__all__ = ["Fault", "Faults"]

_LONGEST_S: Final = 86_400.0
_MOST: Final = 1_000_000
#: The longest delay: longer than every timeout of a client.
_LATEST_S: Final = 120.0
#: What a fault needs to do when it ends is given this long before the command is answered.
_ENDING_S: Final = 5.0


@dataclass(eq=False)
class Fault:
    """One active fault.

    Parameters
    ----------
    kind, number
        What it is, and its number in this market's life.
    for_s
        Real seconds until it ends by itself; None for ever, 0 at once.
    left
        Effects left, or None when they are not counted down.
    share, delay_s, variant, room
        See `breeze_lab.practice.fault_kinds.Kind`.

    Attributes
    ----------
    targets
        What `room` means, found when it began.
    effects
        How often it did something.
    over
        Set when it has ended.
    """

    kind: Kind
    number: int
    for_s: float | None
    left: int | None = None
    share: float | None = None
    delay_s: float = 0.0
    variant: str = ""
    room: str = ""
    targets: frozenset[str] = frozenset()
    effects: int = 0
    began: float = field(default_factory=time.monotonic)
    began_at: str = field(default_factory=lambda: clock.now().isoformat(timespec="milliseconds"))
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def left_s(self) -> float:
        """Real seconds until it ends."""
        if self.for_s is None:
            return math.inf
        return max(0.0, self.began + self.for_s - time.monotonic())

    @property
    def alive(self) -> bool:
        """Whether it acts; exact to the instant, however late its timer runs."""
        return not self.over.is_set() and self.left_s > 0

    def ordered(self) -> dict[str, Any]:
        """Return what was ordered, without what was not."""
        facts: dict[str, Any] = {"fault": self.kind.name, "number": self.number}
        facts["for_s"] = FOREVER if self.for_s is None else self.for_s
        extras = {"count": self.left, "share": self.share, "delay_s": self.delay_s,
                  "variant": self.variant, "room": self.room}  # fmt: skip
        return facts | {name: value for name, value in extras.items() if value}

    def to_dict(self) -> dict[str, Any]:
        """Return how it stands."""
        left = None if self.for_s is None else round(self.left_s, 3)
        return {
            **self.ordered(), "began": self.began_at, "left_s": left, "effects": self.effects,
        }  # fmt: skip


class Faults:
    """The registry.

    Parameters
    ----------
    director
        Takes the commands ``fault``, ``faults`` and ``clear``, and keeps the log.

    Attributes
    ----------
    active
        Oldest first; empty on a good day, which is all a hot path needs to know.
    """

    def __init__(self, director: Director) -> None:
        """Begin with good weather."""
        self.active: list[Fault] = []
        self._director = director
        self._numbers = itertools.count(1)
        self._aims: dict[str, Callable[[Fault], None]] = {}
        self._begins: dict[str, Callable[[Fault], Awaitable[None]]] = {}
        self._ends: dict[str, Callable[[Fault], Awaitable[None]]] = {}
        self._endings: set[asyncio.Future[None]] = set()
        director.add("fault", self._fault)
        director.add("faults", self._tell)
        director.add("clear", self._clear)

    def on(
        self,
        name: str,
        *,
        aim: Callable[[Fault], None] | None = None,
        begin: Callable[[Fault], Awaitable[None]] | None = None,
        end: Callable[[Fault], Awaitable[None]] | None = None,
    ) -> None:
        """Have `begin` called when the fault `name` begins, and `end` when it ends.

        `aim` is called before and may raise `BadCommand`; then nothing begins.
        """
        if aim:
            self._aims[name] = aim
        if begin:
            self._begins[name] = begin
        if end:
            self._ends[name] = end

    def find(self, name: str) -> Fault | None:
        """Return the newest active fault of this name."""
        for fault in reversed(self.active):
            if fault.kind.name == name and fault.alive:
                return fault
        return None

    def living(self, side: str) -> list[Fault]:
        """Return the active faults of one side, newest first."""
        return [f for f in reversed(self.active) if f.kind.side == side and f.alive]

    def hit(self, fault: Fault, times: int = 1) -> None:
        """Note that a fault did something; the last of its counted effects ends it."""
        fault.effects += times
        if fault.left is not None:
            fault.left -= times
            if fault.left <= 0:
                self.end(fault, "used up")

    async def wait(self, fault: Fault, at_most_s: float = math.inf) -> None:
        """Return when `fault` is over, or after `at_most_s` real seconds."""
        left_s = min(at_most_s, fault.left_s)
        if not fault.alive or left_s <= 0:
            return
        try:
            async with asyncio.timeout(left_s if math.isfinite(left_s) else None):
                await fault.over.wait()
        except TimeoutError:
            return

    def end(self, fault: Fault, why: str) -> None:
        """End a fault; harmless when it has ended."""
        if fault.over.is_set():
            return
        fault.over.set()
        self.active.remove(fault)
        end = self._ends.get(fault.kind.name)
        if end:
            ending = asyncio.ensure_future(end(fault))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
        self._director.note(
            "fault ended", fault=fault.kind.name, number=fault.number, why=why,
            lasted_s=round(time.monotonic() - fault.began, 3), effects=fault.effects,
        )  # fmt: skip

    async def begin(self, fault: Fault) -> None:
        """Let a fault act from now on, in place of an older one of its name and room.

        Raises
        ------
        BadCommand
            Its room means nothing; nothing has begun.
        """
        if fault.kind.name in self._aims:
            self._aims[fault.kind.name](fault)
        for old in list(self.active):
            if old.kind is fault.kind and old.room == fault.room:
                self.end(old, "replaced")
        self.active.append(fault)
        self._director.note("fault began", **fault.ordered())
        if fault.kind.name in self._begins:
            await self._begins[fault.kind.name](fault)
        if fault.for_s:
            asyncio.get_running_loop().call_later(fault.left_s, self.end, fault, "time is up")
        if fault.for_s == 0:
            self.end(fault, "done")

    async def order(self, name: str) -> None:
        """Begin a fault as it is when nobody says more."""
        await self._fault({"name": name})

    # -- commands -----------------------------------------------------------

    async def _fault(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields, "name", "for_s", "count", "share", "delay_s", "variant", "room")
        kind = KINDS.get(str(fields.get("name")))
        if kind is None:
            raise BadCommand(unknown(str(fields.get("name"))))
        fault = Fault(kind, next(self._numbers), *_bounds(kind, fields))
        fault.share = _given(kind, fields, "share", kind.share, 1.0)
        fault.delay_s = _given(kind, fields, "delay_s", kind.delay_s, _LATEST_S) or 0.0
        fault.variant = _word(kind, fields, "variant", bool(kind.variants))
        if kind.variants and fault.variant not in ("", *kind.variants):
            raise BadCommand(f"{kind.name} is one of {', '.join(kind.variants)}.")
        fault.variant = fault.variant or (kind.variants[0] if kind.variants else "")
        fault.room = _word(kind, fields, "room", kind.room)
        await self.begin(fault)
        await self._settle()
        return fault.to_dict()

    def _tell(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields)
        return {"faults": self.to_list()}

    def to_list(self) -> list[dict[str, Any]]:
        """Return how the active faults stand, oldest first."""
        return [fault.to_dict() for fault in self.active if fault.alive]

    async def _clear(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        only(fields, "name", "number")
        name, wanted = fields.get("name"), number(fields, "number")
        if name is not None and name not in KINDS:
            raise BadCommand(unknown(str(name)))
        cleared = [
            fault
            for fault in list(self.active)
            if name in (None, fault.kind.name) and wanted in (None, fault.number)
        ]
        for fault in cleared:
            self.end(fault, "cleared")
        await self._settle()
        return {"cleared": [fault.to_dict() for fault in cleared]}

    async def _settle(self) -> None:
        """Wait for what ended faults still have to do, so that the answer is true."""
        if self._endings:
            await asyncio.wait(set(self._endings), timeout=_ENDING_S)


def _bounds(kind: Kind, fields: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """Return how long and how often, one of which is always bounded unless for ever was asked."""
    given, count = fields.get("for_s"), number(fields, "count")
    if not kind.lasts and (given is not None or count is not None):
        raise BadCommand(f"{kind.name} happens at once and is over; it takes no length or count.")
    if count is not None and not (1 <= count <= _MOST and count == int(count)):
        raise BadCommand(f"count takes a whole number from 1 to {_MOST}, not {count:g}.")
    left = None if count is None else int(count)
    if given == FOREVER:
        return None, left
    length = number(fields, "for_s")
    if length is None:
        length = kind.for_s or (30.0 if left else 0.0)
    if not (0 < length <= _LONGEST_S or (length == 0 and kind.for_s == 0)):
        raise BadCommand(
            f"{kind.name} lasts up to {_LONGEST_S:.0f} s, or {FOREVER!r}; not {length:g} s."
        )
    return length, left


def _given(
    kind: Kind, fields: Mapping[str, Any], name: str, default: float | None, most: float
) -> float | None:
    value = number(fields, name)
    if value is None:
        return default
    if default is None:
        raise BadCommand(f"{kind.name} takes no {name}.")
    if not 0 < value <= most:
        raise BadCommand(f"{name} lies between 0 and {most:g}, not {value:g}.")
    return value


def _word(kind: Kind, fields: Mapping[str, Any], name: str, allowed: bool) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not allowed:
        raise BadCommand(f"{kind.name} takes no {name}.")
    return str(value)[:80]
