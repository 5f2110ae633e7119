"""Ticks today: the count goes on over a restart of the relay and begins anew at midnight."""

from __future__ import annotations

from test_relay_restore import KEY, ROOM, ask, heads, kill, quote, run

from breeze_lab import clock
from breeze_lab.relay import JSON, restore, today
from breeze_lab.relay.hub import Hub
from breeze_lab.relay.logbook import Logbook
from breeze_lab.relay.market import Codec, Line
from breeze_lab.relay.today import Today
from breeze_lab.relay.wal import Record


def row(hub, key=KEY):
    return next(one for one in hub.status()["instruments"] if one["key"] == key)


async def lived(folder, frames):
    """Return a hub that heard `frames`, which are in its log."""
    hub = Hub(folder)
    await hub.prepare("practice")
    ask(hub, hub.attach(Codec(JSON)))
    for frame in frames:
        hub.on_stock(frame)
    hub.journal.commit()
    return hub


@run
async def test_the_count_and_the_first_tick_survive_a_kill(tmp_path):
    """A second life counts on, tells the first tick of the first one, and so does a third."""
    first = await lived(tmp_path, [quote(n, 100, n) for n in range(10)])
    began = row(first)["first_ms"]
    assert row(first)["ticks"] == 10
    kill(first)
    second = await lived(tmp_path, [quote(n, 100, n) for n in range(10, 14)])
    assert (row(second)["ticks"], row(second)["first_ms"]) == (14, began)
    kill(second)
    third = await lived(tmp_path, [])
    assert (row(third)["ticks"], row(third)["first_ms"]) == (14, began)
    third.journal.close()


@run
async def test_the_count_goes_on_when_files_are_left_alone(tmp_path, monkeypatch):
    """Of a long day only the newest files are read: the count is in each file's head."""
    monkeypatch.setattr(restore, "_MOST_BYTES", 1)
    monkeypatch.setattr(restore.recover, "__defaults__", (1,))
    for _ in range(3):
        hub = await lived(tmp_path, [quote(n, 100, n) for n in range(5)])
        began = row(hub)["first_ms"]
        kill(hub)
    hub = await lived(tmp_path, [])
    assert hub.journal.past.records < 15
    assert row(hub)["ticks"] == 15
    assert row(hub)["first_ms"] == began
    hub.journal.close()


@run
async def test_an_instrument_that_is_wanted_again_goes_on(tmp_path):
    """The relay forgets a line that nobody wants, and not what came today; a second key agrees."""
    hub = await lived(tmp_path, [quote(n, 100, n) for n in range(3)])
    began = row(hub)["first_ms"]
    consumer = next(iter(hub.consumers.values()))
    hub.sweep()
    hub.unsubscribe(consumer, [KEY])
    hub.sweep(-1)
    assert hub.status()["instruments"] == []
    ask(hub, consumer)
    hub.subscribe(consumer, 8, [("OTHER", ROOM, 0)], [], every=False, ticks=True)
    hub.on_stock(quote(9, 100, 9))
    for key in (KEY, "OTHER"):
        assert (row(hub, key)["ticks"], row(hub, key)["first_ms"]) == (4, began)
    hub.journal.close()


def counted(monkeypatch, day):
    """Return a count in the middle of day number `day`, its sequences and its notes."""
    monkeypatch.setattr(today, "_day", lambda: day[0])
    sequences, notes, line = {"a": 0, "b": 0}, [], Line("K", "a", 0)
    return Today(sequences, {("K", "a", 0): line}, notes.append), sequences, notes, line


def test_midnight_begins_a_new_count(monkeypatch):
    """At the first look of the new day nothing has come yet; numbers go on."""
    day = [7]
    count, sequences, _, line = counted(monkeypatch, day)
    sequences["a"], line.first_ms = 40, 1234
    count.look()
    assert (count.count("a"), count.first_ms("a")) == (40, 1234)
    day[0] = 8
    assert count.head() == {"what": "today", "before": {"a": 40, "b": 0}, "first_ms": {}}
    sequences["a"] = 42
    assert (count.count("a"), line.first_ms) == (2, None)


def test_numbers_that_jump_are_no_ticks(monkeypatch):
    """What another relay heard is not counted, and the log is told of it."""
    count, sequences, notes, _ = counted(monkeypatch, [7])
    count.raise_to({"a": 100, "b": 0})
    assert (sequences["a"], count.count("a"), count.count("b")) == (100, 0, 0)
    for number in (101, 102, 110, 111):
        count.jump("a", number)
    assert (sequences["a"], count.count("a")) == (111, 4)
    assert [note["before"] for note in notes] == [{"a": 100}, {"a": 107}]


def test_a_log_without_the_note_is_counted(tmp_path):
    """What a former version wrote is counted record by record."""
    book = Logbook(tmp_path, heads)
    for number in range(6):
        book.append(1, 1, number + 1, int(clock.now().timestamp() * 1000), quote(number, 100, 1))
    book.commit()
    past = restore.recover(tmp_path, clock.now().date(), 10)
    book.close()
    assert past.counts == {ROOM: 6}


@run
async def test_a_follower_counts_what_the_bus_brought_it(tmp_path):
    """Its first frame has a high number, and the numbers before it were never heard here."""
    hub = Hub(tmp_path)
    await hub.prepare("practice")
    hub.following = True
    ask(hub, hub.attach(Codec(JSON)))
    now_ms = int(clock.now().timestamp() * 1000)
    for number in (5000, 5001):
        hub.on_bus(ROOM, Record(1, 1, number, now_ms, quote(number, 100, 1)))
    assert row(hub)["ticks"] == 2
    hub.journal.commit()
    kill(hub)
    assert row(await lived(tmp_path, []))["ticks"] == 2
