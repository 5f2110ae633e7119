"""A real Chromium in front of a real JupyterLab: the chart a newcomer sees.

One server, one browser and one notebook serve all tests of this file, which
run in their order: each goes on where the one before it stopped.
"""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from browser_lab import FLAGS, TOKEN, Lab, idle, kernel, menu
from chromium import find
from waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext breeze_lab\n%breeze_login practice",
    "%candles RELIANCE 1m",
    # Spins when it is run again, so that Run All does not take twelve seconds each time.
    """import time
runs = globals().get("runs", 0) + 1
end = time.time() + 12 * (runs == 2)
while time.time() < end:
    pass""",
]
CHART = ".breeze-lab-chart"

#: Digest of what Bokeh painted in both panes: its canvases alone, none of what lies over them.
#: A quiet minute's price may alternate between two ticks; its volume grows with every trade.
PIXELS = """() => {
  const deep = (node, found) => {
    if (node.tagName === 'CANVAS') found.push(node);
    for (const child of [...(node.shadowRoot?.children ?? []), ...node.children]) deep(child, found);
    return found;
  };
  const painted = deep(document.querySelector('.breeze-lab-chart .bl-canvas'), []);
  const image = painted.map((canvas) => canvas.toDataURL()).join();
  let digest = 0;
  for (let i = 0; i < image.length; i++) digest = (digest * 31 + image.charCodeAt(i)) | 0;
  return digest;
}"""


