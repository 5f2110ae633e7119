"""Which contract a row of a recording means, and what is near when it means none."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

from breeze_lab.practice.exchange.contracts import listing
from breeze_lab.practice.exchange.days import day_of
from breeze_lab.practice.exchange.noise import key_of

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.contracts import Listing
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["Named", "Names", "UnknownName", "extended"]

_CASH: Final = ("NSE", "BSE")
_EXCHANGES: Final = (*_CASH, "NFO", "BFO", "NDX", "MCX")
_RIGHTS: Final = {"CE": "CE", "PE": "PE", "CALL": "CE", "PUT": "PE"}


@dataclass(frozen=True, slots=True)
class Named:
    """The cells that name an instrument, as text; blank where they do not apply."""

    exchange: str
    stock_code: str = ""
    symbol: str = ""
    token: str = ""
    expiry: str = ""
    strike: str = ""
    right: str = ""


class UnknownName(Exception):
    """A cell names nothing.

    Parameters
    ----------
    column, value, todo
        Which cell, what it holds and what to do about it.
    """

    def __init__(self, column: str, value: str, todo: str) -> None:
        super().__init__(f"{column}: {value!r}. {todo}")
        self.column, self.value, self.todo = column, value, todo


class Names:
    """Finds contracts by the names of a recording.

    Parameters
    ----------
    prices
        Whose listing is asked. A contract that the practice market would not
        list that day (another expiry rule, another strike) is made after a
        listed one of the same underlying.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._tables = functools.lru_cache(maxsize=8)(self._make_tables)

    def contract(self, named: Named, number: int) -> Contract:
        """Return what `named` means on day `number`.

        Raises
        ------
        UnknownName
        """
        listed = listing(self._prices, day_of(number))
        if named.exchange not in _EXCHANGES:
            raise UnknownName("exchange", named.exchange, f"Use one of {', '.join(_EXCHANGES)}.")
        if named.token and not named.stock_code and not named.symbol:
            return self._by_token(number, named)
        code = named.stock_code or self._code(number, named)
        expiry, strike, right = _terms(named, listed.today)
        if named.exchange in _CASH:
            found = listed.find(named.exchange, code)
        elif expiry is None:
            raise UnknownName("expiry", "", "A derivative needs its expiry, as 2026-11-24.")
        else:
            found = listed.find(named.exchange, code, expiry, strike, right)
            found = found or self._made(listed, (named.exchange, code), (expiry, strike, right))
        if found is None or not found.token:
            column = "stock_code" if named.stock_code else "symbol"
            raise UnknownName(column, named.stock_code or named.symbol, _near(listed, named))
        return found

    def _make_tables(self, number: int) -> dict[tuple[str, str, str], Contract]:
        """Return the contracts of a day by (exchange, ``"token"`` or ``"symbol"``, text)."""
        found: dict[tuple[str, str, str], Contract] = {}
        for contract in listing(self._prices, day_of(number)).contracts:
            found[contract.exchange, "token", contract.token] = contract
            found.setdefault((contract.exchange, "symbol", contract.symbol.upper()), contract)
        return found

    def _by_token(self, number: int, named: Named) -> Contract:
        found = self._tables(number).get((named.exchange, "token", named.token))
        if found is None:
            said = f"{named.exchange} has no such token that day. Write stock_code instead."
            raise UnknownName("token", named.token, said)
        return found

    def _code(self, number: int, named: Named) -> str:
        if not named.symbol:
            raise UnknownName("stock_code", "", "Every row names its instrument.")
        found = self._tables(number).get((named.exchange, "symbol", named.symbol))
        return found.code if found else ""

    def _made(
        self, listed: Listing, name: tuple[str, str], terms: tuple[date, float, str]
    ) -> Contract | None:
        exchange, code = name
        expiry, strike, right = terms
        kind = "option" if right else "future"
        like = next(
            (
                c
                for c in listed.contracts
                if c.exchange == exchange and c.code == code and c.kind == kind
            ),
            None,
        )
        if like is None:
            return None
        made = replace(like, expiry=expiry, strike=strike if right else None, right=right, token="")
        taken, attempt = {c.token for c in listed.contracts}, 0
        while made.token in taken or not made.token:
            number = key_of(self._prices.seed, "token", made.key, attempt) % 900_000_000
            made = replace(made, token=str(100_000_000 + number))
            attempt += 1
        return made


def _terms(named: Named, today: date) -> tuple[date | None, float, str]:
    """Return expiry, strike and right, each checked alone and all together."""
    right = _RIGHTS.get(named.right, "") if named.right else ""
    if named.right and not right:
        raise UnknownName("right", named.right, "Write CE or PE, or leave it blank for a future.")
    expiry = None
    if named.expiry:
        try:
            expiry = date.fromisoformat(named.expiry)
        except ValueError:
            raise UnknownName("expiry", named.expiry, "Write it as 2026-11-24.") from None
        if expiry < today:
            raise UnknownName("expiry", named.expiry, f"It expired before {today}.")
    strike = 0.0
    if named.strike:
        try:
            strike = float(named.strike)
        except ValueError:
            raise UnknownName("strike", named.strike, "Write it in rupees.") from None
    if right and not (math.isfinite(strike) and strike > 0):
        raise UnknownName("strike", named.strike, "An option needs a strike above 0 rupees.")
    return expiry, strike if right else 0.0, right


def _near(listed: Listing, named: Named) -> str:
    """Return the nearest names of the exchange, as a sentence."""
    from rapidfuzz import process  # noqa: PLC0415 - only a wrong name needs it

    same = [c for c in listed.contracts if c.exchange == named.exchange]
    symbols = {c.symbol.upper(): c for c in same}
    names = symbols | {c.code: c for c in same}
    wanted = named.stock_code or named.symbol
    nearest = [names[text] for text, _, _ in process.extract(wanted, list(names), limit=6)]
    said = list(dict.fromkeys(f"{c.code} ({c.symbol})" for c in nearest))[:3]
    return f"{named.exchange} lists no such name. Nearest: {', '.join(said) or 'nothing'}."


def extended(listed: Listing, recorded: list[Contract], *, only: bool) -> Listing:
    """Return a listing with the recorded contracts in it, in the place of their likes.

    Parameters
    ----------
    only
        Keep of the rest what the recorded follow, and nothing else.
    """
    own = {c.key: c for c in recorded if c.expiry is None or c.expiry >= listed.today}
    rest = list(listed.contracts)
    if only:
        leaders = {c.leader.key for c in own.values() if c.leader is not None}
        rest = [c for c in rest if c.key in own or c.key in leaders]
    contracts = [own.pop(c.key, c) for c in rest]
    contracts += own.values()
    by_room = {(c.market, c.token): c for c in contracts}
    by_room |= {("2", c.token): c for c in contracts if c.exchange == "BFO"}
    by_fields = {(c.exchange, c.code, c.expiry, c.strike or 0.0, c.right): c for c in contracts}
    return replace(listed, contracts=tuple(contracts), by_room=by_room, by_fields=by_fields)
