"""What a notebook publishes: how it is kept, what comes back of it, and what is refused."""

from __future__ import annotations

import json
import math
import stat
import sys

import bokeh.plotting
import ipywidgets
import pandas as pd
import panel as pn
import pytest
from bokeh.document import Document
from panel.widgets import IntSlider

import breeze_lab
from breeze_lab.dashboards import freezing, functions, published, thawing
from breeze_lab.errors import PublishError

pytestmark = pytest.mark.usefixtures("home")

SPAN = 20
NAMES = {"NSE:NIFTY": (1, 2.5, None)}
TABLE = pd.DataFrame(
    {"close": [1.0, 2.5], "at": pd.date_range("2026-11-20 09:15", periods=2, tz="Asia/Kolkata")}
)
OPEN = [sys.stdout]


def of_notebook(function):
    """Make a function of this file look like one of a notebook, whose module nobody can import."""
    function.__module__ = "__main__"
    return function


@of_notebook
def twice(number):
    return number * 2


@of_notebook
def report(top=3, which=("close", "open")):
    return f"{which[0]} {top} {twice(SPAN)} {math.sqrt(16)} {NAMES} {TABLE['close'].sum()}"


@of_notebook
def even(number=4):
    return number == 0 or odd(number - 1)


@of_notebook
def odd(number=3):
    return number != 0 and even(number - 1)


def print_change(attr, old, new):
    print(attr, old, new)


@of_notebook
def needs(symbol):
    return symbol


@of_notebook
def holds():
    return OPEN


@of_notebook
def misspelt():
    return brezee_lab.candles("RELIANCE")  # noqa: F821 - that is the point


@of_notebook
def beside():
    return only_here.VALUE  # noqa: F821 - a test puts it there


def test_a_function_brings_along_what_it_names():
    """Helpers by source, modules by name, values and tables as they are; all of it is JSON."""
    told = json.loads(json.dumps(functions.packed(report)))
    again = functions.unpacked(told)
    assert again() == report()
    assert again(top=5) == report(top=5)
    assert again.__globals__ is not report.__globals__
    assert set(told["sources"]) == {"twice", "report"}
    assert told["imports"]["math"] == ["math", ""]


def test_functions_that_call_each_other_and_closures_come_back():
    """A pair that calls each other, and what a function closes over."""
    again = functions.unpacked(functions.packed(even))
    assert again(10)
    assert not again(7)

    def made(most):
        def inside(step=2):
            return list(range(0, most, step))

        return of_notebook(inside)

    again = functions.unpacked(functions.packed(made(7)))
    assert again() == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (needs, "needs symbol"),
        (holds, "'OPEN', a list that lives in this kernel only"),
        (misspelt, "'brezee_lab', which is not defined"),
        (of_notebook(lambda: 3), "A lambda has no name"),
    ],
)
def test_a_function_that_cannot_cross_is_refused(function, words):
    """The message names what is in the way; nothing is published."""
    with pytest.raises(PublishError, match=words):
        breeze_lab.publish(function, name="x")
    assert breeze_lab.published() == []


def test_a_module_of_the_notebooks_folder_is_refused(tmp_path, monkeypatch):
    """The dashboards' process would not find it."""
    (tmp_path / "only_here.py").write_text("VALUE = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setitem(globals(), "only_here", __import__("only_here"))
    with pytest.raises(PublishError, match="lies beside this notebook"):
        breeze_lab.publish(beside, name="x")


def test_what_would_be_dead_is_refused():
    """A widget of this kernel, Panel's widgets, Python callbacks, and what nobody can show."""
    figure = bokeh.plotting.figure()
    figure.x_range.on_change("start", print_change)
    things = [
        (ipywidgets.IntSlider(), "talks to this kernel"),
        (IntSlider(), "publish a function|Publish a function"),
        (pn.Column(IntSlider()), "Publish a function"),
        (figure, "Python callbacks"),
        (object(), "cannot be published"),
        (pd.DataFrame({"a": [object()]}), "cannot be written down"),
    ]
    for thing, words in things:
        with pytest.raises(PublishError, match=words):
            breeze_lab.publish(thing, name="x")


def test_a_figure_is_published_as_it_is_and_stays_where_it_was():
    """Its document comes back with its data; the notebook's own figure keeps its document."""
    figure = bokeh.plotting.figure(title="Nifty")
    figure.line([1, 2, 3], [3.0, 1.0, 2.0])
    home = Document()
    home.add_root(figure)
    kind, payload = freezing.frozen(figure)
    assert kind == "bokeh"
    assert home.roots == [figure]
    (root,) = Document.from_json(json.loads(json.dumps(payload))).roots
    assert root.title.text == "Nifty"
    assert list(root.renderers[0].data_source.data["y"]) == [3.0, 1.0, 2.0]


def test_a_table_comes_back_in_indian_time():
    """Values and times; a browser would show aware times in UTC, so they are IST wall time."""
    breeze_lab.publish(TABLE, name="Table")
    item, payload = published.get("Table")
    shown = thawing.shown(item.kind, payload).value
    assert list(shown["close"]) == [1.0, 2.5]
    assert str(shown["at"].iloc[0]) == "2026-11-20 09:15:00"


@pytest.mark.parametrize("name", ["", " x", ".x", "x" * 61, "a\nb", None, 3])
def test_a_name_is_a_title(name):
    """What cannot be one is refused."""
    with pytest.raises(PublishError, match="no name for a page"):
        breeze_lab.publish("words", name=name)


def test_it_is_kept_replaced_listed_and_taken_away(home):
    """One file a name, the owner's alone, whatever the name has in it."""
    breeze_lab.publish("one", name="a/../b: निफ्टी 50 %")
    breeze_lab.publish("two", name="a/../b: निफ्टी 50 %")
    item, payload = published.get("a/../b: निफ्टी 50 %")
    assert (item.kind, payload, item.live) == ("text", {"text": "two"}, False)
    (path,) = (home / "data" / "published").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in breeze_lab.published()] == ["a/../b: निफ्टी 50 %"]
    breeze_lab.unpublish("a/../b: निफ्टी 50 %")
    assert breeze_lab.published() == []
    with pytest.raises(PublishError, match="Nothing is published as 'gone'"):
        breeze_lab.unpublish("gone")


def test_a_damaged_file_is_told_and_hides_no_other(home):
    """The list goes on without it; asking for it says what to do."""
    breeze_lab.publish("one", name="good")
    (home / "data" / "published" / "bad.json").write_text('{"name": "bad"')
    assert [one.name for one in breeze_lab.published()] == ["good"]
    with pytest.raises(PublishError, match="Publish it again"):
        published.get("bad")
    with pytest.raises(PublishError, match="does not know what a 'hologram' is"):
        thawing.shown("hologram", {})


def test_what_is_too_big_is_refused(monkeypatch):
    """A browser gets all of it."""
    monkeypatch.setattr(published, "MOST_BYTES", 1000)
    with pytest.raises(PublishError, match="more than a browser should get"):
        breeze_lab.publish("x" * 2000, name="big")
    assert breeze_lab.published() == []
