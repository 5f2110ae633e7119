"""The pages: their frame, and what is in each.

A page is a frame of ours (title, colours, the address of the Jupyter server)
with Panel components in it. *Market overview* and *Jobs* ask the Jupyter
server's own routes from the browser and go on when this process ends; *Chart
board* gets the history of its charts from here (`breeze_lab.dashboards.board`),
and their live prices from the feed.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import panel as pn
import param
from panel.custom import JSComponent
from panel.theme import DarkTheme, DefaultTheme, Native

from breeze_lab import clock
from breeze_lab.dashboards import PAGES, published, thawing
from breeze_lab.dashboards.board import Board
from breeze_lab.errors import BreezeLabError
from breeze_lab.widgets import bundles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Head", "Jobs", "Market", "applications", "framed", "theme"]

_AGE_MS: Final = 10_000
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (10, "s"))
_STYLES: Final = """
h1, p, li { font-family: Inter, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
p, li { font-size: 14px; }
h1 { color: var(--jp-ui-font-color1); font-size: 18px; margin: 6px 0; overflow-wrap: anywhere; }
p, li { color: var(--jp-ui-font-color1); margin: 4px 0; overflow-wrap: anywhere; }
.bl-soft { color: var(--jp-ui-font-color2); font-size: 12.5px; }
.bl-bad { color: #d9434e; }
a { color: var(--jp-brand-color1); font-weight: 600; text-decoration: none; }
code { overflow-wrap: anywhere; }
.bl-published { list-style: none; margin: 0; padding: 0; }
.bl-published li { padding: 10px 0; border-bottom: 1px solid var(--jp-border-color2); }
"""
_TEMPLATE: Final = """
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
    // What Bokeh and Panel draw has its colours from the server, which is told once.
    const query = new URLSearchParams(location.search);
    const told = asked ?? query.get("auto") ?? "light";
    if ({{ themed }} && theme !== told) {
      query.set("auto", theme);
      location.replace(`${location.pathname}?${query}`);
    }
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


def framed(page: str, body: Any, *, title: str = "", themed: bool = False) -> pn.Template:
    """Return the page with the line above it.

    Parameters
    ----------
    page
        Path, one of `breeze_lab.dashboards.PAGES`.
    body
        What Panel can show.
    title
        Of the browser's window; the page's own by default.
    themed
        Whether Bokeh and Panel draw in it, whose colours come from here.
    """
    dark = themed and theme() == "dark"
    frame = pn.Template(_TEMPLATE, theme=DarkTheme if dark else DefaultTheme, design=Native)
    frame.add_variable("themed", "true" if themed else "false")
    frame.add_variable("page_title", title or PAGES[page])
    head = Head(page=page, pages=[list(one) for one in PAGES.items()], sizing_mode="stretch_width")
    frame.add_panel("head", head)
    frame.add_panel("body", body)
    return frame


def theme() -> str:
    """Return ``"dark"`` when the address of this page asks for it, else ``"light"``."""
    arguments = pn.state.session_args or {}
    asked = arguments.get("theme") or arguments.get("auto") or [b""]
    return "dark" if asked[0] == b"dark" else "light"


def applications() -> dict[str, Callable[[], pn.Template]]:
    """Return what makes each page, by its path."""
    return {
        "market": lambda: framed("market", Market(sizing_mode="stretch_width")),
        "board": lambda: framed("board", Board(sizing_mode="stretch_width")),
        "jobs": lambda: framed("jobs", Jobs(sizing_mode="stretch_width")),
        "published": _published,
    }


def _published() -> pn.Template:
    """Return the page of what is published by the name in the address, or of all there is."""
    name = (pn.state.session_args or {}).get("name", [b""])[0].decode(errors="replace")
    if not name:
        return framed("published", _list())
    pn.extension("tabulator")
    try:
        item, payload = published.get(name)
        body = thawing.shown(item.kind, payload, theme())
    except BreezeLabError as exc:
        return framed("published", _text(f"<p class='bl-bad' role='alert'>{escape(str(exc))}</p>"))
    about = _text(_about(item))

    def grow() -> None:
        about.object = _about(item)

    pn.state.add_periodic_callback(grow, _AGE_MS)  # its age, while somebody looks
    whole = pn.Column(
        _text(f"<h1>{escape(name)}</h1>"), body, about, sizing_mode="stretch_width"
    )  # fmt: skip
    return framed("published", whole, title=name, themed=True)


def _list() -> pn.viewable.Viewable:
    found = "".join(
        f"<li><a href='published?{escape(urlencode({'name': one.name}))}'>{escape(one.name)}</a>"
        f"{_about(one)}</li>"
        for one in published.published()
    )
    hint = 'breeze_lab.publish(breeze_lab.candles("RELIANCE"), name="Reliance")'
    nothing = f"<p>Nothing is published yet. In a notebook: <code>{escape(hint)}</code></p>"
    return _text(f"<ul class='bl-published'>{found}</ul>" if found else nothing)


def _about(item: published.Item) -> str:
    """Return the line that says what it is, how old and whose."""
    age = max((clock.now() - item.made).total_seconds(), 0)
    old = next((f"{age // size:.0f} {unit}" for size, unit in _UNITS if age >= size), "moments")
    kind = "made anew for each viewer" if item.live else "as it was then"
    market = {"practice": "practice data", "icici": "data of ICICI Direct"}.get(item.market, "")
    parts = [
        f"{item.kind}, {kind}", f"published {item.made:%d-%m-%Y %H:%M} IST, {old} ago",
        f"from {item.notebook}" if item.notebook else "", market,
    ]  # fmt: skip
    return f"<p class='bl-soft'>{escape(' · '.join(filter(None, parts)))}</p>"


def _text(words: str) -> pn.pane.HTML:
    return pn.pane.HTML(words, stylesheets=[_STYLES], sizing_mode="stretch_width", margin=0)
