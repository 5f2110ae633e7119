"""Split a bar into shorter bars that aggregate to it exactly.

The market is made from the top down: a day's bar becomes minutes, a minute
becomes seconds, a second becomes trades. At every level the first open, the
last close, the highest high, the lowest low and the sum of volumes equal the
parent's. All prices are whole ticks and all quantities whole units.

A slot without volume does not exist. What remains must be tradable: a slot of
one unit is flat, one of two has only open and close, one of three has one
extreme beyond them. `split` never asks more of a slot than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.practice.exchange.noise import BUMP_SD, bits, bump, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.practice.exchange.noise import Ints

__all__ = ["BOTH_EXTREMES", "Bars", "share", "split"]

#: The units a slot needs to show a high and a low beyond its open and close.
BOTH_EXTREMES: Final = 4
_FAR: Final = np.int64(2**60)
#: The width of the bounce between bid and ask.
_BOUNCE_TICKS: Final = 2.2
#: Every other slot with room for it reaches a tick beyond its open and close.
_LEAST_REACH: Final = 1.9


@dataclass(frozen=True, slots=True)
class Bars:
    """Parallel arrays of bars, any shape, in whole ticks and units.

    Parameters
    ----------
    open, high, low, close
        Ticks.
    volume
        Units; a bar of volume 0 does not exist and its prices mean nothing.
    """

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints

    def take(self, index: Any) -> Bars:
        """Return the bars at a numpy `index`."""
        return Bars(
            self.open[index],
            self.high[index],
            self.low[index],
            self.close[index],
            self.volume[index],
        )


def share(volume: Ints, weights: Ints) -> Ints:
    """Distribute each `volume` over its row of `weights`, in whole units that add up exactly."""
    cumulative = np.cumsum(weights, axis=-1)
    dealt = volume[..., None] * cumulative // cumulative[..., -1:]
    return np.diff(dealt, axis=-1, prepend=0)


def split(
    parent: Bars,
    volume: Ints,
    path: NDArray[np.uint64],
    sign: int,
    own: NDArray[np.uint64],
    *,
    closes: Ints | None = None,
) -> Bars:
    """Return the slots of each parent.

    Parameters
    ----------
    parent
        Shape (b,); its volume is the row sum of `volume`.
    volume
        Shape (b, n): units of each slot, see `share`.
    path
        Shape (b, n): noise that shapes the price's way; instruments that follow
        one another share it.
    sign
        1, or -1 when the price goes against the shared way (a put).
    own
        Shape (b, n): noise of this instrument alone.
    closes
        Shape (b, n): where each slot is to close, within the parent's range,
        when the way is known already; the given extremes and ends win over it.

    Returns
    -------
    Bars
        Shape (b, n).
    """
    n = path.shape[1]
    o, h, lo, c = (x[:, None] for x in (parent.open, parent.high, parent.low, parent.close))
    slot = np.arange(n)
    active = volume > 0
    first = active.argmax(axis=1)[:, None]
    last = n - 1 - active[:, ::-1].argmax(axis=1)[:, None]
    close = _way(parent, path, sign) if closes is None else closes
    close = np.where((slot == first) & (volume == 1), o, close)
    close = np.where(slot == last, c, close)

    # A first slot spends one trade on the open, a last one on the close; the rest is free.
    free = np.where(active, np.minimum(volume, BOTH_EXTREMES) - (slot == first) - (slot == last), 0)
    need_high, need_low = h > np.maximum(o, c), lo < np.minimum(o, c)
    top = np.where(free > 0, close, -_FAR).argmax(axis=1)[:, None]
    at_top = need_high & (slot == top)
    free = free - at_top
    bottom = np.where(free > 0, close, _FAR).argmin(axis=1)[:, None]
    at_bottom = need_low & (slot == bottom)
    both = at_top & at_bottom
    # The first extreme of a slot is its close; in the last slot, whose close is given, its open.
    # A second extreme is the open, or where the open is given too, a trade between them.
    close = np.where(at_top & (slot != last), h, close)
    close = np.where(at_bottom & ~both & (slot != last), lo, close)

    seen = np.maximum.accumulate(np.where(active, slot, -1), axis=1)
    before = np.concatenate([np.full((len(path), 1), -1), seen[:, :-1]], axis=1)
    opened = np.where(before >= 0, np.take_along_axis(close, np.maximum(before, 0), axis=1), o)
    opened = np.where(volume == 1, close, opened)
    opened = np.where(at_top & (slot == last), h, opened)
    opened = np.where(at_bottom & ~both & (slot == last), lo, opened)
    inner = both & (slot != first) & (slot != last)
    opened = np.where(inner, lo, opened)

    reach = np.maximum((h - lo).astype(np.float64) * (0.6 / n**0.5), _LEAST_REACH)
    roomy = volume >= BOTH_EXTREMES
    up = np.where(roomy, (uniform(own) * reach).astype(np.int64), 0)
    down = np.where(roomy, (uniform(bits(0, own.astype(np.int64))) * reach).astype(np.int64), 0)
    high = np.minimum(np.maximum(opened, close) + up, h)
    low = np.maximum(np.minimum(opened, close) - down, lo)
    low = np.where(both & ~inner, lo, low)

    alone = first == last
    return Bars(
        np.where(alone, o, opened),
        np.where(alone, h, high),
        np.where(alone, lo, low),
        np.where(alone, c, close),
        volume,
    )


def _way(parent: Bars, path: NDArray[np.uint64], sign: int) -> Ints:
    """Return slot closes: a bridge from open to close that stays within and reaches both ends.

    The noise may leave the bar's range; what lies above the higher of open and
    close is stretched or squeezed to end at the high, and likewise below.
    """
    n = path.shape[1]
    o, h, lo, c = (
        x[:, None].astype(np.float64) for x in (parent.open, parent.high, parent.low, parent.close)
    )
    walk = np.cumsum(bump(path), axis=1).astype(np.float64) * sign
    passed = np.arange(1, n + 1) / n
    # A Brownian bridge of n unit steps spans 1.25 sqrt(n) on average.
    raw = (
        o
        + (c - o) * passed
        + (walk - walk[:, -1:] * passed) * ((h - lo) / (1.25 * n**0.5 * BUMP_SD))
    )
    upper, lower = np.maximum(o, c), np.minimum(o, c)
    rise = raw.max(axis=1, keepdims=True) - upper
    fall = lower - raw.min(axis=1, keepdims=True)
    rise, fall = np.where(rise > 0, rise, 1.0), np.where(fall > 0, fall, 1.0)
    shaped = np.where(raw > upper, upper + (raw - upper) * ((h - upper) / rise), raw)
    shaped = np.where(raw < lower, lower - (lower - raw) * ((lower - lo) / fall), shaped)
    # Trades alternate between bid and ask, so a price rarely stands still for long.
    bounce = (uniform(path) - 0.5) * sign * _BOUNCE_TICKS
    closes: Ints = np.rint(np.clip(shaped + bounce, lo, h)).astype(np.int64)
    return closes
