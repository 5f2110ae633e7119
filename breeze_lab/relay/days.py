"""Where the days lie: log files and recordings by market and IST day.

Owns names and places of files, and the lock that lets one process at a time
make recordings of a market. What is in the files is left to `wal` and
`recorder`.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from breeze_lab import processes, settings
from breeze_lab.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Place", "locked", "markets", "newest_recorded", "places"]

_DATE: Final = "[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
_NUMBER: Final = "[0-9]" * 6
_DATE_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one market and IST day; none of them need exist.

    Parameters
    ----------
    market
        ``"icici"`` or ``"practice"``.
    day
        The day in India on which the ticks came.
    """

    market: str
    day: date

    @property
    def logs(self) -> list[Path]:
        """The log files, in the order in which they were written."""
        return sorted(_logs(self.market).glob(f"{self.day.isoformat()}-{_NUMBER}.log"))

    @property
    def folder(self) -> Path:
        """Where the recordings of the market lie."""
        return _recorded(self.market)

    @property
    def ticks(self) -> Path:
        """The recording: every tick, in the layout of ``docs/replay.md``."""
        return self.folder / f"ticks-{self.day.isoformat()}.parquet"

    @property
    def rest(self) -> Path:
        """What else came (depth, candles, orders, the unreadable), as it came."""
        return self.folder / "rest" / f"rest-{self.day.isoformat()}.parquet"

    @property
    def sidecar(self) -> Path:
        """What is to be known of the recording without opening it, gaps above all."""
        return _sidecar(self.folder, self.day)

    @property
    def compared(self) -> Path:
        """What its bars are against the broker's history: see `breeze_lab.relay.compared`."""
        return self.folder / f"compared-{self.day.isoformat()}.sqlite"

    @property
    def mark(self) -> Path:
        """Exists while the day is kept whatever the retention says."""
        return self.folder / f"keep-{self.day.isoformat()}"

    @property
    def kept(self) -> bool:
        """Whether the day is kept whatever the retention says."""
        return self.mark.exists()


def newest_recorded(folder: Path, day: date) -> int:
    """Return the number of the newest log file that is in a day's recording, or 0.

    The log goes on behind it: once recorded files are removed, their numbers
    would come again otherwise, when a clock is set back into a day that is over,
    and a new file would pass for the old one.

    Parameters
    ----------
    folder
        Of the market's log files.
    """
    try:
        recorded = json.loads(
            _sidecar(folder.parents[1] / "recorded" / folder.name, day).read_bytes()
        )
        return max(int(source["name"][-10:-4]) for source in recorded["sources"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _sidecar(recorded: Path, day: date) -> Path:
    return recorded / f"ticks-{day.isoformat()}.json"


def _ticks() -> Path:
    return settings.folders().data / "ticks"


def _logs(market: str) -> Path:
    return _ticks() / "log" / market


def _recorded(market: str) -> Path:
    return _ticks() / "recorded" / market


def markets() -> list[str]:
    """Return the markets of which there is a log or a recording."""
    found = {
        folder.name
        for kind in ("log", "recorded")
        for folder in (_ticks() / kind).glob("*")
        if folder.is_dir()
    }
    return sorted(found)


def places(market: str | None = None) -> list[Place]:
    """Return the days of a market, or of all, that have a log or a recording, oldest first."""
    found: set[Place] = set()
    for one in markets() if market is None else [market]:
        names = [path.name for path in _logs(one).glob(f"{_DATE}-{_NUMBER}.log")]
        names += [
            path.name.removeprefix("ticks-")
            for path in _recorded(one).glob(f"ticks-{_DATE}.parquet")
        ]
        for name in names:
            with contextlib.suppress(ValueError):  # a file of somebody else, 2026-02-31
                found.add(Place(one, date.fromisoformat(name[:_DATE_LENGTH])))
    return sorted(found, key=lambda place: (place.day, place.market))


@contextlib.contextmanager
def locked(market: str, patience_s: float = 600.0) -> Iterator[None]:
    """Be the only process that makes or removes recordings of a market.

    The system takes the lock from whoever dies.

    Raises
    ------
    RecordingError
        Another process has held it for `patience_s`.
    """
    folder = _recorded(market)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refusal = RecordingError(
        f"Another process has been recording the {market} market for more than {patience_s:.0f} s "
        f"({folder / '.lock'}). Try again later."
    )
    with processes.locked(folder / ".lock", patience_s, refusal):
        yield
