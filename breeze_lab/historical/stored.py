"""A stored file: bars and what was asked, as Parquet whose name is its checksum.

Owns bytes only. A file is written whole: temporary name, fsync, rename, fsync
of the folder; a kill at any moment leaves the old one or the new one. Every
byte is compared with the checksum in the name before anything of it is
believed. pyarrow is loaded on first use, and never pandas.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab import downloads
from breeze_lab.errors import HistoryError
from breeze_lab.historical.blocks import COLUMNS, EMPTY, Block

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from breeze_lab.historical.spans import Span

__all__ = ["Damaged", "Known", "Part", "checked", "facts", "read", "write"]

_LAYOUT: Final = b"history 1"
_MARK: Final = b"breeze-lab"
_FACTS: Final = b"breeze-lab-history"


class Damaged(Exception):
    """A file is not what was written."""


@dataclass(frozen=True, slots=True)
class Known:
    """A range that was asked, half-open, and when; Unix seconds."""

    start: int
    end: int
    fetched: int

    @property
    def span(self) -> Span:
        """Its range."""
        return self.start, self.end


@dataclass(frozen=True, slots=True)
class Part:
    """What a file holds: bars, and the ranges of which they are all there are."""

    block: Block
    known: tuple[Known, ...]


def checked(path: Path) -> bytes:
    """Return the bytes of a file when they are those that were written.

    Raises
    ------
    Damaged
        They are not, or cannot be read.
    FileNotFoundError
    """
    wanted = path.name.split(".")[-2]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise Damaged(f"it cannot be read: {exc.strerror}") from exc
    if _digest(data) != wanted:
        raise Damaged(f"{len(data):,} bytes do not have the checksum they were written with")
    return data


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read(path: Path, identity: str) -> Part:
    """Return what a file holds.

    Raises
    ------
    Damaged
        It is not what was written, or of another instrument than `identity`.
    HistoryError
        A newer Breeze Lab wrote it.
    FileNotFoundError
    """
    import pyarrow as pa  # noqa: PLC0415 - a third of a second
    from pyarrow import parquet  # noqa: PLC0415

    data = checked(path)
    try:
        with parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            said = _said(file.schema_arrow.metadata or {}, path)
            table = file.read(use_threads=False).combine_chunks()
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise Damaged(str(exc).partition("\n")[0][:100]) from exc
    if said["identity"] != identity:
        raise Damaged(f"it is of {said['identity']}")
    known = tuple(Known(*one) for one in said["known"])
    if not table.num_rows:
        return Part(EMPTY, known)
    start = _numbers(table, "start", np.int64) // 1000
    columns = [_numbers(table, name, np.float64) for name in COLUMNS if name != "volume"]
    columns.insert(COLUMNS.index("volume"), _numbers(table, "volume", np.int64).astype(np.float64))
    return Part(Block(start, np.column_stack(columns)), known)


def facts(path: Path) -> dict[str, Any]:
    """Return what a file's footer says of it, without comparing its bytes.

    Raises
    ------
    Damaged, HistoryError, FileNotFoundError
    """
    import pyarrow as pa  # noqa: PLC0415 - see read
    from pyarrow import parquet  # noqa: PLC0415

    try:
        footer = parquet.read_metadata(path)
        return _said(footer.metadata or {}, path) | {"bars": footer.num_rows}
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise Damaged(str(exc).partition("\n")[0][:100]) from exc


def _said(metadata: Mapping[bytes, bytes], path: Path) -> dict[str, Any]:
    layout = metadata.get(_MARK, b"")
    if layout != _LAYOUT:
        raise HistoryError(
            f"{path} was written in another layout ({layout.decode(errors='replace') or 'none'}), "
            "by a newer Breeze Lab. Update this one, or move the file away."
        )
    found: dict[str, Any] = json.loads(metadata[_FACTS])
    return found


def write(folder: Path, name: str, part: Part, said: Mapping[str, Any]) -> Path:
    """Write a file whole; it is on the disk when this returns.

    Parameters
    ----------
    name
        What its name begins with; the checksum and the ending are added.
    said
        What its footer says beside the known ranges: identity, key, market, interval.

    Raises
    ------
    OSError
        It cannot be written, and nothing has changed.
    """
    data = _encoded(part, said)
    path = folder / f"{name}.{_digest(data)}.parquet"
    temporary = folder / f".{name}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    downloads.sync_folder(folder)  # the name is on the disk too
    return path


def _encoded(part: Part, said: Mapping[str, Any]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - see read
    from pyarrow import parquet  # noqa: PLC0415

    block = part.block
    types = {name: pa.float64() for name in COLUMNS} | {"volume": pa.int64()}
    arrays = [_array(block.start * 1000, pa.timestamp("ms", "Asia/Kolkata"))]
    for place, (name, kind) in enumerate(types.items()):
        column = block.data[:, place]
        arrays.append(_array(column.astype(np.int64) if name == "volume" else column, kind))
    known = [[one.start, one.end, one.fetched] for one in part.known]
    metadata = {_MARK: _LAYOUT, _FACTS: json.dumps({**said, "known": known}).encode()}
    table = pa.Table.from_arrays(arrays, names=["start", *types]).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _array(column: Any, kind: Any) -> Any:
    """Return numbers as an Arrow array; `pyarrow.array` would load pandas."""
    import pyarrow as pa  # noqa: PLC0415 - see read

    buffer = pa.py_buffer(np.ascontiguousarray(column))
    return pa.Array.from_buffers(kind, len(column), [None, buffer])


def _numbers(table: Any, name: str, dtype: type[np.generic]) -> Any:
    """Return a column as numbers; `to_numpy` would load pandas."""
    import pyarrow as pa  # noqa: PLC0415 - see read

    column = table.column(name)
    chunk = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    data = chunk.buffers()[1]
    return np.frombuffer(data, dtype, len(chunk), chunk.offset * np.dtype(dtype).itemsize)
