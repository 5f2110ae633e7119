"""Whatever is thrown at the practice market, it answers, says no more than it should, and lives on.

The plain run throws some thousands; ``BREEZE_LAB_FUZZ=100000`` is the whole campaign.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import websockets

COUNT = int(os.environ.get("BREEZE_LAB_FUZZ", "6000"))
#: No answer may take longer, however odd the question.
ANSWER_S = 60.0
#: Resident memory may grow by this much between a tenth of the campaign and its end.
GROWTH_KB = 40_000

DAY = {"from_date": "2026-11-18T09:15:00.000Z", "to_date": "2026-11-18T09:30:00.000Z"}
STOCK = {"stock_code": "RELIND", "exchange_code": "NSE", "product_type": "cash"}
OPTION = {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options",
          "expiry_date": "2026-12-29T06:00:00.000Z", "right": "call",
          "strike_price": "24500"}  # fmt: skip
ORDER = {"stock_code": "ITC", "exchange_code": "NSE", "product": "cash", "action": "buy",
         "order_type": "limit", "quantity": "1", "price": "400", "validity": "day",
         "stoploss": "0", "validity_date": "", "disclosed_quantity": "0"}  # fmt: skip
GTT = {"exchange_code": "NFO", "stock_code": "NIFTY", "product": "options", "quantity": "75",
       "expiry_date": "2026-12-29T06:00:00.000Z", "right": "put", "strike_price": "24500",
       "gtt_type": "cover_oco", "fresh_order_action": "buy", "fresh_order_price": "30",
       "fresh_order_type": "limit", "index_or_stock": "index",
       "trade_date": "2026-11-24T06:00:00.000Z",
       "order_details": [{"gtt_leg_type": "target", "action": "sell", "limit_price": "300",
                          "trigger_price": "340"}]}  # fmt: skip
#: What a proper client sends, by method and path: the seeds that are spoiled.
SEEDS = [
    ("GET", "customerdetails", {"SessionToken": "1", "AppKey": "x"}),
    ("GET", "dematholdings", {}),
    ("GET", "funds", {}),
    ("POST", "funds", {"transaction_type": "debit", "amount": "200", "segment": "Equity"}),
    ("GET", "historicalcharts", {"interval": "minute", **DAY, **STOCK}),
    ("GET", "margin", {"exchange_code": "NSE"}),
    ("POST", "margin", {"exchange_code": "NSE", "product_type": "margin", "cover_quantity": "1"}),
    ("POST", "order", ORDER),
    ("GET", "order", {"exchange_code": "NSE", "order_id": "20261124N100000001"}),
    ("GET", "order", {"exchange_code": "NSE", **DAY}),
    ("PUT", "order", {"exchange_code": "NSE", "order_id": "20261124N100000001", "quantity": "2"}),
    ("DELETE", "order", {"exchange_code": "NSE", "order_id": "20261124N100000001"}),
    ("GET", "portfolioholdings", {"exchange_code": "NSE", **DAY}),
    ("GET", "portfoliopositions", {}),
    ("GET", "quotes", STOCK),
    ("GET", "quotes", OPTION),
    ("GET", "optionchain", OPTION),
    ("POST", "squareoff", {**ORDER, "product_type": "cash", "stoploss_price": "0"}),
    ("GET", "trades", {"exchange_code": "NSE", **DAY}),
    ("GET", "trades", {"exchange_code": "NSE", "order_id": "20261124N100000001"}),
    ("GET", "preview_order", ORDER),
    ("POST", "fnolmtpriceandqtycal", {**OPTION, "underlying": "NIFTY", "order_flow": "buy"}),
    ("POST", "margincalculator", {"exchange_code": "NFO", "list_of_positions": [OPTION]}),
    ("POST", "gttorder", GTT),
    ("PUT", "gttorder", {**GTT, "gtt_order_id": "2026112400000001"}),
    ("DELETE", "gttorder", {"exchange_code": "NFO", "gtt_order_id": "2026112400000001"}),
    ("GET", "gttorder", {"exchange_code": "NFO", **DAY}),
    ("GET", "nonsense", {}),
]
ODD = (
    None, True, False, 0, -1, 1e308, -0.0, 10**40, "", " ", "\x00", "NaN", "1e999", "-1", "0x10",
    "9" * 400, "\ud800", "\u202e\U0001f600", "%s%n", "'; --", "2026-13-45T25:61:61.000Z",
    "0001-01-01", "9999-12-31T23:59:59.999Z", "31-Feb-2026", "29-Dec-2026", [], {}, [[]],
    ["4.1!2885"] * 50, {"a": {"b": []}}, [None], "call", "NFO", "24500", "1e5", "buy", "limit",
)  # fmt: skip
DEEP = b"[" * 100_000
BODIES = (
    b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe\x00", b'{"a":1', b'{"a":NaN}', b"{}" * 9, DEEP,
    b'{"a":' * 50_000, b'{"order_id":1e400}', b"\x00" * 5000, b'{"\xed\xa0\x80":"\xed\xa0\x80"}',
)  # fmt: skip
RAW = (
    b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n",
    b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /breezeapi/api/v1/order HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /breezeapi/api/v1/order HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\xc3\x89T / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 3000,
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
    b"GET /ohlcvstream/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
)  # fmt: skip
PACKETS = (
    "", "2", "3", "0", "1", "4", "40", "41", "42", "42[", "42[]", "42{}", "42null", '42["join"]',
    '42["join",null]', '42["join",[[["4.1!2885"]]]]', '42["join","4.1!False"]',
    '42["join",{"a":1}]', '42["leave","4.1!2885"]', '42["join","4.1!' + "9" * 5000 + '"]',
    "42" + "[" * 100_000, '421["join","4.1!2885"]', '42["join",["4.1!2885","1.2!500325"]]',
    '42["\ud800"]', "451-[]", "6", "40{", '40{"user":1}', '40{"user":[],"token":{}}', "\x00",
    "40" + "[" * 100_000, '42["order",{}]', '42["disconnect","transport close"]', "5", "43[]",
    '42["join","99.1!2885"]', '42["join","4.3!2885"]', '42["join","\u0664.1!2885"]',
)  # fmt: skip


class Market:
    """A practice market of our own, its error stream in a file."""

    def __init__(self, folder):
        self.errors = folder / "stderr.txt"
        command = [sys.executable, "-m", "breeze_lab.practice", "--json", "--keep-sessions"]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command + OPTIONS, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.record = json.loads(self.process.stdout.readline())
        body = {"SessionToken": self.record["api_session"], "AppKey": self.record["app_key"]}
        self.login_body = json.dumps(body).encode()
        self.token = ""

    def memory_kb(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise AssertionError("the practice market has ended")

    def signed(self, body):
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        digest = hashlib.sha256(stamp.encode() + body + self.record["secret"].encode()).hexdigest()
        return {
            "Content-Type": "application/json", "X-Checksum": f"token {digest}",
            "X-Timestamp": stamp, "X-AppKey": self.record["app_key"], "X-SessionToken": self.token,
        }  # fmt: skip


#: Call limits would answer most of a campaign.
OPTIONS = ["--no-limits"]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """The market that is thrown at."""
    found = Market(tmp_path_factory.mktemp("fuzz"))
    try:
        yield found
    finally:
        found.process.terminate()
        found.process.wait(30)
        found.process.stdout.close()


async def exchange(address, sent):
    """Send bytes on a connection of their own; return all that comes back until it ends."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(sent)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
                if sent in RAW:  # what is no request may wait for more: there is none
                    writer.write_eof()
            with contextlib.suppress(ConnectionError):
                return await reader.read()
            return b""
    finally:
        writer.close()


