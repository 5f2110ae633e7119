"""The intake: the way of the stream's frames to the lines, many at a time.

Owns what happens to every single tick before a consumer is thought of: it is
decoded once, numbered, remembered and put into the log, and handed to the lines
of its room. What came in one read of the socket is taken together, because at a
hundred thousand ticks a second the way from one function to the next is the work.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import BadResponse
from breeze_lab.frames import Quote, decode
from breeze_lab.ticks import Tick

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from breeze_lab.relay.hub import Hub
    from breeze_lab.relay.market import Line

__all__ = ["Intake"]

_log: Final = logging.getLogger(__name__)


class Intake:
    """Take the frames of the ``stock`` event; runs on the event loop without awaiting.

    Parameters
    ----------
    hub
        Whose stream it is.
    by_room, sequences
        The hub's, which it goes on changing.
    """

    def __init__(
        self, hub: Hub, by_room: Mapping[str, Sequence[Line]], sequences: dict[str, int]
    ) -> None:
        """Take nothing yet."""
        self._hub = hub
        self._by_room = by_room
        self._sequences = sequences

    def take(self, raws: Sequence[bytes], *, strict: bool = False) -> None:
        """Take frames in the order in which they came; they count as received now.

        A frame that cannot be read is counted, and so is one at which we fail
        ourselves, unless `strict` lets that failure through.
        """
        hub = self._hub
        hub.frames += len(raws)
        by_room, sequences, silent = self._by_room, self._sequences, hub.lives.silent
        open_rooms, remember, tap = hub.gaps.open_rooms, hub.journal.frame, hub.tap
        epoch, received_ms = hub.upstream.epoch, time.time_ns() // 1_000_000
        for raw in raws:
            try:
                value = decode(raw)
                room = value.room
                lines = by_room.get(room)
                if lines is None or not isinstance(value, (Quote, Tick)):
                    hub.unasked += not hub.sides.take(value, received_ms)
                    continue
                if room in silent:
                    hub.gaps.restarted(room, silent.pop(room))
                if room in open_rooms:
                    hub.gaps.heard(room, received_ms, value)
                sequence = sequences[room] = sequences.get(room, 0) + 1
                order = remember(room, sequence, epoch, received_ms, raw)
                for line in lines:
                    line.take(value, sequence, epoch, received_ms, order)
                if tap is not None:
                    tap(room, sequence, received_ms, raw)
            except BadResponse as exc:
                hub.on_malformed(str(exc))
            except Exception as exc:  # no frame may end the connection
                if strict:
                    raise
                _log.exception("A frame could not be taken.")
                hub.on_malformed(f"{type(exc).__name__}: {exc}")
        hub.audiences.heard(len(raws))
