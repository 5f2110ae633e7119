"""The ways in to stored history: `breeze_lab.history`, the chart's first bars, the command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from history_home import files, history_home, served
from IPython.core.interactiveshell import InteractiveShell

import breeze_lab
from breeze_lab import chart_looks, cli, clock, errors, historical, history_command, history_price
from breeze_lab.bars import Interval
from breeze_lab.historical.shelf import root
from breeze_lab.limits import CallMeter, FreeMeter


@contextmanager
def market(*options):
    """Run a practice market of another kind."""
    command = [sys.executable, "-m", "breeze_lab.practice", "--json", "--keep-sessions",
               "--no-limits", *options]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def sunday(tmp_path_factory):
    """A market with true hours that stands still at noon on a Sunday."""
    with (
        market("--exchange-hours", "--at", "2026-06-28T12:00", "--paused") as record,
        history_home(tmp_path_factory.mktemp("sunday"), record) as now,
    ):
        yield record, now


@pytest.fixture(autouse=True)
def empty_store(sunday):
    """Each test begins with nothing stored."""
    shutil.rmtree(root(), ignore_errors=True)


def test_a_charts_first_bars_cost_nothing_the_second_time(sunday):
    """The newest bars of a closed market come from the disk, at any interval."""
    record, now = sunday
    for interval, count in ((Interval.M1, 300), (Interval.M15, 300), (Interval.D1, 200)):
        instrument = now.resolve("RELIANCE")
        first = historical.latest(now, instrument, interval, count)
        assert len(first) == count
        assert 1 <= first.attrs["calls"] <= 2
        before = served(record)
        second = historical.latest(now, instrument, interval, count)
        assert served(record) == before
        assert second.equals(first)
        assert second.attrs["calls"] == 0
        start, end = first.index[0].to_pydatetime(), datetime(2026, 6, 28, tzinfo=clock.IST)
        direct = historical.candles(now, instrument, interval, start, end, stored=False)
        assert direct.equals(first)
    assert first.index[-1].date().isoformat() == "2026-06-25", "the 26th is a holiday"


def test_a_chart_gets_the_numbers_of_the_frame(sunday):
    """The bars that a chart is drawn from without pandas are those of the documented frame."""
    _, now = sunday
    instrument = now.resolve("RELIANCE")
    for interval, count in ((Interval.M1, 300), (Interval.M15, 300), (Interval.D1, 200)):
        series = historical.newest(now, instrument, interval, count)
        frame = historical.latest(now, instrument, interval, count)
        assert series.frame.equals(frame)
        assert len(series) == len(frame) == count
        assert series.traded is chart_looks.has_volume(frame) is True
        for limit in (10, 1000):
            drawn, wanted = series.columns(limit), chart_looks.columns(frame, limit=limit)
            assert list(drawn) == list(wanted)
            for name, column in wanted.items():
                assert drawn[name].dtype == column.dtype
                assert drawn[name].tobytes() == column.tobytes(), name
    assert set(series.frame.attrs) >= {"calls", "source", "fetched"}


def test_up_to_now_means_up_to_the_markets_now(sunday):
    """Without an end nothing of the future is planned or paid for."""
    record, _ = sunday
    before = served(record)
    frame = breeze_lab.history("INFY", "1m", "2026-06-22")
    assert len(frame) == 4 * 375
    assert served(record) - before == frame.attrs["calls"] == 2
    assert breeze_lab.history("INFY", "1m", "2026-06-22").attrs["calls"] == 0


def test_a_jump_back_in_time_shows_nothing_of_the_future(sunday):
    """Bars that were kept while the market's clock was ahead are not served before their time."""
    from urllib.request import Request, urlopen

    record, now = sunday
    instrument = now.resolve("TCS")
    start, end = datetime(2026, 6, 22, tzinfo=clock.IST), datetime(2026, 6, 26, tzinfo=clock.IST)

    def jump(at):
        body = json.dumps({"command": "clock", "at": at}).encode()
        headers = {"Authorization": f"Bearer {record['control_token']}"}
        with urlopen(Request(record["control_url"], body, headers)) as answer:
            assert answer.status == 200

    whole = historical.candles(now, instrument, Interval.M1, start, end)
    assert len(whole) == 4 * 375
    jump("2026-06-24T11:00")
    try:
        early = historical.candles(now, instrument, Interval.M1, start, end)
        assert early.index[-1] < datetime(2026, 6, 24, 11, 1, tzinfo=clock.IST)
        assert early.equals(
            historical.candles(now, instrument, Interval.M1, start, end, stored=False)
        )
    finally:
        jump("2026-06-28T12:00")
    again = historical.candles(now, instrument, Interval.M1, start, end)
    assert again.equals(whole)
    assert again.attrs["calls"] == 0


