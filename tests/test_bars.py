"""Ticks become bars, and bars longer bars, whatever way they arrive."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breeze_lab import clock
from breeze_lab.bars import Bar, BarBuilder, Interval, resample
from breeze_lab.errors import SettingsError
from breeze_lab.ticks import Tick

IST = ZoneInfo("Asia/Kolkata")
OPEN = int(datetime(2026, 11, 20, 9, 15, tzinfo=IST).timestamp())


def tick(second: int, price: float, volume: int | None = None, **more) -> Tick:
    """Return a quote `second` seconds after the opening of Friday 20 November 2026."""
    return Tick(
        "4.1!2885",
        clock.from_epoch(OPEN + second),
        price,
        None,
        None,
        None,
        None,
        volume=volume,
        **more,
    )


def build(ticks, interval=Interval.M1, gaps=()):
    """Return the closed bars of `ticks`; a gap lies before each tick whose number is in `gaps`."""
    builder, closed = BarBuilder(interval), []
    for number, one in enumerate(ticks):
        if number in gaps:
            builder.gap()
        bar = builder.add(one)
        if bar is not None:
            closed.append(bar)
    return closed, builder.forming


#: Steps of seconds, price and quantity: what a market does.
steps = st.lists(
    st.tuples(st.integers(0, 40), st.integers(-20, 20), st.integers(0, 500)),
    min_size=1,
    max_size=120,
)


def walk(moves):
    second, price, volume, ticks = 0, 2000, 10_000, []
    for seconds, paise, quantity in moves:
        second, price, volume = second + seconds, max(price + paise, 1), volume + quantity
        ticks.append(tick(second, price / 20, volume))
    return ticks


@given(steps)
def test_bars_are_what_their_ticks_say(moves):
    """Open, high, low, close and volume of each bar follow from its ticks alone."""
    ticks = walk(moves)
    closed, forming = build(ticks)
    for bar in [*closed, forming]:
        start = bar.start.timestamp()
        inside = [t for t in ticks if start <= t.exchange_time.timestamp() < start + 60]
        before = [t for t in ticks if t.exchange_time.timestamp() < start]
        prices = [t.last for t in inside]
        assert (bar.open, bar.high, bar.low, bar.close) == (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
        )
        assert bar.volume == inside[-1].volume - (before or inside)[-1 if before else 0].volume


@given(steps, st.integers(1, 7))
def test_any_batching_builds_the_same_bars(moves, size):
    """Whether ticks come one by one or in batches, the bars are equal."""
    ticks = walk(moves)
    builder, closed = BarBuilder(Interval.M1), []
    for begin in range(0, len(ticks), size):
        closed += [bar for one in ticks[begin : begin + size] if (bar := builder.add(one))]
    assert (closed, builder.forming) == build(ticks)


@given(steps)
def test_seconds_resample_to_the_minutes_built_directly(moves):
    """Merging 1-second bars gives the minutes that the ticks give."""
    ticks = walk(moves)
    seconds, last = build(ticks, Interval.S1)
    minutes, forming = build(ticks)
    merged = resample([*seconds, last], Interval.M1)
    values = [(b.start, b.open, b.high, b.low, b.close, b.volume) for b in merged]
    assert values == [
        (b.start, b.open, b.high, b.low, b.close, b.volume) for b in [*minutes, forming]
    ]


@given(steps, st.data())
def test_repeated_and_late_ticks_add_no_volume(moves, data):
    """A tick sent twice, or an older one of the same bar sent again, changes no volume."""
    ticks = walk(moves)
    again = [t for one in ticks for t in ([one, one] if data.draw(st.booleans()) else [one])]
    assert build(again) == build(ticks)


def test_first_partial_bar_is_incomplete_and_the_next_complete():
    """We did not hear the beginning of the bar in which we began to listen."""
    closed, forming = build([tick(30, 100, 10), tick(70, 101, 15), tick(130, 102, 30)])
    assert [bar.complete for bar in closed] == [False, True]
    assert [bar.volume for bar in closed] == [0, 5]
    assert not forming.complete


@pytest.mark.parametrize("missed", [2, 3, 4])
def test_gap_marks_the_bars_it_touches_incomplete(missed):
    """A gap spoils the bar it falls into and, when that had closed unheard, the one after."""
    ticks = [
        tick(0, 100, 10),
        tick(61, 101, 20),
        tick(70, 102, 30),
        tick(121, 103, 40),
        tick(181, 104, 50),
        tick(241, 105, 60),
    ]
    closed, _ = build(ticks, gaps={missed})
    whole = {clock.from_epoch(OPEN + 60 * n): bar.complete for n, bar in enumerate(closed)}
    spoilt = {2: {60}, 3: {60, 120}, 4: {120, 180}}[missed]
    expected = {clock.from_epoch(OPEN + s): s != 0 and s not in spoilt for s in (0, 60, 120, 180)}
    assert whole == expected


def test_late_tick_never_changes_a_closed_bar():
    """A tick of a closed bar is ignored."""
    builder = BarBuilder(Interval.M1)
    for one in (tick(0, 100, 10), tick(60, 101, 20)):
        builder.add(one)
    before = builder.forming
    assert builder.add(tick(30, 500, 15)) is None
    assert builder.forming == before


def test_volume_starts_anew_each_day():
    """The day's count is cumulative: the next day's first count is all traded that day."""
    closed, forming = build([tick(0, 100, 1000), tick(60, 100, 1500), tick(86_400, 99, 700)])
    assert [closed[-1].volume, forming.volume] == [500, 700]


def test_day_bar_takes_the_day_from_the_quote():
    """One quote in the afternoon knows the whole day so far."""
    afternoon = tick(20_000, 105, 9000)
    quote = Tick(
        **{
            **{f: getattr(afternoon, f) for f in Tick.__slots__},
            "open": 100,
            "high": 110,
            "low": 95,
        }
    )
    _, day = build([quote], Interval.D1)
    assert (day.open, day.high, day.low, day.close, day.volume) == (100, 110, 95, 105, 9000)
    assert day.start == datetime(2026, 11, 20, tzinfo=IST)


def test_index_has_bars_without_volume():
    """An index tells no volume; its bars have none and are complete all the same."""
    closed, _ = build([tick(0, 100), tick(60, 101), tick(120, 102)])
    assert [(bar.volume, bar.complete) for bar in closed] == [(0, False), (0, True)]


def test_open_interest_is_the_last_told():
    """A quote without open interest keeps the bar's."""
    _, bar = build([tick(0, 100, 1, open_interest=500), tick(5, 100, 2)])
    assert bar.open_interest == 500


