"""Accounts: the keys of an app, and the one session that all processes of a user share.

Secrets (app key, secret, session key) are in the vault. What is no secret (who,
until when, whether it ended) is in ``session.json`` of the runtime folder, so
that anybody may look at it often: kernels, the relay, dashboards, jobs and the
Jupyter server. Every session has a serial; whoever learns that the broker
refused it marks that serial ended, and a newer login is not hurt.

Loads nothing heavy: a server that only shows the state reads one small file.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from breeze_lab import clock, settings, vault
from breeze_lab.errors import LoginError, VaultError
from breeze_lab.settings import Endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from breeze_lab.session import Session

__all__ = [
    "Credentials",
    "Facts",
    "Keys",
    "adopt",
    "credentials",
    "drop",
    "ended",
    "facts",
    "forget",
    "hold",
    "keys",
    "known_user",
    "look",
    "mark_ended",
    "market",
    "new_serial",
    "save_credentials",
    "share",
    "waiting",
]

_FILE: Final = "session.json"
_SHARED: Final = "session"
_WAITING: Final = "session-waiting"
#: How long a login of another account waits for a yes.
_WAIT_S: Final = 600.0


class _NoPickle:
    """What must not leave the process by accident."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds secrets and cannot be pickled.")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials(_NoPickle):
    """The two keys of an app registered with the broker. Both are secrets."""

    app_key: str
    secret: str

    def __repr__(self) -> str:
        return "Credentials(...)"


@dataclass(frozen=True, slots=True, repr=False)
class Keys(_NoPickle):
    """What continues a shared session; every field but the user id is a secret."""

    app_key: str
    secret: str
    user_id: str
    session_key: str
    api_session: str = ""

    def __repr__(self) -> str:
        return f"Keys(user_id={self.user_id!r})"


@dataclass(frozen=True, slots=True)
class Facts:
    """What everybody may know of the shared session. No secret is in here.

    Parameters
    ----------
    broker
        ``"icici"`` or ``"practice"``.
    practice, rehearsal
        Whether prices are invented, and whether the login went the way of a real one.
    name, user_id
        Whose account.
    until, started
        When it ends and began, aware IST.
    serial
        Names this login; a later one has another.
    ended
        Why it ended; empty while it has not.
    endpoints
        Where the broker is.
    market
        Which session of the practice market it is; empty for a real account.
    """

    broker: str
    practice: bool
    rehearsal: bool
    name: str
    user_id: str
    until: datetime
    serial: str
    started: datetime
    ended: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    market: str = ""

    @property
    def good(self) -> bool:
        """Whether it is neither ended nor past its time."""
        return not self.ended and clock.now() < self.until

    @property
    def reason(self) -> str:
        """When or why it ended, to follow "ended"; empty while it is good."""
        if self.ended or self.good:
            return self.ended
        return f"at {self.until:%H:%M on %d-%m-%Y} IST"


def new_serial() -> str:
    """Return a name for a new login."""
    return secrets.token_hex(8)


# -- the keys of an app ------------------------------------------------------


def credentials(endpoints_name: str = "icici") -> Credentials | None:
    """Return the keys kept for a broker, or None.

    Raises
    ------
    VaultError
    """
    found = _entry(f"credentials:{endpoints_name}")
    return None if found is None else Credentials(str(found["app_key"]), str(found["secret"]))


def save_credentials(endpoints_name: str, app_key: str, secret: str) -> None:
    """Keep the keys of an app in the vault.

    Raises
    ------
    LoginError
        One is missing, or cannot be one.
    VaultError
    """
    for what, text in (("app key", app_key), ("secret", secret)):
        if not text or len(text) > 500 or not text.isprintable() or " " in text:  # noqa: PLR2004
            raise LoginError(f"This is no {what}. Copy it from the app's page at the broker.")
    kept = _entry(f"credentials:{endpoints_name}") or {}
    if kept.get("app_key") != app_key:
        kept = {}  # another app may be another person's
    text = json.dumps({**kept, "app_key": app_key, "secret": secret})
    vault.open().set(f"credentials:{endpoints_name}", text)


