"""Bars on disk: fetched once, believed only with their checksum, never mixed between markets."""

from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd
import pytest
from history_home import files, history_home, served
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breeze_lab import clock, historical
from breeze_lab.bars import Interval
from breeze_lab.errors import HistoryError, HistoryWarning
from breeze_lab.historical import catalog, markets, stored
from breeze_lab.historical.blocks import COLUMNS, EMPTY, Block
from breeze_lab.historical.markets import Market
from breeze_lab.historical.shelf import Shelf, identity, root
from breeze_lab.historical.spans import joined, without
from breeze_lab.instruments import Instrument

MAY = datetime(2026, 5, 4, tzinfo=clock.IST)
SHARE = Instrument("RELIANCE", "RELIND", "NSE", "2885", "RELIANCE", isin="INE002A01018")
EXAMPLES = int(os.environ.get("BREEZE_LAB_HISTORIES", "10"))


@pytest.fixture(scope="module")
def logged_in(practice, tmp_path_factory):
    """A session in a home of this file's own."""
    with history_home(tmp_path_factory.mktemp("history"), practice) as now:
        yield now


@pytest.fixture(autouse=True)
def empty_store(request):
    """Each test begins with nothing stored."""
    if "logged_in" in request.fixturenames:
        request.getfixturevalue("logged_in")
        shutil.rmtree(root(), ignore_errors=True)


def ist(text):
    return datetime.fromisoformat(text).replace(tzinfo=clock.IST)


# -- fetched once -----------------------------------------------------------------


@pytest.mark.parametrize("interval", [Interval.M1, Interval.M15, Interval.D1, Interval.S1])
def test_a_range_is_fetched_once(logged_in, practice, interval):
    """The second time no call reaches the market, and the frame is the same to the last bit."""
    instrument = logged_in.resolve("RELIANCE")
    end = MAY + (timedelta(days=60) if interval is Interval.D1 else timedelta(days=3))
    if interval is Interval.S1:
        end = MAY + timedelta(hours=10)
    before = served(practice)
    first = historical.candles(logged_in, instrument, interval, MAY, end)
    assert served(practice) - before == first.attrs["calls"] > 0
    before = served(practice)
    second = historical.candles(logged_in, instrument, interval, MAY, end)
    assert served(practice) == before
    direct = historical.candles(logged_in, instrument, interval, MAY, end, stored=False)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    pd.testing.assert_frame_equal(first, direct, check_exact=True)
    assert second.attrs["calls"] == 0
    assert second.attrs["stored"] >= len(second) > 0 == first.attrs["stored"]
    fetched = datetime.fromisoformat(second.attrs["fetched"])
    assert timedelta(0) <= clock.now() - fetched < timedelta(minutes=5)
    assert historical.price(logged_in, instrument, interval, MAY, end) == 0


