"""A function of a notebook as text, and as a function again in another process.

What crosses is source, not bytecode and no pickle: the file can be read, and
it means the same under another version of Python. A function brings along what
its source names: modules and what they define by name, functions and classes
of the notebook by their source, plain values and tables as they are now.
"""

from __future__ import annotations

import ast
import base64
import builtins
import importlib
import inspect
import io
import linecache
import math
import os
import symtable
import sys
import textwrap
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib.machinery import PathFinder
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["packed", "unpacked"]

_LONGEST_VALUE: Final = 1024 * 1024


@dataclass
class _Pack:
    imports: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


def packed(function: FunctionType) -> dict[str, Any]:
    """Return `function` and what it names, as JSON values.

    Raises
    ------
    PublishError
        It needs arguments, has no source, or names what lives in this kernel only.
    """
    if function.__name__ == "<lambda>":
        raise PublishError("A lambda has no name to be published by. Write it with def.")
    needed = [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if needed:
        raise PublishError(
            f"{function.__name__}() is called without arguments and needs {', '.join(needed)}. "
            "Give them defaults."
        )
    pack = _Pack()
    _take(pack, function.__name__, function, function.__name__)
    return {
        "name": function.__name__, "imports": pack.imports, "values": pack.values,
        # The innermost first: a decorator or a default is used as soon as its user is defined.
        "sources": pack.sources,
    }  # fmt: skip


def unpacked(told: dict[str, Any]) -> Callable[..., Any]:
    """Return the function again.

    Raises
    ------
    Exception
        Whatever its imports and its definition raise here.
    """
    namespace: dict[str, Any] = {"__name__": "breeze_lab_published"}
    for name, (module, attribute) in told["imports"].items():
        found = importlib.import_module(module)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
        namespace[name] = found
    for name, (kind, text) in told["values"].items():
        namespace[name] = _value(kind, text)
    for name, source in told["sources"].items():
        place = f"<published {name}>"
        # So that an error names the line, and `inspect` finds the source.
        linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
        exec(compile(source, place, "exec"), namespace)  # noqa: S102 - the user's own, on purpose
    function: Callable[..., Any] = namespace[told["name"]]
    return function


def _take(pack: _Pack, name: str, thing: Any, user: str) -> None:
    """Put what `user` calls `name` into the pack."""
    if name in pack.imports or name in pack.values or name in pack.sources:
        return
    if isinstance(thing, ModuleType):
        _importable(thing.__name__, name, user)
        pack.imports[name] = [thing.__name__, ""]
    elif isinstance(thing, (FunctionType, type)):
        _take_defined(pack, name, thing, user)
    elif callable(thing) and _found_again(thing):
        pack.imports[name] = [thing.__module__, thing.__qualname__]
    else:
        pack.values[name] = _written(name, thing, user)


def _take_defined(pack: _Pack, name: str, thing: Any, user: str) -> None:
    if _found_again(thing):
        _importable(thing.__module__, name, user)
        pack.imports[name] = [thing.__module__, thing.__qualname__]
        return
    source, tree = _source(name, thing)
    pack.sources[name] = ""  # two functions may call each other
    closed: dict[str, Any] = {}
    if isinstance(thing, FunctionType):
        closed = dict(inspect.getclosurevars(thing).nonlocals)
        around = thing.__globals__
    else:
        around = vars(sys.modules[thing.__module__])
    for used in _names(source, tree.name):
        if used in closed:
            _take(pack, used, closed[used], name)
        elif used in around:
            _take(pack, used, around[used], name)
        elif not hasattr(builtins, used):
            raise PublishError(f"{name}() uses {used!r}, which is not defined in this notebook.")
    if tree.name != name:
        source += f"\n{name} = {tree.name}\n"
    del pack.sources[name]
    pack.sources[name] = source


def _source(name: str, thing: Any) -> tuple[str, Any]:
    try:
        source = textwrap.dedent(inspect.getsource(thing))
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError) as exc:
        raise PublishError(
            f"{name} has no source that can be read ({type(exc).__name__}). Define it with def in "
            "a cell of its own, or in an installed module."
        ) from exc
    if not isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        raise PublishError(f"{name} is a lambda. Give it a name: def {name}(): return …")
    return source, tree


def _names(source: str, itself: str) -> list[str]:
    """Return the names that `source` takes from around it, in the order of the alphabet."""
    found: set[str] = set()

    def look(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            outer = symbol.is_global() or (
                table.get_type() == "module" and symbol.is_referenced() and not symbol.is_assigned()
            )
            if outer and symbol.is_referenced():
                found.add(symbol.get_name())
        for child in table.get_children():
            look(child)

    look(symtable.symtable(source, "<notebook>", "exec"))
    return sorted(found - {itself, "__class__"})


def _found_again(thing: Any) -> bool:
    """Say whether importing its module gives the same thing."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    found: Any = module
    for part in getattr(thing, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is thing


def _importable(module: str, name: str, user: str) -> None:
    """Refuse a module that only this notebook's folder has."""
    top = module.partition(".")[0]
    here = {"", ".", os.getcwd()}  # noqa: PTH109 - as sys.path spells it
    places = [path for path in sys.path if path not in here]
    if top in sys.builtin_module_names or PathFinder.find_spec(top, places) is not None:
        return
    raise PublishError(
        f"{user}() uses {name!r} of the module {top}, which lies beside this notebook. Install it, "
        "or put what is needed into a cell."
    )


def _written(name: str, thing: Any, user: str) -> list[str]:
    """Return kind and text of a value."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(thing, pandas.DataFrame):
        from breeze_lab.dashboards.freezing import frame_text  # noqa: PLC0415 - it knows us

        return ["frame", frame_text(thing)]
    if isinstance(thing, datetime):
        return ["datetime", thing.isoformat()]
    if isinstance(thing, date):
        return ["date", thing.isoformat()]
    if all(map(_plain, _leaves(thing))):
        text = repr(thing)
        if len(text) <= _LONGEST_VALUE:
            return ["literal", text]
    raise PublishError(
        f"{user}() uses {name!r}, a {type(thing).__name__} that lives in this kernel only. Make "
        "it inside the function; numbers, texts, lists of them, dates and tables come along."
    )


def _value(kind: str, text: str) -> Any:
    if kind == "frame":
        import pandas as pd  # noqa: PLC0415 - only where a function has a table

        return pd.read_parquet(io.BytesIO(base64.b64decode(text)))
    if kind in ("datetime", "date"):
        return (datetime if kind == "datetime" else date).fromisoformat(text)
    return ast.literal_eval(text)


def _leaves(thing: Any) -> Iterator[Any]:
    if type(thing) in (list, tuple, set):
        for one in thing:
            yield from _leaves(one)
    elif type(thing) is dict:
        for pair in thing.items():
            yield from _leaves(pair)
    else:
        yield thing


def _plain(leaf: Any) -> bool:
    if type(leaf) is float:
        return math.isfinite(leaf)
    return leaf is None or type(leaf) in (bool, int, str, bytes)
