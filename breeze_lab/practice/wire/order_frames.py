"""Order notifications: the frame pushed to the owner's feeds sockets when an order changes.

A derivative's frame (types 6 and 7) is laid out as recorded: 52 texts, strike,
limit and trigger in whole paise, amount blocked and average rate in rupees with
six decimals. Of an equity frame (types 4 and 5) only the SDK's reading is
known, so its units are our choice: the same as the derivative's. What tells the
two types of each kind apart was never seen either; here 4 and 6 report the
order itself, 5 and 7 an execution.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from breeze_lab.practice.exchange.days import day_of, number_at
from breeze_lab.practice.exchange.noise import key_of
from breeze_lab.practice.exchange.words import clock_text, dated
from breeze_lab.practice.wire import layouts

if TYPE_CHECKING:
    from breeze_lab.practice.desk.orders import Order
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["frame"]

_STATUS: Final = {
    "Requested": "R", "Queued": "Q", "Ordered": "O", "Partially Executed": "P", "Executed": "E",
    "Rejected": "J", "Expired": "X", "Partially Executed And Expired": "B",
    "Partially Executed And Cancelled": "D", "Freezed": "F", "Cancelled": "C",
}  # fmt: skip
_EXECUTED: Final = ("P", "E")
_VALIDITY: Final = {"day": "T", "ioc": "I", "vtc": "V"}
_PRODUCT: Final = {
    "cash": "C", "btst": "B", "margin": "M", "mtf": "T", "futures": "F", "options": "O",
}  # fmt: skip
_FLAGS: Final = (
    "cancel_flag", "square_off_market", "quick_exit_flag", "stop_valid_till_date_flag",
    "price_improvement_flag", "conversion_improvement_flag",
)  # fmt: skip


def frame(order: Order, user: str, sequence: int) -> list[str]:
    """Return the frame of an order as it is now.

    Parameters
    ----------
    order
        A picture of it.
    user
        Its owner's user id.
    sequence
        Counts the account's notifications.

    Returns
    -------
    list of str
        52 elements for a derivative, 47 for cash.
    """
    status = _STATUS[order.status]
    values = _head(order, user, sequence) | {
        "stock_code": order.contract.code, "product_type": _PRODUCT[order.product],
        "flow": order.action[0].upper(),
        "limit_market_flag": "S" if order.kind == "stoploss" else "L",
        "order_type": _VALIDITY[order.validity],
        "limit_rate": _paise(order.price_ticks, order.contract), "status": status,
        "reference": order.id, "quantity": str(order.quantity),
        "executed_quantity": str(order.executed), "cancelled_quantity": str(order.cancelled),
        "expired_quantity": str(order.expired),
        "stop_loss_trigger": _paise(order.trigger_ticks, order.contract),
        "pipe_id": order.pipe, "channel": "API", "valid_date": _valid(order),
        "trade_date": _day(order.placed_ms), "amount_blocked": f"{order.blocked / 100:.6f}",
        "average_rate": f"{order.average_ticks * order.contract.tick / 10_000:.6f}",
        "system_partner_code": "66", "price_improvement_flag": "N",
    }  # fmt: skip
    executed = status in _EXECUTED
    if order.contract.expiry is not None:
        values |= _derivative(order) | {"message_type": "7" if executed else "6"}
        return layouts.encode(values, layouts.DERIVATIVE_ORDER)
    values |= _cash(order) | {"message_type": "5" if executed else "4"}
    return layouts.encode(values, layouts.CASH_ORDER)


def _head(order: Order, user: str, sequence: int) -> dict[str, str]:
    stamp = clock_text(order.changed_ms // 1000)
    day = date.fromisoformat(stamp[:10])
    return {
        "source_number": "1", "group": "*", "user_id": user, "key": "*",
        "message_length": "\x19230", "request_type": "5",
        "message_sequence": f"{stamp[:10].replace('-', '')}{sequence:08d}",
        "message_date": f"{day.day:02d}-{day.month:02d}-{day.year}", "message_time": stamp[11:],
        "message_category": "Intraday Calls", "message_priority": "N",
        "match_account": f"85{key_of(user, 'match account') % 100_000_000:08d}",
        "exchange_code": order.contract.exchange,
    }  # fmt: skip


def _derivative(order: Order) -> dict[str, str]:
    contract = order.contract
    return dict.fromkeys(_FLAGS, "N") | {
        "option_type": {"CE": "C", "PE": "P"}.get(contract.right, "*"), "exercise_type": "E",
        "strike_price": str(round((contract.strike or 0) * 100)),
        "expiry_date": dated(contract.expiry) if contract.expiry else "",
        "special_flag": "N", "modification_or_cancel_flag": "N" if order.is_final else "Y",
        "acknowledge_number": order.exchange_reference or "*", "stop_loss_reference": "*",
        "trail_amount": "0.000000", "reserved_1": "", "reserved_2": "", "tail": "G\x1a",
    }  # fmt: skip


def _cash(order: Order) -> dict[str, str]:
    day = day_of(number_at(order.placed_ms / 1000))
    return {
        "order_date": _day(order.placed_ms), "open_quantity": str(order.pending),
        "disclosed_quantity": str(order.disclosed), "square_flag": "N", "segment_code": "N",
        "segment_settlement": f"{day:%Y%j}", "segment_description": "Rolling",
        "margin_square_off_mode": "*", "unused": "*", "message_character": "*",
        "mbc_flag": "N", "limit_offset": "0",
    }  # fmt: skip


def _paise(ticks: int, contract: Contract) -> str:
    """Return a price in paise, with decimals where the tick is finer than a paisa."""
    return f"{ticks * contract.tick / 100:.10g}"


def _day(time_ms: int) -> str:
    return dated(day_of(number_at(time_ms / 1000)))


def _valid(order: Order) -> str:
    return dated(order.valid_until) if order.valid_until else _day(order.placed_ms)
