"""Only what reads is sent, whoever asks and by whatever method of the installed SDK."""

from __future__ import annotations

import contextlib
import http.client
import inspect
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest
from weather import PlainSdk, market

from breeze_lab import _calls, _sdk, errors
from breeze_lab.settings import Endpoints

#: What every public method of the SDK comes to: what it sends, or that it is refused.
READS = {
    "api_util": {("GET", "customerdetails")},
    "generate_session": {("GET", "customerdetails")},
    "get_customer_details": {("GET", "customerdetails")},
    "get_demat_holdings": {("GET", "dematholdings")},
    "get_funds": {("GET", "funds")},
    "get_historical_data": {("GET", "historicalcharts")},
    "get_historical_data_v2": {("GET", "historicalcharts")},
    "get_margin": {("GET", "margin")},
    "get_option_chain_quotes": {("GET", "optionchain")},
    "get_order_detail": {("GET", "order")},
    "get_order_list": {("GET", "order")},
    "get_portfolio_holdings": {("GET", "portfolioholdings")},
    "get_portfolio_positions": {("GET", "portfoliopositions")},
    "get_quotes": {("GET", "quotes")},
    "get_trade_detail": {("GET", "trades")},
    "get_trade_list": {("GET", "trades")},
    "gtt_order_book": {("GET", "gttorder")},
    "limit_calculator": {("POST", "fnolmtpriceandqtycal")},
    "margin_calculator": {("POST", "margincalculator")},
    "preview_order": {("GET", "preview_order")},
}
#: Refused; what is sent before that reads: the order to be modified.
REFUSED = {
    "add_margin": set(), "cancel_order": set(), "gtt_single_leg_cancel_order": set(),
    "gtt_single_leg_modify_order": set(), "gtt_single_leg_place_order": set(),
    "gtt_three_leg_cancel_order": set(), "gtt_three_leg_modify_order": set(),
    "gtt_three_leg_place_order": set(), "modify_order": {("GET", "order")}, "place_order": set(),
    "set_funds": set(), "square_off": set(),
}  # fmt: skip
#: These send nothing over REST: they compute, parse, or speak with the streams.
SILENT = {
    "aggressive_limit_order_placement", "convert_to_formatted_rupees", "get_contract_name",
    "get_data_from_stock_token_value", "get_names", "get_stock_script_list",
    "get_stock_token_value", "parse_data", "parse_market_depth", "parse_ohlc_data",
    "socket_connection_response", "subscribe_exception", "subscribe_feeds", "unsubscribe_feeds",
    "ws_connect", "ws_disconnect", "ws_disconnect_ohlc",
}  # fmt: skip
#: Plausible arguments by name; a method takes what its signature names.
ARGUMENTS = {
    "exchange_code": "NSE", "stock_code": "RELIND", "product": "cash", "product_type": "cash",
    "action": "buy", "order_type": "limit", "quantity": "1", "price": "100", "validity": "day",
    "right": "call", "interval": "1minute", "from_date": "2026-06-29T09:15:00.000Z",
    "to_date": "2026-06-29T09:20:00.000Z", "transaction_type": "debit", "amount": "100",
    "segment": "FNO", "gtt_type": "single", "gtt_order_id": "2026112600000001",
    "index_or_stock": "index", "trade_date": "2026-11-26T06:00:00.000Z",
    "order_details": [{"action": "buy", "limit_price": "1", "trigger_price": "2"}],
    "fresh_order_action": "buy", "fresh_order_price": "1", "fresh_order_type": "limit",
    "lists": [], "expiry_date": "2026-11-26T06:00:00.000Z", "strike_price": "0",
    "portfolio_type": "", "order_flow": "buy", "underlying": "NIFTY", "market_type": "limit",
}  # fmt: skip
FOR_METHOD = {
    "set_funds": {"segment": "FNO"},
    "get_historical_data_v2": {"product_type": "cash", "expiry_date": "", "right": ""},
    "get_historical_data": {"product_type": "cash", "expiry_date": "", "right": ""},
    "get_quotes": {"expiry_date": "", "right": ""},
    "get_option_chain_quotes": {
        "exchange_code": "NFO", "stock_code": "NIFTY", "product_type": "options",
    },
    "gtt_three_leg_place_order": {
        "gtt_type": "cover_oco", "exchange_code": "NFO", "product": "options",
    },
    "gtt_three_leg_modify_order": {"gtt_type": "cover_oco", "exchange_code": "NFO"},
    "gtt_single_leg_place_order": {"exchange_code": "NFO", "product": "options"},
    "limit_calculator": {
        "product_type": "options", "exchange_code": "NFO", "stop_loss_trigger": "1",
        "option_type": "call", "source_flag": "P", "fresh_order_limit": "1",
    },
    "preview_order": {"right": ""},
}  # fmt: skip