def test_plain_bars_come_from_the_store_too_and_without_pandas(logged_in, practice):
    """`bars` equals the frame, makes no call for what is stored, and its process loads no pandas."""
    instrument = logged_in.resolve("NIFTY fut")
    day = clock.previous_trading_day(clock.now().date(), "fno")
    start = datetime(day.year, day.month, day.day, tzinfo=clock.IST) - timedelta(days=20)
    end = start + timedelta(days=15)
    frame = historical.candles(logged_in, instrument, Interval.M30, start, end)
    before = served(practice)
    bars = historical.bars(logged_in, instrument, Interval.M30, start, end)
    assert served(practice) == before
    assert [bar.start for bar in bars] == list(frame.index)
    assert [bar.close for bar in bars] == list(frame.close)
    assert [bar.open_interest for bar in bars] == list(frame.open_interest.astype(int))
    path = next(iter(files("NFO").values()))[0]
    code = (
        "import sys\nfrom pathlib import Path\nfrom breeze_lab.historical import stored\n"
        f"part = stored.read(Path({str(path)!r}), {identity(instrument)!r})\n"
        "assert len(part.block)\nassert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_missing_is_fetched_and_no_more(logged_in, practice):
    """A wider range costs the calls of its new ends; a weekend is asked once."""
    instrument = logged_in.resolve("RELIANCE")
    historical.candles(logged_in, instrument, Interval.M1, ist("2026-05-06"), ist("2026-05-08"))
    wide = historical.candles(
        logged_in, instrument, Interval.M1, ist("2026-05-04"), ist("2026-05-10")
    )
    assert wide.attrs["calls"] == 2
    assert len(wide) == 5 * 375
    weekend = ist("2026-05-16"), ist("2026-05-18")
    assert historical.candles(logged_in, instrument, Interval.M1, *weekend).attrs["calls"] == 1
    again = historical.candles(logged_in, instrument, Interval.M1, *weekend)
    assert (len(again), again.attrs["calls"]) == (0, 0)


def test_two_small_holes_share_a_call(logged_in):
    """Neighbouring holes are filled by one call where that costs less."""
    instrument = logged_in.resolve("RELIANCE")
    for day in ("2026-05-05", "2026-05-07"):
        start = ist(day)
        historical.candles(logged_in, instrument, Interval.M5, start, start + timedelta(days=1))
    frame = historical.candles(
        logged_in, instrument, Interval.M5, ist("2026-05-05"), ist("2026-05-09")
    )
    assert (frame.attrs["calls"], len(frame)) == (1, 4 * 75)


def test_bars_that_are_not_settled_are_asked_every_time(logged_in):
    """The open hours of today, and the day's own bar, are never on disk."""
    instrument = logged_in.resolve("RELIANCE")
    end = clock.now() + timedelta(seconds=1)
    for interval in (Interval.M1, Interval.D1):
        start = end - timedelta(days=1 if interval is Interval.M1 else 30)
        for _ in range(2):
            frame = historical.candles(logged_in, instrument, interval, start, end)
            assert frame.attrs["calls"] >= 1
            assert frame.index[-1] + interval.length > end - timedelta(minutes=2)
        market = markets.of_session(logged_in)
        bound = market.settled(instrument, interval)
        for paths in files("NSE", interval.label).values():
            part = stored.read(paths[0], identity(instrument))
            assert max(one.end for one in part.known) <= bound
            assert part.block.start.max(initial=0) < bound


@pytest.mark.parametrize(
    ("now", "interval", "bound"),
    [
        ("2026-05-06 10:00", Interval.M1, "2026-05-06 00:00"),
        ("2026-05-06 01:59", Interval.M1, "2026-05-05 16:30"),
        ("2026-05-06 17:29", Interval.M1, "2026-05-06 00:00"),
        ("2026-05-06 17:30", Interval.M1, "2026-05-06 16:30"),
        ("2026-05-06 17:30", Interval.D1, "2026-05-06 00:00"),
        ("2026-05-06 01:59", Interval.D1, "2026-05-05 00:00"),
        ("2026-05-10 12:00", Interval.M1, "2026-05-10 00:00"),
    ],
)
def test_settled_is_what_lies_two_hours_behind_the_close_or_midnight(now, interval, bound):
    """The rule of docs/history.md, on an ordinary Wednesday and a Sunday."""
    assert clock.from_epoch(Market("icici", ist(now)).settled(SHARE, interval)) == ist(bound)


def test_a_market_that_is_closed_costs_no_call():
    """On a Sunday and at night nothing can have traded since the last settled bar."""
    for now, trades in (("2026-05-10 12:00", False), ("2026-05-06 07:00", False),
                        ("2026-05-06 08:30", True), ("2026-05-06 20:00", False)):  # fmt: skip
        market = Market("icici", ist(now))
        tail = market.settled(SHARE, Interval.M1), int(ist(now).timestamp())
        assert market.may_trade(SHARE, tail) is trades, now
        always = replace(market, open_since=ist("2026-05-01").date())
        assert always.may_trade(SHARE, tail)


def moments():
    return st.integers(0, 10 * 24 * 12).map(lambda n: MAY + timedelta(minutes=5 * n, seconds=n % 3))


@settings(max_examples=EXAMPLES, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.tuples(moments(), moments()), min_size=1, max_size=5),
       st.sampled_from([Interval.M5, Interval.M30, Interval.D1, Interval.H1]))  # fmt: skip
def test_any_sequence_of_ranges_gives_what_one_fetch_gives(logged_in, whole, ranges, interval):
    """Whatever was asked before, a range is that part of a direct fetch, and costs nothing twice."""
    shutil.rmtree(root(), ignore_errors=True)
    instrument = logged_in.resolve("RELIANCE")
    for one, two in ranges:
        start, end = min(one, two), max(one, two) + timedelta(minutes=1)
        frame = historical.candles(logged_in, instrument, interval, start, end)
        if interval is Interval.H1:  # its last bar ends where the range does
            direct = historical.candles(logged_in, instrument, interval, start, end, stored=False)
        else:
            direct = whole[interval]
        expected = direct[(direct.index >= start) & (direct.index < end)]
        pd.testing.assert_frame_equal(frame, expected, check_exact=True)
        assert historical.price(logged_in, instrument, interval, start, end) == 0