def forget(endpoints_name: str = "icici") -> None:
    """Forget the keys of an app; a vault that cannot be read is moved aside."""
    kept = vault.open()
    try:
        kept.delete(f"credentials:{endpoints_name}")
    except VaultError:
        kept.start_anew()


def known_user(endpoints_name: str) -> str:
    """Return the user id of the account that logged in last with the kept keys, or nothing."""
    return str((_entry(f"credentials:{endpoints_name}") or {}).get("user_id", ""))


def _entry(name: str) -> dict[str, Any] | None:
    text = vault.open().get(name)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise VaultError(f"The vault's entry {name!r} cannot be read. Log in again.")
    return found


# -- the shared session ------------------------------------------------------


def facts() -> Facts | None:
    """Return what is known of the shared session, or None when there is none.

    Cheap enough to ask before every call: the file is read again only when it changed.
    """
    return _read(settings.folders().runtime / _FILE)


def ended(serial: str) -> str:
    """Return when or why the shared session `serial` ended; empty while it is the good one."""
    now = facts()
    if now is None:
        return "by a logout"
    if now.serial != serial:
        return "when a newer login took its place"
    return now.reason


def keys() -> Keys:
    """Return the secrets of the shared session.

    Raises
    ------
    VaultError
        This process cannot see them.
    """
    now = facts()
    found = _entry(_SHARED)
    if now is None or found is None or found.get("serial") != now.serial:
        raise VaultError(
            "The shared session's keys are not in this process's vault "
            f"({vault.open().backend}). Log in here: %breeze_login."
        )
    return Keys(*(str(found.get(name, "")) for name in Keys.__slots__))


def share(session: Session) -> Facts:
    """Make `session` the one that all processes of this user share.

    Raises
    ------
    VaultError
        Its keys cannot be kept; the session before it stays the shared one.
    """
    with _locked():
        return _share(_facts_of(session), _secrets_of(session))


def hold(session: Session) -> Facts:
    """Keep `session` aside until somebody says that its account is the right one."""
    said = _facts_of(session)
    until = clock.now().timestamp() + _WAIT_S
    text = json.dumps({"facts": _plain(said), "keys": _secrets_of(session), "until": until})
    vault.open().set(_WAITING, text)
    return said


def waiting() -> Facts | None:
    """Return the login that waits for a yes, or None."""
    found = _entry(_WAITING)
    if found is None or clock.now().timestamp() > float(found["until"]):
        return None
    return _facts(found["facts"])


def adopt(serial: str) -> Facts:
    """Say yes to the login that waits under `serial`: it becomes the shared session.

    Raises
    ------
    LoginError
        None waits under this name any more.
    """
    with _locked():
        now, found = waiting(), _entry(_WAITING)
        if now is None or found is None or not secrets.compare_digest(
            now.serial.encode(), serial.encode("utf-8", "replace")
        ):  # fmt: skip
            raise LoginError("This login no longer waits for a yes. Log in again.")
        vault.open().delete(_WAITING)
        return _share(now, found["keys"])


def drop(serial: str | None = None) -> None:
    """Log out: forget the shared session for every process, and one that waits.

    Parameters
    ----------
    serial
        Only when it is this one; any by default.
    """
    with _locked():
        now = facts()
        if serial is not None and (now is None or now.serial != serial):
            return
        (settings.folders().runtime / _FILE).unlink(missing_ok=True)
        kept = vault.open()
        kept.delete(_SHARED)
        kept.delete(_WAITING)


def mark_ended(serial: str, reason: str) -> bool:
    """Tell every process that the session `serial` has ended; say whether it was the shared one.

    A newer login is left alone. `reason` follows the word "ended": ``"at 00:00 IST"``.
    """
    with _locked():
        now = facts()
        if now is None or now.serial != serial:
            return False
        if not now.ended:
            _write(replace(now, ended=reason or "by the broker"))
        return True


