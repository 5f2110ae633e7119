"""Our values beside the SDK's dictionaries, and the frames they were read from."""

from __future__ import annotations

from breeze_lab.bars import Interval
from breeze_lab.candle_text import EVENTS, Candle
from breeze_lab.order_updates import OrderUpdate
from breeze_lab.practice.wire import frames, layouts
from breeze_lab.recommendations import EquityRecommendation
from breeze_lab.ticks import Depth, Tick

__all__ = [
    "candle_text", "disagreements", "mcx_frame", "order_frame", "recommendation_frame",
]  # fmt: skip

# Letters and words, written here once more: the decoder's own tables could be wrong.
ACTION = {"Buy": "B", "Sell": "S", "NA": "N"}
ORDER_TYPE = {"Limit": "L", "Market": "M", "StopLoss": "S"}
VALIDITY = {"Day": "T", "IoC": "I", "VTC": "V"}
PRODUCT = {"Futures": "F", "Options": "O", "Cash": "C", "BTST": "B"}
STATUS = {
    "All": "A", "Requested": "R", "Queued": "Q", "Ordered": "O", "Partially Executed": "P",
    "Executed": "E", "Rejected": "J", "Expired": "X", "Partially Executed And Expired": "B",
    "Partially Executed And Cancelled": "D", "Freezed": "F", "Cancelled": "C",
}  # fmt: skip
RIGHT_WORD = {"CE": "Call", "PE": "Put", None: "Others"}

QUOTE = {
    "symbol": "room", "open": "open", "last": "last", "high": "high", "low": "low",
    "change": "change_percent", "bPrice": "bid", "bQty": "bid_quantity", "sPrice": "ask",
    "sQty": "ask_quantity", "ltq": "last_quantity", "avgPrice": "average_price", "ttq": "volume",
    "totalBuyQt": "total_bid_quantity", "totalSellQ": "total_ask_quantity",
    "lowerCktLm": "lower_circuit", "upperCktLm": "upper_circuit", "close": "previous_close",
    "OI": "open_interest", "CHNGOI": "open_interest_change",
}  # fmt: skip
LEVEL = {
    "BestBuyRate": "bid", "BestBuyQty": "bid_quantity", "BuyNoOfOrders": "bid_orders",
    "BestSellRate": "ask", "BestSellQty": "ask_quantity", "SellNoOfOrders": "ask_orders",
}  # fmt: skip
#: What the SDK has and our value does not: names of markets and the kind of the message, the
#: flags of a row and of the trend, which no recording of ours sets.
NOT_OURS = {"exchange", "quotes", "trend", "BuyFlag", "SellFlag"}
#: Flags and household of an order, all in `OrderUpdate.rest`.
IN_REST = {
    "sourceNumber", "group", "key", "messageLength", "requestType", "messageCategory",
    "messagePriority", "orderMatchAccount", "exerciseType", "specialFlag", "pipeId",
    "modificationOrCancelFlag", "quickExitFlag", "squareOffMarket", "stopValidTillDateFlag",
    "priceImprovementFlag", "conversionImprovementFlag", "trailUpdateCondition",
    "orderSquareFlag", "orderPipeId", "exchangeSegmentCode", "exchangeSegmentSettlement",
    "segmentDescription", "marginSquareOffMode", "orderMessageCharacter",
    "orderPriceImprovementFlag", "orderMBCFlag", "orderLimitOffset", "systemPartnerCode",
}  # fmt: skip
#: The SDK's labels of a derivative's order that name the neighbour's value.
ONE_OFF = {
    "stopLossOrderReference": "acknowledgeNumber", "totalAmountBlocked": "stopLossOrderReference",
    "averageExecutedRate": "totalAmountBlocked", "cancelFlag": "averageExecutedRate",
}  # fmt: skip


