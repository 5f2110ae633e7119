"""Fault by fault: what the plain SDK shows, what Breeze Lab shows, and that it ends in time.

Each test is a row of the table in ``docs/faults.md``. The rows are written
here, beside what proves them; after a change write the table anew with
``python tests/test_practice_faults_table.py``.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from relay_home import Share, relay_home
from waiting import until, within
from weather import RELIND, TCS, Heard, Lab, PlainSdk, control_of, market

import breeze_lab
from breeze_lab import errors, session
from breeze_lab.feed import FeedBar, FeedState, FeedTick
from breeze_lab.practice.faults.kinds import KINDS, order

if TYPE_CHECKING:
    from collections.abc import Callable

#: The SDK never closes the master it reads; its garbage is not the subject here.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

DOCUMENT = Path(__file__).parent.parent / "docs" / "faults.md"
HEAD = "| type | the plain SDK | Breeze Lab |\n|---|---|---|\n"
NOT_JSON = "Error in get_quotes(): Expecting value: line 1 column 1 (char 0)"


@dataclass(frozen=True)
class Row:
    """One row: what to type, and what is seen."""

    type: str
    sdk: str
    lab: str

    @property
    def text(self) -> str:
        return f"| `{self.type}` | {self.sdk} | {self.lab} |\n"


ROWS: dict[str, Row] = {}


def row(type_: str, *, sdk: str, lab: str) -> Callable:
    """Have a test stand for a row of the table."""

    def keep(test: Callable) -> Callable:
        ROWS[test.__name__] = Row(type_, sdk, lab)
        return test

    return keep


def table() -> str:
    return HEAD + "".join(one.text for one in ROWS.values())


# -- the stage ------------------------------------------------------------


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A market of our own, because its weather is everybody's."""
    with market(tmp_path_factory.mktemp("market"), "--no-limits") as found:
        yield found


@pytest.fixture(scope="module")
def plain(record, tmp_path_factory):
    """The unmodified SDK, logged in."""
    sdk = PlainSdk(record, tmp_path_factory.mktemp("sdk"))
    sdk.login(session.page_session(record["login_url"]))
    return sdk


class Stage:
    """The market's control, and both observers."""

    def __init__(self, record, sdk) -> None:
        self.record, self.sdk = record, sdk
        self.control = control_of(record)
        self.lab = None
        self.heard = None
        self.sdk_deaths = []

    def begin(self, words):
        """Begin a fault as it is typed."""
        fields = order(words.split())
        return self.control.fault(fields.pop("name"), fields.pop("for_s", None), **fields)

    def login(self):
        """Log Breeze Lab in anew, as %breeze_login practice would."""
        return self.lab_login(session.page_session(self.record["login_url"]))

    def lab_login(self, api_session):
        endpoints = session.settings.Endpoints.from_dict(self.record, name="practice")
        return session.login(
            self.record["app_key"], self.record["secret"], api_session, endpoints=endpoints
        )

    def listen(self, *rooms, whole=False):
        """Both listen to RELIND; return when both have heard it, or a bar from its opening on."""
        self.login()
        if self.lab:  # a feed that is left open would start a relay wherever a later test lives
            self.lab.feed.close()
        self.lab = Lab(self.record)
        self.heard = Heard(self.lab.listen())
        self.sdk.listen(*rooms)
        until(lambda: self.sdk.seen and self.heard.ticks, "the first ticks of both")
        if whole:
            until(self.bars, "a bar heard from its opening on")

    def bars(self, *, whole=True):
        """Return the bars Breeze Lab told, but the first, which began before we listened."""
        bars = [event for event in list(self.heard.events) if isinstance(event, FeedBar)]
        return [e for e in bars if e.whole is whole and e.bar.start > bars[0].bar.start]

    def silent(self):
        """Return when neither hears anything any more."""
        until(lambda: not self.sdk.connected, "the SDK's loss")

    def sdk_hears(self):
        before = len(self.sdk.seen)
        until(lambda: len(self.sdk.seen) > before, "a tick of the SDK")

    def lab_hears(self):
        before = len(self.heard.ticks)
        until(lambda: len(self.heard.ticks) > before, "a tick of Breeze Lab")

    @property
    def states(self):
        """The states Breeze Lab's subscription told since the first tick."""
        return [e.state for e in list(self.heard.events) if isinstance(e, FeedState)]

    def marked(self):
        """Say whether Breeze Lab has marked a bar for the loss."""
        return bool(self.bars(whole=False))

    def ended(self, fault, why="time is up"):
        """Return when a fault is over; it was exact, and the log knows both ends."""
        fault.wait(30)
        lines = [line for line in self.control.log() if line.get("number") == fault.number]
        assert [line["what"] for line in lines] == ["fault began", "fault ended"]
        assert lines[1]["why"] == why
        assert lines[1]["effects"] >= 1
        if why != "cleared":
            assert -0.01 <= lines[1]["lasted_s"] - float(lines[0]["for_s"]) < within(0.25)
        assert lines[0]["time"] <= lines[1]["time"]
        assert lines[0]["market_time"] <= lines[1]["market_time"]
        return lines[1]

    def quote(self):
        """Ask Breeze Lab for a quote."""
        return breeze_lab.quote("RELIANCE")


