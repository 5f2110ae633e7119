"""Watches: a function that runs for each event, on a thread of its own.

However slow it is, and whatever it raises, the feed, the kernel and other
functions go on. A slow one of a ``latest`` stream gets the newest tick next
and a count of those it skipped.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import traceback
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Final

from breeze_lab.feed import FeedBar, FeedTick, Lost
from breeze_lab.streaming.readers import LOOK_S, Reader
from breeze_lab.streaming.values import LiveBar, LiveTick

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.feed import Delivery
    from breeze_lab.streaming.readers import Subject
    from breeze_lab.streaming.store import Store

__all__ = ["Watch", "WatchDisplay"]

_log: Final = logging.getLogger(__name__)

#: Failures in a row after which a function is stopped.
MOST_ERRORS: Final = 100
#: How long whoever stops a watch waits for a run that is under way.
_GRACE_S: Final = 0.3


class _Stopped(BaseException):
    """Raised inside a run that has to end now."""


class WatchDisplay:
    """What is shown of a watch; this one shows nothing. Called on the watch's thread."""

    #: Whether a failure is also a `FeedWarning`, because nothing else shows it.
    warns: ClassVar = True

    def running(self) -> AbstractContextManager[object]:
        """Return what surrounds the life of the thread."""
        return nullcontext()

    def idle_s(self) -> float:
        """Return how long to wait for the next event before `look` is called."""
        return LOOK_S

    def before(self, watch: Watch) -> None:
        """Prepare for a run."""

    def look(self, watch: Watch) -> None:
        """Show how it stands, if that is due."""

    def failed(self, watch: Watch, error: BaseException) -> None:
        """Show an error of the function."""

    def ended(self, watch: Watch) -> None:
        """Show that it is over, and why: ``watch.reason``."""


class Watch:
    """A function and its thread; what ``feed.on_tick`` returns.

    Parameters
    ----------
    store, owner
        As of `breeze_lab.streaming.readers.Ticks`.
    function
        Called with each tick, bar or event, on the watch's thread.
    subject, delivery, forming
        See `breeze_lab.streaming.readers.Reader`.
    most_errors
        Failures in a row after which it is stopped.
    limit
        Stop after this many runs.
    display
        What shows it.

    Attributes
    ----------
    runs, errors
        How often it ran, and how many runs failed.
    error
        The last exception with its traceback, or None.
    reason
        Why it ended; empty while it runs.
    """

    def __init__(
        self,
        store: Store,
        owner: object,
        function: Callable[[Any], object],
        subject: Subject,
        *,
        delivery: Delivery,
        forming: bool = False,
        most_errors: int = MOST_ERRORS,
        limit: int | None = None,
        display: WatchDisplay | None = None,
        name: str = "",
    ) -> None:
        """Start the thread."""
        self.name = name or getattr(function, "__name__", "function")
        self.runs = self.errors = self._taken = 0
        self.error: BaseException | None = None
        self.reason = ""
        self._store, self._owner, self._function = store, owner, function
        self._most_errors, self._limit = most_errors, limit
        self._display = display or WatchDisplay()
        self._row = 0
        self._lock = threading.Lock()  # guards _inside and reason
        self._inside = False
        self._over = threading.Event()
        self._reader = Reader(subject, delivery, forming=forming)
        self._thread = threading.Thread(
            target=self._run, name=f"breeze-lab {self.name}"[:60], daemon=True
        )
        store.admit(self._reader)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it will run again."""
        return not self.reason

    @property
    def skipped(self) -> int:
        """How many ticks or bars it was too slow for."""
        return max(0, self._reader.offered - self._reader.waiting - self._taken)

    def stop(self, reason: str = "stopped", *, interrupt: bool = False) -> None:
        """End it; stopping again does nothing.

        Parameters
        ----------
        reason
            What to show.
        interrupt
            Break a run that is under way and does not end within a moment, too:
            at its next step of Python, so not in the middle of a sleep.
        """
        with self._lock:
            self.reason = self.reason or reason
        self._reader.close()
        if threading.current_thread() is self._thread or self._over.wait(_GRACE_S * interrupt):
            return
        if interrupt:
            with self._lock:
                if self._inside:
                    _raise_in(self._thread, _Stopped)
            self._over.wait(_GRACE_S)

    def __repr__(self) -> str:
        state = self.reason or "running"
        return f"<Watch {self.name}: {state}, {self.runs} runs, {self.skipped} skipped>"

    # -- its thread -------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._display.running():
                try:
                    self._serve()
                except _Stopped:
                    pass
                finally:
                    self._inside = False
                    self.reason = self.reason or "the stream was closed"
                    self._reader.close()
                    self._display.ended(self)
        except Exception:  # noqa: BLE001 - what shows it failed, and there is nobody to tell
            _log.exception("The watch %s ended.", self.name)
        finally:
            self._owner = None  # a stream nobody else holds may go
            self._over.set()

    def _serve(self) -> None:
        while not self.reason:
            event: Any = self._reader.get(self._display.idle_s())
            if self.reason:
                return
            if event is not None:
                self._take(event)
            elif self._reader.closed or self._store.over:
                return
            self._display.look(self)

    def _take(self, event: Any) -> None:
        if isinstance(event, Lost):
            self._store.slow(event, f"the function {self.name}")
            return
        self._taken += 1
        match event:
            case FeedTick():
                self._call(LiveTick(event))
            case FeedBar():
                self._call(LiveBar(event))
            case _:
                self._call(event)

    def _call(self, value: object) -> None:
        self._display.before(self)
        try:
            try:
                with self._lock:
                    if self.reason:
                        return
                    self._inside = True
                self._function(value)
            finally:
                with self._lock:
                    self._inside = False
        except Exception as exc:  # noqa: BLE001 - somebody's code must hurt nobody else
            self._failed(exc)
        else:
            self._row = 0
        self.runs += 1
        if self._limit is not None and self.runs >= self._limit:
            self.reason = self.reason or f"done after {self.runs} runs"

    def _failed(self, error: Exception) -> None:
        self.error = error
        self.errors += 1
        self._row += 1
        line = traceback.format_exception_only(error)[-1].strip()
        place = traceback.extract_tb(error.__traceback__)[-1]
        if self._row >= self._most_errors:
            times = "" if self._row == 1 else f" ({self._row} times in a row)"
            self.reason = self.reason or f"stopped by {type(error).__name__}{times}"
        self._display.failed(self, error)
        # Not the exception itself: its frames hold what the function held, maybe large frames.
        text = f"the function {self.name} failed in line {place.lineno} of {place.filename}: {line}"
        self._store.note("callback", text, warn=self._display.warns)


def _raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    """Raise `kind` in another thread, at its next step of Python."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(kind)
        )
