"""Rows of the account's answers: orders, trades, holdings, positions and money.

Every type is as documented: money is a number here and text there, with or
without its paise, as the broker has it; names are misspelt where the broker
misspells them. Keys come in the order of the broker's documentation.
"""

from __future__ import annotations

from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.practice.desk.orders import money_segment
from breeze_lab.practice.exchange.days import day_of, number_at
from breeze_lab.practice.exchange.noise import key_of
from breeze_lab.practice.exchange.universe import RUPEE
from breeze_lab.practice.exchange.words import clock_text, dated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from breeze_lab.practice.desk.orders import (
        Charges,
        Fill,
        Funds,
        Holding,
        MarginLimits,
        MarginResult,
        MoneySegment,
        Order,
        Position,
    )
    from breeze_lab.practice.desk.triggers import Gtt
    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.exchange.universe import Contract

__all__ = [
    "demat", "executions", "funds", "gtt", "holding", "margin", "margin_of", "order", "placed",
    "position", "position_holding", "preview", "trades",
]  # fmt: skip

PRODUCTS: Final = {
    "cash": "Cash", "margin": "Margin", "mtf": "MTF", "btst": "BTST", "futures": "Futures",
    "options": "Options",
}  # fmt: skip
KINDS: Final = {"limit": "Limit", "stoploss": "StopLoss"}
VALIDITIES: Final = {"day": "Day", "ioc": "IoC", "vtc": "VTC"}
_GTT_KINDS: Final = {"single": "Single", "cover_oco": "Cover OCO", "oco": "OCO"}
_NOTHING: Final = (
    "parent_order_id", "modification_number", "exchange_acknowledgement_date", "SLTP_price",
    "exchange_acknowledge_number", "initial_limit", "intial_sltp", "LTP", "limit_offset",
    "mbc_flag", "cutoff_price",
)  # fmt: skip


def brief(paise: float) -> str:
    """Return paise as rupees without idle zeros: ``"0"``, ``"-349.26"``."""
    return f"{round(paise / 100, 4):.15g}"


def _whole(paise: int) -> str:
    return f"{paise / 100:.2f}"


def _money(ticks: float, contract: Contract) -> float:
    """Return a price in rupees, to four decimals; an average lies between two ticks."""
    return round(ticks * contract.tick / RUPEE, 4)


def _price(ticks: float, contract: Contract) -> str:
    """Return a price with its paise, four decimals where the tick needs them."""
    value = _money(ticks, contract)
    return f"{value:.4f}" if contract.tick % 100 else f"{value:.2f}"


def _brief_price(ticks: float, contract: Contract) -> str:
    return f"{_money(ticks, contract):.15g}"


