"""The REST beside the relay: prices with their age, leases, metrics, and the document of it all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from prometheus_text import read
from test_server_extension import OPENER, TOKEN, Server, receive
from waiting import until

from breeze_lab import clock, processes, session, settings
from breeze_lab_server.openapi import document

OWNER = {"Authorization": f"token {TOKEN}"}


class Api(Server):
    """A server beside a practice market that is logged in to, and a client with its token."""

    def call(self, method, path, data=None, **headers):
        """Return status and JSON (text where it is none)."""
        request = urllib.request.Request(
            self.url + "api/" + path, method=method, headers={**OWNER, **headers},
            data=None if data is None else json.dumps(data).encode(),
        )  # fmt: skip
        try:
            with OPENER.open(request, timeout=60) as answer:
                status, body = answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            status, body = exc.code, exc.read().decode()
        return status, json.loads(body) if body[:1] in "{[" else body


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    home = tmp_path_factory.mktemp("api")
    file = home / "census.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        # Read here, because compiling a master is the one thing that loads pandas.
        assert session.login_practice().master
        path = os.pathsep.join(
            filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))
        )
        running = Api(
            home, extensions=("census_extension",),
            environment={"BREEZE_LAB_CENSUS": str(file), "PYTHONPATH": path},
        )  # fmt: skip
        running.routes = json.loads(until(lambda: file.exists() and file.read_text(), "the census"))
        yield running
        running.process.terminate()
        running.process.wait(30)
        session.logout()
        for name in ("relay", "practice"):
            record = processes.running(settings.folders().runtime, name)
            if record is not None:
                os.kill(record["pid"], signal.SIGTERM)


def ticked(api, name):
    """Return the quote of a name once it has ticked."""

    def ask():
        status, found = api.call("GET", f"quotes?names={urllib.request.quote(name)}")
        assert status == 200, found
        return found["quotes"][0]["source"] == "relay" and found["quotes"][0]

    return until(ask, f"a tick of {name}")


# -- before there is a relay ---------------------------------------------------


def test_without_a_relay_there_are_reasons_and_none_is_started(api):
    """No price, why, and what to do; metrics say that it is down."""
    status, found = api.call("GET", "quotes?names=RELIANCE,NIFTY")
    assert status == 200
    assert [quote["key"] for quote in found["quotes"]] == ["NSE:RELIANCE", "NSE:NIFTY"]
    assert "no relay runs" in found["quotes"][0]["message"]
    assert read(api.call("GET", "metrics")[1])["breeze_lab_up"] == {(): 0}
    assert processes.running(settings.folders().runtime, "relay") is None


def test_what_the_relay_answers_loads_no_pandas(api):
    """Names and quotes without a call to the broker, whose SDK would load it, are cheap."""
    maps = Path(f"/proc/{api.process.pid}/maps").read_text()
    assert "/pandas/" not in maps
    assert "/bokeh/" not in maps


def test_history_needs_no_relay_and_tells_its_price(api):
    """Candles of the broker, the calls they cost, within the calls that are allowed."""
    day = clock.previous_trading_day(clock.now().date())
    status, found = api.call("GET", f"candles?name=RELIANCE&interval=5m&start={day}")
    assert status == 200, found
    assert found["calls"] == 1
    assert {candle["source"] for candle in found["candles"]} == {"history"}
    starts = [candle["start"] for candle in found["candles"]]
    assert starts == sorted(set(starts))
    assert starts[0] == f"{day}T09:15:00+05:30"
    frame = session.current().resolve("RELIANCE")
    assert found["key"] == frame.key


def test_stored_candles_cost_nothing(api):
    """What was fetched once is on disk: no call, and no right to spend one is needed."""
    day = clock.now().date()
    for _ in range(3):  # the day before can be younger than what is kept
        day = clock.previous_trading_day(day)
    path = f"candles?name=RELIANCE&interval=30m&start={day}&end={day + timedelta(days=1)}"
    status, first = api.call("GET", path)
    assert (status, first["calls"]) == (200, 1)
    status, second = api.call("GET", f"{path}&calls=0", **{"X-Refuse": "execute breeze-lab"})
    assert (status, second["calls"]) == (200, 0), second
    assert second["candles"] == first["candles"]


def test_history_beyond_the_allowed_calls_is_refused_with_its_price(api):
    """Nothing is sent; the message names the price and the way to allow it."""
    before = session.current().meter.used_today
    start = clock.now().date() - timedelta(days=300)
    status, found = api.call("GET", f"candles?name=RELIANCE&interval=1m&start={start}&calls=10")
    assert (status, found["error"]) == (400, "SettingsError")
    assert re.search(r"costs \d\d+ calls", found["message"])
    assert session.current().meter.used_today == before


def test_merged_intervals_are_those_of_the_library(api):
    """15m and 1h, which the broker lacks, equal what `historical.candles` makes of them."""
    from breeze_lab import historical
    from breeze_lab.bars import Interval

    now = session.current()
    instrument = now.resolve("RELIANCE")
    day = clock.previous_trading_day(clock.now().date())
    start = datetime.combine(day, datetime.min.time(), clock.IST) + timedelta(hours=10, minutes=7)
    end = start + timedelta(hours=3)
    for interval in (Interval.M15, Interval.H1, Interval.M1):
        frame = historical.candles(now, instrument, interval, start, end)
        bars = historical.bars(now, instrument, interval, start, end)
        assert [bar.start for bar in bars] == list(frame.index)
        for name in ("open", "high", "low", "close", "volume"):
            assert [getattr(bar, name) for bar in bars] == list(frame[name])
        assert all(bar.complete for bar in bars)


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("quotes", 400, "BadRequest"), ("quotes?names=,", 400, "BadRequest"),
        ("quotes?names=RELIANCE&market=lse", 400, "BadRequest"),
        ("candles", 400, "BadRequest"), ("candles?name=RELIANCE&interval=7m", 400, "SettingsError"),
        ("candles?name=RELIANCE&start=soon", 400, "BadRequest"),
        ("candles?name=RELIANCE&start=2026-11-20&end=2026-11-19", 400, "SettingsError"),
        ("candles?name=RELIANCE&calls=many", 400, "BadRequest"),
        ("quotes?names=RELIANCE&market=icici", 503, "NoMaster"),
        ("quotes?names=RELIANCX", 404, "InstrumentNotFound"),
        ("candles?name=RELIANCX", 404, "InstrumentNotFound"),
        ("instruments?limit=many", 400, "BadRequest"),
        ("quotes?names=" + ",".join(f"S{i}" for i in range(201)), 400, "BadRequest"),
    ],
)  # fmt: skip
def test_an_error_is_json_that_says_what_to_do(api, path, status, error):
    """Kind, sentence and the nearest names, in one form whatever went wrong."""
    got, body = api.call("GET", path)
    assert (got, body["error"]) == (status, error)
    assert set(body) == {"error", "message", "nearest"}
    assert len(body["message"]) > 10
    if error == "InstrumentNotFound":
        assert "NSE:RELIANCE" in body["nearest"]


# -- leases ----------------------------------------------------------------


def test_a_lease_streams_until_it_is_given_back(api):
    """POST starts the relay and streams; quotes then have the relay's ticks; DELETE ends it."""
    wanted = {"names": ["RELIANCE", "nifty"], "bars": ["1m"], "client": "a screener"}
    status, lease = api.call("POST", "subscriptions", wanted)
    assert status == 201, lease
    assert (lease["keys"], lease["state"]) == (["NSE:RELIANCE", "NSE:NIFTY"], "held")
    quote = ticked(api, "reliance industries")
    assert quote["key"] == "NSE:RELIANCE"
    assert quote["name"] == "reliance industries"
    assert 0 <= quote["age_s"] < 30
    assert quote["last"] > 0
    status, listed = api.call("GET", "subscriptions")
    assert [one["id"] for one in listed["subscriptions"]] == [lease["id"]]
    clients = api.call("GET", "status")[1]["relay"]["clients"]
    assert "lease of a screener" in [client["name"] for client in clients]
    assert api.call("DELETE", f"subscriptions?id={lease['id']}") == (200, {"ended": lease["id"]})
    assert api.call("GET", "subscriptions")[1] == {"subscriptions": []}
    until(
        lambda: all(
            not one["consumers"] for one in api.call("GET", "status")[1]["relay"]["instruments"]
        ),
        "the relay to let go",
    )
    assert api.call("DELETE", f"subscriptions?id={lease['id']}")[0] == 404


