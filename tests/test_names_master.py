"""The whole of a master is read or reported, and kept in a file that can be trusted."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import stat
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections import Counter
from datetime import date

import numpy as np
import pytest
import real_master

from breeze_lab import errors
from breeze_lab.instruments import Instrument, SecurityMaster, archive, columns
from breeze_lab.instruments.layouts import LAYOUTS
from breeze_lab.practice.exchange import contracts
from breeze_lab.practice.exchange import master as practice
from breeze_lab.practice.exchange.prices import Prices

REAL = real_master.path("securitymaster-2026-07-30/SecurityMaster.zip")
CURRENCY = real_master.path("securitymaster-sample/currency-2025-09-05/CDNSEScripMaster.txt")
NSE, BSE, FONSE, CDNSE = (f"{name}ScripMaster.txt" for name in ("NSE", "BSE", "FONSE", "CDNSE"))


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """The broker's whole master of 2026-07-30."""
    if REAL is None:
        pytest.skip("the real security master is not here")
    return real_master.load(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def members():
    """The practice market's members of a fixed day."""
    prices = Prices(1, date(2026, 11, 1))
    built = practice.build(prices, contracts.listing(prices, date(2026, 11, 20)))
    with zipfile.ZipFile(io.BytesIO(built)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as out:
        for name, text in members.items():
            out.writestr(zipfile.ZipInfo(name, (2026, 11, 20, 7, 30, 0)), text, method)
    return path


def compiled(tmp_path, members):
    path = zipped(tmp_path / "SecurityMaster.zip", members)
    report = SecurityMaster.compile(path, tmp_path / "out")
    return report, SecurityMaster.load(tmp_path / "out")


# -- every row ------------------------------------------------------------------


def test_every_row_of_the_real_master_is_kept_or_reported(master):
    """What is kept and what is reported add up to the lines of each member."""
    report = master.report
    with zipfile.ZipFile(REAL) as opened:
        rows = {name: opened.read(name).count(b"\n") for name in opened.namelist()}
    assert rows == {
        "NSEScripMaster.txt": 5_687, "BSEScripMaster.txt": 13_357, "FONSEScripMaster.txt": 70_950,
        "FOBSEScripMaster.txt": 4_439, "CDNSEScripMaster.txt": 4, "MCXScripMaster.txt": 37_408,
        "MFScripMaster.txt": 7_014,
    }  # fmt: skip
    assert report.rows == rows
    skipped = Counter(member for member, _, _ in report.skipped)
    assert {m: report.kept[m] + skipped[m] for m in rows} == rows
    assert report.skipped == [], "the broker's rows of that day can all be read"
    assert Counter(i.exchange for i in master) == {
        layout.exchange: rows[layout.member] for layout in LAYOUTS
    }
    assert len(master) == sum(rows.values())
    assert report.day == date(2026, 7, 30)
    assert any("21325" in warning for warning in report.warnings), "shared tokens are said"


def test_every_real_instrument_round_trips(master):
    """Name to instrument to name, each name once: shares, bonds, contracts, funds."""
    keys = set()
    for instrument in master:
        key = instrument.key
        assert key not in keys
        keys.add(key)
        assert master.get(key) == instrument
    assert len(keys) == len(master)


def test_real_instruments_resolve_by_key_and_by_room(master):
    """A sample of every exchange, through the whole of resolve."""
    everything = list(master)
    rooms = Counter(i.quote_room for i in everything if i.tradable)
    for instrument in everything[::53]:
        assert master.resolve(instrument.key) == instrument
        if instrument.tradable and rooms[instrument.quote_room] == 1:
            assert master.resolve(instrument.quote_room) == instrument


def test_real_fields_are_those_of_the_row(master):
    """The values of a few rows as they stand in the file."""
    assert master.get("NSE:RELIANCE") == Instrument(
        "RELIANCE", "RELIND", "NSE", "2885", "RELIANCE INDUSTRIES", isin="INE002A01018",
        tick_size=0.01, series="EQ",
    )  # fmt: skip
    option = master.get("NFO:NIFTY 29-Sep-2026 29150 PE")
    assert (option.token, option.lot_size, option.tick_size) == ("35085", 65, 0.05)
    assert (option.right, option.strike, option.expiry) == ("PE", 29150.0, date(2026, 9, 29))
    half = next(i for i in master if i.exchange == "NFO" and i.strike and i.strike % 1)
    assert half.broker_fields()["strike_price"].endswith(".5")
    bond = master.get("NSE:SREINFRA-YN")
    assert (bond.symbol, bond.listed_as, bond.tradable) == ("SREINFRA", "SREINFRA-YN", False)


@pytest.mark.skipif(CURRENCY is None, reason="the real currency file is not here")
def test_every_currency_contract_of_the_older_file_round_trips(tmp_path, members):
    """The SDK files these under NSE; here FUTCUR and OPTCUR are contracts of NDX."""
    report, master = compiled(tmp_path, {**members, CDNSE: CURRENCY.read_bytes()})
    assert (report.rows[CDNSE], report.kept[CDNSE]) == (636, 636)
    pairs = [i for i in master if i.exchange == "NDX"]
    assert Counter(i.kind for i in pairs) == {"option": 600, "future": 32, "spot": 4}
    assert all(master.get(i.key) == i == master.resolve(i.key) for i in pairs)
    option = master.resolve("EURINR 26-Sep-2025 97.75 CE")
    assert (option.token, option.tick_size, option.lot_size) == ("2663", 0.0025, 1000)
    assert option.quote_room == "13.1!2663"
    assert master.resolve("USDINR fut", today=date(2025, 9, 5)).expiry == date(2025, 9, 26)


# -- odd input ------------------------------------------------------------------


def edit(members, name, old, new, count=1):
    text = members[name]
    assert old in text
    return {**members, name: text.replace(old, new, count)}


def test_a_bom_lf_ends_and_an_extra_column_are_read(tmp_path, members):
    """The same instruments come out, and what was odd is said."""
    plain_report, plain = compiled(tmp_path, members)
    odd = {name: text.replace(b"\r\n", b"\n") for name, text in members.items()}
    odd[NSE] = b"\xef\xbb\xbf" + odd[NSE]
    head, *rows = odd[BSE].split(b"\n")
    odd[BSE] = b"\n".join([b'"New",' + head, *(b'"x,y",' + row for row in rows)])
    report, master = compiled(tmp_path, odd)
    assert list(master) == list(plain)
    assert report.rows == plain_report.rows
    assert any("byte order mark" in warning for warning in report.warnings)


def test_a_quoted_comma_is_part_of_the_name(tmp_path, members):
    """And a doubled quote is one."""
    text = edit(members, NSE, b'"RELIANCE INDUSTRIES', b'"RELIANCE, ""INDUSTRIES""')
    _, master = compiled(tmp_path, text)
    assert master.get("NSE:RELIANCE").name.startswith('RELIANCE, "INDUSTRIES"')


def test_windows_letters_are_read_and_said(tmp_path, members):
    """A name in Windows-1252 costs a warning, not the master."""
    text = edit(members, NSE, b'"RELIANCE INDUSTRIES', b'"RELIANC\xc9 INDUSTRIES')
    report, master = compiled(tmp_path, text)
    assert master.get("NSE:RELIANCE").name.startswith("RELIANCÉ INDUSTRIES")
    assert any(NSE in warning and "Windows-1252" in warning for warning in report.warnings)
    assert master.resolve("reliancé industries").key == "NSE:RELIANCE"


@pytest.mark.parametrize(
    ("member", "line", "reason"),
    [
        (FONSE, b'"1","OPTSTK"', "it has 2 columns, not 69"),
        (FONSE, b"", None),
        (NSE, b'"unfinished', "it is no CSV"),
        (FONSE, 4, "StrikePrice is 'x', not a number"),
        (FONSE, 3, "its expiry is no date"),
        (FONSE, 2, "it is an option of neither CE nor PE"),
        (FONSE, 0, "it has no valid token"),
        (FONSE, -1, "it repeats the contract of line"),
    ],
)
def test_a_row_that_cannot_be_read_is_reported_with_its_line(
    tmp_path, members, member, line, reason
):
    """The others are kept; nothing is left out without a word."""
    whole, _ = compiled(tmp_path, members)
    lines = members[member].split(b"\r\n")
    if isinstance(line, bytes):
        lines.insert(7, line)
    else:
        option = next(row for row in lines if b'"OPTION"' in row).split(b",")
        at = {4: 5, 3: 4, 2: 6, 0: 0}.get(line)
        if at is not None:
            option[at] = {4: b'"x"', 3: b'"31-Feb-2026"', 2: b'"XX"', 0: b'"007"'}[line]
        lines.insert(7, b",".join(option))
    report, _ = compiled(tmp_path, {**members, member: b"\r\n".join(lines)})
    if reason is None:
        assert report.skipped == []
        assert report.rows == whole.rows
        return
    ((where, number, why),) = report.skipped
    assert where == member
    assert reason in why
    if line != -1:  # of two equal rows the later one is left out
        assert number == 8
    assert report.kept == whole.kept
    assert report.rows[member] == whole.rows[member] + 1


def test_a_member_of_another_format_is_refused(tmp_path, members):
    """When most rows cannot be read, it is not a few odd rows."""
    lines = members[NSE].split(b"\r\n")
    text = b"\r\n".join([lines[0], *(line + b",1" for line in lines[1:])])
    with pytest.raises(errors.MasterError, match=rf"{NSE} cannot be read.*62 columns, not 61"):
        compiled(tmp_path, {**members, NSE: text})


def test_a_missing_column_is_named(tmp_path, members):
    """A renamed header is not guessed at."""
    with pytest.raises(errors.MasterError, match=rf"{BSE} lacks the column ScripID"):
        compiled(tmp_path, edit(members, BSE, b'"ScripID"', b'"Symbol"'))


@pytest.mark.parametrize("missing", [NSE, BSE, FONSE, "FOBSEScripMaster.txt", CDNSE])
def test_a_missing_member_is_named(tmp_path, members, missing):
    """The five that have always been there are needed."""
    rest = {name: text for name, text in members.items() if name != missing}
    with pytest.raises(errors.MasterError, match=rf"lacks {missing}: names of"):
        compiled(tmp_path, rest)


@pytest.mark.parametrize("kept", [[BSE], [NSE], [NSE, "MFScripMaster.txt"], [BSE, FONSE]])
def test_a_master_that_lacks_members_is_read_when_asked(tmp_path, members, monkeypatch, kept):
    """With nothing better at hand, some names are better than none; what lacks is said."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "home"))
    path = zipped(tmp_path / "SecurityMaster.zip", {name: members[name] for name in kept})
    report = SecurityMaster.compile(path, tmp_path / "out", lacking=True)
    master = SecurityMaster.load(tmp_path / "out")
    assert report.rows == report.kept
    assert set(report.rows) == set(kept)
    assert len([w for w in report.warnings if "is not in the master" in w]) == 7 - len(kept)
    assert master.resolve("RELIANCE").exchange == ("NSE" if NSE in kept else "BSE")
    assert list(SecurityMaster.from_zip(str(path))) == list(master)
    with pytest.raises(errors.MasterError, match="lacks"):
        SecurityMaster.load(path)


def test_a_master_of_five_members_is_read(tmp_path, members):
    """Before July 2026 there were no commodities and funds."""
    newer = ("MCXScripMaster.txt", "MFScripMaster.txt")
    rest = {name: text for name, text in members.items() if name not in newer}
    report, master = compiled(tmp_path, rest)
    assert [w for w in report.warnings if "is not in the master" in w] == [
        f"{name} is not in the master." for name in newer
    ]
    assert master.get("NSE:RELIANCE")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>maintenance</html>", "a web page"),
        (b'{"Status":500,"Error":"busy"}', "a message"),
        (b"\x00\x01 nonsense", "not a zip"),
    ],
)
def test_what_is_no_zip_is_said(tmp_path, content, words):
    """Each in words of its own; the file that was there stays."""
    path, out = tmp_path / "SecurityMaster.zip", tmp_path / "out"
    path.write_bytes(content)
    out.write_bytes(b"the last good one")
    with pytest.raises(errors.MasterError, match=words):
        SecurityMaster.compile(path, out)
    assert out.read_bytes() == b"the last good one"
    assert sorted(tmp_path.iterdir()) == [path, out]


def test_a_cut_zip_and_a_damaged_member_are_said(tmp_path, members):
    """Half the download, one flipped bit, a lie about the size."""
    path = zipped(tmp_path / "SecurityMaster.zip", members)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.MasterError, match="cut off or damaged"):
        SecurityMaster.compile(path, tmp_path / "out")
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        at = opened.getinfo(FONSE).header_offset
    flipped = bytearray(whole)
    flipped[at + 5000] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(errors.MasterError, match=rf"{FONSE} of SecurityMaster.zip (is|holds)"):
        SecurityMaster.compile(path, tmp_path / "out")


def lying(tmp_path, members, size):
    """Return a zip whose directory declares another size for FONSE than is packed."""
    path = zipped(tmp_path / "SecurityMaster.zip", members)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(FONSE.encode()))
    struct.pack_into("<I", content, at + 24, size)
    path.write_bytes(content)
    return path


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path, members):
    """Packed more than declared, or declared more than any master has."""
    with pytest.raises(errors.MasterError, match=r"holds more than the 1,000 bytes"):
        SecurityMaster.compile(lying(tmp_path, members, 1000), tmp_path / "out")
    with pytest.raises(errors.MasterError, match=r"declares 3,000,000,000 bytes"):
        SecurityMaster.compile(lying(tmp_path, members, 3_000_000_000), tmp_path / "out")


def test_ten_million_rows_are_refused_quickly(tmp_path, members):
    """By their number where the bytes would still fit: short lines, packed a thousandfold."""
    head = members[FONSE].split(b"\r\n")[0]
    with pytest.raises(errors.MasterError, match=r"10,000,000 rows: no master has so many"):
        compiled(tmp_path, {**members, FONSE: head + b"\r\n" + b"1,2\r\n" * 10_000_000})


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/passwd", "a/../../b", "C:\\x", "..\\x.txt"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, members, name):
    """Nothing is extracted, but such a zip is nobody's master."""
    with pytest.raises(errors.MasterError, match="unsafe name"):
        compiled(tmp_path, {**members, name: b"x"})


def test_shared_tokens_are_read_and_cannot_be_streamed(tmp_path, members):
    """Two contracts of one token are both marked, as whose prices would come is not known."""
    rows = members[FONSE].split(b"\r\n")
    first, second, *_ = [row for row in rows if b'"FUTIDX","NIFTY"' in row]
    token = first.split(b",")[0]
    text = members[FONSE].replace(second, token + second[second.index(b",") :])
    report, master = compiled(tmp_path, {**members, FONSE: text})
    number = token.strip(b'"').decode()
    assert any(number in warning and "several contracts" in warning for warning in report.warnings)
    twins = [i for i in master if i.exchange == "NFO" and i.token == number]
    assert len(twins) == 2
    assert not any(i.tradable for i in twins)


# -- the file -------------------------------------------------------------------


@pytest.fixture
def built(tmp_path, members):
    """A zip, and the folder its compiled copy goes to."""
    return zipped(tmp_path / "SecurityMaster.zip", members)


def test_the_file_is_private_whole_and_holds_no_pickle(built, tmp_path):
    """Mode 0600, our magic, numbers and text only, nothing left beside it."""
    out = tmp_path / "out"
    SecurityMaster.compile(built, out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    content = out.read_bytes()
    assert content.startswith(columns.MAGIC)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["SecurityMaster.zip", "out"]
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(content)
    assert SecurityMaster.load(out).digest == hashlib.sha256(built.read_bytes()).hexdigest()


@pytest.mark.parametrize("where", [0.1, 0.35, 0.6, 0.9, 0.999])
def test_one_flipped_bit_anywhere_is_found(built, tmp_path, where):
    """A compiled file says that it is damaged; the cached copy of a zip is made again."""
    out = tmp_path / "out"
    SecurityMaster.compile(built, out)
    content = bytearray(out.read_bytes())
    content[int(len(content) * where)] ^= 1
    out.write_bytes(content)
    with pytest.raises(errors.MasterError, match="damaged"):
        SecurityMaster.load(out)


@pytest.mark.parametrize("harm", ["swapped", "blank", "stale", "cut"])
def test_a_page_that_is_not_the_right_one_is_found(built, tmp_path, harm):
    """Two pages that changed places, one never written or written twice, the last one missing."""
    out = tmp_path / "out"
    SecurityMaster.compile(built, out)
    content = out.read_bytes()
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    one, other = len(pages) // 2, len(pages) // 3
    assert pages[one] != pages[other]
    if harm == "swapped":
        pages[one], pages[other] = pages[other], pages[one]
    elif harm == "blank":
        pages[one] = bytes(4096)
    elif harm == "stale":
        pages[one] = pages[other]
    else:
        del pages[-1]
    out.write_bytes(b"".join(pages))
    with pytest.raises(errors.MasterError, match="damaged"):
        SecurityMaster.load(out)


@pytest.mark.parametrize("harm", ["cut", "older", "flipped", "gone"])
def test_a_bad_cached_copy_is_made_again(built, tmp_path, monkeypatch, harm):
    """Cut, of an older format, or damaged: the next load has a good one."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "home"))
    good = SecurityMaster.load(built)
    (cached,) = (tmp_path / "home" / "cache" / "instruments").iterdir()
    content = bytearray(cached.read_bytes())
    if harm == "cut":
        content = content[:-100]
    elif harm == "older":
        struct.pack_into("<I", content, 8, columns.VERSION - 1)
    elif harm == "flipped":
        content[-200] ^= 1
    cached.write_bytes(content)
    if harm == "gone":
        cached.unlink()
    again = SecurityMaster.load(built)
    assert list(again) == list(good)
    assert SecurityMaster.load(cached).digest == good.digest


def test_a_changed_zip_is_compiled_again_and_the_old_copy_goes(
    built, tmp_path, members, monkeypatch
):
    """The newest bytes count, and copies do not pile up."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "home"))
    before = SecurityMaster.load(built)
    renamed = edit(members, NSE, b'"RELIANCE INDUSTRIES', b'"RELIANCE RENAMED')
    zipped(tmp_path / "new.zip", renamed).replace(built)
    after = SecurityMaster.load(built)
    assert before.get("NSE:RELIANCE").name != after.get("NSE:RELIANCE").name
    assert len(list((tmp_path / "home" / "cache" / "instruments").iterdir())) == 1


def test_readers_keep_their_file_while_it_is_replaced(built, tmp_path):
    """Compiling over a mapped file: nobody sees half of it."""
    out = tmp_path / "out"
    SecurityMaster.compile(built, out)
    master = SecurityMaster.load(out)
    wrong: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if master.get("NSE:RELIANCE").token != "2885":
                wrong.append("mapped")
            if SecurityMaster.load(out).get("NSE:RELIANCE").token != "2885":
                wrong.append("opened")

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(5):
        SecurityMaster.compile(built, out)
    done.set()
    reader.join()
    assert wrong == []


def test_another_process_loads_no_arrow(built, tmp_path):
    """A warm start needs numpy and the map; pyarrow is for compiling, rapidfuzz for mistakes."""
    out = tmp_path / "out"
    SecurityMaster.compile(built, out)
    code = (
        "import sys; from breeze_lab.instruments import SecurityMaster\n"
        "m = SecurityMaster.load(sys.argv[1])\n"
        "print(m.resolve('RELIANCE').key, len(m.search('nifty')), m.get('NSE:TCS').token)\n"
        "print(*{n.split('.')[0] for n in sys.modules} & {'pyarrow', 'rapidfuzz', 'pandas'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"}, timeout=60,
    )  # fmt: skip
    assert done.stdout == "NSE:RELIANCE 20 11536\n\n"


def test_the_limits_are_above_every_real_master():
    """Ten times the rows and bytes of July 2026 would still have to be looked at."""
    assert archive.MAX_ROWS > 7 * 138_859


def test_the_checksum_is_that_of_the_directory_and_the_rest(built, tmp_path):
    """The format as documented can be checked by hand."""
    out = tmp_path / "out"
    SecurityMaster.compile(built, out)
    content = out.read_bytes()
    magic, version, length, of_directory, of_rest, size = struct.unpack("<8sIIIIQ", content[:32])
    assert (magic, version) == (columns.MAGIC, columns.VERSION)
    assert zlib.crc32(content[32 : 32 + length]) == of_directory
    assert (32 + length) % 4096 == size % 4096 == 0
    words = np.frombuffer(content, "<u8", offset=32 + length)
    sums = [sum(page.tolist()) % 2**64 for page in np.split(words, size // 4096)]
    assert zlib.crc32(struct.pack(f"<{len(sums)}Q", *sums)) == of_rest
    assert len(content) == 32 + length + size
    assert re.search(rb'"underlyings":\[\["NFO","', content)
