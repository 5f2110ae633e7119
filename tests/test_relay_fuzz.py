"""Whatever the broker sends, the relay lives, counts it, and delivers every good tick in between.

Frames are spoiled in their structure and in their bytes; what reaches lines of our code that
nothing reached before is kept and spoiled further. The plain run spoils some thousands;
``BREEZE_LAB_FUZZ=1000000`` is the whole campaign.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from breeze_lab.bars import Interval
from breeze_lab.relay import MSGPACK, wire
from breeze_lab.relay.hub import Hub
from breeze_lab.relay.market import Codec

COUNT = int(os.environ.get("BREEZE_LAB_FUZZ", "12000"))
#: One message in so many is watched line by line, which is slow.
WATCHED = 8
GOOD = "4.1!2885"

FRAMES = [
    ["4.1!10604", 885, 893.75, 894.75, 884, 0.94, 893.65, 15, 893.75, 561, 2, 891.46, 786772,
     280490, 296628, "70.14C", "", 796.9, 973.9, 1691559630, 885.4],
    ["1.1!543349", 1233.05, 1239, 1245, 1233.05, 0.74, 1238.1, 2, 1239.9, 1, 1, 1238.43, 3493,
     6435, 5653, "43.25L", "", 983.9, 1475.8, 1691387639, 1229.85],
    ["4.1!47869", 53.35, 43.05, 53.35, 31.7, -24.21, 42.9, 5250, 43.05, 3400, 100, 40.43, "", "",
     36079750, 393050, 613650, "145.87C", "", 0.05, 321.8, 1691387295, 56.8],
    ["8.1!844663", 210.0, 214.5, 220.0, 201.25, 2.1, 214.0, 20, 214.95, 40, 20, 212.4, 125000,
     5000, 900000, 1200, 1300, 1911.6, "", 0.05, 990.0, 1795352160, 210.05],
    ["6.1!247311", "32", " ", " ", 0, 0, 0, 0, 0, 0, 0, "", 268900, 0, 0, 0, 0, 0, 0, 464000,
     464000, 0, *[[0, 0, 0, "", 0, 0, 0, ""]] * 5],
    ["3.1!NIFTY 50", 1, 2, 3, 4, 5, 6, 1795352160, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    ["4.2!10604", 1691559630, [[885.4, 10, 2, "", 885.5, 12, 1, ""]] * 5],
    ["1.2!543349", 1691559630, [[885.4, 10, 885.5, 12]] * 5],
    ["8.2!844663", 1691559630, [[885.4, 10, 2, 885.5, 12, 1]] * 5],
]  # fmt: skip
ODD = [
    None, "", " ", "abc", "1e400", "NaN", 1e308, -1, 0, 2**31, 2**63, 2**70, -(2**53), True, [],
    {}, [None], {"a": [1]}, "4.1!2885", "\u0000", "\U0001f4c8", "9" * 400, 0.1, "12.5", -0.0,
    1691559630000, -1691559630,
]  # fmt: skip
ROOMS = ["1.1!1", "6.1!x", "3.1!1", "4.3!1", "8.1!844663", "!", ".", "4", "12.1!5", GOOD + "0"]
PACKETS = ["42", "42/x,", "420", "2", "3", "40", "4", "5", "45", "43", "", "6", "b4", "42[", "0{}"]


class Relay:
    """The decoder and the hub, with a consumer of one good room and watchers of the spoiled."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.consumer = self.hub.attach(Codec(MSGPACK))
        rooms = [GOOD, *(frame[0] for frame in FRAMES if frame[0].partition(".")[2][0] == "1")]
        wanted = [(room, room, 33_300) for room in rooms]
        self.hub.subscribe(
            self.consumer, 1, wanted, [Interval.S1, Interval.D1], every=True, ticks=True
        )
        self.protocol = wire.SocketIOClient({"user": "u", "token": "t"})
        self.good = 0
        self.heard: list[int] = []

    def take(self, message: bytes) -> str:
        """Take one websocket message as the link does; return what became of it."""
        event = self.protocol.receive(message)
        self.protocol.data_to_send()
        if isinstance(event, wire.Malformed):
            self.hub.on_malformed(event.reason)
            return "malformed"
        if isinstance(event, wire.Received) and event.name == "stock" and event.raw:
            before = self.hub.quarantine.count, self.hub.unasked
            self.hub.on_stock(event.raw[0])
            after = self.hub.quarantine.count, self.hub.unasked
            return {(0, 0): "delivered", (1, 0): "malformed", (0, 1): "unasked"}[
                after[0] - before[0], after[1] - before[1]
            ]
        return "nothing"

    def tick(self) -> None:
        """Take a good tick and read what the consumer gets: that tick last of its room."""
        self.good += 1
        frame = [GOOD, *FRAMES[0][1:]]
        frame[12] = self.good
        assert self.take(b'42["stock",' + json.dumps(frame).encode() + b"]") == "delivered"
        rows = []
        for encoded in self.consumer.messages():
            message = msgspec.msgpack.decode(encoded)
            assert not message.get("lost")
            rows += [row for row in message.get("ticks", ()) if row[0] == GOOD]
        assert rows[-1][17] == self.good
        self.heard += [row[1] for row in rows]


