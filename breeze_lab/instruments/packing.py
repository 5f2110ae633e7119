"""A contract as one number: underlying, kind, expiry, strike and right side by side."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

__all__ = ["MAX_STRIKE", "UNDERLYING", "days_of", "pack", "unpack"]

#: Strikes are counted in ten-thousandths of a rupee in 34 bits.
MAX_STRIKE: Final = (1 << 34) / 10_000
#: Where the underlying begins.
UNDERLYING: Final = 52
_EPOCH: Final = date(1970, 1, 1).toordinal()


def pack(underlying: Any, option: Any, days: Any, strike: Any, put: Any) -> Any:
    """Return the number of a contract, or of each of many.

    Parameters
    ----------
    underlying, option, days, strike, put
        Integers or uint64 arrays: index of the underlying, 0 or 1, days since
        1970-01-01, ten-thousandths of a rupee, 0 or 1.
    """
    return underlying << UNDERLYING | option << 51 | days << 35 | strike << 1 | put


def unpack(packed: int) -> tuple[int, int, date, float, int]:
    """Return what `pack` was given, the day as a date and the strike in rupees."""
    day = date.fromordinal((packed >> 35 & 0xFFFF) + _EPOCH)
    return (
        packed >> UNDERLYING,
        packed >> 51 & 1,
        day,
        (packed >> 1 & 0x3FFFFFFFF) / 10_000,
        packed & 1,
    )


def days_of(day: date) -> int:
    """Return days since 1970-01-01."""
    return day.toordinal() - _EPOCH
