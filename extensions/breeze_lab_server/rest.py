"""What the JSON routes share: who may, how a failure is told, and what a query says.

A failure is an object with ``error`` (its kind), ``message`` (a sentence with
the next step) and ``nearest`` (keys that could have been meant).
"""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus
from inspect import isawaitable
from typing import Any, Final

from jupyter_server.base.handlers import APIHandler
from tornado import web

from breeze_lab import clock
from breeze_lab.errors import (
    AmbiguousInstrument,
    BreezeLabError,
    InstrumentError,
    InstrumentNotFound,
    LoginError,
    NoSuchJob,
    NoSuchShare,
    RateLimited,
    RequestError,
    ScheduleError,
    SettingsError,
    ShareError,
    SubscriptionRefused,
)

__all__ = ["MARKETS", "RESOURCE", "NoMaster", "Rest"]

RESOURCE: Final = "breeze-lab"
MARKETS: Final = ("icici", "practice")
_LARGEST_BODY: Final = 64 * 1024
_MOST_NAMES: Final = 200

#: The first that fits; whatever else of ours went wrong means that something is not there yet.
_STATUS: Final[tuple[tuple[type[BreezeLabError], HTTPStatus], ...]] = (
    (InstrumentNotFound, HTTPStatus.NOT_FOUND),
    (AmbiguousInstrument, HTTPStatus.CONFLICT),
    (InstrumentError, HTTPStatus.BAD_REQUEST),
    (NoSuchJob, HTTPStatus.NOT_FOUND),
    (ScheduleError, HTTPStatus.BAD_REQUEST),
    (NoSuchShare, HTTPStatus.NOT_FOUND),
    (ShareError, HTTPStatus.BAD_REQUEST),
    (SettingsError, HTTPStatus.BAD_REQUEST),
    (LoginError, HTTPStatus.CONFLICT),
    (SubscriptionRefused, HTTPStatus.CONFLICT),
    (RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (RequestError, HTTPStatus.BAD_GATEWAY),
)


class NoMaster(BreezeLabError):
    """There is no security master on this machine yet."""


class Rest(APIHandler):
    """JSON in, JSON out; a failure is a sentence."""

    auth_resource = RESOURCE

    def answer(self, found: Any, status: int = HTTPStatus.OK) -> None:
        """Answer with JSON that no cache keeps."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(found))

    def refuse(self, error: BreezeLabError) -> None:
        """Answer with the error's own words, which name the next step."""
        status = next((s for kind, s in _STATUS if isinstance(error, kind)), None)
        self.answer(_failure(error), status or HTTPStatus.SERVICE_UNAVAILABLE)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an HTTP error in the same form; of an unexpected one no detail leaves."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        message = HTTPStatus(status_code).phrase
        if isinstance(error, web.HTTPError):
            message = error.log_message or error.reason or message
        kind = HTTPStatus(status_code).phrase.replace(" ", "").replace("-", "")
        self.log.warning("Refused with %d: %s", status_code, message)
        self.finish(json.dumps({"error": kind, "message": message, "nearest": []}))

    async def must_execute(self, what: str) -> None:
        """Refuse who may only read: `what` costs something.

        Raises
        ------
        tornado.web.HTTPError
        """
        allowed = self.authorizer.is_authorized(self, self.current_user, "execute", RESOURCE)
        if isawaitable(allowed):
            allowed = await allowed
        if not allowed:
            raise web.HTTPError(403, f"{what} needs the right to execute {RESOURCE}")

    # -- what the query says ------------------------------------------------

    def market(self) -> str:
        """Return the market the query names, or nothing."""
        named: str = self.get_query_argument("market", "")
        if named not in ("", *MARKETS):
            raise web.HTTPError(400, f"market is one of {', '.join(MARKETS)}")
        return named

    def names(self) -> list[str]:
        """Return the names of ``names=A,B``."""
        return checked_names(self.get_query_argument("names", "").split(","))

    def number(self, name: str, usual: int, least: int, most: int) -> int:
        """Return a whole number of the query, brought into its bounds."""
        try:
            return min(max(int(self.get_query_argument(name, str(usual))), least), most)
        except ValueError:
            raise web.HTTPError(400, f"{name} is a number") from None

    def moment(self, name: str) -> datetime | None:
        """Return a time of the query, aware IST; None when it is not there."""
        text: str = self.get_query_argument(name, "")
        try:
            # A plus sign that was not encoded arrives as a space.
            return (
                clock.to_ist(datetime.fromisoformat(text.replace(" 05:30", "+05:30")))
                if text
                else None
            )
        except ValueError:
            raise web.HTTPError(
                400, f"{name} is no time: write 2026-11-20 or 2026-11-20T09:15 (IST)"
            ) from None

    def body(self) -> dict[str, Any]:
        """Return the JSON object of the request."""
        raw = self.request.body
        if len(raw) > _LARGEST_BODY:
            raise web.HTTPError(413, "the body is too long")
        try:
            found = json.loads(raw or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise web.HTTPError(400, "a JSON object is needed")
        return found


def checked_names(given: Any) -> list[str]:
    """Return names without blanks and repetitions.

    Raises
    ------
    tornado.web.HTTPError
        There is none, or there are too many.
    """
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise web.HTTPError(400, "names is a list of texts")
    names = list(dict.fromkeys(filter(None, (name.strip() for name in given))))
    if not 0 < len(names) <= _MOST_NAMES:
        raise web.HTTPError(400, f"name 1 to {_MOST_NAMES} instruments, not {len(names)}")
    return names


def _failure(error: BreezeLabError) -> dict[str, Any]:
    nearest = getattr(error, "nearest", ()) or getattr(error, "candidates", ())
    return {"error": type(error).__name__, "message": str(error), "nearest": list(nearest)}
