"""Raw events: candles, order notifications and recommendations as typed values."""

import copy
import json
import os
import subprocess
import sys
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breeze_lab.bars import Bar, Interval
from breeze_lab.candle_text import Candle
from breeze_lab.clock import IST
from breeze_lab.errors import BadResponse
from breeze_lab.events import decode
from breeze_lab.order_updates import OrderUpdate
from breeze_lab.recommendations import DerivativeRecommendation, EquityRecommendation
from breeze_lab.ticks import Depth, Tick

# Recorded frames as the SDK's publisher printed them; the equity's are from its documentation.
ORDER = json.loads(
    '["1","*","AA073203","*","\\u0019230","5","2023080700000518","07-08-2023","11:49:55","Intraday Calls","N","6","8509042060","NFO","NIFTY","O","C","E","2000000","10-Aug-2023","07-Aug-2023","B","L","T","300","R","202308071300000009","50","0","0","0","0","N","13","WEB","Y","07-Aug-2023","*","*","0.000000","0.000000","N","N","N","N","N","N","0.000000","66","","","G\\u001a"]'
)
CALL = json.loads(
    '["2023-06-21 13:33:53","2023-06-21 13:35:23","1342","Call Initiated","Multiple","NFO","options","stock","TCS   ","2023-06-29 00:00:00","E","put","3440","buy","100","200","175","130.95","197","283.5","3241.95","1200","33250","500","33250","165380.75","2","active"]'
)
EQUITY_CALL = json.loads(
    '["MAHINDRA & MAHINDRA LIMITED(MAHMAH)Margin-Buy","MAHMAH","buy","","","","Margin","3065-3068,2025-01-02 08:55:02","3065","3068","2025-01-02 08:55:02","3098","3050","0,0","0","0","     ","open","iclick_2_gain                 "]'
)
QUOTE = json.loads(
    '["4.1!10604",885,893.75,894.75,884,0.94,893.65,15,893.75,561,2,891.46,786772,280490,296628,"70.14C","",796.9,973.9,1691559630,885.4]'
)
DEPTH = ["1.2!530005", 1691391056, [[216.25, 1, 216.5, 12]]]
CASH_CANDLE = "NSE,NIFTY,18687.95,18687.95,18687.95,18687.95,0,2022-12-02 14:13:53,1SEC"
OPTION_CANDLE = (
    "NFO,NIFTY,08-Dec-2022,18700.0,CE,120.5,124.5,121.5,122.5,2500,7592550,2022-12-02 14:10:14,1SEC"
)
#: A cash order's places are the SDK's, its values ours.
CASH_ORDER = [
    *ORDER[:11], "4", ORDER[12], "NSE", "ITC", "S", "L", "T", "40125", "C", "P", "20-Nov-2026",
    "20-Nov-2026", "20261120N300000009", "12", "8", "4", "0", "0", "3", "0", "N", "1605.000000",
    "13", "API", "N", "2026324", "Rolling", "*", "*", "20-Nov-2026", "*", "401.250000", "N", "N",
    "0", "66",
]  # fmt: skip


def test_every_event_leads_to_its_value():
    """One entry: the event and the first element say what a payload is."""
    kinds = [("stock", QUOTE, Tick), ("stock", DEPTH, Depth), ("order", ORDER, OrderUpdate),
             ("stock", CALL, DerivativeRecommendation), ("stock", EQUITY_CALL, EquityRecommendation),
             ("1SEC", CASH_CANDLE, Candle)]  # fmt: skip
    for event, payload, kind in kinds:
        assert type(decode(event, payload)) is kind


def test_a_candle_is_a_bar_with_its_contract():
    """Low, high, open, close; the start in aware IST; open interest of derivatives alone."""
    candle = decode("1SEC", OPTION_CANDLE)
    start = datetime(2022, 12, 2, 14, 10, 14, tzinfo=IST)
    bar = Bar(start, Interval.S1, 121.5, 124.5, 120.5, 122.5, 2500, 7592550)
    assert candle == Candle("NFO", "NIFTY", bar, date(2022, 12, 8), 18700.0, "CE")
    assert candle.interval is Interval.S1
    assert decode("1SEC", CASH_CANDLE).bar.open_interest is None
    assert bar.start.utcoffset() == timedelta(hours=5, minutes=30)


