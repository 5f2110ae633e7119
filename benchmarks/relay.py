"""The relay: from the socket to a notebook's callback, against the broker's SDK and a bare loop.

Everything runs as a user has it: a server on loopback floods quotes, a relay
process of its own reads them, and each consumer is a process with a feed and a
callback. The SDK is unmodified and gets the same flood, and so does a loop
that only receives and decodes. A flood goes as fast as its slowest reader, so
nothing is lost, and ticks are counted in the callbacks.

``callback10_vs_sdk`` is what the slowest of ten notebooks gets against one
program of the SDK that has the machine for itself; what all ten get together is
printed beside it, and so is ``callback10_vs_sdk10``, where the rival is what the
slowest of ten programs of the SDK gets, as ten notebooks would have it.
``p99_ms`` counts from the moment a tick was due, so whoever is late, the server,
the relay or the notebook, it shows, and on a busy machine the machine does too.
Beside it stand what relay and notebook added to it, ``added``, which counts from
the moment the server wrote; how late the server was, which has nothing else to do
than to write in time, ``server``; and which share of two processors' time went to
somebody else while two processes of ours wanted all of it, ``stolen_percent``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import figure
from benchmarks.flood import Board, quote
from breeze_lab import _sdk, clock, frames, processes, settings
from breeze_lab.bars import Interval
from breeze_lab.relay.market import Line
from breeze_lab.ticks import Tick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["bars", "callbacks", "decoding", "latency", "memory", "run"]

_PER_SECOND: Final = 5000
_CONSUMERS: Final = 10
_READY_S: Final = 60.0
_JIFFIES: Final = os.sysconf("SC_CLK_TCK")
#: Frames as recorded, published with the SDK: NSE and BSE cash, NFO, NDX, and a book of NFO.
_RECORDED: Final[list[list[Any]]] = [
    ["4.1!10604", 885, 893.75, 894.75, 884, 0.94, 893.65, 15, 893.75, 561, 2, 891.46, 786772,
     280490, 296628, "70.14C", "", 796.9, 973.9, 1691559630, 885.4],
    ["1.1!543349", 1233.05, 1239, 1245, 1233.05, 0.74, 1238.1, 2, 1239.9, 1, 1, 1238.43, 3493,
     6435, 5653, "43.25L", "", 983.9, 1475.8, 1691387639, 1229.85],
    ["4.1!47869", 53.35, 43.05, 53.35, 31.7, -24.21, 42.9, 5250, 43.05, 3400, 100, 40.43, "", "",
     36079750, 393050, 613650, "145.87C", "", 0.05, 321.8, 1691387295, 56.8],
    ["13.1!9501", 105.58, 105.4625, 105.59, 105.35, 0.102, 105.4575, 35, 105.465, 59, 13,
     105.4677, "", "", 15170, 3090, 3008, "15999.45C", "", 103.1, 109.4775, 1691399681, 105.355],
    ["4.2!95826", 1691390811, [[14.6, 375, 1, "", 15.1, 375, 1, ""],
                               [14.55, 750, 2, "", 15.15, 1125, 3, ""]] * 2],
]  # fmt: skip


def run(*, quick: bool) -> None:
    """Print the figures."""
    decoding(rounds=7 if quick else 30)
    bars(rounds=3 if quick else 7)
    callbacks(rounds=2 if quick else 7, seconds=1.5 if quick else 5.0)
    latency(seconds=4.0 if quick else 20.0)
    memory(seconds=5.0 if quick else 60.0 * float(os.environ.get("MINUTES", "2")))


def _print(name: str, ours: float, **more: object) -> None:
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({"benchmark": "relay", "figure": name, "ours": ours, **more, "load": load}))


# -- a frame --------------------------------------------------------------------


def decoding(rounds: int, repeats: int = 2000) -> None:
    """Print what it takes to decode a frame of five layouts, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        master = Path(folder) / "SecurityMaster.zip"
        with zipfile.ZipFile(master, "w") as archive:
            archive.writestr("NSEScripMaster.txt", '"Token", "ShortName"\r\n')
        parse = _sdk.load(settings.ICICI, master).BreezeConnect(api_key="none").parse_data
    loads, decode = json.loads, frames.decode

    def sdk(text: str) -> None:
        parse(loads(text))

    texts = [json.dumps(frame, separators=(",", ":")) for frame in _RECORDED]
    raws = [text.encode() for text in texts]
    ours, plain, rival = [], [], []
    for _ in range(rounds):
        rival.append(_each(sdk, texts, repeats))
        ours.append(_each(decode, raws, repeats))
        with frames.uncompiled():
            plain.append(_each(decode, raws, repeats))
    for name, side in (("decode_vs_sdk", ours), ("decode_uncompiled_vs_sdk", plain)):
        print(figure("relay", name, [x * 1e6 for x in side], [x * 1e6 for x in rival],
                     "us of CPU for a frame"))  # fmt: skip


def _each(work: Callable[[Any], object], items: list[Any], repeats: int) -> float:
    """Return the CPU seconds of this process for one item."""
    began = time.process_time()
    for _ in range(repeats):
        for item in items:
            work(item)
    return (time.process_time() - began) / repeats / len(items)


