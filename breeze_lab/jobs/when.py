"""When a notebook is due: a phrase of market time, read into a rule.

    after F&O close on trading days          every 15m while the market is open
    30m before cash open                     15:00 on expiry days
    18:00 on the last trading day of the month
    2026-11-27 15:45                         cron 30 18 * * 1-5 in Asia/Kolkata

Pure: the exchange calendar is `breeze_lab.clock`'s, and nobody is asked what
time it is now. Times are India's, which knows no summer time; only a cron line
may name another zone.
"""

from __future__ import annotations

import difflib
import itertools
import re
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, Literal

from breeze_lab import clock
from breeze_lab.errors import ScheduleError
from breeze_lab.jobs.cron import Cron, looks_like_cron

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXAMPLES", "Rule", "parse"]

#: Phrases that work, to begin from.
EXAMPLES: Final = (
    "after F&O close on trading days",
    "20m after cash close on trading days",
    "30m before cash open on trading days",
    "09:00 on trading days",
    "15:00 on expiry days",
    "15:00 on SENSEX expiry days",
    "15:00 on monthly expiry days",
    "18:00 on the last trading day of the month",
    "09:00 on the first trading day of the week",
    "every 15m while the market is open",
    "every 1h while F&O is open on expiry days",
    "10:00 on Mondays",
    "20:00 every day",
    "2026-11-27 15:45",
    "cron 30 18 * * 1-5",
)

Days = Literal[
    "trading", "expiry", "monthly expiry", "first of", "last of", "weekday", "every", "date"
]

_SEGMENTS: Final[dict[str, clock.Segment]] = {
    "f&o": "fno", "fno": "fno", "futures": "fno", "options": "fno", "derivatives": "fno",
    "nfo": "fno", "cash": "cash", "equity": "cash", "market": "cash", "the market": "cash",
    "nse": "cash", "bse": "cash", "commodity": "commodity", "commodities": "commodity",
    "mcx": "commodity", "currency": "currency", "currencies": "currency",
}  # fmt: skip
_SPOKEN: Final[dict[clock.Segment, str]] = {
    "fno": "F&O", "cash": "cash", "commodity": "commodity", "currency": "currency",
}  # fmt: skip
_WEEKDAYS: Final = (
    "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays",
)  # fmt: skip
#: No rule is silent for longer: a quarter's first trading day comes every hundred days.
_HORIZON_DAYS: Final = 800
_SEGMENT: Final = r"(?P<segment>f&o|fno|[a-z]+(?: [a-z]+)?)"
_SPAN: Final = r"(?P<count>\d{1,4})\s*(?P<unit>minutes?|mins?|min|m|hours?|hrs?|h)"
_TIME: Final = re.compile(r"(?:at )?(\d{1,2})(?::(\d{2}))?\s*(am|pm)?")
_EDGE: Final = re.compile(
    rf"(?:{_SPAN}\s+)?(?P<side>after|before)\s+(?:the\s+)?(?:{_SEGMENT}\s+)??"
    r"(?P<edge>open|close)s?"
)
_EVERY: Final = re.compile(
    rf"every\s+(?:{_SPAN}|(?P<one>minute|hour))\s+while\s+(?:the\s+)?{_SEGMENT}\s+is\s+open"
)
_DAYS: Final = re.compile(
    r"\s*(?:on\s+)?(?:the\s+)?(?:"
    r"(?P<trading>trading\s+days?)"
    r"|(?P<monthly>monthly\s+)?(?:(?P<index>nifty|sensex)\s+)?(?P<expiry>expir(?:y|ies)(?:\s+days?)?)"
    r"|(?P<which>first|last)\s+trading\s+day\s+of\s+(?:the\s+|a\s+|each\s+|every\s+)?"
    r"(?P<period>week|month|quarter|year)"
    r"|(?P<weekday>(?:mon|tues|wednes|thurs|fri|satur|sun)days?)"
    r"|(?P<every>every\s+day|daily|all\s+days)"
    r")\s*"
)
_ONCE: Final = re.compile(r"(?:once\s+)?(?:on\s+|at\s+)?(\d{4}-\d{2}-\d{2})[ t](\d{1,2}:\d{2})")


