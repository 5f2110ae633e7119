"""Phrases of market time: what is due when, over holidays, expiries and special sessions."""

from __future__ import annotations

import itertools
import re
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breeze_lab import clock
from breeze_lab.errors import ScheduleError
from breeze_lab.jobs.when import EXAMPLES, parse
from breeze_lab.practice.exchange import expiry


def ist(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=clock.IST)


#: Monday of a week whose Tuesday is a holiday, so that Monday is NIFTY's expiry day.
MONDAY = ist("2026-11-23 00:00")
SUNDAY_AFTER = ist("2026-11-29 00:00")


def week(phrase: str) -> list[str]:
    return [f"{due:%a %H:%M}" for due in parse(phrase).between(MONDAY, SUNDAY_AFTER)]


@pytest.mark.parametrize(
    ("phrase", "due"),
    [
        ("after F&O close on trading days", ["Mon 15:40", "Wed 15:40", "Thu 15:40", "Fri 15:40"]),
        ("20m after cash close", ["Mon 15:55", "Wed 15:55", "Thu 15:55", "Fri 15:55"]),
        ("30m before market open", ["Mon 08:45", "Wed 08:45", "Thu 08:45", "Fri 08:45"]),
        ("after MCX close", ["Mon 23:55", "Tue 23:55", "Wed 23:55", "Thu 23:55", "Fri 23:55"]),
        ("09:00 on trading days", ["Mon 09:00", "Wed 09:00", "Thu 09:00", "Fri 09:00"]),
        ("on expiry day 15:00", ["Mon 15:00"]),
        ("15:00 on SENSEX expiry days", ["Thu 15:00"]),
        ("15:00 on monthly expiry days", ["Mon 15:00"]),
        ("first trading day of the week 9:05", ["Mon 09:05"]),
        ("18:00 on the last trading day of week", ["Fri 18:00"]),
        ("18:00 on the last trading day of the month", []),
        ("10:00 on Tuesdays", []),
        ("10:00 on Wednesdays", ["Wed 10:00"]),
        ("20:00 every day", [f"{d} 20:00" for d in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat")]),
        ("2026-11-26 15:45", ["Thu 15:45"]),
        ("cron 30 18 * * 1-5", [f"{d} 18:30" for d in ("Mon", "Tue", "Wed", "Thu", "Fri")]),
        ("0 9 24-25 11 *", ["Tue 09:00", "Wed 09:00"]),
    ],
)
def test_a_week_with_a_holiday_and_an_expiry_has_the_right_due_times(phrase, due):
    """The holiday is left out where trading counts, and the expiry falls on the day before it."""
    assert week(phrase) == due


def test_every_quarter_of_an_hour_is_while_it_trades():
    """From the open on, never at or after the close, and not in the break of a drill."""
    dues = parse("every 15m while the market is open").between(MONDAY, MONDAY + timedelta(days=1))
    assert [f"{d:%H:%M}" for d in (dues[0], dues[1], dues[-1])] == ["09:15", "09:30", "15:30"]
    drill = ist("2024-03-02 00:00")
    shown = [f"{d:%H:%M}" for d in parse("every 30m while F&O is open").between(
        drill, drill + timedelta(days=1))]  # fmt: skip
    assert shown == ["09:15", "09:45", "11:45", "12:15"]


def test_special_sessions_move_open_and_close():
    """Muhurat trading on a Sunday evening has its own close; 2026-08-03 moved that of F&O."""
    close = parse("after F&O close")
    assert close.next_due(ist("2026-11-08 00:00")) == ist("2026-11-08 19:00")
    assert close.next_due(ist("2026-07-31 00:00")) == ist("2026-07-31 15:30")
    assert close.next_due(ist("2026-08-03 00:00")) == ist("2026-08-03 15:40")


def test_a_zone_of_its_own_keeps_summer_time():
    """New York's half past nine is another time in India in summer; a time left out never comes."""
    line = parse("cron 30 9 * * 1-5 in America/New_York")
    assert line.next_due(ist("2026-01-05 12:00")) == ist("2026-01-05 20:00")
    assert line.next_due(ist("2026-07-06 12:00")) == ist("2026-07-06 19:00")
    lost = parse("cron 30 2 8 3 * in America/New_York")
    assert lost.next_due(ist("2026-01-01 00:00")) > ist("2027-01-01 00:00")
    assert parse("cron 0 0 30 2 *").next_due(ist("2026-01-01 00:00")) is None


@pytest.mark.parametrize("phrase", EXAMPLES)
def test_a_phrase_is_its_own_canonical_text_and_has_a_cron_like_line(phrase):
    """What is shown is read back as the same rule, and forms can show something close to it."""
    rule = parse(phrase)
    assert parse(rule.text) == rule
    assert parse(f"  {phrase.upper() if not rule.cron else phrase} ") == rule
    assert len(parse(f"cron {rule.like_cron}").like_cron.split()) == 5


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("after lunch", "after F&O close on trading days"),
        ("befor cash open", "30m before cash open on trading days"),
        ("before cash open", "How long before?"),
        ("25:00 on trading days", "09:00 on trading days"),
        ("every 0m while the market is open", "one minute to six hours"),
        ("90h after F&O close", "at most 12h"),
        ("cron 99 * * * *", "minute of a cron line"),
        ("cron * * *", "five fields"),
        ("cron 0 9 * * * in Asia/Nowhere", "No time zone"),
        ("2026-02-30 09:00", "no time I know"),
        ("", "no time I know"),
    ],
)
def test_what_means_nothing_is_refused_with_the_nearest(phrase, words):
    """The message has what was said and what would have worked."""
    with pytest.raises(ScheduleError) as refused:
        parse(phrase)
    assert words in str(refused.value)


