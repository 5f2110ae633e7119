"""Whatever consumers do, the relay asks the broker for what the living hold, and for no more.

The plain run tries some hundred histories; ``BREEZE_LAB_HISTORIES=5000`` is the whole campaign.
"""

from __future__ import annotations

import contextlib
import os
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from relay_home import Client, Share, relay_home, stream_login
from stream_server import StreamServer
from waiting import until

from breeze_lab.bars import Interval
from breeze_lab.errors import SubscriptionRefused
from breeze_lab.relay import JSON
from breeze_lab.relay.hub import MAX_ROOMS, Hub
from breeze_lab.relay.market import Codec

COUNT = int(os.environ.get("BREEZE_LAB_HISTORIES", "300"))
KEYS = "abcdef"
#: Two keys may mean one room, as a name and its broker spelling do.
ROOMS = {"a": "4.1!1", "b": "4.1!1", "c": "4.1!2", "d": "1.1!2", "e": "4.1!3", "f": "8.1!1"}

some_keys = st.sets(st.sampled_from(KEYS), min_size=1)
moves = st.one_of(
    st.tuples(st.just("come"), st.just(None)),
    st.tuples(st.just("subscribe"), some_keys),
    st.tuples(st.just("leave"), some_keys),
    st.tuples(st.just("die"), st.just(None)),
    st.tuples(st.just("sweep"), st.just(None)),
    st.tuples(st.just("refused"), some_keys),
)
histories = st.lists(st.tuples(st.integers(0, 4), moves), max_size=40)


def wanted(keys):
    return [(key, ROOMS[key], 33_300) for key in sorted(keys)]


class Model:
    """The hub beside what it should hold."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.holds: dict[int, tuple[object, set[str]]] = {}

    def move(self, who: int, kind: str, keys: set[str] | None) -> None:
        if kind == "come":
            if who not in self.holds:
                self.holds[who] = self.hub.attach(Codec(JSON)), set()
        elif kind == "sweep":
            self.hub.sweep(linger_s=-1)
        elif who in self.holds:
            consumer, held = self.holds[who]
            if kind == "die":
                self.hub.detach(consumer)
                del self.holds[who]
            elif kind == "leave":
                self.hub.unsubscribe(consumer, sorted(keys))
                held -= keys
            elif kind == "refused":
                key = min(keys)
                with contextlib.suppress(SubscriptionRefused):
                    self.hub.subscribe(
                        consumer, 1, [*wanted(keys - {key}), (key, "4.1!9", 33_300)],
                        [], every=True, ticks=True,
                    )  # fmt: skip
                    if key not in held:  # nothing contradicts it, so it is a subscription
                        self.hub.unsubscribe(consumer, sorted(keys - held))
            else:
                self.hub.subscribe(consumer, 1, wanted(keys), [Interval.M1], every=True, ticks=True)
                held |= keys

    @property
    def union(self) -> set[str]:
        return {ROOMS[key] for _, held in self.holds.values() for key in held}


@settings(max_examples=COUNT, deadline=None)
@given(histories)
def test_rooms_are_the_union_of_the_living(history):
    """After any history the rooms asked for are those held; before a sweep no held one lacks."""
    model = Model(Hub())
    for who, (kind, keys) in history:
        model.move(who, kind, keys)
        rooms = set(model.hub.upstream.rooms)
        assert rooms >= model.union
        if kind == "sweep":
            assert rooms == model.union
    model.hub.sweep(linger_s=-1)
    assert set(model.hub.upstream.rooms) == model.union
    for consumer, held in model.holds.values():
        assert set(consumer.watches) == held
    lines = {(line["key"], line["room"], line["consumers"]) for line in truth(model.hub)}
    assert lines == {
        (key, ROOMS[key], sum(key in held for _, held in model.holds.values()))
        for key in {key for _, held in model.holds.values() for key in held}
    }


def truth(hub):
    return hub.status()["instruments"]


def test_forgotten_release_is_noticed(monkeypatch):
    """A hub that keeps what a dead consumer held does not pass."""
    monkeypatch.setattr(Hub, "detach", lambda self, consumer: self.consumers.pop(consumer.number))
    model = Model(Hub())
    for move in (("come", None), ("subscribe", {"a"}), ("die", None), ("sweep", None)):
        model.move(0, *move)
    assert set(model.hub.upstream.rooms) != model.union


def test_broker_sees_the_union_through_a_real_relay(tmp_path, monkeypatch):
    """Consumers come, change their minds and die without a word: the broker's rooms are theirs."""
    dice = random.Random(7)
    with contextlib.ExitStack() as stack:
        server = StreamServer()
        stack.callback(server.close)
        home = stack.enter_context(relay_home(tmp_path, monkeypatch))
        keeper = stack.enter_context(Client(home))
        keeper.login(stream_login(server))
        living: dict[int, tuple[Client, set[str]]] = {}
        for _ in range(120):
            who = dice.randrange(6)
            client, held = living.get(who) or (stack.enter_context(Client(home)), set())
            living[who] = client, held
            keys = set(dice.sample(KEYS, dice.randint(1, 3)))
            match dice.choice(["subscribe", "subscribe", "leave", "die"]):
                case "subscribe":
                    for key in keys:
                        client.subscribe(Share(key, ROOMS[key]))
                    held |= keys
                case "leave":
                    client.ask("unsubscribe", keys=sorted(keys))
                    held -= keys
                case "die":
                    client.socket.socket.close()
                    del living[who]
        for client, held in living.values():  # so that something is left at the end
            client.ask("unsubscribe", keys=["d", "e"])
            held -= {"d", "e"}
        union = {ROOMS[key] for _, held in living.values() for key in held}
        assert 0 < len(union) < len(set(ROOMS.values()))
        until(lambda: server.rooms == union, "the rooms of the living")
        assert server.most == 1


def test_two_thousand_instruments_are_joined_in_one_message(tmp_path, monkeypatch):
    """As many instruments as the broker streams are asked for at once, and one more is refused."""
    with contextlib.ExitStack() as stack:
        server = StreamServer()
        stack.callback(server.close)
        home = stack.enter_context(relay_home(tmp_path, monkeypatch))
        client = stack.enter_context(Client(home, text=False))
        client.login(stream_login(server))
        wanted = [
            {"key": f"NSE:X{number}", "room": f"4.1!{number}", "anchor_s": 33_300}
            for number in range(MAX_ROOMS)
        ]
        assert client.ask("subscribe", instruments=wanted, bars=["1m"])["op"] == "snapshot"
        until(lambda: len(server.rooms) == MAX_ROOMS, "the join")
        assert max(len(join) for join in server.joins) == MAX_ROOMS
        refused = client.subscribe(Share("NSE:ONE", "4.1!9999"))
        assert (refused["op"], refused["error"]) == ("error", "SubscriptionRefused")
