"""A recorded day held against the broker's history: what differs is named, and nothing else."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fault_proxy import FaultProxy
from recorded_market import KEYS, LATE_MS, contracts, log, room
from relay_home import relay_home
from tick_log import YESTERDAY, ms, note
from waiting import until

from breeze_lab import cli, clock, processes, recordings, session, settings, truth
from breeze_lab.bars import Bar, Interval
from breeze_lab.errors import RateLimited, RecordingError
from breeze_lab.feed import Feed, FeedBar
from breeze_lab.recordings import compare, comparing, minutes
from breeze_lab.relay import comparison, recorder
from breeze_lab.relay.compared import Compared, summary
from breeze_lab.relay.days import Place
from breeze_lab.relay.held import Held

PLACE = Place("practice", YESTERDAY)
#: Kills of one comparison; there are ten instruments, and each kill takes two.
ROUNDS = min(int(os.environ.get("BREEZE_LAB_ROUNDS", "1")), 4)
COLUMNS = ["day", "key", "start", "field", "ours", "theirs", "in_gap"]


@contextmanager
def market(*options):
    """A practice market that traded around the clock yesterday, too."""
    command = [sys.executable, "-m", "breeze_lab.practice", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def practice():
    with market("--open-since", str(YESTERDAY)) as record:
        yield record


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_current", None)
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders
        session.logout()


def login(practice, **changes):
    endpoints = replace(settings.Endpoints.from_dict(practice, name="practice"), **changes)
    return session.login(
        practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
    )


def at(text):
    return clock.from_epoch(ms(text) / 1000)


def compared(now, **options):
    recorder.convert(PLACE)
    compare.run(compare.plan(PLACE), now, **options)
    return summary(PLACE)


# -- the market's own history --------------------------------------------------


def test_an_undisturbed_day_has_no_differences(home, practice):
    """Every bar that was heard whole is history's, of shares and of an index; edges are no part."""
    log()
    told = compared(login(practice))
    assert told["instruments"] == told["of"] == len(KEYS)
    assert (told["differing"], told["missing"], told["extra"], told["in_gap"]) == (0, 0, 0, 0)
    assert told["bars"] == 6 * len(KEYS)
    assert told["calls_left"] == told["waiting"] == 0
    frame = recordings.differences(YESTERDAY)
    assert list(frame.columns) == COLUMNS
    assert frame.empty
    assert str(frame["start"].dt.tz) == "Asia/Kolkata"
    assert frame.attrs["instruments"]["NSE:NIFTY 50"]["bars"] == 6
    assert comparison.words(told) == (
        f"with history: {YESTERDAY}, {len(KEYS)} instruments, 0 bars differ"
    )


def test_a_disturbed_day_shows_each_fault_and_nothing_else(home, practice):
    """A cut feed, a wrong tick, an unnoticed silence and an unsubscribed room, each for what it is."""
    reliance, infosys, tcs, _nifty = map(room, contracts())
    wrong, asked = [], ms("10:04:10")

    def heard(when, where, frame):
        traded = when - LATE_MS
        if where == reliance and traded >= ms("10:00:30") and not wrong:
            wrong.append(frame[2] + 3.0)  # a trade that nobody made
            frame[2] += 3.0
        forgotten = where == infosys and ms("10:03") <= traded < ms("10:05")
        left = where == tcs and ms("10:02:30") <= when < asked
        return not forgotten and not left and not ms("10:01:20") <= when < ms("10:01:50")

    log(
        heard=heard, epoch=lambda when: 1 if when < ms("10:01:50") else 2,
        notes=[note("left", ms("10:02:30"), room=tcs), note("line", asked, room=tcs, key="NSE:TCS")],
    )  # fmt: skip
    told = compared(login(practice))
    frame = recordings.differences(YESTERDAY)
    # The cut: the bar that it lies in, of everybody, marked.
    cut = frame[frame["in_gap"]]
    assert set(cut["start"]) == {at("10:01")}
    assert "NSE:RELIANCE" in set(cut["key"])
    assert "volume" in set(cut["field"])
    rest = frame[~frame["in_gap"]]
    # The wrong tick: its field with both values.
    [row] = rest[rest["key"] == "NSE:RELIANCE"].to_dict("records")
    assert (row["day"], row["start"], row["field"]) == (YESTERDAY, at("10:00"), "high")
    assert row["theirs"] < row["ours"] == wrong[0]
    # The silence: two bars are missing, and what was traded in it is counted to the next one.
    some = rest[rest["key"] == "NSE:INFY"]
    missing = some[some["ours"].isna()]
    assert missing["start"].tolist() == [at("10:03")] * 5 + [at("10:04")] * 5
    assert missing["field"].tolist() == [*comparing.FIELDS] * 2
    after = some[some["ours"].notna()]
    assert after[["start", "field"]].to_numpy().tolist() == [[at("10:05"), "volume"]]
    # The room that was left is compared until then, and again from when it was asked for.
    assert set(rest["key"]) == {"NSE:RELIANCE", "NSE:INFY"}
    assert told["missing"] == 2
    assert frame.attrs["instruments"]["NSE:TCS"]["bars"] == 3  # 10:00, 10:01, 10:05


