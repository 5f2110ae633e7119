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

if TYPE_CHECKING:
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
        self._symbols = pc.replace_substring(pc.utf8_upper(rows.texts["symbol"]), " ", "")
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
        where = pa.array(odd)
        columns = [
            array.take(where).to_pylist()
            for array in (self._symbols, *(self._texts[n] for n in ("series", "token", "code")))
        ]
        spelled = self._texts["symbol"].take(where).to_pylist()
        rows = sorted(range(len(odd)), key=lambda i: (odd[i] not in first, i))
        wanted = [
            _spellings(
                int(self._exchange[odd[at]]), spelled[at], *(column[at] for column in columns[1:])
            )
            for at in range(len(odd))
        ]
        self._taken = self._met({squeeze(names_[0]) for names_ in wanted}, crowd)
        for at in rows:
            row, symbol = int(odd[at]), columns[0][at]
            exchange = int(self._exchange[row])
            if row in first and self._free(exchange, symbol):
                continue
            for number, name in enumerate(wanted[at]):
                if number:  # seldom needed, so looked up one by one
                    self._taken |= self._met({squeeze(name)}, crowd)
                if self._free(exchange, squeeze(name)):
                    names[row] = name
                    break
            else:
                self._leave_out(row, kept)
        self._repeated(np.flatnonzero(fund), kept)
        mask = np.zeros(len(group), bool)
        mask[list(names)] = True
        some = pa.array([names[row] for row in sorted(names)], pa.string())
        none = pa.repeat(pa.scalar("", pa.string()), len(group))
        given = pc.replace_with_mask(none, pa.array(mask), some)
        given = pc.if_else(pa.array(fund), self._texts["code"], given)
        return given, kept

    def _met(self, names: set[str], crowd: NDArray[np.bool_]) -> set[tuple[int, str]]:
        """Return which of the names a row has already that shares its symbol with none."""
        known = pc.is_in(self._symbols, pa.array(sorted(names), pa.string()))
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
    ) -> set[int]:
        """Return the rows that the bare symbol means: of each group the best, if it is one."""
        best: dict[int, tuple[int, int, int]] = {}
        for row in odd:
            if empty[row]:
                continue
            tier = int(self._tier[row])
            known = best.get(int(group[row]))
            if known is None or tier < known[0]:
                best[int(group[row])] = (tier, int(row), 1)
            elif tier == known[0]:
                best[int(group[row])] = (tier, known[1], known[2] + 1)
        return {row for _, row, count in best.values() if count == 1}

    def _free(self, exchange: int, name: str) -> bool:
        if not name or (exchange, name) in self._taken:
            return False
        self._taken.add((exchange, name))
        return True


def _spellings(exchange: int, symbol: str, series: str, token: str, code: str) -> list[str]:
    """Return names for a row that shares its symbol, the most usual first."""
    if exchange == _NSE:
        return [f"{symbol}-{series}", f"{symbol}~{code}"]  # as exchange and terminals write it
    return [*([token] if token.isdigit() and int(token) else []), f"{symbol}~{code}"]
