"""Indicators: specs are read, TA-Lib and pandas-ta agree, a live value is the whole computation.

``BREEZE_LAB_LONG=1`` compares every indicator at every bar of the month instead of at some.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from practice_month import month

from breeze_lab import indicators
from breeze_lab.bars import Bar, Interval
from breeze_lab.errors import SettingsError
from breeze_lab.indicators import catalogue, kernels, measure, native, recomputed
from breeze_lab.indicators.catalogue import MOST_LINES
from breeze_lab.indicators.desk import Desk
from breeze_lab.indicators.kernels import Bars, Handles
from breeze_lab.indicators.live import Live, compute, table_of, warmup
from breeze_lab.indicators.recipes import RECIPES
from breeze_lab.indicators.spec import parse, parse_all

pandas_ta_classic = catalogue.library()
LONG = os.environ.get("BREEZE_LAB_LONG") == "1"
MONTH = month()
TABLE = table_of(MONTH)
#: Columns whose first values TA-Lib begins later: how many.
LATER = {"kama": 1, "stoch": 2, "stochf": 2, "uo": 1}
#: What is carried forward without pandas-ta.
QUICK = [*RECIPES, "macd", "supertrend", "vwap"]


def disagreement(found: pd.DataFrame, wanted: pd.DataFrame, later: int = 0) -> str:
    """Say where two tables differ: names, bars with a value, or more than 1e-9 of a value."""
    if list(found.columns) != list(wanted.columns):
        return f"columns {list(found.columns)}, not {list(wanted.columns)}"
    a, b = found.to_numpy(float), wanted.to_numpy(float)
    lacking = np.isnan(a) & ~np.isnan(b)
    if (np.isnan(b) & ~np.isnan(a)).any() or (lacking.sum(axis=0) > later).any():
        return f"warm-up {np.isnan(a).sum(axis=0)}, not {np.isnan(b).sum(axis=0)}"
    error = np.nanmax(np.abs(a - b) / np.maximum(1.0, np.abs(b)), initial=0.0)
    return f"differs by {error}" if error > 1e-9 else ""


def whole(name: str) -> pd.DataFrame:
    """Return pandas-ta's own formula over the month."""
    return native.call(getattr(pandas_ta_classic, name), MONTH, {})


# --- TA-Lib and pandas-ta -------------------------------------------------------------------------


def test_forty_indicators_agree_with_talib():
    """TA-Lib's values are those of pandas-ta's own formulas to 1e-9, warm-up included."""
    told = {
        name: disagreement(compute(MONTH, name), whole(name), LATER.get(name, 0))
        for name in RECIPES
    }
    assert {name: why for name, why in told.items() if why} == {}
    assert len(told) >= 60
    assert sum(name not in LATER for name in told) >= 40


@pytest.mark.parametrize("spec", ["ema(50)", "bbands(20, std=1.5)", "stoch(21, 5, 4)", "adx(7)",
                                  "coppock(5, 6, 9)", "mama(0.4, 0.1)", "t3(8, 0.6)", "uo(3, 9, 20)",
                                  "macd(5, 35, 5)", "macd(26, 12)", "cvi(12)", "rsi(2)"])  # fmt: skip
def test_other_parameters_agree_too(spec):
    """A recipe hands each parameter to the right place."""
    one = parse(spec)
    wanted = native.call(getattr(pandas_ta_classic, one.name), MONTH, dict(one.given))
    assert disagreement(compute(MONTH, spec), wanted, 4 if one.name in LATER else 0) == ""
    assert not isinstance(kernels.kernel(one, Bars(TABLE)), recomputed.Recomputed)


def test_supertrend_agrees_but_for_the_warm_up():
    """Ours has no value where there is no average range yet; pandas-ta says zero and up there."""
    found, wanted = compute(MONTH, "supertrend(10, 3)"), native.call(
        pandas_ta_classic.supertrend, MONTH, {"length": 10, "multiplier": 3.0})  # fmt: skip
    assert disagreement(found.iloc[10:], wanted.iloc[10:]) == ""
    assert found.iloc[:10].isna().all(axis=None)


