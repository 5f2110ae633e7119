"""Futures and options: monotone functions of their underlying, minute by minute.

A future is the underlying times a factor that is constant within a day; an
option is Black-Scholes with the time to expiry constant within a minute and a
volatility constant within a day. Because both are monotone, the open, high,
low and close of a minute map one by one. Volumes are their own, in lots.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.days import DAY_MINUTES, day_number
from breeze_lab.practice.noise import Floats, Ints, bits, uniform
from breeze_lab.practice.split import BOTH_EXTREMES, Bars, share
from breeze_lab.practice.universe import RUPEE, Contract

if TYPE_CHECKING:
    from breeze_lab.practice.prices import Prices

__all__ = [
    "circuit",
    "interest_before",
    "life_days",
    "minutes",
    "open_interest",
    "second_interest",
]

_RATE: Final = {"I": 0.065, "A": 0.065, "B": 0.065, "C": 0.065, "M": 0.05, "X": 0.02}
_IMPLIED: Final = {"I": 0.125, "A": 0.24, "B": 0.3, "C": 0.3, "M": 0.22, "X": 0.045}
#: Lots a near future trades in a day, and how many times that an option at the money trades.
_LOTS: Final = {"I": 40_000, "A": 15_000, "B": 3_000, "C": 3_000, "M": 12_000, "X": 20_000}
_BUSY: Final = {
    "NIFTY": 4.0, "CNXBAN": 2.5, "BSESEN": 2.0, "RELIND": 2.0, "CRUDE": 2.0, "USDINR": 4.0,
}  # fmt: skip
_OPTION_TIMES: Final = {"I": 25.0, "A": 0.6, "B": 0.4, "C": 0.4, "M": 0.5, "X": 1.0}
#: An option worth nothing still costs two ticks, so that its lower circuit limit lies below.
_FLOOR_TICKS: Final = 2
_ONE_EXTREME: Final = 3
#: A contract that expires within so many days is the near one, everybody's.
_NEAR_DAYS: Final = 31
_YEAR_MINUTES: Final = 365 * DAY_MINUTES
#: Options cease at 15:30; in a 24-hour market day they live on with almost no time value.
_CEASE_MINUTE: Final = 15 * 60 + 30


def life_days(contract: Contract) -> int:
    """Return for how many calendar days before its expiry a contract trades."""
    return 200 if contract.exchange == "MCX" else 100


def _source(contract: Contract) -> Contract:
    if contract.leader is None:
        raise ValueError(f"{contract.key} follows nothing")
    return contract.leader


def _days_left(contract: Contract, number: int) -> int:
    return day_number(contract.expiry or date.max) - number


def _normal_cdf(x: Floats) -> Floats:
    # Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.2.17: error < 7.5e-8.
    t = 1 / (1 + 0.2316419 * np.abs(x))
    series = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    tail = 0.3989422804014327 * np.exp(-x * x / 2) * series
    upper: Floats = np.where(x >= 0, 1 - tail, tail)
    return upper


def _black_scholes(
    spot: Floats, years: Floats, contract: Contract, volatility: float, rate: float
) -> Floats:
    strike = contract.strike or 0.0
    spread = volatility * np.sqrt(years)
    d1 = (np.log(spot / strike) + rate * years) / spread + spread / 2
    sure = strike * np.exp(-rate * years)
    call = spot * _normal_cdf(d1) - sure * _normal_cdf(d1 - spread)
    value: Floats = call if contract.right == "CE" else call - spot + sure
    return value


def _distance(prices: Prices, contract: Contract, number: int) -> float:
    """Return the log distance of the strike from yesterday's underlying, constant in a day."""
    close = prices.close_before(_source(contract), number)
    return float(np.log((contract.strike or close) / close))


def _value(
    prices: Prices, contract: Contract, number: int, ticks: Ints, minute_of_day: Ints
) -> Ints:
    """Return the contract's price in its ticks for underlying prices in theirs."""
    source = _source(contract)
    spot: Floats = ticks.astype(np.float64) * (source.tick / RUPEE)
    rate, left = _RATE[source.tier], _days_left(contract, number)
    if contract.kind == "future":
        worth = spot * float(np.exp(rate * left / 365))
        return _whole_ticks(worth, contract, 1)
    distance = _distance(prices, contract, number)
    volatility = _IMPLIED[source.tier] * (1 + min(4 * distance * distance + abs(distance), 1.0))
    minutes_left = np.maximum(left * DAY_MINUTES + _CEASE_MINUTE - minute_of_day, 5)
    years = minutes_left / _YEAR_MINUTES
    worth = _black_scholes(spot, years, contract, volatility, rate)
    return _whole_ticks(worth, contract, _FLOOR_TICKS)


def _whole_ticks(worth: Floats, contract: Contract, floor: int) -> Ints:
    ticks: Ints = np.rint(worth * (RUPEE / contract.tick)).astype(np.int64)
    return np.maximum(ticks, floor)


