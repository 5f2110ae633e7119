"""Alerts of jobs: a real webhook, a real mail server, and what they are not told."""

from __future__ import annotations

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from jobs_home import ask, book, notebook

from breeze_lab.errors import SettingsError
from breeze_lab.jobs import alerts, face


class Hook(BaseHTTPRequestHandler):
    """Answers what the server's list says next, and keeps what it was told."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, json.loads(body)))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        lines = []
        while line := self.rfile.readline().strip():
            lines.append(line.decode())
            if line.upper() == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                letter = []
                while (part := self.rfile.readline()).strip() != b".":
                    letter.append(part.decode())
                self.server.letters.append("".join(letter))
            if line.upper() == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def hook():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.told, server.answers = [], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def mail():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        server.letters = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def failed(home, tmp_path, hook, mail):
    """End a run with a failure whose message has a price in it, alerts set; return book and run."""
    address = f"http://127.0.0.1:{hook.server_port}/T0/secret-of-the-hook?x=1"
    alerts.save("webhook", {"url": address})
    alerts.save(
        "email",
        {"host": "127.0.0.1", "port": mail.server_address[1], "from": "lab@example.test",
         "to": "me@example.test"},
    )  # fmt: skip
    one = face.define(notebook(tmp_path / "night.ipynb", "1"), "2099-01-01 09:00", {})
    with book() as file:
        run = file.start(file.order(one, 1_763_000_000_000, "hand"))
        told = alerts.about(one, run, "failed", "ValueError in cell 2 of 3")
        assert file.end(run, "failed", "ValueError in cell 2 of 3: close 2987.65", alerts=told)
        yield file, run


def test_a_failure_is_told_by_webhook_and_mail_without_values(failed, hook, mail):
    """Job, due time, cell and kind; neither the error's words nor an address."""
    file, _ = failed
    assert alerts.deliver(file) == 2
    assert alerts.deliver(file) == 0
    ((path, body),) = hook.told
    assert path == "/T0/secret-of-the-hook?x=1"
    assert body["text"].startswith("Breeze Lab: night, due ")
    assert body["text"].endswith("failed: ValueError in cell 2 of 3.")
    assert (body["state"], body["problem"]) == ("failed", "ValueError in cell 2 of 3")
    (letter,) = mail.letters
    assert "Subject: Breeze Lab: night" in letter
    for text in (json.dumps(body), letter):
        assert "2987" not in text
        assert "secret-of-the-hook" not in text


def test_a_refused_alert_is_tried_again_and_given_up_in_the_end(failed, hook):
    """An error and a redirect are refusals, each waits longer; after seven it is given up."""
    file, run = failed
    hook.answers[:] = [500, 302, 500, 500, 500, 500, 500]
    for _ in range(9):
        alerts.deliver(file)
        with file.turn() as rows:
            rows.execute("UPDATE alerts SET next = 0 WHERE state = 'due'")
    found = file.ask("SELECT * FROM alerts WHERE run = ? AND channel = 'webhook'", run.id)[0]
    assert (found["state"], found["tries"], found["note"]) == ("given up", 7, "HTTP 500")
    assert {path for path, _ in hook.told} == {"/T0/secret-of-the-hook?x=1"}


def test_a_success_is_told_to_who_wants_it(home, tmp_path, hook):
    """By default only a failure is; a cancelled run is nobody's alert."""
    alerts.save("webhook", {"url": f"http://127.0.0.1:{hook.server_port}/"})
    path = notebook(tmp_path / "n.ipynb", "1")
    with book() as file:
        for alert, wanted in (("failure", 0), ("success", 1), ("both", 1), ("none", 0)):
            one = face.define(path, "2099-01-01 09:00", {}, alert=alert)
            run = file.order(one, 1_000, "hand")
            assert len(alerts.about(one, run, "done", "")) == wanted
            assert len(alerts.about(one, run, "failed", "")) == (alert in ("failure", "both"))
            assert alerts.about(one, run, "cancelled", "") == ()


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.test/x", "https://me:word@hooks.example.test/", "ftp://127.0.0.1/", "x",
     "https://", "http://127.0.0.1.evil.example/", "https://host:port/"],
)  # fmt: skip
def test_an_address_that_would_carry_it_in_clear_is_refused(home, url):
    """https, or this machine; the address is not repeated and not kept."""
    with pytest.raises(SettingsError) as refused:
        alerts.save("webhook", {"url": url})
    assert "word" not in str(refused.value).replace("password", "")
    assert alerts.shown() == []


def test_the_command_shows_hosts_alone_and_forgets(home):
    """The address with its secret is in the vault, and nowhere in what is printed or on disk."""
    alerts.save("webhook", {"url": "https://hooks.example.test/T0/secret-of-the-hook"})
    assert ask("alerts") == "webhook: hooks.example.test\n"
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"secret-of-the-hook" not in kept
    assert "go nowhere" in ask("alerts", "webhook", "--off")
