"""The dashboards' process and the way to it: a real Jupyter server and a real Panel server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from dash_home import end, record
from test_server_extension import OPENER, TOKEN, Server
from waiting import until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect, unix_connect

from breeze_lab import settings
from breeze_lab.dashboards import DOOR

pytestmark = pytest.mark.timeout(300)


class ToSocket(HTTPConnection):
    """Plain HTTP to the process itself, past the Jupyter server."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Served(Server):
    """A server whose dashboards are there."""

    def page(self, path="dash/market"):
        """Return the headers and the text of a dashboard, once it is one."""
        found = until(
            lambda: (told := self.get(path))[0] == 200 and told, "the dashboards", 120
        )  # fmt: skip
        return found[1], found[2].decode()

    def token(self) -> str:
        """Return the token of a page that was sent a moment ago."""
        return re.search(r'"token":"([^"]+)"', self.page()[1])[1]

    def knock(self, subprotocols, **headers):
        """Return the open websocket of a page."""
        origin = self.url.partition("/user")[0]
        given = {"Cookie": self.cookie, "Origin": origin, **headers}
        return connect(
            self.url.replace("http", "ws") + "dash/market/ws", subprotocols=subprotocols,
            additional_headers={k: v for k, v in given.items() if v and k != "Origin"},
            origin=given["Origin"] or None, open_timeout=60, close_timeout=1,
        )  # fmt: skip

    def refused(self, subprotocols, **headers) -> int:
        """Return the status with which a websocket is refused."""
        with pytest.raises(InvalidStatus) as refusal:
            self.knock(subprotocols, **headers)
        return refusal.value.response.status_code


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("dashboards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        running = Served(home)
        yield running
        running.process.terminate()
        running.process.wait(30)
        end()


def direct(path="/market", **headers):
    """Return status and body of a request to the process itself."""
    connection = ToSocket(record()["socket"])
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_first_page_starts_the_process_and_turns_into_the_dashboard(server):
    """Before it serves there is a page that waits; nothing was started before somebody looked."""
    assert record() is None
    assert server.get("api/dashboards")[2].startswith(b'{"running": false, "starting": false')
    status, headers, body = server.get("dash/market")
    assert status == 202
    assert b"The dashboards are starting" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    headers, text = server.page()
    assert "<title>Market overview" in text
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers.get("Access-Control-Allow-Origin", "") != "*"
    assert server.get("dash/static/js/bokeh.min.js")[0] == 200


def test_the_process_answers_the_jupyter_server_alone(server):
    """No port, a socket of the user's own, and the secret of the ready record on every request."""
    server.page()
    told = record()
    assert stat.S_IMODE(Path(told["socket"]).stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.folders().runtime.stat().st_mode) == 0o700
    kinds = {one.family for one in psutil.Process(told["pid"]).net_connections("all")}
    assert kinds <= {socket.AF_UNIX}
    for path in ("/market", "/static/js/bokeh.min.js", "/", "/market/ws"):
        assert direct(path)[0] == 403, path
        assert direct(path, **{DOOR: "x" + told["secret"][1:]})[0] == 403, path
    way = {"uri": "ws://localhost/market/ws", "subprotocols": ["bokeh", server.token()]}
    with pytest.raises(InvalidStatus, match="403"), unix_connect(told["socket"], **way):
        pass
    assert direct(**{DOOR: told["secret"]})[0] == 200


def test_the_check_catches_a_process_without_a_door():
    """The planted fault: a server that was not guarded answers anybody."""
    from tornado import web
    from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

    from breeze_lab.dashboards.server import _guard

    class Page(web.RequestHandler):
        pass

    def found(app, **headers):
        request = HTTPServerRequest(
            start_line=RequestStartLine("GET", "/market", "HTTP/1.1"),
            headers=HTTPHeaders({"Host": "localhost", **headers}),
        )
        return app.find_handler(request).handler_class

    app = web.Application([("/market", Page)])
    assert found(app) is Page
    _guard(app, "secret")
    assert found(app) is not Page
    assert found(app, **{DOOR: "secret"}) is Page


def test_a_page_and_its_token_open_one_websocket(server):
    """Bokeh's first message comes through; a forged token, no token and a foreign page do not."""
    token = server.token()
    with server.knock(["bokeh", token]) as opened:
        assert opened.subprotocol == "bokeh"
        assert opened.response.headers.get("Sec-WebSocket-Extensions") is None
        assert '"ACK"' in opened.recv(timeout=60)
    assert server.refused(["bokeh", token], Origin="http://evil.example") == 403
    assert server.refused(["bokeh", token], Cookie="") == 403
    assert server.refused(["bokeh"]) == 400
    assert server.refused([]) == 400
    with (
        pytest.raises((ConnectionClosed, InvalidStatus)),
        server.knock(["bokeh", token[:-4] + "AAAA"]) as forged,
    ):
        forged.recv(timeout=60)


def test_only_the_pages_and_their_files_are_passed_on(server):
    """What else Bokeh serves stays where it is, and no path leads out of the files."""
    server.page()
    for path in ("dash/market/autoload.js", "dash/market/metadata", "dash/nothing", "dash/ws"):
        assert server.get(path)[0] == 404, path
    for path in ("dash/static/../market", "dash/static/%2e%2e/%2e%2e/etc/passwd"):
        assert server.get(path)[0] in (403, 404, 503), path


def test_nothing_of_jupyter_reaches_the_process(server):
    """The page's token holds the request that made it: no cookie, no token of Jupyter's in it."""
    import base64

    secret = server.cookie.partition("=")[2]
    text = until(
        lambda: (told := server.get(f"dash/market?token={TOKEN}&theme=dark", Cookie=server.cookie))[0]
        == 200 and told[2].decode(), "the page",
    )  # fmt: skip
    token = re.search(r'"token":"([^"]+)"', text)[1].partition(".")[0]
    payload = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert TOKEN.encode() not in payload
    assert TOKEN not in text
    assert secret.encode() not in payload
    assert record()["secret"] not in text


def test_a_killed_process_is_started_again_by_the_next_page(server):
    """Its sockets are closed with a word, and the next look brings it back."""
    with server.knock(["bokeh", server.token()]) as opened:
        opened.recv(timeout=60)
        pid = record()["pid"]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConnectionClosed) as closed:
            list(iter(lambda: opened.recv(timeout=60), None))
        assert closed.value.rcvd.code == 1012
    server.page()
    assert record()["pid"] != pid


