"""One wheel carries everything that is enabled on install."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from breeze_lab import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built with the pinned backend and no network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        check=True, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_carries_package_extension_kernel_and_notebook(wheel):
    """Both import packages, the server's switch, the kernelspec, the notebook and the assets."""
    names = {name.split(".data/data/")[-1] for name in wheel.namelist()}
    assert {
        "breeze_lab/__init__.py",
        "breeze_lab/py.typed",
        "breeze_lab/calendar.json",
        "breeze_lab/practice/exchange/universe.csv",
        "breeze_lab/notebooks/00_start_here.ipynb",
        "breeze_lab/notebooks/01_break_the_market.ipynb",
        "breeze_lab/notebooks/02_log_in_and_find.ipynb",
        "breeze_lab/notebooks/03_live_ticks.ipynb",
        "breeze_lab/notebooks/05_nightly_report.ipynb",
        "breeze_lab/notebooks/06_back_test.ipynb",
        "breeze_lab/notebooks/07_data_pipeline.ipynb",
        "breeze_lab/notebooks/08_publish_and_share.ipynb",
        "breeze_lab_server/jobs.html",
        "etc/jupyter/jupyter_server_config.d/the_scheduler_is_breeze_lab.json",
        "breeze_lab/notebooks/04_indicators.ipynb",
        "breeze_lab/indicators/catalogue.json",
        "breeze_lab_server/__init__.py",
        "etc/jupyter/jupyter_server_config.d/breeze_lab_server.json",
        "share/jupyter/kernels/breeze-lab/kernel.json",
        "share/jupyter/labextensions/breeze-lab/package.json",
        "share/jupyter/labextensions/breeze-lab/static/remoteEntry.js",
    } <= names
    assert any(name.startswith("breeze_lab/widgets/assets/") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_kernel_starts_with_the_extension(wheel):
    """The kernelspec loads breeze_lab and finds Python by itself."""
    name = next(n for n in wheel.namelist() if n.endswith("breeze-lab/kernel.json"))
    spec = json.loads(wheel.read(name))
    assert spec["argv"][0] == "python"
    assert "--ext=breeze_lab" in spec["argv"]


def test_the_labextension_needs_no_build(wheel):
    """JupyterLab finds it by its package.json, whose entry is in the wheel, under our version."""
    folder = "share/jupyter/labextensions/breeze-lab/"
    names = {name.split(".data/data/")[-1]: name for name in wheel.namelist()}
    package = json.loads(wheel.read(names[folder + "package.json"]))
    assert folder + package["jupyterlab"]["_build"]["load"] in names
    assert package["version"] == __version__
    entry = wheel.read(names[folder + "static/remoteEntry.js"])
    assert len(entry) < 16_000, "what is large comes from the server extension, later"


@pytest.mark.parametrize("name", ["lock.txt", "runtime.txt"])
def test_requirements_are_pinned_by_hash_and_name_no_address(name):
    """Every requirement has a version and hashes; no index, link or file is named."""
    text = (ROOT / "requirements" / name).read_text()
    entries = [line for line in text.splitlines() if line and line[0].isalnum()]
    assert len(entries) > 100
    assert all("==" in line for line in entries)
    assert text.count("--hash=sha256:") >= len(entries)
    assert "://" not in text
    options = [line.strip() for line in text.splitlines() if line.strip().startswith("-")]
    assert all(option.startswith("--hash=sha256:") for option in options)


def test_what_runs_is_what_is_tested():
    """The image's requirements are the tested ones, without the tools."""
    lock, runtime = (
        {line.split(" \\")[0] for line in (ROOT / "requirements" / name).read_text().splitlines()}
        for name in ("lock.txt", "runtime.txt")
    )
    assert runtime < lock
    assert not any(line.startswith("mypy==") for line in runtime)
