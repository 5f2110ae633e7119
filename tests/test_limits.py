"""The call meter never lets more through than the broker allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from breeze_lab.limits import CallMeter


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@given(st.lists(st.floats(0, 5), max_size=120), st.integers(1, 10))
def test_no_minute_holds_more_than_the_limit(pauses, limit):
    """Whatever the rhythm of calls, every window of the span stays within the limit."""
    time = Time()
    meter = CallMeter(limit, 10.0, time, time.sleep)
    at = []
    for pause in pauses:
        time.sleep(pause)
        meter.spend()
        at.append(time.now)
    for i, start in enumerate(at):
        assert sum(start <= t < start + 10.0 - 1e-6 for t in at[i:]) <= limit
    assert meter.total == len(pauses)


def test_a_full_meter_says_how_long_it_waited():
    """The fourth of three calls a span waits for the first to age out."""
    time = Time()
    meter = CallMeter(3, 10.0, time, time.sleep)
    assert [meter.spend() for _ in range(4)] == [0, 0, 0, 10.0]
    assert meter.used == 1
