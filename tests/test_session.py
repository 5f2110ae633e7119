"""Logging in, the cached master, and history as one frame."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd
import pytest

import breeze_lab
from breeze_lab import (
    _sdk,
    cli,
    clock,
    errors,
    historical,
    lab,
    processes,
    quotes,
    session,
    settings,
)
from breeze_lab.bars import Interval
from breeze_lab.limits import CallMeter


@pytest.fixture
def logged_in(practice, home):
    """A session on the practice market, forgotten afterwards."""
    endpoints = settings.Endpoints.from_dict(practice, name="practice")
    yield session.login(
        practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
    )
    session.logout()


def test_nobody_logged_in_is_loud(home):
    """Every door says what to type; nothing is started."""
    session.logout()
    for call in (breeze_lab.history, breeze_lab.quote, breeze_lab.candles, breeze_lab.search):
        with pytest.raises(errors.NotLoggedIn, match="%breeze_login practice"):
            call("RELIANCE")
    assert "nobody" in repr(breeze_lab.status())
    assert not list((home / "runtime").glob("*.json"))


def test_a_session_ends_at_the_next_midnight(logged_in):
    """Until is an aware IST midnight, at most a day away; afterwards nothing is sent."""
    assert (logged_in.until.hour, logged_in.until.minute) == (0, 0)
    assert timedelta(0) < logged_in.until - clock.now() <= timedelta(days=1)
    logged_in.until = clock.now()
    spent = logged_in.meter.total
    with pytest.raises(errors.SessionExpired, match="breeze_login"):
        breeze_lab.history("RELIANCE")
    assert logged_in.meter.total == spent


def test_the_master_is_cached_and_used_when_the_download_fails(logged_in, practice, home):
    """A dead master server is said out loud and yesterday's file is used."""
    assert logged_in.master.resolve("RELIANCE").stock_code == "RELIND"
    endpoints = settings.Endpoints.from_dict(
        {**practice, "master_url": "http://127.0.0.1:9/SecurityMaster.zip"}, name="practice"
    )
    with pytest.warns(UserWarning, match="could not be had"):
        again = session.login(
            practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
        )
    assert again.master.resolve("RELIANCE").stock_code == "RELIND"


def test_an_unchanged_master_is_not_downloaded_again(logged_in, practice, home):
    """The second login asks whether it changed and keeps the very file it has."""
    path = logged_in.master_path
    before = path.stat()
    session.logout()
    endpoints = settings.Endpoints.from_dict(practice, name="practice")
    session.login(
        practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
    )
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_without_any_master_login_fails_with_the_reason(practice, home):
    """No file and no server is a typed error."""
    endpoints = settings.Endpoints.from_dict(
        {**practice, "master_url": "http://127.0.0.1:9/SecurityMaster.zip"}, name="other"
    )
    with pytest.raises(errors.MasterError, match="security master"):
        session.login("key", "secret", "1", endpoints=endpoints)


def test_a_web_page_is_not_taken_for_a_master(practice, home):
    """The login page answers 200 with HTML; that must not become the master."""
    endpoints = settings.Endpoints.from_dict(
        {**practice, "master_url": practice["login_url"]}, name="page"
    )
    with pytest.raises(errors.BadResponse, match="no security master"):
        session.login("key", "secret", "1", endpoints=endpoints)


def test_history_is_the_documented_frame(logged_in):
    """Columns, types, zone, order and half-open range are as the docstring says."""
    frame = breeze_lab.history("RELIANCE", "1m", "2026-06-29 09:15", "2026-06-29 10:00")
    assert list(frame.columns) == list(historical.COLUMNS)
    assert str(frame.index.tz) == "Asia/Kolkata"
    assert frame.index.is_monotonic_increasing
    assert frame.index.is_unique
    assert frame.index[0] == pd.Timestamp("2026-06-29 09:15", tz="Asia/Kolkata")
    assert frame.index[-1] == pd.Timestamp("2026-06-29 09:59", tz="Asia/Kolkata")
    assert len(frame) == 45
    assert frame.volume.dtype == "int64"
    assert frame.open_interest.isna().all()
    told = {"instrument": "NSE:RELIANCE", "interval": "1m", "source": "practice"}
    assert told.items() <= frame.attrs.items()
    assert (frame.high >= frame[["open", "close"]].max(axis=1)).all()
    assert (frame.low <= frame[["open", "close"]].min(axis=1)).all()


