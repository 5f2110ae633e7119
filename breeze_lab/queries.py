"""SQL over what is stored: bars, recorded ticks and the list of both, in one read-only query.

Owns what a query may see. DuckDB runs in this process's memory, over files
that were verified for this query; it can open nothing else, write nothing and
load no extension, and only a SELECT is run at all. One market is looked at at a
time, so invented prices never join real ones.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import session
from breeze_lab.errors import HistoryWarning, RecordingError, SqlError
from breeze_lab.historical import catalog, markets
from breeze_lab.historical.shelf import root
from breeze_lab.relay import stored
from breeze_lab.relay.columns import QUOTE
from breeze_lab.relay.days import Place, places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import duckdb
    import pandas as pd

__all__ = ["sql"]

#: Columns of the views, for messages and for a store without a file.
_BARS: Final = {
    "market": "VARCHAR", "key": "VARCHAR", "interval": "VARCHAR", "time": "TIMESTAMPTZ",
    "open": "DOUBLE", "high": "DOUBLE", "low": "DOUBLE", "close": "DOUBLE", "volume": "BIGINT",
    "open_interest": "DOUBLE",
}  # fmt: skip
_TICKS: Final = {
    "market": "VARCHAR", "key": "VARCHAR", "time": "TIMESTAMPTZ",
    **{name: "BIGINT" if kind == "whole" else "DOUBLE" for name, kind in QUOTE.items()},
    "sequence": "BIGINT", "epoch": "BIGINT", "apart": "VARCHAR",
}  # fmt: skip
_SERIES: Final = {
    "market": "VARCHAR", "key": "VARCHAR", "interval": "VARCHAR", "first": "TIMESTAMPTZ",
    "last": "TIMESTAMPTZ", "bars": "BIGINT", "bytes": "BIGINT",
}  # fmt: skip
_VIEWS: Final = {"bars": _BARS, "ticks": _TICKS, "series": _SERIES}
#: A file can be written anew while a query begins.
_ATTEMPTS: Final = 5
#: Recorded days that were read through in this process, by what the disk says of them.
_checked: Final[dict[Path, tuple[int, int, int]]] = {}


def sql(
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    market: str | None = None,
) -> pd.DataFrame:
    """Return the answer of a SELECT over what is stored; nothing is fetched.

    Parameters
    ----------
    query
        One SELECT of DuckDB's SQL over these views:

        ``bars``: market, key (``"NSE:RELIANCE"``), interval (``"1s" "1m" "5m"
        "30m" "1d"``), time (opening), open, high, low, close in rupees,
        volume, open_interest (NULL for cash).

        ``ticks``: the recorded days; market, key, time, what each quote said,
        sequence, epoch, apart.

        ``series``: what is stored of bars; market, key, interval, first, last,
        bars, bytes.
    parameters
        Values for ``?`` (a sequence) or ``$name`` (a mapping); never put a
        value into the text.
    market
        ``"icici"`` or ``"practice"``: the session's by default, else the
        broker's when there is something of it.

    Returns
    -------
    DataFrame
        Times are aware, Asia/Kolkata. ``attrs`` hold ``source`` (the market)
        and ``store`` (the folder looked at).

    Raises
    ------
    SqlError
        It is no single SELECT, it does not fit the views, or it reaches for
        something else than these.

    Warns
    -----
    HistoryWarning
        A file is damaged; the answer is without it.

    Examples
    --------
    >>> breeze_lab.sql(  # doctest: +SKIP
    ...     "select key, avg(volume) from bars where interval = '1d' and key = ? group by key",
    ...     ["NSE:RELIANCE"],
    ... )
    """
    import duckdb  # noqa: PLC0415 - on first use

    _only_select(query)
    store = _store(market)
    words = set(re.findall(r"[a-z_]+", query.lower()))
    for attempt in range(_ATTEMPTS):
        with duckdb.connect(config=_CLOSED) as connection:
            try:
                _open(connection, store, words)
                frame: pd.DataFrame = connection.execute(query, parameters).df()
            except duckdb.IOException as exc:
                if attempt == _ATTEMPTS - 1:
                    raise _error(exc) from exc
                continue
            except duckdb.Error as exc:
                raise _error(exc) from exc
            frame.attrs.update(source=store.partition("-")[0], store=store)
            return frame
    raise AssertionError("the last attempt answers or raises")


#: What a connection may do before it knows any file.
_CLOSED: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": False, "autoload_known_extensions": False,
    "python_enable_replacements": False, "temp_directory": "",
}  # fmt: skip


def _only_select(query: str) -> None:
    """Refuse everything but one SELECT.

    EXPLAIN is refused too: with ANALYZE it runs whatever stands behind it.
    """
    import duckdb  # noqa: PLC0415 - see sql

    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as exc:
        raise _error(exc) from exc
    kinds = [one.type.name for one in statements]
    if kinds != ["SELECT"]:
        what = f"{len(kinds)} statements" if len(kinds) != 1 else f"a statement of {kinds[0]}"
        raise SqlError(
            f"One SELECT is run here and nothing else, and this is {what}. Nothing was done. To "
            'keep an answer use its frame: breeze_lab.sql("…").to_parquet("mine.parquet")'
        )


def _store(market: str | None) -> str:
    """Return the folder of the market to look at."""
    known = session.joined()
    if known is not None and market in (None, known.endpoints.name):
        found = markets.of_session(known)
        if found is not None:
            return found.folder
    folders = sorted(
        (folder for folder in root().glob("*") if folder.is_dir()),
        key=lambda folder: folder.stat().st_mtime,
    )
    names = [folder.name for folder in folders]
    if market is None:
        return "icici" if "icici" in names or not names else names[-1]
    fitting = [name for name in names if name == market or name.partition("-")[0] == market]
    if market not in ("icici", "practice") and not fitting:
        there = ", ".join(dict.fromkeys(name.partition("-")[0] for name in names)) or "nothing yet"
        raise SqlError(f"Nothing is stored of a market {market!r}. Stored: {there}.")
    return fitting[-1] if fitting else market


def _open(connection: duckdb.DuckDBPyConnection, store: str, words: set[str]) -> None:
    """Make the views that a query mentions, over verified files, and lock everything else."""
    connection.execute("SET TimeZone = 'Asia/Kolkata'")
    market = store.partition("-")[0]
    paths: list[Path] = []
    known = catalog.series(store) if words & {"bars", "series"} else []
    branches = []
    if "bars" in words:
        for one in known:
            files = catalog.verified(one.folder)
            paths += files
            if files:
                branches.append(_bars(one, files))
        connection.execute(_view("bars", branches))
    branches = []
    if "ticks" in words:
        for place in places(market):
            if place.ticks.exists() and _whole(place):
                paths.append(place.ticks)
                branches.append(_ticks(market, place))
        connection.execute(_view("ticks", branches))
    if "series" in words:
        connection.execute(f"CREATE TABLE series ({_columns(_SERIES)})")
        if known:
            connection.executemany(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(market, s.key, s.interval, s.first, s.last, s.bars, s.bytes) for s in known],
            )
    # What is compared is the name as it is written in the view, and the one it leads to.
    allowed = dict.fromkeys(name for path in paths for name in (str(path), _name(path)))
    connection.execute(f"SET allowed_paths = [{', '.join(map(_text, allowed))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _bars(one: catalog.Series, files: list[Path]) -> str:
    return (  # every value is quoted by _text
        f"SELECT {_text(one.market)} AS market, {_text(one.key)} AS key, "
        f'{_text(one.interval)} AS "interval", "start" AS "time", "open", high, low, "close", '
        "volume, nullif(open_interest, 'nan'::DOUBLE) AS open_interest "
        f"FROM read_parquet([{', '.join(_text(_name(path)) for path in files)}])"
    )


def _ticks(market: str, place: Place) -> str:
    said = ", ".join(f'feed_{name} AS "{name}"' for name in QUOTE)
    return (
        f'SELECT {_text(market)} AS market, feed_key AS key, "time", {said}, '
        "feed_sequence AS sequence, feed_epoch AS epoch, coalesce(feed_apart, '') AS apart "
        f"FROM read_parquet({_text(_name(place.ticks))})"
    )


def _whole(place: Place) -> bool:
    """Say whether a recorded day is as it was written; read through once for each state of it."""
    info = place.ticks.stat()
    state = info.st_ino, info.st_size, info.st_mtime_ns
    if _checked.get(place.ticks) != state:
        try:
            stored.check(place)
        except RecordingError as exc:
            warnings.warn(f"{exc} The answer is without this day.", HistoryWarning, stacklevel=4)
            return False
        _checked[place.ticks] = state
    return True


def _view(name: str, branches: list[str]) -> str:
    nothing = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in _VIEWS[name].items())
    return f"CREATE VIEW {name} AS " + " UNION ALL ".join(
        [f"SELECT {nothing} WHERE false", *branches]
    )


def _columns(view: Mapping[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in view.items())


def _name(path: Path) -> str:
    """Return a path that is no pattern, whatever its folders are called."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _text(value: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def _error(exc: Exception) -> SqlError:
    """Return what DuckDB said, and the next step."""
    said = str(exc).split("\n\n")[0].replace("\n", " ").strip()[:300]
    if type(exc).__name__ == "PermissionException":
        step = (
            "A query sees what Breeze Lab has stored and no other file. Read the file with pandas "
            "and join the frames there."
        )
    elif "parameter" in said:
        step = 'Give the values beside the text: breeze_lab.sql("… where key = ?", ["NSE:TCS"]).'
    else:
        views = "; ".join(f"{name} ({', '.join(view)})" for name, view in _VIEWS.items())
        step = f"There are: {views}."
    return SqlError(f"{said}. {step}" if not said.endswith((".", "!")) else f"{said} {step}")
