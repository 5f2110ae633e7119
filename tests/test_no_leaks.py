"""Planted secrets are looked for wherever they could come out, after good and bad logins.

A real Jupyter server logs at DEBUG, a real kernel runs cells, papermill and
nbconvert make their files, and the account logs in to a practice market the
way it would to the broker. ``docs/secrets.md`` lists the sinks.
"""

from __future__ import annotations

import base64
import html
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import jupyter_client
import nbformat
import pytest
from browser_by_hand import Browser
from secret_hunt import Watcher, hits, tree
from waiting import until

from breeze_lab import clock
from breeze_lab.practice.wire.account import Account

TOKEN = "only-for-this-test"
EXTENSIONS = {
    "breeze_lab_server": True, "jupyterlab": False, "notebook_shim": False, "jupyter_lsp": False,
    "panel.io.jupyter_server_extension": False,
}  # fmt: skip

LOGGING = """
import faulthandler, logging, os, sys, tempfile
import breeze_lab
logging.basicConfig(level=logging.DEBUG, filename=os.environ["HUNT_LOG"], force=True)
logging.getLogger().addHandler(logging.StreamHandler())
for name in ("urllib3", "requests", "websockets", "asyncio", "keyring", "breeze_lab",
             "breeze_connect", "APILogger", "WebsocketLogger", "socketio", "engineio"):
    logging.getLogger(name).setLevel(logging.DEBUG)
"""
#: Public objects, in every way they are shown, copied or kept.
OBJECTS = """
import copy, json, pickle, pprint
from breeze_lab import accounts, session, settings, signin, vault
now = session.current()
chart = breeze_lab.candles("TCS", "5m")
things = {"session": now, "identity": now.identity, "client": now.client,
          "endpoints": now.endpoints, "meter": now.meter, "status": breeze_lab.status(),
          "facts": accounts.facts(), "keys": accounts.keys(), "vault": vault.open(),
          "credentials": accounts.credentials("practice"), "desk": signin.Desk(),
          "instrument": now.resolve("RELIANCE"), "chart": chart, "folders": settings.folders()}
for name, thing in things.items():
    print(name, repr(thing), str(thing), f"{thing}")
    pprint.pprint(thing)
    display(thing)
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        try:
            print(name, act.__name__, act(thing))
        except Exception as exc:
            print(name, act.__name__, "refused", type(exc).__name__, exc)
    try:
        print(name, json.dumps(vars(thing), default=repr))
    except TypeError as exc:
        print(name, "no vars", exc)
"""
#: A login with everything right but one thing.
BAD = """
import traceback
mine = accounts.credentials("practice")
def wrong(**changes):
    given = {"app_key": mine.app_key, "secret": mine.secret, "api_session": "10000001"}
    try:
        session.login(**{**given, **changes}, endpoints=now.endpoints, share=False)
    except BaseException:
        traceback.print_exc()
        logging.exception("a login failed")
        raise
"""
#: An interrupt in the middle of a call.
INTERRUPTED = """
import _thread, threading
http = now.client._sdk.requests
kept, http._session.request = http._session.request, lambda *_, **__: (
    _thread.interrupt_main(), __import__("time").sleep(5))
try:
    now.call("get_funds")
finally:
    http._session.request = kept
"""
#: Children of the kernel, and what a crash would write.
CHILDREN = """
import subprocess
with tempfile.NamedTemporaryFile("w", delete=False) as file:
    file.write(repr(things))
print(subprocess.run(["env"], capture_output=True, text=True).stdout)
print(open("/proc/self/cmdline").read(), open("/proc/self/environ").read())
with open(os.environ["HUNT_LOG"] + ".fault", "w") as file:
    faulthandler.dump_traceback(file, all_threads=True)
"""
#: What a person does in a notebook, good and bad.
CELLS = [
    LOGGING, "%load_ext breeze_lab", "%breeze_status", "%quote RELIANCE",
    "breeze_lab.history('RELIANCE', '1d')", "%candles RELIANCE 1m", OBJECTS, "chart", "now",
    "things", "sorted(globals().items(), key=str)", BAD,
    "wrong()", "%xmode Verbose", "wrong()", "wrong(app_key=mine.app_key + 'x')",
    "wrong(api_session='')", "%tb", INTERRUPTED, "%xmode Context", INTERRUPTED,
    "now.call('get_customer_details', api_session='10000001')",
    "now.call('place_order', stock_code='X')",
    "now.client.raw().place_order(stock_code='X', order_type='limit')",
    "now.client.raw().get_customer_details('10000001')",
    "%breeze_login practice --seed", "%history -n", "In, Out, _oh", "%whos", CHILDREN,
    "%breeze_status",
]  # fmt: skip
#: What papermill runs: a notebook of the same account, failing at its end.
NOTEBOOK = [
    LOGGING, "%load_ext breeze_lab", "%breeze_status", "%quote RELIANCE", "%candles RELIANCE 1m",
    OBJECTS, BAD, "wrong()",
]  # fmt: skip


