"""From the log of a day to its recording: ``python -m breeze_lab.relay.recorder``.

A process of its own that lives for a minute, because the relay never loads
pyarrow. It reads the log files of a market and day record by record, writes
them as Parquet, reads that back and compares, and only then gives it its name.
The log files go some days later.

The recording's own footer says from which log files it was made. It is the one
thing that counts: it appears by one rename, what died on the way is written
anew, and the sidecar can be made again from it. So a kill at any moment costs
the work done and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import sqlite3
import sys
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, downloads, settings
from breeze_lab.errors import BreezeLabError, RecordingError
from breeze_lab.relay.columns import COLUMNS, REST
from breeze_lab.relay.days import Place, locked, places
from breeze_lab.relay.disk import Stored, limits, surplus
from breeze_lab.relay.reading import Reading
from breeze_lab.relay.stored import FACTS, check, facts, table, verify, writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["GRACE_DAYS", "convert", "forget_old", "main"]

_log: Final = logging.getLogger("breeze_lab.relay.recorder")

#: Days after which the log files of a recorded day are removed.
GRACE_DAYS: Final = 2


def convert(place: Place, *, grace_days: int = GRACE_DAYS) -> dict[str, Any]:
    """Record a day from its log; do nothing when that was done.

    Parameters
    ----------
    grace_days
        How many days old a day must be for its log files to be removed once
        the recording was verified.

    Returns
    -------
    dict
        What the sidecar says: see ``docs/recording.md``.

    Raises
    ------
    RecordingError
        The day is not over, has no log, or what was written cannot be read
        back as it was meant. The log files are as they were.
    """
    today = clock.now().date()
    if place.day >= today:
        raise RecordingError(
            f"{place.day:%d-%m-%Y} is not over: its log is still written. It is recorded after "
            "midnight, and `breeze_lab.recordings.load` reads it at any time."
        )
    with locked(place.market):
        _sweep(place)
        logs = place.logs
        made = facts(place)
        if made is None:
            if not logs:
                raise RecordingError(f"There is no log of {place.market} {place.day:%d-%m-%Y}.")
            made = _make(place)
        elif not _holds(made, logs):
            if _gone(place, made):
                late = ", ".join(path.name for path in logs if path.name not in _names(made))
                said = f"{late}: came when the day was recorded already and is kept as it is."
                made = {**made, "warnings": [*made["warnings"], said]}
            else:
                made = _make(place)
        _write_sidecar(place, made)
        if (today - place.day).days >= grace_days:
            _remove_logs(place, made)
    return made


def _names(made: dict[str, Any]) -> dict[str, int]:
    return {source["name"]: source["bytes"] for source in made["sources"]}


def _holds(made: dict[str, Any], logs: Iterable[Path]) -> bool:
    known = _names(made)
    return all(known.get(path.name, -1) == path.stat().st_size for path in logs)


def _gone(place: Place, made: dict[str, Any]) -> bool:
    there = {path.name for path in place.logs}
    return bool(_names(made).keys() - there)


def _sweep(place: Place) -> None:
    """Remove what a killed recorder left; we hold the lock, so nobody writes it now."""
    for folder in (place.folder, place.rest.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.glob(".*.part"):
            path.unlink(missing_ok=True)


def _make(place: Place) -> dict[str, Any]:
    """Write, verify and name the recording of a day; return its facts."""
    reading = Reading(place)
    rows = reading.rows
    ticks, rest = _part(place.ticks), _part(place.rest)
    with writer(ticks, COLUMNS) as out, writer(rest, REST) as beside:
        for _ in reading.read():
            if rows.ticks:
                out.write_table(table(rows.ticks))
                rows.ticks.clear()
            if rows.rest:
                beside.write_table(table(rows.rest, REST))
                rows.rest.clear()
        made = reading.facts()
        out.add_key_value_metadata({FACTS: json.dumps(made).encode()})
    verify(ticks, rest, made)
    _name(rest, place.rest)
    place.compared.unlink(missing_ok=True)  # it is another recording now
    _name(ticks, place.ticks)  # the last: with it the day is recorded
    _log.info("Recorded %s %s: %s ticks.", place.market, place.day, f"{made['ticks']:,}")
    return made


def _name(part: Path, path: Path) -> None:
    """Give a file that is on the disk its name, in one step that is on the disk too."""
    part.replace(path)
    downloads.sync_folder(path.parent)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write_sidecar(place: Place, made: dict[str, Any]) -> None:
    content = json.dumps(made, indent=1).encode()
    with contextlib.suppress(OSError):
        if place.sidecar.read_bytes() == content:
            return
    downloads.write_whole(place.sidecar, content)
    place.sidecar.chmod(0o600)


def _remove_logs(place: Place, made: dict[str, Any]) -> None:
    """Remove the log files that the recording holds whole, after reading it once more."""
    whole = {s["name"] for s in made["sources"] if s["good_bytes"] == s["bytes"]}
    held = [path for path in place.logs if path.name in whole]
    if not held:
        return
    check(place)
    for path in held:
        path.unlink()
    downloads.sync_folder(held[0].parent)
    _log.info("Removed %d log files of %s %s.", len(held), place.market, place.day)


def forget_old() -> list[Place]:
    """Remove the days that the retention gives up, with their log files; return them.

    Only recorded days go; a day that could not be recorded stays with its log.

    Raises
    ------
    SettingsError
        A limit is no number.
    """
    wanted, today = limits(), clock.now().date()
    stored = [Stored(one, _size(one), one.kept) for one in places() if one.ticks.exists()]
    gone = surplus(stored, wanted, today)
    for place in gone:
        with locked(place.market):
            if place.kept:  # marked in the meantime
                continue
            # The recording first: what is left behind by a kill then is made again, or goes next.
            for path in (place.ticks, place.rest, place.sidecar, place.compared, *place.logs):
                path.unlink(missing_ok=True)
        _log.info("Removed the recording of %s %s: it is too old or too much.", *_named(place))
    return gone


def _size(place: Place) -> int:
    return sum(
        path.stat().st_size
        for path in (place.ticks, place.rest, place.sidecar, place.compared, *place.logs)
        if path.exists()
    )


def _named(place: Place) -> tuple[str, str]:
    return place.market, place.day.isoformat()


# -- the process ---------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Record the days that are over; return the exit status, 1 when a day failed."""
    parser = argparse.ArgumentParser(
        prog="breeze_lab.relay.recorder", description="Record the days that are over."
    )
    parser.add_argument("--market", help="of this market only")
    parser.add_argument("--day", type=date.fromisoformat, help="this day only, 2026-11-26")
    parser.add_argument(
        "--grace", type=int, default=GRACE_DAYS, metavar="DAYS",
        help=f"keep log files of a recorded day so long (default {GRACE_DAYS})",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    settings.folders()
    gc.disable()  # rows have no cycles, and looking for them takes a third of the time
    today, failed = clock.now().date(), False
    for place in places(options.market):
        if place.day >= today or options.day not in (None, place.day) or not place.logs:
            continue
        try:
            convert(place, grace_days=options.grace)
        except (BreezeLabError, OSError, sqlite3.Error) as exc:
            failed = True
            _log.error("%s %s could not be recorded: %s", place.market, place.day, exc)
    try:
        forget_old()
    except (BreezeLabError, OSError) as exc:
        failed = True
        _log.error("Nothing old was removed: %s", exc)
    return int(failed)


if __name__ == "__main__":
    os.nice(10)  # the feed comes first
    sys.exit(main())
