"""Search in a real Chromium: a notebook's widget, JupyterLab's sidebar, a Panel page.

One JupyterLab with our labextension and server extension serves most tests,
which run in their order; one without the server extension and one Panel server
serve the rest.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from browser_lab import Lab, chromium, idle, kernel, menu, run_all
from waiting import until

from breeze_lab import processes
from breeze_lab.widgets import bundles

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext breeze_lab\n%breeze_login practice",
    "found = %breeze_search\nfound",
    "print('picked', found.value, found.instrument.stock_code)",
    "import time\nend = time.time() + 12\nwhile time.time() < end:\n    pass",
]
BOX = ".jp-Notebook .breeze-lab-search"
SIDE = ".breeze-lab-side"
TAB = ".lm-TabBar-tab[data-id=breeze-lab-side]"


def watch_errors(page):
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    return page


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = Lab(tmp_path_factory.mktemp("search"), {"search.ipynb": CELLS}, shared=True)
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(lab, browser):
    """The notebook with its first two cells run: a search box."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = watch_errors(context.new_page())
    shown.goto(lab.address("search.ipynb"))
    until(lab.has_kernel, "a kernel", 60)
    idle(shown)
    for index in (0, 1):
        run_cell(shown, index)
    shown.wait_for_selector(BOX, timeout=60_000)
    yield shown
    context.close()


def run_cell(page, index):
    page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".cm-content").first.click()
    page.keyboard.press("Control+Enter")


def search(page, text, place=BOX, seconds=30):
    """Type a text into an empty box and wait for its answer."""
    page.locator(f"{place} input").click()
    page.keyboard.press("Escape")
    page.locator(f"{place} input").focus()
    page.keyboard.type(text)
    page.wait_for_selector(f"{place}[data-answered='{text}']", timeout=seconds * 1000)


def chosen(page, place=BOX):
    return page.locator(f"{place} [role=option][aria-selected=true]").get_attribute("data-key")


def said(page, place=BOX):
    return page.locator(f"{place} .bl-said").inner_text()


def test_typing_shows_groups_and_arrows_cross_them(page):
    """A typo finds the company; the arrows go from group to group and round; roles are told."""
    search(page, "relianc")
    assert chosen(page) == "NSE:RELIANCE"
    box = page.locator(f"{BOX} input")
    assert box.get_attribute("role") == "combobox"
    assert box.get_attribute("aria-expanded") == "true"
    rows = page.locator(f"{BOX} [role=option]")
    active = page.locator(f"#{box.get_attribute('aria-activedescendant')}")
    assert active.get_attribute("data-key") == "NSE:RELIANCE"
    group = page.locator(f"{BOX} [role=group]").first
    assert page.locator(f"#{group.get_attribute('aria-labelledby')}").inner_text() == "Equity"
    keys = rows.evaluate_all("all => all.map(one => one.dataset.key)")
    walked = [chosen(page)]
    for _ in keys[1:]:
        page.keyboard.press("ArrowDown")
        walked.append(chosen(page))
    assert walked == keys
    page.keyboard.press("ArrowDown")
    assert chosen(page) == keys[0]
    page.keyboard.press("ArrowUp")
    assert chosen(page) == keys[-1]


def test_escape_clears_first_and_then_leaves(page):
    """One Esc empties the box and its list, the next gives the focus back."""
    search(page, "tcs")
    page.keyboard.press("Escape")
    assert page.locator(f"{BOX} input").input_value() == ""
    assert page.locator(f"{BOX} .bl-list").is_hidden()
    page.keyboard.press("Escape")
    assert not page.evaluate(f"document.activeElement === document.querySelector('{BOX} input')")


def test_enter_picks_the_instrument(page):
    """Enter gives Python the Instrument, and typing it ran no command of JupyterLab's."""
    search(page, "relianc")
    page.keyboard.press("Enter")
    until(lambda: "Picked NSE:RELIANCE" in said(page), "the pick")
    run_cell(page, 2)
    output = page.locator(".jp-Notebook .jp-CodeCell").nth(2).locator(".jp-OutputArea-output")
    until(lambda: "picked NSE:RELIANCE RELIND" in "".join(output.all_inner_texts()), "the value")
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == len(CELLS)


