"""What can be frozen is, as it is now; what cannot is refused by name."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import panel as pn
import pytest
from bokeh.models import AjaxDataSource, CustomJS, Div, ImportedStyleSheet, WMTSTileSource
from bokeh.plotting import figure

from breeze_lab.errors import ShareError
from breeze_lab.shares.freezing import freeze


def plot(**options):
    made = figure(title="Closes", **options)
    made.line(np.arange(4.0), np.array([1.0, np.nan, 3.0, 2.0]))
    return made


def test_a_figure_is_frozen_with_its_numbers_and_its_name():
    """Arrays, gaps and all; the page needs Bokeh's script and no right to evaluate text."""
    shown = plot()
    target = freeze(shown, source="a study")
    assert (target.kind, target.title, target.source) == ("document", "Closes", "a study")
    assert target.data == "snapshot"
    assert target.parameters["scripts"] == ["bokeh.min.js"]
    assert target.parameters["eval"] is False
    item = json.loads(target.body)["item"]
    assert item["root_id"] == shown.id
    # As it was when it was shared: what is drawn later is not in it.
    shown.title.text = "Later"
    assert "Later" not in target.body.decode()


def test_a_panel_board_holds_its_own_styles_and_asks_nobody():
    """Style sheets are in the document, and no address of anybody is."""
    board = pn.Column("# Hello", pn.widgets.IntSlider(start=0, end=3), plot(), name="Morning")
    target = freeze(board)
    assert target.title == "Morning"
    assert target.parameters["controls"] is True
    assert "panel.min.js" in target.parameters["scripts"]
    text = target.body.decode()
    assert "ImportedStyleSheet" not in text
    assert not re.findall(r'"url": ?"https?:', text)


def test_a_document_with_scripts_is_known_to_need_them():
    """Only its page may evaluate text."""
    shown = plot()
    shown.x_range.js_on_change("start", CustomJS(code="console.log(1)"))
    assert freeze(shown).parameters["eval"] is True


def fetching():
    shown = figure()
    shown.line("x", "y", source=AjaxDataSource(data_url="http://elsewhere.example/x"))
    return shown


def tiled():
    shown = figure()
    shown.add_tile(WMTSTileSource(url="http://elsewhere.example/{Z}/{X}/{Y}.png"))
    return shown


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (fetching, "fetches while it is looked at"),
        (tiled, "fetches while it is looked at"),
        (lambda: pn.widgets.Tabulator(pd.DataFrame({"a": [1]})), "scripts of others"),
        (lambda: Div(stylesheets=[ImportedStyleSheet(url="http://elsewhere.example/x.css")]),
         "style sheet"),
        (lambda: pd.DataFrame({"a": [1]}), "A DataFrame cannot be frozen"),
        (lambda: print, "cannot be frozen. Share a chart"),
        (lambda: None, "cannot be frozen"),
    ],
)  # fmt: skip
def test_what_cannot_be_frozen_is_refused_by_name(thing, words):
    """The message says what it is and what to share instead."""
    with pytest.raises(ShareError, match=words):
        freeze(thing())


@pytest.mark.parametrize("data", ["practice", "lagged", "live"])
def test_a_figure_is_a_snapshot_and_nothing_else(data):
    """Whose prices it holds nobody can know."""
    with pytest.raises(ShareError, match="snapshot"):
        freeze(plot(), data=data)


def test_a_line_shares_what_a_name_holds_and_withdraws_it(home):
    """`%share NAME 2d` gives a link, `%shares revoke` ends it; a wrong name is said."""
    from IPython.core.error import UsageError
    from IPython.core.interactiveshell import InteractiveShell
    from share_viewer import serving

    from breeze_lab.share_magic import ShareMagics

    shell = InteractiveShell()
    shell.register_magics(ShareMagics)
    shell.user_ns["closes"] = plot()
    with serving():
        link = shell.run_line_magic("share", "closes 2d")
        assert (link.link.title, link.link.data) == ("Closes", "snapshot")
        assert link.link.expires_ms - link.link.made_ms == 2 * 86_400_000
        assert link.url.endswith(f"/s/{link.token}")
        assert [one.name for one in shell.run_line_magic("shares", "")] == [link.name]
        shell.run_line_magic("shares", f"revoke {link.name}")
        assert len(shell.run_line_magic("shares", "")) == 0
        with pytest.raises(ShareError, match="snapshot"):
            shell.run_line_magic("share", "closes 2d lagged")
        with pytest.raises(UsageError, match="no 'openings'"):
            shell.run_line_magic("share", "openings")