class Day:
    """One day of an account: what it did, and all that came out of it."""

    def __init__(self, folder, key_file):
        self.folder = folder
        self.home = folder / "home"
        for name in ("lab/runtime", "config", "runtime", "data", "ipython", "tmp", "work"):
            (self.home / name).mkdir(parents=True)
        self.key_file = key_file
        self.log = self.home / "server.log"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BREEZE_LAB", "JUPYTER"))},
            "HOME": str(self.home), "BREEZE_LAB_HOME": str(self.home / "lab"),
            "BREEZE_LAB_VAULT_KEY_FILE": str(key_file), "BREEZE_LAB_BROKER": "practice",
            "JUPYTER_CONFIG_DIR": str(self.home / "config"), "TMPDIR": str(self.home / "tmp"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "runtime"),
            "JUPYTER_DATA_DIR": str(self.home / "data"), "IPYTHONDIR": str(self.home / "ipython"),
            "HUNT_LOG": str(self.home / "kernel.log"), "PYTHONFAULTHANDLER": "1",
        }  # fmt: skip
        self.sinks = {}
        self.watcher = Watcher(self.home)
        self.market = subprocess.Popen(
            [sys.executable, "-m", "breeze_lab.practice", "--json",
             "--runtime", str(self.home / "lab" / "runtime")],
            env=self.environment, stdout=subprocess.PIPE,
            stderr=(self.home / "market.log").open("wb"),
        )  # fmt: skip
        self.record = json.loads(self.market.stdout.readline())
        self.server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--port=0",
                "--ip=127.0.0.1", "--debug", f"--IdentityProvider.token={TOKEN}",
                f"--ServerApp.root_dir={self.home / 'work'}",
                f"--ServerApp.jpserver_extensions={EXTENSIONS}",
            ],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=self.log.open("wb"),
        )  # fmt: skip
        self.url = until(self._url, "the server's record")
        self.browser = Browser()
        until(self._answers, "the server")
        self.browser.send("GET", f"{self.url}api/status?token={TOKEN}")
        self.kernel = None

    def _url(self):
        assert self.server.poll() is None, self.log.read_text()[-3000:]
        for path in (self.home / "runtime").glob("jpserver-*.json"):
            text = path.read_text()
            if text.rstrip().endswith("}"):
                return json.loads(text)["url"]
        return None

    def _answers(self):
        try:
            answer = self.browser.send("GET", f"{self.url}api", Authorization=f"token {TOKEN}")
        except OSError:
            return False
        return answer.status == 200

    def add(self, sink, *data):
        """Keep what came out."""
        parts = [text.encode() if isinstance(text, str) else text for text in data]
        self.sinks[sink] = self.sinks.get(sink, b"") + b"\n".join(parts)

    # -- the login ----------------------------------------------------------

    def api(self, method, path, body=None, **options):
        """Call a route of ours; the answer is a sink."""
        answer = self.browser.send(
            method, f"{self.url}breeze-lab/{path}",
            json.dumps(body) if body is not None else b"",
            Authorization=f"token {TOKEN}", Content_Type="application/json", **options,
        )  # fmt: skip
        self.add("answers of the server's routes", answer.body, str(answer.headers))
        return answer

    def log_in(self, method="get"):
        """Press the widget's button, then the broker's; return the last page."""
        begun = self.browser.send(
            "POST", f"{self.url}breeze-lab/login", {"broker": "practice"},
            Authorization=f"token {TOKEN}",
        )  # fmt: skip
        assert begun.status == 303, begun.text
        page = begun.location
        back = self.browser.send("POST", page, {"redirect": self.callback(page)}, cross_site=True)
        self.api_session = back.location.partition("apisession=")[2]
        here = back
        if method == "post":
            where = here.location.partition("?")[0]
            here = self.browser.send(
                "POST", where, {"API_Session": self.api_session}, cross_site=True,
                Origin="null",
            )  # fmt: skip
        while here.status in (302, 303):
            here = self.browser.send("GET", here.location, cross_site=True)
            self.add("pages of the callback", here.body, str(here.headers), here.url
                     if "apisession" not in here.url else "")  # fmt: skip
        return here

    def callback(self, page):
        """Return where the broker sends the browser."""
        return parse_qs(urlsplit(page).query)["redirect"][0]

    def logins(self):
        """Bad keys, bad sessions, pastes of all kinds, then good logins both ways."""
        good = {name: self.record[name] for name in ("app_key", "secret")}
        self.api("GET", "api/session")
        self.api("POST", "api/credentials", {**good, "secret": good["secret"] + " with a space"})
        self.api("POST", "api/credentials", {**good, "app_key": ""})
        self.api("POST", "api/credentials", [good])
        self.browser.send(
            "POST", f"{self.url}breeze-lab/api/credentials", "{" + json.dumps(good)[1:-9],
            Authorization=f"token {TOKEN}",
        )  # fmt: skip
        self.api("POST", "api/credentials", {**good, "secret": good["secret"][::-1]})
        page = self.log_in()
        assert page.status == 502, page.text
        assert "secret is wrong" in page.text
        self.api("POST", "api/credentials", {**good, "app_key": good["app_key"][::-1]})
        self.api("POST", "api/login/paste", {"text": self.record["api_session"]})
        answer = self.api("POST", "api/credentials", good)
        assert answer.status == 200, answer.text
        token = self.record["api_session"]
        for pasted in (
            f"https://127.0.0.1/?apisession={token}&apisession=99999999", f"http://[{token}",
            f"my secret is {good['secret']}", json.dumps({"token": token, **good}), token + "0",
        ):  # fmt: skip
            assert self.api("POST", "api/login/paste", {"text": pasted}).status == 400
        for path in (f"callback?apisession={token}", f"callback?x={good['secret']}",
                     f"callback?API_Session={token}&apisession=1"):  # fmt: skip
            assert self.browser.send("GET", f"{self.url}breeze-lab/{path}").status >= 400
        self.browser.send(
            "POST", f"{self.url}breeze-lab/callback", {"API_Session": token}, Origin="null"
        )
        page = self.log_in("post")
        assert page.status == 200, page.text
        page = self.log_in("get")
        assert page.status == 200, page.text
        told = json.loads(self.api("GET", "api/session").body)
        assert (told["state"], told["rehearsal"]) == ("good", True)

    # -- the notebook -------------------------------------------------------

    def start_kernel(self):
        """Start a kernel through the server and connect to it beside the server."""
        made = self.browser.send(
            "POST", f"{self.url}api/kernels", json.dumps({"name": "python3"}),
            Authorization=f"token {TOKEN}", Content_Type="application/json",
        )  # fmt: skip
        number = json.loads(made.body)["id"]
        file = self.home / "runtime" / f"kernel-{number}.json"
        until(file.exists, "the kernel's connection file")
        self.kernel = jupyter_client.BlockingKernelClient(connection_file=str(file))
        self.kernel.load_connection_file()
        self.kernel.start_channels()
        until(self._ready, "the kernel", 180)

    def _ready(self):
        """Say whether the kernel answers; a heart that beats late on a busy machine is not dead."""
        try:
            self.kernel.wait_for_ready(60)
        except RuntimeError:
            return False
        return True

    def run(self, source):
        """Run one cell; every message it causes is a sink."""
        source = textwrap.dedent(source).strip()
        self.add("cell sources", source)

        def heard(message):
            kind = message["header"]["msg_type"]
            text = json.dumps(message, default=repr)
            sink = {
                "comm_open": "widget state", "comm_msg": "widget state", "error": "tracebacks",
                "execute_input": "cell sources",
            }.get(kind, "outputs")  # fmt: skip
            self.add(sink, text)
            self.add("kernel messages", text)

        reply = self.kernel.execute_interactive(
            source, output_hook=heard, timeout=90, stop_on_error=False
        )
        self.add("kernel messages", json.dumps(reply, default=repr))
        return reply["content"]

    def notebooks(self):
        """Run a notebook by papermill, export it, and save it through the server."""
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in NOTEBOOK],
            metadata={"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}},
        )
        work = self.home / "work"
        nbformat.write(book, work / "in.ipynb")
        done = subprocess.run(
            [sys.executable, "-m", "papermill", "--log-level", "DEBUG", "--log-output",
             "in.ipynb", "out.ipynb"],
            cwd=work, env=self.environment, capture_output=True, check=False, timeout=110,
        )  # fmt: skip
        assert b"SessionExpired" in done.stderr, done.stderr[-2000:]
        self.add("papermill's log", done.stdout, done.stderr)
        self.add("notebook saved by papermill", (work / "out.ipynb").read_bytes())
        assert "RELIANCE" in (work / "out.ipynb").read_text()
        done = subprocess.run(
            [sys.executable, "-m", "nbconvert", "--to", "html", "--debug", "out.ipynb"],
            cwd=work, env=self.environment, capture_output=True, check=False, timeout=110,
        )  # fmt: skip
        self.add("nbconvert's log", done.stdout, done.stderr)
        self.add("HTML export", (work / "out.html").read_bytes())
        saved = self.browser.send(
            "PUT", f"{self.url}api/contents/saved.ipynb",
            json.dumps({"type": "notebook", "format": "json",
                        "content": json.loads((work / "out.ipynb").read_text())}),
            Authorization=f"token {TOKEN}", Content_Type="application/json",
        )  # fmt: skip
        assert saved.status == 201, saved.text
        self.browser.send(
            "POST", f"{self.url}api/contents/saved.ipynb/checkpoints", "",
            Authorization=f"token {TOKEN}",
        )  # fmt: skip

    # -- what came out ------------------------------------------------------

    def collect(self):
        """Read every sink that is a file, a process or a database."""
        lab = self.home / "lab"
        self.add("server log at DEBUG", self.log.read_bytes())
        for line in self.log.read_text(errors="replace").splitlines():
            if "/breeze-lab/" in line:
                self.add("addresses in the server's log", line)
        log = self.home / "kernel.log"
        self.add("kernel's loggers at DEBUG", log.read_bytes())
        fault = self.home / "kernel.log.fault"
        self.add("dump of all stacks", fault.read_bytes())
        self.add("log of the relay", (lab / "runtime" / "relay.log").read_bytes())
        self.add("log of the practice market", (self.home / "market.log").read_bytes())
        self.add("session.json", (lab / "runtime" / "session.json").read_bytes())
        self.add("arguments of processes", *self.watcher.arguments)
        self.add("environments of processes", *self.watcher.environments)
        (database,) = self.home.rglob("history.sqlite")
        copy = self.folder / "history.sqlite"
        shutil.copy(database, copy)
        rows = sqlite3.connect(copy).execute("SELECT * FROM history").fetchall()
        assert rows
        self.add("history database", database.read_bytes(), repr(rows))
        self.add("vault file", (lab / "data" / "vault.json").read_bytes())
        self.add("call meter", tree(lab / "data", {lab / "data" / "vault.json"}))
        self.add("cache", tree(lab / "cache"))
        # The practice market's ready record is the broker's side: it is who gives the keys.
        self.add("runtime folder", tree(lab / "runtime", {lab / "runtime" / "practice.json"}))
        self.add(
            "Jupyter's runtime and data", tree(self.home / "runtime"), tree(self.home / "data")
        )
        self.add("temporary folder", tree(self.home / "tmp"))
        self.add("checkpoints", tree(self.home / "work" / ".ipynb_checkpoints"))
        self.add("IPython's folder", tree(self.home / "ipython"))
        self.add("whole home", tree(self.home, {lab / "runtime" / "practice.json"}))
        self.add("answers of the server's routes", self.browser.send(
            "GET", f"{self.url}breeze-lab/api/status", Authorization=f"token {TOKEN}").body)  # fmt: skip
        return self.sinks

    def close(self):
        if self.kernel is not None:
            self.kernel.stop_channels()
        self.server.terminate()
        self.server.wait(30)
        subprocess.run(
            [sys.executable, "-c", "from breeze_lab.cli import main; main(['stop'])"],
            env=self.environment, check=False, timeout=30, capture_output=True,
        )  # fmt: skip
        self.market.wait(30)
        self.market.stdout.close()
        self.watcher.close()


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """One day, played to its end; the server, the kernel and the market are still there."""
    folder = tmp_path_factory.mktemp("day")
    key_file = folder / "mounted" / "key"
    key_file.parent.mkdir(mode=0o700)
    key_file.write_text(secrets.token_hex(32))
    key_file.chmod(0o600)
    found = Day(folder, key_file)
    try:
        found.logins()
        found.start_kernel()
        found.replies = [(cell, found.run(cell)) for cell in CELLS]
        found.notebooks()
        found.collect()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def planted(day):
    """The six secrets of the account, and the app key's two companions."""
    record = day.record
    account = Account(record["seed"], lambda: clock.now().date())
    assert (account.app_key, account.secret) == (record["app_key"], record["secret"])
    return {
        "app key": record["app_key"], "secret": record["secret"],
        "api session": record["api_session"], "session key": account.session_key,
        "session token": account.session_token, "vault key": day.key_file.read_text(),
    }  # fmt: skip


