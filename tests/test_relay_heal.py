"""Healing: gaps are filled from the broker's history, exactly, once, and with a reason if not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from fault_proxy import FaultProxy
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from relay_home import Share, practice_login, practice_market, relay_home
from waiting import until, within

from breeze_lab import clock, historical, processes, session, settings
from breeze_lab.bars import Interval
from breeze_lab.feed import Feed, FeedBar, FeedTick, Gap
from breeze_lab.relay.fold import History, Hole, Piece, fold
from breeze_lab.relay.healer import plan
from breeze_lab.relay.market import Line
from breeze_lab.ticks import Tick

NAMES = ["RELIANCE", "TCS", "INFY", "HDFCBANK", "ICICIBANK", "SBIN", "ITC", "NIFTY"]
KEY = "NSE:RELIANCE"
BASE_S = 1795352160 // 900 * 900
INTERVALS = [Interval.S1, Interval.S5, Interval.M1, Interval.M5]


def tick(second: int, price: float, volume: int) -> Tick:
    return Tick(
        "4.1!2885", clock.from_epoch(BASE_S + second), price, 1.0, 1.0, 1.0, 1.0, volume=volume
    )


def history_of(ticks: list[Tick], from_s: int, to_s: int) -> History:
    """Return second bars made the plain way: every trade since the tick before, by its second."""
    pieces: dict[int, Piece] = {}
    for before, one in zip([None, *ticks], ticks, strict=False):
        second = int(one.exchange_time.timestamp())
        traded = one.volume - before.volume if before is not None else 0
        known = pieces.get(second)
        price = one.last
        pieces[second] = (
            Piece(second, price, price, price, price, traded)
            if known is None
            else Piece(
                second, known.open, max(known.high, price), min(known.low, price), price,
                known.volume + traded,
            )
        )  # fmt: skip
    wanted = [pieces[s] for s in sorted(pieces) if from_s <= s < to_s]
    return History(wanted, from_s, to_s)


def line_of(ticks: list[Tick]) -> Line:
    line = Line(KEY, "4.1!2885", 33_300)
    line.hold(INTERVALS)
    take(line, ticks)
    return line


def take(line: Line, ticks: list[Tick]) -> None:
    for number, one in enumerate(ticks):
        line.take(one, number, 1, number)


def rows(line: Line) -> dict[tuple[str, int], tuple]:
    return {
        (row.values[1], row.values[2]): row.values[:11]
        for series in line.series.values()
        for row in series.rows()
    }


TICKS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 1, 2, 7, 40]), st.integers(90, 110), st.integers(0, 9)),
    min_size=6, max_size=60,
)  # fmt: skip


@given(TICKS, st.data())
@hypothesis_settings(max_examples=100, deadline=None)
def test_healed_bars_equal_those_that_missed_nothing(steps, data):
    """Whatever is cut out of a day, what is called complete afterwards is what it would have been."""
    second, volume, ticks = 0, 1000, []
    for pause, price, traded in steps:
        second, volume = second + pause, volume + traded
        ticks.append(tick(second, float(price), volume))
    holes = data.draw(
        st.lists(st.integers(1, len(ticks) - 1), min_size=2, max_size=4, unique=True).map(sorted)
    )
    truth = rows(line_of(ticks))
    line = line_of(ticks[: holes[0]])
    cuts = list(zip(holes[::2], holes[1::2], strict=False))
    for number, (_, end) in enumerate(cuts):
        line.holes.append(Hole.of(number, line, 0))
        line.gap()
        following = cuts[number + 1][0] if number + 1 < len(cuts) else len(ticks)
        hole = line.holes[-1]
        hole.after_s = int(ticks[end].exchange_time.timestamp())
        hole.after_volume = ticks[end].volume
        take(line, ticks[end:following])
    around = data.draw(st.sampled_from([0, 60, 900]))
    for hole in line.holes:
        ask = plan(KEY, "4.1!2885", hole.before_s, hole.after_s)
        from_s = max(hole.before_s - around, BASE_S) if around else ask.from_s
        hole.healed = True
        for series in line.series.values():
            fold(series, hole, line.holes, history_of(ticks, from_s, ask.to_s))
    healed = rows(line)
    assert healed.keys() == truth.keys()
    for name, row in healed.items():
        if row[9]:
            assert row[:9] == truth[name][:9]
    if len(cuts) == 1 and not around:
        first = int(ticks[0].exchange_time.timestamp())
        born = {(i.label, i.floor_epoch(first)) for i in INTERVALS}
        assert {name for name, row in healed.items() if not row[9]} <= born


def test_planned_fault_a_fold_that_forgets_the_volume_is_caught(monkeypatch):
    """The planted fault: without the unheard quantity a mended bar is not what it would have been."""
    ticks = [tick(second, 100.0, 1000 + 10 * second) for second in range(0, 100, 2)]

    def mended() -> bool:
        line = line_of(ticks[:35])
        line.holes.append(Hole.of(1, line, 0))
        line.gap()
        hole = line.holes[-1]
        hole.after_s, hole.after_volume = BASE_S + 80, ticks[40].volume
        take(line, ticks[40:])
        hole.healed = True
        for series in line.series.values():
            fold(series, hole, line.holes, history_of(ticks, BASE_S + 60, BASE_S + 81))
        name = ("1m", BASE_S + 60)
        return rows(line)[name] == rows(line_of(ticks))[name]

    assert mended()
    monkeypatch.setattr(Hole, "traded", property(lambda _: 0))
    assert not mended()


def test_one_call_is_planned_with_the_bars_around():
    """A short hole is asked in seconds from a full bar on, a long one in minutes, a day not at all."""
    short = plan(KEY, "r", BASE_S + 70, BASE_S + 75)
    assert (short.from_s, short.to_s, short.length_s) == (BASE_S, BASE_S + 76, 1)
    longer = plan(KEY, "r", BASE_S + 899, BASE_S + 1500)
    assert (longer.from_s, longer.to_s, longer.length_s) == (BASE_S + 600, BASE_S + 1501, 1)
    minutes = plan(KEY, "r", BASE_S + 70, BASE_S + 7000)
    assert (minutes.from_s, minutes.to_s, minutes.length_s) == (BASE_S + 60, BASE_S + 7020, 60)
    assert plan(KEY, "r", BASE_S, BASE_S + 86_400 * 3) is None


@pytest.fixture(scope="module")
def practice():
    """A practice market of our own."""
    with practice_market(master=True) as market:
        yield market


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a relay yet, and no session in it afterwards."""
    monkeypatch.setattr(session, "_current", None)
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders
        session.logout()


