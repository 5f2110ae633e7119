"""Is it this machine, or the account? Versions, disk, vault, session, budget, master, relay."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from typing import Final

from breeze_lab import __version__, accounts, clock, processes, settings
from breeze_lab import vault as vaults
from breeze_lab.errors import BreezeLabError
from breeze_lab.probes import Finding, Patient

__all__ = ["budget", "disk", "kept_master", "relay", "session", "vault", "versions"]

_SCARCE: Final = 200 * 2**20
_AGAIN: Final = "Run %breeze_login again."
#: The broker has the day's master ready by then on a trading day.
_MASTER_READY: Final = (8, 30)


def versions(_patient: Patient) -> Finding:
    """Compare what is installed with what this version was made for."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - on first use

    shown = [f"breeze-lab {__version__}", f"python {platform.python_version()}"]
    wrong = []
    try:
        wanted = importlib.metadata.requires("breeze-lab") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("not checked", f"{', '.join(shown)}; breeze-lab is not installed")
    for line in wanted:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if need.name in ("breeze-connect", "jupyterlab"):
            shown.append(f"{need.name} {version}")
        if not need.specifier.contains(version, prereleases=True):
            wrong.append(f"{need.name} is {version}, needed is {need.specifier}")
    if wrong:
        return Finding(
            "trouble", "; ".join(wrong[:3]), "Install breeze-lab again; it brings what it needs."
        )
    return Finding("ok", ", ".join(shown))


def disk(_patient: Patient) -> Finding:
    """Ask whether our folders are private, writable and not full."""
    try:
        ours = settings.folders()  # makes them private, or says why it cannot
    except (BreezeLabError, OSError) as exc:
        said = str(exc) if isinstance(exc, BreezeLabError) else f"{exc.strerror}: {exc.filename}"
        return Finding("trouble", said, "Set BREEZE_LAB_HOME to a folder of yours.")
    least = min(shutil.disk_usage(folder).free for folder in (ours.runtime, ours.cache, ours.data))
    for folder in (ours.runtime, ours.cache, ours.data):
        try:
            with tempfile.NamedTemporaryFile(dir=folder) as file:
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            step = "Make it writable, or set BREEZE_LAB_HOME to another folder."
            return Finding("trouble", f"{folder}: {(exc.strerror or 'not writable').lower()}", step)
        if folder.stat().st_mode & 0o077:
            return Finding("trouble", f"others can read {folder}", f"Run: chmod 700 {folder}")
    figure = f"{least / 2**30:.1f} GB free, folders private and writable"
    if least < _SCARCE:
        return Finding("trouble", figure, "Make room: masters and history are kept on this disk.")
    return Finding("ok", figure)


def vault(_patient: Patient) -> Finding:
    """Ask which vault keeps the secrets; nothing is read from it."""
    try:
        found = vaults.open()
    except BreezeLabError as exc:
        return Finding("trouble", str(exc), "See docs/login.md for the vaults there are.")
    return Finding("ok", f"{found.backend}: {found.describe()}")


def session(patient: Patient) -> Finding:
    """Say whether there is a login and how long it is good; no name, for reports are shared."""
    now = patient.session
    shared = accounts.facts()
    if now is None:
        if shared is not None and shared.broker == patient.endpoints.name and not shared.good:
            return Finding("trouble", f"ended: {shared.reason}", _AGAIN)
        return Finding("not checked", "nobody is logged in here", "Run %breeze_login.")
    if now.ended:
        return Finding("trouble", f"ended: {now.ended}", _AGAIN)
    left = int((now.until - clock.now()).total_seconds())
    figure = f"good until {now.until:%d-%m-%Y %H:%M} IST, {left // 3600} h {left // 60 % 60} m left"
    return Finding("ok", f"{figure}{', shared' if now.shared else ', of this process alone'}")


def budget(patient: Patient) -> Finding:
    """Say how many calls are left."""
    if patient.session is None:
        return Finding("not checked", "calls are counted by account, and nobody is logged in")
    meter = patient.session.meter
    figure = f"{meter.used} of {meter.limit} calls used in the last minute"
    today = getattr(meter, "used_today", None)
    if today is not None:
        figure += f", {today:,} today"
    if meter.used >= meter.limit or getattr(meter, "left_today", 1) <= 0:
        return Finding("trouble", figure, "Wait: calls are refused until some of them are older.")
    return Finding("ok", figure)


def kept_master(patient: Patient) -> Finding:
    """Say which security master names come from."""
    from breeze_lab import masters  # noqa: PLC0415 - on first use

    path = masters.newest(patient.endpoints)
    figure = masters.describe(patient.endpoints)
    if path is None:
        return Finding("not checked", figure)
    now = clock.now()
    day = masters.days(patient.endpoints)[-1]
    due = now.date()
    if (now.hour, now.minute) < _MASTER_READY or not clock.is_trading_day(due):
        due = clock.previous_trading_day(due)
    if patient.local or day >= due:  # a practice market has a date of its own
        return Finding("ok", figure)
    return Finding(
        "trouble", figure, "Contracts listed since then are missing: log in again to fetch it."
    )


def relay(_patient: Patient) -> Finding:
    """Ask the relay how its stream stands, when one runs."""
    if processes.running(settings.folders().runtime, "relay") is None:
        return Finding("ok", "not running; the first live chart starts it")
    from breeze_lab import feed  # noqa: PLC0415 - only when there is one to ask

    try:
        answer = feed.connect().status()
    except BreezeLabError as exc:
        step = "Run `breeze-lab stop`; the next chart starts it."
        return Finding("trouble", str(exc), step, "machine")
    state = answer["upstream"]["state"]
    age = answer.get("last_tick_age_s")
    figure = f"{state}, {'no tick yet' if age is None else f'last tick {age:.1f} s ago'}"
    if state == "refused":
        return Finding("trouble", figure, "Log in again: %breeze_login.", "account")
    if state == "connecting":
        return Finding("trouble", figure, "It comes back by itself when the stream does.", "broker")
    return Finding("ok", figure)
