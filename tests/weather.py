"""A practice market in bad weather, with the plain SDK and Breeze Lab looking at it side by side."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Any
from urllib.request import ProxyHandler, build_opener

import requests
from relay_home import Share

from breeze_lab import _sdk, session, settings
from breeze_lab.feed import Feed, FeedTick
from breeze_lab.practice.control import Control

if TYPE_CHECKING:
    from pathlib import Path

RELIND = "4.1!2885"
TCS = "4.1!11536"
_open = build_opener(ProxyHandler({})).open


@contextlib.contextmanager
def market(folder: Path, *options: str, errors: IO[str] | None = None):
    """Run a practice market of our own; the value is its ready record, `errors` its stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "breeze_lab.practice", "--json", *options],
        stdout=subprocess.PIPE, stderr=errors, text=True,
        env={**os.environ, "BREEZE_LAB_HOME": str(folder)},
    )  # fmt: skip
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


class PlainSdk:
    """The unmodified SDK with the real ``requests``: no timeouts, no help of ours."""

    def __init__(self, record: dict[str, Any], folder: Path) -> None:
        path = folder / "plain.zip"
        with _open(record["master_url"]) as answer:
            path.write_bytes(answer.read())
        self.record = record
        self.module = _sdk.load(settings.Endpoints.from_dict(record, name="plain"), path)
        self.module.requests = requests
        self.module.config.SECURITY_MASTER_URL = record["master_url"]
        self.breeze = self.module.BreezeConnect(api_key=record["app_key"])
        self.seen: list[Any] = []
        self.said = ""

    def login(self, api_session: str) -> None:
        """Log in; what the SDK prints is in `said`."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.breeze.generate_session(self.record["secret"], api_session)
        self.said = printed.getvalue()

    def listen(self, *rooms: str) -> None:
        """Connect and subscribe."""
        self.seen = []
        self.breeze.on_ticks = self.seen.append
        self.breeze.ws_connect()
        for room in rooms or (RELIND,):
            self.breeze.subscribe_feeds(stock_token=room)

    @property
    def connected(self) -> bool:
        """Whether its quote socket thinks it is."""
        return self.breeze.sio_rate_refresh_handler.sio.connected

    def subscribe(self, room: str = TCS) -> Any:
        """Ask for one more room and return the SDK's words."""
        return self.breeze.subscribe_feeds(stock_token=room)

    def hang_up(self) -> None:
        """Leave nothing behind that would come back."""
        handler = self.breeze.sio_rate_refresh_handler
        if handler is not None:
            handler.sio.reconnection = False
            handler.sio.eio.reconnection = False
            with contextlib.suppress(Exception):
                handler.sio.disconnect()
            with contextlib.suppress(Exception):
                self.breeze.ws_disconnect()
        self.breeze.sio_rate_refresh_handler = None

    def quote(self) -> Any:
        """Ask one quote; return the answer, or the exception."""
        try:
            return self.breeze.get_quotes("RELIND", "NSE", product_type="cash")
        except Exception as exc:  # noqa: BLE001 - the SDK raises bare exceptions
            return exc


class Lab:
    """A logged-in Breeze Lab with a relay of its own."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.endpoints = settings.Endpoints.from_dict(record, name="practice")
        self.feed = Feed(settings.folders())

    def login(self, api_session: str) -> session.Session:
        """Log in over REST; the feed logs in with `listen`."""
        return session.login(
            self.record["app_key"], self.record["secret"], api_session, endpoints=self.endpoints
        )

    def listen(self):
        """Subscribe to RELIND with its second bars."""
        now = session.current()
        who = now.identity
        self.feed.login(self.endpoints, who.user_id, who.session_key, who.name, now.until)
        return self.feed.subscribe(Share(), bars=["1s"])


class Heard:
    """What a subscription told, collected by a thread."""

    def __init__(self, subscription) -> None:
        self.subscription = subscription
        self.events: list[Any] = []
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        for event in self.subscription:
            self.events.append(event)

    @property
    def ticks(self) -> list[FeedTick]:
        """The ticks so far."""
        return [event for event in list(self.events) if isinstance(event, FeedTick)]

    def close(self) -> None:
        """End the subscription and its thread."""
        self.subscription.close()
        self._thread.join(30)


def control_of(record: dict[str, Any]) -> Control:
    """Return the remote control of a market."""
    return Control.of(record)
