"""Kernels and the relay die in front of a real Chromium: the chart goes on, and no trade is missing.

The practice market passes a minute in three seconds, so that bars close while
one looks. What a chart and a cell hold in the end is compared with the
market's own history: a trade that anybody lost would be missing in a volume.

One server, one browser and one notebook serve all tests of this file, which
run in their order.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from datetime import datetime
from pathlib import Path

import pytest
from browser_lab import Lab, chromium, idle, menu, run_all
from waiting import until

from breeze_lab import clock

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CHART = ".breeze-lab-chart"
#: The line that says of a cell's watch that it runs.
LINE = ".jp-CodeCell:nth-child(3 of .jp-CodeCell) .breeze-lab-watch"
#: Where a person finds the pictures; by default nobody keeps them.
PICTURES = os.environ.get("BREEZE_LAB_PICTURES")
#: Seconds that attaching may take; a busy machine gets its head-room.
ATTACH_S = 2.0 if os.environ.get("BREEZE_LAB_QUIET_MACHINE") else 60.0

CELLS = [
    """%load_ext breeze_lab
%breeze_login practice
import json, os
import breeze_lab
def keep(name, frame):
    frame = frame.reindex(columns=["open", "high", "low", "close", "volume", "complete"])
    rows = [[int(at.timestamp()), *row] for at, row in zip(frame.index, frame.values.tolist())]
    open("part", "w").write(json.dumps(rows))
    os.replace("part", name)
open("kernel", "w").write(str(os.getpid()))""",
    "%candles RELIANCE 1m --bars 1000",
    "%%on_bar RELIANCE 1m\nkeep('bars', bars)\nprint(len(bars), 'bars')",
    "%%on_tick RELIANCE --every --quiet\n"  # noqa: ISC004 - one cell
    "open('ticks', 'a').write(f'{os.getpid()} {tick.sequence} {tick.epoch}\\n')",
    "keep('history', breeze_lab.history('RELIANCE', '1m', DAY))",
]  # fmt: skip

#: What the chart's Bokeh figure holds: closed bars and the last two.
ROWS = """async () => {
  for (const loading of window.__breeze_lab_bokeh.values()) {
    for (const document of (await loading).documents) {
      const parts = ["history", "live"].map((name) => document.get_model_by_name(name)?.data);
      if (!parts[0] || !parts[1]) continue;
      const rows = new Map();
      for (const { t, open, high, low, close, volume } of parts) {
        t.forEach((at, i) => rows.set(at, [at, open[i], high[i], low[i], close[i], volume[i]]));
      }
      return [...rows.values()].sort((a, b) => a[0] - b[0]);
    }
  }
  return [];
}"""
#: Note every state of the chart from now on, and when it came.
WATCH = f"""() => {{
  const chart = document.querySelector('{CHART}');
  window.states = [[performance.now(), chart.dataset.state]];
  window.watcher?.disconnect();
  window.watcher = new MutationObserver(() => {{
    if (window.states.at(-1)[1] !== chart.dataset.state) {{
      window.states.push([performance.now(), chart.dataset.state]);
    }}
  }});
  window.watcher.observe(chart, {{ attributeFilter: ["data-state"] }});
}}"""

#: Mark what the former kernel left as old, and note the seconds until what the new one makes is there.
ATTACH = f"""() => {{
  for (const left of document.querySelectorAll('{CHART}, {LINE}')) left.dataset.old = 'yes';
  const begun = performance.now();
  window.attached = {{}};
  const note = (what, selector) => {{
    if (!(what in window.attached) && document.querySelector(selector)) {{
      window.attached[what] = (performance.now() - begun) / 1000;
    }}
  }};
  new MutationObserver((_, observer) => {{
    note('chart', '{CHART}:not([data-old])[data-state=live]');
    note('cell', '{LINE}:not([data-old])[data-state=running]');
    if (Object.keys(window.attached).length === 2) observer.disconnect();
  }}).observe(document.body, {{ childList: true, subtree: true, attributeFilter: ['data-state'] }});
}}"""


@pytest.fixture(scope="module")
def day():
    """Return the market's day, which begins at its midnight."""
    return f"{clock.now():%Y-%m-%d}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory, day):
    cells = [cell.replace("DAY", repr(day)) for cell in CELLS]
    running = Lab(
        tmp_path_factory.mktemp("restart"), {"restart.ipynb": cells},
        market=(f"--at={day}T00:03", "--speed=20", "--no-limits"),
    )  # fmt: skip
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(lab):
    """The notebook, all cells run, its chart live; what the relay tells the chart is written down."""
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": 1280, "height": 1500})
        shown.errors, shown.told = [], []
        shown.on("pageerror", lambda error: shown.errors.append(str(error)))

        def note(frame):
            shown.told.append(json.loads(frame))

        shown.on(
            "websocket",
            lambda one: "breeze-lab/api/feed" in one.url and one.on("framereceived", note),
        )
        shown.goto(lab.address("restart.ipynb"))
        run_all(shown, lab)
        live(shown)
        until(lambda: len(read(lab, "bars")) >= 4, "closed bars")
        yield shown


