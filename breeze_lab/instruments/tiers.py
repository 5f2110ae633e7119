"""The static order of listed rows: its tiers, most liquid first."""

from __future__ import annotations

from typing import Final

__all__ = ["LIQUID", "SHARES", "TIERS"]

#: "only BSE" holds BSE's listings of underlyings too; "twin" its other listings of NSE's shares.
TIERS: Final = ("underlying index", "underlying", "index", "main", "unit", "other", "only BSE",
                "twin", "BSE unit", "debt", "dead", "fund")  # fmt: skip
#: Up to here a row comes before commodities of the same name.
LIQUID: Final = TIERS.index("index")
#: The tiers that hold shares of companies.
SHARES: Final = frozenset(
    TIERS.index(name) for name in ("underlying", "main", "other", "only BSE", "twin")
)
