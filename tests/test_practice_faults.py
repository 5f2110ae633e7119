"""Faults begin, act and end exactly as ordered; the log knows; several at once get along."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import socket
import time
from itertools import pairwise
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from waiting import until, within
from weather import RELIND, control_of, market
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from breeze_lab.errors import SettingsError
from breeze_lab.practice.faults.frames import FrameFaults, malformed
from breeze_lab.practice.faults.kinds import KINDS, order
from breeze_lab.practice.faults.registry import Fault

QUOTE = '42["stock",["4.1!2885",1402.0,1401.5,1410,1399,0.3,1401.4,12,1401.6,9,3,1404.2]]'
CANDLE = '42["1SEC","NSE,RELIND,1401,1402,1401,1402,300,2026-11-20 09:15:00,1SEC"]'
#: What a client of this file can meet under any fault.
BAD_WEATHER = (OSError, ValueError, KeyError, TypeError, AssertionError, WebSocketException)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    with market(tmp_path_factory.mktemp("market"), "--no-limits", "--keep-sessions") as found:
        yield found


@pytest.fixture
def control(record):
    """The market's control; good weather afterwards."""
    control = control_of(record)
    yield control
    control.clear()


def session_of(record):
    """Return (user, session key)."""
    with urlopen(Request(record["login_url"], b"", method="POST"), timeout=10) as landing:
        api_session = landing.url.rpartition("apisession=")[2]
    body = json.dumps({"SessionToken": api_session, "AppKey": record["app_key"]}).encode()
    request = Request(record["api_url"] + "customerdetails", body, method="GET")
    with urlopen(request, timeout=10) as answer:
        token = json.loads(answer.read())["Success"]["session_token"]
    return base64.b64decode(token).decode().split(":")


@contextlib.contextmanager
def stream(record, room=RELIND, server="stream_url", path="/socket.io/"):
    """Open a stream that has joined a room."""
    user, key = session_of(record)
    url = record[server].replace("http", "ws") + path + "?EIO=4&transport=websocket"
    with connect(url, proxy=None, close_timeout=0.2) as ws:
        ws.recv(60)
        ws.send("40" + json.dumps({"user": user, "token": key}))
        assert ws.recv(60).startswith("40")
        ws.send(json.dumps(["join", room]).join(["42", ""]))
        yield ws


def events(ws, for_s):
    """Return the packets of the next `for_s` seconds."""
    found, until_ = [], time.monotonic() + for_s
    while (left := until_ - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            found.append(ws.recv(left))
    return found


def heard(ws, count):
    """Return the packets until `count` of them are frames."""
    found = []
    while sum(packet.startswith("42") for packet in found) < count:
        found.append(ws.recv(60))
    return found


def listen_to_the_end(ws, said):
    """Append every packet to `said`; ends with the connection."""
    while True:
        said.append(ws.recv(60))


def lines_of(control, fault):
    return [line for line in control.log() if line.get("number") == fault.number]


# -- how they are ordered --------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("drop", {}),
        ("drop 30s", {"for_s": 30.0}),
        ("garbage 5% 1m", {"share": 0.05, "for_s": 60.0}),
        ("garbage 500ms 12.5%", {"share": 0.125, "for_s": 0.5}),
        ("slow 3s", {"delay_s": 3.0}),
        ("slow 3s 1h", {"delay_s": 3.0, "for_s": 3600.0}),
        ("gap 2m RELIND", {"for_s": 120.0, "room": "RELIND"}),
        ("limit day 2x", {"variant": "day", "count": 2}),
        ("html forever", {"for_s": "forever"}),
    ],
)
def test_words_become_what_is_ordered(words, fields):
    """Length, share, count, form and instrument, in any order."""
    assert order(words.split()) == {"name": words.split()[0], **fields}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("dorp", "Did you mean drop"),
        ("drop 5%x", "does not take '5%x'"),
        ("drop 1s 2s", "one too many"),
        ("limit hour", "minute or day"),
        ("gap RELIND TCS", "one too many"),
    ],
)
def test_words_that_make_no_sense_say_what_would(words, why):
    """Unknown faults get the nearest, others what they take."""
    with pytest.raises(ValueError, match=why):
        order(words.split())


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("nope", {}, "does not know 'nope'"),
        ("close", {"for_": "5s"}, "at once"),
        ("gap", {"for_": 1e9}, "lasts up to 86400 s, or 'forever'"),
        ("gap", {"for_": -1.0}, "lasts up to"),
        ("gap", {"for_": 0.0}, "lasts up to"),
        ("gap", {"share": 0.5}, "takes no share"),
        ("garbage", {"share": 0.0}, "between 0 and 1"),
        ("garbage", {"share": 1.5}, "between 0 and 1"),
        ("slow", {"delay_s": 1e6}, "between 0 and 120"),
        ("html", {"count": 0}, "whole number"),
        ("html", {"room": "RELIND"}, "takes no room"),
        ("gap", {"room": "NOSUCH"}, "Nothing called 'NOSUCH' trades today"),
        ("gap", {"room": "4.1!404404"}, "Nothing called"),
        ("limit", {"variant": "hour"}, "minute, day"),
    ],
)
def test_what_cannot_be_begins_nothing(control, name, options, why):
    """The answer says what would be right, and no fault is active."""
    logged = len(control.log())
    with pytest.raises(SettingsError, match=why):
        control.fault(name, **options)
    assert control.faults() == []
    assert len(control.log()) == logged


