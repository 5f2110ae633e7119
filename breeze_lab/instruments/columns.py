"""The compiled master: one file of columns, mapped into memory by every process.

Layout: 32 bytes (magic, version, length and CRC-32 of the directory, checksum
and length of the rest), a directory in JSON, padded with blanks to whole pages of
4096 bytes, then the columns, each aligned to 64 bytes, again in whole pages. Their
checksum is the CRC-32 of the pages' sums, each page being added up as 512 numbers
modulo 2**64: what a disk or a cut-off copy does to a file shows in it, and it
takes a fifteenth of a CRC of everything. Integers are little-endian. A text
column is its offsets and its UTF-8. The file is written beside its name and
renamed into place; it is only ever replaced, so a mapped one never changes under
its reader.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.errors import MasterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["MAGIC", "VERSION", "Columns", "is_compiled", "serialise", "write"]

MAGIC: Final = b"BLMASTER"
#: To be raised whenever a column changes its meaning: older files are then made again.
VERSION: Final = 2
_HEAD: Final = struct.Struct("<8sIIIIQ")
_ALIGN: Final = 64
_PAGE: Final = 4096
#: Whole pages.
_CHUNK: Final = 1 << 18
_MAX_DIRECTORY: Final = 50_000_000


class Columns:
    """The columns of one compiled master.

    Parameters
    ----------
    buffer
        The whole file: mapped, or in memory.
    where
        What it is called in messages.
    """

    def __init__(self, buffer: Any, where: str, directory: dict[str, Any], start: int) -> None:
        self._buffer = buffer
        self._start = start
        self._places: dict[str, list[Any]] = directory["columns"]
        self.where = where
        self.facts: dict[str, Any] = directory["facts"]

    @classmethod
    def open(cls, path: Path) -> Columns:
        """Map a file after checking all of it.

        Raises
        ------
        MasterError
            Missing, not one of ours, of another version, or damaged.
        """
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD.size)
                directory = file.read(_length(head, path.name))
                size = os.fstat(file.fileno()).st_size
                known, expected = _directory(head, directory, size, path.name)
                # Read, not touched: the pages of the map stay out of this process until used.
                found, chunk = 0, bytearray(_CHUNK)
                while count := file.readinto(chunk):
                    found = _checksum(memoryview(chunk)[:count], found)
                _compare(found, expected, path.name)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as exc:
            raise MasterError(
                f"The compiled master {path.name} cannot be read: {exc.strerror}."
            ) from exc
        return cls(mapped, path.name, known, len(head) + len(directory))

    @classmethod
    def of(cls, content: bytes, where: str = "the master in memory") -> Columns:
        """Return the columns of a file in memory."""
        head = content[: _HEAD.size]
        start = len(head) + _length(head, where)
        known, expected = _directory(head, content[len(head) : start], len(content), where)
        _compare(_checksum(memoryview(content)[start:]), expected, where)
        return cls(content, where, known, start)

    def array(self, name: str) -> NDArray[Any]:
        """Return a column of numbers; a view, read-only."""
        dtype, count, offset = self._places[name]
        return np.frombuffer(self._buffer, dtype, count, self._start + offset)

    def texts(self, name: str) -> Texts:
        """Return a column of texts."""
        return Texts(self.array(f"{name}/at"), self.array(f"{name}/text"))


class Texts:
    """A column of texts, each made when it is asked for."""

    __slots__ = ("_at", "_text")

    def __init__(self, at: NDArray[np.uint32], text: NDArray[np.uint8]) -> None:
        self._at, self._text = at.data, text.data

    def __len__(self) -> int:
        return len(self._at) - 1

    def __getitem__(self, row: int) -> str:
        return str(self._text[self._at[row] : self._at[row + 1]], "utf-8")


def text_columns(name: str, array: Any) -> dict[str, NDArray[Any]]:
    """Return an Arrow text array as the two columns it is stored in."""
    _, offsets, data = array.buffers()
    at = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(data or b"", np.uint8)[at[0] : at[-1]]
    return {f"{name}/at": (at - at[0]).astype(np.uint32), f"{name}/text": text}


def is_compiled(path: Path) -> bool:
    """Say whether a file begins as a compiled master does."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
    return False


def serialise(columns: Mapping[str, NDArray[Any]], facts: dict[str, Any]) -> list[bytes]:
    """Return the parts of the file."""
    places, parts, offset = {}, list[bytes | memoryview](), 0
    for name, column in columns.items():
        if not len(column):
            places[name] = (column.dtype.str, 0, 0)
            continue
        data = np.ascontiguousarray(column).view(np.uint8).data
        places[name] = (column.dtype.newbyteorder("<").str, len(column), offset)
        gap = -len(data) % _ALIGN
        parts += [data, bytes(gap)]
        offset += len(data) + gap
    body = b"".join([*parts, bytes(-offset % _PAGE)])
    directory = json.dumps({"columns": places, "facts": facts}, separators=(",", ":")).encode()
    directory += b" " * (-(_HEAD.size + len(directory)) % _PAGE)
    of_directory, of_body = zlib.crc32(directory), _checksum(body)
    head = _HEAD.pack(MAGIC, VERSION, len(directory), of_directory, of_body, len(body))
    return [head, directory, body]


def write(path: Path, parts: list[bytes]) -> None:
    """Put the file in place, all or nothing, readable by its owner only.

    Nothing is flushed to the disk: should the machine lose power now, a damaged file
    or none may be there. Opening a file checks all of it, and it is made again from
    the broker's zip.
    """
    import tempfile  # noqa: PLC0415 - a reader would pay a megabyte for it

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _checksum(pages: Any, before: int = 0) -> int:
    """Return the checksum of what lay before these pages and of them."""
    words = np.frombuffer(pages, "<u8").reshape(-1, _PAGE // 8)
    return zlib.crc32(words.sum(axis=1).astype("<u8"), before)


def _compare(found: int, expected: int, where: str) -> None:
    if found != expected:
        raise MasterError(f"{where} is damaged: its checksum differs.")


def _length(head: bytes, where: str) -> int:
    """Return the directory's length, after checking whose file it is."""
    if len(head) < _HEAD.size or head[: len(MAGIC)] != MAGIC:
        raise MasterError(f"{where} is no compiled master.")
    _, version, length, *_ = _HEAD.unpack(head)
    if version != VERSION:
        raise MasterError(f"{where} was compiled in format {version}; this one reads {VERSION}.")
    if length > _MAX_DIRECTORY:
        raise MasterError(f"{where} is damaged: its directory has {length:,} bytes.")
    return int(length)


def _directory(head: bytes, directory: bytes, size: int, where: str) -> tuple[dict[str, Any], int]:
    """Return the directory of a file of so many bytes, and the checksum of its columns."""
    _, _, length, of_directory, of_body, body = _HEAD.unpack(head)
    if size != _HEAD.size + length + body or body % _PAGE:
        raise MasterError(f"{where} is damaged: it has {size:,} bytes, not as many as it should.")
    _compare(zlib.crc32(directory), of_directory, where)
    known: dict[str, Any] = json.loads(directory)
    return known, of_body