@pytest.fixture
def stage(record, plain, tmp_path, monkeypatch):
    """Good weather before and after, and a relay of its own."""
    died = []
    monkeypatch.setattr(threading, "excepthook", lambda args: died.append(args.exc_type.__name__))
    with relay_home(tmp_path, monkeypatch):
        stage = Stage(record, plain)
        stage.sdk_deaths = died
        yield stage
        stage.control.clear()
        plain.hang_up()
        if stage.heard:
            stage.heard.close()
        if stage.lab:
            stage.lab.feed.close()
        session.logout()


@pytest.fixture
def calls(stage):
    """Both logged in for calls."""
    stage.login()
    stage.quote()
    return stage


# -- streams ----------------------------------------------------------------


@row(
    "drop",
    sdk="silent for one to two seconds, then it reconnects by itself and joins its rooms again",
    lab="state `connecting`, back in well under a second, epoch counted up, the forming bar marked",
)
def test_a_dropped_stream_comes_back(stage):
    """A TCP reset heals by itself on both sides."""
    stage.listen(whole=True)
    fault = stage.begin("drop")
    stage.silent()
    until(lambda: stage.states == ["connecting", "connected"], "loss and return")
    stage.lab_hears()
    until(stage.marked, "the mark")
    until(lambda: {tick.epoch for tick in stage.heard.ticks} == {1, 2}, "the next epoch")
    stage.sdk_hears()
    assert stage.sdk.subscribe() == {"message": f"Stock {TCS} subscribed successfully"}
    stage.ended(fault, "done")


@row(
    "drop 2s",
    sdk="ticks resume, but `subscribe_feeds` answers `Could not authenticate credentials. Please "
    "check token and keys` until `ws_disconnect` and `ws_connect`",
    lab="as `drop`, once it is over; subscriptions work",
)
def test_a_drop_of_seconds_makes_the_sdk_refuse_subscriptions(stage):
    """Its first failed attempt sets a flag that ticks do not clear."""
    stage.listen()
    fault = stage.begin("drop 2s")
    stage.silent()
    stage.ended(fault)
    stage.lab_hears()
    stage.lab.feed.subscribe(Share("NSE:TCS", TCS)).close()
    stage.sdk_hears()
    assert stage.sdk.subscribe() == (
        "Exception while subscribing to feeds Could not authenticate credentials. "
        "Please check token and keys"
    )
    stage.sdk.hang_up()
    stage.sdk.listen()
    stage.sdk_hears()


@row(
    "close",
    sdk="as `drop`",
    lab="as `drop`; the state's reason says `received 1001 (going away)`",
)
def test_a_websocket_close_comes_back(stage):
    """A close frame is no goodbye for ever."""
    stage.listen()
    fault = stage.begin("close")
    stage.silent()

    def reasons_told():
        return [e.error for e in list(stage.heard.events) if isinstance(e, FeedState) and e.error]

    reasons = until(reasons_told, "the reason")
    stage.lab_hears()
    assert "1001 (going away)" in reasons[0]
    stage.sdk_hears()
    stage.ended(fault, "done")


