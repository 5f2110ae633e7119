"""What is listed rather than contracted: shares, bonds, indices, pairs, funds.

Gives each row a name of its own and the one static order in which everything
is shown. The master has no turnover of shares, so liquidity is read off what
it has: being an underlying (and the open interest there), being traded in the
year, the exchange's series, the width of the price band, and the class of
security that positions 8 and 9 of an ISIN tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breeze_lab.instruments.instrument import EXCHANGES, INDEX_SYMBOLS, KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from breeze_lab.instruments.contracts import Underlying
    from breeze_lab.instruments.report import Report
    from breeze_lab.instruments.tables import Table

__all__ = ["TEXTS", "Listed", "gather"]

#: The text columns of a listed row.
TEXTS: Final = ("symbol", "code", "token", "series", "name", "isin", "listed_as")
_NSE, _BSE, _NDX, _MF = (EXCHANGES.index(name) for name in ("NSE", "BSE", "NDX", "MF"))
_EQUITY, _INDEX, _SPOT, _FUND = (KINDS.index(n) for n in ("equity", "index", "spot", "fund"))
#: Tiers of the static order. Up to `LIQUID` a row comes before commodities of the same name.
LIQUID: Final = 2
_TRADED: Final = {"underlying index": 0, "underlying": 1, "index": 2, "main": 3, "unit": 4,
                  "other": 5, "only BSE": 6, "twin": 7, "debt": 8, "dead": 9, "fund": 10}  # fmt: skip
#: The tiers that hold shares of companies.
SHARES: Final = frozenset(_TRADED[n] for n in ("underlying", "main", "other", "only BSE", "twin"))


@dataclass(slots=True)
class Listed:
    """All listed rows, most liquid first.

    Parameters
    ----------
    texts
        Arrow text arrays by name, see `TEXTS`.
    exchange, kind, tier
        Shape (n,): indices into `EXCHANGES` and `KINDS`, and the tier of the order.
    tradable
        Shape (n,): whether it can be streamed.
    lot, tick
        Shape (n,); the tick in ten-thousandths of a rupee.
    second
        Shape (n,): a second ISIN, of funds.
    """

    texts: dict[str, Any]
    exchange: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    tier: NDArray[np.uint8]
    tradable: NDArray[np.bool_]
    lot: NDArray[np.uint32]
    tick: NDArray[np.uint32]
    second: Any


@dataclass(slots=True)
class _Rows:
    """Rows of one member, before ordering."""

    texts: dict[str, Any]
    exchange: int
    kind: NDArray[np.uint8]
    lot: NDArray[np.float64]
    tick: NDArray[np.float64]
    high: NDArray[np.float64]
    band: NDArray[np.float64]
    member: str
    lines: NDArray[np.int64]


def gather(
    tables: Sequence[Table],
    spots: Sequence[tuple[Table, NDArray[np.int64]]],
    underlyings: Sequence[Underlying],
    report: Report,
) -> Listed:
    """Return the listed rows of `tables` and the `spots`, each with a name of its own."""
    parts = [_cash(table) for table in tables if table.layout.exchange != "MF"]
    parts += [_pairs(table, rows) for table, rows in spots]
    parts += [_funds(table) for table in tables if table.layout.exchange == "MF"]
    texts = {}
    for name in ("symbol", "code", "token", "series", "name", "isin", "second"):
        arrays = [part.texts.get(name, _blank(len(part.lines))) for part in parts]
        texts[name] = _clean(pa.concat_arrays(arrays))
    exchange = np.concatenate([np.full(len(part.lines), part.exchange, np.uint8) for part in parts])
    kind = np.concatenate([part.kind for part in parts])
    lines = np.concatenate([part.lines for part in parts])
    member = np.repeat(np.arange(len(parts)), [len(part.lines) for part in parts])
    texts["symbol"] = _symbols(texts, kind, exchange)
    letters = matrix(texts["isin"], 12)
    tradable = _tradable(texts["token"], exchange, kind, report)
    tier, weight = _tiers(
        texts, exchange, kind, tradable, letters,
        np.concatenate([part.high for part in parts]), underlyings,
    )  # fmt: skip
    names = _Names(texts, exchange, tier, lines, [part.member for part in parts], member)
    texts["listed_as"], kept = names.give(report)
    for number, part in enumerate(parts):
        report.kept[part.member] = report.kept.get(part.member, 0) + int(
            kept[member == number].sum()
        )
    band = np.concatenate([part.band for part in parts])
    order = np.lexsort((np.arange(len(tier)), -np.round(band, 2), -weight, tier))
    order = order[kept[order]]
    taken = pa.array(order)
    return Listed(
        {name: texts[name].take(taken) for name in TEXTS},
        exchange[order], kind[order], tier[order], tradable[order],
        np.clip(np.concatenate([part.lot for part in parts])[order], 1, 1e9).astype(np.uint32),
        np.rint(np.clip(np.concatenate([part.tick for part in parts])[order], 0, 1e5) * 1e4).astype(
            np.uint32
        ),
        texts["second"].take(taken),
    )  # fmt: skip


def _blank(size: int) -> Any:
    return pa.array([""] * size, pa.string())


def _cash(table: Table) -> _Rows:
    columns, size = table.columns, len(table)
    nse = table.layout.exchange == "NSE"
    token = columns["token"]
    if nse:
        numeric = pc.match_substring_regex(token, "^[0-9]+$").to_numpy(zero_copy_only=False)
        index = pc.equal(columns["series"], "0").to_numpy(zero_copy_only=False) & ~numeric
    else:  # SENSEX has its name for a token; the other indices of BSE have 9999xx and no ISIN
        index = pc.equal(token, "SENSEX").to_numpy(zero_copy_only=False) | (
            pc.match_substring_regex(token, "^9999[0-9]{2}$").to_numpy(zero_copy_only=False)
            & pc.equal(columns["isin"], "").to_numpy(zero_copy_only=False)
        )
    up, down = table.number("up"), table.number("down")
    tick = table.number("tick") if nse else np.full(size, 0.05)
    return _Rows(
        {name: columns[name] for name in ("symbol", "code", "token", "series", "name", "isin")},
        _NSE if nse else _BSE,
        np.where(index, _INDEX, _EQUITY).astype(np.uint8),
        table.number("lot"),
        np.where(tick > 0, tick, 0.05),
        table.number("high"),
        np.clip((up - down) / np.maximum(up + down, 1e-9), 0, 1),
        table.layout.member,
        table.lines,
    )


def _pairs(table: Table, rows: NDArray[np.int64]) -> _Rows:
    taken = pa.array(rows)
    size = len(rows)
    texts = {}
    for name in ("symbol", "code", "token", "name"):
        array = table.columns[name].take(taken)
        texts[name] = array if array.type == pa.string() else array.cast(pa.string())
    return _Rows(
        texts, _NDX, np.full(size, _SPOT, np.uint8), table.number("lot")[rows],
        table.number("tick")[rows], np.ones(size), np.zeros(size),
        table.layout.member, table.lines[rows],
    )  # fmt: skip


def _funds(table: Table) -> _Rows:
    columns, size = table.columns, len(table)
    code = pc.binary_join_element_wise(columns["house"], columns["symbol"], "-")
    texts = {name: columns[name] for name in ("symbol", "token", "series", "name")}
    texts |= {
        "code": code,
        "isin": _no_star(columns["isin"]),
        "second": _no_star(columns["second"]),
    }
    nothing = np.zeros(size)
    return _Rows(
        texts, _MF, np.full(size, _FUND, np.uint8), np.ones(size), np.full(size, 0.0001),
        nothing, nothing, table.layout.member, table.lines,
    )  # fmt: skip


def _no_star(array: Any) -> Any:
    return pc.if_else(pc.equal(array, "*"), "", array)


def _clean(array: Any) -> Any:
    """Return texts without outer blanks and control characters."""
    array = pc.utf8_trim_whitespace(array)
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    if (data < 32).any():  # noqa: PLR2004 - the blank; a control character has no business in a name
        array = pc.replace_substring_regex(array, r"[\x00-\x1f]", " ")
    return array


def _symbols(texts: dict[str, Any], kind: NDArray[np.uint8], exchange: NDArray[np.uint8]) -> Any:
    """Return the symbols; an index has the exchange's own, not the master's."""
    symbols = texts["symbol"]
    index = np.flatnonzero(kind == _INDEX)
    where = pa.array(index)
    codes, own = texts["code"].take(where).to_pylist(), symbols.take(where).to_pylist()
    tokens = texts["token"].take(where).to_pylist()
    right = [
        INDEX_SYMBOLS.get(code, symbol or (code if exchange[at] == _BSE else token))
        for at, code, symbol, token in zip(index, codes, own, tokens, strict=True)
    ]
    mask = np.zeros(len(symbols), bool)
    mask[index] = True
    return pc.replace_with_mask(symbols, pa.array(mask), pa.array(right, pa.string()))


def matrix(array: Any, width: int) -> NDArray[np.uint8]:
    """Return the first `width` bytes of each text, zeros behind short ones; shape (n, width)."""
    buffers = array.buffers()
    offsets = np.frombuffer(buffers[1], np.int32)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(buffers[2] or b"", np.uint8)
    return gathered(data, offsets[:-1], np.diff(offsets), width)


def gathered(data: Any, starts: Any, lengths: Any, width: int) -> NDArray[np.uint8]:
    """Return `width` bytes from each start, zeros beyond its length; shape (n, width)."""
    padded = np.concatenate([data, np.zeros(width, np.uint8)])
    found: NDArray[np.uint8] = np.empty((len(starts), width), np.uint8)
    for at in range(width):
        found[:, at] = np.where(lengths > at, padded[starts + np.minimum(at, lengths)], 0)
    return found


def _tradable(
    token: Any, exchange: NDArray[np.uint8], kind: NDArray[np.uint8], report: Report
) -> NDArray[np.bool_]:
    """Return which rows have a token of their own that can be streamed."""
    numeric = pc.match_substring_regex(token, "^[1-9][0-9]{0,8}$").to_numpy(zero_copy_only=False)
    found: NDArray[np.bool_] = (numeric | (kind == _INDEX)) & (exchange != _MF)
    number = pc.if_else(pa.array(numeric & found), token, "0").cast(pa.int64()).to_numpy()
    whole = exchange.astype(np.int64) << 32 | number
    order = np.argsort(whole)
    same = (whole[order[1:]] == whole[order[:-1]]) & (number[order[1:]] > 0)
    twice = np.concatenate([order[1:][same], order[:-1][same]])
    found[twice] = False
    if len(twice):
        shown = sorted({f"{EXCHANGES[exchange[row]]} {number[row]}" for row in twice})
        report.warnings.append(
            f"{len(shown)} tokens stand for several rows, which cannot be streamed: "
            f"{', '.join(shown[:5])}{' …' if len(shown) > 5 else ''}."  # noqa: PLR2004
        )
    return found


def _tiers(
    texts: dict[str, Any], exchange: NDArray[np.uint8], kind: NDArray[np.uint8],
    tradable: NDArray[np.bool_], letters: NDArray[np.uint8], high: NDArray[np.float64],
    underlyings: Sequence[Underlying],
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:  # fmt: skip
    """Return each row's tier, and its weight inside it."""
    of_nse = {u.code: u.turnover for u in underlyings if u.exchange == "NFO"}
    of_bse = {u.code: u.turnover for u in underlyings if u.exchange == "BFO"}
    weight = np.zeros(len(exchange))
    contracted = np.zeros(len(exchange), bool)
    for number, found in ((_NSE, of_nse), (_BSE, of_bse)):
        codes = pa.array(list(found), pa.string())
        at = pc.index_in(texts["code"], codes).to_numpy(zero_copy_only=False)
        known = ~np.isnan(at) & (exchange == number)
        if number == _BSE:
            known &= kind == _INDEX
        weight[known] = np.array([*found.values(), 0.0])[at[known].astype(np.int64)]
        contracted |= known
    ine = (letters[:, :2] == (73, 78)).all(axis=1) & np.isin(letters[:, 2], (69, 57))  # INE, IN9
    share = ine & (letters[:, 7] == 48) & (letters[:, 8] == 49)  # noqa: PLR2004 - "01", a share
    unit = (letters[:, :3] == (73, 78, 70)).all(axis=1)  # INF, a fund's unit
    trust = ine & (letters[:, 7] == 50) & np.isin(letters[:, 8], (51, 53))  # noqa: PLR2004 - "23" "25"
    main = pc.equal(texts["series"], "EQ").to_numpy(zero_copy_only=False)
    twins = pc.is_in(
        texts["isin"],
        texts["isin"].filter(pa.array((exchange == _NSE) & tradable & (letters[:, 0] > 0))),
    ).to_numpy(zero_copy_only=False)
    nse, index, t = exchange == _NSE, kind == _INDEX, _TRADED
    tier = np.select(
        [
            exchange == _MF, contracted & index, contracted & tradable & nse, index & tradable,
            exchange == _NDX, ~tradable | (high <= 0), nse & share & main, nse & (unit | trust),
            nse & share, ~nse & twins, ~nse & (share | unit | trust),
        ],
        [
            t["fund"], t["underlying index"], t["underlying"], t["index"], t["index"], t["dead"],
            t["main"], t["unit"], t["other"], t["twin"], t["only BSE"],
        ],
        t["debt"],
    ).astype(np.uint8)  # fmt: skip
    return tier, weight


