"""Forged callbacks are refused: a real Jupyter server, a practice login page, a table of cases."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import login_cases
import pytest
from login_cases import GOOD, REFUSED, stage_at
from test_server_extension import CONFIG, Server

from breeze_lab import accounts, processes, session, settings, signin

DOCS = Path(__file__).parent.parent / "docs" / "login.md"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A home with a practice market, for as many servers as are started in it."""
    home = tmp_path_factory.mktemp("login")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        patch.setenv("BREEZE_LAB_BROKER", "practice")
        session.start_practice()
        yield home
        for name in ("relay", "practice"):
            record = processes.running(settings.folders().runtime, name)
            if record is not None:
                os.kill(record["pid"], signal.SIGTERM)


@contextlib.contextmanager
def serving(lab, name, config=CONFIG):
    """Run a server of our own in the lab's home."""
    home = lab / name
    home.mkdir()
    running = Server(home, config, "--log-level=DEBUG", lab=lab / "lab")
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(30)


@pytest.fixture(scope="module")
def server(lab):
    with serving(lab, "server") as running:
        yield running


def names(cases):
    return [case.run.__name__ for case in cases]


@pytest.mark.parametrize("case", GOOD, ids=names(GOOD))
def test_the_broker_s_redirect_logs_in(server, case):
    """By GET and by POST, in any spelling: the account's name is shown, everything is used up."""
    with stage_at(server) as stage:
        answer = case.run(stage)
        assert answer.status == 200, answer.text
        assert "PRACTICE MARKET" in answer.text
        state = stage.state()
        assert (state["state"], state["name"]) == ("good", "PRACTICE MARKET")
        assert (state["pending"], state["rehearsal"]) == (False, True)
        assert stage.nonce_key() not in stage.victim.cookies


def judge(case, server):
    """Run a refused case; assert its status, and that nothing changed."""
    with stage_at(server) as stage:
        answer = case.run(stage)
        assert answer.status == case.status, answer.text
        if case.run.__name__ not in LOGS_IN_FIRST:
            assert accounts.facts() is None
        assert stage.state()["pending"] is case.keeps


#: Cases that finish a good login to have something to replay.
LOGS_IN_FIRST = {
    "replayed_address", "replayed_ticket", "ticket_in_the_next_login", "ticket_twice_at_once",
    "other_users_ticket",
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=names(REFUSED))
def test_a_forged_callback_is_refused(server, case):
    """The status of the table, nobody logged in, the victim's login still under way."""
    judge(case, server)


def test_the_documentation_shows_this_table():
    """`docs/login.md` has a row for every case, with its words."""
    assert login_cases.table() in DOCS.read_text()


def test_no_api_session_ticket_or_nonce_is_in_the_log(server):
    """The server logs at DEBUG; good, refused and failing requests leave no secret there."""
    with stage_at(server) as stage:
        nonce = stage.victim.cookies[stage.nonce_key()][0]
        first = stage.comes_back(stage.victim)
        ticket = first.location.partition("ticket=")[2]
        assert len(ticket) > 40
        stage.comes_back(stage.stranger, Referer=f"{stage.broker}/?apisession={stage.api_session}")
        stage.victim.send("PUT", f"{stage.url}?apisession={stage.api_session}")
        stage.comes_back(stage.victim, Host="evil.example")
        stage.goes_on(stage.victim, first)
        for text in (stage.api_session, f'{{"text": "{stage.api_session}"', '{"text": "00000001"}'):
            stage.victim.send(
                "POST", stage.server.url + "api/login/paste", text,
                X_XSRFToken=stage.victim.cookie("_xsrf"),
            )  # fmt: skip
        log = (server.home / "log").read_text()
        assert "callback?[hidden]" in log
        for secret in (
            stage.api_session, ticket, nonce, stage.record["app_key"], stage.record["secret"],
            accounts.keys().session_key,
        ):  # fmt: skip
            assert str(secret) not in log