def _moment(time_ms: int) -> str:
    """Return ``"05-Feb-2025 10:41:24"``."""
    text = clock_text(time_ms // 1000)
    return f"{dated(date.fromisoformat(text[:10]))} {text[11:]}"


def right(contract: Contract, of_future: str | None = "Others") -> str | None:
    """Return Call, Put, what stands for a future's, or None for cash."""
    if contract.strike is not None:
        return "Call" if contract.right == "CE" else "Put"
    return of_future if contract.expiry else None


def _terms(contract: Contract) -> dict[str, Any]:
    """Return expiry, right and strike as text, null for cash."""
    expires = contract.expiry is not None
    return {
        "expiry_date": dated(contract.expiry) if contract.expiry else None,
        "right": right(contract),
        "strike_price": f"{contract.strike or 0:g}" if expires else None,
    }


def _is_index(contract: Contract) -> bool:
    return (contract.leader or contract).kind == "index"


def placed(order: Order) -> dict[str, Any]:
    """Return the answer to a placed order: derivatives and cash have their own."""
    if order.contract.expiry is not None:
        message = "Successfully Placed the order"
        return {"order_id": order.id, "message": message, "user_remark": order.remark}
    said = f"Equity {PRODUCTS[order.product].upper()} Order placed successfully"
    return {
        "order_id": order.id, "message": f"{said} through RI reference no {order.id}",
        "user_remark": None,
    }  # fmt: skip


def order(item: Order) -> dict[str, Any]:
    """Return a row of the order book."""
    contract = item.contract
    return {
        "order_id": item.id, "exchange_order_id": None, "exchange_code": contract.exchange,
        "stock_code": contract.code, "product_type": PRODUCTS[item.product],
        "action": item.action.title(), "order_type": KINDS[item.kind],
        "stoploss": _price(item.trigger_ticks, contract), "quantity": str(item.quantity),
        "price": _price(item.price_ticks, contract), "validity": VALIDITIES[item.validity],
        "disclosed_quantity": str(item.disclosed),
        "expiry_date": dated(contract.expiry) if contract.expiry else None,
        "right": right(contract), "strike_price": contract.strike or 0.0,
        "average_price": _brief_price(item.average_ticks, contract),
        "cancelled_quantity": str(item.cancelled), "pending_quantity": str(item.pending),
        "status": item.status, "user_remark": item.remark,
        "order_datetime": _moment(item.placed_ms)[:-3], **dict.fromkeys(_NOTHING),
        "validity_date": "",
    }  # fmt: skip


def trades(market: Market, fills: Sequence[Fill], orders: dict[str, Order]) -> list[dict[str, Any]]:
    """Return the trade book: one row for each order, or for each fill without one."""
    found = []
    for _, group in groupby(sorted(fills, key=_by_order), key=_by_order):
        parts = list(group)
        found.append(_trade(market, parts, orders.get(parts[0].order_id)))
    return found


def _by_order(fill: Fill) -> tuple[str, str]:
    return fill.order_id, "" if fill.order_id else fill.id


def _trade(market: Market, parts: list[Fill], order: Order | None) -> dict[str, Any]:
    first = parts[0]
    contract, seed = first.contract, market.prices.seed
    quantity = sum(fill.quantity for fill in parts)
    average = sum(fill.price_ticks * fill.quantity for fill in parts) / quantity
    day = day_of(number_at(first.time_ms / 1000))
    return {
        "book_type": "Trade-Book", "trade_date": dated(day), "stock_code": contract.code,
        "action": first.action.title(), "quantity": str(quantity),
        "average_cost": f"{_money(average, contract):.2f}",
        "brokerage_amount": _whole(sum(fill.charges.brokerage for fill in parts)),
        "product_type": PRODUCTS[first.product], "exchange_code": contract.exchange,
        "order_id": first.order_id, "segment": "M",
        "settlement_code": f"{day.year}{day.timetuple().tm_yday:03d}",
        "dp_id": f"IN{key_of(seed, 'dp') % 10_000_000:07d}",
        "client_id": f"{key_of(seed, 'client') % 100_000_000:08d}",
        "ltp": _price(market.live(contract).quote.last, contract),
        "eatm_withheld_amount": "0.00", "cash_withheld_amount": "0.00",
        "total_taxes": _whole(sum(fill.charges.taxes for fill in parts)),
        "order_type": KINDS[order.kind] if order else "Market", **_terms(contract),
    }  # fmt: skip


def executions(fills: Sequence[Fill]) -> list[dict[str, Any]]:
    """Return the trades of one order."""
    return [
        {
            "settlement_id": f"{day_of(number_at(fill.time_ms / 1000)):%Y%j}",
            "exchange_trade_id": fill.exchange_id, "executed_quantity": str(fill.quantity),
            "action": fill.action[0].upper(), "total_transaction_cost": brief(fill.charges.total),
            "brokerage_amount": brief(fill.charges.brokerage), "taxes": brief(fill.charges.taxes),
            "eatm_withheld_amount": "0", "cash_withheld_amount": "0",
            "execution_price": _brief_price(fill.price_ticks, fill.contract),
            "stock_code": fill.contract.code, "exchange_code": fill.contract.exchange,
            "trade_id": fill.id, "exchange_trade_time": _moment(fill.time_ms),
        }
        for fill in fills
    ]  # fmt: skip


def demat(item: Holding) -> dict[str, Any]:
    """Return a row of the demat account; what is there is allocated to trading."""
    return {
        "stock_code": item.contract.code, "stock_ISIN": item.contract.isin,
        "quantity": str(item.settled), "demat_total_bulk_quantity": str(item.settled),
        "demat_avail_quantity": "0", "blocked_quantity": str(item.blocked),
        "demat_allocated_quantity": str(item.settled),
    }  # fmt: skip


def _portfolio(
    item: Holding | Position, *, last: int, cost: int, unrealised: int, charges: int
) -> dict[str, Any]:  # fmt: skip
    contract, quantity = item.contract, item.quantity
    expires = contract.expiry is not None
    action = "NA" if not quantity else "Buy" if quantity > 0 else "Sell"
    kind = ("I" if _is_index(contract) else "S") if expires else None
    product = ("Options" if contract.strike is not None else "Futures") if expires else None
    terms = _terms(contract)
    return {
        "stock_code": contract.code, "exchange_code": contract.exchange,
        "quantity": str(abs(quantity)),
        "average_price": _brief_price(item.average_ticks, contract),
        "booked_profit_loss": None, "current_market_price": _brief_price(last, contract),
        "change_percentage": None, "answer_flag": None, "product_type": product,
        "expiry_date": terms["expiry_date"], "strike_price": terms["strike_price"],
        "right": terms["right"], "category_index_per_stock": kind,
        "action": action if expires else None, "realized_profit": brief(item.realised),
        "unrealized_profit": brief(unrealised), "open_position_value": brief(cost),
        "portfolio_charges": brief(charges),
    }  # fmt: skip


def holding(item: Holding) -> dict[str, Any]:
    """Return a row of the equity portfolio."""
    contract = item.contract
    worth = item.last_ticks * contract.tick * item.quantity // 100
    won = worth - item.cost if item.quantity else 0
    return _portfolio(item, last=item.last_ticks, cost=item.cost, unrealised=won, charges=0)


def position_holding(item: Position) -> dict[str, Any]:
    """Return a row of the derivatives portfolio, which lists closed positions too."""
    last, cost = (item.last_ticks, item.cost) if item.quantity else (0, 0)
    return _portfolio(item, last=last, cost=cost, unrealised=item.unrealised, charges=item.charges)


def position(item: Position, price_ticks: int) -> dict[str, Any]:
    """Return a row of the positions; `price_ticks` is its newest fill's price."""
    contract, terms = item.contract, _terms(item.contract)
    action = "NA" if not item.quantity else "Buy" if item.quantity > 0 else "Sell"
    return {
        "segment": money_segment(contract), "product_type": PRODUCTS[item.product],
        "exchange_code": contract.exchange, "stock_code": contract.code,
        "expiry_date": terms["expiry_date"], "strike_price": terms["strike_price"],
        "right": terms["right"], "action": action, "quantity": str(abs(item.quantity)),
        "average_price": _brief_price(item.average_ticks, contract),
        "settlement_id": None, "margin_amount": None,
        "ltp": _brief_price(item.last_ticks, contract),
        "price": _brief_price(price_ticks, contract),
        "stock_index_indicator": "Index" if _is_index(contract) else "Stock",
        "cover_quantity": "0", "stoploss_trigger": "0", "stoploss": None, "take_profit": None,
        "available_margin": None, "squareoff_mode": None, "mtf_sell_quantity": None,
        "mtf_net_amount_payable": None, "mtf_expiry_date": None, "order_id": "",
        "cover_order_flow": None, "cover_order_executed_quantity": None, "pledge_status": None,
        "pnl": None, "underlying": contract.code, "order_segment_code": None,
    }  # fmt: skip


def funds(item: Funds) -> dict[str, Any]:
    """Return the money: numbers, but for what is not allocated."""
    segments: tuple[MoneySegment, ...] = ("equity", "fno", "commodity", "currency")
    allocated = {f"allocated_{name}": item.allocated[name] / 100 for name in segments}
    blocked = {f"block_by_trade_{name}": item.blocked[name] / 100 for name in segments}
    return {
        "bank_account": item.bank_account, "total_bank_balance": item.total / 100,
        **allocated, **blocked, "block_by_trade_balance": sum(item.blocked.values()) / 100,
        "unallocated_balance": brief(item.unallocated),
    }  # fmt: skip


def margin(item: MarginLimits) -> dict[str, Any]:
    """Return the limits of an exchange's segment."""
    return {
        "limit_list": [], "cash_limit": item.cash_limit / 100,
        "amount_allocated": item.amount_allocated / 100,
        "block_by_trade": item.block_by_trade / 100, "isec_margin": item.isec_margin / 100,
    }  # fmt: skip


def preview(item: Charges) -> dict[str, float]:
    """Return what an order would cost."""
    others = item.exchange + item.stamp + item.stt + item.sebi + item.gst
    return {
        "brokerage": item.brokerage / 100, "exchange_turnover_charges": item.exchange / 100,
        "stamp_duty": item.stamp / 100, "stt": item.stt / 100, "sebi_charges": item.sebi / 100,
        "gst": item.gst / 100,
        "total_turnover_and_sebi_charges": (item.exchange + item.sebi) / 100,
        "total_other_charges": others / 100, "total_brokerage": item.total / 100,
    }  # fmt: skip


def margin_of(echo: list[dict[str, str]], item: MarginResult) -> dict[str, Any]:
    """Return what a set of positions holds back; the broker counts everything as span margin."""
    return {
        "margin_calulation": echo, "non_span_margin_required": "0",
        "order_value": brief(item.order_value), "order_margin": "0", "trade_margin": None,
        "block_trade_margin": brief(item.already_blocked),
        "span_margin_required": brief(item.order_value),
    }  # fmt: skip


def gtt(item: Gtt) -> dict[str, Any]:
    """Return a row of the book of good-till-triggered orders."""
    contract = item.contract

    legs = [
        {
            "gtt_leg_type": None if leg.kind == "single" else leg.kind.title(),
            "action": leg.action.title(),
            "trigger_price": _money(leg.trigger_ticks, contract),
            "limit_price": _money(leg.limit_ticks, contract), "status": leg.status,
            "gtt_order_id": item.id,
        }
        for leg in item.legs
    ]  # fmt: skip
    return {
        "order_details": legs, "exchange_code": contract.exchange,
        "product_type": PRODUCTS[item.product], "stock_code": contract.code,
        "expiry_date": dated(contract.expiry) if contract.expiry else None,
        "strike_price": contract.strike or 0.0, "right": right(contract),
        "quantity": item.quantity, "index_or_stock": "Index" if _is_index(contract) else "Stock",
        "gtt_type": _GTT_KINDS[item.kind], "fresh_order_id": item.fresh_order_id or None,
        "order_datetime": _moment(item.placed_ms).upper(),
    }  # fmt: skip
