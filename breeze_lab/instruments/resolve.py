"""The rules by which a text leads to exactly one instrument, or is refused.

In this order: a key; a contract; a symbol or index name; an ICICI code; an
ISIN; a token; the words of a company's name. NSE is meant unless an exchange
is named or only another has it.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import AmbiguousInstrument, InstrumentNotFound
from breeze_lab.instruments import spoken
from breeze_lab.instruments.index import CODE
from breeze_lab.instruments.instrument import EXCHANGES, ROOMS, broker_date
from breeze_lab.instruments.listed import SHARES
from breeze_lab.instruments.search import NOISE, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from breeze_lab.instruments.book import Book, Of
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
_ROOM: Final = re.compile(r"(\d{1,2})\.[12]!(.+)")
_MAX_TEXT: Final = 200
_SHOWN: Final = 8
#: Candidates of an ambiguity.
_MOST: Final = 20
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
    if match := _ROOM.fullmatch(upper):
        return _only(book, asked, _in_room(book, match[1], match[2]))
    head, colon, bare = upper.partition(":")
    exchanges: tuple[Exchange, ...] = EXCHANGES
    if colon and head.strip() in EXCHANGE_NAMES:
        exchanges, bare = EXCHANGE_NAMES[head.strip()], bare.strip()
    elif colon and "~" not in head:
        if head.strip().isalpha():
            raise InstrumentNotFound(
                f"No instrument is called {asked!r}: {head.strip()} is no exchange of "
                f"{', '.join(EXCHANGES)}."
            )
        bare = upper if head.strip() else bare.strip()
    else:
        bare = upper
    found = _contract(book, asked, bare, exchanges, today)
    if found is not None:
        return book.instrument(found)
    rows = _listed(book, search, bare, exchanges)
    if rows:
        return _only(book, asked, rows)
    raise _not_found(book, search, asked, bare, exchanges, today)


def _listed(book: Book, search: Search, bare: str, exchanges: tuple[Exchange, ...]) -> list[int]:
    """Return the rows of the first rule that finds any."""
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
    return _of_token(book, tokens) if tokens else _companies(book, search, bare, exchanges)


def _on(book: Book, row: int, exchanges: tuple[Exchange, ...]) -> bool:
    return EXCHANGES[book.exchange[row]] in exchanges


def _preferred(book: Book, rows: list[int]) -> list[int]:
    """Return the rows that are meant: what is traded, then the bare name's own, then NSE's."""
    alive = [row for row in rows if book.is_tradable(row)] or rows
    nse = [row for row in alive if book.exchange[row] == 0] or alive
    own = [row for row in nse if not book.text("listed_as", row)]
    return list(dict.fromkeys(own if len(own) == 1 else nse))


def _of_token(book: Book, rows: list[int]) -> list[int]:
    """Return NSE's row of a token, which NFO's shares; a fund's number counts last."""
    nse = [r for r in rows if r < book.listed and book.exchange[r] == 0]
    funds = [r for r in rows if r < book.listed and EXCHANGES[book.exchange[r]] == "MF"]
    return nse or [r for r in rows if r not in funds] or funds


def _in_room(book: Book, room: str, token: str) -> list[int]:
    exchanges = [exchange for exchange, number in ROOMS.items() if number == room]
    rows = book.with_token(token, exchanges)
    if not rows:
        rows = [
            row for _, row in book.named(spoken.squeeze(token))
            if EXCHANGES[book.exchange[row]] in exchanges and book.text("token", row).upper() == token
        ]  # fmt: skip
    return list(dict.fromkeys(rows))


def _companies(book: Book, search: Search, bare: str, exchanges: tuple[Exchange, ...]) -> list[int]:
    """Return the rows that all words of `bare` can mean: one company's, when one fits.

    Shares come before units of funds and bonds, whose names hold their issuer's.
    """
    words = [word for word in words_of(bare) if word not in NOISE]
    found = [row for row in search.with_words(words, whole=True) if _on(book, row, exchanges)]
    shares = [row for row in found if book.tier[row] in SHARES]
    for rows in (shares, found):
        named_so = [row for row in rows if _company_words(book, row) == words]
        for some in (named_so, rows):
            companies = {book.text("isin", row) or f"row {row}" for row in some}
            if len(companies) == 1:
                return _preferred(book, some)
        if rows:
            return rows[:_MOST]
    return []


