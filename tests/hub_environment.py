"""Find a JupyterHub with its proxy for the tests, or make one: ``python tests/hub_environment.py``.

They are pinned (``requirements/hub.txt``, ``docker/hub/proxy``) and kept out of
the environment of everything else: a ``venv`` and a ``proxy`` in ``.hub``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HUB = ROOT / "docker" / "hub"
PROXY = Path("proxy") / "node_modules" / ".bin" / "configurable-http-proxy"


def find() -> Path | None:
    """Return the folder, or None; ``BREEZE_LAB_HUB_ENV`` names another than ``.hub``."""
    folder = Path(os.environ.get("BREEZE_LAB_HUB_ENV") or ROOT / ".hub")
    ready = (folder / "venv" / "bin" / "jupyterhub").exists() and (folder / PROXY).exists()
    return folder if ready and shutil.which("node") else None


def site_packages(folder: Path) -> Path:
    """Return where the Hub's packages are; people's servers take `jupyterhub` from there."""
    return next((folder / "venv" / "lib").glob("python3.*/site-packages"))


def python_for_others(folder: Path) -> Path | None:
    """Return a Python with this environment's packages that any user of the system may run.

    An interpreter in somebody's home, as pyenv has them, is theirs alone; then another of the
    same version is given our packages, in `folder`. None when there is none.
    """
    ours = Path(sys.executable).resolve()
    if all(place.stat().st_mode & 0o001 for place in (ours, *ours.parents)):
        return Path(sys.executable)
    version = f"python3.{sys.version_info.minor}"
    other = shutil.which(version, path="/usr/local/bin:/usr/bin")
    if other is None:
        return None
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(other)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(other).parent}\n")
    for name in ("lib", "etc", "share"):
        (folder / name).symlink_to(Path(sys.prefix) / name)
    return folder / "bin" / "python"


def make(folder: Path) -> None:
    """Install both, pinned by hash."""
    venv, proxy = folder / "venv", folder / "proxy"
    # The same Python as the tests': people's servers use both environments.
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    subprocess.run(
        [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--require-hashes", "-r", ROOT / "requirements" / "hub.txt"],
        check=True,
    )  # fmt: skip
    # Without bytecode the Hub's start takes four times as long.
    subprocess.run([venv / "bin" / "python", "-m", "compileall", "-q", venv / "lib"], check=False)
    proxy.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HUB / "proxy" / name, proxy / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=proxy, check=True)


if __name__ == "__main__":
    if find() is None:
        make(ROOT / ".hub")
    print(f"JupyterHub: {find()}")
    sys.exit(0 if find() else 1)
