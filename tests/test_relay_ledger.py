"""The gap ledger and what it rests on: market hours, rhythms, the quarantine."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breeze_lab import clock
from breeze_lab.relay import gaps as gaps_module
from breeze_lab.relay.gaps import Gaps
from breeze_lab.relay.hours import Hours, segment_of
from breeze_lab.relay.ledger import Ledger
from breeze_lab.relay.market import Line
from breeze_lab.relay.pulse import Pulse
from breeze_lab.relay.quarantine import KEPT, Quarantine
from breeze_lab.ticks import Tick

ROOMS = ["4.1!1", "4.1!2", "1.1!3"]
MOMENTS = st.integers(0, 1000)
STEPS = st.one_of(
    st.tuples(st.just("open"), st.lists(st.sampled_from(ROOMS), unique=True), MOMENTS),
    st.tuples(st.just("close"), st.sampled_from(ROOMS), MOMENTS),
    st.tuples(st.just("drop"), st.sampled_from(ROOMS), st.just(0)),
    st.tuples(st.just("restart"), st.just(""), st.just(0)),
)


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=150, deadline=None)
def test_gaps_of_a_room_never_overlap_and_none_is_lost(steps):
    """Whatever is opened, closed, dropped and killed in whatever order, the ledger adds up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gaps.sqlite"
        lives = [Ledger(path, "practice")]
        expected = dict.fromkeys(ROOMS, 0)
        for step, what, moment in steps:
            ledger = lives[-1]
            if step == "open":
                opened = {entry.room for entry in ledger.open(what, moment, "test")}
                for room in opened:
                    expected[room] += 1
                assert set(what) <= ledger.open_rooms.keys()
            elif step == "close":
                was_open = what in ledger.open_rooms
                assert (ledger.close(what, moment) is not None) is was_open
            elif step == "drop":
                expected[what] -= what in ledger.open_rooms
                ledger.drop(what)
            else:  # killed: nobody shut the file
                lives.append(Ledger(path, "practice"))
                assert lives[-1].open_rooms == ledger.open_rooms
        entries = lives[-1].entries()
        for room in ROOMS:
            spans = sorted(
                (e.from_ms, 10_000 if e.to_ms is None else e.to_ms)
                for e in entries
                if e.room == room
            )
            assert len(spans) == expected[room]
            assert all(start <= end for start, end in spans)
            assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
        assert sum(lives[-1].counts().values()) == len(entries)
        for ledger in lives:
            ledger.shut()


def test_ledger_survives_a_kill(tmp_path):
    """What was said before a SIGKILL is there afterwards, open gaps included."""
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from breeze_lab.relay.ledger import Ledger; ledger = Ledger(Path(sys.argv[1]), 'practice');"
        "ledger.know('4.1!1', 'NSE:A'); ledger.open(['4.1!1', '4.1!2'], 5, 'cut');"
        "ledger.close('4.1!2', 9); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "gaps.sqlite"
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    ledger = Ledger(path, "practice")
    rows = [entry.row() for entry in ledger.entries()]
    assert rows == [["NSE:A", 5, None, "cut", "open"], ["4.1!2", 5, 9, "cut", "closed"]]
    assert [*ledger.open_rooms] == ["4.1!1"]
    ledger.use("icici")
    assert (ledger.open_rooms, ledger.entries()) == ({}, [])
    ledger.shut()


def test_ledger_that_cannot_be_written_says_so_and_goes_on(tmp_path):
    """A file that is no database costs the record, not the feed."""
    path = tmp_path / "gaps.sqlite"
    path.write_bytes(b"nonsense" * 200)
    ledger = Ledger(path, "practice")
    assert "not a database" in ledger.trouble
    ledger.open(["4.1!1"], 5, "cut")
    assert ledger.close("4.1!1", 9).to_ms == 9


def ms(text: str) -> int:
    return round(clock.to_ist(datetime.fromisoformat(text)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        ("2026-11-25T16:30:00", "2026-11-25T23:00:00", None),
        ("2026-11-25T20:00:00", "2026-11-26T09:16:00", ("2026-11-26T09:00:00", "2026-11-26T09:16:00")),
        ("2026-11-25T11:00:01", "2026-11-25T11:00:09", ("2026-11-25T11:00:01", "2026-11-25T11:00:09")),
        ("2026-11-27T20:00:00", "2026-11-29T12:00:00", None),
    ],
    ids=["evening", "night into the morning", "within the day", "weekend"],
)  # fmt: skip
def test_only_trading_hours_make_a_gap(start, end, part):
    """A night and a weekend are none; what reaches into the day begins with the market."""
    found = Hours().within("cash", ms(start), ms(end))
    assert found == (part and (ms(part[0]), ms(part[1])))


