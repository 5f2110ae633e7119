"""Futures and options: monotone functions of their underlying, minute by minute.

A future is the underlying times a carry that is constant within a day. An
option is worth what Black (1976) says of the forward of its expiry, which is
the future of that expiry to the tick, with the time to expiry constant within
a minute and a volatility constant within a day (`surface`). Because both are
monotone, the open, high, low and close of a minute map one by one. Volumes
are their own, in lots (`activity`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.exchange import activity, surface
from breeze_lab.practice.exchange.activity import (
    interest_before,
    life_days,
    open_interest,
    second_interest,
)
from breeze_lab.practice.exchange.days import DAY_MINUTES, day_number
from breeze_lab.practice.exchange.expiry import expiries
from breeze_lab.practice.exchange.noise import Floats, Ints, bits
from breeze_lab.practice.exchange.split import BOTH_EXTREMES, Bars, share
from breeze_lab.practice.exchange.universe import RUPEE, Contract

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.prices import Prices

__all__ = [
    "Terms",
    "circuit",
    "interest_before",
    "life_days",
    "minutes",
    "open_interest",
    "second_interest",
    "terms",
]

_RATE: Final = {"I": 0.065, "A": 0.065, "B": 0.065, "C": 0.065, "M": 0.05, "X": 0.02}
#: An option worth nothing still costs two ticks, so that its lower circuit limit lies below.
_FLOOR_TICKS: Final = 2
_ONE_EXTREME: Final = 3
_YEAR_MINUTES: Final = 365 * DAY_MINUTES
#: When options cease; in a 24-hour market day they live on with almost no time value.
_CEASE_MINUTE: Final = {"MCX": 23 * 60 + 30, "NDX": 17 * 60}
_CEASE_FNO: Final = 15 * 60 + 30
_LEAST_MINUTES: Final = 5
_HALF_ROOT: Final = 0.5**0.5


def _source(contract: Contract) -> Contract:
    if contract.leader is None:
        raise ValueError(f"{contract.key} follows nothing")
    return contract.leader


@functools.lru_cache(maxsize=4096)
def _forward_date(contract: Contract) -> date:
    """Return when the forward of a contract ends; commodity options become a future then alive."""
    expiry = contract.expiry or date.max
    if contract.exchange == "MCX" and contract.kind == "option":
        return expiries(contract.code, "MCX", expiry, 1)[0]
    return expiry


@dataclass(frozen=True, slots=True)
class Terms:
    """What is constant within a day of a contract.

    Parameters
    ----------
    forward
        Rupees of the forward for one tick of the underlying.
    discount
        Of the days to the expiry.
    scale
        Ticks of the contract for a rupee.
    strike
        In rupees; 0 for a future.
    call
        Whether it is a call.
    volatility
        Implied, a year; the same for call and put.
    minutes
        From midnight to the expiry.
    """

    forward: float
    discount: float
    scale: float
    strike: float
    call: bool
    volatility: float
    minutes: int

    def fair(self, spot: int, minute_of_day: int) -> float:
        """Return the value in unrounded ticks at an underlying's price in its ticks."""
        forward = spot * self.forward
        if not self.strike:
            return forward * self.scale
        left = max(self.minutes - minute_of_day, _LEAST_MINUTES)
        spread = self.volatility * math.sqrt(left / _YEAR_MINUTES)
        d1 = math.log(forward / self.strike) / spread + spread / 2
        sign = _HALF_ROOT if self.call else -_HALF_ROOT
        near, far = math.erfc(-d1 * sign), math.erfc((spread - d1) * sign)
        worth = (forward * near - self.strike * far) / 2
        return (worth if self.call else -worth) * self.discount * self.scale

    def values(self, spot: Ints, minute_of_day: Ints) -> Ints:
        """Return the prices in whole ticks at an underlying's prices in its ticks."""
        forward: Floats = spot.astype(np.float64) * self.forward
        if not self.strike:
            return _whole_ticks(forward * self.scale, 1)
        left = np.maximum(self.minutes - minute_of_day, _LEAST_MINUTES)
        spread = self.volatility * np.sqrt(left / _YEAR_MINUTES)
        d1 = np.log(forward / self.strike) / spread + spread / 2
        worth = forward * _normal_cdf(d1) - self.strike * _normal_cdf(d1 - spread)
        if not self.call:
            worth = worth - forward + self.strike
        return _whole_ticks(worth * (self.discount * self.scale), _FLOOR_TICKS)


