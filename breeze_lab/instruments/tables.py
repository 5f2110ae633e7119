"""A member's text as columns, every row accounted for.

The quick way gives the whole text to pyarrow. It is only believed when as many
rows come out as there are line ends and every number is one; otherwise the
text is read line by line, and each line that cannot be read is reported with
its number while the rest is kept.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from breeze_lab.errors import MasterError
from breeze_lab.instruments.archive import MAX_ROWS, POOL

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from breeze_lab.instruments.layouts import Layout

__all__ = ["Table", "read"]

_BOM: Final = b"\xef\xbb\xbf"
#: A member of which this share cannot be read is another format, not a few odd rows.
_TOO_MANY: Final = 0.1
_LINE_BYTES: Final = 20_000
_LF, _CR = 10, 13
_CHUNK: Final = 1 << 17
#: In which every underlying has its futures, in a real master.
_HEAD: Final = 1 << 18
_TEXT: Final = pa.string()
_FEW: Final = pa.dictionary(pa.int32(), pa.string())


@dataclass(slots=True)
class Table:
    """The rows of one member that have the right shape.

    Parameters
    ----------
    columns
        Arrow arrays by what they mean: texts, dictionaries of texts, floats.
    lines
        Shape (n,): line number in the member, the header being 1.
    rows
        Data lines in the text.
    skipped
        ``(line, reason)`` of what is not in `columns`.
    told
        Name and base price by code, where the layout reads them once.
    """

    layout: Layout
    columns: dict[str, Any]
    lines: NDArray[np.int64]
    rows: int
    skipped: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: dict[str, tuple[str, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def number(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers, shape (n,)."""
        found: NDArray[np.float64] = self.columns[name].to_numpy(zero_copy_only=False)
        return found

    def few(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """Return a dictionary column as codes of shape (n,) and its texts."""
        array = self.columns[name]
        return array.indices.to_numpy(zero_copy_only=False), array.dictionary.to_pylist()


def read(text: NDArray[np.uint8], layout: Layout) -> Table:
    """Return a member's text (bytes, shape (n,)) as columns.

    Raises
    ------
    MasterError
        A column is missing, there are too many rows, or too few of them can be read.
    """
    warnings: list[str] = []
    ends, ascii_only = _surveyed(text)
    if not ascii_only:
        text = _unicode(text, layout, warnings)
    if not ends:  # lone carriage returns
        text = np.where(text == _CR, np.uint8(_LF), text)
        ends, _ = _surveyed(text)
    header, _, _ = text[:_LINE_BYTES].tobytes().partition(b"\n")
    names = _header(header, layout)
    body = text[len(header) + 1 :]
    rows = ends - 1 + bool(len(body) and body[-1] != _LF)
    if rows > MAX_ROWS:
        raise MasterError(f"{layout.member} has {rows:,} rows: no master has so many.")
    if rows < 1:  # -1 when not even the header's line ends
        raise MasterError(f"{layout.member} has a header and no rows.")
    try:
        columns = _columns(body, names, layout, layout.columns.keys() - layout.once)
        quick = len(columns["token"]) == rows
        told = _told(body, names, layout, columns) if layout.once else {}
    except pa.ArrowInvalid:
        quick = False
    if quick:
        table = Table(layout, columns, np.arange(2, rows + 2), rows, [], warnings, told)
        if all(np.isfinite(table.number(n)).all() for n in layout.numbers if n in columns):
            return table
    return _carefully(body.tobytes(), names, layout, warnings)


def _surveyed(text: NDArray[np.uint8]) -> tuple[int, bool]:
    """Return the number of line ends, and whether the text is ASCII."""
    ends, highest = 0, 0
    # Pieces that stay in the processor's cache are looked through three times as fast.
    for start in range(0, len(text), _CHUNK):
        piece = text[start : start + _CHUNK]
        ends += int(np.count_nonzero(piece == _LF))
        highest = max(highest, int(piece.max()))
    return ends, highest < 128  # noqa: PLR2004 - beyond ASCII


def _unicode(text: NDArray[np.uint8], layout: Layout, warnings: list[str]) -> NDArray[np.uint8]:
    """Return UTF-8 without a byte order mark."""
    start = text[:3].tobytes()
    if start == _BOM:
        text = text[3:]
        warnings.append(f"{layout.member} begins with a byte order mark.")
    elif start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise MasterError(f"{layout.member} is UTF-16, which no master is.")
    content = text.tobytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        warnings.append(f"{layout.member} is not UTF-8 (line {line}); it was read as Windows-1252.")
        return np.frombuffer(content.decode("cp1252", "replace").encode(), np.uint8)
    return text


def _header(line: bytes, layout: Layout) -> list[str]:
    """Return the column names, unique; the needed ones must be among them."""
    if len(line) >= _LINE_BYTES:
        raise MasterError(f"{layout.member} begins with a line of {len(line):,} bytes.")
    # Only the NSE header has a space after the comma.
    found = next(csv.reader([line.decode().rstrip("\r")], skipinitialspace=True), [])
    names = [name.strip() for name in found]
    folded = {name.casefold(): name for name in names}
    missing = [name for name in layout.columns.values() if name.casefold() not in folded]
    if missing:
        raise MasterError(
            f"{layout.member} lacks the column {', '.join(missing)}: its first line is "
            f"{line[:80].decode('utf-8', 'replace')!r}."
        )
    spelled = {name.casefold(): name for name in layout.columns.values()}
    unique = []
    for at, name in enumerate(names):
        needed = spelled.pop(name.casefold(), None)
        unique.append(needed or f"{at} {name}")
    return unique


def _told(
    body: NDArray[np.uint8], names: list[str], layout: Layout, columns: dict[str, Any]
) -> dict[str, tuple[str, float]]:
    """Return name and base price by code: the first rows have nearly every code."""
    head = body[:_HEAD]
    last = np.flatnonzero(head == _LF)[-1:]
    for part in ([head[: last[0]]] if len(last) else []) + [body]:
        some = _columns(part, names, layout, {"code", *layout.once})
        code, codes = some["code"].indices.to_numpy(), some["code"].dictionary.to_pylist()
        _, first = np.unique(code, return_index=True)
        name, names_of = some["name"].indices.to_numpy(), some["name"].dictionary.to_pylist()
        bases = some["base"].to_numpy()[first].tolist()
        told = {
            one: (names_of[at], base)
            for one, at, base in zip(codes, name[first].tolist(), bases, strict=True)
        }
        if set(columns["code"].dictionary.to_pylist()) <= told.keys():
            break
    return told


def _columns(
    body: Any, names: list[str], layout: Layout, roles: AbstractSet[str]
) -> dict[str, Any]:
    wanted = {role: column for role, column in layout.columns.items() if role in roles}
    types = {
        column: pa.float64() if role in layout.numbers else _FEW if role in layout.few else _TEXT
        for role, column in wanted.items()
    }
    table = arrow_csv.read_csv(
        pa.py_buffer(body),
        read_options=arrow_csv.ReadOptions(
            column_names=names, block_size=1 << 20, use_threads=False
        ),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=False),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=list(wanted.values()), column_types=types,
            strings_can_be_null=False, null_values=[], check_utf8=False,
        ),
        memory_pool=POOL,
    )  # fmt: skip
    found = {}
    for role, column in wanted.items():
        chunked = table.column(column)
        if role in layout.few:
            chunked = chunked.unify_dictionaries()
        found[role] = chunked.combine_chunks() if chunked.num_chunks != 1 else chunked.chunk(0)
    return found


