"""How a stream looks as the last line of a cell, in text and in HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from breeze_lab.streaming.face import Stream

__all__ = ["html", "text"]

_COLOURS = {"live": "#089a81", "quiet": "#b7791f", "closed": "#5b6472"}
_STYLE = "text-align:right;padding:0 .6em"


def text(stream: Stream) -> str:
    """Return one line."""
    keys = list(stream.instruments)
    names = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if keys[3:] else "")
    return f"<Stream {names}: {', '.join(_facts(stream))}>"


def html(stream: Stream) -> str:
    """Return a line of facts and a row for each instrument; every value is escaped."""
    state = stream.state
    colour = _COLOURS.get(state, "#e8434f")
    head = " · ".join(escape(fact) for fact in _facts(stream))
    rows = "".join(_row(stream, key) for key in stream.instruments)
    titles = "".join(
        f"<th style='{_STYLE}'>{title}</th>"
        for title in ("instrument", "last", "change", "at", "age", "ticks", "lost")
    )
    return (
        f"<div class='breeze-lab-stream' data-state='{escape(state)}'>"
        f"<div><span style='color:{colour}'>●</span> {head}</div>"
        f"<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _facts(stream: Stream) -> list[str]:
    facts = [stream.state]
    if stream.practice:
        facts.append("practice market")
    age = stream.age
    heard = sum(stream.ticks_heard.values())
    facts.append(f"{heard:,} tick{'s' * (heard != 1)}")
    facts.append("no tick yet" if age is None else f"last {_span(age)} ago")
    if stream.dropped:
        facts.append(f"{stream.dropped:,} oldest ticks dropped")
    gaps = stream.gaps
    if gaps:
        still = sum(gap.state == "open" for gap in gaps)
        facts.append(f"{len(gaps)} gap{'s' * (len(gaps) != 1)}" + (f", {still} open" * bool(still)))
    losses = len(stream.lost)
    if losses:
        facts.append(f"ticks lost {losses} time{'s' * (losses != 1)}, see .lost")
    running = sum(watch.running for watch in stream.watches)
    if running:
        facts.append(f"{running} function{'s' * (running != 1)}")
    return facts


def _row(stream: Stream, key: str) -> str:
    last = stream.last(key)
    cells = [key, "-", "-", "-", "-"]
    if last is not None:
        change = last.change_percent
        moment = last.time
        cells = [
            key,
            "-" if last.last is None else f"{last.last:,.2f}",
            "-" if change is None else f"{change:+.2f} %",
            "-" if moment is None else f"{moment:%H:%M:%S}",
            _span(stream.age_of(key)),
        ]
    lost = stream.ticks_lost[key]
    cells += [f"{stream.ticks_heard[key]:,}", f"{lost:,}"]
    return "<tr>" + "".join(f"<td style='{_STYLE}'>{escape(c)}</td>" for c in cells) + "</tr>"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"  # noqa: PLR2004
