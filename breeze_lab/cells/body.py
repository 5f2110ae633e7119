"""The source of a cell as a function that can run again and again.

Names it assigns are the notebook's; names it is given are parameters. A
``return`` ends one run. The value of its last line is shown.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Body", "compile_body"]

_SHOW: Final = "__breeze_show__"
#: What the code of any cell is called: a traceback then shows its lines and names no function.
_NAME: Final = "<module>"


@dataclass(frozen=True)
class Body:
    """A compiled body.

    Parameters
    ----------
    run
        Called with what it is given, by position, and then with what shows the
        value of its last line.
    names
        Every name it mentions: what is costly to make is made only when it is used.
    """

    run: Callable[..., None]
    names: frozenset[str]


def compile_body(shell: Any, cell: str, given: Sequence[str]) -> Body:
    """Return the body of a cell as a function in the notebook's namespace.

    Parameters
    ----------
    shell
        IPython's; its magics and ``!commands`` work in a body.
    cell
        The source.
    given
        Names of the parameters.

    Raises
    ------
    SyntaxError
        It points at the line of the cell.
    SettingsError
        When the body yields, which nothing would read.
    """
    source = shell.transform_cell(cell)
    # Under this name a traceback finds the lines of the cell.
    place = shell.compile.cache(source, shell.execution_count, raw_code=cell)
    statements = ast.parse(source, place).body
    if statements and isinstance(statements[-1], ast.Expr) and not cell.rstrip().endswith(";"):
        last = statements[-1]
        call = ast.Call(ast.Name(_SHOW, ast.Load()), [last.value], [])
        statements[-1] = ast.copy_location(ast.Expr(ast.copy_location(call, last)), last)
    names = frozenset(
        node.id for part in statements for node in ast.walk(part) if isinstance(node, ast.Name)
    )
    plain = [_Unannotated().visit(part) for part in statements] or [ast.Pass()]
    parameters = (*given, _SHOW)
    first = _function(plain, parameters, place, {})
    if inspect.isgeneratorfunction(first):
        raise SettingsError("The body of this cell cannot yield: nobody would read it.")
    code = first.__code__
    assigned = sorted(
        name
        for name in {*code.co_varnames, *code.co_cellvars} - set(parameters)
        if name.isidentifier()
    )
    if assigned:
        plain = [ast.Global(assigned), *plain]
    return Body(_function(plain, parameters, place, shell.user_ns), names)


def _function(
    statements: list[Any], parameters: Sequence[str], place: str, namespace: dict[str, Any]
) -> Any:
    """Return the function that `statements` make, with `namespace` as its globals."""
    arguments = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in parameters], kwonlyargs=[],
        kw_defaults=[], defaults=[],
    )  # fmt: skip
    whole = ast.parse("def body(): pass")
    definition: Any = whole.body[0]
    definition.name, definition.args, definition.body = _NAME, arguments, statements
    ast.fix_missing_locations(whole)
    made: dict[str, Any] = {}
    exec(compile(whole, place, "exec"), namespace, made)  # noqa: S102 - running a cell is the point
    return made[_NAME]


class _Unannotated(ast.NodeTransformer):
    """Drop annotations of plain names, which a global variable cannot have in a function."""

    def visit(self, node: ast.AST) -> Any:
        """Turn ``x: int = 1`` into ``x = 1``, but not in a scope of its own."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            return node
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            plain = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
            return ast.copy_location(plain, node)
        return self.generic_visit(node)
