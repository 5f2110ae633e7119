"""A viewer's messages change nothing; the same messages do at a plain ``panel serve``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hostile_viewer import Attacker, get, models, panel_server
from share_viewer import Person, book, serving
from waiting import until

import breeze_lab

pytestmark = pytest.mark.timeout(600)

#: Messages of the attack; the long form is the promise of docs/sharing.md.
COUNT = int(os.environ.get("BREEZE_LAB_HOSTILE", "120"))
HERE = Path(__file__).parent


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_plain_panel_serve_runs_what_a_viewer_sends(tmp_path):
    """The planted fault: the attack finds a server that lets its viewers in."""
    notes = tmp_path / "notes"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "panel", "serve", str(HERE / "shared_app.py"), "--port=0",
            "--address=127.0.0.1", "--allow-websocket-origin=*",
        ],
        env={**os.environ, "SHARED_APP_NOTES": str(notes)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        attacker = Attacker.of_panel(panel_server(process))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        words = next(m["id"] for m in attacker.found if m["name"].endswith("TextInput"))
        attacker.change(words, "value", "owned")
        until(lambda: lines(notes) == ["text owned"], "the callback of a changed text")
        # The document is another one, as a second look over the same session shows.
        now = {model["id"]: model for model in models(attacker.pulled())}
        assert now[words]["attributes"]["value"] == "owned"
        assert attacker.strike(40) > 0
        until(lambda: any(line.startswith("slider") for line in lines(notes)), "more callbacks")
        with contextlib.suppress(OSError):
            attacker.close()
    finally:
        process.kill()
        process.wait(30)
        process.stderr.close()


def test_a_share_link_runs_nothing_of_what_a_viewer_sends(home, tmp_path, monkeypatch):
    """0 callbacks, 0 changes: in the owner's object, in the link, and for the next viewer."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("SHARED_APP_NOTES", str(notes))
    import shared_app

    board, slider = shared_app.board()
    with serving():
        link = breeze_lab.share(board)
        before = get(link.url).partition('id="bl-target">')[2].partition("</script>")[0]
        with book() as kept:
            signed = kept.check(link.token)
            attacker = Attacker.of_link(link.url)
            sent = attacker.strike(COUNT)
            assert sent == COUNT
            assert attacker.heard() == []
            # The socket lives on: dropping is not refusing, and the end of the link still comes.
            assert lines(notes) == []
            assert (slider.value, board[2].value, board[3].clicks) == (3, "hold", 0)
            after = get(link.url).partition('id="bl-target">')[2].partition("</script>")[0]
            assert after == before
            found = kept.check(link.token)
            assert (found.promise(), found.frozen) == (signed.promise(), signed.frozen)
            link.revoke()
            until(lambda: closed(attacker), "the end of the attacker's socket")
        attacker.close()
    # Had anybody run a callback, it would have been seen: this is one.
    slider.value = 4
    assert lines(notes) == ["slider 4"]


def closed(attacker: Attacker) -> bool:
    attacker.heard(0.1)
    return attacker.socket.close_code == 4404


def test_a_message_that_is_too_long_ends_the_socket_and_nothing_else(home):
    """Megabytes are not read for the sake of dropping them; others look on."""
    from share_viewer import document

    with serving() as record, book() as kept:
        token, _ = kept.add(document(), "7d")
        where = Person(record).socket_address(token)
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        with (
            connect(where, origin="null", open_timeout=60) as rude,
            connect(where, origin="null", open_timeout=60) as calm,
        ):
            rude.send("x" * 1_000_000)
            with pytest.raises(ConnectionClosed):
                rude.recv(timeout=60)
            assert calm.ping().wait(60)
