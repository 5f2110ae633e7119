"""The relay's state as Prometheus reads it: text format 0.0.4, written by hand.

Owns names, kinds and labels of the metrics; the figures are those of
`Hub.status` and of the call budget. What other rooms of the relay add to the
status (``wal``, ``gaps``, ``streams``, ``recorder``, ``compared``) shows up by
itself: every number in there becomes a gauge named after its place.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import accounts
from breeze_lab.errors import BreezeLabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from breeze_lab.limits import CallMeter

__all__ = ["CONTENT_TYPE", "Budget", "render"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX: Final = "breeze_lab_relay_"
_STATES: Final = ("offline", "connecting", "connected", "refused")
#: Sub-maps of the status that other rooms of the relay own.
_ROOMS: Final = ("wal", "gaps", "streams", "recorder", "compared")
#: Of each of those at most; a scrape must not grow with the market.
_MOST_NUMBERS: Final = 64
#: Counters that are plain numbers of the status, and what they count.
_COUNTERS: Final = {
    "frames": "Frames received from the broker's stream.",
    "ticks": "Ticks counted, over all rooms.",
    "malformed": "Frames and packets that could not be read.",
    "unasked": "Frames of rooms that nobody asked for.",
}

_Sample = tuple[dict[str, str], Any]


class Budget:
    """What is used of the call budget of the shared session's app key.

    Notes
    -----
    Blocking: the vault is read once for each login, the meter's book every time.
    """

    def __init__(self) -> None:
        """Know no login yet."""
        self._serial = ""
        self._meter: CallMeter | None = None

    def look(self) -> dict[str, list[int]] | None:
        """Return ``minute`` and ``today``, each ``[used, limit]``; None when nobody is logged in.

        A market without limits has none either. Never raises.
        """
        try:
            return self._look()
        except BreezeLabError:
            return None

    def _look(self) -> dict[str, list[int]] | None:
        now = accounts.facts()
        if now is None or now.endpoints.get("calls") == "free":
            return None
        if now.serial != self._serial or self._meter is None:
            from breeze_lab.limits import CallMeter  # noqa: PLC0415 - loads sqlite3, for few

            self._meter = CallMeter.of(accounts.keys().app_key)
            self._serial = now.serial
        meter, use = self._meter, self._meter.use()
        return {"minute": [use.minute, meter.limit], "today": [use.today, meter.limit_today]}


def render(status: Mapping[str, Any], budget: Mapping[str, Any] | None = None) -> str:
    """Return the page that Prometheus scrapes.

    Parameters
    ----------
    status
        `Hub.status`.
    budget
        `Budget.look`.
    """
    upstream: Mapping[str, Any] = status.get("upstream") or {}
    epoch = int(upstream.get("epoch") or 0)
    page = _Page()
    page.add("info", "gauge", "The relay that answers.", [({"version": status["version"]}, 1)])
    page.add("uptime_seconds", "gauge", "Age of this process.", [({}, status["uptime_s"])])
    for name, text in _COUNTERS.items():
        page.add(f"{name}_total", "counter", text, [({}, status.get(name))])
    page.add("rooms", "gauge", "Rooms wanted of the broker.", [({}, len(status["rooms"]))])
    page.add("consumers", "gauge", "Connections to the door.", [({}, status["consumers"])])
    state = upstream.get("state", "offline")
    page.add(
        "upstream_state", "gauge", "1 for the state the connection to the broker is in.",
        [({"state": name}, int(name == state)) for name in _STATES],
    )  # fmt: skip
    page.add("epoch", "gauge", "Number of the connection to the broker.", [({}, epoch)])
    page.add(
        "reconnects_total", "counter", "Connections to the broker after the first.",
        [({}, max(0, epoch - 1))],
    )  # fmt: skip
    page.add(
        "last_tick_age_seconds", "gauge", "Time since any instrument ticked.",
        [({}, status.get("last_tick_age_s"))],
    )  # fmt: skip
    _add_consumers(page, status.get("clients", ()))
    if budget:
        spans = [({"span": span}, used, limit) for span, (used, limit) in budget.items()]
        page.add("calls_used", "gauge", "Calls used of the budget.", [s[:2] for s in spans])
        page.add(
            "calls_left", "gauge", "Calls left of the budget.",
            [(labels, max(0, limit - used)) for labels, used, limit in spans],
        )  # fmt: skip
    for room in _ROOMS:
        for path, number in itertools.islice(_numbers(status.get(room)), _MOST_NUMBERS):
            place = " ".join(path)
            name = re.sub(r"[^a-zA-Z0-9_]+", "_", "_".join((room, *path)))
            page.add(name, "gauge", f"{room} of the status: {place}.", [({}, number)])
    return page.text()


def _add_consumers(page: _Page, clients: Iterable[Mapping[str, Any]]) -> None:
    """Add what each consumer waits for; consumers of one name are one line."""
    sums: dict[str, list[int]] = {}
    for client in clients:
        known = sums.setdefault(str(client["name"]), [0, 0, 0])
        for place, what in enumerate(("waiting", "delivered", "lost")):
            known[place] += int(client[what])
    for place, (name, kind, text) in enumerate(
        (
            ("consumer_waiting", "gauge", "Ticks queued for a consumer."),
            ("consumer_delivered_total", "counter", "Ticks sent to a consumer."),
            ("consumer_lost_total", "counter", "Ticks a slow consumer lost."),
        )
    ):
        page.add(name, kind, text, [({"name": who}, n[place]) for who, n in sums.items()])


def _numbers(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the numbers of a nested map with their places; of a list, its length."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, (*path, str(name)))
    elif isinstance(value, (list, tuple)):
        yield (*path, "count"), len(value)
    elif isinstance(value, (int, float)):  # a truth is 0 or 1
        yield path or ("value",), float(value)


class _Page:
    """Lines of the text format."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: set[str] = set()

    def add(self, name: str, kind: str, text: str, samples: Iterable[_Sample]) -> None:
        """Add one metric; a value of None is left out, a metric without values or twice too."""
        full = _PREFIX + name
        known = [(labels, value) for labels, value in samples if value is not None]
        if not known or full in self._names:
            return
        self._names.add(full)
        help_text = text.replace("\\", r"\\").replace("\n", r"\n")
        self._lines += [f"# HELP {full} {help_text}", f"# TYPE {full} {kind}"]
        for labels, value in known:
            inside = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels.items())
            self._lines.append(f"{full}{f'{{{inside}}}' if inside else ''} {_number(value)}")

    def text(self) -> str:
        """Return the page; it ends with a line feed, as the format wants."""
        return "\n".join([*self._lines, ""])


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
