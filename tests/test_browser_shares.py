"""A chart is shared from its head, and people without a login look at it in browsers of their own."""

from __future__ import annotations

import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser_lab import Lab, chromium, run_all
from waiting import until, within

from breeze_lab import processes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext breeze_lab\n%breeze_login practice\nimport breeze_lab",
    'chart = breeze_lab.candles("RELIANCE", "1m", indicators=["ema(20)", "rsi"])\nchart',
    'print(breeze_lab.share(chart, "1d").url, breeze_lab.share(chart, data="snapshot").url)',
]
CHART = ".breeze-lab-chart"
#: Where screenshots go when somebody wants to look at them.
PICTURES = os.environ.get("BREEZE_LAB_PICTURES")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = Lab(tmp_path_factory.mktemp("shares"), {"chart.ipynb": CELLS})
    yield running
    record = processes.running(running.runtime, "shares")
    running.close()
    if record is not None:
        os.kill(record["pid"], 15)


@pytest.fixture(scope="module")
def page(lab, browser):
    """The owner's notebook with its chart live."""
    shown = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    shown.goto(lab.address("chart.ipynb"))
    run_all(shown, lab)
    shown.wait_for_selector(f"{CHART}[data-state=live]", timeout=120_000)
    return shown


def picture(page, name):
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


class Viewer:
    """A browser profile that knows nothing of the Lab, and what its page sends and complains of."""

    def __init__(self, browser, width=1280, scheme="light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.sent, self.heard, self.wrong = [], [], []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "console",
            lambda one: self.wrong.append(one.text) if one.type == "error" else None,
        )
        self.page.on("websocket", self._listen)

    def _listen(self, socket) -> None:
        def sent(frame):  # Playwright takes no built-in method
            self.sent.append(frame)

        def heard(frame):
            self.heard.append(frame)

        socket.on("framesent", sent)
        socket.on("framereceived", heard)

    def open(self, url):
        """Open a link; return the seconds until it was painted."""
        begun = time.monotonic()
        self.page.goto(url)
        self.page.wait_for_selector("body[data-state=shown]", timeout=60_000)
        return time.monotonic() - begun

    def data(self):
        return self.page.evaluate(f"({{...document.querySelector('{CHART}').dataset}})")

    def close(self) -> None:
        self.context.close()


@pytest.fixture(scope="module")
def link(page):
    """A link made with two clicks: Share, Create link. Opening it is the third."""
    page.locator(f"{CHART} .bl-share").click()
    page.locator(f"{CHART} .bl-share-make").click()
    page.locator(f"{CHART} .bl-share-made").wait_for(state="visible", timeout=60_000)
    picture(page, "share-box")
    return page.locator(f"{CHART} .bl-share-link").input_value()


def test_a_link_is_two_clicks_away_and_opens_in_three_seconds(browser, lab, link):
    """In a fresh profile, without any login, on the Lab's own port: painted, live, with its source."""
    assert re.fullmatch(re.escape(f"{lab.url}breeze-lab/s/") + r"[\w-]{32}", link)
    viewer = Viewer(browser)
    assert viewer.open(link) < within(3.0)
    viewer.page.wait_for_selector(f"{CHART}[data-state=live]", timeout=60_000)
    assert viewer.page.locator(".bl-source").inner_text() == "Practice market, made-up prices"
    assert "IST" in viewer.page.locator(".bl-page-age").inner_text()
    assert viewer.page.locator(".bl-kind").inner_text() == "Live"
    # It moves, and its indicators with it.
    before = viewer.data()
    until(lambda: viewer.data()["lastPrice"] != before["lastPrice"], "another price", 90)
    until(lambda: viewer.data().get("indicators") == "ema(20); rsi", "its indicators")
    until(lambda: '"op":"values"' in str(viewer.heard[-20:]), "values that follow")
    # Nothing of the owner's controls, nothing sent, no cookie, nothing wrong.
    for part in (".bl-indicators", ".bl-share"):
        assert (
            viewer.page.locator(f"{CHART} {part}").count() == 0
            or viewer.page.locator(f"{CHART} {part}").first.is_hidden()
        )
    assert viewer.sent == []
    assert viewer.context.cookies() == []
    assert viewer.wrong == []
    viewer.close()


