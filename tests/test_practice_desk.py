"""The practice desk takes, matches, refuses and books orders as the broker does."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from breeze_lab import clock
from breeze_lab.practice.desk.desk import Desk
from breeze_lab.practice.desk.orders import (
    Charges,
    MarginLeg,
    OrderRequest,
    Refusal,
    multiplier,
    ticks_of,
    value_paise,
)
from breeze_lab.practice.desk.triggers import GttLeg
from breeze_lab.practice.exchange import tempo
from breeze_lab.practice.exchange.daily import halt_numbers
from breeze_lab.practice.exchange.days import day_of, midnight
from breeze_lab.practice.exchange.market import Market
from breeze_lab.practice.exchange.universe import universe

FRIDAY = date(2026, 11, 20)
OPEN_EVERY_DAY = date(2026, 9, 1)


class HandClock:
    """A market clock a test moves."""

    def __init__(self, *when):
        self.ms = 0
        self.set(*when)

    def set(self, *when):
        self.ms = int(datetime(*when, tzinfo=clock.IST).timestamp() * 1000)

    def forward(self, **much):
        self.ms += int(timedelta(**much).total_seconds() * 1000)

    def now_ms(self):
        return self.ms

    def now(self):
        return clock.from_epoch(self.ms / 1000)


class Room:
    """A market, its clock, a desk and what the desk told."""

    def __init__(self, open_since=None, when=(2026, 11, 20, 10, 0, 0), **options):
        self.clock = HandClock(*when)
        self.market = Market(1, open_since, self.clock)
        self.told = []
        self.desk = Desk(self.market, self.told.append, **options)

    def find(self, exchange, code, kind="stock", place=0):
        found = [
            c for c in self.market.listing.contracts
            if (c.exchange, c.code, c.kind) == (exchange, code, kind)
        ]  # fmt: skip
        return found[place]

    def option(self, code="NIFTY", right="CE", away=0):
        """The option at the money of the last weekly expiry but one, or some strikes away."""
        spot = self.last(universe().cash["NSE", code]) * universe().cash["NSE", code].tick / 10_000
        chain = [
            c for c in self.market.listing.contracts
            if (c.exchange, c.code, c.right) == ("NFO", code, right)
        ]  # fmt: skip
        expiry = sorted({c.expiry for c in chain})[1]
        chain = sorted((c for c in chain if c.expiry == expiry), key=lambda c: c.strike)
        middle = min(range(len(chain)), key=lambda i: abs(chain[i].strike - spot))
        return chain[middle + away]

    def last(self, contract):
        return self.market.live(contract).quote.last

    def request(self, contract, action="buy", away=0, **fields):
        """A limit order `away` ticks from the last price, positive towards execution."""
        product = {"stock": "cash", "future": "futures", "option": "options"}[contract.kind]
        towards = 1 if action == "buy" else -1
        asked = {
            "contract": contract, "product": product, "action": action,
            "quantity": contract.unit, "price_ticks": self.last(contract) + towards * away,
        }  # fmt: skip
        return OrderRequest(**{**asked, **fields})

    def place(self, contract, action="buy", away=0, **fields):
        return self.desk.place(self.request(contract, action, away, **fields))

    def statuses(self, order):
        return [o.status for o in self.told if o.id == order.id]


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def reliance(room):
    return room.find("NSE", "RELIND")


@pytest.fixture
def future(room):
    return room.find("NFO", "NIFTY", "future", place=1)


def held_share(room):
    return room.desk.holdings()[0]


# -- values -------------------------------------------------------------------


def test_binary_noise_of_a_price_is_rounded_to_the_tick(reliance):
    """What the SDK makes of a market order is off by a hair; a price truly off is not."""
    assert ticks_of(1271.6000000000001, reliance) == 12716
    assert ticks_of("1271.6", reliance) == 12716
    for wrong in ("1271.65", 1271.61, "-1", "nan", "inf", "", "abc", None):
        with pytest.raises(Refusal) as refused:
            ticks_of(wrong, reliance)
        assert str(refused.value)


def test_a_lot_of_gold_costs_a_hundred_times_its_price(room):
    """Commodities are priced per ten grams or per kilogram and traded in lots of more."""
    wanted = {"GOLD": 100, "GOLDMI": 10, "SILVER": 30, "ZINC": 5000, "CRUDE": 100, "COTTON": 25}
    for code, times in wanted.items():
        assert multiplier(room.find("MCX", code, "future")) == times
    assert multiplier(room.find("NDX", "USDINR", "future")) == 1000
    assert multiplier(room.find("NFO", "NIFTY", "future")) == 1


def test_every_price_is_whole_paise(room):
    """A quantity of one at one tick costs whole paise, so that money adds up."""
    for contract in room.market.listing.contracts:
        if contract.kind in ("stock", "future", "option"):
            assert contract.tick * multiplier(contract) % 100 == 0, contract.key


def test_charges_of_the_brokers_example(room):
    """One ITC at 440 costs 31 paise brokerage and 58 paise of everything else."""
    request = replace(room.request(room.find("NSE", "ITC")), price_ticks=4400 * 2, product="margin")
    request = replace(request, price_ticks=ticks_of(440, request.contract))
    assert room.desk.preview(request) == Charges(31, 1, 7, 44, 0, 6)
    assert room.desk.preview(request).total == 89


def test_an_order_costs_the_same_however_it_is_filled(room):
    """Charges of many small fills add up to those of one."""
    share = room.find("NSE", "RELIND")
    order = room.place(share, quantity=5000, away=-1)
    while not room.desk.order(order.id).is_final:
        room.clock.forward(minutes=1)
    order = room.desk.order(order.id)
    fills = room.desk.fills(order_id=order.id)
    assert len(fills) > 3
    assert order.status == "Executed"
    whole = replace(room.request(share), quantity=5000, price_ticks=order.price_ticks)
    assert order.value == value_paise(share, order.price_ticks, 5000)
    assert sum(f.charges.total for f in fills) == room.desk.preview(whole).total


# -- order types --------------------------------------------------------------


def test_a_limit_order_through_the_book_is_executed_at_the_books_price(room, reliance):
    """Who arrives gets the better price; the day's changes are told in order."""
    order = room.place(reliance, away=30, quantity=3)
    assert order.status == "Executed"
    assert order.average_ticks < order.price_ticks
    assert room.statuses(order)[:2] == ["Requested", "Ordered"]
    assert room.statuses(order)[-1] == "Executed"
    assert order.blocked == 0
    assert room.told[0].blocked > 0


