"""Counter-based noise: the same key and counter give the same bits, for ever.

A price must not depend on what was asked before it, so nothing here has a
state. Bits come from a SplitMix64 finaliser over ``key + counter * odd
constant`` and stay integers as long as possible: numpy's distributions may
change between releases, multiplication of 64-bit integers does not.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUMP_SD", "Floats", "Ints", "bits", "bump", "key_of", "normal", "uniform", "word"]

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_ALL: Final = 2**64 - 1
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)

#: Standard deviation of `bump`: the sum of two uniform 16-bit integers.
BUMP_SD: Final = 65_536 / 6**0.5


def key_of(*parts: object) -> int:
    """Return the 64-bit key of `parts`, equal for equal text."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def bits(key: int | NDArray[np.uint64], counter: Ints) -> NDArray[np.uint64]:
    """Return 64 random bits for each counter."""
    z = np.asarray(key, np.uint64) + counter.astype(np.uint64) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def word(key: int, counter: int) -> int:
    """Return the 64 random bits of one counter: what `bits` gives, without an array."""
    z = (key + counter * 0x9E3779B97F4A7C15) & _ALL
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _ALL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _ALL
    return z ^ (z >> 31)


def bump(noise: NDArray[np.uint64]) -> Ints:
    """Return a signed, bell-shaped integer in about +-65,536 from the low 32 bits of `noise`."""
    low = (noise & np.uint64(0xFFFF)).astype(np.int64)
    high = ((noise >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.int64)
    return low + high - 65_535


def uniform(noise: NDArray[np.uint64]) -> Floats:
    """Return a float in [0, 1) from the high 32 bits of `noise`."""
    return (noise >> np.uint64(32)).astype(np.float64) / 4_294_967_296.0


def normal(noise: NDArray[np.uint64]) -> Floats:
    """Return a nearly normal float, never beyond +-3.47, from all bits of `noise`.

    The sum of four uniforms: bounded, so that a price cannot jump through its
    circuit limit, and free of logarithms, so that it is the same everywhere.
    """
    total = np.zeros(noise.shape, np.int64)
    for shift in (0, 16, 32, 48):
        total += ((noise >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    return (total - 131_070).astype(np.float64) / (65_536 / 3**0.5)
