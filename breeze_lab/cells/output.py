"""The output area of one cell, written from the thread of its body.

A line tells how the body stands; the value of its last line is shown in place;
what it displays replaces what its last run displayed; of what it prints the
newest lines are shown. So the output of a day is as long as that of a minute.

The lines are one display that changes. They are taken from the messages that
ipykernel makes of printed text, on its output thread, which is also where the
display is sent from: what a run prints appears while it still runs.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import uuid
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Final

from IPython import display

from breeze_lab import clock
from breeze_lab.cells.lines import USUAL_LINES, Lines
from breeze_lab.streaming.watch import WatchDisplay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from breeze_lab.streaming import Stream, Watch

__all__ = ["CellOutput"]

#: A person reads no faster.
_STATUS_EVERY_S: Final = 0.5
_VALUE_EVERY_S: Final = 0.1
#: Characters of tracebacks and of displays with names of their own after which a cell is cleared.
MOST_CHARACTERS: Final = 200_000
#: The lines are shown so often, and more seldom when they are long.
_LINES_EVERY_S: Final = 0.15
_LONG: Final = 20_000
#: About what a traceback has.
_TRACEBACK: Final = 2_000


class CellOutput(WatchDisplay):
    """Show one body in the cell it was written in; made while that cell runs.

    Parameters
    ----------
    shell
        IPython's.
    title
        What runs, ``"on_tick NSE:RELIANCE"``.
    stream
        Whose state is shown.
    lines
        How many printed lines are kept.
    quiet
        Show no line about how it stands, unless it ends by an error.
    on_end
        Called when it is over, on the body's thread.
    """

    warns: ClassVar = False

    def __init__(
        self,
        shell: Any,
        title: str,
        stream: Stream,
        *,
        quiet: bool,
        on_end: Callable[[], object],
        lines: int = USUAL_LINES,
    ) -> None:
        """Show the line."""
        self._shell, self._title, self._stream = shell, title, stream
        self._on_end = on_end
        self._parent = shell.get_parent() if hasattr(shell, "get_parent") else None
        # A terminal would print each state below the one before.
        shown = not quiet and hasattr(shell, "kernel")
        self._status = _display(_Status(title, "running")) if shown else None
        self._status_at = 0.0
        self._value: Any = None  # the handle of the value shown in place
        self._waiting: list[Any] = []  # a value that was not due yet
        self._value_at = 0.0
        self._written = 0
        self._trouble = ""
        self._displays: list[str] = []  # ids of what a run displays, in its order
        self._displayed = 0  # in this run
        self._ours = False  # whether we clear the cell ourselves
        self._guard = threading.Lock()  # guards all below: the output thread is another one
        self._lines = Lines(lines)
        self._lines_id = ""  # of the display that shows them
        self._lines_at = 0.0
        self._lines_due = False  # whether they will be shown later

    # -- called on the body's thread ---------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send what this thread prints, displays and raises to the cell."""
        set_parent = getattr(self._shell, "set_thread_parent", None)
        if set_parent is None or self._parent is None:
            yield  # a terminal has one place for all
            return
        tokens = set_parent(self._parent)
        self._shell.display_pub.register_hook(self._on_display)
        self._streams("register_hook")
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            self._streams("unregister_hook")
            self._shell.reset_thread_parent(tokens)

    def idle_s(self) -> float:
        """Return soon when a value waits to be shown."""
        return _VALUE_EVERY_S if self._waiting else 2 * _STATUS_EVERY_S

    def before(self, watch: Watch) -> None:
        """Clear a cell that was written full, and begin to replace what the last run displayed."""
        self._displayed = 0
        if self._written < MOST_CHARACTERS:
            return
        self._written = 0
        self._ours = True
        self._shell.display_pub.clear_output(wait=False)
        self._ours = False
        self._value = None
        self._displays.clear()
        with self._guard:
            self._lines_id = ""
        if self._status is not None:
            self._status.display(self._line(watch))
        print("(What was shown before was cleared; the cell goes on.)")  # noqa: T201 - the cell's

    def show(self, value: object) -> None:
        """Show the value of the body's last line in place."""
        if value is not None:
            self._waiting = [value]
            self._flush()

    def look(self, watch: Watch) -> None:
        """Show the waiting value, and how it stands."""
        self._flush()
        now = time.monotonic()
        if self._status is not None and now - self._status_at >= _STATUS_EVERY_S:
            self._status_at = now
            self._status.update(self._line(watch))

    def failed(self, watch: Watch, error: BaseException) -> None:
        """Show the traceback, of an error that repeats itself only once."""
        inner = error.__traceback__
        while inner is not None and _ours(inner):
            inner = inner.tb_next
        line = 0 if inner is None else inner.tb_lineno
        trouble = f"{type(error).__name__} in line {line}"
        if trouble == self._trouble and watch.running:
            return
        self._trouble = trouble
        self._written += _TRACEBACK
        self._shell.showtraceback((type(error), error, inner), tb_offset=0)
        if not watch.running:
            print(  # noqa: T201 - the cell's
                f"{self._title} stopped here; the feed and other cells go on. Mend the cell and "
                "run it again. With --keep-going it goes on after errors.",
                file=sys.stderr,
            )

    def ended(self, watch: Watch) -> None:
        """Show that it is over."""
        try:
            self._value_at = 0.0
            self._flush()
            if self._status is not None:
                self._status.update(self._line(watch))
        finally:
            self._on_end()

    def _flush(self) -> None:
        now = time.monotonic()
        if not self._waiting or now - self._value_at < _VALUE_EVERY_S:
            return
        self._value_at = now
        value = self._waiting.pop()
        if self._value is None:
            self._value = _display(value)
        else:
            self._value.update(value)

    def _line(self, watch: Watch) -> _Status:
        words = [watch.reason or "running"]
        if not watch.reason and self._stream.state not in ("live", "quiet"):
            words.append(f"the feed is {self._stream.state}")
        words.append(f"{watch.runs:,} run{'s' * (watch.runs != 1)}")
        if watch.skipped:
            words.append(f"{watch.skipped:,} skipped")
        if watch.errors:
            words.append(f"{watch.errors:,} failed")
        words.append(f"as of {clock.now():%H:%M:%S}")  # a kernel that was killed changes it no more
        return _Status(self._title, *words)

    # -- what the body prints and displays ---------------------------------

    def _streams(self, what: str) -> None:
        """Register or unregister what takes printed text, on the thread that sends it."""
        for stream in (sys.stdout, sys.stderr):
            thread = getattr(stream, "pub_thread", None)
            hook = getattr(stream, what, None)
            if thread is not None and hook is not None:
                thread.schedule(lambda hook=hook: hook(self._on_text))

    def _on_text(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take a piece of printed text; runs on the kernel's output thread for everybody's.

        A message always goes on: where a hook keeps one back, ipykernel also
        forgets the text of all others that wait.
        """
        parent = message["parent_header"]
        mine = (self._parent or {}).get("header", {}).get("msg_id")
        if parent.get("msg_id") != mine:
            return message
        content = message["content"]
        with self._guard:
            self._lines.add(content["text"], error=content["name"] == "stderr")
            wait_s = self._lines_at + self._pace_s() - time.monotonic()
            if self._lines_due or wait_s > 0:
                if not self._lines_due:
                    self._lines_due = True
                    _output_thread().io_loop.call_later(wait_s, self._show_lines, parent)
                return self._message("update_display_data", _NOTHING, parent)
            return self._lines_message(parent)

    def _show_lines(self, parent: dict[str, Any]) -> None:
        """Show the lines that were not due yet; on the output thread."""
        with self._guard:
            self._lines_due = False
            message = self._lines_message(parent)
        self._shell.display_pub.session.send(
            _output_thread(), message, ident=self._shell.display_pub.topic
        )

    def _pace_s(self) -> float:
        return _LINES_EVERY_S * (1 + self._lines.size / _LONG)

    def _lines_message(self, parent: dict[str, Any]) -> dict[str, Any]:
        """Return the message that shows the lines as they are."""
        kind = "update_display_data" if self._lines_id else "display_data"
        self._lines_id = self._lines_id or uuid.uuid4().hex
        self._lines_at = time.monotonic()
        content = {
            "data": {"text/plain": str(self._lines)}, "metadata": {},
            "transient": {"display_id": self._lines_id},
        }  # fmt: skip
        return self._message(kind, content, parent)

    def _message(
        self, kind: str, content: dict[str, Any], parent: dict[str, Any]
    ) -> dict[str, Any]:
        made: dict[str, Any] = self._shell.display_pub.session.msg(kind, content, parent=parent)
        return made

    def _on_display(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Let a display replace the one at its place in the last run; on the body's thread."""
        content = message["content"]
        if message["msg_type"] == "clear_output":
            if self._ours:
                return message
            # The line about how it stands is not the body's to clear; the lines are.
            self._displayed = 0
            with self._guard:
                self._lines.clear()
            return None
        named = content.get("transient", {}).get("display_id")
        if message["msg_type"] != "display_data" or named:
            if named not in (None, *self._handles()):
                self._written += sum(map(len, map(str, content["data"].values())))
            return message
        kind = "update_display_data"
        if self._displayed == len(self._displays):
            kind = "display_data"
            self._displays.append(uuid.uuid4().hex)
        transient = {**content.get("transient", {}), "display_id": self._displays[self._displayed]}
        self._displayed += 1
        return self._message(kind, {**content, "transient": transient}, message["parent_header"])

    def _handles(self) -> list[str]:
        """Return the ids of what we show ourselves, in place."""
        return [one.display_id for one in (self._status, self._value) if one is not None]


#: What changes nothing anywhere: an update of a display that nobody has.
_NOTHING: Final[dict[str, Any]] = {
    "data": {}, "metadata": {}, "transient": {"display_id": "breeze-lab-nothing"},
}  # fmt: skip


def _output_thread() -> Any:
    """Return ipykernel's thread that sends what is printed."""
    stream: Any = sys.stdout
    return stream.pub_thread


def _ours(trace: TracebackType) -> bool:
    """Say whether a frame is of this package, which is nobody's business in a traceback."""
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("breeze_lab.")


def _display(value: object) -> Any:
    """Display `value`; return the handle that updates it."""
    show: Any = display.display
    return show(value, display_id=True)


class _Status:
    """One line: what runs and how it stands."""

    def __init__(self, title: str, *words: str) -> None:
        self._title, self._words = title, words

    def __repr__(self) -> str:
        return f"{self._title}: {', '.join(self._words)}"

    def _repr_html_(self) -> str:
        state = self._words[0]
        dot = "#089a81" if state == "running" else "#5b6472"
        rest = " · ".join(escape(word) for word in self._words)
        return (
            f"<div class='breeze-lab-watch' data-state='{escape(state)}'>"
            f"<span style='color:{dot}'>●</span> <b>{escape(self._title)}</b> {rest}</div>"
        )
