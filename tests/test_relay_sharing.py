"""Relays that share one stream: who publishes, who follows, and what may be passed on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest
from redis_server import RedisServer, needs_redis
from relay_home import Share, relay_home, stream_login
from stream_server import StreamServer, quote
from waiting import until

from breeze_lab import processes, settings
from breeze_lab.feed import Feed, FeedState, FeedTick, Lost
from breeze_lab.relay import JSON
from breeze_lab.relay.bus import Board, InProcess
from breeze_lab.relay.hub import Hub
from breeze_lab.relay.market import Codec
from breeze_lab.relay.sharing import Sharing
from breeze_lab.relay.upstream import Login
from breeze_lab.settings import ICICI

KEY, ROOM = "NSE:RELIANCE", "4.1!2885"
PRACTICE = replace(ICICI, name="practice", stream_url="http://127.0.0.1:1")


class Desk:
    """Relays of one desk on an in-process bus, without their processes."""

    def __init__(self, kept=1000):
        self.boards = {}
        self.kept = kept
        self.ends = []

    def relay(self, owner, endpoints=None, shared=("practice",)):
        """Return a hub with a session when it has `endpoints`, and its sharing."""
        hub = Hub()
        if endpoints is not None:
            hub.upstream.login_held = Login(endpoints, "XY1", "token")
            hub.market = endpoints.name

        def end(market):
            board = self.boards.setdefault(market, Board(self.kept))
            return InProcess(market, board, f"{owner}:{hub.life}")

        sharing = Sharing(hub, end, set(shared))
        self.ends.append(sharing)
        return hub, sharing


@asynccontextmanager
async def desk(kept=1000):
    found = Desk(kept)
    yield found
    for sharing in found.ends:
        await sharing.close()


def subscribe(hub, *, every=True):
    consumer = hub.attach(Codec(JSON))
    hub.subscribe(consumer, 1, [(KEY, ROOM, 33_300)], [], every=every, ticks=True)
    return consumer


def take(subscription, count, timeout_s=30.0):
    """Return the next ticks; a loss among them fails the test."""
    ticks = []
    while len(ticks) < count:
        event = subscription.get(timeout_s=timeout_s)
        assert isinstance(event, (FeedTick, FeedState)), event
        ticks += [event] if isinstance(event, FeedTick) else []
    return ticks


def covered(subscription, last):
    """Return the numbers of the ticks and losses up to `last`, as they came."""
    found = [0]
    while found[-1] < last:
        event = subscription.get(timeout_s=30)
        assert event is not None, found
        if isinstance(event, FeedTick):
            found.append(event.sequence)
        elif isinstance(event, Lost):
            found += range(event.first, event.last + 1)
    return found[1:]


def trade(hub, *volumes, room=ROOM):
    for volume in volumes:
        raw = json.dumps(quote(room, 100.0, volume, 1_790_000_000)).encode()
        hub.on_stock(raw)


async def told(consumer, ready):
    """Return the ticks and losses a consumer got, once they are as many as `ready` says."""
    ticks, lost = [], []
    for _ in range(3000):
        for message in map(msgspec.json.decode, consumer.messages()):
            ticks += message.get("ticks", []) if message["op"] == "batch" else []
            lost += message.get("lost", []) if message["op"] == "batch" else []
        if len(ticks) + len(lost) >= ready:
            return ticks, lost
        await asyncio.sleep(0.01)
    raise AssertionError(f"{ticks} {lost}")


def test_a_follower_hears_the_publishers_frames_with_its_numbers():
    """The publisher joins what the others want, and their ticks are its ticks to the letter."""

    async def scenario():
        async with desk() as relays:
            ours, publisher = relays.relay("a", PRACTICE)
            theirs, follower = relays.relay("b")
            mine, other = subscribe(ours), subscribe(theirs)
            ours.upstream.epoch = 7
            trade(ours, 1, 2)  # before anybody followed
            await follower.look()
            assert theirs.upstream.state.error == "nobody publishes on the bus"
            await publisher.look()
            await follower.look()
            assert (publisher.role, follower.role) == ("publisher", "follower")
            assert theirs.upstream.state.state == "connected"
            trade(ours, 3, 4)
            expected, _ = await told(mine, 4)
            ticks, lost = await told(other, 2)
            assert ticks == expected[2:]
            assert [row[1:3] for row in ticks] == [[3, 7], [4, 7]]
            assert lost == []
            assert theirs.status()["bus"]["role"] == "follower"
            assert ours.status()["bus"]["published"] == 2

    asyncio.run(scenario())


def test_the_publisher_holds_exactly_what_is_wanted():
    """Rooms of others are joined without lines, and left when nobody wants them."""

    async def scenario():
        async with desk() as relays:
            ours, publisher = relays.relay("a", PRACTICE)
            theirs, follower = relays.relay("b")
            consumer = subscribe(theirs)
            board = relays.boards.setdefault("practice", Board())
            stranger = InProcess("practice", board)
            await stranger.want("stranger", ["4.1!1", "no room", "../x", "4.1!" + "x" * 99], 60)
            await follower.look()
            await publisher.look()
            assert set(ours.upstream.rooms) == {ROOM, "4.1!1"}
            assert ours.status()["bus"]["rooms"] == 2
            trade(ours, 1)
            assert ours.unasked == 0
            subscribe(ours)  # both want it now
            theirs.detach(consumer)
            theirs.sweep(-1)
            await follower.look()
            await stranger.want("stranger", [], 60)
            await publisher.look()
            assert ours.upstream.rooms == (ROOM,)
            for consumer in list(ours.consumers.values()):
                ours.detach(consumer)
            ours.sweep(-1)
            assert ours.upstream.rooms == ()

    asyncio.run(scenario())


def test_the_wishes_of_others_leave_room_for_our_own():
    """However much is wanted over the bus, the owner's next chart is not refused."""

    async def scenario():
        async with desk() as relays:
            ours, publisher = relays.relay("a", PRACTICE)
            greedy = InProcess("practice", relays.boards.setdefault("practice", Board()))
            await greedy.want("greedy", [f"4.1!{n}" for n in range(2000)], 60)
            await publisher.look()
            assert len(ours.upstream.rooms) == 1500
            assert ours.status()["bus"]["refused"] == 500
            subscribe(ours)
            assert ROOM in ours.upstream.rooms

    asyncio.run(scenario())


