"""The Hub's service of share links in this process, with a test in the Hub's place.

What a real Hub says of real tokens is in test_browser_hub.py; here a test decides
whose a token is, and whether the Hub says anything at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading

from aiohttp import web

from breeze_lab.shares.deposits import Deposits
from breeze_lab.shares.service import HubSilent, Service

PREFIX = "/services/links/"
ALICE, BOB = "a" * 32, "b" * 32


class Whose:
    """Says whose a token is, as it was told."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {ALICE: "alice", BOB: "bob"}
        self.silent = False

    async def owner(self, token):
        if self.silent:
            raise HubSilent("The Hub cannot say whose server this is. Try again in a minute.")
        return self.tokens.get(token)


class Running:
    """The service, where it listens, and what stands in the Hub's place."""

    def __init__(self, service: Service, whose: Whose, port: int) -> None:
        self.service, self.whose, self.port = service, whose, port
        self.url = f"http://127.0.0.1:{port}{PREFIX.rstrip('/')}"

    def ask(self, method, path, token=None, body=None, **headers):
        """Return status, headers and body."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if token is not None:
            headers["Authorization"] = f"token {token}"
        line.request(method, path, body, headers)
        answer = line.getresponse()
        told = answer.status, answer.headers, answer.read()
        line.close()
        return told

    def door(self, method, below="", token=None, body=None, **headers):
        """Ask the owners' door; return status and JSON."""
        sent = None if body is None else json.dumps(body).encode()
        status, _, said = self.ask(method, f"{PREFIX}api/links{below}", token, sent, **headers)
        return status, json.loads(said)


@contextlib.contextmanager
def running(home, plant=None):
    """Serve a book in `home`; `plant` may add a route to the app before it is served."""
    home.mkdir(mode=0o700, exist_ok=True)
    whose = Whose()
    ready, loop = threading.Event(), asyncio.new_event_loop()
    found = []

    async def serve(book) -> None:
        service = Service(book, whose, PREFIX)
        if plant is not None:
            plant(service.viewer.app)
        runner = web.AppRunner(
            service.viewer.app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        watching = asyncio.create_task(service.viewer.watch())
        stop = asyncio.Event()
        found.extend((service, runner.addresses[0][1], stop))
        ready.set()
        await stop.wait()
        watching.cancel()
        await runner.cleanup()

    def run() -> None:
        try:
            with Deposits(home) as book:
                loop.run_until_complete(serve(book))
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(60)
    service, port, stop = found
    try:
        yield Running(service, whose, port)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
