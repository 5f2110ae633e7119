"""The pulse of each instrument: its own way of being silent, and when something is wrong.

Owns the rhythm of every room, learned from how often it was heard, and the
verdict on a silence. Looked at about once a second on a monotonic clock, so
that no frame pays for it. What is done about a verdict is left to `gaps`.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["Pulse", "PulseState"]

#: ``waiting``: never heard. ``live``: within its rhythm. ``quiet``: seldom heard anyway, or
#: nothing else is heard either. ``silent``: it should have been heard, and others are.
#: ``closed``: its market does not trade.
PulseState = Literal["waiting", "live", "quiet", "silent", "closed"]

#: A rhythm is known after so many ticks.
_KNOWN: Final = 20
#: What a silence is compared with: the mean and the longest pause of late.
_MEANS: Final = 10.0
_LONGEST: Final = 3.0
_LEAST_S: Final = 6.0
#: An instrument whose silence would have to be longer than this is illiquid.
_ILLIQUID_S: Final = 60.0
#: How fast a longest pause is forgotten, a share for each tick or look with ticks.
_FADE: Final = 0.99


class Pulse:
    """The rhythm of one room.

    Parameters
    ----------
    now
        Monotonic seconds.
    """

    __slots__ = ("_ticks", "asked_again", "heard_at", "known", "longest_s", "mean_s", "state")

    def __init__(self, now: float, ticks: int = 0) -> None:
        """Know no rhythm yet."""
        self.state: PulseState = "waiting"
        self.heard_at = now
        self.known = 0
        self.mean_s = self.longest_s = 0.0
        self.asked_again = False
        self._ticks = ticks

    @property
    def limit_s(self) -> float:
        """The longest silence that is still in its rhythm."""
        return max(_LEAST_S, _MEANS * self.mean_s, _LONGEST * self.longest_s)

    @property
    def liquid(self) -> bool:
        """Whether its silence can be judged at all."""
        return self.known >= _KNOWN and self.limit_s <= _ILLIQUID_S

    def look(self, now: float, ticks: int) -> bool:
        """Take the count of ticks so far; return whether there were new ones."""
        new, self._ticks = ticks - self._ticks, ticks
        if new <= 0:
            return False
        pause_s = now - self.heard_at
        if self.known:
            share = min(1.0, new / _KNOWN)
            self.mean_s += (pause_s / new - self.mean_s) * share
            if self.state != "silent":  # what was wrong does not become its rhythm
                self.longest_s = max(pause_s, self.longest_s * _FADE)
        else:
            self.mean_s = pause_s / new
        self.known += new
        self.heard_at = now
        self.asked_again = False
        self.state = "live"
        return True

    def rest(self, now: float) -> None:
        """Do not count this time: there is no link, or the market does not trade."""
        self.heard_at = now
