"""Modules that load when something of them is asked for, for code that imports them at its top.

``breeze-connect`` imports pandas and python-socketio in its first lines, half a
second of work in a fresh kernel, and needs neither for a REST call: pandas
reads one file of names, and sockets are few scripts' wish. It is given these
stand-ins, and from the first use on it has the modules themselves.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any, Final

__all__ = ["late"]


class _Late(types.ModuleType):
    """A module that is imported for the first of its names that is looked up."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), name)
        self.__dict__[name] = value
        return value


def _base(module: str, name: str) -> type:
    """Return a stand-in for a base class: its heirs get the real one with their first instance.

    It has to be a class, because Python wants to know a base when a class is
    made, and the module that has it is the one that shall wait.
    """

    class Base:
        def __init__(self, *arguments: object, **options: object) -> None:
            real = getattr(importlib.import_module(module), name)
            heir = next(one for one in type(self).__mro__ if Base in one.__bases__)
            heir.__bases__ = tuple(real if one is Base else one for one in heir.__bases__)
            real.__init__(self, *arguments, **options)

    Base.__name__ = Base.__qualname__ = name
    return Base


#: Classes of a module from which others are derived as soon as they are read.
_BASES: Final = {"socketio": ("ClientNamespace",)}


def late(name: str) -> types.ModuleType:
    """Return the module `name`: itself when it is loaded, else a stand-in that loads it when used.

    Errors of the import are raised where something of it is used first.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    module = _Late(name)
    for base in _BASES.get(name, ()):
        setattr(module, base, _base(name, base))
    return module
