"""The seven members of the master: which column of each means what.

Headers are matched by name, so an added or moved column does no harm; they
have been the same in every archive seen since 2023. Some columns hold other
things than their names say: NSE's Warning and Freeze percent and BSE's tick
size and issue price are the day's price band, MarginPercentage is the open
interest, and BasePrice the underlying's last close in paise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from breeze_lab.instruments.instrument import Exchange

__all__ = ["LAYOUTS", "REQUIRED", "Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """One member.

    Parameters
    ----------
    member
        File name inside the zip.
    exchange
        Whose instruments it lists.
    columns
        Header names by what they mean to us.
    few
        Columns with few distinct texts, read as a dictionary.
    numbers
        Columns that must be numbers.
    tick_in
        Rupees in one unit of its tick column.
    once
        Columns that say the same in every row of a code, and are read for its first.
    """

    member: str
    exchange: Exchange
    columns: dict[str, str]
    few: frozenset[str] = frozenset()
    numbers: tuple[str, ...] = ()
    tick_in: float = 1.0
    once: frozenset[str] = frozenset()

    @property
    def derivatives(self) -> bool:
        """Whether its rows are contracts."""
        return "expiry" in self.columns


_FEW: Final = frozenset({"code", "series", "expiry", "right", "name", "symbol"})
_FO: Final = {
    "token": "Token", "code": "ShortName", "series": "Series", "expiry": "ExpiryDate",
    "strike": "StrikePrice", "right": "OptionType", "interest": "MarginPercentage",
    "lot": "LotSize", "tick": "TickSize", "name": "CompanyName", "base": "BasePrice",
    "symbol": "ExchangeCode",
}  # fmt: skip
_ONCE: Final = frozenset({"name", "base"})
_FO_NUMBERS: Final = ("strike", "interest", "lot", "tick", "base")

LAYOUTS: Final = (
    Layout(
        "NSEScripMaster.txt", "NSE",
        {"token": "Token", "code": "ShortName", "series": "Series", "name": "CompanyName",
         "tick": "ticksize", "lot": "Lotsize", "isin": "ISINCode", "high": "52WeeksHigh",
         "up": "WarningPercent", "down": "FreezePercent", "symbol": "ExchangeCode"},
        numbers=("tick", "lot", "high", "up", "down"),
    ),
    Layout(
        "BSEScripMaster.txt", "BSE",
        {"token": "Token", "code": "ShortName", "series": "Series", "name": "CompanyName",
         "up": "TickSize", "lot": "LotSize", "isin": "ISINCode", "high": "52WeeksHigh",
         "down": "IssuePrice", "symbol": "ScripID"},
        numbers=("lot", "high", "up", "down"),
    ),
    Layout("FONSEScripMaster.txt", "NFO", _FO, _FEW, _FO_NUMBERS, 0.01, _ONCE),
    Layout("FOBSEScripMaster.txt", "BFO", _FO, _FEW, _FO_NUMBERS, 0.01),
    Layout("CDNSEScripMaster.txt", "NDX", _FO, _FEW, _FO_NUMBERS),
    Layout(
        "MCXScripMaster.txt", "MCX",
        {"token": "Token", "code": "ShortName", "series": "Series", "expiry": "ExpiryDate",
         "strike": "StrikePrice", "right": "OptionType", "interest": "MarginPercentage",
         "lot": "LotSize", "tick": "TickSize", "name": "CompanyName", "base": "HighPriceRange",
         "symbol": "ExchangeCode"},
        _FEW, _FO_NUMBERS, 0.01,
    ),
    Layout(
        "MFScripMaster.txt", "MF",
        {"token": "AmfiCd", "house": "CompanyCode", "symbol": "SchemeCode", "name": "SchemeName",
         "series": "SchemeOption", "isin": "ISIN", "second": "DR_ISIN"},
    ),
)  # fmt: skip

#: In every archive ever seen. Commodities and funds joined in July 2026; an older day lacks them.
REQUIRED: Final = frozenset({
    "NSEScripMaster.txt", "BSEScripMaster.txt", "FONSEScripMaster.txt", "FOBSEScripMaster.txt",
    "CDNSEScripMaster.txt",
})  # fmt: skip
