"""Figures ready to be shown: the document of a candle chart, drawn once and kept on disk.

Bokeh's Python half takes half a second of a fresh kernel to load, and what it
makes of the same options is always the same: panes without a bar, which the
browser fills. So the text of it is kept in the cache, under a name that says
what it was made of, and Bokeh is loaded for options that were never drawn.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from breeze_lab import downloads, settings
from breeze_lab.chart_looks import decimals

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bokeh_version", "draw", "text"]

#: What a figure is made by, beside Bokeh.
_MADE_BY: Final = ("charts.py", "chart_looks.py", "_chart_scripts.py", "chart_figures.py")
#: Figures of other versions go when they are so old; each is some 40 KB.
_KEPT_S: Final = 30 * 86_400
#: Of a checksum in a name or before a text.
_DIGITS: Final = 16


def text(*, interval_s: int, tick_size: float, height: int, with_volume: bool) -> str:
    """Return the JSON of `breeze_lab.charts.candles_figure` without bars, as BokehJS embeds it.

    Parameters
    ----------
    interval_s, tick_size, height, with_volume
        See there.

    Notes
    -----
    A file that was changed, cut or cannot be written costs the time of drawing, and nothing else.
    """
    path = None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        path = _folder() / (
            f"{_made_by()}-{interval_s}-{decimals(tick_size)}-{height}-{int(with_volume)}.json"
        )
        mark, _, kept = path.read_text("utf-8").partition("\n")
        if mark == _digest(kept):
            return kept
    fresh = draw(
        interval_s=interval_s, tick_size=tick_size, height=height, with_volume=with_volume
    )  # fmt: skip
    if path is not None:
        with contextlib.suppress(OSError):
            downloads.write_whole(path, f"{_digest(fresh)}\n{fresh}".encode())
            for other in _old(path.parent):
                other.unlink(missing_ok=True)
    return fresh


def draw(*, interval_s: int, tick_size: float, height: int, with_volume: bool) -> str:
    """Return what `text` does, drawn anew."""
    from bokeh.embed import json_item  # noqa: PLC0415 - half a second

    from breeze_lab import charts  # noqa: PLC0415 - loads Bokeh

    layout = charts.candles_figure(
        interval_s=interval_s, tick_size=tick_size, height=height, with_volume=with_volume
    )
    return json.dumps(json_item(layout))


@functools.cache
def bokeh_version() -> str:
    """Return the version of the installed Bokeh, which its script in the browser has to have."""
    return importlib.metadata.version("bokeh")


@functools.cache
def _made_by() -> str:
    """Return a name for all that decides how a figure looks.

    Raises
    ------
    OSError
        Our sources are not there.
    """
    here = Path(__file__).parent
    sources = b"\0".join((here / name).read_bytes() for name in _MADE_BY)
    return _digest(f"{bokeh_version()}\0{sources.hex()}")


def _digest(content: str) -> str:
    return hashlib.blake2b(content.encode(), digest_size=_DIGITS).hexdigest()


def _folder() -> Path:
    folder = settings.folders().cache / "figures"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _old(folder: Path) -> Iterator[Path]:
    """Return the figures of other versions that nobody has written for a month."""
    for path in folder.glob("*.json"):
        if path.name.startswith(_made_by()):
            continue
        if time.time() - path.stat().st_mtime > _KEPT_S:
            yield path