def _whole_ticks(worth: Floats, floor: int) -> Ints:
    return np.maximum(np.rint(worth).astype(np.int64), floor)


def _normal_cdf(x: Floats) -> Floats:
    # Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.2.17: error < 7.5e-8.
    t = 1 / (1 + 0.2316419 * np.abs(x))
    series = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    tail = 0.3989422804014327 * np.exp(-x * x / 2) * series
    upper: Floats = np.where(x >= 0, 1 - tail, tail)
    return upper


@functools.lru_cache(maxsize=16384)
def terms(prices: Prices, contract: Contract, number: int) -> Terms:
    """Return what is constant of a derivative on day `number`."""
    source = _source(contract)
    rate = _RATE[source.tier]
    left = day_number(contract.expiry or date.max) - number
    carry = math.exp(rate * (day_number(_forward_date(contract)) - number) / 365)
    minutes_left = left * DAY_MINUTES + _CEASE_MINUTE.get(contract.exchange, _CEASE_FNO)
    strike, volatility = contract.strike or 0.0, 0.0
    if strike:
        moneyness = math.log(strike / (prices.close_before(source, number) * carry))
        years = max(minutes_left, _LEAST_MINUTES) / _YEAR_MINUTES
        volatility = surface.smile(prices, source, number, moneyness, years)
    return Terms(
        source.tick / RUPEE * carry, math.exp(-rate * left / 365), RUPEE / contract.tick, strike,
        contract.right == "CE", volatility, minutes_left,
    )  # fmt: skip


def _underlying(prices: Prices, contract: Contract, number: int) -> Bars | None:
    """Return the underlying's bar of each of the contract's minutes, or None when one is closed."""
    source, own = _source(contract), prices.hours(contract, number)
    return _in_hours(prices, source, number, own) if own is not None else None


@functools.lru_cache(maxsize=256)
def _in_hours(prices: Prices, source: Contract, number: int, own: tuple[int, int]) -> Bars | None:
    """Return an underlying's bars in the hours (first minute, count) of its derivatives.

    A minute in which the underlying did not trade is flat at its last price;
    the derivatives market closes some minutes after cash.
    """
    bars, theirs = prices.minutes(source, number), prices.hours(source, number)
    if bars is None or theirs is None:
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


def minutes(prices: Prices, contract: Contract, number: int) -> Bars | None:
    """Return the minute bars of one day of a derivative, or None when its underlying is closed."""
    lead = _underlying(prices, contract, number)
    hours = prices.hours(contract, number)
    if lead is None or hours is None:
        return None
    first, count = hours
    minute_of_day = first + np.arange(count)
    value = terms(prices, contract, number).values
    o, h, lo, c = (value(x, minute_of_day) for x in (lead.open, lead.high, lead.low, lead.close))
    if contract.right == "PE":
        h, lo = lo, h
    own = bits(prices.key("minute", contract.key), number * 2048 + minute_of_day)
    lots = np.array([activity.day_lots(prices, contract, number)])
    volume = share(lots, prices.minute_weights(contract, number, own)[None, :])[0]
    # What little volume can show: one lot is flat, two have only ends, three one extreme more.
    o = np.where(volume == 1, c, o)
    top, bottom = np.maximum(o, c), np.minimum(o, c)
    high = np.where(volume >= _ONE_EXTREME, np.maximum(h, top), top)
    low = np.where(volume >= BOTH_EXTREMES, np.minimum(lo, bottom), bottom)
    return Bars(o, high, low, c, volume)


def circuit(prices: Prices, contract: Contract, number: int) -> tuple[int, int]:
    """Return the circuit limits in ticks: its value at those of the underlying, and a tick more."""
    limits = np.tile(np.array(prices.circuit(_source(contract), number), np.int64), 2)
    edges = np.array([0, 0, DAY_MINUTES - 1, DAY_MINUTES - 1])
    values = terms(prices, contract, number).values(limits, edges)
    return max(int(values.min()) - 1, 1), int(values.max()) + 1
