"""A real Jupyter server with our extension, below a base URL, beside a real relay."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from waiting import until
from websockets.asyncio.server import unix_serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from breeze_lab import clock, processes, settings

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "only-for-this-test"
SUBPROTOCOL = "breeze-lab.1.json"
ROUTES = [
    "api/status", "api/instruments?q=tcs", "api/watchlist", "static/bokeh.min.js", "static/lab.js",
    "static/lab.css",
]  # fmt: skip

#: Only ours: a machine may have others that are slow to start.
EXTENSIONS = {
    "breeze_lab_server": True, "jupyterlab": False, "notebook_shim": False, "jupyter_lsp": False,
    "panel.io.jupyter_server_extension": False, "jupyter_scheduler": False,
}  # fmt: skip

#: An authorizer that refuses what the request's own header names.
CONFIG = """
from jupyter_server.auth.authorizer import AllowAllAuthorizer

class Picky(AllowAllAuthorizer):
    def is_authorized(self, handler, user, action, resource):
        return handler.request.headers.get("X-Refuse") != f"{action} {resource}"

c.ServerApp.authorizer_class = Picky
"""


class Server:
    """A running Jupyter server and a signed-in browser's cookie."""

    def __init__(
        self, home: Path, config: str = CONFIG, *options: str, lab: Path | None = None,
        extensions: tuple[str, ...] = (), environment: dict[str, str] | None = None,
        base: str = "/user/alice/",
    ) -> None:  # fmt: skip
        self.home = home
        (home / "config").mkdir()
        (home / "config" / "jupyter_server_config.py").write_text(config)
        environment = {
            **os.environ,
            "BREEZE_LAB_HOME": str(lab or home / "lab"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            **(environment or {}),
        }
        enabled = EXTENSIONS | dict.fromkeys(extensions, True)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--port=0",
                "--ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home}",
                f"--ServerApp.base_url={base}",
                f"--ServerApp.jpserver_extensions={enabled}", *options,
            ],
            env=environment, stdout=subprocess.DEVNULL, stderr=(home / "log").open("wb"),
        )  # fmt: skip
        try:
            record = until(self._record, "the server's record", 120)
            self.url = record["url"] + "breeze-lab/"
            until(lambda: self.get("api/status", check=False)[0] == 200, "the server")
            self.cookie = self.sign_in(record["url"])
        except BaseException:  # a failed start leaves nothing behind
            self.process.kill()
            self.process.wait(30)
            raise

    def _record(self):
        assert self.process.poll() is None, (self.home / "log").read_text()[-2000:]
        for path in (self.home / "runtime").glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):
                return json.loads(path.read_text())
        return None

    def sign_in(self, url: str) -> str:
        request = urllib.request.Request(f"{url}api/status?token={TOKEN}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = answer.headers.get_all("Set-Cookie")
        return "; ".join(cookie.partition(";")[0] for cookie in found)

    def get(self, path: str, *, check: bool = True, **headers: str):
        """Return status, headers and body; redirects are not followed."""
        if not headers:
            headers = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with OPENER.open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.headers, exc.read()
        except OSError:
            assert not check
            return 0, {}, b""

    def feed(self, subprotocols=(SUBPROTOCOL,), **headers: str):
        """Return an open websocket, as the page of a signed-in browser has it."""
        origin = self.url.partition("/user")[0]
        given = {"Cookie": self.cookie, "Origin": origin, **headers}
        return connect(
            self.url.replace("http", "ws") + "api/feed", subprotocols=list(subprotocols) or None,
            additional_headers={k: v for k, v in given.items() if v and k != "Origin"},
            origin=given["Origin"] or None, open_timeout=10, close_timeout=1, compression=None,
        )  # fmt: skip


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_, **__):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def receive(socket, op):
    """Return the next message called `op`."""
    while True:
        message = json.loads(socket.recv(timeout=15))
        if message["op"] == op:
            return message


