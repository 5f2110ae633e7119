"""Alerts: how a run went, by webhook and by e-mail.

Where they go is in the vault, because a webhook's address and a mail password
are secrets. What they say is the job, its due time, how it ended and where:
never a value of the notebook, a price, a message of an error or an address.
They are ordered in the same transaction that ends the run, so none is lost and
none is about a run that did not end; a refused one is tried again.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import smtplib
import ssl
import time
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from breeze_lab import clock, vault
from breeze_lab.errors import BreezeLabError, SettingsError

if TYPE_CHECKING:
    from breeze_lab.jobs.book import Book
    from breeze_lab.jobs.records import Definition, Run

__all__ = ["WHEN", "about", "check_mail", "check_webhook", "deliver", "places", "save", "shown"]

WHEN: Final = ("failure", "success", "both", "none")
_ENTRY: Final = "job-alerts"
_TIMEOUT_S: Final = 10.0
#: After that many refusals an alert is given up; the waits between them add up to half an hour.
_MOST_TRIES: Final = 7
_FIRST_WAIT_S: Final = 30.0
_OK: Final = range(200, 300)


def about(definition: Definition, run: Run, state: str, kind: str) -> tuple[tuple[str, str], ...]:
    """Return the alerts to order for the end of a run: channel and body as JSON.

    Parameters
    ----------
    state
        ``"done"``, ``"failed"`` and their like.
    kind
        Of a failure: what may be told to anybody, as ``KeyError in cell 3 of 7``.
    """
    wanted = {"both": True, "none": False, "success": state == "done"}.get(
        definition.alert, state != "done"
    )
    if not wanted or state in ("cancelled", "skipped"):
        return ()
    try:
        channels = sorted(places())
    except BreezeLabError:
        return ()
    due = clock.from_epoch(run.due_ms / 1000)
    how = {"done": "done", "failed": "failed", "missed": "was missed"}.get(state, state)
    late = " (late)" if run.late else ""
    where = f": {kind}" if kind else ""
    body = {
        "text": f"Breeze Lab: {definition.name}, due {due:%d-%m-%Y %H:%M} IST, {how}{late}{where}.",
        "job": definition.name, "run": run.id, "due": due.isoformat(), "state": state,
        "late": run.late, "market": definition.market, "problem": kind,
    }  # fmt: skip
    return tuple((channel, json.dumps(body)) for channel in channels)


def places() -> dict[str, dict[str, Any]]:
    """Return where alerts go, by channel (``"webhook"``, ``"email"``), out of the vault."""
    text = vault.open().get(_ENTRY)
    found: dict[str, dict[str, Any]] = json.loads(text) if text else {}
    return found


def save(channel: str, place: dict[str, Any] | None) -> None:
    """Keep where a channel leads, in the vault; None forgets it.

    Raises
    ------
    SettingsError, VaultError
    """
    known = places()
    known.pop(channel, None)
    if place is not None:
        known[channel] = place
        (check_webhook if channel == "webhook" else check_mail)(place)
    if known:
        vault.open().set(_ENTRY, json.dumps(known))
    else:
        vault.open().delete(_ENTRY)


def shown() -> list[str]:
    """Return each channel as it may be shown: the host alone."""
    found = []
    for channel, place in sorted(places().items()):
        host = urlsplit(place["url"]).hostname if channel == "webhook" else place["host"]
        more = "" if channel == "webhook" else f" to {place['to']}"
        found.append(f"{channel}: {host}{more}")
    return found


def check_webhook(place: dict[str, Any]) -> None:
    """Refuse an address that would carry the alert in clear through a network.

    Raises
    ------
    SettingsError
    """
    try:
        address = urlsplit(str(place["url"]))
        port = address.port
    except (KeyError, ValueError):
        address, port = urlsplit(""), 0
    encrypted = address.scheme == "https" or (address.scheme == "http" and _here(address.hostname))
    if not (encrypted and address.hostname) or port == 0 or address.username or address.password:
        raise SettingsError(
            "A webhook's address begins with https:// (http:// on this machine alone) and has no "
            "user and password in it. It is not shown here, because it may be a secret."
        )


def check_mail(place: dict[str, Any]) -> None:
    """Refuse a mail server that cannot be used.

    Raises
    ------
    SettingsError
    """
    wrong = [name for name in ("host", "to", "from") if not place.get(name)]
    lines = [v for v in place.values() if isinstance(v, str) and ("\n" in v or "\r" in v)]
    if wrong or lines or not isinstance(place.get("port"), int):
        raise SettingsError("A mail server needs host, port, from and to, each on one line.")


def _here(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def deliver(book: Book) -> int:
    """Send what is due; return how many went out. Blocks; for a thread of its own."""
    sent = 0
    rows = book.ask(
        "SELECT * FROM alerts WHERE state = 'due' AND next <= ? ORDER BY id LIMIT 20", time.time()
    )
    for row in rows:
        problem = _send(row["channel"], json.loads(row["body"]))
        tries = row["tries"] + 1
        state = "sent" if not problem else "due" if tries < _MOST_TRIES else "given up"
        with book.turn() as file:
            file.execute(
                "UPDATE alerts SET state = ?, tries = ?, next = ?, note = ? WHERE id = ?",
                (state, tries, time.time() + _FIRST_WAIT_S * 2 ** (tries - 1), problem, row["id"]),
            )
        sent += not problem
    return sent


def _send(channel: str, body: dict[str, Any]) -> str:
    """Return what went wrong, without an address in it; empty when nothing did."""
    try:
        place = places().get(channel)
        if place is None:
            return "this channel was taken away"
        if channel == "webhook":
            return _post(place, body)
        return _mail(place, body)
    except (OSError, http.client.HTTPException, smtplib.SMTPException, BreezeLabError) as exc:
        return type(exc).__name__


def _post(place: dict[str, Any], body: dict[str, Any]) -> str:
    check_webhook(place)
    address = urlsplit(place["url"])
    host = address.hostname or ""
    connection = (
        http.client.HTTPSConnection(
            host, address.port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
        )
        if address.scheme == "https"
        else http.client.HTTPConnection(host, address.port, timeout=_TIMEOUT_S)
    )
    try:
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request(
            "POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        status = connection.getresponse().status  # a redirect is not followed
    finally:
        connection.close()
    return "" if status in _OK else f"HTTP {status}"


def _mail(place: dict[str, Any], body: dict[str, Any]) -> str:
    check_mail(place)
    message = EmailMessage()
    message["Subject"] = body["text"].removesuffix(".")
    message["From"], message["To"] = place["from"], place["to"]
    message.set_content(
        f"{body['text']}\n\nSee its log, and retry it, on the jobs page of your JupyterLab.\n"
    )
    host, port = place["host"], place["port"]
    if port == smtplib.SMTP_SSL_PORT:
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            host, port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        server = smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
    with server:
        if port != smtplib.SMTP_SSL_PORT and not _here(host):
            server.starttls(context=ssl.create_default_context())  # or fail: never in clear
        if place.get("user"):
            server.login(place["user"], place.get("password", ""))
        server.send_message(message)
    return ""