def test_no_answer_may_be_kept_or_told_on(server):
    """Every answer, refusals and Jupyter's own errors too: no store, no referrer, no api session."""
    with stage_at(server) as stage:
        answers = [
            stage.comes_back(stage.stranger), stage.comes_back(stage.victim),
            stage.posts_back(stage.victim), stage.posts_back(stage.victim, login_cases.EVIL),
            stage.victim.send("PUT", stage.url), stage.comes_back(stage.victim, Host="evil.example"),
            stage.victim.send("POST", stage.url, "x" * 20_000, Origin=stage.broker),
        ]  # fmt: skip
        answers.append(stage.goes_on(stage.victim, answers[1]))
        for answer in answers:
            assert answer.headers["Referrer-Policy"] == "no-referrer", answer.status
            assert answer.headers["Cache-Control"] == "no-store", answer.status
            assert stage.api_session not in f"{answer.headers}{answer.text}", answer.status


def test_the_nonce_is_for_the_callback_and_no_script(server):
    """HttpOnly, Lax, ten minutes, on the callback's path alone; the broker's page gets no referrer."""
    with stage_at(server) as stage:
        answer = stage.start(stage.victim)
        cookie = answer.headers["Set-Cookie"]
        for part in (
            "HttpOnly",
            "SameSite=Lax",
            "Max-Age=600",
            "Path=/user/alice/breeze-lab/callback",
        ):
            assert part in cookie
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        quoted = answer.location.partition("api_key=")[2].partition("&")[0]
        assert not set(quoted) & set("+=!&#"), "the key's signs are quoted"


def test_another_account_is_let_in_by_a_yes(server):
    """The page's button, and the widget's, adopt the login that waits; then it is known."""
    with stage_at(server) as stage:
        stage.keep_keys(user_id="PR000001")
        page = stage.goes_on(stage.victim, stage.comes_back(stage.victim))
        serial = re.search(r'name="serial" value="(\w+)"', page.text)[1]
        assert stage.state()["state"] == "none"
        answer = stage.victim.send(
            "POST", server.url + "login/confirm",
            {"serial": serial, "_xsrf": stage.victim.cookie("_xsrf")},
        )  # fmt: skip
        assert answer.status == 200
        state = stage.state()
        assert (state["state"], state["confirm"], state["serial"]) == ("good", None, serial)
        assert accounts.known_user("practice") == state["user_id"]


# -- planted faults: each check removed once, and its case must notice -------------------


