"""Judge what a reader of a bus was told, against what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breeze_lab.relay.bus import Missing
from breeze_lab.relay.wal import STOCK, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from breeze_lab.relay.bus import Event


def frame(room: str, sequence: int) -> Record:
    """Return the record of one frame."""
    return Record(
        STOCK, 3, sequence, 1_790_000_000_000 + sequence, b'["%s",%d]' % (room.encode(), sequence)
    )


def faults(
    events: Iterable[Event],
    published: Mapping[str, list[int]],
    after: Mapping[str, int],
    kept: int,
    dropped: Iterable[Missing] = (),
) -> list[str]:
    """Return what is wrong with `events`; empty when each sequence was told once and truly.

    Parameters
    ----------
    published
        Sequences of each room, ascending. Whoever reads to the end reaches the last.
    after
        Where the reader began.
    kept
        A frame may be missing only when so many of its room came after it, or
        when the publisher said that it dropped it.
    """
    gone = {(room, n) for room, first, last in dropped for n in range(first, last + 1)}
    return [
        f"{room}: {fault}"
        for room, sequences in published.items()
        for fault in _faults(
            [event for event in events if event.room == room],
            sequences,
            after.get(room),
            set(sequences[: max(0, len(sequences) - kept)])
            | {n for n in sequences if (room, n) in gone},
        )
    ]


def _faults(
    events: list[Event], published: list[int], place: int | None, may_miss: set[int]
) -> Iterator[str]:
    known = set(published)
    must = known - may_miss
    end = max(place or 0, *published, 0)
    for event in events:
        missing = isinstance(event, Missing)
        first = event.first if missing else event.record.sequence
        if place is not None and first != place + 1:
            yield f"it went from {place} to {first}"
        skipped = range(first, event.last + 1) if missing else range(1, first) if not place else ()
        yield from (
            f"{n} is there and was not told" for n in skipped if n in must and n > (place or 0)
        )
        if not missing and (event.record != frame(event.room, first) or first not in known):
            yield f"{first} is not what was published"
        place = event.last if missing else first
    if (place or 0) != end:
        yield f"it was told to {place} of {end}"
