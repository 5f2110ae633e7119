"""The way of a price through its day: what stocks share, what is their own.

A day has `KNOTS` stretches. Between open and close a price follows the straight
line plus a part of the market's swing of that day, the same for all, plus a
slower swing of its own. A swing never exceeds its size, so a day's high and
low, the extremes at the knots, are known without any minute; and because all
of it is linear, an index is the weighted sum of its constituents at each knot,
and at each minute but for the fine noise that is one stock's alone.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.exchange.constituents import basket
from breeze_lab.practice.exchange.daily import beta_of, noise_key, volatility
from breeze_lab.practice.exchange.noise import BUMP_SD, Floats, Ints, bits, bump, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["AUCTION_PLACE", "KNOTS", "extremes", "minute_closes", "minute_places"]

KNOTS: Final = 96
_OWN_KNOTS: Final = 12
#: Where in a day's way a closing auction begins.
AUCTION_PLACE: Final = 1 - 2 / KNOTS
#: How much of a stock's swing is the market's; what is not a stock has one of its own.
_SHARED: Final = {"A": 0.75, "B": 0.6, "C": 0.4, "I": 0.9, "M": 0.9, "X": 0.9}
#: Size of a swing in daily deviations; a trending day has a small one, a choppy day a large one.
_SWING, _TREND_SWING, _CHOP_SWING = 0.55, 0.22, 0.75
#: A day trends when the whole market moves by more deviations than this, and is choppy below that.
_TREND_FROM, _CHOP_BELOW = 1.25, 0.4
#: On a choppy day the swing comes back to its line so many times.
_CHOPS: Final = 4
#: Deviation of a step between knots of a swing whose largest is 1.
_STEP_SD: Final = 0.13
#: The width of the bounce between bid and ask, and the step of a stock that trades rarely.
_BOUNCE_TICKS: Final = 2.2
_WIDE_STEP: Final = 0.006


@functools.cache
def _grid() -> Floats:
    return np.arange(KNOTS + 1) / KNOTS


def _bridge(noise: NDArray[np.uint64], choppy: NDArray[np.bool_]) -> Floats:
    """Return swings, shape (..., k + 1), from 0 to 0, whose furthest point is 1 or -1 away."""
    walk = np.cumsum(bump(noise), axis=-1).astype(np.float64)
    walk = np.concatenate([np.zeros((*walk.shape[:-1], 1)), walk], axis=-1)
    k = noise.shape[-1]
    passed = np.arange(k + 1) / k
    swing = walk - walk[..., -1:] * passed
    if choppy.any():
        stops = walk[..., :: k // _CHOPS]
        part = passed * _CHOPS
        left = np.minimum(part.astype(np.int64), _CHOPS - 1)
        line = stops[..., left] + (stops[..., left + 1] - stops[..., left]) * (part - left)
        swing = np.where(choppy[..., None], walk - line, swing)
    found: Floats = swing / np.maximum(np.abs(swing).max(axis=-1, keepdims=True), 1.0)
    return found


def _shares_market(contract: Contract) -> bool:
    return contract.kind in ("stock", "index")


def _shared(contract: Contract) -> float:
    return math.copysign(_SHARED[contract.tier], beta_of(contract))


def _regime(prices: Prices, contract: Contract, numbers: Ints) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the size of the day's swings in deviations, and whether it is choppy."""
    none = np.zeros(len(numbers), np.bool_)
    if not prices.character.regimes:
        return np.full(len(numbers), _SWING), none
    if _shares_market(contract):
        size = np.abs(prices.market[numbers])
    else:
        size = 2 * uniform(bits(prices.key("regime", noise_key(contract)), numbers))
    choppy = size < _CHOP_BELOW
    return np.where(choppy, _CHOP_SWING, np.where(size > _TREND_FROM, _TREND_SWING, _SWING)), choppy


def _shared_swing(prices: Prices, contract: Contract, numbers: Ints) -> Floats:
    key = "market" if _shares_market(contract) else noise_key(contract)
    counter = numbers[:, None] * 128 + np.arange(KNOTS)
    noise = bits(prices.key("swing", key), counter)
    return _bridge(noise, _regime(prices, contract, numbers)[1])


def _sizes(prices: Prices, contract: Contract, numbers: Ints, opens: Ints) -> Floats:
    """Return the size of each day's swing in the contract's ticks."""
    swing, _ = _regime(prices, contract, numbers)
    source = contract.leader or contract
    noise = bits(prices.key("size-of-swing", noise_key(contract)), numbers)
    size: Floats = opens * swing * ((0.7 + 0.6 * uniform(noise)) * volatility(source))
    return size


def _own_swing(prices: Prices, contract: Contract, numbers: Ints) -> Floats:
    """Return the slow swing of one contract, shape (n, _OWN_KNOTS + 1)."""
    counter = numbers[:, None] * 16 + np.arange(_OWN_KNOTS)
    noise = bits(prices.key("own-swing", noise_key(contract)), counter)
    return _bridge(noise, np.zeros(len(numbers), np.bool_))


