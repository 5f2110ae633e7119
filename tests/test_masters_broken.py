"""Broken masters: each is refused or read correctly, the last good one stays, the message says which."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
import zipfile
from datetime import date

import pytest
from master_server import beside_us, members, packed, serving
from waiting import within

from breeze_lab import cli, errors, master_checks, masters
from breeze_lab.practice.exchange import contracts
from breeze_lab.practice.exchange import master as practice_master
from breeze_lab.practice.exchange.prices import Prices

NSE = "NSEScripMaster.txt"
FONSE = "FONSEScripMaster.txt"
LATER = (2026, 11, 27)


@pytest.fixture(scope="module")
def parts():
    prices = Prices(1, date(2026, 11, 26))
    return members(practice_master.build(prices, contracts.listing(prices, date(2026, 11, 26))))


@pytest.fixture(scope="module")
def body(parts):
    return packed(parts)


@pytest.fixture
def server(home, body):
    with serving(body) as found:
        masters.fetch(found.endpoints())
        yield found


# -- how each is made from the members of a good one ------------------------------------


def changed(name, change):
    return lambda parts: packed({**parts, name: change(parts[name])}, LATER)


def without(name):
    return lambda parts: packed({n: text for n, text in parts.items() if n != name}, LATER)


def whole(change):
    return lambda parts: change(packed(parts, LATER))


def one_more_column(text):
    header, *rows = text.split(b"\r\n")
    return b"\r\n".join([header + b',"Added"', *[row + b',"x"' for row in rows]])


def one_column_less(text):
    return text.replace(b'"ShortName"', b'"Short"', 1)


def columns_moved(text):
    """The last column comes first."""
    rows = [row.rpartition(b",") for row in text.split(b"\r\n")]
    return b"\r\n".join(b",".join([last, first]) for first, _, last in rows)


def comma_in_a_name(text):
    return text.replace(b'"RELIANCE INDUSTRIES"', b'"RELIANCE, INDUSTRIES ""AND"" SONS"', 1)


def latin(text):
    return text.replace(b'"RELIANCE INDUSTRIES"', b'"RELIANCE CAF\xc9"', 1)


def garbage_in(share):
    def change(text):
        header, *rows = text.split(b"\r\n")
        step = round(1 / share)
        return b"\r\n".join([header, *[b"?" if i % step == step - 1 else row
                                       for i, row in enumerate(rows)]])  # fmt: skip

    return change


def flipped(data):
    """One byte of a member's packed text is another."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo(FONSE)
    at = info.header_offset + 30 + len(FONSE) + info.compress_size // 2
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def renamed(name):
    return lambda parts: packed(
        {(name if n == NSE else n): text for n, text in parts.items()}, LATER
    )


