"""JupyterLab, a practice market and a relay below one folder, and a Chromium's steps in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from chromium import find
from waiting import until

from breeze_lab import processes

ROOT = Path(__file__).parent.parent
TOKEN = "only-for-this-test"
COMMAND = "import sys; from breeze_lab.cli import main; sys.exit(main())"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
EXTENSIONS = {
    "breeze_lab_server": True, "jupyterlab": True, "notebook_shim": False, "jupyter_lsp": False,
    "panel.io.jupyter_server_extension": False, "jupyter_scheduler": False,
}  # fmt: skip


def notebook(cells) -> str:
    made = [
        {"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "source": source, "outputs": [],
         "execution_count": None}
        for i, source in enumerate(cells)
    ]  # fmt: skip
    kernel = {"name": "breeze-lab", "display_name": "Breeze Lab", "language": "python"}
    return json.dumps(
        {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    )


def shared_data(folder: Path) -> Path:
    """Lay out what the wheel puts into ``share/jupyter``, by pyproject's own list; return it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for source, target in wanted.items():
        if target.startswith("share/jupyter/"):
            place = folder / target.removeprefix("share/jupyter/")
            shutil.copytree(ROOT / source, place, dirs_exist_ok=True)
    return folder


class Lab:
    """One server with its notebooks, `{name: cells}`, its market and its relay.

    Parameters
    ----------
    home
        An empty folder.
    notebooks
        Sources of the cells, by the notebook's file name.
    shared
        Whether JupyterLab finds our own labextension, as after an install.
    server
        Whether our server extension is enabled.
    market
        Options of the practice market; None for no market.
    environment
        More environment variables.
    """

    def __init__(
        self, home: Path, notebooks, *, shared=False, server=True, market=(), environment=None
    ) -> None:
        self.home = home
        self.root = home / "notebooks"
        self.runtime = home / "lab" / "runtime"
        settings = home / "settings" / "@jupyterlab" / "apputils-extension"
        for folder in (self.root, self.runtime, settings):
            folder.mkdir(parents=True)
        # The question whether to fetch news would lie over the page.
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
        for name, cells in notebooks.items():
            (self.root / name).write_text(notebook(cells))
        self.environment = {
            **os.environ,
            "BREEZE_LAB_HOME": str(home / "lab"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_RUNTIME_DIR": str(home / "jupyter"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "IPYTHONDIR": str(home / "ipython"),
            **(environment or {}),
        }
        if shared:
            self.environment["JUPYTER_PATH"] = str(shared_data(home / "share"))
        self.market_process = None
        if market is not None:
            self.market_process = subprocess.Popen(
                [sys.executable, "-m", "breeze_lab.practice", f"--runtime={self.runtime}", *market],
                env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        # The form of scheduling complains when neither we nor its own server extension answer.
        whose = {"breeze_lab_server": server, "jupyter_scheduler": not server}
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--port=0",
                "--ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}",
                f"--ServerApp.root_dir={self.root}",
                f"--ServerApp.jpserver_extensions={EXTENSIONS | whose}",
            ],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=(home / "log").open("wb"),
        )  # fmt: skip
        try:
            if market is not None:
                until(lambda: processes.running(self.runtime, "practice"), "the practice market")
            self.url = until(lambda: self._url(home / "jupyter"), "JupyterLab's record", 120)
            until(self._answers, "JupyterLab's answer", 60)  # its record comes before
        except BaseException:  # a failed start leaves nothing behind
            self.close()
            raise

    def _url(self, folder: Path):
        assert self.process.poll() is None, "JupyterLab ended"
        for path in folder.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):
                return json.loads(path.read_text())["url"]
        return None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask("api/status"))
        return False

    def address(self, name: str) -> str:
        """Return where a browser opens a notebook, alone, whatever was open before."""
        return f"{self.url}lab/tree/{name}?reset&token={TOKEN}"

    def ask(self, route, *, method="GET", data=None):
        """Return the JSON of one of the server's routes."""
        request = urllib.request.Request(
            self.url + route, method=method, data=None if data is None else json.dumps(data).encode(),
            headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def status(self):
        """Return what the server extension says."""
        return self.ask("breeze-lab/api/status")

    def kernels(self):
        """Return the running kernels; none while one is being started."""
        try:
            return self.ask("api/kernels")
        except urllib.error.HTTPError:  # 500 meanwhile
            return []

    def has_kernel(self) -> bool:
        """Say whether a page is connected to a kernel at rest: before, Run All asks for one."""
        return any(k["execution_state"] == "idle" and k["connections"] for k in self.kernels())

    def market(self):
        """Return what the practice market says."""
        record = processes.running(self.runtime, "practice")
        with urllib.request.urlopen(record["status_url"], timeout=60) as answer:
            return json.load(answer)

    def drive(self, *words: str) -> str:
        """Drive the market's clock by the command: ``drive("jump", "09:15")``."""
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "practice", *words],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        for process in filter(None, (self.process, self.market_process)):
            process.terminate()
            process.wait(30)
        for name in ("relay", "practice"):
            record = processes.running(self.runtime, name)
            if record is not None:
                os.kill(record["pid"], signal.SIGTERM)
                until(lambda name=name: not processes.running(self.runtime, name), f"{name}'s end")


@contextlib.contextmanager
def chromium():
    """A browser; skips the test where there is none."""
    sync = pytest.importorskip("playwright.sync_api")
    executable = find()
    if executable is None:
        pytest.skip("no Chromium here; make setup installs one")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def menu(page, *names):
    """Click through JupyterLab's menu bar."""
    page.locator(".lm-MenuBar-item", has_text=names[0]).click()
    # The accessible name of an entry ends in its shortcut, so look at the label alone.
    page.locator(".lm-Menu-itemLabel").get_by_text(names[1], exact=True).click()


def kernel(page) -> str:
    return page.evaluate(
        "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status ?? ''"
    )


def idle(page):
    until(lambda: kernel(page) == "idle", "an idle kernel", 60)


def run_all(page, lab):
    """Run all cells of the open notebook, once its kernel is there."""
    until(lab.has_kernel, "a kernel", 60)
    idle(page)
    menu(page, "Run", "Run All Cells")
