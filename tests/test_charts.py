"""Charts: what is drawn, what the browser is given, and the kernel's way to the relay."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from breeze_lab import chart_figures, charts, clock, processes, settings
from breeze_lab.bars import Bar, Interval
from breeze_lab.errors import SettingsError
from breeze_lab.feed import FeedBar
from breeze_lab.indicators.live import compute, table_of
from breeze_lab.instruments import Instrument
from breeze_lab.widgets import LiveChart
from breeze_lab.widgets.live_data import merged
from breeze_lab.widgets.relay_comm import RelayComm

RELIANCE = Instrument("RELIANCE", "RELIND", "NSE", "2885", "RELIANCE INDUSTRIES", tick_size=0.05)
MONDAY = datetime(2026, 11, 23, 9, 15, tzinfo=clock.IST)


def history(count=300, start=MONDAY, step=timedelta(minutes=1)):
    """Return bars that rise by a rupee each, with nights between the days of 375 minutes."""
    index = []
    moment = start
    while len(index) < count:
        if moment.hour * 60 + moment.minute < 930:
            index.append(moment)
            moment += step
        else:
            moment = (moment + timedelta(days=1)).replace(hour=9, minute=15)
    prices = 100.0 + np.arange(count)
    frame = {"open": prices, "high": prices + 1, "low": prices - 1, "close": prices + 0.5}
    return pd.DataFrame(
        {**frame, "volume": np.arange(count) + 1}, index=pd.DatetimeIndex(index, tz=clock.IST)
    )


def relay_bar(start, price, volume, *, whole, forming=True):
    bar = Bar(start, Interval.M1, price, price + 2, price - 2, price, volume, complete=False)
    return FeedBar("NSE:RELIANCE", bar, forming=forming, whole=whole)


def test_nights_take_no_room():
    """The last minute of a day and the first of the next are neighbours on the axis."""
    frame = history(400)
    data = charts.columns(frame)
    assert list(np.diff(data["x"])) == [1.0] * 399
    assert max(np.diff(data["t"])) > 60_000
    assert clock.from_epoch(data["t"][375]) == MONDAY + timedelta(days=1)


def test_indicators_are_drawn_on_a_still_chart():
    """Lines over the candles and a pane for the oscillator, of the bars that are shown."""
    layout = charts.still(history(), indicators="ema(20), bbands(20), rsi", shown=100)
    assert [pane.name for pane in layout.children] == ["price", "pane rsi", "volume"]
    lines = layout.select_one({"name": "lines"}).data
    assert sorted(lines) == ["over0", "over1", "over2", "over3", "under4", "x"]
    assert all(len(column) == 100 and np.isfinite(column).all() for column in lines.values())
    low, high = layout.children[0].y_range.start, layout.children[0].y_range.end
    assert low <= lines["over1"].min()
    assert lines["over3"].max() <= high
    assert charts.still(history()).select_one({"name": "lines"}).data["x"].size == 0
    with pytest.raises(SettingsError, match="Nearest: ema"):
        charts.still(history(), indicators="emaa")


def test_a_live_chart_hides_the_bars_of_its_indicators(monkeypatch):
    """The browser gets more bars than it shows, and the frame behind the chart is the shown ones."""
    chart = LiveChart(RELIANCE, "1m", history(), indicators="ema(20), rsi", shown=200)
    config = json.loads(chart.config)
    assert (config["hidden"], config["most"]) == (100, 1100)
    assert len(chart.bars) == 300 * 6 * 8
    assert chart.indicators == ["ema(20)", "rsi"]
    monkeypatch.setattr("breeze_lab.widgets.live_data.relay_bars", lambda *_: ())
    frame = chart.data
    assert len(frame) == 200
    assert frame[["EMA_20", "RSI_14"]].notna().all(axis=None)
    assert np.allclose(frame["EMA_20"], compute(history(), "ema(20)")["EMA_20"].iloc[100:])
    chart.indicators = []
    assert list(chart.data.columns) == ["open", "high", "low", "close", "volume"]
    chart.close()


def test_a_kernel_computes_where_there_is_no_server():
    """The same messages over the comm get the same answers, and the menu its list."""
    chart, sent = LiveChart(RELIANCE, "1m", history()), []
    chart.send = sent.append
    table = table_of(history())
    opening = {"op": "open", "specs": ["ema(20)"], "bars": table.tolist()}
    chart._on_request(None, {"op": "indicators", "message": opening}, [])
    row = {"op": "bars", "rows": [table[:, -1].tolist()]}
    chart._on_request(None, {"op": "indicators", "message": row}, [])
    chart._on_request(None, {"op": "catalogue"}, [])
    opened, values, listed = sent
    assert opened["answer"]["indicators"][0]["spec"] == "ema(20)"
    assert values["answer"]["rows"][0][1][0] == [opened["answer"]["indicators"][0]["values"][0][-1]]
    assert len(listed["indicators"]) > 180
    chart.close()


def test_a_chart_holds_at_most_a_thousand_candles():
    """Older bars are left out, the newest stay."""
    frame = history(1500)
    data = charts.columns(frame)
    assert len(data["x"]) == charts.MAX_CANDLES
    assert data["close"][-1] == frame["close"].iloc[-1]


def test_the_figure_has_the_parts_the_browser_looks_for():
    """Names are the contract between the figure and the script that moves it."""
    layout = charts.candles_figure(history(), interval_s=60)
    for name in ("history", "live", "window", "price", "volume"):
        assert layout.select_one({"name": name}) is not None, name
    tags = {
        glyph.tags[0] for pane in layout.children for glyph in (r.glyph for r in pane.renderers)
    }
    assert tags == {"up", "down"}
    assert layout.children[0].x_range is layout.children[1].x_range


def test_an_index_has_no_volume_pane():
    """Nobody trades an index, so there is nothing to show below the prices."""
    frame = history().assign(volume=0)
    assert not charts.has_volume(frame)
    assert len(charts.still(frame).children) == 1


@pytest.mark.parametrize(("tick", "places"), [(0.05, 2), (0.01, 2), (1.0, 2), (0.0025, 4)])
def test_the_tick_size_decides_the_decimals(tick, places):
    """Currencies move in quarters of a paisa, shares in paise."""
    assert charts.decimals(tick) == places


def test_a_still_chart_is_a_page_of_its_own():
    """A page of nbconvert or papermill gets plain Bokeh with a hover tool."""
    from bokeh.embed import file_html
    from bokeh.resources import CDN

    html = file_html(charts.still(history(), "RELIANCE 1m"), CDN)
    assert "RELIANCE 1m" in html
    assert "HoverTool" in html


def test_the_browser_gets_little_and_exact_bytes(home):
    """One packed table, one empty figure; neither BokehJS nor a subscription."""
    frame = history(500)
    chart = LiveChart(RELIANCE, "1m", frame, practice=True)
    table = np.frombuffer(chart.bars, "<f8").reshape(6, -1)
    assert list(table[4]) == list(frame["close"])
    assert table[0][0] == MONDAY.timestamp()
    assert len(chart.bars) == 6 * 8 * 500
    assert len(chart.figure) < 60_000
    config = json.loads(chart.config)
    assert (config["key"], config["room"], config["practice"]) == ("NSE:RELIANCE", "4.1!2885", True)
    assert repr(chart) == "LiveChart('NSE:RELIANCE', '1m')"
    assert processes.running(settings.folders().runtime, "relay") is None
    chart.close()


FIGURES = [
    {"interval_s": 60, "tick_size": 0.05, "height": 480, "with_volume": True},
    {"interval_s": 86_400, "tick_size": 0.05, "height": 480, "with_volume": True},
    {"interval_s": 60, "tick_size": 0.0025, "height": 480, "with_volume": True},
    {"interval_s": 60, "tick_size": 0.05, "height": 300, "with_volume": False},
]


def numbered(text):
    """Return a figure's JSON with its models numbered from one, in the order they come."""
    names = dict.fromkeys(re.findall(r'"(p\d+)"', text))
    order = {name: f'"m{n}"' for n, name in enumerate(names, 1)}
    return re.sub(r'"(p\d+)"', lambda found: order[found[1]], text)