def _swings(
    prices: Prices, contract: Contract, numbers: Ints, opens: Ints
) -> tuple[Floats, Floats]:
    """Return the size of the shared swing, shape (n,), and the own one's knots, both in ticks."""
    parts = basket(contract) if contract.kind == "index" else None
    if parts is None:
        shared = _shared(contract)
        size = _sizes(prices, contract, numbers, opens)
        own = _own_swing(prices, contract, numbers) * size[:, None]
        return size * shared, own * (1 - shared * shared) ** 0.5
    total = np.zeros(len(numbers)), np.zeros((len(numbers), _OWN_KNOTS + 1))
    for part, scale in zip(parts.contracts, parts.scales, strict=True):
        opened = prices.walk(part).open[numbers].astype(np.int64)
        size, own = _swings(prices, part, numbers, opened)
        total = total[0] + size * scale, total[1] + own * scale
    return total


def _upsample(own: Floats) -> Floats:
    """Return a slow swing at all knots."""
    fold = KNOTS // _OWN_KNOTS
    part = np.arange(fold) / fold
    steps = np.diff(own, axis=-1)
    fine = own[:, :-1, None] + steps[:, :, None] * part
    return np.concatenate([fine.reshape(len(own), KNOTS), own[:, -1:]], axis=1)


def _knots(
    prices: Prices, contract: Contract, numbers: Ints, ends: tuple[Ints, Ints]
) -> tuple[Floats, Floats]:
    """Return the price at each knot, shape (n, KNOTS + 1), and the shared swing's size."""
    opens, closes = ends
    size, own = _swings(prices, contract, numbers, opens)
    line = opens[:, None] + (closes - opens)[:, None] * _grid()
    swing = _shared_swing(prices, contract, numbers) * size[:, None]
    knots: Floats = line + swing + _upsample(own)
    return knots, size


def extremes(
    prices: Prices, contract: Contract, numbers: Ints, ends: tuple[Ints, Ints]
) -> tuple[Ints, Ints]:
    """Return the high and low in ticks of days with these opens and closes."""
    opens, closes = ends
    knots, _ = _knots(prices, contract, numbers, ends)
    high = np.maximum(np.rint(knots.max(axis=1)).astype(np.int64), np.maximum(opens, closes))
    low = np.minimum(np.rint(knots.min(axis=1)).astype(np.int64), np.minimum(opens, closes))
    low = np.maximum(low, 1)
    lock = prices.walk(contract).lock[numbers]
    # A day that ends at its limit was not beyond it; one that began there stayed.
    stayed = (lock != 0) & (opens == closes)
    high = np.where((lock > 0) | stayed, closes, high)
    return high, np.where((lock < 0) | stayed, closes, low)


def minute_places(count: int, auction: int) -> Floats:
    """Return where in the day's way, 0 to 1, each minute ends; the last `auction` are slow."""
    open_slots = count - auction
    if not auction:
        return np.arange(1, count + 1) / count
    return np.concatenate(
        [
            np.arange(1, open_slots + 1) / open_slots * AUCTION_PLACE,
            AUCTION_PLACE + (1 - AUCTION_PLACE) * np.arange(1, auction + 1) / auction,
        ]
    )


def _fine(noise: NDArray[np.uint64], places: Floats) -> Floats:
    """Return what happens between the knots: a walk that is 0 at each of them."""
    walk = np.concatenate([[0.0], np.cumsum(bump(noise)) / BUMP_SD])
    at = np.concatenate([[0.0], places])
    # A stock that has locked stays at the end of its way; the walk is then not looked at.
    stops = np.interp(_grid(), at, walk)
    between = (walk - np.interp(at, _grid(), stops))[1:]
    fine: Floats = between * (_STEP_SD * (KNOTS / max(len(places), KNOTS)) ** 0.5)
    return fine


def minute_closes(
    prices: Prices, contract: Contract, number: int, day: tuple[int, int, int, int], places: Floats
) -> Ints:
    """Return the closes in ticks of minutes that end at `places` of a day's way.

    Parameters
    ----------
    day
        Open, high, low and close in ticks; nothing lies beyond high and low.
    """
    opened, high, low, closed = day
    numbers = np.array([number])
    ends = np.array([opened]), np.array([closed])
    knots, size = _knots(prices, contract, numbers, ends)
    key = "market" if _shares_market(contract) else noise_key(contract)
    counter = number * 2048 + np.arange(len(places))
    way = np.interp(places, _grid(), knots[0])
    way += _fine(bits(prices.key("fine", key), counter), places) * size[0]
    if contract.kind != "index" or basket(contract) is None:
        shared = _shared(contract)
        alone = bits(prices.key("own-fine", noise_key(contract)), counter)
        own_size = size[0] / shared * (1 - shared * shared) ** 0.5
        way += _fine(alone, places) * own_size
        step = _BOUNCE_TICKS
        if prices.is_sparse(contract):
            step = max(step, _WIDE_STEP * opened)
        # Trades alternate between bid and ask, so a price rarely stands still for long.
        way += (uniform(bits(prices.key("bounce", contract.key), counter)) - 0.5) * step
    # A way that would leave the day's range turns back at its edge; it does not lie flat there.
    way = high - np.abs(high - way)
    way = low + np.abs(way - low)
    closes: Ints = np.rint(np.clip(way, low, high)).astype(np.int64)
    return closes
