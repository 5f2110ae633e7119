"""Implied volatility: a level per underlying and day, a term structure and a smile.

The volatility of a strike depends on strike, expiry and day alone: calls and
puts share it, so put-call parity holds, and it stands still within a day, so
prices stay monotone in their underlying.

The level is a slow mean-reverting path that falls when its underlying rises;
India VIX is the level of NIFTY. Variance reverts from the level to a mean
(Heston, 1993), which gives short and long expiries different volatilities.
The smile is the surface of Gatheral and Jacquier, "Arbitrage-free SVI
volatility surfaces" (2014), whose conditions (their theorems 4.1 and 4.2)
hold for the numbers here: no butterfly and no calendar spread is free money.
"""

from __future__ import annotations

import functools
import math
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab import clock
from breeze_lab.practice.exchange.days import DAYS, day_number, day_of
from breeze_lab.practice.exchange.noise import bits, normal
from breeze_lab.practice.exchange.universe import universe

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.noise import Floats, Ints
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["at_the_money", "level", "levels", "smile", "vix_closes"]

#: India VIX is 13.85 on its reference date in the universe; so NIFTY's level is too.
_PINNED: Final = {"NIFTY": "INDVIX"}
_ANCHOR_DAY: Final = date(2026, 7, 30)
#: Option sellers are paid: implied volatility lies above what the underlying moves.
_PREMIUM: Final = 1.12
_TRADING_DAYS: Final = 250
#: A larger move of a day's logarithm is a split or a bonus, not a price that moved.
_SPLIT: Final = 0.25
#: Of the level's logarithm: what stays after a day, and what a shock of one deviation adds.
_STAYS: Final = 0.97
_SHOCK: Final = 0.045
#: No shock is larger, so that India VIX keeps within its circuit limits.
_BOUND: Final = 1.3
#: Older shocks are forgotten: 0.97 ** 150 is one percent.
_MEMORY: Final = 150
#: How much of a shock the underlying's move explains.
_LEVERAGE: Final = {"I": -0.7, "A": -0.4, "B": -0.4, "C": -0.4, "M": 0.2, "X": 0.3}
#: Reversion of variance in a year, and the mean it reverts to above the level's own.
_REVERSION: Final = 8.0
_LONG_TERM: Final = 1.08
_LEVEL_YEARS: Final = 30 / 365
_LEAST_VARIANCE: Final = 0.15
#: Skew and curvature of the smile: index puts are dear, stocks less so, dollar calls a little.
_SMILE: Final = {
    "I": (-0.4, 0.95), "A": (-0.18, 0.85), "B": (-0.15, 0.85), "C": (-0.15, 0.85),
    "M": (0.08, 0.8), "X": (0.2, 0.75),
}  # fmt: skip


@functools.cache
def _trading_days() -> Ints:
    return np.array([n for n in range(DAYS) if clock.is_trading_day(day_of(n))], np.int64)


@functools.lru_cache(maxsize=512)
def levels(prices: Prices, source: Contract) -> Floats:
    """Return the 30-day at-the-money volatility as every calendar day begins, shape (DAYS,).

    Parameters
    ----------
    source
        The underlying: an index, a stock or a spot.
    """
    trading = _trading_days()
    closes = prices.day_closes(source, np.arange(DAYS)).astype(np.float64)[trading]
    moves = np.diff(np.log(closes), prepend=math.log(closes[0]))
    usual, lever = float(np.std(moves[np.abs(moves) < _SPLIT])), _LEVERAGE[source.tier]
    own = normal(bits(prices.key("volatility", source.key), trading))
    shocks = np.clip(lever * moves / usual + (1 - lever * lever) ** 0.5 * own, -_BOUND, _BOUND)
    path = np.convolve(shocks * _SHOCK, _STAYS ** np.arange(_MEMORY))[: len(trading)]
    # A trading day moves the level for the days after it; it stands still while markets rest.
    path = np.concatenate([[0.0], path])[np.searchsorted(trading, np.arange(DAYS))]
    pinned = _PINNED.get(source.code)
    if pinned:
        mean = universe().cash["NSE", pinned].base / 100
        path -= path[day_number(_ANCHOR_DAY) + 1]
    else:
        mean = _PREMIUM * usual * _TRADING_DAYS**0.5
    found: Floats = mean * np.exp(path)
    return found


def level(prices: Prices, source: Contract, number: int) -> float:
    """Return the 30-day at-the-money volatility of an underlying as day `number` begins."""
    return float(levels(prices, source)[number])


def vix_closes(prices: Prices) -> Floats:
    """Return the close of India VIX on every calendar day: the level next morning, in percent."""
    found = levels(prices, universe().cash["NSE", "NIFTY"]) * 100
    closes: Floats = np.concatenate([found[1:], found[-1:]])
    return closes


@functools.lru_cache(maxsize=512)
def _mean(prices: Prices, source: Contract) -> float:
    return float(np.exp(np.log(levels(prices, source)).mean()))


def at_the_money(prices: Prices, source: Contract, number: int, years: float) -> float:
    """Return the total variance at the money until `years` after the beginning of a day."""
    mean, now = _mean(prices, source), level(prices, source, number)
    long = (_LONG_TERM * mean) ** 2
    weight = -math.expm1(-_REVERSION * _LEVEL_YEARS) / (_REVERSION * _LEVEL_YEARS)
    short = max(long + (now * now - long) / weight, _LEAST_VARIANCE * long)
    return long * years + (short - long) * -math.expm1(-_REVERSION * years) / _REVERSION


def smile(prices: Prices, source: Contract, number: int, moneyness: float, years: float) -> float:
    """Return the volatility of a strike on a day.

    Parameters
    ----------
    moneyness
        Logarithm of strike over yesterday's forward.
    years
        From the beginning of the day to the expiry.
    """
    variance = at_the_money(prices, source, number, years)
    skew, curve = _SMILE[source.tier]
    x = curve * moneyness / math.sqrt(variance)
    shape = (1 + skew * x + math.sqrt((x + skew) ** 2 + 1 - skew * skew)) / 2
    return math.sqrt(variance * shape / years)
