"""Options make sense: parity within the quotes, smiles without free money, books always sane."""

import math
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from breeze_lab import clock
from breeze_lab.bars import Interval
from breeze_lab.practice.exchange import activity, contracts, derivatives, history, master, surface
from breeze_lab.practice.exchange.book import Book, Maker
from breeze_lab.practice.exchange.days import day_number, day_of, midnight
from breeze_lab.practice.exchange.expiry import weeklies
from breeze_lab.practice.exchange.market import Live, Quote
from breeze_lab.practice.exchange.noise import word
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.exchange.universe import RUPEE, universe
from breeze_lab.practice.wire import frames

FRIDAY = date(2026, 11, 20)
#: The last Tuesday of November is a holiday, so NSE months and NIFTY weeks end on this Monday.
NSE_EXPIRY = date(2026, 11, 23)
BSE_EXPIRY = date(2026, 11, 26)
RATE = {"I": 0.065, "A": 0.065, "B": 0.065, "C": 0.065, "M": 0.05, "X": 0.02}
MARKETS = {"open": Prices(1, date(2026, 9, 1)), "hours": Prices(1, None)}
NIFTY = universe().cash["NSE", "NIFTY"]
#: Times of day at which everything is looked at: opening and closing minutes above all.
TIMES = {
    "open": ("00:00:01", "09:15:02", "15:29:59", "15:36:00", "23:59:59.9"),
    "hours": ("09:15:01", "09:15:40", "09:31:07.5", "12:00:00", "15:29:59", "15:34:59", "15:39:59.9"),
}  # fmt: skip
DAYS = [("open", FRIDAY), ("open", NSE_EXPIRY), ("hours", NSE_EXPIRY), ("hours", BSE_EXPIRY)]
BLANK = Quote()
#: Rupees, a tenth of a tick: less than rounding to ticks hides.
ROUNDING = 0.005


