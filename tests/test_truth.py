"""The truth table as text and HTML, and ``breeze-lab relay`` around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime

import pytest
from prometheus_text import read as read_metrics
from relay_home import Client, Share, relay_home, stream_login
from stream_server import quote
from waiting import until

from breeze_lab import clock, processes, truth

COMMAND = [sys.executable, "-c", "import sys; from breeze_lab.cli import main; sys.exit(main())"]
NOON = datetime(2026, 11, 26, 12, 0, tzinfo=clock.IST)
NIGHT = datetime(2026, 11, 26, 22, 0, tzinfo=clock.IST)


@pytest.fixture
def home(tmp_path, monkeypatch):
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders


def status(now, ages, **changes):
    """Return a relay's status with one instrument for each age in seconds."""
    now_ms = int(now.timestamp() * 1000)
    return {
        "pid": 7, "version": "1.0", "uptime_s": 7500.0, "frames": 1234567, "malformed": 0,
        "unasked": 0, "last_tick_age_s": 0.5,
        "upstream": {
            "state": "connected", "endpoints": "icici", "since": "2026-11-26T09:00:01+05:30",
            "epoch": 2, "error": "",
        },
        "clients": [{"name": "kernel <9>", "keys": 2, "waiting": 3, "delivered": 4, "lost": 5}],
        "instruments": [
            {
                "key": f"NSE:S{i}", "asked_ms": now_ms - 60_000, "joined": True, "ticks": i,
                "first_ms": None if age is None else now_ms - 50_000, "gaps": 0, "consumers": 1,
                "last_ms": None if age is None else int(now_ms - age * 1000),
            }
            for i, age in enumerate(ages)
        ],
        **changes,
    }  # fmt: skip


def moods(monkeypatch, now, ages, **changes):
    monkeypatch.setattr(clock, "now", lambda: now)
    return [row.mood for row in truth.read(status(now, ages, **changes)).rows]


def test_an_age_is_judged_by_market_hours(monkeypatch):
    """Old prices are silent while the market trades, and closed with it; none yet is waiting."""
    ages = [0.4, 30, 500, None]
    assert moods(monkeypatch, NOON, ages) == ["live", "quiet", "silent", "waiting"]
    assert moods(monkeypatch, NIGHT, ages) == ["closed"] * 4
    practice = {"state": "connected", "endpoints": "practice", "since": "", "epoch": 1}
    assert moods(monkeypatch, NIGHT, ages, upstream=practice)[0] == "live"
    lost = {"state": "connecting", "endpoints": "icici", "since": "", "epoch": 1, "error": "cut"}
    assert moods(monkeypatch, NOON, ages, upstream=lost) == ["off"] * 4


def test_the_relay_s_own_verdict_goes_first(monkeypatch):
    """Where the relay knows the rhythm of an instrument, its pulse is shown; a gap is named."""
    told = status(NOON, [500.0])
    told["instruments"][0] |= {"pulse": "quiet", "gap": ["NSE:S0", 1, None, "link lost", "open"]}
    monkeypatch.setattr(clock, "now", lambda: NOON)
    table = truth.read(told)
    assert table.rows[0].mood == "quiet"
    assert "gap: link lost" in str(table)


def test_the_table_reads_as_text_and_as_html(monkeypatch):
    """Every column, the consumers, the log, gaps and budget where they are; markup is escaped."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    wal = {"on": True, "bytes": 2_500_000, "written": 9, "synced_age_s": 0.2, "error": ""}
    gaps = {"open": 1, "counts": {"open": 1, "healed": 2}, "rows": [], "trouble": ""}
    table = truth.read(
        status(NOON, [0.4, None], wal=wal, gaps=gaps), {"minute": [38, 100], "today": [1, 5000]}
    )
    text = str(table)
    assert "connected to icici, since 09:00:01 IST, connection 2" in text
    assert "up 2 h 5 m" in text
    assert "1,234,567 received" in text
    assert "2.5 MB, 9 records, on disk 0.2 s ago" in text
    assert "2 healed, 1 open" in text
    assert "38 of 100 in the last minute, 62 left" in text
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("instrument"))
    row = next(line for line in lines if line.startswith("NSE:S0"))
    assert row.split() == ["NSE:S0", "live", "11:59:00", "yes", "11:59:10", "11:59:59", "0", "0",
                           "0.4", "s"]  # fmt: skip
    assert head.index("asked") == row.index("11:59:00")
    html = table._repr_html_()
    assert "kernel &lt;9&gt;" in html
    assert "<9>" not in html
    assert json.loads(json.dumps(table.to_dict()))["rows"][0]["key"] == "NSE:S0"


def test_a_log_in_trouble_and_no_relay_are_said():
    """What is not recorded is loud; without a relay the table says what starts one."""
    trouble = status(clock.now(), [], wal={"on": True, "error": "No space left on device"})
    assert "NOT recording: No space left" in str(truth.read(trouble))
    assert "starts it" in str(truth.read(None))
    assert "is stuck" in str(truth.read(None, error="is stuck"))


# -- the command ---------------------------------------------------------------


def run(*words, code=0):
    done = subprocess.run(
        [*COMMAND, "relay", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_relay_that_is_down_is_told_and_not_started(home):
    """Status, metrics and logs say what to do and leave 3; stopping nothing is fine."""
    assert "breeze-lab relay start" in run("status", code=3)
    assert json.loads(run("status", "--json", code=3)) == {"running": False}
    assert "breeze-lab relay start" in run("metrics", code=3)
    assert "no relay was started" in run("logs", code=3)
    assert "No relay runs" in run("stop")
    assert processes.running(home.runtime, "relay") is None


def test_the_command_shows_the_relay(home, server):
    """Start, a tick, the table with its age, metrics, the log, and the end."""
    assert "The relay runs: process" in run("start")
    with Client(home) as client:
        client.login(stream_login(server))
        client.subscribe(Share())
        until(lambda: server.rooms, "the join")
        server.emit(quote("4.1!2885", 101.0, 10, int(clock.now().timestamp())))
        until(lambda: client.ask("status")["frames"], "the tick")
        text = run("status")
        told = json.loads(run("status", "--json"))
        found = read_metrics(run("metrics"))
    row = next(line for line in text.splitlines() if line.startswith("NSE:RELIANCE"))
    assert row.split()[3] == "yes"
    assert "connected to practice" in text
    assert "consumer" in text
    assert told["running"]
    assert told["frames"] == 1
    assert found["breeze_lab_relay_frames_total"] == {(): 1}
    assert "serves at" in run("logs")
    assert len(run("logs", "-n", "1").splitlines()) == 1
    assert run("logs", "--lines", "0") == ""
    assert "The relay ended" in run("stop")
    down = run("status", code=3)
    assert "The last one said" in down
    assert "Relay ends" in down


def test_a_followed_log_goes_on(home):
    """-f prints what the next relay says, and Ctrl-C ends it politely."""
    run("start")
    with subprocess.Popen(
        [*COMMAND, "relay", "logs", "-f", "-n", "1"], stdout=subprocess.PIPE, text=True
    ) as follower:
        assert "serves at" in follower.stdout.readline()
        run("stop")
        assert any("Relay ends" in follower.stdout.readline() for _ in range(5))
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == 0


def test_a_relay_that_hangs_is_told_apart_from_one_that_is_down(home):
    """A stopped process runs and does not answer: the message says so and what to do."""
    run("start")
    pid = processes.running(home.runtime, "relay")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert "does not answer" in run("status", code=1)
    finally:
        os.kill(pid, signal.SIGCONT)