def test_a_cash_order_is_read_at_the_sdks_places():
    """Paise as of a derivative, what still waits, no expiry."""
    update = decode("order", CASH_ORDER)
    assert (update.exchange, update.product, update.action) == ("NSE", "Cash", "Sell")
    assert (update.status, update.order_id) == ("Partially Executed", "20261120N300000009")
    assert (update.quantity, update.open_quantity, update.executed) == (12, 8, 4)
    assert (update.price, update.average_rate, update.amount_blocked) == (401.25, 401.25, 1605.0)
    assert (update.disclosed, update.expiry, update.strike) == (3, None, None)
    assert update.order_date == update.trade_date == update.valid_until == date(2026, 11, 20)


@pytest.mark.parametrize(
    ("place", "field"),
    [(15, "product"), (16, "right"), (21, "action"), (22, "order_type"), (23, "validity"), (25, "status")],
)  # fmt: skip
def test_an_unknown_letter_passes_through(place, field):
    """A letter nobody has seen stays as it is, as in the SDK; a small one is read as a capital."""
    frame = list(ORDER)
    frame[place] = "Z"
    assert getattr(decode("order", frame), field) == "Z"
    frame[place] = ORDER[place].lower()
    assert getattr(decode("order", frame), field) == getattr(decode("order", ORDER), field)


def test_an_order_shows_no_account():
    """What a notebook prints of an update leaves the user and the account out."""
    shown = repr(decode("order", ORDER))
    assert "202308071300000009" in shown
    assert ORDER[2] not in shown
    assert ORDER[12] not in shown


def changed(frame, place, value):
    return [*frame[:place], value, *frame[place + 1 :]]


MALFORMED = [
    ("1SEC", None, "it is a NoneType, not a text"),
    ("1SEC", "", "exchange is ''"),
    ("1SEC", CASH_CANDLE.replace("NSE", "NYSE"), "exchange is 'NYSE'"),
    ("1SEC", CASH_CANDLE + ",1", "it has 10 fields, not the 9 of NSE"),
    ("1SEC", OPTION_CANDLE.replace("NFO", "NSE"), "it has 13 fields, not the 9 of NSE"),
    ("1SEC", CASH_CANDLE.replace("NSE", "NFO"), "it has 9 fields, not the 11 or 13 of NFO"),
    ("1SEC", OPTION_CANDLE.replace("CE", "XX"), "right is 'XX', not CE or PE"),
    ("1SEC", OPTION_CANDLE.replace("08-Dec", "31-Nov"), "expiry is '31-Nov-2022', not a date of"),
    ("1SEC", OPTION_CANDLE.replace("08-Dec-2022", "*"), "expiry is missing"),
    ("1SEC", OPTION_CANDLE.replace("2500", "2500.5"), "volume is '2500.5', not a whole number"),
    ("1SEC", OPTION_CANDLE.replace("18700.0", "1_0"), "strike is '1_0', not a number"),
    ("1SEC", OPTION_CANDLE.replace("124.5", "nan"), "high is 'nan', not a number"),
    ("1SEC", OPTION_CANDLE.replace("120.5,124.5", "124.5,120.5"), "is not from 124.5 to 120.5"),
    ("1SEC", CASH_CANDLE.replace("14:13", "25:13"), "start is '2022-12-02 25:13:53', not a time"),
    ("1SEC", CASH_CANDLE.replace("1SEC", "2SEC"), "interval is '2SEC'"),
    ("1MIN", CASH_CANDLE, "A candle of 1s came with the event 1MIN"),
    ("1DAY", CASH_CANDLE, "no event '1DAY'"),
    ("order", ORDER[:46], "it has 46 elements, not 47 or more"),
    ("order", "x", "it is a str, not a list"),
    ("order", changed(ORDER, 27, 50), "element 27 is a int, not a text"),
    ("order", changed(ORDER, 11, "8"), "message type is '8', not 4, 5, 6 or 7"),
    ("order", changed(ORDER, 18, "2e6"), "strike is '2e6', not a number"),
    ("order", changed(ORDER, 27, "fifty"), "quantity is 'fifty', not a whole number"),
    ("order", changed(ORDER, 26, "*"), "order id is missing"),
    ("order", changed(ORDER, 7, "31-02-2023"), "time is '2023-02-31 11:49:55', not a time"),
    ("order", changed(ORDER, 7, "07082023"), "time is '07082023 11:49:55', not a time"),
    ("order", changed(CASH_ORDER, 25, ""), "open quantity is '', not a whole number"),
    ("stock", changed(CALL, 9, "29-Jun-2023"), "expiry is '29-Jun-2023', not a time"),
    ("stock", changed(CALL, 21, ""), "target is '', not a number"),
    ("stock", changed(CALL, 8, "      "), "stock code is missing"),
    ("stock", changed(EQUITY_CALL, 15, None), "element 15 is a NoneType, not a text"),
    ("stock", changed(EQUITY_CALL, 12, "x"), "stop loss is 'x', not a number"),
    ("stock", CALL[:-1], "A frame has no known layout"),
    ("stock", None, "A frame could not be decoded"),
]


