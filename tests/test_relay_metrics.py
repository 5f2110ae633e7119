"""The relay's metrics: what a scraper reads is what the status says, in a format it trusts."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from prometheus_text import read
from relay_home import Client, Share, relay_home, stream_login
from stream_server import quote
from waiting import until

from breeze_lab import clock, processes, relay_command
from breeze_lab.errors import ProcessError
from breeze_lab.relay import metrics

STATUS = {
    "version": "1.0", "uptime_s": 2.5, "frames": 12, "ticks": 9, "malformed": 1, "unasked": 2,
    "rooms": ["4.1!2885"], "consumers": 3, "last_tick_age_s": 0.125,
    "upstream": {"state": "connected", "epoch": 3},
    "clients": [
        {"name": "kernel 7", "waiting": 1, "delivered": 5, "lost": 0},
        {"name": "kernel 7", "waiting": 2, "delivered": 6, "lost": 4},
        {"name": 'a "b" \\ c\nd', "waiting": 0, "delivered": 0, "lost": 0},
    ],
}  # fmt: skip
PREFIX = "breeze_lab_relay_"


@pytest.fixture
def home(tmp_path, monkeypatch):
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders


def test_the_page_says_what_the_status_says():
    """Counters, gauges and the state; consumers of one name are one line; names are escaped."""
    found = read(metrics.render(STATUS, {"minute": [30, 100], "today": [5001, 5000]}))
    assert found[PREFIX + "frames_total"] == {(): 12}
    assert found[PREFIX + "last_tick_age_seconds"] == {(): 0.125}
    assert found[PREFIX + "reconnects_total"] == {(): 2}
    assert found[PREFIX + "upstream_state"][("state", "connected"),] == 1
    assert sum(found[PREFIX + "upstream_state"].values()) == 1
    assert found[PREFIX + "consumer_waiting"][("name", "kernel 7"),] == 3
    assert found[PREFIX + "consumer_lost_total"][("name", "kernel 7"),] == 4
    assert len(found[PREFIX + "consumer_lost_total"]) == 2
    assert found[PREFIX + "calls_left"] == {(("span", "minute"),): 70, (("span", "today"),): 0}


def test_what_is_not_known_is_left_out():
    """No tick yet, nobody logged in, no consumer: no sample, and no metric without one."""
    found = read(metrics.render({**STATUS, "last_tick_age_s": None, "clients": []}))
    assert PREFIX + "last_tick_age_seconds" not in found
    assert PREFIX + "calls_used" not in found
    assert PREFIX + "consumer_waiting" not in found


def test_the_figures_of_other_rooms_show_up_by_themselves():
    """Numbers of their sub-maps become gauges, lists their length, and never more than a page."""
    rooms = {
        "wal": {"bytes": 1024, "sync-age s": 0.5, "file": "x.log", "healthy": True},
        "gaps": {"open": 1, "rows": [[1], [2]]},
        "recorder": {str(number): number for number in range(5000)},
    }
    found = read(metrics.render({**STATUS, **rooms}))
    assert found[PREFIX + "wal_bytes"] == {(): 1024}
    assert found[PREFIX + "wal_sync_age_s"] == {(): 0.5}
    assert found[PREFIX + "wal_healthy"] == {(): 1}
    assert found[PREFIX + "gaps_rows_count"] == {(): 2}
    assert not any("file" in name for name in found)
    assert len(found) < 100


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 2**60, 1e-9, -0.0])
def test_every_number_can_be_read(number):
    """Not a number, infinities, large and small ones are written as the format has them."""
    found = read(metrics.render({**STATUS, "wal": {"x": number}}))
    (value,) = found[PREFIX + "wal_x"].values()
    assert value == pytest.approx(number, nan_ok=True)


@pytest.mark.parametrize(
    "text",
    [
        "# HELP a b\n# TYPE a gauge\na 1\na 2\n", "# HELP a b\na 1\n", "a 1\n",
        "# HELP a b\n# TYPE a counter\na 1\n", "# HELP a b\n# TYPE a gauge\na 1",
        '# HELP a b\n# TYPE a gauge\na{n="x"y"} 1\n', "# HELP a b\n# TYPE a gauge\n",
        "# HELP a b\n# TYPE a gauge\nb 1\n", "# HELP a b\n# TYPE a gauge\na one\n",
    ],
)  # fmt: skip
def test_the_reader_catches_a_wrong_page(text):
    """The planted fault: twice the same, no type, a bare quotation mark, no end."""
    with pytest.raises((AssertionError, ValueError)):
        read(text)


def test_the_door_tells_its_metrics(home, server):
    """Ticks, a malformed frame and an unasked one are counted; nothing of the login is in there."""
    login = stream_login(server)
    with Client(home) as client:
        client.login(login)
        client.say(op="hello", client="metrics' client")
        client.subscribe(Share())
        until(lambda: server.rooms, "the join")
        now_s = int(clock.now().timestamp())
        server.emit(quote("4.1!2885", 101.0, 10, now_s), quote("4.1!1", 5.0, 1, now_s), [1])
        found = until(
            lambda: (
                (m := read(client.ask("metrics")["text"]))[PREFIX + "malformed_total"][()] and m
            ),
            "the third frame",
        )
        text = client.ask("metrics")["text"]
    assert found[PREFIX + "frames_total"] == {(): 3}
    assert found[PREFIX + "ticks_total"] == {(): 1}
    assert found[PREFIX + "unasked_total"] == {(): 1}
    assert found[PREFIX + "consumer_delivered_total"][("name", "metrics' client"),] <= 1
    assert found[PREFIX + "upstream_state"][("state", "connected"),] == 1
    assert login["token"] not in text
    assert login["account"] not in text


def test_a_peek_tells_the_last_tick_and_wants_nothing(home, server):
    """Whoever peeks joins no room; of a streamed instrument it gets the tick and the bars held."""
    with Client(home) as holder, Client(home) as client:
        holder.login(stream_login(server))
        wanted = [
            {"key": "NSE:RELIANCE", "room": "4.1!2885", "anchor_s": 33_300},
            {"key": "NSE:TCS", "room": "4.1!11536", "anchor_s": 33_300},
        ]
        assert client.ask("peek", instruments=wanted, bars=["1m"])["found"] == {}
        holder.subscribe(Share(), bars=["1m"])
        until(lambda: server.rooms, "the join")
        assert client.ask("peek", instruments=wanted)["found"] == {
            "NSE:RELIANCE": {"tick": None, "bars": []}
        }
        server.emit(quote("4.1!2885", 101.0, 10, int(clock.now().timestamp())))
        answer = until(
            lambda: (
                (a := client.ask("peek", instruments=wanted, bars=["1m", "5m"]))["found"][
                    "NSE:RELIANCE"
                ]["tick"]
                and a
            ),
            "the tick",
        )
        assert answer["market"] == "practice"
        found = answer["found"]["NSE:RELIANCE"]
        assert found["tick"][5] == 101.0
        assert [bar[1] for bar in found["bars"]] == ["1m"]
        assert client.ask("peek", instruments=wanted, bars=["7m"])["op"] == "error"
        assert server.rooms == {"4.1!2885"}


def test_a_scraper_keeps_no_relay_alive(home):
    """Asked for its metrics all the time, a relay nobody listens to ends when its time is up."""
    command = [sys.executable, "-m", "breeze_lab.relay", "--idle-exit", "1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as relay:
        try:
            until(lambda: processes.running(home.runtime, "relay"), "the relay")

            def ended():
                with contextlib.suppress(ProcessError):
                    relay_command.ask("metrics")
                return relay.poll() is not None

            until(ended, "its end")
        finally:
            relay.kill()
