"""Many intervals at once make the bars that each would make alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars import OPEN, tick

from breeze_lab import ladder as ladder_room
from breeze_lab.bars import BarBuilder, Fold, Interval, resample
from breeze_lab.clock import from_epoch
from breeze_lab.ladder import Ladder
from breeze_lab.relay.market import Line


class Alone:
    """One interval by itself, every tick at once."""

    def __init__(self, interval, anchor_s):
        self.interval = interval
        self.builder = BarBuilder(interval, anchor_s)
        self.closed = []

    def step(self, epoch_s, one):
        before = self.builder.start_s
        bar = self.builder.add_at(epoch_s, one)
        if bar is None:
            return self.builder.start_s
        self.closed.append(bar)
        return before

    def fold(self, fold):
        self.builder.fold(fold)

    def state(self):
        """Return everything that a bar built later could depend on."""
        return self.closed, vars(self.builder)


#: A step in time (mostly forward, sometimes back, now and then a day), a price, a volume, the
#: day's prices, open interest; or a gap, or somebody who looks.
quotes = st.tuples(
    st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 7, 30, 61, 400, 4000, 86_400, -1, -3, -70, -4000]),
    st.integers(1, 9) | st.none(),
    st.integers(-5, 40) | st.none(),
    st.booleans(),
    st.integers(1, 3) | st.none(),
)
histories = st.lists(quotes | st.sampled_from(["gap", "look", "clear"]), max_size=60)
intervals = st.sets(st.sampled_from(list(Interval)), min_size=1).map(
    lambda found: sorted(found, key=lambda one: one.value)
)
anchors = st.sampled_from([33_300, 32_400, 0, 33_305, 33_301])


def ticks(history):
    """Yield the events of a history: quotes with their second, and words."""
    second, volume = 0, 100
    for event in history:
        if isinstance(event, str):
            yield event
            continue
        step, price, quantity, day, interest = event
        second += step
        volume += quantity or 0
        quote = tick(second, price, None if quantity is None else volume, open_interest=interest)
        yield replace(quote, open=3, high=12, low=1) if day else quote


@given(histories, intervals, anchors)
@settings(max_examples=200, deadline=None)
def test_a_ladder_builds_what_each_interval_builds_alone(history, held, anchor_s):
    """Late ticks, gaps, missing values, days and looks at any moment change no bar."""
    together = [Alone(interval, anchor_s) for interval in held]
    alone = [Alone(interval, anchor_s) for interval in held]
    ladder = Ladder(together, anchor_s)
    for event in ticks(history):
        if event == "gap":
            ladder.flush()
            for one in (*together, *alone):
                one.builder.gap()
        elif event == "look":
            ladder.flush()
            assert [one.state() for one in together] == [one.state() for one in alone]
        elif event != "clear":
            epoch_s = event.time_s
            told = ladder.add(epoch_s, event) or {}
            want = {one.interval: one.step(epoch_s, event) for one in alone}
            for interval, since_s in want.items():
                if told.get(interval, since_s) != since_s:
                    raise AssertionError(interval)
    ladder.flush()
    assert [one.state() for one in together] == [one.state() for one in alone]


class Screen:
    """A consumer's watch: keeps the newest state of every bar it was told of."""

    def __init__(self, line):
        self.line = line
        self.bars = {interval: {} for interval in Interval}

    def offer(self, _sample, changed):
        for interval, since_s in changed.items():
            if since_s is not None:
                for row in self.line.series[interval].rows(since_s):
                    self.bars[interval][row.values[2]] = row.values


def everyone(anchor_s):
    return [Alone(interval, anchor_s) for interval in Interval]


