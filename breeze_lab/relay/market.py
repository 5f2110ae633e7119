"""What the relay knows of each instrument: last tick, sequence, bars.

Owns the order of ticks (`sequence`) and the rows in which ticks and bars
travel through the door. Who wants them is left to `hub` and `consumers`.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from breeze_lab.bars import BarBuilder, Interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.relay.consumers import Watch
    from breeze_lab.ticks import Tick

__all__ = ["BARS_KEPT", "BarRow", "Codec", "Line", "Row", "Sample", "Series", "TickRow", "sample"]

#: Closed bars kept for each instrument and interval.
BARS_KEPT: Final = 1500

#: ``[key, interval, start_s, open, high, low, close, volume, open_interest, complete, forming]``
BarRow: TypeAlias = tuple[
    str, str, int, float, float, float, float, int, int | None, bool, bool
]  # fmt: skip
#: ``[key, sequence, epoch, exchange_time_s, received_ms, last, open, high, low,
#: previous_close, change_percent, bid, bid_quantity, ask, ask_quantity,
#: last_quantity, average_price, volume, open_interest]``
TickRow: TypeAlias = tuple[Any, ...]


class Codec:
    """One of the door's two encodings.

    Parameters
    ----------
    subprotocol
        Name the client asked for; ends in ``msgpack`` or ``json``.
    """

    def __init__(self, subprotocol: str) -> None:
        """Choose the encoding."""
        self.text = subprotocol.endswith("json")
        self.slot = int(self.text)
        self.encode = (
            msgspec.json.Encoder().encode if self.text else msgspec.msgpack.Encoder().encode
        )


class Row:
    """One row on its way out; encoded at most once for each encoding."""

    __slots__ = ("_raw", "values")

    def __init__(self, values: TickRow | BarRow) -> None:
        """Keep the values; nothing is encoded before somebody asks."""
        self.values = values
        self._raw: list[msgspec.Raw | None] = [None, None]

    def encoded(self, codec: Codec) -> msgspec.Raw:
        """Return the row in the encoding of `codec`."""
        raw = self._raw[codec.slot]
        if raw is None:
            raw = self._raw[codec.slot] = msgspec.Raw(codec.encode(self.values))
        return raw


class Sample(Row):
    """The row of one tick, with what a queue needs to know of it."""

    __slots__ = ("key", "sequence")

    def __init__(self, key: str, sequence: int, values: TickRow) -> None:
        """See `Row`."""
        super().__init__(values)
        self.key = key
        self.sequence = sequence

    @property
    def epoch_s(self) -> int | None:
        """The exchange time in Unix seconds."""
        values: TickRow = self.values
        moment: int | None = values[3]
        return moment


def sample(key: str, tick: Tick, sequence: int, epoch: int, received_ms: int) -> Sample:
    """Return the row of one tick."""
    moment = tick.exchange_time
    epoch_s = None if moment is None else int(moment.timestamp())
    return Sample(
        key,
        sequence,
        (
            key, sequence, epoch, epoch_s, received_ms,
            tick.last, tick.open, tick.high, tick.low, tick.previous_close,
            tick.change_percent, tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity,
            tick.last_quantity, tick.average_price, tick.volume, tick.open_interest,
        ),
    )  # fmt: skip


class Series:
    """The bars of one line and interval: closed ones and the forming one."""

    __slots__ = ("_closed", "_forming", "builder", "idle_since", "interval", "key", "refs")

    def __init__(self, key: str, interval: Interval, anchor_s: int) -> None:
        """Start with no bar."""
        self.key = key
        self.interval = interval
        self.builder = BarBuilder(interval, anchor_s)
        self.refs = 0
        self.idle_since = time.monotonic()
        self._closed: deque[tuple[int, Row]] = deque(maxlen=BARS_KEPT)
        self._forming: Row | None = None  # made when somebody asks

    def add(self, epoch_s: int, tick: Tick) -> int | None:
        """Take a tick; return the opening second of the oldest bar it changed."""
        builder = self.builder
        before = builder.start_s
        self._forming = None
        closed = builder.add_at(epoch_s, tick)
        if closed is None or before is None:
            return builder.start_s
        row = (
            self.key, self.interval.label, before, closed.open, closed.high, closed.low,
            closed.close, closed.volume, closed.open_interest, closed.complete, False,
        )  # fmt: skip
        self._closed.append((before, Row(row)))
        return before

    def rows(self, since_s: int = 0) -> list[Row]:
        """Return the bars that opened at `since_s` or later, the forming one last.

        A forming row's ``complete`` says whether it is whole so far.
        """
        rows: list[Row] = []
        for start_s, row in reversed(self._closed):
            if start_s < since_s:
                break
            rows.append(row)
        rows.reverse()
        if self._forming is None:
            values = self.builder.values()
            if values is None:
                return rows
            self._forming = Row((self.key, self.interval.label, *values, self.builder.whole, True))
        rows.append(self._forming)
        return rows

    def gap(self) -> None:
        """Note that ticks were missed."""
        self.builder.gap()
        self._forming = None

    def clear(self) -> None:
        """Forget every bar: another market speaks from now on."""
        self._closed.clear()
        self._forming = None
        self.builder = BarBuilder(self.interval, self.builder.anchor_s)


class Line:
    """One instrument as consumers named it, fed by one room.

    Parameters
    ----------
    key, room, anchor_s
        See the door's ``subscribe``.
    sequence
        Of the last tick of the room, which may have been here before.
    """

    def __init__(self, key: str, room: str, anchor_s: int, sequence: int = 0) -> None:
        """Know nothing yet."""
        self.key = key
        self.room = room
        self.anchor_s = anchor_s
        self.sequence = sequence
        self.series: dict[Interval, Series] = {}
        self.watches: dict[int, Watch] = {}
        self.last: Sample | None = None
        self.asked_ms = int(time.time() * 1000)
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.ticks = 0
        self.gaps = 0
        self.idle_since = time.monotonic()
        self._last: tuple[int, Tick] | None = None  # with a time, and heard without a gap since

    def hold(self, intervals: Iterable[Interval]) -> None:
        """Keep bars of `intervals` for one more consumer."""
        for interval in intervals:
            series = self.series.get(interval)
            if series is None:
                series = self.series[interval] = Series(self.key, interval, self.anchor_s)
                if self._last is not None:  # the market stands where it stood last
                    series.add(*self._last)
            series.refs += 1

    def release(self, intervals: Iterable[Interval]) -> None:
        """Keep bars of `intervals` for one consumer fewer."""
        for interval in intervals:
            series = self.series[interval]
            series.refs -= 1
            series.idle_since = time.monotonic()

    def take(self, tick: Tick, sequence: int, epoch: int, received_ms: int) -> Sample:
        """Build the bars of one tick; offer both to every watch."""
        self.sequence = sequence
        self.ticks += 1
        self.first_ms = self.first_ms or received_ms
        self.last_ms = received_ms
        offered = self.last = sample(self.key, tick, sequence, epoch, received_ms)
        epoch_s = offered.epoch_s
        changed: dict[Interval, int | None] = {}
        if epoch_s is not None:
            self._last = epoch_s, tick
            for interval, series in self.series.items():
                changed[interval] = series.add(epoch_s, tick)
        for watch in self.watches.values():
            watch.offer(offered, changed)
        return offered

    def resume(self, tick: Tick, sequence: int, epoch: int, received_ms: int) -> None:
        """Stand where a former relay stood after this tick; its bars have it already."""
        self.sequence, self.last_ms = sequence, received_ms
        self.last = sample(self.key, tick, sequence, epoch, received_ms)
        if self.last.epoch_s is not None:
            self._last = self.last.epoch_s, tick

    def keep(self, until: float) -> None:
        """Keep the bars until then (monotonic seconds) though nobody wants them yet."""
        self.idle_since = until
        for series in self.series.values():
            series.idle_since = until

    def gap(self) -> None:
        """Note that ticks may be missing from here on."""
        if self._last is None:
            return
        self.gaps += 1
        self._last = None
        for series in self.series.values():
            series.gap()

    def clear(self) -> None:
        """Forget prices: another market speaks from now on. Sequences go on."""
        self.last = self._last = None
        self.first_ms = self.last_ms = None
        for series in self.series.values():
            series.clear()

    def drop_idle_series(self, before: float) -> None:
        """Forget the bars nobody has wanted since `before` (monotonic seconds)."""
        for interval, series in list(self.series.items()):
            if series.refs <= 0 and series.idle_since < before:
                del self.series[interval]
