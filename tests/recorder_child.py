"""A recorder to be killed: it records the days below each home folder it is told.

``recorder_child.py FAULT`` reads home folders, a line each, forks a recorder
for it, says its process id and then how it ended. Everything is imported
before, so that a kill meets the work and not Python's start.
"""

from __future__ import annotations

import os
import sys
import time

import pyarrow.parquet

import breeze_lab.relay.naming
from breeze_lab.relay import recorder, stored
from breeze_lab.relay.days import places

assert pyarrow.parquet
assert breeze_lab.relay.naming


def plant(fault: str) -> None:
    """Put a fault into the recorder that the tests must find."""
    if fault == "logs removed before the verification":
        verify = recorder.verify

        def hasty(*arguments):
            for place in places():
                for path in place.logs:
                    path.unlink()
            time.sleep(0.3)  # so that a kill meets it soon
            verify(*arguments)

        recorder.verify = hasty
    elif fault == "a rename without fsync":
        stored._sync = lambda _file: None
    elif fault == "a folder without fsync":
        recorder.downloads.sync_folder = lambda _folder: None
    else:
        assert not fault


def main() -> None:
    plant(sys.argv[1])
    for line in sys.stdin:
        os.environ["BREEZE_LAB_HOME"] = line.strip()
        child = os.fork()
        if not child:
            os._exit(recorder.main(["--grace", "0"]))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
