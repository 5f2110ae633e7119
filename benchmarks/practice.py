"""The practice market under load: ticks a second to one client of 2,000 rooms.

The generator is driven faster than it can go, so that what arrives is what it
can do; it is one process on less than one core, and the client counts in
another. The rival serves recorded frames through python-socketio, which is how
a market for tests is usually made: it computes nothing and only sends.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.request import Request, urlopen

from aiohttp import ClientSession, WSMsgType

from benchmarks import figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["run"]

_ROOMS: Final = 2000
#: Market seconds per second at which 2,000 instruments trade more than can be told.
_SPEED: Final = 20
_TICKS_PER_JIFFY: Final = os.sysconf("SC_CLK_TCK")
#: A cash quote as recorded, for the rival to send.
_FRAME: Final = [
    "4.1!10604", 885, 893.75, 894.75, 884, 0.94, 893.65, 15, 893.75, 561, 2, 891.46, 786772,
    280490, 296628, "70.14C", "", 796.9, 973.9, 1691559630, 885.4,
]  # fmt: skip


def run(*, quick: bool) -> None:
    """Print the figures."""
    rounds, seconds = (3, 4.0) if quick else (7, 10.0)
    ours: list[dict[str, float]] = []
    rival: list[dict[str, float]] = []
    for _ in range(rounds):
        with _practice() as record:
            ours.append(asyncio.run(_measure(record, _rooms(record), seconds)))
        with _rival() as record:
            rooms = [f"4.1!{number}" for number in range(_ROOMS)]
            rival.append(asyncio.run(_measure(record, rooms, seconds)))
    for name, unit in (
        ("ticks_per_second", "ticks/s"),
        ("ticks_per_cpu_second", "ticks/s of generator CPU"),
    ):
        line = figure("practice", name, [x[name] for x in ours], [x[name] for x in rival], unit,
                      bigger_is_better=True)  # fmt: skip
        print(line)
    needed = 10_000 / min(x["ticks_per_cpu_second"] for x in ours)
    for name, value in (
        ("cores_for_10000_ticks_per_second", round(needed, 2)),
        ("generator_cores", max(x["cores"] for x in ours)),
        ("rooms_heard", min(x["rooms"] for x in ours)),
    ):
        print(json.dumps({"benchmark": "practice", "figure": name, "ours": value}))


@contextlib.contextmanager
def _process(*command: str) -> Iterator[dict[str, Any]]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield {**json.loads(process.stdout.readline()), "pid": process.pid}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _practice() -> contextlib.AbstractContextManager[dict[str, Any]]:
    return _process(
        "-m", "breeze_lab.practice", "--json", "--paused", "--keep-sessions", "--no-limits",
        "--at", "2026-11-20T11:00",
    )  # fmt: skip


def _rival() -> contextlib.AbstractContextManager[dict[str, Any]]:
    return _process("-m", "benchmarks.practice")


def _rooms(record: dict[str, Any]) -> list[str]:
    """Return the quote rooms of 2,000 instruments, cash first."""
    with urlopen(record["master_url"]) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    found: list[str] = []
    for member, market in (("NSE", "4"), ("FONSE", "4"), ("BSE", "1"), ("FOBSE", "8")):
        lines = archive.read(f"{member}ScripMaster.txt").decode().split("\r\n")[1:]
        found += [f"{market}.1!{row[0]}" for row in csv.reader(lines)]
    return found[:_ROOMS]


def _auth(record: dict[str, Any]) -> dict[str, str]:
    if "api_session" not in record:
        return {"user": "any", "token": "any"}
    body = json.dumps({"SessionToken": record["api_session"], "AppKey": record["app_key"]})
    request = Request(record["api_url"] + "customerdetails", body.encode(), method="GET")
    with urlopen(request) as answer:
        token = json.loads(answer.read())["Success"]["session_token"]
    user, key = base64.b64decode(token).decode().split(":")
    return {"user": user, "token": key}


async def _measure(record: dict[str, Any], rooms: list[str], seconds: float) -> dict[str, float]:
    """Join every room, let the market run for `seconds`, count what arrives."""
    count, heard = 0, set[str]()
    async with _connected(record) as (client, socket):
        await socket.send_str("42" + json.dumps(["join", rooms]))
        if "control_url" in record:  # paused: wait for every room's first frame
            async with asyncio.timeout(60):
                while len(heard) < len(rooms):
                    message = await socket.receive()
                    if message.data.startswith("42"):
                        heard.add(json.loads(message.data[2:])[1][0])
            headers = {"Authorization": f"Bearer {record['control_token']}"}
            command = {"command": "clock", "speed": _SPEED, "paused": False}
            async with client.post(record["control_url"], json=command, headers=headers):
                pass
        began, cpu = time.perf_counter(), _cpu_s(record["pid"])
        while time.perf_counter() - began < seconds:
            message = await socket.receive()
            if message.type is not WSMsgType.TEXT:
                break
            if message.data.startswith("42"):
                count += 1
            elif message.data == "2":
                await socket.send_str("3")
        wall, used = time.perf_counter() - began, _cpu_s(record["pid"]) - cpu
    return {
        "ticks_per_second": count / wall,
        "ticks_per_cpu_second": count / max(used, 0.01),
        "cores": round(used / wall, 2),
        "rooms": float(len(heard)),
    }


@contextlib.asynccontextmanager
async def _connected(record: dict[str, Any]) -> AsyncIterator[tuple[ClientSession, Any]]:
    url = record["stream_url"] + "/socket.io/?transport=websocket&EIO=4"
    async with ClientSession() as client, client.ws_connect(url, max_msg_size=0) as socket:
        await socket.receive()
        await socket.send_str("40" + json.dumps(_auth(record)))
        await socket.receive()
        yield client, socket


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_JIFFY


def _serve_rival() -> None:
    """Serve a recorded frame to every joined room, as fast as python-socketio can."""
    import socketio
    from aiohttp import web

    server = socketio.AsyncServer(async_mode="aiohttp")
    rooms: dict[str, list[Any]] = {}

    async def join(sid: str, names: list[str]) -> None:
        for name in names:
            await server.enter_room(sid, name)
            rooms[name] = [name, *_FRAME[1:]]

    server.on("join", join)

    async def send() -> None:
        while True:
            for name, frame in list(rooms.items()):
                await server.emit("stock", frame, room=name)
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    async def serve() -> None:
        app = web.Application()
        server.attach(app)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(json.dumps({"stream_url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
        await send()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    _serve_rival()
