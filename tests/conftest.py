"""Fixtures shared by all tests."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import calm_ast
import pytest

calm_ast.install()

#: The files that take longest begin first: no worker is left alone with one of them at the end.
LONGEST = (
    "limits_burst", "relay_simulation", "notebooks", "practice_desk_machine", "browser_login",
    "browser_search", "browser_dashboards", "recorder_kills", "no_leaks", "replays", "practice_faults_table",
    "relay_kills", "relay_links", "browser_cells", "browser_chart", "practice_streams",
    "benchmark_relay", "browser_truth", "browser_first_light", "route_census", "read_only",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Sort files, and nothing within a file."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session", autouse=True)
def vault_key(tmp_path_factory):
    """A mounted vault key: no test writes into the keyring of the desktop or the kernel."""
    path = tmp_path_factory.mktemp("vault") / "key"
    path.write_text(secrets.token_hex(32))
    path.chmod(0o600)
    os.environ["BREEZE_LAB_VAULT_KEY_FILE"] = str(path)
    yield path
    del os.environ["BREEZE_LAB_VAULT_KEY_FILE"]


@pytest.fixture(scope="session")
def practice(tmp_path_factory):
    """The ready record of a practice market in a process of its own, for the whole run."""
    home = tmp_path_factory.mktemp("practice-home")
    process = subprocess.Popen(
        [sys.executable, "-m", "breeze_lab.practice", "--json", "--keep-sessions", "--no-limits"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BREEZE_LAB_HOME": str(home)},
    )
    try:
        line = process.stdout.readline()
        assert line, f"the practice market ended at once with status {process.wait(30)}"
        record = json.loads(line)
        # Its security master is made now: on a busy machine a login would not wait for it.
        with urlopen(record["master_url"], timeout=120) as answer:
            answer.read()
        yield record
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture
def server():
    """A stream whose weather the test decides."""
    from stream_server import StreamServer

    server = StreamServer()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home of Breeze Lab's own; nothing outside it is read or written."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def hindi(tmp_path_factory):
    """Environment variables of a Hindi locale; a real one where the machine can compile it."""
    variables = {"LC_ALL": "hi_IN.UTF-8"}
    if shutil.which("localedef") and Path("/usr/share/i18n/locales/hi_IN").exists():
        folder = tmp_path_factory.mktemp("locale")
        command = ["localedef", "-i", "hi_IN", "-f", "UTF-8", str(folder / "hi_IN.UTF-8")]
        subprocess.run(command, check=True)
        variables["LOCPATH"] = str(folder)
    return variables


@pytest.fixture(params=["TZ=UTC", "TZ=America/New_York", "TZ=Asia/Kolkata", "hindi"])
def machine(request, hindi):
    """Environment variables of a machine somewhere in the world."""
    if request.param == "hindi":
        return hindi
    name, _, value = request.param.partition("=")
    return {name: value}
