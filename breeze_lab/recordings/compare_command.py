"""``breeze-lab recordings compare``: the price, a progress bar, and what differs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from breeze_lab import clock
from breeze_lab.errors import RecordingError
from breeze_lab.recordings import catalog
from breeze_lab.recordings.compare import Paused, plan
from breeze_lab.recordings.compare import run as work
from breeze_lab.relay.compared import Compared, summary
from breeze_lab.relay.comparison import words
from breeze_lab.relay.days import places

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence

    from breeze_lab.relay.days import Place

__all__ = ["run"]

_HEADS = ("instrument", "bars", "differ", "in gaps", "missing", "extra", "not heard whole", "")
_COUNTS = ("bars", "differing", "in_gap", "missing", "extra", "partial")


def run(options: argparse.Namespace, say: Callable[[str], object]) -> int:
    """Compare a day with history, the newest recorded one by default; return the exit status.

    Raises
    ------
    RecordingError, InstrumentNotFound
    NotLoggedIn, SessionExpired
    """
    from breeze_lab import session  # noqa: PLC0415 - most words need none

    place = _place(options)
    names = [name for name in (options.instruments or "").split(",") if name.strip()]
    keys = catalog.keys(place, names or None)
    todo = plan(place, keys)
    say(f"{place.market} {place.day}: {len(todo.tasks)} instruments, {todo.calls} calls")
    if todo.tasks:
        now = session.current()
        if not now.practice:
            say(f"{now.meter.left_today:,} calls are left today")
        from tqdm import tqdm  # noqa: PLC0415 - only here

        with tqdm(total=todo.calls, desc="history", unit="call", file=sys.stderr) as bar:
            try:
                work(todo, now, progress=lambda task: bar.update(task.calls))
            except Paused as exc:
                say(f"It waits: {exc} What was compared is kept; the same command goes on.")
                _report(place, keys, say)
                return 1
    return _report(place, keys, say)


def _place(options: argparse.Namespace) -> Place:
    if options.day is not None:
        return catalog.find(options.day, options.market)
    today = clock.now().date()
    over = [p for p in places(options.market) if p.day < today and p.ticks.exists()]
    if not over:
        raise RecordingError(
            "No day was recorded yet. A day is recorded after midnight, or by "
            "`breeze-lab recordings convert`."
        )
    return over[-1]


def _report(place: Place, keys: Iterable[str] | None, say: Callable[[str], object]) -> int:
    """Say what came of it; return 1 when an instrument could not be compared."""
    with Compared(place) as file:
        known = file.instruments()
    wanted = None if keys is None else set(keys)
    shown = [one for one in known if wanted is None or one["key"] in wanted]
    told = [one for one in shown if one["differing"] or one["state"] != "compared"]
    if told:
        say(_table([_HEADS, *(_cells(one) for one in told)]))
    if any(one["differing"] for one in told):
        say(f"Bar by bar: breeze_lab.recordings.differences({place.day.isoformat()!r})")
    found = summary(place)
    if found is not None:
        say(words(found))
    return int(any(one["state"] == "not comparable" for one in shown))


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    state = "" if one["state"] == "compared" else one["state"]
    note = f"{state}: {one['reason']}" if one["reason"] else state
    return (one["key"], *(f"{one[name]:,}" for name in _COUNTS), note)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    last = len(_HEADS) - 1
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if place in (0, last) else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
