"""Time is Indian Standard Time, whatever the machine thinks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

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