def test_a_lease_ends_when_it_is_not_renewed(api):
    """Renewed it lives on, at the term the renewal asked for; forgotten it ends by itself."""
    lease = api.call("POST", "subscriptions", {"names": ["TCS"], "lease_s": 600})[1]
    status, renewed = api.call("POST", "subscriptions", {"id": lease["id"], "lease_s": 1})
    assert (status, renewed["lease_s"]) == (200, 2)  # the shortest term there is
    until(lambda: not api.call("GET", "subscriptions")[1]["subscriptions"], "its end")
    assert api.call("POST", "subscriptions", {"id": lease["id"]})[0] == 404


def test_a_lease_outlives_its_relay(api):
    """The relay is killed; the lease holds the same instruments at the next one."""
    lease = api.call("POST", "subscriptions", {"names": ["RELIANCE"]})[1]
    pid = processes.running(settings.folders().runtime, "relay")["pid"]
    os.kill(pid, signal.SIGKILL)

    def held_again():
        relay = api.call("GET", "status")[1]["relay"]
        keys = [one["key"] for one in relay.get("instruments", ()) if one["consumers"]]
        return relay.get("pid") not in (None, pid) and keys == ["NSE:RELIANCE"]

    until(held_again, "the next relay")
    assert api.call("GET", "subscriptions")[1]["subscriptions"][0]["state"] == "held"
    api.call("DELETE", f"subscriptions?id={lease['id']}")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({}, 400), ({"names": []}, 400), ({"names": "RELIANCE"}, 400), ({"names": [1]}, 400),
        ({"names": ["RELIANCX"]}, 404), ({"names": ["RELIANCE"], "bars": ["7m"]}, 400),
        ({"names": ["RELIANCE"], "bars": "1m"}, 400), ({"id": "none"}, 404), ([], 400),
        ({"names": ["RELIANCE"], "lease_s": "long"}, 400),
    ],
)  # fmt: skip
def test_a_subscription_that_is_none_is_refused(api, data, status):
    """Nothing is held for it."""
    got, body = api.call("POST", "subscriptions", data)
    assert got == status, body
    assert set(body) == {"error", "message", "nearest"}
    assert api.call("GET", "subscriptions")[1] == {"subscriptions": []}


