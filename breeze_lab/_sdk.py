"""The only door to ``breeze-connect``: load it unmodified, contain it, translate its answers.

Importing the SDK downloads a master, makes ``logs/`` in the working folder,
puts its folder on ``sys.path``, takes the module name ``config`` and turns
IPv6 off for the whole process. Its calls have no timeout and answer None, a
string, an error envelope or a bare Exception. None of that leaves this room:
each `Client` holds a private copy of the module with addresses of its own,
and a call returns a value or raises an error of `breeze_lab.errors`.

No file of the SDK is changed. What its functions see as ``requests`` is the
small stand-in of `breeze_lab._calls`, which meters a call, refuses what does
not read, adds a timeout and remembers why a request failed. It is loaded by
the first call, and what it imports without need by the first use
(`breeze_lab._late`): a process that goes on with a session loads none of it.
"""

from __future__ import annotations

import builtins
import importlib.util
import logging
import os
import sys
import threading
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.error import URLError

from breeze_lab import settings
from breeze_lab._calls import Http, limited, manner
from breeze_lab._late import late
from breeze_lab.errors import (
    BadResponse,
    BreezeLabError,
    LoginError,
    MasterError,
    NotLoggedIn,
    OrdersRefused,
    RequestError,
    SessionExpired,
    SettingsError,
)
from breeze_lab.limits import CallMeter, FreeMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from breeze_lab.limits import Priority
    from breeze_lab.settings import Endpoints

__all__ = ["ORDER_METHODS", "READ_METHODS", "Client", "Identity", "load"]