@given(histories, anchors)
@settings(max_examples=80, deadline=None)
def test_a_line_shows_the_bars_of_each_interval(history, anchor_s):
    """What a consumer is shown at any moment, and what it is told has changed, is exact."""
    line, alone = Line("k", "4.1!2885", anchor_s), everyone(anchor_s)
    line.hold(list(Interval))
    screen = Screen(line)
    line.shown = (screen,)
    heard = False
    for number, event in enumerate(ticks(history)):
        if event == "gap":
            line.gap()
            for one in alone if heard else ():
                one.builder.gap()
            heard = False
        elif event == "clear":
            line.clear()
            alone, heard = everyone(anchor_s), False
            screen.bars = {interval: {} for interval in Interval}
        elif event != "look":
            line.take(event, number + 1, 1, 0)
            heard = True
            for one in alone:
                one.step(event.time_s, event)
    for one in alone:
        agree(line.series[one.interval].rows(), one, screen.bars[one.interval])


def agree(rows, one, shown):
    """The rows are the bars built alone, and each closed one was shown as it is."""
    bars = [*one.closed, *([one.builder.forming] if one.builder.forming else [])]
    assert [row.values[2:9] for row in rows] == [
        (b.start.timestamp(), b.open, b.high, b.low, b.close, b.volume, b.open_interest)
        for b in bars
    ]
    closed = [row.values for row in rows if not row.values[10]]
    assert [values[9] for values in closed] == [bar.complete for bar in one.closed]
    assert [shown[values[2]] for values in closed] == closed


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 400), st.integers(0, 50)), min_size=2,
        max_size=150,
    )
)  # fmt: skip
@settings(deadline=None)
def test_the_hours_of_a_ladder_are_its_seconds_put_together(moves):
    """An independent way to the same bars: what the ticks of each bar say, and resampled seconds."""
    second, volume, stream = 0, 0, []
    for step, paise, quantity in moves:
        second, volume = second + step, volume + quantity
        stream.append(tick(second, paise / 20, volume))
    steps = [Alone(interval, 33_300) for interval in Interval if interval is not Interval.D1]
    ladder = Ladder(steps, 33_300)
    for one in stream:
        ladder.add(one.time_s, one)
    ladder.flush()
    seconds = [*steps[0].closed, steps[0].builder.forming]
    for one in steps:
        bars = [*one.closed, one.builder.forming]
        for bar in bars:
            start = bar.start.timestamp()
            prices = [t.last for t in stream if start <= t.time_s < start + one.interval.value]
            assert (bar.open, bar.high, bar.low, bar.close) == (
                prices[0], max(prices), min(prices), prices[-1],
            )  # fmt: skip
        merged = resample(seconds, one.interval)
        assert [(b.start, b.volume) for b in merged] == [(b.start, b.volume) for b in bars]


def test_an_interval_that_comes_later_begins_where_the_market_stands():
    """Holding and dropping intervals in the midst of a second loses no tick of the others."""
    line, alone = Line("k", "4.1!2885", 33_300), Alone(Interval.M1, 33_300)
    line.hold([Interval.M1])
    for number in range(40):
        if number == 10:
            line.hold([Interval.S1, Interval.M5])
        if number == 20:
            line.release([Interval.S1])
            line.drop_idle_series(before=float("inf"))
        one = tick(number // 7, 100 + number % 5, 10 * number)
        line.take(one, number + 1, 1, 0)
        alone.step(one.time_s, one)
    assert set(line.series) == {Interval.M1, Interval.M5}
    assert line.series[Interval.M1].builder.forming == alone.builder.forming
    assert line.series[Interval.M5].builder.forming.start == from_epoch(OPEN)


def test_the_check_catches_a_fold_that_forgets_the_low(monkeypatch):
    """The planted fault: a ladder whose folds keep no low is seen."""

    class Careless(Fold):
        def add(self, price, tick):
            super().add(max(price, self.low), tick)

    monkeypatch.setattr(ladder_room, "Fold", Careless)
    check = test_a_ladder_builds_what_each_interval_builds_alone.hypothesis.inner_test
    history = [(0, price, 1, False, None) for price in (3, 4, 2)]
    with pytest.raises(AssertionError):
        check(history=history, held=[Interval.S1], anchor_s=33_300)
