"""Run a fetch of history for gaps: ``python -m breeze_lab.relay.heal``.

A process of its own, so that the relay never loads the SDK. It reads one
request from its standard input, joins the session that all processes of the
user share, asks history within the call budget and answers one line for each
instrument. It logs in nowhere, and tries nothing twice.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from breeze_lab.session import Session

__all__ = ["answer", "main"]

_LONGEST_REASON: Final = 200


def answer(session: Session, ask: dict[str, Any]) -> dict[str, Any]:
    """Return what history has for one ask.

    Parameters
    ----------
    ask
        ``key``, ``room``, ``from_s`` and ``to_s`` (Unix seconds, half-open) and
        ``interval``, ``"1s"`` or ``"1m"``.

    Returns
    -------
    dict
        ``key``, ``room`` and ``rows``, each ``[start_s, open, high, low, close,
        volume, open_interest]``; or ``error``, the reason.
    """
    from breeze_lab import clock, historical  # noqa: PLC0415 - after the session is there
    from breeze_lab.bars import Interval  # noqa: PLC0415
    from breeze_lab.errors import BreezeLabError  # noqa: PLC0415

    told: dict[str, Any] = {"key": ask["key"], "room": ask["room"]}
    try:
        instrument = session.resolve(ask["key"])
        if instrument.quote_room != ask["room"]:
            return {**told, "error": f"the master has another room, {instrument.quote_room}"}
        bars = historical.bars(
            session, instrument, Interval.parse(ask["interval"]),
            clock.from_epoch(ask["from_s"]), clock.from_epoch(ask["to_s"]), priority="backfill",
        )  # fmt: skip
    except BreezeLabError as exc:
        return {**told, "error": str(exc)[:_LONGEST_REASON]}
    rows = [
        [int(b.start.timestamp()), b.open, b.high, b.low, b.close, b.volume, b.open_interest]
        for b in bars
    ]
    return {**told, "rows": rows}


def main(source: IO[str] = sys.stdin, sink: IO[str] = sys.stdout) -> int:
    """Answer the request ``{"market": …, "asks": […]}``; return the exit status."""
    os.environ.pop("BREEZE_LAB_SESSION", None)  # a healer logs in nowhere
    from breeze_lab import session  # noqa: PLC0415 - see above
    from breeze_lab.errors import BreezeLabError  # noqa: PLC0415

    request = json.load(source)
    error = ""
    now: Session | None = None
    try:
        now = session.current()
        if now.endpoints.name != request["market"]:
            error = f"the shared session is of another market, {now.endpoints.name}"
    except BreezeLabError as exc:
        error = str(exc)[:_LONGEST_REASON]
    for ask in request["asks"]:
        if now is None or error:
            told = {"key": ask["key"], "room": ask["room"], "error": error}
        else:
            told = answer(now, ask)
        sink.write(json.dumps(told) + "\n")
        sink.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
