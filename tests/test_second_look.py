"""The second look at test files that failed beside others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "second_look.py"
RIGHT = "def test_right():\n    pass\n"
WRONG = "def test_wrong():\n    assert 0\n"
ONCE = """
from pathlib import Path

def test_crowded_out():
    seen = Path(__file__).with_suffix(".seen")
    before = seen.exists()
    seen.touch()
    assert before
"""


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ([RIGHT, RIGHT], 0, None),
        ([RIGHT, ONCE], 0, "  test_1.py::test_crowded_out"),
        ([WRONG, ONCE], 1, "A second look"),
        ([WRONG, RIGHT], 1, "A second look"),
        ([ONCE] * 3, 0, "  test_2.py::test_crowded_out"),
        ([ONCE] * 4, 1, None),
        (["import nothing_of_this_name\n", RIGHT], 2, None),
    ],
    ids=["right", "once", "both", "wrong", "three", "four", "broken"],
)
def test_what_is_wrong_stays_wrong_and_what_passes_alone_is_named(tmp_path, files, status, said):
    """A fault fails twice; too many failures, and files that cannot be read, get no second look."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for number, text in enumerate(files):
        (tmp_path / f"test_{number}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, SCRIPT, "-q"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert ("A second look" in done.stdout) == (said is not None)
    assert said is None or said in done.stdout
