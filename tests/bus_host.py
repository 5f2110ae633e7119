"""A process that hosts an in-process bus until it is killed; run by `test_relay_bus`.

It writes each frame to its tick log, then publishes it, then says so; a reader
in the same process says what it is told. What it published in former lives comes
back from the logs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from pathlib import Path

from bus_judge import frame

from breeze_lab.relay import wal
from breeze_lab.relay.bus import Board, Heard, InProcess

ROOMS = ("4.1!1", "4.1!2", "4.1!3")


def say(*words: object) -> None:
    """Write one line that survives our death once it is written."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def restore(bus: InProcess, folder: Path) -> int:
    """Publish what former lives wrote; open the log of this one."""
    logs = sorted(folder.glob("*.log"))
    for path in logs:
        for record in wal.read(path):
            bus.publish(json.loads(record.data)[0], record)
    log = os.open(folder / f"{len(logs):06}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, wal.MAGIC)
    return log


async def read(bus: InProcess, after: dict[str, int], to: dict[str, int]) -> None:
    """Say what a reader is told, up to `to`; without that for ever."""
    places = dict(after)
    async for event in bus.read(ROOMS, after):
        if isinstance(event, Heard):
            places[event.room] = event.record.sequence
            say("heard", event.room, 0, event.record.sequence)
        else:
            places[event.room] = event.last
            say("missing", *event)
        if places == to:
            return


async def host(folder: Path, after: dict[str, int], rounds: int, kept: int) -> None:
    board = Board(kept)
    bus, reader = InProcess("practice", board), InProcess("practice", board)
    await bus.lead()
    log = restore(bus, folder)
    heads = {**dict.fromkeys(ROOMS, 0), **await bus.lead()}
    end = {room: head + 5 * rounds for room, head in heads.items()} if rounds else {}
    reading = asyncio.create_task(read(reader, after, end))
    for _ in range(rounds) if rounds else itertools.count():
        written = []
        for room in ROOMS:
            written += [(room, frame(room, heads[room] + n)) for n in range(1, 6)]
            heads[room] += 5
        os.write(log, b"".join(wal.encode(record) for _, record in written))
        for room, record in written:
            bus.publish(room, record)
        for room in ROOMS:
            say("published", room, 0, heads[room])
        await asyncio.sleep(0.001)
    await reading
    say("end", "-", 0, 0)


if __name__ == "__main__":
    asyncio.run(
        host(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    )
