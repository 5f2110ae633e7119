"""The security master: fetched whole or not at all, kept by day, the last good one never lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest
import real_master
from master_server import beside_us, fewer, members, packed, serving
from waiting import until, within

import breeze_lab
from breeze_lab import clock, downloads, errors, master_checks, masters, session, settings
from breeze_lab.practice.exchange import contracts
from breeze_lab.practice.exchange import master as practice_master
from breeze_lab.practice.exchange.prices import Prices

HASTY = downloads.Limits(connect_s=1, read_s=0.5, total_s=3)
TODAY = (2026, 11, 26)
FONSE = "FONSEScripMaster.txt"


@pytest.fixture(scope="module")
def parts():
    """The members of a practice market's master, which has the broker's bytes."""
    prices = Prices(1, date(*TODAY))
    return members(practice_master.build(prices, contracts.listing(prices, date(*TODAY))))


@pytest.fixture(scope="module")
def body(parts):
    return packed(parts)


@pytest.fixture
def server(home, body):
    with serving(body) as found:
        yield found


def names(master):
    return master.resolve("RELIANCE").stock_code


# -- downloading -----------------------------------------------------------------


def test_it_is_fetched_once_and_then_asked_whether_it_changed(server, home):
    """A second look costs a 304; the file stays the very same."""
    path = masters.fetch(server.endpoints())
    assert path == home / "data" / "masters" / "test" / "2026-11-26.zip"
    assert path.read_bytes() == server.body
    before = path.stat()
    assert masters.fetch(server.endpoints()) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [status for _, status, _ in server.asked] == [200, 304]
    assert names(masters.load(server.endpoints())) == "RELIND"


def test_a_server_with_dates_only_is_asked_by_date(server):
    """Without a tag If-Modified-Since is sent."""
    server.etag, server.modified = "", "Thu, 26 Nov 2026 02:00:00 GMT"
    masters.fetch(server.endpoints())
    masters.fetch(server.endpoints())
    assert server.asked[1][0]["If-Modified-Since"] == server.modified


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_a_cut_download_goes_on_where_it_was(server, fault):
    """Half came: the other half is asked for with Range and If-Range, and nothing more."""
    half = len(server.body) // 2
    server.fail(fault, half, times=1)
    path = masters.fetch(server.endpoints(), limits=HASTY)
    assert path.read_bytes() == server.body
    _, second = server.asked
    start = int(second[0]["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= half
    assert second[0]["If-Range"] == server.etag
    assert second[1:] == (206, len(server.body) - start)


def test_a_later_login_goes_on_where_an_earlier_one_was_cut(server):
    """What came is kept on disk from one process to the next."""
    server.fail("stall", 100_000)
    with pytest.raises(errors.MasterError, match="broke off"):
        masters.fetch(server.endpoints(), limits=downloads.Limits(1, 0.3, 2, tries=1))
    server.fail(None)
    assert masters.fetch(server.endpoints()).read_bytes() == server.body
    assert server.asked[-1][1] == 206


def test_a_server_that_ignores_ranges_starts_anew(server):
    """200 to a Range: the half we had is dropped, not glued in front."""
    server.ranges = False
    server.fail("cut", 100_000, times=1)
    assert masters.fetch(server.endpoints(), limits=HASTY).read_bytes() == server.body
    assert server.asked[1][1] == 200


def test_a_file_that_changed_between_two_parts_starts_anew(server, parts):
    """If-Range fails: the whole new file comes."""
    server.fail("stall", 100_000)
    with pytest.raises(errors.MasterError):
        masters.fetch(server.endpoints(), limits=downloads.Limits(1, 0.3, 2, tries=1))
    server.fail(None)
    server.serve(packed(parts, (2026, 11, 27)), '"two"')
    assert masters.fetch(server.endpoints()).read_bytes() == server.body
    assert server.asked[-1][1] == 200


def test_the_second_half_of_another_file_is_noticed(server):
    """The server lies about its tag: the checksums catch it, and the whole is asked for once."""
    server.fail("stall", 100_000)
    with pytest.raises(errors.MasterError):
        masters.fetch(server.endpoints(), limits=downloads.Limits(1, 0.3, 2, tries=1))
    server.fail("swap")
    assert masters.fetch(server.endpoints()).read_bytes() == server.body
    assert [status for _, status, _ in server.asked] == [200, 206, 200]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (404, r"HTTP 404"),
        (500, r"HTTP 500"),
        (503, r"HTTP 503"),
        ("html", r"a web page, so it is no security master"),
        ("cut", r"broke off|ended after"),
        ("stall", r"broke off"),
        ("drip", r"was not done in 3 s"),
        ("long", r"broke off|ended after .* of"),
        ("short", r"damaged zip|no zip"),
        ("headerless", r"fell silent"),
    ],
)
def test_a_bad_day_keeps_the_last_good_one_and_says_why(server, parts, fault, says):
    """Whatever the server does: in bounded time a warning with the reason, and yesterday's names."""
    good = masters.fetch(server.endpoints())
    before = good.read_bytes()
    server.serve(packed(parts, (2026, 11, 27)), '"two"')
    server.fail(fault, 20_000)
    begun = time.monotonic()
    with pytest.warns(UserWarning, match=rf"could not be had \(.*({says}).*26-11-2026"):
        assert masters.fetch(server.endpoints(), limits=HASTY) == good
    assert time.monotonic() - begun < within(8)
    assert good.read_bytes() == before
    assert names(masters.load(server.endpoints())) == "RELIND"
    assert "could not be had" in masters.describe(server.endpoints())
    server.fail(None)
    assert masters.fetch(server.endpoints()).name == "2026-11-27.zip"
    assert "could not be had" not in masters.describe(server.endpoints())


