"""Events: whatever the broker's three streams push, as the value it stands for.

One entry for raw events: ``stock`` (quotes, depth, recommendations), ``order``
and the candles. What each frame looks like is the business of `ticks`,
`recommendations`, `order_updates` and `candle_text`.
"""

from __future__ import annotations

from typing import TypeAlias, cast

from breeze_lab.candle_text import EVENTS, Candle, decode_candle
from breeze_lab.errors import BadResponse
from breeze_lab.order_updates import OrderUpdate, decode_order
from breeze_lab.recommendations import (
    DerivativeRecommendation,
    EquityRecommendation,
    decode_recommendation,
    is_recommendation,
)
from breeze_lab.ticks import Depth, Tick, decode_frame

__all__ = ["Value", "decode"]

#: What an event can stand for.
Value: TypeAlias = (
    Tick | Depth | Candle | OrderUpdate | DerivativeRecommendation | EquityRecommendation
)


def decode(event: str, payload: object) -> Value:
    """Return the value of one event.

    Parameters
    ----------
    event
        ``"stock"``, ``"order"``, ``"1SEC"``, ``"1MIN"``, ``"5MIN"`` or ``"30MIN"``.
    payload
        What came with it: a list, of a candle a text.

    Raises
    ------
    BadResponse
        When there is no such event or the payload is none of its frames; no
        payload raises anything else.

    Examples
    --------
    >>> text = "NSE,NIFTY,18687.95,18687.95,18687.95,18687.95,0,2022-12-02 14:13:53,1SEC"
    >>> decode("1SEC", text).bar.close
    18687.95
    """
    if event == "stock":
        if is_recommendation(payload):
            return decode_recommendation(payload)
        return decode_frame(cast("list[object]", payload))
    if event == "order":
        return decode_order(payload)
    interval = EVENTS.get(event)
    if interval is None:
        raise BadResponse(f"The streams have no event {event!r}.")
    candle = decode_candle(payload)
    if candle.interval is not interval:
        raise BadResponse(f"A candle of {candle.interval.label} came with the event {event}.")
    return candle
