"""Signing in: what a login page brings back, which login it belongs to, and its exchange.

Three things that the Jupyter server and the terminal share. `find_api_session`
reads whatever a person pastes or a redirect carries. `Desk` knows the logins
that are under way: the broker has no ``state`` parameter, so each is bound to
a person, to ten minutes and to a nonce that only that person's browser has.
`exchange` trades an api session for a session in a process of its own
(``python -m breeze_lab.signin``), because the SDK loads pandas and a server
must stay light; secrets reach it through its input and never come back.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from breeze_lab import accounts, errors, settings
from breeze_lab.errors import BreezeLabError, LoginError, ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.accounts import Credentials
    from breeze_lab.settings import Endpoints

__all__ = [
    "BROKERS",
    "Desk",
    "Outcome",
    "Pending",
    "account",
    "broker_origins",
    "exchange",
    "find_api_session",
    "login_url",
    "named_session",
    "practice",
]

#: Whose login can be asked for; ``practice`` is a rehearsal.
BROKERS: Final = ("icici", "practice")
#: How long a login may take: an OTP that does not come, a page left open.
PENDING_S: Final = 600.0
#: How long a redirect may take from its arrival to its second request.
TICKET_S: Final = 60.0
_MOST_PENDING: Final = 16
_MOST_TICKETS: Final = 32
_EXCHANGE_S: Final = 90.0
_LONGEST_PASTE: Final = 16_384
#: Seen were 8 digits; anything a token is written with is let through to the broker.
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~+/=-]{3,255}")
_NAMED: Final = re.compile(r"api[_-]?session", re.IGNORECASE)
#: Name and value in an address, form data, JSON, a header, a sentence.
_LOOSE: Final = re.compile(
    r"""api[_-]?session["']?\s*[:=]\s*["']?([^\s"'&<>;,#{}()]+)""", re.IGNORECASE
)
#: What may stand around a token that was copied from somewhere.
_AROUND: Final = "\"'`<>()[].,; \t\r\n\u201c\u201d\u2018\u2019"


def find_api_session(pasted: str) -> str:
    """Return the api session in whatever was pasted.

    Parameters
    ----------
    pasted
        The bare token, the whole address of the page the broker redirected to
        (query or fragment), form data, JSON; quoted, HTML-escaped or
        percent-encoded, the name in any case.

    Raises
    ------
    LoginError
        There is none, or there are several that differ. Nothing of what was
        pasted is repeated.

    Examples
    --------
    >>> find_api_session("https://127.0.0.1/?apisession=12345678")
    '12345678'
    """
    if len(pasted) > _LONGEST_PASTE:
        raise LoginError("This is too much text. Paste the address you were sent to.")
    text = html.unescape(pasted).strip(_AROUND)
    found: list[str] = []
    for _ in range(3):  # an address inside an address is encoded once more each time
        found = [unquote(value).rstrip(_AROUND) for value in _LOOSE.findall(text)]
        if found or unquote(text) == text:
            break
        text = unquote(text)
    if not found and _TOKEN.fullmatch(text) and not _reads_like_prose(text):
        return text
    tokens = {value for value in found if _TOKEN.fullmatch(value)}
    if len(tokens) == 1:
        return tokens.pop()
    if tokens:
        raise LoginError("There are several api sessions in it. Paste only the newest address.")
    raise LoginError(
        "There is no api session in it. After the broker's login page, copy the whole address "
        "you were sent to (it has apisession= in it) and paste that."
    )


def named_session(*queries: str) -> str:
    """Return the api session that a redirect carries under its name, in query or form data.

    Raises
    ------
    LoginError
        None, several that differ, or something that cannot be one.
    """
    found = {
        value.replace(" ", "+")  # a sign of the token that the broker did not encode
        for query in queries
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=50)
        if _NAMED.fullmatch(name)
    }
    if len(found) != 1:
        raise LoginError(
            "The broker brought several api sessions." if found else
            "The broker brought no api session. Start the login again."
        )  # fmt: skip
    value = found.pop()
    if not _TOKEN.fullmatch(value):
        raise LoginError("What the broker brought cannot be an api session. Log in again.")
    return value


def _reads_like_prose(text: str) -> bool:
    """Say whether a bare word is more likely an address or a word than a token."""
    return "//" in text or text.startswith("www.") or not any(c.isdigit() for c in text)


