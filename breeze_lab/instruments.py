"""Instruments: what can be traded, and which one a name means.

Owns `Instrument`, the reading of the broker's security master, and the rules
by which a name leads to exactly one instrument. The exchange's symbol wins
over ICICI's own code, because 94.7 % of NSE stocks have a code that is not
their symbol and some codes are another company's symbol. Pure values: the
master's bytes come from `breeze_lab.session`.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import IO, TYPE_CHECKING, Final, Literal

from breeze_lab import clock
from breeze_lab.errors import AmbiguousInstrument, BadResponse, InstrumentNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Exchange", "Instrument", "Kind", "Right", "SecurityMaster"]

Exchange = Literal["NSE", "BSE", "NFO", "BFO", "MCX", "NDX"]
Kind = Literal["equity", "index", "future", "option", "spot"]
Right = Literal["CE", "PE"]

#: The first number of a room, by exchange. NSE and NFO share one: the token decides.
_ROOM: Final[dict[Exchange, str]] = {
    "NSE": "4", "BSE": "1", "NFO": "4", "BFO": "8", "MCX": "6", "NDX": "13",
}  # fmt: skip
_SEGMENT: Final[dict[Exchange, clock.Segment]] = {
    "NSE": "cash", "BSE": "cash", "NFO": "fno", "BFO": "fno", "MCX": "commodity", "NDX": "currency",
}  # fmt: skip
#: The exchanges' own symbols of the indices with derivatives, by ICICI code. The master has
#: their long names instead ("NIFTY BANK"), which keep working as names.
_INDEX_SYMBOLS: Final = {
    "NIFTY": "NIFTY", "CNXBAN": "BANKNIFTY", "NIFFIN": "FINNIFTY", "NIFSEL": "MIDCPNIFTY",
    "NIFNEX": "NIFTYNXT50", "BSESEN": "SENSEX", "BANKEX": "BANKEX", "INDVIX": "INDIAVIX",
}  # fmt: skip
_MONTHS: Final = {
    month: number
    for number, month in enumerate(
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1
    )
}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable contract or index.

    Parameters
    ----------
    symbol
        The exchange's symbol (``"RELIANCE"``); of a derivative, its underlying's.
    stock_code
        ICICI's short name (``"RELIND"``).
    exchange
        ``"NSE" "BSE" "NFO" "BFO" "MCX" "NDX"``.
    token
        The exchange's number, or text for an NSE index (``"NIFTY 50"``).
    name
        Company or contract name.
    kind
        ``"equity" "index" "future" "option" "spot"``.
    isin
        Empty where the master has none.
    lot_size
        Shares per lot.
    tick_size
        Rupees.
    expiry, strike, right
        Of derivatives; strike in rupees, right ``"CE"`` or ``"PE"``.
    """

    symbol: str
    stock_code: str
    exchange: Exchange
    token: str
    name: str
    kind: Kind = "equity"
    isin: str = ""
    lot_size: int = 1
    tick_size: float = 0.05
    expiry: date | None = None
    strike: float | None = None
    right: Right | None = None

    @property
    def key(self) -> str:
        """The unique name, ``"NSE:RELIANCE"`` or ``"NFO:NIFTY 29-Dec-2026 24500 CE"``."""
        if self.expiry is None:
            return f"{self.exchange}:{self.symbol}"
        tail = "FUT" if self.strike is None else f"{self.strike:g} {self.right}"
        return f"{self.exchange}:{self.symbol} {broker_date(self.expiry)} {tail}"

    @property
    def quote_room(self) -> str:
        """The broker's room for quotes, ``"4.1!2885"``."""
        return f"{_ROOM[self.exchange]}.1!{self.token}"

    @property
    def segment(self) -> clock.Segment:
        """The trading segment, for market hours."""
        return _SEGMENT[self.exchange]

    @property
    def anchor_s(self) -> int:
        """Seconds after IST midnight at which intraday bars start to count."""
        return 32_400 if self.segment in ("commodity", "currency") else 33_300

    def broker_fields(self) -> dict[str, str]:
        """Return the fields by which the broker's REST calls name this instrument."""
        fields = {"stock_code": self.stock_code, "exchange_code": self.exchange}
        if self.expiry is None:
            return {**fields, "product_type": "cash"}
        fields["product_type"] = "futures" if self.strike is None else "options"
        fields["expiry_date"] = f"{self.expiry.isoformat()}T06:00:00.000Z"
        if self.strike is not None:
            fields["strike_price"] = f"{self.strike:g}"
            fields["right"] = "call" if self.right == "CE" else "put"
        else:
            fields["right"] = "others"
        return fields


