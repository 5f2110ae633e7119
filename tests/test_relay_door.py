"""The relay as a process: its door, its bounds, its endings and its secrets."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest
from relay_home import Client, Share, ask, practice_login, practice_market, relay_home, stream_login
from stream_server import TOKEN, StreamServer, quote
from waiting import until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import unix_connect

from breeze_lab import clock, processes
from breeze_lab.relay.messages import BadRequest, parse

RELAY = [sys.executable, "-m", "breeze_lab.relay"]
MANY = 26_000


@pytest.fixture(scope="module")
def practice():
    """A practice market of our own: other tests' connections are not counted."""
    with practice_market() as market:
        yield market


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a relay yet."""
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders


def test_only_its_owner_can_open_the_door(home):
    """The socket and everything beside it are private."""
    with Client(home):
        path = home.socket("relay")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_second_relay_leaves_the_first_alone(home):
    """Starting another one exits 0 at once and the first still answers."""
    with Client(home) as client:
        subprocess.run(RELAY, check=True, timeout=60, capture_output=True)
        assert client.ask("status")["pid"] == client.welcome["pid"]


@pytest.mark.parametrize(
    "garbage",
    [
        "", "{", "null", "[]", '"op"', '{"op":"nonsense","id":4}', '{"op":"subscribe"}', b"\x00\xff", "😀" * 100,
        '{"op":"subscribe","id":4,"instruments":[{"key":"a","room":"4.1!False!"}],"bars":["7m"]}',
        '{"op":"subscribe","id":4,"instruments":[{"key":"a","room":"4.1!x\\n"}]}',
        '{"op":"subscribe","id":4,"instruments":[{"key":"a","room":"../etc"}]}',
        '{"op":"subscribe","id":4,"instruments":[]}',
        '{"op":"subscribe","id":4,"instruments":[{"key":"a","room":"4.3!2885"}]}',
        '{"op":"subscribe","id":-1,"instruments":[{"key":"a","room":"4.1!1"}]}',
        '{"op":"subscribe","id":4,"delivery":"some","instruments":[{"key":"a","room":"4.1!1"}]}',
        '{"op":"login","endpoints":{},"user":"u","token":"t","id":4}',
        '{"op":"login","endpoints":5,"user":"u","token":"t","id":4}',
        "[" * 10_000,
    ],
    ids=lambda garbage: repr(garbage)[:50],
)  # fmt: skip
def test_garbage_is_answered_with_an_error(shared, garbage):
    """Whatever is sent, the answer says what is wrong and the same connection goes on."""
    shared.raw(garbage)
    answer = shared.next()
    assert answer["op"] == "error"
    assert answer["error"]
    assert answer["message"]
    assert answer.get("id") == (4 if isinstance(garbage, str) and '"id":4' in garbage else None)
    status = shared.ask("status")
    assert (status["op"], status["rooms"]) == ("status", [])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One connection for all the garbage."""
    with (
        pytest.MonkeyPatch.context() as patch,
        relay_home(tmp_path_factory.mktemp("door"), patch) as home,
        Client(home) as client,
    ):
        yield client


def test_refusal_shows_no_token():
    """A login that cannot be read is refused without quoting it."""
    with pytest.raises(BadRequest) as refusal:
        parse(
            json.dumps({"op": "login", "endpoints": TOKEN, "user": "u", "token": [TOKEN]}),
            text=True,
        )
    assert TOKEN not in str(refusal.value)
    assert TOKEN not in repr(
        parse(json.dumps({"op": "login", "endpoints": {}, "user": "u", "token": TOKEN}), text=True)
    )


def test_oversize_message_ends_only_its_connection(home):
    """A frame beyond the limit closes that connection; the relay lives on."""
    with Client(home) as offender, Client(home) as bystander:
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - the close is seen by either
            offender.raw("x" * (2**20 + 1))
            offender.next()
        until(lambda: bystander.ask("status")["consumers"] == 1, "the offender's end")


def test_unknown_subprotocol_is_refused(home):
    """A client that offers no encoding we know gets no connection."""
    with Client(home), pytest.raises(InvalidStatus, match="400"):
        unix_connect(str(home.socket("relay")), "ws://relay/", subprotocols=["breeze-lab.99.json"])


def test_both_encodings_carry_the_same(home, server):
    """A JSON and a msgpack consumer read equal ticks and bars."""
    with Client(home) as one, Client(home, text=False) as two:
        one.login(stream_login(server))
        for client in (one, two):
            client.subscribe(Share(), bars=["1s"])
        until(lambda: server.rooms, "the join")
        server.emit(quote("4.1!2885", 101.5, 10, 1795352160))
        first, second = one.read("batch"), two.read("batch")
        assert first == second
        assert first["ticks"][0][:6] == [
            "NSE:RELIANCE",
            1,
            1,
            1795352160,
            first["ticks"][0][4],
            101.5,
        ]
        assert len(first["ticks"][0]) == 19
        assert len(first["bars"][0]) == 11
        assert server.most == 1


