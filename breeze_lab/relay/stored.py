"""A recorded day on the disk: two Parquet files, written whole and checked page by page.

Owns how rows lie in Parquet, what the footer says and how a recording is
compared with it. When one is made is `recorder`'s business. pyarrow is loaded
on first use.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from typing import IO, TYPE_CHECKING, Any, Final

from breeze_lab.errors import RecordingError
from breeze_lab.relay.columns import COLUMNS, LAYOUT, REST
from breeze_lab.relay.reading import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from breeze_lab.relay.days import Place

__all__ = ["FACTS", "check", "facts", "part", "table", "verify", "writer"]

_TICKS: Final = {b"breeze-lab": b"ticks 1"}
_REST: Final = {b"breeze-lab": b"rest 1"}
#: Where the footer holds what the sidecar says.
FACTS: Final = b"breeze-lab-day"
#: Frames and the sum of their sequences, by room; of no room are candles, orders, the unreadable.
Sums = dict[str, tuple[int, int]]


def facts(place: Place) -> dict[str, Any] | None:
    """Return what the footer of a recording says of it, or None when there is no recording.

    Raises
    ------
    RecordingError
        It cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second
    from pyarrow import parquet  # noqa: PLC0415

    try:
        footer = parquet.read_metadata(place.ticks).metadata or {}
        found: dict[str, Any] = json.loads(footer[FACTS])
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, KeyError, ValueError) as exc:
        raise RecordingError(
            f"{place.ticks} is damaged ({type(exc).__name__}). Move it away; when the log files "
            f"are still there, `breeze-lab recordings convert {place.day}` makes it again."
        ) from exc
    return found


@contextlib.contextmanager
def writer(path: Path, columns: Mapping[str, str]) -> Iterator[Any]:
    """Give the writer of a Parquet file that is on the disk when the block ends."""
    from pyarrow import parquet  # noqa: PLC0415 - half a second

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with parquet.ParquetWriter(
            file, schema(columns), compression="zstd", write_page_checksum=True
        ) as writer:
            yield writer
        file.flush()
        _sync(file)


def _sync(file: IO[bytes]) -> None:
    os.fsync(file.fileno())


def schema(columns: Mapping[str, str]) -> pa.Schema:
    """Return the Arrow schema of columns as `breeze_lab.relay.columns` lists them."""
    import pyarrow as pa  # noqa: PLC0415 - half a second

    types = {
        "time": pa.timestamp("ms", "Asia/Kolkata"), "name": pa.string(), "text": pa.string(),
        "date": pa.date32(), "price": pa.float64(), "whole": pa.int64(),
    }  # fmt: skip
    mark = _REST if columns is REST else _TICKS
    return pa.schema([(name, types[kind]) for name, kind in columns.items()], metadata=mark)


def table(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, str] = COLUMNS) -> pa.Table:
    """Return rows as an Arrow table."""
    import pyarrow as pa  # noqa: PLC0415 - half a second

    wanted = schema(columns)
    cells = zip(*rows, strict=True) if rows else ((),) * len(wanted)
    arrays = [pa.array(some, of.type) for some, of in zip(cells, wanted, strict=True)]
    return pa.Table.from_arrays(arrays, schema=wanted)


def sums(ticks: Path, rest: Path) -> Sums:
    """Return frames and sum of sequences of each room of a recording; every page is checked.

    Raises
    ------
    RecordingError
        A file is damaged.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second
    from pyarrow import parquet  # noqa: PLC0415

    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, room, sequence in (
        (ticks, "feed_room", "feed_sequence"), (rest, "room", "sequence"),
    ):  # fmt: skip
        try:
            with parquet.ParquetFile(path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(GROUP):
                    if path == ticks and batch.column("time").null_count:
                        raise RecordingError(f"{path} has a row without a time.")
                    some = pa.Table.from_batches([batch]).group_by(room)
                    summed = some.aggregate([(sequence, "count"), (sequence, "sum")])
                    for row in summed.to_pylist():
                        found[row[room]][0] += row[f"{sequence}_count"]
                        found[row[room]][1] += row[f"{sequence}_sum"]
        except (pa.ArrowException, OSError) as exc:
            reason = str(exc).partition("\n")[0][:100]
            raise RecordingError(f"{path} cannot be read ({reason}).") from exc
    return {room: (count, total) for room, (count, total) in found.items()}


def verify(ticks: Path, rest: Path, made: Mapping[str, Any]) -> None:
    """Read two files through and raise when they are not what `made` says of them.

    Raises
    ------
    RecordingError
    """
    wanted = {
        room: (heard["frames"], heard["sequence_sum"]) for room, heard in made["rooms"].items()
    }
    if made["beside"]["frames"]:
        wanted[""] = made["beside"]["frames"], made["beside"]["sequence_sum"]
    found = sums(ticks, rest)
    wrong = sorted(
        room for room in wanted.keys() | found.keys() if wanted.get(room) != found.get(room)
    )
    if wrong:
        room = wrong[0]
        raise RecordingError(
            f"{ticks.name} is not as it was meant in {len(wrong)} rooms: of {room or 'no room'} it "
            f"has (frames, sum of sequences) {found.get(room)} instead of {wanted.get(room)}."
        )


def check(place: Place) -> dict[str, Any]:
    """Read a recording through and compare it with its own footer; return what that says.

    Raises
    ------
    RecordingError
        There is none, or it is damaged.
    """
    made = facts(place)
    if made is None:
        raise RecordingError(f"There is no recording of {place.market} {place.day:%d-%m-%Y}.")
    verify(place.ticks, place.rest, made)
    return made


def part(place: Place, keys: Sequence[str], path: Path) -> None:
    """Write what a replay needs of some instruments of a recording.

    Raises
    ------
    RecordingError
        The recording is damaged, or nothing of these can be replayed.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    wanted = pc.field("feed_key").isin(list(keys)) & pc.field("feed_apart").is_null()
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    rows = 0
    try:
        with (
            parquet.ParquetFile(place.ticks, page_checksum_verification=True) as file,
            parquet.ParquetWriter(scratch, schema(LAYOUT), compression="zstd") as out,
        ):
            names = [*LAYOUT, "feed_key", "feed_apart"]
            for batch in file.iter_batches(GROUP, columns=names):
                some = pa.Table.from_batches([batch]).filter(wanted).select(list(LAYOUT))
                rows += some.num_rows
                out.write_table(some.cast(schema(LAYOUT)))
        if not rows:
            raise RecordingError(f"Nothing of {', '.join(keys)} can be replayed on {place.day}.")
        scratch.replace(path)
    except (pa.ArrowException, OSError) as exc:
        raise RecordingError(f"{place.ticks} cannot be replayed: {exc}") from exc
    finally:
        scratch.unlink(missing_ok=True)
