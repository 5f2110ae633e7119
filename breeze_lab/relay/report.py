"""The report: what the relay says of itself, without secrets.

Owns the shape of the door's ``status`` answer; what the figures mean is known
where they are counted.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from breeze_lab import __version__
from breeze_lab.relay import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from breeze_lab.relay.hub import Hub
    from breeze_lab.relay.market import Line
    from breeze_lab.relay.restore import Identity

__all__ = ["Report"]


class Report:
    """What a hub looks like from outside.

    Parameters
    ----------
    hub
        Whose state it is.
    lines, sequences
        The hub's, which it goes on changing.
    """

    def __init__(
        self, hub: Hub, lines: Mapping[Identity, Line], sequences: Mapping[str, int]
    ) -> None:
        """Look at nothing yet."""
        self._hub = hub
        self._lines = lines
        self._sequences = sequences

    def status(self) -> dict[str, Any]:
        """Return what the relay does now, without secrets."""
        hub = self._hub
        hub.lives.today.look()
        return {
            "protocol": PROTOCOL,
            "version": __version__,
            "pid": os.getpid(),
            "life": hub.life,
            "ticks": sum(self._sequences.values()),
            "uptime_s": round(time.monotonic() - hub.started, 1),
            "upstream": {**hub.upstream.state.to_dict(), "epoch": hub.upstream.epoch},
            "rooms": list(hub.upstream.rooms),
            "frames": hub.frames,
            "malformed": hub.quarantine.count,
            "quarantine": hub.quarantine.rows(),
            "gaps": hub.gaps.status(),
            "unasked": hub.unasked,
            "last_tick_age_s": self._age_s(),
            "bus": hub.sharing.status() if hub.sharing is not None else {"role": "off"},
            "wal": hub.journal.status(),
            "streams": hub.sides.status(),
            "recorder": None if hub.nightly is None else hub.nightly.status(),
            "compared": None if hub.nightly is None else hub.nightly.comparison.status(),
            "consumers": len(hub.consumers),
            "clients": [
                {
                    "name": consumer.name,
                    "keys": len(consumer.watches),
                    "waiting": consumer.waiting,
                    "delivered": consumer.delivered,
                    "lost": consumer.lost,
                }
                for consumer in hub.consumers.values()
            ],
            "instruments": [self._truth(line) for line in self._lines.values()],
        }

    def _age_s(self) -> float | None:
        """Return the seconds since any instrument ticked, None when none has."""
        last = max((line.last_ms or 0 for line in self._lines.values()), default=0)
        return round(time.time() - last / 1000, 3) if last else None

    def _truth(self, line: Line) -> dict[str, Any]:
        """Return what became of one instrument; times in epoch milliseconds."""
        return {
            "key": line.key,
            "room": line.room,
            "consumers": len(line.watches),
            "asked_ms": line.asked_ms,
            "joined": self._hub.upstream.joined(line.room),
            "first_ms": line.first_ms,
            "last_ms": line.last_ms,
            "ticks": self._hub.lives.today.count(line.room),
            "sequence": line.sequence,
            "gaps": line.gaps,
            "gap": self._hub.gaps.of(line.room, line.key),
            **self._hub.gaps.pulse(line.room),
            "intervals": [interval.label for interval in line.series],
        }
