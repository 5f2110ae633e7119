"""The feed: snapshot then ticks, one upstream for all, and back by itself whatever dies."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import urlencode

import pytest
from relay_home import Share, ask, practice_login, practice_market, relay_home, stream_login
from stream_server import TOKEN, quote
from waiting import until, within

from breeze_lab import clock, processes, session, settings
from breeze_lab.bars import Interval
from breeze_lab.errors import FeedDisconnected, FeedError, LoginError, SubscriptionRefused
from breeze_lab.feed import Feed, FeedBar, FeedState, FeedTick, Lost, Subscription, connect, rows
from breeze_lab.ticks import Tick

NIFTY = Share("NSE:NIFTY", "4.1!NIFTY 50")


@pytest.fixture(scope="module")
def practice():
    """A practice market of our own: other tests' connections are not counted."""
    with practice_market() as market:
        yield market


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a relay yet."""
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders


@pytest.fixture
def feed(home):
    """A feed without a login."""
    with Feed(home) as feed:
        yield feed


def take(subscription, kind, count=1, timeout_s=30.0):
    """Return the next `count` events of one kind."""
    found = []
    deadline = time.monotonic() + timeout_s
    while len(found) < count:
        event = subscription.get(timeout_s=deadline - time.monotonic())
        assert event is not None, f"{len(found)} of {count} {kind.__name__} came"
        if isinstance(event, kind):
            found.append(event)
    return found


def test_snapshot_then_ticks_without_a_hole(feed, practice):
    """A subscription begins with where things stand and misses nothing after."""
    feed.login(**practice_login(practice))
    first = feed.subscribe([Share(), NIFTY], bars=["1s", "1m"])
    ticks = [tick for tick in take(first, FeedTick, 40) if tick.key == "NSE:RELIANCE"]
    second = feed.subscribe(Share(), bars=["1m"])
    known = second.snapshot.ticks["NSE:RELIANCE"]
    assert known.tick.exchange_time.tzinfo.key == "Asia/Kolkata"
    assert second.snapshot.bars["NSE:RELIANCE", Interval.M1][-1].forming
    after = take(second, FeedTick, 5)
    assert [tick.sequence for tick in after] == list(range(known.sequence + 1, known.sequence + 6))
    assert [tick.sequence for tick in ticks] == list(range(1, len(ticks) + 1))


def test_bars_equal_the_markets_own_seconds(feed, practice):
    """Every complete second built from ticks is the second of the market's history."""
    feed.login(**practice_login(practice))
    built = []
    with feed.subscribe(Share(), bars=["1s"], ticks=False) as subscription:
        while len(built) < 5:
            (event,) = take(subscription, FeedBar)
            if not event.forming and event.bar.complete:
                built.append(event.bar)
    query = {
        "interval": "1second", "stock_code": "RELIND", "exch_code": "NSE", "product_type": "cash",
        "from_date": f"{built[0].start:%Y-%m-%dT%H:%M:%S}.000Z",
        "to_date": f"{built[-1].start:%Y-%m-%dT%H:%M:%S}.000Z",
    }  # fmt: skip
    body = {"SessionToken": practice["api_session"], "AppKey": practice["app_key"]}
    token = ask(practice["api_url"] + "customerdetails", body)["Success"]["session_token"]
    answer = ask(
        f"{practice['v2_url']}historicalcharts?{urlencode(query)}",
        headers={"X-SessionToken": token, "apikey": practice["app_key"]},
    )
    names = ("open", "high", "low", "close", "volume")
    history = {row["datetime"]: [row[name] for name in names] for row in answer["Success"]}
    for bar in built:
        found = history[f"{bar.start:%Y-%m-%d %H:%M:%S}"]
        assert [bar.open, bar.high, bar.low, bar.close, bar.volume] == found


def test_a_feed_starts_no_relay_in_another_home(tmp_path, monkeypatch):
    """A feed that outlives a change of the home folder says so and leaves the new home alone."""
    with relay_home(tmp_path / "one", monkeypatch) as one, Feed(one) as feed:
        feed.status()
        other = tmp_path / "two" / "home"
        monkeypatch.setenv("BREEZE_LAB_HOME", str(other))
        processes.stop(one.runtime, "relay", timeout_s=30)
        until(lambda: "no longer" in feed._link.failure, "its word")
        assert not (other / "runtime" / "relay.json").exists()


