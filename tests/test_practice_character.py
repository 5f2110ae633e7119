"""Each trait of the practice market is there when it is on, gone when it is off, and adds up."""

from dataclasses import replace
from datetime import date
from urllib.request import urlopen

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breeze_lab import clock
from breeze_lab._sdk import load
from breeze_lab.bars import Interval
from breeze_lab.practice.exchange import contracts, history, oddities, tempo
from breeze_lab.practice.exchange.actions import ACTIONS
from breeze_lab.practice.exchange.character import Character
from breeze_lab.practice.exchange.constituents import WEIGHTS, basket
from breeze_lab.practice.exchange.daily import halt_numbers, volatility
from breeze_lab.practice.exchange.days import day_number, day_of, midnight
from breeze_lab.practice.exchange.market import Live, Market
from breeze_lab.practice.exchange.market_clock import MarketClock
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.exchange.universe import universe
from breeze_lab.settings import Endpoints

TODAY = day_number(date(2026, 11, 20))
FULL = Prices(1, None)
CLEAN = Prices(1, None, Character.clean())
NIFTY = universe().cash["NSE", "NIFTY"]
RELIANCE = universe().cash["NSE", "RELIND"]
STOCKS = [c for c in universe().cash.values() if c.kind == "stock"]
SMALL = [c for c in STOCKS if c.tier == "C"]
INDICES = [universe().cash[key] for key in WEIGHTS]
#: An index may differ from the sum of its constituents by so much within the day.
TOLERANCE = 0.001


def by_symbol(symbol, exchange="NSE"):
    return next(c for c in STOCKS if (c.exchange, c.symbol) == (exchange, symbol))


def trading_days(first, last=TODAY, contract=RELIANCE):
    numbers = range(day_number(first), last)
    return np.array([n for n in numbers if FULL.is_open_day(contract, n)])


def locked_days(prices, contract, last=TODAY):
    return [int(n) for n in np.flatnonzero(prices.walk(contract).lock[:last])]


@pytest.fixture(scope="module")
def locker():
    """The stock that locks most often, and the days on which it did."""
    return max(((c, locked_days(FULL, c)) for c in SMALL[::5]), key=lambda found: len(found[1]))


# -- switches --------------------------------------------------------------------------------


def test_a_character_is_named_and_unnamed():
    """Everything is on unless said; clean is nothing; lists of names switch."""
    assert str(Character()).split(",") == list(Character.names())
    assert str(Character.clean()) == ""
    assert Character().without(",".join(Character.names())) == Character.clean()
    some = Character().without(" gaps, Halts,")
    assert (some.gaps, some.halts, some.regimes) == (False, False, True)
    assert Character.only("gaps,halts") == replace(Character.clean(), gaps=True, halts=True)
    with pytest.raises(ValueError, match=r"'gapz'. The traits are: gaps, regimes"):
        Character().without("gapz")


def test_a_market_has_the_character_it_is_given():
    """The market hands its character to its prices; without one it has all traits."""
    assert Market(1, None, MarketClock()).prices.character == Character()
    assert Market(1, None, MarketClock(), Character.clean()).prices.character == Character.clean()


@pytest.mark.parametrize("name", ["profile", "burst", "sparse", "auctions", "oddities"])
def test_a_switch_leaves_prices_of_days_alone(name):
    """How trading lies within a day changes no open, high, low or close of any day."""
    other = Prices(1, None, Character().without(name))
    numbers = trading_days(date(2025, 1, 1))
    for contract in (NIFTY, RELIANCE, *SMALL[::60]):
        one, two = FULL.days(contract, numbers), other.days(contract, numbers)
        for field in ("open", "high", "low", "close"):
            assert (getattr(one, field) == getattr(two, field)).all()


