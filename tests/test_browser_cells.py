"""``%%on_tick`` and ``%%on_bar`` in a real JupyterLab in a real Chromium.

One server, one browser and one notebook serve all tests of this file, which
run in their order.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from browser_lab import Lab, chromium, idle, kernel, menu, run_all
from waiting import until, within

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext breeze_lab\n%breeze_login practice\nimport breeze_lab, pandas",
    "%%on_tick RELIANCE --lines 5000\nprint('tick', tick.instrument, tick.last)",
    "%%on_bar RELIANCE 1m --forming\nprint('bars', len(bars), bar.start.strftime('%H:%M'))",
    "%%on_tick NIFTY\nwrong = 'planted'\nraise ValueError(wrong)",
    "2 + 2",
    "%%on_tick RELIANCE --every --lines 8\n"  # noqa: ISC004 - one cell
    "from IPython.display import HTML\n"
    "print('first', tick.sequence)\nprint('second', tick.last)\n"
    "display(HTML(f'<b class=sequence>{tick.sequence}</b>'))",
]
#: Where a person finds the pictures; by default nobody keeps them.
PICTURES = os.environ.get("BREEZE_LAB_PICTURES")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = Lab(tmp_path_factory.mktemp("cells"), {"cells.ipynb": CELLS})
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(lab):
    """The notebook, all cells run."""
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": 1280, "height": 1400})
        shown.errors = []
        shown.on("pageerror", lambda error: shown.errors.append(str(error)))
        shown.goto(lab.address("cells.ipynb"))
        run_all(shown, lab)
        yield shown


def output(page, number):
    """Return the text of a cell's output area."""
    parts = page.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea-output")
    return "\n".join(parts.all_inner_texts())


def count(page, number, word):
    return output(page, number).count(word)


def run_cell(page, number):
    page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")


def state(page, number):
    """Return what the cell's own line says."""
    line = page.locator(".jp-CodeCell").nth(number).locator(".breeze-lab-watch")
    return line.get_attribute("data-state") if line.count() else ""


def test_output_appears_in_the_cell_while_nothing_runs(page):
    """Ticks go on being printed into their cell, bars into theirs, and the kernel is idle."""
    until(lambda: count(page, 1, "tick NSE:RELIANCE") >= 3, "ticks")
    idle(page)
    before = count(page, 1, "tick NSE:RELIANCE")
    until(lambda: count(page, 1, "tick NSE:RELIANCE") > before + 2, "more ticks")
    until(lambda: count(page, 2, "bars ") >= 2, "bars")
    assert "bars" not in output(page, 1)
    assert "tick " not in output(page, 2)
    assert output(page, 4).strip() == "4"
    assert state(page, 1) == "running"


def test_a_cell_that_prints_all_day_stays_short(page):
    """The newest lines, how many went, and one display that is replaced."""
    cell = page.locator(".jp-CodeCell").nth(5)
    until(lambda: "earlier lines were dropped" in output(page, 5), "the word about it")
    shown = cell.locator(".sequence")
    first = int(shown.inner_text())
    until(lambda: int(shown.inner_text()) > first + 2, "the next displays")
    lines = [line for line in output(page, 5).splitlines() if line[:6] in ("first ", "second")]
    assert len(lines) == 8
    assert cell.locator(".jp-OutputArea-output").count() == 3
    if PICTURES:
        cell.screenshot(path=Path(PICTURES) / "cells-lines.png")


def test_an_error_is_shown_in_its_cell_alone(page):
    """The traceback and the way on are in the cell that failed; the others go on."""
    until(lambda: "--keep-going" in output(page, 3), "the error")
    assert "raise ValueError(wrong)" in output(page, 3)
    assert "ValueError: planted" in output(page, 3)
    assert state(page, 3) == "stopped by ValueError"
    before = count(page, 1, "tick ")
    until(lambda: count(page, 1, "tick ") > before, "ticks all the same")


def test_a_rerun_stops_the_former(page, lab):
    """The cell begins anew with one body."""
    lines = count(page, 1, "tick ")
    run_cell(page, 1)
    until(lambda: 0 < count(page, 1, "tick ") < lines, "the new output")
    idle(page)
    run_cell(page, 1)
    idle(page)
    until(lambda: count(page, 1, "tick ") >= 3, "ticks")
    assert page.locator(".jp-CodeCell").nth(1).locator(".breeze-lab-watch").count() == 1


def test_an_interrupt_of_the_idle_kernel_stops_all(page):
    """The stop button ends every body, and the kernel is as it was."""
    idle(page)
    menu(page, "Kernel", "Interrupt Kernel")
    until(lambda: state(page, 1) == state(page, 2) == "interrupted", "the end")
    page.wait_for_timeout(1_000)  # what was printed before the end is shown a moment after it
    lines = count(page, 1, "tick ")
    run_cell(page, 4)
    until(lambda: kernel(page) == "idle" and output(page, 4).strip() == "4", "the kernel")
    assert count(page, 1, "tick ") == lines


def test_a_restart_leaves_nothing_and_the_rerun_is_there_in_two_seconds(page, lab):
    """After a restart no body runs; run again, it has the day's bars at once."""
    run_cell(page, 2)
    until(lambda: count(page, 2, "bars ") >= 1 and state(page, 2) == "running", "bars")
    before = int(output(page, 2).split("bars ")[1].split()[0])
    menu(page, "Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog button.jp-mod-warn").click()
    until(lambda: lab.market()["rooms"] == {}, "the release of the room")
    until(lab.has_kernel, "the next kernel", 60)
    idle(page)
    run_cell(page, 0)
    idle(page)
    begun = time.monotonic()
    run_cell(page, 2)
    until(lambda: state(page, 2) == "running" and count(page, 2, "bars ") >= 1, "bars again")
    took_s = time.monotonic() - begun
    print(f"back after {took_s:.2f} s")
    assert took_s < within(2.0)
    assert int(output(page, 2).split("bars ")[1].split()[0]) >= before
    # The bars are held against the broker's candles, so those are asked for too, and each once.
    once = {"4.1!2885": 1, "ohlc 4.1!2885": 1}
    until(lambda: lab.market()["rooms"] == once, "each room joined once")
    assert lab.market()["connections"]["stream"] == 1
    assert lab.market()["connections"]["ohlc"] == 1


def test_the_page_raised_no_error(page):
    """Nothing above threw in the browser."""
    assert page.errors == []
