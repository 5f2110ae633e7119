"""Half a contract, while it is typed: ``nifty aug 24`` leads to what it can become."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.instruments import expiries, spoken
from breeze_lab.instruments.instrument import MONTHS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from breeze_lab.instruments.book import Book, Of
    from breeze_lab.instruments.expiries import Expiry
    from breeze_lab.instruments.instrument import Exchange

__all__ = ["at_the_money", "contracts", "futures"]

_RIGHTS: Final = {"CE": 0, "CALL": 0, "C": 0, "PE": 1, "PUT": 1, "P": 1}
_FUTURE: Final = frozenset({"FUT", "FUTURE", "FUTURES", "F", "FU"})
_COMPLETE: Final = (*MONTHS, "CE", "PE", "FUT", "CALL", "PUT", "NEXT", "THIS", "WEEK", "MONTH",
                    "WEEKLY", "MONTHLY", "NEAR", "FAR", "MONDAY", "TUESDAY", "WEDNESDAY",
                    "THURSDAY", "FRIDAY")  # fmt: skip
_STRIKE: Final = re.compile(r"\d{1,7}(\.\d{0,4})?")
_PARTED: Final = re.compile(r"([\d,]+(?:\.\d+)?)(C|P|CE|PE)?")
_EXPIRIES: Final = 4
_MAX_WORDS: Final = 10


def contracts(book: Book, text: str, limit: int, allowed: set[Exchange], today: date) -> list[int]:
    """Return the rows of the contracts that `text` (in capitals) can become, nearest first."""
    found = [
        row
        for wish in spoken.read(text, book.of_name.__contains__)
        for of in book.of_name.get(wish.underlying, ())
        if of.exchange in allowed
        for day in wish.expiry.among(book.expiries(of, option=wish.strike is not None), today)
        if (row := book.find(of, day, wish.strike, wish.right)) is not None
    ]
    if found or len(text.split()) > _MAX_WORDS:
        return found[:limit]
    words = [part for word in text.split() for part in _parts(word)]
    for count in range(len(words) - 1, 0, -1):
        underlyings = [
            of for of in book.of_name.get("".join(words[:count]), ()) if of.exchange in allowed
        ]
        if not underlyings:
            continue
        for rest in _completed(words[count:]):
            for of in underlyings:
                rows = _listing(book, of, rest, limit, today)
                if rows:
                    return rows
    return []


def _parts(word: str) -> list[str]:
    match = _PARTED.fullmatch(word)
    if match is None:
        return [word]
    number = match[1].replace(",", "")
    return [*([number] if number else []), *([match[2]] if match[2] else [])]


def _completed(rest: list[str]) -> Iterator[list[str]]:
    """Yield `rest` with its last word as it is, then as what it begins."""
    yield rest
    if rest[-1].isalpha():
        for word in _COMPLETE:
            if word.startswith(rest[-1]) and word != rest[-1]:
                yield [*rest[:-1], word]


def _listing(book: Book, of: Of, rest: list[str], limit: int, today: date) -> list[int]:
    sides = {_RIGHTS[word] for word in rest if word in _RIGHTS}
    left = [word for word in rest if word not in _RIGHTS and word not in _FUTURE]
    if any(word in _FUTURE for word in rest):
        expiry = expiries.read(" ".join(left))
        return futures(book, of, today, limit, expiry) if expiry and not sides else []
    for at in [*_numbers(left), None]:
        others = left if at is None else left[:at] + left[at + 1 :]
        expiry = expiries.read(" ".join(others))
        if expiry is None:
            continue
        typed = "" if at is None else left[at]
        rows = _options(book, of, expiry, typed, sides or {0, 1}, limit, today)
        if rows:
            if not typed and not sides:
                rows = [*futures(book, of, today, 1, expiry), *rows]
            return rows[:limit]
    return []


def _numbers(words: list[str]) -> list[int]:
    return [at for at in range(len(words) - 1, -1, -1) if _STRIKE.fullmatch(words[at])]


def _options(
    book: Book, of: Of, expiry: Expiry, typed: str, sides: set[int], limit: int, today: date
) -> list[int]:
    """Return options of the meant expiries: the strike typed, then strikes that begin so."""
    days = expiry.among(book.expiries(of, option=True), today)[:_EXPIRIES]
    exact: list[int] = []
    others: list[int] = []
    for day in days:
        low, high = book.of_expiry(of, day)
        rows, strikes = _sided(book, low, high, sides)
        if typed:
            same = strikes == float(typed)
            exact += rows[same].tolist()
            begins = _beginning(strikes, typed) & ~same
            rows, strikes = rows[begins], strikes[begins]
        order = np.argsort(np.abs(strikes - of.base) if of.base else strikes, kind="stable")
        others += rows[order[:limit]].tolist()
    return [*exact, *others][:limit]


def _sided(
    book: Book, low: int, high: int, sides: set[int]
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.float64]]
]:
    rows = np.arange(low, high)
    strikes = book.strikes(low, high)
    if len(sides) == 1:
        fit = (book.contract[low:high] & np.uint64(1)) == np.uint64(next(iter(sides)))
        rows, strikes = rows[fit], strikes[fit]
    return rows + book.listed, strikes


def _beginning(strikes: np.ndarray, typed: str) -> np.ndarray:
    """Return which strikes, written out, begin with the digits typed."""
    if "." in typed:
        value = float(typed)
        return (strikes >= value) & (strikes < value + 10.0 ** -len(typed.partition(".")[2]))
    first = int(typed)
    found = np.zeros(len(strikes), bool)
    if first:
        for power in range(7):
            found |= (strikes >= first * 10**power) & (strikes < (first + 1) * 10**power)
    return found


def futures(book: Book, of: Of, today: date, limit: int, expiry: Expiry | None = None) -> list[int]:
    """Return the rows of an underlying's futures, nearest first."""
    days = (expiry or expiries.Expiry()).among(book.expiries(of, option=False), today)
    rows = (book.find(of, day, None, None) for day in days[:limit])
    return [row for row in rows if row is not None]


def at_the_money(book: Book, of: Of, today: date, limit: int) -> list[int]:
    """Return the rows of the nearest options around the underlying's last close."""
    return _options(book, of, expiries.Expiry(), "", {0, 1}, limit, today) if of.base else []
