"""What stands at each place of the frames that are mere lists of values.

Names follow what the recorded frames mean. The SDK's labels of a derivative's
order frame are one off from `stop_loss_reference` on: it calls the amount
blocked ``averageExecutedRate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CANDLES", "CASH_ORDER", "DERIVATIVE_ORDER", "MCX", "MCX_ROW", "ORDER_HEAD", "encode", "named",
]  # fmt: skip

ORDER_HEAD: Final = (
    "source_number", "group", "user_id", "key", "message_length", "request_type",
    "message_sequence", "message_date", "message_time", "message_category", "message_priority",
    "message_type", "match_account", "exchange_code",
)  # fmt: skip
#: 52 elements, as recorded; prices in paise.
DERIVATIVE_ORDER: Final = (
    *ORDER_HEAD, "stock_code", "product_type", "option_type", "exercise_type", "strike_price",
    "expiry_date", "valid_date", "flow", "limit_market_flag", "order_type", "limit_rate", "status",
    "reference", "quantity", "executed_quantity", "cancelled_quantity", "expired_quantity",
    "stop_loss_trigger", "special_flag", "pipe_id", "channel", "modification_or_cancel_flag",
    "trade_date", "acknowledge_number", "stop_loss_reference", "amount_blocked", "average_rate",
    "cancel_flag", "square_off_market", "quick_exit_flag", "stop_valid_till_date_flag",
    "price_improvement_flag", "conversion_improvement_flag", "trail_amount", "system_partner_code",
    "reserved_1", "reserved_2", "tail",
)  # fmt: skip
#: 47 elements, as the SDK reads them; no recording is known.
CASH_ORDER: Final = (
    *ORDER_HEAD, "stock_code", "flow", "limit_market_flag", "order_type", "limit_rate",
    "product_type", "status", "order_date", "trade_date", "reference", "quantity", "open_quantity",
    "executed_quantity", "cancelled_quantity", "expired_quantity", "disclosed_quantity",
    "stop_loss_trigger", "square_flag", "amount_blocked", "pipe_id", "channel", "segment_code",
    "segment_settlement", "segment_description", "margin_square_off_mode", "unused", "valid_date",
    "message_character", "average_rate", "price_improvement_flag", "mbc_flag", "limit_offset",
    "system_partner_code",
)  # fmt: skip
#: 22 elements, then five rows of `MCX_ROW`; prices in paise.
MCX: Final = (
    "room", "volume_kind", "reserved", "index_flag", "volume", "last", "last_quantity", "time_s",
    "average", "total_bid", "total_ask", "reserved_text", "previous_close", "open", "high", "low",
    "reserved_number", "open_interest", "trades", "highest_ever", "lowest_ever", "value",
)  # fmt: skip
MCX_ROW: Final = (
    "bid_quantity", "bid", "bid_orders", "bid_flag", "ask_quantity", "ask", "ask_orders",
    "ask_flag",
)  # fmt: skip
_BAR: Final = ("low", "high", "open", "close", "volume")
#: Fields of a candle by their count: cash, futures, options.
CANDLES: Final = {
    9: ("exchange", "code", *_BAR, "start", "event"),
    11: ("exchange", "code", "expiry", *_BAR, "open_interest", "start", "event"),
    13: ("exchange", "code", "expiry", "strike", "right", *_BAR, "open_interest", "start", "event"),
}


def named(values: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Return a frame's values by name.

    Raises
    ------
    ValueError
        When it has another length than the layout.
    """
    return dict(zip(names, values, strict=True))


def encode(values: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Return the frame of named values.

    Raises
    ------
    KeyError
        When a value is missing.
    """
    return [values[name] for name in names]
