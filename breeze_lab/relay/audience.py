"""Audiences: those who get the very same ticks, and what waits for all of them.

Ten notebooks that follow the same instruments get the same bytes. So a tick of a
line is queued once, for the audience of the line, and what came since somebody
read last, a cut, is encoded once and then lies in the queue of each member. Who
hears what, and in which order, is the same as if each had a queue of its own.
"""

from __future__ import annotations

from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import msgspec

from breeze_lab.relay.market import tick_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from breeze_lab.relay.consumers import Consumer
    from breeze_lab.relay.market import Codec, Line, Sample

__all__ = ["Audience", "Audiences", "Cut", "merged", "packed"]

#: Ticks that may wait in audiences before they are put into their members' queues.
_UNCUT: Final = 1_024
#: Up to so many elements the head of a msgpack array has one byte, then three, then five.
_ONE, _THREE = 15, 0xFFFF


class Cut:
    """Ticks that came together to the same consumers; encoded once for each encoding.

    Parameters
    ----------
    audience
        Names the audience; 0 is one consumer's own.
    samples
        In the order in which they came.
    """

    __slots__ = ("_packed", "_text", "audience", "samples")

    def __init__(self, audience: int, samples: list[Sample]) -> None:
        """Encode nothing before somebody asks."""
        self.audience = audience
        self.samples = samples
        self._packed: bytes | None = None
        self._text: bytes | None = None

    def body(self, codec: Codec) -> bytes:
        """Return the rows one behind the other, as they lie within an array."""
        body = self._text if codec.text else self._packed
        if body is None:
            array = codec.encode(tick_rows(self.samples))
            if codec.text:
                body = self._text = array[1:-1]
            else:
                body = self._packed = array[_head(len(self.samples)) :]
        return body


def merged(cuts: Sequence[Cut]) -> list[Sample]:
    """Return the ticks of several cuts in the order in which they came."""
    samples = list(chain.from_iterable(cut.samples for cut in cuts))
    if len({cut.audience for cut in cuts}) > 1:
        samples.sort(key=itemgetter(0))
    return samples


def packed(cuts: Sequence[Cut], latest: Iterable[Sample], codec: Codec) -> msgspec.Raw:
    """Return the array of the rows of all cuts in the order in which they came, then `latest`."""
    if len({cut.audience for cut in cuts}) > 1:
        cuts = [Cut(0, merged(cuts))]
    last = Cut(0, list(latest))
    cuts = [*cuts, last] if last.samples else cuts
    bodies = [cut.body(codec) for cut in cuts]
    if codec.text:
        return msgspec.Raw(b"".join((b"[", b",".join(bodies), b"]")))
    count = sum(len(cut.samples) for cut in cuts)
    return msgspec.Raw(b"".join((_begin(count), *bodies)))


def _head(count: int) -> int:
    return 1 if count <= _ONE else 3 if count <= _THREE else 5


def _begin(count: int) -> bytes:
    """Return the head of a msgpack array."""
    if count <= _ONE:
        return bytes((0x90 | count,))
    if count <= _THREE:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


class Audience:
    """The consumers that get every tick of the same lines.

    Parameters
    ----------
    number
        Names it, above 0.
    members
        Who they are; others make another audience.

    Attributes
    ----------
    open
        What came since the last cut; a line adds its ticks to it.
    lines
        How many lines it listens to.
    """

    __slots__ = ("lines", "members", "number", "open")

    def __init__(self, number: int, members: tuple[Consumer, ...]) -> None:
        """Wait for a tick."""
        self.number = number
        self.members = members
        self.open: list[Sample] = []
        self.lines = 0

    def rouse(self) -> None:
        """Tell the members that a tick comes, the first since the last cut."""
        for consumer in self.members:
            consumer.rouse()

    def cut(self) -> None:
        """Put what came into the members' queues."""
        samples = self.open
        if samples:
            self.open = []
            cut = Cut(self.number, samples)
            for consumer in self.members:
                consumer.take_cut(cut)


class Audiences:
    """All audiences of the relay.

    Parameters
    ----------
    uncut
        Ticks that may wait in them.
    """

    def __init__(self, uncut: int = _UNCUT) -> None:
        """Know nobody."""
        self._by_members: dict[tuple[int, ...], Audience] = {}
        self._numbers = 0
        self._uncut = uncut
        self._heard = 0

    def heard(self, ticks: int = 1) -> None:
        """Hear that ticks came; now and then they go to the queues, whose length is bounded."""
        self._heard += ticks
        if self._heard >= self._uncut:
            self._heard = 0
            for audience in self._by_members.values():
                audience.cut()

    def settle(self, line: Line) -> None:
        """Bring who listens to a line in line with what its watches want."""
        every = {
            number: watch.consumer
            for number, watch in sorted(line.watches.items())
            if watch.every and watch.ticks
        }
        line.shown = tuple(
            watch
            for watch in line.watches.values()
            if watch.intervals or (watch.ticks and not watch.every)
        )
        names, before = tuple(every), line.audience
        audience = self._by_members.get(names)
        if before is not None and before is audience:
            return
        if audience is None and names:
            self._numbers += 1
            audience = self._by_members[names] = Audience(self._numbers, tuple(every.values()))
            for consumer in audience.members:
                consumer.audiences.append(audience)
        line.audience = audience
        if audience is not None:
            audience.lines += 1
        if before is not None:
            before.cut()  # what came before is not for those who come now
            before.lines -= 1
            if not before.lines:
                del self._by_members[tuple(one.number for one in before.members)]
                for consumer in before.members:
                    consumer.audiences.remove(before)
