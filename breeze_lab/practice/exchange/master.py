"""The security master: seven members in a zip, byte-formatted as the broker's.

Text files with CRLF between rows and none after the last, headers and quoting
as recorded in July 2026 (``master_headers.json``): the NSE header separates
with comma and space, the data never does. Some columns hold other things than
their names say, which is kept: the BSE tick size and issue price are the
day's price band.
"""

from __future__ import annotations

import functools
import io
import json
import zipfile
from importlib import resources
from typing import TYPE_CHECKING, Final

from breeze_lab.practice.exchange import derivatives
from breeze_lab.practice.exchange.days import day_number
from breeze_lab.practice.exchange.market import rupees
from breeze_lab.practice.exchange.universe import RUPEE
from breeze_lab.practice.exchange.words import dated

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from breeze_lab.practice.exchange.contracts import Listing
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["build"]

#: A blank row of each layout as cells: "" is an unused date or text, 0 an unused number.
_Q: Final = '""'
_NSE_NUMBERS: Final = (4, 5, 8, 9, 11, 12, 13, 14, 18, 19, 20, 21, 22, 24, 28, 52, 53, 54)
_BSE_NUMBERS: Final = (4, 5, 7, 8, 9, 10, 23, 24, 26, 27, 28, 29)
_FO_NUMBERS: Final = (
    7, 8, 9, 10, 11, 13, 14, 15, 16, 21, 25, 26, 27, 28, 34, 35, 46, 49, 50, 51, 67,
)  # fmt: skip
_NSE_BLANK: Final = ["0" if i in _NSE_NUMBERS else _Q for i in range(61)]
_BSE_BLANK: Final = ["0" if i in _BSE_NUMBERS else _Q for i in range(34)]
_FO_BLANK: Final = ["0" if i in _FO_NUMBERS else _Q for i in range(69)]
_MONTH_LABELS: Final = ("1-Mon", "2-Mon", "3-Mon")

#: A few real funds, so that the member has rows; the SDK ignores it.
_FUNDS: Final = (
    ("21", "103D", "103616", "SBI Large Cap Fund - IDCW", "Dividend", "INF200K01164"),
    ("10", "MCOD", "105757", "HDFC Mid Cap Fund - IDCW Option", "Dividend", "INF179K01CS0"),
    ("11", "215", "108909", "Bandhan Value Fund - Regular Plan - Growth", "Growth", "INF194K01342"),
)


