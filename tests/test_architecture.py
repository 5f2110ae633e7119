"""The rooms keep their direction: imports point down, and the light stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "breeze_lab"

# From the ground up. A room may import rooms of its own layer and of those before it.
LAYERS = {
    "values": {
        "errors",
        "calendar",
        "clock",
        "bars",
        "ticks",
        "fields",
        "frames",
        "ladder",
        "candle_text",
        "order_updates",
        "recommendations",
        "events",
        "indicators",
        "instruments",
        "listing",
        "processes",
        "books",
        "settings",
        "watchlist",
    },
    "broker": {
        "vault",
        "accounts",
        "limits",
        "_calls",
        "_late",
        "_sdk",
        "downloads",
        "market_time",
        "master_checks",
        "masters",
        "session",
        "signin",
        "doorstep",
    },
    "data": {"historical", "quotes", "feed", "relay", "recordings", "queries", "truth"},
    "drawing": {"charts", "chart_figures", "chart_indicators", "chart_looks", "_chart_scripts"},
    "surface": {
        "scrub",
        "warmup",
        "terminal",
        "relay_command",
        "widgets",
        "probes",
        "checkup",
        "lab",
        "streaming",
        "cells",
        "feed_magics",
        "magics",
        "replays",
        "replay_magic",
        "history_command",
        "history_magic",
        "history_price",
        "jobs",
        "schedule_magic",
        "shares",
        "share_magic",
        "cli",
        "dashboards",
        "__init__",
    },
}
RANK = {room: rank for rank, rooms in enumerate(LAYERS.values()) for room in rooms}
#: What the pure rooms may not touch: they know no network and no disk.
PURE = {
    "errors", "bars", "ticks", "frames", "ladder", "fields", "candle_text", "order_updates", "recommendations",
    "events", "indicators", "instruments", "listing", "clock",
}  # fmt: skip
#: Who may import one room of the practice market, its light remote control.
DRIVEN_BY = {"magics", "lab"}
CONTROL = "breeze_lab.practice.control"
IMPURE = {"socket", "requests", "urllib", "websockets", "aiohttp", "subprocess", "socketio"}


def imports(path: Path, *, at_run_time: bool = True) -> list[str]:
    """Return the modules a file imports; those for type checkers only are left out."""
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped |= {id(child) for stmt in node.body for child in ast.walk(stmt)}
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module != "breeze_lab.practice":  # an empty package: what counts is the room
                found.append(node.module)
            if node.module in ("breeze_lab", "breeze_lab.practice"):
                found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def wrong_imports(package: Path = PACKAGE) -> list[str]:
    wrong = []
    for path in sorted(package.rglob("*.py")):
        here = path.relative_to(package).parts[0].removesuffix(".py")
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "breeze_lab_server":
                wrong.append(f"{path.name} imports the server extension")
            if parts[0] != "breeze_lab" or len(parts) == 1 or parts[1] in (here, "__version__"):
                continue
            there = parts[1]
            if there == "practice":
                if here != "cli" and not (here in DRIVEN_BY and name == CONTROL):
                    wrong.append(f"{path.name} imports the practice market")
            elif here == "practice":
                if there not in LAYERS["values"]:
                    wrong.append(f"the practice market imports {there}")
            elif RANK.get(there, -1) > RANK[here]:
                wrong.append(f"{here} imports {there}, which lies above it")
    return wrong


def test_every_room_has_a_place_in_the_order():
    """A new module is put into a layer on purpose."""
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - {"practice"}
    assert rooms <= set(RANK), f"give these a layer: {rooms - set(RANK)}"


def test_imports_point_down():
    """No room imports one above it; the practice market is the command's, its control the magics'."""
    assert wrong_imports() == []


def test_the_check_catches_an_import_that_points_up(tmp_path):
    """The planted fault: a value that imports the session must be found."""
    (tmp_path / "clock.py").write_text("from breeze_lab import session\n")
    assert wrong_imports(tmp_path) == ["clock imports session, which lies above it"]


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("magics", "from breeze_lab.practice import server"),
        ("magics", "import breeze_lab.practice.server"),
        ("magics", "from breeze_lab.practice.faults.registry import Faults"),
        ("session", "from breeze_lab.practice import control"),
    ],
)
def test_the_check_catches_more_than_the_remote_control(tmp_path, room, line):
    """The planted fault: only magics and lab import the practice market, and only its control."""
    (tmp_path / f"{room}.py").write_text(line + "\n")
    assert wrong_imports(tmp_path) == [f"{room}.py imports the practice market"]
    (tmp_path / f"{room}.py").write_text("from breeze_lab.practice import control\n")
    assert wrong_imports(tmp_path) == [f"{room}.py imports the practice market"] * (
        room not in DRIVEN_BY
    )


def test_the_remote_control_is_light():
    """It loads nothing that a bare IPython lacks, and of the practice market only its words."""
    loaded = run(
        "import sys, breeze_lab.practice.control, breeze_lab.practice.control_words\n"
        "print(*sys.modules)"
    ).split()
    assert not {name.split(".")[0] for name in loaded} & set(HEAVY)
    assert {name for name in loaded if name.startswith("breeze_lab.practice.")} == {
        CONTROL,
        f"{CONTROL}_words",
        "breeze_lab.practice.faults",
        "breeze_lab.practice.faults.kinds",
    }
    for path in (PACKAGE / "practice").rglob("__init__.py"):
        package = ast.parse(path.read_text())
        assert len(package.body) == 1, "a package's __init__ holds its docstring and nothing else"


#: The floors of the practice market, from the ground up. What lies beside them is above them.
FLOORS = ("exchange", "desk", "replay", "faults", "wire")
#: Who commands and who is commanded may be known on every floor.
BESIDE = {"director"}


def wrong_floors(package: Path = PACKAGE / "practice") -> list[str]:
    wrong = []
    for path in sorted(package.rglob("*.py")):
        here = path.relative_to(package).parts[0].removesuffix(".py")
        height = FLOORS.index(here) if here in FLOORS else len(FLOORS)
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] != ["breeze_lab", "practice"] or len(parts) == 2 or parts[2] in BESIDE:
                continue
            there = FLOORS.index(parts[2]) if parts[2] in FLOORS else len(FLOORS)
            if there > height:
                wrong.append(
                    f"{here}/{path.name} imports {'.'.join(parts[2:])}, which lies above it"
                )
    return wrong


def test_the_floors_of_the_practice_market_rest_on_those_below():
    """Prices know nothing of orders, orders nothing of the wire."""
    assert wrong_floors() == []


def test_the_check_catches_a_floor_that_hangs_from_above(tmp_path):
    """The planted fault: prices that import a socket must be found."""
    (tmp_path / "exchange").mkdir()
    (tmp_path / "exchange" / "prices.py").write_text(
        "from breeze_lab.practice.wire.sockets import Connection\n"
    )
    assert wrong_floors(tmp_path) == [
        "exchange/prices.py imports wire.sockets, which lies above it"
    ]


def test_values_know_no_network_and_no_process():
    """The pure rooms import nothing that reaches out of the process."""
    paths = [path for path in PACKAGE.rglob("*.py") if room_of(path) in PURE]
    assert {room_of(path) for path in paths} == PURE
    for path in paths:
        touched = {name.split(".")[0] for name in imports(path)} & IMPURE
        assert not touched, f"{path.name} imports {touched}"


def test_only_the_seam_knows_the_sdk():
    """Nothing but _sdk.py names breeze_connect."""
    for path in PACKAGE.rglob("*.py"):
        if path.name != "_sdk.py":
            assert not any(name.startswith("breeze_connect") for name in imports(path)), path


def test_modules_can_be_read_in_one_sitting():
    """No module has more than 500 lines; the median stays under 250."""
    roots = (PACKAGE, ROOT / "extensions")
    sizes = sorted(
        len(path.read_text().splitlines()) for root in roots for path in root.rglob("*.py")
    )
    assert sizes[-1] <= 500
    assert sizes[len(sizes) // 2] <= 250


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ("pandas", "numpy", "bokeh", "panel", "breeze_connect", "requests", "socketio",
         "websockets", "ipywidgets", "anywidget", "aiohttp", "msgspec")  # fmt: skip


def modules_loaded_by(code: str) -> set[str]:
    """Return the top-level modules that `code` adds to an IPython shell."""
    return set(
        run(
            "import sys\n"
            "from IPython.core.interactiveshell import InteractiveShell\n"
            "shell = InteractiveShell.instance()\n"
            "before = set(sys.modules)\n"
            f"{code}\n"
            "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
        ).split()
    )


def test_importing_and_loading_the_extension_is_free():
    """``import breeze_lab`` and ``%load_ext breeze_lab`` load no library a bare IPython lacks."""
    loaded = modules_loaded_by(
        "import breeze_lab\n"
        "shell.run_line_magic('load_ext', 'breeze_lab')\n"
        "assert 'candles' in shell.magics_manager.magics['line']"
    )
    assert not loaded & set(HEAVY), loaded
    assert loaded - set(sys.stdlib_module_names) <= {"breeze_lab", "IPython"}, loaded


def test_the_check_catches_a_heavy_import():
    """The planted fault: a module that loads numpy must be seen."""
    assert "numpy" in modules_loaded_by("import numpy") & set(HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "breeze_lab.relay.__main__",
        "breeze_lab_server",
        "breeze_lab.shares.__main__",
        "breeze_lab.shares.service",
    ],
)
def test_processes_without_a_screen_load_no_drawing(module):
    """The relay and the server extension never load Bokeh, ipywidgets or pandas."""
    loaded = run(f"import sys, {module}\nprint(*{{m.split('.')[0] for m in sys.modules}})").split()
    assert not set(loaded) & {"bokeh", "ipywidgets", "anywidget", "pandas", "panel"}


def test_public_names_exist_and_are_listed():
    """Every name of ``__all__`` loads, and ``dir`` shows it before it is loaded."""
    import breeze_lab

    for name in breeze_lab.__all__:
        assert name in dir(breeze_lab)
        assert getattr(breeze_lab, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'candels'"):
        breeze_lab.candels  # noqa: B018 - the lookup is the test