def test_without_any_master_the_reason_and_the_next_step_are_raised(home):
    """Nobody listens, nothing is kept."""
    with serving() as gone:
        pass
    with pytest.raises(errors.MasterError, match=r"could not be reached.*breeze-lab doctor"):
        masters.fetch(gone.endpoints())
    assert masters.describe(gone.endpoints()).startswith("none yet: ")


def test_a_file_without_end_is_refused_while_it_is_read(server):
    """Announced or not: not a byte more than allowed is written."""
    small = downloads.Limits(max_bytes=100_000)
    with pytest.raises(errors.MasterError, match="sends more than"):
        masters.fetch(server.endpoints(), limits=small)
    assert server.asked[0][1] == 200
    part = masters._folder(server.endpoints()) / "download.part"
    assert not part.exists() or part.stat().st_size <= 100_000


def test_a_proxy_is_not_asked_for_this_machine(server, monkeypatch):
    """http_proxy of a company network must not see a loopback address."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert masters.fetch(server.endpoints()).exists()


# -- several processes -----------------------------------------------------------

FETCH = """
import sys
from breeze_lab import masters, settings
from master_server import beside_us, FileServer
path = masters.fetch(FileServer.endpoints(type("S", (), {"url": sys.argv[1]})()))
print(path.stat().st_ino, masters.load(FileServer.endpoints(type("S", (), {"url": sys.argv[1]})())).resolve("RELIANCE").stock_code)
"""


def child(url):
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=beside_us(),
    )  # fmt: skip


def test_several_processes_download_once(server):
    """Five at once: one download, the others wait for it and use it."""
    server.pause_s = 0.6  # so that all have come before the first has it
    children = [child(server.url) for _ in range(5)]
    answers = {process.communicate(timeout=60) for process in children}
    assert len(answers) == 1, answers
    assert answers.pop()[0].split()[1] == "RELIND"
    assert [status for _, status, _ in server.asked if status == 200] == [200]


def test_waiting_processes_share_a_failure_too(server):
    """A dead server costs the time of one look, not of five in a row."""
    masters.fetch(server.endpoints())
    server.fail("headerless")
    begun = time.monotonic()
    with ThreadPoolExecutor(5) as pool, pytest.warns(UserWarning, match="fell silent"):
        seen = set(pool.map(lambda _: masters.fetch(server.endpoints(), limits=HASTY), range(5)))
    assert len(seen) == 1
    assert time.monotonic() - begun < 2.5


def killed(process, server, after_s):
    """Kill it so long after its request; say whether it was still at work."""
    asked = len(server.asked)
    until(lambda: len(server.asked) > asked or process.poll() is not None, "the request")
    moment = time.monotonic() + after_s
    while time.monotonic() < moment and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_a_kill_at_any_moment_leaves_a_good_master(server, parts):
    """SIGKILL in the middle, again and again, while the master changes: never a broken one."""
    rounds = int(os.environ.get("BREEZE_LAB_KILLS", "20"))
    masters.fetch(server.endpoints())
    dice = random.Random(4)
    server.pause_s = 0.03
    day, landed = date(*TODAY), 0
    for number in range(rounds):
        day += timedelta(days=1)
        server.serve(packed(parts, day.timetuple()[:3]), f'"{number}"')
        landed += killed(child(server.url), server, dice.uniform(0, 1.2))
        newest = masters.newest(server.endpoints())
        with zipfile.ZipFile(newest) as archive:
            assert archive.testzip() is None
        assert names(masters.open_zip(newest)) == "RELIND"
        for path in newest.parent.glob("*.zip"):
            assert zipfile.is_zipfile(path)
    assert landed > rounds // 4, "kills must hit living ones"
    server.pause_s = 0
    assert masters.fetch(server.endpoints()).stem == day.isoformat()
    left = {path.name for path in newest.parent.iterdir()} - {"lock", "index.json"}
    assert all(name.endswith(".zip") for name in left), left


# -- what is believed -------------------------------------------------------------


def test_stocks_do_not_leave_by_the_thousand(server, parts):
    """A fall of NSE by more than a fifth is refused; the same on a later day is believed."""
    masters.fetch(server.endpoints())
    short = {**parts, "NSEScripMaster.txt": fewer(parts["NSEScripMaster.txt"], 0.7)}
    server.serve(packed(short, (2026, 11, 27)), '"two"')
    for _ in range(2):
        with pytest.warns(UserWarning, match="has only .* rows in NSEScripMaster.txt instead of"):
            assert masters.fetch(server.endpoints()).stem == "2026-11-26"
    server.serve(packed(short, (2026, 11, 28)), '"three"')
    with pytest.warns(UserWarning, match="NSEScripMaster.txt has .* fewer than the one before"):
        assert masters.fetch(server.endpoints()).stem == "2026-11-28"


def test_a_refused_master_can_be_accepted_by_hand(server, parts):
    """``--accept`` overrules."""
    masters.fetch(server.endpoints())
    short = {**parts, "BSEScripMaster.txt": fewer(parts["BSEScripMaster.txt"], 0.1)}
    server.serve(packed(short, (2026, 11, 27)), '"two"')
    with pytest.warns(UserWarning, match="BSEScripMaster.txt"):
        masters.fetch(server.endpoints())
    assert masters.fetch(server.endpoints(), accept=True).stem == "2026-11-27"


@pytest.mark.parametrize(
    ("share", "stem", "says"),
    [(0.9, "2026-11-27", None), (0.7, "2026-11-27", "30% fewer"), (0.4, "2026-11-26", "has only")],
)
def test_contracts_expire_by_the_thousand(server, parts, share, stem, says):
    """A third of FONSE goes after an expiry: said, not refused; most of it is refused."""
    masters.fetch(server.endpoints())
    short = {**parts, "FONSEScripMaster.txt": fewer(parts["FONSEScripMaster.txt"], share)}
    server.serve(packed(short, (2026, 11, 27)), '"two"')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert masters.fetch(server.endpoints()).stem == stem
    assert bool(said) is (says is not None)
    assert says is None or says in str(said[0].message)


@pytest.mark.parametrize("name", ["NSEScripMaster.txt", "CDNSEScripMaster.txt"])
def test_a_missing_member_is_refused_while_there_is_better(server, parts, name):
    """And without better it is used, with a warning at every login."""
    short = packed({one: text for one, text in parts.items() if one != name})
    masters.fetch(server.endpoints())
    server.serve(short, '"two"')
    with pytest.warns(UserWarning, match=f"lacks {name}"):
        masters.fetch(server.endpoints())
    for _ in range(2):
        with pytest.warns(UserWarning, match=rf"it lacks {name}: .* will not be found"):
            masters.fetch(server.endpoints("fresh"))


# -- days --------------------------------------------------------------------------


def test_each_day_is_kept_and_found_again(server, parts):
    """Two days later the first day's names are still there; a weekend has Friday's."""
    friday = packed({**parts, FONSE: parts[FONSE] + b"\r\n"}, (2026, 11, 27))
    masters.fetch(server.endpoints())
    server.serve(friday, '"two"')
    masters.fetch(server.endpoints())
    assert masters.days(server.endpoints()) == [date(2026, 11, 26), date(2026, 11, 27)]
    assert masters.kept(server.endpoints(), date(2026, 11, 26)).stem == "2026-11-26"
    assert masters.kept(server.endpoints(), date(2026, 11, 29)).stem == "2026-11-27"
    assert names(masters.load(server.endpoints(), date(2026, 11, 29))) == "RELIND"
    with pytest.raises(errors.MasterError, match=r"20-11-2026 is not kept: 2 days .*26-11-2026"):
        masters.load(server.endpoints(), date(2026, 11, 20))


def test_the_same_content_is_stored_once(server, parts):
    """Packed anew on the next day, nothing else changed: one file with two names."""
    first = masters.fetch(server.endpoints())
    server.serve(packed(parts, (2026, 11, 27)), '"two"')
    second = masters.fetch(server.endpoints())
    assert (first.stem, second.stem) == ("2026-11-26", "2026-11-27")
    assert first.stat().st_ino == second.stat().st_ino
    compiled = list((first.parents[3] / "cache" / "masters").iterdir())
    assert len(compiled) == 1


def test_a_zip_without_times_counts_for_the_day_it_came(server, parts):
    """Members of 1980 say nothing; a market that replays an old day says that day."""
    server.serve(packed(parts, (1980, 1, 1)), '"two"')
    assert masters.fetch(server.endpoints()).stem == clock.now().date().isoformat()
    server.serve(packed(parts, (2025, 2, 12)), '"three"')
    assert masters.fetch(server.endpoints()).stem == "2025-02-12"
    assert masters.newest(server.endpoints()).stem == "2025-02-12", "the broker's latest word"


def test_old_days_go_when_asked_for(server, parts, monkeypatch):
    """BREEZE_LAB_MASTER_DAYS keeps the newest, and says so when it is no number."""
    for number in range(3):
        server.serve(
            packed({**parts, "note.txt": b"%d" % number}, (2026, 11, 24 + number)), str(number)
        )
        masters.fetch(server.endpoints())
    monkeypatch.setenv(masters.KEEP_VARIABLE, "2")
    masters.fetch(server.endpoints())
    assert [day.day for day in masters.days(server.endpoints())] == [25, 26]
    monkeypatch.setenv(masters.KEEP_VARIABLE, "few")
    with pytest.raises(errors.SettingsError, match="number of days"):
        masters.fetch(server.endpoints())


def test_a_lost_index_or_cache_is_made_again(server, home):
    """The zips are what counts; everything beside them can be derived."""
    path = masters.fetch(server.endpoints())
    (path.parent / "index.json").write_text("{")
    for compiled in (home / "cache" / "masters").iterdir():
        compiled.unlink()
    assert masters.newest(server.endpoints()) == path
    assert names(masters.load(server.endpoints())) == "RELIND"
    assert "rows" in masters.describe(server.endpoints())
    assert masters.fetch(server.endpoints()) == path


def test_folders_and_files_are_private(server):
    """Nobody else reads which instruments are of interest."""
    path = masters.fetch(server.endpoints())
    for folder in (path.parent, path.parent.parent):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_name_that_leads_out_of_the_folder_is_refused(server):
    """Endpoints called ../x must not write elsewhere."""
    with pytest.raises(errors.SettingsError, match="cannot name a folder"):
        masters.fetch(server.endpoints("../x"))


def test_planted_swap_without_check_would_be_seen(server, parts, monkeypatch):
    """The planted fault: a room that believes everything fails the tests above."""
    masters.fetch(server.endpoints())
    monkeypatch.setattr(master_checks, "compare", lambda *_: ([], ""))
    short = {**parts, "NSEScripMaster.txt": fewer(parts["NSEScripMaster.txt"], 0.1)}
    server.serve(packed(short, (2026, 11, 27)), '"two"')
    assert masters.fetch(server.endpoints()).stem == "2026-11-27", "the gate is compare's"


def test_the_real_master_of_a_past_day_is_found_with_its_expired_contracts(server, home):
    """All rows of a recorded day; months later its contracts still have their names."""
    zipped = real_master.path("securitymaster-2026-07-30/SecurityMaster.zip")
    if zipped is None:
        pytest.skip("the real security master is not here")
    server.serve(zipped.read_bytes(), '"real"')
    path = masters.fetch(server.endpoints("icici"))
    assert path.stem == "2026-07-30"
    found = masters.load(server.endpoints("icici"), date(2026, 7, 30))
    assert found.resolve("NIFTY 25-Aug-2026 24500 CE").expiry == date(2026, 8, 25)
    assert "138,859 rows" in masters.describe(server.endpoints("icici"))


def test_a_session_gives_the_master_of_any_kept_day(practice, home, parts):
    """``breeze_lab.master()`` is the session's; with a day it is that day's; a wrong one is said."""
    endpoints = settings.Endpoints.from_dict(practice, name="practice")
    session.login(
        practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
    )
    try:
        assert names(breeze_lab.master()) == "RELIND"
        assert "master" in breeze_lab.status().lines
        day = masters.days(endpoints)[-1]
        assert names(breeze_lab.master(day.isoformat())) == "RELIND"
        with pytest.raises(errors.MasterError, match="is not kept"):
            breeze_lab.master("2020-01-01")
        with pytest.raises(errors.SettingsError, match="no date"):
            breeze_lab.master("yesterday")
    finally:
        session.logout()
