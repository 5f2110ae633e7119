"""The truth table in a real Chromium: no kernel stops it, and what is old looks old.

One server, one browser and one notebook serve all tests of this file, which
run in their order.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from browser_lab import Lab, chromium, idle, kernel, menu
from waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext breeze_lab\n%breeze_login practice",
    "from breeze_lab import feed, session\n"  # noqa: ISC004 - one cell
    "names = 'RELIANCE', 'TCS', 'INFY', 'NIFTY', 'NIFTY fut'\n"
    "wanted = [session.current().resolve(name) for name in names]\n"
    "held = feed.connect().subscribe(wanted, on_event=lambda event: None)",
    "table = %breeze_feed\ntable",
    "import time\nend = time.time() + 9\nwhile time.time() < end:\n    pass",
    "print('looking', table.looking)",
]
TABLE = ".breeze-lab-truth"
#: Where a person finds the pictures; by default nobody keeps them.
PICTURES = os.environ.get("BREEZE_LAB_PICTURES")


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = Lab(tmp_path_factory.mktemp("truth"), {"truth.ipynb": CELLS}, shared=True)
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(lab, browser):
    """The notebook with the table shown."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    shown = context.new_page()
    shown.errors = []
    shown.on("pageerror", lambda error: shown.errors.append(str(error)))
    shown.asked = []
    shown.on("request", lambda one: one.url.endswith("/api/truth") and shown.asked.append(one.url))
    shown.goto(lab.address("truth.ipynb"))
    until(lab.has_kernel, "a kernel", 60)
    idle(shown)
    for index in range(3):
        run_cell(shown, index)
    shown.wait_for_selector(f"{TABLE}[data-mood=live] tr[data-mood=live]", timeout=60_000)
    yield shown
    context.close()


def run_cell(page, index):
    page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".cm-content").first.click()
    page.keyboard.press("Control+Enter")


def keys(page):
    return page.locator(f"{TABLE} .bl-truth-rows tbody tr").evaluate_all(
        "all => all.map(one => one.dataset.key)"
    )


def looks(page):
    return int(page.locator(TABLE).get_attribute("data-looks"))


def ticks(page):
    cell = page.locator(f"{TABLE} tr[data-key='NSE:RELIANCE'] td[data-column=ticks]")
    return int(cell.inner_text().replace(",", ""))


def picture(page, name):
    if PICTURES:
        page.locator(TABLE).screenshot(path=Path(PICTURES) / f"truth-{name}.png")


def test_every_instrument_has_its_row(page):
    """In the order they were asked for, joined, with ticks and an age; the kernel is a consumer."""
    assert keys(page)[:4] == ["NSE:RELIANCE", "NSE:TCS", "NSE:INFY", "NSE:NIFTY"]
    row = page.locator(f"{TABLE} tr[data-key='NSE:RELIANCE']")
    assert row.locator("td[data-column=joined]").inner_text() == "yes"
    assert row.locator("td[data-column=age_s]").inner_text().endswith(" s")
    text = page.locator(TABLE).inner_text()
    assert "connected to practice" in text
    assert "kernel " in page.locator(f"{TABLE} .bl-truth-clients").inner_text()
    assert "in the last minute" in text
    picture(page, "light")


def test_it_moves_about_once_a_second_while_the_kernel_is_busy(page):
    """A cell that computes holds nothing up, and the lines are changed in place."""
    page.evaluate(f"document.querySelector(\"{TABLE} tr[data-key='NSE:RELIANCE']\").mine = true")
    run_cell(page, 3)
    until(lambda: kernel(page) == "busy", "the busy kernel")
    first, before, begun = looks(page), ticks(page), time.monotonic()
    page.wait_for_timeout(3000)
    until(lambda: looks(page) >= first + 2 and ticks(page) > before, "two looks and a tick")
    assert looks(page) - first <= time.monotonic() - begun + 3
    assert kernel(page) == "busy"
    assert len(page.asked) > 2, "the server is asked, not the kernel"
    assert page.locator(TABLE).get_attribute("data-stale") is None
    assert page.evaluate(
        f"document.querySelector(\"{TABLE} tr[data-key='NSE:RELIANCE']\").mine === true"
    )
    idle(page)


