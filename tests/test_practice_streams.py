"""The practice market's streams, heard by the unmodified SDK and by a bare WebSocket."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from base64 import b64decode
from contextlib import ExitStack
from datetime import datetime, timedelta
from urllib.request import Request, urlopen

import pytest
from waiting import until, within
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from breeze_lab import _sdk, clock
from breeze_lab.settings import Endpoints
from breeze_lab.ticks import Depth, Tick, decode_frame

WAIT_S = 60


def start(*options, home):
    process = subprocess.Popen(
        [sys.executable, "-m", "breeze_lab.practice", "--json", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BREEZE_LAB_HOME": str(home)},
    )
    return process, json.loads(process.stdout.readline())


def stop(process):
    process.terminate()
    process.stdout.close()
    return process.wait(30)


def breeze_of(record, folder):
    """Return a logged-in, unmodified SDK with its ticks in `.seen`."""
    path = folder / "SecurityMaster.zip"
    with urlopen(record["master_url"]) as answer:
        path.write_bytes(answer.read())
    module = _sdk.load(Endpoints.from_dict(record, name="practice"), path)
    breeze = module.BreezeConnect(api_key=record["app_key"])
    breeze.generate_session(api_secret=record["secret"], session_token=record["api_session"])
    breeze.seen = []
    breeze.on_ticks = breeze.seen.append
    return breeze


def hang_up(breeze):
    for handler in (
        breeze.sio_rate_refresh_handler,
        breeze.sio_ohlcv_stream_handler,
        breeze.sio_order_refresh_handler,
    ):
        if handler is not None:
            handler.sio.disconnect()


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """A practice market whose minute lasts a second."""
    process, record = start("--speed", "60", home=tmp_path_factory.mktemp("fast"))
    yield record
    stop(process)


@pytest.fixture(scope="module")
def breeze(practice, tmp_path_factory):
    """The SDK, logged in to the real-time market."""
    breeze = breeze_of(practice, tmp_path_factory.mktemp("sdk"))
    yield breeze
    hang_up(breeze)


def iso(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def test_the_sdk_hears_quotes_and_depth_by_fields(practice, breeze):
    """`RELIND` by fields brings both, at once and then with every trade."""
    breeze.ws_connect()
    said = breeze.subscribe_feeds(
        exchange_code="NSE", stock_code="RELIND", product_type="cash",
        get_market_depth=True, get_exchange_quotes=True,
    )  # fmt: skip
    assert said == {"message": "Stock RELIND subscribed successfully"}
    kinds = ("Quotes Data", "Market Depth")
    seen = until(
        lambda: {k: found for k in kinds if len(found := [t for t in breeze.seen if t.get("quotes") == k]) > 9}.keys() >= set(kinds) and list(breeze.seen),
        "ten quotes and depths",
    )  # fmt: skip
    quotes = [tick for tick in seen if tick.get("quotes") == "Quotes Data"]
    assert {tick["exchange"] for tick in quotes} == {"NSE Equity"}
    assert all(tick["lowerCktLm"] < tick["last"] < tick["upperCktLm"] for tick in quotes)
    assert all(tick["bPrice"] < tick["sPrice"] for tick in quotes)
    assert len({tick["ttq"] for tick in quotes}) == len(quotes)
    depth = next(tick for tick in seen if tick.get("quotes") == "Market Depth")
    assert len(depth["depth"]) == 5
    assert depth["depth"][0]["BestBuyRate-1"] < depth["depth"][0]["BestSellRate-1"]


def test_an_option_by_fields_is_named_from_the_master(practice, breeze):
    """The SDK finds the token of an option and completes its ticks."""
    breeze.ws_connect()
    name = next(n for n in breeze.stock_script_dict_list[4] if n.startswith("OPT-NIFTY"))
    _, code, day, month, year, strike, right = name.split("-")
    breeze.subscribe_feeds(
        exchange_code="NFO", stock_code=code, product_type="options", expiry_date=f"{day}-{month}-{year}",
        strike_price=strike, right={"CE": "call", "PE": "put"}[right], get_market_depth=False, get_exchange_quotes=True,
    )  # fmt: skip
    tick = until(
        lambda: next((t for t in breeze.seen if t.get("strike_price") == strike), None), "a tick"
    )
    assert tick["exchange"] == "NSE Futures & Options"
    assert tick["expiry_date"] == f"{day}-{month}-{year}"


def test_candles_equal_history(practice, breeze):
    """Second candles of the stream are the rows version 2 gives for the same seconds."""
    breeze.subscribe_feeds(exchange_code="NSE", stock_code="RELIND", interval="1second")
    candles = until(
        lambda: len(found := [t for t in list(breeze.seen) if t.get("interval") == "1second"]) > 3 and found,
        "four second candles",
    )  # fmt: skip
    times = [candle["datetime"] for candle in candles]
    rows = breeze.get_historical_data_v2("1second", times[0], times[-1], "RELIND", "NSE")["Success"]
    known = {row["datetime"]: row for row in rows}
    for candle in candles:
        row = known[candle["datetime"]]
        assert candle["exchange_code"] == "NSE"
        for name in ("open", "high", "low", "close", "volume"):
            assert float(candle[name]) == row[name], (name, candle, row)


def test_longer_candles_and_all_ticks_equal_history(fast, tmp_path):
    """In a fast market, minute and 5-minute candles and the ticks between them agree with v2."""
    breeze = breeze_of(fast, tmp_path)
    try:
        breeze.ws_connect()
        breeze.subscribe_feeds(stock_token="4.1!2885")
        for interval in ("1minute", "5minute"):
            breeze.subscribe_feeds(exchange_code="NSE", stock_code="RELIND", interval=interval)

        def heard(interval):
            return [t for t in list(breeze.seen) if t.get("interval") == interval]

        until(lambda: len(heard("1minute")) > 2 and heard("5minute"), "5 minutes")
        minutes = heard("1minute")
        candles = minutes + heard("5minute")
        for candle in candles:
            start = datetime.fromisoformat(candle["datetime"])
            (row,) = breeze.get_historical_data_v2(
                candle["interval"], iso(start), iso(start), "RELIND", "NSE"
            )["Success"]
            assert row["datetime"] == candle["datetime"]
            for name in ("open", "high", "low", "close", "volume"):
                assert float(candle[name]) == row[name]
        # Ticks of one whole minute: the SDK hands them over in any order, some a little late.
        start = datetime.fromisoformat(minutes[-1]["datetime"])
        rows = breeze.get_historical_data_v2("1minute", iso(start), iso(start), "RELIND", "NSE")
        (bar,) = rows["Success"]

        def inside():
            return [t for t in list(breeze.seen) if "ltt" in t and in_minute(t["ltt"], start)]

        until(lambda: sum(t["ltq"] for t in inside()) == bar["volume"], "all ticks of a minute")
        assert max(t["last"] for t in inside()) == bar["high"]
        assert min(t["last"] for t in inside()) == bar["low"]
    finally:
        hang_up(breeze)


def in_minute(ltt, start):
    """Say whether the SDK's text, in this machine's own zone, lies in an IST minute."""
    local = datetime.strptime(ltt, "%c").astimezone().astimezone(clock.IST)
    return start <= local.replace(tzinfo=None) < start + timedelta(minutes=1)


def test_wrong_keys_cannot_stream(practice, tmp_path):
    """A client with another token gets CONNECT_ERROR, which the SDK reports its own way."""
    breeze = breeze_of(practice, tmp_path)
    breeze.session_key = "wrong"
    with pytest.raises(Exception, match="Failed to connect to live stream"):
        breeze.ws_connect()


class Bare:
    """A Socket.IO client of a few lines."""

    def __init__(self, record, address, token=None, path="/socket.io/"):
        self.auth = dict(zip(("user", "token"), token or credentials(record), strict=True))
        self.url = record[address].replace("http", "ws") + path + "?transport=websocket&EIO=4"
        self.stack = ExitStack()

    def __enter__(self):
        self.socket = self.stack.enter_context(connect(self.url, max_size=None, proxy=None))
        assert self.socket.recv().startswith("0{")
        self.socket.send("40" + json.dumps(self.auth))
        self.answer = self.socket.recv()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def emit(self, *event):
        self.socket.send("42" + json.dumps(event))

    def event(self, timeout_s=WAIT_S):
        while True:
            text = self.socket.recv(timeout_s)
            if text.startswith("42"):
                return json.loads(text[2:])
            assert text == "2", text
            self.socket.send("3")


def credentials(record):
    body = json.dumps({"SessionToken": record["api_session"], "AppKey": record["app_key"]}).encode()
    with urlopen(Request(record["api_url"] + "customerdetails", body, method="GET")) as answer:
        token = json.loads(answer.read())["Success"]["session_token"]
    return b64decode(token).decode().split(":")


@pytest.fixture(scope="module")
def tokens(practice):
    """One token of each market, by exchange and instrument."""
    with urlopen(practice["master_url"]) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    found = {}
    for member in ("FONSE", "FOBSE", "MCX", "CDNSE"):
        lines = archive.read(f"{member}ScripMaster.txt").decode().split("\r\n")
        for row in csv.reader(lines[1:]):
            found.setdefault((member, row[1][:3]), row[0])
    return found


def test_every_market_has_its_own_frame(practice, tokens):
    """Lengths, nulls, depth rows and paise are each market's own; all decode."""
    rooms = {
        "4.1!2885": 21, "1.1!500325": 21, "4.1!NIFTY 50": 21, "4.2!2885": 8, "1.2!500325": 4,
        f"4.1!{tokens['FONSE', 'FUT']}": 23, f"8.1!{tokens['FOBSE', 'FUT']}": 23,
        f"8.2!{tokens['FOBSE', 'FUT']}": 6, f"13.1!{tokens['CDNSE', 'FUT']}": 23,
        f"13.2!{tokens['CDNSE', 'FUT']}": 8, f"6.1!{tokens['MCX', 'FUT']}": 27,
    }  # fmt: skip
    with Bare(practice, "stream_url") as client:
        client.emit("join", ["4.1!False", "nonsense", 7, *rooms])
        frames = {}
        while set(frames) != set(rooms):
            name, frame = client.event()
            assert name == "stock"
            frames.setdefault(frame[0], frame)
        for room, size in rooms.items():
            frame = frames[room]
            value = decode_frame(frame)
            assert abs(value.exchange_time.timestamp() - time.time()) < 86_400
            if ".2!" in room:
                assert isinstance(value, Depth)
                assert [len(row) for row in frame[2]] == [size] * 5
                assert [level.bid for level in value.levels] == sorted(
                    (level.bid for level in value.levels), reverse=True
                )
                assert value.levels[0].bid < value.levels[0].ask
            else:
                assert isinstance(value, Tick)
                assert len(frame) == size
                assert value.low <= value.last <= value.high
        index = frames["4.1!NIFTY 50"]
        assert index[6:16] == [None] * 10
        assert index[17:19] == [None, None]
        assert all(value is not None for value in (*index[:6], *index[19:]))
        gold = frames[f"6.1!{tokens['MCX', 'FUT']}"]
        assert gold[5] % 100 == 0  # paise
        assert [len(row) for row in gold[22:]] == [8] * 5


