"""The practice market's REST side answers as the broker's, and believes only what is signed."""

import base64
import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener, urlopen

import pytest
from conformance_schema import CHAIN, complaints
from waiting import within

from breeze_lab.practice.exchange.days import midnight
from breeze_lab.practice.exchange.market import Market
from breeze_lab.practice.wire import rows

REFUSED = (401, {"Status": 5, "Error": "Authentication Fail :: Invalid Checksum."})
MONDAY = {"from_date": "2026-06-29T09:15:00.000Z", "to_date": "2026-06-29T09:17:00.000Z"}
STOCK = {"stock_code": "RELIND", "exchange_code": "NSE", "product_type": "cash"}
FUTURE = {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "futures",
          "expiry_date": "2026-06-30T07:00:00.000Z"}  # fmt: skip


def ask(url, method="GET", body=None, headers=None):
    """Return (HTTP status, JSON)."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(url, data=data, method=method, headers=headers or {})
    try:
        with urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def token(practice):
    """The session token."""
    body = {"SessionToken": practice["api_session"], "AppKey": practice["app_key"]}
    _, answer = ask(practice["api_url"] + "customerdetails", body=body)
    return answer["Success"]["session_token"]


@pytest.fixture(scope="module")
def v1(practice, token):
    """Ask version 1 with a signature; keywords spoil it."""

    def call(path, fields, *, method="GET", secret=None, skew_s=0, sent=None, **headers):
        body = json.dumps(fields, separators=(",", ":")).encode()
        stamp = (datetime.now(UTC) + timedelta(seconds=skew_s)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        text = stamp.encode() + body + (secret or practice["secret"]).encode()
        signed = {
            "Content-Type": "application/json",
            "X-Checksum": "token " + hashlib.sha256(text).hexdigest(),
            "X-Timestamp": stamp,
            "X-AppKey": practice["app_key"],
            "X-SessionToken": token,
        }
        signed |= {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(practice["api_url"] + path, method, sent or body, signed)

    return call


@pytest.fixture(scope="module")
def v2(practice, token):
    """Ask version 2."""

    def call(fields, **headers):
        fields = dict(fields)
        fields["exch_code"] = fields.pop("exchange_code")
        known = {"X-SessionToken": token, "apikey": practice["app_key"]} | headers
        return ask(practice["v2_url"] + "historicalcharts?" + urlencode(fields), headers=known)

    return call


def test_login_gives_a_session_of_the_documented_shape(practice, token):
    """The session token is base64 of user and key; a second exchange works as well."""
    user, key = base64.b64decode(token).decode().split(":")
    body = {"SessionToken": practice["api_session"], "AppKey": practice["app_key"]}
    status, answer = ask(practice["api_url"] + "customerdetails", body=body)
    assert status == 200
    assert answer["Status"] == 200
    assert answer["Success"]["idirect_userid"] == user
    assert key
    assert set(answer["Success"]["exg_trade_date"]) == {"NSE", "BSE", "FNO", "NDX"}


@pytest.mark.parametrize(
    ("field", "error", "status"),
    [("AppKey", "Public Key does not exist.", 5), ("SessionToken", "Resource not available.", 500)],
)
def test_a_wrong_key_or_session_is_refused_at_login(practice, field, error, status):
    """The captured bodies, so that the SDK finds its words."""
    body = {"SessionToken": practice["api_session"], "AppKey": practice["app_key"], field: "no"}
    found = ask(practice["api_url"] + "customerdetails", body=body)
    assert found == (200, {"Success": None, "Status": status, "Error": error})


def test_only_a_true_signature_is_believed(v1):
    """Secret, body bytes, timestamp, key and session are all verified."""
    fields = {"interval": "minute", **MONDAY, **STOCK}
    assert v1("historicalcharts", fields)[0] == 200
    assert v1("historicalcharts", fields, secret="wrong") == REFUSED
    assert v1("historicalcharts", fields, sent=json.dumps(fields).encode()) == REFUSED
    assert v1("historicalcharts", fields, skew_s=-90) == REFUSED
    assert v1("historicalcharts", fields, skew_s=90) == REFUSED
    assert v1("historicalcharts", fields, skew_s=-30)[0] == 200
    assert v1("historicalcharts", fields, X_AppKey="other") == REFUSED
    assert v1("historicalcharts", fields, X_SessionToken="b3RoZXI6a2V5") == REFUSED
    assert v1("funds", {}, method="DELETE", X_Checksum="token 0") == REFUSED


def test_version_2_checks_session_and_key(v2):
    """Without them there is no history."""
    fields = {"interval": "1minute", **MONDAY, **STOCK}
    assert v2(fields)[0] == 200
    assert v2(fields, apikey="other")[0] == 401
    assert v2(fields, **{"X-SessionToken": "other"})[0] == 401


def test_version_2_rows_have_the_documented_types(v2):
    """Numbers are numbers, ends are inclusive, and absent keys are absent."""
    _, answer = v2({"interval": "1minute", **MONDAY, **STOCK})
    assert [row["datetime"] for row in answer["Success"]] == [
        f"2026-06-29 09:{minute}:00" for minute in (15, 16, 17)
    ]
    row = answer["Success"][0]
    assert set(row) == {
        "datetime",
        "stock_code",
        "exchange_code",
        "open",
        "high",
        "low",
        "close",
        "volume",
    }
    assert type(row["volume"]) is int
    assert isinstance(row["open"], (int, float))
    row = v2({"interval": "1minute", **MONDAY, **FUTURE})[1]["Success"][0]
    assert (row["product_type"], row["expiry_date"]) == ("Futures", "30-JUN-2026")
    assert type(row["open_interest"]) is int
    assert "right" not in row
    option = {**FUTURE, "product_type": "options", "right": "call", "strike_price": "24000"}
    row = v2({"interval": "1minute", **MONDAY, **option})[1]["Success"][0]
    assert (row["right"], row["strike_price"]) == ("Call", 24000.0)
    _, index = v2({"interval": "1day", **MONDAY, "stock_code": "NIFTY", "exchange_code": "NSE"})
    assert [(row["datetime"], row["volume"]) for row in index["Success"]] == [
        ("2026-06-29 00:00:00", 0)
    ]


def test_version_1_rows_are_text(v1):
    """Prices and volumes are strings; cash has null where derivatives have words."""
    row = v1("historicalcharts", {"interval": "minute", **MONDAY, **STOCK})[1]["Success"][2]
    assert row["datetime"] == "2026-06-29 09:17:00"
    assert all(type(row[name]) is str for name in ("open", "high", "low", "close", "volume"))
    assert [
        row[name]
        for name in ("product_type", "expiry_date", "right", "strike_price", "open_interest")
    ] == [None] * 5
    assert row["count"] == 3
    row = v1("historicalcharts", {"interval": "day", **MONDAY, **FUTURE})[1]["Success"][0]
    assert (row["product_type"], row["expiry_date"]) == ("Futures", "30-JUN-26")
    assert (row["right"], row["strike_price"]) == ("Others", "0")


@pytest.mark.parametrize("interval", ["1second", "1minute", "5minute", "30minute", "1day"])
@pytest.mark.parametrize("of", [STOCK, FUTURE])
def test_both_versions_and_all_intervals_agree(v1, v2, interval, of):
    """A longer bar of one version is the sum of the other's minutes."""
    day = {"from_date": "2026-06-29T09:15:00.000Z", "to_date": "2026-06-29T09:44:59.000Z"}
    minutes = v1("historicalcharts", {"interval": "minute", **day, **of})[1]["Success"]
    if interval == "1day":
        day["to_date"] = "2026-06-29T15:39:00.000Z"
        minutes = v1("historicalcharts", {"interval": "minute", **day, **of})[1]["Success"]
    found = v2({"interval": interval, **day, **of})[1]["Success"]
    if interval == "1second":  # cut to the newest thousand, so only whole minutes count
        first = found[0]["datetime"][:16] if len(found) == 1000 else ""
        found = [row for row in found if row["datetime"][:16] > first]
        minutes = [row for row in minutes if row["datetime"][:16] > first]
    assert sum(row["volume"] for row in found) == sum(int(row["volume"]) for row in minutes)
    assert found[0]["open"] == float(minutes[0]["open"])
    assert found[-1]["close"] == float(minutes[-1]["close"])
    assert max(row["high"] for row in found) == max(float(row["high"]) for row in minutes)
    assert min(row["low"] for row in found) == min(float(row["low"]) for row in minutes)


