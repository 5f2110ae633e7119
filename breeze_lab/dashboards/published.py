"""What a person calls to make a dashboard of something: publish, list, take away.

Owns the files: one JSON file a name below the data folder, written whole or not
at all, so that what was published outlives its kernel and the dashboards'
process. How a thing becomes such a file is `breeze_lab.dashboards.freezing`'s
business. Loads neither Panel nor Bokeh by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from breeze_lab import clock, session
from breeze_lab.errors import PublishError
from breeze_lab.settings import folders

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_BYTES", "Item", "Published", "get", "items", "publish", "published", "unpublish"]

#: Of one file: a browser gets all of it.
MOST_BYTES: Final = 32 * 1024 * 1024
_LONGEST_NAME: Final = 60
#: Bytes; a file's name may have 255, and ours grows a little while it is written.
_LONGEST_FILE: Final = 220


@dataclass(frozen=True, slots=True)
class Item:
    """Something that was published.

    Parameters
    ----------
    name
        What its page is called.
    kind
        ``"chart"``, ``"bokeh"``, ``"panel"``, ``"frame"``, ``"html"``, ``"image"``, ``"text"`` or
        ``"function"``.
    made
        When it was published, aware, Asia/Kolkata.
    market
        Whose session the notebook had then: ``"icici"``, ``"practice"``, empty for none.
    notebook
        Where it comes from; empty when that is not known.
    """

    name: str
    kind: str
    made: datetime
    market: str
    notebook: str

    @property
    def live(self) -> bool:
        """Whether it is made anew for each viewer; everything else is as it was."""
        return self.kind in ("chart", "function")

    @property
    def path(self) -> str:
        """Its address, below ``breeze-lab/`` of the Jupyter server."""
        return f"dash/published?{urlencode({'name': self.name})}"

    def _repr_html_(self) -> str:
        says = "made anew for each viewer" if self.live else f"as it was at {self.made:%H:%M} IST"
        base = _base_url()
        words = f"{escape(self.name)} ({self.kind}, {says})"
        if base is None:
            return f"Published: {words} at <code>breeze-lab/{escape(self.path)}</code>"
        return (
            f"Published: <a href='{escape(base)}breeze-lab/{escape(self.path)}' target='_blank'>"
            f"{escape(self.name)}</a> ({self.kind}, {says})"
        )


class Published(list[Item]):
    """What is published, by name; shown as a table."""

    def __repr__(self) -> str:
        return "\n".join(f"{one.name}  {one.kind}  {one.made:%d-%m-%Y %H:%M}" for one in self)

    def _repr_html_(self) -> str:
        return "<br>".join(one._repr_html_() for one in self) or "Nothing is published."


def publish(obj: Any, *, name: str) -> Item:
    """Make a dashboard of something of this notebook.

    It appears at ``breeze-lab/dash/published?name=…`` of the Jupyter server and
    stays there when this kernel and the dashboards' process end; publishing
    again under the same name replaces it. What crosses to that process is:

    * a chart of ours: what it shows, not its bars. Each viewer gets it live.
    * a Bokeh figure or layout, a Panel pane or layout: its document as it is
      now. What runs in the browser goes on (zoom, hover, ``CustomJS``); with
      Python callbacks, widgets or functions in it, it is refused.
    * a DataFrame or Series: its values, as a table. A matplotlib figure or
      what shows itself as HTML, SVG or PNG: that picture. A text: Markdown.
    * a function: its *source*, with what it names: modules by name, functions of the notebook by
      their source too, plain values and frames as they are now. Nothing is pickled. It is called
      for each viewer, in a thread of the dashboards' process, without arguments; arguments
      whose defaults are bool, int, float, str or a list of choices become
      controls. What it returns is shown, live Panel objects too.

    Parameters
    ----------
    obj
        One of these.
    name
        Title and address of its page: 1 to 60 printable characters.

    Returns
    -------
    Item
        Shown in a notebook, it is the link.

    Raises
    ------
    PublishError
        It cannot be shown there; the message says why and what can. Nothing was
        changed.

    Examples
    --------
    >>> breeze_lab.publish(breeze_lab.candles("RELIANCE"), name="Reliance")  # doctest: +SKIP
    """
    from breeze_lab.dashboards import freezing  # noqa: PLC0415 - knows what it is asked about only

    path = _path(name)
    kind, payload = freezing.frozen(obj)
    now = session.peek()
    notebook = Path(os.environ.get("JPY_SESSION_NAME", "")).name
    item = Item(name, kind, clock.now(), "" if now is None else now.endpoints.name, notebook)
    text = json.dumps(
        {
            "name": name, "kind": kind, "made": item.made.isoformat(), "market": item.market,
            "notebook": notebook, "payload": payload,
        }
    )  # fmt: skip
    if len(text) > MOST_BYTES:
        raise PublishError(
            f"{name!r} would be {len(text) / 1e6:.0f} MB, which is more than a browser should get "
            f"({MOST_BYTES / 1e6:.0f} MB). Publish less: the newest rows, or fewer bars."
        )
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return item


def published() -> Published:
    """Return what is published, the newest first."""
    return Published(sorted(items(), key=lambda one: one.made, reverse=True))


def unpublish(name: str) -> None:
    """Take what was published as `name` away; pages that show it keep what they have.

    Raises
    ------
    PublishError
        Nothing is published under this name.
    """
    try:
        _path(name).unlink()
    except FileNotFoundError:
        raise _unknown(name) from None


def get(name: str) -> tuple[Item, Any]:
    """Return what was published as `name`, and how it was kept.

    Raises
    ------
    PublishError
        There is none, or its file cannot be read.
    """
    try:
        return _read(_path(name))
    except FileNotFoundError:
        raise _unknown(name) from None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise PublishError(
            f"What was published as {name!r} cannot be read ({type(exc).__name__}). Publish it "
            "again."
        ) from exc


def items() -> Iterator[Item]:
    """Yield what is published; a file that cannot be read is left out."""
    for path in _folder().glob("[!.]*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            yield _read(path)[0]


def _read(path: Path) -> tuple[Item, Any]:
    told = json.loads(path.read_text("utf-8"))
    made = clock.to_ist(datetime.fromisoformat(told["made"]))
    item = Item(told["name"], told["kind"], made, told["market"], told["notebook"])
    return item, told["payload"]


def _unknown(name: str) -> PublishError:
    there = ", ".join(repr(one.name) for one in published()[:8]) or "nothing yet"
    return PublishError(f"Nothing is published as {name!r}. There is: {there}.")


def _folder() -> Path:
    path = folders().data / "published"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _path(name: Any) -> Path:
    if (
        not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME
        or not name.isprintable() or name != name.strip() or name.startswith(".")
    ):  # fmt: skip
        raise PublishError(
            f"{str(name)[:_LONGEST_NAME]!r} is no name for a page: 1 to {_LONGEST_NAME} printable "
            "characters, the first of them no dot and no space."
        )
    spelt = name.replace("%", "%25").replace("/", "%2F")
    if len(spelt.encode()) > _LONGEST_FILE:
        raise PublishError(f"{name!r} is too long for the name of a file. Take a shorter one.")
    return _folder() / f"{spelt}.json"


def _base_url() -> str | None:
    """Return the base URL of the Jupyter server that started this kernel, None without one."""
    parent = os.environ.get("JPY_PARENT_PID", "")
    if not parent.isdigit():
        return None
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415 - only in a kernel

    try:
        told = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{parent}.json").read_text())
        return str(told["base_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
