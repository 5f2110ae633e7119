"""``%%on_tick`` and ``%%on_bar`` in a real kernel, seen as a front end sees them."""

from __future__ import annotations

import os
import queue
import re
import signal
import threading
import time
from collections import defaultdict

import pytest
from jupyter_client.manager import KernelManager
from waiting import until, within

from breeze_lab import clock, processes


class FrontEnd:
    """A kernel's front end: what came, by the request it belongs to."""

    def __init__(self, manager):
        self.manager = manager
        self.client = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.came = defaultdict(list)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while not self._over.is_set():
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            self.came[message["parent_header"].get("msg_id")].append(message)

    def start(self, code, cell_id=None):
        """Send a cell; return its request."""
        session = self.client.session
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": False,
        }  # fmt: skip
        metadata = {} if cell_id is None else {"cellId": cell_id}
        message = session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def wait(self, request, timeout_s=40):
        """Wait for the end of a cell; return its reply."""
        deadline = time.monotonic() + timeout_s
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if reply["parent_header"].get("msg_id") == request:
                # What a cell prints comes by another way than its reply, and may come later.
                until(lambda: self._idle(request), "the end of the cell's output")
                return reply["content"]

    def _idle(self, request):
        return any(
            message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            for message in list(self.came[request])
        )

    def run(self, code, cell_id=None):
        """Run a cell to its end; return its request."""
        request = self.start(code, cell_id)
        self.reply = self.wait(request)
        return request

    def shown(self, request):
        """Return the texts of what a cell displays, as they stand, in their order."""
        found = {}
        for message in list(self.came[request]):
            if message["msg_type"] not in ("display_data", "update_display_data"):
                continue
            content = message["content"]
            name = content["transient"].get("display_id", len(found))
            if message["msg_type"] == "display_data" or name in found:
                found[name] = content["data"].get("text/plain", "")
        return list(found.values())

    def text(self, request):
        """Return what was printed into a cell: as text, and by a body as lines that change."""
        streams = "".join(m["content"]["text"] for m in list(self.came[request])
                          if m["msg_type"] == "stream")  # fmt: skip
        blocks = [t + "\n" for t in self.shown(request) if not re.match(r"on_(tick|bar) ", t)]
        return re.sub(r"\x1b\[[0-9;]*m", "", streams + "".join(blocks))

    def status(self, request):
        """Return the cell's own line as it stands."""
        shown = [m["content"]["data"].get("text/plain", "") for m in list(self.came[request])
                 if m["msg_type"] in ("display_data", "update_display_data")]  # fmt: skip
        return ([text for text in shown if re.match(r"on_(tick|bar) ", text)] or [""])[-1]

    def errors(self, request):
        """Return the tracebacks in a cell."""
        return ["\n".join(m["content"]["traceback"]) for m in list(self.came[request])
                if m["msg_type"] == "error"]  # fmt: skip

    def ask(self, expression):
        """Return the value of an expression, as text."""
        request = self.run(f"print({expression})")
        until(lambda: self.text(request), expression)
        return self.text(request).strip()

    def close(self):
        self._over.set()
        self._thread.join(30)
        self.client.stop_channels()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of its own; the processes started in it are ended."""
    folder = tmp_path_factory.mktemp("cells-home")
    yield folder
    for name in ("relay", "practice"):
        record = processes.running(folder / "runtime", name)
        if record:
            os.kill(record["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def front(home):
    manager = KernelManager(kernel_name="breeze-lab")
    environment = {
        **os.environ, "BREEZE_LAB_HOME": str(home), "JPY_SESSION_NAME": "/home/me/ticks.ipynb",
    }  # fmt: skip
    manager.start_kernel(env=environment)
    front = FrontEnd(manager)
    front.run("%breeze_login practice")
    assert front.reply["status"] == "ok"
    yield front
    front.close()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(front):
    """The kernel with no body running and no names of the tests."""
    front.run("%on_tick stop\n%on_bar stop\n%reset -f")
    assert front.ask("__import__('breeze_lab').cells.running.listed()") == "[]"
    yield front
    front.run("%on_tick stop\n%on_bar stop")


def lines(front, request, count, timeout_s=40):
    """Wait until `count` lines were printed into a cell; return them."""
    until(lambda: front.text(request).count("\n") >= count, f"{count} lines", timeout_s)
    return front.text(request).splitlines()


def test_a_body_runs_while_no_cell_does(kernel):
    """The cell ends at once, and its body goes on printing into it."""
    begun = time.monotonic()
    cell = kernel.run("%%on_tick RELIANCE\nprint(tick.instrument, tick.last, len(ticks))")
    assert kernel.reply["status"] == "ok"
    assert time.monotonic() - begun < 30
    heard = lines(kernel, cell, 5)
    assert all(re.fullmatch(r"NSE:RELIANCE \d+\.\d+ \d+", line) for line in heard[:5])
    until(lambda: "running" in kernel.status(cell), "the line")
    assert kernel.status(cell).startswith("on_tick NSE:RELIANCE: running, ")


def test_output_and_names_stay_apart_from_a_running_cell(kernel):
    """A cell that runs meanwhile keeps its output and its ``tick``; the body keeps its own."""
    kernel.run("seen = []")
    body = kernel.run("%%on_tick RELIANCE\nseen.append(tick.last)\nprint('body', tick.instrument)")
    busy = kernel.run(
        "import time\ntick = 'mine'\nend = time.time() + 30\n"
        "while len(seen) < 4 and time.time() < end:\n    print('busy', tick)\n    time.sleep(0.02)\n"
        "during = len(seen)"
    )
    assert int(kernel.ask("during")) > 3
    assert set(kernel.text(busy).splitlines()) == {"busy mine"}
    assert set(kernel.text(body).splitlines()) == {"body NSE:RELIANCE"}


def test_a_slow_body_blocks_nobody_and_counts_what_it_skips(kernel):
    """Cells answer at once while a body sleeps; it gets the newest tick and the count."""
    kernel.run("import time\npause = 5")
    cell = kernel.run("%%on_tick RELIANCE\ntime.sleep(pause)\nprint(tick.sequence)")
    begun = time.monotonic()
    for _ in range(4):  # a body in their way would hold up each of them
        assert kernel.ask("6 * 7") == "42"
    assert time.monotonic() - begun < 10
    kernel.run("pause = 0.5")
    numbers = [int(line) for line in lines(kernel, cell, 3)]
    assert numbers == sorted(numbers)
    until(lambda: " skipped" in kernel.status(cell), "the count")


def test_every_runs_for_each_tick_and_limit_ends_it(kernel):
    """``--every`` misses none, ``--limit`` stops after so many."""
    cell = kernel.run(
        "%%on_tick RELIANCE --every --limit 6\nimport time\ntime.sleep(0.3)\nprint(tick.sequence)"
    )
    numbers = [int(line) for line in lines(kernel, cell, 6)]
    assert numbers == list(range(numbers[0], numbers[0] + 6))
    until(lambda: "done after 6 runs" in kernel.status(cell), "the end")
    assert "No %%on_tick cell runs." in kernel.text(kernel.run("%on_tick"))


def test_the_value_of_the_last_line_is_shown_in_place(kernel):
    """One output that changes, not one for each tick."""
    cell = kernel.run("%%on_tick RELIANCE --quiet\ntick.last")

    def shown(kind):
        return [m["content"] for m in list(kernel.came[cell]) if m["msg_type"] == kind]

    until(lambda: len(shown("update_display_data")) >= 3, "three updates")
    (first,) = shown("display_data")
    assert {one["transient"]["display_id"] for one in shown("update_display_data")} == {
        first["transient"]["display_id"]
    }
    assert float(first["data"]["text/plain"]) > 0


@pytest.mark.parametrize("cell_id", [None, "cell-7"])
def test_a_rerun_stops_the_former(kernel, cell_id):
    """Running the cell again, in a front end with or without cell ids, leaves one body."""
    first = kernel.run("%%on_tick RELIANCE\nprint('first')", cell_id)
    lines(kernel, first, 1)
    second = kernel.run("%%on_tick RELIANCE\nprint('second')", cell_id)
    lines(kernel, second, 2)
    count = kernel.text(first).count("\n")
    lines(kernel, second, 6)
    assert kernel.text(first).count("\n") == count
    until(lambda: "run again" in kernel.status(first), "the line of the former")
    assert kernel.ask("len(__import__('breeze_lab').cells.running.listed())") == "1"


def test_a_cell_that_is_rewritten_stops_its_body(kernel):
    """Whatever the cell holds when it runs again, its former body ends."""
    first = kernel.run("%%on_tick RELIANCE\nprint('first')", "cell-8")
    lines(kernel, first, 1)
    kernel.run("1 + 1", "cell-8")
    until(lambda: "run again" in kernel.status(first), "the end")


def test_an_interrupt_stops_it_while_no_cell_runs(kernel):
    """The kernel's stop button reaches a body, even one that never ends by itself."""
    cell = kernel.run("%%on_tick RELIANCE\nprint('in')\nwhile True:\n    pass")
    lines(kernel, cell, 1)
    kernel.manager.interrupt_kernel()
    until(lambda: "interrupted" in kernel.status(cell), "the end")
    assert kernel.ask("6 * 7") == "42"
    until(
        lambda: "breeze-lab on_tick" not in kernel.ask(
            "[t.name for t in __import__('threading').enumerate()]"
        ),
        "the thread's end",
    )  # fmt: skip


