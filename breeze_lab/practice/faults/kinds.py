"""The kinds of faults and the words they are ordered with.

Owns the catalogue and its small language (``drop 30s``, ``garbage 5% 1m``,
``gap 2m RELIND``). It imports nothing but the standard library, because the
command line and the magics read it without a market at hand.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["FOREVER", "KINDS", "Kind", "order", "seconds", "span", "unknown"]

#: What asks for a fault without an end.
FOREVER: Final = "forever"
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)%")
_COUNT: Final = re.compile(r"(\d+)x")
_MINUTE_S: Final = 60

Side = Literal["sockets", "frames", "calls", "master", "session"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Parameters
    ----------
    name, what
        How it is ordered, and what it does in a line.
    side
        Where it happens.
    for_s
        How long it lasts when nobody says, in real seconds; 0 happens and is over.
    lasts
        Whether it can be given a length or a count of effects.
    share
        Part of the frames it happens to when nobody says; None takes no share.
    delay_s
        How late things come when nobody says; None takes no delay.
    variants
        Words that choose between several forms, the first by default.
    room
        Whether it can be kept to one instrument.
    example
        What to type.
    """

    name: str
    what: str
    side: Side
    for_s: float = 30.0
    lasts: bool = True
    share: float | None = None
    delay_s: float | None = None
    variants: tuple[str, ...] = ()
    room: bool = False
    example: str = ""


_ALL: Final = (
    Kind("drop", "TCP reset of every stream; with a length, new ones are reset as long", "sockets",
         0.0, example="drop 30s"),
    Kind("close", "every stream ends with a WebSocket close frame", "sockets", 0.0, lasts=False),
    Kind("engineio-close", "every stream ends with an Engine.IO CLOSE packet", "sockets", 0.0,
         lasts=False),
    Kind("disconnect", "every stream ends with a Socket.IO DISCONNECT packet", "sockets", 0.0,
         lasts=False),
    Kind("down", "the stream servers stop listening: connection refused", "sockets",
         example="down 30s"),
    Kind("halfopen", "streams stay open, but nothing is sent or heard", "sockets",
         example="halfopen 30s"),
    Kind("refuse", "streams that connect get CONNECT_ERROR", "sockets", example="refuse 1m"),
    Kind("slow", "answers and frames come late", "frames", delay_s=3.0, example="slow 3s 1m"),
    Kind("garbage", "a share of the frames is malformed", "frames", share=0.05,
         example="garbage 5% 1m"),
    Kind("dup", "frames come twice", "frames", share=1.0, example="dup 50% 30s"),
    Kind("reorder", "frames change places with the next one", "frames", share=0.5,
         example="reorder 30s"),
    Kind("gap", "no frames; trades go on and history has them", "frames", 120.0, room=True,
         example="gap 2m RELIND"),
    Kind("expire", "the session ends: log in again", "session", 0.0, lasts=False),
    Kind("limit", "calls are answered as if the budget were used up", "calls",
         variants=("minute", "day"), example="limit day 1m"),
    Kind("outage", "back-end trouble: an error envelope, HTTP 502 and 503 in turn, 404 on "
         "PUT and DELETE", "calls", variants=("mixed", "t2", "502", "503"),
         example="outage 503 30s"),
    Kind("throttle", "calls get the CDN's page: 429 Too Many Requests", "calls",
         example="throttle 30s"),
    Kind("html", "calls but the login get a web page with status 200", "calls",
         example="html 3x"),
    Kind("maintenance", "everything is answered by a web page, the login too", "calls",
         example="maintenance 1m"),
    Kind("timeout", "calls are accepted and never answered", "calls", 10.0,
         example="timeout 10s"),
    Kind("call-reset", "calls end in a TCP reset", "calls", example="call-reset 3x"),
    Kind("badjson", "answers are cut in the middle", "calls", example="badjson 30s"),
    Kind("master-truncated", "the security master is cut: no zip any more", "master"),
    Kind("master-missing", "the security master is gone: HTTP 404", "master"),
    Kind("master-html", "a web page comes for the security master", "master"),
    Kind("master-short", "the security master lacks the NSE file", "master"),
    Kind("master-stale", "yesterday's security master comes", "master"),
)  # fmt: skip

#: Every kind by its name, in the order of the documentation.
KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in _ALL}


def unknown(name: str, words: Iterable[str] = KINDS) -> str:
    """Return what to say of a name that is none of `words`."""
    near = difflib.get_close_matches(name, list(words), 3, 0.5)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"The practice market does not know {name[:40]!r}.{meant} The word help lists all."


def seconds(text: str) -> float | None:
    """Return the seconds of ``30s``, ``2m``, ``500ms`` or ``1h``; None when it is none."""
    found = _SPAN.fullmatch(text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def span(length_s: float) -> str:
    """Return seconds as a person reads them: ``12.3 s``, ``2 m 5 s``."""
    if round(length_s, 1) < _MINUTE_S:
        return f"{length_s:.1f} s"
    minutes, rest = divmod(round(length_s), _MINUTE_S)
    return f"{minutes} m {rest} s" if rest else f"{minutes} m"


def order(words: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a command from words: ``["garbage", "5%", "1m"]``.

    Parameters
    ----------
    words
        The name of a fault and, in any order, how long (``30s``, ``forever``),
        how often (``3x``), which share (``5%``), which form (``day``) or which
        instrument (``RELIND``, ``4.1!2885``). Of two lengths given to ``slow``
        the first is how late things come.

    Raises
    ------
    ValueError
        With what the fault takes.
    """
    name, *rest = words
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(unknown(name))
    fields: dict[str, Any] = {"name": name}
    for word in rest:
        if word == FOREVER and "for_s" not in fields:
            fields["for_s"] = FOREVER
        elif (length := seconds(word)) is not None:
            late = kind.delay_s is not None and "delay_s" not in fields
            fields[_once(fields, "delay_s" if late else "for_s", word, kind)] = length
        elif share := _SHARE.fullmatch(word):
            fields[_once(fields, "share", word, kind)] = float(share[1]) / 100
        elif count := _COUNT.fullmatch(word):
            fields[_once(fields, "count", word, kind)] = int(count[1])
        elif word in kind.variants:
            fields[_once(fields, "variant", word, kind)] = word
        elif kind.room:
            fields[_once(fields, "room", word, kind)] = word
        else:
            raise ValueError(f"{name} does not take {word[:40]!r}. {_takes(kind)}")
    return fields


def _once(fields: dict[str, Any], field: str, word: str, kind: Kind) -> str:
    if field in fields:
        raise ValueError(f"{word[:40]!r} is one too many. {_takes(kind)}")
    return field


def _takes(kind: Kind) -> str:
    parts = [kind.delay_s is not None and "how late (3s)", kind.lasts and "how long (30s)",
             kind.lasts and "how often (3x)", kind.share is not None and "a share (5%)",
             kind.room and "an instrument (RELIND)", " or ".join(kind.variants)]  # fmt: skip
    known = ", ".join(part for part in parts if part)
    example = f" For example: {kind.example}" if kind.example else ""
    return f"It takes {known or 'nothing more'}.{example}"
