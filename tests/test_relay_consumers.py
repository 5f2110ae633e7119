"""Delivery: every tick, or its loss with exact bounds; or the latest; never a race."""

from __future__ import annotations

import json
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breeze_lab import clock
from breeze_lab.bars import Interval
from breeze_lab.errors import SubscriptionRefused
from breeze_lab.relay import JSON, MSGPACK
from breeze_lab.relay.consumers import Consumer
from breeze_lab.relay.hub import Hub
from breeze_lab.relay.market import Codec, Line, Sample

OPEN = int(datetime(2026, 11, 20, 9, 15, tzinfo=ZoneInfo("Asia/Kolkata")).timestamp())
SECONDS = {Interval.S1}


def frame(room="4.1!2885", last=100.0, volume=10, second=0):
    """Return a 21-field quote as the JSON text that comes."""
    return json.dumps(
        [
            room,
            100,
            last,
            110,
            90,
            0.5,
            last,
            5,
            last,
            6,
            10,
            100.0,
            volume,
            1,
            1,
            "",
            "",
            80,
            120,
            OPEN + second,
            99.5,
        ]
    ).encode()


def read(consumer):
    """Return what waits for a consumer, decoded."""
    module = msgspec.json if consumer.codec.text else msgspec.msgpack
    return [module.decode(message) for message in consumer.messages()]


#: "tick" of one of three keys, a control message, or the socket becoming writable.
moves = st.lists(st.sampled_from(["a", "b", "c", "control", "flush"]), max_size=150)


@settings(deadline=None)
@given(moves, st.integers(3, 12))
def test_every_sequence_is_delivered_or_reported_lost_once(moves, limit):
    """Whatever happens between writes, sequences come in order, without hole or repetition."""
    consumer = Consumer(1, Codec(MSGPACK), limit)
    sent, told, messages = {"a": 0, "b": 0, "c": 0}, {"a": 0, "b": 0, "c": 0}, []
    for move in [*moves, "flush"]:
        if move == "flush":
            messages += read(consumer)
        elif move == "control":
            consumer.post({"op": "state"})
        else:
            sent[move] += 1
            consumer.take(Sample(move, sent[move], (move, sent[move])), every=True)
    for message in messages:
        for key, first, last, _ in message.get("lost", ()):
            assert first == told[key] + 1
            told[key] = last
        for key, sequence in message.get("ticks", ()):
            assert sequence == told[key] + 1
            told[key] = sequence
    assert told == sent
    assert consumer.waiting == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=60, max_size=200))
def test_sleeper_wakes_to_the_newest_tick_of_each_key(keys):
    """A full queue keeps the newest tick of every key, and its memory is bounded."""
    consumer = Consumer(1, Codec(JSON), limit=10)
    count = dict.fromkeys("abc", 0)
    for key in keys:
        count[key] += 1
        consumer.take(Sample(key, count[key], (key, count[key])), every=True)
        assert consumer.waiting <= 10
    (batch,) = read(consumer)
    assert dict(batch["ticks"]) == {k: n for k, n in count.items() if n}
    assert sum(last - first + 1 for _, first, last, _ in batch["lost"]) + len(
        batch["ticks"]
    ) == len(keys)
    assert consumer.lost + len(batch["ticks"]) == len(keys)


def test_latest_keeps_one_tick_per_key():
    """A conflated consumer gets the newest tick and no loss notice."""
    consumer = Consumer(1, Codec(JSON))
    for sequence in range(1, 50):
        consumer.take(Sample("a", sequence, ("a", sequence)), every=False)
    assert read(consumer) == [{"op": "batch", "ticks": [["a", 49]]}]


def test_control_messages_keep_their_place_between_ticks():
    """What was queued before a snapshot is sent before it, what comes later after it."""
    consumer = Consumer(1, Codec(JSON))
    consumer.take(Sample("a", 1, ("a", 1)), every=True)
    consumer.post({"op": "snapshot"})
    consumer.take(Sample("a", 2, ("a", 2)), every=True)
    assert [message["op"] for message in read(consumer)] == ["batch", "snapshot", "batch"]


@pytest.fixture
def hub():
    """A hub that is never connected: frames are handed to it."""
    return Hub()


def subscribe(
    hub, consumer, key="NSE:RELIANCE", room="4.1!2885", intervals=(), *, every=True, ticks=True
):
    """Subscribe and return the snapshot."""
    hub.subscribe(consumer, 7, [(key, room, 33_300)], intervals, every=every, ticks=ticks)
    return read(consumer)[-1]


def test_snapshot_then_updates_make_one_unbroken_sequence(hub):
    """A late subscriber's snapshot and updates join without hole and without repetition."""
    early, late = hub.attach(Codec(JSON)), hub.attach(Codec(MSGPACK))
    subscribe(hub, early)
    for second in range(5):
        hub.on_stock(frame(second=second))
    snapshot = subscribe(hub, late, intervals=SECONDS)
    hub.on_stock(frame(second=5))
    (batch,) = read(late)
    assert [row[1] for row in snapshot["ticks"]] == [5]
    assert [row[1] for row in batch["ticks"]] == [6]
    assert [row[1] for message in read(early) for row in message["ticks"]] == [1, 2, 3, 4, 5, 6]


