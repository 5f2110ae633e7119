"""The bus: what both engines promise, under repetition, trimming, slowness and SIGKILL."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import random
import subprocess
import sys
import time
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from bus_host import ROOMS
from bus_judge import faults, frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import RedisServer, needs_redis

from breeze_lab.errors import FeedDisconnected, FeedError, SettingsError
from breeze_lab.relay.bus import Board, Heard, InProcess, Missing
from breeze_lab.relay.bus_redis import RedisBus

A, B = "4.1!2885", "4.1!NIFTY 50"
PLENTY = 10_000_000  # records kept: all of them
KILLS = int(os.environ.get("BREEZE_LAB_KILLS", "3"))
_markets = itertools.count()


class Ends:
    """The ends of one bus; all are closed at last."""

    def __init__(self, server: RedisServer | None, kept: int) -> None:
        self.kept = kept
        self.server = server
        self.market = f"m{next(_markets)}"
        self.classes = {InProcess: InProcess, RedisBus: RedisBus}
        self._board = None if server else Board(kept)
        self._ends = []

    def end(self, **options):
        """Return a new end of the bus."""
        if self.server is None:
            bus = self.classes[InProcess](self.market, self._board, **options)
        else:
            bus = self.classes[RedisBus](
                self.server.address, self.market, kept=self.kept, **options
            )
        self._ends.append(bus)
        return bus

    async def leader(self, **options):
        """Return an end that publishes."""
        bus = self.end(**options)
        await bus.lead()
        return bus

    def break_links(self) -> None:
        """Cut every connection; in a process there is none."""
        if self.server is not None:
            self.server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def size(self, room: str) -> int:
        """Return how many records of a room are kept."""
        if self.server is None:
            return len(self._board.rooms[room].records)
        key = f"breeze-lab:1:{{{self.market}}}:room:{room}"
        return int(self.server.ask("XLEN", key).strip(b":\r\n"))

    async def close(self) -> None:
        for bus in self._ends:
            await bus.close()


@pytest.fixture(autouse=True, scope="module")
def tidy():
    """Collect the clients' cycles here: inside `ast.parse` that trips Python 3.11."""
    yield
    gc.collect()


@pytest.fixture(scope="module", params=["in-process", "redis"])
def engine(request, tmp_path_factory):
    """Open the ends of a bus on each engine."""
    server = None
    if request.param == "redis":
        needs_redis()
        # Here the histories are the point, not the disk; the kills have the log of commands.
        server = RedisServer(tmp_path_factory.mktemp("redis"), fsync="")

    @asynccontextmanager
    async def ends(kept: int = 1000):
        found = Ends(server, kept)
        async with asyncio.timeout(60):
            try:
                yield found
            finally:
                await found.close()

    yield ends
    if server is not None:
        server.close()


@pytest.fixture
def redis(tmp_path):
    """A Redis that a test may kill; what it confirmed it has written."""
    needs_redis()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.close()


def publish(bus, room, sequences):
    for sequence in sequences:
        bus.publish(room, frame(room, sequence))


async def heard(bus, after, upto):
    """Return what a reader is told until it is through with every room of `upto`."""
    events, places = [], dict(after)
    waits = {room for room, end in upto.items() if end > places.get(room, 0)}
    if not waits:
        return events
    async with aclosing(bus.read(upto, after)) as reading:
        async for event in reading:
            events.append(event)
            if end_of(event) >= upto[event.room]:
                waits.discard(event.room)
            if not waits:
                return events
    raise AssertionError("a read ended by itself")


def end_of(event):
    """Return the last sequence an event tells of."""
    return event.last if isinstance(event, Missing) else event.record.sequence


def numbers(events, room):
    return [e.record.sequence for e in events if isinstance(e, Heard) and e.room == room]


