"""The relay's other streams: books, order notifications, and the broker's own candles."""

from __future__ import annotations

import gc
import json
import os
import signal
from dataclasses import replace

import pytest
from relay_home import Share, practice_market, relay_home, stream_login
from stream_server import quote
from test_feed import take
from test_relay_heal import tick
from waiting import until

from breeze_lab import session, settings
from breeze_lab.bars import Interval
from breeze_lab.candle_text import contract, decode_candle
from breeze_lab.feed import Feed, FeedDepth, FeedTick, Gap
from breeze_lab.instruments.instrument import Instrument
from breeze_lab.order_updates import OrderUpdate
from breeze_lab.relay import wal
from breeze_lab.relay.candles import Candles
from breeze_lab.relay.market import Line
from breeze_lab.relay.quarantine import Quarantine
from breeze_lab.ticks import DepthLevel

SECOND = 1795352160
#: The recorded notification of the protocol's reference.
ORDER = [
    "1", "*", "AA073203", "*", "\x19230", "5", "2023080700000518", "07-08-2023", "11:49:55",
    "Intraday Calls", "N", "6", "8509042060", "NFO", "NIFTY", "O", "C", "E", "2000000",
    "10-Aug-2023", "07-Aug-2023", "B", "L", "T", "300", "R", "202308071300000009", "50", "0", "0",
    "0", "0", "N", "13", "WEB", "Y", "07-Aug-2023", "*", "*", "0.000000", "0.000000", "N", "N", "N",
    "N", "N", "N", "0.000000", "66", "", "", "G\x1a",
]  # fmt: skip


def book(room: str, best: float) -> list:
    """Return a depth frame of NSE."""
    row = [best, 375, 1, "", best + 0.5, 380, 2, ""]
    return [room, SECOND, [row] * 5]


@pytest.fixture
def feed(tmp_path, monkeypatch):
    """A feed with a relay of its own, without a login."""
    monkeypatch.setattr(session, "_current", None)
    with relay_home(tmp_path, monkeypatch) as home, Feed(home) as feed:
        yield feed
        session.logout()


def test_books_come_beside_the_ticks_of_the_same_key(feed, server):
    """With depth the newest book of each instrument is an event, and only who asked gets it."""
    feed.login(**stream_login(server))
    plain, deep = feed.subscribe(Share()), feed.subscribe(Share(), depth=True)
    until(lambda: server.rooms == {"4.1!2885", "4.2!2885"}, "both rooms")
    server.emit(book("4.2!2885", 14.5))
    (found,) = take(deep, FeedDepth)
    assert (found.key, found.sequence, found.epoch) == ("NSE:RELIANCE", 1, 1)
    assert found.depth.room == "4.2!2885"
    assert found.depth.levels == (DepthLevel(14.5, 375, 1, 15.0, 380, 2),) * 5
    server.emit(quote("4.1!2885", 100.0, 1, SECOND))
    assert take(deep, FeedTick)[0].sequence == take(plain, FeedTick)[0].sequence == 1
    assert not any(isinstance(event, FeedDepth) for event in plain.events(timeout_s=0.2))
    known = feed.subscribe(Share(), depth=True).snapshot.depth["NSE:RELIANCE"]
    assert known == found
    gc.collect()
    assert feed.status()["malformed"] == 0


def test_books_survive_a_cut_and_are_left_when_nobody_wants_them(feed, server):
    """The depth room is joined again in the one message, and left while the quotes go on."""
    feed.login(**stream_login(server))
    plain, deep = feed.subscribe(Share()), feed.subscribe(Share(), depth=True)
    until(lambda: len(server.rooms) == 2, "both rooms")
    before = len(server.joins)
    server.cut()
    until(lambda: len(server.joins) > before and len(server.rooms) == 2, "the second join")
    assert sorted(server.joins[-1]) == ["4.1!2885", "4.2!2885"]
    server.emit(book("4.2!2885", 14.5))
    assert take(deep, FeedDepth)[0].epoch == 2
    deep.close()
    until(lambda: server.rooms == {"4.1!2885"}, "leaving the depth room")
    server.emit(quote("4.1!2885", 100.0, 1, SECOND))
    assert take(plain, FeedTick)


def test_frame_that_cannot_be_read_is_kept_apart_and_noted_in_the_log(feed, server):
    """It is counted, shown with its reason, noted between the ticks, and the next tick comes."""
    feed.login(**stream_login(server))
    subscription = feed.subscribe(Share())
    until(lambda: server.rooms, "the join")
    server.emit(quote("4.1!2885", 100.0, 1, SECOND), ["4.1!2885", "x"])
    server.emit(quote("4.1!2885", 100.0, 2, SECOND))
    assert [tick.sequence for tick in take(subscription, FeedTick, 2)] == [1, 2]
    status = feed.status()
    assert (status["malformed"], status["quarantine"][0][1]) == (1, "stock")
    (path,) = (feed.folders.data / "ticks" / "log" / "practice").glob("*.log")
    notes = [json.loads(record.data) for record in wal.read(path) if record.kind == wal.NOTE]
    (note,) = [note for note in notes if note["what"] == "malformed"]
    assert note["reason"] == status["quarantine"][0][2]