def test_real_prices_are_published_only_when_the_owner_says_so():
    """Without BREEZE_LAB_BUS_SHARE a real market's frames reach no bus."""

    async def scenario():
        async with desk() as relays:
            ours, silent = relays.relay("a", ICICI)
            await silent.look()
            assert silent.role == "private"
            assert ours.tap is None
            assert relays.boards == {}
            _, sharing = relays.relay("b", ICICI, shared=("practice", "icici"))
            await sharing.look()
            assert sharing.role == "publisher"

    asyncio.run(scenario())


def test_another_relay_waits_and_our_next_life_does_not():
    """A living publisher is displaced only by its own relay's next life; numbers go on."""

    async def scenario():
        async with desk() as relays:
            first, publisher = relays.relay("a", PRACTICE)
            reader, follower = relays.relay("c")
            consumer = subscribe(reader)
            await follower.look()
            await publisher.look()
            trade(first, 1, 2, 3)
            _, other = relays.relay("b", PRACTICE)
            await other.look()
            assert other.role == "standby"
            again, next_life = relays.relay("a", PRACTICE)
            await next_life.look()
            assert next_life.role == "publisher"
            trade(again, 4)
            ticks, lost = await told(consumer, 4)
            assert [row[1] for row in ticks] == [1, 2, 3, 4]
            assert lost == []
            await publisher.close()
            await next_life.close()
            await other.look()
            assert other.role == "publisher"

    asyncio.run(scenario())