def _carefully(body: bytes, names: list[str], layout: Layout, warnings: list[str]) -> Table:
    """Read line by line, keeping what has the right shape and numbers."""
    at = {role: names.index(column) for role, column in layout.columns.items()}
    numbers = {role: at[role] for role in layout.numbers}
    kept: list[bytes] = []
    lines: list[int] = []
    skipped: list[tuple[int, str]] = []
    rows = 0
    for number, raw in enumerate(body.split(b"\n"), 2):
        line = raw.rstrip(b"\r")
        if not line:
            continue
        rows += 1
        reason, cells = _cells(line, len(names))
        if not reason:
            for role, column in numbers.items():
                if not cells[column]:
                    cells[column] = "0"
                elif not _is_number(cells[column]):
                    reason = f"{layout.columns[role]} is {cells[column][:40]!r}, not a number"
                    break
        if reason:
            skipped.append((number, reason))
            continue
        kept.append(",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells).encode())
        lines.append(number)
    if not rows:
        raise MasterError(f"{layout.member} has a header and no rows.")
    if len(skipped) > max(rows * _TOO_MANY, 5) or not kept:
        first, reason = skipped[0]
        raise MasterError(
            f"{len(skipped):,} of the {rows:,} rows of {layout.member} cannot be read, the first "
            f"on line {first}: {reason}."
        )
    columns = _columns(b"\n".join(kept), names, layout, layout.columns.keys())
    return Table(layout, columns, np.array(lines), rows, skipped, warnings)


def _cells(line: bytes, count: int) -> tuple[str, list[str]]:
    """Return why a line cannot be read (or nothing) and its cells."""
    if len(line) > _LINE_BYTES:
        return f"it has {len(line):,} bytes", []
    try:
        cells = next(csv.reader([line.decode()], strict=True), [])
    except csv.Error as exc:
        return f"it is no CSV ({exc})", []
    if len(cells) != count:
        return f"it has {len(cells)} columns, not {count}", []
    return "", cells


def _is_number(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return bool(np.isfinite(value))