def test_the_leases_are_bounded(api):
    """The seventeenth is refused; the sixteen go on."""
    held = [api.call("POST", "subscriptions", {"names": ["TCS"]})[1]["id"] for _ in range(16)]
    status, body = api.call("POST", "subscriptions", {"names": ["TCS"]})
    assert (status, body["error"]) == (409, "SubscriptionRefused")
    for lease in held:
        assert api.call("DELETE", f"subscriptions?id={lease}")[0] == 200


# -- with a relay ------------------------------------------------------------


def test_a_quote_is_fetched_only_when_asked(api):
    """Without fetch=1 no call is spent; with it one, and the answer says it is the broker's."""
    used = session.current().meter.used_today
    quote = api.call("GET", "quotes?names=INFY")[1]["quotes"][0]
    assert (quote["source"], quote["age_s"]) == (None, None)
    assert "fetch=1" in quote["message"]
    assert session.current().meter.used_today == used
    status, found = api.call("GET", "quotes?names=INFY&fetch=1")
    assert status == 200, found
    quote = found["quotes"][0]
    assert quote["source"] == "rest"
    assert quote["age_s"] < 30
    assert quote["trade_age_s"] >= 0
    assert session.current().meter.used_today == used + 1
    many = ",".join(
        item["key"]
        for group in api.call("GET", "instruments?q=ltd&limit=60")[1]["groups"]
        for item in group["items"]
        if item["room"]
    )
    if many.count(",") > 10:
        assert api.call("GET", f"quotes?fetch=1&names={urllib.request.quote(many)}")[0] == 400


def test_who_may_only_read_spends_no_calls(api):
    """Without the right to execute: what the relay holds, and 403 for what costs a call."""
    refused = {"X-Refuse": "execute breeze-lab"}
    used = session.current().meter.used_today
    assert api.call("GET", "quotes?names=WIPRO", **refused)[0] == 200
    assert api.call("GET", "quotes?names=WIPRO&fetch=1", **refused)[0] == 403
    assert api.call("GET", "candles?name=WIPRO&interval=1d", **refused)[0] == 403
    assert session.current().meter.used_today == used


def test_candles_end_with_the_relay_s_bars(api):
    """Bars it heard whole are its own and cost nothing; what lies before comes from history."""
    lease = api.call("POST", "subscriptions", {"names": ["RELIANCE"], "bars": ["1s"]})[1]
    ticked(api, "RELIANCE")

    def both():
        start = (clock.now() - timedelta(minutes=10)).replace(tzinfo=None).isoformat("T", "seconds")
        status, found = api.call("GET", f"candles?name=RELIANCE&interval=1s&start={start}")
        assert status == 200, found
        sources = [candle["source"] for candle in found["candles"]]
        assert sources == sorted(sources)  # history, then relay
        return sources.count("relay") > 2 and found

    found = until(both, "whole bars")
    starts = [candle["start"] for candle in found["candles"]]
    assert starts == sorted(set(starts))
    first = next(c["start"] for c in found["candles"] if c["source"] == "relay")
    status, ours = api.call(
        "GET", f"candles?name=RELIANCE&interval=1s&start={urllib.request.quote(first)}&calls=0"
    )
    assert (status, ours["calls"]) == (200, 0), ours
    assert {candle["source"] for candle in ours["candles"]} == {"relay"}
    api.call("DELETE", f"subscriptions?id={lease['id']}")


