"""Everything the practice market prices agrees with itself, at every level, on any date."""

import json
import os
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breeze_lab import clock
from breeze_lab.bars import Bar, BarBuilder, Interval, resample
from breeze_lab.practice.exchange import contracts, history
from breeze_lab.practice.exchange.days import FIRST_DAY, day_number, day_of, midnight
from breeze_lab.practice.exchange.market import Live
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.exchange.split import Bars, share, split
from breeze_lab.practice.exchange.universe import RUPEE, universe
from breeze_lab.practice.wire import frames
from breeze_lab.ticks import decode_frame

TODAY = date(2026, 11, 20)
OPEN = Prices(1, date(2026, 9, 1))
HOURS = Prices(1, None)
LISTING = contracts.listing(OPEN, TODAY)


def some(exchange, kind, codes=None, count=12):
    found = [c for c in LISTING.contracts if (c.exchange, c.kind) == (exchange, kind)]
    found = [c for c in found if codes is None or c.code in codes]
    return found[:: max(len(found) // count, 1)]


SAMPLE = [
    *some("NSE", "stock", ["RELIND", "INFTEC", "HDFBAN", "MRFTYR", "YESBAN"]),
    *some("NSE", "stock"),
    *some("BSE", "stock"),
    *some("NSE", "index", count=4),
    *some("BSE", "index", count=2),
    *some("NFO", "future", count=8),
    *some("NFO", "option", ["NIFTY"], count=30),
    *some("NFO", "option", ["RELIND", "INFTEC"], count=10),
    *some("BFO", "option", count=8),
    *some("BFO", "future", count=3),
    *some("MCX", "future", count=10),
    *some("MCX", "option", count=8),
    *some("NDX", "future", count=3),
    *some("NDX", "option", count=6),
]
END_MS = (midnight(day_number(TODAY)) + 86_400) * 1000


@st.composite
def market_days(draw):
    """A market, a contract and a day on which it trades there."""
    prices = draw(st.sampled_from([OPEN, HOURS]))
    contract = draw(st.sampled_from(SAMPLE))
    back = 50 if contract.is_derivative else 3650
    number = day_number(TODAY) - draw(st.integers(0, back))
    while not prices.is_open_day(contract, number):
        number -= 1
        if day_number(TODAY) - number > back + 15:
            number = day_number(TODAY)
    return prices, contract, number


def assert_merges(parent, parts):
    """`parts`, traded bars in order, are what `parent` says."""
    assert parts.volume.min() > 0
    assert parts.volume.sum() == parent.volume
    assert parts.open[0] == parent.open
    assert parts.close[-1] == parent.close
    assert parts.high.max() == parent.high
    assert parts.low.min() == parent.low


@settings(max_examples=100, deadline=None)
@given(market_days())
def test_seconds_merge_to_minutes_and_minutes_to_the_day(case):
    """Every minute is the sum of its seconds and every day the sum of its minutes."""
    prices, contract, number = case
    minutes = prices.minutes(contract, number)
    traded = np.flatnonzero(minutes.volume)
    bars = minutes.take(traded)
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.low >= 1).all()
    if not contract.is_derivative:
        day = prices.days(contract, np.array([number])).take(0)
        assert_merges(day, minutes.take(traded))
    seconds = prices.seconds(contract, number, traded)
    for row, minute in enumerate(traded):
        inside = seconds.take(row)
        assert_merges(minutes.take(minute), inside.take(inside.volume > 0))


@settings(max_examples=40, deadline=None)
@given(market_days(), st.randoms(use_true_random=False))
def test_trades_merge_to_their_seconds(case, random):
    """The trades of a minute are its seconds, at most seventeen each, in order of time."""
    prices, contract, number = case
    minutes = prices.minutes(contract, number)
    traded = np.flatnonzero(minutes.volume).tolist()
    for minute in random.sample(traded, min(len(traded), 5)):
        trades = prices.trades(contract, number, minute)
        seconds = prices.minute_seconds(contract, number, minute)
        assert (np.diff(trades.time_ms) > 0).all()
        assert (trades.volume > 0).all()
        for second in np.flatnonzero(seconds.volume):
            inside = trades.time_ms // 1000 == second
            assert 1 <= inside.sum() <= 17
            price = trades.price[inside]
            assert_merges(
                seconds.take(second), Bars(price, price, price, price, trades.volume[inside])
            )
        assert set(trades.time_ms // 1000) == set(np.flatnonzero(seconds.volume))


def to_bars(found, interval, contract):
    columns = (found.bars.open, found.bars.high, found.bars.low, found.bars.close)
    rows = zip(found.start.tolist(), *(x.tolist() for x in columns), found.bars.volume.tolist(),
               found.interest.tolist(), strict=True)  # fmt: skip
    return [
        Bar(clock.from_epoch(t), interval, o, h, lo, c, v, oi) for t, o, h, lo, c, v, oi in rows
    ]


@settings(max_examples=40, deadline=None)
@given(market_days(), st.sampled_from([Interval.M5, Interval.M30, Interval.D1]))
def test_longer_bars_are_what_the_client_makes_of_minutes(case, interval):
    """What the server answers for 5 and 30 minutes and a day is `resample` of its minutes."""
    prices, contract, number = case
    span = (midnight(number), midnight(number + 1) - 1)
    end_ms = midnight(number + 1) * 1000
    minutes = history.visible_minutes(prices, contract, number, end_ms)
    expected = resample(to_bars(minutes, Interval.M1, contract), interval, contract.anchor_s)
    if len(minutes) and prices.hours(contract, number)[0] == 0:
        expected = [bar for bar in expected if bar.start.timestamp() >= span[0]]
    found = to_bars(history.series(prices, contract, interval, span, end_ms), interval, contract)
    if prices.hours(contract, number)[1] == 1440 and interval is Interval.M30:
        # The half hour over midnight belongs to both days; the day alone cannot tell its end.
        found, expected = found[:-1], expected[:-1]
    assert found == expected


@settings(max_examples=30, deadline=None)
@given(market_days(), st.integers(0, 10**9))
def test_the_live_stream_builds_the_bars_of_history(case, pick):
    """A client's bars made of quote frames equal what history says of the same minutes."""
    prices, contract, number = case
    minutes = prices.minutes(contract, number)
    traded = np.flatnonzero(minutes.volume)
    if len(traded) < 4 or contract.kind == "spot":
        return
    first = int(traded[pick % (len(traded) - 3)])
    opened = midnight(number) + 60 * (prices.hours(contract, number)[0] + first)
    live = Live(prices, contract, opened * 1000 - 1)
    builders = {
        interval: BarBuilder(interval, contract.anchor_s) for interval in (Interval.S1, Interval.M1)
    }
    built = {interval: [] for interval in builders}
    for builder in builders.values():
        builder.add(decode_frame(frames.quote(live)))
    last_ms = 0
    while last_ms < opened * 1000 + 180_000:
        last_ms = live.prepare() if live.next_ms is None else live.next_ms
        live.step()
        for interval, builder in builders.items():
            closed = builder.add(decode_frame(frames.quote(live)))
            if closed is not None and closed.start.timestamp() >= opened:
                built[interval].append(closed)
    for interval, bars in built.items():
        span = (opened, int(bars[-1].start.timestamp()) if bars else opened - 1)
        found = history.series(prices, contract, interval, span, END_MS)
        scale, unit = contract.tick / RUPEE, contract.unit
        expected = [
            (round(b.open * scale, 4), round(b.high * scale, 4), round(b.low * scale, 4),
             round(b.close * scale, 4), 0 if contract.kind == "index" else b.volume * unit)
            for b in to_bars(found, interval, contract)
        ]  # fmt: skip
        assert [(b.open, b.high, b.low, b.close, b.volume) for b in bars] == expected
        assert [b.start.timestamp() for b in bars] == found.start.tolist()


@settings(max_examples=30, deadline=None)
@given(
    market_days(), st.floats(0.01, 1.0), st.sampled_from([Interval.S1, Interval.M1, Interval.M30])
)
def test_what_has_been_shown_never_changes(case, fraction, interval):
    """History asked during the day equals history asked later, but for the bar that formed."""
    prices, contract, number = case
    first, count = prices.hours(contract, number)
    now_ms = (midnight(number) + first * 60) * 1000 + int(count * 60_000 * fraction)
    span = (now_ms // 1000 - 900, now_ms // 1000)
    early = history.series(prices, contract, interval, span, now_ms)
    late = history.series(prices, contract, interval, span, now_ms + 10**9)
    early, late = (to_bars(x, interval, contract) for x in (early, late))
    if early and early[-1] != late[len(early) - 1]:
        forming, whole = early.pop(), late[len(early)]
        assert forming.open == whole.open
        assert whole.low <= forming.low <= forming.high <= whole.high
        assert 0 < forming.volume < whole.volume
        assert forming.start.timestamp() * 1000 + interval.value * 1000 > now_ms
    assert early == late[: len(early)]
    assert len(late) - len(early) <= 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_split_is_exact_whatever_the_parent(data):
    """Any tradable bar over any volumes splits into tradable bars that merge to it."""
    slots = data.draw(st.integers(1, 40))
    volume = data.draw(st.integers(1, 60))
    low = data.draw(st.integers(1, 1000))
    o, c = (low + data.draw(st.integers(0, 9)) for _ in range(2))
    high = max(o, c) + (data.draw(st.integers(0, 9)) if volume >= 3 else 0)
    low = min(o, c, low) if volume >= 4 else min(o, c)
    if volume == 1:
        o = high = low = c
    weights = data.draw(st.lists(st.integers(1, 1000), min_size=slots, max_size=slots))
    noise = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=slots, max_size=slots))
    word = np.array([noise], np.uint64)
    parent = Bars(*(np.array([x]) for x in (o, high, low, c, volume)))
    units = share(parent.volume, np.array([weights]))
    parts = split(parent, units, word, data.draw(st.sampled_from([1, -1])), word).take(0)
    traded = parts.take(parts.volume > 0)
    assert_merges(parent.take(0), traded)
    extremes = (traded.high > np.maximum(traded.open, traded.close)).astype(int)
    extremes += traded.low < np.minimum(traded.open, traded.close)
    ends = np.where((extremes > 0) | (traded.open != traded.close), 2, 1)
    assert (ends + extremes <= traded.volume).all()


@pytest.mark.parametrize("prices", [OPEN, HOURS, Prices(7, date(2017, 3, 1))])
def test_cash_stays_within_circuit_limits_for_ten_years(prices):
    """No day of any stock or index leaves the band around the close before."""
    numbers = np.arange(day_number(TODAY) - 3650, day_number(TODAY))
    for contract in list(universe().cash.values())[::9]:
        visible = np.array([prices.is_open_day(contract, int(n)) for n in numbers])
        days = prices.days(contract, numbers[visible])
        band = np.maximum((days.close[:-1] * contract.band).astype(np.int64), 2)
        assert (days.high[1:] <= days.close[:-1] + band).all(), contract.key
        assert (days.low[1:] >= days.close[:-1] - band).all(), contract.key


@settings(max_examples=40, deadline=None)
@given(market_days())
def test_every_price_lies_within_the_days_circuit_limits(case):
    """Derivatives too: theirs lie beyond their value at the underlying's, which a stock can reach."""
    prices, contract, number = case
    lower, upper = prices.circuit(contract, number)
    minutes = prices.minutes(contract, number)
    traded = minutes.volume > 0
    if traded.any():
        room = 1 if contract.is_derivative else 0
        assert lower + room <= minutes.low[traded].min()
        assert minutes.high[traded].max() <= upper - room


def test_options_follow_their_underlying():
    """Within a minute of the day calls rise with the index, puts fall, and parity holds."""
    nifty = universe().cash["NSE", "NIFTY"]
    number = day_number(TODAY) - 1
    chain = [c for c in LISTING.contracts if c.code == "NIFTY" and c.kind == "option"]
    spot = float(HOURS.minutes(nifty, number).close[100]) * nifty.tick / RUPEE
    expiry = sorted({c.expiry for c in chain})[2]
    near = min((c for c in chain if c.expiry == expiry), key=lambda c: abs(c.strike - spot))
    pair = {c.right: c for c in chain if (c.expiry, c.strike) == (expiry, near.strike)}
    moves = np.diff(HOURS.minutes(nifty, number).close[:375])
    call, put = (HOURS.minutes(pair[right], number) for right in ("CE", "PE"))
    assert np.corrcoef(moves, np.diff(call.close[:375]))[0, 1] > 0.95
    assert np.corrcoef(moves, np.diff(put.close[:375]))[0, 1] < -0.95
    years = ((expiry - day_of(number)).days) / 365
    parity = (call.close[100] - put.close[100]) * 0.05 - (
        spot - near.strike * np.exp(-0.065 * years)
    )
    assert abs(parity) < 3


def test_volume_is_busiest_at_open_and_close():
    """In exchange hours the first and last half hour trade more than the middle of the day."""
    stock = universe().cash["NSE", "RELIND"]
    numbers = [n for n in range(day_number(date(2026, 6, 1)), day_number(date(2026, 7, 30)))
               if HOURS.is_open_day(stock, n)]  # fmt: skip
    shape = sum(HOURS.minutes(stock, n).volume[:375] for n in numbers)
    assert shape[:30].mean() > 1.3 * shape[170:200].mean()
    assert shape[-30:].mean() > 1.3 * shape[170:200].mean()


def test_a_day_bar_does_not_depend_on_when_the_market_never_closes():
    """A date's day bar is the same whether it lasts six hours or twenty-four."""
    stock = universe().cash["NSE", "INFTEC"]
    numbers = np.arange(day_number(date(2026, 8, 20)), day_number(date(2026, 9, 20)))
    there, here = OPEN.days(stock, numbers), HOURS.days(stock, numbers)
    for name in ("open", "high", "low", "close", "volume"):
        assert (getattr(there, name) == getattr(here, name)).all()


def test_ten_years_answer_at_once():
    """Daily bars of ten years, 1,000 minutes and 1,000 seconds of old days come in no time."""
    stock = universe().cash["NSE", "TATSTE"]
    now_ms = END_MS - 40_000_000
    for interval, back in ((Interval.D1, 3650), (Interval.M1, 700), (Interval.S1, 1500)):
        end = now_ms // 1000 - (0 if interval is Interval.D1 else back * 86_400)
        start = now_ms // 1000 - 3650 * 86_400
        found = history.series(HOURS, stock, interval, (start, end), now_ms)
        assert len(found) == 1000
        assert (np.diff(found.start) > 0).all()


def test_a_second_process_knows_the_same_prices():
    """Seed and date alone decide, wherever it runs: the same history, master and frames."""
    script = """
import hashlib, json, sys
from datetime import date
import numpy as np
from breeze_lab.bars import Interval
from breeze_lab.practice.exchange import contracts, history, master
from breeze_lab.practice.wire import frames
from breeze_lab.practice.exchange.days import day_number, midnight
from breeze_lab.practice.exchange.market import Live
from breeze_lab.practice.exchange.prices import Prices
prices = Prices(5, date(2026, 11, 1))
listing = contracts.listing(prices, date(2026, 11, 20))
now = midnight(day_number(date(2026, 11, 20))) * 1000 + 55_555_555
told = hashlib.sha256(master.build(prices, listing))
chosen = [c for c in listing.contracts if c.kind != "spot"]
order = chosen[:: len(chosen) // 40]
digests = {}
for contract in order if len(sys.argv) == 1 else order[::-1]:
    live = Live(prices, contract, now)
    text = json.dumps([frames.quote(live), frames.depth(live)])
    for interval in (Interval.S1, Interval.M1, Interval.D1):
        found = history.series(prices, contract, interval, (now // 1000 - 3000, now // 1000), now)
        text += str(found.start.tolist()) + str(found.bars.close.tolist()) + str(found.bars.volume.tolist())
    digests[contract.key] = hashlib.sha256(text.encode()).hexdigest()
print(json.dumps([told.hexdigest(), sorted(digests.items())]))
"""
    elsewhere = {"TZ": "America/New_York", "LC_ALL": "hi_IN.UTF-8", "PYTHONHASHSEED": "7"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", script, *more],
            capture_output=True, text=True, check=True, env={**os.environ, **changes},
        )
        for more, changes in (([], {"TZ": "Asia/Kolkata"}), (["backwards"], elsewhere))
    ]  # fmt: skip
    first, second = (json.loads(run.stdout) for run in runs)
    assert first == second
    assert len(first[1]) >= 40


