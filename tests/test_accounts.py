"""One session for every process: joining, ending, logging out, and what is written down."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from relay_home import Client, Share, ask, relay_home
from waiting import until

import breeze_lab
from breeze_lab import accounts, clock, errors, feed, processes, session, settings, vault
from breeze_lab.practice import control

JOIN = """
import json, sys
from breeze_lab import errors, session
now = session.current()
print(json.dumps([now.identity.user_id, now.serial, now.practice]), flush=True)
for line in sys.stdin:
    try:
        if line.strip() == "logout":
            session.logout()
            print("out", flush=True)
            continue
        session.current().call("get_quotes", stock_code="RELIND", exchange_code="NSE")
        print("good", session.current().serial, flush=True)
    except errors.BreezeLabError as exc:
        print(type(exc).__name__, exc, flush=True)
"""


class Other:
    """Another process of the same user, as a second kernel is."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.user, self.serial, self.practice = json.loads(self.process.stdout.readline())

    def say(self, word: str = "call") -> str:
        """Let it make a call, or log out; return what came of it."""
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def market(home, tmp_path, monkeypatch):
    """A practice market in this home, and the relay's end afterwards."""
    with relay_home(tmp_path, monkeypatch) as folders:
        yield session.start_practice()
        session.logout()
        record = processes.running(folders.runtime, "practice")
        if record is not None:
            os.kill(record["pid"], signal.SIGTERM)


def log_in(record, name="practice", **options):
    """Log in to the market as itself, or in the clothes of a real broker."""
    api_session = session.page_session(record["login_url"])
    endpoints = settings.Endpoints.from_dict({**record, "name": name})
    return session.login(
        record["app_key"], record["secret"], api_session, endpoints=endpoints, **options
    )


def rest_calls(record):
    return ask(record["status_url"])["limits"]["minute"]["used"]


def test_a_second_kernel_is_in_without_a_click(market):
    """It joins the session, asks the broker nothing for it, and its calls are good."""
    mine = log_in(market)
    before = rest_calls(market)
    with Other() as other:
        assert rest_calls(market) == before, "joining costs no call"
        assert (other.user, other.serial) == (mine.identity.user_id, mine.serial)
        assert other.say() == f"good {mine.serial}"


def test_a_logout_anywhere_is_a_logout_everywhere(market):
    """The next call of the other process is refused at once; nothing is sent."""
    mine = log_in(market)
    with Other() as other:
        assert other.say().startswith("good")
        assert other.say("logout") == "out"
        spent = rest_calls(market)
        with pytest.raises(errors.SessionExpired, match="by a logout"):
            mine.call("get_funds")
        with pytest.raises(errors.SessionExpired, match="by a logout"):
            breeze_lab.history("RELIANCE")
        assert other.say().startswith("NotLoggedIn")
        assert rest_calls(market) == spent
    assert accounts.facts() is None
    assert vault.open().get("session") is None


def test_what_the_broker_refuses_in_one_has_ended_in_all(market):
    """The first refusal is the last request: the others know without asking."""
    mine = log_in(market)
    with Other() as other:
        assert other.say().startswith("good")
        control.connect().expire()
        assert other.say().startswith("SessionExpired The broker no longer accepts")
        spent = rest_calls(market)
        for _ in range(3):
            with pytest.raises(errors.SessionExpired, match="no longer accepted it"):
                mine.call("get_funds")
            assert other.say().startswith("SessionExpired The session ended")
        assert rest_calls(market) == spent, "nothing was sent after the first refusal"
        again = log_in(market)
        assert other.say() == f"good {again.serial}", "it joins the new one by itself"


def test_a_late_refusal_does_not_hurt_a_newer_login(market):
    """Who learns of the old session's end marks the old one only."""
    old = log_in(market)
    control.connect().expire()
    new = log_in(market)
    assert not accounts.mark_ended(old.serial, "late")
    old.end("late")
    assert accounts.facts().good
    assert new.call("get_quotes", stock_code="RELIND", exchange_code="NSE")


def test_the_check_of_serials_can_fail(market, monkeypatch):
    """The planted fault: a mark that does not look at the serial ends the newer login."""
    old = log_in(market)
    control.connect().expire()
    log_in(market)

    def careless(_serial, reason):
        accounts._write(replace(accounts.facts(), ended=reason))

    monkeypatch.setattr(accounts, "mark_ended", careless)
    old.end("late")
    assert not accounts.facts().good


