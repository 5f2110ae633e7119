"""Consumers: bounded delivery to whoever listens.

A consumer asks for ``every`` tick of an instrument, which it gets in order
from a bounded queue, or for the ``latest``, where a new tick replaces the one
not yet sent. What a full queue drops is told in band with exact bounds, and
the newest tick of each instrument is always kept, so that a sleeper wakes to
the present. Bars are sent as their newest state; none is dropped while the
relay still keeps it. Control messages keep their place between the ticks, so
a snapshot and the updates after it cannot race.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.relay.audience import Cut, batches, merged, packed

if TYPE_CHECKING:
    from breeze_lab.bars import Interval
    from breeze_lab.relay.audience import Audience
    from breeze_lab.relay.market import Codec, Line, Row, Sample, Series

__all__ = ["QUEUE_LIMIT", "Consumer", "Watch"]

#: Ticks that wait for one consumer before the oldest are dropped.
QUEUE_LIMIT: Final = 20_000
#: Control messages that wait for one consumer before it is given up.
_CONTROL_LIMIT: Final = 1_000


class Watch:
    """One consumer's interest in one line.

    Parameters
    ----------
    consumer, line
        Who wants what.
    """

    __slots__ = ("consumer", "every", "intervals", "line", "ticks")

    def __init__(self, consumer: Consumer, line: Line) -> None:
        """Want nothing yet."""
        self.consumer = consumer
        self.line = line
        self.every = False
        self.ticks = False
        self.intervals: set[Interval] = set()

    def offer(self, sample: Sample, changed: dict[Interval, int | None]) -> None:
        """Queue what this consumer wants of the newest tick and the bars it changed.

        Every tick comes by another way, an `Audience`.
        """
        if self.ticks and not self.every:
            self.consumer.take(sample)
        if self.intervals:
            self._offer_bars(changed)

    def _offer_bars(self, changed: dict[Interval, int | None]) -> None:
        series = self.line.series
        for interval in self.intervals:
            since_s = changed.get(interval)
            if since_s is not None:
                self.consumer.take_bars(series[interval], since_s)


@dataclass(slots=True)
class _Pending:
    """What one batch will hold; its losses lie before its ticks."""

    cuts: list[Cut] = field(default_factory=list)
    latest: dict[str, Sample] = field(default_factory=dict)
    series: dict[Series, int] = field(default_factory=dict)
    bars: list[Row] = field(default_factory=list)
    lost: dict[str, list[Any]] = field(default_factory=dict)
    gaps: list[list[Any]] = field(default_factory=list)
    books: dict[str, Row] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.cuts or self.latest or self.series or self.bars or self.lost or self.gaps
            or self.books
        )  # fmt: skip

    @property
    def ticks(self) -> int:
        """Those of whoever wants every one."""
        return sum(len(cut.samples) for cut in self.cuts)

    def freeze_bars(self) -> None:
        """Read the bars now, because a control message follows."""
        for series, since_s in self.series.items():
            self.bars.extend(series.rows(since_s))
        self.series.clear()

    def conflate(self) -> int:
        """Keep the newest sample of each key and name the rest lost; return how many."""
        samples = merged(self.cuts)
        newest = {sample[1]: sample for sample in samples}
        dropped = [sample for sample in samples if newest[sample[1]] is not sample]
        for _, key, sequence, *_ in dropped:
            known = self.lost.get(key)
            if known is None:
                self.lost[key] = [key, sequence, sequence, "consumer too slow"]
            else:
                known[2] = sequence
        self.cuts = [Cut(0, list(newest.values()))] if newest else []
        return len(dropped)

    def encoded(self, codec: Codec) -> list[bytes]:
        """Return it as messages; what goes with its ticks is in one with them."""
        self.freeze_bars()
        if self.cuts and not (self.latest or self.bars or self.lost or self.gaps or self.books):
            return batches(self.cuts, codec)
        return [codec.encode(self._message(codec))]

    def _message(self, codec: Codec) -> dict[str, Any]:
        message: dict[str, Any] = {"op": "batch"}
        if self.cuts or self.latest:
            message["ticks"] = packed(self.cuts, self.latest.values(), codec)
        if self.bars:
            message["bars"] = [row.encoded(codec) for row in self.bars]
        if self.lost:
            message["lost"] = list(self.lost.values())
        if self.gaps:
            message["gaps"] = self.gaps
        if self.books:
            message["depth"] = [row.encoded(codec) for row in self.books.values()]
        return message


class Consumer:
    """One connection of the door.

    Parameters
    ----------
    number
        Counts connections within the relay's life.
    codec
        Its encoding.
    limit
        Ticks that may wait.
    """

    def __init__(self, number: int, codec: Codec, limit: int = QUEUE_LIMIT) -> None:
        """Want nothing yet."""
        self.number = number
        self.codec = codec
        self.limit = limit
        self.name = f"consumer {number}"
        self.flush_s = 0.01
        self.watches: dict[str, Watch] = {}
        self.delivered = 0
        self.lost = 0
        #: Those it is a member of, in which ticks may wait for it.
        self.audiences: list[Audience] = []
        self.wake = asyncio.Event()
        self._sealed: deque[_Pending | dict[str, Any]] = deque()
        self._open = _Pending()
        self._waiting = 0
        self._roused = False  # does `wake` stand since the last writing?

    @property
    def waiting(self) -> int:
        """Ticks queued and not sent."""
        return self._waiting + sum(len(audience.open) for audience in self.audiences)

    @property
    def overrun(self) -> bool:
        """Whether so many answers wait that nobody can be reading them."""
        return len(self._sealed) > _CONTROL_LIMIT

    def take(self, sample: Sample) -> None:
        """Queue the newest tick of a key; it takes the place of one that waits."""
        self._open.latest[sample[1]] = sample
        self.rouse()

    def take_cut(self, cut: Cut) -> None:
        """Queue ticks that came to one of its audiences."""
        self._open.cuts.append(cut)
        self._waiting += len(cut.samples)
        if self._waiting > self.limit:
            self._conflate()

    def rouse(self) -> None:
        """Wake whoever writes; many ticks, one alarm."""
        if not self._roused:
            self._roused = True
            self.wake.set()

    def _gather(self) -> None:
        """Queue what waits in its audiences."""
        for audience in self.audiences:
            audience.cut()

    def take_bars(self, series: Series, since_s: int) -> None:
        """Queue the bars of `series` that opened at `since_s` or later."""
        self._open.series.setdefault(series, since_s)
        self.wake.set()

    def take_mended(self, series: Series, since_s: int) -> None:
        """Queue bars that history changed, though newer ones may wait already."""
        waiting = self._open.series
        waiting[series] = min(since_s, waiting.get(series, since_s))
        self.wake.set()

    def take_book(self, key: str, row: Row) -> None:
        """Queue the newest book of a key; it takes the place of one that waits."""
        self._open.books[key] = row
        self.wake.set()

    def take_gap(self, row: list[Any]) -> None:
        """Queue what became of a gap; see `breeze_lab.relay.ledger.Entry.row`."""
        self._gather()
        if self._open.cuts:  # which came before it
            self._seal()
        self._open.gaps.append(row)
        self.wake.set()

    def post(self, message: dict[str, Any]) -> None:
        """Queue a control message behind everything queued so far."""
        self._gather()
        if self._open:
            self._seal()
        self._sealed.append(message)
        self.wake.set()

    def _seal(self) -> None:
        self._open.freeze_bars()
        self._sealed.append(self._open)
        self._open = _Pending()

    def forget(self, key: str) -> None:
        """Drop the updates of `key` that still wait, because nobody wants them now."""
        self._gather()
        pending = self._open
        cuts = [cut.without(key) for cut in pending.cuts]
        self._waiting -= pending.ticks - sum(len(cut.samples) for cut in cuts)
        pending.cuts = [cut for cut in cuts if cut.samples]
        pending.latest.pop(key, None)
        pending.lost.pop(key, None)
        pending.books.pop(key, None)
        pending.gaps = [row for row in pending.gaps if row[0] != key]
        pending.series = {s: since for s, since in pending.series.items() if s.key != key}

    def messages(self) -> list[bytes]:
        """Return everything queued, encoded, in order."""
        self.wake.clear()
        self._roused = False
        self._gather()
        encoded: list[bytes] = []
        while self._sealed:
            item = self._sealed.popleft()
            if isinstance(item, _Pending):
                self._count(item)
                encoded += item.encoded(self.codec)
            else:
                encoded.append(self.codec.encode(item))
        if self._open:
            pending, self._open = self._open, _Pending()
            self._count(pending)
            encoded += pending.encoded(self.codec)
        return encoded

    def _count(self, pending: _Pending) -> None:
        ticks = pending.ticks
        self._waiting -= ticks
        self.delivered += ticks + len(pending.latest)

    def _conflate(self) -> None:
        dropped = self._open.conflate()
        for item in self._sealed:
            if isinstance(item, _Pending):
                dropped += item.conflate()
        self._waiting -= dropped
        self.lost += dropped
