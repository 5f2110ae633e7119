"""The call meter never lets more through than the broker allows, whatever happens to its processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import within

from breeze_lab import clock, lab
from breeze_lab.errors import ProcessError, RateLimited, SettingsError
from breeze_lab.limits import CallMeter, FreeMeter, moments, page
from breeze_lab.limits.moments import Life
from breeze_lab.settings import Endpoints, Folders

NOON = datetime(2026, 11, 26, 12, tzinfo=clock.IST).timestamp()


class World:
    """Two clocks that move when somebody sleeps, and calls that are answered as time goes by."""

    def __init__(self, folder, **options):
        self.now, self.wall_ahead = 1_000_000.0, NOON - 1_000_000.0
        self.calls = []  # (moment of the answer, ticket), under way
        self.slept = 0.0
        self.path = folder / "calls.db"
        self.options = options
        self.meter = self.another()

    def another(self, **options):
        """Return the meter of another process."""
        return CallMeter(
            self.path,
            moment=lambda: self.now,
            wall=lambda: self.now + self.wall_ahead,
            **{"sleep": self.sleep, **self.options, **options},
        )

    def sleep(self, seconds):
        self.slept += seconds
        self.until(self.now + seconds)

    def until(self, moment):
        """Let time pass; answers come on the way."""
        for at, ticket in sorted(self.calls, key=lambda call: call[0]):
            if at <= moment:
                self.now = max(self.now, at)
                self.calls.remove((at, ticket))
                ticket.done()
        self.now = max(self.now, moment)

    def call(self, takes=0.05, **options):
        """Make a call that is answered after `takes` seconds; return when it was sent."""
        ticket = self.meter.spend(**options)
        self.calls.append((self.now + takes, ticket))
        return self.now

    def use(self, count, ended=None):
        """Enter calls that have been made before."""
        with self.meter._book.writing() as found:
            found.pretend(count, self.now if ended is None else ended)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def most_in_a_minute(arrivals):
    """Return the most arrivals in any 60 seconds, as a broker counts them."""
    arrivals = sorted(arrivals)
    return max(
        sum(start <= t < start + 60.0 for t in arrivals[i:]) for i, start in enumerate(arrivals)
    )


CALLS = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0, 40), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1, max_size=25,
)  # fmt: skip


@given(CALLS, st.integers(1, 5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_minute_holds_more_than_the_limit(tmp_path_factory, calls, limit):
    """A call may arrive at any moment before its answer; no 60 seconds hold more than the limit."""
    assert most_in_a_minute(played(tmp_path_factory, calls, limit)) <= limit


def played(tmp_path_factory, calls, limit):
    world = World(tmp_path_factory.mktemp("meter"), limit=limit)
    arrivals = []
    for pause, takes, arrives in calls:
        world.until(world.now + pause)
        sent = world.call(takes, priority="live")
        arrivals.append(sent + takes * arrives)
    return arrivals


#: A slow call that arrives at its end, and quick ones a minute after its start.
SLOW = [(0, 30, 1.0), (61, 0, 0.0)]


def test_a_slot_freed_a_minute_after_its_start_is_caught(tmp_path_factory, monkeypatch):
    """The planted fault: counting from the start lets two through where one is allowed."""
    assert most_in_a_minute(played(tmp_path_factory, SLOW, 1)) == 1

    def end(self, number, started, *, answered):
        self._file.execute("UPDATE calls SET ended = started WHERE id = ?", (number,))

    monkeypatch.setattr(page.Page, "end", end)
    assert most_in_a_minute(played(tmp_path_factory, SLOW, 1)) == 2


def test_a_waiter_sleeps_until_the_exact_moment(world):
    """The hundred and first call is sent when the first answer is a minute old, and not later."""
    first = world.call(priority="live")
    for _ in range(99):
        world.call(priority="live")
    said = []
    assert world.call(on_wait=said.append, priority="live") == pytest.approx(
        first + 0.05 + page.SPAN_S, abs=0.01
    )
    assert said == [pytest.approx(60.1, abs=0.1)]
    assert world.meter.total == 101


def test_priorities_leave_a_reserve(world):
    """Backfill stops at 85 calls a minute, a person at 95, live charts at 100."""
    world.use(85)
    with pytest.raises(InterruptedError):
        world.another(sleep=interrupted).spend(priority="backfill")
    for _ in range(10):
        world.call(takes=0)
    with pytest.raises(InterruptedError):
        world.another(sleep=interrupted).spend()
    for _ in range(5):
        world.call(priority="live", takes=0)
    with pytest.raises(InterruptedError):
        world.another(sleep=interrupted).spend(priority="live")


def interrupted(_seconds):
    raise InterruptedError


def test_near_the_daily_cap_backfill_is_told_to_come_back_tomorrow(world):
    """At once, with the moment; a person and live charts go on, and then they stop too."""
    world.use(4500, world.now - 3600)
    tomorrow = datetime(2026, 11, 27, tzinfo=clock.IST)
    with pytest.raises(RateLimited, match="00:00 on 27-11-2026 IST") as caught:
        world.meter.spend(priority="backfill")
    assert (caught.value.span, caught.value.until) == ("day", tomorrow)
    world.call()
    world.use(399, world.now - 3600)
    with pytest.raises(RateLimited, match="more urgent than interactive"):
        world.meter.spend()
    world.call(priority="live")
    world.use(99, world.now - 3600)
    with pytest.raises(RateLimited, match="All 5000 calls"):
        world.meter.spend(priority="live")
    assert world.slept == 0
    world.until(world.now + 12 * 3600 + 11)
    world.call(priority="backfill")
    assert world.meter.used_today == 1


def test_ten_order_actions_a_second(world):
    """The eleventh waits out the second; a call that reads does not."""
    for _ in range(10):
        world.call(takes=0, orders=True, priority="live")
    world.call(takes=0)
    assert world.slept == 0
    world.call(takes=0, orders=True, priority="live")
    assert world.slept == pytest.approx(page.ORDER_SPAN_S)


def test_equals_are_served_in_their_order(world):
    """Who waited first goes first; a higher rank passes; one that does not move is passed."""
    world.use(100)
    with world.meter._book.writing() as found:
        first = found.wait(None, 1, found.now + 5)
        second = found.wait(None, 1, found.now + 5)
        third = found.wait(None, 1, found.now + 30)
        assert [found.ahead(1, place) for place in (first, second, third)] == [0, 1, 2]
        assert found.ahead(1, None) == 3
        assert found.ahead(0, None) == 0
        found.wait(None, 0, found.now + 30)
        assert found.ahead(1, first) == 1
    world.until(world.now + 6.5)  # the first two said five seconds
    with world.meter._book.writing() as found:
        assert found.ahead(1, third) == 1, "only the higher rank"


def test_an_interrupt_while_waiting_leaves_nothing_behind(world):
    """Neither a call nor a place."""
    world.use(100)

    def interrupt(_seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.another(sleep=interrupt).spend()
    with world.meter._book.writing() as found:
        assert found.ahead(9, None) == 0
    assert world.meter.used == 100


def test_an_interrupt_after_taking_a_call_gives_it_back(world, monkeypatch):
    """Between the entry and the sending lies an instant; what was not sent does not count."""
    begin = page.Page.begin

    def interrupted(self, *, orders):
        begin(self, orders=orders)
        raise KeyboardInterrupt

    monkeypatch.setattr(page.Page, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.meter.spend()
    assert world.meter.used == 0
    monkeypatch.undo()
    ticket = world.meter.spend()
    ticket.unsent()
    assert (world.meter.used, world.meter.used_today) == (0, 0)


# -- what happens to processes ----------------------------------------------

DIES = """
import os, re, signal, sqlite3, sys
from pathlib import Path
from breeze_lab.limits import CallMeter
connect, word = sqlite3.connect, sys.argv[2]
def watched(*args, **options):
    file = connect(*args, **options)
    def look(statement):
        if re.match(word, statement):
            os.kill(os.getpid(), signal.SIGKILL)
    file.set_trace_callback(look)
    return file
