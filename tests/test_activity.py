"""A relay that records a market that is open keeps its server in use, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from relay_home import Share, practice_login, relay_home
from waiting import until

from breeze_lab import clock, processes, settings
from breeze_lab.feed import Feed
from breeze_lab.practice import control
from breeze_lab_server import activity
from breeze_lab_server.supervisor import Supervisor

OPEN = datetime(2026, 11, 19, 10, tzinfo=clock.IST)
NIGHT = OPEN.replace(hour=20)


def told(**changes):
    """Return what the supervisor says of a relay that records."""
    now_ms = int(OPEN.timestamp() * 1000)
    relay = {
        "running": True, "wal": {"recording": True, "error": ""},
        "instruments": [{"key": "NSE:RELIANCE", "last_ms": now_ms - 1000}],
    }  # fmt: skip
    return {"relay": relay | changes, "upstream": {"state": "connected"}}


def test_only_a_real_recording_of_an_open_market_counts():
    """Connected, in the log, a fresh tick, market hours: without one of them it is idle."""
    last = OPEN - timedelta(seconds=1)
    assert activity.recorded_last(told(), OPEN, OPEN) == last
    assert activity.recorded_last(told(), NIGHT, OPEN) is None
    assert activity.recorded_last(told(), OPEN.replace(day=22), OPEN) is None, "a Sunday"
    assert activity.recorded_last(told(), OPEN, OPEN + timedelta(minutes=11)) is None
    assert activity.recorded_last(told(instruments=[]), OPEN, OPEN) is None
    assert activity.recorded_last(told(wal={"recording": False}), OPEN, OPEN) is None
    full = {"recording": True, "error": "the disk is full"}
    assert activity.recorded_last(told(wal=full), OPEN, OPEN) is None
    lost = told() | {"upstream": {"state": "offline"}}
    assert activity.recorded_last(lost, OPEN, OPEN) is None
    assert (
        activity.recorded_last({"relay": {"running": True}, "upstream": None}, OPEN, OPEN) is None
    )
    # The evening belongs to commodities.
    gold = [{"key": "MCX:GOLD", "last_ms": int(NIGHT.timestamp() * 1000)}]
    assert activity.recorded_last(told(instruments=gold), NIGHT, NIGHT) == NIGHT
    # A clock that was set back must not promise a future.
    assert activity.recorded_last(told(), OPEN, OPEN - timedelta(hours=1)) == OPEN - timedelta(
        hours=1
    )


@pytest.fixture
def market(tmp_path, monkeypatch):
    """A home with a practice market at ten in the morning of a trading day; its ready record."""
    with relay_home(tmp_path, monkeypatch) as folders:
        command = [
            sys.executable, "-m", "breeze_lab.practice", f"--runtime={folders.runtime}",
            "--at=2026-11-19T10:00", "--no-limits",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                yield until(lambda: processes.running(folders.runtime, "practice"), "the market")
            finally:
                process.terminate()


def test_a_real_relay_is_activity_until_its_market_closes(market):
    """A relay of a practice market at ten keeps the server in use, and no longer at night."""
    times: dict[str, datetime] = {}
    log = logging.getLogger("test")
    recording = activity.Recording(Supervisor(log), times, log)

    def look():
        return asyncio.run(recording.look())

    assert look() is None
    assert processes.running(settings.folders().runtime, "relay") is None, "none is started for it"
    with Feed(settings.folders()) as feed:
        feed.login(**practice_login(market))
        with feed.subscribe([Share()]):
            moment = until(look, "a recorded tick")
            assert times["breeze_lab_recording"] >= moment
            assert abs(clock.now() - moment) < timedelta(minutes=10)
            control.Control.of(market).jump("20:00")
            assert look() is None
