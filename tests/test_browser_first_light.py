"""The newcomer's way: the command, the shipped notebook, Run All, a moving candle."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser_lab import FLAGS, menu
from chromium import find
from test_browser_chart import CHART, data, repaints
from waiting import until

from breeze_lab import processes

#: Before a kernel is connected and at rest, Run All asks which kernel to use.
CONNECTED = """() => fetch('/api/kernels').then(answer => answer.ok ? answer.json() : [])
  .then(all => all.some(one => one.connections && one.execution_state === 'idle'))"""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def lab(tmp_path):
    """``breeze-lab`` in an empty home; yields its address and its runtime folder."""
    home = tmp_path / "home"
    home.mkdir()
    unwanted = ("BREEZE_LAB", "JUPYTER", "XDG_", "IPYTHON")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    command = Path(sys.executable).parent / "breeze-lab"
    process = subprocess.Popen(
        [str(command), "--no-browser", "--ServerApp.port=0"],
        cwd=tmp_path, env={**environment, "HOME": str(home)}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    found = None
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", line)
        if found:
            break
    assert found, f"no address; the command ended with {process.wait(30)}"
    runtime = home / ".local/share/jupyter/runtime/breeze-lab"
    yield found[0], runtime
    process.send_signal(signal.SIGTERM)
    process.stderr.close()
    process.wait(30)
    # What the command started it also ends, and what was started for its pages.
    for name in ("shares", "dashboards", "practice", "relay"):
        until(lambda name=name: not processes.running(runtime, name), f"the {name}'s end")
    shutil.rmtree(home, ignore_errors=True)


def test_run_all_gives_a_moving_candle(lab):
    """From the bare command to a live chart with the shipped notebook; every cell succeeds."""
    sync = pytest.importorskip("playwright.sync_api")
    executable = find()
    if executable is None:
        pytest.skip("no Chromium here; make browser installs one")
    address, runtime = lab
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector(
            '.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000
        )
        assert processes.running(runtime, "practice"), "the practice market is already there"
        until(lambda: page.evaluate(CONNECTED), "a connected kernel", 60)
        menu(page, "Run", "Run All Cells")
        page.wait_for_selector(f"{CHART}[data-state=live]", timeout=60_000)
        price, painted = data(page)["lastPrice"], repaints(page)
        until(lambda: repaints(page) > painted + 10, "repaints")
        until(lambda: data(page)["lastPrice"] != price, "another price", 200)
        prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
        until(lambda: re.fullmatch(r"\[\d+\]:", prompts.last.inner_text()), "the last cell", 60)
        assert page.locator(".jp-RenderedText[data-mime-type*=stderr]").count() == 0
        assert "Type 'RELIANCE'" in page.locator(".jp-Notebook").inner_text()
        deadline = time.monotonic() + 60
        while "connected (practice)" not in page.locator(".breeze-lab-status").inner_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # Who looks at a shared chart would bring the relay back if it were not ended first.
        page.locator(f"{CHART} .bl-share").click()
        page.locator(f"{CHART} .bl-share-make").click()
        with page.expect_popup() as opened:
            page.locator(f"{CHART} .bl-share-open").click(timeout=60_000)
        opened.value.wait_for_selector(f"{CHART}[data-state=live]", timeout=60_000)
        assert processes.running(runtime, "shares")
        browser.close()
