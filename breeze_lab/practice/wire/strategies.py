"""Recommendations: what the rooms ``one_click_fno`` and ``i_click_2_gain`` say.

Invented like the prices, and like them a function of the seed and the market
time: every quarter of an hour each room has a new call, whose prices are those
of its first second. What is known of the layouts are one recorded frame and
the answers in the SDK's documentation; both write every value as text, pad the
underlying to six characters and put the price of the underlying where the name
says last traded quantity. How the broker words a call that has ended was never
seen: `_ENDINGS` is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.practice.exchange import contracts
from breeze_lab.practice.exchange.days import day_number, day_of, midnight, number_at
from breeze_lab.practice.exchange.market import Live, rupees
from breeze_lab.practice.exchange.noise import key_of
from breeze_lab.practice.exchange.universe import universe
from breeze_lab.practice.exchange.words import clock_text

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.contracts import Listing
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["PERIOD_S", "ROOMS", "Call", "call_at", "frame"]

#: Rooms of the order stream, by the names the SDK knows.
ROOMS: Final = ("one_click_fno", "i_click_2_gain")
#: Market seconds between two calls of a room; midnight and 09:15 in India begin one.
PERIOD_S: Final = 900
#: Our words for a call that reached its target or its stop loss.
_ENDINGS: Final = {"target": "Book Profit", "stop": "Stop Loss Hit"}
_INDICES: Final = ("NIFTY", "CNXBAN")
_STOCKS: Final = ("RELIND", "INFTEC", "TCS", "HDFBAN", "ICIBAN", "STABAN", "ITC", "MAHMAH")
#: Target and stop loss as fractions of the recommended price.
_REACH: Final = {"option": (0.36, 0.18), "future": (0.057, 0.033), "stock": (0.01, 0.005)}
#: The part of a future's value that a recommendation names as margin.
_FUTURE_MARGIN: Final = 0.2
#: A recommendation's price range ends so much above its start.
_RANGE: Final = 0.004
#: A contract that expires sooner is not recommended.
_LEAST_DAYS: Final = 3


@dataclass(frozen=True, slots=True)
class Call:
    """One recommendation, with the prices of its first second.

    Parameters
    ----------
    room, number
        Where it is told, and which one: Unix seconds divided by `PERIOD_S`.
    contract
        What is recommended.
    sell
        Whether to sell it; options are only bought.
    low, high, target, stop
        Rupees: the recommended range, where the gain is taken, where the loss ends.
    """

    room: str
    number: int
    contract: Contract
    sell: bool
    low: float
    high: float
    target: float
    stop: float

    @property
    def start_s(self) -> int:
        """Unix second of the recommendation."""
        return self.number * PERIOD_S

    @property
    def middle(self) -> float:
        """What profit and loss are counted from, rupees."""
        return (self.low + self.high) / 2

    def ending(self, price: float) -> str:
        """Return ``"target"`` or ``"stop"`` when a price in rupees ends it, else ``""``."""
        gain = (self.middle - price) if self.sell else (price - self.middle)
        if gain >= abs(self.target - self.middle):
            return "target"
        return "stop" if gain <= -abs(self.stop - self.middle) else ""


def call_at(prices: Prices, room: str, now_ms: int) -> Call | None:
    """Return a room's newest recommendation at market time `now_ms`.

    Outside market hours it is the last one of the session before. None when
    nothing that could be recommended has a price, as in a recording of little.
    """
    number = _latest_second(prices, now_ms // 1000) // PERIOD_S
    draw = key_of(prices.seed, "recommendation", room, number)
    listing = contracts.listing(prices, day_of(number_at(number * PERIOD_S)))
    contract = _pick(prices, listing, room, number, draw)
    last = Live(prices, contract, number * PERIOD_S * 1000).quote.last if contract else 0
    if contract is None or not last:
        return None
    sell = contract.kind != "option" and bool(draw >> 40 & 1)
    gain, loss = _REACH[contract.kind]
    sign = -1 if sell else 1

    def price(factor: float) -> float:
        return float(rupees(max(round(last * factor), 1), contract))

    return Call(
        room, number, contract, sell, price(1), price(1 + _RANGE),
        price(1 + sign * gain), price(1 - sign * loss),
    )  # fmt: skip


def _latest_second(prices: Prices, second: int) -> int:
    """Return `second`, or the last one before it at which derivatives traded."""
    index = universe().cash["NSE", _INDICES[0]]
    day: int | None = number_at(second)
    while day is not None:
        hours = prices.hours(index, day) if prices.is_open_day(index, day) else None
        if hours is not None and second >= midnight(day) + hours[0] * 60:
            return min(second, midnight(day) + (hours[0] + hours[1]) * 60 - 1)
        day = prices.previous_open_day(index, day)
    return second


def _pick(prices: Prices, listing: Listing, room: str, number: int, draw: int) -> Contract | None:
    stock = universe().cash["NSE", _STOCKS[draw % len(_STOCKS)]]
    if room == "i_click_2_gain":
        return stock
    code = _INDICES[draw % len(_INDICES)] if draw >> 8 & 1 else stock.code
    future = bool(draw >> 16 & 1)
    first_day = day_number(listing.today) + _LEAST_DAYS
    chain = [
        c for c in listing.contracts
        if c.exchange == "NFO" and c.code == code and c.expiry
        and day_number(c.expiry) >= first_day and (c.kind == "future") == future
        and (future or c.right == ("CE" if draw >> 24 & 1 else "PE"))
    ]  # fmt: skip
    if not chain:
        return None
    near = min(c.expiry for c in chain if c.expiry)
    spot = universe().cash["NSE", code]
    money = rupees(Live(prices, spot, number * PERIOD_S * 1000).quote.last, spot)
    return min(
        (c for c in chain if c.expiry == near), key=lambda c: abs((c.strike or money) - money)
    )


def frame(prices: Prices, call: Call, now_ms: int | None = None) -> list[str]:
    """Return the frame of a call: as it was made, or as it stands at market time `now_ms`.

    Returns
    -------
    list of str
        28 elements for ``one_click_fno``, 19 for ``i_click_2_gain``.
    """
    live = Live(prices, call.contract, call.start_s * 1000 if now_ms is None else now_ms)
    ended = "" if now_ms is None else call.ending(rupees(live.quote.last, call.contract))
    if call.room == "i_click_2_gain":
        return _equity(call, live, ended)
    return _derivative(prices, call, live, ended, now_ms)


def _text(value: float) -> str:
    return f"{round(value, 2):.12g}"


def _derivative(
    prices: Prices, call: Call, live: Live, ended: str, now_ms: int | None
) -> list[str]:
    contract, book = call.contract, live.book(1)
    option, index = contract.strike is not None, contract.leader and contract.leader.kind == "index"
    name = f"Long {'Call' if contract.right == 'CE' else 'Put'}" if option else "Future"
    if not option:
        name += " Short" if call.sell else " Long"
    right = {"CE": "call", "PE": "put"}.get(contract.right, "others")
    gain = abs(call.target - call.middle) * contract.lot
    loss = abs(call.middle - call.stop) * contract.lot
    margin = (call.high if option else call.middle * _FUTURE_MARGIN) * contract.lot
    bid, ask = (side[0][0] if side else 0 for side in (book.bids, book.asks))
    spot = live if contract.leader is None else Live(prices, contract.leader, live.quote.time_ms)
    made = clock_text(call.start_s)
    return [
        made, made if now_ms is None else clock_text(now_ms // 1000),
        str(call.number % 1_000_000), _ENDINGS.get(ended, "Call Initiated"),
        f"{'Index' if index else 'Stock'} {name}", contract.exchange,
        "options" if option else "futures", "index" if index else "stock",
        f"{contract.code:<6}", f"{contract.expiry} 00:00:00", "E", right,
        _text(contract.strike or 0), "sell" if call.sell else "buy",
        _text(call.low), _text(call.high), str(contract.lot),
        _text(rupees(live.quote.last, contract)), _text(rupees(bid, contract)),
        _text(rupees(ask, contract)), _text(rupees(spot.quote.last, spot.contract)),
        _text(call.target), _text(gain), _text(call.stop), _text(loss), _text(margin),
        "1", "closed" if ended else "active",
    ]  # fmt: skip


def _equity(call: Call, live: Live, ended: str) -> list[str]:
    contract, action = call.contract, "sell" if call.sell else "buy"
    made, low, high = clock_text(call.start_s), _text(call.low), _text(call.high)
    left = rupees(live.quote.last, contract) if ended else 0
    return [
        f"{contract.name}({contract.code})Margin-{action.title()}", contract.code, action,
        "", "", "", "Margin", f"{low}-{high},{made}", low, high, made, _text(call.target),
        _text(call.stop), "0,0", _text(left if ended == "target" else 0), _text(left),
        f"{_ENDINGS.get(ended, ''):<5}", "closed" if ended else "open", f"{'iclick_2_gain':<30}",
    ]  # fmt: skip
