"""Markets: whose bars may lie together, and which of them are settled.

A store belongs to one market. Of the practice market that is one seed with one
set of settings, by what the running market says of itself; a market that does
not say keeps nothing. Settled is what the broker no longer changes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import accounts, clock, settings
from breeze_lab.bars import Interval

if TYPE_CHECKING:
    from breeze_lab.historical.spans import Span
    from breeze_lab.instruments import Instrument
    from breeze_lab.session import Session

__all__ = ["MARGIN", "Market", "of_session"]

#: After the close, and after midnight, it takes so long until bars are taken for final.
MARGIN: Final = timedelta(hours=2)
#: Before the open and after the close a stray bar may stand: auctions, 09:05, 15:30.
_AROUND: Final = timedelta(hours=1)
_IDENTITY: Final = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Market:
    """A market, and what time it is there.

    Parameters
    ----------
    folder
        The name of its store: ``"icici"``, ``"practice-3f2a90c1d4e5b607"``.
    now
        Market time, aware IST.
    open_since
        The day from which on it trades round the clock; None for market hours.
    """

    folder: str
    now: datetime
    open_since: date | None = None

    @property
    def name(self) -> str:
        """``"icici"`` or ``"practice"``, as data are labelled."""
        return self.folder.partition("-")[0]

    def settled(self, instrument: Instrument, native: Interval) -> int:
        """Return the Unix second before which bars of a native interval are final.

        A day is final two hours after its midnight; within a day the bars until an hour after
        the close are final two hours after it, but not the day's own bar.
        """
        day = clock.to_ist(self.now - MARGIN).replace(hour=0, minute=0, second=0, microsecond=0)
        if native is not Interval.D1:
            hours = clock.market_hours(instrument.segment, day.date())
            if hours is not None and self.now >= hours.close + MARGIN:
                day = min(hours.close + _AROUND, day + timedelta(days=1))
        return int(day.timestamp())

    def may_trade(self, instrument: Instrument, span: Span) -> bool:
        """Say whether there can be bars in a span; a calendar knows, and round the clock always."""
        start, end = clock.from_epoch(span[0]), clock.from_epoch(span[1])
        if start >= end:
            return False
        if self.open_since is not None and end.date() >= self.open_since:
            return True
        day = start.date() - timedelta(days=1)
        while day <= end.date():
            hours = clock.market_hours(instrument.segment, day)
            if hours is not None and hours.open - _AROUND < end and start < hours.close + _AROUND:
                return True
            day += timedelta(days=1)
        return False


def of_session(session: Session) -> Market | None:
    """Return the market whose bars a session's are; None when they may not be kept."""
    endpoints = session.endpoints
    if endpoints.name != "practice":
        folder = endpoints.name
        if endpoints.v2_url != settings.ICICI.v2_url:  # somebody's stand-in for the broker
            digest = hashlib.sha256(endpoints.v2_url.encode()).hexdigest()[:16]
            folder = f"{re.sub('[^a-z0-9]', '_', folder.lower())[:20]}-{digest}"
        return Market(folder, clock.now())
    try:
        told = accounts.market(endpoints)
    except ConnectionRefusedError:
        return None
    return _practice(told)


def _practice(told: dict[str, Any]) -> Market | None:
    """Return the practice market that says `told` of itself."""
    try:
        identity, since = told["history"]["identity"], told["history"]["open_since"]
        if not _IDENTITY.fullmatch(identity):
            return None
        return Market(
            f"practice-{identity[:16]}",
            clock.to_ist(datetime.fromisoformat(told["now"])),
            None if since is None else date.fromisoformat(since),
        )
    except (KeyError, TypeError, ValueError):
        return None