def test_the_ranges_catch_a_store_that_claims_too_much(logged_in, monkeypatch):
    """The planted fault: a range kept five minutes longer than it was asked loses a bar."""
    keep = Shelf.keep
    monkeypatch.setattr(
        Shelf, "keep", lambda shelf, span, block: keep(shelf, (span[0], span[1] + 300), block)
    )
    instrument, noon = logged_in.resolve("RELIANCE"), MAY + timedelta(hours=12)
    historical.candles(logged_in, instrument, Interval.M5, MAY, noon)
    span = MAY, MAY + timedelta(days=1)
    frame = historical.candles(logged_in, instrument, Interval.M5, *span)
    direct = historical.candles(logged_in, instrument, Interval.M5, *span, stored=False)
    assert len(frame) == len(direct) - 1


@pytest.fixture(scope="module")
def whole(logged_in):
    """Direct fetches of all that the property test asks for."""
    instrument, end = logged_in.resolve("RELIANCE"), MAY + timedelta(days=12)
    return {
        interval: historical.candles(logged_in, instrument, interval, MAY, end, stored=False)
        for interval in (Interval.M5, Interval.M30, Interval.D1)
    }


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6),
       st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6))  # fmt: skip
def test_spans_are_the_seconds_they_hold(spans, taken):
    """What is joined or left over is what a set of seconds says, in the fewest pieces."""

    def seconds(some):
        return {second for start, end in some for second in range(start, end)}

    assert seconds(joined(spans)) == seconds(spans)
    left = without(spans, taken)
    assert seconds(left) == seconds(spans) - seconds(taken)
    assert all(one[1] < two[0] for one, two in itertools.pairwise(left))


# -- what nobody traded -----------------------------------------------------------


def test_an_empty_day_is_believed_for_a_while(tmp_path):
    """A day without a bar is asked again after hours while it is young, after a month later on."""
    now = ist("2026-05-12 12:00").timestamp()
    shelf = Shelf(tmp_path / "icici", SHARE, Interval.M1, lambda: now)

    def day(text):
        start = int(ist(text).timestamp())
        return start, start + 86_400

    for text in ("2026-05-11", "2026-02-10", "2026-05-10"):
        shelf.keep(day(text), EMPTY)
    assert not shelf.look(day("2026-05-11")).missing
    now += 7 * 3600
    assert shelf.look(day("2026-05-11")).missing == [day("2026-05-11")], "a young day"
    assert not shelf.look(day("2026-02-10")).missing, "an old day"
    now += 40 * 86_400
    assert shelf.look(day("2026-02-10")).missing == [day("2026-02-10")]
    assert not shelf.look(day("2026-05-10")).missing, "a Sunday"


# -- damage -----------------------------------------------------------------------


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << (place % 8)
    path.write_bytes(data)


def flips_are_found(logged_in, places):
    """Damage a file place by place; say whether every answer was right and every fault told."""
    instrument, end = logged_in.resolve("RELIANCE"), MAY + timedelta(days=2)
    direct = historical.candles(logged_in, instrument, Interval.M30, MAY, end, stored=False)
    for place in places:
        historical.candles(logged_in, instrument, Interval.M30, MAY, end)
        flip(files("NSE", "30m")["2026"][0], place)
        with pytest.warns(HistoryWarning) as told:
            frame = historical.candles(logged_in, instrument, Interval.M30, MAY, end)
        if not frame.equals(direct) or "damaged" not in str(told[0].message):
            return False
    return True


def test_a_flipped_bit_is_noticed_put_aside_and_fetched_again(logged_in):
    """Wherever in a file a bit flips, its bars come from the broker again."""
    dice = random.Random(3)
    assert flips_are_found(logged_in, [0, 1, -1, *(dice.randrange(100_000) for _ in range(12))])
    assert len(list(root().glob("**/damaged/*.parquet"))) >= 1