def live(page):
    page.wait_for_selector(f"{CHART}:not([data-old])[data-state=live]", timeout=60_000)


def read(lab, name):
    """Return the rows a cell wrote; none before it did."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((lab.root / name).read_text())
    return []


def repaints(page):
    return int(page.locator(CHART).get_attribute("data-repaints"))


def states(page):
    return [state for _, state in page.evaluate("window.states")]


def run_cell(page, number):
    page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")


def picture(page, name):
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"restart-{name}.png")


def kernel_pid(lab):
    return int((lab.root / "kernel").read_text())


def used_s(pid):
    """Return the seconds a process has computed, which other processes do not make longer."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ticks(lab, pid):
    """Return the sequences the cell of one kernel saw."""
    lines = (lab.root / "ticks").read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith(f"{pid} ")]


def run_again(page, lab):
    """Run the cells in the new kernel; return the seconds to the live chart and to the bars.

    They begin before the first cell is pressed and are the page's own: what the test needs to
    hear of it is not counted.
    """
    run_cell(page, 0)
    until(
        lambda: (lab.root / "kernel").read_text() != lab.former, "the new kernel's first cell", 60
    )
    idle(page)
    (lab.root / "bars").unlink(missing_ok=True)
    cpu_s = used_s(kernel_pid(lab))
    page.evaluate(ATTACH)
    for number in (3, 2, 1):
        run_cell(page, number)
    page.wait_for_function("Object.keys(window.attached).length === 2", timeout=60_000)
    print(f"the kernel computed for {used_s(kernel_pid(lab)) - cpu_s:.2f} s meanwhile")
    live(page)  # and stays so
    seconds = page.evaluate("window.attached")
    return seconds["chart"], seconds["cell"]


def wrong(rows, history, midnight, *, gap):
    """Return what is wrong with closed bars: `[start, open, high, low, close, volume, complete]`.

    Each minute from midnight on is there; those called complete are the market's, and after a gap
    alone there are others.
    """
    known = {row[0]: row for row in history}
    starts = [row[0] for row in rows]
    found = [f"{at}" for at in set(starts) ^ set(range(midnight, midnight + 60 * len(rows), 60))]
    for *row, complete in rows:
        if complete and row != known.get(row[0]):
            found.append(f"{row} is in history {known.get(row[0])}")
        if not complete and not gap:
            found.append(f"{row} is not complete")
    return found


def same_as_history(page, lab, day, *, gap=False):
    """Check that the chart and the cell hold the day's closed bars as the market has them."""
    seen = len(read(lab, "bars"))
    until(lambda: len(read(lab, "bars")) >= max(seen, 1) + 2, "two more bars")
    (lab.root / "history").unlink(missing_ok=True)
    idle(page)
    cell = read(lab, "bars")[:-1]  # without the one that forms
    run_cell(page, 4)
    until(lambda: read(lab, "history"), "the history")
    history = [row[:6] for row in read(lab, "history")]
    midnight = int(clock.to_ist(datetime.fromisoformat(day)).timestamp())
    assert wrong(cell, history, midnight, gap=gap) == []
    # What the chart cannot know the cell does: it was told what is complete.
    complete = {row[0]: row[6] for row in cell}
    shown = [
        [*row, complete[row[0]]] for row in page.evaluate(ROWS) if midnight <= row[0] <= cell[-1][0]
    ]
    assert wrong(shown, history, midnight, gap=gap) == []
    print(f"{len(cell)} bars, {sum(complete.values())} complete, as in history")


