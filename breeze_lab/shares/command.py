"""``breeze-lab shares``: list, withdraw and serve links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breeze_lab.errors import ShareError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add our verbs and options."""
    parser.add_argument("action", choices=("list", "revoke", "serve"))
    parser.add_argument("name", nargs="?", help="revoke: a link's name, or all")
    parser.add_argument("--ended", action="store_true", help="list: those that ended, too")
    parser.add_argument("--host", default="127.0.0.1", help="serve: address to listen at")
    parser.add_argument("--port", type=int, default=0, help="serve: 0 takes a free one")
    parser.add_argument("--prefix", default="/", help="serve: what the addresses begin with")
    parser.add_argument("--origin", action="append", default=[], help="serve: that may listen")


def run(options: argparse.Namespace) -> int:
    """Do what was asked; return the exit status.

    Raises
    ------
    ShareError
    """
    if options.action == "serve":
        from breeze_lab.shares.__main__ import main

        origins = [f"--origin={one}" for one in options.origin]
        # Nobody would start it again where it has a port of its own.
        return main([f"--host={options.host}", f"--port={options.port}",
                     f"--prefix={options.prefix}", "--idle-exit=0", *origins])  # fmt: skip
    from breeze_lab.shares import face

    if options.action == "list":
        print(face.shares(ended=options.ended))
        return 0
    if not options.name:
        raise ShareError("Which link? breeze-lab shares list, then breeze-lab shares revoke NAME")
    if options.name == "all":
        print(f"{face.revoke_all()} links withdrawn")
        return 0
    link = face.revoke(options.name)
    print(f"{link.name} withdrawn: {link.title}")
    return 0
