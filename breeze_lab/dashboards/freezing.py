"""How a thing of a notebook becomes text that another process can show.

Looks at the thing's own modules and imports none of its own accord: who
publishes a table need not wait for Bokeh. What would look alive and be dead is
refused.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from types import FunctionType
from typing import Any, Final

from breeze_lab.dashboards import functions
from breeze_lab.errors import BreezeLabError, PublishError

__all__ = ["frame_text", "frozen"]

#: A chart that was made in a notebook holds at most this many candles.
_MOST_BARS: Final = 1000
_WHAT_CAN: Final = (
    "What can be published: a chart of breeze_lab.candles, a Bokeh figure, a Panel pane or layout, "
    "a DataFrame, a picture, a text, or a function that returns one of these."
)


def frozen(thing: Any) -> tuple[str, Any]:
    """Return the kind of `thing` and its payload, JSON values.

    Raises
    ------
    PublishError
        It cannot be shown elsewhere, or not as what it is here.
    """
    if isinstance(thing, FunctionType):
        return "function", functions.packed(thing)
    if isinstance(thing, str):
        return "text", {"text": thing}
    for module, name, freeze in _KINDS:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(thing, kind):
            made: tuple[str, Any] = freeze(thing)
            return made
    return _picture(thing)


# --- charts and documents ------------------------------------------------------------------------


def _chart(chart: Any) -> tuple[str, Any]:
    return "chart", {
        "key": chart.instrument.key, "interval": chart.interval.label,
        "indicators": list(chart.indicators),
    }  # fmt: skip


def _bokeh(model: Any) -> tuple[str, Any]:
    for one in model.references():
        # Bokeh's own warning about files without a server looks at the same two.
        called = [name for name, known in one._callbacks.items() if known]  # noqa: SLF001
        called += list(one._event_callbacks)  # noqa: SLF001
        if called:
            raise PublishError(
                f"This {type(model).__name__} has Python callbacks ({type(one).__name__}, "
                f"{called[0]}), which a published document cannot call. Use js_on_change or "
                "CustomJS, or publish a function that returns it: then each viewer has one that "
                "works."
            )
    return "bokeh", _document(model)


def _document(model: Any) -> Any:
    from bokeh.document import Document  # noqa: PLC0415 - loaded by whoever made the model

    # A figure that is shown in the notebook belongs to its document: a copy leaves it there.
    document = Document()
    home = model.document
    if home is not None:
        home.remove_root(model)
    try:
        document.add_root(model)
        told = document.to_json(deferred=False)
        json.dumps(told)
    except (RuntimeError, TypeError, ValueError, BreezeLabError) as exc:
        raise PublishError(f"This {type(model).__name__} cannot be written down: {exc}") from exc
    finally:
        document.clear()
        if home is not None:
            home.add_root(model)
    return told


def _panel(viewable: Any) -> tuple[str, Any]:
    import panel as pn  # noqa: PLC0415 - loaded by whoever made it

    alive = (pn.widgets.Widget, pn.param.ParamRef, pn.custom.ReactiveESM, pn.reactive.ReactiveHTML)
    found = viewable.select(lambda one: isinstance(one, alive))
    if found:
        raise PublishError(
            f"There is a {type(found[0]).__name__} in it, which talks to this kernel; published as "
            "it is, it would be dead. Publish a function that returns the whole: then each viewer "
            "has one that works."
        )
    return "panel", _document(viewable.get_root())


# --- tables, pictures, texts ---------------------------------------------------------------------


def frame_text(frame: Any) -> str:
    """Return a DataFrame as Parquet in base64.

    Raises
    ------
    PublishError
        A column holds what no table file can.
    """
    plain = frame.copy(deep=False)
    plain.attrs = {}
    buffer = io.BytesIO()
    try:
        plain.to_parquet(buffer)
    except (TypeError, ValueError, ArithmeticError) as exc:
        raise PublishError(
            f"This table cannot be written down: {exc}. Keep the columns of numbers, texts and "
            "times."
        ) from exc
    return base64.b64encode(buffer.getvalue()).decode()


def _frame(frame: Any) -> tuple[str, Any]:
    return "frame", {"parquet": frame_text(frame)}


def _series(series: Any) -> tuple[str, Any]:
    return _frame(series.to_frame(series.name if series.name is not None else "value"))


def _figure(figure: Any) -> tuple[str, Any]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    return "image", {"png": base64.b64encode(buffer.getvalue()).decode()}


def _widget(widget: Any) -> tuple[str, Any]:
    raise PublishError(
        f"This {type(widget).__name__} talks to this kernel, which viewers do not have. "
        f"{_WHAT_CAN} Arguments of a function become controls."
    )


def _picture(thing: Any) -> tuple[str, Any]:
    for method, kind, name in (
        ("_repr_svg_", "image", "svg"), ("_repr_png_", "image", "png"),
        ("_repr_html_", "html", "html"),
    ):  # fmt: skip
        made = getattr(thing, method, lambda: None)()
        if isinstance(made, bytes):
            made = base64.b64encode(made).decode()
        if isinstance(made, str) and made:
            return kind, {name: made}
    raise PublishError(f"This {type(thing).__name__} cannot be published. {_WHAT_CAN}")


#: Module, class and what freezes it; a class whose module nobody has loaded, nobody has one of.
_KINDS: Final = (
    ("breeze_lab.widgets", "LiveChart", _chart),
    ("ipywidgets", "Widget", _widget),
    ("pandas", "DataFrame", _frame),
    ("pandas", "Series", _series),
    ("panel.viewable", "Viewable", _panel),
    ("bokeh.models", "LayoutDOM", _bokeh),
    ("matplotlib.figure", "Figure", _figure),
)