def final(stage, words):
    stage.listen(whole=True)
    fault = stage.begin(words)
    stage.silent()
    gone = time.monotonic()
    until(stage.marked, "the mark")
    stage.lab_hears()
    until(lambda: time.monotonic() - gone > 1.8, "the time in which the SDK would come back")
    assert not stage.sdk.connected
    assert stage.sdk.subscribe() == (
        "Exception while subscribing to feeds Failed to connect to live stream"
    )
    stage.ended(fault, "done")


@row(
    "engineio-close",
    sdk="final: it never reconnects, and `subscribe_feeds` answers `Failed to connect to live "
    "stream`",
    lab="as `drop`",
)
def test_an_engine_io_close_is_final_for_the_sdk(stage):
    """Breeze Lab comes back, the SDK does not."""
    final(stage, "engineio-close")


@row("disconnect", sdk="final, as `engineio-close`", lab="as `drop`")
def test_a_socket_io_disconnect_is_final_for_the_sdk(stage):
    """Breeze Lab comes back, the SDK does not."""
    final(stage, "disconnect")


@row(
    "down 2s",
    sdk="as `drop 2s`; a new `ws_connect` raises `Failed to connect to live stream`",
    lab="state `connecting` with `ConnectionRefusedError`, then as `drop`",
)
def test_servers_that_are_down_refuse_connections(stage):
    """Nobody listens, and everything is back on the same ports afterwards."""
    stage.listen()
    fault = stage.begin("down 60s")
    stage.silent()
    until(lambda: "ConnectionRefused" in stage.lab.feed.state.error, "the refusal")
    stage.sdk.hang_up()
    with pytest.raises(Exception, match="Failed to connect to live stream"):
        stage.sdk.breeze.ws_connect()
    stage.control.clear()
    stage.ended(fault, "cleared")
    stage.sdk.hang_up()
    stage.sdk.listen()
    stage.sdk_hears()
    stage.lab_hears()


@row(
    "halfopen 5s",
    sdk="nothing comes and nothing is said: it calls itself connected for up to 45 s",
    lab="silent for about four seconds, then state `connecting` (`no answer to a ping`), back when "
    "it is over; a shorter one is not noticed",
)
def test_a_half_open_stream_is_noticed_by_breeze_lab_only(stage):
    """The SDK believes in it; our pings are not answered."""
    stage.listen(whole=True)
    fault = stage.begin("halfopen 60s")
    until(lambda: fault.left_s < 59.6, "the end of what was sent before")
    heard, seen = len(stage.heard.ticks), len(stage.sdk.seen)
    until(lambda: stage.lab.feed.state.state == "connecting", "the suspicion")
    assert "no answer to a ping" in stage.lab.feed.state.error
    assert stage.sdk.connected
    assert (len(stage.heard.ticks), len(stage.sdk.seen)) == (heard, seen), "frames came through"
    stage.control.clear()
    stage.ended(fault, "cleared")
    stage.lab_hears()
    until(stage.marked, "the mark")
    stage.sdk_hears()


@row(
    "refuse 2s",
    sdk="`ws_connect` raises `Failed to connect to live stream`; who is connected stays so",
    lab="`LoginError`: the stream refused the login; state `refused` until you log in again",
)
def test_a_refused_stream_is_an_error_on_both_sides(stage):
    """CONNECT_ERROR is a word of the broker: nobody insists."""
    fault = stage.begin("refuse 60s")
    with pytest.raises(Exception, match="Failed to connect to live stream"):
        stage.sdk.listen()
    stage.login()
    stage.lab = Lab(stage.record)
    with pytest.raises(errors.LoginError, match="rejected by server"):
        stage.lab.listen()
    assert stage.lab.feed.state.state == "refused"
    stage.control.clear()
    stage.ended(fault, "cleared")
    stage.sdk.hang_up()
    stage.listen()


