"""The session: who is logged in, until when, and the one way to call the broker.

Owns the login and `Session.call`; the security master is `breeze_lab.masters`'.
A session is the broker's login, never a trading day. The practice market is
logged in to over the same wire with the same calls; only its label differs.

Secrets live in this process's memory: the app key and secret inside the SDK
client, the session key in its identity. Nothing here writes them anywhere.
"""

from __future__ import annotations

import http.client
import os
import sys
import threading
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote_plus, urlsplit

from breeze_lab import clock, masters, processes, settings
from breeze_lab.errors import (
    BadResponse,
    LoginError,
    NotLoggedIn,
    RequestError,
    SessionExpired,
    SettingsError,
)
from breeze_lab.limits import CallMeter

if TYPE_CHECKING:
    from pathlib import Path

    from breeze_lab._sdk import Client, Identity
    from breeze_lab.instruments import Instrument, SecurityMaster
    from breeze_lab.settings import Endpoints

__all__ = [
    "Session",
    "current",
    "login",
    "login_practice",
    "login_url",
    "logout",
    "peek",
    "start_practice",
]

_PAGE_TIMEOUT_S: Final = 10.0

_lock = threading.RLock()  # guards _current: widgets log in from threads
_current: Session | None = None


@dataclass(eq=False)
class Session:
    """One login.

    Parameters
    ----------
    endpoints
        The broker we talk to.
    client
        The contained SDK.
    identity
        Who the broker says we are.
    until
        Last moment the session is good, aware IST: the next midnight, or the
        moment at which the broker no longer accepted it.
    """

    endpoints: Endpoints
    client: Client = field(repr=False)
    identity: Identity
    until: datetime
    meter: CallMeter = field(default_factory=CallMeter, repr=False)
    master_path: Path | None = field(default=None, repr=False)
    api_session: str = field(default="", repr=False)
    _master: SecurityMaster | None = field(default=None, repr=False)

    @property
    def practice(self) -> bool:
        """Whether the data are the practice market's."""
        return self.endpoints.name == "practice"

    @property
    def master(self) -> SecurityMaster:
        """Every instrument, read on first use."""
        with _lock:
            if self._master is None:
                assert self.master_path is not None
                self._master = masters.open_zip(self.master_path)
            return self._master

    def resolve(self, name: str | Instrument) -> Instrument:
        """Return the one instrument `name` means; see `SecurityMaster.resolve`."""
        return self.master.resolve(name)

    def call(self, method: str, **arguments: Any) -> Any:
        """Call one read method of the SDK within the call budget.

        Raises
        ------
        SessionExpired
            It is past `until` and nothing is sent; or the broker says so, and
            then the session has ended for every later call too.
        RequestError, RateLimited, BadResponse
            See `breeze_lab._sdk.Client.call`.
        """
        if clock.now() >= self.until:
            raise SessionExpired(
                f"The session ended at {self.until:%H:%M on %d-%m-%Y} IST. Run %breeze_login again."
            )
        self.meter.spend(self._say_wait)
        try:
            return self.client.call(method, **arguments)
        except SessionExpired:
            self.until = min(self.until, clock.now())
            raise

    def _say_wait(self, seconds: float) -> None:
        if seconds > 1:
            print(  # noqa: T201 - the person at the notebook waits and should know why
                f"Waiting {seconds:.0f} s: the broker allows {self.meter.limit} calls a minute.",
                file=sys.stderr,
            )


def login_url(app_key: str, endpoints: Endpoints = settings.ICICI) -> str:
    """Return the address of the broker's login page for `app_key`, correctly quoted."""
    return f"{endpoints.login_url}?api_key={quote_plus(app_key)}"


def login(
    app_key: str, secret: str, api_session: str, *, endpoints: Endpoints = settings.ICICI
) -> Session:
    """Log in with the api session that the broker's login page hands out.

    Parameters
    ----------
    app_key, secret
        Of the app registered with the broker.
    api_session
        The digits behind ``apisession=`` in the address bar after the login.

    Returns
    -------
    Session
        Also made the current one.

    Raises
    ------
    LoginError, SessionExpired, RequestError
    """
    global _current  # noqa: PLW0603 - one session per kernel is the point of this room
    if not (app_key and secret and api_session):
        raise LoginError("App key, secret and api session are all needed.")
    from breeze_lab._sdk import Client  # noqa: PLC0415 - loads the SDK, half a second

    with _lock:
        path = masters.fetch(endpoints)
        client = Client(endpoints, path, app_key=app_key, secret=secret)
        identity = client.login(api_session)
        midnight = datetime.combine(clock.now().date() + timedelta(days=1), time(), clock.IST)
        _current = Session(
            endpoints, client, identity, midnight, master_path=path, api_session=api_session
        )
        return _current


