"""How much futures and options trade, and their open interest through a day.

Volume crowds at the money and on round strikes, in the nearest expiry and on
its last day; what is out of the money trades more than what is in it. Open
interest moves only with volume: it builds through the day, day traders unwind
before the close, and on the expiry day it runs off.
"""

from __future__ import annotations

import functools
import math
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.exchange.contracts import step
from breeze_lab.practice.exchange.days import day_number, day_of
from breeze_lab.practice.exchange.expiry import has_weeklies
from breeze_lab.practice.exchange.noise import Ints, word

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["day_lots", "interest_before", "life_days", "open_interest", "second_interest"]

#: Lots a near future trades in a day, and how many times that an option at the money trades.
_LOTS: Final = {"I": 40_000, "A": 15_000, "B": 3_000, "C": 3_000, "M": 12_000, "X": 20_000}
_BUSY: Final = {
    "NIFTY": 4.0, "CNXBAN": 2.5, "BSESEN": 2.0, "RELIND": 2.0, "CRUDE": 2.0, "USDINR": 4.0,
}  # fmt: skip
_OPTION_TIMES: Final = {"I": 25.0, "A": 0.6, "B": 0.4, "C": 0.4, "M": 0.5, "X": 1.0}
#: Log distance from the money at which a tenth trades; nearer than that on the last day.
_WIDTH: Final = {"I": 0.035, "A": 0.08, "B": 0.08, "C": 0.08, "M": 0.08, "X": 0.01}
_LAST_DAY_WIDTH: Final = 0.6
_IN_THE_MONEY: Final = 0.5
#: (days to the expiry up to, part of its full volume) of futures and monthly and weekly options.
_FUTURE_PARTS: Final = ((31, 1.0), (62, 0.2), (10**6, 0.04))
_MONTHLY_PARTS: Final = ((31, 1.0), (62, 0.15), (10**6, 0.03))
_WEEKLY_PARTS: Final = ((7, 1.0), (14, 0.35), (35, 0.2), (62, 0.06), (10**6, 0.015))
_LAST_DAY_TIMES: Final = {"weekly": 3.0, "monthly": 2.0}
#: Strikes that are multiples of so many steps, and how much busier they are.
_ROUND: Final = ((10, 1.7), (5, 1.3), (2, 1.0), (1, 0.7))
#: Open interest of a contract in full bloom over the lots of its underlying's near future.
_INTEREST_TIMES: Final = 2
_INTEREST_WIDTH: Final = 0.12
#: Days to the expiry at which half of an option's open interest has built up.
_HALF_BUILT: Final = 8
_LISTED_SLOWLY: Final = 5
_LAST_WEEK: Final = 7
#: What is still open when a contract expires.
_LEFT_TO_SETTLE: Final = 0.2
#: Who trades less than so many lots a day on average has no open interest: it may not trade at all.
_LEAST_LOTS: Final = 2.0
#: How far back the last day with a trade is looked for, in market days.
_LOOK_BACK: Final = 5


def life_days(contract: Contract) -> int:
    """Return for how many calendar days before its expiry a contract trades."""
    return 200 if contract.exchange == "MCX" else 100


def _part(parts: tuple[tuple[int, float], ...], left: int) -> float:
    return next(part for limit, part in parts if left <= limit)


def _leader(contract: Contract) -> Contract:
    if contract.leader is None:
        raise ValueError(f"{contract.key} follows nothing")
    return contract.leader


def _left(contract: Contract, number: int) -> int:
    return day_number(contract.expiry or date.max) - number


def _unit(bits: int) -> float:
    """Return a float in [0, 1) from the low 32 of some random bits."""
    return (bits & 0xFFFF_FFFF) / 0x1_0000_0000


def _from_the_money(prices: Prices, contract: Contract, number: int) -> float:
    """Return the log distance of the strike from yesterday's close; double inside the money."""
    beyond = math.log((contract.strike or 0.0) / prices.close_before(_leader(contract), number))
    beyond = beyond if contract.right == "CE" else -beyond
    return beyond if beyond >= 0 else -beyond / _IN_THE_MONEY


def _roundness(contract: Contract) -> float:
    steps = round((contract.strike or 0.0) / step(_leader(contract)))
    return next(times for multiple, times in _ROUND if steps % multiple == 0)