@row(
    "slow 1s 3s",
    sdk="everything is late by as much, and nothing says so",
    lab="the same; ticks carry the exchange's time and the time they came",
)
def test_late_frames_and_answers_are_late(stage):
    """Calls take a second longer; ticks are a second old when they come."""
    stage.listen()
    fault = stage.begin("slow 1s 60s")
    begun = time.monotonic()
    assert stage.sdk.quote()["Status"] == 200
    assert 1.0 <= time.monotonic() - begun < within(2.0)

    def late():
        return [
            one
            for one in stage.heard.ticks
            if one.received.timestamp() - one.tick.exchange_time.timestamp() > 1.0
        ]

    until(lambda: len(late()) > 3, "late ticks")
    assert stage.states == []
    stage.control.clear()
    stage.ended(fault, "cleared")

    def soon():
        begun = time.monotonic()
        stage.quote()
        return time.monotonic() - begun < 0.9

    until(soon, "an answer that is not late")


@row(
    "garbage 100% 2s",
    sdk="exceptions in threads nobody watches, ticks lost; a frame that is too long reaches "
    "`on_ticks` without volume and time",
    lab="skipped and counted: `malformed` in the feed's status; the stream goes on",
)
def test_malformed_frames_are_counted_and_hurt_nobody(stage):
    """The five ways of garbage; both streams survive them."""
    stage.listen()
    before = stage.lab.feed.status()["malformed"]
    fault = stage.begin("garbage 100% 60s")
    until(lambda: stage.lab.feed.status()["malformed"] > before + 5, "the count")
    until(lambda: len(stage.sdk_deaths) > 5, "dead threads of the SDK")
    odd = until(lambda: [t for t in list(stage.sdk.seen) if "ltt" not in t], "a long frame")
    assert "ttq" not in odd[0]
    assert odd[0]["symbol"] == RELIND
    stage.control.clear()
    stage.ended(fault, "cleared")
    assert stage.states == []
    stage.sdk_hears()
    stage.lab_hears()


@row("dup 1s", sdk="every tick twice", lab="every tick twice, numbered apart; bars stay right")
def test_repeated_frames_come_twice(stage):
    """The same trade twice changes no volume."""
    stage.listen()
    fault = stage.begin("dup 60s")

    def twice(volumes):
        return any(a == b for a, b in pairwise(volumes))

    until(lambda: twice([t.tick.volume for t in stage.heard.ticks]), "a repeated tick")
    until(lambda: len({t["ttq"] for t in list(stage.sdk.seen)}) < len(stage.sdk.seen), "the SDK's")
    stage.control.clear()
    stage.ended(fault, "cleared")
    assert stage.states == []
    sequences = [tick.sequence for tick in stage.heard.ticks]
    assert sequences == sorted(set(sequences))

    def closed():
        return [e.bar for e in stage.heard.events if isinstance(e, FeedBar) and not e.forming]

    bars = until(closed, "a bar that is over")
    traded = stage.heard.ticks[-1].tick.volume - stage.heard.ticks[0].tick.volume
    assert sum(bar.volume for bar in bars) <= traded + bars[0].volume


@row(
    "reorder 2s",
    sdk="ticks in the wrong order, as its threads deliver them now and then anyway",
    lab="ticks as they came: `volume` can step back; nothing says so",
)
def test_swapped_frames_come_in_the_wrong_order(stage):
    """The day's volume steps back where frames changed places, and nothing is lost."""
    stage.listen()
    fault = stage.begin("reorder 60s")

    def steps_back(volumes):
        return any(b < a for a, b in pairwise(volumes))

    until(lambda: steps_back([t.tick.volume for t in stage.heard.ticks]), "a step back")
    until(lambda: steps_back([t["ttq"] for t in list(stage.sdk.seen)]), "the SDK's")
    stage.control.clear()
    stage.ended(fault, "cleared")
    volumes = [t.tick.volume for t in stage.heard.ticks]
    assert len(set(volumes)) == len(volumes)
    assert stage.states == []