def test_leaving_a_room_ends_its_frames(practice):
    """After `leave` the room is gone; joining twice is one listener."""
    with Bare(practice, "stream_url") as client:
        client.emit("join", "4.1!1594")
        client.emit("join", ["4.1!1594"])
        client.event()
        until(lambda: status(practice)["rooms"].get("4.1!1594") == 1, "one listener")
        client.emit("leave", "4.1!1594")
        until(lambda: "4.1!1594" not in status(practice)["rooms"], "nobody")


def status(record):
    with urlopen(record["status_url"]) as answer:
        return json.loads(answer.read())


def test_index_and_liquid_stocks_never_rest(practice):
    """NIFTY and RELIANCE tick several times in two seconds, at any hour of any day."""
    with Bare(practice, "stream_url") as client:
        client.emit("join", ["4.1!NIFTY 50", "4.1!2885"])
        times = {"4.1!NIFTY 50": [], "4.1!2885": []}
        while min(map(len, times.values())) < 6:
            frame = client.event()[1]
            times[frame[0]].append(frame[19])
        # By the market's own clock; the first is where the room stood before we came.
        for seconds in times.values():
            assert seconds[5] - seconds[1] <= 3, times


def test_a_candle_comes_soon_after_its_interval_and_never_before(fast):
    """Each event is stamped with its start and arrives when that interval has just ended."""
    lengths = {"1SEC": 1, "1MIN": 60, "5MIN": 300}
    with Bare(fast, "ohlc_url", path="/ohlcvstream/") as client:
        client.emit("join", "4.1!2885")
        waiting = dict(lengths)
        while waiting:
            event, text = client.event()
            now = datetime.fromisoformat(status(fast)["now"]).replace(tzinfo=None)
            if event in waiting:
                fields = text.split(",")
                assert fields[-1] == event
                ended = datetime.fromisoformat(fields[-2]) + timedelta(seconds=waiting.pop(event))
                assert ended <= now <= ended + timedelta(seconds=59)  # a second of this market


