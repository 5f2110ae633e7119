"""Shares: links through which others look at a chart or a figure, and only look.

A link is an opaque id. Its book on disk keeps only the id's hash, the frozen
target and an HMAC over what was promised: target, parameters, class of data
and end. A process of its own, ``python -m breeze_lab.shares``, shows the
targets: it holds no broker session and no secret of the vault, and drops
whatever a viewer sends.

``breeze_lab.shares()`` lists the links; the module can be called, because it
has the name of that function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from breeze_lab.shares.face import Shares

__all__: list[str] = []


class _Room(ModuleType):
    def __call__(self, *, ended: bool = False) -> Shares:
        """Return the links there are; see `breeze_lab.shares.face.shares`."""
        from breeze_lab.shares.face import shares  # noqa: PLC0415 - on first use

        return shares(ended=ended)


sys.modules[__name__].__class__ = _Room