def disagreements(theirs, ours):
    """Return the SDK's names of the values that are not the ones we read; every name is looked at."""
    ours_by_name = said(ours)
    if isinstance(ours, Depth):
        theirs = {key: value for row in theirs["depth"] for key, value in row.items()} | {
            key: value for key, value in theirs.items() if key != "depth"
        }
    left_out = set()
    if isinstance(ours, (Tick, Depth)):
        left_out = NOT_OURS
    elif isinstance(ours, OrderUpdate):
        left_out = IN_REST
    names = [name for name in theirs if name.partition("-")[0] not in left_out]
    return [n for n in names if n not in ours_by_name or not same(theirs[n], ours_by_name[n])]


def same(theirs, ours):
    """Say whether a wire value is ours: a number whether it is text or not, "" as None."""
    if ours is None:
        return theirs in (None, "", "*")
    if isinstance(ours, (int, float)):
        return abs(float(theirs) - ours) < 1e-9
    return theirs.strip() == ours.strip()


def said(value):
    """Return a value under the SDK's names, in the wire's units and spelling."""
    if isinstance(value, Tick):
        moment = value.exchange_time
        return {name: getattr(value, field) for name, field in QUOTE.items()} | {
            "ttv": frames._turnover_text(value.turnover, in_lakhs=value.room.startswith("8.")),
            # The SDK tells the time in the machine's own zone.
            "ltt": moment.astimezone().strftime("%c"),
        }
    if isinstance(value, Depth):
        rows = {
            f"{name}-{number}": getattr(level, field)
            for number, level in enumerate(value.levels, 1)
            for name, field in LEVEL.items()
        }
        time = value.exchange_time.astimezone().strftime("%c")
        return rows | {"symbol": value.room, "time": time}
    if isinstance(value, Candle):
        return of_candle(value)
    if isinstance(value, OrderUpdate):
        return of_order(value)
    return of_recommendation(value)


def stamp(moment):
    return f"{moment:%Y-%m-%d %H:%M:%S}"


#: What an MCX frame says beyond a `Tick`: it cannot be written back from one.
MCX_REST = (
    "volume_kind", "reserved", "index_flag", "reserved_text", "reserved_number", "trades",
    "highest_ever", "lowest_ever",
)  # fmt: skip


def mcx_frame(tick):
    """Return the frame a tick of MCX was read from."""

    def paise(rupees):
        return round(rupees * 100)

    moment = tick.exchange_time
    head = {
        "room": tick.room, "volume": tick.volume, "last": paise(tick.last),
        "last_quantity": tick.last_quantity, "time_s": int(moment.timestamp()) if moment else 0,
        "average": paise(tick.average_price), "total_bid": tick.total_bid_quantity,
        "total_ask": tick.total_ask_quantity, "previous_close": paise(tick.previous_close),
        "open": paise(tick.open), "high": paise(tick.high), "low": paise(tick.low),
        "open_interest": tick.open_interest, "value": tick.turnover,
        **dict(zip(MCX_REST, tick.rest, strict=True)),
    }  # fmt: skip
    rows = [
        [level.bid_quantity, paise(level.bid), level.bid_orders, "",
         level.ask_quantity, paise(level.ask), level.ask_orders, ""]
        for level in tick.levels
    ]  # fmt: skip
    return [*layouts.encode(head, layouts.MCX), *rows]


def of_candle(candle):
    bar = candle.bar
    interval = "1second" if bar.interval is Interval.S1 else f"{bar.interval.value // 60}minute"
    return {
        "interval": interval, "exchange_code": candle.exchange, "stock_code": candle.stock_code,
        "low": bar.low, "high": bar.high, "open": bar.open, "close": bar.close,
        "volume": bar.volume, "oi": bar.open_interest, "datetime": stamp(bar.start),
        "expiry_date": candle.expiry and frames.dated(candle.expiry),
        "strike_price": candle.strike, "right_type": candle.right,
    }  # fmt: skip


