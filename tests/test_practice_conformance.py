"""Every public method and README example of the unmodified SDK, against the practice market."""

import copy
import csv
import inspect
import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta
from urllib.request import urlopen

import conformance_cases
import pytest
import requests
import sdk_readme
from conformance_cases import CASES, MISPRINTS
from conformance_schema import ANSWERS, FRAMES, complaints
from waiting import until

from breeze_lab import _sdk
from breeze_lab.practice.exchange.words import dated
from breeze_lab.practice.wire.rows import day
from breeze_lab.settings import Endpoints

EXAMPLES = {(e.method, e.number): e for e in sdk_readme.examples()}
#: Where derivatives stand in the master: exchange, member, columns of code, series, expiry, lot.
MEMBERS = {
    "NFO": ("FONSE", 2, 3, 4, 5, 6, 27), "BFO": ("FOBSE", 2, 3, 4, 5, 6, 27),
    "NDX": ("CDNSE", 2, 3, 4, 5, 6, 27), "MCX": ("MCX", 2, 3, 7, 9, 8, 6),
}  # fmt: skip
#: How fast the market of the candles is: half an hour lasts ten seconds.
SPEED = 180
MORNING = "2026-11-20T10:00"


def start(*options, home):
    process = subprocess.Popen(
        [sys.executable, "-m", "breeze_lab.practice", "--json", *options],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "BREEZE_LAB_HOME": str(home)},
    )  # fmt: skip
    return process, json.loads(process.stdout.readline())