@row(
    "gap 3s RELIND",
    sdk="that instrument is silent; nothing says so",
    lab="the age of its last tick grows; so short a silence cannot be told from a quiet market. One of "
    "6 s or more while others tick is told as a gap, and its bars are marked",
)
def test_a_gap_silences_one_instrument_and_history_knows(stage):
    """RELIND is silent, TCS goes on, and the lost second is in the history."""
    stage.listen(RELIND, TCS, whole=True)
    tcs = Heard(stage.lab.feed.subscribe(Share("NSE:TCS", TCS)))
    until(lambda: tcs.ticks, "a tick of TCS")
    fault = stage.begin("gap 3s RELIND")
    until(lambda: fault.left_s < 2.5, "the end of what was sent before")
    heard, seen = len(stage.heard.ticks), len(stage.sdk.seen)
    others = len(tcs.ticks)
    until(lambda: fault.left_s < 1.0, "most of the gap")
    assert len(stage.heard.ticks) == heard
    assert len(tcs.ticks) > others
    assert {tick["symbol"] for tick in stage.sdk.seen[seen:]} == {TCS}
    instruments = {i["key"]: i for i in stage.lab.feed.status()["instruments"]}
    age_ms = time.time() * 1000 - instruments["NSE:RELIANCE"]["last_ms"]
    assert age_ms > 1400
    quiet = stage.heard.ticks[-1].received
    stage.ended(fault)
    stage.lab_hears()
    assert not stage.marked()
    frame = breeze_lab.history("RELIANCE", "1s", quiet.replace(microsecond=0))
    assert frame.volume.iloc[1:3].sum() > 0, "the trades of the gap"
    tcs.close()


@row(
    "expire",
    sdk="calls answer `Invalid Checksum`; streams are cut and refused, a new `ws_connect` raises "
    "`Failed to connect to live stream`",
    lab="`SessionExpired`, and the session counts as ended; state `refused`; "
    "`%breeze_login practice` heals it",
)
def test_an_expired_session_is_renewed_at_the_login_page(stage):
    """What was signed before is refused; a new login works at once."""
    stage.listen()
    fault = stage.begin("expire")
    assert stage.sdk.quote() == {"Status": 5, "Error": "Authentication Fail :: Invalid Checksum."}
    with pytest.raises(errors.SessionExpired, match="no longer accepts"):
        stage.quote()
    with pytest.raises(errors.SessionExpired, match="The session ended at"):
        stage.quote()
    until(lambda: stage.lab.feed.state.state == "refused", "the refusal")
    stage.sdk.hang_up()
    with pytest.raises(Exception, match="Failed to connect to live stream"):
        stage.sdk.breeze.ws_connect()
    anew = stage.login()
    stage.quote()
    who = anew.identity
    stage.lab.feed.login(anew.endpoints, who.user_id, who.session_key, who.name, anew.until)
    stage.lab_hears()
    stage.sdk.hang_up()
    stage.sdk.login(session.page_session(stage.record["login_url"]))
    stage.sdk.listen()
    stage.sdk_hears()
    stage.ended(fault, "done")


# -- calls ----------------------------------------------------------------


def test_good_weather_first(calls):
    """Without a fault both get a quote: what follows is the fault's doing."""
    assert calls.sdk.quote()["Status"] == 200
    assert calls.quote().last > 0


def heals(stage, fault, why="cleared"):
    """The fault ends, when nobody clears it by itself, and both work again."""
    if why == "cleared":  # what must happen meanwhile needs its time on a busy machine
        stage.control.clear()
    stage.ended(fault, why)
    assert stage.sdk.quote()["Status"] == 200
    assert stage.quote().last > 0


@row(
    "limit",
    sdk='`{"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"}`: no '
    "`Success` key; a login raises `Unable to retrieve customer details at the moment`",
    lab="`RateLimited`: the calls per minute are used up; at the login too",
)
def test_a_used_up_minute_is_said(calls):
    """The recorded body on one side, a type on the other."""
    fault = calls.begin("limit 60s")
    said = {"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"}
    assert calls.sdk.quote() == said
    with pytest.raises(errors.RateLimited, match="per minute are used up"):
        calls.quote()
    with pytest.raises(Exception, match="Unable to retrieve customer details at the moment"):
        calls.sdk.login("12345678")
    with pytest.raises(errors.RateLimited, match="per minute"):
        calls.login()
    heals(calls, fault)


