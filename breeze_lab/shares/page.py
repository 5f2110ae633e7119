"""The page of a link: HTML, the headers that fence it in, and the scripts it may load."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import re
import secrets
import time
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.widgets import bundles

if TYPE_CHECKING:
    from breeze_lab.shares.links import Link

__all__ = ["HEADERS", "NOTHING", "SCRIPTS", "page", "script"]

#: Of every answer. The id is in the address, so the address goes to nobody and is kept nowhere.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}

NOTHING: Final = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' "
    "content='width=device-width'><title>Nothing here</title><style>:root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:30em;margin:15vh auto;padding:0 1.5em}"
    "</style><h1>Nothing here</h1><p>The link is misspelt, has ended or was withdrawn. Ask whoever "
    "gave it to you for a new one.</p>"
)

#: Where a script lies in which package.
SCRIPTS: Final = {
    "bokeh.min.js": ("bokeh", "server/static/js"),
    "bokeh-widgets.min.js": ("bokeh", "server/static/js"),
    "bokeh-tables.min.js": ("bokeh", "server/static/js"),
    "bokeh-gl.min.js": ("bokeh", "server/static/js"),
    "panel.min.js": ("panel", "dist"),
}
_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")


@functools.cache
def script(name: str) -> tuple[bytes, bytes] | None:
    """Return an installed script, plain and gzipped; None for any other name. Takes 50 ms once."""
    package, folder = SCRIPTS.get(name, ("", ""))
    found = importlib.util.find_spec(package) if package else None
    if found is None or not found.submodule_search_locations:
        return None
    plain = (Path(found.submodule_search_locations[0]) / folder / name).read_bytes()
    return plain, gzip.compress(plain, 6, mtime=0)


def page(link: Link, target: dict[str, Any], here: str, host: str) -> tuple[str, dict[str, str]]:
    """Return the page of a link and its headers.

    Parameters
    ----------
    target
        The frozen target, a live chart's with the bars there are now.
    here
        What leads from the page's address to what lies below the link, ``""`` or ``"<id>/"``.
    host
        As the viewer's browser names us.

    Notes
    -----
    The page is sandboxed into an origin of its own: whatever script a document carries, it has
    no cookie of the Jupyter server that it may come from and cannot ask it anything.
    """
    nonce = secrets.token_urlsafe(16)
    parameters = link.parameters
    facts = {
        "kind": link.kind, "title": link.title, "source": link.source, "data": link.data,
        "made_ms": link.made_ms, "expires_ms": link.expires_ms, "now_ms": time.time() * 1000,
        "as_of_s": parameters.get("as_of_s") or link.made_ms / 1000, "here": here,
        "controls": bool(parameters.get("controls")),
    }  # fmt: skip
    scripts = "".join(
        f'<script nonce="{nonce}" src="{here}static/{name}"></script>'
        for name in parameters.get("scripts", ())
        if name in SCRIPTS
    )
    parts = {
        "title": escape(link.title), "styles": bundles.styles("viewer"),
        "facts": _embedded(facts), "target": _embedded(target), "scripts": scripts,
        "script": f'<script nonce="{nonce}">{bundles.script("viewer")}</script>',
    }  # fmt: skip
    # All at once: what a title or a target says is never filled in.
    html = _PLACE.sub(lambda place: parts[place[1]], _template())
    there = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    evaluate = " 'unsafe-eval'" if parameters.get("eval") else ""  # Bokeh's CustomJS
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'{evaluate}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; font-src data:; connect-src 'self'{there}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
    )
    return html, {**HEADERS, "Content-Security-Policy": policy}


@functools.cache
def _template() -> str:
    return (resources.files("breeze_lab.shares") / "page.html").read_text("utf-8")


def _embedded(value: Any) -> str:
    """Return JSON that ends no script element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
