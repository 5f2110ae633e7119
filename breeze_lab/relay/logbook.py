"""The log's writer: buffered, grouped, synced in the background, loud when it cannot.

Owns the open file of one market: when it is begun, written, synced and ended.
What is written is the relay's business (`breeze_lab.relay.journal`), how it
lies in the file is that of `breeze_lab.relay.wal`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from breeze_lab import clock
from breeze_lab.errors import RecordingError
from breeze_lab.relay import days, disk, wal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Logbook"]

_log: Final = logging.getLogger(__name__)

#: A file is ended beyond this size.
_SEGMENT_BYTES: Final = 64 * 2**20
#: What a power cut may cost.
_SYNC_S: Final = 0.2
#: How long a log that cannot be written waits before it tries again.
_RETRY_S: Final = 1.0
#: A full disk must have this much room again before the log goes on.
_ROOM_BYTES: Final = 16 * 2**20
#: How often it is looked whether the disk has room for others too.
_GUARD_S: Final = 5.0
#: Files of one day.
_MOST_FILES: Final = 1_000_000
_DAY_MS: Final = 86_400_000
_IST_MS: Final = 19_800_000
_encode: Final = msgspec.json.Encoder().encode


class Logbook:
    """Write the tick log of one market; every method is for the event loop's thread.

    Parameters
    ----------
    folder
        Of the market; made when the first record comes.
    heads
        Returns the notes with which a file begins, so that each can be read
        without those before it.
    segment_bytes, sync_s, room_bytes, retry_s
        See the constants of this module.
    on_new_file
        Called with the path of each file when it was begun.

    Notes
    -----
    A record is safe from the end of this process when `commit` returned, and
    from a power cut `sync_s` later: a thread of its own calls ``fdatasync``,
    which may take long, and ends files that are full. A write goes to the
    operating system's memory and takes some 10 µs, less than handing it to a
    thread would.
    """

    def __init__(
        self,
        folder: Path,
        heads: Callable[[], Iterable[dict[str, Any]]],
        *,
        segment_bytes: int = _SEGMENT_BYTES,
        sync_s: float = _SYNC_S,
        room_bytes: int = _ROOM_BYTES,
        retry_s: float = _RETRY_S,
        on_new_file: Callable[[Path], object] = lambda _: None,
    ) -> None:
        """Open nothing yet."""
        self.folder = folder
        #: Why nothing is recorded at the moment, empty when all is well.
        self.error = ""
        self.errors = self.written = self.unrecorded = self.bytes = 0
        self.path: Path | None = None
        self.slowest_write_ms = 0.0
        self._heads = heads
        self._segment_bytes = segment_bytes
        self._room_bytes = room_bytes
        self._retry_s = retry_s
        self._on_new_file = on_new_file
        self._buffer: list[bytes] = []
        self._frames: list[tuple[int, int, int, int, bytes]] = []  # behind the buffer
        self._descriptor: int | None = None
        self._lock: int | None = None
        self._day_ends_ms = 0
        self._retry_at = self._guard_at = 0.0
        self._hole: list[int] = []  # when the first and the last record were lost, and how many
        self._syncer = _Syncer(sync_s)

    @property
    def recording(self) -> bool:
        """Whether what is appended reaches the file, as far as anybody knows."""
        return not self.error

    @property
    def begun(self) -> bool:
        """Whether there is an open file, or something waits for one."""
        return self._descriptor is not None or bool(self._buffer or self._frames)

    def append(self, kind: int, epoch: int, sequence: int, received_ms: int, data: bytes) -> None:
        """Buffer one record until the next `commit`; see `wal.Record`."""
        if received_ms >= self._day_ends_ms:
            self._turn(received_ms)
        self._pack()
        self._buffer.append(wal.encode((kind, epoch, sequence, received_ms, data)))

    def frame(self, frame: tuple[int, int, int, int, bytes]) -> None:
        """Buffer one frame of the stream.

        Parameters
        ----------
        frame
            A number that does not matter here, sequence, epoch, when it was received in Unix
            milliseconds, and the JSON text: a `breeze_lab.relay.rebuild.Frame`.
        """
        if frame[3] >= self._day_ends_ms:
            self._turn(frame[3])
        self._frames.append(frame)

    def _pack(self) -> None:
        """Encode the frames that wait, all in one go."""
        if self._frames:
            self._buffer += wal.encode_frames(self._frames)
            self._frames = []

    def note(self, note: dict[str, Any], epoch: int = 0) -> None:
        """Buffer one note, dated now."""
        self.append(wal.NOTE, epoch, 0, time.time_ns() // 1_000_000, _encode(note))

    def commit(self) -> None:
        """Write what is buffered with one system call; never raises.

        What cannot be written is counted and gone: the feed matters more.
        """
        self._pack()
        buffer = self._buffer
        if not buffer:
            return
        self._buffer = []
        trouble = self._syncer.trouble()
        if trouble is not None:
            self._fail(trouble)
        elif self._descriptor is not None:
            self._guard()
        if self._descriptor is None and not self._begin():
            self._miss(len(buffer))
            return
        if self._put(b"".join(buffer)):
            self.written += len(buffer)
        else:
            self._miss(len(buffer))
        if self.bytes >= self._segment_bytes:
            self._finish()

    def close(self) -> None:
        """Note a clean end, write and sync everything, let go of the market."""
        if self.path is not None and self.recording:
            self.note({"what": "end"})
        self.commit()
        self._finish()
        self._syncer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def status(self) -> dict[str, Any]:
        """Return how the log stands: the door's ``wal`` map."""
        return {
            "on": True,
            "recording": self.recording,
            "file": None if self.path is None else self.path.name,
            "bytes": self.bytes,
            "written": self.written,
            "unrecorded": self.unrecorded,
            "synced_age_s": self._syncer.age_s(),
            "slowest_write_ms": round(self.slowest_write_ms, 3),
            "errors": self.errors,
            "error": self.error,
        }

    # -- the file ---------------------------------------------------------

    def _turn(self, received_ms: int) -> None:
        """End the file of the day before: a new IST day has begun."""
        self.commit()
        self._finish()
        self._day_ends_ms = ((received_ms + _IST_MS) // _DAY_MS + 1) * _DAY_MS - _IST_MS

    def _begin(self) -> bool:
        """Begin a new file, if it is time to try; say whether there is one."""
        now = time.monotonic()
        if now < self._retry_at:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._claim()
            self._look_for_room()
            descriptor = self._create()
        except (OSError, RecordingError) as exc:
            self._fail(exc)
            return False
        self._descriptor, self.bytes = descriptor, 0
        received_ms = time.time_ns() // 1_000_000
        notes = list(self._heads())
        if self._hole:
            first_ms, last_ms, count = self._hole
            notes.append(
                {"what": "unrecorded", "from_ms": first_ms, "to_ms": last_ms, "count": count,
                 "cause": self.error}
            )  # fmt: skip
        head = [wal.encode((wal.NOTE, 0, 0, received_ms, _encode(note))) for note in notes]
        if not self._put(wal.MAGIC + b"".join(head)):
            return False
        if self.error:
            _log.warning("The ticks are recorded again; %d were not.", self.unrecorded)
        self.error, self._hole = "", []
        assert self.path is not None
        self._on_new_file(self.path)
        return True

    def _claim(self) -> None:
        """Be the only writer of this market.

        Raises
        ------
        RecordingError
            When another process writes it.
        """
        if self._lock is not None:
            return
        lock = os.open(self.folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            raise RecordingError(
                f"Another process writes the tick log in {self.folder}. Nothing is recorded here "
                "until it ends."
            ) from exc
        self._lock = lock

    def _create(self) -> int:
        """Create the file after the newest of the day.

        Never is an old one written on: there may be a tear at its end.
        """
        # The day of the records that follow, which `_turn` keeps.
        day = clock.from_epoch(self._day_ends_ms // 1000 - 1).date()
        there = wal.files(self.folder, day)
        newest = int(there[-1].stem[-6:]) if there else 0
        number = max(newest, days.newest_recorded(self.folder, day)) + 1
        if number >= _MOST_FILES:
            raise RecordingError(f"{self.folder} holds a million files of {day}.")
        path = self.folder / f"{day:%Y-%m-%d}-{number:06}.log"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        self.path = path
        self._syncer.watch(descriptor, self.folder)
        return descriptor

    def _guard(self) -> None:
        """Pause before the disk is full: others need room on it too."""
        now = time.monotonic()
        if now < self._guard_at:
            return
        self._guard_at = now + _GUARD_S
        if low := disk.look(self.folder):
            self._fail(RecordingError(low))

    def _look_for_room(self) -> None:
        """Refuse to begin on a disk that has no room for others, or would be full again at once."""
        if low := disk.look(self.folder, paused=bool(self.error)):
            raise RecordingError(low)
        usage = os.statvfs(self.folder)
        if self.error and usage.f_bavail * usage.f_frsize < self._room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _put(self, data: bytes) -> bool:
        """Write all of `data`; on failure leave the file as it was and say so."""
        assert self._descriptor is not None
        view, begun = memoryview(data), time.perf_counter()
        try:
            while view:  # a full disk takes a part first
                view = view[os.write(self._descriptor, view) :]
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.bytes)
            self._fail(exc)
            return False
        self.slowest_write_ms = max(self.slowest_write_ms, (time.perf_counter() - begun) * 1000)
        self.bytes += len(data)
        self._syncer.written()
        return True

    def _finish(self) -> None:
        """Let the background sync and end the file."""
        if self._descriptor is not None:
            self._syncer.finish(self._descriptor)
            self._descriptor = None

    def _fail(self, exc: Exception) -> None:
        """Say loudly that nothing is recorded, and try again later with a new file."""
        self._finish()
        self.errors += 1
        said, self.error = self.error, str(exc)
        self._retry_at = time.monotonic() + self._retry_s
        if said != self.error:
            _log.error("The feed goes on and is NOT recorded: %s", exc)

    def _miss(self, count: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        self.unrecorded += count
        first_ms, before = (self._hole[0], self._hole[2]) if self._hole else (now_ms, 0)
        self._hole = [first_ms, now_ms, before + count]


class _Syncer:
    """A thread that syncs what was written and ends files; started by the first file."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._guard = threading.Lock()  # guards everything below
        self._open: int | None = None
        self._ending: deque[int] = deque()
        self._folder: Path | None = None  # whose new entry is to be synced
        self._dirty_since: float | None = None
        self._syncing_since: float | None = None
        self._failure: OSError | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, descriptor: int, folder: Path) -> None:
        """Sync this file from now on, and the folder it is new in."""
        with self._guard:
            self._open, self._folder = descriptor, folder
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tick log sync", daemon=True)
            self._thread.start()

    def written(self) -> None:
        """Hear that something was written."""
        if self._dirty_since is None:
            self._dirty_since = time.monotonic()

    def finish(self, descriptor: int) -> None:
        """Sync and close a file that is written no longer."""
        with self._guard:
            self._open = None
            self._ending.append(descriptor)

    def trouble(self) -> OSError | None:
        """Return the failure of a sync once, None when there was none."""
        if self._failure is None:
            return None
        failure, self._failure = self._failure, None
        return failure

    def age_s(self) -> float:
        """Return for how long something has waited to be synced."""
        since = self._syncing_since or self._dirty_since
        return 0.0 if since is None else round(time.monotonic() - since, 3)

    def close(self) -> None:
        """Sync a last time and end the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._period_s)
            self._sync()

    def _sync(self) -> None:
        with self._guard:
            ending, self._ending = self._ending, deque()
            current, folder, self._folder = self._open, self._folder, None
            # A copy, because the writer may end the file while it is being synced.
            clean = current is None or self._dirty_since is None
            doing = [*ending, *(() if clean or current is None else (os.dup(current),))]
            self._syncing_since, self._dirty_since = self._dirty_since, None
        try:
            for descriptor in doing:
                os.fdatasync(descriptor)
            if folder is not None:
                entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(entry)
                finally:
                    os.close(entry)
        except OSError as exc:
            # What was not synced may be gone from memory as well: only a new file is good again.
            self._failure = exc
        finally:
            self._syncing_since = None
            for descriptor in doing:
                os.close(descriptor)
