"""The call meter: never more than the broker's 100 REST calls in any 60 seconds.

One meter per app key in this process. It counts calls the way the broker's
sliding minute does and makes a caller wait instead of being refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CALLS_PER_MINUTE", "CallMeter"]

CALLS_PER_MINUTE: Final = 100


class CallMeter:
    """Count calls over a sliding minute; wait when it is full.

    Parameters
    ----------
    limit, span_s
        At most `limit` calls in any `span_s` seconds.
    clock, sleep
        Replaced by tests. The clock must be monotonic: a jump of the wall
        clock must not open or close the gate.
    """

    def __init__(
        self,
        limit: int = CALLS_PER_MINUTE,
        span_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit = limit
        self.span_s = span_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()  # guards _calls: threads of one kernel share the budget
        self._calls: deque[float] = deque()
        self.total = 0

    @property
    def used(self) -> int:
        """Calls in the last `span_s` seconds."""
        with self._lock:
            self._forget(self._clock())
            return len(self._calls)

    def spend(self, on_wait: Callable[[float], None] | None = None) -> float:
        """Take one call, waiting until there is one; return the seconds waited.

        Parameters
        ----------
        on_wait
            Told the seconds before each wait, because silence looks like a hang.
        """
        waited = 0.0
        while True:
            with self._lock:
                now = self._clock()
                self._forget(now)
                if len(self._calls) < self.limit:
                    self._calls.append(now)
                    self.total += 1
                    return waited
                wait = self._calls[0] + self.span_s - now
            if on_wait is not None:
                on_wait(wait)
            self._sleep(max(wait, 0.001))
            waited += wait

    def _forget(self, now: float) -> None:
        while self._calls and self._calls[0] <= now - self.span_s:
            self._calls.popleft()
