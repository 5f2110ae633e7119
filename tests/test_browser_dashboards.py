"""The dashboards in a real Chromium, on a desk and a phone, light and dark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from browser_lab import TOKEN, Lab, chromium
from dash_home import end, record
from waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

#: Where a person finds the pictures; by default nobody keeps them.
PICTURES = os.environ.get("BREEZE_LAB_PICTURES")

#: What a notebook publishes; the functions get their source from IPython, as there.
CELLS = [
    ("import breeze_lab, pandas as pd, panel as pn\nfrom bokeh.plotting import figure\nfactor = 7"),
    (
        "def board(top=3):\n"
        "    button = pn.widgets.Button(name='Press')\n"
        "    said = pn.pane.Markdown(f'product {top * factor}')\n"
        "    button.on_click(lambda event: setattr(said, 'object', 'it was pressed'))\n"
        "    return pn.Column(said, button)"
    ),
    "breeze_lab.publish(board, name='A function')",
    (
        "f = figure(title='A figure', height=300)\nf.line([1, 2, 3], [3, 1, 2])\n"
        "breeze_lab.publish(f, name='A figure')"
    ),
    (
        "days = pd.date_range('2026-11-20 09:15', periods=3, tz='Asia/Kolkata')\n"
        "table = pd.DataFrame({'close': [1.0, 2.5, 3.0]}, index=days)\n"
        "breeze_lab.publish(table, name='A table')"
    ),
    "breeze_lab.publish(breeze_lab.candles('RELIANCE', indicators='ema(20)'), name='A chart')",
]
SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.loads(sys.argv[1]):
    shell.run_cell(cell).raise_error()
"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    home = tmp_path_factory.mktemp("dash")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        running = Lab(
            home, {"a.ipynb": ["1"]}, shared=True, environment={"BREEZE_LAB_SESSION": "practice"}
        )
        try:
            running.ask("breeze-lab/api/login/practice", method="POST", data={})
            yield running
        finally:
            running.close()
            end()


def opened(browser, lab, address, *, width=1280, height=900, scheme="light"):
    """Return a signed-in page and what went wrong on it."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"{lab.url}{address}{'&' if '?' in address else '?'}token={TOKEN}")
    return page


def clock(page):
    """Wait for the session's clock, which is above every page."""
    page.locator(".bl-dash-clock", has_text="good until midnight").wait_for(timeout=120_000)


