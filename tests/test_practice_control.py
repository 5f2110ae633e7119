"""The practice market is driven from Python, from the command line and with a magic."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from IPython.core.error import UsageError
from waiting import until
from weather import control_of, market

from breeze_lab import cli, clock, processes, session, settings
from breeze_lab.clock import IST
from breeze_lab.errors import BreezeLabError, ProcessError, SettingsError
from breeze_lab.practice import control
from breeze_lab.practice.control import ClockState, Control
from breeze_lab.practice.faults import kinds as fault_kinds

MORNING = datetime(2026, 11, 20, 9, 15, tzinfo=IST)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A home in which a practice market runs, standing still at a quarter past nine."""
    home = tmp_path_factory.mktemp("driven")
    folder = home / "runtime"
    folder.mkdir()
    options = ("--runtime", str(folder), "--at", "2026-11-20T09:15", "--paused")
    with market(home, *options) as record:
        yield home, record


@pytest.fixture
def here(runtime, monkeypatch):
    """Our home is the market's; it stands still at a quarter past nine, all well."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(runtime[0]))
    driven = control.connect()
    driven.clock(at=MORNING, speed=1, paused=True)
    yield driven
    driven.clear()
    session.logout()


def say(*words):
    """Follow words as the command and the magic do."""
    return control.follow(words)


# -- finding it ----------------------------------------------------------------


def test_without_a_market_it_is_said_how_to_get_one(tmp_path, monkeypatch):
    """The error of a market that does not run has the next step."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path))
    with pytest.raises(ProcessError, match="%breeze_login practice"):
        control.connect()
    with pytest.raises(ProcessError, match=f"--runtime {tmp_path}"):
        say("pause")
    assert "drop 30s" in say("help"), "help needs no market"


def test_a_market_from_before_is_refused_with_the_way_out(runtime):
    """A record without a control address is of an older version."""
    old = {name: value for name, value in runtime[1].items() if "control" not in name}
    with pytest.raises(ProcessError, match=r"older version.*breeze-lab stop"):
        Control.of(old)


def test_a_wrong_token_or_a_dead_market_is_a_typed_error(runtime):
    """Neither is a traceback of urllib."""
    record = runtime[1]
    with pytest.raises(ProcessError, match="HTTP 401"):
        Control.of({**record, "control_token": "guess"}).faults()
    dead = {**record, "control_url": "http://127.0.0.1:9/", "status_url": "http://127.0.0.1:9/"}
    with pytest.raises(ProcessError, match="does not answer"):
        Control.of(dead).pause()
    with pytest.raises(ProcessError, match="does not answer"):
        Control.of(dead).status()


# -- the clock -------------------------------------------------------------------


def test_the_clock_is_driven(here):
    """Speed, pause, resume and jumps, by text, time of day and datetime."""
    assert here.clock() == ClockState(MORNING, 1.0, paused=True)
    assert here.jump("15:29").now == MORNING.replace(hour=15, minute=29)
    assert here.jump("2026-11-21T10:00").now == datetime(2026, 11, 21, 10, tzinfo=IST)
    assert here.jump("9:30:10").now == datetime(2026, 11, 21, 9, 30, 10, tzinfo=IST)
    assert abs((here.jump("now").now - clock.now()).total_seconds()) < 5
    assert here.jump(MORNING).now == MORNING
    assert here.speed(60).speed == 60.0
    assert here.resume().paused is False
    until(lambda: here.clock().now > MORNING + timedelta(seconds=5), "a tenth of a second")
    assert here.pause().paused is True
    assert str(here.jump("09:15")) == "20-11-2026 09:15:00 IST, paused"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"speed": 0.0}, "between"),
        ({"at": "tomorrow"}, "'tomorrow' is no time"),
        ({"at": "25:00"}, "'25:00' is no time"),
    ],
)
def test_an_impossible_time_changes_nothing(here, change, why):
    """The error names what is possible."""
    with pytest.raises(SettingsError, match=why):
        here.clock(**change)
    assert here.clock() == ClockState(MORNING, 1.0, paused=True)


# -- faults ---------------------------------------------------------------------


def test_a_fault_in_a_block_ends_with_it(here):
    """Also when the block fails."""
    with pytest.raises(ZeroDivisionError), here.fault("gap", "2m", room="RELIND") as gap:  # noqa: PT012
        (active,) = here.faults()
        assert (active["fault"], active["room"], active["for_s"]) == ("gap", "RELIND", 120.0)
        assert 100 < gap.left_s <= 120
        1 / 0  # noqa: B018
    assert here.faults() == []
    assert gap.left_s == 0
    gap.clear()


def test_lengths_are_text_seconds_or_spans(here):
    """All three mean the same; nonsense is refused before anything is asked."""
    for length in ("90s", "1.5m", 90, 90.0, timedelta(seconds=90)):
        assert here.fault("dup", length).left_s == pytest.approx(90, abs=2)
    with pytest.raises(SettingsError, match="'soon' is no length"):
        here.fault("dup", "soon")
    assert here.fault("dup", "forever").left_s == float("inf")


