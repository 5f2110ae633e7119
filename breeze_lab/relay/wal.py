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
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CANDLE", "MAGIC", "NOTE", "ORDER", "STOCK", "Record", "encode", "read"]

MAGIC: Final = b"BLTICKS\x01" + bytes(8)
_HEAD: Final = struct.Struct("<IIB3xIQQ")
_CRC_FROM: Final = 8
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


def encode(record: Record) -> bytes:
    """Return a record as it lies in the file."""
    kind, epoch, sequence, received_ms, data = record
    head = _HEAD.pack(len(data), 0, kind, epoch, sequence, received_ms)
    crc = zlib.crc32(data, zlib.crc32(head[_CRC_FROM:]))
    return b"".join((head[:4], crc.to_bytes(4, "little"), head[_CRC_FROM:], data))


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file up to its end or the first that is torn.

    Raises
    ------
    FeedError
        When it is no such file, or of a later version.
    """
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            if MAGIC.startswith(magic):  # killed before the header was whole
                return
            raise FeedError(f"{path.name} is no tick log of this version.")
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, crc, kind, epoch, sequence, received_ms = _HEAD.unpack(head)
            data = file.read(length) if length <= _LONGEST else b""
            if len(data) != length or zlib.crc32(data, zlib.crc32(head[_CRC_FROM:])) != crc:
                return
            yield Record(kind, epoch, sequence, received_ms, data)