def fits(page) -> bool:
    """Say whether nothing scrolls sideways."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def picture(page, name):
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"dash-{name}.png", full_page=True)


def test_the_first_look_starts_it_and_the_market_moves(lab, browser):
    """A page that waits turns into the overview; a first watchlist brings prices with their age."""
    page = opened(browser, lab, "breeze-lab/dash/")
    picture(page, "starting")
    clock(page)
    page.get_by_role("button", name="Begin with NIFTY").click()
    row = page.locator(".bl-watch-card .bl-row[data-key='NSE:RELIANCE']")
    row.locator(".bl-age", has_text="live feed").wait_for(timeout=60_000)
    page.locator(".bl-pill[data-mood=live]").wait_for(timeout=60_000)
    page.locator(".bl-movers-card .bl-row").first.wait_for(timeout=60_000)
    before = row.get_attribute("data-last")
    until(lambda: row.get_attribute("data-last") != before, "another price")
    assert fits(page)
    picture(page, "market-1280")
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    until(lambda: page.evaluate("document.documentElement.dataset.theme") == "dark", "the dark")
    until(lambda: fits(page), "no sideways scroll")
    picture(page, "market-390-dark")
    assert lab.ask("breeze-lab/api/watchlist")["keys"][1] == "NSE:RELIANCE"
    assert page.errors == []
    page.context.close()


def test_the_address_of_a_board_is_what_is_on_it(lab, browser):
    """Charts of a link are there and live; what is changed is in the address, and a link of it restores it."""
    page = opened(
        browser, lab, "breeze-lab/dash/board?chart=RELIANCE,1m,ema(20)&chart=NIFTY,5m&chart=NOSUCH",
        width=390, height=844, scheme="dark",
    )  # fmt: skip
    clock(page)
    charts = page.locator(".breeze-lab-chart[data-state=live]")
    charts.nth(1).wait_for(timeout=60_000)
    page.locator(".bl-slot[data-state=refused]", has_text="No instrument is called").wait_for()
    page.get_by_role("button", name="Remove: NOSUCH").click()
    page.get_by_label("Interval of NIFTY").select_option("15m")
    page.locator(".breeze-lab-chart[data-interval='15m'][data-state=live]").wait_for(timeout=60_000)
    page.locator(".bl-legend button").click()
    until(lambda: "ema" not in page.url, "the address")
    assert fits(page)
    picture(page, "board-390-dark")
    query = page.url.partition("?")[2]
    assert "chart=NSE:RELIANCE,1m" in query
    assert "chart=NSE:NIFTY,15m" in query
    assert page.errors == []
    page.context.close()
    again = opened(browser, lab, f"breeze-lab/dash/board?{query}")
    again.locator(".breeze-lab-chart[data-interval='15m'][data-state=live]").wait_for(
        timeout=60_000
    )
    assert again.locator(".bl-slot").count() == 2
    assert fits(again)
    picture(again, "board-1280")
    again.context.close()


def test_what_a_notebook_publishes_outlives_kernel_and_process(lab, browser):
    """A function with its controls, a figure, a table and a live chart; after a kill they come back by themselves."""
    done = subprocess.run(
        [sys.executable, "-c", SHELL, json.dumps(CELLS)],
        env=lab.environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = opened(browser, lab, "breeze-lab/dash/published", width=390, height=844, scheme="dark")
    clock(page)
    fonts = [
        page.locator(one).first.evaluate("(node) => getComputedStyle(node).fontFamily")
        for one in (".bl-published li", ".breeze-lab-dash")
    ]
    assert fonts[0] == fonts[1]
    picture(page, "published-390-dark")
    page.get_by_role("link", name="A function").click()
    page.get_by_text("product 21").wait_for(timeout=60_000)
    page.get_by_role("button", name="Press").click()
    page.get_by_text("it was pressed").wait_for(timeout=30_000)
    page.get_by_label("top").fill("5")
    page.get_by_label("top").press("Enter")
    page.get_by_text("product 35").wait_for(timeout=30_000)
    picture(page, "function-390-dark")
    pid = record()["pid"]
    os.kill(pid, signal.SIGKILL)
    page.get_by_text("product 21").wait_for(timeout=120_000)
    assert record()["pid"] != pid
    for name, seen in (
        ("A figure", ".bk-Figure"), ("A table", ".tabulator-row"),
        ("A chart", ".breeze-lab-chart[data-state=live]"),
    ):  # fmt: skip
        page.goto(f"{lab.url}breeze-lab/dash/published?name={name}")
        page.locator(seen).first.wait_for(timeout=60_000)
        clock(page)
        assert fits(page), name
        picture(page, f"{name.replace(' ', '-').lower()}-390-dark")
    page.context.close()


def test_jobs_and_the_way_from_jupyterlab(lab, browser):
    """The palette and the sidebar open the pages; the page of jobs says that nothing ran."""
    page = opened(browser, lab, "lab?reset", height=800)
    page.locator("#breeze-lab-side").wait_for(state="attached", timeout=120_000)
    page.locator("[data-id=breeze-lab-side]").click()
    page.locator(".bl-side-pages").wait_for(timeout=60_000)
    page.locator(".jp-LauncherCard", has_text="Dashboards").wait_for(timeout=60_000)
    picture(page, "lab")
    with page.context.expect_page() as new:
        page.locator(".bl-side-pages").get_by_role("button", name="Jobs").click()
    jobs = new.value
    jobs.get_by_text("Nothing has run yet.").wait_for(timeout=120_000)
    clock(jobs)
    assert fits(jobs)
    picture(jobs, "jobs-1280")
    with page.context.expect_page() as new:
        page.locator(".jp-LauncherCard", has_text="Dashboards").click()
    clock(new.value)
    assert "/breeze-lab/dash/market" in new.value.url
    page.context.close()
