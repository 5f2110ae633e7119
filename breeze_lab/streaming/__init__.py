"""Streams: live ticks and bars of some instruments as a person in a notebook wants them.

Owns what is kept of them in this process, the ways to read them (a loop, an
``async`` loop, functions, frames) and the threads on which functions run. How
ticks come here is the business of `breeze_lab.feed`; of every tick there is
one upstream subscription, however many streams want it.
"""

from __future__ import annotations

from breeze_lab.streaming.face import KEPT_TICKS, Stream, stream
from breeze_lab.streaming.values import LiveBar, LiveTick, StreamEvent
from breeze_lab.streaming.watch import Watch

__all__ = ["KEPT_TICKS", "LiveBar", "LiveTick", "Stream", "StreamEvent", "Watch", "stream"]
