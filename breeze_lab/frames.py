"""Frames: the ``stock`` frames decoded straight from their JSON text.

Owns the fast way to what `breeze_lab.ticks.decode_frame` makes of a frame: one
typed read by the layout of its room, and everything that needs arithmetic,
times and turnover, only when somebody asks. What a typed read does not take,
numbers in quotes for one, goes the slow way, so that both always agree.

The typed read is msgspec's. Where a C compiler was when the package was built,
`breeze_lab._reader` takes the frames that are written plainly, nearly all of
them, in two thirds of the time and leaves the others to it.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, get_type_hints

import msgspec
from msgspec import Meta

from breeze_lab import clock, ticks
from breeze_lab.errors import BadResponse
from breeze_lab.ticks import Depth, DepthLevel, Tick, decode_frame

try:
    from breeze_lab._reader import Reader
except ImportError:  # there was no compiler
    Reader = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

__all__ = ["Book", "Quote", "Value", "decode", "uncompiled"]

_LIMIT: Final = 2**53  # as in `ticks`: no number of a market comes near
_Price: TypeAlias = Annotated[float, Meta(gt=-_LIMIT, lt=_LIMIT)] | None
_Whole: TypeAlias = Annotated[int, Meta(gt=-_LIMIT, lt=_LIMIT)] | None
#: Unix seconds up to the year 9999, where datetimes end.
_Moment: TypeAlias = Annotated[int, Meta(ge=0, le=253_370_764_800)]
_Seconds: TypeAlias = _Moment | None


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A quote as it lies on the wire, with every attribute of a `Tick`.

    Its subclasses are the layouts. `tick` gives the value itself.
    """

    if TYPE_CHECKING:  # the layouts' fields, each at its place in the frame
        room: str
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
        #: Exchange time in Unix seconds; 0 where the frame tells none.
        seconds: int | None

        @property
        def open_interest(self) -> int | None:
            """Contracts; None where the layout has none."""
            return None
    else:
        open_interest = None  # a property would cost each tick a call

    @property
    def time_s(self) -> int | None:
        """Exchange time in Unix seconds."""
        return self.seconds or None

    @property
    def exchange_time(self) -> datetime | None:
        """Exchange time, aware, Asia/Kolkata."""
        return ticks.moment(self.seconds) if self.seconds else None

    def tick(self) -> Tick:
        """Return the tick that `breeze_lab.ticks.decode_frame` makes of this frame."""
        values: dict[str, Any] = {name: getattr(self, name, None) for name in Tick.__slots__}
        return Tick(**values)


