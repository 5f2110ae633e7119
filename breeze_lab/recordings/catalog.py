"""Which days there are, where they lie, and what was recorded on them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from breeze_lab import clock
from breeze_lab.errors import InstrumentNotFound, RecordingError
from breeze_lab.relay import stored
from breeze_lab.relay.days import Place, places
from breeze_lab.relay.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.instruments import Instrument

__all__ = ["Recorded", "check", "days", "find", "keep", "keys", "said"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One day of one market.

    Parameters
    ----------
    market, day
        Whose ticks, and the day in India on which they came.
    ticks
        How many; None while there is only the log.
    instruments
        Their keys, sorted; empty while there is only the log.
    bytes
        On the disk, log files and all.
    gaps
        How many are known of.
    warnings
        What was wrong when it was made.
    kept
        Whether it stays whatever the retention says.
    state
        ``"recorded"``, ``"log"`` (not recorded yet) or ``"today"``.
    """

    market: str
    day: date
    ticks: int | None
    instruments: tuple[str, ...] = field(repr=False)
    bytes: int
    gaps: int
    warnings: tuple[str, ...]
    kept: bool
    state: str


def days(market: str | None = None) -> list[Recorded]:
    """Return the days of a market, or of all markets, that can be loaded, oldest first."""
    return [_recorded(place) for place in places(market)]


def find(day: date | str, market: str | None = None) -> Place:
    """Return where a day lies.

    Parameters
    ----------
    day
        A date, its text (``"2026-11-19"``) or ``"today"``.
    market
        Needed where two markets have the day.

    Raises
    ------
    RecordingError
        There is no such day, with the nearest, or there are two.
    """
    wanted = _day(day)
    known = places(market)
    found = [place for place in known if place.day == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"market={place.market!r}" for place in found)
        raise RecordingError(f"{wanted:%d-%m-%Y} was recorded of two markets. Say {names}.")
    near = sorted({place.day for place in known}, key=lambda one: abs(one - wanted))[:3]
    there = ", ".join(one.isoformat() for one in sorted(near)) or "none yet"
    raise RecordingError(
        f"There is no recording of {wanted:%d-%m-%Y}. Nearest: {there}. "
        "What is subscribed is recorded while the relay runs."
    )


def keep(day: date | str, *, market: str | None = None, wanted: bool = True) -> None:
    """Keep a day whatever the retention says; with ``wanted=False`` no longer.

    Raises
    ------
    RecordingError
    """
    place = find(day, market)
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if wanted:
        place.mark.touch(mode=0o600)
    else:
        place.mark.unlink(missing_ok=True)


def check(day: date | str, *, market: str | None = None) -> Recorded:
    """Read a recording through, every page, and compare it with what it says of itself.

    Raises
    ------
    RecordingError
        It is damaged, or there is none.
    """
    place = find(day, market)
    stored.check(place)
    return _recorded(place)


def said(place: Place) -> dict[str, Any]:
    """Return the facts of a day: of its recording, else of its log so far."""
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(place.sidecar.read_text())
        if place.ticks.exists():
            return found
    made = stored.facts(place)
    if made is not None:
        return made
    reading = Reading(place)
    for rows in reading.read():
        rows.ticks.clear()
        rows.rest.clear()
    return reading.facts()


def keys(
    place: Place, wanted: str | Instrument | Iterable[str | Instrument] | None
) -> list[str] | None:
    """Return the recorded keys of some names."""
    from breeze_lab.instruments import Instrument  # noqa: PLC0415 - loads numpy

    if wanted is None:
        return None
    # Anything else than text or one instrument is several of them.
    names = [wanted] if isinstance(wanted, (str, Instrument)) else list(wanted)
    rooms = said(place)["rooms"].values()
    return [_key(place, name if isinstance(name, str) else name.key, rooms) for name in names]


def _key(place: Place, name: str, rooms: Iterable[dict[str, Any]]) -> str:
    squeezed = " ".join(name.upper().split())
    own = {room["key"].upper(): room["key"] for room in rooms}
    if squeezed in own:
        return str(own[squeezed])
    bare = [key for upper, key in own.items() if upper.partition(":")[2] == squeezed]
    bare = bare or [
        room["key"] for room in rooms if room["stock_code"] == squeezed and " " not in room["key"]
    ]
    if bare:  # a share of both exchanges is NSE's, as everywhere
        return str(min(bare, key=lambda key: not key.startswith("NSE:")))
    from breeze_lab.relay.naming import meant  # noqa: PLC0415 - loads the master

    found = meant(place.market, place.day, name)
    if found and found.upper() in own:
        return str(own[found.upper()])
    some = ", ".join(sorted(own.values())[:8]) or "nothing"
    raise InstrumentNotFound(
        f"{name!r} was not recorded on {place.day:%d-%m-%Y}. Recorded: {some}.",
        tuple(sorted(own.values())[:8]),
    )


def _day(day: date | str) -> date:
    if isinstance(day, datetime):
        return clock.to_ist(day).date()
    if isinstance(day, date):
        return day
    if day == "today":
        return clock.now().date()
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise RecordingError(f"{day!r} is no day. Write 2026-11-19 or today.") from None


def _recorded(place: Place) -> Recorded:
    files = [place.ticks, place.rest, place.sidecar, place.compared, *place.logs]
    size = sum(path.stat().st_size for path in files if path.exists())
    told: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    state = "today" if place.day == clock.now().date() else "log"
    if place.ticks.exists():
        state = "recorded"
        try:
            told = said(place)
            warnings = tuple(told["warnings"])
        except RecordingError as exc:
            warnings = (str(exc),)
    keys = sorted({room["key"] for room in told.get("rooms", {}).values()})
    return Recorded(
        place.market, place.day, told.get("ticks"), tuple(keys), size, len(told.get("gaps", ())),
        warnings, place.kept, state,
    )  # fmt: skip
