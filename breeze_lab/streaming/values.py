"""What a loop or a function gets: a tick, a bar, or something that is neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from breeze_lab.ticks import Tick

if TYPE_CHECKING:
    from datetime import datetime

    from breeze_lab.bars import Interval
    from breeze_lab.feed import FeedBar, FeedEvent, FeedTick

__all__ = ["EventKind", "LiveBar", "LiveTick", "StreamEvent"]

#: ``lost`` ticks that will not come; ``gap`` a time without ticks; ``state`` the stream's state;
#: ``slow`` a reader of this notebook; ``dropped`` from what is kept; ``callback`` a function that
#: failed; ``history`` bars that could not be fetched.
EventKind = Literal["lost", "gap", "state", "slow", "dropped", "callback", "history"]


@dataclass(frozen=True, slots=True, repr=False)
class LiveTick:
    """One tick; every field of `breeze_lab.ticks.Tick` is an attribute (``tick.last``).

    Parameters
    ----------
    event
        As the feed gave it.
    """

    event: FeedTick

    @property
    def instrument(self) -> str:
        """The instrument's key, ``"NSE:RELIANCE"``."""
        return self.event.key

    @property
    def time(self) -> datetime | None:
        """Exchange time of the last trade, aware, Asia/Kolkata; None when the broker sent none."""
        return self.event.tick.exchange_time

    @property
    def received(self) -> datetime:
        """When it reached this machine, aware, Asia/Kolkata."""
        return self.event.received

    @property
    def sequence(self) -> int:
        """Counts the ticks of the instrument: a hole in it is a tick that did not come."""
        return self.event.sequence

    @property
    def epoch(self) -> int:
        """Counts the connections to the broker."""
        return self.event.epoch

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy and pickle ask for before there is an event
            raise AttributeError(name)
        try:
            return getattr(self.event.tick, name)
        except AttributeError:
            raise AttributeError(
                f"A tick has no {name!r}. It has: {', '.join(dir(self))}."
            ) from None

    def __dir__(self) -> list[str]:
        return ["instrument", "time", "received", "sequence", "epoch", *Tick.__dataclass_fields__]

    def __repr__(self) -> str:
        quote = self.event.tick
        when = "--:--:--" if quote.exchange_time is None else f"{quote.exchange_time:%H:%M:%S}"
        book = "" if quote.bid is None else f", bid {quote.bid} ask {quote.ask}"
        return f"<{self.event.key} {quote.last} at {when}{book}>"


@dataclass(frozen=True, slots=True, repr=False)
class LiveBar:
    """One bar; every field of `breeze_lab.bars.Bar` is an attribute (``bar.close``).

    Parameters
    ----------
    event
        As the feed gave it.
    """

    event: FeedBar

    @property
    def instrument(self) -> str:
        """The instrument's key, ``"NSE:RELIANCE"``."""
        return self.event.key

    @property
    def start(self) -> datetime:
        """Opening time, aware, Asia/Kolkata."""
        return self.event.bar.start

    @property
    def interval(self) -> Interval:
        """Length of the bar."""
        return self.event.bar.interval

    @property
    def forming(self) -> bool:
        """Whether it can still change."""
        return self.event.forming

    @property
    def complete(self) -> bool:
        """Whether it has closed and nothing of it is missing."""
        return self.event.bar.complete

    @property
    def healed(self) -> bool:
        """Whether the broker's history was put in where ticks are missing."""
        return self.event.healed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # see LiveTick
            raise AttributeError(name)
        try:
            return getattr(self.event.bar, name)
        except AttributeError:
            raise AttributeError(
                f"A bar has no {name!r}. It has: {', '.join(dir(self))}."
            ) from None

    def __dir__(self) -> list[str]:
        fields = ("open", "high", "low", "close", "volume", "open_interest")
        return ["instrument", "start", "interval", "forming", "complete", "healed", *fields]

    def __repr__(self) -> str:
        bar = self.event.bar
        note = " forming" if self.forming else "" if bar.complete else " incomplete"
        return (
            f"<{self.event.key} {bar.interval.label} {bar.start:%H:%M:%S} "
            f"O {bar.open} H {bar.high} L {bar.low} C {bar.close} V {bar.volume}{note}>"
        )


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something a stream has to tell that is no tick and no bar.

    Parameters
    ----------
    at
        When this process heard of it, aware, Asia/Kolkata.
    kind
        See `EventKind`.
    text
        What happened, for a person.
    instrument
        Its key; empty when it concerns all.
    event
        The feed's own value, or the exception; None when there is none.
    """

    at: datetime
    kind: EventKind
    text: str
    instrument: str = ""
    event: FeedEvent | BaseException | None = None
