"""The session: who is logged in, until when, and the one way to call the broker.

Owns the login and `Session.call`; the security master is `breeze_lab.masters`'.
A session is the broker's login, never a trading day. The practice market is
logged in to over the same wire with the same calls; only its label differs.

A login is shared: every process of the user joins it without asking anybody
(`breeze_lab.accounts` keeps it), and its end is everybody's end. Secrets are
in this process's memory and in the vault, and nothing here shows them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import threading
import warnings
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qs, quote_plus, urlsplit

from breeze_lab import accounts, clock, market_time, masters, processes, settings
from breeze_lab.errors import (
    BadResponse,
    BreezeLabError,
    LoginError,
    NotLoggedIn,
    RequestError,
    SessionExpired,
    SettingsError,
    VaultError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from breeze_lab._sdk import Client, Identity
    from breeze_lab.instruments import Instrument, SecurityMaster
    from breeze_lab.limits import CallMeter, Priority
    from breeze_lab.settings import Endpoints

__all__ = [
    "Session",
    "current",
    "follow",
    "joined",
    "login",
    "login_practice",
    "login_url",
    "logout",
    "page_session",
    "peek",
    "practice_record",
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
    keys
        What another process needs to go on with it.
    serial, shared
        Its name, and whether all processes of this user share it.
    rehearsal
        Whether a practice session was logged in to the way of a real account.
    market
        Which session of the practice market it is.
    """

    endpoints: Endpoints
    client: Client = field(repr=False)
    identity: Identity
    until: datetime
    master_path: Path | None = field(default=None, repr=False)
    keys: accounts.Keys | None = field(default=None, repr=False)
    serial: str = field(default_factory=accounts.new_serial)
    rehearsal: bool = False
    market: str = ""
    shared: bool = False
    _master: SecurityMaster | None = field(default=None, repr=False)

    @property
    def practice(self) -> bool:
        """Whether the data are the practice market's."""
        return self.endpoints.name == "practice"

    @property
    def meter(self) -> CallMeter:
        """The call budget of the app key, shared by all processes of the user."""
        return self.client.meter

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

    def call(
        self,
        method: str,
        *,
        priority: Priority = "interactive",
        orders: bool = False,
        **arguments: Any,
    ) -> Any:
        """Call one read method of the SDK within the call budget.

        Parameters
        ----------
        priority
            Who waits for the answer: ``"live"``, ``"interactive"`` or
            ``"backfill"``; see `breeze_lab.limits.CallMeter.spend`.
        orders
            The call is meant to move orders; see `breeze_lab._sdk.Client.call`.

        Raises
        ------
        SessionExpired
            It is past `until` and nothing is sent; or the broker says so, and
            then the session has ended for every later call too.
        OrdersRefused
            The method does not read, and orders are not allowed.
        RequestError, RateLimited, BadResponse
            See `breeze_lab._sdk.Client.call`.
        """
        self.check()
        try:
            return self.client.call(
                method,
                priority=priority,
                on_wait=self._say_wait,
                on_turn=self.check,  # it may have ended while we waited
                orders=orders,
                **arguments,
            )
        except SessionExpired as exc:
            self.end(f"at {clock.now():%H:%M} IST: the broker no longer accepted it")
            raise exc from None

    @property
    def ended(self) -> str:
        """Why it is no longer good, by what any process learned of it; empty while it is."""
        if clock.now() >= self.until:
            return f"at {self.until:%H:%M on %d-%m-%Y} IST"
        return accounts.ended(self.serial) if self.shared else ""

    def check(self) -> None:
        """Raise when the session has ended; nothing is sent.

        Raises
        ------
        SessionExpired
        """
        reason = self.ended
        if reason:
            again = "%breeze_login practice" if self.practice else "%breeze_login"
            raise SessionExpired(f"The session ended {reason}. Run {again} again.")

    def end(self, reason: str) -> None:
        """Note that the broker no longer accepts it, for every process that shares it."""
        self.until = min(self.until, clock.now())
        if self.shared:
            accounts.mark_ended(self.serial, reason)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A session holds secrets and cannot be pickled.")

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
    app_key: str,
    secret: str,
    api_session: str,
    *,
    endpoints: Endpoints = settings.ICICI,
    rehearsal: bool = False,
    share: bool = True,
) -> Session:
    """Log in with the api session that the broker's login page hands out.

    Parameters
    ----------
    app_key, secret
        Of the app registered with the broker.
    api_session
        The digits behind ``apisession=`` in the address bar after the login.
    rehearsal
        Label a practice session as logged in to the way of a real account.
    share
        Let every process of this user join it. A practice session never takes
        the place of a real account's: then it is this process's own.

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
        # Of two recorded days one may list far fewer contracts, and both are right.
        path = masters.fetch(endpoints, accept=bool(endpoints.replay))
        client = Client(endpoints, path, app_key=app_key, secret=secret)
        identity = client.login(api_session)
        midnight = datetime.combine(clock.now().date() + timedelta(days=1), time(), clock.IST)
        practice = endpoints.name == "practice"
        now = Session(
            endpoints, client, identity, midnight, master_path=path, rehearsal=rehearsal,
            market=str(accounts.market(endpoints).get("session", "")) if practice else "",
            # The practice market tells by it whether its login page still gives the same session.
            keys=accounts.Keys(
                app_key, secret, identity.user_id, identity.session_key,
                api_session if practice else "",
            ),
        )  # fmt: skip
        if share:
            _share(now)
        _current = now
        _follow(endpoints)
        return now


def _share(now: Session) -> None:
    others = accounts.facts()
    if now.practice and others is not None and others.good and not others.practice:
        return  # invented prices never take the place of a real account
    try:
        accounts.share(now)
    except VaultError as exc:
        if not now.practice:  # another process logs in to the practice market by itself
            warnings.warn(f"This session is this process's alone: {exc}", stacklevel=4)
    else:
        now.shared = True


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
        good = known is not None and known.endpoints == endpoints and not known.ended
        try:
            # Not the record's: that one ended at the market's midnight or on command.
            api_session = page_session(record["login_url"])
        except RequestError:
            if known is not None and good:
                return known
            raise
        if known is not None and good and _came_by(known) == api_session:
            return known
        others = accounts.facts()
        if others is not None and others.good and others.endpoints == endpoints.to_dict():
            with contextlib.suppress(VaultError):
                if accounts.keys().api_session == api_session:
                    return _join(others)
        return login(record["app_key"], record["secret"], api_session, endpoints=endpoints)


def _came_by(known: Session) -> str:
    return known.keys.api_session if known.keys is not None else ""


def page_session(url: str) -> str:
    """Press the button of the practice market's login page; return the api session it gives."""
    address = urlsplit(url)
    page = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_PAGE_TIMEOUT_S)
    try:
        # No address: the registered one is a browser's way, and may be a form.
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        page.request("POST", f"{address.path}?{address.query}", b"redirect=none", form)
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