class _Cash(Quote, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """NSE and BSE cash and indices, 21 elements."""

    room: str
    open: _Price
    last: _Price
    high: _Price
    low: _Price
    change_percent: _Price
    bid: _Price
    bid_quantity: _Whole
    ask: _Price
    ask_quantity: _Whole
    last_quantity: _Whole
    average_price: _Price
    volume: _Whole
    total_bid_quantity: _Whole
    total_ask_quantity: _Whole
    traded: str | _Price
    trend: Any
    lower_circuit: _Price
    upper_circuit: _Price
    seconds: _Seconds
    previous_close: _Price

    @property
    def turnover(self) -> float | None:
        """Rupees."""
        return ticks.turnover(self.traded)


class _Derivative(Quote, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """NFO, BFO and NDX, 23 elements."""

    room: str
    open: _Price
    last: _Price
    high: _Price
    low: _Price
    change_percent: _Price
    bid: _Price
    bid_quantity: _Whole
    ask: _Price
    ask_quantity: _Whole
    last_quantity: _Whole
    average_price: _Price
    interest: _Whole | Literal[""]
    interest_change: _Whole | Literal[""]
    volume: _Whole
    total_bid_quantity: _Whole
    total_ask_quantity: _Whole
    traded: str | _Price
    trend: Any
    lower_circuit: _Price
    upper_circuit: _Price
    seconds: _Seconds
    previous_close: _Price

    @property
    def open_interest(self) -> int | None:
        """Contracts; an empty text in recordings of 2023."""
        return None if self.interest == "" else self.interest

    @property
    def open_interest_change(self) -> int | None:
        """Contracts."""
        return None if self.interest_change == "" else self.interest_change

    @property
    def turnover(self) -> float | None:
        """Rupees."""
        return ticks.turnover(self.traded)


class _Index(Quote, frozen=True, gc=False, array_like=True):
    """The index feed, 17 elements or more."""

    room: str
    open: _Price
    high: _Price
    low: _Price
    previous_close: _Price
    last: _Price
    last_quantity: _Whole
    seconds: _Seconds
    volume: _Whole
    change_percent: _Price
    reserved: Any
    average_price: _Price
    bid: _Price
    bid_quantity: _Whole
    ask: _Price
    ask_quantity: _Whole
    open_interest: _Whole


class _Row(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """One row of a book: NSE and derivatives of NSE."""

    bid: _Price
    bid_quantity: _Whole
    bid_orders: _Whole
    bid_flag: Any
    ask: _Price
    ask_quantity: _Whole
    ask_orders: _Whole
    ask_flag: Any


class _RowBfo(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    bid: _Price
    bid_quantity: _Whole
    bid_orders: _Whole
    ask: _Price
    ask_quantity: _Whole
    ask_orders: _Whole


class _RowBse(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    bid: _Price
    bid_quantity: _Whole
    ask: _Price
    ask_quantity: _Whole


class Book(msgspec.Struct, frozen=True, gc=False):
    """Depth as it lies on the wire, with every attribute of a `Depth`."""

    if TYPE_CHECKING:  # the layouts' fields
        room: str
        seconds: int
        rows: tuple[_Row | _RowBfo | _RowBse, ...]

    @property
    def exchange_time(self) -> datetime:
        """Exchange time, aware, Asia/Kolkata."""
        return clock.from_epoch(self.seconds)

    @property
    def levels(self) -> tuple[DepthLevel, ...]:
        """The rows, best first."""
        return tuple(
            DepthLevel(
                row.bid or 0.0, row.bid_quantity or 0, getattr(row, "bid_orders", None),
                row.ask or 0.0, row.ask_quantity or 0, getattr(row, "ask_orders", None),
            )
            for row in self.rows
        )  # fmt: skip

    def depth(self) -> Depth:
        """Return the depth that `breeze_lab.ticks.decode_frame` makes of this frame."""
        return Depth(self.room, self.exchange_time, self.levels)


class _BookNse(Book, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    room: str
    seconds: _Moment
    rows: tuple[_Row, ...]


class _BookBfo(Book, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    room: str
    seconds: _Moment
    rows: tuple[_RowBfo, ...]


class _BookBse(Book, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    room: str
    seconds: _Moment
    rows: tuple[_RowBse, ...]


#: What a frame can be read as.
Value: TypeAlias = Quote | Tick | Book | Depth
_Decoder: TypeAlias = "Callable[[bytes], Value]"

_Layouts: TypeAlias = "dict[tuple[bytes, ...], tuple[_Decoder, ...]]"

_loose: Final = msgspec.json.Decoder().decode
#: What a `Reader` calls the types of the layouts.
_KINDS: Final[dict[Any, str]] = {
    str: "t", Any: "a", _Price: "p", _Whole: "w", _Moment: "m", _Seconds: "s",
    str | _Price: "v", _Whole | Literal[""]: "e",
    tuple[_Row, ...]: "r", tuple[_RowBfo, ...]: "r", tuple[_RowBse, ...]: "r",
}  # fmt: skip


def _layout(made: type[Any], row: type[Any] | None = None, *, compiled: bool = True) -> _Decoder:
    """Return what reads frames of one layout, those with a book by the layout of its rows."""
    careful: _Decoder = msgspec.json.Decoder(made).decode
    if Reader is None or not compiled:
        return careful
    try:
        rows = Reader(row, _kinds(row), careful) if row else None
        return Reader(made, _kinds(made), careful, rows)
    except TypeError:  # a msgspec that keeps its fields in another way
        return careful


def _kinds(made: type[Any]) -> str:
    hints = get_type_hints(made, include_extras=True)
    return "".join(_KINDS[hints[name]] for name in made.__struct_fields__)


def _layouts(*, compiled: bool = True) -> _Layouts:
    """Return the layouts by kind of room, the likelier first."""
    cash = _layout(_Cash, compiled=compiled)
    derivative = _layout(_Derivative, compiled=compiled)
    nse = _layout(_BookNse, _Row, compiled=compiled)
    return {
        (b"3", b"1"): (_layout(_Index, compiled=compiled),),
        (b"1", b"2"): (_layout(_BookBse, _RowBse, compiled=compiled),),
        (b"8", b"2"): (_layout(_BookBfo, _RowBfo, compiled=compiled),),
        (b"4", b"2"): (nse,),
        (b"13", b"2"): (nse,),
        (b"8", b"1"): (derivative, cash),
        (b"13", b"1"): (derivative, cash),
        (b"4", b"1"): (cash, derivative),
        (b"1", b"1"): (cash, derivative),
    }


_LAYOUTS: Final = _layouts()
#: The beginning of a frame, long enough for a room of six digits.
_HEAD: Final = slice(12)
_ROOM: Final = re.compile(rb'\["(\d\d?)\.([12])!')
#: The layout that read the last frame with the same beginning.
_learnt: Final[dict[bytes, _Decoder]] = {}
_MOST_LEARNT: Final = 20_000


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Read without the compiled reader for a while: for tests and benchmarks."""
    kept = dict(_LAYOUTS)
    _learnt.clear()
    _LAYOUTS.update(_layouts(compiled=False))
    try:
        yield
    finally:
        _LAYOUTS.update(kept)
        _learnt.clear()


def decode(raw: bytes) -> Value:
    """Return the value of one ``stock`` frame.

    Parameters
    ----------
    raw
        The frame as it came: the JSON text of an array.

    Returns
    -------
    Quote, Book, Tick or Depth
        A `Quote` has the attributes of the `Tick` that `ticks.decode_frame`
        makes of the frame, a `Book` those of its `Depth`; frames of rarer
        layouts come as these themselves.

    Raises
    ------
    BadResponse
        When the frame has none of the known layouts. The caller counts it and
        goes on.
    """
    try:
        return _learnt[raw[_HEAD]](raw)
    except (KeyError, ValueError, RecursionError):  # msgspec raises ValueErrors, and bad UTF-8 one
        return _learn(raw)


def _learn(raw: bytes) -> Value:
    """Try the layouts of the frame's room; remember the one that fits."""
    found = _ROOM.match(raw[_HEAD])
    for decoder in _LAYOUTS.get(found.groups(), ()) if found else ():
        try:
            value = decoder(raw)
        except (ValueError, RecursionError):
            continue
        if len(_learnt) >= _MOST_LEARNT:
            _learnt.clear()
        _learnt[raw[_HEAD]] = decoder
        return value
    return _slowly(raw)


def _slowly(raw: bytes) -> Tick | Depth:
    """Read a frame of any content, as `ticks.decode_frame` does."""
    try:
        frame = _loose(raw)
    except (ValueError, RecursionError) as exc:
        raise BadResponse(f"A frame is no JSON text: {raw[:120]!r}") from exc
    return decode_frame(frame)
