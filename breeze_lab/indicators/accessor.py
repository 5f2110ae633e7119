"""``frame.ta`` without an import: pandas-ta is loaded when it is first asked for."""

from __future__ import annotations

from typing import Any

import pandas as pd

from breeze_lab.indicators import catalogue

__all__ = ["install"]


class _Lazy:
    """Stands where pandas-ta's accessor will be, until somebody asks for it."""

    def __get__(self, frame: pd.DataFrame | None, _owner: type) -> Any:
        if pd.DataFrame.__dict__.get("ta") is self:
            delattr(pd.DataFrame, "ta")  # pandas-ta puts its own there and warns of a stranger's
            found = catalogue.library()
            if "ta" not in pd.DataFrame.__dict__:  # it was imported before, for a computation
                pd.DataFrame.ta = catalogue.accessors[found.__name__]  # type: ignore[attr-defined]
        return pd.DataFrame.ta if frame is None else frame.ta  # type: ignore[attr-defined]


def install() -> None:
    """Let every frame have ``.ta``; one that is there already stays.

    Notes
    -----
    pandas-ta's own: see its pages. It takes TA-Lib only with ``talib=True``.
    """
    if "ta" not in pd.DataFrame.__dict__:
        pd.DataFrame.ta = _Lazy()  # type: ignore[attr-defined]