def test_the_markets_midnight_ends_it_for_all(market):
    """Its clock is driven: whoever looks first tells the rest, before anybody asked the broker."""
    mine = log_in(market)
    assert accounts.look()[0].good
    control.connect().jump((clock.now() + timedelta(days=1)).replace(hour=0, minute=1))
    seen, said = accounts.look()
    assert not seen.good
    assert "midnight" in seen.reason
    assert said["session"] != mine.market
    with pytest.raises(errors.SessionExpired, match="midnight"):
        mine.call("get_funds")
    assert session.login_practice().call("get_funds")


def test_a_market_in_trouble_ends_no_session_and_one_that_stopped_does(market):
    """Slow or broken is not gone: only a refused connection means that it stopped."""
    mine = log_in(market)
    with control.connect().fault("maintenance", "5m"), control.connect().fault("slow", "5m"):
        assert accounts.look()[0].good
    quiet = socket.create_server(("127.0.0.1", 0))
    with quiet:  # accepts and never answers
        address = f"http://127.0.0.1:{quiet.getsockname()[1]}/"
        endpoints = {**mine.endpoints.to_dict(), "api_url": address}
        accounts._write(replace(accounts.facts(), endpoints=endpoints))
        assert accounts.look()[0].good
    assert "stopped" in accounts.look()[0].reason


def test_a_real_account_is_not_displaced_by_invented_prices(market):
    """A practice login beside a good real one is its process's own, and logs only itself out."""
    real = log_in(market, "icici")
    mine = log_in(market)
    assert (real.shared, mine.shared) == (True, False)
    assert accounts.facts().serial == real.serial
    assert session.current() is mine, "this notebook asked for practice"
    with Other() as other:
        assert (other.serial, other.practice) == (real.serial, False)
        session.logout()
        assert other.say().startswith("good")


def test_no_process_changes_markets_unasked(market):
    """A notebook on practice prices does not wake up on real ones, nor the other way round."""
    with_practice = log_in(market)
    with Other() as other:
        real = log_in(market, "icici")
        assert accounts.facts().serial == real.serial
        assert other.say().startswith("SessionExpired The session ended when a newer login")
    assert with_practice.ended


def test_facts_hold_no_secret_and_are_private(market):
    """The file everybody reads has names and times; what is secret is in the vault."""
    mine = log_in(market)
    path = settings.folders().runtime / "session.json"
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert mine.identity.name in text
    for name in ("app_key", "secret", "session_key", "api_session"):
        assert getattr(mine.keys, name) not in text
    for other in settings.folders().data.rglob("*"):
        if other.is_file():
            assert mine.keys.session_key not in other.read_text(errors="replace"), other


def test_nothing_with_a_secret_in_it_pickles_or_shows(market):
    """Session, client, identity, keys and credentials: no pickle, no deep copy, no repr."""
    mine = log_in(market)
    kept = accounts.Credentials(market["app_key"], market["secret"])
    for thing in (mine, mine.client, mine.identity, mine.keys, kept):
        for attempt in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled"):
                attempt(thing)
        for secret in (market["app_key"], market["secret"], mine.keys.session_key):
            assert secret not in f"{thing!r} {thing}"


def test_a_damaged_file_of_facts_is_no_session(home):
    """Whatever is in it, the answer is that nobody is logged in."""
    path = settings.folders().runtime / "session.json"
    for text in ("", "{", "[]", "null", '{"serial": "x"}', '{"until": 5, "started": 1}'):
        path.write_text(text)
        assert accounts.facts() is None
    with pytest.raises(errors.NotLoggedIn):
        session.current()


def test_a_vault_that_cannot_be_seen_is_said(market, monkeypatch):
    """With a vault of one process's memory there is a reason and what to do, and no sharing."""
    log_in(market)
    monkeypatch.setattr(session, "_current", None)
    monkeypatch.setenv("BREEZE_LAB_VAULT", "memory")
    with pytest.warns(UserWarning, match="BREEZE_LAB_VAULT_KEY_FILE"):
        assert not log_in(market, "icici").shared
    assert not log_in(market).shared, "and of practice nothing is said"
    monkeypatch.setattr(session, "_current", None)
    with pytest.raises(errors.VaultError, match="Log in here: %breeze_login"):
        session.current()
    assert session.joined() is None


def test_keys_of_an_app_are_kept_and_forgotten(home):
    """They come back; odd ones are refused without being repeated; another app forgets the user."""
    assert accounts.credentials() is None
    accounts.save_credentials("icici", "a+b=c!&#", "secret-of-it")
    kept = accounts.credentials()
    assert (kept.app_key, kept.secret) == ("a+b=c!&#", "secret-of-it")
    assert accounts.credentials("practice") is None
    for key, secret in (("", "x"), ("two words", "x"), ("k" * 501, "x"), ("k", "a\nb")):
        with pytest.raises(errors.LoginError) as refused:
            accounts.save_credentials("icici", key, secret)
        assert "two words" not in str(refused.value)
    accounts.forget()
    assert accounts.credentials() is None


