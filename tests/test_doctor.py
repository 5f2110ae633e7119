"""The doctor names the right culprit, in time, and says nothing it should keep to itself."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import socket
import threading
import time
from datetime import timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

import pytest
from waiting import within
from weather import control_of, market

import breeze_lab
from breeze_lab import checkup, cli, clock, errors, session, settings
from breeze_lab.checkup import Line, judge
from breeze_lab.limits import CallMeter
from breeze_lab.practice.faults.kinds import order
from breeze_lab.probes import Patient

BROKER = ("login page", "master", "calls", "quote stream", "order stream", "candle stream")


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A market of our own, because its weather is everybody's."""
    with market(tmp_path_factory.mktemp("market"), "--no-limits") as found:
        made(found)
        yield found


@pytest.fixture
def calm(record, home):
    """The market's control; the weather is calm again afterwards."""
    control = control_of(record)
    yield control
    control.clear()
    session.logout()


def made(record):
    """Let the market make its security master before anybody asks for it with less patience."""
    with urlopen(record["master_url"], timeout=120) as answer:
        answer.read()


@pytest.fixture
def logged_in(record, calm):
    page = session.page_session(record["login_url"])
    endpoints = settings.Endpoints.from_dict(record, name="practice")
    return session.login(record["app_key"], record["secret"], page, endpoints=endpoints)


def begin(control, words):
    fields = order(words.split())
    return control.fault(fields.pop("name"), fields.pop("for_s", None), **fields)


def troubled(found):
    return {line.name for line in found.lines if line.state == "trouble"}


# -- the practice market in bad weather -----------------------------------------------


def test_a_fine_day_is_called_fine(logged_in):
    """Every line that can be asked is ok, quickly, for one call at most."""
    spent = logged_in.meter.total
    begun = time.monotonic()
    found = breeze_lab.doctor()
    assert found.ok, found
    assert found.culprit == "nobody"
    assert found.verdict == "All is well, here and at the practice market."
    assert {line.name for line in found.lines if line.state == "ok"} >= {
        *BROKER, "network", "clock", "kept master", "versions", "disk", "session", "call budget",
    }  # fmt: skip
    assert logged_in.meter.total - spent <= 1
    assert time.monotonic() - begun < within(5)


WEATHER = [
    ("maintenance 1m", {"login page", "calls"}, "broker", "HTTP 503"),
    ("outage t2 1m", {"calls"}, "broker", "while calling service"),
    ("outage 503 1m", {"calls"}, "broker", "HTTP 503"),
    ("html 1m", {"calls"}, "broker", "without JSON"),
    ("badjson 1m", {"calls"}, "broker", "without JSON"),
    ("call-reset 1m", {"calls"}, "broker", "could not be reached"),
    ("timeout 20s", {"calls"}, "broker", "no answer in 8 s"),
    ("limit 1m", {"calls"}, "account", "calls per minute are used up"),
    ("limit day 1m", {"calls"}, "account", "calls per day are used up"),
    ("throttle 1m", {"calls"}, "account", "throttles us"),
    ("expire", {"calls"}, "account", "no longer accepts"),
    ("down 30s", {"quote stream", "order stream", "candle stream"}, "broker", "connection "),
    ("halfopen 20s", {"quote stream", "order stream", "candle stream"}, "broker", "no answer in"),
    ("master-html 1m", {"master"}, "broker", "a web page came"),
    ("master-missing 1m", {"master"}, "broker", "HTTP 404"),
    ("master-truncated 1m", {"master"}, "broker", "a damaged zip came"),
    ("master-short 1m", {"master"}, "broker", "it lacks NSEScripMaster.txt"),
    ("master-stale 1m", set(), "nobody", ""),
    ("slow 1s 1m", set(), "nobody", ""),
]


def spelled(value):
    """Return the name of a parameter, the same in every process."""
    return (" ".join(sorted(value)) if isinstance(value, set) else str(value))[:20]