def test_a_long_range_is_whole_and_costs_what_was_planned(logged_in):
    """Three weeks of minutes: more than a call holds, no minute missing, the price as planned."""
    start = datetime(2026, 6, 8, tzinfo=clock.IST)
    end = datetime(2026, 6, 27, tzinfo=clock.IST)
    instrument = logged_in.resolve("RELIANCE")
    price = len(historical.plan(instrument, Interval.M1, start, end))
    spent = logged_in.meter.total
    steps = []
    frame = historical.candles(
        logged_in, instrument, Interval.M1, start, end, progress=lambda *at: steps.append(at)
    )
    days = 14  # 8 to 26 June 2026 less the holiday on the 26th
    assert len(frame) == days * 375
    assert logged_in.meter.total - spent == price == len(steps)
    assert price <= days // 2 + 1, "two and a half days fit into a call"
    assert steps[-1] == (price, price)


def test_an_answer_cut_to_its_newest_candles_is_completed(logged_in, monkeypatch):
    """If the plan is too wide the broker cuts silently; we notice and fetch the rest."""
    start = datetime(2026, 6, 8, tzinfo=clock.IST)
    end = datetime(2026, 6, 20, tzinfo=clock.IST)
    monkeypatch.setattr(historical.calls, "plan", lambda *_: [historical.Window(start, end)])
    instrument = logged_in.resolve("RELIANCE")
    frame = historical.candles(logged_in, instrument, Interval.M1, start, end)
    assert len(frame) == 10 * 375


@pytest.mark.parametrize(
    ("interval", "source", "per_bar"), [("3m", "1m", 3), ("15m", "5m", 3), ("1h", "30m", 2)]
)
def test_intervals_the_broker_lacks_are_merged_from_shorter_ones(
    logged_in, interval, source, per_bar
):
    """3m, 15m and 1h equal a merge of their parts, aligned to 09:15."""
    long = breeze_lab.history("RELIANCE", interval, "2026-06-29", "2026-06-30")
    short = breeze_lab.history("RELIANCE", source, "2026-06-29", "2026-06-30")
    assert long.index[0] == pd.Timestamp("2026-06-29 09:15", tz="Asia/Kolkata")
    assert long.volume.sum() == short.volume.sum()
    assert long.iloc[0].high == short.iloc[:per_bar].high.max()
    assert long.iloc[0].close == short.iloc[per_bar - 1].close
    assert len(long) == -(-len(short) // per_bar)


def test_without_a_start_the_newest_bars_come(logged_in):
    """One call brings the last 500 bars, the forming one included."""
    spent = logged_in.meter.total
    frame = breeze_lab.history("RELIANCE", "1m")
    assert len(frame) == 500
    assert logged_in.meter.total - spent <= 2
    assert clock.now() - frame.index[-1].to_pydatetime() < timedelta(minutes=2)


def test_derivatives_carry_open_interest(logged_in):
    """A future's frame has whole lots and open interest."""
    future = logged_in.resolve("NIFTY fut")
    frame = breeze_lab.history("NIFTY fut", "1d")
    assert frame.open_interest.notna().all()
    assert (frame.volume % future.lot_size == 0).all()


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [("yesterday", None, "no date"), ("2026-06-30", "2026-06-29", "empty")],
)
def test_odd_ranges_are_refused(logged_in, start, end, why):
    """Text that is no date and ranges that end before they start raise SettingsError."""
    with pytest.raises(errors.SettingsError, match=why):
        breeze_lab.history("RELIANCE", "1d", start, end)


def test_an_unknown_interval_names_the_known_ones(logged_in):
    """2m does not exist; the message lists what does."""
    with pytest.raises(errors.SettingsError, match=re.escape("1s, 5s, 1m")):
        breeze_lab.history("RELIANCE", "2m")


def test_a_quote_has_an_age(logged_in):
    """Prices in order, an aware time and how old it is."""
    quote = breeze_lab.quote("RELIANCE")
    assert quote.instrument == "NSE:RELIANCE"
    assert quote.lower_circuit <= quote.low <= quote.last <= quote.high <= quote.upper_circuit
    assert quote.time.utcoffset() == timedelta(hours=5, minutes=30)
    assert timedelta(0) <= quote.age < timedelta(minutes=1)
    assert quote.source == "practice"
    assert breeze_lab.quote("BSE:RELIANCE").instrument == "BSE:RELIANCE"


