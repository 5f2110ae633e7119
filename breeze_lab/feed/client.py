"""The feed's face: safe to call from any thread.

Owns the feed's thread and the one feed of this process. What happens on that
thread is the business of `breeze_lab.feed.loop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from breeze_lab import session, settings
from breeze_lab.bars import Interval
from breeze_lab.candle_text import contract
from breeze_lab.errors import FeedDisconnected, FeedError, LoginError
from breeze_lab.feed.entry import ORDERS, Entry
from breeze_lab.feed.loop import FeedLoop
from breeze_lab.feed.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import datetime

    from breeze_lab.feed.subscription import Delivery, FeedEvent, FeedState
    from breeze_lab.settings import Endpoints, Folders

__all__ = ["Feed", "Streamable", "connect"]

_T = TypeVar("_T")

_CONNECT_TIMEOUT_S: Final = 30.0
_ANSWER_TIMEOUT_S: Final = 10.0
#: The relay takes no longer name.
_NAME_LENGTH: Final = 80


class Streamable(Protocol):
    """What can be subscribed; `breeze_lab.instruments.Instrument` is one."""

    @property
    def key(self) -> str:
        """Our name, ``"NSE:RELIANCE"``."""
        ...

    @property
    def quote_room(self) -> str:
        """The broker's room, ``"4.1!2885"``."""
        ...

    @property
    def anchor_s(self) -> int:
        """Seconds after IST midnight at which intraday bars start to count."""
        ...


