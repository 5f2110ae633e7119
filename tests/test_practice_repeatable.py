"""The same seed gives the same market, byte for byte, in any process; another seed another one.

The plain run compares some minutes; ``BREEZE_LAB_REPEAT_MINUTES=60`` is the whole hour at 60x.
"""

import asyncio
import base64
import contextlib
import csv
import hashlib
import io
import json
import os
import zipfile
from datetime import datetime, timedelta
from urllib.request import Request, urlopen

import pytest
import websockets
from weather import market

from breeze_lab.clock import IST

MINUTES = int(os.environ.get("BREEZE_LAB_REPEAT_MINUTES", "4"))
START = datetime(2026, 11, 20, 10, 0, tzinfo=IST)
END = START + timedelta(minutes=MINUTES)
OPTIONS = ("--paused", "--keep-sessions", "--at", START.isoformat(), "--speed", "60")


def rooms_of(record):
    """A room of every kind: stocks, indices, a future, options, a commodity, a currency, depth."""
    with urlopen(record["master_url"]) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    found = ["4.1!2885", "4.1!NIFTY 50", "4.2!2885", "1.1!500325", "1.2!500325", "4.1!NIFTY BANK"]
    for member, market_number in (("FONSE", "4"), ("FOBSE", "8"), ("MCX", "6"), ("CDNSE", "13")):
        lines = archive.read(f"{member}ScripMaster.txt").decode().split("\r\n")[1:]
        rows = [row for row in csv.reader(lines) if row[2] in ("NIFTY", "BSESEN", "GOLD", "USDINR")]
        tokens = [row[0] for row in rows]
        found += [f"{market_number}.1!{token}" for token in tokens[:2] + tokens[30:150:10]]
    return found


def session_of(record):
    body = {"SessionToken": record["api_session"], "AppKey": record["app_key"]}
    request = Request(
        record["api_url"] + "customerdetails", json.dumps(body).encode(), method="GET"
    )
    with urlopen(request) as answer:
        token = json.loads(answer.read())["Success"]["session_token"]
    user, key = base64.b64decode(token).decode().split(":")
    return "40" + json.dumps({"user": user, "token": key})


async def packets(address, path, auth, joins):
    """Yield the text of every event of one stream, in order."""
    url = address.replace("http", "ws") + path + "?EIO=4&transport=websocket"
    async with websockets.connect(url, max_queue=None) as socket:
        await socket.recv()
        await socket.send(auth)
        await socket.recv()
        for join in joins:
            await socket.send("42" + json.dumps(["join", join]))
        async for packet in socket:
            if packet.startswith("42"):
                yield packet
            else:
                await socket.send("3")


async def quotes(record, auth, rooms, joined):
    """Return the hash and the count of all quotes and depths before the end."""
    seen, count, first = hashlib.sha256(), 0, set()
    stream = packets(record["stream_url"], "/socket.io/", auth, [rooms])
    async with contextlib.aclosing(stream):
        async for packet in stream:
            frame = json.loads(packet[2:])[1]
            # The clock of quotes is that of the busiest room.
            if frame[0] == "4.1!2885" and frame[19] >= END.timestamp():
                break
            seen.update(packet.encode())
            count += 1
            first.add(frame[0])
            if len(first) == len(rooms):
                joined.set()
    return seen.hexdigest(), count


async def candles(record, auth, rooms):
    """Return the hash and the count of all candles before the end."""
    seen, count = hashlib.sha256(), 0
    stream = packets(record["ohlc_url"], "/ohlcvstream/", auth, rooms)
    async with contextlib.aclosing(stream):
        async for packet in stream:
            opened = json.loads(packet[2:])[1].split(",")[-2]
            if datetime.fromisoformat(opened).replace(tzinfo=IST) >= END:
                break
            seen.update(packet.encode())
            count += 1
    return seen.hexdigest(), count


def ask(url, command=None, token=""):
    data = None if command is None else json.dumps(command).encode()
    with urlopen(Request(url, data, {"Authorization": f"Bearer {token}"})) as answer:
        return json.loads(answer.read())


async def listen(record, rooms):
    """Join every room of both streams while the clock stands, let it run, hash what comes."""
    auth, joined = session_of(record), asyncio.Event()
    # BFO is market 8 in the quote stream and 2 in the candle stream.
    of_candles = [room.replace("8.1!", "2.1!") for room in rooms if ".1!" in room]
    listeners = asyncio.gather(
        quotes(record, auth, rooms, joined), candles(record, auth, of_candles)
    )
    async with asyncio.timeout(120):
        await joined.wait()
        # Nothing confirms a join of the candle stream; the status counts them.
        heard = 0
        while heard < len(of_candles):
            await asyncio.sleep(0.05)
            status = await asyncio.to_thread(ask, record["status_url"])
            heard = sum(room.startswith("ohlc ") for room in status["rooms"])
    command = {"command": "clock", "paused": False}
    await asyncio.to_thread(ask, record["control_url"], command, record["control_token"])
    return await listeners


@pytest.mark.timeout(240 + MINUTES * 3)
def test_two_processes_of_a_seed_send_the_same_bytes(tmp_path):
    """Every packet of every room, quotes, depth and candles; a third with another seed differs."""
    with contextlib.ExitStack() as stack:
        records = [
            stack.enter_context(market(tmp_path / str(number), *OPTIONS, "--seed", seed))
            for number, seed in enumerate("778")
        ]
        rooms = rooms_of(records[0])
        assert rooms == rooms_of(records[1])

        async def all_three():
            return await asyncio.gather(
                listen(records[0], rooms), listen(records[1], rooms),
                listen(records[2], rooms_of(records[2])),
            )  # fmt: skip

        first, second, other = asyncio.run(all_three())
    assert first == second
    (quotes, quote_count), (candles, candle_count) = first
    assert quote_count > 100 * MINUTES * len(rooms) / 10
    assert candle_count > 30 * MINUTES
    assert other[0][0] != quotes
    assert other[1][0] != candles
