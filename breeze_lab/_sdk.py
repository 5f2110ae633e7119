"""The only door to ``breeze-connect``: load it unmodified, contain it, translate its answers.

Importing the SDK downloads a master, makes ``logs/`` in the working folder,
puts its folder on ``sys.path``, takes the module name ``config`` and turns
IPv6 off for the whole process. Its calls have no timeout and answer None, a
string, an error envelope or a bare Exception. None of that leaves this room:
each `Client` holds a private copy of the module with addresses of its own,
and a call returns a value or raises an error of `breeze_lab.errors`.

No file of the SDK is changed. What its functions see as ``requests`` is a
small stand-in that adds a timeout, keeps connections open and remembers why a
request failed.
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import logging
import os
import sys
import threading
import types
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from breeze_lab.errors import (
    BadResponse,
    BreezeLabError,
    LoginError,
    NotLoggedIn,
    RateLimited,
    RequestError,
    SessionExpired,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from breeze_lab.settings import Endpoints

__all__ = ["READ_METHODS", "Client", "Identity", "load"]

#: The SDK methods `Client.call` may reach. Nothing that moves money or orders is here.
READ_METHODS: Final = frozenset({
    "get_customer_details", "get_demat_holdings", "get_funds", "get_historical_data",
    "get_historical_data_v2", "get_margin", "get_names", "get_option_chain_quotes",
    "get_order_detail", "get_order_list", "get_portfolio_holdings", "get_portfolio_positions",
    "get_quotes", "get_trade_detail", "get_trade_list",
})  # fmt: skip

_loading: Final = threading.Lock()  # urllib3's IPv6 flag is process-wide while the SDK loads


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the broker says we are.

    `session_key` is a secret: it signs calls and opens sockets. It is left out
    of the representation.
    """

    user_id: str
    session_key: str
    name: str
    details: dict[str, Any]

    def __repr__(self) -> str:
        return f"Identity(user_id={self.user_id!r}, name={self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An identity holds a session key and cannot be pickled.")


def _private(module: types.ModuleType, **changes: Any) -> types.ModuleType:
    """Return a copy of a module's namespace with a few names replaced."""
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__)
    copy.__dict__.update(changes)
    return copy


class _Http:
    """What the SDK's functions see as ``requests``."""

    def __init__(self, timeout_s: float) -> None:
        import requests  # noqa: PLC0415 - half of what a kernel's first import would cost

        self._requests = requests
        self._session = requests.Session()
        self._timeout_s = timeout_s
        self.packages = requests.packages  # the SDK reaches urllib3 through it

    def get(self, url: str, **options: Any) -> Any:
        """Send a GET; a ``file:`` address is read from disk."""
        if url.startswith("file:"):
            response = self._requests.Response()
            response.status_code = 200
            with urllib.request.urlopen(url) as file:  # noqa: S310 - our own cached master
                response.raw = io.BytesIO(file.read())
            return response
        return self._send("GET", url, options)

    def post(self, url: str, **options: Any) -> Any:
        """Send a POST."""
        return self._send("POST", url, options)

    def put(self, url: str, **options: Any) -> Any:
        """Send a PUT."""
        return self._send("PUT", url, options)

    def delete(self, url: str, **options: Any) -> Any:
        """Send a DELETE."""
        return self._send("DELETE", url, options)

    def _send(self, verb: str, url: str, options: dict[str, Any]) -> Any:
        where = url.split("?", maxsplit=1)[0]
        # A proxy of the environment must not be asked for an address of this machine.
        if "//127.0.0.1" in url or "//localhost" in url or "//[::1]" in url:
            options = {"proxies": {"no_proxy": "*"}, **options}
        try:
            response = self._session.request(verb, url, **{"timeout": self._timeout_s, **options})
        except self._requests.Timeout as exc:
            raise RequestError(
                f"{where} did not answer within {self._timeout_s:g} s. Try again."
            ) from exc
        except self._requests.RequestException as exc:
            reason = type(exc).__name__  # the text of it can hold the whole query
            raise RequestError(
                f"{where} could not be reached ({reason}). Check the network, then try again."
            ) from exc
        if response.status_code == 429:  # noqa: PLR2004 - HTTP's Too Many Requests
            raise RateLimited(f"{where} throttles us (HTTP 429). Wait a minute, then try again.")
        try:
            answer = response.json()
        except ValueError as exc:
            raise BadResponse(
                f"{where} answered HTTP {response.status_code} without JSON: the broker may be in "
                "maintenance. Try again later."
            ) from exc
        if where.endswith("/customerdetails") and isinstance(answer, dict):
            # The SDK would say of a refusal at the login no more than to try again later.
            limited = _limited(str(answer.get("Error") or ""))
            if limited is not None:
                raise limited
        return response


