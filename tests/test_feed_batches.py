"""Batches of many ticks: whoever wants all of one is given it whole, and hears the same as ever."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from breeze_lab.feed import FeedTick, Lost, ticks
from breeze_lab.feed.entry import Entry
from breeze_lab.feed.loop import FeedLoop
from breeze_lab.feed.subscription import Subscription
from breeze_lab.settings import Folders

KEYS = ["NSE:A", "NSE:B", "NSE:C"]
NOTHING = [None] * 14


def feed_loop(*wishes):
    """Return a loop that is never connected, and what each of its subscriptions hears.

    A wish is its keys and the sequence it has heard of each.
    """
    folders = Folders(Path("runtime"), Path("cache"), Path("data"))
    loop, heard = FeedLoop(folders, "test"), []
    for token, (keys, seen) in enumerate(wishes):
        events = []
        subscription = Subscription(keys, [], "every", events.append)
        entry = Entry(
            [{}], {key: f"4.1!{key[-1]}" for key in keys}, (), "every", ticks=True, market="",
            target=lambda subscription=subscription: subscription, live=True,
            seen=dict.fromkeys(keys, seen),
        )  # fmt: skip
        entry.placing = not ticks.know(entry.rooms)
        loop._entries[token] = entry
        for key in keys:
            loop._by_key.setdefault(key, []).append(entry)
        heard.append(events)
    return loop, heard


def message(rows, *, bounds, **more):
    """Return a batch as the relay's door writes it."""
    parts = {"op": "batch", "ticks": rows, **more}
    if bounds:
        parts["first"] = {row[0]: row[1] for row in reversed(rows)}
        parts["last"] = {row[0]: row[1] for row in rows}
    return ticks.decode(msgspec.msgpack.encode(parts))


def told(events):
    return [
        (event.key, event.sequence, event.room) if isinstance(event, FeedTick) else event
        for event in events
    ]


@pytest.mark.parametrize("seed", range(40))
def test_bounds_change_nothing_of_what_is_heard(seed):
    """With and without them every subscription hears the same ticks, once and in order."""
    dice = random.Random(seed)
    wishes = [
        (dice.sample(KEYS, dice.randint(1, 3)), dice.choice([0, 0, 2, 5]))
        for _ in range(dice.randint(1, 3))
    ]
    known, said = dict.fromkeys(KEYS, 0), []
    for _ in range(4):
        rows = []
        for _ in range(dice.randint(1, 12)):
            key = dice.choice(KEYS[: dice.randint(1, 3)])
            known[key] += 1
            rows.append([key, known[key], 1, 1_795_352_160, 5, *NOTHING])
        said.append(rows)
    said.append(dice.choice(said))  # told again
    (plain, expected), (bounded, found) = feed_loop(*wishes), feed_loop(*wishes)
    for rows in said:
        plain._batch(message(rows, bounds=False))
        bounded._batch(message(rows, bounds=True))
    assert [told(events) for events in found] == [told(events) for events in expected]
    assert [entry.seen for entry in bounded._entries.values()] == [
        entry.seen for entry in plain._entries.values()
    ]
    for entry, events in zip(bounded._entries.values(), found, strict=True):
        assert all(event.room == entry.rooms[event.key] for event in events)


def test_loss_lies_before_the_ticks_of_a_whole_batch():
    """What is lost is told first, though the ticks need not be looked at."""
    loop, (events,) = feed_loop((KEYS[:1], 0))
    rows = [["NSE:A", number, 1, None, 5, *NOTHING] for number in (4, 5)]
    loop._batch(message(rows, bounds=True, lost=[["NSE:A", 1, 3, "slow"]]))
    assert events[0] == Lost("NSE:A", 1, 3, "slow")
    assert [event.sequence for event in events[1:]] == [4, 5]


def test_key_with_another_room_is_told_its_own():
    """Two homes may call two rooms by one key; each tick has the room it came from."""
    first, (one,) = feed_loop((["NSE:TWICE"], 0))
    second, (two,) = feed_loop((["NSE:TWICE"], 0))
    entry = second._entries[0]
    entry.rooms["NSE:TWICE"] = "1.1!9"
    entry.placing = not ticks.know(entry.rooms)
    rows = [["NSE:TWICE", number, 1, 1_795_352_160, 5, *NOTHING] for number in (1, 2, 3)]
    for loop in (first, second):
        loop._batch(message(rows, bounds=True))
    assert {(tick.room, tick.tick.room) for tick in one} == {("4.1!E", "4.1!E")}
    assert {(tick.room, tick.tick.room) for tick in two} == {("1.1!9", "1.1!9")}