meter = CallMeter(Path(sys.argv[1]))
if word != "nothing":
    sqlite3.connect = watched
meter.spend().done()
print("counted", flush=True)
ticket = meter.spend()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("word", "counted"),
    [
        ("BEGIN IMMEDIATE", 0),
        ("INSERT INTO calls", 0),
        ("COMMIT", 0),  # the trace speaks before the statement
        (r"UPDATE calls SET ended = \S+ WHERE id", 1),  # within the transaction that ends the call
        ("nothing", 2),  # with a call under way
    ],
)
def test_a_sigkill_at_any_point_leaves_the_book_whole(tmp_path, word, counted):
    """What was committed counts, what was not does not, and nobody waits for the dead one's lock."""
    path = tmp_path / "calls.db"
    meter = CallMeter(path)
    meter.spend().unsent()
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(path), word], capture_output=True, check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    begun = time.monotonic()
    meter.spend()
    assert time.monotonic() - begun < within(1)
    assert meter.used == counted + 1
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_call_of_a_dead_process_counts_until_a_minute_after_that_is_noticed(world):
    """Its last call may have arrived at any moment before, or a little later; a zombie is as dead."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    life = Life(child.pid, f"{moments._born(child.pid)}@{moments._namespace()}")
    with world.meter._book.writing() as found:
        found._file.execute(
            "INSERT INTO calls (boot, started, orders, life) VALUES (?, ?, 0, ?)",
            (found.boot, found.now, str(life)),
        )
    world.until(world.now + 300)
    assert moments.lives(life)
    assert world.meter.used == 1, "it lives, so its call is under way"
    child.kill()
    deadline = time.monotonic() + 30
    while moments.lives(life):  # killed, not waited for: a zombie
        assert time.monotonic() < deadline
        time.sleep(0.01)
    world.use(0)
    world.until(world.now + 65)
    assert world.meter.used == 1
    world.until(world.now + 0.2)
    assert world.meter.used == 0
    child.wait(30)
    child.stdin.close()


def test_a_call_without_an_answer_counts_longer(world):
    """It may still be on its way to the broker when its caller has given up."""
    with contextlib.suppress(TimeoutError), world.meter.spend():
        world.until(world.now + 2)
        raise TimeoutError
    world.until(world.now + 88)
    assert world.meter.used == 1, "a minute from half a minute after its start"
    world.until(world.now + 0.2)
    assert world.meter.used == 0


def test_a_number_used_again_is_another_life():
    """The same process number with another start time is not the one that died."""
    me = moments.myself()
    assert moments.lives(me)
    assert moments.lives(Life(me.pid, "1@" + me.born.partition("@")[2])) is False
    assert moments.lives(Life(me.pid, me.born.partition("@")[0] + "@elsewhere")) is None
    assert Life.of(str(me)) == me


def test_a_fork_does_not_end_its_parents_call(tmp_path):
    """A child inherits the ticket and drops it; the parent's call stays under way."""
    meter = CallMeter(tmp_path / "calls.db")
    ticket = meter.spend()
    child = os.fork()
    if not child:
        ticket.done()
        os._exit(0)
    os.waitpid(child, 0)
    found = meter._book.read(
        lambda found: found._file.execute(
            "SELECT count(*) FROM calls WHERE ended IS NULL"
        ).fetchone()
    )
    assert found == (1,)
    ticket.done()


