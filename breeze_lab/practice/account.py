"""Who may come in: the keys of the practice account and the checks of every request.

Keys follow from the seed, so that a restarted practice market knows the
sessions of the one before. They open nothing but invented prices on loopback.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.practice.frames import dated
from breeze_lab.practice.noise import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Account"]

#: The broker's documented tolerance for a request's timestamp.
_SKEW_S: Final = 60
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"


def _text(length: int, *parts: object) -> str:
    return "".join(_LETTERS[key_of(*parts, i) % len(_LETTERS)] for i in range(length))


@dataclass(frozen=True, slots=True)
class Account:
    """The practice account.

    Parameters
    ----------
    app_key, secret
        What an app registration gives; with characters that must be quoted in
        a URL, as real keys have them.
    api_session
        What the login page hands over, eight digits.
    user
        User id.
    session_key
        The other half of the session token.
    """

    app_key: str
    secret: str
    api_session: str
    user: str
    session_key: str

    @classmethod
    def of_seed(cls, seed: int) -> Account:
        """Return the account of a seed."""
        return cls(
            app_key=f"practice{_text(18, seed, 'key')}+=!&#",
            secret=_text(32, seed, "secret"),
            api_session=f"{10_000_000 + key_of(seed, 'api session') % 90_000_000}",
            user=f"PR{100_000 + key_of(seed, 'user') % 900_000}",
            session_key=_text(24, seed, "session"),
        )

    @property
    def session_token(self) -> str:
        """The value of ``X-SessionToken``."""
        return base64.b64encode(f"{self.user}:{self.session_key}".encode()).decode()

    def signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Say whether a v1 request carries a valid checksum, key, session and timestamp."""
        stamp = headers.get("X-Timestamp", "")
        digest = hashlib.sha256(stamp.encode() + body + self.secret.encode()).hexdigest()
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
    return hmac.compare_digest(given.encode(), wanted.encode())


def _recent(stamp: str) -> bool:
    try:
        when = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(when.timestamp() - time.time()) <= _SKEW_S
