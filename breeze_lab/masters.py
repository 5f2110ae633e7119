"""Masters: today's security master, and those of the days before.

Owns where a broker's masters are kept, when a download becomes the good one,
and which one is used when today's cannot be had. What stands in a master is
`breeze_lab.instruments`'; how bytes get here, `breeze_lab.downloads`'.

A broker's masters live in ``<data>/masters/<name>``: one zip a market day, and
``index.json``, which says what each holds and which one is in use. A zip gets
its name only after every check, by one rename, so whoever dies in between
leaves the good one where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import warnings
import zipfile
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, downloads, master_checks, processes, settings
from breeze_lab.errors import BreezeLabError, MasterError, SettingsError
from breeze_lab.master_checks import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from breeze_lab.instruments import Report, SecurityMaster
    from breeze_lab.settings import Endpoints

__all__ = [
    "Kept",
    "check",
    "days",
    "describe",
    "fetch",
    "kept",
    "load",
    "newest",
    "open_zip",
    "tags",
]

#: How many days are kept when set; all of them otherwise, 3 MB a day.
KEEP_VARIABLE: Final = "BREEZE_LAB_MASTER_DAYS"
#: Who waits for another process's download waits no longer than it may take.
_PATIENCE_S: Final = 240.0


@dataclass(slots=True)
class _Index:
    """``index.json``: what the last look found. `serial` counts looks, so that waiters see one."""

    serial: int = 0
    url: str = ""
    etag: str = ""
    modified: str = ""
    current: str = ""
    error: str = ""
    checked: str = ""
    refused: dict[str, Any] = field(default_factory=dict)
    days: dict[str, dict[str, Any]] = field(default_factory=dict)


# -- getting ------------------------------------------------------------------


def fetch(
    endpoints: Endpoints, *, accept: bool = False, limits: downloads.Limits | None = None
) -> Path:
    """Return the path of the newest good security master, downloading it when it changed.

    Several processes download once: the others wait and use the result.

    Parameters
    ----------
    accept
        Take a master although it lost more rows than is believed.
    limits
        Of the download.

    Returns
    -------
    Path
        The zip of its day. When today's cannot be had or is broken, the last
        good one, with a `UserWarning` that says why and how old it is.

    Raises
    ------
    MasterError
        There is none at all, and why.
    """
    folder = _folder(endpoints)
    seen = _read_index(folder).serial
    with _locked(folder):
        index = _read_index(folder)
        news = index.serial != seen and index.url == endpoints.master_url and not accept
        if not news:
            _sweep(folder)
            # What another practice market listed says nothing about this one.
            other = endpoints.name == "practice" and index.url not in ("", endpoints.master_url)
            if index.url != endpoints.master_url:  # tags of one server mean nothing to another
                index.url, index.etag, index.modified = endpoints.master_url, "", ""
            index.error = ""
            try:
                _renew(folder, endpoints, index, limits, accept=accept or other)
            except BreezeLabError as exc:
                index.error = str(exc)
            index.serial += 1
            index.checked = clock.now().isoformat(timespec="seconds")
            _write_index(folder, index)
            _forget_old_days(folder, index)
    path = _current(folder, index)
    if path is None:
        raise MasterError(
            f"There is no security master: {index.error} Check the network with "
            "`breeze-lab doctor`, then log in again."
        )
    day = _day_in(path)
    if index.error:
        _say(
            f"Today's security master could not be had ({index.error.rstrip('.')}); using the one "
            f"of {day:%d-%m-%Y}, {_age(day)}."
        )
    for text in _record(index, day).get("says", []):
        _say(f"The security master of {day:%d-%m-%Y}: {text}")
    return path


def _renew(
    folder: Path, endpoints: Endpoints, index: _Index, limits: downloads.Limits | None, *,
    accept: bool,
) -> None:  # fmt: skip
    """Ask the broker for a newer one; when it is good, it becomes the one in use."""
    part = folder / "download.part"
    good = _current(folder, index)
    known = None
    if good is not None and (index.etag or index.modified):
        known = downloads.Tags(endpoints.master_url, index.etag, index.modified)
    went_on = part.exists()
    tags = downloads.download(endpoints.master_url, part, known, limits)
    if tags is None:
        return
    try:
        try:
            day, found = master_checks.examine(part, endpoints.master_url, _compiled)
        except MasterError:
            if not went_on:
                raise
            # Its two halves may be of two files: a server's tag is only its word.
            downloads.discard(part)
            tags = downloads.download(endpoints.master_url, part, None, limits)
            assert tags is not None
            day, found = master_checks.examine(part, endpoints.master_url, _compiled)
        before = _known(index, good) if good is not None else None
        doubted = index.refused.get("rows") if index.refused.get("day", "9") < str(day) else None
        says, refusal = master_checks.compare(found, None if accept else before, doubted)
        if refusal:
            if index.refused.get("day") != str(day):
                index.refused = {"day": str(day), "rows": found.rows}
            raise MasterError(
                f"the one of {day:%d-%m-%Y} {refusal}; to use it all the same, run "
                "`breeze-lab master fetch --accept`"
            )
        _keep(folder, part, day, found)
    finally:  # whatever it was, it is nothing to go on from
        downloads.discard(part)
    index.etag, index.modified, index.refused = tags.etag, tags.modified, {}
    index.current = day.isoformat()
    index.days[index.current] = dataclasses.asdict(dataclasses.replace(found, says=says))


# -- keeping ------------------------------------------------------------------


def days(endpoints: Endpoints) -> list[date]:
    """Return the market days whose masters are kept, oldest first."""
    return [_day_in(path) for path in _zips(_folder(endpoints))]


def newest(endpoints: Endpoints) -> Path | None:
    """Return the master in use without asking the broker, or None."""
    folder = _folder(endpoints)
    return _current(folder, _read_index(folder))


def load(endpoints: Endpoints, day: date | None = None) -> SecurityMaster:
    """Return a master, compiled and shared with other processes through the page cache.

    Parameters
    ----------
    day
        The market day whose names are meant; its contracts are found although
        they are expired by now. A day without trading has the names of the
        trading day before. None means the one in use, fetched when there is none.

    Raises
    ------
    MasterError
        That day's is not kept; the message names those that are.
    """
    if day is None:
        return open_zip(newest(endpoints) or fetch(endpoints))
    return open_zip(kept(endpoints, day))


def kept(endpoints: Endpoints, day: date) -> Path:
    """Return the zip of `day`; see `load`."""
    folder = _folder(endpoints)
    wanted = day
    while not (path := folder / f"{wanted.isoformat()}.zip").exists():
        if clock.is_trading_day(wanted) or (day - wanted).days > 10:  # noqa: PLR2004 - no holiday is as long
            there = days(endpoints)
            near = sorted(there, key=lambda one: abs(one - day))[:3]
            named = ", ".join(f"{one:%d-%m-%Y}" for one in sorted(near)) or "none"
            raise MasterError(
                f"The security master of {day:%d-%m-%Y} is not kept: {len(there)} days are, the "
                f"nearest {named}. They are kept from the day of the first login on; a zip you "
                "have can be read with breeze_lab.instruments.SecurityMaster.load(path)."
            )
        wanted -= timedelta(days=1)
    return path


def open_zip(path: Path) -> SecurityMaster:
    """Return the master of a zip, compiling it where that was not done before."""
    from breeze_lab.instruments import SecurityMaster  # noqa: PLC0415 - on first use

    compiled = _compiled(master_checks.contents_of(path))
    if compiled.exists():
        with contextlib.suppress(MasterError):  # of another version of ours, or damaged
            return SecurityMaster.load(compiled)
    SecurityMaster.compile(path, compiled, lacking=True)
    return SecurityMaster.load(compiled)


def check(path: Path) -> Report:
    """Return what a master's zip holds and what of it cannot be used; nothing is kept.

    Raises
    ------
    MasterError
        It is none; the message says what is wrong.
    """
    from breeze_lab.instruments import SecurityMaster  # noqa: PLC0415 - on first use

    scratch = _compiled(f"check-{os.getpid()}")
    try:
        return SecurityMaster.compile(path, scratch)
    finally:
        scratch.unlink(missing_ok=True)


def tags(endpoints: Endpoints) -> downloads.Tags | None:
    """Return what the server said of the master in use, or None when there is none of it."""
    index = _read_index(_folder(endpoints))
    if newest(endpoints) is None or index.url != endpoints.master_url:
        return None
    return downloads.Tags(index.url, index.etag, index.modified)


def notes(endpoints: Endpoints) -> list[str]:
    """Return the oddities that the master in use was read with."""
    folder = _folder(endpoints)
    index = _read_index(folder)
    path = _current(folder, index)
    known = _known(index, path) if path is not None else None
    return [*known.says, *known.notes] if known is not None else []


def describe(endpoints: Endpoints) -> str:
    """Return one line: which master is in use, how old it is, and what went wrong since."""
    folder = _folder(endpoints)
    index = _read_index(folder)
    path = _current(folder, index)
    if path is None:
        return f"none yet{f': {index.error}' if index.error else '; the login fetches it'}"
    day = _day_in(path)
    known = _known(index, path)
    rows = f", {known.count:,} rows" if known else ""
    trouble = f"; today's could not be had: {index.error}" if index.error else ""
    return f"{day:%d-%m-%Y}, {_age(day)}{rows}{trouble}"


def _keep(folder: Path, part: Path, day: date, found: Kept) -> None:
    """Give the checked zip its name in one step."""
    target = folder / f"{day.isoformat()}.zip"
    for other in reversed(_zips(folder)):
        with contextlib.suppress(OSError, zipfile.BadZipFile):  # a file system without links
            if other != target and master_checks.contents_of(other) == found.contents:
                link = folder / f".{target.name}.link"
                link.unlink(missing_ok=True)
                os.link(other, link)  # stored once
                link.replace(target)
                downloads.sync_folder(folder)
                return
        break  # only the day before can be the same
    part.replace(target)
    downloads.sync_folder(folder)


def _forget_old_days(folder: Path, index: _Index) -> None:
    wanted = os.environ.get(KEEP_VARIABLE, "")
    if not wanted:
        return
    if not wanted.isdigit() or int(wanted) < 1:
        raise SettingsError(f"{KEEP_VARIABLE} is a number of days, at least 1; not {wanted!r}.")
    for path in _zips(folder)[: -int(wanted)]:
        if path.stem != index.current:
            path.unlink(missing_ok=True)
            gone = index.days.pop(path.stem, None)
            if gone and all(one["contents"] != gone["contents"] for one in index.days.values()):
                _compiled(gone["contents"]).unlink(missing_ok=True)
    _write_index(folder, index)


# -- the folder -----------------------------------------------------------------


def _folder(endpoints: Endpoints) -> Path:
    # A replay lists old contracts too: its masters are not those of the practice market.
    name = "replay" if endpoints.replay else endpoints.name
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(f"{name!r} cannot name a folder. Name the endpoints with letters.")
    folder = settings.folders().data / "masters"
    for one in (folder, folder / name):  # `parents=True` would not make the first one private
        one.mkdir(mode=0o700, exist_ok=True)
    return folder / name


def _compiled(contents: str) -> Path:
    folder = settings.folders().cache / "masters"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{contents}.master"


def _zips(folder: Path) -> list[Path]:
    return sorted(folder.glob("[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9].zip"))


def _day_in(path: Path) -> date:
    return date.fromisoformat(path.stem)


def _current(folder: Path, index: _Index) -> Path | None:
    """Return the zip in use: the last good one, or the newest there is when that was removed."""
    path = folder / f"{index.current}.zip"
    if index.current and path.exists():
        return path
    there = _zips(folder)
    return there[-1] if there else None


def _record(index: _Index, day: date) -> dict[str, Any]:
    return index.days.get(day.isoformat(), {})


def _known(index: _Index, path: Path) -> Kept | None:
    """Return what `path` holds, reading it again when the index was lost; None when it rotted."""
    with contextlib.suppress(TypeError):
        return Kept(**_record(index, _day_in(path)))
    with contextlib.suppress(MasterError):
        return master_checks.examine(path, path.name, _compiled)[1]
    return None


def _read_index(folder: Path) -> _Index:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return _Index(**json.loads((folder / "index.json").read_text()))
    return _Index()  # it can be made again: the zips are what counts


def _write_index(folder: Path, index: _Index) -> None:
    downloads.write_whole(
        folder / "index.json", json.dumps(dataclasses.asdict(index), indent=1).encode()
    )


def _sweep(folder: Path) -> None:
    """Remove what a killed process left; we hold the lock, so nobody writes it now."""
    for path in folder.glob(".*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system takes it from whoever dies."""
    refusal = MasterError(
        f"Another process has been downloading the security master for more than "
        f"{_PATIENCE_S:.0f} s ({folder / 'lock'}). Try again."
    )
    with processes.locked(folder / "lock", _PATIENCE_S, refusal):
        yield


def _age(day: date) -> str:
    age = (clock.now().date() - day).days
    if age == 0:
        return "today's"
    return f"{abs(age)} day{'s' * (abs(age) != 1)} {'old' if age > 0 else 'ahead'}"


def _say(text: str) -> None:
    warnings.warn(text, stacklevel=5)
