"""Opens and closes of every calendar day: a walk, and what happens to it on certain days.

A stock's day is its own noise and the whole market's; an index that has
constituents is their sum; a BSE listing follows the NSE one. On top of the
walk come corporate actions and days on which a small stock ends locked at its
circuit limit. Whole arrays of all days are made once per contract.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab import clock
from breeze_lab.practice.exchange.actions import actions_of, base_factor
from breeze_lab.practice.exchange.constituents import basket
from breeze_lab.practice.exchange.days import DAYS, day_number, day_of
from breeze_lab.practice.exchange.noise import Floats, Ints, bits, normal, uniform, word
from breeze_lab.practice.exchange.surface import vix_closes
from breeze_lab.practice.exchange.universe import RUPEE, Contract, universe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.practice.exchange.prices import Prices

__all__ = [
    "Walk",
    "band",
    "busy_days",
    "halt_numbers",
    "make_walk",
    "market_moves",
    "noise_key",
    "retick",
    "volatility",
]

#: The date on which every price is its reference price.
_ANCHOR: Final = day_number(date(2026, 7, 30))
#: Daily volatility by tier, before the circuit limit tempers it.
_VOLATILITY: Final = {"A": 0.013, "B": 0.014, "C": 0.014, "I": 0.008, "M": 0.011, "X": 0.0025}
#: How much of a day's move is the whole market's.
_BETA: Final = {"A": 0.6, "B": 0.5, "C": 0.3, "I": 0.9, "M": 0.0, "X": 0.0}
#: Smaller contracts of a commodity that has a larger one.
_SAME: Final = {
    "GOLDMI": "GOLD", "GOLDPE": "GOLD", "SILMIN": "SILVER", "CRUDMI": "CRUDE", "NATGMI": "NATGAS",
    "ZINCMI": "ZINC",
}  # fmt: skip
#: A day without true market hours moves little, so that it fits in the gap it otherwise is.
_QUIET: Final = 0.2
#: No innovation goes further than this many deviations, so circuit limits hold by construction.
_BOUND: Final = 3.4
#: An opening gap in deviations of a day: from noise, and from what the day will bring.
_GAP_NOISE: Final = 0.25
_GAP_FORESEEN: Final = 0.4
_SMALL_GAP: Final = 0.06
#: How often a small stock of a band ends a day at its limit.
_LOCKS: Final = ((0.05, 1 / 40), (0.1, 1 / 80), (1.0, 1 / 250))
#: One of so many such days begins at the limit already.
_LOCKED_AT_OPEN: Final = 0.3
#: The market-wide halt happens once in so many calendar days, on a day that falls hard.
_HALT_EVERY: Final = 1000
_HALT_SHOCK: Final = -7.0


@dataclass(frozen=True, slots=True)
class Walk:
    """Every calendar day of one contract, indexed by day number.

    Parameters
    ----------
    open, close
        Ticks.
    lock
        1 where the day ends locked at its upper circuit limit, -1 at the lower, else 0.
    """

    open: NDArray[np.int32]
    close: NDArray[np.int32]
    lock: NDArray[np.int8]


@functools.cache
def busy_days() -> tuple[NDArray[np.bool_], Floats]:
    """Return trading-day flags and the weight of each calendar day's innovation."""
    flags = np.array([clock.is_trading_day(day_of(n)) for n in range(DAYS)])
    return flags, np.where(flags, 1.0, _QUIET)


def beta_of(contract: Contract) -> float:
    """Return how much of a day's move is the whole market's; fear rises when the market falls."""
    return -_BETA["I"] if contract.code == "INDVIX" else _BETA[contract.tier]


def noise_key(contract: Contract) -> str:
    """Return the key of whose noise moves a contract: the same thing in small moves alike."""
    source = contract.leader or contract
    of = _SAME.get(source.code, source.code) if source.tier == "M" else source.code
    return f"{source.exchange}:{of}"


def volatility(contract: Contract) -> float:
    """Return the standard deviation of a day's move as a fraction."""
    return min(_VOLATILITY[contract.tier], contract.band / 8)


