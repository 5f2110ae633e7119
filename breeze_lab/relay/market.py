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
from breeze_lab.ladder import Ladder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from breeze_lab.bars import Fold
    from breeze_lab.frames import Quote
    from breeze_lab.relay.audience import Audience
    from breeze_lab.relay.consumers import Watch
    from breeze_lab.relay.fold import Hole, Piece
    from breeze_lab.ticks import Tick

__all__ = [
    "BARS_KEPT", "BarRow", "Codec", "Line", "Row", "Sample", "Series", "TickRow", "tick_rows",
]  # fmt: skip

#: Closed bars kept for each instrument and interval.
BARS_KEPT: Final = 1500
#: Gaps remembered for each instrument, to heal its bars.
HOLES_KEPT: Final = 50

#: ``[key, interval, start_s, open, high, low, close, volume, open_interest, complete, forming]``,
#: and True behind it when history was put into it.
BarRow: TypeAlias = tuple[Any, ...]
#: ``[key, sequence, epoch, exchange_time_s, received_ms, last, open, high, low,
#: previous_close, change_percent, bid, bid_quantity, ask, ask_quantity,
#: last_quantity, average_price, volume, open_interest]``
TickRow: TypeAlias = tuple[Any, ...]
#: A tick of a line: its place among the ticks of all lines, key, sequence, epoch, received_ms and
#: the quote. A plain tuple, because every tick is one; its row is made when it is encoded.
Sample: TypeAlias = "tuple[int, str, int, int, int, Tick | Quote]"


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
        self.encode = (
            msgspec.json.Encoder().encode if self.text else msgspec.msgpack.Encoder().encode
        )


class Row:
    """One row on its way out; encoded at most once for each encoding."""

    __slots__ = ("_packed", "_text", "values")

    def __init__(self, values: TickRow | BarRow) -> None:
        """Keep the values; nothing is encoded before somebody asks."""
        self.values = values
        self._packed: msgspec.Raw | None = None
        self._text: msgspec.Raw | None = None

    def encoded(self, codec: Codec) -> msgspec.Raw:
        """Return the row in the encoding of `codec`."""
        raw = self._text if codec.text else self._packed
        if raw is None:
            raw = msgspec.Raw(codec.encode(self.values))
            if codec.text:
                self._text = raw
            else:
                self._packed = raw
        return raw


def tick_rows(samples: Iterable[Sample]) -> list[TickRow]:
    """Return the rows of ticks."""
    return [
        (
            key, sequence, epoch, tick.seconds or None, received_ms,
            tick.last, tick.open, tick.high, tick.low, tick.previous_close,
            tick.change_percent, tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity,
            tick.last_quantity, tick.average_price, tick.volume, tick.open_interest,
        )
        for _, key, sequence, epoch, received_ms, tick in samples
    ]  # fmt: skip


class Series:
    """The bars of one line and interval: closed ones and the forming one."""

    __slots__ = (
        "_builder", "_closed", "_forming", "_label", "_mended_s", "idle_since", "interval", "key",
        "ladder", "refs",
    )  # fmt: skip

    def __init__(self, key: str, interval: Interval, anchor_s: int) -> None:
        """Start with no bar."""
        self.key = key
        self.interval = interval
        self._label = interval.label
        self.ladder = Ladder([self], anchor_s)
        self._builder = BarBuilder(interval, anchor_s)
        self.refs = 0
        self.idle_since = time.monotonic()
        self._closed: deque[tuple[int, Row]] = deque(maxlen=BARS_KEPT)
        self._forming: Row | None = None  # made when somebody asks
        self._mended_s = -1  # opening of the forming bar that history was put into

    @property
    def builder(self) -> BarBuilder:
        """The builder, with every tick so far."""
        self.ladder.flush()
        return self._builder

    def add(self, epoch_s: int, tick: Tick | Quote) -> int | None:
        """Take a tick that the line's other intervals do not get; as `step`."""
        self.ladder.restart()
        return self.step(epoch_s, tick)

    def fold(self, fold: Fold) -> None:
        """Take several ticks of the forming bar from the ladder."""
        self._forming = None
        self._builder.fold(fold)

    def step(self, epoch_s: int, tick: Tick | Quote) -> int | None:
        """Take a tick from the ladder; return the opening second of the oldest bar it changed."""
        builder = self._builder
        self._forming = None
        closed = builder.take(epoch_s, tick)
        if closed is None:
            return builder.start_s
        mark = (True,) if closed[0] == self._mended_s else ()
        self._closed.append((closed[0], Row((self.key, self._label, *closed, False, *mark))))
        return closed[0]

    @property
    def start_s(self) -> int | None:
        """Opening second of the forming bar."""
        return self._builder.start_s

    def rows(self, since_s: int = 0) -> list[Row]:
        """Return the bars that opened at `since_s` or later, the forming one last.

        A forming row's ``complete`` says whether it is whole so far.
        """
        self.ladder.flush()
        rows: list[Row] = []
        for start_s, row in reversed(self._closed):
            if start_s < since_s:
                break
            rows.append(row)
        rows.reverse()
        if self._forming is None:
            values = self._builder.values()
            if values is None:
                return rows
            mark = (True,) if values[0] == self._mended_s else ()
            self._forming = Row((self.key, self._label, *values, self._builder.whole, True, *mark))
        rows.append(self._forming)
        return rows

    def closed(self) -> list[BarRow]:
        """Return the closed bars, oldest first."""
        return [row.values for _, row in self._closed]

    def closed_at(self, start_s: int) -> BarRow | None:
        """Return the closed bar that opened then; None when there is none."""
        for opened_s, row in reversed(self._closed):
            if opened_s <= start_s:
                return row.values if opened_s == start_s else None
        return None

    def mend(self, bars: Mapping[int, BarRow]) -> None:
        """Put bars from history among the closed ones, by their opening second."""
        if not bars:
            return
        rows = dict(self._closed)
        rows |= {start_s: Row((*values[:11], True)) for start_s, values in bars.items()}
        self._closed.clear()
        self._closed.extend(sorted(rows.items(), key=_opening))

    def mend_forming(
        self, part: Sequence[Piece], volume: int, opened: float | None, *, whole: bool
    ) -> None:
        """Put history into the forming bar; see `BarBuilder.mend`."""
        close = self.builder.values()
        assert close is not None
        high = max((piece.high for piece in part), default=close[4])
        low = min((piece.low for piece in part), default=close[4])
        self.builder.mend(high, low, volume, opened, whole=whole)
        self._mended_s, self._forming = close[0], None

    def gap(self) -> None:
        """Note that ticks were missed."""
        self.builder.gap()
        self._forming = None

    def clear(self) -> None:
        """Forget every bar: another market speaks from now on."""
        self.ladder.restart()
        self._closed.clear()
        self._forming = None
        self._builder = BarBuilder(self.interval, self._builder.anchor_s)


