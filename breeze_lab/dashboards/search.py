"""The search as a Panel component: the widget's own script, without Jupyter.

`search_pane` returns a column of the search and, below it, a still chart of
what was charted last. Serve it with ``panel serve``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import panel as pn
import param
from panel.custom import AnyWidgetComponent

from breeze_lab import lab, session
from breeze_lab.errors import BreezeLabError
from breeze_lab.widgets import bundles
from breeze_lab.widgets.search import answer

if TYPE_CHECKING:
    from breeze_lab.instruments import Instrument

__all__ = ["SearchPane", "search_pane"]


class SearchPane(AnyWidgetComponent):
    """The search box of a Panel page; `value` is the key of what was picked.

    Attributes
    ----------
    value : str
        ``"NSE:RELIANCE"``; empty before a pick.
    charted : str
        Key of what a row's chart button asked for.
    """

    _esm = bundles.script("search")
    _stylesheets = [bundles.styles("search")]  # noqa: RUF012 - Panel's own spelling

    text = param.String("", doc="What to search for at first.")
    market = param.String("", doc="Whose instruments; the session's by default.")
    value = param.String("", doc="Key of the picked instrument.")
    chart = param.String("", doc="Unused here: the chart is a pane of its own.")
    charted = param.String("", doc="Key of what to chart.")
    request = param.String("", doc="The page's newest question, as JSON.")

    @property
    def instrument(self) -> Instrument | None:
        """The picked instrument, or None."""
        return session.current().resolve(self.value) if self.value else None

    @param.depends("request", watch=True)
    def _on_request(self) -> None:
        try:
            message: dict[str, Any] = json.loads(self.request or "{}")
        except ValueError:
            return  # a page of ours sends JSON; anything else is nobody's question
        if message.get("op") in ("search", "watch"):
            self.send(answer(message))
        elif message.get("op") == "chart":
            self.charted = str(message.get("key", ""))


def search_pane(*, charts: bool = True, **options: Any) -> pn.Column:
    """Return the search with, below it, the picked or charted instrument's candles.

    Parameters
    ----------
    charts
        Whether to draw candles below.
    **options
        Of `SearchPane`, such as ``text="reliance"``.

    Examples
    --------
    >>> search_pane().servable()  # doctest: +SKIP
    """
    box = SearchPane(sizing_mode="stretch_width", **options)
    if not charts:
        return pn.Column(box)
    return pn.Column(box, pn.bind(_candles, box.param.charted), sizing_mode="stretch_width")


def _candles(key: str) -> Any:
    if not key:
        return pn.Spacer(height=0)
    from breeze_lab import charts  # noqa: PLC0415 - loads Bokeh's models, on the first chart

    try:
        frame = lab.history(key, "1m")
    except BreezeLabError as exc:
        return pn.pane.Alert(str(exc), alert_type="danger")
    return pn.pane.Bokeh(charts.still(frame, title=key), sizing_mode="stretch_width")
