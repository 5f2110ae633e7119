"""Consumers of the door in a process of their own: ``python flood_readers.py COUNT ROOMS``.

Each wants every tick of all rooms and checks that none is missing or doubled. One JSON line a
second: how many ticks came, the 99th percentile of their age in ms, the newest number of each
consumer, how many were told lost, how many arrived, and what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import msgspec
from flood_server import CYCLE_S
from websockets.asyncio.client import unix_connect

from breeze_lab import settings
from breeze_lab.relay import MSGPACK

decode = msgspec.msgpack.Decoder().decode
encode = msgspec.msgpack.Encoder().encode


class Reader:
    """One consumer and its bookkeeping."""

    def __init__(self, ages: list[float]) -> None:
        self.ages = ages
        self.told: dict[str, int] = {}
        self.newest = self.lost = self.ticks = 0
        self.wrong: list[str] = []

    async def run(self, rooms: list[str], name: str) -> None:
        async with unix_connect(
            str(settings.folders().socket("relay")), "ws://relay/", compression=None,
            subprotocols=[MSGPACK], max_size=None, ping_interval=None,
        ) as socket:  # fmt: skip
            await socket.send(encode({"op": "hello", "client": name}))
            instruments = [{"key": room, "room": room} for room in rooms]
            await socket.send(encode({"op": "subscribe", "id": 1, "instruments": instruments}))
            while True:
                self.take(decode(await socket.recv(decode=False)))

    def take(self, message: dict) -> None:
        if message["op"] == "snapshot":
            self.told = {row[0]: row[1] for row in message["ticks"]}
        for key, first, last, _ in message.get("lost", ()):
            self.follow(key, first, last)
            self.lost += last - first + 1
        now = time.time() % CYCLE_S
        for row in message.get("ticks", ()) if message["op"] == "batch" else ():
            self.follow(row[0], row[1], row[1])
            self.newest = max(self.newest, row[17])
            self.ticks += 1
            self.ages.append((now - row[16]) * 1000)

    def follow(self, key: str, first: int, last: int) -> None:
        expected = self.told.get(key, first - 1) + 1
        if first != expected and len(self.wrong) < 9:
            self.wrong.append(f"{key}: {first} came, {expected} was due")
        self.told[key] = last


async def main(count: int, rooms: list[str]) -> None:
    ages: list[float] = []
    readers = [Reader(ages) for _ in range(count)]
    tasks = [
        asyncio.create_task(reader.run(rooms, f"reader {number}"))
        for number, reader in enumerate(readers)
    ]
    while not any(task.done() for task in tasks):
        await asyncio.sleep(1)
        ages.sort()
        line = {
            "ticks": len(ages),
            "p99_ms": ages[len(ages) * 99 // 100] if ages else None,
            "newest": [reader.newest for reader in readers],
            "lost": sum(reader.lost for reader in readers),
            "arrived": sum(reader.ticks for reader in readers),
            "wrong": [text for reader in readers for text in reader.wrong],
        }
        ages.clear()
        print(json.dumps(line), flush=True)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2].split(",")))