def test_orders_come_from_a_stream_that_is_there_only_while_wanted(feed, server):
    """Notifications are typed, a bad one is kept apart, a cut is a gap, the end is quiet."""
    feed.login(**stream_login(server))
    assert len(server.alive) == 1
    orders = feed.orders()
    until(lambda: len(server.alive) == 2, "the order stream")
    until(lambda: feed.status()["streams"]["orders"]["state"] == "connected", "the order stream")
    server.emit(["nonsense"], ORDER, event="order")
    (update,) = take(orders, OrderUpdate)
    assert (update.order_id, update.status, update.price) == (
        "202308071300000009",
        "Requested",
        3.0,
    )
    status = feed.status()
    assert status["malformed"] == 1
    assert status["quarantine"][0][1] == "order"
    server.cut()
    (gap,) = take(orders, Gap)
    assert (gap.key, gap.state) == ("orders", "closed")
    assert gap.start < gap.end
    orders.close()
    until(lambda: len(server.alive) == 1, "the end of the order stream")
    until(lambda: feed.status()["streams"]["orders"]["state"] == "offline", "its state")


def test_orders_come_again_after_a_new_relay(feed, server):
    """Who listens to orders listens on when the relay was restarted."""
    feed.login(**stream_login(server))
    orders = feed.orders()
    until(lambda: len(server.alive) == 2, "the order stream")
    pid = feed.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(server.auths) >= 4 and len(server.alive) == 2, "both streams again")
    server.emit(ORDER, event="order")
    assert take(orders, OrderUpdate)[0].order_id == "202308071300000009"


def test_our_bars_are_the_brokers_candles(feed):
    """Bars built from ticks are held against the practice market's candle stream, and agree."""
    with practice_market(master=True) as market:
        endpoints = settings.Endpoints.from_dict(market, name="practice")
        now = session.login(
            market["app_key"], market["secret"], market["api_session"], endpoints=endpoints
        )
        who = now.identity
        feed.login(endpoints, who.user_id, who.session_key, who.name, now.until, serial=now.serial)
        shares = [now.resolve(name) for name in ("RELIANCE", "NIFTY", "NIFTY FUT")]
        with feed.subscribe(shares, bars=["1s"]):
            until(lambda: feed.status()["streams"]["candles"]["compared"] >= 6, "comparisons")
            found = feed.status()["streams"]["candles"]
            assert (found["rooms"], found["differences"]) == (3, [])
        assert feed.status()["malformed"] == 0


def test_planted_difference_is_listed():
    """The planted fault: a candle whose high is not ours is a difference with both values."""
    candles, line = Candles(Quarantine()), Line("NSE:RELIANCE", "4.1!2885", 33_300)
    line.hold([Interval.S1])
    for second, price in enumerate((100.0, 101.0, 102.0, 103.0)):
        line.take(tick(second, price, 1000 + second), second + 1, 1, 0)
    candles.know("4.1!2885", "NSE:RELIND")
    candles.look([line])
    stamp = "{:%Y-%m-%d %H:%M:%S}"
    for second, high in ((1, 101.0), (2, 102.5)):
        moment = stamp.format(tick(second, 0.0, 0).exchange_time)
        price = 100.0 + second
        text = f"NSE,RELIND,{price},{high},{price},{price},1,{moment},1SEC"
        candles.on_candle(json.dumps(text).encode())
    candles.on_candle(b'"NSE,RELIND,garbage"')
    candles.look([line])
    status = candles.status()
    assert (status["compared"], status["differing"]) == (2, 1)
    start_s = int(tick(2, 0.0, 0).exchange_time.timestamp())
    assert status["differences"] == [["NSE:RELIANCE", "1s", start_s, "high", 102.0, 102.5]]


def test_candle_and_instrument_have_one_name():
    """Whatever the contract, a candle's name is the instrument's."""
    candle = decode_candle(
        "NFO,NIFTY,08-Dec-2022,18700.0,CE,120.5,120.5,120.5,120.5,2500,7592550,2022-12-02 14:10:14,1SEC"
    )
    option = Instrument(
        "NIFTY", "NIFTY", "NFO", "1", "x", "option", expiry=candle.expiry, strike=18700, right="CE"
    )
    names = [
        contract(one.exchange, one.stock_code, one.expiry, one.strike, one.right)
        for one in (option, replace(option, strike=None, right=None))
    ]
    assert names == [candle.contract, "NFO:NIFTY:2022-12-08"]
