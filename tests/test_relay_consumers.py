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
from breeze_lab.relay.audience import Audiences
from breeze_lab.relay.consumers import Consumer, Watch
from breeze_lab.relay.hub import Hub
from breeze_lab.relay.market import Codec, Line
from breeze_lab.ticks import Tick

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


def quote(number):
    """Return a tick that says so in its volume."""
    return Tick("4.1!1", clock.from_epoch(OPEN), 100, 100, 100, 100, 100, volume=number)


class Instruments:
    """Lines that consumers watch, without a hub."""

    def __init__(self, *consumers, keys="abc", every=True, large=64):
        self.audiences = Audiences(uncut=1, large=large)
        self.lines = {key: Line(key, f"4.1!{key}", 33_300) for key in keys}
        self.sent = dict.fromkeys(keys, 0)
        self.order = 0
        for consumer in consumers:
            self.watch(consumer, keys, every=every)

    def watch(self, consumer, keys, *, every=True):
        """Let a consumer hear of more keys."""
        for key in keys:
            watch = self.lines[key].watches[consumer.number] = Watch(consumer, self.lines[key])
            watch.ticks, watch.every = True, every
            self.audiences.settle(self.lines[key])

    def leave(self, consumer, key):
        """Let it hear no more of one."""
        del self.lines[key].watches[consumer.number]
        self.audiences.settle(self.lines[key])
        consumer.forget(key)

    def tick(self, key):
        """Let a key tick."""
        self.order += 1
        self.sent[key] += 1
        self.lines[key].take(quote(self.order), self.sent[key], 1, 0, self.order)
        self.audiences.heard()


#: "tick" of one of three keys, a control message, or the socket becoming writable.
moves = st.lists(st.sampled_from(["a", "b", "c", "control", "flush"]), max_size=150)


@settings(deadline=None)
@given(moves, st.integers(3, 12), st.sampled_from([1, 64]))
def test_every_sequence_is_delivered_or_reported_lost_once(moves, limit, large):
    """Whatever happens between writes, sequences come in order, without hole or repetition."""
    consumer = Consumer(1, Codec(MSGPACK), limit)
    instruments = Instruments(consumer, large=large)
    sent, told, messages = instruments.sent, {"a": 0, "b": 0, "c": 0}, []
    for move in [*moves, "flush"]:
        if move == "flush":
            messages += read(consumer)
        elif move == "control":
            consumer.post({"op": "state"})
        else:
            instruments.tick(move)
    for message in messages:
        for key, first, last, _ in message.get("lost", ()):
            assert first == told[key] + 1
            told[key] = last
        for key, sequence, *_ in message.get("ticks", ()):
            assert sequence == told[key] + 1
            told[key] = sequence
    assert told == sent
    assert consumer.waiting == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=60, max_size=200))
def test_sleeper_wakes_to_the_newest_tick_of_each_key(keys):
    """A full queue keeps the newest tick of every key, and its memory is bounded."""
    consumer = Consumer(1, Codec(JSON), limit=10)
    instruments = Instruments(consumer)
    for key in keys:
        instruments.tick(key)
        assert consumer.waiting <= 10
    (batch,) = read(consumer)
    assert {row[0]: row[1] for row in batch["ticks"]} == {
        k: n for k, n in instruments.sent.items() if n
    }
    assert sum(last - first + 1 for _, first, last, _ in batch["lost"]) + len(
        batch["ticks"]
    ) == len(keys)
    assert consumer.lost + len(batch["ticks"]) == len(keys)


def test_latest_keeps_one_tick_per_key():
    """A conflated consumer gets the newest tick and no loss notice."""
    consumer = Consumer(1, Codec(JSON))
    instruments = Instruments(consumer, every=False)
    for _ in range(49):
        instruments.tick("a")
    (batch,) = read(consumer)
    assert batch.keys() == {"op", "ticks"}
    assert [row[:2] for row in batch["ticks"]] == [["a", 49]]


def test_control_messages_keep_their_place_between_ticks():
    """What was queued before a snapshot is sent before it, what comes later after it."""
    consumer = Consumer(1, Codec(JSON))
    instruments = Instruments(consumer)
    instruments.tick("a")
    consumer.post({"op": "snapshot"})
    instruments.tick("a")
    assert [message["op"] for message in read(consumer)] == ["batch", "snapshot", "batch"]


