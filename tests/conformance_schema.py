"""What every answer and tick must look like: names, types and spelling, in the README's order.

Transcribed from the SDK's README and from recorded traffic. A value's kind is
a word of `KINDS`, a pattern its text must match, a set of the texts it may be,
a dictionary of a nested object, a list with the one layout its items have, or a
tuple with a layout for each item.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["ANSWERS", "FRAMES", "complaints"]

KINDS: Final = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
    "text or null": lambda value: value is None or isinstance(value, str),
    "number or null": lambda value: (
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    ),
    "anything": lambda _: True,
}


def complaints(
    value: Any, layout: Any, place: str = "answer", *, ordered: bool = True
) -> list[str]:
    """Return what is wrong with `value`: missing, extra or displaced keys, wrong types."""
    if isinstance(layout, dict):
        return _of_object(value, layout, place, ordered=ordered)
    if isinstance(layout, (list, tuple)):
        return _of_list(value, layout, place, ordered=ordered)
    if isinstance(layout, (set, frozenset)):
        good, wanted = value in layout, f"one of {sorted(map(str, layout))}"
    elif isinstance(layout, re.Pattern):
        good = isinstance(value, str) and bool(layout.fullmatch(value))
        wanted = f"written {layout.pattern}"
    else:
        good, wanted = KINDS[layout](value), layout
    return [] if good else [f"{place} is {value!r}, not {wanted}"]


def _of_object(value: Any, layout: dict[str, Any], place: str, *, ordered: bool) -> list[str]:
    if not isinstance(value, dict):
        return [f"{place} is {type(value).__name__}, not an object"]
    wrong = [f"{place} lacks {key}" for key in layout if key not in value]
    wrong += [f"{place} has {key} too many" for key in value if key not in layout]
    if ordered and not wrong and list(value) != list(layout):
        wrong.append(f"{place} has its keys in another order: {list(value)}")
    for key in [key for key in layout if key in value]:
        wrong += complaints(value[key], layout[key], f"{place}.{key}", ordered=ordered)
    return wrong


def _of_list(
    value: Any, layout: list[Any] | tuple[Any, ...], place: str, *, ordered: bool
) -> list[str]:
    if not isinstance(value, list):
        return [f"{place} is {type(value).__name__}, not a list"]
    if isinstance(layout, tuple) and len(value) != len(layout):
        return [f"{place} has {len(value)} items, not {len(layout)}"]
    wrong = []
    for index, item in enumerate(value):
        wanted = layout[index] if isinstance(layout, tuple) else layout[0]
        wrong += complaints(item, wanted, f"{place}[{index}]", ordered=ordered)
    return wrong


def _each(kind: Any, names: str) -> dict[str, Any]:
    """Return keys that all hold the same kind of value."""
    return dict.fromkeys(names.split(), kind)


DATE: Final = re.compile(r"\d\d-[A-Z][a-z]{2}-\d{4}")
DATE_TIME: Final = re.compile(r"\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d")
WHOLE: Final = re.compile(r"-?\d+")
PAISE: Final = re.compile(r"-?\d+\.\d\d")
MONEY: Final = re.compile(r"-?\d+(\.\d{1,4})?")
STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
GTT_ID: Final = re.compile(r"\d{16}")
#: Eighteen digits for F&O; for cash eight, N for NSE (B for BSE is our guess), a digit and eight.
ORDER_ID: Final = re.compile(r"\d{18}|\d{8}[NB]\d{9}")
ACTION: Final = {"Buy", "Sell"}
RIGHT: Final = {"Call", "Put", "Others"}
STATUS: Final = {
    "Requested", "Queued", "Ordered", "Partially Executed", "Executed", "Rejected", "Expired",
    "Partially Executed And Expired", "Partially Executed And Cancelled", "Freezed", "Cancelled",
}  # fmt: skip


def _good(success: Any) -> dict[str, Any]:
    return {"Success": success, "Status": {200}, "Error": "null"}


QUOTE: Final[dict[str, Any]] = {
    "exchange_code": "text", "product_type": "text", "stock_code": "text",
    "expiry_date": "text or null", "right": "text or null", "strike_price": "number",
    "ltp": "number", "ltt": "text", "best_bid_price": "number", "best_bid_quantity": WHOLE,
    "best_offer_price": "number", "best_offer_quantity": WHOLE, "open": "number",
    "high": "number", "low": "number", "previous_close": "number",
    "ltp_percent_change": "number", "upper_circuit": "number", "lower_circuit": "number",
    "total_quantity_traded": WHOLE, "spot_price": "text or null",
}  # fmt: skip
DERIVATIVE_QUOTE: Final = QUOTE | {
    "product_type": {"Future", "Options"}, "expiry_date": DATE, "right": {"*", "Call", "Put"},
    "spot_price": MONEY,
}  # fmt: skip
CHAIN: Final = DERIVATIVE_QUOTE | {
    "ltq": WHOLE, "open_interest": "number", "chnge_oi": "number", "total_buy_qty": WHOLE,
    "total_sell_qty": WHOLE,
}  # fmt: skip
ORDER: Final[dict[str, Any]] = {
    "order_id": ORDER_ID, "exchange_order_id": "null", "exchange_code": "text",
    "stock_code": "text", "product_type": {"Cash", "Futures", "Options", "MTF", "BTST"},
    "action": ACTION, "order_type": {"Limit", "StopLoss", "Stoploss", "Market"},
    "stoploss": PAISE, "quantity": WHOLE,
    "price": PAISE, "validity": {"Day", "IOC", "IoC", "VTC"}, "disclosed_quantity": WHOLE,
    "expiry_date": "text or null", "right": "text or null", "strike_price": "number",
    "average_price": MONEY, "cancelled_quantity": WHOLE, "pending_quantity": WHOLE,
    "status": STATUS, "user_remark": "text",
    "order_datetime": re.compile(r"\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d"),
    **_each(
        "null", "parent_order_id modification_number exchange_acknowledgement_date SLTP_price "         "exchange_acknowledge_number initial_limit intial_sltp LTP limit_offset mbc_flag "         "cutoff_price",
    ), "validity_date": {""},
}  # fmt: skip
HOLDING: Final[dict[str, Any]] = {
    "stock_code": "text", "exchange_code": "text", "quantity": WHOLE, "average_price": MONEY,
    "booked_profit_loss": "null", "current_market_price": MONEY, "change_percentage": "null",
    "answer_flag": "null", "product_type": "text or null", "expiry_date": "text or null",
    "strike_price": "text or null", "right": "text or null",
    "category_index_per_stock": "text or null", "action": "text or null",
    "realized_profit": MONEY, "unrealized_profit": MONEY, "open_position_value": MONEY,
    "portfolio_charges": MONEY,
}  # fmt: skip
POSITION: Final[dict[str, Any]] = {
    "segment": {"fno", "equity"}, "product_type": "text", "exchange_code": "text",
    "stock_code": "text", "expiry_date": "text or null", "strike_price": "text or null",
    "right": "text or null", "action": ACTION | {"NA"}, "quantity": WHOLE,
    "average_price": MONEY, "settlement_id": "text or null", "margin_amount": "text or null",
    "ltp": MONEY, "price": MONEY, "stock_index_indicator": "text or null",
    "cover_quantity": "text or null", "stoploss_trigger": "text or null",
    **_each(
        "null", "stoploss take_profit available_margin squareoff_mode mtf_sell_quantity "         "mtf_net_amount_payable mtf_expiry_date",
    ), "order_id": {""}, **_each(
        "null", "cover_order_flow cover_order_executed_quantity pledge_status pnl",
    ), "underlying": "text or null", "order_segment_code": "null",
}  # fmt: skip
TRADE: Final[dict[str, Any]] = {
    "book_type": {"Trade-Book"}, "trade_date": DATE, "stock_code": "text", "action": ACTION,
    "quantity": WHOLE, "average_cost": PAISE, "brokerage_amount": PAISE,
    "product_type": "text", "exchange_code": "text", "order_id": ORDER_ID, "segment": "text",
    "settlement_code": "text", "dp_id": "text", "client_id": "text", "ltp": PAISE,
    "eatm_withheld_amount": PAISE, "cash_withheld_amount": PAISE, "total_taxes": PAISE,
    "order_type": "text", "expiry_date": "text or null", "right": "text or null",
    "strike_price": "text or null",
}  # fmt: skip
EXECUTION: Final[dict[str, Any]] = {
    "settlement_id": "text", "exchange_trade_id": WHOLE, "executed_quantity": WHOLE,
    "action": {"B", "S"}, "total_transaction_cost": MONEY, "brokerage_amount": MONEY,
    "taxes": MONEY, "eatm_withheld_amount": MONEY, "cash_withheld_amount": MONEY,
    "execution_price": MONEY, "stock_code": "text", "exchange_code": "text",
    "trade_id": re.compile(r"\d{4}/\d{4}/\d{8}"), "exchange_trade_time": DATE_TIME,
}  # fmt: skip
GTT_LEG: Final[dict[str, Any]] = {
    "gtt_leg_type": {None, "Target", "Stoploss"}, "action": ACTION, "trigger_price": "number",
    "limit_price": "number", "status": "text", "gtt_order_id": GTT_ID,
}  # fmt: skip
GTT: Final[dict[str, Any]] = {
    "order_details": [GTT_LEG], "exchange_code": "text", "product_type": "text",
    "stock_code": "text", "expiry_date": DATE, "strike_price": "number", "right": RIGHT,
    "quantity": "integer", "index_or_stock": {"Index", "Stock"},
    "gtt_type": {"Single", "Cover OCO", "OCO"}, "fresh_order_id": "text or null",
    "order_datetime": re.compile(r"\d\d-[A-Z]{3}-\d{4} \d\d:\d\d:\d\d"),
}  # fmt: skip
CANDLE_V1: Final[dict[str, Any]] = {
    "datetime": STAMP, "stock_code": "text", "exchange_code": "text", "product_type": "null",
    "expiry_date": "null", "right": "null", "strike_price": "null", "open": MONEY,
    "high": MONEY, "low": MONEY, "close": MONEY, "volume": WHOLE, "open_interest": "null",
    "count": "integer",
}  # fmt: skip
_V1_DERIVATIVE: Final = {
    "expiry_date": re.compile(r"\d\d-[A-Z]{3}-\d\d"), "open_interest": WHOLE,
}  # fmt: skip
_MONEY_V2: Final = dict.fromkeys(("open", "high", "low", "close"), "number")
CANDLE_V2: Final[dict[str, Any]] = {
    "close": "number", "datetime": STAMP, "exchange_code": "text", "high": "number",
    "low": "number", "open": "number", "stock_code": "text", "volume": "integer",
}  # fmt: skip
_UPPER_DATE: Final = re.compile(r"\d\d-[A-Z]{3}-\d{4}")
FUTURE_V2: Final[dict[str, Any]] = {
    "close": "number", "datetime": STAMP, "exchange_code": "text", "expiry_date": _UPPER_DATE,
    "high": "number", "low": "number", "open": "number", "open_interest": "integer",
    "product_type": {"Futures"}, "stock_code": "text", "volume": "integer",
}  # fmt: skip
OPTION_V2: Final[dict[str, Any]] = {
    "close": "number", "datetime": STAMP, "exchange_code": "text", "expiry_date": _UPPER_DATE,
    "high": "number", "low": "number", "open": "number", "open_interest": "integer",
    "product_type": {"Options"}, "right": {"Call", "Put"}, "stock_code": "text",
    "strike_price": "number", "volume": "integer",
}  # fmt: skip


def _v2(row: dict[str, Any]) -> dict[str, Any]:
    return {"Error": "null", "Status": {200}, "Success": [row]}


ANSWERS: Final[dict[str, Any]] = {
    "message": {"message": "text"},
    "messages": [{"message": "text"}],
    "nothing": "null",
    "details": _good({
        "exg_trade_date": dict.fromkeys(("NSE", "BSE", "FNO", "NDX"), DATE),
        "exg_status": _each(frozenset("OCYX"), "NSE BSE FNO NDX"),
        "segments_allowed": _each(frozenset("YNZ"), "Trading Equity Derivatives Currency"),
        "idirect_userid": "text", "idirect_user_name": "text", "idirect_ORD_TYP": {"N"},
        "idirect_lastlogin_time": DATE_TIME, "mf_holding_mode_popup_flg": {"N"},
        "commodity_exchange_status": "text", "commodity_trade_date": DATE,
        "commodity_allowed": "text",
    }),
    "demat": _good([{
        "stock_code": "text", "stock_ISIN": re.compile(r"INE\w{9}"), "quantity": WHOLE,
        "demat_total_bulk_quantity": WHOLE, "demat_avail_quantity": WHOLE,
        "blocked_quantity": WHOLE, "demat_allocated_quantity": WHOLE,
    }]),
    "funds": _good({
        "bank_account": WHOLE, **_each(
        "number", "total_bank_balance allocated_equity allocated_fno allocated_commodity "             "allocated_currency block_by_trade_equity block_by_trade_fno "             "block_by_trade_commodity block_by_trade_currency block_by_trade_balance",
    ), "unallocated_balance": MONEY,
    }),
    "funds set": _good({"status": {"Success"}}),
    "candles v1 cash": _good([CANDLE_V1]),
    "candles v1 futures": _good([CANDLE_V1 | _V1_DERIVATIVE | {
        "product_type": {"Futures"}, "right": {"Others"}, "strike_price": {"0"},
    }]),
    "candles v1 options": _good([CANDLE_V1 | _V1_DERIVATIVE | {
        "product_type": {"Options"}, "right": {"Call", "Put"}, "strike_price": MONEY,
    }]),
    "candles v2 cash": _v2(CANDLE_V2),
    "candles v2 futures": _v2(FUTURE_V2),
    "candles v2 options": _v2(OPTION_V2),
    "margin": _good({
        "limit_list": ["anything"], "cash_limit": "number", "amount_allocated": "number",
        "block_by_trade": "number", "isec_margin": "number",
    }),
    "placed fno": _good({
        "order_id": re.compile(r"\d{18}"), "message": {"Successfully Placed the order"},
        "user_remark": "text",
    }),
    "placed cash": _good({
        "order_id": re.compile(r"\d{8}[NB]\d{9}"),
        "message": re.compile(
            r"Equity (CASH|MTF) Order placed successfully through RI reference no \d{8}[NB]\d{9}"
        ), "user_remark": "null",
    }),
    "orders": _good([ORDER]),
    "modified": _good({"message": {"Successfully Modified the order"}, "order_id": ORDER_ID}),
    "cancelled": _good({"order_id": ORDER_ID, "message": {"Your Order Canceled successfully."}}),
    "holdings": _good([HOLDING]),
    "positions": _good([POSITION]),
    "quotes": _good([QUOTE]),
    "derivative quotes": _good([DERIVATIVE_QUOTE]),
    "chain": _good([CHAIN]),
    "squared off": _good({
        "order_id": ORDER_ID, "message": "text", "indicator": {"0"},
    }),
    "trades": _good([TRADE]),
    "executions": _good([EXECUTION]),
    "names": {
        "exchange_code": "text", "exchange_stock_code": "text", "isec_stock_code": "text",
        "isec_token": "text", "company name": "text",
        "isec_token_level1": re.compile(r"4\.1!.+"), "isec_token_level2": re.compile(r"4\.2!.+"),
    },
    "preview": _good(_each(
        "number", "brokerage exchange_turnover_charges stamp_duty stt sebi_charges gst "         "total_turnover_and_sebi_charges total_other_charges total_brokerage",
    )),
    "limit": _good({
        "available_quantity": WHOLE, "action_id": WHOLE, "order_margin": MONEY,
        "limit_rate": MONEY,
    }),
    "margin of positions": _good({
        "margin_calulation": [{
            "strike_price": MONEY, "quantity": WHOLE, "right": RIGHT,
            "product": {"Futures", "Options"}, "action": ACTION, "price": MONEY,
            "expiry_date": DATE, "stock_code": "text",
        }],
        "non_span_margin_required": MONEY, "order_value": MONEY, "order_margin": MONEY,
        "trade_margin": "null", "block_trade_margin": MONEY, "span_margin_required": MONEY,
    }),
    "gtt placed": _good({
        "gtt_order_id": GTT_ID, "message": {"Your GTT Order Request Placed Successfully"},
    }),
    "gtt modified": _good({"gtt_order_id": GTT_ID, "message": {"Order Modified Successfully"}}),
    "gtt cancelled": _good({
        "gtt_order_id": GTT_ID,
        "message": {"Your request for order cancellation successfully submitted !"},
    }),
    "gtt book": _good([GTT]),
    "text": "text",
    "anything": "anything",
    "refused here": {"Success": {""}, "Status": {500}, "Error": "text"},
    "refused": {"Success": "null", "Status": "integer", "Error": "text"},
    "refused bare": {"Status": {5}, "Error": "text"},
    "dotnet": _each("text", "Message ExceptionMessage ExceptionType StackTrace"),
}  # fmt: skip

_HEAD: Final = {
    "symbol": re.compile(r"\d+\.1!.+"), "open": "number", "last": "number", "high": "number",
    "low": "number", "change": "number",
}  # fmt: skip
_BEST: Final = {
    "bPrice": "number", "bQty": "integer", "sPrice": "number", "sQty": "integer",
    "ltq": "integer", "avgPrice": "number", "quotes": {"Quotes Data"},
}  # fmt: skip
_TAIL: Final = {
    "ttq": "integer", "totalBuyQt": "integer", "totalSellQ": "integer",
    "ttv": re.compile(r"\d+\.\d\d[CL]"), "trend": {"", "+", "-"}, "lowerCktLm": "number",
    "upperCktLm": "number", "ltt": "text", "close": "number",
}  # fmt: skip
_NAMED: Final = {
    "stock_name": "text", "product_type": {"Futures", "Options"}, "expiry_date": DATE,
}  # fmt: skip
_OPTION: Final = {"strike_price": MONEY, "right": {"Call", "Put"}}
_INDEX: Final = dict.fromkeys(("bPrice", "bQty", "sPrice", "sQty", "ltq", "avgPrice"), "null") | {
    "quotes": {"Quotes Data"},
    **dict.fromkeys(("ttq", "totalBuyQt", "totalSellQ", "ttv"), "null"), "trend": {"+", "-"},
    "lowerCktLm": "null", "upperCktLm": "null", "ltt": "text", "close": "number",
}  # fmt: skip


def _depth(orders: bool, flags: bool) -> tuple[dict[str, Any], ...]:
    """Return the five rows of a book, whose keys are numbered."""
    rows = []
    for n in range(1, 6):
        row: dict[str, Any] = {}
        for side in ("Buy", "Sell"):
            row |= {f"Best{side}Rate-{n}": "number", f"Best{side}Qty-{n}": "integer"}
            row |= {f"{side}NoOfOrders-{n}": "integer"} if orders else {}
            row |= {f"{side}Flag-{n}": {""}} if flags else {}
        rows.append(row)
    return tuple(rows)


_CANDLE: Final = {
    "interval": {"1second", "1minute", "5minute", "30minute"}, "exchange_code": "text",
    "stock_code": "text",
}  # fmt: skip
_BAR: Final = {"low": MONEY, "high": MONEY, "open": MONEY, "close": MONEY, "volume": WHOLE}

#: What `on_ticks` receives. ``"depth"`` is a tuple: each of its rows has a layout of its own.
FRAMES: Final[dict[str, Any]] = {
    "cash quote": _HEAD | _BEST | _TAIL | {"exchange": {"NSE Equity", "BSE"}, "stock_name": "text"},
    "index quote": _HEAD | _INDEX | {"exchange": {"NSE Equity"}, "stock_name": "text"},
    "option quote": _HEAD | _BEST | {"OI": "integer", "CHNGOI": "null"} | _TAIL
    | {"exchange": {"NSE Futures & Options"}} | _NAMED | _OPTION,
    "future quote": _HEAD | _BEST | {"OI": "integer", "CHNGOI": "null"} | _TAIL
    | {"exchange": {"NSE Futures & Options"}} | _NAMED,
    "bfo quote": _HEAD | _BEST | {"OI": "integer", "CHNGOI": "integer"} | _TAIL
    | {"ttv": "number"},
    "currency quote": _HEAD | _BEST | {"OI": {""}, "CHNGOI": {""}} | _TAIL
    | {"exchange": {"NSE Currency"}},
    "cash depth": {
        "symbol": re.compile(r"4\.2!.+"), "time": "text", "depth": _depth(True, True),
        "quotes": {"Market Depth"}, "stock_name": "text",
    },
    "bse depth": {
        "symbol": re.compile(r"1\.2!.+"), "time": "text", "depth": _depth(False, False),
        "quotes": {"Market Depth"}, "exchange": {"BSE"}, "stock_name": "text",
    },
    "option depth": {
        "symbol": re.compile(r"4\.2!.+"), "time": "text", "depth": _depth(True, True),
        "quotes": {"Market Depth"}, **_NAMED, **_OPTION,
    },
    "bfo depth": {
        "symbol": re.compile(r"8\.2!.+"), "time": "text", "depth": _depth(True, False),
        "quotes": {"Market Depth"},
    },
    "cash candle": _CANDLE | _BAR | {"datetime": STAMP},
    "future candle": _CANDLE | {"expiry_date": DATE} | _BAR | {"oi": WHOLE, "datetime": STAMP},
    "option candle": _CANDLE | {
        "expiry_date": DATE, "strike_price": re.compile(r"\d+\.\d+"), "right_type": {"CE", "PE"},
    } | _BAR | {"oi": WHOLE, "datetime": STAMP},
    "one_click_fno": {
        "strategy_date": STAMP, "modification_date": STAMP, "portfolio_id": WHOLE,
        "call_action": "text", "portfolio_name": "text", "exchange_code": {"NFO"},
        "product_type": {"options", "futures"}, "underlying": re.compile(r".{6}"),
        "expiry_date": re.compile(r"\d{4}-\d\d-\d\d 00:00:00"),
        "option_type": {"call", "put", "others"}, "strike_price": MONEY,
        "action": {"buy", "sell"}, **_each(
        MONEY, "recommended_price_from recommended_price_to minimum_lot_quantity last_traded_price "             "best_bid_price best_offer_price last_traded_quantity target_price "             "expected_profit_per_lot stop_loss_price expected_loss_per_lot total_margin",
    ), "leg_no": WHOLE, "status": {"active", "closed"},
    },
    "i_click_2_gain": {
        "stock_name": re.compile(r".+\(\w+\)Margin-(Buy|Sell)"), "stock_code": "text",
        "action_type": {"buy", "sell"}, "expiry_date": {""}, "strike_price": {""},
        "option_type": {""}, "stock_description": {"Margin"},
        "recommended_price_and_date": re.compile(rf"[\d.]+-[\d.]+,{STAMP.pattern}"),
        "recommended_price_from": MONEY, "recommended_price_to": MONEY,
        "recommended_date": STAMP, "target_price": MONEY, "sltp_price": MONEY,
        "part_profit_percentage": {"0,0"}, "profit_price": MONEY, "exit_price": MONEY,
        "recommended_update": "text", "iclick_status": {"open", "closed"},
        "subscription_type": re.compile(r"iclick_2_gain *"),
    },
}  # fmt: skip
