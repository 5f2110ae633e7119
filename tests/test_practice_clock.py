"""The market's clock can be driven, by whoever holds the control token, and sessions follow it."""

import asyncio
import base64
import itertools
import json
import time
from datetime import datetime
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import websockets
from weather import market

from breeze_lab.clock import IST
from breeze_lab.practice.exchange.market_clock import MarketClock

MORNING = datetime(2026, 11, 20, 9, 15, tzinfo=IST)


def control(record, token=None, **command):
    """Send one command; return (HTTP status, JSON)."""
    headers = {"Authorization": f"Bearer {token or record['control_token']}"}
    request = Request(record["control_url"], json.dumps(command).encode(), headers, method="POST")
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def now_of(record):
    with urlopen(record["status_url"], timeout=60) as answer:
        return datetime.fromisoformat(json.loads(answer.read())["now"])


def login(record, api_session=None):
    """Exchange an api session; return the envelope."""
    body = {"SessionToken": api_session or record["api_session"], "AppKey": record["app_key"]}
    request = Request(
        record["api_url"] + "customerdetails", json.dumps(body).encode(), method="GET"
    )
    with urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def page_session(record):
    """Press the button of the login page; return the api session it hands out."""
    with urlopen(Request(record["login_url"], b"", method="POST"), timeout=60) as landing:
        return landing.url.rpartition("apisession=")[2]


def test_a_clock_runs_stands_and_jumps():
    """Speed, pause and jump change time from now on and never what has passed."""
    driven = MarketClock(60.0, MORNING, paused=True)
    assert driven.now() == MORNING
    assert driven.wait_s(driven.now_ms() + 1000) > 60
    driven.set(paused=False)
    assert driven.wait_s(driven.now_ms() + 60_000) <= 1.0
    before = driven.now_ms()
    driven.set(speed=1.0)
    assert 0 <= driven.now_ms() - before < 1000
    driven.set(at=datetime(2026, 11, 20, 15, 30))  # noqa: DTZ001 - naive is IST
    assert driven.jumps == 1
    assert 0 <= driven.now_ms() / 1000 - datetime(2026, 11, 20, 15, 30, tzinfo=IST).timestamp() < 1


@pytest.mark.parametrize("speed", [0, -1, 3601, float("nan"), float("inf")])
def test_an_impossible_speed_changes_nothing(speed):
    """The clock goes on as it was."""
    driven = MarketClock(2.0, MORNING, paused=True)
    with pytest.raises(ValueError, match=r"between 0\.01 and 3600"):
        driven.set(speed=speed, at=datetime(2020, 1, 1, tzinfo=IST))
    assert (driven.speed, driven.now()) == (2.0, MORNING)


def test_only_the_token_drives(tmp_path):
    """Without it nothing happens; bad commands say what would be right and change nothing."""
    with market(tmp_path, "--at", "2026-11-20T09:15", "--paused") as record:
        assert now_of(record) == MORNING
        assert control(record, token="guess", command="clock", speed=5)[0] == 401
        for bad in (
            {}, {"command": "fly"}, {"command": "clock", "speed": "fast"},
            {"command": "clock", "at": "yesterday"}, {"command": "clock", "spede": 3},
            {"command": "clock", "speed": 1e9}, {"command": "clock", "paused": 1},
        ):  # fmt: skip
            status, answer = control(record, **bad)
            assert status == 400
            assert answer["error"]
        assert control(record, command="clock")[1] == {
            "now": MORNING.isoformat(), "speed": 1.0, "paused": True,
        }  # fmt: skip
        status, answer = control(record, command="clock", at="2026-11-20T15:29", speed=120)
        assert (status, answer["speed"], answer["paused"]) == (200, 120.0, True)
        control(record, command="clock", paused=False)
        deadline = time.monotonic() + 60
        while now_of(record) < datetime(2026, 11, 20, 15, 31, tzinfo=IST):
            assert time.monotonic() < deadline
        log = control(record, command="log")[1]["log"]
        assert [line["what"] for line in log] == ["clock", "clock"]
        assert log[0]["at"] == "2026-11-20T15:29"


