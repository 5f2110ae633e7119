"""A Redis of the test's own: its port, its folder, its life and its violent death."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def needs_redis() -> None:
    """Skip the test where the package or the server is missing."""
    if importlib.util.find_spec("redis") is None:
        pytest.skip("the package redis is not installed")
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")


class RedisServer:
    """Run ``redis-server`` on loopback.

    Parameters
    ----------
    folder
        Where it keeps its log of commands.
    fsync
        ``always``, ``everysec``, or ``""`` for a Redis that keeps nothing.
    """

    def __init__(self, folder: Path, fsync: str = "always", password: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.password = password
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self._command = [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--save", "", "--appendonly", "yes" if fsync else "no", "--daemonize", "no",
            "--appendfsync", fsync or "no", "--logfile", str(folder / "redis.log"),
            "--stream-node-max-entries", "10",  # trims by nodes; small ones for short histories
            *(["--requirepass", password] if password else []),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        word = f":{self.password}@" if self.password else ""
        return f"redis://{word}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()[-500:]
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        self.kill()

    def ask(self, *words: Any) -> bytes:
        """Return the raw answer to one command."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as link:
            if self.password:
                link.sendall(_packed("AUTH", self.password))
                link.recv(64)
            link.sendall(_packed(*words))
            return link.recv(1 << 16)

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith(b"+PONG")
        except OSError:
            return False


def _packed(*words: Any) -> bytes:
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