def test_what_the_bus_lost_is_told_to_consumers():
    """A follower that was away hears the exact numbers it cannot have any more."""

    async def scenario():
        async with desk(kept=5) as relays:
            ours, publisher = relays.relay("a", PRACTICE)
            theirs, follower = relays.relay("b")
            consumer = subscribe(theirs)
            await follower.look()
            await publisher.look()
            trade(ours, 1, 2)
            await told(consumer, 2)
            await follower._stop_reading()
            trade(ours, *range(3, 31))
            await follower.look()
            ticks, lost = await told(consumer, 6)
            first = ticks[0][1]
            assert lost == [[KEY, 3, first - 1, "the bus no longer had them"]]
            assert [row[1] for row in ticks] == list(range(first, 31))

    asyncio.run(scenario())


def test_a_login_ends_the_following():
    """From its own session on a relay hears nothing of the bus, and forgets those prices."""

    async def scenario():
        async with desk() as relays:
            ours, publisher = relays.relay("a", PRACTICE)
            theirs, follower = relays.relay("b")
            consumer = subscribe(theirs)
            await follower.look()
            await publisher.look()
            trade(ours, 1)
            await told(consumer, 1)
            try:
                await theirs.login(Login(PRACTICE, "XY2", "token"))
                assert theirs.status()["instruments"][0]["last_ms"] is None
                trade(ours, 2, 3)
                await asyncio.sleep(0.05)
                assert theirs.status()["instruments"][0]["sequence"] == 1
                await follower.look()
                assert follower.role == "standby"
            finally:
                await theirs.upstream.close()

    asyncio.run(scenario())


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Two people's homes, and how to go there; their relays end with the test."""
    paths = {name: tmp_path / name for name in ("one", "two")}

    def enter(name):
        monkeypatch.setenv("BREEZE_LAB_HOME", str(paths[name] / "home"))
        return settings.folders()

    with relay_home(paths["one"], monkeypatch), relay_home(paths["two"], monkeypatch):
        yield enter


@pytest.mark.timeout(240)
def test_two_relays_share_one_stream_over_redis(homes, tmp_path, monkeypatch):
    """Processes, sockets and a Redis with a password: one upstream, the same ticks in both homes."""
    needs_redis()
    redis = RedisServer(tmp_path / "redis", password="bus-secret-4712")
    server = StreamServer()
    monkeypatch.setenv("BREEZE_LAB_BUS", redis.address)
    try:
        with Feed(homes("one")) as ours:
            ours.login(**stream_login(server))
            mine = ours.subscribe(Share())
            with Feed(homes("two")) as theirs:
                other = theirs.subscribe(Share())
                until(lambda: theirs.status()["bus"]["role"] == "follower", "the follower")
                until(lambda: ours.status()["bus"]["rooms"] == 1, "the wish")
                until(lambda: theirs.state.state == "connected", "the bus")
                server.emit(*(quote(ROOM, 100.0 + n, n, 1_790_000_000 + n) for n in range(1, 51)))
                expected, ticks = take(mine, 50), take(other, 50)
                assert [(t.sequence, t.epoch, t.tick) for t in ticks] == [
                    (t.sequence, t.epoch, t.tick) for t in expected
                ]
                assert server.most == 1
                redis.kill()
                server.emit(*(quote(ROOM, 90.0, n, 1_790_000_100) for n in range(51, 61)))
                redis.start()
                again = take(other, 10)
                assert [tick.sequence for tick in again] == list(range(51, 61))
                folder = homes("two").runtime
                killed = processes.running(folder, "relay")["pid"]
                os.kill(killed, signal.SIGKILL)
                server.emit(*(quote(ROOM, 80.0, n, 1_790_000_200) for n in range(61, 71)))
                until(
                    lambda: (processes.running(folder, "relay") or {}).get("pid", killed) != killed,
                    "the follower's next life",
                )
                server.emit(*(quote(ROOM, 70.0, n, 1_790_000_300) for n in range(71, 81)))
                assert covered(other, 80) == list(range(61, 81))
                texts = [str(feed.status()) for feed in (ours, theirs)]
        texts += [path.read_text() for path in tmp_path.rglob("relay.log")]
        assert len(texts) == 4
        assert not [text for text in texts if "bus-secret" in text]
    finally:
        server.close()
        redis.close()
