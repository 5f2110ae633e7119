"""Every notebook is a tested page: it runs top to bottom and is stored without outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

from breeze_lab import cli, processes

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: Jobs run notebooks with papermill. BREEZE_LAB_NOTEBOOKS=all runs each of them so, which takes two
#: minutes; `test_jobs.py` runs the nightly report, so the short form has the other scheduled one.
SCHEDULED = [
    path
    for path in NOTEBOOKS
    if os.environ.get("BREEZE_LAB_NOTEBOOKS") == "all" or path.stem == "07_data_pipeline"
]


@contextmanager
def home(tmp_path):
    """Give a run a home of its own, and leave no process of it behind."""
    environment = {**os.environ, "BREEZE_LAB_HOME": str(tmp_path / "home")}
    try:
        yield environment
    finally:
        for name in ("shares", "dashboards", "relay", "practice"):
            record = processes.running(tmp_path / "home" / "runtime", name)
            if record:
                os.kill(record["pid"], 15)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path):
    """No output, no execution count, and the Breeze Lab kernel."""
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "breeze-lab"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_every_notebook_is_shipped():
    """The wheel carries each of them, and the command lays each into a new folder."""
    names = [path.name for path in NOTEBOOKS]
    assert list(cli._NOTEBOOKS) == names
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    carried = wheel["targets"]["wheel"]["force-include"]
    assert {f"notebooks/{name}": f"breeze_lab/notebooks/{name}" for name in names}.items() <= (
        carried.items()
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_top_to_bottom(path, tmp_path):
    """Every cell runs under nbval, in a fresh kernel and a fresh home."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    with home(tmp_path) as environment:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "-p", "no:cacheprovider",
             "-c", str(tmp_path / "pytest.ini"), str(path)],
            capture_output=True, text=True, check=False, timeout=230, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", SCHEDULED, ids=lambda path: path.stem)
def test_notebooks_run_under_papermill(path, tmp_path):
    """What can be scheduled runs the way a job runs it, and its output has no failed cell."""
    written = tmp_path / path.name
    with home(tmp_path) as environment:
        done = subprocess.run(
            [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), str(written)],
            capture_output=True, text=True, check=False, timeout=230, env=environment,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    outputs = [out for cell in json.loads(written.read_text())["cells"]
               if cell["cell_type"] == "code" for out in cell["outputs"]]  # fmt: skip
    assert outputs
    assert not [out for out in outputs if out["output_type"] == "error"]


def test_a_notebook_that_fails_is_noticed(tmp_path):
    """The planted fault: one assert that does not hold."""
    notebook = json.loads(NOTEBOOKS[0].read_text())
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    notebook["cells"] = [{**cell, "source": ["names = []\n", "assert names"]}]
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps(notebook))
    with pytest.raises(AssertionError, match="1 failed"):
        test_notebooks_run_top_to_bottom(path, tmp_path)