@row(
    "limit day",
    sdk='`{"Status": 5, "Error": "Limit exceed: API call per day: "}`, the trailing space included',
    lab="`RateLimited`: it counts anew tomorrow",
)
def test_a_used_up_day_is_said(calls):
    """As the minute, with other words."""
    fault = calls.begin("limit day 60s")
    assert calls.sdk.quote() == {"Status": 5, "Error": "Limit exceed: API call per day: "}
    with pytest.raises(errors.RateLimited, match="counts anew tomorrow"):
        calls.quote()
    heals(calls, fault)


@row(
    "outage",
    sdk="by turns `Error while calling service, Please contact admin (T2:155)` and a bare "
    "`Exception: Error in get_quotes(): Expecting value…`; cancelling an order meets an HTML 404",
    lab="by turns `RequestError` with the broker's words and `BadResponse` with the HTTP status",
)
def test_back_end_trouble_has_several_faces(calls):
    """An envelope, then web pages; PUT and DELETE find nothing."""
    fault = calls.begin("outage 60s")
    trouble = "Error while calling service, Please contact admin (T2:155)"
    assert calls.sdk.quote() == {"Success": None, "Status": 500, "Error": trouble}
    assert str(calls.sdk.quote()) == NOT_JSON
    assert str(calls.sdk.quote()) == NOT_JSON
    with pytest.raises(errors.RequestError, match="T2:155"):
        calls.quote()
    for status in (502, 503):
        with pytest.raises(errors.BadResponse, match=f"HTTP {status} without JSON"):
            calls.quote()
    with pytest.raises(Exception, match=r"Error in cancel_order\(\): Expecting value"):
        calls.sdk.breeze.cancel_order("NSE", "20261124N100000001")
    heals(calls, fault)


@row(
    "throttle",
    sdk="`Exception: Error in get_quotes(): Expecting value: line 1 column 1 (char 0)`; a login "
    "raises `Invalid JSON format in API response`",
    lab="`RateLimited`: throttled, HTTP 429",
)
def test_the_cdns_page_is_a_rate_limit(calls):
    """HTML with status 429."""
    fault = calls.begin("throttle 60s")
    assert str(calls.sdk.quote()) == NOT_JSON
    with pytest.raises(errors.RateLimited, match="429"):
        calls.quote()
    with pytest.raises(Exception, match="Invalid JSON format in API response"):
        calls.sdk.login("12345678")
    with pytest.raises(errors.RateLimited, match="429"):
        calls.login()
    heals(calls, fault)


@row(
    "html",
    sdk="calls as `throttle`; the login works",
    lab="`BadResponse`: HTTP 200 without JSON; the login works",
)
def test_a_web_page_is_no_answer(calls):
    """Status 200 does not make it one."""
    fault = calls.begin("html 60s")
    assert str(calls.sdk.quote()) == NOT_JSON
    with pytest.raises(errors.BadResponse, match="HTTP 200 without JSON"):
        calls.quote()
    calls.login()
    heals(calls, fault)


@row(
    "maintenance",
    sdk="as `throttle`, the login included",
    lab="`BadResponse`: HTTP 503 without JSON; `%breeze_login practice` names the fault",
)
def test_maintenance_shuts_the_login_too(calls):
    """Everything is a web page."""
    now = session.current()
    fault = calls.begin("maintenance 60s")
    assert str(calls.sdk.quote()) == NOT_JSON
    with pytest.raises(errors.BadResponse, match="HTTP 503 without JSON"):
        calls.quote()
    with pytest.raises(Exception, match="Invalid JSON format in API response"):
        calls.sdk.login("12345678")
    with pytest.raises(errors.BadResponse, match="HTTP 503 without JSON"):
        calls.lab_login(now.keys.api_session)
    with pytest.raises(errors.BadResponse, match="%breeze_practice clear"):
        calls.login()
    heals(calls, fault)