def at(day, text):
    """Return the Unix milliseconds of a wall time in India."""
    hours, minutes, seconds = text.split(":")
    return midnight(day_number(day)) * 1000 + int(
        (int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000
    )


class Shop:
    """The market makers of everything listed on a day, and the chains they quote."""

    def __init__(self, prices, day, codes=None):
        self.prices, self.day = prices, day
        listed = contracts.listing(prices, day).contracts
        self.makers = {
            c: Maker(prices, c)
            for c in listed
            if c.is_derivative and (codes is None or c.code in codes)
        }
        self.chains = defaultdict(dict)
        self.futures = {}
        for c in self.makers:
            if c.kind == "future":
                self.futures[c.exchange, c.code, c.expiry] = c
            else:
                self.chains[c.exchange, c.code, c.expiry][c.strike, c.right] = c

    def best(self, contract, now_ms):
        """Return best bid and ask in rupees; nobody's bid is 0, nobody's offer infinite."""
        book = self.makers[contract].book(BLANK, 1, now_ms)
        scale = contract.tick / RUPEE
        bid = book.bids[0][0] * scale if book.bids else 0.0
        return bid, book.asks[0][0] * scale if book.asks else math.inf

    def forward(self, key, now_ms):
        """Return bid and ask of a chain's forward, and the discount.

        From the quoted future where there is one; commodity options become the
        future then alive; weeklies have the spot and what carrying it costs.
        """
        exchange, code, expiry = key
        leader = next(iter(self.chains[key].values())).leader
        years = (expiry - self.day).days / 365
        discount = math.exp(-RATE[leader.tier] * years)
        ends = [e for x, c, e in self.futures if (x, c) == (exchange, code)]
        end = min((e for e in ends if e >= expiry), default=None)
        if end == expiry or (exchange == "MCX" and end is not None):
            return *self.best(self.futures[exchange, code, end], now_ms), discount
        spot = Live(self.prices, leader, now_ms).quote.last * leader.tick / RUPEE
        return spot / discount, spot / discount, discount


def breaks(shop, now_ms, best=None):
    """Return the strikes at which call minus put could be bought or sold for a sure profit."""
    best = best or shop.best
    found, looked = [], 0
    for key, chain in shop.chains.items():
        low, high, discount = shop.forward(key, now_ms)
        for strike in {strike for strike, _ in chain}:
            call_bid, call_ask = best(chain[strike, "CE"], now_ms)
            put_bid, put_ask = best(chain[strike, "PE"], now_ms)
            looked += 1
            dear = call_ask - put_bid < discount * (low - strike) - 1e-6
            cheap = call_bid - put_ask > discount * (high - strike) + 1e-6
            if dear or cheap:
                found.append((*key, strike))
    assert looked > 100
    return found


@pytest.fixture(scope="module", params=DAYS, ids=lambda case: f"{case[0]}-{case[1]}")
def shop(request):
    """Everybody's quotes on an ordinary day and on both exchanges' expiry days."""
    market, day = request.param
    return Shop(MARKETS[market], day), [at(day, text) for text in TIMES[market]]


def test_parity_holds_within_the_quotes_of_every_strike(shop):
    """At any moment of any day no conversion or reversal earns money, in any chain."""
    makers, times = shop
    for now_ms in times:
        assert breaks(makers, now_ms) == []


def test_parity_holds_all_day_long():
    """NIFTY's chains, every few minutes of a whole day, opening and closing included."""
    for market, day in (("hours", NSE_EXPIRY), ("open", FRIDAY)):
        prices = MARKETS[market]
        makers = Shop(prices, day, {"NIFTY"})
        first, count = prices.hours(next(iter(makers.makers)), day_number(day))
        opened = midnight(day_number(day)) * 1000 + first * 60_000
        for step in range(100):
            now_ms = opened + 1000 + (count * 60_000 - 2000) * step // 99
            assert breaks(makers, now_ms) == [], clock.from_epoch(now_ms / 1000)


def test_parity_holds_when_trades_attract_the_quotes():
    """A quote slides towards a trade beside it and still encloses the value."""
    prices = MARKETS["open"]
    makers = Shop(prices, FRIDAY, {"NIFTY"})
    now_ms = at(FRIDAY, "10:00:00")

    def best(contract, when):
        # Trades at prices far off, so that every quote slides as far as it may.
        fair = makers.makers[contract].fair(when)
        off = word(7, hash(contract.strike) + (contract.right == "PE")) % 21 - 10
        quote = Quote(time_ms=when - 200, last=max(round(fair) + off, 2))
        book = makers.makers[contract].book(quote, 1, when)
        bid = book.bids[0][0] if book.bids else 0
        return bid * contract.tick / RUPEE, book.asks[0][0] * contract.tick / RUPEE

    assert breaks(makers, now_ms, best) == []
    moved = sum(best(c, now_ms) != makers.best(c, now_ms) for c in makers.makers)
    assert moved > len(makers.makers) / 2


def other_sigma(terms, contract):
    return replace(terms, volatility=terms.volatility * (1.03 if contract.right == "PE" else 1))


def no_carry(terms, contract):
    spot_only = contract.leader.tick / RUPEE
    return replace(terms, forward=spot_only) if contract.strike else terms


@pytest.mark.parametrize("fault", [other_sigma, no_carry, "a tick the wrong way"])
def test_the_parity_check_catches_planted_faults(fault, monkeypatch):
    """Another volatility for puts, a forward without carry, quotes that do not enclose the value."""
    now_ms = at(FRIDAY, "11:11:11")
    prices = Prices(3, date(2026, 9, 1))
    honest = derivatives.terms
    if callable(fault):
        monkeypatch.setattr(derivatives, "terms", lambda p, c, n: fault(honest(p, c, n), c))
        assert breaks(Shop(prices, FRIDAY, {"NIFTY"}), now_ms)
        return
    makers = Shop(prices, FRIDAY, {"NIFTY"})

    def inward(contract, when):
        # A bid rounded up and an offer rounded down: both a tick from where they belong.
        fair, scale = makers.makers[contract].fair(when), contract.tick / RUPEE
        return math.ceil(fair) * scale, math.floor(fair) * scale

    assert breaks(makers, now_ms) == []
    assert breaks(makers, now_ms, inward)


def assert_sane(contract, book, limits):
    """A book is sorted, apart, within the limits of its day, in whole lots."""
    lower, upper = limits
    bids, asks = [row[0] for row in book.bids], [row[0] for row in book.asks]
    assert all(isinstance(price, int) for price in bids + asks), contract.key
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert all(lower <= price <= upper for price in bids + asks), contract.key
    assert not bids or not asks or bids[0] < asks[0], contract.key
    for side, total in ((book.bids, book.total_bid), (book.asks, book.total_ask)):
        assert all(size > 0 and size % contract.unit == 0 and count > 0 for _, size, count in side)
        assert sum(size for _, size, _ in side) <= total
        assert (total == 0) == (not side)


def test_books_are_sane_all_over_the_market(shop):
    """Never crossed, never negative, within circuit limits, five levels, an offer for everything."""
    makers, times = shop
    number = day_number(makers.day)
    whole = 0
    for now_ms in (times[0], times[2], times[-1]):
        for contract, maker in makers.makers.items():
            book = maker.book(BLANK, 5, now_ms)
            assert_sane(contract, book, makers.prices.circuit(contract, number))
            assert book.asks, contract.key
            whole += len(book.bids) == len(book.asks) == 5
            if contract.kind == "future":
                assert len(book.bids) == 5
            top = maker.book(BLANK, 1, now_ms)
            assert (top.bids, top.asks) == (book.bids[:1], book.asks[:1])
    assert whole > len(makers.makers)


def test_the_check_of_books_catches_planted_faults():
    """A crossed book, a price beyond the limits and a broken lot are seen."""
    contract = next(c for c in Shop(MARKETS["open"], FRIDAY, {"NIFTY"}).makers)
    lot = contract.unit
    good = Book(((9, lot, 1), (8, lot, 1)), ((10, lot, 1),), 5 * lot, 5 * lot)
    assert_sane(contract, good, (1, 20))
    for fault in (
        {"bids": ((10, lot, 1),)},
        {"asks": ((21, lot, 1),)},
        {"bids": ((0, lot, 1),)},
        {"asks": ((10, lot + 1, 1),)},
        {"asks": ((11, lot, 1), (10, lot, 1))},
        {"total_bid": lot},
    ):
        with pytest.raises(AssertionError):
            assert_sane(contract, replace(good, **fault), (1, 20))


def test_spreads_are_tight_where_there_is_trade_and_wide_where_there_is_none():
    """Near the money a tick or some, far away percents; what is worth nothing has no bid."""
    makers = Shop(MARKETS["open"], FRIDAY, {"NIFTY", "RELIND"})
    now_ms = at(FRIDAY, "12:00:00")
    spot = Live(makers.prices, NIFTY, now_ms).quote.last * NIFTY.tick / RUPEE
    near, wide, none = [], [], 0
    for (_, code, expiry), chain in makers.chains.items():
        for (strike, right), contract in chain.items():
            bid, ask = makers.best(contract, now_ms)
            none += not bid
            if code != "NIFTY" or not bid:
                continue
            if expiry == NSE_EXPIRY and abs(strike - spot) < 200:
                near.append(round((ask - bid) * RUPEE / contract.tick))
            in_the_money = (strike < spot * 0.95) if right == "CE" else (strike > spot * 1.05)
            if (expiry - FRIDAY).days > 60 and in_the_money:
                wide.append(ask - bid)
    assert 1 <= min(near) <= max(near) <= 12
    assert np.median(near) <= 4
    assert min(wide) > 3 * np.median(near) * 0.05
    worthless = Shop(MARKETS["hours"], NSE_EXPIRY, {"NIFTY"})
    late = at(NSE_EXPIRY, "15:29:30")
    chain = worthless.chains["NFO", "NIFTY", NSE_EXPIRY].values()
    prices = [worthless.best(contract, late) for contract in chain]
    assert sum(bid == 0 for bid, _ in prices) > len(prices) / 4
    assert all(ask >= 0.1 for _, ask in prices)


def test_quotes_move_with_the_underlying_between_trades():
    """A contract that last traded long ago is quoted at its value now."""
    prices = MARKETS["open"]
    makers = Shop(prices, FRIDAY, {"NIFTY"})
    far = max(e for _, _, e in makers.chains)
    quiet = min(
        makers.chains["NFO", "NIFTY", far].values(),
        key=lambda c: lots(prices, c, FRIDAY),
    )
    live = Live(prices, quiet, at(FRIDAY, "14:00:00"))
    seen = {live.book(1, at(FRIDAY, f"14:00:{second:02d}")).asks[0][0] for second in range(30)}
    assert len(seen) > 5
    # Prices from elsewhere, of a recording, have nobody who knows their value.
    other = Live(prices, quiet, at(FRIDAY, "14:00:00"), makers=False)
    assert {other.quote.last} & {other.book(1).bids[0][0], other.book(1).asks[0][0]}
    assert other.book(5, at(FRIDAY, "14:00:20")) == other.book()
    # Without a time it is the book of the moment it was looked up, not of its last trade.
    assert live.book() == live.book(5, at(FRIDAY, "14:00:00"))


def test_a_contract_that_has_not_traded_today_has_todays_limits():
    """Whoever looks at a quiet strike sees a book that lies within the limits beside it."""
    prices = MARKETS["hours"]
    now_ms = at(NSE_EXPIRY, "10:00:00")
    listed = contracts.listing(prices, NSE_EXPIRY).contracts
    few = [c for c in listed if c.kind == "option" and lots(prices, c, NSE_EXPIRY) < 5]
    quiet = 0
    for contract in few[:: len(few) // 60]:
        live = Live(prices, contract, now_ms)
        quiet += live.quote.number < day_number(NSE_EXPIRY)
        limits = live.quote.lower, live.quote.upper
        assert limits == prices.circuit(contract, day_number(NSE_EXPIRY))
        assert_sane(contract, live.book(5, now_ms), limits)
    assert quiet > 20


@pytest.mark.parametrize(("code", "least"), [("NIFTY", 0.55), ("RELIND", 0.85)])
def test_a_frame_pushed_on_a_trade_looks_sane(code, least):
    """The trade lies at or between bid and ask unless the value has left it behind."""
    prices = MARKETS["open"]
    makers = Shop(prices, FRIDAY, {code})
    within = looked = 0
    for contract in list(makers.makers)[:: len(makers.makers) // 30]:
        live = Live(prices, contract, at(FRIDAY, "10:30:00"))
        for _ in range(60):
            if live.next_ms is None and live.prepare() is None:
                break
            live.step()
            frame = frames.quote(live)
            rupees = [
                value
                for value in (*frame[1:5], frame[6], frame[8], *frame[19:21], frame[22])
                if value
            ]
            assert all(abs(value * RUPEE / contract.tick % 1 - 0.5) > 0.4999 for value in rupees)
            assert frame[19] <= frame[2] <= frame[20]
            bid, last, ask = frame[6], frame[2], frame[8]
            assert bid < ask
            looked += 1
            fair = makers.makers[contract].fair(live.quote.time_ms) * contract.tick / RUPEE
            if bid <= last <= ask:
                within += 1
            elif last > ask:  # slid up until the bid was the last tick below the value
                assert fair - bid < 1.001 * contract.tick / RUPEE
            elif bid:
                assert ask - fair < max(1.001 * contract.tick / RUPEE, 0.1)
    assert looked > 200
    assert within / looked > least


# -- the surface -------------------------------------------------------------


def black(forward, strike, discount, spread, call):
    """Return Black's value of an option, written down a second time."""
    d1 = math.log(forward / strike) / spread + spread / 2

    def normal(x):
        return (1 + math.erf(x / 2**0.5)) / 2

    value = forward * normal(d1) - strike * normal(d1 - spread)
    return discount * (value if call else value - forward + strike)


def implied(price, forward, strike, discount, call):
    """Return the total deviation at which Black gives a price."""
    low, high = 1e-4, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        below = black(forward, strike, discount, middle, call) < price
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2


def recovered(makers, key, now_ms):
    """Return (log-moneyness, volatility) of a chain's out-of-the-money mid quotes, by strike."""
    low, high, discount = makers.forward(key, now_ms)
    forward = (low + high) / 2
    minute = (now_ms // 1000 - midnight(day_number(makers.day))) // 60
    days = (key[2] - makers.day).days
    years = (days * 1440 + 930 - minute) / (365 * 1440)
    smile = []
    for strike in sorted({strike for strike, _ in makers.chains[key]}):
        call = strike > forward
        contract = makers.chains[key][strike, "CE" if call else "PE"]
        bid, ask = makers.best(contract, now_ms)
        if bid < 2:
            continue
        spread = implied((bid + ask) / 2, forward, strike, discount, call)
        smile.append((math.log(strike / forward), spread / math.sqrt(years)))
    return np.array(smile)


def test_quotes_show_a_smooth_smile_and_a_term_structure():
    """Volatility recovered from mid quotes: index puts dear, curved, another for each expiry."""
    makers = Shop(MARKETS["open"], FRIDAY, {"NIFTY", "BSESEN"})
    now_ms = at(FRIDAY, "11:00:00")
    money = {}
    for key in makers.chains:
        smile = recovered(makers, key, now_ms)
        away, volatility = smile[:, 0], smile[:, 1]
        at_money = float(np.interp(0, away, volatility))
        money[key] = at_money
        assert 0.05 < at_money < 0.5
        reach = min(-away[0], away[-1], 0.03)
        assert reach > 0.01
        left, right = (float(np.interp(x, away, volatility)) for x in (-reach, reach))
        assert left > at_money * 1.08  # puts are dear
        assert left > right * 1.05
        # One smooth line: no strike sticks out from those beside it.
        bend = volatility[1:-1] - (volatility[:-2] + volatility[2:]) / 2
        assert np.abs(bend[np.abs(away[1:-1]) < 0.04]).max() < 0.01 * at_money
    nifty = [
        v for (_, code, _), v in sorted(money.items(), key=lambda kv: kv[0][2]) if code == "NIFTY"
    ]
    assert len(nifty) >= 4
    assert abs(nifty[-1] / nifty[0] - 1) > 0.02
    assert np.ptp(nifty) / np.mean(nifty) > 0.02


LEADERS = (NIFTY, universe().cash["NSE", "RELIND"], universe().spots["MCX", "CRUDE"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_chain_offers_free_money(seed):
    """Calls fall and puts rise with the strike, no butterfly is negative, variance grows in time.

    On days all over a year, after large moves of the underlying, at several
    times of the day, the expiry day included.
    """
    prices = Prices(seed, date(2026, 1, 1))
    for leader in LEADERS:
        for back in (0, 100, 200):
            check_ladders(prices, leader, day_number(FRIDAY) - back)


@pytest.mark.parametrize("smile", [(-0.4, 3.5), (-0.9, 2.5)])
def test_the_check_for_free_money_catches_a_wild_smile(smile, monkeypatch):
    """A smile too steep or too curved for the time it has must be seen."""
    monkeypatch.setitem(surface._SMILE, "I", smile)
    with pytest.raises(AssertionError):
        check_ladders(Prices(4, date(2026, 1, 1)), NIFTY, day_number(FRIDAY))


def check_ladders(prices, leader, number):
    """Look at options of six expiries, at twenty moments of the underlying."""
    step = contracts.step(leader)
    close = int(prices.day_closes(leader, np.array([number - 1]))[0])
    grid = close * leader.tick / RUPEE * np.exp(np.arange(-24, 25) * 0.005)
    strikes = sorted({round(x / step) * step for x in grid})
    exchange = "MCX" if leader.exchange == "MCX" else "NFO"
    ladders = [
        [
            derivatives.terms(prices, option(leader, exchange, day_of(number + left), k, r), number)
            for k in strikes
            for r in ("CE", "PE")
        ]
        for left in (0, 1, 4, 18, 40, 80)
    ]
    for move in (-0.03, -0.01, 0, 0.01, 0.03):
        for minute in (0, 560, 800, 929):
            check_moment(ladders, np.array(strikes), round(close * (1 + move)), minute)


def option(leader, exchange, expiry, strike, right):
    return replace(
        leader, exchange=exchange, token="", kind="option", tick=500, leader=leader,
        expiry=expiry, strike=float(strike), right=right,
    )  # fmt: skip


def check_moment(ladders, strikes, spot, minute):
    variances = []
    for ladder in ladders:
        values = np.array([t.fair(spot, minute) / t.scale for t in ladder])
        call, put = values[::2], values[1::2]
        assert (np.diff(call) <= ROUNDING).all()
        assert (np.diff(put) >= -ROUNDING).all()
        for side in (call, put):
            # What a butterfly costs: the middle strike against the line between its neighbours.
            part = np.diff(strikes)[1:] / (strikes[2:] - strikes[:-2])
            assert (side[:-2] * part + side[2:] * (1 - part) - side[1:-1] >= -ROUNDING).all()
        assert call.min() >= -1e-9
        assert put.min() >= -1e-9
        forward = spot * ladder[0].forward
        sigma = np.array([t.volatility for t in ladder[::2]])
        left = max(ladder[0].minutes - minute, 5)
        away = np.log(strikes / forward)
        variances.append(np.interp(np.arange(-8, 9) * 0.01, away, sigma**2 * left))
    assert (np.diff(np.array(variances), axis=0) >= -1e-6).all()


def test_volatility_moves_from_day_to_day_slowly_and_comes_back():
    """The level differs by underlying, wanders, reverts, and is what India VIX says."""
    prices = MARKETS["hours"]
    numbers = np.arange(day_number(date(2018, 1, 1)), day_number(FRIDAY))
    infy = universe().cash["NSE", "INFTEC"]
    for leader in (NIFTY, infy):
        path = np.log(surface.levels(prices, leader)[numbers])
        assert 0.08 < path.std() < 0.4
        assert np.abs(np.diff(path)).max() < 0.1
        # A thousand days later nothing is left of where it was.
        assert np.corrcoef(path[:-1], path[1:])[0, 1] > 0.95
        assert abs(np.corrcoef(path[:-1000], path[1000:])[0, 1]) < 0.4
    assert surface.level(prices, infy, numbers[-1]) > 1.3 * surface.level(
        prices, NIFTY, numbers[-1]
    )
    vix = universe().cash["NSE", "INDVIX"]
    assert prices.close_before(vix, day_number(date(2026, 7, 31))) == pytest.approx(13.85)
    for number in numbers[-40:]:
        shown = prices.close_before(vix, int(number))
        assert shown == pytest.approx(100 * surface.level(prices, NIFTY, int(number)), abs=0.03)
    days = prices.days(vix, numbers[[prices.is_open_day(vix, int(n)) for n in numbers]])
    band = (days.close[:-1] * vix.band).astype(np.int64)
    assert (np.abs(days.high[1:] - days.close[:-1]) <= band).all()
    assert (np.abs(days.low[1:] - days.close[:-1]) <= band).all()


def test_bars_and_books_agree_on_what_an_option_is_worth():
    """The value behind the book, rounded, is the minute's close at the underlying's close."""
    for prices in MARKETS.values():
        makers = Shop(prices, NSE_EXPIRY, {"NIFTY"})
        number = day_number(NSE_EXPIRY)
        for contract, maker in list(makers.makers.items())[::7]:
            first, count = makers.prices.hours(contract, number)
            bars = makers.prices.minutes(contract, number)
            for slot in (0, 77, count // 2, count - 1):
                end_ms = (midnight(number) + (first + slot + 1) * 60) * 1000 - 1
                assert abs(max(maker.fair(end_ms), 1.5) - bars.close[slot]) <= 0.6


def test_a_minute_holds_the_value_at_the_underlyings_extremes():
    """Calls and futures are highest where the underlying is, puts where it is lowest."""
    prices = MARKETS["open"]
    number = day_number(FRIDAY)
    chain = chain_of(prices, FRIDAY, "NIFTY", NSE_EXPIRY)
    lead = prices.minutes(NIFTY, number)
    spot = prices.close_before(NIFTY, number)
    for (strike, right), contract in chain.items():
        if abs(strike - spot) > 300:
            continue
        bars = prices.minutes(contract, number)
        busy = np.flatnonzero(bars.volume >= 4)
        terms = derivatives.terms(prices, contract, number)
        high, low = (terms.values(x, np.arange(1440)) for x in (lead.high, lead.low))
        if right == "PE":
            high, low = low, high
        assert len(busy) > 1000
        assert (bars.high[busy] == high[busy]).all()
        assert (bars.low[busy] == low[busy]).all()


# -- volume and open interest ------------------------------------------------


def chain_of(prices, day, code, expiry):
    return Shop(prices, day, {code}).chains["NFO", code, expiry]


def lots(prices, contract, day):
    return activity.day_lots(prices, contract, day_number(day))


def test_volume_crowds_at_the_money_in_the_nearest_week_and_on_round_strikes():
    """The busiest strike is near the money, hundreds beat fifties, the last day beats the others."""
    prices = MARKETS["hours"]
    shop = Shop(prices, FRIDAY, {"NIFTY"})
    spot = prices.close_before(NIFTY, day_number(FRIDAY))
    weeks = sorted({e for _, _, e in shop.chains})
    totals, between = [], []
    for expiry in weeks:
        volume = defaultdict(int)
        for (strike, _), contract in shop.chains["NFO", "NIFTY", expiry].items():
            volume[strike] += lots(prices, contract, FRIDAY)
        totals.append(sum(volume.values()))
        assert abs(max(volume, key=volume.get) - spot) <= 300
        between += [
            volume[k] / (volume[k - 50] + volume[k + 50]) * 2
            for k in volume
            if k % 100 and abs(k - spot) < 1000
        ]
        assert min(volume.values()) < max(volume.values()) / 20
    assert np.median(between) < 0.8  # fifties, against the hundreds beside them
    assert totals[0] == max(totals)
    assert totals[0] > 2 * totals[-1]
    chain = shop.chains["NFO", "NIFTY", NSE_EXPIRY].values()
    last_day = sum(lots(prices, c, NSE_EXPIRY) for c in chain)
    assert last_day > 1.3 * totals[0]


def test_open_interest_builds_through_the_day_and_unwinds_at_its_end():
    """It moves only with volume, not along a straight line, and is never negative."""
    for prices in MARKETS.values():
        number = day_number(FRIDAY)
        unwound = 0
        sample = list(Shop(prices, FRIDAY, {"NIFTY", "RELIND", "CRUDE"}).makers)[::9]
        for contract in sample:
            path = derivatives.open_interest(prices, contract, number)
            bars = prices.minutes(contract, number)
            before = derivatives.interest_before(prices, contract, number)
            assert path.min() >= 0
            assert (np.diff(path, prepend=before)[bars.volume == 0] == 0).all()
            if before < 5000 or bars.volume.sum() < 5000:
                continue
            straight = np.linspace(before, path[-1], len(path))
            assert np.abs(path - straight).max() > 0.02 * path.mean()
            unwound += path[len(path) * 9 // 10] > path[-1]
            assert path[len(path) // 2] > straight[len(path) // 2]
        assert unwound > 5


def test_open_interest_runs_off_on_the_expiry_day():
    """By its last minute most of it is closed, and afterwards the contract is gone."""
    prices = MARKETS["hours"]
    number = day_number(NSE_EXPIRY)
    chain = chain_of(prices, NSE_EXPIRY, "NIFTY", NSE_EXPIRY)
    spot = prices.close_before(NIFTY, number)
    for (strike, _), contract in chain.items():
        if abs(strike - spot) > 400:
            continue
        path = derivatives.open_interest(prices, contract, number)
        assert path[-1] < 0.7 * derivatives.interest_before(prices, contract, number)
        assert (np.diff(path) <= 0).all()
        assert not prices.is_open_day(contract, number + 1)


@pytest.mark.parametrize("market", MARKETS)
def test_open_interest_is_one_number_wherever_it_is_told(market):
    """History, quote, frame and master agree, over a weekend too."""
    prices = MARKETS[market]
    monday = NSE_EXPIRY
    number = day_number(monday)
    listing = contracts.listing(prices, monday)
    sample = [c for c in listing.contracts if c.is_derivative][::97]
    sample += [c for c in listing.contracts if c.exchange == "BFO"][::29]
    # Those that do not trade every day keep what their last trade left open.
    rare = [c for c in listing.contracts if c.kind == "option" and lots(prices, c, FRIDAY) == 0]
    sample += rare[:: len(rare) // 60]
    now_ms = at(monday, "15:00:00")
    rows = master._Rows(prices, listing)
    told = changed = 0
    for contract in sample:
        before = derivatives.interest_before(prices, contract, number)
        past = (midnight(number - 5), midnight(number) - 1)
        days = history.series(prices, contract, Interval.D1, past, now_ms)
        if len(days):
            assert int(days.interest[-1]) == before, contract.key
            told += 1
        live = Live(prices, contract, now_ms)
        if live.quote.number != number:
            continue
        span = (midnight(number), now_ms // 1000)
        (now,) = history.series(prices, contract, Interval.D1, span, now_ms).interest
        assert live.quote.interest == now * contract.unit
        assert live.quote.interest_change == (now - before) * contract.unit
        changed += live.quote.interest_change != 0
        if contract.exchange == "BFO":
            assert frames.quote(live)[12:14] == [live.quote.interest, live.quote.interest_change]
        if contract.exchange in ("NFO", "BFO"):
            assert rows.fno(contract).split(",")[25] == str(before * contract.unit)
    assert told > 50
    assert changed > 40


# -- expiries ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "code", "day", "kind", "known"),
    [
        ("NFO", "NIFTY", "2025-08-28", "option", True),  # the last Thursday
        ("NFO", "NIFTY", "2025-09-02", "option", True),  # the first Tuesday
        ("NFO", "NIFTY", "2025-08-26", "option", False),
        ("NFO", "NIFTY", "2025-09-04", "option", False),
        ("NFO", "NIFTY", "2025-08-21", "option", True),  # a week
        ("NFO", "NIFTY", "2025-08-21", "future", False),  # futures have none
        ("NFO", "NIFTY", "2023-06-28", "option", True),  # moved: Thursday was Bakri Id
        ("NFO", "NIFTY", "2023-06-29", "option", False),
        ("NFO", "NIFTY", "2018-07-19", "option", False),  # before there were weeks
        ("NFO", "NIFTY", "2018-07-26", "option", True),
        ("NFO", "CNXBAN", "2024-11-13", "option", True),  # the last week of Bank Nifty
        ("NFO", "CNXBAN", "2024-11-21", "option", False),
        ("NFO", "CNXBAN", "2024-11-27", "option", True),  # a Wednesday month
        ("NFO", "CNXBAN", "2025-01-30", "future", True),
        ("NFO", "CNXBAN", "2024-10-01", "option", True),  # moved: Wednesday was Gandhi Jayanti
        ("BFO", "BSESEN", "2024-12-27", "option", True),
        ("BFO", "BSESEN", "2025-06-24", "option", True),
        ("BFO", "BSESEN", "2025-06-26", "option", False),
        ("BFO", "BSESEN", "2025-09-04", "option", True),
        ("NFO", "RELIND", "2025-07-31", "future", True),
        ("NFO", "RELIND", "2025-07-24", "option", False),
        ("NFO", "RELIND", "2025-09-30", "option", True),
        ("MCX", "CRUDE", "2025-07-21", "future", True),  # in doubt any trading day
        ("MCX", "CRUDE", "2025-07-20", "future", False),  # a Sunday
        ("NFO", "NIFTY", "2025-08-31", "option", False),
    ],
)  # fmt: skip
def test_a_past_contract_is_found_only_under_a_true_expiry(exchange, code, day, kind, known):
    """Weekday rules of their time, moved before holidays, decide; a closed day never counts."""
    listing = contracts.listing(MARKETS["open"], FRIDAY)
    home = {"NFO": "NSE", "BFO": "BSE"}.get(exchange, exchange)
    leader = (universe().cash | universe().spots)[home, code]
    strike = round(leader.base / contracts.step(leader)) * contracts.step(leader)
    more = (strike, "CE") if kind == "option" else ()
    found = listing.find(exchange, code, date.fromisoformat(day), *more)
    assert (found is not None) is known
    assert found is None or (found.kind, found.expiry) == (kind, date.fromisoformat(day))


@pytest.mark.parametrize(
    ("exchange", "code", "today", "months", "weeks"),
    [
        ("NSE", "NIFTY", "2025-08-20", ["2025-08-28", "2025-09-30"], ["2025-08-21", "2025-08-28", "2025-09-02"]),
        ("NSE", "NIFTY", "2026-11-20", ["2026-11-23", "2026-12-29"], ["2026-11-23", "2026-12-01", "2026-12-08"]),
        ("NSE", "NIFTY", "2023-06-20", ["2023-06-28", "2023-07-27"], ["2023-06-22", "2023-06-28", "2023-07-06"]),
        ("NSE", "CNXBAN", "2024-11-04", ["2024-11-27", "2024-12-24"], ["2024-11-06", "2024-11-13"]),
        ("NSE", "CNXBAN", "2026-11-20", ["2026-11-23", "2026-12-29"], []),
        ("BSE", "BSESEN", "2026-11-20", ["2026-11-26", "2026-12-31"], ["2026-11-26", "2026-12-03", "2026-12-10"]),
        ("BSE", "BSESEN", "2025-06-20", ["2025-06-24", "2025-07-29"], ["2025-06-24", "2025-07-01", "2025-07-08"]),
    ],
)  # fmt: skip
def test_months_and_weeks_end_on_the_days_they_ended(exchange, code, today, months, weeks):
    """Tuesday and Thursday today, other weekdays before, the day before a holiday."""
    day = date.fromisoformat(today)
    assert [str(e) for e in contracts.expiries(code, exchange, day, 2)] == months
    assert [str(e) for e in weeklies(code, day, 3)] == weeks


def test_chains_hold_the_money_on_even_steps_every_day():
    """Through a year each chain's strikes are evenly apart and lie around the underlying."""
    prices = MARKETS["hours"]
    day = date(2025, 7, 1)
    while day < FRIDAY:
        day += timedelta(days=41)
        listing = contracts.listing(prices, day)
        chains = defaultdict(set)
        for c in listing.contracts:
            if c.kind == "option":
                assert clock.is_trading_day(c.expiry)
                chains[c.leader, c.expiry].add(c.strike)
        weeks = [e for leader, e in chains if leader.code == "NIFTY"]
        assert min(weeks) - day <= timedelta(days=7)
        for (leader, _), strikes in chains.items():
            assert len(strikes) >= 16
            apart = np.diff(sorted(strikes))
            assert np.allclose(apart, contracts.step(leader))
            close = prices.close_before(leader, day_number(day))
            least = 0.03 if leader.tier != "X" else 0.015
            assert min(strikes) < close * (1 - least) < close * (1 + least) < max(strikes)
