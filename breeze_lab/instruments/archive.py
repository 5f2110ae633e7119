"""The broker's zip, opened with suspicion: bounded, checked, nothing extracted.

Each member is inflated in one call bounded by its declared size, which is
several times faster than reading a `ZipFile` member and cannot be lied to:
what is longer than declared, or has another checksum, is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import date
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from breeze_lab.errors import MasterError
from breeze_lab.instruments.layouts import LAYOUTS, REQUIRED

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["MAX_ROWS", "POOL", "Archive"]

#: A real archive has 3 MB; its largest member 20 MB and all together 33 MB in 139,000 rows.
_MAX_ZIP_BYTES: Final = 100_000_000
_MAX_MEMBER_BYTES: Final = 200_000_000
_MAX_BYTES: Final = 400_000_000
_MAX_MEMBERS: Final = 100
#: Rows of all members together.
MAX_ROWS: Final = 1_000_000
_ENCRYPTED: Final = 0x1
#: Arrow's own pool gives memory back at once and takes a fifth longer over all of a master.
POOL: Final = pa.system_memory_pool()
_STOCKS: Final = frozenset({"NSEScripMaster.txt", "BSEScripMaster.txt"})
_LOCAL_HEADER: Final = 30
_GZIP: Final = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF])


@dataclass(slots=True)
class Archive:
    """The opened zip; `read` gives a member's bytes."""

    where: str
    day: date | None
    warnings: list[str] = field(default_factory=list)
    _bytes: bytes = b""
    _members: dict[str, zipfile.ZipInfo] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, *, required: frozenset[str] = REQUIRED) -> Archive:
        """Read the zip at `path` and check its directory.

        Raises
        ------
        MasterError
            Not a zip, cut off, encrypted, unsafe names, members missing or too large.
        """
        where = path.name
        try:
            if path.stat().st_size > _MAX_ZIP_BYTES:
                raise MasterError(
                    f"{where} has {path.stat().st_size:,} bytes: no master is so large."
                )
            content = path.read_bytes()
        except OSError as exc:
            raise MasterError(
                f"The security master {where} cannot be read: {exc.strerror}."
            ) from exc
        return cls.of(content, where, required=required)

    @classmethod
    def of(cls, content: bytes, where: str, *, required: frozenset[str] = REQUIRED) -> Archive:
        """Check the directory of a zip in memory; see `open`."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as opened:
                entries = opened.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as exc:
            raise MasterError(f"{where} is no security master: {_what(content, exc)}.") from exc
        if len(entries) > _MAX_MEMBERS:
            raise MasterError(f"{where} holds {len(entries):,} files: no master holds so many.")
        known = {layout.member for layout in LAYOUTS}
        found: dict[str, zipfile.ZipInfo] = {}
        others = []
        for entry in entries:
            name = _safe_name(entry, where)
            if name in found:
                raise MasterError(f"{where} holds {name} twice.")
            if name in known:
                found[name] = _sane(entry, name, where)
            elif not entry.is_dir():
                others.append(name)
        missing = sorted(required - found.keys())
        if missing:
            raise MasterError(
                f"{where} lacks {', '.join(missing)}: names of "
                f"{', '.join(sorted({x.exchange for x in LAYOUTS if x.member in missing}))} would "
                f"not be found (it holds {', '.join(sorted(found)) or 'no member of a master'})."
            )
        if not found.keys() & _STOCKS:
            raise MasterError(
                f"{where} lists no stocks (it holds "
                f"{', '.join(sorted(found)) or 'no member of a master'})."
            )
        total = sum(entry.file_size for entry in found.values())
        if total > _MAX_BYTES:
            raise MasterError(f"{where} declares {total:,} bytes of text: no master is so large.")
        warnings = [f"{name} is not in the master." for name in sorted(known - found.keys())]
        warnings += [f"{name} is not known and was left out." for name in others]
        return cls(where, _day(found), warnings, content, found)

    def digest(self) -> str:
        """Return the SHA-256 of the zip, in hex."""
        return hashlib.sha256(self._bytes).hexdigest()

    def __contains__(self, member: str) -> bool:
        return member in self._members

    def size(self, member: str) -> int:
        """Return the declared size of a member's text, in bytes."""
        return self._members[member].file_size

    def read(self, member: str) -> NDArray[np.uint8]:
        """Return a member's text as bytes, shape (n,); releases the GIL while inflating.

        Raises
        ------
        MasterError
            Cut off, damaged, or not as long as declared.
        """
        entry = self._members[member]
        start = entry.header_offset
        head = self._bytes[start : start + _LOCAL_HEADER]
        if len(head) < _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
            raise MasterError(f"{member} of {self.where} is damaged: no header where it should be.")
        start += _LOCAL_HEADER + int.from_bytes(head[26:28], "little")
        start += int.from_bytes(head[28:30], "little")
        packed = self._bytes[start : start + entry.compress_size]
        if entry.compress_type == zipfile.ZIP_DEFLATED and entry.file_size:
            # The same stream with gzip's frame: Arrow's zlib is faster than Python's and checks the
            # checksum and length on the way. What it refuses, the slow way can name.
            ends = struct.pack("<II", entry.CRC, entry.file_size & 0xFFFFFFFF)
            with contextlib.suppress(OSError, pa.ArrowException):
                whole = pa.decompress(
                    _GZIP + packed + ends, entry.file_size, codec="gzip", memory_pool=POOL
                )
                return np.frombuffer(whole, np.uint8)
        return np.frombuffer(self._checked(member, entry, packed), np.uint8)

    def _checked(self, member: str, entry: zipfile.ZipInfo, packed: bytes) -> bytes:
        """Return a member's text, saying what is wrong with it."""
        text = packed
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                text = inflater.decompress(packed, entry.file_size + 1)
            except zlib.error as exc:
                raise MasterError(f"{member} of {self.where} is damaged: {exc}.") from exc
        if len(text) != entry.file_size:
            more = "more" if len(text) > entry.file_size else "fewer"
            raise MasterError(
                f"{member} of {self.where} holds {more} than the {entry.file_size:,} bytes it "
                "declares."
            )
        if zlib.crc32(text) != entry.CRC:
            raise MasterError(f"{member} of {self.where} is damaged: its checksum differs.")
        return text