def test_another_seed_is_another_market():
    """The seed changes every price."""
    stock = universe().cash["NSE", "RELIND"]
    numbers = np.arange(day_number(TODAY) - 30, day_number(TODAY))
    assert (Prices(2, None).days(stock, numbers).close != HOURS.days(stock, numbers).close).any()


def test_expiries_move_before_holidays():
    """The last Tuesday of November 2026 is a holiday, so NSE contracts expire on the Monday."""
    assert contracts.expiries("NIFTY", "NSE", date(2026, 11, 20))[0] == date(2026, 11, 23)
    for exchange in ("NSE", "BSE", "MCX", "NDX"):
        days = contracts.expiries("CRUDE", exchange, date(2026, 11, 20))
        assert len(days) == 3
        assert all(clock.is_trading_day(day) and day >= date(2026, 11, 20) for day in days)


def test_tokens_stay_with_their_contract():
    """A contract listed on two days has one token; no two contracts share one."""
    later = contracts.listing(OPEN, TODAY + timedelta(days=3))
    now = {c.key: c.token for c in LISTING.contracts}
    both = [c for c in later.contracts if c.key in now]
    assert len(both) > 5000
    assert all(now[c.key] == c.token for c in both)
    assert len({(c.market, c.token) for c in LISTING.contracts}) == len(LISTING.contracts)


