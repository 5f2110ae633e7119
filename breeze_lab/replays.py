"""Replay a recorded day: the practice market plays it, and everything else works unchanged.

The market is the user's practice market, started anew with the recording; this
process logs in to it, so feed, relay, charts and history are what they always
are. The clock of the day is `breeze_lab.clock.market_now`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from breeze_lab import clock, processes, recordings, session, settings
from breeze_lab.errors import BreezeLabError, RecordingError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from breeze_lab.relay.days import Place
    from breeze_lab.session import Session

__all__ = ["start", "stop"]

#: The practice market that gave way to a replay: the options it had.
_before: dict[str, Any] | None = None


def start(
    day: date | str,
    *,
    speed: float = 1.0,
    at: str = "",
    instruments: Sequence[str] = (),
    market: str | None = None,
    paused: bool = False,
) -> Session:
    """Replay a recorded day and log in to it.

    Parameters
    ----------
    day, market
        See `breeze_lab.recordings.find`. A day that is over and not recorded
        yet is recorded first.
    speed
        Market seconds per second, up to 3600.
    at
        Begin at this time of the day (``"09:15"``); by default just before the
        first tick.
    instruments
        Only these; all that were recorded by default. Everything else trades
        as the practice market invents it.
    paused
        Stand still until ``%breeze_practice resume``.

    Returns
    -------
    Session
        Of the replay; also made the current one.

    Raises
    ------
    RecordingError, InstrumentNotFound
        There is no such day, or no such instrument on it.
    SettingsError
        The speed cannot be.
    ProcessError
        The market did not start; its last words say why.
    """
    global _before  # noqa: PLW0603 - a process replays one day
    if not 0.01 <= speed <= 3600:  # noqa: PLR2004 - what the market's clock takes
        raise SettingsError(f"--speed lies between 0.01 and 3600; not {speed:g}.")
    place = recordings.find(day, market)
    path = _recording(place, instruments)
    options: dict[str, object] = {"replay": str(path), "speed": speed, "keep_sessions": True}
    if at:
        options["from"] = at if "-" in at else f"{place.day.isoformat()}T{at.zfill(5)}"
    if paused:
        options["paused"] = True
    stopped = processes.stop(settings.folders().runtime, "practice")
    if stopped is not None and not stopped["replay"]:
        _before = stopped
    try:
        return session.login_practice(**options)
    except BreezeLabError:  # it cannot be replayed: nobody should lose a market over it
        if stopped is not None and not stopped["replay"]:
            session.login_practice(**_options(stopped))
        raise


def stop() -> str:
    """End the replay and go back to what was before; return what that is.

    Raises
    ------
    SettingsError
        None runs.
    """
    global _before
    record = session.practice_record()
    mine = session.peek()
    if (record is None or not record["replay"]) and (mine is None or not mine.endpoints.replay):
        raise SettingsError("No replay runs. Start one: %breeze_replay 2026-11-19 --speed 20")
    if mine is not None and mine.endpoints.replay:
        session.logout()
    processes.stop(settings.folders().runtime, "practice")
    before, _before = _before, None
    real = session.joined()
    if real is not None:
        return "ICICI Direct" if not real.practice else "the practice market"
    session.login_practice(**({} if before is None else _options(before)))
    return "the practice market"


def _options(record: dict[str, Any]) -> dict[str, object]:
    """Return the options with which a practice market like that of `record` starts."""
    hours: dict[str, object] = {"exchange_hours": True} if record["open_since"] is None else {}
    return {"seed": record["seed"], **hours}


def _recording(place: Place, instruments: Sequence[str]) -> Path:
    """Return the file to replay: the recording, or a part of it."""
    from breeze_lab.recordings import catalog  # noqa: PLC0415
    from breeze_lab.relay import recorder, stored  # noqa: PLC0415 - pyarrow, on first use

    if not place.ticks.exists():
        if place.day >= clock.now().date():
            raise RecordingError(
                "Today is recorded after midnight and can be replayed then; "
                'breeze_lab.recordings.load("today") has its ticks now.'
            )
        recorder.convert(place)
    if not instruments:
        return place.ticks
    keys = catalog.keys(place, instruments)
    assert keys is not None
    named = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:12]
    folder = settings.folders().cache / "replays"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{place.market}-{place.day.isoformat()}-{named}.parquet"
    stored.part(place, keys, path)
    return path
