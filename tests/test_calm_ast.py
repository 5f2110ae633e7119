"""The test run does not die of garbage that is collected while Python parses."""

from __future__ import annotations

import ast
import gc
import sys
import threading

import pytest

SOURCE = "def f(a, b=1, *c):\n    return [x for x in range(a) if x > b * (c + [2])]\n" * 200


class Garbage:
    """A cycle whose finalizer parses, as one that reports an exception does."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        ast.parse.__wrapped__("x = 1 + (2 * 3)")


def parses(parse) -> bool:
    """Say whether `parse` survives garbage of its own thread and the parsing of another."""
    over = threading.Event()

    def other() -> None:
        while not over.is_set():
            ast.parse("x = 1 + (2 * 3)")

    beside = threading.Thread(target=other)
    threshold = gc.get_threshold()
    gc.set_threshold(50)
    beside.start()
    try:
        for _ in range(20):
            for _ in range(20):
                Garbage()
            parse(SOURCE)
    except SystemError:
        return False
    finally:
        gc.set_threshold(*threshold)
        over.set()
        beside.join()
    return True


def test_garbage_does_not_disturb_a_parse():
    """However much is collected beside it, ``ast.parse`` returns its tree."""
    assert parses(ast.parse)
    assert gc.isenabled()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="later Pythons may count better")
def test_garbage_disturbs_a_parse_as_it_is():
    """The planted fault: without our care the same garbage ends the parse."""
    assert not all(parses(ast.parse.__wrapped__) for _ in range(50))
