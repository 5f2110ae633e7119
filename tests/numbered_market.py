"""A broker's stream that numbers what it sends, in a process of its own.

``python numbered_market.py RATE ROOM…`` sends RATE frames a second over its rooms in turn, whether
somebody listens or not; the n-th frame of a room says n in ``volume`` and ``last_quantity``. It
counts connections. Prints its port; each line on its standard input is answered with its counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from breeze_lab.settings import Endpoints

#: How often what is due is sent.
STEP_S = 0.004


class NumberedMarket:
    """The server as its user sees it."""

    def __init__(self, rate: int, rooms: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(rate), *rooms],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{json.loads(self.process.stdout.readline())['port']}"
        names = [name for name in Endpoints.__dataclass_fields__ if name != "name"]
        self.endpoints = Endpoints(name="practice", **dict.fromkeys(names, url))

    def counts(self):
        """Return connections now, at most and in all, the rooms joined now, and frames sent."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.process.stdin.close()
        self.process.stdout.close()


class Market:
    def __init__(self, rate, rooms):
        self.rate, self.rooms = rate, rooms
        self.joined = {}
        self.most = self.connections = self.sent = 0

    async def run(self):
        """Number every frame that is due, and send it to whoever joined its room."""
        number, begun = 0, time.monotonic()
        while True:
            await asyncio.sleep(STEP_S)
            due, now_s = int((time.monotonic() - begun) * self.rate), int(time.time())
            for connection, rooms in list(self.joined.items()):
                with contextlib.suppress(ConnectionClosed):
                    for at in range(number, due):
                        room = self.rooms[at % len(self.rooms)]
                        if room in rooms:
                            await connection.send(frame(room, at // len(self.rooms) + 1, now_s))
                            self.sent += 1
            number = due

    async def talk(self, connection):
        self.connections += 1
        self.joined[connection] = set()
        self.most = max(self.most, len(self.joined))
        try:
            await connection.send(
                '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,'
                '"maxPayload":1000000}'
            )
            async for message in connection:
                if message.startswith("40"):
                    await connection.send('40{"sid":"s"}')
                elif message.startswith("42"):
                    name, asked = json.loads(message[2:])
                    change = getattr(
                        self.joined[connection], "update" if name == "join" else "difference_update"
                    )
                    change([asked] if isinstance(asked, str) else asked)
        except ConnectionClosed:
            pass
        finally:
            del self.joined[connection]

    def counts(self):
        rooms = sorted(set().union(*self.joined.values())) if self.joined else []
        return {
            "alive": len(self.joined), "most": self.most, "connections": self.connections,
            "rooms": rooms, "sent": self.sent,
        }  # fmt: skip


def frame(room, number, now_s):
    price = 100 + number % 200 / 20
    return (
        f'42["stock",["{room}",100.0,{price},110.0,90.0,0.5,{price},5,{price},6,{number},100.0,'
        f'{number},1,1,"1.0L","",80.0,120.0,{now_s},99.5]]'
    )


async def main():
    market = Market(int(sys.argv[1]), sys.argv[2:])
    loop = asyncio.get_running_loop()

    def answer():
        for _ in sys.stdin:
            counts = asyncio.run_coroutine_threadsafe(asyncio.to_thread(market.counts), loop)
            print(json.dumps(counts.result()), flush=True)

    async with serve(
        market.talk, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=2**20
    ) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        threading.Thread(target=answer, daemon=True).start()
        await market.run()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
