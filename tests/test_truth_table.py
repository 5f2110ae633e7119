"""The truth table's widget without a browser: it looks while somebody does, and reads as text."""

from __future__ import annotations

import json

import pytest
from relay_home import Share, relay_home, stream_login
from stream_server import StreamServer, quote
from waiting import until

from breeze_lab import clock, feed, processes
from breeze_lab.feed import client
from breeze_lab.widgets import TruthTable


@pytest.fixture
def home(tmp_path, monkeypatch):
    with relay_home(tmp_path, monkeypatch) as folders:
        yield folders


@pytest.fixture
def table(home):
    found = TruthTable(every_s=0.05)
    yield found
    found.close()
    until(lambda: not found.looking, "the thread's end")
    # Left open, it would start the relay again when the test's home ends it.
    if client._shared is not None:
        client._shared.close()


def say(table, op, view="a"):
    """Let a page say something."""
    table._on_message(table, {"op": op, "view": view}, [])


def test_it_looks_while_a_page_does(table):
    """The first page starts it, the last one ends it; a page that comes back starts it again."""
    assert not table.looking
    say(table, "here", "a")
    say(table, "here", "b")
    until(lambda: "says" in json.loads(table.table), "a table")
    before = table.table
    until(lambda: table.table != before, "the next one")
    say(table, "gone", "a")
    assert table.looking
    say(table, "gone", "b")
    until(lambda: not table.looking, "its end")
    say(table, "here", "c")
    assert table.looking


def test_a_page_that_left_without_a_word_is_forgotten(table, monkeypatch):
    """No sign of life for long enough ends it, too."""
    monkeypatch.setattr("breeze_lab.widgets.truth_table._FORGOTTEN_S", 0.3)
    say(table, "here")
    until(lambda: not table.looking, "its end")


def test_looking_starts_no_relay(table, home):
    """Without one it says so, as text, as HTML and to the page."""
    assert "starts it" in repr(table)
    data, _ = table._repr_mimebundle_()
    assert "starts it" in data["text/plain"]
    assert "starts it" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data
    say(table, "here")
    until(lambda: "says" in json.loads(table.table), "a table")
    assert "starts it" in json.loads(table.table)["says"]["relay"]
    assert processes.running(home.runtime, "relay") is None


def test_it_shows_what_became_of_every_instrument(table, home):
    """Asked, joined, ticks and age come from the relay; this kernel is among the consumers."""
    server = StreamServer()
    other = Share("NSE:TCS", "4.1!11536")
    try:
        own = feed.connect()
        own.login(**stream_login(server))
        with own.subscribe([Share(), other]):
            until(lambda: len(server.rooms) == 2, "the joins")
            say(table, "here")
            server.emit(quote("4.1!2885", 101.0, 10, int(clock.now().timestamp())))

            def ticked():
                found = json.loads(table.table)
                rows = {row["key"]: row for row in found.get("rows", ())}
                return rows.get("NSE:RELIANCE", {}).get("ticks") and (found, rows)

            found, rows = until(ticked, "the tick")
            assert found["mood"] == "live"
            assert (rows["NSE:RELIANCE"]["joined"], rows["NSE:RELIANCE"]["ticks"]) == (True, 1)
            assert rows["NSE:RELIANCE"]["age_s"] < 30
            assert (rows["NSE:TCS"]["mood"], rows["NSE:TCS"]["age_s"]) == ("waiting", None)
            assert "kernel " in found["clients"][0]["name"]
            assert "NSE:TCS" in repr(table)
            assert "NSE:RELIANCE" in table._repr_mimebundle_()[0]["text/html"]
    finally:
        server.close()


def test_a_lost_stream_shows_and_leaves_a_gap(table, home):
    """Off while the broker is away, with the reason; afterwards live again, the gap counted."""
    server = StreamServer()
    try:
        own = feed.connect()
        own.login(**stream_login(server))
        with own.subscribe(Share()):
            until(lambda: server.rooms, "the join")
            say(table, "here")

            def row():
                found = json.loads(table.table)
                return found["rows"][0] if found.get("rows") else {}

            def tick():
                server.emit(quote("4.1!2885", 101.0, 10, int(clock.now().timestamp())))
                return row().get("mood") == "live"

            until(tick, "a tick")
            server.down()
            until(lambda: row()["mood"] == "off", "the loss")
            found = json.loads(table.table)
            assert found["mood"] != "live"
            assert "connecting" in found["says"]["upstream"]
            server.up()
            until(lambda: server.rooms, "the join", 60)
            until(lambda: tick() and row()["gaps"], "ticks and the gap")
            assert "gaps" in json.loads(table.table)["says"]  # at night none of them counts
    finally:
        server.close()
