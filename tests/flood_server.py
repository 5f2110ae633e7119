"""A broker's stream at any rate, in a process of its own: ``python flood_server.py RATE``.

Speaks the few packets a client needs and nothing of the broker's sense: whoever joins a room gets
its frames. Frames are numbered in ``volume`` over all rooms and say in ``average_price`` when they
were due, in seconds of the Unix clock modulo 100,000. Prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from breeze_lab.settings import Endpoints

CYCLE_S = 100_000
#: How often what is due is sent.
STEP_S = 0.002


class Flood:
    """The server as its user sees it.

    Parameters
    ----------
    rate
        Frames a second over all rooms of a connection.
    """

    def __init__(self, rate: int) -> None:
        command = [sys.executable, __file__, str(rate)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]
        url = f"http://127.0.0.1:{self.port}"
        names = [name for name in Endpoints.__dataclass_fields__ if name != "name"]
        self.endpoints = Endpoints(name="practice", **dict.fromkeys(names, url))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()


async def stream(connection, rooms, rate):
    """Send frames of `rooms` in turn, when they are due."""
    number, begun = 0, time.time()
    while True:
        await asyncio.sleep(STEP_S)
        due = int((time.time() - begun) * rate)
        while number < due:
            number += 1
            room = rooms[number % len(rooms)]
            moment = begun + number / rate
            price = 100 + (number * 7 % 200) / 100
            await connection.send(
                f'42["stock",["{room}",100.0,{price},110.0,90.0,0.5,{price - 0.05:.2f},5,'
                f'{price + 0.05:.2f},6,10,{moment % CYCLE_S:.6f},{number},1,1,"1.0L","",80.0,120.0,'
                f"{int(moment)},99.5]]"
            )


async def talk(connection, rate):
    rooms: list[str] = []
    sending = None
    await connection.send(
        '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
    )
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            if message.startswith("40"):
                await connection.send('40{"sid":"s"}')
            elif message.startswith("42"):
                name, asked = json.loads(message[2:])
                asked = [asked] if isinstance(asked, str) else asked
                if name == "join":
                    rooms += [room for room in asked if room not in rooms]
                else:
                    rooms[:] = [room for room in rooms if room not in asked]
                if rooms and sending is None:
                    sending = asyncio.create_task(stream(connection, rooms, rate))
    if sending is not None:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def main(rate):
    async with serve(
        lambda connection: talk(connection, rate), "127.0.0.1", 0, compression=None,
        ping_interval=None,
    ) as server:  # fmt: skip
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
