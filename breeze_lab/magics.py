"""The magics: ``%breeze_login``, ``%breeze_status``, ``%breeze_practice``, ``%candles`` and more.

A thin face of `breeze_lab.lab` that reads a magic's line. It imports nothing
but IPython until a magic runs. A secret never belongs on a line, because lines
are kept in the history; the login asks for secrets in a form.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class

if TYPE_CHECKING:
    from breeze_lab.checkup import Checkup
    from breeze_lab.lab import Status
    from breeze_lab.quotes import Quote
    from breeze_lab.widgets import LiveChart, Search, TruthTable

__all__ = ["BreezeMagics", "reads_like_interval"]

_PRACTICE_OPTIONS = {"--seed": int, "--exchange-hours": None, "--no-limits": None}


@magics_class
class BreezeMagics(Magics):
    """Line magics over `breeze_lab.lab`."""

    @line_cell_magic
    def breeze_login(self, line: str, cell: str | None = None) -> Any:
        """Log in.

        ::

            %breeze_login             your ICICI Direct account: keys once, then one button
            %breeze_login practice    the practice market: no account, nothing to type
            %breeze_login rehearse    the account's way, at the practice market's login page

        When another notebook has logged in, this one joins. ``practice`` takes
        ``--seed N`` (another market), ``--exchange-hours``
        (trades only when NSE does) and ``--no-limits`` (never refuses a call
        for its number). Never type a key, secret or session on the line.
        """
        from breeze_lab import scrub, session, warmup  # noqa: PLC0415 - the extension must be free

        words = scrub.words(line)
        if cell is not None or not scrub.harmless(line):
            _refuse(self.shell, [*words, *(cell or "").split()])
        if not words or words == ["rehearse"]:
            from breeze_lab.widgets import Login  # noqa: PLC0415 - loads ipywidgets

            known = session.joined()
            if known is not None:
                warmup.begin(known)
                print(  # noqa: T201 - see below
                    f"Logged in to {'the practice market' if known.practice else 'ICICI Direct'} "
                    f"as {known.identity.name} until {known.until:%d-%m-%Y %H:%M} IST: all your "
                    "notebooks share the session."
                )
            return Login(rehearse=bool(words))
        options = _options(words[1:])
        now = session.login_practice(**options)
        warmup.begin(now)
        print(  # noqa: T201 - a magic answers by printing
            f"Practice market: logged in as {now.identity.name} until "
            f"{now.until:%d-%m-%Y %H:%M} IST. No account, no real money."
        )
        return None

    @line_magic
    def breeze_search(self, line: str) -> Search:
        """Find an instrument by typing: ``%breeze_search``, or ``%breeze_search relianc``.

        Arrows and Enter pick; ``found = %breeze_search`` keeps the pick in
        ``found.instrument``. Each row can also chart, watch or copy its line.
        """
        from breeze_lab.widgets import Search  # noqa: PLC0415 - loads ipywidgets

        return Search(line.strip())

    @line_magic
    def breeze_status(self, line: str) -> Status:
        """Show who is logged in, until when, over which endpoints, and the feed's age."""
        from breeze_lab import lab  # noqa: PLC0415 - see breeze_login

        if line.strip():
            raise UsageError("%breeze_status takes no arguments.")
        return lab.status()

    @line_magic
    def breeze_feed(self, line: str) -> TruthTable:
        """Show what became of every instrument, who listens, and how the relay stands.

        Asked, joined, first and last tick, ticks, gaps and age; it goes on by
        itself while the cell is shown. A click on a heading sorts.
        """
        from breeze_lab.widgets import TruthTable  # noqa: PLC0415 - loads ipywidgets

        if line.strip():
            raise UsageError("%breeze_feed takes no arguments.")
        return TruthTable()

    @line_magic
    def breeze_doctor(self, line: str) -> Checkup:
        """Tell whether it is you or the broker: ``%breeze_doctor``, ``%breeze_doctor icici``."""
        from breeze_lab import checkup  # noqa: PLC0415 - see breeze_login

        return checkup.doctor(line.strip() or None)

    @line_magic
    def breeze_practice(self, line: str) -> None:
        """Drive the practice market: its clock, and faults at will.

        ::

            %breeze_practice              where it stands, and all that can be typed
            %breeze_practice drop 30s     break something; it heals by itself
            %breeze_practice speed 60
            %breeze_practice jump 09:15
            %breeze_practice clear

        It never touches a real account.
        """
        from breeze_lab import session  # noqa: PLC0415 - see breeze_login
        from breeze_lab.errors import SettingsError  # noqa: PLC0415 - see breeze_login
        from breeze_lab.practice import control  # noqa: PLC0415 - see breeze_login

        now = session.peek()
        if now is not None and not now.practice:
            raise SettingsError(
                "%breeze_practice only drives the practice market, and this notebook is logged in "
                "to ICICI Direct. Nothing was done. Use a notebook of its own: "
                "%breeze_login practice."
            )
        try:
            words = shlex.split(line)
        except ValueError:
            raise UsageError(
                'A quotation mark is left open: %breeze_practice gap 2m "4.1!NIFTY 50"'
            ) from None
        print(control.follow(words))  # noqa: T201 - see breeze_login
        if words[:1] == ["clear"] and now is not None:
            now.meter.reopen()  # refusals that were ordered keep nobody waiting

    @line_magic
    def candles(self, line: str) -> LiveChart:
        """Show a live candle chart: ``%candles RELIANCE 1m`` or ``%candles NIFTY fut 5m``.

        The last word is the interval when it reads like one (default ``1m``);
        ``--bars N`` sets how many candles it starts with;
        ``--indicators "ema(20), rsi"`` draws them, in quotation marks.
        """
        from breeze_lab import lab  # noqa: PLC0415 - see breeze_login

        words = shlex.split(line)
        options: dict[str, Any] = {}
        if "--bars" in words:
            at = words.index("--bars")
            try:
                options["bars"] = int(words[at + 1])
            except (IndexError, ValueError):
                raise UsageError("--bars takes a number: %candles RELIANCE 1m --bars 500") from None
            del words[at : at + 2]
        if "--indicators" in words:
            at = words.index("--indicators")
            if at + 1 >= len(words):
                raise UsageError(
                    'Which? For example: %candles RELIANCE 5m --indicators "ema(20), rsi"'
                )
            options["indicators"] = words[at + 1]
            del words[at : at + 2]
        interval = words.pop() if len(words) > 1 and reads_like_interval(words[-1]) else "1m"
        if not words:
            raise UsageError("Which instrument? For example: %candles RELIANCE 1m")
        return lab.candles(" ".join(words), interval, **options)

    @line_magic
    def quote(self, line: str) -> Quote:
        """Show the current price of an instrument: ``%quote RELIANCE``."""
        from breeze_lab import lab  # noqa: PLC0415 - see breeze_login

        if not line.strip():
            raise UsageError("Which instrument? For example: %quote RELIANCE")
        return lab.quote(line.strip())