def test_the_flips_catch_a_reader_that_skips_the_checksum(logged_in, monkeypatch):
    """The planted fault: Parquet alone does not notice a range that was never asked."""

    def year(path):
        data = path.read_bytes()
        at = data.index(b'"known": [[') + len(b'"known": [[')
        return at + 4  # one digit of the second at which the known range begins

    instrument, end = logged_in.resolve("RELIANCE"), MAY + timedelta(days=2)
    historical.candles(logged_in, instrument, Interval.M30, MAY, end)
    place = year(files("NSE", "30m")["2026"][0])
    assert flips_are_found(logged_in, [place])
    monkeypatch.setattr(stored, "checked", lambda path: path.read_bytes())
    with pytest.raises(pytest.fail.Exception, match="DID NOT WARN"):
        flips_are_found(logged_in, [place])


@pytest.mark.parametrize("harm", ["cut", "emptied", "another's"])
def test_a_damaged_file_costs_its_own_bars_only(logged_in, harm):
    """One month is fetched again, the other stays; the file is kept aside."""
    instrument, start, end = logged_in.resolve("RELIANCE"), ist("2026-04-29"), ist("2026-05-07")
    whole = historical.candles(logged_in, instrument, Interval.M1, start, end)
    path = files("NSE", "1m")["2026-05"][0]
    if harm == "another's":
        historical.candles(logged_in, logged_in.resolve("INFY"), Interval.M1, start, end)
        other = next(p for p in files("NSE", "1m")["2026-05"] if p.parent != path.parent)
        path.unlink()
        path = path.with_name(other.name)
        shutil.copy(other, path)
    else:
        os.truncate(path, 0 if harm == "emptied" else path.stat().st_size // 2)
    with pytest.warns(HistoryWarning, match="put aside"):
        frame = historical.candles(logged_in, instrument, Interval.M1, start, end)
    assert frame.equals(whole)
    assert frame.attrs["calls"] == len(
        historical.plan(instrument, Interval.M1, ist("2026-05-01"), end)
    )
    assert (path.parent / "damaged" / path.name).exists()


def test_a_full_disk_costs_no_answer_and_nothing_stored(logged_in):
    """When a file cannot be written the frame is whole, a word is said and the old file stays."""
    instrument = logged_in.resolve("RELIANCE")
    start, end = ist("2026-05-04"), ist("2026-05-09")
    historical.candles(logged_in, instrument, Interval.M1, start, start + timedelta(days=1))
    before = files("NSE", "1m")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, most))
    try:
        with pytest.warns(HistoryWarning, match=r"cannot be kept.*Make room.*complete"):
            frame = historical.candles(logged_in, instrument, Interval.M1, start, end)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, handler)
    assert len(frame) == 5 * 375
    assert files("NSE", "1m") == before
    assert not list(root().glob("**/*.tmp"))
    again = historical.candles(logged_in, instrument, Interval.M1, start, end)
    assert again.equals(frame)


# -- whose ------------------------------------------------------------------------


def test_a_renamed_code_finds_its_bars_and_a_reused_one_does_not(tmp_path):
    """A share is its ISIN and number, a contract its terms."""
    folder = tmp_path / "icici"
    shelf = Shelf(folder, SHARE, Interval.M1)
    renamed = replace(SHARE, stock_code="RELNEW", symbol="RIL", name="RELIANCE NEW")
    assert Shelf(folder, renamed, Interval.M1).folder == shelf.folder
    reused = replace(SHARE, isin="INE000000001", token="99")
    assert Shelf(folder, reused, Interval.M1).folder != shelf.folder
    future = replace(SHARE, exchange="NFO", kind="future", expiry=ist("2026-05-26").date(), isin="")
    later = replace(future, expiry=ist("2026-06-30").date())
    other_number = replace(future, token="123456")
    assert (
        Shelf(folder, future, Interval.M1).folder == Shelf(folder, other_number, Interval.M1).folder
    )
    assert Shelf(folder, future, Interval.M1).folder != Shelf(folder, later, Interval.M1).folder


def test_another_practice_market_has_another_store(logged_in, practice):
    """Seed and character are in the name; the broker's own store has a plain one."""
    from breeze_lab.practice.options import Options

    names = {Options.of(words).identity() for words in
             ([], ["--seed", "2"], ["--clean"], ["--exchange-hours"])}  # fmt: skip
    assert len(names) == 4
    same = Options.of(["--speed", "60", "--no-limits", "--quote-interval", "1"])
    assert same.identity() in names
    market = markets.of_session(logged_in)
    assert market.folder.startswith("practice-")
    assert market.name == "practice"
    historical.candles(
        logged_in, logged_in.resolve("RELIANCE"), Interval.D1, MAY, MAY.replace(day=9)
    )
    assert [path.name for path in root().iterdir()] == [market.folder]


