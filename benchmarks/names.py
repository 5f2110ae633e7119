"""The security master: read, opened, resolved and searched, against the unmodified SDK.

On the broker's master of 2026-07-30 where a folder ``shared`` lies beside the
repository, else on the practice market's, repeated to the same size. Both
sides read the same zip from disk in one process, taking turns, with all
imports done before: the SDK's two downloads a login cost it nothing here. The
SDK's figure is its ``get_stock_script_list``, after which it can look a token
up; ours is the zip turned into the compiled file on disk, opened,
and asked for one name and one search. The two sides differ in what they hold:
the SDK has codes and tokens of five members, ours every row of seven with
names, ISINs, expiries, lots and a search index.
"""

from __future__ import annotations

import csv
import gc
import io
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import figure
from breeze_lab import _sdk, settings
from breeze_lab.instruments import SecurityMaster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["run"]

_REAL: Final = "shared/data/securitymaster-2026-07-30/SecurityMaster.zip"
_PRACTICE_DAY: Final = date(2026, 11, 20)
#: The practice market's master, repeated so often, has the broker's 139,000 rows.
_COPIES: Final = 17
_RESOLVED: Final = ("RELIANCE", "HDFCBANK", "INFY", "TCS", "SBIN", "ITC", "LT", "TITAN")
_REPEATS: Final = 200

#: What a further process adds: everything but the interpreter and numpy, measured by the kernel.
_FURTHER: Final = """
import json, sys
import numpy
def memory():
    found = {}
    for line in open("/proc/self/smaps_rollup"):
        name, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            found[name] = int(rest.split()[0]) / 1024
    return found["Private_Clean"] + found["Private_Dirty"], found["Pss"]
before = memory()
from datetime import date
from breeze_lab.instruments import SecurityMaster
master = SecurityMaster.load(sys.argv[1])
today = date.fromisoformat(sys.argv[2])
for name in ("RELIANCE", "NIFTY fut", "reliance industries", "RELIND", "INE002A01018"):
    master.resolve(name, today)
for text in ("rel", "nifty 24", "hdfc ba", "gold", "tata", "banknifty fut"):
    master.search(text, 20, today)
after = memory()
print(json.dumps([after[0] - before[0], after[1] - before[1]]))
"""


def run(*, quick: bool) -> None:
    """Print the figures."""
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zipped, today, what = _master(folder)
        print(json.dumps({"benchmark": "names", "figure": "master", "ours": what}))
        out = folder / "compiled"
        sdk = _sdk.load(settings.ICICI, zipped)
        cold, warm, listing = [], [], []
        for number in range(rounds + 1):
            a = _timed(lambda: _listing(sdk))
            out.unlink(missing_ok=True)  # a day's master is a new file
            b = _timed(lambda: _cold(zipped, out, today))
            c = _timed(lambda: _warm(out))
            if number:  # the first round warms allocators and the page cache
                listing.append(a)
                cold.append(b)
                warm.append(c)
        print(figure("names", "cold_parse_vs_sdk", cold, listing, "s"))
        print(figure("names", "warm_open_vs_sdk", warm, listing, "s"))
        master = SecurityMaster.load(out)
        print(figure("names", "resolve_vs_get_names", *_resolve(master, sdk, rounds), "s"))
        keystrokes = sorted(_keystrokes(master, today, 100 if quick else 400))
        at = {"p50": 0.5, "p99": 0.99, "max": 1}
        for label, share in at.items():
            value = keystrokes[min(int(len(keystrokes) * share), len(keystrokes) - 1)]
            _print(f"search_{label}_ms", round(value * 1000, 3), keystrokes=len(keystrokes))
        _memory(out, today)


def _print(name: str, ours: float, **more: object) -> None:
    print(json.dumps({"benchmark": "names", "figure": name, "ours": ours, **more}))


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - started
    del kept
    return seconds


def _listing(sdk: Any) -> Any:
    breeze = sdk.BreezeConnect(api_key="none")
    breeze.get_stock_script_list()
    assert breeze.stock_script_dict_list[1]["RELIND"] == "2885"
    return breeze


def _cold(zipped: Path, out: Path, today: date) -> SecurityMaster:
    SecurityMaster.compile(zipped, out)
    master = SecurityMaster.load(out)
    assert master.resolve("RELIANCE", today).token == "2885"
    assert master.search("relian", 20, today)[0].symbol.startswith("RELIANCE")
    return master


def _warm(out: Path) -> SecurityMaster:
    master = SecurityMaster.load(out)
    assert master.resolve("RELIND").token == "2885"
    return master