def subscription(key="NSE:RELIANCE", room="4.1!2885"):
    instrument = {"key": key, "room": room, "anchor_s": 33300}
    return json.dumps(
        {
            "op": "subscribe",
            "id": 7,
            "instruments": [instrument],
            "delivery": "latest",
            "bars": ["1m"],
        }
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("jupyter")
    before = os.environ.get("BREEZE_LAB_HOME")
    os.environ["BREEZE_LAB_HOME"] = str(home / "lab")
    running = Server(home)
    yield running
    running.process.terminate()
    running.process.wait(30)
    relay = processes.running(settings.folders().runtime, "relay")
    if relay is not None:
        os.kill(relay["pid"], signal.SIGTERM)
    if before is None:
        del os.environ["BREEZE_LAB_HOME"]
    else:
        os.environ["BREEZE_LAB_HOME"] = before


def relay_pid():
    record = processes.running(settings.folders().runtime, "relay")
    return record and record["pid"]


def test_status_starts_no_relay(server):
    """Asking for the state of things changes nothing."""
    status, headers, body = server.get("api/status")
    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    assert json.loads(body) == {"relay": {"running": False}, "upstream": None, "browsers": 0}
    assert relay_pid() is None


@pytest.mark.parametrize("route", ROUTES)
def test_a_stranger_gets_no_file_and_no_status(server, route):
    """Without a sign-in every route refuses or sends to the sign-in page."""
    status, headers, body = server.get(route, Accept="*/*")
    assert status in (302, 403)
    if status == 302:
        assert "/login" in headers["Location"]
    assert not any(
        word in body for word in (b"Bokeh", b"relay", b"groups", b"keys", b"breeze-lab-")
    )


def test_a_stranger_gets_no_feed(server):
    """Without a sign-in there is no websocket, and no relay is started for it."""
    with pytest.raises(InvalidStatus) as refused:
        server.feed(Cookie="")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("route", ROUTES)
def test_a_user_without_the_right_to_read_is_refused(server, route):
    """Every route asks the authorizer, not only whether somebody is signed in."""
    refused = {"Authorization": f"token {TOKEN}", "X-Refuse": "read breeze-lab"}
    assert server.get(route, **refused)[0] == 403


def test_a_user_without_the_right_to_execute_gets_no_feed(server):
    """The feed asks the authorizer for the right to execute."""
    with pytest.raises(InvalidStatus) as refused:
        server.feed(**{"X-Refuse": "execute breeze-lab"})
    assert refused.value.response.status_code == 403


def test_a_page_of_another_origin_gets_no_feed(server):
    """A foreign page cannot use the cookie of a signed-in user."""
    with pytest.raises(InvalidStatus) as refused:
        server.feed(Origin="http://elsewhere.example")
    assert refused.value.response.status_code == 403


def test_searching_without_a_list_of_instruments_says_how_to_get_one(server):
    """Before anybody logged in there is no master: a sentence, and nothing is fetched."""
    status, _, body = server.get("api/instruments?q=tcs&market=icici")
    assert status == 503
    assert "%breeze_login" in json.loads(body)["message"]


@pytest.mark.parametrize(
    "query", ["q=" + "x" * 81, "q=tcs&limit=many", "q=tcs&market=elsewhere", "market=../../etc"]
)
def test_a_search_out_of_bounds_is_refused(server, query):
    """A long text, a limit that is none, a market we do not know: 400."""
    assert server.get(f"api/instruments?{query}")[0] == 400


def test_the_search_answers_in_groups_from_the_master_on_disk(server, practice):
    """Rows with what a subscription needs, how old the master is, never more than asked for."""
    with urllib.request.urlopen(practice["master_url"], timeout=60) as answer:
        master = answer.read()
    place = server.home / "lab" / "data" / "masters" / "practice"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    (place / f"{clock.now():%Y-%m-%d}.zip").write_bytes(master)
    status, _, body = server.get("api/instruments?q=reliance&limit=5&market=practice")
    found = json.loads(body)
    assert status == 200
    assert found["groups"][0]["title"] == "Equity"
    best = found["groups"][0]["items"][0]
    assert (best["key"], best["room"], best["stock_code"]) == ("NSE:RELIANCE", "4.1!2885", "RELIND")
    assert sum(len(group["items"]) for group in found["groups"]) <= 5
    assert found["master"]["age_s"] < 86_400
    assert json.loads(server.get("api/instruments?market=practice")[2])["groups"] == []


def put(server, keys, **headers):
    """PUT a watchlist as the page of a signed-in browser does; return status and body."""
    request = urllib.request.Request(
        server.url + "api/watchlist", method="PUT", headers=headers,
        data=keys if isinstance(keys, bytes) else json.dumps({"keys": keys}).encode(),
    )  # fmt: skip
    try:
        with OPENER.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


SIGNED_IN = {"Authorization": f"token {TOKEN}"}


def test_the_watchlist_is_kept_and_bounded(server):
    """What was put comes back with rows to stream; what is none is refused and changes nothing."""
    wanted = ["NSE:TCS", "NSE:RELIANCE", "NFO:NIFTY 01-Jan-2020 FUT"]
    status, answer = put(server, wanted, **SIGNED_IN)
    assert (status, answer["keys"]) == (200, wanted)
    for bad in ("NSE:TCS", [1], ["no key"], [f"NSE:S{i}" for i in range(101)], b"[]", b"{"):
        assert put(server, bad, **SIGNED_IN)[0] == 400, bad
    assert put(server, b" " * 20_000, **SIGNED_IN)[0] == 413
    shown = json.loads(server.get("api/watchlist?market=practice")[2])
    assert shown["keys"] == wanted
    assert shown["items"][1]["room"] == "4.1!2885"
    assert shown["items"][2] == {"key": wanted[2], "gone": True}


def test_a_watchlist_is_changed_only_by_its_user_from_our_page(server):
    """No sign-in, no right to write, or a cookie without the page's token: 403 each."""
    assert put(server, [])[0] == 403
    assert put(server, [], **SIGNED_IN, **{"X-Refuse": "write breeze-lab"})[0] == 403
    assert put(server, [], Cookie=server.cookie)[0] == 403
    assert json.loads(server.get("api/watchlist")[2])["keys"] != []


def test_bokeh_comes_in_the_installed_version(server):
    """BokehJS is served whole; only an address with its version may be kept for long."""
    from importlib.metadata import version

    status, headers, body = server.get(f"static/bokeh.min.js?v={version('bokeh')}")
    assert (status, headers["X-Bokeh-Version"]) == (200, version("bokeh"))
    assert version("bokeh").encode() in body
    assert "immutable" in headers["Cache-Control"]
    assert "immutable" not in (server.get("static/bokeh.min.js")[1]["Cache-Control"] or "")


@pytest.mark.parametrize("name", ["bokeh.js", "..%2f..%2fbokeh.min.js", "%2fetc%2fpasswd"])
def test_no_other_file_is_served(server, name):
    """The static route knows one name and no path."""
    assert server.get(f"static/{name}")[0] == 404


def test_a_browser_subscribes_through_the_server(server):
    """The first browser starts the relay; its frames arrive as the door sends them."""
    with server.feed() as socket:
        assert receive(socket, "welcome")["protocol"] == 1
        socket.send(subscription())
        snapshot = receive(socket, "snapshot")
        assert snapshot["id"] == 7
        status = json.loads(server.get("api/status")[2])
    assert status["browsers"] == 1
    assert status["relay"]["pid"] == relay_pid()
    assert status["upstream"]["state"] == "offline"


@pytest.mark.parametrize("op", ["login", "shutdown", "anything", None])
def test_a_browser_may_not_log_in_or_shut_down(server, op):
    """What is not on the list is answered with a refusal and never reaches the relay."""
    with server.feed() as socket:
        receive(socket, "welcome")
        before = relay_pid()
        socket.send(json.dumps({"op": op, "id": 3}))
        refusal = receive(socket, "error")
        assert (refusal["id"], refusal["error"]) == (3, "NotAllowed")
        socket.send(json.dumps({"op": "status", "id": 4}))
        assert receive(socket, "status")["id"] == 4
    assert relay_pid() == before


@pytest.mark.parametrize("text", ["not json", "[]", '"hello"', "x" * 70_000])
def test_nonsense_closes_the_socket(server, text):
    """A browser that does not speak the protocol, or says too much, is disconnected."""
    with server.feed() as socket:
        socket.send(text)
        with pytest.raises(ConnectionClosed) as closed:
            receive(socket, "never")
    assert closed.value.rcvd is None or closed.value.rcvd.code in (1008, 1009)


def test_a_client_without_the_subprotocol_is_sent_away(server):
    """The version of the protocol is agreed upon before anything else."""
    with server.feed(subprotocols=()) as socket, pytest.raises(ConnectionClosed) as closed:
        receive(socket, "never")
    assert closed.value.rcvd.code == 1008


def test_a_killed_relay_comes_back_for_a_connected_browser(server):
    """The browser is told to come again, and finds a new relay."""
    with server.feed() as socket:
        receive(socket, "welcome")
        before = relay_pid()
        os.kill(before, signal.SIGKILL)
        with pytest.raises(ConnectionClosed) as closed:
            receive(socket, "never")
        assert closed.value.rcvd.code == 1012
    # Nobody asked for it since: the server itself started it.
    after = until(relay_pid, "a new relay")
    assert after != before
    with server.feed() as socket:
        assert receive(socket, "welcome")["pid"] == after


#: The bridge's first snapshot cannot be written, for a reason nobody thought of.
FAULTY = """
from breeze_lab_server.handlers import FeedHandler

written, failed = FeedHandler.write_message, []

def write(self, message, *rest):
    if not failed and '"snapshot"' in message:
        failed.append(message)
        raise RuntimeError("planted")
    return written(self, message, *rest)

FeedHandler.write_message = write
"""


def test_a_bridge_that_fails_sends_its_browser_back(tmp_path, monkeypatch):
    """No open socket stays silent: it is closed, the log says why, and the next one works."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "lab"))
    faulty = Server(tmp_path, CONFIG + FAULTY)
    try:
        with faulty.feed() as socket:
            socket.send(subscription())
            with pytest.raises(ConnectionClosed) as closed:
                receive(socket, "snapshot")
            assert closed.value.rcvd.code == 1012
        with faulty.feed() as socket:
            socket.send(subscription())
            assert receive(socket, "snapshot")["id"] == 7
        log = (tmp_path / "log").read_text()
        assert "The bridge to a browser failed" in log
        assert "RuntimeError: planted" in log
    finally:
        faulty.process.terminate()
        faulty.process.wait(30)
        pid = relay_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)


class Flood:
    """A door in the relay's place that sends as fast as it is read."""

    def __init__(self) -> None:
        self.sent = 0
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _flood(self, connection) -> None:
        frame = json.dumps({"op": "batch", "ticks": ["x" * 1000] * 64})
        with contextlib.suppress(ConnectionClosed):
            while not self._stop.is_set():
                await connection.send(frame)
                self.sent += len(frame)

    async def _serve(self) -> None:
        folders = settings.folders()
        path = folders.socket("relay")
        path.unlink(missing_ok=True)
        with processes.claim(folders.runtime, "relay"):
            async with unix_serve(
                self._flood,
                str(path),
                subprotocols=[SUBPROTOCOL],
                compression=None,
                close_timeout=1,
            ):
                processes.publish(folders.runtime, "relay", {})
                self._ready.set()
                await asyncio.to_thread(self._stop.wait)
            path.unlink(missing_ok=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def test_a_slow_browser_holds_the_relay_back(server):
    """A browser that does not read fills a few buffers and then stops the sender, not our memory."""
    pid = relay_pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        until(lambda: relay_pid() is None, "the end of the relay")
    with Flood() as flood, server.feed() as socket:

        def stands_still():
            before = flood.sent
            time.sleep(0.5)
            return before and flood.sent == before

        until(stands_still, "back-pressure")
        held = flood.sent
        assert held < 32 * 1024 * 1024
        for _ in range(50):
            socket.recv(timeout=5)
        until(lambda: flood.sent > held, "the flood to go on")
