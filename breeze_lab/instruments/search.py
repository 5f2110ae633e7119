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
from breeze_lab.instruments.book import ROOM
from breeze_lab.instruments.instrument import EXCHANGES
from breeze_lab.instruments.keys import CODE, WIDTH, last_key, prefix_key, signature
from breeze_lab.instruments.tiers import LIQUID, SHARES

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
_FUZZY_WORDS: Final = 3
_LOST: Final = 3
_ROWS: Final = 40
_ALIKE: Final = 0.6
_ALTERNATIVES: Final = 6
#: Candidates of an ambiguity.
_MOST: Final = 20
_MF: Final = EXCHANGES.index("MF")


def words_of(text: str) -> list[str]:
    """Return the words of a text in capitals, as company names are split."""
    return [word for word in _WORDS.findall(text.upper()) if word != "&"]


class Search:
    """Searches one master."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._vocabulary = book.columns.array("vocabulary")
        self._signatures = book.columns.array("signatures")

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
        understood = bool(rows.rows)
        self._begun(rows, text, allowed, today)
        if not understood and len(rows.rows) < min(_FEW, limit):
            first = text.partition(" ")[0]
            if first != text and not rows.rows and self._exact(first):
                # Half a contract that exists in no way: what its first word is goes on showing.
                rows.add(self._exact(first))
                self._begun(rows, first, allowed, today)
            else:
                rows.add(self.alike(text))
        return [self._book.instrument(row) for row in rows.rows]

    def _begun(self, rows: _Found, text: str, allowed: set[Exchange], today: date) -> None:
        """Add what begins with a text or has its words."""
        if not rows.full:
            self._around(rows, text, today)
        if not rows.full:
            rows.add(self._beginning(spoken.squeeze(text), allowed, today))
        if not rows.full:
            rows.add(self.with_words(words_of(text)))

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
        if match := ROOM.fullmatch(text):
            found += book.in_room(match[1], match[2])
        if not found:
            company = self.companies(text, EXCHANGES)
            found += company if len({book.text("isin", row) for row in company}) == 1 else []
        funds = [row for row in found if row < book.listed and book.exchange[row] == _MF]
        return [*(row for row in found if row not in funds), *funds]

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
        if len(prefix) >= 4 and prefix.startswith("IN"):  # noqa: PLR2004 - of an ISIN
            found = np.union1d(found, self._book.isin_starting(prefix))
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
        if all(len(word.encode()) < WIDTH for word in words):  # keys told all apart
            return list(map(int, found[:most]))
        kept = []
        for row in found.tolist():
            if self._has(row, words, whole=whole):
                kept.append(row)
                if len(kept) >= most:
                    break
        return kept

    def companies(self, text: str, exchanges: Iterable[Exchange]) -> list[int]:
        """Return the rows of the one company that a text can mean, else of all it can mean.

        Every word must be in the name. Shares come before units of funds and
        bonds, whose names hold their issuer's; a name that is nothing but the
        words before those that hold more.
        """
        book, allowed = self._book, set(exchanges)
        words = [word for word in words_of(text) if word not in NOISE]
        found = [
            row for row in self.with_words(words, whole=True)
            if EXCHANGES[book.exchange[row]] in allowed
        ]  # fmt: skip
        shares = [row for row in found if book.tier[row] in SHARES]
        for rows in (shares, found):
            alone = [row for row in rows if self._name_words(row) == words]
            for some in (alone, rows):
                if len({book.text("isin", row) or f"row {row}" for row in some}) == 1:
                    return some
            if rows:
                return rows[:_MOST]
        return []

    def _name_words(self, row: int) -> list[str]:
        return [word for word in words_of(self._book.text("name", row)) if word not in NOISE]

    def _mask(self, word: str, *, whole: bool) -> NDArray[np.bool_]:
        book = self._book
        mask = np.zeros(book.listed, bool)
        first = prefix_key(word)
        last = first if whole else last_key(word)
        mask[book.rows_with_words(first, last)] = True
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
        # Numbers are not mistyped names, and three words tell a company.
        words = [word for word in words_of(text) if word not in NOISE and not word.isdecimal()]
        words = words[:_FUZZY_WORDS]
        if not words:
            return []
        squeezed = spoken.squeeze(text)
        found = self._alike_rows(
            [[*self._known(word), *self._spelled_like(word)] for word in words]
        )
        if len(words) > 1:
            found += self._alike_rows([self._spelled_like(squeezed)])
        scored = [(-self._likeness(row, squeezed, words), row) for row in dict.fromkeys(found)]
        return [row for score, row in sorted(scored) if -score >= _ALIKE]

    def _likeness(self, row: int, squeezed: str, words: list[str]) -> float:
        """Return how like a row's symbol or words are to what was typed, from 0 to 1."""
        from rapidfuzz.distance import OSA  # noqa: PLC0415 - only a wrong name needs it

        alike = OSA.normalized_similarity
        by_symbol = alike(squeezed, spoken.squeeze(self._book.text("symbol", row)))
        of_name = words_of(self._book.text("name", row))[:_MAX_TERMS]
        found = [max((alike(word, each) for each in of_name), default=0.0) for word in words]
        by_words = 0.95 * sum(found) / len(words) - 0.01 * abs(len(of_name) - len(words))
        return round(max(by_symbol, by_words), 3)

    def _known(self, word: str) -> list[int]:
        """Return the key of a word that names have, for the words that were typed right."""
        key = prefix_key(word)
        return [key] if len(self._book.rows_with_words(key, key)) else []

    def _spelled_like(self, word: str) -> list[int]:
        """Return the beginnings of known words that are most like `word`."""
        from rapidfuzz.distance import OSA  # noqa: PLC0415 - only a wrong name needs it

        wanted = signature(word)
        shared = np.bitwise_count(self._signatures & np.uint64(wanted))
        # A slip costs at most three pairs of neighbours.
        least = max(wanted.bit_count() - _LOST, 1)
        close = np.flatnonzero(shared >= least)
        if len(close) > _CANDIDATES:
            # Twice the shared pairs over all pairs: Dice's measure.
            pairs = np.bitwise_count(self._signatures[close]) + np.float32(wanted.bit_count())
            close = close[np.argsort(shared[close] / pairs)[-_CANDIDATES:]]
        start = word.encode()[:WIDTH].decode("utf-8", "ignore")
        scored = []
        for key in self._vocabulary[close].tolist():
            spelled = key.to_bytes(WIDTH, "big").rstrip(b"\0").decode("utf-8", "ignore")
            likeness = OSA.normalized_similarity(start, spelled)
            if likeness >= _ALIKE:
                scored.append((-likeness, key))
        return [key for _, key in sorted(scored)[:_ALTERNATIVES]]

    def _alike_rows(self, alternatives: list[list[int]]) -> list[int]:
        """Return rows that have one of the alternatives for every word, or for any."""
        book = self._book
        masks = []
        for keys in alternatives:
            mask = np.zeros(book.listed, bool)
            for key in keys:
                mask[book.rows_with_words(key, key)] = True
                mask[book.with_name_key(key)] = True
            masks.append(mask)
        found = np.flatnonzero(np.logical_and.reduce(masks))
        if not len(found):
            found = np.flatnonzero(np.logical_or.reduce(masks))
        return list(map(int, found[:_ROWS]))


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