def test_the_judge_sees_an_off_by_one_warm_up():
    """The planted fault: an average that begins one bar early or late, or stands one bar off."""
    wanted = whole("ema")
    assert disagreement(wanted, wanted) == ""
    early, late = wanted.copy(), wanted.copy()
    early.iloc[8] = early.iloc[9]
    late.iloc[9] = np.nan
    assert "warm-up" in disagreement(early, wanted)
    assert "warm-up" in disagreement(late, wanted)
    assert "warm-up" in disagreement(wanted.shift(1), wanted)
    moved = wanted.shift(-1)
    moved.iloc[8] = np.nan
    assert disagreement(moved, wanted) != ""
    part = replace(RECIPES["ema"].parts[0], options={"timeperiod": 11})
    other = Handles(replace(RECIPES["ema"], parts=(part,)), {"length": 10})
    values = pd.DataFrame(
        dict(zip(other.columns, other.open(Bars(TABLE)), strict=True)), MONTH.index
    )
    assert "warm-up" in disagreement(values, wanted)


def test_talib_is_never_taken_behind_our_back():
    """Directional movement is the indicator, not TA-Lib's raw movement, and CCI is of a plain size."""
    found = compute(MONTH, "adx, cci")
    high, low, close = (MONTH[name].to_numpy() for name in ("high", "low", "close"))
    assert np.allclose(found["DMP_14"], talib.PLUS_DI(high, low, close, 14), equal_nan=True)
    assert found["CCI_14_0.015"].abs().max() < 1000
    assert pd.DataFrame.ta is not None
    plain = MONTH.set_axis(MONTH.index.tz_localize(None))
    assert disagreement(found[["ADX_14", "DMP_14", "DMN_14"]],
                        plain.ta.adx().set_axis(MONTH.index)) == ""  # fmt: skip


# --- live -----------------------------------------------------------------------------------------


def live_faults(make, spec, table, start, *, every=1):
    """Return the bars at which a live value is not that of the whole computation.

    Each bar forms twice before it closes: peeking must leave nothing behind.
    """
    columns = Live(spec, table).recompute()
    scale = [max(1.0, float(np.nanmax(np.abs(column), initial=1.0))) for column in columns]
    live = make(spec, table[:, :start])
    found = []
    for i in range(start, table.shape[1]):
        row = tuple(table[:, i].tolist())
        wanted = [float(column[i]) for column in columns]
        if (i - start) % every == 0:
            time, opened, *_ = row
            live.update((time, opened, opened * 1.01, opened * 0.99, opened, 1.0))
            if not same(live.update(row), wanted, scale):
                found.append(i)
        if not same(live.close(row), wanted, scale):
            found.append(i)
    return found


