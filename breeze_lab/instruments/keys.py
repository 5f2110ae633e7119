"""How names become numbers: what the search index is made of and what a query is turned into."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CODE", "INDEX_NAME", "OWN", "SYMBOL", "WIDTH", "isin_key", "last_key", "prefix_key",
           "signature", "signatures"]  # fmt: skip

#: What kind of name a term is, in the order of precedence.
SYMBOL, OWN, INDEX_NAME, CODE = range(4)
#: How many bytes of a name its key tells apart.
WIDTH: Final = 8
_BITS: Final = np.uint64(1) << np.arange(64, dtype=np.uint64)


def prefix_key(text: str) -> int:
    """Return the first eight bytes of `text` as one big-endian number."""
    return int.from_bytes(text.encode()[:WIDTH].ljust(WIDTH, b"\0"), "big")


def last_key(text: str) -> int:
    """Return the largest key of what begins with `text`."""
    return int.from_bytes(text.encode()[:WIDTH].ljust(WIDTH, b"\xff"), "big")


def isin_key(text: str) -> int:
    """Return the number of an ISIN, 0 for what cannot be one."""
    if len(text) != 12 or not (text.isascii() and text.isalnum()):  # noqa: PLR2004 - an ISIN's length
        return 0
    return int(text, 36)


def signature(text: str) -> int:
    """Return the pairs of neighbours in the first eight bytes of `text` as 64 bits."""
    letters = text.encode()[:WIDTH]
    found = 0
    for one, two in itertools.pairwise(letters):
        found |= 1 << ((one * 37 + two * 11) & 63)
    return found


def signatures(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the pairs of neighbouring letters in each key as 64 bits, shape (n,)."""
    letters = words.byteswap().view(np.uint8).reshape(-1, WIDTH)
    found = np.zeros(len(words), np.uint64)
    for at in range(WIDTH - 1):
        one, two = letters[:, at], letters[:, at + 1]
        found |= np.where(two > 0, _BITS[(one * np.uint8(37) + two * np.uint8(11)) & 63], 0)
    return found
