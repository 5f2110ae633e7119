"""The dashboards' process of a home, from outside."""

from __future__ import annotations

from waiting import until

from breeze_lab import processes, settings

NAME = "dashboards"


def record():
    """Return its ready record, or None."""
    return processes.running(settings.folders().runtime, NAME)


def end():
    """End it, one that is only just starting too."""
    runtime = settings.folders().runtime
    until(lambda: record() or not processes._alive(runtime, NAME), "dashboards that serve", 120)
    processes.stop(runtime, NAME, timeout_s=60)
