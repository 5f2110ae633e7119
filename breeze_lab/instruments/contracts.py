"""Futures and options: rows of four members as columns sorted by what they are.

A contract is one number: underlying, future or option, expiry, strike and
right side by side in 64 bits. Sorted by it, one binary search finds a
contract, the contracts of an underlying lie together, nearest expiry first,
and no name of any of the hundred thousand has to be made or stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breeze_lab.errors import MasterError
from breeze_lab.instruments.expiries import parse_date
from breeze_lab.instruments.instrument import EXCHANGES, INDEX_SYMBOLS
from breeze_lab.instruments.packing import MAX_STRIKE, UNDERLYING, days_of, pack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from breeze_lab.instruments.instrument import Exchange
    from breeze_lab.instruments.report import Report
    from breeze_lab.instruments.tables import Table

__all__ = ["Contracts", "Part", "Underlying", "merged", "part", "ranked"]

_MAX_UNDERLYINGS: Final = 1 << 12
_MAX_DAYS: Final = 1 << 16
_MAX_TOKEN: Final = 999_999_999
#: The least token of so many digits; there is none without any.
_LEAST: Final = np.array([1, *(10**n for n in range(10))])
_FEW_TOKENS: Final = 4_000_000
_MAX_LOT: Final = 1_000_000_000
_PAISE: Final = 0.01
_RIGHTS: Final = {"XX": 0, "": 0, "CE": 1, "PE": 2}
_SERIES: Final = {"FUTURE": 0, "OPTION": 1, "SPOT": 2}


@dataclass(slots=True)
class Underlying:
    """What contracts are of, in the order of their liquidity.

    Parameters
    ----------
    base
        Rupees: the last close of the underlying, of MCX the near future's upper
        limit; 0 where the master has none.
    turnover
        Rupees: open interest times base, the only measure of liquidity the master has.
    """

    exchange: Exchange
    code: str
    symbol: str
    name: str
    base: float = 0.0
    turnover: float = 0.0


@dataclass(slots=True)
class Contracts:
    """All contracts, sorted by `packed`.

    Parameters
    ----------
    packed
        Shape (n,), unsigned 64 bits; see `pack`.
    token, lot, tick
        Shape (n,); the tick in ten-thousandths of a rupee.
    own
        Shape (n,): whether no other row has the token.
    """

    underlyings: list[Underlying]
    packed: NDArray[np.uint64]
    token: NDArray[np.uint32]
    lot: NDArray[np.uint32]
    tick: NDArray[np.uint32]
    own: NDArray[np.bool_]


@dataclass(slots=True)
class Part:
    """The contracts of one member before they are sorted together.

    Parameters
    ----------
    columns
        Shape (n,) each: ``packed`` lacks the underlying, whose place is known only when all
        members are; token, lot, tick, line.
    spots
        Rows of the table that are spot prices, which belong to the listed.
    shared
        Whether several rows have the same token.
    skipped, warnings
        As in `Report`.
    """

    table: Table
    underlyings: list[Underlying] = field(default_factory=list)
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    spots: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    shared: bool = False
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def ranked(parts: Sequence[Part], report: Report) -> tuple[list[Underlying], NDArray[np.uint64]]:
    """Return the underlyings of all parts by liquidity, and the place of each part's in turn."""
    underlyings = [u for part in parts for u in part.underlyings]
    if len(underlyings) >= _MAX_UNDERLYINGS:
        raise MasterError(
            f"The master has {len(underlyings):,} underlyings: no master has so many."
        )
    for part in parts:
        report.skipped += part.skipped
        report.warnings += part.warnings
    _name_apart(underlyings, report)
    order = sorted(range(len(underlyings)), key=lambda i: (-underlyings[i].turnover, i))
    place = np.zeros(len(order), np.uint64)
    place[order] = np.arange(len(order), dtype=np.uint64)
    return [underlyings[i] for i in order], place


def merged(
    parts: Sequence[Part], underlyings: list[Underlying], place: NDArray[np.uint64], report: Report
) -> Contracts:
    """Return all contracts sorted; `underlyings` and `place` are what `ranked` gave."""
    columns = {
        name: np.concatenate([part.columns[name] for part in parts] or [np.zeros(0, np.uint32)])
        for name in ("token", "lot", "tick", "line")
    }
    first = np.cumsum([0, *(len(part.underlyings) for part in parts)])
    packed = np.concatenate(
        [
            part.columns["packed"] | place[part.columns["underlying"] + at] << UNDERLYING
            for part, at in zip(parts, first, strict=False)
        ]
        or [place]
    )
    # Members list whole chains in order, and the stable sort makes use of such runs.
    by_value = np.argsort(packed, kind="stable")
    ordered = packed[by_value]
    again = np.zeros(len(packed), bool)
    again[1:] = ordered[1:] == ordered[:-1]
    if again.any():  # the first line stays, the others are told
        by_value = _first_lines(parts, columns, by_value, again, report)
        ordered = packed[by_value]
    for part in parts:
        name = part.table.layout.member
        left_out = sum(member == name for member, *_ in report.skipped)
        report.kept[name] = report.kept.get(name, 0) + len(part.columns["line"]) - left_out
    contracts = Contracts(
        underlyings,
        ordered,
        columns["token"][by_value],
        columns["lot"][by_value],
        columns["tick"][by_value],
        np.ones(len(by_value), bool),
    )
    shared = {part.table.layout.exchange for part in parts if part.shared}
    if shared:
        _own_tokens(contracts, shared, report)
    return contracts


