"""Does the broker answer? Its login page, its master, its calls and its three streams."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from breeze_lab.errors import BreezeLabError, RateLimited, RequestError, SessionExpired
from breeze_lab.probes import CONNECT_S, READ_S, Finding, Patient, in_words
from breeze_lab.probes.asking import NoAnswerError, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.session import Session

__all__ = ["login_page", "master", "rest", "stream"]

_SERVER_TROUBLE: Final = 500
_LAST_GOOD: Final = "The last good one is used meanwhile."


def login_page(patient: Patient) -> Finding:
    """Ask for the login page, without a key."""
    try:
        answer = ask(patient.endpoints.login_url)
    except NoAnswerError as exc:
        return Finding("trouble", str(exc), patient.again)
    figure = f"HTTP {answer.status} in {answer.took_s * 1000:.0f} ms"
    if answer.status >= _SERVER_TROUBLE or answer.status == 429:  # noqa: PLR2004 - too many requests
        return Finding("trouble", figure, patient.again, skews=answer.skews)
    return Finding("ok", figure, skews=answer.skews)


def master(patient: Patient) -> Finding:
    """Ask whether the security master changed, and whether what comes is one."""
    from breeze_lab import master_checks, masters  # noqa: PLC0415 - on first use

    headers = {}
    tags = masters.tags(patient.endpoints)
    if tags is not None and tags.etag:
        headers["If-None-Match"] = tags.etag
    try:
        answer = ask(patient.endpoints.master_url, headers=headers)
    except NoAnswerError as exc:
        return Finding("trouble", str(exc), patient.again)
    skews = answer.skews
    if answer.status == 304:  # noqa: PLR2004 - not modified
        return Finding("ok", "unchanged since it was fetched", skews=skews)
    said = master_checks.glance(answer.body) if answer.whole else ""
    size = f"{len(answer.body) / 1e6:.1f} MB in {answer.took_s:.1f} s"
    if answer.status != 200:  # noqa: PLR2004 - OK
        return Finding(
            "trouble", f"HTTP {answer.status}", f"{_LAST_GOOD} {patient.again}", skews=skews
        )
    if said:
        return Finding("trouble", said, f"{_LAST_GOOD} {patient.again}", skews=skews)
    return Finding("ok", size if answer.whole else f"slow: {size}", skews=skews)


def rest(patient: Patient) -> Finding:
    """Spend one read call; without a session ask something that needs none."""
    now = patient.session
    if now is not None and not now.ended:
        return _read_call(patient, now)
    url = patient.endpoints.api_url + "customerdetails"
    try:
        answer = ask(url, json={"SessionToken": "", "AppKey": ""})
    except NoAnswerError as exc:
        return Finding("trouble", str(exc), patient.again)
    figure = f"answers in {answer.took_s * 1000:.0f} ms (asked without a session)"
    said = answer.json()
    if said is None:
        what = f"HTTP {answer.status} with a web page instead of data"
        return Finding("trouble", what, patient.again, skews=answer.skews)
    error = str(said.get("Error") or "")
    if "while calling service" in error:  # its back end, as the recorded outages say it
        return Finding("trouble", error[:80], patient.again, skews=answer.skews)
    return Finding("ok", figure, skews=answer.skews)


def _read_call(patient: Patient, now: Session) -> Finding:
    if now.meter.used >= now.meter.limit:
        return Finding(
            "not checked", "the calls of this minute are used up", "Run this again in a minute."
        )
    begun = time.monotonic()
    try:
        now.call("get_funds")
    except RateLimited as exc:
        return Finding("trouble", _first_sentence(exc), "Wait, then run this again.", "account")
    except SessionExpired as exc:
        return Finding("trouble", _first_sentence(exc), "Run %breeze_login again.", "account")
    except RequestError as exc:
        return Finding("trouble", _first_sentence(exc), patient.again)
    except BreezeLabError as exc:
        return Finding("trouble", _first_sentence(exc), "Run %breeze_login again.", "account")
    return Finding("ok", f"a read call took {(time.monotonic() - begun) * 1000:.0f} ms")


def stream(which: Literal["stream", "feeds", "ohlc"]) -> Callable[[Patient], Finding]:
    """Return the probe of one of the three sockets: its Engine.IO greeting, without a login."""

    def probe(patient: Patient) -> Finding:
        from websockets.exceptions import InvalidStatus, WebSocketException  # noqa: PLC0415
        from websockets.sync.client import connect  # noqa: PLC0415 - on first use

        from breeze_lab.relay.link import socket_address  # noqa: PLC0415 - loads websockets

        url, local = socket_address(getattr(patient.endpoints, f"{which}_url"))
        if which == "ohlc":
            url = url.replace("/socket.io/", "/ohlcvstream/")
        begun = time.monotonic()
        try:
            with connect(
                url, proxy=None if local else True, compression=None, ping_interval=None,
                open_timeout=CONNECT_S, close_timeout=0.2, max_size=2**20,
            ) as link:  # fmt: skip
                greeting = link.recv(timeout=READ_S)
        except TimeoutError:
            waited = time.monotonic() - begun
            return Finding("trouble", f"no answer in {waited:.0f} s", patient.again)
        except InvalidStatus as exc:
            said = f"HTTP {exc.response.status_code} instead of a stream"
            return Finding("trouble", said, patient.again)
        except (OSError, WebSocketException) as exc:
            return Finding("trouble", in_words(exc), patient.again)
        if not str(greeting).startswith("0{"):
            return Finding("trouble", "does not speak Engine.IO", patient.again)
        return Finding("ok", f"greets in {(time.monotonic() - begun) * 1000:.0f} ms")

    return probe


def _first_sentence(exc: BaseException) -> str:
    return str(exc).partition(". ")[0].rstrip(".")
