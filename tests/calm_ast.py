"""Keep the collector of garbage out of ``ast.parse``, which Python 3.11 does not survive.

While it makes its tree, Python 3.11 counts the depth in one place for the whole interpreter. A
collection in that moment runs finalizers; one that parses itself (a traceback with its carets
does), or lets another thread parse, leaves the count changed, and the parse of whoever was
interrupted ends in ``SystemError: AST constructor recursion depth mismatch``. pytest parses to
rewrite assertions and to quote a failed line, so a test run could die of somebody's garbage.
"""

from __future__ import annotations

import ast
import functools
import gc
import threading
from typing import Any

_lock = threading.RLock()


def install() -> None:
    """Let ``ast.parse`` run alone and without collections, in this process."""
    parse = ast.parse
    if hasattr(parse, "__wrapped__"):
        return

    @functools.wraps(parse)
    def calm(*arguments: Any, **options: Any) -> ast.AST:
        with _lock:
            collects = gc.isenabled()
            gc.disable()
            try:
                return parse(*arguments, **options)
            finally:
                if collects:
                    gc.enable()

    ast.parse = calm