def test_a_heading_sorts_up_then_down_then_not_at_all(page):
    """The order stays while figures change, and is told to a screen reader."""
    asked = keys(page)
    button = page.locator(f"{TABLE} button[data-sort=key]")
    head = page.locator(f"{TABLE} .bl-truth-rows th").first
    button.click()
    assert keys(page) == sorted(asked)
    assert head.get_attribute("aria-sort") == "ascending"
    at = looks(page)
    until(lambda: looks(page) > at, "the next look")
    assert keys(page) == sorted(asked)
    button.click()
    assert keys(page) == sorted(asked, reverse=True)
    button.click()
    assert keys(page) == asked
    assert head.get_attribute("aria-sort") == "none"


def test_it_follows_the_theme(page):
    """Dark as the page is dark: text stays readable on its ground."""
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_selector(f"{TABLE}[data-theme=dark]")
    page.evaluate(
        """() => { for (const [name, value] of [["--jp-layout-color1", "#111"],
          ["--jp-layout-color2", "#222"], ["--jp-ui-font-color1", "#eee"],
          ["--jp-ui-font-color2", "#aaa"], ["--jp-border-color2", "#444"]])
          document.body.style.setProperty(name, value); }"""
    )
    picture(page, "dark")
    page.evaluate("document.body.dataset.jpThemeLight = 'true'; document.body.style.cssText = ''")
    page.set_viewport_size({"width": 900, "height": 1000})
    picture(page, "narrow")
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_a_restart_of_the_kernel_does_not_stop_it(page, lab):
    """Between two kernels it moves on; the day's count never falls back."""
    held = ticks(page)
    menu(page, "Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog button.jp-mod-warn").click()
    at = looks(page)
    until(lambda: looks(page) >= at + 2, "two looks")
    assert page.locator(TABLE).get_attribute("data-stale") is None
    assert ticks(page) >= held
    until(lab.has_kernel, "the next kernel", 60)
    idle(page)
    run_cell(page, 0)
    idle(page)
    run_cell(page, 1)
    idle(page)
    until(lambda: ticks(page) > held, "ticks for the next kernel")


def test_a_relay_that_is_killed_leaves_what_is_known(page, lab):
    """The rows stay, faded, until the next relay tells more; the ticks of the day are all there."""
    held, pid = ticks(page), lab.status()["relay"]["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: lab.status()["relay"].get("pid") not in (None, pid), "the next relay")
    until(lambda: ticks(page) > held, "more ticks of the day")
    page.wait_for_selector(f"{TABLE}:not([data-stale])", timeout=60_000)


def test_what_the_server_does_not_tell_looks_old(page, lab):
    """The server hangs: ages grow, the table fades and says since when; then it lives again."""
    cell = page.locator(f"{TABLE} tr[data-key='NSE:RELIANCE'] td[data-column=age_s]")

    def age():
        return float(cell.inner_text().split()[0])

    os.kill(lab.process.pid, signal.SIGSTOP)
    try:
        page.wait_for_selector(f"{TABLE}[data-stale]", timeout=30_000)
        old = age()
        until(lambda: age() >= old + 2, "an age that grows")
        state = page.locator(f"{TABLE} .bl-truth-state")
        state.get_by_text("the Jupyter server has not answered for").wait_for(timeout=30_000)
        picture(page, "stale")
    finally:
        os.kill(lab.process.pid, signal.SIGCONT)
    page.wait_for_selector(f"{TABLE}:not([data-stale])", timeout=30_000)
    until(lambda: age() < old, "a fresh age")


def test_without_the_route_the_kernel_tells_it(page, lab):
    """Where the server has no such route a thread of the kernel keeps the table."""
    page.route("**/breeze-lab/api/truth", lambda route: route.fulfill(status=404, body="{}"))
    run_cell(page, 2)
    idle(page)
    page.wait_for_selector(f"{TABLE}[data-mood=live] tr[data-mood=live]", timeout=60_000)
    first = looks(page)
    until(lambda: looks(page) > first + 1, "two looks of the kernel")
    run_cell(page, 4)
    idle(page)
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(4)
    until(lambda: "looking True" in cell.inner_text(), "the cell's output")


def test_it_ends_with_its_cell(page):
    """The cell is deleted: the kernel looks no longer, and no script failed meanwhile."""
    page.locator(".jp-Notebook .jp-CodeCell").nth(2).locator(".jp-InputPrompt").click()
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.keyboard.press("d")
    until(lambda: not page.locator(TABLE).count(), "the table to go")

    def stopped():
        run_cell(page, 3)
        idle(page)
        return "looking False" in page.locator(".jp-Notebook .jp-CodeCell").nth(3).inner_text()

    until(stopped, "the thread's end")
    assert page.errors == []
