"""Charts: bars drawn with Bokeh, still or ready to be moved by a browser.

Owns how candles look: panes, axes, colours, labels. Pure drawing: it fetches
nothing, listens to nothing and knows no instrument. `breeze_lab.widgets` moves
the same figure live.

The horizontal axis counts bars (0, 1, 2, …) and not time, so nights and
weekends take no room; the labels are looked up in the bars' opening times and
read in IST, whatever zone the browser is in. Bars live in two sources: all
but the newest ones in ``history``, the newest one or two in ``live``, because
replacing two rows costs the browser little while patching a long source
builds up a backlog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    CDSView,
    ColumnDataSource,
    CustomJS,
    CustomJSFilter,
    CustomJSHover,
    CustomJSTicker,
    CustomJSTickFormatter,
    HoverTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.models.annotations import Title
from bokeh.plotting import figure
from bokeh.transform import dodge

from breeze_lab import _chart_scripts as scripts
from breeze_lab import chart_indicators
from breeze_lab.chart_looks import (
    FIELDS,
    MARGIN,
    MAX_CANDLES,
    PALETTES,
    VISIBLE,
    Palette,
    Theme,
    columns,
    decimals,
    has_volume,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bokeh.models import Column
    from pandas import DataFrame

    from breeze_lab.indicators import Spec

    Specs = str | Iterable[str | Spec]

__all__ = [
    "MARGIN",
    "MAX_CANDLES",
    "PALETTES",
    "VISIBLE",
    "Palette",
    "Theme",
    "candles_figure",
    "columns",
    "decimals",
    "has_volume",
    "still",
]

#: Width of a candle's body, in candles.
WIDTH: Final = 0.72

FONT: Final = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


def candles_figure(
    frame: DataFrame | None = None,
    *,
    interval_s: int = 60,
    tick_size: float = 0.05,
    theme: Theme = "light",
    height: int = 480,
    limit: int = MAX_CANDLES,
    with_volume: bool = True,
) -> Column:
    """Return a price pane with candles and a volume pane linked below it.

    Parameters
    ----------
    frame
        open, high, low, close, volume; index: aware opening times, ascending.
        None leaves the sources empty for somebody else to fill.
    interval_s
        Length of a bar in seconds; decides the form of the time labels.
    tick_size
        Smallest price step in rupees; decides the decimals of the price axis.
    theme
        Colours to start with.
    height
        Of both panes together, in pixels.
    limit
        Most candles to draw; older ones are left out.
    with_volume
        False leaves the lower pane out: nobody trades an index.

    Returns
    -------
    bokeh.models.Column
        Models to find by name: sources ``history`` and ``live`` of bars, and ``lines`` and ``tip``
        of what is drawn over them (columns ``over0``, …); the shared range ``window``, figures
        ``price`` and ``volume``. Glyphs carry the tag ``up`` or ``down``.
    """
    empty: dict[str, Any] = {name: np.empty(0) for name in ("x", "t", *FIELDS)}
    data = empty if frame is None else columns(frame, limit=limit)
    history = ColumnDataSource(data, name="history")
    live = ColumnDataSource(empty, name="live")
    # Of indicators; the tip begins with the last row of the lines, so that no segment is missing.
    lines = ColumnDataSource({"x": np.empty(0)}, name="lines")
    tip = ColumnDataSource({"x": np.empty(0)}, name="tip")
    count = len(data["x"])
    window = Range1d(start=count - VISIBLE - 0.5, end=count - 0.5 + MARGIN, name="window")
    # No toolbar: dragging pans and the wheel zooms with Ctrl held, so a page still scrolls.
    shared: dict[str, Any] = {
        "x_range": window, "y_axis_location": "right", "toolbar_location": None,
        "sizing_mode": "stretch_width", "tools": "xpan", "active_drag": "xpan",
        "min_border_left": 0, "min_border_right": 84, "outline_line_color": None,
    }  # fmt: skip
    below = max(height // 4, 90)
    price = figure(
        name="price", height=height - below if with_volume else height, min_border_top=8,
        y_range=Range1d(start=0, end=1), min_border_bottom=2 if with_volume else 28, **shared,
    )  # fmt: skip
    volume = figure(
        name="volume", height=below, min_border_top=2,
        y_range=Range1d(start=0, end=1), min_border_bottom=28, **shared,
    )  # fmt: skip
    for source in (history, live):
        _draw_bars(price, volume, source)
    _label_axes(price, volume, {"history": history, "live": live}, interval_s, tick_size)
    for pane in (price, volume):
        pane.add_tools(WheelZoomTool(dimensions="width", modifiers={"ctrl": True}))
        _colour(pane, PALETTES[theme])
    fit = CustomJS(
        args={"history": history, "live": live, "lines": lines, "tip": tip, "window": window,
              "price": price.y_range, "volume": volume.y_range},
        code=scripts.FIT,
    )  # fmt: skip
    for source in (history, live, lines, tip):
        source.js_on_change("data", fit)
    for name in ("start", "end"):
        window.js_on_change(name, fit)
    if count:
        _fit(price, volume, data)
    price.xaxis.visible = not with_volume
    panes = [price, volume] if with_volume else [price]
    return column(*panes, sizing_mode="stretch_width", spacing=0, name="candles")


def still(
    frame: DataFrame,
    title: str = "",
    *,
    interval_s: int = 60,
    tick_size: float = 0.05,
    theme: Theme = "light",
    height: int = 480,
    indicators: Specs = (),
    shown: int = MAX_CANDLES,
) -> Column:
    """Return candles that do not move, for ``bokeh.plotting.show``, papermill or a file.

    Parameters
    ----------
    frame, interval_s, tick_size, theme, height
        See `candles_figure`.
    title
        Text above the price pane.
    indicators
        ``["ema(20)", "rsi"]`` or ``"ema(20), rsi"``; computed over all of `frame`.
    shown
        How many of the newest candles to draw; the others serve the indicators.

    Raises
    ------
    SettingsError
        An indicator cannot be read or computed.

    Returns
    -------
    bokeh.models.Column
        Hovering shows the time in IST, open, high, low, close and volume.
    """
    traded = has_volume(frame)
    layout = candles_figure(
        frame, interval_s=interval_s, tick_size=tick_size, theme=theme, height=height,
        with_volume=traded, limit=min(shown, MAX_CANDLES),
    )  # fmt: skip
    if indicators:
        chart_indicators.draw(layout, frame, indicators, theme)
    when = CustomJSHover(args={"interval": interval_s}, code=scripts.HOVER_TIME)
    for pane in [one for one in layout.children if one.name in ("price", "volume")]:
        assert isinstance(pane, figure)
        pane.add_tools(HoverTool(
            mode="vline", renderers=_of_bars(pane),
            point_policy="follow_mouse", attachment="horizontal", limit=1,
            formatters={"@t": when},
            tooltips=[("Time", "@t{custom}"), ("Open", "@open{0,0.00}"), ("High", "@high{0,0.00}"),
                      ("Low", "@low{0,0.00}"), ("Close", "@close{0,0.00}"),
                      *([("Volume", "@volume{0,0}")] if traded else [])],
        ))  # fmt: skip
    price = layout.children[0]
    assert isinstance(price, figure)
    price.title = Title(
        text=title, text_font=FONT, text_font_size="15px", text_color=PALETTES[theme].text
    )
    return layout


def _of_bars(pane: figure) -> Any:
    return [one for one in pane.renderers if one.glyph.tags]  # type: ignore[attr-defined]


def _draw_bars(price: figure, volume: figure, source: ColumnDataSource) -> None:
    # One colour per glyph is cheaper to paint than one per bar, hence a view for each direction.
    for tag, condition in (("up", ">="), ("down", "<")):
        code = scripts.DIRECTION.replace("CONDITION", condition)
        view = CDSView(filter=CustomJSFilter(args={}, code=code))
        wick = price.segment("x", "low", "x", "high", source=source, view=view)
        body = price.vbar("x", WIDTH, "open", "close", source=source, view=view)
        # A body without height would vanish. An outline on the bodies would not do: Bokeh paints
        # that of every bar beyond the left edge onto the edge.
        close = price.segment(
            dodge("x", -WIDTH / 2), "close", dodge("x", WIDTH / 2), "close",
            source=source, view=view,
        )  # fmt: skip
        traded = volume.vbar("x", WIDTH, "volume", 0, source=source, view=view)
        body.glyph.line_color = traded.glyph.line_color = None
        traded.glyph.fill_alpha = 0.55
        for renderer in (wick, body, close, traded):
            renderer.glyph.tags = [tag]
            renderer.nonselection_glyph = renderer.muted_glyph = None


def _label_axes(
    price: figure, volume: figure, bars: dict[str, Any], interval_s: int, tick_size: float
) -> None:
    args = {**bars, "interval": interval_s, "pane": price}
    ticker = CustomJSTicker(args=args, major_code=scripts.TICKS)
    times = CustomJSTickFormatter(args=args, code=scripts.TIME_LABEL)
    price.yaxis.formatter = CustomJSTickFormatter(
        args={"decimals": decimals(tick_size)}, code=scripts.PRICE_LABEL
    )
    volume.yaxis.formatter = CustomJSTickFormatter(code=scripts.VOLUME_LABEL)
    price.yaxis.ticker.update(desired_num_ticks=7)  # type: ignore[union-attr]
    volume.yaxis.ticker.update(desired_num_ticks=2)  # type: ignore[union-attr]
    for pane in (price, volume):
        pane.xaxis.ticker = pane.xgrid.ticker = ticker
        pane.xaxis.formatter = times
        for axis in (*pane.xaxis, *pane.yaxis):
            axis.update(
                axis_line_color=None, major_tick_line_color=None, minor_tick_line_color=None,
                major_label_text_font=FONT, major_label_text_font_size="11px",
                major_label_standoff=8,
            )  # fmt: skip


def _colour(pane: figure, palette: Palette) -> None:
    # The page's background shines through: filling frame and border apart leaves a seam.
    pane.background_fill_color = pane.border_fill_color = None
    # Bokeh clears its canvas half a pixel off, so the first column keeps a trace of what was there.
    pane.styles = {"background-color": palette.background, "clip-path": "inset(0 0 0 1px)"}
    for grid in pane.grid:
        grid.grid_line_color = palette.grid
    for axis in (*pane.xaxis, *pane.yaxis):
        axis.major_label_text_color = palette.text
    for renderer in pane.renderers:
        glyph = renderer.glyph  # type: ignore[attr-defined]
        colour = palette.up if "up" in glyph.tags else palette.down
        if hasattr(glyph, "fill_color"):
            glyph.fill_color = colour
        if glyph.line_color is not None:
            glyph.line_color = colour


def _fit(price: figure, volume: figure, data: dict[str, Any]) -> None:
    """Set both vertical ranges to what is visible at first; the browser does it from then on."""
    low = float(np.nanmin(data["low"][-VISIBLE:]))
    high = float(np.nanmax(data["high"][-VISIBLE:]))
    pad = (high - low or abs(high) * 0.001 or 1.0) * 0.1
    price.y_range.update(start=low - pad, end=high + pad)
    most = float(np.nanmax(data["volume"][-VISIBLE:], initial=0.0))
    volume.y_range.update(start=0, end=most * 1.15 or 1.0)
