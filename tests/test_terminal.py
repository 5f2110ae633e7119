"""``breeze-lab login`` in a real terminal: keys unseen, the redirect or a paste, Ctrl-C, logout."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from browser_by_hand import Browser
from waiting import until

from breeze_lab import accounts, cli, processes, session, settings, vault

COMMAND = [sys.executable, "-c", "import sys; from breeze_lab.cli import main; sys.exit(main())"]

#: The same, with the pseudo-terminal as its own: Ctrl-C and unseen typing need one.
IN_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {COMMAND[2]}"


class Terminal:
    """A command in a pseudo-terminal: what a person sees, and types."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.seen = ""
        master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *words], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            # A browser that only writes down which address it was given.
            env={**os.environ, "BROWSER": "true %s", **environment},
        )  # fmt: skip
        os.close(slave)
        self._master = master

    def _read(self, timeout_s: float) -> None:
        if select.select([self._master], [], [], timeout_s)[0]:
            try:
                self.seen += os.read(self._master, 65_536).decode(errors="replace")
            except OSError:  # its other end is closed
                time.sleep(0.02)

    def expect(self, text: str, timeout_s: float = 30.0) -> str:
        """Wait until `text` is on the screen."""
        deadline = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self._read(0.1)
        return self.seen

    def type(self, text: str) -> None:
        """Type a line, once whatever was asked has had time to hide it."""
        time.sleep(0.15)
        os.write(self._master, f"{text}\n".encode())

    def ctrl_c(self) -> None:
        time.sleep(0.15)
        os.write(self._master, b"\x03")

    def end(self, timeout_s: float = 30.0) -> int:
        """Return its exit status; read what it says until then."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            self._read(0.1)
        self._read(0.1)
        os.close(self._master)
        return self.process.returncode


@pytest.fixture
def record(home):
    """A practice market of this home."""
    yield session.start_practice()
    session.logout()
    found = processes.running(settings.folders().runtime, "practice")
    if found is not None:
        os.kill(found["pid"], signal.SIGTERM)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def redirect():
    return f"http://127.0.0.1:{free_port()}/breeze-lab/callback"


def unseen(terminal, record):
    """Assert that no secret is on the screen or among the process's arguments."""
    secrets = [record["app_key"], record["secret"], session.page_session(record["login_url"])]
    if accounts.facts() is not None:
        secrets.append(accounts.keys().session_key)
    assert not [secret for secret in secrets if secret in terminal.seen]


def arrive(terminal, record):
    """Do what a browser does with the start address; return the last page and the addresses."""
    terminal.type("show")
    terminal.expect("On another one")
    start = re.search(r"http://127\.0\.0\.1:\d+/start/\S+", terminal.seen)[0]
    browser = Browser()
    page = browser.send("GET", start).location
    pressed = browser.send(
        "POST", page, {"redirect": parse_qs(urlsplit(page).query)["redirect"][0]}, cross_site=True
    )
    if pressed.status == 302:
        back = browser.send("GET", pressed.location, cross_site=True)
    else:
        target = re.search(r'action="([^"]+)"', pressed.text)[1]
        token = re.search(r'name="API_Session" value="(\w+)"', pressed.text)[1]
        origin = "/".join(record["login_url"].split("/")[:3])
        back = browser.send("POST", target, {"API_Session": token}, cross_site=True, Origin=origin)
    assert back.status == 303, back.text
    assert "session" not in back.location.lower()
    return browser.send("GET", back.location, cross_site=True), browser


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_first_login_with_the_redirect(record, redirect, method):
    """Two keys unseen, the page, the redirect by GET or POST; then everybody is in."""
    from breeze_lab.practice import control

    control.connect().redirect(method=method)
    terminal = Terminal("login", "rehearse", "--redirect", redirect)
    terminal.expect("App key: ")
    terminal.type(record["app_key"])
    terminal.expect("Secret: ")
    terminal.type(record["secret"])
    terminal.expect(f"I wait for it at {redirect}")
    unseen(terminal, record)
    assert (
        record["app_key"].encode() not in Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes()
    )
    page, browser = arrive(terminal, record)
    assert "PRACTICE MARKET" in page.text
    assert terminal.end() == 0
    assert "Logged in to the practice market, no real money as PRACTICE MARKET" in terminal.seen
    assert accounts.facts().rehearsal
    assert browser.cookies
    assert session.current().call("get_quotes", stock_code="RELIND", exchange_code="NSE")