def _refuse(shell: Any, typed: list[str]) -> NoReturn:
    """Take what was typed out of the history and say what to do; it is not repeated."""
    from breeze_lab import scrub  # noqa: PLC0415 - see breeze_login

    known = ("practice", "rehearse", *_PRACTICE_OPTIONS)
    clean = scrub.history(shell, [word for word in typed if word not in known])
    said = (
        "It was taken out of IPython's history"
        if clean
        else "It is still in IPython's history database, which could not be written: run "
        "%history -g breeze_login to see it, and delete the file"
    )
    raise UsageError(
        "Type no key, secret or session on this line: lines are kept. "
        f"{said}; delete the line from the notebook too. If it was real, renew it on the "
        "broker's app page now. %breeze_login alone opens a form; the only words it takes are "
        f"practice ({', '.join(_PRACTICE_OPTIONS)}) and rehearse."
    )


def reads_like_interval(word: str) -> bool:
    """Say whether a word of a magic's line is meant as an interval."""
    from breeze_lab.bars import Interval  # noqa: PLC0415 - see breeze_login
    from breeze_lab.errors import SettingsError  # noqa: PLC0415 - see breeze_login

    try:
        Interval.parse(word)
    except SettingsError:
        # 2m looks like an interval we lack: say so instead of searching a company called "2m".
        return word[:1].isdigit() and word[-1:].isalpha() and len(word) <= 4  # noqa: PLR2004
    return True


def _options(words: list[str]) -> dict[str, object]:
    options: dict[str, object] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word not in _PRACTICE_OPTIONS:
            known = ", ".join(_PRACTICE_OPTIONS)
            raise UsageError(f"%breeze_login practice knows {known}; not {word!r}.")
        kind = _PRACTICE_OPTIONS[word]
        name = word.removeprefix("--").replace("-", "_")
        if kind is None:
            options[name] = True
            continue
        try:
            options[name] = kind(rest.pop(0))
        except (IndexError, ValueError):
            raise UsageError(f"{word} takes a number.") from None
    return options
