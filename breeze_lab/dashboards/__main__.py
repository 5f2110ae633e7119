"""Run the dashboards: ``python -m breeze_lab.dashboards``.

Owns the life of the process: one per user, ready record, end by signal or when
no page has been open for a while.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from breeze_lab import processes, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal, or until nobody has looked for a while; return the exit status."""
    parser = argparse.ArgumentParser(prog="breeze_lab.dashboards", description="The dashboards.")
    parser.add_argument(
        "--idle-exit", type=float, default=1800.0, metavar="SECONDS",
        help="end after this long without an open page; 0 never (default 1800)",
    )  # fmt: skip
    options = parser.parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )  # fmt: skip
    # Every start and end of a page's session, and every request: nobody would read that.
    for name in ("bokeh", "tornado.access", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    folders = settings.folders()
    try:
        with processes.claim(folders.runtime, "dashboards"):
            from breeze_lab.dashboards import server  # noqa: PLC0415 - seconds, and the lock is ours

            server.serve(folders, options.idle_exit)
    except processes.AlreadyRunning:
        logging.getLogger("breeze_lab.dashboards").info("The dashboards run already.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
