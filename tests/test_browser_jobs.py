"""Scheduled notebooks in a real Chromium: JupyterLab's form on market time, and the jobs page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser_lab import TOKEN, Lab, chromium
from jobs_home import end_service
from waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PHRASE = "after F&O close on trading days"
#: Long the first time, so that a slow page sees it; the retry does not wait.
WAIT = (
    "from pathlib import Path\nmark = Path('again')\nagain = mark.exists()\nmark.touch()\n"
    "time.sleep(0 if again else 90)"
)
CELLS = [
    "top = 3", "import time\nprint('ranking', top)", WAIT, "print('done')",
]  # fmt: skip
#: Where a person finds the pictures; by default nobody keeps them.
PICTURES = os.environ.get("BREEZE_LAB_PICTURES")


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    home = tmp_path_factory.mktemp("jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        running = Lab(
            home, {"nightly.ipynb": CELLS}, shared=True, environment={"BREEZE_LAB_SESSION": "practice"}
        )  # fmt: skip
        path = running.root / "nightly.ipynb"
        path.write_text(
            path.read_text().replace('"metadata": {}', '"metadata": {"tags": ["parameters"]}', 1)
        )
        yield running
        running.close()
        end_service()


def picture(page, name):
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"jobs-{name}.png")


def parameter_added(page):
    """Press for a parameter; a form that is just drawn anew lets the press go by."""
    page.get_by_title("Add new parameter").click()
    field = page.locator("[name=parameter-0-name]")
    for _ in range(50):
        if field.count():
            return True
        page.wait_for_timeout(100)
    return False


def test_the_form_of_jupyterlab_makes_a_job_on_market_time(lab, browser):
    """From the file's menu to the list of definitions; the book has the phrase and the number."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(f"{lab.url}lab?reset&token={TOKEN}")
    entry = page.locator(".jp-DirListing-item", has_text="nightly.ipynb")
    entry.wait_for(timeout=60_000)
    entry.click(button="right")
    page.locator(".lm-Menu-itemLabel").get_by_text("Create Job", exact=True).click()
    page.get_by_label("Run on a schedule").wait_for(timeout=60_000)
    until(lambda: parameter_added(page), "the field of a parameter")
    page.locator("[name=parameter-0-name]").fill("top")
    page.locator("[name=parameter-0-value]").fill("5")
    page.get_by_text("Additional options").click()
    field = page.get_by_label("Market time")
    field.fill(PHRASE)
    assert page.locator("[name=parameter-1-name]").input_value() == "market_time"
    picture(page, "form")
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_title('Open detail view for "nightly"').wait_for(timeout=60_000)
    picture(page, "definitions")
    page.get_by_title('Open detail view for "nightly"').click()
    until(lambda: page.get_by_label("Market time").input_value() == PHRASE, "the phrase")
    picture(page, "detail")
    (job,) = lab.ask("breeze-lab/api/jobs")["jobs"]
    assert (job["phrase"], job["parameters"]) == (PHRASE, {"top": 5})
    assert job["market"] == "practice"
    context.close()


def test_the_page_follows_a_run_cell_by_cell_on_a_desk_and_a_phone(lab, browser):
    """Started from the page; cell, bar and log go on by themselves, until it can be retried."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{lab.url}breeze-lab/jobs?token={TOKEN}")
    page.get_by_role("button", name="Run now nightly").click()
    run = page.locator("#runs li[data-state=running]")
    run.wait_for(timeout=60_000)
    page.locator("#runs .message", has_text="Cell 4 of 5").wait_for(timeout=60_000)
    page.locator("#runs pre", has_text="ranking 5").wait_for(timeout=30_000)
    picture(page, "page-1280")
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    picture(page, "page-390-dark")
    page.get_by_role("button", name="Cancel run 1 of nightly").click()
    page.locator("#runs li[data-state=cancelled]").wait_for(timeout=60_000)
    page.get_by_role("button", name="Retry run 1 of nightly").click()
    page.locator("#runs li[data-key='2'][data-state=done]").wait_for(timeout=90_000)
    assert errors == []
    picture(page, "page-390-done")
    context.close()


def test_the_list_of_jupyterlab_shows_the_same_runs(lab, browser):
    """What ran from the page is in JupyterLab's list of jobs, with its end."""
    runs = until(lambda: lab.ask("scheduler/jobs?sort_by=asc(create_time)")["jobs"], "the runs")
    assert [run["status"] for run in runs] == ["STOPPED", "COMPLETED"]
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{lab.url}lab?reset&token={TOKEN}")
    page.locator(".jp-LauncherCard", has_text="Jobs").first.click(timeout=60_000)
    page.get_by_text("Completed").first.wait_for(timeout=30_000)
    picture(page, "list")
    context.close()