def test_many_threads_and_processes_share_one_budget(tmp_path):
    """Four processes of five threads take exactly the minute's calls, no more and no fewer."""
    code = """
import sys, threading
from pathlib import Path
from breeze_lab.limits import CallMeter
meter = CallMeter(Path(sys.argv[1]), sleep=lambda _: (_ for _ in ()).throw(InterruptedError))
def take():
    try:
        while True:
            meter.spend(priority="live").done()
    except InterruptedError:
        pass
threads = [threading.Thread(target=take) for _ in range(5)]
[t.start() for t in threads]
[t.join() for t in threads]
print(meter.total)
"""
    path = str(tmp_path / "calls.db")
    children = [
        subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    assert sum(int(child.communicate(timeout=60)[0]) for child in children) == 100


def test_a_process_that_stands_still_with_the_book_open_is_named(tmp_path, monkeypatch):
    """Nothing is sent past a lock that nobody lets go of."""
    from breeze_lab.limits import book

    meter = CallMeter(tmp_path / "calls.db")
    meter.spend().done()
    monkeypatch.setattr(book, "_PATIENCE_S", 0.3)
    with contextlib.closing(sqlite3.connect(meter._book.path)) as file:
        file.execute("BEGIN IMMEDIATE")
        with pytest.raises(ProcessError, match="does not move"):
            meter.spend()
        assert meter.used == 1, "looking is possible all the same"


# -- clocks -----------------------------------------------------------------


def test_jumps_of_the_wall_clock_open_no_minute(world):
    """An hour forward and an hour back: the same calls count."""
    for _ in range(50):
        world.call(takes=0)
    for jump in (3600, -7200, 86_400):
        world.wall_ahead += jump
        world.call(takes=0)
    assert world.meter.used == 53


def test_a_jump_across_midnight_does_not_open_a_new_day(world):
    """Both readings are kept, and the larger count holds, whichever is true."""
    world.use(4990, world.now - 600)
    world.wall_ahead += 11.5 * 3600  # 23:30
    world.call(priority="live")
    world.wall_ahead += 3600  # 00:30 of a day that may not have begun
    world.call(priority="live")
    assert world.meter.used_today == 4992
    world.wall_ahead -= 3600
    world.call(priority="live")
    assert world.meter.used_today == 4993
    world.use(7, world.now - 600)
    with pytest.raises(RateLimited) as caught:
        world.meter.spend(priority="live")
    assert caught.value.until.day == 28, "the later of the two midnights"


def test_the_brokers_clock_decides(world):
    """Its Date ends all doubt: then jumps change nothing, and the skew is known."""
    world.wall_ahead += 11.5 * 3600
    world.use(4000, world.now - 5400)
    world.wall_ahead += 3600
    world.call()
    assert world.meter.used_today == 4001
    assert world.meter.skew_s is None
    after_midnight = clock.from_epoch(world.now + world.wall_ahead).replace(microsecond=0)
    world.meter.observe(after_midnight, world.now - 0.1, world.now)
    assert world.meter.used_today == 1
    assert world.meter.skew_s == pytest.approx(0, abs=1)
    world.wall_ahead -= 3600
    world.call()
    assert world.meter.used_today == 2, "it is still the new day"
    assert world.meter.skew_s == pytest.approx(-3600, abs=1)
    world.meter.observe(after_midnight - timedelta(hours=5), world.now - 20, world.now)
    assert world.meter.used_today == 2, "an answer that took 20 s tells no time"


def test_calls_around_midnight_count_for_both_days(world):
    """The broker's midnight may be some seconds from ours."""
    world.until(world.now + 12 * 3600 - 3)
    world.call(takes=0)
    world.until(world.now + 5)  # two seconds into the new day
    assert world.meter.used_today == 1
    world.call(takes=0)
    world.until(world.now + 60)
    assert world.meter.used_today == 2


@pytest.mark.parametrize("wall_jump", [0, -3600, 86_400])
def test_after_a_reboot_the_first_minute_of_uptime_is_full(world, monkeypatch, wall_jump):
    """Whatever the wall clock says by then, calls before the boot count for a minute after it."""
    for _ in range(90):
        world.call(takes=0)
    ticket = world.meter.spend(priority="live")
    monkeypatch.setattr(moments, "boot_id", lambda: "another")
    world.wall_ahead += world.now - 20 + 25 + wall_jump  # booted 25 s later, 20 s ago
    world.now = 20.0
    assert world.meter.used >= 90
    with pytest.raises(InterruptedError):
        world.another(sleep=interrupted).spend(priority="backfill")
    world.until(200.0)
    assert world.meter.used == 0 if wall_jump else world.meter.used <= 1
    if not wall_jump:
        assert world.meter.used_today == 91
    del ticket


def test_seconds_since_boot_that_go_back_do_not_lock_anybody_out(world):
    """A machine put back to a snapshot: what lies in the future has just ended."""
    for _ in range(100):
        world.call(takes=0, priority="live")
    world.now -= 5000
    world.wall_ahead += 5000
    world.use(0)
    assert world.meter.used == 100
    world.until(world.now + 61)
    assert world.meter.used == 0


# -- the broker's word -------------------------------------------------------


def test_a_refusal_pulls_the_meter_down_with_a_note(world):
    """Others use the key too: everybody waits a minute, and the status says why."""
    world.call(takes=0)
    world.meter.refused(RateLimited("", span="minute"))
    assert world.meter.note == ("the broker counted more than we did: waiting until 12:01:00 IST")
    other = world.another()
    begun = world.now
    other.spend(priority="live").done()
    assert world.now - begun == pytest.approx(page.SPAN_S, abs=0.01)
    assert world.meter.note == ""


def test_a_refusal_of_the_day_closes_it(world):
    """For everybody, with a try now and then; the note says so."""
    world.call(takes=0)
    world.meter.refused(RateLimited("", span="day"))
    with pytest.raises(RateLimited, match=r"The broker's calls per day are used up.*27-11-2026"):
        world.another().spend(priority="live")
    assert "used up: until 27-11 00:00 IST" in world.meter.note
    world.until(world.now + 901)  # nobody knows when the broker's day begins: it is tried again
    world.meter.spend().done()
    assert world.meter.note == ""
    world.meter.refused(RateLimited("", span="day"))
    with pytest.raises(RateLimited):
        world.meter.spend()
    world.until(world.now + 12 * 3600 + 11)
    world.meter.spend().done()


def test_refusals_can_be_forgotten_by_who_knows_better(world):
    """They were ordered from the practice market, or wrong."""
    for span in ("minute", "day"):
        world.meter.refused(RateLimited("", span=span))
    world.meter.reopen()
    world.call()
    assert (world.slept, world.meter.note) == (0, "")


def test_a_refusal_of_the_second_holds_orders_only(world):
    """Reading goes on."""
    world.meter.refused(RateLimited("", span="second"))
    world.call(takes=0)
    assert world.slept == 0
    world.call(takes=0, orders=True)
    assert world.slept == pytest.approx(page.ORDER_SPAN_S)


# -- the file ---------------------------------------------------------------


def test_the_file_is_private_and_does_not_name_the_key(tmp_path):
    """Mode 0600, and neither name nor content hold the key."""
    folders = Folders(*(tmp_path / name for name in ("runtime", "cache", "data")))
    for folder in (folders.runtime, folders.data):
        folder.mkdir()
    meter = CallMeter.of("a-key-to-look-for", folders)
    meter.spend().done()
    assert CallMeter.of("a-key-to-look-for", folders).used == 1
    assert CallMeter.of("another", folders).used == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4, "book, journal, gate and witness"
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600, path
        assert b"a-key-to-look-for" not in path.read_bytes() + str(path).encode()


def spoil(how, path):
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[:5000])
    elif how == "overwritten":
        path.write_bytes(os.urandom(len(data)))
    elif how == "middle":
        path.write_bytes(data[:4096] + b"\xff" * 40_960 + data[45_056:])
    elif how == "another database":
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("CREATE TABLE x (y)")


