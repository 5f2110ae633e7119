"""The service of jobs: due times into the book, runs out of it.

One small process per user (``breeze-lab jobs serve``), started by whoever
schedules something. All it knows is in the book, so it may be killed at any
moment: the next one enters the due times it missed, takes the workers that
live for its own, and ends what is left of those that do not.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from breeze_lab import accounts, clock
from breeze_lab.errors import BreezeLabError
from breeze_lab.jobs import alerts, markets, marks, when
from breeze_lab.jobs.worker import output_path, run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from breeze_lab.jobs.book import Book
    from breeze_lab.jobs.markets import Reading
    from breeze_lab.jobs.records import Definition, Run

__all__ = ["Service"]

_log: Final = logging.getLogger("breeze_lab.jobs")

#: A run that begins so many market seconds after it was due is late; on a market that runs faster
#: than the wall it is given so many of ours.
_LATE_S: Final = 60.0
_LATE_OURS_S: Final = 5.0
#: A worker whose process ended without a word is started again so often.
_MOST_DEATHS: Final = 2
_MOST_STARTS: Final = 20
#: How many due times of one definition are entered at a time.
_MOST_DUES: Final = 2_000
#: How often processes are looked through for a worker that somebody else started.
_LOOK_S: Final = 1.0
#: Of that many ended runs the logs are kept.
_KEPT_RUNS: Final = 300
_AT_ONCE: Final = int(os.environ.get("BREEZE_LAB_JOBS_AT_ONCE") or 2)


class Service:
    """What the process does, one sweep at a time.

    Parameters
    ----------
    book
        The open book.
    path
        Its file.
    """

    def __init__(self, book: Book, path: Path) -> None:
        self.book, self.path = book, path
        self._rules: dict[str, when.Rule] = {}
        self._children: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self._looked: dict[int, float] = {}
        self._stop = threading.Event()
        self._idle_since = time.monotonic()
        self._pruned = 0.0

    # -- its life -----------------------------------------------------------

    def stop(self, *_: object) -> None:
        """End after this sweep; workers go on."""
        self._stop.set()

    def serve(self, idle_exit_s: float, pause_s: float = 0.25) -> None:
        """Sweep until `stop`, or until there was nothing to do for `idle_exit_s`."""
        threading.Thread(target=self._alerts, name="alerts", daemon=True).start()
        while not self._stop.is_set():
            try:
                self.sweep()
            except (BreezeLabError, OSError) as exc:
                _log.warning("A sweep failed and is tried again: %s: %s", type(exc).__name__, exc)
            if self._idle(idle_exit_s):
                _log.info("Nothing is scheduled; the service ends.")
                return
            self._stop.wait(pause_s)

    def _idle(self, idle_exit_s: float) -> bool:
        if self.book.definitions(active=True) or self.book.open_runs():
            self._idle_since = time.monotonic()
        return time.monotonic() - self._idle_since > idle_exit_s

    def _alerts(self) -> None:
        while not self._stop.wait(0.5):
            try:
                alerts.deliver(self.book)
            except Exception as exc:  # noqa: BLE001 - an alert never ends the service
                _log.warning("Alerts are tried again: %s", type(exc).__name__)

    def sweep(self) -> None:
        """Look after workers, enter due times, decide, start."""
        readings: dict[str, Reading | None] = {}
        definitions = {one.id: one for one in self.book.definitions()}
        for market in {one.market for one in definitions.values()}:
            readings[market] = markets.read(market)
        self._look_after()
        for one in definitions.values():
            if one.active and one.phrase:
                self._cover(one, readings[one.market])
        self._choose(readings)
        self._prune()

    # -- due times ----------------------------------------------------------

    def _cover(self, one: Definition, reading: Reading | None) -> None:
        """Enter the due times since the last look; decide about those nobody was there for."""
        if reading is None or reading.now_ms <= one.covered_ms:
            return
        rule = self._rules.get(one.phrase)
        if rule is None:
            rule = self._rules[one.phrase] = when.parse(one.phrase)
        since = clock.from_epoch(one.covered_ms / 1000)
        dues = rule.between(since, reading.now, _MOST_DUES)
        if not dues:
            # Nothing to write down, but once in a while: a driven clock may be far behind the wall.
            if reading.now_ms - one.covered_ms > 3_600_000:  # noqa: PLR2004 - an hour
                self.book.cover(one, [], reading.now_ms)
            return
        until = int(dues[-1].timestamp() * 1000) if len(dues) == _MOST_DUES else reading.now_ms
        newest = dues[-1]
        entered = []
        for due in dues:
            late = _is_late(reading, due.timestamp())
            state, message = "due", ""
            if late and one.catch_up == "none":
                state, message = "missed", "nobody was there, and it is not caught up"
            elif late and one.catch_up == "latest" and due != newest:
                state, message = "missed", f"nobody was there; {newest:%d-%m-%Y %H:%M} runs instead"
            entered.append((int(due.timestamp() * 1000), state, late, message))
        self.book.cover(one, entered, until)
        for due in dues[-3:]:
            _log.info("%s is due: %s IST.", one.name, f"{due:%d-%m-%Y %H:%M}")

    # -- what runs ----------------------------------------------------------

    def _choose(self, readings: dict[str, Reading | None]) -> None:
        """Skip what a newer due time replaces, let wait what needs a login, start the rest."""
        runs = self.book.open_runs()
        busy = {run.definition for run in runs if run.state == "running"}
        room = _AT_ONCE - sum(run.state == "running" for run in runs)
        waiting: dict[str, list[Run]] = {}
        for run in runs:
            if run.state in ("due", "waiting"):
                waiting.setdefault(run.definition, []).append(run)
        for name, all_mine in waiting.items():
            one = self.book.definition(name)
            mine = self._without_replaced(one, all_mine)
            first = next((run for run in mine if run.not_before <= time.time()), None)
            if first is None or name in busy or room <= 0 or not self._may(one, first):
                continue
            started = self.book.start(first)
            if started is None:
                continue
            room -= 1
            reading = readings.get(one.market)
            scheduled = first.cause == "schedule" and not first.late
            if scheduled and reading is not None and _is_late(reading, first.due_ms / 1000):
                self.book.mark_late(started)
            self._spawn(one, started)

    def _without_replaced(self, one: Definition, mine: list[Run]) -> list[Run]:
        scheduled = [run for run in mine if run.cause == "schedule"]
        if one.catch_up == "all" or len(scheduled) < 2:  # noqa: PLR2004 - an older and a newer
            return mine
        newest = scheduled[-1]
        due = clock.from_epoch(newest.due_ms / 1000)
        for run in scheduled[:-1]:
            self.book.end(run, "skipped", f"{due:%d-%m-%Y %H:%M} came before it could begin")
        return [run for run in mine if run.cause != "schedule" or run is newest]

    def _may(self, one: Definition, run: Run) -> bool:
        """Say whether a run has the session it needs; where not, it waits and says so."""
        if one.session != "shared":
            return True
        facts = accounts.facts()
        whose = "the practice market" if one.market == "practice" else "ICICI Direct"
        if facts is not None and facts.good and facts.broker == one.market:
            if facts.serial != run.serial:
                return True
            why = "the session it had is no longer accepted"
        elif facts is not None and facts.good:
            why = f"the session is of another account ({facts.broker})"
        else:
            why = "nobody is logged in"
        message = f"Waiting for a login to {whose}: {why}."
        if run.state != "waiting" or run.message != message:
            self.book.put_back(run, "waiting", message)
        return False

    def _spawn(self, one: Definition, run: Run) -> None:
        home = run_folder(run.id)
        environment = {
            name: value for name, value in os.environ.items()
            # No job moves orders, whoever started the service.
            if name not in ("BREEZE_LAB_ALLOW_ORDERS", "BREEZE_LAB_SESSION")
        }  # fmt: skip
        environment[marks.VARIABLE] = marks.mark(self.path, run.id, run.attempt)
        if one.session == "own":
            environment["BREEZE_LAB_SESSION"] = "practice"
        with (home / "log").open("ab") as log:
            self._children[run.id, run.attempt] = subprocess.Popen(
                [sys.executable, "-m", "breeze_lab.jobs.worker", str(run.id), str(run.attempt)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=home, env=environment,
            )  # fmt: skip
        _log.info("Run %d of %s begins, attempt %d.", run.id, one.name, run.attempt)

    # -- what became of it --------------------------------------------------

    def _look_after(self) -> None:
        """End what is cancelled or took too long; find out whose process is gone."""
        runs = self.book.open_runs()
        running = [run for run in runs if run.state == "running"]
        current = {(run.id, run.attempt) for run in running}
        for key, child in list(self._children.items()):
            if child.poll() is not None and key not in current:
                del self._children[key]
                with contextlib.suppress(BreezeLabError):
                    marks.end_all(marks.mark(self.path, *key))
        for run in runs:
            one = self.book.definition(run.definition)
            if run.wanted:
                self._end(one, run, run.wanted, "cancelled by hand")
            elif run.state != "running":
                continue
            elif run.started is not None and time.time() - run.started > one.timeout_s:
                at = f" in cell {run.cell} of {run.cells}" if run.cell else ""
                self._failed(one, run, f"TimedOut{at}", f"it took more than {one.timeout_s:.0f} s")
            elif not self._lives(run):
                self._died(one, run)

    def _lives(self, run: Run) -> bool:
        child = self._children.get((run.id, run.attempt))
        if child is not None:
            return child.poll() is None
        # A service before us started it. Its lock tells, and until it has that its mark.
        try:
            with (run_folder(run.id) / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        if time.monotonic() - self._looked.get(run.id, 0.0) < _LOOK_S:
            return True
        self._looked[run.id] = time.monotonic()
        ours = marks.mark(self.path, run.id, run.attempt)
        return not run.claimed and bool(marks.living(ours))

    def _died(self, one: Definition, run: Run) -> None:
        marks.end_all(marks.mark(self.path, run.id))
        fresh = self.book.run(run.id)
        child = self._children.pop((run.id, run.attempt), None)
        if fresh.state != "running" or fresh.attempt != run.attempt:
            return  # its last act was to tell
        code = child.returncode if child is not None else None
        how = f"ended by {signal.Signals(-code).name}" if code is not None and code < 0 else "gone"
        at = f" in cell {run.cell} of {run.cells}" if run.cell else ""
        # One that never began says nothing about the notebook.
        again = run.deaths < _MOST_DEATHS if run.claimed else run.attempt < _MOST_STARTS
        if again:
            self.book.put_back(
                run, "due", f"Its process was {how}{at}; tried again.", deaths=int(run.claimed)
            )
            _log.warning("Run %d: its process was %s; tried again.", run.id, how)
        else:
            self._failed(one, run, f"ProcessEnded{at}", f"its process was {how} three times")

    def _failed(self, one: Definition, run: Run, kind: str, detail: str) -> None:
        marks.end_all(marks.mark(self.path, run.id))
        if run.failures < one.retries:
            self.book.put_back(run, "due", f"Tried again after {kind}: {detail}", failures=1)
            return
        self._end(one, run, "failed", f"{kind}: {detail}", kind)

    def _end(self, one: Definition, run: Run, state: str, message: str, kind: str = "") -> None:
        marks.end_all(marks.mark(self.path, run.id))
        told = alerts.about(one, run, state, kind)
        if self.book.end(run, state, message, alerts=told):
            _log.info("Run %d of %s: %s, %s", run.id, one.name, state, message)
        path = output_path(one, run)
        for half in (path, path.with_suffix(".html")):
            half.with_name(f".{half.name}.part").unlink(missing_ok=True)

    def _prune(self) -> None:
        """Drop the logs of runs that ended long ago; what became of them stays in the book."""
        if time.monotonic() - self._pruned < 3600 and self._pruned:  # noqa: PLR2004 - an hour
            return
        self._pruned = time.monotonic()
        rows = self.book.ask(
            "SELECT id FROM runs WHERE ended IS NOT NULL ORDER BY id DESC LIMIT -1 OFFSET ?",
            _KEPT_RUNS,
        )
        for row in rows:
            home = self.path.parent / "runs" / str(row["id"])
            if home.exists():
                for file in home.iterdir():
                    file.unlink()
                home.rmdir()


def _is_late(reading: Reading, due: float) -> bool:
    """Say whether a due time (Unix seconds of the market's clock) is long past."""
    behind = reading.now.timestamp() - due
    return behind > max(_LATE_S, _LATE_OURS_S * reading.speed)
