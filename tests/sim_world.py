"""A day of feed, relay, recorder and broker in virtual time, repeatable from a seed.

The real code of the feed, the door, the hub, the log, the upstream link and the recorder runs.
Only what lies outside the processes is made here: the network between them, the broker, the
clocks of the machine, the disk's fullness, and who is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import sys
import time as real_time
import types
from typing import TYPE_CHECKING, Any

from sim_broker import Broker
from sim_kernel import Kernel
from sim_loop import Process, Socket, VirtualLoop, pair, process
from sim_recorder import KILLED, frame_of

from breeze_lab import clock, processes, settings
from breeze_lab.relay import __main__ as relay_main
from breeze_lab.relay import wal
from breeze_lab.relay.hub import Consumer
from breeze_lab.relay.logbook import Logbook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from datetime import date
    from pathlib import Path

    import pytest
    from sim_recorder import Frame, Recorders

__all__ = ["World"]

#: 10:00 IST on Friday 20 November 2026.
MORNING_S = 1_795_149_000.0
#: The midnight after it.
MIDNIGHT_S = MORNING_S + 14 * 3600
#: Ticks that wait for a slow consumer: few, so that a sleeper loses some within seconds.
QUEUE_LIMIT = 12
#: About so many lines a recorder executes for one day's files.
RECORDER_LINES = 400


class Syncer:
    """Stands for the thread that syncs: what is written survives a kill without it."""

    def __init__(self, *_: object) -> None:
        self.age_s = lambda: 0.0
        self.trouble = lambda: None
        self.watch = self.written = self.close = lambda *_: None
        self.finish = os.close


class World:
    """Broker, relay, recorders and kernels, and what went wrong between them.

    Parameters
    ----------
    seed
        Everything follows from it.
    home
        An empty folder.
    recorders
        Where recorders come from; a world without them never sees midnight.
    """

    def __init__(
        self, seed: int, home: Path, monkeypatch: pytest.MonkeyPatch, recorders: Recorders | None
    ) -> None:
        self.dice = random.Random(seed)
        self.loop = VirtualLoop(self.dice)
        self.home = home
        self.recorders = recorders
        #: Whether midnight comes some seconds after the beginning.
        self.night = recorders is not None and self.dice.random() < 0.16
        midnight = MIDNIGHT_S - self.dice.uniform(3, 8)
        self._origin = (midnight if self.night else MORNING_S) - self.loop.now
        self.jump_s = 0.0
        self.jumped = self.slowed = self.filled = False  # ever?
        self.full = False  # is the disk?
        self.rooms = [f"4.1!{number}" for number in range(1, 5)]
        # By day the exchange's clock is right whatever the machine's says. Whoever trades at
        # midnight is a practice market, and has the machine's.
        self.broker = Broker(self.dice, self.rooms, self.wall if self.night else self.true_wall)
        if self.dice.random() < 0.3:
            self.broker.wild.update(self.rooms[:2])
        self.broker.greets = self.dice.random() < 0.3
        self.kernels: list[Kernel] = []
        self.relay: Process | None = None
        self.lives = 0
        self.unrecorded: set[Frame] = set()
        self.recorded: list[int] = []  # how each recorder ended
        #: Notebooks that came back, what they were before, and when that one died.
        self.returned: list[tuple[Kernel, Kernel, float]] = []
        self.trace: list[str] = []
        self._serve: Callable[[Socket], Coroutine[Any, Any, None]] | None = None
        monkeypatch.setenv("BREEZE_LAB_HOME", str(home))
        self.folders = settings.folders()
        self._patch(monkeypatch)

    def say(self, what: str) -> None:
        """Write down what happens, for whoever watches this seed again."""
        self.trace.append(f"{self.loop.now:9.3f}  {what}")

    def wall(self) -> float:
        """Return the machine's wall clock, Unix seconds."""
        return self._origin + self.loop.now + self.jump_s

    @property
    def today(self) -> date:
        """The day by the machine's clock."""
        return clock.from_epoch(self.wall()).date()

    def true_wall(self, virtual_s: float | None = None) -> float:
        """Return what a right clock says, or said at a virtual time, Unix seconds."""
        return self._origin + (self.loop.now if virtual_s is None else virtual_s)

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = types.SimpleNamespace(**vars(real_time))
        watch.monotonic = lambda: self.loop.now
        watch.time = self.wall
        watch.time_ns = lambda: int(self.wall() * 1e9)
        monkeypatch.setattr(clock, "now", lambda: clock.from_epoch(self.wall()))
        dice = self.dice
        for name, module in list(sys.modules.items()):
            if name.startswith(("breeze_lab.relay", "breeze_lab.feed")):
                if getattr(module, "time", None) is real_time:
                    monkeypatch.setattr(module, "time", watch)
                if hasattr(module, "random"):
                    monkeypatch.setattr(module, "random", dice)
        monkeypatch.setattr("breeze_lab.relay.link.connect", self._dial)
        monkeypatch.setattr("breeze_lab.relay.link.Flow", Socket)
        monkeypatch.setattr("breeze_lab.relay.upstream.path_answers", self._answers)
        monkeypatch.setattr("websockets.asyncio.client.unix_connect", self._knock)
        monkeypatch.setattr("breeze_lab.relay.door.unix_serve", self._open)
        # Healing is another process, and so is syncing as far as a kill is concerned.
        monkeypatch.setattr("breeze_lab.relay.healer.Healer.take", lambda *_: None)
        monkeypatch.setattr("breeze_lab.relay.logbook._Syncer", Syncer)
        put, commit = Logbook._put, Logbook.commit
        monkeypatch.setattr(Logbook, "_put", lambda book, data: self._write(put, book, data))
        monkeypatch.setattr(Logbook, "commit", lambda book: self._commit(commit, book))
        monkeypatch.setattr(Consumer.__init__, "__defaults__", (QUEUE_LIMIT,))
        monkeypatch.setattr("breeze_lab.relay.door._listen", lambda *_: None)
        monkeypatch.setattr(processes, "ensure", self._ensure)
        monkeypatch.setattr(processes, "publish", lambda *_: None)
        monkeypatch.setattr(processes, "spawn", self._spawn)
        monkeypatch.setattr(self.loop, "add_signal_handler", lambda *_: None)

    # -- the disk ---------------------------------------------------------

    def _write(self, put: Any, book: Logbook, data: bytes) -> bool:
        owner = process.get()
        if owner is not None and owner.dead:  # it was killed: nothing of it is written any more
            return True
        if self.full:
            book._fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            return False
        done = bool(put(book, data))
        if done and book._descriptor is not None:
            os.utime(book._descriptor, (self.wall(), self.wall()))  # as our clock has it
        return done

    def _commit(self, commit: Any, book: Logbook) -> None:
        """Remember the frames of which the relay says that they are not recorded."""
        buffer, before = book._buffer, book.unrecorded
        commit(book)
        if book.unrecorded != before:
            size = wal._HEAD.size
            for data in buffer:
                _, _, *head = wal._HEAD.unpack_from(data)
                if head[0] == wal.STOCK:
                    self.unrecorded.add(frame_of(wal.Record(*head, data[size:])))

    # -- connections ------------------------------------------------------

    async def _dial(self, *_: object, **__: object) -> Socket:
        await asyncio.sleep(self.dice.uniform(0.001, 0.02))
        return self.broker.connect(process.get())

    async def _answers(self, *_: object) -> bool:
        await asyncio.sleep(self.dice.uniform(0.001, 0.01))
        return self.broker.up

    async def _open(self, serve: Any, **_: object) -> Any:
        self._serve = serve

        async def closed() -> None:
            pass

        return types.SimpleNamespace(close=lambda: None, wait_closed=closed)

    def _ensure(self, *_: object, **__: object) -> dict[str, Any]:
        if self.relay is None or self.relay.dead:
            self.lives += 1
            self._serve = None
            self.relay = Process(f"relay {self.lives}")
            self.say(f"{self.relay.name} starts")
            self.relay.run(relay_main.serve(self.folders, 0))
        return {}

    @contextlib.asynccontextmanager
    async def _knock(self, *_: object, **__: object) -> AsyncIterator[Socket]:
        await asyncio.sleep(self.dice.uniform(0.001, 0.05))
        relay = self.relay
        if relay is None or relay.dead or self._serve is None:
            raise ConnectionRefusedError(111, "no relay")
        ours, theirs = pair(self.dice, process.get(), relay)
        theirs.subprotocol = "breeze-lab.1.msgpack"
        relay.run(self._serve(theirs))
        try:
            yield ours
        finally:
            await ours.close()

    # -- processes --------------------------------------------------------

    def kill_relay(self) -> None:
        """SIGKILL it."""
        if self.relay is not None:
            self.relay.kill()

    def kernel(self, name: str) -> Kernel:
        """Start a notebook's process."""
        kernel = Kernel(self, name)
        self.kernels.append(kernel)
        return kernel

    @property
    def living(self) -> list[Kernel]:
        """The notebooks whose processes run."""
        return [kernel for kernel in self.kernels if kernel.alive]

    @property
    def wanted(self) -> set[str]:
        """The union of what the living want."""
        return set().union(*(kernel.rooms for kernel in self.living))

    def _spawn(self, *_: object) -> Any:
        """Start a recorder for the relay, which outlives it."""
        child = types.SimpleNamespace(returncode=None, poll=lambda: None)

        async def live() -> None:
            await asyncio.sleep(self.dice.uniform(0.1, 0.6))
            child.returncode = self.record()

        token = process.set(None)
        try:
            self.loop.create_task(live())
        finally:
            process.reset(token)
        return child

    def record(self, *, calm: bool = False) -> int:
        """Run a recorder now, in no virtual time; return how it ended.

        Parameters
        ----------
        calm
            Whether nothing happens to it.
        """
        if self.recorders is None:
            return 0
        dice = self.dice
        fate = "" if calm else dice.choice(["killed", "killed", "killed", "full", ""])
        status = self.recorders.run(
            self.home, self.wall(),
            kill_at=dice.randrange(1, RECORDER_LINES) if fate == "killed" else 0,
            room=dice.randrange(1, 20_000) if fate == "full" or self.full else 0,
            grace=0 if calm else dice.choice([0, 0, 2]),
        )  # fmt: skip
        self.recorded.append(status)
        ended = {0: "is done", KILLED: "is killed"}.get(status, f"ends with {status}")
        self.say(f"the recorder {ended}")
        return status
