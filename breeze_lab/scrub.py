"""Take a secret that was typed on a magic's line out of IPython's history again.

It is there many times by the time the magic runs: in the lists behind ``In``
and ``_ih``, in ``_i``, ``_ii``, ``_i5`` and their like, in the cache of what is
to be written, and in the history database, where other notebooks find it. What
the notebook's own document shows only its reader can delete.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["REMOVED", "harmless", "history", "text", "words"]

#: What stands in the place of a secret.
REMOVED: Final = "[removed]"
#: A line that begins with the magic, and what follows its harmless words.
_LINE: Final = re.compile(r"(?m)(%{0,2}\bbreeze_login)[ \t]+(\S[^\n]*)")
#: The same as IPython rewrote it.
_CALL: Final = re.compile(r"(?m)(run_line_magic\(\s*)(['\"])breeze_login\2\s*,([^\n]*)")
#: All that may stand behind the magic.
_HARMLESS: Final = re.compile(
    r"\s*(?:|rehearse|practice(?:\s+(?:--seed\s+\d{1,6}|--exchange-hours|--no-limits))*)\s*"
)
_CELL: Final = re.compile(r"%%breeze_login\b")
_VARIABLE: Final = re.compile(r"_i{1,3}|_i\d+|_i00")
#: Shorter words are replaced in the magic's own line only: they may be words of any sentence.
_SHORTEST: Final = 6
_DB_WAIT_S: Final = 5.0


def words(line: str) -> list[str]:
    """Return the words of a magic's line; an open quotation mark is a word's own sign."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def harmless(line: str) -> bool:
    """Say whether `line` holds nothing but words that the magic knows."""
    return _HARMLESS.fullmatch(line) is not None


def text(source: str, secrets: Sequence[str]) -> str:
    """Return `source` without what follows the magic, and without `secrets` anywhere in it.

    Examples
    --------
    >>> text("%breeze_login abc1234", ["abc1234"])
    '%breeze_login [removed]'
    """
    if _CELL.match(source.lstrip()):
        return f"%%breeze_login {REMOVED}"
    if "run_cell_magic" in source and "breeze_login" in source:
        return f"get_ipython().run_cell_magic('breeze_login', '{REMOVED}', '')"
    found = _CALL.sub(_without_argument, source)
    found = _LINE.sub(lambda m: m[0] if harmless(m[2]) else f"{m[1]} {REMOVED}", found)
    for secret in sorted(secrets, key=len, reverse=True):
        found = found.replace(secret, REMOVED)
    return found


def _without_argument(call: re.Match[str]) -> str:
    argument = call[3].strip().removesuffix(")").strip("'\" ")
    if harmless(argument):
        return call[0]
    return f"{call[1]}{call[2]}breeze_login{call[2]}, {call[2]}{REMOVED}{call[2]})"


def history(shell: Any, secrets: Sequence[str]) -> bool:
    """Take `secrets`, and whatever follows the magic, out of everything that remembers input.

    Parameters
    ----------
    shell
        The IPython shell.
    secrets
        The words to look for elsewhere too; short ones are not.

    Returns
    -------
    bool
        False when the database could not be written, and still has it.
    """
    long = [secret for secret in secrets if len(secret) >= _SHORTEST]
    manager = getattr(shell, "history_manager", None)
    for name in [name for name in shell.user_ns if _VARIABLE.fullmatch(name)]:
        if isinstance(shell.user_ns[name], str):
            shell.user_ns[name] = text(shell.user_ns[name], long)
    if manager is None:
        return True
    for name in ("_i", "_ii", "_iii", "_i00"):
        setattr(manager, name, text(getattr(manager, name, ""), long))
    for remembered in (manager.input_hist_parsed, manager.input_hist_raw):
        remembered[:] = [text(source, long) for source in remembered]
    with manager.db_input_cache_lock:
        # Whoever writes the cache holds this lock, so all is either here or in the database.
        manager.db_input_cache[:] = [
            (number, text(source, long), text(raw, long))
            for number, source, raw in manager.db_input_cache
        ]
    return _database(manager, long)


def _database(manager: Any, secrets: Sequence[str]) -> bool:
    if not getattr(manager, "enabled", False):
        return True
    where = str(manager.hist_file)
    with contextlib.ExitStack() as stack:
        try:
            if where == ":memory:":
                base = manager.db
            else:
                base = stack.enter_context(
                    contextlib.closing(sqlite3.connect(where, timeout=_DB_WAIT_S))
                )
            # Otherwise the old text stays in the file's free pages.
            base.execute("PRAGMA secure_delete = ON")
            looked_for = ["breeze_login", *secrets]
            clause = " OR ".join(["instr(source, ?) OR instr(source_raw, ?)"] * len(looked_for))
            rows = base.execute(
                f"SELECT session, line, source, source_raw FROM history WHERE {clause}",  # noqa: S608 - only question marks
                [word for word in looked_for for _ in range(2)],
            ).fetchall()
            for session, line, source, raw in rows:
                clean = text(source or "", secrets), text(raw or "", secrets)
                if clean != (source, raw):
                    base.execute(
                        "UPDATE history SET source = ?, source_raw = ? "
                        "WHERE session = ? AND line = ?",
                        (*clean, session, line),
                    )
            base.commit()
        except sqlite3.Error:
            return False
    return True
