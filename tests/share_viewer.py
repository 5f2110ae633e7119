"""A viewer's process over a home of its own, and people who ask it by HTTP."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys

from waiting import until

from breeze_lab import processes, settings
from breeze_lab.shares.book import Book, folder
from breeze_lab.shares.links import Target


def document(text="<p>one</p>", **parameters) -> Target:
    """Return a target that stands for a frozen document."""
    return Target(
        kind="document", title="A board", source="a test", data="snapshot",
        parameters={"eval": False, "scripts": ["bokeh.min.js"], **parameters},
        body=b'{"item": {"html": "%s"}}' % text.encode(),
    )  # fmt: skip


@contextlib.contextmanager
def serving(*options: str):
    """A viewer's process of the home that is set; yields its ready record."""
    process = subprocess.Popen(
        [sys.executable, "-m", "breeze_lab.shares", *options], stderr=subprocess.PIPE, text=True
    )
    try:

        def ready():
            assert process.poll() is None, process.stderr.read()
            return processes.running(settings.folders().runtime, "shares")

        yield until(ready, "the viewer's process")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        process.wait(30)
        process.stderr.close()


def book() -> Book:
    return Book(folder())


class Person:
    """Somebody without a login, behind a proxy that says where they are."""

    def __init__(self, record, address="203.0.113.9") -> None:
        self.record, self.address = record, address
        self._line = http.client.HTTPConnection(record["host"], record["port"], timeout=60)

    def ask(self, path, method="GET", **headers):
        """Return status, headers and body."""
        self._line.request(method, path, headers={"X-Forwarded-For": self.address, **headers})
        answer = self._line.getresponse()
        return answer.status, answer.headers, answer.read()

    def socket_address(self, token) -> str:
        return f"ws://{self.record['host']}:{self.record['port']}/s/{token}/feed"

    def close(self) -> None:
        self._line.close()