def request_bytes(address, method, path, body, headers):
    """Return one HTTP request that asks for the connection to be closed."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(address).netloc}", "Connection: close",
             f"Content-Length: {len(body)}"]  # fmt: skip
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def spoiled(fields, chance):
    """Return a copy of a request with some fields made odd, left out or added."""
    found = dict(fields)
    for name in list(found):
        roll = chance.random()
        if roll < 0.25:
            found[name] = chance.choice(ODD)
        elif roll < 0.32:
            del found[name]
        elif roll < 0.37:
            found[name] = [found[name]]
    if chance.random() < 0.15:
        found[chance.choice(("order_id", "interval", "x" * 300, "\ud800", ""))] = chance.choice(ODD)
    return found


def one_request(market, chance):
    """Return (address, bytes) of one malformed request."""
    record = market.record
    roll = chance.random()
    if roll < 0.12:
        addresses = ("api_url", "stream_url", "feeds_url")
        return record[chance.choice(addresses)], chance.choice(RAW)
    base = urlsplit(record["api_url"])
    if roll < 0.24:
        query = {**DAY, "interval": "1minute", "stock_code": "RELIND", "exch_code": "NSE"}
        words = [f"{quote(str(n), errors='replace')}={quote(str(v), errors='replace')}"
                 for n, v in spoiled(query, chance).items()]  # fmt: skip
        headers = {"X-SessionToken": market.token, "apikey": record["app_key"]}
        path = f"/api/v2/historicalcharts?{'&'.join(words)}"
        return record["api_url"], request_bytes(record["api_url"], "GET", path, b"", headers)
    if roll < 0.30:
        path = chance.choice(("/practice/control", "/apiuser/login", "/apiuser/landing", "/%00",
                              "/practice/status", "/breezeapi/api/v1/", "/breezeapi/api/v1/a/b",
                              "/MotherAppMaster/SecurityMaster.zip"))  # fmt: skip
        headers = {"Authorization": chance.choice(("Bearer \ud800", "Bearer x", "")),
                   "If-Modified-Since": "yesterday", "If-None-Match": "\ud800"}  # fmt: skip
        method = chance.choice(("GET", "POST", "PUT", "OPTIONS", "HEAD", "BREW"))
        body = chance.choice(BODIES)
        return record["api_url"], request_bytes(record["api_url"], method, path, body, headers)
    method, name, fields = chance.choice(SEEDS)
    body = json.dumps(spoiled(fields, chance)).encode()
    if chance.random() < 0.15:
        body = chance.choice(BODIES)
    if chance.random() < 0.08:
        method = chance.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "BREW"))
    headers = market.signed(body)
    if chance.random() < 0.1:
        spoil = chance.choice(list(headers))
        headers[spoil] = chance.choice(("", "\ud800", "x" * 3000, "token", "2026-11-24T99:99:99Z"))
    return record["api_url"], request_bytes(
        record["api_url"], method, base.path + name, body, headers
    )


def complaint(sent, answer):
    """Return what is wrong with an answer, or None."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"Traceback" in answer or b'File "' in answer:
        return "a traceback"
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        # Nothing at all is right only for what is no HTTP request. A method that HTTP does not know
        # is refused before its body is read, and the reset that follows can overtake the answer.
        unheard = sent in RAW or sent.startswith(b"BREW")
        return None if not answer and unheard else "no answer"
    if int(words[1]) >= 500:
        return f"HTTP {int(words[1])}: {body[:200]!r}"
    if b"application/json" in head.lower() and b"HEAD" not in sent[:5]:
        try:
            json.loads(body)
        except ValueError:
            return "JSON that is none"
    return None


