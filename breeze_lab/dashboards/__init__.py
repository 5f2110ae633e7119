"""Dashboards: Panel pages over the same values, in a process of their own.

``python -m breeze_lab.dashboards`` serves them on a Unix socket; the Jupyter server is the only
way in (``breeze_lab_server.dashboards``). What notebooks publish is kept by
`breeze_lab.dashboards.book`. Importing this room loads neither Panel nor Bokeh.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DOOR", "PAGES"]

#: The header with the secret of the ready record, which every request to the process carries.
DOOR: Final = "X-Breeze-Lab-Door"

#: Path and title of every page.
PAGES: Final = {
    "market": "Market overview", "board": "Chart board", "jobs": "Jobs", "published": "Published",
}  # fmt: skip