class World:
    """The unmodified SDK, logged in to one practice market, and what the cases need of it."""

    def __init__(self, record, folder):
        self.record = record
        self.path = folder / "SecurityMaster.zip"
        with urlopen(record["master_url"]) as answer:
            self.path.write_bytes(answer.read())
        self.module = _sdk.load(Endpoints.from_dict(record, name="practice"), self.path)
        # The plain SDK, orders and all: what `load` gives it instead only reads.
        self.module.requests = requests
        self.module.config.SECURITY_MASTER_URL = record["master_url"]
        self.sdks = []
        self.breeze = self.login()
        self.breeze.ws_connect()
        self.orders = {}
        self.chains = self.read_chains()

    def login(self):
        """Return another logged-in SDK; its ticks are in `.seen`."""
        breeze = self.module.BreezeConnect(api_key=self.record["app_key"])
        breeze.generate_session(
            api_secret=self.record["secret"], session_token=self.record["api_session"]
        )
        breeze.seen = []
        breeze.on_ticks = breeze.seen.append
        self.sdks.append(breeze)
        return breeze

    def close(self):
        for breeze in self.sdks:
            hang_up(breeze)

    def rooms(self):
        """Return who listens where, by the market's own count."""
        with urlopen(self.record["status_url"]) as answer:
            return json.loads(answer.read())["rooms"]

    def now(self):
        """Return the market's date and time."""
        with urlopen(self.record["status_url"]) as answer:
            return datetime.fromisoformat(json.loads(answer.read())["now"])

    # -- what is listed --

    def read_chains(self):
        """Return strikes and lot by (exchange, code, expiry), and one token of a currency."""
        found = {}
        with zipfile.ZipFile(self.path) as archive:
            for exchange, (member, code, series, expiry, strike, _, lot) in MEMBERS.items():
                text = archive.read(f"{member}ScripMaster.txt").decode()
                for row in csv.reader(text.split("\r\n")[1:]):
                    if row[series] == "SPOT":
                        continue
                    key = (exchange, row[code], day(row[expiry]))
                    listed = found.setdefault(key, {"strikes": set(), "lot": int(row[lot])})
                    listed.setdefault("token", row[0])
                    if row[series] == "FUTURE":
                        listed["token"] = row[0]
                        listed["future"] = True
                    else:
                        listed["strikes"].add(float(row[strike]))
        return found

    def chain(self, keywords):
        """Return (expiry, chain) of a contract some days before its expiry."""
        exchange = keywords.get("exchange_code", "NFO").upper()
        code = keywords.get("stock_code") or keywords.get("underlying")
        least = self.now().date() + timedelta(days=3)
        product = keywords.get("product") or keywords.get("product_type") or ""
        options = product.lower().startswith("option")
        found = {
            expiry: listed for (ex, name, expiry), listed in self.chains.items()
            if (ex, name) == (exchange, code) and expiry >= least
            and (listed["strikes"] if options else listed.get("future"))
        }  # fmt: skip
        return min(found), found[min(found)]

    def last(self, keywords):
        """Return the last price and the circuit limits of what a call is about."""
        exchange = keywords.get("exchange_code", "NFO").upper()
        product = (keywords.get("product") or keywords.get("product_type") or "").lower()
        asked = {"stock_code": keywords.get("stock_code"), "exchange_code": exchange}
        if product in ("futures", "options"):
            expiry = self.chain(keywords)[0]
            asked |= {"product_type": product, "expiry_date": f"{expiry}T06:00:00.000Z"}
        if product == "options":
            asked |= {
                "right": keywords.get("right", "call").lower(),
                "strike_price": self.money(keywords),
            }
        row = self.breeze.get_quotes(**asked)["Success"][0]
        return row["ltp"], row["lower_circuit"], row["upper_circuit"]

    def money(self, keywords):
        """Return the strike nearest to the underlying's price, as the master writes it."""
        exchange = keywords.get("exchange_code", "NFO").upper()
        code = keywords.get("stock_code") or keywords.get("underlying")
        spot = self.breeze.get_quotes(
            stock_code=code, exchange_code={"NFO": "NSE", "BFO": "BSE"}[exchange]
        )["Success"]
        row = next(row for row in spot if row["exchange_code"] != "NA")
        strikes = self.chain(keywords | {"product": "options"})[1]["strikes"]
        return f"{min(strikes, key=lambda strike: abs(strike - row['ltp'])):g}"

    def money_then(self, keywords):
        """Return the strike nearest to NIFTY's price on the day of a call: prices are invented."""
        row = self.breeze.get_historical_data_v2(
            interval="1day", from_date=keywords["from_date"], to_date=keywords["to_date"],
            stock_code=keywords["stock_code"], exchange_code="NSE", product_type="cash",
        )["Success"][0]  # fmt: skip
        return f"{round(row['open'] / 50) * 50}"

    def price(self, keywords, factor):
        """Return a price at `factor` of the last one, within the day's limits and on every tick."""
        last, lower, upper = self.last(keywords)
        wanted = min(max(last * factor, lower + 0.5), upper - 0.5)
        return f"{round(wanted * 2) / 2:.2f}" if last < 5000 else f"{wanted // 10 * 10:.0f}"

    # -- values --

    def value(self, what, shown, keywords):
        """Return what stands in for a README value."""
        simple = {
            "the secret": lambda: self.record["secret"],
            "the api session": lambda: self.record["api_session"],
            "a listed expiry": lambda: written(shown, self.chain(keywords)[0]),
            "an expiry as the master writes it": lambda: dated(self.chain(keywords)[0]),
            "the strike at the money": lambda: self.money(keywords),
            "the strike at the money that day": lambda: self.money_then(keywords),
            "one lot": lambda: str(self.chain(keywords)[1]["lot"]),
            "a day three weeks ahead": lambda: written(
                shown, self.now().date() + timedelta(days=21)
            ),
            "today": lambda: written(shown, self.now().date()),
            "a price below the market": lambda: self.price(keywords, 0.97),
            "a price lower still": lambda: self.price(keywords, 0.9),
            "a trigger above the market": lambda: self.price(keywords, 1.1),
            "a price above the market": lambda: self.price(keywords, 1.2),
            "a working cash order": self.cash_order,
            "a working option order": self.option_order,
            "an executed cash order": self.bought_cash,
            "a three-leg GTT": lambda: self.gtt("three"),
            "a single-leg GTT": lambda: self.gtt("single"),
            "limits and triggers around the market": lambda: self.legs(shown, keywords),
            "listed expiries, strikes and lots": lambda: self.positions(shown),
            "a currency room": lambda: f"13.1!{next(v['token'] for k, v in self.chains.items() if k[0] == 'NDX')}",
        }  # fmt: skip
        return simple[what]()

    def legs(self, shown, keywords):
        """Return the legs with a target far above, a stop loss and a single trigger far below."""
        legs = copy.deepcopy(shown)
        for leg in legs:
            up = leg.get("gtt_leg_type") == "target"
            leg["trigger_price"] = self.price(keywords, 1.8 if up else 0.5)
            leg["limit_price"] = self.price(keywords, 1.9 if up else 0.45)
        return legs

    def positions(self, shown):
        found = copy.deepcopy(shown)
        for item in found:
            expiry, chain = self.chain({**item, "product": item["product"]})
            item["expiry_date"] = dated(expiry)
            item["quantity"] = str(chain["lot"])
            if item["product"] == "options":
                item["strike_price"] = self.money(item)
        return found

    # -- orders the cases need --

    def option_keywords(self):
        return {
            "stock_code": "NIFTY",
            "exchange_code": "NFO",
            "product": "options",
            "right": "call",
        }

    def place(self, factor, **keywords):
        if keywords["product"] in ("futures", "options"):
            expiry, chain = self.chain(keywords)
            keywords |= {"expiry_date": f"{expiry}T06:00:00.000Z", "quantity": str(chain["lot"])}
        if keywords["product"] == "options":
            keywords["strike_price"] = self.money(keywords)
        keywords = {"action": "buy", "order_type": "limit", "validity": "day", **keywords}
        keywords["price"] = self.price(keywords, factor)
        answer = self.breeze.place_order(**keywords)
        assert answer["Status"] == 200, answer
        return answer["Success"]["order_id"]

    def status(self, exchange, order_id):
        return self.breeze.get_order_detail(exchange, order_id)["Success"][0]["status"]

    def executed(self, name, exchange, **keywords):
        """Buy once, at a price above the market, and wait until it is done."""
        if name not in self.orders:
            placed = self.place(1.03, exchange_code=exchange, **keywords)
            until(lambda: self.status(exchange, placed) == "Executed", "an execution")
            self.orders[name] = placed
        return self.orders[name]

    def cash_order(self):
        return self.place(0.97, stock_code="ITC", exchange_code="NSE", product="cash", quantity="3")

    def option_order(self):
        return self.place(0.95, **self.option_keywords())

    def bought_cash(self):
        return self.executed("cash", "NSE", stock_code="ITC", product="cash", quantity="5")

    def option_position(self):
        held = [
            row for row in self.breeze.get_portfolio_positions().get("Success") or []
            if row["product_type"] == "Options" and row["action"] == "Buy"
        ]  # fmt: skip
        if not held:
            self.orders.pop("option", None)
        keywords = {k: v for k, v in self.option_keywords().items() if k != "exchange_code"}
        return self.executed("option", "NFO", **keywords)

    def future_position(self):
        return self.executed("future", "NFO", stock_code="NIFTY", product="futures")

    def gtt(self, kind):
        example = EXAMPLES[f"gtt_{kind}_leg_place_order", 1]
        case = next(c for c in CASES if (c.method, c.example) == (example.method, 1))
        answer = getattr(self.breeze, example.method)(**self.keywords(case))
        return answer["Success"]["gtt_order_id"]

    def gtts(self):
        self.gtt("three")
        self.gtt("single")

    # -- sockets --

    def order_socket(self):
        self.breeze.subscribe_feeds(get_order_notification=True)

    def no_order_socket(self):
        hang_up(self.breeze, orders_only=True)

    def order_arrives(self):
        """Hear of an order just placed, without a room."""
        self.order_socket()
        placed = self.cash_order()
        order = until(
            lambda: next((t for t in list(self.breeze.seen) if t.get("orderReference") == placed), None),
            "an order notification",
        )  # fmt: skip
        assert order["messageType"] in "45"
        assert order["userId"] == self.breeze.user_id
        placed = self.option_order()
        order = until(
            lambda: next((t for t in list(self.breeze.seen) if t.get("orderReference") == placed), None),
            "an option's notification",
        )  # fmt: skip
        assert order["messageType"] in "67"
        assert order["productType"] == "Options"
        assert float(order["strikePrice"]) == float(self.money(self.option_keywords())) * 100

    def an_interval(self):
        self.breeze.interval = ""

    # -- running a case --

    def keywords(self, case):
        """Return the arguments of a case, the README's where they are still good."""
        if case.example:
            example = EXAMPLES[case.method, case.example]
            shown = dict(example.keywords)
            if example.arguments:
                (shown["lists"],) = example.arguments
        else:
            shown = dict(case.call)
        given = dict(case.given)
        if not case.example:
            given |= {k: v for k, v in shown.items() if isinstance(v, str) and v.split(" ")[0] in
                      ("a", "an", "the", "one", "today")}  # fmt: skip
        context = (
            dict(shown) if {"stock_code", "underlying"} & shown.keys() else self.option_keywords()
        )
        for name, what in given.items():
            shown[name] = self.value(what, shown.get(name), context)
        return shown