def same(found, wanted, scale):
    return all(
        (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-9 * size
        for a, b, size in zip(found, wanted, scale, strict=True)
    )


@pytest.mark.parametrize("start", [3, 400])
def test_a_live_value_is_the_whole_computation_on_every_bar_of_a_month(start):
    """All that is carried forward: forming and closed, begun with a handful of bars or many."""
    assert {name: bad for name in QUICK if (bad := live_faults(Live, name, TABLE, start))} == {}


@pytest.mark.parametrize("name", ["ema", "rsi", "bbands", "adx", "stoch", "macd", "supertrend", "vwap",
                                  "alma", "ichimoku", "psar", "kc"])  # fmt: skip
def test_the_whole_computation_does_not_know_the_future(name):
    """Computed anew over the bars up to each of some, the last value is that of the whole month."""
    columns = Live(name, TABLE).recompute()
    chikou = name == "ichimoku"  # its last column is the close of 26 bars later
    for end in range(100, TABLE.shape[1], 1 if LONG else 97):
        cut = Live(name, TABLE[:, : end + 1]).recompute()
        pairs = list(zip(columns, cut, strict=True))[: -1 if chikou else None]
        assert all(same([b[-1]], [a[end]], [abs(a[end]) or 1]) for a, b in pairs), end


@pytest.mark.parametrize("name", [n for n in catalogue.names() if n not in QUICK] if LONG else [
    "alma", "kst", "obv", "psar", "zscore", "pvt"])  # fmt: skip
def test_what_only_pandas_ta_has_is_the_whole_computation_too(name):
    """Recomputed at each bar, whatever the indicator remembers."""
    if catalogue.entry(name).repaints:
        return
    first = 0 if LONG else TABLE.shape[1] - 160
    assert live_faults(Live, name, TABLE[:, first:], 120 if not LONG else 700, every=4) == []


def test_a_handle_that_forgets_a_bar_is_caught():
    """The planted fault: one bar of a thousand that never reaches the handle."""

    class Forgetful(Live):
        def close(self, bar):
            if self.bars.count == 900:
                self.bars.push(bar)
                return self.update((bar[0] + 1, *bar[1:]))
            return super().close(bar)

    for name in ("ema", "rsi", "macd", "supertrend", "vwap", "obv"):
        bad = live_faults(Forgetful, name, TABLE, 880)
        assert bad, name
        assert bad[0] >= 900


def test_a_peek_that_commits_is_caught():
    """The planted fault: a forming bar that is kept."""

    class Greedy(Live):
        def update(self, bar):
            self._kernel.push(bar)
            return self._kernel.peek(bar)

    assert live_faults(Greedy, "ema", TABLE, 880)
    assert live_faults(Greedy, "vwap", TABLE, 880)


def test_a_long_history_is_served_by_a_tail_that_forgets():
    """Minutes of a month: a window's indicator reads a tail, one that never forgets all bars."""
    table = table_of(month("1m"))
    for name, tailed in (
        ("fwma", True),
        ("kst", True),
        ("psar", None),
        ("pmax", False),
        ("pvt", False),
    ):
        live = Live(name, table[:, :-3])
        columns = Live(name, table).recompute()
        for i in (-3, -2, -1):
            row, wanted = tuple(table[:, i].tolist()), [float(c[i]) for c in columns]
            scale = [float(np.nanmax(np.abs(c), initial=1)) for c in columns]
            assert same(live.update(row), wanted, scale), name
            assert same(live.close(row), wanted, scale), name
        if tailed is not None:
            assert (live._kernel.tail is not None) is tailed, name


def test_a_tail_too_short_is_given_up_when_a_bar_closes():
    """The planted fault: a tail of ten bars for an average of a hundred."""
    live = Live("fwma(100)", TABLE[:, :-2])
    live._kernel._measured, live._kernel._tail = True, 101
    row = tuple(TABLE[:, -2].tolist())
    good = live.update(row)
    live._kernel._tail = 10
    assert live.update(row) != good
    assert live.close(row) == good
    assert live._kernel.tail is None


def test_vwap_begins_with_the_ist_day():
    """Its first value of a day is that bar's own price, wherever the machine is."""
    found = compute(MONTH, "vwap")["VWAP_D"]
    days = MONTH.index.normalize()
    first = ~days.duplicated()
    typical = MONTH[["high", "low", "close"]].mean(axis=1)
    assert np.allclose(found[first], typical[first], rtol=1e-12)
    at = MONTH.index[200:260]
    day = MONTH[days == days[230]]
    part = day.loc[: at[30]]
    weighted = (part[["high", "low", "close"]].mean(axis=1) * part.volume).sum() / part.volume.sum()
    assert found[at[30]] == pytest.approx(weighted, rel=1e-12)
    elsewhere = MONTH.set_axis(MONTH.index.tz_convert("America/New_York"))
    assert np.array_equal(compute(elsewhere, "vwap")["VWAP_D"], found)


def test_an_index_without_volume_has_no_vwap():
    """No trade, no price: NaN, not a crash and not a zero."""
    frame = MONTH.assign(volume=0.0)
    assert compute(frame, "vwap").isna().all(axis=None)
    live = Live("vwap", frame)
    assert math.isnan(live.update((2e9, 1.0, 1.0, 1.0, 1.0, 0.0))[0])


def test_live_takes_our_bars():
    """A `Bar` is read by its fields."""
    start = MONTH.index[-1] + pd.Timedelta(minutes=5)
    bar = Bar(start.to_pydatetime(), Interval.M5, 1.0, 2.0, 0.5, 1.5, 10)
    live = Live("hlc3", MONTH)
    assert live.update(bar) == live.close(bar) == (4.0 / 3.0,)
    assert live.columns == ("HLC3",)


@pytest.mark.parametrize("bar", [(1.0, 1, 1, 1, 1, 1), (2e9, 1, 1, 1, math.nan, 1), (2e9, 1, 1)])
def test_a_bar_that_cannot_follow_is_refused(bar):
    """An older bar, a hole and half a bar are refused with the reason, and nothing is kept."""
    live = Live("ema", MONTH)
    before = live.update((2e9, 1, 1, 1, 1, 1))
    for use in (live.update, live.close):
        with pytest.raises(SettingsError, match=r"newer|numbers"):
            use(bar)
    assert live.update((2e9, 1, 1, 1, 1, 1)) == before


def test_a_hole_in_the_bars_is_pandas_tas_business():
    """TA-Lib does not define NaN inside of its input: pandas-ta's own formula answers."""
    frame = MONTH.copy()
    frame.iloc[500, 3] = np.nan
    wanted = native.call(pandas_ta_classic.sma, frame, {})
    assert disagreement(compute(frame, "sma"), wanted) == ""
    assert wanted.iloc[500:510].isna().all(axis=None)


def test_few_bars_give_no_value_and_no_error():
    """Zero, one and a few bars: the right columns, all NaN until there are bars enough."""
    for name in (
        catalogue.names() if LONG else ("ema", "macd", "supertrend", "vwap", "alma", "ichimoku")
    ):
        for count in (0, 1, 5):
            found = compute(MONTH.iloc[:count], name)
            assert len(found) == count, name
            # Of the candle patterns one has no column where there are no ten bars.
            if name != "cdl_pattern":
                assert found.shape[1] == len(catalogue.entry(name).outputs), name


@pytest.mark.parametrize(("frame", "words"), [
    (MONTH.drop(columns="volume"), "no column volume"),
    (MONTH.set_axis(MONTH.index.tz_localize(None)), "tz_localize"),
    (MONTH.iloc[::-1], "order of time"),
])  # fmt: skip
def test_a_frame_that_holds_no_bars_is_refused(frame, words):
    """The message says what is missing and what to write."""
    with pytest.raises(SettingsError, match=words):
        compute(frame, "ema")


# --- specs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "name", "changed"), [
    ("ema(20)", "ema", {"length": 20}),
    ("ema(length=20)", "ema", {"length": 20}),
    (" EMA ( 20 ) ", "ema", {"length": 20}),
    ("macd(12, 26, 9)", "macd", {}),
    ("macd(12,26,5)", "macd", {"signal": 5}),
    ("bbands(20, std=2)", "bbands", {"length": 20}),
    ("bbands(20, 2.5, mamode=ema)", "bbands", {"length": 20, "std": 2.5, "mamode": "ema"}),
    ("vwap", "vwap", {}),
    ("supertrend(10,3)", "supertrend", {"length": 10}),
    ("cdl_pattern('doji')", "cdl_pattern", {"name": "doji"}),
])  # fmt: skip
def test_specs_are_read(text, name, changed):
    """Positions, names, words and blanks; what is not said is pandas-ta's usual value."""
    spec = parse(text)
    assert (spec.name, spec.changed) == (name, changed)
    assert parse(str(spec)) == spec
    assert parse(spec) is spec


