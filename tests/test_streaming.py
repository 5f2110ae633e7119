"""Streams: loops, functions and frames over live ticks, none of which can hurt the feed."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import time
import warnings
import weakref
from contextlib import contextmanager

import pytest
from relay_home import Share, practice_market, relay_home, stream_login
from stream_server import quote
from waiting import until

import breeze_lab
from breeze_lab import session, settings
from breeze_lab.errors import FeedWarning, InstrumentNotFound, SettingsError
from breeze_lab.feed import Feed, FeedTick
from breeze_lab.streaming import LiveBar, LiveTick, Stream

pytestmark = pytest.mark.filterwarnings("ignore::breeze_lab.errors.FeedWarning")

ROOM = "4.1!2885"
SECOND = 1795352160
#: Kinds of events that warn.
LOUD = ("lost", "gap", "state")
NIFTY = Share("NSE:NIFTY", "4.1!NIFTY 50")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a relay and without a session."""
    monkeypatch.setattr(session, "_current", None)
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders


@pytest.fixture
def feed(home, server):
    """A feed that is connected to the server."""
    with Feed(home) as feed:
        feed.login(**stream_login(server))
        yield feed


def open_stream(feed, server, *shares, **options):
    """Return a stream whose rooms are joined."""
    opened = Stream(feed, shares or [Share()], **options)
    until(lambda: {ROOM} <= server.rooms, "the join")
    return opened


def send(server, count, first=1, room=ROOM, step_s=0):
    """Emit ticks whose volume counts from `first`."""
    server.emit(
        *(quote(room, 100.0 + n, n, SECOND + n * step_s) for n in range(first, first + count))
    )


def collect(stream, count):
    """Return the next `count` ticks of a loop that begins now."""
    found = []
    for tick in stream:
        found.append(tick)
        if len(found) == count:
            break
    return found


@contextmanager
def background(stream, count):
    """Collect in a thread; give the list when the block ends."""
    found, loop = [], iter(stream)

    def run():
        for tick in loop:
            found.append(tick)
            if len(found) == count:
                return

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(30)
    assert not thread.is_alive(), f"{len(found)} of {count} ticks came"


def test_a_loop_hears_every_tick_in_order(feed, server):
    """A loop gets each tick once, and frame, last and age tell the same."""
    with open_stream(feed, server) as stream:
        with background(stream, 50) as heard:
            send(server, 50)
        assert [tick.volume for tick in heard] == list(range(1, 51))
        assert [tick.sequence for tick in heard] == list(range(1, 51))
        tick = heard[-1]
        assert (tick.instrument, tick.last) == ("NSE:RELIANCE", 150.0)
        assert tick.time.tzinfo.key == tick.received.tzinfo.key == "Asia/Kolkata"
        assert stream.last() == stream.last("NSE:RELIANCE") == tick
        assert 0 <= stream.age < 10
        frame = stream.frame()
        assert frame["volume"].tolist() == list(range(1, 51))
        assert str(frame.index.tz) == str(frame["time"].dt.tz) == "Asia/Kolkata"
        assert frame["time"].iloc[-1] == tick.time
        assert frame.index[-1] == tick.received
        assert frame.attrs["dropped"] == 0


def test_two_loops_do_not_take_each_others_ticks(feed, server):
    """Every loop has a queue of its own."""
    with open_stream(feed, server) as stream, background(stream, 20) as one:
        with background(stream, 20) as two:
            send(server, 20)
        until(lambda: len(one) == 20, "the other loop")
        assert one == two


def test_an_async_loop_waits_without_blocking_its_event_loop(feed, server):
    """Other tasks run while it waits, and also while ticks come without a pause."""
    stream = open_stream(feed, server)
    turns = [0, 0]

    async def other(place):
        while True:
            turns[place] += 1
            await asyncio.sleep(0)

    async def main():
        waiting = asyncio.create_task(other(0))
        loop = aiter(stream)
        first = asyncio.create_task(anext(loop))
        await asyncio.to_thread(until, lambda: turns[0] > 100, "turns of the other task")
        waiting.cancel()
        await asyncio.to_thread(send, server, 2001)
        await asyncio.to_thread(until, lambda: stream.ticks_heard["NSE:RELIANCE"] == 2001, "all")
        heard = [await first]
        busy = asyncio.create_task(other(1))
        async for tick in loop:
            heard.append(tick)
            time.sleep(0.0001)  # noqa: ASYNC251 - somebody's work
            if len(heard) == 2001:
                break
        busy.cancel()
        return heard

    heard = asyncio.run(main())
    assert [tick.volume for tick in heard] == list(range(1, 2002))
    assert turns[1] > 10


