"""The newest lines of a text that never ends.

What a body prints all day is many megabytes, and a notebook keeps all it is
shown. So the newest lines are kept here, and how many went is said above them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["USUAL_LINES", "Lines"]

USUAL_LINES: Final = 200
#: However long lines are, together they are no longer.
MOST_CHARACTERS: Final = 100_000
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


class Lines:
    """The end of a text, line by line.

    Parameters
    ----------
    most
        Lines kept.

    Attributes
    ----------
    dropped
        How many earlier lines went.
    """

    def __init__(self, most: int = USUAL_LINES) -> None:
        """Keep nothing yet."""
        self.most = most
        self.clear()

    def add(self, text: str, *, error: bool = False) -> None:
        """Append a piece of text, of standard error when `error`; a piece may end within a line."""
        *whole, rest = (self._open[error] + text).split("\n")
        for line in whole:
            self._keep(_painted(_overwritten(line), error=error))
        # A bar of progress overwrites its own line for hours.
        again = "\r" if rest.endswith("\r") else ""
        self._open[error] = _overwritten(rest)[-MOST_CHARACTERS:] + again

    @property
    def size(self) -> int:
        """How many characters are kept."""
        return self._size + sum(map(len, self._open.values()))

    def clear(self) -> None:
        """Forget all of it."""
        self.dropped = 0
        self._kept: deque[str] = deque()
        self._size = 0
        self._open = {False: "", True: ""}  # what has no end of line yet, by whether it is an error

    def __str__(self) -> str:
        """Return what is kept, with a word about what is not."""
        rest = [
            _painted(text.rstrip("\r"), error=error) for error, text in self._open.items() if text
        ]
        lines = [*self._kept, *rest]
        if self.dropped:
            many = "lines were" if self.dropped > 1 else "line was"
            lines.insert(0, f"({self.dropped:,} earlier {many} dropped; --lines N keeps N)")
        return "\n".join(lines)

    def _keep(self, line: str) -> None:
        line = line[-MOST_CHARACTERS:]
        self._kept.append(line)
        self._size += len(line)
        while len(self._kept) > self.most or self._size > MOST_CHARACTERS:
            self._size -= len(self._kept.popleft())
            self.dropped += 1


def _overwritten(line: str) -> str:
    """Return what a terminal shows of a line with carriage returns in it."""
    return line.rstrip("\r").rpartition("\r")[2]


def _painted(line: str, *, error: bool) -> str:
    return f"{_RED}{line}{_PLAIN}" if error and line else line