@dataclass(frozen=True, slots=True)
class Rule:
    """The due times that a phrase means.

    Parameters
    ----------
    text
        The phrase in its one canonical spelling; it is parsed to an equal rule.
    days
        Which days count.
    segment
        Whose trading days, open and close.
    at
        Time of day in India; None where the market's open or close decides.
    edge, shift
        ``"open"`` or ``"close"`` and how far from it.
    step
        Time between two due times while the market is open.
    index, period, weekday, day
        What expiry, first or last of what, which weekday, which date.
    cron
        The line of a rule that is one.
    """

    text: str
    days: Days = "trading"
    segment: clock.Segment = "cash"
    at: time | None = None
    edge: Literal["open", "close", ""] = ""
    shift: timedelta = timedelta()
    step: timedelta | None = None
    index: Literal["NIFTY", "SENSEX"] = "NIFTY"
    period: str = ""
    weekday: int | None = None
    day: date | None = None
    cron: Cron | None = field(default=None)

    def next_due(self, after: datetime) -> datetime | None:
        """Return the first due time strictly after `after` (naive: IST), or None when none is left.

        Aware, Asia/Kolkata.
        """
        after = clock.to_ist(after)
        return next(self._from(after), None)

    def between(self, after: datetime, until: datetime, most: int = 100_000) -> list[datetime]:
        """Return the due times in (`after`, `until`], in order, the first `most` of them."""
        until = clock.to_ist(until)
        found = itertools.takewhile(lambda due: due <= until, self._from(clock.to_ist(after)))
        return list(itertools.islice(found, most))

    @property
    def like_cron(self) -> str:
        """A cron line close to it, for forms that know nothing else; it knows no holidays."""
        if self.cron is not None:
            return self.cron.line
        week = "*" if self.days in ("every", "first of", "last of") else "1-5"
        if self.weekday is not None:
            week = str((self.weekday + 1) % 7)
        if self.step is not None:
            minutes = int(self.step.total_seconds()) // 60
            return f"*/{minutes} 9-15 * * {week}" if minutes < 60 else f"15 9-15 * * {week}"  # noqa: PLR2004 - an hour
        sample = next(self._from(datetime(2026, 11, 30, tzinfo=clock.IST)), None)
        if self.day is not None:
            assert self.at is not None
            return f"{self.at.minute} {self.at.hour} {self.day.day} {self.day.month} *"
        assert sample is not None
        return f"{sample.minute} {sample.hour} * * {week}"

    def _from(self, after: datetime) -> Iterator[datetime]:
        if self.cron is not None:
            yield from self.cron.after(after)
            return
        if self.day is not None:
            assert self.at is not None
            once = datetime.combine(self.day, self.at, clock.IST)
            yield from [once] * (once > after)
            return
        first = after.date() - timedelta(days=1)  # a shift may lead over midnight
        for offset in range(_HORIZON_DAYS):
            try:
                day = first + timedelta(days=offset)
            except OverflowError:
                return
            if self._counts(day):
                yield from (due for due in self._times(day) if due > after)

    def _counts(self, day: date) -> bool:  # noqa: PLR0911 - a line for each kind
        if self.days == "every":
            return True
        if self.days == "weekday":
            return day.weekday() == self.weekday and clock.is_trading_day(day, self.segment)
        if self.days in ("expiry", "monthly expiry"):
            return clock.is_expiry_day(day, self.index, monthly=self.days == "monthly expiry")
        if not clock.is_trading_day(day, self.segment):
            return False
        if self.days == "trading":
            return True
        step = timedelta(days=-1 if self.days == "first of" else 1)
        beside = day + step
        while _period(beside, self.period) == _period(day, self.period):
            if clock.is_trading_day(beside, self.segment):
                return False
            beside += step
        return True

    def _times(self, day: date) -> Iterator[datetime]:
        if self.at is not None:
            yield datetime.combine(day, self.at, clock.IST)
            return
        hours = clock.market_hours(self.segment, day)
        if hours is None:
            return
        if self.step is None:
            yield (hours.open if self.edge == "open" else hours.close) + self.shift
            return
        due = hours.open
        while due < hours.close:
            if clock.phase(self.segment, due) != "break":
                yield due
            due += self.step


def _period(day: date, period: str) -> tuple[int, int]:
    if period == "week":
        return day.isocalendar()[:2]
    if period == "month":
        return day.year, day.month
    return day.year, (day.month - 1) // 3 if period == "quarter" else 0


def parse(phrase: str) -> Rule:
    """Return the rule that `phrase` means.

    Raises
    ------
    ScheduleError
        It means none; the message has the nearest phrases that work.
    """
    text = " ".join(phrase.replace(",", " ").split())
    if looks_like_cron(text):
        cron = Cron.parse(text)
        return Rule(f"cron {cron}", days="every", cron=cron)
    low = text.lower()
    once = _ONCE.fullmatch(low)
    if once is not None:
        return _once(phrase, once[1], once[2])
    for first in (_every, _edge, _at):
        for at_end in (False, True):
            # "on trading days at 09:00" says the same as "09:00 on trading days".
            days = _day_match(low, at_end=at_end)
            rest = low if days is None else (low[: days.start()] + low[days.end() :]).strip()
            made = first(rest, days)
            if made is not None:
                return made
    raise _refused(phrase)


def _day_match(low: str, *, at_end: bool) -> re.Match[str] | None:
    found = [m for m in _DAYS.finditer(low) if m.end() == len(low) or m.start() == 0]
    if not found:
        return None
    return found[-1] if at_end else found[0]


