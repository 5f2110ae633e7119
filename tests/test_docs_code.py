"""Every block of code in README and docs is run, or says why not; every command in them exists.

Python blocks are cells: those of a page run in their order, in one fresh
namespace, in a real kernel on a practice market of this file's own. Lines of a
shell are read by the command's own parsers, and what is quick and changes
nothing outside the home is run as well.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from doc_blocks import ROOT, blocks, commands, pages, spans
from jupyter_client.manager import KernelManager

from breeze_lab import cli, history_command, processes, terminal
from breeze_lab.practice import control_words, options

PAGES = [page for page in pages() if page != "docs/conformance.md"]  # a table of 174 tested cases
#: Each says why; a page that grows past this has to find a way to be run.
MOST_NOT_RUN = 4
#: What is run for real, by its first words: quick, and nothing outside the home changes.
QUICK = (
    "history list", "history price", "history verify", "jobs list", "recordings list", "relay status",
    "status", "practice drop", "practice status", "practice clear",
)  # fmt: skip
DOTTED = re.compile(r"breeze_lab(\.[A-Za-z_]+)+")
FILES = re.compile(r"(docs|tests|notebooks|docker|binder|breeze_lab|extensions)/[\w./-]+\w")
#: A cell that fails for every name that is not there.
NAMES = """
import importlib

missing = []
for name, page in {dotted}.items():
    found, parts = importlib.import_module("breeze_lab"), name.split(".")
    for number, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:number]))
            except ImportError:
                pass
        found = getattr(found, part, None)
    if found is None:
        missing.append((page, name))
known = get_ipython().magics_manager.magics
missing += [(page, "%" + name) for name, page in {magics}.items()
            if name not in known["line"] and name not in known["cell"]]
