"""Recording files: CSV and Parquet, in and out, column by column.

Owns the layout's columns and how a cell becomes a number, a text or a time,
and says of a bad cell in which file, row and column it stands. What the
values mean together is `breeze_lab.practice.replay.recording`'s. Files are read and
written in chunks; pyarrow is loaded for Parquet alone.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from breeze_lab.errors import RecordingError
from breeze_lab.practice.exchange.days import FIRST_DAY, LAST_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from breeze_lab.practice.exchange.noise import Floats, Ints

__all__ = ["BAR_COLUMNS", "IDENTITY", "TICK_COLUMNS", "Chunk", "chunks", "files", "write"]

#: Columns that name the instrument; one of the first three after `exchange` is enough.
IDENTITY: Final = {
    "exchange": "text", "stock_code": "text", "symbol": "text", "token": "text",
    "expiry": "date", "strike": "price", "right": "text",
}  # fmt: skip
#: Columns of ticks, in the order in which they are written.
TICK_COLUMNS: Final = {
    "time": "time", **IDENTITY, "last_price": "price", "last_quantity": "whole",
    "bid_price": "price", "bid_quantity": "whole", "ask_price": "price", "ask_quantity": "whole",
    "open_interest": "whole", "total_volume": "whole", "previous_close": "price",
}  # fmt: skip
#: Columns of bars.
BAR_COLUMNS: Final = {
    "time": "time", **IDENTITY, "interval": "text", "open": "price", "high": "price",
    "low": "price", "close": "price", "volume": "whole", "open_interest": "whole",
    "previous_close": "price",
}  # fmt: skip
_LAYOUTS: Final = {"ticks": TICK_COLUMNS, "bars": BAR_COLUMNS}
_NEEDED: Final = {
    "ticks": ("time", "exchange", "last_price"),
    "bars": ("time", "exchange", "interval", "open", "high", "low", "close", "volume"),
}
#: Columns that only one kind has.
_TELLING: Final = {
    "ticks": {"last_price", "last_quantity", "total_volume"}, "bars": {"open", "close", "volume"}
}  # fmt: skip
#: Begins the names of columns that say what else a feed said, which no replay needs.
_EXTRA: Final = "feed_"
#: Why a replay leaves a row out; blank for the others.
_APART: Final = "feed_apart"
_VERSION: Final = "1"
_META: Final = b"breeze-lab"
_MARK: Final = re.compile(r"#\s*breeze-lab (ticks|bars) (\S+)\s*")
_SUFFIXES: Final = (".csv", ".parquet")
_CHUNK: Final = 65_536
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)
_IST: Final = "+05:30"
_IST_MS: Final = 19_800_000
_ZONES: Final = ("Asia/Kolkata", "Asia/Calcutta", "+05:30")
_DATE_TEXT: Final = 10
_MINUTE_TEXT: Final = 16
_SPAN_MS: Final = (
    int(np.datetime64(FIRST_DAY, "ms").astype(np.int64)) + 86_400_000,
    int(np.datetime64(LAST_DAY, "ms").astype(np.int64)),
)

#: What one column of a chunk holds: text of CSV, or an Arrow array.
Cells: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive rows of a file.

    Parameters
    ----------
    path, kind
        The file, and ``"ticks"`` or ``"bars"``.
    first
        Number of its first row: the line of a CSV file, the row of a Parquet
        file, both counted from 1.
    count
        Rows.
    columns
        Cells by column name; columns that the file lacks are absent.
    rows
        The rows' numbers where some between them are left out; None says that
        they follow each other.
    """

    path: Path
    kind: str
    first: int
    count: int
    columns: dict[str, Cells]
    rows: Ints | None = None

    @property
    def numbers_of_rows(self) -> Ints:
        """The number of each row in its file."""
        if self.rows is not None:
            return self.rows
        return np.arange(self.first, self.first + self.count)

    def fail(self, column: str, at: int, value: object, todo: str) -> RecordingError:
        """Return the error of one cell; `at` counts from the chunk's first row."""
        row = self.first + at if self.rows is None else int(self.rows[at])
        return RecordingError(f"{self.path.name}, row {row}, column {column}: {value!r}. {todo}")

    def texts(self, name: str) -> list[str]:
        """Return a column as text, ``""`` where it is blank or absent."""
        cells = self.columns.get(name)
        if cells is None:
            return [""] * self.count
        if isinstance(cells, list):
            return cells
        return ["" if cell is None else str(cell) for cell in cells.to_pylist()]

    def numbers(self, name: str) -> Floats:
        """Return a column as finite numbers, NaN where it is blank or absent."""
        cells = self.columns.get(name)
        if cells is None:
            return np.full(self.count, np.nan)
        if isinstance(cells, list):
            blank = np.array([not cell for cell in cells])
            if blank.all():
                return np.full(self.count, np.nan)
            filled = [cell or "nan" for cell in cells] if blank.any() else cells
            try:
                values = np.array(list(map(float, filled)))
            except ValueError:
                at = next(i for i, cell in enumerate(cells) if cell and not _is_number(cell))
                raise self.fail(name, at, cells[at], "Write a plain number.") from None
        else:
            values, blank = self._arrow_numbers(name, cells)
        wrong = np.flatnonzero(~np.isfinite(values) & ~blank)
        if len(wrong):
            at = int(wrong[0])
            raise self.fail(name, at, float(values[at]), "Write a finite number or leave it blank.")
        return values

    def _arrow_numbers(self, name: str, cells: Any) -> tuple[Floats, Any]:
        import pyarrow as pa  # noqa: PLC0415 - only Parquet needs it

        if not (
            pa.types.is_integer(cells.type)
            or pa.types.is_floating(cells.type)
            or pa.types.is_decimal(cells.type)
            or pa.types.is_null(cells.type)
        ):
            said = f"Store the column as numbers, not as {cells.type}."
            raise self.fail(name, 0, cells[0].as_py(), said)
        values = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values, cells.is_null().to_numpy(zero_copy_only=False)

    def times(self, name: str = "time") -> Ints:
        """Return a column of times as Unix milliseconds."""
        cells = self.columns[name]
        if not isinstance(cells, list):
            cells = self._arrow_times(name, cells)
        found = self._text_times(name, cells) if isinstance(cells, list) else cells
        wrong = np.flatnonzero((found + _IST_MS < _SPAN_MS[0]) | (found + _IST_MS >= _SPAN_MS[1]))
        if len(wrong):
            at = int(wrong[0])
            said = (
                f"Times lie between {FIRST_DAY} and {LAST_DAY}; a number is Unix milliseconds "
                "(thirteen digits)."
            )
            raise self.fail(name, at, self.texts(name)[at], said)
        return found

    def _arrow_times(self, name: str, cells: Any) -> list[str] | Ints:
        """Return an Arrow column of times as Unix ms, or as text when it is text."""
        import pyarrow as pa  # noqa: PLC0415 - only Parquet needs it

        if cells.null_count:
            at = cells.is_null().to_pylist().index(True)
            raise self.fail(name, at, None, "Every row needs a time.")
        if pa.types.is_integer(cells.type):
            whole: Ints = cells.cast(pa.int64()).to_numpy()
            return whole
        if not pa.types.is_timestamp(cells.type):
            return self.texts(name)
        if cells.type.tz not in (None, *_ZONES):
            raise self.fail(name, 0, f"time zone {cells.type.tz}", "Convert it to Asia/Kolkata.")
        known: Ints = cells.to_numpy(zero_copy_only=False).astype("datetime64[ms]").astype(np.int64)
        return known if cells.type.tz else known - _IST_MS

    def _text_times(self, name: str, cells: list[str]) -> Ints:
        if cells[0].isdigit():
            try:
                return np.array(cells).astype(np.int64)
            except ValueError:
                at = next(i for i, cell in enumerate(cells) if not cell.isdigit())
                said = "Write all times alike, as Unix milliseconds or as ISO text."
                raise self.fail(name, at, cells[at], said) from None
        bare = [cell.removesuffix(_IST) for cell in cells]
        if min(map(len, bare)) < _MINUTE_TEXT:
            bare = [cell + "T00:00" if len(cell) == _DATE_TEXT else cell for cell in bare]
        plain = min(map(len, bare)) >= _MINUTE_TEXT and not any(
            "Z" in cell or "+" in cell or "-" in cell[_DATE_TEXT:] for cell in bare
        )
        if plain:
            with contextlib.suppress(ValueError):
                return np.array(bare, "datetime64[ms]").astype(np.int64) - _IST_MS
        raise self._bad_time(name, cells)

    def _bad_time(self, name: str, cells: list[str]) -> RecordingError:
        for at, cell in enumerate(cells):
            found = _TIME.fullmatch(cell)
            zone = found["zone"] if found is not None else None
            if zone not in (None, _IST):
                said = f"The zone {zone} is not India's. Convert it; write {_IST} or no zone."
                return self.fail(name, at, cell, said)
            if found is None or not _is_time(cell.removesuffix(_IST)):
                return self.fail(name, at, cell, "Write Indian time as 2026-11-20T09:15:00.250.")
        return self.fail(name, 0, cells[0], "Write all times alike.")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_time(cell: str) -> bool:
    try:
        np.datetime64(cell, "ms")
    except ValueError:
        return False
    return True


