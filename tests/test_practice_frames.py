"""Frames go round: recorded ones and the practice market's own, through the SDK's parser and ours."""

import json
import zipfile
from datetime import date

import pytest
from conformance_schema import FRAMES, complaints
from frame_values import (
    candle_text,
    disagreements,
    mcx_frame,
    order_frame,
    recommendation_frame,
)

from breeze_lab import _sdk, clock
from breeze_lab.bars import Interval
from breeze_lab.events import decode
from breeze_lab.practice.desk.orders import Order
from breeze_lab.practice.exchange import contracts, history, words
from breeze_lab.practice.exchange.days import day_number, midnight
from breeze_lab.practice.exchange.market import Live
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.wire import frames, layouts, order_frames, strategies
from breeze_lab.recommendations import DerivativeRecommendation
from breeze_lab.settings import ICICI
from breeze_lab.ticks import Depth

# Recorded frames as the SDK's publisher printed them, byte for byte.
QUOTES = [
    '["4.1!10604",885,893.75,894.75,884,0.94,893.65,15,893.75,561,2,891.46,786772,280490,296628,"70.14C","",796.9,973.9,1691559630,885.4]',
    '["1.1!543349",1233.05,1239,1245,1233.05,0.74,1238.1,2,1239.9,1,1,1238.43,3493,6435,5653,"43.25L","",983.9,1475.8,1691387639,1229.85]',
    '["4.1!47869",53.35,43.05,53.35,31.7,-24.21,42.9,5250,43.05,3400,100,40.43,"","",36079750,393050,613650,"145.87C","",0.05,321.8,1691387295,56.8]',
    '["13.1!9501",105.58,105.4625,105.59,105.35,0.102,105.4575,35,105.465,59,13,105.4677,"","",15170,3090,3008,"15999.45C","",103.1,109.4775,1691399681,105.355]',
]
DEPTHS = [
    '["4.2!95826",1691390811,[[14.6,375,1,"",15.1,375,1,""]]]',
    '["1.2!530005",1691391056,[[216.25,1,216.5,12]]]',
]
MCX = '["6.1!247311","32"," "," ",0,0,0,0,0,0,0,"",268900,0,0,0,0,0,0,464000,464000,0,[0,0,0,"",0,0,0,""],[0,0,0,"",0,0,0,""],[0,0,0,"",0,0,0,""],[0,0,0,"",0,0,0,""],[0,0,0,"",0,0,0,""]]'
ORDER = '["1","*","AA073203","*","\\u0019230","5","2023080700000518","07-08-2023","11:49:55","Intraday Calls","N","6","8509042060","NFO","NIFTY","O","C","E","2000000","10-Aug-2023","07-Aug-2023","B","L","T","300","R","202308071300000009","50","0","0","0","0","N","13","WEB","Y","07-Aug-2023","*","*","0.000000","0.000000","N","N","N","N","N","N","0.000000","66","","","G\\u001a"]'
STRATEGY = '["2023-06-21 13:33:53","2023-06-21 13:35:23","1342","Call Initiated","Multiple","NFO","options","stock","TCS   ","2023-06-29 00:00:00","E","put","3440","buy","100","200","175","130.95","197","283.5","3241.95","1200","33250","500","33250","165380.75","2","active"]'
#: From the SDK's documentation, which prints them as dictionaries; the last is not padded.
EQUITY_CALLS = [
    '["MAHINDRA & MAHINDRA LIMITED(MAHMAH)Margin-Buy","MAHMAH","buy","","","","Margin","3065-3068,2025-01-02 08:55:02","3065","3068","2025-01-02 08:55:02","3098","3050","0,0","0","0","     ","open","iclick_2_gain                 "]',
    '["POWER FINANCE CORPORATION LTD(POWFIN)Margin-Buy","POWFIN","buy","","","","Margin","450-451,2025-01-02 09:37:01","450","451","2025-01-02 09:37:01","456","447","0,0","0","0","     ","open","iclick_2_gain"]',
]
CANDLES = [
    "NSE,NIFTY,18687.95,18687.95,18687.95,18687.95,0,2022-12-02 14:13:53,1SEC",
    "NFO,NIFTY,29-Dec-2022,18807.35,18807.35,18807.35,18807.35,0,11771450,2022-12-02 14:19:21,1SEC",
    "NFO,NIFTY,08-Dec-2022,18700.0,CE,120.5,120.5,120.5,120.5,2500,7592550,2022-12-02 14:10:14,1SEC",
]