@pytest.mark.parametrize(("words", "lines", "culprit", "says"), WEATHER, ids=spelled)
def test_the_culprit_is_named(logged_in, calm, record, words, lines, culprit, says):  # noqa: PLR0917
    """Ordered trouble is found where it was ordered, and nowhere else, in less than ten seconds."""
    begin(calm, words)
    if words.startswith("master-stale"):
        made(record)
    begun = time.monotonic()
    found = checkup.doctor()
    assert time.monotonic() - begun < within(10)
    # Whether the session's line was asked before the call that noticed its end is chance.
    assert troubled(found) - ({"session"} if words == "expire" else set()) == lines, found
    assert found.culprit == culprit, found
    for name in lines:
        assert name in found.verdict or "nothing of it" in found.verdict
        assert says in found[name].figure
    if culprit == "broker":
        assert found.verdict.startswith("It is the practice market: ")
        assert found.verdict.endswith("can be reached.")
        assert "%breeze_practice" in found[next(iter(lines))].step


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("maintenance 1m", "HTTP 503 with a web page"),
        ("outage t2 1m", "while calling service"),
        ("badjson 1m", "web page instead of data"),
        ("call-reset 1m", "connection reset"),
        ("timeout 20s", "connected, but no answer in 4 s"),
    ],
)
def test_without_a_login_the_broker_is_asked_too(record, calm, monkeypatch, words, says):
    """A call that needs no session tells almost as much; nobody is told to blame himself."""
    endpoints = settings.Endpoints.from_dict(record, name="practice")
    begin(calm, words)
    found = checkup.examine(checkup._named(endpoints))
    assert says in found["calls"].figure
    assert found.culprit == "broker"
    assert found["session"].state == "not checked"


# -- dead ports, black holes, names that are none ----------------------------------------


@contextlib.contextmanager
def black_hole():
    """A listener that accepts and never says a word; the value is its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hole:
        kept = []

        def swallow():
            with contextlib.suppress(OSError):
                while True:
                    kept.append(hole.accept()[0])

        threading.Thread(target=swallow, daemon=True).start()
        yield hole.getsockname()[1]
        hole.shutdown(socket.SHUT_RDWR)
        for one in kept:
            one.close()


def dead_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def broker_at(where, scheme="http", name="icici"):
    """Return endpoints that are all at one place."""
    base = f"{scheme}://{where}"
    return settings.Endpoints(
        name=name, api_url=f"{base}/v1/", v2_url=f"{base}/v2/", stream_url=base, feeds_url=base,
        ohlc_url=base, master_url=f"{base}/master.zip", login_url=f"{base}/login",
    )  # fmt: skip


def examined(endpoints, witness, *, title="ICICI", **environment):
    """Examine as if the broker were out in the world, with a witness of ours."""
    patient = Patient(endpoints, title, None, False, {"BREEZE_LAB_WITNESS": witness, **environment})
    begun = time.monotonic()
    found = checkup.examine(patient)
    assert time.monotonic() - begun < within(10)
    return found


@pytest.fixture
def witness():
    """Something else that answers a connection."""
    with black_hole() as port:
        yield f"127.0.0.1:{port}"


def test_dead_ports_with_others_alive_are_the_brokers(home, witness):
    """Connection refused by all of theirs while something else can be reached."""
    found = examined(broker_at(f"127.0.0.1:{dead_port()}"), witness)
    assert troubled(found) == set(BROKER)
    assert found.culprit == "broker"
    assert found.verdict == (
        "It is ICICI: nothing of it answers. Of the rest, other sites can be reached."
    )
    assert found["network"].state == "ok"
    assert found["clock"].figure.startswith("unknown")


def test_nothing_reached_at_all_is_the_network(home):
    """The broker's silence follows from the person's own."""
    found = examined(broker_at(f"127.0.0.1:{dead_port()}"), f"127.0.0.1:{dead_port()}")
    assert found.culprit == "you"
    assert found.verdict.startswith("It is your machine or network, not ICICI: network")
    assert not any(found[name].step for name in BROKER), "waiting would not help"


def test_without_a_witness_it_is_not_pretended_to_know(home):
    """BREEZE_LAB_WITNESS=off and nothing answers: it may be either."""
    found = examined(broker_at(f"127.0.0.1:{dead_port()}"), "off")
    assert found.culprit == "unknown"
    assert "it may be your network or theirs" in found.verdict


def test_names_that_do_not_exist_are_the_brokers_when_others_do(home, witness):
    """Their names are unknown, the witness's is not."""
    found = examined(broker_at("api.broker.invalid", "https"), witness)
    assert found["names"].side == "broker"
    assert found["calls"].figure == "the name is not known"
    assert found["quote stream"].figure == "the name is not known"
    assert found.culprit == "broker"


