"""The relay's part in recording: it starts the recorder when a day is over, then the comparison.

The recorder is a process of its own, because the relay loads no pyarrow; it
lives for a minute, outlives the relay if need be, and says what it did in
``recorder.log`` of the runtime folder.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, processes
from breeze_lab.relay import days
from breeze_lab.relay.comparison import Comparison

if TYPE_CHECKING:
    import subprocess
    from datetime import date
    from pathlib import Path

__all__ = ["Nightly"]

_STARTING: Final = "running"


class Nightly:
    """Look once a second or so whether a day is over.

    Parameters
    ----------
    runtime
        The folder of locks and logs.
    """

    def __init__(self, runtime: Path) -> None:
        """Have started nothing yet."""
        self._log = runtime / "recorder.log"
        self._day: date | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._runs = 0
        self.comparison = Comparison(runtime)

    def look(self) -> None:
        """Start the recorder when the day has changed since the last look, or on the first."""
        recording = self._child is not None and self._child.poll() is None
        today = clock.now().date()
        if today == self._day:
            if not recording:
                self.comparison.look()
            return
        self._day = today
        if any(place.day < today for place in days.places()):
            self._runs += 1
            command = [sys.executable, "-m", "breeze_lab.relay.recorder"]
            self._child = processes.spawn(command, self._log)

    def status(self) -> dict[str, Any]:
        """Return the door's ``recorder`` map: starts, and how the last one ended."""
        state = None if self._child is None else self._child.returncode
        if self._child is not None and state is None:
            return {"runs": self._runs, "last": _STARTING}
        last = {None: "", 0: "done"}.get(state, f"failed, see {self._log.name}")
        return {"runs": self._runs, "last": last}