SPOILT = ["deleted", "emptied", "cut", "overwritten", "middle", "another database"]


@pytest.mark.parametrize("how", SPOILT)
def test_a_lost_book_is_made_anew_at_its_worst(world, how):
    """The minute counts as full, the day as far as the witness knows; then work goes on."""
    world.use(1200, world.now - 3600)
    world.call(takes=0)
    spoil(how, world.path)
    with contextlib.suppress(SettingsError, InterruptedError):
        world.another(sleep=interrupted).spend(priority="live")
    with pytest.raises(InterruptedError):
        world.another(sleep=interrupted).spend(priority="live")
    assert world.meter.used >= 100
    assert 1201 <= world.meter.used_today <= 1230
    assert "its file was lost" in world.meter.note
    begun = world.now
    world.call(takes=0)
    assert 60 < world.now - begun < 100
    assert world.meter.note == ""


def test_without_a_witness_a_damaged_book_leaves_only_the_reserve_of_the_day(world):
    """Nobody knows what was used, so bulk work waits for tomorrow."""
    world.call(takes=0)
    spoil("overwritten", world.path)
    world.path.with_suffix(".seen").unlink()
    with pytest.raises(RateLimited, match="more urgent than backfill"):
        world.meter.spend(priority="backfill")
    world.call(takes=0)
    assert world.slept > 60


