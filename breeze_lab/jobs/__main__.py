"""Run the service of jobs: ``python -m breeze_lab.jobs``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

from breeze_lab import __version__, processes, settings
from breeze_lab.jobs.book import Book, folder
from breeze_lab.jobs.service import Service

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, *, shown: bool = False) -> int:
    """Serve until a signal, or until nothing was scheduled for a while.

    Parameters
    ----------
    shown
        Write the log to the terminal, too.
    """
    parser = argparse.ArgumentParser(prog="breeze-lab jobs serve")
    parser.add_argument("--idle-exit", type=float, default=900.0, help="seconds without any job")
    options = parser.parse_args(argv)
    runtime = settings.folders().runtime
    try:
        with processes.claim(runtime, "jobs"):
            home = folder()
            handlers: list[logging.Handler] = [
                RotatingFileHandler(home / "service.log", maxBytes=1024 * 1024, backupCount=2)
            ]
            handlers += [logging.StreamHandler()] if shown else []
            logging.basicConfig(
                level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers
            )
            path = home / "book.sqlite"
            with Book(path) as book:
                service = Service(book, path)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, service.stop)
                processes.publish(runtime, "jobs", {"version": __version__})
                service.serve(options.idle_exit)
    except processes.AlreadyRunning as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - a command's refusal
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