def _resolve(master: SecurityMaster, sdk: Any, rounds: int) -> tuple[list[float], list[float]]:
    """Return seconds per name of ours and of the SDK's ``get_names``, a pair per round."""
    answers = sdk.ApificationBreeze.__new__(sdk.ApificationBreeze)
    ours, rival = [], []
    for number in range(rounds):
        name = _RESOLVED[number % len(_RESOLVED)]
        rival.append(_timed(lambda name=name: answers.get_names("NSE", name)))  # type: ignore[misc]
        started = time.perf_counter()
        for _ in range(_REPEATS):
            master.resolve(name)
        ours.append((time.perf_counter() - started) / _REPEATS)
    return ours, rival


def _keystrokes(master: SecurityMaster, today: date, count: int) -> Iterator[float]:
    """Yield seconds for every keystroke of typing names of all kinds, with and without slips.

    The smaller of two tries: the worst query is meant, not the worst moment of the machine.
    """
    dice = random.Random(1)
    everything = list(master)
    for instrument in dice.sample(everything, count):
        texts = [instrument.symbol, instrument.name]
        if instrument.expiry is not None:
            strike = f"{instrument.strike:g} {instrument.right}" if instrument.strike else "fut"
            texts = [instrument.key.partition(":")[2], f"{instrument.symbol} {strike}"]
        for text in (*texts, _slip(texts[0], dice), _slip(texts[1], dice)):
            for length in range(1, min(len(text), 30) + 1):
                typed = text[:length].lower()
                yield min(_seconds(master, typed, today) for _ in range(2))


def _seconds(master: SecurityMaster, typed: str, today: date) -> float:
    started = time.perf_counter()
    master.search(typed, 20, today)
    return time.perf_counter() - started


def _slip(text: str, dice: random.Random) -> str:
    """Return a text with two neighbouring letters swapped."""
    at = dice.randrange(max(len(text) - 1, 1))
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _memory(out: Path, today: date) -> None:
    """Print what a further process takes while this one has the file mapped too."""
    if not Path("/proc/self/smaps_rollup").exists():
        _print("extra_process_mib", float("nan"), note="only Linux says")
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    found = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _FURTHER, str(out), today.isoformat()],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    unshared, proportional = (median(one[at] for one in found) for at in (0, 1))
    _print("extra_process_mib", round(max(unshared, proportional), 2), uss=round(unshared, 2),
           pss=round(proportional, 2), without="the interpreter and numpy")  # fmt: skip


# -- the master -----------------------------------------------------------------


def _master(folder: Path) -> tuple[Path, date, str]:
    """Return a zip, the day it is of, and what it is."""
    for above in Path(__file__).resolve().parents:
        if (above / _REAL).exists():
            return above / _REAL, date(2026, 7, 30), "the broker's of 2026-07-30"
    path = folder / "SecurityMaster.zip"
    path.write_bytes(_repeated())
    return path, _PRACTICE_DAY, f"the practice market's, {_COPIES} times"


def _repeated() -> bytes:
    """Return the practice market's master with every row several times, under other names."""
    from breeze_lab.practice.exchange import contracts, master
    from breeze_lab.practice.exchange.prices import Prices

    prices = Prices(1, date(2026, 11, 1))
    small = master.build(prices, contracts.listing(prices, _PRACTICE_DAY))
    buffer, tokens = io.BytesIO(), itertools.count(2_000_000)
    with (
        zipfile.ZipFile(io.BytesIO(small)) as given,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for info in given.infolist():
            header, *lines = given.read(info).decode().split("\r\n")
            names = [name.strip() for name in next(csv.reader([header], skipinitialspace=True))]
            copies = [_copy(names, line, at, tokens) for at in range(_COPIES) for line in lines]
            fresh = zipfile.ZipInfo(info.filename, info.date_time)
            out.writestr(fresh, "\r\n".join([header, *copies]), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _copy(names: list[str], line: str, number: int, tokens: Iterator[int]) -> str:
    """Return a row under another name and token; a contract under another expiry."""
    if not number:
        return line
    cells = next(csv.reader([line]))
    suffix = f"X{number:02d}"  # no symbol of the practice market ends so
    contract = "ExpiryDate" in names and cells[names.index("Series")] in ("FUTURE", "OPTION")
    for at, column in enumerate(names):
        if contract and column != "Token":
            if column == "ExpiryDate":  # the same underlyings, some years later
                cells[at] = f"{cells[at][:-4]}{int(cells[at][-4:]) + number}"
        elif column in ("ShortName", "ExchangeCode", "ScripID", "SchemeCode") and cells[at]:
            cells[at] += suffix
        elif column in ("CompanyName", "SchemeName"):
            cells[at] = f"{cells[at]} {suffix}"
        elif column in ("ISINCode", "ISIN") and cells[at]:
            cells[at] = cells[at][:-2] + suffix[1:]
        elif column == "Token":
            cells[at] = str(next(tokens)) if cells[at].isdigit() else cells[at] + suffix
    # Numbers stay unquoted, as the broker writes them.
    return ",".join(f'"{cell}"' if not _plain(cell) else cell for cell in cells)


def _plain(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()
