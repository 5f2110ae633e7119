"""Bundles: which of our scripts and style sheets make which widget.

Plain scripts in one scope, joined in order, and one line of exports: no build
chain. A widget carries its bundle into the notebook's page; JupyterLab's own
extension fetches ``lab`` from the server extension, which therefore imports
this room and nothing heavier.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

__all__ = ["BUNDLES", "script", "styles"]

_ASSETS: Final = Path(__file__).parent / "assets"

#: Scripts, style sheets and the exports of every bundle.
BUNDLES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...], str]]] = {
    "chart": (
        (
            "0_page",
            "0_session",
            "1_bars",
            "2_feed",
            "3_plot",
            "3_indicators",
            "3_menu",
            "3_share",
            "4_chart",
        ),
        ("session", "chart", "indicators", "share"),
        "export default { render: render_chart };",
    ),
    "search": (
        ("0_page", "0_session", "5_search"),
        ("session", "search"),
        "export default { render: render_search };",
    ),
    "login": (
        ("0_page", "0_session", "6_login"),
        ("session", "login"),
        "export default { render: render_login };",
    ),
    "truth": (
        ("0_page", "0_session", "9_truth"),
        ("session", "truth"),
        "export default { render: render_truth };",
    ),
    "viewer": (
        ("0_page", "1_bars", "2_viewer", "3_plot", "3_indicators", "4_chart", "5_viewer"),
        ("session", "chart", "indicators", "viewer"),
        "view();",
    ),
    "lab": (
        ("0_page", "0_session", "1_bars", "2_feed", "5_search", "6_login", "7_watchlist", "8_lab"),
        ("session", "search", "login", "lab"),
        "export { begin };",
    ),
    # Of the dashboards: components of Panel, one a page and one above all of them.
    "dash_head": (
        ("0_page", "0_session", "9_dash_head"),
        ("session", "dash"),
        "export { render_dash_head as render };",
    ),
    "dash_market": (
        ("0_page", "0_session", "1_bars", "2_feed", "5_search", "9_dash_market"),
        ("session", "search", "dash"),
        "export { render_dash_market as render };",
    ),
    "dash_board": (
        (
            "0_page",
            "0_session",
            "1_bars",
            "2_feed",
            "3_plot",
            "3_indicators",
            "3_menu",
            "4_chart",
            "5_search",
            "9_dash_board",
        ),
        ("session", "chart", "indicators", "search", "dash"),
        "export { render_dash_board as render };",
    ),
    "dash_jobs": (
        ("0_page", "0_session", "1_bars", "9_dash_jobs"),
        ("session", "dash"),
        "export { render_dash_jobs as render };",
    ),
}


@functools.cache
def script(bundle: str) -> str:
    """Return the JavaScript module of `bundle`."""
    names, _, exports = BUNDLES[bundle]
    parts = [(_ASSETS / f"{name}.js").read_text("utf-8") for name in names]
    return "\n".join([*parts, exports, ""])


@functools.cache
def styles(bundle: str) -> str:
    """Return the style sheet of `bundle`."""
    return "\n".join((_ASSETS / f"{name}.css").read_text("utf-8") for name in BUNDLES[bundle][1])
