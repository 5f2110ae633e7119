"""Parameters of a notebook: what its cell declares, and whether what is given fits.

The cell tagged ``parameters`` holds one assignment a line; its value or its
annotation says the type. What comes as text (from a command or a form) is read
as that type, so that ``days=2`` is the number 2. A parameter stands in the
notebook's output and in the book, so nothing that looks like a secret is one.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import ScheduleError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DUE", "Declared", "declared", "fit", "refuse_secrets"]

#: A parameter of this name is given the due time (ISO, IST) when nothing else is.
DUE: Final = "due"
_LARGEST: Final = 20 * 1024 * 1024
_TYPES: Final = {"int": int, "float": float, "bool": bool, "str": str, "list": list, "dict": dict}
_SECRET_NAME: Final = re.compile(
    r"(?i)secret|passw|passphrase|token|credential|api_?key|app_?key|session_?key|api_?session|"
    r"private_?key|bearer|authorization|^pin$|^otp$|totp"
)
#: Long, without blanks, letters mixed with digits: no word, name, path or date is.
_SECRET_SHAPE: Final = re.compile(
    r"(?=[^\s/]*[A-Za-z])(?=[^\s/]*\d)[A-Za-z0-9+=~!@#$%^&*]{20,}|"
    r"[a-z][a-z0-9+.-]*://[^\s/@]*:[^\s/@]*@"
)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Declared:
    """A parameter of a notebook: name, type and the value it has when none is given."""

    name: str
    kind: type | None
    default: Any


def declared(notebook: Path) -> dict[str, Declared]:
    """Return the parameters of a notebook by name; empty when it has no such cell.

    Raises
    ------
    ScheduleError
        The file is not there or is no notebook.
    """
    try:
        if notebook.stat().st_size > _LARGEST:
            raise ScheduleError(f"{notebook.name} is larger than 20 MB; is it a notebook?")
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        source = next(
            ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
             and "parameters" in cell.get("metadata", {}).get("tags", [])), "",
        )  # fmt: skip
    except FileNotFoundError:
        raise ScheduleError(
            f"There is no notebook {notebook}. A path is read from the folder you are in."
        ) from None
    except OSError as exc:
        raise ScheduleError(f"{notebook} cannot be read: {exc.strerror}.") from exc
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ScheduleError(f"{notebook} is no notebook (.ipynb).") from None
    try:
        body = ast.parse(source).body
    except SyntaxError:
        raise ScheduleError(f"The parameters cell of {notebook.name} is no Python.") from None
    found = filter(None, map(_declaration, body))
    return {one.name: one for one in found}


def _declaration(line: ast.stmt) -> Declared | None:
    kind = None
    if isinstance(line, ast.Assign) and len(line.targets) == 1:
        target, value = line.targets[0], line.value
    elif isinstance(line, ast.AnnAssign) and line.value is not None:
        target, value = line.target, line.value
        kind = _TYPES.get(ast.unparse(line.annotation).partition("[")[0])
    else:
        return None
    if not isinstance(target, ast.Name):
        return None
    try:
        default = ast.literal_eval(value)
    except ValueError:
        default = None
    known = type(default) if type(default) in _TYPES.values() else None
    return Declared(target.id, kind or known, default)


def fit(given: dict[str, Any], known: dict[str, Declared], notebook: str = "it") -> dict[str, Any]:
    """Return the parameters given, each as the type that the notebook declares.

    Raises
    ------
    ScheduleError
        A name the notebook does not know, a value of another type, or
        something that looks like a secret.
    """
    refuse_secrets(given)
    found = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            has = ", ".join(known) or "none: tag its cell of defaults 'parameters'"
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ScheduleError(f"{notebook} has no parameter {name[:40]!r}.{hint} It has: {has}.")
        found[name] = _as(known[name], value)
    return found


def _as(wanted: Declared, value: Any) -> Any:
    kind = wanted.kind
    if isinstance(value, str) and kind is not str:
        value = _read(value, kind)
    good = (
        kind is None
        or type(value) is kind
        or (kind is float and type(value) is int)
        or (kind is list and isinstance(value, tuple))
    )
    if not good:
        raise ScheduleError(
            f"The parameter {wanted.name} is {_name(kind)} (as {wanted.default!r}), not "
            f"{value!r:.60}."
        )
    value = float(value) if kind is float else value
    if isinstance(value, float) and not math.isfinite(value):
        raise ScheduleError(f"The parameter {wanted.name} is a finite number, not {value!r}.")
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        raise ScheduleError(
            f"The parameter {wanted.name} holds a {type(value).__name__}; a scheduled notebook "
            "takes numbers, texts, yes or no, lists and maps."
        ) from None


def _read(text: str, kind: type | None) -> Any:
    """Return a text from a form as a value of `kind`; unchanged when it is none."""
    bare = text.strip()
    if kind is bool:
        low = bare.lower()
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            low, text
        )
    if kind is list and bare[:1] not in "[(":
        return [part.strip() for part in bare.split(",") if part.strip()]
    try:
        return ast.literal_eval(bare)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _name(kind: type | None) -> str:
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text",
             list: "a list", dict: "a map"}  # fmt: skip
    return words.get(kind, "something else") if kind else "anything"


def refuse_secrets(given: dict[str, Any]) -> None:
    """Refuse what looks like a secret, by its name or by its shape; the value is not repeated.

    Raises
    ------
    ScheduleError
    """
    for name, value in given.items():
        if _SECRET_NAME.search(name) or any(map(_secret, _texts(value))):
            raise ScheduleError(
                f"The parameter {name[:40]!r} looks like a secret and was not kept: parameters "
                "stand in the notebook's output. A scheduled notebook joins your session by "
                "itself; keep other secrets in a keyring and read them in the notebook."
            )


def _secret(text: str) -> bool:
    return not _UUID.fullmatch(text) and _SECRET_SHAPE.search(text) is not None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in _texts(part)]
    return []
