"""SQL over what is stored: the right rows, one market, and no way out of the store."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

import pandas as pd
import pytest
from history_home import files, history_home
from tick_log import YESTERDAY, line, ms, quote, write

import breeze_lab
from breeze_lab import clock, historical, queries
from breeze_lab.bars import Interval
from breeze_lab.errors import HistoryWarning, SqlError
from breeze_lab.historical import catalog
from breeze_lab.historical.shelf import root
from breeze_lab.relay import recorder
from breeze_lab.relay.days import Place

START, END = datetime(2026, 4, 27, tzinfo=clock.IST), datetime(2026, 5, 9, tzinfo=clock.IST)


@pytest.fixture(scope="module")
def logged_in(practice, tmp_path_factory):
    """A session in a home of this file's own, with some bars stored."""
    with history_home(tmp_path_factory.mktemp("sql"), practice) as now:
        for name in ("RELIANCE", "INFY"):
            for interval in (Interval.M1, Interval.D1):
                historical.candles(now, now.resolve(name), interval, START, END)
        yield now


def test_rows_are_those_of_the_frame(logged_in):
    """The same bars, times aware IST, parameters bound, open interest of cash NULL."""
    frame = historical.candles(logged_in, logged_in.resolve("RELIANCE"), Interval.M1, START, END)
    assert frame.attrs["calls"] == 0
    found = breeze_lab.sql(
        "select * from bars where key = ? and interval = '1m' and time >= ? order by time",
        ["NSE:RELIANCE", START],
    )
    assert list(found.columns) == ["market", "key", "interval", "time", *historical.COLUMNS]
    assert str(found.time.dt.tz) == "Asia/Kolkata"
    assert list(found.time) == list(frame.index)
    assert set(found.market) == {"practice"}
    assert found.open_interest.isna().all()
    for name in ("open", "high", "low", "close", "volume"):
        assert (found[name].to_numpy() == frame[name].to_numpy()).all()
    assert found.attrs == {"source": "practice", "store": next(root().iterdir()).name}


