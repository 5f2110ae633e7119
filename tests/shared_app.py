"""A Panel object with callbacks, as somebody shares it; ``panel serve`` runs this file, too.

Every callback that runs leaves a line in the file ``SHARED_APP_NOTES`` names.
"""

from __future__ import annotations

import os
from pathlib import Path

import panel as pn
from bokeh.plotting import figure


def note(text: object) -> None:
    with Path(os.environ["SHARED_APP_NOTES"]).open("a") as file:
        file.write(f"{text}\n")


def board():
    """Return a board with a slider, a text, a button and a figure, and its slider."""
    slider = pn.widgets.IntSlider(start=0, end=100, value=3)
    words = pn.widgets.TextInput(value="hold")
    button = pn.widgets.Button()
    plot = figure(height=200, width=300, title="Closes")
    plot.line([1, 2, 3], [3, 1, 2])
    slider.param.watch(lambda event: note(f"slider {event.new}"), "value")
    words.param.watch(lambda event: note(f"text {event.new}"), "value")
    button.on_click(lambda _event: note("bought"))
    return pn.Column("# Board", slider, words, button, plot, name="Board"), slider


if pn.state.served:
    board()[0].servable()