def tally(client):
    """Read until the newest tick; check that no sequence is missing or doubled, count the lost."""
    told, lost = 0, 0
    while True:
        batch = client.read("batch")
        for key, first, last, cause in batch.get("lost", ()):
            assert (key, first, cause) == ("NSE:RELIANCE", told + 1, "consumer too slow")
            lost += last - first + 1
            told = last
        for row in batch.get("ticks", ()):
            assert row[1] == told + 1
            told = row[1]
            if row[17] == MANY:  # the newest tick arrives whatever was lost
                return lost


def test_slow_consumer_is_told_exactly_what_it_lost(home, server):
    """One that does not read loses ticks with exact bounds; the other gets every one."""
    with Client(home, text=False, max_queue=1) as slow, Client(home, text=False) as quick:
        quick.login(stream_login(server))
        for client in (slow, quick):
            assert client.subscribe(Share())["op"] == "snapshot"
        until(lambda: server.rooms, "the join")
        now = int(time.time())
        with ThreadPoolExecutor() as pool:
            reading = pool.submit(tally, quick)
            server.emit(*(quote("4.1!2885", 100.0, n, now) for n in range(1, MANY + 1)))
            assert reading.result(100) == 0
        lost = tally(slow)
        assert lost > 0
        clients = {c["lost"] for c in quick.ask("status")["clients"]}
        assert clients == {0, lost}


def test_latest_consumer_gets_less_and_never_a_loss(home, server):
    """Conflation sends the newest tick of each instrument in each batch."""
    with Client(home) as client:
        client.say(op="hello", client="chart", flush_ms=200)
        client.login(stream_login(server))
        client.subscribe(Share(), delivery="latest")
        until(lambda: server.rooms, "the join")
        now = int(time.time())
        server.emit(*(quote("4.1!2885", 100.0, n, now) for n in range(1, 501)))
        rows = []
        while not rows or rows[-1][17] != 500:
            batch = client.read("batch")
            assert "lost" not in batch
            rows += batch["ticks"]
        assert len(rows) < 50
        assert client.ask("status")["clients"][0]["name"] == "chart"


def test_dead_consumer_releases_its_rooms(home, practice):
    """A kernel killed without a word leaves no room behind upstream."""
    code = (
        "import sys; from relay_home import *; client = Client(settings.folders());"
        "client.subscribe(Share()); print(client.read('batch')['op'], flush=True); sys.stdin.read()"
    )
    with Client(home) as client:
        client.login(practice_login(practice))
        kernel = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        with kernel:
            assert kernel.stdout.readline() == "batch\n"
            assert ask(practice["status_url"])["rooms"] == {"4.1!2885": 1}
            kernel.send_signal(signal.SIGKILL)
        until(lambda: ask(practice["status_url"])["rooms"] == {}, "leaving the room")
        assert client.ask("status")["consumers"] == 1


def test_relay_ends_on_a_signal_and_leaves_nothing_open(home, server):
    """SIGTERM closes upstream, removes socket and record and exits 0."""
    relay = subprocess.Popen([*RELAY, "--idle-exit", "0"], stderr=subprocess.PIPE)
    until(lambda: processes.running(home.runtime, "relay"), "the relay")
    with Client(home) as client:
        client.login(stream_login(server))
        relay.terminate()
        assert relay.wait(30) == 0
    relay.stderr.close()
    assert processes.running(home.runtime, "relay") is None
    assert not home.socket("relay").exists()
    until(lambda: not server.alive, "the end of the stream")


def test_relay_ends_although_somebody_does_not_read(home, server):
    """A frozen consumer cannot keep the relay from ending."""
    with Client(home) as client, Client(home, max_queue=1) as frozen:
        client.login(stream_login(server))
        frozen.subscribe(Share())
        until(lambda: server.rooms, "the join")
        server.emit(*(quote("4.1!2885", 100.0, n, 1795352160) for n in range(1, 8001)))
        until(lambda: client.ask("status")["clients"][1]["waiting"], "a full socket")
        os.kill(client.welcome["pid"], signal.SIGTERM)
        until(lambda: processes.running(home.runtime, "relay") is None, "the end", 9)


def test_relay_ends_when_nobody_listens(home):
    """Without a consumer it goes away by itself, and not while there is one."""
    relay = subprocess.Popen([*RELAY, "--idle-exit", "1.5"], stderr=subprocess.PIPE)
    until(lambda: processes.running(home.runtime, "relay"), "the relay")
    with Client(home) as client:
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > 3.2, "sweeps beyond its time")
        assert client.ask("status")["consumers"] == 1
    assert relay.wait(30) == 0
    relay.stderr.close()


def test_shutdown_is_answered_before_the_end(home):
    """Who asks the relay to end hears that it will."""
    with Client(home) as client:
        assert client.ask("shutdown") == {"op": "ok", "id": 1}
        until(lambda: processes.running(home.runtime, "relay") is None, "the end")