def test_trades_prove_that_a_market_is_open_whatever_the_calendar_says():
    """A market that goes on trading at night is open; the last trades of a day prove nothing."""
    hours, night, evening = Hours(), ms("2026-11-25T23:00:00"), ms("2026-11-25T15:40:00")
    for second in range(3):
        hours.traded("cash", ms("2026-11-25T15:36:00") + second)
    assert not hours.trading("cash", evening)
    for second in range(3):
        assert not hours.trading("cash", night)
        hours.traded("cash", night + second * 1000)
    assert hours.trading("cash", night)
    assert hours.continuous("cash", night)
    assert not hours.trading("fno", night)
    assert hours.within("cash", night, night + 9) == (night, night + 9)


@pytest.mark.parametrize(
    ("before", "traded", "received", "bounds"),
    [
        (("11:00:00", "11:00:00"), "11:00:06", "08:30:00", ("11:00:00", "11:00:00")),
        (("11:00:00", "08:30:00"), "11:00:06", "08:30:06", ("08:30:00", "08:30:06")),
        (("11:00:00", "17:30:00"), "11:00:06", "17:30:06", ("17:30:00", "17:30:06")),
        (("11:00:00", "08:30:00"), "11:00:00", "08:30:01", ("08:30:00", "08:30:01")),
        (("15:29:58", "15:45:00"), "15:29:59", "18:00:00", None),
        (("15:29:58", "17:59:58"), "15:29:58", "18:00:00", None),
    ],
    ids=[
        "set back meanwhile", "behind", "ahead", "behind within a second", "a late correction",
        "an old trade",
    ],
)  # fmt: skip
def test_a_wrong_clock_hides_no_gap(monkeypatch, before, traded, received, bounds):
    """The exchange's own time says whether it trades; what it tells again at night proves nothing."""
    closed = []
    line = Line("NSE:RELIANCE", "4.1!2885", 33_300)
    gaps = Gaps({line.room: [line]}, None, on_closed=lambda *told: closed.append(told[1:3]))
    at = {text: ms(f"2026-11-25T{text}") for text in (*before, traded, received)}

    def tick(text):
        moment = clock.from_epoch(at[text] // 1000)
        return Tick(
            line.room, moment, 100.0, 100.0, 100.0, 100.0, 100.0, 0.0, 1, 1, 1, 1, 1, 1.0, 1
        )

    line.take(tick(before[0]), 1, 1, at[before[1]])
    monkeypatch.setattr(gaps_module, "_now_ms", lambda: at[received])
    gaps.lost("cut")
    gaps.heard(line.room, at[received], tick(traded))
    assert closed == ([] if bounds is None else [tuple(at[text] for text in bounds)])


def test_keys_tell_their_segment():
    """The exchange in front of a key decides whose hours count."""
    keys = ["NSE:A", "NFO:A FUT", "MCX:GOLD", "NDX:USDINR", "BSE:B", "strange"]
    assert [segment_of(key) for key in keys] == [
        "cash", "fno", "commodity", "currency", "cash", "cash"
    ]  # fmt: skip


def test_rhythm_decides_what_silence_means():
    """Ten ticks a second make eight seconds suspicious; a tick a minute is its own way."""
    liquid, illiquid = Pulse(0.0), Pulse(0.0)
    ticks = 0
    for second in range(1, 40):
        ticks += 10
        assert liquid.look(float(second), ticks)
    assert liquid.liquid
    assert liquid.limit_s < 8
    for minute in range(1, 40):
        illiquid.look(minute * 60.0, minute)
    assert not illiquid.liquid
    assert illiquid.limit_s > 180


def test_quarantine_keeps_the_newest_and_no_secret():
    """The count is exact, fifty reasons are kept, a token in them is not shown."""
    quarantine = Quarantine()
    quarantine.hide("secret-4711")
    for number in range(70):
        quarantine.add("stock", f"frame {number} with secret-4711 " + "x" * 400)
    rows = quarantine.rows()
    assert (quarantine.count, len(rows)) == (70, KEPT)
    assert rows[-1][2].startswith("frame 69 with (hidden)")
    assert all(len(reason) <= 200 and when.endswith("+05:30") for when, _, reason in rows)