def test_the_command_serves_them_without_jupyterlab(tmp_path):
    """`breeze-lab dashboards` is a Jupyter server with our extension alone, and asks for its token."""
    runtime = tmp_path / "jupyter"
    command = "import sys; from breeze_lab.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "dashboards", "--no-browser"],
        env={
            **os.environ, "JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTER_CONFIG_DIR": str(tmp_path),
            "BREEZE_LAB_HOME": str(tmp_path / "lab"), "JUPYTER_TOKEN": TOKEN,
        },
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    try:
        found = until(lambda: list(runtime.glob("jpserver-*.json")), "the server", 120)
        text = until(lambda: (told := found[0].read_text()).endswith("}") and told, "its record")
        url = json.loads(text)["url"]

        address = f"{url}breeze-lab/api/dashboards?token={TOKEN}"

        def state():
            # Its record is there a moment before it listens.
            try:
                with OPENER.open(address, timeout=60) as told:
                    return json.load(told)
            except OSError:
                return None

        assert until(state, "an answer", 120)["running"] is False
        with pytest.raises(urllib.error.HTTPError) as away:
            OPENER.open(f"{url}breeze-lab/dash/market", timeout=60)
        assert "/login?next=" in away.value.headers["Location"]
    finally:
        process.terminate()
        process.wait(60)