def test_nothing_is_known_before_the_first_day():
    """A range before the market began is empty, not an error."""
    stock = universe().cash["NSE", "RELIND"]
    span = (midnight(-700), midnight(-690))
    for interval in Interval:
        assert len(history.series(OPEN, stock, interval, span, END_MS)) == 0
    assert date(2014, 1, 1) == FIRST_DAY


def test_in_exchange_hours_nothing_trades_at_night():
    """With true hours the last quote of Friday stands until Monday's first second."""
    stock = universe().cash["NSE", "RELIND"]
    friday = day_number(date(2026, 11, 20))
    sunday_night_ms = (midnight(friday + 2) + 7200) * 1000
    live = Live(HOURS, stock, sunday_night_ms)
    opened = midnight(friday) + 33_300
    close = HOURS.days(stock, np.array([friday])).take(0)
    assert clock.from_epoch(live.quote.time_ms / 1000).date() == date(2026, 11, 20)
    assert live.quote.time_ms // 1000 >= opened + 380 * 60 - 60
    assert (live.quote.last, live.quote.volume) == (close.close, close.volume)
    assert live.next_ms is None
    assert 0 <= live.prepare() - (opened + 3 * 86_400) * 1000 < 1000
    live.step()
    assert live.quote.volume < 5000
    assert live.quote.previous_close == close.close


