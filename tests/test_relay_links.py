"""The links of the relay in twelve kinds of weather: seen, survived and told exactly."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import os
import random
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fault_proxy import FaultProxy
from relay_home import Share, relay_home, stream_login
from stream_server import StreamServer, quote
from waiting import until, within

from breeze_lab import clock
from breeze_lab.feed import Feed, FeedState, FeedTick, Gap
from breeze_lab.relay import link as link_module
from breeze_lab.relay.link import open_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The long form: every fault so many times.
ROUNDS = int(os.environ.get("BREEZE_LAB_ROUNDS", "0"))
pytestmark = pytest.mark.timeout(240 + 60 * ROUNDS)
#: What must be kept, in seconds.
SEEN_S, LIVE_S = 5.0, 2.0
SHARES = [Share(f"NSE:S{n}", f"4.1!{1000 + n}") for n in range(8)]


def exchange() -> str:
    """Return one that trades continuously or is closed: in an auction nobody's silence is judged."""
    moments = (clock.now(), clock.now() + timedelta(minutes=8))
    calm = all(clock.phase("cash", moment) in ("open", "closed") for moment in moments)
    return "NSE" if calm else "MCX"


class Numbered:
    """A source that numbers the quotes of each room in their volume and never rests."""

    def __init__(self, server: StreamServer) -> None:
        self._server = server
        self.silent: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for number in itertools.count(1):
            now = int(time.time())
            self._server.emit(
                *(
                    quote(share.quote_room, 100.0, number, now)
                    for share in SHARES
                    if share.key not in self.silent
                )
            )
            if self._stop.wait(0.04):
                return

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)


