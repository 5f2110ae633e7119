"""How the broker writes times and dates, whatever the machine's zone and locale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from datetime import date

__all__ = ["MONTHS", "clock_text", "dated"]

#: Written out, because strftime would ask the machine's locale.
MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


def clock_text(epoch_s: int) -> str:
    """Return the IST wall time of Unix seconds, ``"2026-11-20 09:15:00"``."""
    return str(np.datetime64(epoch_s + 19_800, "s")).replace("T", " ")


def dated(day: date) -> str:
    """Return a date as the broker writes it, ``"26-Nov-2026"``."""
    return f"{day.day:02d}-{MONTHS[day.month - 1]}-{day.year}"
