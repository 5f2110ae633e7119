"""Activity: a server whose relay records a market that is open is in use.

What stops idle servers (a Hub's culler, or Jupyter's own
``shutdown_no_activity_timeout``) sees browsers and kernels that talk. A relay
that records for a quiet notebook does neither, so it is looked at here once a
minute and its last moment of recording is told as activity. Only what is
really so counts: ticks that came within the last minutes, in the log, of an
instrument whose exchange is open. At night and on holidays nothing does, and
neither does a relay that is connected and gets nothing.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, processes
from breeze_lab.market_time import MarketTime
from breeze_lab.relay.hours import segment_of
from breeze_lab.settings import folders

if TYPE_CHECKING:
    import logging
    from collections.abc import MutableMapping

    from breeze_lab_server.supervisor import Supervisor

__all__ = ["Recording", "recorded_last"]

#: How often the relay is looked at; a culler waits many times as long. On a Hub that is told
#: more often than that, as often as it is told.
_LOOK_S: Final = 60.0
#: A tick older than this is no sign of recording.
_FRESH: Final = timedelta(minutes=10)


def recorded_last(told: dict[str, Any], market_now: datetime, now: datetime) -> datetime | None:
    """Return when the relay last recorded a tick of an open market; None when it does not.

    Parameters
    ----------
    told
        What `Supervisor.status` answers.
    market_now
        What time it is where prices are made, aware: of a practice market
        whose clock is driven that is another than `now`.
    now
        The wall clock, aware.

    Returns
    -------
    datetime or None
        Aware, UTC; never later than `now`.
    """
    relay, upstream = told["relay"], told["upstream"] or {}
    log = relay.get("wal") or {}
    if upstream.get("state") != "connected" or not log.get("recording") or log.get("error"):
        return None
    last = [
        one["last_ms"]
        for one in relay.get("instruments", ())
        if one["last_ms"] and clock.phase(segment_of(one["key"]), market_now) != "closed"
    ]
    if not last:
        return None
    moment = min(datetime.fromtimestamp(max(last) / 1000, tz=UTC), now)
    return moment if now - moment < _FRESH else None


class Recording:
    """Note in the server's activity that the relay records, for as long as the server runs.

    Parameters
    ----------
    supervisor
        Knows the relay; none is started for this.
    times
        The server's ``last_activity_times``.
    log
        The server's logger.

    Notes
    -----
    Lives on the server's event loop; what blocks runs in a thread.
    """

    def __init__(
        self, supervisor: Supervisor, times: MutableMapping[str, datetime], log: logging.Logger
    ) -> None:
        """Look at nothing yet."""
        self._supervisor = supervisor
        self._times = times
        self._log = log
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look, once a minute."""
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def look(self) -> datetime | None:
        """Note the last moment of recording, if there is one, and return it."""
        told = await self._supervisor.status()
        if not told["relay"]["running"]:
            return None
        market = (told["upstream"] or {}).get("endpoints", "")
        there = await asyncio.to_thread(_market_now, market)
        moment = recorded_last(told, there, clock.now())
        if moment is not None:
            self._times["breeze_lab_recording"] = moment
        return moment

    async def _run(self) -> None:
        told_s = float(os.environ.get("JUPYTERHUB_ACTIVITY_INTERVAL") or _LOOK_S)
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - one look that fails must not end all later ones
                self._log.warning("The relay could not be looked at.", exc_info=True)
            await asyncio.sleep(min(told_s, _LOOK_S))


def _market_now(market: str) -> datetime:
    """Return what time it is at the market that the relay is connected to."""
    record = processes.running(folders().runtime, "practice") if market == "practice" else None
    return clock.now() if record is None else MarketTime(record["status_url"]).now()