async def requests(market, count, chance):
    """Throw `count` malformed requests, twenty at a time; return what was wrong."""
    wrong = []
    limit = asyncio.Semaphore(20)

    async def throw():
        address, sent = one_request(market, chance)
        async with limit:
            try:
                answer = await exchange(address, sent)
            except TimeoutError:
                wrong.append(
                    f"no answer within {ANSWER_S:g} s to {sent[:90]!r} ... {sent[-250:]!r}"
                )
                return
        found = complaint(sent, answer)
        if found:
            wrong.append(f"{found} for {sent[:90]!r} ... {sent[-250:]!r}")

    for start in range(0, count, 500):
        await asyncio.gather(*(throw() for _ in range(min(500, count - start))))
    return wrong


async def packets(market, count, chance):
    """Throw `count` malformed packets at the three streams, some after a proper CONNECT."""
    record, thrown = market.record, 0
    user, key = base64.b64decode(market.token).decode().split(":")
    auth = "40" + json.dumps({"user": user, "token": key})
    places = ((record["stream_url"], "/socket.io/"), (record["feeds_url"], "/socket.io/"),
              (record["ohlc_url"], "/ohlcvstream/"))  # fmt: skip
    while thrown < count:
        address, path = chance.choice(places)
        url = address.replace("http", "ws") + path + "?EIO=4&transport=websocket"
        with contextlib.suppress(websockets.ConnectionClosed, ConnectionError):
            async with asyncio.timeout(ANSWER_S), websockets.connect(url, max_size=None) as socket:
                if chance.random() < 0.7:
                    await socket.send(auth)
                for _ in range(chance.randint(1, 60)):
                    thrown += 1
                    packet = chance.choice(PACKETS)
                    if chance.random() < 0.3:
                        cut = chance.randint(0, len(packet))
                        packet = packet[:cut] + chr(chance.randint(1, 0xD7FF)) + packet[cut + 1 :]
                    data = packet.encode("utf-8", "surrogatepass")
                    if chance.random() < 0.03:
                        await socket.send(data)  # binary
                    elif b"\xed\xa0\x80" in data:
                        # Not UTF-8, so it must be framed by hand.
                        await socket.send(packet.encode("utf-8", "replace").decode())
                    else:
                        await socket.send(packet)


