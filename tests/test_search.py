"""The search around the engine: groups, the watchlist, the widget and the server's routes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date

import pytest

from breeze_lab import listing, session, settings, watchlist
from breeze_lab.errors import SettingsError
from breeze_lab.instruments import Instrument
from breeze_lab.widgets import Search, bundles
from breeze_lab.widgets.search import answer

STOCK = Instrument("RELIANCE", "RELIND", "NSE", "2885", "RELIANCE INDUSTRIES")
INDEX = Instrument("NIFTY", "NIFTY", "NSE", "NIFTY 50", "NIFTY 50", kind="index")
NEAR, FAR = date(2026, 12, 1), date(2026, 12, 29)


def option(strike, expiry, right="CE"):
    return Instrument(
        "NIFTY", "NIFTY", "NFO", str(strike), "NIFTY 50", kind="option", lot_size=75,
        expiry=expiry, strike=float(strike), right=right,
    )  # fmt: skip


def test_options_are_grouped_by_expiry_and_the_best_group_is_first():
    """The order of the groups is the order of what was found; expiries of one title go upwards."""
    future = Instrument("NIFTY", "NIFTY", "NFO", "1", "NIFTY 50", kind="future", expiry=FAR)
    found = [INDEX, option(24500, FAR), option(24500, NEAR), future, option(24600, FAR)]
    groups = listing.grouped(found)
    assert [group["title"] for group in groups] == [
        "Index", "Options · 1 Dec 2026", "Options · 29 Dec 2026", "Futures",
    ]  # fmt: skip
    labels = [[item["label"] for item in group["items"]] for group in groups]
    assert labels[2] == ["NIFTY 24500 CE", "NIFTY 24600 CE"]
    assert labels[3] == ["NIFTY 29 Dec fut"]


def test_a_row_can_be_subscribed_and_written_as_json():
    """It holds the broker's room and the bars' anchor, and nothing JSON lacks."""
    row = json.loads(json.dumps(listing.row(option(24500, NEAR))))
    assert row["key"] == "NFO:NIFTY 01-Dec-2026 24500 CE"
    assert (row["room"], row["anchor_s"], row["lot_size"]) == ("4.1!24500", 33_300, 75)
    assert (row["expiry"], row["strike"], row["right"]) == ("2026-12-01", 24500.0, "CE")


def test_the_watchlist_keeps_its_order_and_no_repetition(home):
    """What was saved comes back; adding twice changes nothing."""
    assert watchlist.keys() == []
    assert watchlist.save(["NSE:TCS", "NSE:RELIANCE", "NSE:TCS"]) == ["NSE:TCS", "NSE:RELIANCE"]
    watchlist.add("NFO:NIFTY 29-Dec-2026 FUT")
    watchlist.add("NSE:TCS")
    assert watchlist.keys() == ["NSE:TCS", "NSE:RELIANCE", "NFO:NIFTY 29-Dec-2026 FUT"]


@pytest.mark.parametrize(
    "wanted",
    [None, "NSE:TCS", {"keys": []}, [1], [""], ["TCS"], ["NSE:" + "X" * 80], ["NSE:\n"],
     [f"NSE:S{i}" for i in range(watchlist.MOST + 1)]],
)  # fmt: skip
def test_a_watchlist_that_is_none_is_refused_and_the_old_one_kept(home, wanted):
    """Not a list, not a key, or too many: nothing is written."""
    watchlist.save(["NSE:TCS"])
    with pytest.raises(SettingsError):
        watchlist.save(wanted)
    assert watchlist.keys() == ["NSE:TCS"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": 7}', '{"keys": ["no key"]}'])
def test_a_broken_watchlist_counts_as_empty(home, text):
    """A file somebody else wrote keeps nobody from their list."""
    watchlist.save(["NSE:TCS"])
    (settings.folders().data / "watchlist.json").write_text(text)
    assert watchlist.keys() == []
    assert watchlist.add("NSE:TCS") == ["NSE:TCS"]


def test_two_kernels_that_add_at_once_lose_nothing(home):
    """Six processes put ten keys each: all sixty are there."""
    code = (
        "import sys\nfrom breeze_lab import watchlist\n"
        "[watchlist.add(f'NSE:P{sys.argv[1]}K{i}') for i in range(10)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(6)]
    assert [writer.wait(60) for writer in writers] == [0] * 6
    assert len(watchlist.keys()) == 60


@pytest.fixture
def logged_in(practice, home):
    endpoints = settings.Endpoints.from_dict(practice, name="practice")
    yield session.login(
        practice["app_key"], practice["secret"], practice["api_session"], endpoints=endpoints
    )
    session.logout()


def test_picking_sets_the_instrument_and_calls_back(logged_in):
    """What the page sends as a pick is an Instrument in Python, for everybody who asked."""
    first, second = [], []
    found = Search(on_pick=first.append)
    found.on_pick(second.append)
    assert (found.value, found.instrument, found.market) == ("", None, "practice")
    found.set_state({"value": "NSE:RELIANCE"})
    assert found.instrument.stock_code == "RELIND"
    assert first == second == [found.instrument]
    assert repr(found) == "Search('NSE:RELIANCE')"
    found.close()


def test_a_pick_of_nothing_we_know_is_said(logged_in):
    """A key that means nothing leaves no instrument behind and is told to the page."""
    found = Search()
    sent = []
    found.send = lambda message, *_: sent.append(message)
    found.set_state({"value": "NSE:NOSUCHNAME"})
    assert found.instrument is None
    assert sent[0]["bad"]
    assert "NOSUCHNAME" in sent[0]["text"]
    found.close()


def test_the_kernel_answers_a_page_without_a_server(logged_in):
    """Groups for a text, nothing for no text, and bounds on both text and number of rows."""
    found = answer({"op": "search", "id": 3, "text": "reliance", "limit": 5})
    assert found["id"] == 3
    assert found["groups"][0]["items"][0]["key"] == "NSE:RELIANCE"
    assert answer({"op": "search", "id": 4, "text": "  "})["groups"] == []
    many = answer({"op": "search", "id": 5, "text": "zzqx" * 1000, "limit": 10**9})
    assert sum(len(group["items"]) for group in many["groups"]) <= 100
    assert answer({"op": "watch", "id": 6, "key": "NSE:TCS"})["says"].startswith("NSE:TCS")
    assert watchlist.keys() == ["NSE:TCS"]
    assert "error" in answer({"op": "watch", "id": 7, "key": "NSE:NOSUCHNAME"})


def test_a_strike_that_does_not_exist_shows_the_nearest_and_why(logged_in):
    """Not an empty list: contracts beside it, and the sentence that resolving it would give."""
    found = answer({"op": "search", "id": 1, "text": "nifty 99999 ce", "limit": 10})
    assert "nifty 99999 ce" in found["note"].lower()
    items = [item for group in found["groups"] for item in group["items"]]
    assert (items[0]["kind"], items[0]["symbol"], items[0]["right"]) == ("option", "NIFTY", "CE")
    assert answer({"op": "search", "id": 2, "text": "relianc"})["note"] == ""


def test_nobody_logged_in_is_a_sentence_and_no_traceback(home, monkeypatch):
    """The widget is shown all the same; its answer says what to type."""
    monkeypatch.delenv("BREEZE_LAB_SESSION", raising=False)
    session.logout()
    found = Search("tcs")
    assert (found.text, found.market) == ("tcs", "")
    assert "%breeze_login" in answer({"op": "search", "id": 1, "text": "tcs"})["error"]
    found.close()


@pytest.mark.parametrize("bundle", bundles.BUNDLES)
def test_every_bundle_is_one_module_with_its_exports(bundle):
    """No name is declared twice at the top level, which would stop the whole module."""
    text = bundles.script(bundle)
    names = [
        line.split()[i].split("(")[0].split("=")[0]
        for line in text.splitlines()
        for prefix, i in (("const ", 1), ("let ", 1), ("function ", 1), ("class ", 1),
                          ("async function ", 2))
        if line.startswith(prefix)
    ]  # fmt: skip
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
    # The page of a share link is a script of its own, which nobody imports.
    assert text.count("\nexport ") == (bundle != "viewer")
    assert bundles.styles(bundle)