def login_practice(**options: object) -> Session:
    """Log in to the practice market, starting it when none runs.

    Parameters
    ----------
    **options
        Command-line options of ``breeze-lab practice`` for a market that has
        to be started: ``seed=7``, ``exchange_hours=True``.

    Returns
    -------
    Session
        Also made the current one. Calling it again while the market accepts it
        returns the same session.

    Raises
    ------
    SettingsError
        A market with other options is already running.
    ProcessError
        It did not start.
    RequestError
        Its login page did not hand out a session; a fault may be active.

    Examples
    --------
    >>> import breeze_lab
    >>> breeze_lab.login_practice().practice  # doctest: +SKIP
    True
    """
    with _lock:
        record = start_practice(**options)
        endpoints = settings.Endpoints.from_dict(record, name="practice")
        known = _current
        good = known is not None and known.endpoints == endpoints and clock.now() < known.until
        try:
            # Not the record's: that one ended at the market's midnight or on command.
            api_session = _page_session(record["login_url"])
        except RequestError:
            if known is not None and good:
                return known
            raise
        if known is not None and good and known.api_session == api_session:
            return known
        return login(record["app_key"], record["secret"], api_session, endpoints=endpoints)


def _page_session(url: str) -> str:
    """Press the button of the practice market's login page; return the api session it gives."""
    address = urlsplit(url)
    page = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_PAGE_TIMEOUT_S)
    try:
        page.request("POST", f"{address.path}?{address.query}", b"")
        answer = page.getresponse()
    except (OSError, http.client.HTTPException) as exc:
        raise RequestError(
            f"The practice market's login page did not answer ({type(exc).__name__}). "
            "See what is wrong with it: %breeze_practice"
        ) from exc
    finally:
        page.close()
    target = urlsplit(answer.getheader("Location") or "")
    found = parse_qs(target.query).get("apisession")
    if not found:
        raise BadResponse(
            f"The practice market's login page answered HTTP {answer.status} without a session. "
            "Is a fault active? See %breeze_practice, or end them all: %breeze_practice clear"
        )
    return found[0]


def start_practice(**options: object) -> dict[str, Any]:
    """Return the record of the running practice market, starting it when none runs.

    It ends by itself half an hour after its last client. Parameters as in
    `login_practice`.
    """
    runtime = settings.folders().runtime
    arguments = ["--runtime", str(runtime), "--idle-exit", "1800"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        arguments += [flag] if value is True else [flag, str(value)]
    record = processes.ensure(runtime, "practice", "breeze_lab.practice", arguments)
    is_now = {**record, "exchange_hours": record["open_since"] is None}
    for name, value in options.items():
        if is_now.get(name) != value:
            raise SettingsError(
                f"A practice market with {name}={is_now.get(name)} is already running. Run "
                "`breeze-lab stop` in a terminal, then log in again."
            )
    return record


def peek() -> Session | None:
    """Return the current session, or None; never logs in."""
    return _current


def current() -> Session:
    """Return the current session.

    A kernel that ``breeze-lab lab`` started for the practice market joins it
    by itself; nothing ever logs in to a real account unasked.

    Raises
    ------
    NotLoggedIn
        With what to type.
    """
    by_itself = os.environ.get("BREEZE_LAB_SESSION") == "practice"
    if _current is not None and not (by_itself and _current.practice):
        return _current
    if by_itself:
        return login_practice()  # the one it has while that is good, a new one after midnight
    raise NotLoggedIn(
        "Nobody is logged in. Run %breeze_login for your account, or %breeze_login practice."
    )


def logout() -> None:
    """Forget the current session of this process."""
    global _current  # noqa: PLW0603 - see login
    with _lock:
        _current = None