def test_bars_wait_as_their_newest_state_and_none_is_skipped(hub):
    """However long a consumer sleeps, each closed bar arrives once and the forming one last."""
    consumer = hub.attach(Codec(JSON))
    subscribe(hub, consumer, intervals=SECONDS, every=False, ticks=False)
    for tick in range(400):
        hub.on_stock(frame(second=tick // 4, last=100 + tick % 4, volume=10 + tick))
    (batch,) = read(consumer)
    bars = batch["bars"]
    assert "ticks" not in batch
    assert [bar[2] for bar in bars] == [OPEN + n for n in range(100)]
    assert [bar[10] for bar in bars] == [False] * 99 + [True]
    assert [bar[9] for bar in bars] == [False] + [True] * 99  # heard from the first tick on
    assert {tuple(bar[3:8]) for bar in bars[1:]} == {(100, 103, 100, 103, 4)}


def test_bars_begin_from_the_last_tick_for_a_new_interval(hub):
    """A second consumer with another interval sees a forming bar at once, marked not whole."""
    consumer = hub.attach(Codec(JSON))
    subscribe(hub, consumer)
    hub.on_stock(frame(second=30, volume=100))
    snapshot = subscribe(hub, consumer, intervals={Interval.M1})
    assert snapshot["bars"] == [
        ["NSE:RELIANCE", "1m", OPEN, 100, 100, 100, 100, 0, None, False, True]
    ]
    hub.on_stock(frame(second=31, volume=130))
    assert read(consumer)[-1]["bars"][0][7] == 30


def test_rooms_are_counted_over_all_consumers(hub):
    """A room is wanted until its last consumer left and the linger passed."""
    one, two = hub.attach(Codec(JSON)), hub.attach(Codec(JSON))
    subscribe(hub, one)
    subscribe(hub, two)
    hub.unsubscribe(one, ["NSE:RELIANCE", "NSE:UNKNOWN"])
    hub.sweep(linger_s=-1)
    assert hub.upstream.rooms == ("4.1!2885",)
    hub.detach(two)
    hub.sweep(linger_s=60)
    assert hub.upstream.rooms == ("4.1!2885",), "a page reload must not flap"
    hub.sweep(linger_s=-1)
    assert hub.upstream.rooms == ()


def test_sequence_goes_on_after_a_room_was_left(hub):
    """Within the relay's life a key's sequence never starts again."""
    consumer = hub.attach(Codec(JSON))
    for expected in (1, 2):
        subscribe(hub, consumer)
        hub.on_stock(frame())
        assert read(consumer)[-1]["ticks"][0][1] == expected
        hub.unsubscribe(consumer, ["NSE:RELIANCE"])
        hub.sweep(linger_s=-1)


def test_unsubscribed_key_falls_silent_at_once(hub):
    """Nothing of a key comes after its unsubscription, though it waited before."""
    consumer = hub.attach(Codec(JSON))
    subscribe(hub, consumer, intervals=SECONDS)
    hub.on_stock(frame())
    hub.unsubscribe(consumer, ["NSE:RELIANCE"])
    hub.on_stock(frame(second=1))
    assert read(consumer) == []


def test_refused_subscription_changes_nothing(hub):
    """Too many rooms, or one key for two rooms, are refused as a whole."""
    consumer = hub.attach(Codec(JSON))
    subscribe(hub, consumer)
    with pytest.raises(SubscriptionRefused, match="already means room"):
        subscribe(hub, consumer, room="1.1!500325")
    with pytest.raises(SubscriptionRefused, match="2000"):
        hub.subscribe(
            consumer, 1, [(f"k{n}", f"4.1!{n}", 0) for n in range(2001)], (), every=True, ticks=True
        )
    assert list(consumer.watches) == ["NSE:RELIANCE"]
    assert hub.upstream.rooms == ("4.1!2885",)


def test_malformed_and_unasked_frames_are_counted_and_skipped(hub):
    """Good ticks between bad ones all arrive, and the count is exact."""
    consumer = hub.attach(Codec(JSON))
    subscribe(hub, consumer)
    for bad in (b"null", b"[]", b'"x"', frame()[:40], b'["4.1!2885"]', b'{"a":1}', b"[" * 9000):
        hub.on_stock(bad)
        hub.on_stock(frame())
    hub.on_stock(frame(room="4.1!11536"))
    assert len(read(consumer)[-1]["ticks"]) == 7
    status = hub.status()
    assert (status["frames"], status["malformed"], status["unasked"]) == (15, 7, 1)


def test_lost_link_marks_the_forming_bar():
    """After a gap the bar around it stays incomplete, the next one is whole."""
    line = Line("k", "4.1!1", 33_300)
    line.hold(SECONDS)
    from breeze_lab.ticks import decode_frame

    for second in range(6):
        if second == 3:
            line.gap()
        line.take(decode_frame(json.loads(frame(second=second))), second + 1, 1, 0)
    rows = line.series[Interval.S1].rows()
    # Second 0 began unheard, 2 was open when the link broke, 3 is the first after it.
    assert [row.values[9] for row in rows] == [False, True, False, False, True, True]
    assert line.gaps == 1


def test_idle_bars_are_forgotten():
    """An interval nobody wants any more costs nothing after the linger."""
    line = Line("k", "4.1!1", 33_300)
    line.hold({Interval.S1, Interval.M1})
    line.release({Interval.S1})
    line.drop_idle_series(before=clock.now().timestamp() * 10)
    assert set(line.series) == {Interval.M1}
