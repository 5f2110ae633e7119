"""The bodies that run in this kernel, and everything that ends them.

A rerun of their cell, an interrupt of the kernel (also while nothing runs) and
``%on_tick stop``. With the kernel they are gone: they are threads of it.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from breeze_lab.streaming import Stream, Watch

__all__ = ["Cell", "add", "drop", "listed", "prepare", "stop"]


@dataclass
class Cell:
    """A body that runs.

    Parameters
    ----------
    number
        By which a person stops it.
    magic, line
        What was typed.
    cell_id
        Of the notebook's cell; None where the front end names none.
    stream, watch
        What it listens to and what runs it.
    """

    number: int
    magic: str
    line: str
    cell_id: str | None
    stream: Stream
    watch: Watch | None = None

    def stop(self, reason: str) -> None:
        """End it, in the middle of a run if need be."""
        if self.watch is not None:
            self.watch.stop(reason, interrupt=True)
        self.stream.close()


_numbers: Final = itertools.count(1)
_lock: Final = threading.Lock()  # guards _cells
_cells: Final[dict[int, Cell]] = {}
_prepared: Final[set[int]] = set()


def add(magic: str, line: str, cell_id: str | None, stream: Stream) -> Cell:
    """Note a body that is about to run."""
    cell = Cell(next(_numbers), magic, line, cell_id, stream)
    with _lock:
        _cells[cell.number] = cell
    return cell


def drop(cell: Cell) -> None:
    """Forget a body that is over."""
    with _lock:
        _cells.pop(cell.number, None)


def listed(magic: str | None = None) -> list[Cell]:
    """Return the bodies that run, oldest first."""
    with _lock:
        return [cell for cell in _cells.values() if magic in (None, cell.magic)]


def stop(cells: list[Cell], reason: str) -> None:
    """End some bodies."""
    for cell in cells:
        cell.stop(reason)


def prepare(shell: Any, magic: str, line: str) -> str | None:
    """Make room for a body: end the one of the same cell; return the cell's id.

    Parameters
    ----------
    shell
        IPython's. On its first call the ways to end a body are set up.
    magic, line
        By which a cell is known to be run again where the front end sends no ids.
    """
    if id(shell) not in _prepared:
        _prepared.add(id(shell))
        _listen(shell)
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell_id = (parent.get("metadata") or {}).get("cellId")
    if cell_id is None:
        same = [c for c in listed(magic) if c.cell_id is None and c.line == line]
    else:
        same = [c for c in listed() if c.cell_id == cell_id]
    stop(same, "run again")
    return cell_id


def _listen(shell: Any) -> None:
    def before_cell(info: Any) -> None:
        ran = getattr(info, "cell_id", None)
        if ran is not None:  # whatever the cell holds by now
            stop([c for c in listed() if c.cell_id == ran], "run again")

    def after_cell(result: Any) -> None:
        # A cell that awaits is cancelled by an interrupt.
        interrupted = (KeyboardInterrupt, asyncio.CancelledError)
        if result is None or isinstance(result.error_in_exec, interrupted):
            stop(listed(), "interrupted")

    shell.events.register("pre_run_cell", before_cell)
    shell.events.register("post_run_cell", after_cell)
    kernel = getattr(shell, "kernel", None)
    if kernel is not None and threading.current_thread() is threading.main_thread():
        # ipykernel ignores the signal while no cell runs and puts this handler back after each.
        kernel.saved_sigint_handler = _idle_handler(kernel.saved_sigint_handler)


def _idle_handler(before: Any) -> Any:
    """Return what to do with an interrupt while no cell runs."""

    def interrupted(number: int, frame: Any) -> None:
        # On a thread, because the signal may have come in the middle of anything.
        threading.Thread(target=lambda: stop(listed(), "interrupted"), daemon=True).start()
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)

    return interrupted