def test_an_answer_is_cut_to_the_newest_thousand(v2):
    """A year of minutes answers with its last thousand, at once."""
    began = time.monotonic()
    days = {"from_date": "2025-06-29T09:15:00.000Z", "to_date": "2026-06-29T15:29:00.000Z"}
    found = v2({"interval": "1minute", **days, **STOCK})[1]["Success"]
    assert len(found) == 1000
    assert found[-1]["datetime"] == "2026-06-29 15:29:00"
    assert time.monotonic() - began < within(1)


def test_nothing_found_reads_as_the_broker_says_it(v1, v2):
    """Version 1 says so in an error, version 2 has an empty list."""
    for change in (
        {"stock_code": "NOSUCH"},
        {"from_date": "2026-06-27T09:15:00.000Z", "to_date": "2026-06-28T09:15:00.000Z"},
    ):
        fields = {**MONDAY, **STOCK, **change}
        assert v2({"interval": "1minute", **fields}) == (
            200,
            {"Success": [], "Status": 200, "Error": None},
        )
        assert (
            v1("historicalcharts", {"interval": "minute", **fields})[1]["Error"] == "No Data Found"
        )
    assert v1("quotes", {**STOCK, "stock_code": "NOSUCH"})[1] == {
        "Success": None,
        "Status": 500,
        "Error": "No Data Found",
    }
    status, answer = v2({"interval": "1minute", **STOCK, "from_date": "soon", "to_date": "later"})
    assert (status, answer["Status"], answer["Success"]) == (200, 500, None)


