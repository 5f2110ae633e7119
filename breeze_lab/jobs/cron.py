"""Cron lines: five fields, in India's time unless a zone is named. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from breeze_lab import clock
from breeze_lab.errors import ScheduleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Cron", "looks_like_cron"]

_FIELDS: Final[tuple[tuple[str, int, int, Sequence[str]], ...]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    (
        "month",
        1,
        12,
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    ),
    ("day of the week", 0, 7, ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
)
_LINE: Final = re.compile(
    r"(?:cron\s+)?((?:[\d*/,a-z-]+\s+){4}[\d*/,a-z-]+)(?:\s+in\s+(\S+))?", re.IGNORECASE
)
#: The 29th of February may be eight years away.
_HORIZON_DAYS: Final = 366 * 9
_ONE_S: Final = timedelta(seconds=1)


def looks_like_cron(text: str) -> bool:
    """Say whether `text` is meant as a cron line, right or wrong."""
    return text.lower().startswith("cron") or bool(re.match(r"(?:[\d*/,-]+\s+){3}", text))


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line: the minutes at which all of its fields agree.

    As in every cron, the two fields of days mean either when both say something.
    """

    line: str
    zone: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Return the cron line of ``cron 30 18 * * 1-5 in Asia/Kolkata``.

        Raises
        ------
        ScheduleError
        """
        found = _LINE.fullmatch(text)
        if found is None:
            raise ScheduleError(
                f"{text[:80]!r} is no cron line: five fields, minute first, as in "
                "'cron 30 18 * * 1-5'."
            )
        words = found[1].lower().split()
        zone = found[2] or "Asia/Kolkata"
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, LookupError):
            raise ScheduleError(
                f"No time zone is called {zone[:40]!r}; leave it out for India's time."
            ) from None
        sets = [_set(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
        weekdays = frozenset(day % 7 for day in sets[4])
        either = words[2] != "*" and words[4] != "*"
        minutes, hours, days, months = sets[:4]
        return cls(" ".join(words), zone, minutes, hours, days, months, weekdays, either)

    def __str__(self) -> str:
        """Return the line with its zone."""
        return f"{self.line} in {self.zone}"

    def after(self, after: datetime) -> Iterator[datetime]:
        """Yield the times after an aware one, in order, aware IST."""
        zone = ZoneInfo(self.zone)
        first = after.astimezone(zone).date() - timedelta(days=1)
        last = after.astimezone(UTC)
        for offset in range(_HORIZON_DAYS):
            try:
                day = first + timedelta(days=offset)
            except OverflowError:
                return
            if self._counts(day):
                for moment in self._times(day, zone):
                    if moment > last:
                        last = moment
                        yield moment.astimezone(clock.IST)

    def _times(self, day: date, zone: ZoneInfo) -> list[datetime]:
        """Return the day's times in UTC; one that summer time leaves out does not come."""
        found = []
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                moment = local.astimezone(UTC)
                if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                    found.append(moment)
        return sorted(found)

    def _counts(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


def _set(word: str, name: str, low: int, high: int, names: Sequence[str]) -> frozenset[int]:
    """Return the numbers of one field: ``*``, ``5``, ``1-5``, ``*/15``, ``1,3``, ``mon-fri``."""
    found: set[int] = set()
    for part in word.split(","):
        body, _, step = part.partition("/")
        begin, _, end = body.partition("-")
        try:
            every = int(step) if step else 1
            if body == "*":
                first, last = low, high
            else:
                first = _number(begin, names, low)
                last = _number(end, names, low) if end else (high if step else first)
        except ValueError:
            first, last, every = 1, 0, 1
        if not (low <= first <= last <= high and every >= 1):
            raise ScheduleError(f"{part!r} is no {name} of a cron line ({low} to {high}).")
        found.update(range(first, last + 1, every))
    return frozenset(found)


def _number(text: str, names: Sequence[str], low: int) -> int:
    return names.index(text[:3]) + low if text[:3] in names else int(text)
