"""Spoken and written expiries: ``26NOV``, ``next thu``, ``2026-11-24``, ``far``.

A phrase is read once (`read`) and then held against the expiries that exist
(`Expiry.among`): which readings of ``26NOV`` is meant, the 26th of November or
November 2026, is decided by what is listed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, Literal

from breeze_lab import clock
from breeze_lab.instruments.instrument import MONTHS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Expiry", "parse_date", "read"]

_WEEKDAYS: Final = {
    name: number
    for number, names in enumerate((
        ("MON", "MONDAY"), ("TUE", "TUES", "TUESDAY"), ("WED", "WEDNESDAY"),
        ("THU", "THUR", "THURS", "THURSDAY"), ("FRI", "FRIDAY"), ("SAT", "SATURDAY"),
        ("SUN", "SUNDAY"),
    ))
    for name in names
}  # fmt: skip
_FULL: Final = ("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST",
                "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER")  # fmt: skip
_MONTH: Final = MONTHS | {name: number for number, name in enumerate(_FULL, 1)} | {"SEPT": 9}
_ORDINAL: Final = {"NEAR": 0, "CURRENT": 0, "FRONT": 0, "NEXT": 1, "MID": 1, "FAR": 2}
_M: Final = "|".join(sorted(_MONTH, key=len, reverse=True))
_DAY_MONTH_YEAR: Final = re.compile(rf"(\d{{1,2}})(?:ST|ND|RD|TH)?[-/ ]?({_M})[-/ ]?(\d{{4}}|\d\d)")
_DAY_MONTH: Final = re.compile(rf"(\d{{1,2}})(?:ST|ND|RD|TH)?[-/ ]?({_M})")
_MONTH_DAY: Final = re.compile(rf"({_M})[-/ ]?(\d{{1,2}})(?:ST|ND|RD|TH)?")
_MONTH_DAY_YEAR: Final = re.compile(rf"({_M})[-/ ](\d{{1,2}})(?:ST|ND|RD|TH)?[-/ ,]+(\d{{4}})")
_MONTH_YEAR: Final = re.compile(rf"({_M})[-/ ]?(\d{{4}})")
_ISO: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(20\d\d)([01]\d)([0-3]\d)")
_INDIAN: Final = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")
_CENTURY: Final = 2000

_Kind = Literal[
    "any", "date", "day", "month", "month of year", "weekday", "next weekday", "week",
    "calendar month", "nth", "weekly", "monthly",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expiry:
    """One reading of a phrase; `alternatives` are the others, in order.

    Parameters
    ----------
    kind, value
        What is said of the expiry: a full date; a day of a month; a month; a
        month of a year; a weekday (0 is Monday); how many weeks or months from
        today's; which one from the front.
    """

    kind: _Kind = "any"
    value: tuple[int, ...] = ()
    day: date | None = None
    alternatives: tuple[Expiry, ...] = ()

    def among(self, expiries: Sequence[date], today: date) -> list[date]:
        """Return the expiries that are meant, none where none is.

        Parameters
        ----------
        expiries
            Sorted; all that exist, also those before `today`.
        """
        for reading in (self, *self.alternatives):
            found = reading._fit(expiries, today)  # noqa: SLF001 - a reading of the same phrase
            if found:
                return found
        return []

    def _fit(self, expiries: Sequence[date], today: date) -> list[date]:
        if self.kind == "date":  # a full date means that day, expired or not
            return [day for day in expiries if day == self.day]
        live = [day for day in expiries if day >= today]
        if self.kind == "any":
            return live
        if self.kind == "day":
            return [day for day in live if (day.day, day.month) == self.value][:1]
        if self.kind == "month":
            return _last([day for day in live if day.month == self.value[0]])
        if self.kind == "month of year":
            of_month = [day for day in expiries if (day.year, day.month) == self.value]
            return of_month[-1:]
        if self.kind in ("weekday", "next weekday"):
            return _on(_weekday(self, today), live)
        if self.kind == "week":
            monday = today - timedelta(today.weekday()) + timedelta(weeks=self.value[0])
            return [day for day in live if monday <= day < monday + timedelta(7)][:1]
        if self.kind == "calendar month":
            year, month = divmod(today.year * 12 + today.month - 1 + self.value[0], 12)
            return [day for day in live if (day.year, day.month) == (year, month + 1)][-1:]
        if self.kind == "monthly":
            return [day for at, day in enumerate(live) if _ends_month(live, at)][:1]
        nth = self.value[0] if self.kind == "nth" else 0
        return live[nth : nth + 1]

    @property
    def expired(self) -> bool:
        """Whether an expiry of the past can be meant: only a whole date says so."""
        return self.kind in ("date", "month of year")


def _last(days: list[date]) -> list[date]:
    """Return the last day of the first month: the monthly contract."""
    return [d for d in days if (d.year, d.month) == (days[0].year, days[0].month)][-1:]


def _ends_month(days: Sequence[date], at: int) -> bool:
    return at + 1 == len(days) or days[at + 1].month != days[at].month


def _weekday(reading: Expiry, today: date) -> date:
    """Return the first such weekday from today on; after a "next", from tomorrow on."""
    ahead = (reading.value[0] - today.weekday()) % 7
    if not ahead and reading.kind == "next weekday":
        ahead = 7
    return today + timedelta(ahead)


def _on(day: date, live: list[date]) -> list[date]:
    """Return the expiry of a day, which a holiday moves to the trading day before it."""
    if day in live:
        return [day]
    if not clock.is_trading_day(day, "fno") and day.weekday() < 5:  # noqa: PLR2004 - Saturday
        before = clock.previous_trading_day(day, "fno")
        return [before] if before in live else []
    return []


def parse_date(text: str) -> date | None:
    """Return the date the broker writes as ``29-Sep-2026``, None for anything else."""
    match = re.fullmatch(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", text)
    return _date(match[3], MONTHS.get(match[2].upper(), 0), match[1]) if match else None


def read(text: str) -> Expiry | None:
    """Return what a phrase in capitals says of an expiry, None when it is no such phrase.

    An empty phrase says nothing of it, which is a phrase too.
    """
    text = text.strip(" ,")
    if not text:
        return Expiry()
    readings = [*_written(text), *_spoken(text)]
    if not readings:
        return None
    first, *others = readings
    return Expiry(first.kind, first.value, first.day, tuple(others))


def _spoken(text: str) -> list[Expiry]:
    words = text.replace(" EXPIRY", "").replace("-", " ").split()
    ahead = {"THIS": 0, "CURRENT": 0, "NEXT": 1}
    match words:
        case [word] if word in _WEEKDAYS:
            return [Expiry("weekday", (_WEEKDAYS[word],))]
        case [which, word] if which in ahead and word in _WEEKDAYS:
            kind: _Kind = "next weekday" if ahead[which] else "weekday"
            return [Expiry(kind, (_WEEKDAYS[word],))]
        case [which, "WEEK"] if which in ahead:
            return [Expiry("week", (ahead[which],))]
        case [which, "MONTH"] if which in ahead:
            return [Expiry("calendar month", (ahead[which],))]
        case ["WEEKLY"]:
            return [Expiry("weekly")]
        case ["MONTHLY"]:
            return [Expiry("monthly")]
        case [word] if word in _ORDINAL:
            return [Expiry("nth", (_ORDINAL[word],))]
        case [word, "MONTH"] if word in _ORDINAL:
            return [Expiry("nth", (_ORDINAL[word],))]
        case [word] if word in _MONTH:
            return [Expiry("month", (_MONTH[word],))]
    return []


def _written(text: str) -> list[Expiry]:
    """Return the readings of a written date, the likelier first."""
    found: list[Expiry] = []
    if match := _ISO.fullmatch(text):
        year, month, day = (match[at] or match[at + 3] for at in (1, 2, 3))
        found.append(_whole(_date(year, int(month), day)))
    elif match := _INDIAN.fullmatch(text):
        found.append(_whole(_date(match[3], int(match[2]), match[1])))
    elif match := _DAY_MONTH_YEAR.fullmatch(text):
        found.append(_whole(_date(match[3], _MONTH[match[2]], match[1])))
    elif match := _MONTH_DAY_YEAR.fullmatch(text):
        found.append(_whole(_date(match[3], _MONTH[match[1]], match[2])))
    elif match := _MONTH_YEAR.fullmatch(text):
        found.append(Expiry("month of year", (int(match[2]), _MONTH[match[1]])))
    elif match := _DAY_MONTH.fullmatch(text):  # 26NOV: the 26th, or November 2026
        found += [
            Expiry("day", (int(match[1]), _MONTH[match[2]])),
            Expiry("month of year", (_CENTURY + int(match[1]), _MONTH[match[2]])),
        ]
    elif match := _MONTH_DAY.fullmatch(text):
        found += [
            Expiry("day", (int(match[2]), _MONTH[match[1]])),
            Expiry("month of year", (_CENTURY + int(match[2]), _MONTH[match[1]])),
        ]
    return found


def _whole(day: date | None) -> Expiry:
    return Expiry("date", day=day or date.min)  # 31-Feb is no expiry of anything


def _date(year: str, month: int, day: str) -> date | None:
    try:
        return date(int(year) if len(year) > 2 else _CENTURY + int(year), month, int(day))  # noqa: PLR2004
    except ValueError:
        return None