def test_the_order_of_questions_does_not_matter(locker):
    """Two markets of one seed agree on odd days, whatever was asked before."""
    contract, days = locker
    asked = [(contract, n) for n in days[-3:]] + [(NIFTY, n) for n in FULL.halts[2:4]]
    one, two = Prices(1, None), Prices(1, None)
    first = [one.minutes(c, n) for c, n in asked]
    second = [two.minutes(c, n) for c, n in reversed(asked)][::-1]
    for a, b in zip(first, second, strict=True):
        assert all((getattr(a, x) == getattr(b, x)).all() for x in ("open", "close", "volume"))


# -- indices ---------------------------------------------------------------------------------


def furthest(prices, index, number, parts):
    """How far an index is from its parts: (at the open, at the close, in any minute)."""
    own = prices.minutes(index, number)
    bars = [prices.minutes(c, number) for c in parts.contracts]
    level = parts.level(bar.close for bar in bars)
    traded = np.all([bar.volume > 0 for bar in bars], axis=0) & (own.volume > 0)
    opened = parts.level(bar.open[np.flatnonzero(bar.volume)[0]] for bar in bars)
    within = np.abs(own.close[traded] / level[traded] - 1).max()
    return abs(int(own.open[0] - opened)), abs(int(own.close[-1] - level[-1])), within


ODD_DAYS = [
    day_number(date(2026, 11, 19)),  # closing auction
    day_number(date(2026, 7, 30)),  # the day of the reference prices
    day_number(date(2025, 10, 21)),  # Muhurat, an hour
    day_number(date(2024, 3, 2)),  # a Saturday with a break
    day_number(date(2019, 5, 20)),
    FULL.halts[4],
]


@pytest.mark.parametrize("prices", [FULL, CLEAN, Prices(3, date(2026, 11, 1))])
@pytest.mark.parametrize("index", INDICES, ids=lambda c: c.code)
def test_an_index_is_the_sum_of_its_constituents(prices, index):
    """At open and close to the tick, in every minute within a tenth of a percent."""
    parts = basket(index)
    for number in ODD_DAYS:
        opened, closed, within = furthest(prices, index, number, parts)
        assert (opened, closed) == (0, 0), day_of(number)
        assert within < TOLERANCE, day_of(number)


def test_the_check_of_an_index_catches_a_wrong_quantity():
    """The planted fault: five percent more of one large constituent must be seen."""
    parts = basket(NIFTY)
    wrong = (round(parts.quantities[0] * 1.05), *parts.quantities[1:])
    opened, _, within = furthest(FULL, NIFTY, ODD_DAYS[0], replace(parts, quantities=wrong))
    assert opened
    assert within > TOLERANCE


def test_weights_are_whole_and_hold_on_the_reference_day():
    """They add up to 100; at reference prices the index has its reference value."""
    anchor = np.array([day_number(date(2026, 7, 30))])
    assert len(WEIGHTS["NSE", "NIFTY"]) == 50
    for index in INDICES:
        assert sum(WEIGHTS[index.exchange, index.code].values()) == pytest.approx(100)
        assert FULL.day_closes(index, anchor)[0] * 0.05 == pytest.approx(index.base, rel=1e-5)


def test_stocks_move_together_within_the_day():
    """Quarter hours of two large stocks agree far more often than not, and with the index."""
    banks = [universe().cash["NSE", code] for code in ("HDFBAN", "LARTOU", "INFTEC")]
    found = []
    for number in trading_days(date(2026, 10, 1)).tolist():
        moves = [np.diff(FULL.minutes(c, number).close[:360:15]) for c in (NIFTY, *banks)]
        found += [np.corrcoef(moves[0], move)[0, 1] for move in moves[1:]]
    assert np.mean(found) > 0.5


