"""Bodies of cells as functions: the same names as in any cell, and nobody else's changed."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from breeze_lab.cells.body import compile_body
from breeze_lab.cells.lines import MOST_CHARACTERS, Lines
from breeze_lab.errors import SettingsError

GIVEN = ("tick", "ticks", "feed")


@pytest.fixture
def shell():
    """A shell with a clean namespace."""
    shell = InteractiveShell()
    yield shell
    shell.history_manager.end_session()


def run(shell, source, tick=5, times=1):
    """Run a body; return the values its last line had."""
    shown = []
    body = compile_body(shell, source, GIVEN)
    for _ in range(times):
        body.run(tick, [1, tick], None, shown.append)
    return shown


@pytest.mark.parametrize(
    "source",
    [
        "a = 1\nb = a + 1",
        "import os.path\nfrom math import pi as p, e",
        "for i in range(3):\n    x: int = i * 2\ny: str",
        "def f(n):\n    m = n\n    return m + tick\nz = f(2)",
        "class C:\n    v: int = 3\n    def m(self):\n        return self.v\nw = C().m()",
        "with open('/dev/null') as handle:\n    pass\ntext = handle.name",
        "try:\n    1 / 0\nexcept ZeroDivisionError as exc:\n    kind = type(exc)",
        "s = [t * tick for t in ticks if t < tick]\nd = {k: v for k, v in zip('ab', ticks)}",
        "found = [last := t for t in ticks]",
        "first, *rest = ticks\n(a, b), c = (1, 2), 3",
        "g = lambda t: t + tick\nh = g(1)",
        "old = 1\ndel old\nn = 2",
        "global q\nq = 4",
        "match ticks:\n    case [one, two]:\n        three = one + two",
    ],
)
def test_a_body_assigns_the_notebooks_names(shell, source):
    """After one run the names are those that the same lines leave when they run as a cell."""
    plain = {"tick": 5, "ticks": [1, 5], "feed": None}
    exec(source, plain)
    before = set(shell.user_ns)
    run(shell, source)
    made = set(shell.user_ns) - before - {"__builtins__"}
    assert made == set(plain) - {*GIVEN, "__builtins__", "__annotations__"}
    simple = (int, float, str, list, dict, tuple)
    for name in made:
        if isinstance(plain[name], simple):
            assert shell.user_ns[name] == plain[name]


def test_what_a_body_is_given_is_not_a_variable_of_the_notebook(shell):
    """A running cell's own ``tick`` is not changed, whatever the body does with its own."""
    shell.user_ns["tick"] = "mine"
    assert run(shell, "seen = [x for x in ticks if x == tick]\ntick = 7\ntick") == [7]
    assert shell.user_ns["tick"] == "mine"
    assert shell.user_ns["seen"] == [5]


def test_a_body_counts_on(shell):
    """What a run leaves is there for the next one."""
    shell.user_ns["count"] = 0
    assert run(shell, "count += 1\ncount", times=3) == [1, 2, 3]


def test_a_return_ends_one_run(shell):
    """The rest of the body is passed over."""
    assert run(shell, "if tick > 3:\n    return\n'shown'") == []
    assert run(shell, "if tick > 3:\n    return\n'shown'", tick=2) == ["shown"]


def test_a_semicolon_keeps_the_last_value_quiet(shell):
    """As in any cell."""
    assert run(shell, "tick;") == []


def test_magics_work_in_a_body(shell):
    """Lines that only IPython understands do."""
    run(shell, "found = %who_ls int")
    assert isinstance(shell.user_ns["found"], list)


def test_a_body_that_yields_is_refused(shell):
    """Nobody would read it, so it is not silently never run."""
    with pytest.raises(SettingsError, match="yield"):
        compile_body(shell, "yield tick", GIVEN)


@pytest.mark.parametrize("source", ["tick +", "await tick", "break"])
def test_a_body_that_is_no_python_is_refused(shell, source):
    """Before anything is subscribed."""
    with pytest.raises(SyntaxError):
        compile_body(shell, source, GIVEN)


def test_an_error_points_at_the_line_of_the_body(shell):
    """The traceback names the line that was written."""
    body = compile_body(shell, "a = 1\nb = 2\nraise ValueError(a)", GIVEN)
    with pytest.raises(ValueError, match="1") as caught:
        body.run(1, [], None, print)
    assert caught.traceback[-1].lineno == 2


def test_a_body_says_what_it_uses(shell):
    """History is made only for a body that looks at it."""
    assert "ticks" not in compile_body(shell, "print(tick)", GIVEN).names
    assert "ticks" in compile_body(shell, "f = lambda: len(ticks)", GIVEN).names


def test_lines_are_the_end_of_the_text_however_it_comes():
    """Pieces may end anywhere; what went is counted, once."""
    text = "".join(f"line {n}\n" for n in range(50)) + "half"
    for size in (1, 3, 1000):
        lines = Lines(7)
        for at in range(0, len(text), size):
            lines.add(text[at : at + size])
        first, *rest = str(lines).splitlines()
        assert first == "(43 earlier lines were dropped; --lines N keeps N)"
        assert rest == [*(f"line {n}" for n in range(43, 50)), "half"]
    lines.clear()
    assert (str(lines), lines.dropped) == ("", 0)


def test_lines_overwrite_themselves_as_in_a_terminal():
    """A carriage return begins the line anew; one before the end of the line is a line's end."""
    lines = Lines()
    for percent in range(100_000):
        lines.add(f"\r{percent} %")
    assert str(lines) == "99999 %"
    assert lines.size < 20
    lines.add("\rdone\r")
    lines.add("\nwhole\r\n")
    assert str(lines) == "done\nwhole"


def test_lines_hold_no_more_than_so_much():
    """Long lines push out others before there are too many of them; errors are red."""
    lines = Lines(1000)
    for n in range(30):
        lines.add(f"{n}" * 10_000 + "\n")
    lines.add("wrong\n", error=True)
    assert lines.size <= MOST_CHARACTERS
    assert lines.dropped > 20
    assert str(lines).endswith("\n\x1b[31mwrong\x1b[0m")
    lines.add("x" * 3 * MOST_CHARACTERS)
    assert lines.size <= 2 * MOST_CHARACTERS