@pytest.mark.timeout(400)
def test_no_secret_comes_out_anywhere(day, planted):
    """Six secrets in seven encodings, in all sinks, after good and bad logins: nothing."""
    assert len(day.sinks) >= 20
    empty = {sink for sink, data in day.sinks.items() if len(data) < 20}
    # A sink that caught nothing proves nothing; but a market in good health has nothing to say.
    assert empty <= {"log of the practice market"}
    print({sink: len(data) for sink, data in day.sinks.items()}, len(day.watcher.processes))
    assert hits(day.sinks, planted) == []


def test_the_day_was_what_it_says(day):  # before a planted leak changes it
    """Cells ran, bad logins were refused, children were seen: the sinks saw what they should."""
    wrong = {cell for cell, reply in day.replies if reply["status"] != "ok"}
    assert wrong == {
        cell for cell in CELLS
        if cell.startswith(("wrong(", "now.call(", "now.client.raw().place_order"))
        or cell in (INTERRUPTED, "%breeze_login practice --seed")
    }  # fmt: skip
    outputs = day.sinks["outputs"].decode()
    assert "NSE:RELIANCE" in outputs
    assert "holds secrets and cannot be pickled" in outputs
    errors = day.sinks["tracebacks"].decode()
    for name in ("SessionExpired", "LoginError", "OrdersRefused", "KeyboardInterrupt"):
        assert name in errors, name
    assert b"breeze_lab.signin" in day.sinks["arguments of processes"]
    assert b"breeze_lab.relay" in day.sinks["arguments of processes"]
    assert b"callback" in day.sinks["addresses in the server's log"]
    assert b"DEBUG" in day.sinks["kernel's loggers at DEBUG"]
    assert b"Thread" in day.sinks["dump of all stacks"]