@pytest.mark.parametrize(("text", "words"), [
    ("emaa(20)", "no indicator 'emaa'. Nearest: ema"),
    ("bollinger", "bbands"),
    ("ema(0)", r"above 0 .* not 0: ema\(length=10\)"),
    ("ema(-3)", "above 0"),
    ("ema(2.5)", "whole number"),
    ("ema(True)", "whole number"),
    ("ema(10**9)", "whole number"),
    ("ema(999999)", "at most 2000"),
    ("ema(lenght=20)", r"no parameter 'lenght': ema\(length=10\)"),
    ("ema(20, 30)", "at most 1 parameters, not 2"),
    ("ema(20, length=20)", "twice"),
    ("ema(**{'length': 3})", "no parameter None"),
    ("bbands(std=two)", "a number"),
    ("bbands(mamode=3)", "a word"),
    ("ema(20", "cannot be read"),
    ("1 + 1", "is no indicator"),
    ("os.system('x')", "is no indicator"),
    ("ema(__import__('os').getcwd())", "whole number"),
    ("x" * 300, "short text"),
    ("ma(20)", "ask for that one"),
    ("beta", "second instrument"),
    ("", "cannot be read"),
])  # fmt: skip
def test_a_wrong_spec_is_refused_with_the_next_step(text, words):
    """Names get the nearest ones, parameters the signature; pandas-ta would use its own in silence."""
    with pytest.raises(SettingsError, match=words):
        parse(text)


