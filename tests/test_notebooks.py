"""Every notebook is a tested page: it runs top to bottom and is stored without outputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from breeze_lab import processes

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path):
    """No output, no execution count, and the Breeze Lab kernel."""
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "breeze-lab"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_top_to_bottom(path, tmp_path):
    """Every cell runs under nbval, in a fresh kernel and a fresh home."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "-p", "no:cacheprovider",
             "-c", str(tmp_path / "pytest.ini"), str(path)],
            capture_output=True, text=True, check=False, timeout=230,
            env={**os.environ, "BREEZE_LAB_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
    finally:
        for name in ("relay", "practice"):
            record = processes.running(tmp_path / "home" / "runtime", name)
            if record:
                os.kill(record["pid"], signal.SIGTERM)
