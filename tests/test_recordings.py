"""From the tick log to recorded days: nothing is lost, and a replay takes what was written."""

import itertools
import json
import random
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st
from pyarrow import parquet
from tick_log import YESTERDAY, line, ms, note, quote, write

from breeze_lab import clock, recordings, settings
from breeze_lab.bars import BarBuilder, Interval
from breeze_lab.errors import InstrumentNotFound, RecordingError
from breeze_lab.practice.exchange.contracts import listing
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.replay.recording import read as read_recording
from breeze_lab.practice.replay.recording_files import TICK_COLUMNS
from breeze_lab.relay import recorder, rows, stored, wal
from breeze_lab.relay.columns import COLUMNS, LAYOUT, QUOTE
from breeze_lab.relay.days import Place
from breeze_lab.relay.ledger import Ledger
from breeze_lab.relay.reading import Reading
from breeze_lab.relay.wal import Record
from breeze_lab.ticks import Tick, decode_frame

PLACE = Place("icici", YESTERDAY)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path))


def minutes(count=300, first="09:15", room="4.1!2885", key="NSE:RELIANCE"):
    """Return a line and `count` quotes, one a second."""
    start, walk = ms(first), random.Random(7)
    records, last, volume = [line(room, key)], 1400.0, 1000
    for i in range(count):
        last = round(last + walk.choice((-0.1, 0, 0.1)), 2)
        volume += walk.choice((0, 5, 20))
        records.append(quote(i + 1, start + i * 1000 + 40, room=room, last=last, volume=volume))
    return records


# -- one day ------------------------------------------------------------------


def test_a_day_becomes_a_recording_and_can_be_loaded():
    """What the frames said is in the frame, with the time of arrival and the sequence."""
    write(minutes())
    made = recorder.convert(PLACE)
    assert made["ticks"] == 300
    assert made["warnings"] == []
    frame = recordings.load(YESTERDAY)
    assert len(frame) == 300
    assert frame["sequence"].tolist() == list(range(1, 301))
    assert str(frame.index.tz) == "Asia/Kolkata"
    row = frame.iloc[0]
    assert row["key"] == "NSE:RELIANCE"
    assert row["upper_circuit"] == 1500
    assert row["turnover"] == 140_000
    assert row["received"] == clock.from_epoch((ms("09:15") + 40) / 1000)
    assert row["exchange_time"] == clock.from_epoch(ms("09:15") / 1000)
    assert (frame["apart"] == "").all()
    [day] = recordings.days()
    assert (day.market, day.ticks, day.state) == ("icici", 300, "recorded")
    assert day.instruments == ("NSE:RELIANCE",)


def test_a_span_and_some_instruments_can_be_loaded():
    """Names are keys, symbols or codes; the range is half-open; what is not there is refused."""
    write([*minutes(), *minutes(room="4.1!1594", key="NSE:INFY")])
    recorder.convert(PLACE)
    frame = recordings.load(YESTERDAY.isoformat(), "infy", "09:16", "09:17")
    assert set(frame["key"]) == {"NSE:INFY"}
    assert len(frame) == 60
    assert frame.index[0] >= clock.from_epoch(ms("09:16") / 1000)
    assert len(recordings.load(YESTERDAY, ["RELIANCE", "NSE:INFY"])) == 600
    with pytest.raises(InstrumentNotFound, match=r"'TCS' was not recorded .* NSE:INFY"):
        recordings.load(YESTERDAY, "TCS")
    with pytest.raises(RecordingError, match=r"Nearest: "):
        recordings.load("2020-01-01")


def test_the_log_of_today_can_be_loaded():
    """Today's log is read as far as it is whole; it cannot be recorded before midnight."""
    today = clock.now().date()
    records = [line(), *(quote(i, ms("09:15", today) + i * 1000) for i in range(1, 50))]
    path = write(records, day=today)
    path.write_bytes(path.read_bytes()[:-7])
    assert recordings.load("today")["sequence"].tolist() == list(range(1, 49))
    assert recordings.days()[0].state == "today"
    with pytest.raises(RecordingError, match="not over"):
        recorder.convert(Place("icici", today))


