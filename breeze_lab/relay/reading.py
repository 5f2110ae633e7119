"""Reading a day's log: its files one after the other, as rows, within bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, settings
from breeze_lab.errors import FeedError
from breeze_lab.relay import wal
from breeze_lab.relay.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breeze_lab.relay.days import Place
    from breeze_lab.relay.ledger import Entry

__all__ = ["GROUP", "LEDGER", "Reading"]

#: The gap ledger's file, below the folder of ticks.
LEDGER: Final = "gaps.sqlite"
_DAY_MS: Final = 86_400_000
#: More gaps than a day of trouble has.
_MOST_GAPS: Final = 200_000

#: Rows in memory at once, and in a row group.
GROUP: Final = 65_536
_RECORD_BYTES: Final = len(wal.encode(wal.Record(wal.NOTE, 0, 0, 0, b"")))


@dataclass(slots=True)
class Reading:
    """What is read of a day's log files.

    Parameters
    ----------
    place
        The day.

    Attributes
    ----------
    rows
        Filled by `read`.
    sources, warnings
        The files that were read, and what was wrong with them.
    """

    place: Place
    rows: Rows = field(init=False)
    sources: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        from breeze_lab.relay.naming import finder  # noqa: PLC0415 - loads numpy and the master

        place = self.place
        # A practice market has a clock of its own, which may run through several days in an hour.
        day = None if place.market == "practice" else (place.day - date(1970, 1, 1)).days
        self.rows = Rows(day, finder(place.market, place.day))

    def read(self) -> Iterator[Rows]:
        """Yield the rows so far, some tens of thousands at a time.

        Whoever gets them takes ``ticks`` and ``rest`` away by clearing them.
        The last yield may bring none.
        """
        rows = self.rows
        for path in self.place.logs:
            size = path.stat().st_size
            count, good = 0, len(wal.MAGIC)
            try:
                for record in wal.read(path):
                    rows.take(record)
                    count += 1
                    good += _RECORD_BYTES + len(record.data)
                    if len(rows.ticks) >= GROUP or len(rows.rest) >= GROUP:
                        yield rows
            except FeedError as exc:
                good = 0
                self.warnings.append(
                    f"{exc} Nothing of it is in the recording; the file is not removed."
                )
            if 0 < good < size:
                self.warnings.append(
                    f"{path.name} is damaged after its first {count:,} records: the last "
                    f"{size - good:,} of {size:,} bytes are not in the recording; the file is "
                    "not removed."
                )
            self.sources.append(
                {"name": path.name, "bytes": size, "records": count, "good_bytes": min(good, size)}
            )
        yield rows

    def _gaps(self) -> list[dict[str, Any]]:
        """Return what the ledger says of the day's gaps, and of the log what it does not."""
        known = [
            {
                "key": entry.key or entry.room, "from_ms": entry.from_ms, "to_ms": entry.to_ms,
                "cause": f"{entry.cause}; {entry.reason}" if entry.reason else entry.cause,
                "state": entry.state,
            }
            for entry in _noted(self.place)
            if entry.room in self.rows.rooms
        ]  # fmt: skip
        return known + [
            gap for gap in self.rows.gaps.values() if not any(_covers(one, gap) for one in known)
        ]

    def facts(self) -> dict[str, Any]:
        """Return what is to be known of the day; see ``docs/recording.md``."""
        rows = self.rows
        return {
            "version": 1,
            "market": self.place.market,
            "day": self.place.day.isoformat(),
            "ticks": sum(room.ticks for room in rows.rooms.values()),
            "rooms": {
                room: {**heard.facts(), "held": rows.held.spans(room)}
                for room, heard in rows.rooms.items()
            },
            "beside": {"frames": rows.beside[0], "sequence_sum": rows.beside[1]},
            "gaps": sorted(self._gaps(), key=lambda gap: (gap["from_ms"], gap["key"])),
            "streams": list(rows.streams),
            "counts": dict(sorted((+rows.counts).items())),
            "warnings": self.warnings,
            "sources": self.sources,
        }


def _noted(place: Place) -> list[Entry]:
    """Return the ledger's gaps that reach into a day; none where there is no ledger."""
    from breeze_lab.relay.ledger import Ledger  # noqa: PLC0415 - loads sqlite

    path = settings.folders().data / "ticks" / LEDGER
    if not path.exists():
        return []
    begin = datetime.combine(place.day, time(), clock.IST)
    begin_ms = int(begin.timestamp()) * 1000
    ledger = Ledger(path, place.market)
    try:
        found = ledger.entries(begin_ms, _MOST_GAPS)
    finally:
        ledger.shut()
    return [entry for entry in found if entry.from_ms < begin_ms + _DAY_MS]


def _covers(known: dict[str, Any], gap: dict[str, Any]) -> bool:
    """Say whether a gap of the ledger accounts for one that the log shows."""
    if known["key"] != gap["key"] or known["from_ms"] > gap["from_ms"]:
        return False
    end, seen = known["to_ms"], gap["to_ms"]
    return end is None or (seen is not None and seen <= end)