def test_two_rooms_interleaved_stay_in_order(engine):
    """A reader of two rooms hears every frame of each, in order and as it was published."""

    async def scenario():
        async with engine() as ends:
            bus = await ends.leader()
            for n in range(1, 701):
                publish(bus, A, [n])
                publish(bus, B, range(3 * n - 2, 3 * n + 1) if n <= 300 else [])
            await bus.flush()
            events = await heard(ends.end(), {}, {A: 700, B: 900})
            published = {A: list(range(1, 701)), B: list(range(1, 901))}
            assert faults(events, published, {}, 1000) == []
            assert len(events) == 1600

    asyncio.run(scenario())


def test_a_reader_that_waits_hears_what_comes(engine):
    """A room that nobody has published yet is waited for; new frames need no new read."""

    async def scenario():
        async with engine() as ends:
            bus = await ends.leader()
            reading = asyncio.create_task(heard(ends.end(), {A: 0}, {A: 40}))
            for n in range(1, 41):
                publish(bus, A, [n])
                await asyncio.sleep(0.002)
            assert numbers(await reading, A) == list(range(1, 41))

    asyncio.run(scenario())


def test_reading_goes_on_exactly_behind_what_was_heard(engine):
    """Stopped anywhere and begun again with its last numbers, a reader hears each frame once."""

    async def scenario():
        async with engine() as ends:
            bus, reader = await ends.leader(), ends.end()
            publish(bus, A, range(1, 101))
            publish(bus, B, range(1, 51))
            await bus.flush()
            places, told = {A: 0, B: 0}, []
            while places != {A: 130, B: 50}:
                async with aclosing(reader.read([A, B], places)) as reading:
                    for _ in range(5):  # 180 frames in all
                        event = await anext(reading)
                        told.append(event)
                        places[event.room] = end_of(event)
                if len(told) == 50:
                    publish(bus, A, range(101, 131))
                    ends.break_links()
            published = {A: list(range(1, 131)), B: list(range(1, 51))}
            assert faults(told, published, {A: 0, B: 0}, 1000) == []

    asyncio.run(scenario())


def test_what_was_trimmed_is_told_with_exact_bounds(engine):
    """A reader that comes too late is told what it missed, then hears the rest."""

    async def scenario():
        async with engine(kept=50) as ends:
            bus = await ends.leader()
            publish(bus, A, range(1, 501))
            publish(bus, B, [1, 2, 3, 9])
            await bus.flush()
            events = await heard(ends.end(), {A: 20, B: 0}, {A: 500, B: 9})
            first = numbers(events, A)[0]
            assert 300 < first <= 451
            missing = {event for event in events if isinstance(event, Missing)}
            # What was never on the bus is told as well.
            assert missing == {Missing(A, 21, first - 1), Missing(B, 4, 8)}
            published = {A: list(range(1, 501)), B: [1, 2, 3, 9]}
            assert faults(events, published, {A: 20, B: 0}, 50) == []
            fresh = await heard(ends.end(), {}, {A: 500, B: 9})
            assert faults(fresh, published, {}, 50) == []

    asyncio.run(scenario())


def test_publishing_again_changes_nothing(engine):
    """The same sequences over and over, also by another life, are one entry each."""

    async def scenario():
        async with engine(kept=50) as ends:
            for _ in range(5):
                bus = await ends.leader()
                publish(bus, A, range(1, 41))
                publish(bus, A, range(20, 41))
                await bus.flush()
            assert ends.size(A) == 40
            assert bus.status()["repeated"] == 61
            events = await heard(ends.end(), {A: 0}, {A: 40})
            assert faults(events, {A: list(range(1, 41))}, {A: 0}, 50) == []

    asyncio.run(scenario())


