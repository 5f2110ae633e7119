"""The write-ahead log: what came from the broker, as it came, in files that survive a kill.

Owns the layout of the files and nothing else: who writes when, and who reads,
is left to others. A file is a header and records, each with its checksum, so
that whatever a crash leaves behind, the good records before the tear are found.

Layout, little-endian. Header: ``BLTICKS`` and the version in one byte, then
eight bytes of zeros. Record: `_HEAD` (length of the data, CRC-32 of all that
follows the CRC, kind, epoch, sequence, received_ms) and the data.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from breeze_lab.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date
    from pathlib import Path

__all__ = [
    "CANDLE", "MAGIC", "NOTE", "ORDER", "STOCK", "Record", "encode", "encode_frames", "files",
    "read", "scan",
]  # fmt: skip

MAGIC: Final = b"BLTICKS\x01" + bytes(8)
_HEAD: Final = struct.Struct("<IIB3xIQQ")
_CRC_FROM: Final = 8
_front: Final = struct.Struct("<II").pack
_rest: Final = struct.Struct("<B3xIQQ").pack
#: No frame of a broker comes near; a longer one is a tear.
_LONGEST: Final = 1 << 22

#: Kinds of records: the broker's frames as JSON text, and notes of the relay as JSON maps.
STOCK, CANDLE, ORDER, NOTE = 1, 2, 3, 9


class Record(NamedTuple):
    """One thing that happened.

    Parameters
    ----------
    kind
        `STOCK`, `CANDLE`, `ORDER` or `NOTE`.
    epoch
        Of the connection to the broker.
    sequence
        Counts the frames of the room; 0 where nothing is counted.
    received_ms
        Unix milliseconds.
    data
        The JSON text.
    """

    kind: int
    epoch: int
    sequence: int
    received_ms: int
    data: bytes


def encode(record: Record | tuple[int, int, int, int, bytes]) -> bytes:
    """Return a record as it lies in the file."""
    kind, epoch, sequence, received_ms, data = record
    checked = _rest(kind, epoch, sequence, received_ms) + data
    return _front(len(data), zlib.crc32(checked)) + checked


def encode_frames(frames: Iterable[tuple[int, int, int, int, bytes]]) -> list[bytes]:
    """Return records of kind `STOCK`, each as `encode` returns it.

    Parameters
    ----------
    frames
        Of each a number that does not matter here, sequence, epoch, received_ms and data.
    """
    front, rest, crc32, records = _front, _rest, zlib.crc32, []
    for _, sequence, epoch, received_ms, data in frames:
        checked = rest(STOCK, epoch, sequence, received_ms) + data
        records.append(front(len(data), crc32(checked)) + checked)
    return records


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file up to its end or the first that is torn.

    Raises
    ------
    FeedError
        When it is no such file, or of a later version.
    """
    return map(Record._make, scan(path))


def scan(path: Path) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield the same as `read` in plain tuples, for who reads millions.

    Raises
    ------
    FeedError
        As `read` does.
    """
    whole = path.read_bytes()  # a file is no longer than a segment
    magic = whole[: len(MAGIC)]
    if magic != MAGIC:
        # Killed before the header was whole, or cut off before it was on the disk.
        if MAGIC.startswith(magic) or not any(magic):
            return
        raise FeedError(f"{path.name} is no tick log of this version.")
    unpack, crc32, head_size, at = _HEAD.unpack_from, zlib.crc32, _HEAD.size, len(MAGIC)
    size = len(whole)
    while at + head_size <= size:
        length, crc, kind, epoch, sequence, received_ms = unpack(whole, at)
        begin = at + head_size
        after = begin + length
        if length > _LONGEST or after > size or crc32(whole[at + _CRC_FROM : after]) != crc:
            return
        yield kind, epoch, sequence, received_ms, whole[begin:after]
        at = after


def files(folder: Path, day: date) -> list[Path]:
    """Return the files of one IST day in the order in which they were begun."""
    return sorted(folder.glob(f"{day:%Y-%m-%d}-{'[0-9]' * 6}.log"))
