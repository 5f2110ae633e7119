"""The one place from which a REST call leaves: metered, read-only, with a timeout.

`Http` is what the SDK's functions see as ``requests``. Whoever asked, and by
whatever method, the plain SDK of `Client.raw` included, the call passes here:
it is spent from the call meter, and what does not read is refused unsent.
"""

from __future__ import annotations

import contextlib
import contextvars
import email.utils
import io
import os
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import BadResponse, OrdersRefused, RateLimited, RequestError
from breeze_lab.limits import moments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from breeze_lab.limits import CallMeter, Priority
    from breeze_lab.settings import Endpoints

__all__ = ["READS", "Http", "limited", "manner"]

#: What reads, below the REST addresses; anything else is refused unsent.
READS: Final = frozenset({
    ("GET", "customerdetails"), ("GET", "dematholdings"), ("GET", "funds"), ("GET", "gttorder"),
    ("GET", "historicalcharts"), ("GET", "margin"), ("GET", "optionchain"), ("GET", "order"),
    ("GET", "portfolioholdings"), ("GET", "portfoliopositions"), ("GET", "preview_order"),
    ("GET", "quotes"), ("GET", "trades"),
    # Calculators: they are posted, and change nothing.
    ("POST", "fnolmtpriceandqtycal"), ("POST", "margincalculator"),
})  # fmt: skip
#: What moves orders; sent only within a call that was allowed to. Moving money never is.
_ORDERS: Final = frozenset({
    ("POST", "order"), ("PUT", "order"), ("DELETE", "order"), ("POST", "squareoff"),
    ("POST", "gttorder"), ("PUT", "gttorder"), ("DELETE", "gttorder"),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Manner:
    """How the calls of this thread are made at the moment."""

    priority: Priority = "interactive"
    on_wait: Callable[[float], None] | None = None
    on_turn: Callable[[], None] | None = None
    orders: bool = False


_USUAL: Final = _Manner()
_manner: Final = contextvars.ContextVar("breeze_lab_manner", default=_USUAL)


@contextlib.contextmanager
def manner(
    priority: Priority,
    on_wait: Callable[[float], None] | None,
    on_turn: Callable[[], None] | None,
    *,
    orders: bool,
) -> Iterator[None]:
    """Make the calls of the block in this way.

    Parameters
    ----------
    priority, on_wait
        See `breeze_lab.limits.CallMeter.spend`.
    on_turn
        Called when the waiting is over and nothing is sent yet; what it raises
        stops the call, which then does not count.
    orders
        Lets those out that move orders.
    """
    token = _manner.set(_Manner(priority, on_wait, on_turn, orders))
    try:
        yield
    finally:
        _manner.reset(token)


class Http:
    """What the SDK's functions see as ``requests``.

    Parameters
    ----------
    endpoints
        Only below its REST addresses is anything sent.
    meter
        Every call is spent from it.
    timeout_s
        Limit of every call.
    """

    def __init__(self, endpoints: Endpoints, meter: CallMeter, timeout_s: float) -> None:
        import requests  # noqa: PLC0415 - half of what a kernel's first import would cost

        self._requests = requests
        self._session, self._owner = requests.Session(), os.getpid()
        self._endpoints, self._meter, self._timeout_s = endpoints, meter, timeout_s
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

    def _moves_orders(self, verb: str, url: str) -> bool:
        """Say whether a call moves orders; refuse what neither reads nor is allowed to."""
        for base in (self._endpoints.api_url, self._endpoints.v2_url):
            if url.startswith(base):
                what = verb, url.removeprefix(base)
                if what in READS:
                    return False
                if what in _ORDERS and _manner.get().orders:
                    return True
        raise OrdersRefused(
            f"{verb} {_where(url)} is out of reach: only calls that read are sent. "
            "Nothing was sent."
        )

    def _send(self, verb: str, url: str, options: dict[str, Any]) -> Any:
        orders = self._moves_orders(verb, url)
        # A proxy of the environment must not be asked for an address of this machine.
        if "//127.0.0.1" in url or "//localhost" in url or "//[::1]" in url:
            options = {"proxies": {"no_proxy": "*"}, **options}
        how = _manner.get()
        with self._meter.spend(how.on_wait, priority=how.priority, orders=orders) as ticket:
            if how.on_turn is not None:
                try:
                    how.on_turn()
                except BaseException:
                    ticket.unsent()
                    raise
            sent = moments.boot_seconds()
            response = self._answer(verb, url, options)
            received = moments.boot_seconds()
        try:
            _check(response, url)
        except RateLimited as exc:
            self._meter.refused(exc)
            raise
        self._tell_time(response, sent, received)
        return response

    def _answer(self, verb: str, url: str, options: dict[str, Any]) -> Any:
        # Followed, a redirection would carry the key and the session to wherever it points.
        options = {"timeout": self._timeout_s, "allow_redirects": False, **options}
        try:
            return self._connections().request(verb, url, **options)
        except self._requests.Timeout as exc:
            raise RequestError(
                f"{_where(url)} did not answer within {self._timeout_s:g} s. Try again."
            ) from exc
        except self._requests.RequestException as exc:
            reason = type(exc).__name__  # the text of it can hold the whole query
            raise RequestError(
                f"{_where(url)} could not be reached ({reason}). Check the network, then try again."
            ) from exc

    def _connections(self) -> requests.Session:
        """Return this process's own: on its parent's a fork would hear the parent's answers."""
        if self._owner != os.getpid():
            self._session, self._owner = self._requests.Session(), os.getpid()
        return self._session

    def _tell_time(self, response: Any, sent: float, received: float) -> None:
        """Let the meter know the broker's clock."""
        with contextlib.suppress(TypeError, ValueError):  # no Date, or none that can be read
            told = email.utils.parsedate_to_datetime(response.headers.get("Date"))
            self._meter.observe(told, sent, received)


def _where(url: str) -> str:
    return url.split("?", maxsplit=1)[0]


def _check(response: Any, url: str) -> None:
    """Raise what is not for the SDK to read."""
    if response.status_code == 429:  # noqa: PLR2004 - HTTP's Too Many Requests
        raise RateLimited(f"{_where(url)} throttles us (HTTP 429). Wait a minute, then try again.")
    try:
        answer = response.json()
    except ValueError as exc:
        raise BadResponse(
            f"{_where(url)} answered HTTP {response.status_code} without JSON: the broker may be "
            "in maintenance. Try again later."
        ) from exc
    # Of a refusal at the login the SDK would say no more than to try again later, and the meter
    # must hear of every one.
    over = limited(str(answer.get("Error") or "")) if isinstance(answer, dict) else None
    if over is not None:
        raise over


def limited(error: str) -> RateLimited | None:
    """Return what a refusal over the call budget means, or None when it is none."""
    lowered = error.lower()
    if "limit exceed" not in lowered:
        return None
    span = next((word for word in ("day", "second") if f"per {word}" in lowered), "minute")
    wait = "It counts anew tomorrow." if span == "day" else f"Wait a {span}, then try again."
    return RateLimited(f"The broker's calls per {span} are used up. {wait}", span=span)