def test_quotes_come_in_two_rows(v1):
    """NSE first, BSE second; an index has a placeholder; money is numbers, quantities text."""
    both = v1("quotes", STOCK)[1]["Success"]
    assert [row["exchange_code"] for row in both] == ["NSE", "BSE"]
    for row in both:
        assert 0 < row["lower_circuit"] < row["ltp"] < row["upper_circuit"]
        assert type(row["ltp"]) is float
        assert type(row["best_bid_quantity"]) is type(row["total_quantity_traded"]) is str
        assert row["best_bid_price"] < row["best_offer_price"]
    assert abs(both[0]["ltp"] / both[1]["ltp"] - 1) < 0.01
    index, nothing = v1("quotes", {"stock_code": "NIFTY", "exchange_code": "NSE"})[1]["Success"]
    assert index["exchange_code"] == "NSE"
    assert (nothing["exchange_code"], nothing["ltt"], nothing["ltp"]) == ("NA", "NA", 0)


class FirstMorning:
    """A clock that stands at nine on the first day there is: nothing has traded yet."""

    speed = 1.0

    def now_ms(self):
        return (midnight(1) + 9 * 3600) * 1000


def test_an_untraded_strike_has_zeros_and_no_time():
    """As the README shows it: circuits and strike are there, `ltt` is empty, all else is zero."""
    market = Market(1, None, FirstMorning())
    asked = {"stock_code": "ICIBAN", "exchange_code": "NFO", "product_type": "futures"}
    expiry = rows.chain(market, asked)[0]["expiry_date"]
    asked |= {"product_type": "options", "right": "call", "expiry_date": expiry}
    chain = rows.chain(market, asked)
    assert len(chain) > 10
    for row in chain:
        assert complaints(row, CHAIN) == []
        assert row["ltt"] == ""
        assert 0 < row["lower_circuit"] < row["upper_circuit"]
        known = {"exchange_code", "product_type", "stock_code", "expiry_date", "right",
                 "strike_price", "upper_circuit", "lower_circuit", "spot_price", "ltt"}  # fmt: skip
        for name in row.keys() - known:
            assert row[name] == ("0" if isinstance(row[name], str) else 0.0), name
            assert type(row[name]) in (str, float), name