def test_wrong_authentication_is_a_connect_error(practice):
    """The packet says so, on every stream, and events before CONNECT are not heard."""
    for address, path in (
        ("stream_url", "/socket.io/"),
        ("feeds_url", "/socket.io/"),
        ("ohlc_url", "/ohlcvstream/"),
    ):
        with Bare(practice, address, ("PR1", "wrong"), path) as client:
            assert client.answer.startswith("44")
            client.emit("join", "4.1!2885")
            with pytest.raises(TimeoutError):
                client.event(0.3)


def test_the_clients_disconnect_event_closes_the_socket(practice):
    """As in production: an event named `disconnect` ends the connection without goodbye."""
    with Bare(practice, "feeds_url") as client:
        until(lambda: status(practice)["connections"]["feeds"] >= 1, "a connection")
        client.emit("disconnect", "transport close")
        with pytest.raises(ConnectionClosed):
            client.event()


def test_a_forgotten_sdk_client_comes_back_and_keeps_ticking(practice, tmp_path):
    """`ws_disconnect` forgets the socket; production closes it and the SDK returns by itself."""
    breeze = breeze_of(practice, tmp_path)
    breeze.ws_connect()
    handler = breeze.sio_rate_refresh_handler
    breeze.subscribe_feeds(stock_token="4.1!2885")
    until(lambda: len(breeze.seen) > 2, "ticks")
    first = handler.sio.eio.sid
    breeze.ws_disconnect()
    try:
        until(lambda: handler.sio.connected and handler.sio.eio.sid != first, "a second connection")
        count = len(breeze.seen)
        until(lambda: len(breeze.seen) > count + 2, "ticks after the return")
    finally:
        handler.sio.disconnect()