def test_old_practice_stores_go(logged_in):
    """Two weeks after the last writing, when another practice market keeps its first bars."""
    old, young, real = (
        root() / name / "X" / "1d" for name in ("practice-1", "practice-2", "icici")
    )
    for folder in (old, young, real):
        folder.mkdir(parents=True)
        (folder / "2020.1.x.parquet").write_bytes(b"")
    for folder in (old, real):
        os.utime(folder, (1, 1))
    historical.candles(logged_in, logged_in.resolve("TCS"), Interval.D1, MAY, MAY.replace(day=9))
    assert not old.exists()
    assert young.exists()
    assert real.exists()


def test_a_market_that_does_not_say_who_it_is_keeps_nothing():
    """Without an identity, or with one that is none, there is no store."""
    told = {
        "now": "2026-05-06T10:00:00+05:30",
        "history": {"identity": "ab" * 16, "open_since": None},
    }
    assert markets._practice(told).folder == "practice-" + "ab" * 8
    for broken in ({}, {**told, "history": {}}, {**told, "now": "soon"},
                   {**told, "history": {"identity": "../../icici", "open_since": None}}):  # fmt: skip
        assert markets._practice(broken) is None


def test_switched_off_it_keeps_nothing(logged_in, monkeypatch):
    """BREEZE_LAB_HISTORY=off asks the broker every time; another word is refused."""
    from breeze_lab.errors import SettingsError

    monkeypatch.setenv("BREEZE_LAB_HISTORY", "off")
    instrument = logged_in.resolve("RELIANCE")
    for _ in range(2):
        frame = historical.candles(logged_in, instrument, Interval.D1, MAY, MAY.replace(day=9))
        assert (len(frame), frame.attrs["calls"]) == (5, 1)
    assert not root().exists()
    monkeypatch.setenv("BREEZE_LAB_HISTORY", "perhaps")
    with pytest.raises(SettingsError, match="on or off"):
        historical.candles(logged_in, instrument, Interval.D1, MAY, MAY.replace(day=9))


def test_a_file_of_a_newer_version_is_left_alone(logged_in, monkeypatch):
    """It is not called damaged, and the message says what to do."""
    instrument, end = logged_in.resolve("RELIANCE"), MAY.replace(day=9)
    with monkeypatch.context() as patch:
        patch.setattr(stored, "_LAYOUT", b"history 2")
        historical.candles(logged_in, instrument, Interval.D1, MAY, end)
    with pytest.raises(HistoryError, match="newer Breeze Lab"):
        historical.candles(logged_in, instrument, Interval.D1, MAY, end)
    assert not list(root().glob("**/damaged"))


def test_a_block_keeps_odd_bars_as_they_came():
    """A negative volume, a missing one and a missing price stay what they are."""
    row = {"datetime": "2026-05-04 09:15:00", "open": 1, "high": "2.5", "low": None, "close": 2}
    block = Block.of_rows([row, {**row, "volume": -75}])
    assert (len(block), block.data[0][COLUMNS.index("volume")]) == (1, -75)
    assert block.frame().low.isna().all()
    with pytest.raises(historical.calls.BadResponse, match="cannot be read"):
        Block.of_rows([{"datetime": "soon"}])


# -- what there is ----------------------------------------------------------------


def test_the_list_names_what_is_stored_and_verify_reads_every_byte(logged_in):
    """Names, spans, sizes; verify finds a flipped bit; forget removes and says how much."""
    instrument, end = logged_in.resolve("RELIANCE"), MAY.replace(day=9)
    historical.candles(logged_in, instrument, Interval.M1, MAY, end)
    historical.candles(logged_in, instrument, Interval.D1, MAY, end)
    known = catalog.series()
    assert [(one.key, one.interval, one.bars) for one in known] == [
        ("NSE:RELIANCE", "1d", 5), ("NSE:RELIANCE", "1m", 5 * 375),
    ]  # fmt: skip
    assert known[0].market == "practice"
    assert known[1].first == ist("2026-05-04")
    assert known[1].last == end
    assert catalog.verify() == (2, 0)
    flip(files("NSE", "1m")["2026-05"][0], 500)
    with pytest.warns(HistoryWarning, match="damaged"):
        assert catalog.verify() == (1, 1)
    assert [one.interval for one in catalog.series()] == ["1d"]
    assert catalog.forget("NSE:RELIANCE") > 0
    assert catalog.series() == []
    assert historical.price(logged_in, instrument, Interval.D1, MAY, end) == 1