def of_order(update):
    cash = update.message_type in "45"
    names = {
        "userId": update.user_id, "messageSequence": update.sequence,
        "messageDate": f"{update.time:%d-%m-%Y}", "messageTime": f"{update.time:%H:%M:%S}",
        "messageType": update.message_type, "orderExchangeCode": update.exchange,
        "stockCode": update.stock_code, "productType": update.product,
        "orderFlow": update.action, "limitMarketFlag": update.order_type,
        "orderType": update.validity, "orderStatus": update.status,
        "orderReference": update.order_id, "channel": update.channel,
        "orderValidDate": frames.dated(update.valid_until), "cancelledQuantity": update.cancelled,
        "expiredQuantity": update.expired,
    }  # fmt: skip
    if cash:
        return names | {
            "orderLimitRate": update.price * 100, "orderDate": frames.dated(update.order_date),
            "orderTradeDate": frames.dated(update.trade_date), "orderQuantity": update.quantity,
            "openQuantity": update.open_quantity, "orderExecutedQuantity": update.executed,
            "orderDisclosedQuantity": update.disclosed,
            "orderStopLossTrigger": update.trigger * 100,
            "orderAmountBlocked": update.amount_blocked, "averageExecutedRate": update.average_rate,
        }  # fmt: skip
    right = {
        "acknowledgeNumber": update.acknowledgement, "totalAmountBlocked": update.amount_blocked,
        "stopLossOrderReference": update.stop_loss_reference,
        "averageExecutedRate": update.average_rate,
    }  # fmt: skip
    return names | {
        "optionType": RIGHT_WORD.get(update.right, update.right),
        "strikePrice": (update.strike or 0) * 100, "expiryDate": frames.dated(update.expiry),
        "limitRate": update.price * 100, "orderTotalQuantity": update.quantity,
        "executedQuantity": update.executed, "stopLossTrigger": update.trigger * 100,
        "tradeDate": frames.dated(update.trade_date),
        "acknowledgeNumber": update.acknowledgement,
        **{label: right[meant] for label, meant in ONE_OFF.items()},
    }  # fmt: skip


def of_recommendation(call):
    names = {
        "stock_code": call.stock_code, "recommended_price_from": call.price_from,
        "recommended_price_to": call.price_to, "target_price": call.target,
    }  # fmt: skip
    if isinstance(call, EquityRecommendation):
        expiry, strike, right = call.contract
        return names | {
            "stock_name": call.title, "action_type": call.action, "expiry_date": expiry,
            "strike_price": strike, "option_type": right, "stock_description": call.description,
            "recommended_price_and_date": call.summary, "recommended_date": stamp(call.made),
            "sltp_price": call.stop_loss, "part_profit_percentage": call.part_profit,
            "profit_price": call.profit_price, "exit_price": call.exit_price,
            "recommended_update": call.update, "iclick_status": call.status,
            "subscription_type": call.subscription,
        }  # fmt: skip
    return names | {
        "strategy_date": stamp(call.made), "modification_date": stamp(call.modified),
        "portfolio_id": call.portfolio_id, "call_action": call.call_action,
        "portfolio_name": call.portfolio_name, "exchange_code": call.exchange,
        "product_type": call.product, "underlying": call.stock_code,
        "expiry_date": f"{call.expiry} 00:00:00", "option_type": RIGHT_WORD[call.right].lower(),
        "strike_price": call.strike or 0, "action": call.action,
        "minimum_lot_quantity": call.lot_size, "last_traded_price": call.last,
        "best_bid_price": call.bid, "best_offer_price": call.ask,
        "last_traded_quantity": call.underlying_price,
        "expected_profit_per_lot": call.profit_per_lot, "stop_loss_price": call.stop_loss,
        "expected_loss_per_lot": call.loss_per_lot, "total_margin": call.margin,
        "leg_no": call.leg, "status": call.status,
    }  # fmt: skip


def number(value):
    """Return a number as the wire writes it: no decimals where it has none."""
    return f"{value:.12g}"


