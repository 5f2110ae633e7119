"""The way in, in a real Chromium: keys once, four clicks, no paste; red at midnight and back.

Rehearsals: the whole way of a login to an account, at the practice market's
login page. The tests of a server run in their order; the redirect comes by GET
in one Lab and as a form by POST in the other.
"""

from __future__ import annotations

import sqlite3

import pytest
from browser_lab import Lab, chromium, idle
from waiting import until

from breeze_lab import processes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext breeze_lab\n%breeze_login",
    "%breeze_search",
    "import breeze_lab\nbreeze_lab.candles('RELIANCE', '1m')",
]
SECOND = ["import breeze_lab\nprint('price', breeze_lab.quote('RELIANCE').last > 0)"]
LOGIN = ".jp-Notebook .breeze-lab-login"
SIDE = ".breeze-lab-side .breeze-lab-login"
SEARCH = ".jp-Notebook .breeze-lab-search"
CHART = ".breeze-lab-chart"
CLOCK = ".breeze-lab-clock"
TAB = ".lm-TabBar-tab[data-id=breeze-lab-side]"
#: Everything that shows the session, and the attribute in which it says how it is.
WIDGETS = {
    LOGIN: "state", SIDE: "state", SEARCH: "session", CHART: "session", CLOCK: "state",
    ".breeze-lab-side": "session",
}  # fmt: skip
COUNT = """
for (const kind of ['click', 'paste']) {
  window.addEventListener(kind, (event) => { if (event.isTrusted) window.note(kind); }, true);
}
window.close = () => { window.would_be_closed = true; };  // kept, so that it can be read
"""


class Person:
    """A browser of its own whose clicks and pastes are counted, on whichever page."""

    def __init__(self, browser, lab) -> None:
        self.lab = lab
        self.did: list[str] = []
        self.errors: list[str] = []
        self.context = browser.new_context(viewport={"width": 1280, "height": 1400})
        self.context.expose_function("note", self._note)
        self.context.add_init_script(COUNT)
        self.context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _note(self, kind):
        self.did.append(kind)

    def open(self, name):
        """Open a notebook and wait for its kernel."""
        before = len(self.lab.kernels())
        page = self.context.new_page()
        page.goto(self.lab.address(name))
        until(lambda: len(self.lab.kernels()) > before, "another kernel", 60)
        until(self.lab.has_kernel, "a kernel", 60)
        idle(page)
        return page

    def log_in_there(self, page, button):
        """Press a button of ours and then the one of the login page; return what came back."""
        with self.context.expect_page() as opened:
            page.locator(button).click()
        there = opened.value
        there.get_by_role("button", name="Log in to the practice market").click()
        there.wait_for_selector("#account", timeout=60_000)
        return there


def run_cell(page, index):
    """Run a cell without a click, as somebody does who has just typed it."""
    page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".cm-content").first.focus()
    page.keyboard.press("Control+Enter")


def record(lab):
    return processes.running(lab.runtime, "practice")


def states(page):
    return {
        place: page.locator(place).first.get_attribute(f"data-{name}")
        for place, name in WIDGETS.items()
    }


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module", params=["get", "post"])
def lab(request, tmp_path_factory):
    """A Lab for rehearsals whose broker redirects by `param`."""
    running = Lab(
        tmp_path_factory.mktemp(f"login-{request.param}"),
        {"first.ipynb": CELLS, "second.ipynb": SECOND}, shared=True,
        market=(f"--redirect-method={request.param}",),
        environment={"BREEZE_LAB_BROKER": "practice"},
    )  # fmt: skip
    yield running
    running.close()


@pytest.fixture
def once(lab):
    """Skips what is the same however the broker redirects."""
    if "--redirect-method=post" in lab.market_process.args:
        pytest.skip("once is enough")


@pytest.fixture(scope="module")
def person(browser, lab):
    one = Person(browser, lab)
    yield one
    one.context.close()


@pytest.fixture(scope="module")
def page(person):
    """The first notebook, its login widget asking for keys."""
    shown = person.open("first.ipynb")
    run_cell(shown, 0)
    shown.wait_for_selector(f"{LOGIN}[data-state=keys]", timeout=60_000)
    return shown


def type_keys(page, app_key, secret):
    page.locator(f"{LOGIN} input[name=app_key]").click()
    page.keyboard.type(app_key)
    page.keyboard.press("Tab")
    page.keyboard.type(secret)
    page.locator(f"{LOGIN} .bl-save").click()


def test_a_wrong_secret_is_found_out_at_the_login(page, person, lab):
    """The fields are empty at once; the broker's page and the widget both say what is wrong."""
    type_keys(page, record(lab)["app_key"], "wrong-secret-of-nobody")
    assert page.locator(f"{LOGIN} input[name=secret]").input_value() == ""
    page.wait_for_selector(f"{LOGIN}[data-state=ready]", timeout=30_000)
    with person.context.expect_page() as opened:
        page.locator(f"{LOGIN} .bl-main").click()
    there = opened.value
    there.get_by_role("button", name="Log in to the practice market").click()
    there.get_by_text("The broker did not let us in").wait_for(timeout=60_000)
    until(lambda: "secret is wrong" in page.locator(f"{LOGIN} .bl-trouble").inner_text(), "why")
    assert "wrong-secret-of-nobody" not in there.content() + page.content()
    there.close()
    page.locator(f"{LOGIN} .bl-links").get_by_text("Forget the keys").click()
    page.wait_for_selector(f"{LOGIN}[data-state=keys]", timeout=30_000)


