"""Today's bars of a stream: what history says, when it is believed, and when it is asked again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from waiting import until

from breeze_lab import clock, processes, session, settings
from breeze_lab.bars import Bar, Interval
from breeze_lab.feed import FeedBar
from breeze_lab.practice import control
from breeze_lab.streaming import frames


@pytest.fixture
def market(home):
    """A practice market whose clock stands still where the test puts it."""
    session.start_practice()
    driven = control.connect()
    driven.pause()
    yield driven
    session.logout()
    processes.stop(settings.folders().runtime, "practice")


def test_history_that_was_asked_in_the_second_a_bar_ended_is_not_the_last_word(market, monkeypatch):
    """A bar that missed ticks is complete by a history that surely has its last trade, not before."""
    monkeypatch.setattr(frames, "_AGAIN_S", 0.0)

    def jump(moment):
        market.jump(moment)
        until(lambda: clock.market_now() == moment, "the market's time")  # it is asked now and then

    market.jump("2026-11-25T10:00")
    now = session.login_practice()
    jump(datetime(2026, 11, 25, 10, tzinfo=clock.IST))
    instrument = now.resolve("RELIANCE")
    day = frames.DayBars(instrument, Interval.M1)
    index = day.frame(now, []).index
    before = index[index < clock.market_now()][-1]
    opened = before.to_pydatetime()
    assert f"{opened:%H:%M}" == "09:59"
    known = day.frame(None, []).loc[before]
    heard = Bar(
        opened, Interval.M1, known.open, known.high, known.low, known.open, 1, complete=False
    )
    lacking = [FeedBar(instrument.key, heard, forming=False, whole=False)]
    assert not day.frame(now, lacking).complete[before], "asked in its last second"
    for late_s, final in ((2, False), (4, True)):
        jump(opened + timedelta(seconds=60 + late_s))
        frame = day.frame(now, lacking)
        assert frame.complete[before] == final, late_s
    assert frame.volume[before] == known.volume
