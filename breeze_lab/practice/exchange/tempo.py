"""When within a day a contract trades, and how much in each minute.

Busy at open and close and quiet at lunch, silent while the market halts or in
the calendar's breaks, rarely for the tail of small stocks, hardly after a stock
has locked at its circuit limit, and once in a closing auction. All of it but
the last three belongs to true exchange hours: a market day of 24 hours is even.

The practice market's halt trips when the index falls by some four percent. The
exchange's circuit breaker needs ten, which stocks kept in their ordinary price
bands cannot show together. It lasts what a ten-percent fall before one o'clock
costs: 45 minutes and the 15 of a new opening auction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from breeze_lab import clock
from breeze_lab.practice.exchange.days import DAY_MINUTES, day_of, midnight, number_at
from breeze_lab.practice.exchange.noise import Floats, Ints, bits, uniform, word
from breeze_lab.practice.exchange.paths import minute_places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = [
    "auction_slots", "halt", "has_true_hours", "is_sparse", "locked", "minute_weights", "moving",
    "phase",
]  # fmt: skip

#: Of how many small stocks one trades rarely, and in which part of the minutes those do.
_SPARSE: Final = 0.5
_SPARSE_LEAST, _SPARSE_MOST = 0.02, 0.25
#: The first minutes of the day are so many times as busy as the day's shape says.
_BURST: Final = (6.0, 4.5, 3.5, 2.6, 2.0, 1.5, 1.2)
_HALT_MINUTES: Final = 60
#: How much of the day's fall lies before it.
_DONE_AT_HALT: Final = 0.85
#: After a lock so many minutes still see a trade, and so much of a usual minute's volume.
_LOCKED_MINUTES, _LOCKED_PART = 0.3, 0.15
#: The closing auction's part of a day's volume.
_AUCTION_LEAST, _AUCTION_MOST = 0.04, 0.09
#: A stock that does not begin its day locked takes at least so much of it to get there.
_LOCK_FROM, _LOCK_TO = 0.08, 0.68


def has_true_hours(prices: Prices, number: int) -> bool:
    """Whether the day has the exchange's hours, not 24."""
    return prices.open_since is None or day_of(number) < prices.open_since


def is_sparse(prices: Prices, contract: Contract) -> bool:
    """Whether a small stock trades in few minutes of the day only."""
    source = contract.leader or contract
    if not prices.character.sparse or contract.kind != "stock" or source.tier != "C":
        return False
    return word(prices.key("sparse", source.key), 0) / 2**64 < _SPARSE


def _slots(prices: Prices, contract: Contract, number: int, phase: clock.Phase) -> slice | None:
    """Return the slots of a phase of the day, or None where there is none."""
    hours = prices.hours(contract, number)
    if hours is None or not has_true_hours(prices, number):
        return None
    for found in clock.phases(contract.segment, day_of(number)):
        if found.phase == phase:
            start, end = (t.hour * 60 + t.minute - hours[0] for t in (found.open, found.close))
            return slice(start, end)
    return None


def auction_slots(prices: Prices, contract: Contract, number: int) -> int:
    """Return how many minutes at the end of the day are a closing auction."""
    if not prices.character.auctions or contract.segment != "cash":
        return 0
    found = _slots(prices, contract, number, "closing-auction")
    return found.stop - found.start if found else 0


def halt(prices: Prices, contract: Contract, number: int) -> slice | None:
    """Return the slots in which the whole market halts, or None on an ordinary day."""
    if number not in prices.halts or not has_true_hours(prices, number):
        return None
    hours = prices.hours(contract, number)
    if hours is None or contract.segment not in ("cash", "fno"):
        return None
    start = 10 * 60 + word(prices.key("halt-minute"), number) % 150 - hours[0]
    return slice(start, start + _HALT_MINUTES)


def _lock_place(prices: Prices, contract: Contract, number: int) -> float | None:
    """Return where in the day's way the price locks at its limit; None when it does not."""
    if contract.kind != "stock":
        return None
    walk = prices.walk(contract)
    if not walk.lock[number]:
        return None
    if walk.open[number] == walk.close[number]:
        return 0.0
    source = contract.leader or contract
    part = word(prices.key("lock-place", source.key), number) / 2**64
    return _LOCK_FROM + (_LOCK_TO - _LOCK_FROM) * part


def locked(prices: Prices, contract: Contract, number: int, slot: int) -> int:
    """Return 1 while a stock is locked at its upper circuit limit, -1 at the lower, else 0.

    A book is one-sided then: there are no sellers at the upper limit, no buyers at the lower.

    Parameters
    ----------
    number, slot
        Day number, and index into `Prices.minutes` of it.
    """
    if _lock_place(prices, contract, number) is None:
        return 0
    head, _ = moving(prices, contract, number)
    return int(prices.walk(contract).lock[number]) if slot >= head - 1 else 0