def test_metrics_are_those_of_the_relay(api):
    """The relay's page and whether it is up, in a format that a strict reader takes."""
    with api.feed() as socket:
        receive(socket, "welcome")
        status, headers, body = api.get("api/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = read(body.decode())
    assert found["breeze_lab_up"] == {(): 1}
    assert found["breeze_lab_browsers"] == {(): 1}
    assert found["breeze_lab_relay_consumers"][()] >= 1
    assert found["breeze_lab_relay_calls_used"][("span", "today"),] > 0
    assert session.current().keys.session_key not in body.decode()
    assert session.current().keys.app_key not in body.decode()


def example(language):
    """Return the first block of a language in docs/api.md."""
    docs = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
    return re.search(rf"```{language}\n(.*?)```", docs, re.DOTALL).group(1)


def test_the_documented_client_has_the_feed_with_the_token_alone(api):
    """No cookie, no Origin: the lines of docs/api.md print ticks as they stand."""
    environment = {**os.environ, "LAB": api.url.removesuffix("breeze-lab/"), "TOKEN": TOKEN}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", example("python")], env=environment,
        stdout=subprocess.PIPE, text=True,
    ) as client:  # fmt: skip
        try:
            key, sequence, price = client.stdout.readline().split()
        finally:
            client.terminate()
    assert key == "NSE:RELIANCE"
    assert int(sequence) >= 1
    assert float(price) > 0


def test_the_documented_commands_work(api):
    """Each curl of docs/api.md answers with 2xx as it stands, a renewal included."""
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    environment = {**os.environ, "LAB": api.url.removesuffix("breeze-lab/"), "TOKEN": TOKEN}
    script = example("bash").replace("curl -s", "curl -sS -f")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=environment, text=True,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"NSE:RELIANCE"' in done.stdout
    assert "breeze_lab_up 1" in done.stdout
    assert api.call("GET", "subscriptions")[1] == {"subscriptions": []}


def test_a_changing_route_wants_the_page_s_token_of_a_cookie(api):
    """A cookie without the XSRF token starts no subscription and ends none."""
    for method, path in (("POST", "subscriptions"), ("DELETE", "subscriptions?id=x")):
        request = urllib.request.Request(
            api.url + "api/" + path, method=method, headers={"Cookie": api.cookie},
            data=b'{"names": ["TCS"]}',
        )  # fmt: skip
        with pytest.raises(urllib.error.HTTPError) as refused:
            OPENER.open(request, timeout=10)
        assert refused.value.code == 403
    assert api.call("GET", "subscriptions")[1] == {"subscriptions": []}


# -- the document ------------------------------------------------------------

#: One request for every documented operation that answers JSON: query and body.
TRIES = {
    "quotes": ("?names=RELIANCE,NIFTY,INFY&fetch=1", None), "candles": ("?name=RELIANCE", None),
    "instruments": ("?q=nifty+24500+ce", None), "subscriptions": ("", None),
    "subscribe": ("", {"names": ["TCS"], "bars": ["5m"], "lease_s": 30}),
    "unsubscribe": ("?id=LEASE", None), "status": ("", None), "openapi": ("", None),
    "truth": ("", None),
    "watchlist": ("", None), "watch": ("", {"keys": ["NSE:TCS", "NFO:NIFTY 01-Jan-2020 FUT"]}),
    "session": ("", None), "keepKeys": ("", {"app_key": "k", "secret": "s"}),
    "forgetKeys": ("?broker=icici", None), "pasteSession": ("", {"text": "nothing"}),
    "jobs": ("", None), "run": ("?run=1", None), "doJob": ("", {"do": "retry", "run": 1}),
    "loginPractice": ("", {}), "indicatorCatalogue": ("", None), "confirmAccount": ("", {"serial": "none"}),
    "dashboards": ("", None),
    "shares": ("", None), "shareChart": ("", {"config": {}, "figure": {}, "bars": [[]] * 6}),
    "revokeShare": ("?name=none", None),
}  # fmt: skip
#: Ends the session the others need; tried by tests/test_login_callback.py.
LEFT_OUT = {"logout"}


