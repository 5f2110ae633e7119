"""The beat: when consumers are written to next, so that they share what was encoded.

Consumers who get the same ticks and are written to in the same moment get the
same bytes. Under a flood the beat slows down: fewer and larger batches carry
more, and a few milliseconds more do not matter to who is thousands behind.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Beat"]

#: Ticks in one batch beyond which the time to the next is stretched, and by how much; the most
#: first. A flood stays with the largest, a hiccup of a calm market does not.
_STRETCH: Final = ((100, 8.0), (40, 4.0))
#: Never is it stretched beyond this: who asks for a slow beat gets no slower one.
_LONGEST_S: Final = 0.032


class Beat:
    """When to write next, for all consumers who ask for the same time between two batches."""

    def __init__(self) -> None:
        """Begin with whoever asks first."""
        self._next: dict[float, float] = {}

    def after(self, now: float, flush_s: float, ticks: int) -> float:
        """Return when a consumer that was written to now is to be written to again.

        Parameters
        ----------
        now
            Of any monotonic clock, seconds; what is returned is of the same.
        flush_s
            The time between two batches that it asked for.
        ticks
            How many it was sent.

        Returns
        -------
        float
            With the others who asked for the same time; between half of it and 32 ms from
            now, or up to it where that is longer; about it in a calm market.
        """
        due = self._next.get(flush_s, 0.0)
        longest_s = max(flush_s, _LONGEST_S)
        if flush_s / 2 <= due - now <= longest_s:
            return due
        stretch = next((by for more, by in _STRETCH if ticks > more), 1.0)
        due = self._next[flush_s] = now + min(flush_s * stretch, longest_s)
        return due