class _Names:
    """Gives each row a name that no other row of its exchange has."""

    def __init__(
        self, texts: dict[str, Any], exchange: NDArray[np.uint8], tier: NDArray[np.uint8],
        lines: NDArray[np.int64], members: list[str], member: NDArray[np.int64],
    ) -> None:  # fmt: skip
        self._texts, self._exchange, self._tier = texts, exchange, tier
        self._lines, self._members, self._member = lines, members, member
        squeezed = pc.replace_substring(pc.utf8_upper(texts["symbol"]), " ", "")
        self._symbols = squeezed
        self._taken: set[tuple[int, str]] = set()

    def give(self, report: Report) -> tuple[Any, NDArray[np.bool_]]:
        """Return the names that differ from the symbol, and which rows are kept."""
        prefixed = pc.binary_join_element_wise(
            pa.array(self._exchange.astype(str)), self._symbols, ":"
        )
        encoded = prefixed.dictionary_encode()
        group = encoded.indices.to_numpy()
        empty = pc.equal(self._symbols, "").to_numpy(zero_copy_only=False)
        crowd = (np.bincount(group)[group] > 1) | empty
        odd = np.flatnonzero(crowd)
        plain = pa.array(~crowd)
        self._taken = set(
            zip(
                self._exchange[~crowd].tolist(),
                self._symbols.filter(plain).to_pylist(),
                strict=True,
            )
        )
        names = [""] * len(group)
        kept = np.ones(len(group), bool)
        first = self._firsts(odd, group, empty)
        where = pa.array(odd)
        columns = [
            array.take(where).to_pylist()
            for array in (self._symbols, *(self._texts[n] for n in ("series", "token", "code")))
        ]
        spelled = self._texts["symbol"].take(where).to_pylist()
        rows = sorted(range(len(odd)), key=lambda i: (odd[i] not in first, i))
        for at in rows:
            row, symbol, series, token, code = int(odd[at]), *(column[at] for column in columns)
            exchange = int(self._exchange[row])
            if row in first and self._free(exchange, symbol):
                continue
            for name in _spellings(exchange, spelled[at], series, token, code):
                if self._free(exchange, name.upper().replace(" ", "")):
                    names[row] = name
                    break
            else:
                kept[row] = False
                report.skipped.append((
                    self._members[self._member[row]], int(self._lines[row]),
                    f"it repeats the name {EXCHANGES[exchange]}:{spelled[at]} and the code {code}",
                ))  # fmt: skip
        return pa.array(names, pa.string()), kept

    def _firsts(
        self, odd: NDArray[np.int64], group: NDArray[np.int64], empty: NDArray[np.bool_]
    ) -> set[int]:
        """Return the rows that the bare symbol means: of each group the one best, if there is one."""
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
    if exchange == _MF:
        return [code]
    return [*([token] if token.isdigit() and int(token) else []), f"{symbol}~{code}"]
