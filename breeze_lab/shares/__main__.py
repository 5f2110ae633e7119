"""Run the viewer's server: ``python -m breeze_lab.shares``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Final

from aiohttp import web

from breeze_lab import __version__, processes, settings
from breeze_lab.errors import ShareError
from breeze_lab.shares.book import Book, folder
from breeze_lab.shares.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "serve"]

_LOOK_S: Final = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal, or until nobody has looked for a while; return the exit status."""
    parser = argparse.ArgumentParser(prog="breeze-lab shares serve")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--prefix", default="/", help="what the addresses begin with")
    parser.add_argument("--origin", action="append", default=[], help="of a page that may listen")
    parser.add_argument(
        "--idle-exit", type=float, default=900.0, help="seconds without a viewer; 0: never"
    )
    options = parser.parse_args(argv)
    runtime = settings.folders().runtime
    try:
        with processes.claim(runtime, "shares"):
            home = folder()
            logging.basicConfig(
                level=logging.INFO, format="%(asctime)s %(message)s",
                handlers=[RotatingFileHandler(home / "viewer.log", maxBytes=2**20, backupCount=2)],
            )  # fmt: skip
            with Book(home) as book:
                book.tidy()
                viewer = Viewer(book, options.prefix, options.origin)
                asyncio.run(
                    serve(viewer, options.host, options.port, options.prefix, options.idle_exit)
                )
    except (OSError, ShareError, processes.AlreadyRunning) as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)  # noqa: T201 - a command's refusal
        return 1
    return 0


async def serve(viewer: Viewer, host: str, port: int, prefix: str, idle_s: float = 0.0) -> None:
    """Serve a viewer's app until a signal; the ready record says where.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    prefix
        What the addresses begin with, for the record.
    idle_s
        Seconds without a viewer after which it ends; 0: never.
    """
    # Neither the requests nor their errors are logged: an address is an id.
    runner = web.AppRunner(
        viewer.app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    port = runner.addresses[0][1]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watching = asyncio.create_task(viewer.watch())
    watching.add_done_callback(lambda _: stop.set())
    idling = asyncio.create_task(_idle(viewer, stop, idle_s))
    processes.publish(
        settings.folders().runtime, "shares",
        {"version": __version__, "host": host, "port": port, "prefix": prefix},
    )  # fmt: skip
    try:
        await stop.wait()
    finally:
        for task in (watching, idling):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(watching, idling)
        await runner.cleanup()


async def _idle(viewer: Viewer, stop: asyncio.Event, idle_s: float) -> None:
    """End the process when nobody looked for a while; the next visitor has it started again."""
    idle_since = asyncio.get_running_loop().time()
    while idle_s:
        await asyncio.sleep(min(_LOOK_S, idle_s))
        now = asyncio.get_running_loop().time()
        if viewer.viewers:
            idle_since = now
        elif now - idle_since >= idle_s:
            stop.set()
            return


if __name__ == "__main__":
    sys.exit(main())
