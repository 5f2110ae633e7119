"""Is it the way there? Reach, names, clock and address, the broker's and a witness's.

Owns what is asked of the network and the machine's place in it.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from breeze_lab import downloads
from breeze_lab.errors import SettingsError
from breeze_lab.probes import CONNECT_S, Finding, Patient, at_once, in_words
from breeze_lab.probes.asking import NoAnswerError, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from breeze_lab.settings import Endpoints

__all__ = ["clock_skew", "egress", "hosts_of", "names", "network"]

#: Something that is not the broker's, so that its silence can be told from ours: nothing is sent
#: there but a greeting of TCP. ``host:port``, or ``off``.
WITNESS_VARIABLE: Final = "BREEZE_LAB_WITNESS"
_WITNESS: Final = "www.nseindia.com:443"
#: The broker refuses calls whose time is off by more than a minute.
_SKEW_S: Final = 30.0


def network(patient: Patient) -> Finding:
    """Ask whether anything can be reached, the broker's and something else."""
    if patient.local:
        return Finding("ok", f"{patient.title} is on this machine: no network needed")
    witness = _witness(patient)
    targets = hosts_of(patient.endpoints)
    asks = [partial(_connect, *one) for one in [*targets, *([witness] if witness else [])]]
    nothing: Callable[[int], float | str] = lambda _: "no answer"  # noqa: E731 - typed
    answers = [one for one, _ in at_once(asks, CONNECT_S + 1, nothing)]
    theirs = answers[: len(targets)]
    there = [one for one in theirs if isinstance(one, float)]
    named = f"{len(there)} of {len(theirs)} hosts of {patient.title} reached"
    named += f" in {max(there) * 1000:.0f} ms" if there else f" ({theirs[0]})"
    if witness is None:
        return Finding(
            "ok" if there else "trouble", f"{named}; nothing else was asked",
            "" if there else f"Is this machine online? To have it told apart: {WITNESS_VARIABLE}.",
            None if there else "network",
        )  # fmt: skip
    other = answers[-1]
    seen = isinstance(other, float)
    named += f"; {witness[0]} {'too' if there else 'was'}" if seen else f"; {witness[0]}: {other}"
    if seen or there:
        return Finding("ok", named, witnessed=seen)
    step = "Check cable, Wi-Fi, VPN and firewall; nothing outside answers this machine."
    return Finding("trouble", named, step, witnessed=False)


def names(patient: Patient) -> Finding:
    """Ask whether the broker's host names are known."""
    hosts = sorted({host for host, _ in _direct_hosts(patient.endpoints)})
    if not hosts:
        return Finding("not checked", "addresses are numbers, or looked up by the proxy")
    witness = _witness(patient) if not patient.local else None
    asked = [*hosts, *([witness[0]] if witness else [])]
    begun = time.monotonic()
    answers = [
        one for one, _ in at_once([partial(_look_up, host) for host in asked], CONNECT_S,
                                  lambda _: f"no answer in {CONNECT_S:.0f} s")
    ]  # fmt: skip
    wrong = {host: said for host, said in zip(hosts, answers, strict=False) if said}
    known = len(hosts) - len(wrong)
    figure = f"{known} of {len(hosts)} names in {(time.monotonic() - begun) * 1000:.0f} ms"
    if not wrong:
        return Finding("ok", figure)
    figure += f"; {next(iter(wrong))}: {wrong[next(iter(wrong))]}"
    if known or (witness and not answers[-1]):  # other names are known
        return Finding(
            "trouble", figure, "Other names are known, so it is the broker's, or a filter between "
            "(company network, ad blocker). Try another network.", "broker",
        )  # fmt: skip
    return Finding(
        "trouble", figure, "No name is known here. Check the DNS server of this machine or network."
    )


