"""Order updates: what the broker pushes to the owner of an order when it changes.

Owns the layout of the frames of the ``order`` event: types 4 and 5 for cash, 6
and 7 for derivatives. A derivative's is known from recordings: strike, limit
and trigger in paise, and from the acknowledgement on one place further than the
SDK's labels say, which therefore call the amount blocked ``averageExecutedRate``.
No recording of a cash frame is known: its places are the SDK's, its units are
taken to be the derivative's, as the practice market does. For what an order was
filled at, order detail and trades are the better witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import BadResponse
from breeze_lab.fields import Fields, strings

if TYPE_CHECKING:
    from datetime import date, datetime

__all__ = ["OrderUpdate", "decode_order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """An order as one notification tells of it.

    Where the broker writes a letter that is not known, the letter stands in the
    place of the word.

    Parameters
    ----------
    message_type
        ``"4"`` or ``"5"`` for cash, ``"6"`` or ``"7"`` for derivatives.
    sequence
        The broker's number of the notification.
    time
        Of the notification, aware, Asia/Kolkata.
    user_id
        The owner.
    order_id
        The broker's reference, as in the REST answers.
    exchange, stock_code
        ``"NFO"``, ICICI's short name.
    product
        ``"Cash" "BTST" "Futures" "Options"``.
    action
        ``"Buy" "Sell" "NA"``.
    order_type
        ``"Limit" "Market" "StopLoss"``.
    validity, valid_until
        ``"Day" "IoC" "VTC"``, and the last day.
    status
        ``"Requested" "Queued" "Ordered" "Partially Executed" "Executed"
        "Rejected" "Expired" "Partially Executed And Expired" "Partially Executed
        And Cancelled" "Freezed" "Cancelled"``.
    quantity, executed, cancelled, expired
        Of the order and of its parts, in the units of the REST answers.
    price, trigger
        Limit and stop-loss trigger in rupees; 0 where the order has none.
    amount_blocked, average_rate
        Rupees; the average of the executions, 0 before the first.
    trade_date
        Market day of the order.
    channel
        Where it was placed, ``"WEB"`` or ``"API"``.
    expiry, strike, right
        Of derivatives; strike in rupees and right ``"CE"`` or ``"PE"`` of options.
    acknowledgement, stop_loss_reference
        Of derivatives: the exchange's number and the order of the stop loss;
        None where the broker writes ``*``.
    order_date, open_quantity, disclosed
        Of cash: when it was placed, what still waits, what the book shows.
    rest
        The other texts of the frame in their order: flags and numbers of the
        broker's own household.
    """

    message_type: str
    sequence: str
    time: datetime
    user_id: str = field(repr=False)
    order_id: str
    exchange: str
    stock_code: str
    product: str
    action: str
    order_type: str
    validity: str
    valid_until: date | None
    status: str
    quantity: int
    executed: int
    cancelled: int
    expired: int
    price: float
    trigger: float
    amount_blocked: float
    average_rate: float
    trade_date: date | None
    channel: str
    expiry: date | None = None
    strike: float | None = None
    right: str | None = None
    acknowledgement: str | None = None
    stop_loss_reference: str | None = None
    order_date: date | None = None
    open_quantity: int | None = None
    disclosed: int | None = None
    rest: tuple[str, ...] = field(default=(), repr=False)


_HEAD: Final = {
    "user id": 2, "sequence": 6, "date": 7, "time": 8, "message type": 11, "exchange": 13,
    "stock code": 14,
}  # fmt: skip
_DERIVATIVE: Final = _HEAD | {
    "product": 15, "right": 16, "strike": 18, "expiry": 19, "valid until": 20, "action": 21,
    "order type": 22, "validity": 23, "price": 24, "status": 25, "order id": 26, "quantity": 27,
    "executed": 28, "cancelled": 29, "expired": 30, "trigger": 31, "channel": 34,
    "trade date": 36, "acknowledgement": 37, "stop loss reference": 38, "amount blocked": 39,
    "average rate": 40,
}  # fmt: skip
_CASH: Final = _HEAD | {
    "action": 15, "order type": 16, "validity": 17, "price": 18, "product": 19, "status": 20,
    "order date": 21, "trade date": 22, "order id": 23, "quantity": 24, "open quantity": 25,
    "executed": 26, "cancelled": 27, "expired": 28, "disclosed": 29, "trigger": 30,
    "amount blocked": 32, "channel": 34, "valid until": 40, "average rate": 42,
}  # fmt: skip
_PLACES: Final = {"4": _CASH, "5": _CASH, "6": _DERIVATIVE, "7": _DERIVATIVE}
#: What the SDK reads of either kind; recorded frames of derivatives have 52.
_LEAST: Final = 47
_TYPE: Final = _HEAD["message type"]
_ACTION: Final = {"B": "Buy", "S": "Sell", "N": "NA"}
_ORDER_TYPE: Final = {"L": "Limit", "M": "Market", "S": "StopLoss"}
_VALIDITY: Final = {"T": "Day", "I": "IoC", "V": "VTC"}
_PRODUCT: Final = {"F": "Futures", "O": "Options", "C": "Cash", "B": "BTST"}
_RIGHT: Final = {"C": "CE", "P": "PE"}
_STATUS: Final = {
    "A": "All", "R": "Requested", "Q": "Queued", "O": "Ordered", "P": "Partially Executed",
    "E": "Executed", "J": "Rejected", "X": "Expired", "B": "Partially Executed And Expired",
    "D": "Partially Executed And Cancelled", "F": "Freezed", "C": "Cancelled",
}  # fmt: skip


def decode_order(frame: object) -> OrderUpdate:
    """Return the value of one frame of the ``order`` event.

    Parameters
    ----------
    frame
        The list of texts as the broker sent it, at least 47.

    Raises
    ------
    BadResponse
        When it is no order frame; the message names the field that is wrong.
    """
    try:
        return _update(strings(frame))
    except ValueError as exc:
        raise BadResponse(f"An order notification could not be decoded: {exc}.") from exc


def _update(frame: list[str]) -> OrderUpdate:
    if len(frame) < _LEAST:
        raise ValueError(f"it has {len(frame)} elements, not {_LEAST} or more")
    places = _PLACES.get(frame[_TYPE])
    if places is None:
        raise ValueError(f"message type is {frame[_TYPE][:40]!r}, not 4, 5, 6 or 7")
    named = {name: frame[place] for name, place in places.items()}
    # 07-08-2023 on the wire
    named["time"] = f"{'-'.join(reversed(named['date'].split('-')))} {named['time']}"
    read = Fields(named)
    held = set(places.values())
    return OrderUpdate(
        message_type=named["message type"],
        sequence=named["sequence"],
        user_id=named["user id"],
        time=read.moment("time"),
        order_id=read.text("order id"),
        exchange=read.text("exchange"),
        stock_code=read.text("stock code"),
        product=read.word("product", _PRODUCT),
        action=read.word("action", _ACTION),
        order_type=read.word("order type", _ORDER_TYPE),
        validity=read.word("validity", _VALIDITY),
        valid_until=read.day("valid until"),
        status=read.word("status", _STATUS),
        quantity=read.whole("quantity"),
        executed=read.whole("executed"),
        cancelled=read.whole("cancelled"),
        expired=read.whole("expired"),
        price=read.paise("price"),
        trigger=read.paise("trigger"),
        amount_blocked=read.number("amount blocked"),
        average_rate=read.number("average rate"),
        trade_date=read.day("trade date"),
        channel=named["channel"],
        rest=tuple(text for place, text in enumerate(frame) if place not in held),
        **(_of_cash(read) if places is _CASH else _of_derivative(read, named)),
    )


def _of_derivative(read: Fields, named: dict[str, str]) -> dict[str, Any]:
    option = named["right"] != "*"

    def number(name: str) -> str | None:
        return None if named[name] == "*" else named[name]

    return {
        "expiry": read.day("expiry"),
        "strike": read.paise("strike") if option else None,
        "right": read.word("right", _RIGHT) if option else None,
        "acknowledgement": number("acknowledgement"),
        "stop_loss_reference": number("stop loss reference"),
    }


def _of_cash(read: Fields) -> dict[str, Any]:
    return {
        "order_date": read.day("order date"),
        "open_quantity": read.whole("open quantity"),
        "disclosed": read.whole("disclosed"),
    }
