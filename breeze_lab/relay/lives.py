"""The lives of the relay: how one goes on where the one before it was killed.

Owns what a former life left behind, until somebody wants it again, and the
notes by which the next life will know what this one was doing. What flows, and
to whom, is the hub's business.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from breeze_lab import __version__
from breeze_lab.relay.journal import RESTARTED, Journal
from breeze_lab.relay.market import Line
from breeze_lab.relay.restore import Gap
from breeze_lab.relay.today import Today

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from breeze_lab.relay.journal import Wish
    from breeze_lab.relay.rebuild import Frame
    from breeze_lab.relay.restore import Identity, Past
    from breeze_lab.relay.upstream import Login, Upstream

__all__ = ["Lives"]


class Lives:
    """What joins this life of the relay to those before and after it.

    Parameters
    ----------
    logs
        The folder of the tick logs; None records nothing.
    life
        Names this life.
    lines, by_room, sequences
        The hub's, which it goes on changing.
    upstream
        Whose connections are counted over all lives.
    """

    def __init__(
        self, logs: Path | None, life: str, *, lines: Mapping[Identity, Line],
        by_room: Mapping[str, Sequence[Line]], sequences: dict[str, int], upstream: Upstream,
    ) -> None:  # fmt: skip
        """Know of no former life yet."""
        self.life = life
        self.journal = Journal(logs, life, self._heads)
        self._lines = lines
        self._by_room = by_room
        self._sequences = sequences
        self._upstream = upstream
        self.today = Today(sequences, lines, self.journal.note)
        #: Lines of a former life that nobody wants yet.
        self._former: dict[Identity, Line] = {}
        #: Rooms not heard since a former life, and when that one heard its last frame; the hub
        #: opens and ends their gaps.
        self.silent: dict[str, int] = {}
        self._epoch_noted = 0
        self.changing = asyncio.Lock()  # one market at a time

    # -- the market -------------------------------------------------------

    async def prepare(self, market: str) -> None:
        """Stand where a former life stood in `market`."""
        async with self.changing:
            past = await self.read(market)
            if past is not None:
                self.adopt(market, past)

    async def read(self, market: str) -> Past | None:
        """Return what today's log of `market` says; None when it is the one in use."""
        return None if self.journal.market == market else await self.journal.read(market)

    def adopt(self, market: str, past: Past) -> None:
        """Go on from `past`, and write the log of `market` from now on."""
        self.journal.turn_to(market, past)
        self._upstream.epoch = max(self._upstream.epoch, past.epoch)
        for room, sequence in past.sequences.items():
            self._sequences[room] = max(sequence, self._sequences.get(room, 0))
        self.today.go_on(past.counts, past.firsts)
        self._former, self.silent = past.lines, {}
        for line in self._lines.values():
            line.sequence = self._sequences.get(line.room, 0)
            self._await_return(line.room)

    def turn(self, held: Login | None, login: Login) -> None:
        """Forget every price when `login` leads to another stream than the one before.

        Invented prices of two practice markets must not meet in one bar.
        """
        url = login.endpoints.stream_url
        if held is None:
            same = self.journal.past.stream in ("", url)
        else:
            same = (held.endpoints.stream_url, held.user) == (url, login.user)
        if not same:
            for line in (*self._lines.values(), *self._former.values()):
                line.clear()

    # -- lines ------------------------------------------------------------

    def line(self, key: str, room: str, anchor_s: int) -> Line:
        """Return a line that nobody has wanted in this life, as a former one left it."""
        line = self._former.pop((key, room, anchor_s), None) or Line(key, room, anchor_s)
        line.sequence, line.first_ms = self._sequences.get(room, 0), self.today.first_ms(room)
        self._await_return(room)
        self.note_line(line)
        return line

    def note_line(self, line: Line) -> None:
        """Note what a room is to us, and which bars are held."""
        self.journal.note(_line_note(line))

    def left(self, room: str) -> None:
        """Hear that nobody wants `room` any more."""
        self.silent.pop(room, None)
        self.journal.note({"what": "left", "room": room})

    def sweep(self, before: float) -> None:
        """Forget former lines that nobody has wanted since `before` (monotonic seconds)."""
        self.today.look()
        for identity, line in list(self._former.items()):
            if line.idle_since < before:
                del self._former[identity]

    # -- frames -----------------------------------------------------------

    def note_gap(self, room: str, from_ms: int, to_ms: int, cause: str) -> None:
        """Note that frames of a room may be missing before its next one, for who is away."""
        gap = Gap(self._sequences.get(room, 0) + 1, from_ms, to_ms, cause)
        self.journal.gap(room, gap, [line.key for line in self._by_room.get(room, ())])

    def note_malformed(self, event: str, reason: str) -> None:
        """Note in the log what could not be read; of orders nothing is recorded."""
        if event == "stock":
            self.journal.note({"what": "malformed", "event": event, "reason": reason})

    def on_connection(self) -> None:
        """Note a new connection, once."""
        if self._upstream.epoch != self._epoch_noted:
            self.journal.note(self._epoch_note(), self._upstream.epoch)

    # -- who was away -----------------------------------------------------

    def wishes(
        self, wanted: Iterable[tuple[str, str, int]], after: Mapping[str, int], life: str
    ) -> tuple[list[Wish], list[list[Any]]]:
        """Return what can be told again, and the losses nobody knows the end of.

        Parameters
        ----------
        wanted, after, life
            See `Hub.subscribe`.
        """
        wishes: list[Wish] = []
        unknown: list[list[Any]] = []
        for key, room, _ in wanted:
            heard = after.get(key)
            if heard is None:
                continue
            if self.journal.places(room, heard, life, self._sequences.get(room, 0)):
                wishes.append((key, room, heard))
            else:
                unknown.append([key, heard + 1, None, RESTARTED])
        return wishes, unknown

    async def older(
        self, wanted: Iterable[tuple[str, str, int]], after: Mapping[str, int], life: str
    ) -> dict[str, list[Frame]]:
        """Return what `Hub.subscribe` needs from the log to tell what came after `after`."""
        wishes, _ = self.wishes(wanted, after, life)
        return await self.journal.older(wishes, self._sequences) if wishes else {}

    # -- notes ------------------------------------------------------------

    def _await_return(self, room: str) -> None:
        """Remember that `room` has been silent since the former life, when it was heard then."""
        past = self.journal.past
        if room in past.held:
            past.held.discard(room)
            self.silent[room] = past.ended_ms

    def _heads(self) -> Iterable[dict[str, Any]]:
        """Yield what each file of the log begins with."""
        market = self.journal.market
        yield {"what": "life", "life": self.life, "version": __version__, "market": market}
        yield self._epoch_note()
        yield self.today.head()
        yield from map(_line_note, self._lines.values())

    def _epoch_note(self) -> dict[str, Any]:
        held = self._upstream.login_held
        stream = "" if held is None else held.endpoints.stream_url
        self._epoch_noted = self._upstream.epoch
        note = {"what": "epoch", "epoch": self._upstream.epoch, "stream": stream}
        if held is not None and held.endpoints.replay:
            note["replay"] = held.endpoints.replay  # nobody records a recording
        return note


def _line_note(line: Line) -> dict[str, Any]:
    """Return what the log says of a line before its first frame."""
    return {
        "what": "line", "key": line.key, "room": line.room, "anchor_s": line.anchor_s,
        "sequence": line.sequence, "intervals": [interval.label for interval in line.series],
    }  # fmt: skip
