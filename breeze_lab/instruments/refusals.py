"""What is said when a name leads to nothing or to several: the nearest, and what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from breeze_lab.errors import AmbiguousInstrument, InstrumentNotFound
from breeze_lab.instruments.instrument import broker_date

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from breeze_lab.instruments.book import Book, Of
    from breeze_lab.instruments.instrument import Instrument
    from breeze_lab.instruments.spoken import Wish

__all__ = ["ambiguous", "no_contract", "not_found", "only_contracts"]

_SHOWN: Final = 8
_NEAREST: Final = 5
#: Not strftime: its names follow the locale.
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def ambiguous(asked: str, keys: tuple[str, ...]) -> AmbiguousInstrument:
    """Return the error of a name that several have."""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return AmbiguousInstrument(
        f"{asked!r} could be any of: {', '.join(keys[:_SHOWN])}{more}. Type one of these.", keys
    )


def only_contracts(book: Book, asked: str, of: Of, today: date) -> AmbiguousInstrument:
    """Return the error of a commodity or a pair named without a contract."""
    futures = _futures(book, of, today)
    return AmbiguousInstrument(
        f"{asked!r} is traded as contracts only: {', '.join(futures[:3]) or 'options'}. "
        f"Type {of.symbol + ' fut'!r}, or one of these.",
        futures,
    )


def not_found(asked: str, nearest: Sequence[Instrument]) -> InstrumentNotFound:
    """Return the error of a name that nothing has."""
    shown = ", ".join(f"{_short(i)} ({i.name.title()})" for i in nearest)
    hint = f" Type {_short(nearest[0])!r}." if nearest else ""
    return InstrumentNotFound(
        f"No instrument is called {asked!r}. Nearest: {shown or 'none'}.{hint}",
        tuple(i.key for i in nearest),
    )


def _short(instrument: Instrument) -> str:
    """Return what there is to type: NSE needs no prefix."""
    plain = instrument.exchange == "NSE" and not instrument.listed_as
    return instrument.symbol if plain else instrument.key


def no_contract(book: Book, asked: str, of: Of, wish: Wish, today: date) -> InstrumentNotFound:
    """Return the error of a contract whose underlying has others: the nearest of those."""
    option = wish.strike is not None
    days = book.expiries(of, option=option)
    live = [day for day in days if day >= today] or days
    meant = wish.expiry.among(days, today)
    if option and meant and wish.expiry.kind != "any":
        keys = _strikes(book, of, meant[:1], wish)
        return InstrumentNotFound(
            f"No contract is called {asked!r}: {of.symbol} has no such strike on "
            f"{broker_date(meant[0])}. Nearest: {', '.join(keys)}. Type {keys[0]!r}.",
            keys,
        )
    target = wish.expiry.target(today)
    by_distance = sorted(live, key=lambda day: abs(day - target)) if target else live
    keys = _strikes(book, of, by_distance, wish) if option else _futures(book, of, today, target)
    if option and wish.expiry.kind == "any":
        return InstrumentNotFound(
            f"No contract is called {asked!r}. Nearest: {', '.join(keys)}. Type {keys[0]!r}.", keys
        )
    on = f" on {_DAYS[target.weekday()]} {broker_date(target)}" if target else " then"
    kind = "options" if option else "futures"
    said = f"{of.symbol} has no {kind} that expire{on}" if live else f"{of.symbol} has no {kind}"
    dates = ", ".join(map(broker_date, live))
    hint = f" Type {keys[0]!r}." if keys else ""
    return InstrumentNotFound(
        f"No contract is called {asked!r}: {said}; its expiries are {dates or 'none'}.{hint}", keys
    )


def _futures(book: Book, of: Of, today: date, target: date | None = None) -> tuple[str, ...]:
    days = book.expiries(of, option=False)
    live = [day for day in days if day >= today] or days
    if target:
        live = sorted(live, key=lambda day: abs(day - target))
    rows = (book.find(of, day, None, None) for day in live[:_NEAREST])
    return tuple(book.instrument(row).key for row in rows if row is not None)


def _strikes(book: Book, of: Of, days: Sequence[date], wish: Wish) -> tuple[str, ...]:
    """Return the keys nearest to a wish: of one day by strike, of several one of each."""
    side = 1 if wish.right == "PE" else 0
    found: list[tuple[float, int]] = []
    for day in days[:_NEAREST]:
        low, high = book.of_expiry(of, day)
        strikes = book.strikes(low, high).tolist()
        distances = sorted(
            (abs(strike - (wish.strike or 0)), row)
            for row, strike in enumerate(strikes, low)
            if int(book.contract[row]) & 1 == side
        )
        found += distances[: _NEAREST if len(days) == 1 else 1]
    if wish.expiry.kind == "any":
        found.sort(key=lambda pair: pair[0])
    return tuple(book.instrument(row + book.listed).key for _, row in found[:_NEAREST])
