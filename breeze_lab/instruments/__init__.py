"""Instruments: what can be traded, and which one a name means.

Owns `Instrument`, the reading of the broker's security master into one
memory-mapped file, and the rules by which a name leads to exactly one
instrument. The exchange's symbol wins over ICICI's own code, because 94.7 % of
NSE stocks have a code that is not their symbol and some codes are another
company's symbol. No network: where the master comes from is
`breeze_lab.session`'s business.
"""

from __future__ import annotations

from breeze_lab.instruments.instrument import Exchange, Instrument, Kind, Right, broker_date
from breeze_lab.instruments.master import SecurityMaster
from breeze_lab.instruments.report import Report
from breeze_lab.instruments.resolve import NameClash

__all__ = [
    "Exchange",
    "Instrument",
    "Kind",
    "NameClash",
    "Report",
    "Right",
    "SecurityMaster",
    "broker_date",
]
