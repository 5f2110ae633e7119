"""Wait for a condition with a deadline: the only way tests wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def until(ask: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Return the first true answer of `ask`; fail the test when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:.0f} s"
        time.sleep(0.01)
