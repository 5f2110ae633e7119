"""The words of ``breeze-lab recordings``: list, convert, check, compare and keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breeze_lab import clock
from breeze_lab.errors import BreezeLabError, RecordingError
from breeze_lab.recordings import catalog, compare_command
from breeze_lab.relay import recorder
from breeze_lab.relay.days import places

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from breeze_lab.recordings.catalog import Recorded

__all__ = ["row", "run"]


def run(options: argparse.Namespace, say: Callable[[str], object]) -> int:
    """Do what was said, a line at a time to `say`; return the exit status.

    Raises
    ------
    RecordingError
        There is no such day, or it is damaged.
    """
    if options.action == "list":
        known = catalog.days(options.market)
        say("\n".join(map(row, known)) or "Nothing was recorded yet.")
        return 0
    if options.action == "keep":
        if options.day is None:
            raise RecordingError("Which day? breeze-lab recordings keep 2026-11-19")
        catalog.keep(options.day, market=options.market, wanted=not options.no_longer)
        return 0
    if options.action == "compare":
        return compare_command.run(options, say)
    work = _convert if options.action == "convert" else _check
    failed = False
    for market, day in _days(options):
        try:
            say(f"{market} {day}: {work(market, day)}")
        except (BreezeLabError, OSError) as exc:
            failed = True
            say(f"{market} {day}: {type(exc).__name__}: {exc}")
    return int(failed)


def _days(options: argparse.Namespace) -> list[tuple[str, str]]:
    if options.day is not None:
        place = catalog.find(options.day, options.market)
        return [(place.market, place.day.isoformat())]
    over = [place for place in places(options.market) if place.day < clock.now().date()]
    if options.action == "convert":
        over = [place for place in over if place.logs]
    else:
        over = [place for place in over if place.ticks.exists()]
    return [(place.market, place.day.isoformat()) for place in over]


def _convert(market: str, day: str) -> str:
    made = recorder.convert(catalog.find(day, market))
    return "; ".join([f"{made['ticks']:,} ticks", *made["warnings"]])


def _check(market: str, day: str) -> str:
    return f"{catalog.check(day, market=market).ticks:,} ticks, every page as it was written"


def row(one: Recorded) -> str:
    """Return one day as a line."""
    what = {"log": "not recorded yet", "today": "today, still written"}.get(one.state, "")
    what = what or f"{one.ticks or 0:,} ticks of {len(one.instruments)} instruments"
    facts = [what, f"{one.bytes / 1e6:,.1f} MB"]
    facts += [f"{one.gaps} gaps"] * bool(one.gaps) + ["kept"] * one.kept + list(one.warnings)
    return f"{one.day.isoformat()} {one.market:<9} {', '.join(facts)}"