def clock_skew(patient: Patient, findings: Iterable[Finding]) -> Finding:
    """Compare this machine's clock with the broker's, from the answers that are there already."""
    skews = [skew for one in findings for skew in one.skews]
    if not skews:
        return Finding("not checked", "unknown: no answer of the broker told its time")
    skew = statistics.median(skews)
    figure = f"{abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} {patient.title}'s"
    if abs(skew) <= _SKEW_S:
        return Finding("ok", figure)
    return Finding(
        "trouble", figure, "Set the clock by the network (Linux: timedatectl set-ntp true): calls "
        "are signed with the time, and refused when it is off by a minute.",
    )  # fmt: skip


def egress(patient: Patient) -> Finding:
    """Compare the address the world sees with the one registered at the broker.

    Only a service outside can tell it behind a router, so none is asked unless
    the person names one.
    """
    registered = patient.environment.get("BREEZE_LAB_REGISTERED_IP", "").strip()
    service = patient.environment.get("BREEZE_LAB_ADDRESS_SERVICE", "").strip()
    if not registered:
        return Finding(
            "not checked", "no registered address is set",
            "To compare, set BREEZE_LAB_REGISTERED_IP to the address you registered.",
        )  # fmt: skip
    mine = _own_address()
    if mine == registered:
        return Finding("ok", f"this machine has the registered address {registered}")
    if not service:
        return Finding(
            "not checked", f"this machine is {mine or 'offline'}, which a router may replace",
            "Nobody outside is asked unless you say whom: set BREEZE_LAB_ADDRESS_SERVICE to a page "
            "that answers with the caller's address.",
        )  # fmt: skip
    try:
        seen = ask(service).body[:64].decode("ascii", "replace").strip()
    except NoAnswerError as exc:
        return Finding("not checked", f"{urlsplit(service).hostname}: {exc}")
    if seen == registered:
        return Finding("ok", f"seen as {seen}, as registered")
    return Finding(
        "trouble", f"seen as {seen or 'nothing'}, registered is {registered}",
        "Register the new address on the broker's app page, or use the line that has the old one.",
        "account",
    )  # fmt: skip


def hosts_of(endpoints: Endpoints) -> list[tuple[str, int]]:
    """Return the broker's distinct hosts and ports, or the proxy's where one is used."""
    found: dict[tuple[str, int], None] = {}
    for url in _urls(endpoints):
        found[_host(_proxy(url) or url)] = None
    return list(found)


def _direct_hosts(endpoints: Endpoints) -> list[tuple[str, int]]:
    direct = [_host(url) for url in _urls(endpoints) if not _proxy(url)]
    return [one for one in direct if not _is_number(one[0])]


def _urls(endpoints: Endpoints) -> list[str]:
    return [text for name, text in endpoints.to_dict().items() if name.endswith("_url")]


def _proxy(url: str) -> str:
    parts = urlsplit(url)
    if downloads.is_loopback(url) or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return urllib.request.getproxies().get(parts.scheme, "")


def _host(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "//" in url else f"//{url}")
    return parts.hostname or "", parts.port or (80 if parts.scheme in ("http", "ws") else 443)


def _is_number(host: str) -> bool:
    with contextlib.suppress(OSError):
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        return True
    return False


def _witness(patient: Patient) -> tuple[str, int] | None:
    text = patient.environment.get(WITNESS_VARIABLE, "").strip() or _WITNESS
    if text.lower() == "off":
        return None
    try:
        host, port = _host(text)
    except ValueError:
        host, port = "", 0
    if not host:
        raise SettingsError(f"{WITNESS_VARIABLE} is a host and a port, or off; not {text!r}.")
    return host, port


def _connect(host: str, port: int) -> float | str:
    """Return the seconds a TCP connection took, or why there is none."""
    begun = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S):
            return time.monotonic() - begun
    except TimeoutError:
        return f"no connection in {CONNECT_S:.0f} s"
    except OSError as exc:
        return in_words(exc) if not exc.strerror else exc.strerror.lower()


def _look_up(host: str) -> str:
    """Return why `host` is not known; empty when it is."""
    try:
        socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError as exc:
        return (exc.strerror or "not known").lower()
    return ""


def _own_address() -> str:
    """Return the address this machine would send from; nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # reserved for documentation: only the route is looked up
        return str(probe.getsockname()[0])
    return ""