def test_a_secret_typed_on_the_magics_line_is_taken_back(day, planted):
    """It is refused and not repeated, and the history, on disk too, no longer has it."""
    day.sinks = {}
    reply = day.run(f"%breeze_login {planted['app key']} {planted['secret']}")
    assert reply["status"] == "error"
    assert b"renew" in day.sinks["outputs"].lower()
    day.run("get_ipython().history_manager.writeout_cache()")
    day.run("In, get_ipython().history_manager.input_hist_raw, %history -n".replace(", %h", "\n%h"))
    day.collect()
    for echo in ("cell sources", "kernel messages"):  # a front end shows the line it sent
        day.sinks.pop(echo)
    assert hits(day.sinks, planted) == []


LEAKS = {
    "outputs": "print(mine.secret)",
    "tracebacks": "raise ValueError(f'key={mine.app_key}')",
    "history database": "get_ipython().history_manager.store_inputs(999, mine.secret)",
    "kernel's loggers at DEBUG": (
        "import base64; logging.debug('x%s', base64.b64encode(('ab' + mine.secret).encode()))"
    ),
    "temporary folder": (
        "open(tempfile.mktemp(), 'w').write(accounts.keys().session_key.encode().hex())"
    ),
    "arguments of processes": (
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(1)', mine.app_key])"
    ),
    "environments of processes": (
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(1)'],"
        " env={**os.environ, 'KEY': accounts.keys().session_key})"
    ),
    "widget state": "import ipywidgets; ipywidgets.Text(value=mine.secret)",
    "addresses in the server's log": None,
}


