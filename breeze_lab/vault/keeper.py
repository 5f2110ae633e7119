"""The vault's key in a process of its own: where neither a desktop nor the kernel keeps one.

Containers forbid the kernel's keyring by default. There a small process holds
a random key in memory, not dumpable, and gives it to processes of this user
through a socket that only they can open. It ends with ``breeze-lab stop``, a
restart, or after a day in which nobody asked.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from breeze_lab import processes, settings
from breeze_lab.errors import ProcessError, VaultError
from breeze_lab.vault.file import EncryptedFile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Keeper", "main"]

_KEY_BYTES: Final = 32
_ANSWER_S: Final = 5.0
#: A day without a question: nobody has a session any more.
_IDLE_S: Final = 86_400.0
_PR_SET_DUMPABLE: Final = 4


class Keeper(EncryptedFile):
    """The file whose key the keeper's process holds.

    Raises
    ------
    VaultError
        It could not be started or asked.
    """

    name = "keeper"
    lasting = False

    def __init__(self, data: Path) -> None:
        folders = settings.folders()
        try:
            processes.ensure(folders.runtime, "keeper", "breeze_lab.vault.keeper")
            secret = _ask(folders.socket("keeper"))
        except (OSError, ProcessError) as exc:
            raise VaultError(f"a process to keep a key did not start ({exc})") from exc
        super().__init__(
            data / "vault-while-kept.json", secret, "Its key may have ended with its process."
        )
        self._lost = ""
        if not self.fits():
            self.set_aside()
            self._lost = " What was kept before it was started is gone: type it in once more."

    @property
    def says(self) -> str:
        """Where secrets are."""
        return (
            "Secrets are in an encrypted file whose key a small process of yours holds in memory: "
            "they last until `breeze-lab stop`, a restart, or a day without use. To keep them "
            f"longer, mount a secret file and name it in BREEZE_LAB_VAULT_KEY_FILE "
            f"(docs/login.md).{self._lost}"
        )


def _ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_ANSWER_S)
        link.connect(str(path))
        found = b""
        while len(found) < _KEY_BYTES:
            part = link.recv(_KEY_BYTES - len(found))
            if not part:
                raise VaultError("the keeper of the key gave none")
            found += part
        return found


def _same_user(link: socket.socket) -> bool:
    """Say whether this user is at the other end; the socket's mode says so already."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(user == os.getuid())


def _serve(path: Path) -> None:
    key = secrets.token_bytes(_KEY_BYTES)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.bind(str(path))
        finally:
            os.umask(before)
        door.listen()
        door.settimeout(_IDLE_S)
        processes.publish(settings.folders().runtime, "keeper", {})
        try:
            while True:
                link, _ = door.accept()
                with link, contextlib.suppress(OSError):
                    link.settimeout(_ANSWER_S)
                    if _same_user(link):
                        link.sendall(key)
        except TimeoutError:
            return
        finally:
            path.unlink(missing_ok=True)


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


def main() -> int:
    """Keep a key until a signal, or a day without a question; return the exit status."""
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(AttributeError, OSError):
        # No core file and no debugger of this user may show the key.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    folders = settings.folders()
    with contextlib.suppress(processes.AlreadyRunning), processes.claim(folders.runtime, "keeper"):
        _serve(folders.socket("keeper"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
