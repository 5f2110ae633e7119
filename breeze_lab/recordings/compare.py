"""Hold a recorded day against the broker's history: ``python -m breeze_lab.recordings.compare``.

Owns the run: what there is to do and what it costs, one instrument after the
other within the call budget, and when it stops to go on later. A process of
its own when the relay starts it, at low priority. It joins the session that
all processes of the user share and logs in nowhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, processes
from breeze_lab.bars import Interval
from breeze_lab.errors import (
    BreezeLabError,
    InstrumentError,
    LoginError,
    RateLimited,
    RecordingError,
    RequestError,
    VaultError,
)  # fmt: skip
from breeze_lab.recordings import minutes
from breeze_lab.recordings.catalog import said
from breeze_lab.recordings.comparing import compare, covered
from breeze_lab.relay.compared import COUNTS, Compared, Task
from breeze_lab.relay.comparison import WAITS, calls_left, pending
from breeze_lab.relay.hours import segment_of
from breeze_lab.relay.naming import listed
from breeze_lab.settings import MAX_CANDLES_PER_CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from breeze_lab.bars import Bar
    from breeze_lab.instruments import Instrument
    from breeze_lab.recordings.minutes import Minutes, Span
    from breeze_lab.relay.days import Place
    from breeze_lab.session import Session

__all__ = ["Paused", "Plan", "main", "plan", "run"]

_log: Final = logging.getLogger("breeze_lab.recordings.compare")

_MINUTE: Final = Interval.M1.value
#: Minutes of one call, with room for a bar more than the clock says.
_WINDOW_S: Final = (MAX_CANDLES_PER_CALL - 10) * _MINUTE
#: What is asked around market hours: auctions before, closing prices after.
_AROUND: Final = timedelta(minutes=30)
#: History that fails so often for one instrument is given up, and so often in a row for all.
_TRIES: Final = 3
_IN_A_ROW: Final = 3


class Paused(BreezeLabError):
    """The comparison goes on later: it waits for a login, or for calls."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What is known of one instrument before history is asked."""

    minutes: Minutes
    spans: list[Span]
    gaps: list[Span]
    windows: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a comparison will do.

    Parameters
    ----------
    place
        The day.
    tasks
        The instruments that are left, with their prices.
    """

    place: Place
    tasks: tuple[Task, ...]
    _works: dict[str, _Work] = field(repr=False)

    def work(self, key: str) -> _Work:
        """Return what is known of an instrument."""
        return self._works[key]

    @property
    def calls(self) -> int:
        """The price: one call for each stretch of a good thousand minutes."""
        return sum(task.calls for task in self.tasks)


def plan(place: Place, keys: Iterable[str] | None = None) -> Plan:
    """Read the bars of a recording and return what is left to compare. No call is made.

    Parameters
    ----------
    keys
        Of these instruments; of all by default.

    Raises
    ------
    RecordingError
        The day was not recorded, or its recording is damaged.
    """
    if not place.ticks.exists():
        raise RecordingError(
            f"{place.day:%d-%m-%Y} is compared when it is recorded, which is after midnight. "
            "See `breeze-lab recordings list`."
        )
    told = said(place)
    recording = json.dumps([told["ticks"], told["sources"]])
    with Compared(place) as file:
        begun = file.recording() == recording
        if begun and not file.waiting(keys):
            return Plan(place, (), {})
        # The first time all are read, because all have a price.
        some = {task.key for task in file.waiting(keys)} if begun else None
        works = {
            key: _work(place, one, told["gaps"])
            for key, one in sorted(minutes.read(place, some).items())
        }
        file.begin(recording, [Task(key, len(work.windows)) for key, work in works.items()])
        return Plan(place, tuple(file.waiting(works if keys is None else keys)), works)


def _work(place: Place, one: Minutes, gaps: Iterable[dict[str, Any]]) -> _Work:
    lost = [
        one.gap(gap["from_ms"], gap["to_ms"]) for gap in gaps if gap["key"] in (one.key, one.room)
    ]
    spans = covered(one.spans(), lost)
    limits = _limits(place, one.key)
    inside = [(max(first, limits[0]), min(last, limits[1])) for first, last in spans]
    spans = [(first, last) for first, last in inside if first < last]
    return _Work(one, spans, lost, _windows(spans))


def _limits(place: Place, key: str) -> Span:
    """Return when bars of the day can lie; the practice market has days of its own."""
    if place.market == "practice":
        return float("-inf"), float("inf")
    hours = clock.market_hours(segment_of(key), place.day)
    if hours is not None:
        return (hours.open - _AROUND).timestamp(), (hours.close + _AROUND).timestamp()
    begin = datetime.combine(place.day, time(), clock.IST)
    return begin.timestamp(), (begin + timedelta(days=1)).timestamp()


def _windows(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """Return the ranges of the fewest calls that cover the whole minutes of some spans."""
    found: list[tuple[int, int]] = []
    for first, last in spans:
        at, end = -int(-first // _MINUTE) * _MINUTE, int(last // _MINUTE) * _MINUTE
        while at < end:
            if not found or at >= found[-1][0] + _WINDOW_S:
                found.append((at, at))
            begin = found[-1][0]
            at = min(end, begin + _WINDOW_S)
            found[-1] = begin, max(found[-1][1], at)
    return found


def run(
    todo: Plan,
    session: Session,
    *,
    most_calls: int | None = None,
    progress: Callable[[Task], object] = lambda _: None,
) -> None:
    """Compare what a plan names; keep what comes of each instrument as it comes.

    Parameters
    ----------
    session
        Of the market that was recorded. Calls are a backfill, which leaves room
        for whoever waits for an answer.
    most_calls
        Stop before more calls than this.
    progress
        Called after each instrument.

    Raises
    ------
    Paused
        It stops and can go on later; why is kept beside the recording, too. Or
        another process compares the day.
    RecordingError
        What comes of it cannot be kept.
    """
    place = todo.place
    refusal = Paused(f"Another process compares {place.market} {place.day:%d-%m-%Y} with history.")
    with processes.locked(place.folder / ".compared.lock", 0, refusal), Compared(place) as file:
        file.wait("")
        try:
            _check_market(place, session)
            if _another(place, session):
                for task in todo.tasks:
                    file.failed(task.key, "another practice market runs than the one recorded")
            else:
                _each(todo, file, session, most_calls, progress)
        except (RateLimited, LoginError, VaultError, Paused) as exc:
            file.wait(str(exc))
            raise exc if isinstance(exc, Paused) else Paused(str(exc)) from exc


def _check_market(place: Place, session: Session) -> None:
    if session.endpoints.name != place.market:
        raise Paused(
            f"The session is one of the {session.endpoints.name} market, and {place.market} was "
            "recorded."
        )


def _another(place: Place, session: Session) -> bool:
    """Say whether the practice market is a later one: its past is not what was traded."""
    streams = said(place).get("streams") or [session.endpoints.stream_url]
    return session.practice and session.endpoints.stream_url not in streams


def _each(
    todo: Plan, file: Compared, session: Session, most_calls: int | None,
    progress: Callable[[Task], object],
) -> None:  # fmt: skip
    find = listed(todo.place.market, todo.place.day)
    still = {task.key for task in file.waiting()}  # another process may have been here
    spent = failures = in_a_row = 0
    last = ""
    for task in todo.tasks:
        if task.key not in still:
            continue
        if most_calls is not None and spent + task.calls > most_calls:
            raise Paused(f"The day's {most_calls} calls for it are used.")
        spent += task.calls
        work = todo.work(task.key)
        try:
            instrument = find(task.key) or session.resolve(task.key)
            _keep(file, task.key, work, instrument, _history(session, instrument, work.windows))
        except InstrumentError as exc:
            file.failed(task.key, str(exc))
        except RateLimited:
            raise
        except RequestError as exc:
            last = str(exc)
            file.failed(task.key, last, most_tries=_TRIES)
            failures, in_a_row = failures + 1, in_a_row + 1
            if in_a_row >= _IN_A_ROW:
                raise Paused(f"History does not answer: {last}") from exc
        else:
            in_a_row = 0
        progress(task)
    if failures and file.waiting(task.key for task in todo.tasks):
        raise Paused(f"History did not answer for {failures} instruments: {last}")


def _history(
    session: Session, instrument: Instrument, windows: Iterable[tuple[int, int]]
) -> list[Bar]:
    from breeze_lab import historical  # noqa: PLC0415 - after the session is there

    found: list[Bar] = []
    for first, last in windows:
        found += historical.bars(
            session, instrument, Interval.M1, clock.from_epoch(first), clock.from_epoch(last),
            priority="backfill",
        )  # fmt: skip
    return found


def _keep(
    file: Compared, key: str, work: _Work, instrument: Instrument, theirs: Sequence[Bar]
) -> None:
    verdict = compare(
        work.minutes.bars, theirs, work.spans, work.gaps, index=instrument.kind == "index"
    )
    file.done(key, {name: getattr(verdict, name) for name in COUNTS}, verdict.rows)


# -- the process ---------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the days that wait; return 0 when all are done, 75 when they wait, 1 on failure."""
    parser = argparse.ArgumentParser(
        prog="breeze_lab.recordings.compare", description="Compare recorded days with history."
    )
    parser.add_argument("--day", type=date.fromisoformat, help="this day only, 2026-11-26")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    os.environ.pop("BREEZE_LAB_SESSION", None)  # it logs in nowhere
    from breeze_lab import session  # noqa: PLC0415 - see above

    try:
        now = session.current()
    except BreezeLabError as exc:
        _log.info("It waits: %s", exc)
        return WAITS
    status = 0
    for place in pending():
        if options.day not in (None, place.day) or place.market != now.endpoints.name:
            continue
        try:
            todo = plan(place)
            _log.info(
                "%s %s: %d instruments for %d calls.",
                place.market, place.day, len(todo.tasks), todo.calls,
            )  # fmt: skip
            run(todo, now, most_calls=calls_left())
        except Paused as exc:
            _log.info("%s %s waits: %s", place.market, place.day, exc)
            return WAITS
        except (BreezeLabError, OSError) as exc:
            _log.error("%s %s was not compared: %s", place.market, place.day, exc)
            status = 1
    return status


if __name__ == "__main__":
    os.nice(10)  # the feed comes first
    sys.exit(main())
