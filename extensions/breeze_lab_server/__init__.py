"""Breeze Lab inside a Jupyter server: it keeps the relay alive and lets browsers reach it.

A package of its own, because the server process never needs what a notebook
imports (pandas, Bokeh, ipywidgets).
"""

from __future__ import annotations

from breeze_lab_server.app import BreezeLabServer

__all__ = ["BreezeLabServer"]


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    """Tell a Jupyter server what to load."""
    return [{"module": "breeze_lab_server", "app": BreezeLabServer}]
