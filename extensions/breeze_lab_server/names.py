"""Names at the server: the security masters on disk, and what a name means there.

The master is the one the session downloaded; here it is only read. Everything
blocks for a moment when a master is new, so it is called in a thread.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from typing import TYPE_CHECKING

from breeze_lab import accounts, masters, settings
from breeze_lab_server.rest import MARKETS, NoMaster

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from breeze_lab.instruments import Instrument, SecurityMaster

__all__ = ["Masters", "found", "market", "opened", "said"]


class Masters:
    """The master in use of each market, opened once per file."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[tuple[Path, int], SecurityMaster]] = {}
        self._lock = threading.Lock()

    def get(self, market: str) -> tuple[SecurityMaster, Path]:
        """Return a market's master, memory-mapped, and its zip.

        Raises
        ------
        BreezeLabError
            There is none, or it cannot be read.
        """
        # Of the endpoints only the name says which folder; none of the addresses is used here.
        path = masters.newest(dataclasses.replace(settings.ICICI, name=market))
        if path is None:
            raise NoMaster(
                "No list of instruments on this machine yet. Log in once: %breeze_login, or "
                "%breeze_login practice."
            )
        stamp = (path, path.stat().st_mtime_ns)
        with self._lock:
            known = self._held.get(market)
            if known is None or known[0] != stamp:
                known = self._held[market] = (stamp, masters.open_zip(path))
        return known[1], path


_masters = Masters()


def opened(market: str) -> tuple[SecurityMaster, Path]:
    """Return a market's master and its zip; see `Masters.get`."""
    return _masters.get(market)


def market() -> str:
    """Return the market that is meant where nobody names one: that of the shared session."""
    now = accounts.facts()
    if now is not None and now.broker in MARKETS:
        return now.broker
    practice = "practice" in (
        os.environ.get("BREEZE_LAB_SESSION"), os.environ.get("BREEZE_LAB_BROKER")
    )  # fmt: skip
    return "practice" if practice else "icici"


def found(names: Iterable[str], market: str) -> dict[str, Instrument]:
    """Return the instrument of each name; blocking.

    Raises
    ------
    InstrumentNotFound, AmbiguousInstrument, NoMaster
    """
    master, _ = _masters.get(market)
    return {name: master.resolve(name) for name in names}


def said(instrument: Instrument) -> dict[str, object]:
    """Return an instrument as the relay's door wants it.

    Raises
    ------
    InstrumentError
        It is not streamed.
    """
    return {
        "key": instrument.key, "room": instrument.quote_room, "anchor_s": instrument.anchor_s,
    }  # fmt: skip
