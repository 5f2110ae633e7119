"""The magic ``%breeze_replay``: a recorded day through the same feed, charts and history."""

from __future__ import annotations

import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

__all__ = ["ReplayMagics"]

_TAKE_A_WORD = ("--speed", "--from", "--instruments", "--market")


@magics_class
class ReplayMagics(Magics):
    """The line magic over `breeze_lab.replays`."""

    @line_magic
    def breeze_replay(self, line: str) -> None:
        """Replay a recorded day.

        ::

            %breeze_replay                          which days there are
            %breeze_replay 2026-11-19 --speed 20
            %breeze_replay 2026-11-19 --from 09:15 --instruments RELIANCE,NIFTY --paused
            %breeze_replay off                      back to where you were

        The practice market plays it and this notebook logs in to that. Pause,
        jump and change the speed with ``%breeze_practice``.
        """
        from breeze_lab import replays, session  # noqa: PLC0415 - the extension must cost nothing

        words = shlex.split(line)
        if words == ["off"]:
            print(f"The replay has ended. Logged in to {replays.stop()}.")  # noqa: T201 - see below
            return
        if not words:
            _list()
            return
        day, options = _options(words)
        replays.start(day, **options)
        record = session.practice_record() or {}
        print(  # noqa: T201 - a magic answers by printing
            f"Replay of {day} at {options.get('speed', 1.0):g} times its speed"
            f"{', paused: %breeze_practice resume' * bool(record.get('paused'))}. Charts, history "
            "and feeds of this notebook are that day's now; no real money. What was not recorded "
            "is invented. Drive it with %breeze_practice, end it with %breeze_replay off."
        )


def _list() -> None:
    from breeze_lab import recordings  # noqa: PLC0415 - see breeze_replay
    from breeze_lab.recordings import command  # noqa: PLC0415

    known = [command.row(one) for one in recordings.days()]
    print("\n".join(known) or "Nothing was recorded yet.")  # noqa: T201 - see breeze_replay


def _options(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the day and the options of `replays.start`."""
    options: dict[str, Any] = {}
    days: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--paused":
            options["paused"] = True
        elif word in _TAKE_A_WORD:
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"{word} takes a word: %breeze_replay 2026-11-19 --speed 20")
            options[word.removeprefix("--")] = rest.pop(0)
        elif word.startswith("-"):
            known = ", ".join((*_TAKE_A_WORD, "--paused"))
            raise UsageError(f"%breeze_replay knows {known}; not {word!r}.")
        else:
            days.append(word)
    if len(days) != 1:
        raise UsageError("Which day? For example: %breeze_replay 2026-11-19 --speed 20")
    return days[0], _values(options)


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """Return the words behind the options as `replays.start` takes them."""
    if "speed" in options:
        try:
            options["speed"] = float(options["speed"])
        except ValueError:
            raise UsageError("--speed takes a number: --speed 20") from None
    if "from" in options:
        options["at"] = options.pop("from")
    if "instruments" in options:
        options["instruments"] = [n.strip() for n in options["instruments"].split(",") if n.strip()]
    return options
