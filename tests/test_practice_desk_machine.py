"""Whatever a thousand random orders do, the desk's books add up to the paisa.

A state machine places, modifies, cancels, transfers, triggers and squares off
while the clock leaps over closes, nights and expiries, and after each step
works out from the fills alone what everything must be. Faults planted in the
engine show that it would notice.
"""

import functools
import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from breeze_lab import clock
from breeze_lab.practice.desk.charges import MARKED, margin, order_charges
from breeze_lab.practice.desk.desk import Desk
from breeze_lab.practice.desk.engine import Engine
from breeze_lab.practice.desk.ledger import DELIVERED, share_key
from breeze_lab.practice.desk.orders import (
    FINAL,
    OrderRequest,
    Refusal,
    money_segment,
    value_paise,
)
from breeze_lab.practice.desk.triggers import GttLeg
from breeze_lab.practice.exchange.days import number_at
from breeze_lab.practice.exchange.market import Market

pytestmark = pytest.mark.timeout(300)


class HandClock:
    """A market clock a test moves."""

    ms = 0

    def set(self, when):
        self.ms = int(when.timestamp() * 1000)

    def now_ms(self):
        return self.ms

    def now(self):
        return clock.from_epoch(self.ms / 1000)


CLOCK = HandClock()
#: Two days before a weekly expiry, in a market with true hours.
MORNING = datetime(2026, 11, 20, 10, 0, 0, tzinfo=clock.IST)
CLOCK.set(MORNING)
#: One market for all: its prices are kept, and its own listing says what exists.
MARKET = Market(3, None, CLOCK)


def _contracts():
    def find(exchange, code, kind, place=0):
        return [c for c in MARKET.listing.contracts
                if (c.exchange, c.code, c.kind) == (exchange, code, kind)][place]  # fmt: skip

    nifty = find("NSE", "NIFTY", "index")
    spot = MARKET.live(nifty).quote.last * nifty.tick / 10_000
    options = sorted(
        (c for c in MARKET.listing.contracts if (c.code, c.kind) == ("NIFTY", "option")),
        key=lambda c: (c.expiry, abs(c.strike - spot), c.right),
    )
    return [
        find("NSE", "RELIND", "stock"), find("BSE", "RELIND", "stock"),
        find("NSE", "YESBAN", "stock"), find("NSE", "AAATEC", "stock"),
        find("NFO", "NIFTY", "future"), find("NFO", "RELIND", "future", 1),
        options[0], options[1], options[8], find("MCX", "CRUDE", "future", 1),
        find("NDX", "USDINR", "future"),
    ]  # fmt: skip


CONTRACTS = _contracts()
PRODUCTS = {"stock": ("cash", "cash", "mtf", "btst", "margin"), "future": ("futures",),
            "option": ("options",)}  # fmt: skip
#: What may follow a state; a fill may be followed by another of the same name.
FOLLOWS = {
    "Requested": {"Ordered", "Rejected", "Freezed"},
    "Ordered": {"Ordered", "Queued", "Partially Executed", "Executed", "Cancelled", "Expired"},
    "Queued": {"Ordered", "Cancelled", "Expired"},
    "Freezed": {"Cancelled", "Expired"},
    "Partially Executed": {
        "Partially Executed", "Executed", "Partially Executed And Cancelled",
        "Partially Executed And Expired",
    },
}  # fmt: skip
#: (executed, cancelled, expired, pending): which of them a final state has.
PARTS = {
    "Executed": "1000", "Rejected": "0100", "Cancelled": "0100", "Expired": "0010",
    "Partially Executed And Cancelled": "1100", "Partially Executed And Expired": "1010",
    "Ordered": "0001", "Queued": "0001", "Requested": "0001", "Freezed": "0001",
    "Partially Executed": "1001",
}  # fmt: skip

places = st.integers(0, 10**6)


@functools.lru_cache(maxsize=256)
def price_at(contract, now_ms):
    """The last price of a contract, in ticks, at the market's time."""
    return MARKET.live(contract).quote.last


