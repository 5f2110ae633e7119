"""Recovery: a relay that was killed stands where it stood, in a second."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breeze_lab import clock
from breeze_lab.bars import Interval
from breeze_lab.relay import JSON, wal
from breeze_lab.relay.hub import Hub
from breeze_lab.relay.journal import RESTARTED
from breeze_lab.relay.logbook import Logbook
from breeze_lab.relay.market import Codec, Line, tick_rows
from breeze_lab.relay.restore import recover
from breeze_lab.ticks import decode_frame

OPEN = 1795319100  # 09:15 IST
ROOM, KEY = "4.1!2885", "NSE:RELIANCE"


def quote(second, last, volume, room=ROOM):
    """Return a 21-field quote as the JSON text that comes."""
    return json.dumps(
        [
            room, 100, last, 110, 90, 0.5, last, 5, last, 6, 10, 100.0, volume, 1, 1, "", "", 80, 120,
            OPEN + second, 99.5,
        ]
    ).encode()  # fmt: skip


def heads(intervals=()):
    """Return the notes a file begins with."""
    return [
        {"what": "life", "life": "former"},
        {"what": "line", "key": KEY, "room": ROOM, "anchor_s": 33_300, "sequence": 0,
         "intervals": intervals},
    ]  # fmt: skip


def rows(line, interval):
    return [row.values for row in line.series[interval].rows()]


#: Steps of the market: seconds passed, price, volume traded (or taken back), or a lost link.
steps = st.lists(
    st.tuples(
        st.integers(-2, 40), st.sampled_from([99, 100, 100.5, 101.25]), st.integers(-1, 5),
        st.sampled_from(["tick"] * 9 + ["gap"]),
    ),
    max_size=60,
)  # fmt: skip
labels = st.lists(st.sampled_from(["1s", "5s", "1m", "3m", "1d"]), min_size=1, unique=True)


@settings(deadline=None)
@given(steps, labels)
def test_restored_bars_are_those_that_were_built(tmp_path_factory, steps, labels):
    """Read back from the log, every bar is what it was live, with the kill marked as a gap."""
    folder = tmp_path_factory.mktemp("log")
    book = Logbook(folder, lambda: heads(labels))
    line = Line(KEY, ROOM, 33_300)
    line.hold({Interval.parse(label) for label in labels})
    second, volume, epoch, sequence = 0, 10, 0, 0
    for passed, price, traded, kind in steps:
        if kind == "gap":
            line.gap()
            epoch += 1
            book.note({"what": "epoch", "epoch": epoch})
            continue
        second, volume, sequence = max(0, second + passed), max(0, volume + traded), sequence + 1
        raw, now_ms = quote(second, price, volume), time.time_ns() // 1_000_000
        line.take(decode_frame(json.loads(raw)), sequence, epoch, now_ms)
        book.append(wal.STOCK, epoch, sequence, now_ms, raw)
    book.commit()
    line.gap()
    past = recover(folder, clock.now().date(), 10)
    book.close()
    assert past.sequences.get(ROOM, 0) == sequence
    if sequence:
        found = past.lines[KEY, ROOM, 33_300]
        assert tick_rows([found.last]) == tick_rows([line.last])
        for interval in line.series:
            assert rows(found, interval) == rows(line, interval)


def test_a_bar_without_frames_that_were_not_recorded_is_not_complete(tmp_path):
    """Where the log says that it lacks frames, restored bars say so too and count nothing."""
    path = tmp_path / f"{clock.now().date()}-000001.log"
    now_ms = time.time_ns() // 1_000_000
    records = [(wal.NOTE, 1, 0, now_ms, json.dumps(note).encode()) for note in heads(["1m"])]
    records += [(wal.STOCK, 1, n, now_ms, quote(n * 30, 100 + n, 10 * n)) for n in range(1, 5)]
    hole = {"what": "unrecorded", "from_ms": now_ms, "to_ms": now_ms, "count": 3, "cause": "full"}
    records.append((wal.NOTE, 1, 0, now_ms, json.dumps(hole).encode()))
    records += [(wal.STOCK, 1, n, now_ms, quote(n * 30, 100 + n, 10 * n)) for n in range(8, 13)]
    path.write_bytes(wal.MAGIC + b"".join(map(wal.encode, records)))
    bars = rows(recover(tmp_path, clock.now().date(), 10).lines[KEY, ROOM, 33_300], Interval.M1)
    assert [(row[2] - OPEN, row[7], row[9]) for row in bars] == [
        (0, 0, False), (60, 20, True), (120, 10, False), (240, 10, False), (300, 20, True),
        (360, 10, False),
    ]  # fmt: skip


def test_recovery_is_fast(tmp_path):
    """A day's log is read at a rate that brings a million ticks back in seconds."""
    book = Logbook(tmp_path, lambda: heads(["1m", "5m"]))
    now_ms, chance = time.time_ns() // 1_000_000, random.Random(5)
    for number in range(60_000):
        raw = quote(number // 20, 100 + chance.randrange(99) / 20, number)
        book.append(wal.STOCK, 1, number + 1, now_ms, raw)
    book.commit()
    began = time.process_time()
    past = recover(tmp_path, clock.now().date(), 65_536)
    rate = past.records / (time.process_time() - began)
    book.close()
    print(f"{rate:,.0f} records/s")
    assert past.sequences == {ROOM: 60_000}
    assert rate > 50_000, "some 300,000 of the processor's own seconds"


@pytest.fixture
def hub(tmp_path):
    """A life that ends without a word: its log is simply not closed."""

    async def lived(frames, intervals=("1m",)):
        hub = Hub(tmp_path)
        hub.gaps.hours._proven["cash"] = [0, 2**62]  # gaps count at whatever hour this runs
        await hub.prepare("practice")
        consumer = hub.attach(Codec(JSON))
        ask(hub, consumer, intervals)
        for frame in frames:
            hub.on_stock(frame)
        hub.journal.commit()
        return hub, consumer

    return lived


def run(test):
    """Run a test on an event loop."""

    @functools.wraps(test)
    def ran(*arguments, **fixtures):
        asyncio.run(test(*arguments, **fixtures))

    return ran


def ask(hub, consumer, intervals=(), **options):
    wanted = [(KEY, ROOM, 33_300)]
    intervals = [Interval.parse(label) for label in intervals]
    hub.subscribe(consumer, 7, wanted, intervals, every=True, ticks=True, **options)


def read(consumer):
    return [json.loads(message) for message in consumer.messages()]


def last_snapshot(consumer):
    return [message for message in read(consumer) if message["op"] == "snapshot"][-1]


def kill(hub):
    """Let go of the log as the end of the process does."""
    os.close(hub.journal._logbook._lock)
    hub.journal._logbook._lock = None


@run
async def test_snapshot_after_a_restart_has_the_days_bars(hub):
    """The next life's snapshot continues sequences and bars, with the bar of the kill incomplete."""
    first, _ = await hub([quote(second, 100, second) for second in range(0, 200, 10)])
    kill(first)
    second, consumer = await hub([], intervals=["1m"])
    snapshot = last_snapshot(consumer)
    assert snapshot["sequences"] == {KEY: 20}
    assert [row[1] for row in snapshot["ticks"]] == [20]
    assert [(row[2] - OPEN, row[9], row[10]) for row in snapshot["bars"]] == [
        (0, False, False), (60, True, False), (120, True, False), (180, False, True),
    ]  # fmt: skip
    second.on_stock(quote(205, 100, 300))
    (batch,) = read(consumer)
    assert batch["ticks"][0][1] == 21
    opened, closed = batch["gaps"]
    assert opened == [KEY, closed[1], None, RESTARTED, "open"]
    assert closed == [KEY, *closed[1:3], RESTARTED, "closed"]
    assert closed[1] <= closed[2]


@run
async def test_who_was_away_is_told_again_over_a_restart(hub):
    """Every sequence after the one that was heard comes once, in order, from either life."""
    first, _ = await hub([quote(0, 100, n) for n in range(10)])
    kill(first)
    second, _ = await hub([quote(1, 100, n) for n in range(10, 15)])
    consumer = second.attach(Codec(JSON))
    ask(second, consumer, after={KEY: 4}, life=first.life)
    _, snapshot, before, behind = read(consumer)
    assert snapshot["sequences"] == {KEY: 15}
    assert snapshot["lost"] == []
    ticks = before["ticks"] + behind["ticks"]
    assert [row[1] for row in ticks] == list(range(5, 16))
    assert [row[17] for row in ticks] == list(range(4, 15))
    assert behind["ticks"][0][1] == 11
    assert behind["gaps"] == [[KEY, *behind["gaps"][0][1:3], RESTARTED, "closed"]]


@run
async def test_what_memory_lacks_is_read_from_the_log(hub, monkeypatch):
    """With a memory of three frames the rest comes from the file, and too much is reported lost."""
    from breeze_lab.relay import journal

    monkeypatch.setattr(journal, "_RECENT", 3)
    monkeypatch.setattr(journal, "_SLACK", 1)
    monkeypatch.setattr(journal, "_MOST_AGAIN", 8)
    only, _ = await hub([quote(0, 100, n) for n in range(12)])
    for after, expected, lost in (
        (6, range(7, 13), []),
        (1, range(5, 13), [[KEY, 2, 4, journal.GONE]]),
    ):
        consumer = only.attach(Codec(JSON))
        older = await only.lives.older([(KEY, ROOM, 33_300)], {KEY: after}, only.life)
        ask(only, consumer, after={KEY: after}, life=only.life, older=older)
        _, _, batch = read(consumer)
        assert [row[1] for row in batch["ticks"]] == list(expected)
        assert batch.get("lost", []) == lost


@run
async def test_numbers_of_a_life_without_a_log_are_not_guessed(hub):
    """What was heard in a life nobody recorded has a loss without an end, and numbers begin anew."""
    only, _ = await hub([quote(0, 100, n) for n in range(3)])
    for life, after in (("unheard of", 1), (only.life, 99)):
        consumer = only.attach(Codec(JSON))
        ask(only, consumer, after={KEY: after}, life=life)
        (_, snapshot) = read(consumer)
        assert snapshot["lost"] == [[KEY, after + 1, None, RESTARTED]]


@run
async def test_consumers_hear_that_nothing_is_recorded(hub, tmp_path):
    """A log that cannot be written costs no tick, is told to everybody, and so is its return."""
    first, _ = await hub([quote(0, 100, 1)])
    second, consumer = await hub([quote(0, 100, 2)])  # the first one still writes
    second.sweep()
    told = read(consumer)
    ticks = [
        message["ticks"] for message in told if message["op"] == "batch" and "ticks" in message
    ]
    assert [row[1] for rows in ticks for row in rows] == [2]
    (failed,) = (message for message in told if message["op"] == "recording")
    assert failed["on"] is False
    assert "Another process writes" in failed["error"]
    assert second.attach(Codec(JSON)).messages()[0].count(b"Another process") == 1
    kill(first)
    second.journal._logbook._retry_at = 0.0
    second.on_stock(quote(1, 100, 3))
    second.journal.commit()
    second.sweep()
    assert {"op": "recording", "on": True, "error": ""} in read(consumer)
    assert second.status()["wal"]["unrecorded"] == 2, "the tick and the note of the gap before it"


@run
async def test_another_markets_bars_are_not_continued(hub, tmp_path):
    """A practice market at another address is another market: its bars begin empty."""
    folder = tmp_path / "practice"
    notes = [*heads(["1m"]), {"what": "epoch", "epoch": 1, "stream": "http://127.0.0.1:1"}]
    book = Logbook(folder, lambda: notes)
    book.append(wal.STOCK, 1, 1, time.time_ns() // 1_000_000, quote(0, 100, 1))
    book.note({"what": "epoch", "epoch": 2, "stream": "http://127.0.0.1:2"})
    book.close()
    _, consumer = await hub([])
    snapshot = last_snapshot(consumer)
    assert (snapshot["sequences"], snapshot["ticks"], snapshot["bars"]) == ({KEY: 1}, [], [])
