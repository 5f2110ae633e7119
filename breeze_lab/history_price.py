"""The price of a long fetch: said first, asked about when it is high, and shown as it is paid."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Self

from breeze_lab.errors import PriceNotConfirmed
from breeze_lab.limits import FreeMeter

if TYPE_CHECKING:
    from breeze_lab.limits import CallMeter

__all__ = ["Progress", "left", "words"]

#: Up to so many calls are done before anybody has read their price.
_FEW: Final = 3
#: More calls than this need a yes: four minutes of the broker's limit.
_MANY: Final = 300
#: Of 100 calls a minute a backfill leaves 15 to others, and a tenth of the day's.
_A_MINUTE: Final = 85
_OF_DAY: Final = 10


def left(meter: CallMeter) -> int | None:
    """Return how many calls a backfill may still make today; None where nobody counts."""
    if isinstance(meter, FreeMeter):
        return None
    return max(0, meter.left_today - meter.limit_today // _OF_DAY)


def words(calls: int, meter: CallMeter) -> str:
    """Return a price as it is said."""
    there = left(meter)
    said = f"{calls:,} call{'s' * (calls != 1)}"
    if there is None:
        return said
    if calls > _A_MINUTE:
        said += f", about {-(-calls // _A_MINUTE)} minutes"
    return f"{said}; {there:,} are left today"


class Progress:
    """Says a price and shows how far a fetch is; silent for a few calls.

    Parameters
    ----------
    what
        What is fetched, for a person.
    meter
        Whose calls.
    confirm
        Whether a high price was said yes to.
    """

    def __init__(self, what: str, meter: CallMeter, *, confirm: bool) -> None:
        """Show nothing yet."""
        self._what, self._meter, self._confirm = what, meter, confirm
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def before(self, calls: int) -> None:
        """Say the price.

        Raises
        ------
        PriceNotConfirmed
            It is high and nobody said yes.
        """
        there = left(self._meter)
        if not self._confirm and (calls > _MANY or (there is not None and calls > there)):
            raise PriceNotConfirmed(
                f"{self._what} costs {words(calls, self._meter)}. Nothing was fetched. Ask for "
                "less, or say confirm=True: what is fetched is kept, so a fetch that meets the "
                "day's limit goes on tomorrow.",
                calls,
                there,
            )
        if calls > _FEW:
            from tqdm.auto import tqdm  # noqa: PLC0415 - only long work shows it

            print(f"{self._what}: {words(calls, self._meter)}.", file=sys.stderr)  # noqa: T201
            self._bar = tqdm(total=calls, desc=self._what, unit="call", file=sys.stderr)

    def step(self, done: int, planned: int) -> None:
        """Show that `done` of `planned` calls are made."""
        if self._bar is not None:
            self._bar.total = planned
            self._bar.update(done - self._bar.n)