async def _frames(record, room, count, after=None):
    """Join a room; return the frames of `count` ticks, `after(record)` called at the first."""
    token = login(record)["Success"]["session_token"]
    user, key = base64.b64decode(token).decode().split(":")
    url = record["stream_url"].replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    found = []
    async with asyncio.timeout(90), websockets.connect(url) as socket:
        await socket.send("40" + json.dumps({"user": user, "token": key}))
        async for packet in socket:
            if packet.startswith("40"):
                await socket.send(f'42["join","{room}"]')
            if not packet.startswith("42"):
                continue
            found.append(json.loads(packet[2:])[1])
            if len(found) == 1 and after:
                await asyncio.to_thread(after)
            if len(found) == count:
                break
    return found


def test_listeners_are_told_of_a_jump(tmp_path):
    """After a jump the next frame stands at the new time, forward and back, without the trades between."""
    with market(tmp_path, "--at", "2026-11-20T11:00", "--paused") as record:

        def jump():
            control(record, command="clock", at="2026-11-20T14:00")
            control(record, command="clock", at="2026-11-20T09:30")

        frames = asyncio.run(_frames(record, "4.1!2885", 3, jump))
    hours = [datetime.fromtimestamp(frame[19], IST).strftime("%H:%M") for frame in frames]
    assert hours[0] == "10:59"
    assert hours[-1] == "09:29"
    assert len(hours) == 3


def test_sessions_end_at_the_markets_midnight(tmp_path):
    """The old session is refused, the sockets are cut, and the login page has a new one."""
    with market(tmp_path, "--at", "2026-11-20T23:59:59", "--paused") as record:
        assert login(record)["Status"] == 200
        assert page_session(record) == record["api_session"]

        def past_midnight():
            control(record, command="clock", paused=False, speed=60)

        with pytest.raises(websockets.ConnectionClosed):
            asyncio.run(_frames(record, "4.1!2885", 100_000, past_midnight))
        assert login(record)["Error"] == "Resource not available."
        anew = page_session(record)
        assert anew != record["api_session"]
        assert login(record, anew)["Status"] == 200


def test_kept_sessions_outlive_midnight_and_one_shot_ones_are_exchanged_once(tmp_path):
    """Both switches do what they say."""
    options = ("--at", "2026-11-20T23:59:59", "--speed", "3600", "--keep-sessions", "--one-shot")
    with market(tmp_path, *options) as record:
        deadline = time.monotonic() + 60
        while now_of(record).day == 20:
            assert time.monotonic() < deadline
        assert login(record)["Status"] == 200
        assert login(record) == {"Success": None, "Status": 500, "Error": "Request Object is Null"}


def test_a_session_ends_on_command(tmp_path):
    """Expire means: renew it at the login page."""
    with market(tmp_path) as record:
        assert login(record)["Status"] == 200
        assert control(record, command="expire") == (200, {})
        assert login(record)["Error"] == "Resource not available."
        assert login(record, page_session(record))["Status"] == 200


def test_quotes_can_come_as_seldom_as_the_brokers(tmp_path):
    """With an interval a room sends snapshots: none sooner, and no trade is left out of them."""
    options = ("--at", "2026-11-20T11:00", "--speed", "20", "--paused", "--quote-interval")

    def heard(interval, count):
        with market(tmp_path, *options, interval) as record:

            def go():  # both begin at eleven, however long a join takes
                control(record, command="clock", paused=False)

            return asyncio.run(_frames(record, "4.1!2885", count, go))

    frames, trades = heard("2", 12), heard("0", 300)
    # A snapshot carries the time of its last trade, which lies up to a quiet moment back.
    times = [frame[19] for frame in frames[1:]]
    for (one, earlier), (two, later) in itertools.combinations(enumerate(times), 2):
        assert later - earlier >= 2 * (two - one) - 2
    known = {frame[12] for frame in trades}  # the day's volume after each trade
    overlap = [frame[12] for frame in frames if trades[0][12] <= frame[12] <= trades[-1][12]]
    assert len(overlap) > 3
    assert set(overlap) <= known
