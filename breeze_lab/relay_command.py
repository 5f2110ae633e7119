"""``breeze-lab relay``: look at the relay from a terminal, start it, stop it, read its log.

It asks the door directly and starts nothing unasked, so that it tells the
truth of a relay that is down, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import processes, settings
from breeze_lab.errors import ProcessError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

__all__ = ["add_options", "ask", "run"]

#: Exit status of a question to a relay that does not run, as of a stopped service.
NOT_RUNNING: Final = 3
_ACTIONS: Final = {
    "status": "what it streams, to whom, and how old the prices are",
    "start": "start it when none runs",
    "stop": "end it; kernels and browsers start another when they need one",
    "logs": "the end of its log",
    "metrics": "its state as Prometheus reads it",
}
_ANSWER_TIMEOUT_S: Final = 5.0
_END_TIMEOUT_S: Final = 15.0
_LARGEST: Final = 2**26


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``breeze-lab relay`` understands."""
    words = "; ".join(f"{name}: {text}" for name, text in _ACTIONS.items())
    parser.add_argument("action", choices=list(_ACTIONS), help=words)
    parser.add_argument("--json", action="store_true", help="status: for programs")
    parser.add_argument("-f", "--follow", action="store_true", help="logs: go on as they come")
    parser.add_argument(
        "-n", "--lines", type=int, default=50, metavar="N", help="logs: how many (50)"
    )


def run(options: argparse.Namespace) -> int:
    """Do what the command says; return its exit code: 3 when there is no relay to ask.

    Raises
    ------
    ProcessError
        It did not start, answer or end.
    """
    if options.action == "logs":
        return _logs(options.lines, follow=options.follow)
    do = {"start": _start, "stop": _stop}.get(options.action)
    if do is not None:
        return do()
    if _running() is None:
        if options.action == "status" and options.json:
            print(json.dumps({"running": False}))
        else:
            print(_down(), file=sys.stderr)
        return NOT_RUNNING
    told = ask(options.action)
    if options.action == "metrics":
        print(told["text"], end="")
    elif options.json:
        print(json.dumps({"running": True, **told}, indent=1))
    else:
        from breeze_lab import truth
        from breeze_lab.relay.metrics import Budget

        print(truth.read(told, Budget().look()))
    return 0


def ask(op: str) -> dict[str, Any]:
    """Return the running relay's answer to ``status`` or ``metrics``.

    Raises
    ------
    ProcessError
        It does not answer.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import unix_connect

    path = str(settings.folders().socket("relay"))
    deadline = time.monotonic() + _ANSWER_TIMEOUT_S
    try:
        with unix_connect(
            path, "ws://localhost/", subprotocols=["breeze-lab.1.json"], compression=None,
            open_timeout=_ANSWER_TIMEOUT_S, close_timeout=1, max_size=_LARGEST,
        ) as door:  # fmt: skip
            door.send(json.dumps({"op": "hello", "client": "breeze-lab relay"}))
            door.send(json.dumps({"op": op, "id": 1}))
            while True:
                message: dict[str, Any] = json.loads(door.recv(deadline - time.monotonic()))
                if message.get("id") == 1:
                    return {k: v for k, v in message.items() if k not in ("op", "id")}
    except (OSError, TimeoutError, WebSocketException) as exc:
        raise ProcessError(
            f"The relay runs and does not answer ({type(exc).__name__}). See `breeze-lab relay "
            "logs`, or end it: `breeze-lab relay stop`."
        ) from exc


def _running() -> dict[str, Any] | None:
    return processes.running(settings.folders().runtime, "relay")


def _log_file() -> Path:
    return settings.folders().runtime / "relay.log"


def _down() -> str:
    """Return that no relay runs, what to do, and its last words."""
    words = (
        "No relay runs. Start it: breeze-lab relay start. The first live chart or subscription "
        "starts it, too."
    )
    last = "".join(f"\n  {line}" for line in _tail(_log_file(), 3)[0])
    return f"{words}\nThe last one said:{last}" if last else words


def _start() -> int:
    record = processes.ensure(settings.folders().runtime, "relay", "breeze_lab.relay")
    print(f"The relay runs: process {record['pid']}, version {record.get('version')}.")
    return 0


def _stop() -> int:
    record = _running()
    if record is None:
        print("No relay runs.")
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(record["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _END_TIMEOUT_S
    while (now := _running()) is not None and now["pid"] == record["pid"]:
        if time.monotonic() > deadline:
            raise ProcessError(
                f"The relay (process {record['pid']}) did not end within {_END_TIMEOUT_S:.0f} s. "
                f"End it by force: kill -KILL {record['pid']}"
            )
        time.sleep(0.02)
    print("The relay ended.")
    return 0


def _logs(lines: int, *, follow: bool) -> int:
    path = _log_file()
    if not path.exists() and not follow:
        print(f"No log yet at {path}: no relay was started here.", file=sys.stderr)
        return NOT_RUNNING
    found, end = _tail(path, lines)
    for line in found:
        print(line)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(path, end)
    return 0


def _tail(path: Path, lines: int) -> tuple[list[str], int]:
    """Return the last lines of a file and where they end, without reading all of it.

    There are none and they end at 0 when it is not there.
    """
    found, end = b"", 0
    with contextlib.suppress(OSError), path.open("rb") as file:
        at = end = file.seek(0, os.SEEK_END)
        while at and found.count(b"\n") <= lines:
            step = min(at, 64 * 1024)
            at = file.seek(at - step)
            found = file.read(step) + found
    text = found.decode(errors="replace").splitlines()
    return text[-lines:] if lines > 0 else [], end


def _follow(path: Path, at: int) -> None:
    """Print what comes behind byte `at` until interrupted; begin anew when the file does."""
    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < at:
            at = 0
        if size > at:
            with path.open("rb") as file:
                file.seek(at)
                text = file.read(size - at)
            at = size
            sys.stdout.write(text.decode(errors="replace"))
            sys.stdout.flush()
        time.sleep(0.2)
