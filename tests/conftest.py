"""Fixtures shared by all tests."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def practice(tmp_path_factory):
    """The ready record of a practice market in a process of its own, for the whole run."""
    home = tmp_path_factory.mktemp("practice-home")
    process = subprocess.Popen(
        [sys.executable, "-m", "breeze_lab.practice", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BREEZE_LAB_HOME": str(home)},
    )
    try:
        line = process.stdout.readline()
        assert line, f"the practice market ended at once with status {process.wait(10)}"
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home of Breeze Lab's own; nothing outside it is read or written."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