def test_a_newer_life_takes_over_and_the_sequences_go_on(engine):
    """It learns where the rooms stand; who is displaced says what it could not publish."""

    async def scenario():
        async with engine() as ends:
            old = await ends.leader(life="old")
            publish(old, A, range(1, 11))
            await old.flush()
            new = ends.end(life="new")
            assert await new.leader() == "old"
            assert await new.lead() == {A: 10}
            assert await old.leader() == "new"
            publish(old, A, range(11, 14))
            await old.flush()
            publish(old, A, [14])
            await old.flush()
            assert old.drops.ranges() == [Missing(A, 11, 14)]
            assert old.status()["leads"] is False
            publish(new, A, range(11, 21))
            await new.flush()
            events = await heard(ends.end(), {A: 0}, {A: 20})
            assert numbers(events, A) == list(range(1, 21))
            await new.close()
            assert await old.leader() == ""

    asyncio.run(scenario())


def test_what_is_wanted_is_the_union_of_the_living(engine):
    """A holder replaces what it wanted before; one that is not heard of loses its lease."""

    async def scenario():
        async with engine() as ends:
            one, two = ends.end(), ends.end()
            await one.want("one", [A, B], 0.4)
            await two.want("two", [B, "4.1!11536"], 30)
            assert await one.wanted() == sorted([A, B, "4.1!11536"])
            await two.want("two", ["4.1!11536"], 30)
            assert await two.wanted() == sorted([A, B, "4.1!11536"])
            deadline = time.monotonic() + 5
            while await two.wanted() != ["4.1!11536"]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await two.want("two", [], 30)
            assert await one.wanted() == []

    asyncio.run(scenario())


def test_a_slow_reader_bounds_what_is_kept(engine):
    """While it sleeps the bus keeps no more than it would; it wakes to exact bounds."""

    async def scenario():
        async with engine(kept=100) as ends:
            bus = await ends.leader()
            publish(bus, A, range(1, 11))
            await bus.flush()
            events = []
            async with aclosing(ends.end().read([A], {A: 0})) as reading:
                async for event in reading:
                    events.append(event)
                    if event.room == A and isinstance(event, Heard):
                        if event.record.sequence == 5:
                            for n in range(11, 5001, 10):
                                publish(bus, A, range(n, n + 10))
                                await asyncio.sleep(0)
                            await bus.flush()
                            assert 100 <= ends.size(A) <= 200
                        if event.record.sequence == 5000:
                            break
            assert faults(events, {A: list(range(1, 5001))}, {A: 0}, 100) == []
            assert len([e for e in events if isinstance(e, Heard)]) <= 210

    asyncio.run(scenario())


def test_what_is_not_counted_is_refused(engine):
    """The bus carries frames of rooms; a record without a sequence is an error."""

    async def scenario():
        async with engine() as ends:
            bus = await ends.leader()
            with pytest.raises(FeedError, match="sequence 0"):
                bus.publish(A, frame(A, 0))
            publish(bus, A, [1])  # before anybody led, and so not on the bus
            idle = ends.end()
            publish(idle, A, [2])
            assert idle.drops.ranges() == [Missing(A, 2, 2)]

    asyncio.run(scenario())


# -- histories ----------------------------------------------------------------

_steps = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from([A, B]), st.integers(1, 60)),
    st.tuples(st.just("skip"), st.sampled_from([A, B]), st.integers(1, 5)),
    st.tuples(st.just("again"), st.sampled_from([A, B]), st.integers(1, 30)),
    st.tuples(st.just("read"), st.sampled_from(["old", "new", "zero"])),
    st.tuples(st.just("cut")),
    st.tuples(st.just("succeed")),
)


async def history(ends, steps):
    """Play `steps`; return what the readers were told wrongly."""
    published, tops, places, wrong = {A: [], B: []}, {A: 0, B: 0}, {}, []
    bus, reader = await ends.leader(), ends.end()
    for step, *words in [*steps, ("read", "old"), ("read", "new")]:
        if step == "publish":
            room, count = words
            more = range(tops[room] + 1, tops[room] + count + 1)
            publish(bus, room, more)
            published[room] += more
            tops[room] += count
        elif step == "skip":  # frames that never reached the bus
            tops[words[0]] += words[1]
        elif step == "again":
            room, count = words
            publish(bus, room, published[room][-count:])
        elif step == "cut":
            ends.break_links()
        elif step == "succeed":
            await bus.flush()
            bus = await ends.leader()
        else:
            await bus.flush()
            after = {"old": places, "new": {}, "zero": {A: 0, B: 0}}[words[0]]
            ends_at = {room: found[-1] for room, found in published.items() if found}
            events = await heard(reader if words[0] == "old" else ends.end(), after, ends_at)
            wrong += faults(events, published, after, ends.kept)
            if words[0] == "old":
                places = {**places, **ends_at}
    return wrong


