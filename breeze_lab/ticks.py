"""Ticks: the broker's quote and depth frames as typed values, and back.

Owns the layout of every frame of the ``stock`` event and the compact form in
which ticks travel from the relay to its consumers. Broker spellings
(``bPrice``, ``ttq``, ``OI``) stop here. Exchange times are epoch seconds on
the wire and aware Asia/Kolkata datetimes here; the machine's time zone is
never read.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from breeze_lab import clock
from breeze_lab.errors import BadResponse

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["CommodityTick", "Depth", "DepthLevel", "Tick", "decode_frame", "moment", "turnover"]

#: What one element of a frame can be.
Field: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Tick:
    """One quote of one instrument.

    Parameters
    ----------
    room
        The broker's room, ``"4.1!2885"``.
    exchange_time
        Last trade time, aware, Asia/Kolkata, whole seconds.
    last, open, high, low, previous_close
        Rupees; open, high and low are of the day so far.
    change_percent
        Percent against the previous close.
    bid, bid_quantity, ask, ask_quantity
        Best prices (rupees) and quantities (shares); None for an index.
    last_quantity
        Quantity of the last trade.
    average_price
        Volume-weighted average of the day.
    volume
        Quantity traded today; None for an index.
    total_bid_quantity, total_ask_quantity
        Of the whole book.
    turnover
        Value traded today in rupees; None also where its text cannot be read.
    lower_circuit, upper_circuit
        Price band of the day.
    open_interest, open_interest_change
        Derivatives only.
    """

    room: str
    exchange_time: datetime | None
    last: float | None
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    change_percent: float | None = None
    bid: float | None = None
    bid_quantity: int | None = None
    ask: float | None = None
    ask_quantity: int | None = None
    last_quantity: int | None = None
    average_price: float | None = None
    volume: int | None = None
    total_bid_quantity: int | None = None
    total_ask_quantity: int | None = None
    turnover: float | None = None
    lower_circuit: float | None = None
    upper_circuit: float | None = None
    open_interest: int | None = None
    open_interest_change: int | None = None

    @property
    def time_s(self) -> int | None:
        """Exchange time in Unix seconds."""
        return None if self.exchange_time is None else int(self.exchange_time.timestamp())

    @property
    def seconds(self) -> int | None:
        """The same, as quotes read straight from the wire call it."""
        return self.time_s


@dataclass(frozen=True, slots=True)
class DepthLevel:
    """One row of the book; `bid_orders` and `ask_orders` are None where the exchange is silent."""

    bid: float
    bid_quantity: int
    bid_orders: int | None
    ask: float
    ask_quantity: int
    ask_orders: int | None


@dataclass(frozen=True, slots=True)
class CommodityTick(Tick):
    """A quote of MCX, which brings its book along.

    Parameters
    ----------
    rows
        The book's rows as they came, prices in paise; `levels` reads them.
    rest
        The frame's elements that mean nothing to us, in their order, so that
        nothing of it is lost.
    """

    rows: tuple[tuple[Field, ...], ...] = ()
    rest: tuple[Field, ...] = ()

    @property
    def levels(self) -> tuple[DepthLevel, ...]:
        """The best rows of the book in rupees, best first."""
        return tuple(
            DepthLevel(
                _price(bid) / 100, _quantity(bid_quantity), _whole(bid_orders),
                _price(ask) / 100, _quantity(ask_quantity), _whole(ask_orders),
            )
            for bid_quantity, bid, bid_orders, _, ask_quantity, ask, ask_orders, _ in self.rows
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Depth:
    """The best rows of one instrument's book, best first."""

    room: str
    exchange_time: datetime
    levels: tuple[DepthLevel, ...]


#: Rupees in one unit of the turnover's suffix: C is crore, L is lakh.
_SUFFIX: Final = {"C": 10_000_000.0, "L": 100_000.0}
#: Elements of a quote without and with open interest, of depth, before the
#: book of MCX, and of the index feed at least.
_CASH: Final = 21
_DERIVATIVE: Final = 23
_DEPTH: Final = 3
_MCX_BOOK: Final = 22
#: Elements of an MCX frame without a meaning here: kinds, flags, reserved ones, all-time extremes.
_MCX_REST: Final = (1, 2, 3, 11, 16, 18, 19, 20)
_INDEX: Final = 17
#: No price, quantity or turnover comes near; beyond it a float skips integers.
_ABSURD: Final = 2**53
#: Everything that reading a frame of unknown content can raise.
_UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)


def _number(value: Field) -> float | None:
    if type(value) is float and -_ABSURD < value < _ABSURD:  # nearly always
        return value
    if value is None or value == "":
        return None
    number = float(value)
    if not -_ABSURD < number < _ABSURD:  # also refuses infinity and NaN
        raise ValueError("no number of a market")
    return number


def _whole(value: Field) -> int | None:
    if type(value) is int and -_ABSURD < value < _ABSURD:  # nearly always
        return value
    number = _number(value)
    return None if number is None else int(number)


def _price(value: Field) -> float:
    """Return a price of the book; an empty row has none."""
    return _number(value) or 0.0


def _quantity(value: Field) -> int:
    return _whole(value) or 0


def turnover(value: Field) -> float | None:
    """Return rupees for the broker's text, ``"70.14C"``; no text at all is worth a tick."""
    if isinstance(value, str):
        unit = _SUFFIX.get(value[-1:])
        try:
            number = _number(value[:-1] if unit else value)
        except ValueError:
            return None
        return None if number is None else number * (unit or _SUFFIX["L"])
    # BFO sends a bare number of lakhs.
    number = _number(value)
    return None if number is None else number * _SUFFIX["L"]


