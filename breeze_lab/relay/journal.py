"""The journal: what the relay remembers of the stream, in memory and in the log.

Owns the newest frames, the log of the market that flows and what a former life
of the relay left there; answers who was away with what they missed. The files
themselves are the business of `breeze_lab.relay.logbook` and
`breeze_lab.relay.restore`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.relay import restore
from breeze_lab.relay.logbook import Logbook
from breeze_lab.relay.market import tick_rows
from breeze_lab.relay.rebuild import Frame, value_of
from breeze_lab.relay.restore import Gap, Past

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["RESTARTED", "Journal", "Wish", "switched_off"]

_log: Final = logging.getLogger(__name__)

#: Frames kept in memory: a dozen seconds at 5,000 a second, about 25 MB.
_RECENT: Final = 65_536
#: How many more may be there before the oldest are forgotten, all at once.
_SLACK: Final = 2_048
#: Ticks told again to one consumer at once; the older ones are reported lost.
_MOST_AGAIN: Final = 20_000
#: Ticks in one message, which stays far below a megabyte.
_IN_ONE: Final = 2_000
#: A log that nobody commits is written this often.
_GROUP_S: Final = 0.005
RESTARTED: Final = "the relay was restarted"
GONE: Final = "the relay no longer has them"

#: Key, room, and the sequence that was heard last.
Wish = tuple[str, str, int]


def switched_off() -> bool:
    """Say whether ``BREEZE_LAB_RECORD`` switches the log off."""
    return os.environ.get("BREEZE_LAB_RECORD", "").strip().lower() in ("off", "0", "no", "false")


class Journal:
    """Remember frames; every method is for the event loop's thread.

    Parameters
    ----------
    folder
        Of the logs of all markets; None keeps everything in memory only.
    life
        Names this life of the relay.
    heads
        Returns the notes with which each file begins.
    """

    def __init__(
        self, folder: Path | None, life: str, heads: Callable[[], Iterable[dict[str, Any]]]
    ) -> None:
        """Remember nothing yet."""
        self.life = life
        self.market: str | None = None
        self.past = Past()
        self._folder = folder
        self._heads = heads
        self._logbook: Logbook | None = None
        #: As `Frame` has them; a plain tuple is made in a third of the time.
        self._recent: dict[str, deque[tuple[int, int, int, int, bytes]]] = {}
        self._gaps: dict[str, list[Gap]] = {}
        self._count = 0
        self._forget_at = _SLACK
        self._timer: asyncio.TimerHandle | None = None

    @property
    def trouble(self) -> str:
        """Why nothing is recorded although it should be; empty when all is well."""
        return "" if self._logbook is None else self._logbook.error

    # -- the market -------------------------------------------------------

    async def read(self, market: str) -> Past:
        """Return what today's log of `market` says; read in a thread."""
        if self._folder is None:
            return Past()
        try:
            return await asyncio.to_thread(
                restore.recover, _of(self._folder, market), clock.now().date(), _RECENT
            )
        except OSError as exc:  # a feed without its past is better than none
            _log.error("The tick log of the day cannot be read: %s", exc)
            return Past()

    def turn_to(self, market: str, past: Past) -> None:
        """Write the log of `market` from now on, after what `past` says of it."""
        self.close()
        self.market, self.past = market, past
        self._recent.clear()
        for room, frame in past.recent:
            self._recent.setdefault(room, deque()).append(frame)
            self._count = max(self._count, frame.order)
        past.recent.clear()
        self._gaps = {room: list(some.values()) for room, some in past.gaps.items()}
        if self._folder is not None:
            self._logbook = Logbook(_of(self._folder, market), self._heads)

    def close(self) -> None:
        """End the log in order."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._logbook is not None:
            self._logbook.close()
            self._logbook = None

    # -- writing ----------------------------------------------------------

    def frame(self, room: str, sequence: int, epoch: int, received_ms: int, raw: bytes) -> int:
        """Remember one frame and put it into the log, which has it after the next `commit`.

        Returns
        -------
        int
            Its place among the frames of all rooms.
        """
        order = self._count = self._count + 1
        frame = (order, sequence, epoch, received_ms, raw)
        recent = self._recent.get(room)
        if recent is None:
            recent = self._recent[room] = deque()
        recent.append(frame)
        if order >= self._forget_at:
            self._forget()
        if self._logbook is not None:
            self._logbook.frame(frame)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_GROUP_S, self._overdue)
        return order

    def note(self, note: dict[str, Any], epoch: int = 0) -> None:
        """Put a note into the log, if its file was begun; each file's head has what matters."""
        if self._logbook is not None and self._logbook.begun:
            self._logbook.note(note, epoch)

    def gap(self, room: str, gap: Gap, keys: Iterable[str]) -> None:
        """Remember a gap of a room, for those who are away as well."""
        self._gaps.setdefault(room, []).append(gap)
        if self._logbook is not None:
            for key in keys:
                self._logbook.note({"what": "gap", "key": key, "room": room, **gap.note()})

    def commit(self) -> None:
        """Write what was gathered; what anybody was told before is safe from a kill then."""
        if self._logbook is not None:
            self._logbook.commit()

    def _overdue(self) -> None:
        self._timer = None
        self.commit()

    def _forget(self) -> None:
        """Keep the newest frames, over all rooms."""
        self._forget_at = self._count + _SLACK
        before = self._count - _RECENT
        for room, recent in list(self._recent.items()):
            while recent and recent[0][0] <= before:
                recent.popleft()
            if not recent:
                del self._recent[room]

    # -- telling again ----------------------------------------------------

    def places(self, room: str, after: int, life: str, sequence: int) -> bool:
        """Say whether `after`, heard in `life`, is a number of ours.

        Parameters
        ----------
        life
            In which it was heard; empty trusts the number.
        sequence
            Of the room's last frame now.
        """
        if life in ("", self.life):
            return after <= sequence
        ended = self.past.lives.get(life)
        return ended is not None and after <= ended.get(room, 0)

    async def older(
        self, wishes: Iterable[Wish], sequences: Mapping[str, int]
    ) -> dict[str, list[Frame]]:
        """Return from the log what memory lacks for `wishes`; reads in a thread, if at all."""
        wanted: dict[str, tuple[int, int]] = {}
        for _, room, after in wishes:
            recent = self._recent.get(room)
            before = recent[0][1] if recent else sequences.get(room, 0) + 1
            if after + 1 < before:
                wanted[room] = min(after, wanted.get(room, (after, 0))[0]), before
        if not wanted or self._folder is None or self.market is None:
            return {}
        self.commit()
        return await asyncio.to_thread(
            restore.frames, _of(self._folder, self.market), clock.now().date(), wanted, _MOST_AGAIN
        )

    def again(
        self, wishes: Sequence[Wish], sequences: Mapping[str, int],
        older: Mapping[str, list[Frame]],
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return the batches that tell again what came after each of `wishes`.

        Every sequence from there to the room's last is in them once: as a tick,
        or within the bounds of a loss. Gaps lie before the tick that ended them.
        """
        found: list[tuple[int, str, Frame]] = []
        gaps: dict[str, deque[Gap]] = {}
        for key, room, after in wishes:
            if after >= sequences.get(room, 0):
                continue
            tail: list[Frame] = []
            for frame in map(Frame._make, reversed(self._recent.get(room, ()))):
                if frame.sequence <= after:
                    break
                tail.append(frame)
            before = tail[-1].sequence if tail else sequences.get(room, 0) + 1
            head = [f for f in older.get(room, ()) if after < f.sequence < before]
            found += [(frame.order, key, frame) for frame in (*head, *tail)]
            gaps[key] = deque(gap for gap in self._gaps.get(room, ()) if gap.sequence > after)
        found.sort(key=lambda one: one[0])
        told = {key: after for key, _, after in wishes}
        batches = _Batches()
        for _, key, frame in found[-_MOST_AGAIN:]:
            if frame.sequence > told[key] + 1:
                batches.lose(key, told[key] + 1, frame.sequence - 1)
            told[key] = frame.sequence
            while gaps[key] and gaps[key][0].sequence <= frame.sequence:
                batches.gap(gaps[key].popleft().row(key))
            batches.tell(key, frame)
        for key, room, _ in wishes:
            if told[key] < sequences.get(room, 0):
                batches.lose(key, told[key] + 1, sequences[room])
        return batches.done

    def status(self) -> dict[str, Any]:
        """Return the door's ``wal`` map."""
        if self._logbook is None:  # switched off, or nobody has said yet which market flows
            return {
                "on": self._folder is not None, "recording": False, "file": None, "bytes": 0,
                "written": 0, "unrecorded": 0, "synced_age_s": 0.0, "slowest_write_ms": 0.0,
                "errors": 0, "error": "",
            }  # fmt: skip
        past = self.past
        return {
            **self._logbook.status(),
            "market": self.market,
            "restored": {
                "records": past.records, "seconds": round(past.seconds, 3),
                "lives": len(past.lives), "ended_ms": past.ended_ms,
            },
        }  # fmt: skip


def _of(logs: Path, market: str) -> Path:
    """Return the folder of a market; its name comes from a client and leads nowhere else."""
    return logs / (re.sub(r"[^\w-]", "_", market) or "_")


class _Batches:
    """Batches in which every loss lies before what came after it."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self._open: dict[str, Any] = {}

    def lose(self, key: str, first: int, last: int) -> None:
        self._before_ticks("lost").append([key, first, last, GONE])

    def gap(self, row: list[Any]) -> None:
        self._before_ticks("gaps").append(row)

    def _before_ticks(self, what: str) -> list[list[Any]]:
        if not self._open or "ticks" in self._open:
            self._begin()
        rows: list[list[Any]] = self._open.setdefault(what, [])
        return rows

    def tell(self, key: str, frame: Frame) -> None:
        tick = value_of(frame.raw)
        if tick is None:
            self.lose(key, frame.sequence, frame.sequence)
            return
        if not self._open or len(self._open.get("ticks", ())) >= _IN_ONE:
            self._begin()
        rows = tick_rows([(frame.order, key, *frame[1:4], tick)])
        self._open.setdefault("ticks", []).extend(rows)

    def _begin(self) -> None:
        self._open = {"op": "batch"}
        self.done.append(self._open)