@pytest.mark.parametrize(("event", "payload", "reason"), MALFORMED, ids=lambda x: str(x)[:30])
def test_a_malformed_payload_is_refused_with_its_reason(event, payload, reason):
    """BadResponse names the field that is wrong and what it holds."""
    with pytest.raises(BadResponse) as refused:
        decode(event, payload)
    assert reason in str(refused.value)


def test_no_refusal_tells_the_account():
    """A message ends up in logs: it quotes the wrong field, not the frame around it."""
    for event, payload, _ in MALFORMED:
        if event == "order":
            with pytest.raises(BadResponse) as refused:
                decode(event, payload)
            assert ORDER[2] not in str(refused.value)
            assert ORDER[12] not in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=6,
)
#: Texts that other readers of numbers and dates take, and we do not.
tricky = st.sampled_from([
    "", "*", " 1", "1_0", "+1", "1e5", "inf", "nan", "٣", "9" * 400, "00-Jan-2026", "30-Feb-2026",
    "01-Jan-0000", "0000-00-00 00:00:00", "2026-01-01 24:00:00", "--", "-",
])  # fmt: skip
EVENTS = ["stock", "order", "1SEC", "1MIN", "5MIN", "30MIN"]


@given(
    event=st.sampled_from(EVENTS),
    frame=st.sampled_from([ORDER, CASH_ORDER, CALL, EQUITY_CALL, QUOTE]),
    changes=st.lists(st.tuples(st.integers(0, 51), tricky | st.text(max_size=9) | json_values), max_size=4),
    cut=st.integers(0, 60),
)  # fmt: skip
def test_a_mutated_frame_decodes_or_is_refused(event, frame, changes, cut):
    """No mutation of a frame, on any event, raises anything but BadResponse."""
    mutated = copy.deepcopy(frame)[: cut or None]
    for place, value in changes:
        if place < len(mutated):
            mutated[place] = value
    try:
        decode(event, mutated)
    except BadResponse:
        return
    assert event in ("stock", "order")


@given(
    event=st.sampled_from(EVENTS),
    text=st.sampled_from([CASH_CANDLE, OPTION_CANDLE]),
    changes=st.lists(st.tuples(st.integers(0, 12), tricky | st.text(max_size=9)), max_size=3),
)
def test_a_mutated_candle_decodes_or_is_refused(event, text, changes):
    """No mutation of a candle raises anything but BadResponse; what decodes is a bar."""
    fields = text.split(",")
    for place, value in changes:
        if place < len(fields):
            fields[place] = value
    try:
        candle = decode(event, ",".join(fields))
    except BadResponse:
        return
    bar = candle.bar
    assert all(a <= b for a, b in pairwise((bar.low, bar.close, bar.high)))


@given(event=st.text(max_size=6) | st.sampled_from(EVENTS), payload=json_values)
def test_anything_else_is_refused(event, payload):
    """Whatever JSON can hold is refused as BadResponse and nothing else."""
    with pytest.raises(BadResponse):
        decode(event, payload)


def test_values_ignore_zone_and_locale(machine):
    """The same order and bar wherever the machine stands."""
    code = (
        "import json, locale, os, sys; from breeze_lab.events import decode;"
        "'LOCPATH' in os.environ and locale.setlocale(locale.LC_ALL, '');"
        "order, candle = json.loads(sys.argv[1]);"
        "update = decode('order', order); bar = decode('1SEC', candle).bar;"
        "print(update.time.isoformat(), update.expiry, bar.start.isoformat())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, json.dumps([ORDER, CASH_CANDLE])],
        env={**os.environ, **machine}, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert told == ["2023-08-07T11:49:55+05:30", "2023-08-10", "2022-12-02T14:13:53+05:30"]
