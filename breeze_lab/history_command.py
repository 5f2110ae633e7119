"""The words of ``breeze-lab history`` and ``%breeze_history``."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Final, NoReturn

from breeze_lab import lab, session
from breeze_lab.bars import Interval
from breeze_lab.errors import HistoryError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from breeze_lab.historical.catalog import Series

__all__ = ["USAGE", "follow"]

#: What can be typed.
USAGE: Final = """\
list                                   what is stored
price RELIANCE 1m --from 2026-01-01    calls it would take now
fetch RELIANCE 1m --from 2026-01-01    fetch what is missing and keep it
verify                                 read every stored byte
forget NSE:RELIANCE 1m                 remove it; forget all removes everything"""


class _Parser(argparse.ArgumentParser):
    """A parser that raises: a notebook must not be left for a typing error."""

    def error(self, message: str) -> NoReturn:
        """Raise with what can be typed."""
        raise SettingsError(f"{message}. What can be typed:\n{USAGE}")


def follow(words: Sequence[str] | str, say: Callable[[str], object]) -> int:
    """Do what was said, a line at a time to `say`; return the exit status.

    Parameters
    ----------
    words
        A line, or its words.

    Raises
    ------
    SettingsError
        They cannot be read; the message says what can be typed.
    BreezeLabError
        As the work raises it.
    """
    if isinstance(words, str):
        try:
            words = shlex.split(words)
        except ValueError:
            raise SettingsError("A quotation mark is left open.") from None
    options = _parser().parse_args(list(words) or ["list"])
    return {"list": _list, "price": _price, "fetch": _fetch, "verify": _verify, "forget": _forget}[
        options.action
    ](options, say)


def _parser() -> _Parser:
    parser = _Parser(prog="breeze-lab history", add_help=False)
    verbs = parser.add_subparsers(dest="action", required=True, parser_class=_Parser)
    for name in ("list", "verify"):
        verbs.add_parser(name, add_help=False)
    for name in ("price", "fetch"):
        verb = verbs.add_parser(name, add_help=False)
        verb.add_argument("name", nargs="+")
        verb.add_argument("--from", dest="start", required=True)
        verb.add_argument("--to", dest="end")
        verb.add_argument("--confirm", action="store_true")
    forget = verbs.add_parser("forget", add_help=False)
    forget.add_argument("name", nargs="+")
    return parser


def _named(words: Sequence[str], default: str | None) -> tuple[str, str | None]:
    """Return the name and the interval that words say; the last is one when it reads like it."""
    from breeze_lab.magics import reads_like_interval  # noqa: PLC0415 - loads IPython

    if len(words) > 1 and reads_like_interval(words[-1]):
        return " ".join(words[:-1]), Interval.parse(words[-1]).label
    return " ".join(words), default


def _list(_options: argparse.Namespace, say: Callable[[str], object]) -> int:
    from breeze_lab.historical import catalog  # noqa: PLC0415 - numpy, on first use

    known = catalog.series()
    say("\n".join(map(_row, known)) or "No bars are stored yet.")
    return 0


def _row(one: Series) -> str:
    return (
        f"{one.store:<25} {one.key:<34} {one.interval:>3} {one.bars:>9,} bars, known from "
        f"{one.first:%Y-%m-%d} to {one.last:%Y-%m-%d %H:%M}, {one.bytes / 1e6:,.2f} MB"
    )


def _price(options: argparse.Namespace, say: Callable[[str], object]) -> int:
    from breeze_lab import historical, history_price  # noqa: PLC0415 - see _list

    now = session.current()
    name, interval = _named(options.name, "1d")
    instrument, length = now.resolve(name), Interval.parse(interval or "1d")
    start, end = lab.moments(options.start, options.end)
    calls = historical.price(now, instrument, length, start, end)
    say(f"{instrument.key} {length.label}: {history_price.words(calls, now.meter)}")
    return 0


def _fetch(options: argparse.Namespace, say: Callable[[str], object]) -> int:
    name, interval = _named(options.name, "1d")
    frame = lab.history(name, interval or "1d", options.start, options.end, confirm=options.confirm)
    told = frame.attrs
    if "unkept" in told:
        raise HistoryError(told["unkept"])
    say(
        f"{told['instrument']} {told['interval']}: {len(frame):,} bars, {told['calls']} calls, "
        f"{told['stored']:,} were stored before"
    )
    return 0


def _verify(_options: argparse.Namespace, say: Callable[[str], object]) -> int:
    from breeze_lab.historical import catalog  # noqa: PLC0415 - see _list

    whole, damaged = catalog.verify()
    said = f"{whole} files, every byte as it was written"
    if damaged:
        said += f"; {damaged} damaged, put aside"
    say(said)
    return int(damaged > 0)


def _forget(options: argparse.Namespace, say: Callable[[str], object]) -> int:
    from breeze_lab.historical import catalog  # noqa: PLC0415 - see _list

    name, interval = _named(options.name, None)
    known = {one.key for one in catalog.series()}
    if name not in known and name != "all":
        known_now = session.joined()
        if known_now is not None:
            name = known_now.resolve(name).key
    if name not in known and name != "all":
        raise SettingsError(
            f"Nothing is stored of {name!r}. See breeze-lab history list; names are as it tells "
            "them, or all."
        )
    say(f"{catalog.forget(name, interval) / 1e6:,.2f} MB are free again.")
    return 0