def broker_date(day: date) -> str:
    """Return `day` as ``29-Dec-2026`` whatever the locale."""
    month = next(name for name, number in _MONTHS.items() if number == day.month).capitalize()
    return f"{day.day:02d}-{month}-{day.year}"


def _parse_date(text: str) -> date | None:
    match = re.fullmatch(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", text)
    if match is None or match[2].upper() not in _MONTHS:
        return None
    return date(int(match[3]), _MONTHS[match[2].upper()], int(match[1]))


class SecurityMaster:
    """Every instrument of one day's security master, and the names that lead to them.

    Parameters
    ----------
    instruments
        All instruments; keys must be unique, later duplicates are ignored.

    Examples
    --------
    >>> master = SecurityMaster.from_zip(open("SecurityMaster.zip", "rb"))  # doctest: +SKIP
    >>> master.resolve("RELIANCE").stock_code  # doctest: +SKIP
    'RELIND'
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self.by_key: dict[str, Instrument] = {}
        self._symbols: dict[str, list[Instrument]] = defaultdict(list)
        self._codes: dict[str, list[Instrument]] = defaultdict(list)
        self._isins: dict[str, list[Instrument]] = defaultdict(list)
        self._contracts: dict[str, list[Instrument]] = defaultdict(list)
        for instrument in instruments:
            if self.by_key.setdefault(instrument.key.upper(), instrument) is not instrument:
                continue
            if instrument.expiry is not None:
                for name in {instrument.symbol.upper(), instrument.stock_code.upper()}:
                    self._contracts[name].append(instrument)
                continue
            names = {instrument.symbol}
            if instrument.kind == "index":  # NIFTY is NIFTY 50 too
                names |= {instrument.name, instrument.token}
            for name in {_squeeze(name) for name in names}:
                self._symbols[name].append(instrument)
            self._codes[instrument.stock_code.upper()].append(instrument)
            if instrument.isin:
                self._isins[instrument.isin.upper()].append(instrument)

    def __len__(self) -> int:
        return len(self.by_key)

    @classmethod
    def from_zip(cls, source: IO[bytes] | str) -> SecurityMaster:
        """Read the broker's zip.

        Raises
        ------
        BadResponse
            When it is not a zip, or has neither NSE nor BSE instruments.
        """
        try:
            with zipfile.ZipFile(source) as archive:
                members = {name.rsplit("/", 1)[-1]: name for name in archive.namelist()}
                instruments = [
                    instrument
                    for member, read in _READERS.items()
                    if member in members
                    for instrument in _rows(archive, members[member], read)
                ]
        except (zipfile.BadZipFile, UnicodeDecodeError, csv.Error, OSError) as exc:
            raise BadResponse(f"The security master cannot be read: {exc}") from exc
        if not any(i.exchange in ("NSE", "BSE") for i in instruments):
            raise BadResponse(f"The security master lists no stocks (members: {sorted(members)}).")
        return cls(instruments)

    def resolve(self, name: str | Instrument, *, today: date | None = None) -> Instrument:
        """Return the one instrument `name` means.

        Parameters
        ----------
        name
            An exchange symbol (``RELIANCE``, ``BSE:TCS``), an index
            (``NIFTY``, ``BANKNIFTY``), an ISIN, an ICICI code (``RELIND``), or
            a contract: ``NIFTY fut``, ``NIFTY 26DEC fut``,
            ``NIFTY 29-Dec-2026 24500 CE``, ``NIFTY 24500 CE`` (nearest expiry).
            NSE is meant unless an exchange is named.
        today
            Contracts that expired before this day do not count; the current
            IST date by default.

        Raises
        ------
        InstrumentNotFound
            Nothing has this name; the message lists the nearest.
        AmbiguousInstrument
            Several have it; the message lists them.
        """
        if isinstance(name, Instrument):
            return name
        text = " ".join(name.split())
        exact = self.by_key.get(text.upper())
        if exact is not None:
            return exact
        exchange, _, bare = text.rpartition(":")
        words = bare.upper().split()
        wanted = exchange.strip().upper()
        if words:
            contract = self._contract(words, wanted, today or clock.now().date(), text)
            if contract is not None:
                return contract
            squeezed = _squeeze(bare)
            for table, key in (
                (self._symbols, squeezed), (self._codes, bare.upper()), (self._isins, bare.upper())
            ):  # fmt: skip
                found = [i for i in table.get(key, ()) if not wanted or i.exchange == wanted]
                # A bare name means NSE; BSE's twin must be asked for.
                found = [i for i in found if i.exchange == "NSE"] or found
                if len(found) == 1:
                    return found[0]
                if found:
                    raise _ambiguous(text, found)
        raise self._not_found(text)

    def nearest(self, name: str, limit: int = 5) -> list[Instrument]:
        """Return the instruments whose symbol, code or company name is nearest to `name`."""
        from rapidfuzz import fuzz, process  # noqa: PLC0415 - only a wrong name needs it

        wanted = " ".join(name.rpartition(":")[2].upper().split())
        scores: dict[str, float] = {}
        listed = {i.key: i for same in self._codes.values() for i in same}
        symbols = [(i.symbol.upper(), key) for key, i in listed.items()]
        codes = [(i.stock_code.upper(), key) for key, i in listed.items()]
        names = [(i.name.upper(), key) for key, i in listed.items()]
        for table, scorer in ((symbols, fuzz.ratio), (codes, fuzz.ratio), (names, fuzz.WRatio)):
            weight = 1.0 if table is symbols else 0.9
            texts = [text for text, _ in table]
            for _, score, at in process.extract(wanted, texts, scorer=scorer, limit=4 * limit):
                key = table[at][1]
                # NSE first among equals: its listing is the liquid one.
                value = score * weight + (1.0 if key.startswith("NSE:") else 0.0)
                scores[key] = max(scores.get(key, 0.0), value)
        best = sorted(scores, key=lambda key: (-scores[key], key))
        return [listed[key] for key in best[:limit]]

    def search(self, text: str, limit: int = 20) -> list[Instrument]:
        """Return the instruments that `text` leads to, exact ones first, then the nearest."""
        try:
            return [self.resolve(text)]
        except AmbiguousInstrument as exc:
            return [self.by_key[key.upper()] for key in exc.candidates[:limit]]
        except InstrumentNotFound:
            return self.nearest(text, limit)

    def _contract(
        self, words: list[str], exchange: str, today: date, text: str
    ) -> Instrument | None:
        """Return the contract that `words` spell, or None when they spell none."""
        right: Right | None = None
        if words[-1] in ("CE", "PE", "CALL", "PUT"):
            right = "CE" if words[-1][0] == "C" else "PE"
            strike_text, middle = (words[-2] if len(words) > 2 else ""), words[1:-2]  # noqa: PLR2004
            if not re.fullmatch(r"\d+(\.\d+)?", strike_text):
                return None
            strike: float | None = float(strike_text)
        elif words[-1] in ("FUT", "FUTURE", "FUTURES"):
            strike, middle = None, words[1:-1]
        else:
            return None
        known = [
            c
            for c in self._contracts.get(words[0], ())
            if (not exchange or c.exchange == exchange) and c.right == right and _expiry(c) >= today
        ]
        if not known:
            return None
        found = [c for c in known if c.strike == strike and _expires(_expiry(c), middle)]
        if not found:
            raise _no_contract(text, known, strike, middle)
        first = min(map(_expiry, found))
        found = [c for c in found if c.expiry == first]
        if len(found) > 1:
            raise _ambiguous(text, found)
        return found[0]

    def _not_found(self, text: str) -> InstrumentNotFound:
        nearest = self.nearest(text) if text else []
        shown = ", ".join(
            f"{i.symbol if i.exchange == 'NSE' else i.key} ({i.name.title()})" for i in nearest[:5]
        )
        example = nearest[0] if nearest else None
        hint = ""
        if example is not None:
            hint = f" Type {example.symbol if example.exchange == 'NSE' else example.key!r}."
        return InstrumentNotFound(
            f"No instrument is called {text!r}. Nearest: {shown or 'none'}.{hint}",
            tuple(i.key for i in nearest),
        )


def _ambiguous(text: str, found: list[Instrument]) -> AmbiguousInstrument:
    keys = tuple(i.key for i in found)
    return AmbiguousInstrument(
        f"{text!r} could be any of: {', '.join(keys)}. Type one of these.", keys
    )


def _no_contract(
    text: str, known: list[Instrument], strike: float | None, middle: list[str]
) -> InstrumentNotFound:
    """Return the error of a contract whose underlying exists: the nearest strikes or expiries."""
    there = [c for c in known if _expires(_expiry(c), middle)]
    if not there:
        dates = ", ".join(map(broker_date, sorted({_expiry(c) for c in known})))
        nearest = sorted(known, key=lambda c: (_expiry(c), abs((c.strike or 0) - (strike or 0))))
        return InstrumentNotFound(
            f"No contract is called {text!r}: its expiries are {dates}.",
            tuple(c.key for c in nearest[:5]),
        )
    nearest = sorted(there, key=lambda c: (abs((c.strike or 0) - (strike or 0)), _expiry(c)))[:5]
    shown = ", ".join(c.key for c in nearest)
    return InstrumentNotFound(
        f"No contract is called {text!r}. Nearest: {shown}. Type {nearest[0].key!r}.",
        tuple(c.key for c in nearest),
    )


def _expiry(contract: Instrument) -> date:
    assert contract.expiry is not None
    return contract.expiry


def _squeeze(symbol: str) -> str:
    return symbol.upper().replace(" ", "")


def _expires(expiry: date, words: list[str]) -> bool:
    """Say whether `words` (nothing, ``26DEC``, ``29DEC26``, ``29-DEC-2026``, ISO) fit `expiry`."""
    if not words:
        return True
    text = "".join(words).replace("-", "")
    day, month, year = f"{expiry.day:02d}", expiry.month, f"{expiry.year}"
    short = next(name for name, number in _MONTHS.items() if number == month)
    return text in {
        f"{day}{short}", f"{expiry.day}{short}", f"{day}{short}{year}", f"{day}{short}{year[2:]}",
        f"{year[2:]}{short}", f"{short}{year[2:]}", f"{short}{year}", short,
        f"{year}{month:02d}{day}",
    }  # fmt: skip


def _rows(
    archive: zipfile.ZipFile, member: str, read: Callable[[list[str]], Instrument | None]
) -> Iterator[Instrument]:
    with archive.open(member) as raw:
        # Only the NSE header has a space after the comma; the flag mends it and hurts no row.
        rows = csv.reader(io.TextIOWrapper(raw, "utf-8", newline=""), skipinitialspace=True)
        next(rows, None)
        for row in rows:
            try:
                instrument = read(row)
            except (IndexError, ValueError):
                continue  # a short or odd row is somebody's delisted bond, not a reason to stop
            if instrument is not None:
                yield instrument


def _nse(row: list[str]) -> Instrument | None:
    token, code, series, name = row[0], row[1], row[2], row[3]
    index = series == "0" and not token.isdigit()
    if not index and (not token.isdigit() or int(token) == 0):
        return None  # delisted rows share the tokens 0, 00 and NA
    return Instrument(
        symbol=_INDEX_SYMBOLS.get(code, row[60] or code) if index else row[60] or code,
        stock_code=code, exchange="NSE", token=token, name=name,
        kind="index" if index else "equity", isin=row[10], lot_size=_whole(row[5]),
        tick_size=_rupees(row[4]),
    )  # fmt: skip


def _bse(row: list[str]) -> Instrument | None:
    token, code, name = row[0], row[1], row[3]
    index = not token.isdigit()
    return Instrument(
        symbol=_INDEX_SYMBOLS.get(code, token) if index else row[11], stock_code=code,
        exchange="BSE", token=token,
        name=name, kind="index" if index else "equity", isin=row[25], lot_size=_whole(row[5]),
        tick_size=0.05,
    )  # fmt: skip


def _derivative(exchange: Exchange) -> Callable[[list[str]], Instrument | None]:
    def read(row: list[str]) -> Instrument | None:
        expiry = _parse_date(row[4])
        spot = row[3] == "SPOT"
        if expiry is None:
            return None
        option = row[6] in ("CE", "PE")
        # FONSE and FOBSE give the tick in paise, CDNSE in rupees.
        tick = float(row[28]) / (1 if exchange == "NDX" else 100)
        return Instrument(
            symbol=_INDEX_SYMBOLS.get(row[2], row[68]), stock_code=row[2],
            exchange=exchange, token=row[0], name=row[29],
            kind="spot" if spot else "option" if option else "future",
            lot_size=_whole(row[27]), tick_size=tick, expiry=None if spot else expiry,
            strike=float(row[5]) if option else None,
            right=("CE" if row[6] == "CE" else "PE") if option else None,
        )  # fmt: skip

    return read


def _mcx(row: list[str]) -> Instrument | None:
    expiry = _parse_date(row[7])
    if expiry is None:
        return None
    option = row[8] in ("CE", "PE")
    return Instrument(
        symbol=row[26], stock_code=row[2], exchange="MCX", token=row[0], name=row[4],
        kind="option" if option else "future", lot_size=_whole(row[6]),
        tick_size=float(row[5]) / 100, expiry=expiry, strike=float(row[9]) if option else None,
        right=("CE" if row[8] == "CE" else "PE") if option else None,
    )  # fmt: skip


def _whole(text: str) -> int:
    return max(int(float(text or 1)), 1)


def _rupees(text: str) -> float:
    return float(text or 0) or 0.05


_READERS: Final[dict[str, Callable[[list[str]], Instrument | None]]] = {
    "NSEScripMaster.txt": _nse,
    "BSEScripMaster.txt": _bse,
    "FONSEScripMaster.txt": _derivative("NFO"),
    "FOBSEScripMaster.txt": _derivative("BFO"),
    "CDNSEScripMaster.txt": _derivative("NDX"),
    "MCXScripMaster.txt": _mcx,
}
