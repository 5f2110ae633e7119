"""The chart board: several live charts, of which the page's address knows everything.

The page asks for one chart at a time and is answered with what a notebook's
chart gets: a figure, the history and the name of a subscription. Live prices
and indicators then come from the Jupyter server, as in a notebook.
"""

from __future__ import annotations

import base64
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import param
from panel.custom import JSComponent

from breeze_lab import lab
from breeze_lab.errors import BreezeLabError, SettingsError
from breeze_lab.widgets import bundles

__all__ = ["Board", "answer"]

_log: Final = logging.getLogger(__name__)
_HEIGHT: Final = 360
_MOST_INDICATORS: Final = 12
_LONGEST_TEXT: Final = 80
#: A history takes as long as the broker does: other pages must not wait for it.
_workers: Final = ThreadPoolExecutor(4, thread_name_prefix="board")


class Board(JSComponent):
    """Charts of a page; what they are is in its address, unless `fixed` says it."""

    _esm = bundles.script("dash_board")
    _stylesheets = [bundles.styles("dash_board")]  # noqa: RUF012 - Panel's own spelling

    fixed = param.List([], doc="Charts with key, interval and indicators, which cannot be changed.")

    def _handle_msg(self, data: Any) -> None:
        _workers.submit(self._answer, data)

    def _answer(self, data: Any) -> None:
        """On a thread of ours; Panel passes the message to the page's loop."""
        self._send_msg(answer(data))


def answer(asked: Any) -> dict[str, Any]:
    """Return what a page needs to draw one chart, or the ``message`` why there is none.

    Parameters
    ----------
    asked
        ``id``, ``key`` (any name), ``interval`` and ``indicators`` (texts), from a page and so
        of any shape.

    Returns
    -------
    dict
        ``id``, ``config``, ``figure`` and ``indicators`` of a `LiveChart`, and its ``bars`` in
        base64.
    """
    number = asked.get("id") if isinstance(asked, dict) else None
    try:
        name, interval, specs = _read(asked)
        chart = lab.candles(name, interval, indicators=specs, height=_HEIGHT)
    except BreezeLabError as exc:
        return {"id": number, "message": str(exc)}
    except Exception as exc:  # noqa: BLE001 - a page must not wait in vain, whatever it was
        _log.exception("A chart of the board failed.")
        return {"id": number, "message": f"The chart failed ({type(exc).__name__}): {exc}"}
    told = {
        "id": number, "config": chart.config, "figure": chart.figure,
        "indicators": list(chart.indicators), "bars": base64.b64encode(chart.bars).decode(),
    }  # fmt: skip
    chart.close()
    return told


def _read(asked: Any) -> tuple[str, str, list[str]]:
    if not isinstance(asked, dict):
        raise SettingsError("A board asks for a chart with a key, an interval and indicators.")
    name, interval, specs = (asked.get(one) for one in ("key", "interval", "indicators"))
    if not isinstance(name, str) or not isinstance(interval, str) or not isinstance(specs, list):
        raise SettingsError("A chart of the address is KEY,INTERVAL,INDICATOR;INDICATOR.")
    if len(specs) > _MOST_INDICATORS or not all(isinstance(one, str) for one in specs):
        raise SettingsError(f"A chart of the board has at most {_MOST_INDICATORS} indicators.")
    if any(len(text) > _LONGEST_TEXT for text in (name, interval, *specs)):
        raise SettingsError(f"Names are at most {_LONGEST_TEXT} letters long.")
    return name, interval, specs