def test_a_book_deleted_long_after_the_last_call_costs_no_wait(world):
    """The witness tells when that was."""
    world.call(takes=0)
    world.until(world.now + 400)
    spoil("deleted", world.path)
    world.call(takes=0)
    assert world.slept == 0
    assert 2 <= world.meter.used_today <= 110


def test_the_first_book_of_a_key_is_empty(world):
    """Who never called anything need not wait."""
    assert (world.meter.used, world.meter.used_today, world.meter.note) == (0, 0, "")
    world.call()
    assert world.slept == 0


def test_many_who_find_it_lost_make_one(tmp_path):
    """All agree on the new book, and none of its calls is lost."""
    path = tmp_path / "calls.db"
    CallMeter(path).spend().unsent()
    path.with_suffix(".seen").unlink()
    path.unlink()
    meters = [CallMeter(path) for _ in range(12)]
    threads = [threading.Thread(target=lambda m=m: m.spend().done()) for m in meters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert meters[0].used == 12


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False,
        capture_output=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk):
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_disk_that_fills_up_does_not_stop_the_counting(small_disk, tmp_path):
    """The book keeps room of its own."""
    meter = CallMeter(small_disk / "calls.db")
    meter.spend().done()
    fill(small_disk)
    for _ in range(60):
        meter.spend().done()
    assert meter.used == 61


