"""The shelf: the stored bars of one instrument and interval, file by file.

Owns names, locks and what is believed. A file holds a day, month or year of
bars and the ranges that were asked, the empty ones too, in its footer, so one
rename brings both or neither. Its name ends in the checksum of its bytes:
whoever reads compares them, and what differs is put aside and told.

Two locks lie beside the files. Who fetches holds one, so that a range is
fetched by one process; who writes holds the other, for a moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab import clock, processes, settings
from breeze_lab.bars import Interval
from breeze_lab.errors import HistoryError, HistoryWarning
from breeze_lab.historical import stored
from breeze_lab.historical.blocks import EMPTY, Block, merged
from breeze_lab.historical.spans import Span, clip, without
from breeze_lab.historical.stored import Damaged, Known, Part
from breeze_lab.relay import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from breeze_lab.instruments import Instrument

__all__ = ["Look", "Shelf", "forget", "identity", "newest", "parse_name", "put_aside", "root"]

#: A file holds a day of seconds, a month of minutes, a year of longer bars: little is rewritten.
_DAY, _MONTH, _YEAR = 10, 7, 4
_LABEL: Final = {
    Interval.S1: _DAY, Interval.M1: _MONTH, Interval.M5: _MONTH, Interval.M30: _YEAR,
    Interval.D1: _YEAR,
}  # fmt: skip
#: ``2026-06.3.0123…cdef.parquet``: the label, which writing it was, the checksum.
_NAME: Final = re.compile(r"(\d{4}(?:-\d\d){0,2})\.(\d+)\.([0-9a-f]{32})\.parquet")
_IST_OFFSET: Final = 19_800
_DAY_S: Final = 86_400
#: A trading day without a bar is asked again: soon while it is young, and now and then for ever.
_YOUNG_S: Final = 7 * _DAY_S
_BELIEVED_YOUNG_S: Final = 6 * 3600
_BELIEVED_S: Final = 30 * _DAY_S
#: Ranges asked within an hour of each other are remembered as one.
_TOGETHER_S: Final = 3600
#: A call may wait a minute for the meter and half a minute for its answer.
_FETCH_PATIENCE_S: Final = 100.0
_WRITE_PATIENCE_S: Final = 20.0
_GLANCES: Final = 20


@dataclass(frozen=True, slots=True)
class Look:
    """What a shelf has of a range.

    Parameters
    ----------
    block
        The stored bars.
    missing
        What has to be asked, ascending.
    fetched
        When the oldest of it was fetched, Unix seconds; None when nothing is known.
    """

    block: Block
    missing: list[Span]
    fetched: int | None


def root() -> Path:
    """Return the folder that holds the stores of all markets."""
    return settings.folders().data / "history"


def identity(instrument: Instrument) -> str:
    """Return what stays the same of an instrument whatever it is called.

    Of a contract that is its terms. Of a share it is the ISIN and the
    exchange's number: ICICI's code and the symbol may change or go to another
    company. A split brings another ISIN, and its history begins anew.
    """
    if instrument.expiry is not None:
        return instrument.key
    return f"{instrument.exchange}:{instrument.isin or instrument.symbol}:{instrument.token}"


def parse_name(name: str) -> tuple[str, int, str] | None:
    """Return label, number and checksum that a file's name tells; None of another file."""
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2]), found[3]) if found else None


def newest(folder: Path) -> dict[str, list[Path]]:
    """Return the files of a shelf by label, the newest writing of each first."""
    found: dict[str, list[tuple[int, Path]]] = {}
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            parsed = parse_name(path.name)
            if parsed is not None:
                found.setdefault(parsed[0], []).append((parsed[1], path))
    return {
        label: [path for _, path in sorted(some, key=lambda one: one[0], reverse=True)]
        for label, some in sorted(found.items())
    }