def test_a_killed_relay_is_a_gap_and_an_end_without_a_word_is_missing(home, practice):
    """Between two lives bars differ in their gap; who falls silent for good is missed to the end."""
    codes = ["RELIND", "INFTEC"]
    reliance, infosys = map(room, contracts(codes))
    killed, back = ms("10:01:20"), ms("10:03:40")
    log(
        codes,
        heard=lambda when, where, _: (
            not killed <= when < back and not (where == infosys and when >= ms("10:04:30"))
        ),
        epoch=lambda when: 1 if when < back else 2,
        notes=[
            note("life", back - 900, life="b"),
            note("line", back - 800, room=reliance, key="NSE:RELIANCE"),
            note("line", back - 800, room=infosys, key="NSE:INFY"),
        ],
    )
    told = compared(login(practice))
    frame = recordings.differences(YESTERDAY)
    starts = {
        (key, marked): set(some["start"])
        for (key, marked), some in frame.groupby(["key", "in_gap"])
    }
    gap = {at("10:01"), at("10:02"), at("10:03")}
    assert starts == {
        ("NSE:RELIANCE", True): gap, ("NSE:INFY", True): gap,
        ("NSE:INFY", False): {at("10:04"), at("10:05")},
    }  # fmt: skip
    assert told["missing"] == 3  # 10:02 of both, and 10:05


def test_the_planted_fault_of_a_gap_that_is_not_marked_is_caught(home, practice, monkeypatch):
    """The planted fault: gaps that nobody looks at, and the bar of a cut is no gap's any more."""
    lost = ms("10:00:10"), ms("10:00:40")
    log(
        ["RELIND"], end="10:02", heard=lambda when, *_: not lost[0] <= when < lost[1],
        epoch=lambda when: 1 if when < lost[1] else 2,
    )  # fmt: skip
    now = login(practice)
    assert compared(now)["in_gap"] == 1
    PLACE.compared.unlink()
    monkeypatch.setattr(minutes.Minutes, "gap", lambda *_: (0.0, 0.0))
    assert compared(now)["in_gap"] == 0


# -- when it goes on, and when it waits ---------------------------------------------


def test_a_killed_comparison_goes_on_with_the_next_instrument(home, practice):
    """SIGKILL in the middle: what was compared is not compared again, the rest is."""
    log([*KEYS, "AXIBAN", "MARUTI", "WIPRO", "ITC", "LARTOU", "BHAAIR"], end="10:01")
    recorder.convert(PLACE)
    proxy = FaultProxy(_port(practice["api_url"]))
    try:
        now = login(practice, **_through(practice, proxy))
        proxy.delay_s = 0.4
        before = {}
        for _ in range(ROUNDS):
            process = subprocess.Popen(
                [sys.executable, "-m", "breeze_lab.recordings.compare"], stderr=subprocess.PIPE
            )
            wanted = len(before) + 2
            try:
                until(
                    lambda n=wanted: (summary(PLACE) or {}).get("instruments", 0) >= n, "two more"
                )
            finally:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            times = _times()
            assert {key: times[key] for key in before} == before
            assert wanted <= len(times) < len(_times(done=False))
            before = times
        proxy.clear()
        todo = compare.plan(PLACE)
        with (
            processes.locked(PLACE.folder / ".compared.lock", 5, RecordingError("held")),
            pytest.raises(compare.Paused, match="Another process"),
        ):
            compare.run(todo, now)
        assert before.keys().isdisjoint(task.key for task in todo.tasks)
        compare.run(todo, now)
        after = _times()
        assert {key: after[key] for key in before} == before
        assert len(after) == len(_times(done=False))
        assert len(after) - len(before) == len(todo.tasks) == todo.calls
        told = summary(PLACE)
        assert (told["differing"], told["waiting"]) == (0, 0)
        assert compare.plan(PLACE).tasks == ()
    finally:
        proxy.close()


