"""The compiled reader makes of a plain frame what msgspec makes of it, and leaves it all others."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_ticks import BFO, BFO_DEPTH, BSE, BSE_DEPTH, GIFT, INDEX, NDX, NFO, NSE, NSE_DEPTH

from breeze_lab import frames

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
hatch_build = pytest.importorskip("hatch_build")
sys.path.remove(str(ROOT))

LAYOUTS = {
    "cash": (frames._Cash, None, NSE), "BSE": (frames._Cash, None, BSE),
    "derivative": (frames._Derivative, None, NFO), "NDX": (frames._Derivative, None, NDX),
    "BFO": (frames._Derivative, None, BFO), "index": (frames._Cash, None, INDEX),
    "GIFT": (frames._Index, None, GIFT),
    "book of NSE": (frames._BookNse, frames._Row, NSE_DEPTH),
    "book of BSE": (frames._BookBse, frames._RowBse, BSE_DEPTH),
    "book of BFO": (frames._BookBfo, frames._RowBfo, BFO_DEPTH),
}  # fmt: skip
COMPILER = shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists()
compiled = pytest.mark.skipif(frames.Reader is None, reason="no compiler was here at the install")


class Other:
    """What a reader hands on to; it notes what it was given and reads it carefully."""

    def __init__(self, made):
        self.careful = msgspec.json.Decoder(made).decode
        self.given = []

    def __call__(self, raw):
        self.given.append(raw)
        return self.careful(raw)


def reader(made, row=None):
    """Return a reader of a layout and what it hands on to."""
    other = Other(made)
    rows = frames.Reader(row, frames._kinds(row), other) if row else None
    return frames.Reader(made, frames._kinds(made), other, rows), other


def outcome(way, raw):
    """Return what a way makes of a frame, to the last bit, or why it refuses."""
    try:
        return repr(way(raw))
    except ValueError as exc:
        return str(exc)


def text(frame):
    return json.dumps(frame, separators=(",", ":")).encode()


@pytest.mark.skipif(not COMPILER, reason="no compiler, or none of Python's headers")
def test_an_install_where_a_compiler_is_has_the_reader():
    """The quick way is not lost silently: who can compile it has it."""
    assert frames.Reader is not None


@compiled
@pytest.mark.parametrize("name", LAYOUTS)
def test_recorded_frame_is_plain_and_means_the_same(name):
    """Each layout is read without msgspec, as the same Struct with values of the same types."""
    made, row, frame = LAYOUTS[name]
    read, other = reader(made, row)
    value = read(text(frame))
    assert other.given == []
    careful = other.careful(text(frame))
    assert type(value) is made
    assert value == careful
    assert repr(value) == repr(careful)


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,16})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


@compiled
@given(number=NUMBERS, place=st.integers(1, 20))
@example(number="999999999999999", place=1)
@example(number="9999999999999999", place=1)
@example(number="0.000000000000001", place=2)
@example(number="-0.0", place=3)
@example(number="-0", place=7)
@example(number="01", place=7)
@example(number="1.", place=7)
@example(number="253370764800", place=19)
@example(number="253370764801", place=19)
def test_every_spelling_of_a_number_is_the_same_number(number, place):
    """Read at once or handed on, the value is bit for bit msgspec's, or both refuse it."""
    cells = [json.dumps(value) for value in NSE]
    cells[place] = number
    raw = f"[{','.join(cells)}]".encode()
    read, other = reader(frames._Cash)
    assert outcome(read, raw) == outcome(other.careful, raw)


@compiled
@given(number=st.decimals(min_value=0, max_value=10**9, places=4))
def test_a_price_is_read_at_once(number):
    """What prices look like needs no second reading."""
    cells = [json.dumps(value) for value in NSE]
    cells[2] = str(number)
    read, other = reader(frames._Cash)
    assert read(f"[{','.join(cells)}]".encode()).last == float(number)
    assert other.given == []


@compiled
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_byte_may_be_another(name):
    """Whatever byte stands in whatever place: the same value, or the same refusal."""
    made, row, frame = LAYOUTS[name]
    read, other = reader(made, row)
    raw = text(frame)

    for at in range(len(raw)):
        for byte in b'[],"\\.-0159eEntu \x00\x7f\xc3\xff':
            for one in (
                raw[:at] + bytes([byte]) + raw[at + 1 :],
                raw[:at] + bytes([byte]) + raw[at:],
            ):
                assert outcome(read, one) == outcome(other.careful, one), one
        assert outcome(read, raw[:at]) == outcome(other.careful, raw[:at])


@compiled
@pytest.mark.parametrize("name", LAYOUTS)
def test_nothing_may_stand_in_every_place(name):
    """A null is nothing where msgspec takes it for that, and refused where that refuses it."""
    made, row, frame = LAYOUTS[name]
    read, other = reader(made, row)
    for place in range(len(frame)):
        raw = text([*frame[:place], None, *frame[place + 1 :]])
        assert outcome(read, raw) == outcome(other.careful, raw), raw


