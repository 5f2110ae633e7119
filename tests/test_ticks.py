"""Frames decode to the values the broker meant, judged by the SDK itself."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breeze_lab import _sdk
from breeze_lab.errors import BadResponse
from breeze_lab.settings import ICICI
from breeze_lab.ticks import Depth, Tick, decode_frame

IST = ZoneInfo("Asia/Kolkata")

# fmt: off
# Recorded frames, as published with the SDK in 2023 (see the protocol reference), and their times.
NSE = ["4.1!10604", 885, 893.75, 894.75, 884, 0.94, 893.65, 15, 893.75, 561, 2, 891.46, 786772, 280490, 296628, "70.14C", "", 796.9, 973.9, 1691559630, 885.4]
BSE = ["1.1!543349", 1233.05, 1239, 1245, 1233.05, 0.74, 1238.1, 2, 1239.9, 1, 1, 1238.43, 3493, 6435, 5653, "43.25L", "", 983.9, 1475.8, 1691387639, 1229.85]
NFO = ["4.1!47869", 53.35, 43.05, 53.35, 31.7, -24.21, 42.9, 5250, 43.05, 3400, 100, 40.43, "", "", 36079750, 393050, 613650, "145.87C", "", 0.05, 321.8, 1691387295, 56.8]
NDX = ["13.1!9501", 105.58, 105.4625, 105.59, 105.35, 0.102, 105.4575, 35, 105.465, 59, 13, 105.4677, "", "", 15170, 3090, 3008, "15999.45C", "", 103.1, 109.4775, 1691399681, 105.355]
NSE_DEPTH = ["4.2!95826", 1691390811, [[14.6, 375, 1, "", 15.1, 375, 1, ""], [14.55, 750, 2, "", 15.15, 1125, 3, ""]]]
BSE_DEPTH = ["1.2!530005", 1691391056, [[216.25, 1, 216.5, 12], [216.2, 40, 216.55, 3]]]
MCX = ["6.1!247311", "32", " ", " ", 0, 0, 0, 0, 0, 0, 0, "", 268900, 0, 0, 0, 0, 0, 0, 464000, 464000, 0, *[[0, 0, 0, "", 0, 0, 0, ""]] * 5]
# Shapes described by the SDK's documentation, with values of ours.
INDEX = ["4.1!NIFTY 50", 24400.1, 24512.55, 24533.9, 24388.0, 0.46, None, None, None, None, None, None, None, None, None, None, "+", None, None, 1795352160, 24400.0]
BFO = ["8.1!844663", 210.0, 214.5, 220.0, 201.25, 2.1, 214.0, 20, 214.95, 40, 20, 212.4, 125000, 5000, 900000, 1200, 1300, 1911.6, "", 0.05, 990.0, 1795352160, 210.05]
BFO_DEPTH = ["8.2!844663", 1795352160, [[214.0, 20, 1, 214.95, 40, 2]]]
GIFT = ["3.1!GIFT", 24400.0, 24500.0, 24350.0, 24410.0, 24480.0, 2, 1795352160, 8000, 0.28, 70.0, 24455.5, 24479.0, 5, 24481.0, 6, 120000]
# fmt: on

#: The SDK's name of each field of ours, wherever the value is passed on as it is.
QUOTE = {
    "open": "open", "last": "last", "high": "high", "low": "low", "change": "change_percent",
    "bPrice": "bid", "bQty": "bid_quantity", "sPrice": "ask", "sQty": "ask_quantity",
    "ltq": "last_quantity", "avgPrice": "average_price", "ttq": "volume",
    "totalBuyQt": "total_bid_quantity", "totalSellQ": "total_ask_quantity",
    "lowerCktLm": "lower_circuit", "upperCktLm": "upper_circuit", "close": "previous_close",
    "OI": "open_interest", "CHNGOI": "open_interest_change",
}  # fmt: skip
INDEX_FEED = {
    "open": "open", "high": "high", "low": "low", "previous_close": "previous_close",
    "last_trade_price": "last", "last_trade_quantity": "last_quantity",
    "total_traded_volume": "volume", "percentage_change": "change_percent",
    "weighted_average": "average_price", "bid_price": "bid", "bid_quantity": "bid_quantity",
    "offer_price": "ask", "offer_quantity": "ask_quantity", "open_interest_value": "open_interest",
}  # fmt: skip


@pytest.fixture(scope="module")
def sdk_reads(tmp_path_factory):
    """What the unmodified SDK makes of a frame."""
    master = tmp_path_factory.mktemp("master") / "SecurityMaster.zip"
    with zipfile.ZipFile(master, "w") as archive:
        archive.writestr("NSEScripMaster.txt", '"Token", "ShortName"\r\n')
    sdk = _sdk.load(ICICI, master)
    return sdk.BreezeConnect(api_key="x").parse_data


@pytest.mark.parametrize("frame", [NSE, BSE, NFO, NDX, INDEX, BFO], ids=lambda frame: frame[0])
def test_quotes_agree_with_the_sdk(frame, sdk_reads):
    """Each field of a quote has the value the SDK gives it, its absence included."""
    theirs, ours = sdk_reads(copy.deepcopy(frame)), decode_frame(frame)
    assert isinstance(ours, Tick)
    for name, field in QUOTE.items():
        value = theirs.get(name)
        assert getattr(ours, field) == (None if value == "" else value), name
    # The SDK tells the time in the machine's own zone; ours is the same instant.
    assert ours.exchange_time.astimezone().strftime("%c") == theirs["ltt"]


@pytest.mark.parametrize("frame", [NSE_DEPTH, BSE_DEPTH, BFO_DEPTH], ids=lambda frame: frame[0])
def test_depth_agrees_with_the_sdk(frame, sdk_reads):
    """Each row of a book has the SDK's prices, quantities and order counts."""
    theirs, ours = sdk_reads(copy.deepcopy(frame)), decode_frame(frame)
    assert isinstance(ours, Depth)
    assert len(ours.levels) == len(theirs["depth"]) == len(frame[2])
    for number, (row, level) in enumerate(zip(theirs["depth"], ours.levels, strict=True), 1):
        assert level.bid == row[f"BestBuyRate-{number}"]
        assert level.bid_quantity == row[f"BestBuyQty-{number}"]
        assert level.bid_orders == row.get(f"BuyNoOfOrders-{number}")
        assert level.ask == row[f"BestSellRate-{number}"]
        assert level.ask_quantity == row[f"BestSellQty-{number}"]
        assert level.ask_orders == row.get(f"SellNoOfOrders-{number}")


