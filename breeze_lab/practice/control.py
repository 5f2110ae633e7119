"""Drive the running practice market: its clock, and faults at will.

::

    from breeze_lab.practice import control

    market = control.connect()
    market.speed(60)
    with market.fault("gap", "2m"):
        ...

Owns the client of the market's control endpoint and the words that the
command ``breeze-lab practice`` and the magic ``%breeze_practice`` share. It
loads nothing but the standard library and values of `breeze_lab`, so that
magics may import it. The lengths of faults are real seconds, however fast the
market's clock runs.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from breeze_lab import clock, processes, settings
from breeze_lab.errors import ProcessError, SettingsError
from breeze_lab.practice.faults import kinds as fault_kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

__all__ = ["ActiveFault", "ClockState", "Control", "connect", "follow"]

_TIMEOUT_S: Final = 10.0
_REFUSED: Final = 400
_START: Final = "Start one: %breeze_login practice in a notebook, or breeze-lab in a terminal."
_RESTART: Final = "Run `breeze-lab stop` in a terminal, then %breeze_login practice."
#: A loopback address is never asked through a proxy of the environment.
_OPEN: Final = build_opener(ProxyHandler({})).open


@dataclass(frozen=True, slots=True)
class ClockState:
    """How market time passes.

    Parameters
    ----------
    now
        Market time, aware, Asia/Kolkata.
    speed
        Market seconds per real second while it runs.
    paused
        Whether it stands still.
    """

    now: datetime
    speed: float
    paused: bool

    def __str__(self) -> str:
        pace = "paused" if self.paused else f"{self.speed:g} market seconds a second"
        return f"{self.now:%d-%m-%Y %H:%M:%S} IST, {pace}"


class ActiveFault:
    """A fault that was begun; as a context manager it is cleared at the end of the block.

    Parameters
    ----------
    control, facts
        The market, and what it answered.

    Attributes
    ----------
    name, number
        What it is, and its number in the market's life.
    for_s
        Real seconds it lasts: 0 when it happened at once, infinite without an end.
    """

    def __init__(self, control: Control, facts: Mapping[str, Any]) -> None:
        """Made by `Control.fault`."""
        self._control = control
        self.name: str = facts["fault"]
        self.number: int = facts["number"]
        endless = facts["for_s"] == fault_kinds.FOREVER
        self.for_s = float("inf") if endless else float(facts["for_s"])

    @property
    def left_s(self) -> float:
        """Real seconds until it ends; 0 when it has ended, infinite when it has no end."""
        for fault in self._control.faults():
            if fault["number"] == self.number:
                left = fault["left_s"]
                return float("inf") if left is None else float(left)
        return 0.0

    @property
    def effects(self) -> int:
        """How often it did something so far, or did in all."""
        for fault in self._control.faults():
            if fault["number"] == self.number:
                return int(fault["effects"])
        for line in reversed(self._control.log()):
            if line.get("number") == self.number:
                return int(line.get("effects", 0))
        return 0

    def clear(self) -> None:
        """End it now; harmless when it has ended."""
        self._control.clear(number=self.number)

    def wait(self, timeout_s: float = 600.0) -> None:
        """Return when it has ended by itself.

        Raises
        ------
        ProcessError
            It has not within `timeout_s` real seconds.
        """
        deadline = time.monotonic() + timeout_s
        while (left := self.left_s) > 0:
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} is still active after {timeout_s:g} s.")
            time.sleep(min(left, 0.1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def __repr__(self) -> str:
        return f"<{self.name}, {fault_kinds.span(self.left_s)} left>"


class Control:
    """The remote control of one practice market.

    Parameters
    ----------
    control_url, token, status_url
        From the market's ready record.
    """

    def __init__(self, control_url: str, token: str, status_url: str) -> None:
        """See `connect` and `of`."""
        self._url, self._token, self._status_url = control_url, token, status_url

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Control:
        """Return the control of the market with this ready record.

        Raises
        ------
        ProcessError
            The record is of a market from before there was a control.
        """
        try:
            return cls(record["control_url"], record["control_token"], record["status_url"])
        except KeyError:
            raise ProcessError(
                "The running practice market is of an older version and cannot be driven. "
                f"{_RESTART}"
            ) from None

    # -- the clock ----------------------------------------------------------

    def clock(
        self,
        *,
        speed: float | None = None,
        at: datetime | str | None = None,
        paused: bool | None = None,
    ) -> ClockState:
        """Change how market time passes, and return how it does; what is None stays.

        Parameters
        ----------
        speed
            Market seconds per real second, 0.01 to 3600.
        at
            Market time to jump to, forward or back: aware, naive IST, ISO text
            (``2026-11-20T09:15``) or a time of the market's present day
            (``09:15``).
        paused
            Stand still, or go on.

        Raises
        ------
        SettingsError
            One of them cannot be; nothing has changed.
        ProcessError
            The market did not answer.
        """
        fields: dict[str, Any] = {"speed": speed, "paused": paused}
        if at is not None:
            fields["at"] = self._moment(at).isoformat()
        answer = self._command("clock", **fields)
        now = datetime.fromisoformat(answer["now"])
        return ClockState(clock.to_ist(now), float(answer["speed"]), bool(answer["paused"]))

    def pause(self) -> ClockState:
        """Let market time stand still."""
        return self.clock(paused=True)

    def resume(self) -> ClockState:
        """Let market time go on."""
        return self.clock(paused=False)

    def speed(self, factor: float) -> ClockState:
        """Let `factor` market seconds pass in a real one."""
        return self.clock(speed=factor)

    def jump(self, at: datetime | str) -> ClockState:
        """Set market time, ``"now"`` to the wall clock's; see `clock`."""
        return self.clock(at=at)

    def _moment(self, at: datetime | str) -> datetime:
        if isinstance(at, datetime):
            return clock.to_ist(at)
        if at == "now":
            return clock.now()
        whole = at
        if "-" not in at:
            hour, colon, rest = at.partition(":")
            whole = f"{self.clock().now.date().isoformat()}T{hour.zfill(2)}{colon}{rest}"
        try:
            return clock.to_ist(datetime.fromisoformat(whole))
        except ValueError:
            raise SettingsError(
                f"{at[:40]!r} is no time. Write 2026-11-20T09:15, 09:15 of the market's day "
                "(IST), or now."
            ) from None

    # -- faults -------------------------------------------------------------

    def fault(
        self,
        name: str,
        for_: str | float | timedelta | None = None,
        *,
        count: int | None = None,
        share: float | None = None,
        delay_s: float | None = None,
        variant: str | None = None,
        room: str | None = None,
    ) -> ActiveFault:
        """Begin a fault; it ends by itself.

        Parameters
        ----------
        name
            One of `breeze_lab.practice.fault_kinds.KINDS`; ``drop``, ``gap``.
        for_
            How long: ``"30s"``, ``"2m"``, real seconds, or ``"forever"``, which
            lasts until it is cleared. Each fault has a length of its own when
            nothing is said.
        count
            How many effects at most.
        share
            Part of the frames, above 0 and up to 1.
        delay_s
            How late ``slow`` makes things, real seconds.
        variant
            A form of the fault: ``limit`` is ``minute`` or ``day``.
        room
            The one instrument of a ``gap``: the broker's code, a symbol or a room.

        Returns
        -------
        ActiveFault
            Use it in a ``with`` to clear the fault at the end of the block.

        Raises
        ------
        SettingsError
            There is no such fault, or it takes no such thing; nothing has begun.
        ProcessError
            The market did not answer.

        Examples
        --------
        >>> with control.connect().fault("garbage", "30s", share=0.2):  # doctest: +SKIP
        ...     ...
        """
        answer = self._command(
            "fault", name=name, for_s=_length(for_), count=count, share=share, delay_s=delay_s,
            variant=variant, room=room,
        )  # fmt: skip
        return ActiveFault(self, answer)

    def faults(self) -> list[dict[str, Any]]:
        """Return the active faults, oldest first.

        Each has ``fault`` (its name), ``number``, ``for_s`` and ``left_s``
        (real seconds; left_s is None for ever), ``began`` (ISO, IST),
        ``effects``, ``count`` (effects left, when they are counted), and what
        else was ordered.
        """
        found: list[dict[str, Any]] = self._command("faults")["faults"]
        return found

    def clear(self, name: str | None = None, *, number: int | None = None) -> list[str]:
        """End faults: all, those of a name, or the one of a number; return their names."""
        answer = self._command("clear", name=name, number=number)
        return [fault["fault"] for fault in answer["cleared"]]

    def expire(self) -> None:
        """End the present login session, as the broker does at midnight."""
        self._command("expire")

    def redirect(self, url: str | None = None, method: str | None = None) -> dict[str, str]:
        """Register where the login page sends the browser; what is None stays.

        Parameters
        ----------
        url
            The address; an empty one shows the api session on a page instead.
        method
            ``"get"`` or ``"post"``.

        Returns
        -------
        dict
            ``url`` and ``method`` as they are now.

        Raises
        ------
        SettingsError
            They cannot be; nothing has changed.
        """
        answer: dict[str, str] = self._command("redirect", url=url, method=method)
        return answer

    # -- the rest -----------------------------------------------------------

    def log(self) -> list[dict[str, Any]]:
        """Return what was done to the market and what ended, oldest first, at most 1,000 lines.

        Each has ``time`` and ``market_time`` (ISO, IST), ``what``, and facts.
        """
        lines: list[dict[str, Any]] = self._command("log")["log"]
        return lines

    def status(self) -> dict[str, Any]:
        """Return what the market says of itself: connections, rooms, clock, faults, limits."""
        answer: dict[str, Any] = self._ask(self._status_url)
        return answer

    def reset(self) -> None:
        """Put the practice account back to where it began.

        Raises
        ------
        SettingsError
            This market has no account to put back.
        """
        self._command("reset")

    def _command(self, command: str, **fields: Any) -> dict[str, Any]:
        given = {name: value for name, value in fields.items() if value is not None}
        body = json.dumps({"command": command, **given}).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        answer: dict[str, Any] = self._ask(self._url, body, headers)
        return answer

    def _ask(
        self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        request = Request(url, body, dict(headers or {}))  # noqa: S310 - from the ready record
        try:
            with _OPEN(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read())
        except HTTPError as exc:
            with exc:
                said = exc.read()
            if exc.code == _REFUSED:
                raise SettingsError(str(json.loads(said)["error"])) from None
            raise ProcessError(
                f"The practice market refuses to be driven (HTTP {exc.code}). {_RESTART}"
            ) from exc
        except (OSError, ValueError) as exc:
            raise ProcessError(
                f"The practice market does not answer ({type(exc).__name__}). {_RESTART}"
            ) from exc


def _length(for_: str | float | timedelta | None) -> float | str | None:
    if isinstance(for_, timedelta):
        return for_.total_seconds()
    if not isinstance(for_, str) or for_ == fault_kinds.FOREVER:
        return for_
    found = fault_kinds.seconds(for_)
    if found is None:
        raise SettingsError(f"{for_[:40]!r} is no length. Write 30s, 2m or forever.")
    return found


def connect() -> Control:
    """Return the control of this user's running practice market.

    Raises
    ------
    ProcessError
        None runs, or the one that runs is from before there was a control;
        with what to type.

    Examples
    --------
    >>> control.connect().speed(60)  # doctest: +SKIP
    """
    runtime = settings.folders().runtime
    record = processes.running(runtime, "practice")
    if record is None:
        raise ProcessError(
            f"No practice market is running for you. {_START} One that you serve with "
            f"`breeze-lab practice` is found when it got --runtime {runtime}."
        )
    return Control.of(record)


def follow(words: Sequence[str], find: Callable[[], Control] = connect) -> str:
    """Follow the words of the command and the magic: ``["drop", "30s"]``; return what to print.

    See `breeze_lab.practice.control_words.run`.

    Raises
    ------
    SettingsError
        The words make no sense; with what would.
    ProcessError
        As `connect`.
    """
    from breeze_lab.practice import control_words  # noqa: PLC0415 - it is built on this room

    return control_words.run(words, find)
