"""``breeze-lab jobs``: schedule notebooks in a terminal, see what became of them, retry."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import processes, settings
from breeze_lab.errors import ScheduleError
from breeze_lab.jobs import alerts, face, logs
from breeze_lab.jobs.book import Book, folder
from breeze_lab.jobs.worker import run_folder

if TYPE_CHECKING:
    import argparse

__all__ = ["add_options", "run"]

_EXAMPLE: Final = "breeze-lab jobs add nightly.ipynb 'after F&O close on trading days'"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``breeze-lab jobs`` understands."""
    verbs = parser.add_subparsers(dest="action", required=True)
    add = verbs.add_parser("add", help="schedule a notebook")
    add.add_argument("notebook")
    add.add_argument("phrase", help="'after F&O close on trading days'; docs/jobs.md has them all")
    add.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter")
    add.add_argument("--name", default="", help="of the job; the notebook's by default")
    add.add_argument("--timeout", type=float, default=3600.0, help="seconds a run may take (3600)")
    add.add_argument("--retries", type=int, default=0, help="of a failed run (0)")
    add.add_argument("--catch-up", default="latest", help="latest (default), all or none")
    add.add_argument("--alert", default="failure", help="failure (default), success, both or none")
    add.add_argument("--session", default="", help="shared, own (practice) or none")
    add.add_argument("--output", default="", help="folder of the finished notebooks")
    add.add_argument("--html", action="store_true", help="a page beside each finished notebook")
    shown = verbs.add_parser("list", help="jobs, their next due times, and the last runs")
    shown.add_argument("--json", action="store_true", help="for programs")
    shown.add_argument("-n", "--runs", type=int, default=10, help="how many runs (10)")
    now = verbs.add_parser("run", help="run a job now")
    now.add_argument("job")
    now.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter")
    now.add_argument("--wait", action="store_true", help="until it has ended; 1 when it failed")
    log = verbs.add_parser("logs", help="what a run wrote")
    log.add_argument("run", type=int)
    log.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    for name, text in (
        ("cancel", "end a run that waits or is under way"), ("retry", "run again what failed"),
    ):  # fmt: skip
        verbs.add_parser(name, help=text).add_argument("run", type=int)
    for name, text in (
        ("pause", "make no due times for a while"), ("resume", "make due times again"),
        ("remove", "take a job away; what has run stays"),
    ):  # fmt: skip
        verbs.add_parser(name, help=text).add_argument("job")
    where = verbs.add_parser("alerts", help="where alerts go")
    where.add_argument("channel", nargs="?", choices=("webhook", "email"))
    where.add_argument("--off", action="store_true", help="forget this channel")
    serve = verbs.add_parser("serve", help="be the service (it is started by itself)")
    serve.add_argument("--idle-exit", type=float, default=900.0, help="seconds without any job")
    verbs.add_parser("stop", help="end the service; nothing is due until it runs again")


def run(options: argparse.Namespace) -> int:
    """Do what the command says; return its exit code.

    Raises
    ------
    BreezeLabError
        With what to do.
    """
    do = {
        "add": _add, "list": _list, "run": _run, "logs": _logs, "alerts": _alerts, "serve": _serve,
        "stop": _stop,
    }.get(options.action, _change)  # fmt: skip
    return do(options)


def _add(options: argparse.Namespace) -> int:
    job = face.schedule(
        options.notebook, options.phrase, pairs(options.set), name=options.name,
        timeout=options.timeout, retries=options.retries, catch_up=options.catch_up,
        alert=options.alert, session=options.session, output=options.output, html=options.html,
    )  # fmt: skip
    print(job)
    return 0


def pairs(words: list[str]) -> dict[str, str]:
    """Return the parameters of ``NAME=VALUE`` words.

    Raises
    ------
    ScheduleError
    """
    found = {}
    for word in words:
        name, mark, value = word.partition("=")
        if not mark or not name.strip():
            raise ScheduleError(f"A parameter is given as NAME=VALUE, not {name[:40]!r}.")
        found[name.strip()] = value
    return found