def twice(parts):
    out = io.BytesIO(packed(parts, LATER))
    with zipfile.ZipFile(out, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile itself warns of the second
        archive.writestr(NSE, parts[NSE])
    return out.getvalue()


def bomb(parts):
    """Zeros that declare what they are: 600 MB in half a megabyte."""
    return packed({**parts, FONSE: parts[FONSE] + bytes(600_000_000)}, LATER)


def lying(data):
    """A member that inflates to more than it declares, in both of its headers."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo(FONSE)
    old, new = info.file_size.to_bytes(4, "little"), (1000).to_bytes(4, "little")
    return data.replace(old, new)


def encrypted(data):
    at = data.index(b"PK\x01\x02") + 8  # the flags of the directory's first entry
    return data[:at] + b"\x01" + data[at + 1 :]


def many_rows(row):
    """Ten million rows of NSE, packed while they are written: nothing of it is held in memory."""

    def build(parts):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, text in parts.items():
                info = zipfile.ZipInfo(name, (*LATER, 7, 30, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w") as member:
                    if name != NSE:
                        member.write(text)
                        continue
                    member.write(text.split(b"\r\n")[0])
                    block = (b"\r\n" + row) * 10_000
                    for _ in range(1000):
                        member.write(block)
        return out.getvalue()

    return build


SHORT_ROW = b'"1","A"'
LONG_ROW = b'"1","A"' + b"," * 59

REFUSED = [
    ("cut", whole(lambda data: data[: len(data) * 2 // 3]), "a damaged zip"),
    ("cut by one byte", whole(lambda data: data[:-30]), "a damaged zip"),
    ("a web page", lambda _: b"<!DOCTYPE html><html>Maintenance</html>", "a web page"),
    ("a message", lambda _: b'{"Error": "try later"}', "no zip"),
    ("nothing", lambda _: b"", "no zip"),
    ("NSE missing", without(NSE), f"lacks {NSE}"),
    ("FONSE missing", without(FONSE), f"lacks {FONSE}"),
    ("MCX missing", without("MCXScripMaster.txt"), "lacks MCXScripMaster.txt"),
    ("NSE empty", changed(NSE, lambda _: b""), NSE),
    ("NSE with a header only", changed(NSE, lambda t: t.split(b"\r\n")[0]), f"{NSE} has .* no rows"),
    ("a column missing", changed(FONSE, one_column_less), f"{FONSE} lacks the column ShortName"),
    ("UTF-16", changed(NSE, lambda t: t.decode().encode("utf-16")), f"{NSE} is UTF-16"),
    ("a seventh garbage", changed(NSE, garbage_in(1 / 7)), f"rows of {NSE} cannot be read"),
    ("a flipped byte", whole(flipped), f"{FONSE} of the zip is damaged|damaged|fewer|more"),
    ("out of the folder", renamed(f"../{NSE}"), "unsafe name"),
    ("an absolute name", renamed(f"/etc/{NSE}"), "unsafe name"),
    ("a Windows name", renamed(f"..\\{NSE}"), "unsafe name"),
    ("a member twice", twice, f"holds {NSE} twice"),
    ("encrypted", whole(encrypted), "is encrypted"),
    ("a zip bomb", bomb, f"{FONSE} of the zip declares 6.* bytes"),
    ("a lying zip bomb", whole(lying), f"{FONSE} of the zip holds more than the 1,000 bytes"),
]  # fmt: skip

READ = [
    ("a byte order mark", changed(NSE, lambda text: b"\xef\xbb\xbf" + text), "byte order mark"),
    ("LF ends", changed(NSE, lambda text: text.replace(b"\r\n", b"\n")), None),
    ("LF ends everywhere", lambda parts: packed(
        {n: t.replace(b"\r\n", b"\n") for n, t in parts.items()}, LATER), None),
    ("a line end at the end", changed(NSE, lambda text: text + b"\r\n"), None),
    ("an extra column", changed(NSE, one_more_column), None),
    ("an extra column of contracts", changed(FONSE, one_more_column), None),
    ("moved columns", changed(FONSE, columns_moved), None),
    ("a quoted comma", changed(NSE, comma_in_a_name), None),
    ("Windows-1252", changed(NSE, latin), "not UTF-8"),
    ("some garbage rows", changed(NSE, garbage_in(1 / 50)), "rows left out, the first NSE"),
    ("an unknown file", lambda parts: packed({**parts, "note.txt": b"x"}, LATER), "note.txt"),
    ("in a folder", lambda parts: packed({f"master/{n}": t for n, t in parts.items()}, LATER), None),
    ("stored", lambda parts: packed(parts, LATER, zipfile.ZIP_STORED), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "says"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_broken_master_is_refused_and_the_last_good_one_stays(server, parts, body, build, says):
    """The warning says what is wrong; the file in use is the very same, and its names are there."""
    server.serve(build(parts), '"two"')
    with pytest.warns(
        UserWarning, match=f"could not be had .*({says}).*using the one of 26-11-2026"
    ):
        path = masters.fetch(server.endpoints())
    assert path.stem == "2026-11-26"
    assert path.read_bytes() == body
    assert masters.load(server.endpoints()).resolve("RELIANCE").stock_code == "RELIND"
    assert masters.days(server.endpoints()) == [date(2026, 11, 26)]
    assert re.search(says, masters.describe(server.endpoints()))
    left = {one.name for one in path.parent.iterdir()}
    assert left == {"2026-11-26.zip", "index.json", "lock"}
    server.serve(packed(parts, LATER), '"three"')
    assert masters.fetch(server.endpoints()).stem == "2026-11-27", "the next good one is taken"


@pytest.mark.parametrize(("build", "says"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_an_odd_master_is_read_correctly(server, parts, build, says):
    """Every instrument is as before, and what is odd is said."""
    before = {one.key: one for one in masters.load(server.endpoints())}
    server.serve(build(parts), '"two"')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        path = masters.fetch(server.endpoints())
    assert path.stem == "2026-11-27"
    told = [str(one.message) for one in said if issubclass(one.category, UserWarning)]
    assert [says in one for one in told] == ([True] if says else [])
    after = {one.key: one for one in masters.load(server.endpoints())}
    if says and "rows left out" in says:
        assert len(before) * 0.9 < len(after) < len(before)
        assert all(before[key] == one for key, one in after.items())
        return
    different = {key for key in before if after.get(key) != before[key]}
    assert different <= {"NSE:RELIANCE"}
    assert set(after) == set(before)


def test_a_quoted_comma_stays_in_the_name(server, parts):
    """Commas and doubled quotes inside quotes belong to the text."""
    server.serve(changed(NSE, comma_in_a_name)(parts), '"two"')
    masters.fetch(server.endpoints())
    found = masters.load(server.endpoints()).resolve("RELIANCE")
    assert found.name == 'RELIANCE, INDUSTRIES "AND" SONS'


FETCH = """
import re, sys, time, warnings
from pathlib import Path
from breeze_lab import masters
from master_server import beside_us, FileServer
warnings.simplefilter("always")
begun = time.monotonic()
endpoints = FileServer.endpoints(type("S", (), {"url": sys.argv[1]})())
print(masters.fetch(endpoints).name, time.monotonic() - begun,
      # Not ru_maxrss, which a child takes over from its parent.
      int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
"""


@pytest.mark.parametrize("row", [SHORT_ROW, LONG_ROW], ids=["110 MB", "680 MB"])
def test_ten_million_rows_cost_neither_time_nor_memory(server, parts, row):
    """Refused before they are parsed: a few hundred megabytes at most, in seconds."""
    server.serve(many_rows(row)(parts), '"two"')
    done = subprocess.run(
        [sys.executable, "-c", FETCH, server.url], capture_output=True, text=True, timeout=110,
        check=True, env=beside_us(),
    )  # fmt: skip
    name, took_s, peak_mb = done.stdout.split()
    assert name == "2026-11-26.zip"
    assert re.search(rf"{NSE}.* (has 10,000,000 rows|declares 6.* bytes)", done.stderr)
    assert float(peak_mb) < 450, f"peak {peak_mb} MB"
    assert float(took_s) < within(15)


def test_the_command_checks_a_file(tmp_path, home, parts, capsys):
    """``breeze-lab master check`` counts rows, names what was left out, and fails on a broken one."""
    path = tmp_path / "SecurityMaster.zip"
    path.write_bytes(changed(NSE, garbage_in(1 / 50))(parts))
    assert cli.main(["master", "check", str(path)]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"{NSE} +[\d,]+ rows", said)
    assert re.search(rf"{NSE}:51: ", said)
    path.write_bytes(b"<html>")
    assert cli.main(["master", "check", str(path)]) == 1
    assert "web page" in capsys.readouterr().err
    assert cli.main(["master", "check"]) == 1
    assert not list((home / "cache" / "masters").iterdir())


def test_the_command_fetches_and_lists(server, parts, capsys, monkeypatch):
    """``fetch`` says where it is, ``list`` which days there are and what is odd."""
    from breeze_lab import settings

    monkeypatch.setattr(settings, "ICICI", server.endpoints("icici"))
    assert cli.main(["master", "fetch"]) == 0
    assert "2026-11-26.zip" in capsys.readouterr().out
    server.serve(changed(NSE, latin)(parts), '"two"')
    assert cli.main(["master", "fetch"]) == 0
    assert "warning: " in capsys.readouterr().err
    assert cli.main(["master", "list"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2026-11-26\n2026-11-27\n")
    assert "note: " in said


def test_without_the_check_a_broken_one_would_get_in(server, parts, monkeypatch):
    """The planted fault: whatever is downloaded is believed. The table above must notice."""
    good = master_checks.Kept(rows={}, contents="0", fetched="2026-11-27T07:30:00+05:30")
    monkeypatch.setattr(master_checks, "examine", lambda *_: (date(*LATER), good))
    monkeypatch.setattr(master_checks, "compare", lambda *_: ([], ""))
    server.serve(b"<html>", '"two"')
    path = masters.fetch(server.endpoints())
    assert path.stem == "2026-11-27"
    with pytest.raises((errors.MasterError, zipfile.BadZipFile)):
        masters.load(server.endpoints())
