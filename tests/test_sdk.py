"""The SDK is contained: private copies, no traces, values or typed errors."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import ProxyHandler, build_opener

import pytest
from weather import market

from breeze_lab import errors
from breeze_lab._sdk import Client, load
from breeze_lab.settings import Endpoints

HISTORY = {
    "interval": "1minute",
    "from_date": "2026-06-29T09:15:00.000Z",
    "to_date": "2026-06-29T09:20:00.000Z",
    "stock_code": "RELIND",
    "exchange_code": "NSE",
    "product_type": "cash",
}


@pytest.fixture(scope="module")
def master_path(practice, tmp_path_factory):
    """The practice market's security master, on disk."""
    path = tmp_path_factory.mktemp("master") / "SecurityMaster.zip"
    path.write_bytes(build_opener(ProxyHandler({})).open(practice["master_url"]).read())
    return path


@pytest.fixture
def client(practice, master_path):
    """A client that is not logged in yet."""
    endpoints = Endpoints.from_dict(practice, name="practice")
    return Client(endpoints, master_path, app_key=practice["app_key"], secret=practice["secret"])


class Broken(BaseHTTPRequestHandler):
    """A broker in bad weather: what it answers is in the path's first word."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind == "silent":
            time.sleep(6)  # longer than any caller here waits
            return
        status, body = {
            "html": (503, b"<html><body>Scheduled maintenance</body></html>"),
            "throttle": (429, b"<html>Too Many Requests</html>"),
            "minute": (
                401,
                b'{"Status":5,"Error":"Limit exceed: API call per minute:Try after some time"}',
            ),
            "day": (200, b'{"Status":5,"Error":"Limit exceed: API call per day: "}'),
            "checksum": (401, b'{"Status":5,"Error":"Authentication Fail :: Invalid Checksum."}'),
            "expired": (200, b'{"Success":null,"Status":500,"Error":"Resource not available."}'),
            "key": (200, b'{"Success":null,"Status":5,"Error":"Public Key does not exist."}'),
            "backend": (
                200,
                b'{"Success":null,"Status":500,"Error":"Error while calling service, Please contact admin (T2:155)"}',
            ),
            "nothing": (200, b'{"Success":null,"Status":500,"Error":"No Data Found"}'),
            "dotnet": (
                500,
                b'{"Message":"An error has occurred.","ExceptionMessage":"Object reference","ExceptionType":"X"}',
            ),
            "empty": (200, b"{}"),
            "list": (200, b"[]"),
        }[kind]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def weather():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_loading_leaves_no_trace(practice, master_path, tmp_path, monkeypatch):
    """Working folder, sys.path, sys.modules, loggers and urllib3's IPv6 flag stay as they were."""
    import pandas as pd  # noqa: F401 - its own modules are not the SDK's doing
    import requests  # noqa: F401
    import socketio  # noqa: F401
    from urllib3.util import connection

    monkeypatch.chdir(tmp_path)
    path, modules, ipv6 = list(sys.path), set(sys.modules), connection.HAS_IPV6
    loggers = set(logging.root.manager.loggerDict)
    sdk = load(Endpoints.from_dict(practice, name="trace"), master_path)
    assert sdk.BreezeConnect
    assert list(tmp_path.iterdir()) == []
    assert sys.path == path
    assert "config" not in sys.modules
    assert not {m for m in set(sys.modules) - modules if "breeze_connect" in m}
    assert ipv6 == connection.HAS_IPV6
    assert not {n for n in set(logging.root.manager.loggerDict) - loggers if "Logger" in n}


def test_two_copies_live_side_by_side(practice, master_path):
    """Each copy keeps its own addresses, whoever loaded last."""
    here = Endpoints.from_dict(practice, name="here")
    there = Endpoints.from_dict({**practice, "v2_url": "http://127.0.0.1:9/"}, name="there")
    options = {"app_key": practice["app_key"], "secret": practice["secret"], "timeout_s": 5}
    first = Client(here, master_path, **options)
    second = Client(there, master_path, **options)
    first.login(practice["api_session"])
    second.login(practice["api_session"])
    assert len(first.call("get_historical_data_v2", **HISTORY)) == 6
    with pytest.raises(errors.RequestError, match="could not be reached"):
        second.call("get_historical_data_v2", **HISTORY)


