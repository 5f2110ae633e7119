"""Days as whole numbers, so that a date can be a counter of the noise."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

__all__ = [
    "DAYS",
    "DAY_MINUTES",
    "FIRST_DAY",
    "LAST_DAY",
    "day_number",
    "day_of",
    "midnight",
    "number_at",
]

FIRST_DAY: Final = date(2014, 1, 1)
LAST_DAY: Final = date(2036, 12, 31)
#: Minutes of a 24-hour market day.
DAY_MINUTES: Final = 1440
DAYS: Final = (LAST_DAY - FIRST_DAY).days + 1

_UNIX_DAY: Final = (FIRST_DAY - date(1970, 1, 1)).days
#: IST is UTC+5:30 and has had no daylight saving since 1945.
_IST_OFFSET: Final = 19_800


def day_number(day: date) -> int:
    """Return the days since `FIRST_DAY`."""
    return (day - FIRST_DAY).days


def day_of(number: int) -> date:
    """Return the date of a `day_number`."""
    return FIRST_DAY + timedelta(days=number)


def midnight(number: int) -> int:
    """Return the Unix second at which day `number` begins in India."""
    return (number + _UNIX_DAY) * 86_400 - _IST_OFFSET


def number_at(epoch_s: float) -> int:
    """Return the day number in India at Unix `epoch_s`."""
    return int((epoch_s + _IST_OFFSET) // 86_400) - _UNIX_DAY
