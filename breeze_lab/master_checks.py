"""What is believed of a security master that was just downloaded.

Owns the checks between a download and the name of a day: it is a zip of the
broker's, its members can be read to the last row, and it lost no more since
the last good one than a market can lose. Pure judgement: where masters are kept
is `breeze_lab.masters`'.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final

from breeze_lab import clock
from breeze_lab.errors import MasterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Kept", "compare", "contents_of", "examine", "glance", "market_day"]

#: Stocks do not leave by the thousand: of these a fall by a fifth is a broken file.
_CASH: Final = ("NSEScripMaster.txt", "BSEScripMaster.txt")
#: Contracts do. After a monthly expiry a third of them is gone, so half must be missing before
#: a file is refused; from a fifth on it is said. Rules once took currency from 1,818 to 8.
_CONTRACTS: Final = (
    "FONSEScripMaster.txt", "FOBSEScripMaster.txt", "CDNSEScripMaster.txt", "MCXScripMaster.txt",
)  # fmt: skip
_SAID: Final = 0.2
_REFUSED: Final = {**dict.fromkeys(_CASH, 0.2), **dict.fromkeys(_CONTRACTS, 0.5)}
_WORDS: Final = {
    "NSEScripMaster.txt": "names of NSE", "BSEScripMaster.txt": "names of BSE",
    "FONSEScripMaster.txt": "futures and options of NSE",
    "FOBSEScripMaster.txt": "futures and options of BSE",
    "CDNSEScripMaster.txt": "currency contracts", "MCXScripMaster.txt": "commodity contracts",
}  # fmt: skip
_OLDEST_YEAR: Final = 2000
_ZIP_MAGIC: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known of one kept master.

    Parameters
    ----------
    rows
        Rows by member, as `breeze_lab.instruments.Report` counts them.
    contents
        Digest of what the members hold; names the compiled file.
    fetched
        When it became the good one, aware IST, ISO text.
    says
        What of it is worth knowing: a lacking member, a fall in rows.
    """

    rows: dict[str, int]
    contents: str
    fetched: str
    says: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Rows of all members."""
        return sum(self.rows.values())


def examine(path: Path, source: str, compiled: Callable[[str], Path]) -> tuple[date, Kept]:
    """Read all of a zip and compile it; return its market day and what it holds.

    Parameters
    ----------
    source
        Where it comes from, for messages.
    compiled
        Where the compiled file of such contents goes.

    Raises
    ------
    MasterError
        With what is wrong.
    """
    from breeze_lab.instruments import SecurityMaster  # noqa: PLC0415 - on first use

    with path.open("rb") as file:
        head = file.read(512)
    where = source.partition("?")[0]
    if head[:4] != _ZIP_MAGIC:
        what = "a web page" if head.lstrip()[:1] == b"<" else "something that is no zip"
        raise MasterError(f"{where} answered {what}, so it is no security master.")
    fetched = clock.now()
    try:
        contents, day = contents_of(path), market_day(path) or fetched.date()
        report = SecurityMaster.compile(path, compiled(contents))
    except zipfile.BadZipFile as exc:
        raise MasterError(
            f"{where} answered a damaged zip ({exc}), so it is no security master."
        ) from exc
    except MasterError as exc:
        raise MasterError(f"{where} answered no security master: {exc}") from exc
    rows = {name: count for name, count in report.rows.items() if count}
    return day, Kept(rows=rows, contents=contents, fetched=fetched.isoformat(timespec="seconds"))


def glance(content: bytes) -> str:
    """Return what is wrong with a downloaded master at first sight; empty when nothing is."""
    if content[:4] != _ZIP_MAGIC:
        return "a web page came" if content.lstrip()[:1] == b"<" else "no zip came"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        return "a damaged zip came"
    lacking = [name for name in _CASH if name not in names]
    return f"it lacks {' and '.join(lacking)}" if lacking else ""


def contents_of(path: Path) -> str:
    """Return a digest of what the members hold: a zip packed anew has the same.

    Raises
    ------
    BadZipFile
    """
    with zipfile.ZipFile(path) as archive:
        parts = sorted((one.filename, one.CRC, one.file_size) for one in archive.infolist())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def market_day(path: Path) -> date | None:
    """Return the day on which the newest member was made, in IST as the broker writes it.

    The broker makes them between seven and eight in the morning of the day they are for. The day
    of the download would name Friday's master after the Sunday on which somebody logged in.
    """
    with zipfile.ZipFile(path) as archive:
        made = [one.date_time[:3] for one in archive.infolist() if one.date_time[0] > _OLDEST_YEAR]
    with contextlib.suppress(ValueError):
        return date(*max(made)) if made else None
    return None


def compare(
    found: Kept, before: Kept | None, doubted: Mapping[str, int] | None = None
) -> tuple[list[str], str]:
    """Return what is to be said of a new master, and why it is refused, empty when it is not.

    Parameters
    ----------
    before
        The last good one; without one nothing is refused.
    doubted
        Rows of one that was refused on an earlier day. A fall that a later day's file repeats
        was none: rules change, and nobody shall be left behind for good.
    """
    says = [
        f"it lacks {name}: {_WORDS[name]} will not be found until the broker mends it."
        for name in _REFUSED
        if not found.rows.get(name)
    ]
    if before is None:
        return says, ""
    falls = {
        name: 1 - found.rows.get(name, 0) / rows
        for name, rows in before.rows.items()
        if rows and name in _REFUSED
    }
    refused = [name for name, fall in falls.items() if fall > _REFUSED[name]]
    if refused and not _repeats(found, doubted, refused):
        return says, " and ".join(
            f"has only {found.rows[name]:,} rows in {name} instead of {before.rows[name]:,}"
            if found.rows.get(name)
            else f"lacks {name}"
            for name in refused
        )
    says += [
        f"{name} has {found.rows[name]:,} rows, {fall:.0%} fewer than the one before."
        for name, fall in falls.items()
        if fall > _SAID and found.rows.get(name)
    ]
    return says, ""


def _repeats(found: Kept, doubted: Mapping[str, int] | None, members: list[str]) -> bool:
    return doubted is not None and all(
        abs(found.rows.get(name, 0) - doubted.get(name, 0)) <= _SAID * max(doubted.get(name, 0), 1)
        for name in members
    )