def test_two_feeds_share_one_upstream_connection(home, practice):
    """However many notebooks listen, the broker sees one."""
    with Feed(home) as one, Feed(home) as two:
        one.login(**practice_login(practice))
        two.login(**practice_login(practice))
        subscriptions = [feed.subscribe([Share(), NIFTY]) for feed in (one, two)]
        first, second = (
            {(t.key, t.sequence): t.tick for t in take(s, FeedTick, 10)} for s in subscriptions
        )
        assert all(first[name] == second[name] for name in first.keys() & second.keys())
        # Of the test before there may be one that the market has not missed yet.
        until(lambda: ask(practice["status_url"])["connections"]["stream"] == 1, "one", 10)
        seen = ask(practice["status_url"])
        assert seen["rooms"] == {"4.1!2885": 1, "4.1!NIFTY 50": 1}
        assert one.status()["pid"] == two.status()["pid"]


def test_connect_is_one_feed_logged_in_with_the_session(home, practice, monkeypatch):
    """Every ``connect`` gives the same feed, and it has the notebook's own session."""
    monkeypatch.setattr(session, "_current", None)
    first = connect()
    assert first.state.state == "offline"
    endpoints = settings.Endpoints.from_dict(practice, name="practice")
    session.login(
        practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
    )
    with connect() as feed:
        assert feed is first
        assert (feed.state.state, feed.state.account) == ("connected", "PRACTICE MARKET")
        share = session.current().resolve("RELIANCE")
        assert take(feed.subscribe(share), FeedTick)[0].key == "NSE:RELIANCE"
    with connect() as other:
        assert other is not first


def test_killed_relay_comes_back_with_its_subscriptions(home, practice):
    """After SIGKILL two notebooks hear ticks again in seconds, over one connection."""
    with Feed(home) as one, Feed(home) as two:
        one.login(**practice_login(practice))
        subscriptions = [one.subscribe(Share()), two.subscribe(Share(), bars=["1s"])]
        heard = [take(subscription, FeedTick, 3) for subscription in subscriptions]
        pid = one.status()["pid"]
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        for subscription, ticks in zip(subscriptions, heard, strict=True):
            while ticks[-1].epoch == 1:
                ticks.extend(take(subscription, FeedTick))
            first = ticks[0].sequence
            assert [t.sequence for t in ticks] == list(range(first, first + len(ticks)))
        assert time.monotonic() - killed < within(3.0)
        assert one.status()["pid"] == two.status()["pid"] != pid

        def one_connection():
            seen = ask(practice["status_url"])
            return (seen["connections"]["stream"], seen["rooms"]) == (1, {"4.1!2885": 1})

        until(one_connection, "the market's view of one connection", 10)


def test_without_a_log_numbers_begin_anew_and_the_loss_is_said(home, server, monkeypatch):
    """With recording switched off nothing is written, and a kill loses nobody knows how many."""
    monkeypatch.setenv("BREEZE_LAB_RECORD", "off")
    with Feed(home) as feed:
        feed.login(**stream_login(server))
        subscription = feed.subscribe(Share())
        until(lambda: server.rooms, "the join")
        server.emit(*(quote("4.1!2885", 100.0, n, 1795352160) for n in range(3)))
        assert take(subscription, FeedTick, 3)[-1].sequence == 3
        status = feed.status()
        os.kill(status["pid"], signal.SIGKILL)
        (loss,) = take(subscription, Lost)
        assert (loss.first, loss.last, loss.cause) == (4, None, "the relay was restarted")
        until(lambda: len(server.auths) == 2 and server.rooms, "the second join")
        server.emit(quote("4.1!2885", 100.0, 9, 1795352170))
        assert take(subscription, FeedTick)[0].sequence == 1
    assert (status["wal"]["on"], status["wal"]["recording"]) == (False, False)
    assert status["wal"]["file"] is None
    assert list(home.data.rglob("*.log")) == []


def test_a_feed_that_was_away_is_told_everything_once(home, server):
    """A connection that breaks, with the relay alive, costs no tick and repeats none."""
    with Feed(home) as one, Feed(home) as two:
        one.login(**stream_login(server))
        subscription = two.subscribe(Share())
        until(lambda: server.rooms, "the join")
        server.emit(*(quote("4.1!2885", 100.0, n, 1795352160) for n in range(5)))
        heard = take(subscription, FeedTick, 5)
        two._loop.call_soon_threadsafe(two._link._socket.transport.abort)
        server.emit(*(quote("4.1!2885", 100.0, n, 1795352160) for n in range(5, 400)))
        until(lambda: one.status()["instruments"][0]["sequence"] == 400, "all of them")
        server.emit(quote("4.1!2885", 100.0, 400, 1795352160))
        heard += take(subscription, FeedTick, 396)
    assert [tick.sequence for tick in heard] == list(range(1, 402))
    assert [tick.tick.volume for tick in heard] == list(range(401))


def test_sixth_crash_heals_as_fast_as_the_first(feed, server):
    """Crashes in a row do not make the feed wait longer each time."""
    feed.login(**stream_login(server))
    for crash in range(1, 7):
        os.kill(feed.status()["pid"], signal.SIGKILL)
        killed = time.monotonic()
        until(lambda n=crash: len(server.auths) == n + 1, "the stream's return")
        until(lambda: feed.state.state == "connected", "the feed's return")
        assert feed._link._failures == 0, "the next wait is as short as the first"
    assert time.monotonic() - killed < within(1.4)


