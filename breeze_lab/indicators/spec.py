"""Specs: an indicator and its parameters as a person writes them.

``ema(20)``, ``ema(length=20)``, ``macd(12, 26, 9)``, ``bbands(20, std=2)``,
``vwap``. Nothing of a spec is ever run: it is read as a name and constants.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import SettingsError
from breeze_lab.indicators import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Spec", "parse", "parse_all"]

_Value = int | float | bool | str

_LONGEST: Final = 200
#: No window is longer: a chart holds a thousand candles.
_MOST: Final = 2000
_KINDS: Final = {"int": int, "float": float, "bool": bool, "str": str}
_WORDS: Final = {
    "int": "a whole number", "float": "a number", "bool": "True or False", "str": "a word",
}  # fmt: skip
_EXAMPLES: Final = 'Write it like "ema(20)", "bbands(20, std=2)" or "vwap".'


@dataclass(frozen=True, slots=True)
class Spec:
    """One indicator with its parameters.

    Parameters
    ----------
    name
        Of the catalogue.
    given
        The parameters that were said, in the catalogue's order.
    """

    name: str
    given: tuple[tuple[str, _Value], ...] = ()

    @property
    def entry(self) -> catalogue.Entry:
        """What the catalogue knows of it."""
        return catalogue.entry(self.name)

    @property
    def parameters(self) -> dict[str, _Value | None]:
        """All parameters, given or usual."""
        usual = {one.name: one.default for one in self.entry.parameters}
        return usual | dict(self.given)

    @property
    def changed(self) -> dict[str, _Value]:
        """The parameters that are not the usual ones."""
        usual = {one.name: one.default for one in self.entry.parameters}
        return {name: value for name, value in self.given if usual[name] != value}

    def __str__(self) -> str:
        """Return how a person would write it: ``bbands(20, std=2)``, ``vwap``."""
        given, said, in_order = dict(self.given), [], True
        for one in self.entry.parameters:
            if one.name not in given:
                in_order = False
                continue
            value = given[one.name]
            text = f"{value:g}" if type(value) is float else str(value)
            said.append(text if in_order else f"{one.name}={text}")
        return f"{self.name}({', '.join(said)})" if said else self.name


def parse(text: str | Spec) -> Spec:
    """Read one spec.

    Raises
    ------
    SettingsError
        It cannot be read, there is no such indicator, or a parameter is unknown or no such value;
        the message shows the indicator's parameters or the nearest names.
    """
    if isinstance(text, Spec):
        return text
    call = _call(text)
    name = call.func.id.lower() if isinstance(call.func, ast.Name) else ""
    if not name:
        raise SettingsError(f"{text!r} is no indicator. {_EXAMPLES}")
    entry = catalogue.entry(name)
    known = {one.name: one for one in entry.parameters}
    if len(call.args) > len(known):
        raise SettingsError(
            f"{name} takes at most {len(known)} parameters, not {len(call.args)}: {entry.signature}"
        )
    given: dict[str, _Value] = {}
    pairs: list[tuple[str | None, ast.expr]] = [
        *zip(known, call.args, strict=False),
        *((word.arg, word.value) for word in call.keywords),
    ]
    for key, node in pairs:
        if key is None or key not in known:
            raise SettingsError(f"{name} has no parameter {key!r}: {entry.signature}")
        if key in given:
            raise SettingsError(f"{key} is given twice in {text!r}: {entry.signature}")
        given[key] = _value(entry, known[key], node)
    return Spec(name, tuple((key, given[key]) for key in known if key in given))


def parse_all(texts: str | Spec | Iterable[str | Spec]) -> tuple[Spec, ...]:
    """Read several specs, each kept once; a text holds one or more, separated by commas.

    Raises
    ------
    SettingsError
    """
    if isinstance(texts, Spec):
        return (texts,)
    if isinstance(texts, str):
        texts = _split(texts)
    specs = [parse(text) for text in texts]
    once = {(spec.name, *spec.parameters.values()): spec for spec in reversed(specs)}
    return tuple(reversed(once.values()))


def _split(text: str) -> list[str]:
    """Cut at the commas that lie outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _call(text: str) -> ast.Call:
    if len(text) > _LONGEST:
        raise SettingsError(f"An indicator is a short text, not {text[:40]!r}…. {_EXAMPLES}")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise SettingsError(f"{text!r} cannot be read as an indicator. {_EXAMPLES}") from None
    if isinstance(node, ast.Name):
        return ast.Call(func=node, args=[], keywords=[])
    if not isinstance(node, ast.Call):
        raise SettingsError(f"{text!r} is no indicator. {_EXAMPLES}")
    return node


def _value(entry: catalogue.Entry, parameter: catalogue.Parameter, node: ast.expr) -> _Value:
    """Return a constant of the parameter's kind.

    pandas-ta takes its usual value in place of one it cannot use, without a word; so a wrong one
    is refused here.
    """
    if isinstance(node, ast.Name) and parameter.kind == "str":
        return node.id
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = None
    kind, usual = parameter.kind, parameter.default
    number = usual if isinstance(usual, int | float) and not isinstance(usual, bool) else 0
    most = max(_MOST, 10 * number)
    if kind == "float" and type(value) is int:
        value = float(value)
    right = type(value) is _KINDS[kind] if kind in _KINDS else type(value) in _KINDS.values()
    if right and isinstance(value, int | float) and not isinstance(value, bool):
        right = (0 if number > 0 else -most) < value <= most
    if not right or not isinstance(value, int | float | str):
        what = _WORDS.get(kind, "a number or a word")
        if kind in ("int", "float") and number > 0:
            what += f" above 0 and at most {most:g}"
        raise SettingsError(
            f"{parameter.name} of {entry.name} is {what}, not {ast.unparse(node)[:40]}: "
            f"{entry.signature}"
        )
    return value
