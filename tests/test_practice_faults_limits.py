"""The account's budget: 100 calls a minute, 5,000 a day, 10 orders a second, and how refusals look."""

from __future__ import annotations

import json
from datetime import date
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from weather import control_of, market

from breeze_lab.practice.wire.budget import Budget

MINUTE = {"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"}
DAY = {"Status": 5, "Error": "Limit exceed: API call per day: "}


class Time:
    """A day and a clock that the test moves."""

    def __init__(self):
        self.day, self.now = date(2026, 11, 20), 1000.0

    def budget(self, **options):
        return Budget(lambda: self.day, now=lambda: self.now, **options)


def test_the_minute_slides():
    """The hundred and first call is refused until the first is a minute old; refusals are free."""
    time = Time()
    budget = time.budget()
    for call in range(100):
        time.now = 1000.0 + call / 10
        assert budget.refusal("GET", "quotes") is None
    assert budget.refusal("GET", "quotes") == MINUTE
    assert budget.to_dict()["minute"] == {"used": 100, "limit": 100, "left": 0}
    time.now = 1059.9
    assert budget.refusal("GET", "quotes") == MINUTE
    time.now = 1060.0
    assert budget.refusal("GET", "quotes") is None
    assert budget.refusal("GET", "quotes") == MINUTE


def test_the_day_is_the_markets():
    """After 5,000 calls the day is used up, and the next market day begins with none."""
    time = Time()
    budget = time.budget()
    for call in range(5000):
        time.now = 1000.0 + call
        assert budget.refusal("GET", "quotes") is None
    time.now += 3600
    assert budget.refusal("GET", "quotes") == DAY
    time.day = date(2026, 11, 21)
    assert budget.to_dict()["day"] == {"used": 0, "limit": 5000, "left": 5000}
    assert budget.refusal("GET", "quotes") is None


def test_ten_orders_a_second():
    """Placing, changing, cancelling and squaring off share ten a second; looking is free of it."""
    time = Time()
    budget = time.budget()
    mutations = [("POST", "order"), ("PUT", "order"), ("DELETE", "order"), ("POST", "squareoff")]
    for call in range(10):
        assert budget.refusal(*mutations[call % 4]) is None
    refused = budget.refusal("DELETE", "order")
    assert refused == {
        "Status": 5, "Error": "Limit exceed: API call per second:Try after some time",
    }  # fmt: skip
    assert budget.refusal("GET", "order") is None
    time.now += 1.0
    assert budget.refusal("POST", "order") is None


def test_without_limits_calls_are_counted_and_never_refused():
    """The switch changes the answer, not the count."""
    budget = Time().budget(on=False)
    assert all(budget.refusal("POST", "order") is None for _ in range(6000))
    assert budget.to_dict()["day"] == {"used": 6000, "limit": 5000, "left": None}


def call(record, path="customerdetails"):
    """Return (HTTP status, body) of an unsigned call."""
    try:
        with urlopen(Request(record["api_url"] + path, b"{}", method="GET"), timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_running_market_has_limits(tmp_path):
    """On by default: the recorded body with HTTP 401; what is no call is answered all the same."""
    with market(tmp_path) as record:
        for _ in range(100):
            assert call(record)[0] == 200
        assert call(record) == (401, MINUTE)
        assert call(record, "quotes") == (401, MINUTE)
        for url in (record["login_url"], record["master_url"], record["status_url"]):
            with urlopen(url, timeout=20) as answer:
                assert answer.status == 200
        control = control_of(record)
        control.fault("gap", "1s")
        assert control.status()["limits"]["minute"] == {"used": 100, "limit": 100, "left": 0}
        assert control.status()["limits"]["day"] == {"used": 100, "limit": 5000, "left": 4900}


@pytest.mark.parametrize("path", ["../v1/customerdetails", "CustomerDetails", "nosuch"])
def test_no_spelling_of_a_path_is_free(tmp_path, path):
    """Whatever reaches version 1 counts."""
    with market(tmp_path) as record:
        before = control_of(record).status()["limits"]["minute"]["used"]
        call(record, path)
        assert control_of(record).status()["limits"]["minute"]["used"] == before + 1