def test_real_login_is_told_again_to_a_new_relay(feed, home, server):
    """A real account's token lives in the notebook alone, which tells it to the next relay."""
    login = stream_login(server)
    endpoints = type(login["endpoints"]).from_dict(
        {**login["endpoints"].to_dict(), "name": "icici"}
    )
    feed.login(**{**login, "endpoints": endpoints})
    subscription = feed.subscribe(Share())
    until(lambda: server.rooms, "the join")
    os.kill(feed.status()["pid"], signal.SIGKILL)
    until(lambda: len(server.auths) == 2 and server.rooms, "the second login")
    server.emit(quote("4.1!2885", 101.0, 5, 1795352160))
    assert take(subscription, FeedTick)[0].tick.last == 101.0
    assert server.most == 1
    assert [
        p for p in home.runtime.iterdir() if p.is_file() and TOKEN in p.read_text(errors="replace")
    ] == []


def test_refused_login_is_an_error_and_not_tried_again(feed, server):
    """The broker's no is told at once and the relay does not ask again by itself."""
    server.refuse = True
    with pytest.raises(LoginError, match="session expired"):
        feed.login(**stream_login(server))
    assert feed.state.state == "refused"
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 1.0, "a second without a retry")
    assert len(server.auths) == 1
    server.refuse = False
    assert feed.login(**stream_login(server)).state == "connected"


def test_market_that_is_not_there_is_named(feed, server):
    """A login to a dead address fails within its timeout and says why."""
    server.down()
    with pytest.raises(FeedDisconnected, match="ConnectionRefusedError"):
        feed.login(**stream_login(server), timeout_s=1)
    server.up()
    until(lambda: feed.state.state == "connected", "the market's return")


@pytest.mark.parametrize("ending", ["cut", "leave_politely", "down"])
def test_lost_stream_is_joined_again_in_one_message(feed, server, ending):
    """Whatever way the stream ends, all rooms come back together, in a new epoch, bars marked."""
    feed.login(**stream_login(server))
    shares = [Share(), NIFTY, Share("NSE:TCS", "4.1!11536")]
    subscription = feed.subscribe(shares, bars=["1s"])
    until(lambda: len(server.rooms) == 3, "the join")
    second = 1795352160
    server.emit(*(quote("4.1!2885", 100.0, n, second + n) for n in range(3)))
    assert {tick.epoch for tick in take(subscription, FeedTick, 3)} == {1}
    getattr(server, ending)()
    if ending == "down":
        until(lambda: feed.state.error, "the loss")
        server.up()
    until(lambda: len(server.auths) == 2 and len(server.rooms) == 3, "the second join")
    assert server.joins == [[share.quote_room for share in shares]] * 2
    until(lambda: feed.state.state == "connected", "the good news")
    server.emit(*(quote("4.1!2885", 100.0, n, second + n) for n in range(3, 6)))
    assert {tick.epoch for tick in take(subscription, FeedTick, 3)} == {2}
    bars = feed.subscribe(Share(), bars=["1s"]).snapshot.bars["NSE:RELIANCE", Interval.S1]
    assert [bar.whole for bar in bars] == [False, True, False, False, True, True]
    assert server.most == 1


def test_closed_or_forgotten_subscription_is_released(feed, server):
    """An instrument is wanted until its last subscription is closed or garbage, not longer."""
    feed.login(**stream_login(server))
    one, two = feed.subscribe(Share()), feed.subscribe([Share(), NIFTY])
    until(lambda: len(server.rooms) == 2, "the join")
    one.close()
    one.close()
    assert [i["consumers"] for i in feed.status()["instruments"]] == [1, 1]
    del two
    gc.collect()
    # The relay leaves the rooms a few seconds later; see the dead consumer of the door's tests.
    until(lambda: feed.status()["clients"][0]["keys"] == 0, "the release")
    assert [i["consumers"] for i in feed.status()["instruments"]] == [0, 0]


def test_closed_subscription_ends_its_iteration(feed, server):
    """A loop over a subscription ends when another thread closes it."""
    feed.login(**stream_login(server))
    subscription = feed.subscribe(Share())
    until(lambda: server.rooms, "the join")
    server.emit(quote("4.1!2885", 101.0, 5, 1795352160))
    threading.Timer(0.3, subscription.close).start()
    assert [event.sequence for event in subscription if isinstance(event, FeedTick)] == [1]
    assert subscription.get() is None
    assert list(subscription.events(timeout_s=0.01)) == []


