"""Market time: the machine's, until somebody drives it.

A clock can run faster, stand still and jump. Everything in the practice market
asks it what time it is; nothing keeps a time of its own. Requests are signed
with the machine's time all the same, as at the broker.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from breeze_lab import clock

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["FASTEST", "SLOWEST", "MarketClock"]

#: Market seconds per second: what `MarketClock.set` accepts.
SLOWEST: Final = 0.01
FASTEST: Final = 3600.0
#: What `MarketClock.wait_s` says of a moment that will not come while the clock stands.
_FOR_EVER_S: Final = 3600.0


class MarketClock:
    """Market time.

    Parameters
    ----------
    speed
        Market seconds per second, 0.01 to 3600.
    at
        Market time to begin at, aware or naive IST; the machine's time by default.
    paused
        Begin standing still.

    Attributes
    ----------
    jumps
        How often the time was set: whoever sees another number than before
        must not assume that nothing was left out.

    Raises
    ------
    ValueError
        The speed is out of range.
    """

    def __init__(
        self, speed: float = 1.0, at: datetime | None = None, *, paused: bool = False
    ) -> None:
        """Start at the real time or at `at`."""
        self.jumps = 0
        self._speed = 1.0
        self._paused = False
        self._real = self._market = time.time()
        self.set(speed=speed, at=at, paused=paused)
        self.jumps = 0

    @property
    def speed(self) -> float:
        """Market seconds per second while it runs."""
        return self._speed

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self._paused

    def set(
        self,
        *,
        speed: float | None = None,
        at: datetime | None = None,
        paused: bool | None = None,
    ) -> None:
        """Change how market time passes from now on; what is None stays.

        Parameters
        ----------
        speed
            Market seconds per second.
        at
            Market time to jump to, forward or back; naive is IST.
        paused
            Stand still, or go on.

        Raises
        ------
        ValueError
            The speed is no number from 0.01 to 3600; nothing has changed.
        """
        if speed is not None and not (math.isfinite(speed) and SLOWEST <= speed <= FASTEST):
            raise ValueError(f"The speed must lie between {SLOWEST:g} and {FASTEST:g}.")
        real = time.time()
        self._market, self._real = self._seconds(real), real
        if speed is not None:
            self._speed = float(speed)
        if at is not None:
            self._market = clock.to_ist(at).timestamp()
            self.jumps += 1
        if paused is not None:
            self._paused = paused

    def _seconds(self, real: float) -> float:
        return self._market + (0.0 if self._paused else (real - self._real) * self._speed)

    def now_ms(self) -> int:
        """Return the market time in Unix milliseconds."""
        return int(self._seconds(time.time()) * 1000)

    def now(self) -> datetime:
        """Return the market time, aware, Asia/Kolkata."""
        return clock.from_epoch(self.now_ms() / 1000)

    def wait_s(self, until_ms: int) -> float:
        """Return the real seconds until market time `until_ms`, at most an hour; not negative."""
        ahead = (until_ms - self.now_ms()) / 1000
        if ahead <= 0:
            return 0.0
        return _FOR_EVER_S if self._paused else min(ahead / self._speed, _FOR_EVER_S)
