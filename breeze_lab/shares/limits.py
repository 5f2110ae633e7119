"""Wrong ids: who tried too many, so that guessing costs time and not our machine's."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import Final

__all__ = ["Failures"]

#: So many wrong ids of one address in `SPAN_S` are mistakes; more are guesses.
MOST: Final = 120
SPAN_S: Final = 60.0
#: Addresses remembered; an attacker with more has them forgotten one by one.
_MOST_ADDRESSES: Final = 4096


class Failures:
    """Wrong ids of the last minute, by address. For one thread."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def too_many(self, address: str) -> bool:
        """Note one more wrong id; say whether that address had too many."""
        now = time.monotonic()
        times = self._of.setdefault(address, deque(maxlen=MOST + 1))
        self._of.move_to_end(address)
        while len(self._of) > _MOST_ADDRESSES:
            self._of.popitem(last=False)
        times.append(now)
        while times[0] < now - SPAN_S:
            times.popleft()
        return len(times) > MOST
