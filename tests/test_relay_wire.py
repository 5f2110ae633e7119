"""The wire speaks Engine.IO 4 and Socket.IO 5 as python-socketio does."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from socketio.packet import Packet
from stream_server import TOKEN, StreamServer
from waiting import until
from websockets.frames import Opcode

from breeze_lab.errors import SettingsError
from breeze_lab.relay import link as link_module
from breeze_lab.relay import wire
from breeze_lab.relay.link import LinkRefused, open_link, socket_address
from breeze_lab.relay.upstream import Backoff, Pace

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = range(5)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


def theirs(kind, data=None, **more) -> str:
    """Return the websocket message python-socketio sends for a packet."""
    return "4" + Packet(kind, data=data, **more).encode()


@pytest.fixture
def server():
    """A stream of our own, pinging four times a second."""
    server = StreamServer(ping_interval_s=0.25)
    yield server
    server.close()


@given(
    name=st.text(max_size=10),
    arguments=st.lists(values, max_size=3),
    ack=st.none() | st.integers(0, 99),
)
def test_events_read_what_python_socketio_writes(name, arguments, ack):
    """Any event comes out with its name and arguments, acknowledgement asked for or not."""
    event = wire.SocketIOClient({}).receive(theirs(EVENT, [name, *arguments], id=ack))
    assert (event.name, event.arguments) == (name, json.loads(json.dumps(arguments)))


@given(name=st.text(min_size=1, max_size=10), arguments=st.lists(values, max_size=3))
def test_python_socketio_reads_what_we_write(name, arguments):
    """Any event of ours is the same packet to the server."""
    packet = Packet(encoded_packet=wire.encode_event(name, *arguments)[1:])
    assert (packet.packet_type, packet.namespace) == (EVENT, None)  # None is the main namespace
    assert packet.data == [name, *arguments]


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (theirs(CONNECT, {"sid": "x"}), wire.Connected()),
        (theirs(CONNECT_ERROR, {"message": "no"}), wire.Refused("no")),
        (theirs(CONNECT_ERROR, "no"), wire.Refused("no")),
        (theirs(CONNECT_ERROR, ["no", 1]), wire.Refused("no")),
        (theirs(CONNECT_ERROR), wire.Refused("no reason given")),
        (theirs(DISCONNECT), wire.Closed("the server left the namespace")),
        (theirs(ACK, [1], id=3), wire.Ignored()),
        (theirs(EVENT, ["stock", 1], namespace="/other"), wire.Ignored()),
        ("1", wire.Closed("the server closed the transport")),
        ("6", wire.Ignored()),
        ("3probe", wire.Ignored()),
        ("2", wire.Pinged()),
    ],
)
def test_each_packet_has_one_meaning(message, event):
    """Every other packet of the protocol is understood, as text and as bytes."""
    assert wire.SocketIOClient({}).receive(message) == event
    assert wire.SocketIOClient({}).receive(message.encode()) == event


def test_handshake_is_answered_with_the_login_and_pings_with_pongs():
    """What has to be sent waits in order and is sent once."""
    client = wire.SocketIOClient({"user": "u", "token": "t"})
    assert client.data_to_send() == []
    opened = client.receive('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
    assert opened == wire.Opened(25.0, 20.0)
    client.receive("2probe")
    assert client.data_to_send() == ['40{"user":"u","token":"t"}', "3probe"]
    assert client.data_to_send() == []


@given(
    st.binary(max_size=40)
    | st.text(max_size=40)
    | st.text(alphabet='0123456-/,{}[]":ns', max_size=20)
)
def test_garbage_is_an_event_and_never_an_exception(message):
    """Whatever arrives is read, ignored or called malformed."""
    assert wire.SocketIOClient({}).receive(message).__class__.__module__ == "breeze_lab.relay.wire"


@pytest.mark.parametrize(
    "message",
    ["", "9", "4", "45-[{}]", "42{}", "42[]", "42[5]", "42[", "0", "0{}", "0[1]", "4" + "[" * 5000],
)
def test_unreadable_packet_is_malformed(message):
    """A packet without meaning says so."""
    assert isinstance(wire.SocketIOClient({}).receive(message), wire.Malformed)


def test_link_logs_in_joins_and_hears_events_in_order(server):
    """Against a real server: auth and agent seen, rooms joined, order kept, pings survived."""
    heard = []

    async def scenario() -> None:
        async with open_link(server.url, {"user": "u", "token": TOKEN}) as link:
            await link.emit("join", ["4.1!2885", "4.1!NIFTY 50"])
            reader = asyncio.create_task(link.read({"stock": heard.append}, pytest.fail))
            await asyncio.to_thread(until, lambda: len(server.rooms) == 2, "the join")
            await asyncio.to_thread(server.emit, *range(200))
            await asyncio.to_thread(until, lambda: len(heard) == 200, "200 events")
            begun = time.monotonic()  # the server drops who leaves two of its pings unanswered
            await asyncio.to_thread(until, lambda: time.monotonic() - begun > 0.8, "three pings")
            await asyncio.to_thread(server.emit, "still here")
            await asyncio.to_thread(until, lambda: len(heard) == 201, "the last event")
            reader.cancel()

    asyncio.run(scenario())
    assert [json.loads(raw) for raw in heard] == [*range(200), "still here"]
    assert server.auths == [{"user": "u", "token": TOKEN}]
    assert server.agents == ["python-socketio[client]/socket"]
    assert server.joins == [["4.1!2885", "4.1!NIFTY 50"]]


def test_refusal_carries_the_servers_reason(server):
    """A login the server does not want is refused with its words."""
    server.refuse = True

    async def scenario() -> None:
        async with open_link(server.url, {"user": "u", "token": "old"}):
            pytest.fail("the link opened")

    with pytest.raises(LinkRefused, match="session expired"):
        asyncio.run(scenario())


def test_silent_server_is_noticed():
    """A server that stops pinging is dead after interval plus timeout, not later."""

    async def silent(connection) -> None:
        await connection.send('0{"sid":"x","upgrades":[],"pingInterval":200,"pingTimeout":200}')
        await connection.recv()
        await connection.send('40{"sid":"y"}')
        await connection.wait_closed()

    async def scenario() -> float:
        from websockets.asyncio.server import serve

        async with serve(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            begun = loop.time()
            with pytest.raises(TimeoutError, match="nothing heard"):
                async with open_link(f"http://127.0.0.1:{port}", {}) as link:
                    await link.read({}, print)
            return loop.time() - begun

    assert 0.4 < asyncio.run(scenario()) < 2.0


@pytest.mark.parametrize("answers", [True, False], ids=["answered before", "never answers"])
def test_black_hole_is_noticed_before_the_servers_own_ping(monkeypatch, answers):
    """A peer that stops answering is dead soon; one that never answered, by its silence."""
    for name, value in (("_LOOK_S", 0.02), ("_PING_EVERY_S", 0.05), ("_PONG_PATIENCE_S", 0.3)):
        monkeypatch.setattr(link_module, name, value)

    async def vanishing(connection) -> None:
        await connection.send('0{"sid":"x","upgrades":[],"pingInterval":60000,"pingTimeout":60000}')
        if not answers:
            send = connection.protocol.send_frame
            connection.protocol.send_frame = lambda frame: (
                frame.opcode is Opcode.PONG or send(frame)
            )
        await connection.recv()
        await connection.send('40{"sid":"y"}')
        if answers:
            await asyncio.sleep(0.3)
            connection.transport.pause_reading()
        await connection.wait_closed()

    async def scenario() -> tuple[float, str]:
        from websockets.asyncio.server import serve

        async with serve(
            vanishing, "127.0.0.1", 0, close_timeout=0.1, ping_interval=None
        ) as server:
            port = server.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            begun = loop.time()
            opening = open_link(f"http://127.0.0.1:{port}", {}, mute_patience_s=0.6)
            with pytest.raises(TimeoutError) as caught:
                async with opening as link:
                    await link.read({}, print)
            assert link.mute is not answers
            return loop.time() - begun, str(caught.value)

    took, verdict = asyncio.run(scenario())
    if answers:
        assert "no answer to a ping for" in verdict
    else:
        assert "nothing heard for 0." in verdict
    assert took < 1.9


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:5001", ("ws://127.0.0.1:5001/socket.io/?EIO=4&transport=websocket", True)),
        ("http://localhost:5001/any/path?q", ("ws://localhost:5001/socket.io/?EIO=4&transport=websocket", True)),
        ("http://[::1]:5", ("ws://[::1]:5/socket.io/?EIO=4&transport=websocket", True)),
        ("https://livestream.icicidirect.com", ("wss://livestream.icicidirect.com/socket.io/?EIO=4&transport=websocket", False)),
    ],
)  # fmt: skip
def test_only_scheme_host_and_port_of_an_address_count(url, address):
    """The stream's address is made as the SDK makes it; loopback never meets a proxy."""
    assert socket_address(url) == address


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://x:y", "nonsense"])
def test_unusable_address_is_a_settings_error(url):
    """An address that is none is refused at once."""
    with pytest.raises(SettingsError):
        socket_address(url)


