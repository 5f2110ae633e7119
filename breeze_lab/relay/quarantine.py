"""Quarantine: the frames that could not be read, counted, and the newest of them kept.

A malformed frame is never fatal and never silent: whoever looks at the status
sees how many there were, and of the newest when and why.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from breeze_lab import clock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KEPT", "Quarantine"]

_log: Final = logging.getLogger(__name__)

#: How many are kept.
KEPT: Final = 50
#: They are logged one by one only up to here.
_LOGGED: Final = 20
_LONGEST: Final = 200
_HIDDEN: Final = "(hidden)"


class Quarantine:
    """What could not be read.

    Attributes
    ----------
    count
        How many there were.
    on_add
        Hears the event and the reason of each.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self.on_add: Callable[[str, str], None] | None = None
        self.count = 0
        self._rows: deque[tuple[str, str, str]] = deque(maxlen=KEPT)
        self._secrets: set[str] = set()

    def hide(self, secret: str) -> None:
        """Never show `secret`, should a frame hold it."""
        if secret:
            self._secrets.add(secret)

    def add(self, event: str, reason: str) -> None:
        """Keep one frame's reason.

        Parameters
        ----------
        event
            The event's name, ``"stock"``.
        reason
            Why it could not be read; it may quote the frame.
        """
        for secret in self._secrets:
            reason = reason.replace(secret, _HIDDEN)
        reason = reason[:_LONGEST]
        self.count += 1
        self._rows.append((clock.now().isoformat(timespec="milliseconds"), event, reason))
        if self.on_add is not None:
            self.on_add(event, reason)
        if self.count <= _LOGGED:
            _log.warning("Skipped a malformed frame: %s", reason)

    def rows(self) -> list[list[str]]:
        """Return the newest as ``[time in IST, event, reason]``, the newest last."""
        return [list(row) for row in self._rows]