def test_a_thousand_rooms_answer_at_once(practice, tokens):
    """Snapshots of a thousand rooms come within seconds, and trades go on meanwhile."""
    with urlopen(practice["master_url"]) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    rows = csv.reader(archive.read("FONSEScripMaster.txt").decode().split("\r\n")[1:1001])
    rooms = {f"4.1!{row[0]}" for row in rows}
    with Bare(practice, "stream_url") as client:
        client.emit("join", [*rooms, "4.1!2885"])
        seen = set()
        end = time.monotonic() + WAIT_S
        while not rooms <= seen and time.monotonic() < end:
            seen.add(client.event()[1][0])
        assert rooms <= seen


def test_it_ends_at_once_and_cleanly(tmp_path):
    """SIGTERM and SIGINT end the process with status 0 although a client is connected."""
    for number in (signal.SIGTERM, signal.SIGINT):
        process, record = start(home=tmp_path)
        with Bare(record, "stream_url") as client:
            client.emit("join", "4.1!2885")
            client.event()
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(30) == 0
            assert time.monotonic() - began < within(2)
        process.stdout.close()


def test_one_per_runtime_folder_and_gone_when_idle(tmp_path):
    """A second start with the same folder says so and ends; nobody's market ends by itself."""
    options = ("--runtime", str(tmp_path), "--idle-exit", "4")
    process, record = start(*options, home=tmp_path)
    published = json.loads((tmp_path / "practice.json").read_text())
    assert published["api_url"] == record["api_url"]
    with Bare(record, "stream_url"):  # or it could end before the second one has looked
        second = subprocess.run(
            [sys.executable, "-m", "breeze_lab.practice", "--json", *options],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert second.returncode == 0
    assert second.stdout == ""
    assert process.wait(30) == 0
    process.stdout.close()
    assert not (tmp_path / "practice.json").exists()