# -- when they end ---------------------------------------------------------------


def test_a_fault_ends_by_itself_and_the_log_knows(control):
    """Nobody asks meanwhile; the end is noted to the instant, in real time, at any market speed."""
    control.clock(speed=3600)
    fault = control.fault("gap", "700ms")
    assert 0 < fault.left_s <= 0.7
    began = time.monotonic()
    control.pause()
    until(lambda: len(lines_of(control, fault)) == 2, "the end")
    assert 0.6 < time.monotonic() - began < within(1)
    control.clock(speed=1, paused=False)
    first, last = lines_of(control, fault)
    assert (first["what"], last["what"], last["why"]) == (
        "fault began",
        "fault ended",
        "time is up",
    )
    assert 0.69 < last["lasted_s"] < within(0.8)
    assert {"time", "market_time"} <= set(first)
    assert fault.left_s == 0.0


def test_every_fault_is_bounded_unless_for_ever_is_asked(control):
    """Each kind that lasts has a length of its own; for ever ends with clear."""
    for kind in KINDS.values():
        assert kind.for_s < 600
    endless = control.fault("gap", "forever")
    assert endless.left_s == float("inf")
    assert control.faults()[0]["left_s"] is None
    assert control.clear("gap") == ["gap"]
    assert lines_of(control, endless)[-1]["why"] == "cleared"


def test_a_count_is_used_up(control, record):
    """Two pages, then answers; the log counts them."""
    fault = control.fault("maintenance", "20s", count=2)
    for _ in range(2):
        with pytest.raises(OSError, match="503"):
            urlopen(record["login_url"], timeout=60)
    with urlopen(record["login_url"], timeout=60) as page:
        assert page.status == 200
    assert lines_of(control, fault)[-1] | {"time": 0, "market_time": 0, "lasted_s": 0} == {
        "time": 0, "market_time": 0, "lasted_s": 0, "what": "fault ended", "why": "used up",
        "fault": "maintenance", "number": fault.number, "effects": 2,
    }  # fmt: skip


def test_a_block_clears_its_own_fault_only(control):
    """The same fault again replaces the old one; another stays."""
    control.fault("html", "20s")
    with control.fault("gap", "20s") as first, control.fault("gap", "20s", room="RELIND"):
        assert [fault["fault"] for fault in control.faults()] == ["html", "gap", "gap"]
        with control.fault("gap", "10s") as second:
            assert lines_of(control, first)[-1]["why"] == "replaced"
            assert second.left_s <= 10
    assert [fault["fault"] for fault in control.faults()] == ["html"]
    assert control.clear() == ["html"]
    assert control.clear() == []


def test_a_fault_is_over_when_its_time_is_even_if_its_timer_is_late():
    """What acts asks the time, not the timer."""

    async def late():
        fault = Fault(KINDS["gap"], 1, 0.01)
        assert fault.alive
        until(lambda: fault.left_s == 0, "ten milliseconds")
        assert not fault.alive
        assert not fault.over.is_set()

    asyncio.run(late())


# -- what they do to streams ---------------------------------------------------------