def test_eight_instruments_are_healed_within_fifteen_seconds(home, practice):
    """After an outage the bars of eight instruments are the market's own; after a kill, too."""
    proxy = FaultProxy(int(practice["stream_url"].rpartition(":")[2].strip("/")))
    endpoints = replace(
        settings.Endpoints.from_dict(practice, name="practice"),
        stream_url=f"http://127.0.0.1:{proxy.port}",
    )
    now = session.login(
        practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
    )
    who, events = now.identity, []

    def gaps(state: str) -> dict[str, Gap]:
        return {e.key: e for e in events if isinstance(e, Gap) and e.state == state}

    try:
        with Feed(home) as feed:
            feed.login(
                endpoints, who.user_id, who.session_key, who.name, now.until, serial=now.serial
            )
            shares = [now.resolve(name) for name in NAMES]
            subscription = feed.subscribe(shares, bars=["1s", "5s", "1m"], on_event=events.append)
            until(lambda: len({e.key for e in events if isinstance(e, FeedTick)}) == 8, "ticks")
            until(
                lambda: feed.status()["gaps"]["trading"], "proof that a market trades at this hour"
            )
            proxy.listen(on=False)
            until(lambda: feed.state.state == "connecting", "the loss")
            lost = time.monotonic()
            until(lambda: time.monotonic() - lost > 3, "a hole of three seconds")
            proxy.listen()
            until(lambda: len(gaps("closed")) == 8, "the end of the gaps")
            closed = time.monotonic()
            until(
                lambda: len(gaps("healed")) + len(gaps("not healable")) == 8, "healing", within(15)
            )
            took = time.monotonic() - closed
            print(f"healed after {took:.1f} s")
            assert gaps("not healable") == {}
            assert took < within(15)
            status = feed.status()
            assert status["gaps"]["counts"] == {"healed": 8}
            healed = [e for e in events if isinstance(e, FeedBar) and e.healed and not e.forming]
            snapshot = feed.subscribe(shares, bars=["1s", "5s"]).snapshot
            for share in shares:
                gap = gaps("healed")[share.key]
                seconds = {
                    b.bar.start: b
                    for b in snapshot.bars[share.key, Interval.S1]
                    if gap.start.replace(microsecond=0) <= b.bar.start <= gap.end and not b.forming
                }
                known = historical.bars(
                    now, share, Interval.S1, gap.start.replace(microsecond=0), gap.end
                )
                assert len(known) >= 3
                assert [seconds[bar.start].bar for bar in known] == known
                assert {b.key for b in healed} == {s.key for s in shares}
            events.clear()
            os.kill(feed.status()["pid"], signal.SIGKILL)
            until(
                lambda: len(gaps("healed")) + len(gaps("not healable")) == 8, "healing", within(15)
            )
            assert {gap.cause for gap in gaps("healed").values()} == {"the relay was restarted"}
            assert feed.status()["gaps"]["counts"] == {"healed": 16}
            subscription.close()
    finally:
        proxy.close()


def test_gap_without_a_session_is_not_healable_and_says_why(home, practice):
    """A kernel's own login cannot be shared with the healer: tried once, told with the reason."""
    proxy = FaultProxy(int(practice["stream_url"].rpartition(":")[2].strip("/")))
    login = practice_login(practice)
    login["endpoints"] = replace(login["endpoints"], stream_url=f"http://127.0.0.1:{proxy.port}")
    events = []
    try:
        with Feed(home) as feed:
            feed.login(**login)
            feed.subscribe(Share(), bars=["1s"], on_event=events.append)
            until(lambda: any(isinstance(e, FeedTick) for e in events), "a tick")
            until(
                lambda: feed.status()["gaps"]["trading"], "proof that a market trades at this hour"
            )
            proxy.reset()
            until(
                lambda: [e for e in events if isinstance(e, Gap) and e.state == "not healable"],
                "it",
            )
            gap = [e for e in events if isinstance(e, Gap)][-1]
            assert "Nobody is logged in" in gap.cause
            assert feed.status()["gaps"]["counts"] == {"not healable": 1}
    finally:
        proxy.close()


def test_healer_process_answers_every_ask_whatever_is_wrong(home):
    """Without a session each ask gets its reason, and the process ends well."""
    asks = [{"key": KEY, "room": r, "from_s": 0, "to_s": 9, "interval": "1s"} for r in "ab"]
    done = subprocess.run(
        [sys.executable, "-m", "breeze_lab.relay.heal"], text=True, capture_output=True,
        input=json.dumps({"market": "practice", "asks": asks}), check=True, timeout=60,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["room"], "Nobody is logged in" in one["error"]) for one in told] == [
        ("a", True), ("b", True)
    ]  # fmt: skip
    record = processes.running(home.runtime, "practice")
    if record is not None:
        os.kill(record["pid"], signal.SIGTERM)
    assert record is None