@pytest.mark.parametrize("sink", LEAKS)
def test_a_planted_leak_is_caught(day, planted, sink):
    """The planted fault: a secret let out on purpose is found in the sink where it came out."""
    day.sinks = {}
    before = day.watcher.arguments.copy(), day.watcher.environments.copy()
    if LEAKS[sink] is None:
        quoted = quote(planted["app key"], safe="")
        day.browser.send("GET", f"{day.url}breeze-lab/nothing?x={quoted}")
        until(lambda: "nothing?x=" in day.log.read_text(), "the line in the log")
    else:
        reply = day.run(LEAKS[sink])
        assert reply["status"] == ("error" if sink == "tracebacks" else "ok")
    if sink == "history database":
        day.run("get_ipython().history_manager.writeout_cache()")
    day.collect()
    found = hits({sink: day.sinks[sink]}, planted)
    assert found, sink
    assert before


@pytest.mark.parametrize(
    "form",
    ["plain", "URL", "JSON", "HTML", "base64", "hex", "UTF-16"],
)
def test_every_encoding_is_recognised(form):
    """Each way of writing a secret is found inside something longer, at any offset."""
    secret = "practiceAbc+=!&#123456789xyz"
    written = {
        "plain": secret, "URL": quote_plus(secret), "JSON": json.dumps({"k": secret}),
        "HTML": html.escape(secret), "hex": secret.encode().hex(), "UTF-16": secret,
    }  # fmt: skip
    for shift in range(4):
        lead = "x" * shift
        if form == "base64":
            data = base64.b64encode(f"{lead}{secret} and more".encode())
        else:
            data = (lead + written[form]).encode("utf-16-le" if form == "UTF-16" else "utf-8")
        assert hits({"here": b"<<" + data + b">>"}, {"it": secret})
    assert hits({"here": b"nothing of it, practice, 123456789"}, {"it": secret}) == []
