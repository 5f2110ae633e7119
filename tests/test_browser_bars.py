"""The chart's own arithmetic, run in a real Chromium far from India."""

from __future__ import annotations

import random
from datetime import timedelta
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from chromium import find

from breeze_lab import charts, clock
from breeze_lab.bars import Bar, Interval
from breeze_lab.feed import FeedBar
from breeze_lab.widgets import bundles
from breeze_lab.widgets.live_data import merged

pytestmark = pytest.mark.browser

START = clock.from_epoch(1_795_352_400)  # a whole minute
FIELDS = ["open", "high", "low", "close", "volume"]


@pytest.fixture(scope="module")
def page():
    """A page in New York that knows the chart's first script."""
    sync = pytest.importorskip("playwright.sync_api")
    executable = find()
    if executable is None:
        pytest.skip("no Chromium here; make setup installs one")
    script = resources.files("breeze_lab.widgets").joinpath("assets", "1_bars.js").read_text()
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        shown = browser.new_page(timezone_id="America/New_York")
        shown.evaluate(
            f"() => {{ {script}; Object.assign(window, {{Bars, say, say_time,"
            " say_quantity, say_age, trade_lag}) }"
        )
        yield shown
        browser.close()


def weather(seed):
    """Return a history, the relay's bars after it, and when the history was fetched."""
    dice = random.Random(seed)

    def bar(minute):
        low, high = sorted(dice.sample(range(90, 130), 2))
        prices = [float(dice.randint(low, high)) for _ in range(2)]
        start = START + timedelta(minutes=minute)
        return Bar(start, Interval.M1, prices[0], high, low, prices[1], dice.randint(1, 99))

    known = [bar(i) for i in range(dice.randint(1, 6))]
    history = pd.DataFrame(
        [[float(getattr(b, f)) for f in FIELDS] for b in known], columns=FIELDS,
        index=pd.DatetimeIndex([b.start for b in known], tz=clock.IST),
    )  # fmt: skip
    fetched_s = known[-1].start.timestamp() + dice.randint(0, 90)
    first = len(known) - dice.randint(0, 2)
    heard = []
    for i in range(dice.randint(0, 5)):
        whole = i > 0 or dice.random() < 0.3
        heard.append(FeedBar("K", bar(max(first, 0) + i), forming=False, whole=whole))
    return history, heard, fetched_s


@pytest.mark.parametrize("seed", range(40))
def test_browser_and_python_merge_alike(page, seed):
    """The candles on the page are the rows of ``.data``."""
    history, heard, fetched_s = weather(seed)
    ours = merged(history, heard, Interval.M1, fetched_s)
    data = charts.columns(history)
    table = np.concatenate([data[name] for name in ("t", *FIELDS)]).tolist()
    rows = [
        ["K", "1m", int(h.bar.start.timestamp()), *(getattr(h.bar, f) for f in FIELDS), None,
         h.whole, h.forming]
        for h in heard
    ]  # fmt: skip
    theirs = page.evaluate(
        """([table, rows, fetched_s]) => {
          const bars = new Bars(Float64Array.from(table), {interval_s: 60, fetched_s, most: 1000});
          rows.forEach((row) => bars.apply(row));
          rows.forEach((row) => bars.apply(row)); // a message that comes twice changes nothing
          return bars.rows.map((r) => [r.t, r.open, r.high, r.low, r.close, r.volume]);
        }""",
        [table, rows, fetched_s],
    )
    times = [when.timestamp() for when in ours.index]
    assert theirs == [[t, *row] for t, row in zip(times, ours.to_numpy().tolist(), strict=True)]


def test_a_new_relay_adds_to_what_is_on_the_screen(page):
    """A relay that starts within a minute counts from nothing; the candle does not shrink."""
    row = page.evaluate(
        """() => {
          const table = Float64Array.from([60, 10, 15, 5, 12, 100]);
          const bars = new Bars(table, {interval_s: 60, fetched_s: 61, most: 1000});
          bars.apply(["K", "1m", 60, 12, 18, 12, 17, 30, null, false, true]);
          bars.freeze();
          bars.apply(["K", "1m", 60, 16, 16, 14, 14, 7, null, false, true]);
          return bars.last;
        }"""
    )
    assert [row[name] for name in FIELDS] == [10, 18, 5, 14, 137]