def test_odd_requests_get_an_answer(v1, v2):
    """Values nobody should send are answered in the envelope, never by a broken page."""
    option = {**FUTURE, "product_type": "options", "right": "call"}
    for strike in ("nan", "inf", "-5", "x", "1e400", "24001"):
        for call, name in ((v1, "minute"), (v2, "1minute")):
            fields = {"interval": name, **MONDAY, **option, "strike_price": strike}
            status, answer = call("historicalcharts", fields) if call is v1 else call(fields)
            assert status == 200
            assert answer["Success"] in (None, [])
    for change in (
        {"from_date": "0001-01-01"},
        {"from_date": "9999-01-01", "to_date": "9999-12-31"},
        {"to_date": "2026-06-28"},
        {"interval": "fortnight"},
        {"exchange_code": "XYZ"},
    ):
        status, answer = v2({"interval": "1minute", **MONDAY, **STOCK, **change})
        assert status == 200
        assert type(answer["Status"]) is int
    for expiry in ("2026-13-45", "soon", "1999-01-05T00:00:00.000Z", "2050-01-04"):
        fields = {"interval": "1minute", **MONDAY, **FUTURE, "expiry_date": expiry}
        assert v2(fields)[1]["Success"] in (None, [])


def test_every_path_answers_an_envelope(practice, v1):
    """Unknown paths and methods are JSON with an integer Status."""
    status, answer = ask(practice["api_url"].replace("/v1/", "/v9/") + "thing", "PUT")
    assert (status, type(answer["Status"])) == (404, int)
    assert v1("thing", {}, method="PUT")[1]["Status"] == 404
    for method, path in (("PUT", "funds"), ("POST", "quotes"), ("GET", "squareoff")):
        refused = {"Success": None, "Status": 405, "Error": "Method Not Allowed"}
        assert v1(path, {}, method=method) == (405, refused)
    assert ask(practice["api_url"] + "customerdetails", "POST", {})[0] == 405
    for address in ("stream_url", "feeds_url", "ohlc_url"):
        assert ask(practice[address] + "/thing")[1]["Status"] == 404


class Stay(HTTPRedirectHandler):
    """Shows where a redirect leads instead of going there."""

    def redirect_request(self, *_):
        return None


def test_the_login_page_redirects_with_the_api_session(practice):
    """One button, no password; then the browser is sent where the app wanted it."""
    with urlopen(practice["login_url"]) as page:
        text = page.read().decode()
    assert "Practice market" in text
    assert "password" not in text.replace("no password", "")
    body = urlencode({"redirect": "http://127.0.0.1:9/back?x=1"}).encode()
    with pytest.raises(HTTPError) as sent:
        build_opener(Stay).open(practice["login_url"], body)
    assert (
        sent.value.headers["Location"]
        == f"http://127.0.0.1:9/back?x=1&apisession={practice['api_session']}"
    )
    sent.value.close()
    with urlopen(practice["login_url"], b"") as landing:
        assert landing.url.endswith(f"?apisession={practice['api_session']}")
        assert practice["api_session"] in landing.read().decode()
    with urlopen(practice["login_url"].partition("?")[0] + "?api_key=wrong") as page:
        assert "Public Key does not exist." in page.read().decode()
