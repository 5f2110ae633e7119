"""The compiled master: one file of columns, mapped into memory by every process.

Layout: 32 bytes (magic, version, length and checksum of the directory, checksum
of the rest), a directory in JSON, then the columns, each aligned to 64 bytes.
Integers are little-endian. A text column is its offsets and its UTF-8. The file
is written beside its name and renamed into place; it is
only ever replaced, so a mapped one never changes under its reader.
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
VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sIIIIQ")
_ALIGN: Final = 64
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
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                head = file.read(_HEAD.size)
                length = _length(head, path.name)
                directory = file.read(length)
                # Read, not touched: the pages of the map stay out of this process until used.
                crc, chunk = 0, bytearray(_CHUNK)
                while count := file.readinto(chunk):
                    crc = zlib.crc32(memoryview(chunk)[:count], crc)
                known = _checked(head, directory, crc, size, path.name)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as exc:
            raise MasterError(
                f"The compiled master {path.name} cannot be read: {exc.strerror}."
            ) from exc
        return cls(mapped, path.name, known, _aligned(_HEAD.size + length))

    @classmethod
    def of(cls, content: bytes, where: str = "the master in memory") -> Columns:
        """Return the columns of a file in memory."""
        length = _length(content[: _HEAD.size], where)
        directory = content[_HEAD.size : _HEAD.size + length]
        crc = zlib.crc32(memoryview(content)[_HEAD.size + length :])
        known = _checked(content[: _HEAD.size], directory, crc, len(content), where)
        return cls(content, where, known, _aligned(_HEAD.size + length))

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


def serialise(
    columns: Mapping[str, NDArray[Any]], facts: dict[str, Any]
) -> list[bytes | memoryview]:
    """Return the parts of the file."""
    places, body, offset = {}, list[bytes | memoryview](), 0
    for name, column in columns.items():
        if not len(column):
            places[name] = (column.dtype.str, 0, 0)
            continue
        data = np.ascontiguousarray(column).view(np.uint8).data
        places[name] = (column.dtype.newbyteorder("<").str, len(column), offset)
        gap = -len(data) % _ALIGN
        body += [data, bytes(gap)]
        offset += len(data) + gap
    directory = json.dumps(
        {"columns": places, "facts": facts, "size": offset}, separators=(",", ":")
    ).encode()
    body.insert(0, bytes(_aligned(_HEAD.size + len(directory)) - _HEAD.size - len(directory)))
    crc = 0
    for part in body:
        crc = zlib.crc32(part, crc)
    head = _HEAD.pack(MAGIC, VERSION, len(directory), zlib.crc32(directory), crc, offset)
    return [head, directory, *body]


def write(path: Path, parts: list[bytes | memoryview]) -> None:
    """Put the file in place, all or nothing, readable by its owner only.

    Nothing is flushed to the disk: should the machine lose power now, a damaged file
    or none may be there. Opening a file checks all of it, and it is made again from
    the broker's zip.
    """
    import tempfile  # noqa: PLC0415 - a reader would pay a megabyte for it

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            file.write(b"".join(parts))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _aligned(size: int) -> int:
    return size + -size % _ALIGN


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


def _checked(head: bytes, directory: bytes, crc: int, size: int, where: str) -> dict[str, Any]:
    _, _, length, directory_crc, body_crc, body = _HEAD.unpack(head)
    if size != _aligned(_HEAD.size + length) + body:
        raise MasterError(f"{where} is damaged: it has {size:,} bytes, not as many as it should.")
    if zlib.crc32(directory) != directory_crc or crc != body_crc:
        raise MasterError(f"{where} is damaged: its checksum differs.")
    known: dict[str, Any] = json.loads(directory)
    return known
