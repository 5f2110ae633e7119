"""What is listed rather than contracted: shares, bonds, indices, pairs, funds.

Gives each row a name of its own and the one static order in which everything
is shown. The master has no turnover of shares, so liquidity is read off what
it has: being an underlying (and the open interest there), being traded in the
year, the exchange's series, the width of the price band, and the class of
security that positions 8 and 9 of an ISIN tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breeze_lab.instruments import names
from breeze_lab.instruments.instrument import EXCHANGES, INDEX_SYMBOLS, KINDS
from breeze_lab.instruments.texts import blank, keys, letters, pieces, replaced, squeezed
from breeze_lab.instruments.tiers import TIERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from breeze_lab.instruments.contracts import Part, Underlying
    from breeze_lab.instruments.report import Report
    from breeze_lab.instruments.tables import Table

__all__ = ["TEXTS", "Draft", "Listed", "draft", "finish"]

#: Indian companies, and their other securities; units of funds; and classes of security: shares,
#: real estate and infrastructure trusts.
_ISSUERS: Final = np.array([int.from_bytes(b, "big") for b in (b"INE", b"IN9")], np.uint64)
_OFFER: Final = "INE000000"
_UNITS: Final = np.uint64(int.from_bytes(b"INF", "big"))
_TWO: Final = np.array([int.from_bytes(b, "big") for b in (b"01", b"23", b"25")], np.uint64)
_BLANK: Final = 32
#: Of the longest token that is a number.
_DIGITS: Final = 9
#: The text columns of a listed row.
TEXTS: Final = ("symbol", "code", "token", "series", "name", "isin", "listed_as")
_NSE, _BSE, _NDX, _MF = (EXCHANGES.index(name) for name in ("NSE", "BSE", "NDX", "MF"))
_EQUITY, _INDEX, _SPOT, _FUND = (KINDS.index(n) for n in ("equity", "index", "spot", "fund"))


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
    number
        Shape (n,): the token as a number, 0 for a text.
    lot, tick
        Shape (n,); the tick in ten-thousandths of a rupee.
    drafted
        Shape (n,): the row of the draft that each was.
    """

    texts: dict[str, Any]
    exchange: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    tier: NDArray[np.uint8]
    tradable: NDArray[np.bool_]
    number: NDArray[np.uint32]
    lot: NDArray[np.uint32]
    tick: NDArray[np.uint32]
    drafted: NDArray[np.int64]


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


@dataclass(slots=True)
class Draft:
    """All listed rows in the order of the files, named but not yet ranked."""

    texts: dict[str, Any]
    exchange: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    tradable: NDArray[np.bool_]
    number: NDArray[np.uint32]
    lot: NDArray[np.float64]
    tick: NDArray[np.float64]
    high: NDArray[np.float64]
    band: NDArray[np.float64]
    members: list[str]
    member: NDArray[np.int64]
    lines: NDArray[np.int64]
    warnings: list[str]
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    tier: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    kept: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))


def draft(tables: Sequence[Table], pairs: Sequence[Part]) -> Draft:
    """Return the rows of `tables`, and of the spot prices in `pairs`, as one table."""
    parts = [_cash(table) for table in tables if table.layout.exchange != "MF"]
    parts += [_pairs(part.table, part.spots) for part in pairs]
    parts += [_funds(table) for table in tables if table.layout.exchange == "MF"]
    texts = {}
    for name in ("symbol", "code", "token", "series", "name", "isin", "second"):
        arrays = [part.texts.get(name, blank(len(part.lines))) for part in parts]
        texts[name] = _clean(pa.concat_arrays(arrays))
    exchange = np.concatenate([np.full(len(part.lines), part.exchange, np.uint8) for part in parts])
    kind = np.concatenate([part.kind for part in parts])
    texts["symbol"] = _symbols(texts, kind, exchange)
    texts["short"] = squeezed(texts["symbol"])
    warnings: list[str] = []
    tradable, number = _tradable(texts, exchange, kind, warnings)

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    found = Draft(
        texts=texts, exchange=exchange, kind=kind, tradable=tradable, number=number,
        lot=joined("lot"), tick=joined("tick"), high=joined("high"), band=joined("band"),
        members=[part.member for part in parts],
        member=np.repeat(np.arange(len(parts)), [len(part.lines) for part in parts]),
        lines=joined("lines"), warnings=warnings,
    )  # fmt: skip
    found.tier = _tiers(found)
    texts["listed_as"], found.kept = names.give(found)
    return found


def finish(rows: Draft, underlyings: Sequence[Underlying], report: Report) -> Listed:
    """Return the rows in the static order, which the underlyings' turnover leads."""
    report.warnings += rows.warnings
    report.skipped += rows.skipped
    for number, member in enumerate(rows.members):
        count = int(rows.kept[rows.member == number].sum())
        report.kept[member] = report.kept.get(member, 0) + count
    tier, weight = _led(rows, underlyings)
    order = _order(tier, weight, rows.band)
    order = order[rows.kept[order]]
    taken = pa.array(order)
    return Listed(
        {name: rows.texts[name].take(taken) for name in TEXTS},
        rows.exchange[order], rows.kind[order], tier[order],
        rows.tradable[order], rows.number[order],
        np.clip(rows.lot[order], 1, 1e9).astype(np.uint32),
        np.rint(np.clip(rows.tick[order], 0, 1e5) * 1e4).astype(np.uint32),
        order,
    )  # fmt: skip


