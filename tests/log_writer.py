"""A writer of the tick log to be killed: ``python log_writer.py FOLDER FIRST SEGMENT COUNT PLANT``.

Appends numbered records, a score at a time, and prints the number of the last one after each
commit. Begins with FIRST; ends after COUNT records, 0 never. PLANT names a fault.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from breeze_lab import clock
from breeze_lab.relay import wal
from breeze_lab.relay.logbook import Logbook

GROUP = 20


def append_behind_a_tear(book):
    """Go on with the newest file, as no log should."""
    paths = wal.files(book.folder, clock.now().date())
    if not paths:
        return Logbook._create(book)
    descriptor = os.open(paths[-1], os.O_WRONLY | os.O_APPEND)
    book.path = paths[-1]
    book._syncer.watch(descriptor, book.folder)
    return descriptor


def main():
    folder, first, segment, count, plant = sys.argv[1:]
    book = Logbook(
        Path(folder), lambda: [{"what": "life", "life": str(os.getpid())}],
        segment_bytes=int(segment), sync_s=0.02 if int(count) else 0.2,
    )  # fmt: skip
    if plant == "behind a tear":
        book._create = lambda: append_behind_a_tear(book)
    number = int(first) - 1
    begun, before = time.monotonic(), number
    while not int(count) or number - before < int(count):
        for _ in range(GROUP):
            number += 1
            book.append(wal.STOCK, 1, number, time.time_ns() // 1_000_000, b'["%08d"]' % number * 8)
        if plant != "early":
            book.commit()
        print(number, time.monotonic() - begun, flush=True)
        if plant == "early" and number % 400 == 0:
            book.commit()
        if int(count):
            time.sleep(0.003)
    book.close()


if __name__ == "__main__":
    main()
