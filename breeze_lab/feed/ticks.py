"""Ticks of the feed, read from the door's batches without a stop on the way.

Loads msgspec, so the feed loads this room when it connects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from breeze_lab import clock
from breeze_lab.ticks import Tick, moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Batch", "FeedTick", "decode", "from_row", "is_batch", "know", "place"]

#: Columns of the door's row after `received_ms`.
_QUOTED: Final = 14


class _Given(type(msgspec.Struct)):  # type: ignore[misc]
    """Let a `FeedTick` be made from a `Tick`, though it is laid out as the door's row."""

    def __call__(
        cls, key: str, sequence: int, epoch: int, received_ms: int, tick: Tick | None
    ) -> Any:
        nothing = (None,) * _QUOTED
        return super().__call__(key, sequence, epoch, None, received_ms, *nothing, "", tick)


class FeedTick(
    msgspec.Struct, metaclass=_Given, array_like=True, frozen=True, eq=False, gc=False
):  # fmt: skip
    """One tick of one instrument.

    It is read from the door's row as it lies there, because most callbacks
    look at little of it; the `Tick` is made when somebody asks for it.

    Parameters
    ----------
    key
        The instrument, ``"NSE:RELIANCE"``.
    sequence
        Counts the ticks of this instrument; goes on when the relay is restarted.
    epoch
        Counts the relay's connections to the broker; between two of them ticks
        may be missing.
    received_ms
        When the relay received it, Unix milliseconds.
    tick
        The quote.
    """

    # The columns of the door's row, in its order: see `breeze_lab.relay.market`.
    key: str
    sequence: int
    epoch: int
    time_s: int | None
    received_ms: int
    last: float | None
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    change_percent: float | None
    bid: float | None
    bid_quantity: int | None
    ask: float | None
    ask_quantity: int | None
    last_quantity: int | None
    average_price: float | None
    volume: int | None
    open_interest: int | None
    # What the row does not say.
    placed: str = ""
    made: Any = None

    @property
    def room(self) -> str:
        """The broker's room; empty where nobody knows it."""
        return self.placed or _rooms.get(self.key, "")

    @property
    def tick(self) -> Tick:
        """The quote."""
        if self.made is None:
            tick = Tick(
                self.room, None if self.time_s is None else moment(self.time_s), self.last,
                self.open, self.high, self.low, self.previous_close, self.change_percent,
                self.bid, self.bid_quantity, self.ask, self.ask_quantity, self.last_quantity,
                self.average_price, self.volume, open_interest=self.open_interest,
            )  # fmt: skip
            msgspec.structs.force_setattr(self, "made", tick)
        found: Tick = self.made
        return found

    @property
    def received(self) -> datetime:
        """When the relay received it, aware, Asia/Kolkata."""
        return clock.from_epoch(self.received_ms / 1000)

    def _values(self) -> tuple[object, ...]:
        return self.key, self.sequence, self.epoch, self.received_ms, self.tick

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeedTick):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return (
            f"FeedTick(key={self.key!r}, sequence={self.sequence}, epoch={self.epoch}, "
            f"received_ms={self.received_ms}, tick={self.tick!r})"
        )


class Batch(msgspec.Struct, gc=False):
    """A ``batch`` of the door, its ticks read straight into their values."""

    op: str
    ticks: list[FeedTick] = []
    #: The bounds of the sequences in `ticks` by key; absent where few ticks share one.
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    bars: list[list[Any]] = []
    lost: list[list[Any]] = []
    gaps: list[list[Any]] = []
    depth: list[list[Any]] = []

    def get(self, name: str, default: Any = ()) -> Any:
        """Return a part by its name, as other messages do; an absent one is empty."""
        return getattr(self, name, default)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


_loose: Final = msgspec.msgpack.Decoder().decode
_batch: Final = msgspec.msgpack.Decoder(Batch).decode
#: How the relay's encoder begins a batch, after the byte that says how many parts follow.
_BATCH: Final = b"\xa2op\xa5batch"


def decode(data: bytes) -> Batch | dict[str, Any]:
    """Return a message of the door; a batch's ticks are `FeedTick` values already.

    Raises
    ------
    msgspec.MsgspecError
        When it is none.
    """
    if is_batch(data):
        return _batch(data)
    message: dict[str, Any] = _loose(data)
    return message


def is_batch(data: bytes) -> bool:
    """Say whether a message of the door is a batch."""
    return data[1 : 1 + len(_BATCH)] == _BATCH


#: ``place(tick, "placed", room)`` tells a tick of a batch its room, which the door does not repeat.
place: Final = msgspec.structs.force_setattr
#: The room of each key that was ever wanted here: a tick looks it up only when somebody asks.
_rooms: Final[dict[str, str]] = {}


def know(rooms: Mapping[str, str]) -> bool:
    """Remember the rooms of keys.

    Returns
    -------
    bool
        False when one of the keys was known by another room: ticks of these
        must be told theirs with `place`.
    """
    return all(_rooms.setdefault(key, room) == room for key, room in rooms.items())


def from_row(row: list[Any], room: str) -> FeedTick:
    """Return the value of a tick row of the instrument with `room`."""
    value = msgspec.convert(row, FeedTick)
    place(value, "placed", room)
    return value
