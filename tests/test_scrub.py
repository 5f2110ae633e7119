"""A secret on the magic's line: refused, and gone from all that remembers what was typed."""

from __future__ import annotations

import os
import sqlite3
import time

import pytest
from jupyter_client.manager import KernelManager
from test_magics import Kernel

from breeze_lab import scrub

SECRET = "AKIA9+secret=77"
SHORT = "k7"

REMEMBERED = """
import gc
hm = get_ipython().history_manager
found = [repr(hm.input_hist_raw), repr(hm.input_hist_parsed), repr(In), repr(_ih),
         repr(hm.db_input_cache), repr([hm._i, hm._ii, hm._iii, hm._i00]),
         repr({n: v for n, v in globals().items() if n.startswith("_i") and isinstance(v, str)})]
secret = "AKIA9+sec" + "ret=77"
print([secret in one for one in found])
"""


@pytest.fixture(scope="module")
def history_home(tmp_path_factory):
    return tmp_path_factory.mktemp("ipython")


@pytest.fixture(scope="module")
def kernel(history_home):
    manager = KernelManager(kernel_name="breeze-lab")
    manager.start_kernel(
        env={**os.environ, "BREEZE_LAB_HOME": str(history_home / "lab"),
             "IPYTHONDIR": str(history_home)},
    )  # fmt: skip
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield Kernel(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def in_files(folder, secret):
    """Return the files below `folder` that hold `secret`."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


CELLS = [
    f"%breeze_login {SECRET}",
    f"%breeze_login {SECRET} {SHORT} 12345678",
    f"x = 5\n%breeze_login {SECRET}\ny = 6",
    f"_ = %breeze_login {SECRET}",
    f"%breeze_login practice {SECRET}",
    f"%breeze_login practice --seed {SECRET}",
    f"%breeze_login '{SECRET}",
    f"%%breeze_login\n{SECRET}\nmore",
    f"%%breeze_login {SECRET}\nmore",
    f"get_ipython().run_line_magic('breeze_login', '{SECRET}')",
    f"key = '{SECRET}'\nget_ipython().run_line_magic('breeze_login', key)",
    f"breeze_login {SECRET}",
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_secret_on_the_line_is_refused_and_scrubbed(kernel, history_home, cell):
    """Not in the answer, In, _i, the caches or the database's file; the next step is said."""
    answer = kernel.run(cell)
    assert answer["status"] == "error"
    said = answer["error"] + answer["text"]
    assert "renew it on the broker's app page now" in said
    assert SECRET not in said
    remembered = kernel.run(REMEMBERED)
    assert remembered["text"].strip() == str([False] * 7), remembered
    time.sleep(0.2)  # the thread that writes the history has had its chance
    assert in_files(history_home, SECRET) == []
    assert "True" not in kernel.run(REMEMBERED)["text"]


def test_what_was_typed_before_is_scrubbed_too(kernel, history_home):
    """An earlier cell with the same secret, written to the database long ago."""
    assert kernel.run(f"old = '{SECRET}'")["status"] == "ok"
    deadline = time.monotonic() + 60
    while not in_files(history_home, SECRET):
        assert time.monotonic() < deadline, "the planted secret never reached the database"
        time.sleep(0.05)
    kernel.run(f"%breeze_login {SECRET}")
    assert in_files(history_home, SECRET) == []


def test_the_search_can_find_something(kernel, history_home):
    """The planted fault: without the scrubbing, the secret is in the database and in memory."""
    kernel.run("from breeze_lab import scrub\nreal, scrub.history = scrub.history, lambda *_: True")
    try:
        kernel.run(f"%breeze_login {SECRET}")
        assert "True" in kernel.run(REMEMBERED)["text"]
        deadline = time.monotonic() + 60
        while not in_files(history_home, SECRET):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        kernel.run("scrub.history = real")
    kernel.run(f"%breeze_login {SECRET}")
    assert in_files(history_home, SECRET) == []


def test_the_rest_of_the_history_is_left_alone(kernel, history_home):
    """Other lines stay as they were typed, harmless logins too, and short words are not hunted."""
    kernel.run("kept = 'k7 stays'")
    kernel.run("%breeze_login practice --nonsense")
    kernel.run("# %breeze_login practice --seed 5")
    kernel.run(f"%breeze_login {SHORT}")
    database = next(history_home.rglob("history.sqlite"))
    lines = ""
    deadline = time.monotonic() + 60
    while "--seed 5" not in lines or "k7 stays" not in lines:
        assert time.monotonic() < deadline, lines
        with sqlite3.connect(database) as base:
            lines = "\n".join(row[0] for row in base.execute("SELECT source_raw FROM history"))
        time.sleep(0.05)
    assert f"%breeze_login {SHORT}" not in lines
    assert f"%breeze_login {scrub.REMOVED}" in lines


@pytest.mark.parametrize(
    "line",
    [
        "",
        "  ",
        "practice",
        "practice --seed 5 --no-limits",
        "rehearse",
        "practice --exchange-hours",
    ],
)
def test_known_words_are_no_secret(line):
    """Nothing is scrubbed for them."""
    assert scrub.harmless(line)
    assert scrub.text(f"%breeze_login {line}", []) == f"%breeze_login {line}"


@pytest.mark.parametrize(
    "line", ["icici", "practice now", "12345678", "rehearse x", "practice --seed 12345678"]
)
def test_anything_else_may_be_one(line):
    """An api session looks like a seed."""
    assert not scrub.harmless(line)
    assert line not in scrub.text(f"%breeze_login {line}", [])
