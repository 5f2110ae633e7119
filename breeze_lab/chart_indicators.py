"""Indicators on a chart that does not move: lines over the candles, panes below them.

What goes where is the catalogue's business; colours and panes are the same in
the live chart, which draws them in the browser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bokeh.core.properties import value
from bokeh.models import Range1d, WheelZoomTool
from bokeh.models.annotations import Legend, LegendItem, Title
from bokeh.plotting import figure

from breeze_lab.chart_looks import COLOURS, PANE_HEIGHT
from breeze_lab.errors import SettingsError
from breeze_lab.indicators.catalogue import MOST_LINES, drawn
from breeze_lab.indicators.spec import parse_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bokeh.models import Column
    from pandas import DataFrame

    from breeze_lab.indicators import Spec

__all__ = ["draw"]

#: An indicator of up to so many lines over the candles, a band, has one colour.
_ONE_COLOUR: Final = 3


def draw(layout: Column, frame: DataFrame, specs: str | Iterable[str | Spec], theme: str) -> None:
    """Add indicators to a figure of `breeze_lab.charts.candles_figure`.

    Parameters
    ----------
    layout
        With its bars.
    frame
        All bars, of which the figure shows the newest.
    specs
        As `breeze_lab.indicators.compute` takes them.
    theme
        ``"light"`` or ``"dark"``.

    Raises
    ------
    SettingsError
        One cannot be read or computed, or has more lines than a chart can show.
    """
    from breeze_lab.indicators.live import compute  # noqa: PLC0415 - loads TA-Lib

    price: Any = layout.select_one({"name": "price"})
    history: Any = layout.select_one({"name": "history"})
    lines: Any = layout.select_one({"name": "lines"})
    count = len(history.data["x"])
    data: dict[str, Any] = {"x": history.data["x"]}
    panes: list[Any] = []
    named: list[Any] = []
    shade = 0
    for spec in parse_all(specs):
        table = compute(frame, [spec]).iloc[-count:] if count else compute(frame, [spec])
        outputs = drawn(spec.entry, tuple(table.columns))
        shown = [
            (output, name)
            for output, name in zip(outputs, table.columns, strict=True)
            if output.place
        ]
        if len(shown) > MOST_LINES:
            raise SettingsError(
                f"{spec} draws more than {MOST_LINES} lines. Choose fewer: {spec.entry.signature}"
            )
        colours = COLOURS[theme]
        target = price
        if shown[0][0].place == "pane":
            target = _pane(price, str(spec), colours[shade % len(colours)])
            panes.append(target)
        one_colour = target is price and len(shown) <= _ONE_COLOUR
        for i, (output, name) in enumerate(shown):
            column = f"{'over' if target is price else 'under'}{len(data) - 1}"
            data[column] = table[name].to_numpy(float)
            colour = colours[shade % len(colours)]
            shade += not one_colour or i == len(shown) - 1
            glyph = _draw_column(target, column, output.style, lines, colour)
            if target is price and i == 0:
                named.append(LegendItem(label=value(str(spec)), renderers=[glyph]))
        if target is not price:
            _fit(target, np.concatenate([table[name].to_numpy(float) for _, name in shown]))
    lines.data = data
    _stretch(price, [column for name, column in data.items() if name.startswith("over")])
    if named:
        legend: Any = Legend  # its constructor is typed for models only
        price.add_layout(legend(
            items=named, location="top_left", orientation="horizontal", padding=2, margin=6,
            border_line_color=None, background_fill_alpha=0.0, label_text_font_size="12px",
            label_text_color=price.yaxis[0].major_label_text_color,
        ))  # fmt: skip
    children = list(layout.children)
    layout.children = [*children[:1], *panes, *children[1:]]


def _draw_column(target: Any, column: str, style: str, lines: Any, colour: str) -> Any:
    if style == "bars":
        return target.vbar(
            "x", 0.72, column, 0, source=lines, fill_color=colour, line_color=None, fill_alpha=0.5
        )
    return target.line("x", column, source=lines, line_color=colour, line_width=1.6)


def _stretch(price: Any, columns: list[Any]) -> None:
    """Let the lines into view that are visible at first, as the browser does from then on."""
    bottom, top = price.y_range.start, price.y_range.end
    floor, roof = bottom - (top - bottom), top + (top - bottom)
    first = max(int(price.x_range.start), 0)
    for column in columns:
        known = column[first:][np.isfinite(column[first:])]
        if len(known):
            bottom = min(bottom, max(float(known.min()), floor))
            top = max(top, min(float(known.max()), roof))
    price.y_range.update(start=bottom, end=top)


def _pane(price: Any, text: str, colour: str) -> Any:
    pane = figure(
        name=f"pane {text}", height=PANE_HEIGHT, x_range=price.x_range,
        y_range=Range1d(start=0, end=1), y_axis_location="right", toolbar_location=None,
        sizing_mode="stretch_width", tools="xpan", active_drag="xpan", min_border_left=0,
        min_border_right=84, min_border_top=2, min_border_bottom=2, outline_line_color=None,
    )  # fmt: skip
    pane.add_tools(WheelZoomTool(dimensions="width", modifiers={"ctrl": True}))
    pane.xaxis.visible = False
    pane.background_fill_color = pane.border_fill_color = None
    pane.styles = dict(price.styles)
    pane.xgrid.ticker = price.xgrid[0].ticker
    pane.title = Title(
        text=text, text_color=colour, text_font_size="12px", text_font_style="normal"
    )  # fmt: skip
    theirs = price.yaxis[0]
    pane.yaxis[0].update(
        axis_line_color=None, major_tick_line_color=None, minor_tick_line_color=None,
        major_label_text_font=theirs.major_label_text_font, major_label_text_font_size="11px",
        major_label_text_color=theirs.major_label_text_color, major_label_standoff=8,
    )  # fmt: skip
    pane.yaxis[0].ticker.update(desired_num_ticks=3)  # type: ignore[union-attr]
    for grid in pane.grid:
        grid.grid_line_color = price.grid[0].grid_line_color
    return pane


def _fit(pane: Any, values: Any) -> None:
    """Set the vertical range once; all its values are known."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    pad = (high - low or abs(high) or 1.0) * 0.1
    pane.y_range.update(start=low - pad, end=high + pad)