class Feed:
    """A connection to the relay that mends itself; safe to use from any thread.

    Parameters
    ----------
    folders
        Where the relay is; by default this user's.

    Raises
    ------
    FeedDisconnected
        When no relay could be started or reached.
    """

    def __init__(self, folders: Folders | None = None) -> None:
        """Start the relay if none runs, and connect."""
        self.folders = folders or settings.folders()
        self._tokens = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._link = FeedLoop(self.folders, _own_name())
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="breeze-lab-feed", daemon=True)
        self._thread.start()
        try:
            self.status(timeout_s=_CONNECT_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def state(self) -> FeedState:
        """How the stream stands, as last heard."""
        return self._link.state

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def login(
        self,
        endpoints: Endpoints,
        user: str,
        token: str,
        account: str,
        until: datetime | str,
        *,
        serial: str = "",
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> FeedState:
        """Give the relay a broker session and wait until its stream is connected.

        The same session twice keeps the connection. It is held in memory only
        and told again to a relay that lost it.

        Parameters
        ----------
        endpoints
            The broker; only its stream is used.
        user, token
            The broker's user id and session key.
        account
            How to label it.
        until
            Last moment it is good, aware or ISO text.
        serial
            Of the session that all processes share; empty for one of this process alone.

        Raises
        ------
        LoginError
            When the broker refused it.
        SessionExpired
            When it is a shared session that has ended.
        FeedDisconnected
            When the stream was not connected within `timeout_s`.
        """
        text = until if isinstance(until, str) else until.isoformat(timespec="seconds")
        state = self._call(
            self._link.login(
                {
                    "op": "login", "endpoints": endpoints.to_dict(), "user": user, "token": token,
                    "account": account, "until": text, "serial": serial,
                }
            ),
            timeout_s,
        )  # fmt: skip
        if state.state == "refused":
            raise LoginError(
                f"The broker's stream refused the login: {state.error}. Run %breeze_login again."
            )
        return state

    def subscribe(
        self,
        instruments: Streamable | Sequence[Streamable],
        *,
        bars: Iterable[str | Interval] = (),
        delivery: Delivery = "every",
        ticks: bool = True,
        depth: bool = False,
        on_event: Callable[[FeedEvent], object] | None = None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> Subscription:
        """Return live events of `instruments`, beginning with a snapshot.

        Parameters
        ----------
        instruments
            One or several, from ``session.resolve`` or ``master.resolve``.
        bars
            Intervals whose bars are wanted, ``["1m"]``.
        delivery
            ``"every"`` gives each tick in order, or a `Lost` with its bounds;
            ``"latest"`` gives the newest when the reader is slow.
        ticks
            False for bars only.
        depth
            Send their books as well, as `FeedDepth`; always the newest one.
        on_event
            Called with each event on the feed's thread; then the subscription
            lives until it is closed. Without it, iterate the subscription.

        Raises
        ------
        SubscriptionRefused
            When the relay does not stream one of them; nothing is subscribed.
        FeedDisconnected
            When the relay did not answer within `timeout_s`.
        SettingsError
            When an interval does not exist.
        """
        wanted = list(instruments) if isinstance(instruments, Sequence) else [instruments]
        intervals = tuple(dict.fromkeys(Interval.parse(bar) for bar in bars))
        rooms = {one.key: one.quote_room for one in wanted}
        books = {key: room.replace(".1!", ".2!", 1) for key, room in rooms.items()} if depth else {}
        asked = [_asked(one) for one in wanted]
        asked += [{"key": key, "room": room} for key, room in books.items()]
        subscription = Subscription(tuple(rooms), intervals, delivery, on_event)
        now = session.peek()
        market = "" if now is None else now.endpoints.name

        def entry(target: Callable[[], Subscription | None]) -> Entry:
            return Entry(
                asked, rooms, intervals, delivery, ticks, market, target, depth=books
            )  # fmt: skip

        self._hold(subscription, entry, on_event is None, timeout_s)
        return subscription

    def orders(
        self,
        *,
        on_event: Callable[[FeedEvent], object] | None = None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> Subscription:
        """Return the notifications of your orders, each an `OrderUpdate`, from now on.

        They come from a stream of its own. A `Gap` of the key ``orders`` tells
        when some may have been missed; the broker's list of orders has them.

        Parameters
        ----------
        on_event
            As for `subscribe`.

        Raises
        ------
        FeedDisconnected
            When the relay did not answer within `timeout_s`.
        """
        subscription = Subscription((ORDERS,), (), "every", on_event)

        def entry(target: Callable[[], Subscription | None]) -> Entry:
            return Entry([], {ORDERS: ""}, (), "every", False, "", target)

        self._hold(subscription, entry, on_event is None, timeout_s)
        return subscription

    def _hold(
        self,
        subscription: Subscription,
        entry: Callable[[Callable[[], Subscription | None]], Entry],
        weakly: bool,
        timeout_s: float,
    ) -> None:
        """Ask the relay for a subscription, and let go of it when it is closed or dropped."""
        token = next(self._tokens)
        subscription.on_close(lambda: self._later(self._link.release, token))
        # Without a callback the feed must not keep alive what its user has dropped.
        weak = weakref.ref(subscription)
        held = entry(weak if weakly else lambda: subscription)
        self._call(self._link.subscribe(token, held), timeout_s)
        if weakly:
            ending = weakref.finalize(subscription, self._later, self._link.release, token)
            ending.atexit = False

    def status(self, *, timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return what the relay says of itself: upstream, rooms, consumers, instruments.

        Raises
        ------
        FeedDisconnected
            When it did not answer within `timeout_s`.
        """
        answer = self._call(self._link.request({"op": "status"}), timeout_s)
        return {name: value for name, value in answer.items() if name not in ("op", "id")}

    def shutdown_relay(self, *, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        """End the relay for every notebook of this user, and close this feed."""
        self._link.leaving = True
        self._call(self._link.request({"op": "shutdown"}), timeout_s)
        self.close()

    def close(self) -> None:
        """End the connection; its subscriptions get no more events. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._later(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Feed {'closed' if self._closed else self.state.state}>"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        main = self._loop.create_task(self._link.run())
        try:
            self._loop.run_forever()
        finally:
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            del main

    def _later(self, function: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to do
            self._loop.call_soon_threadsafe(function, *arguments)

    def _call(self, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """Run `work` on the feed's thread and return its result."""
        if threading.current_thread() is self._thread:
            work.close()
            raise FeedError("A feed callback cannot wait for the feed. Use another thread.")
        if self._closed:
            work.close()
            raise FeedDisconnected("This feed is closed. Use breeze_lab.feed.connect().")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:
            future.cancel()
            reason = self._link.failure or self.state.error or f"upstream is {self.state.state}"
            raise FeedDisconnected(
                f"The relay did not answer within {timeout_s:.0f} s: {reason}."
            ) from None


def _asked(one: Streamable) -> dict[str, Any]:
    """Return an instrument as the relay is asked for it, by the broker's name as well."""
    asked = {"key": one.key, "room": one.quote_room, "anchor_s": one.anchor_s}
    full: Any = one  # an `Instrument`, or less
    if hasattr(full, "stock_code"):
        asked["code"] = contract(
            full.exchange, full.stock_code, full.expiry, full.strike, full.right
        )
    return asked


def _own_name() -> str:
    """Return how the relay's status calls this process: by its notebook or script, if it has one.

    Jupyter tells a kernel the path of its notebook; its last part is enough.
    """
    notebook = os.environ.get("JPY_SESSION_NAME", "")
    script = "" if "ipykernel" in sys.argv[0] or sys.argv[0].startswith("-") else sys.argv[0]
    name = re.split(r"[/\\]", notebook or script)[-1]
    kernel = f"kernel {os.getpid()}"
    return f"{name[: _NAME_LENGTH - len(kernel) - 3]} ({kernel})" if name else kernel


_shared: Feed | None = None
_sharing: Final = threading.Lock()  # guards _shared


def connect() -> Feed:
    """Return this process's feed, connected, and logged in with the current session.

    Every call returns the same feed until it is closed. Without a session it
    is connected to the relay but may be offline.

    Raises
    ------
    FeedDisconnected
        When there is no relay, or the broker's stream cannot be reached.
    LoginError
        When the broker's stream refused the session.
    """
    global _shared  # noqa: PLW0603 - one connection per kernel is the point
    with _sharing:
        if _shared is None or _shared.closed or _shared.folders != settings.folders():
            _shared = Feed()
        feed, now = _shared, session.peek()
    if now is not None and not now.ended:
        who = now.identity
        feed.login(
            now.endpoints, who.user_id, who.session_key, who.name, now.until,
            serial=now.serial if now.shared else "",
        )  # fmt: skip
    return feed
