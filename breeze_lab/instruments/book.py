"""The compiled master opened: rows as instruments, and the lookups everything else uses.

Rows are numbered: the listed in their static order, then the contracts by
underlying, expiry, strike and right. Nothing is loaded but what is asked for.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from breeze_lab.instruments.expiries import parse_date
from breeze_lab.instruments.instrument import EXCHANGES, KINDS, ROOMS, Instrument
from breeze_lab.instruments.keys import CODE, OWN, SYMBOL, WIDTH, isin_key, last_key, prefix_key
from breeze_lab.instruments.packing import MAX_STRIKE, days_of, pack, unpack
from breeze_lab.instruments.spoken import squeeze

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from numpy.typing import NDArray

    from breeze_lab.instruments.columns import Columns
    from breeze_lab.instruments.instrument import Exchange, Right

__all__ = ["ROOM", "Book", "Of"]

#: As the broker writes a room of quotes or depth.
ROOM: Final = re.compile(r"(\d{1,2})\.[12]!(.+)")
_TICKS: Final = 10_000
_KEY: Final = re.compile(r"(.+) (\d\d-[A-Z]{3}-\d{4}) (?:FUT|(\d+(?:\.\d+)?) (CE|PE))")
_SUFFIX: Final = re.compile(r"[ .]+(LIMITED|LTD\.?|INDEX)$")


class Of:
    """An underlying of the file.

    Parameters
    ----------
    number
        Its place in the order of liquidity.
    facts
        As they stand in the file: exchange, code, symbol, name, and the last
        close in rupees (0 where the master has none).
    """

    __slots__ = ("base", "code", "exchange", "name", "number", "symbol")

    def __init__(self, number: int, facts: list[Any]) -> None:
        self.number = number
        self.exchange: Exchange
        self.code: str
        self.symbol: str
        self.name: str
        self.base: float
        self.exchange, self.code, self.symbol, self.name, self.base = facts


class Book:
    """Lookups over the columns of one master."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.exchange = columns.array("exchange")
        self.tier = columns.array("tier")
        self.listed = len(self.exchange)
        self.contract = columns.array("contract")
        self.underlyings = [Of(at, facts) for at, facts in enumerate(columns.facts["underlyings"])]
        self._names, self._name_rows = columns.array("names"), columns.array("name_rows")
        self._words, self._word_at = columns.array("words"), columns.array("word_at")
        self._word_rows = columns.array("word_rows")
        self._lot, self._tick = columns.array("lot"), columns.array("tick")
        self._terms = columns.array("contract_terms")
        self._all_terms = tuple(
            columns.array(f"terms_{name}").tolist() for name in ("lot", "tick", "own")
        )
        self._isins = (columns.array("isins"), columns.array("second_isins"))
        self._tokens = columns.array("token_numbers")
        self._contract_tokens = columns.array("contract_token")
        self._kind, self._tradable = columns.array("kind"), columns.array("tradable")
        self._expiries: dict[tuple[int, bool], list[date]] = {}
        self._texts = {
            name: columns.texts(name)
            for name in ("symbol", "code", "token", "series", "name", "isin", "listed_as")
        }

    def __len__(self) -> int:
        return self.listed + len(self.contract)

    # -- rows ---------------------------------------------------------------

    def instrument(self, row: int) -> Instrument:
        """Return one row as a value."""
        if row >= self.listed:
            return self._contract(row - self.listed)
        text = self._texts
        return Instrument(
            symbol=text["symbol"][row], stock_code=text["code"][row],
            exchange=EXCHANGES[self.exchange[row]], token=text["token"][row],
            name=text["name"][row], kind=KINDS[self._kind[row]], isin=text["isin"][row],
            lot_size=int(self._lot[row]), tick_size=int(self._tick[row]) / _TICKS,
            series=text["series"][row], tradable=bool(self._tradable[row]),
            listed_as=text["listed_as"][row],
        )  # fmt: skip

    def _contract(self, at: int) -> Instrument:
        whose, option, expiry, strike, put = unpack(int(self.contract[at]))
        of = self.underlyings[whose]
        lot, tick, own = (column[self._terms[at]] for column in self._all_terms)
        right: Right | None = ("PE" if put else "CE") if option else None
        return Instrument(
            symbol=of.symbol, stock_code=of.code, exchange=of.exchange,
            token=str(self._contract_tokens[at]), name=of.name,
            kind="option" if option else "future",
            lot_size=lot, tick_size=tick / _TICKS,
            expiry=expiry, strike=strike if option else None, right=right,
            tradable=bool(own),
        )  # fmt: skip

    def text(self, name: str, row: int) -> str:
        """Return one text of a listed row."""
        return self._texts[name][row]

    def is_tradable(self, row: int) -> bool:
        """Say whether a listed row can be streamed."""
        return bool(self._tradable[row])

    def is_index(self, row: int) -> bool:
        """Say whether a listed row is an index."""
        return bool(self._kind[row] == KINDS.index("index"))

    def name(self, row: int) -> str:
        """Return the name of a listed row's own inside its exchange, in capitals."""
        return (self._texts["listed_as"][row] or self._texts["symbol"][row]).upper()

    # -- names --------------------------------------------------------------

    def named(self, squeezed: str) -> list[tuple[int, int]]:
        """Return ``(kind of name, row)`` of listed rows called exactly so, sorted."""
        if not squeezed:
            return []
        low, high = self.range(self._names, prefix_key(squeezed), prefix_key(squeezed))
        found = set()
        for entry in self._name_rows[low:high].tolist():
            row, kind = entry >> 2, entry & 3
            if any(squeeze(text) == squeezed for text in self._spelled(row, kind)):
                found.add((kind, row))
        return sorted(found)

    def _spelled(self, row: int, kind: int) -> tuple[str, ...]:
        text = self._texts
        if kind == SYMBOL:
            return (text["symbol"][row],)
        if kind == CODE:
            return (text["code"][row],)
        return (text["listed_as"][row],) if kind == OWN else (text["name"][row], text["token"][row])

    def starting(self, prefix: str) -> NDArray[np.uint32]:
        """Return the listed rows with a symbol, index name or code that begins so, sorted."""
        low, high = self.range(self._names, prefix_key(prefix), last_key(prefix))
        entries = self._name_rows[low:high]
        rows = np.sort(entries >> np.uint32(2))
        first = np.ones(len(rows), bool)
        first[1:] = rows[1:] != rows[:-1]
        rows = rows[first]
        if len(prefix.encode()) <= WIDTH:
            return rows
        fitting = {
            entry >> 2
            for entry in entries.tolist()
            if any(squeeze(t).startswith(prefix) for t in self._spelled(entry >> 2, entry & 3))
        }
        return np.array(sorted(fitting), np.uint32)

    def with_name_key(self, key: int) -> NDArray[np.uint32]:
        """Return the listed rows with a name of which this is the beginning."""
        low, high = self.range(self._names, key, key)
        found: NDArray[np.uint32] = self._name_rows[low:high] >> np.uint32(2)
        return found

    def with_isin(self, text: str) -> list[int]:
        """Return the listed rows of an ISIN, best first."""
        key = isin_key(text)
        if not key:
            return []
        found = [row for isins in self._isins for row in np.flatnonzero(isins == key).tolist()]
        return sorted(set(found))

    def isin_starting(self, prefix: str) -> NDArray[np.uint32]:
        """Return the listed rows with an ISIN that begins so, sorted."""
        first, last = isin_key(prefix.ljust(12, "0")), isin_key(prefix.ljust(12, "Z"))
        rows = [
            np.flatnonzero((i >= np.uint64(first)) & (i <= np.uint64(last))) for i in self._isins
        ]
        return (
            np.unique(np.concatenate(rows)).astype(np.uint32) if first else np.zeros(0, np.uint32)
        )

    def with_token(self, token: str, exchanges: Iterable[Exchange]) -> list[int]:
        """Return the rows with a token on some exchanges."""
        found: list[int] = []
        if not re.fullmatch(r"[1-9][0-9]{0,8}", token):
            return found
        number, allowed = np.uint32(int(token)), set(exchanges)
        found += [
            row
            for row in np.flatnonzero(self._tokens == number).tolist()
            if EXCHANGES[self.exchange[row]] in allowed
        ]
        found += [
            at + self.listed for at in np.flatnonzero(self._contract_tokens == number).tolist()
            if self.underlyings[int(self.contract[at]) >> 52].exchange in allowed
        ]  # fmt: skip
        return found

    def in_room(self, room: str, token: str) -> list[int]:
        """Return the rows with a broker's room, by its number and token."""
        exchanges = [exchange for exchange, number in ROOMS.items() if number == room]
        if rows := self.with_token(token, exchanges):
            return rows
        named = {row for _, row in self.named(squeeze(token))}
        return [
            row for row in sorted(named)
            if EXCHANGES[self.exchange[row]] in exchanges
            and self.text("token", row).upper() == token
        ]  # fmt: skip

    @staticmethod
    def range(column: NDArray[np.uint64], first: int, last: int) -> tuple[int, int]:
        """Return where a sorted column holds the numbers from `first` to `last`."""
        # On the buffer itself: numpy's own search takes five times as long to be called.
        numbers: Any = column.data
        low = bisect_left(numbers, first)
        return low, bisect_right(numbers, last, low)

    def rows_with_words(self, first: int, last: int) -> NDArray[np.uint32]:
        """Return the listed rows with words whose keys lie between two, some twice."""
        low, high = self.range(self._words, first, last)
        found: NDArray[np.uint32] = self._word_rows[self._word_at[low] : self._word_at[high]]
        return found

    def key(self, key: str) -> int | None:
        """Return the row of a key in capitals, None when there is none."""
        exchange, colon, name = key.partition(":")
        if not colon:
            return None
        if match := _KEY.fullmatch(name):
            day = parse_date(match[2])
            of = self._by_symbol.get((exchange, match[1]))
            if day is None or of is None:
                return None
            strike = float(match[3]) if match[3] else None
            return self.find(of, day, strike, "PE" if match[4] == "PE" else "CE")
        for _, row in self.named(squeeze(name)):
            if EXCHANGES[self.exchange[row]] == exchange and self.name(row) == name:
                return row
        return None

    # -- contracts ----------------------------------------------------------

    @cached_property
    def _by_symbol(self) -> dict[tuple[str, str], Of]:
        return {(of.exchange, of.symbol.upper()): of for of in self.underlyings}

    @cached_property
    def of_name(self) -> dict[str, list[Of]]:
        """Underlyings by everything they are called, symbols before codes before names."""
        found: dict[str, list[Of]] = {}
        by_code: dict[str, list[Of]] = {}
        for of in self.underlyings:
            by_code.setdefault(of.code, []).append(of)
            found.setdefault(squeeze(of.symbol), []).append(of)
        for code, these in by_code.items():
            known = found.setdefault(squeeze(code), these)
            if known is not these and any(of.code == code for of in known):
                known += [of for of in these if of not in known]  # another exchange's contracts
        for of in self.underlyings:
            found.setdefault(squeeze(_SUFFIX.sub("", of.name.upper())), by_code[of.code])
        for row in np.flatnonzero(self._kind == KINDS.index("index")).tolist():
            same = by_code.get(self.text("code", row))
            for name in ("name", "token") if same else ():
                found.setdefault(squeeze(self.text(name, row)), same or [])
        return found

    def is_underlying(self, squeezed: str) -> bool:
        """Say whether an underlying is called so."""
        return squeezed in self.of_name

    def span(self, of: Of, *, option: bool | None = None) -> tuple[int, int]:
        """Return the rows (less the listed) of an underlying: all, its options or its futures."""
        if option is None:
            first, last = of.number << 52, (of.number + 1 << 52) - 1
        else:
            first = pack(of.number, int(option), 0, 0, 0)
            last = first + (1 << 51) - 1
        return self.range(self.contract, first, last)

    def find(self, of: Of, day: date, strike: float | None, right: Right | None) -> int | None:
        """Return the row of one contract."""
        if strike is not None and not 0 < strike < MAX_STRIKE:
            return None
        put = int(strike is not None and right == "PE")
        value = pack(
            of.number, int(strike is not None), days_of(day), round((strike or 0) * _TICKS), put
        )
        low, high = self.range(self.contract, value, value)
        return low + self.listed if high > low else None

    def expiries(self, of: Of, *, option: bool) -> list[date]:
        """Return the expiries of an underlying's futures or options, sorted."""
        known = self._expiries.get((of.number, option))
        if known is None:
            low, high = self.span(of, option=option)
            days = np.unique((self.contract[low:high] >> np.uint64(35)) & np.uint64(0xFFFF))
            known = [unpack(int(day) << 35)[2] for day in days]
            self._expiries[of.number, option] = known
        return known

    def of_expiry(self, of: Of, day: date) -> tuple[int, int]:
        """Return the rows (less the listed) of an underlying's options of one expiry."""
        first = pack(of.number, 1, days_of(day), 0, 0)
        return self.range(self.contract, first, first + (1 << 35) - 1)

    def strikes(self, low: int, high: int) -> NDArray[np.float64]:
        """Return the strikes of contracts in rupees, shape (high - low,)."""
        raw = (self.contract[low:high] >> np.uint64(1)) & np.uint64(0x3FFFFFFFF)
        found: NDArray[np.float64] = raw.astype(np.float64) / _TICKS
        return found
