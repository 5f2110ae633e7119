"""The ``breeze-lab`` command.

Without a verb it opens JupyterLab on the first notebook with the practice
market connected. Each verb imports only what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from breeze_lab import __version__, processes, relay_command, settings
from breeze_lab.errors import BreezeLabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["copy_notebooks", "main"]

_START = "00_start_here.ipynb"
_NOTEBOOKS = (
    _START,
    "01_break_the_market.ipynb",
    "02_log_in_and_find.ipynb",
    "03_live_ticks.ipynb",
    "04_indicators.ipynb",
    "05_nightly_report.ipynb",
    "06_back_test.ipynb",
    "07_data_pipeline.ipynb",
    "08_publish_and_share.ipynb",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # The practice market has its own options, and a word that a login does not know may be a key.
    own = {"practice": _practice, "login": _login, "logout": _logout, "history": _history}.get(
        "".join(words[:1])
    )
    if own is not None:
        return own(words[1:])
    parser = _parser()
    # `breeze-lab --no-browser` is `breeze-lab lab --no-browser`.
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "lab")
    options, rest = parser.parse_known_args(words)
    if rest and options.verb != "lab":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if options.verb == "lab":
            return _lab(options, rest)
        if options.verb == "stop":
            for name in ("dashboards", "shares", "jobs", "relay", "practice", "keeper"):
                _stop(settings.folders().runtime, name)
            return 0
        verb = {
            "relay": relay_command.run, "doctor": _doctor, "master": _master,
            "recordings": _recordings, "jobs": _jobs, "dashboards": _dashboards,
            "shares": _shares,
        }.get(options.verb)  # fmt: skip
        if verb is not None:
            return verb(options)
        from breeze_lab import lab

        print(lab.status())
    except BreezeLabError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 1
    return 0


def _practice(words: list[str]) -> int:
    """Serve a practice market, or drive the one that runs when the first is no option."""
    if not words or words[0].startswith("-"):
        from breeze_lab.practice.server import main as serve

        return serve(words)
    from breeze_lab.practice import control

    try:
        print(control.follow(words))
    except BreezeLabError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 1
    return 0


def _login(words: list[str]) -> int:
    from breeze_lab import terminal

    return _said(lambda: terminal.login(words))


def _logout(words: list[str]) -> int:
    from breeze_lab import terminal

    return _said(lambda: terminal.logout(words))


def _history(words: list[str]) -> int:
    import warnings

    from breeze_lab import history_command

    if words[:1] in (["-h"], ["--help"]):
        print(history_command.USAGE)
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda said, *_rest: print(f"warning: {said}", file=sys.stderr)
        return _said(lambda: history_command.follow(words, print))


def _said(work: Callable[[], int]) -> int:
    """Return what `work` returns; an error of ours is its message."""
    try:
        return work()
    except BreezeLabError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="breeze-lab", description="Research Indian markets in Jupyter."
    )
    parser.add_argument("--version", action="version", version=f"breeze-lab {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    lab = verbs.add_parser(
        "lab", help="open JupyterLab with the practice market connected (default)"
    )
    lab.add_argument("--folder", type=Path, help="where notebooks live (default: ./breeze-lab)")
    lab.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    lab.add_argument("--no-practice", action="store_true", help="do not start the practice market")
    verbs.add_parser("practice", help="run the practice market, or drive it (help)", add_help=False)
    verbs.add_parser("login", help="log in to ICICI Direct, or practice", add_help=False)
    verbs.add_parser("logout", help="log out everywhere; --forget the keys too", add_help=False)
    verbs.add_parser("status", help="who is logged in, and how the feed is")
    alone = verbs.add_parser("dashboards", help="open the dashboards, without JupyterLab")
    alone.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    verbs.add_parser("stop", help="end the relay, the practice market, the dashboards and the jobs")
    doctor = verbs.add_parser("doctor", help="is it me, or the broker?")
    doctor.add_argument("broker", nargs="?", choices=("icici", "practice"))
    doctor.add_argument("--json", action="store_true", help="for programs")
    master = verbs.add_parser("master", help="fetch, list or check security masters")
    master.add_argument("action", choices=("fetch", "list", "check"))
    master.add_argument("file", nargs="?", type=Path, help="the zip to check")
    master.add_argument("--accept", action="store_true", help="fetch: although it lost many rows")
    master.add_argument("--practice", action="store_true", help="of the practice market that runs")
    verbs.add_parser("history", help="list, price, fetch, verify or forget bars", add_help=False)
    relay_command.add_options(verbs.add_parser("relay", help="look at the live feed's process"))
    _jobs_options(verbs.add_parser("jobs", help="notebooks that run by themselves"))
    _shares_options(verbs.add_parser("shares", help="links through which others look"))
    recorded = verbs.add_parser(
        "recordings", help="list, convert, check, compare or keep recorded days"
    )
    recorded.add_argument("action", choices=("list", "convert", "check", "compare", "keep"))
    recorded.add_argument("day", nargs="?", help="2026-11-19; every day that it means by default")
    recorded.add_argument("--market", help="icici or practice, where both have the day")
    recorded.add_argument(
        "--instruments", help="compare: only these, RELIANCE,NIFTY; all by default"
    )
    recorded.add_argument("--no-longer", action="store_true", help="keep: not any more")
    return parser


def _lab(options: argparse.Namespace, rest: list[str]) -> int:
    folder = (options.folder or Path("breeze-lab")).absolute()
    copy_notebooks(folder)
    runtime = settings.folders().runtime
    ours: list[str] = []
    environment = dict(os.environ)
    # Settings for the Lab this command opens, and for no other: no news prompt on the first
    # screen, and none of Panel's server extension, which would cost every start half a second.
    ours_first = [str(Path(__file__).parent / "jupyter"), environment.get("JUPYTER_CONFIG_PATH")]
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, ours_first))
    starting = None
    if not options.no_practice:
        environment["BREEZE_LAB_SESSION"] = "practice"
        # Who listens ends first: a listener would bring the relay back.
        names = ("shares", "dashboards", "practice", "relay")
        ours = [name for name in names if processes.running(runtime, name) is None]
        # It warms up while JupyterLab does.
        starting = threading.Thread(target=_warm_up, daemon=True)
        starting.start()
    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{_START}", *rest,
    ]  # fmt: skip
    if options.no_browser:
        command.append("--no-browser")
    if os.getuid() == 0:
        command.append("--allow-root")
    jupyter = subprocess.Popen(command, env=environment)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Jupyter decides when to end; a Ctrl-C reaches it too and asks "Shutdown?".
        signal.signal(
            number, lambda got, _frame: jupyter.send_signal(got) if got != signal.SIGINT else None
        )
    code = jupyter.wait()
    if starting is not None:
        starting.join()
    for name in ours:
        _stop(runtime, name)
    return code


def _warm_up() -> None:
    from breeze_lab import accounts, session

    try:
        session.start_practice()
        processes.ensure(settings.folders().runtime, "relay", "breeze_lab.relay")
        last, _ = accounts.look()
        if last is not None and last.practice and not last.rehearsal and not last.good:
            # Who was on the practice market is there again: dashboards and share links go on
            # before a notebook is run. By a process that ends, as a login loads the SDK.
            again = "from breeze_lab.cli import main; main(['login', 'practice'])"
            subprocess.run([sys.executable, "-c", again], stdout=subprocess.DEVNULL, check=False)
    except BreezeLabError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)


def copy_notebooks(folder: Path) -> None:
    """Put the shipped notebooks into a folder, made if missing; what is there stays as it is.

    Raises
    ------
    BreezeLabError
        The installation lacks one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _NOTEBOOKS:
        if not (folder / name).exists():
            shutil.copy(_shipped_notebook(name), folder / name)


