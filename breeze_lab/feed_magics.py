"""The magics of the live feed: ``%%on_tick`` and ``%%on_bar``.

They read a magic's line; `breeze_lab.cells` runs the bodies.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.bars import Interval
    from breeze_lab.feed import Delivery
    from breeze_lab.instruments import Instrument

__all__ = ["FeedMagics"]

#: The newest ticks that a body is given.
_TICKS: Final = 1_000
_FLAGS: Final = ("--every", "--latest", "--quiet", "--keep-going", "--forming")


@magics_class
class FeedMagics(Magics):
    """Cells that run again for each tick or bar."""

    @line_cell_magic
    def on_tick(self, line: str, cell: str | None = None) -> None:
        """Run this cell for each tick, while you go on working.

        ::

            %%on_tick RELIANCE             the newest tick, as often as the cell can
            %%on_tick NIFTY fut, RELIANCE  several instruments
            %%on_tick RELIANCE --every     each tick in order
            %on_tick                       what runs
            %on_tick stop                  end all of them; %on_tick stop 2 ends one

        The cell is given ``tick``, ``ticks`` (the newest thousand, a list) and
        ``feed`` (its stream). It ends when it is run again, when the kernel is
        interrupted, and with its first error. ``--keep-going`` goes on after
        errors, ``--limit N`` ends after N runs, ``--lines N`` keeps the newest N
        lines that it prints (200), ``--quiet`` shows no line of its own.
        """
        if cell is None:
            self._line("on_tick", line)
            return
        options = _read(line, "%%on_tick RELIANCE")
        if options["forming"]:
            raise UsageError("--forming is for %%on_bar: a tick is never forming.")
        self._start("on_tick", line, cell, options, None)

    @line_cell_magic
    def on_bar(self, line: str, cell: str | None = None) -> None:
        """Run this cell for each bar that closes, while you go on working.

        ::

            %%on_bar NIFTY 1m              each closed minute
            %%on_bar NIFTY 1m --forming    each change of the minute that forms, too
            %on_bar                        what runs
            %on_bar stop                   end all of them

        The cell is given ``bar``, ``bars`` (today's, a frame, the newest last)
        and ``feed``. See ``%on_tick?`` for how it ends and the other options.
        """
        if cell is None:
            self._line("on_bar", line)
            return
        from breeze_lab.bars import Interval  # noqa: PLC0415 - the extension must cost nothing
        from breeze_lab.magics import reads_like_interval  # noqa: PLC0415 - see above

        options = _read(line, "%%on_bar NIFTY 1m")
        words = options["words"]
        named = len(words) > 1 and reads_like_interval(words[-1])
        self._start("on_bar", line, cell, options, Interval.parse(words.pop() if named else "1m"))

    def _line(self, magic: str, line: str) -> None:
        """Answer the line magic: what runs, or its end."""
        from breeze_lab.cells import running  # noqa: PLC0415 - see on_bar

        cells, words = running.listed(magic), line.split()
        if words[:1] == ["stop"] and all(word.isdigit() for word in words[1:]):
            wanted = {int(word) for word in words[1:]}
            chosen = [one for one in cells if not wanted or one.number in wanted]
            running.stop(chosen, "stopped")
            print(f"Stopped {len(chosen)} of {len(cells)}.")  # noqa: T201 - a magic answers
        elif words:
            raise UsageError(
                f"%{magic} shows what runs and %{magic} stop ends it. To run a cell for each "
                f"event write %%{magic} {line.strip()} as its first line, and the body below."
            )
        else:
            for one in cells:
                print(f"{one.number}: %%{magic} {one.line}  {one.watch}")  # noqa: T201 - see above
            if not cells:
                print(f"No %%{magic} cell runs.")  # noqa: T201 - see above

    def _start(
        self, magic: str, line: str, source: str, options: dict[str, Any], interval: Interval | None
    ) -> None:
        from breeze_lab import session, streaming  # noqa: PLC0415 - see on_bar
        from breeze_lab.cells import body, output, running  # noqa: PLC0415 - see on_bar

        shell: Any = self.shell
        what = "tick" if interval is None else "bar"
        made = body.compile_body(shell, source, (what, f"{what}s", "feed"))
        cell_id = running.prepare(shell, magic, line)
        found = _instruments(options["words"], session.current().resolve)
        stream = streaming.stream(*found, delivery=options["delivery"] or "latest")
        cell = running.add(magic, line, cell_id, stream)
        title = f"{magic} {', '.join(stream.instruments)}"
        if interval is not None:
            title += f" {interval.label}"

        def end() -> None:
            stream.close()
            running.drop(cell)

        shown = output.CellOutput(
            shell, title, stream, quiet=options["quiet"], on_end=end,
            **({} if options["lines"] is None else {"lines": options["lines"]}),
        )  # fmt: skip
        plural = f"{what}s" in made.names

        def history(event: Any) -> Any:
            if not plural:
                return None
            if interval is not None:
                return stream.bars(interval, event.instrument)
            return stream.newest(_TICKS)

        def run(event: Any) -> None:
            made.run(event, history(event), stream, shown.show)

        more = {
            "limit": options["limit"], "display": shown, "name": title,
            "most_errors": options["most_errors"],
        }  # fmt: skip
        try:
            if interval is None:
                cell.watch = stream.on_tick(run, delivery=options["delivery"] or "latest", **more)
            else:
                how: Delivery = "latest" if options["forming"] else "every"
                cell.watch = stream.on_bar(
                    interval, run, forming=options["forming"],
                    delivery=options["delivery"] or how, **more,
                )  # fmt: skip
        except BaseException:
            running.drop(cell)
            stream.close()
            raise


def _read(line: str, example: str) -> dict[str, Any]:
    """Return the words and options of a magic's line."""
    try:
        words = shlex.split(line.replace(",", " , "))
    except ValueError:
        raise UsageError(f"A quotation mark is left open. For example: {example}") from None
    options: dict[str, Any] = {"most_errors": 1}
    for name in ("limit", "lines"):
        options[name] = _number(words, f"--{name}", example)
    flags = {word for word in words if word.startswith("--")}
    unknown = flags - set(_FLAGS)
    if unknown:
        known = ", ".join((*_FLAGS, "--limit N", "--lines N"))
        raise UsageError(f"There is no option {min(unknown)}. There are: {known}.")
    if {"--every", "--latest"} <= flags:
        raise UsageError("--every and --latest are two ways to do it: choose one.")
    options["delivery"] = next((f[2:] for f in ("--every", "--latest") if f in flags), None)
    options["quiet"], options["forming"] = "--quiet" in flags, "--forming" in flags
    if "--keep-going" in flags:
        from breeze_lab.streaming.watch import MOST_ERRORS  # noqa: PLC0415 - see on_bar

        options["most_errors"] = MOST_ERRORS
    options["words"] = [word for word in words if word not in flags]
    if not [word for word in options["words"] if word != ","]:
        raise UsageError(f"Which instrument? For example: {example}")
    return options


def _number(words: list[str], name: str, example: str) -> int | None:
    """Take an option and its number out of a line; None when it is not there."""
    if name not in words:
        return None
    at = words.index(name)
    try:
        number = int(words[at + 1])
    except (IndexError, ValueError):
        raise UsageError(f"{name} takes a number: {example} {name} 100") from None
    if number < 1:
        raise UsageError(f"{name} takes a number from 1 on.")
    del words[at : at + 2]
    return number


def _instruments(words: list[str], resolve: Callable[[str], Instrument]) -> list[Instrument]:
    """Return what the words of a line mean: the longest names there are, from the left.

    Commas part names; a quoted name is one word. ``NIFTY fut RELIANCE`` is two
    instruments, ``NIFTY RELIANCE`` as well.
    """
    from breeze_lab.errors import AmbiguousInstrument, InstrumentError  # noqa: PLC0415 - see on_bar

    found: list[Instrument] = []
    rest = list(words)
    while rest:
        if rest[0] == ",":
            rest.pop(0)
            continue
        most = rest.index(",") if "," in rest else len(rest)
        refusal: InstrumentError | None = None
        for count in range(most, 0, -1):
            try:
                found.append(resolve(" ".join(rest[:count])))
            except InstrumentError as exc:
                if not isinstance(refusal, AmbiguousInstrument):
                    refusal = exc
            else:
                del rest[:count]
                break
        else:
            assert refusal is not None
            raise refusal
    return found
