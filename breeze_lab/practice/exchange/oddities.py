"""Bad bars in answers about the past, as the broker's history has them.

The market itself is sound: streams, today, and what `history.series` says
agree with one another to the last tick. `answer` lays the oddities over it for
the two history endpoints, rarely, on past days in exchange hours, by seed, and
`found` says what is wrong where, so that a client's data checks can be scored.

Kinds, each on some days of some contracts:

``early``, ``late``
    A minute bar without volume stamped 09:05 or 15:30, flat at the nearest price.
``negative``
    A minute bar whose volume is a correction: negative.
``spike``
    A minute bar with a high or a low far away, beyond the circuit limits even.
``scale``
    All prices of the day, at every interval, are a hundred times too large in
    answers given on every other day on which somebody asks: asking again heals it.

All but the last are seen at one minute only; longer bars are made of sound
minutes, so here, too, the broker's intervals disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from breeze_lab.bars import Interval
from breeze_lab.practice.exchange import history
from breeze_lab.practice.exchange.days import DAYS, midnight, number_at
from breeze_lab.practice.exchange.noise import bits
from breeze_lab.practice.exchange.split import Bars
from breeze_lab.practice.exchange.tempo import has_true_hours

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.history import Series
    from breeze_lab.practice.exchange.noise import Ints
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["Oddity", "answer", "found"]

Kind = Literal["early", "late", "negative", "spike", "scale"]

_KINDS: Final[tuple[Kind, ...]] = ("early", "late", "negative", "spike", "scale")
#: One day of a contract in so many has an oddity.
_EVERY: Final = 150
#: Minutes of the day of the bars that should not be there.
_EXTRA: Final[dict[Kind, int]] = {"early": 9 * 60 + 5, "late": 15 * 60 + 30}
_SPIKE: Final = 1.4
_SCALE: Final = 100


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something wrong with one day of one contract in history answers.

    Parameters
    ----------
    contract
        Whose bars.
    number
        Day number.
    kind
        See the module.
    minute
        The minute of the day of the bad bar; -1 of a scale, which is the whole day's.
    """

    contract: Contract
    number: int
    kind: Kind
    minute: int

    @property
    def start(self) -> int:
        """The Unix second at which the bad bar opens; the day's first of a scale."""
        return midnight(self.number) + max(self.minute, 0) * 60

    def shows(self, now_ms: int) -> bool:
        """Whether an answer given at a market time has it."""
        return self.kind != "scale" or (number_at(now_ms / 1000) - self.number) % 2 == 1


def found(
    prices: Prices, contract: Contract, first: int, last: int, *, only_scale: bool = False
) -> list[Oddity]:
    """Return the oddities of a contract on days `first` to `last`, both included, oldest first.

    Parameters
    ----------
    first, last
        Day numbers. Today, whenever that is, has none; leave it out.
    only_scale
        Leave out what only minute bars show; this needs no minute of any day.
    """
    if not prices.character.oddities or last < first:
        return []
    numbers = np.arange(max(first, 1), min(last, DAYS - 1) + 1)
    noise = bits(prices.key("oddity", contract.key), numbers)
    chosen = noise % np.uint64(_EVERY) == 0
    if only_scale:
        kinds = (noise >> np.uint64(8)) % np.uint64(len(_KINDS))
        chosen &= kinds == _KINDS.index("scale")
    rows = zip(numbers[chosen].tolist(), noise[chosen].tolist(), strict=True)
    return [odd for number, word in rows if (odd := _oddity(prices, contract, number, word))]


