"""Settings: which broker we talk to, which folders we own, which limits hold.

Everything here is read once from the environment and never holds a secret.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from breeze_lab.errors import SettingsError

__all__ = [
    "ICICI", "MAX_CANDLES_PER_CALL", "Endpoints", "Folders", "folders", "on_hub", "orders_allowed",
    "private",
]  # fmt: skip

#: The broker silently cuts an answer to its newest 1,000 candles.
MAX_CANDLES_PER_CALL: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The seven addresses a Breeze client needs.

    The two REST addresses end in ``/`` because endpoint names are appended as
    text. Of the three streams only scheme, host and port count.
    ``calls`` is ``"limited"``, or ``"free"`` for a practice market on this
    machine that was started without limits; nobody else's calls are free.
    ``replay`` names the recording that a practice market replays.
    """

    name: str
    api_url: str
    v2_url: str
    stream_url: str
    feeds_url: str
    ohlc_url: str
    master_url: str
    login_url: str
    calls: str = "limited"
    replay: str = ""

    @classmethod
    def from_dict(cls, data: dict[str, Any], name: str | None = None) -> Endpoints:
        """Return endpoints from a mapping with at least our field names.

        Raises
        ------
        SettingsError
            When an address is missing.
        """
        try:
            named = {"name": name, **data} if name else data
            addresses = {
                field: str(named[field])
                for field in cls.__dataclass_fields__
                if field not in ("calls", "replay")
            }
        except KeyError as exc:
            raise SettingsError(f"The endpoints lack {exc}.") from exc
        # A login address may arrive with the app key in it; the key is not an address.
        addresses["login_url"] = addresses["login_url"].partition("?")[0]
        free = data.get("no_limits") is True or data.get("calls") == "free"
        here = addresses["api_url"].startswith(("http://127.0.0.1:", "http://[::1]:"))
        replay = Path(str(data.get("replay") or "")).name
        return cls(**addresses, calls="free" if free and here else "limited", replay=replay)

    def to_dict(self) -> dict[str, str]:
        """Return the addresses as a plain mapping."""
        return asdict(self)


ICICI: Final = Endpoints(
    name="icici",
    api_url="https://api.icicidirect.com/breezeapi/api/v1/",
    v2_url="https://breezeapi.icicidirect.com/api/v2/",
    stream_url="https://livestream.icicidirect.com",
    feeds_url="https://livefeeds.icicidirect.com",
    ohlc_url="https://breezeapi.icicidirect.com",
    master_url="https://directlink.icicidirect.com/MotherAppMaster/SecurityMaster.zip",
    login_url="https://api.icicidirect.com/apiuser/login",
)


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders Breeze Lab owns, all private to the user (mode 0700).

    Parameters
    ----------
    runtime
        Locks, sockets and records of running processes; gone after a reboot.
    cache
        What can be made or fetched again.
    data
        What cannot: the vault, the call meter, the security masters of past days.
    """

    runtime: Path
    cache: Path
    data: Path

    def socket(self, name: str) -> Path:
        """Return the path of the Unix socket called `name`.

        A socket's path may hold about 100 bytes, so a deep home folder gets a
        short stand-in in the temporary folder, private to the user.
        """
        path = self.runtime / f"{name}.sock"
        if len(os.fsencode(path)) < 100:  # noqa: PLR2004 - the kernel's limit is 104 to 108
            return path
        return self.stand_in(self.runtime) / f"{name}.sock"

    @staticmethod
    def stand_in(folder: Path) -> Path:
        """Return a private folder below the temporary one that stands in for `folder`.

        Every process of the user finds the same.
        """
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        return private(Path(tempfile.gettempdir()) / f"breeze-lab-{os.getuid()}-{digest}")


def folders() -> Folders:
    """Return the folders, made if missing.

    ``BREEZE_LAB_HOME`` puts everything under one folder; otherwise Jupyter's
    runtime folder and the user's cache and data folders are used.
    """
    home = os.environ.get("BREEZE_LAB_HOME")
    if home:
        base = Path(home).expanduser().absolute()
        return Folders(*(private(base / name) for name in ("runtime", "cache", "data")))
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415 - not needed with a home set

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Folders(
        private(Path(jupyter_runtime_dir()) / "breeze-lab"),
        private(cache / "breeze-lab"),
        private(data / "breeze-lab"),
    )


def on_hub() -> bool:
    """Say whether this process was started by a JupyterHub."""
    return any(name.startswith("JUPYTERHUB_") for name in (*os.environ, *_first_environment()))


def orders_allowed() -> frozenset[str]:
    """Return the user ids for which ``BREEZE_LAB_ALLOW_ORDERS`` allows orders.

    What counts is the environment that the process was started with: a cell
    that sets the variable changes nothing, so a notebook cannot allow itself.
    Ids are separated by commas; naming the account keeps a permission that was
    meant for the practice market from holding for a real one.
    """
    value = _first_environment().get("BREEZE_LAB_ALLOW_ORDERS", "")
    return frozenset(filter(None, (word.strip() for word in value.split(","))))


_AT_IMPORT: Final = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(("JUPYTERHUB_", "BREEZE_LAB_ALLOW_ORDERS"))
}


def _first_environment() -> dict[str, str]:
    """Return the environment this process began with; where it cannot be read, that of import."""
    try:
        text = Path("/proc/self/environ").read_bytes().decode(errors="replace")
    except OSError:
        return _AT_IMPORT
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def private(path: Path) -> Path:
    """Return a folder of this user's that nobody else may enter, made if missing.

    Raises
    ------
    SettingsError
        It is there and belongs to somebody else.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = path.stat()
    if info.st_uid != os.getuid():
        raise SettingsError(
            f"{path} belongs to somebody else. Set BREEZE_LAB_HOME to a folder of yours."
        )
    if info.st_mode & 0o077:
        path.chmod(0o700)
    return path
