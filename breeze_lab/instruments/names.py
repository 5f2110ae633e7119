"""A name of its own for every listed row, where the symbol alone is not one row's.

A company's bonds, warrants and old listings carry its symbol; most indices of
BSE and a thousand dead shares carry none. The bare symbol goes to the row that
people mean, when there is one such row; if there is not, nobody gets it and
the name asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breeze_lab.instruments.instrument import EXCHANGES
from breeze_lab.instruments.spoken import squeeze
from breeze_lab.instruments.texts import blank, replaced, squeezed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from breeze_lab.instruments.listed import Draft

__all__ = ["give"]

_NSE, _MF = EXCHANGES.index("NSE"), EXCHANGES.index("MF")


def give(rows: Draft) -> tuple[Any, NDArray[np.bool_]]:
    """Return the names that differ from the symbol (empty elsewhere), and which rows are kept.

    A row is left out, with a line in ``rows.skipped``, only when another has
    its exchange, symbol and code.
    """
    return _Names(rows).give()


class _Names:
    """Gives each row a name that no other row of its exchange has."""

    def __init__(self, rows: Draft) -> None:
        self._rows, self._tier = rows, rows.tier
        self._texts, self._exchange = rows.texts, rows.exchange
        self._symbols = rows.texts["short"]
        self._taken: set[tuple[int, str]] = set()

    def give(self) -> tuple[Any, NDArray[np.bool_]]:
        """Return the names that differ from the symbol, and which rows are kept."""
        encoded = self._symbols.dictionary_encode()
        group = encoded.indices.to_numpy().astype(np.int64) * len(EXCHANGES) + self._exchange
        empty = pc.equal(self._symbols, "").to_numpy(zero_copy_only=False)
        # A scheme's code is its house's own, so a fund goes by both.
        fund = self._exchange == _MF
        crowd = ((np.bincount(group)[group] > 1) | empty) & ~fund
        odd = np.flatnonzero(crowd)
        names: dict[int, str] = {}
        kept = np.ones(len(group), bool)
        first = self._firsts(odd, group, empty)
        symbols = self._symbols.take(pa.array(first)).to_pylist()
        self._taken.update(zip(self._exchange[first].tolist(), symbols, strict=True))
        odd = odd[~np.isin(odd, first)]
        where = pa.array(odd)
        texts = {n: self._texts[n].take(where) for n in ("symbol", "series", "token", "code")}
        exchanges = self._exchange[odd]
        usual = _usual(exchanges, texts)
        # Squeezed all at once: one by one is half the work of naming.
        short_of = squeezed(usual)
        self._taken |= self._met(pc.unique(short_of), crowd)
        of = zip(
            odd.tolist(), exchanges.tolist(), usual.to_pylist(), short_of.to_pylist(), strict=True
        )
        for row, exchange, name, short in of:
            if self._free(exchange, short):
                names[row] = name
                continue
            last = f"{self._texts['symbol'][row]}~{self._texts['code'][row]}"
            self._taken |= self._met(pa.array([squeeze(last)]), crowd)
            if self._free(exchange, squeeze(last)):
                names[row] = last
            else:
                self._leave_out(row, kept)
        self._repeated(np.flatnonzero(fund), kept)
        some = pa.array(list(names.values()), pa.string())
        given = replaced(blank(len(group)), np.array(list(names), np.int64), some)
        given = pc.if_else(pa.array(fund), self._texts["code"], given)
        return given, kept

    def _met(self, names: Any, crowd: NDArray[np.bool_]) -> set[tuple[int, str]]:
        """Return which of the names a row has already that shares its symbol with none."""
        known = pc.is_in(self._symbols, names)
        there = known.to_numpy(zero_copy_only=False) & ~crowd
        symbols = self._symbols.filter(pa.array(there)).to_pylist()
        return set(zip(self._exchange[there].tolist(), symbols, strict=True))

    def _repeated(self, rows: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
        """Leave out the funds whose code an earlier row has."""
        codes = self._texts["code"].take(pa.array(rows)).dictionary_encode()
        if len(codes.dictionary) == len(rows):
            return
        seen: set[int] = set()
        for row, code in zip(rows.tolist(), codes.indices.to_pylist(), strict=True):
            if code in seen:
                self._leave_out(row, kept)
            seen.add(code)

    def _leave_out(self, row: int, kept: NDArray[np.bool_]) -> None:
        kept[row] = False
        exchange = EXCHANGES[self._exchange[row]]
        symbol, code = (self._texts[name][row].as_py() for name in ("symbol", "code"))
        self._rows.skipped.append((
            self._rows.members[self._rows.member[row]], int(self._rows.lines[row]),
            f"it repeats the name {exchange}:{symbol} and the code {code}",
        ))  # fmt: skip

    def _firsts(
        self, odd: NDArray[np.int64], group: NDArray[np.int64], empty: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the rows that the bare symbol means: of each group the best, if it is one."""
        rows = odd[~empty[odd]]
        # By group, and inside it by tier: one sort tells the best and whether it is alone.
        order = np.lexsort((rows, self._tier[rows], group[rows]))
        rows = rows[order]
        of, tier = group[rows], self._tier[rows]
        best = np.append(True, of[1:] != of[:-1])[: len(rows)]
        alone = np.append((of[1:] != of[:-1]) | (tier[1:] != tier[:-1]), True)[: len(rows)]
        found: NDArray[np.int64] = rows[best & alone]
        return found

    def _free(self, exchange: int, name: str) -> bool:
        if not name or (exchange, name) in self._taken:
            return False
        self._taken.add((exchange, name))
        return True


def _usual(exchanges: NDArray[np.uint8], texts: Mapping[str, Any]) -> Any:
    """Return the usual name of each row that shares its symbol."""
    nse = pa.array(exchanges == _NSE)
    # As exchange and terminals write it.
    dashed = pc.binary_join_element_wise(texts["symbol"], texts["series"], "-")
    coded = pc.binary_join_element_wise(texts["symbol"], texts["code"], "~")
    number = pc.match_substring_regex(texts["token"], "^0*[1-9][0-9]*$")
    return pc.if_else(nse, dashed, pc.if_else(number, texts["token"], coded))