def _opening(item: tuple[int, Row]) -> int:
    return item[0]


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
        self._ladder = Ladder((), anchor_s)
        self._forming: dict[Interval, int | None] = {}  # opening seconds
        self.watches: dict[int, Watch] = {}
        #: Who gets every tick, and who wants the newest one or bars; see `Audiences.settle`.
        self.audience: Audience | None = None
        self.shown: Sequence[Watch] = ()
        self.last: Sample | None = None
        self.asked_ms = int(time.time() * 1000)
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.ticks = 0
        self.gaps = 0
        self.idle_since = time.monotonic()
        #: What was known around its gaps, the newest of them.
        self.holes: deque[Hole] = deque(maxlen=HOLES_KEPT)
        # With a time, and heard without a gap since.
        self._last: tuple[int, Tick | Quote] | None = None

    @property
    def stands(self) -> tuple[int | None, int]:
        """Exchange time of the last tick in Unix seconds, and the day's traded quantity then."""
        if self.last is None:
            return None, 0
        tick = self.last[5]
        return tick.time_s, tick.volume or 0

    @property
    def exchange_s(self) -> int | None:
        """Exchange time of the last tick in Unix seconds; None after a gap."""
        return None if self._last is None else self._last[0]

    def hold(self, intervals: Iterable[Interval]) -> None:
        """Keep bars of `intervals` for one more consumer."""
        before = len(self.series)
        for interval in intervals:
            series = self.series.get(interval)
            if series is None:
                series = self.series[interval] = Series(self.key, interval, self.anchor_s)
                if self._last is not None:  # the market stands where it stood last
                    series.add(*self._last)
            series.refs += 1
        if len(self.series) != before:
            self._build_ladder()

    def _build_ladder(self) -> None:
        """Tell ticks to the intervals that are held now."""
        self._ladder.flush()
        self._ladder = Ladder(self.series.values(), self.anchor_s)
        for series in self.series.values():
            series.ladder = self._ladder

    def release(self, intervals: Iterable[Interval]) -> None:
        """Keep bars of `intervals` for one consumer fewer."""
        for interval in intervals:
            series = self.series[interval]
            series.refs -= 1
            series.idle_since = time.monotonic()

    def take(
        self, tick: Tick | Quote, sequence: int, epoch: int, received_ms: int, order: int = 0
    ) -> None:
        """Build the bars of one tick; tell both to whoever wants them.

        `order` is its place among the ticks of all instruments.
        """
        self.sequence = sequence
        self.ticks += 1
        if self.first_ms is None:
            self.first_ms = received_ms
        self.last_ms = received_ms
        epoch_s = tick.seconds
        told = self.last = (order, self.key, sequence, epoch, received_ms, tick)
        changed: dict[Interval, int | None] = {}
        if epoch_s:
            self._last = epoch_s, tick
            if self.series:
                changed = self._bars(epoch_s, tick)
        audience = self.audience
        if audience is not None:
            if not audience.open:
                audience.rouse()
            audience.open.append(told)
        for watch in self.shown:
            watch.offer(told, changed)

    def rebuild(self, tick: Tick | Quote) -> None:
        """Build the bars of a tick that came in a former life of the relay."""
        epoch_s = tick.time_s
        if epoch_s is not None:
            self._last = epoch_s, tick
            if self.series:
                self._bars(epoch_s, tick)

    def resume(self, tick: Tick | Quote, sequence: int, epoch: int, received_ms: int) -> None:
        """Stand where a former life stood after this tick; its bars have it already."""
        self.sequence, self.last_ms = sequence, received_ms
        self.last = (0, self.key, sequence, epoch, received_ms, tick)
        if tick.time_s is not None:
            self._last = tick.time_s, tick

    def keep(self, until: float) -> None:
        """Keep the bars until then (monotonic seconds) though nobody wants them yet."""
        self.idle_since = until
        for series in self.series.values():
            series.idle_since = until

    def _bars(self, epoch_s: int, tick: Tick | Quote) -> dict[Interval, int | None]:
        """Return the opening second of the oldest bar that the tick changed, by interval."""
        told = self._ladder.add(epoch_s, tick)
        if told is None:
            return self._forming
        changed = {**self._forming, **told}
        self._forming = {i: series.start_s for i, series in self.series.items()}
        return changed

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
                self._build_ladder()
