"""A home folder with a relay of its own, and plain ways to look at it from outside."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.request import ProxyHandler, Request, build_opener

import msgspec
from stream_server import TOKEN
from waiting import until
from websockets.sync.client import ClientConnection, unix_connect

from breeze_lab import processes, settings
from breeze_lab.relay import JSON, MSGPACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

_open = build_opener(ProxyHandler({})).open


@dataclass(frozen=True)
class Share:
    """What the feed needs of an instrument."""

    key: str = "NSE:RELIANCE"
    quote_room: str = "4.1!2885"
    anchor_s: int = 33_300


@contextlib.contextmanager
def relay_home(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[settings.Folders]:
    """Give the test a home of its own and end the relay it leaves behind."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(path / "home"))
    folders = settings.folders()
    try:
        yield folders
    except BaseException:
        _kill(folders)  # the failure is what counts, and its relay may hang
        raise
    try:
        processes.stop(folders.runtime, "relay", timeout_s=30)
    except BaseException:
        _kill(folders)
        raise


def _kill(folders: settings.Folders) -> None:
    """End the relay of a home by SIGKILL, and the one somebody started in its place."""
    deadline = time.monotonic() + 30
    while (record := processes.running(folders.runtime, "relay")) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record["pid"], signal.SIGKILL)
        time.sleep(0.01)


@contextlib.contextmanager
def practice_market(*, master: bool = False) -> Iterator[dict[str, Any]]:
    """Run a practice market nobody else is connected to, so that its connections can be counted.

    With `master` its security master is made before anybody asks for it with less patience.
    """
    command = [sys.executable, "-m", "breeze_lab.practice", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            record = json.loads(process.stdout.readline())
            if master:
                with _open(record["master_url"], timeout=120) as answer:
                    answer.read()
            yield record
        finally:
            process.terminate()


def ask(url: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Any:
    """GET `url`, with a JSON body as the broker wants it, and return the JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(
        url, data, {"Content-Type": "application/json", **(headers or {})}, method="GET"
    )
    with _open(request) as answer:
        return json.load(answer)


def practice_login(practice: dict[str, Any]) -> dict[str, Any]:
    """Exchange the practice market's api session for what `Feed.login` wants."""
    body = {"SessionToken": practice["api_session"], "AppKey": practice["app_key"]}
    success = ask(practice["api_url"] + "customerdetails", body)["Success"]
    user, token = base64.b64decode(success["session_token"]).decode().split(":")
    return {
        "endpoints": settings.Endpoints.from_dict(practice, name="practice"),
        "user": user,
        "token": token,
        "account": success["idirect_user_name"],
        "until": "2099-01-01T00:00:00+05:30",
    }


def stream_login(server: Any, **changes: Any) -> dict[str, Any]:
    """Return what `Feed.login` wants for a `StreamServer`."""
    login = {
        "endpoints": server.endpoints, "user": "XY1", "token": TOKEN, "account": "test",
        "until": "2099-01-01T00:00:00+05:30",
    }  # fmt: skip
    return {**login, **changes}


class Client:
    """A consumer of the door without any help from the feed."""

    def __init__(self, folders: settings.Folders, *, text: bool = True, **options: Any) -> None:
        processes.ensure(folders.runtime, "relay", "breeze_lab.relay")
        self.text = text
        connection = unix_connect(
            str(folders.socket("relay")), "ws://relay/", compression=None, close_timeout=0.2,
            subprotocols=[JSON if text else MSGPACK], max_size=None, **options,
        )  # fmt: skip
        # Entered by hand, because this object lives longer than a block.
        self.socket: ClientConnection = connection.__enter__()
        self._ids = itertools.count(1)
        self.welcome = self.read("welcome")

    def raw(self, data: str | bytes) -> None:
        """Send anything."""
        self.socket.send(data)

    def say(self, **message: Any) -> None:
        """Send a message."""
        encoded = (msgspec.json if self.text else msgspec.msgpack).encode(message)
        self.socket.send(encoded, text=self.text)

    def next(self, timeout_s: float = 30.0) -> dict[str, Any]:
        """Return the next message."""
        data = self.socket.recv(timeout_s, decode=False)
        return (msgspec.json if self.text else msgspec.msgpack).decode(data)

    def read(self, *ops: str) -> dict[str, Any]:
        """Return the next message whose op is one of `ops`."""
        while True:
            message = self.next()
            if message["op"] in ops:
                return message

    def ask(self, op: str, **message: Any) -> dict[str, Any]:
        """Send a request and return its answer, skipping what else comes."""
        number = next(self._ids)
        self.say(op=op, id=number, **message)
        while True:
            answer = self.next()
            if answer.get("id") == number:
                return answer

    def login(self, login: dict[str, Any]) -> None:
        """Log in and wait for the stream."""
        endpoints = login["endpoints"].to_dict()
        assert self.ask("login", **{**login, "endpoints": endpoints})["op"] == "ok"
        until(lambda: self.ask("status")["upstream"]["state"] == "connected", "the connection")

    def subscribe(self, *shares: Share, **options: Any) -> dict[str, Any]:
        """Subscribe and return the snapshot."""
        instruments = [{"key": s.key, "room": s.quote_room, "anchor_s": s.anchor_s} for s in shares]
        return self.ask("subscribe", instruments=instruments, **options)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