def candle_text(candle):
    """Return the text a candle was read from; the value holds all of it."""
    bar, names = candle.bar, layouts.CANDLES[9]
    values = {
        "exchange": candle.exchange, "code": candle.stock_code, "low": bar.low, "high": bar.high,
        "open": bar.open, "close": bar.close, "volume": bar.volume,
        "open_interest": bar.open_interest, "start": stamp(bar.start),
        "event": next(event for event, interval in EVENTS.items() if interval is bar.interval),
    }  # fmt: skip
    for name in ("low", "high", "open", "close"):
        values[name] = number(values[name])
    if candle.expiry:
        names = layouts.CANDLES[13 if candle.right else 11]
        values |= {
            "expiry": frames.dated(candle.expiry), "strike": candle.strike, "right": candle.right,
        }  # fmt: skip
    return ",".join(str(item) for item in layouts.encode(values, names))


def order_frame(update):
    """Return the frame an order update was read from; what has no name is in its rest."""
    cash = update.message_type in "45"
    values = {
        "user_id": update.user_id, "message_sequence": update.sequence,
        "message_date": f"{update.time:%d-%m-%Y}", "message_time": f"{update.time:%H:%M:%S}",
        "message_type": update.message_type, "exchange_code": update.exchange,
        "stock_code": update.stock_code, "product_type": PRODUCT.get(update.product, update.product),
        "flow": ACTION.get(update.action, update.action),
        "limit_market_flag": ORDER_TYPE.get(update.order_type, update.order_type),
        "order_type": VALIDITY.get(update.validity, update.validity),
        "limit_rate": number(update.price * 100), "reference": update.order_id,
        "status": STATUS.get(update.status, update.status), "quantity": str(update.quantity),
        "executed_quantity": str(update.executed), "cancelled_quantity": str(update.cancelled),
        "expired_quantity": str(update.expired), "stop_loss_trigger": number(update.trigger * 100),
        "valid_date": frames.dated(update.valid_until), "channel": update.channel,
        "trade_date": frames.dated(update.trade_date),
        "amount_blocked": f"{update.amount_blocked:.6f}",
        "average_rate": f"{update.average_rate:.6f}",
    }  # fmt: skip
    if cash:
        values |= {
            "order_date": frames.dated(update.order_date),
            "open_quantity": str(update.open_quantity), "disclosed_quantity": str(update.disclosed),
        }  # fmt: skip
    else:
        values |= {
            "option_type": {"CE": "C", "PE": "P", None: "*"}.get(update.right, update.right),
            "strike_price": number((update.strike or 0) * 100),
            "expiry_date": frames.dated(update.expiry),
            "acknowledge_number": update.acknowledgement or "*",
            "stop_loss_reference": update.stop_loss_reference or "*",
        }  # fmt: skip
    names = layouts.CASH_ORDER if cash else layouts.DERIVATIVE_ORDER
    rest = iter(update.rest)
    frame = [values[name] if name in values else next(rest) for name in names]
    return [*frame, *rest]


def recommendation_frame(call):
    """Return the frame of a recommendation; a value does not hold the blanks that pad it."""
    prices = [number(call.price_from), number(call.price_to)]
    if isinstance(call, EquityRecommendation):
        return [
            call.title, call.stock_code, call.action, *call.contract, call.description,
            call.summary, *prices, stamp(call.made), number(call.target), number(call.stop_loss),
            call.part_profit, number(call.profit_price), number(call.exit_price),
            f"{call.update:<5}", call.status, f"{call.subscription:<30}",
        ]  # fmt: skip
    return [
        stamp(call.made), stamp(call.modified), call.portfolio_id, call.call_action,
        call.portfolio_name, call.exchange, call.product, call.underlying_kind,
        f"{call.stock_code:<6}", f"{call.expiry} 00:00:00", call.exercise,
        RIGHT_WORD[call.right].lower(), number(call.strike or 0), call.action, *prices,
        str(call.lot_size), number(call.last), number(call.bid), number(call.ask),
        number(call.underlying_price), number(call.target), number(call.profit_per_lot),
        number(call.stop_loss), number(call.loss_per_lot), number(call.margin), str(call.leg),
        call.status,
    ]  # fmt: skip