def _first_lines(
    parts: Sequence[Part],
    columns: dict[str, NDArray[Any]],
    by_value: NDArray[np.int64],
    again: NDArray[np.bool_],
    report: Report,
) -> NDArray[np.int64]:
    """Return the order without rows that repeat the contract of an earlier one, telling of them."""
    member = np.repeat(np.arange(len(parts)), [len(part.columns["line"]) for part in parts])
    token, line = columns["token"], columns["line"]
    for at in np.flatnonzero(again):
        row, before = int(by_value[at]), int(by_value[at - 1])
        same = token[row] == token[before]
        tokens = "" if same else f" with another token ({int(token[before])})"
        report.skipped.append((
            parts[member[row]].table.layout.member, int(line[row]),
            f"it repeats the contract of line {int(line[before])}{tokens}",
        ))  # fmt: skip
    return by_value[~again]


def part(table: Table) -> Part:
    """Return the contracts of one member."""
    layout = table.layout
    member, size = layout.member, len(table)
    reasons: dict[int, str] = {}

    def refuse(wrong: NDArray[np.bool_], reason: str) -> None:
        for row in np.flatnonzero(wrong):
            reasons.setdefault(int(row), reason)

    code, codes = table.few("code")
    series, all_series = table.few("series")
    kind = np.array([_SERIES.get(text, -1) for text in all_series], np.int8)[series]
    expiry, expiries = table.few("expiry")
    days = np.array([_days(text) for text in expiries], np.int64)[expiry]
    right, rights = table.few("right")
    side = np.array([_RIGHTS.get(text, -1) for text in rights], np.int8)[right]
    strike = np.rint(table.number("strike") * 10_000)
    lot, tick = table.number("lot"), np.rint(table.number("tick") * layout.tick_in * 10_000)
    interest = table.number("interest")
    token, odd_token = _tokens(table)

    spot = kind == 2  # noqa: PLR2004 - see _SERIES
    refuse(kind < 0, "its series is neither FUTURE nor OPTION")
    refuse(odd_token & ~spot, "it has no valid token")
    refuse((days < 0) & ~spot, "its expiry is no date")
    refuse((kind == 1) & (side <= 0), "it is an option of neither CE nor PE")
    refuse((kind == 0) & (side != 0), "it is a future with a right")
    refuse((strike < 0) | (strike >= MAX_STRIKE * 10_000), "its strike is out of all bounds")
    refuse((kind == 1) & (strike == 0), "it is an option without a strike")
    refuse((lot < 0) | (lot > _MAX_LOT), "its lot is out of all bounds")
    refuse((tick < 0) | (tick > _MAX_LOT), "its tick size is out of all bounds")
    no_code = np.array([not text.strip() for text in codes], bool)[code]
    refuse(no_code, "it has no stock code")
    found = Part(table)
    found.skipped = [(member, int(table.lines[row]), why) for row, why in sorted(reasons.items())]
    fine = np.ones(size, bool)
    fine[list(reasons)] = False
    found.spots = np.flatnonzero(fine & spot)
    rows = np.flatnonzero(fine & ~spot)

    code, kind, days, side, strike, lot, tick, interest, token, lines = (
        _of(rows, column)
        for column in (code, kind, days, side, strike, lot, tick, interest, token, table.lines)
    )
    lot = np.maximum(lot, 1)
    underlyings, whose = _underlyings(table, rows, code, codes, found.warnings)
    if not table.told:
        base = _of(rows, table.number("base"))
        for number, base_price in enumerate(_bases(layout.exchange, whose, kind, base)):
            underlyings[number].base = base_price
    # Open interest counts shares there, elsewhere lots.
    shares = interest if layout.exchange in ("NFO", "BFO") else interest * lot
    for number, held in enumerate(np.bincount(whose, shares, len(underlyings)).tolist()):
        underlyings[number].turnover = held * underlyings[number].base
    found.underlyings = underlyings
    option = kind == 1
    bits = pack(
        np.uint64(0), option.astype(np.uint64), days.astype(np.uint64),
        (strike * option).astype(np.uint64), (side == 2).astype(np.uint64),  # noqa: PLR2004
    )  # fmt: skip
    found.columns = {
        "underlying": whose, "packed": bits, "token": token.astype(np.uint32),
        "lot": lot.astype(np.uint32), "tick": tick.astype(np.uint32), "line": lines,
    }  # fmt: skip
    found.shared = not _all_differ(found.columns["token"])
    return found


def _of(rows: NDArray[np.int64], column: NDArray[Any]) -> NDArray[Any]:
    """Return these rows of a column, which as a rule are all of it."""
    return column if len(rows) == len(column) else column[rows]