@compiled
def test_what_is_no_bytes_is_handed_on_as_it_is():
    """A view, a text and a longer tail go to msgspec, which knows them."""
    read, other = reader(frames._Cash)
    raw = text(NSE)
    for one in (memoryview(raw), bytearray(raw), raw.decode(), b" " + raw, raw + b"\n"):
        assert read(one) == other.careful(raw)
    assert len(other.given) == 5
    with pytest.raises(msgspec.DecodeError):
        read(raw + b"\x00")


@compiled
def test_refused_frames_leave_nothing_behind():
    """A hundred thousand frames, whole and cut, keep no memory."""
    made, row, frame = LAYOUTS["book of NSE"]
    other = lambda _: None  # noqa: E731 - nothing may be noted here
    read = frames.Reader(
        made, frames._kinds(made), other, frames.Reader(row, frames._kinds(row), other)
    )
    raws = [text(frame)[:end] for end in range(len(text(frame)) + 1)]

    def blocks(times):
        for _ in range(times):
            for raw in raws:
                read(raw)
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks(20)
    assert blocks(300) - before < 100


@compiled
@pytest.mark.parametrize(
    "arguments",
    [(frames._Cash, "tp"), (frames._Cash, ""), (int, "t"), (object, "t"), (NSE, "t"),
     (frames._Cash, "t" * 33), (frames._Cash, "t" * 21, "no reader")],
)  # fmt: skip
def test_a_reader_of_what_is_no_layout_is_refused(arguments):
    """A class that does not keep its fields as a Struct does is never written to."""
    made, kinds, *rows = arguments
    with pytest.raises((TypeError, AttributeError)):
        frames.Reader(made, kinds, print, *rows)


@compiled
def test_a_msgspec_that_keeps_its_fields_elsewhere_costs_only_time(monkeypatch):
    """Where the reader refuses a layout, msgspec reads it."""

    class Refusing:
        def __init__(self, *_):
            raise TypeError

    monkeypatch.setattr(frames, "Reader", Refusing)
    assert frames._layout(frames._Cash)(text(NSE)).last == NSE[2]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Return what compiles a source with a sanitizer and reads spoiled frames with it."""
    folder = tmp_path_factory.mktemp("sanitized")

    def run(source):
        path = folder / f"{source.stem}.so"
        try:
            hatch_build.compiled(source, path, "-fsanitize=address,undefined", "-O1", "-g")
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"no sanitizer here: {exc.stderr.decode()[-200:]}")
        library = subprocess.run(
            ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        return subprocess.run(
            [sys.executable, str(Path(__file__).parent / "reader_child.py"), str(path), "2000"],
            env={
                **os.environ, "LD_PRELOAD": library, "PYTHONMALLOC": "malloc",
                "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1",
                "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
            },
            capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip

    return run


needs_gcc = pytest.mark.skipif(
    not (COMPILER and shutil.which("gcc") and sys.platform == "linux"), reason="wants gcc on Linux"
)


@needs_gcc
def test_no_spoiled_frame_makes_it_read_beyond_its_bytes(sanitized):
    """Under AddressSanitizer and UBSan, ten thousand spoiled and all cut frames are quiet."""
    ran = sanitized(ROOT / hatch_build.SOURCE)
    assert ran.stderr == ""
    assert ran.returncode == 0
    assert int(ran.stdout) > 5


@needs_gcc
def test_the_sanitizer_sees_a_reader_that_goes_on(sanitized, tmp_path):
    """A planted loop that stops only at a quote is caught."""
    good = (ROOT / hatch_build.SOURCE).read_text()
    bad = good.replace("*p >= ' ' && *p < 0x7f && *p != '\"' && *p != '\\\\'", "*p != '\"'")
    assert bad != good
    planted = tmp_path / "_reader_planted.c"
    planted.write_text(bad)
    ran = sanitized(planted)
    assert ran.returncode != 0
    assert "heap-buffer-overflow" in ran.stderr


@pytest.mark.parametrize("compiler", [None, "false"])
def test_a_wheel_is_built_with_and_without_a_compiler(compiler, tmp_path):
    """With one the wheel is of this platform and holds the reader; without it is pure."""
    if compiler is None and not COMPILER:
        pytest.skip("no compiler")
    environment = {**os.environ, **({"CC": compiler} if compiler else {})}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        check=True, cwd=ROOT, capture_output=True, env=environment,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if "_reader." in name]
    library = f"breeze_lab/_reader{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert sorted(names) == sorted(["breeze_lab/_reader.pyi", *([] if compiler else [library])])
    assert wheel.name.endswith("-py3-none-any.whl") is bool(compiler)
