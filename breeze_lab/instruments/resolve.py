"""The rules by which a text leads to exactly one instrument, or is refused.

In this order: a key; a contract; a symbol or index name; an ICICI code; an
ISIN; a token; the words of a company's name. NSE is meant unless an exchange
is named or only another has it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import InstrumentNotFound
from breeze_lab.instruments import refusals, spoken
from breeze_lab.instruments.book import ROOM, Of
from breeze_lab.instruments.instrument import EXCHANGES
from breeze_lab.instruments.keys import CODE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from breeze_lab.instruments.book import Book
    from breeze_lab.instruments.instrument import Exchange, Instrument
    from breeze_lab.instruments.search import Search
    from breeze_lab.instruments.spoken import Wish

__all__ = ["EXCHANGE_NAMES", "NameClash", "resolve"]

#: Exchanges as people and other brokers write them.
EXCHANGE_NAMES: Final[dict[str, tuple[Exchange, ...]]] = {
    **{name: (name,) for name in EXCHANGES},
    "NSE": ("NSE", "NFO"), "BSE": ("BSE", "BFO"),
    "FONSE": ("NFO",), "FOBSE": ("BFO",), "CDS": ("NDX",), "CDNSE": ("NDX",), "NCO": ("NDX",),
}  # fmt: skip
_MAX_TEXT: Final = 200
#: Whose underlyings are nothing by themselves.
_UNLISTED: Final = frozenset({"MCX", "NDX"})
_said: Final = set[str]()


class NameClash(UserWarning):
    """A name is one company's symbol and ICICI's code of another; the symbol was taken."""


def resolve(book: Book, search: Search, text: str, today: date) -> Instrument:
    """Return the one instrument `text` means; see `SecurityMaster.resolve`."""
    asked = " ".join(text.split())
    upper = asked.upper()
    if len(upper) > _MAX_TEXT:
        raise InstrumentNotFound(f"No instrument has a name of {len(upper)} characters.")
    row = book.key(upper)
    if row is not None:
        return book.instrument(row)
    if match := ROOM.fullmatch(upper):
        return _only(book, asked, book.in_room(match[1], match[2]))
    exchanges, bare = _named_exchange(asked)
    found = _contract(book, asked, bare, exchanges, today)
    if found is not None:
        return book.instrument(found)
    # A fund's short codes ("13", "A") are no names while anything else has them.
    for some in (
        tuple(e for e in exchanges if e != "MF"),
        tuple(e for e in exchanges if e == "MF"),
    ):
        rows = _listed(book, search, bare, some)
        if isinstance(rows, Of):
            raise refusals.only_contracts(book, asked, rows, today)
        if rows:
            return _only(book, asked, rows)
    near = search.nearest(bare, 5, exchanges, today) if bare else []
    raise refusals.not_found(asked, near)


def _named_exchange(asked: str) -> tuple[tuple[Exchange, ...], str]:
    """Return the exchanges a text allows, and the rest of it in capitals."""
    upper = asked.upper()
    head, colon, rest = (part.strip() for part in upper.partition(":"))
    if not colon or "~" in head:  # RELIND~F:30-Mar-2026 is the broker's
        return EXCHANGES, upper
    if head in EXCHANGE_NAMES:
        return EXCHANGE_NAMES[head], rest
    if head.isalpha():
        raise InstrumentNotFound(
            f"No instrument is called {asked!r}: {head} is no exchange. Type one of "
            f"{', '.join(EXCHANGES)}."
        )
    return EXCHANGES, upper if head else rest


def _listed(
    book: Book, search: Search, bare: str, exchanges: tuple[Exchange, ...]
) -> list[int] | Of:
    """Return the rows of the first rule that finds any, or what has contracts only."""
    squeezed = spoken.squeeze(bare)
    named = [(kind, row) for kind, row in book.named(squeezed) if _on(book, row, exchanges)]
    symbols = [row for kind, row in named if kind != CODE]
    codes = [row for kind, row in named if kind == CODE]
    if symbols:
        best = _preferred(book, symbols)
        _say_clash(book, bare, best, codes)
        return best
    if codes:
        return _preferred(book, codes)
    isin = [row for row in book.with_isin(squeezed) if _on(book, row, exchanges)]
    if isin:
        return _preferred(book, isin)
    tokens = book.with_token(bare, exchanges)
    if tokens:
        return _of_token(book, tokens)
    underlyings = [
        of for of in book.of_name.get(squeezed, ())
        if of.exchange in exchanges and of.exchange in _UNLISTED
    ]  # fmt: skip
    if underlyings:  # GOLD has contracts and is nothing by itself
        return underlyings[0]
    fitting = search.companies(bare, exchanges)
    one = len({book.text("isin", row) for row in fitting}) == 1
    return _preferred(book, fitting) if one else fitting


def _on(book: Book, row: int, exchanges: tuple[Exchange, ...]) -> bool:
    return EXCHANGES[book.exchange[row]] in exchanges


def _preferred(book: Book, rows: list[int]) -> list[int]:
    """Return the rows that are meant: what is traded, then the bare name's own, then NSE's."""
    alive = [row for row in rows if book.is_tradable(row)] or rows
    nse = [row for row in alive if book.exchange[row] == 0] or alive
    own = [row for row in nse if not book.text("listed_as", row)]
    return list(dict.fromkeys(own if len(own) == 1 else nse))


def _of_token(book: Book, rows: list[int]) -> list[int]:
    """Return NSE's row of a token, else BSE's (whose codes are names too), else a contract's.

    A fund's number counts last.
    """
    found: dict[str, list[int]] = {}
    for row in rows:
        exchange = EXCHANGES[book.exchange[row]] if row < book.listed else "contract"
        found.setdefault(exchange, []).append(row)
    order = ("NSE", "BSE", "NDX", "contract", "MF")
    return next((found[exchange] for exchange in order if exchange in found), [])


def _contract(
    book: Book, asked: str, bare: str, exchanges: tuple[Exchange, ...], today: date
) -> int | None:
    """Return the row of the contract that `bare` spells, None when it spells none.

    Raises
    ------
    InstrumentNotFound
        The underlying has contracts, but not this one.
    AmbiguousInstrument
        Two exchanges have it.
    """
    refused: InstrumentNotFound | None = None
    for wish in spoken.read(bare, book.is_underlying):
        of = [of for of in book.of_name.get(wish.underlying, ()) if of.exchange in exchanges]
        found = [row for each in of if (row := _find(book, each, wish, today)) is not None]
        if len(found) > 1:
            first = min(book.instrument(row).expiry or today for row in found)
            found = [row for row in found if book.instrument(row).expiry == first]
        if found:
            return _only_row(book, asked, found)
        if of and refused is None:
            refused = refusals.no_contract(book, asked, of[0], wish, today)
    if refused is not None:
        raise refused
    return None


def _find(book: Book, of: Of, wish: Wish, today: date) -> int | None:
    """Return the first contract of an underlying that fits, None when none does."""
    days = book.expiries(of, option=wish.strike is not None)
    for day in wish.expiry.among(days, today):
        row = book.find(of, day, wish.strike, wish.right)
        if row is not None:
            return row
    return None


def _only_row(book: Book, asked: str, rows: Sequence[int]) -> int:
    if len(rows) == 1:
        return rows[0]
    raise refusals.ambiguous(asked, tuple(book.instrument(row).key for row in rows))


def _only(book: Book, asked: str, rows: Sequence[int]) -> Instrument:
    if not rows:
        raise InstrumentNotFound(f"No instrument of today's master has the room {asked!r}.")
    return book.instrument(_only_row(book, asked, rows))


def _say_clash(book: Book, bare: str, taken: list[int], codes: list[int]) -> None:
    """Warn, once a process, that `bare` is also ICICI's code of another company."""
    if bare in _said or not taken:
        return
    same = {book.text("code", row) for row in taken}
    isins = {book.text("isin", row) for row in taken} - {""}
    others = [
        row for row in codes
        if row not in taken and book.is_tradable(row) and book.text("code", row) not in same
        and book.text("isin", row) not in isins
    ]  # fmt: skip
    if not others:
        return
    _said.add(bare)
    ours, other = book.instrument(taken[0]), book.instrument(others[0])
    warnings.warn(
        f"{bare} is {ours.key} ({ours.name.title()}), the exchange's symbol. ICICI's code {bare} "
        f"means {other.key} ({other.name.title()}); type {other.key} for that one.",
        NameClash,
        stacklevel=5,
    )