def test_the_oldest_candle_makes_room(page):
    """A chart left open for days holds no more than it may."""
    rows = page.evaluate(
        """() => {
          const bars = new Bars(new Float64Array(0), {interval_s: 60, fetched_s: 0, most: 10});
          for (let i = 1; i <= 25; i++) bars.apply(["K", "1m", i * 60, 1, 1, 1, i, 1, null, true, false]);
          return bars.rows.map((r) => [r.x, r.close]);
        }"""
    )
    assert rows == [[i - 1, i] for i in range(16, 26)]


def test_times_are_indian_wherever_the_browser_is(page):
    """New York sees the same label as Mumbai."""
    moment = START.replace(hour=9, minute=15)
    said = page.evaluate("(t) => say_time(t, 60)", moment.timestamp())
    assert said == f"{moment:%a} {moment.day} {moment:%b %Y} 09:15"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("say(1234567.5)", "12,34,567.50"),
        ("say(null)", "\N{EN DASH}"),
        ("say_quantity(4539000)", "45.39L"),
        ("say_quantity(987)", "987"),
        ("say_quantity(23456789)", "2.35Cr"),
    ],
)
def test_numbers_are_grouped_as_in_india(page, call, said):
    """Lakhs and crores, and a dash for what is not known."""
    assert page.evaluate(call) == said


def test_the_last_trade_of_a_closed_market_is_as_old_as_it_is(page):
    """A snapshot received now of a trade two days ago is two days old, a fresh one is fresh."""
    ask = """([traded_s, received_s]) => {
      const lag = trade_lag(["NSE:X", 1, 1, traded_s, received_s * 1000, 100]);
      return [lag, say_age(lag)];
    }"""
    now = 1_795_352_400
    assert page.evaluate(ask, [now - 190_000, now]) == [190_000, "2 d"]
    assert page.evaluate(ask, [now - 2, now])[0] == 0, "clocks differ by seconds"
    assert page.evaluate(ask, [None, now])[0] == 0


def test_a_chart_of_a_closed_market_looks_stale(page):
    """A snapshot of Friday's last trade makes the badge say its age; a fresh trade makes it live.

    A replay of that Friday is live with its second trade: its clock is its own.
    """
    scripts = bundles.script("chart").replace("export default", "const widget =")
    config = {
        "key": "NSE:X", "symbol": "X", "name": "X", "exchange": "NSE", "interval": "1m",
        "interval_s": 60, "decimals": 2, "practice": True, "height": 300, "visible": 10,
        "margin": 2, "most": 100, "fetched_s": 0,
    }  # fmt: skip
    said = """([scripts, config, age, trades]) => {
          const Chart = new Function(`${scripts}; return Chart;`)();
          const values = { config: JSON.stringify(config), bars: new Uint8Array(0) };
          const model = { get: (name) => values[name] };
          const chart = new Chart(model, document.body);
          chart.link = "open";
          chart.badge();
          if (chart.root.dataset.state !== "offline") return ["live before it is drawn"];
          chart.drawn = true;
          chart.badge(); // before the first tick
          const now = Date.now();
          const tick = ["NSE:X", 1, 1, Math.floor(now / 1000) - age, now, 100, 1, 1, 1, 99, 1,
            null, null, null, null, 1, 1, 5, null];
          const upstream = { state: "connected" };
          chart.take({ op: "snapshot", ticks: [tick], bars: [], upstream });
          if (trades) {
            chart.take({ op: "batch", ticks: [tick.with(3, tick[3] + 1)], bars: [] });
          }
          chart.badge();
          const said = [chart.root.dataset.state, chart.part("age").textContent];
          if (config.replay) said.push(chart.part("practice").textContent);
          chart.close();
          return said;
        }"""
    days = 2 * 86_400 + 60
    assert page.evaluate(said, [scripts, config, days]) == ["stale", "No trade for 2 d"]
    assert page.evaluate(said, [scripts, config, 1]) == ["live", "Live"]
    assert page.evaluate(said, [scripts, config, days, True]) == ["live", "Live"]
    replay = config | {"replay": "6 Nov 2026"}
    assert page.evaluate(said, [scripts, replay, 1])[2] == "replay · 6 Nov 2026"
    real = config | {"practice": False}
    assert page.evaluate(said, [scripts, real, days, True]) == ["stale", "No trade for 2 d"]
