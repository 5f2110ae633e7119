"""A listener of the kill campaign in a process of its own; writes down what it is told.

``kernel FILE KEY=ROOM…`` is a notebook: a real feed with a callback. ``browser FILE URL COOKIE
KEY=ROOM…`` speaks the door's JSON through the Jupyter server's bridge, or at the door itself when
URL is its path, and takes every row as it comes: what is told twice is written twice. One JSON row a line:
``["tick", key, sequence, source's number, received_ms, epoch, now]``,
``["lost", key, first, last]``, ``["gap", key, from_ms, to_ms]``. Ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from pathlib import Path

from relay_home import Share

SUBPROTOCOL = "breeze-lab.1.json"


def kernel(write, shares):
    from breeze_lab.feed import Feed, FeedTick, Gap, Lost

    def on_event(event):
        if isinstance(event, FeedTick):
            number = event.tick.volume
            write("tick", event.key, event.sequence, number, event.received_ms, event.epoch)
        elif isinstance(event, Lost):
            write("lost", event.key, event.first, event.last)
        elif isinstance(event, Gap) and event.end is not None:
            bounds = (round(moment.timestamp() * 1000) for moment in (event.start, event.end))
            write("gap", event.key, *bounds)

    with Feed() as feed:
        subscription = feed.subscribe(shares, on_event=on_event, timeout_s=60)
        for tick in subscription.snapshot.ticks.values():
            write("start", tick.key, tick.sequence)
        print("ready", flush=True)
        sys.stdin.read()


class Browser:
    """What a page knows: what it heard last, and in which life of the relay."""

    def __init__(self, write, shares):
        self.write, self.shares = write, shares
        self.heard, self.life, self.ready = {}, "", False

    def welcome(self, socket, message):
        instruments = [{"key": s.key, "room": s.quote_room} for s in self.shares]
        request = {"op": "subscribe", "id": 1, "instruments": instruments}
        socket.send(json.dumps({**request, "after": self.heard, "life": self.life}))
        self.life = message["life"]

    def snapshot(self, _, message):
        for key, first, last, _ in message["lost"]:
            self.write("lost", key, first, last)
        if not self.ready:
            self.heard.update(message["sequences"])
            print("ready", flush=True)
            self.ready = True

    def batch(self, _, message):
        for key, first, last, _ in message.get("lost", ()):
            self.write("lost", key, first, last)
        for key, from_ms, to_ms, *_ in message.get("gaps", ()):
            if to_ms is not None:
                self.write("gap", key, from_ms, to_ms)
        for row in message.get("ticks", ()):
            self.heard[row[0]] = row[1]
            self.write("tick", row[0], row[1], row[17], row[4], row[2])


def browser(write, shares, url, cookie):
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect, unix_connect

    page = Browser(write, shares)

    def dial():
        given = {
            "subprotocols": [SUBPROTOCOL], "open_timeout": 10, "close_timeout": 0.2,
            "compression": None, "max_size": None,
        }  # fmt: skip
        if url.startswith("/"):
            return unix_connect(url, "ws://relay/", **given)
        return connect(
            url.replace("http", "ws") + "api/feed", origin=url.partition("/user")[0],
            additional_headers={"Cookie": cookie}, **given,
        )  # fmt: skip

    def forever():
        while True:
            with (
                contextlib.suppress(ConnectionClosed, InvalidStatus, OSError),
                dial() as socket,
            ):
                for text in socket:
                    message = json.loads(text)
                    if message["op"] in ("welcome", "snapshot", "batch"):
                        getattr(page, message["op"])(socket, message)
            time.sleep(0.02)

    threading.Thread(target=forever, daemon=True).start()
    sys.stdin.read()


def main():
    kind, path, *rest = sys.argv[1:]
    given = [] if kind == "kernel" else [rest.pop(0), rest.pop(0)]
    shares = [Share(*pair.split("=")) for pair in rest]
    with Path(path).open("w", buffering=1 << 16) as file:

        def write(*row):
            file.write(json.dumps([*row, time.time()]) + "\n")

        (kernel if kind == "kernel" else browser)(write, shares, *given)


if __name__ == "__main__":
    main()
