"""The truth table: what became of every instrument somebody asked the relay for.

Owns how the relay's status is read: rows with their mood, the upstream, the
consumers, the log, gaps and the call budget, as plain values, as text and as
HTML. Asking the relay is left to whoever shows it. What a relay does not tell
(an older one, or one without a log) is simply not there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from breeze_lab.clock import Segment

__all__ = ["Row", "Truth", "read"]

#: Without a tick for longer, an instrument is quiet, then silent, while its market trades.
_QUIET_S: Final = 10.0
_SILENT_S: Final = 120.0
_SEGMENTS: Final[dict[str, Segment]] = {
    "NSE": "cash", "BSE": "cash", "NFO": "fno", "BFO": "fno", "MCX": "commodity", "NDX": "currency",
}  # fmt: skip
_COLOURS: Final = {
    "live": "#067a66", "quiet": "#a86200", "silent": "#c62f3b", "off": "#c62f3b",
    "waiting": "#a86200", "closed": "#5b6472",
}  # fmt: skip
#: Longer is told in minutes, then in hours.
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Row:
    """One instrument.

    Parameters
    ----------
    key
        Our name.
    mood
        ``waiting`` for the first tick, ``live``, ``quiet``, ``silent`` although its
        market trades, ``closed`` with its market, ``off`` without an upstream.
    joined
        Whether the broker was asked on this connection.
    asked, first, last
        IST times of the day, ``"14:02:11"``; empty when there is none.
    ticks, gaps, consumers
        Counts; ticks since the IST midnight, those of former lives of the relay too.
    age_s
        Seconds since the last tick, None before the first.
    gap
        The cause of a gap that is open now, or empty.
    """

    key: str
    mood: str
    joined: bool
    asked: str
    first: str
    last: str
    ticks: int
    gaps: int
    consumers: int
    age_s: float | None
    gap: str = ""


@dataclass(frozen=True)
class Truth:
    """All of it at one moment; shows itself as text and as HTML.

    Parameters
    ----------
    says
        Lines of a heading and its words: relay, upstream, log, gaps, calls.
    rows
        The instruments, in the order they were asked for.
    clients
        The consumers: name, keys, waiting, delivered, lost.
    mood
        Of the upstream, as of a row.
    market
        Whose prices they are; empty before a login.
    """

    says: dict[str, str] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    clients: tuple[dict[str, Any], ...] = ()
    mood: str = "off"
    market: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        width = max(map(len, self.says), default=0)
        parts = ["\n".join(f"{name:<{width}}  {words}" for name, words in self.says.items())]
        if self.rows:
            parts.append(_columns(_HEADS, [_cells(row) for row in self.rows]))
        if self.clients:
            parts.append(_columns(_CLIENT_HEADS, [_client(one) for one in self.clients]))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>"
            f"{escape(words)}</td></tr>"
            for name, words in self.says.items()
        )
        rows = "".join(
            f"<tr><td style='text-align:left'><b style='color:{_COLOURS[row.mood]}'>&#9679;</b> "
            + "</td><td>".join(map(escape, _cells(row)))
            + "</td></tr>"
            for row in self.rows
        )
        clients = "".join(
            "<tr><td style='text-align:left'>"
            + "</td><td>".join(map(escape, _client(one)))
            + "</td></tr>"
            for one in self.clients
        )
        return (
            f"<div class='breeze-lab-truth-still'><table>{lines}</table>"
            + (f"<table><tr>{_heads(_HEADS)}</tr>{rows}</table>" if rows else "")
            + (f"<table><tr>{_heads(_CLIENT_HEADS)}</tr>{clients}</table>" if clients else "")
            + "</div>"
        )


_HEADS: Final = (
    "instrument", "mood", "asked", "joined", "first tick", "last tick", "ticks today", "gaps",
    "age",
)  # fmt: skip
_CLIENT_HEADS: Final = ("consumer", "instruments", "waiting", "sent", "lost")


def read(
    status: Mapping[str, Any] | None, budget: Mapping[str, Any] | None = None, error: str = ""
) -> Truth:
    """Return the table that a relay's status tells.

    Parameters
    ----------
    status
        Of the relay; None when there is none to ask.
    budget
        Calls used and allowed, by ``minute`` and ``today``.
    error
        Why there is no status.
    """
    now = clock.now()
    if status is None:
        words = error or "not running; the first live chart or subscription starts it"
        says = {"relay": words, **_calls(budget)}
        return Truth(says, mood="off")
    upstream: Mapping[str, Any] = status.get("upstream") or {}
    state = str(upstream.get("state", "offline"))
    market = str(upstream.get("endpoints") or "")
    connected = state == "connected"
    rows = tuple(
        _row(one, now, market, connected=connected) for one in status.get("instruments", ())
    )
    says = {
        "relay": f"process {status.get('pid')}, version {status.get('version')}, up "
        f"{span(float(status.get('uptime_s') or 0))}",
        "upstream": _upstream(upstream, state, market),
        "last tick": _last_tick(status.get("last_tick_age_s")),
        "frames": ", ".join(
            f"{status.get(name, 0):,} {words}"
            for name, words in (
                ("frames", "received"),
                ("malformed", "malformed"),
                ("unasked", "unasked"),
            )
        ),
        **_log(status.get("wal")),
        **_gaps(status.get("gaps")),
        **({"compared": told} if (told := (status.get("compared") or {}).get("words")) else {}),
        **_calls(budget),
    }
    clients = tuple(
        {name: one.get(name, 0) for name in ("name", "keys", "waiting", "delivered", "lost")}
        for one in status.get("clients", ())
    )
    mood = "live" if connected else "waiting" if state == "connecting" else "off"
    return Truth(says, rows, clients, mood, market)


def _row(one: Mapping[str, Any], now: datetime, market: str, *, connected: bool) -> Row:
    last_ms = one.get("last_ms")
    age_s = None if last_ms is None else max(0.0, round(now.timestamp() - last_ms / 1000, 1))
    gap = one.get("gap")
    return Row(
        key=str(one["key"]),
        mood=_mood(one, age_s, now, market) if connected else "off",
        joined=bool(one.get("joined")),
        asked=_at(one.get("asked_ms")), first=_at(one.get("first_ms")), last=_at(last_ms),
        ticks=int(one.get("ticks") or 0), gaps=int(one.get("gaps") or 0),
        consumers=int(one.get("consumers") or 0), age_s=age_s,
        gap=str(gap[3]) if gap else "",
    )  # fmt: skip


def _mood(one: Mapping[str, Any], age_s: float | None, now: datetime, market: str) -> str:
    """Return the relay's own verdict where it gives one: it knows each instrument's rhythm."""
    judged = one.get("pulse")
    if judged in _COLOURS:
        return str(judged)
    segment = _SEGMENTS.get(str(one["key"]).partition(":")[0], "cash")
    # The practice market trades around the clock, unless it was told to keep the exchange's hours.
    trades = clock.phase(segment, now) != "closed"
    if not trades and market != "practice":
        return "closed"
    if age_s is None:
        return "waiting"
    if age_s <= _QUIET_S:
        return "live"
    return "quiet" if age_s <= _SILENT_S else "silent" if trades else "closed"


def _upstream(upstream: Mapping[str, Any], state: str, market: str) -> str:
    whose = f" to {market}" if market else ", nobody has logged in"
    since = str(upstream.get("since") or "")[11:19]
    words = f"{state}{whose}, since {since} IST, connection {upstream.get('epoch', 0)}"
    return f"{words}: {upstream['error']}" if upstream.get("error") else words


def _last_tick(age_s: float | None) -> str:
    return "none yet" if age_s is None else f"{span(age_s)} ago"


def _log(wal: Any) -> dict[str, str]:
    """Return how the log of ticks stands, where the relay keeps one."""
    if not isinstance(wal, dict) or not wal:
        return {}
    if wal.get("error"):
        return {"log": f"NOT recording: {wal['error']}"}
    parts = []
    if "bytes" in wal:
        parts.append(f"{wal['bytes'] / 1e6:,.1f} MB")
    if wal.get("written") is not None:
        parts.append(f"{wal['written']:,} records")
    if wal.get("unrecorded"):
        parts.append(f"{wal['unrecorded']:,} NOT recorded")
    if wal.get("synced_age_s") is not None:
        parts.append(f"on disk {span(wal['synced_age_s'])} ago")
    idle = "on, nothing to record yet" if wal.get("on") else "off"
    return {"log": ", ".join(parts) if parts else idle}


def _gaps(gaps: Any) -> dict[str, str]:
    """Return how many gaps there are of each state, and why the last one is open."""
    if not isinstance(gaps, dict) or not gaps:
        return {}
    counts = {**(gaps.get("counts") or {}), "open": gaps.get("open", 0)}
    parts = [f"{number:,} {state}" for state, number in sorted(counts.items()) if number]
    words = ", ".join(parts) or "none"
    return {"gaps": f"{words}; {gaps['trouble']}" if gaps.get("trouble") else words}


def _calls(budget: Mapping[str, Any] | None) -> dict[str, str]:
    if not budget:
        return {}
    names = {"minute": "in the last minute", "today": "today"}
    return {
        "calls": "; ".join(
            f"{used:,} of {limit:,} {names.get(when, when)}, {max(0, limit - used):,} left"
            for when, (used, limit) in budget.items()
        )
    }


def span(seconds: float) -> str:
    """Say a length of time the way people do."""
    if seconds < _QUIET_S:
        return f"{seconds:.1f} s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    minutes = int(seconds) // _MINUTE
    if seconds < 2 * _HOUR:
        return f"{minutes} m {int(seconds) % _MINUTE} s"
    return f"{minutes // _MINUTE} h {minutes % _MINUTE} m"


def _at(moment_ms: int | None) -> str:
    return "" if not moment_ms else f"{clock.from_epoch(moment_ms / 1000):%H:%M:%S}"


def _cells(row: Row) -> list[str]:
    return [
        row.key, f"gap: {row.gap}" if row.gap else row.mood, row.asked,
        "yes" if row.joined else "no", row.first or "-", row.last or "-", f"{row.ticks:,}",
        f"{row.gaps:,}", "-" if row.age_s is None else span(row.age_s),
    ]  # fmt: skip


def _client(one: Mapping[str, Any]) -> list[str]:
    return [
        str(one["name"]), *(f"{one[name]:,}" for name in ("keys", "waiting", "delivered", "lost")),
    ]  # fmt: skip


def _columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in columns: words to the left, figures to the right."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    figures = {"ticks today", "gaps", "age", "instruments", "waiting", "sent", "lost"}
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if head in figures else f"{cell:<{width}}"
            for cell, width, head in zip(line, widths, heads, strict=True)
        ).rstrip()
        for line in lines
    )


def _heads(heads: Sequence[str]) -> str:
    return "".join(f"<th>{escape(head)}</th>" for head in heads)
