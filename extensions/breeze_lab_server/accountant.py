"""What the server knows of logins: the state it tells, and what it does for a login.

One `Accountant` for the server, on its event loop; what blocks (the vault, the
exchange, the practice market) runs in threads. It holds no secret for longer
than a redirect takes.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from breeze_lab import accounts, clock, signin, vault
from breeze_lab.errors import BreezeLabError, VaultError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Accountant", "Failures", "default_broker"]


def default_broker() -> str:
    """Return whose login this Lab offers: ``icici``, or ``practice`` for a rehearsal."""
    return "practice" if os.environ.get("BREEZE_LAB_BROKER") == "practice" else "icici"


class Failures:
    """Refused callbacks, counted for each who sends them.

    Parameters
    ----------
    most, span_s
        How many within how long are answered; beyond, nothing is looked at.
    """

    def __init__(self, clock_s: Callable[[], float], most: int = 20, span_s: float = 60.0) -> None:
        self.most, self.span_s, self._clock_s = most, span_s, clock_s
        self._times: dict[str, deque[float]] = {}

    def note(self, who: str) -> None:
        """Count one."""
        if who not in self._times and len(self._times) >= 256:  # noqa: PLR2004 - a bound, no more
            self._times.pop(next(iter(self._times)))
        self._times.setdefault(who, deque(maxlen=self.most)).append(self._clock_s())

    def too_many(self, who: str) -> bool:
        """Say whether `who` has to wait."""
        times = self._times.get(who, deque())
        return len(times) == self.most and times[0] > self._clock_s() - self.span_s


class Accountant:
    """Logins of this server."""

    def __init__(self) -> None:
        self.desk = signin.Desk()
        self.failures = Failures(self.desk.clock)
        self.error = ""
        self._busy = asyncio.Lock()  # one exchange at a time: each spends the broker's patience

    # -- the state ----------------------------------------------------------

    async def state(self, user: str, broker: str, callback: str) -> dict[str, Any]:
        """Return the answer of ``api/session``."""
        told = await asyncio.to_thread(_state, broker)
        pending = self.desk.pending(user)
        told |= {"pending": pending is not None, "callback": callback}
        told["error"] = told["error"] or self.error or None
        return told

    # -- what people ask for --------------------------------------------------

    async def keep_credentials(self, broker: str, app_key: str, secret: str) -> None:
        """Put the keys of an app into the vault."""
        self.error = ""
        await asyncio.to_thread(accounts.save_credentials, broker, app_key, secret)

    async def forget_credentials(self, broker: str) -> None:
        """Forget them."""
        self.error = ""
        await asyncio.to_thread(accounts.forget, broker)

    async def login_page(self, broker: str, callback: str) -> str:
        """Return the address of the broker's login page for the kept app key.

        Raises
        ------
        LoginError, VaultError, ProcessError
        """
        self.error = ""
        endpoints, keys = await asyncio.to_thread(signin.account, broker)
        # A real broker knows the address from the app's registration; the practice market is told.
        redirect = callback if broker == "practice" else ""
        return signin.login_url(keys.app_key, endpoints, redirect)

    async def exchange(self, broker: str, api_session: str) -> signin.Outcome:
        """Trade an api session for the shared session.

        Raises
        ------
        BreezeLabError
            Also told by ``api/session`` until the next try.
        """
        async with self._busy:
            return await self._noting(lambda: _exchange(broker, api_session))

    async def practice(self) -> signin.Outcome:
        """Log in to the practice market, starting it when none runs."""
        async with self._busy:
            return await self._noting(signin.practice)

    async def adopt(self, serial: str) -> accounts.Facts:
        """Say yes to the account of a login that waits."""
        self.error = ""
        return await asyncio.to_thread(accounts.adopt, serial)

    async def logout(self, user: str) -> None:
        """End the shared session for everybody."""
        self.error = ""
        self.desk.finish(user)
        await asyncio.to_thread(accounts.drop)

    async def _noting(self, work: Callable[[], signin.Outcome]) -> signin.Outcome:
        self.error = ""
        try:
            return await asyncio.to_thread(work)
        except BreezeLabError as exc:
            self.error = str(exc)
            raise


def _exchange(broker: str, api_session: str) -> signin.Outcome:
    endpoints, keys = signin.account(broker)
    return signin.exchange(endpoints, keys, api_session, rehearsal=broker == "practice")


def _state(broker: str) -> dict[str, Any]:
    now, said = accounts.look()
    moment = clock.now()
    told: dict[str, Any] = {
        "state": "none", "broker": broker, "practice": broker == "practice",
        "rehearsal": broker == "practice", "name": None, "user_id": None, "until": None,
        "left_s": None, "now": moment.isoformat(), "serial": None, "ended": None,
        "credentials": False, "confirm": None, "error": None, "market_time": said.get("now"),
    }  # fmt: skip
    try:
        kept = vault.open()
        told["vault"] = {
            "backend": kept.backend, "says": kept.describe(), "lasting": kept.lasting,
        }  # fmt: skip
        told["credentials"] = accounts.credentials(broker) is not None
        asked = accounts.waiting()
        if asked is not None:
            known = accounts.known_user(asked.broker)
            told["confirm"] = {
                "serial": asked.serial, "name": asked.name, "user_id": asked.user_id, "last": known,
            }  # fmt: skip
    except VaultError as exc:
        told["error"] = str(exc)
        told.setdefault("vault", {"backend": "none", "says": str(exc), "lasting": False})
    if now is None:
        return told
    until, left_s = _end(now, said, moment)
    return told | {
        "state": "good" if now.good else "ended", "broker": now.broker, "practice": now.practice,
        "rehearsal": now.rehearsal, "name": now.name, "user_id": now.user_id,
        "until": until.isoformat(), "left_s": left_s if now.good else 0.0, "serial": now.serial,
        "ended": now.reason or None,
    }  # fmt: skip


def _end(
    now: accounts.Facts, said: dict[str, Any], moment: datetime
) -> tuple[datetime, float | None]:
    """Return when the session ends, by its market's clock, and in how many real seconds.

    The practice market's midnight comes when its clock gets there; None seconds
    while that stands still.
    """
    left = max(0.0, (now.until - moment).total_seconds())
    if not said or not now.market:
        return now.until, round(left, 1)
    there = clock.to_ist(datetime.fromisoformat(said["now"]))
    midnight = datetime.combine(there.date() + timedelta(days=1), datetime.min.time(), clock.IST)
    if said.get("paused"):
        return midnight, None
    return midnight, round(min(left, (midnight - there).total_seconds() / float(said["speed"])), 1)
