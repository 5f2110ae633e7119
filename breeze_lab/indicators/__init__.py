"""Indicators: pandas-ta's catalogue over our bars, whole or one bar at a time.

A pure room: no network, no disk, no screen. Names load on first use: a spec is
read and refused without TA-Lib, pandas or pandas-ta.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from breeze_lab.indicators.catalogue import entry, names
    from breeze_lab.indicators.live import Live, compute
    from breeze_lab.indicators.spec import Spec, parse, parse_all

__all__ = ["Live", "Spec", "compute", "entry", "names", "parse", "parse_all"]

_ROOM_OF = {
    "Live": "live", "Spec": "spec", "compute": "live", "entry": "catalogue", "names": "catalogue",
    "parse": "spec", "parse_all": "spec",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a name from its room on first use."""
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'breeze_lab.indicators' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"breeze_lab.indicators.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the names, loaded or not."""
    return sorted({*globals(), *__all__})
