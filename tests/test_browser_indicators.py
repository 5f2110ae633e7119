"""Indicators in a real Chromium: they move without the kernel, and the menu is used with keys.

One server, one browser and one notebook serve all tests of this file, which run in their order.
"""

from __future__ import annotations

import os

import pytest
from browser_lab import Lab, chromium, idle, kernel, menu
from waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SPECS = ["ema(20)", "vwap", "rsi", "supertrend(10, 3)"]
CELLS = [
    "%load_ext breeze_lab\n%breeze_login practice",
    """import breeze_lab
wanted = ["ema(20)", "vwap", "rsi", "supertrend(10,3)"]
chart = breeze_lab.candles("RELIANCE", "1m", indicators=wanted)
chart""",
    # Spins when it is run again, so that Run All does not take that long.
    """import time
runs = globals().get("runs", 0) + 1
end = time.time() + 60 * (runs == 2)
while time.time() < end:
    pass""",
    "frame = chart.data\nprint(chart.indicators, frame.columns[-1], frame.iloc[0].notna().all())",
]
CHART = ".breeze-lab-chart"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = Lab(tmp_path_factory.mktemp("browser"), {"lines.ipynb": CELLS})
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(lab):
    """The notebook with its chart live and its indicators drawn."""
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": 1280, "height": 1000})
        shown.errors = []
        shown.on("pageerror", lambda error: shown.errors.append(str(error)))
        shown.goto(lab.address("lines.ipynb"))
        until(lab.has_kernel, "a kernel")
        idle(shown)
        menu(shown, "Run", "Run All Cells")
        shown.wait_for_selector(f"{CHART}[data-state=live][data-indicators]", timeout=90_000)
        shown.locator(CHART).scroll_into_view_if_needed()
        yield shown


def drawn(page) -> list[str]:
    """Return the specs that are drawn."""
    said = page.evaluate(f"document.querySelector('{CHART}').dataset.indicators")
    return said.split("; ") if said else []


def valued(page) -> int:
    """Return how often the worker told values."""
    return int(page.evaluate(f"document.querySelector('{CHART}').dataset.valued ?? 0"))


def legend(page) -> dict[str, str]:
    """Return the values beside each name."""
    items = page.locator(f"{CHART} .bl-legend").all()
    return {
        item.locator(".bl-legend-name").inner_text(): " ".join(item.locator("b").all_inner_texts())
        for item in items
    }


def panes(page) -> int:
    """Return how many panes the chart has."""
    return page.evaluate(
        f"document.querySelector('{CHART} .bl-canvas').firstChild.shadowRoot"
        ".querySelectorAll('.bk-Figure').length"
    )


def test_four_indicators_are_drawn_and_move(page):
    """Three lie over the candles, one has a pane of its own; their values follow the trades."""
    assert drawn(page) == SPECS
    assert panes(page) == 3
    assert set(legend(page)) == set(SPECS)
    first, before = valued(page), legend(page)
    until(lambda: valued(page) > first, "values of another trade", 60)
    until(lambda: legend(page) != before, "another number", 60)


def test_the_first_candle_to_be_seen_has_values(page):
    """More bars were fetched than are shown, and the frame behind the chart is the shown ones."""
    idle(page)
    said = page.locator(".jp-CodeCell").nth(3).locator(".jp-OutputArea-output").inner_text()
    assert "SUPERTs_10_3.0" in said
    assert "['ema(20)', 'vwap', 'rsi', 'supertrend(10, 3)']" in said


def test_the_menu_adds_one_with_the_keyboard(page):
    """Open, search, choose, a parameter, add, close: no mouse, and the notebook's keys stay still."""
    cells = page.locator(".jp-CodeCell").count()
    page.locator(f"{CHART} .bl-indicators").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{CHART} .bl-menu-list li")
    page.keyboard.type("bolli")
    chosen = page.locator(f"{CHART} .bl-menu-list li[aria-selected=true] b")
    until(lambda: chosen.inner_text() == "bbands", "the nearest first")
    page.keyboard.press("Enter")
    page.keyboard.type("20")
    page.keyboard.press("Enter")
    until(lambda: drawn(page) == [*SPECS, "bbands(20)"], "the bands", 20)
    page.keyboard.type("macd(12, 26, 5)")
    page.keyboard.press("Enter")
    until(lambda: drawn(page)[-1:] == ["macd(12, 26, 5)"], "what was typed", 20)
    until(lambda: panes(page) == 4, "its pane", 10)
    page.keyboard.press("Escape")
    assert page.locator(f"{CHART} .bl-menu").is_hidden()
    focused = page.evaluate("document.activeElement.className")
    assert focused == "bl-indicators"
    assert page.locator(".jp-CodeCell").count() == cells


