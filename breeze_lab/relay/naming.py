"""Which instrument a recorded room is, by the security master of its day.

The log says which key a room had. The master of that day says the rest; where
it does not know the key, the key itself says what it can.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Final

from breeze_lab import masters, settings
from breeze_lab.errors import BreezeLabError, InstrumentError
from breeze_lab.instruments.instrument import EXCHANGES, MONTHS

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.instruments import Instrument, SecurityMaster
    from breeze_lab.relay.rows import Names

__all__ = ["finder", "listed", "meant"]

_CONTRACT: Final = re.compile(
    r"(?P<symbol>.+) (?P<day>\d\d)-(?P<month>[A-Z]{3})-(?P<year>\d{4})"
    r" (?:FUT|(?P<strike>[\d.]+) (?P<right>CE|PE))"
)
_NOBODY: Final[Names] = ("", "", "", "", None, None, "", "", 0.0)


def finder(market: str, day: date) -> Callable[[str, str], tuple[str, Names]]:
    """Return what finds the key and the names of an instrument by its room and noted key.

    Parameters
    ----------
    market
        Whose master is asked: that of `day`, else the newest kept, else none.
    """
    master = _master(market, day)

    def find(room: str, key: str) -> tuple[str, Names]:
        instrument = None if master is None else _listed(master, room, key)
        if instrument is None:
            return key or room, _said_by(key, room)
        return key or instrument.key, _names(instrument)

    return find


def meant(market: str, day: date, name: str) -> str:
    """Return the key of what `name` meant in a market on a day; empty when nobody can tell."""
    master = _master(market, day)
    try:
        return "" if master is None else master.resolve(name, day).key
    except InstrumentError:
        return ""


def listed(market: str, day: date) -> Callable[[str], Instrument | None]:
    """Return what finds an instrument by its key in the master of a day, else in the newest."""
    master = _master(market, day)
    return (lambda _: None) if master is None else master.get


def _master(market: str, day: date) -> SecurityMaster | None:
    endpoints = replace(settings.ICICI, name=market)  # only the name counts: it is the folder's
    try:
        return masters.load(endpoints, day)
    except BreezeLabError:
        path = masters.newest(endpoints)
        return None if path is None else masters.open_zip(path)


def _listed(master: SecurityMaster, room: str, key: str) -> Instrument | None:
    if key:
        return master.get(key)
    try:
        return master.resolve(room)
    except InstrumentError:
        return None


def _names(one: Instrument) -> Names:
    return (
        one.exchange, one.stock_code, one.symbol, one.token, one.expiry, one.strike,
        one.right or "", one.kind, one.tick_size,
    )  # fmt: skip


def _said_by(key: str, room: str) -> Names:
    """Return the names that a key itself tells; its kind and its tick are not among them."""
    exchange, colon, name = key.partition(":")
    if not colon or exchange not in EXCHANGES:
        return _NOBODY
    token = room.partition("!")[2]
    found = _CONTRACT.fullmatch(name.upper())
    if found is None:
        # Only the token of an index is no number.
        kind = "" if token.isdigit() else "index"
        return (exchange, "", name, token, None, None, "", kind, 0.0)
    try:
        expiry = date(int(found["year"]), MONTHS[found["month"]], int(found["day"]))
    except (KeyError, ValueError):
        return _NOBODY
    strike = float(found["strike"]) if found["strike"] else None
    return (exchange, "", found["symbol"], token, expiry, strike, found["right"] or "", "", 0.0)
