"""The vault in the desktop's keyring: GNOME, KDE, macOS or Windows.

Only those four kinds are used, and each is asked for by name: what another
package registers (``keyrings.alt`` keeps plain text), what does nothing (null,
fail) and what chains them is never taken. A keyring that is locked asks its
owner, who may be away, so every word to it has a limit in time.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from breeze_lab.errors import VaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Keyring"]

_T = TypeVar("_T")

_LINUX: Final = ("SecretService", "libsecret", "kwallet")
_BACKENDS: Final = {"darwin": ("macOS",), "win32": ("Windows",), "linux": _LINUX}
_CLASSES: Final = {"kwallet": "DBusKeyring", "Windows": "WinVaultKeyring"}
#: How long it may take to find out whether there is a keyring.
_LOOK_S: Final = 5.0
#: How long its owner may take to unlock it.
_UNLOCK_S: Final = 60.0
_SERVICE: Final = "breeze-lab"


class Keyring:
    """Entries in the keyring, one item each.

    Parameters
    ----------
    data
        The data folder; another folder has entries of its own.
    candidates
        Keyrings to choose from; those of this system by default.

    Raises
    ------
    VaultError
        There is no real keyring.
    """

    name = "keyring"
    lasting = True

    def __init__(
        self, data: Path, candidates: Callable[[], Sequence[Any]] | None = None,
        *, look_s: float = _LOOK_S, unlock_s: float = _UNLOCK_S,
    ) -> None:  # fmt: skip
        self._unlock_s = unlock_s
        self._prefix = hashlib.sha256(os.fsencode(data)).hexdigest()[:8]
        found = _within(look_s, candidates or _candidates, "the desktop's keyring did not answer")
        real = [one for one in found if _real(one)]
        if not real:
            raise VaultError("this machine has no desktop keyring")
        self._keyring = real[0]
        kind = type(self._keyring).__module__.rpartition(".")[2]
        self.says = (
            f"Secrets are in this desktop's keyring ({kind}): they stay until you forget them."
        )

    def get(self, name: str) -> str | None:
        """Return an entry, or None."""
        found = self._ask(lambda: self._keyring.get_password(_SERVICE, self._item(name)))
        return None if found is None else str(found)

    def set(self, name: str, text: str) -> None:
        """Keep an entry."""
        self._ask(lambda: self._keyring.set_password(_SERVICE, self._item(name), text))

    def delete(self, name: str) -> None:
        """Forget an entry."""
        if self.get(name) is not None:
            self._ask(lambda: self._keyring.delete_password(_SERVICE, self._item(name)))

    def set_aside(self) -> Path | None:
        """Do nothing: what a keyring keeps, its owner sees and mends there."""
        return None

    def __repr__(self) -> str:
        return f"<Keyring {type(self._keyring).__module__}>"

    def _item(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _ask(self, work: Callable[[], _T]) -> _T:
        return _within(self._unlock_s, work, "The desktop's keyring is locked or does not answer")


def _candidates() -> list[Any]:
    """Return this system's keyrings that say they work, best first."""
    modules = _BACKENDS.get("linux" if sys.platform.startswith("linux") else sys.platform, ())
    found = []
    for module in modules:
        try:
            backend = importlib.import_module(f"keyring.backends.{module}")
            kind = getattr(backend, _CLASSES.get(module, "Keyring"))
            found.append((float(kind.priority), kind()))
        except Exception:  # noqa: BLE001, S112 - a keyring that cannot even load is none
            continue
    return [one for priority, one in sorted(found, key=lambda it: -it[0]) if priority > 0]


def _real(backend: Any) -> bool:
    """Say whether a backend keeps secrets as a desktop does; anything unknown does not."""
    package, _, module = type(backend).__module__.rpartition(".")
    known = {name for names in _BACKENDS.values() for name in names}
    return package == "keyring.backends" and module in known


def _within(limit_s: float, work: Callable[[], _T], otherwise: str) -> _T:
    """Return what `work` returns, but wait no longer than `limit_s` for it.

    It runs in a thread that is left behind when it hangs: there is no way to
    end a call that waits for a person.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((True, work()))
        except Exception as exc:  # noqa: BLE001 - told to the waiting thread
            outcome.append((False, exc))

    thread = threading.Thread(target=run, name="breeze-lab-keyring", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not outcome:
        raise VaultError(f"{otherwise} within {limit_s:g} s; unlock it, then try again")
    good, value = outcome[0]
    if good:
        return value  # type: ignore[no-any-return]
    if isinstance(value, VaultError):
        raise value
    # The text of it may repeat what was to be kept.
    raise VaultError(f"{otherwise} ({type(value).__name__})")
