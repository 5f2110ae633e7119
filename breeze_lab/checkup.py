"""Checkup: tell whether it is the person's machine or the broker.

Runs every probe at once in bounded time, remembers when each thing was last
good, says what to do next and whose trouble it is. What is asked and how is
`breeze_lab.probes`'.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, Final, Literal

from breeze_lab import accounts, clock, downloads, session, settings
from breeze_lab.errors import BreezeLabError, SettingsError
from breeze_lab.probes import Finding, Patient, at_once, broker, here, network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from breeze_lab.probes import Side, State
    from breeze_lab.settings import Endpoints

__all__ = ["Checkup", "Culprit", "Line", "doctor", "judge"]

#: The whole run is shorter than ten seconds, whatever hangs.
LIMIT_S: Final = 8.5

#: Whose it is: nobody's, the person's machine or network, the broker's, the account's (a login or
#: a budget that ended), both sides', or not to be told.
Culprit = Literal["nobody", "you", "broker", "account", "both", "unknown"]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was asked.

    Parameters
    ----------
    name
        What.
    state
        ``"ok"``, ``"trouble"`` or ``"not checked"``.
    side
        Whose it is: ``"network"``, ``"machine"``, ``"broker"`` or ``"account"``.
    figure, step
        The answer, and what to do next.
    last_good
        When it was good for the last time, aware IST; None when it never was.
    took_s
        How long the answer took, in seconds.
    """

    name: str
    state: State
    side: Side
    figure: str
    step: str = ""
    last_good: datetime | None = None
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Checkup:
    """What the doctor found: `lines`, whose trouble it is, and the `verdict` in a sentence."""

    lines: tuple[Line, ...]
    culprit: Culprit
    verdict: str
    broker: str
    at: datetime

    @property
    def ok(self) -> bool:
        """Whether nothing is in trouble."""
        return all(line.state != "trouble" for line in self.lines)

    def __getitem__(self, name: str) -> Line:
        """Return the line called `name`."""
        return next(line for line in self.lines if line.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it; times are ISO texts in IST."""
        lines = [
            {**asdict(line), "last_good": _iso(line.last_good), "took_s": round(line.took_s, 3)}
            for line in self.lines
        ]
        return {
            "ok": self.ok, "culprit": self.culprit, "verdict": self.verdict,
            "broker": self.broker, "at": _iso(self.at), "lines": lines,
        }  # fmt: skip

    def __repr__(self) -> str:
        width = max(len(line.name) for line in self.lines)
        rows = []
        for line in self.lines:
            state = line.state.upper() if line.state == "trouble" else line.state
            rows.append(f"{state:<11}  {line.name:<{width}}  {line.figure}{_since(line)}")
            if line.step:
                rows.append(f"{'':<11}  {'':<{width}}  -> {line.step}")
        return "\n".join([*rows, "", self.verdict])

    def _repr_html_(self) -> str:
        marks = {"ok": "#1a7f37", "trouble": "#cf222e", "not checked": "#6e7781"}
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><td {left}><b style='color:{marks[line.state]}'>{line.state}</b></td>"
            f"<th {left}>{escape(line.name)}</th><td {left}>{escape(line.figure + _since(line))}"
            f"{'<br>&rarr; ' + escape(line.step) if line.step else ''}</td></tr>"
            for line in self.lines
        )
        return (
            f"<table class='breeze-lab-doctor'>{rows}</table><p><b>{escape(self.verdict)}</b></p>"
        )


#: What is asked, in the order in which it is shown, and whose trouble it would be.
_PROBES: Final[tuple[tuple[str, Side, Callable[[Patient], Finding]], ...]] = (
    ("network", "network", network.network),
    ("names", "network", network.names),
    ("address", "account", network.egress),
    ("login page", "broker", broker.login_page),
    ("master", "broker", broker.master),
    ("calls", "broker", broker.rest),
    ("quote stream", "broker", broker.stream("stream")),
    ("order stream", "broker", broker.stream("feeds")),
    ("candle stream", "broker", broker.stream("ohlc")),
    ("kept master", "machine", here.kept_master),
    ("versions", "machine", here.versions),
    ("disk", "machine", here.disk),
    ("vault", "machine", here.vault),
    ("session", "account", here.session),
    ("call budget", "account", here.budget),
    ("relay", "machine", here.relay),
)


def doctor(broker: str | None = None) -> Checkup:
    """Find out whether it is you or the broker.

    Asks network, names, clock, login page, master, calls, the three streams,
    versions, disk, vault, session, budget and relay, all at once, in less than
    ten seconds. Spends one REST call at most, logs in to nothing, shows no
    secret and no account.

    Parameters
    ----------
    broker
        ``"icici"`` or ``"practice"``; the one in use by default.

    Returns
    -------
    Checkup
        Show it as the last line of a cell; `.ok`, `.culprit`, `.lines` for programs.

    Raises
    ------
    SettingsError
        No such broker, or no practice market runs.

    Examples
    --------
    >>> breeze_lab.doctor()  # doctest: +SKIP
    """
    return examine(_patient(broker))


def examine(patient: Patient, limit_s: float = LIMIT_S) -> Checkup:
    """Run every probe on `patient`; see `doctor`."""
    found = at_once(
        [partial(_ask, probe, patient) for _, _, probe in _PROBES],
        limit_s,
        lambda number: Finding(
            "trouble" if _PROBES[number][1] == "broker" else "not checked",
            f"no answer in {limit_s:.0f} s", patient.again,
        ),
    )  # fmt: skip
    memory = _remembered()
    known = memory.setdefault(patient.endpoints.name, {})
    now = clock.now()
    lines = []
    findings = [one for one, _ in found]
    skew = _ask(lambda one: network.clock_skew(one, findings), patient)
    rows = [
        (name, side, one, took) for (name, side, _), (one, took) in zip(_PROBES, found, strict=True)
    ]
    rows.insert(2, ("clock", "machine", skew, 0.0))
    for name, side, one, took in rows:
        if one.state == "ok":
            known[name] = _iso(now)
        good = _moment(known.get(name))
        lines.append(Line(name, one.state, one.side or side, one.figure, one.step, good, took))
    _remember(memory)
    witnessed = next((one.witnessed for one in findings if one.witnessed is not None), None)
    culprit, verdict = judge(lines, patient.title, witnessed=witnessed)
    if culprit == "you":  # waiting for the broker would not help
        lines = [replace(one, step="") if one.side == "broker" else one for one in lines]
    return Checkup(tuple(lines), culprit, verdict, patient.endpoints.name, now)


def judge(
    lines: Sequence[Line], title: str, *, witnessed: bool | None = None
) -> tuple[Culprit, str]:
    """Return whose trouble it is, and the sentence that says so.

    Parameters
    ----------
    title
        What the broker is called.
    witnessed
        Whether something that is not the broker's answered; None when it was not asked.
    """
    bad = [line for line in lines if line.state == "trouble"]
    by = {
        side: [line for line in bad if line.side == side]
        for side in ("network", "machine", "broker", "account")
    }
    answering = [line.name for line in lines if line.side == "broker" and line.state == "ok"]
    if not bad:
        return "nobody", f"All is well, here and at {title}."
    mine, theirs = [*by["network"], *by["machine"]], by["broker"]
    if by["network"] and not answering:  # the broker's silence follows from it
        if witnessed is None and not any(line.name == "names" for line in by["network"]):
            return "unknown", (
                f"Nothing of {title} answers, and nothing else was asked: it may be your network "
                "or theirs. Open any other site to tell."
            )
        return "you", (
            f"It is your machine or network, not {title}: {_and([one.name for one in mine])} in "
            "trouble, and nothing outside can be reached."
        )
    if any(line.name == "clock" for line in mine):
        theirs = [line for line in theirs if line.name != "calls"]  # refused for their wrong time
    if theirs:
        others = answering[:3] or (["other sites"] if witnessed else [])
        whole = not answering and len(theirs) > 1
        said = f"It is {title}: {'nothing of it answers' if whole else _listed(theirs)}"
        said += f". Of the rest, {_and(others)} can be reached." if others else "."
        return ("both", f"{said} And on your side: {_listed(mine)}.") if mine else ("broker", said)
    if mine:
        return "you", f"It is your machine, not {title}: {_listed(mine)}."
    return "account", f"It is the account, not your machine and not {title}: {_listed(bad)}."


def _listed(lines: Sequence[Line]) -> str:
    return "; ".join(f"{line.name} ({line.figure})" for line in lines[:3]) + (
        f" and {len(lines) - 3} more" if len(lines) > 3 else ""  # noqa: PLR2004 - a verdict is short
    )


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ask(probe: Callable[[Patient], Finding], patient: Patient) -> Finding:
    try:
        return probe(patient)
    except BreezeLabError as exc:
        return Finding("trouble", str(exc))
    except Exception as exc:  # noqa: BLE001 - a broken probe must not hide what the others found
        return Finding("not checked", f"the check itself failed ({type(exc).__name__})")


def _patient(broker: str | None) -> Patient:
    if broker not in (None, "icici", "practice"):
        raise SettingsError(f"The doctor knows icici and practice; not {broker!r}.")
    now = _session(broker)
    if now is not None:
        return _named(now.endpoints, now)
    shared = accounts.facts()
    wanted = broker or (
        shared.broker if shared is not None else os.environ.get("BREEZE_LAB_SESSION")
    )
    if wanted != "practice":
        return _named(settings.ICICI)
    record = session.practice_record()
    if record is None:
        raise SettingsError(
            "No practice market runs. %breeze_login practice starts one; `breeze-lab doctor icici` "
            "looks at the broker."
        )
    return _named(settings.Endpoints.from_dict(record, name="practice"))


def _session(broker: str | None) -> session.Session | None:
    """Return this process's session, or the shared one; nobody is logged in and nothing started."""
    mine = session.peek()
    if mine is None:
        shared = accounts.facts()
        there = shared is not None and (
            not shared.practice or session.practice_record() is not None
        )
        if shared is not None and shared.good and there and broker in (None, shared.broker):
            with contextlib.suppress(BreezeLabError):
                mine = session.current()
    return mine if mine is not None and broker in (None, mine.endpoints.name) else None


def _named(endpoints: Endpoints, now: session.Session | None = None) -> Patient:
    titles = {"icici": "ICICI", "practice": "the practice market"}
    local = all(downloads.is_loopback(f"//{host}") for host, _ in network.hosts_of(endpoints))
    return Patient(endpoints, titles.get(endpoints.name, endpoints.name), now, local)


# -- when it was last good ------------------------------------------------------


def _remembered() -> dict[str, dict[str, str]]:
    with contextlib.suppress(OSError, ValueError, BreezeLabError):
        found = json.loads((settings.folders().data / "doctor.json").read_text())
        if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()):
            return found
    return {}


def _remember(memory: dict[str, dict[str, str]]) -> None:
    with contextlib.suppress(OSError, BreezeLabError):  # a full disk has a line of its own
        path = settings.folders().data / "doctor.json"
        downloads.write_whole(path, json.dumps(memory, indent=1).encode())


def _moment(text: str | None) -> datetime | None:
    with contextlib.suppress(TypeError, ValueError):
        return clock.to_ist(datetime.fromisoformat(text or ""))
    return None


def _iso(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""


def _since(line: Line) -> str:
    if line.state == "ok":
        return ""
    return f" (last good {line.last_good:%d-%m-%Y %H:%M} IST)" if line.last_good else ""
