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

__all__ = ["ICICI", "MAX_CANDLES_PER_CALL", "Endpoints", "Folders", "folders"]

#: The broker silently cuts an answer to its newest 1,000 candles.
MAX_CANDLES_PER_CALL: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The seven addresses a Breeze client needs.

    The two REST addresses end in ``/`` because endpoint names are appended as
    text. Of the three streams only scheme, host and port count.
    """

    name: str
    api_url: str
    v2_url: str
    stream_url: str
    feeds_url: str
    ohlc_url: str
    master_url: str
    login_url: str

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
            addresses = {field: str(named[field]) for field in cls.__dataclass_fields__}
        except KeyError as exc:
            raise SettingsError(f"The endpoints lack {exc}.") from exc
        # A login address may arrive with the app key in it; the key is not an address.
        addresses["login_url"] = addresses["login_url"].partition("?")[0]
        return cls(**addresses)

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
        digest = hashlib.sha256(os.fsencode(self.runtime)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"breeze-lab-{os.getuid()}-{digest}"
        return _private(short) / f"{name}.sock"


def folders() -> Folders:
    """Return the folders, made if missing.

    ``BREEZE_LAB_HOME`` puts everything under one folder; otherwise Jupyter's
    runtime folder and the user's cache and data folders are used.
    """
    home = os.environ.get("BREEZE_LAB_HOME")
    if home:
        base = Path(home).expanduser().absolute()
        return Folders(*(_private(base / name) for name in ("runtime", "cache", "data")))
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415 - not needed with a home set

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Folders(
        _private(Path(jupyter_runtime_dir()) / "breeze-lab"),
        _private(cache / "breeze-lab"),
        _private(data / "breeze-lab"),
    )


def _private(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = path.stat()
    if info.st_uid != os.getuid():
        raise SettingsError(
            f"{path} belongs to somebody else. Set BREEZE_LAB_HOME to a folder of yours."
        )
    if info.st_mode & 0o077:
        path.chmod(0o700)
    return path