@pytest.mark.parametrize(("small", "large"), [("GOLDMI", "GOLD"), ("CRUDMI", "CRUDE")])
def test_the_same_thing_in_small_costs_the_same(small, large):
    """A mini follows its large contract for years and within the day, to a few ticks."""
    one, two = (universe().spots["MCX", code] for code in (small, large))
    numbers = trading_days(date(2018, 1, 1))
    ratio = FULL.day_closes(one, numbers) / FULL.day_closes(two, numbers)
    assert ratio == pytest.approx(one.base / two.base, rel=2e-3)
    minutes = [FULL.minutes(c, TODAY - 1).close for c in (one, two)]
    assert minutes[0] / minutes[1] == pytest.approx(one.base / two.base, rel=2e-3)


# -- the shape of days -----------------------------------------------------------------------


def test_opens_gap():
    """With gaps an open is often half a day's move away from the close before; without, never."""
    numbers = trading_days(date(2020, 1, 1))
    far = {}
    for prices in (FULL, CLEAN):
        days = prices.days(RELIANCE, numbers)
        gap = np.abs(days.open[1:] / days.close[:-1] - 1) / volatility(RELIANCE)
        far[prices] = (gap[np.diff(numbers) == 1] > 0.5).mean()
    assert far[FULL] > 0.2
    assert far[CLEAN] == 0


def crossings(bars):
    """How often a day's closes cross the straight line from open to close."""
    line = np.linspace(bars.open[0], bars.close[-1], len(bars.close))
    return (np.diff(np.sign(bars.close - line)) != 0).sum()


def test_some_days_trend_and_some_go_to_and_fro():
    """Days of a large move go straight, days of a small one cross their line over and over."""
    numbers = trading_days(date(2024, 6, 1))
    size = np.abs(FULL.market[numbers])
    far, near = numbers[size > 1.3][:25].tolist(), numbers[size < 0.35][:25].tolist()
    straight, to_and_fro = {}, {}
    for prices in (FULL, CLEAN):
        days = prices.days(NIFTY, np.array(far))
        straight[prices] = np.median(np.abs(days.close - days.open) / (days.high - days.low))
        to_and_fro[prices] = np.mean([crossings(prices.minutes(NIFTY, n)) for n in near])
    assert straight[FULL] > straight[CLEAN]
    assert straight[FULL] > 0.75
    assert to_and_fro[FULL] > 1.3 * to_and_fro[CLEAN]


def test_a_day_does_not_lie_flat_at_its_high_or_low():
    """An index turns back at the edges of its day: no two minutes in a row close there."""
    prices, nifty = Prices(1, None), universe().cash["NSE", "NIFTY"]
    days = [number for number in range(200, 400) if prices.is_open_day(nifty, number)][:60]
    assert len(days) == 60
    for number in days:
        bars = prices.minutes(nifty, number)
        for edge in (bars.high.max(), bars.low.min()):
            there = bars.close == edge
            assert not (there[1:] & there[:-1]).any(), number


def test_the_first_minutes_are_a_burst_and_lunch_is_quiet():
    """Volume is several times as high at first, lowest at noon; even when both are off."""
    days = trading_days(date(2026, 6, 1), day_number(date(2026, 7, 30))).tolist()
    shape = {p: sum(p.minutes(RELIANCE, n).volume for n in days) for p in (FULL, CLEAN)}
    assert shape[FULL][:3].mean() > 4 * shape[FULL][170:200].mean()
    assert shape[FULL][20:60].mean() > 1.3 * shape[FULL][170:200].mean()
    assert shape[CLEAN][:3].mean() < 1.3 * shape[CLEAN][170:200].mean()


def test_all_rooms_together_make_thousands_of_trades_a_second_at_the_open():
    """Two thousand rooms make over 8,000 trades a second in the first minute; far fewer at noon."""
    number = TODAY - 1
    some = STOCKS[::20]
    first, noon = (sum(len(FULL.trades(c, number, m).price) for c in some) for m in (0, 180))
    per_second = 2000 / len(some) / 60
    assert first * per_second > 8000
    assert noon < 0.7 * first


# -- circuits, halts, rare trades ------------------------------------------------------------