def test_the_line_of_code_is_copied(page):
    """The button and its key put the same line on the clipboard."""
    search(page, "tcs")
    page.locator(f"{BOX} [aria-selected=true] button[data-action=copy]").click()
    until(lambda: "Copied" in said(page), "the copy")
    assert page.evaluate("navigator.clipboard.readText()") == 'breeze_lab.candles("NSE:TCS", "1m")'
    search(page, "reliance")
    page.keyboard.press("Alt+c")
    until(lambda: "RELIANCE" in page.evaluate("navigator.clipboard.readText()"), "the other copy")


def test_results_come_while_a_cell_spins(page):
    """The kernel is busy; typing, watching and the sidebar are answered all the same."""
    run_cell(page, 3)
    until(lambda: kernel(page) == "busy", "a busy kernel")
    search(page, "infy")
    assert kernel(page) == "busy", "it answered although the kernel could not"
    assert chosen(page) == "NSE:INFY"
    page.keyboard.press("Alt+w")
    until(lambda: "on the watchlist" in said(page), "the watchlist's answer")
    assert kernel(page) == "busy"
    idle(page)


def test_a_late_answer_is_dropped(page):
    """The answer to an earlier text that comes after a later one's is never shown."""
    held = []

    def hold(route):
        if "q=rel&" in route.request.url:
            held.append(route)  # goes on when the later answer is there
        else:
            route.continue_()

    page.route("**/breeze-lab/api/instruments*", hold)
    page.locator(f"{BOX} input").click()
    page.keyboard.press("Escape")
    page.locator(f"{BOX} input").focus()
    page.keyboard.type("rel")
    until(lambda: (page.wait_for_timeout(20), held)[1], "the first question")
    page.keyboard.type("iance")
    page.wait_for_selector(f"{BOX}[data-answered='reliance']", timeout=30_000)
    with page.expect_response("**/api/instruments?q=rel&*"):
        held[0].continue_()
    page.wait_for_timeout(300)  # time in which a wrong page would show the late answer
    assert page.locator(BOX).get_attribute("data-answered") == "reliance"
    page.unroute("**/breeze-lab/api/instruments*")


def test_charting_puts_a_cell_below(page):
    """Where JupyterLab has our labextension a chart is a cell of the notebook, run at once."""
    search(page, "reliance")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".breeze-lab-chart[data-state=live]", timeout=60_000)
    sources = page.locator(".jp-Notebook .jp-CodeCell .cm-content").all_inner_texts()
    assert any('breeze_lab.candles("NSE:RELIANCE", "1m")' in source for source in sources)
    assert len(sources) == len(CELLS) + 1


def watched(page):
    return page.locator(f"{SIDE} .bl-watch li").evaluate_all("all => all.map(o => o.dataset.key)")


def test_the_sidebar_searches_and_watches_live_prices(page):
    """The same search in the sidebar; a star puts a row with a moving price below it."""
    page.locator(TAB).click()
    for text in ("reliance", "tcs"):
        search(page, text, f"{SIDE} .breeze-lab-search")
        page.keyboard.press("Alt+w")
        until(lambda t=text: f"NSE:{t.upper()}" in watched(page), "the row")
    assert watched(page) == ["NSE:INFY", "NSE:RELIANCE", "NSE:TCS"]
    row = f"{SIDE} .bl-watch li[data-key='NSE:RELIANCE']"
    page.wait_for_selector(f"{row}[data-state=live]", timeout=60_000)
    price = page.locator(row).get_attribute("data-last")
    until(lambda: page.locator(row).get_attribute("data-last") != price, "another price", 60)


def test_the_watchlist_is_reordered_removed_and_kept(page, lab):
    """Keys move and remove rows; the server keeps the order; another page sees it."""
    page.locator(f"{SIDE} .bl-watch li").nth(2).focus()
    page.keyboard.press("Alt+ArrowUp")
    until(lambda: watched(page) == ["NSE:INFY", "NSE:TCS", "NSE:RELIANCE"], "the new order")
    page.locator(f"{SIDE} .bl-watch li").nth(0).focus()
    page.keyboard.press("Delete")
    until(lambda: watched(page) == ["NSE:TCS", "NSE:RELIANCE"], "the row's end")
    assert lab.ask("breeze-lab/api/watchlist")["keys"] == ["NSE:TCS", "NSE:RELIANCE"]
    source = page.locator(f"{SIDE} .bl-watch li").nth(0)
    source.drag_to(page.locator(f"{SIDE} .bl-watch li").nth(1), target_position={"x": 20, "y": 40})
    until(lambda: watched(page) == ["NSE:RELIANCE", "NSE:TCS"], "the dragged order")
    until(lambda: lab.ask("breeze-lab/api/watchlist")["keys"][0] == "NSE:RELIANCE", "its keeping")


