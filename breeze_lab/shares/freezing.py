"""Freezing: what a notebook holds, as a target that no callback and no server stands behind.

Loads Bokeh, and Panel for what is Panel's. A document is taken as it looks at
the moment of sharing; what would have to be fetched or computed later is
refused instead of being shown half.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import bokeh
from bokeh.document import Document
from bokeh.embed.util import OutputDocumentFor, standalone_docs_json_and_render_items
from bokeh.models import LayoutDOM, TileSource, WebDataSource
from bokeh.models.callbacks import CustomJS

from breeze_lab import charts, clock
from breeze_lab.errors import BreezeLabError, ShareError
from breeze_lab.shares.links import Target
from breeze_lab.shares.targets import COLUMNS, chart_target, objects, packed

if TYPE_CHECKING:
    from bokeh.model import Model

    from breeze_lab.widgets import LiveChart

__all__ = ["freeze"]

_CDN: Final = "https://cdn.holoviz.org/panel/"
_WHAT: Final = "Share a chart of %candles, a Bokeh figure or layout, or a Panel object."


def freeze(x: Any, *, title: str = "", source: str = "", data: str = "auto") -> Target:
    """Return `x` as it is now.

    Raises
    ------
    ShareError
        It is nothing that can be frozen, or has a part that cannot.
    """
    from breeze_lab.widgets import LiveChart  # noqa: PLC0415 - a document needs no ipywidgets

    if isinstance(x, LiveChart):
        return _chart(x, data)
    if data not in ("auto", "snapshot"):
        raise ShareError(
            f"{data!r:.40} is for our charts. Whose prices a figure holds nobody can know: it is "
            "shared as a snapshot."
        )
    root = x if isinstance(x, LayoutDOM) else _panel_root(x)
    return _document(root, title or _title(x), source)


def _chart(chart: LiveChart, data: str) -> Target:
    from breeze_lab.widgets import live_data  # noqa: PLC0415 - connects to the relay

    frame, hidden, fetched_s = chart.fetched
    try:
        bars = live_data.relay_bars(chart.instrument, chart.interval)
        whole = live_data.merged(frame, bars, chart.interval, fetched_s)
    except BreezeLabError:
        whole = frame  # no relay: what was fetched is what there is
    table = charts.columns(whole, limit=charts.MAX_CANDLES + hidden)
    known = charts.columns(frame, limit=1)
    return chart_target(
        json.loads(chart.config), json.loads(chart.figure),
        [table[name].tolist() for name in COLUMNS], list(chart.indicators),
        data=data, now_s=clock.now().timestamp(),
        base=[float(known[name][0]) for name in COLUMNS] if len(frame) else None,
    )  # fmt: skip


def _panel_root(x: Any) -> Model:
    """Return the Bokeh model of a Panel object, in a document of its own."""
    # Whoever holds a Panel object has loaded Panel.
    if "panel" not in sys.modules:
        raise ShareError(f"A {type(x).__name__} cannot be frozen. {_WHAT}")
    from panel.viewable import Viewable, Viewer  # noqa: PLC0415 - takes a second

    if isinstance(x, Viewer):
        x = x.__panel__()
    if not isinstance(x, Viewable):
        raise ShareError(f"A {type(x).__name__} cannot be frozen. {_WHAT}")
    try:
        root: Model = x.get_root(Document())
    except Exception as exc:
        raise ShareError(f"Panel cannot draw it: {type(exc).__name__}: {exc}") from exc
    return root


def _title(x: Any) -> str:
    if isinstance(x, LayoutDOM):
        text = getattr(getattr(x, "title", None), "text", "")
        return text if isinstance(text, str) and text else "Figure"
    name = str(getattr(x, "name", "") or "")
    # Panel names what nobody named, Column00123.
    return type(x).__name__ if not name or name.startswith(type(x).__name__) else name


def _document(root: Model, title: str, source: str) -> Target:
    models = root.references()
    for model in models:
        _refuse_what_is_alive(model)
    try:
        # Python callbacks stay behind, which is the point; Bokeh would warn of it.
        with OutputDocumentFor([root]):
            told, (item,) = standalone_docs_json_and_render_items(
                [root], suppress_callback_warning=True
            )
        ((_, document),) = told.items()
        ((root_id, _),) = item.roots.to_json().items()
        plain = json.loads(json.dumps(document))
    except ShareError:
        raise
    except Exception as exc:
        raise ShareError(f"Its document cannot be frozen: {type(exc).__name__}: {exc}") from exc
    inlined = _inline_styles(plain)
    names = {type(model).__module__ for model in models}
    scripts = ["bokeh.min.js"]
    if any(".widgets" in name and name.startswith("bokeh.") for name in names):
        scripts.append("bokeh-widgets.min.js")
    if any("tables" in name for name in names):
        scripts.append("bokeh-tables.min.js")
    if any(getattr(model, "output_backend", "") == "webgl" for model in models):
        scripts.append("bokeh-gl.min.js")
    if any(name.startswith("panel.") for name in names):
        scripts += [n for n in ("bokeh-widgets.min.js", "bokeh-tables.min.js") if n not in scripts]
        scripts.append("panel.min.js")
    return Target(
        kind="document", title=title, source=source or "A notebook", data="snapshot",
        parameters={
            "eval": any(type(model).__name__.startswith("CustomJS") for model in models),
            "scripts": scripts, "bokeh": bokeh.__version__,
            "controls": any(".widgets" in name for name in names),
        },
        body=packed({"item": {"root_id": root_id, "target_id": None, "doc": inlined,
                              "version": bokeh.__version__}}),
    )  # fmt: skip


def _refuse_what_is_alive(model: Model) -> None:
    kind = type(model)
    home = kind.__module__.partition(".")[0]
    if home not in ("bokeh", "panel"):
        raise ShareError(f"A {kind.__name__} is an extension of {home}'s and cannot be frozen.")
    if isinstance(model, (WebDataSource, TileSource)):
        raise ShareError(
            f"A {kind.__name__} fetches while it is looked at. Put its data into a "
            "ColumnDataSource, then share."
        )
    scripts = [
        getattr(kind, name, None)
        for name in ("__javascript__", "__javascript_modules__", "__javascript_raw__")
    ]
    if any(scripts) or (home == "panel" and "esm" in kind.__module__):
        raise ShareError(
            f"A {kind.__name__} needs scripts of others that a link does not hold. Share it as a "
            "Bokeh figure, an image or a table (pn.pane.DataFrame)."
        )
    if isinstance(model, CustomJS) and model.module is True:
        raise ShareError("A CustomJS that is a module loads scripts and cannot be frozen.")


def _inline_styles(plain: Any) -> Any:
    """Put Panel's style sheets into the document; refuse those of others."""
    folder = _panel_folder()
    for found in objects(plain):
        if found.get("name") != "ImportedStyleSheet":
            continue
        url = str(found.get("attributes", {}).get("url", ""))
        path = None
        if url.startswith(_CDN) and folder is not None:
            path = (folder / url.partition("/dist/")[2].partition("?")[0]).resolve()
            path = path if path.is_relative_to(folder) and path.is_file() else None
        if path is None:
            raise ShareError(f"Its style sheet {url[:120]} cannot be frozen.")
        found["name"] = "InlineStyleSheet"
        found["attributes"] = {"css": path.read_text("utf-8")}
    return plain


def _panel_folder() -> Path | None:
    panel = sys.modules.get("panel")
    return None if panel is None or panel.__file__ is None else Path(panel.__file__).parent / "dist"