@settings(
    max_examples=int(os.environ.get("BREEZE_LAB_HISTORIES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_steps, max_size=25))
def test_every_history_is_told_once_and_truly(engine, steps):
    """Publishing, repeating, trimming, cut links and new lives: readers equal the model."""

    async def scenario():
        async with engine(kept=40) as ends:
            assert await history(ends, steps) == []

    asyncio.run(scenario())


# -- SIGKILL --------------------------------------------------------------------


async def kill_often(server, kills, bus, reader, patience_s=20.0):
    """Publish and read while `server` is killed; return what was told and what was published."""
    chance = random.Random(1)
    tops, places = dict.fromkeys(ROOMS, 0), dict.fromkeys(ROOMS, 0)
    killed, events = asyncio.Event(), []

    async def flood():
        while not killed.is_set():
            for room in ROOMS:
                publish(bus, room, range(tops[room] + 1, tops[room] + 6))
                tops[room] += 5
            await asyncio.sleep(0.005)

    async def read():
        async for event in reader.read(ROOMS, dict(places)):
            events.append(event)
            places[event.room] = end_of(event)

    await bus.lead()
    flooding, reading = asyncio.create_task(flood()), asyncio.create_task(read())
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.1, 0.4))
        server.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        await asyncio.to_thread(server.start)
    await asyncio.sleep(0.2)
    killed.set()
    await flooding
    await bus.flush()
    for _ in range(int(patience_s / 0.02)):
        if places == tops:
            break
        await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return events, {room: list(range(1, top + 1)) for room, top in tops.items()}


@pytest.mark.parametrize("fsync", ["always", "everysec"])
@pytest.mark.timeout(240 + 5 * KILLS)
def test_redis_killed_again_and_again_loses_nothing(tmp_path, fsync):
    """Every frame is heard once, in order, by a reader that stayed through all kills."""
    needs_redis()
    server = RedisServer(tmp_path, fsync)

    async def scenario():
        bus = RedisBus(server.address, "practice", kept=PLENTY)
        reader = RedisBus(server.address, "practice")
        try:
            events, published = await kill_often(server, KILLS, bus, reader)
            assert faults(events, published, dict.fromkeys(ROOMS, 0), PLENTY) == []
            assert not [event for event in events if isinstance(event, Missing)]
            assert bus.drops.count == 0
            print(f"{KILLS} kills, {len(events)} frames, {bus.status()['repeated']} sent again")
        finally:
            await bus.close()
            await reader.close()

    try:
        asyncio.run(scenario())
    finally:
        server.close()


@pytest.mark.timeout(240 + 5 * KILLS)
def test_a_host_killed_again_and_again_loses_nothing(tmp_path):
    """What the host of an in-process bus said it published is heard once, over all its lives."""
    chance = random.Random(1)
    events, places, tops = [], dict.fromkeys(ROOMS, 0), dict.fromkeys(ROOMS, 0)
    here = Path(__file__).parent
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    for life in range(KILLS + 1):
        last_one = life == KILLS
        command = [
            sys.executable, str(here / "bus_host.py"), str(tmp_path), json.dumps(places),
            "20" if last_one else "0", str(PLENTY),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as host:
            killed_at = time.monotonic() + chance.uniform(0.15, 0.5)
            what = ""
            for line in host.stdout:
                what, room, first, last = line.split()
                if what == "published":
                    tops[room] = int(last)
                elif what == "heard":
                    places[room] = int(last)
                    events.append(Heard(room, frame(room, int(last))))
                elif what == "missing":
                    places[room] = int(last)
                    events.append(Missing(room, int(first), int(last)))
                if not last_one and time.monotonic() > killed_at:
                    host.kill()  # what it had said is read to its end
            assert (what == "end") == last_one
    published = {room: list(range(1, top + 1)) for room, top in tops.items()}
    assert faults(events, published, dict.fromkeys(ROOMS, 0), PLENTY) == []
    assert not [event for event in events if isinstance(event, Missing)]
    print(f"{KILLS} kills, {len(events)} frames")


# -- Redis alone ----------------------------------------------------------------


def test_what_had_to_be_dropped_while_redis_was_away_is_known_exactly(redis, caplog):
    """The publisher names the bounds, and readers are told the very same."""

    async def scenario():
        bus, reader = RedisBus(redis.address, "m", waiting=50), RedisBus(redis.address, "m")
        await bus.lead()
        publish(bus, A, range(1, 31))
        await bus.flush()
        redis.kill()
        publish(bus, A, range(31, 131))
        publish(bus, B, range(1, 21))
        await asyncio.sleep(0.3)  # it has tried, and so some of them are on their way
        publish(bus, A, range(131, 231))
        status = bus.status()
        assert (status["connected"], status["dropped"] > 0) == (False, True)
        assert status["waiting"] <= 100
        with pytest.raises(FeedDisconnected, match="cannot be used"):
            await reader.want("one", [A])
        redis.start()
        await bus.flush()
        events = await heard(reader, {A: 0, B: 0}, {A: 230, B: 20})
        published = {A: list(range(1, 231)), B: list(range(1, 21))}
        dropped = bus.drops.ranges()
        assert faults(events, published, {A: 0, B: 0}, PLENTY, dropped) == []
        told = {
            (e.room, n) for e in events if isinstance(e, Missing) for n in range(e[1], e[2] + 1)
        }
        assert told == {(room, n) for room, a, b in dropped for n in range(a, b + 1)}
        assert len(told) == bus.drops.count == 120
        assert bus.status()["connected"]
        await bus.close()
        await reader.close()

    asyncio.run(scenario())
    assert "The bus is away" in caplog.text


def test_a_redis_that_forgot_is_told_the_newest_again(tmp_path):
    """After its death a Redis without a disk is given what was confirmed a moment ago."""
    needs_redis()
    redis = RedisServer(tmp_path, fsync="")

    async def scenario():
        bus, reader = RedisBus(redis.address, "m"), RedisBus(redis.address, "m")
        await bus.lead()
        publish(bus, A, range(1, 1501))
        await bus.flush()
        redis.kill()
        redis.start()
        publish(bus, A, range(1501, 1511))
        await bus.flush()
        events = await heard(reader, {A: 700}, {A: 1510})
        assert numbers(events, A) == list(range(701, 1511))
        await bus.close()
        await reader.close()

    try:
        asyncio.run(scenario())
    finally:
        redis.close()


def test_what_no_relay_wrote_is_missing_and_hurts_nobody(redis):
    """A foreign entry is told by its number; foreign wishes are none."""

    async def scenario():
        bus = RedisBus(redis.address, "m")
        await bus.lead()
        publish(bus, A, [1])
        await bus.flush()
        redis.ask("XADD", f"breeze-lab:1:{{m}}:room:{A}", "2-0", "x", "y")
        redis.ask("XADD", f"breeze-lab:1:{{m}}:room:{A}", "2-7", "k", "1")
        publish(bus, A, [3])
        await bus.flush()
        events = await heard(bus, {A: 0}, {A: 3})
        assert events[1:] == [Missing(A, 2, 2), Heard(A, frame(A, 3))]
        redis.ask("HSET", "breeze-lab:1:{m}:wants", "x", "no json")
        assert await bus.wanted() == []
        await bus.close()

    asyncio.run(scenario())


def test_the_password_is_shown_nowhere(tmp_path, caplog, capfd):
    """Neither when it is right nor when it is wrong, nor in an address that is none."""
    needs_redis()
    caplog.set_level("DEBUG")
    redis = RedisServer(tmp_path, password="s3cret-wordA")

    async def scenario():
        shown = []
        good = RedisBus(redis.address, "m")
        await good.lead()
        publish(good, A, [1])
        await good.flush()
        redis.kill()
        await asyncio.sleep(0.1)
        publish(good, A, [2])
        await asyncio.sleep(0.3)
        redis.start()
        await good.flush()
        wrong = RedisBus(redis.address.replace("wordA", "wordB"), "m")
        with pytest.raises(FeedDisconnected) as refused:
            await wrong.lead()
        for bus in (good, wrong):
            shown += [repr(bus), str(bus.status()), repr(bus._redis), repr(bus._task)]
            await bus.close()
        return [*shown, str(refused.value), repr(refused.value.__cause__)]

    try:
        shown = asyncio.run(scenario())
    finally:
        redis.close()
    for address in (
        "redis://:s3cret-/word@host", "http://:s3cret-word@host", "redis://:s3cret-word@host:x",
        "s3cret-word", "redis://host?password=s3cret-word&protocol=3",
    ):  # fmt: skip
        with pytest.raises(SettingsError, match="BREEZE_LAB_BUS is no address") as raised:
            RedisBus(address, "m")
        shown += [str(raised.value), repr(raised.value.__cause__)]
    shown += [caplog.text, *capfd.readouterr()]
    assert "redis://127.0.0.1:" in shown[0]
    assert not [text for text in shown if "s3cret" in text]


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    """The extra is optional; who sets an address without it is told its name."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(SettingsError, match=r"pip install 'breeze-lab\[redis\]'"):
        RedisBus("redis://127.0.0.1:1", "m")


# -- planted faults -------------------------------------------------------------


class FromNow(RedisBus):
    """The planted fault: after a lost connection it reads from now on."""

    def _told(self, exc):
        self.lost = True
        return super()._told(exc)

    def _from(self, place):
        if getattr(self, "lost", False):
            return "$"
        return super()._from(place)


class AnotherId(RedisBus):
    """The planted fault: each sending of a frame has an id of its own."""

    _counter = itertools.count()

    def _id(self, record):
        return f"{record.sequence}-{next(self._counter)}"


def test_a_reader_from_now_on_is_caught(redis):
    """The planted fault: what came while Redis was away is skipped, and the judge sees it."""

    async def scenario():
        bus, reader = RedisBus(redis.address, "m", kept=PLENTY), FromNow(redis.address, "m")
        events, published = await kill_often(redis, 2, bus, reader, patience_s=2.0)
        await bus.close()
        await reader.close()
        return faults(events, published, dict.fromkeys(ROOMS, 0), PLENTY)

    assert asyncio.run(scenario()) != []


def test_ids_that_differ_each_time_are_caught(redis):
    """The planted fault: repetitions take the room of frames that should be kept."""

    async def scenario():
        ends = Ends(redis, 40)
        ends.classes[RedisBus] = AnotherId
        steps = [("publish", A, 40), *[("again", A, 1)] * 60, ("read", "new")]
        try:
            return await history(ends, steps)
        finally:
            await ends.close()

    assert asyncio.run(scenario()) != []


def test_a_board_that_takes_repetitions_is_caught(monkeypatch):
    """The planted fault in the process: what is taken twice is told twice."""
    from breeze_lab.relay import bus

    def add(self, record, kept):
        self.records.append(record)
        return True

    monkeypatch.setattr(bus._Room, "add", add)

    async def scenario():
        ends = Ends(None, 40)
        steps = [("publish", A, 10), ("again", A, 5), ("publish", A, 1)]
        return await history(ends, steps)

    assert asyncio.run(scenario()) != []