def test_no_name_known_at_all_is_the_machine(home):
    """The witness's name is unknown too: DNS here."""
    found = examined(broker_at("api.broker.invalid", "https"), "witness.invalid:443")
    assert found.culprit == "you"
    assert {"network", "names"} <= troubled(found)
    assert "DNS server of this machine" in found["names"].step


def test_a_broker_that_swallows_everything_is_found_in_time(home, witness):
    """Connections are taken, answers never come: theirs, and said within ten seconds."""
    with black_hole() as port:
        found = examined(broker_at(f"127.0.0.1:{port}"), witness)
    assert found.culprit == "broker"
    assert troubled(found) == set(BROKER)
    assert found["calls"].figure == "connected, but no answer in 4 s"
    assert found["quote stream"].figure.startswith("no answer in")


def test_whatever_hangs_the_doctor_does_not(home, witness, monkeypatch):
    """Even probes that never return (a keyring, a resolver) are given up."""
    never = threading.Event()

    def hang(_patient):
        never.wait(60)
        raise AssertionError

    stuck = tuple((name, side, hang) for name, side, _ in checkup._PROBES)
    monkeypatch.setattr(checkup, "_PROBES", stuck)
    found = examined(broker_at("127.0.0.1:9"), witness)
    never.set()
    assert troubled(found) == set(BROKER)
    assert found["vault"].figure == "no answer in 8 s"


def test_a_probe_that_fails_hides_nothing(home, monkeypatch, witness):
    """A bug in one check is said and the others go on."""

    def broken(_patient):
        raise ZeroDivisionError

    probes = (("vault", "machine", broken), *[one for one in checkup._PROBES if one[0] != "vault"])
    monkeypatch.setattr(checkup, "_PROBES", probes)
    found = examined(broker_at("127.0.0.1:9"), witness)
    assert found["vault"].figure == "the check itself failed (ZeroDivisionError)"
    assert found["disk"].state == "ok"


# -- the clock, the machine, the account ---------------------------------------------


@contextlib.contextmanager
def dated(ahead_s):
    """A broker whose clock is ahead of ours, that is, ours behind it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args):
            pass

        def date_time_string(self, *_args):
            return formatdate(time.time() + ahead_s, usegmt=True)

        def do_GET(self):
            body = b'{"Success": null, "Status": 401, "Error": "no"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield http.server_port
    finally:
        http.shutdown()
        http.server_close()


@pytest.mark.parametrize(
    ("ahead_s", "state", "says"),
    [(7200, "trouble", "s behind ICICI's"), (-45, "trouble", "s ahead of ICICI's"),
     (10, "ok", "behind"), (0, "ok", "0.0 s")],
)  # fmt: skip
def test_a_wrong_clock_is_the_machines(home, witness, ahead_s, state, says):
    """Told by the Date of the broker's own answers; a few seconds do no harm."""
    with dated(ahead_s) as port:
        found = examined(broker_at(f"127.0.0.1:{port}"), witness)
    assert found["clock"].state == state
    assert says in found["clock"].figure
    if state == "trouble":
        assert abs(float(found["clock"].figure.split()[0]) - abs(ahead_s)) < 2
        assert "timedatectl" in found["clock"].step
        assert found["clock"].side == "machine"
        assert "clock" in found.verdict