@functools.cache
def headers() -> dict[str, str]:
    """Return the header line of each member, in archive order."""
    here = resources.files("breeze_lab.practice.exchange")
    text = here.joinpath("master_headers.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    return found


def build(prices: Prices, listing: Listing) -> bytes:
    """Return the zip of a listing's date; the same listing gives the same bytes."""
    today = listing.today
    row = _Rows(prices, listing)
    parts: dict[str, list[str]] = {name: [] for name in headers()}
    members: dict[str, tuple[str, Callable[[Contract], str]]] = {
        "NSE": ("NSEScripMaster.txt", row.nse),
        "BSE": ("BSEScripMaster.txt", row.bse),
        "NFO": ("FONSEScripMaster.txt", row.fno),
        "BFO": ("FOBSEScripMaster.txt", row.fno),
        "NDX": ("CDNSEScripMaster.txt", row.currency),
        "MCX": ("MCXScripMaster.txt", row.mcx),
    }
    for contract in listing.contracts:
        name, write = members[contract.exchange]
        parts[name].append(write(contract))
    parts["MFScripMaster.txt"] = [_fund(fund) for fund in _FUNDS]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, header in headers().items():
            info = zipfile.ZipInfo(name, (today.year, today.month, today.day, 7, 30, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, "\r\n".join([header, *parts[name]]))
    return buffer.getvalue()


def _text(value: str) -> str:
    return f'"{value}"'


def _fund(fund: tuple[str, ...]) -> str:
    *names, option, isin = fund
    code = [*names[:3], "50", "29-Jul-2026", "H", "4", names[3], option, "N", names[3].split()[0]]
    kinds = ["Mutual Fund", "Equity"]  # the two columns that are written without quotes
    return ",".join([*map(_text, code), *kinds, *map(_text, (isin, "*", "Mutual Fund", "N"))])


class _Rows:
    """Writes the row of each contract of one date."""

    def __init__(self, prices: Prices, listing: Listing) -> None:
        self.prices = prices
        self.number = day_number(listing.today)
        self._labels = _expiry_labels(listing)

    def _circuit(self, contract: Contract) -> tuple[float, float]:
        lower, upper = self.prices.circuit(contract, self.number)
        return rupees(lower, contract), rupees(upper, contract)

    def _base(self, leader: Contract) -> float:
        return self.prices.close_before(leader, self.number)

    def nse(self, c: Contract) -> str:
        cells = list(_NSE_BLANK)
        tick = "0.01" if c.kind == "index" else f"{c.tick / RUPEE:g}"
        cells[:6] = [
            _text(c.token), _text(c.code), _text("0" if c.kind == "index" else "EQ"),
            _text(c.name), tick, "1",
        ]  # fmt: skip
        cells[9], cells[10] = c.face, _text(c.isin)
        cells[11], cells[12], cells[13], cells[14] = c.high52, c.low52, c.high52, c.low52
        cells[51] = '"0"'
        if c.kind == "stock":
            lower, upper = self._circuit(c)
            cells[21], cells[22] = f"{upper}", f"{lower}"
        cells[60] = _text(c.symbol)
        return ",".join(cells)

    def bse(self, c: Contract) -> str:
        cells = list(_BSE_BLANK)
        lower, upper = self._circuit(c) if c.kind == "stock" else (0, 0)
        cells[:6] = [_text(c.token), _text(c.code), '"DR"', _text(c.name), f"{upper}", "1"]
        cells[6] = _text("999901" if c.code == "BSESEN" else c.token)
        cells[11], cells[12] = _text("" if c.kind == "index" else c.symbol), _text(c.name)
        cells[23], cells[24], cells[25] = f"{lower}", c.face, _text(c.isin)
        cells[26], cells[27], cells[28], cells[29] = c.high52, c.low52, c.high52, c.low52
        cells[33] = _text("" if c.symbol.startswith("BSEFOC") or c.symbol == "BANKEX" else c.symbol)
        return ",".join(cells)

    def _contract(self, c: Contract, instrument: str, series: str, strike: str) -> list[str]:
        cells = list(_FO_BLANK)
        lower, upper = self._circuit(c)
        interest = 0
        if c.expiry is not None:
            interest = derivatives.interest_before(self.prices, c, self.number) * c.unit
        cells[:7] = [
            _text(c.token), _text(instrument), _text(c.code), _text(series),
            _text(dated(c.expiry) if c.expiry else "01-Jan-1980"), strike, _text(c.right or "XX"),
        ]  # fmt: skip
        cells[25], cells[27], cells[29] = str(interest), str(c.lot), _text(c.name)
        cells[34], cells[35] = f"{lower}", f"{upper}"
        cells[68] = _text(c.symbol)
        return cells

    def fno(self, c: Contract) -> str:
        leader = c.leader or c
        option, index = c.strike is not None, leader.kind == "index"
        kind = ("IND" if c.exchange == "BFO" else "IDX") if index else "STK"
        strike = _text(f"{c.strike:g}" if c.strike is not None else "0")
        cells = self._contract(
            c, ("OPT" if option else "FUT") + kind, "OPTION" if option else "FUTURE", strike
        )
        cells[28] = f"{c.tick / 100:g}"
        cells[39] = _text(self._labels[c.exchange].get(c.expiry, "") if c.expiry else "")
        cells[59] = _text(c.exchange)
        cells[67] = str(round(self._base(leader) * 100))
        return ",".join(cells)

    def currency(self, c: Contract) -> str:
        option = c.strike is not None
        instrument = "OPTCUR" if option else "FUTCUR" if c.expiry else "UNDCUR"
        series = "OPTION" if option else "FUTURE" if c.expiry else "SPOT"
        cells = self._contract(c, instrument, series, f"{c.strike:.4f}" if option else "0")
        cells[10], cells[26], cells[28] = "", "1", f"{c.tick / RUPEE:g}"
        if not c.expiry:
            cells[29] = _text(c.code)
        cells[67] = f"{round(self._base(c.leader or c), 4):g}"
        return ",".join(cells)

    def mcx(self, c: Contract) -> str:
        option = c.strike is not None
        quantity, _, rest = c.units.partition("|")
        price, _, delivery = rest.partition("|")
        lower, upper = self._circuit(c)
        interest = derivatives.interest_before(self.prices, c, self.number)
        cells = [
            _text(c.token), _text("OPTSTK" if option else "FUTSTK"), _text(c.code),
            _text("OPTION" if option else "FUTURE"), _text(c.name), f"{c.tick / 100:g}",
            str(c.lot), _text(dated(c.expiry) if c.expiry else ""), _text(c.right or "XX"),
            f"{c.strike:g}" if c.strike is not None else "0", _Q, _Q, _Q, _Q, str(interest),
            _Q, _Q, _Q, _Q, _Q, f"{lower}", f"{upper}", _text(quantity), _text(price),
            _text(delivery), _Q, _text(c.symbol),
        ]  # fmt: skip
        return ",".join(cells)


def _expiry_labels(listing: Listing) -> dict[str, dict[date, str]]:
    """Return the label of each expiry: months are counted, weeks are counted, BFO has one."""
    months = sorted({c.expiry for c in listing.contracts
                     if c.expiry and c.exchange == "NFO" and c.kind == "future"})  # fmt: skip
    labels = dict(zip(months, _MONTH_LABELS, strict=False))
    weeks = sorted({c.expiry for c in listing.contracts
                    if c.expiry and c.exchange == "NFO" and c.expiry not in labels})  # fmt: skip
    labels |= {day: f"{i}-Wek" for i, day in enumerate(weeks, 1)}
    days = {c.expiry for c in listing.contracts if c.expiry and c.exchange == "BFO"}
    # The broker's own label of every BFO month, as recorded.
    return {"NFO": labels, "BFO": dict.fromkeys(days, "0-XXX")}
