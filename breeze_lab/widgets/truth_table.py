"""The truth table as a widget: what became of every instrument, about once a second.

The page asks the Jupyter server by itself, so neither a blocked kernel nor a
restarted one stops it, and changes only the cells that changed. Where there is
no such server a thread of the kernel asks the feed and hands the page the whole
table; it lives while a view does. How the status is read is the business of
`breeze_lab.truth`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any, Final

import anywidget
import traitlets

from breeze_lab import feed, processes, settings, truth
from breeze_lab.errors import BreezeLabError
from breeze_lab.relay.metrics import Budget
from breeze_lab.widgets import bundles

__all__ = ["TruthTable"]

_log: Final = logging.getLogger(__name__)

_ANSWER_TIMEOUT_S: Final = 4.0
#: A page that went away without a word, a closed laptop's, is sent nothing after this long.
_FORGOTTEN_S: Final = 600.0
#: So many rows a second are sent at most; a longer table comes less often.
_ROWS_A_SECOND: Final = 500


class TruthTable(anywidget.AnyWidget):
    """Asked, joined, first and last tick, ticks, gaps and age of every instrument.

    Parameters
    ----------
    every_s
        Seconds between two looks of the kernel.

    Notes
    -----
    The page element carries ``data-mood`` (of the upstream), ``data-stale`` when
    nobody answered for some seconds, and ``data-looks``, the number of
    tables shown. Where no widget can be shown it is the same table once, as HTML or
    text.
    """

    _esm = bundles.script("truth")
    _css = bundles.styles("truth")

    table = traitlets.Unicode("{}").tag(sync=True)

    def __init__(self, every_s: float = 1.0) -> None:
        """Look once a page shows it."""
        self.every_s = every_s
        self._feed: feed.Feed | None = None
        self._budget = Budget()
        self._views: dict[str, float] = {}  # when each was last heard of, monotonic
        self._wake = threading.Event()
        self._lock = threading.Lock()  # guards _views and _thread
        self._thread: threading.Thread | None = None
        super().__init__()
        self.on_msg(self._on_message)

    def look(self) -> truth.Truth:
        """Return the table as it is now; a relay is not started for that, and nothing is raised.

        Blocking, for a few seconds when the relay does not answer.
        """
        budget = self._budget.look()
        try:
            if processes.running(settings.folders().runtime, "relay") is None:
                return truth.read(None, budget)
            if self._feed is None or self._feed.closed:
                self._feed = feed.connect()
            return truth.read(self._feed.status(timeout_s=_ANSWER_TIMEOUT_S), budget)
        except BreezeLabError as exc:
            return truth.read(None, budget, error=str(exc))

    @property
    def looking(self) -> bool:
        """Whether this kernel keeps a page up to date."""
        return self._thread is not None

    def close(self) -> None:
        """Take the table off the page."""
        with self._lock:
            self._views.clear()
        self._wake.set()
        super().close()

    def __repr__(self) -> str:
        """Return the table as text, for front ends that show no widgets."""
        return str(self.look())

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Add the table as HTML, for pages that show no widgets."""
        bundle = super()._repr_mimebundle_(**options)
        if bundle is not None:
            bundle[0]["text/html"] = self.look()._repr_html_()
        return bundle

    def _on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        view = str(content.get("view", ""))[:40]
        with self._lock:
            if content.get("op") == "here":
                self._views[view] = time.monotonic()
                if self._thread is None:
                    self._wake.clear()
                    self._thread = threading.Thread(
                        target=self._run, name="breeze-lab-truth", daemon=True
                    )
                    self._thread.start()
            elif content.get("op") == "gone":
                self._views.pop(view, None)
                if not self._views:
                    self._wake.set()

    def _watched(self) -> bool:
        """Say whether a page still wants it; when none does, this thread ends."""
        with self._lock:
            before = time.monotonic() - _FORGOTTEN_S
            self._views = {view: at for view, at in self._views.items() if at > before}
            if not self._views:
                self._thread = None
            return bool(self._views)

    def _run(self) -> None:
        while self._watched():
            try:
                found = self.look()
                self.table = json.dumps({**found.to_dict(), "now_ms": time.time_ns() // 1_000_000})
                pause_s = self.every_s * max(1, len(found.rows) // _ROWS_A_SECOND)
            except Exception:  # noqa: BLE001 - a table that fails once may be shown the next time
                _log.exception("The truth table failed.")
                pause_s = 10.0
            self._wake.wait(pause_s)
            self._wake.clear()
