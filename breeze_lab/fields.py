"""Fields: the texts of a broker's frame read by name as numbers, dates and times.

Order frames, recommendations and candles are texts only. Each reading that fails
says which field is wrong and what it holds, as a ``ValueError``; the rooms that
decode whole frames turn it into the `BadResponse` their callers know. Pure, and
nothing here reads the machine's zone or locale.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from breeze_lab import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fields", "strings"]

#: ASCII digits only: Python's own readers also take underscores, blanks and other scripts.
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,12})?")
_DAY: Final = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_STAMP: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_MONTHS: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
#: How the broker writes that there is nothing.
_NOTHING: Final = ("", "*")


def strings(frame: object) -> list[str]:
    """Return a frame that holds nothing but texts.

    Raises
    ------
    ValueError
        When it is no list, or an element is no text.
    """
    if not isinstance(frame, list):
        raise ValueError(f"it is a {type(frame).__name__}, not a list")  # noqa: TRY004
    for place, item in enumerate(frame):
        if not isinstance(item, str):
            raise ValueError(f"element {place} is a {type(item).__name__}, not a text")  # noqa: TRY004
    return frame


class Fields:
    """Texts by name.

    Parameters
    ----------
    texts
        Every name that is asked for later.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def text(self, name: str) -> str:
        """Return a text that is there, as it is but for blanks around it."""
        value = self._texts[name].strip()
        if value in _NOTHING:
            raise ValueError(f"{name} is missing")
        return value

    def word(self, name: str, words: Mapping[str, str]) -> str:
        """Return what a letter stands for; one that is not known stays as it is."""
        letter = self._texts[name]
        return words.get(letter.upper(), letter)

    def whole(self, name: str) -> int:
        """Return a whole number."""
        value = self._texts[name]
        if not _WHOLE.fullmatch(value):
            raise self._wrong(name, "a whole number")
        return int(value)

    def number(self, name: str) -> float:
        """Return a decimal number."""
        value = self._texts[name]
        if not _NUMBER.fullmatch(value):
            raise self._wrong(name, "a number")
        return float(value)

    def paise(self, name: str) -> float:
        """Return an amount written in paise, in rupees."""
        return self.number(name) / 100

    def day(self, name: str) -> date | None:
        """Return a date written ``29-Dec-2026``; None where the broker writes nothing."""
        value = self._texts[name]
        if value in _NOTHING:
            return None
        match = _DAY.fullmatch(value)
        if match is None or match[2].lower() not in _MONTHS:
            raise self._wrong(name, "a date like 29-Dec-2026")
        month = _MONTHS.index(match[2].lower()) + 1
        try:
            return date(int(match[3]), month, int(match[1]))
        except ValueError as exc:
            raise self._wrong(name, "a date of the calendar") from exc

    def moment(self, name: str) -> datetime:
        """Return a time written ``2026-12-29 09:15:00``, aware, Asia/Kolkata."""
        value = self._texts[name]
        if not _STAMP.fullmatch(value):
            raise self._wrong(name, "a time like 2026-12-29 09:15:00")
        try:
            return clock.to_ist(datetime.fromisoformat(value))
        except ValueError as exc:
            raise self._wrong(name, "a time of the calendar") from exc

    def _wrong(self, name: str, wanted: str) -> ValueError:
        return ValueError(f"{name} is {self._texts[name][:40]!r}, not {wanted}")