def practice_record() -> dict[str, Any] | None:
    """Return the record of the running practice market, or None; it is not started."""
    return processes.running(settings.folders().runtime, "practice")


def peek() -> Session | None:
    """Return this process's session, or None; never logs in and never joins."""
    return _current


def current() -> Session:
    """Return the session to work with: this process's, or the one all processes share.

    A process without one, and one whose session gave way to a newer login of
    the same market, joins the shared session: nothing is asked of anybody. A
    process never changes markets unasked. A kernel that ``breeze-lab lab``
    started for the practice market logs in to it by itself.

    Raises
    ------
    NotLoggedIn
        With what to type.
    SessionExpired
        There was a session, and it has ended.
    """
    with _lock:
        return _current_one()


def _current_one() -> Session:
    mine = _current
    by_itself = os.environ.get("BREEZE_LAB_SESSION") == "practice"
    if by_itself and (mine is None or mine.practice):
        return login_practice()  # the one it has while that is good, a new one after midnight
    others = accounts.facts()
    if mine is not None:
        if not mine.shared or (others is not None and others.serial == mine.serial):
            mine.check()
            return mine
        if others is None or others.broker != mine.endpoints.name:
            mine.check()
    return follow()


def joined() -> Session | None:
    """Return the session to work with, joining the shared one; None when there is no good one.

    Nothing is started or logged in to, and no error is raised.
    """
    others = accounts.facts()
    if _current is None and (others is None or not others.good):
        return None
    try:
        return current()
    except BreezeLabError:
        return None


def follow() -> Session:
    """Return the session that all processes share, of whichever market it is.

    For a process that serves others and works in no market of its own: it goes
    along when the user logs in elsewhere, which `current` never does.

    Raises
    ------
    NotLoggedIn, SessionExpired, VaultError
    """
    with _lock:
        others = accounts.facts()
        if others is None:
            raise NotLoggedIn(
                "Nobody is logged in. Run %breeze_login, or %breeze_login practice for no account."
            )
        if not others.good:
            raise SessionExpired(f"The session ended {others.reason}. Run %breeze_login again.")
        mine = _current
        return mine if mine is not None and mine.serial == others.serial else _join(others)


def _join(others: accounts.Facts) -> Session:
    """Go on with the session that another process opened; the broker is not asked."""
    global _current  # noqa: PLW0603 - see login
    from breeze_lab._sdk import Client, Identity  # noqa: PLC0415 - see login

    keys = accounts.keys()
    endpoints = settings.Endpoints.from_dict(others.endpoints)
    # The login fetched it; who joins waits for no server.
    path = masters.newest(endpoints) or masters.fetch(endpoints)
    client = Client(endpoints, path, app_key=keys.app_key, secret=keys.secret)
    identity = Identity(keys.user_id, keys.session_key, others.name, {})
    client.resume(identity)
    _current = Session(
        endpoints, client, identity, others.until, master_path=path, keys=keys,
        serial=others.serial, rehearsal=others.rehearsal, market=others.market, shared=True,
    )  # fmt: skip
    _follow(endpoints)
    return _current


def _follow(endpoints: Endpoints) -> None:
    """Tell the time of the market that `endpoints` lead to from now on."""
    record = practice_record() if endpoints.name == "practice" else None
    ours = record is not None and record["api_url"] == endpoints.api_url
    clock.follow(market_time.MarketTime(record["status_url"]) if record and ours else None)


def logout() -> None:
    """Log out: every process that shares the session is told, and the vault forgets it."""
    global _current
    with _lock:
        mine, _current = _current, None
        clock.follow(None)
        if mine is None or mine.shared:
            accounts.drop()