TODAY = date(2026, 11, 20)
PRICES = Prices(1, date(2026, 11, 1))
LISTING = contracts.listing(PRICES, TODAY)
NOW_MS = (midnight(day_number(TODAY)) + 11 * 3600 + 1805) * 1000
#: The compact form in which frames travel.
COMPACT = {"separators": (",", ":")}


def one(exchange, kind, code=None):
    """Return a contract of this market that has traded today."""
    found = [
        c for c in LISTING.contracts
        if (c.exchange, c.kind) == (exchange, kind) and code in (None, c.code) and c.token
    ]  # fmt: skip
    middle = found[len(found) // 2 :] + found
    return next(c for c in middle if Live(PRICES, c, NOW_MS).quote.volume)


OWN = {
    "cash quote": [one("NSE", "stock", "RELIND"), one("BSE", "stock")],
    "index quote": [one("NSE", "index", "NIFTY")],
    "option quote": [one("NFO", "option", "NIFTY"), one("NFO", "option", "RELIND")],
    "future quote": [one("NFO", "future")],
    "bfo quote": [one("BFO", "option"), one("BFO", "future")],
    "currency quote": [one("NDX", "future"), one("NDX", "option")],
}
BOOKS = {
    "cash depth": [one("NSE", "stock", "RELIND")],
    "bse depth": [one("BSE", "stock")],
    "option depth": [one("NFO", "option", "NIFTY")],
    "bfo depth": [one("BFO", "option")],
}
OWN_CANDLES = {
    "cash candle": [one("NSE", "stock", "RELIND"), one("BSE", "stock"), one("NSE", "index")],
    "future candle": [one("NFO", "future"), one("BFO", "future"), one("MCX", "future"), one("NDX", "future")],
    "option candle": [one("NFO", "option"), one("BFO", "option"), one("MCX", "option"), one("NDX", "option")],
}  # fmt: skip
#: What the SDK adds from the master, which these tests do not load.
FROM_MASTER = {"stock_name", "product_type", "expiry_date", "strike_price", "right"}


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    """The unmodified SDK, never logged in: its parsers need no session."""
    master = tmp_path_factory.mktemp("master") / "SecurityMaster.zip"
    with zipfile.ZipFile(master, "w") as archive:
        archive.writestr("NSEScripMaster.txt", '"Token", "ShortName"\r\n')
    return _sdk.load(ICICI, master).BreezeConnect(api_key="x")


def wired(frame):
    """Return a frame as it arrives: once through JSON."""
    return json.loads(json.dumps(frame))


@pytest.mark.parametrize("text", QUOTES, ids=lambda text: text[2:14])
def test_a_recorded_quote_goes_round(text, sdk):
    """The SDK reads it, we read it, and what we read encodes to the recorded bytes."""
    frame = json.loads(text)
    tick = decode("stock", frame)
    assert disagreements(sdk.parse_data(list(frame)), tick) == []
    back = frames.encode(tick, derivative=len(frame) == 23)
    assert json.dumps(back, **COMPACT) == text


@pytest.mark.parametrize("text", DEPTHS, ids=lambda text: text[2:10])
def test_a_recorded_depth_goes_round(text, sdk):
    """The SDK reads it, we read it, and what we read encodes to the recorded bytes."""
    frame = json.loads(text)
    depth = decode("stock", frame)
    assert disagreements(sdk.parse_data(json.loads(text)), depth) == []
    assert json.dumps(frames.encode(depth), **COMPACT) == text


def test_the_recorded_mcx_frame_goes_round(sdk):
    """By name and back; we read rupees where the SDK loses the values to its generic mapping."""
    frame = json.loads(MCX)
    head = layouts.named(frame[:22], layouts.MCX)
    book = [layouts.named(row, layouts.MCX_ROW) for row in frame[22:]]
    tick = decode("stock", frame)
    assert tick.previous_close == head["previous_close"] / 100
    assert mcx_frame(tick) == frame
    rows = [layouts.encode(row, layouts.MCX_ROW) for row in book]
    assert json.dumps([*layouts.encode(head, layouts.MCX), *rows], **COMPACT) == MCX
    lost = sdk.parse_data(json.loads(MCX))
    assert lost["open"] == head["volume_kind"]
    assert "ltt" not in lost


def test_the_recorded_order_goes_round(sdk):
    """By name and back; the SDK's labels after the acknowledgement are one place off."""
    frame = json.loads(ORDER)
    values = layouts.named(frame, layouts.DERIVATIVE_ORDER)
    assert json.dumps(layouts.encode(values, layouts.DERIVATIVE_ORDER), **COMPACT) == ORDER
    theirs = sdk.parse_data(list(frame))
    assert (theirs["orderStatus"], theirs["optionType"]) == ("Requested", "Call")
    assert theirs["strikePrice"] == values["strike_price"] == "2000000"
    assert theirs["averageExecutedRate"] == values["amount_blocked"]
    assert theirs["systemPartnerCode"] == values["conversion_improvement_flag"] == "N"
    assert values["system_partner_code"] == "66"
    update = decode("order", frame)
    assert disagreements(theirs, update) == []
    assert (update.order_id, update.strike, update.price) == (frame[26], 20000.0, 3.0)
    assert (update.time.isoformat(), update.expiry) == (
        "2023-08-07T11:49:55+05:30",
        date(2023, 8, 10),
    )
    assert (update.right, update.quantity, update.stop_loss_reference) == ("CE", 50, None)
    assert json.dumps(order_frame(update), **COMPACT) == ORDER


def test_an_order_is_read_where_the_sdk_is_one_off(sdk):
    """A stop loss's reference (recorded), blocked amount and average: ours are named right."""
    frame = json.loads(ORDER)
    frame[38:41] = ["202308071300000053", "1234.500000", "3.050000"]
    update, theirs = decode("order", frame), sdk.parse_data(list(frame))
    assert update.stop_loss_reference == theirs["totalAmountBlocked"] == "202308071300000053"
    assert update.amount_blocked == float(theirs["averageExecutedRate"]) == 1234.5
    assert update.average_rate == float(theirs["cancelFlag"]) == 3.05
    assert order_frame(update) == frame


@pytest.mark.parametrize("text", CANDLES, ids=lambda text: text.count(","))
def test_a_recorded_candle_goes_round(text, sdk):
    """Low, high, open, close: by name and back, and the SDK reads the same values."""
    fields = text.split(",")
    names = layouts.CANDLES[len(fields)]
    values = layouts.named(fields, names)
    assert ",".join(layouts.encode(values, names)) == text
    theirs = sdk.parse_ohlc_data(text)
    assert complaints(theirs, candle_layout(theirs), ordered=False) == []
    candle = decode(values["event"], text)
    assert disagreements(theirs, candle) == []
    assert candle_text(candle) == text


def candle_layout(theirs):
    kind = "option" if "strike_price" in theirs else "future" if "oi" in theirs else "cash"
    return FRAMES[f"{kind} candle"]


def test_the_recorded_strategy_is_read_as_ours(sdk):
    """The recorded call has the layout the practice market's calls have."""
    theirs = sdk.parse_data(json.loads(STRATEGY))
    assert complaints(theirs, FRAMES["one_click_fno"]) == []
    call = decode("stock", json.loads(STRATEGY))
    assert disagreements(theirs, call) == []
    assert (call.stock_code, call.right, call.underlying_price) == ("TCS", "PE", 3241.95)
    assert json.dumps(recommendation_frame(call), **COMPACT) == STRATEGY


@pytest.mark.parametrize("text", EQUITY_CALLS, ids=lambda text: text[2:9])
def test_the_documented_equity_call_goes_round(text, sdk):
    """The SDK reads it and we do; back it has the recorded bytes, but for blanks at its end."""
    theirs = sdk.parse_data(json.loads(text))
    assert complaints(theirs, FRAMES["i_click_2_gain"]) == []
    call = decode("stock", json.loads(text))
    assert disagreements(theirs, call) == []
    *back, subscription = recommendation_frame(call)
    *recorded, theirs_padded = json.loads(text)
    assert back == recorded
    assert subscription.rstrip() == theirs_padded.rstrip()


def without_master(layout):
    return {key: kind for key, kind in layout.items() if key not in FROM_MASTER}


@pytest.mark.parametrize(("kind", "contract"), [(k, c) for k, found in OWN.items() for c in found],
                         ids=lambda x: getattr(x, "key", x))  # fmt: skip
def test_our_quotes_are_read_alike(kind, contract, sdk):
    """NSE, BSE, index, NFO, BFO, NDX: the documented layout in the SDK, the same values in ours."""
    frame = wired(frames.quote(Live(PRICES, contract, NOW_MS)))
    theirs = sdk.parse_data(list(frame))
    assert complaints(theirs, without_master(FRAMES[kind])) == []
    tick = decode("stock", frame)
    assert disagreements(theirs, tick) == []
    assert tick.last == frame[2]
    assert tick.exchange_time <= clock.from_epoch(NOW_MS / 1000)
    derivative = contract.expiry is not None
    assert json.dumps(frames.encode(tick, derivative=derivative)) == json.dumps(frame)


@pytest.mark.parametrize(("kind", "contract"), [(k, c) for k, found in BOOKS.items() for c in found],
                         ids=lambda x: getattr(x, "key", x))  # fmt: skip
def test_our_depth_is_read_alike(kind, contract, sdk):
    """Rows of four, six and eight: the documented layout, the same values in ours, and back."""
    frame = wired(frames.depth(Live(PRICES, contract, NOW_MS)))
    theirs = sdk.parse_data(wired(frame))
    assert complaints(theirs, without_master(FRAMES[kind])) == []
    depth = decode("stock", frame)
    assert disagreements(theirs, depth) == []
    assert isinstance(depth, Depth)
    assert len(depth.levels) == 5
    assert json.dumps(frames.encode(depth)) == json.dumps(frame)


@pytest.mark.parametrize("kind", ["future", "option"])
def test_our_mcx_is_laid_out_as_recorded(kind, sdk):
    """22 elements and five rows, in paise; the SDK loses them as it loses the recorded one."""
    contract = one("MCX", kind)
    live = Live(PRICES, contract, NOW_MS)
    frame = wired(frames.quote(live))
    head = layouts.named(frame[:22], layouts.MCX)
    assert all(len(layouts.named(row, layouts.MCX_ROW)) == 8 for row in frame[22:])
    recorded = layouts.named(json.loads(MCX)[:22], layouts.MCX)
    assert {name: type(value) for name, value in head.items()} == {
        name: type(value) for name, value in recorded.items()
    }
    tick = decode("stock", frame)
    assert mcx_frame(tick) == frame
    assert tick.last == head["last"] / 100
    assert (tick.volume, tick.open_interest) == (head["volume"], head["open_interest"])
    assert tick.bid == frame[22][1] / 100
    assert "ltt" not in sdk.parse_data(frame)


@pytest.mark.parametrize(("kind", "contract"), [(k, c) for k, found in OWN_CANDLES.items() for c in found],
                         ids=lambda x: getattr(x, "key", x))  # fmt: skip
@pytest.mark.parametrize("interval", list(frames.CANDLE_EVENTS))
def test_our_candles_are_read_alike(kind, contract, interval, sdk):
    """Nine, eleven and thirteen fields at every interval; read back they are the bar."""
    span = (NOW_MS // 1000 - 7200, NOW_MS // 1000)
    found = history.series(PRICES, contract, interval, span, NOW_MS)
    text = frames.candle(contract, found, len(found) - 1, interval)
    theirs = sdk.parse_ohlc_data(text)
    assert complaints(theirs, FRAMES[kind], ordered=False) == []
    assert theirs["interval"] == {Interval.S1: "1second"}.get(
        interval, f"{interval.value // 60}minute"
    )
    values = layouts.named(text.split(","), layouts.CANDLES[text.count(",") + 1])
    assert ",".join(layouts.encode(values, layouts.CANDLES[len(values)])) == text
    assert float(values["low"]) <= float(values["open"]) <= float(values["high"])
    assert values["start"] == words.clock_text(int(found.start[-1]))
    candle = decode(frames.CANDLE_EVENTS[interval], text)
    assert disagreements(theirs, candle) == []
    assert (candle.expiry, candle.strike) == (contract.expiry, contract.strike)
    assert candle_text(candle) == text


def test_a_strike_of_quarters_stays_itself(sdk):
    """Currency strikes lie a quarter apart, and neither candle nor order rounds them together."""
    span = (NOW_MS // 1000 - 7200, NOW_MS // 1000)
    quarters = [
        c for c in LISTING.contracts
        if (c.exchange, c.kind) == ("NDX", "option") and c.strike % 0.5 == 0.25
    ]  # fmt: skip
    traded = ((c, history.series(PRICES, c, Interval.M1, span, NOW_MS)) for c in quarters)
    contract, found = next((c, bars) for c, bars in traded if len(bars))
    text = frames.candle(contract, found, 0, Interval.M1)
    candle = decode("1MIN", text)
    assert candle.strike == float(sdk.parse_ohlc_data(text)["strike_price"]) == contract.strike
    assert candle_text(candle) == text
    frame = order_frames.frame(an_order(contract, status="Ordered"), "PR123456", 7)
    assert decode("order", frame).strike == contract.strike
    assert order_frame(decode("order", frame)) == frame


def an_order(contract, **changes):
    product = "cash" if contract.expiry is None else "options" if contract.strike else "futures"
    fields = {
        "contract": contract, "product": product, "action": "buy", "quantity": contract.unit * 2,
        "price_ticks": 1000, "id": "202611201300000009", "placed_ms": NOW_MS, "changed_ms": NOW_MS,
        "pipe": "13", **changes,
    }  # fmt: skip
    return Order(**fields)


STATES = [
    ("Requested", "6", {}), ("Ordered", "6", {"blocked": 123456}), ("Executed", "7", {"executed": 1}),
    ("Partially Executed", "7", {}), ("Rejected", "6", {}), ("Cancelled", "6", {}),
    ("Expired", "6", {}), ("Freezed", "6", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "more"), STATES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_a_derivatives_order_frame_is_laid_out_as_recorded(status, kind, more, sdk):
    """52 texts, strike, limit and trigger in paise; the SDK expands every letter."""
    contract = one("NFO", "option", "NIFTY")
    order = an_order(contract, status=status, kind="stoploss", trigger_ticks=990, **more)
    frame = order_frames.frame(order, "PR123456", 7)
    assert all(isinstance(item, str) for item in frame)
    values = layouts.named(frame, layouts.DERIVATIVE_ORDER)
    assert layouts.encode(values, layouts.DERIVATIVE_ORDER) == frame
    recorded = json.loads(ORDER)
    constant = ("source_number", "group", "key", "message_length", "request_type", "exercise_type",
                "message_category", "message_priority", "stop_loss_reference", "tail", "trail_amount")  # fmt: skip
    for name in constant:
        place = layouts.DERIVATIVE_ORDER.index(name)
        assert frame[place] == recorded[place], name
    assert values["message_type"] == kind
    assert values["strike_price"] == f"{contract.strike * 100:.0f}"
    assert values["limit_rate"] == f"{1000 * contract.tick // 100}"
    assert values["stop_loss_trigger"] == f"{990 * contract.tick // 100}"
    assert values["amount_blocked"] == f"{order.blocked / 100:.6f}"
    assert (values["message_date"], values["message_time"]) == ("20-11-2026", "11:30:05")
    theirs = sdk.parse_data(list(frame))
    assert theirs["orderStatus"] == status
    assert theirs["limitMarketFlag"] == "StopLoss"
    assert theirs["orderFlow"] == "Buy"
    assert theirs["productType"] == "Options"
    assert theirs["optionType"] == {"CE": "Call", "PE": "Put"}[contract.right]
    assert theirs["orderType"] == "Day"
    assert theirs["orderReference"] == order.id
    update = decode("order", frame)
    assert disagreements(theirs, update) == []
    assert (update.strike, update.expiry, update.right) == (
        contract.strike,
        contract.expiry,
        contract.right,
    )
    assert (update.price, update.amount_blocked) == (
        1000 * contract.tick / 10_000,
        order.blocked / 100,
    )
    assert order_frame(update) == frame


def test_a_cash_order_frame_has_the_sdks_places(sdk):
    """47 texts: every field the SDK reads is where it reads it."""
    contract = one("NSE", "stock", "ITC")
    order = an_order(contract, status="Ordered", id="20261120N300000009", quantity=12, disclosed=3)
    frame = order_frames.frame(order, "PR123456", 8)
    assert len(frame) == 47
    assert all(isinstance(item, str) for item in frame)
    theirs = sdk.parse_data(list(frame))
    assert theirs["messageType"] == "4"
    assert theirs["orderExchangeCode"] == "NSE"
    assert theirs["stockCode"] == "ITC"
    assert theirs["orderLimitRate"] == f"{1000 * contract.tick // 100}"
    assert (theirs["orderStatus"], theirs["productType"]) == ("Ordered", "Cash")
    assert (theirs["orderQuantity"], theirs["openQuantity"]) == ("12", "12")
    assert theirs["orderDisclosedQuantity"] == "3"
    assert theirs["orderReference"] == order.id
    assert theirs["averageExecutedRate"] == "0.000000"
    executed = order_frames.frame(an_order(contract, status="Executed"), "PR123456", 9)
    assert sdk.parse_data(executed)["messageType"] == "5"
    for each in (frame, executed):
        update = decode("order", each)
        assert disagreements(sdk.parse_data(list(each)), update) == []
        assert order_frame(update) == each
    assert decode("order", frame).price == 1000 * contract.tick / 10_000


@pytest.mark.parametrize(
    ("exchange", "kind"),
    [(e, k) for e in ("NFO", "BFO", "MCX", "NDX") for k in ("future", "option")],
)
def test_every_derivatives_order_goes_round(exchange, kind, sdk):
    """Strikes with quarters, ticks finer than a paisa, futures without strike or right."""
    contract = one(exchange, kind)
    order = an_order(contract, status="Ordered", price_ticks=1001, validity="ioc", action="sell")
    frame = order_frames.frame(order, "PR123456", 7)
    update = decode("order", frame)
    assert disagreements(sdk.parse_data(list(frame)), update) == []
    assert (update.strike, update.right) == (contract.strike, contract.right or None)
    assert update.price == pytest.approx(1001 * contract.tick / 10_000, rel=1e-15)
    assert order_frame(update) == frame


@pytest.mark.parametrize("room", strategies.ROOMS)
def test_recommendations_have_the_documented_layout(room, sdk):
    """28 and 19 texts at every quarter of an hour, as made and as they stand later."""
    seen = set()
    for back in range(40):
        now_ms = NOW_MS - back * strategies.PERIOD_S * 1000
        call = strategies.call_at(PRICES, room, now_ms)
        for moment in (None, now_ms, call.start_s * 1000 + 14 * 60_000):
            frame = strategies.frame(PRICES, call, moment)
            assert len(frame) == {"one_click_fno": 28, "i_click_2_gain": 19}[room]
            theirs = sdk.parse_data(list(frame))
            assert complaints(theirs, FRAMES[room]) == []
            ours = decode("stock", frame)
            assert disagreements(theirs, ours) == []
            assert isinstance(ours, DerivativeRecommendation) == (room == "one_click_fno")
            assert recommendation_frame(ours) == frame
        seen.add(tuple(frame))
    assert len(seen) == 40
    again = strategies.frame(Prices(1, date(2026, 11, 1)), strategies.call_at(PRICES, room, NOW_MS))
    assert again == strategies.frame(PRICES, strategies.call_at(PRICES, room, NOW_MS))


def test_a_market_without_prices_recommends_nothing():
    """Before the first day there is nothing to recommend, and no error."""
    nothing = Prices(1, None)
    assert strategies.call_at(nothing, "one_click_fno", midnight(0) * 1000) is None


def test_a_recommendation_ends_at_its_target_or_stop():
    """Profit and loss are counted from the middle of the range, either way round."""
    call = strategies.call_at(PRICES, "one_click_fno", NOW_MS)
    assert call.ending(call.middle) == ""
    assert call.ending(call.target) == "target"
    assert call.ending(call.stop) == "stop"


def test_a_wrong_frame_is_noticed(sdk):
    """A swapped price, a text for a number, a missing element: each planted fault is found."""
    live = Live(PRICES, one("NSE", "stock", "RELIND"), NOW_MS)
    good = wired(frames.quote(live))
    layout = without_master(FRAMES["cash quote"])
    assert complaints(sdk.parse_data(list(good)), layout) == []
    assert complaints(sdk.parse_data([*good[:2], str(good[2]), *good[3:]]), layout)
    assert complaints(sdk.parse_data(good[:-1]), layout)
    with pytest.raises(ValueError, match="zip"):
        layouts.named(json.loads(ORDER)[:-1], layouts.DERIVATIVE_ORDER)


def test_a_value_read_in_the_wrong_place_is_noticed(sdk):
    """The planted fault: neighbours swapped on the wire disagree with what the other side read."""
    frame = json.loads(ORDER)
    theirs = sdk.parse_data(list(frame))
    swapped = [*frame[:24], *frame[18:19], *frame[25:]]
    assert disagreements(theirs, decode("order", swapped)) == ["limitRate"]
    quote = json.loads(QUOTES[0])
    quote[1], quote[3] = quote[3], quote[1]
    assert disagreements(sdk.parse_data(json.loads(QUOTES[0])), decode("stock", quote)) == [
        "open",
        "high",
    ]
    rows = json.loads(DEPTHS[0])
    rows[2][0][1] += 1
    assert disagreements(sdk.parse_data(json.loads(DEPTHS[0])), decode("stock", rows)) == [
        "BestBuyQty-1"
    ]
    later = CANDLES[0].replace("14:13:53", "14:13:54")
    assert disagreements(sdk.parse_ohlc_data(CANDLES[0]), decode("1SEC", later)) == ["datetime"]
    call = json.loads(STRATEGY)
    call[21], call[23] = call[23], call[21]
    assert disagreements(sdk.parse_data(json.loads(STRATEGY)), decode("stock", call)) == [
        "target_price", "stop_loss_price",
    ]  # fmt: skip


def test_the_trend_of_an_index_is_that_of_its_last_trade():
    """As the README shows it: a tick that falls says so on a day that rose."""
    index = one("NSE", "index", "NIFTY")
    live = Live(PRICES, index, NOW_MS)
    said = set()
    for _ in range(200):
        before = live.quote.last
        live.prepare()
        live.step()
        trend = frames.quote(live)[16]
        assert trend == ("-" if live.quote.last < before else "+")
        said.add(trend)
    assert said == {"+", "-"}
    assert frames.quote(Live(PRICES, index, live.quote.time_ms)) == frames.quote(live)