def test_small_stocks_lock_at_their_circuit_limit(locker):
    """A locked day closes at its limit, stays there from a minute on, and hardly trades."""
    contract, days = locker
    assert len(days) > 20
    kinds = set()
    for number in days[-20:]:
        lower, upper = FULL.circuit(contract, number)
        day = FULL.days(contract, np.array([number])).take(0)
        minutes = FULL.minutes(contract, number)
        up = bool(FULL.walk(contract).lock[number] > 0)
        limit = upper if up else lower
        assert day.close == limit == (day.high if up else day.low)
        still = (minutes.high == limit) & (minutes.low == limit)
        away = np.flatnonzero((minutes.volume > 0) & ~still)
        late = minutes.volume[int(away[-1]) + 1 if len(away) else 0 : -1]
        assert len(late) > 100
        assert (late[1:] == 0).mean() > 0.6
        sides = [tempo.locked(FULL, contract, number, m) for m in range(len(minutes.volume))]
        assert set(sides) <= {0, 1 if up else -1}
        assert sides[-100] != 0
        assert sides[0] == 0 or day.open == limit
        while_locked = (np.array(sides) != 0) & (minutes.volume > 0)
        assert (minutes.close[while_locked] == limit).all()
        assert still[while_locked][1:].all()
        kinds.add((up, day.open == limit))
    assert len(kinds) == 4, "up and down, from the open and later"


def test_the_book_of_a_locked_stock_has_one_side(locker):
    """Nobody sells at the upper limit, nobody buys at the lower; before the lock both sides quote."""
    contract, days = locker
    seen = set()
    for number in days[-6:]:
        side = int(FULL.walk(contract).lock[number])
        first, count = FULL.hours(contract, number)
        opened_ms = (midnight(number) + first * 60) * 1000
        late = Live(FULL, contract, opened_ms + (count - 5) * 60_000).book()
        assert bool(late.bids) == bool(late.total_bid) == (side > 0)
        assert bool(late.asks) == bool(late.total_ask) == (side < 0)
        seen.add(side)
        minutes = FULL.minutes(contract, number)
        traded = np.flatnonzero(minutes.volume)
        early = int(traded[0])
        if not tempo.locked(FULL, contract, number, early):
            free = Live(FULL, contract, opened_ms + (early + 1) * 60_000 - 1).book()
            assert free.bids
            assert free.asks
    assert seen == {1, -1}


def test_nothing_locks_when_circuits_are_off(locker):
    """Without the trait no small stock ever touches its limit."""
    contract, days = locker
    assert locked_days(CLEAN, contract) == []
    bars = CLEAN.days(contract, np.array(days))
    limits = np.array([CLEAN.circuit(contract, n) for n in days])
    assert (bars.low > limits[:, 0]).all()
    assert (bars.high < limits[:, 1]).all()


@pytest.mark.parametrize("prices", [FULL, Prices(9, date(2026, 8, 20))])
def test_no_stock_ever_leaves_its_circuit_limits(prices):
    """Locked days, halts and ex-dates included, on both exchanges; no price is below a tick."""
    numbers = np.arange(TODAY - 700, TODAY)
    acting = [c for c in STOCKS if c.symbol in {a.symbol for a in ACTIONS}]
    for contract in (*SMALL[::25], *acting):
        visible = np.array([prices.is_open_day(contract, int(n)) for n in numbers])
        days = prices.days(contract, numbers[visible])
        limits = np.array([prices.circuit(contract, int(n)) for n in numbers[visible]])
        assert (days.low >= np.maximum(limits[:, 0], 1)).all(), contract.key
        assert (days.high <= limits[:, 1]).all(), contract.key


