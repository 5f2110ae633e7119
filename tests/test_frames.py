"""Frames read straight from their text mean what the careful reading says, or are refused by both."""

from __future__ import annotations

import copy
import json

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_ticks import (
    BFO,
    BFO_DEPTH,
    BSE,
    BSE_DEPTH,
    GIFT,
    INDEX,
    MCX,
    NDX,
    NFO,
    NSE,
    NSE_DEPTH,
)

from breeze_lab import frames
from breeze_lab.errors import BadResponse
from breeze_lab.frames import Book, Quote, decode
from breeze_lab.ticks import Depth, Tick, decode_frame

RECORDED = [NSE, BSE, NFO, NDX, INDEX, BFO, GIFT, NSE_DEPTH, BSE_DEPTH, BFO_DEPTH, MCX]
#: What a number of a frame can turn into: texts of numbers, nothing, absurd and wrong things.
NUMBERS = ["", "12", "12.5", " 7 ", "x", "C", "1.5C", "infC", "1_0", None, True, 0, -0.0, 5.0, 5.7,
           -3, 1e15, 2**53, 2**53 - 1, -(2**53), 2**64, 10**400, 1e300, 10**12, [], [1], {},
           {"a": 1}]  # fmt: skip


@pytest.fixture(scope="module", params=["compiled", "uncompiled"], autouse=True)
def way(request):
    """Every test of this file is run both ways."""
    if request.param == "uncompiled":
        with frames.uncompiled():
            yield
        return
    if frames.Reader is None:
        pytest.skip("no compiler was here at the install")
    yield


def text(frame):
    """Return a frame as the JSON text that comes."""
    return json.dumps(frame, separators=(",", ":")).encode()


def whole(value):
    """Return a value in its full form."""
    if isinstance(value, Quote):
        return value.tick()
    return value.depth() if isinstance(value, Book) else value


def read(reader, argument):
    """Return what a reader makes of a frame, or that it refuses."""
    try:
        value = whole(reader(argument))
    except BadResponse:
        return "refused"
    assert isinstance(value, (Tick, Depth))
    return value, repr(value)


def same(frame):
    """Both readings agree, also when the layout has been met before."""
    raw = text(frame)
    careful = read(decode_frame, msgspec.json.decode(raw))
    assert [read(decode, raw) for _ in range(2)] == [careful, careful]


@pytest.mark.parametrize("frame", RECORDED, ids=lambda frame: frame[0])
def test_recorded_frame_reads_the_same_both_ways(frame):
    """Each layout gives the value that the careful reading gives, and is remembered."""
    same(frame)
    fast = isinstance(decode(text(frame)), (Quote, Book))
    assert fast is (frame is not MCX)


values = st.sampled_from(NUMBERS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(
    frame=st.sampled_from(RECORDED),
    changes=st.lists(st.tuples(st.integers(0, 26), values), max_size=3),
    cut=st.integers(0, 30),
    more=st.lists(values, max_size=2),
)
@settings(max_examples=400, deadline=None)
@example(frame=NFO, changes=[(12, ""), (15, "1.0C")], cut=0, more=[])
@example(frame=NSE, changes=[], cut=0, more=["a", 1])
@example(frame=NFO, changes=[], cut=21, more=[])
def test_mutated_frame_reads_the_same_both_ways(frame, changes, cut, more):
    """A mutated frame gives the same value both ways, or is refused by both."""
    mutated = [*copy.deepcopy(frame)[: cut or None], *more]
    for place, value in changes:
        if place < len(mutated):
            mutated[place] = value
    same(frame)  # what was learnt from a good frame must not spoil the reading of a bad one
    same(mutated)


@given(
    frame=st.sampled_from([NSE_DEPTH, BSE_DEPTH, BFO_DEPTH]),
    row=st.integers(0, 1),
    place=st.integers(0, 8),
    value=values,
)
def test_mutated_book_reads_the_same_both_ways(frame, row, place, value):
    """So does a book with a mutated row."""
    mutated = copy.deepcopy(frame)
    rows = mutated[2]
    cells = rows[row % len(rows)]
    if place < len(cells):
        cells[place] = value
    else:
        cells.append(value)
    same(mutated)


def test_every_place_of_every_layout_takes_every_odd_value():
    """No single odd value, wherever it stands, is read differently."""
    for frame in RECORDED:
        for place in range(len(frame)):
            for value in NUMBERS:
                mutated = list(frame)
                mutated[place] = value
                same(mutated)


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"[", b"[" * 9000, text(NSE)[:40], text(NSE) + b"]", text(NSE).replace(b'""', b"[" * 9000),
            b"null", b"{}", b'"4.1!1"', b"[null]"],
    ids=lambda raw: repr(raw[:20]),
)  # fmt: skip
def test_what_is_no_frame_is_one_typed_error(raw):
    """Text that is no array, or no JSON at all, is refused as BadResponse."""
    decode(text(NSE))
    with pytest.raises(BadResponse):
        decode(raw)


def test_room_may_change_its_layout():
    """A token met as cash is read as a derivative when it comes as one, and back."""
    other = [NSE[0], *NFO[1:]]
    for frame in (NSE, other, NSE, other):
        assert decode(text(frame)).volume == frame[12 if frame is NSE else 14]


def test_spaced_text_is_read_too():
    """Blanks between the elements change nothing."""
    raw = json.dumps(NSE, indent=1).encode()
    assert whole(decode(raw)) == decode_frame(NSE)


def test_memory_of_layouts_is_bounded(monkeypatch):
    """A flood of rooms that nobody knows does not grow the memory without end."""
    monkeypatch.setattr(frames, "_MOST_LEARNT", 50)
    frames._learnt.clear()
    for number in range(500):
        decode(text([f"4.1!{number}", *NSE[1:]]))
    assert len(frames._learnt) <= 50