def _what(content: bytes, exc: Exception) -> str:
    """Say what came instead of a zip."""
    start = content[:512].lstrip().lower()
    if not content:
        return "the file is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")) or b"<html" in start:
        return "it is a web page, perhaps of the broker's maintenance"
    if start.startswith((b"{", b"[")):
        return f"it is a message: {content[:120].decode('utf-8', 'replace')}"
    if content.startswith(b"PK"):
        return f"the zip is cut off or damaged ({exc}; {len(content):,} bytes came)"
    return f"it is not a zip ({len(content):,} bytes)"


def _safe_name(entry: zipfile.ZipInfo, where: str) -> str:
    """Return the last part of a name; one that would leave its folder is refused."""
    name = entry.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or ":" in name or "\x00" in entry.orig_filename:
        raise MasterError(f"{where} holds the unsafe name {entry.filename!r}.")
    return parts[-1] if parts else ""


def _sane(entry: zipfile.ZipInfo, name: str, where: str) -> zipfile.ZipInfo:
    if entry.flag_bits & _ENCRYPTED:
        raise MasterError(f"{name} of {where} is encrypted.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MasterError(f"{name} of {where} is packed in a way masters are not.")
    if entry.file_size > _MAX_MEMBER_BYTES:
        raise MasterError(
            f"{name} of {where} declares {entry.file_size:,} bytes: no member is so large."
        )
    return entry


def _day(members: dict[str, zipfile.ZipInfo]) -> date | None:
    """Return the newest date of a member that can be a master's."""
    days = []
    for entry in members.values():
        try:
            days.append(date(*entry.date_time[:3]))
        except ValueError:
            continue
    newest = max(days, default=None)
    return newest if newest and newest.year >= 2020 else None  # noqa: PLR2004 - zip's zero is 1980