def test_a_wrong_name_asks_nothing_of_the_broker(logged_in):
    """`candles("RELIANC")` is refused before any call, relay or subscription."""
    spent = logged_in.meter.total
    with pytest.raises(errors.InstrumentNotFound, match="Type 'RELIANCE'"):
        breeze_lab.candles("RELIANC")
    assert logged_in.meter.total == spent
    assert not (settings.folders().runtime / "relay.json").exists()


def test_the_status_tells_where_things_stand_without_secrets(logged_in, practice):
    """Account, validity, calls and addresses; no key, secret or token."""
    text = repr(breeze_lab.status())
    assert logged_in.identity.name in text
    assert "good until" in text
    assert practice["stream_url"] in text
    for secret in (practice["app_key"], practice["secret"], logged_in.identity.session_key):
        assert secret not in text


def test_times_are_the_same_on_every_machine(practice, tmp_path, machine):
    """Bars and quotes carry aware IST times whatever zone and locale the process has."""
    code = """
import json, locale, os, sys, time
import breeze_lab
from breeze_lab import settings
if "LOCPATH" in os.environ:
    locale.setlocale(locale.LC_ALL, "")
    assert not time.strftime("%B").isascii()
market = json.loads(sys.argv[1])
endpoints = settings.Endpoints.from_dict(market, name="practice")
breeze_lab.login(market["app_key"], market["secret"], market["api_session"], endpoints=endpoints)
frame = breeze_lab.history("RELIANCE", "30m", "2026-06-29", "2026-06-30")
print(frame.index[0].isoformat(), frame.index[-1].isoformat(), frame.close.iloc[-1])
print(breeze_lab.quote("RELIANCE").time.utcoffset())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(practice)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "BREEZE_LAB_HOME": str(tmp_path), **machine},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bars, offset = done.stdout.splitlines()
    assert bars.startswith("2026-06-29T09:15:00+05:30 2026-06-29T15:15:00+05:30 ")
    assert offset == "5:30:00"


_CHART = """
import sys
from breeze_lab import historical, session
from breeze_lab.bars import Interval
from breeze_lab.widgets import LiveChart
heavy = {"bokeh", "pandas", "socketio", "aiohttp", "redis", "breeze_connect"}
now = session.current()
assert not heavy & set(sys.modules) and "requests" not in sys.modules
instrument = now.resolve("RELIANCE")
past = historical.newest(now, instrument, Interval.M1, 300)
chart = LiveChart(instrument, Interval.M1, past, practice=now.practice)
print(len(chart.bars), len(chart.figure), *sorted(heavy & set(sys.modules)))
assert len(past.frame) == 300 and "pandas" in sys.modules
"""


def test_a_fresh_kernel_loads_neither_bokeh_nor_pandas_for_a_chart(logged_in):
    """One that joins the session draws from the disk what was drawn before; the first one draws."""
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _CHART], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split())
    assert told[1] == [str(300 * 6 * 8), told[0][1]]
    assert "bokeh" in told[0], "nothing was kept before"


def test_other_options_of_a_running_practice_market_are_not_ignored(home):
    """Asking for another seed than the running market's is refused, with the way out."""
    try:
        assert session.login_practice(seed=5).practice
        assert session.login_practice().practice
        with pytest.raises(errors.SettingsError, match="seed=5 is already running"):
            session.login_practice(seed=6)
        assert cli.main(["stop"]) == 0
        deadline = time.monotonic() + 60
        while processes.running(settings.folders().runtime, "practice"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert session.login_practice(seed=6, exchange_hours=True).practice
    finally:
        cli.main(["stop"])
        session.logout()


def test_a_full_call_budget_is_waited_out_and_said(logged_in, practice, home, capsys):
    """The call that finds the minute full waits, says for how long, and then works."""
    meter = CallMeter(home / "data" / "calls.db", limit=2)
    keys = {"app_key": practice["app_key"], "secret": practice["secret"]}
    client = _sdk.Client(logged_in.endpoints, logged_in.master_path, **keys, meter=meter)
    client.resume(logged_in.identity)
    now = replace(logged_in, client=client)
    share = now.resolve("RELIANCE")
    with meter._book.writing() as page:
        page.pretend(2, page.now - 57)
    quotes.fetch(now, share)
    assert re.search(r"Waiting [1-3] s: the broker allows 2 calls", capsys.readouterr().err)
    assert meter.total == 1
    assert "1 of 2 in the last minute, 1 left; 3 of 5000 today" in lab._calls_line(meter)