def test_series_says_what_there_is(logged_in):
    """A row for each instrument and interval; daily bars follow from minutes."""
    found = breeze_lab.sql("select key, interval, bars from series order by key, interval")
    assert list(found.itertuples(index=False, name=None)) == [
        (key, interval, bars)
        for key in ("NSE:INFY", "NSE:RELIANCE")
        for interval, bars in (("1d", 9), ("1m", 9 * 375))
    ]
    daily = breeze_lab.sql(
        "select max(high) = (select max(high) from bars where key = $k and interval = '1d') as same "
        "from bars where key = $k and interval = '1m'",
        {"k": "NSE:INFY"},
    )
    assert len(daily) == 1


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to 'FILE'",
        "copy (select * from bars) to 'STORED' (use_tmp_file false)",
        "explain analyze copy (select 1) to 'STORED' (use_tmp_file false)",
        "select 1; copy (select 1) to 'FILE'",
        "install httpfs",
        "load httpfs",
        "attach 'FILE' as other",
        "export database 'FILE'",
        "create table mine as select * from bars",
        "set enable_external_access = true",
        "pragma enable_profiling",
        "call enable_logging()",
        "drop view bars",
        "delete from series",
        "select * from read_text('/etc/hostname')",
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/etc/*')",
        "select * from read_parquet('OTHER')",
        "select * from bars, read_blob('OTHER')",
        "select * from query('copy (select 1) to ''FILE''')",
        "select * from read_json('http://127.0.0.1:9/x.json')",
        "select * from START_frame",
    ],
)
def test_there_is_no_way_out(logged_in, tmp_path, query):
    """Nothing is written, loaded, attached or read but verified files of the market."""
    START_frame = pd.DataFrame({"secret": [1]})  # noqa: N806, F841 - a query must not find it
    other = tmp_path / "other.parquet"
    good = files("NSE", "1m")["2026-05"][0]
    shutil.copy(good, other)
    before = good.read_bytes()
    words = {"FILE": str(tmp_path / "out"), "STORED": str(good), "OTHER": str(other)}
    for name, path in words.items():
        query = query.replace(name, path)
    with pytest.raises(SqlError):
        breeze_lab.sql(query)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.parquet"]
    assert good.read_bytes() == before
    assert len(breeze_lab.sql("select * from bars limit 3")) == 3


def test_the_check_catches_a_query_that_writes(logged_in, monkeypatch):
    """The planted fault: with any statement let through, a stored file can be written over."""
    good = files("NSE", "1d")["2026"][0]
    before = good.read_bytes()
    monkeypatch.setattr(queries, "_only_select", lambda _query: None)
    breeze_lab.sql(f"copy (select 1) to '{good}' (use_tmp_file false) -- bars")
    assert good.read_bytes() != before
    with pytest.warns(HistoryWarning, match="damaged"):
        assert catalog.verify()[1] == 1
    instrument = logged_in.resolve("RELIANCE" if "INE002A01018" in str(good) else "INFY")
    historical.candles(logged_in, instrument, Interval.D1, START, END)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("selec 1", "bars \\(market, key"),
        ("select nope from bars", "nope.*bars \\(market, key"),
        ("select * from nothing", "There are: bars"),
        ("select * from bars where key = ?", "beside the text"),
        ("select * from read_text('/etc/hostname')", "no other file"),
        ("insert into series values (1)", "One SELECT"),
        ("", "0 statements"),
    ],
)
def test_errors_say_the_next_step(logged_in, query, says):
    """A wrong query is a SqlError with what there is."""
    with pytest.raises(SqlError, match=says):
        breeze_lab.sql(query)


def test_a_damaged_file_is_left_out_and_told(logged_in):
    """Only verified files are seen; fetching brings the bars back."""
    query = "select count(*) as n from bars where interval = '1m' and key = 'NSE:INFY'"
    whole = breeze_lab.sql(query).n[0]
    path = next(path for path in files("NSE", "1m")["2026-05"] if "INE009A01021" in str(path))
    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    path.write_bytes(data)
    with pytest.warns(HistoryWarning, match="damaged"):
        less = breeze_lab.sql(query).n[0]
    assert less == 4 * 375 < whole
    historical.candles(logged_in, logged_in.resolve("INFY"), Interval.M1, START, END)
    assert breeze_lab.sql(query).n[0] == whole


def test_markets_are_never_mixed(logged_in):
    """Another practice market and the broker's store are not in the answer of this one."""
    here = next(root().iterdir())
    for name in ("practice-00000000", "icici"):
        shutil.copytree(here, root() / name)
    try:
        count = "select count(*) as n from bars"
        mine = breeze_lab.sql(count)
        assert mine.attrs["store"] == here.name
        real = breeze_lab.sql("select distinct market from bars", market="icici")
        assert list(real.market) == ["icici"]
        assert breeze_lab.sql(count, market="practice").n[0] == mine.n[0]
        with pytest.raises(SqlError, match="Nothing is stored of a market 'nse'"):
            breeze_lab.sql(count, market="nse")
    finally:
        for name in ("practice-00000000", "icici"):
            shutil.rmtree(root() / name)


def test_recorded_ticks_are_a_view(logged_in):
    """Ticks of recorded days by key and time; a damaged day is left out and told."""
    start = ms("09:15")
    records = [line(), *(quote(i, start + i * 1000, volume=1000 + i) for i in range(1, 50))]
    write(records, market="practice")
    place = Place("practice", YESTERDAY)
    recorder.convert(place)
    found = breeze_lab.sql("select * from ticks where key = ? order by time", ["NSE:RELIANCE"])
    assert len(found) == 49
    assert found.last.notna().all()
    assert str(found.time.dt.tz) == "Asia/Kolkata"
    data = bytearray(place.ticks.read_bytes())
    data[200] ^= 1
    place.ticks.write_bytes(data)
    with pytest.warns(HistoryWarning, match="without this day"):
        assert breeze_lab.sql("select * from ticks").empty


def test_a_folder_whose_name_is_a_pattern_is_read_all_the_same(logged_in, tmp_path, monkeypatch):
    """Brackets and stars in the home's path are letters."""
    there = tmp_path / "a[b]*c" / "data"
    shutil.copytree(root(), there / "history")
    monkeypatch.setenv("BREEZE_LAB_HOME", str(there.parent))
    assert breeze_lab.sql("select count(*) as n from bars where interval = '1d'").n[0] == 18


def test_nothing_stored_is_an_empty_answer(home):
    """Without a login and without a file the views are there, empty."""
    breeze_lab.logout()
    assert breeze_lab.sql("select * from bars").empty
    assert breeze_lab.sql("select count(*) as n from ticks").n[0] == 0
    assert breeze_lab.sql("select now() as t").t[0] - pd.Timestamp.now("UTC") < timedelta(minutes=1)