def test_a_waiting_order_is_executed_at_its_own_limit_when_the_market_comes(room, reliance):
    """Who waits is met at the price he showed."""
    assert room.place(reliance, away=30, quantity=3).status == "Executed"
    low, high = (room.place(reliance, side, away=-30, quantity=3) for side in ("buy", "sell"))
    assert [(o.status, o.pending) for o in (low, high)] == [("Ordered", 3)] * 2
    room.clock.forward(hours=5)
    met = [o for o in room.desk.orders()[1:] if o.status == "Executed"]
    assert met, "the market has moved by a fifth of a percent one way or the other"
    for order in met:
        assert order.average_ticks == order.price_ticks
        assert order.placed_ms < order.changed_ms < room.clock.ms


def test_when_the_clock_is_looked_at_does_not_matter():
    """A desk that advances every second and one that leaps an hour have the same trades."""
    often, seldom = Room(), Room()
    for one in (often, seldom):
        for code, away in (("RELIND", -20), ("INFTEC", -8), ("YESBAN", -2)):
            one.place(one.find("NSE", code), away=away, quantity=500)
            one.place(one.find("NSE", code), away=away - 3, quantity=700)
    for _ in range(360):
        often.clock.forward(seconds=10)
        often.desk.advance()
    seldom.clock.forward(hours=1)
    assert often.desk.fills() == seldom.desk.fills()
    assert often.told == seldom.told
    assert often.desk.fills()


def test_what_one_state_of_the_book_shows_is_taken_once(room, reliance):
    """A second order at the same instant finds only what the first left."""
    live = room.market.live(reliance)
    price, size, _ = live.book(5).asks[0]
    first = room.place(reliance, price_ticks=price, quantity=size)
    second = room.place(reliance, price_ticks=price, quantity=1)
    assert first.status == "Executed"
    assert second.status == "Ordered"


def test_no_offer_is_far_better_than_the_last_trade(room):
    """The desk leaps over trades that cannot reach an order, and relies on this."""
    for code in ("RELIND", "YESBAN", "AAATEC"):
        live = room.market.live(room.find("NSE", code))
        for _ in range(300):
            live.prepare()
            live.step()
            book, last = live.book(5), live.quote.last
            assert not book.asks or book.asks[0][0] >= last - 2
            assert not book.bids or book.bids[0][0] <= last + 2


def test_own_orders_rank_by_price_then_time(room, reliance):
    """The better price is filled first, of equal ones the older."""
    late = room.place(reliance, away=-12, quantity=10)
    first = room.place(reliance, away=-10, quantity=10)
    second = room.place(reliance, away=-10, quantity=10)
    room.clock.forward(hours=1)
    room.desk.advance()
    order_of = [fill.order_id for fill in room.desk.fills()]
    assert order_of.index(first.id) < order_of.index(second.id) < order_of.index(late.id)


