"""The words that drive the practice market: one reading for the command and the magic.

``drop 30s``, ``speed 60``, ``jump 09:15``, ``faults``: `run` follows them and
returns what to print. Like `control` it loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import SettingsError
from breeze_lab.practice.faults.kinds import KINDS, order, span, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from breeze_lab.practice.control import Control

__all__ = ["HELP", "run"]

_VERBS: Final = (
    ("status", "the clock, the faults, the account's budget"),
    ("pause, resume", "let market time stand still, go on"),
    ("speed 60", "market seconds per second, 0.01 to 3600"),
    ("jump 09:15", "set market time, also jump 2026-11-20T09:15 and jump now"),
    ("faults", "what is active, and for how long"),
    ("clear [NAME]", "end all faults, or one"),
    ("log", "what was done and what ended"),
    ("redirect URL|off [get|post]", "where the login page sends the browser, and how"),
    ("reset", "put the account back to where it began"),
)
_LINES: Final = 20


def _help() -> str:
    width = max(len(kind.example or kind.name) for kind in KINDS.values()) + 2
    lines = ["Drive the practice market:"]
    lines += [f"  {verb:<{width}}{what}" for verb, what in _VERBS]
    lines += ["", "Faults, each over by itself (how long: 30s, 2m, forever; how often: 3x):"]
    lines += [f"  {kind.example or kind.name:<{width}}{kind.what}" for kind in KINDS.values()]
    return "\n".join(lines)


#: What can be typed.
HELP: Final = _help()


def run(words: Sequence[str], connect: Callable[[], Control]) -> str:
    """Follow words; return the text to print.

    Parameters
    ----------
    words
        ``["drop", "30s"]``; none is ``["status"]``.
    connect
        Finds the market; not called for ``help`` and for words that make no sense.

    Raises
    ------
    SettingsError
        The words make no sense; with what would.
    ProcessError
        No market, or none that can be driven.
    """
    verb, *rest = words or ("status",)
    if verb in KINDS:
        try:
            fields = order(words)
        except ValueError as exc:
            raise SettingsError(str(exc)) from None
        return _begin(connect(), fields)
    most = {"speed": 1, "jump": 2, "clear": 1, "redirect": 2}.get(verb, 0)
    if verb not in _FOLLOW:
        raise SettingsError(unknown(verb, [*_FOLLOW, *KINDS]))
    if len(rest) > most:
        raise SettingsError(f"{verb} does not take {' '.join(rest)[:60]!r}.")
    if verb == "help":
        return HELP
    if verb in ("speed", "jump") and not rest:
        raise SettingsError("How fast? speed 60" if verb == "speed" else "Where to? jump 09:15")
    return _FOLLOW[verb](connect(), rest)


def _begin(market: Control, fields: dict[str, Any]) -> str:
    fault = market.fault(
        fields["name"], fields.get("for_s"), count=fields.get("count"),
        share=fields.get("share"), delay_s=fields.get("delay_s"),
        variant=fields.get("variant"), room=fields.get("room"),
    )  # fmt: skip
    if fault.for_s == 0:
        return f"{fault.name}: done, {fault.effects} hit."
    end = "until you clear it" if fault.for_s == float("inf") else f"for {span(fault.for_s)}"
    return f"{fault.name} {end}. End it now: clear {fault.name}."


def _status(market: Control, rest: Sequence[str]) -> str:
    del rest
    state = market.status()
    limits = state["limits"]
    open_now = ", ".join(f"{name} {count}" for name, count in state["connections"].items())
    calls = ", ".join(
        f"{limits[name]['used']} of {limits[name]['limit']} this {name}"
        for name in ("minute", "day")
    )
    free = limits["minute"]["left"] is None
    return "\n".join(
        [
            f"Practice market: {market.clock()}",
            f"Connections: {open_now}. Calls: {calls}{' (no limits)' if free else ''}.",
            _faults(market, ()),
            "",
            HELP,
        ]
    )


def _faults(market: Control, rest: Sequence[str]) -> str:
    del rest
    found = market.faults()
    if not found:
        return "No fault is active."
    lines = ["Active faults:"]
    for fault in found:
        left = "until cleared" if fault["left_s"] is None else f"{span(fault['left_s'])} left"
        extras = [
            f"{fault['share']:.0%}" if "share" in fault else "",
            f"{fault['delay_s']:g} s late" if "delay_s" in fault else "",
            fault.get("variant", ""), fault.get("room", ""),
            f"{fault['count']}x" if "count" in fault else "",
        ]  # fmt: skip
        name = " ".join([fault["fault"], *filter(None, extras)])
        lines.append(f"  {name}: {left}, {fault['effects']} effects")
    return "\n".join(lines)


def _clear(market: Control, rest: Sequence[str]) -> str:
    if rest and rest[0] not in KINDS:
        raise SettingsError(unknown(rest[0]))
    cleared = market.clear(*rest)
    return f"Cleared {', '.join(cleared)}." if cleared else "No such fault is active."


def _log(market: Control, rest: Sequence[str]) -> str:
    del rest
    lines = []
    for line in market.log()[-_LINES:]:
        facts = {k: v for k, v in line.items() if k not in ("time", "market_time", "what")}
        text = ", ".join(f"{name} {value}" for name, value in facts.items())
        lines.append(
            f"{line['time'][11:23]} (market {line['market_time'][:19].replace('T', ' ')}) "
            f"{line['what']}{': ' if text else ''}{text}"
        )
    return "\n".join(lines) or "Nothing was done yet."


def _speed(market: Control, rest: Sequence[str]) -> str:
    try:
        factor = float(rest[0].removesuffix("x"))
    except ValueError:
        raise SettingsError(f"speed takes a number, not {rest[0][:40]!r}: speed 60") from None
    return str(market.speed(factor))


def _redirect(market: Control, rest: Sequence[str]) -> str:
    url = next((word for word in rest if word not in ("get", "post")), None)
    method = next((word for word in rest if word in ("get", "post")), None)
    now = market.redirect("" if url == "off" else url, method)
    way = "a form with API_Session" if now["method"] == "post" else "?apisession=..."
    return f"The login page sends the browser to {now['url'] or 'its own page'} with {way}."


def _reset(market: Control, rest: Sequence[str]) -> str:
    del rest
    market.reset()
    return "The practice account is as it began."


_FOLLOW: Final[dict[str, Callable[[Control, Sequence[str]], str]]] = {
    "status": _status,
    "help": lambda _market, _rest: HELP,
    "pause": lambda market, _rest: str(market.pause()),
    "resume": lambda market, _rest: str(market.resume()),
    "speed": _speed,
    "jump": lambda market, rest: str(market.jump("T".join(rest))),
    "faults": _faults,
    "clear": _clear,
    "log": _log,
    "redirect": _redirect,
    "reset": _reset,
}