def login_url(app_key: str, endpoints: Endpoints, redirect: str = "") -> str:
    """Return the broker's login page for `app_key`, quoted; the key may hold ``+ = ! & #``.

    Parameters
    ----------
    redirect
        For the practice market only, where it stands for the registered address.
    """
    address = f"{endpoints.login_url}?api_key={quote(app_key, safe='')}"
    return f"{address}&redirect={quote(redirect, safe='')}" if redirect else address


# -- logins under way ----------------------------------------------------------


@dataclass(slots=True)
class Pending:
    """One login under way.

    Parameters
    ----------
    user
        Who started it, as the server knows people.
    broker
        ``"icici"`` or ``"practice"``.
    nonce
        Digest of the nonce that only the starting browser has.
    until
        Monotonic time after which it counts no more.
    """

    user: str
    broker: str
    nonce: bytes = field(repr=False)
    until: float


@dataclass(slots=True)
class Desk:
    """The logins under way and the redirects that have arrived.

    One login a person: starting another ends the one before. Both lists are
    short and everything in them ends by itself. It lives on one thread.
    """

    clock: Callable[[], float] = time.monotonic
    _pending: dict[str, Pending] = field(default_factory=dict, repr=False)
    _tickets: dict[bytes, tuple[float, str]] = field(default_factory=dict, repr=False)

    def start(self, user: str, broker: str) -> str:
        """Begin a login of `user`; return the nonce for their browser's cookie."""
        self._sweep()
        nonce = secrets.token_urlsafe(32)
        self._pending.pop(user, None)
        while len(self._pending) >= _MOST_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._pending[user] = Pending(user, broker, _digest(nonce), self.clock() + PENDING_S)
        return nonce

    def pending(self, user: str) -> Pending | None:
        """Return the login `user` has under way, or None."""
        self._sweep()
        return self._pending.get(user)

    def any_pending(self) -> bool:
        """Say whether anybody has a login under way."""
        self._sweep()
        return bool(self._pending)

    def match(self, user: str, nonce: str) -> Pending | None:
        """Return the login under way of `user` if `nonce` is its own; it stays under way."""
        found = self.pending(user)
        if found is None or not hmac.compare_digest(found.nonce, _digest(nonce)):
            return None
        return found

    def finish(self, user: str) -> None:
        """End the login of `user`: what comes back now is a replay."""
        self._pending.pop(user, None)

    def hold(self, api_session: str) -> str:
        """Keep an api session for its browser's next request; return the one-shot ticket."""
        self._sweep()
        while len(self._tickets) >= _MOST_TICKETS:
            self._tickets.pop(next(iter(self._tickets)))
        ticket = secrets.token_urlsafe(32)
        self._tickets[_digest(ticket)] = self.clock() + TICKET_S, api_session
        return ticket

    def peek(self, ticket: str) -> bool:
        """Say whether `ticket` is good; it stays so."""
        self._sweep()
        return _digest(ticket) in self._tickets

    def take(self, ticket: str) -> str | None:
        """Return what was held under `ticket` and forget it; None when it is not good."""
        self._sweep()
        found = self._tickets.pop(_digest(ticket), None)
        return None if found is None else found[1]

    def _sweep(self) -> None:
        now = self.clock()
        for user in [user for user, one in self._pending.items() if one.until <= now]:
            del self._pending[user]
        for ticket in [ticket for ticket, (until, _) in self._tickets.items() if until <= now]:
            del self._tickets[ticket]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