def operations(doc):
    """Yield path, method and operation of everything documented."""
    for path, methods in doc["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def differences(doc, routes, base):
    """Return what is documented and not there, and what is there and not documented."""
    told = {(path, method) for path, method, _ in operations(doc)}
    live = set()
    for route in routes:
        if "/scheduler/" in route["pattern"]:
            continue  # jupyter-scheduler's contract, not ours to document
        path = route["pattern"].removesuffix("$").removesuffix("/?").replace("\\-", "-")
        path = (
            path.replace("\\.", ".")
            .replace(r"([\w.-]+)", "{name}")
            .replace("([\\w-.]+)", "{name}")
            .replace("([^/]*)", "{id}")
            .replace("(.*)", "{id}")
            .replace("(market|board|jobs|published)", "{page}")
            .replace(r"(static/[\w./@+%-]+|favicon.ico)", "{file}")
        )
        live |= {(path.removeprefix(base), m) for m in route["methods"] if m != "HEAD"}
    return sorted(told ^ live)


def check(doc, operation, status, body):
    """Assert that an answer is documented and has the documented shape."""
    known = operation["responses"].get(str(status))
    assert known, f"{operation['operationId']} answered {status}: {body}"
    schema = known["content"]["application/json"]["schema"]
    jsonschema.validate(
        body, {**schema, "components": doc["components"]},
        cls=jsonschema.Draft202012Validator,
    )  # fmt: skip


def test_the_document_has_every_route_of_the_running_app(api):
    """Neither a route without words nor words without a route."""
    status, doc = api.call("GET", "openapi.json")
    assert (status, doc["openapi"]) == (200, "3.1.0")
    assert doc["servers"] == [{"url": "/user/alice"}]
    assert differences(doc, api.routes, "/user/alice") == []


def test_every_answer_has_the_documented_shape(api):
    """Every JSON operation is tried; its status is documented and its body fits the schema."""
    doc = api.call("GET", "openapi.json")[1]
    names = [operation["operationId"] for _, _, operation in operations(doc)]
    assert len(names) == len(set(names))
    lease = ""
    for path, method, operation in operations(doc):
        responses = operation["responses"]
        if not any("application/json" in r.get("content", {}) for r in responses.values()):
            continue
        name = operation["operationId"]
        if name in LEFT_OUT:
            continue
        query, data = TRIES[name]
        where = path.removeprefix("/breeze-lab/api/") + query.replace("LEASE", lease)
        status, body = api.call(method, where, data)
        check(doc, operation, status, body)
        lease = body["id"] if name == "subscribe" else lease
        if "requestBody" in operation:
            wanted = operation["requestBody"]["content"]["application/json"]["schema"]
            jsonschema.validate(data, {**wanted, "components": doc["components"]})
        stranger = api.call(method, where, data, Authorization="token wrong")
        check(doc, operation, *stranger)


def test_the_schemas_are_schemas_and_every_reference_leads_somewhere():
    """The document is valid by itself, for any base URL."""
    doc = document("/")
    assert doc["servers"] == [{"url": "/"}]
    schemas = doc["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    refs = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(doc))
    assert set(refs) == set(schemas)
    for _, _, operation in operations(doc):
        assert operation["summary"]
        assert operation["responses"]


def test_the_checks_catch_a_document_that_lies(api):
    """The planted fault: a route not told, one too many, a member too few or of another kind."""
    doc = document("/user/alice/")
    del doc["paths"]["/breeze-lab/api/quotes"]
    doc["paths"]["/breeze-lab/api/orders"] = {"post": {}}
    assert differences(doc, api.routes, "/user/alice") == [
        ("/breeze-lab/api/orders", "POST"), ("/breeze-lab/api/quotes", "GET"),
    ]  # fmt: skip
    doc = document()
    operation = doc["paths"]["/breeze-lab/api/quotes"]["get"]
    good = api.call("GET", "quotes?names=RELIANCE")[1]
    check(doc, operation, 200, good)
    quote = good["quotes"][0]
    for bad in ({**quote, "age_s": "old"}, {k: v for k, v in quote.items() if k != "age_s"},
                {**quote, "token": "x"}):  # fmt: skip
        with pytest.raises(jsonschema.ValidationError):
            check(doc, operation, 200, {**good, "quotes": [bad]})
    with pytest.raises(AssertionError):
        check(doc, operation, 418, good)
