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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breeze_lab.instruments.instrument import KINDS
from breeze_lab.instruments.listed import keys, keys_at, pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.instruments.listed import Listed

__all__ = [
    "CODE",
    "INDEX_NAME",
    "OWN",
    "SYMBOL",
    "build",
    "isin_key",
    "prefix_key",
    "signature",
    "words",
]

#: What kind of name a term is, in the order of precedence.
SYMBOL, OWN, INDEX_NAME, CODE = range(4)
_WIDTH: Final = 8
_NO_ROW: Final = np.uint32(0xFFFFFFFF)
_KINDS_INDEX: Final = KINDS.index("index")
_BITS: Final = np.uint64(1) << np.arange(64, dtype=np.uint64)
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


@dataclass(slots=True)
class Words:
    """The words of all names, of the draft's rows: made while other members are still read.

    Parameters
    ----------
    keys, rows
        Shape (n,): first eight bytes of each word, sorted, and whose it is.
    vocabulary, signatures
        Shape (m,): distinct beginnings that a typing error can be one of.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    vocabulary: NDArray[np.uint64]
    signatures: NDArray[np.uint64]


def words(texts: dict[str, Any]) -> Words:
    """Return the words of a draft's (or any) names and symbols."""
    found, of_row = _words(texts["name"])
    order = _sorted(found)
    found = found[order]
    symbols = keys(_squeezed(texts["symbol"]))
    vocabulary = _vocabulary(np.sort(symbols), found)
    return Words(found, of_row[order], vocabulary, _signatures(vocabulary))


def build(listed: Listed, drafted: Words) -> dict[str, NDArray[Any]]:
    """Return the columns of the index."""
    rank = np.full(drafted.rows.max(initial=0) + 1, _NO_ROW, np.uint32)
    fits = listed.drafted[listed.drafted < len(rank)]
    rank[fits] = np.flatnonzero(listed.drafted < len(rank)).astype(np.uint32)
    word_rows = rank[drafted.rows]
    of_words = drafted.keys
    if (word_rows == _NO_ROW).any():  # a row that was left out has no words
        of_words, word_rows = of_words[word_rows != _NO_ROW], word_rows[word_rows != _NO_ROW]
    names, payload = _names(listed)
    order = np.argsort(names)
    return {
        "names": names[order], "name_rows": payload[order],
        "words": of_words, "word_rows": word_rows,
        "isins": _isins(listed.texts["isin"]), "second_isins": _isins(listed.second),
        "vocabulary": drafted.vocabulary, "signatures": drafted.signatures,
        "pairs": np.bitwise_count(drafted.signatures), "token_numbers": listed.number,
    }  # fmt: skip


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
    found = keys(squeezed)
    payload = np.concatenate([of << np.uint32(2) | np.uint32(kind) for _, of, kind in parts])
    some = found > 0
    return found[some], payload[some]


def _words(array: Any) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return the first eight bytes of every word of every name, and the row of each."""
    names = pc.utf8_upper(array)
    data, begin, length = pieces(names)
    offsets = np.append(begin, begin[-1:] + length[-1:]) if len(names) else np.zeros(1, np.int32)
    data = data[: offsets[-1]]
    inside = _WORD[data]
    # A word begins, and the one before it ends, at the first letter of a row too.
    edge = np.zeros(len(data) + 1, bool)
    edge[offsets] = True
    begins, ends = inside.copy(), inside.copy()
    begins[1:] &= ~inside[:-1] | edge[1:-1]
    ends[:-1] &= ~inside[1:] | edge[1:-1]
    starts = np.flatnonzero(begins)
    lengths = np.flatnonzero(ends) + 1 - starts
    counts = np.diff(np.searchsorted(starts, offsets))
    rows = np.repeat(np.arange(len(names), dtype=np.uint32), counts)
    found = keys_at(data, starts, lengths)
    some = found != prefix_key("&")
    return found[some], rows[some]


def _isins(array: Any) -> NDArray[np.uint64]:
    """Return the number of each ISIN, 0 for what is none; few enough to be looked through."""
    upper = pc.utf8_upper(array)
    length = pieces(upper)[2]
    value, fine = np.zeros(len(length), np.uint64), length == 12  # noqa: PLR2004 - an ISIN's
    for skip, count in ((0, 8), (8, 4)):
        letters = keys(upper, skip)
        for at in range(count):
            digit = _BASE36[letters >> np.uint64(56 - 8 * at) & np.uint64(0xFF)]
            fine &= digit < 36  # noqa: PLR2004 - base 36
            value = value * np.uint64(36) + digit
    found: NDArray[np.uint64] = np.where(fine, value, np.uint64(0))
    return found


def _vocabulary(symbols: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the distinct beginnings of symbols and words that a typing error can be one of."""
    found = _distinct(np.sort(np.concatenate([_distinct(symbols), _distinct(words)])))
    third = (found >> np.uint64(40)) & np.uint64(0xFF)
    first = found >> np.uint64(56)
    kept: NDArray[np.uint64] = found[(third > 0) & (first > ord("9"))]
    return kept


def _sorted(found: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the order of keys of which most are repeated."""
    encoded = pa.array(found).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    if len(distinct) >= 1 << 16:
        return np.argsort(found)
    place = np.empty(len(distinct), np.uint16)
    place[np.argsort(distinct)] = np.arange(len(distinct), dtype=np.uint16)
    # Sixteen bits are sorted by counting, ten times as fast as the keys by comparing.
    return np.argsort(place[encoded.indices.to_numpy()], kind="stable")


def _distinct(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return sorted keys once each; numpy's own `unique` hashes, which takes five times as long."""
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    return keys[first]


def _signatures(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    letters = words.byteswap().view(np.uint8).reshape(-1, _WIDTH)
    found = np.zeros(len(words), np.uint64)
    for at in range(_WIDTH - 1):
        one, two = letters[:, at], letters[:, at + 1]
        found |= np.where(two > 0, _BITS[(one * np.uint8(37) + two * np.uint8(11)) & 63], 0)
    return found