def test_waiting_for_the_end_ends(here):
    """`wait` returns when it is over and complains when it takes too long."""
    here.fault("dup", "200ms").wait(30)
    with pytest.raises(ProcessError, match=r"still active after 0\.05 s"):
        here.fault("dup", "20s").wait(0.05)


def test_expire_and_log_and_status(here, runtime):
    """The session ends and the log says so; the status has clock, faults and limits."""
    here.expire()
    until(lambda: here.log()[-1]["what"] == "session ended", "the end of the session")
    assert [line["fault"] for line in here.log()[-3:-1]] == ["expire", "expire"]
    here.fault("gap", "20s")
    status = here.status()
    assert status["now"] == MORNING.isoformat()
    assert status["faults"][0]["fault"] == "gap"
    assert status["limits"]["minute"]["limit"] == 100


REDIRECT = "http://127.0.0.1:9/back?x=1"


def _press(record):
    """Press the button of the login page; return status, target and body."""
    address = urlsplit(record["login_url"])
    page = HTTPConnection(address.netloc, timeout=10)
    page.request("POST", f"{address.path}?{address.query}", b"")
    answer = page.getresponse()
    found = answer.status, answer.getheader("Location"), answer.read().decode()
    page.close()
    return found


def test_the_registered_address_gets_the_api_session_both_ways(here, runtime):
    """By GET in the query, by POST in a form that sends itself; off shows it on a page."""
    record = runtime[1]
    try:
        assert "?apisession=..." in say("redirect", REDIRECT)
        status, target, _ = _press(record)
        assert status == 302
        assert target.startswith(f"{REDIRECT}&apisession=")
        assert here.redirect(method="post") == {"url": REDIRECT, "method": "post"}
        status, target, body = _press(record)
        assert (status, target) == (200, None)
        assert f'<form method="post" action="{REDIRECT}">' in body
        assert 'name="API_Session" value="' in body
        assert session.page_session(record["login_url"]) in body, "the magic's way is its own"
        assert "by itself" not in say("redirect", "off", "get")
        assert _press(record)[1].startswith("/apiuser/landing?apisession=")
    finally:
        here.redirect("", "get")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://x/y", "http:/nowhere", "back"])
def test_an_address_that_cannot_be_registered_is_refused(here, url):
    """Nothing changes; the message says what it begins with."""
    with pytest.raises(SettingsError, match="begins with http"):
        here.redirect(url)
    assert here.redirect()["url"] == ""


# -- words ----------------------------------------------------------------------


def test_words_drive_the_market(here):
    """Each verb answers with what is now so."""
    assert say("jump", "10:00") == "20-11-2026 10:00:00 IST, paused"
    assert say("jump", "2026-11-23", "09:20") == "23-11-2026 09:20:00 IST, paused"
    assert say("speed", "60x").startswith("23-11-2026 09:20:00 IST")
    assert "60 market seconds a second" in say("resume")
    assert say("pause").endswith("paused")
    assert say("faults") == "No fault is active."
    assert say("garbage", "5%", "1m").startswith("garbage for 1 m.")
    assert say("gap", "2m", "RELIND") == "gap for 2 m. End it now: clear gap."
    assert say("slow", "2s", "forever").startswith("slow until you clear it")
    told = say("faults")
    for part in ("garbage 5%: ", "gap RELIND: ", "slow 2 s late: until cleared", "0 effects"):
        assert part in told
    assert say("drop") == "drop: done, 0 hit."
    assert say("clear", "gap") == "Cleared gap."
    assert say("clear", "gap") == "No such fault is active."
    assert say("clear") == "Cleared garbage, slow."
    assert "fault ended: fault gap" in say("log")
    status = say()
    for part in ("Practice market: 23-11-2026", "paused", "No fault is active", "drop 30s"):
        assert part in status


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["fly"], "does not know 'fly'.*The word help lists all"),
        (["dorp"], "Did you mean drop"),
        (["resmue"], "Did you mean resume"),
        (["speed"], "speed 60"),
        (["speed", "fast"], "takes a number"),
        (["jump"], "jump 09:15"),
        (["pause", "5s"], "does not take '5s'"),
        (["clear", "everything"], "does not know 'everything'"),
        (["gap", "5%"], "takes no share"),
        (["drop", "RELIND"], "drop does not take 'RELIND'. It takes how long"),
    ],
)
def test_words_that_make_no_sense_change_nothing(here, words, why):
    """One sentence with what would make sense."""
    with pytest.raises(SettingsError, match=why):
        say(*words)
    assert here.faults() == []


def test_reset_waits_for_an_account_to_put_back(here):
    """The word is there; a market without that command says so in a typed error or does it."""
    try:
        here.reset()
    except SettingsError as error:
        assert "commands are" in str(error)  # noqa: PT017 - until the market has an account