def test_a_viewers_page_cannot_ask_the_jupyter_server(browser, page, lab, link):
    """Even in the owner's own browser the page has no cookie and no way to the API."""
    own = page.context.new_page()
    own.goto(link)
    own.wait_for_selector("body[data-state=shown]", timeout=60_000)
    assert own.evaluate("window.origin") == "null"
    answers = own.evaluate(
        """async (url) => {
          const tried = [];
          for (const mode of ["cors", "no-cors"])
            tried.push(await fetch(url, {mode, credentials: "include"}).then((a) => a.type, () => "none"));
          try { tried.push(document.cookie); } catch { tried.push("no cookie"); }
          return tried;
        }""",
        f"{lab.url}api/contents",
    )
    assert answers[0] == "none"
    assert answers[1] in ("none", "opaque")  # sent without a cookie, and nothing to be read of it
    assert answers[2] == "no cookie"
    own.close()


def test_a_cell_makes_links_of_the_same_chart(browser, page, lab):
    """Live and as a snapshot: the same page with the same indicators, and a still one says so."""
    output = page.locator(".jp-OutputArea-output pre").last
    until(lambda: output.inner_text().count("/s/") == 2, "the links of the cell")
    live, still = output.inner_text().split()
    assert live.startswith(f"{lab.url}breeze-lab/s/")
    for url, state in ((live, "live"), (still, "still")):
        viewer = Viewer(browser)
        viewer.open(url)
        viewer.page.wait_for_selector(f"{CHART}[data-state={state}]", timeout=60_000)
        until(lambda viewer=viewer: viewer.data().get("indicators") == "ema(20); rsi", "both")
        assert viewer.wrong == []
        picture(viewer.page, f"share-{state}")
        viewer.close()


def test_a_phone_and_a_desk_look_at_one_subscription(browser, lab, link):
    """Nothing is cut off at 390 pixels; however many look, the market has one room of it."""
    kinds = [(390, "dark"), (1280, "light")]
    kinds += [(390, "light"), (1280, "dark")] if PICTURES else []
    viewers = [Viewer(browser, *kind) for kind in kinds]
    for viewer in viewers:
        viewer.open(link)
        viewer.page.wait_for_selector(f"{CHART}[data-state=live]", timeout=60_000)
    until(lambda: all(v.data().get("indicators") for v in viewers), "their indicators")
    until(lambda: lab.market()["rooms"]["4.1!2885"] == 1, "one room")
    assert lab.market()["connections"]["stream"] == 1
    for viewer, (width, scheme) in zip(viewers, kinds, strict=True):
        assert viewer.page.evaluate("document.documentElement.scrollWidth") <= width
        assert viewer.data()["theme"] == scheme
        viewer.page.wait_for_timeout(300 if PICTURES else 0)
        picture(viewer.page, f"share-{width}-{scheme}")
        viewer.close()


def test_a_withdrawn_link_is_dead_within_a_second(browser, page, link):
    """Withdraw ends it for whoever looks, and for everybody who comes later."""
    viewer = Viewer(browser)
    viewer.open(link)
    viewer.page.wait_for_selector(f"{CHART}[data-state=live]", timeout=60_000)
    withdraw = page.locator(f"{CHART} .bl-share-list button").first
    withdraw.wait_for(state="visible", timeout=60_000)
    begun = time.monotonic()
    withdraw.click()
    viewer.page.wait_for_selector("body[data-state=ended]", timeout=60_000)
    assert time.monotonic() - begun < within(1.0)
    assert viewer.page.locator(CHART).count() == 0
    assert viewer.page.locator(".bl-ended-page").is_visible()
    page.locator(f"{CHART} .bl-share-said", has_text="Withdrawn").wait_for(timeout=30_000)
    assert page.locator(f"{CHART} .bl-share-made").is_hidden()  # nobody copies a dead link
    picture(viewer.page, "share-ended")
    answer = viewer.page.goto(link)
    assert answer.status == 404
    viewer.close()


def test_the_owners_log_knows_no_link(lab, link):
    """Jupyter's log names the route and hides the id."""
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(link[:-1] + ("A" if link[-1] != "A" else "B"), timeout=60)
    until(lambda: "breeze-lab/s/[hidden]" in (lab.home / "log").read_text(), "its line")
    log = (lab.home / "log").read_text()
    assert link[:-1].rpartition("/")[2] not in log
    assert link.rpartition("/")[2] not in log