def test_several_specs_are_cut_at_the_outer_commas():
    """A line of a magic is a list; the same indicator said twice is one."""
    assert [str(spec) for spec in parse_all("ema(20), bbands(20, std=2),rsi, rsi(14)")] == [
        "ema(20)", "bbands(20, 2)", "rsi",
    ]  # fmt: skip
    assert parse_all(["vwap", "vwap"]) == (parse("vwap"),)
    assert parse_all([]) == ()


@hypothesis_settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
def test_no_text_does_worse_than_a_refusal(text):
    """Whatever is typed is read or refused."""
    with contextlib.suppress(SettingsError):
        parse_all(text)


def test_reading_a_spec_is_light():
    """A spec is read and refused without TA-Lib, pandas and pandas-ta."""
    code = (
        "import sys; from breeze_lab import indicators\n"
        "indicators.parse('ema(20)'); indicators.names()\n"
        "try: indicators.parse('emma')\n"
        "except Exception as e: assert 'Nearest' in str(e), e\n"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"talib", "pandas", "pandas_ta_classic", "bokeh"} & set(done.stdout.split())


# --- the catalogue --------------------------------------------------------------------------------


def test_the_catalogue_holds_all_that_pandas_ta_has():
    """Every name of pandas-ta is in it, or is refused with the reason."""
    every = {name for names in pandas_ta_classic.Category.values() for name in names}
    assert set(catalogue.names()) | set(catalogue._NEEDS_MORE) == every
    assert len(catalogue.names()) >= 180


@pytest.mark.parametrize("name", catalogue.names() if LONG else [
    "ema", "rsi", "macd", "supertrend", "bbands", "hilo", "aroon", "vwap", "dpo", "obv"])  # fmt: skip
def test_the_catalogue_is_what_was_measured(name):
    """The file says what measuring the installed pandas-ta-classic says."""
    assert measure.measured(pandas_ta_classic, name) == catalogue.entry(name)


@pytest.mark.parametrize(("name", "places"), [
    ("ema", ["overlay"]), ("rsi", ["pane"]), ("atr", ["pane"]), ("vwap", ["overlay"]),
    ("bbands", ["overlay", "overlay", "overlay", "", ""]),
    ("supertrend", ["", "", "overlay", "overlay"]),
    ("hilo", ["", "overlay", "overlay"]),
    ("macd", ["pane", "pane", "pane"]),
])  # fmt: skip
def test_an_indicator_finds_its_place(name, places):
    """What is of the price's size lies over the candles, the rest has a pane."""
    assert [output.place for output in catalogue.entry(name).outputs] == places
    styles = [output.style for output in catalogue.entry(name).outputs]
    assert styles == (["line", "bars", "line"] if name == "macd" else ["line"] * len(places))


# --- the desk -------------------------------------------------------------------------------------

SPECS = ["ema(20)", "vwap", "rsi", "supertrend(10, 3)", "dpo", "alma"]


