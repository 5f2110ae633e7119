"""The magics in a real kernel: the "Breeze Lab" kernel, started from its kernelspec."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from urllib.request import ProxyHandler, build_opener

import pytest
from jupyter_client.manager import KernelManager
from waiting import until

from breeze_lab import processes


class Kernel:
    """A running kernel and what its cells answer."""

    def __init__(self, client):
        self.client = client

    def run(self, code, timeout=40):
        """Return {"status", "text", "error", "mime"} of one cell."""
        seen = {"text": "", "error": "", "mime": set()}
        request = self.client.execute(code)
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0.1))
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                seen["text"] += content["text"]
            elif kind in ("execute_result", "display_data"):
                seen["mime"] |= set(content["data"])
                seen["text"] += content["data"].get("text/plain", "")
            elif kind == "error":
                seen["error"] = "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while True:  # a slow start leaves replies to others' questions behind
            reply = self.client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == request:
                return seen | {"status": reply["content"]["status"]}


@pytest.fixture(scope="module")
def home_of_kernel(tmp_path_factory):
    """A home of its own; the processes started in it are ended."""
    folder = tmp_path_factory.mktemp("kernel-home")
    yield folder
    for name in ("relay", "practice"):
        record = processes.running(folder / "runtime", name)
        if record:
            os.kill(record["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def kernel(home_of_kernel):
    manager = KernelManager(kernel_name="breeze-lab")
    manager.start_kernel(env={**os.environ, "BREEZE_LAB_HOME": str(home_of_kernel)})
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield Kernel(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def logged_in(kernel):
    assert kernel.run("%breeze_login practice")["status"] == "ok"
    return kernel


def test_the_kernel_has_the_magics_without_asking(kernel):
    """No %load_ext is needed, and one more, as notebooks for any kernel have it, is no offence."""
    assert "nobody is logged in" in kernel.run("%breeze_status")["text"]
    again = kernel.run("%load_ext breeze_lab")
    assert (again["status"], again["text"]) == ("ok", "")
    assert "nobody is logged in" in kernel.run("%breeze_status")["text"]


def test_a_secret_on_the_line_is_refused_and_not_repeated(kernel):
    """The line is refused with the way to do it right; the secret is not echoed."""
    answer = kernel.run("%breeze_login AKIA9secret 12345678")
    assert answer["status"] == "error"
    assert "opens a form" in answer["error"] + answer["text"]
    assert "AKIA9secret" not in answer["error"] + answer["text"]


def test_the_form_has_no_secret_in_its_output(kernel):
    """%breeze_login alone shows a widget."""
    assert "application/vnd.jupyter.widget-view+json" in kernel.run("%breeze_login")["mime"]


def test_login_can_be_rerun(logged_in):
    """Running the cell again keeps the session."""
    again = logged_in.run(
        "%breeze_login practice\nimport breeze_lab.session as s\nfirst = s.peek()"
    )
    assert "Practice market: logged in as" in again["text"]
    same = logged_in.run("%breeze_login practice\nassert s.peek() is first")
    assert same["status"] == "ok"


def test_after_a_login_the_first_chart_finds_its_libraries_loaded(logged_in):
    """They come on a thread of their own; Bokeh waits for who needs it."""
    told = logged_in.run(
        "import sys, threading\n"
        "for one in threading.enumerate():\n"
        "    if one.name == 'breeze-lab-warmup':\n"
        "        one.join(30)\n"
        "wanted = 'numpy', 'pyarrow.parquet', 'requests', 'anywidget', 'bokeh'\n"
        "print(*[name for name in wanted if name in sys.modules])"
    )
    assert told["text"].split() == ["numpy", "pyarrow.parquet", "requests", "anywidget"]


def test_after_a_login_our_rooms_are_entered_between_cells(logged_in):
    """The first chart finds them loaded, too, and still without Bokeh."""
    ready = (
        "import sys\n"
        "from breeze_lab import warmup\n"
        "print(*[name for name in (*warmup._ROOMS, 'bokeh') if name not in sys.modules])"
    )
    until(lambda: logged_in.run(ready)["text"].split() == ["bokeh"], "our rooms", 60)


_AT_ONCE = """
import sys, threading
sys.modules["requests"] = None  # a library that is not there
from breeze_lab import warmup
warmup.begin(None)  # a session whose SDK cannot be loaded
warmup.begin(None)
warming = [one for one in threading.enumerate() if one.name == "breeze-lab-warmup"]
import breeze_lab.historical, breeze_lab.widgets.live_chart, pyarrow.parquet
assert len(warming) < 2
for one in warming:
    one.join(30)
assert "anywidget" in sys.modules
"""


@pytest.mark.parametrize("attempt", range(3))
def test_warming_up_hurts_nobody_who_imports_meanwhile(attempt):
    """The same libraries are loaded by two threads at once, and one that fails is not told twice."""
    done = subprocess.run(
        [sys.executable, "-c", _AT_ONCE], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_name_is_one_readable_line(logged_in):
    """The cell fails with the message alone: nearest names and what to type, no traceback."""
    answer = logged_in.run("%candles RELIANC 1m")
    assert answer["status"] == "error"
    assert "Type 'RELIANCE'" in answer["error"]
    assert len(answer["error"].splitlines()) == 1


@pytest.mark.parametrize(
    "line", ["%candles", "%candles RELIANCE 2m", "%quote", "%candles TCS --bars x"]
)
def test_odd_lines_are_refused(logged_in, line):
    """Missing names, unknown intervals and broken options fail with a word of help."""
    answer = logged_in.run(line)
    assert answer["status"] == "error"
    assert "Traceback" not in answer["error"]


def test_candles_rerun_keep_one_upstream_connection(logged_in, home_of_kernel):
    """Three runs of the cell, one socket at the exchange; the status shows the feed's age."""
    for _ in range(3):
        answer = logged_in.run("%candles RELIANCE 1m")
        assert answer["status"] == "ok", answer["error"]
        assert "application/vnd.jupyter.widget-view+json" in answer["mime"]
    logged_in.run("import breeze_lab\nchart = breeze_lab.candles('NIFTY', '1m')")
    address = json.loads((home_of_kernel / "runtime" / "practice.json").read_text())["status_url"]
    opener = build_opener(ProxyHandler({}))
    assert json.loads(opener.open(address).read())["connections"]["stream"] == 1
    status = logged_in.run("%breeze_status")["text"]
    assert "upstream connected (practice)" in status
    assert "good until" in status


def test_the_practice_market_is_driven_from_a_cell(logged_in):
    """A fault begins and is cleared with two words; a wrong one is a line with the right one."""
    assert "gap for 1 m" in logged_in.run("%breeze_practice gap 60s TCS")["text"]
    shown = logged_in.run("%breeze_practice")["text"]
    assert "gap TCS: " in shown
    assert "jump 09:15" in shown
    assert "Cleared gap." in logged_in.run("%breeze_practice clear")["text"]
    answer = logged_in.run("%breeze_practice claer")
    assert "Did you mean clear" in answer["error"]
    assert len(answer["error"].splitlines()) == 1


def test_the_chart_has_its_frame(logged_in):
    """`.data` is a frame in IST that goes up to now."""
    answer = logged_in.run(
        "frame = breeze_lab.candles('RELIANCE', '1m').data\n"
        "assert str(frame.index.tz) == 'Asia/Kolkata'\n"
        "assert (breeze_lab.lab.clock.now() - frame.index[-1]).total_seconds() < 120\n"
        "print(len(frame))"
    )
    assert answer["status"] == "ok", answer["error"]
    assert int(answer["text"]) >= 300
