"""Who may come in: the keys of the practice account and the checks of every request.

Keys follow from the seed, and sessions from the seed and the market date, so that
a restarted practice market knows the sessions of the one before. A session ends at
the market's midnight, as the broker's does. They open nothing but invented prices
on loopback.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.practice.exchange.noise import key_of
from breeze_lab.practice.exchange.words import dated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

__all__ = ["Account"]

#: The broker's documented tolerance for a request's timestamp.
_SKEW_S: Final = 60
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"


def _text(length: int, *parts: object) -> str:
    return "".join(_LETTERS[key_of(*parts, i) % len(_LETTERS)] for i in range(length))


class Account:
    """The practice account.

    Parameters
    ----------
    seed
        Which market: keys and sessions follow from it.
    today
        Tells the market date; a session is good on the date it was given.
    kept
        Let sessions outlive midnight, for runs faster than anybody can log in.
    one_shot
        Refuse to exchange an api session twice, as one user of the broker saw.

    Attributes
    ----------
    app_key, secret
        What an app registration gives; with characters that must be quoted in
        a URL, as real keys have them.
    user
        User id.
    """

    def __init__(
        self, seed: int, today: Callable[[], date], *, kept: bool = False, one_shot: bool = False
    ) -> None:
        """Make the keys."""
        self.app_key = f"practice{_text(18, seed, 'key')}+=!&#"
        self.secret = _text(32, seed, "secret")
        self.user = f"PR{100_000 + key_of(seed, 'user') % 900_000}"
        self.one_shot = one_shot
        self._seed, self._today, self._kept = seed, today, kept
        self._ended = 0
        self._exchanged: set[str] = set()

    @property
    def session(self) -> tuple[object, ...]:
        """What the present session follows from; another one, another session."""
        day = "kept" if self._kept else self._today()
        return (self._seed, day, self._ended) if self._ended else (self._seed, day)

    @property
    def name(self) -> str:
        """Names the present session for those who only watch; it opens nothing."""
        return f"{key_of('session name', *self.session):x}"

    @property
    def api_session(self) -> str:
        """What the login page hands over now, eight digits."""
        return f"{10_000_000 + key_of('api session', *self.session) % 90_000_000}"

    @property
    def session_key(self) -> str:
        """The other half of the session token."""
        return _text(24, "session", *self.session)

    def expire(self) -> None:
        """End the present session: what it signs is refused, and the login page has a new one."""
        self._ended += 1

    def exchange(self, app_key: Any, api_session: Any) -> tuple[int, str] | None:
        """Take an api session; return None when it is good, else the broker's status and words."""
        if app_key != self.app_key:
            return 5, "Public Key does not exist."
        if str(api_session) != self.api_session:
            return 500, "Resource not available."
        if self.one_shot and self.api_session in self._exchanged:
            return 500, "Request Object is Null"
        self._exchanged.add(self.api_session)
        return None

    @property
    def session_token(self) -> str:
        """The value of ``X-SessionToken``."""
        return base64.b64encode(f"{self.user}:{self.session_key}".encode()).decode()

    def signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Say whether a v1 request carries a valid checksum, key, session and timestamp."""
        stamp = headers.get("X-Timestamp", "")
        digest = hashlib.sha256(_raw(stamp) + body + self.secret.encode()).hexdigest()
        return (
            _same(headers.get("X-Checksum", ""), f"token {digest}")
            and _same(headers.get("X-AppKey", ""), self.app_key)
            and _same(headers.get("X-SessionToken", ""), self.session_token)
            and _recent(stamp)
        )

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Say whether a v2 request carries the session and the key."""
        key = headers.get("apikey") or headers.get("X-apikey", "")
        return _same(headers.get("X-SessionToken", ""), self.session_token) and _same(
            key, self.app_key
        )

    def may_stream(self, auth: Any) -> bool:
        """Say whether a Socket.IO CONNECT payload is this account's."""
        if not isinstance(auth, dict):
            return False
        return _same(str(auth.get("user")), self.user) and _same(
            str(auth.get("token")), self.session_key
        )

    def details(self, now: datetime) -> dict[str, Any]:
        """Return the answer to ``customerdetails``."""
        today = dated(now.date())
        return {
            "exg_trade_date": dict.fromkeys(("NSE", "BSE", "FNO", "NDX"), today),
            "exg_status": {"NSE": "O", "BSE": "O", "FNO": "Y", "NDX": "O"},
            "segments_allowed": {
                "Trading": "Y", "Equity": "Y", "Derivatives": "Y", "Currency": "Y",
            },
            "idirect_userid": self.user,
            "session_token": self.session_token,
            "idirect_user_name": "PRACTICE MARKET",
            "idirect_ORD_TYP": "N",
            "idirect_lastlogin_time": f"{today} {now:%H:%M:%S}",
            "mf_holding_mode_popup_flg": "N",
            "commodity_exchange_status": "Y",
            "commodity_trade_date": today,
            "commodity_allowed": "O",
        }  # fmt: skip


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(_raw(given), wanted.encode())


def _raw(header: str) -> bytes:
    # A header that is no UTF-8 arrives with surrogates in it.
    return header.encode("utf-8", "surrogatepass")


def _recent(stamp: str) -> bool:
    try:
        when = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(when.timestamp() - time.time()) <= _SKEW_S