def test_login_says_who_we_are_and_shows_no_secret(client, practice):
    """The identity has the name; no representation has the key, secret or session."""
    identity = client.login(practice["api_session"])
    assert identity.name
    assert "session_token" not in identity.details
    shown = repr(client) + repr(identity) + str(identity)
    for secret in (practice["app_key"], practice["secret"], identity.session_key):
        assert secret not in shown


def test_signed_calls_are_accepted(client, practice):
    """v1 quotes carry a checksum the market verifies."""
    client.login(practice["api_session"])
    rows = client.call("get_quotes", stock_code="RELIND", exchange_code="NSE", product_type="cash",
                       expiry_date="", right="", strike_price="")  # fmt: skip
    assert [row["exchange_code"] for row in rows] == ["NSE", "BSE"]


def test_a_wrong_secret_is_an_error_of_ours(practice, master_path):
    """The market refuses the checksum; we say the session is not accepted."""
    endpoints = Endpoints.from_dict(practice, name="practice")
    client = Client(endpoints, master_path, app_key=practice["app_key"], secret="wrong")
    client.login(practice["api_session"])
    with pytest.raises(errors.SessionExpired):
        client.call("get_quotes", stock_code="RELIND", exchange_code="NSE", product_type="cash",
                    expiry_date="", right="", strike_price="")  # fmt: skip


def test_calls_before_login_are_refused(client):
    """The SDK answers None; we raise."""
    with pytest.raises(errors.NotLoggedIn, match="%breeze_login"):
        client.call("get_historical_data_v2", **HISTORY)


@pytest.mark.parametrize(
    "method", ["place_order", "cancel_order", "set_funds", "square_off", "add_margin"]
)
def test_orders_are_out_of_reach(client, practice, method):
    """Only reading methods can be called, logged in or not."""
    client.login(practice["api_session"])
    with pytest.raises(errors.RequestError, match="out of reach"):
        client.call(method)


def test_bad_credentials_are_login_errors(practice, master_path):
    """A wrong key and a wrong api session each say what to do."""
    endpoints = Endpoints.from_dict(practice, name="practice")
    with pytest.raises(errors.LoginError, match="app key"):
        Client(endpoints, master_path, app_key="nobody", secret="x").login(practice["api_session"])
    good = Client(endpoints, master_path, app_key=practice["app_key"], secret=practice["secret"])
    with pytest.raises(errors.LoginError, match="login page"):
        good.login("00000000")


def test_an_api_session_that_can_be_exchanged_once_is_enough(home, tmp_path, master_path):
    """The account's name is missing then; everything else works."""
    with market(tmp_path, "--one-shot") as record:
        endpoints = Endpoints.from_dict(record, name="practice")
        once = Client(endpoints, master_path, app_key=record["app_key"], secret=record["secret"])
        identity = once.login(record["api_session"])
        assert identity.name == identity.user_id
        assert once.call("get_quotes", stock_code="RELIND", exchange_code="NSE",
                         product_type="cash", expiry_date="", right="", strike_price="")  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("html", errors.BadResponse),
        ("throttle", errors.RateLimited),
        ("minute", errors.RateLimited),
        ("day", errors.RateLimited),
        ("checksum", errors.SessionExpired),
        ("expired", errors.SessionExpired),
        ("key", errors.LoginError),
        ("backend", errors.RequestError),
        ("dotnet", errors.BadResponse),
        ("empty", errors.BadResponse),
        ("list", errors.BadResponse),
    ],
)
def test_every_answer_in_bad_weather_is_a_typed_error(practice, master_path, weather, kind, error):
    """Recorded refusals, HTML, silence and nonsense raise the error that fits, for v1 and v2."""
    endpoints = Endpoints.from_dict(
        {**practice, "v2_url": f"{weather}/{kind}/"}, name=kind
    )  # fmt: skip
    client = Client(
        endpoints, master_path,
        app_key=practice["app_key"], secret=practice["secret"], timeout_s=1,
    )  # fmt: skip
    client.login(practice["api_session"])
    with pytest.raises(error) as caught:
        client.call("get_historical_data_v2", **HISTORY)
    assert practice["secret"] not in str(caught.value)


