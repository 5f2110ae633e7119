"""The pages: their frame, and what is in each.

A page is a frame of ours (title, colours, the address of the Jupyter server)
with Panel components in it. *Market overview* and *Jobs* ask the Jupyter
server's own routes from the browser and go on when this process ends; *Chart
board* gets the history of its charts from here (`breeze_lab.dashboards.board`),
and their live prices from the feed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn
import param
from panel.custom import JSComponent

from breeze_lab.dashboards import PAGES
from breeze_lab.dashboards.board import Board
from breeze_lab.widgets import bundles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Head", "Jobs", "Market", "applications", "framed", "theme"]

_TEMPLATE = """
{% extends base %}
{% block title %}{{ page_title }} · Breeze Lab{% endblock %}
{% block postamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<script id="jupyter-config-data" type="application/json"></script>
<style>
:root { color-scheme: light; --jp-layout-color1: #fff; --jp-layout-color2: #f1f3f7;
  --jp-ui-font-color1: #141a24; --jp-ui-font-color2: #5b6472; --jp-border-color2: #dfe3ea;
  --jp-brand-color1: #1b66c9; }
:root[data-theme=dark] { color-scheme: dark; --jp-layout-color1: #111418;
  --jp-layout-color2: #1b1f26; --jp-ui-font-color1: #e6eaf0; --jp-ui-font-color2: #9aa3b2;
  --jp-border-color2: #2c323b; --jp-brand-color1: #7fb2ff; }
html, body { background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); }
body { font: 14px/1.45 Inter, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { box-sizing: border-box; max-width: 1440px; margin: 0 auto; padding: 0 16px 40px; }
@media (max-width: 600px) { main { padding: 0 10px 32px; } }
</style>
<script>
(() => {
  // Everything is below one path, whatever the server's base URL is.
  const base = location.pathname.replace(/breeze-lab\\/dash\\/.*$/, "");
  document.getElementById("jupyter-config-data").textContent = JSON.stringify({ baseUrl: base });
  const asked = new URLSearchParams(location.search).get("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const put_on = () => {
    const theme = ["light", "dark"].includes(asked) ? asked : dark.matches ? "dark" : "light";
    document.documentElement.dataset.theme = theme;
    if (document.body) document.body.dataset.jpThemeLight = String(theme === "light");
  };
  put_on();
  document.addEventListener("DOMContentLoaded", put_on);
  dark.addEventListener("change", put_on);
})();
</script>
{% endblock %}
{% block contents %}
<main>{{ embed(roots.head) }}{{ embed(roots.body) }}</main>
{% endblock %}
"""


class _Ours(JSComponent):
    """A component made of one of our bundles."""

    __abstract = True


class Head(_Ours):
    """The line above every page: where one is, where one can go, and the session's clock."""

    _esm = bundles.script("dash_head")
    _stylesheets = [bundles.styles("dash_head")]  # noqa: RUF012 - Panel's own spelling

    page = param.String("", doc="Path of the page.")
    pages = param.List([], doc="Path and title of each page.")


class Market(_Ours):
    """Watchlist, movers and the state of the feed; each value with its age and source."""

    _esm = bundles.script("dash_market")
    _stylesheets = [bundles.styles("dash_market")]  # noqa: RUF012


class Jobs(_Ours):
    """Runs of the scheduled notebooks; a failed one can be tried again."""

    _esm = bundles.script("dash_jobs")
    _stylesheets = [bundles.styles("dash_jobs")]  # noqa: RUF012


def framed(page: str, body: Any, *, title: str = "") -> pn.Template:
    """Return the page with the line above it.

    Parameters
    ----------
    page
        Path, one of `breeze_lab.dashboards.PAGES`.
    body
        What Panel can show.
    title
        Of the browser's window; the page's own by default.
    """
    frame = pn.Template(_TEMPLATE)
    frame.add_variable("page_title", title or PAGES[page])
    head = Head(page=page, pages=[list(one) for one in PAGES.items()], sizing_mode="stretch_width")
    frame.add_panel("head", head)
    frame.add_panel("body", body)
    return frame


def theme() -> str:
    """Return ``"dark"`` when the address of this page asks for it, else ``"light"``."""
    asked = (pn.state.session_args or {}).get("theme", [b""])[0]
    return "dark" if asked == b"dark" else "light"


def applications() -> dict[str, Callable[[], pn.Template]]:
    """Return what makes each page, by its path."""
    return {
        "board": lambda: framed("board", Board(sizing_mode="stretch_width")),
        "market": lambda: framed("market", Market(sizing_mode="stretch_width")),
        "jobs": lambda: framed("jobs", Jobs(sizing_mode="stretch_width")),
    }
