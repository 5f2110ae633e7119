"""The exception tree: every failure a caller can meet has a type here.

A message says what happened, the value it happened to and what to do next. It
never carries a secret: keys, session tokens and passwords stay out of
messages, because a message ends up in notebooks, logs and screenshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "AmbiguousInstrument",
    "BadResponse",
    "BreezeLabError",
    "FeedDisconnected",
    "FeedError",
    "FeedWarning",
    "HistoryError",
    "HistoryWarning",
    "InstrumentError",
    "InstrumentNotFound",
    "LoginError",
    "MasterError",
    "NoSuchJob",
    "NoSuchShare",
    "NotLoggedIn",
    "OrdersRefused",
    "PriceNotConfirmed",
    "ProcessError",
    "PublishError",
    "RateLimited",
    "RecordingError",
    "RequestError",
    "ScheduleError",
    "SessionExpired",
    "SettingsError",
    "ShareError",
    "SqlError",
    "SubscriptionRefused",
    "VaultError",
]


class BreezeLabError(Exception):
    """Base of every error Breeze Lab raises on purpose.

    In a notebook it shows as its message alone: the reason and the next step
    are in it, and twenty lines of our own frames would hide them. The cell
    still fails, so a scheduled run fails too.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class SettingsError(BreezeLabError):
    """A setting is missing or cannot be used."""


class RecordingError(BreezeLabError):
    """A recording of a market day cannot be replayed or written."""


class HistoryError(BreezeLabError):
    """The bars on disk cannot be read or written."""


class PriceNotConfirmed(HistoryError):
    """A range of history costs so many calls that somebody has to say yes.

    Parameters
    ----------
    message
        The price, what is left, and how to say yes.
    calls
        What it costs.
    left
        What is left today for such work; None when nobody counts.
    """

    def __init__(self, message: str, calls: int, left: int | None) -> None:
        """Keep the price beside the message."""
        super().__init__(message)
        self.calls = calls
        self.left = left


class SqlError(BreezeLabError):
    """A query over what is stored cannot be answered."""


class VaultError(BreezeLabError):
    """The vault of secrets cannot be opened, read or written."""


class ProcessError(BreezeLabError):
    """A background process (relay, practice market) did not start or answer."""


class PublishError(BreezeLabError):
    """Something cannot be made a dashboard, or is none."""


class ScheduleError(BreezeLabError):
    """A notebook cannot be scheduled, or not like this."""


class NoSuchJob(ScheduleError):
    """No job, or no run of one, has this name."""


class ShareError(BreezeLabError):
    """Something cannot be shared, or not like this."""


class NoSuchShare(ShareError):
    """No link that counts has this name."""


class LoginError(BreezeLabError):
    """The broker refused the login."""


class NotLoggedIn(LoginError):
    """The call needs a session and there is none yet."""


class SessionExpired(LoginError):
    """The session was valid once and no longer is."""


class InstrumentError(BreezeLabError):
    """A name does not lead to exactly one instrument."""


class InstrumentNotFound(InstrumentError):
    """No instrument has this name.

    Parameters
    ----------
    message
        What happened, the nearest names and what to type.
    nearest
        Keys of the nearest instruments, best first (``"NSE:RELIANCE"``).
    """

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        """Keep the nearest keys beside the message."""
        super().__init__(message)
        self.nearest = nearest


class AmbiguousInstrument(InstrumentError):
    """Several instruments have this name.

    Parameters
    ----------
    message
        What happened and what to type.
    candidates
        Keys of the instruments it could mean.
    """

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        """Keep the candidates beside the message."""
        super().__init__(message)
        self.candidates = candidates


class RequestError(BreezeLabError):
    """A REST call did not bring a value."""


class RateLimited(RequestError):
    """The call budget is used up: the broker refused a call, or we would not send it.

    Parameters
    ----------
    message
        What happened and when to try again.
    span
        What is used up: ``"minute"``, ``"day"`` or ``"second"`` (of orders).
    until
        When it counts anew, aware IST; None when only the broker knows.
    """

    def __init__(
        self, message: str, *, span: str = "minute", until: datetime | None = None
    ) -> None:
        """Keep what is used up, and until when, beside the message."""
        super().__init__(message)
        self.span = span
        self.until = until


class BadResponse(RequestError):
    """The broker answered something that is not a value (HTML, a wrong shape)."""


class MasterError(BadResponse):
    """A security master cannot be had, or is not one that can be trusted."""


class OrdersRefused(RequestError):
    """A call that moves orders or money was stopped before it was sent."""


class FeedError(BreezeLabError):
    """The live feed cannot do what was asked."""


class FeedDisconnected(FeedError):
    """The connection to the relay is gone and could not be restored."""


class SubscriptionRefused(FeedError):
    """The relay refused a subscription."""


class FeedWarning(UserWarning):
    """The live feed goes on, and something of it is missing, late or dropped."""


class HistoryWarning(UserWarning):
    """History is answered all the same: a stored file is damaged, or bars could not be kept."""
