"""Incoming: what a person's server deposits with the Hub's service, checked to the last key.

The service shows it under its own address, so nothing that was sent is believed:
a chart is built anew by `chart_target`, of a document only what a frozen one has
is taken. What runs in a page stays in the page's sandbox (`breeze_lab.shares.page`).
"""

from __future__ import annotations

import json
import math
import time
from datetime import timedelta
from typing import Any, Final

from breeze_lab.errors import ShareError
from breeze_lab.shares.links import LONGEST_DAYS, Target
from breeze_lab.shares.page import SCRIPTS
from breeze_lab.shares.targets import chart_target, objects, packed

__all__ = ["read"]

_FIELDS: Final = {"kind", "title", "source", "data", "parameters", "span_s", "body"}
_CHART: Final = {"config", "figure", "bars", "indicators"}
_ITEM: Final = {"root_id", "target_id", "doc", "version"}
_DOCUMENT: Final = {"version", "title", "roots", "defs", "config", "callbacks"}
_SHOWN: Final = ("snapshot", "lagged")
_LARGEST_PARAMETERS: Final = 4096
#: Objects and lists, and values, as marks of JSON: a tenth of them fills a page. More would take
#: the memory of everybody's links.
_MOST_OBJECTS: Final = 200_000
_MOST_VALUES: Final = 2_000_000
#: Ends of the names of models that fetch while they are looked at, or bring scripts of their own.
_ALIVE: Final = (
    "AjaxDataSource", "ServerSentDataSource", "WebDataSource", "TileSource", "ImportedStyleSheet",
    "ESM", "AnyWidgetComponent",
)  # fmt: skip


def read(raw: bytes) -> tuple[Target, timedelta]:
    """Return what is to be kept, and for how long.

    Parameters
    ----------
    raw
        JSON: kind, title, source, data, parameters, span_s (seconds), body.

    Raises
    ------
    ShareError
        It is nothing that `breeze_lab.share` sends, or is live.
    """
    try:
        return _read(raw)
    # What nobody thought of is refused like the rest.
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as exc:
        raise ShareError(
            f"What was sent is nothing that Breeze Lab sends ({type(exc).__name__}). Update Breeze "
            "Lab, then share again."
        ) from exc


def _read(raw: bytes) -> tuple[Target, timedelta]:
    if raw.count(b"{") + raw.count(b"[") > _MOST_OBJECTS or raw.count(b",") > _MOST_VALUES:
        raise ShareError("It has too many parts. Share fewer points.")
    given = json.loads(raw, parse_constant=_no_number)
    _keys(given, _FIELDS, "A deposit")
    if given["data"] not in _SHOWN:
        raise ShareError(
            f"{given['data']!r:.40} is not kept here, only what is frozen: {', '.join(_SHOWN)}."
        )
    span_s = given["span_s"]
    good = isinstance(span_s, (int, float)) and not isinstance(span_s, bool)
    if not good or not math.isfinite(span_s) or not 0 < span_s <= LONGEST_DAYS * 86_400:
        raise ShareError(f"A link lasts up to {LONGEST_DAYS} days.")
    if given["kind"] == "chart":
        target = _chart(given["body"], given["data"])
    elif given["kind"] == "document" and given["data"] == "snapshot":
        target = _document(given)
    else:
        raise ShareError("A link shows a chart or a document.")
    f"{target.title}{target.source}".encode()  # half a character is none
    if len(packed(target.parameters)) > _LARGEST_PARAMETERS:
        raise ShareError("What is said of it is longer than anything Breeze Lab says.")
    return target, timedelta(seconds=span_s)


def _chart(body: Any, data: str) -> Target:
    _keys(body, _CHART, "A chart")
    figure, indicators = body["figure"], body["indicators"]
    if not isinstance(figure, dict):
        raise ShareError("A chart is shared with its figure.")
    _names(figure)
    if not isinstance(indicators, list) or not all(isinstance(one, str) for one in indicators):
        raise ShareError("Indicators are a list of texts.")
    return chart_target(
        body["config"], figure, body["bars"], indicators, data=data, now_s=time.time()
    )


def _document(given: dict[str, Any]) -> Target:
    parameters, body = given["parameters"], given["body"]
    _keys(body, {"item"}, "A document")
    item = body["item"]
    _keys(item, _ITEM, "A document's item")
    doc = item["doc"]
    if not isinstance(doc, dict) or not set(doc) <= _DOCUMENT or not isinstance(parameters, dict):
        raise ShareError("A document has its roots and its version, and no more.")
    words = [given["title"], given["source"], item["root_id"], item["version"], doc.get("version")]
    if not all(isinstance(one, str) for one in words) or item["target_id"] is not None:
        raise ShareError("A document's names are texts.")
    if not isinstance(doc.get("roots"), list) or len(doc["roots"]) != 1:
        raise ShareError("A document has one root.")
    names = _names(doc)
    scripts = parameters.get("scripts")
    if not isinstance(scripts, list) or not set(scripts) <= set(SCRIPTS):
        raise ShareError("A document needs scripts that a link does not hold.")
    return Target(
        kind="document", title=given["title"], source=given["source"], data="snapshot",
        parameters={
            "eval": any(name.startswith("CustomJS") for name in names),
            "scripts": list(dict.fromkeys(scripts)), "bokeh": item["version"],
            "controls": bool(parameters.get("controls")),
        },
        body=packed(body),
    )  # fmt: skip


def _names(document: dict[str, Any]) -> set[str]:
    """Return the names of a document's models, of which none may be alive."""
    names = {str(one.get("name")) for one in objects(document)}
    if alive := sorted(name for name in names if name.endswith(_ALIVE)):
        raise ShareError(f"A {alive[0][:80]} is not frozen and cannot be kept.")
    return names


def _keys(given: Any, wanted: set[str], what: str) -> None:
    if not isinstance(given, dict) or set(given) != wanted:
        raise ShareError(f"{what} has {', '.join(sorted(wanted))}, and nothing else.")


def _no_number(word: str) -> float:
    raise ValueError(word)