def test_callback_failure_does_not_hurt_the_feed(feed, server, caplog):
    """An exception in somebody's callback is logged and the next event comes all the same."""
    heard = []

    def clumsy(event):
        heard.append(event)
        raise ValueError("mine")

    feed.login(**stream_login(server))
    subscription = feed.subscribe(Share(), on_event=clumsy)
    until(lambda: server.rooms, "the join")
    server.emit(*(quote("4.1!2885", 101.0, n, 1795352160) for n in range(3)))
    until(lambda: len(heard) == 3, "three ticks")
    assert "mine" in caplog.text
    subscription.close()


def test_waiting_for_the_feed_in_its_own_callback_is_refused(feed, server):
    """A callback that would wait for itself gets an error instead of a deadlock."""
    errors = []

    def nested(event):
        try:
            feed.status()
        except FeedError as exc:
            errors.append(str(exc))

    feed.login(**stream_login(server))
    subscription = feed.subscribe(Share(), on_event=nested)
    until(lambda: server.rooms, "the join")
    server.emit(quote("4.1!2885", 101.0, 1, 1795352160))
    until(lambda: errors, "the refusal")
    assert "callback" in errors[0]
    subscription.close()


def test_wrong_room_or_interval_is_refused(feed):
    """What cannot be streamed is an error with the reason, and nothing is subscribed."""
    for share in (
        Share("NSE:X", "4.1!False\n"),
        Share("NSE:X", "nonsense"),
        Share("NSE:X", "4.3!2885"),
    ):
        with pytest.raises(SubscriptionRefused):
            feed.subscribe(share)
    assert feed.status()["rooms"] == []
    assert feed.status()["clients"][0]["keys"] == 0


def test_slow_reader_of_this_process_is_told_what_it_missed():
    """A queue nobody empties keeps the newest events and names the others exactly."""
    subscription = Subscription(("k",), (), "every", limit=100)
    for sequence in range(1, 1001):
        subscription.deliver([FeedTick("k", sequence, 1, 0, None)])
    told = 0
    for event in subscription.events(timeout_s=0):
        first, last = (
            (event.first, event.last) if isinstance(event, Lost) else (event.sequence,) * 2
        )
        assert first == told + 1
        told = last
    assert told == 1000


def test_latest_reader_of_this_process_gets_the_newest():
    """A conflated queue holds one tick per instrument."""
    subscription = Subscription(("k", "l"), (), "latest")
    for sequence in range(1, 100):
        subscription.deliver([FeedTick(key, sequence, 1, 0, None) for key in "kl"])
    assert [(e.key, e.sequence) for e in subscription.events(timeout_s=0)] == [("k", 99), ("l", 99)]


def test_stopped_relay_is_not_started_again(feed, home):
    """Who asks for the relay's end does not bring it back."""
    feed.shutdown_relay()
    until(lambda: processes.running(home.runtime, "relay") is None, "the end")
    with pytest.raises(FeedDisconnected, match="closed"):
        feed.status()
    assert processes.running(home.runtime, "relay") is None


def test_subscribers_hear_how_the_stream_stands(feed, server):
    """A stale feed looks stale: every subscription hears of the loss and the return."""
    feed.login(**stream_login(server))
    subscription = feed.subscribe(Share())
    until(lambda: server.alive, "the connection")
    server.cut()
    states = [state.state for state in take(subscription, FeedState, 2)]
    assert states == ["connecting", "connected"]


def test_importing_the_feed_loads_no_third_party():
    """``import breeze_lab.feed`` costs nothing until somebody connects."""
    code = (
        "import sys; import breeze_lab.feed;"
        "heavy = {'websockets', 'msgspec', 'pandas', 'numpy', 'bokeh', 'breeze_connect', 'ssl'};"
        "print(sorted(heavy & set(sys.modules) - {'ssl'}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_tick_is_made_from_its_row_when_it_is_asked_for():
    """A row read as it lies gives the values of the row, and equals a tick made by hand."""
    row = ["k", 7, 2, 1_795_352_160, 1_795_352_160_123, 2, 1.5, 3.0, 1.0, 1.9, 0.5, 1.9, 5, 2.1, 6,
           1, 2.0, 900, None]  # fmt: skip
    read = rows.tick(row, "4.1!1")
    assert read.tick == Tick(
        "4.1!1", clock.from_epoch(1_795_352_160), 2.0, 1.5, 3.0, 1.0, 1.9, 0.5, 1.9, 5, 2.1, 6, 1,
        2.0, 900,
    )  # fmt: skip
    assert read.tick is read.tick
    made = FeedTick("k", 7, 2, 1_795_352_160_123, read.tick)
    assert (made, hash(made), repr(made)) == (read, hash(read), repr(read))
    assert made != FeedTick("k", 8, 2, 1_795_352_160_123, read.tick)
    with pytest.raises(AttributeError):
        made.sequence = 8