# ipykernel hears an interrupt of a cell that awaits only when its event loop wakes.
@pytest.mark.parametrize(
    "pause", ["time.sleep(30)", "for _ in range(300):\n    await asyncio.sleep(0.1)"]
)
def test_an_interrupt_of_a_running_cell_stops_it_too(kernel, pause):
    """One button for both."""
    cell = kernel.run("%%on_tick RELIANCE\nprint('in')")
    lines(kernel, cell, 1)
    busy = kernel.start(f"import time, asyncio\nprint('begun')\n{pause}")
    lines(kernel, busy, 1)
    kernel.manager.interrupt_kernel()
    assert kernel.wait(busy)["status"] == "error"
    until(lambda: "interrupted" in kernel.status(cell), "the end")
    again = kernel.run("%%on_tick RELIANCE\nprint('again')")
    lines(kernel, again, 1)


def test_the_first_error_stops_it_and_says_how_to_go_on(kernel):
    """The traceback is in the cell, with the line that failed; other bodies go on."""
    other = kernel.run("%%on_tick NIFTY\nprint('other')")
    cell = kernel.run("%%on_tick RELIANCE\nwrong = 1\nwrong / 0  # here")
    until(lambda: kernel.errors(cell), "the traceback")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", kernel.errors(cell)[0])
    assert "ZeroDivisionError" in plain
    assert "wrong / 0  # here" in plain
    assert "breeze_lab" not in plain, "our own frames are nobody's business"
    until(lambda: "--keep-going" in kernel.text(cell), "what to do")
    until(lambda: "stopped by ZeroDivisionError" in kernel.status(cell), "the line")
    assert len(kernel.errors(cell)) == 1
    count = kernel.text(other).count("\n")
    lines(kernel, other, count + 2)