@row(
    "timeout",
    sdk="hangs as long as it lasts, for it knows no timeout; then `Exception: Error in "
    "get_quotes(): …('Connection aborted.'…)`",
    lab="`RequestError` after 30 s: did not answer",
)
def test_a_call_without_an_answer_hangs_the_sdk(calls):
    """Breeze Lab gives up, here after a fifth of a second; the SDK does not."""
    fault = calls.begin("timeout 3s")
    calls_timeout = session.current().client._sdk.requests
    assert calls_timeout._timeout_s == 30
    calls_timeout._timeout_s = 0.2
    with pytest.raises(errors.RequestError, match=r"did not answer within 0\.2 s"):
        calls.quote()
    begun = time.monotonic()
    left = fault.left_s
    assert "Connection aborted" in str(calls.sdk.quote())
    assert left - 0.3 <= time.monotonic() - begun < left + within(0.3)
    calls_timeout._timeout_s = 30
    heals(calls, fault, "time is up")


@row(
    "call-reset",
    sdk="`Exception: Error in get_quotes(): …('Connection aborted.'…)`",
    lab="`RequestError`: could not be reached",
)
def test_a_reset_call_is_an_error(calls):
    """TCP RST instead of an answer."""
    fault = calls.begin("call-reset 60s")
    assert "Connection aborted" in str(calls.sdk.quote())
    with pytest.raises(errors.RequestError, match="could not be reached"):
        calls.quote()
    heals(calls, fault)


@row(
    "badjson",
    sdk="`Exception: Error in get_quotes(): Unterminated string…`",
    lab="`BadResponse`: HTTP 200 without JSON",
)
def test_half_an_answer_is_none(calls):
    """JSON cut in the middle."""
    fault = calls.begin("badjson 60s")
    said = calls.sdk.quote()
    assert isinstance(said, Exception)
    assert str(said).startswith("Error in get_quotes(): ")
    with pytest.raises(errors.BadResponse, match="without JSON"):
        calls.quote()
    heals(calls, fault)


# -- the security master ------------------------------------------------------


def bad_master(stage, words, said):
    """The SDK's dictionaries are empty; Breeze Lab keeps the master it has, or says no."""
    fault = stage.begin(f"{words} 60s")
    page = session.page_session(stage.record["login_url"])
    stage.sdk.login(page)
    assert stage.sdk.said.startswith(f"Error loading SecurityMaster.zip: {said}")
    assert not any(stage.sdk.breeze.stock_script_dict_list)
    stage.sdk.breeze.ws_connect()
    subscribed = stage.sdk.breeze.subscribe_feeds(
        exchange_code="NSE", stock_code="RELIND", product_type="cash",
        get_exchange_quotes=True, get_market_depth=False,
    )  # fmt: skip
    assert subscribed == {"message": "Stock RELIND subscribed successfully"}
    assert stage.sdk.breeze.sio_rate_refresh_handler.tokenlist == {"4.1!False"}
    with pytest.warns(UserWarning, match="could not be had"):
        now = stage.login()
    assert now.resolve("RELIANCE").stock_code == "RELIND"
    now.master_path.unlink()
    with pytest.raises(
        errors.BreezeLabError, match=r"There is no security master: .*(no security master|HTTP 404)"
    ):
        stage.login()
    stage.control.clear()
    stage.ended(fault, "cleared")
    stage.sdk.login(page)
    assert stage.sdk.breeze.stock_script_dict_list[1]["RELIND"] == "2885"
    assert stage.login().resolve("RELIANCE").stock_code == "RELIND"


LAB_MASTER = "a warning, and the last good master is used; without one `MasterError`"


