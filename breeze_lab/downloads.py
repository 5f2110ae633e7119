"""Downloads: bring one file here whole, in bounded time, or say why not.

Owns the HTTP of it: time limits, the question whether the file changed, going
on where an earlier try was cut, and the size limit while reading. Whether the
bytes are worth anything is asked by who ordered them (`breeze_lab.masters`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from breeze_lab.errors import BadResponse, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

__all__ = ["Limits", "Tags", "discard", "download", "is_loopback", "sync_folder", "write_whole"]

_PIECE: Final = 64 * 1024
_OK: Final = 200
_PARTIAL: Final = 206
_NOT_MODIFIED: Final = 304
_RANGE_WRONG: Final = 416


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much.

    Parameters
    ----------
    connect_s, read_s
        Longest wait for a connection, and for the next bytes of an answer.
    total_s
        Longest download, all tries together: at 20 kB/s three megabytes take 150 s.
    max_bytes
        A larger file is refused, before it is read where its length is announced.
    tries
        How often a download that made progress and was cut is taken up again.
    """

    connect_s: float = 5.0
    read_s: float = 20.0
    total_s: float = 180.0
    max_bytes: int = 100 * 1024 * 1024
    tries: int = 4


@dataclass(frozen=True, slots=True)
class Tags:
    """What a server said of a file, by which it can be asked whether it changed."""

    url: str
    etag: str = ""
    modified: str = ""

    @property
    def validator(self) -> str:
        """What an ``If-Range`` may carry: a strong tag or a date; empty when there is none."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class _CutError(Exception):
    """The transfer ended early; trying again may go on from there."""


def download(
    url: str, part: Path, known: Tags | None = None, limits: Limits | None = None
) -> Tags | None:
    """Bring the file at `url` to `part`, whole and synced to disk.

    What an earlier try left in `part` is kept and continued when the server
    still has the very same file and knows ranges; otherwise it starts anew.
    One caller at a time: hold a lock.

    Parameters
    ----------
    known
        Tags of the file we have; the server is asked whether it changed.

    Returns
    -------
    Tags or None
        Those of the file in `part`; None when it did not change, and then
        there is no `part`.

    Raises
    ------
    RequestError
        It could not be had. What came is kept for the next time.
    BadResponse
        It is too large, or redirected to an address that is not encrypted.
    """
    import requests  # noqa: PLC0415 - a fifth of a second that only a download needs

    limits = limits or Limits()
    deadline = time.monotonic() + limits.total_s
    with requests.Session() as http:
        http.trust_env = not is_loopback(url)  # a proxy is never asked for this very machine
        for tries_left in reversed(range(limits.tries)):
            before = _size(part)
            try:
                return _attempt(http, url, part, known, limits=limits, deadline=deadline)
            except (requests.RequestException, _CutError, OSError) as exc:
                reason = str(exc) if isinstance(exc, _CutError) else _reason(exc)
                moved = _size(part) != before
                if not (moved and tries_left) or time.monotonic() > deadline - 1:
                    raise RequestError(f"{_where(url)} {reason}") from exc
    raise AssertionError("every try returns or raises")


def is_loopback(url: str) -> bool:
    """Say whether `url` leads to this machine."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _attempt(
    http: requests.Session, url: str, part: Path, known: Tags | None, *, limits: Limits,
    deadline: float,
) -> Tags | None:  # fmt: skip
    have, was = _partial(part, url)
    # Bytes on the wire must be bytes of the file, or neither lengths nor ranges mean anything.
    headers = {"Accept-Encoding": "identity"}
    if known and known.etag:
        headers["If-None-Match"] = known.etag
    elif known and known.modified:
        headers["If-Modified-Since"] = known.modified
    if was is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": was.validator}
    left = max(deadline - time.monotonic(), 0.1)
    waits = (min(limits.connect_s, left), min(limits.read_s, left))
    with http.get(url, headers=headers, stream=True, timeout=waits) as answer:
        if url.startswith("https:") and not answer.url.startswith("https:"):
            raise BadResponse(f"{_where(url)} leads to an address that is not encrypted.")
        if answer.status_code == _NOT_MODIFIED and known is not None:
            discard(part)
            return None
        fresh = Tags(url, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))
        if answer.status_code == _RANGE_WRONG or (
            answer.status_code == _PARTIAL and not _continues(answer, have, was, fresh)
        ):
            discard(part)
            raise _CutError("changed between two parts of the download.")
        if answer.status_code not in (_OK, _PARTIAL):
            raise RequestError(f"{_where(url)} answered HTTP {answer.status_code}.")
        if answer.status_code == _OK:
            have = 0  # the server ignores ranges, or has another file by now
            _begin(part, fresh)
        _receive(answer, part, have, limits, deadline)
    # A 206 repeats the tag; where it carries no date, the first answer's counts.
    return fresh if answer.status_code == _OK or was is None else was