def written(shown, when):
    """Return a date in the way the README writes this one."""
    if shown and re.match(r"\d\d-[A-Za-z]{3}-", shown):
        return dated(when)
    tail = shown[10:] if shown and shown[:4].isdigit() else "T06:00:00.000Z"
    return f"{when.isoformat()}{tail}"


def hang_up(breeze, *, orders_only=False):
    handlers = ["sio_order_refresh_handler"]
    if not orders_only:
        handlers += ["sio_rate_refresh_handler", "sio_ohlcv_stream_handler"]
    for name in handlers:
        handler = getattr(breeze, name)
        if handler is not None:
            handler.sio.disconnect()
            setattr(breeze, name, None)
    breeze.orderconnect = 0


@pytest.fixture(scope="module")
def world(practice, tmp_path_factory):
    """The market at its true pace."""
    world = World(practice, tmp_path_factory.mktemp("sdk"))
    yield world
    world.close()


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """A market whose half hours last seconds; its longest candle is asked for at once."""
    process, record = start(
        "--speed",
        str(SPEED),
        "--keep-sessions",
        "--no-limits",
        "--at",
        MORNING,
        home=tmp_path_factory.mktemp("fast"),
    )
    world = World(record, tmp_path_factory.mktemp("fast-sdk"))
    world.breeze.subscribe_feeds(stock_token="4.1!1594", interval="30minute")
    yield world
    world.close()
    process.terminate()
    process.stdout.close()
    process.wait(30)