def _days(text: str) -> int:
    day = parse_date(text)
    days = days_of(day) if day else -1
    return days if 0 <= days < _MAX_DAYS else -1


def _tokens(table: Table) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return tokens as numbers, and where they are none that can be streamed."""
    text = table.columns["token"]
    try:
        token = text.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        plain = pc.match_substring_regex(text, r"^[0-9]{1,9}$")
        token = pc.if_else(plain, text, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    length = pc.binary_length(text).to_numpy(zero_copy_only=False)
    # A leading zero is part of a room's name, so such a token is not the number it looks like.
    return token, (token < _LEAST.take(length, mode="clip")) | (token > _MAX_TOKEN)


def _underlyings(
    table: Table,
    rows: NDArray[np.int64],
    code: NDArray[np.int32],
    codes: list[str],
    warnings: list[str],
) -> tuple[list[Underlying], NDArray[np.int64]]:
    """Return the underlyings of a member and which one each row is of."""
    seen = np.bincount(code, minlength=len(codes)) > 0
    number = np.cumsum(seen) - 1
    first = np.full(len(codes), -1)
    first[code[::-1]] = np.arange(len(code))[::-1]
    symbol, symbols = table.few("symbol")
    symbol = _of(rows, symbol)
    told = table.told
    if not told:
        name, names = table.few("name")
        told = {codes[at]: (names[name[rows[first[at]]]], 0.0) for at in np.flatnonzero(seen)}
    found = []
    for at in np.flatnonzero(seen):
        text = codes[at].strip()
        symbol_text = symbols[symbol[first[at]]].strip()
        name_text, base = told[codes[at]]
        found.append(Underlying(
            table.layout.exchange, text, INDEX_SYMBOLS.get(text, symbol_text or text),
            name_text.strip(), base * _PAISE,
        ))  # fmt: skip
    of_code = symbol[first][code] if len(code) else code
    warnings += [
        f"{table.layout.member} has several symbols for the code {codes[at]!r}; "
        f"the first is used, {found[number[at]].symbol!r}."
        for at in np.unique(code[symbol != of_code])
    ]
    return found, number[code]


def _bases(
    exchange: Exchange, whose: NDArray[np.int64], kind: NDArray[np.int8], base: NDArray[np.float64]
) -> list[float]:
    """Return the price of each underlying in rupees, 0 when the master does not say."""
    paise = _PAISE if exchange in ("NFO", "BFO") else 1.0
    size = int(whose.max()) + 1 if len(whose) else 0
    found = np.zeros(size)
    futures = kind == 0
    # Of MCX the price of a future stands for its underlying; elsewhere every row has it.
    rows = np.flatnonzero(futures & (base > 0))[::-1]
    if exchange != "MCX":
        any_row = np.flatnonzero(base > 0)[::-1]
        found[whose[any_row]] = base[any_row]
    found[whose[rows]] = base[rows]
    return [float(value) * paise for value in found]


def _name_apart(underlyings: list[Underlying], report: Report) -> None:
    """Give an underlying its code for a name where another of the exchange has its symbol."""
    seen: dict[tuple[str, str], Underlying] = {}
    for underlying in underlyings:
        key = underlying.exchange, underlying.symbol.upper()
        other = seen.setdefault(key, underlying)
        if other is not underlying:
            report.warnings.append(
                f"{underlying.exchange} has {underlying.symbol} twice, of the codes {other.code} "
                f"and {underlying.code}; the second goes by its code."
            )
            underlying.symbol = underlying.code


def _own_tokens(contracts: Contracts, shared: AbstractSet[Exchange], report: Report) -> None:
    """Mark contracts of these exchanges whose token another contract of the exchange has."""
    exchange = np.array([EXCHANGES.index(u.exchange) for u in contracts.underlyings])
    of = exchange[(contracts.packed >> np.uint64(UNDERLYING)).astype(np.int64)]
    twice = np.zeros(0, np.int64)
    for name in EXCHANGES:
        if name not in shared:
            continue
        rows = np.flatnonzero(of == EXCHANGES.index(name))
        token = contracts.token[rows]
        _, place, count = np.unique(token, return_inverse=True, return_counts=True)
        twice = np.concatenate([twice, rows[count[place] > 1]])
    contracts.own[twice] = False
    if len(twice):
        tokens = sorted({int(contracts.token[row]) for row in twice})
        report.warnings.append(
            f"{len(tokens)} tokens stand for several contracts, which cannot be streamed: "
            f"{', '.join(map(str, tokens[:5]))}{' …' if len(tokens) > 5 else ''}."  # noqa: PLR2004
        )


def _all_differ(token: NDArray[np.uint32]) -> bool:
    """Say whether no token is there twice."""
    highest = int(token.max(initial=0))
    if highest >= _FEW_TOKENS:
        return len(np.unique(token)) == len(token)
    seen = np.zeros(highest + 1, bool)  # ticking them off takes a tenth of sorting them
    seen[token] = True
    return int(np.count_nonzero(seen)) == len(token)
