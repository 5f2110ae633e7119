"""The ticks, bars and gaps of a recorded day as frames, and where history has other bars."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final, Literal

from breeze_lab import clock
from breeze_lab.bars import Bar, BarBuilder, Interval
from breeze_lab.errors import RecordingError
from breeze_lab.recordings.catalog import find, keys, said
from breeze_lab.relay import stored
from breeze_lab.relay.columns import QUOTE
from breeze_lab.relay.compared import Compared
from breeze_lab.relay.reading import Reading
from breeze_lab.ticks import Tick

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd
    import pyarrow as pa

    from breeze_lab.instruments import Instrument
    from breeze_lab.relay.days import Place

__all__ = ["bars", "differences", "gaps", "load"]

#: The frame's columns after its index, and the recording's.
_SHOWN: Final = {
    "feed_key": "key",
    **{f"feed_{name}": name for name in QUOTE},
    "feed_exchange_s": "exchange_time", "feed_received_ms": "received", "feed_room": "room",
    "feed_sequence": "sequence", "feed_epoch": "epoch", "feed_apart": "apart",
}  # fmt: skip
#: Rows that the relay would build no bar of that day from.
_NO_BARS: Final = ("no time", "another day")
_FOR_BARS: Final = ("feed_exchange_s", "feed_epoch", *(f"feed_{name}" for name in QUOTE))


def load(
    day: date | str,
    instruments: str | Instrument | Iterable[str | Instrument] | None = None,
    start: time | datetime | str | None = None,
    end: time | datetime | str | None = None,
    *,
    market: str | None = None,
) -> pd.DataFrame:
    """Return the ticks of a day in the order in which they came.

    Parameters
    ----------
    day, market
        See `find`. Of today, and of a day that was not recorded yet, the log is
        read as far as it is whole.
    instruments
        One or several: keys (``"NSE:RELIANCE"``), symbols or ICICI codes; all
        by default.
    start, end
        Half-open range [start, end) of the rows' time: a time of the day or a
        datetime, naive is IST.

    Returns
    -------
    DataFrame
        What each frame said: ``last open high low previous_close bid ask
        average_price lower_circuit upper_circuit turnover`` in rupees,
        quantities and open interest as the broker reports them. ``received``
        and ``exchange_time`` (the second the frame told) are aware IST;
        ``sequence`` counts the frames of the room, ``epoch`` the connections.
        ``apart`` says why a replay leaves the row out, and is blank for most.
        Index ``time``: Asia/Kolkata, in the exchange's second.

    Raises
    ------
    RecordingError, InstrumentNotFound
    """
    place = find(day, market)
    table = _table(
        place,
        keys(place, instruments),
        (_moment(start, place), _moment(end, place)),
        ("time", *_SHOWN),
    )
    frame: pd.DataFrame = table.to_pandas().rename(columns=_SHOWN).set_index("time")
    frame["exchange_time"] = _ist(frame["exchange_time"], "s")
    frame["received"] = _ist(frame["received"], "ms")
    frame["apart"] = frame["apart"].fillna("")
    return frame


def bars(
    day: date | str,
    instrument: str | Instrument,
    interval: str | Interval = "1m",
    *,
    market: str | None = None,
) -> pd.DataFrame:
    """Return the bars of one instrument, built from its recorded ticks as the relay builds them.

    Returns
    -------
    DataFrame
        As `breeze_lab.history` returns it, and ``complete``: False of the first
        bar, of one in which a connection was lost, and of the last. Index
        ``start``: opening times, Asia/Kolkata.

    Raises
    ------
    RecordingError, InstrumentNotFound, SettingsError
    """
    import pandas as pd  # noqa: PLC0415 - half a second

    place, length = find(day, market), Interval.parse(interval)
    table = _table(
        place, keys(place, instrument), (None, None), ("exchange", "feed_apart", *_FOR_BARS)
    )
    built = list(_built(table, length))
    frame = pd.DataFrame(
        {
            name: [getattr(bar, name) for bar in built]
            for name in ("open", "high", "low", "close", "volume", "open_interest", "complete")
        },
        index=pd.DatetimeIndex([bar.start for bar in built], name="start", tz=clock.IST),
    )
    return frame.astype({"open_interest": "float64", "complete": "bool"})


def gaps(day: date | str, *, market: str | None = None) -> pd.DataFrame:
    """Return when ticks may be missing.

    Returns
    -------
    DataFrame
        ``key``, ``start`` and ``end`` (aware IST; end is NaT while it is open),
        ``cause`` and ``state``.

    Raises
    ------
    RecordingError
    """
    import pandas as pd  # noqa: PLC0415 - half a second

    rows = said(find(day, market))["gaps"]
    frame = pd.DataFrame(rows, columns=["key", "from_ms", "to_ms", "cause", "state"])
    frame = frame.rename(columns={"from_ms": "start", "to_ms": "end"})
    for name in ("start", "end"):
        frame[name] = _ist(frame[name].astype("float64"), "ms")
    return frame


def differences(day: date | str, *, market: str | None = None) -> pd.DataFrame:
    """Return where the bars of a day are not those of the broker's history.

    Returns
    -------
    DataFrame
        A row for each field of a one-minute bar that is not the same: ``day``,
        ``key``, ``start`` (its opening, aware IST), ``field`` (open, high, low,
        close or volume), ``ours``, ``theirs`` (NaN where that side has no such
        bar) and ``in_gap``: whether ticks are known to be missing there. Empty
        when none differs. ``attrs["instruments"]`` says by key what was compared:
        ``state``, ``reason`` and counts of bars.

    Raises
    ------
    RecordingError
        It was not compared yet.
    """
    import pandas as pd  # noqa: PLC0415 - half a second

    place = find(day, market)
    if not place.compared.exists():
        raise RecordingError(
            f"{place.day:%d-%m-%Y} was not compared with history yet. "
            f"breeze-lab recordings compare {place.day}"
        )
    with Compared(place) as file:
        rows, instruments = file.differences(), file.instruments()
    frame = pd.DataFrame(rows, columns=["key", "start", "field", "ours", "theirs", "in_gap"])
    frame.insert(0, "day", pd.Series([place.day] * len(frame), dtype="object"))
    frame["start"] = _ist(frame["start"].astype("int64"), "s")
    frame = frame.astype({"ours": "float64", "theirs": "float64", "in_gap": "bool"})
    frame.attrs["instruments"] = {one.pop("key"): one for one in instruments}
    return frame


def _moment(at: time | datetime | str | None, place: Place) -> datetime | None:
    if at is None:
        return None
    if isinstance(at, str):
        text = at if "-" in at else f"{place.day.isoformat()}T{at.zfill(5)}"
        try:
            return clock.to_ist(datetime.fromisoformat(text))
        except ValueError:
            raise RecordingError(
                f"{at!r} is no time. Write 09:15, or 2026-11-19T09:15 (IST)."
            ) from None
    if isinstance(at, datetime):
        return clock.to_ist(at)
    return datetime.combine(place.day, at, clock.IST)


def _table(
    place: Place,
    wanted_keys: Sequence[str] | None,
    span: tuple[datetime | None, datetime | None],
    columns: Sequence[str],
) -> pa.Table:
    """Return some columns of the rows of some instruments and a span of time, in their order."""
    import pyarrow as pa  # noqa: PLC0415 - half a second
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    wanted: Any = None
    start, end = span
    conditions = [] if wanted_keys is None else [pc.field("feed_key").isin(list(wanted_keys))]
    conditions += [pc.field("time") >= _scalar(start)] if start is not None else []
    conditions += [pc.field("time") < _scalar(end)] if end is not None else []
    for one in conditions:
        wanted = one if wanted is None else wanted & one
    try:
        if place.ticks.exists():
            return parquet.read_table(
                place.ticks, columns=list(columns), filters=wanted, page_checksum_verification=True
            )
        tables = []
        for rows in Reading(place).read():
            some = stored.table(rows.ticks)
            rows.ticks.clear()
            rows.rest.clear()
            some = some if wanted is None else some.filter(wanted)
            tables.append(some.select(list(columns)))
        return pa.concat_tables(tables)
    except (pa.ArrowException, OSError) as exc:
        raise RecordingError(
            f"{place.ticks} cannot be read ({str(exc).splitlines()[0][:100]}). "
            f"See `breeze-lab recordings check {place.day}`."
        ) from exc


def _scalar(moment: datetime) -> pa.Scalar:
    import pyarrow as pa  # noqa: PLC0415 - half a second

    return pa.scalar(moment, pa.timestamp("ms", "Asia/Kolkata"))


def _ist(numbers: pd.Series, unit: Literal["s", "ms"]) -> pd.Series:
    import pandas as pd  # noqa: PLC0415 - half a second

    found: pd.Series = pd.to_datetime(numbers, unit=unit, utc=True).dt.tz_convert("Asia/Kolkata")
    return found


def _built(table: pa.Table, length: Interval) -> Iterator[Bar]:
    """Yield the bars of one instrument's rows."""
    # Of currencies and commodities bars count from 09:00.
    exchange = table.column("exchange")[0].as_py() if table.num_rows else ""
    builder = BarBuilder(length, 32_400 if exchange in ("MCX", "NDX") else 33_300)
    epoch = None
    columns = [table.column(name).to_pylist() for name in ("feed_apart", *_FOR_BARS)]
    for apart, second, connection, *quote in zip(*columns, strict=True):
        if apart in _NO_BARS:
            continue
        if epoch not in (None, connection):
            builder.gap()
        epoch = connection
        closed = builder.add_at(second, Tick("", None, **dict(zip(QUOTE, quote, strict=True))))
        if closed is not None:
            yield closed
    forming = builder.forming
    if forming is not None:
        yield forming
