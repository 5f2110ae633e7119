"""The outbox: what a publisher has not put on the bus yet, or may have to put there again.

Owns the bounds of that and the names of what had to be dropped; no I/O. What is
taken and not confirmed comes back in front, so that order is kept. What was
confirmed stays in doubt for a while: a server that was killed may have confirmed
what it had not written.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from breeze_lab.relay.bus import Drops

if TYPE_CHECKING:
    from breeze_lab.relay.wal import Record

__all__ = ["WAITING", "Batch", "Outbox"]

Batch: TypeAlias = "list[tuple[str, Record]]"

#: Records that wait while the bus is away: ten seconds of 5,000 a second, 20 MB.
WAITING: Final = 50_000
_BATCH: Final = 1_000
#: Redis with `appendfsync everysec` may put off writing for two seconds.
_DOUBT_S: Final = 5.0


class Outbox:
    """Records on their way out.

    Parameters
    ----------
    limit
        Records that wait before the oldest are dropped.
    """

    def __init__(self, limit: int = WAITING) -> None:
        """Hold nothing."""
        self.limit = limit
        self.drops = Drops()
        self._waiting: deque[tuple[str, Record]] = deque()
        self._again: deque[tuple[str, Record]] = deque()  # may be there already; goes first
        self._recent: deque[tuple[float, Batch]] = deque()  # confirmed a moment ago, oldest first
        self._doubtful = 0  # records in `_recent`
        self._confirmed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def put(self, room: str, record: Record) -> None:
        """Add a record; the oldest that never left is dropped when there are too many."""
        if len(self._waiting) >= self.limit:
            lost, oldest = self._waiting.popleft()
            self.drops.add(lost, oldest.sequence)
        self._waiting.append((room, record))

    def take(self) -> Batch:
        """Return the next records; they are to be confirmed, or given back."""
        source = self._again or self._waiting
        return [source.popleft() for _ in range(min(_BATCH, len(source)))]

    def give_back(self, batch: Batch) -> None:
        """Put records in front that may not have arrived."""
        self._again.extendleft(reversed(batch))

    def confirm(self, batch: Batch) -> None:
        """Note that records arrived."""
        now = time.monotonic()
        self._recent.append((now, batch))
        self._doubtful += len(batch)
        while self._recent[0][0] < now - _DOUBT_S or self._doubtful > WAITING:
            self._doubtful -= len(self._recent.popleft()[1])
        self._confirmed.update((room, record.sequence) for room, record in batch)

    def doubt(self) -> None:
        """Put everything in front that was confirmed a moment ago."""
        for _, batch in reversed(self._recent):
            self.give_back(batch)
        self._recent.clear()
        self._doubtful = 0

    def give_up(self, batch: Batch) -> None:
        """Drop all that never arrived, `batch` first."""
        for room, record in (*batch, *self._again, *self._waiting):
            if record.sequence > self._confirmed.get(room, 0):
                self.drops.add(room, record.sequence)
        for held in (self._again, self._waiting, self._recent):
            held.clear()
        self._doubtful = 0
