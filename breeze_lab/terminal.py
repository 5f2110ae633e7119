"""Logging in and out from a terminal: ``breeze-lab login``, ``breeze-lab logout``.

The same way as in a notebook: keys once, typed without being shown; then the
broker's page; then its redirect, taken on this machine when the registered
address is here and free, or pasted. No key is ever an argument of a process:
not of this one, and not of the browser it opens, which is given an address of
ours that leads on to the broker.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import queue
import select
import sys
import webbrowser
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from breeze_lab import accounts, clock, errors, signin, vault
from breeze_lab.errors import BreezeLabError, LoginError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from breeze_lab.doorstep import Doorstep
    from breeze_lab.signin import Outcome

__all__ = ["login", "logout"]

#: Registered with the broker when nothing else is said: where a Lab on this machine has it too.
REDIRECT: Final = "http://127.0.0.1:8888/breeze-lab/callback"
_INTERRUPTED: Final = 130
_USAGE: Final = (
    "breeze-lab login [icici|rehearse|practice] [--redirect URL]: log in to ICICI Direct, go the "
    "whole way at the practice market, or just use that. --redirect is the address registered "
    f"with the broker's app (default {REDIRECT}, or BREEZE_LAB_REDIRECT_URL)."
)


def login(words: Sequence[str]) -> int:
    """Log in; return the exit status.

    Parameters
    ----------
    words
        What follows ``breeze-lab login``. Nothing of it is repeated when it is
        not understood, for it may be a key.
    """
    try:
        who, redirect = _read(words)
        if who == "practice":
            _welcome(signin.practice())
            return 0
        return _account("icici" if who == "icici" else "practice", redirect)
    except KeyboardInterrupt:
        _say("\nStopped. Nobody was logged in.")
        return _INTERRUPTED
    except EOFError:
        _say("\nThe input ended. Nobody was logged in.")
        return 1


def logout(words: Sequence[str]) -> int:
    """End the session of all processes; with ``--forget`` forget the app's keys too."""
    if set(words) - {"--forget"}:
        raise LoginError("breeze-lab logout takes nothing, or --forget for the keys too.")
    now = accounts.facts()
    forget = "--forget" in words
    if forget:
        for broker in signin.BROKERS:
            accounts.forget(broker)  # a vault that cannot be read is moved aside by this
    accounts.drop()
    who = "Nobody was logged in." if now is None else f"{now.name} is logged out everywhere."
    _say(f"{who} The keys are forgotten." if forget else who)
    return 0


def _read(words: Sequence[str]) -> tuple[str, str]:
    who, redirect = "icici", os.environ.get("BREEZE_LAB_REDIRECT_URL", "") or REDIRECT
    if os.environ.get("BREEZE_LAB_BROKER") == "practice":
        who = "rehearse"
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("icici", "rehearse", "practice"):
            who = word
        elif word in ("-h", "--help"):
            _say(_USAGE)
            raise SystemExit(0)
        elif word == "--redirect" and rest and urlsplit(rest[0]).scheme in ("http", "https"):
            redirect = rest.pop(0)
        else:
            raise LoginError(
                "Type no key, secret or session on this line: your shell keeps lines, and others "
                "on this machine see them while they run. If it was real, renew it on the "
                f"broker's app page now and clear the shell's history. {_USAGE}"
            )
    return who, redirect


def _account(broker: str, redirect: str) -> int:
    _say(vault.open().describe())
    if accounts.credentials(broker) is None:
        accounts.save_credentials(broker, *_ask_keys(broker))
    endpoints, keys = signin.account(broker)

    def exchange(api_session: str) -> Outcome:
        return signin.exchange(endpoints, keys, api_session, rehearsal=broker == "practice")

    from breeze_lab.doorstep import Doorstep  # noqa: PLC0415 - only who waits for a redirect

    # A real broker knows the address from the app's registration; the practice market is told.
    told = redirect if broker == "practice" else ""
    page = signin.login_url(keys.app_key, endpoints, told)
    with Doorstep(redirect, page, exchange) as door:
        outcome = _wait(door, page, exchange)
    if outcome.confirm and not _yes(outcome):
        _say("Not logged in.")
        return 1
    _welcome(outcome)
    return 0


def _ask_keys(broker: str) -> tuple[str, str]:
    rehearsal = broker == "practice"
    where = "the practice market; twice Enter takes them" if rehearsal else "the broker's app page"
    _say(f"Once: the two keys of {where}. What you type is not shown.")
    app_key = getpass.getpass("App key: ").strip()
    secret = getpass.getpass("Secret: ").strip()
    if rehearsal and not (app_key or secret):
        from breeze_lab import session  # noqa: PLC0415 - only a rehearsal starts the market

        record = session.start_practice()
        return str(record["app_key"]), str(record["secret"])
    return app_key, secret


def _wait(door: Doorstep, page: str, exchange: object) -> Outcome:
    """Return what came of the login: by the redirect, or by what is pasted."""
    assert callable(exchange)
    here = f"I wait for it at {door.redirect}" if door.listens else door.why
    _say(
        "Press Enter to open the login page in a browser, or type show to see its address.\n"
        f"The page sends you to the address registered with the app. {here}; or paste the "
        "address it sent you to here (it is not shown)."
    )
    with _unseen():
        while True:
            ready, _, _ = select.select([sys.stdin, door.wakes], [], [], 1.0)
            with contextlib.suppress(queue.Empty):
                found = door.outcomes.get_nowait()
                if isinstance(found, BaseException):
                    raise found
                return found
            if sys.stdin not in ready:
                continue
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            word = line.strip()
            if word == "show":
                _say(f"On this machine: {door.start}\nOn another one (it has your app key): {page}")
            elif word:
                try:
                    outcome: Outcome = exchange(signin.find_api_session(word))
                except (LoginError, errors.RequestError) as exc:
                    _say(f"{exc} Try again, or press Ctrl-C.")
                else:
                    return outcome
            elif not webbrowser.open(door.start):
                _say(f"No browser could be opened. Open this yourself: {door.start}")


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """Do not show what is typed while the block runs, when this is a terminal at all."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 - only terminals have it

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _yes(outcome: Outcome) -> bool:
    _say(
        f"Last time the account was {outcome.confirm}, now it is {outcome.name} "
        f"({outcome.user_id}). Use this one? [y/N] ",
        end="",
    )
    line = sys.stdin.readline()
    if line.strip().lower() not in ("y", "yes"):
        return False
    accounts.adopt(outcome.serial)
    return True


def _welcome(outcome: Outcome) -> None:
    now = accounts.facts()
    assert now is not None
    left = int((now.until - clock.now()).total_seconds()) // 60
    what = "the practice market, no real money" if now.practice else "ICICI Direct"
    _say(
        f"Logged in to {what} as {outcome.name} ({outcome.user_id}), good until "
        f"{now.until:%d-%m-%Y %H:%M} IST, {left // 60} h {left % 60} m. Notebooks, jobs and the "
        "live feed join by themselves."
    )


def _say(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, flush=True)  # noqa: T201 - a terminal is written to
    except BrokenPipeError as exc:
        raise BreezeLabError("Nobody reads the output.") from exc
