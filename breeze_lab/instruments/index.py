"""The search index: what is typed leads to rows, without a single Python string stored.

A name counts by its first eight bytes, taken as one number: sorted numbers
give every prefix as a range, and the few rows of a range are compared in full
when they are shown. Three such lists: names (symbol, name of its own, index
names, ICICI code), words of company names, and ISINs (twelve characters of
base 36, so in full). Rows are in the static order, so the smallest row number
is the best answer. For typing errors every distinct word has a signature, a
bit for each pair of neighbouring letters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breeze_lab.instruments.instrument import EXCHANGES, KINDS
from breeze_lab.instruments.listed import gathered, matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.instruments.contracts import Contracts
    from breeze_lab.instruments.listed import Listed

__all__ = ["CODE", "INDEX_NAME", "OWN", "SYMBOL", "build", "isin_key", "prefix_key", "signature"]

#: What kind of name a term is, in the order of precedence.
SYMBOL, OWN, INDEX_NAME, CODE = range(4)
_WIDTH: Final = 8
_KINDS_INDEX: Final = KINDS.index("index")
_SHIFTS: Final = np.arange(56, -8, -8, dtype=np.uint64)
#: Letters of a word: digits, letters, ``&`` (M&M) and everything beyond ASCII.
_WORD: Final = np.zeros(256, bool)
_WORD[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ&"]] = True
_WORD[128:] = True
_BASE36: Final = np.full(256, 36, np.uint64)
_BASE36[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"]] = np.arange(36, dtype=np.uint64)


def prefix_key(text: str) -> int:
    """Return the first eight bytes of `text` as one big-endian number."""
    return int.from_bytes(text.encode()[:_WIDTH].ljust(_WIDTH, b"\0"), "big")


def isin_key(text: str) -> int:
    """Return the number of an ISIN, 0 for what cannot be one."""
    if len(text) != 12 or not (text.isascii() and text.isalnum()):  # noqa: PLR2004 - an ISIN's length
        return 0
    return int(text, 36)


def signature(text: str) -> int:
    """Return the pairs of neighbours in the first eight bytes of `text` as 64 bits."""
    key = np.array([prefix_key(text)], np.uint64)
    return int(_signatures(key)[0])


def build(listed: Listed, contracts: Contracts) -> dict[str, NDArray[Any]]:
    """Return the columns of the index."""
    size = len(listed.tier)
    names, payload = _names(listed)
    order = np.argsort(names, kind="stable")
    names = names[order]
    words, of_row = _words(listed)
    by_word = np.argsort(words, kind="stable")
    words = words[by_word]
    isins, isin_rows = _isins(listed)
    vocabulary = _vocabulary(names, payload[order], words)
    signatures = _signatures(vocabulary)
    tokens, token_rows = _tokens(listed, contracts, size)
    return {
        "names": names, "name_rows": payload[order],
        "words": words, "word_rows": of_row[by_word],
        "isins": isins, "isin_rows": isin_rows,
        "vocabulary": vocabulary, "signatures": signatures,
        "pairs": np.bitwise_count(signatures),
        "tokens": tokens, "token_rows": token_rows,
    }  # fmt: skip


def _keys(letters: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return rows of eight bytes as big-endian numbers, shape (n,)."""
    return np.ascontiguousarray(letters).view(">u8").ravel().astype(np.uint64)


def _squeezed(array: Any) -> Any:
    return pc.replace_substring(pc.utf8_upper(array), " ", "")


def _names(listed: Listed) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    size = len(listed.tier)
    rows = np.arange(size, dtype=np.uint32)
    texts = listed.texts
    named = np.flatnonzero(pc.not_equal(texts["listed_as"], "").to_numpy(zero_copy_only=False))
    index = np.flatnonzero(listed.kind == _KINDS_INDEX)
    parts = [
        (texts["symbol"], rows, SYMBOL),
        (texts["listed_as"].take(pa.array(named)), rows[named], OWN),
        (texts["name"].take(pa.array(index)), rows[index], INDEX_NAME),
        (texts["token"].take(pa.array(index)), rows[index], INDEX_NAME),
        (texts["code"], rows, CODE),
    ]
    squeezed = _squeezed(pa.concat_arrays([array for array, _, _ in parts]))
    keys = _keys(matrix(squeezed, _WIDTH))
    payload = np.concatenate([of << np.uint32(2) | np.uint32(kind) for _, of, kind in parts])
    some = keys > 0
    return keys[some], payload[some]