def retick(ticks: Ints, old: int, new: int) -> Ints:
    """Return prices in another tick size, rounded half up; the order of prices stays."""
    return np.maximum((ticks * old * 2 + new) // (2 * new), 1)


def band(contract: Contract, base: int) -> int:
    """Return how far a price may move from `base`, in ticks."""
    # The unrounded band would be broken by half a tick of a cheap stock.
    return max(int(base * contract.band), 2)


def halt_numbers(prices: Prices) -> tuple[int, ...]:
    """Return the trading days on which the whole market halts, one in about three years."""
    if not prices.character.halts:
        return ()
    flags, _ = busy_days()
    found = []
    for block in range(DAYS // _HALT_EVERY):
        number = block * _HALT_EVERY + word(prices.key("halt"), block) % (_HALT_EVERY - 20)
        # Nothing else happens on the day, and the day before is a trading day.
        while not (flags[number] and flags[number - 1]) or _is_special(number):
            number += 1
        found.append(number)
    return tuple(found)


def _is_special(number: int) -> bool:
    hours = clock.market_hours("cash", day_of(number))
    return hours is None or bool(hours.note)


@functools.cache
def _uneven() -> frozenset[str]:
    """Return the ISINs of stocks that may move further on one exchange than on the other."""
    stocks = [c for c in universe().cash.values() if c.leader is not None]
    return frozenset(c.isin for c in stocks if c.leader is not None and c.band != c.leader.band)


def market_moves(prices: Prices) -> Floats:
    """Return the whole market's part of every calendar day's move, in deviations."""
    market = normal(bits(prices.key("market"), np.arange(DAYS)))
    market[list(prices.halts)] = _HALT_SHOCK
    return market


def make_walk(prices: Prices, contract: Contract) -> Walk:
    """Return the opens and closes of every calendar day of a stock, an index or a spot."""
    if contract.kind == "stock" and contract.leader is not None:
        return _follow(prices, contract, prices.walk(contract.leader))
    parts = basket(contract)
    if parts is not None:
        walks = [prices.walk(c) for c in parts.contracts]
        close = parts.level(w.close.astype(np.int64) for w in walks)
        opened = parts.level(w.open.astype(np.int64) for w in walks)
        return Walk(opened.astype(np.int32), close.astype(np.int32), np.zeros(DAYS, np.int8))
    return _own(prices, contract)


def _own(prices: Prices, contract: Contract) -> Walk:
    days, busy, sd = np.arange(DAYS), busy_days()[1], volatility(contract)
    own = normal(bits(prices.key("close", noise_key(contract)), days))
    beta = beta_of(contract)
    steps = np.clip(beta * prices.market + (1 - beta * beta) ** 0.5 * own, -_BOUND, _BOUND)
    drift = 0.0003 if contract.kind in ("stock", "index") else 0.0
    moves = (steps * sd + drift) * busy
    lock = _lock_days(prices, contract)
    locked = np.flatnonzero(lock)
    moves[locked] = np.log1p(lock[locked] * contract.band)
    path = np.cumsum(moves)
    # Fear is what options say.
    if contract.code == "INDVIX":
        closes = vix_closes(prices)
    else:
        closes = contract.base * np.exp(path - path[_ANCHOR])
    if prices.character.actions:
        _act(contract, closes)
    ticks = np.maximum(np.rint(closes * (RUPEE / contract.tick)), 20).astype(np.int64)
    for number in locked.tolist():
        base = int(ticks[number - 1])
        ticks[number] = max(base + int(lock[number]) * band(contract, base), 1)
    noise = normal(bits(prices.key("gap", noise_key(contract)), days))
    if prices.character.gaps:
        noise = _GAP_NOISE * np.clip(noise, -_BOUND, _BOUND) + _GAP_FORESEEN * steps
    else:
        noise = _SMALL_GAP * noise
    before = _bases(prices, contract, ticks)
    opens = before + np.rint(before * noise * busy * sd).astype(np.int64)
    return _lock_opens(prices, contract, Walk(opens.astype(np.int32), ticks.astype(np.int32), lock))


def _bases(prices: Prices, contract: Contract, closes: Ints) -> Ints:
    """Return what each day is compared with: the close before, changed by the day's action."""
    before = np.concatenate([closes[:1], closes[:-1]])
    for action in actions_of(contract) if prices.character.actions else ():
        number = action.number
        if action.rupees:
            before[number] -= round(action.rupees * RUPEE / contract.tick)
        else:
            before[number] = round(int(before[number]) * base_factor(contract, number))
    return before


def _act(contract: Contract, closes: Floats) -> None:
    """Let the corporate actions show in `closes`, which are adjusted; the anchor's stays."""
    found = actions_of(contract)
    past = [a for a in reversed(found) if a.number <= _ANCHOR]
    for action in (*past, *(a for a in found if a.number > _ANCHOR)):
        if action.adjusted:
            continue
        price = float(closes[action.number - 1])
        if action.number <= _ANCHOR:
            factor = price / (price + action.rupees) if action.rupees else action.factor
            closes[: action.number] /= factor
        else:
            factor = (price - action.rupees) / price if action.rupees else action.factor
            closes[action.number :] *= factor


def _lock_days(prices: Prices, contract: Contract) -> NDArray[np.int8]:
    """Return on which days a small stock ends at a limit: only on days after a trading day.

    So the day before is the same whether the market closes on weekends or not.
    """
    lock = np.zeros(DAYS, np.int8)
    small = contract.kind == "stock" and contract.tier == "C"
    # A fund (ISIN INF...) is worth what it holds.
    unfit = contract.isin in _uneven() or contract.isin.startswith("INF")
    if not prices.character.circuits or not small or unfit:
        return lock
    rate = next(rate for most, rate in _LOCKS if contract.band <= most)
    noise = bits(prices.key("lock", contract.key), np.arange(DAYS))
    flags, _ = busy_days()
    chosen = (uniform(noise) < rate) & flags & np.concatenate([[False], flags[:-1]])
    chosen[list(prices.halts)] = False
    for action in actions_of(contract):
        chosen[action.number - 1 : action.number + 2] = False
    lock[chosen] = np.where(noise[chosen] & np.uint64(1), 1, -1)
    return lock


def _lock_opens(prices: Prices, contract: Contract, walk: Walk) -> Walk:
    """Return the walk with opens of locked days on the way to the limit, or at it."""
    source = contract.leader or contract
    locked = np.flatnonzero(walk.lock)
    part = uniform(bits(prices.key("lock-open", source.key), locked))
    # Most open some way towards the limit.
    part = np.where(part < _LOCKED_AT_OPEN, 1.0, 0.5 * part)
    before, close = (walk.close[x].astype(np.int64) for x in (locked - 1, locked))
    walk.open[locked] = before + np.rint((close - before) * part).astype(np.int64)
    return walk


def _follow(prices: Prices, contract: Contract, lead: Walk) -> Walk:
    """Return the walk of a BSE listing: the NSE one's in other ticks, locked at its own limits."""
    source = contract.leader or contract
    close, opened = (
        retick(x.astype(np.int64), source.tick, contract.tick) for x in (lead.close, lead.open)
    )
    for number in np.flatnonzero(lead.lock).tolist():
        base = int(close[number - 1])
        close[number] = max(base + int(lead.lock[number]) * band(contract, base), 1)
    walk = Walk(opened.astype(np.int32), close.astype(np.int32), lead.lock)
    return _lock_opens(prices, contract, walk)