@pytest.fixture(scope="module", autouse=True)
def early(request):
    """Start the fast market first when this module runs whole, so that its time passes meanwhile."""
    if len(request.session.items) > 50:
        request.getfixturevalue("fast")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case, request):
    """The call returns the documented layout, and the documented ticks arrive."""
    candles = "candle" in case.ticks or (
        case.method == "unsubscribe_feeds" and case.example in (1, 4, 7)
    )
    world = request.getfixturevalue("fast" if candles else "world")
    if case.before in SPECIAL:
        SPECIAL[case.before](world, case)
        return
    if case.before:
        getattr(world, case.before)()
    breeze = world.breeze
    keywords = world.keywords(case)
    joined = set()
    if case.method == "unsubscribe_feeds" and not keywords.get("get_order_notification"):
        breeze.subscribe_feeds(**keywords)
        joined = rooms_of(breeze, keywords)
        until(lambda: joined <= world.rooms().keys(), f"a listener in {joined}")
    if case.method in ("ws_connect", "generate_session"):
        breeze = world.login()  # the others go on with theirs
    if "candle" not in case.ticks:
        breeze.seen.clear()
    if case.raises:
        with pytest.raises(Exception, match=re.escape(case.says)):
            getattr(breeze, case.method)(**keywords)
        return
    answer = getattr(breeze, case.method)(**keywords)
    assert_answer(case, answer)
    if case.ticks:
        assert_ticks(case, breeze, keywords)
    if joined:
        until(lambda: not joined & world.rooms().keys(), f"nobody in {joined}")


def assert_answer(case, answer):
    """Compare with the layout; rows there must be at least one of, unless none is documented."""
    if case.answer in ANSWERS:
        assert complaints(answer, ANSWERS[case.answer]) == []
        if case.works and isinstance(answer, dict) and answer.get("Success") == []:
            assert "empty list" in case.note
    elif case.answer == "scripts":
        assert [bool(found) for found in answer] == [True, True, False, True, True, True]
    elif case.answer == "exception":
        assert isinstance(answer, Exception)
    elif case.answer == "rooms":
        assert answer == ("4.1!2885", "4.2!2885")
    elif case.answer == "named":
        assert complaints(answer, {"stock_name": "text"}) == []
    else:
        pytest.fail(f"no layout named {case.answer}")
    assert case.says in str(answer)


