"""The call meter: one durable call budget per app key, shared by all processes of a user.

``meter`` decides who may call and when, ``book`` keeps what was called on
disk, ``moments`` tells the time that no jump of the wall clock touches and who
lives. ``docs/call-budget.md`` says what it promises.
"""

from breeze_lab.limits.meter import (
    CALLS_PER_DAY,
    CALLS_PER_MINUTE,
    ORDERS_PER_SECOND,
    CallMeter,
    FreeMeter,
    Priority,
    Ticket,
)

__all__ = [
    "CALLS_PER_DAY",
    "CALLS_PER_MINUTE",
    "ORDERS_PER_SECOND",
    "CallMeter",
    "FreeMeter",
    "Priority",
    "Ticket",
]