def _underlying(prices: Prices, contract: Contract, number: int) -> Bars | None:
    """Return the underlying's bar of each of the contract's minutes.

    A minute in which the underlying did not trade is flat at its last price;
    the derivatives market closes some minutes after cash.
    """
    source = _source(contract)
    bars, own, theirs = (
        prices.minutes(source, number),
        prices.hours(contract, number),
        prices.hours(source, number),
    )
    if bars is None or own is None or theirs is None:
        return None
    seen = np.maximum.accumulate(np.where(bars.volume > 0, np.arange(theirs[1]), -1))
    start = bars.open[int((bars.volume > 0).argmax())]
    stand = np.where(seen >= 0, bars.close[np.maximum(seen, 0)], start)
    slot = own[0] - theirs[0] + np.arange(own[1])
    inside = np.clip(slot, 0, theirs[1] - 1)
    traded = (slot == inside) & (bars.volume[inside] > 0)
    flat = np.where(slot < 0, start, stand[inside])
    columns = (bars.open, bars.high, bars.low, bars.close)
    o, h, lo, c = (np.where(traded, x[inside], flat) for x in columns)
    return Bars(o, h, lo, c, np.ones(own[1], np.int64))


def _day_lots(prices: Prices, contract: Contract, number: int) -> int:
    source = _source(contract)
    word = bits(prices.key("lots", contract.key), np.array([number]))
    lots = _LOTS[source.tier] * _BUSY.get(source.code, 1.0) * (0.5 + float(uniform(word)[0]))
    left = _days_left(contract, number)
    lots *= 1.0 if left <= _NEAR_DAYS else 0.2 if left <= 2 * _NEAR_DAYS else 0.04
    if contract.kind == "option":
        width = 0.035 if source.tier == "I" else 0.01 if source.tier == "X" else 0.08
        lots *= _OPTION_TIMES[source.tier]
        lots *= 10 ** (-abs(_distance(prices, contract, number)) / width)
    return int(lots)


def minutes(prices: Prices, contract: Contract, number: int) -> Bars | None:
    """Return the minute bars of one day of a derivative, or None when its underlying is closed."""
    lead = _underlying(prices, contract, number)
    hours = prices.hours(contract, number)
    if lead is None or hours is None:
        return None
    first, count = hours
    minute_of_day = first + np.arange(count)
    o, h, lo, c = (
        _value(prices, contract, number, x, minute_of_day)
        for x in (lead.open, lead.high, lead.low, lead.close)
    )
    own = bits(prices.key("minute", contract.key), number * 2048 + minute_of_day)
    lots = np.array(_day_lots(prices, contract, number), np.int64)
    volume = share(lots[None], prices.minute_weights(contract, number, own)[None, :])[0]
    # What little volume can show: one lot is flat, two have only ends, three one extreme more.
    o = np.where(volume == 1, c, o)
    top, bottom = np.maximum(o, c), np.minimum(o, c)
    high = np.where(volume >= _ONE_EXTREME, np.maximum(np.maximum(h, lo), top), top)
    low = np.where(volume >= BOTH_EXTREMES, np.minimum(np.minimum(h, lo), bottom), bottom)
    return Bars(o, high, low, c, volume)


def circuit(prices: Prices, contract: Contract, number: int) -> tuple[int, int]:
    """Return the circuit limits in ticks: its value at those of the underlying, and a tick more."""
    limits = np.tile(np.array(prices.circuit(_source(contract), number), np.int64), 2)
    edges = np.array([0, 0, DAY_MINUTES - 1, DAY_MINUTES - 1])
    values = _value(prices, contract, number, limits, edges)
    return max(int(values.min()) - 1, 1), int(values.max()) + 1


def interest_before(prices: Prices, contract: Contract, number: int) -> int:
    """Return the open interest at the end of the calendar day before, in lots."""
    return _day_interest(prices, contract, number - 1)


def open_interest(prices: Prices, contract: Contract, number: int) -> Ints:
    """Return the open interest after each minute of a day, in lots."""
    recorded = prices.recorded_interest(contract, number)
    if recorded is not None:
        return recorded[59::60]
    _, count = prices.hours(contract, number) or (0, 1)
    before, after = (_day_interest(prices, contract, n) for n in (number - 1, number))
    return before + (after - before) * np.arange(1, count + 1) // count


def second_interest(prices: Prices, contract: Contract, number: int, minutes: Ints) -> Ints:
    """Return the open interest after each second of some minutes of a day, shape (minutes, 60)."""
    recorded = prices.recorded_interest(contract, number)
    if recorded is not None:
        return recorded.reshape(-1, 60)[minutes]
    return np.repeat(open_interest(prices, contract, number)[minutes], 60).reshape(-1, 60)


def _day_interest(prices: Prices, contract: Contract, number: int) -> int:
    source = _source(contract)
    life = life_days(contract)
    age = min(max(life - _days_left(contract, number), 0), life)
    word = bits(prices.key("interest", contract.key), np.array([number]))
    size = _LOTS[source.tier] * _BUSY.get(source.code, 1.0) * 2
    if contract.kind == "option":
        size *= 10 ** (-abs(_distance(prices, contract, number)) / 0.12)
    # It builds up over the contract's life, and the last week winds a fifth of it down.
    built = (age / life) ** 2 * (1 - 0.2 * max(0, 7 - (life - age)) / 7)
    return int(size * built * (0.95 + 0.1 * float(uniform(word)[0])))
