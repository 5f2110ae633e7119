"""The grammar of contract names: which underlying, expiry, strike and right a text asks for.

Reads what people type (``NIFTY next week 24500 CE``), what exchanges and
terminals write (``NIFTY26AUG24500CE``, ``NIFTY2680424500CE``) and what the
broker writes (``OPT-NIFTY-25-Aug-2026-24500-CE``, ``RELIND~F:30-Mar-2026``).
Nothing here knows what is listed, except which words are underlyings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.instruments import expiries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from breeze_lab.instruments.expiries import Expiry
    from breeze_lab.instruments.instrument import Right

__all__ = ["Wish", "read", "squeeze"]

_RIGHTS: Final[dict[str, Right]] = {
    "CE": "CE", "PE": "PE", "CALL": "CE", "PUT": "PE", "CALLS": "CE", "PUTS": "PE",
}  # fmt: skip
_FUTURES: Final = frozenset({"FUT", "FUTURE", "FUTURES", "FUTS"})
_NUMBER: Final = re.compile(r"\d{1,7}(\.\d{1,4})?")
_BROKER: Final = re.compile(r"(FUT|OPT)-(.+)-(\d{1,2}-[A-Z]{3}-\d{4})(?:-(\d+(?:\.\d+)?)-(CE|PE))?")
_MNEMONIC: Final = re.compile(r"(.+)~(?:F:([^:]+)|O:([^:]+):(CE|PE):(\d+))")
#: The tails of exchange trading symbols, tried in this order.
_TAILS: Final = (
    ("monthly", re.compile(r"(\d\d)([A-Z]{3})(?:FUT|(\d+(?:\.\d+)?)(CE|PE))")),
    ("weekly", re.compile(r"(\d\d)([1-9OND])(\d\d)(\d+(?:\.\d+)?)(CE|PE)")),
    ("dated", re.compile(r"(\d\d)([A-Z]{3})(\d\d)(?:FUT|(\d+(?:\.\d+)?)(CE|PE))")),
)
_LATE_MONTHS: Final = {"O": 10, "N": 11, "D": 12}
_MAX_WORDS: Final = 16


@dataclass(frozen=True, slots=True)
class Wish:
    """A contract as it was asked for.

    Parameters
    ----------
    underlying
        Squeezed words: symbol, code or company.
    expiry
        Which expiry.
    strike
        Rupees; None for a future.
    right
        None for a future.
    """

    underlying: str
    expiry: Expiry
    strike: float | None = None
    right: Right | None = None


def squeeze(text: str) -> str:
    """Return `text` in capitals and without blanks, as names are compared."""
    return "".join(text.upper().split())


def read(text: str, known: Callable[[str], bool]) -> Iterator[Wish]:
    """Yield what `text` (in capitals, blanks single) can ask for, the likeliest first.

    Parameters
    ----------
    known
        Says whether squeezed words are an underlying.
    """
    if match := _BROKER.fullmatch(text):
        strike = float(match[4]) if match[4] else None
        if (match[1] == "OPT") == (strike is not None):
            expiry = expiries.read(match[3])
            if expiry:
                yield Wish(squeeze(match[2]), expiry, strike, _RIGHTS.get(match[5] or ""))
    elif match := _MNEMONIC.fullmatch(text):
        expiry = expiries.read(match[2] or match[3])
        if expiry:
            strike = int(match[5]) / 100 if match[5] else None
            yield Wish(squeeze(match[1]), expiry, strike, _RIGHTS.get(match[4] or ""))
    elif " " not in text:
        yield from _trading_symbol(text, known)
    else:
        yield from _phrase(text.split(), known)


def _trading_symbol(text: str, known: Callable[[str], bool]) -> Iterator[Wish]:
    for length in range(min(len(text) - 5, 24), 0, -1):
        name = text[:length]
        if not known(name):
            continue
        for form, pattern in _TAILS:
            match = pattern.fullmatch(text, length)
            if match is None:
                continue
            *date, strike, right = match.groups()
            if form == "monthly":
                phrase = f"{date[1]} 20{date[0]}"
            elif form == "weekly":
                month = _LATE_MONTHS.get(date[1]) or int(date[1])
                phrase = f"20{date[0]}-{month:02d}-{date[2]}"
            else:
                phrase = f"{date[0]}-{date[1]}-20{date[2]}"
            expiry = expiries.read(phrase)
            if expiry:
                yield Wish(
                    name, expiry, float(strike) if strike else None, _RIGHTS.get(right or "")
                )


def _phrase(words: list[str], known: Callable[[str], bool]) -> Iterator[Wish]:
    """Read words: the underlying first, then expiry, strike and right in any order."""
    if len(words) > _MAX_WORDS:
        return
    words = [part for word in words for part in _parted(word)]
    rights = [word for word in words[1:] if word in _RIGHTS]
    futures = [word for word in words[1:] if word in _FUTURES]
    if len(rights) + len(futures) != 1:
        return
    # The longest underlying first: NIFTY NEXT 50 fut is not NIFTY's next.
    for count in range(len(words) - 1, 0, -1):
        name = "".join(words[:count])
        rest = words[count:]
        if not known(name) or not (set(rest) & (_RIGHTS.keys() | _FUTURES)):
            continue
        if futures:
            expiry = expiries.read(" ".join(w for w in rest if w not in _FUTURES))
            if expiry:
                yield Wish(name, expiry)
        else:
            yield from _options(name, [w for w in rest if w not in _RIGHTS], _RIGHTS[rights[0]])


def _options(name: str, rest: list[str], right: Right) -> Iterator[Wish]:
    """Yield the readings of what is left: one number is the strike, the others the expiry."""
    numbers = [at for at, word in enumerate(rest) if _NUMBER.fullmatch(word)]
    for at in reversed(numbers):
        expiry = expiries.read(" ".join(rest[:at] + rest[at + 1 :]))
        if expiry:
            yield Wish(name, expiry, float(rest[at]), right)


def _parted(word: str) -> list[str]:
    """Part ``24500CE`` and ``24,500``."""
    match = re.fullmatch(r"([\d,]+(?:\.\d+)?)(CE|PE)?", word)
    if match is None:
        return [word]
    number = match[1].replace(",", "")
    return [number, match[2]] if match[2] else [number] if number else [word]