@pytest.mark.parametrize("seed", [1, 2])
def test_once_in_years_the_whole_market_halts(seed):
    """For an hour nothing trades on NSE, BSE and NFO; the day falls hard; gold goes on."""
    prices = Prices(seed, None)
    past = [n for n in prices.halts if n < TODAY]
    assert 4 <= len(past) <= 6
    number = past[-1]
    listing = contracts.listing(prices, day_of(number))
    future, option = (
        next(c for c in listing.contracts if (c.exchange, c.code, c.kind) == ("NFO", "NIFTY", k))
        for k in ("future", "option")
    )
    gold = next(c for c in listing.contracts if (c.code, c.kind) == ("GOLD", "future"))
    twin = by_symbol("RELIANCE", "BSE")
    stopped = tempo.halt(prices, NIFTY, number)
    assert stopped.stop - stopped.start == 60
    for contract in (NIFTY, RELIANCE, twin, future, option):
        volume = prices.minutes(contract, number).volume
        assert volume[stopped].sum() == 0
        if contract in (NIFTY, RELIANCE, future):
            assert (np.delete(volume[: stopped.stop + 60], np.arange(375)[stopped]) > 0).all()
    hour = slice(stopped.start + 15, stopped.stop + 15)  # MCX begins a quarter of an hour earlier
    assert prices.minutes(gold, number).volume[hour].min() > 0
    closes = prices.day_closes(NIFTY, np.array([number - 1, number]))
    assert -0.06 < closes[1] / closes[0] - 1 < -0.03
    falls = prices.minutes(NIFTY, number).close / closes[0] - 1
    assert falls[stopped.start - 1] < -0.025, "the fall is what stops it"
    assert halt_numbers(Prices(seed, None, Character().without("halts"))) == ()


def test_half_of_the_small_stocks_trade_rarely():
    """They have few minutes and wide steps; the others, and all of them without it, have many."""
    number = TODAY - 1
    rare = [c for c in SMALL if FULL.is_sparse(c)]
    assert 0.4 < len(rare) / len(SMALL) < 0.6
    part, step = {}, {}
    for prices in (FULL, CLEAN):
        bars = [prices.minutes(c, number) for c in rare[::12] if not FULL.walk(c).lock[number]]
        part[prices] = np.mean([(b.volume[:360] > 0).mean() for b in bars])
        jumps = [np.abs(np.diff(b.close[b.volume > 0]) / b.close[b.volume > 0][1:]) for b in bars]
        step[prices] = np.mean([np.median(x) for x in jumps])
    assert part[FULL] < 0.25
    assert part[CLEAN] > 0.95
    assert step[FULL] > 2 * step[CLEAN]


# -- corporate actions -----------------------------------------------------------------------


@pytest.mark.parametrize("exchange", ["NSE", "BSE"])
@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.symbol)
def test_corporate_actions_show_as_they_happened(action, exchange):
    """Raw prices jump by the ratio and volumes the other way; the day's base is adjusted."""
    contract, number = by_symbol(action.symbol, exchange), action.number
    assert clock.is_trading_day(day_of(number))
    assert number < TODAY
    around = np.array([number - 1, number])
    close = FULL.day_closes(contract, around)
    unadjusted = Prices(1, None, Character().without("actions")).day_closes(contract, around)
    move = close[1] / close[0]
    usual = unadjusted[1] / unadjusted[0]
    rupees = action.rupees * 10_000 / contract.tick
    assert FULL.previous_close(contract, number) == round(close[0] * action.factor) or (
        action.adjusted and FULL.previous_close(contract, number) == close[0]
    )
    lower, upper = FULL.circuit(contract, number)
    assert lower < close[1] < upper
    if action.adjusted:
        assert move == pytest.approx(usual, abs=1e-3)
    elif rupees:
        assert close[1] == pytest.approx((close[0] - rupees) * usual, rel=1e-3)
        assert FULL.previous_close(contract, number) == close[0]
    else:
        assert move / usual == pytest.approx(action.factor, rel=1e-3)
        before, after = (
            FULL.days(contract, trading_days(day_of(first), last)).volume.mean()
            for first, last in ((number - 60, number), (number, number + 60))
        )
        assert 0.6 < after / before * action.factor < 1.6