def _words(listed: Listed) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return the first eight bytes of every word of every name, and the row of each."""
    names = pc.utf8_upper(listed.texts["name"])
    buffers = names.buffers()
    offsets = np.frombuffer(buffers[1], np.int32)[names.offset : names.offset + len(names) + 1]
    data = np.frombuffer(buffers[2] or b"", np.uint8)[: offsets[-1]]
    inside = _WORD[data]
    before = np.concatenate([[False], inside[:-1]])[: len(inside)]
    edges = offsets[:-1][offsets[:-1] < len(data)]
    before[edges] = False  # a row's first letter begins a word whatever stands before it
    starts = np.flatnonzero(inside & ~before)
    ends = np.flatnonzero(~inside)
    ends = np.unique(np.concatenate([ends, offsets[1:]]))
    stops = ends[np.searchsorted(ends, starts, side="right")] if len(starts) else starts
    rows = (np.searchsorted(offsets, starts, side="right") - 1).astype(np.uint32)
    keys = _keys(gathered(data, starts, stops - starts, _WIDTH))
    some = keys != prefix_key("&")
    return keys[some], rows[some]


def _isins(listed: Listed) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    both = pc.utf8_upper(pa.concat_arrays([listed.texts["isin"], listed.second]))
    letters = _BASE36[matrix(both, 12)]
    value = np.zeros(len(letters), np.uint64)
    for at in range(12):
        value = value * np.uint64(36) + letters[:, at]
    fine = (letters < 36).all(axis=1)  # noqa: PLR2004 - base 36
    rows = np.tile(np.arange(len(listed.tier), dtype=np.uint32), 2)[fine]
    value = value[fine]
    order = np.argsort(value, kind="stable")
    return value[order], rows[order]


def _vocabulary(
    names: NDArray[np.uint64], payload: NDArray[np.uint32], words: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return the distinct beginnings of symbols and words that a typing error can be one of."""
    symbols = names[(payload & np.uint32(3)) != CODE]
    found = np.unique(np.concatenate([symbols, words]))
    third = (found >> np.uint64(40)) & np.uint64(0xFF)
    first = found >> np.uint64(56)
    kept: NDArray[np.uint64] = found[(third > 0) & (first > ord("9"))]
    return kept


def _signatures(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    letters = ((keys[:, None] >> _SHIFTS) & np.uint64(0xFF)).astype(np.uint32)
    found = np.zeros(len(keys), np.uint64)
    for at in range(_WIDTH - 1):
        one, two = letters[:, at], letters[:, at + 1]
        bit = ((one * 37 + two * 11) % 64).astype(np.uint64)
        found |= np.where(two > 0, np.uint64(1) << bit, np.uint64(0))
    return found


def _tokens(
    listed: Listed, contracts: Contracts, size: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return exchange and token of every row as one number, sorted, and the row of each."""
    token = listed.texts["token"]
    numeric = pc.match_substring_regex(token, "^[1-9][0-9]{0,8}$")
    rows = np.flatnonzero(numeric.to_numpy(zero_copy_only=False))
    number = token.take(pa.array(rows)).cast(pa.int64()).to_numpy().astype(np.uint64)
    whole = listed.exchange[rows].astype(np.uint64) << np.uint64(32) | number
    exchange = np.array([EXCHANGES.index(u.exchange) for u in contracts.underlyings], np.uint64)
    if len(exchange):
        of = exchange[(contracts.packed >> np.uint64(52)).astype(np.int64)] << np.uint64(32)
        whole = np.concatenate([whole, of | contracts.token.astype(np.uint64)])
        rows = np.concatenate([rows, np.arange(size, size + len(contracts.packed))])
    order = np.argsort(whole)
    return whole[order], rows[order].astype(np.uint32)
