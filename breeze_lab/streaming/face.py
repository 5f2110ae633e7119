"""The stream's face: what ``breeze_lab.stream("RELIANCE")`` returns."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Self

from breeze_lab import feed as feeds
from breeze_lab import session
from breeze_lab.bars import Interval
from breeze_lab.errors import BreezeLabError, InstrumentNotFound, SettingsError
from breeze_lab.streaming import page
from breeze_lab.streaming.readers import AsyncTicks, Ticks
from breeze_lab.streaming.store import Store
from breeze_lab.streaming.values import LiveTick
from breeze_lab.streaming.watch import MOST_ERRORS, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from breeze_lab.feed import Delivery, Feed, Gap, Lost, Streamable
    from breeze_lab.instruments import Instrument
    from breeze_lab.streaming.frames import DayBars
    from breeze_lab.streaming.values import LiveBar, StreamEvent

__all__ = ["KEPT_TICKS", "Stream", "stream"]

#: Ticks kept for `Stream.frame`; about 60 MB when all are there.
KEPT_TICKS: Final = 100_000
#: A stream whose newest tick is older than this is shown as quiet.
_QUIET_S: Final = 30.0


def stream(
    *names: str | Instrument, delivery: Delivery = "every", keep: int = KEPT_TICKS
) -> Stream:
    """Return live ticks and bars of some instruments.

    Parameters
    ----------
    *names
        Any names: ``"RELIANCE"``, ``"NIFTY fut"``, or instruments. A wrong one
        is refused with the nearest names, and nothing is subscribed.
    delivery
        ``"every"``: a loop or function gets each tick in order.
        ``"latest"``: a slow one gets the newest tick of each instrument.
    keep
        Ticks kept for `Stream.frame`; the oldest go first.

    Raises
    ------
    InstrumentNotFound, AmbiguousInstrument, NotLoggedIn, SessionExpired,
    SettingsError, FeedDisconnected, SubscriptionRefused

    Examples
    --------
    >>> for tick in breeze_lab.stream("RELIANCE"):  # doctest: +SKIP
    ...     print(tick.time, tick.last)
    """
    if not names:
        raise SettingsError('Which instruments? For example: breeze_lab.stream("RELIANCE")')
    if delivery not in ("every", "latest"):
        raise SettingsError(f'A stream delivers "every" or "latest", not {delivery!r}.')
    if keep < 1:
        raise SettingsError(f"A stream keeps at least one tick, not {keep}.")
    now = session.current()
    found = {str(name): now.resolve(name) for name in names}
    return Stream(
        feeds.connect(),
        list(found.values()),
        delivery=delivery,
        keep=keep,
        spoken={name: instrument.key for name, instrument in found.items()},
    )


class Stream:
    """Live ticks and bars of some instruments; made by `stream`.

    Loop over it (``for`` or ``async for``), give it functions, or ask for
    frames; all of it at once and from any thread. It ends with `close`, with
    its ``with`` block or, when no function runs, with its last reference.

    Parameters
    ----------
    feed
        Where ticks come from.
    instruments
        One or several.
    delivery, keep
        See `stream`.
    spoken
        Key of each name that somebody used.
    """

    def __init__(
        self,
        feed: Feed,
        instruments: Sequence[Streamable],
        *,
        delivery: Delivery = "every",
        keep: int = KEPT_TICKS,
        spoken: dict[str, str] | None = None,
    ) -> None:
        """Subscribe; raises what `breeze_lab.feed.Feed.subscribe` raises."""
        wanted = {one.key: one for one in instruments}
        self._store = Store(feed, list(wanted.values()), delivery, keep)
        self._spoken = {**(spoken or {}), **{key: key for key in wanted}}
        self._watches: list[weakref.ref[Watch]] = []
        self._days: dict[tuple[str, Interval], DayBars] = {}
        self._fetching = threading.Lock()  # guards _days; history is fetched once
        now = session.peek()
        self._market = None if now is None else now.endpoints.name
        # Without it the feed would hold the rooms of a stream that nobody holds.
        ending = weakref.finalize(self, self._store.close)
        ending.atexit = False

    # -- reading ----------------------------------------------------------

    def __iter__(self) -> Ticks:
        return Ticks(self._store, self)

    def __aiter__(self) -> AsyncTicks:
        return AsyncTicks(self._store, self)

    def on_tick(
        self,
        function: Callable[[LiveTick], object],
        *,
        delivery: Delivery | None = None,
        most_errors: int = MOST_ERRORS,
        **more: Any,
    ) -> Watch:
        """Run `function` for each tick, on a thread of its own.

        Parameters
        ----------
        function
            May be slow, may raise, may call this stream: nothing else waits
            for it. What it raises is an event of `events`.
        delivery
            The stream's by default.
        most_errors
            Failures in a row after which it is stopped.

        Returns
        -------
        Watch
            ``stop()`` ends it.
        """
        how = delivery or self._store.delivery
        return self._watch(function, "ticks", delivery=how, most_errors=most_errors, **more)

    def on_bar(
        self,
        interval: str | Interval,
        function: Callable[[LiveBar], object],
        *,
        forming: bool = False,
        delivery: Delivery = "every",
        most_errors: int = MOST_ERRORS,
        **more: Any,
    ) -> Watch:
        """Run `function` for each bar that closes, on a thread of its own.

        Parameters
        ----------
        interval
            ``"1s" "5s" "1m" "3m" "5m" "15m" "30m" "1h" "1d"``.
        function, most_errors
            See `on_tick`.
        forming
            Run it for every change of the bar that forms, too.
        delivery
            ``"latest"`` gives a slow function the newest state of each bar.

        Returns
        -------
        Watch

        Raises
        ------
        SettingsError, FeedDisconnected
        """
        length = Interval.parse(interval)
        self._store.hold(length)
        return self._watch(
            function, length, delivery=delivery, forming=forming, most_errors=most_errors, **more
        )

    def on_event(self, function: Callable[[StreamEvent], object]) -> Watch:
        """Run `function` for what is no tick and no bar: losses, gaps, the stream's state."""
        return self._watch(function, "events", delivery="every")

    def _watch(self, function: Callable[[Any], object], subject: Any, **more: Any) -> Watch:
        watch = Watch(self._store, self, function, subject, **more)
        self._watches = [ref for ref in self._watches if ref() is not None]
        self._watches.append(weakref.ref(watch))
        return watch

    # -- what is kept -----------------------------------------------------

    def last(self, name: str | None = None) -> LiveTick | None:
        """Return the newest tick of an instrument of this stream, None before the first.

        Raises
        ------
        InstrumentNotFound
            When it is not in this stream.
        """
        tick = self._store.last.get(self._key(name))
        return None if tick is None else LiveTick(tick)

    def newest(self, count: int) -> list[LiveTick]:
        """Return the newest `count` ticks kept, of all its instruments, oldest first."""
        return [LiveTick(tick) for tick in self._store.newest(count)]

    def frame(self, name: str | None = None) -> pd.DataFrame:
        """Return the ticks kept so far, of all instruments or of one.

        Returns
        -------
        DataFrame
            See `breeze_lab.streaming.frames.tick_frame`; ``attrs["dropped"]``
            says how many older ones are not kept any more.
        """
        from breeze_lab.streaming import frames  # noqa: PLC0415 - loads pandas

        made = frames.tick_frame(self._store.heard(None if name is None else self._key(name)))
        made.attrs["dropped"] = self._store.dropped
        return made

    def bars(self, interval: str | Interval = "1m", name: str | None = None) -> pd.DataFrame:
        """Return today's bars, the forming one last.

        The broker's history up to now, then what the relay builds, and history
        again where the relay missed something, at most once a minute. Of bars
        shorter than a minute only a quarter of an hour is fetched.

        Parameters
        ----------
        interval
            See `on_bar`.
        name
            Of one instrument; of several the frame's index begins with the key.

        Returns
        -------
        DataFrame
            open, high, low, close (rupees), volume (shares), open_interest,
            complete (False while it forms or when something of it is missing).
            Index ``start``: opening times, Asia/Kolkata, ascending.

        Raises
        ------
        SettingsError, InstrumentNotFound, FeedDisconnected
        """
        length = Interval.parse(interval)
        if name is not None or len(self.instruments) == 1:
            return self._day(self._key(name), length)
        import pandas as pd  # noqa: PLC0415 - half a second

        parts = {key: self._day(key, length) for key in self.instruments}
        return pd.concat(parts, names=["instrument"])

    def _day(self, key: str, interval: Interval) -> pd.DataFrame:
        from breeze_lab.streaming import frames  # noqa: PLC0415 - loads pandas

        self._store.hold(interval)
        with self._fetching:
            day = self._days.get((key, interval))
            if day is None:
                instrument: Any = self._store.instruments[key]
                day = self._days[key, interval] = frames.DayBars(instrument, interval)
            now = session.joined()
            if now is not None and now.endpoints.name != self._market:
                now = None  # a later login to another market: its past is not this one's
            try:
                return day.frame(now, self._store.bars(key, interval))
            except BreezeLabError as exc:
                text = f"the history of {key} could not be fetched: {exc}"
                self._store.note("history", text, key, exc)
                return day.frame(None, self._store.bars(key, interval))

    @property
    def instruments(self) -> tuple[str, ...]:
        """Keys of its instruments."""
        return tuple(self._store.instruments)

    @property
    def events(self) -> list[StreamEvent]:
        """The newest thousand losses, gaps, states and failures, oldest first."""
        return list(self._store.events)

    @property
    def gaps(self) -> list[Gap]:
        """The silences since it began, as they stand now: open, closed, healed, not healable."""
        return self._store.silences()

    @property
    def lost(self) -> list[Lost]:
        """The ticks that will not come, as the feed told them, oldest first."""
        return [e.event for e in self.events if isinstance(e.event, feeds.Lost)]

    @property
    def dropped(self) -> int:
        """How many ticks are not kept any more."""
        return self._store.dropped

    @property
    def ticks_heard(self) -> dict[str, int]:
        """Ticks of each instrument since the stream began."""
        return dict(self._store.count)

    @property
    def ticks_lost(self) -> dict[str, int]:
        """Ticks of each instrument that will not come, where their number is known."""
        return dict(self._store.missed)

    @property
    def watches(self) -> list[Watch]:
        """Its functions that are still around."""
        return [watch for ref in self._watches if (watch := ref()) is not None]

    @property
    def age(self) -> float | None:
        """Seconds since the newest tick came, None before the first."""
        return self._store.age_s()

    def age_of(self, name: str) -> float | None:
        """Return the seconds since the newest tick of one instrument came."""
        tick = self._store.last.get(self._key(name))
        return None if tick is None else max(0.0, time.time() - tick.received_ms / 1000)

    @property
    def practice(self) -> bool:
        """Whether the prices are made up."""
        return self._store.feed.state.endpoints == "practice"

    @property
    def state(self) -> str:
        """``live``, ``quiet`` (no tick for half a minute), ``closed``, or the feed's own word."""
        if self._store.over:
            return "closed"
        word = self._store.feed.state.state
        if word != "connected":
            return word
        age = self.age
        return "live" if age is not None and age < _QUIET_S else "quiet"

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._store.over

    def _key(self, name: str | None) -> str:
        if name is None:
            if len(self.instruments) == 1:
                return self.instruments[0]
            raise SettingsError(f"Which one? This stream has {', '.join(self.instruments)}.")
        key = self._spoken.get(name)
        if key is None:
            now = session.joined()
            key = name if now is None else now.resolve(name).key
            if key not in self._store.instruments:
                raise InstrumentNotFound(
                    f"{key} is not in this stream, which has {', '.join(self.instruments)}. "
                    f"Open another one: breeze_lab.stream({name!r})",
                    self.instruments,
                )
            self._spoken[name] = key
        return key

    # -- its end ----------------------------------------------------------

    def close(self) -> None:
        """End it: loops end, functions run no more, the rooms are released. Idempotent."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return page.text(self)

    def _repr_html_(self) -> str:
        return page.html(self)