def _shipped_notebook(name: str) -> Path:
    package = Path(__file__).parent
    for place in (package / "notebooks" / name, package.parent / "notebooks" / name):
        if place.exists():
            return place
    raise BreezeLabError(f"This installation has no {name}. Install breeze-lab again.")


def _doctor(options: argparse.Namespace) -> int:
    from breeze_lab import checkup

    found = checkup.doctor(options.broker)
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)
    return 0 if found.ok else 1


def _master(options: argparse.Namespace) -> int:
    if options.action == "check":
        return _check_master(options.file)
    import warnings

    from breeze_lab import masters

    endpoints = settings.ICICI
    if options.practice:
        record = processes.running(settings.folders().runtime, "practice")
        if record is None:
            raise BreezeLabError("No practice market runs. Start one: breeze-lab practice")
        endpoints = settings.Endpoints.from_dict(record, name="practice")
    if options.action == "fetch":
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda said, *_rest: print(f"warning: {said}", file=sys.stderr)
            print(masters.fetch(endpoints, accept=options.accept))
    else:
        print(*masters.days(endpoints), sep="\n")
    print(masters.describe(endpoints))
    for text in masters.notes(endpoints):
        print(f"note: {text}")
    return 0


def _jobs_options(parser: argparse.ArgumentParser) -> None:
    from breeze_lab.jobs import command

    command.add_options(parser)


def _jobs(options: argparse.Namespace) -> int:
    from breeze_lab.jobs import command

    return command.run(options)


def _shares_options(parser: argparse.ArgumentParser) -> None:
    from breeze_lab.shares import command

    command.add_options(parser)


def _shares(options: argparse.Namespace) -> int:
    from breeze_lab.shares import command

    return command.run(options)


def _dashboards(options: argparse.Namespace) -> int:
    """Serve the dashboards by a Jupyter server that has nothing else: the same login, one door."""
    only = {
        name: name == "breeze_lab_server"
        for name in (
            "breeze_lab_server", "jupyterlab", "jupyter_lsp", "jupyter_scheduler", "notebook_shim",
            "jupyter_server_terminals", "panel.io.jupyter_server_extension",
        )
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyter_server", f"--ServerApp.jpserver_extensions={only}",
        "--ServerApp.default_url=/breeze-lab/dash/market",
    ]  # fmt: skip
    if not options.no_browser:
        command.append("--ServerApp.open_browser=True")
    if os.getuid() == 0:
        command.append("--allow-root")
    server = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda got, _frame: server.send_signal(got))
    # Ctrl-C reaches the server too, which asks whether it is meant.
    signal.signal(signal.SIGINT, lambda *_: None)
    return server.wait()


def _recordings(options: argparse.Namespace) -> int:
    from breeze_lab.recordings import command

    return command.run(options, print)


def _check_master(path: Path | None) -> int:
    from breeze_lab import masters

    if path is None:
        raise BreezeLabError("Which file? breeze-lab master check SecurityMaster.zip")
    report = masters.check(path)
    for name, rows in report.rows.items():
        print(f"{name:<22} {rows:>9,} rows, {report.kept.get(name, 0):>9,} kept")
    for member, line, reason in report.skipped:
        print(f"{member}:{line}: {reason}")
    for text in report.warnings:
        print(f"warning: {text}")
    return 0


def _stop(runtime: Path, name: str) -> None:
    record = processes.running(runtime, name)
    if record is not None:
        os.kill(record["pid"], signal.SIGTERM)