class DeskMachine(RuleBasedStateMachine):
    """Anybody's trading, and an auditor after every step."""

    desk_type = Desk
    seen: ClassVar[Counter] = Counter()

    @initialize(start=st.sampled_from([0, 0, 0, 1, 3]), poor=st.booleans())
    def open_account(self, start, poor):
        """Open it on some morning, and write down what is there."""
        CLOCK.set(MORNING + timedelta(days=start))
        self.history, self.audited = {}, {}
        self.desk = self.desk_type(MARKET, self.hear, margin_allowed=True)
        if poor:
            for segment, paise in self.desk.funds().allocated.items():
                self.desk.transfer(credit=False, paise=paise - 5_00_000_00, segment=segment)
        self.money = dict(self.desk.funds().allocated)
        self.unallocated = self.desk.funds().unallocated
        self.shares = {share_key(h.contract): h.quantity for h in self.desk.holdings()}
        for place in range(len(CONTRACTS)):
            self.place(self.request(place, "buy", place * 3 - 9, 1 + place % 2))

    def hear(self, order):
        self.history.setdefault(order.id, []).append(order)
        self.seen[order.status] += 1
        if len(self.history[order.id]) == 1:
            self.seen["orders"] += 1

    def refused(self, call, *args, **fields):
        """Call, and check that a refusal has a reason and leaves no trace."""
        before = len(self.history)
        try:
            return call(*args, **fields)
        except Refusal as refusal:
            reason = str(refusal)
        assert reason, "a refusal without a reason"
        assert len(self.history) == before, "an order of a refused request"
        self.seen["refused"] += 1
        return None

    # -- what happens -----------------------------------------------------------

    def request(self, place, action, away, size, **fields):
        contract = CONTRACTS[place % len(CONTRACTS)]
        products = PRODUCTS[contract.kind]
        last = price_at(contract, CLOCK.ms)
        towards = 1 if action == "buy" else -1
        lots = size if contract.is_derivative else size * size * 3
        return OrderRequest(
            contract=contract, product=products[place // len(CONTRACTS) % len(products)],
            action=action, quantity=lots * contract.unit,
            price_ticks=max(last + towards * away, 1), **fields,
        )  # fmt: skip

    def place(self, request):
        """Place an order, and check that what it blocks was free."""
        self.desk.advance()
        segment = money_segment(request.contract)
        held = self.desk._engine.ledger.quantity(request.contract, request.product)
        before = self.free(segment)
        order = self.refused(self.desk.place, request)
        if order and before >= 0 and held * request.sign >= 0:
            assert self.free(segment) >= 0, "blocked more than there was"
        return order

    def free(self, segment):
        funds = self.desk.funds()
        return funds.allocated[segment] - funds.blocked[segment]

    asks: ClassVar = {
        "place": places,
        "action": st.sampled_from(["buy", "sell"]),
        "size": st.integers(1, 9),
    }

    @rule(away=st.integers(-25, 40), **asks)
    def limit(self, away, **asked):
        self.place(self.request(away=away, **asked))

    @rule(aways=st.lists(st.integers(-6, 30), min_size=3, max_size=8), **asks)
    def several(self, aways, place, **asked):
        """Some orders at the same moment."""
        for number, away in enumerate(aways):
            self.place(self.request(place + number, away=away, **asked))

    @rule(away=st.integers(-6, 3), **asks)
    def immediate(self, away, **asked):
        self.place(self.request(away=away, validity="ioc", **asked))

    @rule(
        away=st.integers(-3, 3),
        validity=st.sampled_from(["ioc", "ioc", "ioc", "day", "vtc"]),
        **asks,
    )
    def greedy(self, away, validity, size, **asked):
        """More than the book shows, perhaps more than the money pays."""
        request = self.request(away=away, size=size * 3, validity=validity, **asked)
        if not request.contract.is_derivative:
            worth = value_paise(request.contract, request.price_ticks, 1)
            request = replace(
                request, quantity=size * (300_000_000 if validity == "ioc" else 20_000_000) // worth
            )
        self.place(replace(request, valid_until=CLOCK.now().date() + timedelta(days=size % 4)))

    @rule(size=st.integers(3, 9))
    def over_night(self, size):
        """A day order too large for the last seconds before the auction, and the next morning."""
        CLOCK.set(max(CLOCK.now().replace(hour=15, minute=14, second=58), CLOCK.now()))
        self.place(replace(self.request(3, "buy", 1, 1), quantity=size * 600))
        self.next_morning(1)

    @rule(away=st.integers(-400, 2), days=st.integers(0, 6), **asks)
    def good_till_date(self, away, days, **asked):
        until = CLOCK.now().date() + timedelta(days=days)
        self.place(self.request(away=away, validity="vtc", valid_until=until, **asked))

    @rule(away=st.integers(0, 30), trigger=st.integers(0, 20), **asks)
    def stop_loss(self, away, trigger, **asked):
        request = self.request(away=away + trigger, **asked)
        at = max(request.price_ticks - request.sign * away, 1)
        self.place(replace(request, kind="stoploss", trigger_ticks=at))

    @rule(wrong=st.sampled_from(
        [{"quantity": 0}, {"quantity": 7}, {"price_ticks": 10**7}, {"quantity": 10**9},
         {"kind": "stoploss"}, {"validity": "ioc", "disclosed": 1}, {"product": "futures"}]
    ), **asks)  # fmt: skip
    def nonsense(self, wrong, **asked):
        self.place(replace(self.request(away=0, **asked), **wrong))

    @rule(size=st.integers(2, 9))
    def what_is_there(self, size):
        """More than a cheap and busy stock shows at once."""
        request = self.request(2, "buy", 1, 1, validity="ioc")
        self.place(replace(request, quantity=size * 4_000))

    @rule(place=places, above=st.booleans())
    def outside_the_circuit(self, place, above):
        request = self.request(place, "buy", 0, 1)
        limits = MARKET.prices.circuit(request.contract, number_at(CLOCK.ms / 1000))
        if request.contract.expiry is None or request.contract.expiry >= CLOCK.now().date():
            price = limits[1] + 1 if above else limits[0] - 1
            self.place(replace(request, price_ticks=price))

    @rule(place=places)
    def too_much_for_one_order(self, place):
        option = CONTRACTS[6]
        last = price_at(option, CLOCK.ms)
        self.place(OrderRequest(contract=option, product="options", action="buy",
                                quantity=28 * option.unit, price_ticks=last + place % 9))  # fmt: skip

    @rule(place=places, by=st.integers(-20, 40), part=st.integers(1, 12))
    def modify(self, place, by, part):
        working = [o for o in self.desk.orders() if not o.is_final] or self.desk.orders()[-1:]
        if working:
            order = working[place % len(working)]
            quantity = max(order.quantity * part // 6 // order.contract.unit, 1)
            self.refused(
                self.desk.modify, order.id, price_ticks=order.price_ticks + by,
                quantity=quantity * order.contract.unit,
            )  # fmt: skip

    @rule(place=places)
    def cancel(self, place):
        working = [o for o in self.desk.orders() if not o.is_final] or self.desk.orders()[-1:]
        if working:
            self.refused(self.desk.cancel, working[place % len(working)].id)

    @rule(place=places, part=st.integers(1, 3))
    def square_off(self, place, part):
        positions = [p for p in self.desk.positions() if p.quantity]
        if positions:
            position = positions[place % len(positions)]
            unit = position.contract.unit
            action = "sell" if position.quantity > 0 else "buy"
            away = 40 if action == "buy" else -40
            request = OrderRequest(
                contract=position.contract, product=position.product, action=action,
                quantity=max(abs(position.quantity) // unit // part, 1) * unit,
                price_ticks=max(position.last_ticks + away, 1),
            )  # fmt: skip
            self.refused(self.desk.square_off, request)

    @rule(credit=st.booleans(), paise=st.integers(1, 10**10), place=places)
    def transfer(self, credit, paise, place):
        segment = sorted(self.money)[place % 4]
        before = self.desk.funds()
        self.refused(self.desk.transfer, credit=credit, paise=paise, segment=segment)
        moved = before.unallocated - self.desk.funds().unallocated
        assert moved in (0, paise if credit else -paise)
        assert self.desk.funds().total == before.total, "money appeared in a transfer"
        self.money[segment] += moved
        self.unallocated -= moved

    @rule(place=places, action=st.sampled_from(["buy", "sell"]), trigger=st.integers(-30, 30))
    def trigger(self, place, action, trigger):
        self.place_trigger(self.request(place, action, 0, 1), trigger)

    @rule(place=places)
    def forgotten_trigger(self, place):
        """Far away, on an option that expires soon."""
        self.place_trigger(self.request(6 + place % 2, "buy", 0, 1), 30_000)
        self.next_morning(6)

    def place_trigger(self, request, trigger):
        action = request.action
        leg = GttLeg(
            kind="single", action=action, trigger_ticks=max(request.price_ticks + trigger, 1),
            limit_ticks=max(request.price_ticks + trigger + request.sign * 15, 1),
        )  # fmt: skip
        contract = request.contract
        self.refused(
            self.desk.gtt_place, "single", contract, request.product, contract.unit, legs=[leg]
        )

    @rule(place=places, action=st.sampled_from(["buy", "sell"]), wide=st.integers(12, 60),
          away=st.integers(-9, 9))  # fmt: skip
    def cover(self, place, action, wide, away):
        fresh = self.request(4 + place % 4, action, away, 2)
        exit_action = "sell" if action == "buy" else "buy"
        target, stop = fresh.price_ticks + fresh.sign * wide, fresh.price_ticks - fresh.sign * wide
        legs = [
            GttLeg(kind=kind, action=exit_action, trigger_ticks=max(at, 1),
                   limit_ticks=max(at - fresh.sign * 20, 1))
            for kind, at in (("target", target), ("stoploss", stop))
        ]  # fmt: skip
        self.refused(self.desk.gtt_place, "cover_oco", fresh.contract, fresh.product,
                     fresh.quantity, legs=legs, fresh=fresh)  # fmt: skip

    @rule(place=places, by=st.integers(-9, 9))
    def change_trigger(self, place, by):
        gtts = self.desk.gtt_book()
        if gtts:
            gtt = gtts[place % len(gtts)]
            if place % 3:
                leg = gtt.legs[0]
                leg = replace(leg, trigger_ticks=max(leg.trigger_ticks + by, 1))
                self.refused(self.desk.gtt_modify, gtt.id, [leg])
            else:
                self.refused(self.desk.gtt_cancel, gtt.id)

    @rule(seconds=st.integers(1, 120))
    def a_moment(self, seconds):
        CLOCK.ms += seconds * 1000

    @rule(minutes=st.integers(5, 90))
    def a_while(self, minutes):
        CLOCK.ms += minutes * 60_000

    @rule(place=places)
    def evening(self, place):
        """Past the cash close, now and then; commodities still trade."""
        if place % 3 == 0:
            CLOCK.set(max(CLOCK.now().replace(hour=16, minute=0), CLOCK.now()))

    @rule(days=st.sampled_from([1, 1, 1, 2, 3, 6]))
    def morning_comes(self, days):
        self.next_morning(days)

    def next_morning(self, days):
        then = (CLOCK.now() + timedelta(days=days)).replace(hour=10, minute=0)
        while days < 6 and not clock.is_trading_day(then.date()):
            then += timedelta(days=1)
        CLOCK.set(then)

    # -- the audit ----------------------------------------------------------------

    @invariant()
    def every_order_has_one_state(self):
        if not hasattr(self, "desk"):
            return
        orders = {o.id: o for o in self.desk.orders()}
        assert set(orders) == set(self.history)
        for order_id, told in self.history.items():
            assert told[-1] == orders[order_id], "an order changed in silence"
            assert told[0].status == "Requested"
            for before, after in itertools.pairwise(told[self.audited.get(order_id, 0) :]):
                assert after.status in FOLLOWS.get(before.status, ()), (before.status, after.status)
                assert after.executed >= before.executed
                assert after.changed_ms >= before.changed_ms
            self.audited[order_id] = len(told) - 1
            order = told[-1]
            parts = (order.executed, order.cancelled, order.expired, order.pending)
            assert sum(parts) == order.quantity
            assert min(parts) >= 0
            assert "".join("01"[part > 0] for part in parts) == PARTS[order.status], order
            assert order.reason or order.status not in ("Rejected", "Freezed", "Expired")
            assert order.blocked == 0 or not order.is_final

    @invariant()
    def trades_are_those_of_the_orders(self):
        if not hasattr(self, "desk"):
            return
        made = {}
        fills = self.desk.fills()
        assert [f.time_ms for f in fills] == sorted(f.time_ms for f in fills)
        assert len({f.id for f in fills}) == len(fills)
        for fill in fills:
            made.setdefault(fill.order_id, []).append(fill)
            assert fill.value == value_paise(fill.contract, fill.price_ticks, fill.quantity)
        for order in self.desk.orders():
            own = made.get(order.id, [])
            assert sum(f.quantity for f in own) == order.executed, "executed without a trade"
            assert sum(f.value for f in own) == order.value
            assert sum(f.charges.total for f in own) == order.charges.total
            whole = order_charges(order.contract, order.product, order.action, order.value)
            assert order.charges == whole
            if not order.modifications:
                worst = max((f.price_ticks * f.sign for f in own), default=-(10**9))
                assert worst <= order.price_ticks * order.sign, "worse than its limit"

    @invariant()
    def money_positions_and_shares_follow_from_the_trades(self):
        if not hasattr(self, "desk"):
            return
        money, shares, flows = dict(self.money), Counter(self.shares), Counter()
        net, range_of = Counter(), {}
        for fill in self.desk.fills():
            segment, key = money_segment(fill.contract), (fill.contract.key, fill.product)
            money[segment] -= fill.charges.total
            if fill.product in DELIVERED:
                shares[share_key(fill.contract)] += fill.sign * fill.quantity
            else:
                net[key] += fill.sign * fill.quantity
                range_of.setdefault(key, []).append(fill.price_ticks)
            flows[segment if fill.product not in MARKED else key] -= fill.sign * fill.value
        for position in self.positions():
            key = (position.contract.key, position.product)
            assert position.quantity == net.pop(key, 0), "trades do not sum to the position"
            signed = position.cost if position.quantity >= 0 else -position.cost
            if position.product in MARKED:
                # What flowed and did not come to rest in what is open was won or lost.
                won = flows[key] + signed
                assert position.realised == won
                money[money_segment(position.contract)] += won
            low, high = min(range_of[key]), max(range_of[key])
            assert position.quantity or position.cost == 0
            size = abs(position.quantity)
            edges = [value_paise(position.contract, ticks, size) for ticks in (low, high)]
            assert edges[0] - size <= position.cost <= edges[1] + size
            assert position.product != "mtf" or position.quantity >= 0
            expiry = position.contract.expiry
            assert not position.quantity or expiry is None or expiry >= CLOCK.now().date()
            evening = CLOCK.now().hour >= 16 or position.changed_ms < CLOCK.ms - 86_400_000
            assert position.product != "margin" or not position.quantity or not evening
        assert not +net
        assert not -net
        for segment in money:
            money[segment] += flows[segment]
        funds = self.desk.funds()
        assert funds.allocated == money, "money does not follow from the trades"
        assert funds.unallocated == self.unallocated
        held = self.desk._engine.ledger.shares
        assert {k: v.quantity for k, v in held.items()} == {k: shares[k] for k in held}
        assert not {k for k in shares if shares[k] and k not in held}
        assert all(lot.quantity > 0 for share in held.values() for lot in share.lots)
        assert all(share.settled >= 0 for share in held.values())

    def positions(self):
        """Every position; looking up the last prices each time would take most of a minute."""
        self.desk.advance()
        return list(self.desk._engine.ledger.open.values())

    @invariant()
    def what_is_blocked_is_what_orders_and_positions_need(self):
        if not hasattr(self, "desk"):
            return
        number, need = number_at(CLOCK.ms / 1000), Counter()
        groups = {}
        for position in self.positions():
            groups[position.contract.key, position.product] = [position.contract,
                                                               position.quantity, 0, 0]  # fmt: skip
        for order in self.desk.orders():
            if order.is_final:
                continue
            key = (order.contract.key, order.product)
            group = groups.setdefault(key, [order.contract, 0, 0, 0])
            group[2 if order.action == "buy" else 3] += order.pending
            price = order.price_ticks
            if order.product in MARKED and order.action == "sell":
                price = max(price, MARKET.prices.circuit(order.contract, number)[1])
            rest = value_paise(order.contract, price, order.pending)
            charges = (
                order_charges(order.contract, order.product, order.action, order.value + rest).total
                - order.charges.total
            )
            paid = 0 if order.product in MARKED else rest * order.sign
            need[money_segment(order.contract)] += max(charges + paid, 0)
        for (_, product), (contract, quantity, buys, sales) in groups.items():
            if product in MARKED:
                worst = max(quantity + buys, sales - quantity, abs(quantity))
            else:
                worst = max(sales - quantity, 0) if product == "options" else 0
            need[money_segment(contract)] += sum(
                margin(MARKET.prices, contract, product, number, worst)
            )
        blocked = self.desk.funds().blocked
        assert blocked == {segment: need[segment] for segment in blocked}, "blocked is not needed"

    def teardown(self):
        """Count what was reached."""
        if hasattr(self, "desk"):
            ledger = self.desk._engine.ledger
            for position in self.desk.positions(every=True):
                kept = ledger.open[position.contract.key, position.product]
                assert (position.quantity, position.realised) == (kept.quantity, kept.realised)
                worth = value_paise(position.contract, position.last_ticks, position.quantity)
                signed = position.cost if position.quantity > 0 else -position.cost
                assert not position.quantity or position.unrealised == worth - signed
            for holding in self.desk.holdings():
                kept = ledger.shares[share_key(holding.contract)]
                assert holding.quantity == kept.quantity
                assert min(holding.settled, holding.awaiting, holding.today) >= 0
                assert 0 <= holding.blocked <= holding.quantity
            for gtt in self.desk.gtt_book():
                for leg in gtt.legs:
                    self.seen["leg " + leg.status] += 1
            for fill in self.desk.fills():
                self.seen["origin " + fill.origin] += 1
            self.seen["trades"] += len(self.desk.fills())
            self.seen["modified"] += sum(o.modifications for o in self.desk.orders())


def run(machine, examples, steps):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True,
            database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def in_a_process(name):
    """Run the machine alone, which is half a minute of pure work: what Hypothesis draws depends on which modules are loaded."""
    done = subprocess.run(
        [sys.executable, __file__, name], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


def audit():
    """Return how often each state was reached."""

    class Machine(DeskMachine):
        seen: ClassVar[Counter] = Counter()

    run(Machine, examples=68, steps=50)
    return Machine.seen


def test_books_add_up_whatever_a_thousand_orders_do():
    """Every state is reached, and nothing is lost or made."""
    seen = Counter(in_a_process("audit"))
    assert seen["orders"] >= 1000
    assert seen["trades"] >= 500
    reached = {*FINAL, *FOLLOWS, *(f"origin {o}" for o in ("user", "gtt", "squareoff", "auto",
               "expiry")), "refused", "modified",
               *(f"leg {s}" for s in ("Active", "Triggered", "Cancelled", "Expired"))}  # fmt: skip
    assert not {state for state in reached if not seen[state]}


# -- planted faults -----------------------------------------------------------------


class ChargesTwice(Engine):
    def book(self, fill):
        super().book(fill)
        self.ledger.money[money_segment(fill.contract)] -= fill.charges.total


class FillNotBooked(Engine):
    def book(self, fill):
        if fill.value % 3:
            super().book(fill)


class BlockedNotReleased(Engine):
    left = 0

    def cancel_rest(self, order, reason):
        self.left += order.blocked
        return super().cancel_rest(order, reason)

    def held(self, segment, candidate=None):
        return super().held(segment, candidate) + (self.left if segment == "equity" else 0)


class StatusLeftAfterCancel(Engine):
    def cancel_rest(self, order, reason):
        return self.change(order, reason=reason, cancelled=order.cancelled + order.pending)


class ExpiryForgotten(Engine):
    def _cease(self, segment, number):
        pass


class LimitIgnored(Engine):
    def fill(self, order, ticks, quantity):
        return super().fill(order, ticks + order.sign * 60, quantity)


class CancelledAfterTheEnd(Engine):
    def fill(self, order, ticks, quantity):
        order = super().fill(order, ticks, quantity)
        if order.status == "Executed" and order.value % 5 == 0:
            self.on_change(replace(order, status="Cancelled"))
        return order


class MarginForgotten(Engine):
    def check_funds(self, candidate):
        pass


FAULTS = [ChargesTwice, FillNotBooked, BlockedNotReleased, StatusLeftAfterCancel, ExpiryForgotten,
          LimitIgnored, CancelledAfterTheEnd, MarginForgotten]  # fmt: skip


def notices(fault):
    """Say whether the machine fails on an engine with a fault."""

    class FaultyDesk(Desk):
        _make_engine = fault

    class Machine(DeskMachine):
        desk_type = FaultyDesk
        seen: ClassVar[Counter] = Counter()

    try:
        run(Machine, examples=30, steps=40)
    except (AssertionError, KeyError, ValueError):
        return True
    return False


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_machine_notices_a_planted_fault(fault):
    """An engine with one fault does not pass."""
    assert in_a_process(fault.__name__) is True


if __name__ == "__main__":
    asked = {fault.__name__: functools.partial(notices, fault) for fault in FAULTS}
    print(json.dumps({"audit": audit, **asked}[sys.argv[1]]()))