def assert_ticks(case, breeze, keywords):
    """Wait for a tick of this subscription; what arrives must have the layout."""
    if case.ticks == "mcx quote":
        tick = until(
            lambda: next((t for t in list(breeze.seen) if t.get("symbol", "")[:4] == "6.1!"), None),
            "MCX",
        )
        assert (tick["open"], tick["exchange"]) == ("32", "Commodity")
        assert "ltt" not in tick
        return
    layout = FRAMES[case.ticks]
    ordered = "candle" not in case.ticks  # the SDK writes the interval first, the README too
    interval = keywords.get("interval")

    def fits(tick):
        if interval and tick.get("interval") != interval:
            return False
        if "stock_token" in keywords and "symbol" in tick:
            return tick["symbol"] in keywords["stock_token"]
        if keywords.get("strike_price") and "strike_price" in tick:
            return float(tick["strike_price"]) == float(keywords["strike_price"])
        if "expiry_date" in keywords and "expiry_date" in tick:
            return tick["expiry_date"] == keywords["expiry_date"]
        if "exchange_code" in keywords and "exchange_code" in tick:
            return tick["exchange_code"] == keywords["exchange_code"]
        return bool(set(layout) & set(tick))

    token = keywords.get("stock_token")
    wanted = set(token) if isinstance(token, list) else None

    def good():
        found = [
            t for t in list(breeze.seen) if fits(t) and not complaints(t, layout, ordered=ordered)
        ]
        return found and (wanted is None or wanted == {t["symbol"] for t in found})

    try:
        until(good, case.ticks, 35)
    except AssertionError as late:
        found = [t for t in list(breeze.seen) if fits(t)]
        wrong = complaints(found[0], layout, ordered=ordered) if found else ["nothing arrived"]
        raise AssertionError(f"{wrong}: {found[:1]}") from late


def rooms_of(breeze, keywords):
    """Return the rooms of a subscription, as the SDK works them out and the market names them."""
    token = keywords.get("stock_token")
    if not token:
        names = {k: v for k, v in keywords.items() if k != "interval"}
        quotes, depth = breeze.get_stock_token_value(**names)
        token = quotes if keywords.get("interval") else [room for room in (quotes, depth) if room]
    rooms = [token] if isinstance(token, str) else token
    return {f"ohlc {room}" if keywords.get("interval") else room for room in rooms}


# -- cases that need more than arguments --


def fresh_login(world, case):
    """`api_util` alone exchanges the session again."""
    breeze = world.module.BreezeConnect(api_key=world.record["app_key"])
    breeze.session_key, breeze.secret_key = world.record["api_session"], world.record["secret"]
    assert breeze.api_util() is None
    assert breeze.user_id == world.breeze.user_id


def fresh_sockets(world, case):
    """Disconnecting forgets the socket; the server cuts it."""
    breeze = world.login()
    breeze.ws_connect()
    handler = breeze.sio_rate_refresh_handler
    answer = getattr(breeze, case.method)()
    try:
        assert_answer(case, answer)
        assert breeze.sio_rate_refresh_handler is None
    finally:
        handler.sio.disconnect()


def nothing_joined(world, case):
    """A currency by fields reports success and joins a room that does not exist."""
    keywords = world.keywords(case)
    answer = world.breeze.subscribe_feeds(**keywords)
    assert_answer(case, answer)
    assert "13.1!False" in world.breeze.sio_rate_refresh_handler.tokenlist
    assert not any(room.startswith("13.") and "False" in room for room in world.rooms())
    world.breeze.unsubscribe_feeds(**keywords)


def strategy_without_orders(world, case):
    """The room is joined at the quote server, which does not know it."""
    world.no_order_socket()
    answer = world.breeze.subscribe_feeds(**case.call)
    assert_answer(case, answer)
    assert "one_click_fno" in world.breeze.sio_rate_refresh_handler.tokenlist
    assert "one_click_fno" not in world.rooms()
    world.breeze.sio_rate_refresh_handler.unwatch("one_click_fno")


def chain_by(*names):
    """Return a check that a chain has every strike, or every expiry, and nothing else."""

    def check(world, case):
        keywords = world.keywords(case)
        answer = world.breeze.get_option_chain_quotes(**keywords)
        assert_answer(case, answer)
        rows = answer["Success"]
        assert {row["strike_price"] for row in rows} == {float(keywords["strike_price"])}
        if "right" in names:
            assert {row["right"] for row in rows} == {"Put"}
            assert len({row["expiry_date"] for row in rows}) == len(rows) > 1
        else:
            assert [row["right"] for row in rows] == ["Call", "Put"]

    return check