def test_a_home_that_cannot_be_written_is_the_machines(tmp_path, monkeypatch, witness, record):
    """BREEZE_LAB_HOME below a file: said by the disk's line, and nothing crashes."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "file" / "home"))
    found = examined(settings.Endpoints.from_dict(record, name="practice"), witness)
    assert found["disk"].state == "trouble"
    assert "BREEZE_LAB_HOME" in found["disk"].step
    assert found.culprit == "you"


def test_another_sdk_than_the_one_that_was_read_is_said(logged_in, monkeypatch):
    """The planted fault: breeze-connect one version on."""
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: "1.0.70" if n == "breeze-connect" else real(n)
    )
    found = checkup.doctor()
    assert found["versions"].figure == "breeze-connect is 1.0.70, needed is ==1.0.69"
    assert found.culprit == "you"


def test_an_ended_session_is_the_accounts(logged_in):
    """Past its end nothing is sent with it."""
    logged_in.until = clock.now() - timedelta(minutes=1)
    spent = logged_in.meter.total
    found = checkup.doctor()
    assert logged_in.meter.total == spent
    assert troubled(found) == {"session"}
    assert found["session"].step == "Run %breeze_login again."
    assert found.culprit == "account"


def test_a_used_up_minute_is_not_waited_for(logged_in, tmp_path):
    """The doctor asks nothing when there is no call left, and says so."""
    logged_in.client.meter = CallMeter(tmp_path / "calls.db", limit=5)
    for _ in range(5):
        logged_in.meter.spend().done()
    begun = time.monotonic()
    found = checkup.doctor()
    assert time.monotonic() - begun < within(5)
    assert logged_in.meter.total == 5
    assert found["calls"].state == "not checked"
    assert troubled(found) == {"call budget"}
    assert found["call budget"].figure.startswith("5 of 5 calls in the last minute, 5 of 5,000")
    assert found.culprit == "account"


@contextlib.contextmanager
def address_service(says):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args):
            pass

        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(says)))
            self.end_headers()
            self.wfile.write(says.encode())

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/", asked
    finally:
        http.shutdown()
        http.server_close()


@pytest.mark.parametrize(
    ("registered", "named", "state"),
    [("", True, "not checked"), ("203.0.113.7", False, "not checked"),
     ("203.0.113.7", True, "ok"), ("203.0.113.8", True, "trouble")],
)  # fmt: skip
def test_the_address_is_compared_only_when_asked_for(home, witness, registered, named, state):
    """Nobody outside hears of us unless the person named whom, and what to compare."""
    with address_service("203.0.113.7\n") as (url, asked):
        found = examined(
            broker_at("127.0.0.1:9"), witness,
            BREEZE_LAB_REGISTERED_IP=registered, BREEZE_LAB_ADDRESS_SERVICE=url if named else "",
        )  # fmt: skip
    assert found["address"].state == state
    assert bool(asked) is (bool(registered) and named)
    assert found["address"].step or state == "ok"


# -- what it says, remembers and keeps to itself ---------------------------------------


def test_the_last_good_time_is_remembered(logged_in, calm, home):
    """From one process to the next, by line and broker; a spoilt memory is no trouble."""
    checkup.doctor()
    memory = home / "data" / "doctor.json"
    assert set(json.loads(memory.read_text())["practice"]) >= set(BROKER)
    told = json.loads(memory.read_text())
    told["practice"]["master"] = "2026-11-20T09:30:00+05:30"
    memory.write_text(json.dumps(told))
    begin(calm, "master-html 1m")
    found = checkup.doctor()
    assert "(last good 20-11-2026 09:30 IST)" in repr(found)
    assert found["master"].last_good.utcoffset() == timedelta(hours=5.5)
    assert found["calls"].last_good > found["master"].last_good
    for spoilt in ("{", "[]", '{"practice": 3}', '{"practice": {"master": 5}}'):
        memory.write_text(spoilt)
        assert checkup.doctor()["master"].last_good is None


def everything_said(found, home):
    return "\n".join([
        repr(found), found._repr_html_(), json.dumps(found.to_dict()),
        (home / "data" / "doctor.json").read_text(),
    ])  # fmt: skip


@pytest.mark.parametrize("words", ["", "maintenance 1m", "call-reset 1m", "badjson 1m", "expire"])
def test_no_secret_and_no_account_is_shown(logged_in, record, calm, home, words):
    """A report can be shared: no key, no session, no name, in good weather and bad."""
    if words:
        begin(calm, words)
    said = everything_said(checkup.doctor(), home)
    identity = logged_in.identity
    for kept in (
        record["app_key"], record["secret"], logged_in.keys.api_session, identity.session_key,
        identity.user_id, identity.name,
    ):  # fmt: skip
        assert kept not in said


def test_a_planted_leak_would_be_seen(logged_in, record, home, monkeypatch):
    """The planted fault: a figure that shows the session key."""
    line = dataclasses.replace(
        checkup.doctor()["session"], figure=f"key {logged_in.identity.session_key}"
    )
    found = dataclasses.replace(checkup.doctor(), lines=(line,))
    assert logged_in.identity.session_key in everything_said(found, home)


def test_the_command_answers_with_its_exit_code(record, calm, logged_in, capsys):
    """0 when all is well, 1 when not; --json is for programs."""
    assert cli.main(["doctor"]) == 0
    assert "All is well" in capsys.readouterr().out
    begin(calm, "maintenance 1m")
    assert cli.main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["culprit"]) == (False, "broker")
    assert {line["name"] for line in told["lines"]} >= set(BROKER)
    session.logout()
    assert cli.main(["doctor", "practice"]) == 1
    assert "No practice market runs" in capsys.readouterr().err


def test_the_magic_shows_a_table(logged_in):
    """In a notebook it is a table like the status; a wrong word is refused."""
    from IPython.core.interactiveshell import InteractiveShell

    from breeze_lab.magics import BreezeMagics

    magics = BreezeMagics(InteractiveShell())
    page = magics.breeze_doctor("")._repr_html_()
    assert page.startswith("<table class='breeze-lab-doctor'>")
    with pytest.raises(errors.SettingsError, match="icici and practice"):
        magics.breeze_doctor("zerodha")


def test_what_others_say_cannot_become_markup():
    """A broker's words are text."""
    line = Line("calls", "trouble", "broker", "<script>alert(1)</script>")
    page = checkup.Checkup((line,), "broker", "<b>", "icici", clock.now())._repr_html_()
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


