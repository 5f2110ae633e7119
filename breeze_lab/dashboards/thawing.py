"""What was published, as something Panel shows to one viewer."""

from __future__ import annotations

import asyncio
import base64
import inspect
import io
import logging
import threading
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, Final

import panel as pn
from bokeh.document import Document
from bokeh.models import LayoutDOM, Plot
from panel.io.state import set_curdoc

from breeze_lab import clock
from breeze_lab.dashboards import functions
from breeze_lab.dashboards.board import Board
from breeze_lab.errors import BreezeLabError, PublishError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shown"]

_log: Final = logging.getLogger(__name__)
_WIDE: Final = {"sizing_mode": "stretch_width"}
#: Wider than a phone: it scrolls inside itself, and the page does not.
_INSIDE: Final = {"overflow-x": "auto", "max-width": "100%"}
_PAGE_ROWS: Final = 25
#: Calls under way at once; one that never ends keeps its place until the process does.
_MOST_CALLS: Final = 16
_calls = threading.BoundedSemaphore(_MOST_CALLS)


def shown(kind: str, payload: Any, theme: str = "light") -> pn.viewable.Viewable:
    """Return what a viewer sees of something published.

    Parameters
    ----------
    kind, payload
        See `breeze_lab.dashboards.freezing.frozen`.
    theme
        ``"light"`` or ``"dark"``.

    Raises
    ------
    PublishError
        It cannot be shown by this version.
    """
    if kind == "function":
        try:
            return _called(functions.unpacked(payload), theme)
        except Exception as exc:  # noqa: BLE001 - the user's own imports and definitions
            return _failed(exc)
    try:
        return _still(kind, payload, theme)
    except (KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise PublishError(
            f"It cannot be shown any more ({type(exc).__name__}: {exc}). Publish it again."
        ) from exc


def _still(kind: str, payload: Any, theme: str) -> pn.viewable.Viewable:
    if kind == "chart":
        return Board(fixed=[payload], **_WIDE)
    if kind in ("bokeh", "panel"):
        document = Document.from_json(payload)
        (root,) = document.roots
        document.clear()
        if kind == "panel":  # its letters have the colour they had: dark ones
            styles = {**_INSIDE, "background": "#fff", "border-radius": "10px"}
            return pn.Column(pn.pane.Bokeh(root, **_WIDE), styles=styles, **_WIDE)
        return _document(root, theme)
    if kind == "frame":
        import pandas as pd  # noqa: PLC0415 - only for a table

        return _table(pd.read_parquet(io.BytesIO(base64.b64decode(payload["parquet"]))), theme)
    return _picture(kind, payload)


def _picture(kind: str, payload: Any) -> pn.viewable.Viewable:
    if kind == "text":
        return pn.pane.Markdown(payload["text"], styles=_INSIDE, **_WIDE)
    if kind == "html":
        return pn.pane.HTML(payload["html"], styles=_INSIDE, **_WIDE)
    if kind == "image":
        if "png" in payload:
            source = f"data:image/png;base64,{payload['png']}"
        else:
            drawn = base64.b64encode(payload["svg"].encode()).decode()
            source = f"data:image/svg+xml;base64,{drawn}"
        return pn.pane.HTML(f"<img alt='' style='max-width:100%' src='{escape(source)}'>", **_WIDE)
    raise PublishError(f"This version does not know what a {kind!r} is.")


def _document(root: Any, theme: str) -> pn.viewable.Viewable:
    if isinstance(root, Plot) and root.sizing_mode is None:
        root.sizing_mode = "stretch_width"  # 600 pixels are too many for a phone
    colours = "dark_minimal" if theme == "dark" else None
    return pn.Column(pn.pane.Bokeh(root, theme=colours, **_WIDE), styles=_INSIDE, **_WIDE)


def _table(frame: Any, theme: str) -> pn.viewable.Viewable:
    return pn.widgets.Tabulator(
        _in_ist(frame), theme="midnight" if theme == "dark" else "simple",
        disabled=True, pagination="local", page_size=_PAGE_ROWS, show_index=True,
        layout="fit_data_fill", **_WIDE,
    )  # fmt: skip


def _in_ist(frame: Any) -> Any:
    """Return the table with its aware times as IST wall time: a browser would show UTC."""
    import pandas as pd  # noqa: PLC0415 - only for a table

    def local(values: Any) -> Any:
        return values.dt.tz_convert(clock.IST).dt.tz_localize(None)

    frame = frame.copy(deep=False)
    for name in frame.columns[[isinstance(kind, pd.DatetimeTZDtype) for kind in frame.dtypes]]:
        frame[name] = local(frame[name])
    if isinstance(frame.index, pd.DatetimeIndex) and frame.index.tz is not None:
        frame.index = frame.index.tz_convert(clock.IST).tz_localize(None)
        frame.index.name = f"{frame.index.name or 'time'} (IST)"
    return frame


def _value(value: Any, theme: str) -> Any:
    """Return what a function returned, as Panel shows it."""
    import pandas as pd  # noqa: PLC0415 - a function has loaded it, or it costs this page once

    from breeze_lab.widgets import LiveChart  # noqa: PLC0415

    if isinstance(value, LiveChart):
        chart = {
            "key": value.instrument.key, "interval": value.interval.label,
            "indicators": list(value.indicators),
        }  # fmt: skip
        value.close()
        return Board(fixed=[chart], **_WIDE)
    if isinstance(value, pn.viewable.Viewable):
        return value
    if isinstance(value, LayoutDOM):
        return _document(value, theme)
    if isinstance(value, pd.Series):
        value = value.to_frame(value.name if value.name is not None else "value")
    if isinstance(value, pd.DataFrame):
        return _table(value, theme)
    return pn.panel(value, **_WIDE)


def _failed(exc: BaseException) -> pn.viewable.Viewable:
    kind = "" if isinstance(exc, BreezeLabError) else f"{type(exc).__name__}: "
    words = f"<div role='alert' class='bl-failed'>{escape(kind)}{escape(str(exc))}</div>"
    return pn.pane.HTML(
        words, styles={"color": "var(--bl-failed, #c62f3b)", "overflow-wrap": "anywhere"}, **_WIDE
    )


def _called(function: Callable[..., Any], theme: str) -> pn.viewable.Viewable:
    """Return a place for what `function` returns, and the controls of its arguments."""
    controls = _controls(function)
    place = pn.Column(pn.pane.HTML("Running…"), **_WIDE)
    document = pn.state.curdoc
    assert document is not None
    newest = [0]

    def put(number: int, found: Any) -> None:
        if number == newest[0]:  # an older call may end after a newer one
            place[:] = [found]

    def work(number: int, given: dict[str, Any]) -> None:
        """On a thread of its own: other pages must not wait for somebody's loop."""
        try:
            with set_curdoc(document):
                made = function(**given)
                if inspect.iscoroutine(made):
                    made = asyncio.run(made)
                found = _value(made, theme)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the viewer is told
            _log.exception("A published function failed.")
            found = _failed(exc)
        finally:
            _calls.release()
        document.add_next_tick_callback(partial(put, number, found))

    def call(*_: Any) -> None:
        newest[0] += 1
        if not _calls.acquire(blocking=False):
            busy = PublishError(f"{_MOST_CALLS} published functions run already. Try again later.")
            put(newest[0], _failed(busy))
            return
        given = {name: control.value for name, control in controls.items()}
        # A daemon: a loop without an end must not keep the process from ending.
        threading.Thread(
            target=work, args=(newest[0], given), name="published", daemon=True
        ).start()

    for control in controls.values():
        control.param.watch(call, "value")
    pn.state.onload(call)  # when somebody sees the page, not when it is fetched
    if not controls:
        return place
    return pn.Column(pn.FlexBox(*controls.values(), **_WIDE), place, **_WIDE)


def _controls(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a widget for each argument whose default says what it may be."""
    found: dict[str, Any] = {}
    for one in inspect.signature(function).parameters.values():
        options = {"name": one.name.replace("_", " "), "width": 200}
        match one.default:
            case bool():
                found[one.name] = pn.widgets.Checkbox(value=one.default, **options)
            case int():
                found[one.name] = pn.widgets.IntInput(value=one.default, **options)
            case float():
                found[one.name] = pn.widgets.FloatInput(value=one.default, **options)
            case str():
                found[one.name] = pn.widgets.TextInput(value=one.default, **options)
            case [first, *_]:
                found[one.name] = pn.widgets.Select(
                    options=list(one.default), value=first, **options
                )
    return found
