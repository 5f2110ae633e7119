"""A flood of quotes on loopback, and those who read it; each in a process of its own.

The server speaks Breeze's wire as far as a client needs it to be let in and
sends prepared frames, so that it costs next to nothing: what is measured is
the reader. Everybody shares a `Board`. A flood waits while its slowest reader
is a window behind, so that nothing is dropped and what is counted is what can
be kept up; a paced flood sends every tick when it is due, whoever is behind,
with the microsecond it was due in place of the volume, and the milliseconds by
which the server was late itself in place of the average price.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import mmap
import os
import struct
import sys
import tempfile
import time
import zipfile
from array import array
from pathlib import Path
from typing import Any, Final

__all__ = ["ROOMS", "Board", "Share", "quote"]

#: So many instruments take turns.
ROOMS: Final = 50
_FIRST_TOKEN: Final = 10_000
_SLOTS: Final = 64
#: A reader tells its count this often; telling costs about as much as counting and looking.
_TELL: Final = 16
#: Ticks a flood may be ahead of its slowest reader; below what the relay keeps for a consumer.
_WINDOW: Final = 16_000
_CHUNK: Final = 500
_TIME, _VOLUME = 1_795_352_160, 123_456_789_012


class Board:
    """Counters that all processes of one measurement see.

    Parameters
    ----------
    path
        A file of this measurement; made when it is missing.

    Notes
    -----
    Slots 0 to 11 count what each reader was called with; 12 says go (1 flood, 2
    paced) and 13 counts what was sent; from 16 on each reader says that it is ready,
    from 32 on what it lost, from 48 on what came to it behind a later one. Each slot
    has one writer, because adding is two steps.
    """

    GO, SENT, READY, LOST, LATE = 12, 13, 16, 32, 48

    def __init__(self, path: Path) -> None:
        """Map the file."""
        if not path.exists():
            path.write_bytes(bytes(8 * _SLOTS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8 * _SLOTS)
        self.counts = memoryview(self._map).cast("q")

    def ready(self, readers: int) -> bool:
        """Say whether the first `readers` readers are."""
        return all(self.counts[self.READY : self.READY + readers])

    def lost(self, readers: int) -> int:
        """Return what the first `readers` readers were told to be lost."""
        return sum(self.counts[self.LOST : self.LOST + readers])

    def late(self, readers: int) -> int:
        """Return how many ticks came to the first `readers` readers behind a later one."""
        return sum(self.counts[self.LATE : self.LATE + readers])

    def slowest(self, readers: int) -> int:
        """Return the smallest count of the first `readers` readers."""
        return min(self.counts[:readers])


class Share:
    """An instrument of the flood, as the feed wants it."""

    anchor_s = 33_300

    def __init__(self, number: int) -> None:
        """Name it."""
        self.key = f"NSE:FLOOD{number}"
        self.quote_room = f"4.1!{_FIRST_TOKEN + number}"


def quote(
    number: int, time_s: int = _TIME, volume: int = _VOLUME, average: float = 891.46
) -> list[Any]:
    """Return the `number`-th frame, laid out as the broker's recorded quotes of NSE cash."""
    last = 893.75 + number % 97 * 0.05
    return [
        f"4.1!{_FIRST_TOKEN + number % ROOMS}", 885, round(last, 2), 894.75, 884, 0.94,
        round(last - 0.1, 2), 15, round(last + 0.1, 2), 561, 2, average, volume, 280490, 296628,
        "70.14C", "", 796.9, 973.9, time_s, 885.4,
    ]  # fmt: skip


def _message(number: int, *values: Any) -> bytes:
    """Return a frame as the unmasked websocket message that carries it."""
    event = json.dumps(["stock", quote(number, *values)], separators=(",", ":"))
    text = b"42" + event.encode()
    return (
        b"\x81"
        + (bytes([len(text)]) if len(text) < 126 else b"\x7e" + struct.pack(">H", len(text)))
        + text
    )


# -- the server -----------------------------------------------------------------


