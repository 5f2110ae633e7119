"""A strict reader of the Prometheus text format 0.0.4: what scrapers forgive is an error here."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)'
)
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
_KINDS = {"counter", "gauge"}


def read(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the values by metric and labels.

    Every metric has HELP, then TYPE, then its samples, all together; a
    counter's name ends in ``_total``; no two samples have the same labels; the
    page ends with a line feed; and the reference parser reads the same values.
    """
    assert text.endswith("\n")
    assert "\n\n" not in text
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    open_name = kind = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            open_name, _, words = line[7:].partition(" ")
            assert _NAME.fullmatch(open_name), line
            assert words, line
            assert open_name not in found, f"{open_name} twice"
            found[open_name], kind = {}, ""
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == open_name, line
            assert not found[open_name], line
            assert kind in _KINDS, line
            assert (kind == "counter") == name.endswith("_total"), line
        else:
            sample = _SAMPLE.fullmatch(line)
            assert sample, f"no sample: {line!r}"
            name, inside, value = sample.groups()
            assert kind, f"no type before {line!r}"
            assert name == open_name, f"{name} lies among {open_name}"
            labels = tuple(sorted(_LABEL.findall(inside or "")))
            assert labels not in found[name], f"{line!r} twice"
            found[name][labels] = float(value)
    assert all(found.values()), "a metric without a sample"
    theirs = sum(len(family.samples) for family in text_string_to_metric_families(text))
    assert theirs == sum(map(len, found.values()))
    return found