def test_the_first_login_takes_four_clicks_and_no_paste(page, person, lab):
    """Field, save, log in, the broker's own button: and the widget is green by itself."""
    person.did.clear()
    type_keys(page, record(lab)["app_key"], record(lab)["secret"])
    page.wait_for_selector(f"{LOGIN}[data-state=ready]", timeout=30_000)
    there = person.log_in_there(page, f"{LOGIN} .bl-main")
    page.wait_for_selector(f"{LOGIN}[data-state=good]", timeout=30_000)
    assert person.did.count("click") <= 4, person.did
    assert person.did.count("paste") == 0
    assert there.locator("#account").inner_text() == "PRACTICE MARKET"
    until(lambda: there.evaluate("window.would_be_closed === true"), "the page's own end")
    assert "apisession" not in there.url.lower(), "the history keeps no api session"
    there.close()
    words = page.locator(f"{LOGIN} .bl-clock").inner_text()
    assert words.startswith("good until midnight, ")
    assert "PRACTICE MARKET" in page.locator(f"{LOGIN} .bl-name").inner_text()


def test_a_second_kernel_logs_in_with_no_click(page, person):
    """Another notebook asks for a price and has it: nothing pressed, nothing pasted."""
    person.did.clear()
    other = person.open("second.ipynb")
    run_cell(other, 0)
    output = other.locator(".jp-Notebook .jp-OutputArea-output")
    until(lambda: "price True" in "".join(output.all_inner_texts()), "a price", 60)
    assert person.did == []
    other.close()


@pytest.mark.usefixtures("once")
def test_midnight_turns_every_widget_red_with_one_way_back(page, person, lab):
    """The market's midnight: all red, each with one button; one press, and all are green again."""
    page.bring_to_front()
    page.locator(TAB).click()
    for index in (1, 2):
        run_cell(page, index)
    page.wait_for_selector(f"{CHART}[data-state=live]", timeout=60_000)
    assert set(states(page).values()) == {"good"}
    lab.drive("jump", "23:59:57")
    until(lambda: set(states(page).values()) == {"ended"}, "red everywhere", 40)
    assert page.locator(CHART).get_attribute("data-state") == "ended"
    ways = f"{CHART} .bl-log-in, {SEARCH} .bl-log-in, {LOGIN} .bl-main, {SIDE} .bl-main"
    assert page.locator(ways).filter(visible=True).count() == 4
    assert page.locator(CLOCK).inner_text() == "session ended: log in"
    person.did.clear()
    there = person.log_in_there(page, f"{CHART} .bl-log-in")
    until(lambda: set(states(page).values()) == {"good"}, "green everywhere", 40)
    page.wait_for_selector(f"{CHART}[data-state=live]", timeout=30_000)
    assert person.did == ["click", "click"]
    assert page.locator(ways).filter(visible=True).count() == 0
    assert page.locator(CLOCK).inner_text().startswith("PRACTICE MARKET · ")
    there.close()


@pytest.mark.usefixtures("once")
def test_the_status_bar_is_a_way_back_too(page, person, lab):
    """A second midnight, and the click is on the status bar this time."""
    lab.drive("jump", "23:59:57")
    until(lambda: set(states(page).values()) == {"ended"}, "red everywhere", 40)
    person.log_in_there(page, CLOCK).close()
    until(lambda: set(states(page).values()) == {"good"}, "green everywhere", 40)


@pytest.mark.usefixtures("once")
def test_what_the_page_showed_can_be_pasted_instead(page, person, lab):
    """Where the redirect cannot reach the Lab: the whole address goes into the box."""
    lab.ask("breeze-lab/api/logout", method="POST", data={})
    page.wait_for_selector(f"{LOGIN}[data-state=ready]", timeout=30_000)
    with person.context.expect_page() as opened:
        page.locator(f"{LOGIN} .bl-main").click()
    there = opened.value
    there.wait_for_load_state()
    # As if no redirect were registered: the page then shows the api session.
    there.evaluate("document.querySelector('input[name=redirect]').value = 'nowhere'")
    there.get_by_role("button", name="Log in to the practice market").click()
    there.wait_for_selector("#apisession", timeout=30_000)
    address = there.url
    there.close()
    page.locator(f"{LOGIN} .bl-paste summary").click()
    field = page.locator(f"{LOGIN} .bl-paste input")
    field.fill(address)
    field.press("Enter")
    assert field.input_value() == ""
    page.wait_for_selector(f"{LOGIN}[data-state=good]", timeout=60_000)


def test_no_key_is_left_in_page_notebook_or_history(page, lab):
    """After all of that the secrets are neither on the page nor in the notebook or the history."""
    page.keyboard.press("Control+s")
    path = lab.root / "first.ipynb"
    until(lambda: "widget-view+json" in path.read_text(), "a save")
    state = page.evaluate("JSON.stringify(window.__breeze_lab_session.facts)")
    told = record(lab)
    history = ""
    for database in lab.home.glob("ipython/**/history.sqlite"):
        with sqlite3.connect(database) as lines:
            history += repr(lines.execute("select source from history").fetchall())
    log = (lab.home / "log").read_text()
    for name in ("app_key", "secret", "api_session"):
        for place in (page.content(), state, path.read_text(), history, log):
            assert told[name] not in place, name


def test_the_pages_raised_no_error(person):
    """Nothing above threw in the browser."""
    assert person.errors == []