class Witness:
    """A broker's door that notes every REST call and passes it on to the practice market."""

    def __init__(self, record):
        self.seen = []
        there = urlsplit(record["api_url"])
        seen = self.seen

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                path = urlsplit(self.path).path
                seen.append((self.command, path.rpartition("/")[2]))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                market = http.client.HTTPConnection(there.hostname, there.port, timeout=20)
                with contextlib.closing(market):
                    market.request(self.command, self.path, body, dict(self.headers))
                    answer = market.getresponse()
                    said = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815 - the library's names

            def log_message(self, *_args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{self.server.server_port}"
        base = f"{there.scheme}://{there.netloc}"
        self.record = {
            key: value.replace(base, here) if key in ("api_url", "v2_url") else value
            for key, value in record.items()
        }

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A market of our own: an order is placed there."""
    with market(tmp_path_factory.mktemp("market"), "--no-limits", "--keep-sessions") as found:
        yield found


@pytest.fixture(scope="module")
def order_id(record, tmp_path_factory):
    """A working order of the account, placed by the plain SDK."""
    sdk = PlainSdk(record, tmp_path_factory.mktemp("plain"))
    sdk.login(record["api_session"])
    row = sdk.quote()["Success"][0]
    placed = sdk.breeze.place_order(
        stock_code="RELIND", exchange_code="NSE", product="cash", action="buy", order_type="limit",
        quantity="1", price=str(round(row["lower_circuit"] + 1)), validity="day",
    )  # fmt: skip
    return placed["Success"]["order_id"]


@pytest.fixture(scope="module")
def witness(record):
    found = Witness(record)
    yield found
    found.close()


@pytest.fixture(scope="module")
def master_path(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("master") / "SecurityMaster.zip"
    path.write_bytes(build_opener(ProxyHandler({})).open(record["master_url"]).read())
    return path


@pytest.fixture
def client(witness, master_path):
    """A logged-in client; what it has sent so far is forgotten."""
    endpoints = Endpoints.from_dict(witness.record, name="practice")
    keys = {name: witness.record[name] for name in ("app_key", "secret")}
    found = _sdk.Client(endpoints, master_path, **keys)
    found.login(witness.record["api_session"])
    witness.seen.clear()
    return found


def public_methods(client):
    """Return every public method of the installed SDK with its parameters."""
    return {
        name: list(inspect.signature(method).parameters)[1:]
        for name, method in inspect.getmembers(client._sdk.BreezeConnect, inspect.isfunction)
        if not name.startswith("_")
    }


def arguments(method, names, record, order_id):
    known = {
        **ARGUMENTS, **FOR_METHOD.get(method, {}), "order_id": order_id,
        "api_secret": record["secret"], "session_token": record["api_session"],
        "api_session": record["api_session"],
    }  # fmt: skip
    return {name: known.get(name, "") for name in names}


def test_every_method_of_the_sdk_is_accounted_for(client):
    """A new one has to be put on a list here on purpose; until then `call` refuses it."""
    assert set(public_methods(client)) == set(READS) | set(REFUSED) | SILENT
    assert len(public_methods(client)) == 49
    assert not set(READS) & set(REFUSED)
    assert set(READS) | {"get_names"} >= _sdk.READ_METHODS
    assert set(REFUSED) >= _sdk.ORDER_METHODS
    assert set().union(*READS.values()) == _calls.READS


@pytest.mark.parametrize("method", sorted(set(READS) | set(REFUSED)))
def test_a_method_of_the_raw_sdk_reads_or_is_refused_unsent(
    client, witness, record, order_id, method
):
    """Through the plain object too: it reaches the wire with what reads, or raises before that."""
    filled = arguments(method, public_methods(client)[method], record, order_id)
    raw = client.raw()
    if method == "api_util":
        raw.session_key = record["api_session"]
    if method in READS:
        getattr(raw, method)(**filled)
        assert set(witness.seen) == READS[method]
    else:
        with pytest.raises(errors.OrdersRefused, match="Nothing was sent"):
            getattr(raw, method)(**filled)
        assert set(witness.seen) == REFUSED[method]


@pytest.mark.parametrize("method", sorted(REFUSED | dict.fromkeys(SILENT - {"get_names"})))
def test_a_call_refuses_whatever_is_not_known_to_read(client, witness, method):
    """`Client.call` goes by the name, before the SDK is asked."""
    with pytest.raises(errors.OrdersRefused, match="out of reach"):
        client.call(method)
    assert witness.seen == []


def test_a_method_the_sdk_gets_one_day_is_refused_by_default(client, witness):
    """By its name in a call, and by what it sends in the raw SDK."""
    breeze = client.raw()

    post = client._sdk.req_type.POST

    def transfer_everything(self):
        return self.api_handler.make_request(post, "withdraw", "{}", {})

    type(breeze).transfer_everything = transfer_everything
    with pytest.raises(errors.OrdersRefused, match="transfer_everything is out of reach"):
        client.call("transfer_everything")
    with pytest.raises(errors.OrdersRefused, match=r"POST .*/withdraw is out of reach"):
        breeze.transfer_everything()
    assert witness.seen == []


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("post", "order"), ("put", "order"), ("delete", "order"), ("post", "funds"),
        ("post", "margin"), ("post", "squareoff"), ("post", "quotes"), ("get", "order/"),
        ("get", "../../../apiuser/login"), ("get", "Order"), ("get", "order?x=1"),
        ("get", "%6frder"), ("put", "gttorder"),
    ],
)  # fmt: skip
def test_no_spelling_gets_past_the_list(client, witness, verb, path):
    """What is sent is on the list to the letter."""
    http = client._sdk.requests
    with pytest.raises(errors.OrdersRefused):
        getattr(http, verb)(client.endpoints.api_url + path, data="{}")
    with pytest.raises(errors.OrdersRefused):
        getattr(http, verb)("http://127.0.0.1:1/elsewhere/" + path, data="{}")
    assert witness.seen == []


def test_a_list_that_lets_an_order_through_is_caught(
    client, witness, record, order_id, monkeypatch
):
    """The planted fault: the walk above sees an order that reaches the wire."""
    monkeypatch.setattr(_calls, "READS", _calls.READS | {("DELETE", "order")})
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_method_of_the_raw_sdk_reads_or_is_refused_unsent(
            client, witness, record, "20261126N000000000", "cancel_order"
        )
    assert ("DELETE", "order") in witness.seen


def test_a_redirection_is_not_followed(client, witness):
    """It would carry the key and the session to wherever it points."""
    import requests

    sent = []

    class Away(BaseHTTPRequestHandler):
        def do_GET(self):
            sent.append(self.path)
            self.send_response(302)
            self.send_header("Location", witness.record["api_url"] + "funds")
            self.end_headers()

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Away)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    endpoints = Endpoints.from_dict({**witness.record, "api_url": url, "name": "away"})
    http = _calls.Http(endpoints, client.meter, 5)
    with pytest.raises(errors.BadResponse, match="HTTP 302"):
        http.get(url + "funds", data="{}", headers={"X-SessionToken": "secret"})
    assert requests
    assert sent == ["/funds"]
    assert witness.seen == []
    server.shutdown()
    server.server_close()


# -- orders, for who allows them --------------------------------------------

ORDERS = """
import json, os, sys
from breeze_lab import errors, session, settings
record = json.loads(sys.argv[1])
os.environ.update(json.loads(sys.argv[2]))
endpoints = settings.Endpoints.from_dict(record, name="practice")
now = session.login(record["app_key"], record["secret"], record["api_session"], endpoints=endpoints)
options = json.loads(sys.argv[3])
try:
    low = round(now.call("get_quotes", stock_code="RELIND", exchange_code="NSE", expiry_date="",
                         product_type="cash", right="", strike_price="")[0]["lower_circuit"])
    print(now.call("place_order", **options, stock_code="RELIND", exchange_code="NSE",
                   product="cash", action="buy", order_type="limit", quantity="1",
                   price=str(low + 1), validity="day")["message"])
    try:
        now.call("set_funds", **options)
    except errors.OrdersRefused:
        print("money stays")
    try:
        now.client.raw().cancel_order("NSE", "1")
    except errors.OrdersRefused:
        print("raw reads")
except errors.OrdersRefused as exc:
    print("refused:", exc)
"""


def placing(record, tmp_path, *, started_with=None, set_in_a_cell=None, options=None):
    done = subprocess.run(
        [sys.executable, "-c", ORDERS, json.dumps(record), json.dumps(set_in_a_cell or {}),
         json.dumps(options or {})],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "BREEZE_LAB_HOME": str(tmp_path), **(started_with or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_orders_need_the_settings_and_the_call_and_no_hub(record, tmp_path):
    """One without the other is refused and names what is missing; a Hub refuses both together."""
    user = PlainSdk(record, tmp_path)
    user.login(record["api_session"])
    mine = {"BREEZE_LAB_ALLOW_ORDERS": user.breeze.user_id}
    said = {"orders": True}
    assert "BREEZE_LAB_ALLOW_ORDERS" in placing(record, tmp_path)
    assert "BREEZE_LAB_ALLOW_ORDERS" in placing(record, tmp_path, options=said)
    assert "orders=True" in placing(record, tmp_path, started_with=mine)
    other = {"BREEZE_LAB_ALLOW_ORDERS": "SOMEBODY"}
    assert "refused" in placing(record, tmp_path, started_with=other, options=said)
    assert "refused" in placing(record, tmp_path, set_in_a_cell=mine, options=said)
    hub = {**mine, "JUPYTERHUB_API_TOKEN": "x"}
    assert "on a Hub" in placing(record, tmp_path, started_with=hub, options=said)
    placed = placing(record, tmp_path, started_with=mine, options=said).splitlines()
    assert "placed" in placed[0].lower()
    assert placed[1:] == ["money stays", "raw reads"]


def test_order_actions_are_spent_as_such(client, monkeypatch):
    """Ten a second: an order says so to the meter, a question does not."""
    spent = []
    spend = type(client.meter).spend

    def noted(self, on_wait=None, *, priority="interactive", orders=False):
        spent.append(orders)
        return spend(self, on_wait, priority=priority, orders=orders)

    monkeypatch.setattr(type(client.meter), "spend", noted)
    monkeypatch.setattr(_sdk.settings, "orders_allowed", lambda: {client.identity.user_id})
    client.call("get_funds")
    with pytest.raises(errors.RequestError):
        client.call("cancel_order", orders=True, exchange_code="NSE", order_id="none")
    assert spent == [False, True]
