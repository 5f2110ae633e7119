"""The broker's limits: calls a minute, calls a day, order mutations a second.

They hold at any time, whatever faults there are. Version 1 and 2 calls count,
``customerdetails`` among them, because the broker documents no exception; the
login page, the security master, status and control do not. A refused call
does not count, so that who waits is served. Minutes and seconds are real; the
day is the market's, and its count starts anew at the market's midnight.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

__all__ = ["BODIES", "Budget"]

#: Recorded bodies, spaces included; the one of the second is in their manner, for none was seen.
BODIES: Final = {
    "minute": {"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"},
    "day": {"Status": 5, "Error": "Limit exceed: API call per day: "},
    "second": {"Status": 5, "Error": "Limit exceed: API call per second:Try after some time"},
}
#: Placing, changing and cancelling an order, and squaring off.
_MUTATIONS: Final = frozenset(
    {("POST", "order"), ("PUT", "order"), ("DELETE", "order"), ("POST", "squareoff")}
)


class _Sliding:
    """Calls within the last `span_s` real seconds."""

    def __init__(self, most: int, span_s: float, now: Callable[[], float]) -> None:
        self.most = most
        self._span_s = span_s
        self._now = now
        self._calls: deque[float] = deque()

    @property
    def used(self) -> int:
        while self._calls and self._calls[0] <= self._now() - self._span_s:
            self._calls.popleft()
        return len(self._calls)

    def spend(self) -> None:
        self._calls.append(self._now())


class Budget:
    """What one account may still ask.

    Parameters
    ----------
    today
        Tells the market date.
    now
        Monotonic seconds; replaced by tests.
    on
        False counts and never refuses.
    """

    def __init__(
        self, today: Callable[[], date], *, on: bool = True, now: Callable[[], float] | None = None
    ) -> None:
        """Start with a full budget."""
        now = now or time.monotonic
        self.on = on
        self._minute = _Sliding(100, 60.0, now)
        self._second = _Sliding(10, 1.0, now)
        self._today, self._day, self._of_day, self._most_of_day = today, today(), 0, 5000

    def refusal(self, method: str, name: str) -> dict[str, Any] | None:
        """Count one call; return the broker's answer when the budget does not allow it.

        Parameters
        ----------
        method, name
            Of the call; name is the last part of its path.
        """
        if self._today() != self._day:
            self._day, self._of_day = self._today(), 0
        mutation = (method, name) in _MUTATIONS
        if self.on:
            if self._of_day >= self._most_of_day:
                return BODIES["day"]
            if self._minute.used >= self._minute.most:
                return BODIES["minute"]
            if mutation and self._second.used >= self._second.most:
                return BODIES["second"]
        self._of_day += 1
        self._minute.spend()
        if mutation:
            self._second.spend()
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return used, limit and left of each span; left is None without limits."""
        of_day = self._of_day if self._today() == self._day else 0
        spans = {
            "minute": (self._minute.used, self._minute.most),
            "day": (of_day, self._most_of_day),
            "orders_second": (self._second.used, self._second.most),
        }
        return {
            name: {"used": used, "limit": most, "left": max(0, most - used) if self.on else None}
            for name, (used, most) in spans.items()
        }