def test_a_desk_tells_what_the_whole_computation_tells():
    """Bars that form, close and skip: what a chart holds in the end is computed anew the same."""
    desk, n = Desk(), 1000
    opened = desk.take({"op": "open", "specs": SPECS, "bars": TABLE[:, :n].tolist()})
    assert [one["spec"] for one in opened["indicators"]] == SPECS
    assert opened["refused"] == []
    values = [
        [dict(zip(TABLE[0, :n], column, strict=True)) for column in one["values"]]
        for one in opened["indicators"]
    ]
    batches = [[n - 1], [n - 1, n], [n], [n + 1], [n + 2, n + 3, n + 4], [n + 4], [n + 5]]
    for batch in batches:
        rows = TABLE[:, batch].T.tolist()
        rows[0][4] += 0.0
        answer = desk.take({"op": "bars", "rows": rows})
        assert answer["op"] == "values", answer
        for t, told in answer["rows"]:
            for i, numbers in enumerate(told):
                for j, number in enumerate(numbers):
                    values[i][j][t] = number
        for i, columns in answer["whole"].items():
            end = int(np.searchsorted(TABLE[0], answer["rows"][-1][0])) + 1
            values[int(i)] = [dict(zip(TABLE[0, :end], c, strict=True)) for c in columns]
    frame = compute(MONTH.iloc[: n + 6], SPECS)
    found = [list(column.values()) for one in values for column in one]
    table = pd.DataFrame(dict(zip(frame.columns, found, strict=True)), frame.index).astype(float)
    assert disagreement(table, frame) == ""


def test_a_desk_wants_to_begin_anew_when_an_older_bar_changed():
    """A corrected bar is a new history; and without one there is nothing to go on from."""
    desk = Desk()
    assert desk.take({"op": "bars", "rows": [[1, 1, 1, 1, 1, 1]]}) == {"op": "reopen"}
    desk.take({"op": "open", "specs": ["ema"], "bars": TABLE[:, :100].tolist()})
    assert desk.take({"op": "bars", "rows": TABLE[:, 50:51].T.tolist()}) == {"op": "reopen"}


def test_a_desk_refuses_one_indicator_and_draws_the_others():
    """A wrong name among right ones costs only itself; too many lines are refused with the way out."""
    specs = ["ema(20)", "emaa", "cdl_pattern", "cdl_pattern(doji)"]
    answer = Desk().take({"op": "open", "specs": specs, "bars": TABLE[:, :300].tolist()})
    assert [one["spec"] for one in answer["indicators"]] == ["ema(20)", "cdl_pattern(doji)"]
    refused = {one["spec"]: one["message"] for one in answer["refused"]}
    assert "Nearest: ema" in refused["emaa"]
    assert f"takes {MOST_LINES}" in refused["cdl_pattern"]


@pytest.mark.parametrize("message", [
    {}, {"op": "x"}, {"op": "open"}, {"op": "open", "specs": [], "bars": [[1]]},
    {"op": "open", "specs": ["ema"], "bars": [[1, 1]] * 6}, {"op": "bars", "rows": 3},
    {"op": "bars", "rows": [[1, 2]]}, {"op": "bars", "rows": [["x"] * 6]},
    {"op": "open", "specs": ["ema"] * 13, "bars": [[1, 2]] * 6},
    {"op": "open", "specs": ["ema"], "bars": [list(range(6000))] * 6},
])  # fmt: skip
def test_a_desk_answers_nonsense_with_a_sentence(message):
    """No message ends the process that serves other charts as well."""
    assert Desk().take(message)["op"] == "error"


def test_the_worker_serves_charts_line_by_line():
    """A real process: two charts apart, a broken message answered, nothing else on its output."""
    bars = TABLE[:, :60].tolist()
    asked = [
        {"chart": "a", "op": "open", "specs": ["ema(5)"], "bars": bars},
        {"chart": "b", "op": "open", "specs": ["rsi(5)"], "bars": bars},
        {"chart": "a", "op": "bars", "rows": [TABLE[:, 60].tolist()]},
        {"chart": "b", "op": "forget"},
        {"chart": "b", "op": "bars", "rows": [TABLE[:, 60].tolist()]},
        {"chart": "a", "op": "nonsense"},
    ]
    done = subprocess.run(
        [sys.executable, "-m", "breeze_lab.indicators.worker"], check=True, timeout=60,
        input="".join(json.dumps(one) + "\n" for one in asked), capture_output=True, text=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["chart"], one["op"]) for one in answers] == [
        ("a", "opened"), ("b", "opened"), ("a", "values"), ("b", "forgotten"), ("b", "reopen"),
        ("a", "error"),
    ]  # fmt: skip
    (_, (value,)) = answers[2]["rows"][-1]
    assert value == [pytest.approx(compute(MONTH.iloc[:61], "ema(5)").iloc[-1, 0], rel=1e-12)]