def test_no_frame_hurts_and_every_good_tick_arrives(monkeypatch):
    """No exception, an exact count of what was set aside, and no good tick lost between."""
    dice, relay, seen = random.Random(1), Relay(), set()
    monkeypatch.setattr("breeze_lab.relay.hub._log.disabled", True)
    corpus = [b'42["stock",' + json.dumps(frame).encode() + b"]" for frame in FRAMES]
    fates: Counter[str] = Counter()
    for number in range(COUNT):
        message = spoiled(dice, corpus)
        if number % WATCHED:
            fate = relay.take(message)
        else:
            fate, lines = watched(relay.take, message)
            if not lines <= seen and len(message) < 4000:
                corpus.append(message)
                seen |= lines
        fates[fate] += 1
        if number % 10 == 0:
            relay.tick()
    # Some spoiled frames are readable and of the good room, and then they count there.
    assert relay.heard == list(range(1, len(relay.heard) + 1))
    assert len(relay.heard) >= relay.good
    assert relay.hub.unasked == fates["unasked"]
    assert min(fates[kind] for kind in ("malformed", "unasked", "delivered", "nothing")) > 50
    assert len(corpus) > len(FRAMES) + 20  # the guide found new ways into the code
    assert relay.hub.status()["malformed"] == fates["malformed"]


def test_decoder_that_raises_is_noticed(monkeypatch):
    """The campaign fails on an exception that the relay does not expect."""

    def fragile(*_: object) -> None:
        raise ZeroDivisionError

    relay = Relay()
    monkeypatch.setattr("breeze_lab.relay.market.Line.take", fragile)
    with pytest.raises(ZeroDivisionError):
        relay.tick()


def spoiled(dice, corpus):
    """Return one of `corpus` with something wrong in its structure or its bytes, or both."""
    message = dice.choice(corpus)
    if dice.random() < 0.7:
        message = misshapen(dice, message)
    for _ in range(dice.choice([0, 0, 1, 1, 2, 5])):
        message = garbled(dice, message)
    return message


def misshapen(dice, message):
    """Return a message with wrong, missing or surplus elements."""
    try:
        event = json.loads(message[2:])
        frame = list(event[1])
    except (ValueError, IndexError, TypeError, KeyError, RecursionError):
        return message
    for _ in range(dice.randint(1, 3)):
        frame = dice.choice(SHAPES)(dice, frame or [None])
    name = "stock" if dice.random() < 0.9 else dice.choice(["order", "1MIN", 5, None])
    return b"42" + json.dumps([name, frame]).encode()


def wrong(dice, frame):
    at = dice.randrange(len(frame))
    return [*frame[:at], dice.choice(ODD), *frame[at + 1 :]]


def surplus(dice, frame):
    at = dice.randrange(len(frame) + 1)
    return [*frame[:at], dice.choice(ODD), *frame[at:]]


def missing(dice, frame):
    at = dice.randrange(len(frame))
    return frame[:at] + frame[at + 1 :]


def another_room(dice, frame):
    return [dice.choice(ROOMS), *frame[1:]]


def of_two(dice, frame):
    at = dice.randrange(len(frame))
    return frame[:at] + dice.choice(FRAMES)[at:]


def wrong_inside(dice, frame):
    rows = frame[-1]
    if not isinstance(rows, list) or not rows:
        return wrong(dice, frame)
    return [*frame[:-1], wrong(dice, rows)]


SHAPES = [wrong, wrong, surplus, missing, another_room, of_two, wrong_inside]


def garbled(dice, message):
    """Return a message with wrong, missing, surplus or repeated bytes."""
    at = dice.randrange(len(message) + 1)
    head, tail = message[:at], message[at:]
    return dice.choice([
        lambda: head + bytes([(tail[:1] or b"x")[0] ^ 1 << dice.randrange(8)]) + tail[1:],
        lambda: head,
        lambda: head + tail[dice.randint(1, 9) :],
        lambda: head + head[-20:] * dice.randint(1, 3) + tail,
        lambda: head + dice.randbytes(dice.randint(1, 4)) + tail,
        lambda: dice.choice(PACKETS).encode() + message[2:],
    ])()  # fmt: skip


def watched(work, message):
    """Return what `work` returns, and which lines of the relay's code it went through."""
    lines: set[tuple[str, int]] = set()
    ours = str(Path(wire.__file__).parent.parent)

    def local(frame, kind, _):
        if kind == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return local

    def call(frame, *_):
        return local if frame.f_code.co_filename.startswith(ours) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        return work(message), lines
    finally:
        sys.settrace(before)
