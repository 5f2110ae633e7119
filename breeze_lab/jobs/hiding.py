"""Secrets of this user's sessions, taken out of what a run writes.

A notebook may print what it should not. Before its output and log are kept,
the keys and sessions that the vault knows are replaced, as they are and in
base64.
"""

from __future__ import annotations

import base64
import contextlib
from typing import Final

from breeze_lab import accounts
from breeze_lab.errors import BreezeLabError

__all__ = ["REMOVED", "Scrubber"]

REMOVED: Final = "[removed]"
#: Shorter words are words of any sentence.
_SHORTEST: Final = 6


class Scrubber:
    """Takes what the vault held when it was made out of texts."""

    def __init__(self) -> None:
        found: set[str] = set()
        with contextlib.suppress(BreezeLabError):
            keys = accounts.keys()
            found |= {keys.app_key, keys.secret, keys.session_key, keys.api_session}
            found.add(base64.b64encode(f"{keys.user_id}:{keys.session_key}".encode()).decode())
        for broker in ("icici", "practice"):
            with contextlib.suppress(BreezeLabError):
                known = accounts.credentials(broker)
                found |= {known.app_key, known.secret} if known is not None else set()
        long = [one for one in found if len(one) >= _SHORTEST]
        coded = [base64.b64encode(one.encode()).decode().rstrip("=") for one in long]
        self._secrets = sorted({*long, *coded}, key=len, reverse=True)

    def text(self, source: str) -> str:
        """Return `source` without them."""
        for secret in self._secrets:
            source = source.replace(secret, REMOVED)
        return source

    def knows(self, source: str) -> bool:
        """Say whether one of them is in it."""
        return any(secret in source for secret in self._secrets)
