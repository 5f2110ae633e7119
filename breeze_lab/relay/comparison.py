"""The relay's part in comparing recorded days with history: when, and how it stands.

A process of its own does the work (`breeze_lab.recordings.compare`), because
the relay loads neither the SDK nor pyarrow. It is started when a recorded day
waits and somebody is logged in to that market, outlives the relay if need be,
and says what it did in ``compare.log`` of the runtime folder.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from datetime import time as day_time
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import accounts, clock, processes
from breeze_lab.errors import BreezeLabError, SettingsError
from breeze_lab.relay import days
from breeze_lab.relay.compared import Compared, summary

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from breeze_lab.relay.days import Place

__all__ = ["WAITS", "Comparison", "calls_left", "pending", "words"]

#: Ends the process when it waits for a login, for calls or for another one, as in ``sysexits``.
WAITS: Final = 75
CALLS_VARIABLE: Final = "BREEZE_LAB_COMPARE_CALLS"
#: A fifth of the broker's day.
_CALLS: Final = 1000
#: Older days are compared by hand only: a first start must not cost months of calls.
_REACH_DAYS: Final = 7
_LOOK_S: Final = 2.0
_LIST_S: Final = 30.0
_MODULE: Final = "breeze_lab.recordings.compare"
#: What waits is tried again after this time, or as soon as somebody logs in.
_AGAIN_S: Final = 900.0


def most_calls() -> int:
    """Return how many calls a day may be spent without being asked; 0 for none.

    Raises
    ------
    SettingsError
        The variable holds no whole number.
    """
    text = os.environ.get(CALLS_VARIABLE, "").strip()
    if not text:
        return _CALLS
    if not (text.isascii() and text.isdigit()):
        raise SettingsError(f"{CALLS_VARIABLE} is a whole number, 0 for never; not {text!r}.")
    return int(text)


def calls_left() -> int:
    """Return how many of them are left today.

    Raises
    ------
    SettingsError, RecordingError
    """
    midnight = datetime.combine(clock.now().date(), day_time(), clock.IST)
    since_ms = int(midnight.timestamp()) * 1000
    spent = 0
    for place in _recent():
        if place.compared.exists():
            with Compared(place) as file:
                spent += file.calls_since(since_ms)
    return max(0, most_calls() - spent)


def _recent() -> list[Place]:
    """Return the recorded days within reach, oldest first."""
    today = clock.now().date()
    return [
        place for place in days.places()
        if 0 < (today - place.day).days <= _REACH_DAYS and place.ticks.exists()
    ]  # fmt: skip


def pending() -> list[Place]:
    """Return the recorded days within reach that are not compared whole, oldest first."""
    return [place for place in _recent() if (told := summary(place)) is None or told["waiting"]]


def words(told: Mapping[str, Any]) -> str:
    """Return a day's summary in a line."""
    of, done, wrong = told["of"], told["instruments"], told["differing"]
    instruments = f"{done}" if done == of else f"{done} of {of}"
    said = f"with history: {told['day']}, {instruments} instruments, {wrong} bars differ"
    said += f", {told['in_gap']} of them in gaps" if told["in_gap"] else ""
    return f"{said}; {told['failed']} not comparable" if told["failed"] else said


def _hindrance(left: Sequence[Place], session: accounts.Facts | None) -> str:
    """Return why none of some days can be compared now."""
    if not most_calls():
        return f"{CALLS_VARIABLE} is 0"
    if session is None or not session.good:
        return "nobody is logged in"
    if all(place.market != session.broker for place in left):
        return f"nobody is logged in to {left[-1].market}"
    return ""


class Comparison:
    """Look every two seconds whether a day waits to be compared.

    Parameters
    ----------
    runtime
        The folder of locks and logs.
    """

    def __init__(self, runtime: Path) -> None:
        """Have started nothing yet."""
        self._log = runtime / "compare.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._look_at = self._list_at = self._again_at = 0.0
        self._serial = ""
        self._places: list[Place] = []
        self._known: dict[Place, tuple[int, dict[str, Any]]] = {}
        self._waits = ""
        self._runs = 0

    def look(self) -> None:
        """Start the process when there is something to do; never raises."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        try:
            if now >= self._list_at:
                self._list_at = now + _LIST_S
                self._places = _recent()
            self._waits = self._look(now)
        except (BreezeLabError, OSError) as exc:
            self._waits = str(exc)

    def _look(self, now: float) -> str:
        """Start it, or return why it does not go on."""
        if self._child is not None:
            status = self._child.poll()
            if status is None:
                return ""
            self._child = None
            self._again_at = now + _AGAIN_S
            self._waits = "" if status in (0, WAITS) else f"it failed, see {self._log.name}"
        left = self._left()
        session = accounts.facts()
        why = _hindrance(left, session) if left else ""
        if why or not left or session is None:
            return why
        if session.serial == self._serial and now < self._again_at:
            return self._waits
        self._serial = session.serial
        self._runs += 1
        self._child = processes.spawn([sys.executable, "-m", _MODULE], self._log)
        return ""

    def _left(self) -> list[Place]:
        return [p for p in self._places if (told := self._summary(p)) is None or told["waiting"]]

    def _summary(self, place: Place) -> dict[str, Any] | None:
        """Return a day's summary, read again when its file has changed."""
        try:
            changed = place.compared.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        known = self._known.get(place)
        if known is None or known[0] != changed:
            told = summary(place)  # none while it is being written
            if told is not None:
                known = self._known[place] = changed, told
        return None if known is None else known[1]

    def status(self) -> dict[str, Any]:
        """Return the door's ``compared`` map: the newest day that was begun, and what waits.

        ``words`` is it in a line, empty where nothing was compared and nothing waits.
        """
        begun = [told for place in self._places[::-1] if (told := self._summary(place))]
        left = self._left()
        told = next((one for one in begun if one["instruments"]), {})
        said = [words(told)] if told else []
        if left:
            newest = self._summary(left[-1]) or {}
            why = self._waits or newest.get("waits") or "its turn"
            state = "is under way" if self._child is not None else f"waits: {why}"
            said.append(f"{left[-1].day} {state}")
        return {
            **{name: value for name, value in told.items() if name != "waits"},
            "runs": self._runs, "running": self._child is not None, "days_waiting": len(left),
            "words": "; ".join(said),
        }  # fmt: skip