def test_keep_going_counts_errors_and_shows_each_kind_once(kernel):
    """With ``--keep-going`` the body runs on after errors."""
    kernel.run("n = 0")
    cell = kernel.run(
        "%%on_tick RELIANCE --every --keep-going\nn += 1\nif n < 4:\n    raise ValueError(n)\nprint(n)"
    )
    assert lines(kernel, cell, 1)[0] == "4"
    until(lambda: "3 failed" in kernel.status(cell), "the count")
    assert len(kernel.errors(cell)) == 1


def test_a_body_is_stopped_by_its_magic_and_by_its_stream(kernel):
    """``%on_tick stop``, ``%on_tick stop N`` and ``feed.close()``."""
    one = kernel.run("%%on_tick RELIANCE\nprint('one')")
    two = kernel.run("%%on_tick NIFTY\nprint('two')")
    listed = kernel.text(kernel.run("%on_tick"))
    number = re.search(r"^(\d+): %%on_tick RELIANCE ", listed, re.MULTILINE)[1]
    assert "Stopped 1 of 2." in kernel.text(kernel.run(f"%on_tick stop {number}"))
    until(lambda: "stopped" in kernel.status(one), "the end of one")
    count = kernel.text(two).count("\n")
    lines(kernel, two, count + 1)
    assert "Stopped 1 of 1." in kernel.text(kernel.run("%on_tick stop"))
    three = kernel.run("%%on_tick RELIANCE\nfeed.close()")
    until(lambda: "the stream was closed" in kernel.status(three), "the end of three")