def test_ioc_takes_what_the_book_shows_and_cancels_the_rest(room, reliance):
    """Partially executed and cancelled at once; cancelled when nothing fits."""
    some = room.place(reliance, away=1, quantity=100_000 // 30, validity="ioc")
    assert some.status == "Partially Executed And Cancelled"
    assert some.executed + some.cancelled == some.quantity
    assert some.executed > 0
    none = room.place(reliance, away=-50, quantity=1, validity="ioc")
    assert none.status == "Cancelled"
    assert none.reason


def test_in_an_auction_and_in_a_halt_the_book_takes_nothing(room, reliance):
    """Orders wait: in the closing auction for its one trade, in a halt for its end."""
    room.clock.set(2026, 11, 20, 15, 20)
    waiting = room.place(reliance, away=40, quantity=10)
    assert waiting.status == "Ordered"
    none = room.place(reliance, away=40, quantity=10, validity="ioc")
    assert none.status == "Cancelled"
    room.clock.set(2026, 11, 20, 15, 30)
    room.desk.advance()
    assert room.desk.order(waiting.id).status == "Ordered"
    room.clock.set(2026, 11, 20, 15, 34, 59)
    room.desk.advance()
    met = room.desk.order(waiting.id)
    assert met.status == "Executed"
    assert room.market.prices.character.auctions

    number = halt_numbers(room.market.prices)[-1]
    halted = Room(when=(*day_of(number).timetuple()[:3], 9, 20, 0))
    share = halted.find("NSE", "RELIND")
    stopped = tempo.halt(halted.market.prices, share, number)
    halted.clock.ms = (midnight(number) + 33_300 + 60 * (stopped.start + 5)) * 1000
    waiting = halted.place(share, away=40, quantity=10)
    assert waiting.status == "Ordered"
    halted.clock.ms += 60_000 * (stopped.stop - stopped.start)
    halted.desk.advance()
    assert halted.desk.order(waiting.id).status == "Executed"


def test_a_stop_loss_waits_for_its_trigger_and_then_is_a_limit_order(room, reliance):
    """A buy stop above the market does nothing until a trade touches it."""
    last = room.last(reliance)
    order = room.place(
        reliance, kind="stoploss", trigger_ticks=last + 10, price_ticks=last + 40, quantity=5
    )
    assert order.status == "Ordered"
    assert not order.triggered
    for _ in range(24 * 60):
        room.clock.forward(minutes=1)
        order = room.desk.order(order.id)
        if order.is_final:
            break
    assert order.status == "Executed"
    assert order.triggered
    assert order.average_ticks >= last + 9


def test_a_day_order_expires_at_the_close(room, reliance):
    """What nobody met is Expired; what was met in part says so."""
    lower, _ = room.market.prices.circuit(reliance, room.desk._engine.number)
    none = room.place(reliance, price_ticks=lower, quantity=5)
    yes = room.find("NSE", "AAATEC")
    part = room.place(yes, away=3, quantity=200_000 // 10)
    assert part.status == "Partially Executed"
    room.clock.set(2026, 11, 20, 15, 34, 59)
    room.desk.advance()
    assert room.desk.order(none.id).status == "Ordered"
    room.clock.set(2026, 11, 20, 16, 0, 0)
    assert room.desk.order(none.id).status == "Expired"
    assert room.desk.order(none.id).expired == 5
    done = room.desk.order(part.id)
    assert done.status in ("Partially Executed And Expired", "Executed")
    assert room.desk.funds().blocked["equity"] == 0


def test_a_vtc_order_is_queued_over_night_and_expires_on_its_last_day(room, reliance):
    """It survives closes, weekends too, and comes back at the opening."""
    lower, _ = room.market.prices.circuit(reliance, room.desk._engine.number)
    order = room.place(reliance, price_ticks=lower, validity="vtc", valid_until=date(2026, 11, 23))
    room.clock.set(2026, 11, 22, 12, 0, 0)
    assert room.desk.order(order.id).status == "Queued"
    room.clock.set(2026, 11, 23, 10, 0, 0)
    assert room.desk.order(order.id).status == "Ordered"
    room.clock.set(2026, 11, 23, 20, 0, 0)
    assert room.desk.order(order.id).status == "Expired"
    assert room.statuses(order) == ["Requested", "Ordered", "Queued", "Ordered", "Expired"]


def test_in_the_market_that_never_closes_a_day_ends_at_midnight():
    """Orders are taken on a Sunday night, and expire at twelve."""
    room = Room(OPEN_EVERY_DAY, when=(2026, 11, 22, 23, 59, 0))
    share = room.find("NSE", "RELIND")
    lower, _ = room.market.prices.circuit(share, room.desk._engine.number)
    order = room.place(share, price_ticks=lower)
    assert order.status == "Ordered"
    room.clock.forward(minutes=2)
    assert room.desk.order(order.id).status == "Expired"


def test_modifying_changes_price_and_priority_and_counts(room, reliance):
    """A modified order meets the book again; what is None stays."""
    order = room.place(reliance, away=-40, quantity=5)
    changed = room.desk.modify(order.id, price_ticks=order.price_ticks + 80, quantity=7)
    assert changed.status == "Executed"
    assert changed.executed == 7
    assert changed.modifications == 1
    assert changed.id == order.id


def test_cancelling_gives_the_money_back(room, reliance):
    """What an order blocked is free again."""
    before = room.desk.funds()
    order = room.place(reliance, away=-40, quantity=50)
    assert room.desk.funds().blocked["equity"] == order.blocked > 0
    gone = room.desk.cancel(order.id)
    assert (gone.status, gone.cancelled, gone.pending) == ("Cancelled", 50, 0)
    assert room.desk.funds() == before


def test_the_clock_may_leap_over_months(room, reliance):
    """Closes, deliveries and expiries of a year come in order, within seconds."""
    lower, _ = room.market.prices.circuit(reliance, room.desk._engine.number)
    until = date(2027, 11, 19)
    order = room.place(reliance, price_ticks=lower, validity="vtc", valid_until=until)
    future = room.place(room.find("NFO", "NIFTY", "future", 2), away=40)
    room.clock.set(2027, 11, 22, 10, 0, 0)
    began = time.process_time()
    order = room.desk.order(order.id)
    assert time.process_time() - began < 20
    assert order.is_final
    assert order.changed_ms <= room.clock.ms
    assert [f.origin for f in room.desk.fills() if f.contract == future.contract][-1] == "expiry"
    times = [o.changed_ms for o in room.told]
    assert times == sorted(times)


def test_many_threads_may_trade_at_once(room, reliance):
    """Requests come from threads of their own: no number twice, no money lost."""
    start = room.desk.funds()

    def trade(place):
        order = room.place(reliance, away=10 - place % 20, quantity=1 + place % 3)
        if place % 4 == 0 and not order.is_final:
            order = room.desk.cancel(order.id)
        return order.id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(trade, range(160)))
    assert len(set(ids)) == 160
    fills, funds = room.desk.fills(), room.desk.funds()
    paid = sum(f.value + f.charges.total for f in fills)
    assert start.allocated["equity"] - funds.allocated["equity"] == paid > 0
    assert [o.id for o in room.told if o.status == "Requested"] == [
        o.id for o in room.desk.orders()
    ]


def test_order_numbers_look_like_the_brokers(room, reliance, future):
    """Cash: date, N, digit, eight digits; derivatives: date, pipe, eight digits; GTT: 16 digits."""
    cash = room.place(reliance, away=-40)
    derivative = room.place(future, away=-100)
    assert len(cash.id) == 18
    assert cash.id.startswith("20261120N3")
    assert len(derivative.id) == 18
    assert derivative.id.startswith("2026112014")
    assert derivative.pipe == "14"
    gtt = single(room, reliance)
    assert len(gtt.id) == 16
    assert gtt.id.startswith("20261120")


# -- refusals -----------------------------------------------------------------

REFUSED = {
    "no quantity": ({"quantity": 0}, "greater than zero"),
    "a negative quantity": ({"quantity": -5}, "greater than zero"),
    "an absurd quantity": ({"quantity": 10**12}, "not be more than"),
    "no price": ({"price_ticks": 0}, "greater than zero"),
    "a market order": ({"kind": "market"}, "Market orders are not permitted"),
    "an unknown action": ({"action": "hold"}, "either buy or sell"),
    "an unknown validity": ({"validity": "gtc"}, "either day, ioc or vtc"),
    "vtc without a date": ({"validity": "vtc"}, "cannot be empty"),
    "vtc in the past": ({"validity": "vtc", "valid_until": date(2026, 11, 19)}, "before the trade"),
    "vtc for ever": ({"validity": "vtc", "valid_until": date(2036, 1, 1)}, "days ahead"),
    "ioc with a disclosed quantity": (
        {"validity": "ioc", "quantity": 20, "disclosed": 10}, "Disclosed quantity is not allowed"
    ),
    "more disclosed than ordered": ({"quantity": 20, "disclosed": 21}, "part of the order"),
    "too little disclosed": ({"quantity": 2000, "disclosed": 1}, "at least 10%"),
    "the margin product": ({"product": "margin"}, "Margin and OptionPlus"),
    "a product of another market": ({"product": "futures"}, "Product futures is not available"),
    "a btst purchase": ({"product": "btst"}, "only for selling"),
    "a stop loss without a trigger": ({"kind": "stoploss"}, "trigger price should be greater"),
    "an ioc stop loss": (
        {"kind": "stoploss", "trigger_ticks": 10, "validity": "ioc"}, "Immediate or Cancel"
    ),
    "more than the money": ({"quantity": 1_000_000}, "Insufficient limits"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_broker_refuses(room, reliance, case):
    """Each with a reason, and without a trace in the books."""
    fields, reason = REFUSED[case]
    before = room.desk.funds()
    with pytest.raises(Refusal, match=reason):
        room.desk.place(replace(room.request(reliance), **fields))
    assert room.desk.orders() == []
    assert room.told == []
    assert room.desk.funds() == before


def test_a_trigger_on_the_wrong_side_of_its_limit_is_refused(room, reliance):
    """A buy triggers at or below its limit, a sale at or above."""
    last = room.last(reliance)
    for action, trigger in (("buy", last + 1), ("sell", last - 1)):
        request = room.request(reliance, action, kind="stoploss", trigger_ticks=trigger)
        with pytest.raises(Refusal, match="trigger price of a"):
            room.desk.place(request)


def test_a_quantity_that_is_no_multiple_of_the_lot_is_refused(room, future):
    """Seventy units of a lot of sixty-five."""
    with pytest.raises(Refusal, match=f"lot size {future.unit}"):
        room.place(future, quantity=future.unit + 5)


def test_an_index_cannot_be_bought(room):
    """Its futures can."""
    nifty = room.market.listing.find("NSE", "NIFTY")
    request = OrderRequest(
        contract=nifty, product="cash", action="buy", quantity=1, price_ticks=500_000
    )
    with pytest.raises(Refusal, match="not available for trading"):
        room.desk.place(request)


@pytest.mark.parametrize(
    "when", [(2026, 11, 20, 9, 0, 0), (2026, 11, 20, 18, 0, 0), (2026, 11, 21, 11, 0, 0)]
)
def test_a_closed_market_takes_no_orders(when):
    """Before the opening, after the close and on a Saturday; commodities trade in the evening."""
    room = Room(when=when)
    with pytest.raises(Refusal, match="exchange is closed"):
        room.place(room.find("NSE", "RELIND"))
    if when[3] == 18:
        assert room.place(room.find("MCX", "CRUDE", "future", 1), away=-50).status == "Ordered"


def test_an_expired_contract_takes_no_orders(room):
    """With the broker's own words."""
    near = room.find("NFO", "NIFTY", "future")
    price = room.last(near)
    room.clock.set(2026, 12, 1, 10, 0, 0)
    request = OrderRequest(
        contract=near, product="futures", action="buy", quantity=near.unit, price_ticks=price
    )
    with pytest.raises(Refusal, match=r"^Cannot place orders when exchange is in Expiry\.:$"):
        room.desk.place(request)


def test_shares_one_does_not_have_cannot_be_sold(room, reliance):
    """No short selling of deliveries, nor of the same shares twice."""
    with pytest.raises(Refusal, match="Available quantity: 0"):
        room.place(room.find("NSE", "YESBAN"), "sell")
    held = held_share(room)
    room.place(held.contract, "sell", away=-30, quantity=held.settled - 1)
    with pytest.raises(Refusal, match="Available quantity: 1"):
        room.place(held.contract, "sell", away=-30, quantity=2)
    assert held_share(room).blocked == held.settled - 1


def test_btst_sells_yesterdays_purchase_before_it_is_delivered(room, reliance):
    """Not today's, and not what has arrived."""
    bought = room.place(reliance, away=30, quantity=7)
    settled = next(h.settled for h in room.desk.holdings() if h.contract == reliance)
    assert bought.status == "Executed"
    with pytest.raises(Refusal, match="await settlement"):
        room.place(reliance, "sell", away=30, quantity=1, product="btst")
    room.clock.set(2026, 11, 23, 10, 0, 0)
    holding = next(h for h in room.desk.holdings() if h.contract == reliance)
    assert (holding.awaiting, holding.today, holding.settled) == (7, 0, settled)
    sold = room.place(reliance, "sell", away=30, quantity=3, product="btst")
    assert sold.status == "Executed"
    room.clock.set(2026, 11, 23, 16, 0, 0)
    holding = next(h for h in room.desk.holdings() if h.contract == reliance)
    assert (holding.awaiting, holding.settled) == (0, settled + 4)


def test_mtf_holds_back_a_part_and_sells_only_what_was_bought(room, reliance):
    """The broker pays the rest; nothing reaches the demat account."""
    order = room.place(reliance, away=30, quantity=100, product="mtf")
    assert order.status == "Executed"
    funds = room.desk.funds()
    assert 0.2 * order.value < funds.blocked["equity"] < 0.4 * order.value
    with pytest.raises(Refusal, match="MTF position"):
        room.place(reliance, "sell", away=30, quantity=101, product="mtf")
    assert room.place(reliance, "sell", away=30, quantity=100, product="mtf").status == "Executed"
    assert room.desk.funds().blocked["equity"] == 0


def test_a_price_outside_the_circuit_is_rejected_by_the_exchange(room, reliance):
    """That is an order, with a number and a reason."""
    _, upper = room.market.prices.circuit(reliance, room.desk._engine.number)
    order = room.place(reliance, price_ticks=upper + 1)
    assert order.status == "Rejected"
    assert "circuit" in order.reason
    assert (order.pending, order.blocked) == (0, 0)
    assert room.statuses(order) == ["Requested", "Rejected"]


def test_more_than_the_freeze_quantity_is_frozen_until_cancelled(room):
    """It does not meet the book; the SDK cannot modify it."""
    option = room.option(away=10)
    order = room.place(option, away=20, quantity=option.unit * 28)
    assert order.status == "Freezed"
    assert order.reason
    with pytest.raises(Refusal, match="Freezed cannot be modified"):
        room.desk.modify(order.id, quantity=option.unit)
    assert room.desk.cancel(order.id).status == "Cancelled"


def test_finished_and_unknown_orders_are_neither_modified_nor_cancelled(room, reliance):
    """With a reason each."""
    done = room.place(reliance, away=30)
    for change in (room.desk.cancel, lambda i: room.desk.modify(i, quantity=5)):
        with pytest.raises(Refusal, match="already been executed"):
            change(done.id)
        with pytest.raises(Refusal, match="not found"):
            change("20261120N399999999")


def test_a_refused_modification_leaves_the_order_as_it_was(room, reliance):
    """Off the circuit, beyond the money, below what is executed."""
    order = room.place(reliance, away=-40, quantity=5)
    for wrong in ({"price_ticks": 10**6}, {"quantity": 10**6}, {"quantity": 0}):
        with pytest.raises(Refusal):
            room.desk.modify(order.id, **wrong)
    assert room.desk.order(order.id) == order


# -- derivatives --------------------------------------------------------------


def test_a_future_holds_back_margin_and_books_its_result_when_closed(room, future):
    """Nothing but charges is paid before."""
    before = room.desk.funds().allocated["fno"]
    bought = room.place(future, away=40)
    assert bought.status == "Executed"
    funds = room.desk.funds()
    assert funds.allocated["fno"] == before - bought.charges.total
    assert funds.blocked["fno"] == room.desk.positions()[0].margin
    assert 0.1 * bought.value < funds.blocked["fno"] < 0.16 * bought.value
    room.clock.forward(minutes=20)
    closing = room.request(future, "sell", away=40)
    sold = room.desk.square_off(closing)
    assert sold.status == "Executed"
    assert sold.origin == "squareoff"
    assert sold.id.startswith("2026112025")
    position = room.desk.positions()[0]
    assert (position.quantity, position.realised) == (0, sold.value - bought.value)
    charges = bought.charges.total + sold.charges.total
    assert room.desk.funds().allocated["fno"] == before + position.realised - charges
    assert room.desk.funds().blocked["fno"] == 0


def test_closing_needs_no_further_margin(room, future):
    """An order that only closes is taken even without free money."""
    room.place(future, away=40)
    funds = room.desk.funds()
    free = funds.allocated["fno"] - funds.blocked["fno"]
    room.desk.transfer(credit=False, paise=free, segment="fno")
    with pytest.raises(Refusal, match="Insufficient limits"):
        room.place(future, away=40)
    assert room.place(future, "sell", away=40).status == "Executed"


def test_square_off_needs_a_position(room, future):
    """Of the other direction and no larger than it."""
    with pytest.raises(Refusal, match="no open position"):
        room.desk.square_off(room.request(future, "sell"))
    room.place(future, away=40)
    with pytest.raises(Refusal, match="no open position"):
        room.desk.square_off(room.request(future, "buy"))
    with pytest.raises(Refusal, match="exceeds the open position"):
        room.desk.square_off(room.request(future, "sell", quantity=2 * future.unit))


def test_an_option_is_paid_for_and_a_written_one_holds_back_margin(room):
    """Premium out, premium in, margin of the underlying."""
    option = room.option()
    before = room.desk.funds().allocated["fno"]
    bought = room.place(option, away=100)
    assert bought.status == "Executed"
    assert room.desk.funds().allocated["fno"] == before - bought.value - bought.charges.total
    assert room.desk.funds().blocked["fno"] == 0
    other = room.option(right="PE")
    written = room.place(other, "sell", away=60)
    assert written.status == "Executed"
    assert room.desk.funds().blocked["fno"] > 10 * written.value


def test_options_settle_at_what_they_are_worth_when_they_expire(room):
    """In the money at intrinsic value, out of it at nothing; both as trades of their own."""
    inside, outside = room.option(away=-12), room.option(away=25)
    for option in (inside, outside):
        assert room.place(option, away=300).executed
    expiry = inside.expiry
    room.clock.set(expiry.year, expiry.month, expiry.day, 15, 39, 0)
    assert {p.quantity for p in room.desk.positions()} == {inside.unit}
    room.clock.forward(minutes=5)
    settled = [f for f in room.desk.fills() if f.origin == "expiry"]
    assert len(settled) == 2
    spot = room.last(inside.leader) * inside.leader.tick
    for fill in settled:
        worth = max(spot - round(fill.contract.strike * 10_000), 0)
        assert abs(fill.price_ticks * fill.contract.tick - worth) <= fill.contract.tick
        assert fill.order_id == ""
    assert all(p.quantity == 0 for p in room.desk.positions())
    assert room.desk.funds().blocked["fno"] == 0


def test_a_future_settles_at_its_underlyings_close(room):
    """And then takes no margin any more."""
    near = room.find("NFO", "NIFTY", "future")
    room.place(near, "sell", away=40)
    room.clock.set(2026, 12, 1, 10, 0, 0)
    (fill,) = [f for f in room.desk.fills() if f.origin == "expiry"]
    assert fill.action == "buy"
    (position,) = room.desk.positions(every=True)
    assert position.quantity == 0
    assert room.desk.positions() == []


def test_intraday_positions_are_squared_off_at_the_close():
    """Where the margin product is allowed, short sales too."""
    room = Room(margin_allowed=True)
    share = room.find("NSE", "YESBAN")
    order = room.place(share, "sell", away=3, quantity=9, product="margin")
    assert order.status == "Executed"
    room.clock.set(2026, 11, 20, 16, 0, 0)
    room.desk.advance()
    (fill,) = [f for f in room.desk.fills() if f.origin == "auto"]
    assert (fill.action, fill.quantity) == ("buy", 9)
    (position,) = room.desk.positions()
    assert position.quantity == 0
    assert position.realised == order.value - fill.value
    assert room.desk.funds().blocked["equity"] == 0


# -- money --------------------------------------------------------------------


def test_money_moves_between_bank_and_segments_and_never_appears(room):
    """More than there is, nothing and an unknown segment are refused."""
    before = room.desk.funds()
    room.desk.transfer(credit=True, paise=5_000_00, segment="commodity")
    after = room.desk.funds()
    assert after.total == before.total
    assert after.allocated["commodity"] == before.allocated["commodity"] + 5_000_00
    for credit, paise, segment in (
        (True, after.unallocated + 1, "fno"), (False, 10**12, "fno"), (True, 0, "fno"),
        (True, -5, "fno"), (True, 5, "crypto"),
    ):  # fmt: skip
        with pytest.raises(Refusal):
            room.desk.transfer(credit=credit, paise=paise, segment=segment)
    assert room.desk.funds() == after


def test_blocked_money_cannot_be_taken_out(room, future):
    """What a margin holds back stays."""
    room.place(future, away=40)
    funds = room.desk.funds()
    with pytest.raises(Refusal, match="Insufficient balance"):
        room.desk.transfer(credit=False, paise=funds.allocated["fno"], segment="fno")


def test_margin_says_what_a_segment_can_spend(room, future):
    """Limit, allocation and block agree with the funds."""
    room.place(future, away=40)
    funds, margin = room.desk.funds(), room.desk.margin("nfo")
    assert margin.amount_allocated == funds.allocated["fno"]
    assert margin.block_by_trade == funds.blocked["fno"] == margin.isec_margin
    assert margin.cash_limit == margin.amount_allocated - margin.block_by_trade
    with pytest.raises(Refusal, match="Invalid exchange"):
        room.desk.margin("LSE")


def test_calculators_agree_with_what_an_order_blocks(room, future):
    """The margin of a bought future; opposite legs cancel; a bought option costs its premium."""
    leg = MarginLeg(contract=future, action="buy", quantity=future.unit, price_ticks=1)
    option = room.option()
    bought = MarginLeg(contract=option, action="buy", quantity=option.unit, price_ticks=200)
    asked = room.desk.margin_calculator([leg])
    assert room.desk.margin_calculator([leg, replace(leg, action="sell")]).order_value == 0
    premium = room.desk.margin_calculator([bought])
    assert premium.order_value == premium.premium == value_paise(option, 200, option.unit)
    room.place(future, away=40)
    assert room.desk.funds().blocked["fno"] == asked.span + asked.exposure
    limit, margin, free = room.desk.limit_calculator(future, "sell")
    assert margin == asked.order_value
    assert free == future.unit
    assert limit < room.last(future)


def test_the_account_begins_as_its_seed_says():
    """Twice the same; another seed holds other shares."""
    one, two = Room(), Room()
    assert one.desk.holdings() == two.desk.holdings()
    assert one.desk.funds() == two.desk.funds()
    assert one.desk.funds().unallocated == 87_500_000_00
    other = Desk(Market(2, None, one.clock))
    assert [h.contract.code for h in other.holdings()] != [
        h.contract.code for h in one.desk.holdings()
    ]


def test_a_clock_set_back_begins_the_account_anew(room, reliance):
    """A second is the machine keeping time, a minute is a decision."""
    room.place(reliance, away=30)
    room.clock.forward(seconds=-1)
    assert room.desk.orders()
    room.clock.forward(minutes=-1)
    assert room.desk.orders() == []
    assert room.desk.fills() == []
    room.place(reliance, away=30)
    room.desk.reset()
    assert room.desk.orders() == []


# -- good till triggered ------------------------------------------------------


def single(room, contract, away=10, action="buy", **fields):
    last = room.last(contract)
    leg = GttLeg(
        kind="single", action=action, limit_ticks=last + away + 20, trigger_ticks=last + away
    )
    product = "cash" if contract.kind == "stock" else "options"
    return room.desk.gtt_place(
        "single", contract, product, fields.get("quantity", contract.unit), legs=[leg]
    )


def bracket(target, stop, action="sell"):
    return [
        GttLeg(kind="target", action=action, limit_ticks=target, trigger_ticks=target),
        GttLeg(kind="stoploss", action=action, limit_ticks=stop - 20, trigger_ticks=stop),
    ]


def until_done(room, gtt_id, minutes=3 * 24 * 60):
    for _ in range(minutes // 10):
        room.clock.forward(minutes=10)
        (gtt,) = [g for g in room.desk.gtt_book() if g.id == gtt_id]
        if gtt.is_final:
            return gtt
    raise AssertionError(gtt)


def test_a_single_gtt_places_its_order_when_a_trade_touches_the_trigger(room, reliance):
    """Up or down, whichever side of the price it was placed on."""
    for away in (8, -8):
        gtt = single(room, reliance, away=away)
        assert gtt.legs[0].status == "Active"
        done = until_done(room, gtt.id)
        assert done.legs[0].status == "Triggered"
        order = room.desk.order(done.legs[0].order_id)
        assert order.origin == "gtt"
        assert order.executed


def test_a_cover_oco_enters_and_one_exit_cancels_the_other(room):
    """The legs wait for the fresh order; afterwards the position is flat again."""
    option = room.option()
    last = room.last(option)
    fresh = room.request(option, away=60)
    gtt = room.desk.gtt_place(
        "cover_oco", option, "options", option.unit, legs=bracket(last + 90, last - 90), fresh=fresh
    )
    assert room.desk.order(gtt.fresh_order_id).status == "Executed"
    assert {leg.status for leg in gtt.legs} == {"Active"}
    done = until_done(room, gtt.id)
    assert {leg.status for leg in done.legs} == {"Triggered", "Cancelled"}
    (leg,) = [leg for leg in done.legs if leg.order_id]
    assert room.desk.order(leg.order_id).action == "sell"


def test_a_cover_oco_whose_fresh_order_ends_empty_is_cancelled(room):
    """Nothing is sold that was never bought."""
    option = room.option()
    last = room.last(option)
    fresh = room.request(option, price_ticks=last - 100)
    gtt = room.desk.gtt_place(
        "cover_oco", option, "options", option.unit, legs=bracket(last + 90, last - 150),
        fresh=fresh,
    )  # fmt: skip
    assert {leg.status for leg in gtt.legs} == {"Inactive"}
    room.desk.cancel(gtt.fresh_order_id)
    (gtt,) = room.desk.gtt_book()
    assert {leg.status for leg in gtt.legs} == {"Cancelled"}


def test_cancelling_a_gtt_cancels_its_waiting_fresh_order(room):
    """And a second time there is nothing to cancel."""
    option = room.option()
    last = room.last(option)
    fresh = room.request(option, price_ticks=last - 100)
    gtt = room.desk.gtt_place(
        "cover_oco", option, "options", option.unit, legs=bracket(last + 90, last - 150),
        fresh=fresh,
    )  # fmt: skip
    assert room.desk.gtt_cancel(gtt.id).is_final
    assert room.desk.order(gtt.fresh_order_id).status == "Cancelled"
    for call in (room.desk.gtt_cancel, lambda i: room.desk.gtt_modify(i, bracket(9, 5))):
        with pytest.raises(Refusal, match="already been"):
            call(gtt.id)
        with pytest.raises(Refusal, match="not found"):
            call("2026112099999999")


def test_a_gtt_is_modified_leg_by_leg(room, reliance):
    """New trigger, new direction; the action stays."""
    gtt = single(room, reliance, away=200)
    last = room.last(reliance)
    new = replace(gtt.legs[0], trigger_ticks=last - 9, limit_ticks=last + 9)
    changed = room.desk.gtt_modify(gtt.id, [new])
    assert (changed.legs[0].trigger_ticks, changed.legs[0].rising) == (last - 9, False)
    with pytest.raises(Refusal, match="action"):
        room.desk.gtt_modify(gtt.id, [replace(new, action="sell")])
    with pytest.raises(Refusal, match="no such leg"):
        room.desk.gtt_modify(gtt.id, [replace(new, kind="target")])


def test_a_triggered_order_that_is_refused_says_why(room):
    """The shares may be gone when the trigger comes."""
    held = held_share(room)
    gtt = single(room, held.contract, away=-3, action="sell", quantity=held.settled + 1)
    done = until_done(room, gtt.id)
    assert done.legs[0].status == "Rejected"
    assert "demat" in done.legs[0].reason


def test_gtts_that_make_no_sense_are_refused(room):
    """Wrong legs, wrong sides, wrong order of prices, wrong lot."""
    option = room.option()
    last = room.last(option)
    good, fresh = bracket(last + 90, last - 90), room.request(option)
    lot = option.unit
    wrong = [
        ("cover_oco", lot, good, None), ("single", lot, good[:1], None),
        ("oco", lot, good[:1], None), ("oco", lot, good, fresh),
        ("oco", lot + 1, good, None), ("oco", lot, bracket(last - 90, last + 90), None),
        ("cover_oco", lot, bracket(last + 90, last + 40), replace(fresh, price_ticks=last)),
        ("cover_oco", lot, bracket(last + 90, last - 90, "buy"), fresh),
        ("single", lot, [GttLeg(kind="single", action="buy", limit_ticks=0, trigger_ticks=5)], None),
    ]  # fmt: skip
    for kind, quantity, legs, first in wrong:
        with pytest.raises(Refusal) as refused:
            room.desk.gtt_place(kind, option, "options", quantity, legs=legs, fresh=first)
        assert str(refused.value)
    assert room.desk.gtt_book() == []
    assert room.desk.orders() == []


def test_a_gtt_ends_with_its_contract(room):
    """A trigger nobody touched expires with the option."""
    option = room.option()
    gtt = single(room, option, away=100_000)
    room.clock.set(2026, 12, 5, 10, 0, 0)
    (gtt,) = room.desk.gtt_book()
    assert gtt.legs[0].status == "Expired"


def test_lists_are_cut_by_exchange_and_time(room, reliance, future):
    """Half-open ranges of Unix milliseconds."""
    first = room.place(reliance, away=30)
    room.clock.forward(minutes=1)
    second = room.place(future, away=40)
    assert [o.id for o in room.desk.orders("NSE")] == [first.id]
    assert [o.id for o in room.desk.orders(start_ms=second.placed_ms)] == [second.id]
    assert [o.id for o in room.desk.orders(end_ms=second.placed_ms)] == [first.id]
    assert {f.order_id for f in room.desk.fills("NFO", product="futures")} == {second.id}
    assert {f.order_id for f in room.desk.fills(action="buy", code="RELIND")} == {first.id}