@row(
    "master-truncated",
    sdk="prints `Error loading SecurityMaster.zip: File is not a zip file`, logs in, and finds no "
    "name: `subscribe_feeds` reports success and joins `4.1!False`",
    lab=LAB_MASTER,
)
def test_a_cut_master_is_not_taken_for_one(calls):
    """The SDK goes on without names; Breeze Lab keeps its own."""
    bad_master(calls, "master-truncated", "File is not a zip file")


@row(
    "master-missing",
    sdk="the same with `HTTP Error 404: Not Found`",
    lab=LAB_MASTER,
)
def test_a_missing_master_is_replaced_by_the_last_one(calls):
    """The SDK goes on without names; Breeze Lab keeps its own."""
    bad_master(calls, "master-missing", "HTTP Error 404: Not Found")


@row(
    "master-html",
    sdk="as `master-truncated`",
    lab=LAB_MASTER,
)
def test_a_web_page_is_no_master(calls):
    """The SDK goes on without names; Breeze Lab keeps its own."""
    bad_master(calls, "master-html", "File is not a zip file")


@row(
    "master-short",
    sdk="says nothing and finds no name of NSE: joins `4.1!False`",
    lab="a warning, and the last good master is used; without one a warning that NSE is missing",
)
def test_a_master_without_nse_is_noticed(calls):
    """The member of NSE is missing, the others are there."""
    fault = calls.begin("master-short 60s")
    page = session.page_session(calls.record["login_url"])
    calls.sdk.login(page)
    assert calls.sdk.said == ""
    assert "RELIND" not in calls.sdk.breeze.stock_script_dict_list[1]
    assert calls.sdk.breeze.stock_script_dict_list[0]["RELIND"]
    with pytest.warns(UserWarning, match="lacks NSEScripMaster"):
        now = calls.login()
    assert now.resolve("RELIANCE").key == "NSE:RELIANCE"
    now.master_path.unlink()
    with pytest.warns(UserWarning, match="names of NSE will not be found"):
        assert calls.login().resolve("RELIANCE").exchange == "BSE"
    calls.control.clear()
    calls.ended(fault, "cleared")
    calls.sdk.login(page)
    assert calls.sdk.breeze.stock_script_dict_list[1]["RELIND"] == "2885"
    assert calls.login().resolve("RELIANCE").key == "NSE:RELIANCE"


@row(
    "master-stale",
    sdk="says nothing; contracts listed today are missing",
    lab="says nothing: before half past seven yesterday's is the right one",
)
def test_yesterdays_master_looks_like_todays(calls):
    """Only the date inside the zip tells."""
    today = zipfile.ZipFile(session.current().master_path).infolist()[0].date_time
    fault = calls.begin("master-stale 60s")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # On the day after an expiry it has fewer contracts, and that is said.
        warnings.filterwarnings("ignore", ".* fewer than the one before")
        now = calls.login()
    found = zipfile.ZipFile(now.master_path).infolist()[0].date_time
    assert found < today
    calls.sdk.login(session.page_session(calls.record["login_url"]))
    assert calls.sdk.said == ""
    calls.control.clear()
    calls.ended(fault, "cleared")
    again = zipfile.ZipFile(calls.login().master_path).infolist()[0].date_time
    assert again == today


# -- the table --------------------------------------------------------------


def test_every_fault_has_a_row_and_every_row_is_documented():
    """A fault without a row, a row without a test or an outdated document fails here."""
    assert {one.type.split()[0] for one in ROWS.values()} == set(KINDS)
    here = sys.modules[__name__]
    assert all(callable(getattr(here, name, None)) for name in ROWS)
    text = DOCUMENT.read_text()
    assert table() in text, f"run python {Path(__file__).name}"


def test_ticks_are_what_we_compare():
    """The observers count ticks, not states: a guard for the helpers above."""
    tick = FeedTick("NSE:RELIANCE", 1, 1, 0, None)
    heard = Heard.__new__(Heard)
    heard.events = [FeedState("connected"), tick]
    assert heard.ticks == [tick]


if __name__ == "__main__":
    head, _, rest = DOCUMENT.read_text().partition(HEAD)
    _, _, tail = rest.partition("\n\n")
    DOCUMENT.write_text(f"{head}{table()}\n{tail}")