async def _serve(board: Board, readers: int, per_second: int) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    chunks = [
        b"".join(_message(at + n) for n in range(_CHUNK)) for at in range(0, 4 * _CHUNK, _CHUNK)
    ]

    async def talk(socket: ServerConnection) -> None:
        hello = {"sid": "a", "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000,
                 "maxPayload": 1_000_000}  # fmt: skip
        await socket.send("0" + json.dumps(hello))
        await socket.recv()
        await socket.send('40{"sid":"b"}')
        joined = asyncio.create_task(_listen(socket))
        while board.counts[Board.GO] == 0:  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.002)
        if board.counts[Board.GO] == 1:
            await _flood(socket, board, readers, chunks)
        else:
            await _pace(socket, board, per_second)
        await joined

    async with serve(talk, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await asyncio.get_running_loop().create_future()


async def _listen(socket: Any) -> None:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:  # joins: every room is sent anyway
            pass


async def _flood(socket: Any, board: Board, readers: int, chunks: list[bytes]) -> None:
    sent = 0
    while board.counts[Board.GO]:
        if sent - board.slowest(readers) > _WINDOW:
            await asyncio.sleep(0.0005)
            continue
        data = chunks[sent // _CHUNK % len(chunks)]
        # The market's clock goes on and the volume grows, at the price of two searches.
        data = data.replace(b"%d" % _TIME, b"%d" % int(time.time()))
        data = data.replace(b"%d" % _VOLUME, b"%d" % (_VOLUME + sent))
        socket.transport.write(data)
        await socket.drain()
        sent += _CHUNK
        board.counts[Board.SENT] = sent
        await asyncio.sleep(0)


async def _pace(socket: Any, board: Board, per_second: int) -> None:
    step, began, sent = 1 / per_second, time.monotonic(), 0
    while board.counts[Board.GO]:
        now, parts = time.monotonic(), []
        while (due := began + sent * step) <= now:
            late_ms = round((now - due) * 1000, 3)
            parts.append(_message(sent, int(time.time()), int(due * 1e6), late_ms))
            sent += 1
        if parts:
            socket.transport.write(b"".join(parts))
            board.counts[Board.SENT] = sent
        await asyncio.sleep(0.0005)


# -- the readers ----------------------------------------------------------------


def _endpoints(port: int) -> Any:
    from breeze_lab.settings import Endpoints

    names = [name for name in Endpoints.__dataclass_fields__ if name not in ("name", "calls")]
    return Endpoints(name="practice", **dict.fromkeys(names, f"http://127.0.0.1:{port}/"))


def _wait(board: Board, slot: int) -> None:
    board.counts[Board.READY + slot] = 1
    while sys.stdin.readline():  # until the measurement closes our input
        pass


def _read_feed(board: Board, slot: int, port: int, *, paced: bool) -> None:
    """Read as a notebook does: a callback of the feed."""
    from breeze_lab.feed import Feed, FeedTick, Lost

    counts = board.counts
    # Numbers and nothing else, because ten readers that keep objects collect them all at once.
    latencies, of_server = array("d"), array("d")
    clock = time.monotonic

    called = newest = 0

    def on_event(event: Any) -> None:
        nonlocal called, newest
        if type(event) is FeedTick:
            called += 1
            # The instruments take turns, so that no tick has a smaller number than any before.
            if event.sequence < newest:
                counts[Board.LATE + slot] += 1
            newest = event.sequence
            if not called % _TELL:
                counts[slot] = called
        elif isinstance(event, Lost):
            missed = (event.last or event.first) - event.first + 1
            called += missed
            counts[Board.LOST + slot] += missed

    def on_paced_event(event: Any) -> None:
        if type(event) is FeedTick:
            counts[slot] += 1
            latencies.append(clock() - (event.volume or 0) / 1e6)
            of_server.append((event.average_price or 0.0) / 1000)
        elif isinstance(event, Lost):
            counts[Board.LOST + slot] += (event.last or event.first) - event.first + 1

    feed = Feed()
    feed.login(_endpoints(port), "XY1", "flood", "flood", "2099-01-01T00:00:00+05:30")
    shares = [Share(number) for number in range(ROOMS)]
    feed.subscribe(shares, on_event=on_paced_event if paced else on_event)
    _wait(board, slot)
    feed.close()
    print(json.dumps(list(zip(latencies, of_server, strict=True))))


def _read_sdk(board: Board, slot: int, port: int) -> None:
    """Read as the README of the broker's SDK shows: ``on_ticks`` of the unmodified SDK."""
    import logging

    from breeze_lab import _sdk

    logging.disable(logging.CRITICAL)  # its own log of every frame would cost it more
    with tempfile.TemporaryDirectory() as folder:
        master = Path(folder) / "SecurityMaster.zip"
        with zipfile.ZipFile(master, "w") as archive:
            archive.writestr("NSEScripMaster.txt", '"Token", "ShortName"\r\n')
        sdk = _sdk.load(_endpoints(port), master)
    breeze = sdk.BreezeConnect(api_key="none")
    breeze.user_id, breeze.session_key = "XY1", "flood"
    breeze.token_script_dict_list = [{} for _ in range(6)]
    for number in range(ROOMS):
        breeze.token_script_dict_list[1][f"{_FIRST_TOKEN + number}"] = ["FLOOD", "Flood"]
    counts = board.counts

    def on_ticks(_: Any) -> None:
        counts[slot] += 1  # under the interpreter's lock, nearly

    breeze.on_ticks = on_ticks
    breeze.ws_connect()
    for number in range(ROOMS):
        breeze.subscribe_feeds(stock_token=Share(number).quote_room)
    _wait(board, slot)
    os._exit(0)  # its threads do not end


async def _read_bare(board: Board, slot: int, port: int) -> None:
    """Read with nothing between a websocket and the callback but a JSON decoder."""
    import msgspec
    from websockets.asyncio.client import connect

    decode, counts = msgspec.json.Decoder().decode, board.counts

    def on_tick(_: Any) -> None:
        counts[slot] += 1

    async with connect(
        f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket", compression=None,
        ping_interval=None, max_size=None, proxy=None,
    ) as socket:  # fmt: skip
        await socket.recv()
        await socket.send('40{"user":"x"}')
        await socket.recv()
        rooms = [Share(number).quote_room for number in range(ROOMS)]
        await socket.send("42" + json.dumps(["join", rooms]))
        board.counts[Board.READY + slot] = 1
        while True:
            message = await socket.recv(decode=False)
            if message[:2] == b"42":
                on_tick(decode(message[2:])[1])


def main() -> None:
    """Play one role until the input ends or the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood")
    parser.add_argument("role", choices=("server", "feed", "sdk", "bare"))
    parser.add_argument("board", type=Path)
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--per-second", type=int, default=5000)
    parser.add_argument("--paced", action="store_true")
    options = parser.parse_args()
    board = Board(options.board)
    if options.role == "server":
        asyncio.run(_serve(board, options.readers, options.per_second))
    elif options.role == "feed":
        _read_feed(board, options.slot, options.port, paced=options.paced)
    elif options.role == "sdk":
        _read_sdk(board, options.slot, options.port)
    else:
        asyncio.run(_read_bare(board, options.slot, options.port))


if __name__ == "__main__":
    main()