def test_every_phrase_of_the_documentation_is_understood():
    """The table of docs/jobs.md has no phrase that would be refused."""
    text = (Path(__file__).parent.parent / "docs" / "jobs.md").read_text()
    table = text.partition("## When")[2].partition("##")[0]
    phrases = re.findall(r"(?m)^\| `([^`]+)` \|", table)
    assert len(phrases) == 7
    assert all(parse(phrase) for phrase in phrases)


TIMES = st.datetimes(ist("2021-01-01").replace(tzinfo=None), ist("2027-01-01").replace(tzinfo=None))
PHRASES = st.sampled_from(EXAMPLES)


@given(PHRASES, TIMES)
def test_the_next_due_time_is_later_and_the_first_of_those_that_follow(phrase, after):
    """`next_due` is strictly later, and `between` lists exactly what repeated asking finds."""
    rule = parse(phrase)
    after = clock.to_ist(after)
    until = after + timedelta(days=40)
    dues = rule.between(after, until)
    assert dues == sorted(set(dues))
    assert all(after < due <= until and due.tzinfo is not None for due in dues)
    at, asked = after, []
    while (at := rule.next_due(at)) is not None and at <= until and len(asked) < 20:
        asked.append(at)
    assert asked == dues[: len(asked)]
    assert len(asked) == min(20, len(dues))


@given(PHRASES, TIMES, st.lists(st.integers(0, 40 * 86_400), max_size=5))
def test_looking_often_or_seldom_finds_the_same(phrase, after, cuts):
    """However the time is cut into looks, each due time is found once."""
    rule = parse(phrase)
    after = clock.to_ist(after)
    ends = [
        after,
        *(after + timedelta(seconds=s) for s in sorted(cuts)),
        after + timedelta(days=40),
    ]
    pieces = [rule.between(a, b) for a, b in itertools.pairwise(ends)]
    assert [due for piece in pieces for due in piece] == rule.between(ends[0], ends[-1])


def test_expiry_days_are_those_of_the_practice_market():
    """Two calendars, one answer, on every day of the years that both know."""
    day, wrong = date(2021, 1, 1), []
    while day < date(2026, 12, 20):
        ours = clock.is_expiry_day(day)
        theirs = expiry.was_expiry("NIFTY", "NSE", day, option=True)
        wrong += [day] * (ours != theirs)
        day += timedelta(days=1)
    assert wrong == []
