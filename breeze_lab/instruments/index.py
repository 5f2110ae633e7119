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
from breeze_lab.instruments.keys import CODE, INDEX_NAME, OWN, SYMBOL, prefix_key, signatures
from breeze_lab.instruments.texts import keys, keys_at, pieces, squeezed, upper

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.instruments.listed import Listed

__all__ = ["Words", "build", "words"]

_NO_ROW: Final = np.uint32(0xFFFFFFFF)
_KINDS_INDEX: Final = KINDS.index("index")
#: Letters of a word: digits, letters, ``&`` (M&M) and everything beyond ASCII.
_WORD: Final = np.zeros(256, bool)
_WORD[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ&"]] = True
_WORD[128:] = True
_BASE36: Final = np.full(256, 36, np.uint8)
_BASE36[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"]] = np.arange(36, dtype=np.uint8)
#: Letters of an ISIN.
_ISIN: Final = 12


@dataclass(slots=True)
class Words:
    """The words of all names, of the draft's rows: made while other members are still read.

    Parameters
    ----------
    keys, at
        Shape (k,) and (k + 1,): first eight bytes of each word once, sorted, and where
        its rows begin.
    rows
        Shape (n,): whose the words are.
    vocabulary, signatures
        Shape (m,): distinct beginnings that a typing error can be one of.
    names, name_rows, name_kinds
        Shape (t,): first eight bytes of each name, sorted, whose and what it is.
    isins, second_isins
        Shape (rows,): as numbers, 0 for none.
    """

    keys: NDArray[np.uint64]
    at: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    vocabulary: NDArray[np.uint64]
    signatures: NDArray[np.uint64]
    names: NDArray[np.uint64]
    name_rows: NDArray[np.uint32]
    name_kinds: NDArray[np.uint32]
    isins: NDArray[np.uint64]
    second_isins: NDArray[np.uint64]


def words(texts: dict[str, Any], kind: NDArray[np.uint8]) -> Words:
    """Return the words and names of a draft.

    Parameters
    ----------
    texts
        Arrow text arrays of shape (rows,), by the names in a `Draft`.
    kind
        Shape (rows,): indices into `KINDS`.
    """
    found, of_row = _words(texts["name"])
    order = _sorted(found)
    found = found[order]
    names, name_rows, name_kinds = _names(texts, kind)
    vocabulary = _vocabulary(names[name_kinds != CODE], found)
    first = _firsts(found)
    at = np.append(np.flatnonzero(first), len(found)).astype(np.uint32)
    return Words(
        found[first], at, of_row[order], vocabulary, signatures(vocabulary),
        names, name_rows, name_kinds,
        _isins(texts["isin"]), _second_isins(texts["second"]),
    )  # fmt: skip


def build(listed: Listed, drafted: Words) -> dict[str, NDArray[Any]]:
    """Return the columns of the index, of the rows in their static order."""
    rank = np.full(len(drafted.isins), _NO_ROW, np.uint32)
    rank[listed.drafted] = np.arange(len(listed.drafted), dtype=np.uint32)
    word_rows, at = rank[drafted.rows], drafted.at
    names, name_rows, kinds = drafted.names, rank[drafted.name_rows], drafted.name_kinds
    if len(listed.drafted) < len(rank):  # a row that was left out has no names
        left_out = word_rows == _NO_ROW
        before = np.concatenate([[0], np.cumsum(~left_out)])
        word_rows, at = word_rows[~left_out], before[at].astype(np.uint32)
        there = name_rows != _NO_ROW
        names, name_rows, kinds = names[there], name_rows[there], kinds[there]
    return {
        "names": names, "name_rows": name_rows << np.uint32(2) | kinds,
        "words": drafted.keys, "word_at": at, "word_rows": word_rows,
        "isins": drafted.isins[listed.drafted],
        "second_isins": drafted.second_isins[listed.drafted],
        "vocabulary": drafted.vocabulary, "signatures": drafted.signatures,
        "token_numbers": listed.number,
    }  # fmt: skip


def _names(
    texts: dict[str, Any], kind: NDArray[np.uint8]
) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the key of each name, sorted, its row and its kind."""
    rows = np.arange(len(kind), dtype=np.uint32)
    named = np.flatnonzero(pc.not_equal(texts["listed_as"], "").to_numpy(zero_copy_only=False))
    index = np.flatnonzero(kind == _KINDS_INDEX)
    parts = [
        (texts["short"], rows, SYMBOL),
        (squeezed(texts["listed_as"].take(pa.array(named))), rows[named], OWN),
        (squeezed(texts["name"].take(pa.array(index))), rows[index], INDEX_NAME),
        (squeezed(texts["token"].take(pa.array(index))), rows[index], INDEX_NAME),
        (squeezed(texts["code"]), rows, CODE),
    ]
    found = np.concatenate([keys(array) for array, _, _ in parts])
    whose = np.concatenate([of for _, of, _ in parts])
    kinds = np.repeat(
        np.array([number for *_, number in parts], np.uint32), [len(of) for _, of, _ in parts]
    )
    order = np.argsort(found, kind="stable")  # the codes come nearly sorted
    order = order[found[order] > 0]
    return found[order], whose[order], kinds[order]


def _words(array: Any) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return the first eight bytes of every word of every name, and the row of each."""
    names = upper(array)
    data, begin, length = pieces(names)
    offsets = np.append(begin, begin[-1:] + length[-1:]) if len(names) else np.zeros(1, np.int32)
    data = data[: offsets[-1]]
    inside = _WORD.take(data)
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
    data, starts, length = pieces(upper(array))
    value, fine = np.zeros(len(length), np.uint64), length == _ISIN
    # Every position seen as an ISIN's letters, the next one beginning a byte later.
    padded = np.concatenate([data, np.zeros(_ISIN, np.uint8)])
    everywhere = np.ndarray((len(data) + 1,), f"V{_ISIN}", padded, 0, (1,))
    digits = _BASE36.take(everywhere[starts].view(np.uint8)).reshape(-1, _ISIN)
    for digit in digits.T:
        fine &= digit < 36  # noqa: PLR2004 - base 36
        value = value * np.uint64(36) + digit
    found: NDArray[np.uint64] = np.where(fine, value, np.uint64(0))
    return found


def _second_isins(array: Any) -> NDArray[np.uint64]:
    """Return the number of each second ISIN, which only funds have."""
    some = pieces(array)[2] > 0
    found = np.zeros(len(some), np.uint64)
    found[some] = _isins(array.filter(pa.array(some)))
    return found


def _vocabulary(symbols: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the distinct beginnings of symbols and words that a typing error can be one of."""
    both = np.concatenate([_distinct(symbols), _distinct(words)])
    found = _distinct(np.sort(both, kind="stable"))  # merges what is two sorted runs
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
    return keys[_firsts(keys)]


def _firsts(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return where sorted keys change."""
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    return first
