"""Candles: the broker's own bars, held against those the relay builds from ticks.

Owns the connection to the broker's candle stream, which is there only while
bars are held that the broker has too, and the list of differences. Nobody gets
these candles: the relay's bars are the ones that are shown. A candle comes a
second or two after its interval ended, our bar closes with the next tick; who
is first waits for the other.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from breeze_lab.candle_text import EVENTS, decode_candle
from breeze_lab.errors import BadResponse
from breeze_lab.relay.upstream import Server, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.bars import Bar
    from breeze_lab.relay.market import BarRow, Line
    from breeze_lab.relay.quarantine import Quarantine
    from breeze_lab.relay.upstream import State

__all__ = ["OHLC", "Candles"]

_log: Final = logging.getLogger(__name__)

OHLC: Final = Server("candles", "ohlc_url", "/ohlcvstream/")
#: Differences kept, the newest.
_KEPT: Final = 100
#: Candles that wait for our bar; beyond it the oldest are given up.
_MOST_WAITING: Final = 5_000
#: Looks after which a candle is given up: nothing traded since, or we did not listen.
_PATIENCE: Final = 90
#: Prices are rupees with two or four decimals.
_SAME: Final = 0.00005
_FIELDS: Final = ("open", "high", "low", "close", "volume")
_decode: Final = msgspec.json.Decoder().decode
_HELD: Final = frozenset(EVENTS.values())


class Candles:
    """The broker's candles of the lines whose names at the broker are known.

    Parameters
    ----------
    quarantine
        Where those go that cannot be read.
    """

    def __init__(self, quarantine: Quarantine) -> None:
        """Compare nothing yet."""
        takers = dict.fromkeys(EVENTS, self.on_candle)
        self.upstream = Upstream(self, takers, OHLC)
        self.compared = self.differing = 0
        self.differences: deque[list[Any]] = deque(maxlen=_KEPT)
        self._quarantine = quarantine
        self._codes: dict[str, str] = {}  # of each room
        self._lines: dict[str, list[Line]] = {}
        self._waiting: deque[tuple[str, Bar, int]] = deque(maxlen=_MOST_WAITING)

    def know(self, room: str, code: str) -> None:
        """Hear what the broker's candles call a room."""
        if code:
            self._codes[room] = code

    def look(self, lines: Iterable[Line]) -> None:
        """Join the rooms whose bars are held, leave the others, compare what waits."""
        held: dict[str, list[Line]] = {}
        wanted: dict[str, None] = {}
        for line in lines:
            code = self._codes.get(line.room)
            if code and line.series.keys() & _HELD:
                held.setdefault(code, []).append(line)
                wanted[line.room] = None
        self._lines = held
        now = self.upstream.rooms
        if gone := [room for room in now if room not in wanted]:
            self.upstream.leave(gone)
        if new := [room for room in wanted if room not in now]:
            self.upstream.join(new)
        waiting, self._waiting = self._waiting, deque(maxlen=_MOST_WAITING)
        for code, bar, looks in waiting:
            if not self._compare(code, bar) and looks < _PATIENCE:
                self._waiting.append((code, bar, looks + 1))

    def on_candle(self, raw: bytes) -> None:
        """Take one candle."""
        try:
            candle = decode_candle(_decode(raw))
        except (BadResponse, msgspec.MsgspecError, RecursionError) as exc:
            self._quarantine.add("candle", str(exc))
            return
        code = candle.contract
        if code in self._lines:
            self._waiting.append((code, candle.bar, 0))

    def _compare(self, code: str, bar: Bar) -> bool:
        """Compare one candle with our bar; return whether it is done with."""
        start_s = int(bar.start.timestamp())
        done = True
        for line in self._lines.get(code, ()):
            series = line.series.get(bar.interval)
            if series is None:
                continue
            newest = series.builder.start_s
            if newest is None or newest <= start_s:
                done = False  # ours still forms, or the market is quiet
                continue
            row = series.closed_at(start_s)
            if row is not None and row[9] and len(row) == _PLAIN:
                self._note(line.key, bar, row)
        return done

    def _note(self, key: str, bar: Bar, row: BarRow) -> None:
        self.compared += 1
        theirs = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        wrong = [
            [key, bar.interval.label, row[2], name, ours, other]
            for name, ours, other in zip(_FIELDS, row[3:8], theirs, strict=True)
            if abs(ours - other) > _SAME
        ]
        self.differing += bool(wrong)
        self.differences.extend(wrong)

    def on_state(self, state: State) -> None:
        """Hear that the connection changed; nobody waits for it."""
        _log.info("The candle stream is %s.", state.state)

    def on_lost(self, cause: str) -> None:
        """Do nothing: candles that were missed are not compared."""

    def on_malformed(self, reason: str) -> None:
        """Keep what could not be read."""
        self._quarantine.add("candle", reason)

    def status(self) -> dict[str, Any]:
        """Return how the stream stands, and where the broker's bars are not ours.

        A difference is ``[key, interval, start_s, field, ours, theirs]``.
        """
        return {
            **self.upstream.state.to_dict(), "epoch": self.upstream.epoch,
            "rooms": len(self.upstream.rooms), "compared": self.compared,
            "differing": self.differing, "differences": list(self.differences),
        }  # fmt: skip


#: Columns of a bar that history has not touched.
_PLAIN: Final = 11
