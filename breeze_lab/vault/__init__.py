"""The vault: where keys and sessions are kept, and never in clear.

The first place that works: an encrypted file whose key is mounted (a
container's secret, a systemd credential); the keyring of the desktop; an
encrypted file whose key the Linux kernel, or a small process, holds until a
restart; the memory of this process. `open` chooses, `Vault.describe` says which one it was and what
would last longer. Plain text is never a place, and neither is a keyring that
only pretends to be one (``keyrings.alt``, null, fail, chains of them).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from breeze_lab import settings
from breeze_lab.errors import VaultError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Store", "Vault", "open"]

_MOST: Final = 64 * 1024
_NAME_MOST: Final = 100


class Store(Protocol):
    """One place for entries; the modules beside this one each hold a kind."""

    name: str
    lasting: bool

    @property
    def says(self) -> str:
        """Where secrets are, and what would last longer."""
        ...

    def get(self, name: str) -> str | None:
        """Return an entry, or None."""
        ...

    def set(self, name: str, text: str) -> None:
        """Keep an entry."""
        ...

    def delete(self, name: str) -> None:
        """Forget an entry; one that is not there is fine."""
        ...

    def set_aside(self) -> Path | None:
        """Begin empty without destroying anything; return where the old entries are."""
        ...


class Vault:
    """Named secrets in one place.

    Parameters
    ----------
    store
        Where they are.

    Raises
    ------
    VaultError
        By every method, when the place cannot be read or written, with what
        to do; nothing is lost then.
    """

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def backend(self) -> str:
        """Short name of the place: ``mounted``, ``keyring``, ``kernel``, ``keeper``, ``memory``."""
        return self._store.name

    @property
    def lasting(self) -> bool:
        """Whether entries are there after a restart of the machine."""
        return self._store.lasting

    @property
    def shared(self) -> bool:
        """Whether other processes of this user see what is kept."""
        return self._store.name != "memory"

    def describe(self) -> str:
        """Return one honest sentence for people: where secrets are, and what would last longer."""
        return self._store.says

    def get(self, name: str) -> str | None:
        """Return the entry called `name`, or None."""
        return self._store.get(_checked(name))

    def set(self, name: str, text: str) -> None:
        """Keep `text`, up to 64 KB, under `name`; what was there is gone."""
        if len(text.encode()) > _MOST:
            raise VaultError(f"An entry of the vault holds at most {_MOST} bytes.")
        self._store.set(_checked(name), text)

    def delete(self, name: str) -> None:
        """Forget `name`; one that is not there is fine."""
        self._store.delete(_checked(name))

    def start_anew(self) -> Path | None:
        """Begin empty: move a file that cannot be read aside; return where it went.

        Nothing is destroyed: with its right key it can be put back.
        """
        return self._store.set_aside()

    def __repr__(self) -> str:
        return f"<Vault {self.backend}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A vault cannot be pickled.")


def _checked(name: str) -> str:
    if not name or len(name) > _NAME_MOST or not name.isprintable():
        raise VaultError(f"An entry needs a printable name of 1 to {_NAME_MOST} characters.")
    return name


class _Memory:
    """The last resort: gone with this process, and no other process sees it."""

    name = "memory"
    lasting = False

    def __init__(self, why: str) -> None:
        self.says = (
            "Secrets are in the memory of this process only: they end with it and no other kernel "
            f"sees them ({why}). To keep them, mount a secret file and name it in "
            "BREEZE_LAB_VAULT_KEY_FILE (docs/login.md)."
        )
        self._entries: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self._entries.get(name)

    def set(self, name: str, text: str) -> None:
        self._entries[name] = text

    def delete(self, name: str) -> None:
        self._entries.pop(name, None)

    def set_aside(self) -> Path | None:
        self._entries.clear()
        return None


#: Guards the vaults that were opened, one for each data folder and wish: probing a keyring
#: may take seconds, and what is in memory must be found again.
_opening: Final = threading.Lock()
_opened: Final[dict[tuple[str, ...], Vault]] = {}

_CHOICES: Final = ("mounted", "keyring", "kernel", "keeper", "memory")


def open() -> Vault:  # noqa: A001 - vault.open() says what it does
    """Return this user's vault in the first place that works.

    ``BREEZE_LAB_VAULT`` (``mounted``, ``keyring``, ``kernel``, ``keeper`` or
    ``memory``) insists on one.

    Raises
    ------
    VaultError
        A key is mounted but cannot be used, or the place insisted on does not
        work here. Never a silent step down from a key that somebody mounted.
    """
    data = settings.folders().data
    wish = os.environ.get("BREEZE_LAB_VAULT", "").strip().lower()
    if wish and wish not in _CHOICES:
        raise VaultError(f"BREEZE_LAB_VAULT is one of {', '.join(_CHOICES)}, not {wish[:20]!r}.")
    from breeze_lab.vault import file  # noqa: PLC0415 - not needed before there is a secret

    mounted = file.mounted_key()
    identity = (str(data), wish, str(mounted or ""))
    with _opening:
        found = _opened.get(identity)
        if found is None:
            found = _opened[identity] = Vault(_choose(data, wish, mounted))
        return found


def _choose(data: Path, wish: str, mounted: Path | None) -> Store:
    from breeze_lab.vault import desktop, file, keeper, kernel  # noqa: PLC0415 - see open

    why: list[str] = []
    if wish in ("", "mounted"):
        if mounted is not None:
            return file.Mounted(data / "vault.json", mounted)
        why.append("no key is mounted")
    if wish in ("", "keyring"):
        try:
            return desktop.Keyring(data)
        except VaultError as exc:
            why.append(str(exc))
    if wish in ("", "kernel"):
        try:
            return kernel.Kernel(data)
        except VaultError as exc:
            why.append(str(exc))
    if wish in ("", "keeper"):
        try:
            return keeper.Keeper(data)
        except VaultError as exc:
            why.append(str(exc))
    if wish in ("", "memory"):
        return _Memory("; ".join(why) or "BREEZE_LAB_VAULT asks for it")
    raise VaultError(f"BREEZE_LAB_VAULT={wish} does not work here: {'; '.join(why)}.")
