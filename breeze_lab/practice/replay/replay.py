"""A recorded day instead of an invented one, for everything that asks for prices.

`ReplayPrices` answers for the recorded contracts on the recorded days and
leaves the rest to the practice market, or to nobody. Recorded ticks stay what
they are; recorded bars are split into trades like the practice market's own,
so whoever rebuilds them gets the recorded bars. What a quote shows after each
recorded tick is `breeze_lab.practice.replay.replay_market`'s.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

from breeze_lab.bars import Interval
from breeze_lab.practice.exchange.days import midnight
from breeze_lab.practice.exchange.noise import bits, uniform
from breeze_lab.practice.exchange.prices import Prices, Trades
from breeze_lab.practice.exchange.split import Bars, share, split
from breeze_lab.practice.replay.recording import BLANK

if TYPE_CHECKING:
    from breeze_lab.practice.exchange.noise import Floats, Ints
    from breeze_lab.practice.exchange.universe import Contract
    from breeze_lab.practice.replay.recording import DayBars, Recording

__all__ = ["ReplayPrices"]

#: What an index "trades" in a recorded second, as in the invented market: nobody is told.
_INDEX_UNITS: Final = 96
#: First minute and length of a day that the calendar calls closed and a day bar says was not.
_USUAL: Final = (555, 375)


class ReplayPrices(Prices):
    """Prices of recorded days; of all others, those of the seed.

    Parameters
    ----------
    seed
        Of everything that was not recorded.
    recording
        See `Recording`.
    only
        Everything that was not recorded is closed.
    """

    def __init__(self, seed: int, recording: Recording, *, only: bool = False) -> None:
        super().__init__(seed, None)
        self.recording = recording
        self.only = only
        self._last = recording.days[-1]
        self._days: dict[str, list[int]] = {}
        for key, number in sorted((*recording.ticks, *recording.bars)):
            self._days.setdefault(key, []).append(number)
        self._invented_minutes, self._invented_circuit = self.minutes, self.circuit
        self.minutes = functools.lru_cache(maxsize=1024)(self._replayed_minutes)
        self.circuit = functools.lru_cache(maxsize=16384)(self._replayed_circuit)
        self._hours = functools.lru_cache(maxsize=4096)(self._recorded_hours)
        self._dense = functools.lru_cache(maxsize=128)(self._second_bars)
        self._trades = functools.lru_cache(maxsize=256)(self._recorded_trades)
        self._interest = functools.lru_cache(maxsize=256)(self._second_interest)
        self._closes = functools.lru_cache(maxsize=4096)(self._known_closes)

    def recorded(self, contract: Contract, number: int) -> bool:
        """Say whether the day was recorded."""
        key = (contract.key, number)
        return key in self.recording.ticks or key in self.recording.bars

    # -- when ---------------------------------------------------------------

    def hours(self, contract: Contract, number: int) -> tuple[int, int] | None:
        """Return (first minute of the day, count of minutes), or None when closed.

        A recorded day has its market's hours, and more where the recording
        has. After the last recorded day nothing opens any more.
        """
        if self.recorded(contract, number):
            return self._hours(contract, number)
        days = self._days.get(contract.key)
        if number > self._last or self.only or (days and number >= days[0]):
            return None
        return super().hours(contract, number)

    def _recorded_hours(self, contract: Contract, number: int) -> tuple[int, int]:
        ticks = self.recording.ticks.get((contract.key, number))
        usual = super().hours(contract, number)
        if ticks is not None:
            first, last = (int(ticks.time_ms[at]) // 1000 for at in (0, -1))
        else:
            bars = self.recording.bars[contract.key, number]
            if bars.interval is Interval.D1:
                return usual or _USUAL
            first, last = int(bars.start[0]), int(bars.start[-1])
        begin, end = ((at - midnight(number)) // 60 for at in (first, last))
        if usual is None:
            return begin, end + 1 - begin
        opening = min(begin, usual[0])
        return opening, max(end + 1, sum(usual)) - opening

    def is_open_day(self, contract: Contract, number: int) -> bool:
        """Whether the contract trades on day `number`."""
        return self.recorded(contract, number) or super().is_open_day(contract, number)

    # -- days ---------------------------------------------------------------

    def day_closes(self, contract: Contract, numbers: Ints) -> Ints:
        """Return the close of calendar days in ticks, whether the market opened or not.

        Invented days before the recording are shifted to end at its previous
        close, so that the past leads to the recorded prices.
        """
        if contract.key not in self._days:
            leader = contract.leader
            if leader is None or not self._follows(contract):
                return super().day_closes(contract, numbers)
            lead = self.day_closes(leader, numbers)
            return np.maximum((lead * leader.tick * 2 + contract.tick) // (2 * contract.tick), 1)
        closes = super().day_closes(contract, numbers)
        first = self._days[contract.key][0]
        told = self.recording.previous_close.get((contract.key, first))
        if told is not None:
            before = int(super().day_closes(contract, np.array([first - 1]))[0])
            closes = np.where(numbers < first, _scaled(closes, told / before), closes)
        for number, close in self._closes(contract).items():
            closes = np.where(numbers == number, close, closes)
        return closes

    def _follows(self, contract: Contract) -> bool:
        """Whether it is the BSE listing of a recorded stock."""
        leader = contract.leader
        return contract.kind == "stock" and leader is not None and leader.key in self._days

    def _known_closes(self, contract: Contract) -> dict[int, int]:
        """Return the closes the recording tells, in ticks by day number."""
        found: dict[int, int] = {}
        for number in self._days[contract.key]:
            told = self.recording.previous_close.get((contract.key, number))
            if told is not None:
                found[number - 1] = told
                earlier = self.previous_open_day(contract, number)
                if earlier is not None:
                    found[earlier] = told
            day = self._day(contract, number)
            if day.volume[0]:
                found[number] = int(day.close[0])
        return found

    def _day(self, contract: Contract, number: int) -> Bars:
        """Return the bar of a recorded day, shape (1,)."""
        bars = self.minutes(contract, number)
        assert bars is not None
        some = bars.take(np.flatnonzero(bars.volume))
        return _fold(some, np.zeros(len(some.open), np.int64), 1)

    def days(self, contract: Contract, numbers: Ints) -> Bars:
        """Return the day bars of a stock, an index or a spot on calendar days."""
        found = super().days(contract, numbers)
        if contract.key not in self._days and not self._follows(contract):
            return found
        close = self.day_closes(contract, numbers)
        shift = close / found.close
        o, h, lo = (_scaled(x, shift) for x in (found.open, found.high, found.low))
        top, bottom = np.maximum(o, close), np.minimum(o, close)
        found = Bars(o, np.maximum(h, top), np.minimum(lo, bottom), close, found.volume)
        for number in self._days.get(contract.key, ()):
            here = numbers == number
            day = self._day(contract, number) if here.any() else None
            if day is not None and day.volume[0]:
                columns = (found.open, found.high, found.low, found.close, found.volume)
                known = (day.open, day.high, day.low, day.close, day.volume)
                found = Bars(*(np.where(here, k, f) for f, k in zip(columns, known, strict=True)))
        return found

    def previous_close(self, contract: Contract, number: int) -> int | None:
        """Return the last visible close before day `number`, in ticks: the recording's if told."""
        told = self.recording.previous_close.get((contract.key, number))
        if told is not None:
            return told
        for earlier in reversed(self._days.get(contract.key, ())):
            day = self._day(contract, earlier) if earlier < number else None
            if day is not None and day.volume[0]:
                return int(day.close[0])
        if contract.expiry is None and (self.only or contract.key in self._days):
            earlier_day = self.previous_open_day(contract, number) or number - 1
            return int(self.day_closes(contract, np.array([earlier_day]))[0])
        return super().previous_close(contract, number)

    def _replayed_circuit(self, contract: Contract, number: int) -> tuple[int, int]:
        """Return the circuit limits of a day in ticks, wide enough for what was recorded."""
        lower, upper = self._invented_circuit(contract, number)
        if contract.key in self._days and contract.expiry is None:
            # Around the close the recording tells, not around the one it was shifted from.
            known = self.previous_close(contract, number)
            shift = 2 * known / (lower + upper) if known else 1.0
            lower, upper = round(lower * shift), round(upper * shift)
        ticks = self.recording.ticks.get((contract.key, number))
        if ticks is not None:
            low, high = int(ticks.price.min()), int(ticks.price.max())
        elif self.recorded(contract, number):
            day = self._day(contract, number)
            low, high = int(day.low[0]), int(day.high[0])
        else:
            return lower, upper
        return max(min(lower, low - 1), 1), max(upper, high + 1)

    # -- minutes, seconds, trades -------------------------------------------

    def _replayed_minutes(self, contract: Contract, number: int) -> Bars | None:
        """Return the minute bars of one day, or None when closed."""
        if not self.recorded(contract, number):
            found = self._invented_minutes(contract, number)
            known = self.recording.contracts.get(contract.key)
            if found is None or known is None or contract.unit == _lot(contract):
                return found
            # The recording counts in single units what the market invents in lots.
            volume = found.volume * _lot(contract)
            return Bars(found.open, found.high, found.low, found.close, volume)
        _, count = self._hours(contract, number)
        bars = self.recording.bars.get((contract.key, number))
        if bars is not None and bars.interval.value > Interval.M1.value:
            return self._split_bars(contract, number, bars)
        if bars is not None and bars.interval is Interval.M1:
            units = self._units(contract, bars, 60)
            return _fold(units, self._slots(contract, number, bars.start) // 60, count)
        seconds = self._dense(contract, number)
        traded = np.flatnonzero(seconds.volume)
        return _fold(seconds.take(traded), traded // 60, count)

    def _slots(self, contract: Contract, number: int, start: Ints) -> Ints:
        """Return Unix seconds as seconds after the day's opening."""
        return start - midnight(number) - 60 * self._hours(contract, number)[0]

    def _units(self, contract: Contract, bars: DayBars, seconds: int) -> Bars:
        """Return recorded bars with their volume in units."""
        of, volume = bars.bars, bars.bars.volume // contract.unit
        if contract.kind == "index":
            volume = np.full(len(volume), _INDEX_UNITS * seconds)
        return Bars(of.open, of.high, of.low, of.close, volume)

    def _split_bars(self, contract: Contract, number: int, bars: DayBars) -> Bars:
        """Return the minutes of bars longer than a minute."""
        first, count = self._hours(contract, number)
        parents = self._units(contract, bars, bars.interval.value)
        parts: list[Bars] = []
        places: list[Ints] = []
        length = bars.interval.value // 60
        for at, start in enumerate(self._slots(contract, number, bars.start).tolist()):
            begin = max(start // 60, 0)
            slot = np.arange(begin, min(start // 60 + length, count))
            own, path = (
                bits(self.key(level, contract.key), (number * 2048 + first + slot)[None, :])
                for level in ("minute", "minute-path")
            )
            if contract.kind == "index":
                weights = np.ones(own.shape, np.int64)
            elif bars.interval is Interval.D1:
                weights = self.minute_weights(contract, number, own)
            else:
                weights = (1000 * uniform(own << np.uint64(32))).astype(np.int64) + 350
            parent = parents.take(slice(at, at + 1))
            parts.append(split(parent, share(parent.volume, weights), path, 1, own).take(0))
            places.append(slot)
        columns = [
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("open", "high", "low", "close", "volume")
        ]
        minutes = Bars(*columns)
        traded = np.flatnonzero(minutes.volume)
        return _fold(minutes.take(traded), np.concatenate(places)[traded], count)

    def _second_bars(self, contract: Contract, number: int) -> Bars:
        """Return all seconds of a day that was recorded in ticks or seconds."""
        _, count = self._hours(contract, number)
        bars = self.recording.bars.get((contract.key, number))
        if bars is not None:
            slots = self._slots(contract, number, bars.start)
            return _fold(self._units(contract, bars, 1), slots, count * 60)
        time_ms, price, units = self._trades(contract, number)
        slots = self._slots(contract, number, time_ms // 1000)
        return _fold(Bars(price, price, price, price, units), slots, count * 60)

    def _recorded_trades(self, contract: Contract, number: int) -> tuple[Ints, Ints, Ints]:
        """Return time, price and units of the recorded trades of a day."""
        ticks = self.recording.ticks[contract.key, number]
        if contract.kind == "index":
            return ticks.time_ms, ticks.price, np.ones(len(ticks.price), np.int64)
        units = ticks.traded
        traded = np.flatnonzero(units)
        return ticks.time_ms[traded], ticks.price[traded], units[traded] // contract.unit

    def _by_second(self, contract: Contract, number: int) -> bool:
        key = (contract.key, number)
        bars = self.recording.bars.get(key)
        return key in self.recording.ticks or (bars is not None and bars.interval is Interval.S1)

    def seconds(self, contract: Contract, number: int, minutes: Ints) -> Bars:
        """Return the second bars, shape (len(minutes), 60), of some traded minutes of a day."""
        if not self._by_second(contract, number):
            return super().seconds(contract, number, minutes)
        return self._dense(contract, number).take(minutes[:, None] * 60 + np.arange(60))

    def trades(self, contract: Contract, number: int, minute: int) -> Trades:
        """Return the trades of one minute."""
        if (contract.key, number) not in self.recording.ticks:
            return super().trades(contract, number, minute)
        time_ms, price, units = self._trades(contract, number)
        opened = 1000 * (midnight(number) + 60 * (self._hours(contract, number)[0] + minute))
        begin, end = np.searchsorted(time_ms, [opened, opened + 60_000])
        some = slice(int(begin), int(end))
        return Trades(time_ms[some] - opened, price[some], units[some])

    def recorded_interest(self, contract: Contract, number: int) -> Ints | None:
        """Return a replayed day's open interest after each second of its hours, in units."""
        return self._interest(contract, number) if self.recorded(contract, number) else None

    def _second_interest(self, contract: Contract, number: int) -> Ints | None:
        ticks = self.recording.ticks.get((contract.key, number))
        if ticks is not None:
            start, told, length = ticks.time_ms // 1000, ticks.interest, 1
        else:
            bars = self.recording.bars[contract.key, number]
            start, told, length = bars.start, bars.interest, bars.interval.value
        known = np.flatnonzero(told != BLANK)
        if not len(known):
            return None
        count = 60 * self._hours(contract, number)[1]
        slots = np.maximum(self._slots(contract, number, start[known]), 0)
        at = np.searchsorted(slots, np.arange(count), side="right") - 1
        if length > 1:  # what a bar tells holds from its first second to its last
            at = np.minimum(at, len(known) - 1)
        return told[known][np.maximum(at, 0)] // contract.unit

    def tick_days(self, contract: Contract) -> list[int]:
        """Return the days on which the contract was recorded in ticks."""
        ticks = self.recording.ticks
        return [n for n in self._days.get(contract.key, ()) if (contract.key, n) in ticks]


def _lot(contract: Contract) -> int:
    return contract.lot if contract.exchange in ("NFO", "BFO") else contract.unit


def _scaled(ticks: Ints, factor: float | Floats) -> Ints:
    scaled: Ints = np.maximum(np.rint(ticks * factor).astype(np.int64), 1)
    return scaled


def _fold(bars: Bars, slots: Ints, count: int) -> Bars:
    """Return `count` bars of ascending `slots`, several of one slot folded into one."""
    if not len(slots):
        return Bars(*(np.zeros(count, np.int64) for _ in range(5)))
    first = np.flatnonzero(np.diff(slots, prepend=-1))
    last = np.append(first[1:], len(slots)) - 1
    columns = (
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
        np.add.reduceat(bars.volume, first),
    )
    found = []
    for column in columns:
        whole = np.zeros(count, np.int64)
        whole[slots[first]] = column
        found.append(whole)
    return Bars(*found)
