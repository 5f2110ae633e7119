"""The vault's key in the Linux kernel: an encrypted file that opens until a restart.

The kernel keeps a random key in the user's keyring, in memory that is never
paged out; only processes of this user can read it. Containers often forbid
these calls, and other systems have none; then this place does not work.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import secrets
import sys
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import VaultError
from breeze_lab.vault.file import EncryptedFile, lock

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Kernel"]

#: Numbers of the system calls add_key and keyctl.
_CALLS: Final = {"x86_64": (248, 250), "aarch64": (217, 219)}
_USER_KEYRING: Final = -4
_SETPERM, _SEARCH, _READ = 5, 10, 11
#: All for whoever possesses the key; view, read and search for this user's other log-ins.
_RIGHTS: Final = 0x3F0B0000
_NO_KEY: Final = 126
_KEY_BYTES: Final = 32


class Kernel(EncryptedFile):
    """The file whose key the kernel holds.

    Raises
    ------
    VaultError
        This machine does not allow it.
    """

    name = "kernel"
    lasting = False

    def __init__(self, data: Path) -> None:
        if not sys.platform.startswith("linux") or platform.machine() not in _CALLS:
            raise VaultError("this system has no kernel keyring")
        path = data / "vault-until-restart.json"
        digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:24]
        with lock(data / "vault-kernel.lock"):
            secret, new = _key(f"breeze-lab:vault:{digest}")
        super().__init__(path, secret, "Its key may have been lost with a restart of the machine.")
        self._lost = ""
        if new and not self.fits():
            # The key of the old file ended with the machine's last run: nobody can open it.
            self.set_aside()
            self._lost = " What was kept before the last restart is gone: type it in once more."

    @property
    def says(self) -> str:
        """Where secrets are."""
        return (
            "Secrets are in an encrypted file whose key the Linux kernel holds in memory: they "
            "last until this machine restarts. To keep them longer, mount a secret file and name "
            f"it in BREEZE_LAB_VAULT_KEY_FILE (docs/login.md).{self._lost}"
        )


def _call(number: int, *arguments: object) -> int:
    system = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(system.syscall(ctypes.c_long(number), *given))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _key(description: str) -> tuple[bytes, bool]:
    """Return the key kept under `description`, made when there is none, and whether it is new."""
    add_key, keyctl = _CALLS[platform.machine()]
    name = description.encode()
    try:
        try:
            number = _call(keyctl, _SEARCH, _USER_KEYRING, b"user", name, 0)
            made = False
        except OSError as exc:
            if exc.errno != _NO_KEY:
                raise
            fresh = secrets.token_bytes(_KEY_BYTES)
            number = _call(add_key, b"user", name, fresh, len(fresh), _USER_KEYRING)
            _call(keyctl, _SETPERM, number, _RIGHTS)
            made = True
        buffer = ctypes.create_string_buffer(_KEY_BYTES)
        length = _call(keyctl, _READ, number, buffer, _KEY_BYTES)
    except (OSError, AttributeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "no system calls"
        raise VaultError(f"the kernel's keyring is not allowed here ({reason})") from exc
    if length != _KEY_BYTES:
        raise VaultError("the kernel's keyring holds another key under our name")
    return buffer.raw, made