def _company_words(book: Book, row: int) -> list[str]:
    return [word for word in words_of(book.text("name", row)) if word not in NOISE]


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
    of_name = book.of_name
    refused: InstrumentNotFound | None = None
    for wish in spoken.read(bare, of_name.__contains__):
        of = [of for of in of_name.get(wish.underlying, ()) if of.exchange in exchanges]
        found = [row for each in of if (row := _find(book, each, wish, today)) is not None]
        if len(found) > 1:
            first = min(book.instrument(row).expiry or today for row in found)
            found = [row for row in found if book.instrument(row).expiry == first]
        if found:
            return _only_row(book, asked, found)
        if of and refused is None:
            refused = _no_contract(book, asked, of, wish, today)
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
    keys = tuple(book.instrument(row).key for row in rows)
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    raise AmbiguousInstrument(
        f"{asked!r} could be any of: {', '.join(keys[:_SHOWN])}{more}. Type one of these.", keys
    )


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


def _no_contract(
    book: Book, asked: str, underlyings: list[Of], wish: Wish, today: date
) -> InstrumentNotFound:
    """Return the error of a contract whose underlying exists: the nearest strikes or expiries."""
    option = wish.strike is not None
    for of in underlyings:
        days = book.expiries(of, option=option)
        live = [day for day in days if day >= today]
        meant = wish.expiry.among(days, today)
        if not option:
            nearest = live or days
            keys = tuple(_key(book, book.find(of, day, None, None)) for day in nearest[:5])
            return InstrumentNotFound(_expiries_are(asked, nearest), keys)
        if meant or not live:
            keys = _near_strikes(book, of, meant or days[-1:], wish)
            if keys:
                return InstrumentNotFound(
                    f"No contract is called {asked!r}. Nearest: {', '.join(keys)}. Type {keys[0]!r}.",
                    keys,
                )
        keys = _near_strikes(book, of, live, wish)
        return InstrumentNotFound(_expiries_are(asked, live), keys)
    return InstrumentNotFound(f"No contract is called {asked!r}.")


def _expiries_are(asked: str, days: Sequence[date]) -> str:
    dates = ", ".join(map(broker_date, days))
    return f"No contract is called {asked!r}: its expiries are {dates or 'all in the past'}."


def _near_strikes(book: Book, of: Of, days: Sequence[date], wish: Wish) -> tuple[str, ...]:
    """Return the keys of the contracts nearest to a wish: by strike on its day, else by day."""
    found = []
    for day in days[:5]:
        low, high = book.of_expiry(of, day)
        side = 1 if wish.right == "PE" else 0
        strikes = book.strikes(low, high)
        rows = [
            (abs(strike - (wish.strike or 0)), row)
            for row, strike in enumerate(strikes.tolist(), low)
            if int(book.contract[row]) & 1 == side
        ]
        count = 5 if len(days) == 1 else 1
        found += sorted(rows)[:count]
    if len(days) > 1:
        found.sort(key=lambda pair: pair[0])
    return tuple(book.instrument(row + book.listed).key for _, row in found[:5])


def _key(book: Book, row: int | None) -> str:
    assert row is not None
    return book.instrument(row).key


def _not_found(
    book: Book, search: Search, asked: str, bare: str, exchanges: tuple[Exchange, ...], today: date
) -> InstrumentNotFound:
    nearest = search.nearest(bare, 5, exchanges, today) if bare else []
    shown = ", ".join(
        f"{i.symbol if i.exchange == 'NSE' and not i.listed_as else i.key} ({i.name.title()})"
        for i in nearest
    )
    hint = ""
    if nearest:
        first = nearest[0]
        plain = first.exchange == "NSE" and not first.listed_as
        hint = f" Type {first.symbol if plain else first.key!r}."
    return InstrumentNotFound(
        f"No instrument is called {asked!r}. Nearest: {shown or 'none'}.{hint}",
        tuple(i.key for i in nearest),
    )