def _port(url):
    return int(re.search(r":(\d+)", url.partition("//")[2])[1])


def _through(practice, proxy):
    """Return the addresses of the market's REST by way of a proxy."""
    direct = _port(practice["api_url"])
    return {
        name: practice[name].replace(f":{direct}/", f":{proxy.port}/")
        for name in ("api_url", "v2_url")
    }  # fmt: skip


def _times(*, done=True):
    with Compared(PLACE) as file:
        rows = file._read("SELECT key, at_ms FROM instruments")
    return {key: at_ms for key, at_ms in rows if at_ms is not None or not done}


def test_a_day_waits_for_a_login_and_for_calls_and_says_so(home, practice, caplog):
    """Without a session nothing is begun; without calls it stops; with both it goes on."""
    caplog.set_level(logging.INFO)
    log(["RELIND", "TCS"], end="10:01")
    recorder.convert(PLACE)
    assert compare.main([]) == comparison.WAITS
    assert "Nobody is logged in" in caplog.text
    assert not PLACE.compared.exists()
    now = login(practice)
    now.meter.refused(RateLimited("used up", span="day"))
    assert compare.main([]) == comparison.WAITS
    told = summary(PLACE)
    assert (told["instruments"], told["of"], told["calls_left"]) == (0, 2, 2)
    assert "calls per day are used up" in told["waits"]
    with pytest.raises(compare.Paused, match="used up"):
        compare.run(compare.plan(PLACE), now)
    now.meter.reopen()
    with pytest.raises(compare.Paused, match="day's 1 calls"):
        compare.run(compare.plan(PLACE), now, most_calls=1)
    assert summary(PLACE)["instruments"] == 1
    assert comparison.pending() == [PLACE]
    assert compare.main([]) == 0
    assert comparison.pending() == []
    assert summary(PLACE)["waits"] == ""


def test_the_nightly_calls_have_a_limit(home, practice, monkeypatch):
    """What was spent today counts; 0 switches it off; nonsense is refused."""
    log(["RELIND", "TCS"], end="10:01")
    assert comparison.calls_left() == 1000
    compared(login(practice))
    assert comparison.calls_left() == 998
    monkeypatch.setenv("BREEZE_LAB_COMPARE_CALLS", "1")
    assert comparison.calls_left() == 0
    monkeypatch.setenv("BREEZE_LAB_COMPARE_CALLS", "many")
    with pytest.raises(settings.SettingsError, match="BREEZE_LAB_COMPARE_CALLS"):
        comparison.most_calls()


def test_history_that_does_not_answer_stops_it_and_an_unknown_name_does_not(home, practice):
    """A server that is down is asked three times, not once for each instrument."""
    log(end="10:01")
    recorder.convert(PLACE)
    proxy = FaultProxy(_port(practice["api_url"]))
    try:
        now = login(practice, **_through(practice, proxy))
        proxy.listen(on=False)
        with pytest.raises(compare.Paused, match="History does not answer"):
            compare.run(compare.plan(PLACE), now)
        told = summary(PLACE)
        assert (told["instruments"], told["failed"], told["waiting"]) == (0, 0, len(KEYS))
        with Compared(PLACE) as file:
            assert sum(one["tries"] for one in file.instruments()) == 3
        proxy.listen()
        compare.run(compare.plan(PLACE), now)
        assert summary(PLACE)["instruments"] == len(KEYS)
    finally:
        proxy.close()


def test_another_practice_market_is_no_history_of_the_recorded_one(home, practice):
    """A later practice market has another past: nothing is asked of it, and nothing waits."""
    log(["RELIND"], end="10:01", notes=[note("epoch", epoch=1, stream="http://127.0.0.1:9")])
    told = compared(login(practice))
    assert (told["instruments"], told["failed"], told["waiting"]) == (0, 1, 0)
    assert comparison.pending() == []
    assert "another practice market" in str(recordings.differences(YESTERDAY).attrs["instruments"])


# -- faces ------------------------------------------------------------------------


