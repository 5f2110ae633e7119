"""Listing: what a search shows of the instruments it found.

Groups and rows as plain values, the same from a kernel and from the server
extension. Which instruments are found, and in which order, is the business of
`breeze_lab.instruments`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import InstrumentError, InstrumentNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from breeze_lab.instruments import Instrument, SecurityMaster

__all__ = ["found", "grouped", "row"]

_BY_EXCHANGE: Final = {"MCX": "Commodities", "NDX": "Currency"}
_BY_KIND: Final = {"equity": "Equity", "index": "Index", "future": "Futures", "spot": "Spot",
                    "fund": "Funds"}  # fmt: skip
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # fmt: skip


def found(master: SecurityMaster, text: str, limit: int) -> dict[str, Any]:
    """Return what a page shows for `text`: ``groups``, and a ``note`` where there is more to say.

    Of a contract that does not exist (another strike, another expiry) the
    nearest come first, with the words that say why.
    """
    if not text.strip():
        return {"groups": [], "note": ""}
    instruments, note = master.search(text, limit), ""
    try:
        master.resolve(text)
    except InstrumentNotFound as exc:
        nearest = [one for key in exc.nearest if (one := master.get(key)) is not None]
        if nearest and (not instruments or all(one.expiry is not None for one in nearest)):
            note = str(exc)
            instruments = list(dict.fromkeys([*nearest, *instruments]))[:limit]
    except InstrumentError:
        pass  # it could be several: they are what the search found
    return {"groups": grouped(instruments), "note": note}


def grouped(instruments: Iterable[Instrument]) -> list[dict[str, Any]]:
    """Return rows below titles, in the order in which the best of each group was found.

    Parameters
    ----------
    instruments
        Best first.

    Returns
    -------
    list of dict
        ``title`` ("Equity", "Options · 24 Nov 2026") and ``items``, see `row`.
        Options are grouped by underlying's expiry, nearest expiry first
        wherever the first of them stands.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    expiries: dict[tuple[str, str], str] = {}
    for instrument in instruments:
        title = _title(instrument)
        dated = instrument.kind == "option" and instrument.expiry is not None
        when = instrument.expiry.isoformat() if dated and instrument.expiry else ""
        groups.setdefault((title, when), []).append(row(instrument))
        expiries[title, when] = when
    order = list(groups)
    # Expiries of one title follow each other, whichever of them holds the best hit.
    first = {title: order.index((title, when)) for title, when in reversed(order)}
    order.sort(key=lambda group: (first[group[0]], expiries[group]))
    return [
        {"title": f"{title} · {_spoken(when)}" if when else title, "items": groups[title, when]}
        for title, when in order
    ]


def row(instrument: Instrument) -> dict[str, Any]:
    """Return what one row says, and what a subscription of it needs.

    ``room`` is None for what can be found but not streamed: funds, delisted shares.
    """
    expiry = instrument.expiry
    return {
        "key": instrument.key,
        "label": _label(instrument),
        "symbol": instrument.symbol,
        "stock_code": instrument.stock_code,
        "exchange": instrument.exchange,
        "name": _name(instrument),
        "kind": instrument.kind,
        "isin": instrument.isin,
        "token": instrument.token,
        "lot_size": instrument.lot_size,
        "tick_size": instrument.tick_size,
        "expiry": None if expiry is None else expiry.isoformat(),
        "strike": instrument.strike,
        "right": instrument.right,
        "room": _room(instrument),
        "anchor_s": instrument.anchor_s,
    }


def _room(instrument: Instrument) -> str | None:
    try:
        return instrument.quote_room
    except InstrumentError:
        return None


def _title(instrument: Instrument) -> str:
    title = _BY_EXCHANGE.get(instrument.exchange)
    if title is not None:
        return f"{title}: options" if instrument.kind == "option" else title
    if instrument.kind == "option":
        return "Options"
    return _BY_KIND.get(instrument.kind, str(instrument.kind).capitalize())


def _label(instrument: Instrument) -> str:
    if instrument.expiry is None:
        return instrument.listed_as or instrument.symbol
    day = f"{instrument.expiry.day} {_MONTHS[instrument.expiry.month - 1]}"
    if instrument.strike is None:
        return f"{instrument.symbol} {day} fut"
    return f"{instrument.symbol} {instrument.strike:g} {instrument.right}"


def _name(instrument: Instrument) -> str:
    if instrument.expiry is None:
        # The master shouts; a company reads better as a name.
        return instrument.name.title() if instrument.name.isupper() else instrument.name
    return f"{_day(instrument.expiry)} · lot {instrument.lot_size}"


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _spoken(iso: str) -> str:
    year, month, day = iso.split("-")
    return f"{int(day)} {_MONTHS[int(month) - 1]} {year}"