def test_a_market_open_since_today_has_true_hours_before():
    """Yesterday keeps its hours; from the first open day on every minute of the day exists."""
    stock = universe().cash["NSE", "RELIND"]
    sunday = day_number(date(2026, 11, 22))
    prices = Prices(1, date(2026, 11, 22))
    assert prices.minutes(stock, sunday - 1) is None
    assert len(prices.minutes(stock, sunday - 2).volume) == 380
    assert (prices.minutes(stock, sunday).volume > 0).sum() == 1440


def test_a_day_ends_and_another_begins_at_midnight():
    """Across midnight of a 24-hour market volume starts anew and yesterday's close is the close."""
    stock = universe().cash["NSE", "RELIND"]
    today = day_number(TODAY)
    live = Live(OPEN, stock, midnight(today) * 1000 - 60_000)
    before = None
    while live.quote.number < today or live.quote.time_ms < midnight(today) * 1000 + 120_000:
        if live.next_ms is None:
            live.prepare()
        if live.quote.number < today:
            before = (live.quote.last, live.quote.volume)
        live.step()
        assert live.quote.low <= live.quote.last <= live.quote.high
    yesterday = OPEN.days(stock, np.array([today - 1])).take(0)
    assert before[1] > live.quote.volume
    assert live.quote.previous_close == yesterday.close
    first = history.series(
        OPEN, stock, Interval.M1, (midnight(today), midnight(today) + 120), END_MS
    )
    assert live.quote.open == first.bars.open[0]