def test_the_reference_price_is_unchanged_by_actions():
    """On the reference day a stock costs its reference price whatever happened before or since."""
    anchor = np.array([day_number(date(2026, 7, 30))])
    for action in ACTIONS:
        contract = by_symbol(action.symbol)
        assert FULL.day_closes(contract, anchor) * contract.tick / 10_000 == pytest.approx(
            contract.base, abs=contract.tick / 10_000
        )


# -- auctions --------------------------------------------------------------------------------


def test_cash_closes_in_one_auction_trade():
    """From 15:15 nothing trades but once near 15:35, several percent of the day, at the close."""
    for contract in (RELIANCE, by_symbol("RELIANCE", "BSE"), SMALL[3]):
        for number in (TODAY - 1, day_number(date(2026, 8, 3))):
            minutes = FULL.minutes(contract, number)
            day = FULL.days(contract, np.array([number])).take(0)
            assert len(minutes.volume) == 380
            assert minutes.volume[360:379].sum() == 0
            trades = FULL.trades(contract, number, 379)
            assert trades.price.tolist() == [day.close]
            assert trades.time_ms[0] >= 40_000
            assert 0.03 < trades.volume[0] / day.volume < 0.1


def test_there_is_no_auction_elsewhere():
    """Not before August 2026, not at Muhurat, not in futures, not round the clock, not when off."""
    without = Prices(1, None, Character().without("auctions"))
    always = Prices(1, date(2026, 11, 1))
    future = next(
        c
        for c in contracts.listing(FULL, day_of(TODAY)).contracts
        if (c.code, c.kind) == ("RELIND", "future")
    )
    july, muhurat = day_number(date(2026, 7, 31)), day_number(date(2026, 11, 8))
    for prices, contract, number in (
        (FULL, RELIANCE, july), (FULL, RELIANCE, muhurat), (FULL, future, TODAY - 1),
        (without, RELIANCE, TODAY - 1), (always, RELIANCE, TODAY - 1),
    ):  # fmt: skip
        assert (prices.minutes(contract, number).volume > 0).all()
    assert (FULL.minutes(NIFTY, TODAY - 1).volume > 0).all(), "an index is told all the time"


def test_the_market_knows_its_phase():
    """Phases are the calendar's, a halt counts, and a 24-hour day is open at any hour."""

    def at(prices, day, hour, minute, contract=RELIANCE):
        opened = midnight(day_number(day)) + hour * 3600 + minute * 60
        return tempo.phase(prices, contract, opened * 1000)

    always = Prices(1, date(2026, 11, 1))
    today = day_of(TODAY)
    assert [at(FULL, today, 9, m) for m in (0, 8, 12, 15)] == [
        "pre-open", "matching", "buffer", "open",
    ]  # fmt: skip
    assert at(FULL, today, 15, 20) == "closing-auction"
    assert at(CLEAN, today, 15, 20) == "open"
    assert at(FULL, today, 15, 35) == at(FULL, date(2026, 11, 22), 11, 0) == "closed"
    assert at(always, date(2026, 11, 22), 3, 0) == "open"
    number = FULL.halts[4]
    minute = 555 + tempo.halt(FULL, RELIANCE, number).start
    phases = [
        at(FULL, day_of(number), 0, m) for m in (minute - 1, minute, minute + 59, minute + 60)
    ]
    assert phases == ["open", "halt", "halt", "open"]


# -- oddities --------------------------------------------------------------------------------

NOW_MS = (midnight(TODAY) + 12 * 3600) * 1000


