"""The search widget: type, look, pick.

Owns what a pick means in Python: `Search.value`, `Search.instrument` and the
callbacks. The page asks the Jupyter server where it can, so that results come
while a cell runs; elsewhere (VS Code, Panel) it asks here, by the widget's own
messages. The same script serves all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets

from breeze_lab import listing, session, watchlist
from breeze_lab.errors import BreezeLabError
from breeze_lab.widgets import bundles

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.instruments import Instrument

__all__ = ["Search", "answer"]

_MOST_ROWS: Final = 100
_LONGEST_TEXT: Final = 80


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one question of the page: ``search`` or ``watch``.

    Parameters
    ----------
    message
        ``op``, ``id``, and ``text`` and ``limit``, or ``key``.

    Returns
    -------
    dict
        ``id`` with ``groups`` (see `breeze_lab.listing`) or ``says``, or with
        ``error``, a sentence.
    """
    reply: dict[str, Any] = {"op": "answer", "id": message.get("id")}
    try:
        if message.get("op") == "watch":
            wanted = session.current().resolve(str(message.get("key", "")))
            key, _ = wanted.key, wanted.quote_room  # refuses what has no stream
            watchlist.add(key)
            return reply | {"says": f"{key} is on the watchlist now."}
        text = str(message.get("text", ""))[:_LONGEST_TEXT]
        limit = min(max(int(message.get("limit", 40)), 1), _MOST_ROWS)
        return reply | listing.found(session.current().master, text, limit)
    except BreezeLabError as exc:
        return reply | {"error": str(exc)}


def _market() -> str:
    """Return whose instruments are meant; empty where nobody is logged in, and the server knows."""
    try:
        return session.current().endpoints.name
    except BreezeLabError:
        return ""


class Search(anywidget.AnyWidget):
    """Find an instrument by typing; shown when it is the last line of a cell.

    Parameters
    ----------
    text
        What to search for at first.
    on_pick
        Called with the `Instrument` after every pick.

    Attributes
    ----------
    value : str
        Key of the picked instrument, ``"NSE:RELIANCE"``; empty before.
    instrument : Instrument or None

    Examples
    --------
    >>> found = breeze_lab.widgets.Search("relianc")  # doctest: +SKIP
    >>> found.instrument.stock_code  # doctest: +SKIP
    'RELIND'
    """

    _esm = bundles.script("search")
    _css = bundles.styles("search")

    text = traitlets.Unicode("").tag(sync=True)
    market = traitlets.Unicode("").tag(sync=True)
    value = traitlets.Unicode("").tag(sync=True)
    chart = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, text: str = "", *, on_pick: Callable[[Instrument], Any] | None = None
    ) -> None:
        """Show what `text` finds, at first."""
        self.instrument: Instrument | None = None
        self._listeners: list[Callable[[Instrument], Any]] = [on_pick] if on_pick else []
        self._chart: Any = None
        super().__init__(text=text, market=_market())
        self.on_msg(self._on_message)

    def on_pick(self, callback: Callable[[Instrument], Any]) -> None:
        """Call `callback` with the `Instrument` of every later pick."""
        self._listeners.append(callback)

    def __repr__(self) -> str:
        """Say what is picked, for front ends that show no widgets."""
        return f"Search({self.value!r})"

    @traitlets.observe("value")
    def _picked(self, change: dict[str, Any]) -> None:
        key = change["new"]
        try:
            self.instrument = session.current().resolve(key) if key else None
        except BreezeLabError as exc:
            self.instrument = None
            self.send({"op": "says", "text": str(exc), "bad": True})
            return
        if self.instrument is not None:
            for callback in self._listeners:
                callback(self.instrument)

    def _on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("op") in ("search", "watch"):
            self.send(answer(content))
        elif content.get("op") == "chart":
            self._show_chart(str(content.get("key", "")))

    def _show_chart(self, key: str) -> None:
        from breeze_lab import lab  # noqa: PLC0415 - loads Bokeh and pandas, on the first chart

        try:
            chart = lab.candles(key)
        except BreezeLabError as exc:
            self.send({"op": "says", "text": str(exc), "bad": True})
            return
        before, self._chart = self._chart, chart
        self.chart = f"IPY_MODEL_{chart.model_id}"
        self.send({"op": "says", "text": f"Chart of {key}."})
        if before is not None:
            before.close()

    def close(self) -> None:
        """Take the search and its chart off the page."""
        if self._chart is not None:
            self._chart.close()
        super().close()
