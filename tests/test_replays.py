"""A recorded day through the same feed, charts and history: the same bars each time."""

import heapq
import json
from collections import Counter
from datetime import date, timedelta

import pytest
from IPython.core.interactiveshell import InteractiveShell
from relay_home import relay_home
from tick_log import line, quote, write
from waiting import until

import breeze_lab
from breeze_lab import clock, feed, lab, processes, recordings, replays, session
from breeze_lab.errors import InstrumentNotFound, ProcessError, RecordingError, SettingsError
from breeze_lab.practice import control
from breeze_lab.practice.exchange.contracts import listing
from breeze_lab.practice.exchange.days import day_number, midnight
from breeze_lab.practice.exchange.market import Live
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.wire import frames
from breeze_lab.relay import recorder, wal
from breeze_lab.relay.days import Place
from breeze_lab.relay.wal import Record

DAY = date(2026, 11, 20)
OPENED = (midnight(day_number(DAY)) + 33_300) * 1000  # 09:15
NAMES = {"RELIND": "NSE:RELIANCE", "NIFTY": "NSE:NIFTY", "TCS": "NSE:TCS"}
PLACE = Place("practice", DAY)


def day_of_practice(seconds):
    """Write the log of a practice day's first seconds as a relay would have; return its counts."""
    prices = Prices(1, None)
    records, streams, rooms = [], [], {}
    for code, key in NAMES.items():
        contract = listing(prices, DAY).find("NSE", code)
        room = f"{contract.market}.1!{contract.token}"
        rooms[room] = key
        records.append(line(room, key))
        streams.append(frames_of(prices, contract, OPENED + seconds * 1000))
    numbers = {}
    for time_ms, frame in heapq.merge(*streams, key=lambda one: one[0]):
        number = numbers[frame[0]] = numbers.get(frame[0], 0) + 1
        data = json.dumps(frame).encode()
        records.append(Record(wal.STOCK, 1, number, time_ms + 7, data))
    write(records, day=DAY, market="practice")
    return {key: numbers[room] for room, key in rooms.items()}