def test_bars_are_those_the_relay_builds():
    """The bars of a recording equal those of a builder that heard the same ticks live."""
    records = minutes()
    write(records)
    live = BarBuilder(Interval.M1)
    heard = [decode_frame(json.loads(r.data)) for r in records if r.kind == wal.STOCK]
    closed = [bar for bar in map(live.add, heard) if bar is not None]
    before = recordings.bars(YESTERDAY, "RELIANCE")
    recorder.convert(PLACE)
    frame = recordings.bars(YESTERDAY, "RELIANCE", "1m")
    assert frame.equals(before), "the log and its recording give the same bars"
    assert frame.index.tolist()[:-1] == [bar.start for bar in closed]
    for name in ("open", "high", "low", "close", "volume", "complete"):
        assert frame[name].tolist()[:-1] == [getattr(bar, name) for bar in closed]


# -- what a replay takes ------------------------------------------------------


def test_the_practice_market_reads_what_was_recorded():
    """Ugly but true frames too: late, crossed, without price, from yesterday, all at once."""
    start = ms("09:15")
    prices = Prices(1, None)
    stock = listing(prices, YESTERDAY).find("NSE", "RELIND")
    room = f"4.1!{stock.token}"
    tick = stock.tick / 10_000

    def odd(sequence, at, **said):
        grid = {
            name: round(said[name] / tick) * tick
            for name in ("last", "bid", "ask")
            if said.get(name)
        }
        return quote(sequence, start + at, room=room, **{"close": 0, **said, **grid})

    records = [
        line(room, "NSE:RELIANCE"),
        odd(1, 0, exchange_s=start // 1000 - 63_000, volume=9),  # yesterday's close, on joining
        *(odd(n, 100, last=1400, volume=1000) for n in (2, 3, 4)),  # the same again and again
        odd(5, 1200, last=1401, volume=1010, bid=1402, ask=1401),  # crossed
        odd(6, 1300, last=1390, volume=1005, exchange_s=start // 1000),  # late
        odd(7, 2300, last=None, volume=1011),
        odd(8, 3300, last=1402, volume=1003),  # the volume falls
        odd(9, 4300, last=1402, volume=None),
        odd(10, 5300, last=1403, volume=1020, bid=0, ask=0),
        odd(11, 5300, last=1403, volume=1030, exchange_s=0),
    ]
    write(records)
    made = recorder.convert(PLACE)
    apart = dict(zip(range(1, 12), recordings.load(YESTERDAY)["apart"], strict=True))
    assert {n: why for n, why in apart.items() if why} == {
        1: "another day", 4: "repeat", 6: "late", 7: "no price", 11: "no time",
    }  # fmt: skip
    assert made["counts"]["volumes that fell"] == 1
    assert made["counts"]["apart: late"] == 1
    replay = read_recording(PLACE.ticks, prices)
    [ticks] = replay.ticks.values()
    assert ticks.total.tolist() == [1000, 1000, 1010, 1010, 1010, 1020]
    assert ticks.traded.tolist() == [5, 0, 10, 0, 0, 10]


def test_the_columns_of_the_layout_are_those_of_the_practice_market():
    """Both sides write down the layout; they must not drift apart."""
    kinds = {"name": "text"}
    assert {name: kinds.get(kind, kind) for name, kind in LAYOUT.items()} == TICK_COLUMNS
    assert list(COLUMNS)[: len(LAYOUT)] == list(LAYOUT)


# -- gaps and damage ----------------------------------------------------------


def test_gaps_are_those_noted_and_those_seen():
    """A noted gap keeps its last state; a new connection and missing numbers are gaps by themselves."""
    start = ms("10:00")
    write([
        line(), quote(1, start),
        note("gap", key="NSE:RELIANCE", room="4.1!2885", from_ms=start, to_ms=start + 5000,
             cause="the relay was restarted", state="closed", sequence=2),
        quote(2, start + 5000, epoch=2),
        note("gap", key="NSE:RELIANCE", room="4.1!2885", from_ms=start, to_ms=start + 5000,
             cause="the relay was restarted", state="healed", sequence=2),
        quote(3, start + 9000, epoch=3),
        quote(6, start + 10_000, epoch=3),
    ])  # fmt: skip
    recorder.convert(PLACE)
    frame = recordings.gaps(YESTERDAY)
    assert frame["cause"].tolist() == [
        "the relay was restarted", "the connection to the broker was made anew",
        "the log lacks frames",
    ]  # fmt: skip
    assert frame["state"].tolist() == ["healed", "closed", "closed"]
    assert frame["start"].iloc[1] == clock.from_epoch((start + 5000) / 1000)
    assert frame["end"].iloc[2] == clock.from_epoch((start + 10_000) / 1000)


def test_the_ledger_says_what_became_of_a_gap():
    """A gap of the ledger takes the place of what the log shows of it; other days' stay out."""
    start = ms("10:00")
    write([
        line(), quote(1, start), quote(2, start + 5000, epoch=2), quote(3, start + 9000, epoch=3),
    ])  # fmt: skip
    ledger = Ledger(settings.folders().data / "ticks" / "gaps.sqlite", "icici")
    ledger.know("4.1!2885", "NSE:RELIANCE")
    for first, last in ((-200_000_000, -190_000_000), (0, 5000)):
        ledger.open(["4.1!2885"], start + first, "the link was lost")
        entry = ledger.close("4.1!2885", start + last)
        ledger.change(replace(entry, state="healed"))
    ledger.shut()
    recorder.convert(PLACE)
    frame = recordings.gaps(YESTERDAY)
    assert frame["cause"].tolist() == ["the link was lost", rows.ANEW]
    assert frame["state"].tolist() == ["healed", "closed"]


def test_a_damaged_log_gives_its_good_prefix_and_stays(monkeypatch):
    """The sidecar says what is missing, and the damaged file is not removed with the others."""
    records = minutes(200)
    good = write(records[:101], number=1)
    bad = write(records[101:], number=2)
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(bytes(data))
    made = recorder.convert(PLACE, grace_days=0)
    assert 100 < made["ticks"] < 200
    [said] = made["warnings"]
    assert f"{bad.name} is damaged after its first" in said
    assert json.loads(PLACE.sidecar.read_text())["warnings"] == [said]
    assert bad.exists()
    assert not good.exists()


def test_what_is_no_tick_is_kept_beside():
    """Depth, candles, orders and unreadable frames are kept as they came."""
    start = ms("10:00")
    depth = b'["4.2!2885",1691390811,[[14.6,375,1,"",15.1,375,1,""]]]'
    write([
        line(), quote(1, start),
        Record(wal.STOCK, 1, 2, start, depth),
        Record(wal.STOCK, 1, 3, start, b'["4.1!2885"]'),
        Record(wal.CANDLE, 1, 1, start, b'"NSE,RELIND,1"'),
        Record(wal.ORDER, 1, 1, start, b'["1"]'),
    ])  # fmt: skip
    made = recorder.convert(PLACE)
    kept = parquet.read_table(PLACE.rest).to_pylist()
    assert [(row["kind"], row["frame"].encode()) for row in kept] == [
        ("stock", depth), ("stock", b'["4.1!2885"]'), ("candle", b'"NSE,RELIND,1"'),
        ("order", b'["1"]'),
    ]  # fmt: skip
    assert made["counts"]["unreadable frames"] == 1
    stored.check(PLACE)


def test_a_second_run_changes_nothing_and_late_files_stay():
    """Converting again is free; a log that comes after the first ones went is not lost."""
    records = minutes(100)
    write(records)
    recorder.convert(PLACE)
    first = PLACE.ticks.stat()
    recorder.convert(PLACE)
    assert PLACE.ticks.stat().st_mtime_ns == first.st_mtime_ns
    write([line(), quote(101, ms("11:00"))], number=2)
    assert recorder.convert(PLACE)["ticks"] == 101, "while all log files are there it is made anew"
    recorder.convert(PLACE, grace_days=0)
    assert PLACE.logs == []
    late = write([line(), quote(102, ms("12:00"))], number=3)
    made = recorder.convert(PLACE, grace_days=0)
    assert late.exists()
    assert "kept as it is" in made["warnings"][-1]
    assert made["ticks"] == 101


def test_log_files_go_after_their_grace():
    """They stay two days by default; the kept sidecar can be lost and is made again."""
    write(minutes(50))
    recorder.convert(PLACE)
    assert len(PLACE.logs) == 1
    PLACE.sidecar.unlink()
    old = Place("icici", clock.now().date() - timedelta(days=2))
    write([line(), quote(1, ms("09:15", old.day))], day=old.day)
    assert recorder.main([]) == 0
    assert old.logs == []
    assert old.ticks.exists()
    assert len(PLACE.logs) == 1
    assert json.loads(PLACE.sidecar.read_text())["ticks"] == 50


def test_logs_stay_when_the_recording_rots():
    """Before a log file goes the recording is read once more, every page of it."""
    write(minutes(50))
    recorder.convert(PLACE)
    data = bytearray(PLACE.ticks.read_bytes())
    data[200] ^= 1
    PLACE.ticks.write_bytes(bytes(data))
    with pytest.raises(RecordingError):
        recorder.convert(PLACE, grace_days=0)
    assert len(PLACE.logs) == 1
    with pytest.raises(RecordingError):
        recordings.check(YESTERDAY)


# -- round trip ---------------------------------------------------------------

prices_ = st.floats(0.05, 1e6).map(lambda x: round(x, 2))
wholes = st.integers(0, 2**40)
quotes = st.fixed_dictionaries(
    {
        "last": st.none() | prices_, "open": prices_, "high": prices_, "low": prices_,
        "bid": st.none() | prices_, "bids": wholes, "ask": st.none() | prices_, "asks": wholes,
        "quantity": wholes, "average": prices_, "volume": st.none() | wholes,
        "buyers": wholes, "sellers": st.none() | wholes, "trend": st.sampled_from(["", "+", "-"]),
        "value": st.sampled_from(["1.40L", "70.14C", ""]), "close": prices_,
    }
)  # fmt: skip


@given(
    frames=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3000), st.integers(-3, 3), quotes),
        max_size=60,
    ),
    cuts=st.lists(st.integers(0, 60), max_size=3),
)
@rules(max_examples=40, deadline=None)
def test_frames_come_back_as_the_ticks_they_were(tmp_path_factory, frames, cuts):
    """Whatever was said, in however many files: log and recording give the same ticks again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(tmp_path_factory.mktemp("home")))
        records, numbers, at = [], [0, 0, 0], ms("09:15")
        for room, wait, drift, said in frames:
            at += wait
            numbers[room] += 1
            records.append(
                quote(numbers[room], at, room=f"4.1!{room}", exchange_s=at // 1000 + drift, **said)
            )
        bounds = sorted({0, *(min(cut, len(records)) for cut in cuts), len(records)})
        for number, (first, last) in enumerate(itertools.pairwise(bounds), 1):
            write(records[first:last], number=number)
        if not records:
            write([])
        made = recorder.convert(PLACE)
        assert made["ticks"] == len(records)
        table = parquet.read_table(PLACE.ticks).to_pylist()
        for row, record in zip(table, records, strict=True):
            frame = json.loads(record.data)
            tick = decode_frame(frame)
            assert isinstance(tick, Tick)
            assert {name: row[f"feed_{name}"] for name in QUOTE} == {
                name: getattr(tick, name) for name in QUOTE
            }
            assert row["feed_room"] == tick.room
            assert row["feed_sequence"] == record.sequence
            assert row["feed_received_ms"] == record.received_ms
            assert row["feed_exchange_s"] == frame[19]
            assert (row["feed_frame"] is None) == (frame[16] == "")
        live = Reading(PLACE)
        assert sum(len(some.ticks) for some in live.read()) == len(records)


def test_a_frame_of_every_layout_is_recorded():
    """MCX and the index feed keep their whole frame; derivatives their open interest."""
    at = ms("12:00")
    second = at // 1000
    frames = [
        ["4.1!47869", 53.35, 43.05, 53.35, 31.7, -24.21, 42.9, 5250, 43.05, 3400, 100, 40.43, 7, 2,
         36079750, 393050, 613650, "145.87C", "", 0.05, 321.8, second, 56.8],
        ["6.1!247311", "32", " ", " ", 5, 268950, 1, second, 268900, 0, 0, "", 268900, 268900,
         268950, 268900, 0, 17, 0, 464000, 464000, 0, *[[1, 268900, 1, "", 1, 268950, 1, ""]] * 5],
        ["4.1!NIFTY 50", 26900, 26934.45, 26950, 26890, 0.2, *[None] * 10, "+", None, None,
         second, 26880.1],
    ]  # fmt: skip
    keys = ["NFO:NIFTY 24-Nov-2026 25000 CE", "MCX:ZINC 30-Nov-2026 FUT", "NSE:NIFTY"]
    write([
        *(line(frame[0], key) for frame, key in zip(frames, keys, strict=True)),
        *(Record(wal.STOCK, 1, 1, at, json.dumps(frame).encode()) for frame in frames),
    ])  # fmt: skip
    recorder.convert(PLACE)
    option, zinc, index = parquet.read_table(PLACE.ticks).to_pylist()
    assert (option["exchange"], option["symbol"], option["expiry"]) == (
        "NFO", "NIFTY", date(2026, 11, 24),
    )  # fmt: skip
    assert (option["strike"], option["right"], option["open_interest"]) == (25_000, "CE", 7)
    assert option["feed_frame"] is None
    assert json.loads(zinc["feed_frame"]) == frames[1]
    assert zinc["last_price"] == 2689.5
    assert json.loads(index["feed_frame"]) == frames[2]
    assert (index["last_quantity"], index["total_volume"], index["feed_apart"]) == (None,) * 3
