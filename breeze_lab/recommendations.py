"""Recommendations: the broker's calls, pushed to the rooms of its strategies.

Owns the two layouts without a room in front: 28 texts of ``one_click_fno`` and
19 of ``i_click_2_gain``. Prices are rupees. Blanks that pad a code or a word on
the wire are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import BadResponse
from breeze_lab.fields import Fields, strings

if TYPE_CHECKING:
    from datetime import date, datetime

__all__ = [
    "DerivativeRecommendation", "EquityRecommendation", "Recommendation", "decode_recommendation",
    "is_recommendation",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What both kinds of call say.

    Parameters
    ----------
    made
        Aware, Asia/Kolkata.
    stock_code
        ICICI's short name, of a derivative its underlying's.
    action
        ``"buy"`` or ``"sell"``.
    price_from, price_to
        Recommended range.
    target, stop_loss
        Where the gain is taken and where the loss ends.
    status
        The broker's word: ``"active"``, ``"open"``, ``"closed"``.
    """

    made: datetime
    stock_code: str
    action: str
    price_from: float
    price_to: float
    target: float
    stop_loss: float
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivativeRecommendation(Recommendation):
    """One leg of a call of ``one_click_fno``.

    Parameters
    ----------
    modified
        Last change, aware, Asia/Kolkata.
    portfolio_id, portfolio_name, leg
        The strategy and the number of this leg of it.
    call_action
        ``"Call Initiated"`` and what came of it, the broker's words.
    exchange, product, underlying_kind
        ``"NFO"``, ``"options"`` or ``"futures"``, ``"stock"`` or ``"index"``.
    expiry, strike, right
        The contract; strike and right (``"CE"`` or ``"PE"``) are None for a future.
    exercise
        ``"E"``, European.
    lot_size
        Units of one lot.
    last, bid, ask
        Of the contract.
    underlying_price
        What the SDK calls ``last_traded_quantity``: recordings have a price there.
    profit_per_lot, loss_per_lot, margin
        Rupees.
    """

    modified: datetime
    portfolio_id: str
    portfolio_name: str
    leg: int
    call_action: str
    exchange: str
    product: str
    underlying_kind: str
    expiry: date
    strike: float | None
    right: str | None
    exercise: str
    lot_size: int
    last: float
    bid: float
    ask: float
    underlying_price: float
    profit_per_lot: float
    loss_per_lot: float
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityRecommendation(Recommendation):
    """A call of ``i_click_2_gain``.

    Parameters
    ----------
    title
        ``"MAHINDRA & MAHINDRA LIMITED(MAHMAH)Margin-Buy"``.
    description
        ``"Margin"``.
    summary
        Range and time once more, in the broker's words.
    part_profit
        ``"0,0"``, as it is.
    profit_price, exit_price
        Where it ended; 0 while it is open.
    update
        What came of it, the broker's words; empty while it is open.
    subscription
        ``"iclick_2_gain"``.
    contract
        Expiry, strike and option type as they are; empty in all that is known.
    """

    title: str
    description: str
    summary: str
    part_profit: str
    profit_price: float
    exit_price: float
    update: str
    subscription: str
    contract: tuple[str, str, str]


_DERIVATIVE: Final = (
    "made", "modified", "portfolio id", "call action", "portfolio name", "exchange", "product",
    "underlying kind", "stock code", "expiry", "exercise", "right", "strike", "action",
    "price from", "price to", "lot size", "last", "bid", "ask", "underlying price", "target",
    "profit per lot", "stop loss", "loss per lot", "margin", "leg", "status",
)  # fmt: skip
_EQUITY: Final = (
    "title", "stock code", "action", "expiry", "strike", "right", "description", "summary",
    "price from", "price to", "made", "target", "stop loss", "part profit", "profit price",
    "exit price", "update", "status", "subscription",
)  # fmt: skip
_RIGHT: Final = {"CALL": "CE", "PUT": "PE"}


def is_recommendation(frame: object) -> bool:
    """Say whether a frame of the ``stock`` event is one: no room in front, 28 or 19 long."""
    return (
        isinstance(frame, list)
        and len(frame) in (len(_DERIVATIVE), len(_EQUITY))
        and isinstance(frame[0], str)
        and "!" not in frame[0]
    )


def decode_recommendation(frame: object) -> DerivativeRecommendation | EquityRecommendation:
    """Return the value of one recommendation.

    Parameters
    ----------
    frame
        The list of 28 or 19 texts as the broker sent it.

    Raises
    ------
    BadResponse
        When it is none; the message names the field that is wrong.
    """
    try:
        texts = strings(frame)
        if len(texts) == len(_DERIVATIVE):
            return _derivative(dict(zip(_DERIVATIVE, texts, strict=True)))
        if len(texts) == len(_EQUITY):
            return _equity(dict(zip(_EQUITY, texts, strict=True)))
        raise ValueError(f"it has {len(texts)} elements, not 28 or 19")  # noqa: TRY301
    except ValueError as exc:
        raise BadResponse(f"A recommendation could not be decoded: {exc}.") from exc


def _derivative(named: dict[str, str]) -> DerivativeRecommendation:
    read = Fields(named)
    option = named["right"].lower() != "others"
    return DerivativeRecommendation(
        made=read.moment("made"),
        stock_code=read.text("stock code"),
        action=read.text("action"),
        price_from=read.number("price from"),
        price_to=read.number("price to"),
        target=read.number("target"),
        stop_loss=read.number("stop loss"),
        status=named["status"].strip(),
        modified=read.moment("modified"),
        portfolio_id=named["portfolio id"],
        portfolio_name=named["portfolio name"],
        leg=read.whole("leg"),
        call_action=named["call action"],
        exchange=read.text("exchange"),
        product=read.text("product"),
        underlying_kind=named["underlying kind"],
        expiry=read.moment("expiry").date(),
        strike=read.number("strike") if option else None,
        right=read.word("right", _RIGHT) if option else None,
        exercise=named["exercise"],
        lot_size=read.whole("lot size"),
        last=read.number("last"),
        bid=read.number("bid"),
        ask=read.number("ask"),
        underlying_price=read.number("underlying price"),
        profit_per_lot=read.number("profit per lot"),
        loss_per_lot=read.number("loss per lot"),
        margin=read.number("margin"),
    )


def _equity(named: dict[str, str]) -> EquityRecommendation:
    read = Fields(named)
    return EquityRecommendation(
        made=read.moment("made"),
        stock_code=read.text("stock code"),
        action=read.text("action"),
        price_from=read.number("price from"),
        price_to=read.number("price to"),
        target=read.number("target"),
        stop_loss=read.number("stop loss"),
        status=named["status"].strip(),
        title=named["title"],
        description=named["description"],
        summary=named["summary"],
        part_profit=named["part profit"],
        profit_price=read.number("profit price"),
        exit_price=read.number("exit price"),
        update=named["update"].strip(),
        subscription=named["subscription"].strip(),
        contract=(named["expiry"], named["strike"], named["right"]),
    )