def _list(options: argparse.Namespace) -> int:
    with Book(folder() / "book.sqlite") as book:
        jobs = book.definitions()
        runs = book.runs(most=max(options.runs, 0))
        names = {run.definition: book.definition(run.definition).name for run in runs}
    if options.json:
        told: dict[str, Any] = {
            "service": processes.running(settings.folders().runtime, "jobs") is not None,
            "jobs": [
                {**asdict(one), "next": [due.isoformat() for due in face.next_dues(one)]}
                for one in jobs
            ],
            "runs": [{**asdict(run), "job": names[run.definition]} for run in runs],
        }
        print(json.dumps(told, indent=1))
        return 0
    if not jobs:
        print(f"Nothing is scheduled. For example: {_EXAMPLE}")
    for one in jobs:
        due = next(iter(face.next_dues(one, 1)), None)
        following = f"next {due:%a %d-%m-%Y %H:%M} IST" if due else "paused" * (not one.active)
        print(f"{one.name:<20} {one.phrase or 'by hand':<44} {following}")
    for run in runs:
        print(f"{run.id:>5} {run.state:<9} {names[run.definition]:<20} {face.spoken(run)}")
    if jobs and processes.running(settings.folders().runtime, "jobs") is None:
        print(
            "The service does not run: nothing is due until it does. Start it: breeze-lab jobs "
            "serve",
            file=sys.stderr,
        )
    return 0


def _run(options: argparse.Namespace) -> int:
    made = face.run_now(options.job, pairs(options.set))
    print(f"Run {made.id} of {options.job} is due. Its log: breeze-lab jobs logs {made.id} -f")
    if not options.wait:
        return 0
    with Book(folder() / "book.sqlite") as book:
        while (now := book.run(made.id)).open:
            time.sleep(0.2)
    print(f"{now.state}: {now.message or now.output}")
    return 0 if now.state == "done" else 1


def _logs(options: argparse.Namespace) -> int:
    with Book(folder() / "book.sqlite") as book:
        book.run(options.run)
        path = run_folder(options.run) / "log"
        shown = ""
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                going = options.follow and book.run(options.run).open
                text = logs.tail(path)
                # What was shown is somewhere in it, unless much came at once.
                new = text.removeprefix(shown)
                sys.stdout.write(new)
                sys.stdout.flush()
                shown = text
                if not going:
                    break
                time.sleep(0.3)
    return 0


def _change(options: argparse.Namespace) -> int:
    with Book(folder() / "book.sqlite") as book:
        if options.action == "cancel":
            now = book.cancel(options.run)
            state = now.state if not now.open else "is being ended"
            print(f"Run {now.id}: {state}.")
        elif options.action == "retry":
            print(f"Run {face.retry(options.run).id} does what run {options.run} did not.")
        elif options.action == "remove":
            book.remove(options.job)
            print(f"{options.job} is no longer scheduled.")
        else:
            book.pause(options.job, active=options.action == "resume")
            print(
                f"{options.job} is {'paused' if options.action == 'pause' else 'scheduled again'}."
            )
    if options.action == "resume":
        face.ensure()
    return 0


def _alerts(options: argparse.Namespace) -> int:
    if options.channel is None:
        print(
            *(alerts.shown() or ["Alerts go nowhere yet: breeze-lab jobs alerts webhook"]), sep="\n"
        )
        return 0
    if options.off:
        alerts.save(options.channel, None)
    elif options.channel == "webhook":
        # It is asked for, because an argument is in the shell's history and in the process list.
        alerts.save("webhook", {"url": getpass.getpass("Address (not shown): ").strip()})
    else:
        place: dict[str, Any] = {
            name: input(f"{text}: ").strip()
            for name, text in (
                ("host", "Mail server"), ("port", "Port (465, 587)"), ("from", "From"),
                ("to", "To"), ("user", "User (empty: none)"),
            )
        }  # fmt: skip
        if place["user"]:
            place["password"] = getpass.getpass("Password (not shown): ")
        place["port"] = int(place["port"]) if place["port"].isdigit() else 0
        alerts.save("email", place)
    print(*(alerts.shown() or ["Alerts go nowhere."]), sep="\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from breeze_lab.jobs.__main__ import main

    return main(["--idle-exit", str(options.idle_exit)], shown=True)


def _stop(_options: argparse.Namespace) -> int:
    ended = processes.stop(settings.folders().runtime, "jobs")
    print("The service of jobs ended; runs under way go on." if ended else "It does not run.")
    return 0