def test_a_later_login_by_a_paste(record, redirect):
    """The keys are kept; a wrong paste is said, a whole address is right, nothing is shown."""
    accounts.save_credentials("practice", record["app_key"], record["secret"])
    api_session = session.page_session(record["login_url"])
    terminal = Terminal("login", "rehearse", "--redirect", "https://127.0.0.1/")
    terminal.expect("cannot arrive here")
    terminal.type("hello")
    terminal.expect("no api session in it")
    terminal.type("apisession=00000001")
    terminal.expect("Try again, or press Ctrl-C")
    terminal.type(f"https://127.0.0.1/?apisession={api_session}")
    assert terminal.end() == 0
    assert "Notebooks, jobs and the live feed join by themselves" in terminal.seen
    unseen(terminal, record)


def test_the_browser_it_opens_is_not_told_the_key(record, redirect, tmp_path):
    """Arguments of processes can be seen by others: the browser gets an address of ours."""
    accounts.save_credentials("practice", record["app_key"], record["secret"])
    script, told = tmp_path / "browser", tmp_path / "told"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {told}\n')
    script.chmod(0o755)
    terminal = Terminal("login", "rehearse", "--redirect", redirect, BROWSER=f"{script} %s")
    terminal.expect("I wait for it")
    terminal.type("")
    until(lambda: told.exists() and told.read_text(), "the browser")
    assert told.read_text().startswith(redirect.split("/breeze")[0] + "/start/")
    terminal.ctrl_c()
    assert terminal.end() == 130


def test_ctrl_c_stops_cleanly_and_gives_the_terminal_back(record, redirect):
    """No traceback, status 130, nobody logged in, whatever it was waiting for."""
    first = Terminal("login", "rehearse", "--redirect", redirect)
    first.expect("App key: ")
    first.ctrl_c()
    assert first.end() == 130
    accounts.save_credentials("practice", record["app_key"], record["secret"])
    second = Terminal("login", "rehearse", "--redirect", redirect)
    second.expect("I wait for it")
    second.ctrl_c()
    assert second.end() == 130
    for terminal in (first, second):
        assert "Stopped. Nobody was logged in." in terminal.seen
        assert "Traceback" not in terminal.seen
    assert accounts.facts() is None


def test_another_account_is_asked_about(record, redirect):
    """No is no; yes is in."""
    import json

    for answer, status in (("", 1), ("y", 0)):
        keys = {"app_key": record["app_key"], "secret": record["secret"], "user_id": "PR000001"}
        vault.open().set("credentials:practice", json.dumps(keys))
        terminal = Terminal("login", "rehearse", "--redirect", redirect)
        terminal.expect("I wait for it")
        terminal.type(session.page_session(record["login_url"]))
        terminal.expect("Use this one? [y/N]")
        terminal.type(answer)
        assert terminal.end() == status
        assert (accounts.facts() is not None) is (status == 0)