def test_the_room_lists_its_names():
    """Every public name loads."""
    for name in indicators.__all__:
        assert name in dir(indicators)
        assert getattr(indicators, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Lives'"):
        indicators.Lives  # noqa: B018 - the lookup is the test


def test_every_frame_of_ours_has_ta_without_an_import():
    """pandas-ta is loaded when it is asked for, not with the frame, and without a warning."""
    code = (
        "import sys, warnings; warnings.simplefilter('error', UserWarning)\n"
        "import pandas as pd; from breeze_lab.indicators import accessor, measure\n"
        "accessor.install(); accessor.install()\n"
        "assert 'pandas_ta_classic' not in sys.modules\n"
        "frame = measure.reference(100)\n"
        "assert frame.ta.ema(20).notna().sum() == 81\n"
        "assert frame.ta.rsi().name == 'RSI_14'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_indicator_of_pandas_ta_is_computed_before_ta_is_asked_for():
    """The accessor that waits does not stand in the way of loading what it waits for."""
    code = (
        "from breeze_lab.indicators import accessor, compute, measure\n"
        "accessor.install(); frame = measure.reference(100)\n"
        "assert compute(frame, 'alma').notna().sum().item() == 91\n"
        "assert frame.ta.ema(20).notna().sum() == 81"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_enough_bars_are_fetched_before_the_first():
    """A chart's first candle has values: an average's own length several times, a day for vwap."""
    assert indicators_warmup("sma(50)", "5m") == 4 * 49
    assert indicators_warmup("vwap", "5m") == 75
    assert indicators_warmup("vwap", "1m") == 375
    assert indicators_warmup("vwap", "1s") == 1000
    assert indicators_warmup("hl2", "1d") == 0


def indicators_warmup(spec, interval):
    return warmup(spec, Interval.parse(interval))


def test_the_examples_of_the_page_run():
    """Every block of docs/indicators.md that needs no market does what it says."""
    page = (Path(__file__).parent.parent / "docs" / "indicators.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    free = [block for block in blocks if "candles(" not in block]
    assert len(blocks) == len(free) + 1
    for block in free:
        exec(block, {})
    assert f"{len(RECIPES)} indicators, to 1e-9" in page


def test_an_installed_pandas_ta_is_respected(tmp_path):
    """Its own names are found and placed, frames have its ``.ta``, and no other name changes."""
    (tmp_path / "pandas_ta.py").write_text(
        "import pandas as pd\n"
        "Category = {'momentum': ['gap', 'ema']}\n"
        "def gap(high, low, length: int = None, **kwargs):\n"
        "    length = int(length) if length else 3\n"
        "    return (high - low).rolling(length).mean().rename(f'GAP_{length}')\n"
        "def ema(close, **kwargs):\n"
        "    raise RuntimeError('not this one')\n"
        "@pd.api.extensions.register_dataframe_accessor('ta')\n"
        "class Theirs:\n"
        "    said = 'the original'\n"
        "    def __init__(self, frame): pass\n"
    )
    code = (
        "from breeze_lab.indicators import accessor, compute, entry, measure, Live\n"
        "accessor.install(); frame = measure.reference(100)\n"
        "assert compute(frame, 'alma')['ALMA_10_6.0_0.85'].notna().sum() == 91\n"
        "assert frame.ta.said == 'the original'\n"
        "compute(frame, 'jma, ema')\n"
        "assert frame.ta.said == 'the original'\n"
        "assert entry('gap').signature == 'gap(length=3)'\n"
        "assert [one.place for one in entry('gap').outputs] == ['pane']\n"
        "assert Live('gap(5)', frame).columns == ('GAP_5',)\n"
    )
    there = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60,
                   env={**os.environ, "PYTHONPATH": there})  # fmt: skip
