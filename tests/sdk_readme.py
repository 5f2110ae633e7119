"""Read every ``breeze.method(...)`` example out of the SDK's README, as installed."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any

__all__ = ["Example", "examples", "version"]

#: Text that is no Python as printed, and what it must have meant.
MENDED = {'interval="1minute)': 'interval="1minute")'}


@dataclass(frozen=True)
class Example:
    """One call shown in the README.

    Parameters
    ----------
    method, number
        Its name, and which of this method's differing examples it is, from 1.
    arguments, keywords
        What is passed, as values.
    commented
        Whether the README hides it in an HTML comment.
    response
        The answer the README shows; None when it shows none.
    ticks
        What it shows `on_ticks` receiving.
    """

    method: str
    number: int
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    commented: bool
    response: Any
    ticks: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """``place_order 2``."""
        return f"{self.method} {self.number}"


def version() -> str:
    """Return the version of the installed SDK."""
    return metadata.version("breeze-connect")


def _text() -> str:
    text = metadata.metadata("breeze-connect").get_payload()
    for broken, whole in MENDED.items():
        assert text.count(broken) == 1, f"the README no longer has {broken}"
        text = text.replace(broken, whole)
    return text


def _whole(text: str, start: int) -> str:
    """Return what begins at `start`, to the bracket that closes it."""
    depth, quote = 0, ""
    for place in range(start, len(text)):
        letter = text[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if not depth:
                return text[start : place + 1]
    raise AssertionError(f"a README example does not end: {text[start : start + 60]}")


def _shown(text: str) -> tuple[Any, tuple[dict[str, Any], ...]]:
    """Return the response and the ticks that follow an example, up to the next one."""
    block = re.search(r"```json(.*?)```", text, re.DOTALL)
    if block is None:
        return None, ()
    body = re.sub(r"\bnull\b", "None", block[1])
    ticks = [match.end() for match in re.finditer(r"Tick(?:s| Data): (?={)", body)]
    found = re.search(r"{", body)
    response = None
    if found is not None and found.start() not in ticks:
        response = ast.literal_eval(_whole(body, found.start()))
    return response, tuple(ast.literal_eval(_whole(body, start)) for start in ticks)


def examples() -> list[Example]:
    """Return the examples in the README's order; a repeated one counts once."""
    text = _text()
    hidden = [match.span() for match in re.finditer(r"<!--.*?-->", text, re.DOTALL)]
    found: dict[str, Example] = {}
    counts: dict[str, int] = {}
    calls = list(re.finditer(r"\bbreeze\.([a-z_0-9]+)\s*\(", text))
    ends = [match.start() for match in calls[1:]] + [len(text)]
    for match, end in zip(calls, ends, strict=True):
        tree = ast.parse(_whole(text, match.start()), mode="eval").body
        assert isinstance(tree, ast.Call)
        shown = ast.unparse(tree)
        if shown in found:
            continue
        method = match[1]
        counts[method] = counts.get(method, 0) + 1
        found[shown] = Example(
            method,
            counts[method],
            tuple(ast.literal_eval(value) for value in tree.args),
            {word.arg or "": ast.literal_eval(word.value) for word in tree.keywords},
            any(first < match.start() < last for first, last in hidden),
            *_shown(text[match.end() : end]),
        )
    return list(found.values())