def test_a_long_fetch_says_its_price_and_shows_how_far_it_is(sunday, capsys):
    """More than three calls: the price first, then a bar that ends full; stored: silence."""
    frame = breeze_lab.history("RELIANCE", "1m", "2026-06-01", "2026-06-20")
    told = capsys.readouterr().err
    calls = frame.attrs["calls"]
    assert told.startswith(f"NSE:RELIANCE 1m: {calls} calls.")
    assert f"{calls}/{calls}" in told
    breeze_lab.history("RELIANCE", "1m", "2026-06-01", "2026-06-20")
    assert capsys.readouterr().err == ""


def test_a_high_price_needs_a_yes(sunday):
    """Nothing is fetched before somebody says yes; the error holds the price."""
    record, _ = sunday
    before = served(record)
    with pytest.raises(
        errors.PriceNotConfirmed, match=r"calls. Nothing was fetched.*confirm=True"
    ) as no:
        breeze_lab.history("RELIANCE", "1s", "2026-06-01", "2026-06-28")
    assert no.value.calls > 300
    assert served(record) == before


def test_a_price_above_what_is_left_needs_a_yes(tmp_path):
    """A backfill may not use the last tenth of the day."""
    meter = CallMeter(tmp_path / "calls.db", limit_today=20)
    assert history_price.left(meter) == 18
    assert history_price.left(FreeMeter()) is None
    with (
        history_price.Progress("X", meter, confirm=False) as progress,
        pytest.raises(errors.PriceNotConfirmed, match="19 calls; 18 are left today"),
    ):
        progress.before(19)
    with history_price.Progress("X", meter, confirm=True) as progress:
        progress.before(19)
    with history_price.Progress("X", meter, confirm=False) as progress:
        progress.before(3)


def test_the_command_prices_fetches_lists_verifies_and_forgets(sunday, capsys):
    """Every word of breeze-lab history, on one instrument."""

    def said(*words):
        assert cli.main(["history", *words]) == 0
        return capsys.readouterr().out.strip()

    span = "RELIANCE", "5m", "--from", "2026-06-01", "--to", "2026-06-13"
    assert said("list") == "No bars are stored yet."
    assert said("price", *span) == "NSE:RELIANCE 5m: 1 call"
    assert said("fetch", *span) == "NSE:RELIANCE 5m: 750 bars, 1 calls, 0 were stored before"
    assert said("price", *span) == "NSE:RELIANCE 5m: 0 calls"
    assert "NSE:RELIANCE" in said()
    assert "750 bars" in said("list")
    assert said("verify") == "1 files, every byte as it was written"
    path = files("NSE", "5m")["2026-06"][0]
    path.write_bytes(path.read_bytes()[:-1])
    assert cli.main(["history", "verify"]) == 1
    out = capsys.readouterr()
    assert "1 damaged" in out.out
    assert "warning:" in out.err
    said("fetch", *span)
    assert said("forget", "RELIANCE", "5m").endswith("MB are free again.")
    assert said("list") == "No bars are stored yet."
    for words in (["fetch", "RELIANCE"], ["nonsense"], ["forget", "TCS"]):
        assert cli.main(["history", *words]) == 1
        assert "SettingsError" in capsys.readouterr().err


def test_the_magic_is_the_command(sunday, capsys):
    """%breeze_history takes the same words."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "breeze_lab")
    shell.run_line_magic("breeze_history", "fetch NIFTY 1d --from 2026-06-01 --to 2026-06-20")
    assert "bars, 1 calls" in capsys.readouterr().out
    shell.run_line_magic("breeze_history", "")
    assert "NIFTY" in capsys.readouterr().out
    with pytest.raises(errors.SettingsError, match="What can be typed"):
        history_command.follow("price", print)
    InteractiveShell.clear_instance()


def test_old_and_new_bars_of_a_merged_interval_fit_together(sunday):
    """An hour that is half stored and half fetched is one hour."""
    _, now = sunday
    instrument = now.resolve("RELIANCE")
    start = datetime(2026, 6, 22, 9, 15, tzinfo=clock.IST)
    historical.candles(now, instrument, Interval.M30, start, start + timedelta(minutes=30))
    frame = historical.candles(now, instrument, Interval.H1, start, start + timedelta(hours=2))
    direct = historical.candles(
        now, instrument, Interval.H1, start, start + timedelta(hours=2), stored=False
    )
    assert frame.equals(direct)
