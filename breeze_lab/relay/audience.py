"""Audiences: those who get the very same ticks, and what waits for all of them.

Ten notebooks that follow the same instruments get the same bytes. So a tick of a
line is queued once, for the audience of the line, and what came since somebody
read last, a cut, is encoded once and then lies in the queue of each member. Who
hears what, and in which order, is the same as if each had a queue of its own. A
large cut is encoded at once, while the processor's cache still holds it, and its
values are let go.
"""

from __future__ import annotations

from itertools import chain, compress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec

from breeze_lab.relay.market import tick_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from breeze_lab.relay.consumers import Consumer
    from breeze_lab.relay.market import Codec, Line, Sample

__all__ = ["Audience", "Audiences", "Cut", "batches", "merged", "packed"]

#: Ticks that may wait in audiences before they are put into their members' queues.
_UNCUT: Final = 128
#: So many ticks at least make a cut that is encoded before anybody reads.
_LARGE: Final = 64
#: Ticks in one message where more of them wait; a single cut may hold some more.
_IN_ONE: Final = 640
#: Up to so many elements the head of a msgpack array has one byte, then three, then five.
_ONE, _THREE = 15, 0xFFFF
#: So many ticks of a key on average make its bounds worth their bytes.
_DENSE: Final = 3


_raws: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
#: What is left of a sample whose row is encoded: its place among all ticks, key, sequence.
_Stub: TypeAlias = tuple[int, str, int]