def test_the_command_says_the_price_shows_progress_and_a_table(home, practice, capsys):
    """A day is named or the newest; an instrument may be named; what differs is a table."""
    [reliance] = map(room, contracts(["RELIND"]))

    def heard(when, where, frame):
        if where == reliance and ms("10:01") <= when - LATE_MS < ms("10:01:30"):
            frame[2] -= 5.0
        return True

    log(["RELIND", "TCS"], end="10:02", heard=heard)
    assert cli.main(["recordings", "compare"]) == 1
    assert "No day was recorded yet" in capsys.readouterr().err
    recorder.convert(PLACE)
    with pytest.raises(RecordingError, match="not compared with history yet"):
        recordings.differences(YESTERDAY)
    assert cli.main(["recordings", "compare"]) == 1
    said = capsys.readouterr()
    assert f"practice {YESTERDAY}: 2 instruments, 2 calls" in said.out
    assert "NotLoggedIn" in said.err
    login(practice)
    assert cli.main(["recordings", "compare", "--instruments", "TCS"]) == 0
    said = capsys.readouterr()
    assert "1 instruments, 1 calls" in said.out
    assert "1 of 2 instruments, 0 bars differ" in said.out
    assert "1/1" in said.err
    assert cli.main(["recordings", "compare", str(YESTERDAY)]) == 0
    said = capsys.readouterr()
    assert "1 instruments, 1 calls" in said.out
    table = [text.split() for text in said.out.splitlines()]
    assert ["NSE:RELIANCE", "2", "1", "0", "0", "0", "1"] in table
    assert "2 instruments, 1 bars differ" in said.out
    assert cli.main(["recordings", "compare", str(YESTERDAY)]) == 0
    assert "0 instruments, 0 calls" in capsys.readouterr().out
    with pytest.raises(RecordingError, match="compared when it is recorded"):
        compare.plan(Place("practice", clock.now().date()))


def test_the_relay_compares_by_itself_and_says_so(home, practice, capsys):
    """A relay that starts records yesterday, waits for a login, compares, and tells everybody."""
    log(["RELIND", "TCS"], end="10:01")
    with Feed(home) as feed:

        def told():
            return feed.status()["compared"] or {}

        until(PLACE.ticks.exists, "the recording")
        until(
            lambda: "waits: nobody is logged in" in told().get("words", ""), "what it waits for", 60
        )
        login(practice)
        until(lambda: told().get("instruments") == 2 and not told()["days_waiting"], "it", 60)
        status = feed.status()
        assert (
            status["compared"]["words"]
            == f"with history: {YESTERDAY}, 2 instruments, 0 bars differ"
        )
        assert status["compared"]["runs"] == 1
        assert f"compared   with history: {YESTERDAY}" in str(truth.read(status))
        assert cli.main(["relay", "metrics"]) == 0
        assert "breeze_lab_relay_compared_instruments 2\n" in capsys.readouterr().out
        assert cli.main(["relay", "status"]) == 0
        assert "2 instruments, 0 bars differ" in capsys.readouterr().out


def test_what_a_real_relay_recorded_is_history_but_in_its_gap(tmp_path, monkeypatch):
    """Some market minutes of a fast clock, the feed cut within: only the gap's bars differ."""
    monkeypatch.setattr(session, "_current", None)
    names = ["RELIANCE", "INFY", "NIFTY"]
    with (
        market("--speed", "60", "--at", "2026-11-20T11:00", "--exchange-hours") as record,
        relay_home(tmp_path, monkeypatch) as folders,
    ):
        proxy = FaultProxy(_port(record["stream_url"]))
        now = login(record, stream_url=f"http://127.0.0.1:{proxy.port}")
        try:
            with Feed(folders) as feed:
                shares = [now.resolve(name) for name in names]
                closed = []

                def hear(event):
                    if isinstance(event, FeedBar) and not event.forming:
                        closed.append((event.key, event.bar.start))

                def heard(count):
                    return all(len({at for k, at in closed if k == s.key}) >= count for s in shares)

                with feed.subscribe(shares, bars=["1m"], on_event=hear):
                    until(lambda: heard(3), "three minutes")
                    proxy.reset()
                    until(lambda: feed.status()["upstream"]["epoch"] == 2, "another connection")
                    closed.clear()
                    until(lambda: heard(3), "three minutes more")
            os.kill(processes.running(folders.runtime, "relay")["pid"], signal.SIGTERM)
            until(lambda: processes.running(folders.runtime, "relay") is None, "the relay's end")
            [path] = (folders.data / "ticks" / "log" / "practice").glob("*.log")
            path.rename(path.with_name(f"{YESTERDAY}-000001.log"))
            told = compared(now)
        finally:
            proxy.close()
            session.logout()
    frame = recordings.differences(YESTERDAY)
    assert told["instruments"] == len(names)
    assert told["bars"] >= 4 * len(names)
    assert frame["in_gap"].all()
    assert told["differing"] > 0
    assert told["in_gap"] == told["differing"]


