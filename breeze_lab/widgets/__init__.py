"""Widgets: what a notebook shows and a browser keeps moving.

Names load on first use, because the server extension reads `bundles` and must
load neither ipywidgets nor Bokeh.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from breeze_lab.widgets.live_chart import LiveChart
    from breeze_lab.widgets.login import Login
    from breeze_lab.widgets.search import Search
    from breeze_lab.widgets.truth_table import TruthTable

__all__ = ["LiveChart", "Login", "Search", "TruthTable"]

_ROOM_OF = {"LiveChart": "live_chart", "Login": "login", "Search": "search",
            "TruthTable": "truth_table"}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a widget from its room on first use."""
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'breeze_lab.widgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"breeze_lab.widgets.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the widgets, loaded or not."""
    return sorted({*globals(), *__all__})
