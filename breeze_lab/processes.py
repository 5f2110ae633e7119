"""Background processes: start the one, find the one.

The relay and the practice market run once per user, whoever needs them first.
A running process holds a lock on ``<name>.lock`` for its whole life; once it
can serve it writes ``<name>.json``, its ready record (mode 0600), and holds a
lock on that too. Locks, not process ids, say who lives, so a crash leaves
nothing to clean up and a dead one's record is never taken for a living one's.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Final

from breeze_lab.errors import ProcessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["AlreadyRunning", "claim", "ensure", "locked", "publish", "running", "spawn", "stop"]


#: What we started and has not ended: dropped, each would complain of being alive
#: when it is collected as garbage, and stay a zombie when it ends.
_children: Final[list[subprocess.Popen[bytes]]] = []


class AlreadyRunning(ProcessError):
    """Another process of this name holds the lock."""


@contextlib.contextmanager
def claim(runtime: Path, name: str) -> Iterator[None]:
    """Hold the lock of `name` while the block runs; drop the ready record at its end.

    Raises
    ------
    AlreadyRunning
        When another process holds it.
    """
    refusal = AlreadyRunning(f"A {name} is already running for this user.")
    # `ensure` holds the lock for an instant while it looks, so one refusal proves nothing.
    with locked(runtime / f"{name}.lock", 0.4, refusal):
        try:
            yield
        finally:
            (runtime / f"{name}.json").unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, patience_s: float, refusal: Exception) -> Iterator[None]:
    """Hold a lock file while the block runs; the system takes it from whoever dies.

    Parameters
    ----------
    refusal
        Raised when another process still holds it after `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    with path.open("a") as lock:
        while not _try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise refusal
            time.sleep(0.02)
        yield


def publish(runtime: Path, name: str, record: dict[str, Any]) -> None:
    """Write the ready record of `name`, with our process id; appears whole or not at all.

    The record counts for as long as this process lives.
    """
    temporary = runtime / f".{name}.{os.getpid()}.json"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # kept open, and so held, until the process ends
    os.write(descriptor, json.dumps({**record, "pid": os.getpid()}).encode())
    temporary.replace(runtime / f"{name}.json")


def running(runtime: Path, name: str) -> dict[str, Any] | None:
    """Return the ready record of the running `name`, or None when none serves."""
    try:
        with (runtime / f"{name}.json").open() as file:
            # Shared, so that two who look at a dead one's record do not see each other.
            if _try_lock(file, fcntl.LOCK_SH):
                return None
            record: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        return None
    return record


def stop(runtime: Path, name: str, *, timeout_s: float = 15.0) -> dict[str, Any] | None:
    """End the running `name` and wait for its end; return its record, None when none ran.

    Raises
    ------
    ProcessError
        It is still there after `timeout_s`.
    """
    record = running(runtime, name)
    if record is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(record["pid"], signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while _alive(runtime, name):
        if time.monotonic() > deadline:
            raise ProcessError(
                f"The {name} (process {record['pid']}) does not end. End it yourself, then try "
                "again."
            )
        time.sleep(0.02)
    return record


def _alive(runtime: Path, name: str) -> bool:
    """Say whether a process of this name lives, ready or not."""
    with (runtime / f"{name}.lock").open("a") as lock:
        return not _try_lock(lock, fcntl.LOCK_SH)


def ensure(
    runtime: Path, name: str, module: str, arguments: Sequence[str] = (), *, timeout_s: float = 30.0
) -> dict[str, Any]:
    """Return the ready record of `name`, starting it when none runs.

    Parameters
    ----------
    runtime
        The folder of locks and records.
    name
        Process name, ``"relay"`` or ``"practice"``.
    module, arguments
        What ``python -m`` runs when none is there. It outlives the caller: it
        has a session of its own and an interrupt in the notebook spares it.
    timeout_s
        How long to wait for its record.

    Raises
    ------
    ProcessError
        When it did not become ready; the message ends with its last words.
    """
    deadline = time.monotonic() + timeout_s
    log = runtime / f"{name}.log"
    child: subprocess.Popen[bytes] | None = None
    # One caller starts it, the others wait; a caller that dies lets go of the gate.
    with (runtime / f"{name}.start").open("a") as gate:
        ours = False
        while True:
            record = running(runtime, name)
            if record is not None:
                return record
            ours = ours or _try_lock(gate, fcntl.LOCK_EX)
            if child is not None and child.poll():
                raise ProcessError(f"The {name} ended at once: {_last_words(log)}")
            idle = child is None or child.poll() == 0
            if ours and idle and not _alive(runtime, name):
                child = spawn([sys.executable, "-m", module, *arguments], log)
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"The {name} was not ready in {timeout_s:.0f} s: {_last_words(log)}"
                )
            time.sleep(0.02)


def spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives the caller; what it complains of goes to the end of `log`."""
    with log.open("ab") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            start_new_session=True, cwd=log.parent,
        )  # fmt: skip
    _children[:] = [*(one for one in _children if one.poll() is None), child]
    return child


@atexit.register
def _disown() -> None:
    """Let what we started outlive us without a complaint."""
    for child in _children:
        if child.poll() is None:
            child.returncode = 0


def _try_lock(handle: IO[Any], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return f"no log at {log}"
    return f"{' / '.join(lines[-3:]) or 'it said nothing'} (log: {log})"
