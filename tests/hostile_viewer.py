"""A viewer who will not just look: Bokeh's own messages, and worse, into whatever serves a page.

The same attacker for a share link and for ``panel serve``. It reads the ids of
the models from what it was given to look at, and then asks for changes.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
import urllib.request
from html import unescape

from bokeh.protocol import Protocol
from waiting import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def models(value):
    """Yield every model in the JSON of a document."""
    if isinstance(value, dict):
        if value.get("type") == "object" and "id" in value:
            yield value
        for one in value.values():
            yield from models(one)
    elif isinstance(value, list):
        for one in value:
            yield from models(one)


class Attacker:
    """One open websocket of a page, and the document that came with it."""

    def __init__(self, socket: str, origin: str, document=None, token: str = "") -> None:
        self._stack = contextlib.ExitStack()
        self.socket = self._stack.enter_context(connect(
            socket, origin=origin, subprotocols=["bokeh", token or "x" * 20], open_timeout=60,
            max_size=None, close_timeout=1,
        ))  # fmt: skip
        self.document = document or self.pulled()
        self.found = list(models(self.document))

    @classmethod
    def of_link(cls, page: str) -> Attacker:
        """Attack a share link."""
        text = re.search(r'id="bl-target">(.*?)</script>', get(page))[1]
        return cls(page.replace("http", "ws") + "/feed", "null", json.loads(text)["item"]["doc"])

    @classmethod
    def of_panel(cls, page: str) -> Attacker:
        """Attack a page of ``panel serve``."""
        token = re.search(r'"token":"([^"]+)"', unescape(get(page)))[1]
        host = page.split("/")[2]
        return cls(page.replace("http", "ws") + "/ws", f"http://{host}", token=token)

    def pulled(self):
        """Ask for the document as Bokeh's client does; return its JSON."""
        self.send("PULL-DOC-REQ")
        while True:
            header = json.loads(self.socket.recv(timeout=60))
            self.socket.recv(timeout=60)
            content = json.loads(self.socket.recv(timeout=60))
            if header["msgtype"] == "PULL-DOC-REPLY":
                return content["doc"]

    def send(self, kind: str, content=None) -> None:
        """Send one message of Bokeh's protocol, in its three frames."""
        message = Protocol().create("PULL-DOC-REQ")
        header = {**message.header, "msgtype": kind}
        for part in (header, {}, content or {}):
            self.socket.send(json.dumps(part))

    def change(self, model: str, attribute: str, value) -> None:
        self.send("PATCH-DOC", {"events": [{
            "kind": "ModelChanged", "model": {"id": model}, "attr": attribute, "new": value,
        }]})  # fmt: skip

    def strike(self, count: int, seed: int = 1) -> int:
        """Send `count` messages that ask for a change or for trouble; return how many went out."""
        draw = random.Random(seed)
        widgets = [
            one for one in self.found if one["name"].endswith(("Slider", "Button", "TextInput"))
        ]
        assert {one["name"].rpartition(".")[2] for one in widgets} >= {"Slider", "TextInput"}
        sent = 0
        try:
            for i in range(count):
                target = widgets[i % len(widgets)]
                what = i % 8
                if what < 3:
                    value = (
                        f"sell {i}" if target["name"].endswith("TextInput") else draw.randrange(100)
                    )
                    self.change(target["id"], "value", value)
                elif what == 3:
                    self.send("PATCH-DOC", {"events": [{
                        "kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": {
                            "type": "event", "name": "button_click",
                            "values": {"type": "map", "entries": [["model", {"id": target["id"]}]]},
                        },
                    }]})  # fmt: skip
                elif what == 4:
                    self.send("PATCH-DOC", {"events": [{
                        "kind": "TitleChanged", "title": f"owned {i}"}]})  # fmt: skip
                elif what == 5:
                    model = draw.choice(self.found)["id"]
                    self.send("PATCH-DOC", {"events": [{"kind": "RootRemoved", "model": {"id": model}}]}
                              if i > count * 0.9 else {"events": [{"kind": "ColumnsStreamed", "model": {
                                  "id": model}, "attr": "data", "data": {"x": [1]}, "rollover": 1}]})  # fmt: skip
                elif what == 6 and i > count * 0.9:
                    self.send("PUSH-DOC", {"doc": {"roots": [], "title": "mine", "version": "3"}})
                else:
                    junk = draw.choice([
                        "{", "null", "[]", '{"op":"subscribe","id":1}', '{"op":"shutdown","id":1}',
                        draw.randbytes(200), "\x00" * 50, "[" * 5000,
                    ])  # fmt: skip
                    if i > count * 0.9:  # a Bokeh server may end the conversation here
                        self.socket.send(junk)
                    else:
                        self.change(target["id"], "name", f"mine {i}")
                sent += 1
        except ConnectionClosed:
            pass
        return sent

    def heard(self, patience_s: float = 0.5) -> list[str]:
        """Return what came back within a while."""
        found: list[str] = []
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                found.append(str(self.socket.recv(timeout=0.1)))
            except TimeoutError:
                continue
            except ConnectionClosed:
                break
        return found

    def close(self) -> None:
        self._stack.close()


def panel_server(process) -> str:
    """Return the address of a ``panel serve`` that says it on its standard error."""
    lines: list[str] = []

    def said():
        lines.append(process.stderr.readline())
        assert process.poll() is None, "".join(lines)
        found = re.search(r"http://[\w.]+:(\d+)/(\S+)", lines[-1])
        return found and f"http://127.0.0.1:{found[1]}/{found[2]}"

    return until(said, "panel serve", 120)