def test_a_wrong_name_says_the_nearest(page):
    """It is not drawn, the others are, and the chart says what could have been meant."""
    page.locator(f"{CHART} .bl-indicators").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("emaa(20)")
    page.keyboard.press("Enter")
    bad = page.locator(f"{CHART} .bl-menu-chosen small")
    bad.wait_for(timeout=20_000)
    assert "Nearest: ema" in bad.inner_text()
    remove = page.locator(f"{CHART} .bl-menu-chosen button[title='Remove emaa(20)']")
    remove.focus()
    page.keyboard.press("Enter")
    until(lambda: page.locator(f"{CHART} .bl-menu-bad").count() == 0, "its end")
    for spec in ("bbands(20)", "macd(12, 26, 5)"):
        page.locator(f"{CHART} .bl-menu-chosen button[title='Remove {spec}']").click()
        until(lambda spec=spec: spec not in drawn(page), "its end", 20)
    page.keyboard.press("Escape")
    until(lambda: panes(page) == 3, "the panes of before", 10)


def test_the_kernel_knows_what_was_chosen(page):
    """The widget's attribute is what the menu made of it."""
    idle(page)
    page.locator(".jp-CodeCell").nth(3).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    said = page.locator(".jp-CodeCell").nth(3).locator(".jp-OutputArea-output")
    until(lambda: str(SPECS) in said.inner_text(), "the four")


def test_indicators_move_while_a_cell_spins_and_after_a_killed_worker(page, lab):
    """They go past the kernel; when the process that computes dies, the chart opens anew."""
    page.locator(".jp-CodeCell").nth(2).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    until(lambda: kernel(page) == "busy", "a busy kernel")
    before = valued(page)
    until(lambda: valued(page) >= before + 3, "values past the kernel", 40)
    children = open(f"/proc/{lab.process.pid}/task/{lab.process.pid}/children").read().split()  # noqa: PTH123, SIM115
    workers = [
        int(pid) for pid in children
        if "breeze_lab.indicators.worker" in open(f"/proc/{pid}/cmdline").read()  # noqa: PTH123, SIM115
    ]  # fmt: skip
    assert len(workers) == 1
    os.kill(workers[0], 9)
    before = valued(page)
    until(lambda: valued(page) >= before + 3, "values of the next process", 60)
    assert drawn(page) == SPECS
    menu(page, "Kernel", "Interrupt Kernel")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_wide_and_narrow_light_and_dark(page, theme, width, tmp_path):
    """Nothing is wider than the chart, and every line has a colour of the theme."""
    if width < 600 and page.locator("#jp-left-stack").is_visible():
        page.keyboard.press("Control+b")  # nobody has the file list open on a phone
    page.set_viewport_size({"width": width, "height": 1000})
    page.evaluate(f"document.body.dataset.jpThemeLight = '{str(theme == 'light').lower()}'")
    page.wait_for_selector(f"{CHART}[data-theme={theme}]")
    folder = os.environ.get("BREEZE_LAB_PICTURES")
    if folder:
        page.wait_for_timeout(1500)
        page.locator(CHART).screenshot(path=f"{folder}/indicators-{theme}-{width}.png")
    assert page.evaluate(
        f"(() => {{ const c = document.querySelector('{CHART}'), b = c.getBoundingClientRect();"
        "return [...c.querySelectorAll('.bl-legend, .bl-head > *')]"
        ".every((e) => e.getBoundingClientRect().right <= b.right + 1); })()"
    )


def test_the_page_raised_no_error(page):
    """Nothing above threw in the browser."""
    assert page.errors == []