def test_a_kept_figure_is_the_one_that_would_be_drawn(home, monkeypatch):
    """What comes from the disk differs from a drawing in the models' numbers alone."""
    fresh = [chart_figures.draw(**options) for options in FIGURES]
    assert len({numbered(text) for text in fresh}) == len(FIGURES)
    first = [chart_figures.text(**options) for options in FIGURES]
    with monkeypatch.context() as patch:
        patch.setattr(chart_figures, "draw", None)  # it cannot be called
        kept = [chart_figures.text(**options) for options in FIGURES]
        chart = LiveChart(RELIANCE, "1m", history(), practice=True)
        assert chart.figure == kept[0]
        chart.close()
    assert kept == first
    assert [numbered(text) for text in kept] == [numbered(text) for text in fresh]
    assert json.loads(kept[0])["version"] == chart_figures.bokeh_version()


@pytest.mark.parametrize("how", ["cut", "changed", "empty", "no text", "another version"])
def test_a_kept_figure_that_is_not_believed_is_drawn_anew(home, monkeypatch, how):
    """The planted faults: a damaged file, and one that another version made."""
    wanted = chart_figures.text(**FIGURES[0])
    (path,) = (settings.folders().cache / "figures").iterdir()
    good = path.read_bytes()
    if how == "another version":
        monkeypatch.setattr(chart_figures, "_made_by", lambda: "f" * 32)
    else:
        path.write_bytes(
            {"cut": good[:-1], "changed": good.replace(b"vbar", b"hbar").replace(b"VBar", b"HBar"),
             "empty": b"", "no text": b"\xff\n"}[how]
        )  # fmt: skip
        assert path.read_bytes() != good
    again = chart_figures.text(**FIGURES[0])
    assert again != wanted, "other models"
    assert numbered(again) == numbered(wanted)
    assert chart_figures.text(**FIGURES[0]) == again, "and kept"


