"""The security master of one day, as a person and the other rooms see it."""

from __future__ import annotations

import logging
import os
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING

from breeze_lab import clock
from breeze_lab.errors import MasterError
from breeze_lab.instruments import resolve as rules
from breeze_lab.instruments.book import Book
from breeze_lab.instruments.columns import VERSION, Columns, is_compiled, write
from breeze_lab.instruments.instrument import EXCHANGES, Instrument
from breeze_lab.instruments.search import Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from breeze_lab.instruments.report import Report

__all__ = ["SecurityMaster"]

_log = logging.getLogger(__name__)
#: A master older than this is a past day's, looked at on purpose: its own day is "today".
_PAST_DAYS = 10


class SecurityMaster:
    """Every instrument of one day's security master, and the names that lead to them.

    Made of a compiled file, mapped into memory: opening costs milliseconds, and
    all processes share its pages. Safe to use from several threads.

    Parameters
    ----------
    instruments
        A few instruments of one's own, instead of a file.

    Examples
    --------
    >>> master = SecurityMaster.load("SecurityMaster.zip")  # doctest: +SKIP
    >>> master.resolve("RELIANCE").stock_code  # doctest: +SKIP
    'RELIND'
    """

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        from breeze_lab.instruments.few import few  # noqa: PLC0415 - loads pyarrow

        self._open(Columns.of(few(instruments)))

    def _open(self, columns: Columns) -> None:
        self._book = Book(columns)
        self._search = Search(self._book)
        facts = columns.facts["report"]
        self.digest: str = facts["digest"]
        self.day: date | None = _day(facts["day"])

    def __len__(self) -> int:
        return len(self._book)

    def __iter__(self) -> Iterator[Instrument]:
        """Yield every instrument: the listed, most liquid first, then the contracts."""
        return map(self._book.instrument, range(len(self._book)))

    def __repr__(self) -> str:
        return f"SecurityMaster({len(self):,} instruments of {self.day or 'no known day'})"

    @property
    def report(self) -> Report:
        """What became of every row of the broker's zip."""
        from breeze_lab.instruments.report import Report  # noqa: PLC0415 - seldom asked for

        facts = dict(self._book.columns.facts["report"])
        skipped = [tuple(entry) for entry in facts.pop("skipped")]
        return Report(**{**facts, "day": self.day, "skipped": skipped})

    @classmethod
    def compile(
        cls, source: str | os.PathLike[str], out: str | os.PathLike[str], *, lacking: bool = False
    ) -> Report:
        """Turn the broker's zip at `source` into the compiled file `out`.

        The file is written beside its place and renamed (mode 0600): a
        reader sees the old one or the new one.

        Parameters
        ----------
        lacking
            Take a zip that lacks members, as long as it lists stocks; its warnings name them.

        Returns
        -------
        Report
            Rows, instruments, and each row left out with its line and reason.

        Raises
        ------
        MasterError
            The zip is no master, is cut off or damaged, lacks a member or a
            column, or is larger than any master. `out` is left alone.
        """
        from breeze_lab.instruments.archive import Archive  # noqa: PLC0415 - a warm start needs none
        from breeze_lab.instruments.compiling import compile_archive  # noqa: PLC0415 - loads pyarrow
        from breeze_lab.instruments.layouts import REQUIRED  # noqa: PLC0415 - see above

        required = frozenset[str]() if lacking else REQUIRED
        parts, report = compile_archive(Archive.open(Path(source), required=required))
        write(Path(out), parts)
        return report

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SecurityMaster:
        """Open a master: the broker's zip, or a compiled file.

        A zip is compiled into the cache folder when it is opened first; a
        compiled copy that is damaged or of an older format is made again.

        Raises
        ------
        MasterError
            See `compile`; of a compiled file, when it is damaged.
        """
        return cls._load(Path(path), lacking=False)

    @classmethod
    def _load(cls, path: Path, *, lacking: bool) -> SecurityMaster:
        if is_compiled(path):
            return cls._of(Columns.open(path))
        try:
            cached = _cached(path, "lacking" if lacking else "whole")
        except OSError as exc:
            raise MasterError(
                f"The security master {path.name} cannot be read: {exc.strerror}."
            ) from exc
        if cached.exists():
            try:
                return cls._of(Columns.open(cached))
            except MasterError as exc:
                _log.warning("%s It is made again.", exc)
        report = cls.compile(path, cached, lacking=lacking)
        for warning in report.warnings:
            _log.info("%s", warning)
        _forget_others(cached)
        return cls._of(Columns.open(cached))

    @classmethod
    def from_zip(cls, source: IO[bytes] | str) -> SecurityMaster:
        """Read the broker's zip, of which members may be missing as long as it lists stocks.

        A path is read as `load` does it, an open file into memory.

        Raises
        ------
        MasterError
            See `compile`.
        """
        if isinstance(source, (str, os.PathLike)):
            return cls._load(Path(source), lacking=True)
        from breeze_lab.instruments.archive import Archive  # noqa: PLC0415 - a warm start needs none
        from breeze_lab.instruments.compiling import compile_archive  # noqa: PLC0415 - loads pyarrow

        source.seek(0)  # as zipfile reads it, whatever was read before
        archive = Archive.of(source.read(), "The security master", required=frozenset())
        parts, _ = compile_archive(archive)
        return cls._of(Columns.of(b"".join(parts)))

    @classmethod
    def _of(cls, columns: Columns) -> SecurityMaster:
        master = cls.__new__(cls)
        master._open(columns)  # noqa: SLF001 - one of our own
        return master

    def get(self, key: str) -> Instrument | None:
        """Return the instrument with a key (``"NSE:RELIANCE"``), None when there is none."""
        row = self._book.key(" ".join(key.upper().split()))
        return None if row is None else self._book.instrument(row)

    def resolve(self, name: str | Instrument, today: date | None = None) -> Instrument:
        """Return the one instrument `name` means.

        Parameters
        ----------
        name
            A symbol (``RELIANCE``, ``BSE:TCS``), an index (``BANKNIFTY``), an
            ICICI code (``RELIND``), an ISIN, a token, a company's words
            (``reliance industries``), or a contract: ``NIFTY fut``,
            ``NIFTY next week 24500 CE``, ``BANKNIFTY 2026-11-24 fut``,
            ``NIFTY26AUG24500CE``, ``OPT-NIFTY-25-Aug-2026-24500-CE``.
            ``docs/names.md`` lists the spellings and their precedence.
        today
            The day from which an expiry that is not dated is counted. By
            default the IST date; of a master more than ten days old, its own day.

        Raises
        ------
        InstrumentNotFound
            Nothing has this name; the message lists the nearest.
        AmbiguousInstrument
            Several have it; the message lists them.

        Warns
        -----
        NameClash
            The name is one company's symbol and ICICI's code of another; once a process.
        """
        if isinstance(name, Instrument):
            return name
        return rules.resolve(self._book, self._search, str(name), today or self._today())

    def search(self, text: str, limit: int = 20, today: date | None = None) -> list[Instrument]:
        """Return what `text` leads to as far as it is typed, best first; never raises.

        An exact name comes first, then its near contracts, then what begins so
        (the most liquid first), then what has such words in its name, and what is
        spelled nearly so when that is little.
        """
        head, colon, rest = str(text).partition(":")
        exchanges = (
            rules.EXCHANGE_NAMES.get(head.strip().upper(), EXCHANGES) if colon else EXCHANGES
        )
        found = self._search.search(str(text), limit, EXCHANGES, today or self._today())
        if colon and exchanges is not EXCHANGES:
            more = self._search.search(rest, limit, exchanges, today or self._today())
            found = list(dict.fromkeys([*found[:1], *more]))[:limit] if self.get(text) else more
        return found

    def nearest(self, name: str, limit: int = 5) -> list[Instrument]:
        """Return the instruments whose symbol, code or company name is nearest to `name`."""
        bare = name.rpartition(":")[2]
        return self._search.nearest(bare, limit, EXCHANGES, self._today())

    def _today(self) -> date:
        today = clock.market_now().date()
        if self.day is not None and (today - self.day).days > _PAST_DAYS:
            return self.day
        return today


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _cached(path: Path, kind: str) -> Path:
    """Return where the compiled copy of a zip lies: the name changes when the zip does."""
    import hashlib  # noqa: PLC0415 - a reader of a compiled file would pay a megabyte for these

    from breeze_lab import settings  # noqa: PLC0415 - see above

    info = path.stat()
    real = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    stamp = f"{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}"
    folder = settings.folders().cache / "instruments"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{real}-{kind}-{stamp}-v{VERSION}.columns"


def _forget_others(cached: Path) -> None:
    """Delete the compiled copies of what the zip was before."""
    for old in cached.parent.glob(f"{'-'.join(cached.name.split('-')[:2])}-*.columns"):
        if old != cached:
            old.unlink(missing_ok=True)