# -- pure -------------------------------------------------------------------------


def test_a_room_is_held_from_the_first_frame_of_a_life_until_it_is_left():
    """Killed lives end with their last record; a replay is not listening; ends are ends."""
    held = Held()
    held.note({"what": "life", "life": "a"}, 10)
    held.note({"what": "line", "room": "r"}, 20)
    held.note({"what": "line", "room": "s"}, 20)
    assert held.spans("r") == []
    held.frame(30)
    held.note({"what": "left", "room": "s"}, 40)
    held.frame(50)
    held.note({"what": "life", "life": "a"}, 55)  # another file of the same life
    held.note({"what": "line", "room": "r"}, 55)
    held.frame(60)
    held.note({"what": "life", "life": "b"}, 100)
    held.note({"what": "line", "room": "r"}, 110)
    held.frame(120)
    held.note({"what": "epoch", "epoch": 3, "replay": "x"}, 130)
    held.note({"what": "epoch", "epoch": 4}, 140)
    held.frame(150)
    held.note({"what": "end"}, 160)
    assert held.spans("r") == [[30, 60], [120, 130], [150, 160]]
    assert held.spans("s") == [[30, 40]]
    assert held.spans("nobody") == []


def test_the_fewest_calls_cover_the_spans():
    """A day of any exchange is one call; what is longer is cut, what is apart is not bridged."""
    minute = 60
    assert compare._windows([]) == []
    assert compare._windows([(30, 61), (61, 119), (119, 181)]) == [(120, 180)]
    assert compare._windows([(0, 600), (6000, 7000)]) == [(0, 6960)]
    long = 1440 * minute
    found = compare._windows([(0, long)])
    assert found == [(0, 990 * minute), (990 * minute, long)]
    far = 10**7 // minute * minute
    assert compare._windows([(0, 60), (far, far + 60)]) == [(0, 60), (far, far + 60)]


def bar(start_s, *values):
    return Bar(clock.from_epoch(start_s), Interval.M1, *values)


def test_quiet_bars_and_bars_in_part_are_nobodys_difference():
    """A bar without volume is not missed, but of an index; what was not heard whole does not count."""
    ours = {
        0: (0, 1.0, 1.0, 1.0, 1.0, 5, None, False), 60: (60, 1.0, 2.0, 1.0, 2.0, 7, None, True),
        120: (120, 2.0, 2.0, 2.0, 2.0, 0, None, True),
    }  # fmt: skip
    theirs = [
        bar(0, 9.0, 9.0, 9.0, 9.0, 9), bar(60, 1.00004, 2.0, 1.0, 2.0, 7),
        bar(180, 3.0, 3.0, 3.0, 3.0, 0), bar(240, 3.0, 3.0, 3.0, 3.0, 9),
    ]  # fmt: skip
    found = comparing.compare(ours, theirs, [(0, 240)], [])
    assert (found.bars, found.differing, found.partial) == (1, 0, 2)
    found = comparing.compare(ours, theirs, [(0, 240)], [], index=True)
    assert (found.differing, found.extra, found.missing) == (2, 1, 1)
    found = comparing.compare(ours, theirs, [(0, 300)], [(10, 20), (250, 251)])
    assert [(row.start_s, row.in_gap) for row in found.rows][::5] == [(0, True), (240, True)]
    assert (found.differing, found.in_gap) == (2, 2)


def test_known_times_are_merged_and_an_open_gap_ends_with_the_listening():
    """Listening and gaps make up what is known."""
    held = [(0.0, 100.0), (200.0, 300.0)]
    assert comparing.covered(held, [(97.0, 205.0)]) == [(0.0, 300.0)]
    assert comparing.covered(held, [(250.0, float("inf"))]) == held
    assert comparing.covered(held, [(300.0, 400.0)]) == [(0.0, 100.0), (200.0, 400.0)]
    assert comparing.covered([], []) == []
