"""Ask: one HTTP question in bounded time, and what its answer tells beside its content."""

from __future__ import annotations

import contextlib
import json as json_text
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, downloads
from breeze_lab.probes import CONNECT_S, READ_S, in_words

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Answer", "NoAnswerError", "ask"]

_LARGEST_ANSWER: Final = 30 * 2**20


class NoAnswerError(Exception):
    """No HTTP answer; the text says why, without an address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `skews` as in `breeze_lab.probes.Finding`, `whole` when its end came."""

    status: int
    body: bytes
    whole: bool
    took_s: float
    skews: tuple[float, ...]

    def json(self) -> dict[str, Any] | None:
        """Return the JSON object in it, or None when it holds none."""
        with contextlib.suppress(ValueError):
            value = json_text.loads(self.body)
            return value if isinstance(value, dict) else None
        return None


def ask(url: str, *, headers: dict[str, str] | None = None, json: Any = None) -> Answer:
    """GET `url` in bounded time; read no more than is needed."""
    import requests  # noqa: PLC0415 - on first use
    import urllib3  # noqa: PLC0415 - loaded with requests

    begun = time.monotonic()
    with requests.Session() as http:
        http.trust_env = not downloads.is_loopback(url)
        try:
            before = clock.now()
            with http.get(
                url, headers=headers, json=json, stream=True, timeout=(CONNECT_S, READ_S)
            ) as answer:
                first = time.monotonic() - begun
                skews = _skew(answer.headers.get("Date", ""), before, clock.now())
                body, whole, deadline = bytearray(), False, begun + CONNECT_S + READ_S - 1
                while time.monotonic() < deadline and len(body) < _LARGEST_ANSWER:
                    piece = answer.raw.read1(65536, decode_content=True)
                    if not piece:
                        whole = True
                        break
                    body += piece
        except requests.RequestException as exc:
            raise NoAnswerError(in_words(exc)) from exc
        except (OSError, urllib3.exceptions.HTTPError) as exc:
            raise NoAnswerError(f"the answer broke off ({in_words(exc)})") from exc
    took = time.monotonic() - begun if len(body) > 2**16 else first
    return Answer(answer.status_code, bytes(body), whole, took, skews)


def _skew(header: str, before: datetime, after: datetime) -> tuple[float, ...]:
    """Return by how much a ``Date`` header is ahead of our clock; it has whole seconds."""
    try:
        told = parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError):
        return ()
    # It was written between the two, and cut to its second.
    early, late = told - after.timestamp(), told + 1 - before.timestamp()
    return (0.0 if early <= 0 <= late else early if early > 0 else late,)
