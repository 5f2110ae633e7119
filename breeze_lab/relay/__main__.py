"""Run the relay: ``python -m breeze_lab.relay``.

Owns the life of the process: one per user, ready record, remembered practice
login, end by signal, by request or when nobody has listened for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

from breeze_lab import __version__, accounts, processes, settings
from breeze_lab.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from breeze_lab.relay.hub import Hub
    from breeze_lab.relay.shared import Follower
    from breeze_lab.relay.upstream import Login

_log: Final = logging.getLogger("breeze_lab.relay")

_SWEEP_S: Final = 1.0
#: Objects made before the collector looks at the young ones, and so on up. What the relay makes
#: for a tick is freed without a collector; a look at everything it holds would delay all ticks.
#: What waits for slow consumers is far less than the first number.
_COLLECT: Final = (200_000, 20, 100)
#: By then everything is loaded, and stays.
_LOADED_S: Final = 1.0


class Memory:
    """The practice login on disk, mode 0600; a real account's token is never written.

    Parameters
    ----------
    path
        Where it lies.
    """

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path

    def keep(self, login: Login) -> None:
        """Remember a practice login of one kernel; a shared session is in the vault."""
        if login.endpoints.name != "practice" or login.serial:
            self.path.unlink(missing_ok=True)
            return
        temporary = self.path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(
                {
                    "endpoints": login.endpoints.to_dict(), "user": login.user,
                    "token": login.token, "account": login.account, "until": login.until,
                },
                file,
            )  # fmt: skip
        temporary.replace(self.path)

    def recall(self) -> Login | None:
        """Return the remembered login, or None."""
        from breeze_lab.relay.upstream import Login  # noqa: PLC0415 - after the lock is ours

        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            data = json.loads(self.path.read_text())
            endpoints = settings.Endpoints.from_dict(data.pop("endpoints"))
            if endpoints.name == "practice":
                return Login(endpoints, **data)
        return None


async def serve(folders: settings.Folders, idle_exit_s: float) -> None:
    """Serve until a signal, a request to end, or `idle_exit_s` without a consumer."""
    from breeze_lab.relay.door import Door  # noqa: PLC0415 - after the lock is ours
    from breeze_lab.relay.healer import Healer  # noqa: PLC0415
    from breeze_lab.relay.hub import Hub  # noqa: PLC0415
    from breeze_lab.relay.journal import switched_off  # noqa: PLC0415
    from breeze_lab.relay.ledger import Ledger  # noqa: PLC0415
    from breeze_lab.relay.nightly import Nightly  # noqa: PLC0415
    from breeze_lab.relay.shared import Follower  # noqa: PLC0415
    from breeze_lab.relay.sharing import from_environment  # noqa: PLC0415

    ticks = folders.data / "ticks"
    ticks.mkdir(mode=0o700, exist_ok=True)
    logs = None if switched_off() else ticks / "log"
    hub = Hub(logs, Ledger(ticks / "gaps.sqlite", now_ms=time.time_ns() // 1_000_000))
    hub.gaps.healer = Healer(hub.gaps)
    hub.nightly = Nightly(folders.runtime)
    memory = Memory(folders.runtime / "relay-login.json")
    market = "" if logs is None else _likely_market(memory.recall(), logs)
    if market:
        await hub.prepare(market)
    door = Door(hub, memory.keep)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, door.stop.set)
    path = folders.socket("relay")
    try:
        async with door.open(path):
            processes.publish(
                folders.runtime, "relay", {"socket": str(path), "version": __version__}
            )
            _log.info("Relay %s serves at %s.", __version__, path)
            follower = Follower(hub)
            await follower.look()
            login = memory.recall() if hub.upstream.login_held is None else None
            if login is not None:
                with contextlib.suppress(SettingsError):
                    await hub.login(login)
            try:
                sharing = from_environment(hub, folders)
            except SettingsError as exc:
                _log.warning("There is no bus: %s", exc)
            else:
                if sharing is not None:
                    sharing.start()
            await _until_done(hub, follower, door.stop, idle_exit_s)
    finally:
        if hub.sharing is not None:
            await hub.sharing.close()
        await hub.close()
        await hub.gaps.healer.close()
        hub.journal.close()
    _log.info("Relay ends.")


async def _alone(folders: settings.Folders, idle_exit_s: float) -> None:
    """Serve in a process of our own, whose collector is ours to tune."""
    gc.set_threshold(*_COLLECT)
    asyncio.get_running_loop().call_later(_LOADED_S, _freeze)
    await serve(folders, idle_exit_s)


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def _likely_market(login: Login | None, logs: Path) -> str:
    """Return the market that will be served, as far as can be known before anybody asks."""
    shared = accounts.facts()
    if login is not None:
        return login.endpoints.name
    if shared is not None and shared.good:
        return str(shared.endpoints["name"])
    written = [(path.stat().st_mtime, path.parent.name) for path in logs.glob("*/*.log")]
    return max(written)[1] if written else ""


async def _until_done(
    hub: Hub, follower: Follower, stop: asyncio.Event, idle_exit_s: float
) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SWEEP_S)
        hub.sweep()
        hub.gaps.look()
        await follower.look()
        if hub.nightly is not None:
            hub.nightly.look()
        alone = None if hub.held else hub.alone_since
        if idle_exit_s and alone is not None and time.monotonic() - alone > idle_exit_s:
            _log.info("Nobody has listened for %.0f s.", idle_exit_s)
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the relay; return the exit status."""
    parser = argparse.ArgumentParser(prog="breeze_lab.relay", description="The live feed.")
    parser.add_argument(
        "--idle-exit", type=float, default=900.0, metavar="SECONDS",
        help="end after this long without a consumer; 0 never (default 900)",
    )  # fmt: skip
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"]
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )  # fmt: skip
    # Its debug log shows frames, and the first frame carries the token.
    logging.getLogger("websockets").setLevel(logging.WARNING)
    folders = settings.folders()
    try:
        with processes.claim(folders.runtime, "relay"):
            asyncio.run(_alone(folders, options.idle_exit))
    except processes.AlreadyRunning:
        _log.info("A relay already runs.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
