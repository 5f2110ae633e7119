"""What time it is where a job's prices are made, and how fast it passes.

The wall's clock for a real account. For the practice market its own, which may
be driven: it is asked every time, and where it runs and does not answer the
time is unknown, because the wall's would be another day.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from breeze_lab import clock, processes, settings

__all__ = ["Reading", "read"]

_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A market's time, aware IST, and how many of its seconds pass in one of ours."""

    now: datetime
    speed: float = 1.0

    @property
    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self.now.timestamp() * 1000)


def read(market: str) -> Reading | None:
    """Return the time of ``"icici"`` or ``"practice"``; None while nobody can tell it."""
    record = None
    if market == "practice":
        record = processes.running(settings.folders().runtime, "practice")
    if record is None:
        # A practice market that is started next begins at the wall's time.
        return Reading(clock.now())
    address = urlsplit(str(record["status_url"]))
    asked = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S)
    try:
        asked.request("GET", address.path)
        said = json.loads(asked.getresponse().read())
        now = clock.to_ist(datetime.fromisoformat(said["now"]))
        return Reading(now, 0.0 if said["paused"] else float(said["speed"]))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        asked.close()