def _every(rest: str, days: re.Match[str] | None) -> Rule | None:
    found = _EVERY.fullmatch(rest)
    segment = _SEGMENTS.get(found["segment"]) if found else None
    if found is None or segment is None:
        return None
    step = _span(found["count"], found["unit"]) if found["count"] else _span("1", found["one"])
    if not timedelta(minutes=1) <= step <= timedelta(hours=6):
        raise ScheduleError(
            f"Every {_say(step)} is no step: take one minute to six hours, as in "
            "'every 15m while the market is open'."
        )
    whose = "the market" if segment == "cash" else _SPOKEN[segment]
    return _rule(f"every {_say(step)} while {whose} is open", days, segment, step=step)


def _edge(rest: str, days: re.Match[str] | None) -> Rule | None:
    found = _EDGE.fullmatch(rest)
    segment = _SEGMENTS.get(found["segment"] or "market") if found else None
    if found is None or segment is None:
        return None
    if found["side"] == "before" and not found["count"]:
        raise ScheduleError(
            f"How long before? For example: '15m before {_SPOKEN[segment]} {found['edge']} on "
            "trading days'."
        )
    shift = _span(found["count"], found["unit"]) if found["count"] else timedelta()
    if shift > timedelta(hours=12):
        raise ScheduleError(f"{_say(shift)} from the {found['edge']} is too far: at most 12h.")
    edge: Literal["open", "close"] = "open" if found["edge"] == "open" else "close"
    words = f"{found['side']} {_SPOKEN[segment]} {edge}"
    if shift:
        words = f"{_say(shift)} {words}"
    signed = -shift if found["side"] == "before" else shift
    return _rule(words, days, segment, edge=edge, shift=signed)


def _at(rest: str, days: re.Match[str] | None) -> Rule | None:
    found = _TIME.fullmatch(rest)
    if found is None or not (found[2] or found[3]):
        return None
    at = _time(int(found[1]), int(found[2] or 0), found[3] or "")
    if at is None:
        return None
    return _rule(f"{at:%H:%M}", days, "cash", at=at)


def _rule(words: str, days: re.Match[str] | None, segment: clock.Segment, **more: object) -> Rule:
    """Return the rule of a time's words and a match of days; trading days where there is none."""
    spoken, kind, extra = "on trading days", "trading", {}
    found = {k: v for k, v in days.groupdict().items() if v} if days is not None else {}
    if "expiry" in found:
        index = found.get("index", "nifty").upper()
        kind = "monthly expiry" if "monthly" in found else "expiry"
        spoken = (
            f"on {'monthly ' * ('monthly' in found)}{'SENSEX ' * (index == 'SENSEX')}expiry days"
        )
        extra = {"index": index}
    elif "which" in found:
        kind = f"{found['which']} of"
        spoken = f"on the {found['which']} trading day of the {found['period']}"
        extra = {"period": found["period"]}
    elif "weekday" in found:
        number = next(
            n for n, name in enumerate(_WEEKDAYS)
            if name.lower().startswith(found["weekday"].rstrip("s"))
        )  # fmt: skip
        kind, spoken, extra = "weekday", f"on {_WEEKDAYS[number]}", {"weekday": number}
    elif "every" in found:
        kind, spoken = "every", "every day"
    fields = {**more, **extra}
    return Rule(f"{words} {spoken}", days=kind, segment=segment, **fields)  # type: ignore[arg-type]


def _once(phrase: str, day: str, at: str) -> Rule:
    try:
        on = date.fromisoformat(day)
        hour, _, minute = at.partition(":")
        moment = time(int(hour), int(minute))
    except ValueError:
        raise _refused(phrase) from None
    return Rule(f"{on} {moment:%H:%M}", days="date", day=on, at=moment)


def _time(hour: int, minute: int, half: str) -> time | None:
    if half:
        if not 1 <= hour <= 12:  # noqa: PLR2004 - a clock's face
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        return time(hour, minute)
    except ValueError:
        return None


def _span(count: str, unit: str) -> timedelta:
    return timedelta(**{"hours" if unit.startswith("h") else "minutes": int(count)})


def _say(span: timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    return f"{minutes // 60}h" if minutes and minutes % 60 == 0 else f"{minutes}m"


def _refused(phrase: str) -> ScheduleError:
    near = difflib.get_close_matches(phrase.lower(), [e.lower() for e in EXAMPLES], 2, 0.45)
    spoken = {example.lower(): example for example in EXAMPLES}
    shown = [spoken[one] for one in near] or [EXAMPLES[0], EXAMPLES[9]]
    return ScheduleError(
        f"{phrase[:80]!r} is no time I know. Nearest: "
        f"{' or '.join(repr(one) for one in shown)}. All of them: docs/jobs.md."
    )