def _oddity(prices: Prices, contract: Contract, number: int, word: int) -> Oddity | None:
    if not has_true_hours(prices, number) or not prices.is_open_day(contract, number):
        return None
    kind = _KINDS[(word >> 8) % len(_KINDS)]
    if kind == "scale":
        return Oddity(contract, number, kind, -1)
    bars, hours = prices.minutes(contract, number), prices.hours(contract, number)
    if bars is None or hours is None:
        return None
    traded = np.flatnonzero(bars.volume)
    if not len(traded) or (kind == "negative" and contract.kind == "index"):
        return None
    minute = hours[0] + int(traded[(word >> 16) % len(traded)])
    if kind in _EXTRA:
        minute = _EXTRA[kind]
        # It is one too many only where nothing trades anyway.
        slot = minute - hours[0]
        if 0 <= slot < hours[1] and bars.volume[slot]:
            return None
    return Oddity(contract, number, kind, minute)


def answer(
    prices: Prices, contract: Contract, interval: Interval, span: tuple[int, int], now_ms: int
) -> Series:
    """Return what a history endpoint answers: `history.series` with its oddities.

    Parameters
    ----------
    interval, span, now_ms
        As of `history.series`; days before that of `now_ms` may be odd.
    """
    sound = history.series(prices, contract, interval, span, now_ms)
    end = min(span[1], now_ms // 1000)
    first = number_at(int(sound.start[0])) if len(sound) == history.LIMIT else number_at(span[0])
    last = min(number_at(end), number_at(now_ms / 1000) - 1)
    # An empty answer to a long question is about days before anything was listed.
    first = max(first, last - 2 * history.LIMIT)
    only_scale = interval is not Interval.M1
    for odd in found(prices, contract, first, last, only_scale=only_scale):
        if odd.shows(now_ms):
            sound = _spoil(prices, odd, interval, (span[0], end), sound)
    return sound.take(slice(-history.LIMIT, None))


def _spoil(
    prices: Prices, odd: Oddity, interval: Interval, span: tuple[int, int], sound: Series
) -> Series:
    if odd.kind == "scale":
        return _scaled(odd, sound)
    if interval is not Interval.M1:
        return sound
    if odd.kind in _EXTRA:
        inside = span[0] <= odd.start <= span[1]
        return _with_bar(prices, odd, sound) if inside else sound
    at = np.flatnonzero(sound.start == odd.start)
    if not len(at):
        return sound
    bars = sound.bars
    if odd.kind == "negative":
        volume = bars.volume.copy()
        volume[at] = -np.maximum(volume[at] // 3, 1)
        return replace(sound, bars=replace(bars, volume=volume))
    high, low = bars.high.copy(), bars.low.copy()
    if odd.minute % 2:
        high[at] = (high[at] * _SPIKE).astype(np.int64) + 1
    else:
        low[at] = np.maximum((low[at] / _SPIKE).astype(np.int64), 1)
    return replace(sound, bars=replace(bars, high=high, low=low))


def _scaled(odd: Oddity, sound: Series) -> Series:
    start = midnight(odd.number)
    inside = (sound.start >= start) & (sound.start < midnight(odd.number + 1))
    times = np.where(inside, _SCALE, 1)
    bars = sound.bars
    o, high, lo, c = (x * times for x in (bars.open, bars.high, bars.low, bars.close))
    return replace(sound, bars=Bars(o, high, lo, c, bars.volume))


def _with_bar(prices: Prices, odd: Oddity, sound: Series) -> Series:
    """Return the series with a bar without volume at the price of its day nearest to it."""
    day = prices.minutes(odd.contract, odd.number)
    at = int(np.searchsorted(sound.start, odd.start))
    if day is None:
        return sound
    traded = np.flatnonzero(day.volume)
    early = odd.kind == "early"
    price = int(day.open[traded[0]] if early else day.close[traded[-1]])

    def put(column: Ints, value: int) -> Ints:
        return np.insert(column, at, value)

    b = sound.bars
    bars = Bars(
        put(b.open, price), put(b.high, price), put(b.low, price), put(b.close, price),
        put(b.volume, 0),
    )  # fmt: skip
    near = min(max(at if early else at - 1, 0), len(sound) - 1)
    interest = int(sound.interest[near]) if len(sound) else 0
    return replace(sound, start=put(sound.start, odd.start), bars=bars,
                   interest=put(sound.interest, interest))  # fmt: skip