def no_loss_told(page):
    """Check what the relay told the chart: sequences go up, and nothing was lost."""
    heard = 0
    for message in page.told:
        assert not message.get("lost"), message
        for tick in message.get("ticks", ()) if message["op"] == "batch" else ():
            assert tick[1] > heard, message
            heard = tick[1]
    return heard


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_new_kernel_finds_the_day_and_no_trade_is_missing(page, lab, day, how):
    """The chart moves on meanwhile; run again, chart and cell are there with all of the day's bars."""
    page.evaluate(WATCH)
    lab.former = (lab.root / "kernel").read_text()
    before, pid, life = repaints(page), kernel_pid(lab), lab.status()["relay"]["life"]
    if how == "restart":
        menu(page, "Kernel", "Restart Kernel…")
        page.locator(".jp-Dialog button.jp-mod-warn").click()
    else:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the kernel", 60)
    until(lambda: repaints(page) > before + 5, "a chart that moves without a kernel")
    picture(page, f"{how}-gone")
    until(lab.has_kernel, "the next kernel", 60)
    if how == "kill":  # JupyterLab says what it has done
        page.locator(".jp-Dialog button").click()
    idle(page)
    assert states(page) == ["live"]
    chart_s, cell_s = run_again(page, lab)
    print(f"{how}: the chart is live after {chart_s:.2f} s, the cell after {cell_s:.2f} s")
    assert max(chart_s, cell_s) <= ATTACH_S
    same_as_history(page, lab, day)
    picture(page, f"{how}-back")
    assert page.locator(CHART).count() == 1
    status = lab.status()["relay"]
    assert status["life"] == life
    for one in (pid, kernel_pid(lab)):
        numbers = ticks(lab, one)
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert no_loss_told(page) > 0


def test_a_killed_relay_is_back_and_says_what_is_missing(page, lab, day):
    """The open chart is live again; a bar that lacks something is not called complete."""
    page.evaluate(WATCH)
    pid, life = lab.status()["relay"]["pid"], lab.status()["relay"]["life"]
    heard = no_loss_told(page)
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(states(page)) > 1 and states(page)[-1] == "live", "the chart's return", 60)
    changes = page.evaluate("window.states")
    back_s = (changes[-1][0] - next(at for at, state in changes if state != "live")) / 1000
    print(f"live again after {back_s:.2f} s: {states(page)}")
    assert back_s <= ATTACH_S
    picture(page, "relay-back")
    status = lab.status()
    assert status["relay"]["life"] != life
    (row,) = status["relay"]["instruments"]
    assert row["sequence"] > heard
    assert row["ticks"] == row["sequence"], "the day's ticks, those of the former life among them"
    assert lab.market()["connections"]["stream"] == 1
    same_as_history(page, lab, day, gap=True)
    assert no_loss_told(page) > heard


def test_the_page_raised_no_error(page):
    """Nothing above threw in the browser."""
    assert page.errors == []


def test_a_lost_trade_a_lost_minute_and_a_late_start_would_be_seen():
    """The planted faults: each of them is found by the comparison."""
    history = [[60 * n, 1.0, 3.0, 1.0, 2.0, 100.0] for n in range(9)]
    rows = [[*row, True] for row in history[:8]]
    assert wrong(rows, history, 0, gap=False) == []
    assert wrong([*rows[:3], [*rows[3][:5], 99.0, True], *rows[4:]], history, 0, gap=True)
    assert wrong(rows[:3] + rows[4:], history, 0, gap=True)
    assert wrong(rows[1:], history, 0, gap=True)
    told = [*rows[:3], [*rows[3][:5], 99.0, False], *rows[4:]]
    assert wrong(told, history, 0, gap=False)
    assert wrong(told, history, 0, gap=True) == []