@dataclass
class Heard:
    """What a subscription told, with monotonic times."""

    ticks: list[tuple[float, FeedTick]] = field(default_factory=list)
    states: list[tuple[float, FeedState]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def take(self, event: Any) -> None:
        now = time.monotonic()
        if isinstance(event, FeedTick):
            self.ticks.append((now, event))
        elif isinstance(event, FeedState):
            self.states.append((now, event))
        elif isinstance(event, Gap):
            self.gaps.append(event)

    def since(self, moment: float, state: str) -> float | None:
        """Return when a state was first heard after `moment`."""
        return next((at for at, s in list(self.states) if at > moment and s.state == state), None)

    def ticked_since(self, moment: float) -> float | None:
        """Return when every instrument had ticked anew after `moment`."""
        keys: set[str] = set()
        for at, tick in reversed(list(self.ticks)):
            if at <= moment:
                break
            keys.add(tick.key)
        if len(keys) < len(SHARES):
            return None
        first: dict[str, float] = {}
        for at, tick in list(self.ticks):
            if at > moment:
                first.setdefault(tick.key, at)
        return max(first.values())


@dataclass
class Path:
    """A relay that hears a numbered source through a path with weather."""

    server: StreamServer
    proxy: FaultProxy
    feed: Feed
    login: dict[str, Any]
    heard: Heard
    source: Numbered


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Iterator[Path]:
    """Everything that runs, once for all faults, and warm: the relay knows that trades are made."""
    SHARES[:] = [replace(one, key=f"{exchange()}:S{n}") for n, one in enumerate(SHARES)]
    server = StreamServer(ping_interval_s=20.0)
    proxy = FaultProxy(server.port)
    with (
        pytest.MonkeyPatch.context() as patch,
        relay_home(tmp_path_factory.mktemp("links"), patch) as home,
        Feed(home) as feed,
    ):
        endpoints = type(server.endpoints).from_dict(
            {**server.endpoints.to_dict(), "stream_url": f"http://127.0.0.1:{proxy.port}"}
        )
        login = stream_login(server, endpoints=endpoints)
        feed.login(**login)
        heard = Heard()
        subscription = feed.subscribe(SHARES, bars=["1s"], on_event=heard.take)
        source = Numbered(server)
        until(lambda: heard.ticked_since(0), "the first ticks")
        until(lambda: feed.status()["gaps"]["trading"], "proof that a market trades at this hour")
        yield Path(server, proxy, feed, login, heard, source)
        source.close()
        subscription.close()
        feed.shutdown_relay()
    proxy.close()
    server.close()


@dataclass(frozen=True)
class Fault:
    """One kind of weather.

    Parameters
    ----------
    begin
        Makes it.
    lasts_s
        How long it is left alone after it was seen.
    lossy
        Whether the connection ends of it.
    again
        Whether the relay waits for a new login afterwards.
    """

    begin: Callable[[Path], Any]
    lasts_s: float = 0.0
    lossy: bool = True
    again: bool = False
    state: str = "connecting"


def hole(*, up: bool, down: bool) -> Fault:
    def begin(path: Path) -> None:
        path.proxy.up, path.proxy.down = up, down

    return Fault(begin, lasts_s=3.0)


def slow(path: Path) -> None:
    path.proxy.delay_s = 3.0


def sliced(path: Path) -> None:
    path.proxy.slices = True


def reset_within(path: Path) -> None:
    path.proxy.reset_at = random.randint(1, 60)


def accept_then_close(path: Path) -> None:
    path.proxy.hang_up = True
    path.proxy.reset()


def refuse_login(path: Path) -> None:
    path.server.refuse = True
    path.server.cut()


def busy(path: Path) -> None:
    path.proxy.answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    path.proxy.reset()


FAULTS = {
    "black hole": hole(up=False, down=False),
    "black hole up": hole(up=False, down=True),
    "black hole down": hole(up=True, down=False),
    "reset within a message": Fault(reset_within),
    "byte by byte": Fault(sliced, lasts_s=2.0, lossy=False),
    "three seconds late": Fault(slow, lasts_s=5.0, lossy=False),
    "accept then close": Fault(accept_then_close, lasts_s=5.0 if ROUNDS else 2.0),
    "login refused": Fault(refuse_login, again=True, state="refused"),
    "busy": Fault(busy, lasts_s=5.0),
    "polite disconnect": Fault(lambda path: path.server.leave_politely()),
    "transport close": Fault(lambda path: path.proxy.say(b"\x81\x011")),
    "websocket close": Fault(lambda path: path.proxy.say(b"\x88\x02\x03\xe9")),
    "server down": Fault(lambda path: path.proxy.listen(on=False), lasts_s=5.0),
}
#: In the short form these stand for the others.
SHORT = ["black hole up", "reset within a message", "accept then close", "login refused",
         "polite disconnect", "websocket close"]  # fmt: skip


def weather(path: Path, fault: Fault) -> tuple[float, float]:
    """Make a fault and end it; return the seconds until it was seen and until all was live."""
    heard, proxy = path.heard, path.proxy
    begun = time.monotonic()
    fault.begin(path)
    seen = begun
    if fault.lossy:
        seen = until(lambda: heard.since(begun, fault.state), "the loss")
    until(lambda: time.monotonic() - seen > fault.lasts_s, "the fault's length")
    proxy.clear()
    if fault.begin is FAULTS["server down"].begin:
        proxy.listen()
    ended = time.monotonic()
    if fault.again:
        path.server.refuse = False
        path.feed.login(**path.login)
    if not fault.lossy:
        return 0.0, until(lambda: heard.ticked_since(ended), "ticks") - ended
    until(lambda: heard.since(seen, "connected"), "the return")
    # A fault that is over at once has its end where it was seen.
    live = until(lambda: heard.ticked_since(seen + fault.lasts_s), "ticks")
    return seen - begun, live - max(ended, seen)


def holes(ticks: list[FeedTick]) -> list[tuple[FeedTick, FeedTick]]:
    """Return the ticks around each stretch of numbers that is missing."""
    return [
        (one, two)
        for one, two in itertools.pairwise(ticks)
        if two.tick.volume > one.tick.volume + 1
    ]


def untold(heard: Heard) -> list[str]:
    """Return every hole that is not told with exact bounds, and every bound that is not exact."""
    wrong: list[str] = []
    every = {tick.received_ms for _, tick in heard.ticks}
    for share in SHARES:
        ticks = [tick for _, tick in heard.ticks if tick.key == share.key]
        gaps = [gap for gap in heard.gaps if gap.key == share.key and gap.end is not None]
        spans = {(_ms(gap.start), _ms(gap.end)) for gap in gaps}
        for before, after in holes(ticks):
            found = [
                span
                for span in spans
                if before.received_ms <= span[0] < span[1] == after.received_ms
            ]
            # Nothing was heard of anybody since the gap's beginning.
            if not any(start in every for start, _ in found):
                wrong.append(f"{share.key} {before.tick.volume}..{after.tick.volume}: {found}")
        times = sorted(tick.received_ms for tick in ticks)
        for start, end in spans:
            if bisect.bisect_right(times, start) < bisect.bisect_left(times, end):
                wrong.append(f"{share.key} was heard within a gap {start}..{end}")
    return wrong


def _ms(moment: Any) -> int:
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_seen_survived_and_told(path, name):
    """A dead link is seen within 5 s, all is live 2 s after the path returns, gaps are exact."""
    if not ROUNDS and name not in SHORT:
        pytest.skip("the short form has others in its place")
    for _ in range(ROUNDS or 1):
        before = len(path.heard.gaps)
        seen_s, live_s = weather(path, FAULTS[name])
        print(f"{name}: seen after {seen_s:.2f} s, live after {live_s:.2f} s")
        assert seen_s <= within(SEEN_S, strict=ROUNDS)
        assert live_s <= within(LIVE_S, strict=ROUNDS)
        told = path.heard.gaps[before:]
        if FAULTS[name].lossy:
            until(lambda b=before: _closed(path.heard.gaps[b:]) >= {s.key for s in SHARES}, "gaps")
        else:
            assert [gap for gap in told if gap.state == "open"] == []
        assert untold(path.heard) == []
        assert path.proxy.most == 1, "connections of the relay at the same time"


def _closed(gaps: list[Gap]) -> set[str]:
    return {gap.key for gap in gaps if gap.end is not None}


def test_a_second_stream_at_the_same_time_would_be_seen():
    """The planted fault for the count of connections, in a hole, too; one after another is none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = FaultProxy(server.getsockname()[1])

        def stream():
            client = socket.create_connection(("127.0.0.1", proxy.port))
            client.sendall(b"GET /socket.io/?EIO=4 HTTP/1.1\r\n\r\n")
            return client

        try:
            proxy.up = False
            with stream():
                until(lambda: proxy.most == 1, "the first")
            with stream() as second:
                until(lambda: proxy.accepted == 2, "the second")
                time.sleep(5 * proxy.OVERLAP_S)
                assert proxy.most == 1, "the first has ended"
                with stream():
                    until(lambda: proxy.most == 2, "the third beside the second")
                assert second.fileno() > 0
        finally:
            proxy.close()


def test_many_quick_cuts_do_not_slow_the_return(path):
    """After five cuts in a row it is live again as fast, and the server was not hammered."""
    accepted = path.proxy.accepted
    begun = time.monotonic()
    for _ in range(5):
        cut = time.monotonic()
        path.proxy.reset()
        until(lambda c=cut: path.heard.since(c, "connected"), "the return")
    live = until(lambda c=cut: path.heard.ticked_since(path.heard.since(c, "connected")), "ticks")
    assert live - cut <= within(LIVE_S, strict=ROUNDS)
    assert path.proxy.accepted - accepted <= 7
    assert time.monotonic() - begun < within(12, strict=ROUNDS)
    assert untold(path.heard) == []


def test_instrument_that_falls_silent_alone_is_asked_for_again_and_told(path):
    """While others tick, a liquid instrument's silence is a gap, and its room is joined once more."""
    quiet = SHARES[3]
    # Ticks come to whoever is connected; that the server heard of the rooms is another matter.
    rooms = {share.quote_room for share in SHARES}
    until(lambda: len(path.server.alive) == 1 and path.server.rooms == rooms, "all rooms")
    # Silence is judged by the rhythm before it.
    heard = len(path.heard.ticks)
    until(lambda: len(path.heard.ticks) > heard + 40 * len(SHARES), "a rhythm")
    joins = len(path.server.joins)

    def told() -> list[tuple[str, str]]:
        gaps = [gap for gap in path.heard.gaps if "it fell silent" in gap.cause]
        return [(gap.key, gap.state) for gap in gaps if gap.state in ("open", "closed")]

    path.source.silent = {quiet.key}
    begun = time.monotonic()
    until(told, "the verdict")
    assert time.monotonic() - begun > 5
    truth = {i["key"]: i for i in path.feed.status()["instruments"]}
    assert (truth[quiet.key]["pulse"], truth[SHARES[0].key]["pulse"]) == ("silent", "live")
    assert truth[quiet.key]["gap"][1:3] == [truth[quiet.key]["last_ms"], None]
    until(lambda: path.server.joins[joins:], "the server's hearing of the room")
    assert path.server.joins[joins:] == [[quiet.quote_room]]
    path.source.silent = set()
    until(lambda: len(told()) > 1, "the end of the gap")
    assert told() == [(quiet.key, "open"), (quiet.key, "closed")]
    assert untold(path.heard) == []


@pytest.mark.parametrize("planted", [False, True], ids=["as it is", "waits for the server"])
def test_watchdog_that_waits_for_the_servers_ping_is_too_late(monkeypatch, planted):
    """The planted fault: a link that only keeps the server's promise sees no black hole in time."""
    for name, value in (("_LOOK_S", 0.02), ("_PING_EVERY_S", 0.05), ("_PONG_PATIENCE_S", 0.3)):
        monkeypatch.setattr(link_module, name, value)
    if planted:
        monkeypatch.setattr(
            link_module.Link, "_judge",
            lambda link, now: "late" if now - link._heard_at > link._promise_s else "",
        )  # fmt: skip
    server = StreamServer(ping_interval_s=20.0)
    proxy = FaultProxy(server.port)

    async def seen() -> bool:
        async with open_link(f"http://127.0.0.1:{proxy.port}", {"user": "u", "token": "t"}) as link:
            reading = asyncio.create_task(link.read({}, print))
            await asyncio.sleep(0.3)
            proxy.up = proxy.down = False
            done, _ = await asyncio.wait((reading,), timeout=1.5 if planted else 30)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return bool(done)

    try:
        assert asyncio.run(seen()) is not planted
    finally:
        proxy.close()
        server.close()


def test_the_check_catches_a_gap_that_begins_when_it_was_noticed(path):
    """The planted fault: bounds that are the moment of notice do not pass."""
    heard = Heard()
    for number, ms in ((1, 1000), (2, 2000), (9, 9000)):
        for share in SHARES:
            tick = path.heard.ticks[0][1]
            quoted = type(tick.tick)(share.quote_room, None, 1.0, 1.0, 1.0, 1.0, 1.0, volume=number)
            heard.ticks.append((0.0, FeedTick(share.key, number, 1, ms, quoted)))
    right = [clock.from_epoch(2.0), clock.from_epoch(9.0)]
    heard.gaps = [Gap(share.key, *right, "", "closed") for share in SHARES]
    assert untold(heard) == []
    heard.gaps = [Gap(s.key, clock.from_epoch(6.5), right[1], "", "closed") for s in SHARES]
    assert len(untold(heard)) == len(SHARES)
    heard.gaps += [Gap(s.key, clock.from_epoch(1.0), right[1], "", "closed") for s in SHARES]
    assert sum("was heard within" in one for one in untold(heard)) == len(SHARES)
