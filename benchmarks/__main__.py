"""The command: ``python -m benchmarks NAME [--quick]``."""

from __future__ import annotations

import argparse
import importlib

BENCHMARKS = ("history", "indicators", "names", "practice", "relay", "startup")


def main() -> None:
    """Run the named benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under 50 s")
    options = parser.parse_args()
    importlib.import_module(f"benchmarks.{options.name}").run(quick=options.quick)


if __name__ == "__main__":
    main()