@pytest.mark.parametrize(
    "words", [["AKIA9secret77"], ["rehearse", "12345678"], ["--key", "AKIA9secret77"]]
)
def test_a_secret_on_the_line_is_refused_and_not_repeated(home, words):
    """It is in the shell's history by now: the message says what to do, and not the secret."""
    done = subprocess.run([*COMMAND, "login", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "renew it on the broker's app page now" in done.stderr
    assert words[-1] not in done.stdout + done.stderr


def test_practice_and_logout(record):
    """One word in, one word out; --forget forgets the keys too."""
    done = subprocess.run(
        [*COMMAND, "login", "practice"], capture_output=True, text=True, check=True
    )
    assert "Logged in to the practice market" in done.stdout
    told = subprocess.run([*COMMAND, "status"], capture_output=True, text=True, check=True)
    assert "PRACTICE MARKET" in told.stdout
    assert "good until" in told.stdout
    accounts.save_credentials("icici", "key", "secret")
    done = subprocess.run([*COMMAND, "logout"], capture_output=True, text=True, check=True)
    assert "PRACTICE MARKET is logged out everywhere." in done.stdout
    assert accounts.facts() is None
    assert accounts.credentials() is not None
    done = subprocess.run(
        [*COMMAND, "logout", "--forget"], capture_output=True, text=True, check=True
    )
    assert "The keys are forgotten." in done.stdout
    assert accounts.credentials() is None


def test_a_damaged_vault_is_moved_aside_by_forget(record, home):
    """The way out that every message of a damaged vault names."""
    accounts.save_credentials("icici", "key", "secret")
    path = home / "data" / "vault.json"
    path.write_text("{")
    done = subprocess.run(
        [*COMMAND, "login", "rehearse"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "breeze-lab logout --forget" in done.stderr
    subprocess.run([*COMMAND, "logout", "--forget"], check=True, stdout=subprocess.DEVNULL)
    assert accounts.credentials() is None
    assert [p.read_text() for p in path.parent.glob("vault-aside-*.json")] == ["{"]


# -- forged redirects at the terminal's own door -------------------------------------------


def test_a_forged_redirect_is_refused_here_too(record, redirect):
    """No nonce, a foreign origin, another host, a used ticket, a wrong path: nothing happens."""
    accounts.save_credentials("practice", record["app_key"], record["secret"])
    terminal = Terminal("login", "rehearse", "--redirect", redirect)
    terminal.expect("I wait for it")
    stranger = Browser()
    token = session.page_session(record["login_url"])
    tried = [
        (stranger.send("GET", f"{redirect}?apisession={token}"), 403),
        (stranger.send("POST", redirect, {"apisession": token}, Origin="https://evil.example"), 403),
        (stranger.send("POST", redirect, {"apisession": token}), 403),
        (stranger.send("GET", f"{redirect}?apisession={token}", Host="evil.example"), 403),
        (stranger.send("GET", redirect.replace("callback", "other") + f"?apisession={token}"), 404),
        (stranger.send("GET", redirect.split("/breeze")[0] + "/start/guess"), 404),
        (stranger.send("POST", redirect, "x" * 20_000, Origin="null"), 413),
        (stranger.send("PUT", redirect), 501),
        (stranger.send("GET", f"{redirect}?ticket=guess"), 403),
    ]  # fmt: skip
    assert [answer.status for answer, _ in tried] == [status for _, status in tried]
    held = stranger.send("POST", redirect, {"apisession": token}, Origin="null")
    assert stranger.send("GET", held.location).status == 403, "held, but not this browser's"
    assert accounts.facts() is None
    page, browser = arrive(terminal, record)
    assert "PRACTICE MARKET" in page.text
    assert terminal.end() == 0
    until(lambda: accounts.facts() is not None, "the login")
    assert page.headers["Cache-Control"] == "no-store"
    assert browser.cookies


def test_who_was_on_the_practice_market_is_so_again(record):
    """The next start logs in anew, so that a share link needs no notebook first; not after a logout."""
    runtime = settings.folders().runtime
    try:
        session.login_practice()
        first = accounts.facts()
        assert first.good
        processes.stop(runtime, "practice")
        assert not accounts.look()[0].good
        cli._warm_up()
        now = accounts.facts()
        assert now.good
        assert now.serial != first.serial
        session.logout()
        cli._warm_up()
        assert accounts.facts() is None
    finally:
        processes.stop(runtime, "relay")