def load(endpoints: Endpoints, master: Path, timeout_s: float = 30.0) -> types.ModuleType:
    """Load one private copy of the installed SDK that talks to `endpoints`.

    Parameters
    ----------
    endpoints
        Where the copy connects to.
    master
        A security master on disk, read instead of three downloads.
    timeout_s
        Limit of every REST call.

    Returns
    -------
    module
        With ``BreezeConnect`` in it. It is in no ``sys.modules``.

    Raises
    ------
    SettingsError
        When the SDK is not installed, or a later version renamed a setting.
    """
    found = importlib.util.find_spec("breeze_connect")  # locates, does not import
    if found is None or found.origin is None:
        raise SettingsError("breeze-connect is not installed. Run: pip install breeze-connect")
    folder = Path(found.origin).parent
    import urllib3.util.connection as u3  # noqa: PLC0415 - loaded with requests, not before

    def run(part: str, module_file: str, prepare: Callable[[types.ModuleType], None]) -> Any:
        spec = importlib.util.spec_from_file_location(
            f"_breeze_lab_{endpoints.name}_{part}", folder / module_file
        )
        if spec is None or spec.loader is None:
            raise SettingsError(f"breeze-connect has no {module_file} any more.")
        module = importlib.util.module_from_spec(spec)
        prepare(module)
        spec.loader.exec_module(module)
        return module

    with _loading:
        config = run("config", "config.py", lambda _: None)
        addresses = {
            "API_URL": endpoints.api_url,
            "BREEZE_NEW_URL": endpoints.v2_url,
            "LIVE_STREAM_URL": endpoints.stream_url,
            "LIVE_FEEDS_URL": endpoints.feeds_url,
            "LIVE_OHLC_STREAM_URL": endpoints.ohlc_url,
            "SECURITY_MASTER_URL": master.absolute().as_uri(),
        }
        for setting, address in addresses.items():
            if not hasattr(config, setting):
                raise SettingsError(f"This breeze-connect has no setting {setting}.")
            setattr(config, setting, address)
        swap = _swaps(config)

        def import_(
            name: str,
            globals_: Mapping[str, object] | None = None,
            locals_: Mapping[str, object] | None = None,
            fromlist: tuple[str, ...] = (),
            level: int = 0,
        ) -> types.ModuleType:
            if level == 0 and name in swap:
                return swap[name]
            return builtins.__import__(name, globals_, locals_, fromlist, level)

        def contain(module: types.ModuleType) -> None:
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_}

        ipv6 = u3.HAS_IPV6
        try:
            sdk: types.ModuleType = run("sdk", "breeze_connect.py", contain)
        finally:
            u3.HAS_IPV6 = ipv6
    sdk.__dict__["requests"] = _Http(timeout_s)
    return sdk


def _swaps(config: types.ModuleType) -> dict[str, types.ModuleType]:
    """Return the modules the SDK gets instead of the real ones."""

    def silent(_name: str | None = None) -> logging.Logger:
        # Registered nowhere and disabled: the SDK logs whole answers, bank account included.
        logger = logging.Logger("breeze_connect")  # noqa: LOG001 - it must not be registered
        logger.disabled = True
        return logger

    return {
        "config": config,
        "sys": _private(sys, path=list(sys.path)),
        "os": _private(os, makedirs=lambda *_a, **_k: None),
        "logging": _private(
            logging, FileHandler=lambda *_a, **_k: logging.NullHandler(), getLogger=silent
        ),
    }


