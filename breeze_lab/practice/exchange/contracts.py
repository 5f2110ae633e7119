"""What is listed on a date: expiries, strikes, tokens, and finding a contract again.

A contract's token depends on the seed and the contract alone, so it stays the
same from day to day. Past contracts are not listed but can still be asked for
by their fields, as at the broker.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.practice.exchange.days import day_number
from breeze_lab.practice.exchange.expiry import expiries, option_ends, was_expiry, weeklies
from breeze_lab.practice.exchange.noise import key_of
from breeze_lab.practice.exchange.universe import RUPEE, Contract, universe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from breeze_lab.practice.exchange.prices import Prices

__all__ = ["Listing", "expiries", "listing", "step"]

#: Strike steps of indices and commodities; stocks get about one percent of their price.
_STEPS: Final = {
    "NIFTY": 50.0, "CNXBAN": 100.0, "NIFFIN": 50.0, "NIFSEL": 25.0, "NIFNEX": 100.0,
    "BSESEN": 100.0, "BANKEX": 100.0, "BSEFOC": 100.0, "GOLD": 100.0, "GOLDMI": 500.0,
    "SILVER": 250.0, "CRUDE": 50.0, "NATGAS": 5.0, "USDINR": 0.25,
}  # fmt: skip
_NICE: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_HAIR: Final = 1e-6
#: Strikes on each side of the money; those of commodities reach as far as a day can move.
_WIDTH: Final = {"NIFTY": 30, "CNXBAN": 30, "BSESEN": 40, "USDINR": 8}
_REACH: Final = 0.04
_INDEX_FUTURES: Final = (
    ("NSE", "NIFTY"), ("NSE", "CNXBAN"), ("NSE", "NIFFIN"), ("NSE", "NIFSEL"), ("NSE", "NIFNEX"),
    ("BSE", "BSESEN"), ("BSE", "BANKEX"),
)  # fmt: skip
_STOCK_OPTIONS: Final = (
    "RELIANCE", "HDFCBANK", "ICICIBANK", "INFY", "TCS", "SBIN", "BHARTIARTL", "ITC", "LT",
    "AXISBANK", "KOTAKBANK", "HINDUNILVR", "BAJFINANCE", "MARUTI", "M&M", "SUNPHARMA", "TITAN",
    "TATASTEEL", "NTPC", "WIPRO", "HCLTECH", "ADANIENT", "JSWSTEEL", "ETERNAL", "TMPV",
)  # fmt: skip
#: Ticks of index futures in 1/10,000 rupee, by the price they hold below.
_INDEX_TICKS: Final = ((15_000, 500), (30_000, 1_000), (10**9, 2_000))
_MCX_OPTIONS: Final = ("GOLD", "SILVER", "CRUDE", "NATGAS")


def step(contract: Contract) -> float:
    """Return the distance in rupees between the strikes of an underlying."""
    known = _STEPS.get(contract.code)
    return known or next((x for x in _NICE if x >= contract.base * 0.007), _NICE[-1])


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything tradable on one date.

    Parameters
    ----------
    today
        The market date.
    contracts
        Cash first, then derivatives; master order.
    by_room
        (market number, token) to contract; BFO under 8 and 2.
    by_fields
        (exchange, code, expiry, strike, right) to contract.
    """

    today: date
    contracts: tuple[Contract, ...]
    by_room: dict[tuple[str, str], Contract]
    by_fields: dict[tuple[str, str, date | None, float, str], Contract]

    def find(
        self, exchange: str, code: str, expiry: date | None = None, strike: float = 0.0,
        right: str = "",
    ) -> Contract | None:  # fmt: skip
        """Return the contract with these fields, a past one included, or None."""
        found = self.by_fields.get((exchange, code, expiry, strike, right))
        if found is not None or expiry is None or expiry >= self.today:
            return found
        home = {"NFO": "NSE", "BFO": "BSE"}.get(exchange, exchange)
        cash = universe()
        leader = cash.cash.get((home, code)) or cash.spots.get((home, code))
        if leader is None or not leader.lot:
            return None
        if not was_expiry(code, home, expiry, option=bool(right)):
            return None
        steps = strike / step(leader)
        if right and (strike <= 0 or abs(steps - round(steps)) > _HAIR):
            return None
        return _derive(leader, exchange, expiry, strike if right else None, right)