assert not missing, missing
"""
#: Programs of others that a page may name; `bash -n` reads their lines.
OTHERS = {
    "git", "cd", "docker", "pip", "curl", "panel", "jupyter", "openssl", "mmdebstrap", "podman",
    "podman-compose", "mkdir", "chmod", "for", "do", "done", "sudo", "cp", "editor", "alias", "hub",
}  # fmt: skip


class Kernel:
    """A kernel with a practice market in a home of its own.

    Parameters
    ----------
    folder
        An empty folder: the home, and the folder in which cells run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.environment = {
            **os.environ, "BREEZE_LAB_HOME": str(folder / "home"), "BREEZE_LAB_WITNESS": "off",
        }  # fmt: skip
        self.manager = KernelManager(kernel_name="breeze-lab")
        self.manager.start_kernel(env=self.environment, cwd=str(self.work))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.begin()

    def begin(self) -> None:
        """Be where a reader is who opens a page: logged in to a market that is well."""
        for line in ("%on_tick stop", "%reset -f", "%breeze_login practice"):
            assert self.run(line) == "", line
        with (self.work / "nightly.ipynb").open("w") as file:
            file.write((ROOT / "notebooks" / "05_nightly_report.ipynb").read_text())
        if not (self.work / "SecurityMaster.zip").exists():
            newest = "masters.newest(session.current().endpoints)"
            copy = f"import shutil; from breeze_lab import masters, session\nshutil.copy({newest}, "
            assert self.run(copy + '"SecurityMaster.zip")') == ""

    def run(self, source: str, *, interrupted: bool = False, silent: bool = False) -> str:
        """Run a cell; return its traceback, empty when all went well.

        Parameters
        ----------
        interrupted
            It never ends: it is interrupted as soon as it has printed something.
        silent
            It prints nothing: it is interrupted a moment after it has begun.
        """
        heard, over = threading.Event(), threading.Event()

        def hear(message):
            kind, content = message["msg_type"], message["content"]
            if kind == "execute_input" if silent else content.get("name") == "stdout":
                heard.set()

        def interrupt():
            # As a person does it: from the side, and not when the cell has ended by itself.
            if heard.wait(90) and not over.wait(2.0):
                self.manager.interrupt_kernel()

        if interrupted:
            threading.Thread(target=interrupt, daemon=True).start()
        reply = self.client.execute_interactive(
            source, timeout=100, output_hook=hear, stdin_hook=lambda _: None, allow_stdin=False
        )["content"]
        over.set()
        # A magic that does not exist has no traceback, and its text comes as a stream.
        said = "\n".join(
            [f"{reply.get('ename')}: {reply.get('evalue')}", *reply.get("traceback", ())]
        )
        if interrupted:
            assert heard.is_set(), "it printed nothing"
            assert reply["status"] == "error", "it ended by itself"
            return "" if reply["ename"] == "KeyboardInterrupt" else said
        return said if reply["status"] == "error" else ""

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        for name in ("jobs", "relay", "practice", "keeper"):
            record = processes.running(self.folder / "home" / "runtime", name)
            if record:
                os.kill(record["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    started = Kernel(tmp_path_factory.mktemp("docs"))
    yield started
    started.close()


def run_page(kernel, found):
    """Run what a page says in Python; fail at the first block that does not work."""
    kernel.begin()
    for block in found:
        if block.language == "python" and block.mark in ("", "interrupted"):
            traceback = kernel.run(
                block.source,
                interrupted=block.mark == "interrupted",
                silent="silently" in block.word,
            )
            assert not traceback, f"{block} does not work:\n{traceback}"
    if any("practice import control" in block.source for block in found):
        for words in ("clear", "speed 1", "jump now"):  # as the next reader wants to find it
            assert kernel.run(f"%breeze_practice {words}") == ""


@pytest.mark.parametrize("page", [p for p in PAGES if "```python" in (ROOT / p).read_text()])
def test_python_on_a_page_works(kernel, page):
    """The blocks of a page, in their order, each as a cell."""
    run_page(kernel, blocks(page))


def read(words):
    """Let the command's own parsers read the words behind ``breeze-lab``; raise when they refuse."""
    parsers = {
        "history": lambda rest: history_command._parser().parse_args(rest or ["list"]),
        "login": terminal._read,
        "logout": lambda rest: rest in ([], ["--forget"]) or pytest.fail(f"logout {rest}"),
    }
    if words[1:] == ["--help"]:
        assert words[0] in next(one for one in cli._parser()._actions if one.choices).choices
    elif words[:1] == ["practice"]:
        if words[1:] and not words[1].startswith("-"):
            known = str(control_words._help())
            assert re.search(rf"(^|\W){re.escape(words[1])}(\W|$)", known), words
        else:
            options._parser().parse_args(words[1:])
    elif words and words[0] in parsers:
        parsers[words[0]](words[1:])
    else:
        cli._parser().parse_known_args(words or ["lab"])


def check_command(line, targets):
    """Fail unless a line of a shell means something: a program, its words, a target."""
    words = shlex.split(line.removeprefix("@reboot "))
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words.pop(0)
    if not words:
        return []
    program, *rest = words
    if program == "breeze-lab":
        try:
            read(rest)
        except (SystemExit, Exception) as exc:
            raise AssertionError(f"{line!r} is refused: {exc!r}") from exc
        return rest
    if program == "make":
        goals = [word for word in rest if "=" not in word and not word.startswith("-")]
        assert goals, line
        assert set(goals) <= targets, f"{line!r}: the Makefile has no such target"
        return []
    assert program in OTHERS, f"{line!r}: {program} is not known to these tests"
    if "<" not in line:
        subprocess.run(["bash", "-n", "-c", line], check=True, timeout=20)
    return []


@pytest.fixture(scope="module")
def targets():
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):(?!=)", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_a_page_are_taken(page, targets):
    """Each line of a shell is read by the parser it is meant for; each target of make is there."""
    for block in blocks(page):
        if block.language in ("sh", "crontab") and block.mark != "not run":
            for line in commands(block.source):
                check_command(line, targets)
    for span in spans(page):
        if re.match(r"(breeze-lab|make) ", span) and not re.search(
            r"…|\.\.\.|[|]|\b[A-Z]{3,}\b", span
        ):
            # The name of a verb alone stands for all that it does.
            check_command(f"{span} --help" if span.count(" ") == 1 else span, targets)


def test_quick_commands_work(kernel):
    """What a page has people type, done: in the home of the kernel, with its market."""
    kernel.begin()
    lines = {line: block for page in PAGES for block in blocks(page) if block.language == "sh"
             for line in commands(block.source)}  # fmt: skip
    quick = [line for line in lines if line.removeprefix("breeze-lab ").startswith(QUICK)]
    assert len(quick) > 3
    for line in quick:
        words = shlex.split(line)[1:]
        traceback = kernel.run(f"from breeze_lab import cli\nassert cli.main({words}) == 0")
        assert not traceback, f"{lines[line]}: {line} does not work:\n{traceback}"


def test_names_exist(kernel):
    """`breeze_lab.a.b` can be imported, a magic is one of ours, a file that is named is there."""
    said = {span: page for page in PAGES for span in spans(page)}
    dotted = {m[0]: page for span, page in said.items() if (m := DOTTED.match(span))}
    magics = {m[1]: page for span, page in said.items() if (m := re.match(r"%%?(\w+)", span))}
    assert len(dotted) > 10
    assert len(magics) > 10
    traceback = kernel.run(NAMES.format(dotted=dotted, magics=magics))
    assert not traceback, traceback
    files = {span: page for span, page in said.items() if FILES.fullmatch(span)}
    assert len(files) > 10
    made = tuple(line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()
                 if line.startswith("docker/"))  # fmt: skip
    missing = {name: page for name, page in files.items()
               if not (ROOT / name).exists() and not name.startswith(made)}  # fmt: skip
    assert not missing


def test_other_blocks_are_what_they_say(tmp_path):
    """YAML can be read; what another test runs is a test of the suite that reads that page."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "yaml":
                assert yaml.safe_load(block.source), block
            if block.language in ("bash", "csv"):
                assert block.mark == "elsewhere", f"{block}: which test runs it?"
            if block.mark == "elsewhere":
                path, name = block.word.split("::")
                text = (ROOT / path).read_text()
                assert f"def {name}(" in text, f"{block}: there is no test {block.word}"
                assert Path(page).name in text, f"{block}: {path} does not read this page"


def test_few_blocks_are_not_run():
    """Each that is not says why, and they stay few."""
    left = [block for page in PAGES for block in blocks(page) if block.mark == "not run"]
    assert all(len(block.word) > 20 for block in left), [str(b) for b in left]
    assert len(left) <= MOST_NOT_RUN, [f"{block}: {block.word}" for block in left]
    ran = [b for page in PAGES for b in blocks(page) if b.language == "python" and b not in left]
    assert len(ran) > 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "```python\nimport breeze_lab\nbreeze_lab.history('RELIANC')\n```\n",
            "InstrumentNotFound",
        ),
        ("```python\nprint('fine')\n```\n\n```python\n%breeze_serach x\n```\n", "breeze_serach"),
        ("<!-- until interrupted -->\n```python\nprint('over')\n```\n", "ended by itself"),
        ("```sh\nbreeze-lab histroy list\n```\n", "is refused"),
        ("```sh\nbreeze-lab history fetch RELIANCE --form 2026-01-01\n```\n", "is refused"),
        ("```sh\nmake coffee\n```\n", "no such target"),
        ("```sh\nrm -rf /\n```\n", "not known"),
        ("```\nbreeze-lab stop\n```\n", "say its language"),
        ("```text\nbreeze-lab stop\n```\n", "is typed"),
        ("<!-- not run: nobody knows -->\n\nNothing here.\n", "no block follows"),
    ],
)
def test_a_page_that_is_wrong_is_noticed(kernel, targets, tmp_path, text, said):
    """Planted faults, one a page: each is found, and said."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "planted.md").write_text(text)

    def check():
        found = blocks("docs/planted.md", tmp_path)
        for block in found:
            for line in commands(block.source) if block.language == "sh" else ():
                check_command(line, targets)
        run_page(kernel, found)

    with pytest.raises(AssertionError, match=said):
        check()