def test_on_a_full_disk_without_a_book_nothing_is_sent(small_disk):
    """Calls that are not counted could pass the limit, so they are refused, and why is said."""
    fill(small_disk)
    meter = CallMeter(small_disk / "calls.db")
    with pytest.raises(SettingsError, match=r"disk is full\. Nothing was sent.*Free some space"):
        meter.spend()
    assert meter.used == 0
    (small_disk / "filler").unlink()
    meter.spend().done()
    assert meter.used == 1


def test_a_home_that_cannot_be_written_is_stood_in_for(small_disk, tmp_path, monkeypatch):
    """All processes find the same private folder below the temporary one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("data", "runtime"):
        (small_disk / name).mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    folders = Folders(small_disk / "runtime", small_disk, small_disk / "data")
    CallMeter.of("key", folders).spend().done()
    assert CallMeter.of("key", folders).used == 1
    assert not list((small_disk / "data").iterdir())


# -- what is shown, and who needs none --------------------------------------


def test_a_market_without_limits_needs_no_meter(practice):
    """Only a practice market on this machine can be without; then nothing is kept on disk."""
    assert Endpoints.from_dict(practice, name="practice").calls == "free"
    away = {**practice, "api_url": "https://api.icicidirect.com/breezeapi/api/v1/"}
    assert Endpoints.from_dict(away, name="practice").calls == "limited"
    kept = Endpoints.from_dict(practice, name="practice").to_dict()
    assert Endpoints.from_dict(json.loads(json.dumps(kept))).calls == "free"
    assert Endpoints.from_dict({**practice, "no_limits": False}, name="x").calls == "limited"
    free = FreeMeter()
    for _ in range(200):
        free.spend(priority="backfill").done()
    free.refused(RateLimited(""))
    assert lab._calls_line(free) == "200 of this process; this practice market has no limits"


def test_the_status_tells_used_and_left(world):
    """Minute, day and note in one line."""
    world.use(38)
    assert lab._calls_line(world.meter) == (
        "38 of 100 in the last minute, 62 left; 38 of 5000 today, 4962 left"
    )
    world.meter.refused(RateLimited(""))
    assert lab._calls_line(world.meter).endswith(
        "left; the broker counted more than we did: waiting until 12:01:00 IST"
    )