def differences(contract, number, interval=Interval.M1, now_ms=NOW_MS):
    """The kinds of bad bars seen in the answer for one day, by comparing it with the market."""
    span = (midnight(number), midnight(number + 1) - 1)
    sound = history.series(FULL, contract, interval, span, now_ms)
    given_ = oddities.answer(FULL, contract, interval, span, now_ms)
    seen = set()
    if len(given_) > len(sound):
        extra = set(given_.start.tolist()) - set(sound.start.tolist())
        at = given_.start.tolist().index(extra.pop())
        assert given_.bars.volume[at] == 0
        assert sorted(given_.start.tolist()) == given_.start.tolist()
        seen.add({"09:05": "early", "15:30": "late"}[f"{clock.from_epoch(given_.start[at]):%H:%M}"])
    elif len(sound) and (given_.bars.close == 100 * sound.bars.close).all():
        seen.add("scale")
    else:
        if (given_.bars.volume < 0).any():
            seen.add("negative")
        beyond = (given_.bars.high > sound.bars.high) | (given_.bars.low < sound.bars.low)
        if beyond.any():
            assert beyond.sum() == 1
            seen.add("spike")
    return seen


def test_bad_bars_are_where_the_list_says_and_nowhere_else():
    """Every listed oddity is seen in answers, of every kind; other days are sound."""
    kinds = set()
    for contract in (NIFTY, *STOCKS[:60:4], *SMALL[:40:8]):
        listed = {o.number: o for o in oddities.found(FULL, contract, TODAY - 300, TODAY - 1)}
        for number, odd in listed.items():
            shown = {odd.kind} if odd.shows(NOW_MS) else set()
            assert differences(contract, number) == shown
            kinds |= shown
        quiet = [n for n in range(TODAY - 12, TODAY) if n not in listed]
        assert not any(differences(contract, n) for n in quiet)
    assert kinds == {"early", "late", "negative", "spike", "scale"}


def test_a_scale_break_heals_when_asked_on_another_day():
    """Day bars too are a hundred times too large on one day of asking, and sound on the next."""
    odd = next(
        o for c in STOCKS for o in oddities.found(FULL, c, TODAY - 100, TODAY - 1, only_scale=True)
    )
    found = [
        differences(odd.contract, odd.number, Interval.D1, NOW_MS + days * 86_400_000)
        for days in (0, 1)
    ]
    assert sorted(found, key=len) == [set(), {"scale"}]


def test_oddities_come_only_after_their_day():
    """A day that will be odd is sound until it is over."""
    count = 0
    for contract in STOCKS[::12]:
        for odd in oddities.found(FULL, contract, TODAY - 200, TODAY):
            span = (midnight(odd.number), midnight(odd.number + 1) - 1)
            found = oddities.answer(FULL, contract, Interval.M1, span, span[1] * 1000)
            sound = history.series(FULL, contract, Interval.M1, span, span[1] * 1000)
            for field in ("open", "high", "low", "close", "volume"):
                assert (getattr(found.bars, field) == getattr(sound.bars, field)).all()
            count += 1
    assert count > 30


def test_there_are_no_oddities_round_the_clock_or_when_clean():
    """Days of 24 hours are sound, and a clean market answers what it is."""
    always = Prices(1, day_of(TODAY - 400))
    for contract in STOCKS[::10]:
        assert oddities.found(CLEAN, contract, 1, TODAY) == []
        assert oddities.found(always, contract, TODAY - 400, TODAY) == []