def test_figures_need_no_disk_and_leave_no_litter(home):
    """Without a folder to write to they are drawn; those of versions long gone are removed."""
    wanted = numbered(chart_figures.text(**FIGURES[0]))
    folder = settings.folders().cache / "figures"
    for name, days in (("a" * 32 + "-60.json", 31), ("b" * 32 + "-60.json", 29)):
        (folder / name).write_text("old")
        os.utime(folder / name, (time.time() - days * 86_400,) * 2)
    chart_figures.text(**FIGURES[1])
    assert {path.name[0] for path in folder.iterdir()} >= {"b"}
    assert not list(folder.glob("a" * 32 + "*"))
    shutil.rmtree(folder)
    folder.write_text("in the way")
    assert numbered(chart_figures.text(**FIGURES[0])) == wanted


def test_a_chart_of_a_replay_names_its_day(home):
    """A recorded day is not called practice; a recording of another name is named."""
    for name, told in (
        ("practice-2026-11-06-ab12.parquet", "6 Nov 2026"), ("mine.csv", "mine"), ("", ""),
    ):  # fmt: skip
        chart = LiveChart(RELIANCE, "1m", history(3), practice=True, replay=name, fetched_s=7.5)
        config = json.loads(chart.config)
        assert (config["replay"], config["fetched_s"]) == (told, 7.5)
        chart.close()


def test_a_bar_heard_in_part_is_added_to_the_history():
    """What history saw of the forming minute and what the relay heard since are one bar."""
    frame = history(3)
    last = frame.index[-1].to_pydatetime()
    fetched_s = last.timestamp() + 20
    bars = [
        relay_bar(last, 104.0, 50, whole=False, forming=False),
        relay_bar(last + timedelta(minutes=1), 200.0, 9, whole=True),
    ]
    data = merged(frame, bars, Interval.M1, fetched_s)
    assert list(data.loc[last]) == [102.0, 106.0, 101.0, 104.0, 53.0]
    assert list(data.iloc[-1]) == [200.0, 202.0, 198.0, 200.0, 9.0]
    assert (len(data), str(data.index.tz)) == (4, "Asia/Kolkata")


def test_a_bar_heard_whole_replaces_the_history():
    """The relay heard every trade, the history was fetched in the middle of the minute."""
    frame = history(3)
    last = frame.index[-1].to_pydatetime()
    bars = [relay_bar(last, 104.0, 50, whole=True)]
    data = merged(frame, bars, Interval.M1, last.timestamp() + 20)
    assert list(data.iloc[-1]) == [104.0, 106.0, 102.0, 104.0, 50.0]


def test_a_bar_that_had_ended_before_the_fetch_is_final():
    """The relay heard a part of a minute that the history knows whole."""
    frame = history(3)
    bars = [relay_bar(frame.index[1].to_pydatetime(), 999.0, 1, whole=False, forming=False)]
    data = merged(frame, bars, Interval.M1, frame.index[-1].timestamp() + 1)
    pd.testing.assert_frame_equal(data, frame, check_freq=False, check_dtype=False)


def test_the_kernel_can_stand_in_for_the_server(home):
    """Where the browser has no socket, a thread passes the relay's messages on as they are."""
    sent = []
    comm = RelayComm(RELIANCE, Interval.M1, "practice", sent.append, 20)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:  # spins on purpose: a thread must get through
            ops = [json.loads(m["text"])["op"] for m in list(sent) if "text" in m]
            if "snapshot" in ops:
                break
        assert ops[0] == "welcome"
        assert "snapshot" in ops
    finally:
        comm.close()
        os.kill(processes.running(settings.folders().runtime, "relay")["pid"], signal.SIGTERM)