def test_a_silent_broker_is_given_up(practice, master_path, weather):
    """Every call has a timeout: one that gets no answer ends by itself and says so."""
    endpoints = Endpoints.from_dict({**practice, "v2_url": f"{weather}/silent/"}, name="silent")
    client = Client(
        endpoints, master_path,
        app_key=practice["app_key"], secret=practice["secret"], timeout_s=1,
    )  # fmt: skip
    client.login(practice["api_session"])
    with pytest.raises(errors.RequestError, match="did not answer within 1 s"):
        client.call("get_historical_data_v2", **HISTORY)


def test_no_data_is_an_empty_value(practice, master_path, weather):
    """'No Data Found' is an answer, not a failure."""
    endpoints = Endpoints.from_dict({**practice, "v2_url": f"{weather}/nothing/"}, name="nothing")
    client = Client(endpoints, master_path, app_key=practice["app_key"], secret=practice["secret"])
    client.login(practice["api_session"])
    assert client.call("get_historical_data_v2", **HISTORY) == []


def test_the_raw_sdk_is_there_with_its_name_tables(client, practice):
    """Scripts written against breeze-connect find their tables filled, from the cached master."""
    client.login(practice["api_session"])
    assert client.raw().stock_script_dict_list[1]["RELIND"] == "2885"


_WORKS = """
import json, sys
from pathlib import Path
from breeze_lab._sdk import Client, Identity
from breeze_lab.settings import Endpoints
market, history, session_key = json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
def loaded():
    print(*sorted({"requests", "pandas", "socketio"} & set(sys.modules)))
client = Client(
    Endpoints.from_dict(market, name="practice"), Path(sys.argv[1]),
    app_key=market["app_key"], secret=market["secret"],
)
client.resume(Identity(market["user_id"], session_key, "somebody", {}))
loaded()
assert len(client.call("get_historical_data_v2", **history)) == 6
loaded()
assert client.raw().get_names("NSE", "RELIANCE")["isec_stock_code"] == "RELIND"
loaded()
handler = client._sdk.SocketEventBreeze
made = [handler("/", client.raw()), handler("/", client.raw())]
loaded()
import socketio
assert handler.__mro__[1:3] == socketio.ClientNamespace.__mro__[:2], handler.__mro__
assert all(type(one.sio) is socketio.Client and one.namespace == "/" for one in made)
"""


def test_what_the_sdk_imports_without_need_waits_for_its_use(client, practice, master_path):
    """Going on with a session loads no SDK, a call no sockets, and a socket is the real one."""
    identity = client.login(practice["api_session"])
    market_ = json.dumps({**practice, "user_id": identity.user_id})
    done = subprocess.run(
        [sys.executable, "-c", _WORKS, str(master_path), market_, json.dumps(HISTORY),
         identity.session_key],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "", "requests", "pandas requests", "pandas requests socketio",
    ]  # fmt: skip


def test_a_master_that_is_gone_by_the_first_call_is_said(client, practice, tmp_path):
    """The SDK reads it when it is loaded, and a person may have removed it by then."""
    identity = client.login(practice["api_session"])
    keys = {"app_key": practice["app_key"], "secret": practice["secret"]}
    later = Client(client.endpoints, tmp_path / "gone.zip", **keys)
    later.resume(identity)
    with pytest.raises(errors.MasterError, match="Log in again"):
        later.call("get_historical_data_v2", **HISTORY)