#: Of each of four consumers the keys it hears at first, and then ticks, flushes and moves.
crowds = st.lists(st.sets(st.sampled_from("abc")), min_size=4, max_size=4)
turns = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.sampled_from("abc")),
        st.tuples(st.sampled_from(["flush", "control"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["watch", "leave"]), st.integers(0, 3), st.sampled_from("abc")),
    ),
    max_size=80,
)  # fmt: skip


@settings(deadline=None)
@given(crowds, turns, st.sampled_from([1, 4, 1000]), st.sampled_from([1, 3, 64]), st.booleans())
def test_who_shares_ticks_hears_what_it_would_hear_alone(  # noqa: C901
    crowds, turns, uncut, large, mixed
):
    """Whoever else listens, each consumer gets every tick of what it watches, in their order."""
    codecs = (JSON, MSGPACK) if mixed else (MSGPACK, MSGPACK)
    consumers = [Consumer(n, Codec(codecs[n % 2])) for n in range(4)]
    instruments = Instruments()
    instruments.audiences = Audiences(uncut, large)
    held, due, heard = [set() for _ in consumers], [[] for _ in consumers], [[] for _ in consumers]

    def flush(number):
        for message in read(consumers[number]):
            heard[number] += [(row[0], row[1], row[17]) for row in message.get("ticks", ())]
            heard[number] += ["control"] if message["op"] == "state" else []

    for number, keys in enumerate(crowds):
        held[number] |= keys
        instruments.watch(consumers[number], sorted(keys))
    for turn in turns:
        match turn:
            case ("tick", key):
                instruments.tick(key)
                for number, keys in enumerate(held):
                    if key in keys:
                        due[number].append((key, instruments.sent[key], instruments.order))
                        assert consumers[number].wake.is_set()
            case ("flush", number):
                flush(number)
            case ("control", number):
                consumers[number].post({"op": "state"})
                due[number].append("control")
            case ("watch", number, key) if key not in held[number]:
                held[number].add(key)
                instruments.watch(consumers[number], key)
            case ("leave", number, key) if key in held[number]:
                flush(number)  # what still waits of it would be gone
                held[number].remove(key)
                instruments.leave(consumers[number], key)
    for number, consumer in enumerate(consumers):
        flush(number)
        assert heard[number] == due[number]
        assert consumer.waiting == 0
        assert len(consumer.audiences) <= len(held[number])


@pytest.mark.parametrize("large", [1, 64])
def test_leaving_one_instrument_keeps_what_waits_of_the_others(large):
    """Only the ticks of the one that was left are gone, encoded already or not."""
    consumer = Consumer(1, Codec(MSGPACK))
    instruments = Instruments(consumer, large=large)
    for number in range(30):
        instruments.tick("abc"[number % 3])
    instruments.leave(consumer, "b")
    instruments.tick("a")
    rows = [row for message in read(consumer) for row in message["ticks"]]
    expected = [("abc"[n % 3], n // 3 + 1, n + 1) for n in range(30) if n % 3 != 1]
    assert [(row[0], row[1], row[17]) for row in rows] == [*expected, ("a", 11, 31)]
    assert consumer.waiting == 0


def test_who_gets_the_same_ticks_gets_the_same_bytes():
    """Consumers written to in one moment share what was encoded, however many ticks it holds."""
    consumers = [Consumer(n, Codec(MSGPACK), limit=100_000) for n in range(3)]
    instruments = Instruments(*consumers)
    last = 0
    for upto in (9, 40, 70_000):
        for number in range(last, upto):
            instruments.tick("abc"[number % 3])
        told = [consumer.messages() for consumer in consumers]
        assert told[0] == told[1] == told[2]
        assert all(one is two for one, two in zip(told[0], told[1], strict=True))
        batches = [msgspec.msgpack.decode(message) for message in told[0]]
        rows = [row for batch in batches for row in batch["ticks"]]
        assert [row[17] for row in rows] == list(range(last + 1, upto + 1))
        for batch in batches:
            bounds = {}
            for key, sequence, *_ in batch["ticks"]:
                bounds[key] = bounds.get(key, (sequence,))[0], sequence
            if "last" in batch:
                told_of = {key: (batch["first"][key], batch["last"][key]) for key in batch["last"]}
                assert told_of == bounds
        last = upto


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
