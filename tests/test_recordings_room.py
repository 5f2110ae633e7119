"""Recordings stay as long as they should, and recording leaves room to others."""

import json
import os
import shutil
from datetime import timedelta

import pytest
from relay_home import relay_home
from tick_log import YESTERDAY, line, ms, quote, write
from waiting import until

from breeze_lab import cli, clock, recordings
from breeze_lab.errors import RecordingError, SettingsError
from breeze_lab.relay import disk, recorder
from breeze_lab.relay.days import Place, places
from breeze_lab.relay.disk import Limits, Stored
from breeze_lab.relay.logbook import Logbook

TODAY = clock.now().date()
GIB = 2**30


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path))


def stored(*sizes, kept=(), market="icici"):
    """Return days of these sizes, the first one yesterday's."""
    return [
        Stored(Place(market, TODAY - timedelta(days=age)), size, age in kept)
        for age, size in enumerate(sizes, 1)
    ]


def ages(found):
    return [(TODAY - place.day).days for place in found]


def test_the_oldest_days_go_first_and_marked_ones_stay():
    """By age and by size; what is marked counts but stays, and the newest day stays whatever it is."""
    days = stored(10, 10, 10, 10)
    assert ages(disk.surplus(days, Limits(2, 100), TODAY)) == [4, 3]
    assert ages(disk.surplus(days, Limits(9, 25), TODAY)) == [4, 3]
    assert ages(disk.surplus(stored(10, 10, 10, 10, kept={4}), Limits(2, 100), TODAY)) == [3]
    assert ages(disk.surplus(stored(10, 10, 10, kept={2}), Limits(9, 25), TODAY)) == [3]
    assert disk.surplus(stored(999), Limits(9, 25), TODAY) == []
    old = [Stored(Place("icici", TODAY - timedelta(days=300)), 1, kept=False)]
    assert disk.surplus(old, Limits(90, 25), TODAY) == []
    both = days + stored(10, market="practice")
    assert ages(disk.surplus(both, Limits(1, 100), TODAY)) == [4, 3, 2]


def test_the_limits_come_from_the_environment(monkeypatch):
    """A limit that is no number is refused with its name."""
    assert disk.limits() == Limits(90, 20e9)
    monkeypatch.setenv("BREEZE_LAB_KEEP_DAYS", "7")
    monkeypatch.setenv("BREEZE_LAB_KEEP_GB", "0.5")
    assert disk.limits() == Limits(7, 0.5e9)
    monkeypatch.setenv("BREEZE_LAB_KEEP_GB", "much")
    with pytest.raises(SettingsError, match="BREEZE_LAB_KEEP_GB"):
        disk.limits()


def test_old_days_are_removed_but_never_one_that_was_not_recorded(monkeypatch):
    """A day goes with its files; the log of a day without a recording stays."""
    for age in (1, 5, 6, 7):
        day = TODAY - timedelta(days=age)
        write([line(), quote(1, ms("10:00", day))], day=day)
    assert recorder.main(["--grace", "99"]) == 0
    recordings.keep(TODAY - timedelta(days=6))
    lone = TODAY - timedelta(days=30)
    write([line(), quote(1, ms("10:00", lone))], day=lone)
    monkeypatch.setenv("BREEZE_LAB_KEEP_DAYS", "3")
    assert ages(recorder.forget_old()) == [7, 5]
    assert ages(list(places())) == [30, 6, 1]
    assert [day.kept for day in recordings.days()] == [False, True, False]
    recordings.keep(TODAY - timedelta(days=6), wanted=False)
    assert ages(recorder.forget_old()) == [6]


def test_the_verdict_leaves_room_to_others():
    """A fiftieth of the disk, at most 2 GiB; what has paused goes on a tenth above."""
    assert disk.verdict(3 * GIB, 1000 * GIB) == ""
    assert "1,024 MiB are free" in disk.verdict(1 * GIB, 1000 * GIB)
    assert disk.verdict(1 * GIB, 40 * GIB) == ""
    low = 2 * GIB + 1
    assert disk.verdict(low, 1000 * GIB) == ""
    assert "BREEZE_LAB_KEEP_GB" in disk.verdict(low, 1000 * GIB, paused=True)


def test_recording_pauses_loudly_when_the_disk_is_low(tmp_path, monkeypatch, caplog):
    """The log says why, counts what it misses, and goes on by itself."""
    low = []
    real = os.statvfs

    def statvfs(path):
        found = real(path)
        return found if not low else os.statvfs_result((*found[:3], 10, 10, *found[5:]))

    monkeypatch.setattr(os, "statvfs", statvfs)
    logbook = Logbook(tmp_path / "log", list, retry_s=0)

    def one(sequence):
        record = quote(sequence, ms("10:00", TODAY))
        logbook.append(*record)
        logbook._guard_at = 0.0  # as if five seconds had passed
        logbook.commit()

    one(1)
    low.append(True)
    one(2)
    assert logbook.error.startswith("Only ")
    assert logbook.unrecorded == 1
    assert "NOT recorded" in caplog.text
    low.clear()
    one(3)
    assert logbook.error == ""
    logbook.close()