class Cut:
    """Ticks that came together to the same consumers; encoded once for each encoding.

    Parameters
    ----------
    audience
        Names the audience; 0 is one consumer's own.
    samples
        In the order in which they came.

    Attributes
    ----------
    shed
        Whether of all samples but the newest of each key only the first three elements are left.
    """

    __slots__ = ("_bounds", "_message", "_packed", "_text", "audience", "samples", "shed")

    def __init__(self, audience: int, samples: Sequence[Sample | _Stub]) -> None:
        """Encode nothing before somebody asks."""
        self.audience = audience
        self.samples = samples
        self.shed = False
        self._packed: bytes | None = None
        self._text: bytes | None = None
        self._bounds: tuple[dict[str, int], dict[str, int]] | None = None
        #: Of the last message that began with this cut: its other cuts, its encoding, the message.
        self._message: tuple[list[Cut], bool, bytes] | None = None

    def pack(self, codec: Codec) -> None:
        """Encode now, for readers of msgpack, and keep what it takes to leave some ticks out."""
        self.body(codec)
        newest = {sample[1]: sample for sample in self.samples}
        self.samples = [
            sample if newest[sample[1]] is sample else sample[:3] for sample in self.samples
        ]
        self.shed = True

    def without(self, key: str) -> Cut:
        """Return the cut of the ticks of other keys."""
        keep = [sample[1] != key for sample in self.samples]
        cut = Cut(self.audience, list(compress(self.samples, keep)))
        if self.shed:
            assert self._packed is not None
            cut._packed = b"".join(compress(_rows(self), keep))
            cut.shed = True
        return cut

    def bounds(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the first and the last sequence of each key."""
        if self._bounds is None:
            self._bounds = (
                {sample[1]: sample[2] for sample in reversed(self.samples)},
                {sample[1]: sample[2] for sample in self.samples},
            )
        return self._bounds

    def body(self, codec: Codec) -> bytes:
        """Return the rows one behind the other, as they lie within an array."""
        body = self._text if codec.text else self._packed
        if body is None:
            array = codec.encode(tick_rows(cast("Sequence[Sample]", self.samples)))
            if codec.text:
                body = self._text = array[1:-1]
            else:
                body = self._packed = array[_head(len(self.samples)) :]
        return body


def merged(cuts: Sequence[Cut]) -> list[Sample | _Stub]:
    """Return the ticks of several cuts in the order in which they came.

    The newest of each key is whole, whatever was shed.
    """
    samples = list(chain.from_iterable(cut.samples for cut in cuts))
    if len({cut.audience for cut in cuts}) > 1:
        samples.sort(key=itemgetter(0))
    return samples


def packed(cuts: Sequence[Cut], latest: Iterable[Sample], codec: Codec) -> msgspec.Raw:
    """Return the array of the rows of all cuts in the order in which they came, then `latest`."""
    count = sum(len(cut.samples) for cut in cuts)
    if len({cut.audience for cut in cuts}) == 1:
        bodies = [cut.body(codec) for cut in cuts]
    elif any(cut.shed for cut in cuts):
        bodies = _sorted_rows(cuts, codec)
    else:
        bodies = [Cut(0, merged(cuts)).body(codec)] if cuts else []
    last = list(latest)
    if last:
        count += len(last)
        bodies.append(Cut(0, last).body(codec))
    if codec.text:
        return msgspec.Raw(b"".join((b"[", b",".join(bodies), b"]")))
    return msgspec.Raw(b"".join((_begin(count), *bodies)))


def _sorted_rows(cuts: Sequence[Cut], codec: Codec) -> list[bytes]:
    """Return the rows of cuts of readers of msgpack in the order in which they came."""
    rows: list[tuple[int, bytes]] = []
    for cut in cuts:
        cut.body(codec)
        rows += zip([sample[0] for sample in cut.samples], _rows(cut), strict=True)
    rows.sort(key=itemgetter(0))
    return [row for _, row in rows]


def _rows(cut: Cut) -> list[bytes]:
    """Return the encoded rows of a cut that is encoded for readers of msgpack."""
    assert cut._packed is not None  # noqa: SLF001 - its other half
    return [bytes(row) for row in _raws(_begin(len(cut.samples)) + cut._packed)]  # noqa: SLF001


def batches(cuts: list[Cut], codec: Codec) -> list[bytes]:
    """Return the messages that hold these ticks and nothing else.

    Whoever else is sent the same cuts gets the very same bytes. Many ticks come in
    several messages: a reader's memory and its processor's cache take those better.
    """
    if len({cut.audience for cut in cuts}) > 1:
        return [_batch(cuts, codec)]
    messages: list[bytes] = []
    some: list[Cut] = []
    count = 0
    for cut in cuts:
        if some and count + len(cut.samples) > _IN_ONE:
            messages.append(_batch(some, codec))
            some, count = [], 0
        some.append(cut)
        count += len(cut.samples)
    messages.append(_batch(some, codec))
    return messages


def _batch(cuts: list[Cut], codec: Codec) -> bytes:
    others = cuts[1:]  # a cut that held itself would live until the collector came
    known = cuts[0]._message  # noqa: SLF001 - a cut keeps it for us
    if known is not None and known[0] == others and known[1] is codec.text:
        return known[2]
    message: dict[str, Any] = {"op": "batch", "ticks": packed(cuts, (), codec)}
    if not codec.text:
        message |= _bounds(cuts)
    encoded = codec.encode(message)
    cuts[0]._message = others, codec.text, encoded  # noqa: SLF001
    return encoded


def _bounds(cuts: Sequence[Cut]) -> dict[str, dict[str, int]]:
    """Return what a batch says of the sequences in it, where that is shorter than to look."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for cut in cuts:
        begins, ends = cut.bounds()
        first = {**begins, **first}
        last.update(ends)
    dense = len(last) * _DENSE <= sum(len(cut.samples) for cut in cuts)
    return {"first": first, "last": last} if dense else {}


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
    large
        How many ticks make a cut that is encoded at once.

    Attributes
    ----------
    open
        What came since the last cut; a line adds its ticks to it.
    lines
        How many lines it listens to.
    """

    __slots__ = ("_codec", "_large", "lines", "members", "number", "open")

    def __init__(self, number: int, members: tuple[Consumer, ...], large: int = _LARGE) -> None:
        """Wait for a tick."""
        self._large = large
        texts = any(consumer.codec.text for consumer in members)
        self._codec = None if texts else members[0].codec
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
            if self._codec is not None and len(samples) >= self._large:
                cut.pack(self._codec)
            for consumer in self.members:
                consumer.take_cut(cut)


class Audiences:
    """All audiences of the relay.

    Parameters
    ----------
    uncut
        Ticks that may wait in them.
    large
        See `Audience`.
    """

    def __init__(self, uncut: int = _UNCUT, large: int = _LARGE) -> None:
        """Know nobody."""
        self._large = large
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
            audience = self._by_members[names] = Audience(
                self._numbers, tuple(every.values()), self._large
            )
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
