"""``%schedule``: run a notebook by itself, on market time."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

if TYPE_CHECKING:
    from breeze_lab.jobs.face import Job

__all__ = ["ScheduleMagics"]

_VALUES: Final = {
    "--name": str, "--timeout": float, "--retries": int, "--catch-up": str, "--alert": str,
    "--session": str, "--output": str,
}  # fmt: skip


@magics_class
class ScheduleMagics(Magics):
    """A line over `breeze_lab.schedule`."""

    @line_magic
    def schedule(self, line: str) -> Job | None:
        """Schedule a notebook, or list what is scheduled.

        ::

            %schedule nightly.ipynb after F&O close on trading days
            %schedule nightly.ipynb 15:00 on expiry days --set top=5 --retries 2
            %schedule                       what is scheduled, and the last runs

        The first word is the notebook (in quotation marks where it has blanks),
        the others say when. ``--set NAME=VALUE`` gives a parameter; further
        options are those of `breeze_lab.schedule`: ``--name``, ``--timeout``,
        ``--retries``, ``--catch-up``, ``--alert``, ``--session``, ``--output``,
        ``--html``.
        """
        from breeze_lab.jobs import command, face  # noqa: PLC0415 - the extension costs nothing
        from breeze_lab.jobs.book import open_book  # noqa: PLC0415 - see above

        try:
            words = shlex.split(line)
        except ValueError:
            raise UsageError("A quotation mark is left open.") from None
        if not words:
            book = open_book(must_exist=True)
            jobs = book.definitions() if book is not None else []
            shown = [repr(face.Job(one.name)) for one in jobs]
            print("\n".join(shown) or "Nothing is scheduled. %schedule? shows how.")  # noqa: T201 - a magic answers by printing
            return None
        plain, options, given = _read(words)
        if len(plain) < 2:  # noqa: PLR2004 - what and when
            raise UsageError(
                "Which notebook, and when? %schedule nightly.ipynb after F&O close on trading days"
            )
        return face.schedule(plain[0], " ".join(plain[1:]), command.pairs(given), **options)


def _read(words: list[str]) -> tuple[list[str], dict[str, Any], list[str]]:
    plain: list[str] = []
    given: list[str] = []
    options: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            plain.append(word)
            continue
        if word == "--html":
            options["html"] = True
            continue
        if word != "--set" and word not in _VALUES:
            known = ", ".join(("--set", "--html", *_VALUES))
            raise UsageError(f"%schedule knows {known}; not {word!r}.")
        try:
            value = rest.pop(0)
            if word == "--set":
                given.append(value)
            else:
                options[word.removeprefix("--").replace("-", "_")] = _VALUES[word](value)
        except (IndexError, ValueError):
            raise UsageError(f"{word} takes a value.") from None
    return plain, options, given