def _receive(
    answer: requests.Response, part: Path, have: int, limits: Limits, deadline: float
) -> None:
    plain = answer.headers.get("Content-Encoding", "identity") == "identity"
    announced = answer.headers.get("Content-Length", "")
    total = have + int(announced) if plain and announced.isdigit() else None
    too_large = (
        f"{_where(answer.url)} sends more than the {limits.max_bytes // 2**20} MB that are allowed."
    )
    if total is not None and total > limits.max_bytes:
        raise BadResponse(too_large)
    with part.open("ab") as file:
        for piece in _pieces(answer):
            have += len(piece)
            if have > limits.max_bytes:
                raise BadResponse(too_large)
            file.write(piece)
            if time.monotonic() > deadline:
                file.flush()
                raise _CutError(f"was not done in {limits.total_s:.0f} s ({have:,} bytes came).")
        file.flush()
        os.fsync(file.fileno())
    if total is not None and have != total:
        raise _CutError(f"ended after {have:,} of {total:,} bytes.")


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """Yield what comes, as it comes."""
    import urllib3  # noqa: PLC0415 - loaded with requests

    # `read` waits until a piece is full, so a server that drips would outlast every limit.
    read: Any = getattr(answer.raw, "read1", answer.raw.read)
    try:
        while piece := read(_PIECE, decode_content=True):
            yield piece
    except urllib3.exceptions.HTTPError as exc:
        raise _CutError(f"broke off ({type(exc).__name__}).") from exc


def _continues(answer: requests.Response, have: int, was: Tags | None, fresh: Tags) -> bool:
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    same = was is not None and (not fresh.etag or fresh.etag == was.etag)
    return same and span is not None and int(span[1]) == have


# -- what is on disk ----------------------------------------------------------


def _partial(part: Path, url: str) -> tuple[int, Tags | None]:
    """Return how much of which file is here; (0, None) when there is nothing to go on from."""
    have = _size(part)
    with contextlib.suppress(OSError, ValueError, TypeError):
        was = Tags(**json.loads(_note(part).read_text()))
        if have and was.url == url and was.validator:
            return have, was
    return 0, None


def _begin(part: Path, tags: Tags) -> None:
    # In this order: bytes of an old file must never stand beside the tags of a new one.
    part.write_bytes(b"")
    write_whole(_note(part), json.dumps(asdict(tags)).encode())


def discard(part: Path) -> None:
    """Forget what came: the next download starts anew."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the power goes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _where(url: str) -> str:
    return url.partition("?")[0]


def _reason(exc: BaseException) -> str:
    """Say why in words; the exception's own text would hold addresses of objects."""
    name = type(exc).__name__
    return {
        "ConnectTimeout": "did not accept a connection in time.",
        "ReadTimeout": "fell silent.",
        "SSLError": "has no certificate that this machine trusts.",
        "ConnectionError": "could not be reached (ConnectionError).",
    }.get(name, f"could not be had ({name}).")