def test_bars_run_when_they_close(kernel):
    """Completed bars by default, with the day's bars behind them; ``--forming`` for changes."""
    cell = kernel.run(
        "%%on_bar RELIANCE 1s\nprint(bar.interval.label, bar.forming, bars.index[-1] >= bar.start)"
    )
    assert set(lines(kernel, cell, 3)) == {"1s False True"}
    forming = kernel.run("%%on_bar RELIANCE 1m --forming --limit 2\nprint(bar.forming, len(bars))")
    first = lines(kernel, forming, 2)[0].split()
    assert first[0] == "True"
    now = clock.now()
    assert int(first[1]) > min(10, now.hour * 60 + now.minute - 2), (
        "the day's, from its midnight on"
    )


def test_of_what_is_printed_the_newest_lines_are_kept(kernel):
    """As many as asked for, in one display that changes, with the number of those that went."""
    cell = kernel.run(
        "%%on_tick RELIANCE --limit 4 --lines 10\nimport time\n"
        "print(*range(7), sep='\\n')\ntime.sleep(0.3)"
    )
    until(lambda: "done after 4 runs" in kernel.status(cell), "the end")
    until(lambda: "18 earlier lines" in kernel.text(cell), "the last lines")
    assert lines(kernel, cell, 11) == [
        "(18 earlier lines were dropped; --lines N keeps N)", *"4560123456",
    ]  # fmt: skip
    assert not [m for m in kernel.came[cell] if m["msg_type"] == "stream"]
    assert len(kernel.shown(cell)) == 2, "the line about how it stands, and the lines"


def test_lines_appear_while_a_run_goes_on(kernel):
    """A run that takes long shows what it prints, standard error and half a line as well."""
    kernel.run("going = True")
    cell = kernel.run(
        "%%on_tick RELIANCE --limit 1\nimport sys, time\nprint('out')\n"
        "print('err', file=sys.stderr)\nprint('20 %', end='\\r')\nprint('half', end='')\n"
        "while going:\n    time.sleep(0.05)\nprint(' and whole')"
    )
    until(lambda: {"out", "err", "half"} <= set(kernel.text(cell).split("\n")), "the lines")
    kernel.run("going = False")
    until(lambda: "half and whole" in kernel.text(cell), "the last line")
    assert "20 %" not in kernel.text(cell)


def test_a_display_replaces_that_of_the_run_before(kernel):
    """Each in its place, however many runs there are; a display with a name is the body's own."""
    kernel.run("n = 0")
    cell = kernel.run(
        "%%on_tick RELIANCE --limit 5 --quiet\nn += 1\n"
        "display(f'first {n}')\ndisplay(f'second {n}')\n"
        "if n == 1:\n    mine = display('mine', display_id=True)"
    )
    until(lambda: "'second 5'" in kernel.text(cell), "the last run")
    assert sorted(kernel.shown(cell)) == ["'first 5'", "'mine'", "'second 5'"]


def test_a_body_may_clear_what_it_printed(kernel):
    """Clearing the output forgets the lines and leaves the line about how it stands."""
    cell = kernel.run(
        "%%on_tick RELIANCE --limit 3\nfrom IPython.display import clear_output\n"
        "clear_output(wait=True)\nprint('run')\nprint('end')"
    )
    until(lambda: "done after 3 runs" in kernel.status(cell), "the end")
    until(lambda: kernel.text(cell).splitlines() == ["run", "end"], "the last run's lines")
    assert not [m for m in kernel.came[cell] if m["msg_type"] == "clear_output"]


def test_text_of_others_goes_on_beside_it(kernel):
    """Whatever a body prints, no piece of a cell that runs meanwhile is missing."""
    body = kernel.run("%%on_tick RELIANCE --lines 5\nprint('body', flush=True)")
    busy = kernel.run("import time\nfor n in range(150):\n    print(n)\n    time.sleep(0.01)")
    assert kernel.text(busy).split() == [str(n) for n in range(150)]
    until(lambda: "earlier line" in kernel.text(body), "the body's lines")