@functools.lru_cache(maxsize=16384)
def _expected_lots(prices: Prices, contract: Contract, number: int) -> float:
    source, left = _leader(contract), _left(contract, number)
    busy = _LOTS[source.tier] * _BUSY.get(source.code, 1.0)
    if contract.kind == "future":
        return busy * _part(_FUTURE_PARTS, left)
    weekly = has_weeklies(source.code, day_of(number))
    part = _part(_WEEKLY_PARTS if weekly else _MONTHLY_PARTS, left)
    width = _WIDTH[source.tier]
    if left == 0:
        part *= _LAST_DAY_TIMES["weekly" if weekly else "monthly"]
        width *= _LAST_DAY_WIDTH
    crowd: float = 10 ** (-_from_the_money(prices, contract, number) / width)
    return busy * _OPTION_TIMES[source.tier] * _roundness(contract) * part * crowd


def day_lots(prices: Prices, contract: Contract, number: int) -> int:
    """Return the lots a derivative trades on day `number`."""
    noise = word(prices.key("lots", contract.key), number)
    return int(_expected_lots(prices, contract, number) * (0.5 + _unit(noise)))


def _day_interest(prices: Prices, contract: Contract, number: int) -> int:
    """Return the open interest in lots at the end of a day on which the contract trades."""
    source, left = _leader(contract), _left(contract, number)
    age = max(life_days(contract) - left, 0)
    size = _LOTS[source.tier] * _BUSY.get(source.code, 1.0) * _INTEREST_TIMES
    if contract.kind == "option":
        away = _from_the_money(prices, contract, number)
        size *= _roundness(contract) * 10 ** (-away / _INTEREST_WIDTH)
        size *= min(age / _LISTED_SLOWLY, 1.0) / (1 + left / _HALF_BUILT)
    else:
        # It builds up over the contract's life, and the last week winds a fifth of it down.
        wound = 1 - 0.2 * max(_LAST_WEEK - left, 0) / _LAST_WEEK
        size *= (age / life_days(contract)) ** 2 * wound
    if left == 0:
        size *= _LEFT_TO_SETTLE
    # With this there is open interest only after days with trades.
    size *= 1 - _LEAST_LOTS / max(_expected_lots(prices, contract, number), _LEAST_LOTS)
    noise = word(prices.key("interest", contract.key), number)
    return int(size * (0.95 + 0.1 * _unit(noise)))


@functools.lru_cache(maxsize=16384)
def interest_before(prices: Prices, contract: Contract, number: int) -> int:
    """Return the open interest in lots before day `number`: after the newest day with a trade."""
    earlier = prices.previous_open_day(contract, number)
    recorded = prices.recorded_interest(contract, earlier) if earlier is not None else None
    if recorded is not None:
        return int(recorded[-1])
    recorded = prices.recorded_interest(contract, number)
    if recorded is not None:  # its first day: whatever was open before
        return int(recorded[0])
    for _ in range(_LOOK_BACK):
        if earlier is None:
            break
        if day_lots(prices, contract, earlier):
            return _day_interest(prices, contract, earlier)
        earlier = prices.previous_open_day(contract, earlier)
    return 0


@functools.lru_cache(maxsize=1024)
def open_interest(prices: Prices, contract: Contract, number: int) -> Ints:
    """Return the open interest after each minute of a day, in lots."""
    recorded = prices.recorded_interest(contract, number)
    if recorded is not None:
        return recorded[59::60]
    before = interest_before(prices, contract, number)
    bars = prices.minutes(contract, number)
    if bars is None:
        return np.array([before])
    total = int(bars.volume.sum())
    if not total:
        return np.full(len(bars.volume), before)
    after = _day_interest(prices, contract, number)
    done = np.cumsum(bars.volume) / total
    if not _left(contract, number):
        return before + np.rint((after - before) * done * done).astype(np.int64)
    noise = word(prices.key("unwinding", contract.key), number)
    held = (before + after) / 2
    # Positions of the day are opened all day long and closed in its last part.
    within = held * (0.05 + 0.1 * _unit(noise)) * 1.5 * done * (1 - done**6)
    phase = _unit(noise >> 32) * 2 * math.pi
    waves = held * 0.03 * np.sin(phase + 9 * done) * done * (1 - done)
    path = before + np.rint((after - before) * done + within + waves).astype(np.int64)
    return np.maximum(path, 0)


def second_interest(prices: Prices, contract: Contract, number: int, minutes: Ints) -> Ints:
    """Return the open interest after each second of some minutes of a day, shape (minutes, 60)."""
    recorded = prices.recorded_interest(contract, number)
    if recorded is not None:
        return recorded.reshape(-1, 60)[minutes]
    return np.repeat(open_interest(prices, contract, number)[minutes], 60).reshape(-1, 60)