def phase(prices: Prices, contract: Contract, now_ms: int) -> clock.Phase | Literal["halt"]:
    """Return what the exchange does with a contract at a market time in Unix milliseconds.

    As `clock.phase` in exchange hours, and ``"halt"`` while the whole market
    halts; a market day of 24 hours is always ``"open"``.
    """
    number = number_at(now_ms / 1000)
    hours = prices.hours(contract, number)
    if hours is None or not prices.is_open_day(contract, number):
        return "closed"
    if not has_true_hours(prices, number):
        return "open"
    stopped = halt(prices, contract, number)
    slot = (now_ms // 1000 - midnight(number)) // 60 - hours[0]
    if stopped is not None and stopped.start <= slot < stopped.stop:
        return "halt"
    found = clock.phase(contract.segment, clock.from_epoch(now_ms / 1000))
    if found == "closing-auction" and not prices.character.auctions:
        return "open"
    return found


def _warped(places: Floats, stopped: slice | None) -> Floats:
    """Return the places of a day that has done most of its way when the market halts."""
    if stopped is None:
        return places
    until = float(places[stopped.start - 1])
    after = _DONE_AT_HALT + (places - until) * ((1 - _DONE_AT_HALT) / (1 - until))
    return np.where(places <= until, places * (_DONE_AT_HALT / until), after)


def moving(prices: Prices, contract: Contract, number: int) -> tuple[int, Floats]:
    """Return in how many slots the price moves, and where in the day's way each slot ends.

    In the slots after those there is one price, the day's close.
    """
    _, count = prices.hours(contract, number) or (0, 0)
    auction = auction_slots(prices, contract, number)
    places = _warped(minute_places(count, auction), halt(prices, contract, number))
    lock = _lock_place(prices, contract, number)
    if lock is not None:
        places = np.minimum(places / lock, 1.0) if lock else np.ones(count)
        return int((places >= 1.0).argmax()) + 1, places
    return count - (auction if contract.kind == "stock" else 0), places


def minute_weights(
    prices: Prices, contract: Contract, number: int, noise: NDArray[np.uint64]
) -> Ints:
    """Return how the volume of a day lies over its minutes, shape of `noise`: (..., minutes)."""
    count = noise.shape[-1]
    weights = np.full(noise.shape, 1000, np.int64)
    if contract.kind != "index":
        part = uniform(noise << np.uint64(32))
        shape = _shape(prices, number, count)
        weights = (1000 * shape * (0.35 + part + part * part)).astype(np.int64) + 1
    silent = np.zeros(count, np.bool_)
    for slots in (_slots(prices, contract, number, "break"), halt(prices, contract, number)):
        if slots is not None:
            silent[slots] = True
    weights[..., silent] = 0
    if contract.kind == "stock":
        weights = _stock_weights(prices, contract, number, (weights, noise))
    return weights


def _shape(prices: Prices, number: int, count: int) -> Floats:
    shape = np.ones(count)
    if count == DAY_MINUTES or not has_true_hours(prices, number):
        return shape
    if prices.character.profile:
        x = (np.arange(count) + 0.5) / count * 2 - 1
        shape = 0.55 + 1.5 * x * x
    if prices.character.burst and count > 2 * len(_BURST):
        shape[: len(_BURST)] *= _BURST
    return shape


def _stock_weights(
    prices: Prices, contract: Contract, number: int, found: tuple[Ints, NDArray[np.uint64]]
) -> Ints:
    weights, noise = found
    chance = uniform(bits(prices.key("trades-at-all"), noise.astype(np.int64)))
    if is_sparse(prices, contract):
        part = word(prices.key("how-sparse", contract.key), 0) / 2**64
        part = _SPARSE_LEAST + (_SPARSE_MOST - _SPARSE_LEAST) * part
        # One minute at least: the one that came nearest.
        part = np.maximum(part, np.where(weights > 0, chance, 1.0).min(axis=-1, keepdims=True))
        weights = np.where(chance <= part, weights, 0)
    lock = _lock_place(prices, contract, number)
    if lock is not None:
        head, _ = moving(prices, contract, number)
        rare = np.where(chance[..., head:] < _LOCKED_MINUTES, _LOCKED_PART, 0.0)
        weights[..., head:] = (weights[..., head:] * rare).astype(np.int64)
        weights[..., head - 1] = np.maximum(weights[..., head - 1], 1000)
    auction = auction_slots(prices, contract, number)
    if auction:
        weights[..., -auction:] = 0
        part = _AUCTION_LEAST + (_AUCTION_MOST - _AUCTION_LEAST) * (
            word(prices.key("auction", contract.key), number) / 2**64
        )
        total = weights.sum(axis=-1)
        weights[..., -1] = np.maximum(total * (part / (1 - part)), 1).astype(np.int64)
    return weights