def files(path: Path) -> list[Path]:
    """Return the recording files of a folder, by name, or the one file."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not found:
            raise RecordingError(f"{path} holds no .csv or .parquet file. Name a recording.")
        return found
    if not path.is_file():
        raise RecordingError(f"{path} does not exist. Name a recording or a folder of recordings.")
    if path.suffix.lower() not in _SUFFIXES:
        raise RecordingError(f"{path.name} is neither .csv nor .parquet. Convert or rename it.")
    return [path]


def chunks(path: Path) -> Iterator[Chunk]:
    """Yield the rows of a file in order, some tens of thousands at a time.

    Raises
    ------
    RecordingError
        When the file is not a recording, is empty, or is cut off.
    """
    read = _parquet if path.suffix.lower() == ".parquet" else _csv
    empty = True
    for chunk in read(path):
        empty = False
        yield chunk
    if empty:
        raise RecordingError(f"{path.name} has no rows. Record again, or take it away.")


def _kind(path: Path, mark: str, names: Sequence[str]) -> str:
    """Return ``"ticks"`` or ``"bars"`` after checking the version mark and the columns."""
    marked, _, version = mark.partition(" ")
    if version not in ("", _VERSION):
        said = f"{path.name} has layout version {version}; this Breeze Lab reads {_VERSION}."
        raise RecordingError(f"{said} Update Breeze Lab.")
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise RecordingError(f"{path.name} has column {doubled.pop()!r} twice. Drop one.")
    has = {kind: not only.isdisjoint(names) for kind, only in _TELLING.items()}
    if has["ticks"] and has["bars"]:
        said = "mixes ticks (last_price) and bars (open, volume). Put them into two files."
        raise RecordingError(f"{path.name} {said}")
    kind = marked or ("bars" if has["bars"] else "ticks")
    unknown = [name for name in names if name not in _LAYOUTS[kind] and not name.startswith(_EXTRA)]
    missing = [name for name in _NEEDED[kind] if name not in names]
    if not {"stock_code", "symbol", "token"} & set(names):
        missing.append("stock_code")
    if unknown or missing:
        said = f"{path.name} is no file of {kind}:"
        said += f" it lacks {', '.join(missing)};" if missing else ""
        said += f" {', '.join(unknown)} is not of the layout;" if unknown else ""
        raise RecordingError(f"{said} the columns are {', '.join(_LAYOUTS[kind])}.")
    return kind


def _csv(path: Path) -> Iterator[Chunk]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _csv_chunks(path, file)
    except UnicodeDecodeError as exc:
        raise RecordingError(f"{path.name} is not UTF-8 text. Save it as CSV in UTF-8.") from exc
    except csv.Error as exc:
        raise RecordingError(f"{path.name} is not CSV: {exc}. Save it again.") from exc


def _csv_chunks(path: Path, file: Iterable[str]) -> Iterator[Chunk]:
    lines = iter(file)
    line, row, mark = next(lines, ""), 1, ""
    if line.startswith("#"):
        found = _MARK.fullmatch(line)
        if found is None:
            said = f"{path.name} begins with {line.strip()[:60]!r}."
            raise RecordingError(f"{said} Its mark must read '# breeze-lab ticks {_VERSION}'.")
        mark, line, row = f"{found[1]} {found[2]}", next(lines, ""), 2
    if not line.strip():
        raise RecordingError(f"{path.name} is empty. Record again, or take it away.")
    names = [name.strip() for name in next(csv.reader([line]))]
    kind = _kind(path, mark, names)
    while some := list(itertools.islice(lines, _CHUNK)):
        while len(some) < _CHUNK and some and not some[-1].strip():
            some.pop()  # an editor's empty line at the end
        if some:
            cells = _split(path, row + 1, some, len(names))
            columns: dict[str, Cells] = dict(zip(names, cells, strict=True))
            yield Chunk(path, kind, row + 1, len(some), columns)
        row += len(some)


def _split(path: Path, first: int, lines: list[str], count: int) -> list[list[str]]:
    """Return the columns of some lines; `first` is the number of the first of them."""
    text = "".join(lines)
    if '"' not in text and {line.count(",") for line in lines} == {count - 1}:
        # One split of everything takes a third of the csv module's time.
        flat = text.replace("\r\n", "\n").removesuffix("\n").replace("\n", ",").split(",")
        return [flat[place::count] for place in range(count)]
    rows = list(csv.reader(lines))
    for at, cells in enumerate(rows):
        if len(cells) != count:
            said = f"{len(cells)} cells where the header has {count}. Is it cut off?"
            raise RecordingError(f"{path.name}, row {first + at}: {said}")
    if len(rows) != len(lines):
        raise RecordingError(f"{path.name} has a line break within a cell. Take it out.")
    return [list(cells) for cells in zip(*rows, strict=True)]


def _parquet(path: Path) -> Iterator[Chunk]:
    import pyarrow as pa  # noqa: PLC0415 - only Parquet needs it
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            mark = (file.schema_arrow.metadata or {}).get(_META, b"").decode()
            kind = _kind(path, mark, file.schema_arrow.names)
            row = 1
            told = [name for name in file.schema_arrow.names if not name.startswith(_EXTRA)]
            split = _APART in file.schema_arrow.names
            for batch in file.iter_batches(_CHUNK, columns=[*told, _APART] if split else told):
                first, kept, rows = row, batch, None
                row += batch.num_rows
                if split and batch.column(_APART).null_count < batch.num_rows:
                    taken = batch.column(_APART).is_null()
                    rows = first + np.flatnonzero(taken.to_numpy(zero_copy_only=False))
                    kept = batch.filter(taken)
                if kept.num_rows:
                    columns = {name: kept.column(name) for name in told}
                    yield Chunk(path, kind, first, kept.num_rows, columns, rows)
    except (pa.ArrowException, OSError) as exc:
        reason = str(exc).partition("\n")[0][:100]
        said = f"{path.name} is not whole Parquet ({reason}). Was it cut off? Record or copy again."
        raise RecordingError(said) from exc


def write(path: Path, kind: str, rows: Iterable[Sequence[Any]]) -> int:
    """Write rows in the layout's column order; return how many.

    Parameters
    ----------
    path
        Ends in ``.csv`` or ``.parquet``; appears when it is whole.
    kind
        ``"ticks"`` or ``"bars"``.
    rows
        One value a column; times in Unix ms, dates as dates, None is blank.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise RecordingError(f"{path.name} is neither .csv nor .parquet. Choose one of the two.")
    part = path.with_name(path.name + ".part")
    try:
        writer = _write_parquet if path.suffix.lower() == ".parquet" else _write_csv
        count = writer(part, kind, iter(rows))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _write_csv(path: Path, kind: str, rows: Iterator[Sequence[Any]]) -> int:
    kinds, count = list(_LAYOUTS[kind].values()), 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# breeze-lab {kind} {_VERSION}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_LAYOUTS[kind])
        for row in rows:
            writer.writerow(map(_cell, row, kinds))
            count += 1
    return count


def _cell(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if kind == "time":
        return str(np.datetime64(value + _IST_MS, "ms"))
    return f"{value:.10g}" if kind == "price" else str(value)


def _write_parquet(path: Path, kind: str, rows: Iterator[Sequence[Any]]) -> int:
    import pyarrow as pa  # noqa: PLC0415 - only Parquet needs it
    from pyarrow import parquet  # noqa: PLC0415

    types = {
        "time": pa.timestamp("ms", "Asia/Kolkata"), "text": pa.string(), "date": pa.date32(),
        "price": pa.float64(), "whole": pa.int64(),
    }  # fmt: skip
    schema = pa.schema(
        [(name, types[of]) for name, of in _LAYOUTS[kind].items()],
        metadata={_META: f"{kind} {_VERSION}"},
    )
    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(itertools.islice(rows, _CHUNK)):
            columns = zip(*some, strict=True)
            arrays = [
                pa.array(cells, field.type) for cells, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(some)
    return count