class Client:
    """One login on one private copy of the SDK.

    Parameters
    ----------
    endpoints, master, timeout_s
        See `load`.
    app_key, secret
        Of the registered app. Kept in memory, shown nowhere.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        master: Path,
        *,
        app_key: str,
        secret: str,
        timeout_s: float = 30.0,
    ) -> None:
        self.endpoints = endpoints
        self._sdk = load(endpoints, master, timeout_s)
        self._secret = secret
        self._breeze = self._sdk.BreezeConnect(api_key=app_key)
        self.identity: Identity | None = None

    def __repr__(self) -> str:
        return f"Client({self.endpoints.name!r}, {self.identity!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client holds secrets and cannot be pickled.")

    def login(self, api_session: str) -> Identity:
        """Exchange the api session of the login page for a session key.

        Raises
        ------
        LoginError
            With the broker's reason.
        RequestError
            When the broker could not be reached.
        """
        breeze = self._breeze
        # Names are resolved by breeze_lab.instruments, so the SDK need not parse the master too.
        breeze.get_stock_script_list = list
        try:
            breeze.generate_session(api_secret=self._secret, session_token=api_session)
        except Exception as exc:
            raise self._login_error(exc) from exc
        finally:
            del breeze.get_stock_script_list
        try:
            details = self.call("get_customer_details", api_session=api_session)
        except BreezeLabError:
            # We are in already. The broker was seen to take an api session once only; what is
            # missing then is the account's name.
            details = {}
        self.identity = Identity(
            user_id=breeze.user_id,
            session_key=breeze.session_key,
            name=str(details.get("idirect_user_name") or breeze.user_id),
            details=details,
        )
        return self.identity

    def resume(self, identity: Identity) -> None:
        """Continue a session another client of the same account opened."""
        breeze = self._breeze
        breeze.user_id, breeze.session_key = identity.user_id, identity.session_key
        breeze.secret_key = self._secret
        breeze.api_handler = self._sdk.ApificationBreeze(breeze)
        self.identity = identity

    def raw(self) -> Any:
        """Return the logged-in, unmodified ``BreezeConnect``, its name tables filled.

        For scripts written against the SDK. What it answers is its own: None,
        strings and swallowed errors included, and nothing is refused.
        """
        if not self._breeze.stock_script_dict_list:
            self._breeze.get_stock_script_list()
        return self._breeze

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a read method of the SDK; return its ``Success`` value.

        Parameters
        ----------
        method
            One of `READ_METHODS`.
        arguments
            As the SDK takes them.

        Returns
        -------
        object
            The value; an empty list when the broker says nothing matched.

        Raises
        ------
        RequestError
            The method is not a read method, or the call failed.
        NotLoggedIn, SessionExpired, RateLimited, BadResponse
        """
        if method not in READ_METHODS:
            raise RequestError(
                f"{method} is out of reach: only calls that read are allowed "
                f"({', '.join(sorted(READ_METHODS))})."
            )
        try:
            answer = getattr(self._breeze, method)(**arguments)
        except Exception as exc:
            raise _typed(exc, method) from exc
        return _value(answer, method)

    def _login_error(self, exc: Exception) -> BreezeLabError:
        ours = _cause(exc)
        if ours is not None:
            return ours
        text = str(exc)
        if "api key" in text:
            return LoginError(
                "The broker does not know this app key. Copy it anew from the app's page."
            )
        if "expired" in text or "session key" in text:
            return SessionExpired(
                "The api session is expired or wrong; it lasts minutes. Open the login page again "
                "and paste the new one."
            )
        return LoginError(
            f"The broker refused the login: {text.removeprefix('Unexpected error: ')}"
        )


def _cause(exc: BaseException | None) -> BreezeLabError | None:
    """Return the error of ours behind what the SDK made of it."""
    seen = 0
    while exc is not None and seen < 10:  # noqa: PLR2004 - a chain this long is a loop
        if isinstance(exc, BreezeLabError):
            return exc
        exc, seen = exc.__cause__ or exc.__context__, seen + 1
    return None


def _typed(exc: Exception, method: str) -> BreezeLabError:
    return _cause(exc) or BadResponse(f"{method} failed inside breeze-connect: {exc}")


def _limited(error: str) -> RateLimited | None:
    """Return what a refusal over the call budget means, or None when it is none."""
    lowered = error.lower()
    if "limit exceed" not in lowered:
        return None
    span = next((word for word in ("day", "second") if f"per {word}" in lowered), "minute")
    wait = "It counts anew tomorrow." if span == "day" else f"Wait a {span}, then try again."
    return RateLimited(f"The broker's calls per {span} are used up. {wait}")


def _value(answer: Any, method: str) -> Any:
    """Return the value of an answer, or raise what it stands for."""
    if answer is None:
        raise NotLoggedIn(f"{method} needs a login. Run %breeze_login, or %breeze_login practice.")
    if not isinstance(answer, dict):
        raise BadResponse(f"{method} answered {type(answer).__name__}: {str(answer)[:200]}")
    error = str(answer.get("Error") or "").strip()
    if not error and answer.get("Success") is not None and answer.get("Success") != "":
        return answer["Success"]
    lowered = error.lower()
    if "no data found" in lowered or "result not found" in lowered:
        return []
    limited = _limited(error)
    if limited is not None:
        raise limited
    if any(
        sign in lowered
        for sign in ("invalid checksum", "invalid session", "resource not available")
    ):
        raise SessionExpired(
            "The broker no longer accepts this session (it ends at midnight, or the clock of this "
            "machine is more than a minute off). Run %breeze_login again."
        )
    if "public key does not exist" in lowered:
        raise LoginError("The broker does not know this app key. Copy it anew from the app's page.")
    if not error:
        error = str(
            answer.get("ExceptionMessage") or answer.get("Message") or "no value, no reason"
        )
        raise BadResponse(f"{method} answered without a value: {error}")
    raise RequestError(f"{method} was refused: {error}")