def notified(world, case):
    """Everything after the call of a case that must be heard on the order socket."""
    world.order_arrives()
    world.breeze.seen.clear()
    answer = getattr(world.breeze, case.method)(**world.keywords(case))
    assert_answer(case, answer)
    if case.method == "place_order":
        placed = answer["Success"]["order_id"]

        def states():
            return [
                t["orderStatus"]
                for t in list(world.breeze.seen)
                if t.get("orderReference") == placed
            ]

        until(lambda: "Executed" in states(), "the notification of an execution")


SPECIAL = {
    "fresh_login": fresh_login,
    "fresh_sockets": fresh_sockets,
    "nothing_joined": nothing_joined,
    "no_order_socket": strategy_without_orders,
    "strike_and_expiry": chain_by("expiry"),
    "strike_and_right": chain_by("right"),
    "order_arrives": notified,
}


# -- nothing is forgotten --


def test_every_readme_example_has_a_case_and_the_other_way_round():
    """A new README with another example, or one less, is noticed."""
    covered = [(case.method, case.example) for case in CASES if case.example]
    assert len(set(covered)) == len(covered)
    assert set(covered) == set(EXAMPLES)
    for case in CASES:
        if case.example:
            example = EXAMPLES[case.method, case.example]
            known = {*example.keywords, *(["lists"] if example.arguments else [])}
            assert set(case.given) <= known, case.name


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.example and c.works and EXAMPLES[c.method, c.example].response],
    ids=lambda case: case.name,
)  # fmt: skip
def test_the_layouts_are_those_of_the_readme(case):
    """The answer and the ticks the README prints have the very layout we compare with."""
    example = EXAMPLES[case.method, case.example]
    name, _ = MISPRINTS.get(case.name, ("", ""))
    found = complaints(example.response, ANSWERS[case.answer])
    assert [text for text in found if not name or name not in text] == []
    assert bool(found) == (case.name in MISPRINTS)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.example and c.ticks], ids=lambda case: case.name
)
def test_the_layouts_of_ticks_are_those_of_the_readme(case):
    """Every tick the README prints fits the layout of its subscription."""
    example = EXAMPLES[case.method, case.example]
    assert example.ticks
    for tick in example.ticks:
        assert complaints(tick, FRAMES[case.ticks]) == []


def test_every_public_method_has_a_case(world):
    """Whatever `BreezeConnect` offers without an underscore is called by some case."""
    offered = {
        name for name, _ in inspect.getmembers(world.module.BreezeConnect, inspect.isfunction)
        if not name.startswith("_")
    }  # fmt: skip
    assert offered == {case.method for case in CASES}


def test_case_names_are_unique():
    """So that a failure points to one call."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def test_the_committed_table_is_the_one_the_cases_make():
    """Run `python tests/conformance_cases.py` after changing a case."""
    assert conformance_cases.DOCUMENT.read_text(encoding="utf-8") == conformance_cases.document()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.update(ltp=str(row["ltp"])),
        lambda row: row.update(best_bid_quantity=int(row["best_bid_quantity"])),
        lambda row: row.pop("spot_price"),
        lambda row: row.update(extra=None),
        lambda row: row.update(open=row.pop("open")),
        lambda row: row.update(expiry_date="2026-11-26"),
    ],
    ids=["number as text", "text as number", "missing", "extra", "order", "date"],
)
def test_a_planted_fault_is_found(world, spoil):
    """Each way to be wrong makes the comparison complain."""
    answer = world.breeze.get_option_chain_quotes(
        stock_code="NIFTY", exchange_code="NFO", product_type="futures"
    )
    assert complaints(answer, ANSWERS["chain"]) == []
    spoil(answer["Success"][0])
    assert complaints(answer, ANSWERS["chain"])


def test_a_forgotten_method_or_example_is_found(monkeypatch, world):
    """Without one of its cases the suite fails; with a faulty table too."""
    short = [case for case in CASES if case.method != "get_margin"]
    monkeypatch.setattr(sys.modules[__name__], "CASES", short)
    with pytest.raises(AssertionError):
        test_every_public_method_has_a_case(world)
    with pytest.raises(AssertionError):
        test_every_readme_example_has_a_case_and_the_other_way_round()
    monkeypatch.setattr(conformance_cases, "CASES", short)
    with pytest.raises(AssertionError):
        test_the_committed_table_is_the_one_the_cases_make()
