"""The practice market's security master has the broker's bytes where bytes matter."""

import csv
import io
import re
import zipfile
from datetime import date, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from breeze_lab.practice.exchange import contracts, master
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.wire.rows import day

MEMBERS = ["BSE", "CDNSE", "FOBSE", "FONSE", "MCX", "MF", "NSE"]
REAL = Path(__file__).parents[2] / "shared" / "data"
CELL = re.compile(r'(?:^|,)("[^"]*"|[^,"]*)')
TODAY = date(2026, 11, 20)
NIFTY_50 = [
    "ADANIENT", "ADANIPORTS", "APOLLOHOSP", "ASIANPAINT", "AXISBANK", "BAJAJ-AUTO", "BAJFINANCE",
    "BAJAJFINSV", "BEL", "BHARTIARTL", "CIPLA", "COALINDIA", "DRREDDY", "EICHERMOT", "ETERNAL",
    "GRASIM", "HCLTECH", "HDFCBANK", "HDFCLIFE", "HINDALCO", "HINDUNILVR", "ICICIBANK", "INDIGO",
    "INFY", "ITC", "JIOFIN", "JSWSTEEL", "KOTAKBANK", "LT", "M&M", "MARUTI", "MAXHEALTH",
    "NESTLEIND", "NTPC", "ONGC", "POWERGRID", "RELIANCE", "SBILIFE", "SBIN", "SHRIRAMFIN",
    "SUNPHARMA", "TCS", "TATACONSUM", "TMPV", "TATASTEEL", "TECHM", "TITAN", "TRENT",
    "ULTRACEMCO", "WIPRO",
]  # fmt: skip


def archive_of(data):
    """Return the members of a zip as lists of lines, by short name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{name}ScripMaster.txt" for name in MEMBERS]
        return {
            name: archive.read(f"{name}ScripMaster.txt").decode("ascii").split("\r\n")
            for name in MEMBERS
        }


def rows(lines):
    header = next(csv.reader([lines[0]], skipinitialspace=True))
    return [dict(zip(header, row, strict=True)) for row in csv.reader(lines[1:])]


@pytest.fixture(scope="module")
def listing():
    """What is listed on a fixed date."""
    return contracts.listing(Prices(1, date(2026, 11, 1)), TODAY)


@pytest.fixture(scope="module")
def built(listing):
    """The master of that date."""
    return master.build(Prices(1, date(2026, 11, 1)), listing)


@pytest.fixture(scope="module")
def ours(built):
    """Its members."""
    return archive_of(built)


def shape(lines):
    """Return, per column, how its cells are written: quoted, bare or empty."""
    kinds = {}
    for line in lines:
        for column, cell in enumerate(CELL.findall(line)):
            kind = "quoted" if cell.startswith('"') else "bare" if cell else "empty"
            kinds.setdefault(column, set()).add(kind)
    return kinds


@pytest.mark.parametrize("name", MEMBERS)
def test_members_are_written_as_the_real_ones(ours, name):
    """Header bytes, quoting of every column and line ends equal the broker's."""
    real_zip = REAL / "securitymaster-sample" / "SecurityMaster.zip"
    if not real_zip.exists():
        pytest.skip("the recorded master is not beside this clone")
    real = archive_of(real_zip.read_bytes())[name]
    if name == "CDNSE":  # the recorded one has spot rows only, an older one has the rest
        old = REAL / "securitymaster-sample" / "currency-2025-09-05" / "CDNSEScripMaster.txt"
        real += old.read_bytes().decode().split("\r\n")[1:]
    lines = ours[name]
    assert lines[0] == real[0]
    assert lines[-1]  # no line end after the last row
    there = shape(real[1:])
    assert shape(lines[1:]).keys() == there.keys()
    for column, kinds in shape(lines[1:]).items():
        assert kinds <= there[column], f"column {column}"


def test_every_nifty_50_stock_is_listed_under_its_true_names(ours):
    """All fifty by symbol, with ICICI code and ISIN; some hundreds of others beside them."""
    nse = {row["ExchangeCode"]: row for row in rows(ours["NSE"])}
    assert [symbol for symbol in NIFTY_50 if symbol not in nse] == []
    assert all(re.fullmatch(r"INE\w{9}", nse[symbol]["ISINCode"]) for symbol in NIFTY_50)
    assert (nse["RELIANCE"]["ShortName"], nse["RELIANCE"]["Token"]) == ("RELIND", "2885")
    assert nse["RELIANCE"]["ISINCode"] == "INE002A01018"
    assert nse["NIFTY 50"]["Token"] == "NIFTY 50"
    assert len(nse) > 400
    assert len(rows(ours["BSE"])) > 450


def test_three_future_expiries_of_indices_and_twenty_stocks(ours):
    """NIFTY, CNXBAN, BSESEN and 20 stocks have futures and option chains on three expiries."""
    fo = rows(ours["FONSE"]) + rows(ours["FOBSE"])
    found = {}
    for row in fo:
        found.setdefault((row["ShortName"], row["InstrumentName"][:3]), set()).add(
            row["ExpiryDate"]
        )
    whole = {code for code, _ in found
             if all(len(found.get((code, kind), ())) >= 3 for kind in ("FUT", "OPT"))}  # fmt: skip
    assert {"NIFTY", "CNXBAN", "BSESEN"} <= whole
    assert len(whole) >= 23
    dates = {day(row["ExpiryDate"]) for row in fo}
    assert min(dates) >= TODAY
    assert max(dates) > TODAY + timedelta(days=60)
    kinds = {row["InstrumentName"] for row in rows(ours["CDNSE"])}
    assert kinds == {"FUTCUR", "OPTCUR", "UNDCUR"}
    assert {row["Series"] for row in rows(ours["MCX"])} == {"FUTURE", "OPTION"}


def test_tokens_are_unique_where_they_share_rooms(ours):
    """NSE and NFO share the rooms 4.x, so no token stands for two of them."""
    tokens = [row["Token"] for name in ("NSE", "FONSE") for row in rows(ours[name])]
    assert len(set(tokens)) == len(tokens)


def test_the_same_seed_and_date_give_the_same_bytes(built):
    """Built twice, by two markets, it is one file; another seed gives another."""
    for seed, same in ((1, True), (2, False)):
        prices = Prices(seed, date(2026, 11, 1))
        assert (master.build(prices, contracts.listing(prices, TODAY)) == built) is same


def test_it_is_served_with_its_length_and_only_once(practice):
    """Content-Length, ETag and Last-Modified are there; who has it gets 304."""
    with urlopen(practice["master_url"]) as answer:
        data = answer.read()
        assert int(answer.headers["Content-Length"]) == len(data)
        tag, stamp = answer.headers["ETag"], answer.headers["Last-Modified"]
    archive_of(data)
    for header in ({"If-None-Match": tag}, {"If-Modified-Since": stamp}):
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(practice["master_url"], headers=header))
        assert refused.value.code == 304
        refused.value.close()
