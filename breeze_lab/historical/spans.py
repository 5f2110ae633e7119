"""Spans: half-open ranges of whole seconds, and what of them is left over.

Pure arithmetic on ``(start, end)`` pairs of Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Span", "clip", "hull", "joined", "without"]

#: Half-open [start, end), Unix seconds.
Span: TypeAlias = tuple[int, int]


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return the same seconds in the fewest spans, ascending; empty spans vanish."""
    found: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def without(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return what of `spans` lies in none of `taken`, ascending."""
    cuts = joined(taken)
    found: list[Span] = []
    for start, end in joined(spans):
        at = start
        for cut_start, cut_end in cuts:
            if cut_end <= at or cut_start >= end:
                continue
            if cut_start > at:
                found.append((at, cut_start))
            at = cut_end
        if at < end:
            found.append((at, end))
    return found


def clip(span: Span, within: Span) -> Span:
    """Return what `span` has in common with `within`; start is not below end when nothing."""
    return max(span[0], within[0]), min(span[1], within[1])


def hull(spans: Iterable[Span]) -> Span:
    """Return the shortest span that holds all of `spans`, of which there is one at least."""
    some = list(spans)
    return min(start for start, _ in some), max(end for _, end in some)