def _order(
    tier: NDArray[np.uint8], weight: NDArray[np.float64], band: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the rows by tier, weight, width of the band, and the order of the file."""
    # One number each, with the row in its low half: sorting those needs no second pass.
    inside = 100 - np.round(band * 100).astype(np.uint64)
    weighed = np.flatnonzero(weight)
    inside += np.uint64(1 << 20)
    inside[weighed[np.argsort(-weight[weighed])]] = np.arange(len(weighed), dtype=np.uint64)
    whole = tier.astype(np.uint64) << np.uint64(56) | inside << np.uint64(32)
    whole |= np.arange(len(tier), dtype=np.uint64)
    whole.sort(kind="stable")  # which is quick where the files are in order
    found: NDArray[np.int64] = (whole & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return found


def _cash(table: Table) -> _Rows:
    columns, size = table.columns, len(table)
    nse = table.layout.exchange == "NSE"
    token = columns["token"]
    if nse:
        numeric = pc.ascii_is_decimal(token).to_numpy(zero_copy_only=False)
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
    if letters(array).min(initial=_BLANK + 1) > _BLANK:
        return array
    data, starts, length = pieces(array)
    some = length > 0
    starts, ends = starts[some], (starts + length)[some] - 1
    if (data[starts] <= _BLANK).any() or (data[ends] <= _BLANK).any():
        array = pc.utf8_trim_whitespace(array)
        data = letters(array)
    if (data < _BLANK).any():  # a control character has no business in a name
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
    return replaced(symbols, index, pa.array(right, pa.string()))


def _tradable(
    texts: dict[str, Any],
    exchange: NDArray[np.uint8],
    kind: NDArray[np.uint8],
    warnings: list[str],
) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
    """Return which rows have a token of their own that can be streamed, and the numbers."""
    token, isin = texts["token"], texts["isin"]
    digits = pc.and_not(pc.ascii_is_decimal(token), pc.starts_with(token, "0"))
    plain = pc.and_(digits, pc.less_equal(pc.binary_length(token), _DIGITS))
    number = pc.if_else(plain, token, "0").cast(pa.int64()).to_numpy()
    # The window of an offer for sale has a row of its own; it is not the share.
    offer = pc.starts_with(isin, _OFFER).to_numpy(zero_copy_only=False)
    found: NDArray[np.bool_] = ((number > 0) | (kind == _INDEX)) & (exchange != _MF) & ~offer
    whole = np.where(found, exchange.astype(np.int64) << 32 | number, 0)
    ordered = np.sort(whole, kind="stable")  # the files are in long runs
    again = ordered[1:][(ordered[1:] == ordered[:-1]) & (ordered[1:] & 0xFFFFFFFF > 0)]
    if len(again):
        twice = np.flatnonzero(np.isin(whole, again))
        found[twice] = False
        shown = sorted({f"{EXCHANGES[exchange[row]]} {number[row]}" for row in twice})
        warnings.append(
            f"{len(shown)} tokens stand for several rows, which cannot be streamed: "
            f"{', '.join(shown[:5])}{' …' if len(shown) > 5 else ''}."  # noqa: PLR2004
        )
    return found, number.astype(np.uint32)


def _tiers(rows: Draft) -> NDArray[np.uint8]:
    """Return each row's tier, as if nothing were an underlying."""
    texts, exchange, tradable = rows.texts, rows.exchange, rows.tradable
    first, second = keys(texts["isin"]), keys(texts["isin"], 4)
    issuer = first >> np.uint64(40)
    class_ = second >> np.uint64(24) & np.uint64(0xFFFF)  # positions 8 and 9
    ine = (issuer == _ISSUERS[0]) | (issuer == _ISSUERS[1])
    share = ine & (class_ == _TWO[0])
    unit = issuer == _UNITS
    trust = ine & ((class_ == _TWO[1]) | (class_ == _TWO[2]))
    main = pc.equal(texts["series"], "EQ").to_numpy(zero_copy_only=False)
    nse, index = exchange == _NSE, rows.kind == _INDEX
    of_nse = texts["isin"].filter(pa.array(nse & tradable & (first > 0)))
    twins = pc.is_in(texts["isin"], of_nse).to_numpy(zero_copy_only=False)
    rules = {
        "fund": exchange == _MF,
        "index": (index & tradable) | (exchange == _NDX),
        "dead": ~tradable | (rows.high <= 0),
        "main": nse & share & main,
        "unit": nse & (unit | trust),
        "other": nse & share,
        "only BSE": (share | trust) & ~twins,
        "twin": share | trust,
        "BSE unit": unit,
    }
    tiers = [TIERS.index(name) for name in rules]
    return np.select(list(rules.values()), tiers, TIERS.index("debt")).astype(np.uint8)


def _led(
    rows: Draft, underlyings: Sequence[Underlying]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return each row's tier with the underlyings in front, and its weight inside it."""
    tier, exchange, index = rows.tier.copy(), rows.exchange, rows.kind == _INDEX
    weight = np.zeros(len(tier))
    for name, where in (("NFO", exchange <= _BSE), ("BFO", (exchange == _BSE) & index)):
        turnover = {u.code: u.turnover for u in underlyings if u.exchange == name}
        codes = pa.array(list(turnover), pa.string())
        at = pc.index_in(rows.texts["code"], codes).fill_null(-1).to_numpy()
        known = (at >= 0) & where & rows.tradable
        weight[known] = np.array([*turnover.values()])[at[known]]
        leads = known & (index | (exchange == _NSE))
        tier[leads & index] = TIERS.index("underlying index")
        tier[leads & ~index] = TIERS.index("underlying")
        # BSE's listing of an underlying leads BSE's.
        tier[known & ~leads & (tier == TIERS.index("twin"))] = TIERS.index("only BSE")
    return tier, weight
