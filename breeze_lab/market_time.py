"""Market time of a practice market: asked now and then, reckoned in between.

The market says what time it is, how fast it passes and whether it stands. An
answer is trusted for a second, so that a loop that reads the clock does not
ask for every turn; a market that does not answer leaves the wall clock.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from breeze_lab import clock

__all__ = ["MarketTime"]

_TRUSTED_S: Final = 1.0
_TIMEOUT_S: Final = 2.0


class MarketTime:
    """A `breeze_lab.clock.Clock` that reads the clock of a practice market.

    Parameters
    ----------
    status_url
        Of its ready record; on this machine.
    """

    def __init__(self, status_url: str) -> None:
        """Ask nothing yet."""
        self._address = urlsplit(status_url)
        self._lock = threading.Lock()  # one asks, the others wait for the answer
        self._asked = float("-inf")
        self._told: datetime | None = None
        self._speed = 0.0

    def now(self) -> datetime:
        """Return the market's time, aware, Asia/Kolkata; the wall's when it does not answer."""
        with self._lock:
            if time.monotonic() - self._asked > _TRUSTED_S:
                self._ask()
            if self._told is None:
                return clock.now()
            passed = time.monotonic() - self._asked
            return self._told + timedelta(seconds=passed * self._speed)

    def _ask(self) -> None:
        market = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=_TIMEOUT_S
        )
        try:
            market.request("GET", self._address.path)
            said = json.loads(market.getresponse().read())
            told = clock.to_ist(datetime.fromisoformat(said["now"]))
            speed = 0.0 if said["paused"] else float(said["speed"])
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            self._told = None
        else:
            self._told, self._speed = told, speed
        finally:
            market.close()
        self._asked = time.monotonic()