@pytest.mark.parametrize("planted", [False, True], ids=["as it is", "numbers come again"])
def test_a_clock_set_back_into_a_recorded_day_takes_nothing_from_its_recording(
    monkeypatch, planted
):
    """The log goes on behind the removed files; one that took their numbers would replace the day."""
    from breeze_lab.relay import days

    write([line(), *(quote(i, ms("10:00") + i * 1000) for i in range(1, 9))])
    place = Place("icici", YESTERDAY)
    recorder.convert(place, grace_days=0)
    assert not place.logs
    if planted:
        monkeypatch.setattr(days, "newest_recorded", lambda *_: 0)
    logbook = Logbook(days._logs("icici"), list)
    for number in range(9, 40):  # more than there was, and a smaller file would do as much
        logbook.append(*quote(number, ms("11:00") + number * 1000))
    logbook.commit()
    logbook.close()
    made = recorder.convert(place, grace_days=0)
    assert (made["ticks"] == 8) is not planted
    if not planted:
        assert [path.name[-10:] for path in place.logs] == ["000002.log"]
        assert "came when the day was recorded already" in made["warnings"][-1]


def test_the_command_lists_converts_checks_and_keeps(capsys):
    """Each word of ``breeze-lab recordings`` says what it did, and a damaged day fails."""
    assert cli.main(["recordings", "list"]) == 0
    assert "Nothing was recorded yet" in capsys.readouterr().out
    write([line(), *(quote(i, ms("10:00") + i * 1000) for i in range(1, 9))])
    assert cli.main(["recordings", "list"]) == 0
    assert "not recorded yet" in capsys.readouterr().out
    assert cli.main(["recordings", "convert"]) == 0
    assert f"icici {YESTERDAY}: 8 ticks" in capsys.readouterr().out
    assert cli.main(["recordings", "keep", str(YESTERDAY)]) == 0
    assert cli.main(["recordings", "check"]) == 0
    cli.main(["recordings", "list"])
    said = capsys.readouterr().out
    assert "8 ticks, every page as it was written" in said
    assert "8 ticks of 1 instruments, " in said
    assert said.rstrip().endswith("kept")
    Place("icici", YESTERDAY).ticks.write_bytes(b"PAR1")
    assert cli.main(["recordings", "check"]) == 1
    assert "RecordingError" in capsys.readouterr().out
    assert cli.main(["recordings", "keep", "2020-01-01"]) == 1
    assert "Nearest" in capsys.readouterr().err


def test_a_relay_that_starts_records_the_days_that_are_over(tmp_path, monkeypatch):
    """The recorder is a process of its own, and the status says how it went."""
    from breeze_lab import feed, processes

    with relay_home(tmp_path, monkeypatch) as folders:
        write([line(), quote(1, ms("10:00"))])
        processes.ensure(folders.runtime, "relay", "breeze_lab.relay")
        place = Place("icici", YESTERDAY)
        until(place.sidecar.exists, "yesterday's recording")
        assert json.loads(place.sidecar.read_text())["ticks"] == 1
        with feed.Feed() as live:
            until(lambda: live.status()["recorder"] == {"runs": 1, "last": "done"}, "its report")


def test_two_at_once_take_turns():
    """A second recorder waits for the first; who waits too long is told."""
    from breeze_lab.relay import days

    with (
        days.locked("icici"),
        pytest.raises(RecordingError, match="Another process"),
        days.locked("icici", patience_s=0.05),
    ):
        pass


def test_what_a_relay_wrote_is_what_the_notebook_heard(tmp_path, monkeypatch):
    """A real relay, log, recording and the practice market's reader agree on every tick."""
    import breeze_lab
    from breeze_lab import feed, processes, session
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.replay.recording import read

    with relay_home(tmp_path, monkeypatch) as folders:
        try:
            now = breeze_lab.login_practice()
            wanted = [now.resolve(name) for name in ("RELIANCE", "NIFTY", "NIFTY fut")]
            heard = []
            with feed.Feed() as live:
                live.login(now.endpoints, now.identity.user_id, now.identity.session_key, "",
                           now.until, serial=now.serial)  # fmt: skip
                with live.subscribe(wanted, delivery="every") as events:
                    while len(heard) < 60:
                        event = events.get(30)
                        heard += [event] * isinstance(event, feed.FeedTick)
            log = recordings.load("today")
            shutil.move(folders.data / "ticks/log/practice", tmp_path / "aside")
            folder = folders.data / "ticks" / "log" / "practice"
            folder.mkdir()
            for path in (tmp_path / "aside").glob("*.log"):  # as if it had been yesterday
                shutil.copy(path, folder / path.name.replace(str(TODAY), str(YESTERDAY)))
            recorder.convert(Place("practice", YESTERDAY))
        finally:
            session.logout()
            processes.stop(folders.runtime, "practice")
        frame = recordings.load(YESTERDAY)
        assert frame.iloc[: len(log)].equals(log)
        told = {(row.key, row.sequence): row.last for row in frame.itertuples()}
        assert len(told) == len(frame) >= 60
        assert all(told[event.key, event.sequence] == event.tick.last for event in heard)
        replay = read(Place("practice", YESTERDAY).ticks, Prices(1, None))
        replayed = sum(len(ticks.time_ms) for ticks in replay.ticks.values())
        assert replayed == (frame["apart"] == "").sum() > 40
