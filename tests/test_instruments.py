"""Names lead to one instrument, or are refused with the nearest."""

from __future__ import annotations

import io
import zipfile
from datetime import date

import pytest
import real_master

from breeze_lab import errors
from breeze_lab.instruments import Instrument, NameClash, SecurityMaster

REAL = real_master.path("securitymaster-2026-07-30/SecurityMaster.zip")
DAY = date(2026, 7, 30)


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    if REAL is None:
        pytest.skip("the real security master is not here")
    return real_master.load(tmp_path_factory.getbasetemp())


def test_the_whole_real_master_is_read(master):
    """Stocks, indices, derivatives, commodities and currency are all there."""
    exchanges = {i.exchange for i in master}
    assert exchanges == {"NSE", "BSE", "NFO", "BFO", "MCX", "NDX", "MF"}
    assert len(master) > 130_000


@pytest.mark.parametrize(
    ("name", "key", "room"),
    [
        ("RELIANCE", "NSE:RELIANCE", "4.1!2885"),
        ("  reliance ", "NSE:RELIANCE", "4.1!2885"),
        ("NSE:RELIANCE", "NSE:RELIANCE", "4.1!2885"),
        ("BSE:RELIANCE", "BSE:RELIANCE", "1.1!500325"),
        ("RELIND", "NSE:RELIANCE", "4.1!2885"),
        ("INE002A01018", "NSE:RELIANCE", "4.1!2885"),
        ("INFY", "NSE:INFY", "4.1!1594"),
        ("HDFC BANK", "NSE:HDFCBANK", "4.1!1333"),
        ("NIFTY", "NSE:NIFTY", "4.1!NIFTY 50"),
        ("NIFTY 50", "NSE:NIFTY", "4.1!NIFTY 50"),
        ("BANKNIFTY", "NSE:BANKNIFTY", "4.1!NIFTY BANK"),
        ("SENSEX", "BSE:SENSEX", "1.1!SENSEX"),
        ("NIFTY fut", "NFO:NIFTY 25-Aug-2026 FUT", "4.1!58072"),
        ("NIFTY 26SEP fut", "NFO:NIFTY 29-Sep-2026 FUT", "4.1!68407"),
        ("BANKNIFTY fut", "NFO:BANKNIFTY 25-Aug-2026 FUT", "4.1!58067"),
        ("NIFTY 29-Sep-2026 29150 PE", "NFO:NIFTY 29-Sep-2026 29150 PE", "4.1!35085"),
        ("NIFTY 2026-09-29 29150 ce", "NFO:NIFTY 29-Sep-2026 29150 CE", "4.1!35084"),
        ("CRUDEOIL fut", "MCX:CRUDEOIL 19-Aug-2026 FUT", "6.1!560977"),
    ],
)
def test_every_way_of_naming_leads_to_the_instrument(master, name, key, room):
    """Symbols, ICICI codes, ISINs, index names and contracts resolve as the exchange means them."""
    found = master.resolve(name, today=DAY)
    assert (found.key, found.quote_room) == (key, room)
    assert master.resolve(found.key) == found, "a key names its own instrument"


def test_the_exchange_symbol_wins_over_the_broker_code(master):
    """MAHLOG is Mahindra Logistics on the exchange, whatever ICICI calls MAHLOG."""
    with pytest.warns(NameClash, match="MAHESHWARI"):
        assert master.resolve("MAHLOG").symbol == "MAHLOG"


@pytest.mark.parametrize("name", ["RELIANC", "relaince industries", "RELIANCEE"])
def test_a_wrong_name_is_refused_with_the_nearest(master, name):
    """The message carries the name, the nearest and what to type."""
    with pytest.raises(errors.InstrumentNotFound) as caught:
        master.resolve(name)
    assert caught.value.nearest[0] == "NSE:RELIANCE"
    assert name in str(caught.value)
    assert "Type 'RELIANCE'" in str(caught.value)


@pytest.mark.parametrize("name", ["", "   ", ":", "NSE:", "fut", "CE", "NIFTY CE", "NIFTY x CE"])
def test_nonsense_is_refused_not_guessed(master, name):
    """Empty and broken names raise the typed error."""
    with pytest.raises(errors.InstrumentNotFound):
        master.resolve(name)


def test_expired_contracts_are_not_offered(master):
    """`today` decides which future is the near one."""
    later = master.resolve("NIFTY fut", today=date(2026, 8, 26))
    assert later.expiry == date(2026, 9, 29)


def test_two_contracts_of_one_name_are_ambiguous():
    """When NFO and BFO both have the contract, the exchange must be said."""
    twins = [
        Instrument("TCS", "TCS", exchange, "7", "TCS", "future", expiry=date(2030, 1, 31))
        for exchange in ("NFO", "BFO")
    ]
    master = SecurityMaster(twins)
    with pytest.raises(errors.AmbiguousInstrument) as caught:
        master.resolve("TCS fut")
    assert set(caught.value.candidates) == {t.key for t in twins}
    assert master.resolve("BFO:TCS fut").exchange == "BFO"


def test_broker_fields_spell_an_option_as_the_sdk_wants_it():
    """REST calls name contracts by code, product, expiry, strike and right."""
    option = Instrument(
        "NIFTY", "NIFTY", "NFO", "1", "NIFTY 50", "option",
        expiry=date(2026, 12, 29), strike=24500.0, right="CE",
    )  # fmt: skip
    assert option.broker_fields() == {
        "stock_code": "NIFTY",
        "exchange_code": "NFO",
        "product_type": "options",
        "expiry_date": "2026-12-29T06:00:00.000Z",
        "strike_price": "24500",
        "right": "call",
    }


@pytest.mark.parametrize("content", [b"", b"<html>maintenance</html>", b"PK\x03\x04 cut short"])
def test_a_broken_master_is_a_typed_error(content):
    """Something that is no zip is BadResponse, not a stack of zipfile."""
    with pytest.raises(errors.MasterError):
        SecurityMaster.from_zip(io.BytesIO(content))


def test_a_master_without_stocks_is_refused():
    """A zip that lost its NSE and BSE members must not pass for a small market."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("MFScripMaster.txt", '"CompanyCode"\r\n"21"')
    with pytest.raises(errors.BadResponse, match=r"lists no stocks \(it holds MFScripMaster.txt\)"):
        SecurityMaster.from_zip(buffer)


def test_a_strike_that_is_not_listed_names_the_nearest_ones(master):
    """The underlying exists, the contract does not: strikes, or expiries, are offered."""
    with pytest.raises(errors.InstrumentNotFound, match="24000 CE") as caught:
        master.resolve("NIFTY 24001 CE", today=DAY)
    assert caught.value.nearest[0] == "NFO:NIFTY 04-Aug-2026 24000 CE"
    with pytest.raises(errors.InstrumentNotFound, match="expiries are 25-Aug-2026"):
        master.resolve("NIFTY 13AUG fut", today=DAY)