# -- the verdict alone ------------------------------------------------------------------

SIDES = {
    "network": "network", "names": "network", "clock": "machine", "disk": "machine",
    "versions": "machine", "session": "account", "call budget": "account",
    **dict.fromkeys(BROKER, "broker"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "witnessed", "culprit", "says"),
    [
        ("", True, "nobody", "All is well"),
        ("calls", True, "broker", "It is X: calls (bad). Of the rest, login page, master and"),
        ("clock,calls", True, "you", "It is your machine, not X: clock (bad)"),
        ("disk", True, "you", "It is your machine, not X: disk"),
        ("disk,master", True, "both", "It is X: master (bad). Of the rest"),
        ("session", True, "account", "It is the account, not your machine and not X"),
        ("session,calls", True, "broker", "It is X: calls"),
        ("versions,session", True, "you", "It is your machine, not X: versions"),
        (",".join(BROKER), True, "broker", "nothing of it answers. Of the rest, other sites"),
        (",".join(BROKER), None, "broker", "nothing of it answers."),
        (",".join(["network", *BROKER]), False, "you", "your machine or network, not X: network"),
        (",".join(["network", *BROKER]), None, "unknown", "it may be your network or theirs"),
        (",".join(["names", "network", *BROKER]), None, "you", "network and names in trouble"),
        ("network,calls", False, "both", "It is X: calls"),
    ],
)
def test_the_verdict_follows_from_the_lines(bad, witnessed, culprit, says):
    """Every combination that was thought of, without a network."""
    wrong = set(bad.split(","))
    lines = [Line(n, "trouble" if n in wrong else "ok", side, "bad") for n, side in SIDES.items()]
    found, verdict = judge(lines, "X", witnessed=witnessed)
    assert found == culprit, verdict
    assert says in verdict