def knock(address, path):
    """Ask a server for a stream; return what it says."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as raw:
        raw.sendall(f"GET {path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return raw.recv(10)


def test_drop_resets_and_down_refuses(control, record):
    """RST while the server listens; nobody listens while it is down; afterwards both do."""
    with control.fault("drop", "20s"):
        with pytest.raises(ConnectionResetError):
            knock(record["stream_url"], "/socket.io/")
        with control.fault("down", "20s"):
            for server in ("stream_url", "feeds_url"):
                with pytest.raises(ConnectionRefusedError):
                    knock(record[server], "/socket.io/")
            with pytest.raises(ConnectionResetError):
                knock(record["ohlc_url"], "/ohlcvstream/")
            assert sum(fault["effects"] for fault in control.status()["faults"]) == 2
    with stream(record) as ws:
        assert heard(ws, 1)


@pytest.mark.parametrize("server", ["stream_url", "feeds_url", "ohlc_url"])
@pytest.mark.parametrize("fault", ["drop", "close", "engineio-close", "disconnect"])
def test_all_three_streams_end(control, record, server, fault):
    """Stream, order feed and candles end in the same way."""
    path = "/ohlcvstream/" if server == "ohlc_url" else "/socket.io/"
    with stream(record, server=server, path=path) as ws:
        assert control.fault(fault).effects >= 1
        said = []
        with pytest.raises(ConnectionClosed) as closed:
            listen_to_the_end(ws, said)
    wanted = {"engineio-close": "1", "disconnect": "41"}.get(fault)
    assert (wanted in said) == (wanted is not None)
    assert (closed.value.rcvd is not None and closed.value.rcvd.code == 1001) == (fault == "close")


def test_a_half_open_stream_answers_nothing(control, record):
    """No frame, no pong of either protocol, no join taken; then it goes on, and lets others in."""
    with stream(record) as ws:
        events(ws, 0.3)
        with control.fault("halfopen", "60s") as fault:
            events(ws, 0.3)
            pong = ws.ping()
            ws.send("2")
            ws.send('42["join","4.1!11536"]')
            assert events(ws, 0.8) == []
            assert not pong.is_set()
            until(lambda: fault.effects >= 3, "what it swallowed")
        assert any("4.1!2885" in packet for packet in heard(ws, 1))
        assert control.status()["rooms"] == {RELIND: 1}


def test_slow_frames_come_late_in_order_and_all_at_once_when_it_is_over(control, record):
    """Nothing is lost; what waits is let go at the end."""
    with stream(record) as ws:
        events(ws, 0.3)
        with control.fault("slow", "60s", delay_s=20.0):
            events(ws, 0.2)  # what was sent before
            assert [p for p in events(ws, 1.0) if p.startswith("42")] == []
        packets = [json.loads(p[2:])[1] for p in heard(ws, 3) if p.startswith("42")]
    assert len(packets) >= 3
    volumes = [frame[12] for frame in packets]
    assert volumes == sorted(set(volumes))


def test_two_faults_at_once_get_along(control, record):
    """Slow delays the page that maintenance answers; dup doubles what garbage made."""
    with control.fault("slow", "10s", delay_s=0.5), control.fault("maintenance", "10s"):
        begun = time.monotonic()
        with pytest.raises(OSError, match="503"):
            urlopen(record["login_url"], timeout=60)
        assert time.monotonic() - begun >= 0.5
    with stream(record) as ws:
        events(ws, 0.3)
        with control.fault("garbage", "10s", share=1.0), control.fault("dup", "10s"):
            events(ws, 0.2)  # what was sent before
            packets = [ws.recv(60) for _ in range(6)]
    doubled = sum(a == b for a, b in pairwise(packets))
    assert doubled >= len(packets) // 2 - 1


# -- frames ------------------------------------------------------------------------


class Weather:
    """A registry of faults without a market."""

    def __init__(self, *faults):
        self.active = list(faults)

    def living(self, side):
        return [f for f in reversed(self.active) if f.kind.side == side]

    def hit(self, fault):
        fault.effects += 1


def spoilt(packets, *faults):
    async def run():
        later = []
        frames = FrameFaults(Weather(*faults), later.append)
        return [out for packet in packets for out in frames.spoil(packet)]

    return asyncio.run(run())


def test_the_same_frames_meet_the_same_garbage():
    """A share is met closely, and the same frames are hit whenever they come."""
    packets = [QUOTE.replace("1401.5", str(n)) for n in range(4000)]
    runs = [spoilt(packets, Fault(KINDS["garbage"], n, 60, share=0.05)) for n in (1, 7)]
    assert runs[0] == runs[1]
    hit = [n for n, (a, b) in enumerate(zip(packets, runs[0], strict=True)) if a != b]
    assert len(hit) == pytest.approx(200, abs=60)
    more = spoilt(packets, Fault(KINDS["garbage"], 1, 60, share=0.2))
    also = {n for n, (a, b) in enumerate(zip(packets, more, strict=True)) if a != b}
    assert set(hit) <= also


@pytest.mark.parametrize("packet", [QUOTE, CANDLE])
def test_garbage_comes_in_five_ways(packet):
    """Cut, binary, short, of wrong types, too long: none is what it was."""
    found = [malformed(packet, way) for way in range(5)]
    assert isinstance(found[1], bytes)
    with pytest.raises(ValueError, match="line 1"):
        json.loads(found[0][2:])
    whole = json.loads(packet[2:])
    for way in (2, 3, 4):
        event, payload = json.loads(found[way][2:])
        assert event == whole[0]
        assert payload != whole[1]
    assert len(found[4]) > 4000


def test_a_gap_knows_its_instrument_in_every_frame():
    """Quotes, depth and candles of it are silent, and of nothing else."""
    gap = Fault(KINDS["gap"], 1, 60, targets=frozenset({"4!2885", "NSE,RELIND"}))
    others = [
        QUOTE.replace("2885", "11536"), CANDLE.replace("RELIND", "TCS"), '42["order",["1","2"]]',
        '42["1SEC","NFO,RELIND,26-Nov-2026,1401,1402,1401,1402,300,5,2026-11-20 09:15:00,1SEC"]',
    ]  # fmt: skip
    depth = QUOTE.replace("4.1!", "4.2!")
    assert spoilt([QUOTE, depth, CANDLE, *others], gap) == others
    assert gap.effects == 3


def test_frames_meet_faults_in_the_order_in_which_these_began():
    """Garbage twice, whichever of the two came first; nothing of what a gap took."""
    garbage, dup = Fault(KINDS["garbage"], 1, 60, share=1.0), Fault(KINDS["dup"], 2, 60, share=1.0)
    for faults in ((garbage, dup), (dup, garbage)):
        found = spoilt([QUOTE], *faults)
        assert len(found) == 2
        assert found[0] == found[1] != QUOTE
    assert spoilt([QUOTE], Fault(KINDS["gap"], 3, 60), garbage, dup) == []


def test_reordered_frames_are_all_there():
    """Neighbours change places; none is lost or doubled."""
    packets = [QUOTE.replace("1401.5", str(n)) for n in range(501)]
    found = spoilt(packets, Fault(KINDS["reorder"], 1, 60, share=0.5))
    assert found != packets[: len(found)]
    assert len(found) in (500, 501)
    assert len(set(found)) == len(found)
    assert all(abs(packets.index(packet) - n) <= 1 for n, packet in enumerate(found))


def test_a_frame_held_back_goes_on_alone():
    """When no other frame follows, it is late and not lost."""

    async def run():
        later = asyncio.Queue()
        frames = FrameFaults(Weather(Fault(KINDS["reorder"], 1, 60, share=1.0)), later.put_nowait)
        assert frames.spoil(QUOTE) == []
        async with asyncio.timeout(2):
            return await later.get()

    assert asyncio.run(run()) == QUOTE


# -- what could go wrong ---------------------------------------------------------------


def test_a_port_that_somebody_took_is_taken_back_when_it_is_free(control, record):
    """The market waits for its port and listens again; the rest of it goes on."""
    parts = urlsplit(record["feeds_url"])
    with control.fault("down", "20s"), socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((parts.hostname, parts.port))
        thief.listen()
        down_since = time.monotonic()
        control.fault("down", "100ms").wait()
        until(lambda: time.monotonic() - down_since > 0.5, "a few vain tries")
        with stream(record) as ws:
            assert heard(ws, 1)
    until(lambda: _listens(record), "the port's return")


def _listens(record):
    try:
        with stream(record, server="feeds_url"):
            return True
    except (OSError, ConnectionClosed):
        return False


def test_any_mixture_of_faults_leaves_a_healthy_market(tmp_path):
    """Hundreds in any order, with clients about: no traceback, and afterwards all is well."""
    errors = tmp_path / "errors.txt"
    choice = random.Random(5)
    kinds = [kind for kind in KINDS.values() if kind.name != "expire"]
    with errors.open("w") as said, market(tmp_path, "--no-limits", errors=said) as record:
        control = control_of(record)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            kind = choice.choice(kinds)
            options = {"for_": choice.choice([0.05, 0.3, 1.0])} if kind.lasts else {}
            if kind.lasts and choice.random() < 0.2:
                options["count"] = choice.randint(1, 5)
            control.fault(kind.name, **options)
            if choice.random() < 0.2:
                control.clear()
            with contextlib.suppress(*BAD_WEATHER), stream(record) as ws:
                ws.send("2")
                events(ws, 0.02)
        control.clear()
        with stream(record) as ws:
            assert heard(ws, 1)
        until(lambda: sum(control.status()["connections"].values()) <= 1, "the last goodbye")
        logged = [line for line in control.log() if "fault" in line]
        begun = {line["number"] for line in logged if line["what"] == "fault began"}
        ended = [line["number"] for line in logged if line["what"] == "fault ended"]
        assert begun <= set(ended)
        assert len(ended) == len(set(ended))
    assert errors.read_text() == ""