#: What is appended to the server's configuration, which is Python and runs in its process; and
#: the cases that must notice.
FAULTS = {
    "the nonce is not looked at": (
        """
import breeze_lab_server.callback as m
m.CallbackHandler._check_nonce = lambda self: next(iter(self.accountant.desk._pending.values()))
""",
        ["without_the_nonce", "nothing_pending", "nonce_of_the_login_before"],
    ),
    "a nonce is good for any user": (
        """
import hmac
from breeze_lab import signin as m
m.Desk.match = lambda self, user, nonce: next(
    (p for p in self._pending.values() if hmac.compare_digest(p.nonce, m._digest(nonce))), None)
""",
        ["other_users_cookie"],
    ),
    "the sign-in is not looked at": (
        """
import breeze_lab_server.callback as m
async def yes(self):
    self.current_user = self.current_user or type('U', (), {'username': 'x'})()
m.CallbackHandler._check_person = yes
m.CallbackHandler._check_nonce = lambda self: next(iter(self.accountant.desk._pending.values()))
""",
        ["not_signed_in", "not_allowed"],
    ),
    "the origin is not looked at": (
        """
import breeze_lab_server.callback as m
m.CallbackHandler._check_origin_of_post = lambda self: None
""",
        ["foreign_origin", "similar_origin", "no_origin"],
    ),
    "an image may log in": (
        """
import breeze_lab_server.callback as m
m.CallbackHandler._check_navigation = lambda self: None
""",
        ["as_an_image", "in_a_frame"],
    ),
    "tickets are not used up": (
        """
from breeze_lab import signin as m
m.Desk.take = lambda self, t: (self._tickets.get(m._digest(t)) or (0, None))[1]
""",
        ["ticket_in_the_next_login"],
    ),
    "a login is not used up": (
        """
import breeze_lab_server.callback as l
from breeze_lab import signin as m
m.Desk.finish = lambda self, user: None
l.CallbackHandler.clear_cookie = lambda *a, **k: None
""",
        ["replayed_address"],
    ),
    "a POST needs no login under way": (
        """
from breeze_lab import signin as m
m.Desk.any_pending = lambda self: True
""",
        ["post_without_a_login"],
    ),
    "the secret is not tried": (
        """
import subprocess, sys
from breeze_lab import signin as m
CODE = ("import sys; from breeze_lab import signin as s; s._try_the_secret = lambda _: None; "
        "sys.exit(s.main())")
class Careless:
    PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired
    @staticmethod
    def run(command, **options):
        return subprocess.run([sys.executable, '-c', CODE], **options)
m.subprocess = Careless
""",
        ["wrong_secret"],
    ),
    "another account is not asked about": (
        """
from breeze_lab import accounts, signin as m
real = m.exchange
def careless(*words, **more):
    outcome = real(*words, **more)
    if outcome.confirm:
        accounts.adopt(outcome.serial)
    return m.Outcome(outcome.serial, outcome.name, outcome.user_id)
m.exchange = careless
""",
        ["another_account"],
    ),
    "tries are not counted": (
        """
import breeze_lab_server.accountant as m
m.Failures.note = lambda self, who: None
""",
        ["too_many"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_table_notices_a_missing_check(lab, fault):
    """The planted faults: a server without one check lets its case through, and the case says so."""
    code, cases = FAULTS[fault]
    by_name = {case.run.__name__: case for case in REFUSED}
    with serving(lab, re.sub(r"\W", "-", fault), CONFIG + code) as broken:
        for name in cases:
            with pytest.raises(AssertionError):
                judge(by_name[name], broken)


def test_the_log_check_notices_an_address_that_is_not_hidden(lab):
    """The planted fault: without the mask the api session is in the log."""
    unmask = """
import breeze_lab_server.callback as m
real = m.CallbackHandler.initialize
def leaky(self, accountant):
    uri = self.request.uri
    real(self, accountant)
    self.request.uri = uri
m.CallbackHandler.initialize = leaky
m.SECRET_PARAMETERS = ()
"""
    with serving(lab, "unmasked", CONFIG + unmask) as broken, pytest.raises(AssertionError):
        test_no_api_session_ticket_or_nonce_is_in_the_log(broken)


# -- time ---------------------------------------------------------------------------------


class Time:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_login_counts_for_ten_minutes_and_a_ticket_for_one():
    """A moment before they are good, a moment after they are gone."""
    time = Time()
    desk = signin.Desk(clock=time)
    nonce = desk.start("alice", "icici")
    ticket = desk.hold("12345678")
    time.now += signin.TICKET_S - 0.01
    assert desk.peek(ticket)
    time.now += 0.02
    assert desk.take(ticket) is None
    time.now = 1000.0 + signin.PENDING_S - 0.01
    assert desk.match("alice", nonce)
    time.now += 0.02
    assert desk.match("alice", nonce) is None
    assert not desk.any_pending()


def test_a_flood_of_logins_and_tickets_stays_small():
    """Both lists have a bound; the oldest goes."""
    desk = signin.Desk()
    nonces = [desk.start(f"user {n}", "icici") for n in range(100)]
    tickets = [desk.hold(str(n)) for n in range(100)]
    assert len(desk._pending) <= 16
    assert len(desk._tickets) <= 32
    assert desk.match("user 99", nonces[99])
    assert desk.take(tickets[99]) == "99"
    assert desk.take(tickets[0]) is None


def test_a_person_has_one_login_under_way():
    """Starting again ends the one before."""
    desk = signin.Desk()
    first, second = desk.start("alice", "icici"), desk.start("alice", "practice")
    assert desk.match("alice", first) is None
    assert desk.match("alice", second).broker == "practice"
    assert desk.match("bob", second) is None


def test_nothing_of_a_desk_shows_a_secret():
    """Nonces and tickets are kept as digests, and no repr has an api session."""
    desk = signin.Desk()
    nonce, ticket = desk.start("alice", "icici"), desk.hold("12345678")
    shown = f"{desk!r}{desk._pending}{list(desk._tickets)}"
    for secret in (nonce, ticket, "12345678"):
        assert secret not in shown