def test_index_feed_agrees_with_the_sdk(sdk_reads):
    """The index feed's fields keep the SDK's meaning."""
    theirs, ours = sdk_reads(list(GIFT)), decode_frame(GIFT)
    assert {theirs[name] == getattr(ours, field) for name, field in INDEX_FEED.items()} == {True}
    assert ours.exchange_time == datetime.fromtimestamp(GIFT[7], IST)


def test_mcx_is_read_where_the_sdk_breaks(sdk_reads):
    """The recorded MCX frame has rupees, a previous close and no trade yet."""
    tick = decode_frame(MCX)
    assert (tick.previous_close, tick.last, tick.volume, tick.exchange_time) == (2689.0, 0, 0, None)
    assert "ltt" not in sdk_reads(list(MCX)), "the SDK now reads MCX: compare with it instead"


def test_turnover_is_in_rupees():
    """Crores, lakhs and BFO's bare lakhs come out in one unit."""
    assert decode_frame(NSE).turnover == pytest.approx(70.14e7)
    assert decode_frame(BSE).turnover == pytest.approx(43.25e5)
    assert decode_frame(BFO).turnover == pytest.approx(1911.6e5)
    assert decode_frame(INDEX).turnover is None


def test_time_is_aware_ist():
    """The recorded NSE quote traded at 11:10:30 in India."""
    assert decode_frame(NSE).exchange_time == datetime(2023, 8, 9, 11, 10, 30, tzinfo=IST)
    assert decode_frame(NSE).exchange_time.utcoffset() == timedelta(hours=5, minutes=30)


def test_tick_and_bar_ignore_zone_and_locale(machine):
    """A tick and a bar carry the same aware IST time wherever the machine stands."""
    code = (
        "import json, locale, os, sys; from breeze_lab.ticks import decode_frame;"
        "'LOCPATH' in os.environ and locale.setlocale(locale.LC_ALL, '');"
        "from breeze_lab.bars import BarBuilder, Interval;"
        "tick = decode_frame(json.loads(sys.argv[1])); b = BarBuilder(Interval.M1); b.add(tick);"
        "print(tick.exchange_time.isoformat(), b.forming.start.isoformat())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, json.dumps(NSE)], env={**os.environ, **machine},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert told == ["2023-08-09T11:10:30+05:30", "2023-08-09T11:10:00+05:30"]


@pytest.mark.parametrize(
    "frame",
    [
        None, 5, "4.1!1", [], {}, [None], [[]], ["4.1!1"], ["x"], NSE[:-1], [*NSE, 1], ["4.3!1", *NSE[1:]],
        [*NSE[:19], 1e300, 1], [*NSE[:19], "noon", 1], [*NSE[:2], float("inf"), *NSE[3:]],
        [*NSE[:12], 10**400, *NSE[13:]], [*NSE[:12], 2**60, *NSE[13:]], [*NSE[:2], {}, *NSE[3:]],
        ["4.2!1", 1, [[1, 2]]], ["4.2!1", 1, 7], ["4.2!1", None, []], MCX[:20], GIFT[:10],
    ],
    ids=lambda frame: repr(frame)[:40],
)  # fmt: skip
def test_unreadable_frame_is_one_typed_error(frame):
    """Whatever cannot be a frame is refused as BadResponse and nothing else."""
    with pytest.raises(BadResponse):
        decode_frame(frame)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(
    frame=st.sampled_from([NSE, NFO, NSE_DEPTH, BSE_DEPTH, BFO_DEPTH, MCX, GIFT]),
    changes=st.lists(st.tuples(st.integers(0, 26), json_values), max_size=4),
    cut=st.integers(0, 30),
)
def test_mutated_frame_decodes_or_is_refused(frame, changes, cut):
    """No mutation of a frame raises anything but BadResponse."""
    mutated = copy.deepcopy(frame)[: cut or None]
    for place, value in changes:
        if place < len(mutated):
            mutated[place] = value
    try:
        value = decode_frame(mutated)
    except BadResponse:
        return
    assert value.room == mutated[0]
