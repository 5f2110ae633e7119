"""The relay and the shared session: take the new one, notice the end of the old one.

Whoever logs in, in a notebook, a browser or a terminal, tells nobody but
`breeze_lab.accounts`; the relay looks there once a second. It tells there in
turn when the broker's stream no longer accepts the session, so that nobody
else asks with it again.
"""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from breeze_lab import accounts, clock
from breeze_lab.errors import BreezeLabError, SessionExpired
from breeze_lab.relay.upstream import Login
from breeze_lab.settings import Endpoints

if TYPE_CHECKING:
    from breeze_lab.relay.hub import Hub

__all__ = ["Follower", "refuse_ended"]

_log: Final = logging.getLogger(__name__)

#: What a refusal says when it means the login. A busy stream refuses too, with other words, and
#: that ends nobody's session.
_MEANS_LOGIN: Final = re.compile(r"auth|session|token|expired|log.?in|HTTP 401", re.IGNORECASE)


def refuse_ended(login: Login) -> None:
    """Refuse a shared login that is no longer the good one.

    A kernel holds what it was logged in with, and says it again to a new relay.

    Raises
    ------
    SessionExpired
    """
    reason = accounts.ended(login.serial) if login.serial else ""
    if reason:
        raise SessionExpired(f"The session ended {reason}. Log in again: %breeze_login.")


class Follower:
    """Keep a hub in line with the shared session.

    Parameters
    ----------
    hub
        Its upstream gets the session, and loses it.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._taken = self._said = ""

    async def look(self) -> None:
        """Take a new session, or end an old one; never raises."""
        self._learn()
        await self._end()
        now = accounts.facts()
        held = self._hub.upstream.login_held
        if now is None or not now.good or now.serial in (held.serial if held else "", self._taken):
            return
        try:
            keys = await asyncio.to_thread(accounts.keys)
            await self._hub.login(
                Login(
                    Endpoints.from_dict(now.endpoints), keys.user_id, keys.session_key, now.name,
                    now.until.isoformat(timespec="seconds"), now.serial,
                )
            )  # fmt: skip
        except BreezeLabError as exc:
            # Tried again at the next look: charts of another market may be closed by then.
            if self._said != now.serial:
                _log.warning("The shared session was not taken: %s", exc)
            self._said = now.serial
        else:
            self._taken = now.serial
            _log.info("Took the shared session of %s until %s.", now.broker, f"{now.until:%H:%M}")

    def _learn(self) -> None:
        """Tell everybody when the stream refused the session itself."""
        upstream = self._hub.upstream
        held, state = upstream.login_held, upstream.state
        if held is None or not held.serial or state.state != "refused":
            return
        if _MEANS_LOGIN.search(state.error) and not accounts.ended(held.serial):
            _log.warning("The session ended: the stream no longer accepts it.")
            accounts.mark_ended(
                held.serial, f"at {clock.now():%H:%M} IST: the broker's stream refused it"
            )

    async def _end(self) -> None:
        """Leave the stream when the session it was opened with has ended."""
        upstream = self._hub.upstream
        held = upstream.login_held
        if held is None or upstream.state.state == "refused":
            return
        reason = accounts.ended(held.serial) if held.serial else _past(held.until)
        now = accounts.facts()
        if reason and not (now is not None and now.good and now.serial != held.serial):
            await self._hub.end(f"The session ended {reason}. Log in again.")


def _past(until: str) -> str:
    try:
        moment = clock.to_ist(datetime.fromisoformat(until))
    except ValueError:
        return ""
    return f"at {moment:%H:%M on %d-%m-%Y} IST" if clock.now() >= moment else ""
