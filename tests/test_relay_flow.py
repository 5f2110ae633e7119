"""The short way of frames: every message arrives, in order, however the bytes are cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from breeze_lab.relay import wire
from breeze_lab.relay.flow import Flow, Inflow


def frame(content: bytes, head: int = 0x81) -> bytes:
    """Return a server's websocket frame."""
    length = len(content)
    if length < 126:
        return bytes([head, length]) + content
    if length < 2**16:
        return bytes([head, 126]) + struct.pack(">H", length) + content
    return bytes([head, 127]) + struct.pack(">Q", length) + content


async def read(
    data: bytes, cuts: list[int], *, tapped: bool = True, kind: type[Flow] = Flow,
    max_size: int = 2**17,
) -> list[bytes]:  # fmt: skip
    """Send raw bytes in pieces; return what came, the tap's messages marked with a ``t``."""
    got: list[bytes] = []

    async def talk(socket) -> None:
        at = 0
        if tapped:
            await socket.recv()  # the tap is there; without one, data may follow the handshake
        for cut in [*cuts, len(data)]:
            socket.transport.write(data[at : at + cut])
            at += cut
            await asyncio.sleep(0)
        await asyncio.sleep(0.005)
        socket.transport.close()

    def tap(some: list[bytes]) -> int:
        taken = list(itertools.takewhile(lambda message: message.startswith(b"s"), some))
        got.extend(b"t" + message for message in taken)
        return len(taken)

    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(
            f"ws://127.0.0.1:{port}/", compression=None, create_connection=kind, max_size=max_size,
            proxy=None, close_timeout=0.1,
        ) as socket:  # fmt: skip
            assert isinstance(socket, Flow)
            if tapped:
                socket.tap = tap
                await socket.send(b"go")
            with contextlib.suppress(ConnectionClosed):
                while True:
                    got.append(await socket.recv(decode=False))
                    untapped = sum(not one.startswith(b"t") for one in got)
                    assert untapped <= socket.passed
    return got


messages = st.lists(
    st.sampled_from([b"s", b"o", b""]).flatmap(
        lambda kind: st.sampled_from([0, 5, 120, 124, 125, 126, 300, 70_000]).map(
            lambda size: kind + b"x" * size if kind else b""
        )
    ),
    max_size=8,
)


