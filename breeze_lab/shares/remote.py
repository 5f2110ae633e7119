"""Remote: the Hub's service of share links, as a person's server and kernels ask it.

On a Hub whose desk runs the service, what is frozen is deposited there, so that
its link outlives this server. The Hub says where (``BREEZE_LAB_SHARE_SERVICE``,
and ``…_URL`` as browsers know it), and the server's own token says whose it is.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from breeze_lab.errors import NoSuchShare, ShareError
from breeze_lab.shares import links
from breeze_lab.shares.book import LARGEST
from breeze_lab.shares.links import Link

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from breeze_lab.shares.links import Target

__all__ = ["Remote", "public_url", "service"]

_WHERE: Final = "BREEZE_LAB_SHARE_SERVICE"
_TIMEOUT_S: Final = 30.0
_LARGEST_ANSWER: Final = 4 * 1024 * 1024


def service() -> Remote | None:
    """Return the Hub's service of share links; None where there is none.

    Raises
    ------
    ShareError
        There is one, and this process has lost its server's token.
    """
    where = os.environ.get(_WHERE, "")
    if not where:
        return None
    token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    if not token:
        raise ShareError(
            "The Hub keeps share links for whoever shows it a server's token, and "
            "JUPYTERHUB_API_TOKEN is not set here. Restart the kernel."
        )
    return Remote(where, token)


def public_url() -> str:
    """Return what addresses of the service begin with, as browsers know it."""
    where = os.environ.get(f"{_WHERE}_URL", "") or os.environ.get(_WHERE, "")
    return where.rstrip("/")


class Remote:
    """The service, for one owner.

    Parameters
    ----------
    where
        ``http://links:8010/services/links``.
    token
        Of the owner's server. It goes to that address alone: no redirect and no proxy is followed.

    Notes
    -----
    Every method blocks and raises `ShareError` when the service does not answer or refuses.
    """

    def __init__(self, where: str, token: str) -> None:
        parts = urlsplit(where)
        self._parts, self._path = parts, parts.path.rstrip("/") + "/api/links"
        self._token = token

    def deposit(
        self, target: Target, expires: str | timedelta | datetime
    ) -> tuple[str, Link]:  # fmt: skip
        """Have a frozen target kept; return the new link's id and the link."""
        if len(target.body) > LARGEST:
            raise ShareError(
                f"It takes {len(target.body) / 1e6:.0f} MB and a link holds {LARGEST / 1e6:.0f}. "
                "Share fewer points."
            )
        now_ms = time.time_ns() // 1_000_000
        head = {
            "kind": target.kind, "title": target.title, "source": target.source,
            "data": target.data, "parameters": target.parameters,
            "span_s": (links.until_ms(expires, now_ms) - now_ms) / 1000,
        }  # fmt: skip
        # The target is JSON already; as one more value of the object it is not written twice.
        body = json.dumps(head).encode()[:-1] + b', "body": ' + target.body + b"}"
        told = self._ask("POST", "", "Nothing was shared", body)
        try:
            token = str(told["token"])
            return token, _link(told["share"])
        except (KeyError, TypeError) as exc:
            raise _strange() from exc

    def links(self, *, ended: bool = False) -> list[Link]:
        """Return the owner's links that count, newest first; ended ones, too, when asked."""
        told = self._ask("GET", "?ended=1" if ended else "", "Links at the Hub are not listed")
        try:
            return [_link(one) for one in told["shares"]]
        except (KeyError, TypeError) as exc:
            raise _strange() from exc

    def revoke(self, digest: str) -> None:
        """Withdraw a link of the owner's; `NoSuchShare` when none counts."""
        self._ask("DELETE", f"/{digest}", "The link was not withdrawn")

    def revoke_all(self) -> int:
        """Withdraw all links of the owner; return how many."""
        told = self._ask("DELETE", "", "Links at the Hub were not withdrawn")
        return int(told.get("revoked", 0))

    def _ask(self, method: str, below: str, failed: str, body: bytes | None = None) -> Any:
        kind = (
            http.client.HTTPSConnection
            if self._parts.scheme == "https"
            else http.client.HTTPConnection
        )
        line = kind(self._parts.hostname or "", self._parts.port, timeout=_TIMEOUT_S)
        headers = {"Authorization": f"token {self._token}", "Content-Type": "application/json"}
        try:
            line.request(method, self._path + below, body, headers)
            answer = line.getresponse()
            told = json.loads(answer.read(_LARGEST_ANSWER))
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise ShareError(
                f"{failed}: the Hub's service of share links does not answer "
                f"({type(exc).__name__}). Try again in a minute; if it lasts, tell whoever runs "
                "the Hub that its service 'links' is down."
            ) from exc
        finally:
            line.close()
        if answer.status in (http.HTTPStatus.OK, http.HTTPStatus.CREATED):
            return told
        words = str(told.get("message", "")) if isinstance(told, dict) else ""
        if answer.status == http.HTTPStatus.NOT_FOUND and words:
            raise NoSuchShare(words)
        raise ShareError(f"{failed}. {words or f'The service answered HTTP {answer.status}.'}")


def _link(row: dict[str, Any]) -> Link:
    return Link(**{one.name: row[one.name] for one in fields(Link)})


def _strange() -> ShareError:
    return ShareError(
        "The Hub's service of share links answers in another form. Whoever runs the Hub updates "
        "its images together."
    )
