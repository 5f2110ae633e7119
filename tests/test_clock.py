"""Time is Indian Standard Time, whatever the machine thinks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from breeze_lab import clock


def test_naive_times_are_read_as_ist_and_aware_ones_converted():
    """09:15 IST is 03:45 UTC."""
    assert clock.to_ist(datetime(2026, 11, 20, 9, 15)).astimezone(UTC).hour == 3  # noqa: DTZ001
    assert clock.to_ist(datetime(2026, 11, 20, 3, 45, tzinfo=UTC)).hour == 9
    assert clock.from_epoch(0).isoformat() == "1970-01-01T05:30:00+05:30"
    assert clock.now().utcoffset() == timedelta(hours=5, minutes=30)


@pytest.mark.parametrize(
    ("segment", "day", "hours"),
    [
        ("cash", date(2026, 7, 31), "09:15-15:30"),
        ("cash", date(2026, 8, 3), "09:15-15:35"),
        ("fno", date(2026, 7, 31), "09:15-15:30"),
        ("fno", date(2026, 8, 3), "09:15-15:40"),
        ("commodity", date(2026, 8, 3), "09:00-23:30"),
        ("commodity", date(2026, 10, 30), "09:00-23:30"),  # the last day of American summer time
        ("commodity", date(2026, 11, 2), "09:00-23:55"),
        ("commodity", date(2026, 11, 24), "17:00-23:55"),  # a holiday's evening
        ("commodity", date(2026, 9, 14), "17:00-23:30"),
        ("commodity", date(2026, 1, 1), "09:00-17:00"),  # New Year has no evening
        ("cash", date(2026, 1, 1), "09:15-15:30"),
        ("cash", date(2024, 3, 2), "09:15-12:30"),  # a drill, a Saturday
        ("fno", date(2024, 5, 18), "09:15-12:40"),
        ("cash", date(2010, 2, 1), "09:00-15:30"),
        ("currency", date(2026, 8, 3), "09:00-17:00"),
        ("cash", date(2026, 11, 8), "18:00-19:00"),  # Muhurat, a Sunday
        ("cash", date(2026, 2, 1), "09:15-15:30"),  # budget, a Sunday
    ],
)
def test_market_hours_are_those_of_the_date(segment, day, hours):
    """Hours changed on dates; special days have their own."""
    found = clock.market_hours(segment, day)
    assert f"{found.open:%H:%M}-{found.close:%H:%M}" == hours
    assert found.open in found
    assert found.close not in found


@pytest.mark.parametrize("day", [date(2026, 11, 22), date(2026, 11, 24), date(2025, 12, 25)])
def test_weekends_and_holidays_are_closed(day):
    """A Sunday, Guru Nanak Jayanti and Christmas."""
    assert clock.market_hours("cash", day) is None
    assert not clock.is_trading_day(day)


def test_the_previous_trading_day_skips_weekend_and_holiday():
    """Before Wednesday 25 November 2026 comes Monday: Tuesday is a holiday."""
    assert clock.previous_trading_day(date(2026, 11, 25)) == date(2026, 11, 23)
    assert clock.previous_trading_day(date(2026, 11, 23)) == date(2026, 11, 20)


def test_nothing_trades_before_a_segment_existed():
    """Dates before the first rule are closed, not an error."""
    assert clock.market_hours("cash", date(1, 1, 1)) is None
    assert clock.market_hours("currency", date(2005, 6, 1)) is None


def spans(segment, day):
    return [f"{p.phase} {p.open:%H:%M}-{p.close:%H:%M}" for p in clock.phases(segment, day)]


BEFORE_OPEN = ["pre-open 09:00-09:08", "matching 09:08-09:12", "buffer 09:12-09:15"]


@pytest.mark.parametrize(
    ("segment", "day", "expected"),
    [
        ("cash", date(2026, 7, 31), [*BEFORE_OPEN, "open 09:15-15:30", "post-close 15:40-16:00"]),
        ("cash", date(2026, 8, 3),
         [*BEFORE_OPEN, "open 09:15-15:15", "closing-auction 15:15-15:35"]),
        ("fno", date(2026, 8, 3), [*BEFORE_OPEN, "open 09:15-15:40"]),
        ("fno", date(2025, 12, 5), ["open 09:15-15:30"]),
        ("cash", date(2026, 11, 8),
         ["pre-open 17:45-17:53", "matching 17:53-17:57", "buffer 17:57-18:00",
          "open 18:00-19:00"]),
        ("fno", date(2024, 3, 2), ["open 09:15-10:00", "break 10:00-11:30", "open 11:30-12:30"]),
        ("commodity", date(2026, 11, 24), ["open 17:00-23:55"]),
        ("currency", date(2026, 8, 3), ["open 09:00-17:00"]),
        ("cash", date(2026, 11, 24), []),
        ("cash", date(1990, 1, 1), []),  # before there was an exchange
    ],
)  # fmt: skip
def test_a_day_has_the_phases_of_its_date(segment, day, expected):
    """Phases changed on dates too; a special session has its own."""
    assert spans(segment, day) == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-23T08:59:59+05:30", "closed"),
        ("2026-11-23T09:00:00+05:30", "pre-open"),
        ("2026-11-23T09:07:59+05:30", "pre-open"),
        ("2026-11-23T09:08:00+05:30", "matching"),
        ("2026-11-23T03:45:00+00:00", "open"),
        ("2026-11-23T15:14:59+05:30", "open"),
        ("2026-11-23T15:15:00", "closing-auction"),
        ("2026-11-23T15:35:00", "closed"),
        ("2026-07-30T15:35:00", "closed"),
        ("2026-07-30T15:40:00", "post-close"),
        ("2026-11-24T11:00:00", "closed"),
    ],
)
def test_a_moment_has_a_phase(moment, expected):
    """Each phase begins with its first instant and ends before its last, in any zone."""
    assert clock.phase("cash", datetime.fromisoformat(moment)) == expected


def test_phases_fill_the_market_hours_of_every_day():
    """For six years: no overlap, no hole between open and close, the same hours as elsewhere."""
    day = date(2021, 1, 1)
    while day < date(2027, 1, 1):
        for segment in ("cash", "fno", "commodity", "currency"):
            hours, found = clock.market_hours(segment, day), clock.phases(segment, day)
            assert (hours is None) == (found == ())
            assert all(a.close <= b.open for a, b in pairwise(found))
            inside = [p for p in found if hours.open <= p.open < hours.close]
            assert all(a.close == b.open for a, b in pairwise(inside))
            assert not inside or (inside[0].open, inside[-1].close) == (hours.open, hours.close)
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "open_segments"),
    [
        (date(2026, 1, 26), set()),  # Republic Day closes everything
        (date(2026, 12, 25), set()),
        (date(2026, 4, 3), set()),
        (date(2026, 3, 3), {"commodity"}),  # Holi leaves an evening of commodities
        (date(2026, 4, 1), {"cash", "fno", "commodity"}),  # banks close, so currencies do
        (date(2024, 3, 2), {"cash", "fno"}),
    ],
)
def test_holidays_differ_by_segment(day, open_segments):
    """Commodities trade on many evenings of holidays; currencies rest with the banks."""
    segments = ("cash", "fno", "commodity", "currency")
    assert {s for s in segments if clock.is_trading_day(day, s)} == open_segments


def test_nothing_settles_while_banks_are_closed():
    """Cash trades on Shivaji Jayanti and on 1 April, but does not settle."""
    assert not clock.is_settlement_day(date(2026, 2, 19))
    assert not clock.is_settlement_day(date(2026, 4, 1))
    assert not clock.is_settlement_day(date(2026, 11, 24))
    assert not clock.is_settlement_day(date(2026, 2, 1)), "a Sunday, though it traded"
    assert clock.is_settlement_day(date(2026, 11, 23))
