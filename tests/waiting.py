"""Wait for a condition with a deadline, and hold a promise about time: the only ways tests do."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a promise may take on a machine whose other cores and other tests are busy, too.
#: ``BREEZE_LAB_SLACK=1`` holds every promise to the letter, on a machine that does nothing else.
SLACK = float(os.environ.get("BREEZE_LAB_SLACK", "5"))


def within(promise_s: float, *, strict: object = False) -> float:
    """Return how many seconds may pass where `promise_s` is promised; `strict` forgives none."""
    return promise_s if strict else promise_s * SLACK


def until(ask: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = 60.0) -> Any:
    """Return the first true answer of `ask`; fail the test when none comes in time.

    `what` was waited for; a function is asked for it, and for how things stand, only then.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            missed = what if isinstance(what, str) else what()
            raise AssertionError(f"{missed} did not come within {timeout_s:.0f} s")
        time.sleep(0.01)