#: The SDK methods `Client.call` may reach. Nothing that moves money or orders is here.
READ_METHODS: Final = frozenset({
    "get_customer_details", "get_demat_holdings", "get_funds", "get_historical_data",
    "get_historical_data_v2", "get_margin", "get_names", "get_option_chain_quotes",
    "get_order_detail", "get_order_list", "get_portfolio_holdings", "get_portfolio_positions",
    "get_quotes", "get_trade_detail", "get_trade_list", "gtt_order_book", "limit_calculator",
    "margin_calculator", "preview_order",
})  # fmt: skip
#: Those it reaches with orders allowed in the settings and in the call. Moving money never is.
ORDER_METHODS: Final = frozenset({
    "cancel_order", "gtt_single_leg_cancel_order", "gtt_single_leg_modify_order",
    "gtt_single_leg_place_order", "gtt_three_leg_cancel_order", "gtt_three_leg_modify_order",
    "gtt_three_leg_place_order", "modify_order", "place_order", "square_off",
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


class _Kept:
    """A secret that does not show when somebody looks at what holds it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def tell(self) -> str:
        """Return it."""
        return self._text

    def __repr__(self) -> str:
        return "..."

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret cannot be pickled.")


def _private(module: types.ModuleType, **changes: Any) -> types.ModuleType:
    """Return a copy of a module's namespace with a few names replaced."""
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__)
    copy.__dict__.update(changes)
    return copy


def load(
    endpoints: Endpoints,
    master: Path,
    timeout_s: float = 30.0,
    meter: CallMeter | None = None,
) -> types.ModuleType:
    """Load one private copy of the installed SDK that talks to `endpoints`.

    Parameters
    ----------
    endpoints
        Where the copy connects to.
    master
        A security master on disk, read instead of three downloads.
    timeout_s
        Limit of every REST call.
    meter
        What the calls are spent from; without one they are only counted.

    Returns
    -------
    module
        With ``BreezeConnect`` in it. It is in no ``sys.modules``.

    Raises
    ------
    SettingsError
        When the SDK is not installed, or a later version renamed a setting.
    MasterError
        The file is gone.
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
        except URLError as exc:
            raise MasterError(f"{master} cannot be read any more. Log in again.") from exc
        finally:
            u3.HAS_IPV6 = ipv6
    sdk.__dict__["requests"] = Http(endpoints, meter or FreeMeter(), timeout_s)
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
        "pandas": late("pandas"),
        "socketio": late("socketio"),
        "logging": _private(
            logging, FileHandler=lambda *_a, **_k: logging.NullHandler(), getLogger=silent
        ),
    }


class Client:
    """One login on one private copy of the SDK, which the first call loads.

    Parameters
    ----------
    endpoints, master, timeout_s
        See `load`.
    app_key, secret
        Of the registered app. Kept in memory, shown nowhere.
    meter
        The call budget; the app key's own, shared with all processes, when
        left out. A market without limits needs none.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        master: Path,
        *,
        app_key: str,
        secret: str,
        timeout_s: float = 30.0,
        meter: CallMeter | None = None,
    ) -> None:
        self.endpoints = endpoints
        free = endpoints.calls == "free"
        self.meter = meter or (FreeMeter() if free else CallMeter.of(app_key))
        self._master, self._timeout_s = master, timeout_s
        self._app_key, self._secret = _Kept(app_key), _Kept(secret)
        self.identity: Identity | None = None
        self._opening = threading.Lock()  # guards _opened: the first calls may be two threads'
        self._opened: tuple[types.ModuleType, Any] | None = None

    def __repr__(self) -> str:
        return f"Client({self.endpoints.name!r}, {self.identity!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client holds secrets and cannot be pickled.")

    @property
    def _sdk(self) -> Any:
        return self._open()[0]

    @property
    def _breeze(self) -> Any:
        return self._open()[1]

    def _open(self) -> tuple[types.ModuleType, Any]:
        """Return the copy of the SDK and its ``BreezeConnect``, logged in when we are."""
        with self._opening:
            if self._opened is None:
                sdk = load(self.endpoints, self._master, self._timeout_s, self.meter)
                sdk.ApificationBreeze.error_exception = _ours_first(
                    sdk.ApificationBreeze.error_exception
                )
                breeze = sdk.BreezeConnect(api_key=self._app_key.tell())
                if self.identity is not None:
                    self._go_on(sdk, breeze, self.identity)
                self._opened = sdk, breeze
            return self._opened

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
            breeze.generate_session(api_secret=self._secret.tell(), session_token=api_session)
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
        """Continue a session another client of the same account opened; the SDK may wait."""
        with self._opening:
            if self._opened is not None:
                self._go_on(*self._opened, identity)
            self.identity = identity

    def _go_on(self, sdk: Any, breeze: Any, identity: Identity) -> None:
        breeze.user_id, breeze.session_key = identity.user_id, identity.session_key
        breeze.secret_key = self._secret.tell()
        breeze.api_handler = sdk.ApificationBreeze(breeze)

    def prepare(self) -> None:
        """Load now what the first call would load; nothing is sent. On any thread."""
        self._open()

    def raw(self) -> Any:
        """Return the logged-in, unmodified ``BreezeConnect``, its name tables filled.

        For scripts written against the SDK. What it answers is its own, None
        and strings included. What does not read raises `OrdersRefused` before
        it is sent, and every call is spent from the meter.
        """
        if not self._breeze.stock_script_dict_list:
            self._breeze.get_stock_script_list()
        return self._breeze

    def call(
        self,
        method: str,
        *,
        priority: Priority = "interactive",
        on_wait: Callable[[float], None] | None = None,
        on_turn: Callable[[], None] | None = None,
        orders: bool = False,
        **arguments: Any,
    ) -> Any:
        """Call a read method of the SDK; return its ``Success`` value.

        Parameters
        ----------
        method
            One of `READ_METHODS`; with `orders`, one of `ORDER_METHODS` too.
        priority, on_wait, on_turn
            See `breeze_lab._calls.manner`.
        orders
            The caller means to move orders. Refused all the same unless the
            settings allow it for this account, and always on a Hub.
        arguments
            As the SDK takes them.

        Returns
        -------
        object
            The value; an empty list when the broker says nothing matched.

        Raises
        ------
        OrdersRefused
            The method is not a read method. Nothing was sent.
        RequestError
            The call failed.
        NotLoggedIn, SessionExpired, RateLimited, BadResponse
        """
        if method not in READ_METHODS:
            self._allow_orders(method, orders=orders)
        try:
            with manner(priority, on_wait, on_turn, orders=method in ORDER_METHODS):
                answer = getattr(self._breeze, method)(**arguments)
        except Exception as exc:
            raise _typed(exc, method) from exc
        except KeyboardInterrupt:
            # Without the SDK's frames, whose variables hold key and session.
            raise KeyboardInterrupt from None
        return _value(answer, method)

    def _allow_orders(self, method: str, *, orders: bool) -> None:
        """Refuse a method that does not read, unless everybody who has a say agreed."""
        if method not in ORDER_METHODS:
            raise OrdersRefused(
                f"{method} is out of reach: only calls that read are allowed "
                f"({', '.join(sorted(READ_METHODS))})."
            )
        account = self.identity.user_id if self.identity else ""
        if settings.on_hub():
            why = "on a Hub nothing moves orders, whatever the settings"
        elif account not in settings.orders_allowed():
            why = (
                "the settings do not allow orders of this account. To allow them, start Jupyter "
                "with BREEZE_LAB_ALLOW_ORDERS set to its user id"
            )
        elif not orders:
            why = "say so in the call too: session.call(..., orders=True)"
        else:
            return
        raise OrdersRefused(f"{method} is out of reach: {why}. Nothing was sent.")

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


def _ours_first(theirs: Callable[..., None]) -> Callable[..., None]:
    """Let errors of ours through where the SDK would wrap them in a bare one."""

    def error_exception(self: object, func_name: str, error: Exception) -> None:
        ours = _cause(error)
        if ours is not None:
            raise ours
        theirs(self, func_name, error)

    return error_exception


def _typed(exc: Exception, method: str) -> BreezeLabError:
    return _cause(exc) or BadResponse(f"{method} failed inside breeze-connect: {exc}")


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
    over = limited(error)
    if over is not None:
        raise over
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