def test_the_sdk_is_told_of_bad_bars_as_listed(practice, tmp_path):
    """The unmodified SDK gets every kind of oddity of a real practice market where it is listed."""
    master = tmp_path / "SecurityMaster.zip"
    with urlopen(practice["master_url"]) as answer:
        master.write_bytes(answer.read())
    sdk = load(Endpoints.from_dict(practice, name="practice"), master)
    breeze = sdk.BreezeConnect(api_key=practice["app_key"])
    breeze.generate_session(api_secret=practice["secret"], session_token=practice["api_session"])
    since = date.fromisoformat(practice["open_since"])
    prices = Prices(practice["seed"], since)
    last = day_number(since) - 1
    nse = [c for c in STOCKS if c.exchange == "NSE"]
    listed = {}
    for contract in nse[::7]:
        for odd in oddities.found(prices, contract, last - 200, last):
            if odd.shows((midnight(last + 1) + 1) * 1000):
                listed.setdefault(odd.kind, odd)
    assert set(listed) == {"early", "late", "negative", "spike", "scale"}
    for kind, odd in listed.items():
        day = day_of(odd.number)
        rows = breeze.get_historical_data_v2(
            "1minute", f"{day}T09:00:00.000Z", f"{day}T15:59:00.000Z", odd.contract.code, "NSE",
            "cash",
        )["Success"]  # fmt: skip
        stamp = f"{clock.from_epoch(odd.start):%Y-%m-%d %H:%M:%S}"
        row = next((row for row in rows if row["datetime"] == stamp), rows[0])
        sound = prices.days(odd.contract, np.array([odd.number])).take(0)
        tick = odd.contract.tick / 10_000
        assert {
            "early": row["volume"] == 0 and stamp.endswith("09:05:00"),
            "late": row["volume"] == 0 and stamp.endswith("15:30:00"),
            "negative": row["volume"] < 0,
            "spike": row["high"] > sound.high * tick or row["low"] < sound.low * tick,
            "scale": row["low"] > 50 * sound.high * tick,
        }[kind], (kind, row)


# -- exactness whatever the character --------------------------------------------------------


def assert_merges(parent, parts):
    """`parts`, traded bars in order, are what `parent` says."""
    assert parts.volume.min() > 0
    assert parts.volume.sum() == parent.volume
    assert (parts.open[0], parts.close[-1]) == (parent.open, parent.close)
    assert (parts.high.max(), parts.low.min()) == (parent.high, parent.low)


MARKETS = [
    FULL, CLEAN, Prices(2, date(2026, 9, 1)),
    *(Prices(4, None, Character.only(name)) for name in ("circuits", "sparse", "auctions", "halts")),
]  # fmt: skip


@st.composite
def odd_days(draw):
    """A market, a stock or an index and a day, mostly one on which something happens."""
    prices = draw(st.sampled_from(MARKETS))
    contract = draw(st.sampled_from([*SMALL, *INDICES, RELIANCE]))
    choices = [n for n in (*locked_days(prices, contract), *prices.halts) if n < TODAY]
    choices += draw(st.lists(st.integers(TODAY - 1200, TODAY), min_size=2, max_size=2))
    number = draw(st.sampled_from(choices))
    while not prices.is_open_day(contract, number):
        number -= 1
    return prices, contract, number


@settings(max_examples=150, deadline=None)
@given(odd_days(), st.integers(0, 10**6))
def test_everything_merges_exactly_on_odd_days_too(case, pick):
    """Minutes make the day, seconds their minute, trades their seconds."""
    prices, contract, number = case
    minutes = prices.minutes(contract, number)
    traded = np.flatnonzero(minutes.volume)
    bars = minutes.take(traded)
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.low >= 1).all()
    assert_merges(prices.days(contract, np.array([number])).take(0), bars)
    lower, upper = prices.circuit(contract, number)
    assert lower <= bars.low.min() <= bars.high.max() <= upper
    minute = int(traded[pick % len(traded)])
    for one in {minute, int(traded[0]), int(traded[-1])}:
        seconds = prices.minute_seconds(contract, number, one)
        assert_merges(minutes.take(one), seconds.take(seconds.volume > 0))
        trades = prices.trades(contract, number, one)
        assert (np.diff(trades.time_ms) > 0).all()
        assert trades.volume.min() > 0
        assert trades.volume.sum() == minutes.volume[one]
        assert (trades.price[0], trades.price[-1]) == (minutes.open[one], minutes.close[one])
        assert trades.price.max() == minutes.high[one]
        assert trades.price.min() == minutes.low[one]