def test_help_names_every_fault():
    """Nothing can be typed that help does not show."""
    for kind in fault_kinds.KINDS.values():
        assert kind.example or kind.name in say("help")
        assert kind.what in say("help")
        assert fault_kinds.order((kind.example or kind.name).split())["name"] == kind.name


# -- the command and the magic ----------------------------------------------------


def test_the_command_drives_and_its_exit_code_tells(here, capsys):
    """`breeze-lab practice WORDS` prints the answer; mistakes go to stderr with code 1."""
    assert cli.main(["practice", "jump", "11:00"]) == 0
    assert capsys.readouterr().out == "20-11-2026 11:00:00 IST, paused\n"
    assert cli.main(["practice", "dorp"]) == 1
    assert "SettingsError: The practice market does not know 'dorp'" in capsys.readouterr().err
    assert cli.main(["practice", "help"]) == 0
    assert "gap 2m RELIND" in capsys.readouterr().out


def test_the_command_with_options_still_serves(tmp_path):
    """Options mean: be a market."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from breeze_lab.cli import main; sys.exit(main())",
         "practice", "--json", "--seed", "3"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "BREEZE_LAB_HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        assert '"seed": 3' in process.stdout.readline()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def magic(line):
    """Run %breeze_practice in a shell; return what it printed."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "breeze_lab")
    with capture_output() as seen:
        shell.run_line_magic("breeze_practice", line)
    return seen.stdout


def test_the_magic_shows_and_drives(here):
    """Alone it shows where things stand and what can be typed; with words it follows them."""
    assert magic("jump 12:00") == "20-11-2026 12:00:00 IST, paused\n"
    magic("gap 2m RELIND")
    magic('gap 2m "4.1!NIFTY 50"')
    shown = magic("")
    for part in (
        "12:00:00 IST, paused",
        "gap RELIND: ",
        "gap 4.1!NIFTY 50: ",
        "speed 60",
        "calls are accepted",
    ):
        assert part in shown
    with pytest.raises(BreezeLabError, match="Did you mean drop"):
        magic("dorp")
    with pytest.raises(UsageError, match="left open"):
        magic('gap "4.1!NIFTY 50')


def test_the_status_says_what_was_ordered(here):
    """Trouble that was ordered is not taken for real trouble."""
    import breeze_lab

    session.login_practice()
    assert "ordered with" not in repr(breeze_lab.status())
    with here.fault("gap", "20s"), here.fault("dup", "20s"):
        assert "gap, dup: ordered with %breeze_practice" in repr(breeze_lab.status())


def test_the_magic_leaves_a_real_account_alone(here, monkeypatch):
    """Logged in to ICICI Direct it says that it only drives the practice market."""
    endpoints = settings.ICICI
    real = session.Session(endpoints, None, None, datetime.now(IST) + timedelta(hours=1))
    monkeypatch.setattr(session, "_current", real)
    with pytest.raises(SettingsError, match="only drives the practice market"):
        magic("drop 30s")
    assert here.faults() == []


# -- the session follows -----------------------------------------------------------


def test_a_practice_login_takes_the_present_session(here, runtime):
    """After expire and after midnight the record's api session is stale; the page's is not."""
    first = session.login_practice()
    assert session.login_practice() is first
    here.expire()
    second = session.login_practice()
    assert second is not first
    assert second.call("get_quotes", stock_code="RELIND", exchange_code="NSE")
    here.jump("2026-11-21T00:00:01")
    third = session.login_practice()
    assert third is not second
    assert third.call("get_quotes", stock_code="RELIND", exchange_code="NSE")
    assert session.login_practice() is third
    assert third.keys.api_session not in repr(third)


def test_a_session_the_broker_refuses_has_ended(here):
    """The first refusal ends it: later calls are not sent, and a login makes a new one."""
    from breeze_lab.errors import SessionExpired

    dead = session.login_practice()
    here.expire()
    with pytest.raises(SessionExpired, match="no longer accepts"):
        dead.call("get_funds")
    spent = dead.meter.total
    with pytest.raises(SessionExpired, match="The session ended at"):
        dead.call("get_funds")
    assert dead.meter.total == spent
    assert session.login_practice() is not dead


def test_a_login_page_in_trouble_keeps_the_good_session(here):
    """Maintenance stops no session; without one, the error names the way out."""
    good = session.login_practice()
    with here.fault("maintenance", "20s"):
        assert session.login_practice() is good
        session.logout()
        with pytest.raises(BreezeLabError, match="%breeze_practice clear"):
            session.login_practice()
    assert session.login_practice().practice


def test_the_market_of_this_home_is_the_one_that_is_driven(here, runtime):
    """`connect` finds the one of this user, and control of its record is the same."""
    assert processes.running(settings.folders().runtime, "practice")["seed"] == 1
    control_of(runtime[1]).jump("13:00")
    assert here.clock().now.hour == 13
