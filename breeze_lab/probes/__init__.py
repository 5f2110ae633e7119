"""Probes: one question each to the network, the broker, this machine and the account.

`network`, `broker` and `here` own how each thing is asked and what its answer
means. No probe writes, logs in, starts a process or sends a key; together they
spend one REST call at most. What a person reads, and whose fault it is, is
`breeze_lab.checkup`'s. Here is what they share.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from breeze_lab.session import Session
    from breeze_lab.settings import Endpoints

__all__ = ["CONNECT_S", "READ_S", "Finding", "Patient", "Side", "State", "at_once", "in_words"]

CONNECT_S: Final = 3.0
READ_S: Final = 4.0

State = Literal["ok", "trouble", "not checked"]
#: Whose it is when it is in trouble.
Side = Literal["network", "machine", "broker", "account"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found.

    Parameters
    ----------
    figure
        The answer in a few words and numbers.
    step
        What to do next; empty when nothing is to be done.
    side
        Whose trouble it is, where that differs from the probe's own side.
    skews
        Seconds by which the broker's clock was ahead of ours, one an answer.
    witnessed
        Whether something that is not the broker's answered; None when nobody was asked.
    """

    state: State
    figure: str
    step: str = ""
    side: Side | None = None
    skews: tuple[float, ...] = ()
    witnessed: bool | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """Who is examined.

    Parameters
    ----------
    endpoints
        The broker's addresses.
    title
        What people call it: ``"ICICI"``.
    session
        The login, when there is one.
    local
        Whether the broker is on this very machine.
    """

    endpoints: Endpoints
    title: str
    session: Session | None = None
    local: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def again(self) -> str:
        """The next step when the broker is in trouble."""
        if self.local:
            return "Is a fault ordered? See %breeze_practice; `breeze-lab practice clear` ends all."
        return "Nothing to do here: wait some minutes and run this again."


def at_once(
    asks: Sequence[Callable[[], T]], limit_s: float, late: Callable[[int], T]
) -> list[tuple[T, float]]:
    """Run all in threads of their own; return each answer and the seconds it took.

    What has not answered in `limit_s` is given up, its thread left to end by
    itself, and `late` says what stands in its place. Nothing hangs longer than that.
    """
    begun = time.monotonic()
    answers: queue.SimpleQueue[tuple[int, T, float]] = queue.SimpleQueue()

    def run(number: int, ask: Callable[[], T]) -> None:
        since = time.monotonic()
        answers.put((number, ask(), time.monotonic() - since))

    for number, ask in enumerate(asks):
        threading.Thread(target=run, args=(number, ask), daemon=True).start()
    found: dict[int, tuple[T, float]] = {}
    while len(found) < len(asks):
        left = begun + limit_s - time.monotonic()
        try:
            number, answer, took = answers.get(timeout=max(left, 0.001))
        except queue.Empty:
            break
        found[number] = answer, took
    return [found.get(number) or (late(number), limit_s) for number in range(len(asks))]


def in_words(exc: BaseException) -> str:
    """Return why there was no answer, without the addresses and objects in the exception's text."""
    seen: list[BaseException] = []
    while exc not in seen and len(seen) < 12:  # noqa: PLR2004 - a chain this long is a loop
        seen.append(exc)
        inner = exc.__cause__ or exc.__context__
        inner = inner or next((one for one in exc.args if isinstance(one, BaseException)), None)
        inner = inner or getattr(exc, "reason", None)
        if not isinstance(inner, BaseException):
            break
        exc = inner
    for kind, words in (
        (socket.gaierror, "the name is not known"), (ConnectionRefusedError, "connection refused"),
        (ConnectionResetError, "connection reset"),
    ):  # fmt: skip
        if any(isinstance(one, kind) for one in seen):
            return words
    kinds = " ".join(type(one).__name__ for one in seen)
    if "SSL" in kinds or "Certificate" in kinds:
        return "its certificate is not trusted"
    if "InvalidMessage" in kinds or "ConnectionClosed" in kinds:
        return "the connection was cut"
    if "NameResolution" in kinds:
        return "the name is not known"
    if "ConnectTimeout" in kinds:
        return f"no connection in {CONNECT_S:.0f} s"
    if "Timeout" in kinds:
        return f"connected, but no answer in {READ_S:.0f} s"
    return f"no answer ({type(seen[0]).__name__})"
