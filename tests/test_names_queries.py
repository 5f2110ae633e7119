"""What people type, spelled out: each query with what it must lead to, or how it must ask."""

from __future__ import annotations

import contextlib
import warnings
from datetime import date

import pytest
import real_master
from hypothesis import given, settings
from hypothesis import strategies as st

from breeze_lab import errors
from breeze_lab.instruments import NameClash, SecurityMaster, resolve
from breeze_lab.practice.exchange import contracts
from breeze_lab.practice.exchange import master as practice
from breeze_lab.practice.exchange.prices import Prices

DAY = date(2026, 7, 30)  # a Thursday
PRACTICE_DAY = date(2026, 11, 20)  # a Friday

#: (what is typed, the key it means), on the broker's master of 2026-07-30.
LEADS = [
    # symbols, exchanges, ICICI codes, ISINs, tokens
    ("RELIANCE", "NSE:RELIANCE"),
    ("  reliance ", "NSE:RELIANCE"),
    ("NSE:RELIANCE", "NSE:RELIANCE"),
    ("nse: reliance", "NSE:RELIANCE"),
    ("BSE:RELIANCE", "BSE:RELIANCE"),
    ("RELIND", "NSE:RELIANCE"),
    ("BSE:RELIND", "BSE:RELIANCE"),
    ("INE002A01018", "NSE:RELIANCE"),
    ("ine002a01018", "NSE:RELIANCE"),
    ("BSE:INE002A01018", "BSE:RELIANCE"),
    ("2885", "NSE:RELIANCE"),
    ("BSE:500325", "BSE:RELIANCE"),
    ("500325", "BSE:RELIANCE"),  # a token of MCX too, but BSE's codes are names
    ("13", "NSE:ABB"),  # a scheme code of two funds too
    ("4.1!2885", "NSE:RELIANCE"),
    ("4.2!2885", "NSE:RELIANCE"),
    ("1.1!500325", "BSE:RELIANCE"),
    ("4.1!NIFTY BANK", "NSE:BANKNIFTY"),
    ("6.1!560977", "MCX:CRUDEOIL 19-Aug-2026 FUT"),
    ("HDFCBANK", "NSE:HDFCBANK"),
    ("HDFBAN", "NSE:HDFCBANK"),
    ("M&M", "NSE:M&M"),
    ("m & m", "NSE:M&M"),
    ("MAHMAH", "NSE:M&M"),
    ("BAJAJ-AUTO", "NSE:BAJAJ-AUTO"),
    ("TMPV", "NSE:TMPV"),
    ("SREINFRA", "NSE:SREINFRA"),
    ("NSE:SREINFRA-YN", "NSE:SREINFRA-YN"),
    ("BSE:523511", "BSE:523511"),  # without a symbol
    # names of companies
    ("reliance industries", "NSE:RELIANCE"),
    ("Reliance Industries Ltd", "NSE:RELIANCE"),
    ("hdfc bank limited", "NSE:HDFCBANK"),
    ("HDFC BANK", "NSE:HDFCBANK"),
    ("mahindra & mahindra", "NSE:M&M"),
    ("maheshwari logistics", "NSE:MAHESHWARI"),
    ("infosys", "NSE:INFY"),
    ("tata consultancy services", "NSE:TCS"),
    ("tata motors", "NSE:TMCV"),
    ("state bank of india", "NSE:SBIN"),
    ("kotak mahindra bank", "NSE:KOTAKBANK"),
    ("maruti suzuki", "NSE:MARUTI"),
    ("nestle", "NSE:NESTLEIND"),
    # indices
    ("NIFTY", "NSE:NIFTY"),
    ("NIFTY 50", "NSE:NIFTY"),
    ("BANKNIFTY", "NSE:BANKNIFTY"),
    ("bank nifty", "NSE:BANKNIFTY"),
    ("NIFTY BANK", "NSE:BANKNIFTY"),
    ("CNXBAN", "NSE:BANKNIFTY"),
    ("NIFTYNXT50", "NSE:NIFTYNXT50"),
    ("NIFTY NEXT 50", "NSE:NIFTYNXT50"),
    ("FINNIFTY", "NSE:FINNIFTY"),
    ("MIDCPNIFTY", "NSE:MIDCPNIFTY"),
    ("india vix", "NSE:INDIAVIX"),
    ("SENSEX", "BSE:SENSEX"),
    ("BANKEX", "BSE:BANKEX"),
    # futures
    ("NIFTY fut", "NFO:NIFTY 25-Aug-2026 FUT"),
    ("NSE:NIFTY fut", "NFO:NIFTY 25-Aug-2026 FUT"),
    ("BANKNIFTY fut", "NFO:BANKNIFTY 25-Aug-2026 FUT"),
    ("BANKNIFTY next fut", "NFO:BANKNIFTY 29-Sep-2026 FUT"),
    ("BANKNIFTY far fut", "NFO:BANKNIFTY 27-Oct-2026 FUT"),
    ("BANKNIFTY 29SEP fut", "NFO:BANKNIFTY 29-Sep-2026 FUT"),
    ("BANKNIFTY 26SEP fut", "NFO:BANKNIFTY 29-Sep-2026 FUT"),
    ("BANKNIFTY 2026-09-29 fut", "NFO:BANKNIFTY 29-Sep-2026 FUT"),
    ("BANKNIFTY sep fut", "NFO:BANKNIFTY 29-Sep-2026 FUT"),
    ("NIFTY NEXT 50 fut", "NFO:NIFTYNXT50 25-Aug-2026 FUT"),  # not NIFTY's next
    ("RELIND fut", "NFO:RELIANCE 25-Aug-2026 FUT"),
    ("reliance industries fut", "NFO:RELIANCE 25-Aug-2026 FUT"),
    ("M&M AUG FUTURE", "NFO:M&M 25-Aug-2026 FUT"),
    ("CRUDEOIL fut", "MCX:CRUDEOIL 19-Aug-2026 FUT"),
    ("natural gas fut", "MCX:NATURALGAS 26-Aug-2026 FUT"),
    ("MCX:SILVER next fut", "MCX:SILVER 04-Dec-2026 FUT"),
    ("BFO:SENSEX fut", "BFO:SENSEX 30-Jul-2026 FUT"),
    # options
    ("NIFTY 24500 CE", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY 24,500 ce", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("nifty 24500 call", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY 26AUG 24500 PE", "NFO:NIFTY 25-Aug-2026 24500 PE"),  # no 26th: August 2026
    ("NIFTY 25AUG 24500 PE", "NFO:NIFTY 25-Aug-2026 24500 PE"),  # the 25th
    ("NIFTY aug 24500 CE", "NFO:NIFTY 25-Aug-2026 24500 CE"),  # the monthly one
    ("NIFTY 4 aug 24500 ce", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY 2026-09-29 29150 ce", "NFO:NIFTY 29-Sep-2026 29150 CE"),
    ("NIFTY next week 24500 CE", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY next tue 24500 CE", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY next month 24500 CE", "NFO:NIFTY 25-Aug-2026 24500 CE"),
    ("NIFTY weekly 24500 CE", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY monthly 24500 CE", "NFO:NIFTY 25-Aug-2026 24500 CE"),
    ("SENSEX thu 77000 CE", "BFO:SENSEX 30-Jul-2026 77000 CE"),  # today is one
    ("SENSEX next thu 77000 PE", "BFO:SENSEX 06-Aug-2026 77000 PE"),
    ("bank nifty aug 57000 put", "NFO:BANKNIFTY 25-Aug-2026 57000 PE"),
    ("crudeoil 8300 ce", "MCX:CRUDEOIL 17-Aug-2026 8300 CE"),
    # as the broker and the exchanges write them
    ("FUT-RELIND-25-Aug-2026", "NFO:RELIANCE 25-Aug-2026 FUT"),
    ("OPT-NIFTY-25-Aug-2026-24500-CE", "NFO:NIFTY 25-Aug-2026 24500 CE"),
    ("NFO:OPT-CNXBAN-25-Aug-2026-57000-PE", "NFO:BANKNIFTY 25-Aug-2026 57000 PE"),
    ("RELIND~F:29-Sep-2026", "NFO:RELIANCE 29-Sep-2026 FUT"),
    ("NIFTY~O:04-Aug-2026:CE:2450000", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY26AUGFUT", "NFO:NIFTY 25-Aug-2026 FUT"),
    ("NIFTY26AUG24500CE", "NFO:NIFTY 25-Aug-2026 24500 CE"),
    ("NIFTY2680424500CE", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTY04AUG2624500CE", "NFO:NIFTY 04-Aug-2026 24500 CE"),
    ("NIFTYNXT5026AUGFUT", "NFO:NIFTYNXT50 25-Aug-2026 FUT"),
    ("M&M26AUGFUT", "NFO:M&M 25-Aug-2026 FUT"),
    # pairs and funds
    ("USDINR", "NDX:USDINR"),
    ("INF200K01164", "MF:21-103D"),
    ("SBI Large Cap Fund - IDCW", "MF:21-103D"),
]  # fmt: skip

#: (what is typed, the nearest that is offered first, words of the message).
REFUSED = [
    ("RELIANC", "NSE:RELIANCE", "Type 'RELIANCE'"),
    ("relaince industries", "NSE:RELIANCE", "Type 'RELIANCE'"),
    ("infosis", "NSE:INFY", "INFY"),
    ("HDFCBNAK", "NSE:HDFCBANK", "Type 'HDFCBANK'"),
    ("NIFYT", "NSE:NIFTY", "Type 'NIFTY'"),
    ("BANKNIFTI", "NSE:BANKNIFTY", "Type 'BANKNIFTY'"),
    ("zzzzqqq", None, "Nearest: none"),
    ("FOO:RELIANCE", None, "FOO is no exchange"),
    ("NSE:", None, "'NSE:'"),
    ("NIFTY CE", "NSE:Nifty CPSE", "'NIFTY CE'"),
    ("NIFTY 24510 CE", "NFO:NIFTY 04-Aug-2026 24500 CE", "24500 CE"),
    ("NIFTY aug 24501 CE", "NFO:NIFTY 25-Aug-2026 24500 CE", "no such strike on 25-Aug-2026"),
    ("NIFTY next thu 24500 CE", "NFO:NIFTY 04-Aug-2026 24500 CE", "expire on Thu 06-Aug-2026"),
    ("NIFTY 26NOV 24500 CE", "NFO:NIFTY 27-Oct-2026 24500 CE", "its expiries are 04-Aug-2026"),
    ("BANKNIFTY 2026-11-24 fut", "NFO:BANKNIFTY 27-Oct-2026 FUT", "expire on Tue 24-Nov-2026"),
    ("NIFTY 31-Feb-2026 24500 CE", "NFO:NIFTY 04-Aug-2026 24500 CE", "no options that expire then"),
]

#: (what is typed, one of the candidates, how many there are).
ASKS = [
    ("tata", "NSE:TCS", 20),
    ("bank", "NSE:HDFCBANK", 20),
    ("axis", "NSE:AXISBANK", 3),  # Axis Bank at two exchanges, and Axis Solutions
    ("IMC1", "NSE:IMC1-N0", 4),  # four bonds of one symbol, none of them the one
    ("L&TFIN", "NSE:L&TFIN-N0", 10),
    ("GOLD", "MCX:GOLD 05-Aug-2026 FUT", 5),
    ("103D", "MF:21-103D", 2),  # two houses have a scheme of this code
]


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """The broker's whole master of 2026-07-30."""
    if real_master.path("securitymaster-2026-07-30/SecurityMaster.zip") is None:
        pytest.skip("the real security master is not here")
    return real_master.load(tmp_path_factory.getbasetemp())


def test_there_are_at_least_sixty_queries():
    """The list may grow, not shrink."""
    assert len({text for text, *_ in (*LEADS, *REFUSED, *ASKS)}) >= 120


@pytest.mark.parametrize(("text", "key"), LEADS)
def test_a_name_leads_to_the_instrument(master, text, key):
    """Each spelling means this one; its key leads back, and searching it shows it first."""
    found = master.resolve(text, today=DAY)
    assert found.key == key
    assert master.resolve(found.key) == found == master.get(key)
    assert found in master.search(text, 5, today=DAY)


@pytest.mark.parametrize(("text", "nearest", "words"), REFUSED)
def test_a_name_of_nothing_is_refused_with_the_nearest(master, text, nearest, words):
    """The message has the name and the next step; the nearest are keys that resolve."""
    with pytest.raises(errors.InstrumentNotFound) as caught:
        master.resolve(text, today=DAY)
    assert text in str(caught.value)
    assert words in str(caught.value)
    assert next(iter(caught.value.nearest), None) == nearest
    assert all(master.get(key) is not None for key in caught.value.nearest)


@pytest.mark.parametrize(("text", "candidate", "count"), ASKS)
def test_a_name_of_several_asks(master, text, candidate, count):
    """The candidates are keys that resolve, the most liquid first."""
    with pytest.raises(errors.AmbiguousInstrument) as caught:
        master.resolve(text, today=DAY)
    assert caught.value.candidates[0] == candidate
    assert len(caught.value.candidates) == count
    assert all(master.get(key) is not None for key in caught.value.candidates)


def test_the_symbol_wins_over_the_code_and_the_clash_is_said_once(master, monkeypatch):
    """MAHLOG is Mahindra Logistics; ICICI's code MAHLOG is Maheshwari's, which is named."""
    monkeypatch.setattr(resolve, "_said", set())
    with pytest.warns(NameClash, match=r"type NSE:MAHESHWARI") as caught:
        found = master.resolve("MAHLOG", today=DAY)
    assert (found.key, found.stock_code, found.quote_room) == ("NSE:MAHLOG", "MAHLO", "4.1!385")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert master.resolve("mahlog", today=DAY) == found, "said once a process"
        assert master.resolve("MAHESHWARI").stock_code == "MAHLOG"
        assert master.resolve("MAHLO") == found, "its own code is no clash"


def test_a_dead_share_is_found_and_not_streamed(master):
    """A delisted row, an offer for sale and a fund say so instead of joining a silent room."""
    for text, words in (
        ("IIFLNIFTY", "delisted"), ("adani", "offer for sale"), ("MF:21-103D", "mutual fund"),
    ):  # fmt: skip
        found = master.resolve(text, today=DAY)
        assert not found.tradable
        with pytest.raises(errors.InstrumentError, match=words):
            _ = found.quote_room


def test_two_rows_of_one_token_are_not_streamed(master):
    """NSE's token 21325 is a share's and a bond's: whose prices would come is anybody's guess."""
    with pytest.raises(errors.AmbiguousInstrument) as caught:
        master.resolve("NSE:21325", today=DAY)
    assert len(caught.value.candidates) == 2
    assert not any(master.get(key).tradable for key in caught.value.candidates)


def test_today_narrows_only_what_is_not_dated(master):
    """A past contract is found by its date, never offered as the near one."""
    later = date(2026, 8, 26)
    assert master.resolve("NIFTY fut", later).expiry == date(2026, 9, 29)
    assert master.resolve("NIFTY 25-Aug-2026 fut", later).expiry == date(2026, 8, 25)
    assert master.resolve("NIFTY26AUGFUT", later).expiry == date(2026, 8, 25)


def test_a_past_day_s_master_counts_from_its_own_day(master):
    """Months later the near future of that master is still the one of that day."""
    assert master.day == DAY
    assert master.resolve("NIFTY fut").key == "NFO:NIFTY 25-Aug-2026 FUT"


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("rel", "NSE:RELIANCE"),
        ("hdfc ba", "NSE:HDFCBANK"),
        ("tata mot", "NSE:TMPV"),
        ("relaince", "NSE:RELIANCE"),
        ("infosis", "NSE:INFY"),
        ("nifty", "NSE:NIFTY"),
        ("nifty 24500 ce", "NFO:NIFTY 04-Aug-2026 24500 CE"),
        ("nifty 24500", "NFO:NIFTY 04-Aug-2026 24500 CE"),
        ("nifty aug 24", "NFO:NIFTY 25-Aug-2026 24450 CE"),  # the strike nearest to the last close
        ("nifty au", "NFO:NIFTY 25-Aug-2026 FUT"),
        ("banknifty fu", "NFO:BANKNIFTY 25-Aug-2026 FUT"),
        ("gold", "MCX:GOLD 05-Aug-2026 FUT"),
        ("bse:rel", "BSE:RELIANCE"),
        ("INE002A", "NSE:RELIANCE"),
        ("usd", "NDX:USDINR"),
    ],
)
def test_search_shows_the_likely_one_first(master, typed, first):
    """Half a name, a typing error, half a contract."""
    assert master.search(typed, today=DAY)[0].key == first


def test_every_letter_of_a_name_keeps_it_in_sight(master):
    """Typing RELIANCE letter by letter shows it from the third one on."""
    for length in range(3, 9):
        keys = [i.key for i in master.search("RELIANCE"[:length], 10, today=DAY)]
        assert "NSE:RELIANCE" in keys, "RELIANCE"[:length]


def test_an_exact_symbol_is_always_first(master):
    """Of every NSE symbol, whatever else begins so."""
    wrong = [
        i.key for i in master
        if i.exchange == "NSE" and not i.listed_as and i.tradable
        and master.search(i.symbol, 1, today=DAY)[0].symbol.upper() != i.symbol.upper()
    ]  # fmt: skip
    assert wrong == []


# -- the practice market, for where the real masters are not --------------------


@pytest.fixture(scope="module")
def practised(tmp_path_factory):
    """The practice market's master of a fixed day."""
    folder = tmp_path_factory.mktemp("practice")
    prices = Prices(1, date(2026, 11, 1))
    zipped = folder / "SecurityMaster.zip"
    zipped.write_bytes(practice.build(prices, contracts.listing(prices, PRACTICE_DAY)))
    report = SecurityMaster.compile(zipped, folder / "compiled")
    assert report.rows == report.kept, "the practice market lists nothing that cannot be read"
    return SecurityMaster.load(folder / "compiled")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("RELIANCE", "NSE:RELIANCE"),
        ("reliance industries", "NSE:RELIANCE"),
        ("BSE:RELIANCE", "BSE:RELIANCE"),
        ("RELIND", "NSE:RELIANCE"),
        ("INE002A01018", "NSE:RELIANCE"),
        ("2885", "NSE:RELIANCE"),
        ("4.1!2885", "NSE:RELIANCE"),
        ("HDFCBANK", "NSE:HDFCBANK"),
        ("M&M", "NSE:M&M"),
        ("BANKNIFTY", "NSE:BANKNIFTY"),
        ("NIFTYNXT50", "NSE:NIFTYNXT50"),
        ("SENSEX", "BSE:SENSEX"),
        ("NIFTY fut", "NFO:NIFTY 23-Nov-2026 FUT"),
        ("BANKNIFTY 2026-11-24 fut", "NFO:BANKNIFTY 23-Nov-2026 FUT"),
        ("BANKNIFTY next fut", "NFO:BANKNIFTY 29-Dec-2026 FUT"),
        ("NIFTY 26NOV 26000 CE", "NFO:NIFTY 23-Nov-2026 26000 CE"),
        ("NIFTY next tue 26000 CE", "NFO:NIFTY 23-Nov-2026 26000 CE"),  # a holiday: the day before
        ("NIFTY next week 26000 CE", "NFO:NIFTY 23-Nov-2026 26000 CE"),
        ("NIFTY26NOV26000CE", "NFO:NIFTY 23-Nov-2026 26000 CE"),
        ("FUT-RELIND-23-Nov-2026", "NFO:RELIANCE 23-Nov-2026 FUT"),
    ],
)
def test_names_lead_to_the_practice_market_s_instruments(practised, text, key):
    """The same rules, on the market everybody has."""
    found = practised.resolve(text, PRACTICE_DAY)
    assert found.key == key
    assert practised.get(key) == found