def put_aside(path: Path, reason: str) -> None:
    """Move a damaged file out of the way and say so."""
    aside = path.parent / "damaged"
    with contextlib.suppress(FileNotFoundError):  # somebody else was faster
        try:
            aside.mkdir(mode=0o700, exist_ok=True)
            path.replace(aside / path.name)
        except FileNotFoundError:
            raise
        except OSError as exc:
            reason += f"; it cannot be moved ({exc.strerror})"
    warnings.warn(
        f"The stored bars in {path.parent.parent.name}/{path.parent.name}/{path.name} are damaged "
        f"({reason}). The file was put aside in {aside}; its bars are fetched again when they are "
        "asked for.",
        HistoryWarning,
        stacklevel=2,
    )


class Shelf:
    """The stored bars of one instrument and native interval.

    Parameters
    ----------
    folder
        Of the market's store.
    instrument, native
        Whose bars; a native interval.
    wall
        Tells Unix seconds; replaced by tests.
    """

    def __init__(
        self,
        folder: Path,
        instrument: Instrument,
        native: Interval,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Touch nothing yet."""
        self._wall = wall
        self.instrument, self.native = instrument, native
        self.identity = identity(instrument)
        plain = re.sub("[^A-Za-z0-9.]+", "-", self.identity)[:60].strip("-.")
        digest = hashlib.sha256(self.identity.encode()).hexdigest()[:8]
        self.folder = folder / f"{plain}-{digest}" / native.label
        self._market = folder.name
        self._bad: set[Path] = set()

    # -- reading ------------------------------------------------------------

    def look(self, span: Span) -> Look:
        """Return what is stored of a span, and what is missing.

        Raises
        ------
        HistoryError
            A file was written by a newer Breeze Lab.
        """
        files = newest(self.folder)
        parts = [self._load(label, files.get(label)) for label, _ in self._periods(span)]
        known = [one for part in parts for one in part.known]
        known = [one for one in known if one.start < span[1] and one.end > span[0]]
        block = merged(part.block for part in parts)
        trusted = without((one.span for one in known), self._doubted(block, known))
        return Look(
            block.within(span),
            without([span], trusted),
            min((one.fetched for one in known), default=None),
        )

    def _doubted(self, block: Block, known: list[Known]) -> list[Span]:
        """Return trading days that were answered without a bar too long ago to be believed."""
        now = int(self._wall())
        traded = set(np.unique((block.start + _IST_OFFSET) // _DAY_S).tolist())
        found: list[Span] = []
        for one in known:
            first, last = (_number(one.start), _number(one.end - 1))
            for number in range(first, last + 1):
                if number in traded:
                    continue
                midnight = number * _DAY_S - _IST_OFFSET
                young = one.fetched - midnight - _DAY_S < _YOUNG_S
                if now - one.fetched <= (_BELIEVED_YOUNG_S if young else _BELIEVED_S):
                    continue
                day = clock.from_epoch(midnight).date()
                if clock.is_trading_day(day, self.instrument.segment):
                    found.append(clip(one.span, (midnight, midnight + _DAY_S)))
        return found

    def _load(self, label: str, listed: list[Path] | None) -> Part:
        """Return the newest good file of a label; an empty part when there is none.

        Parameters
        ----------
        listed
            The files of the label as a look at the folder found them.
        """
        for glance in range(_GLANCES):
            if glance:
                listed = self._paths(label)
            paths = [path for path in listed or () if path not in self._bad]
            if not paths:
                break
            try:
                return stored.read(paths[0], self.identity)
            except FileNotFoundError:
                continue  # it was written anew between the two looks
            except Damaged as exc:
                self._bad.add(paths[0])
                put_aside(paths[0], str(exc))
        return Part(EMPTY, ())

    def _paths(self, label: str) -> list[Path]:
        return newest(self.folder).get(label, [])

    def _periods(self, span: Span) -> Iterator[tuple[str, Span]]:
        """Yield label and span of the files that a span touches."""
        at = clock.from_epoch(span[0]).replace(hour=0, minute=0, second=0, microsecond=0)
        size = _LABEL[self.native]
        if size != _DAY:
            at = at.replace(day=1)
        if size == _YEAR:
            at = at.replace(month=1)
        while at.timestamp() < span[1]:
            if size == _DAY:
                then = at + timedelta(days=1)
            elif size == _MONTH:
                then = (at + timedelta(days=32)).replace(day=1)
            else:
                then = at.replace(year=at.year + 1)
            yield f"{at:%Y-%m-%d}"[:size], (int(at.timestamp()), int(then.timestamp()))
            at = then

    # -- writing ------------------------------------------------------------

    @contextlib.contextmanager
    def fetching(self) -> Iterator[None]:
        """Be the only one that fetches for this shelf while the block runs.

        One who has waited longer than any call takes goes on all the same: an
        answer that comes twice is better than none.
        """
        with contextlib.ExitStack() as stack:
            # A folder that cannot be made is `keep`'s to complain of.
            with contextlib.suppress(OSError):
                self._make()
                lock = processes.locked(self.folder / ".fetch", _FETCH_PATIENCE_S, TimeoutError())
                stack.enter_context(lock)
            yield

    def keep(self, span: Span, block: Block) -> None:
        """Store the bars of a span, all that there are; on disk when it returns.

        Raises
        ------
        HistoryError
            They cannot be written; what was stored before is as it was.
        """
        refusal = HistoryError(
            f"Another process has been writing {self.folder} for more than "
            f"{_WRITE_PATIENCE_S:.0f} s."
        )
        try:
            self._make()
            full = disk.look(self.folder)
            if full:
                raise HistoryError(f"The fetched bars cannot be kept. {full}")
            with processes.locked(self.folder / ".write", _WRITE_PATIENCE_S, refusal):
                for stray in self.folder.glob(".*.tmp"):  # of somebody who died while writing
                    stray.unlink(missing_ok=True)
                for label, period in self._periods(span):
                    self._put(label, clip(span, period), block)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def _put(self, label: str, span: Span, block: Block) -> None:
        olds = self._paths(label)
        before = self._load(label, olds)
        known = [
            Known(start, end, one.fetched)
            for one in before.known
            for start, end in without([one.span], [span])
        ]
        known = _together([*known, Known(*span, int(self._wall()))])
        bars = merged([before.block.outside(span), block.within(span)])
        number = 1 + max((parse_name(path.name) or ("", 0, ""))[1] for path in olds) if olds else 1
        facts = {
            "identity": self.identity, "key": self.instrument.key, "market": self._market,
            "interval": self.native.label,
        }  # fmt: skip
        stored.write(self.folder, f"{label}.{number}", Part(bars, tuple(known)), facts)
        for path in olds:
            path.unlink(missing_ok=True)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _unwritable(self, exc: OSError) -> HistoryError:
        why = exc.strerror or type(exc).__name__
        return HistoryError(
            f"The fetched bars cannot be kept in {self.folder}: {why}. What was stored before is "
            "as it was. Make room, or see who may write there; BREEZE_LAB_HISTORY=off keeps "
            "nothing."
        )


def forget(folder: Path) -> int:
    """Remove the files of a shelf; return how many bytes that frees."""
    freed = 0
    refusal = HistoryError(f"Another process is writing {folder}. Try again.")
    with processes.locked(folder / ".write", _WRITE_PATIENCE_S, refusal):
        for path in [*folder.glob("*.parquet"), *folder.glob("damaged/*.parquet")]:
            with contextlib.suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
    return freed


def _number(epoch: int) -> int:
    """Return the number of the IST day that holds a Unix second."""
    return (epoch + _IST_OFFSET) // _DAY_S


def _together(known: list[Known]) -> list[Known]:
    """Return ranges that touch and were asked within an hour as one, with the older age."""
    found: list[Known] = []
    for one in sorted(known, key=lambda one: one.start):
        if found:
            last = found[-1]
            if last.end == one.start and abs(last.fetched - one.fetched) <= _TOGETHER_S:
                found[-1] = Known(last.start, one.end, min(last.fetched, one.fetched))
                continue
        found.append(one)
    return found
