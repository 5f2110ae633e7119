"""The code blocks of README and docs, and what a page says about running them.

A comment on the line before a block says how it is run where that is not plain:

``<!-- until interrupted -->``
    It never ends by itself: it is run until it has printed something, then interrupted;
    with ``, silently`` behind it, after a moment.
``<!-- run by tests/test_api.py::test_the_documented_commands_work -->``
    Another test runs it, because it needs what that test has.
``<!-- not run: REASON -->``
    Nothing runs it. `test_docs_code.py` bounds how many there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "Block", "blocks", "commands", "pages", "spans"]

ROOT: Final = Path(__file__).parent.parent
#: What a block may be. `text` is what somebody sees: an output, a drawing.
LANGUAGES: Final = ("python", "sh", "bash", "text", "csv", "yaml", "crontab")
#: What stands at the beginning of a line that somebody types.
_TYPED: Final = re.compile(
    r"(breeze-lab|breeze_lab|make|pip|docker|python3?|import|from|[$%])\b|[%$]"
)
_MARKS: Final = {
    "interrupted": re.compile(r"<!-- until interrupted(|, silently) -->"),
    "elsewhere": re.compile(r"<!-- run by (tests/\w+\.py::\w+) -->"),
    "not run": re.compile(r"<!-- not run: (.+) -->"),
}


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Parameters
    ----------
    page, line
        Where: a path below the root, and the line of the fence.
    language
        One of `LANGUAGES`.
    source
        What is in it.
    mark, word
        How it is run, ``""`` for as it is; and what the mark says.
    """

    page: str
    line: int
    language: str
    source: str
    mark: str = ""
    word: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages(root: Path = ROOT) -> list[str]:
    """Return README and every page below docs, as paths below `root`."""
    return ["README.md", *sorted(str(p.relative_to(root)) for p in (root / "docs").rglob("*.md"))]


def blocks(page: str, root: Path = ROOT) -> list[Block]:
    """Return the blocks of a page, in their order.

    Raises
    ------
    AssertionError
        A block has no language of ours, is not closed, shows something typed as if it were an
        output, or a comment about running stands before no block.
    """
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None
    inside: list[str] = []
    before = ""
    for number, line in enumerate((root / page).read_text().splitlines(), 1):
        if not line.lstrip().startswith("```"):
            if opened:
                inside.append(line)
            else:
                assert not _mark(before)[0], f"{page}:{number - 1}: no block follows {before}"
                before = line
            continue
        if opened is None:
            opened, inside = (number, line.strip("` "), before), []
            continue
        at, language, said = opened
        mark, word = _mark(said)
        found.append(Block(page, at, language, "\n".join(inside), mark, word))
        opened, before = None, ""
    assert opened is None, f"{page}:{opened}: the block is not closed"
    for block in found:
        assert block.language in LANGUAGES, f"{block}: say its language, one of {LANGUAGES}"
        if block.language == "text":
            typed = [text for text in block.source.splitlines() if _TYPED.match(text)]
            assert not typed, f"{block}: {typed[0]!r} is typed, so it is no text"
    return found


def _mark(line: str) -> tuple[str, str]:
    for name, pattern in _MARKS.items():
        if match := pattern.fullmatch(line.strip()):
            return name, match[1] if pattern.groups else ""
    return "", ""


def commands(source: str) -> list[str]:
    """Return the commands of a shell's block, one each, without comments and continuations."""
    joined = source.replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]
    return [one.strip() for line in lines for one in line.split("&&") if one.strip()]


def spans(page: str, root: Path = ROOT) -> list[str]:
    """Return what stands between single backticks outside of the blocks."""
    text = re.sub(r"^```.*?^```", "", (root / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