def test_backoff_doubles_with_jitter_up_to_its_limit():
    """Delays grow, stay below the limit and start again after a reset."""
    backoff = Backoff(first_s=0.2, longest_s=5.0)
    delays = [backoff.delay() for _ in range(12)]
    steps = [min(0.2 * 2**n, 5.0) for n in range(12)]
    assert all(step / 2 <= delay <= step for step, delay in zip(steps, delays, strict=True))
    assert len(set(delays[6:])) > 1
    backoff.reset()
    assert backoff.delay() <= 0.2


def test_a_day_of_short_connections_keeps_the_return_quick():
    """Whatever ended it, a connection that lived five seconds is followed by the next at once."""
    pace, now = Pace(0.0), 0.0
    for _ in range(2000):
        begun, now = now, now + 5.0
        wait = pace.after(begun, now, connected=True)
        assert wait <= 1.2
        now += wait


@pytest.mark.parametrize("connected", [True, False])
def test_a_server_that_lets_nobody_stay_is_asked_less_often(connected):
    """Connections that end at once make an outage that grows old, and so does none at all."""
    pace, now, waits = Pace(0.0), 0.0, []
    while now < 600:
        begun, now = now, now + 0.1
        waits.append(pace.after(begun, now, connected=connected))
        now += waits[-1]
    assert max(waits[:200]) <= 1.2
    assert min(waits[-20:]) >= 2.5
    assert max(waits) <= 5.0
    now += 30
    assert pace.after(now - 30, now, connected=True) <= 0.2