# -- bars -----------------------------------------------------------------------


def bars(rounds: int, minutes: int = 60, per_second: int = 5) -> None:
    """Print a second's work for the bars of one instrument in the middle of a session.

    The rival is how live bars are usually made in a notebook: every second a
    frame of all ticks of the day so far, resampled. One interval against our nine.
    """
    import pandas as pd

    opened = 1_795_146_300
    history = [
        _tick(opened + number // per_second, number) for number in range(minutes * 60 * per_second)
    ]
    rows = [(tick.exchange_time, tick.last, tick.volume) for tick in history]
    ours, rival = [], []
    for number in range(rounds):
        line = Line("NSE:FLOOD", "4.1!1", 33_300)
        line.hold(list(Interval))
        for at, tick in enumerate(history[-400 * per_second :]):
            line.take(tick, at, 1, 0)
        later = [_tick(opened + minutes * 60 + n // per_second, n) for n in range(100 * per_second)]
        began = time.process_time()
        for at, tick in enumerate(later):
            line.take(tick, at, 1, 0)
            if at % per_second == 0:
                for series in line.series.values():
                    series.rows(opened + minutes * 60)
        ours.append((time.process_time() - began) / 100)
        began = time.process_time()
        frame = pd.DataFrame(rows, columns=["time", "last", "volume"]).set_index("time")
        minute = frame["last"].resample("1min", offset="15min").ohlc()
        minute["volume"] = frame["volume"].resample("1min", offset="15min").last().diff()
        rival.append(time.process_time() - began)
        assert len(minute) == minutes, number
    print(figure("relay", "bars_vs_pandas", ours, rival, "s of CPU for a second of ticks"))


def _tick(epoch_s: int, number: int) -> Tick:
    room, opened, last, high, low, *_ = quote(number)
    return Tick(
        room, clock.from_epoch(epoch_s), last, opened, high, low, None, volume=1000 + number
    )


# -- the whole way --------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What a measurement saw: ticks a second of each reader, CPU seconds by process."""

    rates: list[float]
    cpu: dict[str, float]
    lost: int
    seconds: float
    latencies: list[tuple[float, float]]
    resident: tuple[float, float]


def callbacks(rounds: int, seconds: float) -> None:
    """Print ticks a second in callbacks, all sides in turn."""
    one, ten, sdk, sdk10, bare = [], [], [], [], []
    for _ in range(rounds):
        one.append(_measure("feed", 1, seconds))
        sdk.append(_measure("sdk", 1, seconds))
        bare.append(_measure("bare", 1, seconds))
        ten.append(_measure("feed", _CONSUMERS, seconds))
        sdk10.append(_measure("sdk", _CONSUMERS, seconds))
    rates = {
        name: [min(seen.rates) for seen in side]
        for name, side in (
            ("one", one),
            ("sdk", sdk),
            ("bare", bare),
            ("ten", ten),
            ("sdk10", sdk10),
        )
    }
    total = [sum(seen.rates) for seen in ten]
    for name, ours, rival in (
        ("callback_vs_sdk", rates["one"], rates["sdk"]),
        ("callback10_vs_sdk", rates["ten"], rates["sdk"]),
        ("callback10_vs_sdk10", rates["ten"], rates["sdk10"]),
        ("callback10_total_vs_sdk", total, rates["sdk"]),
        ("callback_vs_bare_loop", rates["one"], rates["bare"]),
    ):
        print(figure("relay", name, ours, rival, "ticks/s", bigger_is_better=True))
    for label, side in (("1", one), ("10", ten)):
        per_tick = {
            name: round(median(x.cpu[name] / x.seconds / min(x.rates) for x in side) * 1e6, 2)
            for name in side[0].cpu
        }
        _print(f"cpu_us_per_tick_{label}", per_tick["relay"], unit="us of relay", others=per_tick,
               lost=sum(seen.lost for seen in side))  # fmt: skip


def latency(seconds: float) -> None:
    """Print how late callbacks are at 5,000 ticks a second, and what a consumer costs the relay."""
    ten = _measure("feed", _CONSUMERS, seconds, paced=True)
    one = _measure("feed", 1, seconds, paced=True)
    stolen = round(_stolen_percent(), 1)
    for name, seen in (("", ten), ("_one_consumer", one)):
        late = sorted(late for late, _ in seen.latencies)
        p50, p99, most = (_quantile_ms(late, at) for at in (0.5, 0.99, 1))
        added = _quantile_ms(sorted(late - server for late, server in seen.latencies), 0.99)
        server = _quantile_ms(sorted(server for _, server in seen.latencies), 0.99)
        _print(f"p99_ms{name}", p99, p50=p50, max=most, added=added, server=server,
               per_second=_PER_SECOND, lost=seen.lost, stolen_percent=stolen)  # fmt: skip
    extra = (ten.cpu["relay"] / ten.seconds - one.cpu["relay"] / one.seconds) / (_CONSUMERS - 1)
    _print("cpu_percent_per_extra_consumer", round(extra * 100, 2), per_second=_PER_SECOND,
           relay_percent_with_one=round(one.cpu["relay"] / one.seconds * 100, 1))  # fmt: skip


def _quantile_ms(ordered: list[float], at: float) -> float:
    return round(ordered[min(int(len(ordered) * at), len(ordered) - 1)] * 1000, 2)


def _stolen_percent(seconds: float = 2.0) -> float:
    """Return how much of two processors' time does not come to two processes that want it all."""
    code = (
        "import sys, time\nbegun = last = time.monotonic(); stolen = 0.0\n"
        f"while last < begun + {seconds}:\n"
        "    now = time.monotonic(); stolen += (now - last) * (now - last > 0.0005); last = now\n"
        "print(stolen / (last - begun))"
    )
    pair = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(min(2, os.cpu_count() or 1))
    ]
    return 100 * max(float(one.communicate(timeout=60)[0]) for one in pair)


def memory(seconds: float) -> None:
    """Print how much the relay grows while it goes as fast as it can."""
    seen = _measure("feed", 1, seconds, warm=2.0)
    before, after = seen.resident
    _print("memory_growth_mib", round(after - before, 2), resident=round(after, 1),
           seconds=seconds, ticks=round(seen.rates[0] * seen.seconds))  # fmt: skip


def _measure(
    role: str, readers: int, seconds: float, *, warm: float = 0.7, paced: bool = False
) -> _Seen:
    """Run a flood for `seconds` and count."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        path = folder / "board"
        board = Board(path)
        environment = {
            **os.environ, "BREEZE_LAB_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
        }  # fmt: skip

        def start(part: str, *options: str) -> subprocess.Popen[str]:
            return stack.enter_context(
                _process([part, str(path), *options], environment, killed=part != "feed")
            )

        server = start("server", "--readers", str(readers), "--per-second", str(_PER_SECOND))
        assert server.stdout is not None
        port = str(json.loads(server.stdout.readline())["port"])
        options = ["--port", port, *(["--paced"] if paced else [])]
        stack.callback(_end_relay, folder / "home" / "runtime")  # after its readers
        started = [start(role, "--slot", str(slot), *options) for slot in range(readers)]
        deadline = time.monotonic() + _READY_S
        while not board.ready(readers):
            assert time.monotonic() < deadline, f"{role} was not ready in time"
            assert all(process.poll() is None for process in started), f"{role} ended"
            time.sleep(0.02)
        board.counts[Board.GO] = 2 if paced else 1
        _heard(board, [0] * readers)
        time.sleep(warm)
        pids = {"server": server.pid, "reader": started[0].pid, **_relay(folder / "home")}
        seen = _count(board, readers, seconds, pids)
        board.counts[Board.GO] = 0
        if not paced:
            return seen
        late: list[tuple[float, float]] = []
        for process in started:
            told, _ = process.communicate("", timeout=30)
            own = json.loads(told)
            late += own[int(len(own) * warm / (warm + seconds)) :]
        return _Seen(seen.rates, seen.cpu, seen.lost, seen.seconds, late, seen.resident)


def _relay(home: Path) -> dict[str, int]:
    """Return the relay's process, when there is one."""
    record = processes.running(home / "runtime", "relay") if home.exists() else None
    return {"relay": record["pid"]} if record else {}


def _count(board: Board, readers: int, seconds: float, pids: dict[str, int]) -> _Seen:
    counts, began = list(board.counts[:readers]), time.perf_counter()
    cpu, resident = {name: _cpu_s(pid) for name, pid in pids.items()}, _resident(pids)
    time.sleep(seconds)
    _heard(board, counts)
    wall = time.perf_counter() - began
    rates = [(b - a) / wall for a, b in zip(counts, board.counts[:readers], strict=True)]
    assert not board.late(readers), "ticks came in another order than they were sent in"
    used = {name: _cpu_s(pid) - cpu[name] for name, pid in pids.items()}
    return _Seen(rates, used, board.lost(readers), wall, [], (resident, _resident(pids)))


def _heard(board: Board, counts: list[int]) -> None:
    """Return when every reader counts more than it did; a busy machine may let one wait."""
    deadline = time.monotonic() + _READY_S
    while any(now <= then for now, then in zip(board.counts, counts, strict=False)):
        assert time.monotonic() < deadline, "a reader hears nothing"
        time.sleep(0.02)


@contextlib.contextmanager
def _process(
    command: list[str], environment: dict[str, str], *, killed: bool
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.flood", *command], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if killed and process.poll() is None:
                process.kill()
            elif process.poll() is None:
                process.communicate("", timeout=30)


def _end_relay(runtime: Path) -> None:
    record = processes.running(runtime, "relay") if runtime.exists() else None
    if record is None:
        return
    os.kill(record["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 10
    while processes.running(runtime, "relay") is not None and time.monotonic() < deadline:
        time.sleep(0.02)


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _JIFFIES


def _resident(pids: dict[str, int]) -> float:
    """Return the relay's resident memory in MiB; Linux only."""
    if "relay" not in pids:
        return 0.0
    pages = int(Path(f"/proc/{pids['relay']}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
