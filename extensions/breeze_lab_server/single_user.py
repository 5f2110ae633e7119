"""The start of one person's server on a Hub: ``python -m breeze_lab_server.single_user``.

The Hub gives the key of this person's vault in the environment. Here it goes
into a file that only this person reads, in memory where the system has a place
for that, and out of the environment; then JupyterHub's own server takes over
the process.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import breeze_lab
from breeze_lab import cli, settings

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

__all__ = ["main", "prepare"]

_KEY: Final = "BREEZE_LAB_HUB_VAULT_KEY"


def prepare(environment: MutableMapping[str, str]) -> None:
    """Bring a server's environment and folders into the state it starts in.

    Parameters
    ----------
    environment
        As the Hub gave it; changed in place. The vault's key leaves it.
    """
    key = environment.pop(_KEY, "")
    if key:
        environment["BREEZE_LAB_VAULT_KEY_FILE"] = str(_key_file(key, environment["HOME"]))
    root = environment.get("JUPYTERHUB_ROOT_DIR")
    if root:
        cli.copy_notebooks(Path(root).expanduser())
    public = environment.get("JUPYTERHUB_PUBLIC_URL")
    if public:
        environment.setdefault("BREEZE_LAB_SHARE_URL", f"{public.rstrip('/')}/breeze-lab")
    # The settings of `breeze-lab lab`: no news prompt, none of Panel's server extension.
    light = str(Path(breeze_lab.__file__).parent / "jupyter")
    known = environment.get("JUPYTER_CONFIG_PATH")
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, (light, known)))


def _key_file(key: str, home: str) -> Path:
    """Write the key where nobody else reads it, in memory if the system has a place for that."""
    # People whom a Hub on one machine runs as one user must not write over each other's.
    whose = hashlib.sha256(home.encode()).hexdigest()[:12]
    memory = Path("/dev/shm")  # noqa: S108 - the folder below is private and checked
    place = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    folder = settings.private(place / f"breeze-lab-{os.getuid()}-{whose}")
    path = folder / "vault-key"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare, then become JupyterHub's server for one person."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    environment = dict(os.environ)
    prepare(environment)
    command = [sys.executable, "-m", "jupyterhub.singleuser", *given]
    # A new program and not a call, so that no process's environment holds the key.
    os.execve(sys.executable, command, environment)  # noqa: S606 - an argument list of our own


if __name__ == "__main__":
    main()
