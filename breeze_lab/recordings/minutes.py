"""One-minute bars of a whole recorded day, all instruments in one reading.

Owns the way from the rows of a recording to bars, built by the `BarBuilder`
that the relay builds with, and to the times between which something is known:
when each instrument was listened to, and when ticks of it may be missing. What
the bars are compared with is `comparing`'s business.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from breeze_lab.bars import BarBuilder, Interval
from breeze_lab.errors import RecordingError
from breeze_lab.recordings.catalog import said
from breeze_lab.relay.reading import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from breeze_lab.bars import Closed
    from breeze_lab.relay.days import Place
    from breeze_lab.ticks import Tick

__all__ = ["Minutes", "Span", "read"]

#: From when to when, Unix seconds of the exchange's time, half-open.
Span: TypeAlias = tuple[float, float]

#: A trade is told within this time; what was lost before a gap may be so much older.
LATE_S: Final = 3.0
#: A frame that told a trade so soon comes from a market whose clock is ours.
_SOON_MS: Final = (-2_000, 10_000)
_COLUMNS: Final = [
    "feed_room", "feed_received_ms", "feed_exchange_s", "feed_epoch", "feed_last", "feed_volume",
    "feed_open_interest",
]  # fmt: skip


class _Quote:
    """As much of a tick as a minute wants to know; a million of them are made."""

    __slots__ = ("last", "open_interest", "volume")
    last: float | None
    volume: int | None
    open_interest: int | None


@dataclass(slots=True)
class Minutes:
    """What is known of one instrument's day.

    Parameters
    ----------
    key, room
        Its names.
    held
        When it was listened to, Unix milliseconds of receipt.

    Attributes
    ----------
    bars
        Closed and last bars by their opening second.
    ticks
        Rows that told a time.
    """

    key: str
    room: str
    held: list[list[int]]
    builder: BarBuilder
    bars: dict[int, Closed] = field(default_factory=dict)
    ticks: int = 0
    #: Of every row, to tell the time of a market whose clock is another than ours.
    received: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[int] = field(default_factory=lambda: array("q"))
    #: Whether the market's clock is this machine's, as a real one's is.
    ours: bool = True
    _epoch: int | None = None
    _until_ms: float = -1
    _next: int = 0

    def take(self, received_ms: int, second: int, epoch: int, quote: _Quote) -> None:
        """Build the bars of one row."""
        if epoch != self._epoch:
            if self._epoch is not None:
                self.builder.gap()
            self._epoch = epoch
        if received_ms > self._until_ms:
            self._turn(received_ms)
        closed = self.builder.take(second, cast("Tick", quote))
        if closed is not None:
            self.bars[closed[0]] = closed
        self.ticks += 1
        self.received.append(received_ms)
        self.seconds.append(second)

    def _turn(self, received_ms: int) -> None:
        """Begin anew where it was left for a while."""
        held = self.held
        while self._next < len(held) and held[self._next][1] < received_ms:
            self._next += 1
        if self._next < len(held):
            self._until_ms = held[self._next][1]
        else:
            self._until_ms = float("inf")
            return
        if self.ticks and held[self._next][0] > self.received[-1]:
            self.builder.gap()

    def finish(self) -> None:
        """Take the last bar, which no tick closed."""
        last = self.builder.values()
        if last is None:
            return
        self.bars[last[0]] = (*last, self.builder.whole)
        soonest = min(
            got - 1000 * told for got, told in zip(self.received, self.seconds, strict=True)
        )
        self.ours = _SOON_MS[0] <= soonest <= _SOON_MS[1]

    def spans(self) -> list[Span]:
        """Return when it was listened to, in the exchange's time."""
        known = self.held or [[self.received[0], self.received[-1]]] if self.ticks else []
        return [span for first, last in known if (span := self._inside(first, last))]

    def gap(self, from_ms: int, to_ms: int | None) -> Span:
        """Return when trades may be missing, in the exchange's time, with a little before it."""
        if to_ms is None:
            return self._second(from_ms, "before") - LATE_S, float("inf")
        return self._second(from_ms, "before") - LATE_S, self._second(to_ms, "after")

    def _inside(self, from_ms: int, to_ms: int) -> Span | None:
        first, last = self._second(from_ms, "after"), self._second(to_ms, "before")
        return (first, last) if first < last else None

    def _second(self, at_ms: int, side: str) -> float:
        """Return the exchange's time at a moment of ours, by its own rows where clocks differ."""
        if self.ours or not self.ticks:
            return at_ms / 1000
        if side == "before":
            place = bisect_right(self.received, at_ms) - 1
            return float(self.seconds[max(place, 0)])
        place = bisect_left(self.received, at_ms)
        return float(self.seconds[min(place, self.ticks - 1)])


def read(place: Place, keys: Iterable[str] | None = None) -> dict[str, Minutes]:
    """Return what a recording says of its instruments, by key.

    Parameters
    ----------
    keys
        Of these only; of all by default.

    Raises
    ------
    RecordingError
        The recording is damaged.
    """
    rooms: Mapping[str, Mapping[str, Any]] = said(place)["rooms"]
    wanted = None if keys is None else set(keys)
    found: dict[str, Minutes] = {}
    for room, told in rooms.items():
        key = str(told["key"])
        if (wanted is None or key in wanted) and told["ticks"]:
            # Of currencies and commodities bars count from 09:00.
            anchor_s = 32_400 if told["exchange"] in ("MCX", "NDX") else 33_300
            builder = BarBuilder(Interval.M1, anchor_s)
            found[room] = Minutes(key, room, list(told.get("held", ())), builder)
    quote = _Quote()
    for room, received_ms, second, epoch, last, volume, interest in _rows(place):
        minutes = found.get(room)
        if minutes is None or second is None:
            continue
        quote.last, quote.volume, quote.open_interest = last, volume, interest
        minutes.take(received_ms, second, epoch, quote)
    for minutes in found.values():
        minutes.finish()
    return {minutes.key: minutes for minutes in found.values() if minutes.ticks}


def _rows(place: Place) -> Iterator[Sequence[Any]]:
    """Yield the rows in the order in which they came; every page is checked."""
    import pyarrow as pa  # noqa: PLC0415 - half a second
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(place.ticks, page_checksum_verification=True) as file:
            for batch in file.iter_batches(GROUP, columns=_COLUMNS):
                yield from zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True)
    except (pa.ArrowException, OSError) as exc:
        reason = str(exc).partition("\n")[0][:100]
        raise RecordingError(
            f"{place.ticks} cannot be read ({reason}). See `breeze-lab recordings check "
            f"{place.day}`."
        ) from exc
