"""Run the tests, and those files that fail a second time, alone: ``python tests/second_look.py ARGS``.

Four test files share two cores, and many of them drive a real browser or wait for
real processes. A file that fails in that company is run again by itself: what is
wrong is wrong again, what was only crowded out is named at the end, so that it can
be mended. Where more than a few files fail there is no second look.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: Failing files beyond which it is no accident.
MOST_FILES = 3
PYTEST = [sys.executable, "-m", "pytest"]
#: Where pytest notes what failed, below the folder it was started in.
NOTED = Path(".pytest_cache/v/cache/lastfailed")


def failed() -> list[str]:
    """Return the names of the tests that failed in the run before."""
    return sorted(json.loads(NOTED.read_text())) if NOTED.exists() else []


def main(arguments: list[str]) -> int:
    """Run pytest with `arguments`; return its status, or that of the second look."""
    NOTED.unlink(missing_ok=True)  # of an earlier run
    status = subprocess.run([*PYTEST, *arguments], check=False).returncode
    names = failed()
    files = list(dict.fromkeys(name.partition("::")[0] for name in names))
    if status != 1 or not 0 < len(files) <= MOST_FILES:
        return status
    print(f"\nA second look, alone, at {', '.join(files)}", flush=True)
    status = subprocess.run([*PYTEST, *files], check=False).returncode
    if status == 0:
        print("Failed beside others and passed alone, which wants mending:")
        print("\n".join(f"  {name}" for name in names))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
