"""What it costs a kernel to have Breeze Lab, against importing the SDK.

Both run in a fresh process with an IPython shell already there, as in a live
kernel. The SDK reads the same practice market's master from disk, so no
network is counted against it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from benchmarks import figure

_SHELL = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
"""
_OURS = (
    _SHELL
    + """
start = time.perf_counter()
import breeze_lab
shell.run_line_magic("load_ext", "breeze_lab")
print(time.perf_counter() - start)
"""
)
# The SDK's own config module, told where the master lies, the way its users patch it.
_RIVAL = (
    _SHELL
    + """
import importlib.util, pathlib
folder = pathlib.Path(importlib.util.find_spec("breeze_connect").origin).parent
spec = importlib.util.spec_from_file_location("config", folder / "config.py")
config = importlib.util.module_from_spec(spec)
spec.loader.exec_module(config)
config.SECURITY_MASTER_URL = sys.argv[1]
sys.modules["config"] = config
start = time.perf_counter()
from breeze_connect.breeze_connect import BreezeConnect
print(time.perf_counter() - start)
"""
)


def run(*, quick: bool) -> None:
    """Print ``load_ext_vs_sdk_import``."""
    rounds = 5 if quick else 11
    with tempfile.TemporaryDirectory() as folder:
        master = _practice_master(Path(folder))
        ours, rival = [], []
        for number in range(rounds + 1):
            a = _seconds(_OURS, folder)
            b = _seconds(_RIVAL, folder, master.as_uri())
            if number:  # the first round writes bytecode and warms the page cache
                ours.append(a)
                rival.append(b)
    print(figure("startup", "load_ext_vs_sdk_import", ours, rival, "s"))


def _seconds(code: str, folder: str, *arguments: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"IPYTHONDIR": folder, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=True, cwd=folder, env=environment,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def _practice_master(folder: Path) -> Path:
    """Return the security master a practice market serves."""
    market = subprocess.Popen(
        [sys.executable, "-m", "breeze_lab.practice", "--json", "--no-limits"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert market.stdout is not None
        address = json.loads(market.stdout.readline())["master_url"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        path = folder / "SecurityMaster.zip"
        path.write_bytes(opener.open(address).read())
    finally:
        market.terminate()
        market.wait()
    return path