def test_no_token_is_in_log_status_or_messages(home, server):
    """The token goes upstream and nowhere else, at the loudest log level too."""
    with (home.runtime / "relay.log").open("wb") as log:
        relay = subprocess.Popen([*RELAY, "--log-level", "debug"], stderr=log)
    until(lambda: processes.running(home.runtime, "relay"), "the relay")
    with Client(home) as client:
        client.login(stream_login(server))
        client.subscribe(Share())
        until(lambda: server.rooms, "the join")
        server.emit(quote("4.1!2885", 101.5, 10, 1795352160))
        client.read("batch")
        client.say(op="login", endpoints={"name": TOKEN}, user="u", token=TOKEN)
        told = json.dumps([client.welcome, client.next(), client.ask("status")])
        server.refuse = True
        server.cut()
        told += json.dumps(client.read("state"))
    relay.terminate()
    relay.wait(30)
    assert server.auths[0]["token"] == TOKEN
    assert TOKEN not in told
    log_text = (home.runtime / "relay.log").read_text()
    assert "Upstream is connected" in log_text
    assert TOKEN not in log_text
    assert TOKEN not in (home.runtime / "relay.lock").read_text()
    (ticks,) = home.data.rglob("*.log")
    assert b"4.1!2885" in ticks.read_bytes()
    assert TOKEN.encode() not in ticks.read_bytes()
    assert stat.S_IMODE(ticks.stat().st_mode) == 0o600


def test_practice_login_is_remembered_and_a_real_one_never(home, server):
    """After a crash the relay finds the practice market again; a real token is on no disk."""
    memory = home.runtime / "relay-login.json"
    with Client(home) as client:
        client.login(stream_login(server))
        assert stat.S_IMODE(memory.stat().st_mode) == 0o600
        os.kill(client.welcome["pid"], signal.SIGKILL)
    until(lambda: processes.running(home.runtime, "relay") is None, "the crash")
    with Client(home) as client:
        until(lambda: client.ask("status")["upstream"]["state"] == "connected", "the memory")
        real = {**stream_login(server)["endpoints"].to_dict(), "name": "icici"}
        assert client.ask("login", endpoints=real, user="XY1", token=TOKEN)["op"] == "ok"
        assert [path.name for path in home.runtime.iterdir() if TOKEN in _text(path)] == []
    assert server.most == 1


def _text(path):
    return path.read_text(errors="replace") if path.is_file() else ""


def test_another_market_begins_with_empty_bars(home, server):
    """Prices of two markets never meet in one bar."""
    other = StreamServer()
    try:
        with Client(home) as client:
            client.login(stream_login(server))
            client.subscribe(Share(), bars=["1m"])
            until(lambda: server.rooms, "the join")
            now = int(clock.now().timestamp())
            server.emit(quote("4.1!2885", 100.0, 10, now))
            client.read("batch")
            client.login(stream_login(other))
            until(lambda: other.rooms, "the join at the other market")
            until(lambda: not server.alive, "the end of the first stream")
            snapshot = client.subscribe(Share(), bars=["1m"])
            assert (snapshot["ticks"], snapshot["bars"]) == ([], [])
            other.emit(quote("4.1!2885", 5.0, 10, now))
            bar = client.read("batch")["bars"][-1]
            assert bar[3:7] == [5.0, 5.0, 5.0, 5.0]
    finally:
        other.close()


def test_batch_flood_of_requests_is_bounded(home):
    """Thousands of requests whose answers nobody reads do not grow the relay for ever."""
    with Client(home, max_queue=1) as rude, Client(home) as polite:
        request = msgspec.json.encode({"op": "status", "id": 1})
        with pytest.raises((ConnectionClosed, TimeoutError)):  # noqa: PT012 - any of them may be the last
            for _ in range(200_000):
                rude.socket.send(request, text=True)
        assert polite.ask("status")["op"] == "status"


def test_one_market_at_a_time(home, server):
    """Prices of another market are refused while somebody listens, and can be had afterwards."""
    other = replace(server.endpoints, name="icici")
    with Client(home) as chart, Client(home) as kernel:
        kernel.login(stream_login(server))
        ours = server.endpoints.name
        assert chart.subscribe(Share(), market=ours)["op"] == "snapshot"
        refused = kernel.subscribe(Share(), market="icici")
        assert refused["error"] == "SubscriptionRefused"
        assert "one market at a time" in refused["message"]
        login = stream_login(server, endpoints=other.to_dict())
        answer = kernel.ask("login", **login)
        assert answer["error"] == "LoginError"
        assert "breeze-lab relay stop" in answer["message"]
        assert kernel.ask("status")["upstream"]["endpoints"] == ours, "the stream goes on"
        assert chart.ask("unsubscribe", keys=["NSE:RELIANCE"])["op"] == "ok"
        broken = {**other.to_dict(), "stream_url": "nowhere"}
        failed = kernel.ask("login", **stream_login(server, endpoints=broken))
        assert failed["error"] == "SettingsError"
        assert chart.subscribe(Share(), market=ours)["op"] == "snapshot", "nothing changed"
        assert chart.ask("unsubscribe", keys=["NSE:RELIANCE"])["op"] == "ok"
        assert kernel.ask("login", **login)["op"] == "ok"
        assert kernel.subscribe(Share(), market="icici")["op"] == "snapshot"
        assert chart.subscribe(Share(), market=ours)["error"] == "SubscriptionRefused"