def test_a_flood_of_displays_is_cleared(kernel):
    """A body that displays new outputs without an end does not make the notebook heavy."""
    cell = kernel.run("%%on_tick RELIANCE\n_ = display('x' * 60_000, display_id=True)")
    until(
        lambda: any(m["msg_type"] == "clear_output" for m in list(kernel.came[cell])),
        "the clearing",
    )
    until(lambda: "was cleared" in kernel.text(cell), "the word about it")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("%%on_tick\npass", "Which instrument"),
        ("%%on_tick RELIANC\npass", "Type 'RELIANCE'"),
        ("%%on_tick RELIANCE --evry\npass", "no option --evry"),
        ("%%on_tick RELIANCE --every --latest\npass", "choose one"),
        ("%%on_tick RELIANCE --limit x\npass", "--limit takes a number"),
        ("%%on_tick RELIANCE --lines\npass", "--lines takes a number"),
        ("%%on_tick RELIANCE --lines 0\npass", "--lines takes a number from 1 on"),
        ("%%on_tick RELIANCE --forming\npass", "%%on_bar"),
        ("%%on_bar RELIANCE 2m\npass", "No interval is called '2m'"),
        ("%%on_tick RELIANCE\npass pass", "invalid syntax"),
        ("%on_tick RELIANCE", "write %%on_tick RELIANCE"),
    ],
)
def test_odd_lines_are_refused(kernel, line, word):
    """Nothing runs, and the message says what to write."""
    cell = kernel.run(line)
    assert kernel.reply["status"] == "error"
    until(lambda: kernel.errors(cell) or kernel.text(cell), "the message")
    told = re.sub(r"\x1b\[[0-9;]*m", "", "".join(kernel.errors(cell)) + kernel.text(cell))
    assert word in told
    assert kernel.ask("__import__('breeze_lab').cells.running.listed()") == "[]"


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("NIFTY RELIANCE", ["NSE:NIFTY", "NSE:RELIANCE"]),
        ("reliance industries, TCS", ["NSE:RELIANCE", "NSE:TCS"]),
        ("TCS 'reliance industries'", ["NSE:TCS", "NSE:RELIANCE"]),
    ],
)
def test_a_line_names_several_instruments(kernel, words, keys):
    """The longest names there are, from the left; commas and quotes part them."""
    cell = kernel.run(f"%%on_tick {words}\npass")
    until(lambda: kernel.status(cell), "the line")
    assert kernel.status(cell).startswith(f"on_tick {', '.join(keys)}: ")


def test_a_future_is_one_instrument(kernel):
    """``NIFTY fut`` is a name of two words."""
    cell = kernel.run("%%on_bar NIFTY fut RELIANCE 5m\npass")
    until(lambda: kernel.status(cell), "the line")
    assert re.match(r"on_bar NFO:NIFTY .* FUT, NSE:RELIANCE 5m: ", kernel.status(cell))


def test_the_relay_knows_the_notebook_by_its_name(kernel):
    """Among the relay's consumers a person finds the notebook."""
    names = kernel.ask(
        "[c['name'] for c in __import__('breeze_lab').feed.connect().status()['clients']]"
    )
    assert "ticks.ipynb" in names
    assert "/home/me" not in names


def test_a_restart_leaves_nothing_and_the_rerun_has_the_day(kernel, home):
    """The relay lets go of a kernel that died; a new one is there in two seconds, with bars."""
    cell = kernel.run("%%on_bar RELIANCE 1m --forming\nprint(len(bars))", "cell-9")
    before = int(lines(kernel, cell, 1)[0])
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    kernel.run("import breeze_lab, pandas")
    begun = time.monotonic()
    again = kernel.run("%%on_bar RELIANCE 1m --forming\nprint(len(bars))", "cell-9")
    assert int(lines(kernel, again, 1)[0]) >= before
    took_s = time.monotonic() - begun
    print(f"back after {took_s:.2f} s")
    assert took_s < within(2.0)
    clients = "breeze_lab.feed.connect().status()['clients']"
    until(lambda: kernel.ask(f"len([c for c in {clients} if c['keys']])") == "1", "one consumer")