def test_the_sidebar_charts_into_the_notebook(page):
    """A click on a watched row's chart adds a cell with its line."""
    before = page.locator(".jp-Notebook .jp-CodeCell").count()
    row = page.locator(f"{SIDE} .bl-watch li[data-key='NSE:TCS']")
    row.hover()
    row.locator("button[data-action=chart]").click()
    until(lambda: page.locator(".jp-Notebook .jp-CodeCell").count() == before + 1, "a new cell")
    page.wait_for_selector(".breeze-lab-chart[data-key='NSE:TCS']", timeout=60_000)


def test_the_commands_are_in_the_palette(page):
    """Breeze Lab's commands are found by their names, and Search puts the cursor in the box."""
    page.keyboard.press("Control+Shift+c")
    page.keyboard.type("Breeze Lab")
    labels = page.locator(".lm-CommandPalette-itemLabel")
    until(lambda: any("Search" in text for text in labels.all_inner_texts()), "the commands")
    texts = labels.all_inner_texts()
    assert [f"Breeze Lab: {name}" in texts for name in (
        "Chart of the Selected Name", "Log In", "Search Instruments",
    )] == [True] * 3  # fmt: skip
    labels.get_by_text("Breeze Lab: Search Instruments").click()
    until(
        lambda: page.evaluate(
            f"document.activeElement === document.querySelector('{SIDE} .breeze-lab-search input')"
        ),
        "the focus in the box",
    )


def test_the_page_raised_no_error(page):
    """Nothing above threw in the browser."""
    assert page.errors == []


def test_without_the_server_extension_the_kernel_answers(tmp_path, browser):
    """Search and chart go by the kernel, the sidebar says why it is empty, nothing throws."""
    lab = Lab(tmp_path, {"bare.ipynb": [*CELLS[:2], "%breeze_login"]}, shared=True, server=False)
    try:
        page = watch_errors(browser.new_page())
        page.goto(lab.address("bare.ipynb"))
        run_all(page, lab)
        page.wait_for_selector(BOX, timeout=60_000)
        search(page, "relianc")
        assert chosen(page) == "NSE:RELIANCE"
        page.keyboard.press("Alt+w")
        until(lambda: "on the watchlist" in said(page), "the kernel's answer")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".breeze-lab-chart[data-state=live]", timeout=60_000)
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == 3, "below the box, in no cell"
        form = page.locator(".jp-Notebook .jp-CodeCell").nth(2).locator("input[type=password]")
        assert form.filter(visible=True).count() == 3, "the kernel's own form: key, secret, session"
        page.locator(TAB).click()
        side = page.locator("#breeze-lab-side")
        until(lambda: "without Breeze Lab's server extension" in side.inner_text(), "the reason")
        assert page.locator(".breeze-lab-clock").count() == 0
        assert page.errors == []
        page.close()
    finally:
        lab.close()


APP = """
import panel as pn
from breeze_lab.dashboards.search import search_pane
pn.extension()
column = search_pane()
box = column[0]
column.append(pn.pane.Str(pn.bind(lambda key: f"picked {key} {box.instrument and box.instrument.stock_code}",
                                  box.param.value)))
column.servable()
"""


@pytest.fixture
def panel(tmp_path):
    """The address of a real ``panel serve`` of the search, and its folder's practice market."""
    (tmp_path / "app.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "panel", "serve", str(tmp_path / "app.py"), f"--port={port}",
         "--address=127.0.0.1"],
        env={**os.environ, "BREEZE_LAB_HOME": str(home), "BREEZE_LAB_SESSION": "practice"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}/app"

    def answers():
        assert process.poll() is None, "panel serve ended"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.status == 200
        except OSError:
            return False

    until(answers, "Panel's page", 60)
    yield address
    process.terminate()
    process.wait(30)
    for name in ("relay", "practice"):
        record = processes.running(home / "runtime", name)
        if record is not None:
            os.kill(record["pid"], signal.SIGTERM)