def test_every_practice_instrument_round_trips(practised):
    """Key to instrument and back, each once."""
    keys = [instrument.key for instrument in practised]
    assert len(set(keys)) == len(keys) == len(practised)
    assert all(practised.get(key).key == key for key in keys)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("RELIANC", "NSE:RELIANCE"),
        ("NIFTY 26010 CE", "NFO:NIFTY 23-Nov-2026 26000 CE"),
        ("NIFTY next thu 26000 CE", "NFO:NIFTY 23-Nov-2026 26000 CE"),
    ],
)
def test_the_practice_market_refuses_with_the_nearest(practised, text, nearest):
    """A typing error, a strike and a day that are not listed."""
    with pytest.raises(errors.InstrumentNotFound) as caught:
        practised.resolve(text, PRACTICE_DAY)
    assert caught.value.nearest[0] == nearest


_PIECES = st.sampled_from([
    "NIFTY", "reliance", "24500", "CE", "PE", "fut", "next", "thu", "AUG", "26NOV", "BSE:", "NSE:",
    "4.1!", "~F:", "~O:", "2885", "INE002A01018", "-", "&", ".", ",", "99999999", "0", "‰", "\x00",
    "29-Dec-2026", "M&M", "OPT-", "FUT-", ":", "🙂", "²",
])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60), st.lists(_PIECES, max_size=7).map(" ".join),
        st.lists(_PIECES, max_size=7).map("".join),
    ),
    st.integers(-1, 40),
)  # fmt: skip
def test_no_text_breaks_search_or_resolve(practised, text, limit):
    """Search never raises and keeps its limit; resolve raises nothing but its own errors."""
    found = practised.search(text, limit, PRACTICE_DAY)
    assert len(found) <= max(limit, 0)
    assert len({i.key for i in found}) == len(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NameClash)
        with contextlib.suppress(errors.InstrumentNotFound, errors.AmbiguousInstrument):
            instrument = practised.resolve(text, PRACTICE_DAY)
            assert practised.get(instrument.key) == instrument
