"""What makes the practice market look like a real one, and a switch for each of it.

Everything is on unless somebody wants a cleaner market: a lesson without
halts, a test without bad bars. Opens, highs, lows and closes of days change
with ``gaps``, ``regimes``, ``circuits``, ``halts`` and ``actions`` only; the
others change what lies within a day or what is told of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

__all__ = ["Character"]


@dataclass(frozen=True, slots=True)
class Character:
    """The traits of a market; each can be switched off.

    Parameters
    ----------
    gaps
        The open lies well away from yesterday's close.
    regimes
        Some days trend, some go to and fro; off: all days are alike.
    profile
        In exchange hours volume is high at open and close and low at lunch.
    burst
        The first minutes of exchange hours are several times as busy.
    circuits
        On some days a small stock runs into its circuit limit and stays there.
    halts
        About once in three years the whole market stops for three quarters of an hour.
    sparse
        Half of the small stocks trade in few minutes, at wide steps.
    actions
        Splits, bonuses, dividends and a demerger show in past prices as they happened.
    oddities
        History answers hold a few bad bars, as the broker's do; see
        `breeze_lab.practice.exchange.oddities`. The streams never do.
    auctions
        In exchange hours stocks close in an auction where the calendar has one.
    """

    gaps: bool = True
    regimes: bool = True
    profile: bool = True
    burst: bool = True
    circuits: bool = True
    halts: bool = True
    sparse: bool = True
    actions: bool = True
    oddities: bool = True
    auctions: bool = True

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all traits."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def clean(cls) -> Character:
        """Return the character with every trait off."""
        return cls(**dict.fromkeys(cls.names(), False))

    def without(self, names: str) -> Character:
        """Return this character with the traits of a comma-separated list off.

        Raises
        ------
        ValueError
            For a name that is no trait; the message lists them all.
        """
        wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in self.names()]
        if unknown:
            raise ValueError(
                f"No trait is called {unknown[0]!r}. The traits are: {', '.join(self.names())}"
            )
        return replace(self, **dict.fromkeys(wanted, False))

    @classmethod
    def only(cls, names: str) -> Character:
        """Return a character with nothing but the traits of a comma-separated list on.

        Raises
        ------
        ValueError
            As `without`.
        """
        off = cls().without(names)
        return cls(**{name: not getattr(off, name) for name in cls.names()})

    def __str__(self) -> str:
        """Return the traits that are on, comma-separated; empty when clean."""
        return ",".join(name for name in self.names() if getattr(self, name))