def test_loops_end_when_the_stream_is_closed(feed, server):
    """A loop and an async loop that wait end at once; one that begins later is empty."""
    stream = open_stream(feed, server)

    async def listen():
        return [tick async for tick in stream]

    begun = time.monotonic()
    with background(stream, 1_000_000) as heard:
        threading.Timer(0.3, stream.close).start()
        assert asyncio.run(listen()) == []
    assert heard == list(stream) == []
    assert time.monotonic() - begun < 30
    assert stream.closed
    assert "closed" in repr(stream)
    stream.close()


def test_a_loop_ends_when_its_feed_is_closed(feed, server):
    """A feed that somebody closes leaves no loop waiting for ever."""
    stream = open_stream(feed, server)
    threading.Timer(0.2, feed.close).start()
    assert list(stream) == []


@contextmanager
def pressing_stop():
    """Interrupt the block soon, and again when the first interrupt fell into some finalizer."""
    over = threading.Event()

    def press():
        wait_s = 0.2
        while not over.wait(wait_s):
            os.kill(os.getpid(), signal.SIGINT)
            wait_s = 10.0

    threading.Thread(target=press, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def test_an_interrupted_loop_leaves_the_stream_usable(feed, server):
    """After Ctrl+C in a loop that waits, the next loop hears the next tick."""
    stream = open_stream(feed, server)
    for round_ in range(3):
        with pressing_stop(), pytest.raises(KeyboardInterrupt):
            collect(stream, 1)
        with background(stream, 1) as heard:
            send(server, 1, first=round_ + 1)
        assert heard[0].volume == round_ + 1
    assert len(stream.frame()) == 3


def goes_on(feed, server, stream, timeout_s):
    """Say whether others of the feed still hear in time."""
    try:
        with feed.subscribe(NIFTY, timeout_s=timeout_s) as other:
            until(lambda: NIFTY.quote_room in server.rooms, "the join", timeout_s)
            before = stream.ticks_heard["NSE:RELIANCE"]
            server.emit(quote(NIFTY.quote_room, 1.0, 1, SECOND), quote(ROOM, 1.0, 9, SECOND))
            heard = other.get(timeout_s=timeout_s)
            until(lambda: stream.ticks_heard["NSE:RELIANCE"] > before, "its own", timeout_s)
            return isinstance(heard, FeedTick)
    except (breeze_lab.errors.FeedDisconnected, AssertionError):
        return False


def test_a_function_that_blocks_stops_nobody_else(feed, server):
    """While a function hangs, its stream, other functions and the feed go on."""
    stream = open_stream(feed, server)
    hold, others = threading.Event(), []
    stuck = stream.on_tick(lambda _tick: hold.wait(90))
    stream.on_tick(others.append)
    send(server, 1)
    until(lambda: stuck._inside, "the function")
    assert goes_on(feed, server, stream, 20)
    until(lambda: len(others) == 2, "the other function")
    hold.set()
    until(lambda: stuck.runs == 2, "the rest")
    stream.close()


def test_the_check_catches_a_function_on_the_feeds_thread(feed, server):
    """The planted fault: run on the feed's own thread, the same function must be noticed."""
    stream = open_stream(feed, server)
    hold, inside = threading.Event(), threading.Event()

    def block(_event):
        inside.set()
        hold.wait(30)

    planted = feed.subscribe(Share(), on_event=block)
    send(server, 1)
    assert inside.wait(30)
    try:
        assert not goes_on(feed, server, stream, 2)
    finally:
        hold.set()
    planted.close()


def test_a_slow_function_gets_the_newest_and_the_count_of_the_others(feed, server):
    """With ``latest`` every tick was either run for or counted as skipped, and the last one ran."""
    stream = open_stream(feed, server)
    seen, first, hold = [], threading.Event(), threading.Event()

    def slow(tick):
        seen.append(tick.volume)
        first.set()
        hold.wait(30)

    watch = stream.on_tick(slow, delivery="latest")
    send(server, 1)
    assert first.wait(30)
    send(server, 499, first=2)
    until(lambda: stream.ticks_heard["NSE:RELIANCE"] == 500, "all of them")
    hold.set()
    until(lambda: seen[-1] == 500 and watch.runs == len(seen), "the newest")
    assert watch.runs + watch.skipped == 500
    assert watch.skipped > 400
    assert seen == sorted(seen)
    stream.close()


def test_a_function_that_raises_is_told_and_goes_on(feed, server):
    """Its errors are events and one warning; it runs on, until it has failed so often in a row."""
    stream = open_stream(feed, server)

    def clumsy(tick):
        if tick.volume % 2:
            raise ValueError(f"odd {tick.volume}")

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        odd = stream.on_tick(clumsy, most_errors=2)
        send(server, 10)
        until(lambda: odd.runs == 10, "ten runs")
        assert (odd.errors, odd.running) == (5, True)
        always = stream.on_tick(lambda _tick: 1 / 0, most_errors=3)
        send(server, 9, first=12)
        until(lambda: not always.running, "its end")
    assert (always.errors, always.reason) == (
        3,
        "stopped by ZeroDivisionError (3 times in a row)",
    )
    told = [event for event in stream.events if event.kind == "callback"]
    assert told[0].text.endswith("test_streaming.py: ValueError: odd 1")
    assert isinstance(odd.error, ValueError)
    assert sum(issubclass(one.category, FeedWarning) for one in said) == 1
    stream.close()


def test_a_function_may_call_the_stream(feed, server):
    """Frames, bars, other functions and the end itself are open to a function."""
    stream = open_stream(feed, server)
    answers = []

    def curious(tick):
        answers.append((len(stream.frame()), len(stream.bars("1s")), stream.last() == tick))
        if tick.volume == 1:
            stream.on_tick(lambda _tick: None)
        else:
            stream.close()

    watch = stream.on_tick(curious)
    send(server, 1)
    until(lambda: watch.runs == 1, "the first run")
    send(server, 1, first=2)
    until(lambda: not watch.running, "the end")
    assert [answer[0] for answer in answers] == [1, 2]
    assert watch.errors == 0
    assert stream.closed


def test_a_dropped_stream_releases_its_rooms(feed, server):
    """Garbage holds nothing at the relay, a loop over a stream without a name keeps it."""
    stream = open_stream(feed, server)
    stream.bars("1s")
    assert feed.status()["clients"][0]["keys"] == 1
    dead = weakref.ref(stream)
    del stream
    gc.collect()
    assert dead() is None
    until(lambda: feed.status()["clients"][0]["keys"] == 0, "the release")

    loop = iter(open_stream(feed, server))
    gc.collect()
    threading.Timer(0.2, send, (server, 1)).start()
    assert next(loop).volume == 1
    del loop
    gc.collect()
    until(lambda: feed.status()["clients"][0]["keys"] == 0, "the release after the loop")


def test_a_stream_lives_as_long_as_its_function(feed, server):
    """A function keeps running when nobody holds its stream, and its stop releases the rooms."""
    heard = []
    watch = open_stream(feed, server).on_tick(heard.append)
    gc.collect()
    send(server, 1)
    until(lambda: heard, "a tick")
    watch.stop()
    del heard[:]
    until(lambda: gc.collect() >= 0 and feed.status()["clients"][0]["keys"] == 0, "the release")
    assert watch.reason == "stopped"


SHARES = [Share(), NIFTY, Share("NSE:TCS", "4.1!11536")]


def use(feed, dice):
    """Open a stream, do one of several things with it, and close it."""
    chosen = dice.sample(SHARES, dice.randint(1, 3))
    stream = Stream(feed, chosen, delivery=dice.choice(("every", "latest")))
    loop = iter(stream)
    things = [
        lambda: stream.on_tick(lambda _tick: 1 / 0),
        lambda: stream.on_bar("1s", lambda _bar: stream.bars("1s")),
        lambda: stream.on_event(lambda _event: stream.frame()),
        lambda: None,
    ]
    dice.choice(things)()
    assert isinstance(next(loop), LiveTick)
    if dice.random() < 0.3:
        stream.on_tick(lambda _tick: stream.close())
        assert list(loop) is not None
    elif dice.random() < 0.8:
        stream.close()
    else:
        threading.Timer(0.01, stream.close).start()


def test_many_threads_open_read_and_close(feed, server):
    """Eight threads that do everything at once, with functions that raise, leave nothing behind."""
    stop, failures = threading.Event(), []

    def user(seed):
        dice = random.Random(seed)
        try:
            for _ in range(int(os.environ.get("BREEZE_LAB_STREAMS", "12"))):
                use(feed, dice)
        except BaseException as exc:
            failures.append(exc)
            raise

    def market():
        number = 0
        while not stop.is_set():
            number += 1
            server.emit(*(quote(s.quote_room, 1.0, number, SECOND + number // 20) for s in SHARES))

    threads = [threading.Thread(target=user, args=(seed,)) for seed in range(8)]
    beat = threading.Thread(target=market)
    for one in (beat, *threads):
        one.start()
    for one in threads:
        one.join(90)
    stop.set()
    beat.join(30)
    assert failures == []
    assert not any(one.is_alive() for one in threads)
    until(lambda: feed.status()["clients"][0]["keys"] == 0, "the release")
    ours = {"breeze-lab <lambda>"}
    until(lambda: not ours & {thread.name for thread in threading.enumerate()}, "their threads")


def test_what_is_kept_is_bounded_and_says_so(feed, server):
    """The oldest ticks go first, with a count and one warning."""
    with open_stream(feed, server, keep=10) as stream, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with background(stream, 25):
            send(server, 25)
        frame = stream.frame()
        assert frame["volume"].tolist() == list(range(16, 26))
        assert frame.attrs["dropped"] == stream.dropped == 15
        assert "15 oldest ticks dropped" in repr(stream)
        assert [tick.volume for tick in stream.newest(3)] == [23, 24, 25]
    assert [one.category for one in said] == [FeedWarning]
    assert "keep=N" in str(said[0].message)


@pytest.fixture
def unrecorded(monkeypatch):
    """No log of ticks, so that a relay that dies loses some."""
    monkeypatch.setenv("BREEZE_LAB_RECORD", "off")


def test_losses_and_states_are_told_and_not_swallowed(unrecorded, feed, server):
    """A killed relay is told as loss and state, as events, to a function, and by warnings once."""
    told = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stream = open_stream(feed, server)
        stream.on_event(told.append)
        with background(stream, 1):
            send(server, 1)
        for crash in (1, 2):
            os.kill(feed.status()["pid"], signal.SIGKILL)
            until(lambda n=crash: len(server.auths) == n + 1 and server.rooms, "the return")
            with background(stream, 1):
                send(server, 1, first=crash + 1)
    kinds = [event.kind for event in stream.events]
    assert kinds.count("lost") == 2
    assert "offline" in " ".join(event.text for event in stream.events if event.kind == "state")
    assert [loss.key for loss in stream.lost] == ["NSE:RELIANCE"] * 2
    until(lambda: len(told) == len(kinds), "the function")
    texts = [str(one.message) for one in said if one.category is FeedWarning]
    assert len(texts) == len({event.kind for event in stream.events} & set(LOUD)), texts
    assert "ticks lost 2 times" in repr(stream)
    stream.close()


def test_a_silence_is_a_gap_with_bounds(feed, server):
    """A cut line is told as a gap when it begins, when it ends, and stays in ``gaps`` once."""
    stream = open_stream(feed, server)

    emitted = 0

    def trading():
        nonlocal emitted
        emitted += 1
        server.emit(quote(ROOM, 100.0, 1, int(time.time())))
        return feed.status()["gaps"]["trading"]

    until(trading, "proof that a market trades at this hour")
    until(lambda: stream.ticks_heard["NSE:RELIANCE"] == emitted, "what was sent before")
    before = stream.last().received
    server.cut()
    until(lambda: stream.gaps, "the gap")
    assert (stream.gaps[0].state, stream.gaps[0].end) == ("open", None)
    assert "1 gap, 1 open" in repr(stream)
    until(lambda: len(server.auths) == 2 and server.rooms, "the return")
    with background(stream, 1):
        server.emit(quote(ROOM, 100.0, 2, int(time.time())))
    until(lambda: stream.gaps[0].end, "its end")
    (gap,) = stream.gaps
    assert abs((gap.start - before).total_seconds()) < 1.1
    assert gap.end >= gap.start
    assert {event.kind for event in stream.events} >= {"gap", "state"}
    stream.close()


def test_each_bar_closes_once(feed, server):
    """A function hears every closed bar once and in order, across a break of the stream."""
    stream = open_stream(feed, server)
    closed, changes = [], []
    stream.on_bar("1s", closed.append)
    stream.on_bar("1s", changes.append, forming=True)
    send(server, 5, step_s=1)
    until(lambda: len(closed) == 4, "four seconds")
    server.cut()
    until(lambda: len(server.auths) == 2 and server.rooms, "the return")
    until(lambda: feed.state.state == "connected", "the good news")
    send(server, 5, first=6, step_s=1)
    until(lambda: len(closed) == 9, "nine seconds")
    assert [bar.close for bar in closed] == [100.0 + n for n in range(1, 10)]
    assert not any(bar.forming for bar in closed)
    assert isinstance(closed[0], LiveBar)
    assert [bar.complete for bar in closed] == [False, *[True] * 3, False, False, *[True] * 3]
    assert sum(bar.forming for bar in changes) >= 2
    stream.close()


def test_bars_of_the_relay_are_a_frame_in_ist(feed, server, monkeypatch):
    """Without a session the frame holds what the relay built, the forming bar last."""
    stream = open_stream(feed, server)
    stream.bars("1s")
    with background(stream, 4):
        now_s = int(time.time())
        server.emit(*(quote(ROOM, 100.0 + n, n, now_s + n) for n in range(4)))
    until(lambda: len(stream.bars("1s")) == 4, "four bars")
    frame = stream.bars("1s")
    assert str(frame.index.tz) == "Asia/Kolkata"
    assert frame["close"].tolist() == [100.0, 101.0, 102.0, 103.0]
    assert frame["complete"].tolist() == [False, True, True, False]
    stream.close()


def test_the_page_escapes_what_it_shows(feed, server):
    """A name with markup is text in the notebook."""
    with open_stream(feed, server, Share("NSE:<b onclick=x>", ROOM)) as stream:
        with background(stream, 1):
            send(server, 1)
        shown = stream._repr_html_()
    assert "<b onclick" not in shown
    assert "&lt;b onclick=x&gt;" in shown
    assert "101.00" in shown


def test_what_cannot_be_streamed_is_refused():
    """No name, an unknown delivery and nothing to keep are errors with the next step."""
    with pytest.raises(SettingsError, match="For example"):
        breeze_lab.stream()
    with pytest.raises(SettingsError, match="not 'some'"):
        breeze_lab.stream("RELIANCE", delivery="some")
    with pytest.raises(SettingsError, match="at least one"):
        breeze_lab.stream("RELIANCE", keep=0)


def test_names_are_taken_as_everywhere(home):
    """Names resolve like in every call, a wrong one subscribes nothing, bars begin with history."""
    with practice_market(master=True) as market:
        endpoints = settings.Endpoints.from_dict(market, name="practice")
        session.login(
            market["app_key"], market["secret"], market["api_session"], endpoints=endpoints
        )
        with pytest.raises(InstrumentNotFound, match="Type 'RELIANCE'"):
            breeze_lab.stream("NIFTY fut", "RELIANC")
        with breeze_lab.stream("RELIANCE", "nifty fut", "RELIND") as stream:
            assert len(stream.instruments) == 2
            assert collect(stream, 1)[0].instrument in stream.instruments
            assert stream.practice
            assert "practice market" in repr(stream)
            until(lambda: stream.last("reliance industries"), "a tick")
            with pytest.raises(InstrumentNotFound, match="not in this stream"):
                stream.last("TCS")
            with pytest.raises(SettingsError, match="Which one"):
                stream.last()
            minutes = stream.bars("1m", "RELIANCE")
            past = breeze_lab.history("RELIANCE", "1m", minutes.index[0].to_pydatetime())
            assert minutes.index.is_monotonic_increasing
            assert minutes.index.is_unique
            columns = ["open", "high", "low", "close", "volume"]
            final = minutes[minutes["complete"]]
            assert len(final) > 0
            assert final[columns].equals(past.loc[final.index, columns])
            assert stream.bars("1m").loc["NSE:RELIANCE"].index[0] == minutes.index[0]
        breeze_lab.feed.connect().close()
    session.logout()