@given(messages, st.lists(st.integers(1, 200), max_size=30), st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_message_arrives_however_the_bytes_are_cut(sent, cuts, pinged):
    """No cut of the stream loses, repeats or reorders a message of its way."""
    ping = frame(b"", 0x89) if pinged else b""
    got = asyncio.run(read(b"".join(ping + frame(one) for one in sent), cuts))
    plain = [one.removeprefix(b"t") for one in got]
    tapped = [one for one in plain if one.startswith(b"s")]
    assert tapped == [one for one in sent if one.startswith(b"s")]
    assert [one for one in plain if not one.startswith(b"s")] == [
        one for one in sent if not one.startswith(b"s")
    ]


@pytest.mark.parametrize("cuts", [[], [1] * 40, [7, 300_000, 70_000] * 20], ids=["", "1", "many"])
def test_long_messages_pass_through_between_those_of_the_tap(cuts):
    """A binary message of any length arrives; one longer than a tap takes is not gathered here."""
    small, long, longer = b"s", b"s" * 300_000, b"s" * (2**20 + 1)
    sent = [small, long, b"o", longer, small, b"o" * 100_000, longer, long]
    data = b"".join(frame(one, 0x82) for one in sent)
    got = asyncio.run(read(data, cuts, kind=Inflow, max_size=2**22))
    assert [one for one in got if one.startswith(b"t")] == [
        b"t" + one for one in (small, long, small, long)
    ]
    assert [one for one in got if not one.startswith(b"t")] == [
        b"o", longer, b"o" * 100_000, longer,
    ]  # fmt: skip


def test_one_byte_at_a_time_is_enough():
    """The stream may come byte by byte."""
    data = b"".join(frame(b"s%03d" % n * 40) for n in range(5))
    assert len(asyncio.run(read(data, [1] * len(data)))) == 5


def test_fragments_are_joined_by_the_library():
    """A message in fragments comes whole, with a whole control frame between them."""
    data = frame(b"sa", 0x01) + frame(b"", 0x89) + frame(b"b", 0x80) + frame(b"sc")
    assert sorted(asyncio.run(read(data, []))) == [b"sab", b"tsc"]


@pytest.mark.parametrize(
    "wrong", [b"\xc1\x01x", b"\x81\x81abcdx", b"\x83\x01x", frame(b"x" * 2**18)],
    ids=["compressed", "masked", "unknown", "too long"],
)  # fmt: skip
def test_wrong_frame_ends_the_connection(wrong):
    """What no server may send ends the connection; what came before it counts."""
    got = asyncio.run(read(frame(b"s1") + wrong + frame(b"s2"), []))
    assert got == [b"ts1"]


def test_without_a_tap_it_is_a_plain_websocket():
    """Nothing changes for whoever does not ask for it."""
    assert asyncio.run(read(frame(b"s1") + frame(b"s2"), [1, 2], tapped=False)) == [b"s1", b"s2"]


@pytest.mark.parametrize(
    ("message", "raw"),
    [
        (b'42["stock",["4.1!1",1]]', b'["4.1!1",1]'),
        (b'42["stock",[]]', b"[]"),
        (b'42["stock",["a"],["b"]]', None),
        (b'42["stock",["a"],"b"]', None),
        (b'42["stock",["4.2!1",1,[[1],[2]]]]', None),
        (b'42["order",["a"]]', None),
        (b'42["stock",{"a":[]}]', None),
        (b"2", None),
        (b"", None),
    ],
)
def test_only_a_plain_stock_event_goes_the_short_way(message, raw):
    """What is cut out is what the careful reading finds; the rest goes the careful way."""
    assert wire.stock(message) == raw
    if raw is not None:
        event = wire.SocketIOClient({}).receive(message)
        assert event == wire.Received("stock", (raw,))


async def faults(kind: type[Flow], reads: int) -> int:
    """Return how often fresh pages were needed while so many small messages came."""
    told = asyncio.Event()

    async def talk(socket) -> None:
        await socket.recv()
        for _ in range(reads):
            socket.transport.write(frame(b"s" * 700))
            await asyncio.sleep(0.0001)
        told.set()

    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(
            f"ws://127.0.0.1:{port}/", compression=None, create_connection=kind, proxy=None
        ) as socket:
            assert isinstance(socket, Flow)
            socket.tap = len
            await socket.send(b"go")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            await told.wait()
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


class AsAsyncioHasIt(Flow):
    """A flow that reads as much at a time as asyncio asks for: the planted fault."""

    def connection_made(self, transport) -> None:
        """Undo the smaller reads."""
        super().connection_made(transport)
        del transport.max_size


def test_a_read_asks_the_system_for_no_memory():
    """Small reads need no fresh pages; at asyncio's own size each needs two.

    In a process whose C library does not learn from what it was asked for before.
    """
    code = "import asyncio, test_relay_flow as t\nprint(asyncio.run(t.faults(t.{}, 300)))"
    count = {
        kind.__name__: int(
            subprocess.run(
                [sys.executable, "-c", code.format(kind.__name__)],
                env={
                    **os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
                    "MALLOC_MMAP_THRESHOLD_": "131072",
                },
                stdout=subprocess.PIPE, check=True, timeout=60,
            ).stdout
        )
        for kind in (AsAsyncioHasIt, Flow)
    }  # fmt: skip
    assert count["Flow"] < 100
    if sys.platform == "linux":
        assert count["AsAsyncioHasIt"] > 300