def _derive(
    leader: Contract, exchange: str, expiry: date, strike: float | None, right: str
) -> Contract:
    option = strike is not None
    tick = leader.tick
    if option and leader.kind != "spot":
        tick = 500
    elif option and leader.tier == "M":
        tick = min(leader.tick, 5_000)
    elif leader.kind == "index":
        tick = next(tick for limit, tick in _INDEX_TICKS if leader.base < limit)
    return replace(
        leader, exchange=exchange, token="", kind="option" if option else "future", tick=tick,
        unit=leader.lot if exchange in ("NFO", "BFO") else 1, leader=leader, expiry=expiry,
        strike=strike, right=right, isin="",
    )  # fmt: skip


def _chain(
    prices: Prices, today: date, leader: Contract, exchange: str, dates: list[date]
) -> Iterator[Contract]:
    """Yield the options around the money of the month's first day and of yesterday.

    So a contract stays listed all month and the money is always in the chain.
    """
    days = np.array([day_number(today.replace(day=1)), day_number(today) - 1])
    closes = prices.day_closes(leader, days) * (leader.tick / RUPEE)
    apart, width = step(leader), _WIDTH.get(leader.code, 10)
    if leader.tier == "M":
        width = max(width, math.ceil(_REACH * leader.base / apart))
    low, high = (round(float(x) / apart) for x in (closes.min(), closes.max()))
    for expiry in dates:
        for place in range(max(low - width, 1), high + width + 1):
            for right in ("CE", "PE"):
                yield _derive(leader, exchange, expiry, round(place * apart, 4), right)


def _derivatives(prices: Prices, today: date) -> Iterator[Contract]:
    all_of = universe()
    for home, code in _INDEX_FUTURES:
        leader, exchange = all_of.cash[home, code], "NFO" if home == "NSE" else "BFO"
        months = expiries(code, home, today)
        yield from (_derive(leader, exchange, expiry, None, "") for expiry in months)
        if code in ("NIFTY", "CNXBAN", "BSESEN"):
            weeks = weeklies(code, today, 2)
            yield from _chain(prices, today, leader, exchange, sorted({*weeks, *months}))
    months = expiries("", "NSE", today)
    for leader in all_of.cash.values():
        if leader.exchange == "NSE" and leader.kind == "stock" and leader.lot:
            yield from (_derive(leader, "NFO", expiry, None, "") for expiry in months)
            if leader.symbol in _STOCK_OPTIONS:
                yield from _chain(prices, today, leader, "NFO", months)
    for (exchange, code), leader in all_of.spots.items():
        months = expiries(code, exchange, today)
        yield from (_derive(leader, exchange, expiry, None, "") for expiry in months)
        if code in _MCX_OPTIONS:
            yield from _chain(prices, today, leader, exchange, option_ends(code, today, 2))
        elif code == "USDINR":
            yield from _chain(prices, today, leader, exchange, months)


@functools.lru_cache(maxsize=4)
def listing(prices: Prices, today: date) -> Listing:
    """Return what is listed on `today`."""
    all_of = universe()
    taken = {c.token for c in (*all_of.cash.values(), *all_of.spots.values())}
    contracts = [*all_of.cash.values(), *(s for s in all_of.spots.values() if s.token)]
    for contract in _derivatives(prices, today):
        attempt = 0
        while True:
            number = key_of(prices.seed, "token", contract.key, attempt) % 900_000_000
            token = str(100_000_000 + number)
            if token not in taken:
                break
            attempt += 1
        taken.add(token)
        contracts.append(replace(contract, token=token))
    by_room = {(c.market, c.token): c for c in contracts}
    by_room |= {("2", c.token): c for c in contracts if c.exchange == "BFO"}
    by_fields = {(c.exchange, c.code, c.expiry, c.strike or 0.0, c.right): c for c in contracts}
    return Listing(today, tuple(contracts), by_room, by_fields)
