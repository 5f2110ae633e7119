"""The log's writer: files that end by size and day, and a full disk that is said aloud."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from waiting import until

from breeze_lab import clock
from breeze_lab.relay import wal
from breeze_lab.relay.logbook import Logbook

NOW_MS = time.time_ns() // 1_000_000


def heads():
    return [{"what": "life", "life": "one"}]


def add(book, *numbers, received_ms=None):
    """Append records of 100 bytes and commit them."""
    for number in numbers:
        book.append(wal.STOCK, 1, number, received_ms or NOW_MS, b"x" * 100)
    book.commit()


def logs(folder):
    return sorted(folder.glob("*.log"))


def sequences(folder):
    """Return the numbers of what every file holds, in order."""
    return [r.sequence for path in logs(folder) for r in wal.read(path) if r.kind == wal.STOCK]


def test_files_end_by_size_and_each_begins_with_its_head(tmp_path):
    """Whatever file is left says by itself whose ticks it holds; no record is lost between two."""
    book = Logbook(tmp_path, heads, segment_bytes=500)
    for number in range(1, 21):
        add(book, number)
    book.close()
    paths = logs(tmp_path)
    assert len(paths) > 3
    assert [path.stem[-6:] for path in paths] == [f"{n:06}" for n in range(1, len(paths) + 1)]
    assert all(json.loads(next(wal.read(path)).data)["what"] == "life" for path in paths)
    assert sequences(tmp_path) == list(range(1, 21))
    assert json.loads(list(wal.read(paths[-1]))[-1].data) == {"what": "end"}


def test_files_end_at_midnight_in_india(tmp_path):
    """A record belongs to the file of its IST day, wherever the machine stands."""
    book = Logbook(tmp_path, heads)
    tomorrow = clock.now().date() + timedelta(days=1)
    begins = datetime.combine(tomorrow, datetime.min.time(), ZoneInfo("Asia/Kolkata"))
    midnight_ms = int(begins.timestamp() * 1000)
    add(book, 1, received_ms=midnight_ms - 1)
    add(book, 2, 3, received_ms=midnight_ms)
    book.close()
    days = [clock.now().date(), tomorrow]
    assert [path.name for path in logs(tmp_path)] == [f"{day}-000001.log" for day in days]
    assert sequences(tmp_path) == [1, 2, 3]
    (path,) = wal.files(tmp_path, tomorrow)
    assert [r.sequence for r in wal.read(path) if r.kind == wal.STOCK] == [2, 3]


def test_nothing_is_appended_behind_a_tear(tmp_path):
    """The next life leaves a torn file as it is and begins another."""
    first = Logbook(tmp_path, heads)
    add(first, 1, 2)
    first.close()
    torn = logs(tmp_path)[0]
    torn.write_bytes(torn.read_bytes()[:-60])
    before = torn.read_bytes()
    second = Logbook(tmp_path, heads)
    add(second, 3)
    second.close()
    assert torn.read_bytes() == before
    assert len(logs(tmp_path)) == 2
    assert sequences(tmp_path)[-1] == 3


def test_one_writer_per_market(tmp_path):
    """A second process records nothing, says so, and takes over when the first has ended."""
    first, second = Logbook(tmp_path, heads), Logbook(tmp_path, heads, retry_s=0.01)
    add(first, 1)
    add(second, 2)
    assert not second.recording
    assert "Another process writes" in second.status()["error"]
    first.close()
    until(lambda: add(second, 3) or second.recording, "the writer's turn")
    second.close()
    assert 2 not in sequences(tmp_path)
    assert sequences(tmp_path)[-1] == 3


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.getuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False
        ).returncode
    ):
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_survived(small_disk, caplog):
    """The log says what it could not keep, tears nothing, and goes on when there is room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(900_000))
    book = Logbook(small_disk / "log", heads, room_bytes=200_000, retry_s=0.01)
    number = 0
    while book.recording:
        number += 1
        add(book, *([number] * 50))
    kept = book.written
    assert "No space left" in book.status()["error"]
    assert "NOT recorded" in caplog.text
    assert len(sequences(small_disk / "log")) == kept, "whole records only"
    add(book, 7_000)
    assert not book.recording
    ballast.unlink()
    until(lambda: add(book, 8_000) or book.recording, "room")
    status = book.status()
    book.close()
    found = sequences(small_disk / "log")
    assert found[:kept] == [n for n in range(1, number) for _ in range(50)]
    assert set(found[kept:]) == {8_000}
    notes = [
        json.loads(r.data) for r in wal.read(logs(small_disk / "log")[-1]) if r.kind == wal.NOTE
    ]
    (hole,) = [note for note in notes if note["what"] == "unrecorded"]
    assert hole["count"] == status["unrecorded"]
    assert hole["from_ms"] <= hole["to_ms"]
    assert "No space left" in hole["cause"]


def test_a_failed_sync_begins_a_new_file(tmp_path, monkeypatch):
    """After the disk refused a sync nothing more is trusted to that file."""
    book = Logbook(tmp_path, heads, sync_s=0.01, retry_s=0.01)
    real, failed = os.fdatasync, []

    def refuse(descriptor):
        if not failed:
            failed.append(descriptor)
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", refuse)
    add(book, 1)
    until(lambda: book._syncer._failure is not None, "the failure")
    add(book, 2)
    assert book.errors == 1
    until(lambda: add(book, 3) or book.recording, "the new file")
    book.close()
    assert len(logs(tmp_path)) == 2
    assert sequences(tmp_path)[0] == 1
    assert sequences(tmp_path)[-1] == 3


def test_what_was_written_is_synced_in_the_background(tmp_path):
    """Within a moment nothing waits for the disk any more, and the status says so."""
    book = Logbook(tmp_path, heads, sync_s=0.02)
    add(book, 1)
    until(lambda: book.status()["synced_age_s"] == 0, "the sync")
    status = book.status()
    assert (status["on"], status["recording"], status["errors"]) == (True, True, 0)
    assert status["file"] == f"{clock.now():%Y-%m-%d}-000001.log"
    assert status["bytes"] == logs(tmp_path)[0].stat().st_size
    book.close()