async def alive(market):
    """Log in and hear a tick, as a proper client does."""
    sent = request_bytes(market.record["api_url"], "GET", "/breezeapi/api/v1/customerdetails",
                         market.login_body, {})  # fmt: skip
    answer = json.loads((await exchange(market.record["api_url"], sent)).partition(b"\r\n\r\n")[2])
    market.token = answer["Success"]["session_token"]
    user, key = base64.b64decode(market.token).decode().split(":")
    url = market.record["stream_url"].replace("http", "ws") + "/socket.io/"
    async with asyncio.timeout(ANSWER_S):
        async with websockets.connect(url + "?EIO=4&transport=websocket") as socket:
            await socket.send("40" + json.dumps({"user": user, "token": key}))
            await socket.send('42["join","4.1!2885"]')
            async for packet in socket:
                if packet.startswith('42["stock",["4.1!2885"'):
                    return


@pytest.mark.timeout(240 + COUNT // 50)
def test_malformed_requests_and_packets_do_no_harm(market):
    """No hang, no traceback, no failure without a reason, memory flat, and it still serves."""
    chance = random.Random(20261124)

    async def campaign():
        await alive(market)
        wrong, before = [], 0
        for part in range(10):
            wrong += await requests(market, COUNT // 20, chance)
            await packets(market, COUNT // 20, chance)
            await alive(market)
            if part == 0:
                before = market.memory_kb()
        return wrong, market.memory_kb() - before

    wrong, growth = asyncio.run(campaign())
    report = "\n".join(sorted(set(wrong))[:20])
    assert not wrong, f"{len(wrong)} of {COUNT // 2} answers are wrong:\n{report}"
    assert growth < GROWTH_KB, f"memory grew by {growth} kB"
    said = market.errors.read_text()
    assert "Traceback" not in said, said[-3000:]


def test_the_checks_catch_what_they_are_for():
    """Planted answers: a traceback, silence, a bare failure, and JSON that is none."""
    asked = b"GET / HTTP/1.1\r\n\r\n"
    assert complaint(asked, b"HTTP/1.1 200 OK\r\n\r\nTraceback (most recent call last)")
    assert complaint(asked, b"")
    assert complaint(asked, b'HTTP/1.1 500 No\r\n\r\n{"Success":null}')
    assert complaint(asked, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
    assert complaint(asked, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}") is None