def _time(value: Field) -> datetime | None:
    return moment(int(value)) if value not in ("", None, 0) else None


@functools.lru_cache(maxsize=4096)
def moment(epoch_s: int) -> datetime:
    """Return an exchange time in Asia/Kolkata; many ticks share one."""
    return clock.from_epoch(epoch_s)


def decode_frame(frame: list[Field]) -> Tick | Depth:
    """Return the value of one ``stock`` frame.

    Parameters
    ----------
    frame
        The JSON array as the broker sent it. Quotes have 21 elements (NSE, BSE
        and index) or 23 (NFO, BFO, NDX); depth has three; MCX has 22 and then
        its book rows; the index feed has 17 or more.

    Returns
    -------
    Tick or Depth

    Raises
    ------
    BadResponse
        When the frame has none of the known layouts. The caller counts it and
        goes on.
    """
    try:
        room = frame[0]
        market, _, rest = room.partition(".")
        kind, length = rest[:1], len(frame)
        if kind == "1" and length in (_CASH, _DERIVATIVE) and market not in _OTHER:
            return _quote(frame, derivative=length == _DERIVATIVE)
        if kind == "2" and length == _DEPTH:
            return _depth(room, market, frame)
        if market in _OTHER and kind == "1":
            return _OTHER[market](frame)
    except _UNREADABLE as exc:
        raise BadResponse(f"A frame could not be decoded: {str(frame)[:120]}") from exc
    raise BadResponse(f"A frame has no known layout: {str(frame)[:120]}")


def _quote(frame: list[Field], *, derivative: bool) -> Tick:
    tail = frame[14:] if derivative else frame[12:]
    return Tick(
        room=frame[0],
        exchange_time=_time(tail[7]),
        last=_number(frame[2]),
        open=_number(frame[1]),
        high=_number(frame[3]),
        low=_number(frame[4]),
        previous_close=_number(tail[8]),
        change_percent=_number(frame[5]),
        bid=_number(frame[6]),
        bid_quantity=_whole(frame[7]),
        ask=_number(frame[8]),
        ask_quantity=_whole(frame[9]),
        last_quantity=_whole(frame[10]),
        average_price=_number(frame[11]),
        volume=_whole(tail[0]),
        total_bid_quantity=_whole(tail[1]),
        total_ask_quantity=_whole(tail[2]),
        turnover=turnover(tail[3]),
        lower_circuit=_number(tail[5]),
        upper_circuit=_number(tail[6]),
        open_interest=_whole(frame[12]) if derivative else None,
        open_interest_change=_whole(frame[13]) if derivative else None,
    )


def _depth(room: str, market: str, frame: list[Field]) -> Depth:
    levels = []
    for row in frame[2]:
        if market == "1":  # BSE tells no order counts
            bid, bid_quantity, ask, ask_quantity = row
            bid_orders = ask_orders = None
        elif market == "8":  # BFO has no flags
            bid, bid_quantity, bid_orders, ask, ask_quantity, ask_orders = row
        else:
            bid, bid_quantity, bid_orders, _, ask, ask_quantity, ask_orders, _ = row
        levels.append(
            DepthLevel(
                _price(bid), _quantity(bid_quantity), _whole(bid_orders),
                _price(ask), _quantity(ask_quantity), _whole(ask_orders),
            )
        )  # fmt: skip
    return Depth(room, clock.from_epoch(int(frame[1])), tuple(levels))


def _mcx(frame: list[Field]) -> Tick:
    # The recorded frame's prices look like paise (268900 for a zinc contract), see the tests.
    if len(frame) < _MCX_BOOK:
        raise ValueError("too short")
    best = frame[_MCX_BOOK] if len(frame) > _MCX_BOOK else None

    def rupees(value: Field) -> float | None:
        number = _number(value)
        return None if number is None else number / 100

    return CommodityTick(
        room=frame[0],
        exchange_time=_time(frame[7]),
        last=rupees(frame[5]),
        open=rupees(frame[13]),
        high=rupees(frame[14]),
        low=rupees(frame[15]),
        previous_close=rupees(frame[12]),
        bid=rupees(best[1]) if best else None,
        bid_quantity=_whole(best[0]) if best else None,
        ask=rupees(best[5]) if best else None,
        ask_quantity=_whole(best[4]) if best else None,
        last_quantity=_whole(frame[6]),
        average_price=rupees(frame[8]),
        volume=_whole(frame[4]),
        total_bid_quantity=_whole(frame[9]),
        total_ask_quantity=_whole(frame[10]),
        turnover=_number(frame[21]),
        open_interest=_whole(frame[17]),
        rows=tuple(tuple(row) for row in frame[_MCX_BOOK:]),
        rest=tuple(frame[place] for place in _MCX_REST),
    )


def _index(frame: list[Field]) -> Tick:
    # Known only from the SDK's source; no recording was found, so its time may be text.
    if len(frame) < _INDEX:
        raise ValueError("too short")
    time = frame[7]
    return Tick(
        room=frame[0],
        exchange_time=None if isinstance(time, str) and not time.isdigit() else _time(time),
        last=_number(frame[5]),
        open=_number(frame[1]),
        high=_number(frame[2]),
        low=_number(frame[3]),
        previous_close=_number(frame[4]),
        change_percent=_number(frame[9]),
        bid=_number(frame[12]),
        bid_quantity=_whole(frame[13]),
        ask=_number(frame[14]),
        ask_quantity=_whole(frame[15]),
        last_quantity=_whole(frame[6]),
        average_price=_number(frame[11]),
        volume=_whole(frame[8]),
        open_interest=_whole(frame[16]),
    )


#: Markets with a layout of their own: MCX and the index feed.
_OTHER: Final = {"6": _mcx, "3": _index}