def market(endpoints: Endpoints, timeout_s: float = 2.0) -> dict[str, Any]:
    """Return what the practice market at `endpoints` says of itself; empty without an answer.

    ``session`` names its present session, ``now`` is market time (ISO, IST),
    ``speed`` market seconds a second.

    Raises
    ------
    ConnectionRefusedError
        Nobody listens there any more. A market that is slow or in trouble is not that.
    """
    import http.client  # noqa: PLC0415 - a real account has no such market

    where = urlsplit(endpoints.api_url)
    page = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout_s)
    try:
        page.request("GET", "/practice/status")
        found = json.loads(page.getresponse().read())
    except ConnectionRefusedError:
        raise
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        page.close()
    return found if isinstance(found, dict) else {}


def look() -> tuple[Facts | None, dict[str, Any]]:
    """Return the facts, and what the practice market says when the session is one of its.

    Its clock is driven, so its midnight comes when it likes; whoever looks
    first notices, and marks the session ended for everybody.
    """
    now = facts()
    if now is None or not now.practice or now.ended:
        return now, {}
    try:
        said = market(Endpoints.from_dict(now.endpoints))
    except ConnectionRefusedError:
        mark_ended(now.serial, "with the practice market, which stopped")
        return facts(), {}
    if now.market and said and said.get("session") != now.market:
        mark_ended(now.serial, "by the practice market, as a broker does at midnight")
    return facts(), said


def _share(said: Facts, kept: dict[str, str]) -> Facts:
    place = vault.open()
    if not place.shared:
        raise VaultError(f"A session cannot be shared here. {place.describe()}")
    place.set(_SHARED, json.dumps({**kept, "serial": said.serial}))
    _write(said)
    # Whose account it was, to ask when another one comes with the same keys.
    known = _entry(f"credentials:{said.broker}")
    if known is not None and known["app_key"] == kept["app_key"]:
        place.set(f"credentials:{said.broker}", json.dumps({**known, "user_id": said.user_id}))
    return said


def _facts_of(session: Session) -> Facts:
    return Facts(
        broker=session.endpoints.name, practice=session.practice, rehearsal=session.rehearsal,
        name=session.identity.name, user_id=session.identity.user_id, until=session.until,
        serial=session.serial, started=clock.now(), endpoints=session.endpoints.to_dict(),
        market=session.market,
    )  # fmt: skip


def _secrets_of(session: Session) -> dict[str, str]:
    keys_ = session.keys
    return {name: getattr(keys_, name) for name in Keys.__slots__}


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    from breeze_lab.vault.file import lock  # noqa: PLC0415 - only who changes something

    with lock(settings.folders().runtime / "session.lock"):
        yield


def _write(said: Facts) -> None:
    from breeze_lab.vault.file import write_whole  # noqa: PLC0415 - see _locked

    path = settings.folders().runtime / _FILE
    write_whole(path, json.dumps(_plain(said), indent=1).encode())


def _plain(said: Facts) -> dict[str, Any]:
    times = {"until": said.until.isoformat(), "started": said.started.isoformat()}
    return {**asdict(said), **times}


def _facts(found: dict[str, Any]) -> Facts:
    times = {name: clock.to_ist(datetime.fromisoformat(found[name])) for name in _TIMES}
    addresses = Endpoints.from_dict(found["endpoints"]).to_dict()
    return Facts(**{**found, **times, "endpoints": addresses})


_TIMES: Final = ("until", "started")
#: The file as it was read last: its path, its identity, and what it said.
_seen: tuple[Path, tuple[int, ...], Facts | None] | None = None


def _read(path: Path) -> Facts | None:
    global _seen  # noqa: PLW0603 - a cache of one file
    try:
        info = os.stat(path)  # noqa: PTH116 - before every call: the quick one
    except OSError:
        return None
    mark = info.st_ino, info.st_mtime_ns, info.st_size
    known = _seen
    if known is not None and known[:2] == (path, mark):
        return known[2]
    try:
        found = _facts(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found = None  # not one of ours: nobody is logged in
    _seen = path, mark, found
    return found
