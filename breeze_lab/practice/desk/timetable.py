"""What happens at which time of a market day: openings, closes, midnights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from breeze_lab.practice.exchange.days import day_number, midnight, number_at
from breeze_lab.practice.exchange.universe import universe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breeze_lab.clock import Segment
    from breeze_lab.practice.exchange.prices import Prices
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["SEGMENTS", "Moment", "Timetable"]

SEGMENTS: Final[tuple[Segment, ...]] = ("cash", "fno", "commodity", "currency")
#: A close belongs to the day before when it falls on midnight.
_RANK: Final = {"close": 0, "midnight": 1, "open": 2}


class Moment(NamedTuple):
    """One event: Unix ms, its place among those of the same ms, what, and for whom."""

    time_ms: int
    rank: int
    what: Literal["close", "midnight", "open"]
    segment: Segment | None
    number: int


class Timetable:
    """When segments open and close.

    Parameters
    ----------
    prices
        Whose hours count.
    """

    def __init__(self, prices: Prices) -> None:
        """Find one contract of each segment to ask about."""
        self._prices = prices
        all_of = universe()
        share = next(iter(all_of.cash.values()))
        by_exchange = {exchange: spot for (exchange, _), spot in all_of.spots.items()}
        self._probe: dict[Segment, Contract] = {
            "cash": share, "fno": replace(share, exchange="NFO"),
            "commodity": by_exchange["MCX"], "currency": by_exchange["NDX"],
        }  # fmt: skip

    def hours(self, segment: Segment, number: int) -> tuple[int, int] | None:
        """Return when a segment opens and closes on a day, Unix ms, or None."""
        found = self._prices.hours(self._probe[segment], number)
        if found is None:
            return None
        start = (midnight(number) + found[0] * 60) * 1000
        return start, start + found[1] * 60_000

    def is_open(self, segment: Segment, now_ms: int) -> bool:
        """Say whether a segment trades at `now_ms`."""
        found = self.hours(segment, number_at(now_ms / 1000))
        return found is not None and found[0] <= now_ms < found[1]

    def between(self, after_ms: int, until_ms: int) -> Iterator[Moment]:
        """Yield the moments in (after_ms, until_ms] in order."""
        for number in range(number_at(after_ms / 1000) - 1, number_at(until_ms / 1000) + 1):
            day = [Moment(midnight(number) * 1000, _RANK["midnight"], "midnight", None, number)]
            for segment in SEGMENTS:
                found = self.hours(segment, number)
                if found is not None:
                    day.append(Moment(found[0], _RANK["open"], "open", segment, number))
                    day.append(Moment(found[1], _RANK["close"], "close", segment, number))
            # Stable, so segments of one ms keep their order; a day ends before the next begins.
            day.sort(key=lambda moment: moment[:2])
            yield from (moment for moment in day if after_ms < moment.time_ms <= until_ms)

    def delivery_ms(self, number: int) -> int:
        """Return when shares bought on a day arrive: the next cash market day's close (T+1)."""
        for later in range(number + 1, number + 15):
            found = self.hours("cash", later)
            if found is not None:
                return found[1]
        return midnight(number + 15) * 1000

    def last_close_ms(self, contract: Contract) -> int:
        """Return when a contract ceases to trade, Unix ms; far away without an expiry."""
        if contract.expiry is None:
            return 2**62
        number = day_number(contract.expiry)
        found = self.hours(contract.segment, number)
        return found[1] if found is not None else midnight(number + 1) * 1000