# -- the exchange --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an exchange; no secret is in it.

    Parameters
    ----------
    serial, name, user_id
        The login and whose account it is.
    confirm
        The user id of the account that logged in before, when it is another:
        the login then waits for `accounts.adopt`. Empty otherwise.
    """

    serial: str
    name: str
    user_id: str
    confirm: str = ""


def exchange(
    endpoints: Endpoints, keys: Credentials, api_session: str, *, rehearsal: bool = False
) -> Outcome:
    """Trade an api session for a session that all processes share, in a process of its own.

    Raises
    ------
    BreezeLabError
        As that process says: `LoginError`, `SessionExpired`, `RequestError`, `VaultError`.
    ProcessError
        It ended without an answer, or gave none in a minute and a half.
    """
    request = {
        "endpoints": endpoints.to_dict(), "app_key": keys.app_key, "secret": keys.secret,
        "api_session": api_session, "rehearsal": rehearsal,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-m", "breeze_lab.signin"],
            input=json.dumps(request).encode(), stdout=subprocess.PIPE,
            # What the SDK prints may hold what we sent it.
            stderr=subprocess.DEVNULL, timeout=_EXCHANGE_S, check=False, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ProcessError(
            f"The broker did not answer the login within {_EXCHANGE_S:.0f} s. Log in again."
        ) from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise ProcessError(
            f"The login's process ended with status {done.returncode} and no answer. Log in again."
        ) from None
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), LoginError)
        raise kind(str(answer["message"]))
    return Outcome(**answer)


def practice() -> Outcome:
    """Log in to the practice market for all processes, starting it when none runs.

    Raises
    ------
    LoginError
        A real account is logged in.
    BreezeLabError
        As `exchange`.
    """
    from breeze_lab import session  # noqa: PLC0415 - it is above us, and light until a login

    now = accounts.facts()
    if now is not None and now.good and not now.practice:
        raise LoginError(
            f"{now.name} is logged in to ICICI Direct. Log out first: invented prices never take "
            "the place of a real account."
        )
    record = session.start_practice()
    api_session = session.page_session(record["login_url"])
    keys = accounts.Credentials(record["app_key"], record["secret"])
    return exchange(settings.Endpoints.from_dict(record, name="practice"), keys, api_session)


def account(broker: str) -> tuple[Endpoints, Credentials]:
    """Return where a broker is, and the kept keys for it; ``practice`` is started when needed.

    Raises
    ------
    LoginError
        No keys are kept.
    SettingsError
        There is no such broker.
    """
    from breeze_lab import session  # noqa: PLC0415 - see practice

    if broker not in BROKERS:
        raise errors.SettingsError(f"There is no broker {broker[:20]!r}.")
    keys = accounts.credentials(broker)
    if keys is None:
        raise LoginError("Type the app key and its secret first.")
    if broker == "icici":
        return settings.ICICI, keys
    return settings.Endpoints.from_dict(session.start_practice(), name="practice"), keys


def broker_origins() -> set[str]:
    """Return the origins whose pages may post a login back: the broker's, and a rehearsal's."""
    from breeze_lab import session  # noqa: PLC0415 - see practice

    addresses = [settings.ICICI.login_url]
    record = session.practice_record()
    if record is not None:
        addresses.append(str(record["login_url"]))
    parts = [urlsplit(address) for address in addresses]
    return {f"{part.scheme}://{part.netloc}".lower() for part in parts}


def main() -> int:
    """Read one request from the standard input, log in, answer on the standard output."""
    out, sys.stdout = sys.stdout, sys.stderr  # nobody but us may answer
    try:
        answer = _serve(json.loads(sys.stdin.buffer.read()))
    except BreezeLabError as exc:
        answer = {"error": type(exc).__name__, "message": str(exc)}
    except Exception as exc:  # noqa: BLE001 - its text may hold anything
        answer = {"error": "LoginError", "message": f"The login failed ({type(exc).__name__})."}
    out.write(json.dumps(answer))
    out.flush()
    return 0


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    from breeze_lab import session  # noqa: PLC0415 - only this process loads the SDK

    endpoints = settings.Endpoints.from_dict(request["endpoints"])
    known = accounts.known_user(endpoints.name)
    now = session.login(
        request["app_key"], request["secret"], request["api_session"], endpoints=endpoints,
        rehearsal=bool(request["rehearsal"]), share=False,
    )  # fmt: skip
    _try_the_secret(now)
    if known and known != now.identity.user_id:
        said, confirm = accounts.hold(now), known
    else:
        said, confirm = accounts.share(now), ""
    return {
        "serial": said.serial, "name": said.name, "user_id": said.user_id, "confirm": confirm
    }  # fmt: skip


def _try_the_secret(now: Any) -> None:
    """Send one signed call: the exchange alone is not signed, so a wrong secret would pass it.

    Raises
    ------
    LoginError
    """
    try:
        now.call("get_quotes", stock_code="NIFTY", exchange_code="NSE", product_type="cash")
    except errors.SessionExpired:
        raise LoginError(
            "The broker knows the app key but not its signature: the secret is wrong, or the "
            "clock of this machine is more than a minute off. Type key and secret anew."
        ) from None
    except BreezeLabError:
        return  # a busy or closed market says nothing against the secret


if __name__ == "__main__":
    sys.exit(main())
