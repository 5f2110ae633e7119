"""When contracts expire: weekday rules as dated data, moved before holidays.

``expiries.json`` holds, by exchange or index, the weekday of monthly expiries
(the month's last) and of weekly ones from the date on which each rule began;
an index without an entry follows its exchange, and an empty weekday ends the
weeklies. Certain are: NSE from Thursday to Tuesday on 1 September 2025; NIFTY
weeklies since 11 February 2019; Bank Nifty weeklies on Wednesday since 4
September 2023 and none after 13 November 2024, its months on Wednesday from
March to December 2024; Sensex on Friday since 15 May 2023, Tuesday since 1
January 2025, Thursday since 1 September 2025; no weeklies of other indices
since November 2024. A weekday with a question mark began about then: around
that date the rule before it counts too, see `was_expiry`.
"""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Final

from breeze_lab import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["expiries", "has_weeklies", "option_ends", "was_expiry", "weeklies"]

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_WEEK: Final = timedelta(days=7)
#: Month numbers and day of the last trading day of MCX futures; day 31 is the month's end.
_MCX_MONTHS: Final = {
    "GOLD": (5, (2, 4, 6, 8, 10, 12)), "SILVER": (5, (3, 5, 7, 9, 12)), "GOLDMI": (5, ()),
    "CRUDE": (19, ()), "CRUDMI": (19, ()), "NATGAS": (26, ()), "NATGMI": (26, ()),
    "SILMIN": (31, (2, 4, 6, 8, 11)),
}  # fmt: skip
#: Before this date no holidays are known, so an expiry may have been a day or two earlier.
_CALENDAR_BEGINS: Final = date(2021, 1, 1)
#: Contracts listed before a rule changed kept their day for some time.
_TRANSITION: Final = timedelta(days=20)


@dataclass(frozen=True, slots=True)
class _Rule:
    """The weekday of expiries from a date on; None when there are none, unsure about when."""

    since: date
    weekday: int | None
    sure: bool


def _rule(since: str, day: str) -> _Rule:
    name = day.removesuffix("?")
    return _Rule(date.fromisoformat(since), _WEEKDAYS.index(name) if name else None, day == name)


@functools.cache
def _rules() -> dict[str, dict[str, list[_Rule]]]:
    """Return the rules in order, by exchange or index and kind."""
    here = resources.files("breeze_lab.practice.exchange")
    text = here.joinpath("expiries.json").read_text("utf-8")
    return {
        name: {
            kind: [_rule(*rule) for rule in sorted(rules.items())] for kind, rules in kinds.items()
        }
        for name, kinds in json.loads(text).items()
    }


def _rules_of(code: str, exchange: str, kind: str) -> list[_Rule]:
    found = _rules().get(code, {}).get(kind)
    return found or _rules().get(exchange, {}).get(kind, [])


def _weekday(code: str, exchange: str, kind: str, day: date) -> int | None:
    """Return the weekday of the rule in force on `day`; the first rule before it began too."""
    rules = _rules_of(code, exchange, kind)
    found = rules[0].weekday if rules and kind == "monthly" else None
    for rule in rules:
        if rule.since <= day:
            found = rule.weekday
    return found


def _on_or_before(day: date, segment: clock.Segment = "cash") -> date:
    while not clock.is_trading_day(day, segment):
        day -= timedelta(days=1)
    return day


def _month_end(year: int, month: int) -> date:
    return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)


def _months_from(today: date) -> Iterator[tuple[int, int]]:
    for ahead in range(24):
        months = today.year * 12 + today.month - 1 + ahead
        yield months // 12, months % 12 + 1


def _upcoming(days: Iterable[date], today: date, count: int) -> list[date]:
    return sorted({day for day in days if day >= today})[:count]


def _last(end: date, weekday: int) -> date:
    return end - timedelta(days=(end.weekday() - weekday) % 7)


def expiries(code: str, exchange: str, today: date, count: int = 3) -> list[date]:
    """Return the next monthly expiries of a derivative's underlying, today's included.

    Parameters
    ----------
    code, exchange
        Of the underlying. NSE and BSE expire on the month's last Tuesday and
        Thursday (other weekdays before September 2025); a holiday moves the
        expiry to the trading day before.
    """
    days: list[date] = []
    for year, month in _months_from(today):
        end = _month_end(year, month)
        if exchange in ("NSE", "BSE"):
            day = _last(end, _weekday(code, exchange, "monthly", end) or 0)
        elif exchange == "NDX":
            day = _on_or_before(_on_or_before(end) - timedelta(days=1)) - timedelta(days=1)
        else:
            number, months = _MCX_MONTHS.get(code, (31, ()))
            if months and month not in months:
                continue
            day = min(end, date(year, month, min(number, end.day)))
        days.append(_on_or_before(day))
    return _upcoming(days, today, count)


def option_ends(code: str, today: date, count: int) -> list[date]:
    """Return the next expiries of commodity options: some days before that of their future."""
    months = expiries(code, "MCX", today, count + 1)
    return _upcoming((_on_or_before(day - timedelta(days=4)) for day in months), today, count)


def has_weeklies(code: str, day: date) -> bool:
    """Whether options of an index expire every week around `day`."""
    return _weekday(code, "", "weekly", day) is not None


def weeklies(code: str, today: date, count: int) -> list[date]:
    """Return the next weekly expiries of an index, today's included; empty when it has none."""
    monday = today - timedelta(days=today.weekday())
    days = []
    for week in range(count + 2):
        for weekday in range(len(_WEEKDAYS)):
            day = monday + week * _WEEK + timedelta(days=weekday)
            if _weekday(code, "", "weekly", day) == weekday:
                days.append(_on_or_before(day))
    return _upcoming(days, today, count)


def was_expiry(code: str, exchange: str, day: date, *, option: bool) -> bool:
    """Whether a contract can have expired on a past `day`.

    In doubt the answer is yes: commodities and currencies changed their
    calendars often, so any of their trading days counts. No contract expired
    on a day without trading.

    Parameters
    ----------
    code, exchange
        Of the underlying.
    option
        Futures have no weekly expiries.
    """
    segment: clock.Segment = "fno"
    if exchange not in ("NSE", "BSE"):
        segment = "commodity" if exchange == "MCX" else "currency"
    if not clock.is_trading_day(day, segment):
        return False
    if segment != "fno":
        return True
    kinds = ("monthly", "weekly") if option else ("monthly",)
    # The nominal day is `day` itself or one of the closed days after it.
    nominal = [day]
    slack = 2 if day < _CALENDAR_BEGINS else 0
    while slack or not clock.is_trading_day(nominal[-1] + timedelta(days=1), segment):
        slack -= clock.is_trading_day(nominal[-1] + timedelta(days=1), segment)
        nominal.append(nominal[-1] + timedelta(days=1))
    return any(_is_nominal(code, exchange, kind, then) for kind in kinds for then in nominal)


def _is_nominal(code: str, exchange: str, kind: str, day: date) -> bool:
    if kind == "monthly" and (day + _WEEK).month == day.month:
        return False
    weekdays = {_weekday(code, exchange, kind, day)}
    for before, rule in itertools.pairwise(_rules_of(code, exchange, kind)):
        if not rule.sure and abs(day - rule.since) <= _TRANSITION:
            weekdays |= {before.weekday, rule.weekday}
    return day.weekday() in weekdays
