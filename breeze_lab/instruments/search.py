"""Search as you type: what a few letters, words, a typing error or half a contract lead to.

Everything is in the static order already, so a search is a few ranges of
sorted numbers and no scoring of thousands of rows. Fuzzy comparison comes only
when too little was found, and only over distinct words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.instruments import phrases, spoken
from breeze_lab.instruments.index import CODE, prefix_key, signature
from breeze_lab.instruments.instrument import EXCHANGES
from breeze_lab.instruments.listed import LIQUID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from numpy.typing import NDArray

    from breeze_lab.instruments.book import Book, Of
    from breeze_lab.instruments.instrument import Exchange, Instrument

__all__ = ["NOISE", "Search", "words_of"]

#: Words of company names that tell none apart.
NOISE: Final = frozenset({"LTD", "LIMITED", "LIMITE", "LIMIT", "LIMI", "LIM", "LI", "THE", "INC"})
_WORDS: Final = re.compile(r"[^\W_&]+(?:&[^\W_&]+)*|&", re.UNICODE)
_MAX_TEXT: Final = 120
_MAX_TERMS: Final = 8
#: How many commodities and pairs come before the illiquid shares of the same name.
_PAIRS: Final = 4
_FUTURES, _OPTIONS = 3, 4
#: Fewer answers than this call for the fuzzy search.
_FEW: Final = 3
_CANDIDATES: Final = 150
_ALIKE: Final = 0.6
_ALTERNATIVES: Final = 6


def words_of(text: str) -> list[str]:
    """Return the words of a text in capitals, as company names are split."""
    return [word for word in _WORDS.findall(text.upper()) if word != "&"]


class Search:
    """Searches one master."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._words, self._word_rows = book.columns.array("words"), book.columns.array("word_rows")
        self._vocabulary = book.columns.array("vocabulary")
        self._signatures = book.columns.array("signatures")
        self._pairs = book.columns.array("pairs")

    def search(
        self, text: str, limit: int, exchanges: Iterable[Exchange], today: date
    ) -> list[Instrument]:
        """Return the instruments a text leads to, best first; nothing raises."""
        text = " ".join(text.upper().split())[:_MAX_TEXT].strip()
        if not text or limit <= 0:
            return []
        allowed = set(exchanges)
        rows = _Found(self._book, limit, allowed)
        rows.add(self._exact(text))
        rows.add(phrases.contracts(self._book, text, limit, allowed, today))
        if not rows.full:
            self._around(rows, text, today)
        if not rows.full:
            rows.add(self._beginning(spoken.squeeze(text), allowed, today))
        if not rows.full:
            rows.add(self.with_words(words_of(text)))
        if len(rows.rows) < min(_FEW, limit):
            rows.add(self.alike(text))
        return [self._book.instrument(row) for row in rows.rows]

    def nearest(
        self, text: str, limit: int, exchanges: Iterable[Exchange], today: date
    ) -> list[Instrument]:
        """Return what is nearest to a name that nothing has: spellings first, then beginnings."""
        text = " ".join(text.upper().split())[:_MAX_TEXT].strip()
        rows = _Found(self._book, limit, set(exchanges))
        for count, more in enumerate((self.alike(text), self.with_words(words_of(text)))):
            rows.add(more)
            if not count and len(words_of(text)) > 1:
                rows.add(self.alike(words_of(text)[0]))
        found = [self._book.instrument(row) for row in rows.rows]
        return found or self.search(text, limit, exchanges, today)

    # -- steps --------------------------------------------------------------

    def _exact(self, text: str) -> list[int]:
        """Return the rows called exactly so: by key, symbol, code, ISIN or token."""
        book = self._book
        found = [row for row in [book.key(text)] if row is not None]
        named = book.named(spoken.squeeze(text))
        alive = sorted(named, key=lambda pair: (not book.is_tradable(pair[1]), pair))
        found += [row for kind, row in alive if kind != CODE]
        found += [row for kind, row in alive if kind == CODE]
        found += book.with_isin(text)
        found += book.with_token(text, EXCHANGES)
        return found

    def _around(self, rows: _Found, text: str, today: date) -> None:
        """Add the near contracts of an underlying that was named: futures, then at the money."""
        for of in self._book.of_name.get(spoken.squeeze(text), ())[:2]:
            rows.add(phrases.futures(self._book, of, today, _FUTURES))
            rows.add(phrases.at_the_money(self._book, of, today, _OPTIONS))

    def _beginning(self, prefix: str, allowed: set[Exchange], today: date) -> list[int]:
        """Return rows whose symbol or code begins so; commodities stand among the liquid."""
        if not prefix:
            return []
        found = self._book.starting(prefix)
        cut = int(np.searchsorted(self._book.tier[found], LIQUID, "right"))
        others: list[int] = []
        for of in self._unlisted:
            if of.exchange in allowed and _begins(of, prefix):
                others += phrases.futures(self._book, of, today, 1)
            if len(others) >= _PAIRS:
                break
        few: list[int] = found[:200].tolist()
        return [*few[:cut], *others, *few[cut:]]

    @property
    def _unlisted(self) -> list[Of]:
        """Underlyings that no listed row stands for."""
        return [of for of in self._book.underlyings if of.exchange in ("MCX", "NDX")]

    def with_words(self, words: list[str], *, whole: bool = False, most: int = 200) -> list[int]:
        """Return listed rows in whose name or symbol every word begins a word, best first.

        Parameters
        ----------
        whole
            Words must be whole words of the name.
        """
        if not words or len(words) > _MAX_TERMS:
            return []
        mask = self._mask(words[0], whole=whole)
        for word in words[1:]:
            mask &= self._mask(word, whole=whole)
        found = np.flatnonzero(mask)
        if all(len(word.encode()) < 8 for word in words):  # noqa: PLR2004 - keys told all apart
            return list(map(int, found[:most]))
        kept = []
        for row in found.tolist():
            if self._has(row, words, whole=whole):
                kept.append(row)
                if len(kept) >= most:
                    break
        return kept

    def _mask(self, word: str, *, whole: bool) -> NDArray[np.bool_]:
        book = self._book
        mask = np.zeros(book.listed, bool)
        first = prefix_key(word)
        last = first if whole else int.from_bytes(word.encode()[:8].ljust(8, b"\xff"), "big")
        low, high = book.range(self._words, first, last)
        mask[self._word_rows[low:high]] = True
        if not whole:
            mask[book.starting(word)] = True
        return mask

    def _has(self, row: int, words: list[str], *, whole: bool) -> bool:
        book = self._book
        of_name = words_of(book.text("name", row))
        if whole:
            return set(words) <= set(of_name)
        spelled = (*of_name, spoken.squeeze(book.text("symbol", row)), book.text("code", row))
        return all(any(each.startswith(word) for each in spelled) for word in words)

    # -- typing errors ------------------------------------------------------

    def alike(self, text: str) -> list[int]:
        """Return listed rows whose symbol or words are nearly `text`, nearest first."""
        words = words_of(text)[:_MAX_TERMS]
        if not words:
            return []
        squeezed = spoken.squeeze(text)
        found = self._alike_rows(
            [[*self._known(word), *self._spelled_like(word)] for word in words]
        )
        if len(words) > 1:
            found += self._alike_rows([self._spelled_like(squeezed)])
        from rapidfuzz.distance import OSA  # noqa: PLC0415 - only a wrong name needs it

        book = self._book

        def likeness(row: int) -> float:
            of_name = words_of(book.text("name", row))
            symbol = spoken.squeeze(book.text("symbol", row))
            by_symbol = OSA.normalized_similarity(squeezed, symbol)
            by_words = sum(
                max((OSA.normalized_similarity(word, each) for each in of_name), default=0.0)
                for word in words
            ) / len(words)
            return max(by_symbol, 0.95 * by_words - 0.01 * abs(len(of_name) - len(words)))

        scored = [(-round(likeness(row), 3), row) for row in dict.fromkeys(found)]
        return [row for score, row in sorted(scored) if -score >= _ALIKE]

    def _known(self, word: str) -> list[int]:
        """Return the key of a word that names have, for the words that were typed right."""
        low, high = self._book.range(self._words, prefix_key(word), prefix_key(word))
        return [prefix_key(word)] if high > low else []

    def _spelled_like(self, word: str) -> list[int]:
        """Return the beginnings of known words that are most like `word`."""
        from rapidfuzz.distance import OSA  # noqa: PLC0415 - only a wrong name needs it

        wanted = np.uint64(signature(word))
        count = int(np.bitwise_count(wanted))
        shared = np.bitwise_count(self._signatures & wanted)
        # Twice the shared pairs over all pairs: Dice's measure.
        score = (2.0 * shared) / np.maximum(self._pairs + np.uint8(count), 1)
        many = min(_CANDIDATES, len(score))
        if not many:
            return []
        best = np.argpartition(-score, many - 1)[:many]
        start = word.encode()[:8].decode("utf-8", "ignore")
        close = []
        for key in self._vocabulary[best].tolist():
            spelled = key.to_bytes(8, "big").rstrip(b"\0").decode("utf-8", "ignore")
            close.append((-OSA.normalized_similarity(start, spelled), key))
        return [key for likeness, key in sorted(close)[:_ALTERNATIVES] if -likeness >= _ALIKE]

    def _alike_rows(self, alternatives: list[list[int]]) -> list[int]:
        """Return rows that have one of the alternatives for every word, or for any."""
        book = self._book
        masks = []
        for keys in alternatives:
            mask = np.zeros(book.listed, bool)
            for key in keys:
                low, high = book.range(self._words, key, key)
                mask[self._word_rows[low:high]] = True
                mask[book.with_name_key(key)] = True
            masks.append(mask)
        every = np.logical_and.reduce(masks)
        found = np.flatnonzero(every)
        if not len(found):
            found = np.flatnonzero(np.logical_or.reduce(masks))
        return list(map(int, found[:60]))


class _Found:
    """Collects rows in order, once each, until there are enough."""

    def __init__(self, book: Book, limit: int, allowed: set[Exchange]) -> None:
        self._book, self._limit, self._allowed = book, limit, allowed
        self._all = len(allowed) == len(EXCHANGES)
        self.rows: dict[int, None] = {}

    @property
    def full(self) -> bool:
        """Whether there are enough."""
        return len(self.rows) >= self._limit

    def add(self, rows: Iterable[int]) -> None:
        """Take rows while there is room."""
        for row in rows:
            if self.full:
                return
            if self._all or self._exchange(row) in self._allowed:
                self.rows.setdefault(row)

    def _exchange(self, row: int) -> Exchange:
        book = self._book
        if row < book.listed:
            return EXCHANGES[int(book.exchange[row])]
        of: Of = book.underlyings[int(book.contract[row - book.listed]) >> 52]
        return of.exchange


def _begins(of: Of, prefix: str) -> bool:
    return of.symbol.startswith(prefix) or of.code.startswith(prefix)