def test_another_account_waits_for_a_yes(market):
    """Held aside it is nobody's session; the right serial adopts it, once."""
    first = log_in(market)
    held = log_in(market, share=False)
    accounts.hold(held)
    assert accounts.facts().serial == first.serial
    with pytest.raises(errors.LoginError, match="no longer waits"):
        accounts.adopt("guess")
    assert accounts.adopt(held.serial).serial == held.serial
    assert accounts.facts().serial == held.serial
    with pytest.raises(errors.LoginError):
        accounts.adopt(held.serial)


_RACE = """
import sys
from breeze_lab import accounts
for number in range(200):
    accounts.mark_ended(sys.argv[1], f"by {number}")
    now = accounts.facts()
    assert now is not None and now.serial
"""


def test_marks_and_logins_at_the_same_time_leave_a_good_session(market):
    """Four processes keep marking the first session; five newer logins stay good."""
    first = log_in(market)
    racers = [subprocess.Popen([sys.executable, "-c", _RACE, first.serial]) for _ in range(4)]
    for _ in range(5):
        newest = log_in(market)
        assert accounts.facts().serial == newest.serial
    assert [racer.wait(120) for racer in racers] == [0] * 4
    assert accounts.facts().good


# -- the relay -----------------------------------------------------------------


def upstream():
    return feed.connect().status()["upstream"]


def test_the_relay_follows_the_session(market):
    """It takes it, ends with it, waits, and takes the next one: the same process all the time."""
    folders = settings.folders()
    with Client(folders) as client:
        assert client.welcome["upstream"]["state"] == "offline"
        log_in(market)
        until(lambda: client.ask("status")["upstream"]["state"] == "connected", "the session")
        pid = client.welcome["pid"]
        client.subscribe(Share())
        client.read("batch")
        control.connect().jump((clock.now() + timedelta(days=1)).replace(hour=0, minute=1))
        until(lambda: not accounts.facts().good, "the relay's word")
        until(lambda: client.ask("status")["upstream"]["state"] == "refused", "its own state")
        assert "ended" in accounts.facts().reason or "stream refused" in accounts.facts().reason
        until(lambda: ask(market["status_url"])["connections"]["stream"] == 0, "the hang-up")
        session.login_practice()
        until(lambda: client.ask("status")["upstream"]["state"] == "connected", "the new one")
        client.read("batch")
        assert client.ask("status")["pid"] == pid
        session.logout()
        until(lambda: client.ask("status")["upstream"]["state"] == "refused", "the logout")
        assert "by a logout" in client.ask("status")["upstream"]["error"]


def test_a_relay_that_comes_back_takes_the_session_from_the_vault(market):
    """After SIGKILL it is connected again, without a token on disk, real account or not."""
    folders = settings.folders()
    mine = log_in(market, "icici")
    with Client(folders) as client:
        until(lambda: client.ask("status")["upstream"]["state"] == "connected", "the session")
        os.kill(client.welcome["pid"], signal.SIGKILL)
    until(lambda: processes.running(folders.runtime, "relay") is None, "the crash")
    with Client(folders) as client:
        until(lambda: client.ask("status")["upstream"]["state"] == "connected", "the vault's")
        for path in folders.runtime.iterdir():
            if path.is_file():
                assert mine.keys.session_key not in path.read_text(errors="replace"), path


def test_an_ended_login_is_not_given_to_a_new_relay(market):
    """A kernel that still holds the old session is refused with the reason."""
    mine = log_in(market)
    who = mine.identity
    accounts.mark_ended(mine.serial, "at 00:00 IST")
    with Client(settings.folders()) as client:
        answer = client.ask(
            "login", endpoints=mine.endpoints.to_dict(), user=who.user_id, token=who.session_key,
            serial=mine.serial,
        )  # fmt: skip
        assert (answer["op"], answer["error"]) == ("error", "SessionExpired")
        assert client.ask("status")["upstream"]["state"] == "offline"


def test_a_busy_stream_ends_nobodys_session(market):
    """A refusal that does not mean the login (a fault) leaves the session good."""
    log_in(market)
    with Client(settings.folders()) as client:
        until(lambda: client.ask("status")["upstream"]["state"] == "connected", "the session")
        with control.connect().fault("refuse", "5m"):
            control.connect().fault("drop")
            until(lambda: client.ask("status")["upstream"]["state"] == "refused", "the refusal")
            until(lambda: client.ask("status")["uptime_s"] > 3, "a few looks")
        assert accounts.facts().good
