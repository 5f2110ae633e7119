"""A link: its id, what was promised with it, and the signature over the promise.

Pure: no disk and no network. The id is 192 random bits and is kept by nobody
but its holder; everything else knows its SHA-256. The signature covers all
that decides what a viewer gets and until when, so a row that somebody altered
without the key is no link any more.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from breeze_lab import clock
from breeze_lab.errors import NoSuchShare, ShareError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CLASSES", "DEFAULT_SPAN", "LAG_DAYS", "LONGEST_DAYS", "TOKEN", "DataClass", "Kind", "Link",
    "Target", "called", "digest", "new_token", "sign", "until_ms",
]  # fmt: skip

Kind = Literal["chart", "document"]
DataClass = Literal["practice", "snapshot", "lagged"]

#: What a link may show. Live prices of an exchange are never passed on.
CLASSES: Final = ("practice", "snapshot", "lagged")

#: 24 bytes in base64url: every text of this form is one id, so none can be spelt twice.
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_TOKEN_BYTES: Final = 24

#: How old the newest candle of lagged data is at least.
LAG_DAYS: Final = 30

#: A link that nobody remembers should have ended.
LONGEST_DAYS: Final = 90
DEFAULT_SPAN: Final = "7d"
_SHORTEST_S: Final = 1.0

_SPAN: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What the book knows of a link.

    Parameters
    ----------
    digest
        SHA-256 of the id, hexadecimal.
    kind
        ``"chart"`` (our candles) or ``"document"`` (a frozen Bokeh document).
    title, source
        What the page is called, and where its data come from.
    data
        Class of data, one of `CLASSES`.
    parameters
        Frozen with the link: of a chart its instrument, interval and indicators.
    frozen
        SHA-256 of the frozen target, hexadecimal.
    made_ms, expires_ms
        Unix milliseconds.
    revoked_ms
        When it was withdrawn; not signed, as with it the target is gone.
    opened, opened_ms
        How often its page was opened, and when last; not signed.
    """

    digest: str
    kind: Kind
    title: str
    source: str
    data: DataClass
    frozen: str
    made_ms: int
    expires_ms: int
    parameters: dict[str, Any] = field(default_factory=dict)
    revoked_ms: int | None = None
    opened: int = 0
    opened_ms: int | None = None

    @property
    def name(self) -> str:
        """What people call the link: enough of the hash to tell it, useless as an id."""
        return self.digest[:8]

    def promise(self) -> bytes:
        """Return what is signed, in one way only."""
        kept = {
            name: value
            for name, value in asdict(self).items()
            if name not in ("revoked_ms", "opened", "opened_ms")
        }
        return b"breeze-lab share 1\0" + json.dumps(
            kept, sort_keys=True, separators=(",", ":")
        ).encode("utf-8")

    def good(self, now_ms: float) -> bool:
        """Say whether it counts at `now_ms` (Unix milliseconds)."""
        return self.revoked_ms is None and self.made_ms - 60_000 <= now_ms < self.expires_ms

    def state(self, now_ms: float) -> str:
        """Return ``"active"``, ``"revoked"`` or ``"expired"``."""
        if self.revoked_ms is not None:
            return "revoked"
        return "active" if now_ms < self.expires_ms else "expired"


@dataclass(frozen=True)
class Target:
    """What a link will show, and what is said of it.

    Parameters
    ----------
    kind, title, source, data, parameters
        See `Link`.
    body
        JSON.
    """

    kind: Kind
    title: str
    source: str
    data: DataClass
    parameters: dict[str, Any]
    body: bytes


def new_token() -> str:
    """Return a new id of 192 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest(token: str) -> str:
    """Return the hash by which the book knows an id."""
    return hashlib.sha256(b"breeze-lab share id\0" + token.encode("utf-8", "replace")).hexdigest()


def sign(key: bytes, link: Link) -> bytes:
    """Return the HMAC-SHA256 of a link's promise."""
    return hmac.digest(key, link.promise(), "sha256")


def called(name: str, links: Sequence[Link]) -> Link:
    """Return the one link of this name, or of more of its hash.

    Raises
    ------
    NoSuchShare
        None is called so, or several are.
    """
    wanted = str(name).strip().lower()
    found = [one for one in links if wanted and one.digest.startswith(wanted)]
    if len(found) != 1:
        known = ", ".join(one.name for one in links[:20]) or "none"
        many = "More than one link is" if found else "No link that counts is"
        raise NoSuchShare(f"{many} called {wanted[:64]!r}. There are: {known}.")
    return found[0]


def until_ms(expires: str | timedelta | datetime, now_ms: int) -> int:
    """Return when a link ends, Unix milliseconds.

    Parameters
    ----------
    expires
        ``"7d"``, ``"12h"``, ``"30m"``, ``"2w"``, a timedelta, or an end (naive means IST).

    Raises
    ------
    ShareError
        It cannot be read, lies in the past or too far ahead.
    """
    if isinstance(expires, datetime):
        span_s = clock.to_ist(expires).timestamp() - now_ms / 1000
    elif isinstance(expires, timedelta):
        span_s = expires.total_seconds()
    else:
        found = _SPAN.fullmatch(str(expires).strip().lower())
        if found is None:
            raise ShareError(
                f"{str(expires)[:40]!r} is no end of a link. Write 30m, 12h, 7d or 2w, or give a "
                "datetime."
            )
        span_s = int(found[1]) * _UNITS[found[2]]
    if not _SHORTEST_S <= span_s <= LONGEST_DAYS * 86_400:
        raise ShareError(
            f"A link lasts from a second to {LONGEST_DAYS} days, not {str(expires)[:40]!r}. Share "
            "again when it has ended."
        )
    return now_ms + int(span_s * 1000)