def frames_of(prices, contract, until_ms):
    live = Live(prices, contract, OPENED - 1)
    while (live.prepare() or until_ms) < until_ms:
        live.step()
        yield live.quote.time_ms, frames.quote(live)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a relay of its own, whose practice market and session end with the test."""
    with relay_home(tmp_path, monkeypatch) as folders:
        try:
            yield folders
        finally:
            session.logout()
            processes.stop(folders.runtime, "practice")


def played(counts, speed):
    """Replay the day; return the bars that came of it: start, open, high, low, close, volume."""
    replays.start(DAY, speed=speed, paused=True, instruments=["RELIANCE", "NIFTY"])
    wanted = [session.current().resolve(name) for name in ("RELIANCE", "NIFTY")]
    opened = clock.from_epoch(OPENED / 1000)
    bars, ticks = {}, Counter()

    def hear(event):
        if isinstance(event, feed.FeedBar):
            bars[event.key, event.bar.start] = event.bar
        elif isinstance(event, feed.FeedTick) and event.tick.exchange_time >= opened:
            ticks[event.key] += 1  # but where the rooms stood before

    with feed.Feed() as live:
        now = session.current()
        live.login(now.endpoints, now.identity.user_id, now.identity.session_key, "", now.until,
                   serial=now.serial if now.shared else "")  # fmt: skip
        subscription = live.subscribe(wanted, bars=["1m"], delivery="every", on_event=hear)
        until(lambda: all(one["joined"] for one in live.status()["instruments"]), "the rooms")
        control.connect().resume()
        until(lambda: ticks == {one.key: counts[one.key] for one in wanted}, "every tick", 120)
        subscription.close()
    return {
        (key, start): (bar.open, bar.high, bar.low, bar.close, bar.volume)
        for (key, start), bar in sorted(bars.items())
        if start >= opened
    }


def test_a_recorded_day_replays_twice_with_the_bars_of_the_recording(home):
    """At 20 times its speed, through relay and feed, and then once more: the same bars."""
    breeze_lab.login_practice()  # so that there is a master, and a market that gives way
    counts = day_of_practice(70)
    recorder.convert(PLACE)
    first = played(counts, 20)
    second = played(counts, 20)
    assert first == second
    for name, key in (("RELIANCE", "NSE:RELIANCE"), ("NIFTY", "NSE:NIFTY")):
        built = recordings.bars(DAY, name, "1m")
        assert len(built) == 2
        for place, (start, row) in enumerate(built.iterrows()):
            got = first[key, start.to_pydatetime()]
            assert got[:4] == (row["open"], row["high"], row["low"], row["close"])
            # Before its first tick a recording knows no volume of the day, and a replay none before.
            assert place == 0 or got[4] == row["volume"]


def test_the_notebook_reads_the_clock_of_the_replay(home):
    """History ends at the market's now, the status says what it is, and ``off`` goes back.

    A day that cannot be replayed leaves the market that ran.
    """
    breeze_lab.login_practice(seed=4)
    bad = date(2026, 11, 23)
    write(
        [line("4.1!99", "NSE:NOSUCH"), quote(1, OPENED + 3 * 86_400_000, room="4.1!99")],
        day=bad, market="practice",
    )  # fmt: skip
    with pytest.raises(ProcessError, match=r"NSE lists no such name"):
        replays.start(bad)
    assert session.practice_record()["seed"] == 4
    assert session.current().resolve("RELIANCE").key == "NSE:RELIANCE"
    day_of_practice(90)
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "breeze_lab")
    shell.run_line_magic(
        "breeze_replay", f"{DAY} --speed 3600 --from 09:15 --instruments RELIANCE --paused"
    )
    control.connect().jump("2026-11-20T09:16:05")
    until(lambda: clock.market_now() == clock.from_epoch(OPENED / 1000 + 65), "the market's clock")
    history = breeze_lab.history("RELIANCE", "1m", "2026-11-20 09:15")
    built = recordings.bars(DAY, "RELIANCE", "1m")
    assert history.index.tolist() == built.index.tolist()
    assert history["close"].tolist()[0] == built["close"].tolist()[0]
    with breeze_lab.stream("RELIANCE") as stream:  # its day is the replay's
        assert stream.bars("1m").index.tolist() == built.index.tolist()
    assert "replay of practice-2026-11-20" in lab.status().lines["account"]
    assert lab.status().lines["market time"].startswith("20-11-2026 09:16")
    shell.run_line_magic("breeze_replay", "off")
    assert session.current().endpoints.replay == ""
    assert session.practice_record()["seed"] == 4
    assert abs(clock.market_now() - clock.now()) < timedelta(seconds=5)
    with pytest.raises(SettingsError, match="No replay runs"):
        replays.stop()


def test_what_cannot_be_replayed_is_refused_before_anything_is_stopped(home):
    """A wrong day, instrument or speed leaves the running market alone."""
    write([line()], day=clock.now().date(), market="practice")
    day_of_practice(5)
    with pytest.raises(RecordingError, match="after midnight"):
        replays.start("today")
    with pytest.raises(RecordingError, match="Nearest: 2026-11-20"):
        replays.start("2026-11-18")
    with pytest.raises(InstrumentNotFound, match="Recorded: NSE:NIFTY"):
        replays.start(DAY, instruments=["INFY"])
    with pytest.raises(SettingsError, match="speed"):
        replays.start(DAY, speed=0)
    assert session.practice_record() is None


def test_a_replay_is_not_recorded_again(home):
    """Frames of a connection to a replay are counted and left out."""
    note = json.dumps({"what": "epoch", "epoch": 2, "replay": "ticks-2026-11-19.parquet"}).encode()
    frame = Record(wal.STOCK, 1, 1, OPENED, b'["4.2!1",1691390811,[]]')
    write(
        [line(), frame, Record(wal.NOTE, 2, 0, OPENED, note), frame._replace(epoch=2, sequence=2),
         frame._replace(epoch=3, sequence=3)], day=DAY, market="practice",
    )  # fmt: skip
    made = recorder.convert(PLACE)
    assert made["counts"]["frames of a replay, recorded already"] == 1
    assert made["rooms"]["4.2!1"]["frames"] == 2


def test_market_time_is_the_walls_when_nobody_answers():
    """A market that has gone leaves the wall clock, without an error."""
    from breeze_lab.market_time import MarketTime

    gone = MarketTime("http://127.0.0.1:9/practice/status")
    assert abs(gone.now() - clock.now()) < timedelta(seconds=1)