def test_a_panel_page_has_the_same_search(panel, browser):
    """The same script below ``panel serve``: type, arrows, Enter, and candles on Ctrl+Enter."""
    page = watch_errors(browser.new_page(viewport={"width": 420, "height": 900}))
    page.goto(panel)
    place = ".breeze-lab-search"
    page.wait_for_selector(place, timeout=60_000)
    search(page, "relianc", place, 120)  # the market begins with this question, and the login
    assert chosen(page, place) == "NSE:RELIANCE"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.get_by_text("picked NSE:RELIANCE RELIND").wait_for(timeout=30_000)
    search(page, "tcs", place)
    page.keyboard.press("Control+Enter")
    page.locator("canvas").first.wait_for(timeout=60_000)  # Bokeh's, with the candles
    fits = page.evaluate("document.querySelector('body').scrollWidth <= innerWidth + 1")
    assert fits, "a narrow page does not scroll sideways"
    assert page.errors == []
    page.close()


#: A widget's page whose Python does nothing by itself: what it was asked, and what it may answer.
MUTE = """([script, has_send]) => {
  const render = new Function(script.replace("export default", "return"))().render;
  const asked = [], listeners = [];
  const values = { text: "", market: "", value: "", chart: "" };
  const model = {
    get: (name) => values[name], save_changes: () => {},
    set: (name, value) => { if (name === "request") asked.push(JSON.parse(value)); },
    on: (event, take) => { if (event === "msg:custom") listeners.push(take); }, off: () => {},
  };
  if (has_send) model.send = (message) => asked.push(message);
  window.asked = asked;
  window.answer = (id, key) => {
    const item = { key, title: key, line: key, symbol: key };
    for (const take of listeners) {
      take({ op: "answer", id, groups: key ? [{ title: "Equity", items: [item] }] : [] });
    }
  };
  render({ model, el: document.body });
}"""


@pytest.mark.parametrize("has_send", [True, False])
def test_a_question_waits_for_a_late_answer_and_is_asked_again_where_it_may_be_lost(
    browser, has_send
):
    """It is said that one waits; the first answer counts, and none to a text that has changed."""
    page = watch_errors(browser.new_page())
    place = ".breeze-lab-search"
    patience = bundles.script("search").replace("PATIENCE_S = 20;", "PATIENCE_S = 0.2;")
    assert patience != bundles.script("search")
    page.evaluate(MUTE, [patience, has_send])
    page.locator(f"{place} input").fill("rel")
    until(lambda: "it answers when" in said(page, place), "the word that one waits")
    asked = page.evaluate("window.asked")
    assert {one["text"] for one in asked} == {"rel"}
    assert len({one["id"] for one in asked}) == 1
    if has_send:
        page.wait_for_timeout(500)  # time in which a wrong page would ask again
        assert len(page.evaluate("window.asked")) == 1
    else:
        until(lambda: len(page.evaluate("window.asked")) > 2, "the question, again")
    page.locator(f"{place} input").fill("reliance")
    until(lambda: page.evaluate("window.asked.at(-1).text") == "reliance", "the later question")
    first, second = asked[0]["id"], page.evaluate("window.asked.at(-1).id")
    assert first != second
    page.evaluate("id => window.answer(id, 'NSE:WRONG')", first)
    assert page.locator(place).get_attribute("data-answered") is None
    page.evaluate("id => window.answer(id, 'NSE:RELIANCE')", second)
    page.wait_for_selector(f"{place}[data-answered='reliance']", timeout=30_000)
    count = len(page.evaluate("window.asked"))
    page.evaluate("id => window.answer(id, '')", second)
    page.wait_for_timeout(500)  # as above
    assert chosen(page, place) == "NSE:RELIANCE"
    assert len(page.evaluate("window.asked")) == count
    assert page.errors == []
    page.close()


def test_the_saved_notebook_keeps_no_search(lab, page):
    """What was typed and found is not written into the notebook; the pick is a few bytes."""
    menu(page, "File", "Save Notebook")
    path = lab.root / "search.ipynb"
    until(lambda: "widget-view+json" in path.read_text(), "a save")
    saved = path.read_text()
    assert "groups" not in saved
    assert "RELIANCE INDUSTRIES" not in saved
    assert json.loads(saved)["nbformat"] == 4