@pytest.mark.parametrize(
    ("interval", "second", "start"),
    [
        ("30m", 29 * 60, 0),
        ("30m", 30 * 60, 30 * 60),
        ("1h", 3599, 0),
        ("15m", 900, 900),
        ("1s", 7, 7),
    ],
)
def test_bars_count_from_the_opening(interval, second, start):
    """A 30-minute bar starts at 09:15, 09:45 and so on."""
    assert Interval.parse(interval).floor_epoch(OPEN + second) == OPEN + start


def test_every_label_parses_and_others_do_not():
    """Labels round-trip, the broker's spelling is understood, nonsense is refused."""
    assert [Interval.parse(interval.label) for interval in Interval] == list(Interval)
    assert [Interval.parse(t) for t in ("1minute", "30minute", "1day", "minute", "1second")] == [
        Interval.M1, Interval.M30, Interval.D1, Interval.M1, Interval.S1,
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="7m"):
        Interval.parse("7m")


def test_resampled_bar_is_complete_only_when_its_parts_are():
    """One incomplete minute makes its five minutes incomplete."""
    minute = [
        Bar(clock.from_epoch(OPEN + 60 * n), Interval.M1, 1, 2, 0.5, 1, 10, complete=n != 7)
        for n in range(10)
    ]
    assert [bar.complete for bar in resample(minute, Interval.M5)] == [True, False]