#: Count the style sheets that are written as they were, until the chart has been painted ten times.
UNCHANGED = """async () => {
  const chart = document.querySelector('.breeze-lab-chart');
  const text = Object.getOwnPropertyDescriptor(Node.prototype, 'textContent');
  let count = 0;
  const set = function (value) {
    if (this.tagName === 'STYLE' && text.get.call(this) === value) count += 1;
    text.set.call(this, value);
  };
  Object.defineProperty(Node.prototype, 'textContent', { ...text, set });
  const until = Number(chart.dataset.repaints) + 10;
  while (Number(chart.dataset.repaints) < until) await new Promise((go) => setTimeout(go, 50));
  Object.defineProperty(Node.prototype, 'textContent', text);
  return count;
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = Lab(tmp_path_factory.mktemp("browser"), {"chart.ipynb": CELLS})
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(lab, tmp_path_factory):
    """The notebook in JupyterLab, all cells run, its chart live."""
    sync = pytest.importorskip("playwright.sync_api")
    executable = find()
    if executable is None:
        pytest.skip("no Chromium here; make setup installs one")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        shown = browser.new_page(viewport={"width": 1280, "height": 1000})
        shown.errors = []
        shown.on("pageerror", lambda error: shown.errors.append(str(error)))
        shown.sent = []

        def note(frame):  # Playwright takes no built-in method
            shown.sent.append(frame)

        shown.on("websocket", lambda one: one.on("framesent", note))
        shown.goto(f"{lab.url}lab/tree/chart.ipynb?token={TOKEN}")
        until(lab.has_kernel, "a kernel")
        idle(shown)
        menu(shown, "Run", "Run All Cells")
        shown.wait_for_selector(f"{CHART}[data-state=live]", timeout=120_000)
        yield shown
        browser.close()


def data(page):
    """Return the data attributes of the only chart."""
    return page.evaluate(f"({{...document.querySelector('{CHART}').dataset}})")


def repaints(page) -> int:
    return int(data(page)["repaints"])


def test_a_new_notebook_shows_moving_candles(page):
    """Run All gives a chart whose pixels and last price change."""
    first, price = page.evaluate(PIXELS), data(page)["lastPrice"]
    until(lambda: page.evaluate(PIXELS) != first, "other pixels")
    until(lambda: data(page)["lastPrice"] != price, "another price", 200)
    assert data(page)["key"] == "NSE:RELIANCE"
    assert page.locator(f"{CHART} .bl-symbol").inner_text() == "RELIANCE"
    assert page.locator(f"{CHART} .bl-practice").is_visible()


def test_a_repaint_writes_no_style_sheet_as_it_was(page):
    """Bokeh would write some fifty with each, and the browser look at its styles for every one."""
    assert page.evaluate(UNCHANGED) == 0


def test_the_chart_says_whose_prices_it_wants(page):
    """Its subscription names the market, so that a relay of another one refuses it."""
    asked = [json.loads(frame) for frame in page.sent if '"subscribe"' in str(frame)]
    assert [one["market"] for one in asked] == ["practice"]


def test_the_chart_moves_while_a_cell_spins(page):
    """A cell that never yields for ten seconds stops nothing: at least 50 repaints meanwhile."""
    idle(page)
    page.locator(".jp-CodeCell").nth(2).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    until(lambda: kernel(page) == "busy", "a busy kernel")
    before, begin, pictures = repaints(page), time.monotonic(), set()
    while time.monotonic() - begin < 10:
        pictures.add(page.evaluate(PIXELS))
        page.wait_for_timeout(500)
    painted = repaints(page) - before
    assert kernel(page) == "busy"
    assert painted >= 50
    assert len(pictures) > 2


def test_hovering_shows_the_candle(page):
    """The tooltip names time in IST, open, high, low, close and volume, and goes with the mouse."""
    idle(page)
    page.locator(CHART).scroll_into_view_if_needed()
    box = page.locator(f"{CHART} .bl-plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 120)
    tip = page.locator(f"{CHART} .bl-tip")
    tip.wait_for(state="visible", timeout=30_000)
    text = tip.inner_text()
    assert all(word in text for word in ("IST", "Open", "High", "Low", "Close", "Volume"))
    assert page.locator(f"{CHART} .bl-price-tag").is_visible()
    numbers = [float(part.replace(",", "")) for part in tip.locator("dd").all_inner_texts()[:4]]
    opened, high, low, close = numbers
    assert low <= min(opened, close) <= max(opened, close) <= high
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] - 40)
    tip.wait_for(state="hidden", timeout=30_000)


def test_dragging_shows_older_candles_and_latest_comes_back(page):
    """A pan leaves the newest candle until the button brings it back."""
    box = page.locator(f"{CHART} .bl-plot").bounding_box()
    y = box["y"] + 150
    latest = page.locator(f"{CHART} .bl-latest")
    assert latest.is_hidden()
    page.mouse.move(box["x"] + 200, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, y, steps=8)
    page.mouse.up()
    latest.wait_for(state="visible", timeout=30_000)
    latest.click()
    latest.wait_for(state="hidden", timeout=30_000)


def test_a_killed_relay_is_seen_and_healed(page, lab):
    """The badge says so when the relay dies, and the chart goes on with the next one."""
    pid = lab.status()["relay"]["pid"]
    page.evaluate(
        f"new MutationObserver(() => window.seen = true).observe(document.querySelector('{CHART}'),"
        " {attributeFilter: ['data-state']})"
    )
    os.kill(pid, signal.SIGKILL)
    until(lambda: page.evaluate("window.seen === true"), "the offline badge")
    page.wait_for_selector(f"{CHART}[data-state=live]", timeout=30_000)
    before = repaints(page)
    until(lambda: repaints(page) > before, "a repaint")
    until(lambda: lab.status()["relay"].get("pid") not in (pid, None), "the next relay")
    assert lab.market()["connections"]["stream"] == 1


def test_a_restarted_kernel_leaves_the_chart_alive_and_one_connection(page, lab):
    """The chart outlives its kernel; after Run All there is one chart, socket and connection."""
    menu(page, "Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog button.jp-mod-warn").click()
    idle(page)
    before = repaints(page)
    until(lambda: repaints(page) > before, "a repaint without the kernel")
    page.evaluate(f"document.querySelector('{CHART}').dataset.old = 'yes'")
    menu(page, "Run", "Run All Cells")
    page.wait_for_selector(f"{CHART}:not([data-old])[data-state=live]", timeout=120_000)
    assert page.locator(CHART).count() == 1
    until(lambda: lab.status()["browsers"] == 1, "the end of the old socket")
    market = lab.market()
    assert market["connections"]["stream"] == 1
    assert market["rooms"] == {"4.1!2885": 1}


def test_the_saved_notebook_stays_small(page, lab):
    """A chart costs kilobytes: neither BokehJS nor the candles are written into the notebook."""
    idle(page)
    menu(page, "File", "Save Notebook")
    until(
        lambda: (
            "application/vnd.jupyter.widget-view+json" in (lab.root / "chart.ipynb").read_text()
        ),
        "a save",
    )
    assert (lab.root / "chart.ipynb").stat().st_size < 10_000


def test_the_page_raised_no_error(page):
    """Nothing above threw in the browser."""
    assert page.errors == []
